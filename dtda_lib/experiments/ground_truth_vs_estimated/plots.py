"""Drawing for ground truth against estimates: each function returns a figure and what it shows."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.data.task import Task
from dtda_lib.study.figures import (
    TEXT_WIDTH,
    Drawn,
    intervals,
    legend_above,
    named_rows,
    side_by_side,
)
from dtda_lib.study.methods import CONTROL, METHODS, Style, Table, palette
from dtda_lib.study.previews import show_image

from .tables import PROTOCOL_LABELS, SELECTIONS, ScoresByMethod

_KINDS = {"pearson": "by values (Pearson)", "spearman": "by ranks (Spearman)"}
_ZERO = {"color": "0.6", "lw": 0.8, "zorder": 0}


def _sizes(table: pd.DataFrame) -> Table[Style]:
    """One look for each size of the training set."""
    return palette({int(size): f"{size} per class" for size in sorted(table["size"].unique())})


def _lowest(values: pd.Series) -> float:
    """Lower end of an axis of correlations that shows 0 and all values."""
    return max(-1.05, min(-0.2, values.min() - 0.05))


def _best_first(table: pd.DataFrame, value: str) -> list[str]:
    """Methods by the mean of a column."""
    return table.groupby("method")[value].mean().sort_values(ascending=False).index.tolist()


def agreement_with_ceilings(table: pd.DataFrame, over: str) -> Drawn:
    """Agreement of each method with leave-one-out at each size, by values and by ranks, beside its
    ceiling; methods sorted by their mean.

    Marks: one on one half of the seeds, the other on the other half; the bar is the interval of the
    distance to the ceiling, which is the black tick.

    Args:
        table: `tables.agreement_table`.
        over: "pooled", all pairs, or "query", the training points of a query.
    """
    part = table[(table["statistic"] == "mean") & (table["over"] == over)]
    ends = {e: part["ceiling"] + part[f"gap_{e}"] for e in ("low", "high")}
    part = part.assign(across_low=ends["low"], across_high=ends["high"])
    methods = _best_first(part, "across")
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 0.9 + 0.3 * len(methods)), sharey=True)
    looks = _sizes(part)
    for axis, (kind, title) in zip(axes, _KINDS.items(), strict=True):
        for shift, (size, look) in zip(side_by_side(len(looks), 0.24), looks.items()):
            rows = part[(part["kind"] == kind) & (part["size"] == size)]
            rows = rows.set_index("method").loc[methods]
            at = np.arange(len(methods)) + shift
            intervals(axis, rows, at, look, value="across", across=True, label=look.label, ms=3.5)
            axis.plot(rows["ceiling"], at, "|", color="k", ms=5, mew=1.2)
        for at in range(1, len(methods)):
            axis.axhline(at - 0.5, color="0.9", lw=0.6, zorder=0)
        axis.axvline(0, **_ZERO)
        axis.set(
            title=title,
            xlim=(_lowest(part["across"]), 1.03),
            xlabel="correlation with leave-one-out",
        )
    named_rows(axes[0], [METHODS[m].label for m in methods])
    ceiling = {"ceiling that noise allows": {"marker": "|", "color": "k", "ms": 7, "mew": 1.2}}
    legend_above(fig, axes[0], ceiling, ncols=4)
    return fig, part.reset_index(drop=True)


def agreement_matrix(table: pd.DataFrame) -> Drawn:
    """Correlation of means of any two methods: values above the diagonal, ranks below; on the
    diagonal the reliability of half the seeds. `table`: `tables.matrix_table`."""
    names = list(dict.fromkeys(table["method"]))
    wide = {k: table.pivot(index="method", columns="other", values=k) for k in _KINDS}
    values = {k: frame.loc[names, names].to_numpy() for k, frame in wide.items()}
    shown = np.triu(values["pearson"]) + np.tril(values["spearman"], -1)
    fig, axis = plt.subplots(figsize=(TEXT_WIDTH, 4.2))
    mesh = axis.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(shown):
        colour = "white" if abs(value) > 0.6 else "black"
        text = f"{value:.2f}".replace("0.", ".")
        axis.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    axis.set_xticks(range(len(names)), [METHODS[m].tick for m in names])
    axis.set_yticks(range(len(names)), [METHODS[m].label for m in names])
    axis.grid(False)
    fig.colorbar(mesh, ax=axis, label="above: values, below: ranks", pad=0.02)
    return fig, table


def low_noise(table: pd.DataFrame, methods: Sequence[str]) -> Drawn:
    """Agreement with leave-one-out by how pairs are chosen, a panel for each size."""
    table = table[table["method"].isin(methods)]
    sizes = sorted(table["size"].unique())
    fig, axes = plt.subplots(1, len(sizes), figsize=(TEXT_WIDTH, 2.5), sharey=True, squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        for method, shift in zip(methods, side_by_side(len(methods), 0.16)):
            part = table[(table["size"] == size) & (table["method"] == method)]
            part = part.set_index("selection").loc[list(SELECTIONS)]
            at, style = np.arange(len(SELECTIONS)) + shift, METHODS[method]
            intervals(axis, part, at, style, value="r", label=style.label)
        axis.axhline(0, **_ZERO)
        words = [name.replace(" ", "\n", 1) for name in SELECTIONS.values()]
        axis.set_xticks(range(len(SELECTIONS)), words)
        axis.set_xlim(-0.5, len(SELECTIONS) - 0.5)
        axis.set(title=f"{size} per class", ylim=(_lowest(table["r"]), 1.03))
    axes[0, 0].set_ylabel("correlation with LOO")
    legend_above(fig, axes[0, 0], ncols=len(methods))
    return fig, table.reset_index(drop=True)


def protocols(table: pd.DataFrame, methods: Sequence[str]) -> Drawn:
    """What the protocol changes at each size: pairs beyond noise, and agreement with estimators."""
    quantities = {"share t_fdr": "pairs beyond noise\n(t-test, FDR)"}
    quantities |= {f"r {m}": f"correlation with\n{METHODS[m].label}" for m in methods}
    table = table[table["quantity"].isin(quantities)]
    sizes, looks = (
        sorted(table["size"].unique()),
        palette(PROTOCOL_LABELS, control="paired_scratch"),
    )
    fig, axes = plt.subplots(1, len(quantities), figsize=(TEXT_WIDTH, 2.5), sharey=True)
    for axis, (quantity, title) in zip(axes, quantities.items(), strict=True):
        shown = table[table["quantity"] == quantity]
        for shift, (protocol, look) in zip(side_by_side(len(looks), 0.18), looks.items()):
            part = shown[shown["protocol"] == protocol].set_index("size").loc[sizes]
            at = np.arange(len(sizes)) + shift
            intervals(axis, part, at, look, value="value", label=look.label)
        axis.axhline(0, **_ZERO)
        axis.set_xticks(range(len(sizes)), [f"{size} per\nclass" for size in sizes])
        axis.set_xlim(-0.5, len(sizes) - 0.5)
        axis.set(title=title, ylim=(_lowest(table["value"]), 1.03))
    legend_above(fig, axes[0], ncols=4)
    return fig, table.reset_index(drop=True)


def lissa_against_grad_dot(
    estimates: Mapping[int, ScoresByMethod], models: pd.DataFrame, size: int
) -> Drawn:
    """Published influence against grad-dot: one model, every pair, beside both predicted lines; and
    for every model its slope against the predicted one, both over that without curvature.

    Args:
        estimates: Size -> scores `(seed, checkpoint, train, query)` by name.
        models: `tables.lissa_table`.
        size: Of the model that is shown.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.5))
    one = {k: a.isel(seed=0, checkpoint=-1).values.ravel() for k, a in estimates[size].items()}
    at = models[(models["method"] == "if_lissa") & (models["size"] == size)]
    at = at[at["seed"] == 0].sort_values("checkpoint").iloc[-1]
    dot = one["grad_dot"].astype(float)
    published = -at["n_train"] * one["if_lissa"].astype(float)
    look = METHODS["if_lissa"]
    left.plot(dot, published, ".", color=look.colour, ms=2, rasterized=True)
    ends = np.array([dot.min(), dot.max()])
    left.plot(ends, at["flat"] * ends, color=CONTROL, ls=":", lw=1.2, label="no curvature: −c$_T$")
    left.plot(ends, at["predicted"] * ends, color="k", lw=0.9, label="first-order curvature")
    left.set(xlabel="grad-dot", ylabel="published score\n(positive = harmful)")
    left.set_title(f"one model, {size} per class")
    left.legend()
    lissa = models[models["method"] == "if_lissa"]
    ratios = {name: lissa[name] / lissa["flat"] for name in ("slope", "predicted")}
    for points, style in _sizes(lissa).items():
        chosen = lissa["size"] == points
        right.scatter(*(ratios[n][chosen] for n in ("predicted", "slope")), s=9, **style.points)
    least = min(r.min() for r in ratios.values()) - 0.02
    right.plot([least, 1.02], [least, 1.02], **_ZERO)
    right.axhline(1, color=CONTROL, ls=":", lw=1.2)
    right.set(xlabel="predicted slope / −c$_T$", ylabel="slope / −c$_T$", title="every model")
    right.set(xlim=(least, 1.02), ylim=(least, 1.02))
    right.legend()
    pairs = pd.DataFrame({"grad_dot": dot, "published": published})
    return fig, pd.concat([pairs, lissa], ignore_index=True)


def locality(table: pd.DataFrame) -> Drawn:
    """Agreement of estimators with taking away a fraction of a point's weight, a panel a training.

    LiSSA IF lies on grad-dot, so that grad-dot is left out.
    """
    table = table[table["method"] != "grad_dot"]
    cases = table[["size", "training"]].drop_duplicates().itertuples(index=False)
    cases = sorted(cases, key=lambda case: (case.training != "as published", case.size))
    fig, axes = plt.subplots(1, len(cases), figsize=(TEXT_WIDTH, 2.3), sharey=True, squeeze=False)
    methods = list(dict.fromkeys(table["method"]))
    for axis, case in zip(axes[0], cases, strict=True):
        part = table[(table["size"] == case.size) & (table["training"] == case.training)]
        fractions = sorted(part["fraction"].unique())
        for method, shift in zip(methods, side_by_side(len(methods), 0.1)):
            rows = part[part["method"] == method].sort_values("fraction")
            look, at = METHODS[method], np.arange(len(fractions)) + shift
            intervals(axis, rows, at, look, value="r", ls=look.linestyle, label=look.label)
        axis.axhline(0, **_ZERO)
        axis.set_xticks(range(len(fractions)), [f"{100 * f:g} %" for f in fractions])
        axis.set_xlim(-0.4, len(fractions) - 0.6)
        axis.set_title(f"{case.size} per class,\n{case.training}", fontsize=8)
        axis.set_ylim(_lowest(table["r"]), 1.1)
    axes[0, 0].set_ylabel("corrected correlation")
    fig.supxlabel("of the point's weight is taken away (100 % = removal)", fontsize=8)
    legend_above(fig, axes[0, 0], ncols=len(methods))
    return fig, table.reset_index(drop=True)


def laws_side_by_side(
    task: Task,
    points: Sequence[int],
    scores: xr.DataArray,
    pairs: Mapping[str, tuple[int, int]],
) -> Drawn:
    """The two digits of each pair, and the law over seeds by every method.

    `scores`: `(estimator, seed, train, query)` of the training positions `points`; pairs are places
    along its last two axes.

    Scores are divided by the standard deviation of the method's means over all pairs, so that
    methods with different units share an axis.
    """
    methods = [str(name) for name in scores["estimator"].values]
    fig, axes = plt.subplots(
        len(pairs),
        3,
        figsize=(TEXT_WIDTH, 2.1 * len(pairs)),
        width_ratios=(1, 1, 4.5),
        squeeze=False,
    )
    scale = {m: float(scores.sel(estimator=m).mean("seed").std()) for m in methods}
    rows = []
    for row, (name, (k, q)) in zip(axes, pairs.items(), strict=True):
        for axis, part, position in ((row[0], "train", points[k]), (row[1], "query", q)):
            show_image(axis, getattr(task, f"{part}_x")[position])
            axis.set_title(f"{part} {getattr(task, f'{part}_id')[position]}", fontsize=7)
        for at, method in enumerate(methods):
            values = scores.sel(estimator=method).isel(train=k, query=q).values / scale[method]
            style = METHODS[method]
            spread = at + np.linspace(-0.25, 0.25, len(values))
            row[2].plot(values, spread, style.marker, color=style.colour, ms=2.5, alpha=0.8)
            row[2].plot([values.mean()] * 2, [at - 0.4, at + 0.4], color=style.colour, lw=1.6)
            key = {"pair": name, "train_id": task.train_id[points[k]], "query_id": task.query_id[q]}
            rows += [key | {"method": method, "seed": s, "scaled": v} for s, v in enumerate(values)]
        row[2].axvline(0, color="0.6", lw=0.8, zorder=0)
        named_rows(row[2], [METHODS[m].label for m in methods], fontsize=6)
        row[2].set_title(name)
    axes[-1][2].set_xlabel("score / spread of the method's means")
    return fig, pd.DataFrame(rows)
