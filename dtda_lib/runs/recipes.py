"""How one model is trained: the recipe, and the update rules it names."""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtda_lib.names import Shown, refuse_unknown_settings, unknown

_COMMON = ("adam", "sgd")  # optimisers that one update rule makes
SCHEDULES: dict[str, Callable[[float], float]] = {  # fraction of training done -> factor on lr
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "inverse": lambda done: 1.0 / (1 + 99 * done),  # Robbins-Monro steps 1 / (t0 + t), cut off
}


@dataclass(frozen=True, repr=False)
class Recipe(Shown):
    """How one model is trained.

    Args:
        optimiser: "adam" (coupled L2, as in the published code), "adamw" or "sgd".
        lr: Learning rate.
        weight_decay: Coupled L2: `weight_decay * theta` is added to the gradient. Decoupled for
            "adamw": each step takes `lr * weight_decay * theta` off, which no objective has as its
            gradient (`objective_l2`).
        momentum: SGD only; PyTorch's form (no dampening, no Nesterov).
        betas, eps: Adam and AdamW only.
        schedule: "constant", "linear" or "cosine" (to 0), or "inverse" (1 / t, to 1/100) factor on
            lr over all steps.
        batch_size: Examples per step; the last, partial batch of an epoch is kept.
        epochs: Passes over the data; an epoch has ceil(N / batch_size) steps.
        replacement: Draw each epoch's N examples with replacement instead of shuffling.
        keep_last: Measure after each of the last `keep_last` epochs.
        warm_epochs: First train this many epochs on *all* points, then restart optimiser and
            order stream: the `continued` protocol of the published code (run_cnn_loo.py).

    Raises:
        ValueError: unknown names or impossible values, in one sentence.
    """

    optimiser: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    schedule: str = "constant"
    batch_size: int = 32
    epochs: int = 15
    replacement: bool = False
    keep_last: int = 1
    warm_epochs: int = 0

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ValueError(unknown("optimiser", self.optimiser, OPTIMISERS))
        if self.schedule not in SCHEDULES:
            raise ValueError(unknown("schedule", self.schedule, SCHEDULES))
        wrong = {
            "lr": not (math.isfinite(self.lr) and self.lr > 0),
            "weight_decay": not (math.isfinite(self.weight_decay) and self.weight_decay >= 0),
            "momentum": not 0 <= self.momentum < 1,
            "betas": not all(0 <= beta < 1 for beta in self.betas),
            "batch_size": self.batch_size < 1,
            "epochs": self.epochs < 1,
            "keep_last": not 1 <= self.keep_last <= self.epochs,
            "warm_epochs": self.warm_epochs < 0,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise ValueError(f"recipe: {name} = {getattr(self, name)!r} is impossible.")

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Epochs (0-based, as in the published code) after which models are measured."""
        return tuple(range(self.epochs - self.keep_last, self.epochs))

    def _facts(self) -> dict[str, object]:
        main = ("optimiser", "lr", "batch_size", "epochs")
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name in main or getattr(self, one.name) != one.default
        }

    def steps(self, n_train: int) -> int:
        """Optimiser steps of one run, warm epochs included."""
        return (self.epochs + self.warm_epochs) * math.ceil(n_train / self.batch_size)


class Optimiser:
    """Adam with coupled L2, or SGD with momentum, on theta `(runs, parameter)`, in place.

    Matches `torch.optim.Adam(weight_decay=...)` and `torch.optim.SGD(momentum=...)`.
    """

    def __init__(self, recipe: Recipe, theta: Tensor) -> None:
        self.recipe = recipe
        self.steps = 0
        self.first = torch.zeros_like(theta)
        self.second = torch.zeros_like(theta) if recipe.optimiser == "adam" else None

    def __call__(self, theta: Tensor, gradient: Tensor, done: float) -> None:
        recipe = self.recipe
        lr = recipe.lr * SCHEDULES[recipe.schedule](done)
        self.steps += 1
        if recipe.weight_decay:
            gradient = gradient.add(theta, alpha=recipe.weight_decay)
        if self.second is None:
            if recipe.momentum:
                gradient = self.first.mul_(recipe.momentum).add_(gradient)
            theta.sub_(gradient, alpha=lr)
            return
        beta1, beta2 = recipe.betas
        self.first.lerp_(gradient, 1 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        correction1, correction2 = 1 - beta1**self.steps, 1 - beta2**self.steps
        root = (self.second.sqrt() / math.sqrt(correction2)).add_(recipe.eps)
        theta.addcdiv_(self.first, root, value=-lr / correction1)


class AdamW(Optimiser):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), in place.

    Matches `torch.optim.AdamW`: theta shrinks by `1 - lr * weight_decay`, lr as scheduled, before a
    step of Adam without any decay.
    """

    def __init__(self, recipe: Recipe, theta: Tensor) -> None:
        super().__init__(without_decay(recipe), theta)
        self.weight_decay = recipe.weight_decay

    def __call__(self, theta: Tensor, gradient: Tensor, done: float) -> None:
        theta.mul_(1 - shrinkage(self.recipe, self.weight_decay, done))
        super().__call__(theta, gradient, done)


def without_decay(recipe: Recipe) -> Recipe:
    """The recipe of the Adam inside an AdamW."""
    return replace(recipe, optimiser="adam", weight_decay=0.0)


def shrinkage(recipe: Recipe, weight_decay: float, done: float) -> float:
    """What decoupled decay takes off, as a share of theta, after the share `done` of training."""
    return recipe.lr * SCHEDULES[recipe.schedule](done) * weight_decay


class ByOptimiser:
    """What differs by the optimiser of a recipe: one thing for the common ones, others by name.

    Called with a recipe and more, it calls the one of this recipe's optimiser; iterating gives the
    names. A key counts the common one and, of the others, what its own recipe names (`besides`): so
    an optimiser that is added changes no key of the others.
    """

    def __init__(self, common: Any, **others: Any) -> None:
        self.common, self.others = common, others

    def __call__(self, recipe: Recipe, *given: Any) -> Any:
        return self.others.get(recipe.optimiser, self.common)(recipe, *given)

    def __iter__(self) -> Iterator[str]:
        return iter((*_COMMON, *self.others))

    def besides(self, recipe: Recipe) -> tuple[Any, ...]:
        """The thing of this recipe's optimiser, if it is not the common one."""
        return tuple(one for name, one in self.others.items() if name == recipe.optimiser)


OPTIMISERS = ByOptimiser(_COMMON, adamw=AdamW)
"""Names of optimisers."""

new_optimiser = ByOptimiser(Optimiser, adamw=AdamW)
"""`new_optimiser(recipe, theta)`: an update rule with fresh moments."""


def _coupled_l2(recipe: Recipe) -> float:
    return recipe.weight_decay


def _no_l2(recipe: Recipe) -> float:
    return 0.0


objective_l2 = ByOptimiser(_coupled_l2, adamw=_no_l2)
"""`objective_l2(recipe)`: l2 of the objective `mean loss + l2/2 |theta|^2` that a recipe minimises,
which estimators add to a curvature.

The weight decay; 0 for "adamw", whose decay is scaled otherwise than the gradient and so is no part
of an objective. Influence after AdamW needs a damping of its own where the curvature is singular.
"""

RECIPES: dict[str, Recipe] = {
    # 2305.19765, published code (run_cnn_training.py:12-33); checkpoints 10..14 for MNIST3.
    "published_adam": Recipe(
        "adam", lr=1e-3, weight_decay=5e-3, batch_size=32, epochs=15, keep_last=5
    ),
    "sgd": Recipe("sgd", lr=1e-2, batch_size=32, epochs=100),
}


def refusing_unknown(kind: type[Recipe]) -> type[Recipe]:
    """The class, refusing settings that it does not know in one sentence.

    Around `__init__`, because what is written there by `dataclass` is no part of a key.
    """
    make = kind.__init__

    @functools.wraps(make)
    def made(self: Recipe, *values: Any, **settings: Any) -> None:
        if settings.keys() & LOOP_SETTINGS and kind is Recipe:
            name = min(settings.keys() & LOOP_SETTINGS)
            raise ValueError(
                f"recipe: {name} is a setting of LoopRecipe, whose runs are trained one at a time."
            )
        if settings.keys() & OF_THE_TASK:
            name = min(settings.keys() & OF_THE_TASK)
            raise ValueError(
                f"recipe: {name} belongs to the loss; give the task one, "
                "as_task(..., loss=weighted_cross_entropy(...)) or a function of your own."
            )
        refuse_unknown_settings("Recipe", make, settings)
        for name in ("batch_size", "epochs", "keep_last", "warm_epochs"):
            if not isinstance(settings.get(name, 0), int | np.integer):
                raise ValueError(f"recipe: {name} = {settings[name]!r} is no whole number.")
        make(self, *values, **settings)

    kind.__init__ = made
    return kind


LOOP_SETTINGS = {"clip", "warm_up", "nesterov"}
OF_THE_TASK = {"loss", "class_weights", "label_smoothing"}
refusing_unknown(Recipe)


def get_recipe(name: str) -> Recipe:
    """The recipe of that name in `RECIPES`: "published_adam" (2305.19765) or "sgd".

    Raises:
        ValueError: an unknown name, with the nearest one.
    """
    if name not in RECIPES:
        raise ValueError(unknown("recipe", name, RECIPES))
    return RECIPES[name]
