"""Runs that are trained one at a time: against a plain loop, and against the stacked engine."""

import math

import numpy as np
import pytest
import torch
from helpers import table_like
from torch import nn

import dtda_lib as dt
from dtda_lib.models.networks import get_model
from dtda_lib.runs.loop import LoopBank, LoopRecipe, train_alone, why_alone
from dtda_lib.runs.measures import get_measure
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.training import epoch_order, order_generator, train

TASK = table_like()
MLP = get_model("mlp", widths=(8, 6, 1), activation="tanh")
LOSS = [get_measure("query_loss")]
RECIPE = Recipe("sgd", lr=0.05, batch_size=5, epochs=3, momentum=0.9, weight_decay=0.01)


def dropping():
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Dropout(0.4), nn.Linear(6, 1))


def normalising():
    return nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))


def alone(model, recipe, weight, seeds=(3, 7), task=TASK):
    found = train_alone(task, model, recipe, [seeds[0]], [seeds[1]], weight[None], LOSS)
    return found["query_loss"][0]  # (checkpoint, query)


def without(*points):
    weight = torch.ones(TASK.n_train, dtype=torch.float64)
    weight[list(points)] = 0
    return weight


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_network_that_needs_no_loop_gives_the_same_numbers_as_in_a_stack(optimiser, schedule):
    momentum = 0.9 if optimiser == "sgd" else 0.0
    recipe = Recipe(
        optimiser, lr=0.02, batch_size=5, epochs=3, keep_last=2, momentum=momentum,
        weight_decay=0.01, schedule=schedule, warm_epochs=1,
    )  # fmt: skip
    seeds = [(3, 7), (4, 8)]
    weights = torch.stack([without(), without(2)])
    stacked = train(TASK, MLP, recipe, [3, 4], [7, 8], weights, LOSS)["query_loss"]
    for (init, order), weight, theirs in zip(seeds, weights, stacked):
        ours = alone(MLP, recipe, weight, (init, order))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def by_hand(model, weight, *, drop_rows, init=3, order=7, epochs=3, lr=0.05, size=4):
    """A plain script, with masks from the same stream as the loop's."""
    torch.manual_seed(init)
    net = model().double()
    masks, orders = order_generator(order, 2), order_generator(order)
    recipe = Recipe("sgd", batch_size=size)
    optimiser = torch.optim.SGD(net.parameters(), lr=lr)
    for _ in range(epochs):
        for batch in epoch_order(orders, TASK.n_train, recipe).split(size):
            seed = int(torch.randint(2**62, (), generator=masks))
            n = len(batch)
            batch = batch[weight[batch] > 0] if drop_rows else batch
            torch.manual_seed(seed)
            losses = TASK.per_example_loss(net(TASK.train_x[batch]), TASK.train_y[batch])
            optimiser.zero_grad()
            ((weight[batch] * losses).sum() / n).backward()
            optimiser.step()
    net.eval()
    return TASK.per_example_loss(net(TASK.query_x), TASK.query_y).detach()


@pytest.mark.parametrize("point", [None, 4])
@pytest.mark.parametrize(("model", "drop_rows"), [(dropping, False), (normalising, True)])
def test_dropout_and_batch_norm_train_as_a_plain_script_does(model, drop_rows, point):
    recipe = Recipe("sgd", lr=0.05, batch_size=4, epochs=3)
    weight = without() if point is None else without(point)
    with torch.random.fork_rng(devices=[]):
        theirs = by_hand(model, weight, drop_rows=drop_rows)
    torch.testing.assert_close(alone(model, recipe, weight)[-1], theirs, rtol=1e-9, atol=1e-12)


def test_masks_come_from_the_order_seed_and_are_the_same_with_and_without_a_point():
    seen = []

    class Watched(nn.Dropout):
        def forward(self, x):
            y = super().forward(x)
            if self.training:
                seen.append((y != 0).clone())
            return y

    def model():
        return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), Watched(0.4), nn.Linear(6, 1))

    def masks(weight, seeds):
        seen.clear()
        alone(model, Recipe("sgd", lr=0.01, batch_size=5, epochs=2), weight, seeds)
        return [mask.clone() for mask in seen]

    first, other_init, other_order = masks(without(), (3, 7)), masks(without(), (5, 7)), None
    assert all(map(torch.equal, first, masks(without(4), (3, 7))))
    assert all(map(torch.equal, first, other_init))
    other_order = masks(without(), (3, 9))
    assert not all(map(torch.equal, first, other_order))


def test_a_point_that_is_left_out_acts_on_nobody_through_batch_norm():
    """Whatever its inputs are, the run without it is the same."""
    wild = table_like()
    wild.train_x[4] = 1e3
    recipe = Recipe("sgd", lr=0.05, batch_size=4, epochs=2)
    assert torch.equal(
        alone(normalising, recipe, without(4)), alone(normalising, recipe, without(4), task=wild)
    )
    assert not torch.equal(
        alone(normalising, recipe, without()), alone(normalising, recipe, without(), task=wild)
    )


def test_nesterov_clipping_and_warm_up_are_torchs():
    recipe = LoopRecipe(
        "sgd", lr=0.05, batch_size=5, epochs=4, momentum=0.9, weight_decay=0.01,
        nesterov=True, clip=0.3, warm_up=0.5, schedule="linear",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = MLP().double()
    settings = {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, **settings)
    total, clipped, orders = 12, 0, order_generator(7)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: (t + 1) / 6 if t < 6 else 1 - (t - 6) / (total - 6)
    )
    for _ in range(4):
        for batch in epoch_order(orders, 12, recipe).split(5):
            optimiser.zero_grad()
            TASK.per_example_loss(net(TASK.train_x[batch]), TASK.train_y[batch]).mean().backward()
            clipped += float(nn.utils.clip_grad_norm_(net.parameters(), 0.3)) > 0.3
            optimiser.step()
            rates.step()
    theirs = TASK.per_example_loss(net(TASK.query_x), TASK.query_y).detach()
    assert clipped > 0
    torch.testing.assert_close(alone(MLP, recipe, without())[-1], theirs, rtol=1e-6, atol=1e-9)


def test_which_modules_need_it():
    with torch.random.fork_rng(devices=[]):
        _which_modules_need_it()


def _which_modules_need_it():
    assert why_alone(dropping()) == "dropout"
    assert why_alone(normalising()) == "batch norm"
    assert why_alone(nn.BatchNorm1d(4, track_running_stats=False).eval()) == "batch norm"
    assert why_alone(nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4))) == "dropout and batch norm"
    assert why_alone(dropping().eval()) == why_alone(MLP()) == ""


def test_a_bank_of_them_is_kept_resumed_and_asked_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", str(tmp_path))
    task = table_like(dtype=torch.float32)

    def bank(seeds=4, **settings):
        recipe = Recipe("sgd", lr=0.05, batch_size=4, epochs=2, **settings)
        return dt.retraining_bank(task, normalising, recipe, seeds, points=[0, 3], workers=1)

    first = bank(3)
    assert isinstance(first, LoopBank)
    first.fill()
    more = bank(4)
    assert len(more.missing()) == 3  # the fourth seed alone
    again = LoopBank(
        task,
        normalising,
        more.recipe,
        paired(leave_one_out(12, [0, 3]), seed_pairs(4)),
        workers=1,
    )
    assert again.key == more.key != bank(4, momentum=0.5).key
    shift = dt.shifts(more)
    assert shift.sizes == {"seed": 4, "train": 2, "query": 5}
    assert (shift.values != 0).any()
    planned = dt.plan(more, timed=False)
    assert "one at a time, for batch norm" in planned.remarks
    assert "leaves the statistics of its batches" in planned.remarks
    assert planned.remarks in shift.attrs["remarks"]


def test_estimators_see_the_trained_network_in_evaluation_mode():
    task = table_like(dtype=torch.float32)
    recipe = Recipe("sgd", lr=0.05, batch_size=4, epochs=2)
    for model in (dropping, normalising):
        bank = dt.estimator_bank(task, model, recipe, 2, workers=1)
        found = dt.scores(bank)
        assert found.shape == (2, 12, 5)
        assert np.isfinite(found.values).all()
        assert np.unique(found.values).size > 100


def test_a_run_that_diverges_is_left_out_with_its_seed():
    task = table_like(dtype=torch.float32)
    recipe = LoopRecipe("sgd", lr=1e20, batch_size=4, epochs=3)
    bank = dt.retraining_bank(task, MLP, recipe, 2, points=[0], workers=1)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        dt.shifts(bank)


WRONG = {
    "clip": ({"clip": -1.0}, "clip = -1.0 is impossible"),
    "warm_up": ({"warm_up": 1.0}, "a share of the steps"),
    "nesterov": ({"nesterov": True}, "for 'sgd' with momentum"),
    "unknown": ({"klip": 1}, "unknown setting of Recipe 'klip'"),
    "a number of epochs": ({"epochs": 2.5}, "epochs = 2.5 is no whole number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_impossible_settings_are_refused(name):
    given, told = WRONG[name]
    with pytest.raises(ValueError, match=told):
        LoopRecipe("sgd", **given)


def test_settings_of_a_loop_and_of_a_loss_are_sent_to_their_place():
    with pytest.raises(ValueError, match="clip is a setting of LoopRecipe"):
        Recipe("sgd", clip=1.0)
    with pytest.raises(ValueError, match=r"class_weights belongs to the loss; .*as_task"):
        Recipe("sgd", class_weights=(1, 2))
    runs = paired(leave_one_out(12, [0]), seed_pairs(1))
    with pytest.raises(ValueError, match="one at a time; use retraining_bank"):
        dt.RunBank(TASK, MLP, LoopRecipe("sgd", clip=1.0), runs)
    with pytest.raises(ValueError, match="unknown setting of Recipe 'epoch'"):
        Recipe("sgd", epoch=3)
    assert math.isclose(Recipe("sgd", lr=0.5, epochs=np.int64(3)).lr, 0.5)
