"""Components and levels of the noise of influence, as tidy tables.

Scores are arrays `(seed, train, query)` of the same pairs in every setting; see `banks`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special

from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.over_seeds import mean_and_sd
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.statistics.variance import component_shares, crossed
from dtda_lib.study.tables import numbers

COMPONENT_WORDS = {
    "init": "initialisation",
    "order": "batch order",
    "init x order": "interaction",
}
LEVELS = {"sigma": "noise σ", "abs_mu": "influence |μ|", "relative": "σ/|μ|"}
WEIGHTINGS = {"equal": "all pairs alike", "pooled": "summed over pairs"}
OVER = {"seed": 1_000, "train": 10, "query": 10}
"""Axis -> at most how many groups `over_sets` leaves out of it, one by one."""
LOSS_OVER = {"seed": 1_000, "query": 10}
"""The same for losses of the full-data models."""
CROSSED_OVER = {"init": 1_000, "order": 1_000, "query": 10}
"""The same in the crossed design, whose few points are fixed."""


# ---------------------------------------------------------------- initialisation against order


def component_table(
    scores: Mapping[tuple[int, str], xr.DataArray], n_init: Mapping[tuple[int, str], int]
) -> pd.DataFrame:
    """Share of the variance of training that each source makes up, by method.

    Args:
        scores: By (size, method): `(seed, train, query)`, seeds laid out by `crossed_seeds`.
        n_init: Number of initialisations of each.

    Returns:
        Columns `size, method, weighting, quantity, estimate, low, high`. Quantities and weightings
        ("equal": all pairs alike; "pooled": summed over pairs): `variance.component_shares`.
        Intervals: `over_sets` over initialisations, orders and queries.
    """
    rows = []
    for (size, method), array in scores.items():
        runs = crossed(array, n_init[size, method])
        for weighting in WEIGHTINGS:
            found = over_sets(
                runs,
                lambda part, alike=weighting == "equal": component_shares(part, alike=alike),
                groups=CROSSED_OVER,
            )
            about = {"size": size, "method": method, "weighting": weighting}
            for part in found["part"].values:
                rows.append(about | {"quantity": str(part)} | numbers(found.sel(part=part)))
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- levels of noise and their change


def noise_level_table(scores: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """Noise, influence and their ratio in each setting.

    Args:
        scores: By setting: `(seed, train, query)`, the same pairs and seeds in each.

    Returns:
        Columns `setting, quantity, estimate, low, high, n_pairs, n_seeds`. Quantities: "sigma" and
        "abs_mu" (nats, or the scores' unit) and "relative" = sigma / |mu|, geometric means over
        pairs (pairs of no noise or no mean at all are left out), with intervals of `over_sets` over
        seeds, points and queries, made on the logarithm.
    """
    rows = []
    for setting, array in scores.items():
        found = np.exp(over_sets(array, log_levels, groups=OVER)[["estimate", "low", "high"]])
        about = {"n_pairs": array[0].size, "n_seeds": array.sizes["seed"]}
        for quantity in LEVELS:
            level = numbers(found.sel(quantity=quantity))
            rows.append({"setting": setting, "quantity": quantity} | level | about)
    return pd.DataFrame(rows)


def step_table(scores: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """How sigma, |mu| and sigma / |mu| change from each setting to every later one.

    Settings have the same pairs and the same seeds, so whatever is left out is left out of both at
    once. Columns `first, second, quantity, estimate, low, high, n_seeds`: ratios second / first of
    the geometric means of `noise_level_table`, with its intervals.

    Measured coverage of nominal 95 %, with 24 seeds, 6 points and 12 queries, all of them new in
    each of 100 repeats: sigma 96 to 97 %, sigma / |mu| 94 to 98 %, for normal and exponential noise
    of 0.3, 1 and 3 times the influence.
    """
    names = list(scores)
    rows = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = xr.Dataset({"first": scores[first], "second": scores[second]})
            found = over_sets(both, _log_change, groups=OVER)[["estimate", "low", "high"]]
            about = {"first": first, "second": second}
            for quantity in LEVELS:
                ratio = numbers(np.exp(found).sel(quantity=quantity))
                n = {"n_seeds": scores[first].sizes["seed"]}
                rows.append(about | {"quantity": quantity} | ratio | n)
    return pd.DataFrame(rows)


def log_levels(scores: xr.DataArray) -> xr.DataArray:
    """Mean logarithm over pairs of sigma, |mu| and sigma / |mu|, `(quantity,)`."""
    mu, sigma = mean_and_sd(scores)
    sound = (sigma > 0) & (mu != 0)
    log_sigma, log_mu = (
        float(np.log(part.where(sound)).mean(skipna=True)) for part in (sigma, np.abs(mu))
    )
    values = [log_sigma, log_mu, log_sigma - log_mu]
    return xr.DataArray(values, {"quantity": list(LEVELS)}, ("quantity",))


def _log_change(both: xr.Dataset) -> xr.DataArray:
    return log_levels(both["second"]) - log_levels(both["first"])


def _mean(losses: xr.DataArray) -> xr.DataArray:
    return losses.mean()


def noise_only(n_seeds: int) -> float:
    """Geometric mean of sigma / |mu| over Gaussian pairs without any influence.

    sqrt(n) / exp(E log |T|) with T ~ t_{n-1}: what n seeds show at most, on average.
    """
    df = n_seeds - 1
    log_t = special.digamma(0.5) - special.digamma(df / 2) + np.log(df)
    return float(np.sqrt(n_seeds) / np.exp(log_t / 2))


# ---------------------------------------------------------------- what was trained


def training_table(banks: Mapping[str, RunBank]) -> pd.DataFrame:
    """What was trained in each setting, and how well: is a model noisy, or just not trained?

    Columns: setting, `parameters` (trained), `points`, `steps` (of the optimiser), `runs`; `fit`,
    the training loss, and `loss`, that of the queries (nats, mean over seeds of the full-data runs
    after the last epoch; `fit` is NaN where the bank has not measured it), with `loss_low` and
    `loss_high`, its interval over seeds and queries.
    """
    rows = []
    for setting, bank in banks.items():
        data = bank.dataset().sel(removal="none").isel(checkpoint=-1)
        fit = data["training_loss"].mean() if "training_loss" in data else np.nan
        losses = data["query_loss"].astype(np.float64).transpose("seed", "query")
        ends = numbers(over_sets(losses.reset_coords(drop=True), _mean, groups=LOSS_OVER), "loss")
        rows.append(
            {
                "setting": setting,
                "parameters": bank.network.layout.n_parameters,
                "points": bank.task.n_train,
                "steps": bank.recipe.steps(bank.task.n_train),
                "runs": len(bank.runs),
                "fit": float(fit),
                **ends,
                "loss": float(data["query_loss"].astype(np.float64).mean()),
            }
        )
    return pd.DataFrame(rows)
