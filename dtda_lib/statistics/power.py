"""How many seeds a test needs: the power of tests of the mean for Gaussian seeds."""

import numpy as np
from scipy import optimize, stats

from dtda_lib.names import unknown

from .bootstrap_t import gaussian_quantile

CRITICAL = {
    "t": lambda n, alpha: stats.t.isf(alpha / 2, n - 1),
    "bootstrap_t": gaussian_quantile,
}
"""Test (key of `significance.MEAN_TESTS`) -> |t| that n Gaussian seeds have to exceed at alpha."""


def require_sample(n: int) -> None:
    """Refuse a number of seeds without a standard deviation.

    Raises:
        ValueError: n < 2.
    """
    if n < 2:
        raise ValueError(f"n = {n} seeds have no standard deviation; at least 2 needed.")


def power(
    snr: float | np.ndarray, n: int, alpha: float = 0.05, *, test: str = "t"
) -> float | np.ndarray:
    """Probability that a two-sided test of n Gaussian seeds finds a pair of true mu / sigma.

    Elementwise in `snr`, whose sign is ignored. `test`: a key of `CRITICAL`; the critical value of
    "bootstrap_t" is that of many pairs. T is noncentral t with shift sqrt(n) snr, and its square
    noncentral F, whose upper tail scipy evaluates where the lower tail of T comes out NaN.
    `ValueError`: n < 2, or a test whose power is not known.
    """
    require_sample(n)
    if test not in CRITICAL:
        raise ValueError(unknown("test of known power", test, CRITICAL))
    critical, noncentrality = CRITICAL[test](n, alpha), n * np.square(snr)
    if np.isinf(critical):
        return np.zeros_like(noncentrality, dtype=float)[()]
    positive = np.where(noncentrality > 0, noncentrality, 1.0)  # scipy's tail is wrong at 0
    without = 2 * stats.t.sf(critical, n - 1)
    return np.where(noncentrality > 0, stats.ncf.sf(critical**2, 1, n - 1, positive), without)[()]


def seeds_needed(snr: float, alpha: float = 0.05, target: float = 0.8, *, test: str = "t") -> int:
    """Smallest n with `power(snr, n, alpha, test=test)` >= `target`, for one pair, at least 2.

    `ValueError`: snr = 0 or not finite, or `target` outside alpha..1 (both ends excluded).
    """
    if not np.isfinite(snr) or snr == 0:
        raise ValueError(f"snr = {snr}: a finite nonzero mu / sigma needed.")
    if not 0 < alpha < target < 1:
        raise ValueError(f"0 < alpha = {alpha} < target = {target} < 1 needed.")
    high = 2
    while power(snr, high, alpha, test=test) < target:
        high *= 2
    low = high // 2  # power grows with n: the answer lies in low + 1..high, or is 2
    while high - low > 1:
        middle = (low + high) // 2
        found = power(snr, middle, alpha, test=test) >= target
        low, high = (low, middle) if found else (middle, high)
    return high


def detectable_snr(n: int, alpha: float = 0.05, target: float = 0.8, *, test: str = "t") -> float:
    """Smallest |mu / sigma| that a two-sided test of n Gaussian seeds finds with probability
    `target` at level `alpha`: the inverse of `power`. Infinite where no p of n seeds is so small.

    `ValueError`: n < 2, or `target` outside alpha..1 (both ends excluded).
    """
    require_sample(n)
    if not 0 < alpha < target < 1:
        raise ValueError(f"0 < alpha = {alpha} < target = {target} < 1 needed.")
    if power(1.0, n, alpha, test=test) == 0:
        return np.inf
    high = 1.0
    while power(high, n, alpha, test=test) < target:
        high *= 2
    found = optimize.brentq(lambda snr: power(snr, n, alpha, test=test) - target, 0.0, high)
    return float(found)


def discovery_level(n_pairs: int, n_real: int, q: float = 0.05, target: float = 0.8) -> float:
    """Level at which Benjamini-Hochberg at `q` tests one pair, if `n_real` of `n_pairs` are real
    and each is found with probability `target`.

    The fixed point of t = q * (discoveries at level t) / n_pairs for many pairs, and never below
    q / n_pairs, the level of a single discovery. Source: Genovese and Wasserman 2002.
    `ValueError`: 1 <= n_real <= n_pairs does not hold, or q or target lie outside 0..1.
    """
    if not 1 <= n_real <= n_pairs:
        raise ValueError(f"n_real = {n_real} is outside 1..n_pairs = {n_pairs}.")
    if not (0 < q < 1 and 0 < target < 1):
        raise ValueError(f"q = {q} and target = {target} must lie between 0 and 1.")
    real = n_real / n_pairs
    return max(q / n_pairs, q * real * target / (1 - q * (1 - real)))
