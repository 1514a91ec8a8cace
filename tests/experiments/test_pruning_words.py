"""Sentences of notebook 09 follow its tables."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dtda_lib.experiments.data_pruning import strategies as pruning
from dtda_lib.experiments.data_pruning import tables as tables
from dtda_lib.experiments.data_pruning import words as words

STRATEGIES = [
    "none", "random", "same_own", "same_mean", "same_risk", "other_own", "other_mean",
    "other_risk", "rest_mean", "other_mean_loss", "other_mean_grad_dot", "truth",
]  # fmt: skip


def outcomes(**gains):
    """Test accuracy .5 for all strategies but those named, plus their gain; four paired seeds."""
    noise = np.random.default_rng(0).normal(size=(len(STRATEGIES), 4)) * 1e-3
    values = np.full((len(STRATEGIES), 1, 2, 4), 0.5)
    values[:, 0, :, :] += noise[:, None, :]
    for name, gain in gains.items():
        values[STRATEGIES.index(name)] += gain
    return xr.DataArray(
        values,
        {
            "strategy": STRATEGIES,
            "part": ["test"],
            "metric": ["accuracy", "loss"],
            "seed": np.arange(4),
        },
        ("strategy", "part", "metric", "seed"),
    )


def said_of_gains(**gains):
    found = outcomes(**gains)
    table = tables.gain_table(found, np.random.default_rng(0))
    levels = pd.concat({"some labels wrong": tables.level_table(found)}, names=["labels"])
    return words.gain_words({"some labels wrong": table}, levels).data


def test_gains_are_told_by_their_intervals():
    said = said_of_gains(other_mean=0.08, other_own=0.02, random=-0.1, truth=0.1)
    helped, harmed = said.split("Shown to harm")
    assert "`other_mean` +8.0 points" in helped
    assert "`random` -10.0 points" in harmed
    assert "`rest_mean`" not in helped
    assert "one other model bring 20%" in said
    assert "averages over others 79%" in said or "averages over others 80%" in said
    assert "accuracy 50.0%" in said


def test_nothing_is_credited_where_the_truth_does_not_help():
    said = said_of_gains()
    assert "Shown to help: none. Shown to harm: none." in said
    assert "Of what removing" not in said


def differences(**gains):
    return {"labels": tables.difference_table(outcomes(**gains), np.random.default_rng(0))}


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.05, "ahead"), (-0.05, "behind"), (0.0, "no difference shown")]
)
def test_questions_are_answered_by_sign_and_interval(gain, verdict):
    said = words.question_words(differences(other_mean=gain)).data.splitlines()
    line = next(one for one in said if "(`order`)" in one)
    assert f"scores of other seeds: {verdict} (" in line
    assert "scores of the same seeds: no difference shown" in line


def test_a_correction_is_for_all_comparisons_and_four_seeds_survive_none():
    last = words.question_words(differences(other_mean=0.5)).data.splitlines()[-1]
    assert "Of all 13 comparisons" in last
    assert last.endswith("labels: none.")
    table = differences(other_mean=0.5)["labels"].assign(p=0.04)
    table.loc[table["question"] == "loss", "p"] = 0.05 / 13 - 1e-6
    last = words.question_words({"labels": table}).data.splitlines()[-1]
    assert last.endswith("labels: `loss` (scores of other seeds).")


def at_k(**shares):
    rows = [
        (name, ranking, share, share - 0.05, share + 0.05, 0.1)
        for name, pair in shares.items()
        for ranking, share in zip(("own", "mean"), pair)
    ]
    columns = ["estimator", "ranking", "precision", "low", "high", "chance"]
    return pd.DataFrame(rows, columns=columns)


def test_found_labels_are_counted_and_averaging_is_judged():
    table = at_k(own_loss=(0.4, 0.6), grad_dot=(0.3, 0.32), **{pruning.ESTIMATOR: (0.44, 0.7)})
    said = words.found_words(table, 20).data
    assert "14 by Gauss-Newton IF with damping 0.1, 12 by training loss, 6 by grad-dot" in said
    assert "a random list holds 2" in said
    assert "44% wrong labels [39%, 49%], the averaged one 70%" in said
    assert "single models' mean: training loss, Gauss-Newton IF with damping 0.1." in said
    assert "training loss above grad-dot" in said
    same = at_k(own_loss=(0.4, 0.4), grad_dot=(0.4, 0.4), **{pruning.ESTIMATOR: (0.4, 0.4)})
    said = words.found_words(same, 20).data
    assert "single models' mean: none." in said
    assert "**Between averaged lists**: none" in said


def test_overlaps_are_told_as_ranges():
    table = pd.DataFrame(
        {"two_models": [0.2, 0.3], "two_averages": [0.6, 0.9], "chance": [0.1, 0.1]}
    )
    assert words.overlap_words(table).data == (
        "Single models agree on 20% to 30% of their lists, averages of disjoint groups on "
        "60% to 90%, chance on 10%."
    )


@pytest.mark.parametrize(
    ("ends", "shown"),
    [((-0.3, -0.1), "a fall"), ((0.1, 0.3), "a rise"), ((-0.1, 0.1), "no change shown")],
)
def test_promises_are_set_beside_what_came(ends, shown):
    row = {"selected": -0.2, "predicted": -0.1, "validation": -0.25, "test": sum(ends) / 2}
    row |= {"test_low": ends[0], "test_high": ends[1]}
    table = pd.DataFrame([{"strategy": name} | row for name in ("other_own", "other_mean")])
    said = words.prediction_words({"right labels": table}).data
    assert said.startswith("* **Right labels.**")
    assert "predict 50% for a single model's list and 50% for an average's" in said
    assert "moves 2.5 times the predicted sum (-0.250 against -0.100 nats)" in said
    assert said.endswith(f": {shown}.")
