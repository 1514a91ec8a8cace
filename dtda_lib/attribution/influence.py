"""Influence functions: what removing a point does to a measurement, to first order.

All return the predicted shift upon removal `(1/N) grad(m)^T C^-1 grad loss_k` of a measurement m
(any, see `targets`; the query's loss unless another is asked for), in its unit, for a loss positive
where the point helps; they differ in the curvature C. The objective that training minimises is the
mean loss plus `l2/2 |theta|^2` (coupled weight decay), so `l2` belongs into C; `damping` is extra,
our choice, and 0 unless asked for.
"""

import math

import torch
from torch import Tensor
from torch.func import vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure, query_loss
from dtda_lib.runs.recipes import Recipe, objective_l2

from .curvature import (
    checked_ridge,
    dense_hessian,
    gauss_newton_rows,
    hessian_product,
    loss_gradient_coordinates,
    mean_loss,
)
from .eigenvalues import refuse_singular, warn_if_untrustworthy
from .gradients import per_example_gradients
from .targets import checked_target, estimates, shaped, target_gradients

BLOCK_BYTES = 2**29  # rows of the Gauss-Newton factor held at once; twice this at the peak
SINGULAR = "the Gauss-Newton matrix of a network with more parameters than outputs is singular"


# --- Gauss-Newton, solved in the dual -------------------------------------------------------------


def influence_ggn(
    recipe: Recipe, *, of: str | Measure = query_loss, damping: float = 0.0
) -> Measure:
    """Influence with the generalised Gauss-Newton curvature `G + (l2 + damping) I`, exactly solved.

    l2 is `recipes.objective_l2`.

    With A = rows of the Gauss-Newton factor / sqrt(N), G = A^T A and every training gradient is
    `sqrt(N) A^T u_k`. Since `(A^T A + c)^-1 A^T = A^T (A A^T + c)^-1`, only a system of size
    N * outputs has to be solved, whatever the number of parameters, and nothing cancels as c -> 0.
    The solve is in float64. Costs N * outputs + entries backward passes and `BLOCK_BYTES` of
    memory.

    Raises:
        ValueError: `l2 + damping` is not positive and finite, or see `targets.checked_target`.
    """
    of = checked_target(of)
    shift = checked_ridge("influence_ggn", recipe, damping, SINGULAR)

    @estimates(of, ("if_ggn",))
    def influence_ggn(network: Network, theta: Tensor, task: Task) -> Tensor:
        gram, products = dual_system(network, theta, task, of)
        gram.diagonal().add_(shift)
        solved = torch.linalg.solve(gram, gradient_coordinates(network, theta, task))
        scores = solved.T @ products / math.sqrt(task.n_train)  # (train, entry)
        return shaped(scores.unsqueeze(0), network, theta, task, of)

    return influence_ggn


def dual_system(network: Network, theta: Tensor, task: Task, of: Measure) -> tuple[Tensor, Tensor]:
    """`A A^T (row, row)` and `A grad(m) (row, entry)`, float64, in blocks of rows."""
    n_train, scale = task.n_train, 1 / math.sqrt(task.n_train)
    rank = gauss_newton_rows(network, theta, task, task.train_x[:1]).shape[1]
    bytes_per_point = rank * len(theta) * theta.element_size()
    size = min(n_train, max(1, BLOCK_BYTES // bytes_per_point))
    blocks = [(at, min(at + size, n_train)) for at in range(0, n_train, size)]

    def rows(block: tuple[int, int]) -> Tensor:
        points = task.train_x[slice(*block)]
        # A few points at a time: their backward passes need room of their own.
        pieces = [gauss_newton_rows(network, theta, task, x) for x in points.split(4)]
        return torch.cat(pieces).flatten(0, 1).mul_(scale)  # (point, rank, par) -> (row, par)

    gram = theta.new_empty((n_train * rank,) * 2, dtype=torch.float64)
    products = []
    for number, block in enumerate(blocks):
        here, left = slice(block[0] * rank, block[1] * rank), rows(block)
        gram[here, here] = (left @ left.T).double()
        for other in blocks[:number]:
            there = slice(other[0] * rank, other[1] * rank)
            gram[here, there] = (left @ rows(other).T).double()
            gram[there, here] = gram[here, there].T
        targets = target_gradients(network, theta, task, of)
        products.append(torch.cat([(left @ target.T).double() for target in targets], dim=1))
    return gram, torch.cat(products)


def gradient_coordinates(network: Network, theta: Tensor, task: Task) -> Tensor:
    """U `(row, train)`: column k holds u_k in the rows of point k and 0 elsewhere; float64."""
    with torch.no_grad():
        output = network(theta, task.train_x).double()
    targets = task.train_y if task.loss == "cross_entropy" else task.train_y.double()[:, None]
    own = vmap(lambda out, y: loss_gradient_coordinates(out, y, task.loss))(output, targets)
    return torch.block_diag(*own).T  # (train, rank) -> (train, row) -> (row, train)


# --- the exact Hessian, for small networks --------------------------------------------------------


def influence_hessian(
    recipe: Recipe, *, of: str | Measure = query_loss, damping: float = 0.0
) -> Measure:
    """Influence with the exact Hessian `H + (l2 + damping) I` of the objective, for small networks.

    Away from a minimum H is indefinite, and a first-order answer then is a saddle's: the solve is
    done all the same, in float64, and a warning names the smallest eigenvalue.

    Raises:
        ValueError: see `targets.checked_target`; when used, more parameters than
            `curvature.LARGEST_DENSE`, or a singular Hessian with neither l2 nor damping, which has
            no inverse (see `influence_pinv`).
    """
    of = checked_target(of)
    shift = objective_l2(recipe) + damping

    @estimates(of, ("if_hessian",))
    def influence_hessian(network: Network, theta: Tensor, task: Task) -> Tensor:
        matrix = dense_hessian(network, theta, task).double()
        if not shift:
            refuse_singular(matrix, theta.dtype)
        matrix.diagonal().add_(shift)
        warn_if_untrustworthy(matrix)
        train = _gradients(network, theta, task, task.train_x, task.train_y).double()
        target = torch.cat(list(target_gradients(network, theta, task, of))).double()
        scores = torch.linalg.solve(matrix, train.T).T @ target.T / task.n_train  # (train, entry)
        return shaped(scores.unsqueeze(0), network, theta, task, of)

    return influence_hessian


def smallest_eigenvalue(recipe: Recipe, *, damping: float = 0.0) -> Measure:
    """Smallest eigenvalue of the exact Hessian of the objective: negative = no minimum yet.

    `damping` is added, as `influence_hessian` does.
    """
    shift = objective_l2(recipe) + damping

    @measure(dims=(), unit="loss unit per squared parameter unit")
    def smallest_eigenvalue(network: Network, theta: Tensor, task: Task) -> Tensor:
        hessian = dense_hessian(network, theta, task).double()
        return (torch.linalg.eigvalsh(hessian)[0] + shift).to(theta.dtype)

    return smallest_eigenvalue


def _gradients(network: Network, theta: Tensor, task: Task, x: Tensor, y: Tensor) -> Tensor:
    return torch.cat(list(per_example_gradients(network, theta, task, x, y)))  # (example, par)


# --- LiSSA, as published --------------------------------------------------------------------------


def influence_lissa(
    recipe: Recipe | None = None,
    *,
    of: str | Measure = query_loss,
    damp: float = 5e-3,
    scale: float = 1e4,
    batch_size: int = 8,
) -> Measure:
    """Influence by LiSSA with exactly the published settings (2305.19765, run_cnn_s_test.py:28-31).

    The recursion `h <- v + (1 - damp) h - H_batch h / scale`, h_0 = v = the gradient of m, goes
    once over the training points in their stored order and gives `s = h / scale`. No weight-decay
    term (the recipe is not looked at), one repetition. It is linear in v, so its transpose is
    applied to the training gradients instead, which are fewer. Published scores are
    `-grad loss_k . s`, i.e. -N times these.

    With these settings it is far from any inverse: see `lissa_gain`.

    Raises:
        ValueError: see `targets.checked_target`.
    """
    of = checked_target(of)

    @estimates(of, ("if_lissa",))
    def influence_lissa(network: Network, theta: Tensor, task: Task) -> Tensor:
        train = _gradients(network, theta, task, task.train_x, task.train_y)  # (train, parameter)
        solved = lissa_products(
            network, theta, task, train, damp=damp, scale=scale, batch_size=batch_size
        )
        targets = target_gradients(network, theta, task, of)
        products = torch.cat([solved @ target.T for target in targets], dim=1)
        scores = products / task.n_train  # (train, entry)
        return shaped(scores.unsqueeze(0), network, theta, task, of)

    return influence_lissa


def lissa_products(
    network: Network,
    theta: Tensor,
    task: Task,
    rows: Tensor,
    *,
    damp: float = 5e-3,
    scale: float = 1e4,
    batch_size: int = 8,
) -> Tensor:
    """The transpose of the published recursion, divided by its scale, times each row.

    Args:
        network, theta, task: Whose training loss curves.
        rows: `(row, parameter)`, such as gradients of training losses.
        damp, scale, batch_size: As `influence_lissa`.

    Returns:
        `(row, parameter)`; its product with a gradient v is that of the row with `s` of v.
    """
    term, total = rows, rows.clone()
    batches = list(zip(task.train_x.split(batch_size), task.train_y.split(batch_size)))
    for x, y in reversed(batches):  # the transpose applies the symmetric factors backwards
        product = hessian_product(mean_loss(network, task, x, y), theta, term)
        term = (1 - damp) * term - product / scale
        total += term
    return total / scale


def lissa_steps(n_train: int, batch_size: int = 8) -> int:
    """Number T of steps in one pass."""
    return math.ceil(n_train / batch_size)


def lissa_gain(steps: int, damp: float = 5e-3, scale: float = 1e4) -> float:
    """c_T, what LiSSA multiplies the gradient by where curvature does not matter.

    With `T * curvature << scale`, published IF = -c_T grad-dot, `c_T = (1 - (1 - damp)^(T+1)) /
    (damp * scale)` (claim R1).
    """
    return (1 - (1 - damp) ** (steps + 1)) / (damp * scale)
