"""The figures of notebook 11; each returns the figure and exactly what it draws."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from dtda_lib.ask.answer import points_of
from dtda_lib.ask.plan import Plan
from dtda_lib.data.task import Task
from dtda_lib.statistics.power import power
from dtda_lib.study.figures import TEXT_WIDTH, Drawn, intervals, legend_above, literal
from dtda_lib.study.methods import HELPS, HURTS, METHODS

from .methods import screening


def power_curve(table: pd.DataFrame, plan: Plan) -> Drawn:
    """Share of pairs found by one set of seeds against their |mu / sigma| on the other seeds."""
    fig, axis = plt.subplots(figsize=(0.72 * TEXT_WIDTH, 2.5))
    snr = np.linspace(0, 1.05 * table["snr"].max(), 200)
    planned = power(snr, plan.seeds, plan.level_many, test=plan.test)
    axis.plot(snr, planned, color="0.5", lw=1, label="planned power")
    axis.axvline(plan.snr_many, color="0.5", lw=0.8, ls=":", label="smallest shift of the plan")
    axis.axhline(plan.target, color="0.5", lw=0.8, ls=":")
    intervals(axis, table, table["snr"], METHODS["loo"], lw=1.2, label="found")
    axis.set(xlabel="|mean shift| / σ, on other seeds", ylabel="share of pairs found")
    axis.set(ylim=(-0.03, 1.05), xlim=(0, snr[-1]))
    fig.legend(loc="outside upper center", ncols=3)
    return fig, table


def screening_lines(curves: pd.DataFrame, k: int) -> Drawn:
    """Share of the sought points among the first k of each screening, against k / N."""
    fig, axis = plt.subplots(figsize=(0.72 * TEXT_WIDTH, 2.5))
    axis.plot([0, 1], [0, 1], color="0.5", lw=0.8, label="at random")
    for method, part in curves.groupby("method", sort=False):
        style = screening(str(method))
        look = style.line | {"marker": ""}
        axis.plot([0, *part["points"]], [0, *part["share"]], **look)
        axis.fill_between(part["points"], part["low"], part["high"], color=style.colour, alpha=0.15)
    axis.axvline(k / curves["k"].max(), color="0.5", lw=0.8, ls=":")
    axis.set(xlabel="share of the training points retrained without", xlim=(0, 1), ylim=(0, 1.02))
    axis.set_ylabel("share of the most\ninfluential points among them")
    axis.legend(loc="lower right")
    return fig, curves


def table_answer(
    found: xr.Dataset,
    task: Task,
    query: int,
    n: int,
    *,
    labels: Sequence[str] = (),
) -> Drawn:
    """The points of one query with their intervals, each beside its picture; the query on top.

    Images are shown as they are, rows of a table as a strip of their standardised inputs.

    Args:
        found: From `reliable`.
        task: Of two axes (a table) or four (images).
        query: Position of the query.
        n: Number of points.
        labels: What to call each training point beside its number, for example its class.
    """
    table = points_of(found, query, n)
    pictured = task.train_x.ndim == 4
    rows = len(table) + 1
    fig, (left, right) = plt.subplots(
        1,
        2,
        figsize=(TEXT_WIDTH, (0.40 if pictured else 0.27) * rows + (0.5 if pictured else 1.0)),
        sharey=True,
        width_ratios=(0.4, 4.5) if pictured else (2.3, 3),
    )
    inputs = [task.query_x[query], *(task.train_x[int(point)] for point in table["point"])]
    if pictured:
        for row, image in enumerate(inputs):
            _picture(left, image.numpy(), row)
        left.set(xlim=(-0.5, 0.5), xticks=[])
    else:
        strip = np.stack([one.numpy() for one in inputs])  # (row, input)
        left.imshow(strip, cmap="PuOr", vmin=-2.5, vmax=2.5, aspect="auto")
        left.set_xticks(range(strip.shape[1]), map(literal, task.input_names), rotation=90)
        left.xaxis.tick_top()
        left.tick_params(axis="x", length=0)
    names = ["query"]
    for row, point in enumerate(table.itertuples(), start=1):
        colour = HELPS if point.mean > 0 else HURTS
        face = colour if point.reliable else "white"
        reach = [[point.mean - point.low], [point.high - point.mean]]
        right.errorbar(point.mean, row, xerr=reach, fmt="o", color=colour, mfc=face, elinewidth=1)
        names.append(f"{point.point}{f' ({literal(labels[point.point])})' if len(labels) else ''}")
    left.set_yticks(range(rows), names)
    left.tick_params(axis="y", length=0)
    left.set(ylim=(rows - 0.5, -0.5))
    for side in left.spines.values():
        side.set_visible(False)
    right.axvline(0, color="0.6", lw=0.8, zorder=0)
    right.tick_params(axis="y", left=False, labelleft=False)
    right.spines["left"].set_visible(False)
    right.set_xlabel("mean shift of the query's loss\nwhen the point is left out")
    marks = {
        "helps": {"color": HELPS},
        "hurts": {"color": HURTS},
        "not told from noise": {"color": "0.3", "mfc": "w"},
    }
    marks = {label: {"marker": "o", **look} for label, look in marks.items()}
    legend_above(fig, marks=marks, ncols=3, handletextpad=0.1)
    return fig, table.assign(query=query)


def _picture(axis: Axes, image: np.ndarray, row: int) -> None:
    """An image `(channel, row, column)` of values 0 to 1 at height `row`."""
    box = {"extent": (-0.46, 0.46, row + 0.46, row - 0.46), "aspect": "auto"}
    if len(image) == 1:
        axis.imshow(image[0], cmap="gray_r", vmin=0, vmax=1, **box)
    else:
        axis.imshow(image.transpose(1, 2, 0).clip(0, 1), **box)
