"""Guard of the guard: a wrong number turns something red, wherever it is shown, and only then.

nbval compares a rerun with what a notebook shows, within tolerances; without executing anything,
`guard.breaches` compares what is shown with its record and with the files that it comes from.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from test_contract import NOTEBOOKS, checked, code_cells, problems, read, tags

from dtda_lib.study import guard, pages, record
from dtda_lib.study.evidence import load
from dtda_lib.study.tolerant import NUMBER, ROUNDED, snap_text, to_float, tolerances

ROOT = Path(__file__).parents[1]
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
    if ROUNDED not in tags(cell)
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


ROUNDED_CELLS = [
    pytest.param(cell, id=f"{path.stem}-cell-{cell.execution_count}")
    for path in NOTEBOOKS
    for cell in code_cells(read(path))
    if ROUNDED in tags(cell)
]


@pytest.mark.parametrize("cell", ROUNDED_CELLS)
def test_a_cell_of_rounded_numbers_bears_one_step_of_the_last_place_and_no_more(cell):
    rtol, atol = tolerances(tags(cell))
    assert checked(cell)
    assert rtol < 0.01
    assert atol <= 0.01
    noticed = 0
    for text in texts(cell):
        for match in NUMBER.finditer(text):
            places = len(match[0].partition(".")[2])
            is_share = re.match(" %", text[match.end() :])
            if not (places or is_share) or re.search("[eE]", match[0]):
                continue
            if abs(to_float(match[0])) > 100:
                continue
            step = 10.0**-places

            def moved(by, match=match, text=text, places=places):
                value = f"{to_float(match[0]) + by:.{places}f}"
                return f"{text[: match.start()]}{value}{text[match.end() :]}"

            # Percentages bear a hundredfold `atol`, which is meant for the share.
            near, far = moved(step), moved(3 * (100 * atol + rtol * abs(to_float(match[0])) + step))
            assert snap_text(text, near, rtol, atol, rounded=True) == text
            assert snap_text(text, far, rtol, atol, rounded=True) == far
            noticed += 1
    assert noticed, "a cell of rounded numbers that holds no such number"


# --- every number that is shown ------------------------------------------------------------------

EVIDENCE = load(ROOT)
# Part of a cell's source -> why no rerun is compared with its numbers, which are on record.
ENDS = "ends of intervals move by up to a fifth; their estimates are values of the checks"
FEW = "of few points or samples, so one more or less counts; compared as values of the checks"
ABSENT = "says that data are not there"
BEHIND = "data of the figures, and values of the checks"
ON_RECORD_ALONE = {
    "01_noise_vs_influence": {"The numbers behind the figures": "data of the figures"},
    "02_ground_truth_vs_estimated": {"contrasting_pairs(largest": BEHIND},
    "03_sources_of_noise": {
        "component_claims(": BEHIND,
        "size_levels": ENDS,
        "model_levels": ENDS,
        "cifar10.why_not_run": ABSENT,
        "largest.describe()": "what the data are",
    },
    "04_variance_changing_examples": {"The numbers behind the figures": "data of the figures"},
    "05_predicting_retrained_laws": {"The numbers behind the figures": BEHIND},
    "06_unrolling_becomes_influence": {"The numbers behind the figures": BEHIND},
    "07_cold_posterior_transport": {"The numbers behind the figures": BEHIND},
    "08_evaluating_under_noise": {"The numbers behind the figures": BEHIND},
    "09_data_pruning": {
        "words.share_of_truth_words": FEW,
        "All comparisons: better - other": FEW,
        "words.prediction_words": FEW,
        "import cifar10": ABSENT,
    },
    "10_diffusion": {
        "sure.table": FEW,
        "words.confidence_words": FEW,
        "words.quality_words": FEW,
        "words.weak_words": FEW,
        "halves, first": FEW,
        "readable(validated": FEW,
    },
    "11_your_own_model": {
        "dt.plan(": "how much is cached, and for how long it trains",
        "calibrated.calibration_in_per_cent(": "shares of few simulated studies; two are checks",
    },
}


def test_every_committed_result_is_what_its_run_or_its_file_says():
    assert guard.breaches(ROOT) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_of_a_notebook_has_a_guard(path):
    sources = {cell["id"]: record.source(cell) for cell in record.code_cells(path)}
    assert set(sources) == set(record.read(ROOT)[path.stem])
    reasons = ON_RECORD_ALONE.get(path.stem, {})
    used = set()
    for one in guard.shown_texts(path, EVIDENCE):
        assert one.guard in guard.GUARDS
        if one.guard != guard.ON_RECORD or not one.numbers:
            continue
        named = {words for words in (*SET_UPS, *reasons) if words in sources[one.cell]}
        assert named, f"cell {one.cell}: {one.numbers} numbers that no rerun is compared with"
        used |= named
    assert used - set(SET_UPS) == set(reasons), "a reason for nothing"


SET_UPS = ("settings.configure(",)  # what is going to be trained, how much is cached, for how long


# --- one number of each kind, changed by hand ----------------------------------------------------

STEMS = ("06_unrolling_becomes_influence", "12_scoreboard")


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
    """Two committed notebooks with their figures and pages; not to be changed."""
    root = tmp_path_factory.mktemp("small")
    names = [ROOT / name for name in ("README.md", "CITATION.cff", record.RECORD)]
    for stem in STEMS:
        names += [*ROOT.glob(f"figures/*/{stem}*"), *ROOT.glob(f"tests/reference/{stem}.json")]
        names.append(ROOT / "notebooks" / f"{stem}.ipynb")
    for path in names:
        copy = root / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    kept = {stem: record.read(ROOT)[stem] for stem in STEMS}
    (root / record.RECORD).write_text(json.dumps(kept))
    pages.write(root)
    assert guard.breaches(root) == []
    return root


@pytest.fixture
def study(small_study, tmp_path):
    return Path(shutil.copytree(small_study, tmp_path / "study"))


def notebook(stem, shows, pattern, kind="text/markdown"):
    """Doctor the first match of a pattern in an output of the cell whose source holds `shows`."""

    def change(root):
        path = root / "notebooks" / f"{stem}.ipynb"
        content = json.loads(path.read_text())
        for cell in content["cells"]:
            if cell["cell_type"] != "code" or shows not in record.source(cell):
                continue
            for output in cell["outputs"]:
                if kind in output.get("data", ()):
                    text = "".join(output["data"][kind])
                    output["data"][kind] = doctored(text, pattern).splitlines(keepends=True)
                    path.write_text(json.dumps(content))
                    return
        raise AssertionError(f"{stem} shows no {kind} of {shows}")

    return change


def tagged(stem, shows, old, new):
    """Replace a tag of the cell whose source holds `shows`; None takes it away."""

    def change(root):
        path = root / "notebooks" / f"{stem}.ipynb"
        content = json.loads(path.read_text())
        (cell,) = (c for c in content["cells"] if shows in record.source(c))
        cell["metadata"]["tags"].remove(old)
        cell["metadata"]["tags"] += [new] if new else []
        path.write_text(json.dumps(content))

    return change


def file(name, pattern):
    """Doctor the first match of a pattern in a file of text."""

    def change(root):
        path = root / name
        path.write_text(doctored(path.read_text(), pattern))

    return change


def swapped(name, other):
    """Put another file in place of one."""
    return lambda root: shutil.copy(root / other, root / name)


def claims_value(profile, entry, value):
    """Doctor an entry of the first claim in a claims file."""

    def change(root):
        path = root / "figures" / profile / f"{STEMS[0]}.claims.json"
        content = json.loads(path.read_text())
        claim = next(one for one in content["claims"] if one["ci"])
        old = claim[entry]
        claim[entry] = value(old)
        assert claim[entry] != old
        path.write_text(json.dumps(content))

    return change


def doctored(text, pattern):
    """The text with the group of the first match one per cent larger, or another word or count."""
    found = re.search(pattern, text)
    assert found, pattern
    old = found[1]
    if old in OTHER_WORDS:
        new = OTHER_WORDS[old]
    elif re.fullmatch(r"[-\d,]+", old):
        new = str(int(to_float(old)) + 1)
    else:
        places = len(old.partition(".")[2].partition("e")[0])
        new = f"{to_float(old) * 1.01:.{places + 2}g}"
    assert new != old
    return text[: found.start(1)] + new + text[found.end(1) :]


OTHER_WORDS = {
    "confirmed": "refuted",
    "refuted": "confirmed",
    "inconclusive": "confirmed",
    "not tested at the published sizes": "confirmed",
}
UNROLLING, SCOREBOARD = STEMS
BESIDE = "checks.beside_evidence()"
FIGURE = f"figures/default/{UNROLLING}-hyperbola"
KINDS = {
    "status in a table of claims": notebook(UNROLLING, BESIDE, r"\| T3 \|.*?\*\*(\w+)\*\*"),
    "estimate in a table of claims": notebook(
        UNROLLING, BESIDE, r"\| C4-logistic \|.*?\| (-?[\d.]+) \["
    ),
    "interval in a table of claims": notebook(
        UNROLLING, BESIDE, r"\| C4-logistic \|.*?\[-?[\d.]+, (-?[\d.]+)\]"
    ),
    "n in a table of claims": notebook(UNROLLING, BESIDE, r"\| T1 \|.*?e-08 \| (\d+) \|"),
    "number of this run beside the evidence": notebook(
        UNROLLING, BESIDE, r"confirmed\*\*.*?\| (-?0\.\d+)"
    ),
    "number of the evidence beside a run": notebook(UNROLLING, BESIDE, r"\| (-?0\.\d+) \["),
    "number in a sentence": notebook(UNROLLING, "verdicts([noise])", r"size: (0\.\d+) \["),
    "end of an interval in a sentence": notebook(
        UNROLLING, "verdicts(practice)", r"\[-?[\d.]+, (\d\.\d+)\]"
    ),
    "share in a sentence": notebook(UNROLLING, "verdicts(null_space)", r"decay: (0\.\d+)"),
    "name of a claim in a sentence": notebook(
        UNROLLING, "verdicts([noise])", r"in this run \((?:[^()]*?)(\d+)[^()]*\)"
    ),
    "table of libraries": notebook(SCOREBOARD, "libraries.library_table", r"(0\.\d\d) \["),
    "milliseconds in the table of libraries": notebook(
        SCOREBOARD, "libraries.library_table", r"\| (\d+\.\d) \| 1 \|"
    ),
    "sentence on libraries": notebook(
        SCOREBOARD, "libraries.lead_words", r"than ours .* from (\d\.\d) \("
    ),
    "text of a table": notebook(SCOREBOARD, "tables.best_table", r"(0\.\d\d) \[", "text/plain"),
    "HTML of a table": notebook(SCOREBOARD, "tables.best_table", r"(0\.\d\d) \[", "text/html"),
    "small entry of a rounded table": notebook(
        UNROLLING, "curve.round(3)", r"<td>(0\.0\d+)</td>", "text/html"
    ),
    "setting": notebook(UNROLLING, "settings.configure(", r"`n_runs` \| (\d+)"),
    "caption in a notebook": notebook(UNROLLING, '"hyperbola"', r"(\d+)"),
    "band of a check": notebook(UNROLLING, "checks.report()", r"<td>(0\.\d+) ±", "text/html"),
    "count of the checks": lambda root: stream(root, UNROLLING, "checks.report()", r"(\d+) of"),
    "picture in a notebook": lambda root: picture(root, UNROLLING, '"hyperbola"'),
    "tag removed": tagged(SCOREBOARD, "checks.report()", "nbval-check-output", None),
    "relative tolerance widened": lambda root: widen(root, "rtol"),
    "absolute tolerance widened": lambda root: widen(root, "atol"),
    "outputs removed": lambda root: emptied(root, "words.step_words"),
    "estimate in the claims of default": claims_value("default", "estimate", lambda x: x * 1.01),
    "end in the claims of default": claims_value("default", "ci", lambda x: [x[0], x[1] + 1e-4]),
    "n in the claims of default": claims_value("default", "n", lambda n: n + 1),
    "statistic in the claims of default": claims_value("default", "statistic", lambda x: x + " 2"),
    "status in the claims of the evidence": claims_value(
        "paper", "status", lambda x: OTHER_WORDS[x]
    ),
    "estimate in the claims of the evidence": claims_value("paper", "estimate", lambda x: x * 1.01),
    "entry of a figure's data": file(f"{FIGURE}.csv", r"(\d\.\d{4,})"),
    "entry of a figure's data, evidence": file(
        f"figures/paper/{UNROLLING}-hyperbola.csv", r"(\d\.\d{4,})"
    ),
    "caption of a figure": file(f"{FIGURE}.json", r'"caption": ".*?(\d+)'),
    "parameter of a figure": file(f"{FIGURE}.json", r'"n_steps": (\d+)'),
    "picture of a figure": swapped(f"{FIGURE}.png", f"figures/default/{UNROLLING}-practice.png"),
    "PDF of a figure": swapped(f"{FIGURE}.pdf", f"figures/default/{UNROLLING}-practice.pdf"),
    "row of README": file("README.md", r"\| C4 \|.*?\*\* \| (\d+\.\d+) %"),
    "verdict in README": file("README.md", r"\| C4 \|.*?\*\*([\w ]+)\*\*"),
    "row of the gallery": file("figures/README.md", r"\| C4-logistic \|.*? power (-0\.\d+) \["),
    "caption in the gallery": file("figures/README.md", r"\*\*Figure hyperbola\.\*\*.*?(\d+)"),
    "Answer of a notebook": file(
        f"notebooks/{UNROLLING}.ipynb", r"answer:start[\s\S]*?(\d+\.\d+)[\s\S]*?answer:end"
    ),
    "band of the reference": file(
        f"tests/reference/{UNROLLING}.json", r'"default": [\s\S]*?"value": (0\.\d+)'
    ),
    "record": file(record.RECORD, r'": "(\d)'),
}


def each_cell(root, stem, shows):
    path = root / "notebooks" / f"{stem}.ipynb"
    content = json.loads(path.read_text())
    cells = [c for c in content["cells"] if shows in record.source(c)]
    yield from (cell for cell in cells if cell["cell_type"] == "code")
    path.write_text(json.dumps(content))


def stream(root, stem, shows, pattern):
    for cell in each_cell(root, stem, shows):
        (output,) = (out for out in cell["outputs"] if "text" in out)
        output["text"] = doctored("".join(output["text"]), pattern)


def picture(root, stem, shows):
    for cell in each_cell(root, stem, shows):
        (output,) = (out for out in cell["outputs"] if "image/png" in out.get("data", ()))
        output["data"]["image/png"] = "AAAA" + "".join(output["data"]["image/png"])[4:]


def emptied(root, shows):
    for cell in each_cell(root, UNROLLING, shows):
        cell["outputs"] = []


def widen(root, kind):
    for cell in each_cell(root, UNROLLING, "curve.round(3)"):
        (old,) = (tag for tag in cell["metadata"]["tags"] if tag.startswith(f"{kind}="))
        cell["metadata"]["tags"].remove(old)
        cell["metadata"]["tags"].append(f"{kind}=9e-3")


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_changed_by_hand_is_seen(study, kind):
    KINDS[kind](study)
    assert guard.breaches(study), kind


TABLES = [(stem, part) for stem, parts in guard.FIGURE_OF_TABLE.items() for part in parts]


@pytest.mark.parametrize(("stem", "part"), TABLES)
def test_each_number_of_a_table_is_compared_with_the_figure_that_draws_it(stem, part):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    (cell,) = (c for c in record.code_cells(path) if part in record.source(c))
    kinds = [
        (kind, text)
        for output in cell["outputs"]
        for kind, text in record.texts(output)
        if guard.table_rows(text)
    ]
    assert kinds
    for kind, text in kinds:
        assert guard.made_again(cell, kind, text, stem, EVIDENCE) == text
        rows, undrawn = guard.table_rows(text), guard.FIGURE_OF_TABLE[stem][part][1]
        numbers = [shown for row in rows for shown in row if re.search(r"[1-9]\d", shown)]
        seen = []
        for shown in set(numbers):
            changed = text.replace(shown, doctored(shown, r"(.+)"))
            seen.append(guard.made_again(cell, kind, changed, stem, EVIDENCE) != changed)
        assert len(seen) > 10
        assert sum(seen) >= len(seen) - 3 * undrawn, "but for those of rows that are not drawn"


def test_a_table_is_read_by_its_cells():
    text = "| a | b |\n| --- | --- |\n| damping × 10 | 0.50 [0.40, -6e-05] |\n| x | - |"
    assert guard.table_rows(text) == [["0.50", "0.40", "-6e-05"]]
    data = pd.DataFrame({"k": [1, 2], "low": [0.4, 0.5], "r": [0.5, 0.123449], "name": ["a", "b"]})
    assert guard.is_drawn(["0.50"], data)
    assert guard.is_drawn(["1", "0.4"], data)
    assert guard.is_drawn(["0.1234"], data)
    assert guard.is_drawn(["0.12345"], data), "the file may have been rounded before"
    for row in (
        ["0.4", "2"],
        ["1", "0.5", "0.5"],
        ["0.12"] * 2,
        ["0.1233"],
        ["0.51"],
        ["2", "0.4"],
    ):
        assert not guard.is_drawn(row, data)


def test_a_notebook_that_is_gone_is_no_longer_on_record(study):
    (study / "notebooks" / f"{SCOREBOARD}.ipynb").unlink()
    assert any("12_scoreboard is on record and no notebook" in one for one in guard.breaches(study))
