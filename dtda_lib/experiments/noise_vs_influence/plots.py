"""Drawing: each function takes tidy results and returns the figure and exactly what it shows.

Nothing is computed here that a text quotes; numbers come from `tables` and `significance`.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dtda_lib.statistics.over_seeds import mean_and_sd
from dtda_lib.statistics.significance import null_snr_tail_cdf
from dtda_lib.study.figures import TEXT_WIDTH, Drawn, intervals, legend_above, side_by_side
from dtda_lib.study.methods import CONTROL, METHODS, TESTS, Style, Table, palette
from dtda_lib.study.wording import measured

from .tables import ALPHA, MATTERS, late_mean

_NULL = {"color": METHODS["null"].colour, "ls": ":", "lw": 1}


def influence_against_noise(
    scores: Mapping[int, xr.DataArray], shares: pd.DataFrame, *, bins: int = 64
) -> Drawn:
    """Density of all pairs over |mean| and standard deviation of the shift, one panel per size.

    Both axes are logarithmic and alike; they hold all but the least half per cent of |mu|, which
    are counted on the panel. Lines: where the published statistic and the t-test reach p = .05,
    with the share of pairs above; below them, the share that the t-test finds at a false discovery
    rate, for which there is no line.

    Args:
        scores: Size -> leave-one-out shifts `(set, seed, checkpoint, train, query)`; a pair counts
            once for each set of seeds.
        shares: `tables.share_table`.
    """
    moments = {size: mean_and_sd(late_mean(array)) for size, array in scores.items()}
    least = min(float(np.quantile(np.abs(mu), 0.005)) for mu, _ in moments.values())
    top = max(float(np.maximum(np.abs(mu), sd).max()) for mu, sd in moments.values())
    edges = np.linspace(np.floor(np.log10(max(least, 1e-12))), np.ceil(np.log10(top)), bins + 1)
    line = 10 ** edges[[0, -1]]
    fig, axes = plt.subplots(
        1, len(scores), figsize=(TEXT_WIDTH, 2.8), sharex=True, sharey=True, squeeze=False
    )
    frames = []
    for axis, (size, (mu, sd)) in zip(axes[0], moments.items(), strict=True):
        n = scores[size].sizes["seed"]
        with np.errstate(divide="ignore"):
            logs = [np.log10(np.abs(values.values).ravel()) for values in (sd, mu)]
        counts, _, _ = np.histogram2d(*logs, bins=(edges, edges))
        share = counts / len(logs[0])
        shown = np.ma.masked_equal(share.T, 0)
        mesh = axis.pcolormesh(10**edges, 10**edges, shown, norm="log", rasterized=True)
        axis.set(xscale="log", yscale="log", xlabel="σ over seeds (nats)", xlim=line, ylim=line)
        axis.set_title(f"{size} per class\n{sd.isel(set=0).size:,} pairs")
        ratios = {
            "code": stats.norm.isf(ALPHA / 2),
            "t": stats.t.isf(ALPHA / 2, n - 1) / np.sqrt(n),
        }
        above = shares[(shares["size"] == size) & (shares["method"] == "loo")]
        above = above.set_index("statistic")["share"]
        for name, ratio in ratios.items():
            style = TESTS[name]
            axis.plot(line, ratio * line, color=style.colour, ls=style.linestyle, lw=1.2)
        told = {"code": "above", "t": "above", "t_fdr": "FDR"}
        for height, (name, words) in zip((0.97, 0.89, 0.81), told.items(), strict=True):
            axis.text(
                0.04,
                height,
                f"{measured(above[name], unit='%')} {words}",
                color=TESTS[name].colour,
                fontsize=7,
                va="top",
                transform=axis.transAxes,
            )
        if beyond := len(logs[0]) - int(counts.sum()):
            lower = f"{measured(beyond / len(logs[0]), unit='%')} lower"
            box = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1}
            axis.text(0.96, 0.03, lower, fontsize=7, ha="right", bbox=box, transform=axis.transAxes)
        left, below = np.meshgrid(edges[:-1], edges[:-1], indexing="ij")
        # Empty bins too: on another CPU a pair may fall into a neighbouring one.
        columns = {
            "log10_sigma_bin": left.ravel(),
            "log10_abs_mu_bin": below.ravel(),
            "share_of_pairs": share.ravel(),
        }
        frames.append(pd.DataFrame({"size": size, **columns}))
    axes[0, 0].set_ylabel("|μ| over seeds (nats)")
    words = {"code": "published p = .05", "t": "t-test p = .05"}
    looks = {words[s]: {"color": TESTS[s].colour, "ls": TESTS[s].linestyle} for s in words}
    legend_above(fig, None, looks, ncols=2)
    fig.colorbar(mesh, ax=axes[0].tolist(), label="share of pairs", pad=0.02)
    return fig, pd.concat(frames, ignore_index=True)


def significant_shares(table: pd.DataFrame) -> Drawn:
    """Share of pairs called significant per statistic; one panel per size, one mark per method.

    Bars: the table's intervals. Grey: 97.5 % point with random signs of whole seeds.
    """
    sizes = sorted(table["size"].unique())
    tests = [t for t in TESTS if t in set(table["statistic"])]
    fig, axes = plt.subplots(1, len(sizes), figsize=(TEXT_WIDTH, 2.5), sharey=True, squeeze=False)
    methods = list(dict.fromkeys(table["method"]))
    for axis, size in zip(axes[0], sizes, strict=True):
        for index, method in enumerate(methods):
            part = table[(table["size"] == size) & (table["method"] == method)]
            part = part.set_index("statistic").loc[tests]
            at = np.arange(len(tests)) + side_by_side(len(methods), 0.22)[index]
            intervals(axis, part, at, METHODS[method], value="share", label=METHODS[method].label)
            axis.plot(at, part["noise_high"], "_", color=METHODS["null"].colour, ms=7, mew=1.5)
        axis.set_xticks(range(len(tests)), [TESTS[t].tick for t in tests])
        axis.set_title(f"{size} per class")
        axis.set_ylim(-0.04, 1.04)
    axes[0, 0].set_ylabel("share of pairs")
    null = {"marker": "_", "color": METHODS["null"].colour, "ms": 7}
    legend_above(fig, axes[0, 0], {"noise only, 97.5 %": null}, ncols=4)
    return fig, table


def _looks(sizes: list[int]) -> Table[Style]:
    """One look for each size of the training set."""
    return palette({size: f"{size} per class" for size in sizes})


def matter_curves(table: pd.DataFrame, *, at_least: int = 100) -> Drawn:
    """Share of pairs that stand out against their |mean shift| and against the query's loss.

    Groups of fewer than `at_least` pairs over all sets are left out. The first and last group of
    each panel are open to their side.
    """
    shown = table[
        (table["n"] >= at_least) & ~((table["from"] == MATTERS) & (table["to"] == np.inf))
    ]
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.5), sharey=True)
    labels = {"influence": "|μ| in the other sets (nats)", "query loss": "loss of the query (nats)"}
    looks = _looks(sorted(table["size"].unique()))
    for axis, (by, label) in zip(axes, labels.items(), strict=True):
        for index, (size, style) in enumerate(looks.items()):
            rows = shown[(shown["by"] == by) & (shown["size"] == size)]
            open_below = rows["from"] == 0
            middle = np.log10(rows["to"].where(open_below, rows["from"])) + 0.5 - open_below
            at = middle + side_by_side(len(looks), 0.08)[index]
            intervals(axis, rows, at, style, value="share", ls=style.linestyle, label=style.label)
        edges = np.log10(sorted(set(table.loc[table["by"] == by, "from"]) - {0}))
        axis.set_xticks(edges, [f"$10^{{{edge:.0f}}}$" for edge in edges])
        axis.set(xlabel=label, ylim=(-0.04, 1.04))
    axes[0].set_ylabel("share that stands out")
    axes[0].axvline(np.log10(MATTERS), **_NULL)
    legend_above(fig, axes[0], ncols=3)
    return fig, shown


def replicated_shares(table: pd.DataFrame) -> Drawn:
    """Share of what stands out in one set of seeds that is found again in another, by size."""
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.4), sharey=True)
    sizes = sorted(table["size"].unique())
    for axis, statistic in zip(axes, ("t_fdr", "code"), strict=True):
        for index, method in enumerate(dict.fromkeys(table["method"])):
            rows = table[(table["statistic"] == statistic) & (table["method"] == method)]
            rows = rows.set_index("size").loc[sizes]
            at = np.arange(len(sizes)) + (index - 1) * 0.22
            intervals(axis, rows, at, METHODS[method], value="share", label=METHODS[method].label)
            axis.plot(at, rows["base_rate"], "_", color=METHODS[method].colour, ms=9, mew=1.5)
            for x in at[~np.isfinite(rows["share"])]:
                axis.annotate("none", (x, 0.02), rotation=90, fontsize=6, ha="center")
        axis.axhline(table.loc[table["statistic"] == statistic, "chance"].iloc[0], **_NULL)
        axis.set_xticks(range(len(sizes)), [f"{size} per class" for size in sizes])
        axis.set_title(TESTS[statistic].label)
        axis.set_ylim(-0.04, 1.04)
    axes[0].set_ylabel("share found again")
    marks = {"all pairs": {"marker": "_", "color": "k", "ms": 9}, "noise only": _NULL}
    legend_above(fig, axes[0], marks, ncols=5)
    return fig, table


def pairing_points(table: pd.DataFrame) -> Drawn:
    """Noise of a shift with and without shared seeds, and their ratio, by size; with intervals."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.3))
    looks = palette({"unpaired": "seeds not shared", "paired": "seeds shared"}, control="unpaired")
    at = np.arange(len(table))
    for name, style in looks.items():
        line = {"ls": style.linestyle, "label": style.label}
        intervals(left, table, at, style, value=name, **line)
    left.set(yscale="log", ylabel="σ over seeds (nats)")
    left.legend(loc="lower left")
    right.vlines(at, table["q10"], table["q90"], color=CONTROL, lw=5, alpha=0.3)
    intervals(right, table, at, looks["paired"], value="ratio")
    for x, (_, row) in zip(at, table.iterrows(), strict=True):
        right.annotate(f"× {row['ratio']:.1f}", (x + 0.08, row["ratio"]), fontsize=8, va="center")
    right.axhline(1, **_NULL)
    right.set(ylabel="σ not shared / σ shared", ylim=(0, None))
    for axis in (left, right):
        axis.set_xticks(at, [f"{size} per class" for size in table["size"]])
        axis.set_xlim(-0.4, len(at) - 0.4)
    return fig, table


def checkpoint_curves(table: pd.DataFrame, within: pd.DataFrame) -> Drawn:
    """Mean published p and relative sigma of leave-one-out against the averaged checkpoints.

    Ticks: sigma of all checkpoints if those of a run were independent.
    """
    part = table[table["method"] == "loo"]
    part = part.assign(p_low=part["p"] + part["change_low"] - part["change"])
    part = part.assign(p_high=part["p"] + part["change_high"] - part["change"])
    expected = within[within["method"] == "loo"].set_index("size")["expected"]
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.4))
    for size, style in _looks(sorted(part["size"].unique())).items():
        rows = part[part["size"] == size]
        for axis, name in zip(axes, ("p", "sigma"), strict=True):
            look = {"value": name, "ls": style.linestyle, "label": style.label}
            intervals(axis, rows, rows["k"], style, **look)
        if size in expected:
            axes[1].plot(rows["k"].max() + 0.3, expected[size], "_", color=style.colour, ms=9)
    axes[0].axhline(part["p_null"].iloc[0], **_NULL)
    axes[0].annotate("noise only", (1, part["p_null"].iloc[0] + 0.02), fontsize=7)
    axes[0].set(ylim=(0, 1), ylabel="mean published p")
    axes[1].axhline(1, **_NULL)
    axes[1].set(ylabel="σ / σ of one checkpoint", ylim=(0, None))
    for axis in axes:
        axis.set_xlabel("late checkpoints averaged, k")
        axis.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
    legend_above(fig, axes[0], ncols=3)
    return fig, part.drop(columns=["p_low", "p_high"])


def null_curves(n_seeds: int) -> Drawn:
    """Exact distribution function of the published p and of the t-test's without any influence."""
    levels = np.concatenate([np.logspace(-3, -1, 21), np.linspace(0.15, 1, 18)])
    curves = {"code": null_snr_tail_cdf(levels, n_seeds), "t": levels}
    fig, axes = plt.subplots(1, 2, figsize=(TEXT_WIDTH, 2.4))
    for axis in axes:
        for name, shares in curves.items():
            style = TESTS[name]
            axis.plot(levels, shares, color=style.colour, ls=style.linestyle, label=style.label)
        axis.axvline(ALPHA, **_NULL)
        axis.set_xlabel("level")
    published = float(null_snr_tail_cdf(ALPHA, n_seeds))
    axes[1].set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-5, 1))
    axes[1].annotate(
        f"{measured(published, unit='%')} at .05", (ALPHA * 1.2, published), fontsize=7, va="center"
    )
    axes[0].set_ylabel("share of p below the level")
    axes[0].legend()
    frames = [
        pd.DataFrame({"statistic": name, "n_seeds": n_seeds, "level": levels, "share": shares})
        for name, shares in curves.items()
    ]
    return fig, pd.concat(frames, ignore_index=True)
