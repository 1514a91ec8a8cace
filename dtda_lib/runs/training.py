"""Many trainings as one pure function.

`train` takes a stack of runs (seeds and a weight matrix) and returns what was measured at the kept
checkpoints. Runs are vectorised with `torch.func.vmap` in chunks; a chunk of one is an ordinary
training. Which chunk is fastest was measured (tests/benchmarks/engine.py): on a CPU small dense
networks gain up to `VECTOR_LANES` at a time, convolutions lose and run alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network, initial_theta
from dtda_lib.models.user_code import user_code

from .measures import Measure, take
from .recipes import Recipe, new_optimiser
from .tracing import record

VECTOR_LANES = 1024


def order_generator(order_seed: int, part: int = 0) -> torch.Generator:
    """The batch-order stream of a seed; kept apart from the initialisation stream of that seed."""
    mixed = np.random.SeedSequence([order_seed, 1 + part]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0] >> np.uint64(1)))


def epoch_order(generator: torch.Generator, n_train: int, recipe: Recipe) -> Tensor:
    """Positions `(train,)` of one epoch, to be cut into batches."""
    if recipe.replacement:
        return torch.randint(n_train, (n_train,), generator=generator)
    return torch.randperm(n_train, generator=generator)


def best_chunk(network: Network, device: torch.device) -> int:
    """Runs to vectorise: by the measurements named above, and by free memory on a GPU."""
    size = network.layout.n_parameters
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(max(1, min(VECTOR_LANES, free // (400 * size + 2**25))))
    if network.convolutional:
        return 1
    return int(min(VECTOR_LANES, max(16, 2_500_000 // size)))


def train(
    task: Task,
    model: Model,
    recipe: Recipe,
    init_seeds: Sequence[int],
    order_seeds: Sequence[int],
    weights: Tensor,
    measures: Sequence[Measure],
    *,
    device: str | torch.device = "cpu",
    chunk: int | None = None,
    keep_diverged: bool = False,
) -> dict[str, Tensor]:
    """Train a stack of runs and measure each at its kept checkpoints.

    The step minimises `sum_i w_i loss_i / |batch|` with the *full* batch size in the denominator,
    so a weight of 0 leaves a point out and changes nothing else (2305.19765, utils.py:129-132).

    Args:
        task: What to learn; its dtype is the dtype of training.
        model: Factory of the network.
        recipe: How to train.
        init_seeds, order_seeds: `(runs,)` each.
        weights: `(runs, train)`.
        measures: What to measure.
        device: Where.
        chunk: Runs per vectorised pass; None takes the measured best. Results do not depend on it
            beyond float tolerance.
        keep_diverged: A run whose parameters or measurements are not finite at some checkpoint is
            NaN in all measures and checkpoints; if False, it is refused.

    Returns:
        For each measure a tensor `(runs, checkpoint, *dims)` on the CPU.

    Raises:
        ValueError: no runs, shapes that do not fit, or a measure that is not what it declares.
        FloatingPointError: a run diverged; named by its seeds and epoch. With `keep_diverged` only
            where a measure of whole numbers could not say so.
        RuntimeError: the model or a measure of one's own fails or ends the process.
    """
    device = torch.device(device)
    runs = len(init_seeds)
    if runs == 0:
        raise ValueError("training: zero seeds were given; a law needs at least one run.")
    if len(order_seeds) != runs or tuple(weights.shape) != (runs, task.n_train):
        raise ValueError(
            f"training: {runs} init seeds, {len(order_seeds)} order seeds and weights of shape "
            f"{tuple(weights.shape)} do not fit; weights must be ({runs}, {task.n_train})."
        )
    network = Network.of(model)
    task = with_channels_last(task.to(device))
    chunk = chunk or best_chunk(network, device)
    pieces: list[dict[str, Tensor]] = []
    for start in range(0, runs, chunk):
        part = slice(start, start + chunk)
        stack = _Stack(task, model, network, recipe, weights[part].to(device, task.train_x.dtype))
        values, lost = stack.run(init_seeds[part], order_seeds[part], measures)
        if lost:
            _refuse_or_mark(values, lost, init_seeds[part], order_seeds[part], keep_diverged)
        pieces.append(values)
    return {m.name: torch.cat([piece[m.name] for piece in pieces]) for m in measures}


def _refuse_or_mark(
    values: dict[str, Tensor],
    lost: dict[int, tuple[int, str]],
    inits: Sequence[int],
    orders: Sequence[int],
    keep_diverged: bool,
) -> None:
    """Make runs that diverged NaN throughout: a run is whole, or it is not there.

    Args:
        values: Measure -> `(runs, checkpoint, ...)`, changed in place.
        lost: Run -> the epoch after which it was first seen, and what was not finite then.
        inits, orders, keep_diverged: As for `train`.
    """
    counted = [name for name, value in values.items() if not value.is_floating_point()]
    if keep_diverged and not counted:
        for value in values.values():
            value[list(lost)] = torch.nan
        return
    run, (epoch, what) = next(iter(lost.items()))
    why = f"; {counted[0]} holds whole numbers, which cannot say so" if keep_diverged else ""
    raise FloatingPointError(
        f"training diverged: {what} not finite after epoch {epoch} of the run with init seed "
        f"{inits[run]} and order seed {orders[run]}{why}; lower the learning rate."
    )


def with_channels_last(task: Task) -> Task:
    """The task with images stored row, column, channel (same shapes; strides that CPUs like)."""
    if task.train_x.ndim != 4:
        return task
    images = {
        name: getattr(task, name).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        for name in ("train_x", "query_x")
    }
    return replaced_unchecked(task, images)


def replaced_unchecked(task: Task, fields: dict[str, Tensor]) -> Task:
    """The task with other tensors, without its checks: they read values, which vmap forbids."""
    copy = object.__new__(type(task))
    copy.__dict__.update(task.__dict__ | fields)
    return copy


class _Stack:
    """One chunk of runs in training. A chunk of one carries no run axis."""

    def __init__(
        self, task: Task, model: Model, network: Network, recipe: Recipe, weights: Tensor
    ) -> None:
        self.task, self.model, self.network, self.recipe = task, model, network, recipe
        self.weights = weights  # (runs, train)
        self.runs = len(weights)
        self.stacked = self.runs > 1
        self.gradients: dict[int, Callable[..., Tensor]] = {}  # one trace per batch size

    def run(
        self, init_seeds: Sequence[int], order_seeds: Sequence[int], measures: Sequence[Measure]
    ) -> tuple[dict[str, Tensor], dict[int, tuple[int, str]]]:
        """Train and measure; measurements, and the runs that diverged (see `_refuse_or_mark`)."""
        recipe, dtype = self.recipe, self.task.train_x.dtype
        initial = {
            seed: initial_theta(self.model, seed, dtype) for seed in dict.fromkeys(init_seeds)
        }
        theta = torch.stack([initial[seed] for seed in init_seeds]).to(self.weights.device)
        kept: dict[str, list[Tensor]] = {m.name: [] for m in measures}
        lost: dict[int, tuple[int, str]] = {}
        with torch.no_grad():
            if recipe.warm_epochs:
                everything = torch.ones_like(self.weights)
                for _ in self._epochs(theta, order_seeds, everything, recipe.warm_epochs, 0):
                    pass
            part = 1 if recipe.warm_epochs else 0
            epochs = self._epochs(theta, order_seeds, self.weights, recipe.epochs, part)
            for epoch in epochs:
                if epoch not in recipe.checkpoints:
                    continue
                for m in measures:
                    value = self._measure(m, theta)
                    kept[m.name].append(value)
                    for run in _not_finite(value):
                        lost.setdefault(run, (epoch, f"{m.name} is"))
                for run in _not_finite(theta):
                    lost.setdefault(run, (epoch, "parameters are"))
        return {name: torch.stack(values, dim=1) for name, values in kept.items()}, lost

    def _epochs(
        self, theta: Tensor, order_seeds: Sequence[int], weights: Tensor, epochs: int, part: int
    ) -> Iterator[int]:
        """Number of each epoch when it is done; theta `(runs, parameter)` is updated in place."""
        recipe, n_train = self.recipe, self.task.n_train
        # Runs that share an order seed share its stream: draw each stream once.
        distinct = {seed: order_generator(seed, part) for seed in dict.fromkeys(order_seeds)}
        row = torch.tensor([list(distinct).index(seed) for seed in order_seeds])
        update = new_optimiser(recipe, theta)
        total = epochs * math.ceil(n_train / recipe.batch_size)
        step = 0
        for epoch in range(epochs):
            orders = torch.stack([epoch_order(g, n_train, recipe) for g in distinct.values()])
            order = orders[row].to(weights.device)  # (runs, train)
            for batch in order.split(recipe.batch_size, dim=1):  # (runs, batch)
                update(theta, self._gradient(theta, batch, weights), step / total)
                step += 1
            yield epoch

    def _gradient(self, theta: Tensor, batch: Tensor, weights: Tensor) -> Tensor:
        """Gradient `(runs, parameter)` of the weighted mean loss of each run's batch."""
        with user_code(self.network.name):
            return self._gradients(theta, batch, weights)

    def _gradients(self, theta: Tensor, batch: Tensor, weights: Tensor) -> Tensor:
        w = weights.gather(1, batch)  # (runs, batch)
        x, y = _rows(self.task.train_x, batch), _rows(self.task.train_y, batch)
        if not self.stacked:
            return self._one_gradient(theta[0], x[0], y[0], w[0]).unsqueeze(0)
        size = batch.shape[1]
        if size not in self.gradients:
            self.gradients[size] = record(vmap(self._one_gradient), theta, x, y, w)
        return self.gradients[size](theta, x, y, w)

    def _one_gradient(self, theta: Tensor, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return grad(self._loss)(theta, x, y, w)

    def _loss(self, theta: Tensor, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return (w * self.task.per_example_loss(self.network(theta, x), y)).sum() / len(y)

    def _measure(self, m: Measure, theta: Tensor) -> Tensor:
        """One measure of all runs, `(runs, *dims)` on the CPU."""

        def one(theta: Tensor) -> Tensor:
            return take(m, self.network, theta, self.task)

        value = vmap(one)(theta) if self.stacked else one(theta[0]).unsqueeze(0)
        return value.cpu().clone()


def _not_finite(values: Tensor) -> list[int]:
    """Rows with something that is not finite."""
    finite = torch.isfinite(values.reshape(len(values), -1)).all(dim=1)  # (runs,)
    return (~finite).nonzero().flatten().tolist()


def _rows(values: Tensor, batch: Tensor) -> Tensor:
    """`values[batch]` as `(runs, batch, ...)`; index_select is four times faster, and images keep
    their channels-last strides."""
    flat = batch.reshape(-1)  # (runs, batch) -> (runs * batch,)
    if values.ndim == 4:
        picked = values.permute(0, 2, 3, 1).index_select(0, flat).permute(0, 3, 1, 2)
    else:
        picked = values.index_select(0, flat)
    return picked.unflatten(0, tuple(batch.shape))  # -> (runs, batch, ...)
