"""Drawing of data pruning: each function returns the figure and exactly what it shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dtda_lib.data.task import Task
from dtda_lib.study.figures import (
    TEXT_WIDTH,
    Drawn,
    intervals,
    legend_above,
    named_rows,
    side_by_side,
    text_beside,
)
from dtda_lib.study.methods import ACCENT, CONTROL, palette
from dtda_lib.study.previews import show_image

from .methods import method_of
from .strategies import OTHER, SAME

STRATEGIES: dict[str, str] = {
    "random": "at random",
    "same_own": "same seed: own score",
    "same_mean": "same seeds: mean score",
    "rest_mean": "same seeds but one: mean score",
    "same_risk": "same seeds: mean + spread",
    "other_own": "another seed: its score",
    "other_mean": "other seeds: mean score",
    "other_risk": "other seeds: mean + spread",
    "other_mean_loss": "other seeds: mean loss",
    "other_mean_grad_dot": "other seeds: mean grad-dot",
    "truth": "the wrong labels",
}
"""How figures call what is removed, from top to bottom."""
QUESTIONS: dict[str, str] = {
    "order": "mean score − own score",
    "none": "mean score − no pruning",
    "fixed": "own score − no pruning",
    "random": "mean score − at random",
    "risk": "mean + spread − mean score",
    "reuse": "mean of all seeds − all but own",
    "reuse_own": "own score − another seed's",
    "loss": "mean score − mean training loss",
}
"""How figures call what a question compares."""
_WHOSE = palette(
    {SAME: "scores of the same seeds", OTHER: "scores of other seeds", "": "no scores"}, control=""
)
_WHOSE[""] = replace(_WHOSE[""], marker="D")  # which can be hollow
_SHIFTS = palette(
    {
        "selected": "predicted, by the scores that chose",
        "predicted": "predicted, by the retrained seeds",
        "validation": "observed, validation points",
        "test": "observed, test points",
    }
)


def _panels(
    tables: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    xlabel: str,
    draw: Callable[[Axes, pd.DataFrame], None],
    height: float = 3.1,
) -> Drawn:
    """A panel for each table, what `names` says from top to bottom, and a line where nothing is.

    `draw` adds a table to its panel. What is drawn has the titles as column `panel`.
    """
    shared = {"sharex": True, "sharey": True, "squeeze": False}
    fig, axes = plt.subplots(1, len(tables), figsize=(TEXT_WIDTH, height), **shared)
    for axis, (title, table) in zip(axes[0], tables.items()):
        draw(axis, table)
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=title)
    named_rows(axes[0, 0], names)
    fig.supxlabel(xlabel, fontsize=9)
    rows = [table.assign(panel=title) for title, table in tables.items()]
    return fig, pd.concat(rows, ignore_index=True)


def _asked(
    tables: Mapping[str, pd.DataFrame], column: str, named: Mapping[str, str]
) -> dict[str, str]:
    """The entries of `named` that any table has in a column."""
    there = {key for table in tables.values() for key in table[column]}
    return {key: name for key, name in named.items() if key in there}


def gains(tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Paired differences of test accuracy from training on all points, all data sets on one axis.

    The first data set is filled, the second hollow; colours and markers say whose scores chose.
    """
    names = _asked(tables, "strategy", STRATEGIES)
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 0.9 + 0.24 * len(names)))
    faces = dict(zip(tables, ({}, {"mfc": "white"}), strict=False))
    whose = {}
    for (title, table), beside in zip(tables.items(), side_by_side(len(tables), 0.3)):
        for row in table.to_dict("records"):
            scored = row["strategy"].partition("_")[0].replace("rest", SAME)
            look = _WHOSE[scored if scored in _WHOSE else ""]
            at = list(names).index(row["strategy"]) + beside
            intervals(axis, row, at, look, across=True, scale=100, **faces[title])
            whose[look.label] = look.points
    axis.axvline(0, color="0.6", lw=0.8, zorder=0)
    named_rows(axis, list(names.values()))
    axis.set_xlabel("test accuracy − that without pruning (% points)")
    data = {title: {"marker": "o", "color": CONTROL} | face for title, face in faces.items()}
    legend_above(fig, marks=(data if len(tables) > 1 else {}) | whose, ncols=3)
    drawn = pd.concat([table.assign(panel=title) for title, table in tables.items()])
    return fig, drawn[["panel", "strategy", "estimate", "low", "high"]].reset_index(drop=True)


def differences(tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Paired differences of test accuracy, one per question and by whose scores; a panel each.

    `tables`: `tables.difference_table` by labels.
    """
    names = _asked(tables, "question", QUESTIONS)

    def draw(axis: Axes, table: pd.DataFrame) -> None:
        for whose, shift in ((SAME, -0.16), (OTHER, 0.16)):
            part, look = table[table["whose"] == whose], _WHOSE[whose]
            at = [list(names).index(question) + shift for question in part["question"]]
            intervals(axis, part, at, look, across=True, scale=100, label=look.label)

    fig, drawn = _panels(
        tables, list(names.values()), "difference in test accuracy (% points)", draw
    )
    legend_above(fig, fig.axes[0], ncols=2)
    return fig, drawn[["panel", "whose", "question", "better", "other", "estimate", "low", "high"]]


def precision(lists: pd.DataFrame) -> Drawn:
    """Share of wrong labels on the lists of `tables.precision_table`, the best estimator on top.

    Hollow: lists of single models. Filled: the one list by scores averaged over models.
    """
    rankings = {"own": "a single model", "mean": "averaged over models"}
    shown = lists[lists["ranking"].isin(list(rankings))]
    by_mean = shown[shown["ranking"] == "mean"].set_index("estimator")["precision"]
    estimators = list(by_mean.sort_values(ascending=False, kind="stable").index)
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 0.9 + 0.26 * len(estimators)))
    faces = dict(zip(rankings, ({"mfc": "white"}, {})))
    for ranking, beside in zip(rankings, (-0.14, 0.14)):
        part = shown[shown["ranking"] == ranking].set_index("estimator").loc[estimators]
        for level, (estimator, row) in enumerate(part.iterrows()):
            look = replace(method_of(estimator), marker="o")
            at, face = level + beside, faces[ranking]
            intervals(axis, row, at, look, value="precision", across=True, **face)
    axis.axvline(shown["chance"].iloc[0], color="0.6", lw=0.8, ls=":", zorder=0)
    named_rows(axis, [method_of(name).label for name in estimators])
    axis.set(
        xlim=(0, 1), xlabel=f"share of wrong labels among the first {lists['k'].iloc[0]} points"
    )
    marks = {
        rankings[ranking]: {"marker": "o", "color": CONTROL} | face
        for ranking, face in faces.items()
    }
    marks["at random"] = {"ls": ":", "color": "0.6", "lw": 0.8}
    legend_above(fig, marks=marks, ncols=3)
    return fig, shown.reset_index(drop=True)


def predicted_removals(tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Predicted and observed shift of the loss upon removal of each list, a panel per data set."""

    def draw(axis: Axes, table: pd.DataFrame) -> None:
        for (name, look), shift in zip(_SHIFTS.items(), side_by_side(len(_SHIFTS), 0.17)):
            at = np.arange(len(table)) + shift
            if name == "selected":
                axis.errorbar(table[name], at, **look.points, ls="")
            else:
                intervals(axis, table, at, look, value=name, across=True, label=look.label)

    names = [STRATEGIES[name] for name in next(iter(tables.values()))["strategy"]]
    fig, drawn = _panels(tables, names, "shift of the mean loss upon removal (nats)", draw, 2.6)
    legend_above(fig, fig.axes[0], ncols=2)
    return fig, drawn


def listed_images(
    tasks: Mapping[str, Task],
    lists: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    wrong: Mapping[str, Sequence[int]],
    shown: int = 8,
) -> Drawn:
    """The first training images of each list with their labels; orange where the label is wrong.

    The data are the scores of *all* training points, by position: they say which images come first
    as well, and do not jump where rounding on another machine swaps two of nearly equal score.
    """
    fig, axes = plt.subplots(len(tasks), shown, figsize=(TEXT_WIDTH, 0.8 * len(tasks)))
    rows = []
    for line, (title, task) in zip(np.atleast_2d(axes), tasks.items()):
        for axis, point in zip(line, lists[title]):
            show_image(axis, task.train_x[point])
            label = task.classes[int(task.train_y[point])]
            colour = ACCENT if point in wrong[title] else "black"
            axis.set_title(label, color=colour, pad=2, fontsize=7)
        text_beside(line[0], title, rotation=90)
        columns = {"id": task.train_id, "label": task.train_y.numpy(), "score": scores[title]}
        part = pd.DataFrame({"panel": title} | columns)
        rows.append(part.assign(wrong=part.index.isin(list(wrong[title]))))
    return fig, pd.concat(rows).reset_index(drop=True)
