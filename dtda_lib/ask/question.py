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
from dataclasses import replace

import xarray as xr

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.own import as_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out, nothing
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.statistics.over_seeds import average_checkpoints

from .answer import Candidates, hits, points_of, reliable, screen
from .plan import Plan, plan
from .refusals import check_model, why_refused

__all__ = [
    "Candidates", "Plan", "as_task", "check_model", "estimator_bank", "hits", "plan", "points_of",
    "reliable", "retraining_bank", "scores", "screen", "shifts", "why_refused",
]  # fmt: skip


def retraining_bank(
    task: Task,
    model: Model,
    recipe: Recipe,
    n_seeds: int,
    *,
    points: Sequence[int] | None = None,
    stream: str = "first",
    measure: str | Measure = "query_loss",
    **machine: object,
) -> RunBank:
    """Declare retraining without each of `points` (None: all), `n_seeds` times; trains nothing.

    `stream` names the seeds: other streams are independent. `machine` goes to `RunBank`.

    Raises:
        ValueError: the model is refused by `check_model`, or the points are not there.
    """
    check_model(model, task, recipe, chunk=machine.get("chunk"))
    runs = paired(leave_one_out(task.n_train, points), seed_pairs(n_seeds, stream))
    title = f"{task.name}, seeds {stream!r}"
    return RunBank(task, model, recipe, runs, [measure], title=title, **machine)


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
    **machine: object,
) -> RunBank:
    """Declare `n_seeds` models of all points and what an estimator says of each; trains nothing.

    `measure` is the one whose shift is predicted: that of the `retraining_bank` to compare with.
    Without `settings`, `influence_ggn` is damped by `damping_by_training_time`, as if the learning
    rate stayed where it starts: a screening needs no more.
    """
    check_model(model, task, recipe, chunk=machine.get("chunk"))
    if settings is None:
        start = replace(recipe, schedule="constant")
        damped = estimator == "influence_ggn"
        settings = {"damping": damping_by_training_time(start, task.n_train)} if damped else {}
    predicted = get_estimator(estimator, recipe, of=measure, **settings)
    runs = paired(nothing(task.n_train), seed_pairs(n_seeds, stream))
    title = f"{task.name}, {estimator}"
    return RunBank(task, model, recipe, runs, [predicted], title=title, **machine)


def shifts(bank: RunBank) -> xr.DataArray:
    """Shifts `(seed, train, query)` of a retraining bank; trains what is missing."""
    shift = shift_upon_removal(bank.dataset()[bank.measures[0].name])
    return average_checkpoints(shift, shift.sizes["checkpoint"])


def scores(bank: RunBank) -> xr.DataArray:
    """Estimates `(seed, train, query)` of an estimator bank (the first of its estimators)."""
    values = bank.dataset()[bank.measures[0].name].isel(removal=0, estimator=0, drop=True)
    values = values.drop_vars([n for n in ("init_seed", "order_seed") if n in values.coords])
    return average_checkpoints(values, values.sizes["checkpoint"])
