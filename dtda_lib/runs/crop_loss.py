"""The loss of one trained model on random crops of the queries, as a measure of a bank."""

import torch
from torch import Tensor

from dtda_lib.data.crops import SCALE, crop_boxes, resized_crops
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network

from .measures import QUERY_CHUNK, Measure


def crop_losses(network: Network, theta: Tensor, task: Task, crops: Tensor) -> Tensor:
    """Loss `(crop, query)` of one model on crops `(crop, query, C, H, W)` of the task's queries."""
    pieces = crops.flatten(0, 1).split(QUERY_CHUNK)
    outputs = torch.cat([network(theta, piece) for piece in pieces])  # (crop * query, output)
    losses = task.per_example_loss(outputs, task.query_y.repeat(len(crops)))
    return losses.unflatten(0, crops.shape[:2])


def crop_variance(losses: Tensor) -> Tensor:
    """Variance over crops `(query,)` of losses `(crop, query)`, unbiased, in squared loss units."""
    return losses.var(dim=0)


def crop_loss(
    task: Task, n_crops: int, size: int, scale: tuple[float, float] = SCALE, seed: int = 0
) -> Measure:
    """A measure `(crop, query)` for a `RunBank`: `crop_losses` of the same crops for every model.

    For claim R4, compare its variance over `crop` with its variance over `seed`. The published
    code crops anew for each model: take another crop for each model to see its noise.
    """
    generator = torch.Generator().manual_seed(seed)
    n_query, shape = task.n_query, tuple(task.query_x.shape[1:])
    # Drawn here, because nothing may be drawn under vmap, where stacked runs are measured.
    boxes = crop_boxes(n_crops * n_query, *shape[-2:], generator, scale).unflatten(0, (n_crops, -1))

    def crop_loss(network: Network, theta: Tensor, task: Task) -> Tensor:
        # Naming the settings here makes them part of the measure's identity (see `fingerprint`).
        if tuple(task.query_x.shape) != (n_query, *shape):
            raise ValueError(
                f"measure crop_loss (seed {seed}, scale {scale}): its {n_crops} crops are for "
                f"queries of shape {(n_query, *shape)} but the task has "
                f"{tuple(task.query_x.shape)}; make the measure with this task."
            )
        # One crop of all queries at a time: at 224 pixels all crops would take gigabytes.
        crops = (resized_crops(task.query_x, box, size) for box in boxes)
        return torch.cat([crop_losses(network, theta, task, crop[None]) for crop in crops])

    return Measure("crop_loss", ("crop", "query"), "loss units", crop_loss)
