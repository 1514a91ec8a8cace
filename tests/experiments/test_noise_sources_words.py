"""Sentences of notebook 03 follow its tables."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dtda_lib.experiments.sources_of_noise import words
from dtda_lib.study.evidence import load

ROOT = Path(__file__).parents[2]
NOTEBOOK = "03_sources_of_noise"


# --- the answer ----------------------------------------------------------------------------------


@pytest.fixture
def paper(tmp_path):
    """A copy of the notebook's evidence, to be doctored."""
    folder = tmp_path / "figures" / "paper"
    folder.mkdir(parents=True)
    for path in (ROOT / "figures" / "paper").glob(f"{NOTEBOOK}*"):
        if path.suffix in {".csv", ".json"}:
            shutil.copy(path, folder)
    return folder


def told(paper):
    return words.answer(load(paper.parents[1]))


def set_claim(paper, claim_id, **fields):
    path = paper / f"{NOTEBOOK}.claims.json"
    content = json.loads(path.read_text())
    next(claim for claim in content["claims"] if claim["id"] == claim_id).update(fields)
    path.write_text(json.dumps(content))


def set_rows(paper, figure, query, **values):
    path = paper / f"{NOTEBOOK}-{figure}.csv"
    table = pd.read_csv(path)
    table.loc[table.query(query).index, list(values)] = list(values.values())
    table.to_csv(path, index=False)


def test_the_answer_is_five_sentences_without_keys(paper):
    sentences = told(paper)
    assert len(sentences) == 5
    assert "_" not in " ".join(sentences)


def test_the_source_of_noise_is_named_where_one_has_most_of_it(paper):
    assert "has no single source" in told(paper)[0]
    one = "method == 'loo' and size == 20 and quantity == 'order'"
    set_rows(paper, "components", one, estimate=0.9, low=0.8, high=1.0)
    assert "comes mostly from batch order: " in told(paper)[0]
    assert "batch order 90 % [80, 100]" in told(paper)[0]


@pytest.mark.parametrize(
    ("absolute", "relative", "verdict"),
    [
        ([0.1, 0.3], [2.0, 4.0], "More data lower noise but raise it relative to influence"),
        ([1.1, 1.3], [0.5, 2.0], "raise noise but do not measurably change it relative"),
        ([0.1, 0.3], [0.1, 0.3], "More data lower noise, in absolute terms and relative to"),
    ],
)
def test_more_data_are_told_by_both_intervals(paper, absolute, relative, verdict):
    set_claim(paper, "B5", estimate=sum(absolute) / 2, ci=absolute)
    set_claim(paper, "B5-snr", estimate=sum(relative) / 2, ci=relative)
    assert verdict in told(paper)[1]
    assert "with 600 training points instead of 30" in told(paper)[1]


@pytest.mark.parametrize(
    ("ci", "verdict"),
    [
        ([0.1, 0.2], "Larger networks are noisier: "),
        ([0.5, 2.0], "Larger networks are not measurably noisier: "),
        ([2.0, 3.0], "Larger networks are less noisy: "),
    ],
)
def test_larger_networks_are_told_by_their_interval(paper, ci, verdict):
    set_claim(paper, "B6", estimate=sum(ci) / 2, ci=ci)
    assert told(paper)[2].startswith(verdict)


def test_fit_matters_only_where_intervals_are_apart(paper):
    assert told(paper)[3].startswith("Fit matters, too: ")
    set_rows(paper, "models", "setting == 'ViT+LoRA' and quantity == 'snr'", low=0.3)
    assert told(paper)[3].startswith("Fit is not shown to matter: ")


def test_crops_are_told_in_two_digits(paper):
    row = "what == 'shift' and way == 'other'"
    set_rows(paper, "crops", row, ratio=883.0, ratio_low=50.8, ratio_high=15300.0)
    assert "multiply the variance of one shift by 880 [51, 15,000]." in told(paper)[4]
