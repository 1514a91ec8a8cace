"""Claims C2 to C4, checks T1 to T9 and fading in notebook 06, and the rules behind their statuses.

Problems of a few parameters first, then networks. Thresholds are our choice; the 0.9 of C2 is the
paper's.
"""

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from dtda_lib.study.claims import (
    NOT_TESTED,
    Claim,
    Region,
    above,
    below,
    between,
    decide,
    interval_rule,
)
from dtda_lib.study.wording import bracketed

from .network import (
    INFLUENCES,
    OVER_TIME,
    PSEUDO,
    QUANTITY,
    STEP_SIZES,
    Found,
    difference,
    equal_time_table,
    late_rows,
)
from .small import LATE

NEAR, ROUND_OFF = 0.1, 1e-10
FALLING = below(-0.25)
"""Late slopes that count as converging: at least half of the -1/2 of theory for 1/t steps."""
ROOT = between(0.4, 0.6)
"""Slopes that count as growth like the root: 1/2 in theory, for small steps."""
AS_PREDICTED = between(1 - NEAR, 1 + NEAR)
"""Ratios of a response to its growth law that count as following it."""
PAPER = "2506.12965"
OUR_CHECK = "(our check)"
RUN = "single runs, fixed pairs, interval over runs"
PAPER_CORRELATION = 0.9
SAME = 0.1
"""A difference of correlations that counts as none."""
NULL = 1e-3
"""Eigenvalues that count as null, as a share of the largest."""
_LINEAR = "linear regression, 24 points, 6 features of rank 4"

# Rows decide claims about single runs, unless a claim says otherwise.
_of_row = partial(Claim.from_row, estimand=RUN)


def convergence_status(rates: pd.DataFrame, null: float) -> str:
    """Status of "N r converges to r_IF with decaying steps"; of one problem.

    `rates` is `small.rate_table`, `null` the largest null part at any time.
    """
    slope, ratios = _slope(rates), rates[rates["quantity"] == "decaying over constant"]
    ends = slope["low"], slope["high"]
    return decide(
        confirmed=FALLING.contains(ends) and bool((ratios["high"] < 1).all()) and null < ROUND_OFF,
        refuted=FALLING.excludes(ends) or bool((ratios["low"] > 1).any()) or null > 1e-6,
    )


def _slope(rates: pd.DataFrame) -> pd.Series:
    chosen = (rates["schedule"] == "decaying") & (rates["quantity"] == "late slope")
    return rates[chosen].iloc[0]


def convergence_claims(curves: pd.DataFrame, rates: pd.DataFrame, runs: int) -> list[Claim]:
    """C4 (T2) for each link; `small.convergence_table` and `rate_table` of all links."""
    claims = []
    for link, part in rates.groupby("problem", sort=False):
        curve = curves[curves["problem"] == link]
        last = curve[curve["schedule"] == "decaying"].iloc[-1]
        null = float(curve["null"].max())
        ratios = part[part["quantity"] == "decaying over constant"].to_dict("records")
        told = "; ".join(f"{bracketed(row)} times that of {row['schedule']}" for row in ratios)
        claims.append(
            _of_row(
                _slope(part),
                id=f"C4-{link}",
                claim="for generalised linear models unrolling converges to the influence function",
                source=f"{PAPER}, Remark 2",
                status=convergence_status(part, null),
                statistic=f"slope of log |N r - r_IF| against log steps over the last {LATE}-fold "
                f"of {last['step']} decaying steps; the distance ends at "
                f"{bracketed(last, 'error', 3)} of |r_IF|, {told} steps, paired by run; "
                f"largest null part at any time {'below' if null < ROUND_OFF else 'above'} "
                f"{ROUND_OFF:g}",
                count=runs,
                setting=f"{link} link, 24 points, 6 features of rank 4",
                rule=f"confirmed if the whole interval of the late slope lies {FALLING} (half of "
                "the -1/2 of theory; 0 is levelled off), the end lies below that of each constant "
                f"step by the paired interval, and the null part below {ROUND_OFF:g} at all times; "
                "refuted if the slope's interval lies outside that, the end above that of some "
                "constant step by the paired interval, or a null part above 1e-6; else "
                "inconclusive (thresholds are ours)",
            )
        )
    return claims


def spread_claim(spread: pd.DataFrame, runs: int) -> Claim:
    """T3: does the spread grow like the root of the step? `small.spread_table`."""
    return _of_row(
        spread[spread["quantity"] == "exponent"].iloc[0],
        confirmed_if=ROOT,
        count=runs,
        id="T3",
        claim="at constant steps the response stays noisy: spread like the root of the step",
        source=f"{PAPER}, A2 {OUR_CHECK}",
        statistic="slope of log spread against log step size (theory for small steps: 1/2)",
        setting=_LINEAR,
    )


def manifold_claim(curve: pd.DataFrame, runs: int) -> Claim:
    """T4: do runs differ in weights, and agree in m and with its closed form?

    `curve`: `small.hyperbola_table`.
    """
    rows = {row["quantity"]: row for row in curve.to_dict("records")}
    weights, response = rows["weight-space response"], rows["response of m = ab"]
    error = rows["error of m = ab"]
    return _of_row(
        response,
        id="T4",
        claim="on a manifold of minima responses differ between runs in weights, not in m, "
        "whose response is the closed form",
        source=f"{PAPER}, Theorem 2 {OUR_CHECK}",
        status=decide(
            confirmed=response["high"] < weights["low"] / 5 and error["high"] < NEAR,
            refuted=response["low"] > weights["high"] / 5 or error["low"] > NEAR,
        ),
        statistic="relative spread over runs of grad(m) . r "
        f"(in weights {bracketed(weights)}); the mean over runs is off the closed form by "
        f"{bracketed(error, digits=3)} of it",
        count=runs,
        setting="mean 1/2 (a b x - y)^2, 12 points",
        rule="confirmed if the upper end of the interval lies below a fifth of the lower end "
        "in weights, and the whole interval of the distance from the closed form (c x_k - y_k) "
        f"x_k / mean x^2 below {NEAR:g}; refuted if the lower end lies above a fifth of the "
        f"upper one, or that interval above {NEAR:g}; else inconclusive",
    )


def broken_claims(flat: pd.DataFrame, saddle: pd.DataFrame, runs: int) -> list[Claim]:
    """T8 and T9: do responses grow as predicted where A4 fails and at a saddle?"""
    last = flat.groupby("schedule", sort=False).last()
    ratios = last[["response", "low", "high"]].div(last["predicted"], axis=0)
    far = (ratios[["low", "high"]] - 1).abs().max(axis=1)
    ratios = ratios.loc[far.sort_values(kind="stable").index]  # the worst last
    peaks = saddle[saddle["offset"] > 0].groupby("offset")["response"].max()
    slope = float(np.polyfit(np.log(peaks.index), np.log(peaks.to_numpy()), 1)[0])
    at = saddle[saddle["offset"] == 0]
    error = float((at["response"] / at["predicted"] - 1).abs().max())
    return [
        Claim.from_rows(
            ratios,
            confirmed_if=AS_PREDICTED,
            value="response",
            count=runs,
            rule="both schedules alike, else partly or inconclusive",
            estimand=RUN,
            id="T8",
            claim="with a gradient along a flat direction the response grows like the sum of steps",
            source=f"{PAPER}, A4 {OUR_CHECK}",
            statistic="mean response over the predicted one after the last step, of the schedule "
            "whose interval reaches furthest from 1",
            setting="linear regression with pulls along a flat direction",
        ),
        _of_row(
            {"estimate": slope},
            id="T9",
            claim="near a saddle the response diverges, the more the nearer the start",
            source=f"{PAPER}, Theorem 1 {OUR_CHECK}",
            status=decide(confirmed=abs(slope + 1) < NEAR and error < 1e-6, refuted=slope > -0.5),
            statistic="slope of log largest response against log distance of the start",
            count=len(peaks),
            setting="double well, full batches",
            estimand="deterministic training",
            rule=f"confirmed if within {NEAR:g} of -1 and growth at the saddle is (1 + step)^t to "
            "1e-6, refuted if above -0.5",
        ),
    ]


def retraining_claim(table: pd.DataFrame) -> Claim:
    """T1: is Eq. 6 the derivative of retraining, and a removal longer by 1 / (1 - leverage)?"""
    worst = float(table["difference"].max())
    off = float((table["ratio"] / table["expected"] - 1).abs().max())
    return _of_row(
        {"estimate": worst},
        id="T1",
        claim="Eq. 6 is the derivative of retraining; removals exceed it by leverage",
        source=f"{PAPER}, Eq. 6 {OUR_CHECK}",
        status=decide(
            confirmed=worst < 1e-6 and off < NEAR, refuted=worst > 1e-3, partly=worst < 1e-6
        ),
        statistic="largest relative error of r against central differences; lengths of removals "
        f"off 1 / (1 - leverage) by {off:.2g} at most",
        count=len(table),
        setting="linear regression, rank 4 of 6, one far point",
        estimand="one run",
        rule=f"confirmed if below 1e-6 and lengths within {NEAR:g}, partly if only the former",
    )


# ---------------------------------------------------------------- networks


def agreement_claims(table: pd.DataFrame, found: Found, setting: str) -> list[Claim]:
    """C2 by curvature, with strong decay, in time and for other optimisers; T6.

    Args:
        table, found: `network.time_table` and what it was made of.
        setting: What was trained, in words.
    """
    first, last = _ends(found)
    paired = partial(_paired, found, setting=setting)
    return [
        *(_curvature_claim(table, name, _runs(found), setting) for name in INFLUENCES),
        _of_row(
            late_rows(table, QUANTITY)["decaying, strong decay"],
            confirmed_if=above(PAPER_CORRELATION),
            count=_runs(found),
            id="C2-strong",
            claim="late in training unrolling and influence functions correlate at 0.9 or more, "
            "with tenfold weight decay",
            source=f"{PAPER}, Fig. 3",
            statistic=f"late correlation {QUANTITY}, decaying steps",
            setting=setting,
            paper_value="about 0.9",
        ),
        paired(
            ("decaying", first, QUANTITY),
            ("decaying", last, QUANTITY),
            id="C2-time",
            claim="the correlation rises with training time",
            statistic=f"{QUANTITY}, {last} - {first} epochs, decaying steps",
        ),
        paired(
            ("decaying", last, "unrolling, if_hessian"),
            ("decaying", last, QUANTITY),
            id="T6",
            claim="at SGD iterates unrolling agrees less with the inverse of the exact Hessian "
            "than with Gauss-Newton",
            statistic="late correlation with unrolling, Gauss-Newton - exact, decaying steps",
        ),
        *(
            paired(
                ("decaying", last, QUANTITY),
                (name, last, QUANTITY),
                confirmed_if=above(-SAME),
                id=f"C2-{name.lower()}",
                claim=f"unrolled {name} becomes influence as unrolled SGD does",
                source="this study",
                statistic=f"late {QUANTITY}, {name} - SGD, decaying steps, paired by run",
            )
            for name in ("momentum", "Adam")
        ),
    ]


def null_claims(table: pd.DataFrame, found: Found, setting: str) -> list[Claim]:
    """C3: span of the query gradients and null part of responses, over the SGD schedules; T6-pinv.

    Arguments as of `agreement_claims`.
    """
    _, last = _ends(found)
    claims = []
    for quantity, claim, region in (
        ("span 0.001", "query gradients lie almost wholly in the span of H", above(1 - NEAR)),
        ("null 0.001", "the null part of the response does not matter for queries", below(NEAR)),
    ):
        rows = late_rows(table, quantity)
        claims.append(
            Claim.from_rows(
                [rows[recipe] for recipe in OVER_TIME],  # "decaying" is the last
                confirmed_if=region,
                count=_runs(found),
                id=f"C3-{quantity.split()[0]}",
                claim=claim,
                source=f"{PAPER}, Fig. 3",
                statistic=f"late {quantity} of the largest eigenvalue ({_told(rows)})",
                rule="all three SGD schedules alike, else partly or inconclusive; null means "
                "below 1/1000 of the largest eigenvalue",
                setting=setting,
                estimand=RUN,
            )
        )
    by_threshold = {
        f"{threshold:g}": late_rows(table, f"unrolling, {name}")["decaying"]
        for threshold, name in PSEUDO.items()
    }
    pseudo_inverse = _paired(
        found,
        ("decaying", last, f"unrolling, {PSEUDO[NULL]}"),
        ("decaying", last, QUANTITY),
        setting=setting,
        id="T6-pinv",
        claim="at SGD iterates unrolling agrees less with the pseudo-inverse of the exact "
        "Hessian than with Gauss-Newton",
        statistic="late correlation with unrolling, Gauss-Newton - pseudo-inverse with "
        f"eigenvalues below {NULL:g} of the largest as null, decaying steps (correlation of "
        f"the pseudo-inverse by threshold: {_told(by_threshold)})",
    )
    return [*claims, pseudo_inverse]


def step_claims(found: Found, setting: str) -> list[Claim]:
    """C2 in the step size: after equally many steps, and after equal training time.

    The latter, so that a small step has not just trained for less long, is not tested where no two
    lengths have the same sum of steps. Arguments as of `agreement_claims`.
    """
    _, last = _ends(found)
    small, large = STEP_SIZES
    equally_many = _paired(
        found,
        (large, last, QUANTITY),
        (small, last, QUANTITY),
        setting=setting,
        id="C2-step",
        claim="the correlation is higher for smaller steps",
        statistic=f"late {QUANTITY}, step 0.0125 - step 0.05, at the same number of steps",
    )
    rows = equal_time_table(found)
    rows = rows[rows["quantity"] == QUANTITY]
    text = {
        "id": "C2-step-equal-time",
        "claim": "the correlation is higher for smaller steps, after equal training time",
    }
    about = {"source": PAPER, "setting": setting, "estimand": RUN}
    if not len(rows):
        untested = Claim(
            status=NOT_TESTED,
            statistic=f"{QUANTITY}, {small} - {large}: no two lengths have the same sum of steps",
            estimate=None,
            ci=None,
            n=_runs(found),
            rule=interval_rule(above(0), interval=_PAIRED_INTERVAL),
            **text,
            **about,
        )
        return [equally_many, untested]
    row = rows.iloc[-1]
    equal_time = Claim.from_row(
        row,
        confirmed_if=above(0),
        count=_runs(found),
        interval=_PAIRED_INTERVAL,
        statistic=f"{QUANTITY}, {small} after {row['epochs_small']} epochs - {large} after "
        f"{row['epochs']}, the longest two of the same sum of steps",
        **text,
        **about,
    )
    return [equally_many, equal_time]


def fading_claims(found: Found, setting: str) -> list[Claim]:
    """Do predictions of retraining fade from the shortest to the longest training?

    Arguments as of `agreement_claims`.
    """
    first, last = _ends(found)
    return [
        _paired(
            found,
            (recipe, first, f"retrained, {method}"),
            (recipe, last, f"retrained, {method}"),
            confirmed_if=below(0),
            setting=setting,
            id=f"fading-{method}-{recipe.split()[0]}",
            claim="predictions of retraining fade over training time",
            source="2305.16971",
            statistic=f"correlation of {method} with retraining of the same run, {last} - "
            f"{first} epochs, {recipe}",
        )
        for method, recipe in product(("if_ggn", "unrolling"), ("constant 0.05", "decaying"))
    ]


_PAIRED_INTERVAL = "95 % interval, paired by run"
_POSITIVE = above(0)


def _paired(
    found: Found,
    one: tuple[str, int, str],
    two: tuple[str, int, str],
    *,
    confirmed_if: Region = _POSITIVE,
    **text: Any,
) -> Claim:
    """A claim about `network.difference` of two quantities; by default, that it is positive."""
    text = {"source": PAPER, "interval": _PAIRED_INTERVAL, "count": _runs(found)} | text
    return _of_row(difference(found, one, two), confirmed_if=confirmed_if, **text)


def _ends(found: Found) -> tuple[int, int]:
    """The shortest and the longest training, in epochs."""
    lengths = sorted({epochs for _, epochs in found})
    return lengths[0], lengths[-1]


def _runs(found: Found) -> int:
    """Number of runs of each recipe."""
    return next(iter(found.values())).sizes["seed"]


def _told(rows: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(f"{name} {bracketed(row)}" for name, row in rows.items())


def _curvature_claim(table: pd.DataFrame, name: str, n: int, setting: str) -> Claim:
    """C2 of one influence function: the best of all SGD schedules."""
    rows = {r: late_rows(table, f"unrolling, {name}")[r] for r in OVER_TIME}
    return _of_row(
        max(rows.values(), key=lambda row: row["estimate"]),
        id=f"C2-{name}",
        claim="late in training unrolling and influence functions correlate at 0.9 or more",
        source=f"{PAPER}, Fig. 3",
        status=decide(
            confirmed=any(row["low"] >= PAPER_CORRELATION for row in rows.values()),
            refuted=all(row["high"] < PAPER_CORRELATION for row in rows.values()),
        ),
        statistic=f"largest late correlation of any SGD schedule ({_told(rows)})",
        rule="confirmed if the 95 % interval of some SGD schedule lies above 0.9, refuted "
        "if all lie below, else inconclusive",
        paper_value="about 0.9",
        count=n,
        setting=setting,
    )
