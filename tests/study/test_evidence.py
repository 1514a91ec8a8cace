"""Verdicts come from the evidence alone, each from the variant that stands for its claim."""

import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch

from dtda_lib.data import sources
from dtda_lib.study import beside, due
from dtda_lib.study.claims import INCONCLUSIVE, NOT_TESTED, PARTLY, Claim, condition
from dtda_lib.study.evidence import UNTESTED, load
from dtda_lib.study.headlines import HEADLINES, STUDY, headline, headline_of
from dtda_lib.study.pages.results import results_table

ROOT = Path(__file__).parents[2]
EVIDENCE = load(ROOT)
ENTRY = {
    "id": "B9",
    "claim": "more checkpoints help",
    "source": "here",
    "status": "confirmed",
    "statistic": "change of the mean p",
    "estimate": -0.06,
    "ci": [-0.1, -0.02],
    "n": 5,
    "setting": "digits",
    "estimand": "law",
    "rule": "confirmed if below 0",
    "paper_value": None,
}


def put(root, profile, notebook, *entries, **file):
    """Write down claims as the check cell of a notebook does; an old file holds no more."""
    path = root / "figures" / profile / f"{notebook}.claims.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    claims = [ENTRY | entry for entry in entries]
    path.write_text(json.dumps({"notebook": notebook, "claims": claims} | file))


def claim(**changed):
    plain = ENTRY | changed
    return Claim(**plain | {"ci": plain["ci"] and tuple(plain["ci"])})


# --- headlines -----------------------------------------------------------------------------------


def test_every_claim_of_the_papers_has_one_headline():
    own = [line.id for line in HEADLINES if line.source == STUDY]
    assert own == [f"R{i}" for i in range(1, len(own) + 1)]
    first = [f"B{i}" for i in range(1, 8)] + ["B7b"] + [f"B{i}" for i in range(8, 11)]
    wanted = first + own + [f"C{i}" for i in range(1, 14)]
    assert [line.id for line in HEADLINES] == wanted
    for line in HEADLINES:
        assert line.covers(line.key), line.id
        assert headline(line.key) is line


@pytest.mark.parametrize(
    ("claim_id", "name"),
    [
        ("C12-concrete-if_ggn", "C12"),
        ("C12-concrete-metagradient", None),  # speaks against it
        ("C12-convex", None),  # a testbed that was built to show it
        ("C2-limit", "C2"),
        ("C2-step", None),
        ("C10-same-clean", "C10"),
        ("C10-order-same-clean", None),  # a part of it
        ("C6-variance", "C6"),
        ("C6-w2-lone", None),
        ("C11-mean-own", "C11"),  # the paper compares it
        ("C11-mean-variance", None),  # the paper does not
        ("B7-local", None),
        ("T1", None),
    ],
)
def test_only_the_same_claim_is_a_variant(claim_id, name):
    found = headline_of(claim_id)
    assert (found.id if found else None) == name


def test_no_claim_is_a_variant_of_two_headlines():
    for name in EVIDENCE.findings:
        assert sum(line.covers(name) for line in HEADLINES) <= 1


def test_every_pattern_of_what_stands_aside_is_used():
    for line in HEADLINES:
        for pattern in line.aside:
            assert any(fnmatchcase(name, pattern) for name in EVIDENCE.findings), pattern


def test_what_the_evidence_leaves_open_says_what_would_decide_it():
    open_ones = [one for one in EVIDENCE.standings() if one.verdict in (INCONCLUSIVE, NOT_TESTED)]
    assert [one.headline.id for one in open_ones if not one.headline.needs] == []


# --- evidence ------------------------------------------------------------------------------------


def test_only_the_published_sizes_give_verdicts(tmp_path):
    put(tmp_path, "default", "01_x", {}, {"id": "B1-code", "status": "refuted"})
    put(tmp_path, "paper", "01_x", {"status": "partly", "estimate": 0.5, "ci": None})
    put(tmp_path, "smoke", "01_x", {"id": "B2"})
    evidence = load(tmp_path)
    assert (evidence["B9"].verdict, evidence["B9"].claim.estimate) == ("partly", 0.5)
    assert (evidence["B1-code"].verdict, evidence["B1-code"].claim.status) == (
        NOT_TESTED,
        "refuted",
    )
    assert evidence.standing("B1").told == UNTESTED
    assert evidence.standing("B1").number.startswith("at `default`: -6.0 %")
    assert "B2" not in evidence
    with pytest.raises(KeyError, match="did you mean 'B9'"):
        evidence["B99"]


def test_a_verdict_by_another_rule_is_none(tmp_path):
    put(tmp_path, "paper", "01_x", {"status": "confirmed"}, {"id": "B2", "status": "partly"})
    put(tmp_path, "default", "01_x", {"status": "refuted", "rule": "below 2"}, {"id": "B2"})
    evidence = load(tmp_path)
    assert (evidence["B9"].verdict, evidence["B9"].profile) == (NOT_TESTED, "default")
    assert evidence["B2"].verdict == "partly"
    assert (evidence.profile("01_x"), evidence.outdated("01_x")) == ("default", True)
    for statistic in (
        "its fall with 4 runs",
        "its fall with 9 runs (12.5; -1e-3); more",
        "its fall with 9 runs: second 0.2; first 0.1",  # the larger first
    ):
        put(
            tmp_path,
            "paper",
            "01_x",
            {"statistic": "its fall with 120 runs (3): first 1; second 0"},
            {"id": "B2"},
        )
        put(tmp_path, "default", "01_x", {"statistic": statistic}, {"id": "B2"})
        evidence = load(tmp_path)
        assert (evidence.profile("01_x"), evidence.outdated("01_x")) == ("paper", False)
    put(tmp_path, "default", "01_x", {"statistic": "its rise with 120 runs"}, {"id": "B2"})
    assert load(tmp_path)["B9"].verdict == NOT_TESTED
    put(tmp_path, "default", "02_y", {"id": "B3-if_lissa"})
    assert (load(tmp_path).profile("02_y"), load(tmp_path).outdated("02_y")) == ("default", False)


def test_a_headline_gets_no_other_variants_verdict(tmp_path):
    put(tmp_path, "paper", "04_x", {"id": "C6-variance", "status": "confirmed"})
    standing = load(tmp_path).standing("C6")
    assert (standing.told, standing.number, standing.notebooks) == (UNTESTED, "-", ("04_x",))
    put(tmp_path, "paper", "04_x", {"id": "C6-variance"}, {"id": "C6-w2", "status": "inconclusive"})
    standing = load(tmp_path).standing("C6")
    assert standing.verdict == "inconclusive"
    assert [one.claim.id for one in standing.variants] == ["C6-variance", "C6-w2"]


def test_two_notebooks_may_not_state_one_claim(tmp_path):
    put(tmp_path, "paper", "01_x", {})
    put(tmp_path, "default", "02_y", {})
    with pytest.raises(ValueError, match="B9 is stated by 01_x and 02_y"):
        load(tmp_path)


# --- this run beside the evidence ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ({"ci": [-0.2, -0.05]}, beside.AGREE),
        ({"ci": [-0.2, 0.05], "status": "inconclusive"}, beside.TOO_SMALL),
        ({"ci": [0.01, 0.05], "status": "refuted"}, beside.DIFFER),
        ({"ci": [-0.02, 0.05]}, beside.AGREE),  # they touch
        ({"ci": [-0.019, 0.05]}, beside.DIFFER),
        ({"ci": [-0.3, -0.1]}, beside.AGREE),
        ({"ci": [-0.3, -0.101]}, beside.DIFFER),
        ({"ci": [0.01, 0.05], "status": "inconclusive"}, beside.DIFFER),
        ({"ci": [0.01, 0.05], "setting": "another"}, beside.ELSEWHERE),
        ({"ci": [-0.2, -0.05], "setting": "another"}, beside.AGREE),
        ({"ci": None}, beside.NO_INTERVAL),
        ({"id": "B9-new"}, beside.NO_EVIDENCE),
    ],
)
def test_a_run_is_compared_by_its_intervals(tmp_path, run, told):
    put(tmp_path, "paper", "01_x", {})
    one = claim(**run)
    assert beside.compared(one, load(tmp_path).findings.get(one.id)) == told


def test_there_is_nothing_to_agree_with_where_the_evidence_has_no_verdict_or_interval(tmp_path):
    put(tmp_path, "default", "01_x", {})
    assert beside.compared(claim(), load(tmp_path)["B9"]) == beside.NO_EVIDENCE
    put(tmp_path, "paper", "01_x", {"ci": None})
    assert beside.compared(claim(), load(tmp_path)["B9"]) == beside.NO_INTERVAL
    assert beside.compared(claim(ci=None), load(tmp_path)["B9"]) == beside.NO_INTERVAL


def test_a_run_says_in_its_row_what_it_claims_and_measures(tmp_path):
    put(tmp_path, "paper", "01_x", {})
    head, _, row, *_ = beside.beside_page([claim()], load(tmp_path), "smoke").splitlines()
    line = next(line for line in HEADLINES if line.id == "B9")
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert [name.strip("| ") for name in cells] == [
        "claim",
        "evidence",
        "this run (`smoke`)",
        "agreement",
        "measured",
    ]
    told = "-0.060 [-0.100, -0.020]"
    assert [cell.strip("| ") for cell in cells.values()] == [
        line.words,
        f"{told}, **confirmed**, digits",
        f"{told}, confirmed, digits",
        beside.AGREE,
        line.number,
    ]
    assert "with their rules" in beside.page_on_file(load(tmp_path), "01_x", "paper")
    assert beside.page_on_file(load(tmp_path), "01_x", "smoke") is None


@pytest.mark.parametrize("status", ["confirmed", "inconclusive"])
def test_what_would_decide_an_open_claim_is_said_beside_it(tmp_path, status):
    put(tmp_path, "paper", "01_x", {"status": status})
    needs = next(line.needs for line in HEADLINES if line.id == "B9")
    assert (needs in beside.beside_page([claim()], load(tmp_path), "default")) == (
        status == "inconclusive"
    )


@pytest.mark.parametrize(
    ("statistic", "told"),
    [
        ("share (t-test) of pairs (10 a class 0.4; 50 a class 0.1); sd (3)",
         "10 a class 0.4; 50 a class 0.1"),
        ("share of queries; by size: 1 % 0.5; 5 % 0.3", "by size: 1 % 0.5; 5 % 0.3"),
        ("F over F: even 0.1, uneven 0.2", "even 0.1, uneven 0.2"),
        ("share of pairs", ""),
    ],
)  # fmt: skip
def test_what_holds_partly_says_on_what_it_depends(statistic, told):
    assert condition(claim(status=PARTLY, statistic=statistic)) == told
    assert condition(claim(status="refuted", statistic=statistic)) == ""


def test_every_partial_verdict_on_record_says_on_what_it_depends():
    partial = [one.claim for one in EVIDENCE.findings.values() if one.claim.status == PARTLY]
    assert partial
    assert [one.id for one in partial if not condition(one)] == []


@pytest.mark.parametrize("status", ["partly", "confirmed"])
def test_tables_say_what_a_partial_verdict_depends_on(tmp_path, status):
    parts = {"status": status, "statistic": "p (10 a class 0.4; 50 a class 0.1)"}
    put(tmp_path, "paper", "01_x", parts)
    told = f"**{status}**" + (" (10 a class 0.4; 50 a class 0.1)" if status == "partly" else "")
    evidence = load(tmp_path)
    [row] = [r for r in results_table(evidence, "").splitlines() if r.startswith("| B9 ")]
    assert f"| {told} |" in row
    beside_it = beside.beside_page([claim(**parts)], evidence, "default").partition("<details>")[0]
    assert f"{told}, digits |" in beside_it
    assert f"{told.replace('*', '')}, digits |" in beside_it
    put(tmp_path, "default", "01_x", parts | {"rule": "another"})  # no verdict, no condition
    assert "10 a class" not in results_table(load(tmp_path), "")


def test_what_a_run_finds_is_said_without_keys_and_details():
    one = claim(statistic="late if_ggn (by rate 0.1: 2; 0.2: 3) in all; the end is 4")
    other = claim(claim="it is noise", statistic="gain (theory)", ci=None, status="not tested")
    assert beside.verdicts([one, other]).data.split("\n") == [
        "* More checkpoints help. Late Gauss-Newton IF in all: "
        "-0.060 [-0.100, -0.020], **confirmed** in this run (B9).",
        "* It is noise. Gain (theory): -0.060, **not tested** in this run (B9).",
    ]


def test_variants_of_a_claim_share_a_bullet():
    alike = [claim(id=f"B9-{name}", ci=None) for name in "ab"]
    said = beside.verdicts(alike).data
    assert said.count("Change of the mean p: -0.060, **confirmed** in this run (B9-a); ") == 1
    assert said.endswith("; -0.060, **confirmed** in this run (B9-b).")
    unlike = [alike[0], claim(id="B9-c", ci=None, statistic="its change")]
    assert "(B9-a); Its change: -0.060," in beside.verdicts(unlike).data


def test_a_run_is_shown_beside_the_evidence_and_its_variants_are_folded(tmp_path):
    put(tmp_path, "paper", "01_x", {})
    mine = [claim(estimate=-0.1, ci=[-0.2, -0.05]), claim(id="B9-other")]
    evidence = load(tmp_path)
    table, _, folded = beside.beside_page(mine, evidence, "default").partition("<details>")
    assert len(table.strip().splitlines()) == 3  # head, rule and the one headline
    assert "-0.060 [-0.100, -0.020], **confirmed**, digits" in table
    assert f"-0.10 [-0.20, -0.05], confirmed, digits | {beside.AGREE} |" in table
    assert "| B9-other |" in folded
    paper = beside.beside_page(mine, evidence, "paper")
    assert paper.startswith("This run is the evidence once it is committed.")
    assert beside.AGREE not in paper


# --- what is due ---------------------------------------------------------------------------------

CELLS = {
    "import": "import numpy as np\nfrom dtda_lib.runs.removal import nothing\n"
    "from dtda_lib.study.figures import Exporter",
    "numbers": "values = nothing(3)\nsum_of = np.sum([1, 2])",
    "shown": "export(fig, 'a', data=values, caption='A caption.')\nvalues",
    "claim": "for one in values:\n    checks.claim(one)",
}


def notebook(path, **cells):
    sources = CELLS | cells
    written = [{"cell_type": "code", "metadata": {}, "source": [text]} for text in sources.values()]
    path.write_text(json.dumps({"cells": written}))
    return path


def test_the_code_of_numbers_is_what_computes(tmp_path):
    path = tmp_path / "x.ipynb"
    before = due.code_of(notebook(path))
    assert due.entry_points(path) == ["dtda_lib.runs.removal.nothing"]
    for same in (
        {"shown": "export(fig, 'a', data=values, caption='Another one.')"},
        {"numbers": "# a comment\nvalues = nothing(3)\nsum_of = np.sum([1,  2])"},
        {"import": CELLS["import"].replace("import numpy as np\n", "") + "\nimport numpy as np"},
    ):
        assert due.code_of(notebook(path, **same)) == before
    for other in (
        {"numbers": "values = nothing(4)\nsum_of = np.sum([1, 2])"},
        {"claim": "for one in values[1:]:\n    checks.claim(one)"},
        {"claim": CELLS["claim"] + "\nchecks.claim(values[0])"},
        {"import": CELLS["import"].replace("nothing", "leave_one_out as nothing")},
    ):
        assert due.code_of(notebook(path, **other)) != before


def test_the_code_that_is_used_counts_wherever_it_lies(tmp_path, monkeypatch):
    path = notebook(tmp_path / "x.ipynb")
    before = due.code_of(path)
    monkeypatch.setattr("dtda_lib.runs.removal.nothing", test_a_run_is_compared_by_its_intervals)
    assert due.code_of(path) != before


@pytest.mark.parametrize(
    ("number", "name"),
    list(enumerate(["cifar10", "cnn3l", "published_adam", "query_margin", "trak", "if_ggn", "w2"])),
    ids=str,
)
def test_of_tables_what_a_notebook_names_counts_and_nothing_else(
    tmp_path, monkeypatch, number, name
):
    def other():
        return 3

    unnamed = notebook(tmp_path / "x.ipynb")
    named = notebook(tmp_path / "y.ipynb", numbers=f"values = nothing({name!r})")
    before = [due.code_of(unnamed), due.code_of(named)]
    monkeypatch.setitem(due._TABLES[number], "tried_here", other)
    assert [due.code_of(unnamed), due.code_of(named)] == before
    monkeypatch.setitem(due._TABLES[number], name, other)
    assert due.code_of(unnamed) == before[0]
    assert due.code_of(named) != before[1]


def test_which_name_stands_for_what_counts(tmp_path, monkeypatch):
    path = notebook(tmp_path / "x.ipynb", numbers="values = nothing('trak', 'influence_pinv')")
    before, table = due.code_of(path), due.ESTIMATORS
    swapped = {"trak": table["influence_pinv"], "influence_pinv": table["trak"]}
    for name, value in swapped.items():
        monkeypatch.setitem(table, name, value)
    assert due.code_of(path) != before


def test_what_the_published_parameters_name_counts(tmp_path, monkeypatch):
    path = notebook(tmp_path / "x.ipynb")
    monkeypatch.setattr(due, "_published", lambda notebook: "{'model': 'cnn3l'}")
    before = due.code_of(path)
    monkeypatch.setitem(due.MODELS, "cnn3l", torch.nn.Identity)
    assert due.code_of(path) != before


def test_parameters_are_read_where_they_are_declared():
    assert "'sizes': (10, 20, 50)" in due._published(Path("01_noise_vs_influence.ipynb"))
    assert due._published(Path("x.ipynb")) == ""


def test_the_code_that_is_used_counts_the_same_whatever_has_been_imported(monkeypatch):
    path = ROOT / "notebooks" / "01_noise_vs_influence.ipynb"  # which reads files of the package
    monkeypatch.setattr(sources, "_SCHEMAS", [])
    before = due.code_of(path)
    sources._SCHEMAS.append(torch.library.Library("torchvision_tried", "FRAGMENT"))
    assert due.code_of(path) == before


def test_the_code_that_is_used_counts_the_same_in_every_checkout(tmp_path):
    path = ROOT / "notebooks" / "01_noise_vs_influence.ipynb"  # which reads files of the package
    shutil.copytree(ROOT / "dtda_lib", tmp_path / "dtda_lib")
    lines = f"from pathlib import Path; print(code_of(Path({str(path)!r})))"
    told = subprocess.run(
        [sys.executable, "-c", f"from dtda_lib.study.due import code_of; {lines}"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == due.code_of(path)


@pytest.fixture
def small(tmp_path):
    """A study of one notebook, whose evidence is as new as its code."""
    (tmp_path / "notebooks").mkdir()
    path = notebook(tmp_path / "notebooks" / "01_noise_vs_influence.ipynb")
    settings = due.resolve(due.parameters_of(path.stem), profile="paper", device="cpu")
    put(tmp_path, "paper", path.stem, {}, code=due.code_of(path), spec_hash=settings.hash)
    return tmp_path


def listed(root, **reasons):
    (root / "figures" / "paper" / "due.json").write_text(json.dumps(reasons))
    return due.problems(root)


def test_evidence_as_new_as_its_code_is_not_due(small):
    assert due.problems(small) == []
    needless = listed(small, **{"01_noise_vs_influence": "out of habit"})
    assert needless == ["01_noise_vs_influence is listed and not due"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"code": "0"}, "code of its numbers has changed"),
        ({"spec_hash": "0"}, "published sizes have changed"),
        ({"code": None}, "does not say which code"),
    ],
)
def test_evidence_older_than_what_decides_it_is_due(small, change, told):
    path = small / "figures" / "paper" / "01_noise_vs_influence.claims.json"
    file = {k: v for k, v in (json.loads(path.read_text()) | change).items() if v is not None}
    path.write_text(json.dumps(file))
    assert told in due.problems(small)[0]
    assert listed(small, **{"01_noise_vs_influence": "code moved"}) == []
    assert "without a reason" in listed(small, **{"01_noise_vs_influence": ""})[0]


def test_claims_that_only_default_has_tested_are_due(small):
    put(small, "default", "01_noise_vs_influence", {}, {"id": "B9-new"})
    assert "claims tested at default alone: B9-new" in due.problems(small)[0]


def test_committed_evidence_is_as_new_as_its_code_or_listed_as_due():
    assert due.problems(ROOT) == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")))
def test_the_code_of_every_notebooks_numbers_can_be_followed(path):
    assert len(due.code_of(path)) == 64
    assert due.entry_points(path)
