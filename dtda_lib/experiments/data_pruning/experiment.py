"""What notebook 09 prunes: digits with some labels wrong, the same with right ones, CIFAR-10."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.experiments.sources_of_noise.cifar10 import cifar10_here
from dtda_lib.models.networks import Network
from dtda_lib.models.vision_transformer import VitConfig
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.shifts import print_costs
from dtda_lib.study.settings import Config

from . import cifar10
from .pruning import Judged, Pruning
from .small_transformers import small_swin, small_vit
from .strategies import ALSO, NONE, PruningScores, steering_queries, with_label_noise

WRONG, RIGHT = "some labels wrong", "right labels"
STACK = 48  # digit runs that train together


@dataclass(frozen=True)
class Experiment:
    """The same digits pruned twice, with planted wrong labels and without; CIFAR-10 where it is.

    Args:
        prunings: `WRONG` and `RIGHT` -> the digits so labelled.
        cifar10: CIFAR-10 as it is labelled; None: not asked for, or its images are not here.
        n_random: Random removals per evaluation seed.
    """

    prunings: Mapping[str, Pruning]
    cifar10: Pruning | None
    n_random: int

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """A small vision transformer on ten digits, sizes and seeds as `cfg` says; nothing trains.

        Raises:
            ValueError: no query is left to judge, or no point to remove.
        """
        digits = get_task(
            "mnist3",
            per_class=cfg.digits_per_class,
            queries_per_class=cfg.queries_per_class,
            digits=range(10),
        )
        noisy, wrong = with_label_noise(digits, cfg.removed_percent, np.random.default_rng(9))
        machine = {"device": cfg.device, "workers": cfg.workers}
        prunings = {
            title: Pruning(
                title=title,
                task=task,
                wrong=planted,
                steers=steering_queries(digits, cfg.validation_per_class),
                model=small_vit(VitConfig(28, 14, layers=2, heads=2, width=16, mlp_width=32)),
                recipe=Recipe(
                    "adam",
                    lr=3e-3,
                    weight_decay=1e-3,
                    batch_size=20,
                    epochs=30,
                    schedule="cosine",
                ),
                n_seeds=cfg.n_seeds,
                percent=cfg.removed_percent,
                stack=STACK,
                machine=machine,
                also=ALSO,
            )
            for title, task, planted in ((WRONG, noisy, wrong), (RIGHT, digits, None))
        }
        given, images = None, None
        if cfg.cifar_per_class:
            images = cifar10_here(cfg.cifar_per_class, cfg.queries_per_class)
        if images is not None:
            given = cifar10.pruning_of(
                images,
                small_swin(),
                n_seeds=cfg.n_cifar_seeds,
                epochs=cfg.cifar_epochs,
                validation_per_class=cfg.validation_per_class,
                percent=cfg.removed_percent,
                machine=machine,
            )
        return cls(prunings, given, cfg.n_random)

    @property
    def digits(self) -> Task:
        """The digits with right labels."""
        return self.prunings[RIGHT].task

    @property
    def wrong(self) -> np.ndarray:
        """Positions of the digits that are given a wrong label."""
        return self.prunings[WRONG].wrong

    @property
    def n_removed(self) -> int:
        """Digits that each strategy removes."""
        return self.prunings[RIGHT].n_removed

    @property
    def n_parameters(self) -> int:
        """Of the network on digits."""
        return Network.of(self.prunings[RIGHT].model).layout.n_parameters

    @property
    def setting(self) -> str:
        """What was trained, in words, for claims."""
        return (
            f"MNIST digits, {self.digits.n_train} training points, ViT of {self.n_parameters:,} "
            f"parameters, {self.prunings[RIGHT].percent} % removed"
        )

    @property
    def banks(self) -> list[RunBank]:
        """Banks of the models that score."""
        return [one.scoring for one in self._all]

    @property
    def _all(self) -> list[Pruning]:
        return [*self.prunings.values(), *([self.cifar10] if self.cifar10 else [])]

    def describe(self) -> str:
        """Data, network and split in a few lines."""
        digits, steers = self.digits, self.prunings[RIGHT].steers
        steps = self.prunings[RIGHT].recipe.steps(digits.n_train)
        return (
            f"{digits.describe()}\nViT with {self.n_parameters:,} parameters, {steps} steps\n"
            f"{steers.sum()} validation points, {(~steers).sum()} test points\n"
            f"{len(self.wrong)} wrong labels; each strategy removes {self.n_removed} points"
        )

    def print_cost(self) -> None:
        """Print what scoring will take on this machine, and how many trainings follow it."""
        # Trainings on right labels cost what those on wrong ones do, and a probe takes its time.
        probed = [one.scoring for one in self._all if one.title != RIGHT]
        print_costs(probed, total_of="of these scores alone")
        print(f"scores, {RIGHT}: as many trainings again")
        for one in self._all:
            print(one.judging_cost(self.n_random))

    def scores(self) -> dict[str, dict[str, PruningScores]]:
        """Labels -> whose -> scores; trains what is missing."""
        return {title: one.scores() for title, one in self.prunings.items()}

    def judge(self, scores: Mapping[str, Mapping[str, PruningScores]]) -> dict[str, Judged]:
        """Labels -> the lists of all strategies, and the bank that retrains without them."""
        generator = np.random.default_rng(10)
        return {
            title: one.judge(scores[title], self.n_random, generator)
            for title, one in self.prunings.items()
        }

    def judge_cifar10(self) -> Judged:
        """The same for CIFAR-10, scored before; prints what is left to train.

        Raises:
            ValueError: there is no CIFAR-10.
        """
        if self.cifar10 is None:
            raise ValueError("CIFAR-10 was not asked for, or its images are not here.")
        generator = np.random.default_rng(13)
        judged = self.cifar10.judge(self.cifar10.scores(), self.n_random, generator)
        print_costs([judged.bank], total_of="of what is left on CIFAR-10")
        return judged


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis.

    Which points the judging runs remove is known when the scores are; their bank without any
    removal stands for the rest of them.
    """
    experiment = Experiment.of(cfg)
    one = experiment.prunings[WRONG]
    everything = {NONE: np.empty((cfg.n_seeds, 0), dtype=int)}
    return {
        "scoring": [pruning.scoring.key for pruning in experiment.prunings.values()],
        "judging, all points": one.retraining(everything).key,
        "n_removed": experiment.n_removed,
        "n_random": experiment.n_random,
        "cifar10": {
            "per_class": cfg.cifar_per_class,
            "n_seeds": cfg.n_cifar_seeds,
            "epochs": cfg.cifar_epochs,
        },
    }
