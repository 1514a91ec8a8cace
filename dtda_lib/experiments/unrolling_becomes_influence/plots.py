"""Drawing of notebook 06: each function returns the figure and exactly what it shows."""

from collections.abc import Mapping
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.study.figures import (
    Drawn,
    intervals,
    legend_above,
    named_rows,
    panels,
    side_by_side,
    ticks,
)
from dtda_lib.study.methods import METHODS, palette

from .network import FOLDS, WEIGHT_DECAY

_RECIPES = palette(["decaying", "large steps", "small steps"])
_SCHEDULE_LOOKS = dict(_RECIPES) | {
    "constant 0.1": _RECIPES["large steps"],
    **dict.fromkeys(("constant 0.02", "constant"), _RECIPES["small steps"]),
}
"""How a schedule looks; those that share looks share no figure."""
_CURVATURE_LOOKS = {
    "pinv": replace(METHODS["if_pinv"], label="pseudo-inverse"),
    "ggn": replace(METHODS["if_ggn"], label="Gauss-Newton"),
    "damped": replace(METHODS["if_hessian_damped"], label="damped by 1 / sum of steps"),
}
FLAT = {
    "unrolling": METHODS["unrolling"],
    "influence": replace(METHODS["if_pinv"], label="pseudo-inverse influence"),
}
_GREY = METHODS["null"].colour
_LINKS = {"identity": "linear regression", "logistic": "logistic regression"}


def convergence(table: pd.DataFrame, retrained: pd.DataFrame) -> Drawn:
    """Relative distance of N r_t from r_IF against steps, a panel per link; and r's own check.

    `retrained`: `broken.retraining_table`, drawn in the last panel.
    """
    links = list(dict.fromkeys(table["problem"]))
    fig, (axes,) = panels(1, len(links) + 1, 2.5)
    for axis, link in zip(axes[:-1], links, strict=True):
        for name, part in table[table["problem"] == link].groupby("schedule", sort=False):
            style = _SCHEDULE_LOOKS[name]
            label = name if name == "decaying" else name.replace("constant", "constant step")
            look = {"color": style.colour, "ls": style.linestyle, "label": label}
            axis.plot(part["step"], part["error"], **look)
            axis.fill_between(
                part["step"], part["low"], part["high"], color=style.colour, alpha=0.2, lw=0
            )
        axis.set(xscale="log", yscale="log", title=_LINKS[link], xlabel="steps")
        axis.sharey(axes[0])
    axes[0].set_ylabel("|N r − r_IF| / |r_IF|")
    reach = [0.9, 1.2 * retrained[["ratio", "expected"]].to_numpy().max()]
    axes[-1].plot(reach, reach, color=_GREY, lw=0.8, zorder=0)
    axes[-1].plot(retrained["expected"], retrained["ratio"], "o", color=METHODS["loo"].colour)
    axes[-1].set(
        xscale="log", yscale="log", title="full removal over r", xlabel="1 / (1 − leverage)"
    )
    for side in (axes[-1].xaxis, axes[-1].yaxis):
        ticks(side, [1, 2, 5])
    legend_above(fig, axes[0], ncols=3)
    return fig, pd.concat([table, retrained], ignore_index=True)


def responses_on_hyperbola(data: xr.Dataset, points: int = 6) -> Drawn:
    """Left: where runs end, with N r of one point as arrows; right: its effect on m = a b."""
    fig, (axes,) = panels(1, 2, 2.7)
    theta = data["theta"].values
    c = float(np.mean(theta[:, 0] * theta[:, 1]))
    grid = np.geomspace(0.35, 3, 60)
    loudest = int(np.argmax(np.abs(data["exact"].values)))
    response = data["response"].values[:, loudest]
    rows = []
    for sign in (1, -1):
        axes[0].plot(sign * grid, sign * c / grid, color="0.7", zorder=0)
    for (a, b), (da, db) in zip(theta, response, strict=True):
        axes[0].plot(a, b, "o", color=METHODS["loo"].colour, ms=3)
        scale = 0.4
        axes[0].annotate(
            "",
            (a + scale * da, b + scale * db),
            (a, b),
            arrowprops={"arrowstyle": "->", "color": METHODS["unrolling"].colour, "lw": 1},
        )
        rows.append({"panel": "weights", "x": a, "y": b, "to_x": da, "to_y": db})
    axes[0].set(xlabel="a", ylabel="b", xlim=(-2.9, 2.9), ylim=(-2.9, 2.9))
    axes[0].set_title(f"N r of point {loudest} (arrows × 0.4)")
    order = np.argsort(data["exact"].values)
    for name, at, colour in (
        ("unrolling", "response of m = ab", METHODS["unrolling"].colour),
        ("null", "part along the hyperbola", _GREY),
    ):
        values = data[name].values[:, order]
        for rank in range(len(order)):
            x = np.full(len(values), rank + (0.18 if name == "null" else -0.18))
            axes[1].plot(x, values[:, rank], ".", ms=3, color=colour, label=None if rank else at)
            rows += [{"panel": name, "x": rank, "y": value} for value in values[:, rank]]
    exact = data["exact"].values[order]
    axes[1].plot(np.arange(len(order)) - 0.18, exact, "_", color="black", ms=7, label="closed form")
    rows += [{"panel": "closed form", "x": i, "y": value} for i, value in enumerate(exact)]
    axes[1].set(xlabel="training points, by effect", ylabel="N × response")
    legend_above(fig, axes[1], ncols=3)
    return fig, pd.DataFrame(rows)


def limit(table: pd.DataFrame, values: xr.Dataset) -> Drawn:
    """The long training. Left: correlation of unrolling with three influence functions against
    weight decay x sum of steps; right: how near to a minimum each run is."""
    fig, ((left, right),) = panels(1, 2, 2.9, width_ratios=(1.35, 1))
    part = table[table["recipe"] == "decaying"]
    for name, style in _CURVATURE_LOOKS.items():
        rows = part[part["quantity"] == name]
        intervals(left, rows, rows["folds"], style, ls=style.linestyle, label=style.label)
    for level in (0.9, 0.99):
        left.axhline(level, color=_GREY, ls=":", lw=0.8, zorder=0)
    for axis in (left, right):
        axis.axvline(FOLDS, color=_GREY, lw=0.8, zorder=0)
        axis.set(xscale="log", xlabel="weight decay × sum of steps")
        ticks(axis.xaxis, [0.05, 0.2, 1, 5, 20])
        axis.set_xlim(0.8 * float(part["folds"].min()), 1.2 * max(FOLDS, part["folds"].max()))
    left.set_ylabel("correlation with unrolling")
    low = min(0.0, float(part[part["quantity"].isin(_CURVATURE_LOOKS)]["low"].min()))
    left.set_ylim(max(low, -0.5), 1.03)
    folds, smallest = values["folds"].values, values["smallest"].transpose("step", "seed").values
    right.plot(folds, smallest, color=_GREY, lw=0.8, alpha=0.7)
    right.axhline(0, color="k", lw=0.8, ls=":", zorder=0)
    right.set_title("smallest eigenvalue, each run", fontsize=8)
    left.set_title("influence functions of the same weights", fontsize=8)
    legend_above(fig, left, ncols=3)
    runs = pd.DataFrame(
        {"folds": x, "quantity": f"smallest, run {run}", "estimate": y}
        for x, row in zip(folds, smallest, strict=True)
        for run, y in enumerate(row)
    )
    shown = part[part["quantity"].isin(_CURVATURE_LOOKS)]
    return fig, pd.concat([shown, runs], ignore_index=True)


def practice(table: pd.DataFrame, names: Mapping[str, str]) -> Drawn:
    """Left: constant steps of three sizes against the sum of steps; right: ends of all trainings.

    `names`: name of a training -> how readers know it; the first five are constant steps, of which
    every other one is followed along the way.
    """
    fig, ((left, right),) = panels(1, 2, 2.9, width_ratios=(1, 1.1))
    constant = list(names)[:5:2]
    shades = plt.get_cmap("cividis")(np.linspace(0, 0.85, len(constant)))
    damped = table[table["quantity"] == "damped"]
    for shade, name in zip(shades, constant, strict=True):
        rows = damped[damped["recipe"] == name]
        intervals(
            left, rows, rows["time"], replace(_CURVATURE_LOOKS["damped"], colour=shade), ls="-"
        )
        first = name == constant[0]
        left.plot([], [], color=shade, label=names[name] if first else names[name].split()[-1])
    left.set(xscale="log", xlabel="sum of steps")
    ticks(left.xaxis, [float(f"{x:.2g}") for x in rows["time"]])
    left.set_ylabel("correlation, damped IF")
    shown_low = float(damped[damped["recipe"].isin(constant)]["low"].min())
    left.set_ylim(min(max(shown_low, -0.5), 0), 1.03)
    left.axhline(0.9, color=_GREY, ls=":", lw=0.8, zorder=0)
    beside = {"columnspacing": 0.7, "handlelength": 0.8, "handletextpad": 0.4, "fontsize": 6.5}
    left.legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=3, **beside)
    ends = table.groupby(["recipe", "quantity"], sort=False).tail(1)
    shown = []
    for offset, (curvature, style) in zip(
        side_by_side(3, 0.22), _CURVATURE_LOOKS.items(), strict=True
    ):
        rows = ends[ends["quantity"] == curvature].set_index("recipe").loc[list(names)]
        at = np.arange(len(names)) + offset
        intervals(right, rows, at, style, across=True, label=style.label)
        shown.append(rows.reset_index())
    right.axvline(0.9, color=_GREY, ls=":", lw=0.8, zorder=0)
    named_rows(right, list(names.values()))
    right.set_xlim(max(float(ends["low"].min()), -0.5), 1.03)
    right.set_xlabel("correlation at the end")
    legend_above(fig, right, ncols=3)
    return fig, pd.concat([damped[damped["recipe"].isin(constant)], *shown], ignore_index=True)


def flat(table: pd.DataFrame) -> Drawn:
    """How much of a predicted shift comes from flat directions, by what counts as flat."""
    fig, ((axis,),) = panels(1, 1, 2.5)
    levels = list(dict.fromkeys(table["threshold"]))
    shown = []
    for offset, (name, style) in zip(side_by_side(2, 0.2), FLAT.items(), strict=True):
        rows = table[table["quantity"] == name]
        at = np.arange(len(levels)) + offset
        intervals(axis, rows, at, style, label=style.label)
        shown.append(rows)
    names = ["weight decay\nrules" if t == WEIGHT_DECAY else f"{float(t):g}" for t in levels]
    axis.set_xticks(range(len(levels)), names)
    axis.set(
        xlabel="flat: eigenvalue below this share of the largest", ylabel="flat part of the shift"
    )
    axis.set_ylim(0, 1.03)
    legend_above(fig, axis, ncols=2)
    return fig, pd.concat(shown, ignore_index=True)


def broken(flat: pd.DataFrame, saddle: pd.DataFrame) -> Drawn:
    """Left: a gradient along a flat direction; right: starts at and near a saddle."""
    fig, (axes,) = panels(1, 2, 2.6)
    for name, part in flat.groupby("schedule", sort=False):
        style = _SCHEDULE_LOOKS[name]
        look = {"label": f"{name} steps", "ms": 3, "lw": 0.8}
        intervals(axes[0], part, part["step"], style, value="response", **look)
        axes[0].plot(part["step"], part["predicted"], color=_GREY, lw=1, zorder=0)
    axes[0].set(xscale="log", yscale="log", xlabel="steps", ylabel="N r along the flat direction")
    axes[0].set_title("gradient along a flat direction")
    axes[0].legend(loc="upper left")
    shades = plt.get_cmap("cividis")(np.linspace(0, 0.8, saddle["offset"].nunique()))
    for colour, (offset, part) in zip(shades, saddle.groupby("offset"), strict=True):
        label = "at the saddle" if offset == 0 else f"{offset:g} from it"
        axes[1].plot(part["sum_of_steps"], part["response"].abs(), color=colour, label=label)
    at = saddle[saddle["offset"] == 0]
    axes[1].plot(at["sum_of_steps"], at["predicted"], color=_GREY, ls=":", lw=2, zorder=3)
    axes[1].axhline(saddle["limit"].iloc[0], color=_GREY, lw=0.8, zorder=0)
    axes[1].set(yscale="log", xlabel="sum of steps", ylabel="|N r|", ylim=(0.03, 1e9))
    axes[1].set_title("start at or near a saddle")
    axes[1].legend(loc="upper left")
    return fig, pd.concat(
        [flat.assign(panel="flat"), saddle.assign(panel="saddle")], ignore_index=True
    )
