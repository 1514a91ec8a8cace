"""Sources of noise: tables, rules and drawings on data whose answer is known."""

from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dtda_lib.data import published_lists
from dtda_lib.data.named import get_task
from dtda_lib.experiments.sources_of_noise import banks, crop_noise, plots, pretraining, tables
from dtda_lib.experiments.sources_of_noise import claims as rules
from dtda_lib.experiments.sources_of_noise.cifar10 import VARIABLE
from dtda_lib.experiments.sources_of_noise.experiment import Experiment
from dtda_lib.experiments.sources_of_noise.parameters import Parameters
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.crop_loss import crop_loss
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.study.settings import resolve

NESTED = {size: get_task("mnist3", per_class=size, queries_per_class=2) for size in (2, 5)}
MLP = get_model("mlp", widths=(784, 3, 10))
SHORT = Recipe("sgd", lr=0.1, weight_decay=0.01, batch_size=4, epochs=2, keep_last=2)


def labelled(values, dims=("seed", "train", "query")):
    return xr.DataArray(np.asarray(values, dtype=float), dims=dims)


def exact(mu, sigma, seeds=6, pairs=(2, 3)):
    """Scores whose sample mean is mu and whose standard deviation is sigma, in every pair."""
    draws = np.random.default_rng(0).standard_normal((seeds, *pairs))
    draws -= draws.mean(axis=0)
    return labelled(mu + sigma * draws / draws.std(axis=0, ddof=1))


# --- the same pairs everywhere -------------------------------------------------------------------


def test_points_are_the_same_images_at_every_size():
    ids = banks.common_points(NESTED, 1)
    images = [task.train_x[banks.positions(task, ids)] for task in NESTED.values()]
    assert torch.equal(*images)
    assert NESTED[2].train_y[banks.positions(NESTED[2], ids)].tolist() == [0, 1, 2]


def test_tasks_that_do_not_share_pairs_are_refused():
    other = get_task("mnist3", per_class=2, queries_per_class=2, digits=(3, 4, 5))
    with pytest.raises(ValueError, match="no training point"):
        banks.common_points({2: NESTED[2], 3: other}, 1)
    more = get_task("mnist3", per_class=5, queries_per_class=3)
    with pytest.raises(ValueError, match="queries"):
        banks.common_points({2: NESTED[2], 5: more}, 1)
    with pytest.raises(ValueError, match="3 are asked for"):
        banks.common_points(NESTED, 3)


def test_crossed_seeds_have_every_order_with_every_initialisation():
    cells = banks.crossed_seeds(3, 2)
    assert len(set(cells)) == 6
    assert [init for init, _ in cells[::2]] == [init for init, _ in cells[1::2]]
    assert cells[0][1] == cells[2][1] == cells[4][1]


@pytest.mark.slow
def test_scores_of_banks_are_labelled_by_point():
    ids = banks.common_points(NESTED, 1)[1:]
    bank = banks.removal_bank(NESTED[5], MLP, SHORT, ids, seed_pairs(3), workers=1)
    scores = banks.removal_scores(bank, ids)
    assert scores.dims == ("seed", "train", "query")
    assert scores["train"].values.tolist() == list(ids)
    loss = bank.dataset()["query_loss"].astype(float)  # (seed, removal, checkpoint, query)
    by_hand = (loss[:, 2] - loss[:, 0]).mean("checkpoint")
    np.testing.assert_allclose(scores.sel(train=ids[1]), by_hand)
    row = tables.training_table({"5": bank}).iloc[0]
    assert row["parameters"] == 784 * 3 + 3 + 3 * 10 + 10
    assert (row["points"], row["steps"], row["runs"]) == (15, 8, 9)
    assert row["loss"] == pytest.approx(float(loss[:, 0, -1].mean()))
    assert row["sure"] == pytest.approx(float((loss[:, 0, -1] < np.log(2)).mean()))


def test_estimators_are_taken_at_the_chosen_points():
    ids = banks.common_points(NESTED, 1)
    bank = banks.estimator_bank(NESTED[2], MLP, SHORT, seed_pairs(2), workers=1)
    scores = banks.estimated_scores(bank, ids)
    assert list(scores) == ["grad_dot", "grad_cos", "ats_adam", "ats_sgd", "if_ggn"]
    similarity = bank.dataset()["gradient_similarity"].sel(estimator="grad_cos", removal="none")
    expected = similarity.astype(float).mean("checkpoint").isel(train=[0, 2, 4])
    np.testing.assert_allclose(scores["grad_cos"], expected)


# --- components ----------------------------------------------------------------------------------


def crossed_scores(init, order, rest, n=12, pairs=40):
    """Crossed effects with these standard deviations, given pair by pair or for all."""
    rng = np.random.default_rng(1)
    effects = rng.standard_normal((n, 1, pairs)) * init + rng.standard_normal((1, n, pairs)) * order
    cells = effects + rng.standard_normal((n, n, pairs)) * rest
    return labelled(cells.reshape(n * n, 1, pairs))


def estimates(table):
    return table.set_index(["method", "weighting", "quantity"])["estimate"].sort_index()


def test_components_are_those_put_in():
    table = tables.component_table({(20, "loo"): crossed_scores(2.0, 1.0, 1.0)}, 12)
    found = estimates(table)["loo", "pooled"]
    assert found["init"] == pytest.approx(4 / 6, abs=0.06)
    assert found["order"] == pytest.approx(1 / 6, abs=0.04)
    assert found["init - order"] == pytest.approx(found["init"] - found["order"])
    assert found["init / order"] == pytest.approx(found["init"] / found["order"])
    assert (table["low"] <= table["high"]).all()


def test_without_an_order_effect_its_share_is_zero():
    table = tables.component_table({(10, "loo"): crossed_scores(2.0, 0.0, 0.0)}, {10: 12})
    assert estimates(table)["loo", "pooled", "order"] == 0
    assert estimates(table)["loo", "pooled", "init"] == 1


def test_weighting_all_pairs_alike_silences_a_loud_one():
    loud = np.r_[100.0, np.full(39, 0.0)]
    scores = crossed_scores(np.r_[0.0, np.ones(39)], loud, 0.1)
    found = estimates(tables.component_table({(20, "loo"): scores}, 12))
    assert found["loo", "pooled", "order"] > 0.99
    assert found["loo", "equal", "init"] > 0.9


def test_claims_on_components_follow_their_intervals():
    scores = {
        (20, "loo"): crossed_scores(2.0, 0.2, 0.2),
        (20, "grad_dot"): crossed_scores(0.2, 2.0, 0.2),
        (20, "grad_cos"): crossed_scores(1.0, 1.0, 1.0),
        (10, "loo"): crossed_scores(0.0, 2.0, 0.2),
    }
    table = tables.component_table(scores, 12)
    claims = {claim.id: claim for claim in rules.component_claims(table, 20, 144, "toy")}
    assert {name: claim.status for name, claim in claims.items()} == {
        "B4-loo": "confirmed",
        "B4-grad_dot": "refuted",
        "B4-grad_cos": "inconclusive",
    }


def test_components_are_summed_up_in_a_row_a_method():
    scores = {(20, "loo"): crossed_scores(2, 1, 1), (10, "loo"): crossed_scores(1, 0, 0)}
    table = tables.component_table(scores, 12)
    summary = tables.component_summary(table)
    assert summary["method"].tolist() == ["leave-one-out"] * 2
    assert summary["per class"].tolist() == [20, 10]
    row = summary.iloc[0]
    assert row["initialisation"] == estimates(table[table["size"] == 20])["loo", "pooled", "init"]
    assert row["low"] < row["initialisation - order"] < row["high"]
    parts = ["initialisation", "batch order", "interaction"]
    np.testing.assert_allclose(summary[parts].sum(axis=1), 1)


# --- levels and steps ----------------------------------------------------------------------------


def test_levels_are_geometric_means_over_pairs():
    scores = exact(np.array([[2.0, 8.0, 0.5]] * 2), np.array([[1.0, 16.0, 0.25]] * 2))
    levels = tables.level_table({"a": scores}).set_index("quantity")
    assert levels.loc["sigma", "estimate"] == pytest.approx((1 * 16 * 0.25) ** (1 / 3))
    assert levels.loc["abs_mu", "estimate"] == pytest.approx((2 * 8 * 0.5) ** (1 / 3))
    assert levels.loc["snr", "estimate"] == pytest.approx(2 ** (1 / 3))
    assert levels.loc["snr", "low"] < 2 ** (1 / 3) < levels.loc["snr", "high"]
    assert (levels["n_pairs"] == 6).all()


def test_levels_are_summed_up_in_a_row_a_setting():
    levels = tables.level_table({"b": exact(8.0, 2.0), "a": exact(2.0, 1.0)})
    summary = tables.level_summary(levels)
    assert summary.index.tolist() == ["b", "a"]
    np.testing.assert_allclose(summary.to_numpy(), [[2, 8, 4], [1, 2, 2]], rtol=1e-6)


def test_shares_count_significant_pairs():
    mu = np.array([[5.0, 5.0, 0.001], [0.001, 0.001, 0.001]])
    levels = tables.level_table({"a": exact(mu, 1.0)}).set_index("quantity")
    assert levels.loc["code", "estimate"] == pytest.approx(2 / 6)
    assert levels.loc["t_fdr", "estimate"] == pytest.approx(2 / 6)


def test_a_pair_without_noise_is_left_out():
    silent = exact(2.0, 1.0)
    silent[:, 0, 0] = 0.0
    levels = tables.level_table({"a": silent}).set_index("quantity")
    assert levels.loc["sigma", "estimate"] == pytest.approx(1.0)


def test_steps_compare_seed_by_seed():
    first = exact(2.0, 1.0)
    steps = tables.step_table({"a": first, "b": 3 * first, "c": 3 * first + 6})
    steps = steps.set_index(["quantity", "first", "second"])
    assert len(steps) == 9
    assert tuple(steps.loc[("sigma", "a", "b"), ["low", "high"]]) == pytest.approx((3.0, 3.0))
    assert steps.loc[("snr", "a", "b"), "estimate"] == pytest.approx(1.0)
    assert steps.loc[("snr", "a", "c"), "estimate"] == pytest.approx(2.0)
    assert not steps.loc[("snr", "a", "c"), "adjacent"]


def test_the_noise_floor_is_the_snr_of_pure_noise():
    draws = np.random.default_rng(0).standard_normal((8, 1, 40_000))
    measured = float(np.exp(tables.log_levels(labelled(draws)).sel(quantity="snr")))
    assert tables.noise_floor(8) == pytest.approx(measured, rel=0.02)


# --- rules ---------------------------------------------------------------------------------------

UP, DOWN, FLAT = (1.1, 2.0), (0.5, 0.9), (0.8, 1.2)
NAN = (np.nan, np.nan)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ([UP, DOWN], "confirmed"),
        ([UP, FLAT, DOWN], "confirmed"),
        ([DOWN, UP, DOWN], "confirmed"),
        ([UP, UP], "refuted"),
        ([DOWN, DOWN], "refuted"),
        ([DOWN, UP], "refuted"),
        ([UP, FLAT], "inconclusive"),
        ([FLAT, FLAT], "inconclusive"),
        ([UP, NAN], "inconclusive"),
        ([UP], "not tested"),
    ],
)
def test_rises_then_falls(changes, status):
    assert rules.turn_status(changes) == status


def test_claims_on_size_take_noise_and_its_inverse_ratio():
    names = ["10", "20", "50"]
    settings = {n: exact(2.0, s) for n, s in zip(names, (1.0, 2.0, 0.5), strict=True)}
    steps = tables.step_table(settings)
    sigma, relative = rules.size_claims(steps, 6, "toy")
    assert (sigma.id, relative.id) == ("B5", "B5-snr")
    assert sigma.status == relative.status == "confirmed"
    assert sigma.estimate == pytest.approx(0.5)
    assert relative.estimate == pytest.approx(0.5)
    growing = {n: exact(200.0, s) for n, s in zip(names, (1.0, 2.0, 4.0), strict=True)}
    sigma, relative = rules.size_claims(tables.step_table(growing), 6, "toy")
    assert (sigma.status, relative.status) == ("refuted", "refuted")
    assert relative.ci[0] <= relative.estimate <= relative.ci[1]


@pytest.mark.parametrize(
    ("sigmas", "status"),
    [((1, 4, 16), "confirmed"), ((4, 1, 16), "partly"), ((16, 4, 1), "refuted")],
)
@pytest.mark.slow
def test_claim_on_models_looks_at_snr(sigmas, status):
    order = ["MLP", "CNN2-L", "CNN3-L"]
    settings = {name: exact(20.0, s, seeds=12) for name, s in zip(order, sigmas, strict=True)}
    claim = rules.model_claim(tables.step_table(settings), order, 6, "toy")
    assert claim.status == status
    scaled = {name: 7**n * exact(2.0, 1.0) for n, name in enumerate(order)}
    alike = rules.model_claim(tables.step_table(scaled), order, 6, "toy")
    assert alike.status == "inconclusive", "the scale of the loss alone decides nothing"


def test_claim_on_the_transformer_needs_both_tests():
    noise = exact(0.001, 1.0)
    sharp = exact(50.0, 1.0)
    levels = tables.level_table({"noise": noise, "sharp": sharp})
    assert rules.transformer_claim(levels, ["noise"], "toy").status == "confirmed"
    assert rules.transformer_claim(levels, ["sharp"], "toy").status == "refuted"
    assert rules.transformer_claim(levels, ["noise", "sharp"], "toy").status == "partly"


def test_claim_on_the_published_lists():
    lists = published_lists.published_cifar10_lists()
    claim = rules.lists_claim(published_lists.list_table(lists))
    assert (claim.status, claim.estimate, claim.n) == ("confirmed", 3, 6)
    sound = {name: lists[name] for name in ("20pc", "50pc", "60pc", "test_subset")}
    assert rules.lists_claim(published_lists.list_table(sound)).status == "refuted"


# --- crops ---------------------------------------------------------------------------------------


def cropped(seed=0.3, point=0.1, shared=2.0, own=0.0, seeds=40, crops=6, points=2, queries=30):
    """Losses of models: a seed's effect, that of a point upon each seed, and of crops."""
    rng = np.random.default_rng(2)
    base = 5 + seed * rng.standard_normal((seeds, 1, 1, queries))
    removal = point * rng.standard_normal((seeds, points + 1, 1, queries))
    removal[:, 0] = 0
    crop = shared * rng.standard_normal((1, 1, crops, queries))
    crop = crop + own * rng.standard_normal((seeds, points + 1, crops, queries))
    dims = ("seed", "removal", "checkpoint", "crop", "query")
    removals = ["none", *map(str, range(points))]
    coords = {"removal": removals, "point": ("removal", [-1, *range(points)]), "checkpoint": [0]}
    whole = xr.DataArray((base + removal)[:, :, None, 0], coords, dims[:3] + dims[4:])
    both = xr.DataArray((base + removal + crop)[:, :, None], coords, dims)
    return xr.Dataset({"query_loss": whole, "crop_loss": both})


def crop_results(data, points=2):
    losses, shifts = crop_noise.crop_losses_of(data), crop_noise.crop_shifts(data, range(points))
    return shifts, crop_noise.crop_table(losses, shifts).set_index(["what", "way"])


@pytest.mark.slow
def test_ways_of_cropping_by_hand():
    data = cropped(own=0.5)
    shifts, _ = crop_results(data)
    loss = data["crop_loss"].isel(checkpoint=0).values  # (seed, removal, crop, query)
    np.testing.assert_allclose(shifts["same"][3, 4, 1], loss[3, 2, 4] - loss[3, 0, 4])
    np.testing.assert_allclose(shifts["other"][3, 4, 0], loss[3, 1, 4] - loss[3, 0, 3])
    np.testing.assert_allclose(shifts["other"][3, 4, 1], loss[3, 2, 4] - loss[3, 0, 2])
    direct = shift_upon_removal(data["query_loss"]).isel(checkpoint=0)
    np.testing.assert_allclose(shifts["fixed"].isel(crop=0), direct.values)
    looks = crop_noise.one_crop_each(shifts["same"])
    np.testing.assert_allclose(looks[7], shifts["same"][7, 1])


@pytest.mark.parametrize("points", [2, 5])
def test_another_crop_is_never_the_same(points):
    data = cropped(seed=0, point=0, shared=1.0, crops=2, points=points)
    shifts = crop_noise.crop_shifts(data, range(points))
    assert (shifts["other"] != 0).all()
    np.testing.assert_allclose(shifts["same"], 0, atol=1e-12)


@pytest.mark.slow
def test_a_crop_effect_cancels_when_both_models_see_the_same_crop():
    _, table = crop_results(cropped())
    assert table.loc[("query loss", "same"), "share"] == pytest.approx(4 / 4.09, abs=0.03)
    assert table.loc[("query loss", "same"), "seed_variance"] == pytest.approx(0.09, rel=0.2)
    assert table.loc[("shift", "same"), "share"] == pytest.approx(0, abs=1e-9)
    assert table.loc[("shift", "same"), "ratio"] == pytest.approx(1)
    assert table.loc[("shift", "other"), "crop_variance"] == pytest.approx(8, rel=0.2)
    assert table.loc[("shift", "other"), "seed_variance"] == pytest.approx(0.01, rel=0.3)
    assert table.loc[("shift", "fixed"), "share"] == 0
    claim = rules.crop_claim(table.reset_index(), 60, "toy")
    assert claim.status == "confirmed"


@pytest.mark.slow
def test_variance_of_own_crop_noise_is_counted_once_per_model():
    _, table = crop_results(cropped(shared=0.0, own=0.5))
    for way in ("same", "other"):
        assert table.loc[("shift", way), "crop_variance"] == pytest.approx(0.5, rel=0.1)
        assert table.loc[("shift", way), "seed_variance"] == pytest.approx(0.01, abs=0.01)


@pytest.mark.slow
def test_negligible_crops_refute_the_claim():
    _, table = crop_results(cropped(point=1.0, shared=0.05))
    assert rules.crop_claim(table.reset_index(), 60, "toy").status == "refuted"


# --- what the notebook declares ------------------------------------------------------------------


def configured(**given):
    return resolve(Parameters, profile="smoke", device="cpu", workers=1, **given)


def test_the_size_of_the_models_is_trained_once():
    experiment = Experiment.of(configured())
    assert experiment.models["CNN2-L"] is experiment.sizes["11 per class"]
    assert len(experiment.banks) == 9
    apart = Experiment.of(configured(crossed_size=12))
    assert len(apart.banks) == 10
    assert (apart.main, apart.control) == (12, 4)


def test_cifar10_is_only_there_if_it_is_asked_for_and_given(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    absent = Experiment.of(configured(cifar_points=1))
    assert absent.cifar10 == {}
    assert absent.banks == absent.digit_banks


def test_the_crops_shown_are_those_that_models_are_measured_on():
    experiment = Experiment.of(configured())
    task = experiment.tasks[experiment.main]
    queries, crops = experiment.crop_examples()
    assert task.query_y[queries].tolist() == [0, 1, 2]
    network = Network.of(MLP)
    theta = initial_theta(MLP, 0, torch.float32)
    measured = crop_loss(task, experiment.n_crops, 28)(network, theta, task)
    by_hand = [task.per_example_loss(network(theta, x), task.query_y[queries]) for x in crops]
    torch.testing.assert_close(measured[:, queries], torch.stack(by_hand))


# --- the shipped base ----------------------------------------------------------------------------


def test_the_shipped_base_is_the_one_the_study_used():
    base = pretraining.digits_base()
    assert base.digest.startswith("02a9d2e3156bbd2f")
    assert base.accuracy > 0.95


def test_the_base_is_written_as_it_is_read(tmp_path, monkeypatch):
    base = pretraining.digits_base()
    monkeypatch.setattr(pretraining, "pretrained_digits", lambda: base)
    pretraining.write_digits_base(tmp_path / "base.safetensors")
    shipped = Path(pretraining.__file__).parents[2] / "data" / "files" / pretraining.FILE
    assert (tmp_path / "base.safetensors").read_bytes() == shipped.read_bytes()


# --- drawings ------------------------------------------------------------------------------------


def drawn(result):
    fig, data = result
    fig.canvas.draw()
    plt.close(fig)
    return data


@pytest.mark.slow
def test_every_figure_draws_and_hands_over_its_data():
    scores = {(20, "loo"): crossed_scores(1, 1, 1), (10, "loo"): crossed_scores(1, 0, 0)}
    table = tables.component_table(scores, 12)
    assert set(drawn(plots.component_points(table, 20, 10))["weighting"]) == {"pooled"}

    names = list(plots.MODELS)
    settings = {name: exact(2.0, n + 1.0) for n, name in enumerate(names)}
    levels = tables.level_table(settings)
    trained = pd.DataFrame(
        {"setting": names, "parameters": [10, 100, 1000, 8, 8], "points": [30, 60, 90, 120, 150]}
    ).assign(steps=[15, 30, 45, 60, 75], runs=1, loss=0.1, loss_sd=0.1, sure=1.0)
    assert len(drawn(plots.size_curves(levels, trained))) == 15
    assert set(drawn(plots.model_points(levels, trained))["quantity"]) == {
        *("snr", "t_fdr", "sigma")
    }

    _, crops = crop_results(cropped())
    task = NESTED[2]
    whole = labelled(np.arange(12.0).reshape(2, 1, 6), ("seed", "crop", "query"))
    losses = {"fixed": whole, "same": xr.concat([10 * whole, 100 * whole], "crop")}
    images = torch.stack([task.query_x[[0, 4]]] * 2)
    panels = drawn(plots.crop_noise_panels(task, [0, 4], images, losses, crops.reset_index()))
    assert len(panels) == 2 * 3 + 5
    shown = panels[panels["what"] == f"query {task.query_id[4]}"]
    assert shown["loss"].tolist() == [4, 40, 400]  # of the first seed

    lists = published_lists.published_cifar10_lists()
    found = drawn(plots.list_positions(lists, published_lists.list_table(lists), bins=10))
    np.testing.assert_allclose(found.groupby("list")["share"].sum(), 1)


@pytest.mark.slow
def test_crops_of_a_bank_have_the_axes_that_tables_want():
    task = NESTED[2]
    ids = banks.common_points(NESTED, 1)
    measures = ["query_loss", crop_loss(task, 3, 28)]
    bank = banks.removal_bank(task, MLP, SHORT, ids, seed_pairs(3), measures=measures, workers=1)
    shifts, table = crop_results(bank.dataset(), len(ids))
    assert shifts["other"].dims == ("seed", "crop", "train", "query")
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)
