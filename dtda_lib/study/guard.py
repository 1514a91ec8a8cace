"""What would notice if a number that a committed notebook shows were changed by hand.

Each output has the first of these guards that it can have, and is on record besides:

* *made again*: code makes the same text from a committed file, and it has to be equal: settings,
  captions, the bands of the checks, a run beside the evidence, what a run finds of its claims;
  or each row of a table is a row of the data of a figure;
* *rerun*: nbval executes the cell and compares, because it is tagged `nbval-check-output`;
* *machine*: versions, seconds, progress, which are not results;
* *on record*: `tests/reference/outputs.json` holds a digest of what each cell showed when
  `run_all.sh --update` executed it, and of the tags that say how it is compared.

The record sees any change, in the last digit, too, but not that a result is stale; a rerun sees
that, within its tolerance. `python -m dtda_lib.study.guard` counts the numbers under each guard.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dtda_lib.runs.keys.canonical import sha256

from . import pages
from .artefacts import is_sealed, study_root
from .beside import IN_THIS_RUN, page_on_file, verdicts_on_file
from .checks import bands_on_file
from .evidence import PREVIEW, Evidence, load
from .figures import FORMATS
from .pages import gallery
from .pages.results import descriptions
from .record import RECORD, Cell, code_cells, is_beside, read, record_of, source, texts
from .settings import parameters_of, resolve
from .tolerant import NUMBER, to_float

MADE_AGAIN, RERUN, MACHINE, ON_RECORD = "made again", "rerun", "machine", "on record"
GUARDS = (MADE_AGAIN, RERUN, MACHINE, ON_RECORD)
FIGURE_OF_TABLE = {
    "09_data_pruning": {
        "folded_tables(title, lists": ("precision", 2),
        "Predicted and observed shifts": ("predicted", 0),
    },
    "10_diffusion": {"halves, first": ("overlaps", 0), "readable(validated": ("retrained", 1)},
}
"""Notebook -> part of the source of a cell that shows a table -> the figure that draws its rows,
and how many of them it leaves out."""


@dataclass(frozen=True)
class ShownText:
    """A text that a cell of a committed notebook shows.

    Args:
        cell: Id of the cell.
        kind: "stream", or a MIME type.
        text: What is shown.
        guard: One of `GUARDS`.
        expected: The same text made again from a committed file, where that is its guard.
    """

    cell: str
    kind: str
    text: str
    guard: str
    expected: str | None = None

    @property
    def numbers(self) -> int:
        """How many numbers the text holds."""
        return len(NUMBER.findall(re.sub(r"<[^>]*>", " ", self.text)))


def shown_texts(notebook: Path, evidence: Evidence) -> Iterator[ShownText]:
    """Every text that the code cells of a committed notebook show, with its guard."""
    for cell in code_cells(notebook):
        machine = "provenance(cfg" in source(cell)
        tags = cell["metadata"].get("tags", ())
        for output in cell["outputs"]:
            for kind, text in texts(output):
                if kind.startswith("image/"):
                    continue
                expected = made_again(cell, kind, text, notebook.stem, evidence)
                if expected is not None:
                    guard = MADE_AGAIN
                elif machine:
                    guard = MACHINE
                else:
                    guard = RERUN if "nbval-check-output" in tags else ON_RECORD
                yield ShownText(cell["id"], kind, text, guard, expected)


def made_again(cell: Cell, kind: str, text: str, notebook: str, evidence: Evidence) -> str | None:
    """What a text has to be by the committed file that it comes from; None if it comes from none.

    Workers and device, which the settings end with, are the machine's: they are taken as shown.
    """
    if is_beside(cell) and kind == "text/markdown":
        return page_on_file(evidence, notebook)
    if kind == "text/markdown" and f"** {IN_THIS_RUN} (" in text:
        return verdicts_on_file(text, evidence, notebook)
    for part, (figure, left_out) in FIGURE_OF_TABLE.get(notebook, {}).items():
        if part in source(cell) and (rows := table_rows(text)):
            data = evidence.table(notebook, figure, PREVIEW)
            strangers = [row for row in rows if not is_drawn(row, data)]
            wrong = f"{strangers}: of these rows, figure {figure} holds all but {left_out}"
            return text if len(strangers) == left_out else wrong
    if "| setting | value |" in text:
        settings = resolve(parameters_of(notebook), profile=PREVIEW, device="cpu", workers=1)
        return "\n".join([*settings._repr_markdown_().split("\n")[:-1], text.split("\n")[-1]])
    if text.startswith("<details><summary>What is compared"):
        return _bands(text, bands_on_file(evidence.root, notebook, PREVIEW))
    if named := re.match(r"\*\*Figure (\w+)\.\*\* ", text):
        stem = f"{notebook}-{named[1]}.json"
        path = evidence.root / "figures" / PREVIEW / stem
        caption = json.loads(path.read_text(encoding="utf-8"))["caption"] if path.exists() else ""
        return f"{named[0]}{caption}"
    return None


def table_rows(text: str) -> list[list[str]]:
    """The numbers of each row of the tables in a Markdown or HTML text, in their order.

    A cell counts if it is a number, or one with its interval, "0.50 [0.40, 0.60]", and nothing
    else; rows without such a cell are left out.
    """
    rows = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    cells += [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"(?s)<tr>.*?</tr>", text)]
    whole = re.compile(rf"{NUMBER.pattern}( \[{NUMBER.pattern}, {NUMBER.pattern}\])?")
    numeric = ([cell for cell in row if whole.fullmatch(cell.strip())] for row in cells)
    found = ([match[0] for cell in row for match in NUMBER.finditer(cell)] for row in numeric)
    return [row for row in found if row]


def is_drawn(row: Sequence[str], data: pd.DataFrame) -> bool:
    """Whether a row of a figure's data holds these numbers in this order, others between them.

    Each has to be the data rounded to its own last place, give or take what the file rounded off.
    """
    return any(_holds(row, values) for values in data.select_dtypes("number").values)


def _holds(row: Sequence[str], values: np.ndarray) -> bool:
    at = 0
    for shown in row:
        mantissa, _, power = shown.lower().partition("e")
        step = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
        close = np.abs(values[at:] - to_float(shown)) <= step / 2 + 1e-5 * abs(to_float(shown))
        if not close.any():
            return False
        at += int(close.argmax()) + 1
    return True


def breaches(root: Path) -> list[str]:
    """Every committed result below a root that is not what the run or the file it comes from says.

    Nothing is executed: that results are those of today's code, nbval sees.
    """
    evidence = load(root)
    found = [*_figure_problems(root), *_claims_problems(root), *_page_problems(root)]
    for path in notebooks(root):
        found += _notebook_problems(path, evidence)
    gone = sorted(set(read(root)) - {path.stem for path in notebooks(root)})
    return found + [f"{RECORD}: {name} is on record and no notebook: take it out" for name in gone]


def notebooks(root: Path) -> list[Path]:
    """The committed notebooks below a root."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def _notebook_problems(notebook: Path, evidence: Evidence) -> Iterator[str]:
    known, now = read(evidence.root).get(notebook.stem, {}), record_of(notebook)
    mend = f"run ./run_all.sh --update {notebook.stem[:2]}"
    for cell in sorted({*known, *now}):
        if known.get(cell) != now.get(cell):
            yield f"{notebook.stem}, cell {cell}: not what its run showed or compared: {mend}"
    for one in shown_texts(notebook, evidence):
        if one.guard == MADE_AGAIN and one.text != one.expected:
            yield f"{notebook.stem}, cell {one.cell}: not what its file says: {mend}"


def _figure_problems(root: Path) -> Iterator[str]:
    for path in _committed(root, descriptions):
        figure = json.loads(path.read_text(encoding="utf-8"))
        if not is_sealed(figure):
            yield f"{path.relative_to(root)}: not what its run wrote: {_mend(path)}"
        for kind in FORMATS:
            file = path.with_suffix(f".{kind}")
            if not file.exists() or sha256(file.read_bytes()) != figure.get(f"{kind}_sha256"):
                yield f"{file.relative_to(root)}: not what its run wrote: {_mend(path)}"


def _claims_problems(root: Path) -> Iterator[str]:
    for path in _committed(root, lambda folder: sorted(folder.glob("*.claims.json"))):
        if not is_sealed(json.loads(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(root)}: not what its run wrote: {_mend(path)}"


def _page_problems(root: Path) -> Iterator[str]:
    for path, text in pages.render(root).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            told = "not what the evidence says: run python -m dtda_lib.study.pages"
            yield f"{path.relative_to(root)}: {told}"


def _committed(root: Path, files: Callable[[Path], Iterable[Path]]) -> Iterator[Path]:
    for profile in gallery.SHOWN_PROFILES:
        yield from files(root / "figures" / profile)


def _mend(path: Path) -> str:
    return f"run ./run_all.sh --profile {path.parent.name} --update {path.name[:2]}"


def _bands(text: str, on_file: str) -> str:
    """The bands on file, as far as a text shows them and in its order; parts are left out where
    their data are not there."""
    rows = re.compile(r"<tr>.*?</tr>", re.DOTALL)
    known = set(rows.findall(on_file))
    return rows.sub(lambda row: row[0] if row[0] in known else "", text)


def main() -> None:
    """Print how many numbers of each notebook are under which guard."""
    root = study_root()
    evidence = load(root)
    print(f"{'notebook':<32}{'numbers':>8}" + "".join(f"{guard:>12}" for guard in GUARDS))
    for path in notebooks(root):
        count: Counter[str] = Counter()
        for one in shown_texts(path, evidence):
            count[one.guard] += one.numbers
        shares = "".join(f"{count[guard] / count.total():>12.1%}" for guard in GUARDS)
        print(f"{path.stem:<32}{count.total():>8}{shares}")


if __name__ == "__main__":
    main()
