"""Claims B3, B7, B8, R1 and R3 about ground truth and estimates: the rules behind their statuses.

Thresholds are our choice and stated in each claim's rule; the papers' numbers are not known to us.
A claim about several sizes of the training set has to hold at each of them; its number is that of
the largest.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from dtda_lib.experiments.noise_vs_influence.claims import MOST, STATISTIC_WORDS
from dtda_lib.study.claims import Claim, above, below, combine, decide
from dtda_lib.study.methods import METHODS

from .tables import AGREEMENTS

_PAPER = "2305.19765, abstract"
_SECOND_HAND = "2305.19765, second-hand summaries"
_LAW = "law over seeds of the mean of the late checkpoints"
INTERVAL = "95 % interval over seeds, training points and queries"
MATTERS = 0.1
"""Least difference of two correlations that matters. Of two normal scores with correlation r the
share of pairs whose sign is predicted right is 1/2 + arcsin(r) / pi: 0.1 in r is 3 to 5 points."""
_REASON = f"{MATTERS:g} in a correlation changes how many signs are predicted right by 3 to 5 %"
_RISES = MATTERS / 2  # of a correlation, by choosing a tenth of the pairs
_LINEAR, _NOT_LINEAR = 0.99, 0.9  # |Pearson| of one model's scores with grad-dot
_ROUNDING, _OFF = 0.01, 0.1  # of a slope: float32 and a sum of batches; clearly another slope
_WORDS = {
    "mean": "means",
    "sd": "standard deviations",
    "snr": "signal-to-noise ratios",
    "pooled": "all pairs",
    "query": "the training points of one query, averaged over queries",
    "pearson": "correlation",
    "spearman": "rank correlation",
}


def _each_size(part: pd.DataFrame, columns: Sequence[str]) -> str:
    """ "10 per class 0.70, 0.95; ...": some columns of a table with a row for each size."""
    rows = part.to_dict("records")
    told = (", ".join(f"{row[name]:.2f}" for name in columns) for row in rows)
    return "; ".join(f"{row['size']} per class {text}" for row, text in zip(rows, told))


def _chosen(table: pd.DataFrame, **at: object) -> pd.DataFrame:
    """Rows with these values, by size."""
    keep = np.logical_and.reduce([table[column] == value for column, value in at.items()])
    return table[keep].sort_values("size")


def disagreement_claims(table: pd.DataFrame, setting: str) -> list[Claim]:
    """B3 for each estimator: leave-one-out and estimated laws disagree, by values and by ranks.

    Args:
        table: `tables.agreement_table`.
        setting: What was trained, in words.
    """
    claims = []
    for (variant, way), method in product(AGREEMENTS.items(), dict.fromkeys(table["method"])):
        at = dict(zip(("statistic", "over", "kind"), way, strict=True))
        part = _chosen(table, method=method, **at)
        what = f"{_WORDS[at['kind']]} of {_WORDS[at['statistic']]} over {_WORDS[at['over']]}"
        claims.append(
            Claim.from_rows(
                part,
                confirmed_if=below(-MATTERS),
                value="gap",
                count="n_pairs",
                interval=INTERVAL,
                rule=f"at every size, else partly or inconclusive; {_REASON}",
                id=f"B3-{variant}{method}",
                claim=f"leave-one-out and {METHODS[method].label} have different "
                f"{_WORDS[at['statistic']]}, beyond noise",
                source=_PAPER,
                statistic=f"{what} - its ceiling, on halves of the seeds (value, ceiling: "
                f"{_each_size(part, ['across', 'ceiling'])})",
                setting=f"{setting}, {part['size'].iloc[-1]} per class",
                estimand=_LAW,
            )
        )
    return claims


_BLOCKS = {
    "block": (
        "B7",
        "{influence}, grad-dot and grad-cos form a block that leave-one-out stays out of",
        "mean correlation within the block - that with leave-one-out (within, with",
    ),
    "between": (
        "B7b",
        "an additional step of Adam lies between the block of {influence} and leave-one-out",
        "lesser of two differences: step to block - leave-one-out to block, step to leave-one-out "
        "- block to leave-one-out (both",
    ),
}


def block_claims(blocks: pd.DataFrame, setting: str) -> list[Claim]:
    """B7, whether estimators form a local block that leave-one-out stays out of, and B7b, whether
    an additional step lies between; with either influence function, by values and by ranks.

    Args:
        blocks: `tables.block_table`.
        setting: What was trained, in words.
    """
    claims = []
    for (kind, influence, comparison), rows in blocks.groupby(
        ["kind", "influence", "comparison"], sort=False
    ):
        number, claim, statistic = _BLOCKS[comparison]
        part = rows.sort_values("size")
        claims.append(
            Claim.from_rows(
                part,
                confirmed_if=above(MATTERS),
                count="n_pairs",
                interval=INTERVAL,
                rule=f"at every size, else partly or inconclusive; {_REASON}",
                id=f"{number}-{'spearman-' if kind == 'spearman' else ''}{influence}",
                claim=claim.format(influence=METHODS[influence].label),
                source=_SECOND_HAND,
                statistic=f"{statistic}: {_each_size(part, ['first', 'second'])})",
                setting=f"{setting}, {part['size'].iloc[-1]} per class",
                estimand=f"{_LAW}: {_WORDS[kind]} of means over pairs, divided by its noise "
                "ceiling, so that the noise of leave-one-out makes no block",
            )
        )
    return claims


def locality_claims(local: pd.DataFrame, setting: str) -> list[Claim]:
    """B7-local: do influence functions predict a small down-weighting better than a removal?

    Args:
        local: `tables.locality_table`; "as published" and, where it was run, "converged".
        setting: What was trained, in words.
    """
    claims = []
    smallest = local[local["fraction"] == local["fraction"].min()]
    for method, rows in smallest[smallest["method"].isin(("if_lissa", "if_ggn"))].groupby(
        "method", sort=False
    ):
        for training, part in rows.groupby("training", sort=False):
            part = part.sort_values("size")
            longer = "" if training == "as published" else f"-{training}"
            claims.append(
                Claim.from_rows(
                    part,
                    confirmed_if=above(MATTERS),
                    value="change",
                    count="n_pairs",
                    interval=INTERVAL,
                    rule=f"at every size, else partly or inconclusive; {_REASON}",
                    id=f"B7-local-{method}{longer}",
                    claim=f"{METHODS[method].label} predicts a small down-weighting better than a "
                    "removal",
                    source="this study",
                    statistic="corrected correlation with the shift at fraction "
                    f"{part['fraction'].iloc[0]:g} - that at removal (at the fraction: "
                    f"{_each_size(part, ['r'])})",
                    setting=f"{setting}, trained {training}, {part['size'].iloc[-1]} per class",
                    estimand=f"{_LAW}: correlation of means over pairs, divided by its ceiling",
                )
            )
    return claims


def low_noise_agreement_claims(table: pd.DataFrame, setting: str) -> list[Claim]:
    """B8 for each estimator: is it closer to leave-one-out on pairs of low noise?

    Args:
        table: `tables.low_noise_table`.
        setting: What was trained, in words.
    """
    claims = []
    for method in dict.fromkeys(table["method"]):
        part = _chosen(table, method=method, selection="top_snr")
        claims.append(
            Claim.from_rows(
                part,
                value="above_all",
                count="n_selected",
                id=f"B8-{method}",
                claim=f"{METHODS[method].label} agrees with leave-one-out better on pairs of low "
                "noise",
                source=_PAPER,
                status=combine(_rises(row) for row in part.to_dict("records")),
                statistic="correlation on the tenth of pairs with the largest |μ|/σ - that over "
                "all pairs (there, rise, rise above the tenth with the largest |μ|: "
                f"{_each_size(part, ['r', 'above_all', 'above_mu'])})",
                setting=f"{setting}, {part['size'].iloc[-1]} per class",
                estimand=f"{_LAW}: pairs chosen on one half of the seeds, judged on the other",
                rule=f"{INTERVAL}; at each size confirmed if the rise above all pairs and that "
                "above pairs chosen by |μ| alone lie above 0, partly if only the first does, "
                f"refuted if it does not and lies below {_RISES:g}; all sizes alike, else partly "
                f"or inconclusive; {_RISES:g} is half of the least difference that matters, as "
                "pairs that are measured better agree better",
            )
        )
    return claims


def _rises(row: Mapping[str, float]) -> str:
    rises = row["above_all_low"] > 0
    return decide(
        confirmed=bool(rises and row["above_mu_low"] > 0),
        refuted=bool(not rises and row["above_all_high"] < _RISES),
        partly=bool(rises),
    )


def lissa_claim(table: pd.DataFrame, setting: str) -> Claim:
    """R1: published influence is grad-dot times a slope that first-order curvature predicts.

    Args:
        table: `tables.lissa_table`.
        setting: What was trained, in words.
    """
    part = table[table["method"] == "if_lissa"]
    ratio = part["slope"] / part["predicted"]
    off, worst = (ratio - 1).abs(), float(part["pearson"].max())
    curved = part["predicted"] / part["flat"]
    second = (1 - curved) ** 2
    within = bool((off <= _ROUNDING + second).all())
    return Claim(
        id="R1",
        claim="published influence functions are grad-dot times the slope that first-order "
        "curvature predicts",
        source="this study",
        status=decide(
            confirmed=worst < -_LINEAR and within,
            refuted=worst > -_NOT_LINEAR or bool((off > _OFF + second).any()),
            partly=worst < -_LINEAR,
        ),
        statistic="slope on grad-dot / predicted slope, median and range over models; largest "
        f"Pearson {worst:.5f}; predicted slope / -c_T {curved.min():.2f} to {curved.max():.2f}",
        estimate=float(np.median(ratio)),
        ci=(float(ratio.min()), float(ratio.max())),
        n=len(part),
        setting=setting,
        estimand="a fixed model: every size, seed and checkpoint by itself",
        rule=f"confirmed if for every model Pearson < -{_LINEAR:g} and slope / predicted slope "
        f"lies within {_ROUNDING:g} + x² of 1, with x the predicted share of curvature, 1 - "
        "predicted slope / -c_T: what a first-order prediction leaves out is of the order x²; "
        f"refuted if any Pearson > -{_NOT_LINEAR:g} or slope is off by {_OFF:g} + x²; partly if "
        "only Pearson holds",
    )


def protocol_noise_claims(table: pd.DataFrame, setting: str) -> list[Claim]:
    """B1 under the other leave-one-out protocols.

    Args:
        table: `tables.protocol_table`.
        setting: What was trained, in words.
    """
    claims = []
    for protocol, word in (("unpaired_scratch", "unpaired"), ("continued", "continued")):
        for statistic, short in (("code", "code"), ("t_fdr", "t")):
            part = _chosen(table, protocol=protocol, quantity=f"share {statistic}")
            claims.append(
                Claim.from_rows(
                    part,
                    confirmed_if=below(MOST),
                    value="value",
                    count="n_pairs",
                    interval=INTERVAL,
                    rule="at every size, else partly or inconclusive",
                    id=f"B1-{word}-{short}",
                    claim="leave-one-out influence of a single point is usually drowned by "
                    f"training noise ({protocol})",
                    source=_PAPER,
                    statistic=f"share of pairs, {STATISTIC_WORDS[statistic]} "
                    f"({_each_size(part, ['value'])})",
                    setting=f"{setting}, {part['size'].iloc[-1]} per class",
                    estimand=f"law over seeds of the last checkpoint, protocol {protocol}",
                )
            )
    return claims


def protocol_claim(table: pd.DataFrame, setting: str) -> Claim:
    """R3: what leave-one-out shows (B1) and how it agrees with published influence (B3) depend on
    its protocol, where the order of batches is random.

    Args:
        table: `tables.protocol_table`.
        setting: What was trained, in words.
    """
    others = table[(table["protocol"] != "paired_scratch") & table["ordered"]]
    agreement, share = (
        _chosen(others, quantity=quantity) for quantity in ("r if_lissa", "share t_fdr")
    )
    published = _chosen(agreement, protocol="continued")
    return Claim.from_rows(
        published,
        value="change",
        count="n_pairs",
        id="R3",
        claim="what leave-one-out shows (B1) and how it agrees with published influence (B3) "
        "depend on its protocol",
        source="this study",
        status=combine(
            _depends(share[share["size"] == size], agreement[agreement["size"] == size])
            for size in published["size"]
        ),
        statistic="correlation with LiSSA IF under continued - paired retraining "
        f"({_each_size(published, ['change'])}); shares of significant pairs (t-test): "
        + "; ".join(
            f"{row['protocol']} {row['size']} per class {row['change']:+.2f}"
            for row in share.to_dict("records")
        ),
        setting=f"{setting}, {published['size'].iloc[-1]} per class",
        estimand="law over the same seeds under each protocol, last checkpoint",
        rule=f"changes from paired retraining, {INTERVAL}, at each size of more than one batch an "
        "epoch: confirmed if under some protocol the share of significant pairs and under some "
        f"the correlation with LiSSA IF change by more than {MATTERS:g} as a whole, partly if one "
        f"of the two does, refuted if all lie within ±{MATTERS:g}; all sizes alike, else partly "
        f"or inconclusive; {_REASON}",
    )


def _depends(*quantities: pd.DataFrame) -> str:
    far = [
        bool(((part["change_low"] > MATTERS) | (part["change_high"] < -MATTERS)).any())
        for part in quantities
    ]
    near = [
        bool(((part["change_low"] > -MATTERS) & (part["change_high"] < MATTERS)).all())
        for part in quantities
    ]
    return decide(confirmed=all(far), refuted=all(near), partly=any(far))
