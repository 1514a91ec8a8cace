"""Correlation of mean predicted and mean retrained shifts against the number of runs (C8).

Attenuation law (Spearman 1904; Searle et al. 1992 for the components), for each query, over points
k and runs s. A score is a true mean shift t_k + (noise common to the points of a run, which cancels
in a correlation over points) + noise e_sk of variance v. The mean over R runs has a variance over
points of S + v / R, and two such means correlate as

    (rho sqrt(S_t S_p) + c / R) / sqrt((S_t + v_t / R) (S_p + v_p / R_p)),

with rho the correlation of the true means and c the covariance of the noises, 0 unless prediction
and truth share their runs. As R grows it tends to rho.

The law takes noise as added. If a run's shifts at a query are partly multiplied by a factor of the
run (its residual there, say), which no correlation over points sees, the law is too pessimistic:
`factor_table` says how much of the noise is of that kind.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dtda_lib.statistics.over_seeds import (
    jackknife,
    mean_interval,
    require_same_pairs,
    require_seeds,
)
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.study.tables import numbers

PAIRINGS = ("unpaired", "paired, other seeds", "paired, same seeds")
NOISE_GROUPS = {"seed": 16, "train": 10, "query": 10}
"""Axis -> into how many groups at most it is cut for the intervals of this notebook."""


def runs_of(scores: xr.DataArray) -> np.ndarray:
    """The values of scores, `(seed, train, query)`."""
    return scores.transpose("seed", "train", "query").values


def centred(scores: np.ndarray) -> np.ndarray:
    """Scores `(seed, train, query)` - their mean over points: what a correlation sees."""
    return scores - scores.mean(axis=1, keepdims=True)


def covariance_parts(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance over points of the true means, and of the noises, `(query,)` each.

    Both unbiased, from `(seed, train, query)` of the same runs; `one` = `other` gives the two
    variances S and v.
    """
    n, k, _ = one.shape
    one, other = centred(one), centred(other)
    left, right = one - one.mean(axis=0), other - other.mean(axis=0)
    noise = (left * right).sum(axis=(0, 1)) / ((n - 1) * (k - 1))
    means = (one.mean(axis=0) * other.mean(axis=0)).sum(axis=0) / (k - 1)
    return means - noise / n, noise


def components(
    truth: np.ndarray, predicted: np.ndarray, unpaired: np.ndarray
) -> dict[str, np.ndarray]:
    """All parts of the law, `(query,)` each, and `rho`, one number.

    `rho` is the mean over queries of the covariance C of the true means over the standard
    deviations of the *observed* ones, over the mean of the roots of both reliabilities: a ratio of
    means, which queries with hardly any true variance do not upset, as they would a mean of ratios.
    True variances S whose unbiased estimate is negative are taken as 0; NaN if all are.

    Args:
        truth, predicted: Paired shifts and predictions of the same runs, `(seed, train, query)`.
        unpaired: Shifts of unpaired runs, for their noise alone.
    """
    n = len(truth)
    true, truth_noise = covariance_parts(truth, truth)
    prediction, prediction_noise = covariance_parts(predicted, predicted)
    shared, shared_noise = covariance_parts(truth, predicted)
    raw = np.sqrt((true + truth_noise / n) * (prediction + prediction_noise / n))
    true, prediction = np.maximum(true, 0.0), np.maximum(prediction, 0.0)
    reliable = (np.sqrt(true * prediction) / raw).mean()
    return {
        "S_t": true,
        "v_t": truth_noise,
        "S_p": prediction,
        "v_p": prediction_noise,
        "c": shared_noise,
        "v_unpaired": covariance_parts(unpaired, unpaired)[1],
        "rho": (shared / raw).mean() / reliable if reliable > 0 else np.nan,
    }


def attenuated(parts: dict[str, np.ndarray], protocol: str, runs: float, models: float) -> float:
    """The law, mean over queries, for `runs` retrained runs and `models` attributed models."""
    noise = parts["v_unpaired" if protocol == "unpaired" else "v_t"]
    common = parts["c"] / runs if protocol == "paired, same seeds" else 0.0
    scale = np.sqrt((parts["S_t"] + noise / runs) * (parts["S_p"] + parts["v_p"] / models))
    signal = parts["rho"] * np.sqrt(parts["S_t"] * parts["S_p"])
    return float(((signal + common) / scale).mean())


def correlation_over_points(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson over points of `(train, query)`, mean over queries."""
    return float((unit_over_points(one) * unit_over_points(other)).sum(axis=-2).mean())


def unit_over_points(means: np.ndarray) -> np.ndarray:
    """Centred over training points and of length 1 there, `(..., train, query)`; 0 stays 0."""
    means = means - means.mean(axis=-2, keepdims=True)
    length = np.linalg.norm(means, axis=-2, keepdims=True)
    return means / np.where(length > 0, length, 1.0)


# ---------------------------------------------------------------- curves


def _halves(scores: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """First and second half of the seeds, `(seed, train, query)` each."""
    values = runs_of(require_seeds(scores, at_least=8))
    return values[: len(values) // 2], values[len(values) // 2 :]


def attenuation_table(
    truth: xr.DataArray, predicted: Mapping[str, xr.DataArray], unpaired: xr.DataArray
) -> pd.DataFrame:
    """Observed correlation at 1, 2, 4, ... runs beside what the law predicts.

    The law's components come from the first half of the seeds of each array, the observed
    correlations from the second; no run is in both. `paired, same seeds`: the R runs whose models
    are attributed are those retrained. `paired, other seeds`: R other runs. `unpaired`: R unpaired
    runs against R attributed models, or all of the half where there are fewer.

    Returns:
        Columns `method, protocol, runs, models, observed, low, high, law, law_low, law_high,
        n_blocks`. Observed values are means over disjoint blocks of runs; intervals are t intervals
        over blocks (five or more), else jackknife over runs; the law's is a jackknife over runs.
    """
    require_same_pairs(truth, *predicted.values())
    require_same_pairs(truth.isel(seed=0, drop=True), unpaired.isel(seed=0, drop=True))
    known, seen = _halves(truth)
    noise, seen_unpaired = _halves(unpaired)
    rows = []
    for method, scores in predicted.items():
        first, second = _halves(scores)
        cases = [
            (protocol, retrained, runs, min(runs, len(second)))
            for protocol in PAIRINGS
            for retrained in [seen_unpaired if protocol == "unpaired" else seen]
            for runs in _doubling(_most(protocol, len(retrained)))
        ]

        def law(kept: np.ndarray, first: np.ndarray = first, cases: list = cases) -> xr.DataArray:
            parts = components(known[kept], first[kept], noise)
            laws = [attenuated(parts, protocol, *counts) for protocol, _, *counts in cases]
            return xr.DataArray(laws, dims="case")

        expected = jackknife(law, len(known))
        for case, (protocol, retrained, runs, models) in enumerate(cases):
            row = {"method": method, "protocol": protocol, "runs": runs, "models": models}
            row |= _observed(retrained, second, protocol, runs)
            rows.append(row | numbers(expected.isel(case=case), "law"))
    return pd.DataFrame(rows)


def _most(protocol: str, n: int) -> int:
    return n // 2 if protocol == "paired, other seeds" else n


def _doubling(most: int) -> list[int]:
    counts = [2**i for i in range(int(np.log2(most)) + 1)]
    return counts if counts[-1] == most else [*counts, most]


def _observed(
    truth: np.ndarray, predicted: np.ndarray, protocol: str, runs: int
) -> dict[str, float]:
    """Mean over disjoint blocks of `runs` runs with its interval."""
    n = len(truth)
    blocks = [np.arange(at, at + runs) for at in range(0, n - runs + 1, runs)]
    models = min(runs, len(predicted))

    def attributed(block: np.ndarray) -> np.ndarray:
        if protocol == "paired, same seeds":
            return block
        start = block[0] + runs if protocol == "paired, other seeds" else block[0]
        return (start + np.arange(models)) % len(predicted)

    def of(rows: np.ndarray, columns: np.ndarray) -> float:
        return correlation_over_points(truth[rows].mean(axis=0), predicted[columns].mean(axis=0))

    def error(block: np.ndarray) -> float:
        """Standard error of one large block: its runs left out in turn.

        Retrained and attributed runs are left out together where they are the same, else one after
        the other, and the variances add up.
        """
        models = attributed(block)
        if protocol == "paired, same seeds":
            parts = [jackknife(lambda kept: of(block[kept], models[kept]), len(block))]
        else:
            one = jackknife(lambda kept: of(block[kept], models), len(block))
            parts = [one, jackknife(lambda kept: of(block, models[kept]), len(models))]
        return float(np.sqrt(sum(part["standard_error"] ** 2 for part in parts)))

    values = np.array([of(block, attributed(block)) for block in blocks])
    if len(values) >= 5:
        found = mean_interval(values)
    else:
        half = np.linalg.norm([error(block) for block in blocks]) / len(blocks)
        half *= stats.t.ppf(0.975, runs * len(blocks) - 1)
        mean = float(values.mean())
        found = {"estimate": mean, "low": mean - half, "high": mean + half}
    return {"observed": found.pop("estimate")} | found | {"n_blocks": len(values)}


# ---------------------------------------------------------------- without noise, and coupling


def plateau_table(
    truth: xr.DataArray, predicted: Mapping[str, xr.DataArray], unpaired: xr.DataArray
) -> pd.DataFrame:
    """What one model and one retraining show, and what their true means do, noise taken off.

    Args:
        truth: Paired shifts `(seed, train, query)`.
        predicted: Method -> shifts of the same runs.
        unpaired: Shifts of runs that share no seed with them.

    Returns:
        Columns `method`, `single` (correlation of one model's scores with one unpaired run, mean
        over all pairs of them), `estimate` (`rho` of `components`), each with its 95 % interval
        over seeds, points and queries (`over_sets`), and `n_seeds`.
    """
    rows = []
    alone = require_seeds(unpaired, at_least=4).rename(seed="run").astype(np.float64)
    for method, scores in predicted.items():
        require_same_pairs(truth, scores)
        paired = {"truth": require_seeds(truth, at_least=4), "predicted": scores.astype(float)}
        found = over_sets(
            xr.Dataset(paired | {"alone": alone}),
            _single_and_limit,
            groups=NOISE_GROUPS | {"run": 16},
        )
        single, limit = found.sel(of="single"), where_resolved(found.sel(of="limit"))
        row = {"method": method} | numbers(single, "single") | numbers(limit)
        rows.append(row | {"n_seeds": truth.sizes["seed"]})
    return pd.DataFrame(rows)


def where_resolved(found: xr.Dataset) -> xr.Dataset:
    """Estimates of which noise is taken off, NaN where they have no interval.

    Where some runs, points or queries alone leave no variance of the truth to divide by, the others
    leave next to none, and the quotient may be anything.
    """
    return found.assign(estimate=found["estimate"].where(found["low"].notnull()))


def _single_and_limit(data: xr.Dataset) -> xr.DataArray:
    truth, predicted = runs_of(data["truth"]), runs_of(data["predicted"])
    alone = data["alone"].transpose("run", "train", "query").values
    # The mean over all pairs of a model and a run is the product of two means of unit vectors.
    units = unit_over_points(predicted).mean(axis=0) * unit_over_points(alone).mean(axis=0)
    found = [units.sum(axis=0).mean(), components(truth, predicted, truth)["rho"]]
    return xr.DataArray(found, dims="of", coords={"of": ["single", "limit"]})


def coupling(losses: xr.DataArray) -> dict[str, float]:
    """What paired seeds save, from losses `(seed, removal, query)` of which the first is "none".

    `rho`: correlation over seeds of the loss with and without a point, pooled over points and
    queries (covariances over variances); `saved` = 1 / (1 - rho): how many times fewer seeds a
    paired difference needs than one of independent means; with jackknife intervals on the
    logarithm of `saved`.
    """
    values = require_seeds(losses, at_least=4).transpose("seed", "removal", "query").values

    def log_saved(kept: np.ndarray) -> float:
        deviation = values[kept] - values[kept].mean(axis=0)
        base, after = deviation[:, :1], deviation[:, 1:]
        difference = ((after - base) ** 2).sum()
        return float(np.log((after**2 + base**2).sum() / difference))

    saved = numbers(np.exp(jackknife(log_saved, len(values))))
    named = {"saved": saved["estimate"], "low": saved["low"], "high": saved["high"]}
    return {"rho": 1 - 1 / saved["estimate"]} | named


def factor_table(truth: xr.DataArray, predicted: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """How much of the noise is a factor of the run, by which a correlation does not suffer.

    A run's shifts at a query are regressed on their mean over runs, over points; `factor` is the
    share of the noise variance that the run's slope explains (pooled over queries, each relative
    to its noise), `chance` what it would be for noise without structure. Columns `of, factor,
    chance`, rows "retrained" and each method.
    """
    rows = []
    for name, scores in {"retrained": truth, **predicted}.items():
        values = centred(runs_of(scores))
        mean = values.mean(axis=0)  # (train, query)
        noise = values - mean
        along = (noise * mean).sum(axis=1) / np.linalg.norm(mean, axis=0)  # (seed, query)
        share = (along**2).sum(axis=0) / (noise**2).sum(axis=(0, 1))
        row = {"of": name, "factor": float(share.mean()), "chance": 1 / (len(mean) - 1)}
        rows.append(row)
    return pd.DataFrame(rows)
