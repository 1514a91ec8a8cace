"""Claims B3, B7, B8, R1 and R3 about ground truth and estimates: the rules behind their statuses.

Thresholds are our choice and stated in each claim's rule; the papers' numbers are not known to us.
"""

import numpy as np
import pandas as pd

from dtda_lib.experiments.noise_vs_influence.claims import MOST, STATISTICS
from dtda_lib.study.claims import (
    CONFIRMED,
    INCONCLUSIVE,
    REFUTED,
    Claim,
    above,
    below,
    combine,
    decide,
)
from dtda_lib.study.methods import METHODS

_PAPER = "2305.19765, abstract"
_SECOND_HAND = "2305.19765, second-hand summaries"
_NEAR = 0.1  # a correlation this close to its ceiling counts as reaching it
_LAW = "law over seeds of the mean of the late checkpoints"


def disagreement_claims(table: pd.DataFrame, setting: str, kind: str = "pearson") -> list[Claim]:
    """B3, one for each estimator: leave-one-out and estimated laws disagree.

    Args:
        table: Rows of `agreement_intervals.correlation_table` with a column `size`.
        setting: What was trained, in words.
        kind: "pearson", or "spearman" for correlations of ranks.
    """
    claims, ranks = [], kind == "spearman"
    for method, part in table[table["kind"] == kind].groupby("method", sort=False):
        verdicts = [_reaches_ceiling(row) for row in part.itertuples()]
        shown = part[part["statistic"] == "mean"].iloc[-1]
        words = "; ".join(
            f"{row['size']} per class {row['statistic']} {row['r_across']:.2f} of "
            f"{row['ceiling_across']:.2f}"
            for row in part.to_dict("records")
        )
        claims.append(
            Claim.from_row(
                shown,
                value="gap",
                count="n_pairs",
                id=f"B3-spearman-{method}" if ranks else f"B3-{method}",
                claim=f"the laws of leave-one-out and of {METHODS[method].label} disagree"
                + (", by ranks" if ranks else ""),
                source=_PAPER,
                status=combine(verdicts),
                statistic=f"{'rank ' if ranks else ''}correlation over pairs of the means over "
                f"seeds - its ceiling, on halves of the seeds ({words})",
                setting=f"{setting}, {int(shown['size'])} per class",
                estimand=f"{_LAW}: its mean; sd and SNR count for the status too",
                rule="for mean, sd and SNR at every size, jackknife interval of (correlation - "
                f"ceiling): disagree if below 0, agree if above -{_NEAR:g}, else undecided; "
                "confirmed if all disagree, refuted if all agree, else partly or inconclusive",
            )
        )
    return claims


def _reaches_ceiling(row: object) -> str:
    if row.gap_high < 0:
        return CONFIRMED
    return REFUTED if row.gap_low > -_NEAR else INCONCLUSIVE


def locality_claims(blocks: pd.DataFrame, local: pd.DataFrame, setting: str, n: int) -> list[Claim]:
    """B7: gradient estimators are local, leave-one-out global, an additional step in between; and
    whether estimators predict a small down-weighting better than a removal.

    Args:
        blocks: `estimated.block_table`.
        local: `estimated.locality_table`.
        setting: What was trained, in words.
        n: Number of pairs.
    """
    beyond, under = blocks["low"] > 0, blocks["high"] < 0
    smallest = local["fraction"].min()
    part = local[(local["fraction"] == smallest) & (local["method"] == "if_ggn")].iloc[0]
    return [
        Claim.from_row(
            blocks.iloc[0],
            count=n,
            id="B7",
            claim="IF, grad-dot and grad-cos measure a local change, leave-one-out a global one, "
            "an additional step lies between",
            source=_SECOND_HAND,
            status=decide(
                confirmed=bool(beyond.all()),
                refuted=bool(under.any()),
                partly=bool(beyond.iloc[0]),
            ),
            statistic="mean correlation within the local block - that with leave-one-out; "
            + "; ".join(f"{r.comparison} {r.estimate:.2f}" for r in blocks.itertuples()),
            setting=setting,
            estimand=f"{_LAW}: correlation of means over pairs",
            rule="three differences with jackknife intervals over seeds: confirmed if all lie "
            "above 0, partly if the first does and none lies below 0, refuted if any lies below 0",
        ),
        Claim.from_row(
            part,
            count=n,
            confirmed_if=above(0),
            value="change",
            interval="jackknife interval over seeds",
            id="B7-local",
            claim="influence functions predict a small down-weighting better than a removal",
            source="this study",
            statistic=f"correlation of {METHODS['if_ggn'].label} with the shift at fraction "
            f"{smallest:g} ({part['r']:.2f}) - that at removal",
            setting=setting,
            estimand=f"{_LAW}: correlation of means over pairs",
        ),
    ]


def low_noise_agreement_claim(table: pd.DataFrame, method: str, setting: str) -> Claim:
    """B8: is an estimator closer to leave-one-out on pairs of low noise?

    `table` is `estimated.low_noise_table`.
    """
    chosen = table[(table["method"] == method) & (table["selection"] == "top_snr")].iloc[0]
    rises, falls = chosen["above_all_low"] > 0, chosen["above_all_high"] < 0
    beyond = chosen["above_mu_low"] > 0
    return Claim.from_row(
        chosen,
        value="above_all",
        count=round(float(chosen["n_selected"])),
        id=f"B8-{method}",
        claim=f"{METHODS[method].label} agrees with leave-one-out better on pairs of low noise",
        source=_PAPER,
        status=decide(confirmed=bool(rises and beyond), refuted=bool(falls), partly=bool(rises)),
        statistic=f"correlation on the tenth of pairs with the largest |μ|/σ ({chosen['r']:.2f}) "
        f"- that over all pairs; - that on the tenth with the largest |μ|: "
        f"{chosen['above_mu']:.2f}",
        setting=setting,
        estimand=f"{_LAW}: pairs chosen on one half of the seeds, judged on the other",
        rule="jackknife intervals over seeds: confirmed if agreement rises against all pairs and "
        "against pairs chosen by |μ| alone, partly if only against all, refuted if it falls",
    )


def lissa_claim(table: pd.DataFrame, setting: str) -> Claim:
    """R1: with the published settings LiSSA is -c_T times grad-dot. `table`: `lissa_table`."""
    part = table[table["estimator"] == "if_lissa"]
    ratio = part["slope"] / part["predicted"]
    worst = float(part["pearson"].max())
    ends = (float(ratio.min()), float(ratio.max()))
    return Claim(
        id="R1",
        claim="published influence functions are -c_T times grad-dot",
        source="this study",
        status=decide(
            confirmed=worst < -0.99 and ends[0] > 0.95 and ends[1] < 1.05,
            refuted=worst > -0.9 or not (ends[0] > 0.8 and ends[1] < 1.25),
            partly=worst < -0.99,
        ),
        statistic=f"slope on grad-dot over -c_T, range over models; largest Pearson {worst:.5f}",
        estimate=float(np.median(ratio)),
        ci=ends,
        n=len(part),
        setting=setting,
        estimand="a fixed model: every seed and checkpoint by itself",
        rule="confirmed if for every model Pearson < -.99 and the slope lies within 5 % of -c_T; "
        "refuted if any Pearson > -.9 or slope is off by 25 %; partly if only Pearson holds",
    )


def protocol_noise_claims(table: pd.DataFrame, setting: str, n: int) -> list[Claim]:
    """B1 under the other leave-one-out protocols. `table`: `estimated.protocol_table`."""
    rows = table.set_index(["protocol", "quantity"])
    return [
        Claim.from_row(
            rows.loc[(protocol, f"share {statistic}")],
            confirmed_if=below(MOST),
            value="value",
            count=n,
            interval="jackknife interval over seeds",
            id=f"B1-{word}-{short}",
            claim="leave-one-out influence of a single point is usually drowned by training noise "
            f"({protocol})",
            source=_PAPER,
            statistic=f"share of pairs, {STATISTICS[statistic]}",
            setting=setting,
            estimand=f"{_LAW}, protocol {protocol}",
        )
        for protocol, word in (("unpaired_scratch", "unpaired"), ("continued", "continued"))
        for statistic, short in (("code", "code"), ("t_fdr", "t"))
    ]


def protocol_claim(table: pd.DataFrame, setting: str, n: int) -> Claim:
    """R3: B1 and B3 depend on the leave-one-out protocol. `table`: `estimated.protocol_table`."""
    others = table[table["protocol"] != "paired_scratch"]
    differs = (others["change_low"] > 0) | (others["change_high"] < 0)
    same = (others["change_low"] > -_NEAR / 2) & (others["change_high"] < _NEAR / 2)
    share = others["quantity"].str.startswith("share")
    strongest = others.loc[others["change"].abs().idxmax()]
    return Claim.from_row(
        strongest,
        value="change",
        count=n,
        id="R3",
        claim="what leave-one-out shows (B1) and how it agrees with estimators (B3) depend on its "
        "protocol",
        source="this study",
        status=decide(
            confirmed=bool((differs & share).any() and (differs & ~share).any()),
            refuted=bool(same.all()),
            partly=bool(differs.any()),
        ),
        statistic=f"largest change from paired_scratch: {strongest['quantity']} under "
        f"{strongest['protocol']}; {int(differs.sum())} of {len(others)} changes exclude 0",
        setting=setting,
        estimand="law over the same seeds under each protocol",
        rule="jackknife intervals over seeds of the change from paired_scratch: confirmed if "
        "one of a share of significant pairs and one of a correlation with an estimator exclude "
        f"0, partly if any does, refuted if all lie within ±{_NEAR / 2:g}",
    )
