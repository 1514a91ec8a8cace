"""EK-FAC influence of training points that are several rows of the task, such as noisy images.

A diffusion model trains on many noisy looks at an image; removing the image removes them all, and
what is measured is a mean over several looks at a sample. Here a *group* is such a set of rows.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from dtda_lib.attribution.ekfac import (
    KroneckerBasis,
    corrected_eigenvalues,
    gradients_in_basis,
    kronecker_basis,
    loss_cotangents,
)
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure

DAMPING = 0.1  # of the mean eigenvalue of each layer: Grosse et al. 2308.03296


def grouped_shifts(
    rows: int, query_rows: int, *, curvature_rows: int = 8, damping: float = DAMPING
) -> Measure:
    """Predicted shift of each query group's mean loss upon removal of each training group.

    `(1/N) grad(m_q)^T C^-1 grad(L_k)`, `(group, sample)`: N groups, L_k the mean loss of the rows
    of group k, m_q that of query group q; positive where the group helps. In loss units. C is the
    EK-FAC approximation of the Gauss-Newton matrix of the mean loss, its eigenvalues those of the
    loss's exact curvature (no label is drawn), plus in each layer `damping` times that layer's mean
    eigenvalue, the usual choice of Grosse et al. (2308.03296). Float64 inside.

    Args:
        rows: Rows of each training group, which lie one after the other; all groups have as many.
        query_rows: The same for the queries.
        curvature_rows: The first so many rows of each group make C.
        damping: See above; must be positive.

    Raises:
        ValueError: impossible numbers, or (when used) rows that do not divide the task's.
    """
    if not (math.isfinite(damping) and damping > 0) or not 1 <= curvature_rows <= rows:
        raise ValueError(
            f"grouped_shifts: damping {damping} and {curvature_rows} of {rows} rows are "
            "impossible; damp by more than 0 and use 1 to all rows."
        )

    @measure(dims=("image", "sample"), unit="loss units")
    def grouped_shifts(network: Network, theta: Tensor, task: Task) -> Tensor:
        if task.n_train % rows or task.n_query % query_rows:
            raise ValueError(
                f"grouped_shifts: {task.n_train} training and {task.n_query} query rows are no "
                f"multiples of {rows} and {query_rows}."
            )
        x, y = task.train_x.unflatten(0, (-1, rows)), task.train_y[::rows]
        thinned = x[:, :curvature_rows].flatten(0, 1)
        part = replace(task, train_x=thinned, train_y=task.train_y[: len(thinned)], train_id=())
        basis = kronecker_basis(network, (theta,), part)
        weight = 1 / damped(corrected_eigenvalues(network, (theta,), part, basis), basis, damping)
        query_x = task.query_x.unflatten(0, (-1, query_rows))
        query_y, along = task.query_y[::query_rows], loss_cotangents(task)
        asked = gradients_in_basis(network, theta, basis, query_x, query_y, along)
        queries = torch.cat(list(asked)) * (weight / query_rows)  # (sample, parameter)
        points = gradients_in_basis(network, theta, basis, x, y, along)
        shifts = torch.cat([point @ queries.T for point in points])  # (group, sample)
        return (shifts / (rows * len(x))).to(theta.dtype)

    return grouped_shifts


def damped(eigenvalues: Tensor, basis: KroneckerBasis, damping: float) -> Tensor:
    """Eigenvalues `(parameter,)` plus `damping` times the mean eigenvalue of each layer."""
    sizes = [len(a) * len(g) for a, g in zip(basis.inputs, basis.outputs)]
    layers = eigenvalues.split(sizes)
    return torch.cat([layer + damping * layer.mean() for layer in layers])
