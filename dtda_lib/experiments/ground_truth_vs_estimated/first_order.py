"""LiSSA to first order in the curvature: which slope on grad-dot the published settings give.

The published recursion `h <- v + (1 - damp) h - H_t h / scale`, over batches t = 0 .. T - 1, gives
`h_T = g_T v - (1/scale) sum_t (1 - damp)^(T-1-t) g_t H_t v + ...` with
`g_t = (1 - (1 - damp)^(t+1)) / damp`; what is left out is of second order in `T H / scale`. Without
the second term the score is `c_T = g_T / scale` times grad-dot (`influence.lissa_gain`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dtda_lib.attribution.curvature import hessian_product
from dtda_lib.attribution.influence import lissa_steps
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure, query_loss

from .at_points import CHOSEN, chosen_gradients, labels, products_with_queries


def lissa_first_order(
    points: Sequence[int], *, damp: float = 5e-3, scale: float = 1e4, batch_size: int = 8
) -> Measure:
    """`influence.influence_lissa` of the query's loss to first order, `(chosen, query)`, in nats.

    Sign and scale are those of a predicted shift upon removal: positive where the point helps.

    Args:
        points: Training positions along the axis "chosen".
        damp, scale, batch_size: The published settings, as there.
    """

    @measure(dims=(CHOSEN, "query"), unit=query_loss.unit, labels=labels(points))
    def lissa_first_order(network: Network, theta: Tensor, task: Task) -> Tensor:
        steps = lissa_steps(task.n_train, batch_size)
        sums = (1 - (1 - damp) ** torch.arange(1, steps + 2, dtype=torch.float64)) / damp
        after = (1 - damp) ** torch.arange(steps - 1, -1, -1, dtype=torch.float64)
        batches = torch.arange(task.n_train) // batch_size
        sizes = torch.bincount(batches)
        weights = ((after * sums[:-1]) / sizes)[batches].to(theta)  # of each training loss

        def weighted(theta: Tensor) -> Tensor:
            losses = task.per_example_loss(network(theta, task.train_x), task.train_y)
            return weights @ losses

        train = chosen_gradients(network, theta, task, points)
        curved = hessian_product(weighted, theta, train)
        term = (float(sums[-1]) * train - curved / scale) / (scale * task.n_train)
        return products_with_queries(network, theta, task, term)

    return lissa_first_order
