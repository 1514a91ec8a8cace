"""What notebook 08 trains, declared from its parameters, and what all of it says together."""

from collections.abc import Mapping
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
from .setting import Setting, Shifts

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
    """Two settings, by name, and one whose seeds are perturbed: runs under interventions."""

    settings: Mapping[str, Setting]
    fragile: Fragility

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Concrete and digits, points and seeds as `cfg` says; nothing trains."""
        machine = {"device": cfg.device, "workers": cfg.workers}
        sizes = {name: getattr(cfg, name) for name in ("n_seeds", "n_subsets", "n_subset_seeds")}
        sizes |= {"n_unpaired": cfg.n_unpaired, "machine": machine}
        fewer = sizes | {"n_unpaired": max(8, cfg.n_unpaired // 2)}
        concrete = setting.concrete_setting(cfg.n_left_out, n_query=30, **sizes)
        digits = setting.digits_setting(cfg.n_left_out // 2, queries_per_class=10, **fewer)
        small = replace(concrete, machine=machine | {"workers": 1})  # one process does
        points, n = concrete.points[::3], cfg.n_rate_seeds
        fragile = Fragility(
            rate=concrete.recipe.lr,
            points=points,
            moved=fragility.fragility_banks(small, RATES, points, n),
            deleted=fragility.smaller_banks(small, points[:4], n),
            models=fragility.rate_predictions(small, RATES, n),
        )
        return cls({one.name: one for one in (concrete, digits)}, fragile)

    def _of_each(self, *kinds: str) -> list[RunBank | UnrolledBank]:
        return [getattr(one, kind) for kind in kinds for one in self.settings.values()]

    @property
    def banks(self) -> list[RunBank | UnrolledBank]:
        """All banks, in the order in which they are trained."""
        large = self._of_each("paired", "unpaired", "subsets", "models", "followed", "segments")
        fragile = self.fragile
        return [*large, *fragile.moved.values(), *fragile.deleted, *fragile.models.values()]

    def print_cost(self) -> None:
        """Print what the larger banks will take on this machine, from timed probes."""
        large = self._of_each("unpaired", "subsets", "models", "followed")
        print_costs(large, total_of="of these, the larger part")

    def shifts(self) -> dict[str, Shifts]:
        """Retrained and predicted shifts of each setting; trains what is missing."""
        return {name: one.shifts for name, one in self.settings.items()}

    def lds_scores(self) -> dict[tuple[str, str], Scores]:
        """LDS of all methods, by setting and size of the subsets; trains what is missing."""
        return {
            (name, size): group_scores(
                one.subsets,
                groups,
                setting.law_before(one.models),
                one.shifts.everywhere,
                np.random.default_rng(0),
            )
            for name, one in self.settings.items()
            for size, groups in one.groups.items()
        }


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the subsets that are scored."""
    experiment = Experiment.of(cfg)
    groups = {name: one.groups for name, one in experiment.settings.items()}
    return {"banks": [bank.key for bank in experiment.banks], "groups": groups}
