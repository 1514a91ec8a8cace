"""The answer of notebook 02, made out of the evidence."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, PARTLY, REFUTED
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import measured, told, upper

FIGURE = "agreement"
"""The figure that shows the answer at a glance."""
_NOTEBOOK = "02_ground_truth_vs_estimated"
_LISSA = "if_lissa"


def answer(evidence: Evidence) -> list[str]:
    """The published estimator and the nearest one beside their ceilings, what it is, block, step
    and low noise, protocols; before the first run at `paper`, the verdicts of the claims.

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
        f"{_apart(agreement, evidence)} {_nearest(values, ranks)}",
        _published(evidence),
        f"{_block(evidence)} {_low_noise(evidence)}",
        _protocols(evidence),
    ]


def finding(evidence: Evidence) -> str | None:
    """What a stranger should know of this notebook; None where the evidence does not say it."""
    if evidence.verdict_of(f"B3-{_LISSA}") != CONFIRMED:
        return None
    agreement = evidence.table(_NOTEBOOK, "agreement")
    rows = agreement[(agreement["method"] == _LISSA) & (agreement["kind"] == "pearson")]
    last = rows.sort_values("size").iloc[-1].to_dict()
    return (
        "**What an influence function misses is not noise alone.** With "
        f"{last['size']} digits a class, that of the published code correlates with leave-one-out "
        f"at {_of_ceiling(last)}."
    )


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
        f"{first['size']} points a class it reaches a correlation of {_of_ceiling(first)}, with "
        f"{last['size']} {_of_ceiling(last)}."
    )


def _nearest(values: pd.DataFrame, ranks: pd.DataFrame) -> str:
    """The estimator that comes nearest at the largest size, and those that may reach a ceiling."""
    best, by_ranks = (rows["across"].idxmax() for rows in (values, ranks))
    name = METHODS[best].words
    told = f"{upper(name)} comes nearest there: {_of_ceiling(values.loc[best])} by values"
    if by_ranks != best:
        return f"{told}; {METHODS[by_ranks].words} {_of_ceiling(ranks.loc[by_ranks])} by ranks."
    return f"{told}, {_of_ceiling(ranks.loc[best])} by ranks."


def _of_ceiling(row: Mapping[str, Any]) -> str:
    return f"{row['across']:.2f} where noise allows {row['ceiling']:.2f}"


def _published(evidence: Evidence) -> str:
    slope = evidence["R1"].claim
    said = {CONFIRMED: "is", REFUTED: "is not"}.get(slope.status, "may be")
    return (
        f"{METHODS[_LISSA].words} {said} grad-dot times a constant "
        f"({measured(slope.estimate, slope.ci)} of the predicted slope, over all models)."
    )


def _block(evidence: Evidence) -> str:
    block, between = (evidence[f"{key}-{_LISSA}"] for key in ("B7", "B7b"))
    first = {
        CONFIRMED: "Local estimators form a block that leave-one-out stays out of",
        REFUTED: "Local estimators form no block of their own",
        PARTLY: "Local estimators form a block apart from leave-one-out at some sizes only",
    }.get(block.verdict, "Whether local estimators form a block apart is undecided")
    second = {
        CONFIRMED: "an additional step lies between",
        REFUTED: "an additional step does not lie between",
        PARTLY: "an additional step lies between at some sizes only",
    }.get(between.verdict, "so is whether an additional step lies between")
    known = {CONFIRMED, PARTLY, REFUTED}
    if between.verdict not in known and block.verdict in known:
        second = "whether an additional step lies between is undecided"
    numbers = [measured(one.claim.estimate, one.claim.ci) for one in (block, between)]
    return (
        f"{first} (correlation within it - with leave-one-out: {numbers[0]} at the largest size); "
        f"{second} ({numbers[1]})."
    )


def _low_noise(evidence: Evidence) -> str:
    rise = evidence[f"B8-{_LISSA}"]
    said = {
        CONFIRMED: "agrees better on the tenth of pairs with the least noise",
        REFUTED: "agrees no better on the tenth of pairs with the least noise",
        PARTLY: "agrees better on the tenth of pairs with the least noise at some sizes only",
    }.get(rise.verdict, "may or may not agree better on the tenth of pairs with the least noise")
    return (
        f"{METHODS[_LISSA].words} {said}: its correlation changes by "
        f"{measured(rise.claim.estimate, rise.claim.ci)}."
    )


def _protocols(evidence: Evidence) -> str:
    """Shares of pairs beyond noise at the smallest size of several batches; the change of R3."""
    table = evidence.table(_NOTEBOOK, "protocols")
    table = table[table["ordered"].astype(bool) & (table["quantity"] == "share t_fdr")]
    size = table["size"].min()
    shares = table[table["size"] == size].set_index("protocol")
    paired, unpaired, continued = (
        told(shares.loc[name], "value", "%")
        for name in ("paired_scratch", "unpaired_scratch", "continued")
    )
    change = evidence["R3"].claim
    return (
        f"Which leave-one-out is meant matters: with {size} points a class {paired} of pairs stand "
        f"out from noise with paired retraining, {unpaired} with other seeds, {continued} when "
        "training goes on from the trained model. That last protocol changes the correlation with "
        f"{METHODS[_LISSA].words} by {measured(change.estimate, change.ci)} at the largest size."
    )
