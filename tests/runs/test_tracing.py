"""A recorded function does what the function does; only steps that change nothing are gone."""

import pytest
import torch

from dtda_lib.runs.tracing import record

EXAMPLE = torch.arange(6.0).reshape(2, 3)


def steps(recorded):
    return [node for node in recorded.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    "function",
    [lambda x: x.view(2, 3), lambda x: x.expand(2, 3), lambda x: x * 1, lambda x: x * 1.0],
    ids=["view", "expand", "times 1", "times 1.0"],
)
def test_what_changes_nothing_is_dropped(function):
    recorded = record(lambda x: function(x) + x, EXAMPLE)
    assert len(steps(recorded)) == 1
    assert torch.equal(recorded(EXAMPLE + 1), 2 * EXAMPLE + 2)


@pytest.mark.parametrize(
    ("function", "example"),
    [
        (lambda x: x.view(3, 2), EXAMPLE),
        (lambda x: x.expand(4, 2, 3), EXAMPLE),
        (lambda x: x * 2, EXAMPLE),
        (lambda x: x * -1, EXAMPLE),
        (lambda x: x + 1, EXAMPLE),
        (lambda x: x / 1, EXAMPLE),
        (lambda x: x * 1.0, torch.arange(6)),  # becomes a real number
        (lambda x: x * 1, torch.tensor([True, False])),  # and this one a whole one
    ],
)
def test_what_changes_something_stays(function, example):
    recorded = record(function, example)
    assert len(steps(recorded)) == 1
    for other in (example, example.flip(0)):
        found, expected = recorded(other), function(other)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


def test_a_course_that_hangs_on_values_cannot_be_recorded():
    with pytest.raises(ValueError, match=r"branches on the values .* train with chunk=1"):
        record(lambda x: x if float(x.sum()) > 0 else -x, EXAMPLE)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        record(lambda x: x @ x, EXAMPLE)
