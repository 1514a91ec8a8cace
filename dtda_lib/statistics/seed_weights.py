"""Correlations between methods when each seed counts a given number of times, for many such draws.

A bootstrap resample, a half of the seeds and the seeds less one are all *weights* `(draw, seed)`:
how often each seed counts. Means and second moments are then products of matrices, so that a
thousand resamples of ten seeds, five methods and 135,000 pairs take seconds. Scores are float64
`(method, seed, pair)`; the tables that users want are in `agreement_intervals`.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import stats

from .over_seeds import jackknife_error, ratio

_BLOCK = (32, 1024)  # draws and pairs at a time: what stays in the cache
_CONSTANT = 1e-12  # a spread below this share of the size is rounding

# ---------------------------------------------------------------- weights, (draw, seed)


def all_and_each_left_out(n: int) -> np.ndarray:
    """`(1 + n, n)`: first every seed once, then all but one seed, for a jackknife."""
    return np.vstack([np.ones(n), 1 - np.eye(n)])


def resamples(n: int, n_boot: int, generator: np.random.Generator) -> np.ndarray:
    """`(n_boot, n)`: bootstrap resamples of n seeds; drawn again where one seed is all there is."""
    counts = generator.multinomial(n, np.full(n, 1 / n), size=n_boot)
    while (single := counts.max(axis=1) == n).any():
        counts[single] = generator.multinomial(n, np.full(n, 1 / n), size=single.sum())
    return counts.astype(np.float64)


# ---------------------------------------------------------------- statistics over seeds


class Centred:
    """Scores `(method, seed, pair)` as mean over seeds and deviations from it."""

    def __init__(self, scores: np.ndarray) -> None:
        first = scores[:, :1]
        constant = (scores == first).all(axis=1)
        self.centre = np.where(constant, first[:, 0], scores.mean(axis=1))  # (method, pair)
        self.deviation = scores - self.centre[:, None]

    @cached_property
    def covariance(self) -> np.ndarray:
        """Covariance over pairs of any two runs, `(method, seed, method, seed)`."""
        runs = self.deviation + self.centre[:, None]
        runs = (runs - runs.mean(axis=-1, keepdims=True)).reshape(-1, runs.shape[-1])
        shape = self.deviation.shape[:2]
        return (runs @ runs.T / runs.shape[-1]).reshape(*shape, *shape)

    def statistics(self, weights: np.ndarray, names: Sequence[str], pairs: slice) -> np.ndarray:
        """ "mean", ddof-1 "sd" and "snr" = mean / sd over seeds: `(draw, statistic, method, pair)`.

        As `agreement.STATISTICS` where weights are 0 or 1; an SNR without noise is 0 or infinite.
        """
        total = weights.sum(axis=1, keepdims=True)
        deviation, centre = self.deviation[..., pairs], self.centre[..., pairs]
        found = np.empty((len(weights), len(names), *centre.shape))
        for method in range(len(centre)):
            offset = (weights / total) @ deviation[method]
            values = {"mean": offset + centre[method]}
            if {"sd", "snr"} & set(names):
                values["sd"] = _weighted_sd(weights, total, deviation[method], offset)
                values["snr"] = ratio(values["mean"], values["sd"])
            for position, name in enumerate(names):
                found[:, position, method] = values[name]
        return found


def _weighted_sd(
    weights: np.ndarray, total: np.ndarray, deviation: np.ndarray, offset: np.ndarray
) -> np.ndarray:
    square = (weights / (total - 1)) @ deviation**2
    offset = np.square(offset)
    offset *= total / (total - 1)
    variance = square - offset
    variance[variance < 4e-15 * square] = 0  # seeds that agree leave rounding, of either sign
    return np.sqrt(variance, out=variance)


# ---------------------------------------------------------------- correlations over pairs


def correlations(
    scores: Centred,
    left: np.ndarray,
    right: np.ndarray | None = None,
    *,
    names: Sequence[str],
    kind: str = "pearson",
) -> np.ndarray:
    """Correlation over pairs between any two methods, `(draw, statistic, method, method)`.

    The first method's statistic is taken over the seeds of `left`, the other's over those of
    `right` (default: the same). Constant or infinite statistics have no Pearson correlation: NaN.
    """
    if kind == "spearman":
        sides = [left] if right is None else [left, right]
        draws = [[side[i : i + 1] for side in sides] for i in range(len(left))]
        return np.stack([_rank_correlation(scores, draw, names) for draw in draws])
    n_methods = len(scores.centre)
    found = np.empty((len(left), len(names), n_methods, n_methods))
    others = [name for name in names if name != "mean"]
    if "mean" in names:
        found[:, names.index("mean")] = _correlations_of_means(scores, left, right)
    if others:
        # The mean over pairs, taken off so that the sums of squares do not cancel.
        full = scores.statistics(np.ones((1, scores.deviation.shape[1])), others, slice(None))
        shift = full.mean(axis=-1, keepdims=True)
        where = [names.index(name) for name in others]
        for start in range(0, len(left), _BLOCK[0]):
            part = slice(start, start + _BLOCK[0])
            sides = [left[part]] if right is None else [left[part], right[part]]
            found[part, where] = _correlations_of(others, scores, sides, shift)
    return found


def _correlations_of_means(
    scores: Centred, left: np.ndarray, right: np.ndarray | None
) -> np.ndarray:
    """Means are linear in the runs, whose covariances over pairs suffice."""
    right = left if right is None else right
    left, right = (side / side.sum(axis=1, keepdims=True) for side in (left, right))
    between = np.einsum("ds,msnt,dt->dmn", left, scores.covariance, right, optimize=True)
    variances = [
        np.einsum("ds,msmt,dt->dm", side, scores.covariance, side, optimize=True)
        for side in (left, right)
    ]
    least = [_CONSTANT**2 * np.square(scores.centre).mean(axis=-1)] * 2
    return _normalised(between, variances, least)


def _correlations_of(
    names: Sequence[str], scores: Centred, sides: Sequence[np.ndarray], shift: np.ndarray
) -> np.ndarray:
    """From sums and products of the statistics, block by block of pairs."""
    n_pairs = scores.centre.shape[-1]
    total, sums, squares = 0.0, [0.0, 0.0], [0.0, 0.0]
    with np.errstate(invalid="ignore"):
        for start in range(0, n_pairs, _BLOCK[1]):
            pairs = slice(start, start + _BLOCK[1])
            values = [scores.statistics(side, names, pairs) for side in sides]
            for side, part in enumerate(values):
                part -= shift
                sums[side] = sums[side] + part.sum(axis=-1)
                squares[side] = squares[side] + np.einsum("...p,...p->...", part, part)
            total = total + values[0] @ values[-1].swapaxes(-1, -2)
        last = len(sides) - 1
        between = total - sums[0][..., :, None] * sums[last][..., None, :] / n_pairs
        variances = [squares[side] - sums[side] ** 2 / n_pairs for side in (0, last)]
        # The squares lose the digits of a spread far smaller than what they are taken about.
        least = [
            n_pairs * (_CONSTANT * shift[..., 0]) ** 2 + 1e-13 * squares[side] for side in (0, last)
        ]
        return _normalised(between, variances, least)


def _normalised(
    between: np.ndarray, variances: Sequence[np.ndarray], least: Sequence[np.ndarray]
) -> np.ndarray:
    """Covariances over the roots of two variances; NaN where one is rounding."""
    first, second = (np.sqrt(np.where(v > e, v, np.nan)) for v, e in zip(variances, least))
    return np.clip(between / (first[..., :, None] * second[..., None, :]), -1, 1)


def _rank_correlation(
    scores: Centred, sides: Sequence[np.ndarray], names: Sequence[str]
) -> np.ndarray:
    """Spearman of one draw, `(statistic, method, method)`."""
    values = [scores.statistics(weights, names, slice(None))[0] for weights in sides]
    units = [unit_vectors(part, "spearman") for part in values]
    return np.clip(units[0] @ units[-1].swapaxes(-1, -2), -1, 1)


def unit_vectors(values: np.ndarray, kind: str) -> np.ndarray:
    """Values or their ranks over the last axis, centred and of length 1: products of two are
    correlations. NaN where constant."""
    values = stats.rankdata(values, axis=-1) if kind == "spearman" else values
    centre = values.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(values - centre, axis=-1, keepdims=True)
    constant = length <= _CONSTANT * np.abs(centre) * np.sqrt(values.shape[-1])
    return (values - centre) / np.where(constant, np.nan, length)


# ---------------------------------------------------------------- intervals


def jackknife_t(
    values: np.ndarray, level: float = 0.95, *, fisher: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """t interval about `values[0]`, whose other entries leave one seed out each; `fisher`: of a
    correlation, made on the scale artanh(r). NaN where a value is, or with fewer than three seeds.
    """
    n = len(values) - 1
    if n < 3:
        return (np.full(values.shape[1:], np.nan),) * 2
    if fisher:
        ends = jackknife_t(np.arctanh(np.clip(values, -1 + 1e-12, 1 - 1e-12)), level)
        return np.tanh(ends[0]), np.tanh(ends[1])
    error, quantile = jackknife_error(values[1:], level=level)
    return values[0] - quantile * error, values[0] + quantile * error
