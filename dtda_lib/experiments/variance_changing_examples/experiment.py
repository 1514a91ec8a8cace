"""What notebook 04 trains, declared from its parameters: a line and digits, point by point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.leverage import leverage
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.images import pooled
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import SeedPair, paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_groups_out, leave_one_out, nothing
from dtda_lib.runs.shifts import print_costs
from dtda_lib.study.banks import Trained
from dtda_lib.study.methods import METHODS
from dtda_lib.study.settings import Config

from .digits import choose_groups, random_groups
from .line import asked_at, last_epoch, with_lone_point
from .predictions import predicted_laws, unrolled_runs

LONE = 3.0
"""Where the lone point of the line lies; the others lie between -2 and 2."""


@dataclass(frozen=True, kw_only=True)
class Setting(Trained):
    """One data set, what trains on it, and what is asked of it; nothing trains before it is used.

    Args:
        measurement: "query_prediction" (target units) or "query_margin" (logits).
        seeds: Set of seeds ("first", "fresh") -> pairs; the sets are independent.
        n_unrolled: How many of the first seeds are differentiated along the way.
        groups: What is removed together; None: each point by itself.
    """

    measurement: str
    seeds: Mapping[str, Sequence[SeedPair]]
    n_unrolled: int
    groups: Sequence[Sequence[int]] | None = None

    @cached_property
    def removals(self) -> dict[str, RunBank]:
        """Set of seeds -> runs with and without each removal: paired_scratch."""
        n = self.task.n_train
        design = leave_one_out(n) if self.groups is None else leave_groups_out(n, self.groups)
        return {
            stream: self.bank(paired(design, seeds), [self.measurement], f"{stream} seeds")
            for stream, seeds in self.seeds.items()
        }

    @cached_property
    def estimates(self) -> RunBank:
        """Full-data runs of the first seeds: the measurement, its influence functions, leverage."""
        of = self.measurement
        damping = damping_by_training_time(self.recipe, self.task.n_train)
        damped = get_estimator("influence_ggn", self.recipe, of=of, damping=damping)
        measures = [
            of,
            get_estimator("influence_ggn", self.recipe, of=of),
            replace(damped, name=METHODS["if_damped"].variable),
            get_estimator("influence_leverage", self.recipe, of=of),
            leverage(self.recipe),
        ]
        runs = paired(nothing(self.task.n_train), self.seeds["first"])
        return self.bank(runs, measures, "influence")

    @cached_property
    def followed(self) -> UnrolledBank:
        """The derivative of each training, for `n_unrolled` of the first seeds."""
        return self.unrolled(self.seeds["first"][: self.n_unrolled], self.measurement, "unrolling")

    @cached_property
    def laws(self) -> dict[str, xr.DataArray]:
        """Set of seeds -> law `(seed, removal, query)`; trains what is missing."""
        return {stream: last_epoch(bank) for stream, bank in self.removals.items()}

    @cached_property
    def predicted(self) -> dict[str, xr.DataArray]:
        """Method -> law predicted from the first seeds; trains what is missing."""
        return predicted_laws(self.estimates, self.followed)

    @property
    def inputs(self) -> np.ndarray:
        """First input of each training point, `(train,)`: its place on the line."""
        return self.task.train_x[:, 0].numpy()


@dataclass(frozen=True)
class Groups:
    """Groups of digits that are removed together; see `digits.choose_groups`.

    Args:
        chosen: Groups chosen by prediction.
        targets: The query, by position, that each of them was chosen for.
        random: As many random ones.
        setting: The digits with all of these groups removed, the chosen ones first.
    """

    chosen: Sequence[tuple[int, ...]]
    targets: Sequence[int]
    random: Sequence[tuple[int, ...]]
    setting: Setting

    @property
    def labels(self) -> tuple[list[str], list[str]]:
        """The chosen groups and the random ones, as laws and tables call them."""
        chosen, random = (
            ["+".join(map(str, g)) for g in one] for one in (self.chosen, self.random)
        )
        return chosen, random


@dataclass(frozen=True)
class Experiment:
    """A line and digits, left out point by point, for two independent sets of seeds.

    Two banks follow from results: those of the `lone` point and of `groups_of_digits`.

    Args:
        line, digits: Predictions on a line; margins of real digits, averaged to 7 x 7 pixels.
        images: The digits in full, as figures show them.
        draws: Draw -> other points of the line, with one set of seeds.
        group_size, n_groups: Digits in a group; groups chosen, and as many random ones.
        n_boot: Bootstrap resamples of seeds.
        n_null: Random exchanges of runs before and after a removal.
    """

    line: Setting
    digits: Setting
    images: Task
    draws: Mapping[int, Setting]
    group_size: int
    n_groups: int
    n_boot: int
    n_null: int

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Networks and recipes of our choice, sizes and seeds as `cfg` says; nothing trains."""
        machine = {"device": cfg.device, "workers": cfg.workers}
        common = {"n_unrolled": cfg.n_unrolled, "machine": machine}
        descent = {"momentum": 0.9, "weight_decay": 1e-3, "batch_size": 10, "schedule": "cosine"}
        line = Setting(
            name="line",
            task=get_task("regression1d", n_query=51),
            model=get_model("mlp", widths=(1, 12, 12, 1), activation="gelu"),
            recipe=Recipe("sgd", lr=0.1, epochs=100, **descent),
            measurement="query_prediction",
            seeds=_two_sets(cfg.n_seeds),
            **common,
        )
        images = get_task(
            "mnist3", per_class=cfg.digits_per_class, queries_per_class=cfg.queries_per_class
        )
        digits = Setting(
            name="digits",
            task=pooled(images, 4),
            model=get_model("mlp", widths=(49, 16, 10), activation="gelu"),
            recipe=Recipe("sgd", lr=0.05, epochs=30, **descent),
            measurement="query_margin",
            seeds=_two_sets(cfg.n_digit_seeds),
            **common,
        )
        draws = {
            draw: replace(
                line,
                name=f"line, draw {draw}",
                task=get_task("regression1d", n_query=51, seed=draw),
                seeds={"first": seed_pairs(cfg.n_data_set_seeds)},
            )
            for draw in range(1, 1 + cfg.n_data_sets)
        }
        return cls(
            line, digits, images, draws, cfg.group_size, cfg.n_groups, cfg.n_boot, cfg.n_null
        )

    @cached_property
    def probe(self) -> RunBank:
        """Runs on all points of the line, asked where the lone point will lie."""
        runs = paired(leave_groups_out(self.line.task.n_train, []), self.line.seeds["first"])
        task = asked_at(self.line.task, np.array([LONE]))
        there = replace(self.line, name=f"line at x = {LONE:g}", task=task)
        return there.bank(runs, [self.line.measurement], "")

    @property
    def banks(self) -> list[RunBank]:
        """All banks that are known before anything trains."""
        draws = [bank for draw in self.draws.values() for bank in draw.removals.values()]
        line, digits = (
            [*one.removals.values(), one.estimates, one.followed]
            for one in (self.line, self.digits)
        )
        return [*line, *draws, self.probe, *digits]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes."""
        print_costs(self.banks, "without the lone point and the groups of digits, a third more")

    @cached_property
    def lone(self) -> Setting:
        """The line with one more point, the last, far out on the trend of the others.

        Its target is what networks trained on the others predict there; trains the probe.
        """
        target = round(float(last_epoch(self.probe).mean()), 1)
        task = with_lone_point(self.line.task, LONE, target, np.linspace(-2.5, LONE, 56))
        return replace(self.line, name="lone point", task=task)

    def drawn_laws(self) -> dict[int, tuple[xr.DataArray, xr.DataArray]]:
        """Draw -> laws of the first half of its seeds, which pick, and of the other, which
        judges."""
        laws = {draw: setting.laws["first"] for draw, setting in self.draws.items()}
        halves = {draw: law.sizes["seed"] // 2 for draw, law in laws.items()}
        return {
            draw: (law.isel(seed=slice(halves[draw])), law.isel(seed=slice(halves[draw], None)))
            for draw, law in laws.items()
        }

    def groups_of_digits(self, generator: np.random.Generator) -> Groups:
        """Groups chosen by unrolled predictions, and random ones; trains what predicts."""
        runs = unrolled_runs(self.digits.estimates, self.digits.followed)
        pairs = choose_groups(*runs, self.group_size, self.n_groups)
        chosen, targets = [group for group, _ in pairs], [query for _, query in pairs]
        n_train = self.digits.task.n_train
        random = random_groups(n_train, self.group_size, len(chosen), chosen, generator)
        together = replace(self.digits, name="groups of digits", groups=[*chosen, *random])
        return Groups(chosen, targets, random, together)


def _two_sets(n_seeds: int) -> dict[str, list[SeedPair]]:
    return {stream: seed_pairs(n_seeds, stream) for stream in ("first", "fresh")}


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis."""
    experiment = Experiment.of(cfg)
    analysis = ("group_size", "n_groups", "n_boot", "n_null")
    return {
        "banks": [bank.key for bank in experiment.banks],
        "analysis": {name: getattr(experiment, name) for name in analysis},
    }
