"""Additional training steps (ATS): what one more step on a training point takes off."""

import torch
from torch import Tensor
from torch.func import vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.recipes import Recipe, new_optimiser

from .gradients import per_example_gradients
from .targets import checked_target, estimates

STEPS = ("ats_adam", "ats_sgd")


def additional_step(recipe: Recipe, *, of: str | Measure = query_loss) -> Measure:
    """A measurement before minus after one more step on each training point alone.

    "ats_adam" steps with a *fresh* Adam at the recipe's rate and weight decay, as published
    (2305.19765, run_cnn_ats.py:50-60: 1e-3 and 5e-3). A first Adam step moves every parameter by
    about lr whatever the size of the gradient, so it is a jump along signs. "ats_sgd" is a plain
    SGD step at the recipe's rate (our choice), which tends to `lr * grad_dot` as lr -> 0. Signed as
    a shift upon removal, for a loss positive where the point helps (published scores have the
    opposite sign); the scale is that of one step more, not of a removal. The measurement is taken,
    not differentiated, so it may count.

    Raises:
        ValueError: see `targets.checked_target`.
    """
    of = checked_target(of)

    @estimates(of, STEPS, unit=f"{of.unit}, for one step", gradients=False)
    def additional_step(network: Network, theta: Tensor, task: Task) -> Tensor:
        gradients = per_example_gradients(network, theta, task, task.train_x, task.train_y)
        return step_changes(network, theta, task, torch.cat(list(gradients)), recipe, of)

    return additional_step


def step_changes(
    network: Network, theta: Tensor, task: Task, gradient: Tensor, recipe: Recipe, of: Measure
) -> Tensor:
    """What one more step along each row of `gradient (row, parameter)` takes off a measurement.

    `(estimator, row, *of.dims)`, the steps of `STEPS`; see `additional_step`.
    """
    lr, weight_decay = recipe.lr, recipe.weight_decay
    steps = (Recipe("adam", lr=lr, weight_decay=weight_decay), Recipe("sgd", lr=lr))
    before = of(network, theta, task)
    after = [_after(network, theta, task, gradient, step, of) for step in steps]
    return before - torch.stack(after)


def _after(
    network: Network, theta: Tensor, task: Task, gradient: Tensor, recipe: Recipe, of: Measure
) -> Tensor:
    """The measurement `(train, *of.dims)` after a step along each row of `gradient`."""
    moved = theta.expand_as(gradient).clone()  # (train, parameter)
    new_optimiser(recipe, moved)(moved, gradient, 0.0)

    def measured(theta: Tensor) -> Tensor:
        return of(network, theta, task)

    if network.convolutional:  # stacked convolutions are slower on a CPU than one by one
        return torch.stack([measured(one) for one in moved])
    return vmap(measured)(moved)
