"""The answer of notebook 02, made out of the evidence."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, REFUTED
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import joined, measured, told, upper

FIGURE = "agreement"
"""The figure that shows the answer at a glance."""
_NOTEBOOK = "02_ground_truth_vs_estimated"
_LISSA = "if_lissa"


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the ceiling and the nearest estimators, the published one, block and step,
    protocols, low noise; before the first run at `paper`, the verdicts of the claims.

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
        f"{_reached(values, ranks)}. With {largest['size'].iloc[0]} points a class "
        f"{_nearest(values)} by values, and {_nearest(ranks)} by ranks.",
        _published(agreement, evidence),
        _block(evidence),
        _protocols(evidence),
        _low_noise(evidence),
    ]


def _reached(*kinds: pd.DataFrame) -> str:
    near = [
        METHODS[name].words
        for name in kinds[0].index
        if any(table.loc[name, "gap_high"] >= 0 for table in kinds)
    ]
    if not near:
        return "No estimator agrees with leave-one-out as well as noise allows"
    return upper(f"{joined(near)} may agree with leave-one-out as well as noise allows")


def _nearest(rows: pd.DataFrame) -> str:
    best = rows["across"].idxmax()
    return f"{METHODS[best].words} comes nearest ({_of_ceiling(rows.loc[best])})"


def _of_ceiling(row: Mapping[str, Any]) -> str:
    return f"correlation {row['across']:.2f}, ceiling {row['ceiling']:.2f}"


def _published(agreement: pd.DataFrame, evidence: Evidence) -> str:
    rows = agreement[(agreement["method"] == _LISSA) & (agreement["kind"] == "pearson")]
    first, last = rows.sort_values("size").iloc[[0, -1]].to_dict("records")
    slope = evidence["R1"].claim
    return (
        f"The published influence function, {METHODS[_LISSA].words}, is grad-dot times a constant "
        f"({measured(slope.estimate, slope.ci)} of the slope predicted; bracket: all models). With "
        f"{first['size']} points a class it reaches {first['across']:.2f} of "
        f"{first['ceiling']:.2f}, with {last['size']} {last['across']:.2f} of "
        f"{last['ceiling']:.2f}."
    )


def _block(evidence: Evidence) -> str:
    block, between = (evidence[f"{key}-{_LISSA}"] for key in ("B7", "B7b"))
    first = {
        CONFIRMED: "form a block that leave-one-out stays out of",
        REFUTED: "form no block of their own",
    }.get(block.verdict, "form a block apart from leave-one-out at some sizes only")
    second = {
        CONFIRMED: "an additional step lies between",
        REFUTED: "an additional step does not lie between",
    }.get(between.verdict, "an additional step lies between at some sizes only")
    return (
        f"The published influence function, grad-dot and grad-cos {first} (correlation higher by "
        f"{measured(block.claim.estimate, block.claim.ci)} at the largest size); {second}."
    )


def _protocols(evidence: Evidence) -> str:
    table = evidence.table(_NOTEBOOK, "protocols")
    table = table[(table["size"] == table["size"].max()) & (table["quantity"] == "share t_fdr")]
    shares = table.set_index("protocol")
    paired, unpaired, continued = (
        told(shares.loc[name], "value", "%")
        for name in ("paired_scratch", "unpaired_scratch", "continued")
    )
    change = evidence["R3"].claim
    return (
        f"Which leave-one-out is meant decides as much: {paired} of pairs stand out from noise "
        f"with paired retraining, {unpaired} with other seeds, {continued} when training goes on "
        "from the trained model, which changes the correlation with LiSSA IF by "
        f"{measured(change.estimate, change.ci)}."
    )


def _low_noise(evidence: Evidence) -> str:
    rise = evidence[f"B8-{_LISSA}"].claim
    side = "better" if rise.ci[0] > 0 else "worse" if rise.ci[1] < 0 else "no better"
    return (
        f"On the tenth of pairs with the least noise LiSSA IF agrees {side}: its correlation "
        f"changes by {measured(rise.estimate, rise.ci)}."
    )
