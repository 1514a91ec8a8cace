"""Do two methods agree on the mean, spread or signal-to-noise ratio of the scores, and how well
could they at best?

A correlation between two noisy estimates is bounded by their reliabilities, which independent seeds
measure: by halves of one set (`split_half`) or by two sets (`cross_set_reliability`). Arrays are
labelled as in `over_seeds`; a *statistic* maps scores to an array without `seed`. Correlations have
no unit and keep their sign; bad input is refused with a `ValueError` of one sentence.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from math import comb

import numpy as np
import xarray as xr
from scipy import stats

from .over_seeds import mean_and_sd, require_same_pairs, require_seeds, signal_to_noise

Reduction = Callable[[xr.DataArray], xr.DataArray]
PAIR = ("train", "query")


def mean(scores: xr.DataArray) -> xr.DataArray:
    """mu over seeds, in the unit of the scores."""
    return require_seeds(scores).mean("seed", skipna=False)


def sd(scores: xr.DataArray) -> xr.DataArray:
    """ddof-1 sigma over seeds, in the unit of the scores."""
    return mean_and_sd(scores)[1]


STATISTICS: dict[str, Reduction] = {"mean": mean, "sd": sd, "snr": signal_to_noise}
"""What is compared of two methods; the published code correlates "snr" under the name "p"."""


def require_kind(kind: str) -> None:
    """Refuse a kind of correlation that is neither "pearson" nor "spearman"."""
    if kind not in ("pearson", "spearman"):
        raise ValueError(f"kind '{kind}' is neither 'pearson' nor 'spearman'.")


def correlation(
    a: xr.DataArray, b: xr.DataArray, over: Sequence[str] = PAIR, kind: str = "pearson"
) -> xr.DataArray:
    """Pearson or Spearman correlation over the dimensions `over`, one for each cell of the others.

    Dimensions that only one array has are broadcast: scores of five methods against one reference
    give five numbers. A constant input has no correlation and gives NaN. Spearman ranks share the
    average of their ties. `ValueError`: a dimension missing, labels that differ, fewer than two
    cells, NaN anywhere, or (Pearson) an infinity. Source: published code of arXiv 2305.19765,
    run_correlation_analysis.py, flattens train and query as the default does.
    """
    require_kind(kind)
    over = [over] if isinstance(over, str) else list(over)
    for array in (a, b):
        if missing := set(over) - set(array.dims):
            raise ValueError(f"an array has no dimension {sorted(missing)}: {list(array.dims)}.")
        if np.prod([array.sizes[dim] for dim in over]) < 2:
            raise ValueError(f"fewer than two cells over {over}.")
        if not (array.notnull() if kind == "spearman" else np.isfinite(array)).all():
            raise ValueError(f"an array holds values that {kind} correlation cannot use.")
    require_same_pairs(a, b, shared_only=True)
    unit_a, unit_b = (_unit_vectors(array, over, kind) for array in (a, b))
    return xr.dot(unit_a, unit_b, dim="_cell").clip(-1, 1)


def _unit_vectors(array: xr.DataArray, over: Sequence[str], kind: str) -> xr.DataArray:
    """`array` with `over` flattened into a last dimension `_cell`, centred and of length 1."""

    def standardise(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(*values.shape[: values.ndim - len(over)], -1)
        if kind == "spearman":
            flat = stats.rankdata(flat, axis=-1)
        constant = (flat == flat[..., :1]).all(axis=-1, keepdims=True)
        centred = flat - flat.mean(axis=-1, keepdims=True)
        # Divided by the largest first, so that squares of tiny or huge scores stay in range.
        centred = centred / np.where(constant, np.nan, np.abs(centred).max(-1, keepdims=True))
        return centred / np.linalg.norm(centred, axis=-1, keepdims=True)

    return xr.apply_ufunc(
        standardise,
        array.astype(np.float64),
        input_core_dims=[over],
        output_core_dims=[["_cell"]],
        keep_attrs=False,
    )


def split_half(
    scores: xr.DataArray,
    statistic: Reduction,
    *,
    n_splits: int = 126,
    generator: np.random.Generator | None = None,
    over: Sequence[str] = PAIR,
    kind: str = "pearson",
    dim: str = "seed",
) -> xr.Dataset:
    """Correlation of `statistic` between halves of the seeds, and the reliability of all of them.

    All distinct splits are taken while there are at most `n_splits` (126 at n = 9 or 10), and else
    `n_splits` random ones, for which `generator` must be passed; an odd n gives halves that differ
    by one. Returns, for each cell of the dimensions neither in `over` nor `dim`: `r_half`, the mean
    over splits; `r_half_sd`, its ddof-0 spread over splits (they share seeds: this is no standard
    error); `reliability`, Spearman-Brown's 2 r / (1 + r) of `r_half`; and `n_splits`. A split of
    135,000 pairs takes 0.05 s; two dozen random ones do where that is too long.
    `ValueError`: fewer than four seeds, as a half has to have a sigma.
    """
    require_seeds(scores, dim, at_least=4)
    splits = halves_of(scores.sizes[dim], n_splits, generator)
    values = [
        correlation(*(statistic(scores.isel({dim: half})) for half in halves), over, kind)
        for halves in splits
    ]
    r = xr.concat(values, "split")
    r_half = r.mean("split", skipna=False)
    return xr.Dataset(
        {
            "r_half": r_half,
            "r_half_sd": r.std("split", skipna=False),
            "reliability": spearman_brown(r_half),
            "n_splits": len(values),
        }
    )


def halves_of(
    n: int, n_splits: int, generator: np.random.Generator | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of the seeds in either half: every distinct split, or `n_splits` random ones."""
    if n_splits < 1:
        raise ValueError(f"n_splits = {n_splits}: at least one split needed.")
    distinct = comb(n, n // 2) if n % 2 else comb(n, n // 2) // 2
    if distinct > n_splits and generator is None:
        raise ValueError(f"{distinct} splits exceed n_splits = {n_splits}: pass a generator.")
    if distinct > n_splits:
        orders = (generator.permutation(n) for _ in range(n_splits))
        return ((order[: n // 2], order[n // 2 :]) for order in orders)
    chosen = (np.array(half) for half in combinations(range(n), n // 2))
    # For even n, a half and its complement are one split: the half with seed 0 stands for both.
    return ((half, np.setdiff1d(np.arange(n), half)) for half in chosen if n % 2 or half[0] == 0)


def spearman_brown(r_half: xr.DataArray | float) -> xr.DataArray | float:
    """Reliability of a whole from the correlation of its halves, 2 r / (1 + r).

    A negative r shows no reliability and gives 0, where the formula runs off to minus infinity.
    Exact for means; an approximation for sigma and SNR, whose estimates are biased at small n.
    Source: Spearman 1910; Brown 1910.
    """
    clipped = np.maximum(r_half, 0.0)
    return 2 * clipped / (1 + clipped)


def cross_set_reliability(
    first: xr.DataArray,
    second: xr.DataArray,
    statistic: Reduction,
    *,
    over: Sequence[str] = PAIR,
    kind: str = "pearson",
    dim: str = "seed",
) -> xr.DataArray:
    """Correlation of `statistic` between two independent sets of seeds.

    For sets of equal size this is the reliability of one set as it stands: no Spearman-Brown step.
    `ValueError`: the sets share a seed label, fewer than two seeds, or as `correlation`.
    """
    first, second = (require_seeds(scores, dim) for scores in (first, second))
    if dim in first.indexes and dim in second.indexes:
        shared = first.indexes[dim].intersection(second.indexes[dim])
        if len(shared):
            raise ValueError(f"the sets share {dim} {list(shared)} and are not independent.")
    return correlation(statistic(first), statistic(second), over, kind)


def noise_ceiling(rel_a: xr.DataArray | float, rel_b: xr.DataArray | float) -> xr.DataArray | float:
    """Largest correlation to expect between two noisy estimates, sqrt(rel_a * rel_b).

    Reached where the noise-free quantities correlate perfectly and the two noises are independent;
    estimates from the *same* runs share noise and can exceed it. A negative reliability counts as
    0. Source: Spearman 1904 (correction for attenuation).
    """
    return np.sqrt(np.maximum(rel_a, 0.0) * np.maximum(rel_b, 0.0))
