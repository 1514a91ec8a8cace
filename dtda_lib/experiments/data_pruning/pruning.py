"""Pruning one training set, from its scores to lists and outcomes; digits and CIFAR-10 alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe

from .strategies import (
    OTHER,
    SAME,
    Scores,
    outcomes,
    removal_lists,
    retraining_bank,
    scores_of,
    scoring_bank,
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
    scoring: RunBank = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Declare the full-data models of both sets of seeds."""
        if self.n_removed < 1:
            raise ValueError(
                f"{self.percent} % of {self.task.n_train} training points is none; take more."
            )
        bank = scoring_bank(
            self.task,
            self.model,
            self.recipe,
            [*self.evaluation_seeds, *seed_pairs(self.n_seeds, "scoring")],
            self.steers,
            also=self.also,
            title=f"scores, {self.title}",
            # Two stacks at least, so that two workers have something to do.
            chunk=min(self.stack, self.n_seeds),
            **self.machine,
        )
        object.__setattr__(self, "scoring", bank)

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

    def scores(self) -> dict[str, Scores]:
        """Scores by the evaluation seeds ("same") and by as many others ("other")."""
        both, n = scores_of(self.scoring), self.n_seeds
        return {SAME: both.seeds(0, n), OTHER: both.seeds(n, 2 * n)}

    def judge(
        self, scores: Mapping[str, Scores], n_random: int, generator: np.random.Generator
    ) -> "Judged":
        """The lists of all strategies, and the bank that retrains without them."""
        lists = removal_lists(
            scores[SAME], scores[OTHER], self.n_removed, n_random, generator, self.wrong
        )
        bank = retraining_bank(
            self.task,
            self.model,
            self.recipe,
            lists,
            self.evaluation_seeds,
            title=f"pruned, {self.title}",
            chunk=self.stack,
            **self.machine,
        )
        return Judged(self, lists, bank)


@dataclass(frozen=True)
class Judged:
    """Lists `(seed, k)` by strategy, and their retrainings."""

    pruning: Pruning
    lists: dict[str, np.ndarray]
    bank: RunBank

    def outcomes(self) -> xr.DataArray:
        """See `strategies.outcomes`; trains what is missing."""
        return outcomes(self.bank, self.lists, self.pruning.steers)
