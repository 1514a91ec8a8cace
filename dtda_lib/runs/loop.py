"""Networks as people train them, one run at a time: dropout, batch norm, warm-up, clipping.

`training.train` advances a stack of runs as one pure function. A module that draws masks or keeps
statistics is no such function, so its runs are trained here, as a PyTorch script would: in training
mode, measured in evaluation mode with the statistics that the run has collected. Where a module
needs none of this, both give the same numbers.

*Dropout* and any other draw in a forward pass come from a stream of the order seed, seeded anew at
each step: runs with and without a point draw the same masks. *Batch norm* in training mode lets
examples of a batch act on each other; a point of weight 0 is taken out of its batch before the
forward pass, so that it acts on nobody, and the sum of losses is divided by the full size as
everywhere. In those batches alone masks are then drawn anew.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Layout, Model, Network, new_module, why_random
from dtda_lib.models.user_code import user_code

from .bank import RunBank
from .measures import Measure, take
from .recipes import Optimiser, Recipe, new_optimiser, refusing_unknown
from .shards import Job, Shard
from .training import epoch_order, order_generator

_STREAM_OF_MASKS = 2  # `training` draws batch orders from 0 and 1


@refusing_unknown
@dataclass(frozen=True, repr=False)
class LoopRecipe(Recipe):
    """A recipe with what only runs one at a time can do.

    Args:
        clip: Largest 2-norm of a step's gradient, weight decay not counted; None: any.
        warm_up: Share of the steps over which lr rises linearly to its value; the schedule then
            runs over the other steps.
        nesterov: SGD with momentum, as `torch.optim.SGD(nesterov=True)`.

    Raises:
        ValueError: see `Recipe`; Nesterov without SGD and momentum.
    """

    clip: float | None = None
    warm_up: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"recipe: clip = {self.clip!r} is impossible.")
        if not 0 <= self.warm_up < 1:
            raise ValueError(
                f"recipe: warm_up = {self.warm_up!r} is a share of the steps, below 1."
            )
        if self.nesterov and (self.optimiser != "sgd" or not self.momentum):
            raise ValueError("recipe: nesterov is for 'sgd' with momentum.")


class Nesterov(Optimiser):
    """SGD with Nesterov's momentum on theta `(runs, parameter)`, in place."""

    def __call__(self, theta: Tensor, gradient: Tensor, done: float) -> None:
        recipe = self.recipe
        if recipe.weight_decay:
            gradient = gradient.add(theta, alpha=recipe.weight_decay)
        momentum = self.first.mul_(recipe.momentum).add_(gradient)
        plain = replace(recipe, weight_decay=0.0, momentum=0.0, nesterov=False)
        Optimiser(plain, theta)(theta, gradient.add(momentum, alpha=recipe.momentum), done)


# ---------------------------------------------------------------- what needs it


def why_alone(module: nn.Module) -> str:
    """What about a module, in its present mode, needs a loop of its own: "dropout", "batch norm",
    both, "buffers that change"; or ""."""
    found = [
        name
        for name, is_so in (
            ("dropout", any(why_random(one) for one in module.modules())),
            ("batch norm", any(map(_normalises_a_batch, module.modules()))),
        )
        if is_so
    ]
    if not found and any(True for _ in module.buffers()):
        return "buffers that change"
    return " and ".join(found)


def _normalises_a_batch(layer: nn.Module) -> bool:
    """Whether a batch norm looks at the other examples, in its present mode."""
    return isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None)


def evaluated(module: nn.Module) -> tuple[Network, Tensor]:
    """A module in evaluation mode as a function of theta, and its own theta `(parameter,)`."""
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not named:
        raise ValueError(f"model {type(module).__name__}: it has no trainable parameter.")
    layout = Layout(tuple(named), tuple(tuple(p.shape) for p in named.values()))
    return Network(module.eval(), layout), layout.flatten({n: p.detach() for n, p in named.items()})


# ---------------------------------------------------------------- runs


def train_alone(
    task: Task,
    model: Model,
    recipe: Recipe,
    init_seeds: Sequence[int],
    order_seeds: Sequence[int],
    weights: Tensor,
    measures: Sequence[Measure],
    *,
    device: str | torch.device = "cpu",
) -> dict[str, Tensor]:
    """Train runs one by one and measure each at its kept checkpoints; see `training.train`.

    Args:
        task, model, recipe, init_seeds, order_seeds, weights, measures, device: As for `train`.

    Returns:
        For each measure a tensor `(runs, checkpoint, *dims)` on the CPU; a run of which anything is
        not finite is NaN throughout.

    Raises:
        ValueError: a measure is not what it declares.
        RuntimeError: the model or a measure of one's own fails or ends the process.
    """
    device = torch.device(device)
    task = task.to(device)
    pieces = []
    for init, order, weight in zip(init_seeds, order_seeds, weights):
        one = _Run(task, model, recipe, init, order, weight.to(device, task.train_x.dtype))
        pieces.append(one.measured(measures))
    return {m.name: torch.stack([piece[m.name] for piece in pieces]) for m in measures}


class _Run:
    """One run: a module whose parameters are views into theta `(1, parameter)`."""

    def __init__(
        self, task: Task, model: Model, recipe: Recipe, init: int, order: int, weight: Tensor
    ) -> None:
        self.task, self.recipe, self.order_seed, self.weight = task, recipe, order, weight
        self.module = new_module(model, init).to(weight.device, task.train_x.dtype)
        self.modes = {part: part.training for part in self.module.modules()}
        self.network, theta = evaluated(self.module)
        self.theta = theta[None].clone()
        named = dict(self.module.named_parameters())
        self.parameters = {name: named[name] for name in self.network.layout.names}
        for name, view in self.network.layout.unflatten(self.theta[0]).items():
            self.parameters[name].data = view
        self.without_removed = any(_normalises_a_batch(part) for part in self._in_training())
        self.masks = order_generator(order, _STREAM_OF_MASKS)

    def _in_training(self) -> Iterator[nn.Module]:
        """The module's parts, each put into the mode in which its owner made it."""
        for part, mode in self.modes.items():
            part.training = mode
        return self.module.modules()

    def measured(self, measures: Sequence[Measure]) -> dict[str, Tensor]:
        """`(checkpoint, *dims)` for each measure."""
        recipe, kept = self.recipe, {m.name: [] for m in measures}
        finite = True
        if recipe.warm_epochs:
            for _ in self._epochs(torch.ones_like(self.weight), recipe.warm_epochs, 0):
                pass
        for epoch in self._epochs(self.weight, recipe.epochs, 1 if recipe.warm_epochs else 0):
            if epoch not in recipe.checkpoints:
                continue
            self.module.eval()
            with torch.no_grad():
                for m in measures:
                    value = take(m, self.network, self.theta[0], self.task)
                    kept[m.name].append(value.cpu().clone())
                    finite &= bool(torch.isfinite(value).all())
            finite &= bool(torch.isfinite(self.theta).all())
        stacked = {name: torch.stack(values) for name, values in kept.items()}
        if finite:
            return stacked
        if counted := [name for name, v in stacked.items() if not v.is_floating_point()]:
            raise FloatingPointError(
                f"training diverged, and {counted[0]} holds whole numbers, which cannot say so; "
                "lower the learning rate."
            )
        return {name: torch.full_like(v, torch.nan) for name, v in stacked.items()}

    def _epochs(self, weight: Tensor, epochs: int, part: int) -> Iterator[int]:
        """Number of each epoch when it is done; theta is updated in place."""
        recipe, n_train = self.recipe, self.task.n_train
        orders = order_generator(self.order_seed, part)
        total = epochs * math.ceil(n_train / recipe.batch_size)
        warm = math.ceil(getattr(recipe, "warm_up", 0.0) * total)
        nesterov = getattr(recipe, "nesterov", False)
        update = Nesterov(recipe, self.theta) if nesterov else new_optimiser(recipe, self.theta)
        own = update.recipe  # without what the optimiser does by itself
        step = 0
        for epoch in range(epochs):
            order = epoch_order(orders, n_train, recipe).to(weight.device)
            self._in_training()
            for batch in order.split(recipe.batch_size):
                gradient = self._clipped(self._gradient(batch, weight))
                if warm:
                    rate = recipe.lr * min(1.0, (step + 1) / warm)
                    update.recipe = replace(own, lr=rate)
                update(self.theta, gradient, max(0, step - warm) / max(1, total - warm))
                step += 1
            yield epoch

    def _gradient(self, batch: Tensor, weight: Tensor) -> Tensor:
        """Gradient `(1, parameter)` of the weighted mean loss of a batch."""
        seed = int(torch.randint(2**62, (), generator=self.masks))
        w = weight[batch]
        kept = batch[w > 0] if self.without_removed else batch
        if not len(kept):
            return torch.zeros_like(self.theta)
        cuda = [self.theta.device] if self.theta.device.type == "cuda" else []
        who = f"model {type(self.module).__name__}"
        with torch.random.fork_rng(devices=cuda), torch.enable_grad(), user_code(who):
            torch.manual_seed(seed)
            outputs = self.module(self.task.train_x[kept])
            losses = self.task.per_example_loss(outputs, self.task.train_y[kept])
            loss = (weight[kept] * losses).sum() / len(batch)
            parts = list(self.parameters.values())
            found = torch.autograd.grad(loss, parts, allow_unused=True)
        filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parts, found)]
        return self.network.layout.flatten(dict(zip(self.parameters, filled)))[None]

    def _clipped(self, gradient: Tensor) -> Tensor:
        most = getattr(self.recipe, "clip", None)
        if most is None:
            return gradient
        return gradient * min(1.0, most / (float(gradient.norm()) + 1e-6))


# ---------------------------------------------------------------- their bank


@dataclass(frozen=True)
class LoopJob(Job):
    """All that a worker needs to train one shard of runs one by one."""

    def measured(self) -> dict[str, Tensor]:
        """As of `Job`."""
        return train_alone(
            self.task,
            self.model,
            self.recipe,
            self.init_seeds,
            self.order_seeds,
            self.weights,
            self.measures,
            device=self.device,
        )

    def entries(self) -> tuple[Callable, ...]:
        """As of `Job`."""
        _, _, precision, *besides = super().entries()
        return train_alone, type(self.recipe), precision, *besides


class LoopBank(RunBank):
    """A `RunBank` whose runs are trained one at a time, as a PyTorch script would.

    Args, errors and dataset are those of `RunBank`; a run is a shard by itself, and `chunk` is not
    looked at. Measures and estimators see the trained network in evaluation mode.
    """

    alone: str
    """What about the module needs this; see `why_alone`."""

    def _network(self) -> Network:
        module = new_module(self.model)
        self.alone = why_alone(module)
        return evaluated(module)[0]

    def initial(self, seed: int, dtype: torch.dtype | None = None) -> Tensor:
        """As of `RunBank`."""
        module = new_module(self.model, seed).to(dtype or self.task.train_x.dtype)
        return evaluated(module)[1]

    def _seen(self, dtype: torch.dtype) -> tuple[Network, Tensor]:
        return evaluated(new_module(self.model, 1).to(dtype))

    def _declare(self) -> list[Shard]:
        return self._cut(1, alone=True)

    def _job(self, start: int, stop: int) -> LoopJob:
        return LoopJob(**super()._job(start, stop).__dict__)

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"one at a time for": self.alone or "the recipe"}
