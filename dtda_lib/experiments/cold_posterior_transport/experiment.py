"""What notebook 07 integrates and samples, declared from its parameters; nothing is trained."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from dtda_lib.study.settings import Config

from . import chains, degenerate, maps
from .maps import COLD


@dataclass(frozen=True)
class Experiment:
    """Two wells and spheres of minima, exactly, and chains of noisy steps on a line.

    Args:
        betas: Inverse temperatures at which limits are followed.
        n_chains: Chains of each kind of noise.
        same: Cases whose removed point has the same loss in both wells.
        shown: Case -> size of the removal and inverse temperature of its picture.
        scales: Multiples of the influence function that are held against it.
    """

    betas: tuple[int, ...]
    n_chains: int
    same: tuple[str, ...] = ("even", "uneven")
    shown: tuple[tuple[str, float, int], ...] = (("even", 0.3, 20), ("apart", 0.05, 20))
    scales: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98, 1.02, 1.1)

    @classmethod
    def of(cls, cfg: Config) -> "Experiment":
        """Temperatures and chains as `cfg` says."""
        return cls(cfg.betas, cfg.n_chains)

    def print_cost(self) -> None:
        """Print what there is to do."""
        print(
            f"cost: nothing is trained; {len(chains.CHAIN_KINDS)} kinds of {self.n_chains:,} "
            f"chains, integrals at {len(self.betas)} temperatures"
        )

    def laws(self) -> dict[str, tuple[pd.DataFrame, float, float]]:
        """Case -> its `maps.law_table`, size of the removal and inverse temperature."""
        return {
            name: (maps.law_table(name, eps, beta), eps, beta) for name, eps, beta in self.shown
        }

    def curves(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`maps.divergence_table` of even wells: by size at temperature zero, by temperature."""
        by_eps = [(eps, COLD) for eps in (0.3, 0.1, 0.01)]
        by_beta = [(0.1, beta) for beta in (10, 30, 100, COLD)]
        return maps.divergence_table("even", by_eps), maps.divergence_table("even", by_beta)

    def small(self) -> pd.DataFrame:
        """`maps.divergence_table` of both cases at zero temperature, for a small removal."""
        return pd.concat([maps.divergence_table(name, [(1e-3, COLD)]) for name in self.same])

    def best_scales(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`maps.scale_table` at zero temperature, and `maps.cold_table` at all others."""
        return maps.scale_table(self.same), maps.cold_table(self.same, self.betas)

    def rivals(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`maps.rival_table` and `maps.reach_table` of the uneven wells."""
        return maps.rival_table("uneven"), maps.reach_table("uneven", self.scales)

    def manifolds(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """`sphere_scale_table` and the other tables of `degenerate`."""
        return (
            degenerate.sphere_scale_table(),
            degenerate.sphere_cold_table(self.betas),
            degenerate.sphere_rival_table(),
            degenerate.tilt_table(),
        )

    def floors(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """`maps.basin_floor_table` and `maps.field_table` of the wells with unlike losses."""
        return maps.basin_floor_table((30, 300, COLD)), maps.field_table("apart", (5, 10, 20))

    def masses(self) -> pd.DataFrame:
        """`maps.mass_table` of all cases."""
        return maps.mass_table(0.1, self.betas)

    def sampled(self, generator: np.random.Generator) -> chains.Sampled:
        """`chains.sample_chains`, as many of each kind."""
        return chains.sample_chains(self.n_chains, generator)


def specification(cfg: Config) -> dict[str, Any]:
    """What decides the numbers, as plain data."""
    return asdict(Experiment.of(cfg))
