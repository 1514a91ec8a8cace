"""What an estimator is about: any differentiable measurement, as rows of gradients.

An estimator predicts the shift of a measurement m upon removal, `grad(m) . r_k`, so all that it has
to know of m is one gradient per value. The values of m, its axes laid out flat, are called entries.
Measurements of single queries (`measures.measure_of_outputs`) are differentiated query by query,
all others by one backward pass of the whole measurement per entry.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, MeasureFunction, get_measure

from .gradients import EXAMPLE_CHUNK

NOT_DIFFERENTIABLE = (
    "does not depend on the parameters in a differentiable way (it counts, rounds or detaches), so "
    "no gradient tells what a removal does to it; use a smooth measurement, such as 'query_margin'."
)


def checked_target(of: str | Measure) -> Measure:
    """The measurement of that name (or the measure itself).

    Raises:
        ValueError: an unknown name, or an estimator, which has an axis `train` of its own.
    """
    m = get_measure(of)
    for dim in ("train", "estimator"):
        if dim in m.dims:
            raise ValueError(
                f"measure {m.name!r} has the axis {dim!r} itself; give a measurement of the model, "
                "such as 'query_loss'."
            )
    return m


def estimates(
    of: Measure, labels: tuple[str, ...], *, unit: str | None = None, gradients: bool = True
) -> Callable[[MeasureFunction], Measure]:
    """Decorator: makes a function the `Measure` of what estimators say of the measurement `of`.

    Args:
        of: The measurement, see `checked_target`.
        labels: Names of the estimators, along the first axis.
        unit: Where it is not that of the measurement.
        gradients: Whether they need the measurement's gradient: its absence is refused then.

    The function returns `(estimator, train, *of.dims)`.
    """

    def wrap(function: MeasureFunction) -> Measure:
        def check(network: Network, theta: Tensor, task: Task) -> None:
            target_shape(network, theta, task, of)
            if gradients:
                refuse_flat(network, theta, task, of)

        dims = ("estimator", "train", *of.dims)
        names = {"estimator": labels, **of.labels}
        name = function.__name__
        return Measure(name, dims, of.unit if unit is None else unit, function, names, check=check)

    return wrap


def target_shape(network: Network, theta: Tensor, task: Task, of: Measure) -> torch.Size:
    """Shape of the measurement; of single queries, from the first one alone.

    Raises:
        ValueError: values that do not fit the measure's axes.
    """
    with torch.no_grad():
        if of.of_outputs is None:
            shape = of(network, theta, task).shape
        else:
            first = network(theta, task.query_x[:1])
            shape = of.of_outputs(first, task.query_y[:1], task).shape
            shape = torch.Size((task.n_query * shape[0], *shape[1:])) if shape else shape
    lengths = {"query": task.n_query, "output": task.n_outputs, "parameter": len(theta)}
    lengths |= {dim: len(names) for dim, names in of.labels.items()}
    stated = tuple(lengths.get(dim) for dim in of.dims)
    fits = len(shape) == len(stated) and all(
        length in (None, found) for length, found in zip(stated, shape)
    )
    if not fits:
        raise ValueError(
            f"measure {of.name!r} returns values of shape {tuple(shape)}, which do not fit its "
            f"axes {of.dims}; return one value for each entry of each axis."
        )
    return shape


def target_gradients(network: Network, theta: Tensor, task: Task, of: Measure) -> Iterator[Tensor]:
    """Gradients of the measurement's values, `(entry, parameter)`, some entries at a time.

    The order is that of `of(network, theta, task).flatten()`. At most `EXAMPLE_CHUNK` rows are held
    at once, unless one query has more.

    Raises:
        ValueError: the measurement does not depend on theta in a differentiable way.
    """
    if of.of_outputs is None:
        yield from _rows(_measured(network, task, of), theta, alone=network.convolutional)
        return
    shape = target_shape(network, theta, task, of)[1:]  # of one query
    entries = math.prod(shape)
    size = max(1, EXAMPLE_CHUNK // entries)
    unit = torch.eye(entries, dtype=theta.dtype, device=theta.device)

    def value(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        one = of.of_outputs(network(theta, x.unsqueeze(0)), y.unsqueeze(0), task)[0]
        refuse_constant(one, of)
        return one

    def along(theta: Tensor, x: Tensor, y: Tensor, cotangent: Tensor) -> Tensor:
        return value(theta, x, y).flatten() @ cotangent

    for x, y in zip(task.query_x.split(size), task.query_y.split(size)):
        if not shape:
            yield vmap(grad(value), in_dims=(None, 0, 0))(theta, x, y)
            continue
        # Forward passes are repeated, for stacks of stacked convolutions are slow.
        points = (each.repeat_interleave(entries, dim=0) for each in (x, y))
        yield vmap(grad(along), in_dims=(None, 0, 0, 0))(theta, *points, unit.repeat(len(x), 1))


def whole_gradients(value: Callable[[Tensor], Tensor], theta: Tensor, *, alone: bool) -> Tensor:
    """Gradients `(entry, parameter)` of the values of a function of theta, of any shape.

    `alone`: one backward pass after another, faster where convolutions are stacked otherwise.
    """
    return torch.cat(list(_rows(value, theta, alone=alone)))


def _rows(value: Callable[[Tensor], Tensor], theta: Tensor, *, alone: bool) -> Iterator[Tensor]:
    flat, pull = vjp(lambda theta: value(theta).flatten(), theta)
    units = torch.eye(len(flat), dtype=flat.dtype, device=flat.device)
    for part in units.split(EXAMPLE_CHUNK):
        if alone:
            yield torch.stack([pull(unit)[0] for unit in part])
        else:
            yield vmap(lambda unit: pull(unit)[0])(part)


def _measured(network: Network, task: Task, of: Measure) -> Callable[[Tensor], Tensor]:
    def value(theta: Tensor) -> Tensor:
        found = of(network, theta, task)
        refuse_constant(found, of)
        return found

    return value


def shaped(scores: Tensor, network: Network, theta: Tensor, task: Task, of: Measure) -> Tensor:
    """`(..., entry)` -> `(..., *of.dims)`, in the type of theta."""
    shape = target_shape(network, theta, task, of)
    return scores.reshape(*scores.shape[:-1], *shape).to(theta.dtype)


def refuse_constant(value: Tensor, of: Measure) -> None:
    """Refuse a value of the measurement, while differentiated, that has lost its way to theta.

    Raises:
        ValueError: one sentence that names the measure.
    """
    if not value.requires_grad:
        raise ValueError(f"measure {of.name!r} {NOT_DIFFERENTIABLE}")


def refuse_flat(network: Network, theta: Tensor, task: Task, of: Measure) -> None:
    """Refuse a measurement whose gradient is 0 everywhere: at theta and at a random other place.

    A gradient in a random direction of its values, so the cost is that of one backward pass.

    Raises:
        ValueError: one sentence that names the measure.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(theta), generator=generator, dtype=torch.float64).to(theta)

    for place in (theta, theta + noise):
        found, pull = vjp(_measured(network, task, of), place)
        weights = torch.randn(found.shape, generator=generator, dtype=torch.float64).to(found)
        if bool(pull(weights)[0].any()):
            return
    raise ValueError(f"measure {of.name!r} {NOT_DIFFERENTIABLE}")
