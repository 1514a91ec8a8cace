"""One training as a chain of pure steps, and the derivative of a step: what unrolling is made of.

The chain's state is (theta, first, second): parameters and the optimiser's moments. A step takes
the gradient of the weighted batch loss and the engine's own update, so its states are those of
`training.train` (bit for bit, for one dense or convolutional run). Everything has a leading run
axis; tangents and cotangents of a state are states too, with an axis of rows after it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dtda_lib.models.networks import Model, initial_theta
from dtda_lib.runs.recipes import (
    SCHEDULES,
    ByOptimiser,
    Recipe,
    new_optimiser,
    shrinkage,
    without_decay,
)
from dtda_lib.runs.training import epoch_order, order_generator

from .batch_loss import BatchLoss


@dataclass(frozen=True)
class State:
    """Parameters and moments, each `(run, parameter)`; tangents of them `(run, row, parameter)`.

    `first` is momentum or Adam's first moment; `second` is None for SGD.
    """

    theta: Tensor
    first: Tensor
    second: Tensor | None

    @classmethod
    def fresh(cls, recipe: Recipe, theta: Tensor) -> "State":
        """theta with the moments 0, as every training starts."""
        optimiser = new_optimiser(recipe, theta)
        return cls(theta, optimiser.first, optimiser.second)


@dataclass(frozen=True)
class Step:
    """Which examples `(run, batch)` a step takes, as positions in the training set, and when.

    `number` counts from 1 since the optimiser was fresh; `done` is the share of training before
    it; `ends` is the epoch that it completes, or None.
    """

    batch: Tensor
    number: int
    done: float
    ends: int | None


@dataclass(frozen=True)
class Taken:
    """A step that has been taken: the states around it and its gradient `(run, parameter)`."""

    step: Step
    before: State
    gradient: Tensor
    after: State


def training_steps(
    recipe: Recipe,
    n_train: int,
    order_seeds: Sequence[int],
    device: torch.device,
    *,
    warm: bool = False,
) -> Iterator[Step]:
    """The engine's steps of the main training, or of the warm epochs before it."""
    part = 1 if recipe.warm_epochs and not warm else 0
    epochs = recipe.warm_epochs if warm else recipe.epochs
    distinct = {seed: order_generator(seed, part) for seed in dict.fromkeys(order_seeds)}
    row = torch.tensor([list(distinct).index(seed) for seed in order_seeds])
    total = epochs * math.ceil(n_train / recipe.batch_size)
    number = 0
    for epoch in range(epochs):
        orders = torch.stack([epoch_order(g, n_train, recipe) for g in distinct.values()])
        batches = orders[row].to(device).split(recipe.batch_size, dim=1)
        for batch in batches:
            number += 1
            ends = epoch if batch is batches[-1] else None
            yield Step(batch, number, (number - 1) / total, ends)


def advance(recipe: Recipe, state: State, gradient: Tensor, step: Step) -> State:
    """The state after one step of the engine's optimiser; the given state is left as it is."""
    optimiser = new_optimiser(recipe, state.theta)
    optimiser.steps = step.number - 1
    optimiser.first = state.first.clone()
    optimiser.second = None if state.second is None else state.second.clone()
    theta = state.theta.clone()
    optimiser(theta, gradient, step.done)
    return State(theta, optimiser.first, optimiser.second)


def walk(
    loss: BatchLoss, recipe: Recipe, state: State, steps: Iterable[Step], weights: Tensor
) -> Iterator[Taken]:
    """Train from `state` on the points weighted by `weights (train,)`, step by step."""
    for step in steps:
        gradient = loss.gradient(state.theta, step.batch, weights)
        after = advance(recipe, state, gradient, step)
        yield Taken(step, state, gradient, after)
        state = after


def start(
    loss: BatchLoss,
    model: Model,
    recipe: Recipe,
    init_seeds: Sequence[int],
    order_seeds: Sequence[int],
) -> State:
    """Where the main training starts: the initial parameters, or those after the warm epochs.

    Warm epochs train on all points with weight 1 whatever is removed later (`Recipe.warm_epochs`),
    so weights have no influence on this state.
    """
    inputs = loss.task.train_x
    initial = {s: initial_theta(model, s, inputs.dtype) for s in dict.fromkeys(init_seeds)}
    theta = torch.stack([initial[seed] for seed in init_seeds]).to(inputs.device)
    n_train = loss.task.n_train
    steps = training_steps(recipe, n_train, order_seeds, inputs.device, warm=True)
    fresh = State.fresh(recipe, theta)
    for taken in walk(loss, recipe, fresh, steps, inputs.new_ones(n_train)):
        fresh = State.fresh(recipe, taken.after.theta)
    return fresh


@dataclass(frozen=True)
class Update:
    """Derivative of `advance` at one state; all elementwise, coefficients `(run, 1, parameter)`.

    With d for a tangent and ' for after the step:

        dg      = d gradient + l2 d theta
        dfirst' = keep_first dfirst + take_first dg
        dsecond'= keep_second dsecond + take_second dg
        dtheta' = dtheta - rate dfirst' + relief dsecond'
    """

    l2: float
    keep_first: float
    take_first: float
    rate: float | Tensor
    keep_second: float = 0.0
    take_second: Tensor | None = None
    relief: Tensor | None = None

    def push(self, tangent: State, gradient: Tensor) -> State:
        """Tangent after the step from that before it and that of the gradient."""
        gradient = gradient.add(tangent.theta, alpha=self.l2)
        first = (self.keep_first * tangent.first).add_(gradient, alpha=self.take_first)
        theta = tangent.theta - self.rate * first
        if tangent.second is None:
            return State(theta, first, None)
        second = (self.keep_second * tangent.second).addcmul_(self.take_second, gradient)
        return State(theta.addcmul_(self.relief, second), first, second)

    def pull(self, cotangent: State) -> tuple[State, Tensor]:
        """The transpose of `push`: cotangents before the step, and of its gradient."""
        first = cotangent.first - self.rate * cotangent.theta
        gradient, second = self.take_first * first, None
        if cotangent.second is not None:
            second = cotangent.second + self.relief * cotangent.theta
            gradient = gradient.addcmul_(self.take_second, second)
            second = self.keep_second * second
        theta = cotangent.theta.add(gradient, alpha=self.l2)
        return State(theta, self.keep_first * first, second), gradient


@dataclass(frozen=True)
class DecayingUpdate(Update):
    """Of AdamW: theta shrinks besides, `dtheta'` less `shrinkage dtheta`."""

    shrinkage: float = 0.0

    def push(self, tangent: State, gradient: Tensor) -> State:
        """As of `Update`."""
        after = super().push(tangent, gradient)
        return replace(after, theta=after.theta.sub(tangent.theta, alpha=self.shrinkage))

    def pull(self, cotangent: State) -> tuple[State, Tensor]:
        """As of `Update`."""
        before, gradient = super().pull(cotangent)
        theta = before.theta.sub(cotangent.theta, alpha=self.shrinkage)
        return replace(before, theta=theta), gradient


def _linearised(recipe: Recipe, taken: Taken) -> Update:
    l2, lr = recipe.weight_decay, recipe.lr * SCHEDULES[recipe.schedule](taken.step.done)
    if taken.after.second is None:
        return Update(l2, recipe.momentum, 1.0, lr)
    beta1, beta2 = recipe.betas
    lr /= 1 - beta1**taken.step.number
    correction = math.sqrt(1 - beta2**taken.step.number)
    deviation = taken.after.second.sqrt()
    root = deviation / correction + recipe.eps
    rate = lr / root
    # A dead unit has never had a gradient: both moments are 0, the second is of second order in
    # any change of the gradient, and what is left of the derivative is -lr / eps in the first.
    relief = rate * taken.after.first / root / (2 * correction * deviation)
    relief = torch.where(deviation > 0, relief, 0.0)
    take_second = 2 * (1 - beta2) * taken.gradient.add(taken.before.theta, alpha=l2)
    rate, take_second, relief = (t.unsqueeze(1) for t in (rate, take_second, relief))
    return Update(l2, beta1, 1 - beta1, rate, beta2, take_second, relief)


def _linearised_adamw(recipe: Recipe, taken: Taken) -> Update:
    adam = _linearised(without_decay(recipe), taken)
    share = shrinkage(recipe, recipe.weight_decay, taken.step.done)
    return DecayingUpdate(**vars(adam), shrinkage=share)


linearised = ByOptimiser(_linearised, adamw=_linearised_adamw)
"""`linearised(recipe, taken)`: the derivative of a step that was taken."""
