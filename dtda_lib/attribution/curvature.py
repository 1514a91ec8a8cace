"""Second derivatives of the training loss: products, rows of the Gauss-Newton factor, dense forms.

All are of the *mean* training loss `(1/N) sum_i loss_i`, without any L2 term: estimators add
`(l2 + damping) I` themselves and say so. Everything is a pure function of theta.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, jvp, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.names import unknown
from dtda_lib.runs.recipes import Recipe, objective_l2

LARGEST_DENSE = 12_000  # parameters; a dense float64 Hessian of that many takes 1.2 GB


def checked_ridge(name: str, recipe: Recipe, damping: float, why: str) -> float:
    """What is added to a curvature: `l2 + damping`, see `recipes.objective_l2`.

    Raises:
        ValueError: a sum that is not positive and finite, or a negative damping; `why` says what
            the estimator of that `name` needs it for.
    """
    ridge = objective_l2(recipe) + damping
    if not (math.isfinite(ridge) and ridge > 0 and damping >= 0):
        raise ValueError(
            f"{name}: l2 + damping = {ridge} must be positive, because {why}; add damping: "
            f"get_estimator({name!r}, recipe, damping=...), or settings={{'damping': ...}} where a "
            "bank is declared by the name."
        )
    return ridge


def mean_loss(network: Network, task: Task, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """theta `(parameter,)` -> mean loss of the examples, a scalar in the loss's unit."""
    return lambda theta: task.per_example_loss(network(theta, x), y).mean()


def hessian_product(loss: Callable[[Tensor], Tensor], theta: Tensor, vectors: Tensor) -> Tensor:
    """`H v` for each row of `vectors (vector, parameter)`, H the Hessian of `loss` at theta.

    Forward over reverse: a jvp of the gradient. One row at a time, because stacked convolutions
    are slower on a CPU than one after the other.
    """
    gradient = grad(loss)
    return torch.stack([jvp(gradient, (theta,), (vector,))[1] for vector in vectors])


def dense_hessian(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Hessian `(parameter, parameter)` of the mean training loss, symmetric to the last bit.

    Raises:
        ValueError: more parameters than `LARGEST_DENSE`.
    """
    refuse_too_large(network)
    gradient = grad(mean_loss(network, task, task.train_x, task.train_y))
    units = torch.eye(len(theta), dtype=theta.dtype, device=theta.device)
    columns = vmap(lambda unit: jvp(gradient, (theta,), (unit,))[1], chunk_size=256)(units)
    return 0.5 * (columns + columns.T)


def refuse_too_large(network: Network) -> None:
    """ValueError when the network has more parameters than a dense Hessian can serve."""
    size = network.layout.n_parameters
    if size > LARGEST_DENSE:
        raise ValueError(
            f"exact Hessian: the model has {size:,} parameters, more than {LARGEST_DENSE:,}; "
            "use the Gauss-Newton estimator 'influence_ggn', which solves in the dual."
        )


def loss_curvature_root(output: Tensor, loss: str) -> Tensor:
    """S `(output, rank)` with `S S^T` = the Hessian of the loss in the output of one example.

    Cross-entropy: `S = diag(sqrt p) - p sqrt(p)^T`, so `S S^T = diag(p) - p p^T`; half squared
    error: 1; mean square of n outputs: sqrt(2 / n) I.
    """
    if loss == "cross_entropy":
        root = torch.exp(0.5 * F.log_softmax(output, dim=-1))  # sqrt(p), (output,)
        return torch.diag_embed(root) - (root * root)[:, None] * root[None, :]
    if loss == "squared_error":
        return torch.ones_like(output)[:, None]
    if loss == "mean_square":
        return torch.diag_embed(torch.full_like(output, math.sqrt(2 / len(output))))
    raise ValueError(unknown("loss with a known curvature", loss, ("cross_entropy",)))


def loss_gradient_coordinates(output: Tensor, target: Tensor, loss: str) -> Tensor:
    """u `(rank,)` with `S u` = the gradient of the loss in the output; see `loss_curvature_root`.

    It exists because loss gradients lie in the range of S. Cross-entropy: `(p - onehot)/sqrt(p)`.
    """
    if loss == "cross_entropy":
        log_root = 0.5 * F.log_softmax(output, dim=-1)
        own = F.one_hot(target, output.shape[-1]).bool()
        return torch.exp(log_root) - torch.where(own, torch.exp(-log_root), 0.0)
    if loss == "mean_square":
        return math.sqrt(2 / len(output)) * output
    return output - target


def gauss_newton_rows(network: Network, theta: Tensor, task: Task, x: Tensor) -> Tensor:
    """Rows `S_i^T J_i` of the Gauss-Newton factor, `(example, rank, parameter)`.

    With J_i the Jacobian of the output of example i, `sum_i rows_i^T rows_i / N` is the generalised
    Gauss-Newton matrix of the mean loss (equal to the Fisher matrix for cross-entropy).
    """
    with torch.no_grad():
        roots = vmap(lambda out: loss_curvature_root(out, task.loss))(network(theta, x))
    rank = roots.shape[-1]
    cotangents = roots.transpose(1, 2).flatten(0, 1)  # (example, rank, output) -> (row, output)
    repeated = x.repeat_interleave(rank, dim=0)  # (row, ...)

    def along(theta: Tensor, x: Tensor, cotangent: Tensor) -> Tensor:
        return network(theta, x.unsqueeze(0))[0] @ cotangent

    rows = vmap(grad(along), in_dims=(None, 0, 0))(theta, repeated, cotangents)
    return rows.unflatten(0, (len(x), rank))


def dense_gauss_newton(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Generalised Gauss-Newton matrix `(parameter, parameter)` of the mean training loss.

    Raises:
        ValueError: as `dense_hessian`.
    """
    refuse_too_large(network)
    rows = gauss_newton_rows(network, theta, task, task.train_x).flatten(0, 1)  # (row, parameter)
    return rows.T @ rows / task.n_train
