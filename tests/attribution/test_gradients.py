"""Grad-dot and grad-cos against a double loop, a closed form and invariances."""

import pytest
import torch
from helpers import digits_like, table_like

from dtda_lib.attribution import gradients, targets
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import with_channels_last

SIMILARITY = get_estimator("gradient_similarity", Recipe())
CASES = [
    (table_like(), get_model("mlp", widths=(8, 6, 1), activation="tanh")),
    (digits_like(n_train=5, n_query=3), get_model("cnn2l")),
]


def scores(task, model, seed=0):
    network, theta = Network.of(model), initial_theta(model, seed, torch.float64)
    return SIMILARITY(network, theta, with_channels_last(task))


@pytest.mark.parametrize(("task", "model"), CASES, ids=["mlp", "cnn2l"])
def test_equals_the_double_loop_with_backward(task, model):
    dot, cos = scores(task, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = model().double()

    def gradient(x, y):
        net.zero_grad()
        task.per_example_loss(net(x[None]), y[None]).sum().backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    for k in range(task.n_train):
        for q in range(task.n_query):
            train = gradient(task.train_x[k], task.train_y[k])
            query = gradient(task.query_x[q], task.query_y[q])
            torch.testing.assert_close(dot[k, q], train @ query, rtol=1e-10, atol=1e-12)
            expected = train @ query / (train.norm() * query.norm())
            torch.testing.assert_close(cos[k, q], expected, rtol=1e-10, atol=1e-12)


def test_closed_form_of_a_linear_model():
    """Half squared error of w·x + b: the gradient is residual * (x, 1)."""
    task, model = table_like(), get_model("mlp", widths=(8, 1))
    dot, _ = scores(task, model, seed=2)
    theta = initial_theta(model, 2, torch.float64)

    def gradients(x, y):
        ones = torch.ones(len(x), 1, dtype=x.dtype)
        residual = x @ theta[:8] + theta[8] - y
        return residual[:, None] * torch.cat([x, ones], dim=1)

    expected = gradients(task.train_x, task.train_y) @ gradients(task.query_x, task.query_y).T
    torch.testing.assert_close(dot, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_does_not_depend_on_the_chunk(size, monkeypatch):
    whole = scores(*CASES[0])
    for module in (gradients, targets):
        monkeypatch.setattr(module, "EXAMPLE_CHUNK", size)
    torch.testing.assert_close(scores(*CASES[0]), whole, rtol=1e-12, atol=1e-14)


def test_cosines_are_bounded_and_one_for_the_same_point():
    from dataclasses import replace

    task = table_like()
    same = replace(task, query_x=task.train_x, query_y=task.train_y, query_id=())
    dot, cos = scores(same, get_model("mlp", widths=(8, 6, 1)))
    assert cos.abs().max() <= 1 + 1e-12
    torch.testing.assert_close(cos.diagonal(), torch.ones(12, dtype=cos.dtype))
    assert (dot.diagonal() >= 0).all()


def test_sign_and_scale_are_those_of_one_small_sgd_step():
    """One step of rate lr on point k changes the query loss by -lr * grad_dot (first order), so a
    positive score means that the point helps: its removal raises the loss."""
    task, model = CASES[0]
    network, theta = Network.of(model), initial_theta(model, 0, torch.float64)
    dot, _ = scores(task, model)
    lr = 1e-6

    def losses(at, x, y):
        return task.per_example_loss(network(at, x), y)

    before = losses(theta, task.query_x, task.query_y)
    for k in range(3):
        step = torch.func.grad(lambda t: losses(t, task.train_x[[k]], task.train_y[[k]])[0])(theta)  # noqa: B023
        change = losses(theta - lr * step, task.query_x, task.query_y) - before
        torch.testing.assert_close(-change / lr, dot[k], rtol=1e-4, atol=1e-6)
