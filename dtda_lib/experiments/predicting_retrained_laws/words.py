"""The answer of notebook 05, and what its tables decide, in sentences made out of them."""

from collections.abc import Mapping, Sequence

import pandas as pd
import xarray as xr
from IPython.display import Markdown

from dtda_lib.study.claims import CONFIRMED, REFUTED
from dtda_lib.study.evidence import Evidence
from dtda_lib.study.wording import (
    bullets,
    grouped,
    joined,
    measured,
    number,
    percent,
    side,
    upper,
    with_interval,
)

from .claims import NEAR, share_status
from .laws import LEVERAGE
from .methods import looks
from .tables import ALL

_NOTEBOOK = "05_predicting_retrained_laws"
COST_GOAL = 20
"""Our goal: trainings of a run for which forward unrolling of all its points may last at most."""
_SHARES = {
    "confirmed": "nearer than no change in most cases",
    "partly": "nearer in most cases over all sizes, but not at each size",
    "refuted": "**not** nearer than no change in most cases",
    "inconclusive": "not shown to be nearer than no change in most cases",
}


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the law, the mean and the spread, single points, and large groups.

    Shares are of cases, a group and a query each; their intervals cover both intervals of a claim.
    """
    law, influence = evidence["C1-unrolling-w2"], evidence["C1-if_ggn-w2"]
    mean, spread = evidence["C1-unrolling-mean"], evidence["C1-unrolling-sd"]
    point = evidence["T-unrolling-network"].claim
    errors = evidence.table(_NOTEBOOK, "group_size")
    errors = errors[errors["kind"] == "mean"]
    own, other = (errors[errors["estimator"] == name] for name in ("unrolling", "other_group"))
    few, half = (measured(row["error"], unit="%") for _, row in own.iloc[[0, -1]].iterrows())
    off = measured(point.estimate, point.ci)
    return [
        f"{_verdict(law.verdict)}.",
        f"The law predicted by unrolling is nearer, by W2, in {law.number('%')} of cases, that of "
        f"{looks('if_ggn').label} in {influence.number('%')} (chance: 50 %).",
        f"The mean alone is nearer in {mean.number('%')} of cases, the spread in "
        f"{spread.number('%')}.",
        f"Of a single point's shift unrolling predicts a share of 1 − leverage, off by {off}: what "
        "a first derivative must miss.",
        f"Unrolling leaves {few} of the error of means without {own['set'].iloc[0]} of the points "
        f"and {half} without {own['set'].iloc[-1]}, where its prediction for another group leaves "
        f"{measured(other['error'].iloc[-1], unit='%')}.",
    ]


def _verdict(status: str) -> str:
    nearer = "predicted laws come nearer to those of retrained models than no change does"
    if status == CONFIRMED:
        return f"Yes: {nearer}"
    return (
        f"No: it is not so that {nearer}" if status == REFUTED else f"It is open whether {nearer}"
    )


def share_words(shares: pd.DataFrame) -> Markdown:
    """Which predictions are nearer than no change in most cases; random removals only."""
    shares = shares[shares["set"] != LEVERAGE]
    sentences = []
    for kind, words in (("mean", "means"), ("w2", "W2"), ("sd", "standard deviations")):
        verdicts = []
        for estimator in ("unrolling", "if_ggn", "rif", "if_ggn_raw", "other_group"):
            rows = shares[(shares["estimator"] == estimator) & (shares["kind"] == kind)]
            verdicts.append((_SHARES[share_status(rows)], looks(estimator).words))
        told = "; ".join(f"{v}: {joined(names)}" for v, names in grouped(verdicts).items())
        sentences.append(f"**By {words}**, {told}.")
    rows = shares[shares["estimator"].eq("other_group") & shares["kind"].eq("mean")]
    rows = rows[rows["set"] != ALL]
    helps = [row.set for row in rows.itertuples() if row.low > 0.5]
    sentences.append(
        "**Does it matter which points are removed?** By means, the prediction for another group "
        f"of the same size helps, beyond the noise of seeds, at these sizes: {joined(helps)}."
    )
    return bullets(sentences)


def error_words(errors: pd.DataFrame, sets: Sequence[str]) -> Markdown:
    """What predictions leave of the error of means, and which beat the prediction for others.

    `sets`: the random ones, smallest first.
    """
    by = errors.set_index(["kind", "estimator", "set"]).sort_index()
    control = by.loc[("mean", "other_group")].loc[list(sets)]
    sentences = []
    for estimator in ("unrolling", "ud_corrected", "if_ggn", "rif", "joint"):
        rows = by.loc[("mean", estimator)].loc[list(sets)]
        no_use = rows.index[rows["error"] >= control["error"]]
        beaten = (
            f"no better than the control at {joined(no_use)}"
            if len(no_use)
            else "better than the control at every size"
        )
        sentences.append(f"**{upper(looks(estimator).words)}** leaves {_left(rows)}; {beaten}.")
    sentences.append(f"**The control**, unrolling for another group, leaves {_left(control)}.")
    return bullets(sentences)


def _left(rows: pd.DataFrame) -> str:
    """Errors at the smallest and the largest size; rows by size."""
    first, last = rows["error"].iloc[[0, -1]]
    ends = rows.index[[0, -1]]
    return f"{percent(first)} of the error of means at {ends[0]} and {percent(last)} at {ends[1]}"


def leverage_words(kept: pd.DataFrame, single: pd.DataFrame) -> Markdown:
    """Which share of a single point's shift is predicted, against 1 - h, and how it scatters."""
    rows = kept.set_index(["what", "estimator"])
    expected = float(rows.loc[("1 - h", "unrolling"), "estimate"])
    sentences = [f"Over all single points, the mean of 1 − h is {expected:.2f}."]
    for estimator in ("unrolling", "if_ggn", "ud_corrected", "rif"):
        corrected = estimator in ("ud_corrected", "rif")
        row = rows.loc[("kept" if corrected else "less", estimator)]
        target, middle = ("all of it", 1.0) if corrected else ("1 − h", 0.0)
        if middle - NEAR < row["low"] and row["high"] < middle + NEAR:
            verdict = f"{target} to within {NEAR:g}, beyond error"
        else:
            verdict = side(
                row, middle, above=f"more than {target}, beyond error",
                below=f"less than {target}, beyond error",
                unclear=f"not told from {target}, nor shown to be within {NEAR:g} of it",
            )  # fmt: skip
        points = single[single["estimator"] == estimator]
        off = points["kept"] - (1.0 if corrected else 1 - points["leverage"])
        scatter = float((off**2).mean() ** 0.5)
        sentences.append(
            f"**{upper(looks(estimator).words)}**: the share is {verdict}. Single points lie "
            f"{scatter:.2f} from {target} (root mean square, the noise of seeds included)."
        )
    return bullets(sentences)


def spread_words(spreads: pd.DataFrame, errors: pd.DataFrame, sets: Sequence[str]) -> Markdown:
    """Is the change of the spread predicted: its size and its rank?

    Args:
        spreads: `tables.spread_table`.
        errors: `tables.error_table`.
        sets: The random ones, smallest first.
    """
    by = spreads.set_index(["what", "set", "estimator"]).sort_index()
    sd = errors[errors["kind"] == "sd"].set_index(["estimator", "set"]).sort_index()
    sentences = []
    for estimator in ("unrolling", "if_ggn", "joint"):
        rows = sd.loc[estimator].loc[list(sets)]
        smaller = joined(rows.index[rows["high"] < 1], "no size")
        gaps = {name: by.loc[("gap", name, estimator)] for name in sets}
        reached = joined((name for name in sets if gaps[name]["high"] >= 0), "no size")
        sentences.append(
            f"**{upper(looks(estimator).words)}**: its error of standard deviations is smaller "
            f"than that of no change, beyond error, at {smaller}; its correlation is not told from "
            f"the ceiling at {reached}."
        )
    return bullets(sentences)


def hessian_words(smallest: xr.DataArray, errors: pd.DataFrame) -> Markdown:
    """How often the damped Hessian has a negative eigenvalue, and what it leaves of the error."""
    negative = int((smallest < 0).sum())
    rows = errors.set_index("estimator")
    hessian, ggn = rows.loc["if_hessian"], rows.loc["if_ggn"]
    width = [row["high"] - row["low"] for row in (hessian, ggn)]
    wider = "wider" if width[0] > width[1] else "no wider"
    return Markdown(
        f"The damped Hessian has a negative eigenvalue in {negative} of {smallest.size} runs. Of "
        f"the error of means at {hessian['set']} it leaves {with_interval(hessian, 'error')}, "
        f"Gauss-Newton {with_interval(ggn, 'error')}: its interval is {wider}."
    )


def cost_words(seconds: Mapping[str, float], n_points: int) -> Markdown:
    """What one unrolling costs against training, by two baselines, and which meets our goal.

    `seconds` a run: `estimates.unrolling_cost`.
    """
    sentences = []
    for name, baseline in (
        ("alone", "a plain loop that trains one run, as a script of one's own would"),
        ("stacked", "training hundreds of runs at once, as this study trains"),
    ):
        times = seconds["unrolled"] / seconds[name]
        met = "met" if times <= COST_GOAL else "**missed**"
        sentences.append(
            f"Against {baseline}, one unrolling of {n_points} points takes the time of "
            f"{number(times, 0 if times >= 10 else 1)} trainings: the goal of at most "
            f"{COST_GOAL} is {met}."
        )
    return bullets(sentences)
