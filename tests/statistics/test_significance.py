"""Significance against loops over pairs, closed forms of scipy, invariances and simulated noise."""

from itertools import product

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from dtda_lib.statistics import over_seeds
from dtda_lib.statistics import significance as sg
from dtda_lib.statistics.over_seeds import mean_interval, mean_over_seeds, require_same_pairs
from dtda_lib.statistics.power import detectable_snr, discovery_level, power, seeds_needed

EACH_TEST = pytest.mark.parametrize("p_value", sg.P_VALUES.values(), ids=sg.P_VALUES)


def draw(*shape, seed=0, dims=("seed", "train", "query"), loc=0.0):
    return xr.DataArray(np.random.default_rng(seed).normal(loc, size=shape), dims=dims)


def columns(scores):
    """Every pair's seeds, as a loop would meet them."""
    rest = [dim for dim in scores.dims if dim != "seed"]
    return scores.transpose(*rest, "seed").values.reshape(-1, scores.sizes["seed"])


# -------------------------------------------------------------- tests against loops and scipy


def test_snr_tail_is_the_published_formula():
    scores = draw(10, 4, 5, loc=1)
    expected = [2 * stats.norm.cdf(-abs(x.mean() / x.std(ddof=1))) for x in columns(scores)]
    np.testing.assert_allclose(sg.snr_tail(scores).values.ravel(), expected, rtol=1e-12)


def test_t_test_is_scipys():
    scores = draw(7, 4, 5, loc=1)
    expected = stats.ttest_1samp(scores.values, 0).pvalue
    np.testing.assert_allclose(sg.t_test(scores), expected, rtol=1e-12)


def brute_sign_flip(x):
    flips = [abs(sum(s * v for s, v in zip(signs, x))) for signs in product((1, -1), repeat=len(x))]
    return np.mean([flip >= abs(sum(x)) for flip in flips])


@pytest.mark.parametrize("unit", [1, 0.1, 1e-9 / 3])
def test_exact_sign_flip_is_the_brute_force_one_ties_included(unit):
    # Small integers tie often; in another unit the ties differ by rounding and must stay ties.
    whole = np.random.default_rng(0).integers(-3, 5, size=(7, 40))
    expected = [brute_sign_flip([int(v) for v in x]) for x in whole.T]
    scores = xr.DataArray(whole * unit, dims=("seed", "pair"))
    np.testing.assert_array_equal(sg.sign_flip(scores), expected)


def test_smallest_sign_flip_p_and_chunks_of_pairs():
    scores = draw(10, 260, dims=("seed", "pair"))
    p = sg.sign_flip(scores)
    for block in (slice(0, 7), slice(20, 30), slice(250, None)):
        np.testing.assert_array_equal(p[block], sg.sign_flip(scores[:, block]))
    assert sg.sign_flip(abs(scores) + 0.1).values == pytest.approx(2 / 2**10)


def test_random_sign_flips_approach_the_exact_ones():
    scores = draw(10, 50, dims=("seed", "pair"), loc=0.3)
    generator = np.random.default_rng(1)
    p = sg.sign_flip(scores, generator=generator, max_flips=1000)
    exact = sg.sign_flip(scores)
    error = np.sqrt(exact * (1 - exact) / 1000)
    assert (abs(p - exact) < 4 * error + 2e-3).all()
    again = sg.sign_flip(scores, generator=np.random.default_rng(1), max_flips=1000)
    np.testing.assert_array_equal(p, again)
    far = sg.sign_flip(draw(20, 3, dims=("seed", "pair"), loc=50), generator=generator)
    np.testing.assert_allclose(far, 1 / (1 + 2**12))  # never 0


@EACH_TEST
def test_no_noise_and_no_effect_are_defined(p_value):
    scores = xr.DataArray(np.tile([0.0, 0.1, -0.1], (10, 1)), dims=("seed", "pair"))
    floor = 2 / 2**10 if p_value is sg.sign_flip else 0
    np.testing.assert_array_equal(p_value(scores), [1, floor, floor])


@EACH_TEST
def test_p_ignores_unit_sign_order_and_other_dimensions(p_value):
    scores = draw(6, 3, 4, 2, dims=("seed", "train", "query", "size"), loc=0.5)
    p = p_value(scores)
    assert p.dims == ("train", "query", "size")
    assert p.dtype == np.float64
    for same in (scores * 1e-7, -scores, scores.isel(seed=[3, 1, 0, 5, 4, 2]), scores.T):
        np.testing.assert_allclose(p_value(same).transpose(*p.dims), p, rtol=1e-9)
    np.testing.assert_array_equal(p_value(scores.isel(size=1)), p.isel(size=1))
    assert p_value(scores.astype(np.float32)).dtype == np.float64


LEAST = np.finfo(np.float64).tiny


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=7), st.sampled_from([0.3, 1.0, 7e5]))
@example([27, 28], 0.3)  # p_code underflows to 0, and the t-test p is 0.01
@example([49, 50], 7e5)
@example([3, 3], 0.3)  # sigma = 0: both are 0
def test_properties_of_any_pair(values, unit):
    scores = xr.DataArray(np.array(values) * unit, dims="seed")
    p = {name: float(test(scores)) for name, test in sg.P_VALUES.items()}
    assert all(0 <= value <= 1 for value in p.values())
    assert p["sign_flip"] == brute_sign_flip(values)
    if p["code"] >= LEAST:  # below, its digits are lost
        assert sg.null_snr_tail_cdf(p["code"], len(values)) == pytest.approx(p["t"], rel=1e-9)
    # Without sqrt(n), the published statistic is never below the normal tail of the mean.
    snr = float(over_seeds.signal_to_noise(scores))
    assert p["code"] >= 2 * stats.norm.sf(np.sqrt(len(values)) * abs(snr))


# -------------------------------------------------------------- moments


def test_moments_by_hand():
    mu, sigma = over_seeds.mean_and_sd(draw(5, 3, 2))
    x = draw(5, 3, 2).values
    np.testing.assert_allclose(mu, x.sum(0) / 5)
    np.testing.assert_allclose(sigma, np.sqrt(((x - x.sum(0) / 5) ** 2).sum(0) / 4))
    assert float(over_seeds.mean_and_sd(xr.DataArray([0.1] * 10, dims="seed"))[1]) == 0
    np.testing.assert_array_equal(
        over_seeds.signal_to_noise(xr.DataArray([[0.1, -0.1, 0.0]] * 3, dims=("seed", "pair"))),
        [np.inf, -np.inf, 0],
    )


def test_average_checkpoints_takes_the_last():
    scores = xr.DataArray([[1.0, 2, 6]], dims=("seed", "checkpoint"))
    assert [float(over_seeds.average_checkpoints(scores, k)[0]) for k in (1, 2, 3)] == [6, 4, 3]


# -------------------------------------------------------------- calibration under noise

# (p_code, |mu| / sigma, t, t-test p) at n = 10: section 2.5 of the digest of the paper
PUBLISHED = [
    (0.05, 1.96, 6.20, 1.6e-4),
    (0.10, 1.64, 5.20, 5.6e-4),
    (0.33, 0.97, 3.08, 0.013),
    (0.50, 0.67, 2.13, 0.062),
]


@pytest.mark.parametrize(("p_code", "snr", "t", "p_t"), PUBLISHED)
def test_table_of_the_two_statistics(p_code, snr, t, p_t):
    x = np.linspace(-1, 1, 10)
    x = x / x.std(ddof=1) + stats.norm.isf(p_code / 2)
    scores = xr.DataArray(x, dims="seed")
    assert float(sg.snr_tail(scores)) == pytest.approx(p_code)
    assert float(over_seeds.signal_to_noise(scores)) == pytest.approx(snr, abs=0.005)
    assert stats.ttest_1samp(x, 0).statistic == pytest.approx(t, abs=0.005)
    assert sg.null_snr_tail_cdf(p_code, 10) == pytest.approx(p_t, rel=0.04)
    assert float(sg.t_test(scores)) == pytest.approx(sg.null_snr_tail_cdf(p_code, 10))


@pytest.mark.parametrize("n", [3, 10])
def test_p_under_gaussian_noise(n):
    null = sg.simulate_null(n, 20_000, np.random.default_rng(n))
    p_code, p_t = sg.snr_tail(null).values, sg.t_test(null).values
    assert stats.kstest(p_t, "uniform").pvalue > 0.01
    assert stats.kstest(p_code, "uniform").pvalue < 1e-10
    assert stats.kstest(p_code, lambda a: sg.null_snr_tail_cdf(a, n)).pvalue > 0.01
    error = p_code.std() / np.sqrt(p_code.size)
    assert abs(p_code.mean() - sg.null_snr_tail(n)) < 3 * error
    for alpha in (0.1, 0.33, 0.5):
        expected = sg.null_snr_tail_cdf(alpha, n)
        error = np.sqrt(expected * (1 - expected) / p_code.size)
        assert abs((p_code < alpha).mean() - expected) < 3 * error


def test_null_mean_has_its_limits():
    # T is Cauchy at n = 2; by the layer-cake identity the mean is 1 - integral of the cdf.
    for n in (2, 10):
        grid = (np.arange(20_000) + 0.5) / 20_000
        assert sg.null_snr_tail(n) == pytest.approx(1 - sg.null_snr_tail_cdf(grid, n).mean())
    assert sg.null_snr_tail(10) == pytest.approx(0.7895, abs=1e-4)


@pytest.mark.parametrize("law", ["normal", "t3"])
def test_the_sign_flip_is_exact_for_symmetric_noise(law):
    null = sg.simulate_null(10, 20_000, np.random.default_rng(5), law=law)
    assert null.dims == ("seed", "pair")
    assert abs(null.mean()) < 0.03
    p, levels = sg.sign_flip(null), 2**9
    for alpha in (0.01, 0.05, 0.1):
        expected = np.floor(alpha * levels) / levels
        error = np.sqrt(expected * (1 - expected) / p.size)
        assert abs((p <= alpha).mean() - expected) < 4 * error
    assert abs(p.mean() - (levels + 1) / levels / 2) < 0.01


@pytest.mark.parametrize("n", [2, 3, 10])
def test_p_code_through_its_null_law_is_the_t_test(n):
    """Up to where p_code loses its digits, at |mu / sigma| of 37.5."""
    snr = np.array([0, 0.1, 1, 30, 37, 37.5])
    x = np.linspace(-1, 1, n)
    scores = xr.DataArray(x[:, None] / x.std(ddof=1) + snr, dims=("seed", "pair"))
    exact = 2 * np.exp(stats.t.logsf(np.sqrt(n) * snr, n - 1))
    np.testing.assert_allclose(sg.t_test(scores), exact, rtol=1e-9)
    np.testing.assert_allclose(sg.null_snr_tail_cdf(sg.snr_tail(scores), n), exact, rtol=1e-9)


def test_sign_flip_null_flips_whole_seeds():
    scores = draw(10, 5, 6, loc=3)
    ratio = sg.sign_flip_null(scores, np.random.default_rng(0)) / scores
    np.testing.assert_allclose(abs(ratio), 1)
    np.testing.assert_array_equal(ratio.std(("train", "query")), 0)
    assert 0 < (ratio[:, 0, 0] > 0).sum() < 10


# -------------------------------------------------------------- many pairs


def textbook_bh(p, q):
    """The step-up rule: reject up to the largest rank i with p_(i) <= q i / m."""
    order, m = np.argsort(p), len(p)
    last = max((i for i in range(1, m + 1) if p[order[i - 1]] <= q * i / m), default=0)
    return {int(i) for i in order[:last]}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=25), st.sampled_from([0.05, 0.2]))
def test_bh_is_the_step_up_rule(values, q):
    p = np.array(values)
    ranks = p * p.size / q  # rounding decides whether a whole rank is reached: keep off those
    assume(np.abs(ranks - ranks.round()).min() > 1e-9)
    found = sg.benjamini_hochberg(xr.DataArray(p, dims="pair"), q)
    assert set(np.flatnonzero(found.discovery)) == textbook_bh(p, q)
    assert (found.adjusted >= p - 1e-15).all()


def test_bh_over_all_or_within():
    effects = draw(3, 4, 5, dims=("size", "train", "query"), loc=1.5)
    p = xr.apply_ufunc(stats.norm.sf, effects)
    within = sg.benjamini_hochberg(p, 0.2, over=["query", "train"])
    assert within.adjusted.dims == p.dims
    for size in range(3):
        alone = sg.benjamini_hochberg(p[size], 0.2)
        xr.testing.assert_allclose(within.isel(size=size), alone)
    everything = sg.benjamini_hochberg(p, 0.2).discovery.values.ravel()
    assert set(np.flatnonzero(everything)) == textbook_bh(p.values.ravel(), 0.2)
    assert (
        sg.benjamini_hochberg(p, method="by").adjusted >= sg.benjamini_hochberg(p).adjusted
    ).all()


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (517, 20_000)])
def test_wilson_interval_solves_its_equation(k, n):
    z = stats.norm.isf(0.05)
    for bound in over_seeds.wilson_interval(k, n, level=0.9):
        assert (k / n - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / n, abs=1e-12)


def test_replication_by_hand():
    p_first = xr.DataArray([1e-6, 1e-6, 1e-6, 0.5, 0.9], dims="pair")
    p_second = xr.DataArray([1e-6, 1e-6, 0.5, 0.01, 0.9], dims="pair")
    mu_first = xr.DataArray([1.0, 1, 1, -1, 1], dims="pair")
    mu_second = xr.DataArray([2.0, -1, 1, -3, 1], dims="pair")
    found = sg.replication(p_first, mu_first, p_second, mu_second, alpha=0.05, q=0.05)
    assert (found.n_pairs, found.n_first, found.n_replicated) == (5, 3, 1)  # one changed its sign
    assert found.share == pytest.approx(1 / 3)
    assert found.ci == over_seeds.wilson_interval(1, 3)
    assert (found.chance, found.base_rate) == (0.025, 0.4)
    assert (found.n_second, found.n_both, found.jaccard) == (3, 2, 0.5)


def replicate(first, second):
    moments = [(sg.t_test(x), x.mean("seed")) for x in (first, second)]
    return sg.replication(*moments[0], *moments[1])


def test_replication_under_noise_and_with_effects():
    first, second = (sg.simulate_null(10, 20_000, np.random.default_rng(s)) for s in (0, 1))
    noise = replicate(first, second)
    assert abs(noise.base_rate - noise.chance) < 4 * np.sqrt(0.025 * 0.975 / 20_000)
    assert np.isnan(noise.share) or noise.n_first < 20
    effect = xr.DataArray(np.repeat([3.0, 0], [500, 19_500]), dims="pair")
    found = replicate(first + effect, second + effect)
    assert found.n_first > 490
    assert found.share > 0.9 > 0.1 > found.base_rate
    assert found.jaccard > 0.85


# -------------------------------------------------------------- errors over seeds, power


def test_jackknife_of_a_mean_is_the_t_interval():
    scores = draw(8, 3, dims=("seed", "pair"))
    found = over_seeds.jackknife_over_seeds(scores, lambda x: x.mean("seed"), level=0.9)
    interval = stats.ttest_1samp(scores.values, 0).confidence_interval(0.9)
    np.testing.assert_allclose(found.low, interval.low)
    np.testing.assert_allclose(found.high, interval.high)
    np.testing.assert_allclose(found.standard_error, stats.sem(scores.values))


def covered(n, law, make, true, n_samples=400):
    """Share of samples whose interval holds the true value; a sample a pair."""
    draws = {"normal": lambda g: g.standard_normal, "exponential": lambda g: g.standard_exponential}
    values = draws[law](np.random.default_rng(n))((n, n_samples))
    found = make(xr.DataArray(values, dims=("seed", "pair")))
    return float(((found.low <= true) & (true <= found.high)).mean())


STATISTICS = {
    "mean": lambda x: x.mean("seed"),
    "sd": lambda x: x.std("seed", ddof=1),
    "log sd": lambda x: np.log(x.std("seed", ddof=1)),
}
# (statistic, law, per cent at 4, 10 and 30 seeds): what docstrings say
COVERAGES = [
    ("mean", "normal", (95, 95, 95)),
    ("mean", "exponential", (88, 90, 92)),
    ("sd", "normal", (89, 90, 93)),
    ("sd", "exponential", (75, 75, 82)),
    ("log sd", "normal", (95, 94, 94)),
    ("log sd", "exponential", (89, 82, 86)),
]


@pytest.mark.parametrize(("statistic", "law", "said"), COVERAGES)
def test_intervals_cover_what_the_docstring_says(statistic, law, said):
    function = over_seeds.jackknife_over_seeds
    assert "{}, {}, {} %".format(*said) in " ".join(function.__doc__.split())
    true = {"mean": law == "exponential", "sd": 1, "log sd": 0}

    def make(x):
        return function(x, STATISTICS[statistic])

    for n, percent in zip((4, 10), said):
        share = covered(n, law, make, float(true[statistic]))
        error = 4 * np.sqrt(percent / 100 * (1 - percent / 100) / 400) + 0.005
        assert share == pytest.approx(percent / 100, abs=error)


def test_a_seed_of_two_methods_is_left_out_of_both():
    both = xr.Dataset({"a": draw(6, 5, dims=("seed", "pair"))})
    both["b"] = both.a + 1

    def gap(scores):
        return float((scores.b - scores.a).mean())

    found = over_seeds.jackknife_over_seeds(both, gap)
    assert (float(found.low), float(found.high)) == pytest.approx((1, 1))


def test_power_is_the_noncentral_t_tail_and_the_simulated_share():
    for n, snr in [(2, 0.4), (10, 0.0), (10, 0.9), (25, -0.5)]:
        law, critical = stats.nct(n - 1, np.sqrt(n) * snr), stats.t.isf(0.025, n - 1)
        assert power(snr, n) == pytest.approx(law.sf(critical) + law.cdf(-critical), rel=1e-6)
    noisy = sg.simulate_null(10, 20_000, np.random.default_rng(0)) + 0.9
    assert (sg.t_test(noisy) < 0.05).mean() == pytest.approx(power(0.9, 10), abs=0.012)
    assert np.shape(power(np.zeros((2, 3)), 10)) == (2, 3)


def test_seeds_needed():
    assert seeds_needed(0.5) == 34  # the textbook number for d = 0.5, level 5 %, power 80 %
    for snr, alpha, target in [(30, 0.05, 0.8), (1, 1e-4, 0.9), (-0.1, 0.05, 0.5)]:
        n = seeds_needed(snr, alpha, target)
        assert power(snr, n, alpha) >= target
        assert n == 2 or power(snr, n - 1, alpha) < target


@pytest.mark.parametrize(
    ("n", "alpha", "target"), [(2, 0.05, 0.8), (10, 0.01, 0.3), (80, 0.2, 0.9)]
)
def test_detectable_snr_is_the_inverse_of_power(n, alpha, target):
    found = detectable_snr(n, alpha, target)
    law, critical = stats.nct(n - 1, np.sqrt(n) * found), stats.t.isf(alpha / 2, n - 1)
    assert law.sf(critical) + law.cdf(-critical) == pytest.approx(target, rel=1e-6)
    assert power(0.0, n, alpha) == pytest.approx(alpha, rel=1e-12)


def test_the_level_of_a_discovery_is_a_fixed_point():
    for n_pairs, n_real, q, target in [(1000, 100, 0.1, 0.5), (50, 1, 0.05, 0.8), (9, 9, 0.2, 0.4)]:
        level = discovery_level(n_pairs, n_real, q, target)
        found = (n_pairs - n_real) * level + n_real * target  # false and true discoveries
        least = q / n_pairs
        assert level == pytest.approx(max(least, q * found / n_pairs)) or level == least
        assert level >= least
    assert discovery_level(10, 10, 0.1, 0.5) == pytest.approx(0.05)  # all are real: q * target
    assert discovery_level(1000, 1, 0.1, 0.5) == 0.1 / 1000  # one alone: Bonferroni


# -------------------------------------------------------------- what is just allowed


def test_the_ends_of_what_is_allowed_are_allowed():
    """Each refusal below has a last case that is none."""
    scores = draw(2, 3, dims=("seed", "pair"))
    np.testing.assert_allclose(sg.t_test(scores), stats.ttest_1samp(scores.values, 0).pvalue)
    runs = draw(2, 3, dims=("seed", "checkpoint"))
    np.testing.assert_array_equal(over_seeds.average_checkpoints(runs, 1), runs[:, -1])
    np.testing.assert_allclose(over_seeds.average_checkpoints(runs, 3), runs.mean("checkpoint"))
    np.testing.assert_array_equal(sg.null_snr_tail_cdf(np.array([0.0, 1.0]), 5), [0, 1])
    ends = xr.DataArray([0.0, 1.0, 0.05], dims="pair")
    np.testing.assert_allclose(sg.benjamini_hochberg(ends).adjusted, [0, 1, 0.075])
    assert sg.benjamini_hochberg(xr.DataArray([0.05], dims="pair")).discovery.all()
    z2 = stats.norm.isf(0.025) ** 2
    assert over_seeds.wilson_interval(0, 3) == pytest.approx((0, z2 / (3 + z2)))
    assert over_seeds.wilson_interval(3, 3) == pytest.approx((3 / (3 + z2), 1))
    assert over_seeds.wilson_interval(0, 0) == (0, 1)
    assert seeds_needed(50.0) == 2


def test_a_p_at_the_level_is_a_discovery_and_a_replication():
    p = xr.DataArray([0.025, 0.05, 0.05000001], dims="pair")
    mu = xr.ones_like(p)
    found = sg.replication(xr.zeros_like(p), mu, p, mu)
    assert (found.n_first, found.n_replicated, found.share) == (3, 2, 2 / 3)
    assert sg.replication(xr.zeros_like(p), mu, p, 0 * mu).n_replicated == 0


# -------------------------------------------------------------- refusals

TWO = xr.Dataset({"a": ("seed", [1.0, 2.0]), "b": ("seed", [1.0, np.nan])})
GOOD = draw(4, 2, 3)
CHECKPOINTS = draw(2, 3, dims=("seed", "checkpoint"))
P = xr.DataArray([0.1, 0.2], dims="pair")
REFUSED = {
    "no dimension 'seed'": lambda: sg.t_test(GOOD.rename(seed="run")),
    "at least 2": lambda: sg.snr_tail(GOOD[:1]),
    "not finite": lambda: sg.sign_flip(GOOD.where(GOOD < 0.5)),
    "pass a generator": lambda: sg.sign_flip(draw(13, 2, 2)),
    "k = 4": lambda: over_seeds.average_checkpoints(CHECKPOINTS, 4),
    "k = 0": lambda: over_seeds.average_checkpoints(CHECKPOINTS, 0),
    "no dimension 'checkpoint'": lambda: over_seeds.average_checkpoints(GOOD, 1),
    "order": lambda: over_seeds.average_checkpoints(
        CHECKPOINTS.assign_coords(checkpoint=[3, 2, 1]), 1
    ),
    "in 0..1": lambda: sg.benjamini_hochberg(P + 1),
    "q = 5": lambda: sg.benjamini_hochberg(P, 5),
    "no dimension \\['query'\\]": lambda: sg.benjamini_hochberg(P, over=["query"]),
    "alpha": lambda: sg.null_snr_tail_cdf(1.5, 10),
    "n = 1": lambda: sg.null_snr_tail(1),
    "law 'cauchy'": lambda: sg.simulate_null(3, 3, np.random.default_rng(), law="cauchy"),
    "k = 3": lambda: over_seeds.wilson_interval(3, 2),
    "snr = 0": lambda: seeds_needed(0),
    "snr = inf": lambda: seeds_needed(np.inf),
    "target = 1": lambda: seeds_needed(1, target=1),
    "alpha = 0 ": lambda: seeds_needed(1, alpha=0),
    "alpha = 0.5 < target = 0.5": lambda: seeds_needed(1, alpha=0.5, target=0.5),
    "target = 1 <": lambda: detectable_snr(5, target=1),
    "alpha = 0 <": lambda: detectable_snr(5, alpha=0),
    "alpha = 0.3 < target = 0.3": lambda: detectable_snr(5, alpha=0.3, target=0.3),
    "n = 1 seeds": lambda: detectable_snr(1),
    "n_real = 0 is": lambda: discovery_level(5, 0),
    "n_real = 6 is": lambda: discovery_level(5, 6),
    "q = 0 and": lambda: discovery_level(5, 1, q=0),
    "q = 1 and": lambda: discovery_level(5, 1, q=1),
    "and target = 0 must": lambda: discovery_level(5, 1, target=0),
    "and target = 1 must": lambda: discovery_level(5, 1, target=1),
    "q = 0 is": lambda: sg.benjamini_hochberg(P, 0),
    "q = 1 is": lambda: sg.benjamini_hochberg(P, 1),
    "none may be missing": lambda: sg.benjamini_hochberg(xr.DataArray([0.5, -1e-9], dims="pair")),
    "lies in 0..1": lambda: sg.null_snr_tail_cdf(np.array([0.5, -1e-9]), 10),
    "that are not finite": lambda: over_seeds.require_seeds(TWO),
    "differ in dimensions": lambda: sg.replication(P, P, P, GOOD),
    "labels": lambda: require_same_pairs(P, P[:1]),
    "mu_first": lambda: sg.replication(P, P * np.nan, P, P),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_the_interval_of_a_mean_is_students():
    values = xr.DataArray(np.random.default_rng(3).normal(size=(6, 4)), dims=("seed", "query"))
    found = mean_over_seeds(values)
    low, high = stats.ttest_1samp(values.values, 0, axis=0).confidence_interval()
    np.testing.assert_allclose(found["estimate"], values.mean("seed"))
    np.testing.assert_allclose(found["low"], low)
    np.testing.assert_allclose(found["high"], high)
    turned = mean_over_seeds(values.rename(seed="set", query="seed"), dim="set")
    np.testing.assert_allclose(turned["high"], high)
    one = mean_interval(values[:, 0].values)
    assert tuple(one.values()) == pytest.approx((float(found["estimate"][0]), low[0], high[0]))


def test_between_within_against_anova():
    scores = draw(6, 5, 3, dims=("seed", "checkpoint", "pair")) + 2 * draw(6, 1, 3, seed=1).values
    parts = over_seeds.between_within(scores)
    for pair in range(3):
        ratio = stats.f_oneway(*scores.values[:, :, pair]).statistic
        within = np.mean([np.var(run, ddof=1) for run in scores.values[:, :, pair]])
        assert parts.within[pair].item() == pytest.approx(within)
        assert parts.between_raw[pair].item() == pytest.approx((ratio - 1) * within / 5)


def test_between_within_recovers_components_and_truncates():
    runs = 3 * draw(40, 1, 500, dims=("seed", "checkpoint", "pair"))
    scores = runs.values + draw(40, 4, 500, dims=runs.dims, seed=1)
    assert over_seeds.between_within(scores).mean().to_array().values == pytest.approx(
        [9, 1, 9], rel=0.03
    )
    noise = over_seeds.between_within(draw(5, 4, 500, dims=runs.dims))
    assert abs(noise.between_raw.mean()) < 0.03  # unbiased, hence negative about half the time
    assert (noise.between_raw < 0).mean() > 0.4
    np.testing.assert_array_equal(noise.between, np.maximum(noise.between_raw, 0))
