"""Claims of notebook 07, and the rules that give their statuses.

All but the sampled ones speak about exact numbers, without an interval. Thresholds are our choice.
"""

import numpy as np
import pandas as pd
from scipy import stats

from dtda_lib.study.claims import (
    CONFIRMED,
    REFUTED,
    Claim,
    between,
    combine,
    decide,
    decide_interval,
    interval_rule,
)

from .maps import log_slope

CLOSE, FAR = 0.01, 0.1
"""Distance to a limit that counts as reached, and as missed."""
ORDER = 0.9, 1.1
"""Slopes on logarithmic axes that count as first order."""
KEPT, LOST = 0.1, 0.5
"""Share of a divergence left over that counts as removed, and as not."""
CHANCE = 0.01, 1e-6  # as in notebook 00

_PAPER = "2506.12965"
_WELLS = "one parameter, loss with two wells"
_LINE = "line through 30 points, three parameters"
_EXACT = "law over samples, exact"


def scale_claim(scales: pd.DataFrame) -> Claim:
    """C5: c* tends to 1 at zero temperature; `transport.scale_table`, smallest eps last."""
    parts = []
    for _, part in scales.groupby("case", sort=False):
        order = log_slope(part["eps"][1:], part["offset"][1:])
        last = abs(part["offset"].iloc[-1])
        parts.append((order, last))
    orders, last = [order for order, _ in parts], max(last for _, last in parts)
    return Claim(
        id="C5",
        claim="the best scaling c* of the influence function tends to 1 as ε → 0 in the cold limit",
        source=f"{_PAPER}, Theorem 3",
        status=decide(
            confirmed=last < CLOSE and all(ORDER[0] < order < ORDER[1] for order in orders),
            refuted=last > FAR,
        ),
        statistic=(
            f"largest |c* − 1| at ε = {scales['eps'].iloc[-1]:g}; order in ε "
            + ", ".join(f"{order:.3f}" for order in orders)
        ),
        estimate=float(last),
        ci=None,
        n=len(parts),
        setting=f"{_WELLS}, loss_k the same in both; temperature 0",
        estimand=_EXACT,
        rule=(
            f"confirmed if |c* − 1| < {CLOSE:g} at the smallest ε and its order in ε lies in "
            f"{ORDER[0]:g} to {ORDER[1]:g} for every loss, refuted if |c* − 1| > {FAR:g}"
        ),
    )


def cold_claim(cold: pd.DataFrame) -> Claim:
    """C5-cold: at a finite temperature the limit of c* tends to 1 as beta grows; `cold_table`."""
    last = cold[cold["beta"] == cold["beta"].max()]
    far = float(abs(last["limit"] - 1).max())
    return Claim(
        id="C5-cold",
        claim="at low temperature, too, the best scaling c* is near 1",
        source=f"{_PAPER}, Theorem 3",
        status=decide(confirmed=far < CLOSE, refuted=far > FAR),
        statistic=f"largest |lim c* − 1| at β = {cold['beta'].max():g}, two losses, two fields",
        estimate=far,
        ci=None,
        n=len(last),
        setting=f"{_WELLS}, loss_k the same in both; ε → 0 at fixed β",
        estimand=_EXACT,
        rule=f"confirmed if below {CLOSE:g} at the largest β, refuted if above {FAR:g}",
    )


def rival_claim(rivals: pd.DataFrame) -> Claim:
    """C5-best: no other field does better once eps is small; `transport.rival_table`."""
    table = rivals.pivot(index="eps", columns="field", values="f").sort_index()
    others = table.drop(columns="influence")
    margin = others.sub(table["influence"], axis=0).min(axis=1) / table["nothing"]
    small = margin.iloc[0]
    closest = others.iloc[0].idxmin()
    return Claim(
        id="C5-best",
        claim="fields that differ from the influence function at a global minimum do worse, once ε "
        "is small",
        source=f"{_PAPER}, Theorem 3",
        status=decide(confirmed=bool(small > 0), refuted=bool(small < 0)),
        statistic=(
            f"F of the best other field ({closest}) less the influence function's, over that of "
            f"no change, at ε = {table.index[0]:g}"
        ),
        estimate=float(small),
        ci=None,
        n=len(others.columns),
        setting=f"{_WELLS}, wide and narrow; temperature 0",
        estimand=_EXACT,
        rule="confirmed if positive at the smallest ε for every other field, refuted if negative",
    )


def parabola_claims(curves: pd.DataFrame, scales: pd.DataFrame) -> list[Claim]:
    """T10: the parabola, and whether its minimum is 0.

    `curves`: `transport.curve_table` of all cases at zero temperature and one small eps.
    """
    left, off = {}, 0.0
    for name, part in curves.groupby("case", sort=False):
        start = part["f"].iloc[0]  # c = 0
        off = max(off, float((abs(part["f"] - part["leading"])).max() / start))
        left[name] = float(part.loc[(part["c"] - 1).abs().idxmin(), "f"] / start)
    statuses = [decide(confirmed=share < CLOSE, refuted=share > FAR) for share in left.values()]
    eps = curves["eps"].iloc[0]
    return [
        Claim(
            id="T10",
            claim="to second order in ε, F of c times the influence function is a parabola in c "
            "with its minimum at 1",
            source=f"{_PAPER}, Theorem 3; derived",
            status=decide(confirmed=off < CLOSE, refuted=off > FAR),
            statistic=f"largest |F − parabola| over F of no change, c in 0 to 2, ε = {eps:g}",
            estimate=off,
            ci=None,
            n=len(left),
            setting=f"{_WELLS}, loss_k the same in both; temperature 0",
            estimand=_EXACT,
            rule=f"confirmed if below {CLOSE:g}, refuted if above {FAR:g}",
        ),
        Claim(
            id="T10-zero",
            claim="where loss_k is the same at all global minima, the influence function leaves "
            "nothing of second order in ε",
            source="this study",
            status=combine(statuses),
            statistic=(
                f"F of the influence function over F of no change at ε = {eps:g}: "
                + ", ".join(f"{name} {share:.3g}" for name, share in left.items())
            ),
            estimate=max(left.values()),
            ci=None,
            n=len(left),
            setting=f"{_WELLS}; temperature 0",
            estimand=_EXACT,
            rule=f"each loss: confirmed if below {CLOSE:g}, refuted if above {FAR:g}; else partly",
        ),
    ]


def floor_claims(floors: pd.DataFrame, masses: pd.DataFrame) -> list[Claim]:
    """T11: the floor of first order, and who moves mass; `floor_table`, `mass_table`."""
    cold = floors[np.isinf(floors["beta"])].sort_values("eps")
    last = cold.iloc[0]
    ratio = last["best"] / last["first_order"]
    coldest = masses[(masses["case"] == "apart")].sort_values("beta").iloc[-1]
    moved = (coldest["moved"] - coldest["before"]) / (coldest["after"] - coldest["before"])
    return [
        Claim(
            id="T11",
            claim="where loss_k differs between wells, a part of F of first order in ε remains at "
            "every scale, and it is ε (max loss_k − E loss_k)",
            source=f"{_PAPER}, Theorem 3; derived",
            status=decide(confirmed=abs(ratio - 1) < CLOSE, refuted=abs(ratio - 1) > FAR),
            statistic=f"least F over c, over the predicted floor, at ε = {last['eps']:g}",
            estimate=float(ratio),
            ci=None,
            n=len(cold),
            setting=f"{_WELLS}, loss_k different; temperature 0",
            estimand=_EXACT,
            rule=f"confirmed if within {CLOSE:g} of 1, refuted if off by more than {FAR:g}",
        ),
        Claim(
            id="T11-basins",
            claim="the influence function moves mass from one basin to another as the removal does",
            source="this study",
            status=decide(confirmed=moved > 1 - KEPT, refuted=moved < KEPT),
            statistic=f"share of the mass that changes its basin that the map moves, "
            f"β = {coldest['beta']:g}",
            estimate=round(float(moved), 6) + 0.0,  # rounding errors have no sign worth keeping
            ci=None,
            n=1,
            setting=f"{_WELLS}, loss_k different",
            estimand=_EXACT,
            rule=f"confirmed if above {1 - KEPT:g}, refuted if below {KEPT:g}",
        ),
    ]


def sampling_claim(agreement: pd.DataFrame, n_chains: int) -> Claim:
    """T12: sampled laws equal the closed forms; `transport_chains.agreement_table`."""
    z = agreement[["z_mean", "z_variance"]].to_numpy()
    largest = float(abs(z).max())
    suspect, error = (float(stats.norm.isf(chance / 2 / z.size)) for chance in CHANCE)
    return Claim(
        id="T12",
        claim="laws sampled by Langevin, SGLD and SGD equal the closed forms, before and after a "
        "removal",
        source=f"{_PAPER}, section 3.2; derived",
        status=decide(confirmed=largest < suspect, refuted=largest > error),
        statistic=f"largest |z| of {z.size} means and variances",
        estimate=largest,
        ci=None,
        n=n_chains,
        setting=f"{_LINE}; step size and batches included in the closed form",
        estimand="law of the prediction at one query",
        rule=(
            f"confirmed if the largest |z| stays below the value that chance passes in "
            f"{CHANCE[0]:g} of cases (Bonferroni), refuted beyond that for {CHANCE[1]:g}"
        ),
    )


def push_claims(pushed: pd.DataFrame, cost: tuple[float, float]) -> list[Claim]:
    """T12-push and T-monge; `push_table` and `transport_cost` of `transport_chains`."""
    cold = pushed[pushed["beta"] == pushed["beta"].max()].set_index("field")["left"]
    left = float(cold[["if_minimum", "if_sample"]].max())
    excess = cost[0] / cost[1] - 1
    return [
        Claim(
            id="T12-push",
            claim="θ + ε r(θ) carries the Boltzmann law to that after a removal, in the cold limit",
            source=f"{_PAPER}, Theorem 3",
            status=decide(confirmed=left < KEPT, refuted=left > LOST),
            statistic=f"share of the KL divergence left, β = {pushed['beta'].max():g}",
            estimate=left,
            ci=None,
            n=1,
            setting=f"{_LINE}, a whole removal",
            estimand=_EXACT,
            rule=f"confirmed if below {KEPT:g}, refuted if above {LOST:g}",
        ),
        Claim(
            id="T-monge",
            claim="the map is optimal transport in the sense of W2 as well",
            source="this study",
            status=decide(confirmed=excess < 1e-9, refuted=excess > 1e-3),
            statistic="distance by which the map moves samples (root mean square) over W2 to where "
            "it moves them, less 1",
            estimate=float(excess),
            ci=None,
            n=1,
            setting=f"{_LINE}, influence function at each sample, common shift taken off",
            estimand=_EXACT,
            rule="confirmed if below 1e-09, refuted if above 0.001",
        ),
    ]


def variance_claims(responses: pd.DataFrame, n_chains: int) -> list[Claim]:
    """T12-spread: who predicts how a removal changes the spread; `response_table`."""
    table = responses.set_index(["estimator", "chain"])
    shares = {name: table.loc[name]["variance"] for name in ("if_minimum", "if_sample")}
    claims = []
    for name, words in {
        "if_minimum": "influence function of the minimum",
        "if_sample": "influence function at each sample",
    }.items():
        share = shares[name]
        parts = [decide(confirmed=abs(one - 1) < FAR, refuted=abs(one - 1) > LOST) for one in share]
        agree = set(parts) in ({CONFIRMED}, {REFUTED})
        claims.append(
            Claim(
                id=f"T12-spread-{name}",
                claim=f"the {words} predicts how the variance of a prediction changes at finite "
                "temperature",
                source="this study",
                status=parts[0] if agree else combine(parts),
                statistic="predicted over true slope of the variance in ε: "
                + ", ".join(f"{kind} {value:.2f}" for kind, value in share.items()),
                estimate=float(share["langevin"]),
                ci=None,
                n=len(share),
                setting=f"{_LINE}; estimate: Langevin with small steps",
                estimand=_EXACT,
                rule=f"each kind of chain: confirmed if within {FAR:g} of 1, refuted if off by "
                f"more than {LOST:g}",
            )
        )
    unrolled = table.loc["unrolling"]
    region = between(0.8, 1.2)
    parts = []
    for row in unrolled.itertuples():
        ci = (row.variance_low, row.variance_high)
        parts.append(decide_interval(ci, confirmed_if=region))
    worst = unrolled.loc[abs(unrolled["variance"] - 1).idxmax()]
    claims.append(
        Claim(
            id="T12-spread-unrolling",
            claim="the unrolled response predicts how the variance of a prediction changes at "
            "finite temperature",
            source="this study",
            status=combine(parts),
            statistic="predicted over true slope of the variance in ε, the kind of chain furthest "
            "from 1",
            estimate=float(worst["variance"]),
            ci=(float(worst["variance_low"]), float(worst["variance_high"])),
            n=n_chains,
            setting=_LINE,
            estimand="law of the prediction at one query, sampled",
            rule=f"each kind of chain: {interval_rule(region)}; kinds that differ: partly",
        )
    )
    return claims
