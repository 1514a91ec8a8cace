"""What the tables of notebook 06 say, in sentences made out of them.

No result in the notebook's text is typed: where a number changes, its sentence does. Each function
takes tables of `limit*` and returns Markdown.
"""

from collections.abc import Iterator, Mapping

import pandas as pd
import xarray as xr
from IPython.display import Markdown

from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import (
    bullets,
    grouped,
    joined,
    percent,
    side,
    upper,
    with_interval,
    with_percents,
)

from .claims import FALLING, NEAR, ROOT, ROUND_OFF
from .equal_time import QUANTITY, STEP_SIZES
from .network import INFLUENCES, OVER_TIME, THRESHOLDS, difference
from .network_claims import PAPER_CORRELATION, Row, late_rows
from .small import LATE

Found = Mapping[tuple[str, int], xr.Dataset]
_LINKS = {"identity": "linear regression", "logistic": "logistic regression"}
STRONG = "decaying, strong decay"
SHOWN_AS = {
    "constant 0.05": "constant steps 0.05",
    "constant 0.0125": "constant steps 0.0125",
    "decaying": "decaying steps",
    STRONG: "decaying steps and tenfold weight decay",
    "momentum": "momentum",
    "Adam": "Adam",
}

# ---------------------------------------------------------------- problems of a few parameters


def retraining_words(retrained: pd.DataFrame) -> Markdown:
    """Is Eq. 6 the derivative of retraining, and how far does first order under-shoot?"""
    worst = retrained["difference"].max()
    far = retrained.loc[retrained["leverage"].idxmax()]
    off = (retrained["ratio"] / retrained["expected"] - 1).abs().max()
    agree = "agrees" if worst < 1e-6 else "does **not** agree"
    return Markdown(
        f"The recursion {agree} with finite differences of retraining to a relative 1e-6. The far "
        f"point has leverage {far['leverage']:.2f}: the shift of the weights upon its removal is "
        f"{far['ratio']:.1f} times as long as r, where 1/(1 − h) is {far['expected']:.1f}. Over "
        f"all points the length differs from 1/(1 − h) by at most {percent(off, 1)}."
    )


def convergence_words(ends: pd.DataFrame, rates: pd.DataFrame) -> Markdown:
    """How far from the influence function schedules end, and whether they get nearer, by problem.

    `ends`: the last rows of `limit_small.convergence_table`; `rates`: `limit_small.rate_table`.
    """
    sentences = []
    for problem, rows in ends.groupby("problem", sort=False):
        by = rows.set_index("schedule")
        decaying, others = by.loc["decaying"], by.drop(index="decaying")
        of_problem = rates[rates["problem"] == problem]
        ratios = of_problem[of_problem["quantity"] == "decaying over constant"]
        nearer = (ratios["high"] < 1).all()
        verdict = (
            "nearer, beyond error, than each" if nearer else "**not** shown to be nearer than each"
        )
        told = joined(
            f"{with_percents(row, 'error')} with {_schedule(name)}"
            for name, row in others.iterrows()
        )
        null = rows["null"].max()
        slopes = of_problem[of_problem["quantity"] == "late slope"].set_index("schedule")
        falls = {verdict: joined(names) for verdict, names in grouped(_falling(slopes)).items()}
        sentences.append(
            f"**{upper(_LINKS[problem])}**, after {decaying['step']:,} steps: N r is "
            f"{with_percents(decaying, 'error')} off the influence function with decaying steps, "
            f"{told}. Run by run, decaying steps end {verdict} constant step. Over the last "
            f"{LATE}-fold of the steps the distance "
            f"{'; it '.join(f'{verdict} with {names}' for verdict, names in falls.items())}. "
            f"The null part "
            f"{'vanishes' if null < ROUND_OFF else 'does **not** vanish'}: it is "
            f"{'below' if null < ROUND_OFF else 'above'} {ROUND_OFF:g} at the end."
        )
    return bullets(sentences)


def _schedule(name: str) -> str:
    return "decaying steps" if name == "decaying" else name.replace("constant", "constant steps")


def _falling(slopes: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(verdict, schedule with its late slope): does the distance go on falling?"""
    for name, row in slopes.iterrows():
        verdict = side(
            row,
            FALLING.high,
            above="has levelled off",
            below="goes on falling",
            unclear="is not shown to fall on or to have levelled off",
        )
        yield verdict, f"{_schedule(name)} (slope {with_interval(row)})"


def spread_words(spread: pd.DataFrame) -> Markdown:
    """How noise grows with a constant step, and whether it has a bias."""
    exponent = spread[spread["quantity"] == "exponent"].iloc[0]
    ends = float(exponent["low"]), float(exponent["high"])
    like = "like the root of the step"
    if ROOT.contains(ends):
        growth = f"grows {like}, as theory says for small steps"
    elif ROOT.excludes(ends):
        growth = f"does **not** grow {like}"
    else:
        growth = f"is not shown to grow {like}"
    sizes = spread.pivot_table(index="rate", columns="quantity", values="estimate")
    share = (sizes["bias"] / sizes["spread"]).max()
    return Markdown(
        f"The spread {growth}: exponent {with_interval(exponent)}. The mean of N r is off the "
        f"influence function by at most {percent(sizes['bias'].max(), 1)} of it, and by at most "
        f"{percent(share)} of the spread (a distance cannot be negative, so noise alone gives "
        "some; for linear regression the exact bias is zero)."
    )


def hyperbola_words(curve: pd.DataFrame) -> Markdown:
    """Do responses differ between runs in weights and agree in the measurement?"""
    rows = {row["quantity"]: row for row in curve.to_dict("records")}
    weights, along = rows["weight-space response"], rows["part along the hyperbola"]
    response, error = rows["response of m = ab"], rows["error of m = ab"]
    verdict = (
        "less, beyond error" if response["high"] < weights["low"] else "**not** less, beyond error"
    )
    closed = side(
        error,
        NEAR,
        above=f"more than {percent(NEAR)}, beyond error",
        below=f"less than {percent(NEAR)}, beyond error",
        unclear=f"more or less than {percent(NEAR)} is open",
    )
    return Markdown(
        f"Spread over runs, relative to its size: {with_interval(weights)} for the response in "
        f"weights, {with_interval(along)} for its part along the hyperbola, and "
        f"{with_interval(response)} for the response of m = ab: {verdict}. The mean of the latter "
        f"is {with_percents(error)} off the closed form, {closed}."
    )


# ---------------------------------------------------------------- networks


def network_words(table: pd.DataFrame) -> Markdown:
    """Which influence functions reach the paper's 0.9 late in training, and how near a minimum."""
    sentences = []
    for name in INFLUENCES:
        rows = {r: late_rows(table, f"unrolling, {name}")[r] for r in OVER_TIME}
        told = joined(
            f"{with_interval(row)} with {SHOWN_AS[recipe]}" for recipe, row in rows.items()
        )
        sentences.append(f"**{upper(METHODS[name].words)}**: {told}; {_reached(rows)}.")
    smallest = late_rows(table, "smallest")
    short = [
        SHOWN_AS[recipe]
        for recipe, row in smallest.items()
        if side(row, 0, above="", below="short", unclear="") == "short"
    ]
    values = [row["estimate"] for row in smallest.values()]
    verdict = (
        f"it is negative beyond error, so that no minimum is reached, with {joined(short)}"
        if short
        else "it is nowhere shown to be negative"
    )
    sentences.append(
        f"**Minimum**: the smallest eigenvalue of the objective's Hessian lies between "
        f"{min(values):.3f} and {max(values):.3f} on average at the last length; "
        f"{verdict}."
    )
    strong = late_rows(table, QUANTITY)[STRONG]
    sentences.append(
        f"**Tenfold weight decay** (decaying steps): smallest eigenvalue "
        f"{with_interval(smallest[STRONG], digits=3)}, correlation with {METHODS['if_ggn'].words} "
        f"{with_interval(strong)}; {_reached({'': strong})}."
    )
    return bullets(sentences)


def _reached(rows: Mapping[str, Row]) -> str:
    """Where a correlation lies against the paper's 0.9: with some, with none, or not known."""
    at = f"{PAPER_CORRELATION:g}"
    if any(row["low"] >= PAPER_CORRELATION for row in rows.values()):
        return f"{at} or more is reached beyond error"
    if all(row["high"] < PAPER_CORRELATION for row in rows.values()):
        return f"{at} is missed beyond error"
    return f"whether {at} is reached is open"


def null_words(table: pd.DataFrame) -> Markdown:
    """The part of unrolled predictions from the null space, over thresholds, by schedule."""
    sentences = []
    for recipe in (*OVER_TIME, STRONG):
        parts = []
        for threshold in THRESHOLDS:
            row = late_rows(table, f"null {threshold:g}")[recipe]
            parts.append(f"{row['estimate']:.3f} at {threshold:g}")
        row = late_rows(table, "null 0.001")[recipe]
        verdict = side(
            row,
            NEAR,
            above="it matters",
            below="it hardly matters",
            unclear="whether it matters is open",
        )
        sentences.append(
            f"**{upper(SHOWN_AS[recipe])}**: null part of the unrolled prediction, by threshold as "
            f"a share of the largest eigenvalue: {joined(parts)}; at 0.001, "
            f"against our bound of {NEAR:g}, {verdict}."
        )
    return bullets(sentences)


def step_words(found: Found, equal: pd.DataFrame) -> Markdown:
    """Do smaller steps help, after as many steps and after as much training time?"""
    last = max(epochs for _, epochs in found)
    small, large = STEP_SIZES
    words = {"above": "helps", "below": "**hurts**", "unclear": "is not shown to help or to hurt"}
    row = difference(found, (large, last, QUANTITY), (small, last, QUANTITY))
    sentences = [
        f"**Correlation with {METHODS['if_ggn'].words} after equally many steps** ({last} "
        f"epochs): the smaller step {side(row, 0, **words)}: "
        f"{with_interval(row)}. It has then trained for a quarter of the time."
    ]
    for name in ("if_ggn", "if_hessian_damped"):
        for pair in equal[equal["quantity"] == f"unrolling, {name}"].to_dict("records"):
            sentences.append(
                f"**Correlation with {METHODS[name].words} after equal training time** "
                f"({pair['epochs_small']} epochs against {pair['epochs']}): the smaller step "
                f"{side(pair, 0, **words)}: {pair['at_small']:.2f} against "
                f"{pair['at_large']:.2f}, difference {with_interval(pair)}."
            )
    if not len(equal):
        sentences.append("No two lengths of training have the same sum of steps here.")
    return bullets(sentences)


def fading_words(found: Found) -> Markdown:
    """From the shortest to the longest training: do predictions of retraining fade?"""
    lengths = sorted({epochs for _, epochs in found})
    ends = lengths[0], lengths[-1]
    words = {"above": "gains", "below": "fades", "unclear": "neither fades nor gains beyond error"}
    sentences = []
    for recipe in OVER_TIME:
        parts = []
        for method in ("unrolling", "if_ggn"):
            keys = [(recipe, epochs, f"retrained, {method}") for epochs in ends]
            means = [float(found[key[:2]][key[2]].mean()) for key in keys]
            row = difference(found, *keys)
            parts.append(
                f"{METHODS[method].words} {side(row, 0, **words)}: {means[0]:.3f} to "
                f"{means[1]:.3f}, difference {with_interval(row, digits=3)}"
            )
        gaps = [
            difference(found, (recipe, e, "retrained, if_ggn"), (recipe, e, "retrained, unrolling"))
            for e in lengths
        ]
        ahead = sum(gap["low"] > 0 for gap in gaps)
        sentences.append(
            f"**{upper(SHOWN_AS[recipe])}**, against retraining of the same run, from {ends[0]} to "
            f"{ends[1]} epochs: {'; '.join(parts)}. Unrolling is ahead beyond error at {ahead} "
            f"of {len(gaps)} lengths."
        )
    return bullets(sentences)


def broken_words(flat: pd.DataFrame, saddle: pd.DataFrame) -> Markdown:
    """Do responses grow as predicted along a flat direction and at a saddle?"""
    parts = []
    for name, row in flat.groupby("schedule", sort=False).last().iterrows():
        within = row["low"] <= row["predicted"] <= row["high"]
        parts.append(
            f"{with_interval(row, 'response', 1)} with {name} steps, where the growth law says "
            f"{row['predicted']:.1f} ({'within' if within else '**outside**'} the interval), and "
            f"the real shift without the point, times N, is {row['removed']:.1f}"
        )
    beside = saddle[saddle["offset"] > 0].groupby("offset")["response"].agg(["max", "last"])
    limit = float(saddle["limit"].iloc[0])
    peaks = joined(f"{row['max']:,.0f} from {offset:g}" for offset, row in beside.iterrows())
    off = (beside["last"] - limit).abs().max()
    return bullets(
        [
            f"**A4 broken**: N r is {'; '.join(parts)}.",
            f"**Saddle**: N r peaks at {peaks} beside it, and ends within {off:.2g} of the "
            f"influence function of the minimum, {limit:g}.",
        ]
    )
