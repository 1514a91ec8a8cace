"""What notebook 12 shows of the scores of estimators."""

import pandas as pd

from dtda_lib.experiments.scoreboard import tables
from dtda_lib.study.artefacts import ROOT
from dtda_lib.study.evidence import load
from dtda_lib.study.methods import DELTAS


def scores():
    """One setting, three metrics; unrolling leads but for the variance."""
    rows = [
        ("digits", "half", metric, method, lds, lds - 0.1, lds + 0.1, 0.95, 0.0)
        for metric in tables.TOLD
        for method, lds in {"grad_dot": 0.6, "unrolling": 0.5 + 0.2 * (metric == "mean")}.items()
    ]
    columns = ["setting", "size", "metric", "method", "lds", "low", "high", "ceiling", "null"]
    return pd.DataFrame(rows, columns=columns)


def test_the_best_of_each_metric_is_named_with_its_score():
    (row,) = tables.best_table(scores()).to_dict("records")
    assert row[DELTAS["mean"].tick] == "unrolling, 0.70 [0.60, 0.80] of 0.95"
    assert row[DELTAS["log_variance_ratio"].tick] == "grad-dot, 0.60 [0.50, 0.70] of 0.95"


def test_every_score_has_a_row_with_display_names():
    table = tables.lds_overview(scores())
    assert list(table["method"]) == ["grad-dot", "unrolling"]
    assert list(table[DELTAS["mean"].tick])[1] == "0.70 [0.60, 0.80] of 0.95"


def test_the_claims_about_scores_are_those_on_how_well_they_separate():
    names = tables.lds_claims(load(ROOT))
    assert names
    assert all("C9" in name for name in names)
