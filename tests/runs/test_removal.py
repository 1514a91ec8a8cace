"""Removal designs: row 0 leaves nothing out, the others what their labels say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dtda_lib.runs.removal import (
    Design,
    down_weighted,
    half_subsets,
    leave_groups_out,
    leave_k_out,
    leave_one_out,
    nothing,
)


def left_out(design):
    """The positions of weight 0, one tuple a removal."""
    return [tuple((row == 0).nonzero().flatten().tolist()) for row in design.weights]


def generator(seed=0):
    return np.random.default_rng(seed)


def test_leave_one_out_leaves_out_each_point_once():
    design = leave_one_out(5)
    assert left_out(design) == [(), (0,), (1,), (2,), (3,), (4,)]
    assert design.labels == ("none", "0", "1", "2", "3", "4")
    assert design.points == (-1, 0, 1, 2, 3, 4)
    assert (design.n_train, len(design)) == (5, 6)
    assert set(design.weights.unique().tolist()) == {0.0, 1.0}
    assert left_out(leave_one_out(5, [3, 1])) == [(), (3,), (1,)]


def test_nothing_is_one_row_of_ones():
    assert nothing(4).weights.tolist() == [[1.0] * 4]
    assert nothing(4).labels == ("none",)


def test_groups_are_named_by_their_members():
    design = leave_groups_out(6, [(4, 0), (2,)])
    assert left_out(design) == [(), (0, 4), (2,)]
    assert design.labels == ("none", "0+4", "2")
    assert design.points == (-1, -1, 2)


@given(st.data(), st.integers(2, 9))
def test_leave_k_out_draws_distinct_groups_of_k(data, n_train):
    k = data.draw(st.integers(1, n_train - 1))
    n_groups = data.draw(st.integers(0, math.comb(n_train, k)))
    seed = data.draw(st.integers(0, 99))
    design = leave_k_out(n_train, k, n_groups, generator(seed))
    groups = left_out(design)[1:]
    assert len(groups) == len(set(groups)) == n_groups
    assert all(len(group) == k for group in groups)
    assert design.labels == ("none", *("+".join(map(str, group)) for group in groups))
    again = leave_k_out(n_train, k, n_groups, generator(seed))
    assert torch.equal(again.weights, design.weights)


def test_leave_k_out_reaches_every_point():
    """Neither of the two ways of drawing prefers a point."""
    for n_train, n_groups in ((6, 15), (40, 60)):
        left = 1 - leave_k_out(n_train, 2, n_groups, generator()).weights[1:]
        assert left.sum() == 2 * n_groups
        assert (left.sum(dim=0) > 0).sum() > 0.9 * n_train


def test_half_subsets_keep_the_larger_half():
    for n_train in (10, 11):
        design = half_subsets(n_train, 7, generator())
        assert len(design) == 8
        assert design.weights[1:].sum(dim=1).tolist() == [math.ceil(n_train / 2)] * 7
        assert len({tuple(row.tolist()) for row in design.weights}) == 8


def test_a_fraction_is_what_is_taken_away():
    """Fractions outermost; a fraction of 1 is a removal."""
    design = down_weighted(4, [2, 0], [0.25, 1.0])
    expected = [[1, 1, 1, 1], [1, 1, 0.75, 1], [0.75, 1, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]]
    assert design.weights.tolist() == expected
    assert design.labels == ("none", "2@0.25", "0@0.25", "2@1", "0@1")
    assert torch.equal(design.weights[3:], leave_one_out(4, [2, 0]).weights[1:])


def test_select_keeps_labels_and_points():
    part = leave_one_out(5).select([0, 4, 2])
    assert left_out(part) == [(), (3,), (1,)]
    assert (part.labels, part.points) == (("none", "3", "1"), (-1, 3, 1))


REFUSED = {
    "leaves out all training points": lambda: leave_one_out(1),
    "removal '0\\+1' leaves out all": lambda: leave_groups_out(2, [(0, 1)]),
    "there is no training point 5": lambda: leave_one_out(5, [1, 5]),
    "there is no training point -1": lambda: leave_groups_out(5, [(0, -1)]),
    "labels repeat": lambda: leave_one_out(5, [2, 2]),
    "no 11 distinct groups of 2 out of 5": lambda: leave_k_out(5, 2, 11, generator()),
    "groups of 5 out of 5": lambda: leave_k_out(5, 5, 1, generator()),
    "groups of 0 out of 5": lambda: leave_k_out(5, 0, 1, generator()),
    "there is no training point 4": lambda: down_weighted(4, [4], [0.5]),
    "fraction 0 is impossible": lambda: down_weighted(4, [1], [0.5, 0]),
    "fraction 1.5 is impossible": lambda: down_weighted(4, [1], [1.5]),
    "one label each": lambda: Design(torch.ones(2, 3), ("none",)),
    "not negative": lambda: Design(-torch.ones(1, 3), ("none",)),
    "must be finite": lambda: Design(torch.full((1, 3), torch.nan), ("none",)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_impossible_designs_are_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_weights_between_0_and_1_are_allowed():
    design = Design(torch.tensor([[1.0, 1.0], [0.5, 1.0]]), ("none", "half of 0"))
    assert design.points == (-1, -1)
