"""Data pruning on CIFAR-10 where the reader has its images: all that the notebook runs there."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dtda_lib.data.task import Task
from dtda_lib.experiments.sources_of_noise.cifar10 import images_called
from dtda_lib.models.networks import Model
from dtda_lib.runs.recipes import Recipe
from dtda_lib.study.claims import Claim

from .claims import pruning_claims
from .experiment import Experiment, Judged
from .strategies import steering_queries
from .tables import difference_table, gain_table, level_table

CASE = "cifar10"


def experiment(
    task: Task,
    model: Model,
    *,
    n_seeds: int,
    epochs: int,
    validation_per_class: int,
    percent: int,
    machine: Mapping[str, object],
) -> Experiment:
    """The images of `other_images.cifar10_here` as they are labelled, and how they are trained on.

    Arguments as those of `pruning_study.Experiment`; only scores that need no comparison of points
    with queries one by one, because there may be 50,000 points.
    """
    recipe = Recipe(
        "adam",
        1e-3,
        weight_decay=1e-4,
        batch_size=min(128, task.n_train // 10),
        epochs=epochs,
        schedule="cosine",
    )
    steers = steering_queries(task, validation_per_class)
    stack = 1 if machine["device"] == "cpu" else 8
    return Experiment(
        "CIFAR-10", task, None, steers, model, recipe, n_seeds, percent, stack, machine
    )


@dataclass(frozen=True)
class Results:
    """Tables of `pruning_tables`, and claims about them."""

    levels: pd.DataFrame
    differences: pd.DataFrame
    gains: pd.DataFrame
    claims: list[Claim]


def results(judged: Judged, network: str) -> Results:
    """What came of it; trains what is missing. `network`: what was trained, in words."""
    task, found = judged.experiment.task, judged.outcomes()
    differences = difference_table(found, np.random.default_rng(14))
    epochs = judged.experiment.recipe.epochs
    setting = f"{images_called(task)}, {task.n_train} training points, {network}, {epochs} epochs"
    return Results(
        level_table(found),
        differences,
        gain_table(found, np.random.default_rng(15)),
        pruning_claims(differences, CASE, "labels as given", setting),
    )
