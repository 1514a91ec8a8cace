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

import torch
from torch import Tensor
from torch.func import vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure, query_loss, query_outputs, query_prediction
from dtda_lib.runs.recipes import Recipe

from .curvature import checked_ridge, gauss_newton_rows
from .influence import dual_system, gradient_coordinates
from .targets import checked_target, estimates, shaped, target_gradients

CLAIMS_ALL = "without any the leverage of a network with more parameters than outputs is 1"


def influence_leverage(
    recipe: Recipe, *, of: str | Measure = query_loss, damping: float = 0.0
) -> Measure:
    """Leverage-corrected influence: "rif" and "rif_moved", the predicted shift upon removal.

    "rif" is of first order in the measurement m like the other influence functions,
    `grad(m) . r_k`, r_k the response of the parameters. "rif_moved" (ours) is the measurement at
    outputs moved by `J_query r_k`, less the measurement: for the loss of linear least squares the
    leave-one-out shift itself. Only measurements of single queries (`measure_of_outputs`) have it.
    l2 is `recipes.objective_l2`; `damping` is extra, our choice, and spoils that.

    Costs twice the Gauss-Newton rows of `influence_ggn` and query * outputs backward passes more;
    memory: train gradients and a matrix of N * outputs squared. Solved in float64.

    Raises:
        ValueError: `l2 + damping` is not positive and finite, or see `targets.checked_target`.
    """
    of = checked_target(of)
    ridge = checked_ridge("influence_leverage", recipe, damping, CLAIMS_ALL)
    labels = ("rif",) if of.of_outputs is None else ("rif", "rif_moved")

    @estimates(of, labels)
    def influence_leverage(network: Network, theta: Tensor, task: Task) -> Tensor:
        gram, products = dual_system(network, theta, task, of)
        inverse = _inverse(gram, ridge)  # (row, row)
        solved = inverse @ _corrected(inverse, ridge, network, theta, task)  # (row, train)
        first_order = solved.T @ products / math.sqrt(task.n_train)  # (train, entry)
        found = [shaped(first_order, network, theta, task, of)]
        if of.of_outputs is not None:
            response = _responses(network, theta, task, solved)
            found.append(_moved(network, theta, task, response, of))
        return torch.stack(found)

    return influence_leverage


def leverage(recipe: Recipe, *, damping: float = 0.0) -> Measure:
    """Trace of each point's block of `K (K + c)^-1`, `(train,)`: how many parameters it claims.

    In 0..number of outputs; the sum over points is the effective number of parameters. For least
    squares, influence under-shoots by the factor 1 - leverage.

    Raises:
        ValueError: as `influence_leverage`.
    """
    ridge = checked_ridge("leverage", recipe, damping, CLAIMS_ALL)

    @measure(dims=("train",), unit="none")
    def leverage(network: Network, theta: Tensor, task: Task) -> Tensor:
        gram, _ = dual_system(network, theta, task, query_loss)
        left = ridge * _inverse(gram, ridge).diagonal().unflatten(0, (task.n_train, -1))
        return (1 - left).sum(dim=1).to(theta.dtype)

    return leverage


def _inverse(gram: Tensor, ridge: float) -> Tensor:
    """`(K + c)^-1 (row, row)`; overwrites `gram`."""
    gram.diagonal().add_(ridge)
    return torch.cholesky_inverse(torch.linalg.cholesky(gram))


def _corrected(
    inverse: Tensor, ridge: float, network: Network, theta: Tensor, task: Task
) -> Tensor:
    """`(I - h_k)^-1 u_k` in the rows of point k and 0 elsewhere, `(row, train)`."""
    n_train = task.n_train
    blocks = inverse.unflatten(0, (n_train, -1)).unflatten(2, (n_train, -1))
    own = ridge * blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (train, rank, rank)
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


def _moved(network: Network, theta: Tensor, task: Task, response: Tensor, of: Measure) -> Tensor:
    """The measurement at linearly moved outputs, less what it is, `(train, *of.dims)`."""
    outputs, first, shifts = query_outputs(network, theta, task), 0, []
    for jacobian in target_gradients(network, theta, task, query_prediction):
        queries = slice(first, first + len(jacobian) // outputs.shape[1])
        output, y, first = outputs[queries], task.query_y[queries], queries.stop
        along = (response @ jacobian.T).unflatten(1, output.shape)  # (train, query, output)

        def measured(moved: Tensor, output: Tensor = output, y: Tensor = y) -> Tensor:
            return of.of_outputs(output + moved, y, task) - of.of_outputs(output, y, task)

        shifts.append(vmap(measured)(along))
    return torch.cat(shifts, dim=1)
