"""Data pruning: label noise, scores and their signs, lists, retrainings, tables and rules."""

import itertools
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import digits_like
from scipy import stats

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.experiments.data_pruning import claims as rules
from dtda_lib.experiments.data_pruning import plots as plots
from dtda_lib.experiments.data_pruning import pruning as pruning_study
from dtda_lib.experiments.data_pruning import strategies as pruning
from dtda_lib.experiments.data_pruning import tables as tables
from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs.measures import query_loss
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import train
from dtda_lib.study.claims import CONFIRMED, INCONCLUSIVE, PARTLY, REFUTED
from dtda_lib.study.methods import METHODS

MODEL = get_model("mlp", widths=(784, 4, 10), activation="tanh")
RECIPE = Recipe("sgd", lr=0.1, weight_decay=0.01, batch_size=6, epochs=2)
TASK = replace(digits_like(24, 12, torch.float32), classes=tuple("0123456789"))


def random_scores(n_seeds=4, n_train=12, seed=0, estimators=None):
    generator = np.random.default_rng(seed)
    names = estimators or [pruning.ESTIMATOR, pruning.OTHER_ESTIMATOR, pruning.BASELINE]
    coords = {"seed": np.arange(n_seeds), "estimator": names, "train": np.arange(n_train)}
    values = generator.normal(size=(n_seeds, len(names), n_train))
    base = xr.DataArray(1 + generator.random(n_seeds), {"seed": coords["seed"]}, ("seed",))
    return pruning.PruningScores(xr.DataArray(values, coords, ("seed", "estimator", "train")), base)


# --- tasks ----------------------------------------------------------------------------------------


def test_label_noise_changes_so_many_training_labels_and_nothing_else():
    noisy, wrong = pruning.with_label_noise(TASK, 25, np.random.default_rng(0))
    changed = np.flatnonzero((noisy.train_y != TASK.train_y).numpy())
    np.testing.assert_array_equal(changed, wrong)
    assert len(wrong) == 6
    assert set(noisy.train_y.tolist()) <= {0, 1, 2}  # classes that occur
    assert torch.equal(noisy.train_x, TASK.train_x)
    assert torch.equal(noisy.query_y, TASK.query_y)


def test_all_other_classes_are_drawn_as_wrong_labels():
    seen = set()
    for seed in range(20):
        noisy, wrong = pruning.with_label_noise(TASK, 25, np.random.default_rng(seed))
        seen |= {(int(TASK.train_y[k]), int(noisy.train_y[k])) for k in wrong}
    assert seen == set(itertools.permutations(range(3), 2))


def test_impossible_label_noise_is_refused():
    with pytest.raises(ValueError, match="cannot be made wrong"):
        pruning.with_label_noise(TASK, 1, np.random.default_rng(0))


def test_queries_that_steer_do_not_judge():
    steers = pruning.steering_queries(TASK, 1)
    assert TASK.query_y[torch.from_numpy(steers)].tolist() == [0, 1, 2]
    part = pruning.only_queries(TASK, steers)
    assert torch.equal(part.query_x, TASK.query_x[:3])
    assert part.query_id == (0, 1, 2)
    with pytest.raises(ValueError, match="leave none to judge"):
        pruning.steering_queries(TASK, 4)


# --- scores ---------------------------------------------------------------------------------------


def test_risk_averse_scores_are_the_shifts_of_mean_plus_sd():
    scores = random_scores()
    shift = scores.shift.sel(estimator=pruning.ESTIMATOR, drop=True)
    found = pruning.risk_averse(scores.base, shift)
    base = scores.base.values
    for k in range(12):
        law = base + shift.values[:, k]
        expected = law.mean() + law.std(ddof=1) - base.mean() - base.std(ddof=1)
        assert float(found[k]) == pytest.approx(expected)


def test_removals_that_lower_the_spread_are_preferred_at_equal_means():
    scores = random_scores(n_train=3)
    shift = scores.shift.copy()
    centred = scores.base.values - scores.base.values.mean()
    columns = [0.5 * centred, -0.5 * centred, 0 * centred]
    shift.loc[{"estimator": pruning.ESTIMATOR}] = np.stack(columns, axis=1)
    scores = pruning.PruningScores(shift, scores.base)
    assert pruning.worst(scores.ranked("risk"), 3).tolist() == [1, 2, 0]
    np.testing.assert_allclose(scores.ranked("mean"), 0, atol=1e-12)


def test_the_most_negative_predicted_shifts_go_first_and_ties_keep_their_order():
    scores = xr.DataArray([0.3, -2.0, -0.1, -2.0], dims="train")
    assert pruning.worst(scores, 3).tolist() == [1, 3, 2]


def test_scores_are_split_by_seed():
    scores = random_scores(4)
    second = scores.seeds(2, 4)
    np.testing.assert_array_equal(second.shift.values, scores.shift.values[2:])
    np.testing.assert_array_equal(second.base.values, scores.base.values[2:])
    assert second.shift["seed"].values.tolist() == [0, 1]


# --- lists ----------------------------------------------------------------------------------------


def test_each_strategy_takes_the_right_models_scores():
    same, other = random_scores(seed=1), random_scores(seed=2)
    lists = pruning.removal_lists(same, other, 3, 2, np.random.default_rng(0), np.array([4, 7]))
    assert list(lists) == pruning.strategy_names(2, True)
    assert lists["none"].shape == (4, 0)
    assert lists["truth"].tolist() == [[4, 7]] * 4
    for whose, scores in (("same", same), ("other", other)):
        values = scores.shift.sel(estimator=pruning.ESTIMATOR).values
        for s in range(4):
            assert lists[f"{whose}_own"][s].tolist() == np.argsort(values[s])[:3].tolist()
            mean = values.mean(axis=0)
            assert lists[f"{whose}_mean"][s].tolist() == np.argsort(mean)[:3].tolist()
    values = same.shift.sel(estimator=pruning.ESTIMATOR).values
    for s in range(4):
        rest = np.delete(values, s, axis=0).mean(axis=0)
        assert lists["rest_mean"][s].tolist() == np.argsort(rest)[:3].tolist()
    loss = other.shift.sel(estimator=pruning.BASELINE).values.mean(axis=0)
    assert lists[pruning.BY_LOSS][0].tolist() == np.argsort(loss)[:3].tolist()
    assert all(len(set(row)) == 3 for name in ("random_1", "random_2") for row in lists[name])
    assert not np.array_equal(lists["random_1"], lists["random_2"])
    assert list(pruning.removal_lists(same, other, 3, 1, np.random.default_rng(0))) == (
        pruning.strategy_names(1, False)
    )


def test_other_numbers_of_seeds_are_refused():
    with pytest.raises(ValueError, match="take as many"):
        pruning.removal_lists(random_scores(4), random_scores(3), 3, 1, np.random.default_rng(0))


# --- retraining -----------------------------------------------------------------------------------


def test_runs_pair_each_list_with_its_seed():
    lists = {"none": np.empty((2, 0), dtype=int), "same_own": np.array([[0, 3], [5, 1]])}
    seeds = seed_pairs(2, "any")
    runs = pruning.retraining_runs(lists, seeds, 6)
    assert runs.design.labels == ("none/0", "same_own/0", "none/1", "same_own/1")
    expected = [[1] * 6, [0, 1, 1, 0, 1, 1], [1] * 6, [1, 0, 1, 1, 1, 0]]
    assert runs.design.weights.tolist() == expected
    assert runs.init_seeds[0].tolist() == [seeds[0][0]] * 2 + [seeds[1][0]] * 2
    assert runs.order_seeds[0].tolist() == [seeds[0][1]] * 2 + [seeds[1][1]] * 2


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A whole experiment on random digits, from scores to outcomes."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DTDA_CACHE", str(tmp_path_factory.mktemp("cache")))
    task, wrong = pruning.with_label_noise(TASK, 10, np.random.default_rng(0))
    steers = pruning.steering_queries(task, 1)
    machine = {"device": "cpu", "workers": 1}
    experiment = pruning_study.Pruning(
        "test", task, wrong, steers, MODEL, RECIPE, 3, 10, 8, machine, tuple(pruning.ALSO)
    )
    scores = experiment.scores()
    found = experiment.judge(scores, 2, np.random.default_rng(0))
    yield experiment, scores, found, found.outcomes()
    patch.undo()


def test_outcomes_are_those_of_trainings_without_the_list(judged):
    experiment, _, found, outcomes = judged
    task, steers = experiment.task, experiment.steers
    assert outcomes.dims == ("metric", "part", "strategy", "seed")
    assert outcomes["strategy"].values.tolist()[:2] == ["none", "random"]
    for name, s in (("same_own", 2), ("none", 1), ("other_mean", 0)):
        weights = torch.ones(1, task.n_train)
        weights[0, found.lists[name][s].tolist()] = 0
        pair = experiment.evaluation_seeds[s]
        measures = [query_loss, pruning.query_correct]
        alone = train(task, MODEL, RECIPE, [pair[0]], [pair[1]], weights, measures)
        for metric, variable in (("loss", "query_loss"), ("accuracy", "query_correct")):
            values = alone[variable][0, -1].numpy()
            got = outcomes.sel(metric=metric, strategy=name).isel(seed=s)
            assert float(got.sel(part="validation")) == pytest.approx(values[steers].mean(), 1e-4)
            assert float(got.sel(part="test")) == pytest.approx(values[~steers].mean(), 1e-4)


def test_random_removals_are_averaged_within_a_seed(judged):
    experiment, _, found, outcomes = judged
    assert "random_1" not in outcomes["strategy"].values
    task, pair, losses = experiment.task, experiment.evaluation_seeds[1], []
    for draw in ("random_1", "random_2"):
        weights = torch.ones(1, task.n_train)
        weights[0, found.lists[draw][1].tolist()] = 0
        alone = train(task, MODEL, RECIPE, [pair[0]], [pair[1]], weights, [query_loss])
        losses.append(alone["query_loss"][0, -1].numpy()[~experiment.steers].mean())
    got = outcomes.sel(metric="loss", part="test", strategy="random").isel(seed=1)
    assert float(got) == pytest.approx(np.mean(losses), 1e-4)


def test_scores_see_validation_points_only_and_seeds_are_disjoint(judged):
    experiment, scores, _, outcomes = judged
    runs = experiment.scoring.runs
    seeds = list(zip(runs.init_seeds[:, 0].tolist(), runs.order_seeds[:, 0].tolist()))
    assert seeds[:3] == experiment.evaluation_seeds
    assert not set(seeds[3:]) & set(seeds[:3])
    # The full-data models of the evaluation seeds are those retrained without removal.
    loss = outcomes.sel(metric="loss", part="validation", strategy="none")
    np.testing.assert_allclose(scores["same"].base, loss, rtol=1e-4)
    assert experiment.scoring.task.n_query == experiment.steers.sum()


def test_further_estimators_are_the_librarys_averaged_over_validation_points(judged):
    experiment, scores, _, _ = judged
    names = scores["other"].shift["estimator"].values.tolist()
    assert names == ["own_loss", "grad_dot", "if_damped_0.1", "if_damped_1", "grad_cos", "trak"]
    task = pruning.only_queries(experiment.task, experiment.steers)
    pair = seed_pairs(3, "scoring")[1]
    measures = [get_estimator(METHODS[name].estimator, RECIPE) for name in ("grad_cos", "trak")]
    weights = torch.ones(1, task.n_train)
    alone = train(task, MODEL, RECIPE, [pair[0]], [pair[1]], weights, measures)
    cosines = alone["gradient_similarity"][0, -1, 1].mean(-1)
    for name, wanted in (("grad_cos", cosines), ("trak", alone["trak"][0, -1, 0].mean(-1))):
        got = scores["other"].shift.sel(estimator=name, seed=1)
        np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=1e-4 * float(wanted.abs().max()))
    few = replace(experiment, also=())
    assert few.scores()["same"].shift["estimator"].values.tolist() == names[:4]


def test_correct_queries_are_those_of_the_largest_output():
    network = Network.of(get_model("mlp", widths=(784, 10)))
    theta = torch.zeros(network.layout.n_parameters)
    theta[-10:] = torch.tensor([0.0, 1, 0, 0, 0, 0, 0, 0, 0, 0])  # biases: always class 1
    right = pruning.query_correct(network, theta, TASK)
    assert right.tolist() == [float(y == 1) for y in TASK.query_y.tolist()]


# --- tables ---------------------------------------------------------------------------------------


def drawn_outcomes(gain=0.1, n_seeds=8, seed=0):
    generator = np.random.default_rng(seed)
    names = [n for n in pruning.strategy_names(1, False) if n != "random_1"] + ["random"]
    values = generator.normal(0.7, 0.02, size=(2, 2, len(names), n_seeds))
    coords = {"metric": ["accuracy", "loss"], "part": ["validation", "test"], "strategy": names}
    found = xr.DataArray(values, coords, ("metric", "part", "strategy", "seed"))
    found.loc[{"strategy": "same_mean", "metric": "accuracy", "part": "test"}] += gain
    found.loc[{"strategy": "other_own", "part": "validation"}] += 5  # judges must not see this
    return found


def test_differences_are_paired_t_intervals_on_test_points():
    found = drawn_outcomes()
    row = tables.paired_difference(found, "same_mean", "none", np.random.default_rng(0))
    test = found.sel(metric="accuracy", part="test")
    gap = test.sel(strategy="same_mean").values - test.sel(strategy="none").values
    interval = stats.ttest_1samp(gap, 0).confidence_interval()
    assert row["estimate"] == pytest.approx(gap.mean())
    assert (row["low"], row["high"]) == pytest.approx(tuple(interval))
    assert row["wins"] == 1
    assert row["p"] == pytest.approx(2 / 2**8)
    table = tables.difference_table(found, np.random.default_rng(0))
    assert table["estimate"].abs().max() < 0.2
    assert len(table) == 2 * len(tables.COMPARED) + len(tables.CONTROLS)
    asked = table[(table["whose"] == "same") & (table["question"] == "order")].iloc[0]
    assert (asked["better"], asked["other"]) == ("same_mean", "same_own")
    gains = tables.gain_table(found, np.random.default_rng(0)).set_index("strategy")
    assert gains.loc["same_mean", "estimate"] == pytest.approx(gap.mean())
    levels = tables.accuracy_table(found).set_index("strategy")
    accuracy = test.sel(strategy="none").values
    assert levels.loc["none", "accuracy_sd"] == pytest.approx(accuracy.std(ddof=1))


def test_precision_counts_wrong_labels_at_the_head_of_each_list():
    scores = random_scores(n_seeds=2, n_train=6, estimators=[pruning.ESTIMATOR])
    values = np.array([[-3.0, -2, -1, 0, 1, 2], [2.0, -2, -1, 0, 1, -3]])
    shift = scores.shift.copy(data=values[:, None])

    def found(wrong):
        table = tables.precision_table(pruning.PruningScores(shift, scores.base), np.array(wrong))
        assert set(table["k"]) == {len(wrong)}
        return table.set_index("ranking")["precision"]

    assert found([0])["own"] == pytest.approx(0.5)  # the first model's list starts with it
    assert found([0, 1])["own"] == pytest.approx((1 + 0.5) / 2)
    assert found([1])["mean"] == 1  # means: -.5, -2, -1, 0, 1, -.5
    assert found([0, 1])["mean"] == pytest.approx(0.5)


def test_chance_of_hits_is_that_of_counting():
    lists = list(itertools.combinations(range(6), 3))
    hits = [len({0, 1} & set(one)) for one in lists]
    for k in range(3):
        expected = np.mean([h >= k for h in hits])
        assert tables.found_by_chance(6, 2, 3, k) == pytest.approx(expected)


def test_overlaps_of_equal_and_of_disjoint_lists():
    same = random_scores(3, 12, 1, [pruning.ESTIMATOR])
    opposite = pruning.PruningScores(-same.shift, same.base)
    row = tables.overlap_table(same, same, 6).iloc[0]
    assert row["two_averages"] == 1
    assert tables.overlap_table(same, opposite, 6).iloc[0]["two_averages"] == 0
    assert row["chance"] == 0.5


def test_predictions_of_a_list_are_sums_over_its_points(judged):
    _, scores, found, outcomes = judged
    table = tables.predicted_removals_table(outcomes, scores["same"], scores["other"], found.lists)
    table = table.set_index("strategy")
    shift = scores["same"].shift.sel(estimator=pruning.ESTIMATOR).values
    other = scores["other"].shift.sel(estimator=pruning.ESTIMATOR).values
    lists = found.lists["other_own"]
    expected = np.mean([shift[s, lists[s]].sum() for s in range(3)])
    assert table.loc["other_own", "predicted"] == pytest.approx(expected)
    expected = np.mean([other[s, lists[s]].sum() for s in range(3)])
    assert table.loc["other_own", "selected"] == pytest.approx(expected)
    loss = outcomes.sel(metric="loss", part="test")
    gap = loss.sel(strategy="other_own") - loss.sel(strategy="none")
    assert table.loc["other_own", "test"] == pytest.approx(float(gap.mean()))


def test_listed_images_come_with_the_scores_of_all_points():
    scores = np.linspace(-1, 1, 24)
    fig, drawn = plots.listed_images(
        {"a": TASK, "b": TASK},
        {"a": np.array([5, 0]), "b": np.array([2, 3])},
        {"a": scores, "b": -scores},
        {"a": [0, 7], "b": []},
        shown=2,
    )
    plt.close(fig)
    assert len(drawn) == 48
    np.testing.assert_allclose(drawn["score"], [*scores, *-scores])
    assert drawn.index[drawn["wrong"]].tolist() == [0, 7]
    titles = [axis.title for axis in fig.axes]
    assert [title.get_text() for title in titles] == ["2", "0", "2", "0"]
    assert [title.get_color() == "black" for title in titles] == [True, False, True, True]


# --- rules ----------------------------------------------------------------------------------------


def differences(**intervals):
    rows = [
        {"whose": whose, "question": question, "low": low, "high": high,
         "estimate": (low + high) / 2, "p": 0.5, "wins": 0.5, "n_seeds": 8}
        for whose in ("same", "other")
        for question, (low, high) in ({"order": (1, 2), "none": (1, 2), "random": (1, 2),
                                       "fixed": (1, 2), "risk": (1, 2)} | intervals).items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


SHOWN, OPEN, BEHIND = (1, 2), (-1, 1), (-2, -1)


@pytest.mark.parametrize(
    ("intervals", "whole"),
    [
        ({}, CONFIRMED),
        ({"none": OPEN}, PARTLY),
        ({"fixed": OPEN}, PARTLY),
        ({"order": OPEN}, PARTLY),
        ({"none": BEHIND}, PARTLY),
        # What only the control shows is no part of the claim.
        ({"order": OPEN, "none": OPEN, "fixed": OPEN}, INCONCLUSIVE),
        ({"order": BEHIND, "none": BEHIND, "fixed": BEHIND}, REFUTED),
        # The control vetoes, and only that.
        ({"random": OPEN}, INCONCLUSIVE),
        ({"random": BEHIND}, INCONCLUSIVE),
        ({"random": OPEN, "none": OPEN}, INCONCLUSIVE),
        ({"random": BEHIND, "order": BEHIND, "none": BEHIND, "fixed": BEHIND}, REFUTED),
        ({"random": OPEN, "order": BEHIND, "none": BEHIND, "fixed": BEHIND}, REFUTED),
        # Other comparisons have no say.
        ({"risk": BEHIND}, CONFIRMED),
    ],
)
def test_rule_of_pruning(intervals, whole):
    claims = rules.pruning_claims(differences(**intervals), "clean", "labels", "setting")
    status = {claim.id: claim.status for claim in claims}
    for name in ("order", "none", "fixed", "random"):
        part = {SHOWN: CONFIRMED, OPEN: INCONCLUSIVE, BEHIND: REFUTED}[intervals.get(name, SHOWN)]
        assert status[f"C10-{name}-same-clean"] == part
    assert status["C10-same-clean"] == status["C10-other-clean"] == whole


def test_a_figure_of_the_differences_names_every_claim_about_them():
    table = differences()
    claims = rules.pruning_claims(table, "clean", "labels", "setting")
    named = rules.claims_shown(table, "clean")
    assert sorted(named) == sorted(claim.id for claim in claims)
    tables_ = {"right": table.assign(better="a", other="b"), "wrong": table.iloc[:3]}
    tables_["wrong"] = tables_["wrong"].assign(better="a", other="b")
    fig, drawn = plots.differences(tables_)
    plt.close(fig)
    assert len(drawn) == len(table) + 3
    bars = fig.axes[0].containers
    assert len(bars) == 2  # one for each of whose scores
    middle = np.asarray(bars[0].lines[0].get_xdata(), dtype=float)
    np.testing.assert_allclose(middle, 150)  # % points
    assert set(plots.QUESTIONS) == set(rules._WORDS)


def test_the_number_of_the_whole_claim_is_the_least_of_its_parts():
    table = differences(order=(3, 5), none=(4, 7), fixed=(1.5, 2.5), random=(0.1, 0.3))
    claims = rules.pruning_claims(table, "clean", "labels", "setting")
    whole = next(claim for claim in claims if claim.id == "C10-same-clean")
    assert (whole.estimate, whole.ci) == (2, (1.5, 2.5))  # not that of the control
    assert "own - none" in whole.statistic
    assert "only veto" in whole.rule


@pytest.mark.parametrize(
    ("share", "own", "found", "averaging"),
    [
        (0.8, (0.3, 0.5), CONFIRMED, CONFIRMED),
        (0.4, (0.3, 0.5), PARTLY, INCONCLUSIVE),
        (0.1, (0.3, 0.5), REFUTED, REFUTED),
    ],
)
def test_rule_of_label_noise(share, own, found, averaging):
    rows = [
        (pruning.ESTIMATOR, "mean", 20, share, 0.0, 1.0),
        (pruning.ESTIMATOR, "own", 20, sum(own) / 2, *own),
    ]
    lists = pd.DataFrame(rows, columns=["estimator", "ranking", "k", "precision", "low", "high"])
    claims = rules.wrong_label_claims(lists, 200, "setting", 16)
    assert [claim.status for claim in claims] == [found, averaging]
