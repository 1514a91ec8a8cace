"""Covariance under a local posterior: closed forms, exact draws, quadrature, invariances."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import table_like
from torch import nn
from torch.func import hessian

from dtda_lib.attribution import posterior
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs.recipes import Recipe

L2, PULL = 0.02, 0.3
RECIPE = Recipe("sgd", weight_decay=L2)
LINEAR = get_model("mlp", widths=(8, 1))


class Squash(nn.Module):
    """`tanh(a x)`: one parameter, not quadratic."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.tanh(self.a * x)


def line(n_train=9):
    """The task, network and minimum of ridge regression with an intercept; its curvature."""
    task, network = table_like(n_train=n_train), Network.of(LINEAR)

    def objective(theta):
        loss = task.per_example_loss(network(theta, task.train_x), task.train_y).mean()
        return loss + 0.5 * L2 * theta @ theta

    start = torch.zeros(network.layout.n_parameters, dtype=torch.float64)
    curvature = hessian(objective)(start)
    theta = start - torch.linalg.solve(curvature, torch.func.grad(objective)(start))
    return task, network, theta, curvature


def parts(task, network, theta, curvature):
    """Residuals of train and query points, and `J_k C^-1 J_q` with C = curvature + PULL."""
    full = curvature + PULL * torch.eye(len(theta), dtype=theta.dtype)
    designs, residuals = [], []
    for x, y in ((task.train_x, task.train_y), (task.query_x, task.query_y)):
        designs.append(torch.func.jacrev(lambda t, x=x: network(t, x)[:, 0])(theta))
        residuals.append(network(theta, x)[:, 0].detach() - y)
    return *residuals, designs[0] @ torch.linalg.solve(full, designs[1].T), full, designs


def exact_shift(task, network, theta, curvature, temperature):
    """Under the Gaussian posterior: covariance of two squares of linear functions, over N T."""
    train, query, inner, *_ = parts(task, network, theta, curvature)
    return (train[:, None] * query * inner + temperature / 2 * inner**2) / task.n_train


def test_exact_draws_of_a_gaussian_posterior_give_the_closed_form():
    problem, temperature = line(), 0.05
    train, query, _, full, designs = parts(*problem)
    root = torch.linalg.cholesky(torch.linalg.inv(full) * temperature)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(50_000, len(full), generator=generator, dtype=torch.float64) @ root.T
    losses = [0.5 * (e + z @ x.T) ** 2 for e, x in ((train, designs[0]), (query, designs[1]))]
    got = posterior.shift_from_draws(*losses, temperature)
    expected = exact_shift(*problem, temperature)
    error = losses[0].std(dim=0)[:, None] * losses[1].std(dim=0) / (9 * temperature * 50_000**0.5)
    assert ((got - expected).abs() / error).max() < 6
    # To first order and for linear m it is damped influence, and nothing but that.
    linear = [e * (z @ x.T) for e, x in ((train, designs[0]), (query, designs[1]))]
    sample = z.T @ z / len(z)
    by_sample = linear[0].T @ linear[1] / len(z) / (9 * temperature)
    assert torch.allclose(
        by_sample, train[:, None] * query * (designs[0] @ sample @ designs[1].T) / temperature / 9
    )


def test_chains_sample_the_closed_form():
    problem, temperature = line(), 0.02
    task, network, theta, _ = problem
    settings = {"chains": 400, "draws": 25, "thin": 4, "burn_in": 60}
    estimator = get_estimator(
        "posterior_covariance", RECIPE, temperature=temperature, localisation=PULL, **settings
    )
    got, expected = estimator(network, theta, task)[0], exact_shift(*problem, temperature)
    slope = (got * expected).sum() / (expected**2).sum()
    assert slope == pytest.approx(1, abs=0.12)  # twice the error of sampling
    assert torch.corrcoef(torch.stack([got.ravel(), expected.ravel()]))[0, 1] > 0.9


def test_cold_posterior_is_damped_influence():
    task, network, theta, _ = line()
    damped = get_estimator("influence_hessian", RECIPE, damping=PULL)(network, theta, task)[0]
    gaps = [
        float((exact_shift(*line(), temperature) - damped).abs().max() / damped.abs().max())
        for temperature in (1e-2, 1e-6)
    ]
    assert gaps[1] < 1e-3
    assert gaps[0] > 1, "a warm posterior of a good fit is ruled by its curvature"
    estimator = get_estimator(
        "posterior_covariance", RECIPE, temperature=1e-6, localisation=PULL, chains=300, draws=20
    )
    got = estimator(network, theta, task)[0]
    assert torch.corrcoef(torch.stack([got.ravel(), damped.ravel()]))[0, 1] > 0.9
    assert (got * damped).sum() / (damped**2).sum() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("step", [0.4, 1.8])
def test_the_sampler_is_exact_for_a_quadratic_at_any_stable_step(step):
    task, network, theta, curvature = line()
    full = curvature + PULL * torch.eye(len(theta), dtype=theta.dtype)
    step = step / float(torch.linalg.eigvalsh(full)[-1])
    states = posterior._langevin(network, theta, task, L2, PULL, 0.1, step, 2_000, seed=1)
    for _ in range(int(10 / step)):
        now = next(states)
    spread = torch.cov(now.T)
    expected = 0.1 * torch.linalg.inv(full)
    scale = torch.outer(expected.diagonal(), expected.diagonal()).sqrt()
    assert ((spread - expected) / scale).abs().max() < 5 * (2 / 2_000) ** 0.5


def test_a_warm_posterior_by_quadrature():
    x = torch.tensor([[0.5], [1.0], [2.0], [0.8], [1.5]], dtype=torch.float64)
    y = torch.tensor([0.6, 0.5, 0.9, 0.2, 1.2], dtype=torch.float64)
    task = Task("squash", x[:4], y[:4], x[3:], y[3:], "squared_error", 1)
    network, center, temperature = Network.of(Squash), 0.9, 0.05
    a = torch.linspace(-6, 8, 4_001, dtype=torch.float64)
    outputs = torch.tanh(a[:, None] * x[:, 0])  # (place, point)
    losses = 0.5 * (outputs - y) ** 2

    def mean_measured(point, eps):
        weights = torch.ones(4, dtype=torch.float64) / 4
        weights[point] -= eps
        energy = losses[:, :4] @ weights + L2 / 2 * a**2 + PULL / 2 * (a - center) ** 2
        p = torch.softmax(-energy / temperature, dim=0)
        return p @ losses[:, 3:]

    eps = 1e-5
    slopes = torch.stack([mean_measured(k, eps) - mean_measured(k, -eps) for k in range(4)])
    expected = slopes / (2 * eps) / 4
    estimator = get_estimator(
        "posterior_covariance",
        RECIPE,
        temperature=temperature,
        localisation=PULL,
        chains=2_000,
        draws=20,
        thin=10,
        step=0.15,
    )
    got = estimator(network, torch.tensor([center], dtype=torch.float64), task)[0]
    assert (got - expected).abs().max() < 0.05 * expected.abs().max()
    center_shift = get_estimator("influence_hessian", RECIPE, damping=PULL)(
        network, torch.tensor([center], dtype=torch.float64), task
    )[0]
    assert (center_shift - expected).abs().max() > 0.1 * expected.abs().max(), "T matters here"


def test_invariances_of_the_covariance():
    generator = torch.Generator().manual_seed(3)
    train, query = (torch.randn(50, n, generator=generator, dtype=torch.float64) for n in (6, 4))
    base = posterior.shift_from_draws(train, query, 0.1)
    oracle = np.cov(train.T.numpy(), query.T.numpy())[:6, 6:] / (6 * 0.1)
    np.testing.assert_allclose(base, oracle)
    assert torch.allclose(posterior.shift_from_draws(train + 3, query - 7, 0.1), base)
    assert torch.allclose(posterior.shift_from_draws(train, 2 * query, 0.1), 2 * base)
    assert torch.allclose(posterior.shift_from_draws(train.flip(1), query, 0.1), base.flip(0))
    # Losses, and with them the temperature, in other units: the shift is in these units, too.
    assert torch.allclose(posterior.shift_from_draws(5 * train, 5 * query, 0.5), 5 * base)
    with pytest.raises(ValueError, match="two draws"):
        posterior.shift_from_draws(train[:1], query[:1], 0.1)


def test_seeds_are_explicit_and_models_keep_their_type():
    task, network, theta, _ = line()
    few = {"chains": 2, "draws": 3, "burn_in": 2, "thin": 1}
    one, same, other = (
        get_estimator("posterior_covariance", RECIPE, seed=seed, **few)(network, theta, task)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    arrays = {
        name: getattr(task, name).float() for name in ("train_x", "train_y", "query_x", "query_y")
    }
    single = replace(task, **arrays)
    low = get_estimator("posterior_covariance", RECIPE, **few)(network, theta.float(), single)
    assert low.dtype == torch.float32
    assert torch.allclose(low.double(), one, rtol=0.05, atol=float(one.abs().max()) * 0.01)


def test_largest_curvature_is_the_hessians():
    task, network, theta, curvature = line()
    largest = float(torch.linalg.eigvalsh(curvature)[-1]) - L2
    assert float(posterior.largest_curvature(network, theta, task)) == pytest.approx(
        largest, rel=0.02
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"localisation": -1.0}, "localisation"),
        ({"step": -0.1}, "step"),
        ({"chains": 0}, "counts"),
        ({"thin": 0}, "counts"),
        ({"burn_in": -1}, "counts"),
        ({"chains": 1, "draws": 1}, "two draws"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        get_estimator("posterior_covariance", RECIPE, **settings)


def test_diverging_chains_are_said():
    task, network, theta, _ = line()
    wild = get_estimator("posterior_covariance", RECIPE, step=1e3, burn_in=120, draws=2)
    with pytest.raises(ValueError, match="diverge"):
        wild(network, theta, task)


def test_a_stack_of_models_is_measured_as_each_alone():
    """Banks measure small networks under `vmap`, where nothing may depend on a value."""
    task, network, theta, _ = line()
    few = {"chains": 2, "draws": 3, "burn_in": 2, "thin": 1}
    bif = get_estimator("posterior_covariance", RECIPE, **few)
    models = torch.stack([theta, theta + 0.1, 2 * theta])
    alone = torch.stack([bif(network, one, task) for one in models])
    stacked = torch.func.vmap(lambda one: bif(network, one, task))(models)
    torch.testing.assert_close(stacked, alone, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(alone[0], alone[1])
    wild = get_estimator("posterior_covariance", RECIPE, step=1e3, burn_in=120, draws=2)
    diverged = torch.func.vmap(lambda one: wild(network, one, task))(models)
    assert not diverged.isfinite().any()
