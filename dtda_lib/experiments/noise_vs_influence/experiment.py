"""What notebook 01 trains and simulates, declared from its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import get_recipe
from dtda_lib.runs.removal import leave_one_out, nothing
from dtda_lib.runs.shifts import print_costs
from dtda_lib.statistics.significance import simulate_null
from dtda_lib.study.settings import Config

from .tables import Key, score_arrays


@dataclass(frozen=True)
class Experiment:
    """Digits at several sizes, left out one by one, with one or two sets of seeds.

    Args:
        tasks: Size (training points per class) -> task.
        removals: Set of seeds ("first", "second") -> size -> leave-one-out bank. The second set is
            the replication and may be absent.
        gradients: As `removals`: gradient scores of the full-data models.
        null: Seeds (`n_seeds`) and pairs (`n_pairs`) of the simulation without influence.
    """

    tasks: Mapping[int, Task]
    removals: Mapping[str, Mapping[int, RunBank]]
    gradients: Mapping[str, Mapping[int, RunBank]]
    null: Mapping[str, int]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """The published CNN2-L on digits 0 to 2, sizes and seeds as `cfg` says; nothing trains."""
        tasks = {
            size: get_task("mnist3", per_class=size, queries_per_class=cfg.queries_per_class)
            for size in cfg.sizes
        }
        model = get_model("cnn2l")
        recipe = replace(get_recipe("published_adam"), keep_last=cfg.n_checkpoints)
        sets = {"first": (seed_pairs(cfg.n_seeds, "first"), cfg.sizes)}
        if cfg.n_replication_seeds:
            again = [size for size in cfg.sizes if size in cfg.replication_sizes]
            sets["second"] = (seed_pairs(cfg.n_replication_seeds, "second"), again)
        kinds = {
            "leave-one-out": (leave_one_out, "query_loss"),
            "gradients": (nothing, get_estimator("gradient_similarity", recipe)),
        }
        removals, gradients = (
            {
                name: {
                    size: RunBank(
                        tasks[size],
                        model,
                        recipe,
                        paired(design(tasks[size].n_train), seeds),
                        [measure],
                        title=f"{kind}, {size} per class, {name} seeds",
                        device=cfg.device,
                        workers=cfg.workers,
                    )
                    for size in sizes
                }
                for name, (seeds, sizes) in sets.items()
            }
            for kind, (design, measure) in kinds.items()
        )
        return cls(tasks, removals, gradients, {"n_seeds": cfg.n_seeds, "n_pairs": cfg.n_null})

    @property
    def banks(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        groups = (self.removals, self.gradients)
        return [bank for sets in groups for sizes in sets.values() for bank in sizes.values()]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes."""
        print_costs(self.banks)

    def scores(self, seeds: str) -> dict[Key, xr.DataArray]:
        """`tables.score_arrays` of one set of seeds, empty if it is absent; trains what is
        missing."""
        if seeds not in self.removals:
            return {}
        return score_arrays(self.removals[seeds], self.gradients[seeds])

    def simulated_null(self, generator: np.random.Generator) -> xr.DataArray:
        """Noise of as many seeds without any influence, `(seed, pair)`."""
        return simulate_null(**self.null, generator=generator)


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis."""
    experiment = Experiment.of(cfg)
    return {"banks": [bank.key for bank in experiment.banks], "null": experiment.null}
