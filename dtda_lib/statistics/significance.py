"""Is the influence of one training point larger than the noise of training?

Scores are as in `over_seeds`. Every test works on all pairs at once; p-values are two-sided and
without unit. Bad input is refused with a `ValueError` of one sentence.

Sources: Nguyen, Seo and Oh 2023 (arXiv 2305.19765) and its published code, ElisaNguyen/bayesian-tda
at 90fa729, named below as "published code".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, product

import numpy as np
import xarray as xr
from scipy import integrate, special, stats

from dtda_lib.names import unknown

from .bootstrap_t import N_RESAMPLES, exceedance, quantile, resampled_null, smallest_p
from .over_seeds import (
    require_same_pairs,
    require_seeds,
    signal_to_noise,
    wilson_interval,
)
from .power import require_sample

# ---------------------------------------------------------------- tests, one p-value a pair


def snr_tail(scores: xr.DataArray, dim: str = "seed") -> xr.DataArray:
    """The published statistic, p_code = 2 Phi(-|mu / sigma|), *without* sqrt(n).

    It asks whether ONE draw can be told from 0, not whether the mean can: more seeds do not shrink
    it, and under pure noise it is not uniform (`null_snr_tail`). sigma = 0 gives 0, or 1 if mu = 0.
    Source: published code, utils.py:309-345.
    """
    return xr.apply_ufunc(
        lambda z: 2 * special.ndtr(-np.abs(z)), signal_to_noise(scores, dim), keep_attrs=False
    )


def t_test(scores: xr.DataArray, dim: str = "seed") -> xr.DataArray:
    """One-sample Student t-test of mean 0 over `dim`, n - 1 degrees of freedom.

    As `scipy.stats.ttest_1samp`, but from `signal_to_noise`, so that sigma = 0 is a defined case
    (p = 0, or 1 if mu = 0) and not a warning. Exact for Gaussian seeds, cautious for heavy tails,
    and wrong where seeds are skewed, most of all far in the tail: with 10 seeds of exponential
    noise p < 0.05 in 10 % and p < 0.0005 in 1.2 % of pairs. `bootstrap_t` is for those.
    """
    snr = signal_to_noise(scores, dim)
    n = scores.sizes[dim]
    return xr.apply_ufunc(
        lambda z: 2 * special.stdtr(n - 1, -np.sqrt(n) * np.abs(z)), snr, keep_attrs=False
    )


def sign_flip(
    scores: xr.DataArray,
    dim: str = "seed",
    *,
    generator: np.random.Generator | None = None,
    max_flips: int = 2**12,
) -> xr.DataArray:
    """Sign-flip test of the mean over `dim`: exact wherever seeds are symmetric about 0.

    So it is where the runs of a pair of seeds with and without a point are exchangeable, however
    skewed the losses; for the mean of a skewed shift it errs as the t-test does (p < 0.05 in 9 % of
    pairs of exponential noise, 10 seeds).

    All 2^n sign vectors are enumerated while 2^n <= `max_flips` (half of them: a flip and its
    negative have the same |mean|), so the smallest attainable p is 2 / 2^n: 0.002 at n = 10.
    Beyond, `max_flips` random flips give p = (1 + b) / (1 + m), and `generator` must be passed.
    A flip counts as extreme within rounding error of the sum, which keeps ties on the safe side.
    Source: Fisher 1935; (1 + b) / (1 + m): Phipson and Smyth 2010.
    """
    scores = require_seeds(scores, dim)
    n = scores.sizes[dim]
    exact = 2**n <= max_flips
    if exact:
        signs = np.array([(1.0, *rest) for rest in product((1.0, -1.0), repeat=n - 1)])
    elif generator is None:
        raise ValueError(f"2^{n} flips exceed max_flips = {max_flips}: pass a generator.")
    else:
        signs = generator.choice([-1.0, 1.0], size=(max_flips, n))

    def p_value(values: np.ndarray) -> np.ndarray:
        extreme = _count_extreme(values.reshape(-1, n), signs).reshape(values.shape[:-1])
        return extreme / len(signs) if exact else (1 + extreme) / (1 + len(signs))

    return xr.apply_ufunc(p_value, scores, input_core_dims=[[dim]], keep_attrs=False)


def _count_extreme(values: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """For each row of `values` (pairs, n), how many of `signs` (flips, n) reach its |sum|."""
    rounding = 4 * values.shape[1] * np.finfo(np.float64).eps
    least = np.abs(values.sum(axis=1)) - rounding * np.abs(values).sum(axis=1)
    counts = np.empty(len(values), dtype=np.int64)
    # Blocks this small stay in the cache, and below the size from which OpenBLAS wakes its threads,
    # which on a busy machine costs ten times what it gains.
    step = max(1, 2**17 // signs.size)
    for start in range(0, len(values), step):
        block = slice(start, start + step)
        sums = values[block] @ signs.T
        counts[block] = np.count_nonzero(np.abs(sums, out=sums) >= least[block, None], axis=1)
    return counts


P_VALUES = {"code": snr_tail, "t": t_test, "sign_flip": sign_flip}
"""What the published statistic is compared with; the tests of `reliable` are in `MEAN_TESTS`."""


# ---------------------------------------------------------------- tests of a whole family of pairs


@dataclass(frozen=True)
class Tested:
    """A test of "mean shift 0" made of every pair.

    Args:
        p: Two-sided p-values, shaped like a pair.
        critical: Level, shaped like a pair -> the |mean| / (sd / sqrt(n)) that p <= level asks for:
            half the width of the pair's interval at 1 - level, in standard errors. Of "sign_flip",
            which has no such number, Student's.
    """

    p: xr.DataArray
    critical: Callable[[xr.DataArray], xr.DataArray]


def bootstrap_t(
    scores: xr.DataArray,
    dim: str = "seed",
    *,
    over: Sequence[str] | None = None,
    generator: np.random.Generator | None = None,
    n_resamples: int = N_RESAMPLES,
) -> Tested:
    """Student's t against its law under the noise of the pairs themselves, pooled (`bootstrap_t`).

    Nothing is assumed of the shape of the noise but that resampled seeds show it. It keeps its
    level where the t-test and the sign flip do not, and pays with power at few seeds: nothing
    exact exists for the mean of an arbitrary law, and noise that no seed has shown cannot be
    resampled. Notebook 11 computes level, false reports and power of all tests, by noise and seeds.

    Args:
        scores: `(seed, ...)`, one number a run.
        dim: The axis of runs.
        over: Dimensions of a family: its pairs share one null law. None: all pairs.
        generator: Draws the resamples, the same for each family; None: always the same draws.
        n_resamples: Resamples of the seeds. p-values are multiples of 1 / (1 + n_resamples * pairs
            of a family), and never far below n^(1 - n), the share of resamples of one seed n times.

    Raises:
        ValueError: fewer than two seeds, values that are not finite, or no such dimension.
    """
    scores = require_seeds(scores, dim)
    rest = [name for name in scores.dims if name != dim]
    over = _family(rest, over)
    stays = [name for name in rest if name not in over]
    generator = np.random.default_rng(0) if generator is None else generator
    ratio = np.sqrt(scores.sizes[dim]) * np.abs(signal_to_noise(scores, dim))
    shape = ratio.transpose(*stays, *over)
    values = scores.transpose(*stays, dim, *over).values
    flat = values.reshape(-1, scores.sizes[dim], int(np.prod([scores.sizes[d] for d in over])))
    seeds = int(generator.integers(2**32))  # each family sees the same resamples
    nulls = [resampled_null(one, np.random.default_rng(seeds), n_resamples) for one in flat]

    def of_families(function: Callable[..., np.ndarray], given: xr.DataArray) -> xr.DataArray:
        rows = given.transpose(*stays, *over).values.reshape(len(nulls), -1)
        found = np.stack([function(null, row) for null, row in zip(nulls, rows)])
        return shape.copy(data=found.reshape(shape.shape)).transpose(*rest)

    def critical(level: xr.DataArray) -> xr.DataArray:
        level = level.broadcast_like(shape)
        return of_families(lambda null, row: np.vectorize(quantile, excluded=[0])(null, row), level)

    return Tested(of_families(exceedance, ratio), critical)


def _student(p: xr.DataArray, n: int) -> Tested:
    def critical(level: xr.DataArray) -> xr.DataArray:
        return xr.apply_ufunc(lambda alpha: stats.t.isf(alpha / 2, n - 1), level)

    return Tested(p, critical)


MEAN_TESTS = {
    "bootstrap_t": lambda scores, over, generator: bootstrap_t(
        scores, over=over, generator=generator
    ),
    "t": lambda scores, over, generator: _student(t_test(scores), scores.sizes["seed"]),
    "sign_flip": lambda scores, over, generator: _student(
        sign_flip(scores, generator=generator), scores.sizes["seed"]
    ),
}
"""Tests of "mean shift 0" by name: scores `(seed, ...)`, dimensions of a family, generator -> all
p-values and critical values. The default of `reliable` and `plan` is the first."""

DEFAULT_TEST = next(iter(MEAN_TESTS))

_SMALLEST = {"bootstrap_t": smallest_p, "t": lambda n: 0.0, "sign_flip": lambda n: 2.0 ** (1 - n)}


def require_reach(test: str, n: int, level: float) -> None:
    """Refuse a test of n seeds none of whose p-values can be as small as `level`.

    Raises:
        ValueError: an unknown test, or too few seeds; the sentence says how many it takes.
    """
    if test not in MEAN_TESTS:
        raise ValueError(unknown("test", test, MEAN_TESTS))
    require_sample(n)
    if _SMALLEST[test](n) > level:
        enough = next(k for k in count(n) if _SMALLEST[test](k) <= level)
        raise ValueError(
            f"test {test!r}: no p-value of {n} seeds is below {_SMALLEST[test](n):.2g}, so that "
            f"nothing can be found at level {level:.2g}; train at least {enough} seeds."
        )


# ---------------------------------------------------------------- what p_code means under noise


def null_snr_tail(n: int) -> float:
    """Mean of p_code over noise-only Gaussian pairs, E[2 Phi(-|T| / sqrt(n))] with T ~ t_{n-1}.

    The level beside which a mean p_code over pairs is read: 0.79 at n = 10, not 0.5.
    """
    require_sample(n)

    def integrand(t: float) -> float:
        return 4 * special.ndtr(-t / np.sqrt(n)) * stats.t.pdf(t, n - 1)

    return integrate.quad(integrand, 0, np.inf)[0]


def null_snr_tail_cdf(alpha: float | np.ndarray, n: int) -> float | np.ndarray:
    """P(p_code < alpha) for a noise-only Gaussian pair of n seeds, 2 F_{t,n-1}(sqrt(n) z_{a/2}).

    Elementwise in `alpha`, a probability; far below `alpha` for the usual levels.
    """
    require_sample(n)
    if not np.all((np.asarray(alpha) >= 0) & (np.asarray(alpha) <= 1)):
        raise ValueError("alpha is a probability and lies in 0..1.")
    return 2 * special.stdtr(n - 1, np.sqrt(n) * special.ndtri(np.asarray(alpha) / 2))


def simulate_null(
    n_seeds: int, n_pairs: int, generator: np.random.Generator, *, law: str = "normal"
) -> xr.DataArray:
    """Independent noise of mean 0 with dimensions (seed, pair), for calibration.

    `law`: "normal", "t3" (Student, 3 degrees of freedom: heavy tails), "skewed" (exponential less
    1: the sign-flip test is not exact for it either) or "log_normal" (of a standard normal, less
    its mean: three times as skewed).
    """
    draws = {
        "normal": lambda size: generator.standard_normal(size),
        "t3": lambda size: generator.standard_t(3, size),
        "skewed": lambda size: generator.standard_exponential(size) - 1,
        "log_normal": lambda size: generator.lognormal(size=size) - np.exp(0.5),
    }
    if law not in draws:
        raise ValueError(f"law '{law}' is none of {list(draws)}.")
    require_sample(n_seeds)
    return xr.DataArray(draws[law]((n_seeds, n_pairs)), dims=("seed", "pair"), attrs={"law": law})


def sign_flip_null(
    scores: xr.DataArray, generator: np.random.Generator, dim: str = "seed"
) -> xr.DataArray:
    """`scores` with the sign of each seed flipped at random, one flip shared by all its pairs.

    An empirical null that keeps the dependence between pairs, which share their runs: repeat it to
    learn how many discoveries noise makes. Real effects inflate its sigma, which makes it cautious.
    """
    scores = require_seeds(scores, dim)
    return scores * xr.DataArray(generator.choice([-1.0, 1.0], size=scores.sizes[dim]), dims=dim)


# ---------------------------------------------------------------- many pairs


def benjamini_hochberg(
    p: xr.DataArray, q: float = 0.05, *, over: Sequence[str] | None = None, method: str = "bh"
) -> xr.Dataset:
    """False discovery control over all pairs, or within each cell of the dimensions not in `over`.

    Returns `adjusted` p-values and the booleans `discovery` = adjusted <= q, both shaped like `p`.
    Pairs share runs and are dependent: "bh" (Benjamini and Hochberg 1995) holds for independent or
    positively dependent p-values, "by" (Benjamini and Yekutieli 2001) for any, at a factor of about
    log(number of pairs). Neither makes p_code a calibrated p-value. `ValueError`: p outside 0..1.
    """
    over = _family(p.dims, over)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values lie in 0..1, and none may be missing.")
    if not 0 < q < 1:
        raise ValueError(f"q = {q} is a share of false discoveries, between 0 and 1.")

    def adjust(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(*values.shape[: values.ndim - len(over)], -1)
        return stats.false_discovery_control(flat, axis=-1, method=method).reshape(values.shape)

    adjusted = xr.apply_ufunc(
        adjust, p, input_core_dims=[over], output_core_dims=[over], keep_attrs=False
    ).transpose(*p.dims)
    return xr.Dataset({"adjusted": adjusted, "discovery": adjusted <= q})


def _family(dims: Sequence[str], over: Sequence[str] | None) -> list[str]:
    """The dimensions of a family of pairs; all if not given."""
    over = list(dims if over is None else over)
    if missing := set(over) - set(dims):
        raise ValueError(f"pairs have no dimension {sorted(missing)}, only {list(dims)}.")
    return over


@dataclass(frozen=True)
class Replication:
    """What `replication` found; shares are of pairs, `ci` is a 95 % Wilson interval."""

    n_pairs: int
    n_first: int  # discoveries in the first set of seeds
    n_replicated: int
    share: float  # n_replicated / n_first; NaN without discoveries
    ci: tuple[float, float]
    chance: float  # alpha / 2, for a pair of no effect
    base_rate: float  # the same criterion on all pairs, discoveries or not
    n_second: int  # discoveries in the second set
    n_both: int
    jaccard: float  # n_both / discoveries in either; NaN without any


def replication(
    p_first: xr.DataArray,
    mu_first: xr.DataArray,
    p_second: xr.DataArray,
    mu_second: xr.DataArray,
    *,
    alpha: float = 0.05,
    q: float = 0.05,
) -> Replication:
    """Do the discoveries of one set of seeds (Benjamini-Hochberg at `q`) hold in a disjoint one?

    A discovery replicates if in the second set p <= `alpha` and mu has the same nonzero sign. The
    chance rate alpha / 2 holds for a calibrated p (t, sign flip), not for p_code. All four arrays
    have the same pairs, whatever their shape. The interval takes pairs as independent; they share
    runs, so a sound comparison repeats this on `sign_flip_null` of the second set.
    """
    require_same_pairs(p_first, mu_first, p_second, mu_second)
    if not (np.isfinite(mu_first) & np.isfinite(mu_second)).all():
        raise ValueError("mu_first or mu_second holds values that are not finite.")
    first = benjamini_hochberg(p_first, q).discovery
    second = benjamini_hochberg(p_second, q).discovery
    holds = (p_second <= alpha) & (np.sign(mu_first) * np.sign(mu_second) > 0)
    n_first, n_second, n_both = int(first.sum()), int(second.sum()), int((first & second).sum())
    n_replicated = int((first & holds).sum())
    n_either = n_first + n_second - n_both
    return Replication(
        n_pairs=p_first.size,
        n_first=n_first,
        n_replicated=n_replicated,
        share=n_replicated / n_first if n_first else np.nan,
        ci=wilson_interval(n_replicated, n_first),
        chance=alpha / 2,
        base_rate=float(holds.mean()),
        n_second=n_second,
        n_both=n_both,
        jaccard=n_both / n_either if n_either else np.nan,
    )
