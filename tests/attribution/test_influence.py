"""Influence functions against dense solves, real refits, curvlinops and closed forms (float64)."""

import warnings
from dataclasses import replace

import curvlinops
import pytest
import torch
from helpers import digits_like, table_like
from torch.func import grad

from dtda_lib.attribution import curvature, influence
from dtda_lib.attribution.registry import ESTIMATORS, get_estimator
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe

RECIPE = Recipe("sgd", weight_decay=0.02)


def classes_like(n_train=12, n_query=5, seed=0, features=4, classes=3):
    """Labels drawn from a linear rule, so that a logistic regression is no perfect fit."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_train + n_query, features, generator=generator, dtype=torch.float64)
    rule = torch.randn(features, classes, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(x), classes, generator=generator, dtype=torch.float64)
    y = (x @ rule + noise).argmax(dim=1)
    parts = x[:n_train], y[:n_train], x[n_train:], y[n_train:]
    return Task("classes", *parts, loss="cross_entropy", n_outputs=classes)


CASES = {
    "squares": (table_like(n_train=9), get_model("mlp", widths=(8, 5, 1), activation="tanh")),
    "classes": (classes_like(), get_model("mlp", widths=(4, 5, 3), activation="tanh")),
}
each_case = pytest.mark.parametrize(("task", "model"), CASES.values(), ids=CASES)


def prepared(model, seed=0):
    return Network.of(model), initial_theta(model, seed, torch.float64)


def gradients(network, theta, task):
    """Train and query loss gradients by one `grad` after the other."""

    def one(x, y):
        return grad(lambda t: task.per_example_loss(network(t, x[None]), y[None])[0])(theta)

    train = torch.stack([one(x, y) for x, y in zip(task.train_x, task.train_y)])
    query = torch.stack([one(x, y) for x, y in zip(task.query_x, task.query_y)])
    return train, query


def quiet(estimator, network, theta, task):
    """Scores of an untrained network, whose Hessian is rightly complained about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return estimator(network, theta, task)


# --- curvature -----------------------------------------------------------------------------------


def as_curvlinops(kind, task, model, theta):
    """The library's operator on the module with the weights theta; mean loss as ours."""
    network = Network.of(model)
    module = network.module.double()
    with torch.no_grad():
        for name, value in network.layout.unflatten(theta).items():
            module.get_parameter(name).copy_(value)
    squares = task.loss == "squared_error"
    loss = torch.nn.MSELoss() if squares else torch.nn.CrossEntropyLoss()
    parameters = [p for p in module.parameters() if p.requires_grad]
    data = [(task.train_x, task.train_y[:, None] if squares else task.train_y)]
    operator = kind(module, loss, parameters, data, check_deterministic=False)
    unit = torch.eye(len(theta), dtype=torch.float64)
    return (operator @ unit) / (2 if squares else 1)  # MSELoss has no factor one half


@each_case
def test_curvature_equals_curvlinops(task, model):
    network, theta = prepared(model)
    hessian = as_curvlinops(curvlinops.HessianLinearOperator, task, model, theta)
    torch.testing.assert_close(curvature.dense_hessian(network, theta, task), hessian)
    ggn = as_curvlinops(curvlinops.GGNLinearOperator, task, model, theta)
    torch.testing.assert_close(curvature.dense_gauss_newton(network, theta, task), ggn)


@each_case
def test_hessian_products_equal_the_dense_hessian(task, model):
    network, theta = prepared(model)
    loss = curvature.mean_loss(network, task, task.train_x, task.train_y)
    dense = torch.autograd.functional.hessian(loss, theta)
    vectors = torch.randn(3, len(theta), generator=torch.Generator().manual_seed(1)).double()
    products = curvature.hessian_product(loss, theta, vectors)
    torch.testing.assert_close(products, vectors @ dense, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(curvature.dense_hessian(network, theta, task), dense)


def test_the_loss_root_squares_to_the_hessian_and_spans_the_gradient():
    out = torch.tensor([0.3, -2.0, 1.1], dtype=torch.float64)
    y = torch.tensor(2)

    def loss(out):
        return torch.nn.functional.cross_entropy(out[None], y[None])

    root = curvature.loss_curvature_root(out, "cross_entropy")
    torch.testing.assert_close(root @ root.T, torch.autograd.functional.hessian(loss, out))
    u = curvature.loss_gradient_coordinates(out, y, "cross_entropy")
    torch.testing.assert_close(root @ u, grad(loss)(out))


def test_gradient_coordinates_stay_finite_when_a_class_has_no_probability():
    out = torch.tensor([200.0, -200.0])
    u = curvature.loss_gradient_coordinates(out, torch.tensor(0), "cross_entropy")
    assert torch.isfinite(u).all()
    with pytest.raises(ValueError, match="hinge"):
        curvature.loss_curvature_root(out, "hinge")


# --- Gauss-Newton in the dual --------------------------------------------------------------------


@each_case
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_dual_equals_the_dense_solve(task, model, damping):
    network, theta = prepared(model)
    scores = get_estimator("influence_ggn", RECIPE, damping=damping)(network, theta, task)
    matrix = curvature.dense_gauss_newton(network, theta, task)
    matrix.diagonal().add_(RECIPE.weight_decay + damping)
    train, query = gradients(network, theta, task)
    expected = train @ torch.linalg.solve(matrix, query.T) / task.n_train
    torch.testing.assert_close(scores[0], expected, rtol=1e-8, atol=1e-12)
    matrix.diagonal().add_(RECIPE.weight_decay + damping)  # twice what it should be
    doubled = train @ torch.linalg.solve(matrix, query.T) / task.n_train
    assert not torch.allclose(doubled, expected, rtol=1e-3)  # so that the oracle can tell


@pytest.mark.slow
def test_the_dual_of_a_convolutional_network_equals_the_dense_solve_in_its_own_space():
    """225,034 parameters: checked by multiplying the solution back, `(G + c) r = grad loss`."""
    task, model = digits_like(n_train=4, n_query=3), get_model("cnn2l")
    network, theta = prepared(model)
    scores = get_estimator("influence_ggn", RECIPE)(network, theta, task)[0]
    rows = curvature.gauss_newton_rows(network, theta, task, task.train_x).flatten(0, 1)
    train, query = gradients(network, theta, task)
    c, n = RECIPE.weight_decay, task.n_train
    # Primal conjugate gradients on (rows^T rows / n + c) r = g, one training point at a time.
    for k in range(n):
        r, residual = torch.zeros_like(theta), train[k].clone()
        direction, size = residual.clone(), residual @ residual
        for _ in range(60):
            product = rows.T @ (rows @ direction) / n + c * direction
            step = size / (direction @ product)
            r += step * direction
            residual -= step * product
            new = residual @ residual
            direction, size = residual + new / size * direction, new
        torch.testing.assert_close(scores[k], query @ r / n, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("points", [1, 2, 5])
def test_blocks_do_not_matter(monkeypatch, points):
    task, model = CASES["classes"]
    network, theta = prepared(model)
    whole = get_estimator("influence_ggn", RECIPE)(network, theta, task)
    monkeypatch.setattr(influence, "BLOCK_BYTES", points * 3 * len(theta) * 8)
    blocks = get_estimator("influence_ggn", RECIPE)(network, theta, task)
    torch.testing.assert_close(blocks, whole, rtol=1e-10, atol=1e-14)


def test_as_damping_grows_it_becomes_grad_dot():
    task, model = CASES["classes"]
    network, theta = prepared(model)
    huge = 1e8
    scores = get_estimator("influence_ggn", RECIPE, damping=huge)(network, theta, task)[0]
    dot = get_estimator("gradient_similarity", RECIPE)(network, theta, task)[0]
    torch.testing.assert_close(scores * huge * task.n_train, dot, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["influence_ggn", "influence_hessian"])
def test_the_order_of_points_does_not_matter(name):
    task, model = CASES["classes"]
    network, theta = prepared(model)
    order = torch.tensor([3, 1, 2, 0, *range(4, task.n_train)])
    turned = replace(task, train_x=task.train_x[order], train_y=task.train_y[order])
    scores, again = (quiet(get_estimator(name, RECIPE), network, theta, t) for t in (task, turned))
    torch.testing.assert_close(again, scores[:, order], rtol=1e-8, atol=1e-12)


def test_a_singular_curvature_is_refused():
    with pytest.raises(ValueError, match="add damping"):
        get_estimator("influence_ggn", Recipe("sgd"))
    with pytest.raises(ValueError, match="add damping"):  # decoupled decay bends no objective
        get_estimator("influence_ggn", Recipe("adamw", weight_decay=0.1))
    with pytest.raises(ValueError, match="must be positive"):
        get_estimator("influence_ggn", RECIPE, damping=-1.0)


# --- against real refits -------------------------------------------------------------------------


def minimum(network, task, theta, weights, l2):
    """Newton's method on `(1/N) sum w_i loss_i + l2/2 |theta|^2`, to machine precision."""

    def objective(theta):
        losses = task.per_example_loss(network(theta, task.train_x), task.train_y)
        return (weights * losses).sum() / task.n_train + 0.5 * l2 * theta @ theta

    for _ in range(30):
        slope = grad(objective)(theta)
        if slope.norm() < 1e-11:
            return theta
        theta = theta - torch.linalg.solve(torch.func.hessian(objective)(theta), slope)
    raise AssertionError("Newton's method did not converge")


def query_losses(network, theta, task):
    return task.per_example_loss(network(theta, task.query_x), task.query_y)


CONVEX = {
    "ridge": (table_like(n_train=600, n_query=20), get_model("mlp", widths=(8, 1))),
    "logistic": (classes_like(n_train=600, n_query=20), get_model("mlp", widths=(4, 3))),
}


@pytest.fixture(scope="module", params=CONVEX)
def refits(request):
    """A convex problem at its minimum, and what refitting without each of 40 points changes."""
    task, model = CONVEX[request.param]
    network, start = prepared(model)
    full = torch.ones(task.n_train, dtype=torch.float64)
    theta = minimum(network, task, start, full, RECIPE.weight_decay)
    without = []
    for k in range(40):
        weights = full.clone()
        weights[k] = 0
        refit = minimum(network, task, theta, weights, RECIPE.weight_decay)
        without.append(query_losses(network, refit, task))
    return network, theta, task, torch.stack(without) - query_losses(network, theta, task)


@pytest.mark.parametrize("name", ["influence_ggn", "influence_hessian"])
def test_influence_predicts_real_refits(refits, name):
    network, theta, task, shifts = refits
    predicted = get_estimator(name, RECIPE)(network, theta, task)[0, : len(shifts)]
    both = torch.stack([shifts.flatten(), predicted.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.999
    slope = (shifts * predicted).sum() / predicted.square().sum()
    assert 0.99 < slope < 1.025  # the scale and the sign are those of the shift itself
    damped = get_estimator(name, RECIPE, damping=RECIPE.weight_decay)(network, theta, task)
    slope = (shifts * damped[0, : len(shifts)]).sum() / damped[0, : len(shifts)].square().sum()
    assert not 0.99 < slope < 1.025  # twice the L2 term would be seen


def test_the_exact_hessian_warns_where_it_cannot_be_trusted():
    task, model = CASES["classes"]
    network, theta = prepared(model)
    with pytest.warns(UserWarning, match="indefinite.*smallest eigenvalue -"):
        get_estimator("influence_hessian", RECIPE)(network, 3 * theta, task)
    low = influence.smallest_eigenvalue(RECIPE)(network, 3 * theta, task)
    dense = curvature.dense_hessian(network, 3 * theta, task)
    expected = torch.linalg.eigvalsh(dense)[0] + RECIPE.weight_decay
    torch.testing.assert_close(low, expected)


def test_the_exact_hessian_of_a_stack_of_runs_is_that_of_each_and_warns_of_the_worst():
    task, model = CASES["classes"]
    network, theta = prepared(model)
    stack = torch.stack([3 * theta, theta])
    estimator = get_estimator("influence_hessian", Recipe("sgd", weight_decay=0.6))
    with pytest.warns(UserWarning, match="indefinite"):
        ours = torch.func.vmap(lambda one: estimator(network, one, task))(stack)
    with pytest.warns(UserWarning, match="indefinite") as told:
        each = [estimator(network, one, task) for one in stack]
    torch.testing.assert_close(ours, torch.stack(each))
    assert len(told) == 1  # the second is no saddle with this L2 term, and may be trusted


def test_the_exact_hessian_refuses_large_networks():
    network, theta = prepared(get_model("cnn2l"))
    with pytest.raises(ValueError, match="225,034 parameters"):
        get_estimator("influence_hessian", RECIPE)(network, theta, digits_like())


@each_case
def test_the_exact_hessian_equals_a_dense_solve(task, model):
    network, theta = prepared(model)
    damping = 5.0  # makes any Hessian of these networks positive definite
    scores = get_estimator("influence_hessian", RECIPE, damping=damping)(network, theta, task)[0]
    loss = curvature.mean_loss(network, task, task.train_x, task.train_y)
    matrix = torch.autograd.functional.hessian(loss, theta)
    matrix.diagonal().add_(damping + RECIPE.weight_decay)
    train, query = gradients(network, theta, task)
    expected = train @ torch.linalg.solve(matrix, query.T) / task.n_train
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)


# --- LiSSA as published --------------------------------------------------------------------------

LISSA = {"damp": 0.05, "scale": 3.0}


@each_case
@pytest.mark.parametrize("batch_size", [2, 5, 100])
def test_lissa_equals_the_published_recursion_on_each_query(task, model, batch_size):
    network, theta = prepared(model)
    scores = get_estimator("influence_lissa", RECIPE, batch_size=batch_size, **LISSA)
    scores = scores(network, theta, task)[0]
    train, query = gradients(network, theta, task)
    for q, v in enumerate(query):
        h = v.clone()
        for x, y in zip(task.train_x.split(batch_size), task.train_y.split(batch_size)):
            loss = curvature.mean_loss(network, task, x, y)
            product = torch.autograd.functional.hessian(loss, theta) @ h
            h = v + (1 - LISSA["damp"]) * h - product / LISSA["scale"]
        expected = train @ h / LISSA["scale"] / task.n_train
        torch.testing.assert_close(scores[:, q], expected, rtol=1e-9, atol=1e-12)


@each_case
def test_lissa_reproduces_its_truncated_series(task, model):
    """Repeating one full batch T times gives a geometric series in the eigenbasis."""
    network, theta = prepared(model)
    repeats = 3
    longer = replace(
        task,
        train_x=task.train_x.repeat(repeats, 1),
        train_y=task.train_y.repeat(repeats),
        train_id=(),
    )
    scores = get_estimator("influence_lissa", RECIPE, batch_size=task.n_train, **LISSA)
    scores = scores(network, theta, longer)[0][: task.n_train] * repeats
    values, vectors = torch.linalg.eigh(curvature.dense_hessian(network, theta, task))
    ratio = 1 - LISSA["damp"] - values / LISSA["scale"]
    series = sum(ratio**k for k in range(repeats + 1)) / LISSA["scale"]
    train, query = gradients(network, theta, task)
    expected = (train @ vectors) @ torch.diag(series) @ (query @ vectors).T / task.n_train
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-12)
    doubled = sum((ratio - LISSA["damp"]) ** k for k in range(repeats + 1)) / LISSA["scale"]
    wrong = (train @ vectors) @ torch.diag(doubled) @ (query @ vectors).T / task.n_train
    assert not torch.allclose(scores, wrong, rtol=1e-6, atol=1e-12)


def test_published_lissa_is_grad_dot_times_its_gain():
    """Claim R1 where it must hold: curvature far below scale."""
    task, model = CASES["classes"]
    network, theta = prepared(model)
    scores = get_estimator("influence_lissa", RECIPE)(network, theta, task)[0]
    dot = get_estimator("gradient_similarity", RECIPE)(network, theta, task)[0]
    gain = influence.lissa_gain(influence.lissa_steps(task.n_train))
    torch.testing.assert_close(scores * task.n_train, gain * dot, rtol=1e-3, atol=1e-9)


def test_the_gain_is_that_of_the_recursion():
    h, damp, scale = 1.0, 5e-3, 1e4
    for _ in range(19):
        h = 1.0 + (1 - damp) * h
    assert influence.lissa_gain(19) == pytest.approx(h / scale, rel=1e-12)
    assert influence.lissa_steps(150) == 19
    assert influence.lissa_gain(10**6) == pytest.approx(1 / (damp * scale))


# --- the registry --------------------------------------------------------------------------------


def test_every_estimator_has_one_signature_and_says_its_name():
    task, model = CASES["classes"]
    network, theta = prepared(model)
    for name in ESTIMATORS:
        estimator = get_estimator(name, RECIPE)
        assert estimator.name == name
        scores = quiet(estimator, network, theta, task)
        labels = estimator.labels["estimator"]
        assert scores.shape == (len(labels), task.n_train, task.n_query)
        assert scores.dtype == theta.dtype


def test_an_unknown_estimator_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="influence_ggn"):
        get_estimator("influence_gnn", RECIPE)
