"""What trains: a regime of training, its interventions on a run, and the setting that is its base.

Three data sets, all our choice: UCI Concrete with a small smooth network, digits 0 to 4 at 7 x 7
pixels with another, and the same digits at 14 x 14 pixels with a convolutional one. Scores are
predicted or retrained shifts of a query's loss upon removal, `(seed, train, query)`, positive where
the point helps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
import xarray as xr

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.images import pooled
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import Runs, SeedPair, paired, seed_pairs, unpaired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import Design, leave_k_out, leave_one_out, nothing
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.study.banks import Trained
from dtda_lib.study.methods import METHODS, NO_UNIT

from .networks import SmallCNN

# Of the posterior: about 1 / N, and the estimator's own pull; our choice, made without retraining.
# Much colder, chains still travel towards the minimum while they are drawn from, and their drift is
# all that a covariance sees.
POSTERIOR = {"temperature": 0.01, "localisation": 0.1, "chains": 16}
HALF, SMALL = "half", "a tenth"
DIGITS = range(5)
# Runs that train together: fewer than is fastest, so that two workers share the smaller banks. The
# CNN is so small that it, too, trains faster in a stack.
STACK = 512

ESTIMATED = (
    "grad_dot",
    "grad_cos",
    "ats_adam",
    "ats_sgd",
    "if_ggn",
    "if_damped",
    "if_ekfac",
    "if_hessian",
    "rif",
    "bif",
    "trak",  # in a regression it is `if_damped`, so of digits alone
)
"""Methods taken on single models, in order. Not LiSSA: as published it is grad-dot on another
scale, which notebook 02 shows, and takes minutes a model here."""
MAPPED = ("grad_dot", "if_ggn", "if_damped", "if_ekfac", "bif")
"""Those of them that are taken in every regime."""
CHEAP = ("grad_dot", "if_damped", "if_ekfac")
"""Those of the CNN: the others take minutes a model there."""
UNROLLING, SOURCE = "unrolling", "source"  # from banks of their own, both with a unit
SCALE_OF = "if_damped"  # what methods without a unit borrow their scale from

INTERVENTIONS = {
    "masked": "same batches, point masked",
    "re-shuffled": "same start, point masked, batches drawn anew",
    "deleted": "same start, point deleted, so batches differ",
    "batches alone": "same start, no point removed, batches drawn anew",
}


@dataclass(frozen=True)
class Shifts:
    """Shifts of a query's loss in one regime, `(seed, train, query)` each.

    Args:
        own: Intervention that removes a point -> shift of the model's own run, of the points left
            out.
        everywhere, predicted: Method -> predicted, of all points it was taken for and of those left
            out.
    """

    own: Mapping[str, xr.DataArray]
    everywhere: Mapping[str, xr.DataArray]
    predicted: Mapping[str, xr.DataArray]


@dataclass(frozen=True, kw_only=True)
class Regime(Trained):
    """One way to train, and runs of fixed seeds under interventions; nothing trains before use.

    Args:
        points: Those left out one at a time.
        n_seeds: Models that are attributed, each with its own interventions.
        damping: Of influence functions, in units of `damping_by_training_time`.
        draws: Of each chain of Bayesian IF.
        methods: Names in `ESTIMATED` that are taken.
        deletes: Whether points are deleted, too, and not only masked.
    """

    points: tuple[int, ...]
    n_seeds: int
    damping: float = 1.0
    draws: int = 100
    methods: tuple[str, ...] = MAPPED
    deletes: bool = True

    @property
    def seeds(self) -> list[SeedPair]:
        """Of the attributed models."""
        return seeds(self.n_seeds, "models")

    @property
    def steps(self) -> int:
        """Optimiser steps of a run."""
        return self.recipe.steps(self.task.n_train)

    @property
    def title(self) -> str:
        """Rate and length in words."""
        return f"rate {self.recipe.lr:g}, {self.steps:,} steps"

    @cached_property
    def moved(self) -> RunBank:
        """Runs with and without each point: with the batches of the seed, then with batches of
        their own ("again" in the label), from the same start."""
        return self.bank(
            moved_runs(self._one_left_out, self.seeds),
            ["query_loss", "query_prediction"],
            f"{self.title}, interventions",
            chunk=STACK,
        )

    @cached_property
    def deleted(self) -> list[RunBank]:
        """Runs of the same seeds on data that lack a point altogether, a bank for each point.

        Each epoch shuffles N - 1 points, so every batch differs although the seed is the same, and
        the last batch of an epoch is one point smaller. No bank where the regime does not delete.
        """
        runs = paired(nothing(self.task.n_train - 1), self.seeds)
        measures = ["query_loss", "query_prediction"]
        return [
            replace(self, task=without(self.task, point)).bank(
                runs, measures, f"{self.title}, without point {point}"
            )
            for point in self.points
            if self.deletes
        ]

    @cached_property
    def models(self) -> RunBank:
        """The attributed models: their query losses, what each estimator says of every point."""
        measures = ["query_loss", *estimator_measures(self)]
        return self.bank(self._full_data, measures, f"{self.title}, estimators", chunk=16)

    @cached_property
    def followed(self) -> UnrolledBank:
        """The exact metagradient of the same models for the points left out, in forward mode."""
        title = f"{self.title}, unrolled"
        return self.unrolled(self.seeds, "query_loss", title, points=self.points)

    @cached_property
    def segments(self) -> UnrolledBank:
        """The same in three segments with EK-FAC curvature: SOURCE as published."""
        return self.unrolled(self.seeds, "query_loss", f"{self.title}, SOURCE", mode="source")

    @property
    def banks(self) -> list[RunBank | UnrolledBank]:
        """All banks, in the order in which they are trained."""
        return [self.moved, *self.deleted, self.models, self.followed, self.segments]

    @cached_property
    def shifts(self) -> Shifts:
        """Retrained and predicted shifts; trains what is missing."""
        everywhere = predicted_shifts(
            self.models, self.methods, {SOURCE: self.segments, UNROLLING: self.followed}
        )
        return Shifts(own_shifts(self), everywhere, at_points(everywhere, self.points))

    @property
    def _one_left_out(self) -> Design:
        return leave_one_out(self.task.n_train, self.points)

    @property
    def _full_data(self) -> Runs:
        return paired(nothing(self.task.n_train), self.seeds)


@dataclass(frozen=True, kw_only=True)
class BaseRegime(Regime):
    """The base regime of a data set, in which laws and subsets are retrained, too.

    Args:
        n_unpaired: Runs without each point, every one with seeds of its own.
        n_subsets: Random subsets of each size.
        n_subset_seeds: Runs without each subset.
    """

    n_unpaired: int
    n_subsets: int
    n_subset_seeds: int
    methods: tuple[str, ...] = ESTIMATED

    @cached_property
    def unpaired(self) -> RunBank:
        """Runs without each point, every run with seeds of its own."""
        runs = unpaired(self._one_left_out, seeds(self.n_unpaired, "unpaired"))
        return self.bank(runs, ["query_loss"], "leave-one-out, unpaired", chunk=STACK)

    @cached_property
    def subsets(self) -> RunBank:
        """Runs on all points and without each subset, same seeds, other than the models'."""
        runs = paired(self._many_left_out[0], seeds(self.n_subset_seeds, "truth"))
        return self.bank(runs, ["query_loss"], "subsets", chunk=STACK)

    @cached_property
    def followed(self) -> UnrolledBank:
        """The exact metagradient of the same models, in reverse, for every point."""
        title = f"{self.title}, unrolled"
        return self.unrolled(self.seeds, "query_loss", title, mode="reverse")

    @property
    def groups(self) -> dict[str, list[list[int]]]:
        """Size of the subsets -> positions that each leaves out."""
        return self._many_left_out[1]

    @property
    def banks(self) -> list[RunBank | UnrolledBank]:
        """All banks, in the order in which they are trained."""
        return [*super().banks, self.unpaired, self.subsets]

    def at(self, rate: float, steps: int, n_seeds: int, *, deletes: bool) -> Regime:
        """Another regime of the same data: learning rate, about so many steps, so many models."""
        epochs = _epochs(self.task, self.recipe.batch_size, steps)
        return Regime(
            name=self.name,
            task=self.task,
            model=self.model,
            machine=self.machine,
            recipe=replace(self.recipe, lr=rate, epochs=epochs),
            points=self.points,
            n_seeds=n_seeds,
            damping=self.damping,
            draws=self.draws,
            methods=tuple(name for name in self.methods if name in MAPPED),
            deletes=deletes,
        )

    @cached_property
    def _many_left_out(self) -> tuple[Design, dict[str, list[list[int]]]]:
        return group_designs(self.task.n_train, self.n_subsets, np.random.default_rng(8))


def concrete_setting(
    *, rate: float, weight_decay: float, width: int, steps: int, n_points: int, **sizes: object
) -> BaseRegime:
    """200 mixes of UCI Concrete, MLP 8-width-width-1 (tanh), SGD with batches of 25; our choice.

    `sizes`: other fields of `BaseRegime`.

    Raises:
        ValueError: more points than there are.
    """
    task = get_task("concrete", n_train=200, n_query=20)
    model = get_model("mlp", widths=(8, width, width, 1), activation="tanh")
    return _setting("Concrete", task, model, 25, rate, weight_decay, steps, n_points, sizes)


def digits_setting(
    *, rate: float, weight_decay: float, width: int, steps: int, n_points: int, **sizes: object
) -> BaseRegime:
    """60 images each of digits 0 to 4 at 7 x 7 pixels, MLP 49-width-5 (tanh), SGD, batches of 30.

    `sizes`: other fields of `BaseRegime`.

    Raises:
        ValueError: more points than there are.
    """
    model = get_model("mlp", widths=(49, width, len(DIGITS)), activation="tanh")
    task = _digits(60, 4, pool=4)
    return _setting("digits", task, model, 30, rate, weight_decay, steps, n_points, sizes)


def cnn_setting(
    *, per_digit: int, rate: float, weight_decay: float, steps: int, n_points: int, **sizes: object
) -> BaseRegime:
    """Digits 0 to 4 at 14 x 14 pixels, `SmallCNN`, SGD with batches of 50; methods `CHEAP`.

    `sizes`: other fields of `BaseRegime`.

    Raises:
        ValueError: more images than there are, or more points than images.
    """
    model, task = partial(SmallCNN, len(DIGITS)), _digits(per_digit, 2, pool=2)
    sizes = {"methods": CHEAP, **sizes}
    return _setting("CNN", task, model, 50, rate, weight_decay, steps, n_points, sizes)


def _digits(per_digit: int, queries: int, pool: int) -> Task:
    """Digits 0 to 4, so many queries of each; outputs for the five classes that there are."""
    sizes = {"per_class": per_digit, "queries_per_class": queries}
    task = get_task("mnist3", **sizes, digits=tuple(DIGITS))
    return replace(pooled(task, pool), n_outputs=len(DIGITS))


def _setting(
    name: str,
    task: Task,
    model: object,
    batch_size: int,
    rate: float,
    weight_decay: float,
    steps: int,
    n_points: int,
    sizes: Mapping[str, object],
) -> BaseRegime:
    recipe = Recipe(
        "sgd",
        lr=rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        epochs=_epochs(task, batch_size, steps),
    )
    trained = {"name": name, "task": task, "model": model, "recipe": recipe}
    return BaseRegime(**trained, points=_spread(task, n_points), **sizes)


def _epochs(task: Task, batch_size: int, steps: int) -> int:
    """Epochs of about so many steps."""
    return max(1, round(steps / math.ceil(task.n_train / batch_size)))


def _spread(task: Task, n: int) -> tuple[int, ...]:
    """n training positions, evenly spread, so that every class has its share."""
    if not 2 <= n <= task.n_train:
        raise ValueError(f"{n} points left out one at a time: there are 2 to {task.n_train}.")
    return tuple(int(p) for p in np.linspace(0, task.n_train - 1, n).round())


# ---------------------------------------------------------------- what is trained


def seeds(n: int, what: str) -> list[SeedPair]:
    """Seeds of one part: "models" (attributed), "truth" (LDS), "unpaired" or "batches" (drawn
    anew); streams are disjoint.

    Raises:
        ValueError: another part, or no seeds.
    """
    streams = {
        "models": "first",
        "truth": "lds truth",
        "unpaired": "unpaired loo",
        "batches": "re-shuffled",
    }
    if what not in streams:
        raise ValueError(f"seeds of {what!r}: parts are {', '.join(streams)}.")
    return seed_pairs(n, streams[what])


def moved_runs(once: Design, pairs: Sequence[SeedPair]) -> Runs:
    """Each removal with the batches of the seed, then once more with a batch order of its own.

    Returns:
        Runs `(seed, 2 * removal)`; labels of the second half end with "again". All runs of a seed
        start alike.
    """
    labels = (*once.labels, *(f"{label} again" for label in once.labels))
    design = Design(once.weights.repeat(2, 1), labels, once.points * 2)
    same = paired(design, pairs)
    fresh = np.array([order for _, order in seeds(len(pairs) * len(once), "batches")])
    orders = same.order_seeds.copy()
    orders[:, len(once) :] = fresh.reshape(len(pairs), len(once))
    return Runs(design, same.init_seeds, orders)


def without(task: Task, point: int) -> Task:
    """The task with one training point deleted, not masked.

    Raises:
        ValueError: no such point.
    """
    if not 0 <= point < task.n_train:
        raise ValueError(
            f"there is no training point {point}; positions are 0 to {task.n_train - 1}."
        )
    kept = [n for n in range(task.n_train) if n != point]
    return replace(
        task,
        name=f"{task.name} without {point}",
        train_x=task.train_x[kept],
        train_y=task.train_y[kept],
        train_id=tuple(task.train_id[n] for n in kept),
    )


def group_designs(
    n_train: int, n_subsets: int, generator: np.random.Generator
) -> tuple[Design, dict[str, list[list[int]]]]:
    """One design: nothing, then subsets of half of the points, then of a tenth.

    Returns:
        The design, and for `HALF` and `SMALL` the positions that each subset leaves out.
    """
    sizes = {HALF: n_train // 2, SMALL: max(1, n_train // 10)}
    parts = {name: leave_k_out(n_train, k, n_subsets, generator) for name, k in sizes.items()}
    groups = {
        name: [(row == 0).nonzero().flatten().tolist() for row in part.weights[1:]]
        for name, part in parts.items()
    }
    first, second = parts.values()
    labels = (*first.labels, *second.labels[1:])
    weights = torch.cat([first.weights, second.weights[1:]])
    return Design(weights, labels, (-1,) * len(labels)), groups


def methods_of(regime: Regime) -> list[str]:
    """The methods that are taken in a regime, in order."""
    classes = regime.task.loss == "cross_entropy"
    return [name for name in regime.methods if name != "trak" or classes]


def estimator_measures(regime: Regime) -> list[Measure]:
    """The measures behind `Regime.methods`.

    All influence functions are damped alike, by `damping_by_training_time`, but `if_ggn`, which is
    not.
    """
    ridge = regime.damping * damping_by_training_time(regime.recipe, regime.task.n_train)
    damped_too = ("influence_leverage", "influence_ekfac", "influence_hessian", "trak")
    own = {name: {"damping": ridge} for name in damped_too}
    own["posterior_covariance"] = POSTERIOR | {"draws": regime.draws}
    found = {}
    for variable in dict.fromkeys(METHODS[name].variable for name in methods_of(regime)):
        if variable == METHODS["if_damped"].variable:
            damped = get_estimator("influence_ggn", regime.recipe, damping=ridge)
            found[variable] = replace(damped, name=variable)
        else:
            found[variable] = get_estimator(variable, regime.recipe, **own.get(variable, {}))
    return list(found.values())


# ---------------------------------------------------------------- scores


def last(bank: RunBank, variable: str = "query_loss") -> xr.DataArray:
    """A measurement after the last epoch, `(seed, removal, query, ...)`, float64."""
    return bank.dataset()[variable].isel(checkpoint=-1, drop=True).astype(np.float64)


def own_shifts(regime: Regime) -> dict[str, xr.DataArray]:
    """Shift of each query's loss in a model's own run, by intervention, `(seed, train, query)`.

    All from the same full-data run, whose batches "re-shuffled" and "deleted" runs do not share.
    """
    loss = last(regime.moved)
    same, fresh = (part.isel(removal=slice(1, None)) for part in _halves(loss))
    base = loss.isel(removal=0, drop=True)
    runs = {"masked": same, "re-shuffled": fresh}
    if regime.deletes:
        runs["deleted"] = xr.concat([last(bank) for bank in regime.deleted], "removal")
    found = {}
    for name, after in runs.items():
        bare = _plain(after) - _plain(base)
        shift = bare.assign_coords(removal=list(regime.points)).rename(removal="train")
        found[name] = shift.transpose("seed", "train", "query")
    return found


def _halves(moved: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Runs with the batches of the seed, and with batches of their own: see `moved_runs`."""
    n = moved.sizes["removal"] // 2
    return moved.isel(removal=slice(n)), moved.isel(removal=slice(n, None))


def distances_from(regime: Regime) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Predictions of the full-data runs `(seed, coordinate)`, and those of the same seeds after
    each of `INTERVENTIONS` that was made, `(seed, removal, coordinate)`."""
    same, fresh = (_flat(part) for part in _halves(last(regime.moved, "query_prediction")))
    moved = {"masked": same[:, 1:], "re-shuffled": fresh[:, 1:], "batches alone": fresh[:, :1]}
    gone = [_flat(last(bank, "query_prediction"))[:, 0] for bank in regime.deleted]
    return same[:, 0], moved | ({"deleted": np.stack(gone, axis=1)} if gone else {})


def _flat(values: xr.DataArray) -> np.ndarray:
    """`(seed, removal, coordinate)`."""
    ordered = values.transpose("seed", "removal", ...).values
    return ordered.reshape(*ordered.shape[:2], -1)


def unpaired_shifts(bank: RunBank) -> xr.DataArray:
    """Shifts of unpaired runs `(seed, train, query)`, from the mean of all full-data runs: a
    constant of each query.

    What is common to all points cancels in a correlation over points.
    """
    loss = last(bank)
    return axes(shift_upon_removal(loss, loss.isel(removal=0, drop=True).mean("seed")))


def predicted_shifts(
    bank: RunBank, methods: Sequence[str], unrolled: Mapping[str, UnrolledBank] | None = None
) -> dict[str, xr.DataArray]:
    """Scores of methods for all their points, `(seed, train, query)`, in units of a shift.

    `unrolled`: further banks of the same models, by the name of their method.
    Methods without a unit get that of `SCALE_OF` by one factor for all their scores (equal root
    mean square), which uses no retraining. Correlations over points do not see it.
    """
    data = bank.dataset().isel(removal=0, checkpoint=-1, drop=True).astype(np.float64)
    found = {
        name: axes(data[method.variable].sel(estimator=method.entry, drop=True))
        for name, method in ((name, METHODS[name]) for name in methods)
        if method.variable in data
    }
    size = _root_mean_square(found[SCALE_OF])
    for name in found:
        if METHODS[name].unit == NO_UNIT:
            found[name] = found[name] * (size / _root_mean_square(found[name]))
    for name, other in (unrolled or {}).items():
        loss = other.dataset()["query_loss"].isel(removal=0, checkpoint=-1, drop=True)
        found[name] = axes(loss.astype(np.float64))
    return found


def _root_mean_square(scores: xr.DataArray) -> float:
    return float(np.sqrt((scores**2).mean()))


def axes(scores: xr.DataArray) -> xr.DataArray:
    """Only `(seed, train, query)`, in this order, seeds numbered."""
    return _plain(scores.transpose("seed", "train", "query"))


def at_points(scores: Mapping[str, xr.DataArray], points: Sequence[int]) -> dict[str, xr.DataArray]:
    """Scores of the points that were left out, labelled by position."""
    return {name: one.sel(train=list(points)) for name, one in scores.items()}


def law_before(bank: RunBank) -> xr.DataArray:
    """Losses of the full-data runs of a bank, `(seed, query)`, float64."""
    return _plain(last(bank).isel(removal=0, drop=True))


def laws_after(bank: RunBank, groups: Sequence[Sequence[int]]) -> xr.DataArray:
    """Losses of the runs without each group, `(seed, removal, query)`, float64."""
    return _plain(last(bank).sel(removal=["+".join(map(str, group)) for group in groups]))


def _plain(scores: xr.DataArray) -> xr.DataArray:
    """Seeds numbered, and no coordinates beside those of axes."""
    scores = scores.reset_coords(drop=True)
    return scores.assign_coords(seed=np.arange(scores.sizes["seed"]))
