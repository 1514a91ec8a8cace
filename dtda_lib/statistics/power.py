"""How many seeds a test needs: the power of the t-test for Gaussian seeds."""

import numpy as np
from scipy import optimize, stats


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


def detectable_snr(n: int, alpha: float = 0.05, target: float = 0.8) -> float:
    """Smallest |mu / sigma| that the two-sided t-test of n Gaussian seeds finds with probability
    `target` at level `alpha`: the inverse of `power`.

    `ValueError`: n < 2, or `target` outside alpha..1 (both ends excluded).
    """
    require_sample(n)
    if not 0 < alpha < target < 1:
        raise ValueError(f"0 < alpha = {alpha} < target = {target} < 1 needed.")
    high = 1.0
    while power(high, n, alpha) < target:
        high *= 2
    return float(optimize.brentq(lambda snr: power(snr, n, alpha) - target, 0.0, high))


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
