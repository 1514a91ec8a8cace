"""Other images in the study of noise: the claims of notebook 01 on all ten digits and CIFAR-10."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import xarray as xr

from dtda_lib.data.task import Task
from dtda_lib.experiments.noise_vs_influence.claims import noise_claims
from dtda_lib.experiments.noise_vs_influence.tables import Key
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import SeedPair
from dtda_lib.runs.recipes import Recipe
from dtda_lib.statistics.over_seeds import wilson_interval
from dtda_lib.study.claims import Claim

from .banks import common_points, gradient_bank, gradient_scores, removal_bank, removal_scores


@dataclass(frozen=True)
class OtherImages:
    """Leave-one-out and gradient scores on one set of images, at one or more sizes.

    Args:
        name: What the images are called.
        removals, gradients: Training points per class -> bank, over the same seeds.
        points: Ids of the points that are left out one by one, at every size.
        analysed: Ids of the points whose gradient scores are analysed.
    """

    name: str
    removals: Mapping[int, RunBank]
    gradients: Mapping[int, RunBank]
    points: tuple[int, ...]
    analysed: tuple[int, ...]

    @classmethod
    def of(
        cls,
        name: str,
        tasks: Mapping[int, Task],
        model: Model,
        recipe: Recipe,
        n_points: int,
        seeds: Sequence[SeedPair],
        *,
        analysed_per_class: int = 0,
        **settings: object,
    ) -> "OtherImages":
        """Declare the banks; nothing trains.

        Args:
            name: What the images are called.
            tasks: Training points per class -> task; nested.
            model, recipe: What is trained, and how.
            n_points: Points that are left out, one of a class.
            seeds: Of every law.
            analysed_per_class: Points of each class whose gradient scores are analysed; 0: those
                that are left out.
            **settings: Of `RunBank`.
        """
        points = common_points(tasks, 1)[:n_points]
        analysed = common_points(tasks, analysed_per_class) if analysed_per_class else points
        removals = {
            size: removal_bank(
                task,
                model,
                recipe,
                points,
                seeds,
                title=f"leave-one-out, {name}, {size} per class",
                **settings,
            )
            for size, task in tasks.items()
        }
        gradients = {
            size: gradient_bank(
                task,
                model,
                recipe,
                seeds,
                title=f"gradients, {name}, {size} per class",
                **settings,
            )
            for size, task in tasks.items()
        }
        return cls(name, removals, gradients, points, analysed)

    @property
    def banks(self) -> list[RunBank]:
        """All banks."""
        return [*self.removals.values(), *self.gradients.values()]

    def scores(self) -> dict[Key, xr.DataArray]:
        """Scores `(seed, checkpoint, train, query)` by (size, method), as `noise.share_table` takes
        them; trains what is missing."""
        found = {}
        for size, bank in self.removals.items():
            arrays = {"loo": removal_scores(bank, self.points)}
            arrays |= gradient_scores(self.gradients[size], self.analysed)
            found |= {(size, name): a.expand_dims("checkpoint", 1) for name, a in arrays.items()}
        return found


def bounded(shares_of: pd.DataFrame) -> pd.DataFrame:
    """`noise.share_table`, with Wilson's interval where all seeds give one share.

    A share of 0 in every seed has no spread from which a jackknife could tell how far from 0 it may
    be; as many independent pairs bound it.
    """
    table = shares_of.copy()
    for row in table[table["low"] == table["high"]].itertuples():
        ends = wilson_interval(round(row.share * row.n_pairs), row.n_pairs)
        table.loc[row.Index, ["low", "high"]] = ends
    return table


def other_claims(shares_of: pd.DataFrame, tail: str, where: str, images: str) -> list[Claim]:
    """B1 and B10 by the rules of `noise_claims`, with ids of their own: B1-cifar10-code, ...

    Args:
        shares_of: `bounded`, the `noise.share_table` of `OtherImages.scores`.
        tail: What the ids get, such as "cifar10".
        where: Model and images in words.
        images: What the images are called.
    """
    methods = dict.fromkeys(shares_of["method"])
    return [
        replace(
            claim,
            id=f"-{tail}-".join(claim.id.rsplit("-", 1)),
            claim=f"{claim.claim} ({images})",
        )
        for claim in noise_claims(shares_of, methods, f"{where}, paired_scratch")
    ]
