"""Which seeds each run gets: shared, separate, nested."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtda_lib.data.sources import published_seeds
from dtda_lib.runs.protocols import (
    PROTOCOLS,
    Runs,
    check_protocol,
    crossed_pairs,
    paired,
    seed_pairs,
    unpaired,
)
from dtda_lib.runs.removal import leave_one_out

DESIGN = leave_one_out(4)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["first", "second", "x"]))
def test_a_longer_list_of_seeds_begins_like_a_shorter(n, more, stream):
    assert seed_pairs(n + more, stream)[:n] == seed_pairs(n, stream)


def test_the_first_stream_begins_with_the_published_seeds():
    assert seed_pairs(10) == [(seed, seed) for seed in published_seeds()]
    assert seed_pairs(3) == seed_pairs(10)[:3]


def test_streams_and_parts_are_disjoint():
    first, second = seed_pairs(200), seed_pairs(200, "second")
    assert len(set(first)) == len(set(second)) == 200
    inits = {init for init, _ in first}
    assert not inits & {init for init, _ in second}
    fresh = [*first[10:], *second]
    assert all(init != order for init, order in fresh)
    assert all(0 <= seed < 2**63 for pair in fresh for seed in pair)


def test_crossed_pairs_are_the_full_factorial():
    assert crossed_pairs([1, 2], [7, 8, 9]) == [(1, 7), (1, 8), (1, 9), (2, 7), (2, 8), (2, 9)]


def test_paired_runs_share_their_seeds():
    runs = paired(DESIGN, [(1, 11), (2, 12)])
    assert runs.init_seeds.tolist() == [[1] * 5, [2] * 5]
    assert runs.order_seeds.tolist() == [[11] * 5, [12] * 5]
    assert (runs.n_seeds, len(runs)) == (2, 10)


def test_seeds_are_whole_numbers_of_any_size():
    large = [(2**62 + 1, 2**62 + 3)]
    runs = paired(DESIGN, large)
    assert (runs.init_seeds.dtype, runs.order_seeds.dtype) == (np.int64, np.int64)
    assert set(zip(runs.init_seeds.flat, runs.order_seeds.flat)) == set(large)


def test_seeds_stay_what_they_were():
    """Another rule would be as random, but every run of the study would be another."""
    assert seed_pairs(12)[10:] == [(202828649, 1784641603), (1140381262, 984668504)]
    assert seed_pairs(1, "second") == [(1900878814, 1206608935)]
    runs = unpaired(leave_one_out(2), [(3, 4)])
    assert runs.init_seeds.tolist() == [[3, 374914903, 1618090026]]
    assert runs.order_seeds.tolist() == [[4, 446249705, 168102446]]


def test_runs_say_whether_they_are_paired():
    seeds = seed_pairs(2)
    together, apart = paired(DESIGN, seeds), unpaired(DESIGN, seeds)
    mixed = [Runs(DESIGN, together.init_seeds, apart.order_seeds)]
    mixed += [Runs(DESIGN, apart.init_seeds, together.order_seeds), apart]
    assert "paired=True" in repr(together)
    assert all("paired=False" in repr(runs) for runs in mixed)


def test_unpaired_runs_share_nothing_but_the_full_data_runs():
    seeds = seed_pairs(6)
    together, apart = paired(DESIGN, seeds), unpaired(DESIGN, seeds)
    for name in ("init_seeds", "order_seeds"):
        shared, own = getattr(together, name), getattr(apart, name)
        np.testing.assert_array_equal(own[:, 0], shared[:, 0])
        assert len(np.unique(own)) == own.size
    assert not set(apart.init_seeds[:, 1:].flat) & set(apart.order_seeds.flat)
    again = unpaired(DESIGN, seed_pairs(3))
    np.testing.assert_array_equal(again.init_seeds, apart.init_seeds[:3])


REFUSED = {
    "0 were asked for": lambda: seed_pairs(0),
    "-1 were asked for": lambda: seed_pairs(-1),
    "zero seeds": lambda: paired(DESIGN, []),
    r"must both be \(seed, 5\)": lambda: Runs(DESIGN, np.zeros((2, 4)), np.zeros((2, 4))),
    r"init seeds \(2, 5\) and order seeds \(3, 5\)": lambda: Runs(
        DESIGN, np.zeros((2, 5)), np.zeros((3, 5))
    ),
    "unknown protocol 'paired_scrach': did you mean 'paired_scratch'": lambda: check_protocol(
        "paired_scrach"
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_impossible_runs_are_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_known_protocols_pass():
    assert [check_protocol(name) for name in PROTOCOLS] == list(PROTOCOLS)
