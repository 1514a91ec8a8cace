"""Drawing of predicted against retrained laws: each function returns the figure and what it shows.

Numbers come from `tables`; nothing is computed here that a text quotes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from dtda_lib.statistics.between_sets import squared_gap
from dtda_lib.study.figures import Drawn, intervals, legend_above, panels, side_by_side, ticks
from dtda_lib.study.methods import CONTROL, LAWS

from .laws import POINT
from .methods import OTHER, looks
from .tables import ALL, CONCRETE, DIGITS, gaps

TITLES = {CONCRETE: "Concrete", DIGITS: "digits"}
UNITS = {CONCRETE: "strength (sd of the target)", DIGITS: "log-odds of the right digit"}
_NULL = {"color": CONTROL, "ls": ":", "lw": 1, "zorder": 0}
_WIDEST = 1.0  # interval of a single point's share: a wider one tells nothing


# ---------------------------------------------------------------- by size of the group


def control_rows(skills: pd.DataFrame) -> pd.DataFrame:
    """The rows of unrolling once more, as those of its prediction for another group."""
    rows = skills[skills["estimator"] == "unrolling"].assign(estimator=OTHER)
    ends = ("", "_low", "_high")
    return rows.assign(
        **{f"skill{end}": rows[f"control{end}"] for end in ends},
        **{f"error{end}": rows[f"control_error{end}"] for end in ends},
    )


def _by_size(
    skills: pd.DataFrame, kind: str, names: Sequence[str], value: str, ends: tuple[float, float]
) -> Drawn:
    shown = skills[(skills["kind"] == kind) & (skills["size"] != ALL)]
    shown = pd.concat([shown, control_rows(shown)], ignore_index=True)
    shown = shown[shown["estimator"].isin(names)]
    tasks = list(dict.fromkeys(shown["task"]))
    fig, (axes,) = panels(1, len(tasks), 2.6, sharey=True)
    for axis, task in zip(axes, tasks, strict=True):
        part = shown[shown["task"] == task]
        sizes = [size for size in dict.fromkeys(part["size"]) if size == POINT or "%" in size]
        for name, beside in zip(names, side_by_side(len(names), 0.14), strict=True):
            rows = part[part["estimator"] == name].set_index("size").loc[sizes]
            at = np.arange(len(sizes)) + beside
            look = {"ls": looks(name).linestyle, "label": looks(name).label, "elinewidth": 0.8}
            intervals(axis, rows, at, looks(name), value=value, **look)
            _count_beyond(axis, rows[value], at, ends, looks(name).colour)
        axis.set_xticks(range(len(sizes)), sizes)
        axis.set(title=TITLES[task], ylim=ends, xlim=(-0.5, len(sizes) - 0.5))
    fig.supxlabel("points removed together (% of the training set)", fontsize=9)
    legend_above(fig, axes[0], ncols=len(names), columnspacing=1)
    columns = ["task", "size", "estimator", value, f"{value}_low", f"{value}_high"]
    return fig, shown[columns].reset_index(drop=True)


def _count_beyond(
    axis: Axes, values: pd.Series, at: np.ndarray, ends: tuple[float, float], colour: str
) -> None:
    """Name the values beyond the axis at its edge, beside their bars."""
    text = {"fontsize": 6, "rotation": 90, "color": colour, "textcoords": "offset points"}
    for x, value in zip(at, values, strict=True):
        if value < ends[0]:
            axis.annotate(f"{value:.2f}", (x, ends[0]), xytext=(3, 2), va="bottom", **text)
        if value > ends[1]:
            axis.annotate(f"{value:.2f}", (x, ends[1]), xytext=(3, -2), va="top", **text)


def error_by_size(skills: pd.DataFrame, names: Sequence[str]) -> Drawn:
    """Error of the predicted mean, relative to that of no change, against the size of the group."""
    fig, shown = _by_size(skills, "mean", names, "error", (0, 1.4))
    for axis in fig.axes:
        axis.axhline(1, **_NULL)
    fig.axes[0].set_ylabel("error / no change")
    place = {"fontsize": 7, "va": "bottom", "ha": "right", "color": CONTROL}
    fig.axes[-1].annotate("no change", (0.99, 1.02), xycoords=("axes fraction", "data"), **place)
    return fig, shown


def spread_by_size(skills: pd.DataFrame, names: Sequence[str]) -> Drawn:
    """Share of the squared change of the log variance that is explained, against the size."""
    fig, shown = _by_size(skills, "spread", names, "skill", (-1, 1.05))
    for axis in fig.axes:
        axis.axhline(0, **_NULL)
        axis.axhline(1, **_NULL)
    fig.axes[0].set_ylabel("change explained")
    return fig, shown


# ---------------------------------------------------------------- one group, as samples


def shown_group(laws: xr.Dataset) -> xr.Dataset:
    """The first removal of 20 %, or of the last size that there is; `size` labels it."""
    sizes = [size for size in laws["size"].values.tolist() if "%" in size]
    return laws.sel(size="20 %" if "20 %" in sizes else sizes[-1]).isel(group=[0, -1])


def shown_queries(square: xr.DataArray) -> dict[str, int]:
    """Queries at the median, the 90 % quantile and the maximum of a squared change, by name."""
    order = square.values.argsort(kind="stable")
    last = len(order) - 1
    places = {"median": last // 2, "90 % quantile": round(0.9 * last), "largest": last}
    return {name: int(order[place]) for name, place in places.items()}


def law_curves(laws: xr.Dataset, names: Sequence[str]) -> Drawn:
    """Distribution functions over all seeds, a panel per query: all points, retrained, predicted.

    Args:
        laws: `laws.laws_in_sets` of Concrete.
        names: Estimators.
    """
    one = shown_group(laws).isel(group=0)
    moved = squared_gap(gaps(shown_group(laws), "law")["no_change"].isel(group=0))
    queries = shown_queries(moved)
    fig, (axes,) = panels(1, len(queries), 2.4, sharey=True)
    rows = []
    for axis, (title, query) in zip(axes, queries.items(), strict=True):
        drawn = {
            "all points": (LAWS["before"], one["base"]),
            "retrained": (LAWS["retrained"], one["retrained"]),
        }
        drawn |= {n: (looks(n), one["predicted"].sel(estimator=n)) for n in names}
        for law, (style, sample) in drawn.items():
            values = np.sort(sample.isel(query=query).values.ravel())
            share = np.arange(1, len(values) + 1) / len(values)
            line = {"label": style.label, "color": style.colour, "ls": style.linestyle}
            axis.step(values, share, where="post", lw=1.2, **line)
            rows += [(title, query, law, *at) for at in zip(values, share, strict=True)]
        axis.set_title(title)
        axis.locator_params(axis="x", nbins=4)
    axes[0].set_ylabel("share of runs below")
    fig.supxlabel(UNITS[CONCRETE], fontsize=9)
    legend_above(fig, axes[0], ncols=4)
    return fig, pd.DataFrame(rows, columns=["panel", "query", "law", "output", "share"])


def query_points(laws: xr.Dataset, names: Sequence[str]) -> Drawn:
    """W2 from the predicted to the retrained law against W2 from no change, a dot per query.

    Both over the removals of the size that `shown_group` names, noise taken off; what is negative
    once noise is off is drawn at the edge.
    """
    size = str(shown_group(laws)["size"].item())
    square = gaps(laws.sel(size=[size]), "law").map(squared_gap).mean(("group", "size"))
    x = np.sqrt(square["no_change"].clip(min=0)).values
    fig, (axes,) = panels(1, len(names), 2.7, sharex=True, sharey=True)
    top = 1.3 * x.max()
    low = top / 100
    rows = []
    for axis, name in zip(axes, names, strict=True):
        style = looks(name)
        y = np.sqrt(square["predicted"].sel(estimator=name).clip(min=0)).values
        axis.plot(x.clip(low), y.clip(low), style.marker, color=style.colour, alpha=0.7, ms=3.5)
        axis.plot([low, top], [low, top], color="k", lw=0.8)
        nearer = int((y < x).sum())
        axis.set(xscale="log", yscale="log", title=style.label, xlim=(low, top), ylim=(low, top))
        text = f"below: {nearer} of {len(x)}"
        axis.annotate(text, (0.97, 0.04), xycoords="axes fraction", fontsize=7, ha="right")
        axis.set_aspect("equal")
        rows += [(name, q, *at) for q, at in enumerate(zip(x, y, strict=True))]
    values = [t for t in (0.001, 0.01, 0.1, 1, 10) if low <= t <= top]
    for axis in axes:
        ticks(axis.xaxis, values)
        ticks(axis.yaxis, values)
    axes[0].set_ylabel("W2, predicted to retrained")
    fig.supxlabel("W2, all points to retrained (sd of the target)", fontsize=9)
    return fig, pd.DataFrame(rows, columns=["estimator", "query", "no_change", "predicted"])


# ---------------------------------------------------------------- single points


def leverage_points(single: pd.DataFrame, names: Sequence[str]) -> Drawn:
    """Share of each single point's mean shift that is predicted, against its leverage.

    Points whose interval is wider than `_WIDEST` are counted, not drawn.
    """
    fig, (axes,) = panels(1, len(names), 2.5, sharey=True, sharex=True)
    shown = single[single["estimator"].isin(names)]
    told = (shown["kept_high"] - shown["kept_low"]) <= _WIDEST
    right = 1.05 * shown["leverage"].max()
    for axis, name in zip(axes, names, strict=True):
        style, part = looks(name), shown[told & (shown["estimator"] == name)]
        axis.plot([0, right], [1, 1 - right], color="k", lw=0.8, zorder=0)
        axis.axhline(1, **_NULL)
        intervals(axis, part, part["leverage"], style, value="kept", lw=0.8, ms=3)
        if unclear := int((~told & (shown["estimator"] == name)).sum()):
            text = f"{unclear} undetermined"
            place = {"xycoords": "axes fraction", "fontsize": 7, "ha": "right", "va": "top"}
            axis.annotate(text, (0.98, 0.98), **place)
        axis.set(title=style.label, xlim=(0, right))
    axes[0].set(ylim=(0, 1.6), ylabel="share of shift predicted")
    fig.supxlabel("leverage h of the point", fontsize=9)
    marks = {"1 − h": {"ls": "-", "color": "k", "lw": 0.8}, "all of it": _NULL}
    legend_above(fig, None, marks, ncols=2)
    return fig, shown.reset_index(drop=True)
