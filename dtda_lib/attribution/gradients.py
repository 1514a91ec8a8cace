"""Grad-dot and grad-cos by Gram matrices of per-example gradients: no loop over pairs."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import grad, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import measure

# Per-example gradients held at once, beside those of the training points. 32 of CNN2-L take 29 MB;
# pieces of 25 to 50 were the fastest of those tried.
EXAMPLE_CHUNK = 32


def per_example_gradients(
    network: Network, theta: Tensor, task: Task, x: Tensor, y: Tensor
) -> Iterator[Tensor]:
    """Loss gradients `(example, parameter)` of the examples, in chunks of `EXAMPLE_CHUNK`.

    Args:
        network: The model.
        theta: `(parameter,)`.
        task: Gives the loss.
        x, y: Examples `(example, ...)` and targets `(example,)`.
    """

    def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        output = network(theta, x.unsqueeze(0))  # (...) -> (1, ...)
        return task.per_example_loss(output, y.unsqueeze(0))[0]

    for part in range(0, len(x), EXAMPLE_CHUNK):
        piece = slice(part, part + EXAMPLE_CHUNK)
        yield vmap(grad(loss), in_dims=(None, 0, 0))(theta, x[piece], y[piece])


@measure(
    dims=("estimator", "train", "query"),
    unit="grad_dot: (loss unit)² per squared parameter unit; grad_cos: none",
    labels={"estimator": ("grad_dot", "grad_cos")},
)
def gradient_similarity(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Inner product and cosine of loss gradients, `(estimator, train, query)`.

    grad_dot = <grad L(query), grad L(train)>, grad_cos the same over both norms (2305.19765,
    run_cnn_gd_and_gc.py:72-76; called GD and GC there). Positive = the training point helps, the
    sign of a shift of the query loss upon removal; the scale is not: to first order one SGD step of
    rate lr on the point alone lowers the query loss by lr * grad_dot. All trainable parameters,
    no weight-decay term. Memory: (train + EXAMPLE_CHUNK) gradients. A zero gradient gives cosine 0.
    """
    train = torch.cat(
        list(per_example_gradients(network, theta, task, task.train_x, task.train_y))
    )  # (train, parameter)
    dots, norms = [], []
    for query in per_example_gradients(network, theta, task, task.query_x, task.query_y):
        dots.append(train @ query.T)  # (train, chunk)
        norms.append(query.norm(dim=1))  # (chunk,)
    dot = torch.cat(dots, dim=1)  # (train, query)
    scale = train.norm(dim=1)[:, None] * torch.cat(norms)[None, :]
    tiny = torch.finfo(dot.dtype).tiny
    return torch.stack([dot, dot / scale.clamp_min(tiny)])
