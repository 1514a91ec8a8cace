"""The scoreboard: README, claims files and notebook 12 say the same, and only what is on record."""

import json
import re
from fnmatch import fnmatchcase

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from dtda_lib.experiments.scoreboard import tables as tables
from dtda_lib.study.artefacts import ROOT
from dtda_lib.study.claims import STATUSES
from dtda_lib.study.pages import index
from dtda_lib.study.pages import scoreboard as board
from dtda_lib.study.pages.gallery import all_claims, render_readme

NOTEBOOK = ROOT / "notebooks" / "12_scoreboard.ipynb"
FOUND = all_claims(ROOT)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def found(**statuses):
    """Claims of those ids (underscores for hyphens) and statuses, all of notebook 04 at paper."""
    return [
        ("paper", "04_x", {"id": name.replace("_", "-"), "status": s, "estimate": 0.5, "ci": None})
        for name, s in statuses.items()
    ]


def row(items, name):
    return next(line for line in board.scoreboard(items) if line["id"] == name)


# --- what a row says -----------------------------------------------------------------------------


def test_every_claim_of_the_papers_has_one_row():
    wanted = [f"B{i}" for i in range(1, 11)] + [f"R{i}" for i in range(1, 6)]
    wanted += [f"C{i}" for i in range(1, 14)]
    assert [line.id for line in board.HEADLINES] == wanted
    assert [line["id"] for line in board.scoreboard([])] == wanted


def test_a_claim_without_results_is_not_tested():
    assert row([], "C6") == {
        "id": "C6",
        "claim": "Mean and variance influence pick different points",
        "status": "**not tested**",
        "number": "-",
        "notebooks": "-",
    }


def test_one_variant_shows_its_status_and_number():
    line = row(found(B9="refuted"), "B9")
    assert line["status"] == "**refuted**"
    assert line["number"].startswith("0.5: ")
    assert line["notebooks"] == "[04](notebooks/04_x.ipynb)"


def test_variants_are_counted_and_the_shown_one_comes_first():
    several = found(C6_w2="refuted", C6_variance="partly", C6_x="refuted", C60="confirmed")
    assert row(several, "C6")["status"] == "**partly**; all variants: 1 partly, 2 refuted"
    alike = found(C6_w2="partly", C6_variance="partly")
    assert row(alike, "C6")["status"] == "**partly** (all 2 variants)"


def test_a_missing_key_variant_shows_no_number_and_is_reported():
    renamed = found(C6_w2="partly", C6_sd="refuted")
    assert row(renamed, "C6")["number"] == "-"
    assert board.misfits(renamed) == ["C6-variance"]
    assert board.misfits(found(C6_variance="partly")) == []


@pytest.mark.parametrize(
    ("claim_id", "headline"),
    [
        ("C12-concrete-if_ggn", "C12"),
        ("C12-concrete-metagradient", None),  # speaks against it
        ("C2-strong", "C2"),
        ("C2-step-equal-time", None),
        ("C10-same-clean", "C10"),
        ("C10-order-same-clean", None),  # a part of it
        ("C6-w2-lone", "C6"),
        ("C6-rif-predicted", None),
        ("C11-mean-own", None),
        ("T1", None),
    ],
)
def test_only_the_same_claim_is_a_variant(claim_id, headline):
    assert board.headline_of(claim_id) == headline
    one = found(**{claim_id.replace("-", "_").replace("if_ggn", "ifggn"): "confirmed"})
    assert sum(board.further_checks(one).values()) == (headline is None)


def test_no_claim_is_a_variant_of_two():
    for _, _, claim in FOUND:
        assert sum(line.covers(claim["id"]) for line in board.HEADLINES) <= 1


def test_every_pattern_of_what_stands_aside_is_used():
    ids = [claim["id"] for _, _, claim in FOUND]
    for line in board.HEADLINES:
        for pattern in line.aside:
            assert any(fnmatchcase(name, pattern) for name in ids), (line.id, pattern)


def test_what_belongs_to_no_headline_is_counted():
    items = found(T1="confirmed", T1_x="confirmed", fading="refuted", B1="refuted")
    assert board.counted(board.further_checks(items)) == "2 confirmed, 1 refuted"


# --- what is committed ---------------------------------------------------------------------------


def test_committed_claims_fit_the_headlines():
    assert board.misfits(FOUND) == []


def test_a_doctored_claims_file_turns_the_readme_red(tmp_path):
    for path in (ROOT / "figures").rglob("*.claims.json"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    assert render_readme(tmp_path) == (tmp_path / "README.md").read_text()
    profile, notebook, claim = next(item for item in FOUND if item[2]["id"] == "B3-if_ggn")
    path = tmp_path / "figures" / profile / f"{notebook}.claims.json"
    file = json.loads(path.read_text())
    for one in file["claims"]:
        if one["id"] == claim["id"]:
            one["status"] = "refuted" if claim["status"] != "refuted" else "confirmed"
    path.write_text(json.dumps(file))
    assert render_readme(tmp_path) != (tmp_path / "README.md").read_text()


@pytest.fixture(scope="module")
def shown():
    """The Markdown tables that the committed notebook 12 displays, as lists of lines."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    outputs = [o for cell in cells for o in cell.get("outputs", [])]
    texts = ["".join(o.get("data", {}).get("text/markdown", "")) for o in outputs]
    return [text.splitlines() for text in texts if text.startswith("| id |")]


def test_the_notebook_shows_the_claims_on_record(shown):
    headlines, everything = shown
    assert everything == tables.claims_table(FOUND, ROOT).data.splitlines()
    assert headlines == tables.headline_table(FOUND).data.splitlines()


def test_the_index_of_notebook_00_shows_the_claims_on_record():
    notebook = json.loads((ROOT / "notebooks" / "00_conventions.ipynb").read_text())
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    texts = ["".join(o.get("data", {}).get("text/markdown", "")) for o in outputs]
    entries = index.entries(ROOT)
    assert index.index_table(entries).data in texts
    assert index.findings_table(entries).data in texts


@pytest.mark.parametrize("path", sorted((ROOT / "figures").glob("*/*.claims.json")), ids=str)
def test_references_and_claims_files_agree(path):
    file = json.loads(path.read_text())
    reference = ROOT / "tests" / "reference" / f"{file['notebook']}.json"
    if not file["claims"]:
        pytest.skip("this notebook states no claims")
    known = json.loads(reference.read_text())[file["profile"]]["claims"]
    # The reference may hold more: claims on data that were not there this time.
    told = {claim["id"]: claim["status"] for claim in file["claims"]}
    assert told == {name: known.get(name) for name in told}


@pytest.mark.parametrize("name", sorted({notebook for _, notebook, _ in FOUND}))
def test_profiles_state_the_same_claims(name):
    """One that was run before its notebook changed shows here."""
    files = [ROOT / "figures" / p / f"{name}.claims.json" for p in ("default", "paper")]
    found = [json.loads(path.read_text())["claims"] for path in files if path.exists()]
    rules = [{claim["id"]: claim["rule"] for claim in claims} for claims in found]
    shared = set.intersection(*map(set, rules))
    for one in rules[1:]:
        assert {key: one[key] for key in shared} == {key: rules[0][key] for key in shared}


def test_every_rule_is_told_in_full():
    pages = [(ROOT / "figures" / "README.md").read_text(), NOTEBOOK.read_text()]
    for _, _, claim in FOUND:
        told = " ".join(claim["rule"].split())
        assert told in pages[0]
        assert json.dumps(told, ensure_ascii=False)[1:-1] in pages[1]


# Claims that no figure shows: what they rest on is a table of their notebook.
WITHOUT_FIGURE = {"C12-convex", "T12-push", "T-monge"}


def test_every_claim_has_a_figure():
    seen = {name for _, _, name in tables.figures_of(ROOT)}
    assert {claim["id"] for _, _, claim in FOUND} - seen == WITHOUT_FIGURE


def test_every_figure_that_the_notebook_links_exists(shown):
    links = re.findall(r"\]\((\.\./figures/[^)]+)\)", "\n".join(shown[1]))
    assert len(links) > 100
    assert not [link for link in links if not (NOTEBOOK.parent / link).exists()]


# --- tables and figures --------------------------------------------------------------------------


def test_statuses_are_counted_by_headline():
    counts = tables.status_counts(found(C6_w2="refuted", C6_variance="partly", T1="partly"))
    assert counts["variants"].sum() == 2
    assert len(counts) == len(board.HEADLINES) * len(STATUSES)
    fig, drawn = tables.status_bars(counts)
    widths = [patch.get_width() for patch in fig.axes[0].patches]
    assert sum(widths) == pytest.approx(1)  # one claim was tested, and its bar is whole
    pd.testing.assert_frame_equal(drawn, counts)


def test_lds_are_read_at_the_best_profile(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run `\./run_all\.sh 08`"):
        tables.lds_scores(tmp_path)
    columns = "index,setting,size,metric,method,lds,low,high,error,ceiling,truth_ceiling,null"
    for profile, lds in (("default", 0.25), ("paper", 0.5)):
        path = tmp_path / "figures" / profile / "08_evaluating_under_noise-lds_x.csv"
        path.parent.mkdir(parents=True)
        rows = [f"0,x,half,{m},grad_dot,{lds},0.1,0.9,0.1,0.95,0.97,0.05" for m in tables.TOLD]
        path.write_text("\n".join([columns, *rows]))
    profile, scores = tables.lds_scores(tmp_path)
    assert profile == "paper"
    assert set(scores["lds"]) == {0.5}
    told = tables.lds_table(scores)
    assert list(told.columns) == ["setting", "size", "method", "mean", "variance", "W2"]
    assert told["method"].tolist() == ["grad-dot"]
    assert told["mean"].tolist() == ["0.50 [0.10, 0.90] of 0.95"]
    fig, drawn = tables.lds_against_lds(scores)
    assert len(fig.axes[0].containers) == 1
    assert set(drawn["metric"]) == {"mean", "log_variance_ratio"}
