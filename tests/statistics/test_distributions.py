"""Distances between laws against scipy, loops over relabellings, invariances and equal laws."""

from itertools import combinations, product
from math import lcm

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.runs import removal
from dtda_lib.statistics import distributions as ds
from dtda_lib.statistics.distances import DISTANCES, cvar_shift, quantile_shift
from dtda_lib.statistics.over_seeds import jackknife_over_seeds
from dtda_lib.statistics.significance import sign_flip

WITH_FLOOR = [kind for kind, each in DISTANCES.items() if not each.paired]
EACH_KIND = pytest.mark.parametrize("kind", WITH_FLOOR)
SMOOTH = ("mean", "variance", "log_variance_ratio")


def draw(*shape, seed=0, dims=("seed", "removal", "query"), loc=0.0):
    values = np.random.default_rng(seed).normal(loc, size=shape)
    return xr.DataArray(values, dims=dims[: len(shape)])


def pairs_of(n, m, count, seed=0, law="normal"):
    """Two independent samples of one law in `count` independent pairs."""
    generator = np.random.default_rng(seed)
    draws = {
        "normal": generator.standard_normal,
        "t3": lambda size: generator.standard_t(3, size),
        "skewed": generator.standard_exponential,
    }
    return [xr.DataArray(draws[law]((size, count)), dims=("seed", "pair")) for size in (n, m)]


def coupled(n, count, seed=0, law="normal", share=0.9):
    """Two laws of exchangeable runs that share most of their noise."""
    common, _ = pairs_of(n, n, count, seed, law)
    own = pairs_of(n, n, count, seed + 1, law)
    return [share * common + np.sqrt(1 - share**2) * each for each in own]


# -------------------------------------------------------------- the distances, one by one


def repeated(*samples):
    """Samples of equal size and the same empirical laws."""
    size = lcm(*map(len, samples))
    return [np.sort(np.repeat(sample, size // len(sample))) for sample in samples]


def brute_w2(x, y):
    x, y = repeated(x, y)
    return np.sqrt(np.mean((x - y) ** 2))


def brute_cvar(x, y, level=0.9):
    x, y = (np.sort(np.repeat(sample, 100)) for sample in (x, y))
    return np.mean(y[round(level * len(y)) :]) - np.mean(x[round(level * len(x)) :])


ORACLES = {
    "mean": lambda x, y: np.mean(y) - np.mean(x),
    "variance": lambda x, y: np.var(y, ddof=1) - np.var(x, ddof=1),
    "log_variance_ratio": lambda x, y: np.log(np.var(y, ddof=1) / np.var(x, ddof=1)),
    "median": lambda x, y: np.median(y) - np.median(x),
    "quantile90": lambda x, y: np.percentile(y, 90) - np.percentile(x, 90),
    "cvar90": brute_cvar,
    "w1": stats.wasserstein_distance,
    "w2": brute_w2,
    "w2_gaussian": lambda x, y: np.hypot(y.mean() - x.mean(), y.std(ddof=1) - x.std(ddof=1)),
    "w2_gaussian_squared": lambda x, y: (
        (y.mean() - x.mean()) ** 2 + (y.std(ddof=1) - x.std(ddof=1)) ** 2
    ),
    "energy": stats.energy_distance,
    "ks": lambda x, y: stats.ks_2samp(x, y, method="asymp").statistic,
}


@EACH_KIND
@pytest.mark.parametrize(("n", "m"), [(7, 7), (4, 10), (9, 2)])
@pytest.mark.parametrize("whole", [False, True], ids=["continuous", "ties"])
def test_distances_are_those_of_scipy_or_a_loop(kind, n, m, whole):
    x, y = draw(n, 3, 2, loc=0.3).values, draw(m, 3, 2, seed=1).values * 1.5
    if whole:
        x, y = np.round(x), np.round(y)
        x[0], x[1], y[0], y[1] = -2, 2, 2, -3  # some spread everywhere
    found = DISTANCES[kind](x, y)
    expected = [ORACLES[kind](x[:, i, j], y[:, i, j]) for i, j in np.ndindex(3, 2)]
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-9, atol=1e-12)


@EACH_KIND
def test_offset_unit_order_and_orientation(kind):
    each = DISTANCES[kind]
    x, y = draw(8, 30).values, 1.4 * draw(8, 30, seed=1).values + 0.5
    d = each(x, y)
    assert d.shape == (30,)
    np.testing.assert_allclose(each(x + 7, y + 7), d, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(each(1e-4 * x, 1e-4 * y), 1e-4**each.power * d, rtol=1e-9)
    np.testing.assert_allclose(each(x[::-1], np.roll(y, 3, axis=0)), d, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(each(y, x), -d if each.signed else d, rtol=1e-9, atol=1e-14)
    assert (d >= 0).all() or each.signed
    np.testing.assert_array_equal(each(x, x), 0)
    if kind in ("mean", "median", "quantile90", "cvar90", "w1", "w2", "w2_gaussian"):
        np.testing.assert_allclose(each(x, x + 2), 2)


def test_each_w2_has_a_name_of_its_own():
    x, y = (np.random.default_rng(seed).exponential(size=(9, 50)) for seed in (0, 1))
    names = ("w2", "w2_gaussian", "w2_gaussian_squared", "w2_debiased")
    w2, normal, squared, debiased = (DISTANCES[name](x, y) for name in names)
    np.testing.assert_allclose(normal**2, squared, rtol=1e-12)
    assert not np.isclose(w2, normal).any()
    assert (debiased < squared).all()
    with pytest.raises(ValueError, match="9 and 8 runs are not paired"):
        DISTANCES["w2_debiased"](x, y[1:])
    law = xr.DataArray(x, dims=("seed", "pair"))
    with pytest.raises(ValueError, match="has lost its floor already"):
        ds.distance(law, law, "w2_debiased", paired=True)


def test_w1_is_at_most_w2_and_bounds_the_mean_shift():
    x, y = draw(6, 200).values, draw(9, 200, seed=1).values
    mean, w1, w2 = (DISTANCES[name](x, y) for name in ("mean", "w1", "w2"))
    assert (abs(mean) <= w1 + 1e-12).all()
    assert (w1 <= w2 + 1e-12).all()


def test_constant_laws_are_defined():
    still, moving = np.full((4, 1), 0.1), np.arange(4.0)[:, None]
    ratio = DISTANCES["log_variance_ratio"]
    assert [ratio(still, still), ratio(still, moving), ratio(moving, still)] == [0, np.inf, -np.inf]
    law = xr.DataArray(still, dims=("seed", "pair"))
    for kind in WITH_FLOOR:
        found = ds.distance(law, law, kind, paired=True)
        assert (float(found.estimate[0]), float(found.p[0])) == (0, 1)


def test_own_quantiles_and_tails():
    x, y = draw(50, 4).values, draw(40, 4, seed=1).values
    np.testing.assert_allclose(quantile_shift(0.25)(x, y), quantile_shift(0.75)(-y, -x))
    np.testing.assert_allclose(cvar_shift(0)(x, y), DISTANCES["mean"](x, y))
    np.testing.assert_allclose(cvar_shift(0.99)(x, y), y.max(0) - x.max(0))
    law, other = (xr.DataArray(sample, dims=("seed", "query")) for sample in (x, y))
    found = ds.distance(law, other, quantile_shift(0.2), paired=False, n_permutations=0)
    np.testing.assert_allclose(found.estimate, np.quantile(y, 0.2, 0) - np.quantile(x, 0.2, 0))
    assert found.low.isnull().all()


# -------------------------------------------------------------- relabelling


def all_labels(x, y, paired):
    """Every way to tell before from after, as a loop would go through them."""
    n, pooled = len(x), np.concatenate([x, y])
    if paired:
        for swaps in product((False, True), repeat=n):
            swaps = np.array(swaps)
            yield np.where(swaps, y, x), np.where(swaps, x, y)
    else:
        for rows in combinations(range(len(pooled)), n):
            yield pooled[list(rows)], np.delete(pooled, rows)


@EACH_KIND
@pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
def test_all_relabellings_are_the_brute_force_ones(kind, paired):
    x, y = pairs_of(5, 5 if paired else 3, 3)
    y = y * 1.3 + 0.8
    found = ds.distance(x, y, kind, paired=paired, level=0.8)
    assert found.attrs == {"distance": kind, "paired": int(paired), "exact": 1}
    for pair in range(3):
        one, other = x.values[:, pair], y.values[:, pair]
        estimate = ORACLES[kind](one, other)
        null = np.abs([ORACLES[kind](a, b) for a, b in all_labels(one, other, paired)])
        here = found.isel(pair=pair)
        assert here.estimate.item() == pytest.approx(estimate, abs=1e-12)
        assert here.null_mean.item() == pytest.approx(null.mean(), abs=1e-12)
        assert here.p.item() == np.mean(null >= abs(estimate) - 1e-9)
        # Half of the swaps stand for all: a quantile between two values may move to one of them.
        low, high = (np.quantile(null, 0.8, method=m) for m in ("lower", "higher"))
        assert low - 1e-9 <= here.null_high.item() <= high + 1e-9
        excess = estimate**2 - np.mean(null**2)
        expected = np.sign(excess) * np.sqrt(abs(excess))
        signed = DISTANCES[kind].signed
        assert here.debiased.item() == pytest.approx(estimate if signed else expected, abs=1e-9)


def test_the_paired_mean_is_the_sign_flip_test():
    x, y = coupled(9, 50)
    for unit in (1, 1e-7 / 3):  # the smaller, the more rounding there is beside the shared offset
        after = x + unit * (y - x + 0.3)
        p = ds.distance(x + 5, after + 5, "mean", paired=True).p
        np.testing.assert_array_equal(p, sign_flip(after - x))


@pytest.mark.parametrize("paired", [True, False])
def test_random_relabellings_approach_all(paired):
    x, y = coupled(6, 40) if paired else pairs_of(6, 5, 40)
    exact = ds.distance(x, y, "w2", paired=paired)
    options = {"paired": paired, "n_permutations": 25 if paired else 400}
    rough = ds.distance(x, y, "w2", generator=np.random.default_rng(0), **options)
    again = ds.distance(x, y, "w2", generator=np.random.default_rng(0), **options)
    xr.testing.assert_identical(rough, again)
    assert rough.attrs["exact"] == 0
    error = np.sqrt(exact.p * (1 - exact.p) / options["n_permutations"])
    assert (abs(rough.p - exact.p) < 4.5 * error + 1 / options["n_permutations"]).all()
    x, y = pairs_of(12, 12, 3)
    far = ds.distance(
        x, y + 50, "w2", generator=np.random.default_rng(0), **(options | {"paired": False})
    )
    np.testing.assert_allclose(far.p, 1 / (1 + options["n_permutations"]))  # never 0


def test_pairing_finds_what_unpaired_runs_hide():
    x, y = coupled(8, 300, share=0.99)
    y = y + 0.3
    generator = np.random.default_rng(0)
    for kind in ("mean", "w2_gaussian"):
        paired = ds.distance(x, y, kind, paired=True)
        unpaired = ds.distance(x, y, kind, paired=False, n_permutations=199, generator=generator)
        np.testing.assert_allclose(paired.estimate, unpaired.estimate)
        assert (paired.p < 0.05).mean() > 0.6 > 0.05 > (unpaired.p < 0.05).mean()
        assert (paired.null_mean < unpaired.null_mean).all()


def test_sorting_hides_small_paired_shifts_as_the_text_warns():
    x = draw(9, 20, dims=("seed", "pair")).round(1).cumsum("seed")  # seeds at least 0.1 apart
    x = x + 10 * np.arange(9)[:, None]
    for kind in ("w1", "w2", "energy", "ks"):
        found = ds.distance(x, x + 0.01, kind, paired=True)
        np.testing.assert_array_equal(found.p, 1)
        np.testing.assert_allclose(found.estimate, found.null_mean)
    for kind in ("mean", "w2_gaussian"):
        assert (ds.distance(x, x + 0.01, kind, paired=True).p < 0.01).all()


# -------------------------------------------------------------- calibration on equal laws

UNTIED = ("mean", "variance", "log_variance_ratio", "w2_gaussian")


@EACH_KIND
@pytest.mark.parametrize(("paired", "level"), [(True, 8 / 64), (False, 14 / 70)])
def test_false_positives_of_all_relabellings(kind, paired, level):
    n_pairs = 1500
    x, y = coupled(7, n_pairs) if paired else pairs_of(4, 4, n_pairs, law="skewed")
    share = float((ds.distance(x, y, kind, paired=paired).p <= level + 1e-9).mean())
    error = np.sqrt(level * (1 - level) / n_pairs)
    assert share < level + 4 * error
    # Equal values at other labels all count as extreme, which makes the other tests cautious.
    assert share > (level - 4 * error if kind in UNTIED else 0)


@pytest.mark.slow
@EACH_KIND
@pytest.mark.parametrize("law", ["normal", "t3", "skewed"])
@pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
def test_false_positives_of_random_relabellings(kind, law, paired):
    n_pairs = 2000
    x, y = coupled(20, n_pairs, law=law) if paired else pairs_of(20, 26, n_pairs, law=law)
    options = {"paired": paired, "n_permutations": 199, "generator": np.random.default_rng(3)}
    found = ds.distance(x, y, kind, **options)
    for level in (0.05, 0.2):
        error = np.sqrt(level * (1 - level) / n_pairs)
        share = float((found.p <= level).mean())
        assert share < level + 4 * error
        # Swapping a seed that is not in the tail changes no tail: ties, which make for caution.
        tied = paired and kind in ("quantile90", "cvar90")
        least = level / 3 if kind == "ks" else level - 4 * error
        assert share > (0 if tied else least)
    above = float((abs(found.estimate) > found.null_high).mean())
    assert above < 0.05 + 4 * np.sqrt(0.05 * 0.95 / n_pairs) + 0.01


def test_debiasing_removes_the_floor():
    x, y = pairs_of(12, 12, 300)
    generator = np.random.default_rng(0)
    options = {"paired": False, "n_permutations": 99, "generator": generator}
    for kind in ("w1", "w2", "energy"):
        found = ds.distance(x, y, kind, **options)
        assert (found.estimate / found.null_mean).mean() == pytest.approx(1, abs=0.1)
        square = found.debiased * abs(found.debiased)
        error = square.std() / np.sqrt(300)
        assert abs(square.mean()) < 4 * error
        assert (found.estimate**2).mean() > 8 * error  # which the floor itself fails
    found = ds.distance(x, y + 1, "w2", **options)
    square = found.debiased * abs(found.debiased)
    assert abs(square.mean() - 1) < 0.12 < 0.2 < (found.estimate**2).mean() - 1


def test_centred_laws_ignore_the_mean():
    x, y = pairs_of(10, 10, 250)
    options = {"paired": False, "n_permutations": 99, "generator": np.random.default_rng(0)}
    moved = ds.distance(x, y + 3, "w2", **options)
    centred = ds.distance(x, y + 3, "w2", centred=True, **options)
    assert (moved.p < 0.05).all()
    assert 0.02 < (centred.p < 0.05).mean() < 0.1  # approximate
    xr.testing.assert_allclose(
        centred.estimate, ds.distance(x, y, "w2", centred=True, **options).estimate
    )
    wider = ds.distance(x, 6 * y, "log_variance_ratio", centred=True, **options)
    assert (wider.p < 0.05).mean() > 0.9
    assert wider.estimate.mean() == pytest.approx(np.log(36), abs=0.2)


# -------------------------------------------------------------- intervals


def spread(law, kind):
    square = law.var("seed", ddof=1)
    return {"mean": law.mean("seed"), "variance": square, "log_variance_ratio": np.log(square)}[
        kind
    ]


@pytest.mark.parametrize("kind", SMOOTH)
def test_paired_intervals_are_the_jackknife_over_seeds(kind):
    both = xr.Dataset(dict(zip(("x", "y"), coupled(6, 9))))
    both["y"] = both.y * 1.5
    expected = jackknife_over_seeds(
        both, lambda d: spread(d.y, kind) - spread(d.x, kind), level=0.9
    )
    found = ds.distance(both.x, both.y, kind, paired=True, level=0.9)
    for name in ("estimate", "low", "high"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12)


def test_unpaired_intervals_are_welchs():
    x, y = pairs_of(6, 11, 5)
    found = ds.distance(x, 2 * y, "mean", paired=False, n_permutations=0)
    expected = stats.ttest_ind(2 * y.values, x.values, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(found.low, expected.low, rtol=1e-9)
    np.testing.assert_allclose(found.high, expected.high, rtol=1e-9)
    assert found[["null_mean", "null_high", "p", "debiased"]].to_array().isnull().all()


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_cover(paired):
    x, y = coupled(30, 2000) if paired else pairs_of(30, 20, 2000)
    truth = {"mean": 0.4, "variance": 3.0, "log_variance_ratio": np.log(4)}
    for kind in SMOOTH:
        found = ds.distance(x, 2 * y + 0.4, kind, paired=paired, n_permutations=0)
        covered = float(((found.low <= truth[kind]) & (truth[kind] <= found.high)).mean())
        assert (0.89 if kind == "variance" else 0.93) < covered < 0.97
    for kind in set(WITH_FLOOR) - set(SMOOTH):
        found = ds.distance(x[:, :2], y[:, :2], kind, paired=paired, n_permutations=0)
        assert found.low.isnull().all()


# -------------------------------------------------------------- named axes


def test_a_law_without_removals_is_compared_with_each(monkeypatch):
    base = draw(6, 4, dims=("seed", "query")).assign_coords(query=list("abcd"), removal="none")
    after = draw(6, 3, 4, seed=1).assign_coords(query=list("abcd"), removal=["1", "2", "1+2"])
    whole = ds.distance(base, after.transpose("query", "seed", "removal"), "energy", paired=True)
    assert whole.estimate.dims == ("query", "removal")
    assert list(whole["removal"].values) == ["1", "2", "1+2"]
    for one in range(3):
        alone = ds.distance(base.drop_vars("removal"), after[:, one], "energy", paired=True)
        xr.testing.assert_allclose(
            whole.isel(removal=one, drop=True), alone.drop_vars("removal"), rtol=1e-10
        )
    monkeypatch.setattr(ds, "_BLOCK", 25)
    again = ds.distance(base, after.astype("float32").astype("float64"), "energy", paired=True)
    monkeypatch.undo()
    xr.testing.assert_allclose(again.transpose("query", ...), whole, rtol=1e-5)
    assert again.estimate.dims == ("removal", "query")


# -------------------------------------------------------------- Algorithm 1


def test_shifted_samples_move_each_seed_by_its_own_shift():
    base = draw(5, 3, dims=("seed", "query"))
    shift = draw(5, 4, 3, seed=1, dims=("seed", "train", "query"))
    alone = ds.shifted_samples(base, shift)
    assert alone.dims == ("seed", "removal", "query")
    for s, k, q in np.ndindex(5, 4, 3):
        assert alone[s, k, q] == pytest.approx(float(base[s, q] + shift[s, k, q]))
    groups = [[2], [0, 3], [1, 0, 2]]
    together = ds.shifted_samples(base, shift.transpose("query", "train", "seed"), groups)
    for s, q in np.ndindex(5, 3):
        for r, group in enumerate(groups):
            expected = float(base[s, q]) + sum(float(shift[s, k, q]) for k in group)
            assert together[s, r, q] == pytest.approx(expected)
    # Labels are those of a bank whose design leaves the same points out.
    design = removal.leave_one_out(4)
    assert tuple(alone["removal"].values) == design.labels[1:]
    assert tuple(alone["point"].values) == design.points[1:]
    assert list(together["removal"].values) == ["2", "0+3", "1+0+2"]
    assert list(together["point"].values) == [2, -1, -1]


def test_predicted_variance_comes_from_seeds_that_go_together():
    base = draw(2000, 2, dims=("seed", "query"))
    shift = (-0.3 * base).expand_dims(train=[7], axis=1)
    law = ds.shifted_samples(base, shift).sel(removal="7")
    np.testing.assert_allclose(law.var("seed"), 0.49 * base.var("seed"))
    constant = ds.shifted_samples(base, 0 * shift + shift.mean("seed"))
    np.testing.assert_allclose(constant.var("seed")[0], base.var("seed"))
    with pytest.raises(ValueError, match=r"group \[0\]"):
        ds.shifted_samples(base, shift, [[0]])  # points go by label where they have one


# -------------------------------------------------------------- what is just allowed


def test_as_many_relabellings_as_there_are_need_no_generator():
    """999 unless said: all 512 of ten pairs, and no larger case."""
    pairs = draw(11, 2), draw(11, 2, seed=1)
    ten = ds.distance(pairs[0][:10], pairs[1][:10], "mean", paired=True)
    assert ten.attrs["exact"] == 1
    assert ds.distance(LAW, LAW, "mean", paired=False, n_permutations=252).attrs["exact"] == 1
    assert ds.distance(LAW, LAW, "mean", paired=True, n_permutations=16).attrs["exact"] == 1
    with pytest.raises(ValueError, match="1024 relabellings exceed n_permutations = 999"):
        ds.distance(*pairs, "mean", paired=True)


def test_quantiles_and_tails_at_the_ends_of_their_levels():
    x, y = np.random.default_rng(0).standard_normal((2, 7, 3))
    np.testing.assert_allclose(quantile_shift(0)(x, y), y.min(axis=0) - x.min(axis=0))
    np.testing.assert_allclose(quantile_shift(1)(x, y), y.max(axis=0) - x.max(axis=0))
    np.testing.assert_allclose(cvar_shift(0)(x, y), y.mean(axis=0) - x.mean(axis=0))
    for wrong in (-1e-9, 1 + 1e-9):
        with pytest.raises(ValueError, match=r"lies in 0\.\.1"):
            quantile_shift(wrong)
    with pytest.raises(ValueError, match=r"lies in 0\.\.1, below 1"):
        cvar_shift(-1e-9)


def test_an_interval_needs_three_seeds_on_either_side():
    x, y = pairs_of(3, 3, 5)
    settings = {"paired": False, "n_permutations": 0}
    assert ds.distance(x, y, "mean", **settings).low.notnull().all()
    for one, other in ((x[:2], y), (x, y[:2])):
        assert ds.distance(one, other, "mean", **settings).low.isnull().all()
    both = ds.distance(x, x, "mean", **settings)  # Welch of equal spreads: n + m - 2
    half = stats.t.ppf(0.975, 4) * np.sqrt(2 * x.var("seed", ddof=1) / 3)
    np.testing.assert_allclose(both.high, half)


# -------------------------------------------------------------- refusals

LAW = draw(5, 2, 3)
SHIFT = draw(5, 4, 3, dims=("seed", "train", "query"))
BASE = draw(5, 3, dims=("seed", "query"))
REFUSED = {
    "did you mean 'energy'": lambda: ds.distance(LAW, LAW, "enrgy", paired=True),
    "same seeds, not 5 and 4": lambda: ds.distance(LAW, LAW[:4], paired=True),
    "size or labels": lambda: ds.distance(
        LAW.assign_coords(seed=range(5)), LAW.assign_coords(seed=range(1, 6)), paired=True
    ),
    "of a shared dimension": lambda: ds.distance(LAW, LAW[:, :, :2], paired=False),
    "no dimension 'seed'": lambda: ds.distance(LAW.rename(seed="run"), LAW, paired=True),
    "at least 2": lambda: ds.distance(LAW[:1], LAW[:1], paired=True),
    "not finite": lambda: ds.distance(LAW, LAW / 0, paired=True),
    "252 relabellings exceed": lambda: ds.distance(LAW, LAW, paired=False, n_permutations=251),
    "negative": lambda: ds.distance(LAW, LAW, paired=False, n_permutations=-1),
    "0 by construction": lambda: ds.distance(LAW, LAW, "mean", paired=True, centred=True),
    "level lies in 0..1": lambda: quantile_shift(90),
    "level of a CVaR": lambda: cvar_shift(1),
    r"group \[\]": lambda: ds.shifted_samples(BASE, SHIFT, [[0], []]),
    r"group \[1, 1\]": lambda: ds.shifted_samples(BASE, SHIFT, [[1, 1]]),
    r"group \[4\]": lambda: ds.shifted_samples(BASE, SHIFT, [[4]]),
    "no dimension 'train'": lambda: ds.shifted_samples(BASE, LAW),
    "differ in dimensions": lambda: ds.shifted_samples(LAW, SHIFT),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_by_name(message):
    with pytest.raises(ValueError, match=message), np.errstate(divide="ignore", invalid="ignore"):
        REFUSED[message]()
