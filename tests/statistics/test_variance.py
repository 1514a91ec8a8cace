"""Variance components against loops, known components, invariances and simulated coverage."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.runs.protocols import crossed_pairs
from dtda_lib.statistics import variance as va

DIMS = ("init", "order", "train", "query")


def draw(a, b, train=3, query=4, sds=(1.0, 0.5, 0.7), mu=0.0, seed=0, law="normal"):
    """mu + A_init + B_order + E, independent for every pair."""
    rng = np.random.default_rng(seed)

    def effect(*shape):
        if law == "t5":
            return rng.standard_t(5, size=shape) / np.sqrt(5 / 3)
        return rng.standard_normal(shape)

    parts = [effect(*shape, train, query) for shape in ((a, 1), (1, b), (a, b))]
    return xr.DataArray(mu + sum(s * p for s, p in zip(sds, parts)), dims=DIMS)


def looped(x):
    """Mean squares, components and squared mean of one pair, `x` (init, order), in plain loops."""
    a, b = len(x), len(x[0])
    grand = sum(map(sum, x)) / (a * b)
    rows = [sum(row) / b for row in x]
    columns = [sum(x[i][o] for i in range(a)) / a for o in range(b)]
    ms_a = b * sum((r - grand) ** 2 for r in rows) / (a - 1)
    ms_b = a * sum((c - grand) ** 2 for c in columns) / (b - 1)
    rest = [x[i][o] - rows[i] - columns[o] + grand for i in range(a) for o in range(b)]
    ms_e = sum(r**2 for r in rest) / ((a - 1) * (b - 1))
    components = [(ms_a - ms_e) / b, (ms_b - ms_e) / a, ms_e]
    error = components[0] / a + components[1] / b + components[2] / (a * b)
    return [ms_a, ms_b, ms_e], components, grand**2 - error


# -------------------------------------------------------------- pair by pair


@pytest.mark.parametrize(("a", "b"), [(2, 2), (4, 3), (3, 5)])
def test_components_are_the_loops(a, b):
    scores = draw(a, b, mu=0.5)
    parts = va.variance_components(scores)
    assert list(parts.component.values) == list(va.COMPONENTS)
    for j, q in np.ndindex(3, 4):
        squares, components, signal = looped(scores.values[:, :, j, q].tolist())
        at = parts.isel(train=j, query=q)
        np.testing.assert_allclose(at["mean_square"], squares)
        np.testing.assert_allclose(at["variance"], components, atol=1e-14)
        assert float(at["signal"]) == pytest.approx(signal)


def test_additive_effects_have_their_own_variance_and_no_interaction():
    init, order = np.array([1.0, 4, -2, 5]), np.array([0.5, -1, 3])
    scores = xr.DataArray(7 + init[:, None] + order, dims=DIMS[:2])
    expected = [np.var(init, ddof=1), np.var(order, ddof=1), 0]
    np.testing.assert_allclose(va.variance_components(scores)["variance"], expected, atol=1e-12)


def test_components_and_signal_are_unbiased_and_not_clipped():
    scores = draw(4, 3, 100, 200, sds=(1.0, 0.3, 0.8), mu=0.6, law="t5")
    parts = va.variance_components(scores)
    truth = {"init": 1.0, "order": 0.09, "init x order": 0.64}
    for name, value in truth.items():
        found = parts["variance"].sel(component=name)
        assert abs(found.mean() - value) < 4 * found.std() / np.sqrt(found.size), name
    assert abs(parts["signal"].mean() - 0.36) < 4 * parts["signal"].std() / np.sqrt(20_000)
    assert (parts["variance"].sel(component="order") < 0).mean() > 0.2


def test_invariances_of_the_components():
    scores = draw(4, 5, mu=1)
    parts = va.variance_components(scores)["variance"]
    shuffled = scores.isel(init=[2, 0, 3, 1], order=[4, 2, 0, 1, 3])
    xr.testing.assert_allclose(va.variance_components(shuffled)["variance"], parts)
    xr.testing.assert_allclose(va.variance_components(-3 * scores + 8)["variance"], 9 * parts)
    swapped = va.variance_components(scores.rename(init="order", order="init"))["variance"]
    np.testing.assert_allclose(swapped.sel(component="init"), parts.sel(component="order"))
    np.testing.assert_allclose(
        swapped.sel(component="init x order"), parts.sel(component="init x order")
    )
    assert va.variance_components(scores.astype(np.float32))["variance"].dtype == np.float64


def test_full_batches_have_no_order_component():
    scores = draw(5, 4, sds=(1, 0, 0), mu=0.3)  # batch order changes nothing
    parts = va.variance_components(scores)["variance"]
    scale = float(parts.sel(component="init").mean())
    for name in ("order", "init x order"):
        np.testing.assert_allclose(parts.sel(component=name), 0, atol=1e-14 * scale)
    shares = va.variance_shares(scores)
    np.testing.assert_array_equal(shares["estimate"], [1, 0, 0])
    np.testing.assert_allclose(shares["high"] - shares["low"], 0, atol=1e-12)
    found = va.init_minus_order(scores)
    assert float(found["low"].sel(comparison="difference")) == pytest.approx(1)
    assert (found.sel(comparison="ratio").to_array() == np.inf).all()


def test_runs_of_crossed_pairs_are_unfolded_in_their_order():
    pairs = crossed_pairs([10, 20, 30], [1, 2])
    runs = xr.DataArray([[i + o] for i, o in pairs], {"query": ["x"]}, ("seed", "query"))
    scores = va.crossed(runs, 3)
    assert scores.dims == ("init", "order", "query")
    np.testing.assert_array_equal(scores[..., 0], [[11, 12], [21, 22], [31, 32]])
    assert list(scores["query"].values) == ["x"]


# -------------------------------------------------------------- exact intervals of one pair


def test_exact_intervals_cover_and_their_tests_are_calibrated():
    sds = (0.8, 0.0, 1.0)
    scores = draw(5, 4, 100, 100, sds=sds, seed=4)
    found = va.exact_ratios(scores)
    truth = {"init": 0.64, "order": 0.0, "init / order": (0.64 + 1 / 4) / (0 + 1 / 5)}
    for name, value in truth.items():
        at = found.sel(ratio=name)
        covered = float(((at["low"] <= value) & (value <= at["high"])).mean())
        # An interval cut at 0 holds a component of 0 unless it lies wholly above.
        expected = 0.975 if name == "order" else 0.95
        assert covered == pytest.approx(expected, abs=4 * np.sqrt(0.05 / 1e4)), name
    assert stats.kstest(found["p"].sel(ratio="order").values.ravel(), "uniform").pvalue > 0.01
    equal = va.exact_ratios(draw(4, 4, 60, 60, sds=(1, 1, 0.5)))["p"].sel(ratio="init / order")
    assert stats.kstest(equal.values.ravel(), "uniform").pvalue > 0.01


def test_exact_ratios_by_hand():
    scores = draw(4, 3, 1, 1)
    squares, components, _ = looped(scores.values[:, :, 0, 0].tolist())
    found = va.exact_ratios(scores, level=0.9).squeeze()
    assert float(found["estimate"].sel(ratio="init")) == pytest.approx(
        components[0] / components[2]
    )
    ratio = squares[0] / squares[2]
    high = (ratio / stats.f.ppf(0.05, 3, 6) - 1) / 3
    assert float(found["high"].sel(ratio="init")) == pytest.approx(high)
    assert float(found["p"].sel(ratio="init")) == pytest.approx(stats.f.sf(ratio, 3, 6))
    assert float(found["estimate"].sel(ratio="init / order")) == pytest.approx(
        (squares[0] / 3) / (squares[1] / 4)
    )


@pytest.mark.parametrize("sds", [(3.0, 0.2, 1.0), (0.2, 3.0, 1.0), (1.0, 1.0, 1.0)])
def test_init_against_order_has_two_sides(sds):
    """The p of the F ratio in either direction, and of the seeds in either role."""
    scores = draw(5, 4, 3, 2, sds=sds)
    found = va.exact_ratios(scores)["p"].sel(ratio="init / order")
    for j, q in np.ndindex(3, 2):
        (init, order, _), *_ = looped(scores.values[:, :, j, q].tolist())
        ratio = (init / 4) / (order / 5)
        tails = stats.f.sf(ratio, 4, 3), stats.f.cdf(ratio, 4, 3)
        assert float(found[j, q]) == pytest.approx(2 * min(tails)), "twice the smaller tail"
    swapped = va.exact_ratios(scores.rename(init="order", order="init"))["p"]
    np.testing.assert_allclose(swapped.sel(ratio="init / order"), found)


# -------------------------------------------------------------- pooled


def pooled(scores):
    """Shares and signal by way of every pair."""
    parts = va.variance_components(scores)
    sums = parts["variance"].sum(("train", "query"))
    return np.append(sums / sums.sum(), parts["signal"].sum() / sums.sum())


def looped_jackknife(scores, statistic):
    """Added delete-one variances and Satterthwaite's t half-width."""
    variances, df = [], []
    for dim in ("init", "order"):
        n = scores.sizes[dim]
        values = [statistic(scores.drop_isel({dim: [i]})) for i in range(n)]
        variances.append((n - 1) / n * ((values - np.mean(values, 0)) ** 2).sum(0))
        df.append(n - 1)
    total = variances[0] + variances[1]
    freedom = total**2 / (variances[0] ** 2 / df[0] + variances[1] ** 2 / df[1])
    return stats.t.ppf(0.975, freedom) * np.sqrt(total)


def test_shares_are_sums_over_pairs_with_the_looped_jackknife():
    scores = draw(4, 5, mu=1)
    found = va.variance_shares(scores)
    expected, half = pooled(scores), looped_jackknife(scores, pooled)
    for sign, name in ((0, "estimate"), (-1, "low"), (1, "high")):
        np.testing.assert_allclose(found[name], (expected + sign * half)[:3])
    assert float(found["estimate"].sum()) == pytest.approx(1)
    ends = [float(found[name]) for name in ("signal", "signal_low", "signal_high")]
    np.testing.assert_allclose(ends, expected[3] + half[3] * np.array([0, -1, 1]))


def test_other_dimensions_stay_and_units_and_order_do_not_matter():
    one, two = draw(4, 3), draw(4, 3, seed=1)
    both = xr.concat([one, two], xr.DataArray([10, 20], dims="size", name="size"))
    found = va.variance_shares(both)
    assert found["estimate"].dims == ("component", "size")
    assert found["signal"].dims == ("size",)
    alone = va.variance_shares(-1e-6 * two.transpose("query", "order", "train", "init"))
    np.testing.assert_allclose(found.sel(size=20)["low"], alone["low"])
    comparison = va.init_minus_order(both).sel(size=20, drop=True)
    np.testing.assert_allclose(comparison.to_array(), va.init_minus_order(two).to_array())


@pytest.mark.parametrize(
    ("sds", "bounded"), [((1.0, 0.9, 0.2), True), ((1.0, 0.1, 0.3), False), ((0, 0.2, 1), False)]
)
def test_ratio_interval_is_what_fieller_does_not_reject(sds, bounded):
    scores = draw(6, 5, 6, 6, sds=sds, seed=2)
    found = va.init_minus_order(scores)
    low, high = (float(found[name].sel(comparison="ratio")) for name in ("low", "high"))
    assert np.isfinite(high) == bounded
    everything = pooled(scores)
    parts = [
        np.array([pooled(scores.drop_isel({dim: [i]})) for i in range(scores.sizes[dim])])
        for dim in ("init", "order")
    ]

    def variances(r):
        """Jackknife variances, by init and by order, of share of init - r share of order."""
        return np.array([(len(part) - 1) * np.var(part @ [1, -r, 0, 0]) for part in parts])

    freedom = variances(1).sum() ** 2 / (variances(1) ** 2 / [len(p) - 1 for p in parts]).sum()
    quantile = stats.t.ppf(0.975, freedom)
    difference = found.sel(comparison="difference")
    half = float(difference["high"] - difference["estimate"])
    assert half == pytest.approx(quantile * np.sqrt(variances(1).sum()))
    for r in np.geomspace(1e-3, 1e3, 200):
        gap = abs(everything[0] - r * everything[1])
        assert (gap <= quantile * np.sqrt(variances(r).sum())) == (low <= r <= high), r


def low_rank(a, b, shares, rank, law, rng, train=6, query=10):
    """Runs whose effects have `rank` directions in the space of pairs, of falling weight."""
    weight = np.arange(1, rank + 1) ** -0.5
    loads = np.random.default_rng(5).normal(size=(3, rank, train * query)) * weight[:, None]
    loads /= np.sqrt((loads**2).sum((1, 2), keepdims=True))

    def effect(*shape):
        if law == "t5":
            return rng.standard_t(5, size=shape) / np.sqrt(5 / 3)
        return rng.standard_normal(shape)

    shapes = ((a, 1, rank), (1, b, rank), (a, b, rank))
    parts = [np.sqrt(s) * (effect(*n) @ load) for s, n, load in zip(shares, shapes, loads)]
    return xr.DataArray(sum(parts).reshape(a, b, train, query), dims=DIMS)


def coverage(a, b, shares, rank, law, repetitions, seed=0):
    """Share of repetitions in which the interval of each component, and of the difference and the
    ratio of the first two, holds the truth."""
    rng = np.random.default_rng(seed)
    hits = []
    for _ in range(repetitions):
        scores = low_rank(a, b, shares, rank, law, rng)
        found, compared = va.variance_shares(scores), va.init_minus_order(scores)
        truth = [shares[0] - shares[1], shares[0] / shares[1]]
        hits.append(
            [
                *((found["low"] <= shares) & (shares <= found["high"])).values,
                *((compared["low"] <= truth) & (truth <= compared["high"])).values,
            ]
        )
    return np.mean(hits, axis=0)


def test_intervals_of_shares_cover():
    found = coverage(5, 5, np.array([0.6, 0.1, 0.3]), 5, "normal", 60)
    assert (found > 0.86).all()


@pytest.mark.slow
@pytest.mark.parametrize("law", ["normal", "t5"])
@pytest.mark.parametrize("shares", [(0.6, 0.1, 0.3), (0.3, 0.3, 0.4), (0.2, 0.01, 0.79)])
@pytest.mark.parametrize(("a", "b"), [(5, 5), (8, 8), (4, 8)])
def test_intervals_of_shares_cover_in_many_settings(a, b, shares, law):
    for rank in (3, 20):
        found = coverage(a, b, np.array(shares), rank, law, 300)
        print(a, b, shares, law, rank, found)
        assert (found > 0.85).all(), rank  # 0.89 less the error of 300 repetitions


# -------------------------------------------------------------- refusals

GOOD = draw(3, 3)
REFUSED = {
    "no dimension 'order'": lambda: va.variance_components(GOOD.rename(order="seed")),
    "at least 2": lambda: va.variance_components(GOOD[:1]),
    "at least 3": lambda: va.variance_shares(GOOD[:, :2]),
    "not finite": lambda: va.init_minus_order(GOOD / 0.0),
    "no dimension \\['pair'\\]": lambda: va.variance_shares(GOOD, over=["pair"]),
    "3 runs cannot be 2": lambda: va.crossed(GOOD.isel(order=0).rename(init="seed"), 2),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_by_name(message):
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        REFUSED[message]()
