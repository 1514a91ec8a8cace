"""Damping that stands for training that stops early: one rule for all notebooks.

Gradient descent of a finite training time leaves directions of small curvature where they started,
and an influence function without damping takes them as converged. On a quadratic objective a
direction of curvature c has gone the share 1 - exp(-c T) of its way after training time T, and a
ridge d leaves the share c / (c + d). For d = 1 / T the two differ by 21 % of the way at most (Ali,
Kolter and Tibshirani 2019, for least squares) and agree where c is small; over all scales of c
alike 0.61 / T is nearest. A rule of thumb, fitted to no retraining.
"""

import math

from dtda_lib.runs.recipes import SCHEDULES, Recipe


def training_time(recipe: Recipe, n_train: int) -> float:
    """The sum of all learning rates of a run, over 1 - momentum; unit: 1 / curvature.

    Momentum multiplies steps by 1 / (1 - momentum) in the long run. Warm epochs have a schedule of
    their own, as in training. Of Adam and AdamW, the sum of learning rates alone: their steps are
    divided by the root mean square of each gradient, so this is a time only where gradients are
    about 1, and an approximation that nothing justifies elsewhere.
    """
    return _sum_of_rates(recipe, n_train) / (1 - _momentum(recipe))


def damping_by_training_time(recipe: Recipe, n_train: int) -> float:
    """1 / `training_time`: the ridge beside the weight decay, in units of curvature.

    The limits named there hold: of Adam and AdamW this is an order of magnitude at best. It stands
    for training that stops early alone; what AdamW's decay does is in no ridge (`objective_l2`).
    """
    return (1 - _momentum(recipe)) / _sum_of_rates(recipe, n_train)


def _momentum(recipe: Recipe) -> float:
    return recipe.momentum if recipe.optimiser == "sgd" else 0.0


def _sum_of_rates(recipe: Recipe, n_train: int) -> float:
    factor, total = SCHEDULES[recipe.schedule], 0.0
    for epochs in (recipe.warm_epochs, recipe.epochs):
        steps = epochs * math.ceil(n_train / recipe.batch_size)
        total += sum(factor(step / steps) for step in range(steps))
    return recipe.lr * total
