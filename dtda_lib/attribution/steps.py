"""Additional training steps (ATS): one more step on a training point, and what the queries lose."""

import torch
from torch import Tensor
from torch.func import vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure, query_loss
from dtda_lib.runs.recipes import Optimiser, Recipe

from .gradients import per_example_gradients


def additional_step(recipe: Recipe) -> Measure:
    """Loss of each query before minus after one more step on each training point alone.

    "ats_adam" steps with a *fresh* Adam at the recipe's rate and weight decay, as published
    (2305.19765, run_cnn_ats.py:50-60: 1e-3 and 5e-3). A first Adam step moves every parameter by
    about lr whatever the size of the gradient, so it is a jump along signs. "ats_sgd" is a plain
    SGD step at the recipe's rate (our choice), which tends to `lr * grad_dot` as lr -> 0. Positive
    where the point helps, the sign of a shift upon removal (published scores have the opposite
    sign); the scale is that of one step more, not of a removal.
    """
    lr, weight_decay = recipe.lr, recipe.weight_decay

    @measure(
        dims=("estimator", "train", "query"),
        unit="nats (cross-entropy) or half squared target units, for one step",
        labels={"estimator": ("ats_adam", "ats_sgd")},
    )
    def additional_step(network: Network, theta: Tensor, task: Task) -> Tensor:
        steps = (Recipe("adam", lr=lr, weight_decay=weight_decay), Recipe("sgd", lr=lr))
        before = query_loss(network, theta, task)  # (query,)
        gradients = per_example_gradients(network, theta, task, task.train_x, task.train_y)
        gradient = torch.cat(list(gradients))  # (train, parameter)
        after = [_after(network, theta, task, gradient, step) for step in steps]
        return before - torch.stack(after)  # (estimator, train, query)

    return additional_step


def _after(network: Network, theta: Tensor, task: Task, gradient: Tensor, recipe: Recipe) -> Tensor:
    """Query losses `(train, query)` after a step along each row of `gradient`."""
    moved = theta.expand_as(gradient).clone()  # (train, parameter)
    Optimiser(recipe, moved)(moved, gradient, 0.0)

    def losses(theta: Tensor) -> Tensor:
        return query_loss(network, theta, task)

    if network.convolutional:  # stacked convolutions are slower on a CPU than one by one
        return torch.stack([losses(one) for one in moved])
    return vmap(losses)(moved)
