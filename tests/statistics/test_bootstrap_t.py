"""The pooled bootstrap t: its null law by enumeration, its level under skew, its power."""

from itertools import product

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics import bootstrap_t as bt
from dtda_lib.statistics import significance as sg
from dtda_lib.statistics.power import CRITICAL, detectable_snr, power, seeds_needed


def every_resample(values):
    """|t| of the residuals of one pair, over all n^n resamples, by the textbook."""
    residuals = values - values.mean()
    found = []
    for drawn in product(range(len(values)), repeat=len(values)):
        sample = residuals[list(drawn)]
        equal = np.ptp(sample) == 0
        found.append(np.inf if equal else abs(stats.ttest_1samp(sample, 0).statistic))
    return np.array(found)


def study(n, pairs, seed=0, law="normal"):
    null = sg.simulate_null(n, pairs, np.random.default_rng(seed), law=law)
    return null.assign_coords(pair=np.arange(pairs))


def test_the_null_law_is_that_of_all_resamples():
    values = study(4, 2).values
    exact = np.sort(np.concatenate([every_resample(one) for one in values.T]))
    drawn = bt.resampled_null(values, np.random.default_rng(1), 40_000)
    assert len(drawn) == 80_000
    assert (np.diff(drawn[np.isfinite(drawn)]) >= 0).all()
    assert np.isinf(exact).mean() == bt.smallest_p(4) == 4**-3
    for t in (0.3, 1.1, 2.7, 9.0, 1e9):
        share = (exact >= t).mean()
        error = np.sqrt(share * (1 - share) / 40_000)  # both pairs share their draws
        assert abs((drawn >= t).mean() - share) < 4 * error


def test_p_counts_the_null_law_and_the_quantile_inverts_it():
    null = np.array([0.5, 1.0, 1.0, 2.0, np.inf])
    t = np.array([0.0, 0.5, 0.7, -1.0, 1.5, 2.0, 3.0, -np.inf])
    expected = [(1 + sum(one >= abs(value) for one in null)) / 6 for value in t]
    np.testing.assert_allclose(bt.exceedance(null, t), expected)
    for alpha in (0.05, 1 / 6, 0.3, 2 / 6, 0.5, 5 / 6, 1.0):
        beyond = np.abs(t) > bt.quantile(null, alpha)
        np.testing.assert_array_equal(beyond, (bt.exceedance(null, t) <= alpha) & (t != 0))


def test_pairs_share_one_null_law_and_families_do_not():
    loud = study(8, 6, 1).values[:, :, None] * np.array([1.0, 1e3])
    scores = xr.DataArray(loud, dims=("seed", "train", "query"))
    options = {"n_resamples": 50}
    by_query = sg.bootstrap_t(scores, over=["train"], **options)
    np.testing.assert_allclose(by_query.p[:, 0], by_query.p[:, 1])  # a unit changes nothing
    alone = sg.bootstrap_t(scores[:, :, :1], **options)
    np.testing.assert_array_equal(alone.p[:, 0], by_query.p[:, 0])
    t = stats.ttest_1samp(loud[:, :, 0], 0).statistic
    null = bt.resampled_null(
        loud[:, :, 0], np.random.default_rng(int(np.random.default_rng(0).integers(2**32))), 50
    )
    np.testing.assert_allclose(alone.p[:, 0], bt.exceedance(null, t))
    level = xr.DataArray(np.linspace(0.05, 0.5, 6), dims="train")
    critical = by_query.critical(level)
    assert critical.dims == ("train", "query")
    expected = [bt.quantile(null, one) for one in level.values]
    np.testing.assert_allclose(critical[:, 1], expected)


def test_neither_sign_nor_offset_of_the_null_nor_order_matters():
    scores = study(8, 20, 2)
    p = sg.bootstrap_t(scores).p
    np.testing.assert_allclose(sg.bootstrap_t(-scores).p, p)
    np.testing.assert_allclose(sg.bootstrap_t(scores * 7.0).p, p)
    # Other resamples for another order, but the same law.
    np.testing.assert_allclose(sg.bootstrap_t(scores[:, ::-1]).p[::-1], p, rtol=0.2, atol=1e-3)
    # A real effect of another pair does not change the null law: residuals leave it out.
    moved = scores + xr.where(scores["pair"] == 0, 100.0, 0.0)
    np.testing.assert_allclose(sg.bootstrap_t(moved).p[1:], p[1:])
    assert sg.bootstrap_t(moved).p[0] < 1e-3


def test_pairs_without_noise_are_sure_and_stay_out_of_the_null():
    scores = study(8, 5, 3)
    sure = xr.DataArray([[1.0, 0.0]] * 8, {"pair": [5, 6]}, dims=("seed", "pair"))
    quiet = xr.concat([scores, sure], "pair")
    p = sg.bootstrap_t(quiet).p.values
    np.testing.assert_allclose(p[:5], sg.bootstrap_t(scores).p)
    assert p[5] == 1 / (1 + 5 * bt.N_RESAMPLES)
    assert p[6] == 1


def share(law, n, level, test):
    return float((sg.MEAN_TESTS[test](study(n, 5_000, 4, law), None, None).p <= level).mean())


@pytest.mark.parametrize("law", ["normal", "t3", "skewed", "log_normal"])
def test_it_keeps_its_level_where_student_does_not(law):
    """Also far in the tail, where false discovery rates are decided."""
    for n in (8, 16):
        assert share(law, n, 0.05, "bootstrap_t") < 0.067
        assert share(law, n, 0.001, "bootstrap_t") < 0.002
    skewed = law in ("skewed", "log_normal")
    assert (share(law, 16, 0.001, "t") > 0.01) == skewed


def test_what_the_docstring_of_student_says():
    said = sg.t_test.__doc__
    assert "p < 0.05 in 10 % and p < 0.0005 in 1.2 % of pairs" in " ".join(said.split())
    assert share("skewed", 10, 0.05, "t") == pytest.approx(0.10, abs=0.015)
    assert share("skewed", 10, 0.0005, "t") == pytest.approx(0.012, abs=0.005)
    assert "p < 0.05 in 9 % of" in " ".join(sg.sign_flip.__doc__.split())
    assert share("skewed", 10, 0.05, "sign_flip") == pytest.approx(0.09, abs=0.015)


# ---------------------------------------------------------------- power


@pytest.mark.parametrize(("n", "alpha"), [(8, 0.05), (16, 0.002)])
def test_power_is_the_share_that_a_study_finds(n, alpha):
    snr = detectable_snr(n, alpha, 0.8, test="bootstrap_t")
    found = sg.bootstrap_t(study(n, 2_000, 5) + snr).p <= alpha
    assert float(found.mean()) == pytest.approx(0.8, abs=0.035)
    assert power(snr, n, alpha, test="bootstrap_t") == pytest.approx(0.8)
    assert power(snr, n, alpha) > 0.8  # Student's, for Gaussian seeds, is stronger


def test_power_at_no_effect_is_the_level_of_gaussian_seeds():
    null = float((sg.bootstrap_t(study(16, 4_000, 6)).p <= 0.05).mean())
    assert power(0.0, 16, 0.05, test="bootstrap_t") == pytest.approx(null, abs=0.012)
    assert power(0.0, 16, 0.05) == pytest.approx(0.05)


def test_finer_levels_follow_the_tail():
    """Extrapolated below 2e-5; a run of four times as many draws gives the same."""
    generator = np.random.default_rng(9)
    null = bt.resampled_null(generator.standard_normal((16, 4_000)), generator, 500)
    for alpha in (1e-3, 5e-5, 8e-6):
        expected = bt.quantile(null, alpha)
        assert bt.gaussian_quantile(16, alpha) == pytest.approx(expected, rel=0.15)
    grid = [bt.gaussian_quantile(16, alpha) for alpha in (0.1, 1e-3, 2e-5, 1.9e-5, 1e-7)]
    assert grid == sorted(grid)


def test_too_few_seeds_find_nothing_and_are_told_how_many_do():
    assert bt.gaussian_quantile(6, 1e-4) == np.inf
    assert power(50.0, 6, 1e-4, test="bootstrap_t") == 0
    assert detectable_snr(6, 1e-4, test="bootstrap_t") == np.inf
    n = seeds_needed(3.0, 1e-4, test="bootstrap_t")
    assert (
        power(3.0, n, 1e-4, test="bootstrap_t") >= 0.8 > power(3.0, n - 1, 1e-4, test="bootstrap_t")
    )
    for test, few, enough in (("bootstrap_t", 3, 4), ("sign_flip", 5, 6)):
        with pytest.raises(ValueError, match=f"train at least {enough} seeds"):
            sg.require_reach(test, few, 0.05)
        sg.require_reach(test, enough, 0.05)
    sg.require_reach("t", 2, 1e-9)
    sg.require_reach("sign_flip", 5, 2.0**-4)  # its smallest p is the level
    with pytest.raises(ValueError, match="train at least 5 seeds"):
        sg.require_reach("sign_flip", 4, 2.0**-4)
    with pytest.raises(ValueError, match="unknown test 'wilcoxon'"):
        sg.require_reach("wilcoxon", 10, 0.05)
    with pytest.raises(ValueError, match="test of known power"):
        power(1.0, 10, test="sign_flip")
    assert set(CRITICAL) < set(sg.MEAN_TESTS)
