"""The answer of notebook 07, made out of the evidence, and names that readers see."""

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, REFUTED
from dtda_lib.study.evidence import Evidence
from dtda_lib.study.wording import measured

from .chains import ESTIMATORS, KINDS

_NOTEBOOK = "07_cold_posterior_transport"
_VALUES = {
    "chain": KINDS,
    "estimator": ESTIMATORS,
    "field": ESTIMATORS | {"half": "half the slope of influence"},
}
_HEADERS = {
    **{"w2_nothing": "W2, not moved", "w2_moved": "W2, moved"},
    **{"f_nothing": "F, not moved", "f_moved": "F, moved"},
    **{"before": "mass before", "after": "mass after", "moved": "mass moved"},
    **{"z_mean": "z of mean", "z_variance": "z of variance", "boltzmann_sd": "Boltzmann sd"},
    **{"exact_mean": "exact mean", "exact_sd": "exact sd"},
    **{"mean_low": "mean, low", "mean_high": "mean, high"},
    **{"variance_low": "variance, low", "variance_high": "variance, high"},
    **{"first_order": "first order", "nothing": "not moved"},
}


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A table with the names that readers see in the place of keys."""
    return table.replace(_VALUES).rename(columns=_HEADERS)


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the cold limit, how small is small, basins, the spread, and unrolling."""
    drawn = evidence.table(_NOTEBOOK, "sampled").set_index(["what", "name"])["y"]
    fields = evidence.table(_NOTEBOOK, "rivals").pivot(index="eps", columns="field", values="f")
    best = {evidence[name].verdict for name in ("C5", "C5-best")} == {CONFIRMED}
    misses = evidence["T12-spread-if_sample"].verdict == REFUTED
    unrolled = evidence["T12-spread-unrolling"]
    return [
        f"{'No other map that was tried beats' if best else 'Other maps may beat'} moving each "
        "sample by its influence function, once the law is cold and the removal small.",
        f"The best multiple of the influence function is then within {evidence['C5'].number()} of "
        f"1; {_larger(fields)}.",
        "Where the point's loss differs between two basins, the map moves "
        f"{evidence['T11-basins'].number('%')} of the mass that should change its basin.",
        f"The change of spread {'is missed' if misses else 'is not shown to be missed'}: influence "
        f"at each sample predicts {measured(drawn['langevin', 'if_sample'])} times the true change "
        "of variance for Langevin samples of a quadratic loss, small steps, and "
        f"{measured(drawn['sgd', 'if_sample'])} times with the noise of batches alone.",
        f"Unrolling the run {_unrolling(unrolled.verdict)}: {unrolled.number()} times the true "
        "change in the worst of four kinds of noise.",
    ]


def _larger(fields: pd.DataFrame) -> str:
    """Which rival wins at the largest removal (`fields`: F over eps^2 by eps and field)."""
    eps = fields.index.max()
    rival = fields.loc[eps].idxmin()
    if rival == "influence":
        return f"no rival is better at ε = {eps:g} either"
    return f"for the large removal ε = {eps:g}, {rival.removesuffix(' r')} times it is still better"


def _unrolling(verdict: str) -> str:
    return "gets it right" if verdict == CONFIRMED else "is not shown to get it right"
