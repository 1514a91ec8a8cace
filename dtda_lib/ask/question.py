"""Which training points reliably matter for a query? Asked of any model and data, with its cost.

The order of work:

1. `retraining_bank` declares the runs and refuses models whose answer would mean nothing;
2. `plan` says before anything trains what they cost and which shifts they can show;
3. `shifts` trains them, `reliable` tests every pair of a training point and a query;
4. with many points, `screen` picks candidates by an estimator (and controls at random), which are
   then retrained on seeds of their own: pairs picked by their noise do not pick it again.

Every shift is m(theta(D without the point)) - m(theta(D)), averaged over a run's kept checkpoints,
with the same two seeds with and without the point; with m = query loss, positive = the point helps.
The estimand is the mean of that shift over the law of seeds.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

import xarray as xr

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out, nothing
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.runs.trainer_bank import TrainerBank
from dtda_lib.statistics.over_seeds import average_checkpoints

from .arrays import as_laws, better, shift_of_laws
from .refusals import check_model, randomness


def retraining_bank(
    task: Task,
    model: Model,
    recipe: Recipe,
    n_seeds: int,
    *,
    points: Sequence[int] | None = None,
    stream: str = "first",
    measure: str | Measure = "query_loss",
    device: str = "cpu",
    workers: int | None = None,
    executor: Executor | None = None,
    chunk: int | None = None,
    drop_diverged: bool = False,
    same_start: bool = False,
) -> RunBank:
    """Declare retraining without each of `points`, `n_seeds` times; trains nothing yet.

    Args:
        task: N training points, and the queries that are measured; see `as_task`.
        model: A class or function that returns a new `nn.Module` at each call.
        recipe: How one model is trained.
        n_seeds: Trainings of each law; the same two seeds with and without the point.
        points: Training positions, 0 to N - 1, each left out alone; None: all.
        stream: Name of the stream of seeds; other streams are independent.
        measure: What is measured at each query: a name, or a `Measure` of your own.
        device: "cpu", "cuda", ...; GPUs train in this process.
        workers: Worker processes on a CPU; None: as many as there are cores.
        executor: Your own `concurrent.futures.Executor` in place of worker processes.
        chunk: Runs per vectorised pass; None: the measured best; 1 where `vmap` fails.
        drop_diverged: A seed of which any run diverges, with or without a point, leaves both laws:
            the answer is then about the other seeds, and says so. If False, it ends the training.
        same_start: Take a factory that gives all seeds the same initial weights; the answer is then
            about batch order alone, and says so.

    Returns:
        A bank of (1 + points) * n_seeds runs, for `plan` and `shifts`.

    Raises:
        ValueError: the model is refused by `check_model`, or the points are not there.
        TypeError, RuntimeError: the executor or a measure of one's own is refused by `RunBank`.
    """
    check_model(model, task, recipe, chunk=chunk, same_start=same_start)
    runs = paired(leave_one_out(task.n_train, points), seed_pairs(n_seeds, stream))
    return RunBank(
        task,
        model,
        recipe,
        runs,
        [measure],
        title=f"{task.name}, seeds {stream!r}",
        device=device,
        workers=workers,
        executor=executor,
        chunk=chunk,
        drop_diverged=drop_diverged,
    )


def estimator_bank(
    task: Task,
    model: Model,
    recipe: Recipe,
    n_seeds: int,
    estimator: str = "influence_ggn",
    *,
    stream: str = "screen",
    measure: str | Measure = "query_loss",
    settings: dict[str, float] | None = None,
    device: str = "cpu",
    workers: int | None = None,
    executor: Executor | None = None,
    chunk: int | None = None,
    drop_diverged: bool = False,
    same_start: bool = False,
) -> RunBank:
    """Declare `n_seeds` models of all points and what an estimator says of each; trains nothing.

    Args:
        task, model, recipe, n_seeds, stream, device, workers, executor, chunk, drop_diverged,
            same_start: As for `retraining_bank`.
        estimator: A name for `get_estimator`.
        measure: The one whose shift is predicted: that of the `retraining_bank` to compare with.
        settings: Of the estimator. None: `influence_ggn` is damped by `damping_by_training_time`,
            as if the learning rate stayed where it starts (a screening needs no more); the others
            keep their own.

    Returns:
        A bank of n_seeds runs, for `scores`.

    Raises:
        ValueError: the model is refused by `check_model`, or the estimator or a setting is unknown.
    """
    check_model(model, task, recipe, chunk=chunk, same_start=same_start)
    if settings is None:
        start = replace(recipe, schedule="constant")
        damped = estimator == "influence_ggn"
        settings = {"damping": damping_by_training_time(start, task.n_train)} if damped else {}
    return RunBank(
        task,
        model,
        recipe,
        paired(nothing(task.n_train), seed_pairs(n_seeds, stream)),
        [get_estimator(estimator, recipe, of=measure, **settings)],
        title=f"{task.name}, {estimator}",
        device=device,
        workers=workers,
        executor=executor,
        chunk=chunk,
        drop_diverged=drop_diverged,
    )


def shifts(bank: RunBank | TrainerBank | xr.Dataset) -> xr.DataArray:
    """Shifts `(seed, train, query)` of a retraining bank, or of laws that you have already.

    m(theta(D without the point)) - m(theta(D)) in the unit of the measure, averaged over the kept
    checkpoints of a run; with m = query loss, positive = the point helps. Of groups of points, the
    axis `train` is called `removal`. Attributes: `sign`, `unit`; `better`, "lower" for a loss;
    `dropped` names the seeds that are missing because they diverged, `random` what differs between
    seeds.

    Args:
        bank: A bank of `retraining_bank` or `trainer_bank`, which trains what is missing, or laws
            from `as_laws`.
    """
    if isinstance(bank, TrainerBank):
        bank = as_laws(bank)
    if not isinstance(bank, RunBank):
        return shift_of_laws(bank)
    data = bank.dataset()
    return _averaged(shift_upon_removal(data[bank.measures[0].name]), data, bank)


def scores(bank: RunBank) -> xr.DataArray:
    """Estimates `(seed, train, query)` of an estimator bank; trains what is missing.

    Of an estimator with several variants the first; sign and scale of a shift upon removal, unless
    the unit of the measure says otherwise.
    """
    data = bank.dataset()
    values = data[bank.measures[0].name].isel(removal=0, estimator=0, drop=True)
    values = values.drop_vars([n for n in ("init_seed", "order_seed") if n in values.coords])
    return _averaged(values, data, bank)


def _averaged(values: xr.DataArray, data: xr.Dataset, bank: RunBank) -> xr.DataArray:
    """Over the kept checkpoints; what the law is over stays known."""
    mean = average_checkpoints(values, values.sizes["checkpoint"])
    return mean.assign_attrs(
        sign="removal",
        unit=bank.measures[0].unit,
        better=better(bank.measures[0]),
        dropped=data.attrs.get("dropped", ""),
        random=randomness(bank.model),
    )
