"""What notebook 04 trains, declared from its parameters: a line and digits, point by point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.images import pooled
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import SeedPair, paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_groups_out, leave_one_out, nothing
from dtda_lib.runs.shifts import print_costs_by_kind
from dtda_lib.study.banks import Trained
from dtda_lib.study.methods import METHODS
from dtda_lib.study.settings import Config

from .digits import choose_groups, random_groups
from .line import LOOK, asked_at, last_epoch, picks_table, with_lone_point
from .predictions import predicted_laws, unrolled_runs

LONE = 3.0
"""Where the lone point of the line lies; the others lie between -2 and 2."""


@dataclass(frozen=True, kw_only=True)
class SpreadSetting(Trained):
    """One data set, what trains on it, and what is asked of it; nothing trains before it is used.

    Args:
        measurement: "query_prediction" (target units) or "query_margin" (logits).
        seeds: Disjoint sets of seed pairs. The first chooses and predicts, the others judge.
        further: Seeds for a second look, none of the above.
        n_unrolled: How many of the first seeds are differentiated along the way.
        damping: Of the damped influence function, times the sum of step sizes.
        groups: What is removed together; None: each point by itself.
    """

    measurement: str
    seeds: Sequence[Sequence[SeedPair]]
    n_unrolled: int
    further: Sequence[SeedPair] = ()
    damping: float = 1.0
    groups: Sequence[Sequence[int]] | None = None

    @cached_property
    def removals(self) -> list[RunBank]:
        """Runs with and without each removal, a bank for each set of seeds: paired_scratch."""
        n = self.task.n_train
        design = leave_one_out(n) if self.groups is None else leave_groups_out(n, self.groups)
        return [
            self.bank(paired(design, seeds), [self.measurement], f"set {number}")
            for number, seeds in enumerate(self.seeds, start=1)
        ]

    @cached_property
    def estimates(self) -> RunBank:
        """Full-data runs of the first seeds: the measurement and its influence functions."""
        of = self.measurement
        damping = self.damping * damping_by_training_time(self.recipe, self.task.n_train)
        damped = get_estimator("influence_ggn", self.recipe, of=of, damping=damping)
        measures = [
            of,
            get_estimator("influence_ggn", self.recipe, of=of),
            replace(damped, name=METHODS["if_damped"].variable),
            get_estimator("influence_leverage", self.recipe, of=of),
        ]
        runs = paired(nothing(self.task.n_train), self.seeds[0])
        return self.bank(runs, measures, "influence")

    @cached_property
    def followed(self) -> UnrolledBank:
        """The derivative of each training, for `n_unrolled` of the first seeds."""
        return self.unrolled(self.seeds[0][: self.n_unrolled], self.measurement, "unrolling")

    @cached_property
    def laws(self) -> list[xr.DataArray]:
        """Law `(seed, removal, query)` of each set of seeds; trains what is missing."""
        return [last_epoch(bank) for bank in self.removals]

    @property
    def first(self) -> xr.DataArray:
        """The law of the seeds that choose and predict."""
        return self.laws[0]

    @cached_property
    def fresh(self) -> xr.DataArray:
        """The law of all other seeds, which judge."""
        return xr.concat(self.laws[1:], "seed")

    @cached_property
    def predicted(self) -> dict[str, xr.DataArray]:
        """Method -> law predicted from the first seeds; trains what is missing."""
        return predicted_laws(self.estimates, self.followed)

    @property
    def inputs(self) -> np.ndarray:
        """First input of each training point, `(train,)`: its place on the line."""
        return self.task.train_x[:, 0].numpy()

    @property
    def words(self) -> str:
        """Data and model, for claims."""
        shape = "-".join(map(str, self.model.keywords["widths"]))
        return f"{self.name}, {self.task.n_train} training points, MLP {shape}"


@dataclass(frozen=True)
class DigitGroups:
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
    setting: SpreadSetting

    @property
    def labels(self) -> tuple[list[str], list[str]]:
        """The chosen groups and the random ones, as laws and tables call them."""
        chosen, random = (
            ["+".join(map(str, g)) for g in one] for one in (self.chosen, self.random)
        )
        return chosen, random


@dataclass(frozen=True)
class Experiment:
    """Lines and digits, left out point by point, for disjoint sets of seeds.

    Some banks follow from results: those of the `lone` point, of `groups_of_digits` and of the
    lines that are looked at `again`.

    Args:
        line: Predictions on the line that figures show.
        others: Further lines: the same law of the data, other points and seeds.
        digits: Margins of real digits, averaged to 14 x 14 pixels.
        controls: Name -> the digits with half as many points, or with a smaller network.
        images: The digits in full, as figures show them.
        group_size, n_groups: Digits in a group; groups chosen, and as many random ones.
        n_boot: Bootstrap resamples of seeds.
    """

    line: SpreadSetting
    others: Sequence[SpreadSetting]
    digits: SpreadSetting
    controls: Mapping[str, SpreadSetting]
    images: Task
    group_size: int
    n_groups: int
    n_boot: int

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Networks and recipes of our choice, sizes and seeds as `cfg` says; nothing trains."""
        common = {
            "n_unrolled": cfg.n_unrolled,
            "damping": cfg.damping,
            "machine": {"device": cfg.device, "workers": cfg.workers},
        }
        descent = Recipe(
            "sgd", momentum=0.9, weight_decay=cfg.weight_decay, batch_size=10, schedule="cosine"
        )
        line = SpreadSetting(
            name="line",
            task=get_task("regression1d", n_query=51),
            model=_network(1, cfg.line_width, cfg.line_width, 1),
            recipe=replace(descent, lr=cfg.line_rate, epochs=cfg.line_epochs),
            measurement="query_prediction",
            **_two_looks(cfg.n_seeds, cfg.n_again, "first"),
            **common,
        )
        others = [
            replace(
                line,
                name=f"line {number}",
                task=get_task("regression1d", n_query=51, seed=number),
                **_two_looks(cfg.n_line_seeds, cfg.n_again, f"line {number}"),
            )
            for number in range(1, 1 + cfg.n_lines)
        ]
        images, fewer = (
            get_task("mnist3", per_class=size, queries_per_class=cfg.queries_per_class)
            for size in (cfg.digits_per_class, cfg.digits_per_class // 2)
        )
        digits = SpreadSetting(
            name="digits",
            task=pooled(images, 2),
            model=_network(196, cfg.digit_width, 10),
            recipe=replace(descent, lr=cfg.digit_rate, epochs=cfg.digit_epochs),
            measurement="query_margin",
            seeds=_sets(cfg.n_digit_sets, cfg.n_digit_seeds),
            **common,
        )
        small = _network(49, cfg.digit_width // 2, 10)
        controls = {
            "half of the digits": replace(digits, name="fewer digits", task=pooled(fewer, 2)),
            "a smaller network": replace(
                digits, name="smaller network", task=pooled(images, 4), model=small
            ),
        }
        settings = (line, others, digits, controls, images)
        return cls(*settings, cfg.group_size, cfg.n_groups, cfg.n_boot)

    @cached_property
    def probe(self) -> RunBank:
        """Runs on all points of the line, asked where the lone point will lie."""
        runs = paired(nothing(self.line.task.n_train), self.line.seeds[0])
        task = asked_at(self.line.task, np.array([LONE]))
        there = replace(self.line, name=f"line at x = {LONE:g}", task=task)
        return there.bank(runs, [self.line.measurement], "")

    @property
    def kinds(self) -> dict[str, list[RunBank]]:
        """Banks that are known before anything trains, by what they are for."""
        everywhere = [bank for setting in self.others for bank in setting.removals]
        controls = [bank for setting in self.controls.values() for bank in setting.removals]
        return {
            "line": [*self.line.removals, self.probe],
            "further lines": everywhere,
            "line, influence": [self.line.estimates],
            "line, unrolling": [self.line.followed],
            "digits": self.digits.removals,
            "digits, influence": [self.digits.estimates],
            "digits, unrolling": [self.digits.followed],
            "digits, controls": controls,
        }

    @property
    def banks(self) -> list[RunBank]:
        """All banks that are known before anything trains."""
        return [bank for banks in self.kinds.values() for bank in banks]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes."""
        print_costs_by_kind(self.kinds, "without the lone point and the groups, a third more")

    @cached_property
    def lone(self) -> SpreadSetting:
        """The line with one more point, the last, far out on the trend of the others.

        Its target is what networks trained on the others predict there; trains the probe.
        """
        target = round(float(last_epoch(self.probe).mean()), 1)
        task = with_lone_point(self.line.task, LONE, target, np.linspace(-2.5, LONE, 56))
        return replace(self.line, name="lone point", task=task)

    @property
    def lines(self) -> list[SpreadSetting]:
        """The line as drawn, then the further ones."""
        return [self.line, *self.others]

    def rivals(self, generator: np.random.Generator) -> pd.DataFrame:
        """`line.picks_table` of every line, at the level of one `LOOK`, with its `line`: 0 as
        drawn, then the others."""
        tables = [
            picks_table(one.first, one.fresh, self.n_boot, generator, LOOK).assign(line=number)
            for number, one in enumerate(self.lines)
        ]
        return pd.concat(tables, ignore_index=True)

    def again(self, lines: Sequence[int], generator: np.random.Generator) -> pd.DataFrame:
        """`rivals` of some lines looked at once more: all seeds of the first look name the points,
        `further` ones judge them. Trains what is missing."""
        tables = []
        for number in lines:
            one = self.lines[number]
            known = xr.concat(one.laws, "seed")
            new = replace(one, name=f"{one.name}, again", seeds=[one.further])
            table = picks_table(known, new.first, self.n_boot, generator, LOOK)
            tables.append(table.assign(line=number))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def digit_laws(self, groups: DigitGroups) -> dict[str, list[xr.DataArray]]:
        """Setting -> law of each set of seeds: single digits, controls, random groups."""
        random = ["none", *groups.labels[1]]
        return {
            "single digits": self.digits.laws,
            **{name: setting.laws for name, setting in self.controls.items()},
            f"random groups of {self.group_size}": [
                law.sel(removal=random) for law in groups.setting.laws
            ],
        }

    def groups_of_digits(self, generator: np.random.Generator) -> DigitGroups:
        """Groups chosen by unrolled predictions, and random ones; trains what predicts."""
        runs = unrolled_runs(self.digits.estimates, self.digits.followed)
        pairs = choose_groups(*runs, self.group_size, self.n_groups)
        chosen, targets = [group for group, _ in pairs], [query for _, query in pairs]
        n_train = self.digits.task.n_train
        random = random_groups(n_train, self.group_size, len(chosen), chosen, generator)
        together = replace(self.digits, name="groups of digits", groups=[*chosen, *random])
        return DigitGroups(chosen, targets, random, together)


def _network(*widths: int) -> Model:
    return get_model("mlp", widths=widths, activation="gelu")


def _sets(n_sets: int, n_seeds: int, stream: str = "first") -> list[list[SeedPair]]:
    """Disjoint sets of so many seeds each."""
    seeds = seed_pairs(n_sets * n_seeds, stream)
    return [seeds[n_seeds * number :][:n_seeds] for number in range(n_sets)]


def _two_looks(n_seeds: int, n_again: int, stream: str) -> dict[str, Any]:
    """Of a line: two sets of seeds for the first look, further ones for a second."""
    known = 2 * n_seeds
    further = seed_pairs(known + n_again, stream)[known:]
    return {"seeds": _sets(2, n_seeds, stream), "further": further}


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis."""
    experiment = Experiment.of(cfg)
    analysis = ("group_size", "n_groups", "n_boot")
    return {
        "banks": [bank.key for bank in experiment.banks],
        "analysis": {name: getattr(experiment, name) for name in analysis},
        "again": len(experiment.line.further),
    }
