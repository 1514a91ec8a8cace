"""Which pairs of a training point and a query are more than the noise of training?

Shifts are `(seed, train, query)`, m(theta(D without the point)) - m(theta(D)); with m = query loss,
positive = the point helps. The estimand is their mean over the law of seeds.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.names import Shown, listing, short
from dtda_lib.statistics.over_seeds import mean_and_sd, require_seeds, wilson_interval
from dtda_lib.statistics.significance import (
    DEFAULT_TEST,
    MEAN_TESTS,
    benjamini_hochberg,
    require_reach,
)

from .arrays import axis_of_removals, upon_removal, warn_of_losses

FAMILIES = {"all": ("train", "query"), "query": ("train",)}


def tested_over(family: str) -> tuple[str, ...]:
    """The dimensions over which tests are corrected; an unknown family is refused."""
    if family not in FAMILIES:
        raise ValueError(f"family {family!r}: tests are corrected over 'all' pairs or per 'query'.")
    return FAMILIES[family]


def reliable(
    shift: xr.DataArray,
    *,
    q: float = 0.05,
    family: str = "all",
    test: str = DEFAULT_TEST,
    generator: np.random.Generator | None = None,
) -> xr.Dataset:
    """Which pairs have a mean shift that is not noise of training, at a false discovery rate q.

    Losses make skewed shifts, and then Student's t reports noise: among 100 pairs of exponential
    noise and eight seeds it finds something in three of four studies, where 5 % are allowed. The
    default takes the law of t from the noise of the pairs: with normal, t3, exponential and
    log-normal noise and 8 to 30 seeds it finds something in at most 5 % (computed in notebook 11).
    Its price is power with few seeds, which `plan` says beforehand: take 16 or more.

    Args:
        shift: `(seed, train, query)`, from `shifts` or `as_scores`, or of groups of points
            `(seed, removal, query)`. With the attribute `sign` "adding" it is turned round.
        q: Expected share of false ones among the pairs called reliable.
        family: "all" corrects over all pairs, for readers who look through queries; "query" over
            the points of each query, for a query chosen beforehand.
        test: "bootstrap_t"; "t" (Student's, for Gaussian seeds: more power with few); "sign_flip"
            (exact where a shift and its negative are equally likely, as they are if the point
            does nothing to the law; not for the mean of a skewed shift).
        generator: Draws resamples or sign flips; None: always the same draws.

    Returns:
        `(train, query)`, or `(removal, query)`: `mean` and `sd` over seeds; two-sided `p` and
        Benjamini-Hochberg `q_value`; `reliable` = q_value <= q; `low`, `high`. Of a reliable pair
        they are intervals at level 1 - R q / m, R of m being reliable: of all such intervals a
        share q is expected to miss, *although* pairs were picked by their data, and none holds 0
        (Benjamini and Yekutieli 2005). Of any other pair they are its own interval, at level
        1 - q. Intervals are those of the test; with "sign_flip" Student's, which may hold 0. What
        the attributes of the shifts
        say (`unit`, `better`, `dropped`, `random`, `remarks`) they say here.

    Raises:
        ValueError: too few seeds for any p <= q, values that are not finite, axes without names
            or of other names, an unknown sign, family or test.

    Warns:
        UserWarning: a hundred values or more that are all positive, as losses are.
    """
    shift = upon_removal(shift)
    over = _corrected_over(shift, family)
    warn_of_losses(shift)
    shift = require_seeds(shift)
    n = shift.sizes["seed"]
    require_reach(test, n, q)
    generator = np.random.default_rng(0) if generator is None else generator
    mean, sd = mean_and_sd(shift)
    tested = MEAN_TESTS[test](shift, over, generator)
    found = benjamini_hochberg(tested.p, q, over=over)
    share = found["discovery"].sum(over) / math.prod(shift.sizes[dim] for dim in over)
    half = tested.critical(xr.where(found["discovery"], q * share, q)) * sd / np.sqrt(n)
    half = xr.where(sd == 0, 0.0, half)  # no noise, whatever the critical value
    return xr.Dataset(
        {
            "mean": mean,
            "sd": sd,
            "low": mean - half,
            "high": mean + half,
            "p": tested.p,
            "q_value": found["adjusted"],
            "reliable": found["discovery"],
        },
        attrs={"seeds": n, "q": q, "family": family, "test": test} | _law(shift),
    )


def _corrected_over(shift: xr.DataArray, family: str) -> tuple[str, ...]:
    """The axes of these shifts over which tests are corrected; shifts of other axes are refused."""
    point = axis_of_removals(shift)
    over = tuple(point if dim == "train" else dim for dim in tested_over(family))
    if set(shift.dims) != {"seed", point, "query"}:
        raise ValueError(
            f"reliable: shifts have the axes seed, train (or removal) and query, not "
            f"{', '.join(map(str, shift.dims))}; rename them."
        )
    return over


def _law(shift: xr.DataArray) -> dict[str, str]:
    """What is said of values and seeds, where shifts come from `shifts` or `as_scores`."""
    said = ("unit", "better", "dropped", "random", "remarks")
    return {name: shift.attrs[name] for name in said if name in shift.attrs}


def points_of(found: xr.Dataset, query: int | str, n: int | None = None) -> pd.DataFrame:
    """The points of one query: reliable ones first, each group by falling |mean shift|.

    Columns: `point` (position in the training set, or its label; of groups, that of the removal),
    `mean`, `low`, `high`, `q_value`, `reliable`.

    Raises:
        ValueError: there is no such query.
    """
    if query not in found["query"].values:
        raise ValueError(
            f"points_of: there is no query {short(query)}; they are "
            f"{listing(found['query'].values.tolist(), 8)}."
        )
    at = found.sel(query=query)
    names = ["mean", "low", "high", "q_value", "reliable"]
    points = at[axis_of_removals(found)].values
    table = pd.DataFrame({"point": points} | {name: at[name].values for name in names})
    order = np.lexsort((-table["mean"].abs().to_numpy(), ~table["reliable"].to_numpy()))
    return table.iloc[order[:n]].reset_index(drop=True)


# ---------------------------------------------------------------- many points: screen and confirm


@dataclass(frozen=True, repr=False)
class Candidates(Shown):
    """Points to retrain without: `top` by an estimator, `random` ones out of the rest, of N."""

    top: tuple[int, ...]
    random: tuple[int, ...]
    n_train: int

    @property
    def points(self) -> tuple[int, ...]:
        """All of them, in the order of the training set."""
        return tuple(sorted(self.top + self.random))

    def _facts(self) -> dict[str, object]:
        return {
            "top": listing(self.top, 8),
            "random": listing(self.random, 8),
            "train": self.n_train,
        }


def screen(
    estimates: xr.DataArray, n_top: int, n_random: int, generator: np.random.Generator
) -> Candidates:
    """Pick the points that an estimator ranks highest for some query, and controls at random.

    A point's rank is its best one over the queries, by |mean estimate| over seeds, so queries take
    turns; ties go to the larger share of its query's largest estimate. The scale does not matter.

    Args:
        estimates: `(seed, train, query)`, from `scores` or from `shifts` of a few seeds.
        n_top, n_random: Numbers of points.
        generator: Draws the controls.

    Raises:
        ValueError: more points than there are.
    """
    size = require_seeds(estimates, at_least=1).mean("seed").transpose("train", "query")
    n_train = size.sizes["train"]
    if n_top < 1 or n_random < 0 or n_top + n_random > n_train:
        raise ValueError(
            f"screen: {n_top} top points and {n_random} controls do not fit {n_train} points."
        )
    size = np.abs(size.values)
    rank = (-size).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable").min(axis=1)
    share = (size / np.maximum(size.max(axis=0), np.finfo(float).tiny)).max(axis=1)
    order = estimates["train"].values[np.lexsort((-share, rank))]
    controls = generator.choice(np.sort(order[n_top:]), n_random, replace=False)
    top, random = (tuple(map(int, part)) for part in (order[:n_top], np.sort(controls)))
    return Candidates(top, random, n_train)


def hits(found: xr.Dataset, candidates: Candidates) -> pd.DataFrame:
    """How many candidates and controls matter for some query, and how many points were missed.

    Rows "top" and "random"; columns: `points`, `matter` (those with a reliable pair), `share`, its
    95 % Wilson interval `low`, `high`, and `pairs`, the number of reliable pairs. Only the controls
    are a random sample: their share is that of all points outside `top`, by the same test.
    """
    rows = []
    for name in ("top", "random"):
        chosen = found["reliable"].sel(train=list(getattr(candidates, name)))
        matter, n = int(chosen.any("query").sum()), chosen.sizes["train"]
        row = (name, n, matter, matter / n if n else math.nan, *wilson_interval(matter, n))
        rows.append((*row, int(chosen.sum())))
    columns = ["set", "points", "matter", "share", "low", "high", "pairs"]
    return pd.DataFrame(rows, columns=columns)
