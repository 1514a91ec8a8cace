"""The project as a whole: packaging, citation, floors of the library, nothing local committed."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml
from test_contract import LOCAL_PATH

import dtda_lib
from dtda_lib.study.pages.architecture import FLOORS, SHARED_EXPERIMENTS

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "dtda_lib"
MODULES = sorted(path for path in LIBRARY.rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def module_id(path):
    return path.relative_to(LIBRARY).as_posix()


each_module = pytest.mark.parametrize("path", MODULES, ids=module_id)


# --- packaging and citation ----------------------------------------------------------------------

CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}


def requirements(lines):
    """Name -> set of bounds."""
    split = [re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(.*)", line).groups() for line in lines]
    return {
        CONDA_NAMES.get(name.lower(), name.lower()): set(bounds.replace(" ", "").split(",")) - {""}
        for name, bounds in split
    }


def test_the_conda_route_installs_the_same():
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    others = [line for line in extras["test"] if line != "dtda-study[study]"]
    assert len(others) == len(extras["test"]) - 1, "tests need what notebooks need"
    pip = requirements(project["dependencies"] + extras["study"] + others + extras["site"])
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = requirements(line for line in listed if isinstance(line, str))
    assert conda.pop("python") == {project["requires-python"]}
    assert conda.pop("pip") == set()
    (*by_pip, study) = next(line for line in listed if not isinstance(line, str))["pip"]
    assert conda | requirements(by_pip) == pip  # what conda-forge lacks comes by pip
    assert study == "-e ."  # pip refuses options other than these in such a list


ASKED = """
import sys


class Absent:  # as where only the core dependencies are installed
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"no module named {name}", name=name)


sys.meta_path.insert(0, Absent())
import numpy as np
from torch import nn
import dtda_lib as dt

x = np.random.default_rng(0).normal(size=(20, 3))
task = dt.as_task((x, x[:, 0]), n_query=2)
recipe = dt.Recipe("sgd", lr=0.1, batch_size=4, epochs=2)
bank = dt.retraining_bank(task, lambda: nn.Linear(3, 1), recipe, 6, points=[0, 1], workers=1)
print(dt.plan(bank, timed=False))
dt.page(dt.reliable(dt.shifts(bank)), task).save("answer.html")
print([dt.__getattr__(name).__name__ for name in dt.__all__ if name != "get_task"][:1])
"""


def test_an_answer_needs_the_core_dependencies_alone(tmp_path):
    """Notebooks' tools are an extra: nothing that a user's own question reaches imports them."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    absent = {"IPython", "jupyter", *requirements(extras["study"]), *requirements(extras["hf"])}
    code = ASKED.replace("ABSENT", repr(absent))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DTDA_CACHE": str(tmp_path / "cache")}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert (tmp_path / "answer.html").stat().st_size > 2000


def test_the_citation_is_valid_and_current():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cff.keys()
    assert cff["cff-version"] == "1.2.0"
    assert cff["type"] == "software"
    assert cff["version"] == PYPROJECT["project"]["version"] == dtda_lib.__version__
    assert cff["license"] == PYPROJECT["project"]["license"]
    assert cff["title"] == PYPROJECT["project"]["description"]
    assert isinstance(cff["date-released"], date)
    for work in [cff, *cff["references"]]:
        assert all("name" in author or "family-names" in author for author in work["authors"])
    for reference in cff["references"]:
        assert {"type", "title", "authors", "year", "identifiers"} <= reference.keys()


# --- nothing local -------------------------------------------------------------------------------


def tracked_texts():
    """Tracked files and those about to be, with their text; pictures are left out."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def test_no_file_names_a_path_of_one_machine():
    found = {name: match[0] for name, text in tracked_texts() if (match := LOCAL_PATH.search(text))}
    assert not found


def test_a_local_path_would_be_found():
    for folder in ("home", "root", "tmp", "work", "opt", "Users"):
        assert LOCAL_PATH.search(f"open('{'/' + folder}/x')")


# --- the library's floors ------------------------------------------------------------------------


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def dotted(path):
    """Dotted name of a module of the library, as a list of parts."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return list(parts[:-1] if parts[-1] == "__init__" else parts)


def for_hints(block):
    return ast.unparse(block.test).endswith("TYPE_CHECKING")


def own_imports(tree, package="dtda_lib"):
    """What a module of `package` imports from dtda_lib, as dotted names, wherever it stands."""
    hints = [node for node in ast.walk(tree) if isinstance(node, ast.If) and for_hints(node)]
    unused = {id(node) for block in hints for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in unused:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            source = ".".join([*parents, *filter(None, [node.module])])
            names = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith("dtda_lib."))


def package_of(path):
    return ".".join(path.relative_to(ROOT).parent.parts)


def wrong_floors(floor, names):
    """Names that lie on a floor above the one that imports them."""
    above = list(FLOORS)[list(FLOORS).index(floor) + 1 :]
    return sorted({name for name in names if name.split(".")[1] in above})


def wrong_doors(topic, names):
    """Names of another experiment that this one has no declared exception for."""
    for name in names:
        parts = name.split(".")
        another = parts[1] == "experiments" and len(parts) > 3 and parts[2] != topic
        if another and (topic, parts[2]) not in SHARED_EXPERIMENTS:
            yield name


def private_names(names):
    """Names with a leading underscore; a private name stays in its file."""
    return [n for n in names if any(re.match(r"_(?!_)", part) for part in n.split("."))]


@each_module
def test_each_floor_imports_from_those_below(path):
    if path == LIBRARY / "__init__.py":
        return
    floor = dotted(path)[1]
    assert floor in FLOORS, "give the new floor its place in FLOORS"
    names = list(own_imports(parse(path), package_of(path)))
    assert wrong_floors(floor, names) == []
    assert private_names(names) == []
    if floor == "experiments" and len(dotted(path)) > 2:
        assert list(wrong_doors(dotted(path)[2], names)) == []


def test_every_declared_exception_is_used():
    used = set()
    for path in (LIBRARY / "experiments").rglob("*.py"):
        names = own_imports(parse(path), package_of(path))
        used |= {
            (path.parent.name, name.split(".")[2]) for name in names if ".experiments." in name
        }
    assert set(SHARED_EXPERIMENTS) == {pair for pair in used if pair[0] != pair[1]}


def test_an_import_turned_around_would_be_found():
    def of(source, package="dtda_lib.models"):
        return list(own_imports(ast.parse(source), package))

    names = of("def f():\n    from dtda_lib import study\n    import dtda_lib.data.named")
    assert wrong_floors("models", names) == ["dtda_lib.study"]
    assert wrong_floors("ask", names) == []
    for source in ("from ..study.settings import configure", "from dtda_lib.study import settings"):
        assert len(wrong_floors("runs", of(source))) == 1
        assert wrong_floors("ask", of(source)) == []
    assert of("if TYPE_CHECKING:\n    from dtda_lib.study.settings import Config") == []
    assert private_names(of("from .networks import _view, Layout")) == [
        "dtda_lib.models.networks._view"
    ]
    other = of("from dtda_lib.experiments.diffusion.lists import top")
    assert list(wrong_doors("noise_vs_influence", other)) == other
    assert list(wrong_doors("diffusion", other)) == []


# --- plain arguments -----------------------------------------------------------------------------


def unpacked_literals(tree):
    """Lines that write `f(*(a, b), c)` or `{**{"a": 1}}` where `f(a, b, c)` and `{"a": 1}` do."""
    for node in ast.walk(tree):
        starred = isinstance(node, ast.Starred) and isinstance(node.ctx, ast.Load)
        if starred and isinstance(node.value, ast.Tuple | ast.List | ast.Set):
            yield node.lineno
        if isinstance(node, ast.Dict):
            parts = zip(node.keys, node.values)
            yield from (v.lineno for k, v in parts if k is None and isinstance(v, ast.Dict))


@pytest.mark.parametrize("folder", ["dtda_lib", "tests"])
def test_arguments_are_written_one_by_one(folder):
    found = {path: list(unpacked_literals(parse(path))) for path in (ROOT / folder).rglob("*.py")}
    assert not {str(path): lines for path, lines in found.items() if lines}


def test_an_unpacked_literal_would_be_found():
    source = "f(*(a, b), c)\n[*[1], *(x for x in y)]\n{**{'a': 1}, **b}\n(*names, last) = a\nf(*a)"
    assert sorted(unpacked_literals(ast.parse(source))) == [1, 2, 3]


# --- documentation and types ---------------------------------------------------------------------


def public(nodes):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [node for node in nodes if isinstance(node, kinds) and not node.name.startswith("_")]


def undocumented(tree):
    """Public functions and classes without docstring, functions and methods without hints."""
    for node in public(tree.body):
        if not ast.get_docstring(node):
            yield f"{node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}.{told}" for one in public(node.body) for told in unhinted(one)
            )
        else:
            yield from unhinted(node)


def unhinted(function):
    if isinstance(function, ast.ClassDef):
        return
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    for argument in filter(None, arguments):
        if argument.annotation is None and argument.arg not in ("self", "cls"):
            yield f"{function.name}: {argument.arg} has no type"
    if function.returns is None:
        yield f"{function.name}: the result has no type"


@each_module
def test_public_names_are_documented_and_typed(path):
    assert list(undocumented(parse(path))) == []


def test_missing_documentation_would_be_found():
    tree = ast.parse("def f(a, *, b: int = 0):\n    'Text.'\nclass A:\n    def g(self): pass")
    assert list(undocumented(tree)) == [
        "f: a has no type",
        "f: the result has no type",
        "A has no docstring",
        "A.g: the result has no type",
    ]


# --- no global random state ----------------------------------------------------------------------

SEEDING = {
    "torch.manual_seed",
    "torch.random.manual_seed",
    "torch.seed",
    "random.seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.set_rng_state",
}
NEW_NUMPY = ("default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "Philox")


def global_randomness(node, forked=False):
    """Uses of global random state outside a `with ...fork_rng(...)` block, in order."""
    if isinstance(node, ast.With):
        forked = forked or any("fork_rng" in ast.unparse(item.context_expr) for item in node.items)
    if isinstance(node, ast.Attribute) and not forked:
        name = ast.unparse(node)
        legacy = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", name)
        if name in SEEDING or (legacy and legacy[1] not in NEW_NUMPY):
            yield f"line {node.lineno}: {name}"
    for child in ast.iter_child_nodes(node):
        yield from global_randomness(child, forked)


@each_module
def test_no_global_random_state(path):
    assert list(global_randomness(parse(path))) == []


def test_global_random_state_would_be_found():
    source = """
torch.manual_seed(0)
np.random.seed(0)
rng: np.random.Generator = np.random.default_rng(0)
generator.manual_seed(0)
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
x = np.random.randn(3)
"""
    assert list(global_randomness(ast.parse(source))) == [
        "line 2: torch.manual_seed",
        "line 3: np.random.seed",
        "line 8: np.random.randn",
    ]


# --- references and budgets -----------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["smoke", "default"])
def test_every_notebook_has_references(profile):
    """Without a block for its profile a notebook compares nothing, and --test could not fail."""
    for notebook in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        path = ROOT / "tests" / "reference" / f"{notebook.stem}.json"
        assert json.loads(path.read_text(encoding="utf-8"))[profile]["values"], notebook.stem


def test_what_notebooks_cost_is_known_and_within_the_budget():
    """Seconds measured on two CPU cores with a cold cache: four minutes a notebook at `default`,
    25 minutes the study."""
    costs = json.loads((ROOT / "tests" / "reference" / "costs.json").read_text(encoding="utf-8"))
    notebooks = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    assert sorted(costs) == notebooks
    default = {name: costs[name]["default"] for name in notebooks}
    assert not {name: seconds for name, seconds in default.items() if seconds > 240}
    assert sum(default.values()) < 25 * 60
