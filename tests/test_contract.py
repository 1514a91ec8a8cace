"""What every committed notebook keeps to, and proof that each rule notices a breach.

nbval alone is silent about stripped outputs, unexecuted cells and mistyped tags.
"""

import ast
import copy
import io
import json
import re
import tokenize
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dtda_lib.study.tolerant import ROUNDED

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[!.]*.ipynb"))

TAGS = {
    "parameters",
    "nbval-check-output",
    "nbval-ignore-output",
    "nbval-skip",
    "raises-exception",
    "hide-input",
    ROUNDED,
}
TOLERANCE_TAG = re.compile(r"[ra]tol=\d+(\.\d+)?(e[-+]?\d+)?")
PROFILES = ("smoke", "default", "paper")
# Paths of one machine; a URL or a relative path has a word character or dot before the slash.
LOCAL_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|tmp|work|opt|mnt|Users|private)/|\b[A-Z]:\\{1,2}Users\b"
)
MAX_BYTES = 1_000_000


# --- the rules: each takes a notebook and names what is wrong ------------------------------------


def problems(notebook) -> list[str]:
    """Everything that breaks the contract; an empty list for a good notebook."""
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"invalid notebook format: {error.message}"]
    rules = (
        metadata_problems,
        tag_problems,
        execution_problems,
        output_problems,
        order_problems,
        parameter_problems,
        source_problems,
    )
    return [problem for rule in rules for problem in rule(notebook)]


def metadata_problems(notebook):
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec is not python3"
    if "widgets" in notebook.metadata:
        yield "widget state is stored"
    if len(nbformat.writes(notebook).encode()) >= MAX_BYTES:
        yield "the notebook is larger than 1 MB"


def tag_problems(notebook):
    for number, cell in enumerate(notebook.cells):
        for tag in tags(cell):
            if tag == "injected-parameters":
                yield f"cell {number}: injected-parameters, so it was not run as committed"
            elif tag not in TAGS and not TOLERANCE_TAG.fullmatch(tag):
                yield f"cell {number}: unknown tag {tag!r}"
        bands = [tag for tag in tags(cell) if "tol=" in tag or tag == ROUNDED]
        if bands and not checked(cell):
            yield f"cell {number}: a tolerance without nbval-check-output compares nothing"


def execution_problems(notebook):
    cells = [cell for cell in code_cells(notebook) if "nbval-skip" not in tags(cell)]
    counts = [cell.execution_count for cell in cells]
    if None in counts:
        yield f"code cell {counts.index(None)} was not executed"
    elif counts != list(range(1, len(counts) + 1)):
        yield f"the cells were not run once each in order: {counts}"


def output_problems(notebook):
    if not any(checked(cell) for cell in code_cells(notebook)):
        yield "no cell is checked"
    for number, cell in enumerate(notebook.cells):
        if checked(cell) and not cell.outputs:
            yield f"cell {number}: checked, but it has no outputs"
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {number}: stores an error"
            if output.get("name") == "stderr":
                yield f"cell {number}: stores stderr output"


def order_problems(notebook):
    cells = notebook.cells
    code = code_cells(notebook)
    title = cells[0].source.lower() if cells and cells[0].cell_type == "markdown" else ""
    if not title.startswith("# "):
        yield "the first cell is no title (a level-1 heading)"
    if "question" not in title:
        yield "the title cell holds no question"
    below = cells[1].source if len(cells) > 1 else ""
    if "**answer.**" not in title and not below.startswith("<!-- answer:start -->"):
        yield "neither the title cell nor the one below it holds the answer"
    parameters = [n for n, cell in enumerate(cells) if "parameters" in tags(cell)]
    if len(parameters) != 1 or cells[parameters[0]] is not (code[0] if code else None):
        yield "the first code cell, and no other, must be tagged parameters"
        return
    cost = [text for text in headed(cells[: parameters[0]], "cost") if mentions(text, PROFILES)]
    if not cost:
        yield "no section on cost that names every profile stands before the parameters"
    if len(code) < 2 or "configure(" not in code[1].source:
        yield "the code cell after the parameters does not call configure("
    reports = [n for n, cell in enumerate(cells) if is_check_cell(cell)]
    limits = [n for n, cell in enumerate(cells) if headed([cell], "limits")]
    last = len(cells) - 1 - cells[::-1].index(code[-1])
    appendix = next((n for n, cell in enumerate(cells) if headed([cell], "appendix")), last)
    if len(reports) != 1:
        yield "there must be one cell tagged nbval-check-output that calls .report()"
    elif any(cell.cell_type == "code" for cell in cells[reports[0] + 1 : appendix]):
        yield "code that is no appendix follows the check cell"
    if not limits:
        yield 'there is no heading "Limits"'
    if "provenance(" not in code[-1].source:
        yield "the last code cell does not call provenance("
    if reports and limits and not reports[0] < limits[-1] < last:
        yield "the order is: check cell, limits, provenance"


def parameter_problems(notebook):
    cells = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    for line, statement in ((s.lineno, s) for cell in cells for s in parsed(cell.source) or ()):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            yield f"parameters, line {line}: not of the form `name: type = value  # comment`"
        elif line not in comment_lines(cells[0].source):
            yield f"parameters, line {line}: {statement.target.id} has no comment"


def source_problems(notebook):
    for number, cell in enumerate(notebook.cells):
        if LOCAL_PATH.search(cell.source):
            yield f"cell {number}: an absolute path in the source"
        if LOCAL_PATH.search(output_text(cell)):
            yield f"cell {number}: an absolute path in the output"
        if cell.cell_type != "code":
            continue
        tree = parsed(cell.source)
        if tree is None:
            yield f"cell {number}: not plain Python (a magic, or a syntax error)"
            continue
        nodes = [node for statement in tree for node in ast.walk(statement)]
        if any(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for n in nodes):
            yield f"cell {number}: defines a function or class; that belongs in dtda_lib"
        lambdas = [n for n in nodes if isinstance(n, ast.Lambda)]
        if any(isinstance(n, ast.BinOp) for one in lambdas for n in ast.walk(one)):
            yield f"cell {number}: mathematics in a lambda; that belongs in dtda_lib"
        if "savefig" in cell.source:
            yield f"cell {number}: savefig; figures leave through the Exporter"
        typed = [n for n in nodes if isinstance(n, ast.keyword) and n.arg == "status"]
        if any(isinstance(keyword.value, ast.Constant) for keyword in typed):
            yield f"cell {number}: a status is typed in; it must come out of a rule"


# --- what the rules look at ----------------------------------------------------------------------


def tags(cell):
    return cell.metadata.get("tags", [])


def checked(cell):
    return "nbval-check-output" in tags(cell)


def is_check_cell(cell):
    return cell.cell_type == "code" and checked(cell) and ".report()" in cell.source


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def headed(cells, word):
    """The texts of markdown cells that have a heading with this word."""
    heading = re.compile(rf"^#{{1,6}} .*\b{word}\b", re.IGNORECASE | re.MULTILINE)
    return [c.source for c in cells if c.cell_type == "markdown" and heading.search(c.source)]


def mentions(text, words):
    return all(re.search(rf"\b{word}\b", text) for word in words)


def output_text(cell):
    """All text of a cell's outputs; pictures are left out."""
    texts = [
        *(output.get("text", "") for output in cell.get("outputs", [])),
        *(
            content if isinstance(content, str) else json.dumps(content)
            for output in cell.get("outputs", [])
            for kind, content in output.get("data", {}).items()
            if not kind.startswith("image/")
        ),
    ]
    return "\n".join(texts)


def parsed(source):
    try:
        return ast.parse(source).body
    except SyntaxError:
        return None


def comment_lines(source):
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT}


# --- the committed notebooks ---------------------------------------------------------------------


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize(
    "path", NOTEBOOKS or [None], ids=lambda path: path.stem if path else "none"
)
def test_notebook_keeps_the_contract(path):
    if path is None:
        pytest.skip("no notebooks yet")
    assert problems(read(path)) == []


# --- each rule fires -----------------------------------------------------------------------------


def good():
    """A notebook that keeps every rule."""
    stdout = [new_output("stream", name="stdout", text="mean 0.5\n")]
    check = {"tags": ["nbval-check-output", "rtol=1e-3"]}
    cells = [
        new_markdown_cell("# Title\n\n**Question.** What?\n\n**Answer.** That."),
        new_markdown_cell("## Cost\n\n`smoke` 1 s, `default` 1 min, `paper` 1 h"),
        new_code_cell(
            'profile: str = "default"  # which sizes\nn_seeds: int = None  # how many runs',
            metadata={"tags": ["parameters"]},
        ),
        new_code_cell("cfg = study.configure(Parameters, globals())", outputs=stdout),
        new_code_cell("print(mean)", metadata=check, outputs=stdout),
        new_code_cell("checks.report()", metadata={"tags": check["tags"][:1]}, outputs=stdout),
        new_markdown_cell("## Limits\n\nSmall data."),
        new_code_cell("study.provenance(cfg)"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    for count, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = count
    return copy.deepcopy(notebook)


def test_a_good_notebook_has_no_problems():
    assert problems(good()) == []


def set_source(number, text):
    return lambda notebook: notebook.cells[number].update(source=text)


def add_output(number, output):
    return lambda notebook: notebook.cells[number].outputs.append(output)


def add_tag(number, tag):
    def change(notebook):
        notebook.cells[number].metadata["tags"] = [*tags(notebook.cells[number]), tag]

    return change


def set_tags(number, *names):
    return lambda notebook: notebook.cells[number].metadata.update(tags=list(names))


def strip_outputs(notebook):
    for cell in code_cells(notebook):
        cell.outputs = []


def move(old, new):
    return lambda notebook: notebook.cells.insert(new, notebook.cells.pop(old))


def local(path):
    return "/" + path  # assembled, so that this file holds no local path itself


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
STDERR = new_output("stream", name="stderr", text="warning")

BREACHES = {
    "outputs stripped": (strip_outputs, "has no outputs"),
    "mistyped tag": (set_tags(4, "nbval-check-outputs", "rtol=1e-3"), "unknown tag"),
    "mistyped tolerance": (add_tag(4, "rtol=small"), "unknown tag"),
    "rounded unchecked": (set_tags(4, ROUNDED), "compares nothing"),
    "tolerance unchecked": (set_tags(4, "rtol=1e-3"), "compares nothing"),
    "injected": (add_tag(3, "injected-parameters"), "injected-parameters"),
    "unexecuted": (lambda n: n.cells[4].update(execution_count=None), "was not executed"),
    "out of order": (lambda n: n.cells[4].update(execution_count=9), "in order"),
    "error stored": (add_output(4, ERROR), "stores an error"),
    "stderr stored": (add_output(4, STDERR), "stores stderr"),
    "nothing checked": (lambda n: (set_tags(4)(n), set_tags(5)(n)), "no cell is checked"),
    "no title": (set_source(0, "Question, answer"), "no title"),
    "code first": (move(2, 0), "no title"),
    "no question": (set_source(0, "# Title\n\nAnswer."), "no question"),
    "no answer": (set_source(0, "# Title\n\nQuestion?"), "holds the answer"),
    "cost lacks a profile": (set_source(1, "## Cost\n\n`smoke`, `default`"), "cost"),
    "cost after parameters": (move(1, 3), "cost"),
    "no parameters": (set_tags(2), "tagged parameters"),
    "two parameters cells": (add_tag(3, "parameters"), "tagged parameters"),
    "late parameters": (move(2, 3), "tagged parameters"),
    "no annotation": (set_source(2, "n_seeds = 1  # comment"), "not of the form"),
    "no comment": (set_source(2, 'profile: str = "a # b"'), "profile has no comment"),
    "no set-up": (set_source(3, "pass"), "configure("),
    "no report": (set_source(5, "pass"), ".report()"),
    "report unchecked": (set_tags(5), ".report()"),
    "report too early": (move(5, 3), "no appendix follows"),
    "no limits": (set_source(6, "Small data."), "Limits"),
    "limits too early": (move(6, 1), "the order is"),
    "no provenance": (set_source(7, "pass"), "provenance("),
    "absolute path": (set_source(4, f'open("{local("home/me/data.csv")}")'), "in the source"),
    "Windows path": (set_source(4, 'open(r"C:' + '\\Users")'), "in the source"),
    "path in markdown": (set_source(6, f"## Limits\n\nSee {local('tmp/log')}"), "in the source"),
    "path printed": (
        add_output(4, new_output("display_data", data={"text/plain": local("root/x")})),
        "in the output",
    ),
    "def": (set_source(4, "def mean(x):\n    return x"), "defines a function"),
    "class": (set_source(4, "class Mean:\n    pass"), "defines a function or class"),
    "lambda": (set_source(4, "f = lambda x: x / 2"), "lambda"),
    "magic": (set_source(4, "%matplotlib inline"), "not plain Python"),
    "savefig": (set_source(4, "plt.savefig(name)"), "savefig"),
    "typed status": (set_source(4, 'Claim(status="confirmed")'), "typed in"),
    "kernel": (lambda n: n.metadata.kernelspec.update(name="conda-env"), "kernelspec"),
    "widgets": (lambda n: n.metadata.update(widgets={}), "widget"),
    "too large": (set_source(6, "## Limits\n" + "x" * MAX_BYTES), "1 MB"),
    "invalid": (lambda n: n.cells[4].update(outputs=[{"output_type": "none"}]), "invalid"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_each_rule_fires(breach):
    doctor, told = BREACHES[breach]
    notebook = good()
    doctor(notebook)
    assert any(told in problem for problem in problems(notebook)), problems(notebook)


def test_what_looks_like_a_path_and_is_none():
    for text in ("https://x.org/home/me", "a/opt/b", "and/or", "../mnt/x", "1/2", "ratio a:b"):
        assert not LOCAL_PATH.search(text), text
