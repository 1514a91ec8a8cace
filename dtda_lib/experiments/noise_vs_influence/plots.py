"""Drawing: each function takes tidy results and returns the figure and exactly what it shows.

Nothing is computed here that a text quotes; numbers come from `noise` and `significance`.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from scipy import stats

from dtda_lib.data.task import Task
from dtda_lib.statistics.over_seeds import mean_and_sd
from dtda_lib.study.figures import TEXT_WIDTH, Drawn
from dtda_lib.study.methods import METHODS, TESTS, Style, palette

from .tables import ALPHA, late_mean

_SEEDS = palette({"first": "first seeds", "second": "second seeds"}, control="first")


def influence_against_noise(
    scores: Mapping[int, xr.DataArray], *, bins: int = 60, decades: float = 3.5
) -> Drawn:
    """Density of all pairs over |mean| and standard deviation of the shift, one panel per size.

    Both axes are logarithmic; pairs further than `decades` below the largest value are counted in
    the outermost bins. Lines: where the published statistic and the t-test reach p = .05.
    """
    moments = {size: mean_and_sd(late_mean(array)) for size, array in scores.items()}
    top = max(max(np.abs(mu).max(), sd.max()) for mu, sd in moments.values())
    high = np.ceil(np.log10(float(top)) * 4) / 4
    edges = np.linspace(high - decades, high, bins + 1)
    fig, axes = plt.subplots(
        1, len(scores), figsize=(TEXT_WIDTH, 2.8), sharex=True, sharey=True, squeeze=False
    )
    frames = []
    for axis, (size, (mu, sd)) in zip(axes[0], moments.items(), strict=True):
        n = scores[size].sizes["seed"]
        log_sd, log_mu = (
            np.clip(np.log10(np.maximum(np.abs(v.values).ravel(), 1e-300)), edges[0], edges[-1])
            for v in (sd, mu)
        )
        counts, _, _ = np.histogram2d(log_sd, log_mu, bins=(edges, edges))
        share = counts / counts.sum()
        shown = np.ma.masked_equal(share.T, 0)
        mesh = axis.pcolormesh(10**edges, 10**edges, shown, norm="log", rasterized=True)
        axis.set(xscale="log", yscale="log", xlabel="σ over seeds (nats)")
        axis.set_title(f"{size} per class\n{int(counts.sum()):,} pairs")
        line = np.array([10 ** edges[0], 10 ** edges[-1]])
        thresholds = {
            "code": stats.norm.isf(ALPHA / 2),
            "t": stats.t.isf(ALPHA / 2, n - 1) / np.sqrt(n),
        }
        for name, ratio in thresholds.items():
            style = TESTS[name]
            axis.plot(line, ratio * line, color=style.colour, ls=style.linestyle, lw=1.2)
        axis.set(xlim=line, ylim=line)
        left, below = np.meshgrid(edges[:-1], edges[:-1], indexing="ij")
        # Empty bins too: on another CPU a pair may fall into a neighbouring one.
        columns = {
            "log10_sigma_bin": left.ravel(),
            "log10_abs_mu_bin": below.ravel(),
            "share_of_pairs": share.ravel(),
        }
        frames.append(pd.DataFrame({"size": size, **columns}))
    axes[0, 0].set_ylabel("|μ| over seeds (nats)")
    handles = [
        plt.Line2D([], [], color=TESTS[s].colour, ls=TESTS[s].linestyle, label=text)
        for s, text in (("code", "published p = .05"), ("t", "t-test p = .05"))
    ]
    fig.legend(handles=handles, loc="outside upper center", ncols=2)
    fig.colorbar(mesh, ax=axes[0].tolist(), label="share of pairs", pad=0.02)
    return fig, pd.concat(frames, ignore_index=True)


def significant_shares(table: pd.DataFrame) -> Drawn:
    """Share of pairs called significant per statistic; one panel per size, one mark per method.

    Bars: jackknife over seeds. Grey: 97.5 % point with random signs of whole seeds.
    """
    sizes = sorted(table["size"].unique())
    tests = [t for t in TESTS if t in set(table["statistic"])]
    fig, axes = plt.subplots(1, len(sizes), figsize=(TEXT_WIDTH, 2.5), sharey=True, squeeze=False)
    methods = list(dict.fromkeys(table["method"]))
    for axis, size in zip(axes[0], sizes, strict=True):
        for index, method in enumerate(methods):
            part = table[(table["size"] == size) & (table["method"] == method)]
            part = part.set_index("statistic").loc[tests]
            at = np.arange(len(tests)) + (index - (len(methods) - 1) / 2) * 0.22
            _interval_points(axis, at, part, METHODS[method])
            axis.plot(at, part["noise_high"], "_", color=METHODS["null"].colour, ms=7, mew=1.5)
        axis.set_xticks(range(len(tests)), [TESTS[t].tick for t in tests])
        axis.set_title(f"{size} per class")
        axis.set_ylim(-0.02, 1.02)
    axes[0, 0].set_ylabel("share of pairs, p < .05")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    handles.append(plt.Line2D([], [], marker="_", ls="", color=METHODS["null"].colour, ms=7))
    fig.legend(handles, [*labels, "noise only, 97.5 %"], loc="outside upper center", ncols=4)
    return fig, table


def _interval_points(axis: Axes, at: np.ndarray, part: pd.DataFrame, style: Style) -> None:
    low = (part["share"] - part["low"]).clip(lower=0)
    high = (part["high"] - part["share"]).clip(lower=0)
    axis.errorbar(
        at,
        part["share"],
        yerr=[low, high],
        fmt=style.marker,
        color=style.colour,
        label=style.label,
        lw=1,
    )


def replicated_shares(table: pd.DataFrame) -> Drawn:
    """Share of first-set discoveries found again by second seeds, beside the two base lines."""
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.3), sharey=True)
    methods = list(dict.fromkeys(table["method"]))
    sizes = sorted(table["size"].unique())
    titles = {"t": "discoveries of the t-test (FDR 5 %)", "code": "of the published statistic"}
    for axis, statistic in zip(axes, ("t", "code"), strict=True):
        for index, method in enumerate(methods):
            part = table[(table["statistic"] == statistic) & (table["method"] == method)]
            part = part.set_index("size").loc[sizes]
            at = np.arange(len(sizes)) + (index - (len(methods) - 1) / 2) * 0.22
            _interval_points(axis, at, part, METHODS[method])
            axis.plot(at, part["base_rate"], "_", color=METHODS[method].colour, ms=9, mew=1.5)
            discoveries = (part["first"] * part["n_pairs"]).round().astype(int)
            for x, share, count in zip(at, part["share"], discoveries, strict=True):
                if not np.isfinite(share):
                    axis.annotate("none", (x, 0.02), rotation=90, fontsize=6, ha="center")
                elif count < 50:
                    axis.annotate(f"n = {count}", (x, share), fontsize=6, ha="center")
        axis.axhline(ALPHA / 2, color=METHODS["null"].colour, ls=":", lw=1)
        axis.set_xticks(range(len(sizes)), [f"{size} per class" for size in sizes])
        axis.set_title(titles[statistic])
        axis.set_ylim(-0.02, 1.05)
    axes[0].set_ylabel("share found again")
    handles, labels = axes[0].get_legend_handles_labels()
    handles.append(plt.Line2D([], [], marker="_", ls="", color="k", ms=9))
    handles.append(plt.Line2D([], [], color=METHODS["null"].colour, ls=":"))
    fig.legend(handles, [*labels, "all pairs", "chance"], loc="outside upper center", ncols=5)
    return fig, table


def pair_panels(
    task: Task, scores: xr.DataArray, second: xr.DataArray, pairs: Mapping[str, tuple[int, int]]
) -> Drawn:
    """The two digits of each pair beside the distribution of the shift over seeds.

    Small marks: single checkpoints; large: their mean per seed; bar: mean and t interval of it.
    """
    fig, axes = plt.subplots(
        len(pairs),
        3,
        figsize=(TEXT_WIDTH, 1.25 * len(pairs) + 0.3),
        width_ratios=(1, 1, 4.2),
        squeeze=False,
    )
    rows = []
    for row, (name, (k, q)) in zip(axes, pairs.items(), strict=True):
        for axis, part, position in ((row[0], "train", k), (row[1], "query", q)):
            axis.imshow(
                getattr(task, f"{part}_x")[position, 0].numpy(), cmap="gray_r", vmin=0, vmax=1
            )
            axis.axis("off")
            axis.set_title(f"{part} {getattr(task, f'{part}_id')[position]}", fontsize=7)
        for level, (part, array) in enumerate((("first", scores), ("second", second))):
            pair = array.isel(train=k, query=q)
            _seed_strip(row[2], pair, level, _SEEDS[part].colour)
            for seed in range(pair.sizes["seed"]):
                for checkpoint in pair["checkpoint"].values:
                    shift = float(pair.isel(seed=seed).sel(checkpoint=checkpoint))
                    rows.append(
                        {
                            "pair": name,
                            "train_id": task.train_id[k],
                            "query_id": task.query_id[q],
                            "seeds": part,
                            "seed": seed,
                            "checkpoint": checkpoint,
                            "shift": shift,
                        }
                    )
        row[2].axvline(0, color="0.6", lw=0.8, zorder=0)
        row[2].set_yticks([0, 1], [style.label for style in _SEEDS.values()])
        row[2].set_ylim(1.6, -0.6)
        row[2].set_title(name)
    axes[-1][2].set_xlabel("shift of the query loss upon removal (nats)")
    return fig, pd.DataFrame(rows)


def _seed_strip(axis: Axes, pair: xr.DataArray, level: int, colour: str) -> None:
    late = pair.mean("checkpoint").values.astype(float)  # (seed,)
    spread = np.linspace(-0.28, 0.28, len(late))
    for offset, seed in zip(spread, pair.transpose("seed", "checkpoint").values, strict=True):
        axis.plot(seed, np.full(len(seed), level + offset), ".", color=colour, alpha=0.3, ms=2)
    axis.plot(late, level + spread, "o", color=colour, ms=3)
    half = stats.t.ppf(0.975, len(late) - 1) * late.std(ddof=1) / np.sqrt(len(late))
    axis.errorbar(
        late.mean(), level + 0.42, xerr=half, fmt="|", color=colour, ms=6, mew=1.5, capsize=2
    )


def checkpoint_curves(table: pd.DataFrame, size: int) -> Drawn:
    """Mean p, relative sigma and relative |mu| against the number of averaged checkpoints."""
    part = table[table["size"] == size]
    fig, axes = plt.subplots(1, 3, figsize=(TEXT_WIDTH, 2.3))
    panels = {
        "mean_p_code": "mean published p",
        "sigma_ratio": "σ relative to k = 1",
        "abs_mu_ratio": "|μ| relative to k = 1",
    }
    shown = ["size", "method", "k"]
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        for method, rows in part.groupby("method", sort=False):
            axis.errorbar(
                rows["k"],
                rows[name],
                yerr=[
                    (rows[name] - rows[f"{name}_low"]).clip(lower=0),
                    (rows[f"{name}_high"] - rows[name]).clip(lower=0),
                ],
                **METHODS[method].line,
            )
        axis.set_xlabel("late checkpoints k")
        axis.set_title(label)
        axis.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
        shown += [name, f"{name}_low", f"{name}_high"]
    axes[0].axhline(part["mean_p_code_null"].iloc[0], color=METHODS["null"].colour, ls=":")
    axes[0].set_ylim(0, 1)
    handles, labels = axes[0].get_legend_handles_labels()
    handles.append(plt.Line2D([], [], color=METHODS["null"].colour, ls=":"))
    fig.legend(handles, [*labels, "noise only"], loc="outside upper center", ncols=4)
    return fig, part[[*shown, "mean_p_code_null"]]


def null_curves(p_values: Mapping[str, np.ndarray], n: int) -> Drawn:
    """Distribution function of each statistic's p when there is no influence, n seeds."""
    levels = np.concatenate([np.logspace(-3, -1, 21), np.linspace(0.15, 1, 18)])
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.4))
    rows = []
    for name, values in p_values.items():
        share = np.array([(values <= level).mean() for level in levels])
        for axis in axes:
            style = TESTS[name]
            axis.plot(levels, share, color=style.colour, ls=style.linestyle, label=style.label)
        rows += [
            {"statistic": name, "n_seeds": n, "level": level, "share": s}
            for level, s in zip(levels, share, strict=True)
        ]
    for axis in axes:
        axis.plot([1e-3, 1], [1e-3, 1], color=METHODS["null"].colour, lw=0.8, label="calibrated")
        axis.set_xlabel("level")
    axes[1].set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-4, 1))
    axes[0].set_ylabel("share of p below the level")
    axes[0].legend()
    return fig, pd.DataFrame(rows)
