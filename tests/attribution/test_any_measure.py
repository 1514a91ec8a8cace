"""Every estimator of every measurement: brute force, real refits, invariances, refusals (float64).

The oracle knows a measurement by calling it alone: its gradient is a central difference, and all
curvatures are dense matrices made by other means than the estimators'.
"""

import math
import warnings
from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest
import torch
from helpers import table_like, unrolled_responses
from test_ekfac import dense_basis, images_like, small_cnn
from test_influence import classes_like
from test_leverage import refits
from torch.func import hessian, jacrev

from dtda_lib.ask.question import estimator_bank, scores
from dtda_lib.attribution import ekfac, posterior, targets
from dtda_lib.attribution.metagradient import metagradient_shifts
from dtda_lib.attribution.registry import ESTIMATORS, get_estimator
from dtda_lib.attribution.source import source_shifts
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.models.networks import Network, get_model, initial_theta
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.fingerprint import measure_identity
from dtda_lib.runs.measures import get_measure, measure, measure_of_outputs, query_outputs
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import nothing

RECIPE = Recipe("sgd", lr=0.1, weight_decay=0.05)
TASKS = {
    "squares": (
        table_like(n_train=7, n_query=4),
        get_model("mlp", widths=(8, 3, 1), activation="tanh"),
    ),
    "classes": (classes_like(7, 4), get_model("mlp", widths=(4, 3, 3), activation="tanh")),
    "convolutions": (images_like(5, 3), small_cnn),
}


@measure(dims=(), unit="own")
def worst_output(network, theta, task):
    """One value of all queries together, which no sum over queries gives."""
    return query_outputs(network, theta, task).flatten().mul(2).logsumexp(dim=0)


@measure(dims=("pair", "query"), unit="own", labels={"pair": ("first", "second")})
def differences(network, theta, task):
    """The axis query is not the first, and each value sees two queries."""
    outputs = query_outputs(network, theta, task)
    other = outputs - outputs.roll(1, 0)
    return torch.stack([other[:, 0], (other * outputs).sum(1)])


@measure_of_outputs(dims=("query", "kind"), unit="own", labels={"kind": ("a", "b")})
def two_kinds(outputs, targets, task):
    return torch.stack([outputs.sin().sum(1), task.per_example_loss(outputs, targets)], dim=1)


MEASURES = {
    "squares": ("query_loss", "query_prediction", worst_output, differences, two_kinds),
    "classes": (
        "query_loss", "query_margin", "query_probability", "query_prediction", "parameters",
        worst_output, differences, two_kinds,
    ),
    "convolutions": ("query_margin", "query_prediction", worst_output, two_kinds),
}  # fmt: skip
CASES = [(task, of) for task, asked in MEASURES.items() for of in asked]
each_case = pytest.mark.parametrize(("task", "of"), CASES, ids=lambda x: getattr(x, "name", x))


class Dense:
    """One untrained model and everything that oracles need, written out."""

    def __init__(self, kind, of):
        self.task, model = TASKS[kind]
        self.network, self.of = Network.of(model), get_measure(of)
        self.theta = initial_theta(model, 3, torch.float64)
        self.unit = torch.eye(len(self.theta), dtype=torch.float64)
        self.n = self.task.n_train

    def measured(self, theta):
        return self.of(self.network, theta, self.task)

    def losses(self, theta):
        return self.task.per_example_loss(self.network(theta, self.task.train_x), self.task.train_y)

    @cached_property
    def target(self):
        """Gradients `(entry, parameter)` by central differences."""
        step = 1e-5
        columns = [
            (self.measured(self.theta + step * e) - self.measured(self.theta - step * e)).flatten()
            for e in self.unit
        ]
        return torch.stack(columns, dim=1) / (2 * step)

    @cached_property
    def train(self):
        return jacrev(self.losses)(self.theta)

    @cached_property
    def hessian(self):
        return hessian(lambda theta: self.losses(theta).mean())(self.theta)

    @cached_property
    def gauss_newton(self):
        """Of each point, `(train, parameter, parameter)`: their mean is the whole."""
        outputs = self.network(self.theta, self.task.train_x).detach()
        slopes = jacrev(lambda theta: self.network(theta, self.task.train_x))(self.theta)

        def loss(output, y):
            return self.task.per_example_loss(output[None], y[None])[0]

        bends = torch.stack([hessian(loss)(out, y) for out, y in zip(outputs, self.task.train_y)])
        return torch.einsum("nop,noa,naq->npq", slopes, bends, slopes)

    def influence(self, inverse):
        return self.train @ inverse @ self.target.T / self.n

    def ridged(self, matrix, ridge=RECIPE.weight_decay):
        return torch.linalg.inv(matrix + ridge * self.unit)


WRITTEN_OUT = {}


def written_out(kind, of):
    """One `Dense` for all estimators: it is the oracle's work that takes time."""
    key = kind, get_measure(of).name
    return WRITTEN_OUT.setdefault(key, Dense(kind, of))


def gradient_similarity(d):
    dot = d.train @ d.target.T
    return [dot, dot / d.train.norm(dim=1)[:, None] / d.target.norm(dim=1)]


def additional_step(d):
    def after(kind, gradient, **settings):
        theta = d.theta.clone().requires_grad_()
        theta.grad = gradient.clone()
        kind([theta], lr=RECIPE.lr, **settings).step()
        return (d.measured(d.theta) - d.measured(theta.detach())).flatten()

    decayed = {"weight_decay": RECIPE.weight_decay}
    adam = [after(torch.optim.Adam, gradient, **decayed) for gradient in d.train]
    return [torch.stack(adam), torch.stack([after(torch.optim.SGD, g) for g in d.train])]


def influence_lissa(d):
    """The published recursion, forward, for each entry on its own."""
    found = []
    for v in d.target:
        h = v
        for rows in torch.arange(d.n).split(8):
            batch = hessian(lambda theta, rows=rows: d.losses(theta)[rows].mean())(d.theta)
            h = v + (1 - 5e-3) * h - batch @ h / 1e4
        found.append(d.train @ h / 1e4 / d.n)
    return [torch.stack(found, dim=1)]


def influence_ekfac(d):
    basis = ekfac.kronecker_basis(d.network, (d.theta,), d.task)
    values = ekfac.corrected_eigenvalues(d.network, (d.theta,), d.task, basis)
    vectors = dense_basis(d.network, basis)
    return [d.influence(d.ridged(vectors @ values.diag() @ vectors.T))]


def influence_leverage(d):
    """One Gauss-Newton step on the objective without the point."""
    whole = d.gauss_newton.mean(0)
    response = torch.stack(
        [d.ridged(whole - own / d.n) @ g / d.n for own, g in zip(d.gauss_newton, d.train)]
    )
    found = [response @ d.target.T]
    if d.of.of_outputs is not None:

        def outputs(theta):
            return d.network(theta, d.task.query_x)

        moved = [outputs(d.theta) + torch.func.jvp(outputs, (d.theta,), (r,))[1] for r in response]
        before = d.measured(d.theta)
        after = [d.of.of_outputs(one, d.task.query_y, d.task) for one in moved]
        found.append(torch.stack([(one - before).flatten() for one in after]))
    return found


SAMPLED = {"chains": 3, "draws": 4, "thin": 2, "burn_in": 5, "step": 0.02, "temperature": 0.1}


def posterior_covariance(d):
    """The same chains, and a covariance of each loss with each value."""
    states = posterior._langevin(
        d.network, d.theta, d.task, RECIPE.weight_decay, 0.1, SAMPLED["temperature"],
        SAMPLED["step"], SAMPLED["chains"], 0,
    )  # fmt: skip
    kept = [states for number, states in zip(range(1, 14), states) if number in (7, 9, 11, 13)]
    losses, values = [], []
    for theta in torch.cat(kept):
        losses.append(d.losses(theta).numpy())
        values.append(d.measured(theta).flatten().numpy())
    both = np.cov(np.array(losses).T, np.array(values).T)
    return [torch.from_numpy(both[: d.n, d.n :]) / (d.n * SAMPLED["temperature"])]


def trak(d):
    """Features of the margin, or of the prediction, seen by training points alone."""

    def f(theta):
        outputs = d.network(theta, d.task.train_x)
        if d.task.loss == "squared_error":
            return outputs[:, 0]
        log_p = outputs.log_softmax(1).gather(1, d.task.train_y[:, None])[:, 0]
        return log_p - torch.log1p(-log_p.exp())

    phi, at = jacrev(f)(d.theta), f(d.theta)
    slopes = at - d.task.train_y if d.task.loss == "squared_error" else -torch.sigmoid(-at)
    inverse = d.ridged(phi.T @ phi / d.n)
    return [slopes[:, None] * (phi @ inverse @ d.target.T) / d.n]


ORACLES = {
    "gradient_similarity": gradient_similarity,
    "additional_step": additional_step,
    "influence_lissa": influence_lissa,
    "influence_ggn": lambda d: [d.influence(d.ridged(d.gauss_newton.mean(0)))],
    "influence_ekfac": influence_ekfac,
    "influence_hessian": lambda d: [d.influence(d.ridged(d.hessian))],
    "influence_pinv": lambda d: [d.influence(torch.linalg.pinv(d.hessian + 0.05 * d.unit))],
    "influence_leverage": influence_leverage,
    "posterior_covariance": posterior_covariance,
    "trak": trak,
}


def estimator_of(name, of):
    return get_estimator(name, RECIPE, of=of, **SAMPLED if name == "posterior_covariance" else {})


def taken(m, d, task=None):
    with warnings.catch_warnings():  # of untrained networks, whose Hessian is indefinite
        warnings.simplefilter("ignore", UserWarning)
        return m(d.network, d.theta, task or d.task)


# --- brute force ----------------------------------------------------------------------------------


def test_every_estimator_has_an_oracle():
    assert ORACLES.keys() == ESTIMATORS.keys()


@pytest.mark.parametrize("name", ESTIMATORS)
@each_case
def test_equals_brute_force(name, task, of):
    d = written_out(task, of)
    m = estimator_of(name, of)
    found = taken(m, d)
    value = d.measured(d.theta)
    assert m.dims == ("estimator", "train", *d.of.dims)
    assert m.name == name
    assert {k: v for k, v in m.labels.items() if k != "estimator"} == d.of.labels
    assert found.shape == (len(m.labels["estimator"]), d.n, *value.shape)
    expected = torch.stack(ORACLES[name](d)).reshape(found.shape)
    scale = float(expected.abs().max())
    assert scale > 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=3e-9 * max(1.0, scale))


@pytest.mark.parametrize("name", ["influence_ggn", "influence_leverage", "posterior_covariance"])
def test_the_unit_is_that_of_the_measurement(name):
    for of in ("query_loss", "query_prediction", worst_output):
        assert estimator_of(name, of).unit == get_measure(of).unit


def test_units_that_are_no_shifts_say_so():
    similar = estimator_of("gradient_similarity", "query_margin")
    assert similar.unit.startswith("grad_dot: (logits) times loss unit")
    assert similar.unit.endswith("grad_cos: none")
    assert estimator_of("additional_step", "query_margin").unit == "logits, for one step"


# --- exact relations ------------------------------------------------------------------------------


def test_predictions_of_least_squares_are_those_of_real_refits():
    task = table_like(n_train=14, n_query=6)
    model = get_model("mlp", widths=(8, 1))
    network = Network.of(model)
    theta, without = refits(network, task, initial_theta(model, 0, torch.float64), 0.05)
    before = network(theta, task.query_x)  # (query, output)
    truth = torch.stack([network(one, task.query_x) - before for one in without]).detach()
    of = {"of": "query_prediction"}
    for found in get_estimator("influence_leverage", RECIPE, **of)(network, theta, task):
        torch.testing.assert_close(found, truth, rtol=1e-8, atol=1e-11)
    # Plain influence keeps the point and under-shoots by its leverage.
    x = torch.cat([task.train_x, torch.ones(14, 1, dtype=torch.float64)], dim=1)
    hat = x @ torch.linalg.solve(x.T @ x + 14 * 0.05 * torch.eye(9).double(), x.T)
    plain = get_estimator("influence_ggn", RECIPE, **of)(network, theta, task)[0]
    torch.testing.assert_close(plain / (1 - hat.diagonal())[:, None, None], truth)


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "additional_step"])
def test_the_chain_rule_leads_from_predictions_to_losses(name):
    d = Dense("squares", "query_loss")
    of_loss, of_output = (
        taken(estimator_of(name, of), d)[0] for of in ("query_loss", "query_prediction")
    )
    residual = (d.network(d.theta, d.task.query_x)[:, 0] - d.task.query_y).detach()
    told = of_output[..., 0] * residual
    if name == "posterior_covariance":  # of finite steps: of first order alone
        assert np.corrcoef(told.flatten(), of_loss.flatten())[0, 1] > 0.8
    else:
        torch.testing.assert_close(told, of_loss, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("of", ["query_margin", "query_prediction", worst_output])
def test_unrolling_takes_the_same_measurements(of):
    task, model = TASKS["classes"]
    d, recipe = Dense("classes", of), replace(RECIPE, batch_size=3, epochs=2)
    run = (task, model, recipe, [(3, 4)], of)
    forward, reverse = unrolled_shifts(*run), metagradient_shifts(*run)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-12)
    chain = unrolled_responses(task, model, recipe, 3, 4)
    d.theta = chain["parameters"][-1]
    expected = (chain["responses"][-1] @ d.target.T).reshape(forward.shape[2:])
    np.testing.assert_allclose(forward[0, 0], expected, rtol=1e-6, atol=1e-10)
    segments = source_shifts(*run, segments=1, models=1)
    assert segments.dims == forward.dims
    assert np.corrcoef(segments.values.ravel(), forward.values.ravel())[0, 1] > 0.5


# --- invariances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "influence_lissa"])
@pytest.mark.parametrize("of", ["query_prediction", worst_output], ids=["predictions", "own"])
def test_the_order_of_points_does_not_matter(name, of):
    d = Dense("classes", of)
    order, asked = torch.tensor([3, 1, 6, 2, 0, 5, 4]), torch.tensor([2, 0, 3, 1])
    turned = replace(
        d.task, train_x=d.task.train_x[order], train_y=d.task.train_y[order],
        query_x=d.task.query_x[asked], query_y=d.task.query_y[asked],
    )  # fmt: skip
    m = estimator_of(name, of)
    expected = taken(m, d)[:, order]
    if "query" in m.dims:
        expected = expected[:, :, asked]
    torch.testing.assert_close(taken(m, d, turned), expected, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("of", ["query_margin", "query_prediction", two_kinds, differences])
def test_rows_do_not_depend_on_the_chunk(size, of, monkeypatch):
    d = Dense("classes", of)
    m = estimator_of("influence_leverage", of)
    whole = taken(m, d)
    monkeypatch.setattr(targets, "EXAMPLE_CHUNK", size)
    rows = list(targets.target_gradients(d.network, d.theta, d.task, d.of))
    assert max(map(len, rows)) <= max(size, math.prod(d.measured(d.theta).shape[1:]))
    torch.testing.assert_close(torch.cat(rows), d.target, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(taken(m, d), whole, rtol=1e-10, atol=1e-13)


def test_queries_one_by_one_are_differentiated_as_the_whole_is():
    for task, of in (("classes", "query_margin"), ("convolutions", "query_prediction")):
        d = Dense(task, of)
        plain = replace(d.of, of_outputs=None)
        both = [
            torch.cat(list(targets.target_gradients(d.network, d.theta, d.task, m)))
            for m in (d.of, plain)
        ]
        torch.testing.assert_close(*both, rtol=1e-10, atol=1e-13)


# --- banks ----------------------------------------------------------------------------------------


def bank(task, model, measures, **settings):
    runs = paired(nothing(task.n_train), seed_pairs(3))
    recipe = replace(RECIPE, batch_size=4, epochs=2)
    return RunBank(task, model, recipe, runs, measures, workers=1, **settings)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_stack_of_runs_gives_what_each_run_gives(name, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", "off")
    task, model = TASKS["classes"]
    ofs = ["query_prediction", worst_output, differences]
    measures = [replace(estimator_of(name, of), name=f"m{i}") for i, of in enumerate(ofs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        data = bank(task, model, ["parameters", *measures]).dataset()
    theta = torch.from_numpy(data["parameters"].isel(seed=1, removal=0, checkpoint=0).values)
    d = Dense("classes", "query_loss")
    d.theta = theta
    for m in measures:
        found = data[m.name].isel(seed=1, removal=0, checkpoint=0)
        found = found.sel(estimator=list(m.labels["estimator"]))
        assert found.dims == m.dims
        assert found.attrs["unit"] == m.unit
        np.testing.assert_allclose(found, taken(m, d), rtol=1e-8, atol=1e-12)


def test_the_measurement_is_part_of_the_key():
    asked = ("query_loss", "query_margin", "query_probability", "query_prediction", worst_output)
    for name in ("influence_ggn", "influence_leverage"):
        sources = {measure_identity(get_estimator(name, RECIPE, of=of))["source"] for of in asked}
        assert len(sources) == len(asked)


def test_a_question_passes_its_measure_on(monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", "off")
    task, model = TASKS["classes"]
    recipe = replace(RECIPE, batch_size=4, epochs=2)
    asked = estimator_bank(task, model, recipe, 2, measure="query_margin", workers=1)
    loss = estimator_bank(task, model, recipe, 2, workers=1)
    assert asked.measures[0].unit == "logits"
    margins, losses = scores(asked), scores(loss)
    assert margins.dims == losses.dims
    # The loss is log(1 + exp(-margin)): each query has one factor, and that is negative.
    assert ((margins * losses) <= 0).all()


# --- refusals -------------------------------------------------------------------------------------


@measure(dims=("query",), unit="share")
def hits(network, theta, task):
    right = query_outputs(network, theta, task).argmax(1) == task.query_y
    return right.to(theta.dtype)


@measure_of_outputs(dims=("query",), unit="share")
def hits_of_outputs(outputs, targets, task):
    return (outputs.argmax(1) == targets).to(outputs.dtype)


@measure(dims=(), unit="share")
def steps(network, theta, task):
    """Depends on theta for autograd, with a gradient of 0 everywhere."""
    return query_outputs(network, theta, task).round().sum()


@measure(dims=(), unit="own")
def misshapen(network, theta, task):
    return query_outputs(network, theta, task)[:, 0]


@measure_of_outputs(dims=("query",), unit="own")
def summed(outputs, targets, task):
    return outputs.sum()


FLAT = [hits, hits_of_outputs, steps]
SHAPELESS = [misshapen, summed]
GRADIENTS = [n for n in ESTIMATORS if n not in ("additional_step", "posterior_covariance")]


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("of", FLAT, ids=lambda of: of.name)
def test_what_has_no_gradient_is_refused_before_anything_trains(name, of):
    with pytest.raises(ValueError, match=f"measure '{of.name}'.*no gradient"):
        bank(*TASKS["classes"], [get_estimator(name, RECIPE, of=of)])


@pytest.mark.parametrize("mode", ["forward", "reverse", "source"])
@pytest.mark.parametrize("of", [*FLAT, *SHAPELESS], ids=lambda of: of.name)
def test_so_does_unrolling(mode, of):
    with pytest.raises(ValueError, match=f"measure '{of.name}'"):
        UnrolledBank(*TASKS["classes"], replace(RECIPE, epochs=2), [(0, 0)], of, mode=mode)


@pytest.mark.parametrize("of", [hits, hits_of_outputs], ids=lambda of: of.name)
def test_what_has_no_gradient_is_refused_without_a_bank(of):
    for name in GRADIENTS:
        with pytest.raises(ValueError, match=f"measure '{of.name}'.*no gradient"):
            taken(get_estimator(name, RECIPE, of=of), Dense("classes", "query_loss"))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("of", SHAPELESS, ids=lambda of: of.name)
def test_another_shape_than_stated_is_refused(name, of):
    with pytest.raises(ValueError, match=rf"measure '{of.name}' returns values of shape"):
        bank(*TASKS["classes"], [estimator_of(name, of)])


@pytest.mark.parametrize("name", ["additional_step", "posterior_covariance"])
def test_what_is_taken_and_not_differentiated_may_count(name, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", "off")
    data = bank(*TASKS["classes"], [estimator_of(name, hits)]).dataset()
    assert np.isfinite(data[name]).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_of_estimators_and_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"'trak' has the axis 'train' itself"):
        get_estimator(name, RECIPE, of=get_estimator("trak", RECIPE))
    with pytest.raises(ValueError, match="did you mean 'query_margin'"):
        get_estimator(name, RECIPE, of="query_margins")


def test_a_refused_damping_says_how_to_give_one():
    for name in ("influence_ggn", "influence_ekfac", "influence_leverage", "trak"):
        with pytest.raises(ValueError, match=rf"get_estimator\('{name}'.*damping=.*settings="):
            get_estimator(name, Recipe("sgd"))


def test_two_measures_of_one_name_are_refused():
    twice = [get_estimator("influence_ggn", RECIPE, of=of) for of in ("query_loss", worst_output)]
    with pytest.raises(ValueError, match="two measures are called 'influence_ggn'"):
        bank(*TASKS["classes"], twice)
