"""Shifts out of measurements, by hand: which law is subtracted from which, and where it stands."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import digits_like, table_like

from dtda_lib.models.networks import Network, get_model
from dtda_lib.runs import bank as bank_module
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.leave_one_out import leave_one_out_banks, shifts_of
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import paired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import down_weighted, leave_one_out
from dtda_lib.runs.shards import Estimate, seconds_per_run
from dtda_lib.runs.shifts import print_costs, shift_per_fraction, shift_upon_removal
from dtda_lib.runs.training import VECTOR_LANES, best_chunk

LAWS = ("none", "0", "2")


def measured(values, checkpoints=(0,), points=(-1, 0, 2), labels=LAWS):
    """`values (seed, removal, checkpoint, query)` as a bank's dataset holds them."""
    values = np.asarray(values, float)
    seeds = np.arange(len(values))[:, None] + np.zeros((1, len(labels)), int)
    coords = {
        "seed": np.arange(len(values)),
        "removal": list(labels),
        "checkpoint": list(checkpoints),
        "point": ("removal", list(points)),
        "init_seed": (("seed", "removal"), seeds),
        "order_seed": (("seed", "removal"), seeds + 100),
    }
    return xr.DataArray(values, coords, ("seed", "removal", "checkpoint", "query"))


def test_the_law_without_a_removal_is_subtracted_from_each_other():
    values = np.arange(12.0).reshape(2, 3, 1, 2) ** 2
    shift = shift_upon_removal(measured(values))
    assert shift.dims == ("seed", "train", "checkpoint", "query")
    assert shift["train"].values.tolist() == [0, 2]
    np.testing.assert_array_equal(shift, values[:, 1:] - values[:, :1])
    assert not {"init_seed", "order_seed", "removal", "point"} & set(shift.coords)
    groups = shift_upon_removal(measured(values, points=(-1, 0, -1), labels=("none", "0", "0+1")))
    assert groups["removal"].values.tolist() == ["0", "0+1"]
    turned = measured(values).isel(removal=[1, 0, 2])
    with pytest.raises(ValueError, match="the first removal must be 'none'"):
        shift_upon_removal(turned)


def test_fractions_are_divided_by_what_was_taken_away():
    points, fractions = [3, 1], [0.25, 0.5, 1.0]
    design = down_weighted(4, points, fractions)
    taken = np.array([0.0, *((1 - row).sum() for row in design.weights[1:].numpy())])
    slope = np.array([0.0, *(10.0 if w[3] < 1 else 1.0 for w in design.weights[1:])])
    values = (slope * taken)[None, :, None, None] + np.zeros((2, 1, 1, 2))
    found = shift_per_fraction(
        measured(values, points=design.points, labels=design.labels), points, fractions
    )
    assert found.sel(train=3).values == pytest.approx(10.0)
    assert found.sel(train=1).values == pytest.approx(1.0)
    assert sorted(found["fraction"].values) == fractions
    with pytest.raises(ValueError, match="6 removals are not 2 fractions of 2 points"):
        shift_per_fraction(
            measured(values, points=design.points, labels=design.labels), points, [0.25, 0.5]
        )


def priced(title, runs, missing, seconds):
    """A bank that costs so much."""
    return SimpleNamespace(title=title, estimate=lambda: Estimate(runs, missing, seconds, 3))


def test_costs_are_told_bank_by_bank_and_add_up(capsys):
    banks = [priced("a", 6, 4, 40.0), priced("b", 5, 0, 0.0), priced("c", 9, 9, 50.0)]
    assert print_costs(banks, "of all three") == 90.0
    assert capsys.readouterr().out.splitlines() == [
        "cost a: 6 runs, 2 cached, 4 to train: about 40 s with 3 worker(s)",
        "cost b: 5 runs, all cached",
        "cost c: 9 runs, 0 cached, 9 to train: about 50 s with 3 worker(s)",
        "cost of all three: about 1.5 min",
    ]


def test_a_run_costs_its_part_of_a_stack():
    job = SimpleNamespace(
        recipe=Recipe("sgd", epochs=10, keep_last=3, warm_epochs=5), init_seeds=range(4)
    )
    one, other = (1.0, 0.2, 0.5), (3.0, 0.6, 1.5)  # start-up, an epoch, a measurement
    assert seconds_per_run(job, [one]) == pytest.approx((1 + 15 * 0.2 + 3 * 0.5) / 4)
    assert seconds_per_run(job, [one, other]) == pytest.approx(2 * seconds_per_run(job, [one]))


@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_workers_share_what_is_missing_as_far_as_it_goes(monkeypatch, workers, slots):
    """Three shards keep at most three of them busy."""
    task, model = table_like(n_train=6, n_query=3), get_model("mlp", widths=(8, 1))
    runs = paired(leave_one_out(6, [0, 1, 2, 3]), [(1, 1), (2, 2)])
    bank = RunBank(task, model, Recipe("sgd", epochs=1), runs, chunk=4, workers=workers)
    assert [shard.runs for shard in bank.shards] == [4, 4, 2]
    pool = SimpleNamespace(
        submit=lambda _, job: SimpleNamespace(result=lambda: len(job.init_seeds))
    )
    monkeypatch.setattr(bank_module, "worker_pool", lambda n: nullcontext(pool))
    monkeypatch.setattr(bank_module, "seconds_per_run", lambda job, probes: 6.0 * probes[0] / 4)
    assert bank.estimate() == Estimate(10, 10, 60.0 / slots, workers)


def test_shards_are_small_where_an_interruption_would_cost_much():
    images, model = digits_like(n_train=5, n_query=3), get_model("cnn2l")
    runs = paired(leave_one_out(5), [(n, n) for n in range(3)])
    given = (images, model, Recipe("sgd", epochs=1), runs)
    assert [shard.runs for shard in RunBank(*given).shards] == [8, 8, 2]
    along = Measure("along", ("train",), "none", lambda *_: torch.ones(5))
    assert [shard.runs for shard in RunBank(*given, ["query_loss", along]).shards] == [1] * 18
    dense = (table_like(5, 3), get_model("mlp", widths=(8, 1)), *given[2:])
    assert [shard.runs for shard in RunBank(*dense, ["query_loss", along]).shards] == [18]


def fake(data, checkpoints):
    """A bank that has been trained."""
    return SimpleNamespace(
        title="made up",
        measures=[SimpleNamespace(name="m")],
        recipe=SimpleNamespace(checkpoints=checkpoints),
        dataset=lambda: data.to_dataset(name="m"),
    )


def test_runs_that_continue_are_compared_with_the_model_that_they_started_from():
    base = np.array([[[[1.0], [2.0]]], [[[3.0], [5.0]]]])  # (seed, removal, checkpoint, query)
    later = [np.array([[[[10.0]], [[12.0]]], [[[20.0]], [[23.0]]]]) * scale for scale in (1, 10)]
    bases = measured(base, (7, 8), (-1,), ("none",))
    finals = [measured(one, (9,), (-1, 4), ("none", "4")) for one in later]
    found = shifts_of([fake(bases, (7, 8)), *(fake(one, (9,)) for one in finals)])
    assert found["checkpoint"].values.tolist() == [7, 8]
    for at, (scale, start) in enumerate(((1, [1, 3]), (10, [2, 5]))):
        shift = found["shift"].sel(train=4).isel(checkpoint=at, query=0)
        control = found["control"].isel(checkpoint=at, query=0)
        np.testing.assert_allclose(shift, np.array([12, 23]) * scale - start)
        np.testing.assert_allclose(control, np.array([10, 20]) * scale - start)


def test_each_protocol_declares_its_banks():
    task, model = table_like(n_train=6, n_query=3), get_model("mlp", widths=(8, 1))
    recipe = Recipe("sgd", lr=0.01, batch_size=3, epochs=4, keep_last=2, momentum=0.5)
    given = (task, model, recipe, [(1, 2), (3, 4)])
    base, *continued = leave_one_out_banks(*given, "continued", points=[5], workers=1)
    assert base.runs.design.labels == ("none",)
    assert base.recipe == recipe
    assert [bank.runs.design.labels for bank in continued] == [("none", "5")] * 2
    assert [bank.recipe.warm_epochs for bank in continued] == [3, 4]  # after epochs 2 and 3
    for bank in continued:
        assert (bank.recipe.epochs, bank.recipe.keep_last, bank.recipe.momentum) == (4, 1, 0.5)
        assert bank.runs.init_seeds.tolist() == [[1, 1], [3, 3]]
        assert bank.runs.order_seeds.tolist() == [[2, 2], [4, 4]]
    (paired,) = leave_one_out_banks(*given, workers=1)
    assert paired.runs.order_seeds.tolist() == [[2] * 7, [4] * 7]
    (apart,) = leave_one_out_banks(*given, "unpaired_scratch", workers=1, measure="parameters")
    assert len(np.unique(apart.runs.init_seeds)) == apart.runs.init_seeds.size
    assert apart.measures[0].name == "parameters"
    assert apart.recipe == paired.recipe == recipe
    with pytest.raises(ValueError, match="unknown protocol 'paired': did you mean"):
        leave_one_out_banks(*given, "paired")


@pytest.mark.parametrize(
    ("width", "chunk"), [(1, VECTOR_LANES), (500, 555), (20_000, 16)], ids=["tiny", "middle", "big"]
)
def test_a_cacheful_of_runs_goes_together_on_a_processor(width, chunk):
    network = Network.of(get_model("mlp", widths=(8, width)))
    assert network.layout.n_parameters == 9 * width
    assert best_chunk(network, torch.device("cpu")) == chunk


def test_convolutions_go_alone_and_a_gpu_takes_what_fits(monkeypatch):
    image = Network.of(get_model("cnn2l"))
    assert best_chunk(image, torch.device("cpu")) == 1
    small, size = Network.of(get_model("mlp", widths=(8, 100))), 900
    each = 400 * size + 2**25
    for free, chunk in ((0, 1), (3 * each, 3), (4 * each - 1, 3), (each * 5000, VECTOR_LANES)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
        assert best_chunk(small, torch.device("cuda")) == chunk
        assert free or best_chunk(image, torch.device("cuda")) == 1
