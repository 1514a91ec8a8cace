"""Where the line runs between models that are taken and models that are not."""

import warnings
from dataclasses import replace

import pytest
import torch
from helpers import digits_like, table_like
from torch import nn

from dtda_lib.ask.refusals import check_model, randomness, why_refused
from dtda_lib.runs.recipes import Recipe

TASK = table_like(dtype=torch.float32)
RECIPE = Recipe("sgd", lr=0.05, batch_size=4, epochs=2)


class Drifting(nn.Linear):
    """Each call differs from the one before by a share of the output."""

    def __init__(self, share):
        super().__init__(8, 1)
        self.share, self.calls = share, 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1 + self.share * (self.calls % 2))


class Leaning(nn.Linear):
    """Each output leans on the mean of the batch, by a share."""

    def __init__(self, share):
        super().__init__(8, 1)
        self.share = share

    def forward(self, x):
        y = super().forward(x)
        return y + self.share * y.mean()


@pytest.mark.parametrize(
    ("kind", "told"), [(Drifting, "two passes over the same"), (Leaning, "depends on the others")]
)
def test_rounding_is_forgiven_and_nothing_larger(kind, told):
    assert why_refused(lambda: kind(1e-6), TASK) == "accepted"
    assert told in why_refused(lambda: kind(1e-2), TASK)


def test_inputs_that_are_all_alike_say_nothing_of_the_network():
    alike = replace(
        TASK,
        train_x=torch.ones_like(TASK.train_x),
        query_x=torch.ones_like(TASK.query_x),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert why_refused(lambda: nn.Linear(8, 1), alike) == "accepted"


class Alone(nn.Module):
    """An LSTM, which vmap cannot run, with or without a convolution before it."""

    def __init__(self, convolves):
        super().__init__()
        self.first = nn.Conv1d(1, 2, 1) if convolves else nn.Linear(1, 2)
        self.convolves = convolves
        self.cell, self.out = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x):
        x = self.first(x[:, None]).mT if self.convolves else self.first(x[..., None])
        return self.out(self.cell(x)[0][:, -1])


@pytest.mark.parametrize(
    ("convolves", "chunk", "able"),
    [(False, 1, True), (False, None, False), (False, 2, False), (True, None, True),
     (True, 1, True), (True, 2, False)],
)  # fmt: skip
def test_stacks_are_tried_where_the_engine_would_stack(convolves, chunk, able):
    why = why_refused(lambda: Alone(convolves), TASK, RECIPE, chunk=chunk)
    assert (why == "accepted") is able
    assert able or "stacked runs cannot differentiate it" in why
    assert able or why.endswith("; it can be trained alone: pass chunk=1.")
    assert why_refused(lambda: Alone(convolves), TASK) == "accepted", "nothing trains unasked"


class NotAlone(nn.Linear):
    """Its gradient cannot be taken by torch.func at all."""

    def forward(self, x):
        return super().forward(x) + float(self.weight.detach().numpy().sum()) * 0


def test_what_cannot_be_trained_at_all_is_not_sent_on():
    why = why_refused(lambda: NotAlone(8, 1), TASK, RECIPE)
    assert "torch.func cannot differentiate it" in why
    assert "chunk=1" not in why


def seeded(seed):
    def factory():
        if seed is not None:
            torch.manual_seed(seed)
        return nn.Linear(8, 1)

    return factory


def test_what_differs_between_seeds_is_what_trains():
    assert randomness(seeded(None)) == "initial weights and batch order"
    assert randomness(seeded(3)) == "batch order alone"

    def bias_alone():
        net = seeded(3)()
        nn.init.normal_(net.bias, generator=torch.Generator().manual_seed(4))
        return net.requires_grad_(False).requires_grad_(True)

    assert randomness(bias_alone) == "batch order alone"


def test_a_look_leaves_the_streams_of_the_process_alone():
    before = torch.get_rng_state()
    check_model(seeded(None), TASK, RECIPE)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_tried_in_their_own_shape():
    task = digits_like(dtype=torch.float32)
    assert why_refused(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), task) == "accepted"
    assert "this is one network" in why_refused(nn.Flatten(), task)
    assert "cannot take inputs of shape (8, 8)" in why_refused(lambda: nn.Linear(7, 1), TASK)
