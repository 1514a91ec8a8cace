"""The loss of a batch, its gradient and second derivatives, for a stack of runs at a time."""

import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network
from dtda_lib.runs.tracing import record
from dtda_lib.runs.training import with_channels_last

from .gradients import per_example_gradients

# Examples times rows in one vectorised product: bounds its memory, and smaller pieces stay in the
# processor's cache.
PRODUCT_EXAMPLES = 2**14
# Recording a product takes about as long as it saves in this many calls.
RECORD_AFTER = 50


Shapes = tuple[str, torch.Size, torch.Size]


class BatchLoss:
    """`sum_i w_i loss_i / |batch|` of each run's batch, in the loss's unit, and its derivatives.

    Args:
        task: Its training points; moved to `device`.
        model: Factory of the network.
        device: Where everything happens.

    Dense networks are vectorised over runs and rows and recorded (`tracing.record`) once they are
    used often; convolutions, slower when stacked on a CPU, go one after the other.
    """

    def __init__(self, task: Task, model: Model, device: str | torch.device) -> None:
        self.task = with_channels_last(task.to(device))
        self.network = Network.of(model)
        self._recorded: dict[Shapes, Callable[..., Tensor]] = {}
        self._calls: Counter[Shapes] = Counter()

    def gradient(self, theta: Tensor, batch: Tensor, weights: Tensor) -> Tensor:
        """`(run, parameter)` at theta `(run, parameter)` with weights `(train,)`."""
        return self._each_run(self._gradient, theta, weights[batch], *self._examples(batch))

    def hessian_rows(self, theta: Tensor, batch: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
        """The batch loss's Hessian times each of `rows (run, row, parameter)`; the same shape.

        Where rows outnumber parameters twofold, the Hessian is made first: measured, that is when
        it is faster.
        """
        runs, n_rows, size = rows.shape
        if n_rows >= 2 * size:
            units = torch.eye(size, dtype=rows.dtype, device=rows.device).expand(runs, -1, -1)
            return rows @ self.hessian_rows(theta, batch, weights, units)
        return self._in_pieces(self._products, theta, batch, weights, rows)

    def pull_back(
        self, theta: Tensor, batch: Tensor, weights: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`(H v, (1/|batch|) v . grad loss_i)` for each row v of `rows (run, row, parameter)`.

        What a cotangent of the gradient says of theta `(run, row, parameter)` and of the weights
        of the batch `(run, row, batch)`.
        """
        both = self._in_pieces(self._pull, theta, batch, weights, rows)
        return both.split([theta.shape[1], batch.shape[1]], dim=-1)

    def example_gradients(self, theta: Tensor, batch: Tensor, chosen: Tensor) -> Tensor:
        """Loss gradients `(chosen, parameter)` of the True entries of `chosen (run, batch)`."""
        if self.network.convolutional:
            found = [
                gradients
                for one, picked in zip(theta, (b[c] for b, c in zip(batch, chosen)))
                for gradients in per_example_gradients(
                    self.network, one, self.task, *self._examples(picked)
                )
            ]
            return torch.cat([theta[:0], *found])
        return self._each_run(self._example_gradients, theta, *self._examples(batch))[chosen]

    def _examples(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets, each `(*batch.shape, ...)`; images keep their channels-last."""
        x, y, flat = self.task.train_x, self.task.train_y, batch.flatten()
        if x.ndim == 4:
            picked = x.permute(0, 2, 3, 1).index_select(0, flat).permute(0, 3, 1, 2)
        else:
            picked = x.index_select(0, flat)
        return picked.unflatten(0, batch.shape), y[batch]

    def _in_pieces(
        self,
        function: Callable[..., Tensor],
        theta: Tensor,
        batch: Tensor,
        weights: Tensor,
        rows: Tensor,
    ) -> Tensor:
        """`function` of each run and row, a cacheful of rows at a time."""
        arguments = theta, weights[batch], *self._examples(batch)
        most = max(1, PRODUCT_EXAMPLES // batch.numel())
        pieces = rows.chunk(math.ceil(rows.shape[1] / most), dim=1)
        return torch.cat([self._each_run(function, *arguments, p) for p in pieces], dim=1)

    def _each_run(self, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """`function` of each run's tensors; `(run, ...)` in and out."""
        if self.network.convolutional:
            return torch.stack([function(*one) for one in zip(*tensors)])
        # One run takes the engine's arithmetic for one run, without vmap.
        alone = len(tensors[0]) == 1
        lifted = (lambda *ts: function(*(t[0] for t in ts))[None]) if alone else vmap(function)
        key = function.__name__, tensors[1].shape, tensors[-1].shape
        self._calls[key] += 1
        if self._calls[key] <= RECORD_AFTER:
            return lifted(*tensors)
        if key not in self._recorded:
            self._recorded[key] = record(lifted, *tensors)
        return self._recorded[key](*tensors)

    def _loss(self, theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (w * self.task.per_example_loss(self.network(theta, x), y)).sum() / len(y)

    def _gradient(self, theta: Tensor, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return grad(self._loss)(theta, w, x, y)

    def _products(self, theta: Tensor, w: Tensor, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        # Reverse over reverse: all rows share one backward graph. Measured no slower than a jvp of
        # the gradient, and up to three times faster where networks are small.
        _, pull = vjp(lambda theta: self._gradient(theta, w, x, y), theta)
        return self._each_row(lambda row: pull(row)[0], rows)

    def _pull(self, theta: Tensor, w: Tensor, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        _, pull = vjp(lambda theta, w: self._gradient(theta, w, x, y), theta, w)
        return self._each_row(lambda row: torch.cat(pull(row)), rows)

    def _each_row(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        if self.network.convolutional:
            return torch.stack([function(row) for row in rows])
        return vmap(function)(rows)

    def _example_gradients(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return self.task.per_example_loss(self.network(theta, x[None]), y[None])[0]

        return vmap(grad(loss), in_dims=(None, 0, 0))(theta, x, y)
