"""Groups chosen by predicted changes of variance, beside random ones.

Laws and pairs are as in `variance_changing_digits`.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import xarray as xr

from .digits import NEGLIGIBLE, Replicated


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


def shown_table(result: Replicated, pairs: Sequence[tuple[str, int]]) -> pd.DataFrame:
    """What the first seeds said of `top_pairs`, and what the fresh ones say.

    Columns: `removal`, `query`, `found` (on the first seeds); factors of the variance `first` and
    `fresh`; `mean_fresh`, the fresh shift of the mean in standard deviations; `survives`.
    """
    rows = []
    for label, query in pairs:
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
