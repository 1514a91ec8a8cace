"""What notebook 11 trains: the questions that a user would ask of a table and of images."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import dtda_lib as dt
from dtda_lib.data.task import Task
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.shifts import print_costs
from dtda_lib.study.settings import Config

from . import examples
from .methods import FALSE_DISCOVERIES

TABLE_RECIPE = {"lr": 0.05, "weight_decay": 1e-3, "batch_size": 20, "epochs": 60}
IMAGE_RECIPE = {"lr": 5e-3, "weight_decay": 1e-3, "batch_size": 12, "epochs": 20, "keep_last": 3}


@dataclass(frozen=True)
class Experiment:
    """A table of patients whose every point is left out, and images that are screened first.

    Args:
        task: The table.
        pictures: The images.
        on_table, on_images: Task, model, recipe and machine, as `retraining_bank` takes them.
        pilot: Leave-one-out on a few seeds of their own.
        study: Leave-one-out on as many seeds as a user would train: what is planned.
        law: Leave-one-out on several such sets of seeds, to judge one by the others.
        screened: Estimator -> what it says on full-data models of the table.
        image_screen: The same for the images, by influence functions.
        q: Share of false discoveries that is allowed.
        n_first: Points of the table that a screening may pick: a fifth.
        picking: Images to pick: `n_top` and `n_random`, as `screen` takes them.
        confirming: Seeds on which the picked images are left out, as `retraining_bank` takes them.
    """

    task: Task
    pictures: Task
    on_table: Mapping[str, Any]
    on_images: Mapping[str, Any]
    pilot: RunBank
    study: RunBank
    law: RunBank
    screened: Mapping[str, RunBank]
    image_screen: RunBank
    q: float
    n_first: int
    picking: Mapping[str, int]
    confirming: Mapping[str, Any]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Sizes, seeds and the reader's folder as `cfg` says; nothing trains."""
        machine = {"device": cfg.device, "workers": cfg.workers}
        task = examples.diabetes(cfg.n_points, cfg.n_query)
        pictures = examples.images(cfg.folder, cfg.images_per_class, cfg.queries_per_class)
        digits = len(pictures.classes) == len(examples.DIGITS)
        network = partial(examples.ImageNet, classes=len(pictures.classes))
        on_table = {
            "task": task,
            "model": examples.TableNet,
            "recipe": dt.Recipe("sgd", schedule="linear", **TABLE_RECIPE),
            **machine,
        }
        on_images = {
            "task": pictures,
            "model": examples.ImageNet if digits else network,
            "recipe": dt.Recipe("adam", **IMAGE_RECIPE),
            **machine,
        }
        return cls(
            task=task,
            pictures=pictures,
            on_table=on_table,
            on_images=on_images,
            pilot=dt.retraining_bank(**on_table, n_seeds=cfg.n_pilot, stream="pilot"),
            study=dt.retraining_bank(**on_table, n_seeds=cfg.n_seeds),
            law=dt.retraining_bank(**on_table, n_seeds=cfg.n_seeds * cfg.n_sets),
            screened={
                "if_ggn": dt.estimator_bank(**on_table, n_seeds=cfg.n_screen),
                "grad_dot": dt.estimator_bank(
                    **on_table, n_seeds=cfg.n_screen, estimator="gradient_similarity"
                ),
            },
            image_screen=dt.estimator_bank(**on_images, n_seeds=cfg.n_screen),
            q=FALSE_DISCOVERIES,
            n_first=cfg.n_points // 5,
            picking={"n_top": cfg.n_top, "n_random": cfg.n_random},
            confirming={"n_seeds": cfg.n_image_seeds, "stream": "confirm"},
        )

    @property
    def banks(self) -> list[RunBank]:
        """All banks that are known before the images are screened, in the order of training."""
        return [self.pilot, self.law, *self.screened.values(), self.image_screen]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes."""
        print_costs(self.banks)
        picked = sum(self.picking.values())
        print(f"and {(1 + picked) * self.confirming['n_seeds']} trainings on picked images")


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis."""
    experiment = Experiment.of(cfg)
    return {
        "banks": [bank.key for bank in [*experiment.banks, experiment.study]],
        "q": experiment.q,
        "n_first": experiment.n_first,
        "picking": experiment.picking,
        "confirming": experiment.confirming,
        "n_studies": cfg.n_studies,
    }
