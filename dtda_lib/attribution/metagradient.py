"""Unrolled differentiation, in reverse: the gradient of a measurement in all training weights.

The exact metagradient `d m(theta_T) / d w` of one run at the given weights (as in MAGIC,
2504.16430). Minus it is the predicted shift upon removal, equal to what `unrolling` finds forward;
the conventions are those of that module.

Cost: T steps times M outputs of the measurement pull-backs through a batch gradient, about five
batch gradients each, and two trainings; whatever the number of points, so it is cheaper than
forward mode where points outnumber outputs. Memory: T states of the optimiser, or about
2 sqrt(T) of them (`every`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import xarray as xr
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.protocols import SeedPair
from dtda_lib.runs.recipes import Recipe

from .batch_loss import BatchLoss
from .targets import checked_target, whole_gradients
from .trajectory import State, linearised, start, training_steps, walk
from .unrolling import checked_points, checked_weights, labelled

TRAJECTORY_BYTES = 2**29  # a longer trajectory is recomputed from every sqrt(T)-th state

Measurement = Callable[[Tensor], Tensor]  # theta (parameter,) -> a tensor of any shape


def metagradient(
    task: Task,
    model: Model,
    recipe: Recipe,
    init_seed: int,
    order_seed: int,
    of: str | Measure | Measurement = query_loss,
    *,
    weights: Tensor | None = None,
    every: int | None = None,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Gradient of a measurement of the finally trained model in the weight of every point.

    Args:
        task, model, recipe: As for `training.train`; warm epochs do not depend on the weights.
        init_seed, order_seed: Of the run.
        of: A function of theta `(parameter,)`, best a scalar one, or a measure, of which
            each value is an output.
        weights: `(train,)` at which to differentiate; None for ones.
        every: Steps between kept states; 1 stores the whole trajectory, None does so while that
            takes at most `TRAJECTORY_BYTES` and else keeps every sqrt(T)-th.
        device: Where.

    Returns:
        `(*shape of the measurement, train)` on the CPU, in its unit per whole point. Signed as a
        gradient: a *shift upon removal* is predicted by minus it.

    Raises:
        ValueError: impossible weights, spacing or measurement.
        FloatingPointError: training or its derivative diverged.
    """
    if every is not None and every < 1:
        raise ValueError(f"metagradient: every is {every}; keep a state at least every 1 step.")
    loss = BatchLoss(task, model, device)
    if isinstance(of, str | Measure):
        m = checked_target(of)

        def function(theta: Tensor) -> Tensor:
            return m(loss.network, theta, loss.task)
    else:
        function = of
    at = checked_weights(weights, loss.task)
    result = _reverse(loss, model, recipe, (init_seed, order_seed), function, at, every)
    if not torch.isfinite(result).all():
        raise FloatingPointError(
            f"metagradient: training or its derivative is not finite in the run with init seed "
            f"{init_seed} and order seed {order_seed}; lower the learning rate."
        )
    return result.cpu()


def metagradient_shifts(
    task: Task,
    model: Model,
    recipe: Recipe,
    seeds: Sequence[SeedPair],
    of: str | Measure = query_loss,
    *,
    weights: Tensor | None = None,
    every: int | None = None,
    device: str | torch.device = "cpu",
) -> xr.DataArray:
    """What `unrolled_shifts` predicts for all points at the last checkpoint, found in reverse.

    Cheaper where there are more training points than values of the measurement.

    Args:
        task, model, recipe, of, weights, every, device: See `metagradient`.
        seeds: Pairs `(init_seed, order_seed)`, see `protocols.seed_pairs`.

    Returns:
        `(seed, checkpoint, train, query)` for a measurement of queries, in its unit: minus the
        metagradient. One checkpoint.

    Raises:
        ValueError, FloatingPointError: as `metagradient`, or no seeds.
    """
    m = checked_target(of)
    if not seeds:
        raise ValueError("metagradient: zero seeds were given; give at least one pair.")
    settings = {"weights": weights, "every": every, "device": device}
    found = [metagradient(task, model, recipe, *pair, m, **settings) for pair in seeds]
    shifts = -torch.stack(found).movedim(-1, 1).unsqueeze(1)  # -> (seed, checkpoint, train, *dims)
    return labelled(shifts, task, seeds, recipe.checkpoints[-1:], checked_points(None, task), m)


def _reverse(
    loss: BatchLoss,
    model: Model,
    recipe: Recipe,
    seeds: SeedPair,
    function: Measurement,
    weights: Tensor,
    every: int | None,
) -> Tensor:
    """The metagradient `(*shape of function(theta), train)` of one run: there and back again."""
    state = start(loss, model, recipe, seeds[:1], seeds[1:])
    steps = list(training_steps(recipe, len(weights), seeds[1:], weights.device))
    every = every or _spacing(state, len(steps))
    blocks = [steps[at : at + every] for at in range(0, len(steps), every)]
    kept = []  # the state before each block
    for block in blocks:
        kept.append(state)
        for taken in walk(loss, recipe, state, block, weights):
            state = taken.after
    last = state.theta[0]
    rows = whole_gradients(function, last, alone=loss.network.convolutional)
    cotangent = State.fresh(recipe, rows[None])  # (1, output, parameter)
    total = weights.new_zeros(1, len(rows), len(weights))
    for block in reversed(blocks):
        for taken in reversed(list(walk(loss, recipe, kept.pop(), block, weights))):
            theta, batch = taken.before.theta, taken.step.batch
            cotangent, of_gradient = linearised(recipe, taken).pull(cotangent)
            by_theta, by_weights = loss.pull_back(theta, batch, weights, of_gradient)
            total.index_add_(2, batch[0], by_weights)  # a point drawn twice counts twice
            cotangent = replace(cotangent, theta=cotangent.theta + by_theta)
    return total[0].reshape(*function(last).shape, -1)


def _spacing(state: State, steps: int) -> int:
    """Steps between kept states: 1 while the whole trajectory fits into `TRAJECTORY_BYTES`."""
    vectors = [t for t in (state.theta, state.first, state.second) if t is not None]
    size = steps * sum(t.numel() * t.element_size() for t in vectors)
    return 1 if size <= TRAJECTORY_BYTES else math.ceil(math.sqrt(steps))
