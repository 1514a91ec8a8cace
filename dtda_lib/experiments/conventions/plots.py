"""Drawing for notebook 00: each function returns the figure and exactly what it shows."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from scipy import stats

from dtda_lib.study.figures import TEXT_WIDTH, Drawn, intervals, legend_above
from dtda_lib.study.methods import DELTAS, LAWS, METHODS
from dtda_lib.theory.testbeds import AnchoredRidge, GaussianLaw

from .exact import CLOSED_FORM_ESTIMATORS, THREE_DELTAS
from .simulated import LEVEL

_BAND = 2  # standard deviations


def law_of_runs(
    testbed: AnchoredRidge, drawn: xr.Dataset, many: xr.Dataset, point: int, *, bins: int = 40
) -> Drawn:
    """Left: lines of single runs. Right: the law of the last query, exact and simulated.

    Args:
        testbed: The problem.
        drawn: The few runs that are drawn, from `simulate` with the removal of `point` alone.
        many: As many runs as the histograms are made of, likewise.
        point: Marked on the left, and removed on the right.
        bins: Of both histograms.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.7), width_ratios=(1.15, 1))
    x = testbed.query_x[:, 1]
    lines = drawn["base"].values
    left.plot(x, lines.T, color=LAWS["before"].colour, lw=0.6, alpha=0.6)
    left.plot([], [], color=LAWS["before"].colour, lw=1, label=f"{len(lines)} runs")
    _points(left, testbed, point)
    left.axvline(x[-1], color="0.6", ls=":", lw=1, zorder=0)
    left.annotate(
        "query", (x[-1], left.get_ylim()[0]), (-3, 4), textcoords="offset points", ha="right",
        fontsize=7,
    )  # fmt: skip
    left.set(xlabel="input x", ylabel="target, prediction")
    left.legend(loc="upper left")
    rows = [("runs", run, at, y) for run, line in enumerate(lines) for at, y in zip(x, line)]

    laws = {"before": testbed.law(), "after": testbed.without([[point]])}
    samples = {"before": many["base"], "after": many["retrained"][:, 0]}
    ends = [
        float(law.mean.values.ravel()[-1] + side * 4 * law.sd.values.ravel()[-1])
        for law in laws.values()
        for side in (-1, 1)
    ]
    grid = np.linspace(min(ends), max(ends), 201)
    edges = np.linspace(min(ends), max(ends), bins + 1)
    for row, (name, law) in enumerate(laws.items()):
        style = LAWS[name]
        counts, _ = np.histogram(samples[name][:, -1].values, edges)
        height = counts / counts.sum() / np.diff(edges)
        right.stairs(height, edges, fill=True, color=style.colour, alpha=0.25)
        density = stats.norm.pdf(grid, law.mean.values.ravel()[-1], law.sd.values.ravel()[-1])
        right.plot(grid, density, color=style.colour, ls=style.linestyle, label=style.label)
        rows += [(f"density {name}", row, at, y) for at, y in zip(grid, density)]
        rows += [(f"histogram {name}", row, at, y) for at, y in zip(edges, height)]
    right.set(xlabel="prediction at the query", ylabel="density over runs")
    right.set_ylim(0, 1.35 * right.get_ylim()[1])  # room for the legend
    right.legend(loc="upper left")
    return fig, pd.DataFrame(rows, columns=["what", "series", "x", "y"])


def bands_and_deltas(testbed: AnchoredRidge, points: dict[str, int], deltas: pd.DataFrame) -> Drawn:
    """Above: mean and spread of predictions before and after each removal. Below: three Deltas."""
    fig = plt.figure(figsize=(TEXT_WIDTH, 4.4))
    grid = fig.add_gridspec(2, 6, height_ratios=(1.25, 1))
    x, before, after = testbed.query_x[:, 1], testbed.law(), testbed.without()
    first, rows = None, []
    for column, (name, point) in enumerate(reversed(points.items())):
        axis = fig.add_subplot(grid[0, 3 * column : 3 * column + 3], sharey=first)
        first = first or axis
        one = GaussianLaw(after.mean[point], after.loading[point])
        for key, law in (("before", before), ("after", one)):
            style, low = LAWS[key], law.mean - _BAND * law.sd
            high = law.mean + _BAND * law.sd
            axis.fill_between(x, low, high, color=style.colour, alpha=0.2, lw=0)
            axis.plot(x, low, color=style.colour, lw=0.6, ls=style.linestyle)
            axis.plot(x, high, color=style.colour, lw=0.6, ls=style.linestyle)
            axis.plot(x, law.mean, color=style.colour, ls=style.linestyle, label=style.label)
            columns = zip(x, law.mean.values, law.sd.values)
            rows += [("band", name, key, at, mean, sd) for at, mean, sd in columns]
        _points(axis, testbed, point)
        axis.set_title(f"remove the {name} point")
        axis.set_xlabel("input x")
    first.set_ylabel("prediction")
    legend_above(fig, first, ncols=3)
    for column, name in enumerate(THREE_DELTAS):
        axis = fig.add_subplot(grid[1, 2 * column : 2 * column + 2])
        style = DELTAS[name]
        axis.vlines(deltas["x"], 0, deltas[name], color=style.colour, lw=1)
        axis.plot(deltas["x"], deltas[name], style.marker, color=style.colour)
        top = deltas.loc[deltas[name].idxmax()]
        axis.plot(top["x"], top[name], "o", ms=9, mfc="none", color="k", mew=0.8)
        margin = 0.15 * np.ptp(deltas["x"])
        reach = deltas["x"].min() - margin, deltas["x"].max() + margin
        axis.set(xlabel="x of the point", xlim=reach, ylim=(0, 1.18 * deltas[name].max()))
        axis.set_title(style.size)
        rows += [("delta", name, "", at, y, np.nan) for at, y in zip(deltas["x"], deltas[name])]
    return fig, pd.DataFrame(rows, columns=["what", "name", "law", "x", "y", "sd"])


def _points(axis: Axes, testbed: AnchoredRidge, marked: int) -> None:
    x, y = testbed.train_x[:, 1], testbed.train_y
    others = np.arange(len(x)) != marked
    axis.plot(x[others], y[others], ".", color="k", ms=4)
    axis.plot(x[marked], y[marked], "*", color="k", ms=8, label="the point removed")


def estimator_errors(single: pd.DataFrame, summary: pd.DataFrame) -> Drawn:
    """Relative W2 error of predicted laws: against leverage, and against the size of groups.

    `single` is `exact.error_table` of single points, `summary` `error_summary`.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.6), sharey=True)
    rows = []
    for name, key in CLOSED_FORM_ESTIMATORS.items():
        style = METHODS[key]
        part = single[single["estimator"] == name].sort_values("leverage")
        left.plot(part["leverage"], part["w2"], style.marker, color=style.colour, label=style.label)
        rows += [
            (name, "one", 1, at, error, np.nan, np.nan)
            for at, error in zip(part["leverage"], part["w2"])
        ]
        groups = summary[summary["estimator"] == name]
        at = np.arange(len(groups)) + (0.1 if name == "rif" else -0.1)
        intervals(right, groups, at, style, value="median")
        rows += [
            (name, "groups", row["size"], np.nan, row["median"], row["low"], row["high"])
            for _, row in groups.iterrows()
        ]
    line = np.array([0, single["leverage"].max()])
    left.plot(line, line, color="0.6", lw=0.8, zorder=0, label="error = leverage")
    left.set(xlabel="leverage of the point", xlim=(0, None))
    left.set_ylabel("relative W2 error")
    left.set_title("one point")
    sizes = list(dict.fromkeys(summary["size"]))
    right.set_xticks(range(len(sizes)), sizes)
    right.set(xlabel="points removed together")
    right.set_title("all groups")
    fig.legend(loc="outside upper center", ncols=3)
    columns = ["estimator", "panel", "size", "leverage", "error", "low", "high"]
    return fig, pd.DataFrame(rows, columns=columns)


def power_curves(table: pd.DataFrame) -> Drawn:
    """Share of experiments that find each Delta, against the number of seeds; a panel per point.

    `table` is `simulated.delta_power_table`.
    """
    points = list(dict.fromkeys(table["point"]))
    fig, axes = plt.subplots(
        len(points), 2, figsize=(TEXT_WIDTH, 1.9 * len(points) + 0.4), sharex=True, sharey=True
    )
    for row, point in zip(np.atleast_2d(axes), points):
        for axis, form in zip(row, ("paired", "unpaired")):
            part = table[(table["point"] == point) & (table["form"] == form)]
            for name, curve in part.groupby("delta", sort=False):
                style = DELTAS[name]
                look = {"ls": style.linestyle, "lw": 1.2, "label": style.label}
                intervals(axis, curve, curve["n_seeds"], style, value="power", **look)
            formula = part.dropna(subset="formula")
            axis.plot(formula["n_seeds"], formula["formula"], color="k", lw=0.7, zorder=0)
            axis.axhline(LEVEL, color=METHODS["null"].colour, ls=":", lw=1, zorder=0)
            axis.set(xscale="log", ylim=(-0.03, 1.05))
            seeds = "same seeds" if form == "paired" else "other seeds"
            axis.set_title(f"{point} point, {seeds}")
        row[0].set_ylabel("share found")
    counts = sorted(table["n_seeds"].unique())
    for axis in np.atleast_2d(axes)[-1]:
        axis.set_xlabel("seeds per law")
        axis.set_xticks(counts, counts)
        axis.minorticks_off()
    marks = {
        "level": {"color": METHODS["null"].colour, "ls": ":"},
        "t-test, formula": {"color": "k", "ls": "-", "lw": 0.7},
    }
    legend_above(fig, axes.flat[0], marks, ncols=5)
    return fig, table
