"""Removals that change the variance of a digit's margin while its mean stays: found, replicated.

Laws are as in `line`: `(seed, removal, query)` with "none" first, runs of one seed paired. A *pair*
is a removal (a point or a small group) and a query. Margins are log-odds of the true class, in
logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special, stats

from dtda_lib.statistics.distances import DELTAS, jackknife_interval
from dtda_lib.statistics.over_seeds import jackknife, require_seeds
from dtda_lib.statistics.significance import benjamini_hochberg

from .line import LEVEL

FDR = 0.05
"""False discovery rate over all pairs of a set of removals."""
ALPHA = 0.05
"""Level at which a discovery's variance must change again, with the same sign, on fresh seeds."""
NEGLIGIBLE = 0.1
"""Mean shifts below this share of the margin's standard deviation are called negligible (ours)."""


# ---------------------------------------------------------------- tests, pair by pair


def variance_test(
    before: np.ndarray, after: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log variance ratio of paired samples `(seed, ...)`, over its jackknife error, and p.

    Two-sided p of Student's t with n - 1 degrees of freedom.
    """
    ratio = DELTAS["log_variance_ratio"]
    df = len(before) - 1
    low, high = jackknife_interval(before, after, ratio, paired=True, level=LEVEL)
    error = (high - low) / (2 * stats.t.ppf((1 + LEVEL) / 2, df))
    estimate = ratio(before, after)
    z = estimate / error
    return estimate, z, 2 * special.stdtr(df, -np.abs(z))


def law_tests(law: xr.DataArray) -> xr.Dataset:
    """Change of mean and variance of every pair `(removal, query)`, with paired tests.

    Variables: `mean` (logits), `mean_low`, `mean_high`, `mean_z`; `log_ratio` of the variances
    after and before, `log_ratio_z` and `p` (`variance_test`); `sd` before; `relative`, the mean
    shift over `sd`, and `relative_low`, `relative_high`, which take `sd` as known. Intervals are
    95 % t intervals over seeds.
    """
    before, after = _split(require_seeds(law, at_least=3))
    n = len(before)
    shift = after - before
    mean, error = shift.mean(axis=0), shift.std(axis=0, ddof=1) / np.sqrt(n)
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * error
    sd = np.broadcast_to(before.std(axis=0, ddof=1), mean.shape)
    ratio, ratio_z, p = variance_test(np.broadcast_to(before, after.shape), after)
    found = {"mean": mean, "mean_low": mean - half, "mean_high": mean + half}
    found |= {"relative": mean / sd, "mean_z": mean / error, "sd": sd}
    found |= {f"relative_{end}": found[f"mean_{end}"] / sd for end in ("low", "high")}
    found |= {"log_ratio": ratio, "log_ratio_z": ratio_z, "p": p}
    coords = {"removal": law["removal"].values[1:], "query": np.arange(law.sizes["query"])}
    dims = ("removal", "query")
    return xr.Dataset({name: (dims, values) for name, values in found.items()}, coords)


def _split(law: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Before `(seed, 1, query)` and after `(seed, removal, query)`."""
    values = law.transpose("seed", "removal", "query").values
    return values[:, :1], values[:, 1:]


def quiet(tests: xr.Dataset) -> xr.DataArray:
    """Pairs whose mean stays: the 95 % interval of its shift covers 0."""
    return (tests["mean_low"] <= 0) & (tests["mean_high"] >= 0)


def negligible(tests: xr.Dataset) -> xr.DataArray:
    """Pairs whose mean shift's interval lies within `NEGLIGIBLE` standard deviations of 0."""
    return (tests["relative_low"] > -NEGLIGIBLE) & (tests["relative_high"] < NEGLIGIBLE)


def null_share(law: xr.DataArray, n_swaps: int, generator: np.random.Generator) -> float:
    """Share of pairs with p <= `ALPHA` when runs are `swapped`: `ALPHA` if the test is honest."""
    before, after = _split(law)
    swaps = (swapped(before, after, generator) for _ in range(n_swaps))
    return float(np.mean([(variance_test(*pair)[2] <= ALPHA).mean() for pair in swaps]))


def swapped(
    before: np.ndarray, after: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Samples with no change of variance to find: before and after, `(seed, removal, query)` each.

    In every seed and removal the two runs are exchanged or not, at random and for all queries
    alike, which keeps the dependence between queries.
    """
    turn = generator.random((*after.shape[:2], 1)) < 0.5
    return np.where(turn, after, before), np.where(turn, before, after)


# ---------------------------------------------------------------- replication


@dataclass(frozen=True)
class Replicated:
    """Discoveries and what became of them on fresh seeds.

    `table`: one row, see `replicate`; `changed`, `found` and `survives` `(removal, query)`; `first`
    and `fresh`: `law_tests` of both sets.
    """

    table: pd.DataFrame
    changed: xr.DataArray
    found: xr.DataArray
    survives: xr.DataArray
    first: xr.Dataset
    fresh: xr.Dataset


def replicate(
    first: xr.DataArray, fresh: xr.DataArray, n_swaps: int, generator: np.random.Generator
) -> Replicated:
    """Do variance changes at a mean that stays, found on the first seeds, hold on fresh ones?

    Columns of the table: `pairs`; `changed`, variance changes (Benjamini-Hochberg at `FDR` over all
    pairs); `found`, those of them whose mean stays (`quiet`); `replicated`, of these with p <=
    `ALPHA` and the same sign on fresh seeds; their `share` with a 95 % jackknife interval over the
    fresh seeds (pairs depend on each other, so no binomial one); `chance` and `chance_high`, mean
    and 97.5 % point of the share when runs are `swapped`; `survive`: adjusted p <= `FDR` over the
    discoveries alone, same sign, and the mean stays on fresh seeds, too; `negligible`: of these,
    where the fresh mean shift is `negligible`. Shares are NaN without a discovery.
    """
    one, other = law_tests(first), law_tests(fresh)
    changed = benjamini_hochberg(one["p"], FDR)["discovery"]
    found = changed & quiet(one)
    row = {"pairs": found.size, "changed": int(changed.sum()), "found": int(found.sum())}
    if not row["found"]:
        row |= dict.fromkeys(("replicated", "survive", "negligible"), 0)
        row |= dict.fromkeys(("share", "low", "high", "chance", "chance_high"), np.nan)
        return Replicated(pd.DataFrame([row]), changed, found, found, one, other)
    sign = np.sign(one["log_ratio"])
    adjusted = np.ones(found.shape)
    adjusted[found.values] = stats.false_discovery_control(other["p"].values[found.values])
    again = found & (sign == np.sign(other["log_ratio"]))
    survives = again & found.copy(data=adjusted <= FDR) & quiet(other)
    row["replicated"] = int((again & (other["p"] <= ALPHA)).sum())
    row |= {"survive": int(survives.sum()), "negligible": int((survives & negligible(other)).sum())}
    row |= _shares(*_split(fresh), found.values, sign.values, n_swaps, generator)
    return Replicated(pd.DataFrame([row]), changed, found, survives, one, other)


def _shares(
    before: np.ndarray,
    after: np.ndarray,
    found: np.ndarray,
    sign: np.ndarray,
    n_swaps: int,
    generator: np.random.Generator,
) -> dict[str, float]:
    """Share of the pairs `found` that replicate, its jackknife interval, and the same by chance."""

    def share(before: np.ndarray, after: np.ndarray) -> float:
        before = np.broadcast_to(before, after.shape)
        estimate, _, p = variance_test(before[:, found], after[:, found])
        return float(((p <= ALPHA) & (np.sign(estimate) == sign[found])).mean())

    seen = jackknife(lambda kept: share(before[kept], after[kept]), len(after), level=LEVEL)
    chance = [share(*swapped(before, after, generator)) for _ in range(n_swaps)]
    return {
        "share": float(seen["estimate"]),
        "low": max(0.0, float(seen["low"])),
        "high": min(1.0, float(seen["high"])),
        "chance": float(np.mean(chance)),
        "chance_high": float(np.quantile(chance, 0.975)),
    }


# ---------------------------------------------------------------- groups and examples


def choose_groups(
    base: xr.DataArray, shift: xr.DataArray, size: int, n_groups: int
) -> list[tuple[tuple[int, ...], int]]:
    """Groups whose removal is predicted to change a query's variance and not its mean.

    Of all groups of `size` points, each query's best is the one of the largest predicted |log
    variance ratio| whose predicted mean shift stays below `NEGLIGIBLE` standard deviations, or, if
    there is none, the one of the smallest. The queries with the largest such values give the first
    `n_groups` different groups.

    Args:
        base: Full-data runs `(seed, query)`.
        shift: Predicted shifts `(seed, train, query)` of the same seeds; a group's is the sum of
            its members'.

    Returns:
        Pairs of a group and the position of its query, the largest predicted change first.
    """
    groups = np.array(list(combinations(range(shift.sizes["train"]), size)))
    members = np.zeros((len(groups), shift.sizes["train"]))
    np.put_along_axis(members, groups, 1, axis=1)
    m = base.transpose("query", "seed").values
    s = shift.transpose("query", "seed", "train").values
    n, sd = m.shape[1], m.std(axis=1, ddof=1)
    m_centred, s_centred = m - m.mean(axis=1, keepdims=True), s - s.mean(axis=1, keepdims=True)
    both = np.einsum("qs,qst->qt", m_centred, s_centred) / (n - 1)
    own = np.einsum("qst,qsu->qtu", s_centred, s_centred) / (n - 1)
    after = [
        v**2 + 2 * members @ b + ((members @ o) * members).sum(1) for v, b, o in zip(sd, both, own)
    ]
    ratio = np.abs(np.log(np.stack(after) / sd[:, None] ** 2))  # (query, group)
    moved = np.abs(s.mean(axis=1) @ members.T) / sd[:, None]
    score = np.where(moved <= NEGLIGIBLE, ratio, -moved)
    best = score.argmax(axis=1)
    chosen: dict[int, int] = {}
    for query in np.argsort(-score.max(axis=1), kind="stable"):
        chosen.setdefault(int(best[query]), int(query))
    pairs = [(tuple(map(int, groups[g])), query) for g, query in chosen.items()]
    return pairs[:n_groups]


def random_groups(
    n_train: int, size: int, n_groups: int, taken: Sequence[tuple[int, ...]],
    generator: np.random.Generator,
) -> list[tuple[int, ...]]:  # fmt: skip
    """As many random groups, different from each other and from those `taken`.

    `ValueError`: there are not so many.
    """
    if n_groups > comb(n_train, size) - len(taken):
        raise ValueError(f"there are no {n_groups} other groups of {size} out of {n_train} points.")
    found: dict[tuple[int, ...], None] = {}
    while len(found) < n_groups:
        group = tuple(sorted(generator.choice(n_train, size, replace=False).tolist()))
        if group not in taken:
            found[group] = None
    return list(found)


def target_table(result: Replicated, chosen: Sequence[str], random: Sequence[str],
                 queries: Sequence[int]) -> pd.DataFrame:  # fmt: skip
    """Groups chosen for a query, at that query, beside random groups at the same queries.

    `changed`: share with a variance change on the first seeds (false discovery rate over all pairs
    of groups); `found`: and a mean that stays; `survive`: on fresh seeds as well. `log_ratio` and
    `mean` are medians of sizes over the fresh seeds, the mean in standard deviations.
    """
    rows = []
    at = xr.DataArray(list(queries), dims="target")
    for which, labels in (("chosen by prediction", chosen), ("random", random)):
        pick = {"removal": xr.DataArray(list(labels), dims="target")}
        shares = [
            float(flags.sel(pick).isel(query=at).mean())
            for flags in (result.changed, result.found, result.survives)
        ]
        sizes = [
            float(abs(result.fresh[name].sel(pick).isel(query=at)).median())
            for name in ("log_ratio", "relative")
        ]
        rows.append((which, len(labels), *shares, *sizes))
    columns = ["groups", "n", "changed", "found", "survive", "log_ratio", "mean"]
    return pd.DataFrame(rows, columns=columns)


def top_pairs(result: Replicated, n: int) -> list[tuple[str, int]]:
    """The `n` pairs of the largest |log variance ratio| on the *first* seeds, discoveries first.

    The fresh seeds take no part in the choice, so that what they show is not picked for being
    large. Each a removal's label and a query's position; no removal and no query twice.
    """
    size = np.abs(result.first["log_ratio"].values)
    order = np.argsort(-(size + result.found.values * (1 + size.max())), axis=None)
    chosen: list[tuple[str, int]] = []
    for flat in order:
        removal, query = np.unravel_index(flat, size.shape)
        label = str(result.first["removal"].values[removal])
        if all(label != other and query != seen for other, seen in chosen):
            chosen.append((label, int(query)))
        if len(chosen) == n:
            break
    return chosen


def shown_table(result: Replicated, n: int) -> pd.DataFrame:
    """What the first seeds said of the `n` `top_pairs`, and what the fresh ones say.

    Columns: `removal`, `query` (positions), `found` (on the first seeds); factors of the variance
    `first` and `fresh`; `mean_fresh`, the fresh shift of the mean in standard deviations;
    `survives`.
    """
    rows = []
    for label, query in top_pairs(result, n):
        at = {"removal": label, "query": query}
        one, other = result.first.sel(at), result.fresh.sel(at)
        rows.append(
            {
                **at,
                "found": bool(result.found.sel(at)),
                "first": float(np.exp(one["log_ratio"])),
                "fresh": float(np.exp(other["log_ratio"])),
                "mean_fresh": float(other["relative"]),
                "survives": bool(result.survives.sel(at)),
            }
        )
    return pd.DataFrame(rows)


def two_laws(law: xr.DataArray, removal: str, query: int) -> xr.Dataset:
    """`before` and `after` `(seed,)` of one pair."""
    one = law.isel(query=query, drop=True)
    sides = {"before": one.isel(removal=0), "after": one.sel(removal=removal)}
    return xr.Dataset({name: side.drop_vars("removal") for name, side in sides.items()})
