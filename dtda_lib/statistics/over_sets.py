"""Means over disjoint sets of seeds, training points and queries, with an interval for all three.

A share of pairs beyond a threshold jumps from seed to seed, so that leaving out single seeds says
little about its error. Whole sets of seeds that share no run are independent repetitions of the
analysis, and their spread needs no formula. What is found in each is an array of *cells*
`(set, train, query)`: 1 or 0 for a share, any number for a mean, and `ratio_cells` or
`cells_of_pairs` for a ratio and for what compares two sets.

All three axes are samples: of runs, of training points, of queries. The error of the mean has a
part from each, and their sum is slightly too large, as each holds the rest of the cells, too
(the sum of one-way variances of a crossed array; Owen 2007, Ann. Appl. Stat. 1, section 3).
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import stats

AXES = ("set", "train", "query")


def over_sets(
    cells: xr.DataArray, *, share: bool = False, level: float = 0.95, axes: Sequence[str] = AXES
) -> xr.Dataset:
    """Mean of cells over `axes` with an interval: `estimate`, `low`, `high`, `df`, other axes kept.

    Variances of the mean over sets, points and queries add up; degrees of freedom by Satterthwaite.
    An ordinary interval is `estimate` -+ t standard errors. That of a `share` stays within 0 to 1:
    Wilson's, with t in place of z and as many cases as independent ones would have to be for that
    variance (Franco, Little, Louis and Slud 2019, J. Surv. Stat. Methodol. 7); without any spread,
    cases are the sets times the points. NaN cells or an axis of one entry give a NaN interval.

    Coverage of nominal 95 % with four sets of ten seeds is measured in
    tests/statistics/test_over_sets.py: 94 to 97 %.

    Raises:
        ValueError: an axis is missing, or a share outside 0..1.
    """
    if missing := [axis for axis in axes if axis not in cells.dims]:
        raise ValueError(f"cells have no axis {missing[0]!r}, only {list(cells.dims)}.")
    cells = cells.astype(np.float64)
    mean = cells.mean(axes, skipna=False)
    if share and bool(((mean < 0) | (mean > 1)).any()):
        raise ValueError("a share lies in 0..1; for other means leave `share` out.")
    total, weighted = 0.0, 0.0
    for axis in axes:
        n = cells.sizes[axis]
        by_entry = cells.mean([other for other in axes if other != axis], skipna=False)
        part = by_entry.var(axis, ddof=1, skipna=False) / n if n > 1 else mean * np.nan
        total, weighted = total + part, weighted + part**2 / max(n - 1, 1)
    df = xr.where(weighted > 0, total**2 / weighted, cells.sizes[axes[0]] - 1.0)
    t = xr.apply_ufunc(lambda d: stats.t.ppf((1 + level) / 2, d), df)
    middle, half = mean, t * np.sqrt(total)
    if share:
        least = float(cells.sizes[axes[0]] * cells.sizes[axes[1]])
        n = xr.where(total > 0, mean * (1 - mean) / total, least)
        n = n.where(n > 0, least).where(np.isfinite(total))
        middle = (mean + t**2 / (2 * n)) / (1 + t**2 / n)
        half = t * np.sqrt(mean * (1 - mean) / n + (t / (2 * n)) ** 2) / (1 + t**2 / n)
    return xr.Dataset({"estimate": mean, "low": middle - half, "high": middle + half, "df": df})


def ratio_cells(
    numerator: xr.DataArray, denominator: xr.DataArray, axes: Sequence[str] = AXES
) -> xr.DataArray:
    """Cells whose mean is a ratio of means, to first order in its error too (delta method).

    NaN where the denominator is 0 everywhere.
    """
    below = denominator.astype(np.float64).mean(axes)
    below = below.where(below != 0)
    ratio = numerator.astype(np.float64).mean(axes) / below
    return ratio + (numerator - ratio * denominator) / below


def cells_of_pairs(values: xr.DataArray) -> xr.DataArray:
    """Cells of what compares two sets: jackknife pseudo-values over sets, `(set, ...)`.

    Args:
        values: `(set, other, ...)`, one number for each ordered pair of sets; those of a set with
            itself are not looked at.

    Their mean over sets is the mean over all ordered pairs of different sets, and their spread is
    that of leaving each set out of both places.

    Raises:
        ValueError: fewer than three sets, of which none can be left out.
    """
    n = values.sizes["set"]
    if n < 3:
        raise ValueError(f"{n} sets of seeds have no interval for what compares two; give three.")
    apart = xr.DataArray(1.0 - np.eye(n), dims=("set", "other"))
    first = (values * apart).sum("other") / (n - 1)
    second = (values * apart).sum("set").rename(other="set") / (n - 1)
    place = (first + second) / 2
    whole = place.mean("set")
    return whole + 2 * (n - 1) / (n - 2) * (place - whole)
