"""Scores for the mean query loss: those of the library averaged, whatever the chunks and stacks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import digits_like, table_like

from dtda_lib.attribution.curvature import dense_gauss_newton
from dtda_lib.attribution.gradients import per_example_gradients
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.experiments.data_pruning import mean_query
from dtda_lib.experiments.data_pruning.mean_query import (
    gauss_newton_product,
    mean_over_queries,
    mean_query_gradient,
    mean_query_shifts,
    shifted_solves,
)
from dtda_lib.experiments.data_pruning.small_transformers import small_vit
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.models.vision_transformer import VitConfig
from dtda_lib.runs.fingerprint import measure_identity
from dtda_lib.runs.measures import query_loss
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import train

RECIPE = Recipe("sgd", lr=0.1, weight_decay=0.01, batch_size=4, epochs=2)
TRANSFORMER = small_vit(VitConfig(28, 14, layers=1, heads=2, width=8, mlp_width=8))


def at_random(model, seed=0):
    network = Network.of(model)
    generator = torch.Generator().manual_seed(seed)
    start = initial_theta(model, seed, torch.float64)
    return network, start + 0.3 * torch.randn(len(start), generator=generator, dtype=start.dtype)


TRANSFORMER_CASE = (digits_like(10, 5), *at_random(TRANSFORMER))
TABLE_CASE = (
    table_like(12, 5),
    *at_random(get_model("mlp", widths=(8, 5, 1), activation="tanh")),
)
each_case = pytest.mark.parametrize(
    "case", [TRANSFORMER_CASE, TABLE_CASE], ids=["cross_entropy", "squared_error"]
)


@each_case
def test_scores_are_the_librarys_averaged_over_queries(case):
    task, network, theta = case
    measured = mean_query_shifts(RECIPE, dampings=(0.1, 1.0), steps=60)
    found = dict(zip(measured.labels["estimator"], measured(network, theta, task)))
    similarity = get_estimator("gradient_similarity", RECIPE)(network, theta, task)
    torch.testing.assert_close(found["grad_dot"], similarity[0].mean(1), rtol=1e-9, atol=1e-12)
    for damping in (0.1, 1.0):
        exact = get_estimator("influence_ggn", RECIPE, damping=damping)
        expected = exact(network, theta, task)[0].mean(1)
        torch.testing.assert_close(found[f"if_damped_{damping:g}"], expected, rtol=1e-6, atol=1e-9)
    own = query_loss(
        network, theta, replace(task, query_x=task.train_x, query_y=task.train_y, query_id=())
    )
    torch.testing.assert_close(found["own_loss"], -own, rtol=1e-9, atol=1e-12)


@each_case
def test_products_and_gradient_are_the_dense_ones(case):
    task, network, theta = case
    vector = torch.randn(len(theta), generator=torch.Generator().manual_seed(2)).double()
    if len(theta) < 12_000:
        expected = dense_gauss_newton(network, theta, task) @ vector
        product = gauss_newton_product(network, theta, task, vector)
        torch.testing.assert_close(product, expected, rtol=1e-8, atol=1e-10)
    step = 1e-6 * vector / vector.norm()
    ends = [query_loss(network, theta + sign * step, task).mean() for sign in (1, -1)]
    slope = mean_query_gradient(network, theta, task) @ step
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2, rtol=1e-4, atol=1e-13)


def test_one_estimator_of_several_is_averaged_over_queries():
    task, network, theta = TABLE_CASE
    similarity = get_estimator("gradient_similarity", RECIPE)
    found = mean_over_queries(similarity, "grad_cos")
    assert (found.name, found.dims, found.unit) == (
        "mean_query_grad_cos",
        ("train",),
        similarity.unit,
    )
    each = [torch.cat(list(per_example_gradients(network, theta, task, x, y)))
            for x, y in ((task.train_x, task.train_y), (task.query_x, task.query_y))]  # fmt: skip
    cosines = torch.nn.functional.cosine_similarity(each[0][:, None], each[1][None], dim=2)
    torch.testing.assert_close(found(network, theta, task), cosines.mean(1))
    other = mean_over_queries(similarity, "grad_dot")
    assert measure_identity(found) != measure_identity(other)
    assert measure_identity(found) == measure_identity(mean_over_queries(similarity, "grad_cos"))
    dampings = [
        mean_over_queries(get_estimator("trak", RECIPE, damping=d), "trak") for d in (0.1, 1.0)
    ]
    assert measure_identity(dampings[0]) != measure_identity(dampings[1])
    with pytest.raises(ValueError, match="estimator of gradient_similarity"):
        mean_over_queries(similarity, "trak")


def test_the_transformers_class_token_has_no_kronecker_factors():
    task, network, theta = TRANSFORMER_CASE
    with pytest.raises(ValueError, match=r"'vit\.class_token'.*only linear and convolutional"):
        get_estimator("influence_ekfac", RECIPE)(network, theta, task)


def test_pieces_change_nothing(monkeypatch):
    task, network, theta = TABLE_CASE
    measured = mean_query_shifts(RECIPE, steps=20)
    whole = measured(network, theta, task)
    monkeypatch.setattr(mean_query, "PRODUCT_CHUNK", 5)
    torch.testing.assert_close(measured(network, theta, task), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rank", [3, 12])
def test_shifted_solves_are_exact_also_where_the_basis_ends_early(rank):
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(12, rank, generator=generator, dtype=torch.float64)
    matrix, right = root @ root.T, torch.randn(12, generator=generator, dtype=torch.float64)
    shifts = (0.05, 2.0)
    found = shifted_solves(lambda v: matrix @ v, right, shifts, 12)
    for solution, shift in zip(found, shifts):
        expected = torch.linalg.solve(matrix + shift * torch.eye(12).double(), right)
        torch.testing.assert_close(solution, expected, rtol=1e-8, atol=1e-10)


def test_fewer_steps_are_those_of_conjugate_gradients():
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix, right = root @ root.T, torch.randn(12, generator=generator, dtype=torch.float64)
    system = matrix + 0.5 * torch.eye(12).double()
    powers = [right]
    for _ in range(3):
        powers.append(system @ powers[-1])
    basis, _ = torch.linalg.qr(torch.stack(powers, dim=1))  # least energy error in Krylov space
    expected = basis @ torch.linalg.solve(basis.T @ system @ basis, basis.T @ right)
    found = shifted_solves(lambda v: matrix @ v, right, (0.5,), 4)[0]
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_the_default_steps_suffice_for_a_trained_transformer_and_stacks_change_nothing():
    task = digits_like(30, 6, torch.float32)
    recipe = Recipe("adam", lr=3e-3, weight_decay=1e-3, batch_size=10, epochs=20)
    exact = get_estimator("influence_ggn", recipe, damping=0.1)
    measures = [mean_query_shifts(recipe), exact]
    weights = torch.ones(2, 30)
    stacked, alone = (
        train(task, TRANSFORMER, recipe, [0, 1], [0, 1], weights, measures, chunk=chunk)
        for chunk in (2, 1)
    )
    scores = stacked["mean_query_shifts"][:, 0, 2]  # if_damped_0.1
    expected = stacked["influence_ggn"][:, 0, 0].mean(-1)
    assert (scores - expected).abs().max() < 0.01 * expected.abs().max()
    np.testing.assert_allclose(
        stacked["mean_query_shifts"], alone["mean_query_shifts"], rtol=5e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    "settings", [{"dampings": ()}, {"dampings": (-0.5,)}, {"steps": 0}, {"dampings": (np.nan,)}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="impossible"):
        mean_query_shifts(RECIPE, **settings)
