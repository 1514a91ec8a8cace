"""TRAK against a dense primal solve, ridge regression and its definition by loops (float64)."""

from dataclasses import replace

import pytest
import torch
from helpers import digits_like
from test_influence import CASES, RECIPE, classes_like, each_case, prepared
from torch.func import grad, vmap

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.models.networks import get_model, initial_theta
from dtda_lib.runs.recipes import Recipe


def scores_of(task, network, theta, recipe=RECIPE, **settings):
    return get_estimator("trak", recipe, **settings)(network, theta, task)[0]


def one_by_one(task, network, theta, xs, ys):
    """Features and 1 - p (or minus the residual) of each point, from probabilities, in a loop."""
    features, weights = [], []
    for x, y in zip(xs, ys):

        def output(theta, x=x, y=y):
            out = network(theta, x[None])[0]
            if task.loss == "squared_error":
                return out[0]
            p = torch.softmax(out, dim=0)[y]
            return torch.log(p / (1 - p))

        features.append(grad(output)(theta))
        f = output(theta)
        weights.append(y - f if task.loss == "squared_error" else 1 / (1 + f.exp()))
    return torch.stack(features), torch.stack(weights)


def primal(task, network, theta, c):
    """The published formula in parameter space, as a shift of the loss upon removal."""
    phi, own = one_by_one(task, network, theta, task.train_x, task.train_y)
    phi_q, w_q = one_by_one(task, network, theta, task.query_x, task.query_y)
    n, size = phi.shape
    matrix = phi.T @ phi + n * c * torch.eye(size, dtype=phi.dtype)
    published = (phi_q @ torch.linalg.solve(matrix, phi.T) * own).T  # (train, query): of f
    # Removing a point takes its published score away from f, and loss falls by w_q per unit of f.
    return published * w_q


@each_case
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_dual_equals_the_published_primal(task, model, damping):
    network, theta = prepared(model)
    scores = scores_of(task, network, theta, damping=damping)
    expected = primal(task, network, theta, RECIPE.weight_decay + damping)
    torch.testing.assert_close(scores, expected, rtol=1e-8, atol=1e-12)


def test_more_points_than_parameters_make_no_difference():
    task, model = classes_like(n_train=60), get_model("mlp", widths=(4, 3))
    network, theta = prepared(model)
    expected = primal(task, network, theta, RECIPE.weight_decay)
    torch.testing.assert_close(scores_of(task, network, theta), expected, rtol=1e-8, atol=1e-12)


def test_in_a_regression_it_is_influence():
    task, model = CASES["squares"]
    network, theta = prepared(model)
    exact = get_estimator("influence_ggn", RECIPE)(network, theta, task)[0]
    torch.testing.assert_close(scores_of(task, network, theta), exact, rtol=1e-8, atol=1e-12)


def test_ridge_regression_in_closed_form():
    """Leave-one-out of ridge regression: `x_q A^-1 x_k e_k / N`, times the query's residual."""
    task, (network, theta) = CASES["squares"][0], prepared(get_model("mlp", widths=(8, 1)))
    x, q = (torch.cat([t, torch.ones(len(t), 1)], dim=1) for t in (task.train_x, task.query_x))
    inverse = torch.linalg.inv(x.T @ x / task.n_train + RECIPE.weight_decay * torch.eye(9).double())
    residual, residual_q = x @ theta - task.train_y, q @ theta - task.query_y
    shift = residual[:, None] * (x @ inverse @ q.T) * residual_q / task.n_train
    torch.testing.assert_close(scores_of(task, network, theta), shift, rtol=1e-8, atol=1e-12)


def test_it_has_the_sign_and_ranks_of_influence_in_a_logistic_regression():
    """With two classes the margin is a logit: the curvature differs by the weights p (1 - p)."""
    task, model = classes_like(n_train=40, classes=2), get_model("mlp", widths=(4, 2))
    network, theta = prepared(model)
    exact = get_estimator("influence_ggn", RECIPE)(network, theta, task)[0]
    both = torch.stack([scores_of(task, network, theta).flatten(), exact.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9
    slope = (both[0] * both[1]).sum() / both[1].square().sum()
    assert 0.1 < slope < 0.5  # p (1 - p) is at most a quarter, and was left out


# --- invariances ---------------------------------------------------------------------------------


@each_case
def test_the_order_of_points_and_a_rotation_of_parameters_do_not_matter(task, model):
    network, theta = prepared(model)
    scores = scores_of(task, network, theta)
    order = torch.arange(task.n_train).roll(3)
    turned = replace(task, train_x=task.train_x[order], train_y=task.train_y[order])
    torch.testing.assert_close(scores_of(turned, network, theta), scores[order])
    random = torch.randn(len(theta), len(theta), generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(random.double())[0]

    def rotated(there, x):
        return network(rotation @ there, x)

    torch.testing.assert_close(scores_of(task, rotated, rotation.T @ theta), scores)


def test_stacked_models_and_single_precision_give_the_same():
    task, model = CASES["classes"]
    network, _ = prepared(model)
    thetas = torch.stack([initial_theta(model, seed, torch.float64) for seed in range(3)])
    alone = torch.stack([scores_of(task, network, theta) for theta in thetas])
    with torch.no_grad():
        stacked = vmap(lambda theta: scores_of(task, network, theta))(thetas)
    torch.testing.assert_close(stacked, alone, rtol=1e-8, atol=1e-12)
    single = scores_of(task.to(dtype=torch.float32), network, thetas[0].float())
    torch.testing.assert_close(single.double(), alone[0], rtol=1e-3, atol=1e-6)


def test_sure_models_give_finite_scores_that_vanish():
    task, model = CASES["classes"]
    network, theta = prepared(model)
    assert torch.isfinite(scores_of(task, network, 1e3 * theta)).all()


def test_convolutions():
    task, (network, theta) = digits_like(n_train=4, n_query=3), prepared(get_model("cnn2l"))
    phi, own = one_by_one(task, network, theta, task.train_x, task.train_y)
    phi_q, w_q = one_by_one(task, network, theta, task.query_x, task.query_y)
    gram = phi @ phi.T + task.n_train * RECIPE.weight_decay * torch.eye(task.n_train).double()
    expected = own[:, None] * torch.linalg.solve(gram, phi @ phi_q.T) * w_q
    torch.testing.assert_close(scores_of(task, network, theta), expected, rtol=1e-8, atol=1e-12)


def test_no_ridge_at_all_is_refused():
    with pytest.raises(ValueError, match="add damping"):
        get_estimator("trak", Recipe("sgd"))
    with pytest.raises(ValueError, match="must be positive"):
        get_estimator("trak", RECIPE, damping=-1.0)
