"""What several test modules share: small tasks, a plain PyTorch training loop as oracle."""

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from dtda_lib.attribution import unrolling
from dtda_lib.attribution.batch_loss import BatchLoss
from dtda_lib.attribution.unrolling import checked_points, checked_weights
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model
from dtda_lib.runs.recipes import SCHEDULES, Recipe
from dtda_lib.runs.training import epoch_order, order_generator
from dtda_lib.theory.langevin import LinearChain


def digits_like(n_train: int = 10, n_query: int = 4, dtype: torch.dtype = torch.float64) -> Task:
    """Random 28 x 28 images of three classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n_train + n_query, 1, 28, 28, generator=generator, dtype=dtype)
    y = torch.arange(n_train + n_query) % 3
    return Task(
        "digits-like", x[:n_train], y[:n_train], x[n_train:], y[n_train:], "cross_entropy", 10
    )


def table_like(n_train: int = 12, n_query: int = 5, dtype: torch.dtype = torch.float64) -> Task:
    """A noisy linear regression with eight inputs."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n_train + n_query, 8, generator=generator, dtype=dtype)
    noise = torch.randn(n_train + n_query, generator=generator, dtype=dtype)
    y = x.sum(dim=1) / 3 + 0.1 * noise
    return Task(
        "table-like", x[:n_train], y[:n_train], x[n_train:], y[n_train:], "squared_error", 1
    )


def plain_loop(
    task: Task, model: Model, recipe: Recipe, init_seed: int, order_seed: int, weight: torch.Tensor
) -> list[nn.Module]:
    """The straightforward PyTorch script: one model, `torch.optim`, `.backward()`.

    Shares with the engine only the batch order. Returns a copy of the model per checkpoint.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(init_seed)
        net = model().to(task.train_x.dtype)
    if recipe.optimiser in ("adam", "adamw"):
        kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
        optimiser = kind(
            net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=recipe.betas
        )
    else:
        optimiser = torch.optim.SGD(
            net.parameters(),
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
        )
    generator = order_generator(order_seed)
    total = recipe.epochs * math.ceil(task.n_train / recipe.batch_size)
    step, kept = 0, []
    for epoch in range(recipe.epochs):
        order = epoch_order(generator, task.n_train, recipe)
        for start in range(0, task.n_train, recipe.batch_size):
            batch = order[start : start + recipe.batch_size]
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * SCHEDULES[recipe.schedule](step / total)
            optimiser.zero_grad()
            output = net(task.train_x[batch])
            if task.loss == "cross_entropy":
                losses = nn.functional.cross_entropy(output, task.train_y[batch], reduction="none")
            else:
                losses = 0.5 * (output[:, 0] - task.train_y[batch]) ** 2
            ((weight[batch] * losses).sum() / len(batch)).backward()
            optimiser.step()
            step += 1
        if epoch in recipe.checkpoints:
            kept.append(copy.deepcopy(net))
    return kept


def response_covariance(chain: LinearChain, point: int) -> np.ndarray:
    """E[r (theta - minimum)^T] `(feature, feature)` of the unrolled response, exactly.

    For Langevin on the whole loss only. With `r <- (I - step A) r + step grad loss_k`, it solves
    `M = (I - step A) (M (I - step A) + step x x^T C (I - step A) )` term by term; its symmetric
    part, doubled, is the derivative of C in eps.
    """
    n_feature, x = chain.train_x.shape[1], chain.train_x[point]
    decay = np.eye(n_feature) - chain.step * chain.curvature()
    source = chain.step * np.outer(x, x) @ chain.stationary_covariance() @ decay
    left = np.eye(n_feature**2) - np.kron(decay, decay)
    return np.linalg.solve(left, source.ravel()).reshape(n_feature, n_feature)


def unrolled_responses(
    task: Task,
    model: Model,
    recipe: Recipe,
    init_seed: int,
    order_seed: int,
    points: Sequence[int] | None = None,
    *,
    weights: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Of one run, "parameters" `(checkpoint, parameter)` and "responses" `(checkpoint, train,
    parameter)`, which `unrolled_shifts` projects."""
    loss, chosen = BatchLoss(task, model, "cpu"), checked_points(points, task)
    at = checked_weights(weights, loss.task)
    kept = list(unrolling._unroll(loss, model, recipe, [init_seed], [order_seed], chosen, at))
    return {
        "parameters": torch.stack([one.theta[0] for one in kept]),
        "responses": torch.stack([one.response[0] for one in kept]),
    }
