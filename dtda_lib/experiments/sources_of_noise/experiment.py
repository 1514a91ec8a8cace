"""What notebook 03 trains, declared from its parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from dtda_lib.data.crops import random_crops
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.convnets import ScaledCNN2L
from dtda_lib.models.networks import Model, ModelFactory, get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.crop_loss import crop_loss
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe, get_recipe
from dtda_lib.runs.shifts import print_costs_by_kind
from dtda_lib.study.settings import Config

from .banks import (
    PILOT_STEPS,
    common_points,
    crossed_seeds,
    epochs_for_steps,
    epochs_to_loss,
    gradient_bank,
    gradient_scores,
    pilot_bank,
    removal_bank,
    removal_scores,
    training_loss,
)
from .cifar10 import cifar10_here, images_called
from .other_images import OtherImages
from .pretraining import DIGITS_VIT, digits_vit_lora

CONTROL_GRID = (3, 3)
GRADIENT_GRID = (10, 10)
"""At most so many initialisations and orders for gradient scores, which are less noisy."""


@dataclass(frozen=True)
class Experiment:
    """The same pairs of digits under every source of noise.

    Args:
        cfg: The parameters.
        tasks: Training points per class -> task; training sets are nested.
        points: Ids of the training points that are left out, for every size and model.
        crossed: Size -> leave-one-out bank of the published network with every initialisation of
            a grid in every order; first the size at which batches differ, then the control.
        gradients: The gradient scores of full-data models on a grid at the first of these sizes.
        grids: (size, method) -> initialisations and orders of the three.
        crossed_points: Ids of the points that are left out there.
        others: Name -> other images, on which the claims of notebook 01 are asked again.
    """

    cfg: Config
    tasks: Mapping[int, Task]
    points: tuple[int, ...]
    crossed: Mapping[int, RunBank]
    gradients: RunBank
    grids: Mapping[tuple[int, str], tuple[int, int]]
    crossed_points: tuple[int, ...]
    others: Mapping[str, OtherImages]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Sizes, models and seeds as `cfg` says; nothing trains."""
        main, control = cfg.crossed_size, cfg.control_size
        tasks = {
            size: get_task("mnist3", per_class=size, queries_per_class=cfg.queries_per_class)
            for size in sorted({*cfg.nested_sizes, main, control, cfg.model_size})
        }
        few = common_points(tasks, cfg.crossed_points)
        grid = cfg.n_init, cfg.n_order
        small = tuple(map(min, grid, GRADIENT_GRID))
        grids = {(main, "loo"): grid, (control, "loo"): CONTROL_GRID}
        shared = {"device": cfg.device, "workers": cfg.workers}
        published = get_model("cnn2l"), _recipe()
        crossed = {
            size: removal_bank(
                tasks[size],
                *published,
                few,
                crossed_seeds(*grids[size, "loo"]),
                title=f"leave-one-out, {size} per class, crossed seeds",
                **shared,
            )
            for size in (main, control)
        }
        gradients = gradient_bank(
            tasks[main],
            *published,
            crossed_seeds(*small),
            title=f"gradients, {main} per class, crossed seeds",
            **shared,
        )
        grids |= {(main, name): small for name in ("grad_dot", "grad_cos")}
        points = common_points(tasks, cfg.points_per_class)
        return cls(cfg, tasks, points, crossed, gradients, grids, few, _others(cfg, shared))

    # ------------------------------------------------------------ banks

    def _bank(
        self,
        size: int,
        what: str,
        model: Model,
        recipe: Recipe,
        measures: Sequence[str | Measure] = ("query_loss", training_loss),
    ) -> RunBank:
        return removal_bank(
            self.tasks[size],
            model,
            recipe,
            self.points,
            seed_pairs(self.cfg.n_seeds),
            measures=measures,
            title=f"leave-one-out, {what}, {size} per class",
            device=self.cfg.device,
            workers=self.cfg.workers,
        )

    @cached_property
    def equal_epochs(self) -> dict[str, RunBank]:
        """ "30 points" -> leave-one-out bank of the published network and recipe."""
        model = get_model("cnn2l")
        return self._sizes(lambda size: self._bank(size, "equal epochs", model, _recipe()))

    @cached_property
    def equal_steps(self) -> dict[str, RunBank]:
        """The same with as many epochs as come nearest to equal steps."""

        def bank(size: int) -> RunBank:
            epochs = epochs_for_steps(_recipe(), self.tasks[size].n_train, self.cfg.n_steps)
            recipe = replace(_recipe(), epochs=epochs)
            return self._bank(size, "equal steps", get_model("cnn2l"), recipe)

        return self._sizes(bank)

    @cached_property
    def equal_loss(self) -> dict[str, RunBank]:
        """The same with as many epochs as pilots take to an equal training loss; trains pilots."""
        return self._sizes(lambda size: self._to_loss(size, *_width(100)))

    @cached_property
    def family(self) -> dict[str, RunBank]:
        """ "width 1/4", ... and "depth 1", ... -> bank at an equal training loss; trains pilots."""
        every = {**dict(map(_width, self.cfg.widths)), **dict(map(_depth, self.cfg.depths))}
        return {
            name: self._to_loss(self.cfg.model_size, name, model) for name, model in every.items()
        }

    @cached_property
    def published(self) -> dict[str, RunBank]:
        """The published convolutional networks with the published recipe."""
        size = self.cfg.model_size
        names = {"CNN2-L": "cnn2l", "CNN3-L": "cnn3l"}
        return {name: self._bank(size, name, get_model(m), _recipe()) for name, m in names.items()}

    @cached_property
    def transformers(self) -> dict[str, RunBank]:
        """ "ViT+LoRA, rate x1", ... -> bank of the small transformer with the published recipe,
        measured on random crops of each query, too."""
        size = self.cfg.model_size
        crops = crop_loss(self.tasks[size], self.cfg.n_crops, DIGITS_VIT.image_size)
        return {
            name: self._bank(
                size,
                name,
                digits_vit_lora(),
                replace(_recipe(), lr=_recipe().lr * rate),
                ["query_loss", training_loss, crops],
            )
            for name, rate in ((f"ViT+LoRA, rate ×{rate}", rate) for rate in self.cfg.rates)
        }

    def _sizes(self, bank: Any) -> dict[str, RunBank]:
        return {
            f"{self.tasks[size].n_train} points": bank(size)
            for size in sorted(self.cfg.nested_sizes)
        }

    def _to_loss(self, size: int, what: str, model: Model) -> RunBank:
        target = self.cfg.loss_percent / 100
        task, shared = self.tasks[size], {"device": self.cfg.device, "workers": self.cfg.workers}
        epochs = epochs_to_loss(task, model, _recipe(), target, title=f"pilots, {what}", **shared)
        recipe = replace(_recipe(), epochs=epochs)
        return self._bank(size, f"{what}, loss {target:g}", model, recipe)

    # ------------------------------------------------------------ what it costs

    @property
    def main(self) -> int:
        """Training points per class where batches differ and seeds are crossed."""
        return next(iter(self.crossed))

    @property
    def control(self) -> int:
        """Training points per class at which all points are one batch."""
        return list(self.crossed)[-1]

    @property
    def kinds(self) -> dict[str, list[RunBank]]:
        """Kind of network -> all banks, each once, in the order in which they are trained; the
        first call trains the pilots."""
        arms = [*self.equal_epochs.values(), *self.equal_steps.values(), *self.equal_loss.values()]
        kinds = {"seeds and sizes": [*self.crossed.values(), *arms], "gradients": [self.gradients]}
        for banks in (self.family, self.published, self.transformers):
            kinds |= {name: [bank] for name, bank in banks.items()}
        kinds |= {name: other.banks for name, other in self.others.items()}
        seen: set[str] = set()
        for name, banks in kinds.items():
            kinds[name] = [bank for bank in banks if not (bank.key in seen or seen.add(bank.key))]
        return {name: banks for name, banks in kinds.items() if banks}

    @property
    def banks(self) -> list[RunBank]:
        """All banks, each once; the first call trains the pilots."""
        return [bank for banks in self.kinds.values() for bank in banks]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes; trains the pilots."""
        print_costs_by_kind(self.kinds)

    # ------------------------------------------------------------ what comes out

    def crossed_scores(self) -> dict[tuple[int, str], xr.DataArray]:
        """Scores by (size, method), as `tables.component_table` takes them; trains what is
        missing."""
        ids = self.crossed_points
        found = {(size, "loo"): removal_scores(bank, ids) for size, bank in self.crossed.items()}
        scores = gradient_scores(self.gradients, ids)
        found |= {(self.main, name): array for name, array in scores.items()}
        return {key: found[key] for key in sorted(found, key=lambda key: key[0] == self.control)}

    def removal_scores(self, banks: Mapping[str, RunBank]) -> dict[str, xr.DataArray]:
        """`banks.removal_scores` of each bank, such as `equal_loss`; trains what is missing."""
        return {name: removal_scores(bank, self.points) for name, bank in banks.items()}

    def crop_examples(self) -> tuple[list[int], Tensor]:
        """The first query of each class, and the crops `(crop, these, C, H, W)` of them that the
        transformers are measured on."""
        task = self.tasks[self.cfg.model_size]
        labels = task.query_y.tolist()
        first = [labels.index(label) for label in dict.fromkeys(labels)]
        generator = torch.Generator().manual_seed(0)  # as `crop_loss` draws its crops
        size = DIGITS_VIT.image_size
        crops = random_crops(task.query_x, self.cfg.n_crops, size, generator=generator)
        return first, crops[:, first]


def _recipe() -> Recipe:
    """The published recipe, measured after the last epoch."""
    return replace(get_recipe("published_adam"), keep_last=1)


def _width(percent: int) -> tuple[str, Model]:
    return f"width {percent / 100:g}", _scaled(percent / 100, 2)


def _depth(stages: int) -> tuple[str, Model]:
    return f"depth {stages}", _scaled(1.0, stages)


def _scaled(width: float, depth: int) -> Model:
    """All settings are given, so that the same network has the same key from both sides."""
    return ModelFactory(ScaledCNN2L, width=width, depth=depth)


def _others(cfg: Config, shared: Mapping[str, Any]) -> dict[str, OtherImages]:
    seeds = seed_pairs(cfg.n_seeds)
    found = {}
    if cfg.all_digits_points:
        digits = get_task(
            "mnist3", per_class=cfg.all_digits_size, queries_per_class=1, digits=range(10)
        )
        size = {cfg.all_digits_size: digits}
        model, recipe = get_model("cnn2l"), _recipe()
        found["all ten digits"] = OtherImages.of(
            "all ten digits",
            size,
            model,
            recipe,
            cfg.all_digits_points,
            seeds,
            analysed_per_class=10,
            **shared,
        )
    if cfg.cifar_points:
        tasks = {n: cifar10_here(n, cfg.queries_per_class) for n in sorted(cfg.cifar_sizes)}
        if None not in tasks.values():
            name = images_called(next(iter(tasks.values())))
            recipe = replace(_recipe(), epochs=30)
            found[name] = OtherImages.of(
                name, tasks, get_model("cnn2l_rgb"), recipe, cfg.cifar_points, seeds, **shared
            )
    return found


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, what decides when it stops, and what is
    asked of CIFAR-10."""
    experiment = Experiment.of(cfg)
    banks = [*experiment.crossed.values(), experiment.gradients]
    for part in (experiment.equal_epochs, experiment.equal_steps, experiment.published):
        banks += part.values()
    banks += experiment.transformers.values()
    networks = dict(map(_width, {*cfg.widths, 100})) | dict(map(_depth, cfg.depths))
    pilots = [
        pilot_bank(experiment.tasks[cfg.model_size], model, _recipe(), PILOT_STEPS)
        for _, model in sorted(networks.items())
    ]
    return {
        "banks": [bank.key for bank in [*banks, *pilots]],
        "loss": cfg.loss_percent,
        "others": {name: [b.key for b in other.banks] for name, other in experiment.others.items()},
        "cifar10": [cfg.cifar_points, *cfg.cifar_sizes],
        "all digits": [cfg.all_digits_points, cfg.all_digits_size],
    }
