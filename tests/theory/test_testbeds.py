"""The anchored ridge testbed: exact laws against simulated runs, double loops and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy import integrate, stats

from dtda_lib.statistics.distances import DISTANCES
from dtda_lib.statistics.distributions import distance, shifted_samples
from dtda_lib.theory.testbeds import (
    AnchoredRidge,
    GaussianLaw,
    gaussian_distances,
    line_with_far_point,
)

GROUPS = [[0], [1, 4], [2, 3, 5]]


def make_bed(target_sd=0.0, seed=0, n_train=7, n_feature=3, n_query=4):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((n_train + n_query, n_feature))
    y = x[:n_train].sum(axis=1) + generator.standard_normal(n_train)
    return AnchoredRidge(
        x[:n_train], y, x[n_train:], strength=0.3, anchor_sd=1.5, target_sd=target_sd
    )


def assert_moments(law, draws, n_sigma=4.5):
    """Mean and variance of simulated runs within their Monte-Carlo errors."""
    n = draws.sizes["seed"]
    mean_error = law.sd / np.sqrt(n)
    variance_error = law.variance * np.sqrt(2 / (n - 1))
    assert (abs(draws.mean("seed") - law.mean) < n_sigma * mean_error).all()
    assert (abs(draws.var("seed", ddof=1) - law.variance) < n_sigma * variance_error).all()


# -------------------------------------------------------------- exact laws against simulated runs


@pytest.mark.parametrize(("target_sd", "n_seeds"), [(0.0, 10_000), (0.8, 100_000)])
def test_exact_laws_are_those_of_simulated_runs(target_sd, n_seeds):
    bed = make_bed(target_sd, n_query=2)
    runs = bed.simulate(n_seeds, np.random.default_rng(1), GROUPS)
    assert_moments(bed.law(), runs.base)
    exact = bed.without(GROUPS)
    assert_moments(exact, runs.retrained)
    for name, leverage in (("influence", False), ("leverage_corrected", True)):
        predicted = shifted_samples(runs.base, runs[name], GROUPS)
        assert_moments(bed.predicted(GROUPS, leverage=leverage), predicted)
    # Runs that share their seeds: how far they go together is exact too.
    together = xr.cov(runs.base, runs.retrained, dim="seed", ddof=1)
    error = bed.law().sd * exact.sd * np.sqrt(2 / len(runs.seed))
    assert (abs(together - bed.law().covariance(exact)) < 4.5 * error).all()
    # And the check can fail: without removal, moments are others.
    with pytest.raises(AssertionError):
        assert_moments(bed.predicted(GROUPS), runs.retrained)


def test_a_run_is_the_minimum_of_its_objective():
    bed = make_bed(0.5)
    runs = bed.simulate(3, np.random.default_rng(2), [[1, 4]])
    generator = np.random.default_rng(2)
    anchors = 1.5 * generator.standard_normal((3, 3))
    noise = 0.5 * generator.standard_normal((3, 7))
    for seed in range(3):
        theta = {"base": np.ones(7), "retrained": np.array([1.0, 0, 1, 1, 0, 1, 1])}
        for name, weight in theta.items():
            curvature = 0.3 * np.eye(3)
            pull = 0.3 * anchors[seed]
            for n in range(7):
                x = bed.train_x[n]
                curvature = curvature + weight[n] * np.outer(x, x) / 7
                pull = pull + weight[n] * x * (bed.train_y[n] + noise[seed, n]) / 7
            expected = bed.query_x @ np.linalg.inv(curvature) @ pull
            found = runs[name][seed].squeeze().values
            np.testing.assert_allclose(found, expected, rtol=1e-9)


# -------------------------------------------------------------- closed forms of the digest


def test_the_law_of_all_data_is_the_published_formula():
    bed = make_bed()
    a = bed.train_x.T @ bed.train_x / 7 + 0.3 * np.eye(3)
    inverse = np.linalg.inv(a)
    mean = bed.query_x @ inverse @ bed.train_x.T @ bed.train_y / 7
    covariance = 0.3**2 * 1.5**2 * inverse @ inverse
    np.testing.assert_allclose(bed.law().mean, mean, rtol=1e-12)
    variance = np.einsum("qf,fg,qg->q", bed.query_x, covariance, bed.query_x)
    np.testing.assert_allclose(bed.law().variance, variance, rtol=1e-12)
    # section 8: variance = lambda^2 s^2 |A^-1 (x_q + a x_k)|^2, mean = E m + a E e_k
    theta = inverse @ bed.train_x.T @ bed.train_y / 7
    for leverage in (False, True):
        predicted = bed.predicted(leverage=leverage)
        for k in range(7):
            h = bed.train_x[k] @ inverse @ bed.train_x[k] / 7
            assert bed.leverages()[k] == pytest.approx(h)
            for q in range(4):
                x = bed.query_x[q]
                pull = x @ inverse @ bed.train_x[k] / 7 / (1 - h if leverage else 1)
                sd = 0.3 * 1.5 * np.linalg.norm(inverse @ (x + pull * bed.train_x[k]))
                residual = bed.train_x[k] @ theta - bed.train_y[k]
                assert predicted.sd[k, q].item() == pytest.approx(sd)
                assert predicted.mean[k, q].item() == pytest.approx(mean[q] + pull * residual)


@pytest.mark.parametrize("target_sd", [0.0, 0.8])
def test_the_leverage_correction_is_exact_for_one_point_and_influence_is_not(target_sd):
    bed = make_bed(target_sd)
    truth, rif, plain = bed.without(), bed.predicted(leverage=True), bed.predicted()
    np.testing.assert_allclose(rif.mean, truth.mean, rtol=1e-10)
    np.testing.assert_allclose(rif.loading, truth.loading, rtol=1e-8, atol=1e-12)
    under = (plain.mean - bed.law().mean) / (truth.mean - bed.law().mean)
    np.testing.assert_allclose(under, 1 - bed.leverages()[:, None] + 0 * under, rtol=1e-9)
    assert abs(bed.without(GROUPS).mean - bed.predicted(GROUPS, leverage=True).mean).max() > 0.01


def test_a_large_testbed_is_one_over_n():
    """Doubling the data halves a point's influence, at equal curvature."""
    bed = make_bed()
    twice = replace(bed, train_x=np.tile(bed.train_x, (2, 1)), train_y=np.tile(bed.train_y, 2))
    once = bed.predicted([[3]]).mean - bed.law().mean
    np.testing.assert_allclose(twice.predicted([[3]]).mean - twice.law().mean, once / 2)
    both = twice.predicted([[3, 10]]).mean - twice.law().mean  # a group's shift is a sum
    np.testing.assert_allclose(both[0], once[0], rtol=1e-9)


def test_randomised_map_samples_the_bayesian_posterior():
    noise, prior = 0.7, 1.5
    bed = replace(make_bed(noise), strength=noise**2 / (7 * prior**2), anchor_sd=prior)
    precision = bed.train_x.T @ bed.train_x / noise**2 + np.eye(3) / prior**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ bed.train_x.T @ bed.train_y / noise**2
    np.testing.assert_allclose(bed.law().mean, bed.query_x @ mean, rtol=1e-10)
    variance = np.einsum("qf,fg,qg->q", bed.query_x, covariance, bed.query_x)
    np.testing.assert_allclose(bed.law().variance, variance, rtol=1e-10)


# -------------------------------------------------------------- variance without mean


def test_with_targets_of_zero_only_variances_change():
    bed = replace(make_bed(), train_y=np.zeros(7))
    for law in (bed.without(), bed.predicted(), bed.predicted(leverage=True)):
        np.testing.assert_array_equal(law.mean, 0)
        assert (law.variance > 1.01 * bed.law().variance).any()


def test_a_neutral_point_changes_variances_and_no_mean():
    bed, far = line_with_far_point()
    assert bed.leverages().argmax() == far
    for law in (bed.without([[far]]), bed.predicted([[far]])):
        shift = abs(law.mean - bed.law().mean)
        assert shift.max() < 1e-14
        assert np.log(law.variance / bed.law().variance).max() > 0.5
    others = bed.without([[k] for k in range(far)]).mean - bed.law().mean
    assert (abs(others).max("query") > 1e-3).all()
    # Neutral is the target, not the input.
    moved = replace(bed, train_y=bed.train_y + 0.1 * (np.arange(far + 1) == far))
    assert abs(moved.without([[far]]).mean - moved.law().mean).max() > 0.01
    # All removal's change of variance is seen by runs that are trained.
    runs = bed.simulate(2000, np.random.default_rng(0), [[far]])
    widest = int((bed.without([[far]]).variance - bed.law().variance).values.argmax())
    one = runs.isel(query=widest)
    mean = distance(one.base, one.retrained, "mean", paired=True, n_permutations=0, level=0.999)
    ratio = distance(
        one.base, one.retrained, "log_variance_ratio", paired=True, n_permutations=0, level=0.999
    )
    assert mean.low.item() < 0 < mean.high.item()
    truth = float(np.log(bed.without([[far]]).variance / bed.law().variance)[0, widest])
    assert 0 < ratio.low.item() < truth < ratio.high.item()


# -------------------------------------------------------------- distances between Gaussian laws


def gaussian(mean, sd):
    """A law of one query for each mean."""
    return GaussianLaw(
        xr.DataArray(mean, dims="query"), xr.DataArray(np.diag(sd), dims=("query", "source"))
    )


MEANS, SDS = [0.3, 0.0, 0.0, -2.0, 0.5, 0.0], [1.0, 1.5, 0.4, 3.0, 1 + 1e-9, 1.0]
BEFORE, AFTER = gaussian([0.0] * 6, [1.0] * 6), gaussian(MEANS, SDS)


def test_gaussian_distances_are_those_of_fine_quantiles():
    levels = (np.arange(20_000) + 0.5) / 20_000
    x = stats.norm.ppf(levels)[:, None] * np.ones(6)
    y = stats.norm.ppf(levels)[:, None] * SDS + MEANS
    found = gaussian_distances(BEFORE, AFTER)
    assert set(found) == set(DISTANCES)
    for name, each in DISTANCES.items():
        np.testing.assert_allclose(found[name], each(x, y), atol=3e-3, rtol=3e-3, err_msg=name)
    np.testing.assert_allclose(found.to_array()[:, -1], 0, atol=1e-7)


def test_gaussian_distances_are_those_of_quadrature():
    found = gaussian_distances(BEFORE, AFTER)
    grid = np.linspace(-30, 30, 200_001)
    for q, (mean, sd) in enumerate(zip(MEANS, SDS)):
        gap = stats.norm.cdf(grid) - stats.norm.cdf(grid, mean, sd)
        assert found.w1[q] == pytest.approx(integrate.trapezoid(abs(gap), grid), abs=1e-6)
        energy = np.sqrt(2 * integrate.trapezoid(gap**2, grid))
        assert found.energy[q] == pytest.approx(energy, abs=1e-6)
        assert found.ks[q] == pytest.approx(abs(gap).max(), abs=1e-8)


def test_gaussian_distances_keep_named_axes():
    bed = make_bed()
    found = gaussian_distances(bed.law(), bed.without(GROUPS))
    assert found.w2.dims == ("removal", "query")
    assert list(found["removal"].values) == ["0", "1+4", "2+3+5"]
    shift = bed.without(GROUPS).mean - bed.law().mean
    np.testing.assert_allclose(found["mean"], shift)
    np.testing.assert_allclose(found.w2**2, shift**2 + (bed.without(GROUPS).sd - bed.law().sd) ** 2)
    labelled = GaussianLaw(*(a.assign_coords(query=list("abcd")) for a in vars(bed.law()).values()))
    other = GaussianLaw(*(a.assign_coords(query=list("abce")) for a in vars(bed.law()).values()))
    with pytest.raises(ValueError, match="labels"):
        gaussian_distances(labelled, other)


# -------------------------------------------------------------- refusals

BED = make_bed()


def test_the_usual_line_is_what_its_text_says():
    bed, far = line_with_far_point()
    assert (bed.n_train, far, bed.target_sd) == (12, 11, 0)
    np.testing.assert_allclose(bed.train_x[:, 1], [*np.linspace(-1, 1, 11), 3])
    np.testing.assert_allclose(bed.query_x[[0, -1], 1], [-1, 3])
    np.testing.assert_allclose(bed.without([[far]]).mean, [bed.law().mean], atol=1e-12)
    plain = AnchoredRidge(BED.train_x, BED.train_y, BED.query_x, 0.3)
    assert (plain.anchor_sd, plain.target_sd) == (1, 0)


REFUSED = {
    "do not fit": lambda: replace(BED, train_y=BED.train_y[:3]),
    "not finite": lambda: replace(BED, train_y=BED.train_y * np.nan),
    "strength and anchor_sd": lambda: replace(BED, strength=0),
    "target_sd not negative": lambda: replace(BED, target_sd=-1),
    "hold values that are not": lambda: replace(BED, query_x=[[1, 0, 0], [1, np.inf, 0]]),
    "values that are not finite": lambda: replace(BED, train_y=[0, 0, 0, np.nan, 0, 0, 0]),
    "anchor_sd are positive": lambda: replace(BED, anchor_sd=0),
    "strength and anchor_sd are": lambda: replace(BED, strength=-1),
    "query of zeros": lambda: replace(BED, query_x=0 * BED.query_x),
    "its prediction is always 0": lambda: replace(BED, query_x=[[1, 0, 0], [0, 0, 0]]),
    "testbed: shapes": lambda: replace(BED, query_x=np.ones((4, 2))),
    r"group \[0, 7\]": lambda: BED.without([[0, 7]]),
    r"group \[7\]": lambda: BED.without([[7]]),
    r"group \[-1\]": lambda: BED.predicted([[-1]]),
    r"group \[\]": lambda: BED.predicted([[]]),
    r"group \[2, 2\]": lambda: BED.simulate(1, np.random.default_rng(0), [[2, 2]]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
