"""`UnrolledBank`: unrolled shifts of many runs, cached and resumable like any other bank."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .attribution.metagradient import metagradient_shifts
from .attribution.unrolling import best_chunk, checked_measure, checked_points, unrolled_shifts
from .bank import RunBank
from .fingerprint import module_digest
from .measures import Measure, measure
from .models import Model, Network
from .names import unknown
from .protocols import SeedPair, paired
from .recipes import Recipe
from .removal import nothing
from .shards import Job, Shard
from .task import Task

MODES = ("forward", "reverse")
_CODE = ("batch_loss", "metagradient", "trajectory", "unrolling")


@measure(dims=(), unit="none")
def _nothing(network: Network, theta: Tensor, task: Task) -> Tensor:
    """What a probe measures when it times training alone."""
    return theta.sum() * 0


@dataclass(frozen=True)
class UnrolledJob(Job):
    """All that a worker needs to unroll the runs of one shard."""

    points: tuple[int, ...]
    mode: str

    def measured(self) -> dict[str, Tensor]:
        """Unrolled shifts `(runs, checkpoint, train, ...)` of the measure."""
        m = self.measures[0] if self.measures else _nothing
        seeds = list(zip(self.init_seeds, self.order_seeds))
        given = (self.task, self.model, self.recipe, seeds, m)
        if self.mode == "forward":
            shifts = unrolled_shifts(*given, self.points, device=self.device, chunk=self.chunk)
        else:
            shifts = metagradient_shifts(*given, device=self.device)
            shifts = shifts.isel(train=list(self.points))
        return {m.name: torch.from_numpy(shifts.values)}


class UnrolledBank(RunBank):
    """The predicted shift upon removal of each point, for each run: unrolled differentiation.

    What `unrolled_shifts` (forward) or `metagradient_shifts` (reverse) return, but trained shard by
    shard, in workers, and kept: estimand, sign, scale and refusals are theirs. Full-data runs of a
    `RunBank` with the same seeds are the same runs.

    `dataset()` has one variable, named like the measure, `(seed, removal, checkpoint, train, ...)`;
    `removal` is "none" alone, and `train` follows `points`.

    Args:
        task, model, recipe: What is trained, and how; reverse mode knows only the last checkpoint,
            so it needs `keep_last=1`.
        seeds: Pairs `(init_seed, order_seed)`.
        measure: One differentiable measurement.
        points: Training positions; None for all.
        mode: "forward" costs in proportion to the points, "reverse" to the measure's values.
        title, device, workers, executor, chunk: As of `RunBank`.

    Raises:
        ValueError: an unknown mode, impossible points or measure, several checkpoints in reverse.
    """

    def __init__(
        self,
        task: Task,
        model: Model,
        recipe: Recipe,
        seeds: Sequence[SeedPair],
        measure: str | Measure = "query_loss",
        points: Sequence[int] | None = None,
        *,
        mode: str = "forward",
        title: str | None = None,
        device: str = "cpu",
        workers: int | None = None,
        executor: Executor | None = None,
        chunk: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(unknown("mode", mode, MODES))
        if mode == "reverse" and recipe.keep_last > 1:
            raise ValueError(
                f"unrolling in reverse starts from one checkpoint, not {recipe.keep_last}; give a "
                "recipe with keep_last=1, or use mode='forward'."
            )
        self.mode, self.points = mode, tuple(checked_points(points, task))
        super().__init__(
            task,
            model,
            recipe,
            paired(nothing(task.n_train), seeds),
            [checked_measure(measure)],
            title=title or f"{task.name}, unrolled",
            device=device,
            workers=workers,
            executor=executor,
            chunk=chunk,
        )

    def _declare(self) -> list[Shard]:
        size = 1
        if self.mode == "forward":
            cpu = torch.device("cpu")
            size = self.chunk or best_chunk(self.network, len(self.points), cpu)
        code = module_digest(*(f"attribution/{name}.py" for name in _CODE))
        return self._cut(size, unrolled=self.mode, points=list(self.points), unrolling=code)

    def _job(self, start: int, stop: int) -> UnrolledJob:
        fields = super()._job(start, stop).__dict__
        return UnrolledJob(**fields, points=self.points, mode=self.mode)

    def _axes(self, m: Measure) -> tuple[str, ...]:
        return ("train", *m.dims)

    def _positions(self, dim: str, n: int) -> np.ndarray:
        return np.array(self.points) if dim == "train" else super()._positions(dim, n)
