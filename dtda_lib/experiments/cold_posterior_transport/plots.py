"""Drawing for notebook 07: each function returns the figure and exactly what it shows."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from dtda_lib.study.figures import (
    Drawn,
    intervals,
    legend_above,
    named_rows,
    panels,
    side_by_side,
)
from dtda_lib.study.methods import LAWS, METHODS, PALETTE, palette

from .chains import CHAIN_KINDS, QUERY, SPREAD_ESTIMATORS, Sampled, chains, law_of
from .maps import CASES, COLD

MOVED = replace(METHODS["if_hessian"], label="moved by the influence function", linestyle=":")
_STYLES = {"before": LAWS["before"], "after": LAWS["after"], "moved": MOVED}
_SHADES = PALETTE[:4]
_FIELDS = {
    "0.9 r": "0.9 × influence",
    "1.1 r": "1.1 × influence",
    "gradient": "best gradient step",
    "one curvature": "one mean curvature",
    "damped": "damped inverse",
    "nothing": "no change",
}
_ESTIMATORS = palette({"if_minimum": SPREAD_ESTIMATORS["if_minimum"]}) | {
    "if_sample": replace(METHODS["if_hessian"], label=SPREAD_ESTIMATORS["if_sample"]),
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


def divergence_curves(by_eps: pd.DataFrame, by_beta: pd.DataFrame) -> Drawn:
    """F over eps^2 against the scale c. Left: at zero temperature. Right: at several betas."""
    fig, ((left, right),) = panels(1, 2, 2.5, sharey=True)
    for shade, (eps, part) in zip(_SHADES, by_eps.groupby("eps", sort=False)):
        left.plot(part["c"], part["f"], color=shade, label=f"ε = {eps:g}")
    left.plot(part["c"], part["leading"], "k:", lw=1, label="ε → 0, parabola")
    titles = {left: "temperature 0", right: f"ε = {by_beta['eps'].iloc[0]:g}"}
    for shade, (beta, part) in zip(_SHADES, by_beta.groupby("beta", sort=False)):
        right.plot(part["c"], part["f"], color=shade, label=_beta(beta))
    for axis, title in titles.items():
        axis.axvline(1, color="0.7", lw=0.8, zorder=0)
        axis.set(xlabel="scale c of the influence function")
        axis.set_ylim(0, 1.05 * float(by_eps["f"].max()))
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=7)
        axis.annotate(title, (0.05, 0.97), xycoords="axes fraction", va="top", fontsize=8)
    left.set_ylabel("F / ε²")
    both = [by_eps.assign(panel="eps"), by_beta.assign(panel="beta")]
    return fig, pd.concat(both, ignore_index=True)


def manifolds(rivals: pd.DataFrame, tilted: pd.DataFrame) -> Drawn:
    """Left: how much more of F each field leaves than the pseudo-inverse influence on manifolds of
    minima; right: the floor where A4 fails."""
    fig, ((left, right),) = panels(1, 2, 2.9, width_ratios=(1.25, 1))
    last = rivals[rivals["eps"] == rivals["eps"].min()]
    cases, fields = list(dict.fromkeys(last["case"])), list(_FIELDS)
    rows = []
    for offset, case, style in zip(side_by_side(3, 0.2), cases, palette(cases).values()):
        part = last[last["case"] == case].set_index("field")[["f", "limit"]]
        excess = (part - part.loc["influence"]) / part.loc["nothing"]
        at = np.arange(len(fields)) + offset
        here = excess.loc[fields]
        left.plot(here["f"], at, style.marker, color=style.colour, label=case, zorder=3)
        left.plot(here["limit"], at, "|", color="k", ms=7, zorder=2)
        rows.append(here.reset_index().assign(case=case))
    named_rows(left, list(_FIELDS.values()))
    left.set(xscale="log", xlabel="excess F / F of no change")
    left.set_title("the point's loss is alike at all minima", fontsize=8)
    legend_above(fig, left, ncols=3)
    for name, label, shade in (
        ("nothing", "no change", METHODS["null"].colour),
        ("best", "best scale", MOVED.colour),
    ):
        right.plot(tilted["eps"], tilted[name] / tilted["eps"], "o", color=shade, label=label)
    right.axhline(float(tilted["floor"].iloc[0] / tilted["eps"].iloc[0]), color="k", ls=":", lw=1)
    right.set(xscale="log", xlabel="ε", ylabel="F / ε")
    right.set_title("it differs along a ring", fontsize=8)
    right.set_ylim(0, 1.1 * float((tilted["nothing"] / tilted["eps"]).max()))
    right.legend(loc="lower left")
    return fig, pd.concat([*rows, tilted.assign(case="tilted ring")], ignore_index=True)


def floor(table: pd.DataFrame, fields: pd.DataFrame) -> Drawn:
    """Left: F at the best scale against eps, per beta. Right: the field that moves mass exactly."""
    fig, ((left, right),) = panels(1, 2, 2.9)
    for shade, marker, (beta, part) in zip(_SHADES, "osv^", table.groupby("beta", sort=True)):
        left.plot(part["eps"], part["best"], marker, color=shade, label=_beta(beta))
        left.plot(part["eps"], part["predicted"], ":", color=shade, lw=1)
    left.plot([], [], "k:", lw=1, label="floor, derived")
    left.set(xscale="log", yscale="log", xlabel="ε", ylabel="least F over c (loss units)")
    left.legend(loc="upper left")
    shades = (_SHADES[0], _SHADES[2], _SHADES[3], _SHADES[1])  # the influence function is red
    for shade, (beta, part) in zip(shades, fields.groupby("beta", sort=True)):
        if beta == COLD:
            right.plot(
                part["theta"], part["r"].abs(), color=MOVED.colour, label="influence function"
            )
        else:
            right.plot(
                part["theta"], part["r"].abs(), color=shade, ls="--", label=f"exact, β = {beta:g}"
            )
    right.set(yscale="log", xlabel="parameter θ", ylabel="size of the field, |r|")
    right.set_ylim(1e-2, 1e5)
    right.legend(loc="upper left", fontsize=6, ncols=2)
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
    kinds, beside = list(CHAIN_KINDS), dict(zip(_ESTIMATORS, (0.22, 0, -0.22)))
    places = [beside[row.estimator] - kinds.index(row.chain) for row in responses.itertuples()]
    drawn = responses.assign(at=places)
    for name, style in _ESTIMATORS.items():
        part, look = drawn[drawn["estimator"] == name], {"label": style.label, "capsize": 0}
        intervals(right, part, part["at"], style, value="variance", across=True, **look)
    right.axvline(1, color="k", lw=0.8, ls=":", zorder=0)
    right.set_yticks(
        [-row for row in range(len(CHAIN_KINDS))], [_short(k) for k in CHAIN_KINDS.values()]
    )
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
