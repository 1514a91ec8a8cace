"""Notebook 08: attenuation, targets, fragility and tables, on data whose answer is known."""

from dataclasses import replace

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

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
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.statistics.lds import SOURCES, Scores
from dtda_lib.study.evidence import load

SEEDS, POINTS, QUERIES = 12, 7, 3
SIZES = {"n_seeds": 3, "n_unpaired": 3, "n_subsets": 4, "n_subset_seeds": 6}


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


@pytest.mark.parametrize("protocol", evaluation_noise.PROTOCOLS)
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
    table = evaluation_noise.curve_table(truth, {"m": predicted}, alone)

    def doctored(part):
        rng = np.random.default_rng(7)
        new = [a.copy(deep=True) for a in (truth, predicted, alone)]
        for array in new:
            array[part] = rng.standard_normal(array[part].shape)
        return evaluation_noise.curve_table(new[0], {"m": new[1]}, new[2])

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
    row = evaluation_noise.plateau_table(truth, {"m": predicted}).iloc[0]
    assert row["low"] < 1 < row["high"] + 0.05
    assert row["estimate"] == pytest.approx(1, abs=0.1)
    against = evaluation_noise.plateau_table(truth, {"m": -predicted}).iloc[0]
    assert against["estimate"] == pytest.approx(-row["estimate"])


def test_a_query_without_true_variance_upsets_nothing():
    truth, predicted = (np.concatenate(both, axis=2) for both in zip(noisy(), noisy(3)))
    silent = np.random.default_rng(5).standard_normal((2, SEEDS, POINTS, 1))
    alone = evaluation_noise.components(truth, predicted, truth)
    more = evaluation_noise.components(
        np.concatenate([truth, silent[0]], 2), np.concatenate([predicted, silent[1]], 2), truth
    )
    assert np.isfinite(more["rho"])
    assert more["rho"] == pytest.approx(alone["rho"], abs=0.15)


def test_noise_that_is_a_factor_is_told_from_noise_that_is_added():
    truth, _ = noisy(n=60, points=20, noise=0.3)
    rng = np.random.default_rng(0)
    mean = truth.mean(axis=0, keepdims=True)
    multiplied = mean * rng.uniform(0.5, 1.5, (60, 1, QUERIES))
    rows = evaluation_noise.factor_table(shifts(truth), {"m": shifts(multiplied)}).set_index("of")
    assert rows.loc["m", "factor"] == pytest.approx(1)
    assert rows.loc["retrained", "factor"] == pytest.approx(1 / 19, abs=0.02)
    assert rows.loc["retrained", "chance"] == pytest.approx(1 / 19)
    assert evaluation_noise.correlation_over_points(multiplied[0], mean[0]) == pytest.approx(1)


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


def test_targets_by_hand():
    truth, predicted = noisy(own=1.0)
    found = evaluation_estimands.target_values(truth, predicted)

    def r(p, t):
        return np.mean([np.corrcoef(p[:, q], t[:, q])[0, 1] for q in range(QUERIES)])

    every = range(SEEDS)

    def rest(array, s):
        return np.delete(array, s, 0).mean(axis=0)

    expected = {
        ("one model", "own run"): [r(predicted[s], truth[s]) for s in every],
        ("one model", "other run"): [
            r(predicted[s], truth[o]) for s in every for o in every if o != s
        ],
        ("one model", "law"): [r(predicted[s], rest(truth, s)) for s in every],
        ("average", "other run"): [r(rest(predicted, s), truth[s]) for s in every],
        ("average", "law"): [
            r(predicted[:6].mean(0), truth[6:].mean(0)),
            r(predicted[6:].mean(0), truth[:6].mean(0)),
        ],
    }
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(np.mean(values)), key


def test_a_method_that_knows_its_run_and_one_that_knows_the_law():
    truth, _ = noisy(n=30, noise=1.0)
    mean = np.random.default_rng(123).standard_normal((1, POINTS, QUERIES))
    law = mean + 0.01 * np.random.default_rng(1).standard_normal(truth.shape)
    table = evaluation_estimands.estimand_table(
        shifts(truth), {"run": shifts(truth), "law": shifts(law)}
    ).set_index(["method", "scored", "target"])
    assert table.loc[("run", "one model", "own run"), "estimate"] == pytest.approx(1)
    name = "law - own run"
    assert table.loc[("run", "one model", name), "high"] < 0
    assert table.loc[("law", "one model", name), "low"] > 0
    same = table.loc["run", ["estimate", "low", "high"]]
    pd.testing.assert_frame_equal(same, table.loc["retrained", ["estimate", "low", "high"]])
    scaled = evaluation_estimands.estimand_table(shifts(truth), {"law": shifts(5 * law + 2)})
    again = scaled.set_index(["method", "scored", "target"])
    one = ("law", "one model", "law")
    assert again.loc[one, "estimate"] == pytest.approx(table.loc[one, "estimate"])


def test_difference_of_methods_is_that_of_the_table():
    truth, predicted = map(shifts, noisy(own=1.0))
    other = shifts(noisy(9)[1])
    table = evaluation_estimands.estimand_table(truth, {"a": predicted, "b": other})
    rows = table[table["scored"] == "one model"].set_index(["method", "target"])["estimate"]
    for target in evaluation_estimands.TARGETS:
        found = evaluation_estimands.method_difference(truth, predicted, other, target)
        assert found["estimate"] == pytest.approx(rows["a", target] - rows["b", target])
        assert found["low"] < found["estimate"] < found["high"]


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
    smaller = evaluation_fragility.without(task, 3)
    assert smaller.train_id == (*task.train_id[:3], task.train_id[4])
    assert (smaller.train_x[3] == task.train_x[4]).all()
    assert smaller.n_train == 4
    with pytest.raises(ValueError, match="no training point"):
        evaluation_fragility.without(task, 5)


# --- what is trained -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    """Ten points for six steps: enough to see axes, seeds and signs."""
    from dataclasses import replace

    setting = evaluation.concrete_setting(2, 3, **SIZES)
    task = replace(
        setting.task,
        train_x=setting.task.train_x[:10],
        train_y=setting.task.train_y[:10],
        train_id=setting.task.train_id[:10],
    )
    recipe = replace(setting.recipe, epochs=3, batch_size=5)
    small = {"task": task, "recipe": recipe, "points": (0, 4, 9)}
    return replace(setting, **small, machine={"workers": 1})


@pytest.mark.slow
def test_settings_spread_the_points():
    concrete, digits = (
        evaluation.concrete_setting(4, 5, **SIZES),
        evaluation.digits_setting(3, 2, **SIZES),
    )
    assert concrete.points == (0, 26, 53, 79)
    assert digits.task.train_x.shape == (30, 1, 7, 7)
    assert sorted(digits.task.train_y[list(digits.points)].tolist()) == [0, 1, 2]
    full = get_task("mnist3", per_class=10, queries_per_class=2)
    corner = full.query_x[1, 0, :4, 4:8].mean()
    assert float(digits.task.query_x[1, 0, 0, 1]) == pytest.approx(float(corner), rel=1e-5)
    with pytest.raises(ValueError, match="left out"):
        evaluation.concrete_setting(81, 5, **SIZES)


def test_seeds_of_parts_are_disjoint():
    parts = [set(evaluation.seeds(40, what)) for what in ("models", "truth", "unpaired")]
    assert len(set.union(*parts)) == 120
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
    bank = tiny.paired
    found = evaluation.retrained_shifts(bank)
    assert found.dims == ("seed", "train", "query")
    assert found["train"].values.tolist() == [0, 4, 9]
    loss = bank.dataset()["query_loss"].isel(checkpoint=-1).astype(float)
    np.testing.assert_allclose(found[1, 2], loss[1, 3] - loss[1, 0])
    alone = tiny.unpaired
    shift = evaluation.unpaired_shifts(alone)
    loss = alone.dataset()["query_loss"].isel(checkpoint=-1).astype(float)
    np.testing.assert_allclose(shift[1, 2], loss[1, 3] - loss[:, 0].mean("seed"))
    assert len(np.unique(alone.runs.init_seeds)) == alone.runs.init_seeds.size
    scores = tiny.shifts.everywhere
    assert list(scores) == [*evaluation.methods_of(tiny.task), "source", "unrolling"]
    assert set(evaluation_lds.WITH_UNIT) - {"trak"} <= set(scores)
    assert "trak" not in scores
    sizes = {name: float((one**2).mean()) for name, one in scores.items()}
    for name in ("grad_dot", "grad_cos", "ats_adam", "ats_sgd"):
        assert sizes[name] == pytest.approx(sizes["if_damped"])
    assert sizes["if_ggn"] > sizes["if_damped"]
    assert found.identical(tiny.shifts.retrained)
    assert shift.identical(tiny.shifts.unpaired)
    at = tiny.shifts.predicted["unrolling"]
    # Same runs, first order: nearly the retrained shift after three epochs.
    agreement = evaluation_noise.correlation_over_points(at[0].values, found[0].values)
    assert agreement > 0.9
    other = evaluation_noise.correlation_over_points(at[0].values, -found[0].values)
    assert other < -0.9


@pytest.mark.slow
def test_fragility_banks_change_batches_and_nothing_else(tiny):
    bank = evaluation_fragility.fragility_banks(tiny, [0.05], tiny.points, 4)[0.05]
    init, order = bank.runs.init_seeds, bank.runs.order_seeds
    assert (init == init[:, :1]).all()
    assert (order[:, :4] == order[:, :1]).all()
    assert len(np.unique(order[:, 4:])) == 16
    assert (bank.runs.design.weights[:4] == bank.runs.design.weights[4:]).all()
    deleted = evaluation_fragility.smaller_banks(tiny, [4], 4)
    table = evaluation_fragility.fragility_table({0.05: bank}, deleted, 0.05)
    rows = table.set_index(["space", "intervention"])["estimate"]
    assert len(rows) == 2 * len(evaluation_fragility.INTERVENTIONS)
    theta = bank.dataset()["parameters"].isel(checkpoint=-1).values.astype(float)
    own = ((theta[:, 1:4] - theta[:, :1]) ** 2).sum(-1).mean()
    between = 2 * theta[:, 0].var(axis=0, ddof=1).sum()
    assert rows["parameters", "masked"] == pytest.approx(np.sqrt(own / between))
    shift = evaluation_fragility.masked_shifts(bank)
    loss = bank.dataset()["query_loss"].isel(removal=slice(0, 4), checkpoint=-1)
    np.testing.assert_allclose(shift, shift_upon_removal(loss.astype(float)))
    models = evaluation_fragility.rate_predictions(tiny, [0.05], 6)
    moved = evaluation_fragility.fragility_banks(tiny, [0.05], tiny.points, 6)
    targets = evaluation_fragility.rate_targets(moved, models, tiny.points)
    assert set(targets["method"]) == {"if_damped", "retrained"}


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
    return Scores(metrics, names, table, left_out, 0.64 * one, np.ones_like(table), 0 * table)


def test_separation_by_hand():
    rows = [[0.1, 0.2, 0.3], [0.6, 0.4, 0.2], [0.1, 0.2, 0.3]]
    table = evaluation_lds.separation_table({("toy", "half"): scores_of(rows)})
    found = table.set_index("metric")
    spread = np.var([0.6, 0.4, 0.2], ddof=1)
    noise = found.loc["w2_debiased", "spread"] ** 2 * 0.64
    assert noise == pytest.approx(spread - 0.02**2, rel=0.05)
    assert found.loc["w2_debiased", "reversed"] == 3
    assert found.loc["w2_debiased", "tau"] == -1
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
    blurred = scores_of(rows, error=0.5)
    again = evaluation_lds.separation_table({("toy", "half"): blurred}).set_index("metric")
    assert again.loc["w2_debiased", "reversed"] == 0


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
    from scipy import stats

    expected = [
        stats.spearmanr(truth.mean("seed")[:, q], members[:, q]).statistic for q in range(3)
    ]
    assert found.estimate[found.metrics.index("mean"), 0] == pytest.approx(np.mean(expected))
    floors = evaluation_lds.floor_table({"toy": tiny})
    assert (floors["sampling_share"] < 1).all()
    assert (floors["unpaired_share"] > 0).all()


# --- claims --------------------------------------------------------------------------------------


def curve(observed, law, low=None, high=None):
    row = {"method": "if_ggn", "protocol": "unpaired", "runs": 1, "observed": observed, "law": law}
    return row | {"low": observed - 0.02 if low is None else low, "high": high or observed + 0.02}


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
    limits = pd.DataFrame(
        [{"method": "if_ggn", "estimate": sum(limit) / 2, "low": limit[0], "high": limit[1]}]
    ).assign(n_seeds=9)
    curves = pd.DataFrame([curve(single, single)])
    (claim,) = rules.noisy_claims(curves, limits, ["if_ggn"], "Toy, 3 points")
    assert (claim.id, claim.status) == ("C8-toy-if_ggn", status)


@pytest.mark.parametrize(
    ("law", "status"), [(0.55, "confirmed"), (0.65, "inconclusive"), (0.9, "refuted")]
)
def test_attenuation(law, status):
    curves = pd.DataFrame([curve(0.5, 0.5), curve(0.5, law)])
    assert rules.attenuation_claim(curves, "Toy, 3 points").status == status


@pytest.mark.parametrize(
    ("ci", "status"),
    [((0.05, 0.1), "confirmed"), ((-0.1, 0.01), "refuted"), ((-0.1, 0.1), "inconclusive")],
)
def test_targets_decide_on_law_less_own_run(ci, status):
    rows = [
        {"target": "own run", "estimate": 0.5},
        {"target": "law", "estimate": 0.4},
        {"target": "law - own run", "estimate": sum(ci) / 2, "low": ci[0], "high": ci[1]},
    ]
    table = pd.DataFrame(rows).assign(method="if_ggn", scored="one model", n_seeds=9)
    (claim,) = rules.target_claims(table, ["if_ggn"], "Toy, 3 points")
    assert (claim.id, claim.status) == ("C12-toy-if_ggn", status)


def test_the_metagradient_must_win_on_another_run():
    better, worse = {"estimate": 0.1, "low": 0.05, "high": 0.15}, {"estimate": -0.1, "low": -0.15}
    found = {"own run": better, "other run": better, "law": worse | {"high": -0.05}}
    rows = [row | {"rival": "if_damped", "target": name, "n": 9} for name, row in found.items()]
    # Another rival, which must not decide.
    rows.append(rows[2] | {"rival": "if_ekfac", "target": "other run"})
    claim = rules.metagradient_claim(pd.DataFrame(rows), "Toy, 3")
    assert (claim.id, claim.status, claim.n) == ("C12-toy-metagradient", "confirmed", 9)
    rows[1] |= found["law"]
    assert rules.metagradient_claim(pd.DataFrame(rows), "Toy, 3").status == "refuted"


def test_fragility_must_hold_at_every_rate():
    rows = [
        {"space": space, "intervention": name, "rate": at, "estimate": value,
         "low": value * 0.9, "high": value * 1.1}
        for space in ("predictions", "parameters")
        for name, value in (("masked", 0.01), ("re-shuffled", 0.9))
        for at in (1.0, 2.0)
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(n_seeds=9)
    table.loc[(table["rate"] == 2) & (table["space"] == "parameters"), ["low", "high"]] = 0.3
    claims = {c.id: c.status for c in rules.fragility_claims(table, 1.0, "toy")}
    assert claims == {
        "C13-masked-predictions": "refuted",
        "C13-re-shuffled-predictions": "confirmed",
        "C13-masked-parameters": "inconclusive",
        "C13-re-shuffled-parameters": "partly",
    }
    table.loc[(table["rate"] == 1) & (table["intervention"] == "masked"), "estimate"] = 0.02
    shown = {c.id: c.estimate for c in rules.fragility_claims(table, 1.0, "toy")}
    assert shown["C13-masked-predictions"] == 0.02  # of the rate that all other runs have


def test_order_and_separation_must_agree_in_all_settings():
    row = {"setting": "toy", "size": "half", "pairs": 3, "tau": 0.9, "reversed": 0}
    row |= {"more": 0.1, "low": 0.05, "high": 0.15, "subsets": 40}
    both = [row | {"metric": metric} for metric in evaluation_lds.LAWS]
    table = pd.DataFrame(both)
    assert [c.status for c in rules.order_claims(table)] == ["refuted"] * 2
    assert [c.status for c in rules.separation_claims(table)] == ["confirmed"] * 2
    more = pd.DataFrame([*both, row | {"metric": evaluation_lds.LAWS[0], "reversed": 1}])
    assert [c.status for c in rules.order_claims(more)] == ["partly", "refuted"]
    assert [(c.estimate, c.n) for c in rules.order_claims(more)] == [(1, 6), (0, 3)]
    least = {"metric": evaluation_lds.LAWS[0], "more": 0.02, "low": -0.01, "high": 0.05}
    worst, _ = rules.separation_claims(pd.DataFrame([*both, row | least | {"subsets": 7}]))
    assert (worst.estimate, worst.ci, worst.n) == (0.02, (-0.01, 0.05), 7)
    unlike = pd.DataFrame([one | {"tau": 0.5} for one in both])
    assert [c.status for c in rules.order_claims(unlike)] == ["inconclusive"] * 2


def test_the_claim_of_unrolling_does_not_speak_of_influence_functions():
    rows = [
        {"target": "own run", "estimate": 0.5},
        {"target": "law", "estimate": 0.4},
        {"target": "law - own run", "estimate": -0.1, "low": -0.2, "high": -0.05},
    ]
    table = pd.concat(
        pd.DataFrame(rows).assign(method=name, scored="one model", n_seeds=9)
        for name in ("if_damped", "unrolling")
    )
    one, other = rules.target_claims(table, ["if_damped", "unrolling"], "Toy, 3 points")
    assert one.claim.startswith("influence functions predict")
    assert other.claim.startswith("unrolling predicts")
    assert one.claim.endswith("by more than 0.02 of a correlation")


# --- sentences -----------------------------------------------------------------------------------


def test_methods_that_fit_the_law_better_are_named_and_the_lead_is_told():
    methods = ("if_damped", "unrolling")
    gains = {"target": "law - own run", "estimate": 0.05, "low": [0.01, -0.01], "high": 0.1}
    estimands = pd.DataFrame(gains).assign(setting="toy", method=methods, scored="one model")
    lead = {"setting": "toy", "rival": "if_damped", "estimate": 0.2, "low": 0.1, "high": 0.3}
    wins = pd.DataFrame([lead | {"target": "other run"}, lead | {"target": "law", "low": 0.9}])
    said = words.target_words(estimands, wins).data
    assert "**Toy**" in said
    assert "beyond error: damped Gauss-Newton IF (0.050 [0.010, 0.100])." in said
    assert "ahead of damped Gauss-Newton IF by 0.20 [0.10, 0.30]." in said


@pytest.mark.parametrize(
    ("laws", "told"),
    [
        ((0.45, 0.5), "does not make the law miss"),
        ((0.3, 0.5), "it is hardly why the law misses"),
        ((0.5, 0.3), "it may be why"),
    ],
)
def test_noise_that_is_a_factor_is_blamed_only_where_there_is_more_of_it(laws, told):
    settings = ["little", "much"]
    curves = pd.DataFrame({"setting": settings, "observed": 0.5, "law": laws})
    factors = pd.DataFrame({"setting": settings, "of": "retrained", "factor": [0.4, 0.6]})
    said = words.factor_words(curves.assign(protocol="unpaired"), factors).data
    assert told in said
    assert "40 % on little" in said


def test_sentences_on_lds():
    table = pd.DataFrame(
        {"setting": "toy", "size": "half", "metric": metric, "method": method, "lds": lds,
         "low": lds - 0.1, "null": 0.3, "ceiling": 0.95}
        for metric in evaluation_lds.METRICS
        for method, lds in (("unrolling", 0.6), ("if_ekfac", 0.7), ("bif", 0.35))
    )  # fmt: skip
    said = words.blind_words(table).data
    assert "permuted subsets: Bayesian IF (mean), Bayesian IF" in said
    assert "EK-FAC" not in said
    cases = pd.DataFrame(
        {"among": "all", "metric": metric, "low": low, "high": low + 0.1, "reversed": 1, "pairs": 6}
        for metric in evaluation_lds.LAWS
        for low in (0.01, -0.05, -0.2)
    )
    said = words.separation_words(cases).data
    assert "in 1 of 3 cases and nearer together in 1; 3 of 18 pairs" in said


def test_the_answer_follows_the_evidence():
    evidence = load()
    said = " ".join(words.answer(evidence))
    assert 3 <= len(words.answer(evidence)) <= 5
    assert "_" not in said
    assert "noisy, not broken" in said
    turned = doctored(evidence, {"C8-concrete-if_damped": "refuted"})
    assert "more than noisy" in " ".join(words.answer(turned))
    part = "C9-separation-w2_debiased-with-unit"
    assert "in all four settings" in " ".join(words.answer(doctored(evidence, {part: "confirmed"})))


def doctored(evidence, statuses):
    findings = dict(evidence.findings)
    for name, status in statuses.items():
        known = findings[name]
        findings[name] = replace(known, claim=replace(known.claim, status=status), profile="paper")
    return replace(evidence, findings=findings)


def test_tables_show_display_names():
    table = pd.DataFrame({"method": ["if_damped"], "metric": ["w2_debiased"], "lds": [0.5]})
    assert tables.named(table).iloc[0].tolist() == ["damped Gauss-Newton IF", "W2, debiased", 0.5]
    wide = table.pivot(index="method", columns="metric", values="lds")
    assert list(tables.named(wide).columns) == ["W2, debiased"]
    assert list(tables.named(wide).index) == ["damped Gauss-Newton IF"]


# --- drawings ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_drawings_show_their_data():
    truth, predicted = map(shifts, noisy(n=16))
    alone = shifts(noisy(5, n=16)[0])
    methods = {"if_damped": predicted, "unrolling": truth}
    curves = evaluation_noise.curve_table(truth, methods, alone).assign(setting="toy")
    limits = evaluation_noise.plateau_table(truth, methods).assign(setting="toy")
    estimands = evaluation_estimands.estimand_table(truth, methods).assign(setting="toy")
    lds = evaluation_lds.lds_table({("toy", "half"): scores_of(np.full((3, 2), 0.4))})
    lds["method"] = lds["method"].map({"m0": "if_damped", "m1": "unrolling"})
    moved = pd.DataFrame(
        [
            {"rate": at, "space": space, "intervention": name, "estimate": 0.1, "low": 0.05,
             "high": 0.2}
            for at in (0.1, 0.2)
            for space in ("predictions", "parameters")
            for name in evaluation_fragility.INTERVENTIONS
        ]
    )  # fmt: skip
    targets = pd.concat(estimands.assign(rate=at) for at in (0.1, 0.2))
    drawn = {
        "curves": (plots.correlation_curves(curves, limits), len(curves)),
        "estimands": (plots.estimand_dots(estimands), 3 * 4),
        "lds": (plots.lds_dots(lds, "toy"), 6),
        "fragility": (plots.fragility_lines(moved, targets), len(moved) + 2 * 3 * 3),
    }
    for name, ((fig, data), rows) in drawn.items():
        assert len(data) == rows, name
        assert fig.axes, name
        plt.close(fig)
