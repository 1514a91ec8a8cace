"""Influence with EK-FAC curvature: what is used where the Gauss-Newton matrix is too large.

Here it stands beside `influence_ggn`, which is exact and no slower on small data, to show what the
approximation (blocks of layers, Kronecker eigenvectors) changes.
"""

import math

import torch
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure
from dtda_lib.runs.recipes import Recipe

from .influence import BLOCK_BYTES, NATS, SHIFT_DIMS
from .kfac import corrected_eigenvalues, gradients_in_basis, kronecker_basis


def influence_ekfac(recipe: Recipe, *, damping: float = 0.0) -> Measure:
    """Influence with the EK-FAC approximation of the Gauss-Newton matrix (Grosse, 2308.03296).

    The predicted shift upon removal `(1/N) sum_j q_j t_j / (lambda_j + l2 + damping)`, with q and
    t gradients in the Kronecker eigenbasis of `kfac` and lambda its corrected eigenvalues. l2 is
    the recipe's weight decay; damping is extra, our choice. The eigenvalues come from the loss's
    exact curvature, not from sampled labels, so one model has one answer. Linear and
    convolutional layers ("expand"), bias and weight together.

    Measured on trained digits (1,000 points, three dense networks of 2,410 parameters): over
    all pairs, correlation with `influence_ggn` of .74 to .81 at damping 1e-4, .87 to .89 at .01,
    .99 at 1; for a small convolutional network .55, .62 and .70 at 1e-4, .01 and .1. Blocks
    without cross terms also make shifts too large (2.2 times at .01, 3 with convolutions): trust
    the order of points more than their size. curvlinops and kronfluence, which draw labels, fare
    no better, by at most .001 where they lead.

    Costs outputs * (train) backward passes, twice, an eigendecomposition per layer, and
    `BLOCK_BYTES` of gradients. In float64.

    Raises:
        ValueError: `l2 + damping` is not positive and finite, or (when used) the network has other
            layers, see `kfac.layers_of`.
    """
    shift = recipe.weight_decay + damping
    if not (math.isfinite(shift) and shift > 0 and damping >= 0):
        raise ValueError(
            f"influence_ekfac: l2 + damping = {shift} must be positive, because directions without "
            "curvature would count without bound; add damping."
        )

    @measure(dims=SHIFT_DIMS, unit=NATS, labels={"estimator": ("if_ekfac",)})
    def influence_ekfac(network: Network, theta: Tensor, task: Task) -> Tensor:
        basis = kronecker_basis(network, (theta,), task)
        weight = 1 / (corrected_eigenvalues(network, (theta,), task, basis) + shift)
        size = max(1, BLOCK_BYTES // (8 * len(theta)))  # points whose gradients fit
        points = zip(task.train_x.split(size), task.train_y.split(size))

        def gradients(x: Tensor, y: Tensor) -> list[Tensor]:
            return list(gradients_in_basis(network, theta, task, basis, x, y))

        rows = []
        for x, y in points:
            train = torch.cat(gradients(x, y)) * weight  # (point, parameter)
            queries = gradients_in_basis(network, theta, task, basis, task.query_x, task.query_y)
            rows.append(torch.cat([train @ query.T for query in queries], dim=1))
        scores = torch.cat(rows) / task.n_train  # (train, query)
        return scores.to(theta.dtype).unsqueeze(0)

    return influence_ekfac
