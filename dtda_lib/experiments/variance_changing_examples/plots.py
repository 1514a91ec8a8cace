"""Drawing for notebook 04: each function returns the figure and exactly what it shows."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from dtda_lib.data.task import Task
from dtda_lib.study.figures import TEXT_WIDTH, Drawn, intervals, legend_above, panels, ticks
from dtda_lib.study.methods import ACCENT, DELTAS, LAWS, METHODS, palette
from dtda_lib.study.previews import show_image

from .digits import Replicated, top_pairs, two_laws
from .line import DELTAS as LABELS
from .line import changes, delta_key

_STATES = palette({"survives": "found, survives on fresh seeds", "found": "found"})
_BAND = 2  # standard deviations
_INSIDE = {"xycoords": "axes fraction"}


def influences_along_line(table: pd.DataFrame) -> Drawn:
    """Four influences of every point against its place; the largest is circled.

    `table` is `line.influence_table`.
    """
    fig, axes = panels(2, 2, 3.4, sharex=True)
    for axis, delta in zip(axes.flat, LABELS):
        part, style = table[table["delta"] == delta], DELTAS[delta_key(delta)]
        intervals(axis, part, part["x"], style, lw=0.8, ms=3, capsize=0)
        top = part.loc[part["estimate"].idxmax()]
        axis.plot(top["x"], top["estimate"], "o", ms=10, mfc="none", color="k", mew=0.8)
        axis.set_title(f"{style.size}: point {top['point']}", fontsize=8)
        axis.set_ylim(0, 1.12 * part["high"].max())
    for axis in axes[-1]:
        axis.set_xlabel("input x of the point removed")
    axes[0, 0].set_ylabel("target units")
    axes[0, 1].set_ylabel("squared target units", fontsize=8)
    axes[1, 1].set_ylabel("target units")
    axes[1, 0].set_ylabel("no unit")
    return fig, table


def bands(task: Task, law: xr.DataArray, picks: Mapping[str, int]) -> Drawn:
    """Predictions before and after the removal of each picked point, mean and two sds over runs.

    `picks`: Delta -> point; a point that several pick gets one panel. Each panel says by how much
    the mean moves and how large the standard deviation is, as root mean squares over queries.
    """
    by_point: dict[int, list[str]] = {}
    for delta, point in picks.items():
        by_point.setdefault(int(point), []).append(DELTAS[delta_key(delta)].words)
    fig, (axes,) = panels(1, len(by_point), 2.7, sharey=True)
    x, rows = task.query_x[:, 0].numpy(), []
    train_x, train_y = task.train_x[:, 0].numpy(), task.train_y.numpy()
    for axis, (point, titles) in zip(axes, by_point.items()):
        moments = []
        for name, removal in (("before", 0), ("after", point + 1)):
            runs, style = law.isel(removal=removal), LAWS[name]
            mean, sd = runs.mean("seed").values, runs.std("seed", ddof=1).values
            band = mean - _BAND * sd, mean + _BAND * sd
            axis.fill_between(x, *band, color=style.colour, alpha=0.25, lw=0)
            axis.plot(x, mean, color=style.colour, ls=style.linestyle, label=style.label)
            rows += [(point, name, *row) for row in zip(x, mean, sd)]
            moments.append((mean, sd))
        others = np.arange(len(train_x)) != point
        axis.plot(train_x[others], train_y[others], ".", color="k", ms=2.5)
        axis.plot(train_x[point], train_y[point], "*", color="k", ms=9, label="the point removed")
        (mean, sd), (mean_after, sd_after) = moments
        moved, narrow, wide = (
            np.sqrt((part**2).mean()) for part in (mean_after - mean, sd, sd_after)
        )
        text = f"mean moves {moved:.2f}\nsd {narrow:.2f} → {wide:.2f}"
        axis.annotate(text, (0.03, 0.03), **_INSIDE, ha="left", va="bottom", fontsize=7.5)
        first_by = textwrap.fill(f"first by {', '.join(titles)}", 36)
        axis.set_title(f"without point {point}\n{first_by}", fontsize=8)
        axis.set_xlabel("input x")
    axes[0].set_ylabel("prediction")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return fig, pd.DataFrame(rows, columns=["point", "law", "x", "mean", "sd"])


def predicted_against_retrained(
    influences: Mapping[str, np.ndarray], truth: np.ndarray, kept: pd.DataFrame
) -> Drawn:
    """Predicted against retrained influence of every point, and how much of a shift is kept.

    Args:
        influences: Method -> `(delta, train)`, predicted.
        truth: `(delta, train)`, retrained on fresh seeds.
        kept: `predictions.kept_table`; points of the upper half of true shifts are drawn.
    """
    fig, axes = panels(2, 2, 4.6)
    rows = []
    for axis, delta in zip(axes.flat, ("mean", "log_variance_ratio", "w2")):
        d = LABELS.index(delta)
        for method, found in influences.items():
            axis.plot(truth[d], found[d], ls="", ms=4, **METHODS[method].points)
            rows += [(delta, method, p, *row) for p, row in enumerate(zip(truth[d], found[d]))]
        ends = [truth[d].min() / 1.3, truth[d].max() * 1.3]
        axis.plot(ends, ends, color="0.6", lw=0.8, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel="retrained, fresh seeds", ylabel="predicted")
        axis.set_title(DELTAS[delta_key(delta)].size)
        for side in (axis.xaxis, axis.yaxis):  # labels of minor ticks would overlap
            side.set_minor_formatter(NullFormatter())
    axis = axes[1, 1]
    large = kept[kept["true_shift"] >= kept["true_shift"].median()]
    for method, part in large.groupby("method", sort=False):
        axis.plot(part["leverage"], part["kept"], ls="", ms=4, **METHODS[method].points)
        columns = zip(part["point"], part["leverage"], part["kept"])
        rows += [("kept", method, *row) for row in columns]
    line = np.array([0, large["leverage"].max()])
    axis.plot(line, 1 - line, color="0.6", lw=0.8, zorder=0)
    axis.axhline(1, color="0.6", lw=0.8, ls=":", zorder=0)
    axis.set(xlabel="leverage of the point", ylabel="share predicted")
    axis.set_title("share of the mean shift")
    legend_above(fig, axes[0, 0], ncols=4, columnspacing=1)
    return fig, pd.DataFrame(rows, columns=["panel", "method", "point", "horizontal", "vertical"])


def pairs_predicted(predicted: Mapping[str, xr.DataArray], fresh: xr.DataArray) -> Drawn:
    """Log variance ratio of every pair, predicted against retrained on fresh seeds."""

    def ratios(law: xr.DataArray) -> np.ndarray:
        once = np.ones((1, law.sizes["seed"]), dtype=int)
        return changes(law, once)["log_variance_ratio"].ravel()

    truth, rows, guesses = ratios(fresh), [], []
    fig, (axes,) = panels(1, len(predicted), 1.9, sharex=True, sharey=True)
    for axis, (method, law) in zip(axes, predicted.items()):
        guess, style = ratios(law), METHODS[method]
        axis.plot(truth, guess, ".", color=style.colour, ms=1.5, rasterized=True)
        axis.axline((0, 0), slope=1, color="0.6", lw=0.8, zorder=0)
        axis.set_title(style.label, fontsize=7)
        guesses.append((axis, guess))
        rows.append(pd.DataFrame({"method": method, "retrained": truth, "predicted": guess}))
    reach = 1.1 * np.abs(truth).max()
    axes[0].set(xlim=(-reach, reach), ylim=(-2 * reach, 2 * reach), ylabel="predicted")
    for axis, guess in guesses:
        if beyond := int((np.abs(guess) > 2 * reach).sum()):
            axis.annotate(f"{beyond} beyond", (0.97, 0.02), **_INSIDE, ha="right", fontsize=7)
    fig.supxlabel("log variance ratio, retrained", fontsize=9)
    return fig, pd.concat(rows, ignore_index=True)


def volcano(results: Mapping[str, Replicated]) -> Drawn:
    """Change of mean against change of variance of every pair, both in standard errors.

    `results`: title -> `digits.Replicated`.
    """
    fig, (axes,) = panels(1, len(results), 2.9)
    rows = []
    for axis, (title, result) in zip(axes, results.items()):
        x, y = (result.first[name].values.ravel() for name in ("mean_z", "log_ratio_z"))
        found, survives = result.found.values.ravel(), result.survives.values.ravel()
        state = np.where(survives, "survives", np.where(found, "found", "other"))
        axis.plot(x[~found], y[~found], ".", color="0.75", ms=1.5, rasterized=True)
        lost = found & ~survives
        for name, chosen in (("found", lost), ("survives", survives)):
            axis.plot(x[chosen], y[chosen], **_STATES[name].points, ls="", ms=3, mec="none")
        axis.axvspan(-1.98, 1.98, color="0.92", zorder=0, lw=0)
        axis.set_xscale("symlog", linthresh=4)
        ticks(axis.xaxis, [-100, -10, 0, 10, 100], ["−100", "−10", "0", "10", "100"])
        axis.set(xlabel="z of the mean shift", title=f"{title}: {len(x):,} pairs")
        rows.append(pd.DataFrame({"what": title, "mean_z": x, "log_ratio_z": y, "state": state}))
    axes[0].set_ylabel("z of the log variance ratio")
    legend_above(fig, axes[0], ncols=2, markerscale=1.5)
    return fig, pd.concat(rows, ignore_index=True)


def examples(task: Task, results: Sequence[tuple[Replicated, xr.DataArray]], n: int = 2) -> Drawn:
    """What is removed, the query, and the law of its margin before and after, a row a pair.

    Args:
        task: With the images as they are shown.
        results: What the first seeds found, and the law of the fresh ones.
        n: How many pairs of each; see `digits.top_pairs`.
    """
    pairs = [(*pair, law) for result, law in results for pair in top_pairs(result, n)]
    cases = [([int(m) for m in label.split("+")], query, law) for label, query, law in pairs]
    most = max(len(members) for members, _, _ in cases)
    fig = plt.figure(figsize=(TEXT_WIDTH, 1.05 * len(cases) + 0.55))
    grid = fig.add_gridspec(len(cases), most + 1 + 4)
    rows = []
    for row, (members, query, law) in enumerate(cases):
        label = "+".join(map(str, members))
        for column, member in enumerate(members):
            axis = fig.add_subplot(grid[row, most - len(members) + column])
            show_image(axis, task.train_x[member])
            axis.set_title(f"{task.train_id[member]}", fontsize=6.5, pad=2)
        axis = fig.add_subplot(grid[row, most])
        show_image(axis, task.query_x[query])
        axis.set_title(f"query {task.query_id[query]}", fontsize=6.5, pad=2, color=ACCENT)
        both = two_laws(law, label, query)
        _two_laws(fig.add_subplot(grid[row, most + 1 :]), both, row == len(cases) - 1)
        for name in ("before", "after"):
            rows += [
                (label, query, name, seed, value) for seed, value in enumerate(both[name].values)
            ]
    handles = [
        plt.Rectangle((0, 0), 1, 1, color=LAWS[name].colour, alpha=0.5)
        for name in ("before", "after")
    ]
    labels = ["all points", "without those on the left"]
    fig.legend(handles, labels, loc="outside upper right", ncols=2)
    return fig, pd.DataFrame(rows, columns=["removed", "query", "law", "seed", "margin"])


def _two_laws(axis: Axes, law: xr.Dataset, last: bool, bins: int = 24) -> None:
    values = np.concatenate([law["before"].values, law["after"].values])
    edges = np.linspace(values.min(), values.max(), bins + 1)
    for name in ("before", "after"):
        style, sample = LAWS[name], law[name].values
        counts, _ = np.histogram(sample, edges)
        axis.stairs(counts / counts.sum(), edges, fill=True, color=style.colour, alpha=0.35)
        axis.stairs(counts / counts.sum(), edges, color=style.colour, lw=0.8)
        axis.axvline(sample.mean(), color=style.colour, ls=style.linestyle, lw=1.2)
    top = axis.get_ylim()[1]
    axis.set_ylim(0, 1.6 * top)  # room for the standard deviations and the text
    for height, name in ((1.1, "before"), (1.2, "after")):
        style, sample = LAWS[name], law[name].values
        bar = {"fmt": style.marker, "color": style.colour, "ms": 3, "capsize": 2}
        axis.errorbar(sample.mean(), height * top, xerr=sample.std(ddof=1), **bar)
    ratio = float(law["after"].var(ddof=1) / law["before"].var(ddof=1))
    text = f"variance ×{ratio:.2f}"
    axis.annotate(text, (0.99, 0.95), **_INSIDE, ha="right", va="top", fontsize=7)
    axis.set_yticks([])
    if last:
        axis.set_xlabel("margin of the query (logits)")
