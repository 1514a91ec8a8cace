"""What notebook 01 trains, declared from its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import xarray as xr

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import get_recipe
from dtda_lib.runs.removal import leave_one_out, nothing
from dtda_lib.runs.shifts import print_costs_by_kind
from dtda_lib.statistics.over_sets import in_sets
from dtda_lib.study.settings import Config

from .tables import Key, late_mean, score_arrays


@dataclass(frozen=True)
class Experiment:
    """Digits at several sizes; the same points are left out one by one, over several sets of seeds.

    Args:
        tasks: Size (training points per class) -> task.
        removals: Size -> leave-one-out bank over all seeds, set after set.
        gradients: As `removals`: gradient scores of the full-data models.
        n_sets: Disjoint sets that the seeds of a bank are cut into.
    """

    tasks: Mapping[int, Task]
    removals: Mapping[int, RunBank]
    gradients: Mapping[int, RunBank]
    n_sets: int

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """The published CNN2-L on digits 0 to 2, sizes and seeds as `cfg` says; nothing trains.

        The first set of seeds holds the published ones. Training sets are nested, and the points
        that are left out are the first of each class, so that they are the same at all sizes.
        """
        tasks = {
            size: get_task("mnist3", per_class=size, queries_per_class=cfg.queries_per_class)
            for size in cfg.sizes
        }
        recipe = replace(get_recipe("published_adam"), keep_last=cfg.n_checkpoints)
        seeds = seed_pairs(cfg.n_sets * cfg.n_seeds, "first")
        removed = {
            size: task.first_of_each_class(min(cfg.points_per_class, size))
            for size, task in tasks.items()
        }
        designs = {
            "leave-one-out": lambda size, n: leave_one_out(n, removed[size]),
            "gradients": lambda size, n: nothing(n),
        }
        measures = {
            "leave-one-out": "query_loss",
            "gradients": get_estimator("gradient_similarity", recipe),
        }
        removals, gradients = (
            {
                size: RunBank(
                    task,
                    get_model("cnn2l"),
                    recipe,
                    paired(design(size, task.n_train), seeds),
                    [measures[kind]],
                    title=f"{kind}, {size} per class",
                    device=cfg.device,
                    workers=cfg.workers,
                )
                for size, task in tasks.items()
            }
            for kind, design in designs.items()
        )
        return cls(tasks, removals, gradients, cfg.n_sets)

    @property
    def banks(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        return [*self.removals.values(), *self.gradients.values()]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes."""
        print_costs_by_kind({bank.title: [bank] for bank in self.banks})

    def scores(self) -> dict[Key, xr.DataArray]:
        """`tables.score_arrays` `(set, seed, checkpoint, train, query)`; trains what is missing."""
        found = score_arrays(self.removals, self.gradients)
        return {key: self._in_sets(array) for key, array in found.items()}

    def losses(self) -> dict[int, xr.DataArray]:
        """Size -> query loss `(set, seed, removal, query)`, mean of the late checkpoints; "none" is
        the full data. Trains what is missing."""
        return {
            size: late_mean(self._in_sets(bank.dataset()["query_loss"]))
            for size, bank in self.removals.items()
        }

    def _in_sets(self, runs: xr.DataArray) -> xr.DataArray:
        return in_sets(runs, self.n_sets, labels=("removal",))


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis."""
    experiment = Experiment.of(cfg)
    return {"banks": [bank.key for bank in experiment.banks], "sets": experiment.n_sets}
