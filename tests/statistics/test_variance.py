"""Variance components against loops, known components, invariances and simulated coverage."""

import numpy as np
import pytest
import xarray as xr

from dtda_lib.runs.protocols import crossed_pairs
from dtda_lib.statistics import variance as va
from dtda_lib.statistics.over_sets import over_sets

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
    for alike in (False, True):
        found = va.component_shares(scores, alike=alike)
        np.testing.assert_allclose(found, [1, 0, 0, 1], atol=1e-12)


def test_runs_of_crossed_pairs_are_unfolded_in_their_order():
    pairs = crossed_pairs([10, 20, 30], [1, 2])
    runs = xr.DataArray([[i + o] for i, o in pairs], {"query": ["x"]}, ("seed", "query"))
    scores = va.crossed(runs, 3)
    assert scores.dims == ("init", "order", "query")
    np.testing.assert_array_equal(scores[..., 0], [[11, 12], [21, 22], [31, 32]])
    assert list(scores["query"].values) == ["x"]


# -------------------------------------------------------------- over all pairs


def summed(scores, alike):
    """Shares and the difference of the first two by loops over pairs."""
    total = np.zeros(3)
    for j, q in np.ndindex(scores.sizes["train"], scores.sizes["query"]):
        pair = scores.values[:, :, j, q]
        components = np.array(looped(pair.tolist())[1])
        total += components / (np.var(pair, ddof=1) if alike else 1)
    shares = total / total.sum()
    return [*shares, shares[0] - shares[1]]


@pytest.mark.parametrize("alike", [False, True])
def test_shares_are_the_loops_over_pairs(alike):
    scores = draw(4, 5, mu=1) * xr.DataArray([1.0, 30.0, 0.1], dims="train")
    found = va.component_shares(scores, alike=alike)
    assert list(found["part"].values) == [*va.COMPONENTS, "init - order"]
    np.testing.assert_allclose(found, summed(scores, alike))
    assert float(found[:3].sum()) == pytest.approx(1)
    other = (-1e-6 * scores + 3e-6).transpose("query", "order", "train", "init")
    np.testing.assert_allclose(va.component_shares(other, alike=alike), found, rtol=1e-6)
    assert va.component_shares(scores.astype(np.float32), alike=alike).dtype == np.float64


def test_pairs_that_weigh_alike_are_not_drowned_by_a_loud_one():
    quiet, loud = draw(30, 30, 1, 5, sds=(1, 0, 0)), 100 * draw(30, 30, 1, 5, sds=(0, 1, 0))
    scores = xr.concat([quiet] * 9 + [loud], "train")
    assert float(va.component_shares(scores)[1]) > 0.99
    assert float(va.component_shares(scores, alike=True)[0]) == pytest.approx(0.9, abs=0.01)


def test_a_pair_that_never_varies_counts_for_nothing():
    scores = draw(5, 4)
    still = xr.concat([scores, scores[:, :, :1] * 0 + 0.1], "train")
    for alike in (False, True):
        found = va.component_shares(still, alike=alike)
        np.testing.assert_allclose(found, va.component_shares(scores, alike=alike))
    for constant in (0.1, 1 / 3, 0.7, 1e3 / 7):  # whose means differ from it by rounding
        for size in ((3, 7), (6, 10), (11, 13)):
            flat = 0 * draw(*size) + constant
            assert np.isnan(va.component_shares(flat)).all()


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
    """Share of repetitions in which the interval of each share, and of the difference of the first
    two, holds the truth, over initialisations and orders; the pairs are fixed."""
    rng = np.random.default_rng(seed)
    truth = xr.DataArray([*shares, shares[0] - shares[1]], dims="part")
    hits = []
    for _ in range(repetitions):
        scores = low_rank(a, b, shares, rank, law, rng)
        found = over_sets(scores, va.component_shares, groups={"init": 99, "order": 99})
        hits.append(((found["low"] <= truth) & (truth <= found["high"])).values)
    return np.mean(hits, axis=0)


def test_intervals_of_shares_cover():
    found = coverage(5, 5, np.array([0.6, 0.1, 0.3]), 5, "normal", 40)
    assert (found > 0.84).all()


@pytest.mark.slow
@pytest.mark.parametrize("law", ["normal", "t5"])
@pytest.mark.parametrize("shares", [(0.6, 0.1, 0.3), (0.3, 0.3, 0.4), (0.2, 0.01, 0.79)])
def test_intervals_of_shares_cover_in_many_settings(shares, law):
    for rank in (3, 20):
        found = coverage(8, 8, np.array(shares), rank, law, 200)
        print(shares, law, rank, found)
        assert (found > 0.85).all(), rank  # 0.89 less the error of 200 repetitions


@pytest.mark.slow
def test_intervals_of_shares_cover_other_queries_too():
    """Queries are drawn anew as well; all pairs weigh alike, as in notebook 03."""
    rng = np.random.default_rng(3)
    shares = np.array([0.3, 0.2, 0.5])
    loads = [rng.normal(size=(5, 3, 4000)) for _ in shares]
    scale = [np.sqrt((load**2).sum(0)) for load in loads]
    hits = []
    for _ in range(200):
        chosen = rng.choice(4000, 40, replace=False)
        shapes = ((10, 1, 5), (1, 10, 5), (10, 10, 5))
        parts = [
            np.sqrt(share)
            * np.einsum("iok,ktq->iotq", rng.normal(size=shape), load[:, :, chosen])
            / size[:, chosen]
            for share, shape, load, size in zip(shares, shapes, loads, scale, strict=True)
        ]
        scores = xr.DataArray(sum(parts), dims=DIMS)
        found = over_sets(
            scores,
            lambda part: va.component_shares(part, alike=True),
            groups={"init": 99, "order": 99, "query": 10},
        )
        truth = xr.DataArray([*shares, shares[0] - shares[1]], dims="part")
        hits.append(((found["low"] <= truth) & (truth <= found["high"])).values)
    print(np.mean(hits, axis=0))
    assert (np.mean(hits, axis=0) > 0.9).all()


# -------------------------------------------------------------- refusals

GOOD = draw(3, 3)
REFUSED = {
    "no dimension 'order'": lambda: va.variance_components(GOOD.rename(order="seed")),
    "at least 2": lambda: va.variance_components(GOOD[:1]),
    "not finite": lambda: va.component_shares(GOOD / 0.0),
    "3 runs cannot be 2": lambda: va.crossed(GOOD.isel(order=0).rename(init="seed"), 2),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_by_name(message):
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        REFUSED[message]()
