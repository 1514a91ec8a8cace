"""Lists of influential images, their overlaps between halves of the seeds, and the intervals."""

import numpy as np
import pytest
from scipy import stats
from test_diffusion import random_scored

from dtda_lib.experiments.diffusion import ensemble as diffusion
from dtda_lib.experiments.diffusion import lists as lists


def test_influences_equal_a_loop_over_images_and_samples():
    scored, seeds = random_scored(), np.array([6, 1, 3])
    found = lists.influences_by_kind(scored, seeds, 3)
    for k in range(12):
        for s in range(3):
            before = scored.base[seeds, s]
            after = before + scored.shift[seeds, k, s]
            mean = after.mean() - before.mean()
            variance = after.var(ddof=1) - before.var(ddof=1)
            w2 = np.sqrt(((np.sort(after) - np.sort(before)) ** 2).mean())
            wanted = [abs(mean), abs(variance), w2, abs(scored.shift[3, k, s]), mean]
            np.testing.assert_allclose(found[:, k, s], wanted)


def test_top_marks_the_largest():
    chosen = lists.top(np.array([[[1.0], [5.0], [3.0], [5.0]]]), 2)
    assert chosen[0, :, 0].tolist() == [False, True, False, True]


def test_seeds_are_split_within_pairs_and_few_are_refused():
    halves = lists.splits(8, 200, np.random.default_rng(0))
    assert halves.shape == (200, 4)
    assert 0.4 < halves.mean() < 0.6
    for bad in (4, 7):
        with pytest.raises(ValueError, match="take 6, 8"):
            lists.splits(bad, 3, np.random.default_rng(0))


def test_overlaps_equal_sets_of_two_halves():
    scored, pairs = random_scored(), np.arange(4)
    halves = np.array([[True, False, True, True]])
    found = lists.overlaps(scored, 4, halves, pairs)
    one, other = np.array([1, 2, 5, 7]), np.array([0, 3, 4, 6])  # seed 2p in the other if True
    if not np.allclose(found[0, 0], overlap_of(scored, one, other, 0, 0)):
        one, other = other, one
    for i in range(len(lists.LIST_KINDS)):
        for j in range(len(lists.LIST_KINDS)):
            mixed = overlap_of(scored, one, other, i, j) + overlap_of(scored, one, other, j, i)
            np.testing.assert_allclose(found[i, j], mixed / 2)


def overlap_of(scored, one, other, i, j, k=4):
    """Share of the list by kind i of `one` that is on the list by kind j of `other`."""
    heads = [
        np.argsort(-lists.influences_by_kind(scored, half, half[0])[kind], axis=0)[:k]
        for half, kind in ((one, i), (other, j))
    ]
    return np.array([len(set(heads[0][:, s]) & set(heads[1][:, s])) / k for s in range(3)])


def made_of(truths, noises, seeds=32, samples=30, images=60, seed=0):
    """Scored runs whose mean shifts are `truths[0]` and variances after removal `truths[1]`."""
    generator = np.random.default_rng(seed)
    base = generator.normal(0, 1, (seeds, samples))
    mean, spread = (t(generator, (images, samples)) for t in truths)
    slope = spread[None] * base[:, None]  # moves runs apart in proportion: the variance
    jitter = [n * generator.normal(size=(seeds, images, samples)) for n in noises]
    return diffusion.Scored(base, mean[None] + jitter[0] + slope)


def row_of(scored, first, second):
    table = lists.comparison_table(scored, 8, 12, np.random.default_rng(0))
    return table.set_index(["first_list", "second_list"]).loc[(first, second)]


def test_lists_with_other_truths_differ_beyond_their_noise():
    independent = [lambda g, shape: g.exponential(size=shape)] * 2
    row = row_of(made_of(independent, [0.3]), "mean", "variance")
    assert row["strict_low"] > 0.1
    assert row["plain_low"] > 0.1


def test_one_truth_with_unequal_noise_has_a_plain_gap_and_no_strict_one():
    """One model's list asks what the mean's asks, with more noise."""
    alike = [lambda g, shape: g.exponential(size=shape), lambda g, shape: np.zeros(shape)]
    row = row_of(made_of(alike, [1.5]), "mean", "own")
    assert row["first"] > row["between"] > row["second"]
    assert row["strict_low"] < 0.05
    assert abs(row["strict"]) < 0.05
    assert row["plain"] > row["strict"]


def test_the_same_question_twice_has_no_gap():
    alike = [lambda g, shape: g.exponential(size=shape), lambda g, shape: np.zeros(shape)]
    row = row_of(made_of(alike, [0.1]), "mean", "w2")
    assert abs(row["plain"]) < 0.05
    assert row["plain_low"] <= row["plain"] <= row["plain_high"]


def test_satterthwaite_with_one_part_is_the_t_interval():
    low, high = lists.satterthwaite(np.array(2.0), [np.array(0.25)], (9,), 0.95)
    reach = stats.t.ppf(0.975, 9) * 0.5
    assert (float(low), float(high)) == pytest.approx((2 - reach, 2 + reach))
    both = lists.satterthwaite(np.array(2.0), [np.array(0.25)] * 2, (9, 9), 0.95)
    assert float(both[1]) - 2 == pytest.approx(stats.t.ppf(0.975, 18) * np.sqrt(0.5))
    none = lists.satterthwaite(np.array(2.0), [np.array(0.0)], (9,), 0.95)
    assert (float(none[0]), float(none[1])) == (2, 2)


def test_errors_are_jackknives_over_samples_and_over_pairs_of_seeds():
    scored, every = random_scored(n_samples=4), np.arange(4)  # 4 samples, 4 pairs of seeds
    table = lists.comparison_table(scored, 4, 3, np.random.default_rng(5))
    halves = lists.splits(8, 3, np.random.default_rng(5))

    def gaps(samples, pairs):
        part = diffusion.Scored(scored.base[:, samples], scored.shift[:, :, samples])
        return lists.list_gaps(lists.overlaps(part, 4, halves, pairs), 4 / 12)[0]

    np.testing.assert_allclose(table["plain"], gaps(every, every))
    without_samples = np.array([gaps(np.delete(every, i), every) for i in every])
    without_pairs = np.array([gaps(every, np.delete(every, i)) for i in every])
    parts = [
        3 / 4 * ((left - left.mean(axis=0)) ** 2).sum(axis=0)
        for left in (without_samples, without_pairs)
    ]
    freedom = 3 * sum(parts) ** 2 / sum(part**2 for part in parts)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts))
    np.testing.assert_allclose(table["plain_high"] - table["plain"], reach)
    np.testing.assert_allclose(table["plain"] - table["plain_low"], reach)


def test_gaps_take_chance_off_before_the_geometric_mean():
    shared = np.zeros((len(lists.LIST_KINDS), len(lists.LIST_KINDS), 2))
    i, j = lists.LIST_KINDS.index("mean"), lists.LIST_KINDS.index("variance")
    shared[i, i], shared[j, j], shared[i, j] = 0.9, 0.3, 0.4
    place = lists.PAIRS.index(("mean", "variance"))
    plain, strict, first, second, between = lists.list_gaps(shared, 0.1)[:, place]
    assert plain == pytest.approx(0.6 - 0.4)
    assert strict == pytest.approx((0.8 * 0.2) ** 0.5 + 0.1 - 0.4)
    assert (first, second, between) == pytest.approx((0.9, 0.3, 0.4))
