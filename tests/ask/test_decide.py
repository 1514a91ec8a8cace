"""`decide_pairs` through each door: what is trained and kept, and that stages change no answer."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import printed_by_code_of, table_like
from torch import nn

import dtda_lib as dt
from dtda_lib.ask.decide import _stage
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.trainer_bank import RETURNED, TrainerBank
from dtda_lib.statistics.sequential import DECISIONS

ROOT = Path(__file__).parents[2]
N, SEEDS, DELTA = 16, 12, 0.4
EFFECTS = np.zeros((N, 2))
EFFECTS[3], EFFECTS[5], EFFECTS[8, 1] = (3.0, 3.0), (-3.0, 0.0), 0.45
LOUD = (8, 11)  # points whose noise keeps them undecided for long


def noisy(init_seed, order_seed, weights):
    """Losses of two queries: each point has its effect and a noise of its own."""
    rng = np.random.default_rng([init_seed, order_seed])
    own = 0.1 * rng.normal(size=(N, 2))
    own[list(LOUD)] *= 8
    return 1 + rng.normal(size=2) + ((1 - weights) @ (EFFECTS + own))


def counting(folder, break_at=None):
    """`noisy` that leaves a file for each call, and is interrupted once at the call `break_at`."""

    def fit(init_seed, order_seed, weights):
        calls = len(list(folder.iterdir()))
        (folder / str(calls)).touch()
        if calls == break_at:
            raise KeyboardInterrupt
        return noisy(init_seed, order_seed, weights)

    folder.mkdir(exist_ok=True)
    return fit


def bank_of(train=noisy, **settings):
    return dt.trainer_bank(train, N, SEEDS, **settings)


def same(one, other):
    for name in ("decision", "seeds", "more"):
        np.testing.assert_array_equal(one.pairs[name], other.pairs[name], err_msg=name)
    for name in ("mean", "low", "high", "p"):
        np.testing.assert_allclose(one.pairs[name], other.pairs[name], err_msg=name)
    assert one.pairs.attrs["unit"] == other.pairs.attrs["unit"]


# --- the doors ------------------------------------------------------------------------------------


def test_a_trainer_is_called_for_undecided_points_alone_and_the_answer_is_that_of_all_runs(
    tmp_path, capsys
):
    train = counting(tmp_path / "calls")
    bank = bank_of(train, unit="nats")
    tried = len(list((tmp_path / "calls").iterdir()))
    found = dt.decide_pairs(bank, DELTA)
    calls = len(list((tmp_path / "calls").iterdir()))
    of_bank = 2  # of the checks' runs, full data and the first seeds, belong to the bank
    assert calls - tried + of_bank in (found.runs, found.runs + 1)
    assert found.of == SEEDS * (1 + N)
    assert found.runs < 0.7 * found.of
    every = dt.decide_pairs(dt.shifts(bank_of(train, unit="nats")), DELTA)
    same(found, every)
    assert every.runs == every.of
    pairs = found.pairs["decision"]
    assert pairs.sel(train=3).values.tolist() == ["helps", "helps"]
    assert pairs.sel(train=5).values.tolist() == ["harms", DECISIONS[3]]
    assert (found.pairs["seeds"].values[list(LOUD)] > 4).all()
    assert found.pairs["seeds"].values[3] < SEEDS
    told = capsys.readouterr().err
    assert "decide fit: after 4 seeds" in told
    (*_, last) = (line for line in told.splitlines() if line.startswith("decide"))
    assert "of 16 points decided" in last
    assert " go on to " not in last


def test_without_a_cache_it_is_the_same(monkeypatch, tmp_path):
    kept = dt.decide_pairs(bank_of(), DELTA)
    monkeypatch.setenv("DTDA_CACHE", "off")
    same(dt.decide_pairs(bank_of(), DELTA), kept)


def test_groups_are_decided_by_their_labels():
    found = dt.decide_pairs(bank_of(groups=[[3, 1], [2], [0, 9]]), DELTA)
    assert found.pairs["removal"].values.tolist() == ["1+3", "2", "0+9"]
    assert found.pairs["decision"].dims == ("removal", "query")
    np.testing.assert_array_equal(found.pairs["mean"][0] > 2, True)


def network_bank(n_seeds=SEEDS, **settings):
    task = table_like(10, 3, torch.float32)
    recipe = Recipe("sgd", lr=0.05, batch_size=4, epochs=2, keep_last=1)
    return dt.retraining_bank(task, lambda: nn.Linear(8, 1), recipe, n_seeds, workers=1, **settings)


def test_a_bank_of_networks_gives_what_all_of_its_runs_give():
    bank = network_bank()
    shift = dt.shifts(network_bank())
    delta = 3 * float(np.abs(shift).median())
    found, every = dt.decide_pairs(bank, delta), dt.decide_pairs(shift, delta)
    np.testing.assert_array_equal(found.pairs["decision"], every.pairs["decision"])
    np.testing.assert_allclose(found.pairs["mean"], every.pairs["mean"], rtol=1e-3, atol=1e-6)
    assert found.runs < found.of == SEEDS * 11
    assert found.pairs["train"].values.tolist() == list(range(10))


def test_the_first_stage_is_the_plain_bank_of_as_many_seeds():
    """Keys stay, and what is trained in stages is found by a bank that is not."""
    bank = network_bank()
    assert _stage(bank, np.arange(10), 0, 4).key == network_bank(4).key
    part = _stage(bank, np.array([7, 2]), 4, 8)
    whole = bank.dataset()["query_loss"][4:8, [0, 8, 3]]
    np.testing.assert_allclose(part.dataset()["query_loss"], whole, rtol=1e-4, atol=1e-6)
    own = bank_of()
    stage = _stage(own, np.array([7, 2]), 4, 8)
    assert {one.key for one in stage.shards} < {one.key for one in own.shards}


def test_laws_and_scores_with_a_sign_are_taken():
    laws = dt.as_laws(bank_of())
    one = dt.decide_pairs(laws, DELTA)
    shift = dt.shifts(laws)
    turned = dt.as_scores(-shift.values, sign="adding", unit=shift.attrs["unit"])
    same(dt.decide_pairs(turned, DELTA), one)
    values = shift.transpose("query", "train", "seed")
    same(dt.decide_pairs(values, DELTA), one)


def test_runs_that_are_not_there_yet_are_asked_for():
    shift = dt.shifts(bank_of()).copy()
    shift[4:, 11] = np.nan
    shift[:, 0] = np.nan
    found = dt.decide_pairs(shift, DELTA)
    whole = dt.decide_pairs(bank_of(), DELTA)
    assert {0, 11} <= set(found.undecided) <= {0, 11, *whole.undecided}
    assert found.pairs["seeds"].values[[0, 11]].tolist() == [0, 4]
    assert (found.pairs["more"].values[0] == 4).all()
    assert found.runs == SEEDS * (1 + N) - 8 - SEEDS


# --- interruption, budget, order ------------------------------------------------------------------


def test_an_interruption_leaves_an_answer_and_loses_one_run(tmp_path):
    whole = dt.decide_pairs(bank_of(), DELTA)
    first = 4 * (1 + N)
    train = counting(tmp_path / "calls", break_at=first + 10)
    bank = bank_of(train)
    with pytest.raises(KeyboardInterrupt):
        dt.decide_pairs(bank, DELTA)
    early = dt.decide_pairs(bank_of(train), DELTA, train=False)
    assert early.runs == first
    decided = early.pairs["decision"] != DECISIONS[0]
    assert 0 < int(decided.sum()) < 2 * N
    assert ((early.pairs["decision"] == whole.pairs["decision"]) | ~decided).all()
    same(dt.decide_pairs(bank_of(train), DELTA), whole)
    calls = len(list((tmp_path / "calls").iterdir()))
    same(dt.decide_pairs(bank_of(train), DELTA), whole)
    assert len(list((tmp_path / "calls").iterdir())) == calls  # all of it was kept


def test_a_budget_goes_to_the_points_of_the_largest_prediction():
    predicted = np.zeros((2, N, 2))
    predicted[:, 11], predicted[:, 3], predicted[:, 8, 1] = 0.1, 3.0, -0.9
    predictions = dt.as_scores(
        predicted + np.array([[[0.0]], [[1e-9]]]), sign="removal", points=range(N), queries=[0, 1]
    )
    found = dt.decide_pairs(bank_of(), DELTA, predictions=predictions, budget=4 * 4 + 3)
    assert found.runs == 4 * 4
    assert found.pairs["train"].values[found.pairs["seeds"].values > 0].tolist() == [3, 8, 11]
    assert set(found.undecided) >= set(range(N)) - {3, 8, 11}
    more = dt.decide_pairs(bank_of(), DELTA, predictions=predictions[:, ::-1], budget=10**6)
    same(more, dt.decide_pairs(bank_of(), DELTA))
    with pytest.raises(ValueError, match="larger budget"):
        dt.decide_pairs(bank_of(), DELTA, budget=7)
    with pytest.raises(ValueError, match="or train=True"):
        dt.decide_pairs(bank_of(lambda i, o, w: noisy(i, o + 1, w)), DELTA, train=False)


# --- control variates -----------------------------------------------------------------------------


def test_predictions_of_the_same_seeds_take_noise_away():
    pairs = np.random.default_rng(0).normal(size=(3 * SEEDS, N, 2))
    truth = EFFECTS + pairs[:SEEDS]
    shift = xr.DataArray(truth, dims=("seed", "train", "query"), attrs={"unit": "nats"})
    predictions = xr.DataArray(5 + 0.3 * pairs, dims=("seed", "train", "query"))
    predictions = predictions.assign_coords(train=np.arange(N))
    plain = dt.decide_pairs(shift, 2.0, predictions=predictions)
    helped = dt.decide_pairs(shift, 2.0, predictions=predictions, control=True)
    assert np.isnan(plain.variance_ratio)
    assert helped.variance_ratio < 1
    assert helped.pairs["seeds"].sum() < plain.pairs["seeds"].sum()
    useless = predictions.copy(data=np.random.default_rng(1).normal(size=predictions.shape))
    assert dt.decide_pairs(shift, 2.0, predictions=useless, control=True).variance_ratio > 0.95
    with pytest.raises(ValueError, match="give 24 or more"):
        dt.decide_pairs(shift, 2.0, predictions=predictions[:20], control=True)
    with pytest.raises(ValueError, match="takes predictions="):
        dt.decide_pairs(shift, 2.0, control=True)


# --- what is said ---------------------------------------------------------------------------------


def test_the_answer_says_what_it_is():
    found = dt.decide_pairs(bank_of(unit="nats"), DELTA)
    text = repr(found)
    assert text.startswith("Decisions(")
    assert "helps=2" in text
    assert f"'{found.runs} of {found.of}'" in " ".join(text.split())
    assert text.count("\n") <= 2
    assert sum(found.count().values()) == 2 * N
    table = found.table()
    assert len(table) == 2 * N
    row = table.query("point == 3 and query == 1").iloc[0]
    assert row["decision"] == "helps"
    assert row["low"] < row["mean"] < row["high"]
    assert row["mean"] == pytest.approx(3.0, abs=0.5)
    assert found.pairs.attrs["delta"] == DELTA
    assert found.pairs.attrs["unit"] == "nats"


def test_what_cannot_be_decided_is_refused():
    shift = dt.shifts(bank_of())
    with pytest.raises(ValueError, match="drop_diverged=False"):
        dt.decide_pairs(bank_of(drop_diverged=True), DELTA)
    with pytest.raises(ValueError, match="exceed the 12 seeds"):
        dt.decide_pairs(bank_of(), DELTA, looks=(4, 20))
    with pytest.raises(ValueError, match="smallest shift that matters"):
        dt.decide_pairs(shift, 0.0)
    with pytest.raises(ValueError, match="axes seed, train"):
        dt.decide_pairs(shift.isel(query=0, drop=True), DELTA)
    with pytest.raises(ValueError, match="has no named axes"):
        dt.decide_pairs(shift.values, DELTA)
    with pytest.raises(ValueError, match="no train 2"):
        dt.decide_pairs(shift, DELTA, predictions=shift.isel(train=[0, 1, 3]))
    with pytest.raises(ValueError, match="as `scores`"):
        dt.decide_pairs(shift, DELTA, predictions=shift.values)

    class Other(TrainerBank):
        pass

    bank = bank_of()
    other = Other(bank.trainer, bank.runs)
    with pytest.raises(ValueError, match="Other cannot be trained in stages"):
        dt.decide_pairs(other, DELTA)
    assert RETURNED in bank.dataset()


@pytest.mark.slow
def test_the_code_in_the_guide_runs(tmp_path):
    text = (ROOT / "docs" / "sequential.md").read_text(encoding="utf-8")
    printed = printed_by_code_of(text, tmp_path)
    assert "Decisions(" in printed
    assert "harms" in printed.splitlines()[-1]
