"""Drawing of predicted against retrained laws: each function returns the figure and what it shows.

Numbers come from `predicted_laws` and its tables; nothing is computed here that a text quotes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.study.figures import Drawn, intervals, legend_above, panels, side_by_side, ticks
from dtda_lib.study.methods import LAWS
from dtda_lib.study.tables import ends

from .laws import LEVERAGE, Laws, Removals
from .methods import DRAWN, looks

UNIT = "sd of strength"


def shown_queries(squares: xr.Dataset, removal: int) -> dict[str, int]:
    """Queries at the median, the 90 % quantile and the maximum of W2 from no change, by name."""
    order = squares["no_change"].isel(removal=removal).values.argsort(kind="stable")
    last = len(order) - 1
    places = {"median": last // 2, "90 % quantile": round(0.9 * last), "largest": last}
    return {name: int(order[place]) for name, place in places.items()}


def law_curves(laws: Laws, removal: int, queries: dict[str, int], names: Sequence[str]) -> Drawn:
    """Distribution functions over seeds: all points, retrained, predicted; a panel per query."""
    fig, (axes,) = panels(1, len(queries), 2.3, sharey=True)
    rows = []
    for axis, (title, query) in zip(axes, queries.items()):
        drawn = {
            "all points": (LAWS["before"], laws.base.isel(query=query)),
            "retrained": (LAWS["retrained"], laws.retrained.isel(query=query, removal=removal)),
        }
        for name in names:
            guess = laws.predicted.sel(estimator=name).isel(query=query, removal=removal)
            drawn[name] = looks(name), guess
        for law, (style, sample) in drawn.items():
            values = np.sort(sample.values)
            share = np.arange(1, len(values) + 1) / len(values)
            line = {"label": style.label, "color": style.colour, "ls": style.linestyle}
            axis.step(values, share, where="post", lw=1.2, **line)
            rows += [(title, query, law, *at) for at in zip(values, share)]
        axis.set_title(f"{title} (query {query})")
        axis.locator_params(axis="x", nbins=4)
    axes[0].set_ylabel("share of runs below")
    fig.supxlabel(f"prediction ({UNIT})", fontsize=9)
    legend_above(fig, axes[0], ncols=4)
    return fig, pd.DataFrame(rows, columns=["panel", "query", "law", "prediction", "share"])


def query_points(squares: xr.Dataset, removal: int, names: Sequence[str]) -> Drawn:
    """W2 from the predicted to the retrained law against W2 from no change, a dot per query."""
    fig, (axes,) = panels(1, len(names), 2.5, sharex=True, sharey=True)
    x = np.sqrt(squares["no_change"].isel(removal=removal).values)
    floor = np.sqrt(squares["perfect"].isel(removal=removal).values)
    rows = []
    low, high = 0.8 * floor.min(), 1.15 * x.max()
    for axis, name in zip(axes, names):
        style = looks(name)
        y = np.sqrt(squares["predicted"].sel(estimator=name).isel(removal=removal).values)
        axis.plot(x, floor, "_", color="0.75", ms=3, label="best possible: retrained to itself")
        axis.plot(x, y, "o", color=style.colour, ms=3, mew=0, alpha=0.7)
        axis.plot([low, high], [low, high], color="black", lw=0.8, label="no change")
        nearer = f"{(y < x).sum()} of {len(x)}\nnearer"
        axis.text(0.96, 0.04, nearer, transform=axis.transAxes, ha="right", fontsize=7)
        axis.set(xscale="log", yscale="log", aspect="equal")
        axis.set_title(style.label, fontsize=8)
        rows += [(name, q, *at) for q, at in enumerate(zip(x, y, floor))]
    for axis in axes:  # half a decade apart, so that no two collide
        for one in (axis.xaxis, axis.yaxis):
            ticks(one, [t for t in (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3) if low <= t <= high])
    axes[0].set_ylabel(f"W2, predicted to\nretrained ({UNIT})")
    fig.supxlabel(f"W2, all points to retrained ({UNIT})", fontsize=9)
    legend_above(fig, axes[0], ncols=2)
    return fig, pd.DataFrame(
        rows, columns=["estimator", "query", "no_change", "predicted", "perfect"]
    )


def error_curves(errors: pd.DataFrame, removals: Removals) -> Drawn:
    """Relative error against the size of random groups: of means and of standard deviations."""
    fig, (axes,) = panels(1, 2, 2.9, sharey=True)
    sets = removals.random_sets
    shown = errors[errors["set"].isin(sets) & errors["estimator"].isin(DRAWN)]
    shown = shown[shown["kind"].isin(["mean", "sd"])]
    top = 2.0
    for axis, (kind, title) in zip(axes, (("mean", "means"), ("sd", "standard deviations"))):
        for name, beside in zip(DRAWN, side_by_side(len(DRAWN), 0.12)):
            part = shown[(shown["kind"] == kind) & (shown["estimator"] == name)]
            part = part.set_index("set").loc[sets]
            look = {"elinewidth": 0.8, "ls": looks(name).linestyle, "label": looks(name).label}
            at = np.arange(len(sets)) + beside
            intervals(axis, part, at, looks(name), value="error", **look)
        axis.axhline(1, color="0.6", lw=0.8, zorder=0)
        axis.set_xticks(range(len(sets)), [name.removesuffix(" %") for name in sets])
        axis.set(title=title, ylim=(0, top))
    axes[0].set_ylabel("error / no change")
    fig.supxlabel("points removed together (% of the training set)", fontsize=9)
    legend_above(fig, axes[0], ncols=3, columnspacing=1)
    return fig, shown


def leverage_points(single: pd.DataFrame, names: Sequence[str]) -> Drawn:
    """Share of each single point's mean shift that is predicted, against its leverage.

    A point whose share no interval of `names` tells within 1, which is all from none to all of it,
    is counted and not drawn.
    """
    fig, (axes,) = panels(1, len(names), 2.5, sharey=True, sharex=True)
    shown = single[single["estimator"].isin(names)]
    low, high = ends(shown, "kept")
    vague = shown["point"].isin(shown["point"][high - low > 1])
    n_vague, shown = shown["point"][vague].nunique(), shown[~vague].reset_index(drop=True)
    line = np.array([0, 1.05 * single["leverage"].max()])
    kinds = {"highest leverage in the inputs": True, "drawn at random": False}
    seen = {}
    for axis, name in zip(axes, names):
        style, part = replace(looks(name), marker="o"), shown[shown["estimator"] == name]
        axis.plot(line, 1 - line, color="0.6", lw=0.8, zorder=0, label="1 − leverage")
        axis.axhline(1, color="0.6", lw=0.8, ls=":", zorder=0)
        for label, chosen in kinds.items():
            dots = part[(part["set"] == LEVERAGE) == chosen]
            face = {} if chosen else {"mfc": "white"}
            if len(dots):
                intervals(axis, dots, dots["leverage"], style, value="kept", ms=3, **face)
                seen[label] = {"marker": "o", "color": "0.3"} | face
        axis.set_title(style.label, fontsize=8)
    low, high = ends(shown, "kept")
    axes[0].set_ylim(min(0.0, low.min()) - 0.05, max(1.0, high.max()) + 0.05)
    axes[0].set(xlim=(0, line[1]), ylabel="share of shift predicted")
    if n_vague:
        undetermined = f"undetermined,\nnot drawn: {n_vague}"
        axes[0].text(0.03, 0.03, undetermined, transform=axes[0].transAxes, fontsize=7)
    fig.supxlabel("leverage of the point", fontsize=9)
    seen["1 − leverage"] = {"ls": "-", "color": "0.6", "lw": 0.8}
    legend_above(fig, marks=seen, ncols=3)
    return fig, shown
