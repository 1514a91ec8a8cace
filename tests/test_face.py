"""The face of the package: its names, what importing it costs, and how its objects are shown."""

import ast
import functools
import html.parser
import inspect
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import table_like

import dtda_lib as dt
from dtda_lib.ask.answer import Candidates
from dtda_lib.ask.page import Page
from dtda_lib.data.task import Task
from dtda_lib.names import Shown, listing
from dtda_lib.runs.fingerprint import model_identity
from dtda_lib.study.settings import parameters_of, resolve

LIBRARY = Path(dt.__file__).parent
HEAVY = ("torch", "numpy", "pandas", "scipy", "xarray", "matplotlib", "sklearn", "IPython")


# --- names ---------------------------------------------------------------------------------------


def in_new_process(code):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(LIBRARY.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_is_light_and_sets_what_torch_reads():
    code = (
        "import os, sys, time; start = time.perf_counter(); import dtda_lib; "
        "taken = time.perf_counter() - start; "
        f"print([m for m in {HEAVY} if m in sys.modules], os.environ['OMP_WAIT_POLICY'], "
        "taken < 0.5)"
    )
    assert in_new_process(code) == "[] passive True"


def test_names_are_loaded_when_they_are_used():
    code = (
        "import sys, dtda_lib as dt; known = dir(dt); dt.Task; "
        "print('torch' in sys.modules, 'Task' in vars(dt), known == dir(dt))"
    )
    assert in_new_process(code) == "True True True"


def test_the_face_shows_its_names_and_nothing_else():
    assert sorted(dir(dt)) == sorted([*dt.__all__, "__version__"])
    assert 30 <= len(dir(dt)) <= 64
    assert max(Counter(dt.__all__).values()) == 1
    for modules in dt.FACE.values():
        for module, names in modules.items():
            for name in names:
                found = getattr(dt, name)
                assert found.__module__ == f"dtda_lib.{module}", f"{name} is defined elsewhere"
                assert inspect.getdoc(found), f"{name} has no docstring"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match="'get_modle': did you mean 'get_model'"):
        dt.get_modle  # noqa: B018
    assert not hasattr(dt, "_ipython_display_")


def test_editors_are_told_the_same_names():
    tree = ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [
        node for node in tree.body if isinstance(node, ast.If) and "TYPE" in ast.unparse(node.test)
    ]
    told = [(node.module, one.name) for node in block.body for one in node.names]
    assert all(one.asname == one.name for node in block.body for one in node.names)
    lazily = [
        (module, name)
        for modules in dt.FACE.values()
        for module, names in modules.items()
        for name in names
    ]
    assert sorted(told) == sorted(lazily)


# What every experiment has by contract, and the file that has it; a script starts in `main`.
ROLES = {
    "Experiment": "experiment.py",
    "specification": "experiment.py",
    "Parameters": "parameters.py",
    "answer": "words.py",
    "finding": "words.py",
}
SCRIPTS = "main"
# Values that several experiments may call alike, and one that a script without dtda_lib repeats
# (a test holds both equal).
ROLE_VALUES = {"FIGURE", "NAMES"}
TWIN_VALUES = {"PROFILE_NAMES"}


def definitions(tree):
    """Public functions and classes of a module."""
    kinds = ast.FunctionDef | ast.ClassDef
    return [n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]


def values(tree):
    """Public values and types that a module assigns."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = [part for target in targets for part in ast.walk(target)]
            names = [part.id for part in parts if isinstance(part, ast.Name)]
            yield from (name for name in names if not name.startswith("_"))


def shared_names(trees):
    """Name -> modules, for public names that two modules give to what they define.

    Functions, classes and types have one name in the whole package. Values have one in the
    library, and no experiment takes it; two experiments may each have a threshold of one name.
    """
    library, everywhere, of_experiments = {}, {}, {}
    for path, tree in trees.items():
        experiment = path.parts[0] == "experiments"
        kept = {path.name} if experiment else set()
        for name in definitions(tree):
            if name != SCRIPTS and ROLES.get(name) not in kept:
                everywhere.setdefault(name, []).append(path)
        for name in set(values(tree)) - TWIN_VALUES:
            if not name.isupper():  # a type
                everywhere.setdefault(name, []).append(path)
            elif not experiment:
                library.setdefault(name, []).append(path)
            elif name not in ROLE_VALUES:
                of_experiments.setdefault(name, []).append(path)
    for name in library.keys() & of_experiments.keys():
        library[name] += of_experiments[name]
    return {
        name: sorted(map(str, paths))
        for known in (everywhere, library)
        for name, paths in known.items()
        if len(paths) > 1
    }


def borrowed(tree):
    """Names that a module's `__all__` offers although it imports them."""
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    offered = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and "__all__" in map(ast.unparse, node.targets)
    ]
    return sorted(imported & {name for names in offered for name in names})


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_two_things_share_no_name():
    modules = [path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py"]
    assert shared_names({path.relative_to(LIBRARY): parsed(path) for path in modules}) == {}


def test_one_thing_has_one_door():
    modules = [path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py"]
    doors = {path.relative_to(LIBRARY).as_posix() for path in modules if borrowed(parsed(path))}
    assert not doors


def test_a_shared_name_or_second_door_would_be_found():
    def shared(**sources):
        files = {name.replace("_in_", "/") + ".py": ast.parse(s) for name, s in sources.items()}
        return shared_names({Path(name): tree for name, tree in files.items()})

    one, other = "experiments_in_one_in_", "experiments_in_other_in_"
    for source in ("def f(): pass", "class f: pass", "f = dict[str, int]"):
        assert shared(runs_in_a="def f(): pass", **{one + "tables": source}) == {
            "f": ["experiments/one/tables.py", "runs/a.py"]
        }
    roles = {one + "words": "def answer(): pass", other + "words": "def answer(): pass"}
    assert shared(**roles) == {}
    elsewhere = {"study_in_a": "def answer(): pass", other + "plots": "def answer(): pass"}
    assert set(shared(**roles, **elsewhere)) == {"answer"}
    assert shared(**{one + "claims": "LEAST = 1", other + "claims": "LEAST = 2"}) == {}
    assert shared(runs_in_a="LEAST = 1", **{one + "claims": "A, LEAST = 1, 2"}) == {
        "LEAST": ["experiments/one/claims.py", "runs/a.py"]
    }
    assert shared(runs_in_a="LEAST: int = 1", data_in_b="LEAST = 1")
    assert shared(runs_in_a="def _f(): pass", data_in_b="def _f(): pass") == {}
    assert borrowed(ast.parse("from .a import b, c\n__all__ = ['b', 'd']\ndef d(): pass")) == ["b"]


# --- how objects are shown -----------------------------------------------------------------------


def shown_objects():
    task = table_like(n_train=30, n_query=4)
    model, recipe = dt.get_model("mlp", widths=(8, 2, 1)), dt.get_recipe("published_adam")
    runs = dt.paired(dt.leave_one_out(30), dt.seed_pairs(3))
    bank = dt.RunBank(task, model, recipe, runs, workers=1)
    config = resolve(parameters_of("01_noise_vs_influence"), profile="smoke", sizes=(1, 2))
    parts = [task, model, recipe, runs.design, runs, bank, config, dt.plan(bank, timed=False)]
    parts += [dt.get_measure("query_loss"), dt.get_estimator("gradient_similarity", recipe)]
    return {type(one).__name__ + f" {at}": one for at, one in enumerate(parts)} | {
        "Candidates": Candidates(tuple(range(50)), (60, 61), 100)
    }


@pytest.mark.parametrize("name", shown_objects())
def test_an_object_says_what_it_is_in_three_lines(name):
    one = shown_objects()[name]
    text = repr(one)
    assert text.startswith(type(one).__name__)
    assert text.count("\n") <= 2
    assert max(map(len, text.splitlines())) <= 110
    page = one._repr_html_() or one._repr_markdown_()
    for told in (text, page):
        assert "tensor" not in told
        assert "array" not in told
        assert "<function" not in told
    assert len(page) < 2500


def test_a_task_tells_its_sizes_and_a_recipe_what_differs():
    task = dt.as_task((np.ones((9, 3)) * np.arange(9)[:, None], np.arange(9) % 2), n_query=2)
    assert repr(task) == (
        "OwnTask(name='mine', train=7, query=2, shape=(3,), loss='cross_entropy', outputs=2, "
        "classes='0, 1',\n    source='user', licence='not stated', notes='Targets are taken as 2 "
        "classes (cross-entropy).')"
    )
    assert repr(dt.Recipe("sgd", momentum=0.5)) == (
        "Recipe(optimiser='sgd', lr=0.001, momentum=0.5, batch_size=32, epochs=15)"
    )
    runs = dt.unpaired(dt.leave_one_out(5), dt.seed_pairs(2))
    assert "removals='none, 0, 1, ... (6)', train=5, paired=False" in repr(runs)
    bank = next(one for one in shown_objects().values() if isinstance(one, dt.RunBank))
    assert repr(bank) == (
        "RunBank(title='table-like', task='table-like', runs=93, missing=93, seeds=3, "
        "removals='none, 0, 1,\n    ... (31)', measures='query_loss', shards=1)"
    )
    assert repr(Page("<p>" * 1000, 3)).startswith("Page(3,000 characters")


class Text(html.parser.HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


class Odd(Shown):
    def _facts(self):
        return {
            "<b>name</b>": "<script>alert('&')</script>",
            "long": "x" * 5000,
            "line": "a\nb\x1b",
        }


def test_text_of_a_user_is_escaped_and_cut():
    page = Text(Odd()._repr_html_())
    assert set(page.tags) == {"table", "caption", "tr", "th", "td"}
    assert "<script>alert('&')</script>" in page.text
    assert len(repr(Odd())) < 400
    assert "\x1b" not in Odd()._repr_html_()
    assert "a b" in Odd()._repr_html_()
    assert listing([1, 2]) == "1, 2"


def test_a_model_factory_has_the_identity_of_its_partial():
    ours = dt.get_model("mlp", widths=(3, 2))
    plain = functools.partial(ours.func, **ours.keywords)
    assert model_identity(ours) == model_identity(plain)
    assert model_identity(ours) != model_identity(dt.get_model("mlp", widths=(3, 4)))
    assert dt.Network.of(ours).layout.n_parameters == 3 * 2 + 2


# --- names of classes and columns ----------------------------------------------------------------


def test_names_change_no_digest_and_columns_must_fit():
    task = table_like(n_train=4, n_query=3)
    width = task.train_x.shape[1]
    parts = {name: getattr(task, name) for name in ("train_x", "train_y", "query_x", "query_y")}
    parts |= {"name": "renamed", "loss": task.loss, "n_outputs": task.n_outputs}
    named = Task(**parts, columns=tuple(map(str, range(width))), classes=("a",))
    assert named.digest == task.digest
    assert task.input_names[:2] == ("input 0", "input 1")
    assert named.input_names[:2] == ("0", "1")
    with pytest.raises(ValueError, match="1 columns are named but a training point has shape"):
        Task(**parts, columns=("one",))
    assert dt.get_task("concrete").classes == ()
    assert len(dt.get_task("concrete").columns) == 8
    assert dt.get_task("regression1d").columns == ("x",)
