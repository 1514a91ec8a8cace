"""Intervals of agreement against loops, known truths, invariances and simulated coverage."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.statistics import agreement as ag
from dtda_lib.statistics import agreement_intervals as ai
from dtda_lib.statistics import agreement_where as aw
from dtda_lib.statistics import seed_weights as sw
from dtda_lib.statistics.over_seeds import jackknife_over_seeds, signal_to_noise
from dtda_lib.statistics.significance import benjamini_hochberg, t_test

DIMS = ("seed", "train", "query")
NAMES = list(ag.STATISTICS)
EACH_KIND = pytest.mark.parametrize("kind", ["pearson", "spearman"])


def rng(seed=0):
    return np.random.default_rng(seed)


def array(values, seeds=None):
    seeds = np.arange(len(values)) if seeds is None else seeds
    return xr.DataArray(values, {"seed": seeds}, DIMS)


class Law:
    """A law of scores of two methods whose truths correlate by `truth` over pairs.

    Noise: `rank` directions in the space of pairs, the k-th of weight k^-fall, which the methods
    share to the degree `shared`, and as much again of each pair's own. Its variance over that of
    the truth is `noise`; pairs have spreads of their own.
    """

    def __init__(self, truth=0.5, noise=2.0, shared=0.5, rank=5, train=15, query=20, fall=0.5):
        fixed, pairs = rng(), train * query
        both = fixed.normal(size=(3, pairs))
        both = [np.sqrt(abs(truth)) * both[0] + np.sqrt(1 - truth) * part for part in both[1:]]
        self.truth = np.array(both)
        weight = np.arange(1.0, rank + 1)[:, None] ** -fall
        load = fixed.normal(size=(rank, pairs)) * weight
        self.load = load / np.sqrt((load**2).sum() / pairs)
        self.size = np.exp(0.5 * fixed.normal(size=pairs))
        self.noise, self.shared, self.shape = noise, shared, (train, query)

    def draw(self, generator, n=10):
        """`{"a": scores, "b": scores}` of the same n seeds."""
        rank, pairs = self.load.shape
        common = generator.normal(size=(n, rank))
        found = {}
        for name, truth in zip("ab", self.truth):
            own = generator.normal(size=(n, rank))
            factors = np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own
            noise = factors @ self.load + generator.normal(size=(n, pairs))
            scores = truth + np.sqrt(self.noise / 2) * self.size * noise
            found[name] = array(scores.reshape(n, *self.shape))
        return found


def some(n=6, methods="abc", train=4, query=5, seed=0):
    """Scores with some agreement, of a few methods."""
    generator = rng(seed)
    truth = generator.normal(size=(train, query))
    shape = (n, train, query)
    return {name: array(truth + generator.normal(size=shape)) for name in methods}


def repeated(scores, weights):
    """The seeds as often as their weights say."""
    return scores.isel(seed=np.repeat(np.arange(len(weights)), weights.astype(int)))


NUMPY = {
    "mean": lambda x: x.mean(0),
    "sd": lambda x: x.std(0, ddof=1),
    "snr": lambda x: x.mean(0) / x.std(0, ddof=1),
}


def r_of(x, y, kind="pearson"):
    """Correlation of two arrays, cell by cell."""
    rows = [stats.rankdata(part) if kind == "spearman" else np.ravel(part) for part in (x, y)]
    return np.corrcoef(*rows)[0, 1]


def test_pairs_without_noise_stand_beside_noisy_ones():
    """sd 0 and an SNR of 0 or an infinity for them, and numpy's numbers for the others."""
    scores = some(methods="a")["a"]
    scores[:, 0, 0], scores[:, 0, 1], scores[:, 0, 2] = 0.0, 0.1, -0.1
    found = sw.Centred(scores.values.reshape(1, 6, -1)).statistics(
        np.ones((1, 6)), list(NUMPY), slice(None)
    )
    for position, name in enumerate(NUMPY):
        values = found[0, position, 0]
        expected = NUMPY[name](scores.values.reshape(6, -1)[:, 3:])
        np.testing.assert_allclose(values[3:], expected)
        certain = {"mean": [0, 0.1, -0.1], "sd": [0, 0, 0], "snr": [0, np.inf, -np.inf]}[name]
        np.testing.assert_array_equal(values[:3], certain)


@pytest.mark.parametrize("sides", [1, 2])
def test_blocks_of_draws_and_pairs_do_not_matter(monkeypatch, sides):
    scores, options = stack(some(train=5)), {"names": list(NUMPY)}
    weights = [rng(side).multinomial(6, np.full(6, 1 / 6), size=7) + 0.5 for side in range(sides)]
    whole = sw.correlations(scores, *weights, **options)
    assert np.isfinite(whole).all()
    monkeypatch.setattr(sw, "_BLOCK", (2, 3))
    np.testing.assert_allclose(sw.correlations(scores, *weights, **options), whole, atol=1e-12)


def stack(scores):
    return sw.Centred(np.stack([s.values.reshape(len(s), -1) for s in scores.values()]))


# -------------------------------------------------------------- weights and their statistics


def test_weights_of_deletions_and_resamples():
    kept = sw.all_and_each_left_out(4)
    np.testing.assert_array_equal(kept[0], 1)
    np.testing.assert_array_equal(kept[1:], 1 - np.eye(4))
    drawn = sw.resamples(2, 500, rng())
    np.testing.assert_array_equal(drawn, 1)  # one seed twice has no spread and is drawn again
    drawn = sw.resamples(5, 4000, rng())
    np.testing.assert_array_equal(drawn.sum(axis=1), 5)
    assert drawn.mean(axis=0) == pytest.approx(np.ones(5), abs=0.06)
    assert drawn.var() == pytest.approx(0.8, abs=0.03)


def test_statistics_are_those_of_repeated_seeds():
    scores = some()
    weights = np.vstack([sw.all_and_each_left_out(6), sw.resamples(6, 5, rng())])
    found = stack(scores).statistics(weights, NAMES, slice(3, 17))
    for d, w in enumerate(weights):
        for m, method in enumerate(scores.values()):
            for s, statistic in enumerate(ag.STATISTICS.values()):
                expected = statistic(repeated(method, w)).values.ravel()[3:17]
                np.testing.assert_allclose(found[d, s, m], expected, rtol=1e-9)


def test_pairs_without_noise_have_no_spread():
    constant = np.full((1, 5, 3), 0.1)
    constant[..., 2] = 0
    constant[0, 4, 1] = 7  # of which the first four seeds see nothing
    some_seeds = np.array([[1.0, 1, 1, 1, 0]])
    found = sw.Centred(constant).statistics(some_seeds, NAMES, slice(None))[0, :, 0]
    np.testing.assert_allclose(found, [[0.1, 0.1, 0], [0, 0, 0], [np.inf, np.inf, 0]])
    blind = np.repeat(rng().normal(size=(1, 1, 50)), 7, axis=1)
    blind[0, 6] += 1
    six = np.array([[1.0, 1, 1, 1, 1, 1, 0]])
    assert not sw.Centred(blind).statistics(six, ["sd"], slice(None)).any()
    tenths = np.full((1, 10, 3), 0.1)
    assert (tenths.mean(axis=1) != 0.1).all()  # what a plain mean makes of it
    assert not sw.Centred(tenths).deviation.any()


@EACH_KIND
@pytest.mark.parametrize("block", [(32, 1024), (3, 7)])
def test_correlations_are_those_of_repeated_seeds(kind, block, monkeypatch):
    monkeypatch.setattr(sw, "_BLOCK", block)
    scores = some()
    values = [s.values for s in scores.values()]
    left, right = sw.resamples(6, 8, rng(1)), sw.resamples(6, 8, rng(2))
    for other in (None, right):
        found = sw.correlations(stack(scores), left, other, names=NAMES, kind=kind)
        for d, s, a, b in np.ndindex(found.shape):
            statistic = NUMPY[NAMES[s]]
            one, two = values[a], values[b]
            of_right = left if other is None else other
            one, two = (
                np.repeat(v, w[d].astype(int), 0) for v, w in ((one, left), (two, of_right))
            )
            expected = r_of(statistic(one), statistic(two), kind)
            assert found[d, s, a, b] == pytest.approx(expected, abs=1e-9)


def test_correlations_keep_their_digits_far_from_zero():
    # Means a million times their spread over pairs; equal statistics have no correlation at all.
    scores = stack({name: 1e6 + s for name, s in some().items()})
    near = stack(some())
    weights = sw.all_and_each_left_out(6)
    for name in ("mean", "sd"):
        far, close = (sw.correlations(s, weights, names=[name]) for s in (scores, near))
        np.testing.assert_allclose(far, close, atol=1e-6)
    # Spreads that hardly differ between pairs.
    size = 1 + 1e-6 * rng(1).normal(size=(2, 1, 500))
    alike = sw.Centred(rng().normal(size=(1, 6, 1)) * size)
    found = sw.correlations(alike, weights[:1], names=["sd"])[0, 0, 0, 1]
    assert found == pytest.approx(np.corrcoef(size[:, 0])[0, 1], abs=1e-6)
    flat = some()
    flat["a"] = flat["a"] * 0 + flat["a"].isel(train=0, query=0)
    found = sw.correlations(stack(flat), weights, names=NAMES)
    assert np.isnan(found[:, :, 0, 1]).all()
    assert np.isfinite(found[:, :, 1, 2]).all()


# -------------------------------------------------------------- pairwise agreement


@EACH_KIND
@pytest.mark.slow
def test_agreement_is_put_together_from_known_parts(kind):
    scores = some()
    found = ai.pairwise_agreement(scores, kind=kind)
    for name, statistic in ag.STATISTICS.items():
        at = found.sel(statistic=name)
        reliability = {}
        for method, s in scores.items():
            half = ag.split_half(s, statistic, kind=kind)
            reliability[method] = float(half["reliability"])
            assert float(at["reliability"].sel(estimator=method)) == pytest.approx(
                reliability[method]
            )
            assert float(at["r_across"].sel(estimator=method, other=method)) == pytest.approx(
                float(half["r_half"])
            )
        cell = at.sel(estimator="a", other="c")
        expected = ag.correlation(statistic(scores["a"]), statistic(scores["c"]), kind=kind)
        assert float(cell["r"]) == pytest.approx(float(expected))
        ceiling = ag.noise_ceiling(reliability["a"], reliability["c"])
        assert float(cell["ceiling"]) == pytest.approx(float(ceiling))
        across = looped_across(scores["a"], scores["c"], NUMPY[name], kind)
        assert float(cell["r_across"]) == pytest.approx(across)
        halves = [float(at["r_across"].sel(estimator=m, other=m)) for m in "ac"]
        top = float(ag.noise_ceiling(*halves))
        assert float(cell["ceiling_across"]) == pytest.approx(top)
        assert float(cell["gap"]) == pytest.approx(across - top)
        expected = across / top if top else np.nan
        assert float(cell["disattenuated"]) == pytest.approx(expected, nan_ok=True)


def looped_across(one, two, statistic, kind, left_out=None):
    """Mean over splits and directions of one method on a half, the other on the other half."""
    found = []
    for halves in ag.halves_of(one.sizes["seed"], 126, None):
        for h, k in (halves, halves[::-1]):
            h, k = ([i for i in half if i != left_out] for half in (h, k))
            found.append(r_of(statistic(one.values[h]), statistic(two.values[k]), kind))
    return np.mean(found)


def test_intervals_are_the_jackknife():
    scores = some(n=7)
    a, b = (scores[name].values for name in "ab")
    found = ai.pairwise_agreement(scores, level=0.9, n_splits=35)
    cell = found.sel(estimator="a", other="b")
    for name, statistic in NUMPY.items():
        each = [r_of(*(statistic(np.delete(x, out, 0)) for x in (a, b))) for out in range(7)]
        half = stats.t.ppf(0.95, 6) * np.sqrt(6 * np.var(np.arctanh(each)))
        middle = np.arctanh(r_of(statistic(a), statistic(b)))
        at = cell.sel(statistic=name)
        assert float(at["r_low"]) == pytest.approx(np.tanh(middle - half))
        assert float(at["r_high"]) == pytest.approx(np.tanh(middle + half))
    pairs = {"ab": ("a", "b"), "aa": ("a", "a"), "bb": ("b", "b")}
    gaps = []
    for out in (None, *range(7)):
        r = {
            k: looped_across(scores[i], scores[j], NUMPY["mean"], "pearson", out)
            for k, (i, j) in pairs.items()
        }
        gaps.append(r["ab"] - np.sqrt(r["aa"] * r["bb"]))
    half = stats.t.ppf(0.95, 6) * np.sqrt(6 * np.var(gaps[1:]))
    at = cell.sel(statistic="mean")
    assert float(at["gap_low"]) == pytest.approx(gaps[0] - half)
    assert float(at["gap_high"]) == pytest.approx(gaps[0] + half)


def test_bootstrap_is_the_percentile_one_of_the_same_draws():
    scores = some()
    found = ai.pairwise_agreement(scores, n_boot=40, generator=rng(5))
    again = ai.pairwise_agreement(scores, n_boot=40, generator=rng(5))
    xr.testing.assert_identical(found, again)
    weights = sw.resamples(6, 40, rng(5))
    for name, statistic in NUMPY.items():
        drawn = [[np.repeat(scores[m].values, w.astype(int), 0) for m in "ab"] for w in weights]
        r = [r_of(statistic(a), statistic(b)) for a, b in drawn]
        at = found.sel(statistic=name, estimator="a", other="b")
        ends = [float(at["boot_low"]), float(at["boot_high"])]
        assert ends == pytest.approx(np.quantile(r, [0.025, 0.975]).tolist())


def test_agreement_ignores_order_unit_and_offset_of_method_and_flips_with_its_sign():
    scores = some()
    found = ai.pairwise_agreement(scores)
    order = [4, 2, 0, 1, 5, 3]
    shuffled = {name: s.isel(seed=order).T for name, s in scores.items()}
    xr.testing.assert_allclose(ai.pairwise_agreement(shuffled), found)
    xr.testing.assert_allclose(
        found.rename(estimator="other", other="estimator").transpose(*found["r"].dims)
        .assign(reliability=found["reliability"]), found,
    )  # fmt: skip
    other = dict(scores, b=-1e-8 * scores["b"])
    flipped = ai.pairwise_agreement(other).sel(estimator="a", other="b")
    at = found.sel(estimator="a", other="b")
    sign = xr.DataArray([-1, 1, -1], dims="statistic")  # a spread has no sign
    for name in ("r", "r_across", "disattenuated"):
        np.testing.assert_allclose(flipped[name], sign * at[name], err_msg=name)
    np.testing.assert_allclose(flipped["r_low"][0], -at["r_high"][0])
    np.testing.assert_allclose(flipped["ceiling"], at["ceiling"])


def test_shared_noise_fools_the_classical_correction_only():
    # Unrelated truths, half of the noise shared: what agrees is the training run.
    law = Law(truth=0.0, noise=4.0, shared=1.0, rank=300, train=40, query=50)
    options = {"statistics": ["mean"], "generator": rng()}
    drawn = [ai.pairwise_agreement(law.draw(rng(s)), **options) for s in range(12)]
    at = xr.concat(drawn, "draw").sel(statistic="mean", estimator="a", other="b")
    actual = np.corrcoef(law.truth)[0, 1]
    assert abs(at["disattenuated"].mean() - actual) < 0.05
    assert (at["r"] / at["ceiling"]).mean() > actual + 0.1


def test_ceiling_is_reached_by_the_same_truth_and_not_by_another():
    for truth, reached in ((1.0, True), (0.6, False)):
        law = Law(truth=truth, noise=4.0, shared=0.5, rank=40, train=30, query=40)
        found = ai.pairwise_agreement(law.draw(rng(1)), statistics=["mean"], generator=rng())
        at = found.sel(estimator="a", other="b")
        assert (float(at["gap_high"][0]) >= 0) == reached
        assert (float(at["disattenuated_high"][0]) >= 1) == reached
        assert float(at["disattenuated_low"][0]) <= np.corrcoef(law.truth)[0, 1]


def test_few_seeds_give_what_they_can():
    two, three, five = (ai.pairwise_agreement(some(n=n)) for n in (2, 3, 5))
    assert two["r"].notnull().all()
    assert two[["r_low", "ceiling", "gap"]].to_array().isnull().all()
    assert three["r_low"].notnull().all()
    assert three["reliability"].isnull().all()
    assert five["ceiling"].notnull().all()
    assert five["gap_low"].isnull().all()


def test_tables_hold_the_same_numbers():
    scores = some()
    options = {"n_splits": 10, "kinds": ["pearson", "spearman"]}
    table = ai.correlation_table(scores, "b", **options)
    assert len(table) == 2 * 2 * 3
    assert set(table["method"]) == {"a", "c"}
    found = ai.pairwise_agreement(scores, kind="spearman", n_splits=10)
    row = table.set_index(["kind", "method", "statistic"]).loc["spearman", "c", "mean"]
    at = found.sel(estimator="c", other="b", statistic="mean")
    for name in ("r", "r_low", "r_high", "ceiling", "gap_low", "disattenuated"):
        assert row[name] == pytest.approx(float(at[name]), nan_ok=True)
    for column, method in (("reliability", "c"), ("reference_reliability", "b")):
        expected = found["reliability"].sel(statistic="mean", estimator=method)
        assert row[column] == pytest.approx(float(expected))
    assert (row["n_pairs"], row["n_seeds"]) == (20, 6)
    pairs = ai.pairwise_table(scores)
    assert [tuple(p) for p in pairs[["method", "other"]].drop_duplicates().values] == [
        ("a", "b"), ("a", "c"), ("b", "c")
    ]  # fmt: skip
    pd.testing.assert_series_equal(
        pairs.query("method == 'a' and other == 'b'")["r"],
        ai.correlation_table(scores, "b").query("method == 'a'")["r"],
        check_index=False,
    )


# -------------------------------------------------------------- differences of agreement


@pytest.mark.parametrize("quantity", ["r", "disattenuated"])
def test_paired_difference_is_the_jackknife_of_the_difference(quantity):
    scores = some(n=8, train=9, query=9)
    both = xr.Dataset(scores)

    def gap(part):
        """Mean of r(a, b) and r(a, c), less r(b, c)."""
        r = {p: float(ag.correlation(*(ag.sd(part[m]) for m in p))) for p in ("ab", "ac", "bc")}
        return (r["ab"] + r["ac"]) / 2 - r["bc"]

    first, second = [("a", "b"), ("a", "c")], [("b", "c")]
    options = {"statistic": "sd" if quantity == "r" else "mean", "quantity": quantity}
    found = ai.paired_difference(scores, first, second, **options, generator=rng())
    other = ai.paired_difference(scores, second, first, **options, generator=rng())
    assert float(other["estimate"]) == pytest.approx(-float(found["estimate"]))
    assert float(other["high"]) == pytest.approx(-float(found["low"]))
    assert float(found["first"] - found["second"]) == pytest.approx(float(found["estimate"]))
    if quantity == "r":
        expected = jackknife_over_seeds(both, gap)
        for name in ("estimate", "low", "high"):
            assert float(found[name]) == pytest.approx(float(expected[name]))
    else:
        whole = ai.pairwise_agreement(scores, generator=rng())["disattenuated"].sel(
            statistic="mean"
        )
        assert float(found["second"]) == pytest.approx(float(whole.sel(estimator="b", other="c")))


def test_a_block_is_told_from_an_outsider():
    generator, shape = rng(3), (20, 20)
    local, far = generator.normal(size=(2, *shape))
    truths = {"if": local, "gd": local, "gc": local, "loo": far}
    scores = {k: array(t + generator.normal(size=(10, *shape))) for k, t in truths.items()}
    inside = [("if", "gd"), ("if", "gc"), ("gd", "gc")]
    outside = [("loo", name) for name in ("if", "gd", "gc")]
    assert float(ai.paired_difference(scores, inside, outside)["low"]) > 0.5
    alike = ai.paired_difference(scores, inside[:1], inside[1:])
    assert float(alike["low"]) < 0 < float(alike["high"])


# -------------------------------------------------------------- query by query


@EACH_KIND
def test_per_query_correlations_are_scipys(kind):
    scores = some(n=6, train=8)
    found = aw.per_query_correlations(scores["a"], scores["b"], kind=kind)
    test = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[kind]
    means = [scores[name].values.mean(axis=0) for name in "ab"]
    expected = [test(means[0][:, q], means[1][:, q]).statistic for q in range(5)]
    np.testing.assert_allclose(found["r"], expected)
    one = ag.split_half(scores["a"].isel(query=[2]), ag.mean, over="train", kind=kind)
    assert float(found["reliability"][2]) == pytest.approx(float(one["reliability"][0]))
    assert float(found["average"]) == pytest.approx(np.mean(expected))
    values = [scores[name].values for name in "ab"]
    each = []
    for out in range(6):
        a, b = (np.delete(x, out, 0).mean(axis=0) for x in values)
        each.append(np.mean([r_of(a[:, q], b[:, q], kind) for q in range(5)]))
    half = stats.t.ppf(0.975, 5) * np.sqrt(5 * np.var(each))
    assert float(found["high"] - found["average"]) == pytest.approx(half)


def test_hard_queries_alone_make_no_agreement_per_query():
    generator = rng(4)
    hard = 5 * generator.normal(size=(1, 1, 40))
    a, b = (array(hard + generator.normal(size=(10, 30, 40))) for _ in range(2))
    assert float(ag.correlation(ag.mean(a), ag.mean(b))) > 0.9
    found = aw.per_query_correlations(a, b, generator=rng())
    assert float(found["low"]) < 0 < float(found["high"])
    few = aw.per_query_correlations(a[:2], b[:2])
    assert few["r"].notnull().all()
    assert np.isnan([few["low"], few["average_ceiling"]]).all()


# -------------------------------------------------------------- low-noise pairs


def spread_out(agree_where_quiet, n=10, seed=0):
    """Method and reference: a third of the pairs has little noise; there they agree, or not."""
    generator = rng(seed)
    shape = (30, 40)
    quiet = generator.random(shape) < 1 / 3
    truth = generator.normal(size=shape)
    other = np.where(quiet == agree_where_quiet, truth, generator.normal(size=shape))
    noise = np.where(quiet, 0.1, 2.0)
    reference, method = (t + noise * generator.normal(size=(n, *shape)) for t in (truth, other))
    return array(method), array(reference)


def test_low_noise_agreement_of_one_split_by_hand():
    # Four seeds: with n_splits = 3 all splits are taken, both ways.
    method, reference = spread_out(True, n=4)
    found = aw.low_noise_agreement(method, reference, generator=rng(), n_splits=3, top=0.2, q=0.3)
    r = {name: [] for name in ("all", "top_snr", "top_mu", "found_snr")}
    for halves in ag.halves_of(4, 3, None):
        for first, second in (halves, halves[::-1]):
            judge = reference.isel(seed=first)
            snr, mu = abs(signal_to_noise(judge)), abs(ag.mean(judge))
            picks = {
                "all": snr > -1,
                "top_snr": snr >= np.sort(snr.values.ravel())[-240],
                "top_mu": mu >= np.sort(mu.values.ravel())[-240],
                "found_snr": benjamini_hochberg(t_test(judge), 0.3)["discovery"],
            }
            for name, pick in picks.items():
                x, y = (
                    ag.mean(s.isel(seed=second)).values[pick.values] for s in (method, reference)
                )
                r[name].append(stats.pearsonr(x, y).statistic if len(x) >= 10 else np.nan)
    for name, values in r.items():
        at = found.sel(selection=name)
        assert float(at["r"]) == pytest.approx(np.nanmean(values)), name
        assert float(at["spread"]) == pytest.approx(np.nanstd(values)), name
        assert float(at["defined"]) == np.isfinite(values).mean()
    assert float(found["n_selected"].sel(selection="top_random")) == 240
    assert found["low"].isnull().all()  # an interval needs six seeds


@EACH_KIND
def test_agreement_rises_where_it_was_put(kind):
    for quiet in (True, False):
        scores = spread_out(quiet)
        found = aw.low_noise_agreement(*scores, generator=rng(), n_splits=4, kind=kind)
        rise = found.sel(selection="found_snr", other="all")
        assert (float(rise["difference_low"]) > 0) == quiet
        assert float(rise["difference"]) == pytest.approx(
            float(rise["r"] - found["r"].sel(selection="all"))
        )
        at_random = found.sel(selection="found_random", other="all")
        assert abs(float(at_random["difference"])) < 0.1
        assert (found["low"] <= found["r"]).all()
    # With agreement in noisy pairs only, it is not low noise but range that raises it.
    beyond = found.sel(selection="top_snr", other="top_mu")
    assert float(beyond["difference_high"]) < 0


def test_range_alone_raises_agreement_as_much_as_low_noise():
    # All pairs equally noisy: choosing by SNR is then a poor way of choosing by mean.
    scores = Law(truth=0.7, noise=4.0, shared=0.0, rank=200, train=40, query=40)
    scores.size[:] = 1
    drawn = scores.draw(rng(2))
    found = aw.low_noise_agreement(drawn["a"], drawn["b"], generator=rng(), n_splits=5)
    by_snr, by_mu = (found.sel(selection=f"top_{order}", other="all") for order in ("snr", "mu"))
    assert float(by_snr["difference_low"]) > 0
    assert float(by_mu["difference"]) > float(by_snr["difference"])


def test_low_noise_agreement_is_reproducible_and_without_discoveries_undefined():
    noise = some(n=8, train=6, query=6, seed=2)
    options = {"n_splits": 3, "q": 1e-9}
    found, again = (
        aw.low_noise_agreement(noise["a"], noise["b"], generator=rng(1), **options)
        for _ in range(2)
    )
    xr.testing.assert_identical(found, again)
    undefined = found.sel(selection="found_snr")
    assert np.isnan([undefined["r"], undefined["low"], undefined["difference"].max()]).all()
    assert (float(undefined["defined"]), float(undefined["n_selected"])) == (0, 0)


# -------------------------------------------------------------- coverage


def coverage(law, repetitions, n_boot, seed=0, statistics=tuple(NAMES)):
    """Share of repetitions whose interval holds what it estimates, `(interval, statistic)`.

    The estimands are averages over other draws of the law.
    """
    generator = rng(seed)

    def one(n_boot=0):
        drawn = law.draw(generator)
        options = {"statistics": statistics, "n_splits": 8, "generator": generator}
        return ai.pairwise_agreement(drawn, n_boot=n_boot, **options)

    many = xr.concat([one() for _ in range(4 * repetitions)], "draw")[["r", "r_across"]]
    many = many.mean("draw")
    own = [many["r_across"].sel(estimator=m, other=m, drop=True) for m in "ab"]
    many = many.sel(estimator="a", other="b")
    ceiling = ag.noise_ceiling(*own)
    estimand = {
        "r": many["r"],
        "boot": many["r"],
        "gap": many["r_across"] - ceiling,
        "disattenuated": many["r_across"] / ceiling,
    }
    cells = [one(n_boot).sel(estimator="a", other="b") for _ in range(repetitions)]
    cells = xr.concat(cells, "draw")
    hits = {
        name: ((cells[f"{name}_low"] <= truth) & (truth <= cells[f"{name}_high"])).mean("draw")
        for name, truth in estimand.items()
    }
    return xr.Dataset(hits)


@pytest.mark.slow
def test_jackknife_covers_and_the_bootstrap_falls_short():
    # Pairs of their own noise: resampling pulls r towards 0 by more than its spread.
    law = Law(truth=1.0, noise=6, rank=300, fall=0, shared=0, train=30, query=40)
    found = coverage(law, 30, 40, statistics=("mean",))
    assert (found[["r", "gap", "disattenuated"]].to_array() > 0.8).all()
    assert (found["boot"] < 0.6).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "rank", "shared"), [(0.5, 3, 0.9), (4, 3, 0), (4, 20, 0.9), (0.5, 20, 0)]
)
def test_jackknife_covers_in_many_settings(noise, rank, shared):
    found = coverage(Law(noise=noise, rank=rank, shared=shared), 150, 100)
    print(noise, rank, shared, {k: v.values.round(3) for k, v in found.items()})
    assert (found[["r", "gap", "disattenuated"]].to_array() > 0.86).all()


@pytest.mark.slow
def test_coverage_of_a_difference_of_agreements():
    law, generator = Law(noise=4, rank=5), rng(8)

    def one():
        drawn = law.draw(generator) | {"c": law.draw(generator)["b"]}
        return ai.paired_difference(drawn, [("a", "b")], [("a", "c")])

    truth = np.mean([float(one()["estimate"]) for _ in range(1000)])
    cells = [one() for _ in range(300)]
    hits = [float(cell["low"]) <= truth <= float(cell["high"]) for cell in cells]
    assert 0.9 < np.mean(hits) <= 1


@pytest.mark.slow
def test_coverage_of_the_rise_on_low_noise_pairs():
    law, generator = Law(noise=3, rank=5, train=30, query=30), rng(9)

    def one():
        drawn = law.draw(generator)
        found = aw.low_noise_agreement(drawn["a"], drawn["b"], generator=generator, n_splits=4)
        return found.sel(selection="top_snr", other="all")

    truth = np.mean([float(one()["difference"]) for _ in range(200)])
    cells = [one() for _ in range(150)]
    hits = [
        float(cell["difference_low"]) <= truth <= float(cell["difference_high"]) for cell in cells
    ]
    print(truth, np.mean(hits))
    assert 0.88 < np.mean(hits) <= 1


def test_two_pairs_are_enough():
    two = {name: scores[:, :1, :2] for name, scores in some(n=4).items()}
    found = ai.pairwise_agreement(two)
    assert found.attrs["n_pairs"] == 2
    np.testing.assert_allclose(abs(found["full"].sel(statistic="mean")), 1)


# -------------------------------------------------------------- refusals

GOOD = some(n=4)
QUIET = dict(GOOD, a=GOOD["a"] * 0 + 1)
ONE_PAIR = {name: s[:, :1, :1] for name, s in GOOD.items()}
OTHER_SEEDS = dict(GOOD, a=GOOD["a"].assign_coords(seed=[5, 6, 7, 8]))
A, B = GOOD["a"], GOOD["b"]
REFUSED = {
    "kind 'kendall'": lambda: ai.pairwise_agreement(GOOD, kind="kendall"),
    "statistics \\['p'\\]": lambda: ai.pairwise_agreement(GOOD, statistics=["p"]),
    "fewer than two methods": lambda: ai.pairwise_agreement({"a": A}),
    "size or labels": lambda: ai.pairwise_agreement(OTHER_SEEDS),
    "seed, train, query": lambda: ai.pairwise_agreement(
        {name: s.rename(query="size") for name, s in GOOD.items()}
    ),
    "single pair": lambda: ai.pairwise_agreement(ONE_PAIR),
    "without noise": lambda: ai.pairwise_agreement(QUIET),
    "n_boot = 3": lambda: ai.pairwise_agreement(GOOD, n_boot=3),
    "pass a generator": lambda: ai.pairwise_agreement(some(n=10)),
    "not finite": lambda: ai.pairwise_agreement(dict(GOOD, a=A * np.nan)),
    "reference 'd'": lambda: ai.correlation_table(GOOD, "d"),
    "quantity 'gap'": lambda: ai.paired_difference(
        GOOD, [("a", "b")], [("a", "c")], quantity="gap"
    ),
    "no pairs": lambda: ai.paired_difference(GOOD, [], [("a", "c")]),
    "methods \\['d'\\]": lambda: ai.paired_difference(GOOD, [("a", "d")], [("a", "c")]),
    "at least 4": lambda: aw.low_noise_agreement(A[:3], B[:3], generator=rng()),
    "top = 2": lambda: aw.low_noise_agreement(A, B, generator=rng(), top=2),
    "least = 1": lambda: aw.low_noise_agreement(A, B, generator=rng(), least=1),
    "kind 'tau'": lambda: aw.low_noise_agreement(A, B, generator=rng(), kind="tau"),
    "labels of a shared": lambda: aw.per_query_correlations(A, B[:3]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
