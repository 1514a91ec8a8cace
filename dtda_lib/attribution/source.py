"""SOURCE: unrolling with a few stationary segments in the place of every step (Bae, 2405.12186).

Under SGD at rate eta the response of the parameters to a removal follows, in the mean over batch
orders, `r' = (I - eta (H + l2)) r + (eta / N) grad loss_k`. SOURCE cuts training into segments and
takes in each the curvature H and the gradient of the point as constant and independent: their means
over a few models of the segment. Along an eigenvector of H of eigenvalue h, with lambda = h + l2
and tau the sum of the learning rates of the segment, a segment then is

    r' = exp(-tau lambda) r + (1 - exp(-tau lambda)) / lambda * grad loss_k / N,

a chain of few links. Late in training that is influence with a damping that depends on direction:
where `tau lambda` is small, curvature does not count, so nothing has to be added to it. Early
models still count with gradients of their own. The exponential stands for `prod (1 - eta lambda)`,
which the same code gives when asked. What is lost against `unrolling`: the path within a segment,
the order of batches, and whatever curvature is left out.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import xarray as xr
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network
from dtda_lib.names import unknown
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.protocols import SeedPair
from dtda_lib.runs.recipes import SCHEDULES, Recipe

from .batch_loss import BatchLoss
from .curvature import dense_gauss_newton, dense_hessian
from .ekfac import corrected_eigenvalues, into_basis, kronecker_basis, out_of_basis
from .gradients import per_example_gradients
from .targets import checked_target
from .trajectory import start, training_steps, walk
from .unrolling import Unrolled, checked_points, labelled, projected_responses


@dataclass(frozen=True)
class Spectrum:
    """A curvature as eigenvalues `(parameter,)` and the ways into its eigenbasis and back.

    Both ways take and give vectors `(row, parameter)`; float64.
    """

    eigenvalues: Tensor
    into: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


def _dense(matrix: Callable[[Network, Tensor, Task], Tensor]) -> Callable[..., Spectrum]:
    def spectrum(network: Network, thetas: Sequence[Tensor], task: Task) -> Spectrum:
        mean = torch.stack([matrix(network, theta, task).double() for theta in thetas]).mean(dim=0)
        values, vectors = torch.linalg.eigh(mean)
        return Spectrum(values, lambda rows: rows @ vectors, lambda rows: rows @ vectors.T)

    return spectrum


def _ekfac(network: Network, thetas: Sequence[Tensor], task: Task) -> Spectrum:
    basis = kronecker_basis(network, thetas, task)
    ways = (partial(way, network.layout, basis) for way in (into_basis, out_of_basis))
    return Spectrum(corrected_eigenvalues(network, thetas, task, basis), *ways)


CURVATURES: dict[str, Callable[..., Spectrum]] = {
    "ggn": _dense(dense_gauss_newton),
    "ekfac": _ekfac,
    "hessian": _dense(dense_hessian),
}


@dataclass(frozen=True)
class Segment:
    """A stretch of training: its learning rates, and models of it `(model, run, parameter)`."""

    rates: tuple[float, ...]
    thetas: Tensor


def source_shifts(
    task: Task,
    model: Model,
    recipe: Recipe,
    seeds: Sequence[SeedPair],
    of: str | Measure = query_loss,
    points: Sequence[int] | None = None,
    *,
    curvature: str = "ggn",
    segments: int = 3,
    models: int = 2,
    exponential: bool = True,
    device: str | torch.device = "cpu",
) -> xr.DataArray:
    """Predicted shift of a measurement upon removal of each point, by SOURCE, for each run.

    Args:
        task, model, recipe, seeds, of, points, device: See `unrolling.unrolled_shifts`; SGD,
            whose momentum divides learning rates by 1 - momentum.
        curvature: "ggn" (exact, for small networks), "ekfac" (as published) or "hessian" (exact,
            can be indefinite: then responses grow along negative curvature, as in unrolling).
        segments: How many, of equally many steps (three published).
        models: Models per segment that are averaged, evenly spread (two published).
        exponential: As published; False takes the product over steps instead, which is exact for
            full batches and as many segments as steps, but blows up where rate * lambda > 2.

    Returns:
        `(seed, checkpoint, train, query)` as `unrolled_shifts`, in the unit of the measurement, of
        the final model alone. Costs a training, and per segment and run `models` curvatures and one
        eigendecomposition.

    Raises:
        ValueError: Adam, impossible segments or models, or see `unrolled_shifts` and `CURVATURES`.
        FloatingPointError: training diverged.
    """
    m, chosen = checked_target(of), checked_points(points, task)
    if curvature not in CURVATURES:
        raise ValueError(unknown("curvature", curvature, CURVATURES))
    loss = BatchLoss(task, model, device)
    theta, parts = _segments(loss, model, recipe, seeds, segments, models)
    responses = []
    for run in range(len(seeds)):
        response = theta.new_zeros(len(chosen), theta.shape[1], dtype=torch.float64)
        for part in parts:
            thetas = part.thetas[:, run]
            spectrum = CURVATURES[curvature](loss.network, thetas, loss.task)
            keep, take = _link(spectrum.eigenvalues + recipe.weight_decay, part.rates, exponential)
            gradient = _mean_gradients(loss, thetas, chosen) / task.n_train
            response = spectrum.into(response) * keep + spectrum.into(gradient) * take
            response = spectrum.back(response)  # (point, parameter)
        responses.append(response.to(theta.dtype))
    shifts = projected_responses(
        loss, m, Unrolled(theta, torch.stack(responses))
    )  # (run, point, *dims)
    return labelled(shifts[:, None], task, seeds, recipe.checkpoints[-1:], chosen, m)


def _link(values: Tensor, rates: Sequence[float], exponential: bool) -> tuple[Tensor, Tensor]:
    """What a segment keeps of a response, and takes of `grad loss_k / N`, per eigenvalue."""
    if exponential:
        tau = sum(rates)
        take = torch.where(values == 0, tau, -torch.expm1(-tau * values) / values)
        return torch.exp(-tau * values), take
    keep, take = torch.ones_like(values), torch.zeros_like(values)
    for rate in rates:
        shrink = 1 - rate * values
        keep, take = keep * shrink, take * shrink + rate
    return keep, take


def _mean_gradients(loss: BatchLoss, thetas: Tensor, points: Sequence[int]) -> Tensor:
    """Loss gradients of the points, averaged over models, `(point, parameter)`, float64."""
    x, y = loss.task.train_x[list(points)], loss.task.train_y[list(points)]
    each = [
        torch.cat(list(per_example_gradients(loss.network, theta, loss.task, x, y))).double()
        for theta in thetas
    ]
    return torch.stack(each).mean(dim=0)


def _segments(
    loss: BatchLoss,
    model: Model,
    recipe: Recipe,
    seeds: Sequence[SeedPair],
    segments: int,
    models: int,
) -> tuple[Tensor, list[Segment]]:
    """Train the stack of runs; the final models `(run, parameter)` and what is kept of the path."""
    n_train = loss.task.n_train
    total = recipe.epochs * -(-n_train // recipe.batch_size)
    bounds = [total * part // segments for part in range(segments + 1)] if segments > 0 else [0]
    shortest = min((b - a for a, b in itertools.pairwise(bounds)), default=0)
    if recipe.optimiser != "sgd":
        raise ValueError(
            f"source: optimiser {recipe.optimiser!r} has no stationary segments of this form; "
            "train with 'sgd', or use unrolling."
        )
    if not 1 <= models <= shortest or not seeds:
        raise ValueError(
            f"source: {len(seeds)} seeds and {segments} segments of {models} models do not fit "
            f"{total} steps; ask for at least one of each, and fewer models than steps."
        )
    wanted = [
        [a + (2 * one + 1) * (b - a) // (2 * models) for one in range(models)]
        for a, b in itertools.pairwise(bounds)
    ]
    inits, orders = zip(*seeds)
    state = start(loss, model, recipe, inits, orders)
    steps = training_steps(recipe, n_train, orders, state.theta.device)
    kept, rates, theta = {}, [], state.theta
    flat = {number for numbers in wanted for number in numbers}
    everything = loss.task.train_x.new_ones(n_train)
    for number, taken in enumerate(walk(loss, recipe, state, steps, everything)):
        if number in flat:
            kept[number] = taken.before.theta
        rate = recipe.lr * SCHEDULES[recipe.schedule](taken.step.done)
        rates.append(rate / (1 - recipe.momentum))
        theta = taken.after.theta
    if not torch.isfinite(theta).all():
        raise FloatingPointError("source: training diverged; lower the learning rate.")
    parts = [
        Segment(tuple(rates[a:b]), torch.stack([kept[number] for number in numbers]))
        for (a, b), numbers in zip(itertools.pairwise(bounds), wanted)
    ]
    return theta, parts
