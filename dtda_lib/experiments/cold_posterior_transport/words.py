"""The answer of notebook 07, made out of the evidence, and names that readers see."""

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, REFUTED
from dtda_lib.study.evidence import Evidence
from dtda_lib.study.wording import measured

from .chains import CHAIN_KINDS, SPREAD_ESTIMATORS

FIGURE = "manifolds"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "07_cold_posterior_transport"
_VALUES = {
    "chain": CHAIN_KINDS,
    "estimator": SPREAD_ESTIMATORS,
}
_HEADERS = {
    "w2_nothing": "W2, not moved",
    "w2_moved": "W2, moved",
    "f_nothing": "F, not moved",
    "f_moved": "F, moved",
    "before": "mass before",
    "after": "mass after",
    "moved": "mass moved",
    "z_mean": "z of mean",
    "z_variance": "z of variance",
    "boltzmann_sd": "Boltzmann sd",
    "exact_mean": "exact mean",
    "exact_sd": "exact sd",
    "mean_low": "mean, low",
    "mean_high": "mean, high",
    "variance_low": "variance, low",
    "variance_high": "variance, high",
    "first_order": "first order",
    "nothing": "not moved",
}


def with_plain_headers(table: pd.DataFrame) -> pd.DataFrame:
    """A table with the names that readers see in the place of keys."""
    return table.replace(_VALUES).rename(columns=_HEADERS)


def scale_words(line: pd.DataFrame, manifolds: pd.DataFrame) -> pd.DataFrame:
    """c* by size of the removal (rows, every other one) and loss (columns), four digits."""
    both = pd.concat([line, manifolds])
    wide = both.pivot(index="eps", columns="case", values="best")[list(dict.fromkeys(both["case"]))]
    return wide.sort_index(ascending=False).rename_axis(index="ε", columns=None).round(4)


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the cold limit, how small is small, basins, the spread, and unrolling."""
    if "C5-degenerate" not in evidence:
        return []
    drawn = evidence.table(_NOTEBOOK, "sampled").set_index(["what", "name"])["y"]
    best = {evidence[name].verdict for name in ("C5-degenerate", "C5-best")} == {CONFIRMED}
    misses = evidence["T12-spread-if_sample"].verdict == REFUTED
    unrolled, tilted = evidence["T12-spread-unrolling"], evidence["T11-manifold"]
    return [
        f"{'No other map that was tried beats' if best else 'Other maps may beat'} moving each "
        "sample by its influence function, once the law is cold and the removal small: in two "
        "wells, and with the pseudo-inverse on a ring and on spheres of minima.",
        "The best multiple of the influence function is then within "
        f"{evidence['C5-degenerate'].number()} of 1 on these, and within "
        f"{evidence['C5-line'].number()} in the wells.",
        "Where the point's loss differs between two basins, the map moves "
        f"{evidence['T11-basins'].number('%')} of the mass that should change its basin; where it "
        f"differs along a manifold of minima, the derived floor remains ({tilted.number()} times).",
        f"The change of spread {'is missed' if misses else 'is not shown to be missed'}: influence "
        f"at each sample predicts {measured(drawn['langevin', 'if_sample'])} times the true change "
        "of variance for Langevin samples of a quadratic loss with small steps, and "
        f"{measured(drawn['sgd', 'if_sample'])} times with the noise of batches alone.",
        f"Unrolling the run {_unrolling(unrolled.verdict)}: {unrolled.number()} times the true "
        "change in the worst of four kinds of noise.",
    ]


def _unrolling(verdict: str) -> str:
    return "gets it right" if verdict == CONFIRMED else "is not shown to get it right"
