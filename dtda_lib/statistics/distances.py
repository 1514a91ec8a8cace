"""Distances between two laws of a measurement, each given by a sample: plain numpy.

Samples are float64 `(seed, ...)`, in any order of seeds; a distance reduces the first axis of both,
whose lengths may differ, and keeps the others, which are the same. Orientation is that of a shift
upon removal, after less before. Signed ones: positive = the quantity is larger after. (The "mean
influence" of arXiv 2506.12965 is minus `mean`, its "variance-increase influence" is `variance`, its
"Wasserstein influence" is `w2`; the others are additions of ours.)

Four things are called W2 in texts, and each has its own name here: `w2` between the empirical laws,
`w2_gaussian` between normal laws of these means and standard deviations, `w2_gaussian_squared` its
square, and `w2_debiased` that square less what sampling adds to it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dtda_lib.names import unknown

from .over_seeds import jackknife_error

Samples = np.ndarray  # float64 (seed, ...)
TAIL = 0.9  # the level of "quantile90" and "cvar90"


@dataclass(frozen=True)
class Distance:
    """A distance `(before (seed, ...), after (seed, ...)) -> (...)`.

    Args:
        name: How notebooks call it.
        function: See above.
        signed: Whether it has a direction; the others are 0 or more, but for the noise that is left
            where what sampling adds is taken off.
        power: Of the unit of the measurement: the unit of the distance.
        of_cdfs: The same from `cdf_gaps`, where it has that form: many relabellings of one pooled
            sample then need it sorted once.
        paired: Whether run s of both samples must share its seeds.
    """

    name: str
    function: Callable[[Samples, Samples], np.ndarray]
    signed: bool
    power: float
    of_cdfs: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    paired: bool = False

    def __call__(self, before: Samples, after: Samples) -> np.ndarray:
        return self.function(before, after)


# ---------------------------------------------------------------- moments, quantiles


def variance(sample: Samples) -> np.ndarray:
    """Unbiased variance over the first axis; 0 exactly where all values are equal."""
    return np.where((sample == sample[:1]).all(axis=0), 0.0, sample.var(axis=0, ddof=1))


def log_ratio(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """log(after / before) of non-negative numbers: 0 where both are 0, infinite where one is."""
    both = (after > 0) & (before > 0)
    ratio = np.where(both, after, 1.0) / np.where(both, before, 1.0)
    return np.where(both, np.log(ratio), np.where(after == before, 0.0, _signed_infinity(after)))


def _signed_infinity(after: np.ndarray) -> np.ndarray:
    return np.where(after > 0, np.inf, -np.inf)


def _mean_shift(before: Samples, after: Samples) -> np.ndarray:
    return after.mean(axis=0) - before.mean(axis=0)


def _variance_shift(before: Samples, after: Samples) -> np.ndarray:
    return variance(after) - variance(before)


def _w2_gaussian(before: Samples, after: Samples) -> np.ndarray:
    wider = np.sqrt(variance(after)) - np.sqrt(variance(before))
    return np.hypot(_mean_shift(before, after), wider)


def _w2_gaussian_squared(before: Samples, after: Samples) -> np.ndarray:
    wider = np.sqrt(variance(after)) - np.sqrt(variance(before))
    return _mean_shift(before, after) ** 2 + wider**2


def _w2_debiased(before: Samples, after: Samples) -> np.ndarray:
    return _w2_gaussian_squared(before, after) - w2_sampling_share(before, after)


def w2_sampling_share(before: Samples, after: Samples) -> np.ndarray:
    """What sampling adds on average to `w2_gaussian_squared` of *paired* samples `(seed, ...)`.

    That is the variance of the two differences in it, of means and of standard deviations; the
    latter by the influence function of a standard deviation, (d^2 - s^2) / (2 s), so to first
    order in 1/seeds. Two equal samples have none. For independent Gaussian samples of one law it
    is 3 sigma^2 / seeds.

    Raises:
        ValueError: samples of unequal size, which cannot be paired.
    """
    n = len(before)
    if len(after) != n:
        raise ValueError(f"w2_debiased: {n} and {len(after)} runs are not paired.")

    def curve(sample: Samples) -> np.ndarray:
        square = variance(sample)
        deviation = sample - sample.mean(axis=0)
        return (deviation**2 - square) / (2 * np.sqrt(np.where(square > 0, square, 1.0)))

    spread = curve(after) - curve(before)
    return (variance(after - before) + spread.var(axis=0, ddof=1)) / n


def _log_variance_ratio(before: Samples, after: Samples) -> np.ndarray:
    return log_ratio(variance(after), variance(before))


def quantile_shift(level: float, name: str | None = None) -> Distance:
    """Shift of the quantile at `level`, in the unit of the measurement (numpy's "linear" one).

    Raises:
        ValueError: `level` outside 0..1.
    """
    if not 0 <= level <= 1:
        raise ValueError(f"a quantile's level lies in 0..1, not {level}.")

    def shift(before: Samples, after: Samples) -> np.ndarray:
        return np.quantile(after, level, axis=0) - np.quantile(before, level, axis=0)

    return Distance(name or f"quantile_{level:g}", shift, True, 1)


def cvar_shift(level: float, name: str | None = None) -> Distance:
    """Shift of the conditional value at risk: the mean of the worst (highest) 1 - level of runs.

    Exact for the empirical law: a run that straddles the quantile counts by the part above it.
    Source: Rockafellar and Uryasev 2002.

    Raises:
        ValueError: `level` outside 0..1, or 1.
    """
    if not 0 <= level < 1:
        raise ValueError(f"the level of a CVaR lies in 0..1, below 1, and is not {level}.")

    def tail_mean(sample: Samples) -> np.ndarray:
        ends = np.clip(np.linspace(0, 1, len(sample) + 1), level, 1)
        return np.tensordot(np.diff(ends) / (1 - level), np.sort(sample, axis=0), 1)

    def shift(before: Samples, after: Samples) -> np.ndarray:
        return tail_mean(after) - tail_mean(before)

    return Distance(name or f"cvar_{level:g}", shift, True, 1)


# ---------------------------------------------------------------- whole laws


def _w2(before: Samples, after: Samples) -> np.ndarray:
    """In one dimension the best transport pairs equal quantiles.

    Both quantile functions are constant between neighbouring multiples of 1/n and 1/m, counted here
    in whole units of 1/(n m).
    """
    n, m = len(before), len(after)
    before, after = np.sort(before, axis=0), np.sort(after, axis=0)
    if n == m:
        return np.sqrt(((after - before) ** 2).mean(axis=0))
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    squares = (after[edges[:-1] // n] - before[edges[:-1] // m]) ** 2
    return np.sqrt(np.tensordot(np.diff(edges) / (n * m), squares, 1))


def _sorted(pooled: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Order of a pooled sample without its last place, and the lengths between its values."""
    order = np.argsort(pooled, axis=0)
    return order[:-1], np.diff(np.take_along_axis(pooled, order, axis=0), axis=0)


def _cdf_gaps(order: np.ndarray, before: np.ndarray) -> np.ndarray:
    """F_before - F_after on each piece between pooled values, `before (seed,)` being labels."""
    n, total = np.count_nonzero(before), len(before)
    steps = np.where(before, total - n, -n).astype(np.int32)
    # Sums of whole numbers: equal gaps compare as equal.
    return np.cumsum(steps[order], axis=0, dtype=np.int32) / (n * (total - n))


def _from_cdfs(
    name: str, of_cdfs: Callable[[np.ndarray, np.ndarray], np.ndarray], power: float
) -> Distance:
    def function(before: Samples, after: Samples) -> np.ndarray:
        order, lengths = _sorted(np.concatenate([before, after]))
        labels = np.arange(len(before) + len(after)) < len(before)
        return of_cdfs(_cdf_gaps(order, labels), lengths)

    return Distance(name, function, False, power, of_cdfs)


def relabelled(chosen: Distance, pooled: Samples, orders: np.ndarray, n: int) -> np.ndarray:
    """`(draw, ...)`: the distance for each row of `orders (draw, seed)`, whose first n are before.

    The pooled sample is `(seed, ...)`.
    """
    if chosen.of_cdfs is None:
        return np.stack([chosen(pooled[rows[:n]], pooled[rows[n:]]) for rows in orders])
    order, lengths = _sorted(pooled)
    labels = np.zeros(orders.shape, dtype=bool)
    np.put_along_axis(labels, orders[:, :n], True, axis=1)
    return np.stack([chosen.of_cdfs(_cdf_gaps(order, before), lengths) for before in labels])


def _w1(gaps: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return (np.abs(gaps) * lengths).sum(axis=0)


def _energy(gaps: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.sqrt(2 * (gaps**2 * lengths).sum(axis=0))


def _kolmogorov_smirnov(gaps: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.where(lengths > 0, np.abs(gaps), 0.0).max(axis=0)


DISTANCES: dict[str, Distance] = {
    each.name: each
    for each in (
        Distance("mean", _mean_shift, True, 1),
        Distance("variance", _variance_shift, True, 2),
        Distance("log_variance_ratio", _log_variance_ratio, True, 0),
        quantile_shift(0.5, "median"),
        quantile_shift(TAIL, "quantile90"),
        cvar_shift(TAIL, "cvar90"),
        _from_cdfs("w1", _w1, 1),  # integral of |F - G|
        Distance("w2", _w2, False, 1),  # root of the integral of the squared quantile difference
        Distance("w2_gaussian", _w2_gaussian, False, 1),  # of normal laws of these means and sds
        Distance("w2_gaussian_squared", _w2_gaussian_squared, False, 2),
        Distance("w2_debiased", _w2_debiased, False, 2, paired=True),  # negative by noise alone
        _from_cdfs("energy", _energy, 0.5),  # root of twice the integral of (F - G)^2
        _from_cdfs("ks", _kolmogorov_smirnov, 0),  # largest |F - G|
    )
}
"""Every Δ of the study by name; words and looks: `study.methods.DELTAS`."""


def about_own_means(chosen: Distance) -> Distance:
    """The distance between both laws about their own means: of spread and shape alone."""

    def function(before: Samples, after: Samples) -> np.ndarray:
        return chosen(before - before.mean(axis=0), after - after.mean(axis=0))

    return replace(chosen, name=f"centred_{chosen.name}", function=function, of_cdfs=None)


def get_distance(name_or_distance: str | Distance) -> Distance:
    """The distance of that name (or the distance itself); unknown names are refused."""
    if isinstance(name_or_distance, Distance):
        return name_or_distance
    if name_or_distance not in DISTANCES:
        raise ValueError(unknown("distance", name_or_distance, DISTANCES))
    return DISTANCES[name_or_distance]


# ---------------------------------------------------------------- jackknife

# Each seed left out in turn, `(seed, ...) -> (seed, ...)`; smooth statistics only, as the jackknife
# fails for quantiles and for distances that are 0 at equality.


def _mean_left_out(sample: Samples) -> np.ndarray:
    n = len(sample)
    return (n * sample.mean(axis=0) - sample) / (n - 1)


def _variance_left_out(sample: Samples) -> np.ndarray:
    n = len(sample)
    deviation = sample - sample.mean(axis=0)
    squares = (n - 1) * variance(sample) - n / (n - 1) * deviation**2
    return np.maximum(squares, 0.0) / (n - 2)


def _log_variance_left_out(sample: Samples) -> np.ndarray:
    left_out = _variance_left_out(sample)
    return np.where(left_out > 0, np.log(np.where(left_out > 0, left_out, 1.0)), np.nan)


LEFT_OUT: dict[str, Callable[[Samples], np.ndarray]] = {
    "mean": _mean_left_out,
    "variance": _variance_left_out,
    "log_variance_ratio": _log_variance_left_out,
}


def jackknife_interval(
    before: Samples, after: Samples, chosen: Distance, *, paired: bool, level: float
) -> np.ndarray:
    """`(2, ...)`: ends of the t interval, NaN with fewer than three seeds or where it is not valid.

    Paired, seed i is left out of both samples; else the two variances add up, with Welch's degrees
    of freedom; see `over_seeds.jackknife_error`.
    """
    estimate = chosen(before, after)
    name = chosen.name.removeprefix("centred_")  # which changes no variance
    if name not in LEFT_OUT or min(len(before), len(after)) < 3:
        return np.full((2, *estimate.shape), np.nan)
    left = [LEFT_OUT[name](sample) for sample in (before, after)]
    error, quantile = jackknife_error(*([left[1] - left[0]] if paired else left), level=level)
    return estimate + np.stack([-quantile * error, quantile * error])
