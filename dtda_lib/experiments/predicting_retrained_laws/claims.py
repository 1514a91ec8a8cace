"""Claims C1 and R8 about predicted laws, and where the first order breaks: the rules.

Thresholds are our choice, made before the numbers; the paper's own numbers are not known to us.
Each rule is applied to whole 95 % intervals over sets of seeds, removals and queries.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import pandas as pd

from dtda_lib.study.claims import (
    CONFIRMED,
    PARTLY,
    Claim,
    above,
    below,
    between,
    combine,
    decide_interval,
)
from dtda_lib.study.tables import ends
from dtda_lib.study.wording import bracketed

from .laws import LEVERAGE, POINT
from .methods import looks
from .tables import ALL, CONCRETE

MOST = 0.6
"""Of queries: the least share that matters. Whoever trusts the prediction is then right at three
queries of five, where a coin is right at five of ten."""
EXPLAINED = 0.25
"""Of a squared change: the least share that matters. A prediction of the right size explains as
much if it correlates with the change by 0.5; less leaves more than 87 % of the error."""
MISSED = 0.5
"""Of a change: the least error that matters of a first order. The larger part of it is missed."""
NEAR = 0.1
"""Of a shift: what counts as near."""

INTERVAL = "95 % interval over sets of seeds, removals and queries"
_PAPER, _RIF = "2506.12965, Fig. 2", "2506.06656"
_LAW = "law over seeds of a query's output, before and after a removal"
CLAIMED_ESTIMATORS = ("unrolling", "if_damped", "source")
_WHAT = {"w2": ("law", "W2"), "mean": ("mean", "difference of means")}


def _tag(task: str) -> str:
    return "" if task == CONCRETE else f"-{task}"


def _groups(rows: pd.DataFrame) -> pd.Series:
    """Which rows are about one size of groups, and not about single points or all groups."""
    return ~rows["size"].isin([ALL, POINT, LEVERAGE])


def nearer_claims(shares: pd.DataFrame, settings: Mapping[str, str]) -> list[Claim]:
    """C1 for each task, estimator and distance: nearer than no change, and than another group's.

    The estimate is the smaller one of both shares; both have to be above `MOST`.

    Args:
        shares: `tables.nearer_share_table` of all tasks.
        settings: Task -> what was trained, in words.
    """
    claims = []
    for task, estimator, (kind, (what, words)) in product(
        settings, CLAIMED_ESTIMATORS, _WHAT.items()
    ):
        chosen = [shares[name] == key for name, key in
                  (("task", task), ("estimator", estimator), ("kind", kind))]  # fmt: skip
        rows = shares[chosen[0] & chosen[1] & chosen[2]]
        whole = rows[rows["size"] == ALL].sort_values("share", ascending=False, kind="stable")
        sizes = rows[_groups(rows)]
        told = "; ".join(f"{row['rival']} {bracketed(row, 'share')}" for _, row in whole.iterrows())
        each = "; ".join(
            f"{size} {' and '.join(f'{share:.2f}' for share in part['share'])}"
            for size, part in sizes.groupby("size", sort=False)
        )
        claim = Claim.from_rows(
            whole,
            confirmed_if=above(MOST),
            value="share",
            interval=INTERVAL,
            id=f"C1{_tag(task)}-{estimator}-{kind}",
            claim=f"the predicted {what} of retrained models' outputs is nearer to the truth than "
            "no change is, and than the prediction for another group, for most queries "
            f"({looks(estimator).label})",
            source=_PAPER if estimator != "source" else "this study",
            statistic=f"share of queries by {words}, noise taken off, mean over group sizes: "
            f"{told}; by size: {each}",
            setting=settings[task],
            estimand=_LAW,
            rule=f"of both shares; {MOST:g} is right at three queries of five; only partly if at "
            "some group size a whole interval lies below 1/2",
        )
        against = (ends(sizes, "share")[1] < 0.5).any()
        claims.append(
            replace(claim, status=PARTLY) if claim.status == CONFIRMED and against else claim
        )
    return claims


def spread_claims(skills: pd.DataFrame, settings: Mapping[str, str]) -> list[Claim]:
    """R8 for each task and estimator: is the change of the spread predicted?

    Args:
        skills: `tables.skill_table` of all tasks.
        settings: Task -> what was trained, in words.
    """
    claims = []
    for task, estimator in product(settings, CLAIMED_ESTIMATORS):
        chosen = (skills["task"] == task) & (skills["estimator"] == estimator)
        rows = skills[chosen & (skills["kind"] == "spread")]
        whole, sizes = rows[rows["size"] == ALL].iloc[0], rows[_groups(rows)]
        each = "; ".join(f"{row['size']} {row['skill']:.2f}" for _, row in sizes.iterrows())
        first = task == CONCRETE and estimator == CLAIMED_ESTIMATORS[0]
        gain, skill = (
            {"estimate": whole[name], "n": whole["n"]}
            | dict(zip(("low", "high"), ends(whole, name), strict=True))
            for name in ("gain", "skill")
        )
        claims.append(
            Claim.from_rows(
                [gain, skill],
                confirmed_if=above(EXPLAINED),
                interval=INTERVAL,
                id="R8" if first else f"R8{_tag(task)}-{estimator}",
                claim="a prediction knows how a removal changes the spread over seeds "
                f"({looks(estimator).label})",
                source="this study",
                statistic="share of the squared change of the log variance that is explained, "
                f"noise taken off, mean over group sizes; by size: {each}; more than the "
                f"prediction for another group: {bracketed(gain)}",
                setting=settings[task],
                estimand=_LAW,
                rule="of that share, and of what it exceeds that of the prediction for another "
                f"group by; {EXPLAINED:g} is a correlation of 0.5 at the right size",
            )
        )
    return claims


def group_size_claim(skills: pd.DataFrame, setting: str) -> Claim:
    """T-groups-network: first order holds in small groups and breaks in large ones.

    Args:
        skills: `tables.skill_table`; looked at: the mean on Concrete by unrolling.
        setting: What was trained, in words.
    """
    rows = skills[(skills["kind"] == "mean") & (skills["estimator"] == "unrolling")]
    rows = rows[(rows["task"] == CONCRETE) & _groups(rows)]
    small, large = rows.iloc[0], rows.iloc[-1]
    told = "; ".join(f"{row['size']} {bracketed(row, 'error')}" for _, row in rows.iterrows())
    parts = [
        decide_interval(ends(small, "error"), confirmed_if=below(MISSED)),
        decide_interval(ends(large, "error"), confirmed_if=above(MISSED)),
    ]
    return Claim.from_row(
        large,
        status=combine(parts),
        value="error",
        id="T-groups-network",
        claim="a sum of first-order shifts holds in small groups and breaks in large ones "
        f"({looks('unrolling').label})",
        source="this study",
        statistic=f"error of means / change of means, largest groups ({told})",
        setting=setting,
        estimand=_LAW,
        rule=f"confirmed if the whole {INTERVAL} lies below {MISSED:g} in the smallest groups and "
        f"above it in the largest, refuted if on the other side in both, else partly or "
        "inconclusive; beyond it the larger part of the change is missed",
    )


def leverage_claims(kept: pd.DataFrame, setting: str) -> list[Claim]:
    """T-...-network: of a single point's shift, first order predicts 1 - h; RIF mends that.

    Args:
        kept: `tables.kept_table`, all sizes of the training set, the smallest last.
        setting: What was trained, in words.
    """
    claims = []
    for name, what, region, words, source in (
        ("unrolling", "less", between(-NEAR, NEAR), "is 1 − its leverage", "this study"),
        ("if_damped", "less", between(-NEAR, NEAR), "is 1 − its leverage", _RIF),
        ("rif", "kept", between(1 - NEAR, 1 + NEAR), "is all of it", _RIF),
    ):
        rows = kept[kept["estimator"] == name]
        told = "; ".join(
            f"{row['n_train']} points {bracketed(row, 'kept')}, 1 − h {row['left']:.2f}"
            for _, row in rows.iterrows()
        )
        claims.append(
            Claim.from_rows(
                rows,
                confirmed_if=region,
                value=what,
                interval=INTERVAL,
                rule="at each size of the training set: all alike, else partly or inconclusive",
                id=f"T-{name}-network",
                claim="the share of a single point's shift that is predicted on a network "
                f"{words} ({looks(name).label})",
                source=source,
                statistic="share of the shift of the mean"
                + (" - the mean of 1 − h" if what == "less" else "")
                + f", smallest set; shares ({told})",
                setting=setting,
                estimand=_LAW,
            )
        )
    return claims
