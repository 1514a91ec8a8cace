"""Drawing of evaluation under noise: each function returns the figure and exactly what it shows."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dtda_lib.study.figures import (
    Drawn,
    intervals,
    legend_above,
    named_rows,
    panels,
    side_by_side,
    ticks,
)
from dtda_lib.study.methods import DELTAS, METHODS, Style, palette

from .claims import HALFWAY
from .estimands import LAW, MANY
from .lds import SHOWN_METRICS
from .methods import LOOKS
from .noise import PAIRINGS

MAPPED = ("if_damped", "unrolling")
"""Methods of the map: what either side of the dispute takes."""
_PROTOCOLS = palette(
    {
        "unpaired": "unpaired seeds",
        "paired, other seeds": "paired, models of other seeds",
        "paired, same seeds": "paired, models of the same seeds",
    }
)
_OWN = palette(
    {
        "masked": "point masked, same batches",
        "re-shuffled": "point masked, new batches",
        "deleted": "point deleted",
    }
)
_INTERVENTIONS = palette(
    {name: style.label for name, style in _OWN.items()}
    | {"batches alone": "no removal, new batches"},
    control="batches alone",
)
_TARGETS = palette(
    {
        "masked": "its own run, point masked",
        "deleted": "its own run, point deleted",
        LAW: "the law",
        MANY: "the law, scores of many models",
    }
)
_GREY = METHODS["null"].colour


# ---------------------------------------------------------------- over regimes


def dispute_map(table: pd.DataFrame) -> Drawn:
    """Correlation with the law - with the own run, by regime; a row a method, a column a data set.

    Above 0 the law is predicted better, below 0 the own run.

    Args:
        table: `tables.targets`.
    """
    rows = table[
        table["method"].isin(MAPPED) & table["target"].isin([f"{LAW} - {n}" for n in _OWN])
    ]
    fig, axes = _regime_panels(rows, len(MAPPED), 3.9)
    for across, method in zip(axes, MAPPED, strict=True):
        for axis, (_, part) in zip(
            across, rows[rows["method"] == method].groupby("data", sort=False)
        ):
            _series(axis, part, "target", {f"{LAW} - {n}": look for n, look in _OWN.items()})
            axis.axhline(0, color="k", ls=":", lw=1)
        across[0].set_ylabel(f"{LOOKS[method].label}\nlaw - own run", fontsize=7.5)
    least, most = rows["estimate"].min(), rows["estimate"].max()
    axes[0, 0].set_ylim(min(-0.5, 1.2 * least), max(0.8, 1.2 * most))  # bars of tiny runs go beyond
    words = {
        "↑ the law is ahead": (0.97, "top"),
        "↓ the own run": (0.03, "bottom"),
    }
    for text, (height, side) in words.items():
        place = {"transform": axes[0, 0].transAxes, "fontsize": 6.5, "color": _GREY, "va": side}
        axes[0, 0].text(0.02, height, text, **place)
    legend_above(fig, axes[0, 0], ncols=3, title="own run")
    return fig, rows


def fragility_points(table: pd.DataFrame) -> Drawn:
    """How far predictions of a run move under each intervention, by regime; a column a data set.

    Dotted: halfway to a run of another seed, and there.
    """
    fig, axes = _regime_panels(table, 1, 2.9)
    for axis, (_, part) in zip(axes[0], table.groupby("data", sort=False)):
        _series(axis, part, "intervention", _INTERVENTIONS)
        for height in (HALFWAY, 1):
            axis.axhline(height, color="k", ls=":", lw=1)
        axis.set_ylim(0, max(1.3, 1.1 * table["estimate"].max()))  # bars of tiny runs go beyond
    axes[0, 0].text(-0.4, 1.02, "another seed", fontsize=6.5, va="bottom")
    axes[0, 0].text(-0.4, HALFWAY + 0.02, "halfway", fontsize=6.5, va="bottom")
    axes[0, 0].set_ylabel("distance / that of two seeds")
    legend_above(fig, axes[0, 0], ncols=2)
    return fig, table


def _regime_panels(table: pd.DataFrame, rows: int, height: float) -> tuple[Figure, np.ndarray]:
    """Panels `(row, data set)` as wide as there are regimes, which are the ticks below."""
    regimes = {
        data: list(dict.fromkeys(zip(part["rate"], part["steps"])))
        for data, part in table.groupby("data", sort=False)
    }
    widths = {"width_ratios": [1 + len(one) for one in regimes.values()]}
    fig, axes = panels(rows, len(regimes), height, sharey=True, sharex="col", gridspec_kw=widths)
    for across, (data, one) in zip(axes.T, regimes.items(), strict=True):
        across[0].set_title(data)
        labels = [f"{rate:g}\n{steps:,}" for rate, steps in one]
        across[-1].set_xticks(range(len(one)), labels, fontsize=6.5)
        across[-1].set_xlim(-0.6, len(one) - 0.4)
    fig.supxlabel("learning rate and steps", fontsize=9)
    return fig, axes


def _series(axis: Axes, rows: pd.DataFrame, by: str, looks: dict[str, Style]) -> None:
    """A series for each look, side by side over the regimes in their order."""
    regimes = list(dict.fromkeys(zip(rows["rate"], rows["steps"])))
    for beside, (name, look) in zip(side_by_side(len(looks), 0.16), looks.items()):
        part = rows[rows[by] == name]
        at = [regimes.index(one) + beside for one in zip(part["rate"], part["steps"])]
        intervals(axis, part, at, look, label=look.label)


# ---------------------------------------------------------------- in the base regimes


def correlation_curves(table: pd.DataFrame, plateaus: pd.DataFrame) -> Drawn:
    """Correlation against the number of runs: observed (markers) and the law (lines, bands).

    One row of panels a method, one column a setting. Dotted: correlation without noise.
    """
    settings, methods = (list(dict.fromkeys(table[name])) for name in ("setting", "method"))
    fig, axes = panels(len(methods), len(settings), 4.1, sharex=True, sharey=True)
    for row, method in zip(axes, methods, strict=True):
        for axis, setting in zip(row, settings, strict=True):
            for protocol in PAIRINGS:
                chosen = (table["setting"] == setting) & (table["method"] == method)
                part = table[chosen & (table["protocol"] == protocol)]
                style = _PROTOCOLS[protocol]
                axis.plot(part["runs"], part["law"], color=style.colour, lw=1)
                band = part["runs"], part["law_low"], part["law_high"]
                axis.fill_between(*band, color=style.colour, alpha=0.15, lw=0)
                intervals(axis, part, part["runs"], style, value="observed", label=style.label)
            limit = plateaus.set_index(["setting", "method"]).loc[(setting, method), "estimate"]
            axis.axhline(limit, color="k", ls=":", lw=1, label="no noise")
            axis.set(xscale="log", ylim=(0, 1.08))
            if method == methods[0]:
                axis.set_title(setting)
            ticks(axis.xaxis, [n for n in (1, 8, 64, 512) if n <= table["runs"].max()])
    fig.supxlabel("runs averaged, R", fontsize=9)
    for row, method in zip(axes, methods, strict=True):
        row[0].set_ylabel(f"{LOOKS[method].label}\ncorrelation over points", fontsize=7.5)
    legend_above(fig, axes[0, 0], ncols=2)
    return fig, table


def estimand_dots(table: pd.DataFrame) -> Drawn:
    """What one model's scores correlate with in the base regimes: a row a method, a panel a data
    set; `table`: `tables.targets`."""
    rows = table[table["base"] & table["target"].isin(_TARGETS)]
    methods = [name for name in LOOKS if name in set(rows["method"])]
    names = list(dict.fromkeys(rows["data"]))
    fig, (axes,) = panels(1, len(names), 1.0 + 0.25 * len(methods), sharex=True, sharey=True)
    for axis, data in zip(axes, names, strict=True):
        here = rows[rows["data"] == data]
        for beside, (target, style) in zip(side_by_side(len(_TARGETS), 0.2), _TARGETS.items()):
            part = here[here["target"] == target]
            at = part["method"].map(methods.index) + beside
            intervals(axis, part, at, style, across=True, ms=3, lw=0.8, capsize=1)
        for level in set(range(len(methods))) - set(here["method"].map(methods.index)):
            axis.text(0.02, level, "not taken", va="center", fontsize=6, color=_GREY)
        axis.axvline(0, color="0.7", lw=0.6, zorder=0)
        axis.set_title(data)
        for level in range(len(methods) - 1):
            axis.axhline(level + 0.5, color="0.92", lw=0.6, zorder=0)
    axes[0].set_xlim(min(-0.1, 1.1 * rows["estimate"].min()), 1.2)  # bars of tiny runs go beyond
    named_rows(axes[0], [LOOKS[name].label for name in methods])
    fig.supxlabel("correlation over points with the retrained shift", fontsize=9)
    legend_above(fig, marks={s.label: s.points for s in _TARGETS.values()}, ncols=2)
    return fig, rows


def lds_dots(table: pd.DataFrame, setting: str) -> Drawn:
    """LDS of each method by metric (columns) and size of the subsets (rows), the best on top.

    Grey bar: where permuted subsets lie (97.5 % on either side). Tick: the method's ceiling.
    """
    rows = table[(table["setting"] == setting) & table["metric"].isin(SHOWN_METRICS)]
    rows = rows.rename(columns={"lds": "estimate"})
    order = rows.groupby("method")["estimate"].mean().sort_values(ascending=False)
    methods, sizes = list(order.index), list(dict.fromkeys(rows["size"]))
    height = 0.8 + len(sizes) * (0.35 + 0.15 * len(methods))
    fig, axes = panels(len(sizes), len(SHOWN_METRICS), height, sharex=True, sharey=True)
    look = METHODS["loo"]
    for across, size in zip(axes, sizes, strict=True):
        for axis, metric in zip(across, SHOWN_METRICS, strict=True):
            chosen = (rows["size"] == size) & (rows["metric"] == metric)
            part = rows[chosen].set_index("method").loc[methods]
            at = np.arange(len(methods))
            axis.barh(at, 2 * part["null"], 0.6, left=-part["null"], color="0.88", zorder=0)
            axis.plot(part["ceiling"], at, "|", color="k", ms=6, mew=1)
            intervals(axis, part, at, look, across=True, ms=3, lw=0.8, capsize=1)
            axis.axvline(0, color="0.7", lw=0.6, zorder=0)
            if size == sizes[0]:
                axis.set_title(DELTAS[metric].label)
        across[0].set_ylabel(f"leave out {size}")
    named_rows(axes[0, 0], [LOOKS[name].label for name in methods])
    axes[0, 0].set_xlim(min(-0.25, rows["low"].min() - 0.05), 1.05)
    fig.supxlabel("Spearman correlation over subsets, mean over queries", fontsize=9)
    marks = {
        "LDS, 95 % interval": {"marker": "o", "color": look.colour},
        "ceiling": {"marker": "|", "ms": 7, "mew": 1, "color": "k"},
        "permuted subsets, 95 %": {"ls": "-", "color": "0.88", "lw": 4},
    }
    legend_above(fig, marks=marks, ncols=3)
    return fig, rows.rename(columns={"estimate": "lds"})
