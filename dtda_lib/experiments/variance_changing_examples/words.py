"""What the tables of notebook 04 say, in sentences made out of them.

No result in the notebook's text is typed: where a number changes, its sentence does. Each function
takes tables of `variance_changing*` and returns Markdown.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from dtda_lib.data.task import Task
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import (
    bullets,
    counted,
    grouped,
    joined,
    number,
    percent,
    side,
    upper,
    with_interval,
)

from .claims import SURE, WELL, pick_status, rival_status
from .digits import ALPHA, NEGLIGIBLE, Replicated
from .line import DELTAS, delta_words

_POOLED = {"average": "averaged over queries", "largest": "at the largest"}

# ---------------------------------------------------------------- a line


def pick_words(picks: pd.DataFrame) -> Markdown:
    """Which point each influence picks, and whether fresh seeds pick it, too."""
    sentences = []
    for delta, rows in picks.groupby("delta", sort=False):
        parts = []
        for row in rows.itertuples():
            if min(row.share, row.share_fresh) >= SURE:
                sure = "the pick is sure"
            elif row.pick_fresh == row.pick:
                sure = "fresh seeds pick it, too"
            else:
                sure = f"fresh seeds pick point {row.pick_fresh}"
            parts.append(
                f"{_POOLED[row.pooling]} it is point {row.pick} (x = {row.x:.2f}; "
                f"{percent(row.share)} of the resamples, {percent(row.share_fresh)} of those of "
                f"fresh seeds): {sure}"
            )
        sentences.append(f"**By {_by(delta)}** {'; '.join(parts)}.")
    return bullets(sentences)


def _by(delta: str) -> str:
    return delta_words(delta) if delta == "w2" else f"the {delta_words(delta)}"


def rival_words(rivals: pd.DataFrame) -> Markdown:
    """Does the mean pick another point than each other influence does, and what decides it?"""
    told = grouped(
        (_rival(row, delta), f"by {_by(delta)} {_POOLED[pooling]}")
        for delta in DELTAS[1:]
        for pooling, row in rivals[rivals["delta"] == delta].set_index("pooling").iterrows()
    )
    return bullets(f"**{upper(joined(where))}**: {what}." for what, where in told.items())


def _rival(row: pd.Series, delta: str) -> str:
    a, b, differ = row["by_mean"], row["by_delta"], percent(row["differ"])
    status = f"**{rival_status(row)}**"
    if a == b:
        return (
            f"the mean picks the same point {a} (fresh picks differ in {differ} of the resamples; "
            f"{status})"
        )
    words = {"above": "wins", "below": "loses", "unclear": "is not told from its rival"}
    own = [
        side({end: row[f"{gap}_gap_{end}"] for end in ("low", "high")}, 0, **words)
        for gap in ("mean", "delta")
    ]
    return (
        f"on fresh seeds the mean's point {a} {own[0]} by the mean and this one's point {b} "
        f"{own[1]} by its own influence (fresh picks differ in {differ} of the resamples; {status})"
    )


def draw_words(table: pd.DataFrame) -> Markdown:
    """In how many other draws of the line the mean picks another point; `data_set_table`."""
    parts = []
    for delta, rows in table.groupby("delta", sort=False):
        counts = rows["status"].value_counts()
        told = joined(f"{status} in {counts[status]}" for status in sorted(counts.index))
        parts.append(f"by {_by(delta)} {told}")
    return Markdown(
        "That the mean picks another point than another influence does: of "
        f"{counted(table['draw'].nunique(), 'other draw')}, {'; '.join(parts)}."
    )


def lone_words(picks: pd.DataFrame, lone: int) -> Markdown:
    """Which influences put the lone point first, and whether the mean's pick is known."""
    sentences = []
    for delta in DELTAS:
        rows = picks[picks["delta"] == delta]
        first = rows["pick"] == lone
        share = percent(rows[["share", "share_fresh"]].min().min())
        at_least = "100 %" if share == "100 %" else f"at least {share}"
        if first.all():
            told = f"puts the lone point first (in {at_least} of all resamples)"
        else:
            others = joined(f"point {p}" for p in dict.fromkeys(rows.loc[~first, "pick"]))
            told = (
                f"puts {others} before the lone point; in at least {share} of all resamples of "
                "either set of seeds the pick is the same"
            )
        sentences.append(f"**{upper(delta_words(delta))}** {told}.")
    return bullets(sentences)


def line_score_words(scores: pd.DataFrame, kept: pd.DataFrame) -> Markdown:
    """Which influences are predicted before retraining, by which method; and leverage."""
    sentences = []
    words = {"above": "predicted by", "below": "not predicted by", "unclear": "open for"}
    right = {"confirmed": "the true one with", "refuted": "another one with"}
    for delta, rows in scores.groupby("delta", sort=False):
        told = grouped(
            (side(row, WELL, **words), f"{METHODS[row['method']].words} "
             f"{with_interval(row, 'correlation')} of {row['ceiling']:.2f}")
            for _, row in rows.iterrows()
        )  # fmt: skip
        picks = grouped(
            (
                right.get(pick_status(row["agree"]), "not known which with"),
                METHODS[row["method"]].words,
            )
            for _, row in rows.iterrows()
        )
        sizes = joined(
            f"{row['size']:.1f} by {METHODS[row['method']].words}" for _, row in rows.iterrows()
        )
        sentences.append(
            f"**{upper(delta_words(delta))}** (correlation, of its ceiling; predicted: "
            f"above {WELL:g}): "
            f"{_by_verdict(told)}. Predicted picks: {_by_verdict(picks)}. "
            f"Size of predicted influence over the true one: {sizes}."
        )
    return bullets([*sentences, *_kept(kept)])


def _by_verdict(grouped_names: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{verdict} {joined(names)}" for verdict, names in grouped_names.items())


def _kept(kept: pd.DataFrame) -> list[str]:
    """Shares predicted of the larger half of the mean shifts, against 1 - h and against 1."""
    large = kept[kept["true_shift"] >= kept["true_shift"].median()]
    parts = []
    for method, part in large.groupby("method", sort=False):
        low, middle, high = part["kept"].quantile([0.25, 0.5, 0.75])
        off = [
            float(((part["kept"] - expected) ** 2).mean() ** 0.5)
            for expected in (1 - part["leverage"], 1.0)
        ]
        nearer = "1 − h" if off[0] < off[1] else "1"
        least = part.loc[part["kept"].abs().idxmin()]
        parts.append(
            f"{METHODS[method].words} {middle:.2f} in the median ({low:.2f} to {high:.2f}), nearer "
            f"to {nearer}, least {number(least['kept'])} (point {least['point']}, h = "
            f"{least['leverage']:.2f})"
        )
    return [
        f"**Share of a point's mean shift that is predicted**, with quartiles over the half of the "
        f"points that shift it most: {'; '.join(parts)}."
    ]


# ---------------------------------------------------------------- digits


def replication_words(result: Replicated, null: float | None = None) -> Markdown:
    """How many changes of variance at a mean that stays are found, replicate and survive."""
    row = result.table.iloc[0]
    sentences = [
        f"Of {row['pairs']:,.0f} pairs {row['changed']:,.0f} change their variance "
        f"({percent(row['changed'] / row['pairs'])}), and {row['found']:.0f} of these are found "
        "to leave the mean."
    ]
    if row["found"]:
        beyond = "more than" if row["low"] > row["chance_high"] else "**not** shown to be more than"
        sentences.append(
            f"{row['replicated']:.0f} of {row['found']:.0f} replicate on fresh seeds "
            f"({percent(row['share'])}, interval {percent(row['low'])} to "
            f"{percent(row['high'])}), {beyond} by chance ({percent(row['chance'])}, 97.5 % point "
            f"{percent(row['chance_high'])}); {row['survive']:.0f} survive in full, "
            f"{_of_them(row['negligible'], row['survive'])} with a mean shift within "
            f"{NEGLIGIBLE:g} standard deviations for sure."
        )
    ratios = result.fresh["log_ratio"].values[result.survives.values]
    if ratios.size:
        sentences.append(
            "Among the survivors the variance changes by factors from "
            f"{np.exp(ratios.min()):.2f} to {np.exp(ratios.max()):.2f} on fresh seeds."
        )
    if null is not None:
        sentences.append(
            f"Where runs are exchanged at random, p is at most {ALPHA:g} in {percent(null, 1)} of "
            f"the pairs; an honest test gives {percent(ALPHA)}."
        )
    return bullets(sentences)


def _of_them(part: float, whole: float) -> str:
    return "all of them" if part == whole else f"{part:.0f} of them"


def pair_score_words(scores: pd.DataFrame) -> Markdown:
    """Which method predicts changes of a digit's variance, and how often its best guesses last."""
    sentences = []
    for method, rows in scores.groupby("method", sort=False):
        by = rows.set_index("delta")
        mean, ratio = by.loc["mean"], by.loc["log_variance_ratio"]
        verdict = side(
            ratio, WELL, above="are predicted", below="are **not** predicted",
            unclear="are not shown to be predicted",
        )  # fmt: skip
        times = (
            f", {ratio['hits'] / ratio['base_rate']:.1f} times the base rate"
            if ratio["base_rate"]
            else ""
        )
        sentences.append(
            f"**{upper(METHODS[method].words)}**: changes of variance "
            f"{verdict} (criterion: a correlation above {WELL:g}): "
            f"{with_interval(ratio, 'correlation')}, ceiling {ratio['ceiling']:.2f}; shifts of the "
            f"mean {with_interval(mean, 'correlation')}. Of the 5 % of pairs that it ranks "
            f"highest {percent(ratio['hits'])} survive{times}."
        )
    return bullets(sentences)


def group_words(at_targets: pd.DataFrame) -> Markdown:
    """Did choosing groups by prediction help, at the queries they were chosen for?"""
    parts = [
        f"{row.groups} ({row.n}): the variance changes by a factor of {np.exp(row.log_ratio):.2f} "
        f"or its inverse and the mean by {row.mean:.2f} standard deviations (medians), "
        f"{percent(row.survive)} survive all tests"
        for row in at_targets.itertuples(index=False)
    ]
    return Markdown(f"Groups {'; '.join(parts)}.")


def shown_words(shown: Sequence[pd.DataFrame], names: Sequence[str], task: Task) -> Markdown:
    """What the first seeds said of each example, and what the fresh seeds say; `shown_table`.

    Removals and queries are named by the ids of `task`, as in the figure.
    """
    sentences = []
    for name, table in zip(names, shown, strict=True):
        for row in table.itertuples(index=False):
            lasts = "survives all tests" if row.survives else "does **not** survive all tests"
            query = task.query_id[row.query]
            members = "+".join(str(task.train_id[int(m)]) for m in row.removal.split("+"))
            was = "" if row.found else ", not counted as found there"
            sentences.append(
                f"**{name} {members}, query {query}**: factor {row.first:.2f} on "
                f"the first seeds{was}, {row.fresh:.2f} on fresh ones, where the mean moves by "
                f"{row.mean_fresh:+.2f} standard deviations; it {lasts}."
            )
    return bullets(sentences)
