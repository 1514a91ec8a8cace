"""An ensemble of small diffusion models: its samples, its scores of images, its retrainings.

Three sets of runs, of disjoint seeds, share one training set. *Generating* runs make the samples;
*scoring* runs say what each image did to each sample's loss; *judging* runs train again without
groups of images. The measurement m is a sample's denoising loss (`denoising.sample_loss`), its law
is over seeds, and all shifts are upon removal: positive where an image helps, that is, where the
loss rises without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import SeedPair, paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import Design, nothing
from dtda_lib.study.banks import Trained

from . import denoising
from .grouped_ekfac import grouped_shifts

N_TIMES, N_NOISES = 25, 2  # of the rows that measure a sample
STACK = 32  # runs that train together
SCORED_STACK = 4  # the same for runs that are scored, which takes memory
NONE, RANDOM = "none", "random"
BY_MEAN, BY_VARIANCE, BY_PIXELS = "mean", "variance", "nearest"
LISTS = (BY_MEAN, BY_VARIANCE, BY_PIXELS)


@dataclass(frozen=True)
class GeneratedSamples:
    """Generated images: `codes` `(sample, component)`, the number of the generating run of each
    `run` `(sample,)`, and the digit of its nearest training image `digit` `(sample,)`."""

    codes: Tensor
    run: np.ndarray
    digit: np.ndarray


@dataclass(frozen=True)
class Scored:
    """Of the scoring runs, float64: `base`, m of each, `(seed, sample)`, and `shift`, its predicted
    shift upon removal of each image, `(seed, image, sample)`."""

    base: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class Ensemble:
    """What is trained.

    Args:
        digits: Training images; its query images make the code and never train.
        n_components: Length of a code.
        n_draws: Rows of each training image.
        width, depth: Of the network.
        recipe: How it trains; batches are of rows.
        machine: Device and workers.
    """

    digits: Task
    n_components: int
    n_draws: int
    width: int
    depth: int
    recipe: Recipe
    machine: Mapping[str, object]

    @cached_property
    def images(self) -> Tensor:
        """Training images `(image, 1, 14, 14)`."""
        return denoising.halved(self.digits.train_x)

    @cached_property
    def other_images(self) -> Tensor:
        """Images that never train, of the same digits."""
        return denoising.halved(self.digits.query_x)

    @cached_property
    def code(self) -> denoising.LinearCode:
        """The code, fitted to images that never train."""
        return denoising.LinearCode.of(self.other_images, self.n_components)

    @cached_property
    def rows(self) -> Tensor:
        """The bank of training rows `(image, draw, ...)`, drawn once for all runs."""
        generator = torch.Generator().manual_seed(10)
        return denoising.random_rows(self.code.encode(self.images), self.n_draws, generator)

    @cached_property
    def network(self) -> Network:
        """The network as a function of theta."""
        return Network.of(self._model)

    @property
    def _model(self) -> object:
        return denoising.denoiser(self.n_components, self.width, self.depth)

    @property
    def n_images(self) -> int:
        """Training images N."""
        return self.digits.n_train

    def describe(self) -> str:
        """Sizes in a few lines."""
        steps = self.recipe.steps(self.n_images * self.n_draws)
        return (
            f"code: {self.n_components} principal components of {len(self.other_images)} images of "
            f"14 x 14 pixels that never train, {self.code.explained:.3f} of their variance\n"
            f"denoiser: {self.network.layout.n_parameters:,} parameters; {steps} steps of "
            f"{self.recipe.batch_size} rows, {self.n_draws} rows for each of {self.n_images} images"
        )

    def _bank(
        self,
        title: str,
        queries: Tensor,
        design: Design,
        seeds: list[SeedPair],
        measures: list[object],
        chunk: int,
    ) -> RunBank:
        task = denoising.denoising_task(f"diffusion-{title}", self.rows, queries)
        trained = Trained(task=task, model=self._model, recipe=self.recipe, machine=self.machine)
        runs = paired(denoising.design_of_rows(design, self.n_draws), seeds)
        return trained.bank(runs, measures, title, chunk=chunk)

    def generating(self, n_runs: int) -> RunBank:
        """Models that will generate: their parameters."""
        seeds = seed_pairs(n_runs, "generating")
        # Two stacks at least, so that two workers have something to do.
        chunk = min(STACK, -(-n_runs // 2))
        full = nothing(self.n_images)
        return self._bank("generating", self.rows[:1], full, seeds, ["parameters"], chunk)

    def generate(self, bank: RunBank, per_run: int) -> GeneratedSamples:
        """`per_run` samples of each model of a `generating` bank; run r draws with seed r alone."""
        thetas = bank.dataset()["parameters"].isel(removal=0, checkpoint=-1).values
        codes = [
            denoising.generate(
                self.network,
                torch.from_numpy(theta.copy()),
                per_run,
                self.n_components,
                torch.Generator().manual_seed(run),
            )
            for run, theta in enumerate(thetas)
        ]
        found = torch.cat(codes)
        away = self.pixel_distances(found)
        return GeneratedSamples(
            found,
            np.repeat(np.arange(len(thetas)), per_run),
            self.digits.train_y.numpy()[away.argmin(axis=0)],
        )

    def pixel_distances(self, codes: Tensor) -> np.ndarray:
        """Euclidean distance of each training image to each decoded code, `(image, sample)`."""
        decoded = self.code.decode(codes).flatten(1).double()
        return torch.cdist(self.images.flatten(1).double(), decoded).numpy()

    def quality(self, samples: GeneratedSamples) -> dict[str, float]:
        """Shares of the samples `too_far` from and `too_near` to the training images.

        Too far: further from the nearest training image than 95 % of the other images are, that is,
        like no digit; too near: nearer than 95 % of them are, like a copy. Distances are in pixels,
        of other images as the code renders them. At 5 % each, samples are as far as real digits.
        """
        made = self.pixel_distances(samples.codes).min(axis=0)
        near, far = self._nearest_quantiles
        return {"too_far": float((made > far).mean()), "too_near": float((made < near).mean())}

    def far(self) -> float:
        """Distance in pixels to the nearest training image that 95 % of the other images have."""
        return self._nearest_quantiles[1]

    @cached_property
    def _nearest_quantiles(self) -> tuple[float, float]:
        real = self.pixel_distances(self.code.encode(self.other_images)).min(axis=0)
        return tuple(np.quantile(real, [0.05, 0.95]))

    def _queries(self, samples: GeneratedSamples) -> Tensor:
        generator = torch.Generator().manual_seed(11)
        return denoising.measuring_rows(samples.codes, N_TIMES, N_NOISES, generator)

    def scoring(self, samples: GeneratedSamples, n_seeds: int) -> RunBank:
        """Full-data models of other seeds: m of each sample, and the shift by each image."""
        n_rows = N_TIMES * N_NOISES
        measures = [denoising.sample_loss(n_rows), grouped_shifts(self.n_draws, n_rows)]
        seeds, full = seed_pairs(n_seeds, "scoring"), nothing(self.n_images)
        return self._bank("scoring", self._queries(samples), full, seeds, measures, SCORED_STACK)

    def judging(
        self, samples: GeneratedSamples, groups: Mapping[str, np.ndarray], n_seeds: int
    ) -> RunBank:
        """Models of yet other seeds, with all images and without each group: m of each sample."""
        weights = torch.ones(len(groups) + 1, self.n_images)
        for row, group in enumerate(groups.values(), start=1):
            weights[row, torch.from_numpy(group.copy())] = 0
        design = Design(weights, (NONE, *groups))
        seeds = seed_pairs(n_seeds, "judging")
        measures = [denoising.sample_loss(N_TIMES * N_NOISES)]
        return self._bank("judging", self._queries(samples), design, seeds, measures, STACK)


def scores_of(bank: RunBank) -> Scored:
    """What a `scoring` bank holds; trains what is missing."""
    data = bank.dataset().isel(removal=0, checkpoint=-1)
    names = ("sample_loss", "grouped_shifts")
    return Scored(*(data[name].values.astype(np.float64) for name in names))


def losses_of(bank: RunBank) -> xr.DataArray:
    """m of a `judging` bank, `(seed, removal, sample)`, float64; trains what is missing."""
    loss = bank.dataset()["sample_loss"].isel(checkpoint=-1)
    return loss.drop_vars(["init_seed", "order_seed", "point"]).astype(np.float64)
