"""The ensemble of diffusion models: runs, samples, groups, and lists of influential images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import digits_like
from scipy import stats

from dtda_lib.analyses import diffusion
from dtda_lib.analyses import diffusion_groups as groups_of
from dtda_lib.analyses import diffusion_lists as lists
from dtda_lib.recipes import Recipe
from dtda_lib.study import StudyError

TASK = replace(digits_like(12, 20, torch.float32), train_y=torch.arange(12) % 2)
RECIPE = Recipe("adam", lr=1e-2, batch_size=16, epochs=2)
MACHINE = {"device": "cpu", "workers": 1}


def experiment(task=TASK):
    return diffusion.Experiment(task, 3, 8, 6, 1, RECIPE, MACHINE)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", "off")


@pytest.fixture(scope="module")
def made():
    """An experiment with its samples, made without a cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DTDA_CACHE", "off")
    one = experiment()
    yield one, one.generate(one.generating(3), 2)
    patch.undo()


# --- runs and samples ----------------------------------------------------------------------------


def test_three_sets_of_seeds_are_disjoint(made):
    one, samples = made
    banks = [one.generating(3), one.scoring(samples, 3), one.judging(samples, {}, 3)]
    seeds = [
        set(zip(b.runs.init_seeds.flatten().tolist(), b.runs.order_seeds.flatten().tolist()))
        for b in banks
    ]
    assert all(len(each) == 3 for each in seeds)
    assert len(set.union(*seeds)) == 9


def test_code_is_made_of_images_that_never_train(made):
    one, _ = made
    changed = replace(TASK, train_x=TASK.train_x.flip(0))
    assert torch.equal(experiment(changed).code.vectors, one.code.vectors)
    assert one.images.shape == (12, 1, 14, 14)
    torch.testing.assert_close(one.images[0, 0, 0, 0], TASK.train_x[0, 0, :2, :2].mean())


def test_samples_of_a_run_do_not_depend_on_other_runs(made):
    one, samples = made
    assert samples.codes.shape == (6, 3)
    assert samples.run.tolist() == [0, 0, 1, 1, 2, 2]
    fewer = one.generate(one.generating(2), 2)
    torch.testing.assert_close(fewer.codes, samples.codes[:4], rtol=1e-4, atol=1e-5)
    distances = one.pixel_distances(samples.codes)
    for sample in range(6):
        image = one.code.decode(samples.codes)[sample]
        wanted = [(image - other).norm().item() for other in one.images]
        np.testing.assert_allclose(distances[:, sample], wanted, rtol=1e-5)
        assert samples.digit[sample] == TASK.train_y[int(np.argmin(wanted))]


def test_quality_calls_copies_near_and_noise_far(made):
    one, samples = made
    real = replace(samples, codes=one.code.encode(one.other_images))
    assert one.quality(real) == {"too_far": 0.05, "too_near": 0.05}  # 1 of 20
    copies = replace(samples, codes=one.code.encode(one.images))
    near = one.pixel_distances(copies.codes).min(axis=0)
    bound = np.quantile(one.pixel_distances(real.codes).min(axis=0), 0.05)
    assert one.quality(copies)["too_near"] == pytest.approx((near < bound).mean())
    assert one.quality(replace(samples, codes=samples.codes + 50))["too_far"] == 1


def test_judging_runs_never_see_the_removed_group(made):
    one, samples = made
    group = {"random/0": np.array([2, 5])}
    loss = diffusion.losses_of(one.judging(samples, group, 2))
    assert loss["removal"].values.tolist() == ["none", "random/0"]
    pixels = TASK.train_x.clone()
    pixels[[2, 5]] = 1 - pixels[[2, 5]]
    other = experiment(replace(TASK, train_x=pixels))
    again = diffusion.losses_of(other.judging(samples, group, 2))
    np.testing.assert_allclose(again.sel(removal="random/0"), loss.sel(removal="random/0"))
    assert (again.sel(removal="none") != loss.sel(removal="none")).all()


def test_scores_are_losses_and_shifts_of_the_full_data_models(made):
    one, samples = made
    scored = diffusion.scores_of(one.scoring(samples, 3))
    assert scored.base.shape == (3, 6)
    assert scored.shift.shape == (3, 12, 6)
    assert scored.base.dtype == scored.shift.dtype == np.float64
    assert (scored.base > 0).all()


def test_stacks_of_other_sizes_give_the_same_scores(made, monkeypatch):
    one, samples = made
    together = diffusion.scores_of(one.scoring(samples, 3))
    monkeypatch.setattr(diffusion, "SCORED_STACK", 1)
    alone = diffusion.scores_of(one.scoring(samples, 3))
    np.testing.assert_allclose(alone.base, together.base, rtol=1e-4)
    largest = abs(together.shift).max()
    np.testing.assert_allclose(alone.shift, together.shift, rtol=1e-3, atol=1e-4 * largest)


# --- groups --------------------------------------------------------------------------------------


def random_scored(n_seeds=8, n_images=12, n_samples=3, seed=0):
    generator = np.random.default_rng(seed)
    base = generator.normal(1, 0.1, (n_seeds, n_samples))
    return diffusion.Scored(base, generator.normal(size=(n_seeds, n_images, n_samples)))


def test_groups_are_the_heads_of_their_lists():
    scored, labels = random_scored(), np.arange(12) % 2
    distances = np.random.default_rng(1).random((12, 3))
    made = (scored, distances, labels, np.array([0, 2]), 3, 2)
    groups = groups_of.removal_groups(*made, np.random.default_rng(2))
    assert set(groups) == {
        *(f"{kind}/{s}" for kind in ("mean", "variance", "nearest") for s in (0, 2)),
        *(f"{kind}/{draw}" for kind in ("random", "digit0", "digit1") for draw in (0, 1)),
    }
    for s in (0, 2):
        mean = [scored.shift[:, k, s].mean() for k in range(12)]
        assert groups[f"mean/{s}"].tolist() == np.argsort(mean)[::-1][:3].tolist()
        after = [np.var(scored.base[:, s] + scored.shift[:, k, s]) for k in range(12)]
        assert groups[f"variance/{s}"].tolist() == np.argsort(after)[::-1][:3].tolist()
        assert groups[f"nearest/{s}"].tolist() == np.argsort(distances[:, s])[:3].tolist()
    for draw in (0, 1):
        assert len(set(groups[f"random/{draw}"].tolist())) == 3
        assert set(labels[groups[f"digit1/{draw}"]]) == {1}


def test_too_few_images_of_a_digit_are_refused():
    labels = np.array([0] * 10 + [1] * 2)
    distances = np.zeros((12, 3))
    with pytest.raises(ValueError, match="3 images cannot be drawn from the 2 of digit1"):
        groups_of.removal_groups(
            random_scored(), distances, labels, np.array([0]), 3, 1, np.random.default_rng(0)
        )


POSSIBLE = {"n_seeds": 8, "list_length": 11, "removed_percent": 20, "n_random": 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_seeds": 4}, "give 6, 8"),
        ({"n_seeds": 7}, "give 6, 8"),
        ({"list_length": 12}, "names all 12 images: give 1 to 11"),
        ({"removed_percent": 8}, "is 0, to be drawn from the 5 of a digit"),
        ({"removed_percent": 50}, "is 6, to be drawn from the 5 of a digit"),
        ({"n_random": 1}, "give 2 or more"),
    ],
)
def test_impossible_sizes_are_refused_before_anything_trains(wrong, message):
    labels = np.array([0] * 7 + [1] * 5)
    assert groups_of.refuse_impossible(labels, **POSSIBLE) is None
    with pytest.raises(StudyError, match=message):
        groups_of.refuse_impossible(labels, **(POSSIBLE | wrong))


def test_positions_are_spread_and_ties_keep_their_order():
    assert groups_of.spread_out(24, 12).tolist() == list(range(0, 24, 2))
    assert groups_of.spread_out(3, 5).tolist() == [0, 1, 2]
    assert groups_of.best(np.array([1.0, 3, 2, 3]), 3).tolist() == [1, 3, 2]


# --- influences and lists -------------------------------------------------------------------------


def test_influences_equal_a_loop_over_images_and_samples():
    scored, seeds = random_scored(), np.array([6, 1, 3])
    found = lists.influences(scored, seeds, 3)
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
    for i in range(len(lists.KINDS)):
        for j in range(len(lists.KINDS)):
            mixed = overlap_of(scored, one, other, i, j) + overlap_of(scored, one, other, j, i)
            np.testing.assert_allclose(found[i, j], mixed / 2)


def overlap_of(scored, one, other, i, j, k=4):
    """Share of the list by kind i of `one` that is on the list by kind j of `other`."""
    heads = [
        np.argsort(-lists.influences(scored, half, half[0])[kind], axis=0)[:k]
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
