"""Drawing of data pruning: each function returns the figure and exactly what it shows."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dtda_lib.data.task import Task
from dtda_lib.study.figures import METHODS, TEXT_WIDTH, Style
from dtda_lib.study.previews import show_image

from .strategies import ALSO, BASELINE, ESTIMATOR, OTHER, OTHER_ESTIMATOR, SAME

Drawn = tuple[Figure, pd.DataFrame]

ESTIMATORS: dict[str, Style] = {
    ESTIMATOR: METHODS["if_damped"],
    "if_damped_1": Style("IF (GGN, damping × 10)", "#BB9DD8", "v", (0, (1, 1))),
    OTHER_ESTIMATOR: METHODS["grad_dot"],
    **{name: METHODS[name] for name in ALSO},
    BASELINE: Style("own training loss", "#661100", "x", "-."),
}
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
_FAMILIES = (
    ("same", "#0072B2", "o"),
    ("rest", "#0072B2", "o"),
    ("other", "#D55E00", "s"),
    ("", "#555555", "D"),
)


def _look(strategy: str) -> tuple[str, str]:
    return next((c, m) for start, c, m in _FAMILIES if strategy.startswith(start))


def gains(tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Paired differences of test accuracy from training on all points; a panel per data set."""
    fig, axes = plt.subplots(1, len(tables), figsize=(TEXT_WIDTH, 3.1), sharey=True, squeeze=False)
    names = [n for n in STRATEGIES if any(n in set(t["strategy"]) for t in tables.values())]
    rows = []
    for axis, (title, table) in zip(axes[0], tables.items()):
        for row in table.itertuples():
            colour, marker = _look(row.strategy)
            middle, at = 100 * row.estimate, names.index(row.strategy)
            reach = [[middle - 100 * row.low], [100 * row.high - middle]]
            axis.errorbar(middle, at, xerr=reach, color=colour, marker=marker, ls="", lw=1)
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=title)
        rows.append(table.assign(panel=title))
    axes[0, 0].set_yticks(range(len(names)), [STRATEGIES[name] for name in names])
    axes[0, 0].invert_yaxis()
    fig.supxlabel("test accuracy less that without pruning (% points)", fontsize=9)
    shown = pd.concat(rows)[["panel", "strategy", "estimate", "low", "high"]]
    return fig, shown.reset_index(drop=True)


QUESTIONS: dict[str, str] = {
    "order": "mean score less own score",
    "none": "mean score less no pruning",
    "fixed": "own score less no pruning",
    "random": "mean score less at random",
    "risk": "mean + spread less mean score",
    "reuse": "mean of all seeds less all but own",
    "reuse_own": "own score less another seed's",
    "loss": "mean score less mean training loss",
}
"""How figures call what a question compares."""


def differences(tables: Mapping[str, pd.DataFrame]) -> Drawn:
    """Paired differences of test accuracy, one per question and by whose scores; a panel each.

    `tables`: `pruning_tables.difference_table` by labels.
    """
    fig, axes = plt.subplots(1, len(tables), figsize=(TEXT_WIDTH, 3.1), sharey=True, squeeze=False)
    names = [n for n in QUESTIONS if any(n in set(t["question"]) for t in tables.values())]
    looks = {
        SAME: ("scores of the same seeds", "#0072B2", "o", -0.16),
        OTHER: ("scores of other seeds", "#D55E00", "s", 0.16),
    }
    rows = []
    for axis, (title, table) in zip(axes[0], tables.items()):
        for whose, (label, colour, marker, shift) in looks.items():
            part = table[table["whose"] == whose]
            at = [names.index(question) + shift for question in part["question"]]
            middle = 100 * part["estimate"]
            reach = [middle - 100 * part["low"], 100 * part["high"] - middle]
            axis.errorbar(
                middle, at, xerr=reach, color=colour, marker=marker, ls="", lw=1, label=label
            )
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
        for name, style in ESTIMATORS.items():
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
    fig, axes = plt.subplots(1, len(tables), figsize=(TEXT_WIDTH, 2.6), sharey=True, squeeze=False)
    looks = {
        "selected": ("predicted, by the scores that chose", "#6A3D9A", "h"),
        "predicted": ("predicted, by the retrained seeds", "#BB9DD8", "h"),
        "validation": ("came, validation points", "#000000", "o"),
        "test": ("came, test points", "#8C8C8C", "s"),
    }
    rows = []
    for axis, (title, table) in zip(axes[0], tables.items()):
        for shift, (name, (label, colour, marker)) in enumerate(looks.items()):
            at = np.arange(len(table)) + 0.17 * (shift - 1.5)
            reach = None
            if name != "selected":
                reach = [table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]]
            axis.errorbar(
                table[name], at, xerr=reach, color=colour, marker=marker, ls="", lw=1, label=label
            )
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
            colour = "#D55E00" if point in wrong[title] else "black"
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
