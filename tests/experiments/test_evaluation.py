"""Notebook 08: attenuation, targets, fragility and tables, on data whose answer is known."""

from dataclasses import replace
from functools import partial

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy import stats

from dtda_lib.data.named import get_task
from dtda_lib.experiments.evaluating_under_noise import claims as rules
from dtda_lib.experiments.evaluating_under_noise import estimands as evaluation_estimands
from dtda_lib.experiments.evaluating_under_noise import fragility as evaluation_fragility
from dtda_lib.experiments.evaluating_under_noise import lds as evaluation_lds
from dtda_lib.experiments.evaluating_under_noise import noise as evaluation_noise
from dtda_lib.experiments.evaluating_under_noise import plots as plots
from dtda_lib.experiments.evaluating_under_noise import setting as evaluation
from dtda_lib.experiments.evaluating_under_noise import tables as tables
from dtda_lib.experiments.evaluating_under_noise import words as words
from dtda_lib.experiments.evaluating_under_noise.experiment import AROUND, FACTOR
from dtda_lib.models.networks import Network, initial_theta
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.lds import SOURCES, LdsScores
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.study.evidence import load
from dtda_lib.study.headlines import headline_of
from dtda_lib.study.settings import parameters_of, resolve
from dtda_lib.theory.testbeds import AnchoredRidge

SEEDS, POINTS, QUERIES = 12, 7, 3
SIZES = {"n_seeds": 3, "n_unpaired": 3, "n_subsets": 4, "n_subset_seeds": 6}
TRAINED = {"rate": 0.05, "weight_decay": 1e-3, "steps": 24}


def shifts(values):
    return xr.DataArray(np.asarray(values, dtype=float), dims=("seed", "train", "query"))


def noisy(seed=0, n=SEEDS, points=POINTS, queries=QUERIES, noise=1.0, own=0.0, common=0.0):
    """Truth and prediction of the same runs: the same true means, noise, a part of it shared."""
    rng = np.random.default_rng(seed)
    mean = np.random.default_rng(123).standard_normal((1, points, queries))
    shared = own * rng.standard_normal((n, points, queries))
    both = []
    for _ in range(2):
        run = common * rng.standard_normal((n, 1, queries))
        both.append(mean + shared + run + noise * rng.standard_normal((n, points, queries)))
    return both


# --- components and the attenuation law ----------------------------------------------------------


def test_components_by_hand():
    one, other = noisy()
    true, noise = evaluation_noise.covariance_parts(one, other)
    for q in range(QUERIES):
        a, b = one[:, :, q], other[:, :, q]
        a = a - a.mean(axis=1, keepdims=True)
        b = b - b.mean(axis=1, keepdims=True)
        rest = sum(
            (a[s, k] - a[:, k].mean()) * (b[s, k] - b[:, k].mean())
            for s in range(SEEDS)
            for k in range(POINTS)
        ) / ((SEEDS - 1) * (POINTS - 1))
        means = np.cov(a.mean(axis=0), b.mean(axis=0))[0, 1]
        assert noise[q] == pytest.approx(rest)
        assert true[q] == pytest.approx(means - rest / SEEDS)


def test_components_are_unbiased_and_blind_to_what_a_run_does_to_all_points():
    drawn = [noisy(seed, noise=2.0, own=1.5, common=5.0) for seed in range(300)]
    parts = np.array([evaluation_noise.covariance_parts(*pair) for pair in drawn])
    mean = np.random.default_rng(123).standard_normal((1, POINTS, QUERIES))[0]
    np.testing.assert_allclose(parts[:, 0].mean(axis=0), mean.var(axis=0, ddof=1), atol=0.15)
    np.testing.assert_allclose(parts[:, 1].mean(axis=0), 1.5**2, atol=0.15)
    one, other = noisy()
    moved = one + np.arange(SEEDS)[:, None, None]
    for before, after in zip(
        evaluation_noise.covariance_parts(one, other),
        evaluation_noise.covariance_parts(moved, other),
        strict=True,
    ):
        np.testing.assert_allclose(before, after, atol=1e-12)


@pytest.mark.parametrize("protocol", evaluation_noise.PAIRINGS)
@pytest.mark.parametrize("runs", [1, 4])
def test_law_is_what_a_simulation_shows(protocol, runs):
    """Many points, so that a mean of ratios is the ratio of means; true correlation 1."""
    v, own = 1.5, 1.0
    settings = {"points": 400, "queries": 1, "noise": v, "own": own}
    same, _ = noisy(0, n=2, **settings)
    spread = float(same.mean(axis=0).var())  # only for its order of magnitude
    assert 0.5 < spread < 5
    truth, predicted = noisy(1, n=200, **settings)
    alone = noisy(2, n=200, **(settings | {"own": 3.0}))[0]
    parts = evaluation_noise.components(truth, predicted, alone)
    expected = evaluation_noise.attenuated(parts, protocol, runs, 2)
    seen = []
    for repeat in range(40):
        t, p = noisy(100 + repeat, n=8, **settings)
        if protocol == "unpaired":
            t = noisy(900 + repeat, n=8, **(settings | {"own": 3.0}))[0]
        if protocol == "paired, same seeds" and runs != 2:
            expected = evaluation_noise.attenuated(parts, protocol, runs, runs)
            rows = columns = slice(0, runs)
        else:
            rows, columns = slice(0, runs), slice(4, 6)
        seen.append(
            evaluation_noise.correlation_over_points(t[rows].mean(axis=0), p[columns].mean(axis=0))
        )
    assert expected == pytest.approx(np.mean(seen), abs=0.02)
    limit = evaluation_noise.attenuated(parts, protocol, np.inf, np.inf)
    assert limit == pytest.approx(parts["rho"]) == pytest.approx(1, abs=0.02)


def test_law_and_observation_share_no_run():
    truth, predicted = map(shifts, noisy(n=16))
    alone = shifts(noisy(5, n=16)[0])
    table = evaluation_noise.attenuation_table(truth, {"m": predicted}, alone)

    def doctored(part):
        rng = np.random.default_rng(7)
        new = [a.copy(deep=True) for a in (truth, predicted, alone)]
        for array in new:
            array[part] = rng.standard_normal(array[part].shape)
        return evaluation_noise.attenuation_table(new[0], {"m": new[1]}, new[2])

    first, second = doctored(slice(0, 8)), doctored(slice(8, 16))
    np.testing.assert_array_equal(first["observed"], table["observed"])
    np.testing.assert_array_equal(second["law"], table["law"])
    assert not np.allclose(first["law"], table["law"])
    assert not np.allclose(second["observed"], table["observed"])
    counts = table.groupby("protocol")["runs"].max()
    assert counts.to_dict() == {
        "unpaired": 8, "paired, same seeds": 8, "paired, other seeds": 4
    }  # fmt: skip


def test_observed_correlations_by_hand():
    truth, predicted = noisy(n=8)

    def r(t, p):
        return np.mean([np.corrcoef(t[:, q], p[:, q])[0, 1] for q in range(QUERIES)])

    blocks = [[0, 1], [2, 3], [4, 5], [6, 7]]
    same = [r(truth[b].mean(0), predicted[b].mean(0)) for b in blocks]
    found = evaluation_noise._observed(truth, predicted, "paired, same seeds", 2)
    assert found["observed"] == pytest.approx(np.mean(same))
    shifted = [
        r(truth[a].mean(0), predicted[b].mean(0))
        for a, b in zip(blocks, blocks[1:] + blocks[:1], strict=True)
    ]
    found = evaluation_noise._observed(truth, predicted, "paired, other seeds", 2)
    assert found["observed"] == pytest.approx(np.mean(shifted))
    assert found["low"] < found["observed"] < found["high"]
    assert found["n_blocks"] == 4


def test_plateau_takes_the_noise_off():
    truth, predicted = map(shifts, noisy(n=60, noise=2.0))
    alone = shifts(noisy(3, n=20, noise=5.0)[0])
    row = evaluation_noise.plateau_table(truth, {"m": predicted}, alone).iloc[0]
    assert row["low"] < 1 < row["high"] + 0.05
    assert row["estimate"] == pytest.approx(1, abs=0.1)
    against = evaluation_noise.plateau_table(truth, {"m": -predicted}, alone).iloc[0]
    for name in ("single", "estimate"):
        assert against[name] == pytest.approx(-row[name])


def test_one_model_against_one_unpaired_run_by_hand():
    truth, predicted = noisy(n=5)
    alone = noisy(7, n=4)[0]
    row = evaluation_noise.plateau_table(shifts(truth), {"m": shifts(predicted)}, shifts(alone))
    expected = [
        np.corrcoef(model[:, q], run[:, q])[0, 1]
        for model in predicted
        for run in alone
        for q in range(QUERIES)
    ]
    assert row["single"].iloc[0] == pytest.approx(np.mean(expected))
    assert row["single_low"].iloc[0] < row["single"].iloc[0] < row["single_high"].iloc[0]


def test_a_query_without_true_variance_upsets_nothing():
    truth, predicted = (np.concatenate(both, axis=2) for both in zip(noisy(), noisy(3)))
    silent = np.random.default_rng(5).standard_normal((2, SEEDS, POINTS, 1))
    alone = evaluation_noise.components(truth, predicted, truth)
    more = evaluation_noise.components(
        np.concatenate([truth, silent[0]], 2), np.concatenate([predicted, silent[1]], 2), truth
    )
    assert np.isfinite(more["rho"])
    assert more["rho"] == pytest.approx(alone["rho"], abs=0.15)


def test_coupling_is_known():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((4_000, 1, 2))
    after = 0.8 * base + 0.6 * rng.standard_normal((4_000, 3, 2))
    losses = xr.DataArray(np.concatenate([base, after], 1), dims=("seed", "removal", "query"))
    found = evaluation_noise.coupling(losses[:1_000])
    assert found["rho"] == pytest.approx(0.8, abs=0.02)
    assert found["saved"] == pytest.approx(5, rel=0.1)
    assert found["low"] < 5 < found["high"]
    assert evaluation_noise.coupling(7 * losses[:50] + 3)["rho"] == pytest.approx(
        evaluation_noise.coupling(losses[:50])["rho"]
    )


# --- targets -------------------------------------------------------------------------------------


def three_runs(seed=0, n=SEEDS, noise=1.0, fresh=2.0, points=POINTS, queries=QUERIES):
    """Own shifts by intervention, with true means in common; and a prediction of the masked ones
    that is off by less than the noise of a run."""
    masked, predicted = noisy(seed, n=n, points=points, queries=queries, noise=0.3, own=noise)
    rng = np.random.default_rng(seed + 1_000)
    mean = np.random.default_rng(123).standard_normal((1, points, queries))
    own = {"masked": masked} | {
        name: mean + fresh * rng.standard_normal(masked.shape)
        for name in ("re-shuffled", "deleted")
    }
    return own, predicted


def table_of(own, predicted):
    own = {name: shifts(values) for name, values in own.items()}
    found = evaluation_estimands.estimand_table(own, {"m": shifts(predicted)})
    return found[found["method"] == "m"].set_index("target")["estimate"]


def test_targets_by_hand():
    own, predicted = three_runs()
    truth = own["masked"]
    found = evaluation_estimands.target_values(own, predicted)

    def r(p, t):
        return np.mean([np.corrcoef(p[:, q], t[:, q])[0, 1] for q in range(QUERIES)])

    def off(runs):
        true, noise = evaluation_noise.covariance_parts(truth, truth)
        return np.mean([np.sqrt(max(t, 0) / (max(t, 0) + v / runs)) for t, v in zip(true, noise)])

    every = range(SEEDS)
    expected = {
        name: np.mean([r(predicted[s], runs[s]) for s in every]) for name, runs in own.items()
    } | {
        "law": np.mean([r(predicted[s], np.delete(truth, s, 0).mean(0)) for s in every])
        / off(SEEDS - 1),
        "law, many models": np.mean(
            [
                r(predicted[:6].mean(0), truth[6:].mean(0)),
                r(predicted[6:].mean(0), truth[:6].mean(0)),
            ]
        )
        / off(SEEDS / 2),
    }
    assert found == pytest.approx(expected)
    table = table_of(own, predicted)
    for name, (one, other) in evaluation_estimands.DIFFERENCES.items():
        assert table[name] == pytest.approx(expected[one] - expected[other]), name
    del own["deleted"]
    assert "deleted" not in evaluation_estimands.target_values(own, predicted)
    assert "law - deleted" not in table_of(own, predicted)


def ridge(n_seeds, seed=0):
    """Masked shifts, the exact mean shift of the law, and leverage-corrected influence, which is
    exact there: a closed form of every target."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(12), rng.standard_normal(12)])
    y = x[:, 1] + rng.standard_normal(12)
    bed = AnchoredRidge(x, y, x[:4] + 1.0, strength=0.1, anchor_sd=3.0)
    runs = bed.simulate(n_seeds, rng)
    retrained = (runs["retrained"] - runs["base"]).transpose("seed", "removal", "query").values
    exact = (bed.without().mean - bed.law().mean).transpose("removal", "query").values
    return retrained, exact, runs["leverage_corrected"].transpose("seed", "train", "query").values


def test_in_closed_form_an_exact_estimator_knows_its_run_and_the_law_as_well_as_a_run_does():
    retrained, exact, corrected = ridge(400)
    np.testing.assert_allclose(corrected, retrained, atol=1e-10)
    found = evaluation_estimands.target_values({"masked": retrained}, corrected)
    assert found["masked"] == pytest.approx(1)
    with_exact = [np.corrcoef(one[:, q], exact[:, q])[0, 1] for one in corrected for q in range(4)]
    assert found["law"] == pytest.approx(np.mean(with_exact), abs=0.02)
    assert found["law, many models"] == pytest.approx(1, abs=0.02)
    turned = evaluation_estimands.target_values({"masked": retrained}, -corrected)
    assert turned == pytest.approx({name: -value for name, value in found.items()})


@pytest.mark.parametrize("n", [8, 40])
def test_the_noise_of_the_laws_mean_is_taken_off(n):
    """Few runs and many say the same of one model, which the raw correlation does not."""
    options = {"noise": 3.0, "points": 60, "queries": 4}
    found, raw = [], []
    for seed in range(40):
        own, predicted = three_runs(seed, n=n, **options)
        found.append(evaluation_estimands.target_values(own, predicted)["law"])
        rest = (own["masked"].sum(0) - own["masked"]) / (n - 1)
        raw.append(
            np.mean([evaluation_noise.correlation_over_points(*b) for b in zip(predicted, rest)])
        )
    mean = np.random.default_rng(123).standard_normal((1, 60, 4))
    variance = mean.var(axis=1, ddof=1)  # (1, query)
    expected = np.sqrt(variance / (variance + 3.0**2 + 0.3**2)).mean()
    assert np.mean(found) == pytest.approx(expected, abs=0.015)
    if n == 8:
        assert np.mean(raw) < expected - 0.05


def test_targets_do_not_see_scale_offset_or_order_of_runs_but_whose_run_it_is():
    own, predicted = three_runs(noise=2.0)
    found = evaluation_estimands.target_values(own, predicted)
    again = evaluation_estimands.target_values(
        {name: 3 * runs + 7 for name, runs in own.items()},
        5 * predicted + np.arange(SEEDS)[:, None, None],
    )
    # The mean over models of the last one sees the constants, which are alike for all points.
    assert again == pytest.approx(found)
    order = np.random.default_rng(0).permutation(SEEDS)
    runs = {name: shifts[order] for name, shifts in own.items()}
    moved = evaluation_estimands.target_values(runs, predicted[order])
    for name in ("masked", "re-shuffled", "deleted", "law"):
        assert moved[name] == pytest.approx(found[name])
    of_others = evaluation_estimands.target_values(own, np.roll(predicted, 1, axis=0))
    assert of_others["masked"] < found["masked"] - 0.1
    single = {name: runs.astype(np.float32) for name, runs in own.items()}
    assert table_of(single, predicted.astype(np.float32))["law"] == pytest.approx(
        found["law"], abs=1e-6
    )


def test_no_true_variance_is_no_law():
    silent = np.random.default_rng(0).standard_normal((8, 5, 2))
    silent -= silent.mean(axis=0)
    found = evaluation_estimands.target_values({"masked": silent}, silent)
    assert np.isnan(found["law"])
    assert found["masked"] == pytest.approx(1)


def test_a_correlation_that_has_no_interval_has_no_value_either():
    truth = np.random.default_rng(4).standard_normal((10, 4, 3))
    truth -= 0.9 * truth.mean(axis=0)  # no true variance ...
    truth[:, :, 0] += [0.0, 1.0, 2.0, 3.0]  # ... but at the first query
    assert np.isfinite(evaluation_estimands.target_values({"masked": truth}, truth)["law"])
    truth = shifts(truth)
    table = evaluation_estimands.estimand_table({"masked": truth}, {"m": truth})
    rows = table.set_index(["method", "target"]).loc["m", ["estimate", "low", "high"]]
    assert rows.loc["law"].isna().all()
    assert rows.loc["masked"].notna().all()
    plateau = evaluation_noise.plateau_table(truth, {"m": truth}, truth).iloc[0]
    assert plateau[["estimate", "low", "high"]].isna().all()
    assert np.isfinite(plateau["single"])


def test_a_perfect_fixed_seed_method_is_a_row():
    own, predicted = three_runs(noise=2.0, fresh=3.0, points=24, queries=8)
    own = {name: shifts(values) for name, values in own.items()}
    table = evaluation_estimands.estimand_table(own, {"m": shifts(predicted)})
    rows = table.set_index(["method", "target"])
    assert rows.loc[("retrained", "masked"), "estimate"] == pytest.approx(1)
    assert rows.loc[("m", "law - deleted"), "low"] > 0
    assert rows.loc[("m", "law - masked"), "high"] < 0
    with pytest.raises(ValueError, match="at least 6"):
        evaluation_estimands.estimand_table({n: r[:5] for n, r in own.items()}, {})


@pytest.mark.slow
def test_intervals_of_a_difference_cover_it():
    """Seeds, points and queries are new each time, so an interval has to hold the mean over all."""

    def draw(seed):
        rng = np.random.default_rng(seed)
        mean = rng.standard_normal((1, 12, 8)) + rng.standard_normal((1, 12, 1))
        shared = rng.standard_normal((16, 12, 8))
        masked = mean + shared
        fresh = mean + 1.5 * rng.standard_normal(masked.shape)
        own = {"masked": masked, "re-shuffled": fresh}
        data = {name: shifts(values) for name, values in own.items()}
        return data | {"predicted": shifts(masked + rng.standard_normal(masked.shape))}

    names, found = ["law - masked", "law - re-shuffled"], []
    for seed in range(120):
        data = xr.Dataset(draw(seed))
        found.append(
            over_sets(data, evaluation_estimands._values, groups=evaluation_noise.NOISE_GROUPS).sel(
                target=names
            )
        )
    found = xr.concat(found, "repeat")
    truth = found["estimate"].mean("repeat")
    covered = ((found["low"] <= truth) & (truth <= found["high"])).mean("repeat")
    assert (covered >= 0.9).all(), covered.values


# --- fragility -----------------------------------------------------------------------------------


def test_relative_distance_is_known():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((200, 50))
    fresh = rng.standard_normal((200, 3, 50))
    assert evaluation_fragility.relative_distance(base, fresh)["estimate"] == pytest.approx(
        1, abs=0.05
    )
    near = base[:, None] + 0.01 * fresh
    found = evaluation_fragility.relative_distance(base, near)
    assert found["estimate"] == pytest.approx(0.01 / np.sqrt(2), rel=0.05)
    assert found["low"] < found["estimate"] < found["high"]
    scaled = evaluation_fragility.relative_distance(3 * base + 1, 3 * near + 1)
    assert scaled["estimate"] == pytest.approx(found["estimate"])
    few, its = base[:4], near[:4]
    pairs = [((few[i] - few[j]) ** 2).sum() for i in range(4) for j in range(4) if i != j]
    own = [((its[s, k] - few[s]) ** 2).sum() for s in range(4) for k in range(3)]
    assert evaluation_fragility.relative_distance(few, its)["estimate"] == pytest.approx(
        np.sqrt(np.mean(own) / np.mean(pairs))
    )
    with pytest.raises(ValueError, match="four"):
        evaluation_fragility.relative_distance(base[:3], near[:3])


def test_a_deleted_point_is_gone():
    task = get_task("concrete", n_train=5, n_query=2)
    smaller = evaluation.without(task, 3)
    assert smaller.train_id == (*task.train_id[:3], task.train_id[4])
    assert (smaller.train_x[3] == task.train_x[4]).all()
    assert smaller.n_train == 4
    with pytest.raises(ValueError, match="no training point"):
        evaluation.without(task, 5)


# --- what is trained -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    """Ten points for six steps: enough to see axes, seeds and signs."""
    setting = evaluation.concrete_setting(n_points=2, width=4, **TRAINED, **SIZES)
    task = replace(
        setting.task,
        train_x=setting.task.train_x[:10],
        train_y=setting.task.train_y[:10],
        train_id=setting.task.train_id[:10],
        query_x=setting.task.query_x[:3],
        query_y=setting.task.query_y[:3],
        query_id=setting.task.query_id[:3],
    )
    recipe = replace(setting.recipe, epochs=3, batch_size=5)
    small = {"task": task, "recipe": recipe, "points": (0, 4, 9), "n_seeds": 6}
    return replace(setting, **small, machine={"workers": 1})


def test_settings_spread_the_points():
    sizes = {"n_points": 5, **TRAINED, **SIZES}
    concrete = evaluation.concrete_setting(width=4, **sizes)
    digits = evaluation.digits_setting(width=4, **sizes)
    cnn = evaluation.cnn_setting(per_digit=3, **sizes)
    assert concrete.points == (0, 50, 100, 149, 199)
    assert concrete.steps == 24
    assert digits.task.train_x.shape == (300, 1, 7, 7)
    assert cnn.task.train_x.shape == (15, 1, 14, 14)
    for one, queries in ((digits, 4), (cnn, 2)):
        assert sorted(one.task.train_y[list(one.points)].tolist()) == [0, 1, 2, 3, 4]
        assert one.task.n_outputs == 5
        assert sorted(one.task.query_y.tolist()) == sorted(queries * list(range(5)))
    full = get_task("mnist3", per_class=60, queries_per_class=4, digits=range(5))
    corner = full.query_x[1, 0, :4, 4:8].mean()
    assert float(digits.task.query_x[1, 0, 0, 1]) == pytest.approx(float(corner), rel=1e-5)
    assert cnn.methods == evaluation.CHEAP
    with pytest.raises(ValueError, match="left out"):
        evaluation.concrete_setting(width=4, **(sizes | {"n_points": 201}))


def test_another_regime_differs_in_rate_length_and_models_alone(tiny):
    other = tiny.at(0.2, 8, 7, deletes=False)
    assert other.recipe == replace(tiny.recipe, lr=0.2, epochs=4)
    assert (other.steps, other.n_seeds, other.points) == (8, 7, tiny.points)
    assert other.task is tiny.task
    assert set(other.methods) == set(evaluation.MAPPED)
    assert other.deleted == []
    assert len(other.banks) == len(tiny.banks) - len(tiny.points) - 2


def test_the_small_network_is_as_large_as_it_says():
    network = Network.of(partial(evaluation.SmallCNN, 5))
    assert network.layout.n_parameters == 1_573
    outputs = network(initial_theta(partial(evaluation.SmallCNN, 5), 0), torch.zeros(2, 1, 14, 14))
    assert outputs.shape == (2, 5)


def test_every_data_set_has_its_base_and_regimes_around_it():
    cfg = resolve(parameters_of("08_evaluating_under_noise"), profile="paper", device="cpu")
    for name, around in AROUND.items():
        rates = {factor for factor, _, _ in around}
        lengths = {number for _, number, _ in around}
        assert 1 / FACTOR in rates, name
        assert (1, 0) not in [one[:2] for one in around], "the base is no regime around itself"
        assert max(lengths) < len(cfg.lengths)
    assert sum(1 + len(around) for around in AROUND.values()) <= 12, "rows of the map's table"


def test_seeds_of_parts_are_disjoint():
    parts = ("models", "truth", "unpaired", "batches")
    assert len(set.union(*(set(evaluation.seeds(40, what)) for what in parts))) == 160
    with pytest.raises(ValueError, match="parts"):
        evaluation.seeds(3, "else")


def test_group_designs_leave_out_what_they_say():
    design, groups = evaluation.group_designs(20, 5, np.random.default_rng(0))
    assert {name: {len(g) for g in part} for name, part in groups.items()} == {
        evaluation.HALF: {10},
        evaluation.SMALL: {2},
    }
    assert len(design) == 11
    every = groups[evaluation.HALF] + groups[evaluation.SMALL]
    for row, label, group in zip(design.weights[1:], design.labels[1:], every, strict=True):
        assert (row == 0).nonzero().flatten().tolist() == group
        assert label == "+".join(map(str, group))


@pytest.mark.slow
def test_scores_of_banks(tiny):
    own = tiny.shifts.own
    assert list(own) == ["masked", "re-shuffled", "deleted"]
    found = own["masked"]
    assert found.dims == ("seed", "train", "query")
    assert found["train"].values.tolist() == [0, 4, 9]
    loss = tiny.moved.dataset()["query_loss"].isel(checkpoint=-1).astype(float).values
    np.testing.assert_allclose(found[1, 2], loss[1, 3] - loss[1, 0])
    np.testing.assert_allclose(own["re-shuffled"][1, 2], loss[1, 7] - loss[1, 0])
    gone = tiny.deleted[2].dataset()["query_loss"].isel(checkpoint=-1).astype(float).values
    np.testing.assert_allclose(own["deleted"][1, 2], gone[1, 0] - loss[1, 0])
    alone = tiny.unpaired
    shift = evaluation.unpaired_shifts(alone)
    loss = alone.dataset()["query_loss"].isel(checkpoint=-1).astype(float)
    np.testing.assert_allclose(shift[1, 2], loss[1, 3] - loss[:, 0].mean("seed"))
    assert len(np.unique(alone.runs.init_seeds)) == alone.runs.init_seeds.size
    scores = tiny.shifts.everywhere
    assert list(scores) == [*evaluation.methods_of(tiny), "source", "unrolling"]
    assert set(evaluation_lds.WITH_UNIT) - {"trak"} <= set(scores)
    assert "trak" not in scores
    sizes = {name: float((one**2).mean()) for name, one in scores.items()}
    for name in ("grad_dot", "grad_cos", "ats_adam", "ats_sgd"):
        assert sizes[name] == pytest.approx(sizes["if_damped"])
    assert sizes["if_ggn"] > sizes["if_damped"]
    at = tiny.shifts.predicted["unrolling"]
    # Same runs, first order: nearly the retrained shift after three epochs.
    agreement = evaluation_noise.correlation_over_points(at[0].values, found[0].values)
    assert agreement > 0.9
    forward = replace(tiny, n_seeds=2).at(tiny.recipe.lr, 6, 2, deletes=False)
    assert forward.recipe == tiny.recipe
    np.testing.assert_allclose(
        forward.followed.dataset()["query_loss"].squeeze(drop=True), at[:2], rtol=1e-3, atol=1e-6
    )


@pytest.mark.slow
def test_interventions_change_batches_and_nothing_else(tiny):
    runs = tiny.moved.runs
    init, order = runs.init_seeds, runs.order_seeds
    assert (init == init[:, :1]).all()
    assert (order[:, :4] == order[:, :1]).all()
    assert len(np.unique(order[:, 4:])) == 24
    assert (runs.design.weights[:4] == runs.design.weights[4:]).all()
    for bank, point in zip(tiny.deleted, tiny.points, strict=True):
        assert bank.task.train_id == tuple(np.delete(tiny.task.train_id, point))
        np.testing.assert_array_equal(bank.runs.order_seeds[:, 0], order[:, 0])
    rows = evaluation_fragility.fragility_table(tiny).set_index("intervention")
    assert set(rows.index) == set(evaluation.INTERVENTIONS)
    predicted = tiny.moved.dataset()["query_prediction"].isel(checkpoint=-1).values.astype(float)
    own = ((predicted[:, 1:4] - predicted[:, :1]) ** 2).sum((-2, -1)).mean()
    between = 2 * predicted[:, 0].var(axis=0, ddof=1).sum()
    assert rows.loc["masked", "estimate"] == pytest.approx(np.sqrt(own / between))
    assert rows["n_points"].to_dict() == {
        "masked": 3, "re-shuffled": 3, "deleted": 3, "batches alone": 1
    }  # fmt: skip


# --- LDS tables ----------------------------------------------------------------------------------


def scores_of(table, error=0.02, metrics=("mean", "w2_debiased", "log_variance_ratio")):
    """Scores whose jackknife error is known: each source moves each score on its own."""
    table = np.asarray(table, dtype=float)
    rng = np.random.default_rng(0)
    left_out = {}
    for source in SOURCES:
        draws = rng.standard_normal((30, *table.shape))
        draws -= draws.mean(axis=0)
        draws *= error / np.sqrt(3) / np.sqrt(29 / 30 * (draws**2).sum(axis=0))
        left_out[source] = table + draws
    names = tuple(f"m{i}" for i in range(table.shape[1]))
    one = np.ones(len(table))
    return LdsScores(metrics, names, table, left_out, 0.64 * one, np.ones_like(table), 0 * table)


def test_separation_by_hand():
    rows = [[0.1, 0.2, 0.3], [0.6, 0.4, 0.2], [0.1, 0.2, 0.3]]
    table = evaluation_lds.separation_table({("toy", "half"): scores_of(rows)})
    found = table.set_index("metric")
    spread = np.var([0.6, 0.4, 0.2], ddof=1)
    noise = found.loc["w2_debiased", "spread"] ** 2 * 0.64
    assert noise == pytest.approx(spread - 0.02**2, rel=0.05)
    assert found.loc["w2_debiased", ["reversed", "alike", "pairs"]].tolist() == [3, 0, 3]
    assert found.loc["mean", ["reversed", "alike", "pairs"]].tolist() == [0, 3, 3]
    assert found.loc["w2_debiased", "by_mean"] == found.loc["mean", "spread"]
    assert found.loc["w2_debiased", "gap_by_mean"] == found.loc["mean", "gap"]
    assert found.loc["w2_debiased", "low"] > 0
    assert found.loc["log_variance_ratio", "reversed"] == 0
    assert found.loc["mean", ["more", "low", "high"]].tolist() == [0, 0, 0]
    assert found.loc["w2_debiased", "gap"] == pytest.approx(0.2 / (0.02 * np.sqrt(2)), rel=0.3)
    loud = scores_of(rows, error=0.1)
    pairs = [(0, 1), (0, 2), (1, 2)]
    errors = loud.interval(lambda t: np.stack([t[..., i] - t[..., j] for i, j in pairs], -1))[1]
    spread = np.sqrt(np.var(rows[1], ddof=1) - (errors[1] ** 2).mean() / 2) / 0.8
    again = evaluation_lds.separation_table({("toy", "half"): loud}).set_index("metric")
    assert again.loc["w2_debiased", "spread"] == pytest.approx(spread)
    close = scores_of([[0.2, 0.205, 0.21], *rows[1:]])  # the mean tells no pair apart
    again = evaluation_lds.separation_table({("toy", "half"): close}).set_index("metric")
    assert again.loc["w2_debiased", ["reversed", "alike"]].tolist() == [0, 0]
    blurred = scores_of(rows, error=0.5)
    again = evaluation_lds.separation_table({("toy", "half"): blurred}).set_index("metric")
    assert again.loc["w2_debiased", ["reversed", "alike"]].tolist() == [0, 0]


def test_only_some_methods():
    scores = evaluation_lds.only(scores_of([[0.1, 0.2, 0.3]], metrics=("mean",)), ["m2", "m0"])
    assert scores.methods == ("m0", "m2")
    np.testing.assert_array_equal(scores.estimate, [[0.1, 0.3]])
    assert all(values.shape == (30, 1, 2) for values in scores.left_out.values())
    assert scores.ceiling.shape == (1, 2)
    assert "grad_dot" not in evaluation_lds.WITH_UNIT
    assert {"if_damped", "unrolling"} < set(evaluation_lds.WITH_UNIT)


def test_lds_table_has_every_cell():
    table = evaluation_lds.lds_table({("toy", "half"): scores_of([[0.1, 0.5]], metrics=("mean",))})
    assert table["lds"].tolist() == [0.1, 0.5]
    assert table["error"].tolist() == pytest.approx([0.02, 0.02])
    assert table["ceiling"].tolist() == pytest.approx([0.8, 0.8])
    assert (table["low"] < table["lds"]).all()


@pytest.mark.slow
def test_group_scores_of_a_bank(tiny):
    bank, groups = tiny.subsets, tiny.groups
    assert isinstance(bank, RunBank)
    base = xr.DataArray(np.random.default_rng(0).standard_normal((6, 3)), dims=("seed", "query"))
    each = np.random.default_rng(1).standard_normal((6, 10, 3))
    chosen = groups[evaluation.SMALL]
    found = evaluation_lds.group_scores(
        bank, chosen, base, {"m": shifts(each)}, np.random.default_rng(0)
    )
    truth = evaluation.laws_after(bank, chosen) - evaluation.law_before(bank)
    members = np.array([each[:, group].sum(axis=1).mean(axis=0) for group in chosen])
    expected = [
        stats.spearmanr(truth.mean("seed")[:, q], members[:, q]).statistic for q in range(3)
    ]
    assert found.estimate[found.metrics.index("mean"), 0] == pytest.approx(np.mean(expected))
    floors = evaluation_lds.sampling_share_table({"toy": tiny})
    assert (floors["sampling_share"] < 1).all()
    assert (floors["unpaired_share"] > 0).all()


# --- claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("single", "limit", "status"),
    [
        (0.1, (0.6, 0.8), "confirmed"),
        (0.4, (0.6, 0.8), "partly"),
        (0.1, (0.4, 0.8), "inconclusive"),
        (0.1, (0.2, 0.4), "refuted"),
    ],
)
def test_noisy_and_not_broken(single, limit, status):
    row = {"method": "if_ggn", "estimate": sum(limit) / 2, "low": limit[0], "high": limit[1]}
    row |= {"single": single, "single_low": single - 0.02, "single_high": single + 0.02}
    limits = pd.DataFrame([row | {"method": "grad_dot"}, row]).assign(n_seeds=9)
    (claim,) = rules.noisy_claims(limits, "Toy, 3 points")
    assert (claim.id, claim.status) == ("C8-toy-if_ggn", status)


@pytest.mark.parametrize(
    ("law", "status"), [(0.55, "confirmed"), (0.65, "inconclusive"), (0.9, "refuted")]
)
def test_attenuation(law, status):
    curves = pd.DataFrame({"method": "if_ggn", "runs": 1, "observed": 0.5, "law": [0.5, law]})
    claim = rules.attenuation_claim(curves.assign(protocol="unpaired"), "Toy, 3 points")
    assert claim.status == status


def regimes(*cis, targets=("law - deleted",), method="if_damped", data="Toy"):
    """A row a regime and target, the base regime first."""
    rows = [
        {"rate": 0.1 * (at + 1), "steps": 300, "base": at == 0, "target": target,
         "estimate": sum(ci) / 2, "low": ci[0], "high": ci[1]}
        for at, ci in enumerate(cis)
        for target in targets
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(data=data, method=method, n_seeds=9)


LAW, EVEN, OWN, OPEN = (0.05, 0.1), (-0.01, 0.01), (-0.3, -0.2), (-0.1, 0.1)


@pytest.mark.parametrize(
    ("cis", "status"),
    [
        ((LAW, LAW), "confirmed"),
        ((LAW, OWN), "partly"),
        ((LAW, OPEN), "partly"),
        ((OPEN, OWN), "inconclusive"),
        ((EVEN, OWN), "refuted"),
    ],
)
def test_the_law_must_win_in_every_regime(cis, status):
    (claim,) = rules.target_claims(regimes(*cis))
    assert (claim.id, claim.status) == ("C12-toy-if_damped-deleted", status)
    assert claim.ci == cis[0]  # of the base regime
    assert "rate 0.2, 300 steps" in claim.statistic
    (claim,) = rules.practised_claims(regimes(*cis, targets=("many on law - masked",)))
    assert (claim.id, claim.status) == ("C12-toy-if_damped-practised", status)


def test_each_intervention_and_influence_function_has_a_claim_of_its_own():
    targets = [f"law - {name}" for name in evaluation_estimands.OWN]
    table = pd.concat(
        regimes(LAW, targets=targets, method=method) for method in (*rules.INFLUENCE, "unrolling")
    )
    claims = {claim.id: claim for claim in rules.target_claims(table)}
    assert len(claims) == 3 * len(rules.INFLUENCE)
    assert not any("unrolling" in name for name in claims)
    kinds = {name: headline_of(name) for name in claims}
    assert kinds["C12-toy-if_damped-masked"] is None, "the other side's best case is no variant"
    assert kinds["C12-toy-if_damped-deleted"].id == "C12"
    assert claims["C12-toy-bif-deleted"].claim.endswith("by more than 0.02 of a correlation")


@pytest.mark.parametrize(
    ("cis", "status"),
    [
        (((0.92, 0.97), (0.95, 0.99)), "confirmed"),
        (((0.92, 0.97), (0.3, 0.5)), "partly"),
        (((0.5, 0.6), (0.3, 0.5)), "refuted"),
    ],
)
def test_the_metagradient_must_predict_its_own_run_almost_exactly(cis, status):
    table = regimes(*cis, targets=("masked", "law"), method="unrolling")
    (claim,) = rules.metagradient_claims(table)
    assert (claim.id, claim.status) == ("C12-toy-metagradient", status)


def test_fragility_is_decided_by_intervention_over_all_regimes():
    values = {"masked": (0.1, 0.2), "re-shuffled": (0.9, 0.8), "deleted": (0.9, 0.2)}
    table = pd.concat(
        regimes(*((0.9 * v, 1.1 * v) for v in pair), targets=("",), data=data).assign(
            intervention=name
        )
        for name, pair in values.items()
        for data in ("Concrete", "Toy")
    )
    claims = {c.id: c for c in rules.fragility_claims(table)}
    assert {name: claim.status for name, claim in claims.items()} == {
        "C13-deleted-predictions": "partly",
        "C13-re-shuffled-predictions": "confirmed",
        "C13-masked-predictions": "refuted",
        "C13-deleted-predictions-toy": "partly",
        "C13-re-shuffled-predictions-toy": "confirmed",
        "C13-masked-predictions-toy": "refuted",
    }
    assert claims["C13-masked-predictions"].estimate == pytest.approx(0.1)  # of the base regime
    assert headline_of("C13-masked-predictions-toy") is None


def test_order_and_separation_must_agree_in_all_settings():
    row = {"setting": "toy", "size": "half", "pairs": 3, "alike": 2, "reversed": 0}
    row |= {"more": 0.1, "low": 0.05, "high": 0.15, "subsets": 40, "spread": 0.3, "by_mean": 0.2}
    both = [row | {"metric": metric} for metric in evaluation_lds.LAW_METRICS]
    table = pd.DataFrame(both)
    assert [c.status for c in rules.order_claims(table)] == ["refuted"] * 2
    assert [c.status for c in rules.separation_claims(table)] == ["confirmed"] * 2
    more = pd.DataFrame([*both, row | {"metric": evaluation_lds.LAW_METRICS[0], "reversed": 1}])
    assert [c.status for c in rules.order_claims(more)] == ["partly", "refuted"]
    assert [(c.estimate, c.n) for c in rules.order_claims(more)] == [(1, 6), (0, 3)]
    least = {"metric": evaluation_lds.LAW_METRICS[0], "more": 0.02, "low": -0.01, "high": 0.05}
    worst, _ = rules.separation_claims(pd.DataFrame([*both, row | least | {"subsets": 7}]))
    assert (worst.estimate, worst.ci, worst.n) == (0.02, (-0.01, 0.05), 7)
    unlike = pd.DataFrame([one | {"alike": 1} for one in both])
    assert [c.status for c in rules.order_claims(unlike)] == ["inconclusive"] * 2


# --- sentences -----------------------------------------------------------------------------------


def test_regimes_in_which_the_own_run_is_predicted_better_are_named():
    targets = [f"law - {name}" for name in evaluation_estimands.OWN]
    said = words.map_words(regimes(LAW, OWN, OPEN, targets=targets)).data
    assert "**Own run deleted**" in said
    assert "the law better in 1 of 3 regimes, the own run in 1 (Toy 0.2, 300 steps)" in said


def test_sentences_on_lds():
    table = pd.DataFrame(
        {"setting": "toy", "size": "half", "metric": metric, "method": method, "lds": lds,
         "low": lds - 0.1, "null": 0.3, "ceiling": 0.95}
        for metric in evaluation_lds.SHOWN_METRICS
        for method, lds in (("unrolling", 0.6), ("if_ekfac", 0.7), ("bif", 0.35))
    )  # fmt: skip
    said = words.blind_words(table).data
    assert "permuted subsets: Bayesian IF (mean), Bayesian IF" in said
    assert "EK-FAC" not in said


def test_the_answer_follows_the_evidence():
    evidence = doctored(load(), {})
    said = " ".join(words.answer(evidence))
    assert len(words.answer(evidence)) == 5
    assert "_" not in said
    for name, status, told in (
        ("C8-concrete-if_damped", "confirmed", "noisy, not broken"),
        ("C8-concrete-if_damped", "refuted", "more than noisy"),
        ("C9-separation-w2_debiased-with-unit", "confirmed", "in all of them"),
    ):
        assert told in " ".join(words.answer(doctored(evidence, {name: status})))


@pytest.mark.parametrize(
    ("say", "name", "status", "told"),
    [
        (words._deleted, "deleted", "confirmed", "in all of them"),
        (words._deleted, "deleted", "partly", "in some of them"),
        (words._deleted, "deleted", "refuted", "in none of them"),
        (words._masked, "masked", "confirmed", "The same holds"),
        (words._masked, "masked", "refuted", "no such lead"),
        (words._masked, "masked", "partly", "rate and length decide"),
    ],
)
def test_the_answer_says_who_wins(say, name, status, told):
    (claim,) = rules.target_claims(regimes(LAW, targets=(f"law - {name}",)))
    said = say(replace(claim, status=status))
    assert told in said
    assert "0.075 [0.050, 0.100]" in said


def doctored(evidence, statuses):
    """As if the notebook had been run at the published sizes, with these statuses."""
    findings = {
        name: replace(known, profile="paper") if known.notebook.startswith("08") else known
        for name, known in evidence.findings.items()
    }
    for name, status in statuses.items():
        findings[name] = replace(known := findings[name], claim=replace(known.claim, status=status))
    return replace(evidence, findings=findings)


def test_tables_show_display_names():
    table = pd.DataFrame({"method": ["if_damped"], "metric": ["w2_debiased"], "lds": [0.5]})
    assert tables.with_display_names(table).iloc[0].tolist() == [
        "damped Gauss-Newton IF",
        "W2, debiased",
        0.5,
    ]
    wide = table.pivot(index="method", columns="metric", values="lds")
    assert list(tables.with_display_names(wide).columns) == ["W2, debiased"]
    assert list(tables.with_display_names(wide).index) == ["damped Gauss-Newton IF"]


# --- drawings ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_drawings_show_their_data():
    truth, predicted = map(shifts, noisy(n=16))
    alone = shifts(noisy(5, n=16)[0])
    methods = {"if_damped": predicted, "unrolling": truth}
    curves = evaluation_noise.attenuation_table(truth, methods, alone).assign(setting="toy")
    limits = evaluation_noise.plateau_table(truth, methods, alone).assign(setting="toy")
    own = {name: truth for name in evaluation_estimands.OWN}
    estimands = pd.concat(
        evaluation_estimands.estimand_table(own, methods).assign(
            data=data, rate=rate, steps=300, base=rate == 0.1
        )
        for data in ("toy", "other")
        for rate in (0.1, 0.2)
    )
    lds = evaluation_lds.lds_table({("toy", "half"): scores_of(np.full((3, 2), 0.4))})
    lds["method"] = lds["method"].map({"m0": "if_damped", "m1": "unrolling"})
    moved = pd.concat(
        regimes((0.1, 0.2), (0.2, 0.3), targets=("",), data=data).assign(intervention=name)
        for data in ("toy", "other")
        for name in evaluation.INTERVENTIONS
    )
    drawn = {
        "map": (plots.dispute_map(estimands), 2 * 2 * 2 * 3),
        "curves": (plots.correlation_curves(curves, limits), len(curves)),
        "estimands": (plots.estimand_dots(estimands), 2 * 3 * 4),
        "lds": (plots.lds_dots(lds, "toy"), 6),
        "fragility": (plots.fragility_points(moved), len(moved)),
    }
    for name, ((fig, data), rows) in drawn.items():
        assert len(data) == rows, name
        assert fig.axes, name
        plt.close(fig)
    table = tables.best_methods(estimands)
    assert len(table) == 4
    assert table["masked"].str.startswith("unrolling 1.00").all()
