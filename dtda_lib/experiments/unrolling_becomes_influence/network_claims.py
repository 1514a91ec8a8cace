"""Claims C2 and C3, check T6 and fading of networks in notebook 06, and the rules behind them.

Thresholds are our choice; the 0.9 of C2 is the paper's.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pandas as pd
import xarray as xr

from dtda_lib.study.claims import (
    Claim,
    above,
    below,
    combine,
    decide,
    decide_interval,
    interval_rule,
)

from .claims import NEAR, PAPER, claim_of
from .equal_time import equal_time_claim
from .network import INFLUENCES, OVER_TIME, PSEUDO, difference

PAPER_CORRELATION = 0.9
SAME = 0.1
NULL = 1e-3  # of the largest eigenvalue
Found = Mapping[tuple[str, int], xr.Dataset]
Row = dict[str, Any]


def late_rows(table: pd.DataFrame, quantity: str) -> dict[str, Row]:
    """Rows of `limit.time_table` by recipe, at its longest training."""
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
        table, found: `limit.time_table` and what it was made of.
        n: Number of runs of each recipe.
        setting: What was trained, in words.
    """
    lengths = sorted({epochs for _, epochs in found})
    first, last = lengths[0], lengths[-1]
    common = {"n": n, "setting": setting}
    claims = []
    for name in INFLUENCES:
        rows = {r: late_rows(table, f"unrolling, {name}")[r] for r in OVER_TIME}
        best = max(rows.values(), key=lambda row: row["estimate"])
        claims.append(
            claim_of(
                best,
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
                **common,
            )
        )
    strong = late_rows(table, ggn := "unrolling, if_ggn")["decaying, strong decay"]
    claims.append(
        claim_of(
            strong,
            id="C2-strong",
            claim="late in training unrolling and influence functions correlate at 0.9 or more, "
            "with tenfold weight decay",
            source=f"{PAPER}, Fig. 3",
            status=decide_interval(
                (strong["low"], strong["high"]), confirmed_if=above(PAPER_CORRELATION)
            ),
            statistic=f"late correlation {ggn}, decaying steps",
            rule=interval_rule(above(PAPER_CORRELATION)),
            paper_value="about 0.9",
            **common,
        )
    )

    def paired(one: tuple[str, int, str], two: tuple[str, int, str], **fields: Any) -> Claim:
        row = difference(found, one, two)
        fields = {
            "status": decide_interval((row["low"], row["high"]), confirmed_if=above(0)),
            "rule": interval_rule(above(0), interval="95 % interval, paired by run"),
            "source": PAPER,
        } | fields
        return claim_of(row, **common, **fields)

    claims.append(
        paired(
            ("constant 0.05", last, ggn),
            ("constant 0.0125", last, ggn),
            id="C2-step",
            claim="the correlation is higher for smaller steps",
            statistic=f"late {ggn}, step 0.0125 less step 0.05, at the same number of steps",
        )
    )
    claims.append(equal_time_claim(found, common))
    claims.append(
        paired(
            ("decaying", first, ggn),
            ("decaying", last, ggn),
            id="C2-time",
            claim="the correlation rises with training time",
            statistic=f"{ggn}, {last} less {first} epochs, decaying steps",
        )
    )
    claims.append(
        paired(
            ("decaying", last, "unrolling, if_hessian"),
            ("decaying", last, ggn),
            id="T6",
            claim="at SGD iterates unrolling agrees less with the inverse of the exact Hessian "
            "than with Gauss-Newton",
            statistic="late correlation with unrolling, Gauss-Newton less exact, decaying steps",
        )
    )
    late = {
        f"{threshold:g}": late_rows(table, f"unrolling, {name}")["decaying"]
        for threshold, name in PSEUDO.items()
    }
    claims.append(
        paired(
            ("decaying", last, f"unrolling, {PSEUDO[NULL]}"),
            ("decaying", last, ggn),
            id="T6-pinv",
            claim="at SGD iterates unrolling agrees less with the pseudo-inverse of the exact "
            "Hessian than with Gauss-Newton",
            statistic="late correlation with unrolling, Gauss-Newton less pseudo-inverse with "
            f"eigenvalues below {NULL:g} of the largest as null, decaying steps (correlation of "
            f"the pseudo-inverse by threshold: {_told(late)})",
        )
    )
    for quantity, claim, region in (
        ("span 0.001", "query gradients lie almost wholly in the span of H", above(1 - NEAR)),
        ("null 0.001", "the null part of the response does not matter for queries", below(NEAR)),
    ):
        rows = late_rows(table, quantity)
        claims.append(
            claim_of(
                rows["decaying"],
                id=f"C3-{quantity.split()[0]}",
                claim=claim,
                source=f"{PAPER}, Fig. 3",
                status=combine(
                    decide_interval((rows[r]["low"], rows[r]["high"]), confirmed_if=region)
                    for r in OVER_TIME
                ),
                statistic=f"late {quantity} of the largest eigenvalue ({_told(rows)})",
                rule=interval_rule(region) + "; all three SGD schedules alike, else partly or "
                "inconclusive; null means below 1/1000 of the largest eigenvalue",
                **common,
            )
        )
    for name in ("momentum", "Adam"):
        row = difference(found, ("decaying", last, ggn), (name, last, ggn))
        claims.append(
            claim_of(
                row,
                id=f"C2-{name.lower()}",
                claim=f"unrolled {name} becomes influence as unrolled SGD does",
                source="this study",
                status=decide(confirmed=row["low"] > -SAME, refuted=row["high"] < -SAME),
                statistic=f"late {ggn}, {name} less SGD, decaying steps, paired by run",
                rule=f"confirmed if the 95 % interval lies above -{SAME:g}, refuted if below it",
                **common,
            )
        )
    for method, recipe in product(("if_ggn", "unrolling"), ("constant 0.05", "decaying")):
        row = difference(
            found,
            (recipe, first, f"retrained, {method}"),
            (recipe, last, f"retrained, {method}"),
        )
        claims.append(
            claim_of(
                row,
                id=f"fading-{method}-{recipe.split()[0]}",
                claim="predictions of retraining fade over training time",
                source="2305.16971",
                status=decide_interval((row["low"], row["high"]), confirmed_if=below(0)),
                statistic=f"correlation of {method} with retraining of the same run, {last} less "
                f"{first} epochs, {recipe}",
                rule=interval_rule(below(0), interval="95 % interval, paired by run"),
                **common,
            )
        )
    return claims
