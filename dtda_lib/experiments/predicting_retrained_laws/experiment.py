"""What notebook 05 trains and unrolls, declared from its parameters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import nothing
from dtda_lib.runs.shifts import print_costs
from dtda_lib.study.banks import Trained
from dtda_lib.study.settings import Config

from .estimates import collect, unrolling_cost
from .laws import Laws, Removals, draw_halves, draw_removals

RECIPE = Recipe("sgd", lr=0.1, weight_decay=1e-3, batch_size=20, epochs=100, schedule="linear")
"""Our choice; the paper's is not known to us."""


@dataclass(frozen=True)
class Experiment:
    """UCI Concrete and a small smooth network, retrained without groups of points.

    Args:
        task: Training and query mixes.
        removals: Groups that are left out.
        full: Runs on all points, with their parameters.
        retrained: Runs on all points and without each group; the same seeds.
        unrolled: Unrolled shifts of predictions of the runs on all points; the same seeds.
        n_splits: Splits of the seeds into independent halves.
        n_groups: Random groups of each size.
    """

    task: Task
    removals: Removals
    full: RunBank
    retrained: RunBank
    unrolled: UnrolledBank
    n_splits: int
    n_groups: int

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Groups and runs as `cfg` says; nothing trains."""
        task = get_task("concrete", n_train=cfg.n_train, n_query=cfg.n_query)
        model = get_model("mlp", widths=(8, 10, 10, 1), activation="gelu")
        removals = draw_removals(
            task, cfg.percents, cfg.n_groups, cfg.n_leverage, np.random.default_rng(5)
        )
        seeds = seed_pairs(cfg.n_seeds)
        machine = {"device": cfg.device, "workers": cfg.workers}
        trained = Trained(task=task, model=model, recipe=RECIPE, machine=machine)
        measures = ["query_prediction", "query_loss"]
        everything = paired(nothing(task.n_train), seeds)
        without = paired(removals.design(task.n_train), seeds)
        return cls(
            task,
            removals,
            full=trained.bank(everything, [*measures, "parameters"], "all points"),
            retrained=trained.bank(without, measures, "with and without"),
            unrolled=trained.unrolled(seeds, "query_prediction", "all points, unrolled"),
            n_splits=cfg.n_splits,
            n_groups=cfg.n_groups,
        )

    @property
    def banks(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        return [self.full, self.retrained, self.unrolled]

    @property
    def setting(self) -> str:
        """Data, model and sizes in words, as claims state them."""
        n_seeds = len(self.unrolled.runs)
        return (
            f"UCI Concrete, {self.task.n_train} training points, MLP 8-10-10-1, SGD; {n_seeds} "
            f"seeds, {self.n_groups} random groups per size"
        )

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes."""
        print_costs(self.banks)

    def print_about(self) -> None:
        """Print the task, the length of training and the damping that follows from it."""
        print(self.task.describe())
        damping = damping_by_training_time(RECIPE, self.task.n_train)
        steps, decay = RECIPE.steps(self.task.n_train), RECIPE.weight_decay
        print(f"{steps} steps, weight decay {decay:g}, damping {damping:.3f}")

    def laws(self) -> tuple[Laws, xr.Dataset]:
        """`estimates.collect` of all banks; trains what is missing."""
        return collect(self.full, self.retrained, self.unrolled, self.removals)

    def halves(self, laws: Laws, generator: np.random.Generator) -> np.ndarray:
        """`laws.draw_halves` of the seeds."""
        return draw_halves(laws.n_blocks, self.n_splits, generator)

    def removal_table(self) -> pd.DataFrame:
        """How wrong trained models are, by set of removals; the first row leaves nothing out.

        Index `set`, columns `removals`, `points_each` and `error`, the mean squared error of a
        prediction in squared standard deviations of the target (1: predicting the mean).
        """
        loss = self.retrained.dataset()["query_loss"].mean(["seed", "checkpoint", "query"])
        error = 2 * loss.values[1:]  # the loss is half of the squared error
        sets = self.removals.table.assign(error=error).groupby("set", sort=False)
        table = sets.agg(
            removals=("points", "size"), points_each=("points", "first"), error=("error", "mean")
        )
        everything = {"removals": 0, "points_each": 0}
        everything["error"] = 2 * float(self.full.dataset()["query_loss"].mean())
        return pd.concat([pd.DataFrame(everything, index=["nothing"]).rename_axis("set"), table])

    def unrolling_cost(self) -> dict[str, float]:
        """`estimates.unrolling_cost` of this task, network and recipe."""
        return unrolling_cost(self.task, self.full.model, RECIPE)


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis."""
    experiment = Experiment.of(cfg)
    return {
        "banks": [bank.key for bank in experiment.banks],
        "sets": experiment.removals.table.to_dict("list"),
        "n_splits": experiment.n_splits,
    }
