"""Drawing for notebook 07: each function returns the figure and exactly what it shows."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from dtda_lib.study.figures import Drawn, intervals, legend_above, panels, ticks
from dtda_lib.study.methods import LAWS, METHODS, PALETTE, palette

from .chains import ESTIMATORS, KINDS, QUERY, Sampled, chains, law_of
from .maps import CASES, COLD

MOVED = replace(METHODS["if_hessian"], label="moved by the influence function", linestyle=":")
_STYLES = {"before": LAWS["before"], "after": LAWS["after"], "moved": MOVED}
_SHADES = PALETTE[:4]
_FIELDS = palette(
    {
        "nothing": "no change",
        "constant": "best common shift",
        "gradient": "best gradient step",
        "0.9 r": "0.9 × influence",
        "1.1 r": "1.1 × influence",
    },
    control="nothing",
) | {"influence": replace(METHODS["if_hessian"], label="influence function", linestyle="-")}
_ESTIMATORS = palette({"if_minimum": ESTIMATORS["if_minimum"]}) | {
    "if_sample": replace(METHODS["if_hessian"], label=ESTIMATORS["if_sample"]),
    "unrolling": METHODS["unrolling"],
}


def laws(tables: Mapping[str, tuple[pd.DataFrame, float, float]]) -> Drawn:
    """Densities before, after and moved; a panel for each case: its table, eps and beta."""
    fig, (axes,) = panels(1, len(tables), 2.6, sharex=True)
    frames = []
    for axis, (name, (table, eps, beta)) in zip(axes, tables.items()):
        for law, style in _STYLES.items():
            part = table[table["law"] == law]
            look = {"color": style.colour, "ls": style.linestyle, "label": style.label}
            axis.plot(part["theta"], part["density"], **look, zorder=3 if law == "moved" else 2)
        axis.set(xlabel="parameter θ", ylim=(0, None))
        axis.set_title(f"{CASES[name].title}\nε = {eps:g}, β = {beta:g}", fontsize=8)
        frames.append(table.assign(case=name, eps=eps, beta=beta))
    axes[0].set_ylabel("density")
    legend_above(fig, axes[0], ncols=3)
    return fig, pd.concat(frames, ignore_index=True)


def curves(by_eps: pd.DataFrame, by_beta: pd.DataFrame) -> Drawn:
    """F over eps^2 against the scale c. Left: at zero temperature. Right: at several betas."""
    fig, ((left, right),) = panels(1, 2, 2.5, sharey=True)
    for shade, (eps, part) in zip(_SHADES, by_eps.groupby("eps", sort=False)):
        left.plot(part["c"], part["f"], color=shade, label=f"ε = {eps:g}")
    left.plot(part["c"], part["leading"], "k:", lw=1, label="ε → 0, parabola")
    left.set_title("temperature 0")
    for shade, (beta, part) in zip(_SHADES, by_beta.groupby("beta", sort=False)):
        right.plot(part["c"], part["f"], color=shade, label=_beta(beta))
    right.set_title(f"ε = {by_beta['eps'].iloc[0]:g}")
    for axis in (left, right):
        axis.axvline(1, color="0.7", lw=0.8, zorder=0)
        axis.set(xlabel="scale c of the influence function", ylim=(0, None))
        plain = {"facecolor": "white", "edgecolor": "none", "framealpha": 1}
        axis.legend(loc="upper center", frameon=True, **plain)
    left.set_ylabel("F / ε²")
    both = [by_eps.assign(panel="eps"), by_beta.assign(panel="beta")]
    return fig, pd.concat(both, ignore_index=True)


def best_scales(scales: pd.DataFrame, cold: pd.DataFrame) -> Drawn:
    """|c* - 1| against eps at zero temperature, and against beta in the limit of small eps."""
    fig, ((left, right),) = panels(1, 2, 2.9, sharey=True)
    names = list(dict.fromkeys(scales["case"]))
    for name, marker, shade in zip(names, "os", (_SHADES[1], _SHADES[3])):
        part = scales[scales["case"] == name]
        left.plot(part["eps"], abs(part["offset"]), marker, color=shade, label=f"{name} wells")
        left.plot(part["eps"], abs(part["predicted"] - 1), ":", color=shade, lw=1)
        for kind, line in {"flat": "-", "local": "--"}.items():
            curve = cold[(cold["case"] == name) & (cold["field"] == kind)]
            look = {"ls": line, "color": shade, "mfc": shade if kind == "flat" else "white"}
            label = f"{name}, {kind} continuation"
            right.plot(curve["beta"], abs(curve["offset"]), marker, lw=0.8, label=label, **look)
    left.plot([], [], "k:", lw=1, label="first order, derived")
    left.set(xscale="log", yscale="log", xlabel="ε", ylabel="|c* − 1|")
    left.set_title("temperature 0")
    right.set(xscale="log", xlabel="inverse temperature β")
    right.set_title("ε → 0")
    left.legend(loc="upper left")
    right.legend(loc="lower left", fontsize=6)
    both = [scales.assign(panel="eps"), cold.assign(panel="beta")]
    return fig, pd.concat(both, ignore_index=True)


def rivals(table: pd.DataFrame) -> Drawn:
    """F over eps^2 against eps of the influence function and other fields; dots: derived limits."""
    fig, ((axis,),) = panels(1, 1, 2.6)
    for name, style in _FIELDS.items():
        part = table[table["field"] == name]
        axis.plot(part["eps"], part["f"], **style.line)
        axis.plot(part["eps"].min() / 1.6, part["limit"].iloc[0], ".", color=style.colour, ms=5)
    axis.set(xscale="log", yscale="log", xlabel="ε", ylabel="F / ε²")
    axis.set_ylim(0.045, 0.32)
    ticks(axis.yaxis, (0.05, 0.07, 0.1, 0.15, 0.2, 0.3))
    fig.legend(loc="outside right center")
    return fig, table


def floor(table: pd.DataFrame, fields: pd.DataFrame) -> Drawn:
    """Left: F at the best scale against eps, per beta. Right: the field that moves mass exactly."""
    fig, ((left, right),) = panels(1, 2, 2.9)
    for shade, marker, (beta, part) in zip(_SHADES, "osv^", table.groupby("beta", sort=True)):
        left.plot(part["eps"], part["best"], marker, color=shade, label=_beta(beta))
        left.plot(part["eps"], part["predicted"], ":", color=shade, lw=1)
    left.plot([], [], "k:", lw=1, label="floor, derived")
    left.set(xscale="log", yscale="log", xlabel="ε", ylabel="least F over c (loss units)")
    left.legend(loc="upper left")
    for shade, (beta, part) in zip(_SHADES, fields.groupby("beta", sort=True)):
        if beta == COLD:
            right.plot(part["theta"], part["r"], color=MOVED.colour, label="influence function")
        else:
            right.plot(part["theta"], part["r"], color=shade, ls="--", label=f"exact, β = {beta:g}")
    right.set_yscale("symlog", linthresh=1)
    right.set(xlabel="parameter θ", ylabel="field r")
    right.set_ylim(-3e4, 3)
    right.set_yticks([-1e4, -1e3, -100, -10, -1, 0, 1])
    right.legend(loc="lower center", fontsize=6, ncols=2)
    both = [table.assign(panel="floor"), fields.assign(panel="field")]
    return fig, pd.concat(both, ignore_index=True)


def sampled_laws(sampled: Sampled, responses: pd.DataFrame, kind: str = "langevin") -> Drawn:
    """Left: the sampled law of the prediction. Right: predicted over true slope of its variance."""
    fig, ((left, right),) = panels(1, 2, 3, width_ratios=(1, 1.15))
    made, point = chains()
    chain = made[kind]
    eps = 1 / chain.n_train
    exact = {"before": law_of(chain), "after": law_of(chain.down_weighted(point, eps))}
    theta = sampled[kind]["before"][0]
    samples = {
        "before": theta @ QUERY,
        "after": sampled[kind]["after"][0] @ QUERY,
        "moved": (theta + eps * chain.influence(point, theta)) @ QUERY,
    }
    ends = [mean + side * 4 * sd for mean, sd in exact.values() for side in (-1, 1)]
    grid, edges = np.linspace(min(ends), max(ends), 121), np.linspace(min(ends), max(ends), 41)
    rows = []
    for name, sample in samples.items():
        style = _STYLES[name]
        height, _ = np.histogram(sample, edges, density=True)
        if name in exact:
            left.stairs(height, edges, fill=True, color=style.colour, alpha=0.25)
            density = stats.norm.pdf(grid, *exact[name])
            left.plot(grid, density, style.linestyle, color=style.colour, label=style.label)
            rows += [("density", name, at, y, np.nan, np.nan) for at, y in zip(grid, density)]
        else:
            left.stairs(height, edges, color=style.colour, lw=1, label="moved by influence")
        rows += [("histogram", name, at, y, np.nan, np.nan) for at, y in zip(edges, height)]
    left.set(xlabel="prediction at the query", ylabel="density over chains")
    left.set_ylim(0, 1.5 * left.get_ylim()[1])
    left.legend(loc="upper left")
    kinds, beside = list(KINDS), dict(zip(_ESTIMATORS, (0.22, 0, -0.22)))
    places = [beside[row.estimator] - kinds.index(row.chain) for row in responses.itertuples()]
    drawn = responses.assign(at=places)
    for name, style in _ESTIMATORS.items():
        part, look = drawn[drawn["estimator"] == name], {"label": style.label, "capsize": 0}
        intervals(right, part, part["at"], style, value="variance", across=True, **look)
    right.axvline(1, color="k", lw=0.8, ls=":", zorder=0)
    right.set_yticks([-row for row in range(len(KINDS))], [_short(k) for k in KINDS.values()])
    right.set_xlabel("predicted / true change of variance")
    right.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=1)
    columns = ["chain", "estimator", "at", "variance", "variance_low", "variance_high"]
    rows += drawn[columns].itertuples(index=False, name=None)
    return fig, pd.DataFrame(rows, columns=["what", "name", "x", "y", "low", "high"])


def _beta(beta: float) -> str:
    return "β = ∞" if np.isinf(beta) else f"β = {beta:g}"


def _short(text: str) -> str:
    """The first words, on two lines."""
    head, _, tail = text.partition(", ")
    return f"{head}\n{tail.partition(',')[0]}"
