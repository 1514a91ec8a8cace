"""Measures against their definitions, by hand in float64."""

from dataclasses import replace

import pytest
import torch
from helpers import digits_like, table_like
from torch import nn

from dtda_lib.models.networks import Network, initial_theta
from dtda_lib.runs import measures
from dtda_lib.runs.measures import (
    MEASURES,
    Measure,
    get_measure,
    measure,
    measure_of_outputs,
    query_outputs,
    take,
)


@pytest.fixture
def classes():
    """Ten classes, six queries; their outputs as plain PyTorch gives them."""

    def model():
        return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))

    task = digits_like(n_train=3, n_query=6)
    network, theta = Network.of(model), 5 * initial_theta(model, 0, torch.float64)
    weight, bias = theta[:7840].view(10, 784), theta[7840:]
    return network, theta, task, task.query_x.flatten(1) @ weight.T + bias


def test_classification_is_measured_as_its_names_say(classes):
    network, theta, task, outputs = classes
    p = outputs.exp() / outputs.exp().sum(dim=1, keepdim=True)
    true = p[torch.arange(6), task.query_y]
    expected = {
        "query_loss": -true.log(),
        "query_margin": true.log() - (1 - true).log(),  # of the true class against all others
        "query_probability": true,
        "query_prediction": outputs,
        "parameters": theta,
    }
    assert set(expected) == set(MEASURES)
    assert not torch.allclose(true, true[0])
    for name, value in expected.items():
        torch.testing.assert_close(take(get_measure(name), network, theta, task), value)
        assert get_measure(name).name == name


def test_a_regression_is_measured_by_half_its_squared_error():
    task = table_like()
    network = Network.of(lambda: nn.Linear(8, 1))
    theta = torch.arange(9.0, dtype=torch.float64)
    outputs = task.query_x @ theta[:8] + theta[8]
    loss = take(get_measure("query_loss"), network, theta, task)
    torch.testing.assert_close(loss, (outputs - task.query_y) ** 2 / 2)
    said = take(get_measure("query_prediction"), network, theta, task)
    torch.testing.assert_close(said, outputs[:, None])


def test_queries_in_pieces_keep_their_order(classes, monkeypatch):
    network, theta, task, outputs = classes
    for size in (1, 4, 6, 100):
        monkeypatch.setattr(measures, "QUERY_CHUNK", size)
        torch.testing.assert_close(query_outputs(network, theta, task), outputs)


def test_decorators_keep_name_axes_unit_and_labels(classes):
    network, theta, task, outputs = classes

    @measure(dims=("part",), unit="m", labels={"part": ("a", "b")})
    def ends(network, theta, task):
        return theta[[0, -1]]

    @measure_of_outputs(dims=("query", "half"), unit="s", labels={"half": ("low", "high")})
    def halves(outputs, targets, task):
        return torch.stack([outputs[:, :5].sum(1), outputs[:, 5:].sum(1) + targets], dim=1)

    assert (ends.name, ends.dims, ends.unit, ends.labels) == (
        "ends",
        ("part",),
        "m",
        {"part": ("a", "b")},
    )
    assert (halves.name, halves.dims, halves.unit) == ("halves", ("query", "half"), "s")
    assert halves.labels == {"half": ("low", "high")}
    assert ends.of_outputs is None
    torch.testing.assert_close(take(ends, network, theta, task), theta[[0, 7849]])
    expected = torch.stack([outputs[:, :5].sum(1), outputs[:, 5:].sum(1) + task.query_y], dim=1)
    torch.testing.assert_close(take(halves, network, theta, task), expected)
    assert ends.is_own
    assert halves.is_own
    assert not any(one.is_own for one in MEASURES.values())
    assert halves.function.__qualname__.endswith("halves.measured")


@pytest.mark.parametrize(
    ("dims", "shape", "told"),
    [
        (("query",), (5,), r"shape \(5,\); its axes are \(query: 6\)"),
        (("train", "query"), (6, 3), r"shape \(6, 3\); its axes are \(train: 3, query: 6\)"),
        (("parameter",), (7849,), r"its axes are \(parameter: 7850\)"),
        (("part",), (3,), r"shape \(3,\); its axes are \(part: 2\)"),
        (("mine", "query"), (6,), r"shape \(6,\); its axes are \(mine, query: 6\)"),
    ],
)
def test_a_measure_is_what_it_declares(classes, dims, shape, told):
    network, theta, task, _ = classes
    labels = {"part": ("a", "b")}
    wrong = Measure("wrong", dims, "none", lambda *_: torch.ones(shape), labels)
    with pytest.raises(ValueError, match=told):
        take(wrong, network, theta, task)
    free = Measure("free", ("mine",), "none", lambda *_: torch.ones(4))
    assert take(free, network, theta, task).shape == (4,)
    assert take(replace(free, name="same"), network, theta, task).shape == (4,)
