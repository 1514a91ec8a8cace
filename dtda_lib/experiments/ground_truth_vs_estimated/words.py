"""The answer of notebook 02, made out of the evidence."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, PARTLY, REFUTED
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import measured, upper

FIGURE = "agreement"
"""The figure that shows the answer at a glance."""
_NOTEBOOK = "02_ground_truth_vs_estimated"
_LISSA = "if_lissa"


def answer(evidence: Evidence) -> list[str]:
    """The published estimator below its ceiling, the nearest one, what it is, block, step and low
    noise, protocols; before the first run at `paper`, the verdicts of the claims.

    Correlations are of means over seeds, between halves of the seeds; intervals are over seeds,
    training points and queries.
    """
    if "B7b-if_lissa" not in evidence or evidence["B7b-if_lissa"].profile != EVIDENCE:
        return [f"{one.headline.words}: {one.told}." for one in evidence.standings(_NOTEBOOK)]
    agreement = evidence.table(_NOTEBOOK, "agreement")
    largest = agreement[agreement["size"] == agreement["size"].max()]
    values, ranks = (
        largest[largest["kind"] == kind].set_index("method") for kind in ("pearson", "spearman")
    )
    return [
        _apart(agreement, evidence),
        _nearest(values, ranks),
        _published(evidence),
        f"{_block(evidence)} {_low_noise(evidence)}",
        _protocols(evidence),
    ]


def _apart(agreement: pd.DataFrame, evidence: Evidence) -> str:
    """How far the published estimator stays below its ceiling, at the smallest and largest size."""
    rows = agreement[(agreement["method"] == _LISSA) & (agreement["kind"] == "pearson")]
    first, last = rows.sort_values("size").iloc[[0, -1]].to_dict("records")
    said = {
        CONFIRMED: "does not predict leave-one-out as well as noise allows",
        REFUTED: "predicts leave-one-out as well as noise allows",
        PARTLY: "predicts leave-one-out as well as noise allows at some sizes only",
    }.get(evidence[f"B3-{_LISSA}"].verdict, "may predict leave-one-out as well as noise allows")
    return (
        f"The influence function of the published code, {METHODS[_LISSA].words}, {said}: with "
        f"{first['size']} points a class its correlation falls short of that by {_short(first)}, "
        f"with {last['size']} by {_short(last)}. Both are means of the same late checkpoints."
    )


def _nearest(values: pd.DataFrame, ranks: pd.DataFrame) -> str:
    """The estimator that comes nearest at the largest size, by values and by ranks."""
    best, by_ranks = (rows["gap"].idxmax() for rows in (values, ranks))
    name = METHODS[best].words
    least = f"{upper(name)} falls short least there: by {_short(values.loc[best])}"
    if by_ranks != best:
        return f"{least}; by ranks {METHODS[by_ranks].words}, by {_short(ranks.loc[by_ranks])}."
    return f"{least}, and by {_short(ranks.loc[best])} in ranks."


def _short(row: Mapping[str, Any]) -> str:
    """Ceiling - correlation, with its interval."""
    return measured(-row["gap"], (-row["gap_high"], -row["gap_low"]))


def _published(evidence: Evidence) -> str:
    slope = evidence["R1"].claim
    said = {CONFIRMED: "is", REFUTED: "is not"}.get(slope.status, "may be")
    low, high = slope.ci
    return (
        f"In each model {METHODS[_LISSA].words} {said} grad-dot times the factor that first-order "
        f"curvature predicts: {slope.estimate:.3f} times it, {low:.3f} to {high:.3f} over models."
    )


def _block(evidence: Evidence) -> str:
    """Do local estimators form a block, and does a step lie between: by values, by ranks."""
    first = {
        CONFIRMED: "local estimators form a block that leave-one-out stays out of",
        REFUTED: "local estimators form no block of their own",
        PARTLY: "local estimators form a block apart from leave-one-out at some sizes only",
    }
    second = {
        CONFIRMED: "an additional step lies between",
        REFUTED: "an additional step does not lie between",
        PARTLY: "an additional step lies between at some sizes only",
    }
    told = []
    for words, tail in (("By values", _LISSA), ("By ranks", f"spearman-{_LISSA}")):
        block, between = (evidence[f"{key}-{tail}"] for key in ("B7", "B7b"))
        blocked = first.get(block.verdict, "it is open whether local estimators form a block")
        lies = second.get(between.verdict, "whether an additional step lies between is open")
        told.append(
            f"{words}, {blocked} (correlation within it - with leave-one-out, at the largest size: "
            f"{block.number()}); {lies} ({between.number()})."
        )
    return " ".join(told)


def _low_noise(evidence: Evidence) -> str:
    rise = evidence[f"B8-{_LISSA}"]
    pairs = "the tenth of pairs with the least noise"
    name = METHODS[_LISSA].words
    said = {
        CONFIRMED: f"{name} agrees better on {pairs}",
        REFUTED: f"{name} agrees no better on {pairs}",
        PARTLY: f"{name} agrees better on {pairs} at some sizes only",
    }.get(rise.verdict, f"Whether {name} agrees better on {pairs} is open")
    return f"{said}: its correlation changes by {rise.number()}."


def _protocols(evidence: Evidence) -> str:
    """What going on from the trained model changes, in the place of retraining: R3."""
    change = evidence["R3"]
    matters = {
        CONFIRMED: "Which leave-one-out is meant matters",
        PARTLY: "Which leave-one-out is meant matters at some sizes",
        REFUTED: "It hardly matters which leave-one-out is meant",
    }.get(change.verdict, "Whether it matters which leave-one-out is meant is open")
    return (
        f"{matters}: where training goes on from the trained model, in the place of paired "
        f"retraining, the correlation with {METHODS[_LISSA].words} changes by {change.number()} at "
        "the largest size."
    )
