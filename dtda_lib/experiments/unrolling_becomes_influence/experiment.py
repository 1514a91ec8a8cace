"""What notebook 06 trains, unrolls and simulates, declared from its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.damping import training_time
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network, get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import SeedPair, paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import nothing
from dtda_lib.runs.shifts import print_costs_by_kind
from dtda_lib.study.banks import Trained
from dtda_lib.study.settings import Config

from . import broken, network, small
from .sizes import Larger, SmallConvNet
from .trajectory import Steps, follow, one_hidden_layer

SADDLE_OFFSETS = (0.0, 1e-6, 1e-4, 1e-2)
"""How far from the saddle runs start."""
LONG, ADAM, MOMENTUM = "decaying", "Adam", "momentum"
DIVISORS = (1, 2, 4, 8, 16)
"""Constant step sizes, as parts of the first decaying step; a smaller one takes as many more steps,
so that all end after the same sum of steps."""
FOLLOWED = DIVISORS[::2]
"""Those that are looked at along the way; the others, momentum and Adam at their end alone."""
USUAL = 4
"""The divisor of the usual run, and of what momentum and Adam are compared with."""
FIRST_LOOK = 64
"""A training is looked at after all of its steps, half of them, a quarter, ..., but not before."""
LARGE_DECAY, LARGE_SEEDS, LARGE_POINTS = 0.03, 4, 4  # runs and points at most


@dataclass(frozen=True)
class Experiment:
    """A small network followed for long, usual trainings of it, larger networks, and problems of a
    few parameters."""

    cfg: Config
    task: Task
    seeds: list[SeedPair]
    adam: tuple[RunBank, UnrolledBank]
    larger: tuple[Larger, ...]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Everything as `cfg` says; nothing trains."""
        task = get_task("concrete", n_train=cfg.n_train, n_query=100)
        seeds, machine = _seeds(cfg), {"device": cfg.device, "workers": cfg.workers}
        steps_an_epoch = -(-cfg.n_train // network.BATCH)
        recipe = Recipe(
            "adam",
            lr=0.01,
            weight_decay=cfg.weight_decay,
            batch_size=network.BATCH,
            epochs=max(1, USUAL * cfg.usual_steps // steps_an_epoch),
            replacement=True,
        )
        model = one_hidden_layer(task, cfg.hidden)
        adam = _banks(task, model, recipe, seeds, range(cfg.n_left_out), ADAM, machine)
        return cls(cfg, task, seeds, adam, tuple(_larger(cfg, machine)))

    @property
    def every_bank(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        pairs = [self.adam, *((one.trained, one.unrolled) for one in self.larger)]
        return [bank for pair in pairs for bank in pair]

    @property
    def trainings(self) -> dict[str, tuple[Steps, list[int]]]:
        """Name -> how its steps are taken, and after how many it is looked at."""
        cfg = self.cfg
        long = Steps(LONG, cfg.rate, float(cfg.half_life))
        found = {LONG: (long, _halved(cfg.long_steps, FIRST_LOOK))}
        for divisor in DIVISORS:
            name, size = f"constant / {divisor}", cfg.rate / divisor
            n_steps = divisor * cfg.usual_steps
            looks = _halved(n_steps, n_steps // 8) if divisor in FOLLOWED else [n_steps]
            found[name] = Steps(name, size), looks
        momentum = Steps(MOMENTUM, 0.1 * cfg.rate / USUAL, momentum=0.9)
        return found | {MOMENTUM: (momentum, [self.n_usual])}

    @property
    def setting(self) -> str:
        """Data, model and length of the long training in words, as claims state them."""
        cfg = self.cfg
        return (
            f"Concrete, {cfg.n_train} mixes, MLP 8-{cfg.hidden}-1 tanh, weight decay "
            f"{cfg.weight_decay:g}, {cfg.long_steps:,} steps of {cfg.rate:g} / "
            f"(1 + t / {cfg.half_life:,})"
        )

    @property
    def usual_setting(self) -> str:
        """The same of the usual training."""
        cfg = self.cfg
        return (
            f"Concrete, {cfg.n_train} mixes, MLP 8-{cfg.hidden}-1 tanh, weight decay "
            f"{cfg.weight_decay:g}, {self.n_usual:,} steps of {cfg.rate / USUAL:g}"
        )

    def print_cost(self) -> None:
        """Print what training will take on this machine, a line for each kind of bank."""
        steps = sum(max(keep) for _, keep in self.trainings.values())
        print(f"{self.cfg.n_seeds} runs of {steps:,} steps in all are followed, about 2 ms a step")
        kinds = {bank.title: [bank] for bank in self.every_bank}
        print_costs_by_kind(kinds, total_of="banks")

    # ------------------------------------------------------------ networks

    @cached_property
    def found(self) -> dict[str, xr.Dataset]:
        """`network.run_values` of every training; follows those by hand and fills Adam's bank."""
        cfg = self.cfg
        settings = {"weight_decay": cfg.weight_decay, "damping": cfg.damping}
        model = Network.of(one_hidden_layer(self.task, cfg.hidden))
        found = {}
        for name, (steps, keep) in self.trainings.items():
            chain = follow(
                self.task,
                cfg.hidden,
                steps,
                self.seeds,
                range(cfg.n_left_out),
                keep,
                weight_decay=cfg.weight_decay,
                batch_size=network.BATCH,
            )
            data = network.unrolling_and_influence(
                self.task, model, chain, steps.times(keep), **settings
            )
            found[name] = network.run_values(data)
        recipe = self.adam[0].recipe
        time = training_time(recipe, self.task.n_train)
        data = network.unrolling_and_influence(
            self.task, model, _chain_of(*self.adam), [time], **settings
        )
        return found | {ADAM: network.run_values(data)}

    @property
    def long(self) -> xr.Dataset:
        """`found` of the long training."""
        return self.found[LONG]

    @property
    def usual(self) -> xr.Dataset:
        """`found` of the usual training."""
        return self.found[f"constant / {USUAL}"]

    @property
    def n_usual(self) -> int:
        """Steps of the usual training, and of momentum and Adam."""
        return USUAL * self.cfg.usual_steps

    @property
    def names(self) -> dict[str, str]:
        """Name of each training -> how readers know it; constant steps first."""
        constant = {f"constant / {d}": f"steps of {self.cfg.rate / d:g}" for d in DIVISORS}
        return constant | {MOMENTUM: "momentum 0.9", ADAM: "Adam", LONG: "long, decaying"}

    def differences(self) -> pd.DataFrame:
        """Rows of `network.difference_row`: time, step size, momentum, Adam.

        Time is judged by the pseudo-inverse, which the theorem is about. Damping by 1 / sum of
        steps follows training by construction: early, unrolling and it are products of gradients.
        """
        found, cfg = self.found, self.cfg
        long = found[LONG]["pinv"]
        first, end = long.isel(step=0), long.isel(step=-1)
        last = {name: values["damped"].isel(step=-1) for name, values in found.items()}
        usual, small = f"constant / {USUAL}", f"constant / {DIVISORS[-1]}"
        n_usual = f"after {self.n_usual:,} steps"
        large = f"constant / {DIVISORS[0]}"
        rows = [
            (
                "time",
                f"with the pseudo-inverse, {cfg.long_steps:,} decaying steps - the first "
                f"{first['step'].item():,} of them",
                end,
                first,
            ),
            (
                "step",
                f"with the damped Hessian, steps of {cfg.rate / DIVISORS[-1]:g} - steps of "
                f"{cfg.rate:g}, after the same sum of steps",
                last[small],
                last[large],
            ),
            (
                "momentum",
                f"with the damped Hessian, momentum 0.9 - none, {n_usual} of equal effective size",
                last[MOMENTUM],
                last[usual],
            ),
            ("adam", f"with the damped Hessian, Adam - SGD, {n_usual}", last[ADAM], last[usual]),
        ]
        return pd.DataFrame(network.difference_row(*row) for row in rows)

    # ------------------------------------------------------------ problems of a few parameters

    def retrained(self) -> pd.DataFrame:
        """`broken.retraining_table`: the recursion against retraining."""
        return broken.retraining_table(np.random.default_rng(7))

    def converging(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`small.convergence_table` and `small.rate_table` of both generalised linear models.

        Decaying steps start larger for the logistic link, whose curvature is smaller.
        """
        followed, n_steps = [], self.cfg.n_steps
        for link, first in (("identity", 0.3), ("logistic", 1.0)):
            schedules = {
                "decaying": Steps("decaying", first, 100.0).sizes(n_steps),
                "constant 0.1": np.full(n_steps, 0.1),
                "constant 0.02": np.full(n_steps, 0.02),
            }
            problem = small.rank_deficient(link, np.random.default_rng(1))
            generator = np.random.default_rng(2)
            runs = self.cfg.n_runs
            followed.append(small.convergence_runs(problem, schedules, runs, generator))
        converged = pd.concat(map(small.convergence_table, followed))
        return converged, pd.concat(map(small.rate_table, followed), ignore_index=True)

    def stationary_spread(self) -> pd.DataFrame:
        """`small.spread_table` of linear regression at three constant steps."""
        problem = small.rank_deficient("identity", np.random.default_rng(1))
        steps, generator = min(self.cfg.n_steps, 4_000), np.random.default_rng(3)
        rates, runs = (0.01, 0.03, 0.1), self.cfg.n_runs
        return small.spread_table(
            small.stationary_responses(problem, rates, runs, steps, generator)
        )

    def hyperbola(self) -> xr.Dataset:
        """`small.hyperbola_runs`: responses on a manifold of minima."""
        problem, cfg = small.hyperbola(np.random.default_rng(4)), self.cfg
        given = cfg.n_runs, cfg.n_steps, np.random.default_rng(5)
        return small.hyperbola_runs(problem, *given)

    def broken_assumptions(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`broken.flat_growth` and `broken.saddle_growth`: assumptions broken on purpose."""
        generator = np.random.default_rng(6)
        flat, _ = broken.flat_growth(self.cfg.n_runs, 2_000, generator)
        return flat, broken.saddle_growth(SADDLE_OFFSETS)


def _halved(n_steps: int, least: int) -> list[int]:
    """The number of steps, half of it, ... while that is `least` or more; the fewest first."""
    found = [n_steps]
    while found[0] // 2 >= least:
        found.insert(0, found[0] // 2)
    return found


def _seeds(cfg: Config) -> list[SeedPair]:
    """Those of the runs: none on which half-life and width were chosen is among `paper`'s."""
    return seed_pairs(cfg.first_run + cfg.n_seeds)[cfg.first_run :]


def _banks(
    task: Task,
    model: Model,
    recipe: Recipe,
    seeds: list[SeedPair],
    points: range,
    title: str,
    machine: Mapping[str, Any],
) -> tuple[RunBank, UnrolledBank]:
    """Full-data runs, and the unrolled responses of each point in the same runs."""
    trained = Trained(task=task, model=model, recipe=recipe, machine=machine)
    runs = paired(nothing(task.n_train), seeds)
    bank = trained.bank(runs, ["query_loss", "parameters"], title)
    title, points = f"{title}, unrolled", list(points)
    return bank, trained.unrolled(seeds, "parameters", title, points=points)


def _chain_of(trained: RunBank, unrolled: UnrolledBank) -> xr.Dataset:
    """Both banks as `trajectory.follow` returns a chain, with the last step alone."""
    theta = trained.dataset()["parameters"].isel(removal=0, checkpoint=-1, drop=True)
    response = unrolled.dataset()["parameters"].isel(removal=0, checkpoint=-1, drop=True)
    return xr.Dataset(
        {
            "theta": (("seed", "step", "parameter"), theta.values[:, None]),
            "response": (("seed", "step", "train", "parameter"), response.values[:, None]),
        },
        {"step": [trained.recipe.steps(trained.task.n_train)], "train": list(unrolled.points)},
    )


def _larger(cfg: Config, machine: Mapping[str, Any]) -> list[Larger]:
    """A wide network on Concrete and a convolutional one on digits; steps fall to 0."""
    wide = get_task("concrete", n_train=min(2 * cfg.n_train, 900), n_query=100)
    images = get_task("mnist3", per_class=min(cfg.n_train // 4, 200), queries_per_class=20)
    recipe = Recipe(
        "sgd",
        lr=0.2,
        weight_decay=LARGE_DECAY,
        batch_size=network.BATCH,
        epochs=cfg.large_epochs,
        replacement=True,
        schedule="linear",
    )
    networks = {
        "wide": (wide, get_model("mlp", widths=(8, 64, 1), activation="tanh"), recipe),
        "cnn": (images, SmallConvNet, replace(recipe, lr=0.1)),
    }
    seeds = _seeds(cfg)[: min(LARGE_SEEDS, cfg.n_seeds // 2)]
    points = range(min(LARGE_POINTS, cfg.n_left_out // 4))
    words = {
        "wide": "Concrete, {n} mixes, MLP 8-64-1 tanh",
        "cnn": "MNIST 0-2, {n} images, two tanh convolutions",
    }
    return [
        Larger(
            name,
            f"{words[name].format(n=task.n_train)}, weight decay {LARGE_DECAY:g}",
            *_banks(task, model, one, seeds, points, name, machine),
        )
        for name, (task, model, one) in networks.items()
    ]


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the sizes of small problems."""
    experiment = Experiment.of(cfg)
    followed = {
        name: [steps.rate, steps.half_life, steps.momentum, keep]
        for name, (steps, keep) in experiment.trainings.items()
    }
    return {
        "banks": [bank.key for bank in experiment.every_bank],
        "followed": followed,
        "damping": cfg.damping,
        "problems": [cfg.n_runs, cfg.n_steps],
    }
