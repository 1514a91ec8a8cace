"""Products between sets of seeds: brute force, closed forms, invariances, no noise left."""

from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics.between_sets import KINDS, between_sets, features, squared_gap


def law(values):
    return xr.DataArray(values, dims=("set", "seed", "query"))


def drawn(generator, mean=0.0, sd=1.0, n_sets=4, n_seeds=8, n_query=3000):
    return law(mean + sd * generator.normal(size=(n_sets, n_seeds, n_query)))


def test_products_are_those_of_all_pairs_of_different_sets():
    generator = np.random.default_rng(0)
    one, other = (xr.DataArray(v, dims=("set", "query")) for v in generator.normal(size=(2, 5, 3)))
    pairs = list(permutations(range(5), 2))
    expected = sum(one.values[i] * other.values[j] for i, j in pairs) / len(pairs)
    np.testing.assert_allclose(between_sets(one, other), expected, rtol=1e-12)
    order = np.random.default_rng(1).permutation(5)
    np.testing.assert_allclose(between_sets(one[order], other[order]), expected, rtol=1e-12)
    square = sum(one.values[i] * one.values[j] for i, j in pairs) / len(pairs)
    np.testing.assert_allclose(between_sets(one), square, rtol=1e-12)


def test_impossible_sets_are_refused_and_one_set_has_no_square():
    one = xr.DataArray(np.ones((2, 3)), dims=("set", "query"))
    with pytest.raises(ValueError, match="one axis 'set' of both, not 2, None"):
        between_sets(one, one.isel(set=0))
    with pytest.raises(ValueError, match="not 2, 1"):
        between_sets(one, one.isel(set=[0]))
    assert np.isnan(between_sets(one.isel(set=[0]))).all()
    assert np.isnan(between_sets(one.where(one["query"] != 1, np.nan))[1])


def test_features_are_what_they_are_called():
    values = np.random.default_rng(0).normal(size=(2, 5, 3))
    sample = law(values)
    np.testing.assert_allclose(features(sample, "mean"), values.mean(axis=1))
    np.testing.assert_allclose(features(sample, "spread"), np.log(values.var(axis=1, ddof=1)))
    ranked = features(sample, "law")
    assert ranked.sizes["rank"] == 5
    np.testing.assert_array_equal(ranked.transpose("set", "rank", "query"), np.sort(values, axis=1))
    with pytest.raises(ValueError, match="no feature 'sd'; choose one of mean, law, spread"):
        features(sample, "sd")


def normal_quantiles(n):
    """Mean of the squared expected order statistics of n standard normal values, by quadrature."""
    p = (np.arange(20_000) + 0.5) / 20_000
    z = stats.norm.ppf(p)
    expected = [(z * stats.beta.pdf(p, r, n - r + 1)).mean() for r in range(1, n + 1)]
    return float(np.mean(np.square(expected)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (0.3, 1.5)])
def test_squared_gaps_are_those_of_normal_laws_without_noise(kind, mean, sd):
    """Laws of runs of their own: as noisy as gaps can be; noise left on would add 0.03 to 0.3."""
    generator = np.random.default_rng(1)
    one, other = drawn(generator), drawn(generator, mean, sd)
    square = squared_gap(features(one, kind) - features(other, kind))
    expected = {
        "mean": mean**2,
        "spread": np.log(sd**2) ** 2,
        "law": mean**2 + normal_quantiles(8) * (sd - 1) ** 2,
    }[kind]
    error = float(square.std()) / np.sqrt(square.size)
    assert abs(float(square.mean()) - expected) < 4 * error
    assert error < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_ignore_offsets_and_the_order_of_seeds_and_know_the_unit(kind):
    generator = np.random.default_rng(2)
    one, other = drawn(generator, n_query=6), drawn(generator, 0.3, 1.5, n_query=6)

    def gap(a, b):
        return squared_gap(features(a, kind) - features(b, kind))

    expected = gap(one, other)
    shuffled = one.isel(seed=[3, 1, 7, 0, 2, 6, 5, 4])
    np.testing.assert_allclose(gap(shuffled + 5, other + 5), expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(gap(other, one), expected, rtol=1e-12)
    unit = 1 if kind == "spread" else 9
    np.testing.assert_allclose(gap(-3 * one, -3 * other), unit * expected, rtol=1e-9)
    np.testing.assert_array_equal(gap(one, one), np.zeros(6))
