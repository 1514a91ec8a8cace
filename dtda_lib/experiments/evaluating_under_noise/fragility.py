"""How far a run moves when a point is taken away and its seed stays fixed (C13)."""

import numpy as np
import pandas as pd

from dtda_lib.statistics.over_seeds import jackknife
from dtda_lib.study.tables import numbers

from .setting import Regime, distances_from


def relative_distance(base: np.ndarray, moved: np.ndarray) -> dict[str, float]:
    """Distance of a run to itself after an intervention, over the distance between two seeds.

    Args:
        base: `(seed, coordinate)`, full-data runs of different seeds.
        moved: `(seed, removal, coordinate)`, the same seeds after each intervention.

    Returns:
        `estimate` = root mean square distance of a run to itself, moved, over the root mean square
        distance between the full-data runs of two seeds: 0 if nothing moves, 1 if the seed is as
        good as forgotten. `low`, `high`: jackknife over seeds, on the logarithm.
    """
    base, moved = np.asarray(base, dtype=np.float64), np.asarray(moved, dtype=np.float64)
    if len(base) != len(moved) or len(base) < 4:
        raise ValueError(f"{len(base)} and {len(moved)} seeds: at least four, and the same.")
    own = ((moved - base[:, None]) ** 2).sum(axis=2).mean(axis=1)  # (seed,)

    def log_ratio(kept: np.ndarray) -> float:
        # The mean square distance between two seeds is twice the ddof-1 variance.
        between = 2 * base[kept].var(axis=0, ddof=1).sum()
        return float(0.5 * np.log(own[kept].mean() / between))

    return numbers(np.exp(jackknife(log_ratio, len(base))))


def fragility_table(regime: Regime) -> pd.DataFrame:
    """How far predictions of a run move under each of `setting.INTERVENTIONS`.

    Columns `intervention, estimate, low, high, n_seeds, n_points`.
    """
    base, moved = distances_from(regime)
    return pd.DataFrame(
        {"intervention": name}
        | relative_distance(base, after)
        | {"n_seeds": len(base), "n_points": after.shape[1]}
        for name, after in moved.items()
    )
