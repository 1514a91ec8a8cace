"""Evaluating estimators under noise: what is trained and measured, and scores with common axes.

Two settings, both our choice: UCI Concrete with a small smooth network, and digits 0, 1, 2 at 7 x 7
pixels with another. Scores are predicted or retrained shifts of a query's loss upon removal,
`(seed, train, query)`, positive where the point helps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr

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

DAMPING = 0.01  # beside l2 = 0.001; our choice, not tuned on any retraining
# Of the posterior: about 1 / N, and the estimator's own pull; our choice, made without retraining.
# Much colder, chains still travel towards the minimum while they are drawn from, and their drift is
# all that a covariance sees.
POSTERIOR = {"temperature": 0.01, "localisation": 0.1, "chains": 16, "draws": 100}
HALF, SMALL = "half", "a tenth"

ESTIMATED = (
    *("grad_dot", "grad_cos", "ats_adam", "ats_sgd", "if_lissa", "if_ggn", "if_damped", "if_ekfac"),
    *("if_hessian", "rif", "bif"),
    "trak",  # in a regression it is `if_damped`, so of digits alone
)
"""Methods taken on single models, in order."""
UNROLLING, SOURCE = "unrolling", "source"  # from banks of their own, both with a unit
SCALE_OF = "if_damped"  # what methods without a unit borrow their scale from


@dataclass(frozen=True)
class Shifts:
    """Shifts of a query's loss in one setting, `(seed, train, query)` each.

    Args:
        retrained, unpaired: Upon removal of each point left out, by paired and by unpaired runs.
        everywhere, predicted: Method -> predicted, of all points and of those left out.
    """

    retrained: xr.DataArray
    unpaired: xr.DataArray
    everywhere: Mapping[str, xr.DataArray]
    predicted: Mapping[str, xr.DataArray]


@dataclass(frozen=True, kw_only=True)
class Setting(Trained):
    """What is trained, and all that trains on it; nothing trains before it is used.

    Args:
        points: Those left out one at a time.
        n_seeds: Models that are attributed, each with its paired retrainings.
        n_unpaired: Runs without each point, every one with seeds of its own.
        n_subsets: Random subsets of each size.
        n_subset_seeds: Runs without each subset.
    """

    points: tuple[int, ...]
    n_seeds: int
    n_unpaired: int
    n_subsets: int
    n_subset_seeds: int

    @cached_property
    def paired(self) -> RunBank:
        """Runs on all points and without each, same seeds."""
        runs = paired(self._one_left_out, seeds(self.n_seeds, "models"))
        return self._losses(runs, "leave-one-out, paired")

    @cached_property
    def unpaired(self) -> RunBank:
        """Runs without each point, every run with seeds of its own."""
        runs = unpaired(self._one_left_out, seeds(self.n_unpaired, "unpaired"))
        return self._losses(runs, "leave-one-out, unpaired")

    @cached_property
    def subsets(self) -> RunBank:
        """Runs on all points and without each subset, same seeds, other than the models'."""
        runs = paired(self._many_left_out[0], seeds(self.n_subset_seeds, "truth"))
        return self._losses(runs, "subsets")

    @cached_property
    def models(self) -> RunBank:
        """The attributed models: their query losses, what each estimator says of every point."""
        runs = paired(nothing(self.task.n_train), seeds(self.n_seeds, "models"))
        return self.bank(runs, ["query_loss", *estimator_measures(self)], "estimators")

    @cached_property
    def followed(self) -> UnrolledBank:
        """The exact metagradient of the same models, in forward mode, for every point."""
        of = "query_loss"
        return self.unrolled(seeds(self.n_seeds, "models"), of, "unrolled", chunk=16)

    @cached_property
    def segments(self) -> UnrolledBank:
        """The same in three segments with EK-FAC curvature: SOURCE as published."""
        of = "query_loss"
        return self.unrolled(seeds(self.n_seeds, "models"), of, "SOURCE", mode="source")

    @property
    def groups(self) -> dict[str, list[list[int]]]:
        """Size of the subsets -> positions that each leaves out."""
        return self._many_left_out[1]

    @cached_property
    def shifts(self) -> Shifts:
        """Retrained and predicted shifts; trains what is missing."""
        further = {SOURCE: self.segments, UNROLLING: self.followed}
        everywhere = predicted_shifts(self.models, further)
        return Shifts(
            retrained=retrained_shifts(self.paired),
            unpaired=unpaired_shifts(self.unpaired),
            everywhere=everywhere,
            predicted=at_points(everywhere, self.points),
        )

    @property
    def _one_left_out(self) -> Design:
        return leave_one_out(self.task.n_train, self.points)

    @cached_property
    def _many_left_out(self) -> tuple[Design, dict[str, list[list[int]]]]:
        return group_designs(self.task.n_train, self.n_subsets, np.random.default_rng(8))

    def _losses(self, runs: Runs, title: str) -> RunBank:
        # Shards of 512 runs, so that two workers share the smaller banks.
        return self.bank(runs, ["query_loss"], title, chunk=512)


def concrete_setting(n_points: int, n_query: int, **sizes: Any) -> Setting:
    """80 mixes of UCI Concrete, MLP 8-16-16-1 (tanh), SGD for 300 steps; our choice.

    `sizes`: other fields of `Setting`.

    Raises:
        ValueError: more points than there are.
    """
    task = get_task("concrete", n_train=80, n_query=n_query)
    model = get_model("mlp", widths=(8, 16, 16, 1), activation="tanh")
    recipe = Recipe("sgd", lr=0.05, weight_decay=1e-3, batch_size=20, epochs=75)
    trained = {"name": "Concrete", "task": task, "model": model, "recipe": recipe}
    return Setting(**trained, points=_spread(task, n_points), **sizes)


def digits_setting(n_points: int, queries_per_class: int, **sizes: Any) -> Setting:
    """Ten images each of digits 0, 1, 2 at 7 x 7 pixels, MLP 49-16-10 (tanh), SGD for 180 steps.

    `sizes`: other fields of `Setting`.

    Raises:
        ValueError: more points than there are.
    """
    task = pooled(get_task("mnist3", per_class=10, queries_per_class=queries_per_class), 4)
    model = get_model("mlp", widths=(49, 16, 10), activation="tanh")
    recipe = Recipe("sgd", lr=0.2, weight_decay=1e-3, batch_size=10, epochs=60)
    trained = {"name": "digits", "task": task, "model": model, "recipe": recipe}
    return Setting(**trained, points=_spread(task, n_points), **sizes)


def _spread(task: Task, n: int) -> tuple[int, ...]:
    """n training positions, evenly spread, so that every class has its share."""
    if not 2 <= n <= task.n_train:
        raise ValueError(f"{n} points left out one at a time: there are 2 to {task.n_train}.")
    return tuple(int(p) for p in np.linspace(0, task.n_train - 1, n).round())


# ---------------------------------------------------------------- what is trained


def seeds(n: int, what: str) -> list[SeedPair]:
    """Seeds of one part: "models" (attributed), "truth" (LDS) or "unpaired"; streams are disjoint.

    Raises:
        ValueError: another part, or no seeds.
    """
    streams = {"models": "first", "truth": "lds truth", "unpaired": "unpaired loo"}
    if what not in streams:
        raise ValueError(f"seeds of {what!r}: parts are {', '.join(streams)}.")
    return seed_pairs(n, streams[what])


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


def methods_of(task: Task) -> list[str]:
    """The methods of `ESTIMATED` that are taken on a task, in order."""
    return [name for name in ESTIMATED if name != "trak" or task.loss == "cross_entropy"]


def estimator_measures(trained: Trained) -> list[Measure]:
    """The measures behind `ESTIMATED`.

    All influence functions are damped alike but `if_ggn`, which is not, and `if_lissa`, which has
    the damping published with it.
    """
    damped_too = ("influence_leverage", "influence_ekfac", "influence_hessian", "trak")
    own = {name: {"damping": DAMPING} for name in damped_too} | {"posterior_covariance": POSTERIOR}
    found = {}
    for variable in dict.fromkeys(METHODS[name].variable for name in methods_of(trained.task)):
        if variable == METHODS["if_damped"].variable:
            damped = get_estimator("influence_ggn", trained.recipe, damping=DAMPING)
            found[variable] = replace(damped, name=variable)
        else:
            found[variable] = get_estimator(variable, trained.recipe, **own.get(variable, {}))
    return list(found.values())


# ---------------------------------------------------------------- scores


def last_losses(bank: RunBank) -> xr.DataArray:
    """Losses after the last epoch, `(seed, removal, query)`, float64."""
    return bank.dataset()["query_loss"].isel(checkpoint=-1, drop=True).astype(np.float64)


def retrained_shifts(bank: RunBank) -> xr.DataArray:
    """Shift of each query's loss upon removal of each point, `(seed, train, query)`, float64."""
    return axes(shift_upon_removal(last_losses(bank)))


def unpaired_shifts(bank: RunBank) -> xr.DataArray:
    """The same, from the mean of all full-data runs: a constant of each query.

    What is common to all points cancels in a correlation over points.
    """
    loss = last_losses(bank)
    return axes(shift_upon_removal(loss, loss.isel(removal=0, drop=True).mean("seed")))


def predicted_shifts(
    bank: RunBank, unrolled: Mapping[str, UnrolledBank] | None = None
) -> dict[str, xr.DataArray]:
    """Scores of every method for all points, `(seed, train, query)`, in units of a shift.

    `unrolled`: further banks of the same models, by the name of their method.
    Methods without a unit get that of `SCALE_OF` by one factor for all their scores (equal root
    mean square), which uses no retraining. Correlations over points do not see it.
    """
    data = bank.dataset().isel(removal=0, checkpoint=-1, drop=True).astype(np.float64)
    found = {
        name: axes(data[method.variable].sel(estimator=method.entry, drop=True))
        for name, method in ((name, METHODS[name]) for name in ESTIMATED)
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
    return {
        name: one.isel(train=list(points)).assign_coords(train=list(points))
        for name, one in scores.items()
    }


def law_before(bank: RunBank) -> xr.DataArray:
    """Losses of the full-data runs of a bank, `(seed, query)`, float64."""
    return _plain(last_losses(bank).isel(removal=0, drop=True))


def laws_after(bank: RunBank, groups: Sequence[Sequence[int]]) -> xr.DataArray:
    """Losses of the runs without each group, `(seed, removal, query)`, float64."""
    return _plain(last_losses(bank).sel(removal=["+".join(map(str, group)) for group in groups]))


def _plain(scores: xr.DataArray) -> xr.DataArray:
    """Seeds numbered, and no coordinates beside those of axes."""
    scores = scores.reset_coords(drop=True)
    return scores.assign_coords(seed=np.arange(scores.sizes["seed"]))
