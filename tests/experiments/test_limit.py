"""Chains of Eq. 6 against autograd, the library's unrolling, retraining and closed forms."""

import contextlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch.func import grad, hessian

from dtda_lib.attribution.damping import training_time
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.trajectory import training_steps
from dtda_lib.attribution.unrolling import unrolled_responses, unrolled_shifts
from dtda_lib.data.task import Task
from dtda_lib.experiments.unrolling_becomes_influence import broken as limit_broken
from dtda_lib.experiments.unrolling_becomes_influence import chains as limit_chains
from dtda_lib.experiments.unrolling_becomes_influence import claims as rules
from dtda_lib.experiments.unrolling_becomes_influence import network as limit
from dtda_lib.experiments.unrolling_becomes_influence import small as limit_small
from dtda_lib.experiments.unrolling_becomes_influence.chains import chain
from dtda_lib.models.networks import get_model, initial_theta
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=generator)
    y = x[:, 0] * x[:, 1]
    task = Task("small", x[:40], y[:40], x[40:], y[40:], loss="squared_error", n_outputs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTDA_CACHE", "off")
        model = get_model("mlp", widths=(3, 4, 1), activation="tanh")
        recipe = replace(limit.RECIPES["decaying"], epochs=4)
        machine = {"workers": 1}
        trained = Trained(task=task, model=model, recipe=recipe, machine=machine)
        pair = limit.banks(trained, [1, 7, 9], seed_pairs(3), "x")
        return limit.aligned(*pair), pair


def test_alignment_against_the_library(trained):
    data, (retrained, unrolled) = trained
    task, recipe = unrolled.task, unrolled.recipe
    seeds = [(int(i), int(o)) for i, o in zip(*(v[:, 0] for v in _seeds(retrained)))]
    shifts = unrolled_shifts(task, unrolled.model, recipe, seeds, points=[1, 7, 9])
    np.testing.assert_allclose(data["unrolling"], shifts.isel(checkpoint=-1), rtol=1e-3, atol=1e-6)
    theta = retrained.dataset()["parameters"].values[:, 0, -1].astype(np.float64)
    exact = task.to(dtype=torch.float64)
    for name, at, extra in (
        ("influence_hessian", 0, 0.0),
        ("influence_hessian", 1, limit.DAMPING),
        ("influence_ggn", 2, 0.0),
    ):
        estimator = get_estimator(name, recipe, damping=extra)
        with pytest.warns() if at == 0 else contextlib.nullcontext():
            found = estimator(unrolled.network, torch.from_numpy(theta[0]), exact)
        np.testing.assert_allclose(
            data["influence"].isel(estimator=at, seed=0), found[0, [1, 7, 9]], rtol=1e-6, atol=1e-10
        )
    for threshold, label in limit.PSEUDO.items():
        estimator = get_estimator("influence_pinv", recipe, threshold=threshold)
        with pytest.warns(UserWarning, match="indefinite"):
            found = estimator(unrolled.network, torch.from_numpy(theta[0]), exact)
        np.testing.assert_allclose(
            data["influence"].sel(estimator=label).isel(seed=0),
            found[0, [1, 7, 9]],
            rtol=1e-6,
            atol=1e-10,
        )
    base = retrained.dataset()["query_loss"].values[:, :, -1].astype(np.float64)
    np.testing.assert_allclose(data["retrained"], base[:, 1:] - base[:, :1])


def _seeds(bank):
    return bank.runs.init_seeds, bank.runs.order_seeds


def test_span_and_null_complement_each_other(trained):
    data, _ = trained
    assert (np.diff(data["span"].values, axis=1) <= 1e-12).all()
    assert (data["span"].values <= 1 + 1e-12).all()
    tiny = data["null"].values[:, 0]
    assert (tiny <= data["null"].values[:, -1] + 1e-6).all()


def test_a_law_leaves_out_the_run_itself(trained):
    data, _ = trained
    values = limit.run_values(data)
    others = data["retrained"].isel(seed=[1, 2]).mean("seed").values.ravel()
    expected = np.corrcoef(others, data["unrolling"].values[0].ravel())[0, 1]
    assert float(values["law, unrolling"][0]) == pytest.approx(expected)
    assert float(values["retrained, unrolling"].min()) > 0.9


# --- rules ---------------------------------------------------------------------------------------


def made(late, *, spread=0.01):
    """`run_values` of eight runs in which everything is `late` at the last length, 0.5 before."""
    names = ["unrolling, " + n for n in (*limit.INFLUENCES, *limit.PSEUDO.values())]
    names += ["retrained, unrolling", "retrained, if_ggn", "span 0.001", "null 0.001"]
    found = {}
    for recipe in limit.RECIPES:
        for epochs in (1, 9):
            if epochs == 9 or recipe in limit.OVER_TIME:
                middle = late.get((recipe, "*"), late["*"]) if epochs == 9 else 0.5
                noise = spread * np.linspace(-1, 1, 8)
                data = {name: ("seed", middle + noise) for name in names}
                data["null 0.001"] = ("seed", 1 - middle + noise)
                found[recipe, epochs] = xr.Dataset(data)
    return found


def statuses(found):
    table = limit.time_table(found, 100)
    stated = [
        *rules.agreement_claims(table, found, "made"),
        *rules.null_claims(table, found, "made"),
        *rules.step_claims(found, "made"),
        *rules.fading_claims(found, "made"),
    ]
    assert {claim.n for claim in stated} == {8}
    return {claim.id: claim.status for claim in stated}


def test_rules_of_networks_follow_the_numbers():
    good = statuses(made({"*": 0.97}))
    assert good["C2-if_ggn"] == good["C2-time"] == good["C3-span"] == good["C3-null"] == "confirmed"
    assert good["C2-step"] == "inconclusive"
    assert good["fading-if_ggn-constant"] == "refuted"
    assert good["C2-adam"] == good["C2-momentum"] == "confirmed"
    bad = statuses(made({"*": 0.3, ("Adam", "*"): 0.1}))
    assert bad["C2-if_ggn"] == bad["C2-time"] == bad["C3-span"] == bad["C3-null"] == "refuted"
    assert bad["fading-unrolling-decaying"] == "confirmed"
    assert bad["C2-adam"] == "refuted"
    mixed = statuses(made({"*": 0.8, ("constant 0.0125", "*"): 0.95}))
    assert mixed["C2-if_hessian"] == mixed["C2-step"] == "confirmed"
    assert mixed["C3-null"] == "partly"


@pytest.mark.parametrize(
    ("pseudo", "status"), [(0.2, "confirmed"), (0.95, "refuted"), (0.8, "inconclusive")]
)
def test_the_pseudo_inverse_fails_only_where_gauss_newton_is_ahead(pseudo, status):
    found = made({"*": 0.8})
    noise = found["decaying", 9]["unrolling, if_ggn"] * 0 + 0.01 * np.linspace(-1, 1, 8)[::-1]
    found["decaying", 9]["unrolling, if_pinv 0.001"] = noise + pseudo
    assert statuses(found)["T6-pinv"] == status


@pytest.mark.parametrize(
    ("small", "spread", "status"),
    [(0.8, 0.01, "confirmed"), (0.2, 0.01, "refuted"), (0.55, 0.3, "inconclusive")],
)
def test_step_sizes_are_compared_after_the_same_sum_of_steps(small, spread, status):
    """The smaller step is judged after 4 epochs against 1, whatever it gives after 1 epoch."""
    noise = spread * np.linspace(-1, 1, 8)
    values = {
        ("constant 0.05", 1): 0.5 + 0 * noise,
        ("constant 0.05", 4): 0.0 + 0 * noise,
        ("constant 0.0125", 1): 1 - small + 0 * noise,
        ("constant 0.0125", 4): small + noise,
    }
    names = [f"unrolling, {name}" for name in limit.INFLUENCES]
    found = {
        key: xr.Dataset({name: ("seed", each) for name in names}) for key, each in values.items()
    }
    table = limit.equal_time_table(found)
    assert table[["epochs", "epochs_small"]].drop_duplicates().values.tolist() == [[1, 4]]
    assert table["estimate"].to_numpy() == pytest.approx(small - 0.5)
    _, claim = rules.step_claims(found, "made")
    assert (claim.status, claim.estimate) == (status, pytest.approx(small - 0.5))
    sums = [
        training_time(replace(limit.RECIPES[name], epochs=epochs), 100)
        for name, epochs in (("constant 0.05", 1), ("constant 0.0125", 4))
    ]
    assert sums[0] == pytest.approx(sums[1])


def test_without_lengths_of_the_same_sum_of_steps_nothing_is_claimed():
    assert statuses(made({"*": 0.97}))["C2-step-equal-time"] == "not tested"


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
    (claim,) = rules.convergence_claims(curves, table, 8)
    assert (claim.id, claim.status) == ("C4-identity", status)
    assert claim.ci == tuple(table[["low", "high"]].iloc[0])
    assert "times that of constant 0.02 steps, paired by run" in claim.statistic


@pytest.mark.slow
def test_constant_steps_alone_do_not_pass_for_convergence():
    """Real chains: what decays is confirmed; a constant step in its place is refuted."""
    problem = limit_small.rank_deficient("identity", rng(1))
    n_steps = 4_000
    small, large = (np.full(n_steps, rate) for rate in (0.02, 0.1))
    decaying = limit_chains.inverse_steps(n_steps, 0.3, 100.0)
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
