"""Eq. 6 along long trainings of a network with one hidden layer, its derivatives written by hand.

The library's unrolling knows every network and costs milliseconds a step; here a step of a stack of
runs is a few products of small matrices, so that 1e5 steps take minutes and Theorem 2 can be asked
where it speaks: late. Runs are those of `training.train` with the same seeds (initial weights,
batches), in float64; a test holds this to the library's own unrolling.

Steps of a decaying schedule depend on their number alone, not on when training ends, so that a
shorter training is the beginning of a longer one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, get_model, initial_theta
from dtda_lib.runs.protocols import SeedPair
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import epoch_order, order_generator


@dataclass(frozen=True)
class Steps:
    """How a training of plain SGD takes its steps.

    Args:
        name: In words.
        rate: The first step size.
        half_life: Steps after which it is half of that, as `rate / (1 + t / half_life)`: the sum of
            all steps is infinite and that of their squares is not (A2 of 2506.12965). None:
            constant.
        momentum: PyTorch's form.
    """

    name: str
    rate: float
    half_life: float | None = None
    momentum: float = 0.0

    def sizes(self, n_steps: int) -> np.ndarray:
        """Step sizes `(step,)`."""
        t = np.arange(n_steps)
        return self.rate / (1 + t / self.half_life) if self.half_life else self.rate + 0.0 * t

    def times(self, n_steps: Sequence[int]) -> np.ndarray:
        """Training time after so many steps: the sum of their sizes over 1 - momentum."""
        total = np.cumsum(self.sizes(max(n_steps)))
        return total[np.asarray(n_steps) - 1] / (1 - self.momentum)


def one_hidden_layer(task: Task, hidden: int) -> Model:
    """The network: tanh units between the task's inputs and its one output."""
    return get_model("mlp", widths=(task.train_x[0].numel(), hidden, 1), activation="tanh")


def follow(
    task: Task,
    hidden: int,
    steps: Steps,
    seeds: Sequence[SeedPair],
    points: Sequence[int],
    keep: Sequence[int],
    *,
    weight_decay: float,
    batch_size: int,
) -> xr.Dataset:
    """The chain (theta_t, r_t) of a stack of runs, with batches drawn with replacement.

    Args:
        task: Half squared error of one output.
        hidden: Units of the hidden layer.
        steps: How steps are taken.
        seeds: Pairs `(init_seed, order_seed)`, one for each run.
        points: Training positions whose responses are followed.
        keep: Numbers of steps after which the chain is kept.
        weight_decay, batch_size: As of `Recipe`.

    Returns:
        `theta` `(seed, step, parameter)` and `response` `(seed, step, train, parameter)`, float64;
        parameters in the order of the library's `MLP`, r as `unrolled_shifts` of "parameters".

    Raises:
        ValueError: another loss, several outputs, or no step to keep.
        FloatingPointError: a run diverged.
    """
    if task.loss != "squared_error" or task.n_outputs != 1:
        raise ValueError(f"follow: task {task.name!r} is no regression of one output.")
    if not keep or min(keep) < 1:
        raise ValueError(f"follow: steps to keep are {list(keep)}; give numbers from 1 on.")
    exact = task.to(dtype=torch.float64)
    x = torch.cat([exact.train_x.flatten(1), torch.ones(task.n_train, 1, dtype=torch.float64)], 1)
    y = exact.train_y.flatten()
    model = one_hidden_layer(task, hidden)
    layout = _Layout(x.shape[1], hidden, len(points))
    start = torch.stack([initial_theta(model, init, torch.float64) for init, _ in seeds])
    state = [*layout.split(start), *layout.fresh(start)]
    velocity = [torch.zeros_like(part) for part in state]
    chosen, last = torch.tensor(list(points)), max(keep)
    batches = _batches([order for _, order in seeds], task.n_train, batch_size)
    kept = []
    for number, (rate, batch) in enumerate(zip(steps.sizes(last).tolist(), batches), start=1):
        slopes = layout.slopes(state, x, y, batch, chosen)
        for part, slope, speed in zip(state, slopes, velocity, strict=True):
            speed.mul_(steps.momentum).add_(slope).add_(part, alpha=weight_decay)
            part.sub_(speed, alpha=rate)
        if number in keep:
            kept.append((layout.theta(state), layout.response(state)))
            if not all(torch.isfinite(part).all() for part in kept[-1]):
                raise FloatingPointError(
                    f"follow: {steps.name} diverged within {number} steps; lower the rate."
                )
    theta, response = (torch.stack(parts, 1).numpy() for parts in zip(*kept))
    return xr.Dataset(
        {
            "theta": (("seed", "step", "parameter"), theta),
            "response": (("seed", "step", "train", "parameter"), response),
        },
        {"step": sorted(set(keep)), "train": list(points)},
    )


def _batches(order_seeds: Sequence[int], n_train: int, batch_size: int) -> Iterator[Tensor]:
    """Positions `(run, batch)` of each step, as `training.train` draws them with replacement."""
    recipe = Recipe("sgd", replacement=True)
    streams = [order_generator(seed) for seed in order_seeds]
    while True:
        epoch = torch.stack([epoch_order(stream, n_train, recipe) for stream in streams])
        yield from epoch.split(batch_size, dim=1)


@dataclass(frozen=True)
class _Layout:
    """Weights and responses as the products want them, and the derivatives.

    A state is `[U, V, dU, dV]`: U `(run, input + 1, hidden)` into the hidden layer, its bias last,
    V `(run, hidden + 1)` out of it, and responses dU `(run, input + 1, point * hidden)`, dV `(run,
    point, hidden + 1)`.
    """

    inputs: int  # bias included
    hidden: int
    points: int

    def split(self, theta: Tensor) -> list[Tensor]:
        """U and V of theta `(run, parameter)` in the order of the library's `MLP`."""
        weights = self.hidden * (self.inputs - 1)
        into = theta[:, :weights].unflatten(1, (self.hidden, self.inputs - 1)).transpose(1, 2)
        bias = theta[:, None, weights : weights + self.hidden]
        return [torch.cat([into, bias], 1).clone(), theta[:, weights + self.hidden :].clone()]

    def fresh(self, theta: Tensor) -> list[Tensor]:
        """Responses of 0."""
        runs = len(theta)
        return [
            theta.new_zeros(runs, self.inputs, self.points * self.hidden),
            theta.new_zeros(runs, self.points, self.hidden + 1),
        ]

    def theta(self, state: Sequence[Tensor]) -> Tensor:
        """`(run, parameter)`: the inverse of `split`."""
        into, out = state[:2]
        return torch.cat([into[:, :-1].transpose(1, 2).flatten(1), into[:, -1], out], 1)

    def response(self, state: Sequence[Tensor]) -> Tensor:
        """`(run, point, parameter)`."""
        into = state[2].unflatten(2, (self.points, self.hidden)).permute(0, 2, 1, 3)
        weights = into[:, :, :-1].transpose(2, 3).flatten(2)
        return torch.cat([weights, into[:, :, -1], state[3]], 2)

    def slopes(
        self, state: Sequence[Tensor], x: Tensor, y: Tensor, batch: Tensor, points: Tensor
    ) -> list[Tensor]:
        """Derivatives by which a step changes the state, less those of the weight decay.

        The gradient of the batch; and of each response the batch's Hessian times r, less the
        point's own gradient over the batch size for each time it is drawn.
        """
        into, out, d_into, d_out = state
        size, hidden = batch.shape[1], self.hidden
        rows = x[batch]  # (run, batch, input)
        h = torch.tanh(rows @ into)  # (run, batch, hidden)
        steep, v = 1 - h * h, out[:, None, :-1]
        error = (h * v).sum(-1) + out[:, -1:] - y[batch]  # (run, batch)
        pull = error[..., None] * v * steep
        across = rows.transpose(1, 2) / size  # (run, input, batch)
        grad_into = across @ pull
        grad_out = torch.cat([(error[..., None] * h).mean(1), error.mean(1, keepdim=True)], 1)

        # Tangents along each response: (run, batch, point, hidden).
        turn = (rows @ d_into).unflatten(2, (self.points, hidden)) * steep[:, :, None]
        w = d_out[:, :, :-1]  # (run, point, hidden)
        d_error = torch.einsum("rbkh,rh->rbk", turn, out[:, :-1]) + h @ w.transpose(1, 2)
        d_error = d_error + d_out[:, None, :, -1]  # (run, batch, point)
        bend = (-2 * error[..., None] * v * h)[:, :, None] * turn
        d_pull = d_error[..., None] * (v * steep)[:, :, None] + bend
        d_pull = d_pull + (error[..., None] * steep)[:, :, None] * w[:, None]
        change_into = across @ d_pull.flatten(2)
        change_h = torch.einsum("rbk,rbh->rkh", d_error, h)
        change_h = change_h + torch.einsum("rb,rbkh->rkh", error, turn)
        change_out = torch.cat([change_h, d_error.sum(1)[..., None]], 2) / size

        # Each point's own gradient, as often as it is drawn.
        drawn = (batch[:, None] == points[:, None]).sum(-1).to(x.dtype) / size  # (run, point)
        own_h = torch.tanh(x[points] @ into)  # (run, point, hidden)
        own_error = ((own_h * v).sum(-1) + out[:, -1:] - y[points]) * drawn
        own_pull = own_error[..., None] * v * (1 - own_h * own_h)
        own_into = torch.einsum("ki,rkh->rikh", x[points], own_pull).flatten(2)
        own_out = torch.cat([own_error[..., None] * own_h, own_error[..., None]], 2)
        return [grad_into, grad_out, change_into - own_into, change_out - own_out]
