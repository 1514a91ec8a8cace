"""Drawing of where noise comes from: each function returns the figure and exactly what it shows.

Numbers come from `tables`, `crop_noise` and `published_lists`; nothing is computed here that
a text quotes.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from torch import Tensor

from dtda_lib.data.published_lists import N_TEST, N_TRAIN, TEST
from dtda_lib.data.sources import QUERIES
from dtda_lib.data.task import Task
from dtda_lib.study.figures import (
    TEXT_WIDTH,
    Drawn,
    intervals,
    legend_above,
    named_rows,
    panels,
    side_by_side,
)
from dtda_lib.study.methods import CONTROL, METHODS, PALETTE, palette
from dtda_lib.study.previews import show_image
from dtda_lib.study.wording import measured

from .claims import ARMS, NOISE_MATTERS, SHARE_MATTERS
from .crop_noise import WAYS
from .tables import COMPONENT_WORDS, noise_only

_GREY = METHODS["null"].colour
_PARTS = palette(COMPONENT_WORDS)
_CROPS = palette({"shift": "shift", "query loss": "query loss"}, control="query loss")
_ARM_LOOKS = palette({arm: words for arm, (_, words) in ARMS.items()})


def component_bars(table: pd.DataFrame, control: int) -> Drawn:
    """Shares of the variance of training, stacked, and how much more initialisation gives.

    A row a method where batches differ; last the control, where all points are one batch. All pairs
    weigh alike. Grey: differences too small to matter.

    Args:
        table: `tables.component_table`.
        control: Size of the control.
    """
    rows = table[table["weighting"] == "equal"]
    keys = list(dict.fromkeys(zip(rows["size"], rows["method"])))
    parts = rows.set_index(["size", "method", "quantity"])
    _, axes = panels(1, 2, 0.9 + 0.36 * len(keys), sharey=True, width_ratios=(1.7, 1))
    left, right = axes[0]
    for level, (size, method) in enumerate(keys):
        start = 0.0
        for part, look in _PARTS.items():
            share = max(float(parts.loc[(size, method, part), "estimate"]), 0.0)
            left.barh(level, share, left=start, color=look.colour, height=0.62)
            if share > 0.07:
                told = measured(round(share, 2), unit="%")
                left.text(
                    start + share / 2, level, told, ha="center", va="center", fontsize=7, color="w"
                )
            start += share
        intervals(
            right, parts.loc[(size, method, "init - order")], level, METHODS["loo"], across=True
        )
    right.axvspan(-SHARE_MATTERS, SHARE_MATTERS, color=_GREY, alpha=0.2, lw=0)
    right.axvline(0, color=_GREY, lw=0.8)
    right.set(xlabel="initialisation -\nbatch order")
    left.set(xlim=(0, 1), xlabel="share of the variance over training")
    labels = [
        f"{METHODS[method].label}{', one batch' if size == control else ''}\n({size} per class)"
        for size, method in keys
    ]
    named_rows(left, labels)
    marks = {look.label: {"marker": "s", "ms": 6, "color": look.colour} for look in _PARTS.values()}
    legend_above(left.figure, marks=marks, ncols=3)
    return left.figure, rows


def size_curves(changes: pd.DataFrame, trained: pd.DataFrame) -> Drawn:
    """Noise relative to the smallest set, absolute and relative to influence, and loss, by arm;
    all with their intervals.

    Args:
        changes: `tables.step_table` of each arm, with a column `arm`.
        trained: `tables.training_table` of each arm, with a column `arm`.
    """
    settings = list(dict.fromkeys(trained["setting"]))
    shown = changes[changes["first"] == settings[0]]
    fig, axes = panels(1, 3, 2.5)
    titles = {"sigma": "σ / σ of smallest set", "relative": "σ/|μ| / that of smallest"}
    for axis, (quantity, title) in zip(axes[0], titles.items()):
        axis.axhspan(1 / NOISE_MATTERS, NOISE_MATTERS, color=_GREY, alpha=0.2, lw=0)
        for arm, shift in zip(ARMS, side_by_side(len(ARMS), 0.17), strict=True):
            rows = shown[(shown["arm"] == arm) & (shown["quantity"] == quantity)]
            look, at = _ARM_LOOKS[arm], np.arange(len(rows)) + 1 + shift
            line = {"color": look.colour, "marker": look.marker, "lw": 0.8}
            axis.plot([shift, *at], [1, *rows["estimate"]], **line)
            intervals(axis, rows, at, look, label=look.label)
        axis.set(yscale="log", title=title)
    for arm, shift in zip(ARMS, side_by_side(len(ARMS), 0.17), strict=True):
        rows, look = trained[trained["arm"] == arm], _ARM_LOOKS[arm]
        at = np.arange(len(rows)) + shift
        intervals(axes[0, 2], rows, at, look, value="loss", ls="-", lw=0.8)
    axes[0, 2].set(yscale="log", title="loss of queries (nats)")
    for axis in axes[0]:
        axis.set_xticks(range(len(settings)), [name.removesuffix(" points") for name in settings])
        _plain_ticks(axis)
    axes[0, 1].set_xlabel("training points")
    legend_above(fig, axes[0, 0], ncols=3)
    return fig, shown.merge(
        trained, left_on=["arm", "second"], right_on=["arm", "setting"], how="outer"
    )


def _plain_ticks(axis: Axes) -> None:
    """At most five round numbers on a logarithmic axis that spans less than some decades."""
    low, high = axis.get_ylim()
    steps = np.outer(10.0 ** np.arange(-8, 5), [1, 2, 5]).ravel()
    inside = steps[(steps >= low) & (steps <= high)]
    if len(inside) > 5:
        inside = np.array([step for step in inside if f"{step:e}".startswith("1")])
    inside = inside[:: max(1, -(-len(inside) // 5))]
    axis.set_yticks(inside, [f"{tick:g}" for tick in inside])
    axis.minorticks_off()
    axis.set_ylim(low, high)


def model_points(
    levels: pd.DataFrame, trained: pd.DataFrame, groups: Mapping[str, Sequence[str]]
) -> Drawn:
    """Noise relative to influence, and loss, of each model: one place a model, group by group.

    Dotted: sigma / |mu| without any influence, if noise is Gaussian, near which it saturates.

    Args:
        levels: `tables.noise_level_table`.
        trained: `tables.training_table`.
        groups: Name of a group -> its models.
    """
    fig, axes = panels(2, 1, 3.3, sharex=True, height_ratios=(1.6, 1))
    upper, lower = axes[:, 0]
    noise = levels[levels["quantity"] == "relative"].set_index("setting")
    losses = trained.set_index("setting")
    looks = palette(groups)
    start, places, labels = 0.0, [], []
    for group, names in groups.items():
        at = start + np.arange(len(names))
        intervals(upper, noise.loc[list(names)], at, looks[group])
        intervals(lower, losses.loc[list(names)], at, looks[group], value="loss", ls="-")
        above = upper.get_xaxis_transform()
        told = group.replace(", ", "\n")
        upper.text(at.mean(), 1.02, told, transform=above, ha="center", fontsize=7)
        places += at.tolist()
        labels += [name.rpartition(" ")[2].replace("CNN", "CNN\n") for name in names]
        start = at[-1] + 1.7
    most = noise_only(int(noise["n_seeds"].iloc[0]))
    upper.axhline(most, color=_GREY, ls=":")
    upper.annotate(
        f"no influence: {measured(most)}",
        (0.01, most),
        xycoords=upper.get_yaxis_transform(),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=6.5,
        color=_GREY,
    )
    upper.set(yscale="log", ylabel="σ/|μ|")
    lower.set(yscale="log", ylabel="loss (nats)")
    lower.set_xticks(places, labels)
    for axis in (upper, lower):
        _plain_ticks(axis)
    shown = levels[levels["quantity"] == "relative"].merge(trained, on="setting")
    return fig, shown


def crop_noise_panels(
    task: Task,
    queries: Sequence[int],
    crops: Tensor,
    losses: Mapping[str, xr.DataArray],
    table: pd.DataFrame,
    n_crops: int = 3,
) -> Drawn:
    """Crops of a few queries with the loss of one model on each, and what crops do to variance.

    Args:
        task: Image classification.
        queries: Positions of the queries.
        crops: Their crops `(crop, these queries, channel, row, column)`.
        losses: `crop_noise.crop_losses_of`; those of the first seed are shown.
        table: `crop_noise.crop_table`.
        n_crops: Crops shown, at most.
    """
    whole, crops = task.query_x[list(queries)], crops[:n_crops]
    ids = [task.query_id[query] for query in queries]
    seen = np.concatenate([losses[way].isel(seed=0).values for way in ("fixed", "same")])
    seen = seen[: 1 + len(crops), list(queries)]
    n_query, n_crops = len(whole), len(crops)
    fig = plt.figure(figsize=(TEXT_WIDTH, 2.7))
    left, right = fig.subfigures(1, 2, width_ratios=(1.25, 1))
    axes = left.subplots(n_query, 1 + n_crops, squeeze=False)
    drawn = []
    for q, row in enumerate(axes):
        for c, axis in enumerate(row):
            show_image(axis, whole[q] if c == 0 else crops[c - 1, q])
            axis.set_title(f"{seen[c, q]:.2g}", fontsize=7, pad=2)
            axis.axis("on")
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(visible=True, color="0.7", lw=0.6)
            name = "whole" if c == 0 else f"crop {c}"
            drawn.append({"what": f"query {ids[q]}", "way": name, "loss": seen[c, q]})
    left.suptitle("whole image, then crops: loss", fontsize=8)
    axis = right.subplots()
    of_shift = _CROPS["shift"]
    colours = {name: look.colour for name, look in _CROPS.items()}
    rows = table.set_index(["what", "way"])
    for level, way in enumerate(WAYS):
        for offset, what in ((-0.17, "query loss"), (0.17, "shift")):
            if (what, way) not in rows.index:
                continue
            row, scale = rows.loc[(what, way)], rows.loc[(what, "fixed")]["seed_variance"]
            seed, crop = row["seed_variance"] / scale, row["crop_variance"] / scale
            colour, at = colours[what], level + offset
            axis.plot(max(seed, 1e-3), at, "|", color=colour, ms=9, mew=2)
            if crop > 0:
                axis.plot(crop, at, "x", color=colour, ms=6, mew=1.2)
            look = {"color": colour, "marker": "o"}
            intervals(axis, row, at, of_shift, value="ratio", across=True, **look)
    axis.set_yticks(range(len(WAYS)), ("whole\nimage", "one\ncrop", "another\ncrop each"))
    axis.set(xscale="log")
    axis.minorticks_off()
    axis.set_xlabel("variance relative to whole image", fontsize=7.5)
    axis.set_ylim(len(WAYS) - 0.5, -0.5)
    marks = {name: {"marker": "s", "color": colour} for name, colour in colours.items()} | {
        "all": {"marker": "o", "color": "k"},
        "crops": {"marker": "x", "ms": 6, "color": "k"},
        "seeds": {"marker": "|", "mew": 2, "ms": 8, "color": "k"},
    }
    legend_above(right, marks=marks, ncols=3, fontsize=6.5)
    return fig, pd.concat([pd.DataFrame(drawn), table], ignore_index=True)


def shares_elsewhere(table: pd.DataFrame) -> Drawn:
    """Share of pairs beyond noise on other images, one panel for each set of them.

    Grey: 97.5 % point with random signs of whole seeds.

    Args:
        table: `noise.share_table` with a column `images`.
    """
    tests = {"code": "one\nretraining", "t_fdr": "mean over\nseeds"}
    shown = table[table["statistic"].isin(tests)]
    cells = list(dict.fromkeys(zip(shown["images"], shown["size"])))
    fig, axes = panels(1, len(cells), 2.5, sharey=True)
    for axis, (images, size) in zip(axes[0], cells, strict=True):
        part = shown[(shown["images"] == images) & (shown["size"] == size)]
        methods = list(dict.fromkeys(part["method"]))
        for method, shift in zip(methods, side_by_side(len(methods), 0.22), strict=True):
            rows = part[part["method"] == method].set_index("statistic").loc[list(tests)]
            at, look = np.arange(len(tests)) + shift, METHODS[method]
            axis.plot(at, rows["noise_high"], "_", color=_GREY, ms=7, mew=1.5)
            intervals(axis, rows, at, look, value="share", label=look.label)
        axis.set_xticks(range(len(tests)), tests.values())
        axis.set(ylim=(-0.04, 1.04), title=f"{images}\n{size} per class")
    axes[0, 0].set_ylabel("share of pairs")
    noise = {"noise only, 97.5 %": {"marker": "_", "color": _GREY, "ms": 7}}
    legend_above(fig, axes[0, 0], noise, ncols=4)
    return fig, shown


def list_positions(
    lists: Mapping[str, Sequence[int]], table: pd.DataFrame, bins: int = 100
) -> Drawn:
    """Where the positions of each published list lie: share of the list in each of many bins."""
    verdicts = table.set_index("list")["verdict"]
    edges = np.linspace(0, N_TRAIN, bins + 1)
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 2.3))
    frames = []
    for level, (name, numbers) in enumerate(lists.items()):
        share = np.histogram(numbers, edges)[0] / len(numbers)
        colour = PALETTE[0] if verdicts[name] == TEST and name != QUERIES else CONTROL
        height = -0.85 * share / share.max()  # upwards: the axis is inverted
        axis.bar(edges[:-1], height, np.diff(edges), level + 0.42, color=colour, align="edge")
        columns = {"list": name, "bin_start": edges[:-1].astype(int), "share": share}
        frames.append(pd.DataFrame(columns))
    axis.axvline(N_TEST, color="k", ls="--", lw=0.8)
    axis.annotate(" size of the test set", (N_TEST, -0.75), fontsize=7, va="center")
    labels = [f"{'queries' if name == QUERIES else name} ({len(n)})" for name, n in lists.items()]
    axis.set_yticks(range(len(lists)), labels)
    axis.set(xlim=(0, N_TRAIN), ylim=(len(lists) - 0.4, -1), xlabel="position in the data set")
    return fig, pd.concat(frames, ignore_index=True)
