"""Findings, and sentences of 05 and 06, follow the evidence: doctored numbers change them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dtda_lib.experiments.noise_vs_influence import words as of_noise
from dtda_lib.experiments.predicting_retrained_laws import words as of_laws
from dtda_lib.experiments.sources_of_noise import words as of_sources
from dtda_lib.experiments.unrolling_becomes_influence import words as of_limit
from dtda_lib.experiments.variance_changing_examples import words as of_lines
from dtda_lib.study.claims import Claim
from dtda_lib.study.evidence import Evidence, load

# --- findings of README --------------------------------------------------------------------------

FINDINGS = [
    (of_noise, "B1-code", "confirmed"),
    (of_noise, "R6", "confirmed"),
    (of_sources, "B4-loo", "refuted"),
    (of_lines, "C6-variance-lone", "confirmed"),
    (of_laws, "C1-unrolling-w2", "confirmed"),
    (of_laws, "R8", "confirmed"),
    (of_limit, "C2-pinv", "confirmed"),
    (of_limit, "C2-usual-pinv", "refuted"),
]
"""Words of a notebook, a claim that its finding rests on, and the verdict that it takes."""


def with_claim(name, **changes):
    """The evidence, one claim of it changed; `profile` is that of its run."""
    found = load()
    profile = changes.pop("profile", "paper")
    one = found[name]
    changed = replace(one, claim=replace(one.claim, **changes), profile=profile)
    return replace(found, findings=found.findings | {name: changed})


@pytest.mark.parametrize(("words", "name", "verdict"), FINDINGS)
def test_a_finding_is_told_as_long_as_each_verdict_is_the_one_that_it_tells(words, name, verdict):
    said = words.finding(with_claim(name, status=verdict))
    assert said.startswith("**")
    assert said.partition(".** ")[2].endswith(".")
    other = {"confirmed": "refuted", "refuted": "confirmed"}[verdict]
    for status in (other, "partly", "inconclusive"):
        assert words.finding(with_claim(name, status=status)) is None
    assert words.finding(with_claim(name, status=verdict, profile="default")) is None


@pytest.mark.parametrize(("words", "name"), [(of_noise, "R6"), (of_limit, "C2-pinv")])
def test_a_finding_has_the_numbers_of_the_evidence(words, name):
    assert "123 [120, 130]" in words.finding(with_claim(name, estimate=123.0, ci=(120.0, 130.0)))


# --- notebook 01 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("high", "said"),
    [(0.9, None), (1.2, "so σ is not shown to fall with 10, 20 and 50 points a class.")],
)
def test_averaging_checkpoints_says_where_the_noise_does_not_fall(monkeypatch, high, said):
    found, table = load(), Evidence.table

    def doctored(self, notebook, figure, profile="paper"):
        data = table(self, notebook, figure, profile)
        return data.assign(sigma_high=high) if figure == "checkpoints" else data

    monkeypatch.setattr(Evidence, "table", doctored)
    (sentence,) = [one for one in of_noise.answer(found) if "Averaging late" in one]
    assert sentence.endswith(said) if said else "not shown" not in sentence


# --- notebook 05 ---------------------------------------------------------------------------------

ON_LAWS = {
    "C1-unrolling-w2": (0.82, (0.75, 0.88)),
    "C1-if_damped-w2": (0.7, (0.6, 0.8)),
    "R8": (0.4, (0.3, 0.5)),
    "T-unrolling-network": (-0.04, (-0.09, 0.01)),
}


def evidence_on_laws(root, statuses=(), without=(), damped=0.7):
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
        for name, each in (("unrolling", (0.1, 0.2, 0.5)), ("if_damped", (0.2, 0.3, damped)),
                           ("other_group", (0.5, 0.55, 0.6)))
        for size, error in zip(("1 point", "1 %", "50 %"), np.add(each, more), strict=True)
    )  # fmt: skip
    errors.to_csv(folder / f"{stem}-group_size.csv", index=False)
    return load(root)


def test_the_answer_on_laws_follows_the_evidence(tmp_path):
    said = of_laws.answer(evidence_on_laws(tmp_path))
    assert said[0].startswith("Yes: predicted laws are nearer")
    assert said[1].startswith("The law that unrolling predicts wins at 82 % [75, 88] of queries")
    assert "misses 20 % [15, 25] of the change of means when 1 % of the points go" in said[2]
    assert (
        "50 % [45, 55] when 50 % go; its prediction for another group then misses 60 %" in said[2]
    )
    assert "On digits, when 50 % go, unrolling misses 90 % [85, 95], damped Gaus" in said[2]
    assert "110 % [105, 115], beside the prediction for another group, 100 % [95, 105]." in said[2]
    worse = of_laws.answer(evidence_on_laws(tmp_path, damped=0.8))[2]
    assert "120 % [115, 125], more than the prediction for another group, 100 % [" in worse
    assert "off by -0.04" in said[3]
    assert said[4].endswith("unrolling explains 40 % [30, 50].")
    for status, words in (("partly", "In part: "), ("refuted", "No: "), ("inconclusive", "It is")):
        found = evidence_on_laws(tmp_path, {"C1-unrolling-w2": status}.items())
        assert of_laws.answer(found)[0].startswith(words)


def test_older_evidence_on_laws_is_not_put_into_new_words(tmp_path):
    (said,) = of_laws.answer(evidence_on_laws(tmp_path, without=["R8"]))
    assert said.startswith("The evidence on record is that of an earlier form")


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
