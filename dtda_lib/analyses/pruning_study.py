"""One pruning experiment from its task to its lists and outcomes, for digits and CIFAR-10 alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from ..bank import RunBank
from ..models import Model
from ..protocols import seed_pairs
from ..recipes import Recipe
from ..task import Task
from .pruning import (
    OTHER,
    SAME,
    Scores,
    outcomes,
    removal_lists,
    retraining_bank,
    scores_of,
    scoring_bank,
)


@dataclass(frozen=True)
class Experiment:
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
    scoring: dict[str, RunBank] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Declare the full-data models of both sets of seeds."""
        if self.n_removed < 1:
            raise ValueError(
                f"{self.percent} % of {self.task.n_train} training points is none; take more."
            )
        # Two stacks per bank, so that two workers have something to do.
        stack = min(self.stack, -(-self.n_seeds // 2))
        seeds = {SAME: self.evaluation_seeds, OTHER: seed_pairs(self.n_seeds, "scoring")}
        words = {SAME: "evaluation seeds", OTHER: "other seeds"}
        banks = {
            whose: scoring_bank(
                self.task,
                self.model,
                self.recipe,
                pairs,
                self.steers,
                title=f"scores, {self.title}, {words[whose]}",
                chunk=stack,
                **self.machine,
            )
            for whose, pairs in seeds.items()
        }
        object.__setattr__(self, "scoring", banks)

    @property
    def evaluation_seeds(self) -> list[tuple[int, int]]:
        """Seeds that are retrained."""
        return seed_pairs(self.n_seeds)

    @property
    def n_removed(self) -> int:
        """Points that each strategy removes."""
        return round(self.task.n_train * self.percent / 100)

    def scores(self) -> dict[str, Scores]:
        """Scores by the evaluation seeds ("same") and by as many others ("other")."""
        return {whose: scores_of(bank) for whose, bank in self.scoring.items()}

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

    experiment: Experiment
    lists: dict[str, np.ndarray]
    bank: RunBank

    def outcomes(self) -> xr.DataArray:
        """See `pruning.outcomes`; trains what is missing."""
        return outcomes(self.bank, self.lists, self.experiment.steers)
