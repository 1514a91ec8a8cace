"""The record of what the committed notebooks showed when they were executed.

`tests/reference/outputs.json` holds, for each code cell, a digest of what it showed and of the tags
that say how a rerun is compared with that. `run_all.sh --update` writes it together with the
notebook; nothing else does. `tests/reference/costs.json` holds the seconds that each profile took.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dtda_lib.runs.store import write_atomic

from .artefacts import digest, to_json
from .command_line import cells

RECORD = Path("tests") / "reference" / "outputs.json"
COSTS = RECORD.with_name("costs.json")

Cell = Mapping[str, Any]


def code_cells(notebook: Path) -> list[Cell]:
    """The code cells of a notebook; see `command_line.cells`."""
    return [cell for cell in cells(notebook) if cell["cell_type"] == "code"]


def source(cell: Cell) -> str:
    """The source of a cell; nbformat allows a text and a list of lines."""
    return "".join(cell["source"])


def is_beside(cell: Cell) -> bool:
    """Whether a cell shows its run beside the evidence, which the generated pages make anew."""
    return cell["cell_type"] == "code" and "checks.beside_evidence()" in source(cell)


def texts(output: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """("stream" or MIME type, content) of all that an output holds, pictures included."""
    if "text" in output:
        yield output["output_type"], "".join(output["text"])
    for kind, content in sorted(output.get("data", {}).items()):
        plain = isinstance(content, str | list)
        yield kind, "".join(content) if plain else json.dumps(content, sort_keys=True)


def record_of(notebook: Path) -> dict[str, str]:
    """Id of each code cell -> digest of its tags and of all that it shows.

    A run beside the evidence is left out, as it changes with the evidence.
    """
    return {cell["id"]: digest(_content(cell)) for cell in code_cells(notebook)}


def read(root: Path) -> dict[str, dict[str, str]]:
    """Notebook -> its record, below a root."""
    path = root / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def costs_on_record(root: Path) -> dict[str, dict[str, float]]:
    """Notebook -> profile -> seconds from an empty cache, as they were measured last."""
    path = root / COSTS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(root: Path, notebook: Path) -> None:
    """Put a notebook that has just been executed on record."""
    write_atomic(root / RECORD, to_json(read(root) | {notebook.stem: record_of(notebook)}))


def _content(cell: Cell) -> list[Any]:
    shown = [
        [output["output_type"], output.get("name"), *map(list, texts(output))]
        for output in cell["outputs"]
        if not (is_beside(cell) and "text/markdown" in output.get("data", ()))
    ]
    return [sorted(cell["metadata"].get("tags", ())), shown]
