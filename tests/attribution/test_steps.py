"""Additional training steps against torch's optimisers and the limit of small steps."""

import pytest
import torch
from helpers import digits_like, table_like

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import with_channels_last

CASES = [
    (table_like(), get_model("mlp", widths=(8, 6, 1), activation="tanh")),
    (digits_like(n_train=4, n_query=3), get_model("cnn2l")),
]
RECIPE = Recipe("adam", lr=1e-3, weight_decay=5e-3)


def scores(task, model, recipe=RECIPE):
    network, theta = Network.of(model), initial_theta(model, 0, torch.float64)
    return get_estimator("additional_step", recipe)(network, theta, with_channels_last(task))


@pytest.mark.parametrize(("task", "model"), CASES, ids=["mlp", "cnn2l"])
def test_equals_a_step_of_torchs_optimisers(task, model):
    found = scores(task, model)

    def fresh():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return model().double()

    def losses(net):
        with torch.no_grad():
            return task.per_example_loss(net(task.query_x), task.query_y)

    optimisers = (
        lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=5e-3),
        lambda p: torch.optim.SGD(p, lr=1e-3),
    )
    for row, build in enumerate(optimisers):
        for k in range(task.n_train):
            net = fresh()
            before = losses(net)
            optimiser = build(net.parameters())
            loss = task.per_example_loss(net(task.train_x[k : k + 1]), task.train_y[k : k + 1])
            loss.sum().backward()
            optimiser.step()
            expected = before - losses(net)  # published: after - before
            torch.testing.assert_close(found[row, k], expected, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize(("task", "model"), CASES, ids=["mlp", "cnn2l"])
def test_a_small_sgd_step_is_grad_dot(task, model):
    network, theta = Network.of(model), initial_theta(model, 0, torch.float64)
    dot = get_estimator("gradient_similarity", RECIPE)(network, theta, task)[0]
    lr = 1e-7
    step = scores(task, model, Recipe("sgd", lr=lr))[1]
    torch.testing.assert_close(step / lr, dot, rtol=1e-4, atol=1e-5)
    error = [
        float((scores(task, model, Recipe("sgd", lr=lr))[1] / lr - dot).norm())
        for lr in (1e-3, 1e-4)
    ]
    assert 8 < error[0] / error[1] < 12  # what is left is of second order


def test_a_first_adam_step_goes_along_signs():
    """To first order lr * <grad L(query), sign(grad loss_k + wd theta)>, whatever the scale."""
    task, model = CASES[0]
    lr, decay = 1e-7, 5e-3
    network, theta = Network.of(model), initial_theta(model, 0, torch.float64)

    def gradient(x, y):
        loss = torch.func.grad(lambda t: task.per_example_loss(network(t, x[None]), y[None])[0])
        return loss(theta)

    step = scores(task, model, Recipe("adam", lr=lr, weight_decay=decay))[0] / lr
    for k in range(task.n_train):
        g = gradient(task.train_x[k], task.train_y[k]) + decay * theta
        direction = g / (g.abs() + 1e-8)
        for q in range(task.n_query):
            expected = gradient(task.query_x[q], task.query_y[q]) @ direction
            torch.testing.assert_close(step[k, q], expected, rtol=1e-4, atol=1e-5)


def test_points_do_not_see_each_other():
    task, model = CASES[0]
    from dataclasses import replace

    order = torch.arange(task.n_train).flip(0)
    turned = replace(task, train_x=task.train_x[order], train_y=task.train_y[order])
    torch.testing.assert_close(scores(turned, model), scores(task, model).flip(1))
