"""The cells of notebooks that code writes: parameters, the answer at the top, tables of results.

The first code cell, tagged `parameters`, is made from the `Parameters` of the experiment. What the
evidence writes, and what a run costs, stands between two comments that no reader sees, such as
`<!-- answer:start -->` and `<!-- answer:end -->`. It is rewritten from the evidence and from the
seconds on record, so that no page contradicts another.
"""

import importlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from dtda_lib.names import PROFILE_NAMES
from dtda_lib.runs.progress import readable_seconds
from dtda_lib.study.beside import page_on_file
from dtda_lib.study.evidence import EVIDENCE, Evidence, Finding
from dtda_lib.study.markdown import alt, marked, written_by
from dtda_lib.study.parameters import ProfiledParameters
from dtda_lib.study.record import costs_on_record, is_beside
from dtda_lib.study.settings import parameters_of
from dtda_lib.study.wording import upper

from .results import link, results_table, summary

_NONE = (
    "The published sizes have not been run, so that no claim has a verdict yet; the numbers are "
    "those of `{}`."
)
_NOT_ALL = (
    "Claims that are called not tested have been run at the published sizes by earlier rules only; "
    "their numbers are those of `{}`."
)


_COST = (
    "Measured on two CPU cores from an empty cache, `paper` beside other work: {}. A slow or busy "
    "machine has taken up to three times as long."
)
_NOT_MEASURED = " Not measured: {}."


def answer_part(evidence: Evidence, notebook: str) -> str:
    """The answer of a notebook in its own words, and the figure that shows it.

    The words are those of `answer(evidence)` in the experiment's module `words`, the figure is the
    `FIGURE` named there; an experiment without words is answered by the standing of its headline
    claims, or by what it found. The first sentence answers, the others stand below it as a list.
    """
    first, *others = sentences(evidence, notebook)
    parts = [f"**Answer.** {first}"]
    if others:
        parts.append("\n".join(f"* {sentence}" for sentence in others))
    if name := figure_name(notebook):
        parts += _figure(evidence, notebook, name)
    return "\n\n".join(parts)


def findings(evidence: Evidence, base: str) -> str:
    """Markdown: what a stranger should know, a numbered sentence or two for each notebook.

    The words are those of `finding(evidence)` in the experiment's module `words`. It gives None
    where the evidence does not say so, and that notebook is left out.

    Args:
        evidence: What the published sizes say.
        base: Where the notebooks are, seen from the page.
    """
    told = []
    for notebook in dict.fromkeys(one.notebook for one in evidence.findings.values()):
        say: Callable[[Evidence], str | None] | None
        say = getattr(_words(notebook), "finding", None)
        if say and (text := say(evidence)):
            told.append(f"{len(told) + 1}. {text} Notebook {link(notebook, base)}.")
    return "\n".join(told) or "The published sizes have not been run yet."


def figure_name(notebook: str) -> str | None:
    """Name of the figure that shows a notebook's answer at a glance; None if it has none."""
    return getattr(_words(notebook), "FIGURE", None)


def sentences(evidence: Evidence, notebook: str) -> list[str]:
    """The sentences of an answer; see `answer_part`."""
    own: Callable[[Evidence], list[str]] | None = getattr(_words(notebook), "answer", None)
    old = evidence.outdated(notebook)  # words made for verdicts would then say too much
    told = (own(evidence) if own and not old else []) or _standings(evidence, notebook)
    profile = evidence.profile(notebook)
    if profile != EVIDENCE and evidence.of(notebook):
        told.insert(0, _NOT_ALL.format(profile) if old else _NONE.format(profile))
    return told


def _standings(evidence: Evidence, notebook: str) -> list[str]:
    """The standing of the headline claims; else the first claims, and what was found of them."""
    standings = evidence.standings(notebook)
    told = [f"{one.headline.words}: {one.told} ({one.number})." for one in standings]
    return told or [_found(one) for one in evidence.of(notebook)[:4]]


def _words(notebook: str) -> ModuleType | None:
    """The module `words` of a notebook's experiment, if it has one."""
    # An experiment lies above the study and is found by its notebook's name, like the notebook.
    experiment = f"dtda_lib.experiments.{notebook.partition('_')[2]}"
    if importlib.util.find_spec(f"{experiment}.words") is None:
        return None
    return importlib.import_module(f"{experiment}.words")


def _found(finding: Finding) -> str:
    """A claim that stands for none of the papers, with what a run found of it."""
    at = "" if finding.profile == EVIDENCE else f" at `{finding.profile}`"
    return f"{upper(finding.claim.claim)}: {finding.claim.status}{at} ({finding.number()})."


def results(evidence: Evidence, notebook: str) -> str:
    """The table of README.md, for a reader in the folder of notebooks, and how many are due."""
    due = ", ".join(evidence.due) or "none"
    return "\n\n".join(
        [
            results_table(evidence, ""),
            summary(evidence),
            f"Evidence that is due to be remade: {due}.",
        ]
    )


def cost(evidence: Evidence, notebook: str) -> str:
    """How long each profile took, as `run_all.sh --list` says it in seconds, too."""
    seconds = costs_on_record(evidence.root).get(notebook, {})
    known = [f"`{p}` {readable_seconds(seconds[p])}" for p in PROFILE_NAMES if p in seconds]
    missing = [f"`{p}`" for p in PROFILE_NAMES if p not in seconds]
    told = _COST.format(", ".join(known)) if known else ""
    return (told + (_NOT_MEASURED.format(", ".join(missing)) if missing else "")).lstrip()


PARTS: dict[str, Callable[[Evidence, str], str]] = {
    "answer": answer_part,
    "cost": cost,
    "results": results,
}
"""Name in the comments -> what writes the cell between them."""


def parameters_cell(parameters: type[ProfiledParameters]) -> str:
    """Source of the cell: plain assignments with comments, which papermill can read and replace."""
    declared, types = parameters.declared(), parameters.types()
    below = "None below: its value" if declared else "all the same here"
    used = ("auto, cpu, cuda, cuda:0, mps", "worker processes on a CPU; None: one per core")
    device, workers = used if parameters.trains else ("not used here", "not used here")
    # `tuple` for `tuple[int, ...]`: the pattern by which papermill reads annotations has no dots.
    return "\n".join(
        [
            f'profile: str = "default"  # smoke, default or paper; {below}',
            *(f"{n}: {types[n].__name__} = None  # {one.meaning}" for n, one in declared.items()),
            f'device: str = "auto"  # {device}',
            f"workers: int = None  # {workers}",
        ]
    )


def render_notebook(path: Path, evidence: Evidence) -> str:
    """The text of a notebook with its generated cells made anew; all else stays as it is.

    Generated, too, is what `checks.beside_evidence()` has shown: the evidence may be newer.

    Raises:
        StudyError: a cell is tagged `parameters`, and no experiment declares any for the notebook.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        text = None
        if "parameters" in cell.get("metadata", {}).get("tags", ()):
            text = parameters_cell(parameters_of(path.stem))
        elif cell["cell_type"] == "markdown" and (part := written_by("".join(cell["source"]))):
            text = marked(part, PARTS[part](evidence, path.stem)) if part in PARTS else None
        if text is not None:
            cell["source"] = text.splitlines(keepends=True)
        elif is_beside(cell) and (page := page_on_file(evidence, path.stem)):
            for output in cell["outputs"]:
                if "text/markdown" in output.get("data", ()):
                    output["data"]["text/markdown"] = page.splitlines(keepends=True)
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _figure(evidence: Evidence, notebook: str, name: str) -> list[str]:
    profile = evidence.profile(notebook)
    stem = f"figures/{profile}/{notebook}-{name}"
    file = evidence.root / f"{stem}.json"
    if not file.exists():
        return []
    caption = json.loads(file.read_text(encoding="utf-8"))["caption"]
    return [f"![{alt(caption)}](../{stem}.png)", f"*{caption}*"]
