"""Noisy chains on a line: stationary laws by enumeration of batches, responses by differences."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from helpers import response_covariance

from dtda_lib.theory.langevin import LinearChain, gaussian_divergence


def data(n=6, seed=0):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.standard_normal(n)])
    return x, x @ [0.4, 1.0] + 0.5 * rng.standard_normal(n)


X, Y = data()
WEIGHT = np.array([1, 1, 0, 1, 0.5, 1])
CHAINS = {
    "langevin": LinearChain(X, Y, 0.2, step=0.3, beta=50.0, weight=WEIGHT),
    "sgld": LinearChain(X, Y, 0.2, step=0.2, beta=50.0, batch=2, weight=WEIGHT),
    "sgd": LinearChain(X, Y, 0.2, step=0.2, beta=np.inf, batch=1),
}
each_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)


def enumerated(chain, n_iterations=800):
    """The stationary mean and covariance, step by step over every batch that can be drawn."""
    n, eye = chain.n_train, np.eye(2)
    groups = list(product(range(n), repeat=chain.batch)) if chain.batch else [range(n)]
    hessians, pulls = [], []
    for group in groups:
        x, y, w = chain.train_x[list(group)], chain.train_y[list(group)], chain.weight[list(group)]
        hessians.append((x.T * w) @ x / len(group) + chain.strength * eye)
        pulls.append(x.T @ (w * y) / len(group))
    turns, shifts = eye - chain.step * np.array(hessians), chain.step * np.array(pulls)
    mean, second = np.zeros(2), np.zeros((2, 2))
    for _ in range(n_iterations):
        cross = np.einsum("bij,j,bk->ik", turns, mean, shifts)
        moved = turns @ second @ turns.transpose(0, 2, 1)
        pulled = (cross + cross.T + shifts.T @ shifts) / len(groups)
        second = moved.mean(axis=0) + pulled + 2 * chain.step / chain.beta * eye
        mean = (turns @ mean + shifts).mean(axis=0)
    return mean, second - np.outer(mean, mean)


@each_chain
def test_stationary_law_by_enumeration(chain):
    mean, covariance = enumerated(chain)
    np.testing.assert_allclose(chain.minimum(), mean, rtol=1e-9)
    np.testing.assert_allclose(chain.stationary_covariance(), covariance, rtol=1e-7)


def test_one_parameter_in_closed_form_and_small_steps():
    x, y = np.array([[1.0], [2.0]]), np.array([1.0, 0.0])
    for step in (0.3, 1e-5):
        chain = LinearChain(x, y, 0.5, step=step, beta=10.0)
        a = 2.5 + 0.5
        assert chain.stationary_covariance()[0, 0] == pytest.approx(0.1 / (a * (1 - step * a / 2)))
    np.testing.assert_allclose(chain.stationary_covariance(), chain.boltzmann_covariance(), 1e-4)


def test_scaling_targets_scales_the_law_of_sgd():
    chain = CHAINS["sgd"]
    double = replace(chain, train_y=2 * chain.train_y)
    np.testing.assert_allclose(double.minimum(), 2 * chain.minimum())
    np.testing.assert_allclose(double.stationary_covariance(), 4 * chain.stationary_covariance())


@each_chain
def test_samples_follow_the_law(chain):
    n = 4_000
    theta, response = chain.sample(n, np.random.default_rng(1))
    covariance = chain.stationary_covariance()
    assert not response.any()
    z = (theta.mean(axis=0) - chain.minimum()) / np.sqrt(np.diag(covariance) / n)
    assert abs(z).max() < 4
    spread = np.sqrt(np.diag(covariance))
    off = (np.cov(theta.T) - covariance) / np.outer(spread, spread)
    assert abs(off).max() < 5 * np.sqrt(2 / n)


@each_chain
def test_responses_by_differences_on_the_same_noise(chain):
    point, eps, n_steps = 5, 1e-6, 300
    up, down = (
        chain.down_weighted(point, sign * eps).sample(3, np.random.default_rng(2), n_steps=n_steps)
        for sign in (1, -1)
    )
    _, response = chain.sample(3, np.random.default_rng(2), point=point, n_steps=n_steps)
    np.testing.assert_allclose((up[0] - down[0]) / (2 * eps), response, rtol=1e-5, atol=1e-7)


def test_weights_and_influence():
    chain, eps = CHAINS["sgd"], 1e-6
    removed = chain.down_weighted(5, 1 / 6)
    kept = LinearChain(X[:5], Y[:5], 0.2 * 6 / 5, step=0.1, beta=1.0)
    np.testing.assert_allclose(removed.minimum(), kept.minimum())  # 1/N stays 1/N
    slope = (chain.down_weighted(5, eps).minimum() - chain.down_weighted(5, -eps).minimum()) / eps
    influence = chain.influence(5, np.stack([chain.minimum(), chain.minimum() + 1]))
    np.testing.assert_allclose(influence[0], slope / 2, rtol=1e-6)
    assert influence.shape == (2, 2)


def test_unrolled_covariance_is_the_slope_of_the_law():
    chain, eps = CHAINS["langevin"], 1e-5
    m = response_covariance(chain, 5)
    ends = [
        replace(chain, weight=chain.weight - sign * eps * 6 * (np.arange(6) == 5))
        for sign in (1, -1)
    ]
    slope = (ends[0].stationary_covariance() - ends[1].stationary_covariance()) / (2 * eps)
    np.testing.assert_allclose(m + m.T, slope, rtol=1e-6)
    theta, response = chain.sample(20_000, np.random.default_rng(3), point=5)
    sampled = np.cov(response.T, theta.T)[:2, 2:]
    np.testing.assert_allclose(sampled, m, atol=0.05 * abs(m).max())


def test_impossible_chains_are_refused():
    with pytest.raises(ValueError, match="nothing is random"):
        LinearChain(X, Y, 0.2, step=0.1, beta=np.inf)
    with pytest.raises(ValueError, match="too large"):
        LinearChain(X, Y, 0.2, step=2.0, beta=1.0)
    x = np.zeros((10, 1))
    x[0] = 10.0  # one point in ten, so that a batch of one is far from the mean
    noisy = LinearChain(x, np.zeros(10), 0.1, step=0.19, beta=1.0, batch=1)
    with pytest.raises(ValueError, match="too strong"):
        noisy.stationary_covariance()


def test_the_step_ends_where_the_chain_diverges():
    """Curvature 1 + 1: a step of 1 turns every distance round and keeps it for ever."""
    one = np.ones((1, 1)), np.zeros(1), 1.0
    with pytest.raises(ValueError, match=r"step = 1\.0 is too large"):
        LinearChain(*one, step=1.0, beta=2.0)
    chain = LinearChain(*one, step=0.999, beta=2.0)
    expected = 0.25 / (1 - 0.999)  # 1 / (beta A (1 - step A / 2))
    assert chain.stationary_covariance()[0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("remainder", [0.5, 1e-3])
def test_relaxation_is_the_first_step_below_the_remainder(remainder):
    chain = CHAINS["langevin"]
    decay = np.eye(2) - chain.step * chain.curvature()
    size = [np.linalg.norm(np.linalg.matrix_power(decay, n), 2) for n in range(200)]
    assert chain.relaxation_steps(remainder) == np.argmax(np.array(size) <= remainder)
    assert chain.relaxation_steps() == chain.relaxation_steps(1e-3)
    seeds = (np.random.default_rng(0) for _ in range(2))
    n_steps = chain.relaxation_steps()
    ends = [chain.sample(2, next(seeds), n_steps=n)[0] for n in (None, n_steps)]
    np.testing.assert_array_equal(*ends)


def test_divergence_of_normal_laws():
    one, other = np.array([0.5]), np.array([[2.0]])
    got = gaussian_divergence(one, np.array([[0.5]]), np.zeros(1), other)
    assert got == pytest.approx(0.5 * (0.25 - 1 - np.log(0.25) + 0.25 / 2))
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3))
    covariance, mean = root @ root.T + np.eye(3), rng.standard_normal(3)
    assert gaussian_divergence(mean, covariance, mean, covariance) == pytest.approx(0, abs=1e-12)
    turn = rng.standard_normal((3, 3))  # a common linear map changes nothing
    laws = mean, covariance, np.zeros(3), np.eye(3)
    turned = turn @ mean, turn @ covariance @ turn.T, np.zeros(3), turn @ turn.T
    assert gaussian_divergence(*turned) == pytest.approx(gaussian_divergence(*laws))
