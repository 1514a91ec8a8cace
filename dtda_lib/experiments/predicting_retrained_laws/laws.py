"""How near a predicted law of predictions is to the law of retrained models.

Laws are samples over the same R seeds: `base` `(seed, query)` of all training points, `retrained`
`(seed, removal, query)` without some of them, and for each estimator a predicted law of the shape
of `retrained` (Algorithm 1 of arXiv 2506.12965). Measurements are predictions in the unit of the
targets; a gap is a predicted or an unchanged law less the retrained one. Two ways to measure gaps:

* `gap_squares`: of means and of standard deviations, seeds paired, noise taken off. Pairing removes
  the noise that all laws share, and single points can be told apart. For normal laws the sum of
  both squares is W2 squared ("law").
* `w2_squares`: of whole laws, between independent halves of the seeds, beside their floors.

Seeds come in blocks of four, and intervals are jackknife intervals over blocks: halves take two
seeds of each block, so that leaving a block out leaves them equal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.data.task import Task
from dtda_lib.runs.removal import Design, leave_groups_out, leave_k_out
from dtda_lib.statistics.distances import LEFT_OUT, get_distance, variance
from dtda_lib.statistics.distributions import shifted_samples
from dtda_lib.statistics.over_seeds import jackknife, require_same_pairs, require_seeds

BLOCK = 4  # seeds
KINDS = ("mean", "sd", "law")
LEVERAGE = "high leverage"  # the set of removals that is not random


# ---------------------------------------------------------------- what is removed


@dataclass(frozen=True)
class Removals:
    """The groups that are left out, `table` a row each: `set` ("5 %", or `LEVERAGE`), `points`."""

    groups: tuple[tuple[int, ...], ...]
    table: pd.DataFrame

    def design(self, n_train: int) -> Design:
        """Nothing, then each group."""
        return leave_groups_out(n_train, self.groups)

    @property
    def random_sets(self) -> list[str]:
        """Names of the sets of random removals, smallest first."""
        return [name for name in dict.fromkeys(self.table["set"]) if name != LEVERAGE]

    @property
    def shown(self) -> int:
        """Position of the removal that figures show: the first group of 20 %, or of the largest."""
        return int(self.rows("20 %" if "20 %" in self.random_sets else self.random_sets[-1])[0])

    def rows(self, name: str) -> np.ndarray:
        """Positions of the removals of a set."""
        return np.flatnonzero(self.table["set"] == name)


def input_leverage(task: Task) -> np.ndarray:
    """Leverage of each training point in a linear regression on its inputs `(train,)`, 0 to 1."""
    x = task.train_x.double().flatten(1).numpy()
    q, _ = np.linalg.qr(np.column_stack([np.ones(len(x)), x]))
    return (q**2).sum(axis=1)


def draw_removals(
    task: Task,
    percents: Sequence[int],
    n_groups: int,
    n_leverage: int,
    generator: np.random.Generator,
) -> Removals:
    """`n_groups` random groups of each size, and the points of highest input leverage, one by one.

    A size is a percentage of the training points, at least one point. Points that were drawn as
    random single ones are passed over among those of high leverage.

    Raises:
        ValueError: two percentages that mean the same number of points, or no such groups.
    """
    sizes = {percent: max(1, round(task.n_train * percent / 100)) for percent in sorted(percents)}
    if len(set(sizes.values())) < len(sizes):
        raise ValueError(f"percentages {list(sizes)} of {task.n_train} points are not different.")
    groups: list[tuple[int, ...]] = []
    names: list[str] = []
    for percent, size in sizes.items():
        weights = leave_k_out(task.n_train, size, n_groups, generator).weights[1:]
        groups += [tuple((row == 0).nonzero().flatten().tolist()) for row in weights]
        names += [f"{percent} %"] * n_groups
    taken = {group[0] for group in groups if len(group) == 1}
    order = np.argsort(-input_leverage(task), kind="stable")
    highest = [int(point) for point in order if int(point) not in taken][:n_leverage]
    groups += [(point,) for point in highest]
    names += [LEVERAGE] * len(highest)
    table = pd.DataFrame({"set": names, "points": [len(group) for group in groups]})
    return Removals(tuple(groups), table)


# ---------------------------------------------------------------- laws


def stacked(parts: Sequence[xr.DataArray], dim: str, names: Sequence[str]) -> xr.DataArray:
    """`parts` along a new first dimension with these labels."""
    return xr.concat(parts, dim, join="exact").assign_coords({dim: list(names)})


@dataclass(frozen=True)
class Laws:
    """`base` `(seed, query)`, `retrained` `(seed, removal, query)`, `predicted` with `estimator`.

    Raises:
        ValueError: labels that differ, or seeds that are no blocks of `BLOCK`.
    """

    base: xr.DataArray
    retrained: xr.DataArray
    predicted: xr.DataArray

    def __post_init__(self) -> None:
        for law in (self.base, self.retrained, self.predicted):
            require_seeds(law)
        require_same_pairs(self.retrained, self.predicted.isel(estimator=0, drop=True))
        require_same_pairs(self.base, self.retrained.isel(removal=0, drop=True))
        if self.base.sizes["seed"] % BLOCK or self.base.sizes["seed"] < 2 * BLOCK:
            raise ValueError(
                f"{self.base.sizes['seed']} seeds are not two or more blocks of {BLOCK}."
            )

    @property
    def n_blocks(self) -> int:
        """Number of blocks of seeds."""
        return self.base.sizes["seed"] // BLOCK

    @property
    def estimators(self) -> list[str]:
        """Names of the estimators."""
        return self.predicted["estimator"].values.tolist()


def predicted_laws(
    base: xr.DataArray, shifts: Mapping[str, xr.DataArray], removals: Removals
) -> xr.DataArray:
    """Every estimator's predicted law `(estimator, seed, removal, query)`.

    Args:
        base: As in `Laws`.
        shifts: By estimator: `(seed, train, query)`, members added up, or `(seed, removal, query)`
            where the estimator predicts a group as a whole.
        removals: The groups.
    """
    found = []
    for shift in shifts.values():
        if "train" in shift.dims:
            law = shifted_samples(base, shift, removals.groups)
        else:
            law = base + shift
        law = law.transpose("seed", "removal", "query").reset_coords(drop=True)
        found.append(law.assign_coords(removal=np.arange(len(removals.groups))))
    return stacked(found, "estimator", list(shifts))


def of_other_groups(predicted: xr.DataArray, removals: Removals) -> xr.DataArray:
    """A control: each removal gets the law predicted for the next one of its set.

    A prediction that knows no more than how many points are removed does as well as this.
    """
    order = np.arange(len(removals.groups))
    for name in dict.fromkeys(removals.table["set"]):
        rows = removals.rows(name)
        order[rows] = np.roll(rows, -1)
    return predicted.isel(removal=order).assign_coords(removal=predicted["removal"])


# ---------------------------------------------------------------- gaps


def seeds_of_blocks(blocks: np.ndarray) -> np.ndarray:
    """Positions of the seeds in these blocks, in their order."""
    return (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()


def gap_square(x: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """Square of the gap between two laws of the same seeds, noise off, `(seed, ...) -> (...)`.

    The square of the estimated gap less the variance of that estimate (jackknife), so negative
    values occur. Unbiased for "mean"; for "sd" up to terms of 1/seeds; "law" is the sum of both.
    """
    if kind == "law":
        return gap_square(x, y, "mean") + gap_square(x, y, "sd")
    if kind == "mean":
        gap, left_out = (x - y).mean(axis=0), LEFT_OUT["mean"](x - y)
    else:
        gap = np.sqrt(variance(x)) - np.sqrt(variance(y))
        left_out = np.sqrt(LEFT_OUT["variance"](x)) - np.sqrt(LEFT_OUT["variance"](y))
    return gap**2 - (len(x) - 1) * left_out.var(axis=0)


def gap_squares(laws: Laws, blocks: np.ndarray | None = None) -> xr.Dataset:
    """`predicted` `(kind, estimator, removal, query)` and `no_change` `(kind, removal, query)`.

    From `gap_square`, with the seeds of these blocks, all if not given; squared
    units of the target.
    """
    blocks = np.arange(laws.n_blocks) if blocks is None else blocks
    seeds = seeds_of_blocks(blocks)
    true = laws.retrained.transpose("seed", "removal", "query").values[seeds]
    base = laws.base.transpose("seed", "query").values[seeds][:, None]
    guess = laws.predicted.transpose("seed", "estimator", "removal", "query").values[seeds]
    parts = [
        (
            gap_square(guess, np.broadcast_to(true[:, None], guess.shape), kind),
            gap_square(np.broadcast_to(base, true.shape), true, kind),
        )
        for kind in KINDS[:2]
    ]
    parts.append(tuple(sum(each) for each in zip(*parts)))  # "law", the sum of both squares
    return _labelled(laws, {"kind": list(KINDS)}, *(np.stack(each) for each in zip(*parts)))


def _labelled(
    laws: Laws, coords: dict[str, list[str]], predicted: np.ndarray, no_change: np.ndarray
) -> xr.Dataset:
    first = list(coords)
    return xr.Dataset(
        {
            "predicted": ((*first, "estimator", "removal", "query"), predicted),
            "no_change": ((*first, "removal", "query"), no_change),
        },
        coords | {"estimator": laws.estimators},
    )


def draw_halves(n_blocks: int, n_splits: int, generator: np.random.Generator) -> np.ndarray:
    """`(split, half, block, 2)`: positions of the seeds of both halves, two of each block."""
    inside = generator.permuted(np.tile(np.arange(BLOCK), (n_splits, n_blocks, 1)), axis=-1)
    seeds = inside + BLOCK * np.arange(n_blocks)[:, None]
    # (split, block, seed) -> (split, block, half, 2) -> (split, half, block, 2)
    return seeds.reshape(n_splits, n_blocks, 2, BLOCK // 2).transpose(0, 2, 1, 3)


def w2_squares(laws: Laws, halves: np.ndarray, blocks: np.ndarray | None = None) -> xr.Dataset:
    """Mean squares of W2 over splits of the seeds, squared units of the target.

    Each between one half of the seeds of the first law and the other half of those of the second:
    independent runs, and the same noise in all four. `predicted` `(estimator, removal, query)`: the
    predicted law to the retrained one; `no_change` `(removal, query)`: the law before to it, which
    a useful prediction stays below; `perfect` `(removal, query)`: the retrained law to itself, the
    floor of both; `floor` `(query,)`: the law before to itself, where `no_change` ends if the
    removal changes nothing. `halves` is from `draw_halves`; only the seeds of `blocks` count.
    """
    w2 = get_distance("w2")
    blocks = np.arange(laws.n_blocks) if blocks is None else blocks
    true = laws.retrained.transpose("seed", "removal", "query").values
    base = laws.base.transpose("seed", "query").values
    guess = laws.predicted.transpose("seed", "estimator", "removal", "query").values
    total: dict[str, np.ndarray | float] = dict.fromkeys(
        ("predicted", "no_change", "perfect", "floor"), 0.0
    )
    for split in halves[:, :, blocks].reshape(len(halves), 2, -1):
        for left, right in (split, split[::-1]):
            after = np.sort(true[right], axis=0)  # once, for all that is compared with it
            total["predicted"] += (
                w2(guess[left], np.broadcast_to(after[:, None], guess[left].shape)) ** 2
            )
            total["no_change"] += w2(np.broadcast_to(base[left][:, None], after.shape), after) ** 2
            total["perfect"] += w2(true[left], after) ** 2
            total["floor"] += w2(base[left], base[right]) ** 2
    mean = {name: value / (2 * len(halves)) for name, value in total.items()}
    found = _labelled(laws, {}, mean["predicted"], mean["no_change"])
    found["perfect"] = (("removal", "query"), mean["perfect"])
    return found.assign(floor=("query", mean["floor"]))


# ---------------------------------------------------------------- intervals


def over_blocks(statistic: Callable[[np.ndarray], xr.DataArray], n_blocks: int) -> xr.Dataset:
    """`estimate` and jackknife t interval `low`, `high` of a statistic of blocks of seeds.

    `statistic` takes the positions of the blocks that count. Source: Tukey 1958, with groups.
    """
    return jackknife(statistic, n_blocks).drop_vars("standard_error")
