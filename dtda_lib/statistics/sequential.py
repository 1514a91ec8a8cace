"""Which points matter, decided with as few retrainings as that takes: seeds added look by look.

After a set number of seeds each (a *look*) the pairs are tested. Points all of whose pairs are
decided are left alone; the others are trained with further seeds. Three things are kept apart:

* **An effect**, mean shift other than 0. p_j is the pooled bootstrap-t p-value at look j, and the
  sequential p-value is min_j p_j / w_j with weights w ~ n of sum 1. By Bonferroni over looks it is
  a p-value whenever one stops, for whatever reason, as far as each p_j is one. Benjamini-Hochberg
  at q over *all* pairs, those not yet trained having p = 1, makes the discoveries. p-values of open
  pairs only fall, so discoveries stay: an interruption leaves an answer at the rate q.
* **No effect beyond delta**: one-sided tests of "mean shift >= delta" and "<= -delta". Their level
  `miss` is a loss of power, spent over all looks: of pairs whose shift is delta or more, at most
  that share is expected to be called so (twice that where all of the tail of t is on the side of
  0). It makes no discovery false: such a pair has p = 1 from then on.
* **Anything else** needs more seeds, and about how many is said.

No test of the mean is exact for skewed noise; the pooled bootstrap t keeps its level there (see
`bootstrap_t`), where e-values of the Gaussian t-test do not. Their e-BH would hold under any
dependence of pairs; what is done here holds as far as Benjamini-Hochberg does.
Means of pairs that stopped because they were large are too large, as in any sequential design.

Sources: Benjamini and Hochberg 1995; Lan and DeMets 1983 (spending); Schuirmann 1987 (two one-sided
tests); He and Bartroff 2021 (false discoveries in sequences); Wang and Ramdas 2022 (e-BH). NumPy
only; values and delta have one unit; positive = the point helps, where values are losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special, stats

from .bootstrap_t import N_RESAMPLES, exceedance, quantile, resampled_null

_FIRST = (4, 6)  # looks are these times 1, 2, 4, ...
_PATHS = 20_000  # of `spending`

IS_OPEN, IS_HELP, IS_HARM, IS_NONE = range(4)
DECISIONS = ("needs more seeds", "helps", "harms", "no effect beyond delta")
"""What is said of a pair, by its code."""


@dataclass(frozen=True)
class Decided:
    """What the looks found; arrays are `(point, query)`, values in the unit of the shifts.

    Args:
        decision: Codes, positions in `DECISIONS`.
        p: Sequential p-value of "mean shift 0"; 1 where there is no look yet, and where no effect
            beyond delta was found.
        mean, low, high: At the last look of the point, and an interval of level 1 - q at all looks
            at once; NaN and infinite before the first. Not corrected for many pairs.
        seeds: `(point,)` seeds of that look, or 0.
        more: About how many further seeds will decide the pair; 0 if it is decided.
    """

    decision: np.ndarray
    p: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray
    more: np.ndarray


def looks_up_to(n: int) -> tuple[int, ...]:
    """4, 6, 8, 12, 16, 24, ... seeds, and at last n.

    Raises:
        ValueError: n < 4.
    """
    if n < _FIRST[0]:
        raise ValueError(f"{n} seeds: nothing can be decided below {_FIRST[0]}; allow more.")
    usual = sorted(first * 2**k for first in _FIRST for k in range(n.bit_length()))
    return (*(look for look in usual if look <= n - 2), n)


@lru_cache(maxsize=64)
def spending(looks: tuple[int, ...], miss: float) -> tuple[np.ndarray, np.ndarray]:
    """What each look may spend: shares `(look,)` of q, and one-sided levels `(look,)`.

    Levels are c / sqrt(n), c such that of normal pairs with a shift of delta a share `miss` falls
    below its level at some look, by simulation with always the same draws.

    Raises:
        ValueError: looks that do not rise by two or more, or begin below three seeds.
    """
    n = np.asarray(looks)
    if n.ndim != 1 or not len(n) or n[0] < 3 or (np.diff(n) < 2).any():
        raise ValueError(
            f"looks {looks}: give numbers of seeds that rise by 2 or more, the first at least 3."
        )
    draws = np.random.default_rng(0).standard_normal((_PATHS, n[-1]))
    mean = draws.cumsum(axis=1)[:, n - 1] / n
    variance = ((draws**2).cumsum(axis=1)[:, n - 1] / n - mean**2) / (n - 1)  # of the mean
    p = special.stdtr(n - 1, mean / np.sqrt(variance))
    constant = np.quantile((p * np.sqrt(n)).min(axis=1), miss)
    return n / n.sum(), constant / np.sqrt(n)


def decisions(
    values: np.ndarray,
    delta: float,
    *,
    looks: Sequence[int],
    q: float = 0.05,
    miss: float = 0.2,
    control: np.ndarray | None = None,
    n_resamples: int = N_RESAMPLES,
) -> Decided:
    """All looks that the seeds allow, in their order; always the same draws.

    A function of the data alone: what was trained in stages and what was there at once give the
    same, because only points with an undecided pair take part in a look.

    Args:
        values: `(seed, point, query)` paired shifts. NaN where a run is missing: a point takes part
            in a look if its first n seeds are there.
        delta: Smallest shift that matters, above 0.
        looks: Numbers of seeds, rising.
        q: Share of false ones among pairs called "helps" or "harms", sign included.
        miss: See the module.
        control: `(seed, point, query)`, of mean 0: see `controlled`, which is done at each look.
        n_resamples: Of the pooled law of t, for each of all pairs.

    Raises:
        ValueError: values or controls of another shape; delta, q or miss out of range; see
            `spending`.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 3:
        raise ValueError(f"decisions: values {values.shape} are not (seed, point, query).")
    if control is not None and np.shape(control) != values.shape:
        raise ValueError(f"decisions: controls {np.shape(control)} are not {values.shape}.")
    if not (np.isfinite(delta) and delta > 0):
        raise ValueError(f"delta = {delta}: give the smallest shift that matters, above 0.")
    if not (0 < q < 1 and 0 < miss < 1):
        raise ValueError(f"q = {q} and miss = {miss} must lie between 0 and 1.")
    shares, levels = spending(tuple(looks), miss)
    shape = values.shape[1:]
    found = Decided(
        decision=np.zeros(shape, int),
        p=np.ones(shape),
        mean=np.full(shape, np.nan),
        low=np.full(shape, -np.inf),
        high=np.full(shape, np.inf),
        seeds=np.zeros(shape[0], int),
        more=np.full(shape, looks[0]),
    )
    there = np.isfinite(values).all(axis=2)  # (seed, point)
    for at, (n, w, level) in enumerate(zip(looks, shares, levels)):
        open_points = (found.decision == IS_OPEN).any(axis=1)
        rows = np.flatnonzero(open_points & there[:n].all(axis=0)) if n <= len(values) else ()
        if len(rows):
            seen = values[:n, rows]
            if control is not None:
                seen = controlled(seen, np.asarray(control)[:n, rows])
            generator = np.random.default_rng(at)
            _look(found, rows, seen, delta, (q, w, level), generator, n_resamples)
    return found


def _look(
    found: Decided,
    rows: np.ndarray,
    seen: np.ndarray,
    delta: float,
    spent: tuple[float, float, float],
    generator: np.random.Generator,
    n_resamples: int,
) -> None:
    """Test the pairs of `rows` by `seen` `(seed, row, query)`; changes `found` in place.

    `spent`: q, the share of it that this look has, and its level of "no effect beyond delta".
    """
    n, (q, w, v) = len(seen), spent
    # As many values as a test of all pairs has: p has to be as fine for the few that are left.
    enough = -(-n_resamples * found.p.size // seen[0].size)
    null = resampled_null(seen.reshape(n, -1), generator, enough)
    mean, sd = seen.mean(axis=0), seen.std(axis=0, ddof=1)
    sd = np.where((seen == seen[0]).all(axis=0), 0.0, sd)  # where rounding would leave 1e-17
    error = sd / np.sqrt(n)

    def beyond(distance: np.ndarray) -> np.ndarray:
        """p of |t| for a mean this far from its hypothesis; without noise 0, or 1 if not far."""
        t = np.abs(distance) / np.where(error > 0, error, 1.0)
        return np.where(error > 0, exceedance(null, t), distance == 0)

    nearer = np.maximum(delta - np.abs(mean), 0.0)  # to the nearer of -delta and delta
    still = found.decision[rows] == IS_OPEN
    absent = still & (nearer > 0) & (beyond(nearer) / 2 <= v)
    p = np.where(still, np.minimum(found.p[rows], beyond(mean) / w), found.p[rows])
    found.p[rows] = np.where(absent, 1.0, p)
    found.decision[rows] = np.where(absent, IS_NONE, found.decision[rows])
    half = quantile(null, q * w) * np.where(error > 0, error, 1.0)
    half = np.where(error > 0, half, 0.0)
    found.mean[rows], found.low[rows], found.high[rows] = mean, mean - half, mean + half
    found.seeds[rows] = n
    adjusted = stats.false_discovery_control(found.p.ravel()).reshape(found.p.shape)
    new = (adjusted <= q) & (found.decision == IS_OPEN)
    found.decision[new] = np.where(found.mean[new] > 0, IS_HELP, IS_HARM)
    level = q * w * max(1, (adjusted <= q).sum()) / found.p.size  # of the next discovery
    found.more[rows] = _more(n, mean, sd, nearer, level, v)
    found.more[found.decision != IS_OPEN] = 0


def _more(
    n: int, mean: np.ndarray, sd: np.ndarray, nearer: np.ndarray, level: float, one_sided: float
) -> np.ndarray:
    """Further seeds until a normal pair of this mean and sd is decided, whichever way is sooner."""
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = (-special.ndtri(level / 2) * sd / np.abs(mean)) ** 2
        none = (-special.ndtri(one_sided) * sd / nearer) ** 2
    return np.ceil(np.clip(np.fmin(effect, none) - n, 1, 10**6)).astype(int)


# ---------------------------------------------------------------- control variates


def mean_zero(predictions: np.ndarray, n: int) -> np.ndarray:
    """Predictions of the first n seeds, each less the mean of seeds of its own that follow.

    Args:
        predictions: `(seed, ...)` by an estimator, of more than n seeds, on which nothing has to be
            retrained: seed s < n is compared with seeds n + s, 2n + s, ...
        n: Seeds that are retrained.

    Returns:
        `(n, ...)`, independent over seeds and of mean 0, whatever the estimator is worth.

    Raises:
        ValueError: fewer than 2 n seeds.
    """
    blocks = len(predictions) // n
    if blocks < 2:
        raise ValueError(
            f"predictions of {len(predictions)} seeds are no control of {n}: give {2 * n} or more, "
            f"the first {n} being those that are retrained."
        )
    blocked = predictions[: blocks * n].reshape(blocks, n, *predictions.shape[1:])
    return blocked[0] - blocked[1:].mean(axis=0)


def controlled(values: np.ndarray, control: np.ndarray) -> np.ndarray:
    """`values - beta_{-s} control`, with less noise where the control goes along, and equal mean.

    beta_{-s} = rho sd(values) / sd(control) of each pair by the seeds other than s, with rho their
    mean correlation over all points of a query. As it knows nothing of seed s,
    E[beta_{-s} control_s] = 0: the mean stays unbiased whatever the control is worth
    (cross-fitting). rho is shrunk by 1 - 1 / ((n - 3) rho^2), and to 0 where that is negative:
    points of a query share their runs, so that they count as one.

    Args:
        values: `(seed, point, query)`.
        control: The same, of mean 0 and independent over seeds: see `mean_zero`.

    Source: Lavenberg and Welch 1981 (control variates); Angelopoulos et al. 2023 (predictions);
    James and Stein 1961 (shrinking).
    """
    n = len(values)
    if n < 5:  # three other seeds have no correlation that could be told from 0
        return values
    d, c = (x - x.mean(axis=0) for x in (values, control))

    def others(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Sum of products about the mean of the seeds other than s, `(seed, point, query)`."""
        return (one * other).sum(axis=0) - n / (n - 1) * one * other

    size_d, size_c = (
        np.sqrt(np.where(found > 1e-12 * (x**2).sum(axis=0), found, np.inf))  # more than rounding
        for x, found in ((d, others(d, d)), (c, others(c, c)))
    )
    rho = (others(d, c) / size_d / size_c).mean(axis=1, keepdims=True)  # (seed, 1, query)
    with np.errstate(divide="ignore"):
        rho = rho * np.maximum(0.0, 1 - 1 / ((n - 3) * rho**2))
    ratio = np.where(np.isfinite(size_d) & np.isfinite(size_c), size_d, 0.0) / size_c
    return values - rho * ratio * control


def variance_ratio(values: np.ndarray, control: np.ndarray) -> float:
    """Mean over pairs of var(controlled) / var(values) over seeds, `(seed, point, query)`.

    1 - rho^2 for a perfect coefficient, above 1 where the control only adds noise. Pairs without
    noise do not count; NaN if none has any.
    """
    before, after = (x.var(axis=0, ddof=1) for x in (values, controlled(values, control)))
    noisy = before > 0
    return float((after[noisy] / before[noisy]).mean()) if noisy.any() else np.nan


def by_prediction(predictions: np.ndarray) -> np.ndarray:
    """Points `(point,)` in the order in which to try them: the largest predicted shift first.

    Args:
        predictions: `(seed, point, query)`; only ratios within a query count.

    A point counts by its best query, |mean over seeds| as a share of the largest of that query.
    """
    size = np.abs(np.asarray(predictions, np.float64).mean(axis=0))
    share = size / np.maximum(size.max(axis=0), np.finfo(float).tiny)
    return np.argsort(-share.max(axis=1), kind="stable")
