"""What notebook 05 trains and unrolls, declared from its parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.leverage import leverage
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.images import pooled
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import nothing
from dtda_lib.runs.shifts import print_costs
from dtda_lib.study.banks import Trained
from dtda_lib.study.settings import Config

from .estimates import group_shifts
from .laws import LEVERAGE, POINT, Removals, draw_removals, laws_in_sets, with_high_leverage
from .tables import CONCRETE, DIGITS, point_shifts

BATCH = 20
"""Points in a batch; our choice, as the paper's training is not known to us."""


@dataclass(frozen=True, kw_only=True)
class PredictionSetting(Trained):
    """One training set, what is left out of it, and all that trains; nothing trains before use.

    Args:
        removals: What is left out.
        of: The output whose law is predicted: a name in `measures.MEASURES`.
        n_sets, n_seeds: Disjoint sets of seeds, and runs per law in each.
        damping: Beside the weight decay.
    """

    removals: Removals
    of: str
    n_sets: int
    n_seeds: int
    damping: float

    @cached_property
    def retrained(self) -> RunBank:
        """Runs on all points and without each removal; the same seeds."""
        design = self.removals.design(self.task.n_train)
        return self.bank(paired(design, self._seeds), [self.of], "with and without")

    @cached_property
    def models(self) -> RunBank:
        """The runs on all points again: influence functions, and leverages where they matter."""
        given = {"damping": self.damping}
        measures = [group_shifts(self.recipe, self.of, self.removals.groups, **given)]
        if LEVERAGE in self.removals.of_size:
            measures.append(leverage(self.recipe, **given))
        runs = paired(nothing(self.task.n_train), self._seeds)
        # Small shards: workers share them, and each run's system of all points takes memory.
        return self.bank(runs, measures, "influence", chunk=8)

    @cached_property
    def followed(self) -> UnrolledBank:
        """Unrolled shifts of the same runs, in the direction that takes less."""
        points = self.removals.members
        way = {"points": points} if len(points) < self.task.n_query else {"mode": "reverse"}
        return self.unrolled(self._seeds, self.of, "unrolling", **way)

    @cached_property
    def segments(self) -> UnrolledBank:
        """The same in three segments with EK-FAC curvature: SOURCE as published."""
        settings = {"points": self.removals.members, "mode": "source"}
        return self.unrolled(self._seeds, self.of, "SOURCE", **settings)

    @property
    def banks(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        return [self.retrained, self.models, self.followed, self.segments]

    @property
    def words(self) -> str:
        """Data, model and sizes in words, as claims state them."""
        widths = "-".join(map(str, self.model.keywords["widths"]))
        return (
            f"{self.name}, MLP {widths}, SGD for {self.recipe.steps(self.task.n_train):,} steps; "
            f"{self.n_sets} sets of {self.n_seeds} seeds"
        )

    @cached_property
    def laws(self) -> xr.Dataset:
        """`laws.laws_in_sets` of the output; trains what is missing."""
        influence = _output(self.models.dataset()["group_shifts"]).rename(group="removal")
        shifts = {
            "unrolling": _output(self.followed.dataset()[self.of]),
            "source": _output(self.segments.dataset()[self.of]),
        }
        for name in influence["estimator"].values:
            shifts[str(name)] = influence.sel(estimator=name, drop=True)
        outputs = _output(self.retrained.dataset()[self.of], removal=slice(None))
        return laws_in_sets(outputs, shifts, self.removals, self.n_sets)

    @cached_property
    def leverages(self) -> xr.DataArray:
        """Leverage of each removal's point `(size, group)`, mean over seeds; NaN for groups."""
        each = _output(self.models.dataset()["leverage"]).mean("seed").values
        of = [each[g[0]] if len(g) == 1 else np.nan for g in self.removals.groups]
        return self.removals.by_size(xr.DataArray(of, dims="removal"))

    @property
    def _seeds(self) -> list[tuple[int, int]]:
        return seed_pairs(self.n_sets * self.n_seeds)


def _output(values: xr.DataArray, removal: int | slice = 0) -> xr.DataArray:
    """Last checkpoint, the only output, these removals; no label but seeds and points; float64."""
    at = {"removal": removal, "checkpoint": -1, "output": 0}
    here = values.isel({axis: place for axis, place in at.items() if axis in values.dims})
    bare = here.reset_coords(drop=True).astype(np.float64)
    return bare.drop_vars(set(bare.coords) - {"seed", "train", "estimator"})


@dataclass(frozen=True)
class Experiment:
    """The same question of Concrete and of digits, and of smaller sets of Concrete.

    Args:
        tasks: Key of a task -> its setting, the largest training sets.
        fewer: Size -> setting of a smaller set of Concrete, of which single points are left out.
    """

    tasks: Mapping[str, PredictionSetting]
    fewer: Mapping[int, PredictionSetting]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Data, networks, removals and seeds as `cfg` says; nothing trains.

        Raises:
            ValueError: percentages of a training set that are as many points, or too few points.
        """
        groups = {"percents": cfg.percents, "n_groups": cfg.n_groups}

        def concrete(n_train: int, percents: tuple[int, ...]) -> PredictionSetting:
            task = get_task("concrete", n_train=n_train, n_query=cfg.n_query)
            drawn = draw_removals(task, percents, cfg.n_groups, np.random.default_rng(5))
            return _setting(
                cfg,
                task,
                f"UCI Concrete, {n_train} training points",
                with_high_leverage(drawn, task),
                "query_prediction",
                # As many steps as the largest set has: what differs is the leverage of a point.
                round(cfg.epochs * math.ceil(cfg.n_train / BATCH) / math.ceil(n_train / BATCH)),
            )

        images = get_task(
            "mnist3", per_class=cfg.per_class, queries_per_class=cfg.queries_per_class
        )
        digits = replace(pooled(images, 2), n_outputs=3, classes=("0", "1", "2"))
        tasks = {
            CONCRETE: concrete(cfg.n_train, cfg.percents),
            DIGITS: _setting(
                cfg,
                digits,
                f"MNIST digits 0-2 at 14 x 14, {digits.n_train} training points",
                draw_removals(digits, **groups, generator=np.random.default_rng(5)),
                "query_margin",
                cfg.epochs,
            ),
        }
        return cls(tasks, {n: concrete(n, ()) for n in sorted(cfg.fewer, reverse=True)})

    @property
    def settings(self) -> dict[str, str]:
        """Task -> data, model and sizes in words."""
        return {task: setting.words for task, setting in self.tasks.items()}

    @property
    def banks(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        return [bank for setting in self._all for bank in setting.banks]

    @property
    def _all(self) -> list[PredictionSetting]:
        return [*self.tasks.values(), *self.fewer.values()]

    def print_cost(self) -> None:
        """Print what training will take on this machine, from timed probes.

        SOURCE is left out: a probe of one epoch may be shorter than its segments.
        """
        timed = [bank for setting in self._all for bank in setting.banks[:-1]]
        print_costs(timed, total_of="without SOURCE, a small part")

    def laws(self) -> dict[str, xr.Dataset]:
        """Task -> `Setting.laws`; trains what is missing."""
        return {task: setting.laws for task, setting in self.tasks.items()}

    def points(self) -> dict[int, xr.Dataset]:
        """Size of a set of Concrete -> `tables.point_shifts`, largest first; trains what is
        missing."""
        sets = {self.tasks[CONCRETE].task.n_train: self.tasks[CONCRETE], **self.fewer}
        return {n: point_shifts(one.laws, one.leverages) for n, one in sets.items()}

    def about_table(self) -> pd.DataFrame:
        """How well the networks do: one row for each training set.

        Columns: setting, steps, damping; `error`, mean squared error of a prediction in variances
        of the target, or share of digits whose right class gets a probability below 1/2; `spread`,
        standard deviation over seeds of a query's output, root mean square over queries;
        `leverage`, mean of the points drawn at random, where single points matter.
        """
        rows = []
        for setting in self._all:
            task, laws = setting.task, setting.laws
            outputs = laws["base"].transpose("set", "seed", "query").values
            if task.loss == "squared_error":
                error = np.square(outputs - task.query_y.numpy()).mean()
            else:
                error = (outputs < 0).mean()
            leverages = [np.nan]
            if LEVERAGE in setting.removals.of_size:
                leverages = setting.leverages.sel(size=POINT)
            rows.append(
                {
                    "setting": setting.name,
                    "steps": setting.recipe.steps(task.n_train),
                    "damping": setting.damping,
                    "error": float(error),
                    "spread": float(np.sqrt(laws["base"].var("seed", ddof=1).mean())),
                    "leverage": float(np.mean(leverages)),
                }
            )
        return pd.DataFrame(rows)


def _setting(
    cfg: Config, task: Task, name: str, removals: Removals, of: str, epochs: int
) -> PredictionSetting:
    width = task.train_x[0].numel(), cfg.width, cfg.width, task.n_outputs
    recipe = Recipe(
        "sgd",
        lr=cfg.rate,
        weight_decay=cfg.decay,
        batch_size=BATCH,
        epochs=epochs,
        schedule="linear",
    )
    return PredictionSetting(
        task=task,
        model=get_model("mlp", widths=width, activation="gelu"),
        recipe=recipe,
        name=name,
        machine={"device": cfg.device, "workers": cfg.workers},
        removals=removals,
        of=of,
        n_sets=cfg.n_sets,
        n_seeds=cfg.n_seeds,
        damping=cfg.damping * damping_by_training_time(recipe, task.n_train),
    )


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and how seeds are cut into sets."""
    experiment = Experiment.of(cfg)
    return {"banks": [bank.key for bank in experiment.banks], "sets": cfg.n_sets}
