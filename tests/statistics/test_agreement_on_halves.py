"""Agreement on halves of the seeds: loops, closed form, invariances, coverage of intervals."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics import agreement_on_halves as ah
from dtda_lib.statistics.over_sets import over_sets

NAMES, N, POINTS, QUERIES = ("loo", "one", "two"), 6, 7, 5
REDUCE = {
    "mean": lambda x: x.mean(0),
    "sd": lambda x: x.std(0, ddof=1),
    "snr": lambda x: x.mean(0) / x.std(0, ddof=1),
}
RANK = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
EACH = pytest.mark.parametrize("kind", list(RANK))


def scores(noise=1.0, seed=0, n=N):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(1, POINTS, QUERIES))
    values = truth + noise * rng.normal(size=(len(NAMES), n, POINTS, QUERIES))
    coords = {"estimator": list(NAMES), "seed": 100 + np.arange(n)}
    return xr.DataArray(values, coords, ("estimator", "seed", "train", "query"))


def some_halves(array, n_splits=4):
    return ah.halves_of_seeds(array, n_splits, np.random.default_rng(1))


def by_loops(array, halves, statistic, kind, per_query):
    """Every quantity of `agreement_on_halves`, one pair of methods and half at a time."""
    reduce, corr = REDUCE[statistic], RANK[kind]

    def half(name, labels):
        return reduce(array.sel(estimator=name, seed=labels).values)

    def r(x, y):
        if not per_query:
            return corr(x.ravel(), y.ravel())[0]
        return np.mean([corr(x[:, q], y[:, q])[0] for q in range(QUERIES)])

    def across(a, b):
        return np.mean([r(half(a, i), half(b, j)) for h in halves for i, j in (h, h[::-1])])

    found = {}
    every = array["seed"].values
    for a in NAMES:
        for b in NAMES:
            ceiling = np.sqrt(max(across(a, a), 0) * max(across(b, b), 0))
            found[a, b] = {
                "r": r(half(a, every), half(b, every)),
                "across": across(a, b),
                "ceiling": ceiling,
                "gap": across(a, b) - ceiling,
                "corrected": across(a, b) / ceiling if ceiling > 0 else np.nan,
            }
    return found


@EACH
@pytest.mark.parametrize("statistic", list(REDUCE))
@pytest.mark.parametrize("per_query", [False, True])
def test_every_quantity_is_that_of_loops(kind, statistic, per_query):
    array = scores(0.3)
    halves = some_halves(array)
    over = ("train",) if per_query else ah.PAIR
    found = ah.agreement_on_halves(array, halves, statistic=statistic, kind=kind, over=over)
    for (a, b), expected in by_loops(array, halves, statistic, kind, per_query).items():
        for name, value in expected.items():
            at = float(found[name].sel(estimator=a, other=b))
            assert at == pytest.approx(value, abs=1e-12, nan_ok=True), (a, b, name)


def test_a_lost_seed_leaves_the_other_halves_as_they_were():
    array = scores()
    halves = some_halves(array)
    without = array.isel(seed=slice(1, None))
    kept = [tuple(h[h != 100] for h in both) for both in halves]
    given, cut = (ah.agreement_on_halves(without, h) for h in (halves, kept))
    xr.testing.assert_identical(given, cut)
    assert not given["across"].equals(ah.agreement_on_halves(array, halves)["across"])


@EACH
def test_unit_sign_and_order_do_not_matter(kind):
    array = scores()
    halves = some_halves(array)
    found = ah.agreement_on_halves(array, halves, kind=kind)
    scaled = array * xr.DataArray([1e-8, 1e6, 3.0], dims="estimator")
    shuffled = scaled.isel(train=[3, 1, 0, 2, 6, 5, 4], query=[1, 0, 4, 3, 2])
    again = ah.agreement_on_halves(shuffled, halves, kind=kind)
    xr.testing.assert_allclose(found, again, rtol=1e-9)
    turned = ah.agreement_on_halves(array * xr.DataArray([-1, 1, 1], dims="estimator"), halves)
    assert float(turned["r"][0, 1]) == pytest.approx(-float(found["r"][0, 1]), abs=1e-12) or (
        kind == "spearman"
    )


def test_without_noise_equal_truths_reach_the_ceiling_of_one():
    found = ah.agreement_on_halves(scores(0.0), some_halves(scores()))
    for name in ("r", "across", "ceiling", "corrected"):
        np.testing.assert_allclose(found[name], 1)
    np.testing.assert_allclose(found["gap"], 0, atol=1e-12)


def test_noise_lowers_the_ceiling_as_attenuation_says():
    """Reliability of a half of n/2 seeds: signal / (signal + 2 noise / n)."""
    rng = np.random.default_rng(5)
    truth, noise, n = rng.normal(size=(1, 300, 100)), 2.0, 10
    values = truth + noise * rng.normal(size=(2, n, 300, 100))
    coords = {"estimator": ["loo", "one"], "seed": range(n)}
    array = xr.DataArray(values, coords, ("estimator", "seed", "train", "query"))
    found = ah.agreement_on_halves(array, some_halves(array))
    expected = 1 / (1 + 2 * noise**2 / n)
    assert float(found["ceiling"][0, 1]) == pytest.approx(expected, abs=0.01)
    assert float(found["corrected"][0, 1]) == pytest.approx(1, abs=0.02)


def test_a_constant_query_has_no_correlation_and_is_left_out():
    array = scores(0.3)
    flat = array.copy()
    flat[{"estimator": 1, "query": 2}] = 4.0
    halves = some_halves(array)
    found = ah.agreement_on_halves(flat, halves, over=("train",))
    rest = ah.agreement_on_halves(array.isel(query=[0, 1, 3, 4]), halves, over=("train",))
    assert float(found["r"].sel(estimator="one", other="loo")) == pytest.approx(
        float(rest["r"].sel(estimator="one", other="loo"))
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"statistic": "median"}, "none of"),
        ({"kind": "kendall"}, "kind 'kendall'"),
        ({"over": ("query",)}, "is neither"),
    ],
)
def test_what_is_unknown_is_refused(options, words):
    array = scores()
    with pytest.raises(ValueError, match=words):
        ah.agreement_on_halves(array, some_halves(array), **options)


@EACH
@pytest.mark.parametrize("sign", [1, -1])
def test_a_pair_without_noise_is_as_clear_as_the_clearest_other(kind, sign):
    array, halves = scores(), some_halves(scores())
    array[1, :, 2, 3] = sign * 0.1  # of which rounding leaves a standard deviation

    def ratios(x):
        same = np.ptp(x, axis=0) == 0
        found = x.mean(0) / np.where(same, 1, x.std(0, ddof=1))
        return np.where(same, sign * np.abs(found[~same]).max(), found)

    got = ah.agreement_on_halves(array, halves, statistic="snr", kind=kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REDUCE, "snr", ratios)
        wanted = by_loops(array, halves, "snr", kind, False)
    for (a, b), quantities in wanted.items():
        for name, value in quantities.items():
            assert got[name].sel(estimator=a, other=b) == pytest.approx(value, abs=1e-12)


def test_a_ratio_without_noise_and_too_few_seeds_are_refused():
    with pytest.raises(ValueError, match="without noise"):
        ah.agreement_on_halves(scores(0.0), some_halves(scores()), statistic="snr")
    with pytest.raises(ValueError, match="at least four"):
        some_halves(scores(n=3))


def test_pairs_of_low_noise_are_chosen_on_one_half_and_judged_on_the_other():
    array, top = scores(0.5), 0.3
    halves = some_halves(array)
    found = ah.low_noise_agreement(array, "loo", halves, top=top)
    size = int(np.ceil(top * POINTS * QUERIES))
    r = {name: [] for name in found["selection"].values}
    for both in halves:
        for choosing, judging in (both, both[::-1]):
            by = array.sel(estimator="loo", seed=choosing).values
            snr = np.abs(by.mean(0) / by.std(0, ddof=1)).ravel()
            mu = np.abs(by.mean(0)).ravel()
            loo, one = (
                array.sel(estimator=m, seed=judging).values.mean(0).ravel() for m in ("loo", "one")
            )
            chosen = {
                "all": np.ones(snr.size, bool),
                "top_snr": snr >= np.sort(snr)[-size],
                "top_mu": mu >= np.sort(mu)[-size],
            }
            for name, pick in chosen.items():
                r[name].append(np.corrcoef(loo[pick], one[pick])[0, 1])
    for name, values in r.items():
        assert float(found.sel(selection=name, estimator="one")) == pytest.approx(np.mean(values))
        assert float(found.sel(selection=name, estimator="loo")) == pytest.approx(1)


# --- coverage ------------------------------------------------------------------------------------

REPEATS, SEEDS, DRAWN, ASKED = 100, 10, 30, 40
TRUE = 0.6  # correlation of the two truths
LEAST = 0.95 - 2.33 * np.sqrt(0.95 * 0.05 / REPEATS)  # 99 % Monte-Carlo bound


def draw(rng, noise):
    """Two methods whose truths correlate by TRUE over pairs; seeds, points and queries are new.

    Truths and noise hold parts of points, of queries and of pairs, as real scores do; the methods
    share half of the noise.
    """

    def parts(*axes):
        shape = [{"seed": SEEDS, "train": DRAWN, "query": ASKED}.get(a, 1) for a in axes]
        return rng.normal(size=shape)

    def field(seed):
        return np.sqrt(0.2) * (parts(seed, "train", "-") + parts(seed, "-", "query")) + np.sqrt(
            0.6
        ) * parts(seed, "train", "query")

    first, own = field("-"), field("-")
    truths = (first, TRUE * first + np.sqrt(1 - TRUE**2) * own)
    common = field("seed")
    values = [t + np.sqrt(noise / 2) * (common + field("seed")) for t in truths]
    coords = {"estimator": ["loo", "one"], "seed": range(SEEDS)}
    return xr.DataArray(np.stack(values), coords, ("estimator", "seed", "train", "query"))


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.5, 5.0])
def test_intervals_over_seeds_points_and_queries_cover_the_truth(noise):
    rng = np.random.default_rng(11)
    inside = {"corrected": 0, "gap": 0}
    for _ in range(REPEATS):
        array = draw(rng, noise)
        halves = ah.halves_of_seeds(array, 6, rng)

        def statistic(part, halves=halves):
            found = ah.agreement_on_halves(part, halves).sel(estimator="one", other="loo")
            return found[list(inside)].to_dataarray("quantity")

        found = over_sets(array, statistic, groups=ah.EACH_AXIS)
        reliability = 1 / (1 + noise / (SEEDS / 2))
        for name, truth in (("corrected", TRUE), ("gap", (TRUE - 1) * reliability)):
            at = found.sel(quantity=name)
            inside[name] += bool(at["low"] <= truth <= at["high"])
    print(noise, inside)
    assert min(inside.values()) / REPEATS >= LEAST
