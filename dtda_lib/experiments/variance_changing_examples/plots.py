"""Drawing for notebook 04: each function returns the figure and exactly what it shows."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dtda_lib.data.task import Task
from dtda_lib.study.figures import (
    TEXT_WIDTH,
    Drawn,
    intervals,
    legend_above,
    panels,
    side_by_side,
    ticks,
)
from dtda_lib.study.methods import ACCENT, CONTROL, DELTAS, LAWS, METHODS, STATUS_COLOURS, palette
from dtda_lib.study.previews import show_image

from .digits import EDGES, LEAST, top_pairs, two_laws
from .line import DELTA_LABELS, RELEVANT, delta_key, delta_words

_BAND = 2  # standard deviations
_INSIDE = {"xycoords": "axes fraction"}
_ZERO = {"color": "0.6", "lw": 0.8, "zorder": 0}
_RELEVANT = {"color": CONTROL, "lw": 0.8, "ls": ":"}
_STATES = {"confirmed": "they differ", "inconclusive": "open", "refuted": "they do not"}


# ---------------------------------------------------------------- a line


def bands(task: Task, law: xr.DataArray, points: Mapping[str, int]) -> Drawn:
    """Predictions before and after the removal of each point, mean and two sds over runs.

    `points`: title -> point. Each panel says what happens at the place of its point: by how much
    the mean moves, and how large the standard deviation is.
    """
    fig, (axes,) = panels(1, len(points), 2.5, sharey=True)
    x, rows = task.query_x[:, 0].numpy(), []
    train_x, train_y = task.train_x[:, 0].numpy(), task.train_y.numpy()
    for axis, (title, point) in zip(axes, points.items()):
        there, moments = int(np.abs(x - train_x[point]).argmin()), []
        for name, removal in (("before", 0), ("after", point + 1)):
            runs, style = law.isel(removal=removal), LAWS[name]
            mean, sd = runs.mean("seed").values, runs.std("seed", ddof=1).values
            band = mean - _BAND * sd, mean + _BAND * sd
            axis.fill_between(x, *band, color=style.colour, alpha=0.25, lw=0)
            axis.plot(x, mean, color=style.colour, ls=style.linestyle, label=style.label)
            rows += [(point, name, *row) for row in zip(x, mean, sd)]
            moments.append((mean[there], sd[there]))
        others = np.arange(len(train_x)) != point
        axis.plot(train_x[others], train_y[others], ".", color="k", ms=2.5)
        axis.plot(train_x[point], train_y[point], "*", color="k", ms=9, label="the point removed")
        (mean, sd), (mean_after, sd_after) = moments
        text = (
            f"at the star:\nmean {mean:.2f} → {mean_after:.2f}\n"
            f"spread {sd:.2f} → {sd_after:.2f} (×{sd_after / sd:.1f})"
        )
        axis.annotate(text, (0.03, 0.03), **_INSIDE, ha="left", va="bottom", fontsize=7.5)
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("input x")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low - 0.3 * (high - low), high)  # room for the numbers
    axes[0].set_ylabel("prediction")
    legend_above(fig, axes[0], ncols=3)
    return fig, pd.DataFrame(rows, columns=["point", "law", "x", "mean", "sd"])


def influences_along_line(table: pd.DataFrame) -> Drawn:
    """Three influences of every point against its place; the largest is circled and named.

    `table` is `line.influence_table`.
    """
    fig, (axes,) = panels(1, len(DELTA_LABELS), 2.2, sharex=True)
    for axis, delta in zip(axes, DELTA_LABELS):
        part, style = table[table["delta"] == delta], DELTAS[delta_key(delta)]
        intervals(axis, part, part["x"], style, lw=0.8, ms=3, capsize=0)
        top = part.loc[part["estimate"].idxmax()]
        axis.plot(top["x"], top["estimate"], "o", ms=10, mfc="none", color="k", mew=0.8)
        axis.set_title(f"{delta_words(delta)}\npoint {top['point']} first", fontsize=8)
        axis.set(ylim=(0, 1.12 * part["high"].max()))
        axis.margins(x=0.1)
    axes[0].set_ylabel("influence")
    fig.supxlabel("input x of the point removed", fontsize=9)
    return fig, table


def excesses(judged: pd.DataFrame) -> Drawn:
    """By how much another influence of its own point exceeds that of the mean's point, by line.

    `judged` is `claims.judged` of every line; what is averaged over queries is drawn, in order.
    """
    looks = {name: STATUS_COLOURS[name] for name in _STATES}
    fig, (axes,) = panels(1, 2, 2.4, sharey=True)
    frames = []
    for axis, delta in zip(axes, ("w2", "variance"), strict=True):
        part = judged[(judged["pooling"] == "average") & (judged["delta"] == delta)]
        part = part.sort_values("delta_gap", kind="stable").reset_index(drop=True)
        shown = part.assign(
            rank=part.index,
            estimate=np.exp(part["delta_gap"]),
            low=np.exp(part["delta_gap_low"]),
            high=np.exp(part["delta_gap_high"]),
        )
        for status, label in _STATES.items():
            rows = shown[shown["status"] == status]
            middle, reach = rows["estimate"], rows[["low", "high"]].sub(rows["estimate"], axis=0)
            axis.errorbar(
                rows["rank"] + 1, middle, yerr=np.abs(reach.values.T), fmt="o", ms=3, lw=0.8,
                capsize=0, color=looks[status], label=f"{label}",
            )  # fmt: skip
        counts = part["status"].value_counts()
        axis.annotate(
            f"{counts.get('confirmed', 0)} of {len(part)} lines differ", (0.04, 0.9), **_INSIDE,
            fontsize=8,
        )  # fmt: skip
        axis.axhline(1, **_ZERO)
        axis.axhline(1 + RELEVANT, **_RELEVANT)
        axis.set(yscale="log", xlabel="lines, in order", title=f"{delta_words(delta)} and mean")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        frames.append(shown)
    top = max(frame["high"].max() for frame in frames)
    values = [v for v in (0.25, 0.5, 0.8, 1, 1.5, 2, 3, 5, 10, 20) if v < 1.3 * top]
    ticks(axes[0].yaxis, values)
    axes[0].set_ylabel("own point / mean's point")
    legend_above(fig, axes[0], ncols=3)
    columns = ["line", "delta", "rank", "by_mean", "by_delta", "estimate", "low", "high", "status"]
    return fig, pd.concat(frames)[columns].reset_index(drop=True)


def where_it_shows(table: pd.DataFrame) -> Drawn:
    """Shift of the mean and factor of the spread along the line, for each point that is named.

    `table` is `line.seen_at`.
    """
    fig, ((left, right),) = panels(1, 2, 2.3)
    looks = palette(dict.fromkeys(table["name"]))
    for name, part in table.groupby("name", sort=False):
        style = looks[name]
        for axis, value in ((left, "mean"), (right, "factor")):
            axis.plot(part["x"], part[value], color=style.colour, ls=style.linestyle, label=name)
            ends = part[f"{value}_low"], part[f"{value}_high"]
            axis.fill_between(part["x"], *ends, color=style.colour, alpha=0.2, lw=0)
    left.axhline(0, **_ZERO)
    right.axhline(1, **_ZERO)
    left.set(xlabel="input x", ylabel="shift of the mean")
    right.set(xlabel="input x", ylabel="spread after / before", yscale="log")
    right.yaxis.set_minor_formatter(NullFormatter())
    ticks(right.yaxis, [v for v in (0.25, 0.5, 0.7, 1, 1.4, 2, 4) if _inside(right, v)])
    legend_above(fig, left, ncols=3)
    return fig, table


def _inside(axis: Axes, value: float) -> bool:
    low, high = axis.get_ylim()
    return low <= value <= high


# ---------------------------------------------------------------- predictions


def predicted(
    found: Mapping[str, tuple[np.ndarray, np.ndarray]], scores: pd.DataFrame, *, logarithmic: bool
) -> Drawn:
    """Predicted against true changes, a panel for each method, with its correlation and slope.

    Args:
        found: Method -> true and predicted change of each cell; see `predictions.against_truth`.
        scores: Rows of one Delta of `predictions.score_table`.
        logarithmic: Axes for sizes; else for signed changes. Both axes are those of the truth;
            predictions beyond are counted on the panel.
    """
    fig, (axes,) = panels(1, len(found), 2.0, sharex=True, sharey=True)
    rows, by_method = [], scores.set_index("method")
    truth = next(iter(found.values()))[0]
    reach = 1.1 * np.abs(truth).max()
    low, high = (truth.min() / 2, truth.max() * 2) if logarithmic else (-reach, reach)
    many = len(truth) > 200
    for axis, (method, (true, guess)) in zip(axes, found.items()):
        style, row = METHODS[method], by_method.loc[method]
        mark = {"marker": ".", "ms": 1.5} if many else {"marker": style.marker, "ms": 3.5}
        axis.plot(true, guess, ls="", color=style.colour, rasterized=many, **mark)
        axis.plot([low, high], [low, high], **_ZERO)
        axis.set_title(
            f"{style.label}\nr {row['correlation']:.2f}, slope {row['slope']:.2f}", fontsize=7
        )
        if beyond := int(((guess < low) | (guess > high)).sum()):
            patch = {"fc": "w", "ec": "none", "pad": 0.6, "alpha": 0.85}
            axis.annotate(
                f"{beyond:,} beyond", (0.97, 0.03), **_INSIDE, ha="right", fontsize=7, bbox=patch
            )
        rows.append(pd.DataFrame({"method": method, "retrained": true, "predicted": guess}))
    axes[0].set(xlim=(low, high), ylim=(low, high), ylabel="predicted")
    if logarithmic:
        axes[0].set(xscale="log", yscale="log")
        for side in (axes[0].xaxis, axes[0].yaxis):
            side.set_major_locator(LogLocator(10))
            side.set_minor_formatter(NullFormatter())
    fig.supxlabel("retrained on fresh seeds", fontsize=9)
    return fig, pd.concat(rows, ignore_index=True)


# ---------------------------------------------------------------- digits


def spread_against_mean(fresh: xr.Dataset, curves: Mapping[str, pd.DataFrame]) -> Drawn:
    """Change of spread against shift of the mean of every pair, and how often the spread changes.

    Args:
        fresh: `digits.effects` of one set, `(set, train, query)`.
        curves: Name of a setting -> `digits.rate_curve`.
    """
    fig, ((left, right),) = panels(1, 2, 2.9)
    x, y = fresh["mean"].values.ravel(), np.exp(fresh["log_sd"].values.ravel())
    alone = (np.abs(x) < RELEVANT) & (np.abs(np.log(y)) > LEAST)
    left.axvspan(-RELEVANT, RELEVANT, color="0.9", zorder=0, lw=0)
    for level in (np.exp(-LEAST), np.exp(LEAST)):
        left.axhline(level, **_RELEVANT)
    left.plot(x[~alone], y[~alone], ".", color="0.6", ms=1.5, rasterized=True)
    left.plot(x[alone], y[alone], ".", color=ACCENT, ms=3, rasterized=True)
    left.set_xscale("symlog", linthresh=0.2, linscale=0.5)
    left.set_yscale("log")
    ticks(left.xaxis, [-1, -0.1, 0.1, 1], ["−1", "−0.1", "0.1", "1"])
    low, high = 0.9 * y.min(), 1.1 * y.max()
    left.set_ylim(low, high)
    ticks(left.yaxis, [v for v in (0.25, 0.5, 0.7, 0.9, 1.1, 1.4, 2, 4) if low < v < high])
    left.set(xlabel="shift of the mean (standard deviations)", ylabel="spread after / before")
    share = f"{100 * alone.mean():.1f} % of {len(x):,} pairs"
    left.set_title(f"spread changes alone: {share}", fontsize=8, color=ACCENT)
    names = [f"{start:g}–{stop:g}" for start, stop in pairwise(EDGES[:-1])]
    names.append(f"> {EDGES[-2]:g}")
    looks = palette(list(curves))
    for shift, (name, curve) in zip(side_by_side(len(curves), 0.2), curves.items()):
        style = looks[name]
        at = np.arange(len(curve)) + shift
        options = {"value": "share", "scale": 100, "label": name, "ms": 3.5}
        intervals(right, curve, at, style, **options)
    right.set_xticks(range(len(names)), names)
    right.axvspan(-0.5, 0.5, color="0.9", zorder=0, lw=0)
    right.set(xlabel="size of the shift of the mean", ylabel="% whose spread changes")
    right.set(ylim=(0, None), xlim=(-0.5, len(names) - 0.5))
    legend_above(fig, right, ncols=len(curves), columnspacing=1)
    pairs = pd.DataFrame({"panel": "pairs", "horizontal": x, "vertical": y})
    tables = [curve.assign(panel=name) for name, curve in curves.items()]
    return fig, pd.concat([pairs, *tables], ignore_index=True)


def examples(task: Task, cases: Sequence[tuple[xr.DataArray, xr.DataArray]], n: int = 2) -> Drawn:
    """What is removed, the query, and the law of its margin before and after, a row a pair.

    Args:
        task: With the images as they are shown.
        cases: Laws of the first seeds, which choose, and of fresh ones, which are drawn.
        n: How many pairs of each; see `digits.top_pairs`.
    """
    pairs = [(*pair, fresh) for first, fresh in cases for pair in top_pairs(first, n)]
    shown = [([int(m) for m in label.split("+")], label, query, law) for label, query, law in pairs]
    most = max(len(members) for members, *_ in shown)
    fig = plt.figure(figsize=(TEXT_WIDTH, 1.0 * len(shown) + 0.55))
    grid = fig.add_gridspec(len(shown), most + 1 + 4)
    rows = []
    for row, (members, label, query, law) in enumerate(shown):
        for column, member in enumerate(members):
            axis = fig.add_subplot(grid[row, most - len(members) + column])
            show_image(axis, task.train_x[member])
            axis.set_title(f"{task.train_id[member]}", fontsize=6.5, pad=2)
        axis = fig.add_subplot(grid[row, most])
        show_image(axis, task.query_x[query])
        axis.set_title(f"query {task.query_id[query]}", fontsize=6.5, pad=2, color=ACCENT)
        both = two_laws(law, label, query)
        _two_laws(fig.add_subplot(grid[row, most + 1 :]), both, row == len(shown) - 1)
        for name in ("before", "after"):
            rows += [
                (label, query, name, seed, value) for seed, value in enumerate(both[name].values)
            ]
    marks = {
        label: {"color": LAWS[name].colour, "marker": "s", "ms": 5}
        for name, label in (("before", "all points"), ("after", "without those on the left"))
    }
    legend_above(fig, None, marks, ncols=2)
    return fig, pd.DataFrame(rows, columns=["removed", "query", "law", "seed", "margin"])


def _two_laws(axis: Axes, law: xr.Dataset, last: bool) -> None:
    """Two histograms about their means, one up and one down, so that widths can be compared."""
    low, high = float(law.to_array().min()), float(law.to_array().max())
    edges = np.linspace(low, high, 31)
    axis.set_xlim(low - 0.35 * (high - low), high)  # room for the numbers
    for name, sign in (("before", 1), ("after", -1)):
        style, sample = LAWS[name], law[name].values
        heights, _ = np.histogram(sample, edges, density=True)
        axis.stairs(sign * heights, edges, fill=True, color=style.colour, alpha=0.6)
        ends = sample.mean() + np.array([-_BAND, _BAND]) * sample.std(ddof=1)
        level = sign * 0.1 * heights.max()
        axis.plot(ends, [level, level], color="k", lw=1)
        axis.plot(sample.mean(), level, "|", color="k", ms=6)
    before, after = (law[name].values for name in ("before", "after"))
    factor = after.std(ddof=1) / before.std(ddof=1)
    moved = (after.mean() - before.mean()) / before.std(ddof=1)
    text = f"spread ×{factor:.2f}\nmean {moved:+.2f} sd"
    axis.annotate(text, (0.01, 0.98), **_INSIDE, ha="left", va="top", fontsize=7)
    axis.axhline(0, color="k", lw=0.6)
    axis.set_yticks([])
    if last:
        axis.set_xlabel("margin of the query (logits)")
