"""What is done over the seeds of a score, whatever the question: moments, errors, components.

A score is a `DataArray` with a run dimension (`seed`) and any others (`checkpoint, train, query,
size, ...`); a *pair* is one cell of those others. Functions reduce over named dimensions in float64
and keep the sign: where scores are shifts upon removal, a positive mean says that the point helps.
Bad input is refused with a `ValueError` of one sentence.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from scipy import stats

Scores = xr.DataArray | xr.Dataset
Statistic = Callable[[Scores], xr.DataArray | float]


def require_seeds(scores: Scores, dim: str = "seed", at_least: int = 2) -> Scores:
    """`scores` in float64, refused unless finite and with `at_least` entries along `dim`."""
    if dim not in scores.sizes:
        raise ValueError(f"scores have no dimension '{dim}', only {list(scores.sizes)}.")
    if scores.sizes[dim] < at_least:
        raise ValueError(f"'{dim}' has {scores.sizes[dim]} entries; at least {at_least} needed.")
    arrays = scores.data_vars.values() if isinstance(scores, xr.Dataset) else [scores]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("scores hold values that are not finite.")
    return scores.astype(np.float64)


def require_same_pairs(*arrays: xr.DataArray, shared_only: bool = False) -> None:
    """Refuse arrays that differ in labels, of which xarray would keep the shared ones alone.

    Dimensions have to agree too, unless `shared_only`.
    """
    if not shared_only and any(set(array.dims) != set(arrays[0].dims) for array in arrays):
        raise ValueError(f"arrays differ in dimensions: {[list(a.dims) for a in arrays]}.")
    try:
        xr.align(*arrays, join="exact")
    except ValueError as error:
        raise ValueError("arrays differ in the size or labels of a shared dimension.") from error


# ---------------------------------------------------------------- moments


def average_checkpoints(scores: xr.DataArray, k: int, dim: str = "checkpoint") -> xr.DataArray:
    """Mean over the last `k` checkpoints of each run; keeps unit and sign, drops `dim`.

    Checkpoints of one run are dependent, so they are averaged before any test and the seeds alone
    are the sample. `ValueError`: no such dimension, labels out of training order, or `k` outside
    1..number of checkpoints. Source: ElisaNguyen/bayesian-tda at 90fa729, run_compute_pvalues.py.
    """
    require_seeds(scores, dim, at_least=1)
    if not 1 <= k <= scores.sizes[dim]:
        raise ValueError(f"k = {k} is outside 1..{scores.sizes[dim]}, the number of checkpoints.")
    if dim in scores.indexes and not scores.indexes[dim].is_monotonic_increasing:
        raise ValueError(f"the labels of '{dim}' are not in increasing (training) order.")
    return scores.isel({dim: slice(-k, None)}).astype(np.float64).mean(dim, skipna=False)


def mean_and_sd(scores: xr.DataArray, dim: str = "seed") -> tuple[xr.DataArray, xr.DataArray]:
    """Mean mu and ddof-1 standard deviation sigma over `dim`, both in the unit of the scores.

    Equal values give sigma = 0 exactly, where rounding of the mean would leave about 1e-17.
    """
    scores = require_seeds(scores, dim)
    first = scores.isel({dim: 0}, drop=True)
    constant = (scores == first).all(dim)
    # Nothing is missing, and the NaN-aware reductions would cost several times as much.
    mu, sigma = scores.mean(dim, skipna=False), scores.std(dim, ddof=1, skipna=False)
    return xr.where(constant, first, mu), xr.where(constant, 0.0, sigma)


def signal_to_noise(scores: xr.DataArray, dim: str = "seed") -> xr.DataArray:
    """mu / sigma of each pair, signed, without unit; where sigma = 0 it is 0 or +-inf like mu.

    Args:
        scores: `(seed, ...)`, one number a run; sigma is the unbiased standard deviation.
        dim: The axis of runs.
    """

    def ratio(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        certain = np.where(mu == 0, 0.0, np.copysign(np.inf, mu))
        return np.where(sigma == 0, certain, mu / np.where(sigma == 0, 1.0, sigma))

    return xr.apply_ufunc(ratio, *mean_and_sd(scores, dim), keep_attrs=False)


# ---------------------------------------------------------------- errors


def wilson_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share `k` of `n` independent cases; (0, 1) where n = 0."""
    if not 0 <= k <= n:
        raise ValueError(f"k = {k} is outside 0..n = {n}.")
    if n == 0:
        return 0.0, 1.0
    low, high = stats.binomtest(k, n).proportion_ci(confidence_level=level, method="wilson")
    return float(low), float(high)


def bootstrap_over_seeds(
    scores: Scores,
    statistic: Statistic,
    *,
    n_boot: int,
    generator: np.random.Generator,
    level: float = 0.95,
    dim: str = "seed",
) -> xr.Dataset:
    """Expanded percentile interval of `statistic(scores)` over resampled seeds.

    Variables `estimate`, `low`, `high`, with the shape of the statistic, all `n_boot` of which are
    held at once; NaN in any resample gives NaN. A `Dataset` of scores (say two methods) is
    resampled jointly. Plain percentiles are too narrow by sqrt(1 - 1/n) and by the normal in place
    of Student's t: they are taken as far out as makes good for both, so that the interval of a mean
    has about the width of the t interval. With 4, 10 and 30 seeds, nominal 95 % covered a mean in
    87, 93, 94 % (normal seeds) and 81, 90, 93 % (exponential), a median in 87, 95, 95 % and
    87, 96, 96 %.

    A resample repeats seeds, which shrinks its sigma: for a share of significant pairs, an SNR or a
    standard deviation, use `jackknife_over_seeds`.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap", section 5.1.
    """
    n = require_seeds(scores, dim).sizes[dim]
    draws = [generator.integers(n, size=n) for _ in range(n_boot)]
    values = _stack([statistic(scores.isel({dim: draw})) for draw in draws])
    outer = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1))
    tails = values.quantile([1 - outer, outer], "resample", skipna=False)
    low, high = (tails.isel(quantile=i, drop=True) for i in (0, 1))
    return xr.Dataset({"estimate": xr.DataArray(statistic(scores)), "low": low, "high": high})


def jackknife_over_seeds(
    scores: Scores,
    statistic: Statistic,
    *,
    level: float = 0.95,
    dim: str = "seed",
    positive: bool = False,
) -> xr.Dataset:
    """Leave-one-seed-out `estimate`, `standard_error` and t interval `low`, `high` of a statistic.

    No resample repeats a seed, so it suits shares of significant pairs and other functions of
    sigma; not medians and other statistics that jump. For a mean it is the t interval.
    `positive`: make the interval of a standard deviation, a variance or another statistic above 0
    on the scale of its logarithm (`standard_error` stays in the statistic's unit).

    With 4, 10 and 30 seeds, nominal 95 % covered a mean in 95, 95, 95 % (normal seeds) and
    87, 91, 93 % (exponential); a standard deviation in 89, 90, 91 % and 74, 76, 84 %, and with
    `positive` in 95, 95, 93 % and 89, 83, 88 %. Heavy tails are worse: with `positive`, Student's
    t of 3 degrees of freedom gives 91, 79, 76 %.

    Source: Tukey 1958; Efron and Tibshirani 1993, chapter 11.

    Raises:
        ValueError: fewer than two seeds, values that are not finite, or `positive` of a statistic
            that is 0 or below for all seeds or without one of them.
    """
    n = require_seeds(scores, dim).sizes[dim]
    kept = [np.delete(np.arange(n), i) for i in range(n)]
    values = _stack([statistic(scores.isel({dim: seeds})) for seeds in kept])
    estimate = xr.DataArray(statistic(scores))
    error = np.sqrt((n - 1) * values.var("resample"))
    quantile = stats.t.ppf((1 + level) / 2, n - 1)
    if positive:
        if bool((values <= 0).any()) or bool((estimate <= 0).any()):
            raise ValueError(
                "a statistic is 0 or below and has no logarithm: leave `positive` out."
            )
        factor = np.exp(quantile * np.sqrt((n - 1) * np.log(values).var("resample")))
        low, high = estimate / factor, estimate * factor
    else:
        low, high = estimate - quantile * error, estimate + quantile * error
    return xr.Dataset({"estimate": estimate, "standard_error": error, "low": low, "high": high})


def _stack(values: Sequence[xr.DataArray | float]) -> xr.DataArray:
    return xr.concat([xr.DataArray(value) for value in values], "resample")


# ---------------------------------------------------------------- variance components


def between_within(
    scores: xr.DataArray, between: str = "seed", within: str = "checkpoint"
) -> xr.Dataset:
    """Variance of each pair between runs and within a run, in squared units of the scores.

    Balanced one-way random-effects layout: `within` = mean square within groups MSW,
    `between_raw` = (MSB - MSW) / (number within), unbiased but negative now and then, and `between`
    = the same truncated at 0. A trend shared by all runs counts as `within`, and dependence between
    neighbouring checkpoints moves variance into `between`. Source: Searle, Casella and
    McCulloch 1992, chapter 3.
    """
    scores = require_seeds(require_seeds(scores, between), within)
    mean_square_within = scores.var(within, ddof=1, keep_attrs=False).mean(between)
    # MSB / (number within), as MSB is the variance of group means times their size.
    group_variance = scores.mean(within, keep_attrs=False).var(between, ddof=1)
    raw = group_variance - mean_square_within / scores.sizes[within]
    return xr.Dataset(
        {"between": raw.clip(min=0), "within": mean_square_within, "between_raw": raw}
    )
