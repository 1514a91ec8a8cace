"""Pruning one training set, from its scores to lists and outcomes; digits and CIFAR-10 alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import nothing
from dtda_lib.study.methods import METHODS

from .mean_query import mean_over_queries, mean_query_shifts
from .strategies import (
    NONE,
    OTHER,
    RANDOM,
    SAME,
    PruningScores,
    only_queries,
    query_correct,
    removal_lists,
    retraining_runs,
    strategy_names,
)


@dataclass(frozen=True)
class Pruning:
    """What is trained, on which labels, and with which seeds.

    Args:
        title: How progress lines and figures call it.
        task: Training points as they are labelled, all queries.
        wrong: Positions of planted wrong labels; None: none were planted.
        steers: Which queries steer `(query,)`; the others judge.
        model, recipe: What is trained, and how.
        n_seeds: Evaluation seeds, and as many scoring seeds besides.
        percent: Share of the training points that is removed.
        stack: Runs that train together.
        machine: Device and workers.
        also: Further estimators to score with, of `strategies.ALSO`; they compare points with
            queries one by one, which is for small data.
    """

    title: str
    task: Task
    wrong: np.ndarray | None
    steers: np.ndarray
    model: Model
    recipe: Recipe
    n_seeds: int
    percent: int
    stack: int
    machine: Mapping[str, object]
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a share of no point."""
        if self.n_removed < 1:
            raise ValueError(
                f"{self.percent} % of {self.task.n_train} training points is none; take more."
            )

    @cached_property
    def scoring(self) -> RunBank:
        """Full-data models of both sets of seeds: their validation losses, and scores."""
        measures = [mean_query_shifts(self.recipe), "query_loss"]
        chosen = {name: get_estimator(METHODS[name].estimator, self.recipe) for name in self.also}
        measures += [mean_over_queries(measure, name) for name, measure in chosen.items()]
        seeds = [*self.evaluation_seeds, *seed_pairs(self.n_seeds, "scoring")]
        return RunBank(
            only_queries(self.task, self.steers),
            self.model,
            self.recipe,
            paired(nothing(self.task.n_train), seeds),
            measures,
            title=f"scores, {self.title}",
            # Two stacks at least, so that two workers have something to do.
            chunk=min(self.stack, self.n_seeds),
            **self.machine,
        )

    @property
    def evaluation_seeds(self) -> list[tuple[int, int]]:
        """Seeds that are retrained."""
        return seed_pairs(self.n_seeds)

    @property
    def n_removed(self) -> int:
        """Points that each strategy removes."""
        return round(self.task.n_train * self.percent / 100)

    def judging_cost(self, n_random: int) -> str:
        """One line: how many trainings `judge` adds, whose removals the scores have yet to name."""
        n_runs = self.n_seeds * len(strategy_names(n_random, self.wrong is not None))
        return (
            f"then pruned, {self.title}: {n_runs} trainings, each quicker than one of the "
            f"{len(self.scoring.runs)} above, which are scored, too"
        )

    def scores(self) -> dict[str, PruningScores]:
        """Scores by the evaluation seeds ("same") and by as many others ("other"); trains what is
        missing."""
        data = self.scoring.dataset().isel(removal=0, checkpoint=-1, drop=True)
        data = data.drop_vars(["init_seed", "order_seed"]).astype(np.float64)
        further = [data[f"mean_query_{name}"].expand_dims(estimator=[name]) for name in self.also]
        shift = xr.concat(
            [data["mean_query_shifts"], *further], "estimator", combine_attrs="drop"
        ).rename("shift")
        both = PruningScores(
            shift.transpose("seed", "estimator", "train"), data["query_loss"].mean("query")
        )
        return {
            SAME: both.seeds(0, self.n_seeds),
            OTHER: both.seeds(self.n_seeds, 2 * self.n_seeds),
        }

    def retraining(self, lists: Mapping[str, np.ndarray]) -> RunBank:
        """The runs that judge: loss and correctness of all queries after each removal."""
        return RunBank(
            self.task,
            self.model,
            self.recipe,
            retraining_runs(lists, self.evaluation_seeds, self.task.n_train),
            ["query_loss", query_correct],
            title=f"pruned, {self.title}",
            chunk=self.stack,
            **self.machine,
        )

    def judge(
        self, scores: Mapping[str, PruningScores], n_random: int, generator: np.random.Generator
    ) -> "Judged":
        """The lists of all strategies, and the bank that retrains without them."""
        lists = removal_lists(
            scores[SAME], scores[OTHER], self.n_removed, n_random, generator, self.wrong
        )
        return Judged(self, lists, self.retraining(lists))


@dataclass(frozen=True)
class Judged:
    """Lists `(seed, k)` by strategy, and their retrainings."""

    pruning: Pruning
    lists: dict[str, np.ndarray]
    bank: RunBank

    def outcomes(self) -> xr.DataArray:
        """`(metric, part, strategy, seed)`: accuracy and loss (nats), means over a part's queries.

        `part` is "validation" or "test". Random draws of one seed are averaged into "random".
        Trains what is missing.
        """
        data = self.bank.dataset().isel(seed=0, checkpoint=-1, drop=True)
        names, steers = list(self.lists), self.pruning.steers
        found = []
        for variable in ("query_correct", "query_loss"):
            values = data[variable].transpose("removal", "query").values.astype(np.float64)
            parts = [values[:, mask].mean(axis=1) for mask in (steers, ~steers)]
            # (part, run) -> (part, seed, strategy) -> (part, strategy, seed)
            found.append(np.stack(parts).reshape(2, -1, len(names)).transpose(0, 2, 1))
        coords = {
            "metric": ["accuracy", "loss"],
            "part": ["validation", "test"],
            "strategy": names,
        }
        whole = xr.DataArray(np.stack(found), coords, ("metric", "part", "strategy", "seed"))
        drawn = [name for name in names if name.startswith(f"{RANDOM}_")]
        mean = whole.sel(strategy=drawn).mean("strategy").expand_dims(strategy=[RANDOM], axis=2)
        kept = [name for name in names if name not in drawn]
        merged = xr.concat([whole.sel(strategy=kept), mean], "strategy")
        order = [NONE, RANDOM, *(name for name in kept if name != NONE)]
        return merged.sel(strategy=order)
