"""Claims C2 to C4, checks T1 to T9 and fading in notebook 06, and the rules behind their statuses.

Problems of a few parameters first, then networks. Thresholds are our choice; the 0.9 of C2 is the
paper's.
"""

from collections.abc import Mapping
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

from .network import (
    INFLUENCES,
    OVER_TIME,
    PSEUDO,
    QUANTITY,
    STEP_SIZES,
    Found,
    difference,
    equal_time_table,
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
RUN = "single runs, fixed pairs, interval over runs"
PAPER_CORRELATION = 0.9
SAME = 0.1
"""A difference of correlations that counts as none."""
NULL = 1e-3
"""Eigenvalues that count as null, as a share of the largest."""
Row = dict[str, Any]


def claim_of(row: Mapping[str, Any], **fields: Any) -> Claim:
    """A claim about single runs with the `estimate` of a row and, if it has them, `low`, `high`."""
    ci = (float(row["low"]), float(row["high"])) if "low" in row else None
    return Claim(estimate=float(row["estimate"]), ci=ci, **({"estimand": RUN} | fields))


def decided(row: Mapping[str, Any], n: int, confirmed_if: Region, **fields: Any) -> Claim:
    """`Claim.from_row` of `n` single runs."""
    return Claim.from_row(
        dict(row) | {"n": n}, confirmed_if=confirmed_if, **({"estimand": RUN} | fields)
    )


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
        ratios = part[part["quantity"] == "decaying over constant"]
        told = "; ".join(
            f"{row.estimate:.2f} [{row.low:.2f}, {row.high:.2f}] times that of {row.schedule}"
            for row in ratios.itertuples()
        )
        claims.append(
            claim_of(
                _slope(part).to_dict(),
                id=f"C4-{link}",
                claim="for generalised linear models unrolling converges to the influence function",
                source=f"{PAPER}, Remark 2",
                status=convergence_status(part, null),
                statistic=f"slope of log |N r - r_IF| against log steps over the last {LATE}-fold "
                f"of {last['step']} decaying steps; the distance ends at {last['error']:.3f} "
                f"[{last['low']:.3f}, {last['high']:.3f}] of |r_IF|, {told} steps, paired by run; "
                f"largest null part at any time {'below' if null < ROUND_OFF else 'above'} "
                f"{ROUND_OFF:g}",
                n=runs,
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


def exact_claims(spread: pd.DataFrame, curve: pd.DataFrame, runs: int) -> list[Claim]:
    """T3 and T4; tables of `limit_small`."""
    claims = []
    row = spread[spread["quantity"] == "exponent"].iloc[0].to_dict()
    claims.append(
        decided(
            row,
            runs,
            ROOT,
            id="T3",
            claim="at constant steps the response stays noisy: spread like the root of the step",
            source=f"{PAPER}, A2 (our check)",
            statistic="slope of log spread against log step size (theory for small steps: 1/2)",
            setting="linear regression, 24 points, 6 features of rank 4",
        )
    )
    rows = {row["quantity"]: row for row in curve.to_dict("records")}
    weights, response = rows["weight-space response"], rows["response of m = ab"]
    error = rows["error of m = ab"]
    claims.append(
        claim_of(
            response,
            id="T4",
            claim="on a manifold of minima responses differ between runs in weights, not in m, "
            "whose response is the closed form",
            source=f"{PAPER}, Theorem 2 (our check)",
            status=decide(
                confirmed=response["high"] < weights["low"] / 5 and error["high"] < NEAR,
                refuted=response["low"] > weights["high"] / 5 or error["low"] > NEAR,
            ),
            statistic="relative spread over runs of grad(m) . r "
            f"(in weights {weights['estimate']:.2f} [{weights['low']:.2f}, "
            f"{weights['high']:.2f}]); the mean over runs is off the closed form by "
            f"{error['estimate']:.3f} [{error['low']:.3f}, {error['high']:.3f}] of it",
            n=runs,
            setting="mean 1/2 (a b x - y)^2, 12 points",
            rule="confirmed if the upper end of the interval lies below a fifth of the lower end "
            "in weights, and the whole interval of the distance from the closed form (c x_k - y_k) "
            f"x_k / mean x^2 below {NEAR:g}; refuted if the lower end lies above a fifth of the "
            f"upper one, or that interval above {NEAR:g}; else inconclusive",
        )
    )
    return claims


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
            ratios.assign(n=runs),
            confirmed_if=AS_PREDICTED,
            value="response",
            rule="both schedules alike, else partly or inconclusive",
            estimand=RUN,
            id="T8",
            claim="with a gradient along a flat direction the response grows like the sum of steps",
            source=f"{PAPER}, A4 (our check)",
            statistic="mean response over the predicted one after the last step, of the schedule "
            "whose interval reaches furthest from 1",
            setting="linear regression with pulls along a flat direction",
        ),
        claim_of(
            {"estimate": slope},
            id="T9",
            claim="near a saddle the response diverges, the more the nearer the start",
            source=f"{PAPER}, Theorem 1 (our check)",
            status=decide(confirmed=abs(slope + 1) < NEAR and error < 1e-6, refuted=slope > -0.5),
            statistic="slope of log largest response against log distance of the start",
            n=len(peaks),
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
    return claim_of(
        {"estimate": worst},
        id="T1",
        claim="Eq. 6 is the derivative of retraining; removals exceed it by leverage",
        source=f"{PAPER}, Eq. 6 (our check)",
        status=decide(
            confirmed=worst < 1e-6 and off < NEAR, refuted=worst > 1e-3, partly=worst < 1e-6
        ),
        statistic="largest relative error of r against central differences; lengths of removals "
        f"off 1 / (1 - leverage) by {off:.2g} at most",
        n=len(table),
        setting="linear regression, rank 4 of 6, one far point",
        estimand="one run",
        rule=f"confirmed if below 1e-6 and lengths within {NEAR:g}, partly if only the former",
    )


# ---------------------------------------------------------------- networks


def late_rows(table: pd.DataFrame, quantity: str) -> dict[str, Row]:
    """Rows of `network.time_table` by recipe, at its longest training."""
    part = table[table["quantity"] == quantity]
    part = part[part["epochs"] == part["epochs"].max()]
    return {row["recipe"]: row for row in part.to_dict("records")}


def _told(rows: Mapping[str, Row]) -> str:
    return "; ".join(
        f"{name} {row['estimate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        for name, row in rows.items()
    )


def network_claims(table: pd.DataFrame, found: Found, n: int, setting: str) -> list[Claim]:
    """C2 by curvature, in time and in the step size; T6; C3; extensions; fading.

    Args:
        table, found: `network.time_table` and what it was made of.
        n: Number of runs of each recipe.
        setting: What was trained, in words.
    """
    lengths = sorted({epochs for _, epochs in found})
    first, last = lengths[0], lengths[-1]
    ggn = QUANTITY

    def paired(
        one: tuple[str, int, str], two: tuple[str, int, str], region: Region, **fields: Any
    ) -> Claim:
        row = difference(found, one, two)
        fields = {"interval": "95 % interval, paired by run", "source": PAPER} | fields
        return decided(row, n, region, setting=setting, **fields)

    late_pinv = {
        f"{threshold:g}": late_rows(table, f"unrolling, {name}")["decaying"]
        for threshold, name in PSEUDO.items()
    }
    return [
        *(_curvature_claim(table, name, n, setting) for name in INFLUENCES),
        decided(
            late_rows(table, ggn)["decaying, strong decay"],
            n,
            above(PAPER_CORRELATION),
            id="C2-strong",
            claim="late in training unrolling and influence functions correlate at 0.9 or more, "
            "with tenfold weight decay",
            source=f"{PAPER}, Fig. 3",
            statistic=f"late correlation {ggn}, decaying steps",
            setting=setting,
            paper_value="about 0.9",
        ),
        paired(
            ("constant 0.05", last, ggn),
            ("constant 0.0125", last, ggn),
            above(0),
            id="C2-step",
            claim="the correlation is higher for smaller steps",
            statistic=f"late {ggn}, step 0.0125 - step 0.05, at the same number of steps",
        ),
        equal_time_claim(found, {"n": n, "setting": setting}),
        paired(
            ("decaying", first, ggn),
            ("decaying", last, ggn),
            above(0),
            id="C2-time",
            claim="the correlation rises with training time",
            statistic=f"{ggn}, {last} - {first} epochs, decaying steps",
        ),
        paired(
            ("decaying", last, "unrolling, if_hessian"),
            ("decaying", last, ggn),
            above(0),
            id="T6",
            claim="at SGD iterates unrolling agrees less with the inverse of the exact Hessian "
            "than with Gauss-Newton",
            statistic="late correlation with unrolling, Gauss-Newton - exact, decaying steps",
        ),
        paired(
            ("decaying", last, f"unrolling, {PSEUDO[NULL]}"),
            ("decaying", last, ggn),
            above(0),
            id="T6-pinv",
            claim="at SGD iterates unrolling agrees less with the pseudo-inverse of the exact "
            "Hessian than with Gauss-Newton",
            statistic="late correlation with unrolling, Gauss-Newton - pseudo-inverse with "
            f"eigenvalues below {NULL:g} of the largest as null, decaying steps (correlation of "
            f"the pseudo-inverse by threshold: {_told(late_pinv)})",
        ),
        *_null_claims(table, n, setting),
        *(
            paired(
                ("decaying", last, ggn),
                (name, last, ggn),
                above(-SAME),
                id=f"C2-{name.lower()}",
                claim=f"unrolled {name} becomes influence as unrolled SGD does",
                source="this study",
                statistic=f"late {ggn}, {name} - SGD, decaying steps, paired by run",
            )
            for name in ("momentum", "Adam")
        ),
        *(
            paired(
                (recipe, first, f"retrained, {method}"),
                (recipe, last, f"retrained, {method}"),
                below(0),
                id=f"fading-{method}-{recipe.split()[0]}",
                claim="predictions of retraining fade over training time",
                source="2305.16971",
                statistic=f"correlation of {method} with retraining of the same run, {last} - "
                f"{first} epochs, {recipe}",
            )
            for method, recipe in product(("if_ggn", "unrolling"), ("constant 0.05", "decaying"))
        ),
    ]


def _curvature_claim(table: pd.DataFrame, name: str, n: int, setting: str) -> Claim:
    """C2 of one influence function: the best of all SGD schedules."""
    rows = {r: late_rows(table, f"unrolling, {name}")[r] for r in OVER_TIME}
    return claim_of(
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
        n=n,
        setting=setting,
    )


def _null_claims(table: pd.DataFrame, n: int, setting: str) -> list[Claim]:
    """C3: span of the query gradients and null part of responses, over the SGD schedules."""
    claims = []
    for quantity, claim, region in (
        ("span 0.001", "query gradients lie almost wholly in the span of H", above(1 - NEAR)),
        ("null 0.001", "the null part of the response does not matter for queries", below(NEAR)),
    ):
        rows = late_rows(table, quantity)
        claims.append(
            Claim.from_rows(
                [rows[recipe] | {"n": n} for recipe in OVER_TIME],  # "decaying" is the last
                confirmed_if=region,
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
    return claims


def equal_time_claim(found: Found, common: Mapping[str, Any]) -> Claim:
    """C2-step at equal training time, so that a small step has not just trained for less long.

    `common`: `n` and `setting`. Not tested where no two lengths have the same sum of steps.
    """
    rows = equal_time_table(found)
    rows = rows[rows["quantity"] == QUANTITY]
    small, large = STEP_SIZES
    text = {
        "id": "C2-step-equal-time",
        "claim": "the correlation is higher for smaller steps, after equal training time",
        "source": PAPER,
        "setting": common["setting"],
    }
    interval = "95 % interval, paired by run"
    if not len(rows):
        return Claim(
            status=NOT_TESTED,
            statistic=f"{QUANTITY}, {small} - {large}: no two lengths have the same sum of steps",
            estimate=None,
            ci=None,
            n=common["n"],
            estimand=RUN,
            rule=interval_rule(above(0), interval=interval),
            **text,
        )
    row = rows.iloc[-1].to_dict()
    return decided(
        row,
        common["n"],
        above(0),
        interval=interval,
        statistic=f"{QUANTITY}, {small} after {row['epochs_small']} epochs - {large} after "
        f"{row['epochs']}, the longest two of the same sum of steps",
        **text,
    )
