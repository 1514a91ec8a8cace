"""Sentences of notebook 09 follow its tables."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dtda_lib.experiments.data_pruning import tables as tables
from dtda_lib.experiments.data_pruning import words as words
from dtda_lib.study.evidence import Evidence, load

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
    return words.share_of_truth_words(
        tables.gain_table(outcomes(**gains), np.random.default_rng(0))
    ).data


def test_scores_are_measured_by_the_truth():
    said = said_of_gains(other_mean=0.08, other_own=0.02, truth=0.1)
    assert "one other model bring 20 %" in said
    assert "averages over other models 79 %" in said or "over other models 80 %" in said


def test_nothing_is_credited_where_the_truth_does_not_help():
    assert said_of_gains(other_mean=0.08) == (
        "Removing the wrong labels themselves is not shown to help."
    )


def differences(**gains):
    return {"labels": tables.difference_table(outcomes(**gains), np.random.default_rng(0))}


def test_a_correction_is_for_all_comparisons_and_four_seeds_survive_none():
    last = words.corrected_words(differences(other_mean=0.5)).data
    assert "Of all 13 comparisons" in last
    assert last.endswith("**Labels**: none.")
    table = differences(other_mean=0.5)["labels"].assign(p=0.04)
    table.loc[table["question"] == "loss", "p"] = 0.05 / 13 - 1e-6
    last = words.corrected_words({"labels": table}).data
    assert last.endswith("**Labels**: mean score − mean training loss (scores of other seeds).")


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
    assert "Of a single model's promise 50 % is left, of an average's 50 %." in said
    assert "moves 2.5 times the predicted sum" in said
    assert said.endswith(f": {shown}.")


# --- the answer -----------------------------------------------------------------------------------


def evidence_with(gains):
    """The evidence on record, with other numbers behind the figure of gains."""
    known = load()

    class Other(Evidence):
        def table(self, notebook, figure, profile="paper"):
            found = known.table(notebook, figure, profile)
            return gains(found) if figure == "gains" else found

    return Other(known.findings, known.due, known.root)


def test_the_answer_is_short_and_names_no_keys():
    told = words.answer(load())
    assert 3 <= len(told) <= 5
    assert "_" not in " ".join(told)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.01, 0.03), "pruning helps, too: +2.0 points [1.0, 3.0] by averaged"),
        ((-0.03, -0.01), "pruning harms: -2.0 points [-3.0, -1.0] by averaged"),
        ((-0.01, 0.04), "no gain is shown: +1.5 points [-1.0, 4.0] by averaged"),
    ],
)
def test_the_answer_on_right_labels_follows_the_interval(ends, said):
    def gains(found):
        chosen = (found["panel"] == "right labels") & (found["strategy"] == "same_mean")
        found.loc[chosen, ["estimate", "low", "high"]] = [sum(ends) / 2, *ends]
        return found

    assert said in words.answer(evidence_with(gains))[1]


def test_there_is_no_answer_before_a_run(tmp_path):
    assert words.answer(load(tmp_path)) == []
