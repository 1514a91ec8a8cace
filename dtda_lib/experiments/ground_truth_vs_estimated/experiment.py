"""What notebook 02 trains, declared from its parameters, and the scores that it compares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.influence import lissa_gain, lissa_steps
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.experiments.noise_vs_influence.tables import late_mean, share_table
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.leave_one_out import leave_one_out_banks, shifts_of
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import get_recipe
from dtda_lib.runs.removal import down_weighted, leave_one_out, nothing
from dtda_lib.runs.shifts import print_costs, shift_per_fraction, shift_upon_removal
from dtda_lib.statistics.agreement_intervals import pairwise_table
from dtda_lib.study.banks import Trained
from dtda_lib.study.settings import Config

from .tables import Scores, aligned, by_fraction, estimator_scores, locality_table

ESTIMATORS = ("gradient_similarity", "additional_step", "influence_lissa", "influence_ggn")
TAKEN_BY_01 = ("grad_dot", "grad_cos")
"""Estimators whose noise notebook 01 judges (claim B10)."""


@dataclass(frozen=True)
class Experiment:
    """Digits at one or several sizes: leave-one-out, estimators, protocols and down-weighting.

    Args:
        tasks: Size (training points per class) -> task.
        removals: Size -> leave-one-out bank, `paired_scratch`.
        estimators: Size -> bank of the full-data models of the same seeds, with all estimators.
        protocols: Other protocol -> its banks, for `points` of the smallest size.
        weights: Bank of down-weighting, for the points `weighed` of the smallest size.
        points, weighed: Training positions.
        fractions: Of a point's weight that are taken away, ascending.
        analysis: `n_boot` resamples of the seeds, and `protocol_checkpoints`, the late checkpoints
            that the comparison of protocols averages.
    """

    tasks: Mapping[int, Task]
    removals: Mapping[int, RunBank]
    estimators: Mapping[int, RunBank]
    protocols: Mapping[str, Sequence[RunBank]]
    weights: RunBank
    points: Sequence[int]
    weighed: Sequence[int]
    fractions: Sequence[float]
    analysis: Mapping[str, int]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """The published CNN2-L on digits 0 to 2, sizes and seeds as `cfg` says; nothing trains."""
        tasks = {
            size: get_task("mnist3", per_class=size, queries_per_class=cfg.queries_per_class)
            for size in cfg.sizes
        }
        model = get_model("cnn2l")
        recipe = replace(get_recipe("published_adam"), keep_last=cfg.n_checkpoints)
        seeds = seed_pairs(cfg.n_seeds)
        machine = {"device": cfg.device, "workers": cfg.workers}

        trained = {
            size: Trained(task=task, model=model, recipe=recipe, machine=machine)
            for size, task in tasks.items()
        }
        estimated = [get_estimator(name, recipe) for name in ESTIMATORS]
        removals, estimators = (
            {
                size: one.bank(
                    paired(design(one.task.n_train), seeds), measures, f"{kind}, {size} per class"
                )
                for size, one in trained.items()
            }
            for kind, design, measures in (
                ("leave-one-out", leave_one_out, ["query_loss"]),
                ("estimators", nothing, estimated),
            )
        )
        small = tasks[min(tasks)]
        points = small.first_of_each_class(cfg.protocol_points)
        late = replace(recipe, keep_last=cfg.protocol_checkpoints)
        protocols = {
            protocol: leave_one_out_banks(
                small, model, late, seeds, protocol, points=points, **machine
            )
            for protocol in ("unpaired_scratch", "continued")
        }
        weighed = small.first_of_each_class(cfg.locality_points)
        fractions = [percent / 100 for percent in sorted(cfg.percents)]
        weights = trained[min(tasks)].bank(
            paired(down_weighted(small.n_train, weighed, fractions), seeds),
            ["query_loss"],
            f"down-weighting, {min(tasks)} per class",
        )
        analysis = {"n_boot": cfg.n_boot, "protocol_checkpoints": cfg.protocol_checkpoints}
        return cls(
            *(tasks, removals, estimators, protocols, weights),
            *(points, weighed, fractions, analysis),
        )

    @property
    def small(self) -> int:
        """The smallest size, at which protocols and down-weighting are compared."""
        return min(self.tasks)

    @property
    def largest(self) -> int:
        """The largest size, which figures show."""
        return max(self.tasks)

    @property
    def banks(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        others = [bank for group in self.protocols.values() for bank in group]
        return [*self.removals.values(), *self.estimators.values(), *others, self.weights]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes."""
        print_costs(self.banks)

    def shift(self, size: int) -> xr.DataArray:
        """Shift of the query loss upon removal, `(seed, checkpoint, train, query)`; trains."""
        return shift_upon_removal(self.removals[size].dataset()["query_loss"])

    def estimates(self) -> dict[int, dict[str, xr.DataArray]]:
        """Size -> estimator -> scores `(seed, checkpoint, train, query)`; trains."""
        return {size: estimator_scores(bank) for size, bank in self.estimators.items()}

    def scores(self, estimates: Mapping[int, Scores]) -> dict[int, dict[str, xr.DataArray]]:
        """Size -> "loo" and every estimator -> `(seed, train, query)`, mean of late checkpoints."""
        return {
            size: aligned(
                {
                    "loo": late_mean(self.shift(size)),
                    **{name: late_mean(array) for name, array in estimates[size].items()},
                },
                range(task.n_train),
            )
            for size, task in self.tasks.items()
        }

    def every_pair(self, scores: Mapping[int, Scores]) -> pd.DataFrame:
        """`pairwise_table` of all methods at the largest size, by values and by ranks."""
        return pairwise_table(
            scores[self.largest],
            kinds=["pearson", "spearman"],
            n_boot=self.analysis["n_boot"],
            n_splits=4,
            generator=np.random.default_rng(1),
        )

    def drowned(
        self, estimates: Mapping[int, Scores], generator: np.random.Generator
    ) -> pd.DataFrame:
        """`share_table` of notebook 01 for the estimators that it leaves to this one."""
        scores = {
            (size, method): array
            for size, by_method in estimates.items()
            for method, array in by_method.items()
            if method not in TAKEN_BY_01
        }
        return share_table(scores, n_flips=40, generator=generator)

    def protocol_scores(
        self, estimates: Mapping[int, Scores]
    ) -> tuple[dict[str, xr.DataArray], dict[str, xr.DataArray]]:
        """Shifts by protocol and estimates, `(seed, train, query)` of the same points and seeds.

        "continued less control" is going on from the trained model minus going on with nothing
        left out. Trains what is missing.
        """
        n_late = self.analysis["protocol_checkpoints"]
        unpaired, continued = (
            shifts_of(self.protocols[name]) for name in ("unpaired_scratch", "continued")
        )
        shifts = {
            "paired_scratch": late_mean(self.shift(self.small), n_late),
            "unpaired_scratch": late_mean(unpaired["shift"]),
            "continued": late_mean(continued["shift"]),
            "continued less control": late_mean(continued["shift"] - continued["control"]),
        }
        late = {name: late_mean(array, n_late) for name, array in estimates[self.small].items()}
        return aligned(shifts, self.points), aligned(late, self.points)

    @property
    def lissa_gain(self) -> float:
        """c_T of the smallest size: what the published score is of grad-dot without curvature."""
        return lissa_gain(lissa_steps(self.tasks[self.small].n_train))

    def locality(self, scores: Scores, generator: np.random.Generator) -> pd.DataFrame:
        """`tables.locality_table` of the down-weighted points; trains what is missing.

        Args:
            scores: Of the smallest size, as `scores` gives them.
            generator: For random halves of the seeds.
        """
        losses = self.weights.dataset()["query_loss"]
        parts = shift_per_fraction(losses, self.weighed, self.fractions)
        whole = self.shift(self.small).sel(train=self.weighed).expand_dims(fraction=[1.0])
        estimates = {name: array for name, array in scores.items() if name != "loo"}
        return locality_table(
            by_fraction(parts, whole), aligned(estimates, self.weighed), generator=generator
        )


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis."""
    experiment = Experiment.of(cfg)
    return {"banks": [bank.key for bank in experiment.banks], "analysis": experiment.analysis}
