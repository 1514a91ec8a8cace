"""What notebook 08 trains, declared from its parameters, and what all of it says together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.shifts import print_costs
from dtda_lib.statistics.lds import Scores
from dtda_lib.study.settings import Config

from . import fragility, setting
from .lds import group_scores
from .setting import SOURCE, UNROLLING, Setting, Shifts

RATES = (0.0125, 0.05, 0.2)
"""Learning rates at which a fixed seed is perturbed; the middle one is that of all other runs."""


@dataclass(frozen=True)
class Fragility:
    """Runs of a fixed seed that are perturbed, on Concrete.

    Args:
        rate: The learning rate at which points are deleted, too.
        points: Those that are left out.
        moved: Learning rate -> `fragility.fragility_banks`.
        deleted: `fragility.smaller_banks`.
        models: Learning rate -> `fragility.rate_predictions`.
    """

    rate: float
    points: tuple[int, ...]
    moved: Mapping[float, RunBank]
    deleted: list[RunBank]
    models: Mapping[float, RunBank]


@dataclass(frozen=True)
class Experiment:
    """Two settings, by name: their banks, and one setting whose seeds are perturbed.

    Args:
        settings: What is trained.
        groups: For each setting: size of the subsets -> positions that each leaves out.
        paired, unpaired: Retrained without each point.
        subsets: Retrained without each subset, of seeds of their own.
        models, unrolled, segments: The attributed models: estimators, unrolling, SOURCE.
        fragile: Runs of a fixed seed under several interventions.
    """

    settings: Mapping[str, Setting]
    groups: Mapping[str, Mapping[str, list[list[int]]]]
    paired: Mapping[str, RunBank]
    unpaired: Mapping[str, RunBank]
    subsets: Mapping[str, RunBank]
    models: Mapping[str, RunBank]
    unrolled: Mapping[str, UnrolledBank]
    segments: Mapping[str, UnrolledBank]
    fragile: Fragility

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Concrete and digits, points and seeds as `cfg` says; nothing trains."""
        machine = {"device": cfg.device, "workers": cfg.workers}
        concrete = setting.concrete_setting(cfg.n_left_out, n_query=30)
        digits = setting.digits_setting(cfg.n_left_out // 2, queries_per_class=10)
        both = {one.name: replace(one, machine=machine) for one in (concrete, digits)}
        n_unpaired = {concrete.name: cfg.n_unpaired, digits.name: max(8, cfg.n_unpaired // 2)}
        designs = {
            name: setting.group_designs(one.task.n_train, cfg.n_subsets, np.random.default_rng(8))
            for name, one in both.items()
        }

        def of_each(bank: Callable[..., Any], n_seeds: int) -> dict[str, Any]:
            return {name: bank(one, n_seeds) for name, one in both.items()}

        small = replace(concrete, machine=machine | {"workers": 1})  # one process does
        points, n = concrete.points[::3], cfg.n_rate_seeds
        return cls(
            settings=both,
            groups={name: groups for name, (_, groups) in designs.items()},
            paired=of_each(setting.removal_bank, cfg.n_seeds),
            unpaired={
                name: setting.unpaired_bank(one, n_unpaired[name]) for name, one in both.items()
            },
            subsets={
                name: setting.group_bank(one, designs[name][0], cfg.n_subset_seeds)
                for name, one in both.items()
            },
            models=of_each(setting.estimator_bank, cfg.n_seeds),
            unrolled=of_each(setting.unrolled_bank, cfg.n_seeds),
            segments=of_each(setting.source_bank, cfg.n_seeds),
            fragile=Fragility(
                rate=concrete.recipe.lr,
                points=points,
                moved=fragility.fragility_banks(small, RATES, points, n),
                deleted=fragility.smaller_banks(small, points[:4], n),
                models=fragility.rate_predictions(small, RATES, n),
            ),
        )

    @property
    def banks(self) -> list[RunBank | UnrolledBank]:
        """All banks, in the order in which they are trained."""
        parts = (self.paired, self.unpaired, self.subsets, self.models, self.unrolled)
        large = [bank for part in (*parts, self.segments) for bank in part.values()]
        fragile = self.fragile
        return [*large, *fragile.moved.values(), *fragile.deleted, *fragile.models.values()]

    def print_cost(self) -> None:
        """Print what the larger banks will take on this machine, from timed probes."""
        parts = (self.unpaired, self.subsets, self.models, self.unrolled)
        large = [bank for part in parts for bank in part.values()]
        print_costs(large, total_of="of these, the larger part")

    def shifts(self) -> dict[str, Shifts]:
        """Retrained and predicted shifts of each setting; trains what is missing."""
        found = {}
        for name, one in self.settings.items():
            further = {SOURCE: self.segments[name], UNROLLING: self.unrolled[name]}
            everywhere = setting.predicted_shifts(self.models[name], further)
            found[name] = Shifts(
                retrained=setting.retrained_shifts(self.paired[name]),
                unpaired=setting.unpaired_shifts(self.unpaired[name]),
                everywhere=everywhere,
                predicted=setting.at_points(everywhere, one.points),
            )
        return found

    def lds_scores(self, shifts: Mapping[str, Shifts]) -> dict[tuple[str, str], Scores]:
        """LDS of all methods, by setting and size of the subsets; trains what is missing."""
        return {
            (name, size): group_scores(
                self.subsets[name],
                groups,
                setting.law_before(self.models[name]),
                shifts[name].everywhere,
                np.random.default_rng(0),
            )
            for name in self.settings
            for size, groups in self.groups[name].items()
        }


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the subsets that are scored."""
    experiment = Experiment.of(cfg)
    return {"banks": [bank.key for bank in experiment.banks], "groups": experiment.groups}
