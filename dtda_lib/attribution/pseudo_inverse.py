"""Influence by a pseudo-inverse: flat directions of the curvature take no part.

Theorem 2 of 2506.12965 is about `H^+ grad loss_k`. Without weight decay a network's curvature is
singular, and its inverse does not exist; its pseudo-inverse does. Where nothing is flat (weight
decay, say) it is the inverse, with the same dangers: see `influence_hessian`.
"""

import torch
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.names import unknown
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.recipes import Recipe, objective_l2

from .curvature import dense_gauss_newton, dense_hessian
from .eigenvalues import reciprocals, warn_if_indefinite
from .gradients import per_example_gradients
from .targets import checked_target, estimates, shaped, target_gradients

LABELS = {"hessian": "if_pinv", "ggn": "if_pinv_ggn"}


def influence_pinv(
    recipe: Recipe,
    *,
    of: str | Measure = query_loss,
    curvature: str = "hessian",
    threshold: float = 1e-5,
    damping: float = 0.0,
) -> Measure:
    """Influence with the pseudo-inverse of a dense curvature `C + (l2 + damping) I`.

    `(1/N) grad(m)^T (C + (l2 + damping) I)^+ grad loss_k`, the predicted shift of m upon removal:
    for a loss positive where the point helps. l2 is `recipes.objective_l2`, which belongs to the
    objective; `damping` is extra. The solve is in float64.

    Args:
        recipe: Gives l2.
        of: The measurement m, see `targets.checked_target`.
        curvature: "hessian", the exact one, or "ggn", the generalised Gauss-Newton matrix.
        threshold: Eigenvalues of at most this share of the largest one in size count as null. The
            default is a little above the rounding of a Hessian in float32. Negative eigenvalues
            beyond it are inverted as they are, with a warning: a pseudo-inverse does not mend a
            saddle.
        damping: Added to all eigenvalues before that.

    Raises:
        ValueError: an unknown curvature, a threshold outside [0, 1), a negative damping, or, when
            used, more parameters than `curvature.LARGEST_DENSE`.
    """
    of = checked_target(of)
    if curvature not in LABELS:
        raise ValueError(unknown("curvature", curvature, LABELS))
    if not 0 <= threshold < 1:
        raise ValueError(f"influence_pinv: threshold {threshold} must be at least 0 and below 1.")
    if not damping >= 0:
        raise ValueError(f"influence_pinv: damping {damping} must not be negative.")
    shift = objective_l2(recipe) + damping
    exact = curvature == "hessian"

    @estimates(of, (LABELS[curvature],))
    def influence_pinv(network: Network, theta: Tensor, task: Task) -> Tensor:
        dense = dense_hessian if exact else dense_gauss_newton
        values, vectors = torch.linalg.eigh(dense(network, theta, task).double())
        values = values + shift
        warn_if_indefinite(values, threshold)
        points = per_example_gradients(network, theta, task, task.train_x, task.train_y)
        targets = target_gradients(network, theta, task, of)
        # (row, parameter) -> (row, eigenvector)
        train, target = (torch.cat(list(rows)).double() @ vectors for rows in (points, targets))
        scores = (train * reciprocals(values, threshold)) @ target.T / task.n_train
        return shaped(scores.unsqueeze(0), network, theta, task, of)

    return influence_pinv
