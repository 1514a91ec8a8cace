"""What notebook 10 trains: models that generate, models that score, models that judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from dtda_lib.data.named import get_task
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.shifts import print_costs
from dtda_lib.study.settings import Config, StudyError

from .ensemble import LISTS, Ensemble, GeneratedSamples, Scored, losses_of, scores_of
from .retrained import removal_groups, spread_out

RUN_SIZES = (
    "samples_per_run",
    "n_seeds",
    "list_length",
    "n_splits",
    "n_judged",
    "n_random",
    "n_judging_seeds",
)
"""Parameters of what comes after the samples."""


@dataclass(frozen=True)
class Experiment:
    """A latent diffusion model of two digits, trained anew for each seed and each removal.

    Each set of models needs what the one before has made, so a bank is declared when it is first
    asked for; samples, scores and losses train what is missing.

    Args:
        ensemble: Data, code, network and recipe.
        generating: Models that generate the samples.
        sizes: `RUN_SIZES`.
        group_size: Images that are removed together.
    """

    ensemble: Ensemble
    generating: RunBank
    sizes: Mapping[str, int]
    group_size: int

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Digits 0 and 1 in 16 components, sizes and seeds as `cfg` says; nothing trains.

        Raises:
            StudyError: sizes that fail only together; see `refuse_impossible`.
        """
        digits = get_task(
            "mnist3",
            per_class=cfg.digits_per_class,
            queries_per_class=cfg.queries_per_class,
            digits=(0, 1),
        )
        refuse_impossible(
            digits.train_y.numpy(),
            n_seeds=cfg.n_seeds,
            list_length=cfg.list_length,
            removed_percent=cfg.removed_percent,
            n_random=cfg.n_random,
        )
        ensemble = Ensemble(
            digits,
            n_components=16,
            n_draws=cfg.n_draws,
            width=64,
            depth=3,
            recipe=Recipe("adam", lr=1e-2, batch_size=128, epochs=cfg.n_epochs, schedule="cosine"),
            machine={"device": cfg.device, "workers": cfg.workers},
        )
        return cls(
            ensemble,
            ensemble.generating(cfg.n_generators),
            {name: getattr(cfg, name) for name in RUN_SIZES},
            group_size(ensemble.n_images, cfg.removed_percent),
        )

    def print_cost(self) -> None:
        """Print what the generating models will take on this machine, and what follows them."""
        print_costs([self.generating], total_of="of the models that generate, the least part")
        sizes = self.sizes
        pools = 1 + len(self.ensemble.digits.train_y.unique())
        removals = len(LISTS) * sizes["n_judged"] + pools * sizes["n_random"]
        print(
            f"then {sizes['n_seeds']} of the same size that are scored, too, and "
            f"{sizes['n_judging_seeds'] * (1 + removals)} that judge"
        )

    @cached_property
    def samples(self) -> GeneratedSamples:
        """Generated images, in the order in which they were drawn, none left out."""
        return self.ensemble.generate(self.generating, self.sizes["samples_per_run"])

    @cached_property
    def scoring(self) -> RunBank:
        """Full-data models that score every image for every sample."""
        return self.ensemble.scoring(self.samples, self.sizes["n_seeds"])

    @cached_property
    def scored(self) -> Scored:
        """What the scoring models say."""
        return scores_of(self.scoring)

    @cached_property
    def judged(self) -> np.ndarray:
        """Positions of the samples whose lists are removed, evenly spaced."""
        return spread_out(len(self.samples.codes), self.sizes["n_judged"])

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """Name -> images that are removed together; see `retrained.removal_groups`."""
        return removal_groups(
            self.scored,
            self.ensemble.pixel_distances(self.samples.codes),
            self.ensemble.digits.train_y.numpy(),
            self.judged,
            self.group_size,
            self.sizes["n_random"],
            np.random.default_rng(21),
        )

    @cached_property
    def judging(self) -> RunBank:
        """Models that train again without each group."""
        return self.ensemble.judging(self.samples, self.groups, self.sizes["n_judging_seeds"])

    @cached_property
    def loss(self) -> xr.DataArray:
        """Loss of each sample without each group, `(seed, removal, sample)`."""
        return losses_of(self.judging)

    @property
    def banks(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        return [self.generating, self.scoring, self.judging]

    @property
    def setting(self) -> str:
        """What was trained, in words, for claims."""
        return (
            f"digits 0 and 1, {self.ensemble.n_images} training images of 14 x 14 pixels, denoiser "
            f"of {self.ensemble.network.layout.n_parameters:,} parameters, "
            f"{len(self.samples.codes)} samples"
        )


def group_size(n_images: int, percent: int) -> int:
    """Images of a group: `percent` % of all, rounded down."""
    return n_images * percent // 100


def refuse_impossible(
    labels: np.ndarray, *, n_seeds: int, list_length: int, removed_percent: int, n_random: int
) -> None:
    """Refuse, before anything trains, sizes that fail only together.

    Args:
        labels: Digit of each training image `(image,)`.
        n_seeds, list_length, removed_percent, n_random: Parameters of notebook 10.

    Raises:
        StudyError: in one sentence that says what to give instead.
    """
    n, fewest = len(labels), int(np.unique(labels, return_counts=True)[1].min())
    k = group_size(n, removed_percent)
    if n_seeds < 6 or n_seeds % 2:
        raise StudyError(f"n_seeds={n_seeds} does not make two halves of 3 or more: give 6, 8, ...")
    if list_length >= n:
        raise StudyError(f"list_length={list_length} names all {n} images: give 1 to {n - 1}.")
    if not 1 <= k <= fewest:
        raise StudyError(
            f"removed_percent={removed_percent} of {n} images is {k}, to be drawn from the "
            f"{fewest} of a digit: give a share that is 1 to {fewest} images."
        )
    if n_random < 2:
        raise StudyError(f"n_random={n_random} leaves no error over random groups: give 2 or more.")


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the settings of the analysis.

    What scores and what judges is asked about samples, which the generating models make: their
    banks have no keys before.
    """
    experiment = Experiment.of(cfg)
    sizes = {"group_size": experiment.group_size, **experiment.sizes}
    return {"generating": experiment.generating.key, "sizes": sizes}
