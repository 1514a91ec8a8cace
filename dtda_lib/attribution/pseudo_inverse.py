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
from dtda_lib.runs.measures import Measure, measure
from dtda_lib.runs.recipes import Recipe

from .curvature import dense_gauss_newton, dense_hessian
from .eigenvalues import reciprocals, warn_if_indefinite
from .gradients import per_example_gradients
from .influence import NATS, SHIFT_DIMS

LABELS = {"hessian": "if_pinv", "ggn": "if_pinv_ggn"}


def influence_pinv(
    recipe: Recipe, *, curvature: str = "hessian", threshold: float = 1e-5, damping: float = 0.0
) -> Measure:
    """Influence with the pseudo-inverse of a dense curvature `C + (l2 + damping) I`.

    `(1/N) grad L(query)^T (C + (l2 + damping) I)^+ grad loss_k`, the predicted shift upon removal:
    positive where the point helps. l2 is the recipe's weight decay, which belongs to the objective;
    `damping` is extra. The solve is in float64.

    Args:
        recipe: Gives l2.
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
    if curvature not in LABELS:
        raise ValueError(unknown("curvature", curvature, LABELS))
    if not 0 <= threshold < 1:
        raise ValueError(f"influence_pinv: threshold {threshold} must be at least 0 and below 1.")
    if not damping >= 0:
        raise ValueError(f"influence_pinv: damping {damping} must not be negative.")
    shift = recipe.weight_decay + damping
    exact = curvature == "hessian"

    @measure(dims=SHIFT_DIMS, unit=NATS, labels={"estimator": (LABELS[curvature],)})
    def influence_pinv(network: Network, theta: Tensor, task: Task) -> Tensor:
        dense = dense_hessian if exact else dense_gauss_newton
        values, vectors = torch.linalg.eigh(dense(network, theta, task).double())
        values = values + shift
        warn_if_indefinite(values, threshold)
        # (example, parameter) -> (example, eigenvector)
        train, query = (
            torch.cat(list(per_example_gradients(network, theta, task, x, y))).double() @ vectors
            for x, y in ((task.train_x, task.train_y), (task.query_x, task.query_y))
        )
        scores = (train * reciprocals(values, threshold)) @ query.T / task.n_train
        return scores.to(theta.dtype).unsqueeze(0)  # (1, train, query)

    return influence_pinv
