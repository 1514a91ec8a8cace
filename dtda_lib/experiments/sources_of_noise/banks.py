"""Runs on the same pairs everywhere, whatever the size of the training set or the model.

Scores are arrays `(seed, train, query)` whose training points are labelled by their ids
(`train_id`), which nested tasks share.
"""

from collections.abc import Mapping, Sequence

import xarray as xr

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.experiments.noise_vs_influence.tables import late_mean
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import SeedPair, crossed_pairs, paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out, nothing
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.study.methods import METHODS

# LiSSA as published is dear, and up to a constant it is grad-dot (claim R1), so its shares are
# grad-dot's.
ESTIMATED = ("grad_dot", "grad_cos", "ats_adam", "ats_sgd", "if_ggn")


def common_points(tasks: Mapping[int, Task], per_class: int) -> tuple[int, ...]:
    """Ids of the first `per_class` training points of each class of the smallest task.

    Raises:
        ValueError: another task lacks one of them (the tasks are not nested), the tasks differ in
            their queries, or a class has fewer points.
    """
    smallest = min(tasks.values(), key=lambda task: task.n_train)
    labels = smallest.train_y.tolist()
    found: list[int] = []
    for label in dict.fromkeys(labels):
        own = [n for n, y in zip(smallest.train_id, labels, strict=True) if y == label]
        if len(own) < per_class:
            raise ValueError(f"class {label} has {len(own)} points; {per_class} are asked for.")
        found += own[:per_class]
    for task in tasks.values():
        positions(task, found)
        if task.query_id != smallest.query_id:
            raise ValueError(f"tasks {smallest.name!r} and {task.name!r} differ in their queries.")
    return tuple(found)


def positions(task: Task, ids: Sequence[int]) -> list[int]:
    """Where the training points of these ids stand in the task.

    Raises:
        ValueError: the task lacks one of them.
    """
    place = {number: position for position, number in enumerate(task.train_id)}
    if absent := [number for number in ids if number not in place]:
        raise ValueError(f"task {task.name!r} has no training point of id {absent[0]}.")
    return [place[number] for number in ids]


def crossed_seeds(n_init: int, n_order: int) -> list[SeedPair]:
    """Every one of `n_init` initialisations (published seeds first) with every batch order."""
    inits = [init for init, _ in seed_pairs(n_init, "first")]
    return crossed_pairs(inits, [order for _, order in seed_pairs(n_order, "orders")])


def removal_bank(
    task: Task,
    model: Model,
    recipe: Recipe,
    ids: Sequence[int],
    seeds: Sequence[SeedPair],
    *,
    measures: Sequence[str | Measure] = ("query_loss",),
    **settings: object,
) -> RunBank:
    """Runs without each of the points of these ids, paired with runs on all points."""
    design = leave_one_out(task.n_train, positions(task, ids))
    return RunBank(task, model, recipe, paired(design, seeds), list(measures), **settings)


def estimator_bank(
    task: Task, model: Model, recipe: Recipe, seeds: Sequence[SeedPair], **settings: object
) -> RunBank:
    """Runs on all points, on which the estimators of `ESTIMATED` are taken."""
    names = dict.fromkeys(METHODS[name].variable for name in ESTIMATED)
    measures = [get_estimator(name, recipe) for name in names]
    return RunBank(task, model, recipe, paired(nothing(task.n_train), seeds), measures, **settings)


def removal_scores(bank: RunBank, ids: Sequence[int]) -> xr.DataArray:
    """Shifts of the query loss `(seed, train, query)`, mean of the late checkpoints, in nats."""
    shift = late_mean(shift_upon_removal(bank.dataset()["query_loss"]))
    return _labelled(shift, ids)


def estimated_scores(bank: RunBank, ids: Sequence[int]) -> dict[str, xr.DataArray]:
    """Scores `(seed, train, query)` of each estimator at these points, late checkpoints' mean."""
    data = bank.dataset().sel(removal="none", drop=True)
    chosen = positions(bank.task, ids)
    found = {}
    for name in ESTIMATED:
        method = METHODS[name]
        scores = data[method.variable].sel(estimator=method.entry, drop=True).isel(train=chosen)
        found[name] = _labelled(late_mean(scores), ids)
    return found


def _labelled(scores: xr.DataArray, ids: Sequence[int]) -> xr.DataArray:
    """Only the three axes, training points labelled by id."""
    scores = scores.transpose("seed", "train", "query").reset_coords(drop=True)
    return scores.assign_coords(train=list(ids))
