"""Variance-changing examples: influences, replication, predictions and rules on known answers."""

import json
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import table_like

from dtda_lib.data.images import pooled
from dtda_lib.data.named import get_task
from dtda_lib.experiments.variance_changing_examples import claims as rules
from dtda_lib.experiments.variance_changing_examples import digits, plots, predictions, words
from dtda_lib.experiments.variance_changing_examples import line as changing
from dtda_lib.experiments.variance_changing_examples.experiment import SpreadSetting
from dtda_lib.models.networks import get_model
from dtda_lib.runs.recipes import Recipe
from dtda_lib.statistics.distances import DISTANCES
from dtda_lib.statistics.distributions import distance
from dtda_lib.statistics.over_seeds import jackknife_over_seeds, wilson_interval
from dtda_lib.study.evidence import load
from dtda_lib.theory.testbeds import line_with_far_point

RECIPE = Recipe("sgd", lr=0.1, weight_decay=0.01, batch_size=4, epochs=2)


def rng(seed=0):
    return np.random.default_rng(seed)


def law(values):
    """`(seed, removal, query)`, whose first removal is "none"."""
    values = np.asarray(values, dtype=float)
    labels = ["none", *map(str, range(values.shape[1] - 1))]
    return xr.DataArray(values, {"removal": labels}, ("seed", "removal", "query"))


def drawn(seed, shifts, factors, n=40, queries=3, noise=0.05):
    """Paired runs; removal r moves the mean by `shifts[r]` and multiplies the spread."""
    generator = rng(seed)
    base = generator.standard_normal((n, 1, queries))
    base -= base.mean(axis=0)
    moved = base * np.reshape(factors, (1, -1, 1)) + np.reshape(shifts, (1, -1, 1))
    moved = moved + noise * generator.standard_normal(moved.shape)
    return law(np.concatenate([base, moved], axis=1))


# --- influence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", changing.POOLINGS)
def test_influences_are_pooled_distances(pooling):
    one = drawn(1, [0.3, 0.0, -0.2], [1.0, 1.5, 0.8])
    found = changing.influences_by_delta(one, np.ones((1, 40), dtype=int), pooling).isel(draw=0)
    x, y = one.values[:, :1], one.values[:, 1:]
    for delta in changing.DELTA_LABELS:
        size = np.abs(DISTANCES[changing.delta_key(delta)](np.broadcast_to(x, y.shape), y))
        pooled = size.max(-1) if pooling == "largest" else np.sqrt((size**2).mean(-1))
        np.testing.assert_allclose(found.sel(delta=delta), pooled, rtol=1e-10)


def test_counts_stand_for_repeated_seeds():
    one = drawn(2, [0.3, 0.0], [1.0, 1.5], n=7)
    counts = np.array([[2, 0, 1, 1, 0, 3, 0]])
    again = one.isel(seed=np.repeat(np.arange(7), counts[0]))
    by_counts = changing.influences_by_delta(one, counts)
    np.testing.assert_allclose(
        by_counts, changing.influences_by_delta(again, np.ones((1, 7), dtype=int)), rtol=1e-10
    )


def test_an_offset_changes_no_influence_and_a_scale_only_its_unit():
    one, counts = drawn(3, [0.3, 0.0], [1.0, 1.5], n=9), changing.left_out(9)
    found = changing.influences_by_delta(one, counts)
    np.testing.assert_allclose(changing.influences_by_delta(one + 1e3, counts), found, rtol=1e-6)
    scaled = changing.influences_by_delta(-2 * one, counts)
    for delta, power in (("mean", 1), ("variance", 2), ("w2", 1)):
        expected = found.sel(delta=delta) * 2**power
        np.testing.assert_allclose(scaled.sel(delta=delta), expected, rtol=1e-9)


def test_intervals_are_those_of_the_jackknife():
    one = drawn(4, [0.3, 0.0], [1.0, 1.5], n=12)
    table = changing.influence_table(one, np.array([-1.0, 1.0]))
    row = table[(table["delta"] == "w2") & (table["point"] == 1)].iloc[0]

    def influence(scores):
        counts = np.ones((1, scores.sizes["seed"]), dtype=int)
        return (
            changing.influences_by_delta(scores, counts)
            .sel(delta="w2", train=1)
            .isel(draw=0, drop=True)
        )

    expected = jackknife_over_seeds(one, influence)
    assert row["x"] == 1.0
    for name in ("estimate", "low", "high"):
        assert row[name] == pytest.approx(float(expected[name]))


def test_resamples_have_as_many_seeds_and_begin_with_the_sample():
    counts = changing.resampled(6, 50, rng())
    assert counts.shape == (51, 6)
    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == 6).all()
    assert len(np.unique(counts, axis=0)) > 40


def test_bad_counts_and_poolings_are_refused():
    one = drawn(5, [0.1], [1.0], n=5)
    with pytest.raises(ValueError, match="pooling"):
        changing.influences_by_delta(one, np.ones((1, 5)), "median")
    with pytest.raises(ValueError, match="counts of 4 seeds"):
        changing.changes(one, np.ones((1, 4)))


def test_each_delta_names_the_point_that_was_made_for_it():
    shifts, factors = [0.0, 1.0, 0.1], [1.0, 1.0, 2.5]
    first, fresh = (drawn(seed, shifts, factors) for seed in (6, 7))
    assert changing.first_picks(first) == {"mean": 1, "variance": 2, "w2": 2}
    rivals = changing.picks_table(first, fresh, 50, rng())
    assert (rivals["by_mean"] == 1).all()
    assert (rivals["by_delta"] == 2).all()
    assert (rules.judged(rivals)["status"] == "confirmed").all()
    found = changing.influences_by_delta(fresh, np.ones((1, 40), dtype=int)).isel(draw=0)
    gaps = rivals[rivals["pooling"] == "average"].set_index("delta")["delta_gap"]
    for delta, power in (("variance", 2), ("w2", 1)):
        ratio = float(found.sel(delta=delta, train=2) / found.sel(delta=delta, train=1))
        assert gaps[delta] == pytest.approx(np.log(ratio) / power)


def test_one_point_for_all_is_alike_and_noise_decides_nothing():
    first, fresh = (drawn(seed, [0.0, 1.0, 0.1], [1.0, 2.5, 1.0]) for seed in (8, 9))
    alike = rules.judged(changing.picks_table(first, fresh, 50, rng()))
    assert set(alike["status"]) == {"refuted"}
    assert (alike[["delta_gap", "delta_gap_low", "delta_gap_high"]] == 0).all().all()
    first, fresh = (drawn(seed, [0.0] * 5, [1.0] * 5, noise=1.0) for seed in (10, 11))
    rivals = rules.judged(changing.picks_table(first, fresh, 200, rng()))
    other = rivals[rivals["by_mean"] != rivals["by_delta"]]
    assert len(other)
    assert "confirmed" not in set(other["status"])
    unknown = changing.picks_table(first, fresh, 0, rng())
    decided = unknown["by_mean"] == unknown["by_delta"]
    assert (rules.judged(unknown)["status"][~decided] == "inconclusive").all()


def gap_rows(*gaps, delta="w2"):
    row = {"pooling": "average", "delta": delta, "by_mean": 1, "mean_gap_low": 0.1}
    rows = [
        row
        | {
            "by_delta": 2,
            "delta_gap": (low + high) / 2,
            "delta_gap_low": low,
            "delta_gap_high": high,
        }
        for low, high in gaps
    ]
    return pd.DataFrame(rows)


DIFFERENT, SMALL, OPEN, SEEMS = (0.2, 0.4), (-0.1, 0.05), (0.0, 0.15), (0.05, 0.4)


@pytest.mark.parametrize(
    ("gap", "status"),
    [(DIFFERENT, "confirmed"), (SMALL, "refuted"), (OPEN, "inconclusive"), (SEEMS, "inconclusive")],
)
def test_a_line_differs_only_beyond_what_matters(gap, status):
    rows = gap_rows(gap)
    assert rules.judged(rows)["status"].tolist() == [status]
    rows["mean_gap_low"] = -0.1  # the mean's point does not win by the mean for sure
    assert rules.judged(rows)["status"].tolist() == [status.replace("confirmed", "inconclusive")]
    rows["by_delta"] = 1
    assert rules.judged(rows)["status"].tolist() == ["refuted"]


@pytest.mark.parametrize(
    ("gaps", "counts", "status"),
    [
        ([DIFFERENT] * 9 + [SMALL] * 10 + [OPEN], (9, 10, 1), "confirmed"),
        ([DIFFERENT] * 4 + [SMALL] * 15 + [SEEMS], (4, 15, 1), "inconclusive"),
        ([SMALL] * 40, (0, 40, 0), "refuted"),
        ([SMALL] * 20, (0, 20, 0), "inconclusive"),
    ],
)
def test_lines_are_counted_and_open_ones_widen_the_interval(gaps, counts, status):
    lines = rules.over_lines(rules.judged(gap_rows(*gaps)))
    (row,) = lines.to_dict("records")
    assert (row["differ"], row["alike"], row["open"]) == counts
    n = len(gaps)
    assert row["share"] == pytest.approx((counts[0] + (SEEMS in gaps)) / n)
    assert row["low"] == pytest.approx(wilson_interval(counts[0], n)[0])
    assert row["high"] == pytest.approx(wilson_interval(counts[0] + counts[2], n)[1])
    (claim,) = rules.line_claims(lines, "toy")
    assert (claim.id, claim.status) == ("C6-w2", status)
    if counts[0]:
        assert row["gap"] == pytest.approx(np.expm1(0.3))


def test_one_line_is_told_with_its_excess():
    rows = pd.concat([gap_rows(DIFFERENT), gap_rows(SMALL, delta="variance")])
    by_id = {c.id: c for c in rules.one_line_claims(rows, 9, "toy", "as_drawn")}
    assert {name: c.status for name, c in by_id.items()} == {
        "C6-w2-as_drawn": "confirmed",
        "R7-as_drawn": "refuted",
    }
    assert by_id["C6-w2-as_drawn"].estimate == pytest.approx(np.expm1(0.3))
    assert by_id["C6-w2-as_drawn"].ci == pytest.approx((np.expm1(0.2), np.expm1(0.4)))
    lone = [c.id for c in rules.one_line_claims(rows, 9, "toy", "lone")]
    assert lone == ["C6-w2-lone", "C6-variance-lone"]


def test_where_a_removal_shows_is_told_with_intervals():
    one = drawn(12, [0.3, 0.0], [1.0, 1.5], n=30)
    seen = changing.seen_at(one, np.arange(3.0), {"a": 0, "b": 1})
    assert seen["name"].tolist() == ["a"] * 3 + ["b"] * 3
    before, after = one.values[:, 0], one.values[:, 2]
    part = seen[seen["name"] == "b"]
    np.testing.assert_allclose(part["mean"], (after - before).mean(axis=0), atol=1e-12)
    factor = after.std(axis=0, ddof=1) / before.std(axis=0, ddof=1)
    np.testing.assert_allclose(part["factor"], factor)
    told = distance(
        one.isel(removal=0, drop=True), one.isel(removal=slice(1, None)), "log_variance_ratio",
        paired=True, n_permutations=0,
    ).isel(removal=1)  # fmt: skip
    np.testing.assert_allclose(part["factor_low"], np.exp(told["low"] / 2))


# --- effects of pairs, base rates ----------------------------------------------------------------


def test_effects_are_those_of_the_distances():
    one = drawn(12, [0.1, 0.0], [1.1, 1.0], n=15)
    found = digits.effects([one, 3 * one + 7]).isel(set=0)
    before, after = one.isel(removal=0, drop=True), one.isel(removal=slice(1, None))
    for kind, value in (
        ("mean", found["mean"] * before.std("seed", ddof=1).values),
        ("log_variance_ratio", 2 * found["log_sd"]),
    ):
        told = distance(before, after, kind, paired=True, n_permutations=0)
        np.testing.assert_allclose(value, told["estimate"], atol=1e-12)
    # Units and offsets do not matter.
    scaled = digits.effects([3 * one + 7]).isel(set=0)
    xr.testing.assert_allclose(found, scaled)


def test_effects_meet_the_closed_form():
    testbed, far = line_with_far_point()
    few = replace(testbed, query_x=testbed.query_x[::6])
    runs = few.simulate(20_000, rng(30), [[far], [3]])
    before = runs["base"].transpose("seed", "query").values[:, None]
    after = runs["retrained"].transpose("seed", "removal", "query").values
    found = digits.effects([law(np.concatenate([before, after], axis=1))]).isel(set=0)
    exact, without = few.law(), few.without([[far], [3]])
    shift = (without.mean - exact.mean) / np.sqrt(exact.variance)
    factor = np.log(without.variance / exact.variance) / 2
    np.testing.assert_allclose(found["mean"], shift.transpose("removal", "query"), atol=0.03)
    np.testing.assert_allclose(found["log_sd"], factor.transpose("removal", "query"), atol=0.03)
    assert abs(found["mean"].values[0]).max() < 0.03 < found["log_sd"].values[0].max()


def test_swapping_exchanges_whole_runs_and_leaves_nothing_to_find():
    one = drawn(14, [5.0, 5.0], [1.0, 1.0], n=200)
    before, after = one.values[:, :1], one.values[:, 1:]
    x, y = digits.swapped(before, after, rng())
    turned = x > y  # the shift of 5 tells which runs were exchanged
    assert (turned == turned[:, :, :1]).all()
    assert 0.35 < turned.mean() < 0.65
    assert (turned[:, 0, 0] != turned[:, 1, 0]).any()
    both = np.sort(np.stack([np.broadcast_to(before, after.shape), after]), axis=0)
    np.testing.assert_array_equal(np.sort(np.stack([x, y]), axis=0), both)
    wide = [drawn(seed, [0.0] * 4, [1.5] * 4, n=300) for seed in (15, 16)]
    assert (digits.effects(wide)["log_sd"] > 0.3).all()
    assert (abs(digits.noise_effects(wide, rng())["log_sd"]) < 0.2).all()


def pair_effects(mean, log_sd):
    """`(set, train, query)` from nested lists `(set, train)`, one query."""
    dims = ("set", "train", "query")
    both = {"mean": np.array(mean), "log_sd": np.array(log_sd)}
    return xr.Dataset({name: (dims, values[..., None]) for name, values in both.items()})


def test_pairs_are_sorted_by_the_other_sets():
    found = pair_effects(
        [[0.0, 0.5, 0.0], [0.0, 0.0, 0.3], [0.0, 0.0, 0.0]],
        [[0.2, 0.2, 0.2], [0.2, 0.2, -0.2], [0.2, 0.01, 0.2]],
    )
    judged = digits.sorted_pairs(found).isel(query=0).transpose("set", "train")
    moved = [[0, 0, 0.15], [0, 0.25, 0], [0, 0.25, 0.15]]
    np.testing.assert_allclose(judged["moved"], moved)
    # Pair 1 changes in two sets; pair 2 in all, but not in one direction.
    expected = [[True, True, False], [True, True, False], [True, False, False]]
    assert judged["changed"].values.tolist() == expected
    with pytest.raises(ValueError, match="two sets or more"):
        digits.sorted_pairs(found.isel(set=[0]))


def three_sets(factors, shifts, n=60, queries=6, noise=0.02):
    return [
        drawn(seed, shifts, factors, n=n, queries=queries, noise=noise) for seed in (40, 41, 42)
    ]


def test_base_rates_are_counted_by_brute_force():
    laws = three_sets([1.5, 1.5, 1.0, 1.0, 1.5, 1.02], [0.0, 1.0, 0.0, 1.0, 0.02, 0.3])
    found = digits.effects(laws)
    row = digits.base_rates(found, digits.noise_effects(laws, rng()))
    hits, cells = {True: 0, False: 0}, {True: 0, False: 0}
    for s in range(3):
        others = [t for t in range(3) if t != s]
        for k in range(6):
            for q in range(6):
                at = {"train": k, "query": q}
                moved = abs(np.mean([float(found["mean"].isel(set=t, **at)) for t in others]))
                stays = moved < 0.1
                own = float(found["log_sd"].isel(set=s, **at))
                other = np.mean([float(found["log_sd"].isel(set=t, **at)) for t in others])
                least = np.log(1.1)
                hit = (own > least and other > least) or (own < -least and other < -least)
                cells[stays] += 1
                hits[stays] += hit
    assert row["pairs"] == 36
    assert row["neutral"] == pytest.approx(cells[True] / 108)
    assert row["share"] == pytest.approx(hits[True] / cells[True])
    assert row["others"] == pytest.approx(hits[False] / cells[False])
    assert row["difference"] == pytest.approx(row["share"] - row["others"])
    assert row["share_low"] < row["share"] < row["share_high"]
    assert row["noise"] < 0.05 < row["share"]
    assert row["everywhere"] == 12  # points 0 and 4 at all six queries
    assert row["everywhere_noise"] < row["everywhere"]
    curve = digits.rate_curve(found)
    assert curve["of_pairs"].sum() == pytest.approx(1)
    assert curve["share"][0] == pytest.approx(row["share"])


def base_row(**changes):
    row = {"pairs": 40, "share": 0.2, "share_low": 0.1, "share_high": 0.3, "others": 0.5}
    row |= {"difference": -0.3, "difference_low": -0.4, "difference_high": -0.2}
    return pd.Series(row | {"noise": 0.0, "everywhere": 3, "everywhere_noise": 0} | changes)


def test_claims_about_spread_alone_follow_effect_and_base_rate():
    cases = [
        ((0.1, 0.3), 3, "confirmed"),
        ((0.0, 0.04), 1, "refuted"),  # as many as by chance
        ((0.0, 0.04), 2, "partly"),  # some points do, as the paper says
        ((0.01, 0.3), 3, "inconclusive"),
    ]
    for (low, high), everywhere, status in cases:
        about = {"everywhere": everywhere, "everywhere_noise": 1}
        row = base_row(share_low=low, share_high=high, **about)
        claim = rules.neutral_claim(row, "points", "toy")
        assert (claim.id, claim.status) == ("C7-points", status)
    assert "of the other pairs 0.5" in claim.statistic
    cases = [((-0.4, -0.2), "refuted"), ((0.1, 0.2), "confirmed"), ((-0.1, 0.1), "inconclusive")]
    for (low, high), status in cases:
        claim = rules.special_claim(base_row(difference_low=low, difference_high=high), "toy")
        assert claim.status == status


def test_digits_are_averaged_in_blocks():
    whole = get_task("mnist3", per_class=2, queries_per_class=2)
    small = pooled(whole, 4)
    assert small.train_x.shape == (6, 1, 7, 7)
    block = whole.query_x[3, 0, 4:8, 8:12].mean()
    torch.testing.assert_close(small.query_x[3, 0, 1, 2], block)
    assert small.train_id == whole.train_id


# --- groups --------------------------------------------------------------------------------------


def base_and_shift(n=30, points=6, queries=4):
    generator = rng(24)
    base = generator.standard_normal((n, queries))
    slopes = 0.2 * generator.standard_normal((points, queries))
    moves = 0.05 * generator.standard_normal((points, queries))
    shift = base[:, None] * slopes + moves
    return (
        xr.DataArray(base, dims=("seed", "query")),
        xr.DataArray(shift, {"train": np.arange(points)}, ("seed", "train", "query")),
    )


def test_groups_are_the_best_that_leave_the_mean():
    base, shift = base_and_shift()
    chosen = digits.choose_groups(base, shift, 2, 4)
    every = list(combinations(range(6), 2))
    one = predictions.predicted_law(base, shift, every)
    found = digits.effects([one]).isel(set=0)
    size = abs(found["log_sd"]).where(abs(found["mean"]) <= digits.RELEVANT, -1)
    best = {q: every[int(size.values[:, q].argmax())] for q in range(4)}
    order = sorted(range(4), key=lambda q: -float(size.isel(query=q).max()))
    expected = dict.fromkeys(best[q] for q in order)
    assert [group for group, _ in chosen] == list(expected)
    assert all(best[query] == group for group, query in chosen)
    assert digits.choose_groups(base, shift, 2, 1) == chosen[:1]


def test_where_every_group_moves_the_mean_the_least_is_taken():
    base, shift = base_and_shift()
    far = shift + xr.DataArray(1.0 + np.arange(6), dims="train")
    chosen = digits.choose_groups(base, far, 2, 4)
    assert chosen[0][0] == (0, 1)


def test_random_groups_are_others():
    taken = [(0, 1), (0, 2)]
    found = digits.random_groups(4, 2, 4, taken, rng())
    assert len(set(found) | set(taken)) == 6
    with pytest.raises(ValueError, match="no 5 other groups"):
        digits.random_groups(4, 2, 5, taken, rng())


def test_chosen_and_random_groups_are_compared_at_the_same_queries():
    fresh = drawn(26, [0.0, 1.0, 0.0, 0.0], [1.5, 1.5, 1.0, 1.0], n=60, queries=2)
    table = digits.chosen_groups_table(fresh, {"chosen": ["0", "1"], "random": ["2", "3"]}, [1, 0])
    assert table["stays"].tolist() == [1, 2]
    assert table["alone"].tolist() == [1, 0]
    assert table["factor"][0] == pytest.approx(1.5, abs=0.1)
    one = digits.two_laws(fresh, "1", 1)
    np.testing.assert_array_equal(one["after"], fresh.values[:, 2, 1])
    claim = rules.chosen_claim(table, 2, "toy")
    assert (claim.id, claim.status, claim.estimate) == ("C7-groups-predicted", "inconclusive", 0.5)


def test_examples_are_chosen_on_the_first_seeds_alone():
    first = drawn(50, [0.0, 0.0, 1.0], [1.5, 0.6, 3.0], n=80, queries=2)
    found = digits.effects([first]).isel(set=0)
    allowed = abs(found["log_sd"]).where(abs(found["mean"]) < 0.1, -1)
    best = allowed.argmax(("train", "query"))
    chosen = digits.top_pairs(first, 2)
    assert chosen[0] == (str(best["train"].item()), best["query"].item())
    assert {label for label, _ in chosen} == {"0", "1"}
    assert len({query for _, query in chosen}) == 2


# --- predictions ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_banks_give_laws_with_the_same_labels():
    setting = SpreadSetting(
        name="toy",
        task=table_like(6, 3, torch.float32),
        model=get_model("mlp", widths=(8, 2, 1), activation="gelu"),
        recipe=RECIPE,
        measurement="query_prediction",
        seeds=[[(1, 1), (2, 2), (3, 3)]],
        n_unrolled=3,
        machine={"workers": 1},
    )
    retrained, laws = setting.first, setting.predicted
    assert list(laws) == list(predictions.PREDICTED)
    for found in laws.values():
        assert found.dims == retrained.dims
        assert found.shape == retrained.shape
        np.testing.assert_allclose(found[:, 0], retrained[:, 0], atol=1e-5)
    shift = predictions.influence_shifts(setting.estimates)["rif"]
    np.testing.assert_allclose(laws["rif"][:, 2] - laws["rif"][:, 0], shift[:, 1], atol=1e-6)
    # Six steps: the derivative of training predicts each run's own shift well.
    both = (part.values for part in (retrained, laws["unrolling"]))
    true, told = ((part[:, 1:] - part[:, :1]).ravel() for part in both)
    assert np.corrcoef(true, told)[0, 1] > 0.9


def test_the_lone_point_is_the_last():
    line = get_task("regression1d", n_train=5, n_query=4)
    lone = changing.with_lone_point(line, 3.0, -0.5, np.array([0.0, 3.0]))
    assert (lone.n_train, lone.n_query) == (6, 2)
    assert (float(lone.train_x[-1, 0]), float(lone.train_y[-1])) == (3.0, -0.5)
    torch.testing.assert_close(lone.train_x[:-1], line.train_x)
    assert lone.train_id == tuple(range(6))


# --- scores --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_sets():
    shifts, factors = [0.0, 1.0, 0.3, -0.5], [1.0, 1.2, 1.8, 0.9]
    return [drawn(seed, shifts, factors, n=30, queries=3) for seed in (27, 28)]


def test_a_good_prediction_scores_and_a_shuffled_one_does_not(two_sets):
    first, fresh = two_sets
    shuffled = first.copy(data=first.values[:, [0, 3, 1, 4, 2]])
    halved = first.copy(data=0.5 * first.values + 0.5 * first.values[:, :1])
    predicted = {"unrolling": first, "rif": first.isel(seed=slice(0, 10)), "if_ggn": shuffled}
    cells = {"mean": predictions.pair_cells("mean"), "w2": predictions.pooled_cells("w2")}
    table = predictions.score_table(predicted | {"if_damped": halved}, first, fresh, cells)
    rows = table.set_index(["method", "delta"]).sort_index()
    good, bad, half = (rows.loc[(name, "mean")] for name in ("unrolling", "if_ggn", "if_damped"))
    # Retraining itself as the prediction: at its ceiling, with all of the size, and no error.
    for row in (good, rows.loc[("unrolling", "w2")]):
        assert row["correlation"] == pytest.approx(row["ceiling"])
        for end in ("", "_low", "_high"):
            assert row[f"explained{end}"] == pytest.approx(1)
            assert row[f"slope{end}"] == pytest.approx(1)
    assert good["correlation"] > 0.98
    assert bad["explained"] < 0.3
    assert half["slope"] == pytest.approx(0.5)
    assert half["explained"] == pytest.approx(1)
    assert (good["pick"], good["true_pick"]) == (3, 3) or good["pick"] // 3 == 1
    assert rows.loc[("rif", "mean")]["n_seeds"] == 10
    statuses = {c.id: c.status for c in rules.predicted_claims(
        table[table["delta"] == "mean"], "C7-{}", "a change", "toy"
    )}  # fmt: skip
    assert statuses["C7-if_damped-predicted"] == "confirmed"
    assert statuses["C7-if_ggn-predicted"] in ("refuted", "inconclusive")
    for name, (true, guess) in predictions.against_truth(predicted, fresh, cells["w2"]).items():
        r = rows.loc[(name, "w2")]["correlation"]
        assert np.corrcoef(true, guess)[0, 1] == pytest.approx(r)


def test_a_prediction_of_the_wrong_sign_explains_less_than_nothing(two_sets):
    first, fresh = two_sets
    turned = first.copy(data=2 * first.values[:, :1] - first.values)
    cells = {"mean": predictions.pair_cells("mean")}
    (row,) = predictions.score_table({"rif": turned}, first, fresh, cells).to_dict("records")
    assert row["slope"] == pytest.approx(-1)
    assert row["explained"] == pytest.approx(-1)


def test_slopes_and_explained_shares_are_free_of_noise():
    """Truth t with noise in both sets, prediction half of t: slope .5, all explained but noise."""
    generator = rng(60)
    t = generator.standard_normal(20_000)
    noisy = [t + 2 * generator.standard_normal(t.size) for _ in range(2)]
    ceiling, r, _, _, explained, _, _, slope, _, _ = predictions.scored(
        *(np.stack([draw] * 3) for draw in (0.5 * t, *noisy))
    )
    assert slope == pytest.approx(0.5, abs=0.03)
    assert r == pytest.approx(np.sqrt(0.2), abs=0.02)
    assert ceiling == pytest.approx(0.2, abs=0.02)
    assert explained == pytest.approx((r / ceiling) ** 2)


def test_the_jackknife_adds_both_sets_and_leaves_shared_seeds_out_together():
    generator = rng(29)
    guess, same, truth = (generator.standard_normal((n, 5)) for n in (9, 9, 7))
    _, r, low, high, *_ = predictions.scored(guess, same, truth)
    left = [np.corrcoef(row, truth[0])[0, 1] for row in guess[1:]]
    right = [np.corrcoef(guess[0], row)[0, 1] for row in truth[1:]]
    error = np.sqrt(7 * np.var(left) + 5 * np.var(right))
    assert r == pytest.approx(np.corrcoef(guess[0], truth[0])[0, 1])
    assert (r - low, high - r) == pytest.approx((2.570582 * error,) * 2, rel=1e-5)
    *_, slope, slope_low, _ = predictions.scored(guess, same, truth)
    slopes = [(g @ truth[0]) / (s @ truth[0]) for g, s in zip(guess, same)]
    others = [(guess[0] @ row) / (same[0] @ row) for row in truth[1:]]
    error = np.sqrt(7 * np.var(slopes[1:]) + 5 * np.var(others))
    assert slope == pytest.approx(slopes[0])
    assert slope - slope_low == pytest.approx(2.570582 * error, rel=1e-5)


# --- sentences -----------------------------------------------------------------------------------


def bands(sd_after, shift):
    rows = {"point": [2, 2, 7, 7, 7, 7], "law": ["before", "after"] * 3}
    table = pd.DataFrame(rows | {"x": [3.0, 3.0, 1.0, 1.0, 3.0, 3.0], "mean": 0.5, "sd": 0.25})
    table.loc[5, ["mean", "sd"]] = 0.5 - shift, sd_after
    return table


def test_the_lone_point_is_told_at_its_own_place():
    said = words.lone_words(bands(0.8, 0.1)).data
    assert "at x = 3 from 0.25 to 0.80 and its mean from 0.50 to 0.40, 0.40 of the" in said
    assert (
        "from 0.25 to 0.30 and its mean from 0.50 to 0.10" in words.lone_words(bands(0.3, 0.4)).data
    )


def made_evidence(folder, difference):
    """What `answer` reads: claims and two figures at `paper`."""
    stem, claims = "04_variance_changing_examples", []
    base = {"status": "confirmed", "ci": [0.2, 0.4], "n": 40, "paper_value": None}
    base |= dict.fromkeys(("claim", "source", "statistic", "setting", "estimand", "rule"), "x")
    estimates = {"C6-w2": 0.3, "R7": 0.6, "C7-points": 0.2, "T-mean-neutral": np.mean(difference)}
    estimates |= {
        f"C7-{name}-predicted": 0.9 - i / 10 for i, name in enumerate(predictions.PREDICTED)
    }
    for name, estimate in estimates.items():
        ci = list(difference) if name == "T-mean-neutral" else base["ci"]
        claims.append(base | {"id": name, "estimate": float(estimate), "ci": ci})
    paper = folder / "figures" / "paper"
    paper.mkdir(parents=True, exist_ok=True)
    file = {"notebook": stem, "profile": "paper", "claims": claims}
    (paper / f"{stem}.claims.json").write_text(json.dumps(file))
    bands(0.8, 0.1).to_csv(paper / f"{stem}-lone_bands.csv", index=False)
    spreads = {("4", "before"): 1, ("4", "after"): 2, ("1+2", "before"): 1, ("1+2", "after"): 9}
    rows = [
        {"removed": removed, "query": 0, "law": law, "seed": seed, "margin": size * value}
        for (removed, law), size in spreads.items()
        for seed, value in enumerate((-1, 0, 1))
    ]
    pd.DataFrame(rows).to_csv(paper / f"{stem}-examples.csv", index=False)
    return load(folder)


def test_the_answer_follows_the_evidence(tmp_path):
    told = words.answer(made_evidence(tmp_path, (-0.4, -0.2)))
    assert len(told) == 5
    assert "_" not in " ".join(told)  # no keys
    assert "from 0.25 to 0.80" in told[0]
    assert told[1].startswith("On 30 % [20, 40] of 40 random lines W2")
    assert (
        "20 % [20, 40] change their spread by more than 10 %, less often than the other" in told[2]
    )
    assert "(50 %)" in told[2]
    assert "crosses zero" in told[2]
    assert "by 2.00." in told[3]
    assert told[4].index("Gauss-Newton IF 90 %") < told[4].index("unrolling 60 %")
    assert "special" in words.answer(made_evidence(tmp_path, (0.1, 0.2)))[2].split(";")[1]


def test_evidence_that_does_not_know_the_claims_is_not_spoken_of(tmp_path):
    made_evidence(tmp_path, (-0.4, -0.2))
    path = tmp_path / "figures" / "paper" / "04_variance_changing_examples.claims.json"
    path.write_text(path.read_text().replace('"R7"', '"C6-variance"'))
    assert words.answer(load(tmp_path)) == []


# --- drawings ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_drawings_return_what_they_show(two_sets):
    first, fresh = two_sets
    task = get_task("regression1d", n_train=4, n_query=3)
    images = get_task("mnist3", per_class=2, queries_per_class=1)
    laws = dict.fromkeys((*predictions.ESTIMATED, "unrolling"), first)
    cells = {"w2": predictions.pooled_cells("w2"), "mean": predictions.pair_cells("mean")}
    scores = predictions.score_table(laws, first, fresh, cells)
    found = {name: predictions.against_truth(laws, fresh, of) for name, of in cells.items()}
    rivals = changing.picks_table(first, fresh, 20, rng())
    pairs = digits.effects([first, fresh, drawn(3, [0, 1, 0.3, -0.5], [1, 1.2, 1.8, 0.9], n=30)])
    seen = changing.seen_at(fresh, np.arange(3.0), {"a": 1, "b": 2})
    drawings = [
        plots.influences_along_line(changing.influence_table(first, np.arange(4.0))),
        plots.bands(task, first, {"one": 1, "two": 2}),
        plots.excesses(rules.judged(rivals).assign(line=0)),
        plots.where_it_shows(seen),
        plots.predicted(found["w2"], scores[scores["delta"] == "w2"], logarithmic=True),
        plots.predicted(found["mean"], scores[scores["delta"] == "mean"], logarithmic=False),
        plots.spread_against_mean(pairs.isel(set=[0]), {"all": digits.rate_curve(pairs)}),
        plots.examples(images, [(first, fresh)]),
    ]
    for fig, data in drawings:
        assert isinstance(data, pd.DataFrame)
        assert len(data)
        fig.canvas.draw()
        plt.close(fig)
