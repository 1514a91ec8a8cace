"""Runs on the same pairs everywhere, whatever the size of the training set or the model.

Scores are arrays `(seed, train, query)` whose training points are labelled by their ids
(`train_id`), which nested tasks share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.experiments.noise_vs_influence.tables import late_mean
from dtda_lib.models.networks import Model, Network
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure, measure
from dtda_lib.runs.protocols import SeedPair, crossed_pairs, paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out, nothing
from dtda_lib.runs.shifts import shift_upon_removal

ESTIMATED = ("grad_dot", "grad_cos")
PILOT_STEPS, PILOT_RUNS, DOUBLINGS = 50, 3, 5


def common_points(tasks: Mapping[int, Task], per_class: int) -> tuple[int, ...]:
    """Ids of `per_class` training points of each class of the smallest task, from its most typical
    to its most unusual: a stratified choice, made without any run.

    Points of a class are ordered by their distance from the mean of the class; systematic sampling
    takes one in each of `per_class` equal parts, further out from class to class.

    Raises:
        ValueError: another task lacks one of them (the tasks are not nested), the tasks differ in
            their queries, or a class has fewer points.
    """
    smallest = min(tasks.values(), key=lambda task: task.n_train)
    labels = smallest.train_y
    classes = list(dict.fromkeys(labels.tolist()))
    found: list[int] = []
    for place, label in enumerate(classes):
        own = (labels == label).nonzero().flatten()
        if len(own) < per_class:
            raise ValueError(f"class {label} has {len(own)} points; {per_class} are asked for.")
        images = smallest.train_x[own].double().flatten(1)
        ranked = own[(images - images.mean(0)).square().sum(1).argsort()].tolist()
        within = (place + 0.5) / len(classes)
        chosen = [int((part + within) / per_class * len(own)) for part in range(per_class)]
        found += [smallest.train_id[ranked[rank]] for rank in chosen]
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


def gradient_bank(
    task: Task, model: Model, recipe: Recipe, seeds: Sequence[SeedPair], **settings: object
) -> RunBank:
    """Runs on all points, on which grad-dot and grad-cos are taken."""
    similarity = get_estimator("gradient_similarity", recipe)
    return RunBank(
        task, model, recipe, paired(nothing(task.n_train), seeds), [similarity], **settings
    )


def removal_scores(bank: RunBank, ids: Sequence[int]) -> xr.DataArray:
    """Shifts of the query loss `(seed, train, query)`, mean of the late checkpoints, in nats."""
    shift = late_mean(shift_upon_removal(bank.dataset()["query_loss"]))
    return _labelled(shift, ids)


def gradient_scores(bank: RunBank, ids: Sequence[int]) -> dict[str, xr.DataArray]:
    """`ESTIMATED` -> scores `(seed, train, query)` at these points, late checkpoints' mean."""
    scores = bank.dataset()["gradient_similarity"].sel(removal="none", drop=True)
    scores = late_mean(scores.isel(train=positions(bank.task, ids)))
    return {name: _labelled(scores.sel(estimator=name, drop=True), ids) for name in ESTIMATED}


def _labelled(scores: xr.DataArray, ids: Sequence[int]) -> xr.DataArray:
    """Only the three axes, training points labelled by id."""
    scores = scores.transpose("seed", "train", "query").reset_coords(drop=True)
    return scores.assign_coords(train=list(ids))


# ---------------------------------------------------------------- when to stop


@measure(dims=(), unit="nats")
def training_loss(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Mean loss of the training points, without weight decay."""
    pieces = zip(task.train_x.split(100), task.train_y.split(100), strict=True)
    losses = [task.per_example_loss(network(theta, x), y) for x, y in pieces]
    return torch.cat(losses).mean()


def epochs_for_steps(recipe: Recipe, n_train: int, steps: int) -> int:
    """The number of epochs, at least one, that comes nearest to so many optimiser steps."""
    return max(1, round(steps / math.ceil(n_train / recipe.batch_size)))


def pilot_bank(task: Task, model: Model, recipe: Recipe, steps: int, **settings: object) -> RunBank:
    """Runs on all points, of seeds that no law uses, with the training loss after each epoch."""
    epochs = max(2, epochs_for_steps(recipe, task.n_train, steps))
    every = replace(recipe, epochs=epochs, keep_last=epochs)
    seeds = paired(nothing(task.n_train), seed_pairs(PILOT_RUNS, "pilots"))
    return RunBank(task, model, every, seeds, [training_loss], **settings)


def epochs_to_loss(
    task: Task, model: Model, recipe: Recipe, target: float, **settings: object
) -> int:
    """Epochs after which the training loss is `target`: a property of task, network and recipe.

    Decided once, on the geometric mean of pilots that take no part in any law, so that runs with
    and without a point share the number of steps. Of the first epoch at or below the target and the
    one before, the nearer in log loss counts. Trains what is missing: `PILOT_STEPS` steps, twice as
    many if these do not reach it, and so on.

    Raises:
        ValueError: the target is not reached.
    """
    for doubling in range(DOUBLINGS):
        bank = pilot_bank(task, model, recipe, PILOT_STEPS * 2**doubling, **settings)
        losses = bank.dataset()["training_loss"].sel(removal="none").astype(np.float64)
        above = np.log(losses).mean("seed").values - math.log(target)
        if (above <= 0).any():
            first = int((above <= 0).argmax())
            nearer_before = first > 0 and above[first - 1] < -above[first]
            return first if nearer_before else first + 1
    raise ValueError(
        f"task {task.name!r}: the training loss stays above {target:g} for "
        f"{bank.recipe.steps(task.n_train)} steps; stop at a larger loss."
    )
