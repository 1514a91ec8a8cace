"""Evidence is kept where code has changed, and only if no number of `default` has."""

import copy
import json
import subprocess
from pathlib import Path

import pytest

from dtda_lib.study import due, renewal
from dtda_lib.study.artefacts import is_sealed, sealed, to_json
from dtda_lib.study.provenance import git_state
from dtda_lib.study.settings import StudyError

NOTEBOOK = "01_noise_vs_influence"
BLOCK = {
    "values": {
        "share": {"value": 0.5, "rtol": 0.0, "atol": 0.01},
        "runs": {"value": 12, "rtol": 0.0, "atol": 0.0},
    },
    "claims": {"B1": "confirmed"},
}
CELL = {"cell_type": "code", "metadata": {}, "source": ["values = 1"]}


def git(root: Path, *command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    called = ["git", *identity, *command]
    return subprocess.run(called, cwd=root, check=True, capture_output=True, text=True).stdout


def reference(root: Path, block: dict) -> None:
    path = root / "tests" / "reference" / f"{NOTEBOOK}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json({"default": block}))


def on_file(root: Path) -> dict:
    return json.loads((root / "figures" / "paper" / f"{NOTEBOOK}.claims.json").read_text())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with evidence, whose code has changed since."""
    cells = tmp_path / "notebooks" / f"{NOTEBOOK}.ipynb"
    cells.parent.mkdir()
    cells.write_text(json.dumps({"cells": [CELL]}))
    reference(tmp_path, BLOCK)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "references")
    settings = due.resolve(due.parameters_of(NOTEBOOK), profile="paper", device="cpu")
    made = {
        "notebook": NOTEBOOK,
        "profile": "paper",
        "spec_hash": settings.hash,
        "claims": [],
        "code": "0",
        "commit": f"commit {git(tmp_path, 'rev-parse', '--short', 'HEAD').strip()}",
    }
    path = tmp_path / "figures" / "paper" / f"{NOTEBOOK}.claims.json"
    path.parent.mkdir(parents=True)
    path.write_text(to_json(sealed(made)))
    return tmp_path


def test_evidence_is_kept_and_says_for_what(root):
    assert NOTEBOOK in due.stale(root)
    before = on_file(root)
    assert "no number of default has changed" in renewal.renew(root, NOTEBOOK)
    after = on_file(root)
    assert due.stale(root) == {}
    assert is_sealed(after)
    assert after["kept"]["code"] == "0"
    assert {name: after[name] for name in renewal._WRITTEN} == {
        name: before[name] for name in renewal._WRITTEN
    }
    assert "as new as its code" in renewal.renew(root, NOTEBOOK)
    assert after["kept"]["for"] == git_state(NOTEBOOK)


def test_values_may_move_within_their_bands_and_be_joined_by_others(root):
    block = copy.deepcopy(BLOCK)
    block["values"]["share"]["value"] = 0.509
    block["values"]["more"] = {"value": 1, "rtol": 0.0, "atol": 0.0}
    reference(root, block)
    renewal.renew(root, NOTEBOOK)
    assert due.stale(root) == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda b: b["values"]["share"].update(value=0.512), r"share: 0\.5 -> 0\.512"),
        (lambda b: b["values"]["share"].update(value=0.53, atol=1.0), r"share: 0\.5 -> 0\.53"),
        (lambda b: b["values"]["runs"].update(value=13), "runs: 12 -> 13"),
        (lambda b: b["values"].pop("runs"), "runs: 12 -> None"),
        (lambda b: b["claims"].update(B1="partly"), "claim B1: confirmed -> partly"),
        (lambda b: b["claims"].pop("B1"), "claim B1: confirmed -> None"),
    ],
    ids=["moved", "wider band", "another count", "gone", "another verdict", "claim gone"],
)
def test_evidence_whose_numbers_have_changed_is_not_kept(root, change, told):
    block = copy.deepcopy(BLOCK)
    change(block)
    reference(root, block)
    before = on_file(root)
    with pytest.raises(StudyError, match=told):
        renewal.renew(root, NOTEBOOK)
    assert on_file(root) == before


def test_at_most_three_changed_numbers_are_told():
    band = {"value": 1.0, "rtol": 0.0, "atol": 0.0}
    then = {"values": dict.fromkeys("abc", band), "claims": {"B1": "confirmed"}}
    told = renewal.changed_numbers(then, {"values": {}, "claims": {}})
    assert told == ["a: 1.0 -> None", "b: 1.0 -> None", "c: 1.0 -> None"]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"spec_hash": "0"}, "published sizes of .* have changed"),
        ({"commit": "commit 0000000"}, "commit 0000000, which made .* is not in this checkout"),
        ({"code": None}, "does not say which code made it"),
        ({"commit": None}, "does not say which code made it"),
    ],
)
def test_evidence_of_other_sizes_or_unknown_origin_is_not_kept(root, entry, told):
    path = root / "figures" / "paper" / f"{NOTEBOOK}.claims.json"
    file = {name: value for name, value in (on_file(root) | entry).items() if value is not None}
    path.write_text(to_json(sealed(file)))
    with pytest.raises(StudyError, match=told):
        renewal.renew(root, NOTEBOOK)


def test_the_command_lists_keeps_and_refuses(root, monkeypatch, capsys):
    monkeypatch.setattr(renewal, "study_root", lambda: root)
    assert renewal.main([]) == 0
    assert "the code of its numbers has changed" in capsys.readouterr().out
    assert renewal.main(["01"]) == 0
    assert "01_noise_vs_influence: kept" in capsys.readouterr().out
    assert renewal.main(["02"]) == 1
    assert "02 has no evidence" in capsys.readouterr().err
