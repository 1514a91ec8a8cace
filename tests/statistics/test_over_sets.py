"""Intervals over sets of seeds, points and queries, by hand; coverage: `test_noise.py`."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics.over_sets import in_sets, over_sets


def cells(values):
    return xr.DataArray(np.asarray(values, dtype=float), dims=("set", "train", "query"))


def mean(array):
    return array.mean(("set", "train", "query"))


def test_runs_are_cut_into_consecutive_sets():
    removals = {"removal": ["none", "a"]}
    labels = removals | {"seed": range(6), "init_seed": ("seed", range(6)), "query": [7, 8, 9]}
    runs = xr.DataArray(np.arange(36).reshape(6, 2, 3), labels, ("seed", "removal", "query"))
    found = in_sets(runs, 3)
    assert found.sizes == {"set": 3, "seed": 2, "removal": 2, "query": 3}
    np.testing.assert_array_equal(found.transpose("set", ...), runs.values.reshape(3, 2, 2, 3))
    assert set(found.coords) == {"removal", "query"}  # a seed's label has no place in its set
    assert set(in_sets(runs, 3, labels=("removal",)).coords) == {"removal"}
    whole = in_sets(xr.Dataset({"loss": runs, "mean": runs.mean("query")}), 2)
    assert whole["mean"].sizes == {"set": 2, "seed": 3, "removal": 2}
    with pytest.raises(ValueError, match="6 seeds do not make 4 equal sets"):
        in_sets(runs, 4)


def test_the_jackknife_variances_of_the_three_axes_add_up():
    values = np.random.default_rng(0).normal(size=(4, 5, 6))
    parts = [
        values.mean(tuple({0, 1, 2} - {axis})).var(ddof=1) / values.shape[axis] for axis in range(3)
    ]
    found = over_sets(cells(values), mean)
    df = sum(parts) ** 2 / sum(p**2 / (n - 1) for p, n in zip(parts, values.shape, strict=True))
    half = stats.t.ppf(0.975, df) * np.sqrt(sum(parts))
    assert float(found["estimate"]) == pytest.approx(values.mean())
    assert float(found["df"]) == pytest.approx(df)
    assert float(found["high"] - found["estimate"]) == pytest.approx(half)
    assert float(found["estimate"] - found["low"]) == pytest.approx(half)


def test_where_only_sets_differ_it_is_the_t_interval_over_sets():
    of_sets = np.array([0.1, 0.4, 0.3, 0.2])
    found = over_sets(cells(of_sets[:, None, None] * np.ones((1, 3, 5))), mean)
    low, high = stats.t.interval(0.95, 3, of_sets.mean(), stats.sem(of_sets))
    assert float(found["df"]) == pytest.approx(3)
    np.testing.assert_allclose([found["low"], found["high"]], [low, high])


def test_groups_are_interleaved_and_alike_where_entries_are_ordered_by_class():
    by_class = np.repeat([0.0, 1.0, 5.0], 10)  # 10 points of each class: groups hold one of each
    found = over_sets(cells(by_class[None, :, None] * np.ones((3, 1, 4))), mean)
    assert float(found["low"]) == pytest.approx(2)
    assert float(found["high"]) == pytest.approx(2)


def test_any_statistic_of_several_arrays_is_left_out_of_whole():
    rng = np.random.default_rng(1)
    both = xr.Dataset({"a": cells(rng.uniform(1, 2, (4, 5, 6))), "b": cells(np.ones((4, 5, 6)))})
    both["b"] = both["b"] + rng.uniform(size=(4, 1, 1))

    def ratio(part):
        return part["a"].sum() / part["b"].sum()

    without = [float(ratio(both.drop_isel(set=s))) for s in range(4)]
    only_sets = over_sets(both, ratio, groups={"set": 9})
    half = stats.t.ppf(0.975, 3) * np.sqrt(3 * np.var(without))
    assert float(only_sets["high"] - only_sets["estimate"]) == pytest.approx(half)
    stacked = over_sets(both, lambda part: part.sum().to_dataarray("name"))
    assert stacked["low"].dims == ("name",)


def test_a_share_without_any_hit_has_wilsons_interval():
    found = over_sets(cells(np.zeros((4, 30, 9))), mean, share=True)
    t, n = stats.t.ppf(0.975, 3), 4 * 30
    assert (float(found["estimate"]), float(found["low"])) == (0, pytest.approx(0, abs=1e-12))
    assert float(found["high"]) == pytest.approx(t**2 / (n + t**2))
    every = over_sets(cells(np.ones((4, 30, 9))), mean, share=True)
    assert float(every["low"]) == pytest.approx(1 - t**2 / (n + t**2))


def test_a_share_never_leaves_its_bounds_and_the_effective_number_sets_its_width():
    values = np.zeros((4, 6, 8))
    values[0, 0, 0] = 1
    found = over_sets(cells(values), mean, share=True)
    assert 0 < float(found["low"]) < 1 / 192 < float(found["high"]) < 1
    plain = over_sets(cells(values), mean)
    t = float(stats.t.ppf(0.975, plain["df"]))
    p, variance = 1 / 192, (float(plain["high"] - plain["estimate"]) / t) ** 2
    n = p * (1 - p) / variance
    roots = np.roots([1 + t**2 / n, -(2 * p + t**2 / n), p**2])  # (p - x)^2 = t^2 x (1 - x) / n
    np.testing.assert_allclose(sorted(roots), [found["low"], found["high"]])


def test_what_cannot_be_done_is_refused_or_nan():
    with pytest.raises(ValueError, match="no axis 'set'"):
        over_sets(cells(np.ones((2, 2, 2))).isel(set=0), mean)
    with pytest.raises(ValueError, match=r"a share lies in 0\.\.1"):
        over_sets(cells(np.full((2, 2, 2), 3.0)), mean, share=True)
    for share in (False, True):
        alone = over_sets(cells(np.ones((1, 4, 4)) * 0.5), mean, share=share)
        assert float(alone["estimate"]) == 0.5
        assert np.isnan(alone["low"])
        assert np.isnan(alone["high"])
