"""The answer of notebook 01, made out of the evidence."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dtda_lib.study.claims import CONFIRMED
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.wording import measured, side, told

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
    sentences = [
        f"{_trend(few, many)}: the mean of {many['n_seeds']} retrainings stands out for "
        f"{_share(few)} of pairs with {few['size']} points a class, and for {_share(many)} with "
        f"{many['size']}; a single retraining for {_share(single)} "
        f"(noise alone: {measured(single['noise'], unit='%')}).",
        f"Of the pairs that stand out with {found['size']} points a class, {_share(found)} do so "
        f"again with fresh seeds; of all pairs, {measured(found['base_rate'], unit='%')} do.",
        *_claimed(evidence, profile),
        f"Estimators are {_steadiness(shares, many)}: with {many['size']} points a class grad-dot "
        f"stands out for {_share(_shares(shares, 'grad_dot', 't_fdr').iloc[-1])} of pairs, "
        f"grad-cos for {_share(_shares(shares, 'grad_cos', 't_fdr').iloc[-1])}.",
    ]
    return sentences


def finding(evidence: Evidence) -> str | None:
    """What a stranger should know of this notebook; None where the evidence does not say it."""
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


def _claimed(evidence: Evidence, profile: str) -> list[str]:
    """Sentences that claims of that profile give: influence that matters, pairing, checkpoints."""
    claims = {f.claim.id: f.claim for f in evidence.of(_NOTEBOOK) if f.profile == profile}
    matters, pairing, sigma = (claims.get(name) for name in ("B1-matters", "R6", "B9-sigma"))
    sentences = []
    if matters:
        sentences.append(
            "Of the pairs with an influence that matters, at least 0.01 nats, "
            f"{measured(matters.estimate, matters.ci, '%')} stand out."
        )
    if pairing and sigma:
        sentences.append(
            f"Pairing the seeds divides σ by {measured(pairing.estimate, pairing.ci)}; averaging "
            f"late checkpoints multiplies it by {measured(sigma.estimate, sigma.ci)}."
        )
    return sentences


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


def _steadiness(shares: pd.DataFrame, loo: Mapping[str, Any]) -> str:
    lows = [_shares(shares, name, "t_fdr").iloc[-1]["low"] for name in ("grad_dot", "grad_cos")]
    return side(
        {"low": min(lows), "high": min(lows)},
        loo["high"],
        above="less noisy than the shift that they are meant to predict",
        below="not shown to be less noisy than leave-one-out",
        unclear="not shown to be less noisy than leave-one-out",
    )
