"""The pseudo-inverse estimator against torch's, minimum-norm refits and a rotation (float64)."""

import warnings

import pytest
import torch
from helpers import table_like
from test_influence import CASES, each_case, gradients, prepared, quiet

from dtda_lib.attribution import curvature
from dtda_lib.attribution.eigenvalues import reciprocals
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs.recipes import Recipe

PLAIN = Recipe("sgd")
DENSE = {"hessian": curvature.dense_hessian, "ggn": curvature.dense_gauss_newton}
each_curvature = pytest.mark.parametrize("kind", DENSE)


def scores_of(kind, network, theta, task, recipe=PLAIN, **settings):
    estimator = get_estimator("influence_pinv", recipe, curvature=kind, **settings)
    return quiet(estimator, network, theta, task)[0]


@each_case
@each_curvature
@pytest.mark.parametrize(("decay", "damping"), [(0.0, 0.0), (0.02, 0.0), (0.02, 0.3)])
@pytest.mark.parametrize("threshold", [1e-10, 1e-2])
def test_it_equals_torchs_pseudo_inverse(task, model, kind, decay, damping, threshold):
    network, theta = prepared(model)
    recipe = Recipe("sgd", weight_decay=decay)
    found = scores_of(kind, network, theta, task, recipe, damping=damping, threshold=threshold)
    matrix = DENSE[kind](network, theta, task)
    matrix.diagonal().add_(decay + damping)
    inverse = torch.linalg.pinv(matrix, rtol=threshold, hermitian=True)
    train, query = gradients(network, theta, task)
    expected = train @ inverse @ query.T / task.n_train
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


def linear_of_rank(rank, n_train=12, features=6):
    """Regression on inputs that span `rank` of their dimensions; a linear model with a bias."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    basis = torch.linalg.qr(drawn(features, rank))[0]
    x = drawn(n_train + 4, rank) @ basis.T
    y = x @ drawn(features) + 0.5 * drawn(len(x))
    parts = x[:n_train], y[:n_train], x[n_train:], y[n_train:]
    task = Task("of low rank", *parts, loss="squared_error", n_outputs=1)
    return task, get_model("mlp", widths=(features, 1))


@each_curvature
def test_it_predicts_minimum_norm_refits_of_a_regression_of_low_rank(kind):
    """Least squares without point k, nearest to where it was: its first-order shift is known.

    With h_k the leverage, the refit moves by `H^+ grad loss_k / N / (1 - h_k)` (Sherman-Morrison in
    the span of the inputs), so that the prediction is 1 - h_k times that, to the last digit.
    """
    task, model = linear_of_rank(3)
    network = Network.of(model)
    rows = torch.func.vmap(
        torch.func.grad(lambda t, x: network(t, x[None])[0, 0]), in_dims=(None, 0)
    )(torch.zeros(7, dtype=torch.float64), task.train_x)  # (train, parameter), the bias included
    solve = torch.linalg.pinv(rows, rtol=1e-10)
    theta = solve @ task.train_y
    leverage = (rows * solve.T).sum(1)
    _, query = gradients(network, theta, task)
    found = scores_of(kind, network, theta, task)
    for k in range(task.n_train):
        kept = torch.arange(task.n_train) != k
        # From theta on, by the smallest step: the null part stays.
        refit = theta + torch.linalg.pinv(rows[kept], rtol=1e-10) @ (
            task.train_y[kept] - rows[kept] @ theta
        )
        expected = (1 - leverage[k]) * query @ (refit - theta)
        torch.testing.assert_close(found[k], expected, rtol=1e-8, atol=1e-12)
    assert found.abs().max() > 1e-3
    assert leverage.max() > 0.2


@each_case
@each_curvature
def test_rotated_parameters_give_the_same_scores(task, model, kind):
    network, theta = prepared(model)
    generator = torch.Generator().manual_seed(5)
    size = len(theta)
    turn = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]

    class Turned:
        layout = network.layout

        def __call__(self, parameters, x):
            return network(turn @ parameters, x)

    settings = {"threshold": 1e-6}
    plain = scores_of(kind, network, theta, task, **settings)
    torch.testing.assert_close(
        scores_of(kind, Turned(), turn.T @ theta, task, **settings), plain, rtol=1e-6, atol=1e-9
    )


@each_curvature
def test_a_stack_of_runs_gives_what_each_gives(kind):
    task, model = CASES["classes"]
    network, theta = prepared(model)
    stack = torch.stack([3 * theta, theta])
    estimator = get_estimator("influence_pinv", PLAIN, curvature=kind)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = torch.func.vmap(lambda one: estimator(network, one, task))(stack)
    each = torch.stack([quiet(estimator, network, one, task) for one in stack])
    torch.testing.assert_close(found, each, rtol=1e-7, atol=1e-10)
    indefinite = [one for one in told if "indefinite" in str(one.message)]
    assert len(indefinite) == (kind == "hessian")  # one for all runs; Gauss-Newton never is


def test_the_one_saddle_of_a_stack_is_told_of_wherever_it_stands():
    """With this L2 term theta is no saddle, and 3 theta is."""
    task, model = CASES["classes"]
    network, theta = prepared(model)
    estimator = get_estimator("influence_pinv", Recipe("sgd", weight_decay=0.6))
    for stack in (torch.stack([theta, 3 * theta]), torch.stack([3 * theta, theta])):
        with pytest.warns(UserWarning, match="indefinite"):
            torch.func.vmap(lambda one: estimator(network, one, task))(stack)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        estimator(network, theta, task)


def test_null_directions_are_counted_by_size_not_sign():
    values = torch.tensor([-4.0, -1e-3, 0.0, 2e-3, 0.5], dtype=torch.float64)
    expected = torch.tensor([-0.25, 0.0, 0.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(reciprocals(values, 1e-3), expected)
    torch.testing.assert_close(reciprocals(0 * values, 1e-3), 0 * values)  # no 0 / 0


def test_impossible_settings_and_large_networks_are_refused():
    for settings, message in (
        ({"curvature": "fisher"}, "ggn"),
        ({"threshold": 1.0}, "threshold 1.0"),
        ({"threshold": float("nan")}, "threshold nan"),
        ({"damping": -1.0}, "damping -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            get_estimator("influence_pinv", PLAIN, **settings)
    network, theta = prepared(get_model("cnn2l"))
    for kind in DENSE:
        estimator = get_estimator("influence_pinv", PLAIN, curvature=kind)
        with pytest.raises(ValueError, match="225,034 parameters"):
            estimator(network, theta, table_like(n_train=2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_plain_inverse_of_a_singular_hessian_is_refused_also_in_a_stack(dtype):
    task, model = linear_of_rank(3)
    network, theta = prepared(model)
    task, theta = task.to(dtype=dtype), theta.to(dtype)
    estimator = get_estimator("influence_hessian", PLAIN)
    with pytest.raises(ValueError, match=r"singular.*influence_pinv"):
        estimator(network, theta, task)
    with pytest.raises(ValueError, match=r"singular.*influence_pinv"):
        torch.func.vmap(lambda one: estimator(network, one, task))(torch.stack([theta, theta]))
    ridged = get_estimator("influence_hessian", PLAIN, damping=0.1)
    assert torch.isfinite(ridged(network, theta, task)).all()


def test_a_regular_hessian_without_weight_decay_is_inverted_as_ever():
    task, model = table_like(n_train=30), get_model("mlp", widths=(8, 1))
    network, theta = prepared(model)
    plain = get_estimator("influence_hessian", PLAIN)
    assert plain.name == "influence_hessian"
    torch.testing.assert_close(
        plain(network, theta, task)[0], scores_of("hessian", network, theta, task, threshold=0.0)
    )
