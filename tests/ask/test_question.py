"""Banks of a question are those of the engine, with the settings that the docstrings state."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import table_like
from torch import nn

import dtda_lib as dt
from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out, nothing

TASK = table_like(dtype=torch.float32)
RECIPE = Recipe("sgd", lr=0.05, batch_size=4, epochs=3, keep_last=2, schedule="linear")


def model():
    return nn.Linear(8, 1)


def key_of(runs, measure):
    return RunBank(TASK, model, RECIPE, runs, [measure], workers=1).key


def test_retraining_leaves_out_each_point_on_the_first_stream():
    bank = dt.retraining_bank(TASK, model, RECIPE, 3, points=[4, 0], workers=1)
    assert bank.key == key_of(paired(leave_one_out(12, [4, 0]), seed_pairs(3)), "query_loss")
    assert len(dt.retraining_bank(TASK, model, RECIPE, 3, workers=1).runs) == 13 * 3
    other = dt.retraining_bank(TASK, model, RECIPE, 3, points=[4, 0], stream="x", workers=1)
    assert other.key == key_of(paired(leave_one_out(12, [4, 0]), seed_pairs(3, "x")), "query_loss")


def test_a_screening_is_damped_as_if_the_rate_stayed_where_it_starts():
    runs = paired(nothing(12), seed_pairs(2, "screen"))
    damping = damping_by_training_time(replace(RECIPE, schedule="constant"), 12)
    assert damping != damping_by_training_time(RECIPE, 12)
    ggn = get_estimator("influence_ggn", RECIPE, of="query_prediction", damping=damping)
    bank = dt.estimator_bank(TASK, model, RECIPE, 2, measure="query_prediction", workers=1)
    assert bank.key == key_of(runs, ggn)
    given = {"settings": {"damping": 0.5}, "stream": "y", "workers": 1}
    bank = dt.estimator_bank(TASK, model, RECIPE, 2, **given)
    undamped = get_estimator("influence_ggn", RECIPE, of="query_loss", damping=0.5)
    assert bank.key == key_of(paired(nothing(12), seed_pairs(2, "y")), undamped)
    similar = dt.estimator_bank(TASK, model, RECIPE, 2, "gradient_similarity", workers=1)
    assert similar.key == key_of(runs, get_estimator("gradient_similarity", RECIPE))


def test_scores_are_the_first_variant_over_the_kept_checkpoints():
    bank = dt.estimator_bank(TASK, model, RECIPE, 2, "gradient_similarity", workers=1)
    data = bank.dataset()[bank.measures[0].name]
    assert data.sizes["estimator"] > 1
    found = dt.scores(bank)
    assert found.dims == ("seed", "train", "query")
    dims = ("seed", "removal", "checkpoint", "estimator", "train", "query")
    expected = data.transpose(*dims).values[:, 0, :, 0].mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    told = {"dropped": "", "random": "initial weights and batch order"}
    told |= {"better": "", "sign": "removal"}
    assert found.attrs == {"unit": bank.measures[0].unit} | told


@pytest.mark.parametrize("ask", [dt.retraining_bank, dt.estimator_bank])
def test_settings_reach_the_bank(ask):
    given = {"workers": 3, "chunk": 2, "drop_diverged": True}
    bank = ask(TASK, model, RECIPE, 2, **given)
    assert {name: getattr(bank, name) for name in given} == given
    assert ask(TASK, model, RECIPE, 2).drop_diverged is False
    with pytest.raises(ValueError, match="two seeds gave the same initial weights"):
        ask(TASK, same, RECIPE, 2)
    assert ask(TASK, same, RECIPE, 2, same_start=True).network.layout.n_parameters == 9


def same():
    """A factory that all seeds start from."""
    torch.manual_seed(0)
    return nn.Linear(8, 1)
