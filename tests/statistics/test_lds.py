"""LDS of means and laws: brute force, known answers, what must not matter, and what noise does."""

from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics import lds
from dtda_lib.statistics.distances import DISTANCES, w2_sampling_share

SEEDS, SUBSETS, QUERIES = 12, 9, 3


def law(values, dims=("seed", "removal", "query")):
    return xr.DataArray(np.asarray(values, dtype=float), dims=dims)


def before(values):
    return law(values, ("seed", "query"))


def drawn(seed=0, n=SEEDS, noise=0.5, effect=1.0):
    """Laws whose removals move mean and spread by amounts fixed for all seeds."""
    fixed = np.random.default_rng(99)
    move = effect * fixed.standard_normal((SUBSETS, QUERIES))
    widen = np.exp(effect * fixed.standard_normal((SUBSETS, QUERIES)))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, QUERIES))
    own = noise * rng.standard_normal((n, SUBSETS, QUERIES))
    return before(x), law(move + widen * x[:, None] + own)


def influence(x, y, metric):
    """Of laws `(seed, query)` and `(seed, removal, query)`: `(removal, query)`."""
    return DISTANCES[metric](x.values[:, None], y.values)


def scored(truth=None, predicted=None, **settings):
    predicted = {"a": drawn(1), "b": drawn(2, noise=5.0)} if predicted is None else predicted
    settings = {"n_splits": 4, "n_permutations": 50} | settings
    return lds.score(truth or drawn(), predicted, generator=np.random.default_rng(0), **settings)


# --- influences ----------------------------------------------------------------------------------


def by_hand(metric, x, y):
    """One subset and one query: samples `(seed,)`."""
    shift, wider = y.mean() - x.mean(), y.std(ddof=1) - x.std(ddof=1)
    square = shift**2 + wider**2
    n = len(x)

    def curve(v):
        return ((v - v.mean()) ** 2 - v.var(ddof=1)) / (2 * v.std(ddof=1))

    added = ((y - x).var(ddof=1) + (curve(y) - curve(x)).var(ddof=1)) / n
    return {
        "mean": shift,
        "log_variance_ratio": np.log(y.var(ddof=1) / x.var(ddof=1)),
        "w2_gaussian_squared": square,
        "w2_debiased": square - added,
    }[metric]


@pytest.mark.parametrize("metric", lds.METRICS)
def test_influences_by_hand(metric):
    x, y = drawn()
    found = influence(x, y, metric)
    expected = [
        [by_hand(metric, x.values[:, q], y.values[:, m, q]) for q in range(QUERIES)]
        for m in range(SUBSETS)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_known_shift_and_a_known_spread():
    x = before(np.random.default_rng(0).standard_normal((20, 2)))
    moved = law((x.values + 3.0)[:, None])
    assert influence(x, moved, "mean") == pytest.approx(3.0)
    assert influence(x, moved, "w2_debiased") == pytest.approx(9.0)
    wide = law((x.values * 2)[:, None])
    ratio = influence(x, wide, "log_variance_ratio")
    assert ratio == pytest.approx(np.log(4))


def test_predicted_w2_has_no_floor_and_the_retrained_one_loses_it():
    """Equal laws: the plug-in lies above 0 by 3 sigma^2 / n, unless the samples are the same."""
    rng, n, sigma = np.random.default_rng(0), 20, 2.0
    x, y = sigma * rng.standard_normal((2, n, 20_000))
    raw = DISTANCES["w2_gaussian_squared"](x, y)
    assert raw.mean() == pytest.approx(3 * sigma**2 / n, rel=0.05)
    # First order in 1 / n: 6 % too little of it here.
    assert w2_sampling_share(x, y).mean() == pytest.approx(3 * sigma**2 / n, rel=0.08)
    assert abs(DISTANCES["w2_debiased"](x, y).mean()) < 0.1 * raw.mean()
    assert np.all(DISTANCES["w2_gaussian_squared"](x, x) == 0)
    assert np.all(w2_sampling_share(x, x) == 0)
    coupled = x + 0.1 * y  # what pairing leaves of the floor
    least = w2_sampling_share(x, coupled).mean()
    assert least < 0.02 * raw.mean()
    assert least == pytest.approx(DISTANCES["w2_gaussian_squared"](x, coupled).mean(), rel=0.15)


# --- the score -----------------------------------------------------------------------------------


def test_score_is_the_mean_of_spearman_correlations():
    scores = scored()
    truth = drawn()
    assert scores.estimate.shape == (len(lds.METRICS), 2)
    for i, metric in enumerate(scores.metrics):
        y = influence(*truth, metric)
        for j, pair in enumerate((drawn(1), drawn(2, noise=5.0))):
            p = influence(*pair, metric)
            each = [stats.spearmanr(y[:, q], p[:, q]).statistic for q in range(QUERIES)]
            assert scores.estimate[i, j] == pytest.approx(np.mean(each))


def test_ranks_alone_count():
    y = np.random.default_rng(0).standard_normal((SUBSETS, QUERIES))
    assert lds.lds(y, np.exp(y)) == pytest.approx(1)
    assert lds.lds(y, -(y**3)) == pytest.approx(-1)
    assert lds.lds(y, np.zeros_like(y)) == 0
    order = np.random.default_rng(1).permutation(SUBSETS)
    other = np.random.default_rng(2).standard_normal(y.shape)
    assert lds.lds(y[order], other[order]) == pytest.approx(lds.lds(y, other))
    assert lds.lds(y, other[order]) != pytest.approx(lds.lds(y, other))
    assert lds.lds(y, other) == pytest.approx(lds.lds(other, y))


def test_sign_of_the_mean_counts_and_that_of_w2_does_not():
    x, y = drawn(1)
    mirrored = (x, 2 * x + 0 * y - y)  # shifts of the other sign
    flipped = scored(
        predicted={"a": (x, y), "mirrored": mirrored}, metrics=["mean", "w2_gaussian_squared"]
    )
    assert flipped.estimate[0, 0] == pytest.approx(-flipped.estimate[0, 1])
    assert flipped.estimate[0, 0] > 0.5


def test_left_out_scores_by_hand():
    truth, predicted = drawn(), {"a": drawn(1)}
    scores = scored(truth, predicted, metrics=["w2_gaussian_squared"])
    without = np.delete(np.arange(SEEDS), 4)
    cut = tuple(part.isel(seed=without) for part in truth)
    assert scores.left_out["truth seeds"][4] == pytest.approx(
        scored(cut, predicted, metrics=["w2_gaussian_squared"]).estimate
    )
    cut = {"a": tuple(part.isel(seed=without) for part in predicted["a"])}
    assert scores.left_out["prediction seeds"][4] == pytest.approx(
        scored(truth, cut, metrics=["w2_gaussian_squared"]).estimate
    )
    without = np.delete(np.arange(SUBSETS), 4)
    fewer = [(x, y.isel(removal=without)) for x, y in (truth, predicted["a"])]
    assert scores.left_out["subsets"][4] == pytest.approx(
        scored(fewer[0], {"a": fewer[1]}, metrics=["w2_gaussian_squared"]).estimate
    )
    assert {name: len(v) for name, v in scores.left_out.items()} == {
        "truth seeds": SEEDS,
        "prediction seeds": SEEDS,
        "subsets": SUBSETS,
    }


def test_interval_is_the_sum_of_three_jackknives():
    scores = scored()
    estimate, error, low, high = scores.interval(lambda table: table)
    square = sum(
        (len(v) - 1) / len(v) * ((v - v.mean(axis=0)) ** 2).sum(axis=0)
        for v in scores.left_out.values()
    )
    np.testing.assert_allclose(error, np.sqrt(square))
    half = stats.t.ppf(0.975, SUBSETS - 1) * error
    np.testing.assert_allclose(high - estimate, half)
    np.testing.assert_allclose(estimate - low, half)
    gap, gap_error, *_ = scores.interval(lambda table: table[..., 0] - table[..., 1])
    np.testing.assert_allclose(gap, estimate[:, 0] - estimate[:, 1])
    assert (gap_error > 0).all()
    same = scored(predicted={"a": drawn(1), "b": drawn(1)})
    assert same.interval(lambda table: table[..., 0] - table[..., 1])[1] == pytest.approx(0)


def test_ceiling_falls_with_noise():
    def shifted(noise):
        x, y = drawn(noise=0)
        move = (y.values - x.values[:, None]).mean(axis=0)
        own = noise * np.random.default_rng(3).standard_normal(y.shape)
        return x, law(move + x.values[:, None] + own)

    sure, noisy = (scored(shifted(noise), metrics=["mean"]) for noise in (0.0, 20.0))
    assert sure.truth_reliability[0] == pytest.approx(1)
    assert noisy.truth_reliability[0] < 0.9
    assert sure.ceiling[0] == pytest.approx(np.sqrt(sure.reliability[0]))
    assert sure.reliability[0, 0] > sure.reliability[0, 1]  # b is the noisy prediction
    halves = [np.arange(0, SEEDS, 2), np.arange(1, SEEDS, 2)]
    x, y = (part.values for part in drawn(noise=0.3))
    first, second = (y[half].mean(axis=0) - x[half].mean(axis=0) for half in halves)
    r = np.mean([stats.spearmanr(first[:, q], second[:, q]).statistic for q in range(QUERIES)])
    found = lds._reliability(DISTANCES["mean"], (x, y), [tuple(halves)])
    assert found == pytest.approx(2 * r / (1 + r))


def test_null_is_that_of_permuted_subsets():
    """Queries that move together keep the null wide, however many there are."""
    x = np.random.default_rng(0).standard_normal((SEEDS, 1))
    effect = np.random.default_rng(1).standard_normal((SUBSETS, 1))
    one = (before(x), law(x[:, None] + effect))
    many = (before(np.repeat(x, 30, 1)), law(np.repeat(x[:, None] + effect, 30, 2)))
    settings = {"n_permutations": 2_000, "metrics": ["mean"]}
    high = [scored(p, {"a": p}, **settings).null_high[0, 0] for p in (one, many)]
    assert high[0] == pytest.approx(high[1])
    exact = 1.96 / np.sqrt(SUBSETS - 1)
    assert high[0] == pytest.approx(exact, abs=0.12)


def test_the_null_leaves_a_fortieth_of_all_orders_above():
    """Against every order of eight subsets: 97.5 %, the upper end of a two-sided 5 % test."""
    rng = np.random.default_rng(3)
    x, effect = rng.standard_normal((SEEDS, 1)), rng.standard_normal((8, 1))
    one = before(x), law(x[:, None] + effect)
    high = scored(one, {"a": one}, n_permutations=4_000, metrics=["mean"]).null_high[0, 0]
    orders = np.array(list(permutations(range(8))))
    exact = 1 - 6 * ((orders - np.arange(8)) ** 2).sum(axis=1) / (8 * 63)  # Spearman's formula
    assert (exact > high + 1e-9).mean() <= 0.025 + 0.008  # 3 standard errors of 4,000 draws
    assert (exact > high - 1e-9).mean() >= 0.025 - 0.008


def test_refusals():
    x, y = drawn()
    with pytest.raises(ValueError, match="unknown distance"):
        scored(metrics=["w3"])
    with pytest.raises(ValueError, match="no method"):
        scored(predicted={})
    few, enough = (tuple(part.isel(seed=slice(n)) for part in (x, y)) for n in (5, 6))
    three, four = ((x, y.isel(removal=slice(n))) for n in (3, 4))
    for truth, predicted in ((few, enough), (enough, few), (three, three)):
        with pytest.raises(ValueError, match="six seeds or four subsets"):
            scored(truth, {"a": predicted})
    for least in (enough, four):
        assert np.isfinite(scored(least, {"a": least}).estimate).all()
    other = y.assign_coords(removal=range(SUBSETS)), y.assign_coords(removal=range(1, 1 + SUBSETS))
    with pytest.raises(ValueError, match="differ"):
        scored((x, other[0]), {"a": (x, other[1])})


@pytest.mark.slow
def test_intervals_cover_the_score_of_the_law():
    """Nominal 95 % for a score that noise attenuates; simulated as often as time allows."""
    from_law = []
    for repeat in range(120):
        pairs = []
        for part in (2 * repeat, 2 * repeat + 1):
            rng = np.random.default_rng(10_000 + part)
            effects = np.random.default_rng(50_000 + repeat)  # subsets are drawn anew
            move = effects.standard_normal((14, 1)) + 0.5 * effects.standard_normal((14, 4))
            twist = (part % 2) * effects.standard_normal((14, 4))  # the method is imperfect
            x = rng.standard_normal((10, 4))
            y = (move + twist) + x[:, None] + rng.standard_normal((10, 14, 4))
            pairs.append((before(x), law(y)))
        result = lds.score(
            pairs[0], {"a": pairs[1]}, generator=np.random.default_rng(0), metrics=["mean"],
            n_splits=1, n_permutations=1,
        )  # fmt: skip
        from_law.append([float(np.squeeze(v)) for v in result.interval(lambda t: t)])
    estimate, _, low, high = np.array(from_law).T
    covered = ((low <= estimate.mean()) & (estimate.mean() <= high)).mean()
    assert 0.88 <= covered <= 1.0
