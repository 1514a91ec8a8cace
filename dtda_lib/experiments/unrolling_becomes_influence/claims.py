"""Claim C4 and checks T1, T3, T4, T8, T9 of notebook 06, and the rules that give their statuses.

Problems of a few parameters; those of networks are in `limit_network_claims`. Thresholds are our
choice.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dtda_lib.study.claims import (
    Claim,
    below,
    between,
    combine,
    decide,
    decide_interval,
    interval_rule,
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


def claim_of(row: Mapping[str, Any], **fields: Any) -> Claim:
    """A claim about single runs with the `estimate` of a row and, if it has them, `low`, `high`."""
    ci = (float(row["low"]), float(row["high"])) if "low" in row else None
    return Claim(estimate=float(row["estimate"]), ci=ci, **({"estimand": RUN} | fields))


def convergence_status(rates: pd.DataFrame, null: float) -> str:
    """Status of "N r converges to r_IF with decaying steps"; of one problem.

    `rates` is `limit_small.rate_table`, `null` the largest null part at any time.
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
    """C4 (T2) for each link; `limit_small.convergence_table` and `rate_table` of all links."""
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
        claim_of(
            row,
            id="T3",
            claim="at constant steps the response stays noisy: spread like the root of the step",
            source=f"{PAPER}, A2 (our check)",
            status=decide_interval((row["low"], row["high"]), confirmed_if=ROOT),
            statistic="slope of log spread against log step size (theory for small steps: 1/2)",
            n=runs,
            setting="linear regression, 24 points, 6 features of rank 4",
            rule=interval_rule(ROOT),
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
    worst = ratios.loc[far.idxmax()]
    peaks = saddle[saddle["offset"] > 0].groupby("offset")["response"].max()
    slope = float(np.polyfit(np.log(peaks.index), np.log(peaks.to_numpy()), 1)[0])
    at = saddle[saddle["offset"] == 0]
    error = float((at["response"] / at["predicted"] - 1).abs().max())
    return [
        claim_of(
            {"estimate": worst["response"], "low": worst["low"], "high": worst["high"]},
            id="T8",
            claim="with a gradient along a flat direction the response grows like the sum of steps",
            source=f"{PAPER}, A4 (our check)",
            status=combine(
                decide_interval((row.low, row.high), confirmed_if=AS_PREDICTED)
                for row in ratios.itertuples()
            ),
            statistic="mean response over the predicted one after the last step, of the schedule "
            "whose interval reaches furthest from 1",
            n=runs,
            setting="linear regression with pulls along a flat direction",
            rule=f"{interval_rule(AS_PREDICTED)}; both schedules alike, else partly or "
            "inconclusive",
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
