"""Drawing of data pruning: each function returns the figure and exactly what it shows."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from dtda_lib.data.task import Task
from dtda_lib.study.figures import TEXT_WIDTH, Drawn
from dtda_lib.study.methods import ACCENT, Style, palette
from dtda_lib.study.previews import show_image

from .methods import ESTIMATORS, method_of
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
_SHARED = {"sharex": True, "sharey": True, "squeeze": False}
_WHOSE = palette(
    {SAME: "scores of the same seeds", OTHER: "scores of other seeds", "": "no scores"}, control=""
)
_SHIFTS = palette(
    {
        "selected": "predicted, by the scores that chose",
        "predicted": "predicted, by the retrained seeds",
        "validation": "observed, validation points",
        "test": "observed, test points",
    }
)


def _look(strategy: str) -> Style:
    """Looks by whose scores choose what is removed."""
    whose = strategy.partition("_")[0].replace("rest", SAME)
    return _WHOSE[whose if whose in _WHOSE else ""]


def gains(tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Paired differences of test accuracy from training on all points; a panel per data set."""
    fig, axes = plt.subplots(1, len(tables), figsize=(TEXT_WIDTH, 3.1), **_SHARED)
    names = [n for n in STRATEGIES if any(n in set(t["strategy"]) for t in tables.values())]
    rows = []
    for axis, (title, table) in zip(axes[0], tables.items()):
        for row in table.itertuples():
            look = _look(row.strategy)
            middle, at = 100 * row.estimate, names.index(row.strategy)
            reach = [[middle - 100 * row.low], [100 * row.high - middle]]
            axis.errorbar(
                middle, at, xerr=reach, color=look.colour, marker=look.marker, ls="", lw=1
            )
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=title)
        rows.append(table.assign(panel=title))
    axes[0, 0].set_yticks(range(len(names)), [STRATEGIES[name] for name in names])
    axes[0, 0].invert_yaxis()
    fig.supxlabel("test accuracy − that without pruning (% points)", fontsize=9)
    shown = pd.concat(rows)[["panel", "strategy", "estimate", "low", "high"]]
    return fig, shown.reset_index(drop=True)


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


def differences(tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Paired differences of test accuracy, one per question and by whose scores; a panel each.

    `tables`: `tables.difference_table` by labels.
    """
    fig, axes = plt.subplots(1, len(tables), figsize=(TEXT_WIDTH, 3.1), **_SHARED)
    names = [n for n in QUESTIONS if any(n in set(t["question"]) for t in tables.values())]
    rows = []
    for axis, (title, table) in zip(axes[0], tables.items()):
        for whose, shift in ((SAME, -0.16), (OTHER, 0.16)):
            part = table[table["whose"] == whose]
            at = [names.index(question) + shift for question in part["question"]]
            middle = 100 * part["estimate"]
            reach = [middle - 100 * part["low"], 100 * part["high"] - middle]
            axis.errorbar(middle, at, xerr=reach, **_WHOSE[whose].points, ls="", lw=1)
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=title)
        rows.append(table.assign(panel=title))
    axes[0, 0].set_yticks(range(len(names)), [QUESTIONS[name] for name in names])
    axes[0, 0].invert_yaxis()
    fig.supxlabel("difference in test accuracy (% points)", fontsize=9)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    columns = ["panel", "whose", "question", "better", "other", "estimate", "low", "high"]
    return fig, pd.concat(rows)[columns].reset_index(drop=True)


def precision(curves: pd.DataFrame, n_wrong: int) -> Drawn:
    """Share of wrong labels among the first k, single models and averaged lists side by side."""
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.6), sharey=True)
    kinds = {"own": "a single model", "mean": "averaged over models"}
    shown = curves[curves["ranking"].isin(list(kinds))]
    for axis, (ranking, title) in zip(axes, kinds.items()):
        for name in ESTIMATORS:
            style = method_of(name)
            part = shown[(shown["estimator"] == name) & (shown["ranking"] == ranking)]
            axis.plot(part["k"], part["precision"], **style.line)
            if ranking == "own":
                axis.fill_between(
                    part["k"], part["low"], part["high"], color=style.colour, alpha=0.2, lw=0
                )
        axis.axhline(shown["chance"].iloc[0], color="0.6", lw=0.8, ls=":", label="at random")
        axis.axvline(n_wrong, color="0.6", lw=0.8, zorder=0)
        axis.set(title=title, ylim=(0, 1.03))
    axes[0].set_ylabel("share of wrong labels")
    fig.supxlabel("points on the list (k)", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3)
    return fig, shown


def predictions(tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Predicted and observed shift of the loss upon removal of each list, a panel per data set."""
    fig, axes = plt.subplots(1, len(tables), figsize=(TEXT_WIDTH, 2.6), **_SHARED)
    rows = []
    for axis, (title, table) in zip(axes[0], tables.items()):
        for shift, (name, look) in enumerate(_SHIFTS.items()):
            at = np.arange(len(table)) + 0.17 * (shift - 1.5)
            reach = None
            if name != "selected":
                reach = [table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]]
            axis.errorbar(table[name], at, xerr=reach, **look.points, ls="", lw=1)
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=title)
        rows.append(table.assign(panel=title))
    labels = [STRATEGIES[name] for name in table["strategy"]]
    axes[0, 0].set_yticks(range(len(labels)), labels)
    axes[0, 0].invert_yaxis()
    fig.supxlabel("shift of the mean loss upon removal (nats)", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig, pd.concat(rows).reset_index(drop=True)


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
        line[0].text(
            -0.15,
            0.5,
            title,
            transform=line[0].transAxes,
            rotation=90,
            fontsize=7,
            ha="right",
            va="center",
        )
        columns = {"id": task.train_id, "label": task.train_y.numpy(), "score": scores[title]}
        part = pd.DataFrame({"panel": title} | columns)
        rows.append(part.assign(wrong=part.index.isin(list(wrong[title]))))
    return fig, pd.concat(rows).reset_index(drop=True)
