"""`UnrolledBank`: what the bank adds to unrolling (shards, cache, labels), and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dtda_lib.attribution.metagradient import metagradient_shifts
from dtda_lib.attribution.source import source_shifts
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.data.named import Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import MEASURES, get_measure
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.shifts import print_costs, shift_upon_removal

RECIPE = Recipe("sgd", lr=0.05, batch_size=4, epochs=5, keep_last=2, weight_decay=0.01)
# The first stream gives both parts one seed, which hides where they are taken for each other.
SEEDS = [(init, order + 1) for init, order in seed_pairs(5)]
MODEL = get_model("mlp", widths=(2, 3, 1), activation="tanh")


@pytest.fixture(scope="module")
def task():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * x.sum(1))
    return Task("tiny", x[:8], y[:8], x[8:], y[8:], loss="squared_error", n_outputs=1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", str(tmp_path))


def bank(task, **settings):
    return UnrolledBank(task, MODEL, RECIPE, SEEDS, workers=1, **settings)


def test_it_holds_what_unrolling_returns(task):
    found = bank(task).dataset()["query_loss"]
    assert found.dims == ("seed", "removal", "checkpoint", "train", "query")
    expected = unrolled_shifts(task, MODEL, RECIPE, SEEDS)
    np.testing.assert_allclose(found.sel(removal="none"), expected, rtol=1e-10)
    assert found["checkpoint"].values.tolist() == [3, 4]


def test_chosen_points_keep_their_places(task):
    found = bank(task, points=[6, 2]).dataset()["query_loss"]
    assert found["train"].values.tolist() == [6, 2]
    assert found["train_id"].values.tolist() == [task.train_id[6], task.train_id[2]]
    whole = bank(task).dataset()["query_loss"]
    np.testing.assert_allclose(found, whole.sel(train=[6, 2]), rtol=1e-10)


def test_reverse_is_forward(task):
    last = replace(RECIPE, keep_last=1)
    found = UnrolledBank(
        task, MODEL, last, SEEDS, points=[1, 3], mode="reverse", workers=1
    ).dataset()["query_loss"]
    forward = bank(task, points=[1, 3]).dataset()["query_loss"].isel(checkpoint=[-1])
    np.testing.assert_allclose(found, forward, rtol=1e-8)
    expected = metagradient_shifts(task, MODEL, last, SEEDS[:1]).sel(train=[1, 3])
    np.testing.assert_allclose(found.isel(seed=[0], removal=0), expected, rtol=1e-10)


def test_source_is_the_published_one_run_by_run(task):
    last = replace(RECIPE, keep_last=1)
    given = (task, MODEL, last, SEEDS)
    found = UnrolledBank(*given, points=[1, 3], mode="source", workers=1, chunk=2)
    assert [shard.runs for shard in found.shards] == [2, 2, 1]
    published = {"curvature": "ekfac", "segments": 3, "models": 2}
    expected = source_shifts(*given, points=[1, 3], **published)
    np.testing.assert_allclose(
        found.dataset()["query_loss"].sel(removal="none"), expected, rtol=1e-10
    )


def test_it_predicts_the_shifts_of_its_own_runs(task):
    removals = paired(leave_one_out(8), SEEDS)
    true = RunBank(task, MODEL, RECIPE, removals, workers=1).dataset()["query_loss"]
    shift = shift_upon_removal(true).transpose("seed", "checkpoint", "train", "query")
    predicted = bank(task).dataset()["query_loss"].isel(removal=0)
    assert np.corrcoef(shift.values.ravel(), predicted.values.ravel())[0, 1] > 0.9


def test_shards_are_kept_and_nothing_is_unrolled_twice(task, capsys):
    first = bank(task, chunk=2)
    assert [shard.runs for shard in first.shards] == [2, 2, 1]
    assert print_costs([first]) > 0
    expected = first.dataset()
    again = bank(task, chunk=2)
    assert print_costs([again]) == 0
    assert "all cached" in capsys.readouterr().out
    assert expected.identical(again.dataset())
    assert again.stats["runs_cached"] == 5
    assert again.stats["runs_trained"] == 0


def test_what_is_asked_for_is_part_of_the_key(task):
    last = replace(RECIPE, keep_last=1)
    given = (task, MODEL, last, SEEDS)
    banks = [
        UnrolledBank(*given),
        UnrolledBank(*given, points=[0]),
        UnrolledBank(*given, points=[0], mode="reverse"),
        UnrolledBank(*given, points=[0], mode="source"),
        UnrolledBank(*given, "query_prediction"),
        RunBank(*given[:3], paired(leave_one_out(8), SEEDS)),
    ]
    assert len({one.key for one in banks}) == len(banks)


@pytest.mark.slow
def test_workers_give_the_same(task):
    alone = bank(task, chunk=2).dataset()
    (first,) = {shard.key for shard in bank(task, chunk=2).shards[:1]}
    bank(task, chunk=2).store.path(first).unlink()
    two = UnrolledBank(task, MODEL, RECIPE, SEEDS, workers=2, chunk=2)
    assert alone.identical(two.dataset())
    assert two.stats["runs_trained"] == 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"mode": "sideways"}, "forward"),
        ({"mode": "reverse"}, "keep_last=1"),
        ({"mode": "source"}, "mode='source' knows one checkpoint, not 2"),
        ({"points": [8]}, "no training point 8"),
        ({"of": "parameterz"}, "parameters"),
    ],
)
def test_impossible_requests_are_refused_in_a_sentence(task, settings, told):
    with pytest.raises(ValueError, match=told):
        bank(task, **settings)


def test_another_measure_on_record_and_another_look_of_a_recipe_change_no_key(task, monkeypatch):
    """A key follows the measure that is asked for, and what decides numbers."""

    def key():
        return bank(task).key

    before = key()
    monkeypatch.setitem(MEASURES, "another", get_measure("query_loss"))
    monkeypatch.setattr(Recipe, "_facts", lambda self: {})
    assert key() == before
    monkeypatch.setattr(Recipe, "steps", lambda self, n_train: 7)
    assert key() != before
