"""The answer and sentences of notebook 11 follow its evidence and its tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dtda_lib.experiments.your_own_model import experiment, judged, words
from dtda_lib.experiments.your_own_model.examples import ImageNet, write_digits
from dtda_lib.study.claims import CONFIRMED, INCONCLUSIVE, REFUTED, Claim
from dtda_lib.study.evidence import Evidence, Finding
from dtda_lib.study.settings import parameters_of, resolve

NOTEBOOK = "11_your_own_model"


# --- the answer ----------------------------------------------------------------------------------


def finding(name, status, estimate, ci, profile):
    text = dict.fromkeys(("claim", "source", "statistic", "estimand", "rule"), "x")
    claim = Claim(
        id=name, status=status, estimate=estimate, ci=ci, n=5, setting="a small table", **text
    )
    return Finding(claim, NOTEBOOK, profile)


def evidence(folder: Path, profile="paper", power=CONFIRMED, low=0.5):
    """Made-up findings; both estimators find 60 % of what is sought, from `low` on."""
    figures = folder / "figures" / profile
    figures.mkdir(parents=True)
    (figures / f"{NOTEBOOK}.claims.json").write_text("{}")
    rows = [
        (method, k, k / 10, 0.6 if k < 10 else 1.0, low, 1.0)
        for method in ("if_ggn", "grad_dot", "retraining")
        for k in range(1, 11)
    ]
    curves = pd.DataFrame(rows, columns=["method", "k", "points", "share", "low", "high"])
    curves.to_csv(figures / f"{NOTEBOOK}-screening.csv", index=False)
    found = [
        finding("own-power", power, 0.9, (0.8, 1.0), profile),
        finding("own-signs", CONFIRMED, 0.01, (0.0, 0.02), profile),
        finding("own-images", CONFIRMED, 0.1, (0.05, 0.15), profile),
    ]
    return Evidence({one.claim.id: one for one in found}, {}, folder)


def test_the_answer_gives_numbers_with_their_intervals(tmp_path):
    told = words.answer(evidence(tmp_path))
    assert told[0] == (
        "A plan made before training keeps its promise: of the pairs beyond its smallest shift, "
        "90 % [80, 100] are found."
    )
    assert told[1].startswith("Of the pairs called reliable, 1.0 % [0, 2.0] have the other sign")
    assert told[2] == (
        "Screening spares much of the retraining: the first 2 of 10 points hold 60 % [50, 100] by "
        "damped Gauss-Newton IF and 60 % [50, 100] by grad-dot of each query's most influential "
        "points, and 20 % at random."
    )
    assert "matter for 10 [5, 15] percentage points more of the queries" in told[3]
    assert len(told) == 5


def test_the_answer_says_where_only_the_small_run_was_made(tmp_path):
    assert "are those of `default`" in words.answer(evidence(tmp_path, "default"))[-1]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(REFUTED, "promises too much"), (INCONCLUSIVE, "is not shown to keep its promise")],
)
def test_the_answer_follows_the_verdict_on_the_plan(tmp_path, status, verdict):
    told = words.answer(evidence(tmp_path, power=status))[0]
    assert told.startswith(f"A plan made before training {verdict}: ")


def test_a_screening_that_may_be_chance_is_not_praised(tmp_path):
    assert "Screening is not shown to help" in words.answer(evidence(tmp_path, low=0.2))[2]


# --- sentences -----------------------------------------------------------------------------------


# --- tables --------------------------------------------------------------------------------------


def test_screenings_are_told_at_k_and_by_what_they_need():
    rows = [
        (method, k, k / 10, min(1.0, k / full), 0.0, 1.0)
        for method, full in (("if_ggn", 5), ("grad_dot", 20))
        for k in range(1, 11)
    ]
    curves = pd.DataFrame(rows, columns=["method", "k", "points", "share", "low", "high"])
    table = judged.first_points(curves, 2).set_index("screened by")
    assert table.loc["damped Gauss-Newton IF", "share in the first 2"] == 0.4
    assert table.loc["damped Gauss-Newton IF", "points that hold 90%"] == 5
    assert table.loc["grad-dot", "at random"] == 0.2
    assert np.isnan(table.loc["grad-dot", "points that hold 90%"])


def test_agreement_is_over_the_points_of_a_query():
    values = np.random.default_rng(0).normal(size=(1, 8, 3)) + np.zeros((3, 1, 1))
    shift = xr.DataArray(
        values,
        dims=("seed", "train", "query"),
        coords={"seed": range(3), "train": range(8), "query": range(3)},
    )
    found = judged.rank_correlation_table({"if_ggn": shift, "grad_dot": -shift}, shift)
    assert list(found["estimator"]) == ["damped Gauss-Newton IF", "grad-dot"]
    assert list(found["rank correlation"].round(6)) == [1, -1]


# --- the reader's own images ---------------------------------------------------------------------


def test_a_folder_of_two_classes_gets_a_network_of_two_outputs(tmp_path):
    given = {"profile": "smoke", "device": "cpu", "workers": 1}
    own = write_digits(tmp_path, 10, digits=(0, 1))
    cfg = resolve(parameters_of(NOTEBOOK), **given, folder=str(own))
    assert experiment.Experiment.of(cfg).on_images["model"].keywords == {"classes": 2}
    cfg = resolve(parameters_of(NOTEBOOK), **given)
    assert experiment.Experiment.of(cfg).on_images["model"] is ImageNet
