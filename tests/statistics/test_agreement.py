"""Agreement against loops, scipy, invariances and a simulated truth whose reliability is known."""

from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics import agreement as ag
from dtda_lib.statistics.over_seeds import signal_to_noise

KINDS = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def draw(*shape, seed=0, dims=("seed", "train", "query")):
    return xr.DataArray(np.random.default_rng(seed).normal(size=shape), dims=dims)


def noisy(truth, n, noise, seed):
    """Scores of `n` seeds about `truth`, labelled so that two sets do not share a seed."""
    scores = truth + noise * draw(n, *truth.shape, seed=seed)
    return scores.assign_coords(seed=100 * seed + np.arange(n))


def correlate(x, y, kind):
    return KINDS[kind](np.ravel(x), np.ravel(y)).statistic


# -------------------------------------------------------------- correlation


@EACH_KIND
def test_correlation_is_scipys_for_every_method(kind):
    # Rounding makes ties. One reference without the method dimension, axes in another order.
    a = draw(3, 6, 7, dims=("method", "train", "query")).round(1)
    b = (a.isel(method=0) + draw(6, 7, dims=("train", "query"), seed=1)).round(1).T
    r = ag.correlation(a, b, kind=kind)
    assert r.dims == ("method",)
    np.testing.assert_allclose(r, [correlate(a[i], b.T, kind) for i in range(3)], rtol=1e-12)


@EACH_KIND
def test_correlation_over_one_dimension(kind):
    a, b = draw(6, 7, dims=("train", "query")), draw(6, 7, dims=("train", "query"), seed=1)
    expected = [correlate(a[:, q], b[:, q], kind) for q in range(7)]
    np.testing.assert_allclose(ag.correlation(a, b, over="train", kind=kind), expected, rtol=1e-12)


@EACH_KIND
def test_correlation_ignores_affine_maps_and_keeps_the_sign(kind):
    a, b = draw(6, 7, dims=("train", "query")), draw(6, 7, dims=("train", "query"), seed=1)
    r = float(ag.correlation(a, b, kind=kind))
    assert float(ag.correlation(3e-200 * a, b + 4, kind=kind)) == pytest.approx(r)
    assert float(ag.correlation(-a, b, kind=kind)) == pytest.approx(-r)
    assert float(ag.correlation(b, a, kind=kind)) == pytest.approx(r)
    assert float(ag.correlation(a, a, kind=kind)) == pytest.approx(1)


def test_spearman_sees_ranks_only_and_constants_have_none():
    a, b = draw(6, 7, dims=("train", "query")), draw(6, 7, dims=("train", "query"), seed=1)
    xr.testing.assert_allclose(
        ag.correlation(np.exp(a), b, kind="spearman"), ag.correlation(a, b, kind="spearman")
    )
    for kind in KINDS:
        assert np.isnan(ag.correlation(a * 0 + 0.1, b, kind=kind))
    capped = a.where(a < 1, np.inf)  # an SNR without noise has a rank
    assert ag.correlation(capped, a, kind="spearman") > 0.9


# -------------------------------------------------------------- reliability


def loop_split_half(scores, statistic, kind):
    n, found = len(scores), []
    for half in combinations(range(n), n // 2):
        rest = [i for i in range(n) if i not in half]
        if n % 2 or 0 in half:
            found.append(correlate(statistic(scores[list(half)]), statistic(scores[rest]), kind))
    return found


NUMPY = {
    "mean": lambda x: x.mean(0),
    "sd": lambda x: x.std(0, ddof=1),
    "snr": lambda x: x.mean(0) / x.std(0, ddof=1),
}


@EACH_KIND
@pytest.mark.parametrize("name", ag.STATISTICS)
@pytest.mark.parametrize("n", [4, 5])
def test_split_half_is_the_loop_over_all_splits(n, name, kind):
    scores = draw(n, 6, 7) + 0.5
    found = ag.split_half(scores, ag.STATISTICS[name], kind=kind)
    r = loop_split_half(scores.values, NUMPY[name], kind)
    assert found.n_splits == len(r)
    assert float(found.r_half) == pytest.approx(np.mean(r))
    assert float(found.r_half_sd) == pytest.approx(np.std(r))


@pytest.mark.parametrize(("n", "count"), [(4, 3), (5, 10), (8, 35), (9, 126), (10, 126)])
def test_all_distinct_splits_are_enumerated(n, count):
    splits = [(tuple(a), tuple(b)) for a, b in ag.halves_of(n, 126, None)]
    assert len({frozenset(split) for split in splits}) == len(splits) == count
    assert all(sorted(a + b) == list(range(n)) for a, b in splits)


@pytest.mark.parametrize("n", [11, 12])
def test_random_splits_are_as_many_as_asked_for(n):
    """Each leaves no seed out, and takes none twice; halves of an odd number differ by one."""
    splits = list(ag.halves_of(n, 20, np.random.default_rng(3)))
    assert len(splits) == 20
    assert len({tuple(first) for first, _ in splits}) > 15
    for first, second in splits:
        assert len(first) == n // 2
        assert sorted([*first, *second]) == list(range(n))


@pytest.mark.slow
def test_random_splits_are_reproducible_and_close_to_all():
    scores = noisy(draw(8, 30, dims=("train", "query")), 10, 2, seed=1)
    few = [
        ag.split_half(scores, ag.mean, n_splits=30, generator=np.random.default_rng(7))
        for _ in range(2)
    ]
    xr.testing.assert_identical(*few)
    assert few[0].n_splits == 30
    assert float(few[0].r_half) == pytest.approx(
        float(ag.split_half(scores, ag.mean).r_half), abs=0.02
    )


def test_order_of_seeds_and_further_dimensions_do_not_matter():
    scores = draw(6, 5, 8, 2, dims=("seed", "train", "query", "size"))
    found = ag.split_half(scores, signal_to_noise)
    assert found.reliability.dims == ("size",)
    xr.testing.assert_allclose(found, ag.split_half(scores[::-1], signal_to_noise))
    xr.testing.assert_allclose(
        found.isel(size=1), ag.split_half(scores.isel(size=1, drop=True), signal_to_noise)
    )


def test_reliability_of_a_known_truth():
    # Var(truth) = 1 and noise variance 9 over 10 seeds: reliability 1 / (1 + 0.9).
    truth = draw(100, 100, dims=("train", "query"))
    first, second = (noisy(truth, 10, 3, seed) for seed in (1, 2))
    expected = 1 / 1.9
    found = ag.split_half(first, ag.mean, n_splits=20, generator=np.random.default_rng(0))
    assert float(found.reliability) == pytest.approx(expected, abs=0.02)
    across = ag.cross_set_reliability(first, second, ag.mean)
    assert float(across) == pytest.approx(expected, abs=0.02)
    # A second method with the same truth and its own noise reaches the ceiling, and no more.
    other = noisy(truth, 10, 1, seed=3)
    other_reliability = ag.split_half(
        other, ag.mean, n_splits=20, generator=np.random.default_rng(0)
    )
    ceiling = ag.noise_ceiling(found.reliability, other_reliability.reliability)
    assert float(ag.correlation(ag.mean(first), ag.mean(other))) == pytest.approx(
        float(ceiling), abs=0.02
    )


def test_spearman_brown_and_ceiling_by_hand():
    assert [ag.spearman_brown(r) for r in (1, 0.5, 0, -0.4, -1)] == [
        1,
        pytest.approx(2 / 3),
        0,
        0,
        0,
    ]
    assert np.isnan(ag.spearman_brown(np.nan))
    assert ag.noise_ceiling(0.25, 1) == 0.5
    assert ag.noise_ceiling(-0.1, 0.9) == 0
    table = ag.noise_ceiling(xr.DataArray([0.25, -1], dims="method"), 0.25)
    np.testing.assert_array_equal(table, [0.25, 0])


def test_two_cells_have_a_correlation():
    rising = xr.DataArray([[1.0, 3.0]], dims=("train", "query"))
    for kind in ("pearson", "spearman"):
        assert float(ag.correlation(rising, 5 * rising + 1, kind=kind)) == pytest.approx(1)
        assert float(ag.correlation(rising, -rising, kind=kind)) == pytest.approx(-1)


# -------------------------------------------------------------- refusals

A = draw(2, 3, dims=("train", "query"))
SCORES = draw(4, 2, 3).assign_coords(seed=range(4))
MANY = draw(12, 2, 3)
REFUSED = {
    "kind 'kendall'": lambda: ag.correlation(A, A, kind="kendall"),
    "no dimension \\['query'\\]": lambda: ag.correlation(A, A[:, 0]),
    "fewer than two cells": lambda: ag.correlation(A[:1, :1], A[:1, :1]),
    "pearson correlation cannot": lambda: ag.correlation(A / 0.0, A),
    "spearman correlation cannot": lambda: ag.correlation(A * np.nan, A, kind="spearman"),
    "size or labels": lambda: ag.correlation(A, A[:1]),
    "at least 4": lambda: ag.split_half(SCORES[:3], ag.mean),
    "pass a generator": lambda: ag.split_half(MANY, ag.mean),
    "n_splits = 0": lambda: ag.split_half(MANY, ag.mean, n_splits=0),
    "share seed \\[2, 3\\]": lambda: ag.cross_set_reliability(SCORES, SCORES[2:], ag.mean),
    "at least 2": lambda: ag.mean(SCORES[:1]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_by_name(message):
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        REFUSED[message]()
