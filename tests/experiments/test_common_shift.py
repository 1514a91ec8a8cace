"""The shift common to all training points, on arrays whose parts were put in one by one."""

import numpy as np
import pytest
import xarray as xr

from dtda_lib.experiments.ground_truth_vs_estimated import common_shift as cs

DIMS = ("seed", "train", "query")


def draw(n_repeats=1, n=5, seed=0):
    """Shifts with known parts, `(repeat, seed, train, query)`, and the truth of each part.

    Seed noise is common to queries in two directions; pair noise has another size in every pair.
    """
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    train, query = 6, 4
    g = 1 + fixed.normal(size=query)
    m = fixed.normal(size=(train, query))
    m -= m.mean(axis=0)
    load, size = fixed.normal(size=(2, query)), 1 + fixed.random((train, query))
    h = rng.normal(size=(n_repeats, n, 1, 2)) @ load
    e = rng.normal(size=(n_repeats, n, train, query)) * size
    e -= e.mean(axis=2, keepdims=True)
    # Taking the mean over training points off leaves this variance.
    noise = size**2 * (1 - 2 / train) + (size**2).mean(axis=0) / train
    truth = [g.mean() ** 2, g.var(), (load**2).sum(axis=0).mean(), (m**2).mean(), noise.mean()]
    return xr.DataArray(g + h + m + e, dims=("repeat", *DIMS)), np.array(truth)


def looped_squares(x):
    """Mean square of each part of `x` (seed, train, query), in loops."""
    n, points, queries = x.shape
    total = np.zeros(5)
    constant = sum(x.ravel().tolist()) / x.size
    for s in range(n):
        for j in range(points):
            for q in range(queries):
                common = sum(x[s, i, q] for i in range(points)) / points
                g = sum(x[t, i, q] for t in range(n) for i in range(points)) / (n * points)
                m = sum(x[t, j, q] for t in range(n)) / n - g
                rest = x[s, j, q] - common - m
                parts = (constant, g - constant, common - g, m, rest)
                total += [part**2 / x.size for part in parts]
    return total


def test_parts_put_in_come_out():
    h = np.array([[1.0], [-1], [3], [-3]])[:, None]  # seeds, the same for both queries
    m = np.array([2.0, -1, -1])[None, :, None]
    e = np.array([1.0, -1, 1, -1])[:, None, None] * np.array([0, 1, -1.0])[None, :, None]
    x = xr.DataArray(5 + np.array([0.5, -0.5]) + h + m + e, dims=DIMS)
    found = cs.common_shift(x)
    squares = np.array([25, 0.25, 5, 2, 2 / 3])
    assert list(found["part"].values) == list(cs.SHIFT_PARTS)
    np.testing.assert_allclose(found["plain_share_of_squares"], squares / squares.sum())
    # h has variance 20 / 3 and e 8 / 9: a fourth of either is in the square of a mean.
    unbiased = [25 - 5 / 3, 0.25, 20 / 3, 2 - 2 / 9, 8 / 9]
    np.testing.assert_allclose(found["mean_square"], unbiased)
    np.testing.assert_allclose(found["share_of_squares"], np.array(unbiased) / squares.sum())
    about_mean = np.array(unbiased[1:]) / sum(unbiased[1:])
    np.testing.assert_allclose(found["share_of_variance"][1:], about_mean)
    assert np.isnan(found["share_of_variance"][0])


def test_squares_are_the_loops_and_add_up():
    x = draw()[0][0]
    found = cs.common_shift(x)
    squares = looped_squares(x.values)
    np.testing.assert_allclose(found["plain_share_of_squares"], squares / squares.sum())
    assert float(found["mean_square"].sum()) == pytest.approx(float((x**2).mean()))
    for name in ("share_of_squares", "share_of_variance", "plain_share_of_squares"):
        assert float(found[name].sum()) == pytest.approx(1)


@pytest.mark.parametrize("n", [2, 5])
def test_mean_squares_are_unbiased(n):
    shifts, truth = draw(4000, n)
    found = cs.common_shift(shifts)["mean_square"]
    error = found.std("repeat") / np.sqrt(4000)
    assert (abs(found.mean("repeat") - truth) < 4 * error).all()
    plain = cs.common_shift(shifts)["plain_share_of_squares"].sel(part="point")
    assert plain.mean() > truth[3] / truth.sum()  # noise leaks into it


def test_invariances():
    x = draw()[0][0]
    found = cs.common_shift(x)
    same = x.isel(seed=[3, 0, 4, 1, 2], train=[5, 1, 0, 2, 4, 3], query=[2, 0, 3, 1])
    xr.testing.assert_allclose(cs.common_shift(same.T), found)
    scaled = cs.common_shift(-2 * x)
    xr.testing.assert_allclose(scaled["mean_square"], 4 * found["mean_square"])
    xr.testing.assert_allclose(scaled["share_of_variance"], found["share_of_variance"])
    # Whatever is added for all points alike, the point's part and the noise stay.
    control = xr.DataArray(np.random.default_rng(1).normal(size=(5, 4)), dims=("seed", "query"))
    moved = cs.common_shift(x + control)["mean_square"]
    np.testing.assert_allclose(moved[3:], found["mean_square"][3:])
    assert (abs(moved[:3] - found["mean_square"][:3]) > 1e-3).all()
    without = cs.common_shift(x - x.mean("train"))["mean_square"]
    np.testing.assert_allclose(without[:3], 0, atol=1e-14)


REFUSED = {
    "'seed' has 1": lambda x: cs.common_shift(x[:1]),
    "'train' has 1": lambda x: cs.common_shift(x[:, :1]),
    "no dimension 'query'": lambda x: cs.common_shift(x[..., 0]),
    "not finite": lambda x: cs.common_shift(x * np.nan),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message](draw()[0][0])
