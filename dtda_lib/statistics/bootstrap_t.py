"""Student's ratio t = mean / (sd / sqrt(n)) under the noise that a study itself shows.

Student's law of t holds for Gaussian seeds. Under skewed noise its tails are far too short, the
more so the smaller the level, and false discovery rates live on small levels. Here the law of |t|
under "mean 0" is resampled: seeds are drawn with replacement from each pair's residuals about its
own mean, and the |t| of all pairs of a family are pooled. Pooling gives the fine levels that one
pair's resamples cannot, and it is what counting needs: pairs without effect together exceed the
pooled quantile as often as said, however their noises differ in shape.

Sources: Efron 1979 and Hall 1988 (bootstrap t); Tusher, Tibshirani and Chu 2001, Storey and
Tibshirani 2003 (null laws pooled over tests). NumPy only; |t| has no unit.
"""

from functools import lru_cache

import numpy as np

N_RESAMPLES = 400
"""Resamples of the seeds: 20 exceedances at the level of a single discovery, for q = 5 %."""

_TOGETHER = 16  # pairs that share resamples
_PAIRS, _DRAWS, _SEED = 1_000, 500, 0  # of `gaussian_null`
_FINEST = 2e-5  # the level to which that many values give its quantiles themselves


def resampled_null(
    values: np.ndarray, generator: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> np.ndarray:
    """|t| of resampled residuals of all pairs, pooled, in rising order.

    Every few pairs have resamples of their own, because far tails come from few of them. Pairs
    whose seeds are all equal show no noise and are left out; a resample of equal values counts as
    infinite |t|.

    Args:
        values: `(seed, pair)`, one number a run.
        generator: Draws the seeds.
        n_resamples: Draws of n seeds for each pair.

    Returns:
        `(n_resamples * noisy pairs,)`.
    """
    n = len(values)
    noisy = np.ptp(values, axis=0) > 0
    residuals = values[:, noisy] - values[:, noisy].mean(axis=0)
    residuals /= residuals.std(axis=0, ddof=1)
    rows = n * np.arange(n_resamples)[:, None]
    found = []
    for start in range(0, residuals.shape[1], _TOGETHER):
        block = residuals[:, start : start + _TOGETHER]
        drawn = rows + generator.integers(n, size=(n_resamples, n))
        counts = np.bincount(drawn.ravel(), minlength=n * n_resamples).reshape(n_resamples, n)
        mean = counts @ block / n
        variance = (counts @ block**2 / n - mean**2) * n / (n - 1)
        varied = variance > 1e-12  # residuals have variance 1, and rounding leaves about 1e-16
        t = np.sqrt(n / np.where(varied, variance, 1.0)) * np.abs(mean)
        found.append(np.where(varied, t, np.inf).ravel())
    return np.sort(np.concatenate(found)) if found else np.empty(0)


def exceedance(null: np.ndarray, t: np.ndarray) -> np.ndarray:
    """p = (1 + b) / (1 + N): b of the N values of `null` reach |t|, within rounding error."""
    least = np.abs(t) * (1 - 1e-12)
    return (1 + len(null) - np.searchsorted(null, least)) / (1 + len(null))


def quantile(null: np.ndarray, alpha: float) -> float:
    """The |t| above which `exceedance` is at most `alpha`; infinite where it never is."""
    allowed = int(np.floor(alpha * (1 + len(null)) + 1e-9))  # values at or above, and one more
    if allowed > len(null):
        return 0.0
    return float(null[len(null) - allowed]) if allowed else np.inf


def smallest_p(n: int) -> float:
    """n^(1 - n): how often a resample of n seeds is one seed n times, which bounds every p."""
    return float(n) ** (1 - n)


@lru_cache(maxsize=256)
def gaussian_null(n: int) -> np.ndarray:
    """`resampled_null` of many pairs of n Gaussian seeds; always the same draws."""
    generator = np.random.default_rng(_SEED)
    return resampled_null(generator.standard_normal((n, _PAIRS)), generator, _DRAWS)


def gaussian_quantile(n: int, alpha: float) -> float:
    """The |t| that a pair of n Gaussian seeds has to exceed at level `alpha`.

    Infinite below `smallest_p`. Between that and 2e-5, a power law through the quantiles at 2e-4
    and 2e-5 (tails of t are power laws).
    """
    if alpha < smallest_p(n):
        return np.inf
    null = gaussian_null(n)
    if alpha >= _FINEST:
        return quantile(null, alpha)
    coarse, fine = quantile(null, 10 * _FINEST), quantile(null, _FINEST)
    return fine * (fine / coarse) ** np.log10(_FINEST / alpha)
