"""Removals that change the spread of a digit's margin while its mean stays: how often, how much.

Laws are as in `line`: `(seed, removal, query)` with "none" first, runs of one seed paired. A *pair*
is a removal (a point or a small group) and a query. Margins are log-odds of the true class, in
logits; changes are told in standard deviations of the margin over runs on all points. Pairs are
sorted by other sets of seeds than those that judge them, so that luck does not choose its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from math import comb

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.over_seeds import require_seeds
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.study.tables import numbers

from .line import RELEVANT

EDGES = (0.0, RELEVANT, 0.2, 0.5, 1.0, np.inf)
"""Sizes of a mean shift, in standard deviations, between which pairs are grouped."""
LEAST = float(np.log1p(RELEVANT))
"""Log of the least factor of a standard deviation that matters, up or down."""

# ---------------------------------------------------------------- effects, pair by pair


def effects(laws: Iterable[xr.DataArray]) -> xr.Dataset:
    """Change of every pair in each set of seeds, `(set, train, query)`.

    `mean`: shift of the mean over the standard deviation before; `log_sd`: log of the standard
    deviation after over before. `ValueError`: fewer than three seeds.
    """
    return xr.concat([_effects(law) for law in laws], "set")


def _effects(law: xr.DataArray) -> xr.Dataset:
    before, after = _sides(law)
    return _changes(before, after, law["removal"].values[1:])


def _sides(law: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Before `(seed, 1, query)` and after `(seed, removal, query)`."""
    values = require_seeds(law, at_least=3).transpose("seed", "removal", "query").values
    return values[:, :1], values[:, 1:]


def _changes(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> xr.Dataset:
    mean, sd = after.mean(axis=0) - before.mean(axis=0), before.std(axis=0, ddof=1)
    found = {"mean": mean / sd, "log_sd": np.log(after.std(axis=0, ddof=1) / sd)}
    coords = {"train": labels, "query": np.arange(after.shape[-1])}
    return xr.Dataset({name: (("train", "query"), c) for name, c in found.items()}, coords)


def noise_effects(laws: Iterable[xr.DataArray], generator: np.random.Generator) -> xr.Dataset:
    """`effects` where there is no change of spread to find: of laws whose runs are `swapped`."""
    sides = ((law["removal"].values[1:], swapped(*_sides(law), generator)) for law in laws)
    return xr.concat([_changes(*pair, labels) for labels, pair in sides], "set")


def swapped(
    before: np.ndarray, after: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Samples with no change of law to find: before and after, `(seed, removal, query)` each.

    In every seed and removal the two runs are exchanged or not, at random and for all queries
    alike, which keeps the dependence between queries.
    """
    turn = generator.random((*after.shape[:2], 1)) < 0.5
    return np.where(turn, after, before), np.where(turn, before, after)


def sorted_pairs(found: xr.Dataset) -> xr.Dataset:
    """What the other sets say of each pair, and whether its spread changes, `(set, train, query)`.

    `moved`: size of the mean shift in the mean of the other sets, in standard deviations.
    `changed`: the log factor of the spread is beyond `LEAST` in this set and in the mean of the
    others, with one sign. `ValueError`: fewer than two sets.
    """
    if found.sizes["set"] < 2:
        raise ValueError("pairs are judged by other sets of seeds: give two sets or more.")
    others = (found.sum("set") - found) / (found.sizes["set"] - 1)
    own, other = found["log_sd"], others["log_sd"]
    changed = (np.abs(own) > LEAST) & (np.abs(other) > LEAST) & (own * other > 0)
    return xr.Dataset({"moved": np.abs(others["mean"]), "changed": changed})


# ---------------------------------------------------------------- base rates


def rate_curve(found: xr.Dataset) -> pd.DataFrame:
    """Share of pairs whose spread changes, by how far their mean moves (in the other sets).

    Rows `from`, `to` (standard deviations, `EDGES`); `of_pairs`, the share of all pairs, and their
    number `n` over sets; `share` with its interval (`over_sets`).
    """
    spans = list(pairwise(EDGES))

    def inside(judged: xr.Dataset) -> xr.DataArray:
        moved = judged["moved"]
        return xr.concat([(moved >= start) & (moved < stop) for start, stop in spans], "span")

    def share(part: xr.Dataset) -> xr.DataArray:
        judged = sorted_pairs(part)
        group = inside(judged)
        return (judged["changed"] & group).sum(_PAIR) / group.sum(_PAIR)

    rates = over_sets(found, share, share=True)
    counts = inside(sorted_pairs(found)).sum(_PAIR)
    return pd.DataFrame(
        {
            "from": start,
            "to": stop,
            "n": int(counts[row]),
            "of_pairs": float(counts[row]) / found["mean"].size,
            **numbers(rates.isel(span=row), "share"),
        }
        for row, (start, stop) in enumerate(spans)
    )


def base_rates(found: xr.Dataset, noise: xr.Dataset) -> dict[str, float]:
    """How often the spread changes where the mean stays, and where it does not.

    Args:
        found: `effects`.
        noise: `noise_effects` of the same laws.

    Returns:
        `pairs`; `neutral`, the share of them whose mean stays (below `RELEVANT`); `share` of these
        and `others`, the share of the other pairs, that change their spread, and `difference`, all
        with intervals (`over_sets`); `noise`, the first share by chance; `everywhere`, pairs whose
        mean stays and whose spread changes, one sign, in every single set, and `everywhere_noise`,
        how many do by chance.
    """

    def rates(part: xr.Dataset) -> xr.DataArray:
        judged = sorted_pairs(part)
        stays = judged["moved"] < RELEVANT
        groups = xr.concat([stays, ~stays], "group")
        return (judged["changed"] & groups).sum(_PAIR) / groups.sum(_PAIR)

    shares = over_sets(found, rates, share=True)
    gap = over_sets(found, lambda part: rates(part).isel(group=0) - rates(part).isel(group=1))
    return {
        "pairs": found["mean"].isel(set=0).size,
        "neutral": float((sorted_pairs(found)["moved"] < RELEVANT).mean()),
        **numbers(shares.isel(group=0), "share"),
        **numbers(shares.isel(group=1), "others"),
        **numbers(gap, "difference"),
        "noise": float(rates(noise).isel(group=0)),
        "everywhere": _in_every_set(found),
        "everywhere_noise": _in_every_set(noise),
    }


def _in_every_set(found: xr.Dataset) -> int:
    """Pairs whose mean stays and whose spread changes, with one sign, in every single set."""
    stays = (np.abs(found["mean"]) < RELEVANT).all("set")
    wider, narrower = ((sign * found["log_sd"] > LEAST).all("set") for sign in (1, -1))
    return int((stays & (wider | narrower)).sum())


def base_rate_table(
    laws: Mapping[str, Sequence[xr.DataArray]], generator: np.random.Generator
) -> pd.DataFrame:
    """`base_rates` of several settings, a row each: its name as `setting` -> laws of its sets."""
    rows = [
        {"setting": name, **base_rates(effects(each), noise_effects(each, generator))}
        for name, each in laws.items()
    ]
    return pd.DataFrame(rows)


_PAIR = ("set", "train", "query")


# ---------------------------------------------------------------- groups


def choose_groups(
    base: xr.DataArray, shift: xr.DataArray, size: int, n_groups: int
) -> list[tuple[tuple[int, ...], int]]:
    """Groups whose removal is predicted to change a query's variance and not its mean.

    Of all groups of `size` points, each query's best is the one of the largest predicted |log
    variance ratio| whose predicted mean shift stays below `RELEVANT` standard deviations, or, if
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
    score = np.where(moved <= RELEVANT, ratio, -moved)
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


def chosen_groups_table(
    fresh: xr.DataArray, groups: Mapping[str, Sequence[str]], queries: Sequence[int]
) -> pd.DataFrame:
    """Groups at the queries that they were chosen for, beside random groups at the same queries.

    Args:
        fresh: Law of seeds that took no part in choosing.
        groups: "chosen" and "random" -> removals, one for each of `queries`.
        queries: Positions.

    Returns:
        A row for each sort: `n` groups; `stays`, those with a mean shift below `RELEVANT` standard
        deviations; `alone`, those of them whose spread changes beyond `LEAST`; medians of `factor`,
        of the spread (up or down, above 1), and of the size of the `mean` shift.
    """
    found, rows = _effects(fresh), []
    at = xr.DataArray(list(queries), dims="target")
    for name, labels in groups.items():
        pick = found.sel(train=xr.DataArray(list(labels), dims="target")).isel(query=at)
        moved, factor = np.abs(pick["mean"].values), np.abs(pick["log_sd"].values)
        stays = moved < RELEVANT
        alone = stays & (factor > LEAST)
        medians = float(np.exp(np.median(factor))), float(np.median(moved))
        rows.append((name, len(labels), int(stays.sum()), int(alone.sum()), *medians))
    return pd.DataFrame(rows, columns=["groups", "n", "stays", "alone", "factor", "mean"])


# ---------------------------------------------------------------- examples


def top_pairs(first: xr.DataArray, n: int) -> list[tuple[str, int]]:
    """The `n` pairs of the largest change of spread at a mean that stays, by the first seeds alone.

    What fresh seeds show of them is then not picked for being large. Each a removal's label and a
    query's position; no removal and no query twice.
    """
    found = _effects(first)
    size = np.abs(found["log_sd"].values)
    stays = np.abs(found["mean"].values) < RELEVANT
    order = np.argsort(-(size + stays * (1 + size.max())), axis=None)
    chosen: list[tuple[str, int]] = []
    for flat in order:
        removal, query = np.unravel_index(flat, size.shape)
        label = str(found["train"].values[removal])
        if all(label != other and query != seen for other, seen in chosen):
            chosen.append((label, int(query)))
        if len(chosen) == n:
            break
    return chosen


def two_laws(law: xr.DataArray, removal: str, query: int) -> xr.Dataset:
    """`before` and `after` `(seed,)` of one pair."""
    one = law.isel(query=query, drop=True)
    sides = {"before": one.isel(removal=0), "after": one.sel(removal=removal)}
    return xr.Dataset({name: side.drop_vars("removal") for name, side in sides.items()})
