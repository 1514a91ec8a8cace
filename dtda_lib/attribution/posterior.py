"""Influence as a covariance over a posterior around the trained model: no Hessian is solved (BIF).

Around a trained theta_0 the local posterior at temperature T is proportional to

    exp(-(L(theta) + l2/2 |theta|^2 + localisation/2 |theta - theta_0|^2) / T),

L the mean training loss. Removing point k takes `loss_k / N` off L, so the posterior mean of a
measurement m moves, to first order, by `Cov(loss_k, m) / (N T)`. That is the estimator, with the
sign and scale of a shift upon removal (the published one is `-Cov`). As T -> 0 it tends to damped
influence, `(1/N) grad m^T (H + l2 + localisation)^-1 grad loss_k` at a minimum of the objective; at
T > 0 it is about the posterior mean of m, not about m at theta_0.

Source: Kreer et al., arXiv 2509.26544 (BIF, after Giordano et al. 2018); 2506.12965, section 3.2.
Posterior samples by Langevin steps with averaged noise (Leimkuhler and Matthews 2013), which for
a quadratic objective samples the exact law at any stable step; steps of stochastic gradients would
add the noise of their batches (notebook 07), so the whole loss is taken.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.recipes import Recipe, objective_l2

from .curvature import hessian_product, mean_loss
from .targets import checked_target, estimates, shaped

POWER_STEPS = 30
STABLE = 0.5  # of 1 / largest curvature


def posterior_covariance(
    recipe: Recipe,
    *,
    of: str | Measure = query_loss,
    temperature: float = 1e-4,
    localisation: float = 0.1,
    chains: int = 8,
    draws: int = 50,
    thin: int = 5,
    burn_in: int = 100,
    step: float | None = None,
    seed: int = 0,
) -> Measure:
    """BIF: "bif", the covariance of losses with a measurement, as a predicted shift of it.

    Args:
        recipe: Gives l2, see `recipes.objective_l2`.
        of: The measurement m. It is taken along the chains, not differentiated, so it may count.
        temperature: T, in units of the loss.
        localisation: Curvature of the pull back to theta_0, like a damping.
        chains: Independent chains, all from theta_0.
        draws: Taken of each chain, after `burn_in` steps and then every `thin` steps.
        thin, burn_in: See `draws`. Directions of curvature c forget in about
            `1 / (step (c + l2 + localisation))` steps; with fewer, their covariance is too small.
        step: Step size; half the inverse of the largest curvature at theta_0 if not given.
        seed: Of the noise, the same for every model.

    T has to be small against squared residuals: for least squares the estimator has an exact second
    term, `(T/2N) (J_k C^-1 J_q)^2` with J the gradients of predictions and C the whole curvature,
    which is never negative and rules where points are fitted well.

    The error of sampling falls as the root of the number of independent draws, and is large for
    points that matter little: `Cov` is a small correlation times two standard deviations. All
    defaults are our choice. Costs `chains * (burn_in + draws * thin)` gradients of the whole loss;
    memory `chains * draws * (train + entries)` numbers. Covariances are taken in float64.

    Raises:
        ValueError: a temperature, localisation, step or number that is impossible; while measuring
            one model, chains that diverge. In a stack of models those give values that are not
            finite, which a bank refuses.
    """
    of = checked_target(of)
    _refuse_counts(chains, draws, thin, burn_in)
    _refuse_law(temperature, localisation, step)
    l2 = objective_l2(recipe)

    @estimates(of, ("bif",), gradients=False)
    def posterior_covariance(network: Network, theta: Tensor, task: Task) -> Tensor:
        size: float | Tensor | None = step
        if size is None:
            size = STABLE / (largest_curvature(network, theta, task) + l2 + localisation)
        train, measured = [], []
        samples = _langevin(network, theta, task, l2, localisation, temperature, size, chains, seed)
        for number, now in enumerate(samples, start=1):
            if number > burn_in and (number - burn_in) % thin == 0:
                train.append(_each(network, lambda one: _train_loss(network, one, task), now))
                values = _each(network, lambda one: of(network, one, task), now)
                measured.append(values.reshape(chains, -1))  # (chain, entry)
            if number == burn_in + draws * thin:
                break
        drawn = torch.cat(train).double(), torch.cat(measured).double()  # (draw, train | entry)
        stacked = torch._C._functorch.is_batchedtensor(theta)  # then no value can decide anything
        if not (stacked or all(part.isfinite().all() for part in drawn)):
            at = float(size)
            raise ValueError(f"posterior_covariance: the chains diverge at step = {at:.3g}.")
        shift = shift_from_draws(*drawn, temperature)
        return shaped(shift.unsqueeze(0), network, theta, task, of)  # (1, train, *of.dims)

    return posterior_covariance


def _refuse_counts(chains: int, draws: int, thin: int, burn_in: int) -> None:
    counts = {"chains": chains, "draws": draws, "thin": thin}
    if any(int(count) != count or count < 1 for count in counts.values()) or burn_in < 0:
        raise ValueError(f"posterior_covariance: {counts} and burn_in = {burn_in} must be counts.")
    if chains * draws < 2:
        raise ValueError("posterior_covariance: a covariance needs at least two draws.")


def _refuse_law(temperature: float, localisation: float, step: float | None) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"posterior_covariance: temperature = {temperature} must be positive.")
    if not (math.isfinite(localisation) and localisation >= 0):
        raise ValueError(f"posterior_covariance: localisation = {localisation} must be at least 0.")
    if step is not None and not (math.isfinite(step) and step > 0):
        raise ValueError(f"posterior_covariance: step = {step} must be positive.")


def shift_from_draws(train_loss: Tensor, measured: Tensor, temperature: float) -> Tensor:
    """Predicted shift upon removal `(train, query)` from draws of the posterior.

    `Cov(loss_k, m) / (N T)` with `train_loss` `(draw, train)` and `measured` `(draw, query)`, in
    the unit of m. The covariance is the unbiased one. `ValueError`: fewer than two draws.
    """
    n_draws, n_train = train_loss.shape
    if n_draws < 2:
        raise ValueError("shift_from_draws: a covariance needs at least two draws.")
    centred = train_loss - train_loss.mean(dim=0)
    covariance = centred.T @ (measured - measured.mean(dim=0)) / (n_draws - 1)
    return covariance / (n_train * temperature)


def largest_curvature(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Largest size of an eigenvalue of the Hessian of the mean loss, by power iteration; `()`.

    From a fixed start, so that it is the same each time; a few per cent too small at worst where
    two eigenvalues are near, which the default step has room for. Works under `vmap` over theta.
    """
    loss = mean_loss(network, task, task.train_x, task.train_y)
    start = _normal(np.random.default_rng(0), (len(theta),), theta)
    vector = start / start.norm()
    for _ in range(POWER_STEPS):
        product = hessian_product(loss, theta, vector.unsqueeze(0))[0]
        size = product.norm()
        vector = product / torch.where(size > 0, size, 1.0)
    return size


def _normal(generator: np.random.Generator, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard normal noise of the type and on the device of `like`, the same on every device.

    Drawn by NumPy, because under `vmap` torch refuses to draw even from a generator of its own.
    """
    return torch.from_numpy(generator.standard_normal(shape)).to(like)


def _langevin(
    network: Network,
    center: Tensor,
    task: Task,
    l2: float,
    localisation: float,
    temperature: float,
    step: float | Tensor,
    chains: int,
    seed: int,
) -> Iterator[Tensor]:
    """States `(chain, parameter)` after each step, without end."""
    loss = mean_loss(network, task, task.train_x, task.train_y)

    def slope(theta: Tensor) -> Tensor:
        return grad(loss)(theta) + l2 * theta + localisation * (theta - center)

    generator = np.random.default_rng(seed)
    scale = (2 * step * temperature) ** 0.5 / 2

    def draw() -> Tensor:
        return _normal(generator, (chains, len(center)), center)

    theta, noise = center.repeat(chains, 1), draw()
    while True:
        fresh = draw()
        theta = theta - step * _each(network, slope, theta) + scale * (noise + fresh)
        noise = fresh
        yield theta


def _each(network: Network, function: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """A function of one theta for each row; stacked convolutions are slower on a CPU."""
    if network.convolutional:
        return torch.stack([function(one) for one in theta])
    return vmap(function)(theta)


def _train_loss(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Loss of each training point `(train,)`."""
    return task.per_example_loss(network(theta, task.train_x), task.train_y)
