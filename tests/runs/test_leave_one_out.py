"""The three leave-one-out protocols: what they share and what tells them apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import table_like

from dtda_lib.models.networks import get_model
from dtda_lib.runs.leave_one_out import leave_one_out_banks, shifts_of
from dtda_lib.runs.measures import get_measure, measure
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.training import train

TASK, MODEL = table_like(n_train=6, n_query=3), get_model("mlp", widths=(8, 4, 1))
RECIPE = Recipe("adam", lr=3e-3, batch_size=4, epochs=3, keep_last=2)
SEEDS = seed_pairs(3)


def shifts(protocol, **settings):
    banks = leave_one_out_banks(TASK, MODEL, RECIPE, SEEDS, protocol, workers=1, **settings)
    return shifts_of(banks)


def losses(recipe, seed, removal):
    weights = leave_one_out(TASK.n_train).weights.double()[[removal]]
    init, order = SEEDS[seed]
    out = train(TASK, MODEL, recipe, [init], [order], weights, [get_measure("query_loss")])
    return out["query_loss"][0].numpy()  # (checkpoint, query)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["paired_scratch", "unpaired_scratch", "continued"])
def test_axes_are_the_same(protocol):
    shift = shifts(protocol)["shift"].transpose("seed", "checkpoint", "train", "query")
    assert shift.shape == (3, 2, 6, 3)
    assert shift["checkpoint"].values.tolist() == [1, 2]
    assert shift["train"].values.tolist() == list(range(6))


def test_paired_is_with_minus_without_on_the_same_seeds():
    shift = shifts("paired_scratch")["shift"]
    for seed, point in ((0, 0), (2, 4)):
        expected = losses(RECIPE, seed, point + 1) - losses(RECIPE, seed, 0)
        got = shift.isel(seed=seed, train=point).transpose("checkpoint", "query")
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_unpaired_runs_share_only_the_full_data_runs():
    paired, unpaired = shifts("paired_scratch")["shift"], shifts("unpaired_scratch")["shift"]
    assert not np.isclose(paired, unpaired).any()
    assert float(unpaired.std()) > float(paired.std()), "fresh seeds must add noise"


@pytest.mark.slow
def test_continued_starts_from_the_trained_model_of_its_checkpoint():
    found = shifts("continued")
    for position, epoch in enumerate(RECIPE.checkpoints):
        longer = replace(RECIPE, warm_epochs=epoch + 1, keep_last=1)
        base = losses(RECIPE, 1, 0)[position]
        expected = losses(longer, 1, 3)[0] - base
        got = found["shift"].isel(seed=1, train=2).sel(checkpoint=epoch)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
        control = found["control"].isel(seed=1).sel(checkpoint=epoch)
        np.testing.assert_allclose(control, losses(longer, 1, 0)[0] - base, rtol=1e-9, atol=1e-12)


@measure(dims=("query",), unit="none")
def at_random(network, theta, task):
    """Not finite for a tenth of all parameters, as good as at random."""
    return network(theta, task.query_x)[:, 0].where(torch.sin(1e3 * theta[0]) < 0.95, torch.nan)


def test_a_seed_that_diverges_anywhere_is_missing_at_every_checkpoint():
    seeds = seed_pairs(10)
    given = {"protocol": "continued", "measure": at_random, "points": [1], "workers": 1}
    banks = leave_one_out_banks(TASK, MODEL, RECIPE, seeds, **given, drop_diverged=True)
    found = shifts_of(banks)
    lost = [bank.diverged().any("removal").values for bank in banks]
    assert len({tuple(each) for each in lost}) == 3, "the test needs banks that differ"
    kept = [position for position in range(10) if not any(each[position] for each in lost)]
    assert found["seed"].values.tolist() == kept != []
    assert found.attrs["dropped"] == "; ".join(bank.diverged_text() for bank in banks)

    left = [seeds[position] for position in kept]
    alone = shifts_of(leave_one_out_banks(TASK, MODEL, RECIPE, left, **given))
    for name in ("shift", "control"):
        assert found[name].dims == alone[name].dims
        np.testing.assert_allclose(found[name], alone[name], rtol=1e-9)
    assert "dropped" not in alone.attrs

    of = {position for position, each in enumerate(zip(*lost)) if sum(each) == 1}
    none_left = [seeds[position] for position in sorted(of)]
    banks = leave_one_out_banks(TASK, MODEL, RECIPE, none_left, **given, drop_diverged=True)
    with pytest.raises(FloatingPointError, match="diverged for every seed, at one checkpoint or"):
        shifts_of(banks)


@pytest.mark.slow
def test_some_points_only_and_unknown_protocols():
    some = shifts("paired_scratch", points=[1, 4])["shift"]
    assert some["train"].values.tolist() == [1, 4]
    every = shifts("paired_scratch")["shift"].sel(train=[1, 4])
    torch.testing.assert_close(torch.tensor(some.values), torch.tensor(every.values))
    with pytest.raises(ValueError, match="unknown protocol 'paired': did you mean"):
        shifts("paired")
