"""Components and levels of the noise of influence, as tidy tables.

Scores are arrays `(seed, train, query)` of the same pairs in every setting; see `banks`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special

from dtda_lib.experiments.noise_vs_influence.tables import jackknife, shares
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.agreement import PAIR
from dtda_lib.statistics.over_seeds import mean_and_sd
from dtda_lib.statistics.variance import (
    COMPONENTS,
    crossed,
    init_minus_order,
    variance_shares,
)
from dtda_lib.study.methods import METHODS
from dtda_lib.study.tables import numbers

COMPONENT_WORDS = {
    "init": "initialisation",
    "order": "batch order",
    "init x order": "interaction",
}
LEVELS = {"sigma": "noise σ", "abs_mu": "influence |μ|", "snr": "|μ|/σ"}
SHARES = ("code", "t_fdr")
WEIGHTINGS = ("pooled", "equal")


# ---------------------------------------------------------------- initialisation against order


def component_table(
    scores: Mapping[tuple[int, str], xr.DataArray], n_init: int | Mapping[int, int]
) -> pd.DataFrame:
    """Share of the variance of training that each source makes up, by method.

    Args:
        scores: By (size, method): `(seed, train, query)`, seeds laid out by `crossed_seeds`.
        n_init: Number of initialisations, or that of each size.

    Returns:
        Columns `size, method, weighting, quantity, estimate, low, high`. Weighting "pooled" sums
        variances over pairs, so loud pairs weigh most; "equal" first divides each pair's scores by
        their standard deviation over all runs. Quantities: the three components of
        `variance.COMPONENTS` as shares, "init - order" (their difference), "init / order" (their
        ratio; infinite where order cannot be told from 0) and "signal" (mu^2 over the variance of
        one run). Intervals as in `variance.variance_shares`.
    """
    rows = []
    for (size, method), array in scores.items():
        n = n_init if isinstance(n_init, int) else n_init[size]
        for weighting in WEIGHTINGS:
            runs = crossed(array if weighting == "pooled" else _equal(array), n)
            about = {"size": size, "method": method, "weighting": weighting}
            rows += [about | row for row in _component_rows(runs)]
    return pd.DataFrame(rows)


def component_summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each method and size of `component_table`, pooled over pairs, for display.

    Shares of the three components, and the interval of initialisation - batch order.
    """
    rows = []
    for (size, method), part in table[table["weighting"] == "pooled"].groupby(
        ["size", "method"], sort=False
    ):
        found = part.set_index("quantity")
        difference = found.loc["init - order"]
        row = {"method": METHODS[method].label, "per class": size}
        row |= {words: found.loc[name, "estimate"] for name, words in COMPONENT_WORDS.items()}
        row |= {"initialisation - order": difference["estimate"]}
        rows.append(row | {"low": difference["low"], "high": difference["high"]})
    return pd.DataFrame(rows)


def _component_rows(runs: xr.DataArray) -> list[dict[str, object]]:
    shares_of, against = variance_shares(runs, over=PAIR), init_minus_order(runs, over=PAIR)
    rows = [_row(name, shares_of.sel(component=name)) for name in COMPONENTS]
    for quantity, name in (("init - order", "difference"), ("init / order", "ratio")):
        rows.append(_row(quantity, against.sel(comparison=name)))
    renamed = {"signal": "estimate", "signal_low": "low", "signal_high": "high"}
    return [*rows, _row("signal", shares_of[list(renamed)].rename(renamed))]


def _row(quantity: str, found: xr.Dataset) -> dict[str, object]:
    return {"quantity": quantity} | numbers(found)


def _equal(scores: xr.DataArray) -> xr.DataArray:
    """Scores in units of each pair's standard deviation; pairs that never vary become 0."""
    _, sigma = mean_and_sd(scores)
    return (scores / sigma.where(sigma > 0)).fillna(0.0)


# ---------------------------------------------------------------- levels of noise and their change


def level_table(scores: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """Noise, influence and their ratio in each setting.

    Args:
        scores: By setting: `(seed, train, query)`, the same pairs and seeds in each.

    Returns:
        Columns `setting, quantity, estimate, low, high, n_pairs, n_seeds`. Quantities: "sigma" and
        "abs_mu" (nats, or the scores' unit) and "snr" = |mu| / sigma, geometric means over pairs
        (pairs of no noise or no mean at all are left out), with intervals made on the logarithm;
        "code" and "t_fdr", shares of significant pairs as in `noise.shares`, cut to 0..1. All are
        95 % jackknife intervals over seeds, NaN with two seeds.
    """
    rows = []
    for setting, array in scores.items():
        about = {"n_pairs": array[0].size, "n_seeds": array.sizes["seed"]}
        levels = np.exp(jackknife(array, log_levels))
        found = jackknife(array, shares).clip(0, 1)
        parts = [(q, levels.sel(quantity=q)) for q in LEVELS]
        parts += [(s, found.sel(statistic=s)) for s in SHARES]
        rows += [{"setting": setting} | _row(name, part) | about for name, part in parts]
    return pd.DataFrame(rows)


def level_summary(levels: pd.DataFrame) -> pd.DataFrame:
    """Estimates of `LEVELS` alone, a row a setting, for display."""
    rows = levels[levels["quantity"].isin(LEVELS)]
    wide = rows.pivot(index="setting", columns="quantity", values="estimate")
    return wide.loc[list(dict.fromkeys(rows["setting"])), list(LEVELS)].rename(columns=LEVELS)


def step_table(scores: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """How sigma, |mu| and SNR change from each setting to every later one.

    Settings have the same pairs and the same seeds, so a jackknife step leaves a seed out of both
    at once. Columns `first, second, adjacent, quantity, estimate, low, high, n_seeds`: ratios
    second / first of the geometric means of `level_table`.
    """
    names = list(scores)
    rows = []
    for i, first in enumerate(names):
        for j, second in enumerate(names[i + 1 :], start=i + 1):
            both = xr.Dataset({"first": scores[first], "second": scores[second]})
            ratio = np.exp(jackknife(both, _log_change))
            about = {"first": first, "second": second, "adjacent": j == i + 1}
            n = {"n_seeds": scores[first].sizes["seed"]}
            rows += [about | _row(q, ratio.sel(quantity=q)) | n for q in LEVELS]
    return pd.DataFrame(rows)


def log_levels(scores: xr.DataArray) -> xr.DataArray:
    """Mean logarithm over pairs of sigma, |mu| and their ratio, `(quantity,)`."""
    mu, sigma = mean_and_sd(scores)
    sound = (sigma > 0) & (mu != 0)
    values = [np.log(part.where(sound)).mean(skipna=True) for part in (sigma, np.abs(mu))]
    parts = [*values, values[1] - values[0]]
    return xr.DataArray([float(part) for part in parts], {"quantity": list(LEVELS)}, ("quantity",))


def _log_change(both: xr.Dataset) -> xr.DataArray:
    return log_levels(both["second"]) - log_levels(both["first"])


def noise_floor(n_seeds: int) -> float:
    """Geometric mean of |mu| / sigma over Gaussian pairs without any influence.

    exp(E log |T|) / sqrt(n) with T ~ t_{n-1}: what an SNR estimated from n seeds shows at least.
    """
    df = n_seeds - 1
    log_t = special.digamma(0.5) - special.digamma(df / 2) + np.log(df)
    return float(np.exp(log_t / 2) / np.sqrt(n_seeds))


# ---------------------------------------------------------------- what was trained


def training_table(banks: Mapping[str, RunBank]) -> pd.DataFrame:
    """What was trained in each setting, and how well: is a model noisy, or just not trained?

    Columns: setting, `parameters` (trained), `points`, `steps` (of the optimiser), `runs`, `loss`
    (nats, mean over queries and seeds of the full-data runs after the last epoch), `loss_sd` (over
    seeds), `sure` (share of queries whose class gets a probability above one half).
    """
    rows = []
    for setting, bank in banks.items():
        loss = bank.dataset()["query_loss"].sel(removal="none").isel(checkpoint=-1)
        loss = loss.astype(np.float64)
        rows.append(
            {
                "setting": setting,
                "parameters": bank.network.layout.n_parameters,
                "points": bank.task.n_train,
                "steps": bank.recipe.steps(bank.task.n_train),
                "runs": len(bank.runs),
                "loss": float(loss.mean()),
                "loss_sd": float(loss.mean("query").std("seed", ddof=1)),
                "sure": float((loss < np.log(2)).mean()),
            }
        )
    return pd.DataFrame(rows)
