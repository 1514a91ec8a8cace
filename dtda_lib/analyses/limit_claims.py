"""Claim C4 and checks T1, T3, T4, T8, T9 of notebook 06, and the rules that give their statuses.

Problems of a few parameters; those of networks are in `limit_network_claims`. Thresholds are our
choice.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..claims import Claim, between, decide, decide_interval, interval_rule

NEAR, ROUND_OFF = 0.1, 1e-10
ROOT = between(0.4, 0.6)
"""Slopes that count as growth like the root: 1/2 in theory, for small steps."""
PAPER = "2506.12965"
RUN = "single runs, fixed pairs, interval over runs"


def claim_of(row: Mapping[str, Any], **fields: Any) -> Claim:
    """A claim about single runs with the `estimate` of a row and, if it has them, `low`, `high`."""
    ci = (float(row["low"]), float(row["high"])) if "low" in row else None
    return Claim(estimate=float(row["estimate"]), ci=ci, **({"estimand": RUN} | fields))


def exact_claims(
    convergence: pd.DataFrame, spread: pd.DataFrame, curve: pd.DataFrame, runs: int
) -> list[Claim]:
    """C4 (T2) for each link, T3 and T4; tables of `limit_small`."""
    claims = []
    for link, part in convergence.groupby("problem", sort=False):
        row = part[part["schedule"] == "decaying"].iloc[-1]
        null = part["null"].max()
        claims.append(
            claim_of(
                row.rename({"error": "estimate"}).to_dict(),
                id=f"C4-{link}",
                claim="for generalised linear models unrolling converges to the influence function",
                source=f"{PAPER}, Remark 2",
                status=decide(
                    confirmed=row["high"] < NEAR and null < ROUND_OFF,
                    refuted=row["low"] > NEAR or null > 1e-6,
                ),
                statistic=f"|N r - r_IF| / |r_IF| after {row['step']} decaying steps; largest null "
                f"part at any time {'below' if null < ROUND_OFF else 'above'} {ROUND_OFF:g}",
                n=runs,
                setting=f"{link} link, 24 points, 6 features of rank 4",
                rule=f"confirmed if the interval lies below {NEAR:g} and the null part below "
                f"{ROUND_OFF:g} at all times, refuted if above {NEAR:g} or 1e-6",
            )
        )
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
    claims.append(
        claim_of(
            response,
            id="T4",
            claim="on a manifold of minima responses differ between runs in weights, not in m",
            source=f"{PAPER}, Theorem 2 (our check)",
            status=decide(
                confirmed=response["high"] < weights["low"] / 5,
                refuted=response["low"] > weights["high"] / 5,
            ),
            statistic="relative spread over runs of grad(m) . r "
            f"(in weights {weights['estimate']:.2f} [{weights['low']:.2f}, {weights['high']:.2f}])",
            n=runs,
            setting="mean 1/2 (a b x - y)^2, 12 points",
            rule="confirmed if the upper end of the interval lies below a fifth of the lower end "
            "in weights, refuted if the lower end lies above a fifth of the upper one",
        )
    )
    return claims


def broken_claims(flat: pd.DataFrame, saddle: pd.DataFrame, runs: int) -> list[Claim]:
    """T8 and T9: do responses grow as predicted where A4 fails and at a saddle?"""
    last = flat.groupby("schedule", sort=False).last()
    ratio = last[["response", "low", "high"]].div(last["predicted"], axis=0)
    worst = ratio.loc[(ratio["response"] - 1).abs().idxmax()]
    off = (ratio["response"] - 1).abs()
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
            status=decide(confirmed=bool((off < NEAR).all()), refuted=bool((off > NEAR).all())),
            statistic="mean response over the predicted one after the last step, worst schedule",
            n=runs,
            setting="linear regression with pulls along a flat direction",
            rule=f"confirmed if within {NEAR:g} of 1 for both schedules, refuted if for neither",
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
