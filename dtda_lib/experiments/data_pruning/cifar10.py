"""Data pruning on CIFAR-10 where the reader has its images: all that the notebook runs there."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from IPython.display import display

from dtda_lib.data.task import Task
from dtda_lib.experiments.sources_of_noise.cifar10 import images_called
from dtda_lib.models.networks import Model
from dtda_lib.runs.recipes import Recipe
from dtda_lib.study.claims import Claim
from dtda_lib.study.figures import Exporter

from . import plots
from .claims import pruning_claims
from .pruning import Judged, Pruning
from .strategies import steering_queries
from .tables import accuracy_table, difference_table, gain_table

CASE = "cifar10"


def pruning_of(
    task: Task,
    model: Model,
    *,
    n_seeds: int,
    epochs: int,
    validation_per_class: int,
    percent: int,
    machine: Mapping[str, object],
) -> Pruning:
    """CIFAR-10 as it is labelled (`sources_of_noise.cifar10.cifar10_here`), and how it is trained.

    Arguments as those of `Pruning`; only scores that need no comparison of points with queries one
    by one, because there may be 50,000 points.
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
    return Pruning("CIFAR-10", task, None, steers, model, recipe, n_seeds, percent, stack, machine)


@dataclass(frozen=True)
class Results:
    """Tables of `data_pruning.tables`, and claims about them."""

    levels: pd.DataFrame
    differences: pd.DataFrame
    gains: pd.DataFrame
    claims: list[Claim]


def show_results(found: Results, judged: Judged, export: Exporter) -> None:
    """Display the tables, and export and display the figures."""
    pruning, images = judged.pruning, images_called(judged.pruning.task)
    print(pruning.task.describe())
    display(found.levels.round(4), found.differences.round(4))
    for name, (fig, drawn) in {
        "cifar10": plots.gains({images: found.gains}),
        "cifar10_differences": plots.differences({images: found.differences}),
    }.items():
        caption = export(
            fig,
            name,
            data=drawn,
            caption=f"{images}, Swin transformer: differences in test accuracy, mean over "
            f"{pruning.n_seeds} paired evaluation seeds. Bars: 95 % t intervals over evaluation "
            f"seeds. Each removes {pruning.n_removed} of {pruning.task.n_train} points.",
            claims=[claim.id for claim in found.claims],
            rtol=9e-3,
            atol=0.05,
        )
        display(caption)


def cifar10_results(judged: Judged, network: str) -> Results:
    """What came of it; trains what is missing. `network`: what was trained, in words."""
    task, found = judged.pruning.task, judged.outcomes()
    differences = difference_table(found, np.random.default_rng(14))
    epochs = judged.pruning.recipe.epochs
    setting = f"{images_called(task)}, {task.n_train} training points, {network}, {epochs} epochs"
    return Results(
        accuracy_table(found),
        differences,
        gain_table(found, np.random.default_rng(15)),
        pruning_claims(differences, CASE, "labels as given", setting),
    )
