"""Drawing for ground truth against estimates: each function returns a figure and what it shows."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from dtda_lib.data.task import Task
from dtda_lib.study.figures import (
    TEXT_WIDTH,
    Drawn,
    intervals,
    legend_above,
    named_rows,
    side_by_side,
)
from dtda_lib.study.methods import DELTAS, METHODS, PALETTE, TESTS, palette
from dtda_lib.study.previews import show_image

from .common_shift import PARTS
from .tables import PROTOCOLS, SELECTIONS, Scores

_STATISTICS = {name: DELTAS[name].label for name in ("mean", "sd", "snr")}


def _lowest(ends: pd.Series) -> float:
    """Lower end of an axis of correlations that shows 0 and all intervals."""
    return max(-1.05, min(-0.05, ends.min() - 0.05))


def agreement_matrices(agreement: xr.Dataset) -> Drawn:
    """Correlation over pairs of any two methods, for mean, spread and ratio.

    Diagonal: the reliability of the method itself. `agreement` is `pairwise_agreement`.
    """
    methods = list(agreement["estimator"].values)
    fig, axes = plt.subplots(1, 3, figsize=(TEXT_WIDTH, 2.55), sharey=True)
    rows = []
    for axis, (name, title) in zip(axes, _STATISTICS.items(), strict=True):
        part = agreement.sel(statistic=name)
        values = part["r"].values.copy()
        np.fill_diagonal(values, part["reliability"].values)
        mesh = axis.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
        for (i, j), value in np.ndenumerate(values):
            colour = "white" if abs(value) > 0.6 else "black"
            text = f"{value:.2f}".replace("0.", ".")
            axis.text(j, i, text, ha="center", va="center", fontsize=5, color=colour)
            kind = "reliability" if i == j else "r"
            row = {"statistic": name, "method": methods[i], "other": methods[j], "kind": kind}
            rows.append(row | {"value": value})
        labels = [METHODS[m].tick for m in methods]
        axis.set_xticks(range(len(methods)), labels, fontsize=5)
        axis.set_yticks(range(len(methods)), labels, fontsize=5)
        axis.set_title(title)
        axis.grid(False)
    fig.colorbar(mesh, ax=axes.tolist(), label="correlation", shrink=0.8, pad=0.01)
    return fig, pd.DataFrame(rows)


def agreement_with_ceilings(table: pd.DataFrame, kind: str = "pearson") -> Drawn:
    """Each estimator against leave-one-out, on halves of the seeds, beside what it could reach.

    Filled marks: correlation as observed with all seeds, with its jackknife interval; open: free of
    shared noise (halves); bars: the ceiling of the halves.
    """
    part = table[table["kind"] == kind]
    size = part["size"].max()
    part = part[part["size"] == size]
    methods = list(dict.fromkeys(part["method"]))
    fig, axes = plt.subplots(1, 3, figsize=(TEXT_WIDTH, 2.4), sharey=True, sharex=True)
    for axis, (name, title) in zip(axes, _STATISTICS.items(), strict=True):
        for at, method in enumerate(methods):
            row = part[(part["method"] == method) & (part["statistic"] == name)].iloc[0]
            style = METHODS[method]
            intervals(axis, row, at - 0.14, style, value="r", across=True, lw=1.2)
            axis.plot(row["r_across"], at + 0.18, style.marker, mfc="none", mec=style.colour, ms=4)
            axis.plot(row["ceiling_across"], at + 0.18, "|", color="k", ms=9, mew=1.6)
        axis.axvline(0, color="0.6", lw=0.8, zorder=0)
        axis.set_title(title)
        axis.set_xlim(_lowest(part["r_low"]), 1.05)
        axis.set_xlabel("correlation with LOO" if kind == "pearson" else "rank corr. with LOO")
    named_rows(axes[0], [METHODS[m].label for m in methods])
    marks = {
        "all seeds, 95 %": {"marker": "o", "ls": "-", "color": "0.3"},
        "between halves": {"marker": "o", "mfc": "none", "mec": "0.3"},
        "ceiling of halves": {"marker": "|", "color": "k", "ms": 9, "mew": 1.6},
    }
    legend_above(fig, marks=marks, ncols=3)
    return fig, part.reset_index(drop=True)


def per_query(table: pd.DataFrame, each: Mapping[str, np.ndarray], size: int) -> Drawn:
    """Distribution over queries of the correlation over training points with leave-one-out."""
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 2.0))
    rows = []
    for at, row in enumerate(table.itertuples()):
        values = each[row.method]
        values = values[np.isfinite(values)]
        style = METHODS[row.method]
        box = {"color": style.colour, "lw": 1}
        axis.boxplot(
            values,
            positions=[at],
            orientation="horizontal",
            widths=0.5,
            whis=(5, 95),
            showfliers=False,
            **{f"{part}props": box for part in ("box", "whisker", "cap", "median")},
        )
        axis.plot(row.ceiling, at, "|", color="k", ms=11, mew=1.6)
        quantiles = dict(zip(("q05", "q25", "q50", "q75", "q95"), _quantiles(values), strict=True))
        rows.append({"size": size, **row._asdict(), **quantiles})
    named_rows(axis, [METHODS[m].label for m in table["method"]])
    axis.axvline(0, color="0.6", lw=0.8, zorder=0)
    lowest = min([row["q05"] for row in rows])
    axis.set_xlim(min(-0.05, lowest - 0.05), 1.02)
    axis.set_xlabel("correlation with leave-one-out over training points, one value a query")
    return fig, pd.DataFrame(rows).drop(columns="Index")


def _quantiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])


def low_noise(table: pd.DataFrame) -> Drawn:
    """Agreement with leave-one-out by how pairs are chosen; one mark a method."""
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 2.5))
    methods = list(dict.fromkeys(table["method"]))
    shown = table[table["selection"].isin(SELECTIONS)]
    for method, shift in zip(methods, side_by_side(len(methods), 0.11)):
        part = shown[shown["method"] == method].set_index("selection").loc[list(SELECTIONS)]
        at, style = np.arange(len(SELECTIONS)) + shift, METHODS[method]
        intervals(axis, part, at, style, value="r", label=style.label)
    axis.axhline(0, color="0.6", lw=0.8, zorder=0)
    axis.set_xticks(range(len(SELECTIONS)), list(SELECTIONS.values()))
    axis.set_ylim(-0.3, 1.05)
    axis.set_ylabel("correlation with LOO")
    fig.legend(loc="outside upper center", ncols=len(methods), columnspacing=1, handletextpad=0.2)
    return fig, shown.reset_index(drop=True)


_PROTOCOLS = palette(PROTOCOLS)


def protocols(table: pd.DataFrame, parts: pd.DataFrame) -> Drawn:
    """What the protocol changes: significant shares, agreement, and what a shift is made of."""
    fig, axes = plt.subplots(1, 3, figsize=(TEXT_WIDTH, 2.9), width_ratios=(1, 2.4, 1.4))
    quantities = list(dict.fromkeys(table["quantity"]))
    groups = (
        [q for q in quantities if q.startswith("share")],
        [q for q in quantities if q.startswith("r ")],
    )
    names = [p for p in _PROTOCOLS if p in set(table["protocol"])]
    for axis, group in zip(axes, groups, strict=False):
        for protocol, shift in zip(names, side_by_side(len(names), 0.18)):
            part = table[table["protocol"] == protocol].set_index("quantity").loc[group]
            at, style = np.arange(len(group)) + shift, _PROTOCOLS[protocol]
            intervals(axis, part, at, style, value="value", label=style.label, ms=3.5)
        axis.axhline(0, color="0.6", lw=0.8, zorder=0)
    axes[0].set_xticks(range(2), [TESTS[t].tick for t in ("code", "t_fdr")])
    axes[0].set_ylim(-0.02, 1.02)
    axes[0].set_title("significant pairs")
    axes[1].set_xticks(range(len(groups[1])), [METHODS[q.split()[-1]].tick for q in groups[1]])
    correlations = table[table["quantity"].str.startswith("r ")]
    axes[1].set_ylim(_lowest(correlations["value_low"]), 1.05)
    axes[1].set_title("correlation of means")
    _stacked_parts(axes[2], parts, names)
    legend_above(fig, axes[0], ncols=4)
    shared = parts.rename(columns={"part": "quantity", "share_of_squares": "value"})
    shared["quantity"] = "square: " + shared["quantity"]
    return fig, pd.concat([table, shared], ignore_index=True)


def _stacked_parts(axis: Axes, parts: pd.DataFrame, names: list[str]) -> None:
    bottom = np.zeros(len(names))
    for part, colour in zip(PARTS, PALETTE):
        values = parts[parts["part"] == part].set_index("protocol")["share_of_squares"]
        values = values.loc[names].clip(lower=0).to_numpy()
        axis.bar(range(len(names)), values, bottom=bottom, color=colour, label=part, width=0.7)
        bottom += values
    labels = [_PROTOCOLS[n].label.replace(" −", "\n−") for n in names]
    axis.set_xticks(range(len(names)), labels, rotation=90, fontsize=6)
    axis.set_title("squares of a shift")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.42), fontsize=5.5, ncols=1)


def lissa_against_grad_dot(estimates: Scores, gain: float) -> Drawn:
    """Published influence and a proper solve against grad-dot: one model, every pair."""
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.3))
    pick = {name: array.isel(seed=0, checkpoint=-1) for name, array in estimates.items()}
    dot = pick["grad_dot"].values.ravel().astype(float)
    n_train = pick["grad_dot"].sizes["train"]
    frames = {"grad_dot": dot}
    for axis, name in zip(axes, ("if_lissa", "if_ggn"), strict=True):
        published = -n_train * pick[name].values.ravel().astype(float)
        axis.plot(dot, published, ".", color=METHODS[name].colour, ms=1.5, rasterized=True)
        axis.set_title(METHODS[name].label)
        axis.set_xlabel(METHODS["grad_dot"].label)
        frames[name] = published
    ends = np.array([dot.min(), dot.max()])
    axes[0].plot(ends, -gain * ends, color="k", lw=0.9, label="−c$_T$ × grad-dot")
    axes[0].legend()
    axes[0].set_ylabel("published score\n(positive = harmful)")
    return fig, pd.DataFrame(frames)


def locality(table: pd.DataFrame) -> Drawn:
    """Agreement of estimators with taking away a fraction of a point's weight."""
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 2.3))
    for index, (method, part) in enumerate(table.groupby("method", sort=False)):
        part = part.sort_values("fraction")
        at = part["fraction"] * 1.03 ** (index - 2.5)  # side by side, so that all are seen
        look = METHODS[method]
        intervals(axis, part, at, look, value="r", ls=look.linestyle, lw=1.2, label=look.label)
    axis.axhline(0, color="0.6", lw=0.8, zorder=0)
    axis.set(xscale="log", ylim=(_lowest(table["r_low"]), 1.05), ylabel="correlation of means")
    axis.set_xlabel("fraction of the point's weight that is taken away (1 = removal)")
    ticks = sorted(table["fraction"].unique())
    axis.set_xticks(ticks, [f"{f:g}" for f in ticks])
    axis.minorticks_off()
    fig.legend(loc="outside right center")
    return fig, table


def laws_side_by_side(task: Task, scores: Scores, pairs: Mapping[str, tuple[int, int]]) -> Drawn:
    """The two digits of each pair, and the law over seeds by every method.

    Scores are divided by the standard deviation of the method's means over all pairs, so that
    methods with different units share an axis.
    """
    methods = list(scores)
    fig, axes = plt.subplots(
        len(pairs),
        3,
        figsize=(TEXT_WIDTH, 1.75 * len(pairs)),
        width_ratios=(1, 1, 4.5),
        squeeze=False,
    )
    scale = {m: float(a.astype(np.float64).mean("seed").std()) for m, a in scores.items()}
    rows = []
    for row, (name, (k, q)) in zip(axes, pairs.items(), strict=True):
        for axis, part, position in ((row[0], "train", k), (row[1], "query", q)):
            show_image(axis, getattr(task, f"{part}_x")[position])
            axis.set_title(f"{part} {getattr(task, f'{part}_id')[position]}", fontsize=7)
        for at, method in enumerate(methods):
            values = scores[method].isel(train=k, query=q).values.astype(float) / scale[method]
            style = METHODS[method]
            spread = at + np.linspace(-0.25, 0.25, len(values))
            row[2].plot(values, spread, style.marker, color=style.colour, ms=2.5, alpha=0.8)
            row[2].plot([values.mean()] * 2, [at - 0.4, at + 0.4], color=style.colour, lw=1.6)
            key = {"pair": name, "train_id": task.train_id[k], "query_id": task.query_id[q]}
            rows += [key | {"method": method, "seed": s, "scaled": v} for s, v in enumerate(values)]
        row[2].axvline(0, color="0.6", lw=0.8, zorder=0)
        named_rows(row[2], [METHODS[m].label for m in methods], fontsize=6)
        row[2].set_title(name)
    axes[-1][2].set_xlabel("score / spread of the method's means")
    return fig, pd.DataFrame(rows)
