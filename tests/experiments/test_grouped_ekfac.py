"""Influence of groups of rows against dense solves, where EK-FAC is exact, and real refits."""

import pytest
import torch
from test_ekfac import dense_basis
from torch import nn
from torch.func import grad, vmap

from dtda_lib.attribution import curvature, ekfac
from dtda_lib.data.task import Task
from dtda_lib.experiments.diffusion import denoising
from dtda_lib.experiments.diffusion.grouped_ekfac import grouped_shifts
from dtda_lib.models.networks import Network, initial_theta

ROWS, QUERY_ROWS, GROUPS, SAMPLES, OUT = 3, 2, 7, 4, 2
DAMPING = 0.3


class Residual(nn.Module):
    """A linear map of the row's first five entries less its last two: one layer, so exact."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, OUT)

    def forward(self, rows):
        return self.layer(rows[..., :5]) - rows[..., 5:]


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(4, OUT)

    def forward(self, rows):
        return self.second(torch.tanh(self.first(rows[..., :5]))) - rows[..., 5:]


def task(groups=range(GROUPS)):
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(GROUPS, ROWS, 5 + OUT, generator=generator, dtype=torch.float64)
    query = torch.randn(SAMPLES * QUERY_ROWS, 5 + OUT, generator=generator, dtype=torch.float64)
    x = train[list(groups)].flatten(0, 1)
    zeros = torch.zeros(len(x)).double()
    return Task("rows", x, zeros, query, zeros[: len(query)], "mean_square", OUT)


def prepared(model):
    return Network.of(model), initial_theta(model, 0, torch.float64)


def estimate(network, theta, t, **settings):
    settings = {"curvature_rows": ROWS, "damping": DAMPING} | settings
    return grouped_shifts(ROWS, QUERY_ROWS, **settings)(network, theta, t)


def group_gradients(network, theta, x, y, t, rows):
    def loss(theta, x, y):
        return t.per_example_loss(network(theta, x), y).mean()

    return vmap(grad(loss), in_dims=(None, 0, 0))(
        theta, x.unflatten(0, (-1, rows)), y.unflatten(0, (-1, rows))
    )


def added(network, theta, t):
    """Gauss-Newton matrix of the one layer, and what the damping adds to its diagonal."""
    slopes = torch.func.jacrev(lambda theta: network(theta, t.train_x))(theta)
    matrix = 2 / OUT * torch.einsum("rop,roq->pq", slopes, slopes) / t.n_train
    return matrix, DAMPING * matrix.diagonal().mean()


def test_one_layer_equals_a_dense_solve():
    network, theta = prepared(Residual)
    t = task()
    train = group_gradients(network, theta, t.train_x, t.train_y, t, ROWS)
    query = group_gradients(network, theta, t.query_x, t.query_y, t, QUERY_ROWS)
    matrix, more = added(network, theta, t)
    dense = matrix + more * torch.eye(len(theta)).double()
    wanted = train @ torch.linalg.solve(dense, query.T) / GROUPS
    torch.testing.assert_close(estimate(network, theta, t), wanted, rtol=1e-9, atol=1e-12)


def rows_of_codes():
    """The task of the denoiser, whose rows are packed codes, noises and angles."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randn(GROUPS + SAMPLES, 3, generator=generator, dtype=torch.float64)
    train = denoising.random_rows(codes[:GROUPS], ROWS, generator)
    query = denoising.measuring_rows(codes[GROUPS:], QUERY_ROWS, 1, generator)
    return denoising.denoising_task("codes", train, query)


@pytest.mark.parametrize(
    ("model", "rows"),
    [(Deep, task), (denoising.denoiser(3, 4, 2), rows_of_codes)],
    ids=["plain", "denoiser"],
)
def test_several_layers_equal_a_dense_solve_in_the_kronecker_eigenbasis(model, rows):
    """The diagonal of the dense Gauss-Newton matrix in that basis, damped layer by layer."""
    network, theta = prepared(model)
    t = rows()
    vectors = dense_basis(network, ekfac.kronecker_basis(network, (theta,), t))
    dense = curvature.dense_gauss_newton(network, theta, t)
    values, at = (vectors.T @ dense @ vectors).diagonal().clone(), 0
    for layer in (m for m in network.module.modules() if isinstance(m, nn.Linear)):
        own = slice(at, at := at + layer.out_features * (layer.in_features + 1))
        values[own] = values[own] + DAMPING * values[own].mean()
    train = group_gradients(network, theta, t.train_x, t.train_y, t, ROWS)
    query = group_gradients(network, theta, t.query_x, t.query_y, t, QUERY_ROWS)
    matrix = vectors @ torch.diag(values) @ vectors.T
    wanted = train @ torch.linalg.solve(matrix, query.T) / GROUPS
    torch.testing.assert_close(estimate(network, theta, t), wanted, rtol=1e-8, atol=1e-13)


def test_shifts_are_the_slope_of_real_refits():
    """At the minimum of the objective with the damping as L2, fitted anew with a lighter group."""
    network, theta = prepared(Residual)
    t = task()
    _, more = added(network, theta, t)  # does not depend on theta: the layer is linear
    ones = torch.ones(t.n_train, 1).double()
    a, b = torch.cat([t.train_x[:, :5], ones], dim=1), t.train_x[:, 5:]

    def refit(weights):
        """theta that minimises the weighted mean loss plus more / 2 |theta|^2, in closed form."""
        w = weights.repeat_interleave(ROWS)[:, None] * 2 / OUT / t.n_train
        solved = torch.linalg.solve(a.T @ (w * a) + more * torch.eye(6).double(), a.T @ (w * b))
        parts = {"layer.weight": solved[:5].T, "layer.bias": solved[5]}
        return network.layout.flatten(parts)

    def measured(weights):
        loss = t.per_example_loss(network(refit(weights), t.query_x), t.query_y)
        return loss.unflatten(0, (-1, QUERY_ROWS)).mean(dim=1)

    found = estimate(network, refit(torch.ones(GROUPS).double()), t)
    for group in range(GROUPS):
        step = torch.zeros(GROUPS).double()
        step[group] = 1e-4
        slope = (measured(1 - step) - measured(1 + step)) / 2e-4
        torch.testing.assert_close(found[group], slope, rtol=1e-5, atol=1e-8)


def test_order_of_groups_and_of_rows_changes_nothing():
    network, theta = prepared(Deep)
    order = [3, 0, 6, 1, 5, 2, 4]
    found = estimate(network, theta, task())
    torch.testing.assert_close(estimate(network, theta, task(order)), found[order])
    t = task()
    turned = t.train_x.unflatten(0, (-1, ROWS)).flip(1).flatten(0, 1)
    same = Task("rows", turned, t.train_y, t.query_x, t.query_y, "mean_square", OUT)
    torch.testing.assert_close(estimate(network, theta, same), found)


def test_more_damping_makes_shifts_smaller():
    network, theta = prepared(Deep)
    sizes = [estimate(network, theta, task(), damping=d).norm() for d in (0.1, 1.0, 10.0)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_curvature_may_be_made_of_the_first_rows():
    network, theta = prepared(Deep)
    few = estimate(network, theta, task(), curvature_rows=1)
    assert not torch.allclose(few, estimate(network, theta, task()))
    t = task()
    changed = t.train_x.unflatten(0, (-1, ROWS)).clone()
    changed[0, 1:, :5] = 4.0  # beyond the first row: no part of the curvature
    other = Task("rows", changed.flatten(0, 1), t.train_y, t.query_x, t.query_y, "mean_square", OUT)
    found = estimate(network, theta, other, curvature_rows=1)
    torch.testing.assert_close(found[1:], few[1:])
    assert not torch.allclose(found[0], few[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"damping": 0.0}, "damp by more than 0"),
        ({"damping": float("nan")}, "damp by more than 0"),
        ({"curvature_rows": 4}, "use 1 to all rows"),
        ({"curvature_rows": 0}, "use 1 to all rows"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        grouped_shifts(ROWS, QUERY_ROWS, **({"curvature_rows": 2} | settings))


def test_rows_that_do_not_divide_the_task_are_refused():
    network, theta = prepared(Deep)
    with pytest.raises(ValueError, match="no multiples of 4 and 2"):
        grouped_shifts(4, QUERY_ROWS, curvature_rows=2)(network, theta, task())
