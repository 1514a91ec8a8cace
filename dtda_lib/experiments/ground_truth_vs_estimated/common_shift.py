"""How much of a shift has nothing to do with the point that was left out?

Where training goes on from a trained model (protocol `continued`), every shift holds what twice the
training does, whichever point is left out. `common_shift` splits the squares of a shift
`(seed, train, query)` into parts that are common to all training points and parts that are not.
Training points and queries are those given, only the seeds are random. Bad input is refused with a
`ValueError` of one sentence.

Source: the orthogonal decomposition of a two-way layout, seeds by training points, for each query.
"""

import xarray as xr

from dtda_lib.statistics.over_seeds import require_seeds

SHIFT_PARTS = ("constant", "common, by query", "common, by seed", "point", "noise")
_DIMS = ("seed", "train", "query")


def common_shift(shift: xr.DataArray) -> xr.Dataset:
    """Mean squares of the parts of a shift, and their shares, from `(seed, train, query, ...)`.

    Write shift = g_query + h_(seed, query) + m_(train, query) + e, where h and e have mean 0 over
    seeds, and m and e over training points. The `part`s are the mean squares of

    * "constant": the mean of g over queries, one number for everything;
    * "common, by query": g about that mean, a shift of the query whatever is left out;
    * "common, by seed": h, a shift of the query in one run whatever is left out;
    * "point": m, the systematic effect of the training point, which is what is sought;
    * "noise": e, what a run does to one pair alone.

    `mean_square` `(part, ...)`, in squared units: unbiased for the training points and queries
    given, hence negative now and then, and adding up to the mean squared shift exactly.
    `share_of_squares` divides by that sum; `share_of_variance` leaves "constant" out (NaN there)
    and divides by the rest, the variance over seeds, points and queries. Both add up to 1; a share
    is a ratio of unbiased estimates and has a bias of the order of 1 / seeds.
    `plain_share_of_squares`: the same from the sums of squares as they are, never negative, where
    noise leaks into all parts by 1 / seeds.

    `ValueError`: fewer than two seeds or training points.
    """
    for dim, least in (("seed", 2), ("train", 2), ("query", 1)):
        shift = require_seeds(shift, dim, least)
    plain = _sums_of_squares(shift)
    n = shift.sizes["seed"]
    # Over n seeds, a mean square about the mean holds (n - 1) / n of the variance of h or of e;
    # the missing n-th is in the square of the mean: in "constant" and g for h, in m for e.
    seed, noise = (plain.sel(part=p, drop=True) / (n - 1) for p in ("common, by seed", "noise"))
    overall = _variance_of_mean(shift)
    change = {
        "constant": -overall,
        "common, by query": overall - seed,
        "common, by seed": seed,
        "point": -noise,
        "noise": noise,
    }
    unbiased = plain + xr.concat(list(change.values()), plain["part"])
    about_mean = unbiased.where(unbiased["part"] != "constant")
    return xr.Dataset(
        {
            "mean_square": unbiased,
            "share_of_squares": unbiased / unbiased.sum("part", skipna=False),
            "share_of_variance": about_mean / about_mean.sum("part"),
            "plain_share_of_squares": plain / plain.sum("part", skipna=False),
        }
    )


def _sums_of_squares(shift: xr.DataArray) -> xr.DataArray:
    """Mean over (seed, train, query) of the square of each part as it is found, `(part, ...)`."""
    common = shift.mean("train", skipna=False)  # (seed, query, ...)
    by_query = common.mean("seed", skipna=False)
    constant = by_query.mean("query", skipna=False)
    point = shift.mean("seed", skipna=False) - by_query
    by_seed = common - by_query
    found = [constant, by_query - constant, by_seed, point, shift - by_query - by_seed - point]
    squares = [
        (part**2).mean([dim for dim in _DIMS if dim in part.dims], skipna=False) for part in found
    ]
    return xr.concat(squares, xr.DataArray(list(SHIFT_PARTS), dims="part", name="part"))


def _variance_of_mean(shift: xr.DataArray) -> xr.DataArray:
    """Variance of the mean over seeds of the shift's mean over points and queries."""
    each = shift.mean(("train", "query"), skipna=False)
    return each.var("seed", ddof=1, skipna=False) / shift.sizes["seed"]
