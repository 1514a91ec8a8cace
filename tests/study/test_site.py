"""The site: made from committed files, and its pages load nothing from elsewhere."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from dtda_lib.study import evidence as evidence_module
from dtda_lib.study.pages import gallery, site

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """What a page refers to: links, what it loads, and the places that it has."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.places = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.places |= {found.get("id"), found.get("name")}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in ("img", "script", "iframe", "source") and found.get("src"):
            self.loads.append(found["src"])
        if tag == "link" and "stylesheet" in (found.get("rel") or "") and found.get("href"):
            self.loads.append(found["href"])


def broken(path, to):
    """Whether a link of a page leads to a file of the site that is not there."""
    parts = urlsplit(to)
    return bool(
        not parts.scheme and parts.path and not (path.parent / unquote(parts.path)).exists()
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("myst_nb", reason="the extra `site` is not installed")
    folder = tmp_path_factory.mktemp("site")
    assert site.build(folder, ROOT) == 0  # Sphinx warns of links to pages that are not there
    return folder / "html"


def test_the_gallery_shows_the_evidence_alone():
    figures = site.gallery_figures(ROOT)
    assert len(figures) == 15
    assert {one.about["profile"] for one in figures} == {"paper"}
    assert all(one.key[1:3] == one.notebook[:2] for one in figures)
    assert set(site.TOUR) <= set(site.FIGURES)
    assert len(site.TOUR) == 8


def test_a_figure_is_cited_with_version_commit_and_digest(tmp_path):
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    other = tmp_path / "CITATION.cff"
    cff["repository-code"] = "https://example.org/study"
    other.write_text(yaml.safe_dump(cff), encoding="utf-8")
    text = gallery.figure_bibtex(other, "F04a", "04_variance", "commit abc", "0123")
    for part in ("F04a", cff["version"], "commit abc", "0123", "url = {https://example.org/study}"):
        assert part in text
    assert "url" not in gallery.figure_bibtex(ROOT / "CITATION.cff", "F04a", "04", "c", "d")


def test_notebooks_are_shown_as_they_are_with_their_code_folded():
    path = next((ROOT / "notebooks").glob("04_*.ipynb"))
    shown, own = json.loads(site.folded_notebook(path)), json.loads(path.read_text("utf-8"))
    for cell, committed in zip(shown["cells"], own["cells"], strict=True):
        if cell["cell_type"] == "code":
            assert cell["source"] == committed["source"]
            assert "hide-input" in cell["metadata"]["tags"]


def test_the_views_hold_the_data_of_their_figures():
    evidence = evidence_module.load(ROOT)
    page = site.pages(evidence)["site/explore.md"]
    line, digits = map(
        json.loads, re.findall(r'<script type="application/json">(.*?)</script>', page)
    )
    bands = evidence.table("04_variance_changing_examples", "lone_bands")
    by_point = {int(re.search(r"number (\d+)", c["name"])[1]): c for c in line["choices"]}
    assert set(by_point) == set(bands["point"])
    assert by_point[bands["point"].max()]["x"] == bands["x"].max()
    for (point, law), rows in bands.groupby(["point", "law"]):
        assert by_point[point][law] == rows[["x", "mean", "sd"]].to_numpy().tolist()
    laws = evidence.table("02_ground_truth_vs_estimated", "laws")
    assert sum(len(m["values"]) for c in digits["choices"] for m in c["methods"]) == len(laws)
    assert all(c["train"]["image"].startswith("data:image/png") for c in digits["choices"])


def test_a_broken_link_would_be_found(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<a href="gone.html">x</a><img src="https://example.org/a.png">')
    found = Page(page)
    assert broken(page, found.links[0])
    assert not broken(page, "page.html#place")
    assert urlsplit(found.loads[0]).netloc


@pytest.mark.slow
def test_links_resolve_and_nothing_is_loaded_from_elsewhere(built):
    pages = [path for path in built.rglob("*.html")]
    assert len(pages) > 30
    for path in pages:
        page = Page(path)
        assert not [to for to in page.loads if urlsplit(to).netloc], path.name
        assert not [to for to in [*page.links, *page.loads] if broken(path, to)], path.name
    for sheet in built.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", sheet.read_text("utf-8")), sheet.name


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: the pages were not tried in one")
@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("site/explore", ['class="view drawn"', "<polygon", "<circle", 'role="status">Without']),
        ("figures/claims", ['<input type="search"', " claims</span>"]),
    ],
)
def test_scripts_of_a_page_run_in_a_browser(built, tmp_path, name, marks):
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    page = (built / f"{name}.html").as_uri()
    command = [CHROMIUM, *options, "--enable-logging=stderr", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [*command, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True
    )
    for mark in marks:
        assert mark in done.stdout
    assert "CONSOLE" not in done.stderr  # where Chromium puts errors of scripts and of loading
