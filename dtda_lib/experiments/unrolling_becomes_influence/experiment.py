"""What notebook 06 trains, unrolls and simulates, declared from its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.named import get_task
from dtda_lib.data.task import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.shifts import print_costs_by_kind
from dtda_lib.study.settings import Config

from . import broken, network, small
from .chains import inverse_steps

SADDLE_OFFSETS = (0.0, 1e-6, 1e-4, 1e-2)
"""How far from the saddle runs start."""


@dataclass(frozen=True)
class Experiment:
    """A small network over lengths of training, and problems of a few parameters.

    Args:
        task: UCI Concrete, training and query mixes.
        banks: (Recipe, epochs) -> runs with and without points, and unrolled responses.
        n_seeds: Runs of each recipe.
        n_runs: Runs of each problem of a few parameters.
        n_steps: Steps of these.
    """

    task: Task
    banks: Mapping[tuple[str, int], tuple[RunBank, UnrolledBank]]
    n_seeds: int
    n_runs: int
    n_steps: int

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Lengths of training and runs as `cfg` says; nothing trains."""
        task = get_task("concrete", n_train=100, n_query=cfg.n_query)
        banks = network.all_banks(
            task,
            get_model("mlp", widths=(8, 16, 16, 1), activation="tanh"),
            cfg.lengths,
            range(cfg.n_left_out),
            seed_pairs(cfg.n_seeds),
            device=cfg.device,
            workers=cfg.workers,
        )
        return cls(task, banks, cfg.n_seeds, cfg.n_runs, cfg.n_steps)

    @property
    def every_bank(self) -> list[RunBank]:
        """All banks, in the order in which they are trained."""
        return [bank for pair in self.banks.values() for bank in pair]

    @property
    def last_step(self) -> int:
        """Number of steps of the longest training."""
        return self.task.n_train // network.BATCH * max(epochs for _, epochs in self.banks)

    @property
    def setting(self) -> str:
        """Data, model and length of training in words, as claims state them."""
        return (
            f"Concrete, {self.task.n_train} points, MLP 8-16-16-1 tanh, weight decay "
            f"{network.WEIGHT_DECAY:g}, {self.last_step} steps"
        )

    def print_cost(self) -> None:
        """Print what training will take on this machine, a line for each kind of bank."""
        print_costs_by_kind(network.kinds(self.banks), total_of="all networks")

    # ------------------------------------------------------------ problems of a few parameters

    def retrained(self) -> pd.DataFrame:
        """`broken.retraining_table`: the recursion against retraining."""
        return broken.retraining_table(np.random.default_rng(7))

    def converging(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`small.convergence_table` and `small.rate_table` of both generalised linear models.

        Decaying steps start larger for the logistic link, whose curvature is smaller.
        """
        followed = []
        for link, first in (("identity", 0.3), ("logistic", 1.0)):
            schedules = {
                "decaying": inverse_steps(self.n_steps, first, 100.0),
                "constant 0.1": np.full(self.n_steps, 0.1),
                "constant 0.02": np.full(self.n_steps, 0.02),
            }
            problem = small.rank_deficient(link, np.random.default_rng(1))
            generator = np.random.default_rng(2)
            followed.append(small.convergence_runs(problem, schedules, self.n_runs, generator))
        converged = pd.concat(map(small.convergence_table, followed))
        return converged, pd.concat(map(small.rate_table, followed), ignore_index=True)

    def stationary_spread(self) -> pd.DataFrame:
        """`small.spread_table` of linear regression at three constant steps."""
        problem = small.rank_deficient("identity", np.random.default_rng(1))
        steps, generator = min(self.n_steps, 4_000), np.random.default_rng(3)
        rates = (0.01, 0.03, 0.1)
        return small.spread_table(
            small.stationary_responses(problem, rates, self.n_runs, steps, generator)
        )

    def hyperbola(self) -> xr.Dataset:
        """`small.hyperbola_runs`: responses on a manifold of minima."""
        problem = small.hyperbola(np.random.default_rng(4))
        return small.hyperbola_runs(problem, self.n_runs, self.n_steps, np.random.default_rng(5))

    def broken_assumptions(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`broken.flat_growth` and `broken.saddle_growth`: assumptions broken on purpose."""
        flat, _ = broken.flat_growth(self.n_runs, 2_000, np.random.default_rng(6))
        return flat, broken.saddle_growth(SADDLE_OFFSETS)

    # ------------------------------------------------------------ networks

    def networks(self) -> tuple[dict[tuple[str, int], xr.Dataset], pd.DataFrame]:
        """`network.run_values` by recipe and length, and `network.time_table` of them; trains what
        is missing."""
        found = {
            key: network.run_values(network.aligned(*pair)) for key, pair in self.banks.items()
        }
        return found, network.time_table(found, self.task.n_train)


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: what trains, and the sizes of small problems."""
    experiment = Experiment.of(cfg)
    return {
        "banks": [bank.key for bank in experiment.every_bank],
        "n_runs": experiment.n_runs,
        "n_steps": experiment.n_steps,
    }
