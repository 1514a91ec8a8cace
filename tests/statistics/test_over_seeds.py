"""Jackknife over positions, and t intervals of means."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics.over_seeds import jackknife, jackknife_over_seeds, mean_interval

VALUES = np.random.default_rng(0).gamma(2.0, size=(9, 2))


def test_the_interval_of_a_mean_is_students():
    found = mean_interval(VALUES[:, 0], level=0.9)
    expected = stats.t.interval(0.9, 8, VALUES[:, 0].mean(), stats.sem(VALUES[:, 0]))
    assert found["estimate"] == pytest.approx(VALUES[:, 0].mean())
    assert (found["low"], found["high"]) == pytest.approx(expected)


def test_a_jackknife_over_positions_is_that_over_seeds():
    scores = xr.DataArray(VALUES, dims=("seed", "query"))

    def spread(part):
        return part.std("seed", ddof=1) / part.mean("seed")

    found = jackknife(lambda kept: spread(scores.isel(seed=kept)), 9, level=0.8)
    xr.testing.assert_allclose(found, jackknife_over_seeds(scores, spread, level=0.8))


def test_of_a_number_it_is_a_number_and_of_a_mean_the_t_interval():
    found = jackknife(lambda kept: VALUES[kept, 1].mean(), 9)
    expected = mean_interval(VALUES[:, 1])
    assert found["estimate"].dims == ()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value)


def test_nothing_is_known_where_a_unit_is_all_that_there_is():
    found = jackknife(lambda kept: np.nan if len(kept) < 2 else kept.mean(), 2)
    assert np.isnan(found["low"])
