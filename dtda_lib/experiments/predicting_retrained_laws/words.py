"""What the tables of notebook 05 say, in sentences made out of them.

No result in the notebook's text is typed: where a number changes, its sentence does. Each function
takes tables of `predicted_laws_tables` and returns Markdown.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import xarray as xr
from IPython.display import Markdown

from dtda_lib.study.wording import (
    bullets,
    grouped,
    joined,
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

COST_GOAL = 20
"""Our goal: trainings of a run for which forward unrolling of all its points may last at most."""
_SHARES = {
    "confirmed": "nearer than no change in most cases",
    "partly": "nearer in most cases over all sizes, but not at each size",
    "refuted": "**not** nearer than no change in most cases",
    "inconclusive": "not shown to be nearer than no change in most cases",
}


def one_group_words(w2: xr.Dataset, removal: int, estimators: Sequence[str]) -> Markdown:
    """One group, all queries: distances from the retrained law, and how many come nearer."""
    one = w2.isel(removal=removal)
    far = {name: float(one[name].mean() ** 0.5) for name in ("no_change", "perfect")}
    parts = []
    for estimator in estimators:
        guess = one["predicted"].sel(estimator=estimator)
        nearer = int((guess < one["no_change"]).sum())
        parts.append(
            f"{looks(estimator).words} {float(guess.mean() ** 0.5):.3f}, nearer for {nearer} of "
            f"{guess.sizes['query']} queries"
        )
    return Markdown(
        f"Root mean square W2 from the retrained law over all queries: no change "
        f"{far['no_change']:.3f}; {'; '.join(parts)}; a perfect prediction {far['perfect']:.3f}."
    )


def share_words(shares: pd.DataFrame) -> Markdown:
    """Which predictions are nearer than no change in most cases; random removals only."""
    shares = shares[shares["set"] != LEVERAGE]
    sentences = []
    for kind, words in (("mean", "means"), ("w2", "W2"), ("sd", "standard deviations")):
        verdicts = []
        for estimator in ("unrolling", "if_ggn", "rif", "if_ggn_raw", "other_group"):
            rows = shares[(shares["estimator"] == estimator) & (shares["kind"] == kind)]
            whole = rows[rows["set"] == ALL].iloc[0]
            told = f"{looks(estimator).words} {with_interval(whole, 'share')}"
            verdicts.append((_SHARES[share_status(rows)], told))
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
    """What predictions leave of the error of means and sds, from the smallest size to the largest.

    `sets`: the random ones, smallest first.
    """
    by = errors.set_index(["kind", "estimator", "set"]).sort_index()
    sentences = []
    for estimator in ("unrolling", "ud_corrected", "if_ggn", "rif", "joint"):
        rows = by.loc[("mean", estimator)].loc[list(sets)]
        control = by.loc[("mean", "other_group")].loc[list(sets)]
        no_use = rows.index[rows["error"] >= control["error"]]
        beaten = (
            f"no better than the control at {joined(no_use)}"
            if len(no_use)
            else "better than the control at every size"
        )
        sentences.append(f"**{upper(looks(estimator).words)}**: {_left(rows)}; {beaten}.")
    sentences.append(f"**The control**, unrolling for another group: {_left(control)}.")
    parts = []
    for estimator in ("unrolling", "if_ggn", "joint"):
        rows = by.loc[("sd", estimator)].loc[list(sets)]
        parts.append(
            f"{looks(estimator).words} at {joined(rows.index[rows['high'] < 1], 'no size')}"
        )
    sentences.append(
        f"**Standard deviations** are shown to be predicted better than by no change by "
        f"{'; '.join(parts)}."
    )
    return bullets(sentences)


def _left(rows: pd.DataFrame) -> str:
    """Errors at the smallest and the largest size, and the range over all; rows by size."""
    errors = rows["error"]
    least, most = errors.idxmin(), errors.idxmax()
    return (
        f"{percent(errors.iloc[0])} of the error of means is left at {errors.index[0]} and "
        f"{percent(errors.iloc[-1])} at {errors.index[-1]} (least {percent(errors[least])} at "
        f"{least}, most {percent(errors[most])} at {most})"
    )


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
        sets = joined(
            f"{number(part['kept'].mean())} over "
            f"{'points of high leverage' if name == LEVERAGE else 'random points'}"
            for name, part in points.groupby("set", sort=False)
        )
        sentences.append(
            f"**{upper(looks(estimator).words)}**: {with_interval(rows.loc[('kept', estimator)])} "
            f"of the shift of the mean is predicted, {verdict}. "
            f"Single points lie {scatter:.2f} from {target} (root mean square, the noise of seeds "
            f"included); means are {sets}."
        )
    return bullets(sentences)


def spread_words(spreads: pd.DataFrame, sets: Sequence[str]) -> Markdown:
    """How well changes of the variance are ranked, and by how much they are overstated."""
    by = spreads.set_index(["what", "set", "estimator"]).sort_index()
    sentences = []
    for estimator in ("unrolling", "if_ggn", "other_group"):
        verdicts = []
        for name in sets:
            gap = by.loc[("gap", name, estimator)]
            r, ceiling = (by.loc[(w, name, estimator), "estimate"] for w in ("r", "ceiling"))
            verdict = side(
                gap, 0, above="above the ceiling", below="below the ceiling beyond error",
                unclear="not told from the ceiling",
            )  # fmt: skip
            verdicts.append((verdict, f"{number(r)} of {number(ceiling)} at {name}"))
        told = "; ".join(f"{v}: {joined(names)}" for v, names in grouped(verdicts).items())
        sentences.append(f"**{upper(looks(estimator).words)}**, correlation {told}.")
    parts = []
    for name in sets:
        one = by.loc[("r", name)]
        guesses = joined(
            f"{one.loc[e, 'predicted']:+.2f} by {looks(e).words}" for e in ("unrolling", "if_ggn")
        )
        parts.append(f"{one.loc['unrolling', 'change']:+.2f} at {name} ({guesses})")
    sentences.append(f"**Mean log variance ratio**, true and predicted: {joined(parts)}.")
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

    `seconds` a run: `predicted_laws_estimates.unrolling_cost`.
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
