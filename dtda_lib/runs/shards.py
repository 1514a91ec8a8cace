"""A shard: the slice of a bank that is trained, cached and lost as one piece."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import cloudpickle
import numpy as np
import torch

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model

from .measures import Measure
from .progress import readable_seconds
from .recipes import Recipe, new_optimiser
from .store import Arrays
from .training import train


@dataclass(frozen=True)
class Shard:
    """A slice of a bank's runs, seed-major; `key` names everything its content depends on."""

    start: int
    stop: int
    key: str
    spec: str

    @property
    def runs(self) -> int:
        """Number of runs."""
        return self.stop - self.start


class Packed:
    """What a worker trains: a dataclass that any executor can send.

    Models, measures and trainers that a notebook defines go with it.
    """

    def __reduce__(self) -> tuple:
        return _unpacked, (type(self), cloudpickle.dumps(self.__dict__))


def _unpacked(kind: type[Packed], fields: bytes) -> Packed:
    return kind(**cloudpickle.loads(fields))


@dataclass(frozen=True)
class Job(Packed):
    """All that a worker needs to train one shard."""

    task: Task
    model: Model
    recipe: Recipe
    init_seeds: list[int]
    order_seeds: list[int]
    weights: torch.Tensor
    measures: tuple[Measure, ...]
    device: str
    chunk: int | None

    def measured(self) -> dict[str, torch.Tensor]:
        """Train and measure: `(runs, checkpoint, ...)` for each measure, NaN if a run diverged."""
        return train(
            self.task,
            self.model,
            self.recipe,
            self.init_seeds,
            self.order_seeds,
            self.weights,
            self.measures,
            device=self.device,
            chunk=self.chunk,
            keep_diverged=True,
        )

    def entries(self) -> tuple[Callable, ...]:
        """Where the code is entered that decides what `measured` returns, besides measures."""
        return train, Recipe, full_precision, *new_optimiser.besides(self.recipe)


# Initialisation borrows torch's global stream and recording patches torch, so the threads of one
# process take turns.
_one_at_a_time = threading.Lock()


def full_precision(device: str) -> AbstractContextManager:
    """Convolutions in float32 as written: a GPU would round them to ten bits (TF32), which is more
    than the influence of a point may be."""
    if torch.device(device).type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def train_job(job: Job) -> tuple[Arrays, float]:
    """Measurements `(runs, checkpoint, ...)` of the job and the seconds they took."""
    with _one_at_a_time, full_precision(job.device):
        start = time.perf_counter()
        measured = job.measured()
        return {n: t.numpy() for n, t in measured.items()}, time.perf_counter() - start


PROBE_SECONDS = 0.5  # what a probe should take, or an estimate is mostly noise


def probe_job(job: Job) -> tuple[float, float, float]:
    """Seconds of (start-up, one epoch, one measurement) of a stack like the job's."""

    def seconds(epochs: int, measures: tuple[Measure, ...]) -> float:
        recipe = replace(job.recipe, epochs=epochs, keep_last=1, warm_epochs=0)
        return train_job(replace(job, recipe=recipe, measures=measures))[1]

    seconds(1, ())  # the first call warms caches and allocators up
    one = seconds(1, ())
    # A few milliseconds say nothing on a busy machine, so short epochs are timed many at a time.
    many = min(max(3, math.ceil(PROBE_SECONDS / max(one, 1e-3))), 100)
    epoch = max((seconds(many, ()) - one) / (many - 1), 1e-6)
    measured = seconds(1, job.measures)
    return max(one - epoch, 0.0), epoch, max(measured - one, 0.0)


def seconds_per_run(job: Job, probes: Sequence[tuple[float, float, float]]) -> float:
    """Seconds of one run in a stack like the job's, from what each worker's `probe_job` found.

    Stacks of different size cost about in proportion; the last shard may be small.
    """
    start_up, epoch, measurement = np.mean(probes, axis=0).tolist()
    recipe = job.recipe
    training = start_up + (recipe.epochs + recipe.warm_epochs) * epoch
    return (training + len(recipe.checkpoints) * measurement) / len(job.init_seeds)


@dataclass(frozen=True)
class Estimate:
    """What filling a bank will cost.

    Args:
        runs, missing: Runs in all, and runs that must be trained.
        seconds: Expected wall-clock seconds, 0 if nothing is missing.
        workers: Worker processes it counts on.
    """

    runs: int
    missing: int
    seconds: float
    workers: int

    def __str__(self) -> str:
        if not self.missing:
            return f"{self.runs} runs, all cached"
        cached = self.runs - self.missing
        return (
            f"{self.runs} runs, {cached} cached, {self.missing} to train: about "
            f"{readable_seconds(self.seconds)} with {self.workers} worker(s)"
        )


def train_shard(item: tuple[Shard, Job]) -> tuple[Arrays, float]:
    """`train_job` for a shard and its job; a worker runs this."""
    return train_job(item[1])
