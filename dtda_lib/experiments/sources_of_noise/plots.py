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
from dtda_lib.statistics.variance import COMPONENTS
from dtda_lib.study.figures import (
    TEXT_WIDTH,
    Drawn,
    intervals,
    legend_above,
    side_by_side,
    text_beside,
)
from dtda_lib.study.methods import CONTROL, METHODS, PALETTE, TESTS, palette
from dtda_lib.study.previews import show_image

from .banks import positions
from .crop_noise import WAYS
from .experiment import FITTED_VIT
from .tables import COMPONENT_WORDS, noise_floor

MODELS = palette(["MLP", "CNN2-L", "CNN3-L", "ViT+LoRA", FITTED_VIT])
_GREY = METHODS["null"].colour
_LEVEL_LABELS = {"sigma": "σ (nats)", "abs_mu": "|μ| (nats)", "snr": "|μ| / σ"}


def component_points(table: pd.DataFrame, size: int, control: int) -> Drawn:
    """Shares of the variance of training, one panel per component, one row per method.

    Filled: at `size`, where batches differ; hollow: at `control`, one full batch.
    """
    rows = table[(table["weighting"] == "pooled") & table["quantity"].isin(COMPONENTS)]
    methods = list(dict.fromkeys(rows["method"]))
    fig, axes = plt.subplots(1, 3, figsize=(TEXT_WIDTH, 2.5), sharex=True, sharey=True)
    for axis, component in zip(axes, COMPONENTS, strict=True):
        axis.axvline(0, color="0.7", lw=0.8, zorder=0)
        for level, method in enumerate(methods):
            style = METHODS[method]
            for number, (at, filled) in enumerate(((size, True), (control, False))):
                chosen = (rows["size"] == at) & (rows["method"] == method)
                part = rows[chosen & (rows["quantity"] == component)]
                face = style.colour if filled else "white"
                intervals(axis, part, level + 0.3 * number - 0.12, style, across=True, mfc=face)
        axis.set_title(COMPONENT_WORDS[component])
    axes[0].set_yticks(range(len(methods)), [METHODS[m].label for m in methods])
    axes[0].set_ylim(len(methods) - 0.4, -0.5)
    axes[1].set_xlabel("share of the variance over training runs")
    mark = {"marker": "o", "color": "0.3"}
    hollow = f"{control} per class (one batch)"
    legend_above(fig, marks={f"{size} per class": mark, hollow: mark | {"mfc": "white"}}, ncols=2)
    return fig, rows


def size_curves(levels: pd.DataFrame, trained: pd.DataFrame) -> Drawn:
    """Noise, influence and their ratio against the number of training points (both axes log)."""
    fig, axes = plt.subplots(1, 3, figsize=(TEXT_WIDTH, 2.3))
    about = trained.set_index("setting")
    for axis, (quantity, label) in zip(axes, _LEVEL_LABELS.items(), strict=True):
        rows = levels[levels["quantity"] == quantity]
        points = about.loc[rows["setting"], "points"].to_numpy()
        steps = about.loc[rows["setting"], "steps"].to_numpy()
        intervals(axis, rows, points, METHODS["loo"], ls="-", lw=1.2)
        if quantity == "snr":
            floor = noise_floor(int(rows["n_seeds"].iloc[0]))
            axis.axhline(floor, color=_GREY, ls=":", label="no influence")
            axis.legend()
        axis.set(xscale="log", yscale="log", title=label)
        ticks = [f"{n}\n({s})" for n, s in zip(points, steps, strict=True)]
        axis.set_xticks(points, ticks)
        axis.minorticks_off()
        _plain_ticks(axis, rows)
    axes[1].set_xlabel("training points (optimiser steps)")
    shown = levels[levels["quantity"].isin(_LEVEL_LABELS)].merge(trained, on="setting")
    return fig, shown


def _plain_ticks(axis: Axes, rows: pd.DataFrame) -> None:
    """A few round numbers on a logarithmic axis that spans less than some decades."""
    steps = np.outer(10.0 ** np.arange(-8, 4), [1, 2, 5]).ravel()
    low, high = rows[["low", "estimate"]].min().min(), rows[["high", "estimate"]].max().max()
    low, high = low / 1.3, high * 1.3
    inside = steps[(steps >= low) & (steps <= high)]
    inside = inside[:: max(1, -(-len(inside) // 5))]
    axis.set_yticks(inside, [f"{tick:g}" for tick in inside])
    axis.set_ylim(low, high)


def model_points(levels: pd.DataFrame, trained: pd.DataFrame) -> Drawn:
    """Noise, SNR and share of significant pairs against the number of trained parameters."""
    fig, axes = plt.subplots(1, 3, figsize=(TEXT_WIDTH, 2.5))
    about = trained.set_index("setting")
    panels = {"snr": "|μ| / σ", "t_fdr": "share significant (t, FDR)", "sigma": "σ (nats)"}
    for axis, (quantity, title) in zip(axes, panels.items(), strict=True):
        rows = levels[levels["quantity"] == quantity].set_index("setting")
        for name in rows.index:
            style = MODELS[name]
            apart = 1.25 if name == FITTED_VIT else 0.8 if "ViT" in name else 1  # equal numbers
            at = about.loc[name, "parameters"] * apart
            intervals(axis, rows.loc[name], at, style, label=style.label)
        axis.set(xscale="log", title=title)
        axis.minorticks_off()
        if quantity == "t_fdr":
            axis.set_ylim(-0.03, 1.03)
        else:
            axis.set_yscale("log")
            _plain_ticks(axis, rows)
            axis.minorticks_off()
        if quantity == "snr":
            axis.axhline(noise_floor(int(rows["n_seeds"].iloc[0])), color=_GREY, ls=":")
        axis.margins(x=0.15)
    axes[1].set_xlabel("trained parameters")
    legend_above(fig, axes[0], {"no influence": {"color": _GREY, "ls": ":"}}, ncols=3)
    shown = levels[levels["quantity"].isin(panels)].merge(trained, on="setting")
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
    of_shift = MODELS["ViT+LoRA"]
    colours = {"query loss": "0.35", "shift": of_shift.colour}
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


def images_and_shares(
    task: Task, ids: Sequence[int], table: pd.DataFrame, per_class: int = 3
) -> Drawn:
    """Some of the training images left out, a row for each class, and shares of significant pairs.

    Bars: jackknife over seeds. Grey: 97.5 % point with random signs of whole seeds.

    Args:
        task: Image classification.
        ids: Training points that are left out.
        table: `noise.share_table` of one size.
        per_class: Images shown of each class, at most.
    """
    of_class: dict[int, list[int]] = {}
    for position in positions(task, ids):
        of_class.setdefault(int(task.train_y[position]), []).append(position)
    columns = min(per_class, max(map(len, of_class.values())))
    fig = plt.figure(figsize=(TEXT_WIDTH, max(2.5, 0.3 * len(of_class) + 0.3)))
    left, right = fig.subfigures(1, 2, width_ratios=(0.8 + 0.32 * columns, 3.7))
    axes = left.subplots(len(of_class), columns, squeeze=False)
    drawn = []
    for row, (label, own) in zip(axes, of_class.items(), strict=True):
        for axis in row:
            axis.axis("off")
        for axis, position in zip(row, own, strict=False):
            show_image(axis, task.train_x[position])
            drawn.append({"shown": task.classes[label], "id": str(task.train_id[position])})
        text_beside(row[0], task.classes[label])
    left.suptitle("left out, one at a time", fontsize=8)
    axis, tests = right.subplots(), [t for t in TESTS if t in set(table["statistic"])]
    methods = list(dict.fromkeys(table["method"]))
    for method, shift in zip(methods, side_by_side(len(methods), 0.22)):
        part = table[table["method"] == method].set_index("statistic").loc[tests]
        at, style = np.arange(len(tests)) + shift, METHODS[method]
        axis.plot(at, part["noise_high"], "_", color=_GREY, ms=7, mew=1.5)
        intervals(axis, part, at, style, value="share", label=style.label)
    axis.set_xticks(range(len(tests)), [TESTS[t].tick for t in tests])
    axis.set(ylim=(-0.02, 1.02), ylabel="share of pairs, p < .05")
    noise = {"noise only, 97.5 %": {"marker": "_", "color": _GREY, "ms": 7}}
    legend_above(right, axis, noise, ncols=2)
    return fig, pd.concat([pd.DataFrame(drawn), table], ignore_index=True)


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
