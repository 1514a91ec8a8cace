"""What notebook 03 trains, declared from its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from dtda_lib.data.crops import random_crops
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.crop_loss import crop_loss
from dtda_lib.runs.protocols import SeedPair, seed_pairs
from dtda_lib.runs.recipes import Recipe, get_recipe
from dtda_lib.runs.shifts import print_costs
from dtda_lib.study.settings import Config

from .banks import (
    common_points,
    crossed_seeds,
    estimated_scores,
    estimator_bank,
    removal_bank,
    removal_scores,
)
from .cifar10 import cifar10_here, pair_scores, removal_and_gradients
from .pretraining import DIGITS_VIT, digits_vit_lora

FITTED_VIT = "ViT+LoRA, rate ×10"
CIFAR10_PER_CLASS = 10


@dataclass(frozen=True)
class Experiment:
    """The same pairs of digits under every source of noise.

    Args:
        tasks: Training points per class -> task; training sets are nested.
        points: Ids of the training points that are left out, at every size and for every model.
        grids: Size -> numbers of initialisations and of batch orders that are crossed; first the
            size at which batches differ, then the control, where all points are one batch.
        crossed: Size -> leave-one-out bank of the published network on its grid.
        estimators: Bank of the estimators on the full-data models of the first grid.
        sizes: "20 per class" -> leave-one-out bank of the published network.
        models: Model -> leave-one-out bank at the size of the first grid.
        n_crops: Random crops of each query that the transformers are measured on.
        cifar10: "removal" and "gradients" -> bank; empty where CIFAR-10 is not asked for or absent.
        cifar10_points: As `points`, of CIFAR-10.
    """

    tasks: Mapping[int, Task]
    points: tuple[int, ...]
    grids: Mapping[int, tuple[int, int]]
    crossed: Mapping[int, RunBank]
    estimators: RunBank
    sizes: Mapping[str, RunBank]
    models: Mapping[str, RunBank]
    n_crops: int
    cifar10: Mapping[str, RunBank]
    cifar10_points: tuple[int, ...]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Sizes, models and seeds as `cfg` says; nothing trains."""
        main, control = cfg.crossed_size, cfg.control_size
        tasks = {
            size: get_task("mnist3", per_class=size, queries_per_class=cfg.queries_per_class)
            for size in sorted({*cfg.nested_sizes, main, control})
        }
        points = common_points(tasks, cfg.points_per_class)
        recipe = replace(get_recipe("published_adam"), keep_last=cfg.n_checkpoints)
        cnn = get_model("cnn2l")
        seeds = seed_pairs(cfg.n_seeds)
        grids = {main: (cfg.n_init, cfg.n_order), control: (3, 3)}
        shared = {"device": cfg.device, "workers": cfg.workers}

        def leave_one_out(size: int, seeds: list[SeedPair], what: str, **other: Any) -> RunBank:
            own = {"model": cnn, "recipe": recipe, "title": f"leave-one-out, {what}"} | other
            return removal_bank(tasks[size], ids=points, seeds=seeds, **own, **shared)

        crossed = {
            size: leave_one_out(
                size, crossed_seeds(*grid), f"{size} per class, {grid[0]} x {grid[1]} seeds"
            )
            for size, grid in grids.items()
        }
        estimators = estimator_bank(
            *(tasks[main], cnn, recipe, crossed_seeds(*grids[main])),
            title=f"estimators, {main} per class",
            **shared,
        )
        sizes = {
            f"{size} per class": leave_one_out(size, seeds, f"{size} per class")
            for size in sorted(cfg.nested_sizes)
        }
        models = {
            name: leave_one_out(main, seeds, f"{name}, {main} per class", **own)
            for name, own in compared_models(tasks[main], recipe, cfg.n_crops).items()
        }
        if main in cfg.nested_sizes:  # the same runs
            models["CNN2-L"] = sizes[f"{main} per class"]
        images = None
        if cfg.cifar_points:
            images = cifar10_here(CIFAR10_PER_CLASS, cfg.queries_per_class)
        cifar10, cifar10_points = {}, ()
        if images is not None:
            cifar10_points = common_points({CIFAR10_PER_CLASS: images}, cfg.cifar_points)
            longer = replace(get_recipe("published_adam"), epochs=30)
            cifar10 = removal_and_gradients(
                images, get_model("cnn2l_rgb"), longer, cifar10_points, seeds, **shared
            )
        return cls(
            *(tasks, points, grids, crossed, estimators, sizes, models),
            *(cfg.n_crops, cifar10, cifar10_points),
        )

    @property
    def main(self) -> int:
        """Training points per class at which batches differ and models are compared."""
        return next(iter(self.grids))

    @property
    def control(self) -> int:
        """Training points per class at which all points are one batch."""
        return list(self.grids)[-1]

    @property
    def digit_banks(self) -> list[RunBank]:
        """All banks on digits, each once, in the order in which they are trained."""
        removals = [*self.crossed.values(), *self.sizes.values(), *self.models.values()]
        return [*dict.fromkeys(removals), self.estimators]

    @property
    def banks(self) -> list[RunBank]:
        """All banks, each once, in the order in which they are trained."""
        return [*self.digit_banks, *self.cifar10.values()]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes."""
        print_costs(self.banks)

    def crossed_scores(self) -> dict[tuple[int, str], xr.DataArray]:
        """Scores by (size, method), as `tables.component_table` takes them; trains what is
        missing."""
        removals = {
            (size, "loo"): removal_scores(bank, self.points) for size, bank in self.crossed.items()
        }
        estimated = estimated_scores(self.estimators, self.points)
        return removals | {(self.main, name): scores for name, scores in estimated.items()}

    def removal_scores(self, banks: Mapping[str, RunBank]) -> dict[str, xr.DataArray]:
        """`banks.removal_scores` of each bank, such as `sizes` or `models`; trains what is
        missing."""
        return {name: removal_scores(bank, self.points) for name, bank in banks.items()}

    def cifar10_scores(self) -> dict[tuple[int, str], xr.DataArray]:
        """`cifar10.pair_scores`; trains what is missing."""
        return pair_scores(self.cifar10, self.cifar10_points)

    def crop_examples(self) -> tuple[list[int], Tensor]:
        """The first query of each class, and the crops `(crop, these, C, H, W)` of them that the
        transformers are measured on."""
        task = self.tasks[self.main]
        labels = task.query_y.tolist()
        first = [labels.index(label) for label in dict.fromkeys(labels)]
        generator = torch.Generator().manual_seed(0)  # as `crop_loss` draws its crops
        crops = random_crops(task.query_x, self.n_crops, DIGITS_VIT.image_size, generator=generator)
        return first, crops[:, first]


def compared_models(task: Task, recipe: Recipe, n_crops: int) -> dict[str, dict[str, Any]]:
    """Model -> `model`, and `recipe` and `measures` where they are not the common ones.

    Transformers are measured on `n_crops` random crops of each query of the task, too.
    """
    transformer = {
        "model": digits_vit_lora(),
        "measures": ["query_loss", crop_loss(task, n_crops, DIGITS_VIT.image_size)],
    }
    return {
        "MLP": {"model": get_model("mlp", widths=(784, 64, 10), activation="gelu")},
        "CNN2-L": {},
        "CNN3-L": {"model": get_model("cnn3l")},
        "ViT+LoRA": transformer,
        FITTED_VIT: transformer | {"recipe": replace(recipe, lr=0.01)},
    }


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and what is asked of CIFAR-10."""
    experiment = Experiment.of(cfg)
    return {"banks": [bank.key for bank in experiment.banks], "cifar10": cfg.cifar_points}
