"""How many seeds a test needs: the power of the t-test for Gaussian seeds."""

import numpy as np
from scipy import stats


def require_sample(n: int) -> None:
    """Refuse a number of seeds without a standard deviation.

    Raises:
        ValueError: n < 2.
    """
    if n < 2:
        raise ValueError(f"n = {n} seeds have no standard deviation; at least 2 needed.")


def power(snr: float | np.ndarray, n: int, alpha: float = 0.05) -> float | np.ndarray:
    """Probability that the two-sided t-test of n Gaussian seeds finds a pair of true mu / sigma.

    Elementwise in `snr`, whose sign is ignored. T is noncentral t with shift sqrt(n) snr, and its
    square noncentral F, whose upper tail scipy evaluates where the lower tail of T comes out NaN.
    """
    require_sample(n)
    critical, noncentrality = stats.t.isf(alpha / 2, n - 1), n * np.square(snr)
    positive = np.where(noncentrality > 0, noncentrality, 1.0)  # scipy's tail is wrong at 0
    return np.where(noncentrality > 0, stats.ncf.sf(critical**2, 1, n - 1, positive), alpha)[()]


def seeds_needed(snr: float, alpha: float = 0.05, target: float = 0.8) -> int:
    """Smallest n with `power(snr, n, alpha)` >= `target`, for one pair, at least 2.

    `ValueError`: snr = 0 or not finite, or `target` outside alpha..1 (both ends excluded).
    """
    if not np.isfinite(snr) or snr == 0:
        raise ValueError(f"snr = {snr}: a finite nonzero mu / sigma needed.")
    if not 0 < alpha < target < 1:
        raise ValueError(f"0 < alpha = {alpha} < target = {target} < 1 needed.")
    high = 2
    while power(snr, high, alpha) < target:
        high *= 2
    low = high // 2  # power grows with n: the answer lies in low + 1..high, or is 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(snr, middle, alpha) < target else (low, middle)
    return high
