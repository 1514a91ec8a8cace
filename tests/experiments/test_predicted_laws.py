"""Predicted laws against retrained ones: gaps, floors, groups, shares and the rules of claims."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch.func import hessian, jacrev

from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.experiments.predicting_retrained_laws import claims as rules
from dtda_lib.experiments.predicting_retrained_laws import estimates as estimates
from dtda_lib.experiments.predicting_retrained_laws import laws as laws_of
from dtda_lib.experiments.predicting_retrained_laws import tables as tables
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.recipes import Recipe
from dtda_lib.statistics.distances import get_distance

LINEAR = get_model("mlp", widths=(3, 1))
RIDGE = 0.05
RECIPE = Recipe("sgd", lr=0.1, weight_decay=RIDGE, batch_size=4, epochs=2)


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


def drawn(generator, shift=0.4, n_seeds=16, n_removals=4, n_query=6, estimators=("good", "none")):
    """Laws where "good" predicts the shift of the mean exactly and "none" no change."""
    base = xr.DataArray(generator.normal(size=(n_seeds, n_query)), dims=("seed", "query"))
    steps = shift * generator.normal(size=(1, n_removals, n_query))
    noise = 0.05 * generator.normal(size=(n_seeds, n_removals, n_query))
    dims = ("seed", "removal", "query")
    moved = xr.DataArray(base.values[:, None] + steps, dims=dims)
    coords = {"removal": np.arange(n_removals)}
    moved = moved.assign_coords(coords)
    still = (base.expand_dims(removal=n_removals) + 0 * moved).transpose(*dims)
    guess = laws_of.stacked([moved, still], "estimator", estimators)
    return laws_of.Laws(base, moved + noise, guess)


def removals_of(n_removals, names=("2 %", "5 %")):
    half = n_removals // len(names)
    groups = tuple((i,) if i < half else (i, i + 1) for i in range(n_removals))
    sets = [name for name in names for _ in range(half)]
    return laws_of.Removals(groups, pd.DataFrame({"set": sets, "points": [len(g) for g in groups]}))


# --- what is removed ------------------------------------------------------------------------------


def test_input_leverage_is_that_of_a_regression():
    task = small_task()
    x = np.column_stack([np.ones(12), task.train_x.numpy()])
    expected = np.diag(x @ np.linalg.solve(x.T @ x, x.T))
    np.testing.assert_allclose(laws_of.input_leverage(task), expected, rtol=1e-10)


def test_removals_are_distinct_sized_and_high_leverage_points_come_last():
    task = get_task("concrete", n_train=50, n_query=5)
    removals = laws_of.draw_removals(task, (10, 2), 3, 4, np.random.default_rng(0))
    assert removals.table["points"].tolist() == [1] * 3 + [5] * 3 + [1] * 4
    assert removals.random_sets == ["2 %", "10 %"]
    assert len(set(removals.groups)) == 10
    leverage = laws_of.input_leverage(task)
    chosen = [leverage[group[0]] for group in removals.groups[6:]]
    others = set(range(50)) - {group[0] for group in removals.groups if len(group) == 1}
    assert min(chosen) >= max(leverage[point] for point in others)
    weights = removals.design(50).weights
    assert (weights[0] == 1).all()
    assert [tuple((row == 0).nonzero().flatten().tolist()) for row in weights[1:]] == list(
        removals.groups
    )


def test_equal_sizes_are_refused():
    with pytest.raises(ValueError, match="not different"):
        laws_of.draw_removals(small_task(), (1, 2), 1, 1, np.random.default_rng(0))


# --- estimates ------------------------------------------------------------------------------------


def test_joint_leverage_is_exact_for_any_group_of_least_squares():
    task, network = small_task(), Network.of(LINEAR)
    theta = ridge_fit(task, list(range(12)))
    groups = [(0,), (3, 7), (1, 2, 5, 8, 9, 11)]
    found = estimates.joint_shifts(RIDGE, groups)(network, theta, task)
    for group, shift in zip(groups, found):
        without = ridge_fit(task, [k for k in range(12) if k not in group])
        expected = (network(without, task.query_x) - network(theta, task.query_x))[:, 0]
        torch.testing.assert_close(shift, expected, rtol=1e-9, atol=1e-11)


def test_estimates_are_those_that_their_names_say(monkeypatch):
    task, damping = small_task(), 0.02
    model = get_model("mlp", widths=(3, 4, 1), activation="tanh")
    network, theta = Network.of(model), initial_theta(model, 0, torch.float64)
    monkeypatch.setattr(estimates, "damping_by_training_time", lambda recipe, n_train: damping)
    given = xr.DataArray(theta[None].numpy(), {"seed": [0]}, ("seed", "parameter"))
    alone = [(k,) for k in range(12)]
    shifts, about = estimates.estimated_shifts(task, model, RECIPE, given, alone)

    train, query = (
        jacrev(lambda theta, x=x: network(theta, x)[:, 0])(theta)
        for x in (task.train_x, task.query_x)
    )
    residual = (network(theta, task.train_x)[:, 0] - task.train_y).detach()[:, None]
    exact = hessian(lambda t: task.per_example_loss(network(t, task.train_x), task.train_y).mean())
    unit = torch.eye(len(theta), dtype=torch.float64)

    def by_hand(curvature, ridge):
        return residual * (train @ torch.linalg.solve(curvature + ridge * unit, query.T)) / 12

    ridge, gauss_newton = RIDGE + damping, train.T @ train / 12
    hat = train @ torch.linalg.solve(gauss_newton + ridge * unit, train.T) / 12
    expected = {
        "if_ggn": by_hand(gauss_newton, ridge),
        "if_ggn_raw": by_hand(gauss_newton, RIDGE),
        "if_hessian": by_hand(exact(theta), ridge),
        "rif": by_hand(gauss_newton, ridge) / (1 - hat.diagonal())[:, None],
    }
    assert list(shifts) == [*expected, "joint"]
    for name, values in (expected | {"joint": expected["rif"]}).items():
        np.testing.assert_allclose(shifts[name].values[0], values, rtol=1e-7, atol=1e-10)
        assert shifts[name].dims == ("seed", "removal" if name == "joint" else "train", "query")
    np.testing.assert_allclose(about["leverage"].values[0], hat.diagonal(), rtol=1e-8)
    smallest = torch.linalg.eigvalsh(exact(theta))[0] + ridge
    np.testing.assert_allclose(about["smallest"].values, [smallest], rtol=1e-8)


def test_members_of_a_group_are_added_up_and_joint_shifts_are_not():
    generator = np.random.default_rng(0)
    shift = xr.DataArray(
        generator.normal(size=(2, 4, 3)), {"seed": [0, 1]}, ("seed", "train", "query")
    )
    whole = xr.DataArray(
        generator.normal(size=(2, 2, 3)), {"seed": [0, 1]}, ("seed", "removal", "query")
    )
    table = pd.DataFrame({"set": ["a", "b"], "points": [1, 2]})
    removals = laws_of.Removals(((0,), (1, 3)), table)
    base = xr.DataArray(np.ones((2, 3)), {"seed": [0, 1]}, ("seed", "query"))
    law = laws_of.predicted_laws(base, {"members": shift, "joint": whole}, removals)
    assert law.dims == ("estimator", "seed", "removal", "query")
    added = base + shift.isel(train=[1, 3]).sum("train")
    np.testing.assert_allclose(law.sel(estimator="members").isel(removal=1), added)
    np.testing.assert_allclose(
        law.sel(estimator="joint"), (base + whole).transpose("seed", "removal", "query")
    )


# --- gaps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"), [("mean", 0.3**2), ("sd", 0.5**2), ("law", 0.3**2 + 0.5**2)]
)
def test_gap_squares_are_unbiased(kind, expected):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(40, 10_000))
    y = 0.3 + 1.5 * generator.normal(size=x.shape)  # unpaired: the noise is as large as it gets
    square = laws_of.gap_square(x, y, kind)
    error = square.std() / np.sqrt(square.size)
    # Sds of 40 normal runs are 0.6 % too small; the noise left on would add 0.08 and 0.04.
    assert abs(square.mean() - expected) < 4 * error + 0.04 * expected * (kind != "mean")


def test_gap_square_of_means_is_the_sum_of_products_of_different_seeds():
    x, y = np.random.default_rng(2).normal(size=(2, 5, 3))
    d = x - y
    pairs = sum(d[i] * d[j] for i in range(5) for j in range(5) if i != j) / 20
    np.testing.assert_allclose(laws_of.gap_square(x, y, "mean"), pairs, rtol=1e-12)


def test_gap_squares_ignore_common_offsets_and_order_of_seeds():
    x, y = np.random.default_rng(2).normal(size=(2, 8, 3))
    for kind in laws_of.KINDS:
        moved = laws_of.gap_square(x[::-1] + 5, y[::-1] + 5, kind)
        np.testing.assert_allclose(laws_of.gap_square(x, y, kind), moved, rtol=1e-8, atol=1e-12)


def test_halves_take_two_seeds_of_each_block():
    halves = laws_of.draw_halves(3, 5, np.random.default_rng(0))
    assert halves.shape == (5, 2, 3, 2)
    blocks = halves // laws_of.BLOCK
    assert (blocks == np.arange(3)[:, None]).all()
    for split in halves:
        assert sorted(split.ravel()) == list(range(12))


def test_w2_squares_are_those_of_the_library():
    laws = drawn(np.random.default_rng(4), n_seeds=8, n_removals=2)
    # Every split of 8 seeds into two of each block is among all splits: compare one split by hand.
    halves = laws_of.draw_halves(2, 1, np.random.default_rng(0))
    found = laws_of.w2_squares(laws, halves)
    left, right = halves.reshape(2, -1)
    w2 = get_distance("w2")
    guess, true = laws.predicted.sel(estimator="good").values, laws.retrained.values
    base = laws.base.values[:, None]
    for name, first, second in (
        ("predicted", guess, true),
        ("no_change", np.broadcast_to(base, true.shape), true),
        ("perfect", true, true),
    ):
        expected = (w2(first[left], second[right]) ** 2 + w2(first[right], second[left]) ** 2) / 2
        got = found[name].sel(estimator="good") if name == "predicted" else found[name]
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_a_perfect_prediction_ends_on_the_floor_and_no_change_at_no_change():
    """Laws of 40 independent runs each: twice as wide and moved by 1 without the points."""
    generator = np.random.default_rng(5)
    base, one, other = generator.normal(size=(3, 40, 1, 30))
    dims = ("seed", "removal", "query")
    retrained, perfect, idle = (
        xr.DataArray(law, dims=dims, coords={"removal": [3]})
        for law in (2 * one + 1, 2 * other + 1, base)
    )
    guess = laws_of.stacked([perfect, idle], "estimator", ["perfect", "idle"])
    laws = laws_of.Laws(xr.DataArray(base[:, 0], dims=("seed", "query")), retrained, guess)
    found = laws_of.w2_squares(laws, laws_of.draw_halves(10, 8, generator))
    predicted, gap = found["predicted"].mean(("removal", "query")), found["no_change"].mean()
    assert found["floor"].mean() < 0.5 * gap
    excess = abs(predicted.sel(estimator="perfect") - found["perfect"].mean())
    assert excess < 0.3 * (gap - found["perfect"].mean())
    np.testing.assert_allclose(predicted.sel(estimator="idle"), gap)


def test_jackknife_over_blocks_of_a_mean_is_the_t_interval_of_block_means():
    values = np.random.default_rng(6).normal(size=20)
    blocks = values.reshape(5, 4).mean(axis=1)
    found = laws_of.over_blocks(lambda b: xr.DataArray(blocks[b].mean()), 5)
    half = 2.7764451 * blocks.std(ddof=1) / np.sqrt(5)
    assert float(found["high"] - found["estimate"]) == pytest.approx(half, rel=1e-6)
    assert float(found["estimate"]) == pytest.approx(values.mean())


# --- tables ---------------------------------------------------------------------------------------


def test_a_prediction_that_is_right_is_nearer_and_no_prediction_is_not():
    generator = np.random.default_rng(7)
    laws, removals = drawn(generator), removals_of(4)
    halves = laws_of.draw_halves(4, 4, generator)
    table = tables.share_table(laws, removals, halves, generator).set_index(
        ["kind", "set", "estimator"]
    )
    assert table.loc[("mean", tables.ALL, "good"), "share"] > 0.9
    assert (table.xs("none", level="estimator")["share"] == 0).all()
    errors = tables.error_table(laws, removals).set_index(["kind", "set", "estimator"])
    assert errors.loc[("mean", "5 %", "good"), "error"] < 0.1
    assert errors.loc[("mean", "5 %", "none"), "error"] == pytest.approx(1)
    size = np.sqrt(((laws.retrained - laws.base).mean("seed")[2:] ** 2).mean())
    assert errors.loc[("mean", "5 %", "none"), "no_change"] == pytest.approx(float(size), rel=0.01)


def test_kept_is_the_factor_of_an_under_shoot():
    generator = np.random.default_rng(8)
    laws, removals = drawn(generator), removals_of(4, ("1 %", laws_of.LEVERAGE))
    removals.table["points"] = 1
    still = laws.predicted.sel(estimator="none")
    half = still + 0.75 * (laws.predicted.sel(estimator="good") - still)
    guess = laws.predicted.copy(data=np.stack([half, laws.predicted.sel(estimator="good")]))
    laws = laws_of.Laws(laws.base, laws.retrained, guess)
    leverage = xr.DataArray(np.full((16, 12), 0.25), dims=("seed", "train"))
    table = tables.single_table(laws, removals, leverage)
    first = table[table["estimator"] == "good"]
    np.testing.assert_allclose(first["kept"], 0.75, atol=0.05)
    assert (first["leverage"] == 0.25).all()
    kept = tables.kept_table(laws, removals, leverage).set_index(["what", "estimator"])
    assert kept.loc[("less", "good"), "estimate"] == pytest.approx(0, abs=0.03)


def test_other_groups_are_the_next_of_the_same_set():
    laws, removals = drawn(np.random.default_rng(9)), removals_of(4)
    other = laws_of.of_other_groups(laws.predicted, removals)
    np.testing.assert_array_equal(other.values, laws.predicted.values[:, :, [1, 0, 3, 2]])
    assert (other["removal"] == laws.predicted["removal"]).all()


def test_predicted_changes_of_the_variance_are_seen():
    generator = np.random.default_rng(10)
    laws, removals = drawn(generator, n_seeds=32, n_removals=8), removals_of(8)
    factor = np.exp(0.5 * generator.normal(size=(1, 8, 6)))
    middle = laws.base.mean("seed")
    about = (laws.base - middle).transpose("seed", "query").values[:, None]
    wide = laws.retrained.copy(data=about * factor)
    guess = laws.predicted.copy(data=np.stack([wide, laws.predicted.sel(estimator="none")]))
    guess = guess + 1e-3 * generator.normal(size=guess.shape)
    found = tables.spread_table(
        laws_of.Laws(laws.base, wide, guess), removals, laws_of.draw_halves(8, 4, generator)
    ).set_index(["what", "set", "estimator"])
    assert found.loc[("r", "2 %", "good"), "estimate"] > 0.8
    assert abs(found.loc[("gap", "2 %", "good"), "estimate"]) < 0.05
    assert abs(found.loc[("r", "2 %", "none"), "estimate"]) < 0.5


# --- rules ----------------------------------------------------------------------------------------


def shares(low, high, *, draw_low=None, sizes=((0.9, 0.99), (0.9, 0.99))):
    rows = [(f"{i} %", *ends) for i, ends in enumerate(sizes)] + [(tables.ALL, low, high)]
    table = pd.DataFrame(rows, columns=["set", "low", "high"])
    table["draw_low"] = table["low"]
    table["draw_high"] = table["high"]
    if draw_low is not None:
        table.loc[table["set"] == tables.ALL, "draw_low"] = draw_low
    return table.assign(share=(table["low"] + table["high"]) / 2)


@pytest.mark.parametrize(
    ("table", "status"),
    [
        (shares(0.7, 0.8), "confirmed"),
        (shares(0.7, 0.8, draw_low=0.4), "inconclusive"),
        (shares(0.4, 0.6), "inconclusive"),
        (shares(0.2, 0.4), "refuted"),
        (shares(0.7, 0.8, sizes=((0.2, 0.4), (0.9, 0.95))), "partly"),
        (shares(np.nan, np.nan), "inconclusive"),
    ],
)
def test_rule_of_shares(table, status):
    assert rules.share_status(table) == status


@pytest.mark.parametrize(
    ("draws", "hull"),
    [((0.6, 0.9), (0.6, 0.9)), ((0.72, 0.75), (0.7, 0.8)), ((0.75, 0.85), (0.7, 0.85))],
)
def test_the_interval_of_a_share_is_the_hull_of_both(draws, hull):
    one = shares(0.7, 0.8).assign(draw_low=draws[0], draw_high=draws[1])
    table = pd.concat(
        one.assign(estimator=estimator, kind=kind)
        for estimator in rules.ESTIMATORS
        for kind in ("mean", "w2", "sd")
    )
    for claim in rules.share_claims(table, 8, "made"):
        assert claim.ci == hull
        assert "hull of that over seeds [0.70, 0.80]" in claim.statistic
        assert f"removals and queries [{draws[0]:.2f}, {draws[1]:.2f}]" in claim.statistic
    missing = table.assign(draw_low=np.nan)
    assert np.isnan(rules.share_claims(missing, 8, "made")[0].ci[0])
