"""Drawing of evaluation under noise: each function returns the figure and exactly what it shows."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dtda_lib.study.figures import Drawn, intervals, legend_above, panels, ticks
from dtda_lib.study.methods import DELTAS, METHODS, Style, palette

from .lds import METRICS
from .methods import LOOKS
from .noise import PROTOCOLS

_PROTOCOLS = palette(
    {
        "unpaired": "unpaired seeds",
        "paired, other seeds": "paired, models of other seeds",
        "paired, same seeds": "paired, models of the same seeds",
    }
)
_TARGETS = palette(
    {
        "own run": "its own run",
        "other run": "another run",
        "law": "the law (mean of other runs)",
    }
)
_INTERVENTIONS = palette(
    {
        "masked": "point masked, same batches",
        "re-shuffled": "point masked, new batches",
        "smaller data": "point deleted",
        "batches alone": "no removal, new batches",
    },
    control="batches alone",
)
_LDS = palette({"lds": "LDS, 95 % interval"})["lds"]
_GREY = METHODS["null"].colour


def correlation_curves(table: pd.DataFrame, plateaus: pd.DataFrame) -> Drawn:
    """Correlation against the number of runs: observed (markers) and the law (lines, bands).

    One row of panels a setting, one column a method. Dotted: correlation without noise.
    """
    settings, methods = (list(dict.fromkeys(table[name])) for name in ("setting", "method"))
    size = len(settings), len(methods), 0.6 + 1.75 * len(settings)
    fig, axes = panels(*size, sharex=True, sharey=True)
    for row, setting in zip(axes, settings, strict=True):
        for axis, method in zip(row, methods, strict=True):
            for protocol in PROTOCOLS:
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
            axis.set_title(f"{setting}: {LOOKS[method].label}")
    ticks(axes[0, 0].xaxis, [4**i for i in range(6) if 4**i <= table["runs"].max()])
    fig.supxlabel("runs averaged, R", fontsize=9)
    fig.supylabel("correlation over points", fontsize=9)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    handles.insert(1, plt.Line2D([], [], color="0.3", lw=1, label="attenuation law"))
    fig.legend(handles=handles, loc="outside upper center", ncols=2)
    drawn = table.merge(
        plateaus[["setting", "method", "estimate"]].rename(columns={"estimate": "without_noise"})
    )
    return fig, drawn


def estimand_dots(table: pd.DataFrame) -> Drawn:
    """What one model's scores correlate with, by method; one panel a setting.

    Filled: scores of one model. Hollow: mean scores of many models, against the law.
    """
    settings = list(dict.fromkeys(table["setting"]))
    methods = [name for name in LOOKS if name in set(table["method"])]
    rows = table[table["target"].isin(_TARGETS)]
    rows = rows[(rows["scored"] == "one model") | (rows["target"] == "law")]
    size = 1, len(settings), 0.8 + 0.27 * len(methods)
    fig, (axes,) = panels(*size, sharex=True, sharey=True)
    for axis, setting in zip(axes, settings, strict=True):
        for level, method in enumerate(methods):
            here = rows[(rows["setting"] == setting) & (rows["method"] == method)]
            if len(here) == 0:
                axis.text(0.03, level, "as damped IF", va="center", fontsize=6.5, color=_GREY)
            for offset, (target, style) in zip((-0.24, -0.08, 0.08), _TARGETS.items()):
                one = here[(here["target"] == target) & (here["scored"] == "one model")]
                _dot(axis, one, level + offset, style)
            average = here[here["scored"] == "average"]
            _dot(axis, average, level + 0.24, _TARGETS["law"], hollow=True)
        axis.set_title(setting)
        axis.set_xlim(0, 1.05)
        for level in range(len(methods) - 1):
            axis.axhline(level + 0.5, color="0.92", lw=0.6, zorder=0)
    _method_rows(axes[0], methods)
    fig.supxlabel("correlation over points with the retrained shift", fontsize=9)
    marks = {style.label: style.points for style in _TARGETS.values()}
    marks["mean of many models, the law"] = _TARGETS["law"].points | {"mfc": "white"}
    legend_above(fig, marks=marks, ncols=2, title="scored against")
    return fig, rows


def _method_rows(axis: Axes, methods: Sequence[str]) -> None:
    """A row a method, the first on top."""
    axis.set_yticks(range(len(methods)), [LOOKS[name].label for name in methods])
    axis.set_ylim(len(methods) - 0.4, -0.6)


def _dot(
    axis: Axes,
    rows: pd.DataFrame,
    level: float | Sequence[float],
    style: Style,
    hollow: bool = False,
    value: str = "estimate",
) -> None:
    face = "white" if hollow else style.colour
    thin = {"ms": 3, "mfc": face, "lw": 0.8, "capsize": 1}
    intervals(axis, rows, level, style, value=value, across=True, **thin)


def lds_dots(table: pd.DataFrame, setting: str) -> Drawn:
    """LDS of each method by metric (columns) and size of the subsets (rows), the best on top.

    Sorted by the LDS of the mean shift, averaged over sizes. Grey bar: where permuted subsets lie
    (97.5 % on either side). Tick: the method's ceiling.
    """
    rows = table[(table["setting"] == setting) & table["metric"].isin(METRICS)]
    sizes = list(dict.fromkeys(rows["size"]))
    by_mean = rows[rows["metric"] == METRICS[0]].groupby("method", sort=False)["lds"].mean()
    methods = list(by_mean.sort_values(ascending=False, kind="stable").index)
    levels = range(len(methods))
    height = 0.6 + len(sizes) * (0.35 + 0.15 * len(methods))
    fig, axes = panels(len(sizes), len(METRICS), height, sharex=True, sharey=True)
    for across, size in zip(axes, sizes, strict=True):
        for axis, metric in zip(across, METRICS, strict=True):
            part = rows[(rows["size"] == size) & (rows["metric"] == metric)]
            part = part.set_index("method").loc[methods]
            axis.barh(levels, 2 * part["null"], 0.4, -part["null"], color="0.85")
            axis.plot(part["ceiling"], levels, "|", color="k", ms=6, mew=1)
            _dot(axis, part, levels, _LDS, value="lds")
            axis.axvline(0, color="0.7", lw=0.6, zorder=0)
            if size == sizes[0]:
                axis.set_title(DELTAS[metric].label)
        across[0].set_ylabel(f"leave out {size}")
    _method_rows(axes[0, 0], methods)
    axes[0, 0].set_xlim(min(-0.25, rows["low"].min() - 0.05), 1.05)
    fig.supxlabel("Spearman correlation over subsets, mean over queries", fontsize=9)
    marks = {
        _LDS.label: _LDS.points,
        "ceiling": {"marker": "|", "ms": 7, "mew": 1, "color": "k"},
        "permuted subsets, 95 %": {"ls": "-", "color": "0.85", "lw": 4},
    }
    legend_above(fig, marks=marks, ncols=3)
    return fig, rows


def fragility_lines(table: pd.DataFrame, targets: pd.DataFrame) -> Drawn:
    """How far a run moves without one point, against the learning rate; and who predicts it.

    Left, middle: distance to itself over the distance between two seeds, predictions and
    parameters. Right: correlation of one model's damped influence with each target. Marks of one
    rate stand side by side.
    """
    fig, (axes,) = panels(1, 3, 3.1)
    axes[1].sharey(axes[0])
    for axis, space in zip(axes, ("predictions", "parameters")):
        for beside, (name, style) in zip((0.85, 0.95, 1.05, 1.15), _INTERVENTIONS.items()):
            part = table[(table["space"] == space) & (table["intervention"] == name)]
            intervals(axis, part, beside * part["rate"], style, ls="-", label=style.label)
        axis.axhline(1, color="k", ls=":", lw=1)
        axis.set(xscale="log", title=space)
    axes[0].set_ylim(0, max(1.1, 1.05 * table["high"].max()))
    axes[0].text(table["rate"].min(), 0.98, "another seed", fontsize=7, va="top")
    axes[0].set_ylabel("distance / that of two seeds")
    most = table.loc[table["space"] == "parameters", "high"].max()
    below = f"all below {np.ceil(100 * most) / 100:g}" if most < 0.25 else ""
    axes[1].text(table["rate"].min(), most + 0.05, below, fontsize=7)
    rows = targets[(targets["scored"] == "one model") & targets["target"].isin(_TARGETS)]
    for beside, (name, style) in zip((0.93, 1.0, 1.07), _TARGETS.items()):
        part = rows[(rows["target"] == name) & (rows["method"] == "if_damped")]
        intervals(axes[2], part, beside * part["rate"], style, ls="-", label=style.label)
    axes[2].set(xscale="log", ylim=(0, 1), title="damped IF", ylabel="correlation with retraining")
    for axis in axes:
        ticks(axis.xaxis, sorted(table["rate"].unique()))
        axis.set_xlabel("learning rate")
    for axis, where, title in (
        (axes[0], "left", "left and middle: what is changed"),
        (axes[2], "right", "right: retraining of"),
    ):
        handles, labels = axis.get_legend_handles_labels()
        fig.legend(handles, labels, loc=f"outside upper {where}", title=title)
    return fig, pd.concat([table, rows], ignore_index=True)
