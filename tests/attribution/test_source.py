"""SOURCE against exact unrolling, matrix exponentials, influence and closed forms (float64)."""

import numpy as np
import pytest
import torch
from helpers import table_like, unrolled_responses
from test_ekfac import images_like, small_cnn
from test_influence import classes_like, gradients

from dtda_lib.attribution import curvature, source
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.source import source_shifts
from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.measures import get_measure
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import train

RIDGE = table_like(n_train=12), get_model("mlp", widths=(8, 1))
TANH = table_like(n_train=12), get_model("mlp", widths=(8, 4, 1), activation="tanh")
CLASSES = classes_like(), get_model("mlp", widths=(4, 4, 3), activation="tanh")
SEEDS = [(0, 5), (1, 6)]


def full_batch(steps, **settings):
    settings = {"lr": 0.05, "weight_decay": 0.02} | settings
    return Recipe("sgd", batch_size=12, epochs=steps, **settings)


# --- exact where nothing is approximated ---------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "kind"),
    [(RIDGE, "ggn"), (RIDGE, "ekfac"), (TANH, "hessian"), (CLASSES, "hessian")],
    ids=["ridge", "ridge ekfac", "tanh", "classes"],
)
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_segment_per_step_of_full_batches_is_unrolling(case, kind, schedule):
    recipe = full_batch(8, schedule=schedule)
    ours = source_shifts(
        *case, recipe, SEEDS, segments=8, models=1, curvature=kind, exponential=False
    )
    exact = unrolled_shifts(*case, recipe, SEEDS)
    np.testing.assert_allclose(ours, exact, rtol=1e-8, atol=1e-13)
    assert ours.dims == exact.dims
    for name in exact.coords:
        np.testing.assert_array_equal(ours[name], exact[name])


def test_the_chosen_points_of_the_last_checkpoint_are_those_of_unrolling():
    recipe = full_batch(6, keep_last=2)
    settings = {"segments": 6, "models": 1, "exponential": False}
    ours = source_shifts(*RIDGE, recipe, SEEDS, "query_prediction", [7, 2], **settings)
    exact = unrolled_shifts(*RIDGE, recipe, SEEDS, "query_prediction", [7, 2])
    assert ours.checkpoint.values.tolist() == [5]
    np.testing.assert_allclose(ours[:, 0], exact[:, -1], rtol=1e-9, atol=1e-13)
    np.testing.assert_array_equal(ours.train, [7, 2])


@pytest.mark.slow
def test_it_is_the_mean_of_unrolling_over_batch_orders():
    """Batches drawn with replacement do not know the past, and ridge responses are linear in it."""
    task, model = RIDGE
    noisy = Recipe("sgd", lr=0.05, weight_decay=0.02, batch_size=4, epochs=3, replacement=True)
    seeds = [(0, order) for order in range(600)]
    each = unrolled_shifts(task, model, noisy, seeds, "query_prediction", chunk=300).values
    ours = source_shifts(
        task,
        model,
        full_batch(9),
        [(0, 0)],
        "query_prediction",
        **{"segments": 9, "models": 1, "exponential": False},
    ).values[0]
    error = each.std(axis=0, ddof=1) / np.sqrt(len(seeds))
    z = (each.mean(axis=0) - ours) / error
    assert np.sqrt((z**2).mean()) < 1.5  # 1 expected; the values share their seeds
    assert np.abs(ours).mean() > 5 * error.mean()


@pytest.mark.parametrize("kind", ["ggn", "ekfac", "hessian"])
@pytest.mark.parametrize(("cut", "momentum"), [(1, 0.0), (2, 0.0), (3, 0.0), (2, 0.6)])
def test_segments_of_a_ridge_regression_are_matrix_exponentials(kind, cut, momentum):
    """`r' = -(H + l2) r + grad / N` for the time tau, with the gradients of the models taken.

    Momentum lets a step go 1 / (1 - momentum) as far in the end: so much more time passes."""
    task, model = RIDGE
    recipe = full_batch(6, momentum=momentum)
    ours = source_shifts(
        task, model, recipe, [(0, 0)], "query_prediction", segments=cut, models=1, curvature=kind
    )
    network, size = Network.of(model), 9
    theta = initial_theta(model, 0, torch.float64)
    hessian = curvature.dense_hessian(network, theta, task)
    matrix = hessian + recipe.weight_decay * torch.eye(size, dtype=torch.float64)
    path, velocity = [theta], torch.zeros_like(theta)
    for _ in range(recipe.epochs):
        slope = gradients(network, path[-1], task)[0].mean(dim=0) + recipe.weight_decay * path[-1]
        velocity = momentum * velocity + slope
        path.append(path[-1] - recipe.lr * velocity)
    steps = recipe.epochs // cut
    response = torch.zeros(task.n_train, size, dtype=torch.float64)
    for segment in range(cut):
        gradient = gradients(network, path[segment * steps + steps // 2], task)[0] / task.n_train
        flow = torch.zeros(size + 12, size + 12, dtype=torch.float64)
        flow[:size, :size], flow[:size, size:] = -matrix, gradient.T
        moved = torch.linalg.matrix_exp(steps * recipe.lr / (1 - momentum) * flow)
        response = (moved[:size, :size] @ response.T + moved[:size, size:]).T
    features = torch.cat([task.query_x, torch.ones(task.n_query, 1)], dim=1)
    expected = response @ features.T
    np.testing.assert_allclose(ours[0, 0, :, :, 0], expected, rtol=1e-8, atol=1e-13)


@pytest.mark.slow
def test_after_long_training_it_is_influence():
    task, model = RIDGE
    recipe = full_batch(200, lr=0.4, weight_decay=0.5)
    ours = source_shifts(task, model, recipe, [(0, 0)])[0, 0]
    theta = unrolled_responses(task, model, recipe, 0, 0, [0])["parameters"][-1]
    influence = get_estimator("influence_ggn", recipe)(Network.of(model), theta, task)[0]
    np.testing.assert_allclose(ours, influence, rtol=1e-6, atol=1e-12)


# --- its parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("exponential", [True, False])
def test_a_link_of_no_curvature_sums_the_rates(exponential):
    values = torch.tensor([0.0, 1e-9, 2.0], dtype=torch.float64)
    keep, take = source._link(values, (0.1, 0.2), exponential)
    torch.testing.assert_close(keep[:2], torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(take[:2], torch.full((2,), 0.3, dtype=torch.float64))
    inverse = (1 - keep[2]) / 2  # whatever is not kept has been taken, over lambda
    torch.testing.assert_close(take[2], inverse)
    kept = torch.exp(torch.tensor(-0.6)) if exponential else 0.8 * torch.tensor(0.6)
    torch.testing.assert_close(keep[2], kept.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("case", [CLASSES, (images_like(), small_cnn)], ids=["mlp", "cnn"])
def test_the_ekfac_spectrum_turns_and_has_the_dense_trace(case):
    task, model = case
    network = Network.of(model)
    thetas = [initial_theta(model, seed, torch.float64) for seed in range(2)]
    spectrum = source._ekfac(network, thetas, task)
    train, _ = gradients(network, thetas[0], task)
    there = spectrum.into(train)
    torch.testing.assert_close(spectrum.back(there), train)
    torch.testing.assert_close(there @ there.T, train @ train.T)
    dense = sum(curvature.dense_gauss_newton(network, theta, task) for theta in thetas) / 2
    vectors = spectrum.back(torch.eye(len(thetas[0]), dtype=torch.float64))
    diagonal = (vectors @ dense @ vectors.T).diagonal()
    torch.testing.assert_close(spectrum.eigenvalues, diagonal, rtol=1e-8, atol=1e-12)


def test_models_of_a_segment_are_averaged_and_runs_do_not_mix():
    task, model = TANH
    recipe = full_batch(8, momentum=0.5)
    both = source_shifts(task, model, recipe, SEEDS, segments=2, models=2)
    alone = source_shifts(task, model, recipe, SEEDS[1:], segments=2, models=2)
    np.testing.assert_allclose(both[1], alone[0], rtol=1e-9, atol=1e-13)
    once = source_shifts(task, model, recipe, SEEDS, segments=2, models=1)
    assert not np.allclose(both, once, rtol=1e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_with_small_steps_it_follows_unrolling(momentum):
    """A network, batches, default settings: not equal, but nearly proportional."""
    task, model = TANH
    settings = {"weight_decay": 0.02, "batch_size": 4, "epochs": 15}
    recipe = Recipe("sgd", lr=0.1 * (1 - momentum), momentum=momentum, **settings)
    ours = source_shifts(task, model, recipe, SEEDS).values
    exact = unrolled_shifts(task, model, recipe, SEEDS).values
    assert np.corrcoef(ours.ravel(), exact.ravel())[0, 1] > 0.9
    assert 0.7 < (ours * exact).sum() / (exact**2).sum() < 1.4


def test_it_follows_the_training_of_both_seeds():
    """With batches, where the order matters: the final models are those that `train` makes."""
    task, model = TANH
    recipe = Recipe("sgd", lr=0.1, momentum=0.5, batch_size=4, epochs=2)
    loss = source.BatchLoss(task, model, "cpu")
    theta, _ = source._segments(loss, model, recipe, SEEDS, 2, 1)
    weights = torch.ones(2, task.n_train, dtype=torch.float64)
    parameters = get_measure("parameters")
    trained = train(task, model, recipe, *zip(*SEEDS), weights, [parameters])["parameters"]
    torch.testing.assert_close(theta, trained[:, 0])


def test_what_it_cannot_do_is_refused():
    recipe = full_batch(4)
    for name in ("adam", "adamw"):
        with pytest.raises(ValueError, match=f"'{name}' has no stationary segments"):
            source_shifts(*RIDGE, Recipe(name), SEEDS)
    with pytest.raises(ValueError, match="do not fit 4 steps"):
        source_shifts(*RIDGE, recipe, SEEDS, segments=3, models=2)
    with pytest.raises(ValueError, match="at least one of each"):
        source_shifts(*RIDGE, recipe, [], segments=1, models=1)
    with pytest.raises(ValueError, match="0 segments"):
        source_shifts(*RIDGE, recipe, SEEDS, segments=0)
    with pytest.raises(ValueError, match="ggn"):
        source_shifts(*RIDGE, recipe, SEEDS, curvature="gnn")
    with pytest.raises(FloatingPointError, match="diverged"):
        source_shifts(*RIDGE, full_batch(400, lr=50.0), SEEDS)
