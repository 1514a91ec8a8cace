"""Curvature of every loss against automatic differentiation of that loss (float64)."""

import pytest
import torch
from torch.func import grad, hessian

from dtda_lib.attribution import curvature
from dtda_lib.data.task import LOSSES, Task
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe

OUTPUTS = {"cross_entropy": 3, "squared_error": 1, "mean_square": 3}


def small(loss, n=5):
    """A task of that loss, a linear network in which Gauss-Newton is the Hessian, and weights."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n + 2, 4, generator=generator, dtype=torch.float64)
    y = torch.arange(n + 2) % 3 if loss == "cross_entropy" else x.sum(dim=1)
    task = Task("small", x[:n], y[:n], x[n:], y[n:], loss, OUTPUTS[loss])
    model = get_model("mlp", widths=(4, OUTPUTS[loss]))
    return Network.of(model), initial_theta(model, 0, torch.float64), task


def test_every_loss_is_looked_at():
    assert set(OUTPUTS) == set(LOSSES)


@pytest.mark.parametrize("loss", LOSSES)
def test_roots_and_coordinates_are_derivatives_in_the_output(loss):
    network, theta, task = small(loss)
    for output, target in zip(network(theta, task.train_x), task.train_y):

        def one(out, target=target):
            return LOSSES[loss](out[None], target[None])[0]

        root = curvature.loss_curvature_root(output, loss)
        torch.testing.assert_close(root @ root.T, hessian(one)(output))
        along = curvature.loss_gradient_coordinates(output, target, loss)
        torch.testing.assert_close(root @ along, grad(one)(output))


@pytest.mark.parametrize("loss", LOSSES)
def test_dense_curvature_of_a_linear_network_is_the_hessian_of_the_mean_loss(loss):
    network, theta, task = small(loss)

    def mean(theta):
        return LOSSES[loss](network(theta, task.train_x), task.train_y).mean()

    expected = hessian(mean)(theta)
    torch.testing.assert_close(curvature.dense_hessian(network, theta, task), expected)
    torch.testing.assert_close(curvature.dense_gauss_newton(network, theta, task), expected)
    vectors = torch.eye(len(theta), dtype=torch.float64)[:3]
    products = curvature.hessian_product(mean, theta, vectors)
    torch.testing.assert_close(products, vectors @ expected)


def test_another_loss_is_refused_by_name():
    with pytest.raises(ValueError, match="loss with a known curvature 'hinge'"):
        curvature.loss_curvature_root(torch.ones(2), "hinge")


def test_a_dense_matrix_has_a_limit(monkeypatch):
    network, theta, task = small("squared_error")  # five parameters
    monkeypatch.setattr(curvature, "LARGEST_DENSE", 5)
    curvature.dense_hessian(network, theta, task)
    monkeypatch.setattr(curvature, "LARGEST_DENSE", 4)
    for dense in (curvature.dense_hessian, curvature.dense_gauss_newton):
        with pytest.raises(ValueError, match="5 parameters, more than 4"):
            dense(network, theta, task)


@pytest.mark.parametrize("damping", [-0.01, float("nan"), float("inf")])
def test_a_ridge_is_l2_and_damping_and_positive(damping):
    recipe = Recipe("sgd", weight_decay=0.02)
    assert curvature.checked_ridge("it", recipe, 0.03, "why") == pytest.approx(0.05)
    assert curvature.checked_ridge("it", recipe, 0.0, "why") == 0.02
    with pytest.raises(ValueError, match="because why; add damping"):
        curvature.checked_ridge("it", recipe, damping, "why")
    with pytest.raises(ValueError, match=r"l2 \+ damping = 0.0 must be positive"):
        curvature.checked_ridge("it", Recipe("sgd"), 0.0, "why")
