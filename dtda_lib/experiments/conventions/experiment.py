"""What notebook 00 simulates, declared from its parameters; nothing is trained or cached."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.study.settings import Config
from dtda_lib.theory.testbeds import AnchoredRidge

from . import exact, simulated

GROUP_SIZES = (1, 2, 3, 4, 6)
N_DRAWN, N_OWN, N_TARGETS = 30, 200, 1_000
"""Runs that are drawn as lines, that pin the sign, and whose single estimates are judged."""


@dataclass(frozen=True)
class Experiment:
    """The straight line with a far point, and the sizes of its simulations.

    Args:
        testbed: The problem; its last query is the one that single laws are shown at.
        points: The two points of the story, "far" and "ordinary" -> position.
        simulation: `n_seeds`, `seed_counts`, `n_repeats` and `n_permutations` as the parameters
            have them.
    """

    testbed: AnchoredRidge
    points: Mapping[str, int]
    simulation: Mapping[str, Any]

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """The testbed of the notebook, simulated as often as `cfg` says."""
        testbed, points = exact.example()
        return cls(testbed, points, cfg.parameters)

    @property
    def far(self) -> int:
        """Position of the point whose removal moves no mean."""
        return self.points["far"]

    def print_cost(self) -> None:
        """Print how much is simulated."""
        sizes = self.simulation
        print(
            f"{sizes['n_seeds']:,} runs, and {sizes['n_repeats']:,} experiments with "
            f"{min(sizes['seed_counts'])} to {max(sizes['seed_counts'])} seeds; nothing trains"
        )

    def runs(self, generator: np.random.Generator) -> tuple[xr.Dataset, xr.Dataset]:
        """Runs with and without the far point: a few at all queries, many at the last one."""
        few = self.testbed.simulate(N_DRAWN, generator, [[self.far]])
        narrow = exact.at_queries(self.testbed, [-1])
        return few, narrow.simulate(self.simulation["n_seeds"], generator, [[self.far]])

    def conventions(self, generator: np.random.Generator) -> pd.DataFrame:
        """`exact.convention_table`."""
        return exact.convention_table(self.testbed, self.points, N_OWN, generator)

    def estimands(self, generator: np.random.Generator) -> pd.DataFrame:
        """`exact.answers_table`."""
        return exact.answers_table(self.testbed, self.points, generator)

    def errors(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`exact.error_table` of single points, and `exact.error_summary` of all sizes."""
        sizes = [exact.error_table(self.testbed, size) for size in GROUP_SIZES]
        return sizes[0], exact.error_summary(pd.concat(sizes))

    def targets(self, generator: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`simulated.three_targets_table`."""
        return simulated.three_targets_table(self.testbed, N_TARGETS, generator)

    def z_scores(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """`simulated.z_scores` at five of the 25 queries."""
        few = exact.at_queries(self.testbed, slice(None, None, 6))
        return simulated.z_scores(few, self.simulation["n_seeds"], generator)

    def powers(self, generator: np.random.Generator) -> pd.DataFrame:
        """`simulated.delta_power_table` of both points and the three Δ."""
        return simulated.delta_power_table(
            self.testbed,
            self.points,
            exact.THREE_DELTAS,
            self.simulation["seed_counts"],
            n_repeats=self.simulation["n_repeats"],
            n_permutations=self.simulation["n_permutations"],
            generator=generator,
        )

    def w2_floors(self, generator: np.random.Generator) -> pd.DataFrame:
        """`simulated.w2_floor_table` of the ordinary point."""
        return simulated.w2_floor_table(
            self.testbed,
            self.points["ordinary"],
            self.simulation["seed_counts"],
            n_repeats=self.simulation["n_repeats"],
            generator=generator,
        )


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data: the testbed, the points, and what is simulated."""
    experiment = Experiment.of(cfg)
    testbed = experiment.testbed
    return {
        "train": np.column_stack([testbed.train_x, testbed.train_y]).tolist(),
        "points": experiment.points,
        "simulation": experiment.simulation,
    }
