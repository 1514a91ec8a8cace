"""Damping by training time against gradient descent on quadratics, run in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from dtda_lib.attribution.damping import damping_by_training_time, training_time
from dtda_lib.runs.recipes import Recipe, new_optimiser

N = 10  # points, in one batch: an epoch is a step
PLAIN = Recipe("sgd", lr=0.05, batch_size=N, epochs=400)
RECIPES = {
    "constant": PLAIN,
    "linear": replace(PLAIN, schedule="linear"),
    "cosine": replace(PLAIN, schedule="cosine"),
    "inverse": replace(PLAIN, schedule="inverse"),
    "momentum": replace(PLAIN, momentum=0.8, lr=0.02),
    "short": replace(PLAIN, epochs=60),
    "batches": replace(PLAIN, batch_size=5, epochs=200),
    "warm": replace(PLAIN, schedule="linear", warm_epochs=200),
}


def gone(recipe, curvatures):
    """Share of the way to the minimum that each direction of a quadratic has gone."""
    theta = torch.ones((1, len(curvatures)), dtype=torch.float64)
    curvature = torch.as_tensor(curvatures)
    for epochs in (recipe.warm_epochs, recipe.epochs):  # each with its own optimiser
        update, steps = new_optimiser(recipe, theta), epochs * -(-N // recipe.batch_size)
        for step in range(steps):
            update(theta, curvature * theta, step / steps)
    return 1 - theta[0].numpy()


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_the_ridge_that_filters_most_alike(name):
    recipe = RECIPES[name]
    damping = damping_by_training_time(recipe, N)
    curvatures = damping * np.geomspace(1e-3, 30, 300)
    trained = gone(recipe, curvatures)

    def gap(log_ridge):
        return ((trained - curvatures / (curvatures + np.exp(log_ridge))) ** 2).sum()

    best = np.exp(minimize_scalar(gap, np.log(damping) + np.array([-2, 2])).x)
    # A ridge is no exponential: over all scales alike, the nearest one is somewhat smaller.
    assert best / damping == pytest.approx(0.61, rel=0.02)
    assert abs(trained - curvatures / (curvatures + damping)).max() < 0.23


def test_the_time_of_training_adds_up():
    assert training_time(PLAIN, N) == pytest.approx(0.05 * 400)
    linear = replace(PLAIN, schedule="linear", batch_size=3, epochs=10)  # 4 steps an epoch
    expected = sum(0.05 * (1 - step / 40) for step in range(40))
    assert training_time(linear, N) == pytest.approx(expected)
    assert training_time(replace(linear, momentum=0.9), N) == pytest.approx(10 * expected)
    assert damping_by_training_time(linear, N) == pytest.approx(1 / expected)


def test_adam_counts_learning_rates_alone():
    for name in ("adam", "adamw"):
        adam = replace(PLAIN, optimiser=name, momentum=0.9, weight_decay=0.1)
        assert training_time(adam, N) == pytest.approx(0.05 * 400)
