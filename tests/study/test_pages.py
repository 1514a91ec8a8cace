"""Generated pages say what the evidence says, and only that: README, gallery, notebooks' cells."""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from dtda_lib.experiments.noise_vs_influence import words
from dtda_lib.experiments.scoreboard import tables
from dtda_lib.study import pages
from dtda_lib.study.claims import NOT_TESTED
from dtda_lib.study.evidence import load
from dtda_lib.study.execution import edited_sources
from dtda_lib.study.headlines import HEADLINES
from dtda_lib.study.markdown import marked, replaced
from dtda_lib.study.pages import gallery, notebooks, results
from dtda_lib.study.record import COSTS
from dtda_lib.study.wording import measured

ROOT = Path(__file__).parents[2]
EVIDENCE = load(ROOT)
PAGES = pages.render(ROOT)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture
def study(tmp_path):
    """The committed evidence, README and one notebook, to be doctored; no pictures."""
    for path in (ROOT / "figures").glob("*/*.*"):
        if path.suffix in (".json", ".csv"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    (tmp_path / "notebooks").mkdir()
    for name in ("README.md", "CITATION.cff", "notebooks/01_noise_vs_influence.ipynb"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def doctor(root, name, **changed):
    """Change a claim of the evidence, as a later run might."""
    finding = load(root)[name]
    path = root / "figures" / finding.profile / f"{finding.notebook}.claims.json"
    file = json.loads(path.read_text())
    for claim in file["claims"]:
        if claim["id"] == name:
            claim.update(changed)
    path.write_text(json.dumps(file))


# --- what is committed ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_committed_pages_are_what_the_evidence_gives(path):
    assert path.read_text(encoding="utf-8") == PAGES[path], "python -m dtda_lib.study.pages"


def test_writing_twice_changes_nothing(study):
    shutil.rmtree(study / "figures" / "default")
    assert pages.write(study)
    assert pages.write(study) == []


@pytest.mark.parametrize("notebook", [path.stem for path in PAGES if path.suffix == ".ipynb"])
def test_the_figure_of_an_answer_exists_where_the_notebook_has_run(notebook):
    if (name := notebooks.figure_name(notebook)) is None:
        pytest.skip("this notebook has no figure")
    stem = f"{notebook}-{name}"
    folder = ROOT / "figures" / EVIDENCE.profile(notebook)
    assert (folder / f"{stem}.png").exists()
    assert (folder / f"{stem}.json").exists()


def test_every_notebook_has_an_answer_in_whole_sentences():
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        told = notebooks.sentences(EVIDENCE, path.stem)
        assert told, path.stem
        assert "<!-- answer:start -->" in path.read_text(encoding="utf-8"), "an answer is typed"
        assert all(text[0].isupper() and text.endswith(".") for text in told)


# --- README and gallery --------------------------------------------------------------------------


def test_another_verdict_changes_every_page_that_tells_it(study):
    before = pages.render(study)
    doctor(study, "B1-code", status="refuted", estimate=0.9, ci=[0.8, 1.0])
    after = pages.render(study)
    row = next(r for r in after[study / "README.md"].splitlines() if r.startswith("| B1 |"))
    assert "| **refuted** | 90 % [80, 100] of pairs" in row
    gallery_path = study / "figures" / "README.md"
    assert before[gallery_path] != after[gallery_path]
    assert "- B1-code, refuted:" in after[gallery_path]


def test_what_default_finds_changes_no_verdict(study):
    before = pages.render(study)[study / "README.md"]
    path = study / "figures" / "default" / "01_noise_vs_influence.claims.json"
    file = json.loads(path.read_text())
    for claim in file["claims"]:
        claim["status"] = "refuted"
    path.write_text(json.dumps(file))
    assert pages.render(study)[study / "README.md"] == before


def test_a_claim_without_evidence_is_named_as_such(study):
    for path in (study / "figures").glob("*/09_*.claims.json"):
        path.unlink()
    row = next(r for r in results.results_table(load(study), "").splitlines() if "| C10 |" in r)
    assert "| **not tested at the published sizes** | Would decide it: " in row


def test_what_other_variants_say_is_told_where_the_headline_variant_has_not_run(study):
    """Else a claim could lose a refutation by the choice of another variant."""
    told = results.results_table(load(study), "")
    for one in load(study).standings():
        tested = [v.verdict for v in one.variants if v.verdict != NOT_TESTED]
        if one.verdict == NOT_TESTED and tested:
            row = next(
                line for line in told.splitlines() if line.startswith(f"| {one.headline.id} ")
            )
            assert "Other variants: " in row
            assert all(f"{tested.count(verdict)} {verdict}" in row for verdict in set(tested))


def test_a_number_that_misleads_alone_has_another_beside_it(study):
    statistic = "σ with 5 checkpoints / σ with one (2 per class 0.5; 3 per class 1.5)"
    doctor(study, "B9-sigma", status="partly", statistic=statistic)
    rows = results.results_table(load(study), "").splitlines()
    (row,) = [line for line in rows if line.startswith("| B9 ")]
    assert "Beside it, σ of all checkpoints / σ of one: " in row
    assert row.count(", partly (2 per class 0.5; 3 per class 1.5) |") == 1
    known = {key for line in HEADLINES for key in line.beside}
    assert known <= {*EVIDENCE.findings}


def test_an_answer_leads_and_lists_what_else_it_says(monkeypatch):
    monkeypatch.setattr(notebooks, "sentences", lambda *_: ["Yes.", "It is 3.", "So it is."])
    told = notebooks.answer_part(EVIDENCE, "01_noise_vs_influence")
    assert told.startswith("**Answer.** Yes.\n\n* It is 3.\n* So it is.\n\n![")
    monkeypatch.setattr(notebooks, "sentences", lambda *_: ["Yes."])
    told = notebooks.answer_part(EVIDENCE, "01_noise_vs_influence")
    assert told.startswith("**Answer.** Yes.\n\n![")


def test_every_headline_has_a_row_with_a_verdict_and_a_setting():
    rows = results.results_table(EVIDENCE, "").splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [line.id for line in HEADLINES]
    assert all(row.split("|")[3].strip().startswith("**") for row in rows if "\\|" not in row)


def test_the_gallery_shows_a_notebook_at_its_best_profile_and_pictures_first():
    text = gallery.render_gallery(EVIDENCE)
    assert "](paper/01_noise_vs_influence-null.png)" in text
    assert "![" in text[:2_000]
    assert "default/01_noise_vs_influence" not in text.partition("## Claims")[0]
    assert "](default/09_data_pruning-gains.png)" in text
    assert text.index("## How to cite") < text.index("<details>")


def test_the_gallery_of_no_figures_says_so(tmp_path):
    shutil.copy(ROOT / "CITATION.cff", tmp_path)
    text = gallery.render_gallery(load(tmp_path))
    assert "No figures have been exported yet." in text
    assert gallery.render_results(load(tmp_path)) == "No results have been exported yet."


@pytest.mark.parametrize("text", [None, "", "<!-- results:start -->", "<!-- results:end -->"])
def test_a_readme_without_markers_is_refused(study, text):
    path = study / "README.md"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=r"README.md needs a line .*: add them\.$"):
        pages.write(study)


def test_the_readme_lists_each_notebook_by_its_title(study):
    path = study / "notebooks" / "99_new.ipynb"
    path.write_text('{"cells": [{"cell_type": "markdown", "source": ["# Why?", "\\n", "So."]}]}')
    assert "| 99 | [Why?](notebooks/99_new.ipynb) |" in pages.render(study)[study / "README.md"]
    readme = study / "README.md"
    readme.write_text(readme.read_text().replace("<!-- notebooks:end -->", ""))
    with pytest.raises(ValueError, match="<!-- notebooks:start -->"):
        pages.write(study)


# Claims that no figure shows: what they rest on is a table of their notebook.
WITHOUT_FIGURE = ("C12-convex", "C2-wide", "C2-cnn")
WITHOUT_FIGURE += ("B3-sd-*", "B3-snr-*", "B10-*-*", "B7*-if_ggn", "B7*-spearman-*", "B8-*")  # 02
WITHOUT_FIGURE += ("B4-*-pooled",)  # 03
WITHOUT_FIGURE += ("*-largest", "C6-*-variance-predicted")  # 04
WITHOUT_FIGURE += (
    "C1-digits-*-w2",
    "C1-source-w2",
    "R8-source",
    "R8-digits-source",
)  # 05
WITHOUT_FIGURE += ("C8-*-*",)  # 08: of methods that its curves leave out, as in 05


def test_every_claim_has_a_figure_and_every_linked_figure_exists():
    links = results.figures_of(ROOT)
    seen = {name for _, name in links}
    unseen = set(EVIDENCE.findings) - seen
    assert {one for one in unseen if not any(fnmatch(one, p) for p in WITHOUT_FIGURE)} == set()
    assert all(any(fnmatch(one, pattern) for one in unseen) for pattern in WITHOUT_FIGURE)
    for told in links.values():
        for link in told:
            assert (ROOT / "figures" / link.partition("](")[2].rstrip(")")).exists()


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


# --- cells that the evidence writes --------------------------------------------------------------


def test_a_notebooks_answer_follows_the_evidence(study):
    path = study / "notebooks" / "01_noise_vs_influence.ipynb"
    (study / COSTS).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / COSTS, study / COSTS)
    before = notebooks.render_notebook(path, load(study))
    assert before == path.read_text(encoding="utf-8")
    table = study / "figures" / "paper" / "01_noise_vs_influence-significant_shares.csv"
    frame = pd.read_csv(table)
    chosen = (frame["method"] == "loo") & (frame["statistic"] == "t_fdr") & (frame["size"] == 50)
    frame.loc[chosen, ["share", "low", "high"]] = [0.9, 0.8, 1.0]
    frame.to_csv(table, index=False)
    after = notebooks.render_notebook(path, load(study))
    assert "emerges from the noise" in after
    assert "90 % [80, 100] with 50" in after
    sources = [json.loads(text)["cells"] for text in (before, after)]
    changed = [n for n, (one, two) in enumerate(zip(*sources)) if one != two]
    assert changed == [1]  # nothing that a person wrote


def test_an_answer_is_short_and_in_two_digits():
    told = words.answer(EVIDENCE)
    assert 3 <= len(told) <= 5
    assert "_" not in " ".join(told)  # no keys


def test_a_notebook_without_evidence_says_so():
    first, *rest = notebooks.sentences(EVIDENCE, "10_diffusion")
    assert "have not been run" in first
    assert "those of `default`" in first
    assert rest


def test_what_the_evidence_writes_does_not_make_a_notebook_stale(study):
    path = study / "notebooks" / "01_noise_vs_influence.ipynb"
    before = edited_sources(path)
    content = json.loads(path.read_text())
    content["cells"][1]["source"] = [marked("answer", "Another one.")]
    path.write_text(json.dumps(content))
    assert edited_sources(path) == before
    content["cells"][0]["source"] = ["# Another title"]
    path.write_text(json.dumps(content))
    assert edited_sources(path) != before


def test_only_the_place_between_the_comments_is_replaced():
    page = f"before\n{marked('x', 'old')}\nafter {marked('y', 'kept')}"
    assert replaced(page, "x", "new") == page.replace("old", "new")


# --- notebook 12 ---------------------------------------------------------------------------------


def test_every_variant_is_one_dot_and_the_verdict_stands_apart():
    fig, drawn = tables.variant_dots(EVIDENCE)
    assert drawn["headline"].sum() == len(HEADLINES)
    assert not drawn["variant"].duplicated().any()
    dots = [c for c in fig.axes[0].collections if len(c.get_offsets())]
    assert sum(len(c.get_offsets()) for c in dots) == len(drawn)
    left = sum(int((c.get_offsets()[:, 0] < 0).sum()) for c in dots)
    assert left == len(HEADLINES)


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
    told = tables.lds_overview(scores)
    assert list(told.columns) == ["setting", "size", "method", "mean", "variance", "W2"]
    assert told["mean"].tolist() == ["0.50 [0.10, 0.90] of 0.95"]
    fig, drawn = tables.lds_against_lds(scores)
    assert len(fig.axes[0].containers) == 1
    assert set(drawn["metric"]) == {"mean", "log_variance_ratio"}


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((0.0168, (0.0, 0.0426), "%"), "1.7 % [0, 4.3]"),
        ((0.998, (0.997, 1.0), "%"), "99.8 % [99.7, 100.0]"),
        ((5e-5, (8.8e-6, 2.83e-4), "%"), "0.0050 % [0.0009, 0.0283]"),
        ((-0.4998, (-0.5868, -0.4129)), "-0.50 [-0.59, -0.41]"),
        ((3.0, None), "3"),
        ((3.0, (2.5, 3.5), "lists"), "3.0 lists [2.5, 3.5]"),
        ((0.00027, None), "0.00027"),
        ((1.3e-8, None), "1.3e-08"),
        ((0.0, (0.0, 0.0)), "0 [0, 0]"),
        ((None, None), "-"),
    ],
)
def test_numbers_are_told_in_two_digits_or_as_many_as_their_interval_needs(given, told):
    assert measured(*given) == told
