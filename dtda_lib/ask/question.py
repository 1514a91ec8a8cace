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

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.own import own
from dtda_lib.data.task import Task
from dtda_lib.models.adapted import adapted
from dtda_lib.models.networks import Model, Network, new_module
from dtda_lib.names import short
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.loop import LoopBank, evaluated
from dtda_lib.runs.measures import Measure, MeasureFunction, take
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import Design, chosen_removals, nothing
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.runs.trainer_bank import TrainerBank
from dtda_lib.statistics.over_seeds import average_checkpoints

from .arrays import as_laws, better, shift_of_laws
from .quality import remarks_after
from .refusals import check_model, few_points, randomness, trained_alone

DAMPED = {"influence_ggn", "influence_ekfac", "influence_hessian"}
"""Estimators that are damped by `damping_by_training_time` unless told otherwise."""
OF_A_KNOWN_LOSS = {
    "influence_ggn",
    "influence_ekfac",
    "influence_pinv",
    "influence_leverage",
    "posterior_covariance",
    "trak",
}
LARGE_TASK = 10_000  # points: the weights of as many removals take .4 GB


def retraining_bank(
    task: Task,
    model: Model,
    recipe: Recipe,
    n_seeds: int,
    *,
    points: Sequence[int] | None = None,
    groups: Design | np.ndarray | Sequence[Sequence[int]] | None = None,
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

    A module with dropout or batch norm in training mode, or a `LoopRecipe`, makes a `LoopBank`:
    its runs are trained one at a time, and so take longer.

    Args:
        task: N training points, and the queries that are measured; see `as_task`.
        model: A class or function that returns a new `nn.Module` at each call; see
            `models.adapted` for what it may take and return.
        recipe: How one model is trained.
        n_seeds: Trainings of each law; the same two seeds with and without the point.
        points: Training positions, 0 to N - 1, each left out alone; None: all.
        groups: In their place: a boolean mask `(removal, train)`, True = left out, lists of
            positions, or a `Design`, such as `half_subsets`.
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
        A bank of (1 + removals) * n_seeds runs, for `plan` and `shifts`.

    Raises:
        ValueError: the model is refused by `check_model`, or the points are not there.
        TypeError, RuntimeError: the executor or a measure of one's own is refused by `RunBank`.
    """
    _check_settings("retraining_bank", n_seeds, workers, device)
    check_model(model, task, recipe, chunk=chunk, same_start=same_start)
    _refuse_large(task.n_train, points, groups)
    design = chosen_removals(task.n_train, points, groups, "retraining_bank")
    runs = paired(design, seed_pairs(n_seeds, stream))
    model = adapted(model, task)
    kind = LoopBank if trained_alone(model, recipe) else RunBank
    return kind(
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
    estimator: str | Measure | MeasureFunction = "influence_ggn",
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
        estimator: A name for `get_estimator`; or one of your own: a function
            `(network, theta, task) -> (train, query)`, or a `Measure` with the axes `train` and
            `query`, in the sign of a shift upon removal.
        measure: The one whose shift is predicted: that of the `retraining_bank` to compare with.
        settings: Of the estimator. None: those of Gauss-Newton, Hessian and EK-FAC are damped by
            `damping_by_training_time`, as if the learning rate stayed where it starts (a screening
            needs no more); the others keep their own.

    Returns:
        A bank of n_seeds runs, for `scores`.

    Raises:
        ValueError: the model is refused by `check_model`, the estimator or a setting is unknown, or
            one of your own returns another shape.
    """
    _check_settings("estimator_bank", n_seeds, workers, device)
    check_model(model, task, recipe, chunk=chunk, same_start=same_start)
    model = adapted(model, task)
    asked = _estimator(estimator, task, recipe, measure, settings)
    kind = LoopBank if trained_alone(model, recipe) else RunBank
    return kind(
        task,
        model,
        recipe,
        paired(nothing(task.n_train), seed_pairs(n_seeds, stream)),
        [asked],
        title=f"{task.name}, {asked.name}",
        device=device,
        workers=workers,
        executor=executor,
        chunk=chunk,
        drop_diverged=drop_diverged,
    )


def _estimator(
    estimator: str | Measure | MeasureFunction,
    task: Task,
    recipe: Recipe,
    measure: str | Measure,
    settings: dict[str, float] | None,
) -> Measure:
    """The estimator of that name, with a damping by default, or one of one's own."""
    if not isinstance(estimator, str):
        if settings:
            raise ValueError("estimator_bank: settings are for estimators by name.")
        return _own_estimator(estimator)
    if settings is None:
        start = replace(recipe, schedule="constant")
        damped = estimator in DAMPED
        settings = {"damping": damping_by_training_time(start, task.n_train)} if damped else {}
    known = own(task).own_loss is None
    if not known and estimator in OF_A_KNOWN_LOSS:
        raise ValueError(
            f"estimator {estimator!r} needs the curvature of a known loss, and the task has "
            f"{task.loss!r}; use 'gradient_similarity' or 'influence_hessian'."
        )
    return get_estimator(estimator, recipe, of=measure, **settings)


def _own_estimator(estimator: Measure | MeasureFunction) -> Measure:
    """A function or measure as an estimator `(estimator, train, query)`."""
    if isinstance(estimator, Measure):
        dims, name, unit = estimator.dims, estimator.name, estimator.unit
        if dims == ("estimator", "train", "query"):
            return replace(estimator, check=estimator.check or _checked_shape(estimator))
        if set(dims) != {"train", "query"}:
            raise ValueError(
                f"estimator {name!r} has the axes {', '.join(dims)}; it needs train and query."
            )
        function, turned = estimator.function, dims == ("query", "train")
    elif callable(estimator):
        name = getattr(estimator, "__name__", type(estimator).__name__)
        function, unit, turned = estimator, "none", False
    else:
        raise ValueError(
            f"estimator is {short(estimator)}; give a name, a function (network, theta, task) -> "
            "(train, query), or a Measure."
        )

    def scored(network: Network, theta: Tensor, task: Task) -> Tensor:
        found = function(network, theta, task)
        found = found.T if turned and found.ndim == 2 else found
        return found.unsqueeze(0) if found.ndim == 2 else found

    # A key and a refusal call it by its owner's names.
    scored.__module__ = function.__module__
    scored.__qualname__ = f"{getattr(function, '__qualname__', name)}.scored"
    asked = Measure(name, ("estimator", "train", "query"), unit, scored, {"estimator": (name,)})
    return replace(asked, check=_checked_shape(asked))


def _checked_shape(asked: Measure) -> Callable[[Network, Tensor, Task], None]:
    """Look at what an own estimator returns on a few points, before anything trains."""

    def check(network: Network, theta: Tensor, task: Task) -> None:
        few = few_points(task)
        with torch.random.fork_rng(devices=[]):
            take(asked, network, theta, few)

    return check


def trained_scores(
    modules: Sequence[nn.Module],
    task: Task,
    recipe: Recipe,
    estimator: str | Measure | MeasureFunction = "influence_ggn",
    *,
    measure: str | Measure = "query_loss",
    settings: dict[str, float] | None = None,
) -> xr.DataArray:
    """What an estimator says of networks that you have trained already, `(seed, train, query)`.

    Sign and scale are those of `scores`; the seeds are numbered as the modules come.

    Args:
        modules: Trained on `task`, one a seed; looked at in evaluation mode, and left as they are.
        task: What they were trained on, and the queries.
        recipe: How they were trained: weight decay, and learning rate and steps for a damping.
        estimator, measure, settings: As for `estimator_bank`.

    Raises:
        ValueError: no modules, outputs that do not fit the task, or see `estimator_bank`.
    """
    modules = list(modules)
    if not modules or not all(isinstance(one, nn.Module) for one in modules):
        raise ValueError("trained_scores: give a list of trained nn.Modules, one a seed.")
    asked = _estimator(estimator, task, recipe, measure, settings)
    found = []
    for module in modules:
        copied = copy.deepcopy(module).eval().to(task.train_x.dtype)
        network, theta = evaluated(new_module(adapted(lambda one=copied: one, task)))
        if asked.check:
            asked.check(network, theta, task)
        with torch.no_grad():
            found.append(take(asked, network, theta, task)[0])
    values = torch.stack(found).numpy()
    return xr.DataArray(
        values,
        {
            "seed": np.arange(len(found)),
            "train": np.arange(task.n_train),
            "query": np.arange(task.n_query),
        },
        ("seed", "train", "query"),
        attrs={"sign": "removal", "unit": asked.unit, "random": "not stated"},
    )


def _check_settings(who: str, n_seeds: int, workers: int | None, device: str) -> None:
    """Refuse settings that would fail somewhere inside."""
    for name, given in (("n_seeds", n_seeds), ("workers", workers)):
        if given is not None and (not isinstance(given, int | np.integer) or given < 1):
            raise ValueError(f"{who}: {name} = {short(given)}; give a whole number, 1 or more.")
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{who}: device = {short(device)}; take 'cpu' or 'cuda'.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{who}: no CUDA device is here; take device='cpu'.")


def _refuse_large(n_train: int, points: Sequence[int] | None, groups: Any) -> None:
    """Refuse a removal of each of very many points, whose weights alone would not fit."""
    if points is None and groups is None and n_train > LARGE_TASK:
        raise ValueError(
            f"retraining_bank: each of {n_train:,} points would be left out in turn; name points, "
            "such as those that screen(scores(estimator_bank(...))) picks."
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
    if len(bank.runs.design) < 2:
        raise ValueError(
            "shifts: the bank leaves nothing out; an estimator's are scores(bank), and removals "
            "come from retraining_bank."
        )
    data = bank.dataset()
    values = data[bank.measures[0].name]
    return _averaged(shift_upon_removal(values), data, bank).assign_attrs(
        remarks=remarks_after(bank, values)
    )


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
