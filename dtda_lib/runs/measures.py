"""What is measured on a trained model: pure functions of `(network, theta, task)`.

A measure maps one parameter vector to a tensor with named axes; estimators of influence are
measures too, with the axes `(estimator, train, ...)`. Nothing is averaged here. A measure of your
own is a function decorated with `measure`, or, where it looks at one query's output at a time, with
`measure_of_outputs`, which estimators differentiate faster.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.models.user_code import user_code
from dtda_lib.names import Shown, listing, unknown

# Larger pieces fall out of the cache and take longer (benchmark eval_chunk).
QUERY_CHUNK = 100
# What an array on disk can hold.
_KEPT = {torch.float16, torch.float32, torch.float64, torch.bool, torch.uint8}
_KEPT |= {torch.int8, torch.int16, torch.int32, torch.int64}


class MeasureFunction(Protocol):
    """`(network, theta (parameter,), task) -> Tensor` with the measure's axes."""

    def __call__(self, network: Network, theta: Tensor, task: Task) -> Tensor: ...


class OutputFunction(Protocol):
    """`(outputs (query, output), targets (query,), task) -> (query, ...)`, each query on its own.

    Of `task` it may use the loss alone, for it is given single queries as well.
    """

    def __call__(self, outputs: Tensor, targets: Tensor, task: Task) -> Tensor: ...


@dataclass(frozen=True, repr=False)
class Measure(Shown):
    """A measurement with its axes and unit.

    Args:
        name: Name of the variable in the dataset.
        dims: Names of the axes: "query", "train", "output" or names of your own.
        unit: Unit of the values, or "none".
        function: See `MeasureFunction`.
        labels: Names along an axis, where it has them.
        of_outputs: The same, from the outputs of the queries, where that is possible.
        check: Raises a `ValueError` for models and tasks that it cannot be taken on. A bank calls
            it with initial parameters before anything is trained.
    """

    name: str
    dims: tuple[str, ...]
    unit: str
    function: MeasureFunction
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    of_outputs: OutputFunction | None = None
    check: Callable[[Network, Tensor, Task], None] | None = None

    def __call__(self, network: Network, theta: Tensor, task: Task) -> Tensor:
        return self.function(network, theta, task)

    @property
    def is_own(self) -> bool:
        """Whether a user wrote it, and not this package."""
        return self.function.__module__.partition(".")[0] != __name__.partition(".")[0]

    def _facts(self) -> dict[str, object]:
        labels = {dim: listing(names) for dim, names in self.labels.items()}
        return {"name": self.name, "dims": self.dims, "unit": self.unit} | labels


def take(m: Measure, network: Network, theta: Tensor, task: Task) -> Tensor:
    """What a measure returns, if it is what it declares: real numbers with its axes.

    Raises:
        ValueError: no tensor, another shape, or a kind of number that no array can hold.
        RuntimeError: a measure of one's own fails or ends the process.
    """
    who = f"measure {m.name!r}"
    with user_code(who, name_errors=m.is_own):
        value = m(network, theta, task)
    if not isinstance(value, Tensor):
        raise ValueError(f"{who} returned {type(value).__name__}; return a torch.Tensor.")
    if value.dtype not in _KEPT:
        raise ValueError(
            f"{who} returned {value.dtype}; return real numbers, such as torch.float32."
        )
    known = {dim: len(names) for dim, names in m.labels.items()} | {
        "train": task.n_train,
        "query": task.n_query,
        "parameter": network.layout.n_parameters,
    }
    wanted = [known.get(dim, n) for dim, n in zip(m.dims, value.shape)]
    if value.ndim != len(m.dims) or wanted != list(value.shape):
        axes = ", ".join(f"{dim}: {known[dim]}" if dim in known else dim for dim in m.dims)
        raise ValueError(f"{who} returned the shape {tuple(value.shape)}; its axes are ({axes}).")
    return value


def measure(
    dims: tuple[str, ...], unit: str, labels: dict[str, tuple[str, ...]] | None = None
) -> Callable[[MeasureFunction], Measure]:
    """Decorator: makes a function `(network, theta, task) -> Tensor` a `Measure` of its name.

    Args:
        dims, unit, labels: As for `Measure`; the function returns a tensor with these axes, and
            `torch.func` has to be able to run it: no in-place changes of theta, no `.item()`.
    """

    def wrap(function: MeasureFunction) -> Measure:
        return Measure(function.__name__, dims, unit, function, labels or {})

    return wrap


def query_outputs(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Outputs `(query, output)`, in pieces that stay in the processor's cache."""
    pieces = [network(theta, piece) for piece in task.query_x.split(QUERY_CHUNK)]
    return torch.cat(pieces)


def measure_of_outputs(
    dims: tuple[str, ...], unit: str, labels: dict[str, tuple[str, ...]] | None = None
) -> Callable[[OutputFunction], Measure]:
    """Decorator: makes a function of the queries' outputs a `Measure`; the first axis is "query".

    Works under `vmap`: no `if` on values, no `.item()`.
    """

    def wrap(function: OutputFunction) -> Measure:
        def measured(network: Network, theta: Tensor, task: Task) -> Tensor:
            return function(query_outputs(network, theta, task), task.query_y, task)

        # Keys of caches tell functions apart by these names.
        measured.__module__ = function.__module__
        measured.__qualname__ = f"{function.__qualname__}.measured"
        return Measure(function.__name__, dims, unit, measured, labels or {}, function)

    return wrap


@measure_of_outputs(dims=("query",), unit="nats (cross-entropy) or half squared target units")
def query_loss(outputs: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Loss of each query point `(query,)`: the measurement of 2305.19765."""
    return task.per_example_loss(outputs, targets)


@measure_of_outputs(dims=("query",), unit="logits")
def query_margin(outputs: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Log-odds of the true class against all others `(query,)`; classification only."""
    true = targets[:, None]
    others = outputs.scatter(1, true, -torch.inf).logsumexp(dim=1)
    return outputs.gather(1, true)[:, 0] - others


@measure_of_outputs(dims=("query",), unit="probability")
def query_probability(outputs: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Probability of the true class `(query,)`; classification only."""
    return torch.sigmoid(query_margin.of_outputs(outputs, targets, task))


@measure_of_outputs(dims=("query", "output"), unit="output units")
def query_prediction(outputs: Tensor, targets: Tensor, task: Task) -> Tensor:
    """The model's raw outputs `(query, output)`."""
    return outputs


@measure(dims=("parameter",), unit="parameter units")
def parameters(network: Network, theta: Tensor, task: Task) -> Tensor:
    """theta itself `(parameter,)`: asks the bank to store models (flat, see `models.Layout`)."""
    return theta


MEASURES: dict[str, Measure] = {
    m.name: m for m in (query_loss, query_margin, query_probability, query_prediction, parameters)
}


def get_measure(name_or_measure: str | Measure) -> Measure:
    """The measure of that name in `MEASURES`, or the measure itself.

    Raises:
        ValueError: an unknown name, with the nearest one.
    """
    if isinstance(name_or_measure, Measure):
        return name_or_measure
    if name_or_measure not in MEASURES:
        raise ValueError(unknown("measure", name_or_measure, MEASURES))
    return MEASURES[name_or_measure]
