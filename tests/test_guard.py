"""Guard of the guard: nbval with our conftest goes red for a wrong number, and only then."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from test_contract import NOTEBOOKS, checked, code_cells, problems, read, tags

from dtda_lib.study.tolerant import NUMBER, snap_text, to_float, tolerances

HERE = Path(__file__).parents[1] / "notebooks"
RTOL = 1e-3

PRINTS = "mean {mean!r} of {models} models by mnist3 in 2.13.0"
TABLE = "<table><tr><td>snr</td><td>{mean!r}</td><td>-1.5</td></tr></table>"
SET_UP = """
import os
from IPython.display import HTML
assert os.environ["DTDA_CHECK"] == "1" and "dtda-cold-" in os.environ["DTDA_CACHE"]
"""
STORED = {"mean": 0.512345, "models": 50}


def executed(mean=STORED["mean"], models=STORED["models"], checks=("nbval-check-output",)):
    """A small notebook whose *stored* outputs show these numbers, while its code gives STORED."""
    stream = new_output("stream", name="stdout", text=PRINTS.format(mean=mean, models=models))
    table = {
        "text/plain": "<IPython.core.display.HTML object>",
        "text/html": TABLE.format(mean=mean),
    }
    show = new_output("execute_result", data=table, execution_count=3)
    metadata = {"tags": [*checks, f"rtol={RTOL}"]}
    cells = [
        new_code_cell(SET_UP),
        new_code_cell(
            f'print("{PRINTS.format(**STORED)}", end="")', outputs=[stream], metadata=metadata
        ),
        new_code_cell(f'HTML("{TABLE.format(**STORED)}")', outputs=[show], metadata=metadata),
    ]
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
    return new_notebook(cells=cells)


def nbval(folder, notebook):
    """Run nbval as the README says, in a process of its own; returns exit status and output."""
    for name in ("conftest.py", "sanitize.cfg"):
        shutil.copy(HERE / name, folder)
    nbformat.write(notebook, folder / "small.ipynb")
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-sanitize-with", "sanitize.cfg"]
    quiet = ["-q", "--color=no", "-p", "no:cacheprovider", "--rootdir", "."]
    environment = {key: text for key, text in os.environ.items() if not key.startswith("DTDA_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *quiet, "small.ipynb"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stored", "status"),
    [
        ({}, 0),
        ({"mean": STORED["mean"] * 1.0005}, 0),
        ({"mean": STORED["mean"] * 1.01}, 1),
        ({"models": 51}, 1),
    ],
    ids=["unchanged", "jitter", "wrong by 1 %", "another count"],
)
def test_nbval_is_red_exactly_for_a_wrong_number(tmp_path, stored, status):
    code, output = nbval(tmp_path, executed(**stored))
    assert code == status, output
    assert ("Cell outputs differ" in output) == bool(status)


@pytest.mark.slow
def test_a_mistyped_tag_escapes_nbval_but_not_the_contract(tmp_path):
    notebook = executed(mean=5.0, checks=["nbval-check-outputs"])
    code, output = nbval(tmp_path, notebook)
    assert code == 0, output  # the hole; should nbval close it, this test may go
    assert any("unknown tag 'nbval-check-outputs'" in problem for problem in problems(notebook))


# --- the committed notebooks' own tolerances, without running them -------------------------------


def texts(cell):
    """Every text that nbval compares of a cell."""
    for output in cell.outputs:
        if "text" in output:
            yield output.text
        yield from (value for kind, value in output.get("data", {}).items() if "text/" in kind)


def largest_float(text):
    """The match of the number token that a relative change moves the furthest; None if none."""
    found = [m for m in NUMBER.finditer(text) if re.search(r"[.eE]", m[0]) and to_float(m[0])]
    return max(found, key=lambda match: abs(to_float(match[0])), default=None)


def scaled(text, match, factor):
    return f"{text[: match.start()]}{to_float(match[0]) * factor!r}{text[match.end() :]}"


TOLERANT = [
    pytest.param(cell, id=f"{path.stem}-cell-{cell.execution_count}")
    for path in NOTEBOOKS
    for cell in code_cells(read(path))
    if checked(cell) and any(tag.startswith("rtol=") for tag in tags(cell))
]
SMALL = [pytest.param(cell, id=f"small-{n}") for n, cell in enumerate(executed().cells[1:])]


@pytest.mark.parametrize("cell", TOLERANT + SMALL)
def test_a_tolerant_cell_notices_one_percent(cell):
    rtol, atol = tolerances(tags(cell))
    assert rtol < 0.01, "a tolerance of a per cent and more hides what this study is about"
    noticed = 0
    for text in texts(cell):
        if (match := largest_float(text)) is None:
            continue
        near, far = scaled(text, match, 1 + rtol / 10), scaled(text, match, 1.01)
        assert snap_text(text, near, rtol, atol) == text
        assert snap_text(text, far, rtol, atol) == far
        noticed += 1
    assert noticed, "a tolerance tag on a cell without a single decimal number"
