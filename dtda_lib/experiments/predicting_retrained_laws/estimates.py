"""Influence functions of whole removals: how much of its own curvature a group takes along.

With A the rows of the Gauss-Newton factor / sqrt(N), c = weight decay + damping, K = A A^T and u_k
the gradient of point k in its own rows, the shift of an output m upon removal of the group S is
`(A grad(m))^T (K + c)^-1 v / sqrt(N)`, in the unit of m. The three estimators differ in v:

* "if_damped", v = u_S: the curvature stays as it is, and members are added up (`influence_ggn`);
* "rif", each u_k divided by the point's own block of I - H, H = K (K + c)^-1: each member takes
  its own curvature along, as if the others stayed (`influence_leverage`);
* "joint", u_S divided by the group's block: the group takes all of its curvature along. One
  Gauss-Newton step on the objective *without* the group; for linear least squares at the minimum it
  is exact for any group (ours, after Allen's PRESS and arXiv 2506.06656).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dtda_lib.attribution.curvature import checked_ridge
from dtda_lib.attribution.influence import SINGULAR, dual_system, gradient_coordinates
from dtda_lib.attribution.targets import checked_target, target_shape
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure
from dtda_lib.runs.recipes import Recipe

KEPT = ("if_damped", "rif", "joint")


def group_shifts(
    recipe: Recipe, of: str | Measure, groups: Sequence[Sequence[int]], *, damping: float
) -> Measure:
    """Predicted shift upon removal of each group, `(estimator, group, *axes of the output)`.

    Args:
        recipe: How the models are trained; gives the weight decay.
        of: The measurement whose shift is predicted.
        groups: Training positions of each removal.
        damping: Beside the weight decay.

    Raises:
        ValueError: weight decay + damping is not positive and finite, or see `checked_target`.
    """
    of = checked_target(of)
    ridge = checked_ridge("group_shifts", recipe, damping, SINGULAR)

    @measure(
        dims=("estimator", "group", *of.dims),
        unit=of.unit,
        labels={"estimator": KEPT, **of.labels},
    )
    def group_shifts(network: Network, theta: Tensor, task: Task) -> Tensor:
        gram, products = dual_system(network, theta, task, of)  # (row, row), (row, entry)
        gram.diagonal().add_(ridge)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        u = gradient_coordinates(network, theta, task).sum(dim=1)  # (row,), each of its own point
        by_point = u.unflatten(0, (task.n_train, -1))  # (train, rank)
        blocks = inverse.unflatten(0, by_point.shape).unflatten(2, by_point.shape)
        own = ridge * blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (train, rank, rank)
        each = torch.linalg.solve(own, by_point).flatten()
        columns = []
        for group in groups:
            rows = torch.arange(len(u)).unflatten(0, by_point.shape)[list(group)].flatten()
            whole = torch.linalg.solve(ridge * inverse[rows][:, rows], u[rows])
            for v in (u[rows], each[rows], whole):  # in the order of KEPT
                columns.append(torch.zeros_like(u).index_add(0, rows, v))
        shifts = products.T @ inverse @ torch.stack(columns, dim=1) / math.sqrt(task.n_train)
        shape = target_shape(network, theta, task, of)
        by_group = shifts.T.reshape(len(groups), len(KEPT), *shape)
        return by_group.transpose(0, 1).to(theta.dtype)

    return group_shifts
