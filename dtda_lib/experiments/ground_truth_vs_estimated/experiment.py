"""What notebook 02 trains, declared from its parameters, and the scores that it compares."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import xarray as xr

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.experiments.noise_vs_influence.tables import late_mean
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.leave_one_out import leave_one_out_banks, shifts_of
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import SeedPair, paired, seed_pairs
from dtda_lib.runs.recipes import Recipe, get_recipe
from dtda_lib.runs.removal import Design, down_weighted, leave_one_out, nothing
from dtda_lib.runs.shifts import print_costs_by_kind, shift_per_fraction, shift_upon_removal
from dtda_lib.study.banks import Trained
from dtda_lib.study.settings import Config

from .at_points import additional_step_at, lissa_at
from .first_order import lissa_first_order
from .tables import ScoresByMethod, aligned, by_position, estimator_scores, stacked

OF_ALL_POINTS = ("gradient_similarity", "influence_ggn", "influence_ekfac", "trak")
"""Estimators that cost little more for all training points than for some."""
BAYESIAN = {"chains": 2, "thin": 2, "burn_in": 50}
"""A tenth of the default chains: a model of 150 points would take a quarter of an hour."""
PUBLISHED, CONVERGED = "as published", "converged"


@dataclass(frozen=True)
class Down:
    """Some points weighed down by fractions, and left out, in a training of some length.

    Args:
        size: Training points per class.
        training: How long it trained, in a word.
        weights: Bank of the fractions; of the removal, too, where `removals` is None.
        removals: Bank that leaves the same points out.
        estimators: Banks of the full-data models, which the fractions are held against.
    """

    size: int
    training: str
    weights: RunBank
    removals: RunBank | None
    estimators: Sequence[RunBank]


@dataclass(frozen=True)
class Experiment:
    """Digits at several sizes: leave-one-out, estimators, protocols and down-weighting.

    Args:
        tasks: Size (training points per class) -> task.
        points: Size -> training positions that are left out: the first of each class.
        removals: Size -> leave-one-out bank, `paired_scratch`; the one of notebook 01.
        estimators: Size -> banks of the full-data models of the same seeds, with estimators.
        protocols: Other protocol -> size -> its banks; their last checkpoint is measured.
        down: Down-weighting, one for each size and training.
        weighed, fractions: Size -> points that are weighed down; of their weight, ascending.
    """

    tasks: Mapping[int, Task]
    points: Mapping[int, Sequence[int]]
    removals: Mapping[int, RunBank]
    estimators: Mapping[int, Sequence[RunBank]]
    protocols: Mapping[str, Mapping[int, Sequence[RunBank]]]
    down: Sequence[Down]
    weighed: Mapping[int, Sequence[int]]
    fractions: Sequence[float]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """The published CNN2-L on digits 0 to 2, sizes and seeds as `cfg` says; nothing trains.

        Training sets are nested, and points are the first of each class, so that the same points
        are left out at all sizes; a class that has fewer gives all of them.
        """
        sizes = sorted(cfg.sizes)
        tasks = {
            size: get_task("mnist3", per_class=size, queries_per_class=cfg.queries_per_class)
            for size in sizes
        }
        model, seeds = get_model("cnn2l"), seed_pairs(cfg.n_seeds)
        machine = {"device": cfg.device, "workers": cfg.workers}

        def trained(size: int, keep_last: int, longer: int = 1) -> Trained:
            recipe = get_recipe("published_adam")
            recipe = replace(recipe, keep_last=keep_last, epochs=longer * recipe.epochs)
            return Trained(task=tasks[size], model=model, recipe=recipe, machine=machine)

        def chosen(per_class: int) -> dict[int, list[int]]:
            return {s: t.first_of_each_class(min(per_class, s)) for s, t in tasks.items()}

        points, weighed = chosen(cfg.points_per_class), chosen(cfg.weighed_per_class)
        removals = {
            size: trained(size, cfg.n_checkpoints).bank(
                paired(leave_one_out(tasks[size].n_train, points[size]), seeds),
                ["query_loss"],
                f"leave-one-out, {size} per class",
            )
            for size in sizes
        }
        estimators = {
            size: _estimator_banks(partial(trained, size), size, points[size], cfg)
            for size in sizes
        }
        last = trained(sizes[0], 1).recipe
        protocols = {
            protocol: {
                size: leave_one_out_banks(
                    tasks[size], model, last, seeds, protocol, points=points[size], **machine
                )
                for size in sizes
            }
            for protocol in ("unpaired_scratch", "continued")
        }
        fractions = [percent / 100 for percent in sorted(cfg.percents)]
        down = [
            Down(
                size,
                PUBLISHED,
                trained(size, cfg.n_checkpoints).bank(
                    paired(down_weighted(tasks[size].n_train, weighed[size], fractions), seeds),
                    ["query_loss"],
                    f"down-weighting, {size} per class",
                ),
                removals[size],
                estimators[size],
            )
            for size in sizes
        ]
        if cfg.longer:
            size = sizes[len(sizes) // 2]
            design = down_weighted(tasks[size].n_train, weighed[size], [*fractions, 1.0])
            about = f"{size} per class, {cfg.longer} times as long"
            one = trained(size, 1, cfg.longer)
            down.append(_converged(one, size, weighed[size], design, seeds, about))
        return cls(tasks, points, removals, estimators, protocols, down, weighed, fractions)

    @property
    def sizes(self) -> list[int]:
        """Training points per class, ascending."""
        return list(self.tasks)

    @property
    def largest(self) -> int:
        """The largest size, which figures of one size show."""
        return self.sizes[-1]

    @property
    def banks(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        protocols = [b for by_size in self.protocols.values() for g in by_size.values() for b in g]
        down = [
            b
            for one in self.down
            for b in (one.weights, *(one.estimators if one.removals is None else ()))
        ]
        estimators = [bank for banks in self.estimators.values() for bank in banks]
        return [*self.removals.values(), *estimators, *protocols, *down]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes of the largest bank of
        each kind; of the estimators those of the smallest size, as a probe is one of their runs."""
        kinds = {
            "leave-one-out": list(self.removals.values()),
            **{
                name: [banks[-1] for banks in by_size.values()]
                for name, by_size in self.protocols.items()
            },
            "down-weighting": [one.weights for one in self.down],
            **{bank.title: [bank] for bank in self.estimators[self.sizes[0]]},
        }
        larger = len(self.sizes) > 1
        total = "without the estimators of larger sizes" if larger else "in all"
        print_costs_by_kind(kinds, total_of=total)

    def shift(self, size: int) -> xr.DataArray:
        """Shift of the query loss upon removal, `(seed, checkpoint, train, query)`; trains."""
        shift = shift_upon_removal(self.removals[size].dataset()["query_loss"])
        return shift.transpose("seed", "checkpoint", "train", "query")

    def estimates(self) -> dict[int, dict[str, xr.DataArray]]:
        """Size -> estimator -> scores `(seed, checkpoint, train, query)` of the points that are
        left out; trains."""
        found = {}
        for size, banks in self.estimators.items():
            scores = {k: v for bank in banks for k, v in estimator_scores(bank).items()}
            found[size] = {k: v.sel(train=list(self.points[size])) for k, v in scores.items()}
        return found

    def scores(self, estimates: Mapping[int, ScoresByMethod]) -> dict[int, xr.DataArray]:
        """Size -> "loo" and every estimator `(estimator, seed, train, query)`, means of their late
        checkpoints."""
        return {
            size: stacked(
                {
                    "loo": late_mean(self.shift(size)),
                    **{name: late_mean(array) for name, array in by_name.items()},
                }
            )
            for size, by_name in estimates.items()
        }

    def first_order(self) -> dict[int, xr.DataArray]:
        """Size -> LiSSA to first order `(seed, checkpoint, train, query)`; trains."""
        return {
            size: by_position(banks[0].dataset()["lissa_first_order"])
            for size, banks in self.estimators.items()
        }

    def protocol_scores(
        self, estimates: Mapping[int, ScoresByMethod]
    ) -> dict[int, tuple[dict[str, xr.DataArray], dict[str, xr.DataArray]]]:
        """Size -> shifts by protocol, and estimates, `(seed, train, query)` of the same points and
        seeds; the last checkpoint of all.

        "continued less control" is going on from the trained model minus going on with nothing
        left out. Trains what is missing.
        """
        found = {}
        for size in self.sizes:
            unpaired, continued = (
                shifts_of(self.protocols[name][size]) for name in ("unpaired_scratch", "continued")
            )
            shifts = {
                "paired_scratch": self.shift(size),
                "unpaired_scratch": unpaired["shift"],
                "continued": continued["shift"],
                "continued less control": continued["shift"] - continued["control"],
            }
            parts = (shifts, estimates[size])
            found[size] = tuple(
                aligned({k: late_mean(v, 1) for k, v in part.items()}, self.points[size])
                for part in parts
            )
        return found

    @property
    def ordered(self) -> dict[int, bool]:
        """Size -> whether an epoch has more than one batch, so that their order is random."""
        return {size: n > _recipe().batch_size for size, n in self.n_train.items()}

    @property
    def n_train(self) -> dict[int, int]:
        """Size -> number of training points N."""
        return {size: task.n_train for size, task in self.tasks.items()}

    def fractions_of_removal(self) -> list[tuple[int, str, xr.DataArray, dict[str, xr.DataArray]]]:
        """For each down-weighting: size, training, shifts per fraction `(fraction, seed, train,
        query)`, the last of which is the removal, and estimates `(seed, train, query)`; trains."""
        found = []
        for one in self.down:
            points, losses = self.weighed[one.size], one.weights.dataset()["query_loss"]
            fractions = list(self.fractions)
            if one.removals is None:
                shifts = shift_per_fraction(losses, points, [*fractions, 1.0])
            else:
                whole = self.shift(one.size).sel(train=list(points)).expand_dims(fraction=[1.0])
                parts = shift_per_fraction(losses, points, fractions)
                shifts = xr.concat([_plain(parts), _plain(whole)], "fraction")
            scores = {k: v for bank in one.estimators for k, v in estimator_scores(bank).items()}
            late = {k: late_mean(v) for k, v in scores.items()}
            found.append((one.size, one.training, _plain(late_mean(shifts)), aligned(late, points)))
        return found


def _recipe() -> Recipe:
    return get_recipe("published_adam")


def _named(names: Sequence[str]) -> list[Measure]:
    return [get_estimator(name, _recipe()) for name in names]


def _estimated(
    one: Trained, seeds: Sequence[SeedPair], measures: Sequence[Measure], title: str
) -> RunBank:
    return one.bank(paired(nothing(one.task.n_train), seeds), measures, title)


def _estimator_banks(
    trained: Callable[[int], Trained], size: int, points: Sequence[int], cfg: Config
) -> list[RunBank]:
    """Full-data models of one size: every estimator at the checkpoints that leave-one-out is
    measured at, but Bayesian influence, which explores the neighbourhood of the last one.

    `trained`: what trains, from the number of checkpoints that it keeps.
    """
    seeds = seed_pairs(cfg.n_seeds)
    published = [lissa_at(points), lissa_first_order(points), additional_step_at(points, _recipe())]
    measures = [*published, *_named(OF_ALL_POINTS)]
    one = trained(cfg.n_checkpoints)
    banks = [_estimated(one, seeds, measures, f"estimators, {size} per class")]
    if cfg.bayesian_draws:
        settings = BAYESIAN | {"draws": cfg.bayesian_draws}
        bif = [get_estimator("posterior_covariance", _recipe(), **settings)]
        banks.append(_estimated(trained(1), seeds, bif, f"Bayesian IF, {size} per class"))
    return banks


def _converged(
    one: Trained,
    size: int,
    points: Sequence[int],
    design: Design,
    seeds: Sequence[SeedPair],
    about: str,
) -> Down:
    """Fractions and the removal itself in a longer training, with estimators of its own: those that
    are held against fractions of a removal."""
    weights = one.bank(paired(design, seeds), ["query_loss"], f"down-weighting, {about}")
    measures = [lissa_at(points), *_named(("gradient_similarity", "influence_ggn"))]
    local = _estimated(one, seeds, measures, f"estimators, {about}")
    return Down(size, CONVERGED, weights, None, [local])


def _plain(shifts: xr.DataArray) -> xr.DataArray:
    """Without coordinates that differ between banks."""
    kept = ("fraction", "seed", "checkpoint", "train", "query")
    found = shifts.drop_vars([c for c in shifts.coords if c not in kept])
    return found.transpose(*(dim for dim in kept if dim in found.dims))


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains."""
    return {"banks": [bank.key for bank in Experiment.of(cfg).banks]}
