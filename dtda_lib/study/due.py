"""Which evidence is older than the code that decides its numbers, and so is due to be made anew.

The code of a notebook's numbers is what its cells compute, and every function and class of the
package that they use for it, followed by `source_digest`. Figures, words and checks decide nothing.
"""

import ast
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from dtda_lib.attribution.metagradient import metagradient_shifts
from dtda_lib.attribution.registry import ESTIMATORS
from dtda_lib.attribution.source import source_shifts
from dtda_lib.attribution.trajectory import linearised
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.data.named import TASKS
from dtda_lib.models.networks import MODELS
from dtda_lib.models.user_code import user_code
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.fingerprint import source_digest
from dtda_lib.runs.measures import MEASURES
from dtda_lib.runs.recipes import RECIPES, Recipe, new_optimiser, objective_l2
from dtda_lib.runs.shards import full_precision
from dtda_lib.runs.trainer_bank import TrainerBank
from dtda_lib.runs.training import train

from .artefacts import digest
from .evidence import DUE, EVIDENCE, PREVIEW, load
from .methods import DELTAS, METHODS
from .record import code_cells, source
from .settings import StudyError, parameters_of, resolve

_PACKAGE = "dtda_lib"
_MACHINERY = (RunBank, TrainerBank, UnrolledBank, user_code)
"""What keeps runs, and decides no number."""
_TRAINERS = (train, Recipe, full_precision, unrolled_shifts, metagradient_shifts, source_shifts)
"""What a bank calls."""
_TABLES = (TASKS, MODELS, RECIPES, MEASURES, ESTIMATORS, METHODS, DELTAS)
_TABLES += (new_optimiser.others, linearised.others, objective_l2.others)
"""Of these, a notebook's numbers depend on the entries that it names."""
_SHOWING = {"plots", "words", "study", "previews", "wording"}
"""Modules and floors that show numbers and do not make them."""


def code_of(notebook: Path) -> str:
    """Digest of the code that decides the numbers of a notebook.

    The `parameters` cell and displays do not count, nor do comments, and nor does the order or the
    place of what is imported. Of tasks, models, recipes, measures and estimators those count that
    are named by cells, parameters or the code that they reach: a new estimator makes no evidence
    due.

    Raises:
        ValueError: a cell uses something whose source cannot be followed.
    """
    lines, used = _computing(notebook)
    told = ast.unparse(ast.Module(lines, []))  # which drops comments and layout
    named = f"{told}\n{_published(notebook)}"
    code = source_digest({*used, *_TRAINERS}, opaque=_MACHINERY, tables=_TABLES, named=named)
    return digest([told, code])


def entry_points(notebook: Path) -> list[str]:
    """Names of the functions and classes that `code_of` follows, for a reader who asks why."""
    return sorted(f"{thing.__module__}.{thing.__qualname__}" for thing in _computing(notebook)[1])


def stale(root: Path) -> dict[str, str]:
    """Notebook -> why its evidence is due, for every notebook whose evidence is.

    Due is evidence that does not say which code made it, that was made by other code or with other
    parameters than today's, and a notebook with claims that only `default` has tested.
    """
    evidence = load(root)
    found = {}
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        only = [one.claim.id for one in evidence.of(path.stem) if one.profile == PREVIEW]
        if why := _outdated(root, path):
            found[path.stem] = why
        elif only:
            found[path.stem] = f"claims tested at {PREVIEW} alone: {', '.join(only)}"
    return found


def problems(root: Path) -> list[str]:
    """What is wrong with `figures/paper/due.json`: due and not listed, or listed and not due."""
    listed = json.loads((root / DUE).read_text(encoding="utf-8")) if (root / DUE).exists() else {}
    now = stale(root)
    missing = [f"{name} is due and not listed: {now[name]}" for name in sorted({*now} - {*listed})]
    needless = [f"{name} is listed and not due" for name in sorted({*listed} - {*now})]
    unsaid = [f"{name} is listed without a reason" for name, why in listed.items() if not why]
    return [*missing, *needless, *unsaid]


def _outdated(root: Path, notebook: Path) -> str:
    """Why the evidence of a notebook is older than what decides its numbers; "" if it is not."""
    file = root / "figures" / EVIDENCE / f"{notebook.stem}.claims.json"
    if not file.exists():
        return ""
    made = json.loads(file.read_text(encoding="utf-8"))
    if "code" not in made:
        return "it does not say which code made it"
    published = resolve(parameters_of(notebook.stem), profile=EVIDENCE, device="cpu")
    if made["spec_hash"] != published.hash:
        return "the published sizes have changed"
    return "" if made["code"] == code_of(notebook) else "the code of its numbers has changed"


def _published(notebook: Path) -> str:
    """The parameters of the evidence; "" for a notebook that is none of the study's."""
    try:
        kind = parameters_of(notebook.stem)
    except StudyError:
        return ""
    return repr(resolve(kind, profile=EVIDENCE, device="cpu").parameters)


def _computing(notebook: Path) -> tuple[list[ast.stmt], set[Any]]:
    """The statements of a notebook that make numbers, and what they use of the package."""
    sources = [
        source(cell)
        for cell in code_cells(notebook)
        if "parameters" not in cell["metadata"].get("tags", ())
    ]
    tree = ast.parse("\n".join(sources))
    imported = dict(_imports(tree))
    lines = [line for line in tree.body if _computes(line, imported)]
    return lines, {thing for line in lines for thing in _used(line, imported)}


def _imports(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Local name -> module, function, class or value of the package, imported here."""
    for node in _walk(tree, ast.ImportFrom):
        if (node.module or "").split(".")[0] == _PACKAGE:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                yield alias.asname or alias.name, getattr(module, alias.name)


def _computes(line: ast.stmt, imported: Mapping[str, Any]) -> bool:
    """Whether a statement makes numbers: an assignment, a loop, or the statement of a claim."""
    if isinstance(line, ast.Import | ast.ImportFrom):
        return False
    if isinstance(line, ast.Assign | ast.AnnAssign):
        first = next(_walk(line.value, ast.Name), None) if line.value else None
        return first is None or not _shows(imported.get(first.id, first.id))
    functions = [call.func for call in _walk(line, ast.Call)]
    methods = {function.attr for function in functions if isinstance(function, ast.Attribute)}
    names = {function.id for function in functions if isinstance(function, ast.Name)}
    shown = isinstance(line, ast.Expr) or "value" in methods or "export" in names
    return "claim" in methods or not shown


def _used(line: ast.stmt, imported: Mapping[str, Any]) -> Iterator[Any]:
    """Functions and classes of the package that a statement names, by attribute or alone."""
    owners = set()
    for node in _walk(line, ast.Attribute):
        if isinstance(node.value, ast.Name) and isinstance(imported.get(node.value.id), ModuleType):
            owners.add(node.value)
            thing = getattr(imported[node.value.id], node.attr, None)
            if callable(thing) and not _shows(thing):
                yield thing
    for node in _walk(line, ast.Name):
        thing = imported.get(node.id)
        if callable(thing) and node not in owners and not _shows(thing):
            yield thing


def _walk(line: ast.AST, kind: type) -> Iterator[Any]:
    return (node for node in ast.walk(line) if isinstance(node, kind))


def _shows(thing: Any) -> bool:
    """Whether something of the package, or a name of a cell, is about showing numbers."""
    if isinstance(thing, str):
        return thing in ("export", "display", "checks")
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", "")
    return bool(_SHOWING & set((name or "").split(".")[1:]))
