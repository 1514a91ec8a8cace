"""Grad-dot and grad-cos by Gram matrices of gradients: no loop over pairs."""

import torch
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.recipes import Recipe

from .gradients import per_example_gradients
from .targets import checked_target, estimates, shaped, target_gradients


def gradient_similarity(recipe: Recipe | None = None, *, of: str | Measure = query_loss) -> Measure:
    """Inner product and cosine of the gradients of a measurement and of training losses.

    grad_dot = <grad m, grad L(train)>, grad_cos the same over both norms (2305.19765,
    run_cnn_gd_and_gc.py:72-76, for m = the query's loss; called GD and GC there). Signed as a shift
    of m upon removal: for a loss, positive = the training point helps. The scale is another: to
    first order one SGD step of rate lr on the point alone takes lr * grad_dot off m. grad_cos has
    no unit whatever m. All trainable parameters, no weight-decay term: the recipe is not looked at.
    Memory: train + `EXAMPLE_CHUNK` gradients. A zero gradient gives cosine 0.

    Raises:
        ValueError: see `targets.checked_target`.
    """
    of = checked_target(of)
    unit = f"grad_dot: ({of.unit}) times loss unit per squared parameter unit; grad_cos: none"

    @estimates(of, ("grad_dot", "grad_cos"), unit=unit)
    def gradient_similarity(network: Network, theta: Tensor, task: Task) -> Tensor:
        train = torch.cat(
            list(per_example_gradients(network, theta, task, task.train_x, task.train_y))
        )  # (train, parameter)
        dots, norms = [], []
        for target in target_gradients(network, theta, task, of):
            dots.append(train @ target.T)  # (train, entry)
            norms.append(target.norm(dim=1))
        dot = torch.cat(dots, dim=1)
        scale = train.norm(dim=1)[:, None] * torch.cat(norms)[None, :]
        cos = dot / scale.clamp_min(torch.finfo(dot.dtype).tiny)
        return shaped(torch.stack([dot, cos]), network, theta, task, of)

    return gradient_similarity
