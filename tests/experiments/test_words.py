"""Sentences of notebooks 05 and 06 follow their tables: a doctored table changes them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dtda_lib.experiments.predicting_retrained_laws import words as of_laws
from dtda_lib.experiments.predicting_retrained_laws.laws import LEVERAGE
from dtda_lib.experiments.predicting_retrained_laws.tables import ALL
from dtda_lib.experiments.unrolling_becomes_influence import words as of_limit
from dtda_lib.study import wording
from dtda_lib.study.evidence import load

# --- parts ---------------------------------------------------------------------------------------


def test_parts_of_sentences():
    assert wording.joined([]) == "none"
    assert wording.joined(["a", "b", "c"]) == "a, b and c"
    assert wording.bullets(["a", "b"]).data == "* a\n* b"
    assert wording.counted(1, "pair") == "1 pair"
    assert wording.counted(2_000, "pair") == "2,000 pairs"
    row = {"r": 0.5, "r_low": 0.25, "r_high": 0.756}
    assert wording.bracketed(row, "r") == "0.50 [0.25, 0.76]"
    assert wording.bracketed({"estimate": 1, "low": 0, "high": 2}, digits=1) == "1.0 [0.0, 2.0]"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.1, 0.2, "up"), (-0.2, -0.1, "down"), (-0.1, 0.1, "?"), (0, 1, "?"), (np.nan, np.nan, "?")],
)
def test_words_take_the_side_of_the_whole_interval(low, high, words):
    row = {"low": low, "high": high}
    assert wording.side(row, 0, above="up", below="down", unclear="?") == words


# --- notebook 05 ---------------------------------------------------------------------------------

ESTIMATORS = ("unrolling", "ud_corrected", "if_ggn", "if_ggn_raw", "rif", "joint", "other_group")


def share_rows(**by_estimator):
    return pd.DataFrame(
        {"kind": kind, "estimator": estimator, "set": name, "share": (low + high) / 2,
         "low": low, "high": high, "draw_low": low, "draw_high": high}
        for kind in ("mean", "w2", "sd")
        for estimator in ESTIMATORS
        for low, high in [by_estimator.get(estimator, (0.4, 0.6))]
        for name in ("1 %", LEVERAGE, ALL)
    )  # fmt: skip


def test_shares_are_judged_as_the_claims_are():
    said = of_laws.share_words(share_rows(unrolling=(0.7, 0.9), if_ggn=(0.1, 0.3))).data
    assert said.count(", nearer than no change in most cases: unrolling;") == 3
    worse = "**not** nearer than no change in most cases: damped Gauss-Newton IF"
    assert said.count(worse) == 3
    assert "at these sizes: none." in said
    helped = of_laws.share_words(share_rows(other_group=(0.6, 0.8))).data
    assert "at these sizes: 1 %." in helped


def test_errors_worse_than_the_control_are_named():
    table = pd.DataFrame(
        {"kind": kind, "set": "5 %", "estimator": estimator, "error": 0.3, "low": 0.2, "high": 0.4}
        for kind in ("mean", "sd")
        for estimator in ESTIMATORS
    )
    table.loc[table["estimator"] == "other_group", "error"] = 0.8
    said = of_laws.error_words(table, ["5 %"]).data
    assert "**Unrolling** leaves 30 % of the error of means at 5 % and 30 % at 5 %; better" in said
    assert said.count("better than the control at every size") == 5
    bad = table.assign(error=table["error"].where(table["estimator"] != "rif", 0.9), high=1.1)
    said = of_laws.error_words(bad, ["5 %"]).data
    assert "no better than the control at 5 %" in said.split("\n")[3]
    assert said.count("better than the control at every size") == 4


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((-0.05, 0.05), "1 − h to within 0.1"),
        ((0.02, 0.3), "more than 1 − h"),
        ((-0.3, -0.02), "less than 1 − h"),
        ((-0.3, 0.3), "not told from 1 − h"),
    ],
)
def test_shares_of_a_shift_are_held_against_leverage(ends, words):
    kept = pd.DataFrame(
        {"what": what, "estimator": estimator, "estimate": 0.5, "low": 0.4, "high": 0.6}
        for what in ("kept", "1 - h", "less")
        for estimator in ESTIMATORS
    )
    kept.loc[kept["what"] == "less", ["low", "high"]] = ends
    single = pd.DataFrame(
        {"estimator": estimator, "set": "1 %", "kept": 0.8, "leverage": 0.3}
        for estimator in ESTIMATORS
    )
    said = of_laws.leverage_words(kept, single).data.split("\n")
    assert words in said[1]
    assert "lie 0.10 from 1 − h" in said[1]
    assert "less than all of it, beyond error" in said[3]


def test_spreads_are_held_against_no_change_and_their_ceiling():
    table = pd.DataFrame(
        {"what": what, "set": "5 %", "estimator": estimator, "estimate": value, "low": low,
         "high": low + 0.1, "change": 0.1, "predicted": 0.4}
        for what, value, low in (("r", 0.4, 0.3), ("ceiling", 0.8, 0.7), ("gap", -0.4, -0.45))
        for estimator in ESTIMATORS
    )  # fmt: skip
    errors = pd.DataFrame({"kind": "sd", "set": "5 %", "estimator": ESTIMATORS, "high": 0.9})
    said = of_laws.spread_words(table, errors, ["5 %"]).data
    assert "**Unrolling**: its error of standard deviations is smaller" in said
    assert (
        said.count("beyond error, at 5 %; its correlation is not told from the ceiling at no s")
        == 3
    )
    said = of_laws.spread_words(table.assign(high=0.05), errors.assign(high=1.1), ["5 %"]).data
    assert (
        said.count("beyond error, at no size; its correlation is not told from the ceiling at 5")
        == 3
    )


def test_the_answer_on_laws_follows_the_evidence():
    found = load()
    assert of_laws.answer(found)[0].startswith("Yes: predicted laws come nearer")
    assert found["C1-unrolling-w2"].number("%") in of_laws.answer(found)[1]
    finding = found["C1-unrolling-w2"]
    refuted = replace(finding, claim=replace(finding.claim, status="refuted"))
    changed = replace(found, findings=found.findings | {"C1-unrolling-w2": refuted})
    assert of_laws.answer(changed)[0].startswith("No: ")
    untested = replace(
        found, findings=found.findings | {"C1-unrolling-w2": replace(finding, profile="default")}
    )
    assert of_laws.answer(untested)[0].startswith("It is open whether")


def test_negative_eigenvalues_are_counted():
    rows = {"estimator": ["if_ggn", "if_hessian"], "set": "1 %", "error": 0.5}
    errors = pd.DataFrame(rows | {"low": [0.4, 0.1], "high": [0.6, 0.9]})
    said = of_laws.hessian_words(xr.DataArray([-0.1, 0.2, -0.3]), errors).data
    assert "in 2 of 3 runs" in said
    assert said.endswith("its interval is wider.")


@pytest.mark.parametrize(
    ("alone", "stacked", "met", "missed"),
    [(1.0, 0.1, 1, 1), (1.0, 0.5, 2, 0), (0.1, 0.01, 0, 2)],
)
def test_the_cost_of_unrolling_is_held_against_the_goal(alone, stacked, met, missed):
    seconds = {"alone": alone, "stacked": stacked, "unrolled": 6.0}
    said = of_laws.cost_words(seconds, 100).data
    assert (said.count("is met"), said.count("is **missed**")) == (met, missed)
    one, many = said.split("\n")
    assert "plain loop" in one
    assert f"of {6 / alone:.{0 if alone < 1 else 1}f} trainings" in one
    assert "hundreds of runs at once" in many


# --- notebook 06 ---------------------------------------------------------------------------------


def test_the_answer_on_unrolling_follows_the_evidence():
    names = ("C2-pinv", "C2-usual-pinv", "C2-usual-damped", "C2-step", "C3-null")
    some = load()["T3"]

    def with_status(status):
        claims = {n: replace(some.claim, id=n, status=status) for n in (*names, "C4-rate-logistic")}
        findings = {n: replace(some, claim=c, profile="paper") for n, c in claims.items()}
        return replace(load(), findings=load().findings | findings)

    confirmed, refuted = (of_limit.answer(with_status(s)) for s in ("confirmed", "refuted"))
    assert 3 <= len(confirmed) <= 5
    assert "unrolling is influence:" in confirmed[0]
    assert "is not influence yet" in refuted[0]
    assert "stops far before that" in refuted[1]
    assert "_" not in " ".join(confirmed)


def test_the_table_of_the_limit_shows_when_levels_are_passed():
    late = pd.DataFrame(
        {"quantity": name, "estimate": 0.95, "low": 0.9, "high": 0.97, "n": 6, "runs": 8,
         "folds": 9.0}
        for name in ("pinv", "smallest")
    )  # fmt: skip
    passed = pd.DataFrame(
        {"curvature": "pinv", "level": level, "folds": folds}
        for level, folds in ((0.9, 4.321), (0.99, np.nan))
    )
    shown = of_limit.regime_table(late, passed)
    assert shown.iloc[0].tolist() == [
        "pseudo-inverse IF", "0.950 [0.900, 0.970]", "4.3", "never"
    ]  # fmt: skip
    assert shown.iloc[1].tolist()[2:] == ["", ""]
    assert of_limit.counted_words(late).startswith("6 of 8 runs (75 %)")
