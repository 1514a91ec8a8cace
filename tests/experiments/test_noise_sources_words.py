"""Sentences of notebook 03 follow its tables."""

import pandas as pd
import pytest

from dtda_lib.experiments.sources_of_noise import words as words


def components(low, estimate, high):
    rows = [("init", 0.5, 0.4, 0.6), ("order", 0.3, 0.2, 0.4), ("init x order", 0.2, 0.1, 0.3)]
    rows.append(("init - order", estimate, low, high))
    table = pd.DataFrame(rows, columns=["quantity", "estimate", "low", "high"])
    pooled = table.assign(size=20, method="loo", weighting="pooled")
    return pd.concat([pooled, pooled.assign(weighting="equal"), pooled.assign(size=10)])


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((0.1, 0.2, 0.3), "initialisation makes up more"),
        ((-0.3, -0.2, -0.1), "batch order makes up more"),
        ((-0.1, 0.2, 0.3), "which one makes up more is not shown"),
    ],
)
def test_components_are_told_by_the_interval_of_their_difference(ends, verdict):
    said = words.component_words(components(*ends), 20).data
    assert len(said.splitlines()) == 1  # one size and one weighting
    assert "initialisation 0.50 of the variance, batch order 0.30, neither alone 0.20" in said
    assert f"; {verdict} (difference" in said


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.3, 0.8, "falls"), (1.5, 4.0, "rises"), (0.5, 2.0, "stays within its error")],
)
def test_changes_are_told_by_an_interval_around_one(low, high, verdict):
    rows = [(q, 0.6, low, high) for q in ("sigma", "abs_mu", "snr")]
    table = pd.DataFrame(rows, columns=["quantity", "estimate", "low", "high"])
    steps = pd.concat(
        [
            table.assign(first="a", second="b", adjacent=True),
            table.assign(first="a", second="c", adjacent=False),
        ]
    )
    said = words.size_words(steps).data
    assert len(said.splitlines()) == 1  # only neighbours
    assert said.startswith("* **a to b**: ")
    assert said.count(verdict) == 3


def test_models_come_with_their_size_and_fit():
    levels = pd.DataFrame(
        [("MLP", "snr", 1.9, 1.0, 2.8), ("MLP", "sigma", 9.0, 8.0, 10.0)],
        columns=["setting", "quantity", "estimate", "low", "high"],
    )
    training = pd.DataFrame({"setting": ["MLP"], "parameters": [50_890], "loss": [0.123]})
    assert words.model_words(levels, training).data == (
        "* **MLP** (50,890 trained parameters, query loss 0.12): |μ|/σ 1.9 [1, 2.8]."
    )


def test_crops_are_told_for_the_shift():
    columns = ["what", "way", "share", "ratio", "ratio_low", "ratio_high"]
    rows = [
        ("query loss", "same", 0.9, 7.0, 6.0, 8.0),
        ("shift", "same", 0.8, 3.0, 0.5, 9.0),
        ("shift", "other", 0.995, 880.0, 50.0, 15000.0),
    ]
    said = words.crop_words(pd.DataFrame(rows, columns=columns)).data
    assert "is 3 times [0.5, 9] that on whole images" in said
    assert "880 times [50, 15,000]" in said
    assert "crops make up 99.5%" in said
