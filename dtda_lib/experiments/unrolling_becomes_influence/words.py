"""The answer of notebook 06, and what its tables decide, in sentences made out of them."""

from collections.abc import Iterator, Mapping

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.evidence import Evidence
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import (
    bullets,
    grouped,
    joined,
    measured,
    percent,
    side,
    upper,
    with_interval,
    with_percents,
)

from .claims import FALLING, NEAR, NULL, PAPER_CORRELATION, ROOT, ROUND_OFF, Row, late_rows
from .network import (
    INFLUENCES,
    OVER_TIME,
    PSEUDO,
    QUANTITY,
    STEP_SIZES,
    Found,
    difference,
)
from .small import LATE

_NOTEBOOK = "06_unrolling_becomes_influence"
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


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: generalised linear models, a network, strong decay, step sizes, fading."""
    slope = evidence["C4-logistic"]
    late = _late(evidence.table(_NOTEBOOK, "network"))
    strong, many, equal = (evidence[f"C2-{name}"] for name in ("strong", "step", "step-equal-time"))
    fading, growth = evidence["fading-unrolling-decaying"], evidence["T8"]
    follows = {"confirmed": "becomes", "refuted": "does not become"}
    helps = {"confirmed": "help", "refuted": "do not help"}
    return [
        f"Unrolling {follows.get(slope.verdict, 'is not shown to become')} influence in "
        f"generalised linear models: their distance falls as a power {slope.number()} of the "
        "steps (logistic regression; theory: −1/2).",
        "For a small network it depends on how near a minimum training gets. After "
        f"{late['steps']:,} decaying steps the correlation is {late['if_pinv 0.001']} with the "
        f"pseudo-inverse IF and {late['if_ggn']} with Gauss-Newton IF (the paper: about "
        f"{PAPER_CORRELATION:g}); the smallest eigenvalue is {late['smallest']}, so "
        f"{'no' if late['negative'] else 'a'} minimum is reached.",
        f"With tenfold weight decay the correlation with Gauss-Newton IF is {strong.number()}.",
        f"Smaller steps {helps.get(many.verdict, 'are not shown to help')} after equally many "
        f"steps ({many.number()}); after equal training time they "
        f"{helps.get(equal.verdict, 'are not shown to')} ({equal.number()}).",
        "Unrolling predicts the retraining of its own run, less so the longer the training: its "
        f"correlation changes by {fading.number()} with decaying steps. Where a gradient points "
        "along a flat direction, the response grows without bound, at "
        f"{growth.number()} times the predicted rate.",
    ]


def _late(table: pd.DataFrame) -> dict[str, "str | int | bool"]:
    """Means over runs with their intervals, of decaying steps at the longest training."""
    rows = table[table["recipe"] == "decaying"]
    rows = rows[rows["epochs"] == rows["epochs"].max()].set_index("quantity")
    told: dict[str, str | int | bool] = {
        name.removeprefix("unrolling, "): measured(row["estimate"], (row["low"], row["high"]))
        for name, row in rows.iterrows()
    }
    negative = bool(rows.loc["smallest", "high"] < 0)
    return told | {"steps": int(rows["steps"].iloc[0]), "negative": negative}


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`network.time_table` or `network.equal_time_table` with display names."""
    names = dict.fromkeys(table["quantity"])
    quantities = {name: ", ".join(map(_displayed, name.split(", "))) for name in names}
    shown = table.assign(quantity=table["quantity"].map(quantities))
    return shown.replace({"recipe": SHOWN_AS}) if "recipe" in table else shown


def _displayed(name: str) -> str:
    """Of one part of a quantity: "if_pinv 0.001" is "pseudo-inverse IF 0.001"."""
    key, *rest = name.split(" ")
    label = METHODS[key].label if key in METHODS else key
    return " ".join([label, *rest])


def late_table(table: pd.DataFrame) -> pd.DataFrame:
    """At the longest training, with intervals: correlations with unrolling, smallest eigenvalue.

    A row a recipe; the pseudo-inverse counts eigenvalues below `NULL` of the largest as null.
    """
    quantities = [f"unrolling, {name}" for name in (PSEUDO[NULL], "if_ggn", "if_hessian_damped")]
    quantities += ["unrolling, if_hessian", "smallest"]
    columns = {
        ", ".join(map(_displayed, name.split(", "))).removeprefix("unrolling, "): {
            SHOWN_AS[recipe]: measured(row["estimate"], (row["low"], row["high"]))
            for recipe, row in late_rows(table, name).items()
        }
        for name in quantities
    }
    return pd.DataFrame(columns).rename(columns={"smallest": "smallest eigenvalue"})


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

    `ends`: the last rows of `small.convergence_table`; `rates`: `small.rate_table`.
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
    """Which influence functions reach the paper's 0.9 late in training, and is a minimum near?"""
    verdicts = []
    for name in INFLUENCES:
        rows = {r: late_rows(table, f"unrolling, {name}")[r] for r in OVER_TIME}
        verdicts.append((_reached(rows), METHODS[name].words))
    strong = {STRONG: late_rows(table, QUANTITY)[STRONG]}
    told = "; ".join(
        f"{verdict} for {joined(names)}" for verdict, names in grouped(verdicts).items()
    )
    smallest = late_rows(table, "smallest")
    short = [SHOWN_AS[recipe] for recipe, row in smallest.items() if row["high"] < 0]
    minimum = (
        f"no minimum is reached, beyond error, with {joined(short)}"
        if short
        else "the smallest eigenvalue is nowhere shown to be negative"
    )
    return bullets(
        [
            f"**SGD with ordinary weight decay**: {told}.",
            f"**Tenfold weight decay**: {_reached(strong)} for {METHODS['if_ggn'].words}.",
            f"**Minimum**: {minimum}.",
        ]
    )


def _reached(rows: Mapping[str, Row]) -> str:
    """Where a correlation lies against the paper's 0.9: with some, with none, or not known."""
    at = f"{PAPER_CORRELATION:g}"
    if any(row["low"] >= PAPER_CORRELATION for row in rows.values()):
        return f"{at} or more is reached beyond error"
    if all(row["high"] < PAPER_CORRELATION for row in rows.values()):
        return f"{at} is missed beyond error"
    return f"whether {at} is reached is open"


def null_words(table: pd.DataFrame, found: Found) -> Markdown:
    """At the threshold `NULL`: does the null part matter, and does dropping it mend the Hessian?"""
    last = max(epochs for _, epochs in found)
    parts, ranks = [], []
    for recipe in (*OVER_TIME, STRONG):
        null = side(
            late_rows(table, f"null {NULL:g}")[recipe],
            NEAR,
            above="matters",
            below="hardly matters",
            unclear="may or may not matter",
        )
        gap = difference(
            found, (recipe, last, f"unrolling, {PSEUDO[NULL]}"), (recipe, last, QUANTITY)
        )
        rank = side(
            gap,
            0,
            above="agrees **less** than Gauss-Newton",
            below="agrees **better** than Gauss-Newton",
            unclear="is not told from Gauss-Newton",
        )
        parts.append((null, SHOWN_AS[recipe]))
        ranks.append((rank, SHOWN_AS[recipe]))
    told = [
        "; it ".join(f"{verdict} with {joined(names)}" for verdict, names in grouped(each).items())
        for each in (parts, ranks)
    ]
    return bullets(
        [
            f"**Null part** of the unrolled prediction, against our bound of {NEAR:g}: it "
            f"{told[0]}.",
            f"**Pseudo-inverse**, paired by run: it {told[1]}.",
        ]
    )


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
            row = difference(found, *((recipe, e, f"retrained, {method}") for e in ends))
            parts.append(
                f"{METHODS[method].words} {side(row, 0, **words)} ({with_interval(row, digits=3)})"
            )
        gaps = [
            difference(found, (recipe, e, "retrained, if_ggn"), (recipe, e, "retrained, unrolling"))
            for e in lengths
        ]
        ahead = sum(gap["low"] > 0 for gap in gaps)
        sentences.append(
            f"**{upper(SHOWN_AS[recipe])}**, from {ends[0]} to {ends[1]} epochs: "
            f"{'; '.join(parts)}. Unrolling is ahead beyond error at {ahead} of {len(gaps)} "
            "lengths."
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
