"""Products between disjoint sets of seeds: squares and projections without the noise of training.

A square of an estimated change holds the change and the noise of its estimate. Sets of seeds that
share no run have independent noise, so the mean product of one set with another holds the change
alone, exactly and at any number of seeds. Paired runs (the same seeds before and after a removal)
make that product precise, and leave it unbiased.
"""

import numpy as np
import xarray as xr

KINDS = ("mean", "law", "spread")
"""What `features` says of a law."""


def between_sets(one: xr.DataArray, other: xr.DataArray | None = None) -> xr.DataArray:
    """Mean of `one[i] * other[j]` over all ordered pairs of different sets i, j.

    Args:
        one: With the axis `set`; what else it has may be broadcast.
        other: The same sets; `one` if not given: an unbiased square.

    Returns:
        Without the axis `set`; negative where noise has it so. NaN with a single set.

    Raises:
        ValueError: an axis `set` is missing, or the two differ in it.
    """
    other = one if other is None else other
    n = one.sizes.get("set"), other.sizes.get("set")
    if n[0] is None or n[0] != n[1]:
        raise ValueError(f"products between sets need one axis 'set' of both, not {n[0]}, {n[1]}.")
    same = (one * other).sum("set", skipna=False)
    every = one.sum("set", skipna=False) * other.sum("set", skipna=False)
    return (every - same) / (n[0] * (n[0] - 1) or np.nan)


def features(law: xr.DataArray, kind: str) -> xr.DataArray:
    """What is compared of a law, from its sample `(set, seed, ...)`: a difference of features.

    "mean": its mean; "spread": the logarithm of its variance; "law": its quantiles, the ordered
    sample along the axis `rank`. The mean over ranks of `between_sets` of a difference of quantiles
    estimates the square of W2 between two laws: exactly that of the *expected* ordered samples,
    which for normal laws is `(difference of means)^2 + c (difference of sds)^2` with c 0.57 at
    four seeds, 0.92 at 32, and 1 in the limit.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "mean":
        return law.mean("seed")
    if kind == "spread":
        return np.log(law.var("seed", ddof=1))
    if kind != "law":
        raise ValueError(f"a law has no feature {kind!r}; choose one of {', '.join(KINDS)}.")
    ranked = law.transpose("seed", ...).rename(seed="rank").drop_vars("rank", errors="ignore")
    return ranked.copy(data=np.sort(ranked.values, axis=0))


def squared_gap(gap: xr.DataArray) -> xr.DataArray:
    """`between_sets` of a difference of features with itself, the mean over ranks where there are
    any: the squared distance of two laws, noise taken off, in squared units of the feature."""
    square = between_sets(gap)
    return square.mean("rank") if "rank" in square.dims else square
