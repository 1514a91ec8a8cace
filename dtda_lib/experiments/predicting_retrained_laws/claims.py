"""Claim C1, that predicted laws are near retrained ones: the rules that give its statuses.

Thresholds are our choice, made before the numbers; the paper's own numbers are not known to us.
"""

from itertools import product

import numpy as np
import pandas as pd

from dtda_lib.study.claims import Claim, Interval, below, between, combine, decide, decide_interval
from dtda_lib.study.tables import ends
from dtda_lib.study.wording import bracketed

from .methods import looks
from .tables import ALL

_PAPER = "2506.12965, Fig. 2"
_RIF = "2506.06656"
NEAR = 0.1
"""Of a share of a shift: what counts as near."""
_LAW = "law over seeds of a query's prediction, before and after a removal"
ESTIMATORS = ("unrolling", "if_ggn", "rif")
_WHAT = {"mean": "mean", "w2": "law", "sd": "spread"}
_DISTANCES = {"mean": "difference of means", "w2": "W2", "sd": "difference of sds"}


def _hull(row: pd.Series) -> Interval:
    """From the lowest to the highest end of both intervals of a share; NaN if one end is NaN."""
    both = np.array([ends(row), ends(row, "draw")])
    return float(both[:, 0].min()), float(both[:, 1].max())


def share_status(table: pd.DataFrame) -> str:
    """Status of "nearer than no change in most cases" from the rows of one estimator and kind.

    Both intervals of `ALL` (over seeds, over removals and queries) above 1/2, and no set's wholly
    below: confirmed; some set's below: partly. Both below 1/2: refuted.
    """
    whole = table[table["set"] == ALL].iloc[0]
    both = ends(whole), ends(whole, "draw")
    holds = all(low > 0.5 for low, _ in both)
    against = any(row["high"] < 0.5 for _, row in table.iterrows() if row["set"] != ALL)
    return decide(
        confirmed=holds and not against,
        refuted=all(high <= 0.5 for _, high in both),
        partly=holds,
    )


def share_claims(shares: pd.DataFrame, n_cases: int, setting: str) -> list[Claim]:
    """C1 for each estimator and distance, from `share_table`.

    `shares` holds random removals only; other sets would count as sizes. The interval of a claim is
    the hull of both, over seeds and over removals and queries, as its rule asks for both.
    """
    claims = []
    for estimator, (kind, words) in product(ESTIMATORS, _DISTANCES.items()):
        rows = shares[(shares["estimator"] == estimator) & (shares["kind"] == kind)]
        whole = rows[rows["set"] == ALL].iloc[0]
        sizes = rows[rows["set"] != ALL].to_dict("records")
        told = "; ".join(f"{row['set']} {bracketed(row, 'share')}" for row in sizes)
        low, high = _hull(whole)
        claims.append(
            Claim.from_row(
                {"share": whole["share"], "low": low, "high": high},
                value="share",
                count=n_cases,
                id=f"C1-{estimator}-{kind}",
                claim=f"the predicted {_WHAT[kind]} of retrained models' predictions is nearer "
                f"to the truth than no change is, for most queries ({looks(estimator).label})",
                source=_PAPER if estimator != "rif" and kind != "sd" else "this study",
                status=share_status(rows),
                statistic=f"share of (removal, query) by {words}, mean over sizes ({told}); "
                "interval: hull of that over seeds "
                f"[{whole['low']:.2f}, {whole['high']:.2f}] and that over removals and queries "
                f"[{whole['draw_low']:.2f}, {whole['draw_high']:.2f}]",
                setting=setting,
                estimand=_LAW,
                rule="confirmed if the mean over sizes is above 1/2 by its interval over seeds "
                "and by that over removals and queries, and no size lies below 1/2 by its "
                "interval over seeds (else partly); refuted if both intervals of the mean lie "
                "at or below 1/2; else inconclusive",
            )
        )
    return claims


def leverage_claims(kept: pd.DataFrame, n_points: int, setting: str) -> list[Claim]:
    """T-rif on a network: of single points influence keeps 1 - h, and the correction mends that.

    `kept` is `kept_table`. "Mends" means to within `NEAR` of all of the shift of the mean.
    """
    rows = kept.set_index(["what", "estimator"])
    common = {"setting": setting, "estimand": _LAW}
    under_shoots = []
    for name, source in (
        ("if_ggn", _RIF),
        ("unrolling", "this study, suggested by first results"),
    ):
        share, less = rows.loc[("kept", name)], rows.loc[("less", name)]
        expected = float(rows.loc[("1 - h", name), "estimate"])
        parts = [
            decide_interval(ends(share), confirmed_if=below(1)),
            decide_interval(ends(less), confirmed_if=between(-NEAR, NEAR)),
        ]
        under_shoots.append(
            Claim.from_row(
                less,
                count=n_points,
                id=f"T-{name}-network",
                claim="on a network, too, 1 − leverage of a point's shift is predicted "
                f"({looks(name).label})",
                source=source,
                status=combine(parts),
                statistic=f"share of the shift of the mean - the mean of 1 − h, {expected:.2f}; "
                f"the share itself is {bracketed(share)}",
                rule=f"share below 1, and its difference from 1 − h within ±{NEAR:g}, each by the "
                "whole jackknife interval over seeds: both, else partly, inconclusive or refuted",
                **common,
            )
        )
    mends = Claim.from_row(
        rows.loc[("kept", "rif")],
        count=n_points,
        confirmed_if=between(1 - NEAR, 1 + NEAR),
        interval="jackknife interval over seeds",
        id="T-rif-network",
        claim="on a network, too, a leverage correction mends what is missed of a point "
        f"({looks('rif').label})",
        source=_RIF,
        statistic="share of the shift of the mean that is predicted, over points and queries",
        **common,
    )
    return [*under_shoots, mends]
