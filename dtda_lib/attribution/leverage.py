"""Influence with a leverage correction: what a point's own pull on the curvature does to its shift.

Plain influence keeps the removed point in the curvature and so under-shoots where the point has
leverage. Here the Gauss-Newton curvature is that *without* the point, which the dual gives at no
extra solve. With A the rows of the Gauss-Newton factor / sqrt(N), K = A A^T, c = l2 + damping and
u_k the point's gradient in its own rows, `(A^T A + c - A_k^T A_k)^-1 A_k^T = A^T (K + c)^-1 [:, k]
(I - h_k)^-1`, where the leverage h_k is the point's own block of `K (K + c)^-1`; its complement
`I - h_k = c [(K + c)^-1]_kk` is taken as it stands, so nothing cancels at leverages near 1.

For least squares with coupled L2, at the minimum, that is the exact response of parameters and
predictions to a removal ("RIF", Rubinstein and Hopkins, arXiv 2506.06656; Allen's PRESS). For
classification it is a correction in blocks of outputs: one Newton step (Gauss-Newton for networks)
on the objective without the point, no exact answer. Away from a minimum it leaves out that this
step would go on training all other points.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import grad, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure, query_outputs
from dtda_lib.runs.recipes import Recipe

from .curvature import gauss_newton_rows
from .gradients import EXAMPLE_CHUNK
from .influence import NATS, SHIFT_DIMS, dual_system, gradient_coordinates


def influence_leverage(recipe: Recipe, *, damping: float = 0.0) -> Measure:
    """Leverage-corrected influence: "rif" and "rif_loss", the predicted shift upon removal.

    "rif" is of first order in the query's loss like the other influence functions,
    `grad L(query) . r_k`, r_k the response of the parameters. "rif_loss" (ours) is the query's loss
    at outputs moved by `J_query r_k`, less the loss: for linear least squares the leave-one-out
    shift itself. l2 is the recipe's weight decay; `damping` is extra, our choice, and spoils that.

    Costs twice the Gauss-Newton rows of `influence_ggn` and query * outputs backward passes more;
    memory: train gradients and a matrix of N * outputs squared. Solved in float64.

    Raises:
        ValueError: `l2 + damping` is not positive and finite.
    """
    shift = _positive_shift(recipe, damping, "influence_leverage")

    @measure(dims=SHIFT_DIMS, unit=NATS, labels={"estimator": ("rif", "rif_loss")})
    def influence_leverage(network: Network, theta: Tensor, task: Task) -> Tensor:
        gram, products = dual_system(network, theta, task)
        inverse = _inverse(gram, shift)  # (row, row)
        solved = inverse @ _corrected(inverse, shift, network, theta, task)  # (row, train)
        first_order = solved.T @ products / math.sqrt(task.n_train)
        moved = _moved_loss(network, theta, task, _responses(network, theta, task, solved))
        return torch.stack([first_order.to(theta.dtype), moved])

    return influence_leverage


def leverage(recipe: Recipe, *, damping: float = 0.0) -> Measure:
    """Trace of each point's block of `K (K + c)^-1`, `(train,)`: how many parameters it claims.

    In 0..number of outputs; the sum over points is the effective number of parameters. For least
    squares, influence under-shoots by the factor 1 - leverage.

    Raises:
        ValueError: as `influence_leverage`.
    """
    shift = _positive_shift(recipe, damping, "leverage")

    @measure(dims=("train",), unit="none")
    def leverage(network: Network, theta: Tensor, task: Task) -> Tensor:
        gram, _ = dual_system(network, theta, task)
        left = shift * _inverse(gram, shift).diagonal().unflatten(0, (task.n_train, -1))
        return (1 - left).sum(dim=1).to(theta.dtype)

    return leverage


def _positive_shift(recipe: Recipe, damping: float, name: str) -> float:
    shift = recipe.weight_decay + damping
    if not (math.isfinite(shift) and shift > 0 and damping >= 0):
        raise ValueError(
            f"{name}: l2 + damping = {shift} must be positive, because without any the leverage of "
            "a network with more parameters than outputs is 1; add damping."
        )
    return shift


def _inverse(gram: Tensor, shift: float) -> Tensor:
    """`(K + c)^-1 (row, row)`; overwrites `gram`."""
    gram.diagonal().add_(shift)
    return torch.cholesky_inverse(torch.linalg.cholesky(gram))


def _corrected(
    inverse: Tensor, shift: float, network: Network, theta: Tensor, task: Task
) -> Tensor:
    """`(I - h_k)^-1 u_k` in the rows of point k and 0 elsewhere, `(row, train)`."""
    n_train = task.n_train
    blocks = inverse.unflatten(0, (n_train, -1)).unflatten(2, (n_train, -1))
    own = shift * blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (train, rank, rank)
    coordinates = gradient_coordinates(network, theta, task)  # (row, train)
    u = coordinates.unflatten(0, (n_train, -1)).diagonal(dim1=0, dim2=2).T  # (train, rank)
    return torch.block_diag(*torch.linalg.solve(own, u)).T


def _responses(network: Network, theta: Tensor, task: Task, solved: Tensor) -> Tensor:
    """`theta(D \\ z) - theta(D)`, predicted, `(train, parameter)`: `A^T solved / sqrt(N)`."""
    total = theta.new_zeros(task.n_train, len(theta))
    # A = rows / sqrt(N), and another sqrt(N) belongs to the gradients.
    weight = (solved / task.n_train).to(theta.dtype).unflatten(0, (task.n_train, -1))
    for points, x in zip(weight.split(4), task.train_x.split(4)):
        rows = gauss_newton_rows(network, theta, task, x)  # (point, rank, parameter)
        total += points.flatten(0, 1).T @ rows.flatten(0, 1)
    return total


def _moved_loss(network: Network, theta: Tensor, task: Task, response: Tensor) -> Tensor:
    """Loss of each query at linearly moved outputs, less its loss, `(train, query)`."""
    outputs = query_outputs(network, theta, task)  # (query, output)
    before = task.per_example_loss(outputs, task.query_y)
    size = max(1, EXAMPLE_CHUNK // task.n_outputs)
    shifts = []
    parts = zip(outputs.split(size), task.query_y.split(size), before.split(size))
    for jacobian, (output, y, loss) in zip(_jacobians(network, theta, task, size), parts):
        moved = output + torch.einsum("tp,qop->tqo", response, jacobian)
        losses = vmap(task.per_example_loss, in_dims=(0, None))(moved, y)
        shifts.append(losses - loss)
    return torch.cat(shifts, dim=1)


def _jacobians(network: Network, theta: Tensor, task: Task, size: int) -> Iterator[Tensor]:
    """Derivatives of the queries' outputs `(query, output, parameter)`, `size` queries a time."""
    unit = torch.eye(task.n_outputs, dtype=theta.dtype, device=theta.device)

    def one(theta: Tensor, x: Tensor, cotangent: Tensor) -> Tensor:
        return network(theta, x.unsqueeze(0))[0] @ cotangent

    for x in task.query_x.split(size):
        repeated = x.repeat_interleave(len(unit), dim=0)
        gradients = vmap(grad(one), in_dims=(None, 0, 0))(theta, repeated, unit.repeat(len(x), 1))
        yield gradients.unflatten(0, (len(x), len(unit)))
