"""The published estimators at some training points only, which is all that retraining is held
against: their cost grows with the points that are scored, not with those that train.

Scores have an axis "chosen", labelled by training position.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dtda_lib.attribution.gradients import per_example_gradients
from dtda_lib.attribution.influence import lissa_products
from dtda_lib.attribution.steps import STEPS, step_changes
from dtda_lib.attribution.targets import target_gradients
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, measure, query_loss
from dtda_lib.runs.recipes import Recipe

CHOSEN = "chosen"


def labels(points: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Names along the axis of chosen points: their training positions."""
    return {CHOSEN: tuple(map(str, points))}


def chosen_gradients(network: Network, theta: Tensor, task: Task, points: Sequence[int]) -> Tensor:
    """Gradients of the losses of these training points, `(chosen, parameter)`."""
    at = list(points)
    pieces = per_example_gradients(network, theta, task, task.train_x[at], task.train_y[at])
    return torch.cat(list(pieces))


def products_with_queries(network: Network, theta: Tensor, task: Task, rows: Tensor) -> Tensor:
    """Each row `(chosen, parameter)` times each gradient of a query's loss, `(chosen, query)`."""
    targets = target_gradients(network, theta, task, query_loss)
    return torch.cat([rows @ target.T for target in targets], dim=1)


def lissa_at(points: Sequence[int], **settings: float) -> Measure:
    """`influence.influence_lissa` of the query's loss, `(estimator, chosen, query)`, in nats.

    Args:
        points: Training positions.
        settings: As `influence.lissa_products`, the published ones unless given.
    """

    @measure(
        dims=("estimator", CHOSEN, "query"),
        unit=query_loss.unit,
        labels={"estimator": ("if_lissa",), **labels(points)},
    )
    def lissa_at(network: Network, theta: Tensor, task: Task) -> Tensor:
        train = chosen_gradients(network, theta, task, points)
        solved = lissa_products(network, theta, task, train, **settings)
        return products_with_queries(network, theta, task, solved)[None] / task.n_train

    return lissa_at


def additional_step_at(points: Sequence[int], recipe: Recipe) -> Measure:
    """`steps.additional_step` on the query's loss, `(estimator, chosen, query)`, in nats."""

    @measure(
        dims=("estimator", CHOSEN, "query"),
        unit=f"{query_loss.unit}, for one step",
        labels={"estimator": STEPS, **labels(points)},
    )
    def additional_step_at(network: Network, theta: Tensor, task: Task) -> Tensor:
        train = chosen_gradients(network, theta, task, points)
        return step_changes(network, theta, task, train, recipe, query_loss)

    return additional_step_at
