"""The answer of notebook 01, made out of the evidence."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dtda_lib.study.claims import CONFIRMED
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.wording import joined, measured, told, upper

FIGURE = "influence_against_noise"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "01_noise_vs_influence"


def answer(evidence: Evidence) -> list[str]:
    """Up to five sentences: leave-one-out by size, what matters, replication, pairing, estimators.

    Shares are of (training point, query) pairs. A sentence on what the evidence has not tested is
    left out.
    """
    profile = evidence.profile(_NOTEBOOK) or EVIDENCE
    shares = evidence.table(_NOTEBOOK, "significant_shares", profile)
    again = evidence.table(_NOTEBOOK, "replication", profile)
    few, many = _shares(shares, "loo", "t_fdr").iloc[[0, -1]].to_dict("records")
    single = _shares(shares, "loo", "code").iloc[-1]
    found = again[(again["method"] == "loo") & (again["statistic"] != "code")].iloc[-1]
    dot, cos = (_shares(shares, f"grad_{name}", "t_fdr").iloc[-1] for name in ("dot", "cos"))
    there = f"with {many['size']} points a class"
    return [
        f"{_trend(few, many)}, with paired retraining and a false discovery rate of 5 %: the mean "
        f"of {many['n_seeds']} retrainings stands out for {_share(few)} of pairs with "
        f"{few['size']} points a class, for {_share(many)} {there}. A single retraining can "
        f"be told from noise for {_share(single)} (noise alone: "
        f"{measured(single['noise'], unit='%')}).",
        f"Of the pairs that stand out {there}, {_share(found)} have the same sign and p < .05 on "
        f"fresh seeds; of all pairs {measured(found['base_rate'], unit='%')} do, of noise "
        f"{measured(found['chance'], unit='%')}.",
        *_claimed(evidence, profile, there),
        f"Of the estimators, {there}, grad-dot stands out by its mean for {_share(dot)} of pairs, "
        f"grad-cos for {_share(cos)}; a single grad-dot for "
        f"{_share(_shares(shares, 'grad_dot', 'code').iloc[-1])}.",
    ]


def finding(evidence: Evidence) -> str | None:
    """Noise drowns a single retraining, although seeds are shared; None unless B1 and R6 hold."""
    alone, pairing = (evidence.verdict_of(name) for name in ("B1-code", "R6"))
    if {alone, pairing} != {CONFIRMED}:
        return None
    size = evidence.table(_NOTEBOOK, "significant_shares")["size"].max()
    return (
        "**The influence of one training point drowns in the noise of training.** With "
        f"{size} digits a class, one retraining without a digit stands out from noise for "
        f"{evidence['B1-code'].number('%')} of pairs, although both trainings share their seeds. "
        f"With seeds of their own the noise is {evidence['R6'].number()} times larger still."
    )


def _claimed(evidence: Evidence, profile: str, there: str) -> list[str]:
    """Sentences that claims of that profile give: influence that matters, pairing, checkpoints."""
    claims = {f.claim.id: f.claim for f in evidence.of(_NOTEBOOK) if f.profile == profile}
    matters, pairing, late = (claims.get(name) for name in ("B1-matters", "R6", "B9"))
    sentences = []
    if matters:
        sentences.append(
            f"{upper(there)}, {measured(matters.estimate, matters.ci, '%')} of the pairs with an "
            "influence that matters, at least 0.01 nats, stand out."
        )
    if pairing and late:
        sentences.append(
            f"Pairing the seeds divides σ by {measured(pairing.estimate, pairing.ci)}. Averaging "
            f"late checkpoints changes the mean published p by {measured(late.estimate, late.ci)}; "
            f"it multiplies σ by {_averaged(evidence.table(_NOTEBOOK, 'checkpoints', profile))}."
        )
    return sentences


def _averaged(checkpoints: pd.DataFrame) -> str:
    """What averaging all late checkpoints multiplies sigma by, at each size, and where that is not
    shown to be less than 1."""
    rows = checkpoints[checkpoints["method"] == "loo"].sort_values(["size", "k"])
    rows = rows.groupby("size").last().reset_index().to_dict("records")
    factors = joined(f"{told(row, 'sigma')} with {row['size']} points a class" for row in rows)
    stays = [str(row["size"]) for row in rows if not row["sigma_high"] < 1]
    if not stays:
        return factors
    return f"{factors}, so σ is not shown to fall with {joined(stays)} points a class"


def _shares(table: pd.DataFrame, method: str, statistic: str) -> pd.DataFrame:
    chosen = (table["method"] == method) & (table["statistic"] == statistic)
    return table[chosen].sort_values("size")


def _share(row: Mapping[str, Any]) -> str:
    return told(row, "share", "%")


def _trend(few: Mapping[str, Any], many: Mapping[str, Any]) -> str:
    if few["size"] == many["size"]:
        return "Noise hides the influence of many points"
    if many["high"] < few["low"]:
        return "The influence of one point drowns in the noise of training as the data grow"
    if many["low"] > few["high"]:
        return "The influence of one point emerges from the noise of training as the data grow"
    return "The influence of one point stands out from noise alike at every size"
