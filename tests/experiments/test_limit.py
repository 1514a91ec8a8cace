"""Chains of Eq. 6 against autograd, the library's unrolling, retraining and closed forms."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import digits_like, unrolled_responses
from torch.func import grad, hessian

from dtda_lib.attribution.influence import smallest_eigenvalue
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.trajectory import training_steps
from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.data.task import Task
from dtda_lib.experiments.unrolling_becomes_influence import broken as limit_broken
from dtda_lib.experiments.unrolling_becomes_influence import chains as limit_chains
from dtda_lib.experiments.unrolling_becomes_influence import claims as rules
from dtda_lib.experiments.unrolling_becomes_influence import network as limit
from dtda_lib.experiments.unrolling_becomes_influence import sizes
from dtda_lib.experiments.unrolling_becomes_influence import small as limit_small
from dtda_lib.experiments.unrolling_becomes_influence.chains import chain
from dtda_lib.experiments.unrolling_becomes_influence.trajectory import (
    Steps,
    follow,
    one_hidden_layer,
)
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.protocols import paired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import nothing
from dtda_lib.study.banks import Trained


def rng(seed=0):
    return np.random.default_rng(seed)


PULLS = np.array([1.0, -0.5, 0.25, -0.75])
X, Y = rng(1).standard_normal((4, 2)), np.array([0.0, 1.0, 1.0, 0.0])


def torch_losses():
    """Problem -> the loss of one example, written once more for autograd."""

    def mse(t, x, y):
        return 0.5 * (t @ x - y) ** 2

    flat = limit_chains.flat_pull(X, Y, PULLS)
    return {
        "identity": (limit_chains.generalised_linear(X, Y), mse, 2),
        "logistic": (
            limit_chains.generalised_linear(X, Y, "logistic"),
            lambda t, x, y: torch.nn.functional.softplus(t @ x) - y * (t @ x),
            2,
        ),
        "factors": (
            limit_chains.two_factors(X[:, :1], Y),
            lambda t, x, y: 0.5 * (t[0] * t[1] * x[0] - y) ** 2,
            2,
        ),
        "flat": (flat, lambda t, x, y: mse(t[:2], x[:2], y) + x[2] * t[2], 3),
        "wells": (
            limit_chains.double_well(PULLS),
            lambda t, x, y: (t[0] ** 2 - 1) ** 2 / 4 + t[1] ** 2 / 2 + x[0] * t[0],
            2,
        ),
    }


@pytest.mark.parametrize("name", torch_losses())
def test_derivatives_equal_autograd(name):
    problem, loss, size = torch_losses()[name]
    theta = rng(2).standard_normal((3, size))
    gradients, hessians = problem.at(theta)
    assert gradients.shape == (3, 4, size)
    assert hessians.shape == (3, 4, size, size)
    for run, point in np.ndindex(3, 4):
        given = [torch.from_numpy(v) for v in (theta[run], problem.x[point])]
        y = torch.tensor(problem.y[point])
        np.testing.assert_allclose(gradients[run, point], grad(loss)(*given, y), atol=1e-12)
        np.testing.assert_allclose(hessians[run, point], hessian(loss)(*given, y), atol=1e-12)


def test_the_chain_is_the_librarys_unrolling():
    x, y = (torch.from_numpy(v) for v in (rng(3).standard_normal((7, 3)), rng(4).random(7)))
    task = Task("linear", x, y, x[:2], y[:2], loss="squared_error", n_outputs=1)
    model = get_model("mlp", widths=(3, 1))
    recipe = Recipe("sgd", lr=0.1, batch_size=7, epochs=5, replacement=True, schedule="inverse")
    expected = unrolled_responses(task, model, recipe, 1, 2, [5, 0])
    steps = list(training_steps(recipe, 7, [2], torch.device("cpu")))
    batches = np.stack([step.batch.numpy() for step in steps])
    rates = [0.1 / (1 + 99 * step.done) for step in steps]
    design = np.hstack([x.numpy(), np.ones((7, 1))])
    start = initial_theta(model, 1, torch.float64).numpy()[None]
    problem = limit_chains.generalised_linear(design, y.numpy())
    found = chain(problem, start, np.array(rates), batches, [5, 0]).isel(seed=0, step=-1)
    np.testing.assert_allclose(found["theta"], expected["parameters"][-1], atol=1e-12)
    np.testing.assert_allclose(found["response"], expected["responses"][-1], atol=1e-12)


@pytest.mark.parametrize("name", torch_losses())
def test_responses_equal_differences_of_retraining(name):
    problem, _, size = torch_losses()[name]
    start = np.repeat(rng(5).standard_normal((1, size)), 3, axis=0)
    batches = np.repeat(rng(6).integers(4, size=(30, 1, 3)), 3, axis=1)
    weights = np.ones((3, 4))
    weights[1, 2], weights[2, 2] = 1 - 1e-5, 1 + 1e-5
    found = chain(problem, start, np.full(30, 0.05), batches, [2], weights=weights)
    _, less, more = found["theta"].values[:, 0]
    np.testing.assert_allclose(
        found["response"].values[0, 0, 0], (less - more) / 2e-5, rtol=1e-5, atol=1e-9
    )


def test_full_batches_converge_to_the_closed_form():
    problem = limit_small.rank_deficient("identity", rng(1))
    batches = np.broadcast_to(np.arange(24), (1_500, 1, 24))
    found = chain(problem, np.ones((1, 6)), np.full(1_500, 0.3), batches, [0, 3])
    x, y = problem.x, problem.y
    error = x @ np.linalg.lstsq(x, y, rcond=1e-9)[0] - y
    expected = np.linalg.pinv(x.T @ x / 24, rcond=1e-9) @ (x * error[:, None])[[0, 3]].T
    response = 24 * found["response"].values[0, 0]
    np.testing.assert_allclose(response, expected.T, atol=1e-10)
    theta = limit_chains.newton_minimum(problem, np.zeros(6))
    target, null = limit_chains.influence_limit(problem, theta, [0, 3])
    np.testing.assert_allclose(target, expected.T, atol=1e-10)
    assert np.abs(response @ null).max() < 1e-12
    assert np.linalg.matrix_rank(null, tol=1e-6) == 2


def test_responses_do_not_depend_on_the_other_points_followed_or_runs():
    problem = limit_chains.generalised_linear(X, Y)
    start, batches = rng(7).standard_normal((2, 2)), rng(8).integers(4, size=(9, 2, 2))
    given = np.full(9, 0.1)
    both = chain(problem, start, given, batches, [0, 1, 3], keep=[4, 9])
    alone = chain(problem, start[1:], given, batches[:, 1:], [3])
    np.testing.assert_allclose(
        both["response"].sel(train=3, step=9)[1], alone["response"][0, 0, 0], atol=1e-14
    )
    assert both["step"].values.tolist() == [4, 9]


def test_problems_refuse_what_they_cannot_be():
    with pytest.raises(ValueError, match="link"):
        limit_chains.generalised_linear(X, Y, "probit")
    with pytest.raises(ValueError, match="sum to 0"):
        limit_chains.flat_pull(X, Y, np.ones(4))
    with pytest.raises(FloatingPointError, match="gradient"):
        limit_chains.newton_minimum(limit_chains.double_well(PULLS + 0.5), np.zeros(2), 2)


def test_stationary_noise_has_no_bias_and_grows_like_the_root_of_the_step():
    problem = limit_small.rank_deficient("identity", rng(1))
    off = limit_small.stationary_responses(problem, (0.02, 0.08), 6, 1_500, rng(2))
    table = limit_small.spread_table(off).set_index("quantity")["estimate"]
    assert table["exponent"] == pytest.approx(0.5, abs=0.1)
    assert (table["bias"] < 0.3 * table["spread"].to_numpy()).all()


def test_every_minimum_of_the_hyperbola_gives_the_same_response():
    problem = limit_small.hyperbola(rng(4))
    c = problem.x[:, 0] @ problem.y / (problem.x[:, 0] @ problem.x[:, 0])
    a = np.array([0.5, 1.0, -2.0])
    theta = np.stack([a, c / a], axis=1)
    response, _ = limit_chains.influence_limit(problem, theta, range(12))
    shift = np.einsum("skp,sp->sk", response, theta[:, ::-1])
    data = limit_small.hyperbola_runs(problem, 4, 50, rng(5))
    np.testing.assert_allclose(shift, np.tile(data["exact"], (3, 1)), atol=1e-12)


def test_growth_where_assumptions_fail():
    flat, pull = limit_broken.flat_growth(20, 400, rng(6))
    last = flat.groupby("schedule").last()
    assert pull == pytest.approx(1)
    half = last["high"] - last["response"]
    assert ((last["response"] - last["predicted"]).abs() < 2 * half).all()
    assert (last["removed"] / last["response"]).between(0.9, 1.1).all()
    saddle = limit_broken.saddle_growth((0.0, 1e-2), n_steps=300)
    at, near = (part for _, part in saddle.groupby("offset"))
    np.testing.assert_allclose(at["response"], at["predicted"], rtol=1e-9)
    assert near["response"].max() > 20
    assert near["response"].iloc[-1] == pytest.approx(0.5, abs=0.05)


def test_removals_are_longer_by_leverage():
    table = limit_broken.retraining_table(rng(7), n_steps=1_000)
    assert table["difference"].max() < 1e-6
    np.testing.assert_allclose(table["ratio"], table["expected"], rtol=0.15)


# --- networks ------------------------------------------------------------------------------------

DECAY = 0.02


def regression(n_train=30, n_query=6):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n_train + n_query, 3, generator=generator)
    y = x[:, 0] * x[:, 1] + 0.3 * torch.randn(len(x), generator=generator)
    parts = x[:n_train], y[:n_train], x[n_train:], y[n_train:]
    return Task("small", *parts, loss="squared_error", n_outputs=1)


def followed(task, steps, seeds=((3, 4), (5, 6)), points=(0, 7, 9), keep=(6, 12)):
    return follow(task, 4, steps, seeds, points, keep, weight_decay=DECAY, batch_size=10)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_a_network_followed_by_hand_is_the_librarys_unrolling(momentum):
    task = regression()
    found = followed(task, Steps("x", 0.1, momentum=momentum))
    recipe = Recipe(
        "sgd", lr=0.1, momentum=momentum, weight_decay=DECAY, batch_size=10, epochs=4, keep_last=3,
        replacement=True,
    )  # fmt: skip
    model = one_hidden_layer(task, 4)
    for run, (init, order) in enumerate([(3, 4), (5, 6)]):
        exact = task.to(dtype=torch.float64)
        expected = unrolled_responses(exact, model, recipe, init, order, [0, 7, 9])
        for at, checkpoint in enumerate((0, 2)):
            here = found.isel(seed=run, step=at)
            np.testing.assert_allclose(
                here["theta"], expected["parameters"][checkpoint], atol=1e-13
            )
            np.testing.assert_allclose(
                here["response"], expected["responses"][checkpoint], atol=1e-13
            )


def test_runs_do_not_depend_on_each_other_nor_on_when_training_ends():
    task, steps = regression(), Steps("x", 0.2, 5.0)
    both = followed(task, steps)
    alone = followed(task, steps, seeds=[(5, 6)], points=[9], keep=[6])
    np.testing.assert_allclose(
        both["response"].sel(train=9, step=6)[1], alone["response"][0, 0, 0], atol=1e-14
    )
    np.testing.assert_allclose(steps.sizes(40)[:20], steps.sizes(20))
    assert steps.sizes(6)[5] == pytest.approx(0.1)
    assert steps.times([1, 2])[1] == pytest.approx(0.2 + 0.2 / 1.2)
    assert Steps("m", 0.1, momentum=0.9).times([10])[0] == pytest.approx(10)


def test_what_cannot_be_followed_is_refused():
    task = regression()
    with pytest.raises(ValueError, match="steps to keep"):
        followed(task, Steps("x", 0.1), keep=())
    with pytest.raises(FloatingPointError, match="lower the rate"):
        followed(task, Steps("x", 1e6), keep=(60,))
    digits = digits_like()
    with pytest.raises(ValueError, match="no regression"):
        followed(digits, Steps("x", 0.1))


@pytest.fixture(scope="module")
def small_run():
    task, steps = regression(), Steps("x", 0.2, 50.0)
    chain = followed(task, steps, keep=(6, 60))
    given = {"weight_decay": DECAY, "damping": 1.0}
    model = Network.of(one_hidden_layer(task, 4))
    data = limit.unrolling_and_influence(task, model, chain, steps.times([6, 60]), **given)
    return task, model, chain, steps, data


def test_influence_is_that_of_the_librarys_estimators(small_run):
    """Each curvature against the estimator of the registry; mutations of sign, damping and 1/N."""
    task, model, chain, steps, data = small_run
    exact, recipe = task.to(dtype=torch.float64), Recipe("sgd", weight_decay=DECAY)
    theta = torch.from_numpy(chain["theta"].values[1, 1])
    damping = 1 / steps.times([60])[0]
    for curvature, name, settings in (
        ("pinv", "influence_pinv", {}),
        ("ggn", "influence_ggn", {}),
        ("damped", "influence_hessian", {"damping": damping}),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = get_estimator(name, recipe, **settings)(model, theta, exact)[0, [0, 7, 9]]
        found = data["influence"].sel(curvature=curvature).isel(seed=1, step=1)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-12)
    shifts = unrolled_shifts(
        exact, one_hidden_layer(task, 4),
        Recipe("sgd", lr=0.2, weight_decay=DECAY, batch_size=10, epochs=2, replacement=True),
        [(5, 6)], points=[0, 7, 9],
    )  # fmt: skip
    plain = followed(task, Steps("x", 0.2), keep=(6,))
    got = limit.unrolling_and_influence(task, model, plain, [1.2], weight_decay=DECAY, damping=1.0)
    np.testing.assert_allclose(got["unrolling"][1, 0], shifts[0, -1], atol=1e-12)
    low = smallest_eigenvalue(recipe)(model, theta, exact)
    assert float(data["smallest"][1, 1]) == pytest.approx(float(low))
    np.testing.assert_allclose(data["folds"], DECAY * steps.times([6, 60]))


def test_flat_parts_and_the_rest_are_the_whole(small_run):
    data = small_run[-1].isel(step=[1])  # before, one run has not drawn the points
    assert (data["span"] <= 1 + 1e-12).all()
    shares = data[["flat unrolling", "flat influence"]].sel(threshold="0.1").to_array()
    assert ((shares > 0) & (shares < 1)).all()
    values = limit.run_values(data)
    for seed, step in np.ndindex(2, 1):
        a, b = (
            data[name].isel(seed=seed, step=step).values
            for name in ("unrolling", "influence")
        )  # fmt: skip
        expected = np.corrcoef(a.ravel(), b[1].ravel())[0, 1]
        assert float(values["ggn"][seed, step]) == pytest.approx(expected)
        slope = (a * b[0]).sum() / (b[0] ** 2).sum()
        assert float(values["scale"][seed, step]) == pytest.approx(slope)


def test_a_long_training_of_a_convex_network_ends_at_its_influence():
    """Full batches of one unit at a strong decay: N r meets the pseudo-inverse, size included."""
    task = regression()
    chain = follow(
        task, 1, Steps("x", 0.3, 400.0), [(1, 2), (3, 4)], [0, 5], [4_000],
        weight_decay=0.3, batch_size=30,
    )  # fmt: skip
    given = {"weight_decay": 0.3, "damping": 1.0}
    data = limit.unrolling_and_influence(
        task, Network.of(one_hidden_layer(task, 1)), chain, [400.0], **given
    )
    values = limit.run_values(data)
    assert (data["smallest"] > 0).all()
    assert (values["pinv"] > 0.9).all()
    assert values["scale"].values == pytest.approx(1, abs=0.3)


# --- Lanczos -------------------------------------------------------------------------------------


def symmetric(values, seed=0):
    basis = np.linalg.qr(rng(seed).standard_normal((len(values),) * 2))[0]
    return torch.from_numpy(basis * np.asarray(values) @ basis.T)


@pytest.mark.parametrize(
    "values", [np.geomspace(0.01, 5, 40), [-0.3, *np.geomspace(0.1, 5, 20)], [0.0, 0.0, 1, 2, 5]]
)
def test_lanczos_gives_the_pseudo_inverse_and_the_smallest_eigenvalue(values):
    matrix = symmetric(values)
    rows = torch.from_numpy(rng(1).standard_normal((3, len(values))))
    found, smallest, residual = sizes.pseudo_inverse_product(lambda v: matrix @ v, rows, 1e-6)
    expected = rows @ torch.linalg.pinv(matrix, rcond=1e-6, hermitian=True)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert smallest == pytest.approx(min(values), abs=1e-3)
    assert residual < sizes.EXACT


def test_too_few_lanczos_steps_say_so():
    matrix, row = symmetric(np.geomspace(0.001, 5, 60)), torch.ones(60, dtype=torch.float64)
    basis, inside, left = sizes.lanczos(lambda v: matrix @ v, row, 5)
    np.testing.assert_allclose(basis @ basis.T, torch.eye(5), atol=1e-12)
    np.testing.assert_allclose(basis @ matrix @ basis.T, inside, atol=1e-12)
    assert left > 0.01


def test_a_larger_network_is_compared_as_a_small_one(small_run, monkeypatch):
    """The same run through banks, Lanczos and dual as by hand with a dense Hessian."""
    monkeypatch.setenv("DTDA_CACHE", "off")
    task, model, *_ = small_run
    exact = task.to(dtype=torch.float64)
    recipe = Recipe(
        "sgd", lr=0.2, weight_decay=DECAY, batch_size=10, epochs=4, replacement=True
    )  # fmt: skip
    trained = Trained(
        task=exact, model=one_hidden_layer(task, 4), recipe=recipe, machine={"workers": 1}
    )
    seeds = [(3, 4), (5, 6)]
    bank = trained.bank(paired(nothing(30), seeds), ["query_loss", "parameters"], "x")
    unrolled = trained.unrolled(seeds, "parameters", "x", points=[0, 7, 9])
    large = sizes.Larger("small", "made", bank, unrolled)
    values = large.values()
    chain = followed(task, Steps("x", 0.2), keep=(12,))
    given = {"weight_decay": DECAY, "damping": 1.0}
    expected = limit.run_values(
        limit.unrolling_and_influence(task, model, chain, [2.4], **given)
    ).isel(step=0)
    for name in ("pinv", "ggn", "smallest", "slope"):
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-4, atol=1e-6)
    assert large.folds == pytest.approx(DECAY * 2.4)
    row = sizes.size_table([large]).iloc[0]
    assert row["estimate"] == pytest.approx(float(values["pinv"].mean()))
    assert row["parameters"] == 21


# --- rules ---------------------------------------------------------------------------------------


def made(late=0.97, *, smallest=0.01, slope=0.01, folds=9.0, spread=0.002):
    """`run_values` of eight runs at two times: 0.5 at first, `late` at last."""
    noise = spread * np.linspace(-1, 1, 8)[:, None]
    at = np.array([0.5, late])
    dims = ("seed", "step")
    data = {name: (dims, at + noise) for name in limit.COMPARED_CURVATURES}
    data |= {"scale": (dims, 1 + noise + 0 * at)}
    data |= {"smallest": (dims, smallest + noise + 0 * at), "slope": (dims, slope + 0 * at + noise)}
    data |= {"time": ("step", [1.0, 9.0]), "folds": ("step", [1.0, folds])}
    return xr.Dataset(data, {"step": [1, 9]})


def limit_statuses(values):
    stated = rules.limit_claims(limit.in_regime(values), "made")
    return {claim.id: claim.status for claim in stated}


def test_the_limit_is_judged_where_the_theorem_speaks():
    good = limit_statuses(made())
    assert good["C2-pinv"] == good["C2-ggn"] == good["C2-damped"] == "confirmed"
    assert good["C2-limit"] == "refuted"
    assert good["C2-scale"] == "confirmed"
    assert limit_statuses(made(0.996))["C2-limit"] == "confirmed"
    assert limit_statuses(made(0.3))["C2-pinv"] == "refuted"


@pytest.mark.parametrize("away", [{"smallest": -0.01}, {"slope": 0.2}, {"folds": 4.0}])
def test_runs_outside_the_regime_decide_nothing(away):
    assert set(limit_statuses(made(**away)).values()) == {"not tested"}
    rows = limit.in_regime(made(**away))
    assert rows["n"].iloc[0] == 0
    assert rows["runs"].iloc[0] == 8


def test_runs_that_count_decide_alone():
    values = made(0.97)
    values["smallest"][:2, -1] = -1.0
    values["pinv"][:2, -1] = 0.0
    rows = limit.in_regime(values).set_index("quantity")
    assert (rows.loc["pinv", "n"], rows.loc["pinv", "runs"]) == (6, 8)
    assert rows.loc["pinv", "low"] > 0.9
    assert limit_statuses(values)["C2-pinv"] == "confirmed"


def test_a_level_is_passed_where_no_later_interval_falls_below_it():
    values = made(0.97)
    table = limit.passing_table(values, (0.4, 0.9, 0.99)).set_index(["curvature", "level"])["folds"]
    assert table["pinv", 0.4] == 1.0
    assert table["pinv", 0.9] == 9.0
    assert np.isnan(table["pinv", 0.99])


def test_usual_runs_are_another_claim():
    values = made(0.97)
    values["pinv"] = values["pinv"] - 0.4
    rows = limit.usual_table(values)
    found = {c.id: c.status for c in rules.usual_claims(rows, "made")}
    assert found["C2-usual-pinv"] == "refuted"
    assert found["C2-usual-damped"] == found["T6"] == "confirmed"
    same = {c.id: c.status for c in rules.usual_claims(limit.usual_table(made()), "made")}
    assert same["T6"] == "refuted"  # no relevant difference


@pytest.mark.parametrize(
    ("gap", "statuses"),
    [
        (0.2, ("confirmed", "confirmed", "confirmed", "confirmed")),
        (0.0, ("refuted", "refuted", "confirmed", "confirmed")),
        (-0.2, ("inconclusive", "inconclusive", "refuted", "refuted")),
    ],
)
def test_differences_have_a_size_that_matters(gap, statuses):
    less, more = made(0.7)["damped"].isel(step=-1), made(0.7 + gap)["damped"].isel(step=-1)
    kinds = ("time", "step", "momentum", "adam")
    table = pd.DataFrame(limit.difference_row(what, "made", more, less) for what in kinds)
    stated = rules.practice_claims(table, "made")
    assert tuple(claim.status for claim in stated) == statuses
    assert stated[0].estimate == pytest.approx(gap)


def test_null_parts_are_held_against_those_of_influence():
    def shares(span, unrolling, influence):
        noise = 0.001 * np.linspace(-1, 1, 8)[:, None, None]
        dims, ones = ("seed", "step", "threshold"), np.ones((8, 1, 2)) + noise
        data = {"span": span * ones, "flat unrolling": unrolling * ones}
        data |= {"flat influence": influence * ones}
        found = xr.Dataset({k: (dims, v) for k, v in data.items()})
        return limit.flat_table(found.assign_coords(threshold=[limit.WEIGHT_DECAY, "0.1"]))

    def statuses(*given):
        return tuple(c.status for c in rules.null_claims(shares(*given), "made"))

    assert statuses(0.98, 0.4, 0.41) == ("confirmed", "confirmed")
    assert statuses(0.5, 0.4, 0.2) == ("refuted", "refuted")


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ({}, "confirmed"),
        ({"estimate": 0.5, "low": 0.4, "high": 0.6}, "refuted"),
        ({"smallest_low": -0.1}, "not tested"),
        ({"folds": 1.0}, "not tested"),
        ({"slope": 0.3}, "not tested"),
    ],
)
def test_larger_networks_count_under_the_same_conditions(row, status):
    full = {"name": "wide", "setting": "made", "n": 4, "estimate": 0.95, "low": 0.93, "high": 0.97}
    full |= {"smallest_low": 0.01, "folds": 8.0, "slope": 0.01}
    (claim,) = rules.network_size_claims(pd.DataFrame([full | row]))
    assert (claim.id, claim.status) == ("C2-wide", status)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ((0.45, 0.55), "confirmed"),
        ((0.1, 0.3), "refuted"),
        ((0.7, 0.9), "refuted"),
        ((0.35, 0.5), "inconclusive"),
        ((0.5, 0.7), "inconclusive"),
    ],
)
def test_growth_like_the_root_has_an_upper_bound_too(ends, status):
    row = {"quantity": "exponent", "estimate": 0.5} | dict(zip(("low", "high"), ends))
    claim = rules.spread_claim(pd.DataFrame([row]), 8)
    assert (claim.id, claim.status, claim.ci) == ("T3", status, ends)


@pytest.mark.parametrize(
    ("row", "ends", "status"),
    [
        (None, (), "confirmed"),
        (1, (0.5, 0.6), "refuted"),  # m differs between runs as weights do
        (1, (0.1, 0.3), "inconclusive"),
        (2, (0.2, 0.3), "refuted"),  # all runs agree, on something else than the closed form
        (2, (0.05, 0.2), "inconclusive"),
    ],
)
def test_a_manifold_has_to_give_the_same_and_the_closed_form(row, ends, status):
    names = ("weight-space response", "response of m = ab", "error of m = ab")
    curve = {"quantity": names, "estimate": [1, 0.05, 0.02]}
    curve = pd.DataFrame(curve | {"low": [0.9, 0.04, 0.01], "high": [1.1, 0.06, 0.03]})
    if row is not None:
        curve.loc[row, ["low", "high"]] = ends
    claim = rules.manifold_claim(curve, 8)
    assert (claim.id, claim.status) == ("T4", status)


def rates(slope=(-0.6, -0.4), ratio=(0.3, 0.5), other=(0.1, 0.2)):
    rows = [
        ("decaying", "late slope", slope),
        ("constant 0.1", "decaying over constant", other),
        ("constant 0.02", "decaying over constant", ratio),
    ]
    return pd.DataFrame(
        {"problem": "identity", "schedule": s, "quantity": q, "estimate": sum(ends) / 2}
        | dict(zip(("low", "high"), ends))
        for s, q, ends in rows
    )


@pytest.mark.parametrize(
    ("table", "null", "status"),
    [
        (rates(), 1e-14, "confirmed"),
        (rates(slope=(-0.2, 0.1)), 1e-14, "refuted"),  # near, and nearest, but levelled off
        (rates(slope=(-0.4, -0.1)), 1e-14, "inconclusive"),
        (rates(ratio=(1.1, 1.4)), 1e-14, "refuted"),  # a constant step ends nearer
        (rates(ratio=(0.8, 1.1)), 1e-14, "inconclusive"),
        (rates(), 1e-3, "refuted"),
        (rates(), 1e-8, "inconclusive"),
    ],
)
def test_convergence_is_more_than_being_near(table, null, status):
    assert rules.convergence_status(table, null) == status
    row = {"problem": "identity", "schedule": "decaying", "step": 9, "error": 0.03}
    curves = pd.DataFrame([row | {"low": 0.02, "high": 0.04, "null": null}])
    claim, rate = rules.convergence_claims(curves, table, 8)
    assert (claim.id, claim.status, claim.ci) == ("C4-identity", status, (0.02, 0.04))
    assert rate.ci == tuple(table[["low", "high"]].iloc[0])
    assert "times that of constant 0.02 steps, paired by run" in claim.statistic


@pytest.mark.slow
def test_constant_steps_alone_do_not_pass_for_convergence():
    """Real chains: what decays is confirmed; a constant step in its place is refuted."""
    problem = limit_small.rank_deficient("identity", rng(1))
    n_steps = 4_000
    small, large = (np.full(n_steps, rate) for rate in (0.02, 0.1))
    decaying = Steps("decaying", 0.3, 100.0).sizes(n_steps)
    schedules = {"decaying": decaying, "constant 0.02": small, "constant 0.1": large}
    found = limit_small.convergence_runs(problem, schedules, 8, rng(2))
    null = float(found["null"].max())
    assert rules.convergence_status(limit_small.rate_table(found), null) == "confirmed"
    renamed = found.assign_coords(schedule=["constant 0.3", "decaying", "constant 0.1"])
    assert rules.convergence_status(limit_small.rate_table(renamed), null) == "refuted"


def test_rates_are_those_of_power_laws_run_by_run():
    """Errors `a_s t^p`: the slope is p, whatever runs are like; ratios pair run with run."""
    step, scale = np.array([1, 5, 10, 30, 100]), np.array([1.0, 3.0, 9.0])[:, None]
    falls = np.where(
        step < 10, 7.0, step**-0.5
    )  # what happens before the last tenfold is no matter
    errors = np.stack([scale * falls, scale * 0.2 * step**0.0])
    found = xr.Dataset(
        {"error": (("schedule", "seed", "step"), errors)},
        {"schedule": ["decaying", "constant 0.1"], "step": step},
        {"problem": "identity"},
    )
    table = limit_small.rate_table(found).set_index(["schedule", "quantity"])
    both = table[["estimate", "low", "high"]]
    np.testing.assert_allclose(both.loc[("decaying", "late slope")], -0.5, atol=1e-12)
    np.testing.assert_allclose(both.loc[("constant 0.1", "late slope")], 0, atol=1e-12)
    np.testing.assert_allclose(both.loc[("constant 0.1", "decaying over constant")], 0.5)


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        ([0.95, 0.95], [1.05, 1.05], "confirmed"),
        ([0.95, 0.85], [1.05, 1.05], "partly"),  # the estimate is within, its interval is not
        ([0.7, 0.7], [0.8, 0.8], "refuted"),
        ([0.95, 0.7], [1.05, 0.8], "partly"),
        ([0.85, 0.85], [1.15, 1.15], "inconclusive"),
    ],
)
def test_growth_is_judged_by_its_intervals(low, high, status):
    middle = (np.array(low) + high) / 2
    names = {"schedule": ["constant", "decaying"], "predicted": 40.0}
    ends = {"response": 40 * middle, "low": 40 * np.array(low), "high": 40 * np.array(high)}
    saddle = pd.DataFrame({"offset": [0.0, 0.1, 0.01], "response": [1, 10, 100.0], "predicted": 1})
    found = rules.broken_claims(pd.DataFrame(names | ends), saddle, 8)
    assert {c.id: c.status for c in found} == {"T8": status, "T9": "confirmed"}
    assert found[0].ci[0] == pytest.approx(min(low))
