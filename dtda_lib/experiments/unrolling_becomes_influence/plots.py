"""Drawing of notebook 06: each function returns the figure and exactly what it shows."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from dtda_lib.study.figures import Drawn, intervals, legend_above, panels, ticks
from dtda_lib.study.methods import METHODS, palette

from .network import OVER_TIME

_RECIPES = palette(
    ["decaying", "large steps", "small steps", "decaying, strong decay", "momentum", "Adam"]
)
SCHEDULES = dict(_RECIPES) | {
    **dict.fromkeys(("constant 0.1", "constant 0.05"), _RECIPES["large steps"]),
    **dict.fromkeys(("constant 0.02", "constant 0.0125", "constant"), _RECIPES["small steps"]),
}
"""How a schedule or recipe looks; those that share looks share no figure."""
_ONE_LENGTH = ("decaying, strong decay", "momentum", "Adam")  # drawn as points
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
            style = SCHEDULES[name]
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


def hyperbola(data: xr.Dataset, points: int = 6) -> Drawn:
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
    axes[1].legend(loc="upper left")
    return fig, pd.DataFrame(rows)


def over_time(table: pd.DataFrame) -> Drawn:
    """Top: correlation of unrolling with four influence functions; bottom: span and null share."""
    titles = {
        "unrolling, if_hessian": "exact Hessian",
        "unrolling, if_pinv 0.001": "pseudo-inverse",
        "unrolling, if_hessian_damped": "damped Hessian",
        "unrolling, if_ggn": "Gauss-Newton",
        "span 0.001": "|∇m| within span(H)",
        "null 0.001": "null part of ∇m·r",
        "smallest": "smallest eigenvalue",
    }
    fig, axes = panels(2, 4, 3.6)
    for axis, (quantity, title) in zip(axes.flat, titles.items()):
        rows = table[table["quantity"] == quantity]
        for name, part in rows.groupby("recipe", sort=False):
            # Recipes that share a length are set apart a little.
            apart = {"decaying, strong decay": 1.15, "momentum": 1.3, "Adam": 1.45}.get(name, 1)
            line = "none" if name in _ONE_LENGTH else SCHEDULES[name].linestyle
            look = {"ls": line, "label": name}
            intervals(axis, part, part["steps"] * apart, SCHEDULES[name], **look)
        _steps_axis(axis, table)
        if table["steps"].nunique() > 3:  # no room side by side
            axis.tick_params(axis="x", labelrotation=45)
        axis.set_title(title, fontsize=8)
        if quantity.startswith("unrolling"):
            axis.axhline(0.9, color=_GREY, ls=":", lw=0.8)
            axis.set_ylim(-0.35, 1.03)
            axis.label_outer()
        if quantity == "smallest":
            axis.axhline(0, color=_GREY, ls=":", lw=0.8)
    axes[0, 0].set_ylabel("correlation")
    fig.supxlabel("steps", fontsize=9)
    axes[1, 3].axis("off")
    axes[1, 3].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", fontsize=7)
    return fig, table[table["quantity"].isin(titles)]


def _steps_axis(axis: Axes, table: pd.DataFrame) -> None:
    """Logarithmic, with a tick at each length of training."""
    axis.set_xscale("log")
    lengths = sorted(set(table["steps"]))
    ticks(axis.xaxis, lengths, [f"{steps:,}" for steps in lengths])


def against_retraining(table: pd.DataFrame) -> Drawn:
    """Correlation of unrolling and IF with retraining of the same run and with the law's mean."""
    fig, axes = panels(1, len(OVER_TIME), 2.6, sharey=True)
    shown = []
    for axis, recipe in zip(axes[0], OVER_TIME, strict=True):
        for method in ("unrolling", "if_ggn"):
            for target, same in (("retrained", True), ("law", False)):
                chosen = table["quantity"] == f"{target}, {method}"
                part = table[chosen & (table["recipe"] == recipe)]
                style, at = METHODS[method], part["steps"] * (1 if same else 1.12)
                label = f"{style.label}, {'same run' if same else 'mean of others'}"
                look = {"ls": "-", "mfc": style.colour} if same else {"ls": ":", "mfc": "white"}
                intervals(axis, part, at, style, label=label, **look)
                shown.append(part)
        _steps_axis(axis, table)
        axis.set_title(recipe if recipe == "decaying" else recipe.replace("t 0", "t step 0"))
    axes[0, 0].set_ylabel("correlation with retraining")
    fig.supxlabel("steps", fontsize=9)
    legend_above(fig, axes[0, 0], ncols=2)
    return fig, pd.concat(shown, ignore_index=True)


def broken(flat: pd.DataFrame, saddle: pd.DataFrame) -> Drawn:
    """Left: a gradient along a flat direction; right: starts at and near a saddle."""
    fig, (axes,) = panels(1, 2, 2.6)
    for name, part in flat.groupby("schedule", sort=False):
        style = SCHEDULES[name]
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
