"""Predicted laws against retrained ones: removals, estimates, gaps without noise, rules."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dtda_lib.attribution.leverage import leverage
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.experiments.predicting_retrained_laws import claims, estimates, laws, tables
from dtda_lib.experiments.predicting_retrained_laws.experiment import Experiment
from dtda_lib.experiments.predicting_retrained_laws.parameters import Parameters
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.measures import parameters
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import train
from dtda_lib.study.settings import resolve
from dtda_lib.theory.testbeds import AnchoredRidge

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
    for percents in ((15, 20), (8,)):  # of 12 points: 2 and 2, then a single one
        with pytest.raises(ValueError, match="of 12 points some are as many"):
            laws.draw_removals(small_task(), percents, 1, np.random.default_rng(0))
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
    with pytest.raises(ValueError, match="6 seeds do not make 4 equal sets"):
        laws.laws_in_sets(outputs, {"joint": whole}, removals, 4)


# --- what is trained ------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_law_is_made_of_its_own_bank_and_both_ways_to_unroll_agree():
    tiny = {"n_train": 40, "fewer": (24,), "n_seeds": 2, "epochs": 8, "width": 3, "n_query": 3}
    cfg = resolve(Parameters, profile="smoke", device="cpu", workers=1, **tiny)
    setting = Experiment.of(cfg).fewer[24]
    assert setting.followed.mode == "reverse"  # four points, three queries
    assert setting.recipe.steps(24) == 16  # as many as 40 points make in batches of 20
    found = setting.laws.transpose("estimator", "set", "seed", "size", "group", "query")
    run, at = 3, {"set": 1, "seed": 1}
    outputs = setting.retrained.dataset()["query_prediction"].isel(seed=run, checkpoint=-1)
    np.testing.assert_array_equal(found["base"].isel(at), outputs.isel(removal=0, output=0))
    retrained = found["retrained"].isel(at).values.reshape(4, 3)
    np.testing.assert_array_equal(retrained, outputs.isel(removal=slice(1, None), output=0))
    given = (setting.task, setting.model, setting.recipe)
    points = [point for (point,) in setting.removals.groups]
    seeds = [seed_pairs(6)[run]]
    forward = unrolled_shifts(*given, seeds, "query_prediction", points)
    (theta,) = train(*given, *zip(*seeds), torch.ones(1, 24), [parameters])["parameters"][:, -1]
    moved = found["predicted"].isel(at) - found["base"].isel(at)
    expected = {"unrolling": forward.values[0, -1, ..., 0]}
    for name, estimator in (("if_damped", "influence_ggn"), ("rif", "influence_leverage")):
        of = {"of": "query_prediction", "damping": setting.damping}
        values = get_estimator(estimator, setting.recipe, **of)(
            Network.of(setting.model), theta, setting.task
        )
        expected[name] = values[0, points, :, 0]
    for name, shift in expected.items():
        got = moved.sel(estimator=name).values.reshape(4, 3)
        np.testing.assert_allclose(got, shift, rtol=2e-3, atol=2e-6)
    h = leverage(setting.recipe, damping=setting.damping)
    each = h(Network.of(setting.model), theta, setting.task)[points]
    mean = setting.leverages.values.ravel()
    assert mean == pytest.approx(each.numpy(), abs=0.1)  # over seeds; of one run here


# --- tables, on a problem whose laws are known exactly --------------------------------------------


def laws_of_testbed(generator, n_sets=5, n_seeds=24, n_query=12):
    """Laws of anchored ridge regression as runs, and the exact ones; sizes "1 point" and "25 %"."""
    x, query = generator.normal(size=(16, 4)), generator.normal(size=(n_query, 4))
    y = x @ [1.0, -1.0, 0.5, 0.0] + generator.normal(size=16)
    bed = AnchoredRidge(x, y, query, strength=0.04, anchor_sd=1.0)
    singles = tuple((int(k),) for k in range(4))
    groups = tuple(tuple(map(int, generator.choice(16, 4, replace=False))) for _ in range(4))
    removals = laws.Removals({"1 point": singles, "25 %": groups})
    runs = bed.simulate(n_sets * n_seeds, generator, removals.groups)
    seeds = {"seed": np.arange(n_sets * n_seeds)}
    outputs = xr.concat([runs["base"], runs["retrained"].drop_vars("removal")], "removal")
    outputs = outputs.transpose("seed", "removal", "query").drop_vars("point", errors="ignore")
    shifts = {
        name: runs[name].drop_vars(runs[name].coords).assign_coords(**seeds, train=range(16))
        for name in ("influence", "leverage_corrected")
    }
    found = laws.laws_in_sets(outputs.assign_coords(seeds), shifts, removals, n_sets)
    exact = {
        "before": bed.law(),
        "after": bed.without(removals.groups),
        "influence": bed.predicted(removals.groups),
        "leverage_corrected": bed.predicted(removals.groups, leverage=True),
    }
    return found, exact, bed, removals


def exact_skill(exact, name, kind, rows):
    """1 - (squared gap left / squared change) of the exact laws, over removals and queries."""

    def feature(law):
        return {"mean": law.mean, "spread": np.log(law.variance)}[kind].values

    after, before = feature(exact["after"])[rows], feature(exact["before"])
    left = np.square(feature(exact[name])[rows] - after).mean()
    return 1 - left / np.square(before - after).mean()


@pytest.fixture(scope="module")
def testbed():
    return laws_of_testbed(np.random.default_rng(7))


@pytest.fixture(scope="module")
def skills(testbed):
    return tables.skill_table({"bed": testbed[0]}).set_index(["kind", "size", "estimator"])


def test_skills_are_those_of_the_exact_laws(testbed, skills):
    table, exact = skills, testbed[1]
    for kind in ("mean", "spread"):
        for size, rows in (("1 point", slice(0, 4)), ("25 %", slice(4, 8))):
            for name in ("influence", "leverage_corrected"):
                expected = exact_skill(exact, name, kind, rows)
                row = table.loc[(kind, size, name)]
                assert row["skill"] == pytest.approx(expected, abs=0.03), (kind, size, name)
                assert row["error"] == pytest.approx(np.sqrt(1 - row["skill"]))
    whole = table.loc[("mean", tables.ALL, "influence")]
    assert whole["skill"] == table.loc[("mean", "25 %", "influence"), "skill"]
    # One point at a time the leverage correction is exact: no noise of the seeds is left.
    assert table.loc[("law", "1 point", "leverage_corrected"), "skill"] == pytest.approx(1)
    assert table.loc[("spread", "1 point", "influence"), "skill"] < 0.95


def test_the_control_is_the_prediction_for_the_next_removal_of_a_size(testbed, skills):
    found, exact, _, _ = testbed
    gap = tables.gaps(found, "mean")["other_group"].sel(size="25 %", estimator="influence")
    guess, true = (found[name].mean("seed").sel(size="25 %") for name in ("predicted", "retrained"))
    for group, following in enumerate((1, 2, 3, 0)):
        expected = guess.sel(estimator="influence").isel(group=following) - true.isel(group=group)
        np.testing.assert_allclose(gap.isel(group=group), expected, atol=1e-12)
    row = skills.loc[("mean", "25 %", "influence")]
    wrong = np.roll(exact["influence"].mean.values[4:], -1, axis=0) - exact["after"].mean.values[4:]
    right = exact["before"].mean.values - exact["after"].mean.values[4:]
    control = 1 - np.square(wrong).mean() / np.square(right).mean()
    assert row["gain"] == pytest.approx(row["skill"] - control, abs=0.05)


def test_shares_count_queries_and_both_rivals(testbed):
    found, exact, _, _ = testbed
    table = tables.nearer_share_table({"bed": found}).set_index(
        ["kind", "size", "estimator", "rival"]
    )
    after = exact["after"].mean.values[4:]
    guess = exact["influence"].mean.values[4:]

    def distance(law):
        return np.square(law - after).mean(axis=0)  # (query,)

    for rival, law in (
        ("no change", exact["before"].mean.values),
        ("another group", np.roll(guess, -1, axis=0)),
    ):
        expected = (distance(guess) < distance(law)).mean()
        row = table.loc[("mean", "25 %", "influence", rival)]
        assert row["share"] == pytest.approx(expected, abs=1 / 12 + 1e-9)
        assert row["share_low"] - 1e-9 <= row["share"] <= row["share_high"] + 1e-9
    exactly = table.loc[("w2", "1 point", "leverage_corrected", "no change")]
    assert exactly["share"] == 1
    assert (table["n"] == 12).all()


def test_of_a_point_influence_keeps_one_minus_leverage(testbed):
    found, _, bed, _ = testbed
    twice = xr.concat([found.sel(size="1 point")] * 2, "size").assign_coords(
        size=["1 point", "high leverage"]
    )
    h = np.stack([bed.leverages()[:4]] * 2)
    leverage = xr.DataArray(h, {"size": twice["size"].values}, ("size", "group"))
    points = {16: tables.point_shifts(twice, leverage)}
    kept = tables.kept_table(points).set_index("estimator")
    assert kept.loc["influence", "less"] == pytest.approx(0, abs=0.02)
    assert kept.loc["leverage_corrected", "kept"] == pytest.approx(1)
    assert kept.loc["influence", "kept"] < 0.95
    assert kept.loc["influence", "n"] == 8
    single = tables.single_table(points)
    own = single[single["estimator"] == "influence"]
    np.testing.assert_allclose(own["leverage"], h.ravel())
    np.testing.assert_allclose(own["kept"], 1 - h.ravel(), rtol=1e-9)


def test_intervals_of_skills_cover(monkeypatch):
    """Nominal 95 %: 100 sizes, each with removals, queries' changes and noise of its own."""
    monkeypatch.setattr(tables, "KINDS", ("mean",))
    generator, n = np.random.default_rng(0), 100
    dims, sizes = ("set", "seed", "size", "group", "query"), [f"{i} %" for i in range(n)]
    true = generator.normal(size=(1, 1, n, 8, 1)) * generator.normal(size=(1, 1, n, 1, 20))
    guess = 0.5 * true + 0.3 * generator.normal(size=true.shape)
    base, noise = generator.normal(size=(5, 8, 1, 1, 20)), generator.normal(size=(5, 8, n, 8, 20))
    given = xr.Dataset(
        {
            "base": (("set", "seed", "query"), base[:, :, 0, 0]),
            "retrained": (dims, base + true + 0.5 * noise),
            "predicted": (("estimator", *dims), (base + guess)[None]),
        },
        {"size": sizes, "estimator": ["a"]},
    )
    table = tables.skill_table({"made": given}).set_index("size").loc[sizes]
    # True changes have the mean square 1, what is left 0.25 + 0.09: over all removals and queries.
    expected = 1 - (0.25 + 0.09)
    covered = (table["skill_low"] < expected) & (expected < table["skill_high"])
    assert 0.88 < covered.mean() <= 1


# --- rules ----------------------------------------------------------------------------------------


SINGLE = [("1 point", (0.1, 0.2)), ("high leverage", (0.1, 0.2))]  # decide nothing


def share_rows(no_change=(0.7, 0.9), another=(0.7, 0.9), size=(0.7, 0.9)):
    rows = [
        {"task": "concrete", "estimator": estimator, "kind": kind, "size": name, "rival": rival,
         "share": (low + high) / 2, "share_low": low, "share_high": high, "n": 60}
        for estimator in claims.CLAIMED_ESTIMATORS
        for kind in ("w2", "mean")
        for rival, ends in (("no change", no_change), ("another group", another))
        for name, (low, high) in (("1 %", size), *SINGLE, (tables.ALL, ends))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("given", "status", "estimate"),
    [
        ({}, "confirmed", 0.8),
        ({"another": (0.61, 0.7)}, "confirmed", 0.655),
        ({"another": (0.55, 0.7)}, "partly", 0.625),
        ({"another": (0.3, 0.55)}, "partly", 0.425),
        ({"no_change": (0.2, 0.5), "another": (0.3, 0.55)}, "refuted", 0.35),
        ({"no_change": (0.2, 0.5), "another": (0.3, 0.7)}, "inconclusive", 0.35),
        ({"size": (0.2, 0.45)}, "partly", 0.8),
        ({"size": (0.2, 0.55)}, "confirmed", 0.8),
    ],
)
def test_a_predicted_law_has_to_beat_both_rivals(given, status, estimate):
    found = claims.nearer_claims(share_rows(**given), {"concrete": "made"})
    assert [claim.id for claim in found][:2] == ["C1-unrolling-w2", "C1-unrolling-mean"]
    assert {claim.status for claim in found} == {status}
    assert found[0].estimate == pytest.approx(estimate)


def skill_rows(**columns):
    row = {"skill": 0.6, "skill_low": 0.5, "skill_high": 0.7, "n": 8, "error": 0.3}
    row |= {"gain": 0.6, "gain_low": 0.5, "gain_high": 0.7, "error_low": 0.2, "error_high": 0.4}
    return pd.DataFrame(
        row | {"task": task, "kind": kind, "estimator": name, "size": size} | columns
        for task in ("concrete", "digits")
        for kind in ("mean", "spread")
        for name in claims.CLAIMED_ESTIMATORS
        for size in ("1 point", "1 %", "50 %", "high leverage", tables.ALL)
    )


@pytest.mark.parametrize(
    ("skill", "gain", "status"),
    [
        ((0.3, 0.5), (0.3, 0.5), "confirmed"),
        ((0.3, 0.5), (-0.1, 0.2), "partly"),
        ((0.1, 0.2), (-0.1, 0.2), "refuted"),
        ((0.1, 0.4), (-0.1, 0.4), "inconclusive"),
    ],
)
def test_a_spread_is_predicted_if_enough_is_explained_and_more_than_by_the_control(
    skill, gain, status
):
    ends = dict(zip(("skill_low", "skill_high", "gain_low", "gain_high"), (*skill, *gain)))
    settings = {"concrete": "made", "digits": "made, too"}
    found = claims.spread_claims(skill_rows(**ends), settings)
    assert {claim.status for claim in found} == {status}
    assert [claim.id for claim in found][:4] == [
        "R8", "R8-if_damped", "R8-source", "R8-digits-unrolling"
    ]  # fmt: skip
    assert found[0].ci == skill


@pytest.mark.parametrize(
    ("small", "large", "status"),
    [
        ((0.2, 0.4), (0.6, 0.8), "confirmed"),
        ((0.2, 0.4), (0.3, 0.45), "partly"),
        ((0.6, 0.7), (0.3, 0.45), "refuted"),
        ((0.4, 0.6), (0.4, 0.6), "inconclusive"),
    ],
)
def test_first_order_breaks_between_the_smallest_and_the_largest_group(small, large, status):
    table = skill_rows()
    for size, ends in (("1 %", small), ("50 %", large)):
        table.loc[table["size"] == size, ["error_low", "error_high"]] = ends
    assert claims.group_size_claim(table, "made").status == status


@pytest.mark.parametrize(
    ("less", "kept", "statuses"),
    [
        ((-0.05, 0.05), (0.95, 1.05), ["confirmed"] * 3),
        ((0.2, 0.3), (0.5, 0.8), ["refuted"] * 3),
        ((-0.05, 0.3), (0.5, 1.05), ["inconclusive"] * 3),
    ],
)
def test_shares_of_single_points_are_held_against_leverage(less, kept, statuses):
    table = pd.DataFrame(
        {"n_train": n, "estimator": name, "left": 0.6, "n": 24,
         "less": np.mean(less), "less_low": less[0], "less_high": less[1],
         "kept": np.mean(kept), "kept_low": kept[0], "kept_high": kept[1]}
        for n in (900, 100) for name in ("unrolling", "if_damped", "rif")
    )  # fmt: skip
    found = claims.leverage_claims(table, "made")
    assert [claim.status for claim in found] == statuses
    table.loc[table["n_train"] == 900, ["less_low", "less_high"]] = [0.4, 0.5]
    mixed = claims.leverage_claims(table, "made")[0].status
    assert mixed == {"confirmed": "partly", "refuted": "refuted"}.get(statuses[0], "inconclusive")
