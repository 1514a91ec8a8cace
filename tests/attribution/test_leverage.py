"""The leverage correction against real refits, dense solves and the closed-form testbed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import table_like
from torch.func import grad, hessian

from dtda_lib.attribution import curvature, influence
from dtda_lib.attribution.leverage import leverage
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe
from dtda_lib.theory.testbeds import AnchoredRidge

RECIPE = Recipe("sgd", weight_decay=0.02)


def classes_like(n_train=15, n_query=6, seed=0, features=4, classes=3):
    """Labels drawn from a noisy linear rule; few points, so that each has leverage."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_train + n_query, features, generator=generator, dtype=torch.float64)
    rule = torch.randn(features, classes, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(x), classes, generator=generator, dtype=torch.float64)
    y = (x @ rule + noise).argmax(dim=1)
    parts = x[:n_train], y[:n_train], x[n_train:], y[n_train:]
    return Task("classes", *parts, loss="cross_entropy", n_outputs=classes)


CASES = {
    "squares": (table_like(n_train=9), get_model("mlp", widths=(8, 5, 1), activation="tanh")),
    "classes": (classes_like(9, 4), get_model("mlp", widths=(4, 5, 3), activation="tanh")),
}
each_case = pytest.mark.parametrize(("task", "model"), CASES.values(), ids=CASES)


def prepared(model, seed=0):
    return Network.of(model), initial_theta(model, seed, torch.float64)


def minimum(network, task, theta, weights, l2):
    """Newton's method on `(1/N) sum w_i loss_i + l2/2 |theta|^2`, to machine precision."""

    def objective(theta):
        losses = task.per_example_loss(network(theta, task.train_x), task.train_y)
        return (weights * losses).sum() / task.n_train + 0.5 * l2 * theta @ theta

    for _ in range(30):
        slope = grad(objective)(theta)
        if slope.norm() < 1e-12:
            break
        theta = theta - torch.linalg.solve(hessian(objective)(theta), slope)
    assert grad(objective)(theta).norm() < 1e-11
    return theta


def refits(network, task, start, l2=RECIPE.weight_decay):
    """The minimum, and that without each point, `(train, parameter)`."""
    full = torch.ones(task.n_train, dtype=torch.float64)
    theta = minimum(network, task, start, full, l2)
    without = []
    for k in range(task.n_train):
        weights = full.clone()
        weights[k] = 0
        without.append(minimum(network, task, theta, weights, l2))
    return theta, torch.stack(without)


def query_losses(network, theta, task):
    return task.per_example_loss(network(theta, task.query_x), task.query_y)


def loss_gradients(network, theta, task, x, y):
    def one(x, y):
        return grad(lambda t: task.per_example_loss(network(t, x[None]), y[None])[0])(theta)

    return torch.stack([one(*example) for example in zip(x, y)])


# --- least squares: exact ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squares():
    task = table_like(n_train=14, n_query=6)
    network, start = prepared(get_model("mlp", widths=(8, 1)))
    return network, task, *refits(network, task, start)


def test_least_squares_leave_one_out_is_exact(squares):
    network, task, theta, without = squares
    rif, rif_moved = get_estimator("influence_leverage", RECIPE)(network, theta, task)
    before = query_losses(network, theta, task)
    truth = torch.stack([query_losses(network, one, task) - before for one in without])
    assert truth.abs().min() > 1e-7
    torch.testing.assert_close(rif_moved, truth, rtol=1e-9, atol=1e-11)
    # First order in the loss: the exact change of the parameters along the loss's gradient.
    along = loss_gradients(network, theta, task, task.query_x, task.query_y)
    torch.testing.assert_close(rif, (without - theta) @ along.T, rtol=1e-9, atol=1e-11)
    # Which a wrong sign, factor or leverage would not be.
    plain = get_estimator("influence_ggn", RECIPE)(network, theta, task)[0]
    damped = get_estimator("influence_leverage", RECIPE, damping=1e-4)(network, theta, task)[1]
    for wrong in (-rif_moved, rif_moved / task.n_train, rif, plain, damped):
        assert not torch.allclose(wrong, truth, rtol=1e-5)


def test_leverage_is_what_influence_falls_short_by(squares):
    network, task, theta, _ = squares
    h = leverage(RECIPE)(network, theta, task)
    design = torch.cat([task.train_x, torch.ones(task.n_train, 1, dtype=torch.float64)], dim=1)
    matrix = design.T @ design / task.n_train + 0.02 * torch.eye(9, dtype=torch.float64)
    hat = design @ torch.linalg.solve(matrix, design.T) / task.n_train
    torch.testing.assert_close(h, hat.diagonal())
    assert h.max() > 0.5
    plain = get_estimator("influence_ggn", RECIPE)(network, theta, task)[0]
    rif = get_estimator("influence_leverage", RECIPE)(network, theta, task)[0]
    torch.testing.assert_close(plain, (1 - h)[:, None] * rif, rtol=1e-8, atol=1e-13)
    more = leverage(RECIPE, damping=0.1)(network, theta, task)
    assert (more < h).all()


def test_it_agrees_with_the_testbed():
    """The estimator, on a run of the testbed, predicts what the testbed says exactly."""
    task = table_like(n_train=10, n_query=4)
    ones = np.ones((10, 1)), np.ones((4, 1))
    x, query = (np.hstack(pair) for pair in zip((task.train_x, task.query_x), ones))
    bed = AnchoredRidge(x, task.train_y, query, strength=0.02, anchor_sd=1e-9)
    network, start = prepared(get_model("mlp", widths=(8, 1)))
    theta = minimum(network, task, start, torch.ones(10, dtype=torch.float64), 0.02)
    plain = get_estimator("influence_ggn", RECIPE)(network, theta, task)[0]
    rif = get_estimator("influence_leverage", RECIPE)(network, theta, task)[0]
    residual = (network(theta, task.query_x)[:, 0] - task.query_y).numpy()
    for scores, law in ((plain, bed.predicted()), (rif, bed.without())):
        shift = (law.mean - bed.law().mean).values  # of predictions; times the loss's slope
        np.testing.assert_allclose(scores.numpy(), shift * residual, rtol=1e-8, atol=1e-12)


# --- any network: one solve without the point ----------------------------------------------------


@each_case
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_dual_equals_a_dense_solve_without_each_point(task, model, damping):
    network, theta = prepared(model)
    scores = get_estimator("influence_leverage", RECIPE, damping=damping)(network, theta, task)
    train = loss_gradients(network, theta, task, task.train_x, task.train_y)
    query = loss_gradients(network, theta, task, task.query_x, task.query_y)
    whole = curvature.dense_gauss_newton(network, theta, task)
    whole.diagonal().add_(RECIPE.weight_decay + damping)
    jacobian = torch.func.jacrev(lambda t: network(t, task.query_x))(theta)
    outputs, before = network(theta, task.query_x), query_losses(network, theta, task)
    for k in range(task.n_train):
        rows = curvature.gauss_newton_rows(network, theta, task, task.train_x[k : k + 1])[0]
        response = torch.linalg.solve(whole - rows.T @ rows / task.n_train, train[k]) / task.n_train
        torch.testing.assert_close(scores[0, k], query @ response, rtol=1e-8, atol=1e-11)
        moved = task.per_example_loss(outputs + jacobian @ response, task.query_y)
        torch.testing.assert_close(scores[1, k], moved - before, rtol=1e-8, atol=1e-11)


@each_case
def test_leverages_sum_to_the_effective_parameters(task, model):
    network, theta = prepared(model)
    h = leverage(RECIPE)(network, theta, task)
    eigenvalues = torch.linalg.eigvalsh(curvature.dense_gauss_newton(network, theta, task))
    effective = (eigenvalues / (eigenvalues + RECIPE.weight_decay)).sum()
    torch.testing.assert_close(h.sum(), effective)
    assert (h >= 0).all()
    assert (h <= task.n_outputs).all()


def test_blocks_queries_and_order_do_not_matter(monkeypatch):
    task, model = CASES["classes"]
    network, theta = prepared(model)
    whole = get_estimator("influence_leverage", RECIPE)(network, theta, task)
    monkeypatch.setattr(influence, "BLOCK_BYTES", 2 * 3 * len(theta) * 8)
    monkeypatch.setattr("dtda_lib.attribution.targets.EXAMPLE_CHUNK", 1)
    order = torch.tensor([3, 1, 2, 0, *range(4, task.n_train)])
    turned = replace(task, train_x=task.train_x[order], train_y=task.train_y[order])
    again = get_estimator("influence_leverage", RECIPE)(network, theta, turned)
    torch.testing.assert_close(again, whole[:, order], rtol=1e-9, atol=1e-13)


def test_single_precision_and_labels():
    task, model = CASES["classes"]
    network, theta = prepared(model)
    estimator = get_estimator("influence_leverage", RECIPE)
    assert estimator.labels["estimator"] == ("rif", "rif_moved")
    single = estimator(network, theta.float(), task.to(dtype=torch.float32))
    assert single.dtype == torch.float32
    exact = estimator(network, theta, task)
    assert single.shape == exact.shape == (2, task.n_train, task.n_query)
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=1e-5)


# --- classification: nearer to real refits -------------------------------------------------------


@pytest.mark.slow
def test_logistic_regression_with_few_points_is_nearer_to_refits():
    task = classes_like()
    network, start = prepared(get_model("mlp", widths=(4, 3)))
    theta, without = refits(network, task, start)
    before = query_losses(network, theta, task)
    truth = torch.stack([query_losses(network, one, task) - before for one in without])
    plain = get_estimator("influence_ggn", RECIPE)(network, theta, task)[0]
    rif, rif_moved = get_estimator("influence_leverage", RECIPE)(network, theta, task)
    errors = [float((scores - truth).square().mean().sqrt()) for scores in (plain, rif, rif_moved)]
    assert max(errors[1:]) < 0.6 * errors[0]
    # One Newton step is no refit.
    assert not torch.allclose(rif_moved, truth, rtol=1e-2)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda **s: get_estimator("influence_leverage", **s), leverage])
def test_no_damping_at_all_is_refused(make):
    with pytest.raises(ValueError, match="add damping"):
        make(recipe=Recipe("sgd"))
    with pytest.raises(ValueError, match="must be positive"):
        make(recipe=RECIPE, damping=-1.0)
