"""Predicted laws against retrained ones: removals, estimates, gaps without noise, rules."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.experiments.predicting_retrained_laws import estimates, laws
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe

LINEAR = get_model("mlp", widths=(3, 1))
RIDGE = 0.05
RECIPE = Recipe("sgd", lr=0.1, weight_decay=RIDGE, batch_size=4, epochs=2)
GROUPS = [(0,), (3, 7), (1, 2, 5, 8, 9, 11)]


def small_task(n_train=12, n_query=5):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n_train + n_query, 3, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    y = y + torch.randn(len(y), generator=generator, dtype=torch.float64)
    parts = x[:n_train], y[:n_train], x[n_train:], y[n_train:]
    return Task("small", *parts, loss="squared_error", n_outputs=1)


def ridge_fit(task, kept):
    """Minimum of the objective with the kept points at fixed 1/N, as theta of `LINEAR`."""
    x = torch.cat([task.train_x, torch.ones(task.n_train, 1, dtype=torch.float64)], dim=1)
    x, y = x[kept], task.train_y[kept]
    matrix = x.T @ x / task.n_train + RIDGE * torch.eye(4, dtype=torch.float64)
    return torch.linalg.solve(matrix, x.T @ y / task.n_train)


# --- what is removed ------------------------------------------------------------------------------


def test_input_leverage_is_that_of_a_regression():
    task = small_task()
    x = np.column_stack([np.ones(12), task.train_x.numpy()])
    expected = np.diag(x @ np.linalg.solve(x.T @ x, x.T))
    np.testing.assert_allclose(laws.input_leverage(task), expected, rtol=1e-10)


def test_removals_are_distinct_sized_and_points_of_high_leverage_come_last():
    task = get_task("concrete", n_train=50, n_query=5)
    drawn = laws.draw_removals(task, (10, 4), 3, np.random.default_rng(0))
    removals = laws.with_high_leverage(drawn, task)
    assert list(removals.of_size) == ["1 point", "4 %", "10 %", "high leverage"]
    assert [len(group) for group in removals.groups] == [1] * 3 + [2] * 3 + [5] * 3 + [1] * 3
    assert len(set(removals.groups)) == 12
    leverage = laws.input_leverage(task)
    chosen = [leverage[point] for (point,) in removals.of_size["high leverage"]]
    others = set(range(50)) - {group[0] for group in removals.groups if len(group) == 1}
    assert min(chosen) >= max(leverage[point] for point in others)
    weights = removals.design(50).weights
    assert (weights[0] == 1).all()
    left_out = [tuple((row == 0).nonzero().flatten().tolist()) for row in weights[1:]]
    assert left_out == removals.groups
    assert set(removals.members) == {point for group in removals.groups for point in group}


def test_equal_sizes_are_refused():
    with pytest.raises(ValueError, match="not different"):
        laws.draw_removals(small_task(), (1, 2), 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="as many"):
        laws.Removals({"1 point": ((0,),), "5 %": ((0, 1), (1, 2))})


# --- estimates ------------------------------------------------------------------------------------


def test_joint_shifts_are_exact_for_any_group_of_least_squares():
    task, network = small_task(), Network.of(LINEAR)
    theta = ridge_fit(task, list(range(12)))
    measured = estimates.group_shifts(RECIPE, "query_prediction", GROUPS, damping=0.0)
    for group, shift in zip(GROUPS, measured(network, theta, task)[2], strict=True):
        without = ridge_fit(task, [k for k in range(12) if k not in group])
        expected = network(without, task.query_x) - network(theta, task.query_x)
        torch.testing.assert_close(shift, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("loss", "of"), [("squared", "query_loss"), ("classes", "query_margin")])
def test_sums_over_members_are_those_of_the_library(loss, of):
    task, model = small_task(), get_model("mlp", widths=(3, 4, 1), activation="tanh")
    if loss == "classes":
        labels = {f"{part}_y": torch.arange(n) % 3 for part, n in (("train", 12), ("query", 5))}
        parts = {"train_x": task.train_x, "query_x": task.query_x}
        task = Task("classes", **parts, **labels, loss="cross_entropy", n_outputs=3)
        model = get_model("mlp", widths=(3, 4, 3), activation="tanh")
    network, theta = Network.of(model), initial_theta(model, 0, torch.float64)
    found = estimates.group_shifts(RECIPE, of, GROUPS, damping=0.02)(network, theta, task)
    for row, name in ((0, "influence_ggn"), (1, "influence_leverage")):
        each = get_estimator(name, RECIPE, of=of, damping=0.02)(network, theta, task)[0]
        expected = torch.stack([each[list(group)].sum(dim=0) for group in GROUPS])
        torch.testing.assert_close(found[row], expected, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(found[2, 0], found[1, 0])  # of one point they are the same
    assert not torch.allclose(found[2, 2], found[1, 2], rtol=1e-2)


# --- laws -----------------------------------------------------------------------------------------


def test_laws_are_moved_by_their_own_seeds_and_cut_into_sets():
    generator = np.random.default_rng(0)
    removals = laws.Removals({"1 point": ((0,), (2,)), "50 %": ((1, 3), (0, 2))})
    seeds, dims = {"seed": np.arange(6)}, ("seed", "removal", "query")
    outputs = xr.DataArray(generator.normal(size=(6, 5, 3)), seeds, dims)
    shift = xr.DataArray(
        generator.normal(size=(6, 4, 3)), seeds | {"train": range(4)}, ("seed", "train", "query")
    )
    whole = xr.DataArray(generator.normal(size=(6, 4, 3)), seeds, dims)
    found = laws.laws_in_sets(outputs, {"members": shift, "joint": whole}, removals, 3)
    assert dict(found.sizes) == {
        "set": 3, "seed": 2, "size": 2, "group": 2, "query": 3, "estimator": 2
    }  # fmt: skip
    at = {"set": 1, "seed": 0, "group": 0}  # run 2, the pair (1, 3)
    base, pair = outputs.values[2, 0], found.sel(size="50 %").isel(at)
    np.testing.assert_array_equal(found["base"].isel(set=1, seed=0), base)
    np.testing.assert_array_equal(pair["retrained"], outputs.values[2, 3])
    added = base + shift.values[2, 1] + shift.values[2, 3]
    np.testing.assert_allclose(pair["predicted"].sel(estimator="members"), added)
    joint = pair["predicted"].sel(estimator="joint")
    np.testing.assert_allclose(joint, base + whole.values[2, 2])
    with pytest.raises(ValueError, match="do not make 4 equal sets"):
        laws.in_sets(found.isel(set=0).isel(seed=[0, 1]), 4)
