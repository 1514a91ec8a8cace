"""Which tests of a mean shift keep their level under skewed noise, and what that costs: simulated.

A *study* is `N_PAIRS` pairs of independent noise, each of either skew by the toss of a coin, which
`reliable` tests at once. All pairs without effect: whatever it reports is false.
"""

from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.ask.answer import reliable
from dtda_lib.statistics.significance import MEAN_TESTS, simulate_null

NOISES = {
    "normal": "normal",
    "t3": "Student, 3 df",
    "skewed": "exponential",
    "log_normal": "log-normal",
}
"""Law of `simulate_null` -> what readers see."""

SEEDS = (8, 16, 30)
N_PAIRS, N_REAL = 100, 10
SIZE = 1.5  # of a real mean shift, in true standard deviations
LEVEL = 0.05

_SD = {
    "normal": 1.0,
    "t3": np.sqrt(3.0),
    "skewed": 1.0,
    "log_normal": np.sqrt((np.e - 1) * np.e),
}


def noise(law: str, n_seeds: int, n_studies: int, generator: np.random.Generator) -> xr.DataArray:
    """Shifts `(seed, train, query)` without effect, sd 1, a study a query."""
    drawn = simulate_null(n_seeds, N_PAIRS * n_studies, generator, law=law).values / _SD[law]
    drawn *= generator.choice([-1.0, 1.0], size=drawn.shape[1])
    shape = (n_seeds, N_PAIRS, n_studies)
    coords = {"train": np.arange(N_PAIRS), "query": np.arange(n_studies)}
    return xr.DataArray(drawn.reshape(shape), coords, dims=("seed", "train", "query"))


def calibration_table(
    n_studies: int, generator: np.random.Generator, seeds: tuple[int, ...] = SEEDS
) -> xr.Dataset:
    """Level, false reports and power of every test: `(test, noise, seeds)`, shares without unit.

    `level`: pairs without effect with p <= 5 %; `false_reports`: studies of `N_PAIRS` such pairs in
    which `reliable` reports any (5 % allowed); `power`: share found of `N_REAL` pairs with a mean
    shift of `SIZE` standard deviations among `N_PAIRS`, in a quarter as many studies. All tests see
    the same draws. Standard error of false reports: sqrt(share (1 - share) / n_studies).
    """
    axes = {"test": list(MEAN_TESTS), "noise": list(NOISES), "seeds": list(seeds)}
    shape = tuple(map(len, axes.values()))
    names = ("level", "false_reports", "power")
    found = xr.Dataset({name: (tuple(axes), np.full(shape, np.nan)) for name in names}, axes)
    real = xr.DataArray(np.arange(N_PAIRS) < N_REAL, dims="train")
    for law, n in product(NOISES, seeds):
        null = noise(law, n, n_studies, generator)
        effect = noise(law, n, -(-n_studies // 4), generator) + SIZE * real
        for test in MEAN_TESTS:
            # A family of each query is a study of its own.
            options = {"q": LEVEL, "family": "query", "test": test}
            nothing, some = (reliable(one, **options) for one in (null, effect))
            values = (
                (nothing["p"] <= LEVEL).mean(),
                nothing["reliable"].any("train").mean(),
                some["reliable"].isel(train=slice(N_REAL)).mean(),
            )
            for name, value in zip(names, values):
                found[name].loc[{"test": test, "noise": law, "seeds": n}] = float(value)
    return found


def calibration_in_per_cent(table: xr.Dataset) -> pd.DataFrame:
    """`calibration_table` in per cent: rows of noise and seeds, the columns of each test."""
    frame = table.to_dataframe().unstack("test").mul(100).round(1)
    return frame.rename(index=NOISES, level="noise")
