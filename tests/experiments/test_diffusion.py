"""The ensemble of diffusion models: runs, samples, scores, and groups that are removed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import digits_like

from dtda_lib.experiments.diffusion import denoising, retrained
from dtda_lib.experiments.diffusion import ensemble as diffusion
from dtda_lib.experiments.diffusion import experiment as experiments
from dtda_lib.runs.recipes import Recipe
from dtda_lib.study.settings import StudyError

TASK = replace(digits_like(12, 20, torch.float32), train_y=torch.arange(12) % 2)
RECIPE = Recipe("adam", lr=1e-2, batch_size=16, epochs=2)
MACHINE = {"device": "cpu", "workers": 1}


def experiment(task=TASK):
    return diffusion.Ensemble(task, 3, 8, 6, 1, RECIPE, MACHINE)


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
    thetas = one.generating(3).dataset()["parameters"].isel(removal=0, checkpoint=-1).values
    for run, theta in enumerate(torch.from_numpy(thetas.copy())):
        draws = torch.Generator().manual_seed(run)
        alone = denoising.generate(one.network, theta, 2, 3, draws)
        torch.testing.assert_close(samples.codes[2 * run : 2 * run + 2], alone)
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


@pytest.mark.slow
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
    groups = retrained.removal_groups(*made, np.random.default_rng(2))
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
        retrained.removal_groups(
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
    assert experiments.refuse_impossible(labels, **POSSIBLE) is None
    with pytest.raises(StudyError, match=message):
        experiments.refuse_impossible(labels, **(POSSIBLE | wrong))


def test_positions_are_spread_and_ties_keep_their_order():
    assert retrained.spread_out(24, 12).tolist() == list(range(0, 24, 2))
    assert retrained.spread_out(3, 5).tolist() == [0, 1, 2]
    assert retrained.largest_first(np.array([1.0, 3, 2, 3]), 3).tolist() == [1, 3, 2]
