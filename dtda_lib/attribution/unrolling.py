"""Unrolled differentiation, forward: the derivative of training itself in the points' weights.

The response of training point k is `r = -d theta_T / d w_k` at the given weights w, where a step
minimises `sum_i w_i loss_i / |batch|` (`training.train`). Removal takes w_k from 1 to 0, so
`theta_T + r` predicts the parameters without the point and `grad(m) . r` the shift of a measurement
upon removal, in its unit, positive for a query loss where the point helps. The noise
(initialisation, batches) is held fixed: the estimand is the shift of this very run.

For SGD the pair (theta_t, r_t) is the Markov chain of 2506.12965, Eq. 6, as printed:

    r_{t+1} = (I - lr (H_batch + l2)) r_t + (lr / |batch|) [k in batch] grad loss_k,    r_0 = 0,

whose epsilon runs from 0 to 1/N; so this r is *not* multiplied by 1/N again, and N r tends to the
influence function H^-1 grad loss_k (Theorem 2). Momentum and Adam differentiate through their
moments, which join the chain. Adam divides by the gradient's size, so parameters whose gradients
are tiny can have huge responses: exact derivatives, but useless for a whole point.

Cost: T steps times K points products with a batch Hessian, each about five batch gradients (fewer
when vectorised), while the number of parameters is at least K / 2; below, the Hessian is made and
multiplied. Memory: K vectors of parameters for each moment and theta, whatever T. `metagradient`
is the transpose, T products per measurement whatever K.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import jvp, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.protocols import SeedPair
from dtda_lib.runs.recipes import Recipe

from .batch_loss import BatchLoss
from .targets import checked_target
from .trajectory import State, linearised, start, training_steps, walk

# Numbers in the responses of the runs that are unrolled together: more leave the cache.
CPU_NUMBERS, GPU_NUMBERS = 50_000, 50_000_000
MOST_RUNS = 16
MEASURED_POINTS = 64  # responses along which a measurement is differentiated at once


@dataclass(frozen=True)
class Unrolled:
    """theta `(run, parameter)` and responses `(run, point, parameter)` at a checkpoint."""

    theta: Tensor
    response: Tensor


def unrolled_shifts(
    task: Task,
    model: Model,
    recipe: Recipe,
    seeds: Sequence[SeedPair],
    of: str | Measure = query_loss,
    points: Sequence[int] | None = None,
    *,
    weights: Tensor | None = None,
    device: str | torch.device = "cpu",
    chunk: int | None = None,
) -> xr.DataArray:
    """Predicted shift of a measurement upon removal of each chosen point, for each run.

    Args:
        task, model, recipe: As for `training.train`; warm epochs train on everything whatever is
            removed, so responses start from 0 after them.
        seeds: Pairs `(init_seed, order_seed)`, see `protocols.seed_pairs`.
        of: A differentiable measurement; its axes become the last ones. "parameters" gives the
            responses themselves.
        points: Training positions; None for all.
        weights: `(train,)` at which to differentiate; None for ones.
        device: Where.
        chunk: Runs per vectorised pass; None takes the measured best.

    Returns:
        `(seed, checkpoint, train, query)` for a measurement of queries, in its unit: `grad(m) . r`,
        to be compared with `shift_upon_removal` of paired runs of the same seeds.

    Raises:
        ValueError: impossible points, weights, seeds or measurement.
        FloatingPointError: training or its derivative diverged.
    """
    m, chosen = checked_target(of), checked_points(points, task)
    if not seeds:
        raise ValueError("unrolling: zero seeds were given; give at least one pair.")
    loss = BatchLoss(task, model, device)
    at = checked_weights(weights, loss.task)
    size = chunk or best_unrolling_chunk(loss.network, len(chosen), loss.task.train_x.device)
    parts = []
    for first in range(0, len(seeds), size):
        inits, orders = zip(*seeds[first : first + size])
        unrolled = _unroll(loss, model, recipe, inits, orders, chosen, at)
        shifts = [projected_responses(loss, m, one) for one in unrolled]
        parts.append(torch.stack(shifts, dim=1))  # (run, checkpoint, point, *dims)
    return labelled(torch.cat(parts), task, seeds, recipe.checkpoints, chosen, m)


def _unroll(
    loss: BatchLoss,
    model: Model,
    recipe: Recipe,
    init_seeds: Sequence[int],
    order_seeds: Sequence[int],
    points: Sequence[int],
    weights: Tensor,
) -> Iterator[Unrolled]:
    """The chain (state, tangents of the state) of a stack of runs, at the kept checkpoints."""
    state = start(loss, model, recipe, init_seeds, order_seeds)
    device, n_train = weights.device, loss.task.n_train
    row_of = torch.full((n_train,), -1, device=device)
    row_of[list(points)] = torch.arange(len(points), device=device)
    zeros = state.theta.new_zeros(len(init_seeds), len(points), state.theta.shape[1])
    tangent = State.fresh(recipe, zeros)
    steps = training_steps(recipe, n_train, order_seeds, device)
    for taken in walk(loss, recipe, state, steps, weights):
        theta, batch, epoch = taken.before.theta, taken.step.batch, taken.step.ends
        change = loss.hessian_rows(theta, batch, weights, tangent.theta)
        _take_away(change, loss, theta, batch, row_of)
        tangent = linearised(recipe, taken).push(tangent, change)
        if epoch in recipe.checkpoints:
            _refuse_divergence(taken.after, tangent, init_seeds, order_seeds, epoch)
            yield Unrolled(taken.after.theta, tangent.theta)


def _take_away(
    change: Tensor, loss: BatchLoss, theta: Tensor, batch: Tensor, row_of: Tensor
) -> None:
    """Subtract `grad loss_k / |batch|` from row k of each run, once per occurrence in its batch.

    That is what less weight on point k does to the batch's gradient. `change (run, row,
    parameter)` is altered in place; `row_of (train,)` is -1 for points that are not asked for.
    """
    rows = row_of[batch]  # (run, batch)
    chosen = rows >= 0
    run = torch.arange(len(batch), device=batch.device)[:, None]
    flat = (run * change.shape[1] + rows)[chosen]
    gradients = loss.example_gradients(theta, batch, chosen)
    change.view(-1, change.shape[2]).index_add_(0, flat, gradients, alpha=-1 / batch.shape[1])


def _refuse_divergence(
    state: State, tangent: State, inits: Sequence[int], orders: Sequence[int], epoch: int
) -> None:
    for what, values in (("training", state.theta), ("its derivative", tangent.theta)):
        finite = torch.isfinite(values.flatten(1)).all(dim=1)  # (run,)
        if not finite.all():
            bad = int((~finite).nonzero()[0])
            raise FloatingPointError(
                f"unrolling: {what} is not finite after epoch {epoch} of the run with init seed "
                f"{inits[bad]} and order seed {orders[bad]}; lower the learning rate."
            )


def projected_responses(loss: BatchLoss, m: Measure, unrolled: Unrolled) -> Tensor:
    """`grad(m) . r`, `(run, point, *dims)`, on the CPU."""

    def value(theta: Tensor) -> Tensor:
        return m(loss.network, theta, loss.task)

    def along(theta: Tensor, responses: Tensor) -> Tensor:
        def one(response: Tensor) -> Tensor:
            return jvp(value, (theta,), (response,))[1]

        if loss.network.convolutional:  # slower when stacked
            return torch.stack([one(response) for response in responses])
        return vmap(one, chunk_size=MEASURED_POINTS)(responses)

    pairs = zip(unrolled.theta, unrolled.response)
    return torch.stack([along(theta, responses) for theta, responses in pairs]).cpu()


def best_unrolling_chunk(network: Network, n_points: int, device: torch.device) -> int:
    """Runs to unroll together, measured: up to `MOST_RUNS` while responses stay in the cache."""
    if network.convolutional:
        return 1
    numbers = GPU_NUMBERS if device.type == "cuda" else CPU_NUMBERS
    return max(1, min(MOST_RUNS, numbers // (n_points * network.layout.n_parameters)))


# --- what is asked for, and how answers are labelled; shared with `metagradient` ------------------


def checked_points(points: Sequence[int] | None, task: Task) -> list[int]:
    """The training positions asked for; None stands for all.

    Raises:
        ValueError: no point, one twice, or one that does not exist.
    """
    chosen = list(range(task.n_train)) if points is None else [int(point) for point in points]
    outside = [point for point in chosen if not 0 <= point < task.n_train]
    if outside:
        raise ValueError(
            f"unrolling: there is no training point {outside[0]}; positions are 0 to "
            f"{task.n_train - 1}."
        )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"unrolling: points are {chosen}; name at least one, each once.")
    return chosen


def checked_weights(weights: Tensor | None, task: Task) -> Tensor:
    """Weights `(train,)` in the task's dtype and on its device; None stands for ones.

    Raises:
        ValueError: another shape, or values that are negative or not finite.
    """
    if weights is None:
        return task.train_x.new_ones(task.n_train)
    if weights.shape != (task.n_train,) or not (torch.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"unrolling: weights of shape {tuple(weights.shape)} do not fit; give {task.n_train} "
            "finite numbers, none negative."
        )
    return weights.to(task.train_x)


def labelled(
    shifts: Tensor,
    task: Task,
    seeds: Sequence[SeedPair],
    checkpoints: Sequence[int],
    points: Sequence[int],
    m: Measure,
) -> xr.DataArray:
    """Shifts `(seed, checkpoint, train, *m.dims)` with the coordinates of a bank's dataset."""
    inits, orders = zip(*seeds)
    coords: dict[str, object] = {dim: list(names) for dim, names in m.labels.items()}
    coords |= {"seed": np.arange(len(seeds)), "checkpoint": list(checkpoints)}
    coords |= {"init_seed": ("seed", list(inits)), "order_seed": ("seed", list(orders))}
    coords |= {"train": list(points), "train_id": ("train", [task.train_id[p] for p in points])}
    if "query" in m.dims:
        coords |= {"query": np.arange(task.n_query), "query_id": ("query", list(task.query_id))}
    dims = ("seed", "checkpoint", "train", *m.dims)
    return xr.DataArray(shifts.numpy(), coords, dims, "shift", {"unit": m.unit})
