"""Jackknife over positions, and t intervals of means."""

import math
import re

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


def drawn(law, shape, generator):
    """Draws of a law, and its mean and standard deviation."""
    if law == "normal":
        return generator.standard_normal(shape), 0.0, 1.0
    if law == "exponential":
        return generator.standard_exponential(shape), 1.0, 1.0
    return generator.standard_t(3, shape), 0.0, math.sqrt(3)


COVERED = [  # in the order in which the docstring tells them
    ("mean", "normal"),
    ("mean", "exponential"),
    ("sd", "normal"),
    ("sd", "exponential"),
    ("log sd", "normal"),
    ("log sd", "exponential"),
    ("log sd", "Student"),
]


@pytest.mark.parametrize("case", COVERED, ids=lambda case: " ".join(map(str, case)))
def test_the_jackknife_covers_what_its_docstring_says(case):
    """Each pair is a study of its own: 4,000 of them know a coverage to two points."""
    said = re.findall(r"(\d\d), (\d\d), (\d\d) %", jackknife_over_seeds.__doc__)
    assert len(said) == len(COVERED)
    statistic, law = case
    for n, percent in zip((4, 10, 30), said[COVERED.index(case)]):
        values, mean, sd = drawn(law, (n, 4_000), np.random.default_rng(n))

        def of(part):
            if statistic == "mean":
                return part.mean("seed")
            found = part.std("seed", ddof=1)
            return np.log(found) if statistic == "log sd" else found

        found = jackknife_over_seeds(xr.DataArray(values, dims=("seed", "pair")), of)
        truth = {"mean": mean, "sd": sd, "log sd": math.log(sd)}[statistic]
        covered = 100 * float(((found["low"] <= truth) & (truth <= found["high"])).mean())
        assert abs(covered - int(percent)) < 2.2
