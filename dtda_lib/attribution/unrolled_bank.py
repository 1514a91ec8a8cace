"""`UnrolledBank`: unrolled shifts of many runs, cached and resumable like any other bank."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network, initial_theta
from dtda_lib.names import unknown
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure, measure, query_loss
from dtda_lib.runs.protocols import SeedPair, paired
from dtda_lib.runs.recipes import Recipe, new_optimiser
from dtda_lib.runs.removal import nothing
from dtda_lib.runs.shards import Job, Shard, full_precision

from .metagradient import metagradient_shifts
from .source import source_shifts
from .targets import checked_target, refuse_flat, target_shape
from .trajectory import linearised
from .unrolling import best_unrolling_chunk, checked_points, unrolled_shifts

_UNROLL = {"forward": unrolled_shifts, "reverse": metagradient_shifts, "source": source_shifts}
MODES = tuple(_UNROLL)
SOURCE_SETTINGS = {"curvature": "ekfac", "segments": 3, "models": 2}
"""SOURCE as published (Bae et al., 2405.12186)."""


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
        elif self.mode == "source":
            shifts = source_shifts(*given, self.points, device=self.device, **SOURCE_SETTINGS)
        else:
            shifts = metagradient_shifts(*given, device=self.device)
            shifts = shifts.isel(train=list(self.points))
        return {m.name: torch.from_numpy(shifts.values)}

    def entries(self) -> tuple[Callable, ...]:
        """As of `Job`."""
        others = (new_optimiser, linearised)
        added = [one for other in others for one in other.besides(self.recipe)]
        return _UNROLL[self.mode], Recipe, full_precision, *added


class UnrolledBank(RunBank):
    """The predicted shift upon removal of each point, for each run: unrolled differentiation.

    What `unrolled_shifts` (forward), `metagradient_shifts` (reverse) or `source_shifts` (SOURCE, in
    segments, as published) return, but trained shard by shard, in workers, and kept: estimand,
    sign, scale and refusals are theirs. Full-data runs of a `RunBank` with the same seeds are the
    same runs.

    `dataset()` has one variable, named like the measure, `(seed, removal, checkpoint, train, ...)`;
    `removal` is "none" alone, and `train` follows `points`.

    Args:
        task, model, recipe: What is trained, and how; reverse mode and SOURCE know only the last
            checkpoint, so they need `keep_last=1`, and SOURCE needs SGD.
        seeds: Pairs `(init_seed, order_seed)`.
        of: One differentiable measurement.
        points: Training positions; None for all.
        mode: "forward" costs in proportion to the points, "reverse" to the measure's values,
            "source" a few curvatures a run, whatever their number.
        title, device, workers, executor, chunk: As of `RunBank`.

    Raises:
        ValueError: an unknown mode, impossible points or measurement, several checkpoints where
            only the last is known.
    """

    trained_finite = False  # unrolling a long run may overflow, and its numbers say so

    def __init__(
        self,
        task: Task,
        model: Model,
        recipe: Recipe,
        seeds: Sequence[SeedPair],
        of: str | Measure = query_loss,
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
        if mode != "forward" and recipe.keep_last > 1:
            raise ValueError(
                f"unrolling with mode={mode!r} knows one checkpoint, not {recipe.keep_last}; give "
                "a recipe with keep_last=1, or use mode='forward'."
            )
        self.mode, self.points = mode, tuple(checked_points(points, task))
        super().__init__(
            task,
            model,
            recipe,
            paired(nothing(task.n_train), seeds),
            [checked_target(of)],
            title=title or f"{task.name}, unrolled",
            device=device,
            workers=workers,
            executor=executor,
            chunk=chunk,
        )
        theta = initial_theta(model, 0, task.train_x.dtype)
        for refusing in (target_shape, refuse_flat):
            refusing(self.network, theta, task, self.measures[0])

    def _declare(self) -> list[Shard]:
        size, settings = 1, {}
        if self.mode == "forward":
            cpu = torch.device("cpu")
            size = self.chunk or best_unrolling_chunk(self.network, len(self.points), cpu)
        if self.mode == "source":
            size, settings = self.chunk or 8, {"source": SOURCE_SETTINGS}
        return self._cut(size, unrolled=self.mode, points=list(self.points), **settings)

    def _job(self, start: int, stop: int) -> UnrolledJob:
        fields = super()._job(start, stop).__dict__
        return UnrolledJob(**fields, points=self.points, mode=self.mode)

    def _axes(self, m: Measure) -> tuple[str, ...]:
        return ("train", *m.dims)

    def _positions(self, dim: str, n: int) -> np.ndarray:
        return np.array(self.points) if dim == "train" else super()._positions(dim, n)
