"""Claims C6, R7 and C7 about points that change a spread: the rules that give their statuses.

Each rule states the smallest effect that matters and why; all were written down before the runs
that they judge. The paper's own numbers are not known to us.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dtda_lib.statistics.over_seeds import wilson_interval
from dtda_lib.study.claims import PARTLY, REFUTED, Claim, above, below, decide
from dtda_lib.study.methods import METHODS

from .line import LEVEL, LOOK, RELEVANT, delta_words

MISSED = 0.1
"""Share of lines on which the mean may miss another influence's point and still stand for it."""
FREQUENT = 0.05
"""Share of the pairs whose mean stays from which a changed spread is no curiosity."""
EXPLAINED = 0.5
"""Share of what retraining explains from which a change counts as predicted."""
_PAPER = "2506.12965"
_LAW = "law over seeds"
_BECAUSE = (
    f"{RELEVANT:.0%} of an influence or of a standard deviation is the least that matters: a mean "
    "shift as small stays below two standard errors with 400 retrainings"
)

# ---------------------------------------------------------------- C6 and R7: which point


def rival_status(row: pd.Series) -> str:
    """Status of "another influence names another point than the mean" for one line.

    Args:
        row: Of `line.picks_table`. Without an interval a difference decides nothing.
    """
    least = np.log1p(RELEVANT)
    differ = row["delta_gap_low"] > least and row["mean_gap_low"] > 0
    alike = row["by_mean"] == row["by_delta"] or row["delta_gap_high"] < least
    return decide(confirmed=bool(differ), refuted=bool(alike))


def judged(rivals: pd.DataFrame) -> pd.DataFrame:
    """`line.picks_table` of several lines with the `status` of each row."""
    return rivals.assign(status=[rival_status(row) for _, row in rivals.iterrows()])


def open_lines(judged_rivals: pd.DataFrame) -> list[int]:
    """Lines on which the headline, W2 averaged over queries, is open: those to look at again."""
    headline = (judged_rivals["pooling"] == "average") & (judged_rivals["delta"] == "w2")
    undecided = judged_rivals["status"] == "inconclusive"
    return judged_rivals.loc[headline & undecided, "line"].tolist()


def decided_again(judged_rivals: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """The same with the rows that the first look left open as a second one sees them.

    Args:
        judged_rivals: `judged`, the first look.
        again: `judged` of the second look at some of the lines; what the first decided stays.
    """
    place = ["line", "pooling", "delta"]
    if not len(again):
        return judged_rivals.assign(look=1)
    first, second = (table.set_index(place) for table in (judged_rivals, again))
    undecided = first.index[first["status"] == "inconclusive"].intersection(second.index)
    kept = first.drop(undecided).assign(look=1)
    both = pd.concat([kept, second.loc[undecided].assign(look=2)])
    return both.loc[first.index].reset_index()[[*judged_rivals.columns, "look"]]


def over_lines(judged_rivals: pd.DataFrame) -> pd.DataFrame:
    """On how many lines another influence names another point: a row for each pooling and Delta.

    `lines`; of them `differ`, `alike` and `open`, which the seeds leave undecided; `share` of lines
    that differ, where an open line counts by its estimates, and its interval: Wilson's, with the
    open lines as alike for the lower end and as different for the upper one; `gap`, by how much the
    other influence of its own point exceeds that of the mean's point, median of lines that differ.
    """
    rows = []
    for (pooling, delta), part in judged_rivals.groupby(["pooling", "delta"], sort=False):
        counts = part["status"].value_counts()
        differ, alike = (int(counts.get(name, 0)) for name in ("confirmed", "refuted"))
        n = len(part)
        seems = (part["status"] == "inconclusive") & (part["delta_gap"] > np.log1p(RELEVANT))
        gaps = np.expm1(part.loc[part["status"] == "confirmed", "delta_gap"])
        rows.append(
            {
                "pooling": pooling,
                "delta": delta,
                "lines": n,
                "differ": differ,
                "alike": alike,
                "open": n - differ - alike,
                "share": (differ + int(seems.sum())) / n,
                "low": wilson_interval(differ, n)[0],
                "high": wilson_interval(n - alike, n)[1],
                "gap": float(gaps.median()),
            }
        )
    return pd.DataFrame(rows)


def line_claims(lines: pd.DataFrame, setting: str) -> list[Claim]:
    """C6 (W2) and R7 (variance): how often another influence names another point than the mean.

    Args:
        lines: `over_lines`.
        setting: What was trained, in words.
    """
    claims = []
    for _, row in lines.iterrows():
        tail = "" if row["pooling"] == "average" else f"-{row['pooling']}"
        gap = f"median excess {row['gap']:.0%}" if np.isfinite(row["gap"]) else "none for sure"
        claims.append(
            Claim.from_row(
                row,
                confirmed_if=above(MISSED),
                value="share",
                count="lines",
                interval="95 % interval over lines",
                id=f"{_name(row['delta'])}{tail}",
                claim=f"mean and {delta_words(row['delta'])} name different points",
                source=f"{_PAPER}, Fig 5",
                statistic=f"share of lines, influence {_pooled(row['pooling'])} ({row['differ']} "
                f"differ, {row['alike']} alike, {row['open']} open; {gap})",
                setting=setting,
                estimand=_LAW,
                rule=f"{_differ(LOOK)}; {_AGAIN}; {_BECAUSE}; a mean that names another "
                f"point on more than {MISSED:.0%} of lines cannot stand for the other influence",
            )
        )
    return claims


def one_line_claims(rivals: pd.DataFrame, n_seeds: int, setting: str, tail: str) -> list[Claim]:
    """The same of one line, averaged over queries: by how much another point wins.

    Args:
        rivals: `line.picks_table` of that line.
        n_seeds: Seeds of each of the two sets.
        setting: What was trained, in words.
        tail: End of the ids, "as_drawn" or "lone".
    """
    claims = []
    for _, row in rivals[rivals["pooling"] == "average"].iterrows():
        ends = {f"excess{end}": np.expm1(row[f"delta_gap{end}"]) for end in ("", "_low", "_high")}
        words = delta_words(row["delta"])
        name = f"C6-{row['delta']}" if tail == "lone" else _name(row["delta"])
        claims.append(
            Claim.from_row(
                ends,
                value="excess",
                count=n_seeds,
                id=f"{name}-{tail}",
                claim=f"mean and {words} name different points",
                source=f"{_PAPER}, Fig 5",
                status=rival_status(row),
                statistic=f"excess of the {words} influence of its own point over that of the "
                f"mean's (mean {row['by_mean']}, {words} {row['by_delta']})",
                setting=setting,
                estimand=_LAW,
                rule=f"{_differ(LEVEL)}; {_BECAUSE}",
            )
        )
    return claims


def _differ(level: float) -> str:
    return (
        f"picks from the first seeds, judged on fresh ones; a line differs if the {100 * level:g} "
        "% bootstrap interval shows that the other influence of its own point is "
        f"{RELEVANT:.0%} above that of the mean's point (in the unit of the prediction), and the "
        "mean's point wins by the mean; it is alike if one point is named or the excess lies below "
        "that"
    )


_AGAIN = (
    "a line on which W2 is open is looked at once more: both sets of seeds name the points, a new "
    f"one judges them (two looks of {100 * LOOK:g} % miss as often as one of {100 * LEVEL:g} %)"
)


def _name(delta: str) -> str:
    return "R7" if delta == "variance" else f"C6-{delta}"


def _pooled(pooling: str) -> str:
    return "averaged over queries" if pooling == "average" else "at its largest query"


# ---------------------------------------------------------------- C7: spread without mean


def neutral_claim(row: pd.Series, what: str, setting: str) -> Claim:
    """C7: how often the spread changes where the mean stays.

    The paper says that *some* points do: a few that do in every single set of seeds, beyond
    chance, are no refutation, however rare they are.

    Args:
        row: Of `digits.base_rates`.
        what: "points", or another end of the id.
        setting: What was trained, in words.
    """
    claim = Claim.from_row(
        row,
        confirmed_if=above(FREQUENT),
        value="share",
        count="pairs",
        interval=_OVER,
        id=f"C7-{what}",
        claim="some removals change the spread of a prediction and not its mean",
        source=f"{_PAPER}, Fig 11",
        statistic=f"share of pairs whose mean stays that change their standard deviation by more "
        f"than {RELEVANT:.0%} (of the other pairs {row['others']:.2g}; noise alone "
        f"{row['noise']:.2g}; {row['everywhere']:.0f} of {row['pairs']:.0f} pairs in every set)",
        setting=setting,
        estimand=f"{_LAW}, pairs of a removal and a query",
        rule=f"the mean stays if the other sets of seeds find a shift below {RELEVANT:g} standard "
        f"deviations; the spread changes if the set and the others find a factor beyond "
        f"{1 + RELEVANT:g}, in one direction; {_BECAUSE}; fewer than one pair in "
        f"{1 / FREQUENT:.0f} is a curiosity; a share below that is partly, and not refuted, if "
        "more pairs do so in every set than by noise alone",
    )
    rare = claim.status == REFUTED and row["everywhere"] > row["everywhere_noise"]
    return replace(claim, status=PARTLY) if rare else claim


def special_claim(row: pd.Series, setting: str) -> Claim:
    """T-mean-neutral: do pairs whose mean stays change their spread more often than others?"""
    return Claim.from_row(
        row,
        confirmed_if=above(0),
        refuted_if=below(0),
        value="difference",
        count="pairs",
        interval=_OVER,
        id="T-mean-neutral",
        claim="pairs whose mean stays change their spread more often than the others",
        source="this study",
        statistic=f"difference of the shares that change their standard deviation by more than "
        f"{RELEVANT:.0%}, mean stays - mean moves",
        setting=setting,
        estimand=f"{_LAW}, pairs of a removal and a query",
        rule="below 0, the mean merely crosses zero among pairs that are otherwise less affected",
    )


def chosen_claim(targets: pd.DataFrame, size: int, setting: str) -> Claim:
    """C7-groups-predicted: groups chosen by prediction change the spread alone.

    Args:
        targets: `digits.chosen_groups_table`.
        size: Points of a group.
        setting: What was trained, in words.
    """
    chosen, random = (targets.set_index("groups").loc[name] for name in ("chosen", "random"))
    low, high = wilson_interval(int(chosen["alone"]), int(chosen["n"]))
    share = {"share": chosen["alone"] / chosen["n"], "share_low": low, "share_high": high}
    return Claim.from_row(
        share,
        confirmed_if=above(0.5),
        value="share",
        count=int(chosen["n"]),
        interval="95 % Wilson interval over groups",
        id="C7-groups-predicted",
        claim=f"groups of {size} chosen by prediction change the spread and not the mean",
        source=f"{_PAPER}, section 2",
        statistic=f"share of chosen groups, each at its query, that do on fresh seeds (random "
        f"groups at the same queries: {random['alone']:.0f} of {random['n']:.0f})",
        setting=setting,
        estimand=f"{_LAW}, predicted on the first seeds, true on fresh ones",
        rule="a prediction that is right less than every second time saves no retraining",
    )


# ---------------------------------------------------------------- predictions


def predicted_claims(scores: pd.DataFrame, head: str, what: str, setting: str) -> list[Claim]:
    """Whether a change is predicted before retraining, against what retraining itself explains.

    Args:
        scores: Rows of one Delta of `predictions.score_table`.
        head: Begin of the ids, such as "C7".
        what: What is predicted, in words.
        setting: What was trained, in words.
    """
    return [
        Claim.from_row(
            row,
            confirmed_if=above(EXPLAINED),
            value="explained",
            count="n_seeds",
            interval="jackknife interval over both sets of seeds",
            id=f"{head.format(row['method'])}-predicted",
            claim=f"{what} is predicted before retraining ({METHODS[row['method']].label})",
            source=f"{_PAPER}, section 2",
            statistic=f"(correlation / ceiling)² (correlation {row['correlation']:.2f}, retraining "
            f"itself {row['ceiling']:.2f}; slope of predicted on true {row['slope']:.2f})",
            setting=setting,
            estimand=f"{_LAW}, predicted on the first seeds, true on fresh ones",
            rule="above one half a prediction says more than it leaves out",
        )
        for _, row in scores.iterrows()
    ]


_OVER = "95 % interval over sets of seeds, points and queries"


LINE_COLUMNS: dict[str, Any] = {
    "influence": "delta",
    "over queries": "pooling",
    "lines": "lines",
    "differ": "differ",
    "alike": "alike",
    "open": "open",
    "share that differs": ("share", "low", "high"),
    "median excess": "gap",
}
"""Headers of `over_lines` for `tables.readable`."""
