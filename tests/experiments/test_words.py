"""Sentences of notebooks 05 and 06 follow their tables: a doctored table changes them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dtda_lib.experiments.predicting_retrained_laws import words as of_laws
from dtda_lib.experiments.unrolling_becomes_influence import network as limit
from dtda_lib.experiments.unrolling_becomes_influence import words as of_limit
from dtda_lib.study import wording
from dtda_lib.study.claims import Claim
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

ON_LAWS = {
    "C1-unrolling-w2": (0.82, (0.75, 0.88)),
    "C1-if_damped-w2": (0.7, (0.6, 0.8)),
    "R8": (0.4, (0.3, 0.5)),
    "T-unrolling-network": (-0.04, (-0.09, 0.01)),
}


def evidence_on_laws(root, statuses=(), without=()):
    """Evidence of notebook 05 as files hold it: claims and the data of the figure."""
    stem, folder = "05_predicting_retrained_laws", root / "figures" / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    words = dict.fromkeys(("claim", "source", "statistic", "setting", "estimand", "rule"), "made")
    claims = [
        Claim(id=name, status=dict(statuses).get(name, "confirmed"), estimate=value, ci=ci, n=60,
              **words).as_dict()
        for name, (value, ci) in ON_LAWS.items() if name not in without
    ]  # fmt: skip
    (folder / f"{stem}.claims.json").write_text(json.dumps({"notebook": stem, "claims": claims}))
    errors = pd.DataFrame(
        {"task": task, "size": size, "estimator": name, "error": error,
         "error_low": error - 0.05, "error_high": error + 0.05}
        for task, more in (("concrete", 0), ("digits", 0.4))
        for name, each in (("unrolling", (0.1, 0.2, 0.5)), ("other_group", (0.5, 0.55, 0.6)))
        for size, error in zip(("1 point", "1 %", "50 %"), np.add(each, more), strict=True)
    )  # fmt: skip
    errors.to_csv(folder / f"{stem}-group_size.csv", index=False)
    return load(root)


def test_the_answer_on_laws_follows_the_evidence(tmp_path):
    said = of_laws.answer(evidence_on_laws(tmp_path))
    assert said[0].startswith("Yes: predicted laws are nearer")
    assert said[1].startswith("The law that unrolling predicts wins at 82 % [75, 88] of queries")
    assert "leaves 20 % [15, 25] of the change of means without 1 % of the points" in said[2]
    assert "and 50 % [45, 55] without 50 %; its prediction for another group leaves 60 %" in said[2]
    assert "off by -0.04" in said[3]
    assert said[4].endswith("unrolling explains 40 % [30, 50].")
    for status, words in (("partly", "In part: "), ("refuted", "No: "), ("inconclusive", "It is")):
        found = evidence_on_laws(tmp_path, {"C1-unrolling-w2": status}.items())
        assert of_laws.answer(found)[0].startswith(words)


def test_older_evidence_on_laws_is_not_put_into_new_words(tmp_path):
    (said,) = of_laws.answer(evidence_on_laws(tmp_path, without=["R8"]))
    assert said.startswith("The evidence on record is that of an earlier form")


# --- notebook 06 ---------------------------------------------------------------------------------


def runs(value, *, spread=0.01, smallest=-0.1, epochs=(1, 4)):
    """`limit.run_values` of eight runs; `value` of a recipe, a length and a quantity."""
    methods = (*limit.INFLUENCES, *limit.PSEUDO.values())
    names = [f"{t}, {m}" for t in ("unrolling", "retrained") for m in methods]
    names += ["retrained, unrolling", *(f"null {t:g}" for t in limit.THRESHOLDS)]
    noise, found = spread * np.linspace(-1, 1, 8), {}
    for recipe in limit.RECIPES:
        for length in epochs if recipe in limit.OVER_TIME else epochs[-1:]:
            data = {name: ("seed", value(recipe, length, name) + noise) for name in names}
            data["smallest"] = ("seed", smallest + 0.1 * noise)
            found[recipe, length] = xr.Dataset(data)
    return found


def test_the_late_table_shows_names_and_intervals():
    found = runs(lambda recipe, epochs, name: 0.5 if epochs == 4 else 0.1)
    shown = of_limit.late_table(limit.time_table(found, 100))
    assert shown.index[0] == "constant steps 0.05"
    assert list(shown)[:2] == ["pseudo-inverse IF 0.001", "Gauss-Newton IF"]
    assert shown.iloc[0, 1].startswith("0.50")
    names = set(of_limit.readable(limit.time_table(found, 100))["quantity"])
    assert "retrained, damped Hessian IF" in names
    assert not [name for name in names if "if_" in name]


def test_the_answer_on_unrolling_follows_the_evidence():
    found = load()
    said = of_limit.answer(found)
    assert said[0].startswith("Unrolling becomes influence")
    assert "with Gauss-Newton IF" in said[1]
    assert "so no minimum is reached" in said[1]
    finding = found["C4-logistic"]
    refuted = replace(finding, claim=replace(finding.claim, status="refuted"))
    changed = replace(found, findings=found.findings | {"C4-logistic": refuted})
    assert of_limit.answer(changed)[0].startswith("Unrolling does not become influence")
