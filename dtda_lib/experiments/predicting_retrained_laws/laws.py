"""The laws of notebook 05: which points are left out, and what came of it and was predicted.

A law is a sample over seeds of the output of a network at a query. Laws come in disjoint sets of
seeds. In each set, Algorithm 1 of arXiv 2506.12965 moves every model of all points by its own
predicted shift; the moved models are the predicted law.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dtda_lib.data.task import Task
from dtda_lib.runs.removal import Design, leave_groups_out, leave_k_out
from dtda_lib.statistics.distributions import shifted_samples
from dtda_lib.statistics.over_seeds import require_same_pairs
from dtda_lib.statistics.over_sets import in_sets

POINT, LEVERAGE = "1 point", "high leverage"
"""Names of the sizes that are single points: drawn at random, and those of highest leverage."""


@dataclass(frozen=True)
class Removals:
    """What is left out, by size: "1 point", "5 %", or `LEVERAGE`; equally many of each.

    Raises:
        ValueError: sizes of different numbers of removals.
    """

    of_size: Mapping[str, tuple[tuple[int, ...], ...]]

    def __post_init__(self) -> None:
        if len(counts := {len(groups) for groups in self.of_size.values()}) != 1:
            raise ValueError(f"removals: each size needs as many, not {sorted(counts)}.")

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """All of them, size after size."""
        return [group for groups in self.of_size.values() for group in groups]

    @property
    def members(self) -> list[int]:
        """All points that some removal leaves out."""
        return sorted({point for group in self.groups for point in group})

    def design(self, n_train: int) -> Design:
        """Nothing, then each removal."""
        return leave_groups_out(n_train, self.groups)

    def by_size(self, values: xr.DataArray) -> xr.DataArray:
        """An axis `removal`, in the order of `groups`, as two: `size` and `group`."""
        axis = values.get_axis_num("removal")
        shape = list(values.shape)
        shape[axis : axis + 1] = len(self.of_size), -1
        dims = list(values.dims)
        dims[axis : axis + 1] = "size", "group"
        coords = {name: values[name].values for name in values.dims if name in values.indexes}
        coords = {name: labels for name, labels in coords.items() if name != "removal"}
        return xr.DataArray(
            values.values.reshape(shape), coords | {"size": list(self.of_size)}, dims
        )


def input_leverage(task: Task) -> np.ndarray:
    """Leverage of each training point in a linear regression on its inputs `(train,)`, 0 to 1."""
    x = task.train_x.double().flatten(1).numpy()
    q, _ = np.linalg.qr(np.column_stack([np.ones(len(x)), x]))
    return (q**2).sum(axis=1)


def draw_removals(
    task: Task, percents: Sequence[int], n_groups: int, generator: np.random.Generator
) -> Removals:
    """`n_groups` single points and random groups of each size.

    A size is a percentage of the training points.

    Raises:
        ValueError: percentages that mean as many points as another one, or a single point.
    """
    n = task.n_train
    sizes = {POINT: 1} | {f"{p} %": max(1, round(n * p / 100)) for p in sorted(percents)}
    if len(set(sizes.values())) < len(sizes):
        raise ValueError(
            f"removals of {', '.join(sizes)}: of {n} points some are as many; take percentages "
            "further apart, or more points."
        )
    drawn = {
        name: tuple(
            tuple((row == 0).nonzero().flatten().tolist())
            for row in leave_k_out(n, size, n_groups, generator).weights[1:]
        )
        for name, size in sizes.items()
    }
    return Removals(drawn)


def with_high_leverage(removals: Removals, task: Task) -> Removals:
    """As many single points again: those of highest input leverage that are not drawn yet.

    Raises:
        ValueError: the training set has too few points.
    """
    drawn = {point for (point,) in removals.of_size[POINT]}
    order = np.argsort(-input_leverage(task), kind="stable").tolist()
    highest = [point for point in order if point not in drawn][: len(drawn)]
    return Removals(removals.of_size | {LEVERAGE: tuple((point,) for point in highest)})


def laws_in_sets(
    outputs: xr.DataArray, shifts: Mapping[str, xr.DataArray], removals: Removals, n_sets: int
) -> xr.Dataset:
    """All laws of a setting, seeds cut into consecutive sets.

    Args:
        outputs: `(seed, removal, query)`: of nothing left out, then of each removal.
        shifts: Estimator -> predicted shift upon removal, `(seed, train, query)`, whose members are
            added up, or `(seed, removal, query)` of each removal as a whole.
        removals: What is left out.
        n_sets: Into how many sets the seeds are cut.

    Returns:
        `base` `(set, seed, query)`, `retrained` with `size` and `group` besides, and `predicted`
        with `estimator`, too; float64, in the unit of the output.

    Raises:
        ValueError: seeds differ, or sets of different sizes.
    """
    base = outputs.isel(removal=0, drop=True)
    predicted = []
    for shift in shifts.values():
        require_same_pairs(base, shift, shared_only=True)
        if "train" in shift.dims:
            law = shifted_samples(base, shift, removals.groups)
        else:
            law = base + shift
        predicted.append(removals.by_size(law.transpose("seed", "removal", "query")))
    found = xr.Dataset(
        {
            "base": base.transpose("seed", "query"),
            "retrained": removals.by_size(outputs.isel(removal=slice(1, None))),
            "predicted": xr.concat(predicted, "estimator").assign_coords(estimator=list(shifts)),
        }
    )
    return in_sets(found.astype(np.float64), n_sets)
