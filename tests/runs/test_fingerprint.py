"""Digests of code and values: blind to where and how code is written, not to what it does."""

import argparse
import ast
import functools
import importlib
import io
import itertools
import linecache
import logging
import os
import re
import sys
import textwrap
import threading
import types
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import table_like
from IPython.core.interactiveshell import InteractiveShell

import dtda_lib
from dtda_lib.attribution import trajectory
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.models.networks import get_model
from dtda_lib.runs import recipes, training
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.fingerprint import (
    _Graph,
    behaviour,
    measure_identity,
    model_identity,
    source_digest,
)
from dtda_lib.runs.keys.code_form import code_form
from dtda_lib.runs.keys.origin import import_origin, origin
from dtda_lib.runs.keys.syntax_form import SyntaxWriter
from dtda_lib.runs.measures import measure
from dtda_lib.runs.protocols import paired
from dtda_lib.runs.removal import nothing

TASK = table_like(n_train=4, n_query=3)

# -------------------------------------------------------------- code in files

MAIN = '''
    """A module."""

    import functools
    import math as m

    import torch
    from torch import Tensor

    from .helpers import Parent, scaled

    LIMIT = 7
    TABLE = {"a": [1, 2], "b": (3,)}
    ARRAY = torch.arange(2000.0)
    UNREAD = 1


    def twice(function):
        @functools.wraps(function)
        def wrapper(*given):
            return 2 * function(*given)

        return wrapper


    class Model(Parent):
        SCALE = 2

        class CFG:
            slope = 0.1

        def __init__(self, width: int = 3) -> None:
            self.width = width

        @property
        def double(self) -> int:
            return 2 * self.width

        @classmethod
        def made(cls):
            return cls(width=4)

        @staticmethod
        def cut(x):
            return x.clamp(max=1)

        def __call__(self, x):
            return self.shift(x) * self.SCALE * self.CFG.slope * self.double


    def recursive(n):
        return 0 if n < 1 else mutual(n - 1)


    def mutual(n):
        return recursive(n - 1) + 5


    @twice
    def inner(x):
        return x + 11


    def captured(value):
        def reads(x):
            return x * value

        return reads


    reads = captured(13)
    part = functools.partial(scaled, power=17)
    held = Model(width=19).shift
    called = Model(width=23)
    pick = [lambda x: x + 29, lambda x: x + 31]


    def late(x):
        """Adds."""
        from . import later
        from .later import added as plus

        return plus(x) + later.OFFSET


    def entry(x: Tensor, factor: float = 37) -> Tensor:
        """Everything is reached from here."""
        total = 0  # begins
        for row in x:
            total = total + m.sin(row) - 41
        squares = [item**2 for item in total]
        if total > LIMIT:
            raise ValueError(f"too much: {total}")
        try:
            total += TABLE["a"][0] + ARRAY[0] + recursive(3) + inner(total) + reads(total)
        except KeyError as error:
            total = str(error)
        return part(total) + held(total) + called(total) + pick[0](late(squares))
'''

HELPERS = """
    def power_of(x, power):
        return x**power + 43


    def scaled(x, power=2):
        return power_of(x, power)


    class Parent:
        def shift(self, x):
            return x + 47
"""

LATER = """
    OFFSET = 53


    def added(x):
        return x + 59
"""

SOURCES = {
    name: textwrap.dedent(text)
    for name, text in {"main": MAIN, "helpers": HELPERS, "later": LATER}.items()
}
count = itertools.count()


@pytest.fixture(params=["ours", "the user's"])
def digest(request, tmp_path, monkeypatch):
    """The digest of `entry` after some changes, in a new package inside dtda_lib or outside."""

    def load(*changes, entry="main", sources=SOURCES, act=lambda module: None):
        name = f"written{next(count)}"
        folder = tmp_path / name
        folder.mkdir()
        texts = dict(sources)
        for before, after in changes:
            (file,) = [f for f, text in texts.items() if text.count(before) == 1]
            assert sum(text.count(before) for text in texts.values()) == 1, before
            texts[file] = texts[file].replace(before, after)
        for file, text in ({"__init__": ""} | texts).items():
            (folder / f"{file}.py").write_text(text)
        if request.param == "ours":
            monkeypatch.setattr(dtda_lib, "__path__", [*dtda_lib.__path__, str(tmp_path)])
            name = f"dtda_lib.{name}"
        else:
            monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        module = importlib.import_module(f"{name}.{entry}")
        act(module)
        return source_digest(module.entry)

    return load


RECURSIVE = "def recursive(n):\n    return 0 if n < 1 else mutual(n - 1)\n"

SAME = {
    "a comment": [("# begins", "# starts here")],
    "a docstring": [("Adds.", "Adds two things.")],
    "no docstring": [('    """Adds."""\n', "")],
    "an annotation": [("x: Tensor, factor: float", "x, factor: int")],
    "an annotated local": [("total = 0  #", "total: float = 0  #")],
    "layout": [("total = total + m.sin(row) - 41", "total = (\n  total\n + m.sin(row)\n  - 41)")],
    "lines before": [("LIMIT = 7", "LIMIT = 7\n\n\nANOTHER = 8\n")],
    "the order of imports": [
        ("import functools\nimport math as m\n", "import math as m\nimport functools\n")
    ],
    "an alias": [("import math as m\n", "import math\n"), ("m.sin", "math.sin")],
    "from an import": [("import math as m\n", "from math import sin\n"), ("m.sin", "sin")],
    "another alias": [
        ("import Parent, scaled", "import Parent, scaled as sc"),
        ("partial(scaled, ", "partial(sc, "),
    ],
    "a module's attribute": [
        ("from .helpers import Parent, scaled", "from . import helpers"),
        ("Model(Parent)", "Model(helpers.Parent)"),
        ("partial(scaled, ", "partial(helpers.scaled, "),
    ],
    "a loop's variable": [("for row in x", "for r in x"), ("m.sin(row)", "m.sin(r)")],
    "a comprehension's variable": [("[item**2 for item in", "[i**2 for i in")],
    "a caught error's name": [("as error", "as e"), ("str(error)", "str(e)")],
    "a function inside": [("def reads(x)", "def f(x)"), ("return reads\n", "return f\n")],
    "a captured name": [("captured(value)", "captured(v)"), ("x * value", "x * v")],
    "a global constant's name": [("LIMIT = 7", "MOST = 7"), ("> LIMIT", "> MOST")],
    "what is not read": [("UNREAD = 1", "UNREAD = 2")],
    "what an error says": [("too much: {total}", "too large")],
    "a local import's alias": [("import added as plus", "import added"), ("plus(x)", "added(x)")],
    "a local import becomes global": [
        ("    from .later import added as plus\n", ""),
        ("import Parent, scaled\n", "import Parent, scaled\nfrom .later import added as plus\n"),
    ],
    "the order of definitions": [
        (RECURSIVE, ""),
        ("@twice\n", RECURSIVE + "\n@twice\n"),
    ],
}  # fmt: skip

OTHER = {
    "an operator": ("total + m.sin(row)", "total * m.sin(row)"),
    "a constant": ("- 41", "- 42"),
    "a constant's type": ("- 41", "- 41.0"),
    "a default": ("factor: float = 37", "factor: float = 38"),
    "a default of __init__": ("width: int = 3", "width: int = 4"),
    "another function": ("m.sin", "m.cos"),
    "a class attribute": ("SCALE = 2", "SCALE = 3"),
    "a nested class": ("slope = 0.1", "slope = 0.2"),
    "a global constant": ("LIMIT = 7", "LIMIT = 8"),
    "a list inside": ('"a": [1, 2]', '"a": [1, 3]'),
    "a key": ('"b": (3,)', '"c": (3,)'),
    "a list for a tuple": ("(3,)", "[3]"),
    "a byte of a tensor": ("arange(2000.0)", "arange(2000.0).index_fill(0, torch.tensor([9]), 8)"),
    "a tensor's dtype": ("arange(2000.0)", "arange(2000.0).double()"),
    "a decorator": ("return 2 * function", "return 3 * function"),
    "no decorator": ("@twice\n", ""),
    "a property": ("2 * self.width", "4 * self.width"),
    "a class method": ("cls(width=4)", "cls(width=5)"),
    "a static method": ("clamp(max=1)", "clamp(max=2)"),
    "a method": ("self.shift(x) * self", "self.shift(x) / self"),
    "a base class": ("x + 47", "x + 48"),
    "recursion": ("n < 1", "n < 2"),
    "mutual recursion": ("recursive(n - 1) + 5", "recursive(n - 1) + 6"),
    "behind the decorator": ("x + 11", "x + 12"),
    "a captured value": ("captured(13)", "captured(14)"),
    "a partial's keyword": ("power=17", "power=18"),
    "a partial's function": ("partial(scaled, power=17)", "partial(inner, power=17)"),
    "a bound method's object": ("Model(width=19)", "Model(width=20)"),
    "a callable's attribute": ("Model(width=23)", "Model(width=24)"),
    "a lambda": ("x + 29", "x + 30"),
    "another lambda of the line": ("x + 31", "x + 32"),
    "a helper of a helper": ("x**power + 43", "x**power + 44"),
    "what a local import brings": ("x + 59", "x + 60"),
    "a constant of a locally imported module": ("OFFSET = 53", "OFFSET = 54"),
    "what is caught": ("except KeyError", "except TypeError"),
    "the condition of a comprehension": ("for item in total]", "for item in total if item]"),
    "the name of an argument": ("x: Tensor, factor: float", "x: Tensor, weight: float"),
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_how_code_is_written_does_not_count(digest, changes):
    assert digest(*changes) == digest()


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_code_does_counts(digest, change):
    assert digest(change) != digest()


def test_where_code_lies_does_not_count(digest):
    before = digest()
    main, helpers, later = SOURCES["main"], SOURCES["helpers"], SOURCES["later"]
    renamed = {"core": main.replace(".helpers", ".tools"), "tools": helpers, "later": later}
    assert digest(sources=renamed, entry="core") == before

    twice = main[main.index("def twice") : main.index("class Model")]
    moved = {
        "main": main.replace(twice, "").replace("import Parent", "import twice, Parent"),
        "helpers": "import functools\n\n\n" + twice + helpers,
        "later": later,
    }
    assert digest(sources=moved) == before

    power_of = helpers[helpers.index("def power_of") : helpers.index("def scaled")]
    next_door = {
        "main": main,
        "helpers": "from .later import power_of\n" + helpers.replace(power_of, ""),
        "later": power_of + later,
    }
    assert digest(sources=next_door) == before
    next_door["later"] = next_door["later"].replace("+ 43", "+ 44")
    assert digest(sources=next_door) != before


def test_what_changes_at_run_time_counts(digest):
    before = digest()
    acts = [
        lambda module: module.TABLE.update(c=1),
        lambda module: module.TABLE["a"].append(3),
        lambda module: setattr(module, "LIMIT", 8),
        lambda module: setattr(module.Model, "SCALE", 3),
        lambda module: setattr(module.called, "width", 24),
        lambda module: setattr(module.entry, "__defaults__", (38,)),
        lambda module: module.ARRAY.add_(1),
    ]
    assert len({before, *(digest(act=act) for act in acts)}) == len(acts) + 1


# -------------------------------------------------------------- this package


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A module of this package under another name, after a change."""

    def load(module=training, before="", after=""):
        source = Path(module.__file__).read_text(encoding="utf-8")
        assert not before or source.count(before) == 1
        source = source.replace(before, after) if before else source
        name = f"elsewhere{next(count)}"
        package = module.__package__
        for dots in (4, 3, 2, 1):
            parent = package.rsplit(".", dots - 1)[0]
            source = source.replace("from " + "." * dots, f"from {parent}.")
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return load


def test_moving_the_trainer_changes_no_key(copied):
    assert source_digest(copied().train) == source_digest(training.train)
    assert source_digest(copied(recipes).Recipe) == source_digest(recipes.Recipe)


@pytest.mark.parametrize(
    "change",
    [
        ("(w * self.task.per_example_loss", "(w / self.task.per_example_loss"),
        ("VECTOR_LANES = 1024", "VECTOR_LANES = 512"),
        ("1 + part", "2 + part"),
        ("picked.unflatten(0, ", "picked.unflatten(1, "),
    ],
)
def test_changing_the_trainer_changes_the_key(copied, change):
    assert source_digest(copied(training, *change).train) != source_digest(training.train)


def test_what_decides_no_number_is_not_followed():
    names = " ".join(sorted(reached(training.train, recipes.Recipe)))
    for name in ("train", "_Stack._loss", "Optimiser.__call__", "initial_theta", "record",
                 "Network.__call__", "Layout.unflatten", "Recipe.checkpoints"):  # fmt: skip
        assert f".{name} " in names
    for word in ("rogress", "Bank", "store", "executor", "Estimate", "probe", "figure", "describe"):
        assert word not in names


@pytest.mark.parametrize("unrolled", [False, True])
def test_an_optimiser_counts_where_a_recipe_names_it(monkeypatch, unrolled):
    def key(name):
        run = (table_like(), get_model("mlp", widths=(8, 1)), recipes.Recipe(name, epochs=1))
        if unrolled:
            return UnrolledBank(*run, [(0, 0)]).key
        return RunBank(*run, paired(nothing(12), [(0, 0)]), ["query_loss"]).key

    class Another(recipes.AdamW):
        def __call__(self, theta, gradient, done):
            super().__call__(theta, gradient, done / 2)

    before = {name: key(name) for name in ("adam", "sgd", "adamw")}
    assert len({*before.values()}) == 3
    monkeypatch.setitem(recipes.new_optimiser.others, "adamw", Another)
    assert {name for name in before if key(name) != before[name]} == {"adamw"}
    monkeypatch.undo()
    if unrolled:
        monkeypatch.setitem(trajectory.linearised.others, "adamw", Another)
        assert {name for name in before if key(name) != before[name]} == {"adamw"}


def reached(*things):
    """Names of the code of this package that a digest follows."""
    graph = _Graph()
    graph.digest(things)
    return {
        f"{thing.__module__}.{thing.__qualname__}"
        for thing, _ in graph.things
        if isinstance(thing, types.FunctionType | type) and thing.__module__.startswith("dtda_lib")
    }


# -------------------------------------------------------------- notebooks


CELL = """
import torch
FACTOR = 2.0

class Net(torch.nn.Linear):
    slope = 3

    def forward(self, x):  # a remark
        return FACTOR * super().forward(x) * self.slope

def entry():
    return Net(3, 1), [lambda x: x + 1, lambda x: x + 2]
"""


def test_a_cell_that_is_run_again_keeps_its_digest():
    shell = InteractiveShell.instance()

    def run(text):
        shell.run_cell(text).raise_error()
        return source_digest(shell.user_ns["entry"])

    try:
        before = run(CELL)
        assert run(CELL) == before
        assert run("\n\n" + CELL.replace("a remark", "another")) == before
        for change in (("2.0", "2.5"), ("slope = 3", "slope = 4"), ("* self", "/ self"),
                       ("x + 1", "x + 3"), ("nn.Linear", "nn.Bilinear")):  # fmt: skip
            assert run(CELL.replace(*change)) != before, change
    finally:
        InteractiveShell.clear_instance()


UNSEEN = """
import math
K = 3
def entry(x, *, y=1):
    'Words.'
    total = 0
    for row in x:
        total += math.sin(row) * K
    return [total + item for item in x], (lambda z: z + y)
"""


def made(source, filename="<no source>"):
    """`entry` of a module that was never a file of its own."""
    module = types.ModuleType(f"made{next(count)}")
    exec(compile(source, filename, "exec"), module.__dict__)
    return module.entry


def test_code_without_source_is_compared_by_its_instructions():
    before = source_digest(made(UNSEEN))
    assert code_form(made(UNSEEN).__code__).text.startswith("code")
    for same in (("Words", "Other words"), ("    'Words.'\n", ""), ("row", "line"),
                 ("item", "one"), ("K = 3", "\n\nK = 3"), ("total", "sum_")):  # fmt: skip
        assert source_digest(made(UNSEEN.replace(*same))) == before, same
    for other in (("K = 3", "K = 4"), ("math.sin", "math.cos"), ("total +=", "total -="),
                  ("z + y", "z - y"), ("y=1", "y=2"), ("total = 0", "total = 1"),
                  ("(row)", "(row + 1)"), ("(x,", "(w,")):  # fmt: skip
        assert source_digest(made(UNSEEN.replace(*other))) != before, other


def test_what_runs_counts_and_not_what_a_file_says_now(tmp_path):
    path = tmp_path / "edited.py"
    path.write_text(UNSEEN)
    fresh = made(UNSEEN, str(path))
    assert code_form(fresh.__code__).text.startswith("def"), "read from the source"
    changed = UNSEEN.replace("total +=", "total -=")
    path.write_text(changed)
    linecache.clearcache()
    old, new = made(UNSEEN, str(path)), made(changed, str(path))
    assert source_digest(old) != source_digest(new)


# -------------------------------------------------------------- values


def digest_of(value):
    """Of a function that has captured the value."""
    return source_digest(lambda: value)


@dataclass
class Config:
    slope: float = 0.1
    path: str = field(default="a", compare=False)


class Plain:
    def __init__(self, **given):
        self.__dict__.update(given)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a):
        self.a = a


class Itself:
    """An object in a circle."""

    def __init__(self, value):
        self.me, self.value = self, value


class Lazy:
    def __init__(self, value):
        self.value = value

    @functools.cached_property
    def squared(self):
        return self.value**2


Pair = namedtuple("Pair", "a b")


def looped(value):
    circle = [value]
    circle.append(circle)
    return circle


def ones(last=1.0):
    return [1.0] * 9 + [last]


PAIRS = {
    "int": (1, 2),
    "int and float": (1, 1.0),
    "int and bool": (1, True),
    "text": ("a", "b"),
    "text and bytes": ("a", b"a"),
    "list": ([1, [2, 3]], [1, [3, 2]]),
    "nesting": ([[1], 2], [1, [2]]),
    "dict": ({"a": 1}, {"a": 2}),
    "order of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "set": ({"a", "b"}, {"a", "c"}),
    "array": (np.array(ones()), np.array(ones(np.nextafter(1, 2)))),
    "array dtype": (np.ones(3), np.ones(3, np.float32)),
    "array shape": (np.ones((2, 3)), np.ones((3, 2))),
    "objects": (np.array(["a", None], object), np.array(["b", None], object)),
    "tensor": (torch.tensor(ones()), torch.tensor(ones(1 + 2**-23))),
    "frozen": (torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2), False)),
    "sparse": (torch.eye(2).to_sparse(), torch.ones(2, 2).to_sparse()),
    "numpy generator": (np.random.default_rng(1), np.random.default_rng(2)),
    "torch generator": (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)),
    "namespace": (argparse.Namespace(a=1), argparse.Namespace(a=2)),
    "simple namespace": (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
    "dataclass": (Config(), Config(slope=0.2)),
    "plain object": (Plain(a=1), Plain(a=2)),
    "plain object's attribute": (Plain(a=1), Plain(b=1)),
    "slots": (Slotted(1), Slotted(2)),
    "circle": (Itself(1), Itself(2)),
    "list in itself": (looped(1), looped(2)),
    "named tuple": (Pair(1, 2), Pair(2, 1)),
    "defaultdict": (defaultdict(list, a=[1]), defaultdict(list, a=[2])),
    "its factory": (defaultdict(list), defaultdict(set)),
    "ordered dict": (OrderedDict(a=1), OrderedDict(a=2)),
    "regular expression": (re.compile("a"), re.compile("b")),
    "text in memory": (io.StringIO("a"), io.StringIO("b")),
    "counter": (Counter("ab"), Counter("abb")),
    "function": (torch.sin, torch.cos),
    "numpy function": (np.sin, np.cos),
    "method of a type": (str.upper, str.lower),
    "method of a tensor": (torch.ones(2).add, torch.zeros(2).add),
    "operator": (torch.ops.aten.sin.default, torch.ops.aten.cos.default),
    "partial": (functools.partial(torch.sum, dim=0), functools.partial(torch.sum, dim=1)),
    "vectorize": (np.vectorize(lambda x: x + 1), np.vectorize(lambda x: x + 2)),
    "wrapped by torch": (torch.no_grad()(lambda x: x), torch.no_grad()(lambda x: -x)),
    "transformed by torch": (torch.func.grad(lambda x: x), torch.func.grad(lambda x: -x)),
    "argument of torch": (torch.vmap(torch.sin), torch.vmap(torch.sin, in_dims=1)),
    "cached": (functools.cache(lambda x: x), functools.cache(lambda x: -x)),
    "module of torch": (torch.nn.Softplus(1.0), torch.nn.Softplus(2.0)),
    "module's mode": (torch.nn.ReLU(), torch.nn.ReLU().eval()),
    "module of a package": (np, torch),
    "class": (Plain, Itself),
    "type": (int, float),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_values_count_by_content(pair):
    one, other = map(digest_of, pair)
    assert one != other
    assert [digest_of(value) for value in pair] == [one, other], "it repeats"


def test_equal_values_have_one_digest_whatever_is_shared():
    shared = Plain(a=[1])
    assert digest_of([shared, shared]) == digest_of([Plain(a=[1]), Plain(a=[1])])
    assert digest_of({0, 8}) == digest_of({8, 0}), "which are listed in unlike orders"
    assert digest_of(Plain(a=1, b=2)) == digest_of(Plain(b=2, a=1))
    assert digest_of(Config(path="b")) == digest_of(Config()), "its author leaves it out"
    lazy = Lazy(3)
    before = digest_of(lazy)
    assert lazy.squared == 9
    assert digest_of(lazy) == before


def test_a_method_alone_brings_the_classes_that_super_looks_at():
    def method(constant):
        class Below:
            def value(self):
                return constant

        class Above(Below):
            def value(self):
                return super().value()

        return Above.value

    assert source_digest(method(1)) == source_digest(method(1)) != source_digest(method(2))


def test_things_deep_inside_are_told_apart():
    """Also where all labels differ, so that the first look tells the things of one graph apart."""

    def chain(last):
        return functools.reduce(lambda inner, n: {n: inner}, range(50), last)

    assert digest_of(chain("a")) != digest_of(chain("b"))
    swapped = [{"a": [1], "b": [2]}, {"a": [2], "b": [1]}]
    assert digest_of(swapped[0]) != digest_of(swapped[1])


def test_use_changes_no_digest():
    """Pickling leaves a mark in a class, with which it is faster the next time."""

    class Fresh:
        def value(self):
            return 1

    before = source_digest(Fresh)
    Fresh().__reduce_ex__(4)
    assert "__slotnames__" in vars(Fresh)
    assert source_digest(Fresh) == before


@pytest.mark.parametrize("registry", [[], set()], ids=["list", "set"])
def test_what_a_process_registers_as_it_runs_changes_no_digest(registry):
    def numbers():
        return registry

    before = source_digest(numbers)
    add = registry.append if isinstance(registry, list) else registry.add
    for one in (torch.library.Library("dtda_tried", "FRAGMENT"), logging.getLogger("a")):
        add(one)
        assert source_digest(numbers) == before
    add(1)
    assert source_digest(numbers) != before


@pytest.mark.parametrize(
    "pair",
    [
        (logging.getLogger("a"), logging.getLogger("b")),
        (threading.Lock(), threading.Lock()),
        (Plain(lock=threading.RLock(), log=logging.getLogger("a")),
         Plain(lock=threading.RLock(), log=logging.getLogger("b"))),
    ],
    ids=["loggers", "locks", "inside"],
)  # fmt: skip
def test_loggers_and_locks_count_by_type(pair):
    assert digest_of(pair[0]) == digest_of(pair[1])


@pytest.mark.parametrize(
    "make",
    [lambda path: (x for x in (1, 2)), lambda path: path.open(), lambda path: Plain(a=path.open()),
     lambda path: torch.ones(2, device="meta")],
    ids=["generator", "file", "file inside", "no memory"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_place(make, tmp_path):
    path = tmp_path / "x"
    path.write_text("x")
    with pytest.raises(ValueError, match=r"digest_of.*:value.* is a \w+, whose content cannot be"):
        digest_of(make(path))


def test_tracing_changes_no_digest():
    """torch replaces some of its functions when it first traces."""

    def seeds():
        return torch.manual_seed(0), torch.random.manual_seed(0)

    wrapped = functools.wraps(torch.manual_seed)(lambda *given: None)
    before = source_digest(seeds)
    importlib.import_module("torch._dynamo")
    assert source_digest(seeds) == before
    assert digest_of(torch._disable_dynamo(seeds)) == digest_of(seeds)
    assert digest_of(wrapped) != digest_of(torch.manual_seed)


# -------------------------------------------------------------- whose code it is


@pytest.mark.parametrize("folder", ["lib/python3.11/site-packages", "lib/python3/dist-packages"])
def test_a_file_in_any_folder_of_packages_is_installed(tmp_path, folder):
    assert origin("unheard.of", str(tmp_path / folder / "unheard" / "of.py")) == "unheard"
    assert origin("unheard.of", str(tmp_path / "unheard" / "of.py")) is None


def test_an_installation_into_a_folder_of_any_name_is_known_by_its_record(tmp_path):
    record = tmp_path / "a" / "thing-1.0.dist-info" / "RECORD"
    record.parent.mkdir(parents=True)
    record.write_text("thing/__init__.py,,\n")
    assert origin("thing.x", str(tmp_path / "a" / "thing" / "x.py")) == "thing"
    linked = tmp_path / "b" / "thing-1.0.dist-info" / "RECORD"
    linked.parent.mkdir(parents=True)
    linked.write_text("__editable__.thing.pth,,\n")
    assert origin("thing.x", str(tmp_path / "b" / "thing" / "x.py")) is None


def test_whose_code_it_is():
    assert origin("json.decoder") == origin("math") == origin("os") == "python"
    assert origin("torch.nn.functional") == "torch", "its version is in the key already"
    assert origin("numpy.linalg") == import_origin("numpy.linalg") == f"numpy {np.__version__}"
    assert import_origin("sklearn.svm") == f"sklearn {version('scikit-learn')}"
    assert origin("dtda_lib.runs.training") is origin("__main__") is origin(__name__) is None
    assert import_origin("nowhere_to_be_found") == "missing"


# -------------------------------------------------------------- what a network does


class FromFile(torch.nn.Module):
    """A frozen part that is read from a file."""

    def __init__(self, path):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)
        self.frozen = torch.nn.Parameter(torch.load(path), requires_grad=False)

    def forward(self, x):
        return self.linear(x * self.frozen)


def test_what_a_factory_reads_counts(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"

    def factory():
        return FromFile(path)

    torch.save(torch.ones(2), path)
    one = model_identity(factory)
    assert model_identity(factory) == one
    torch.save(torch.ones(2) * (1 + 2**-23), path)
    assert model_identity(factory) != one

    def by_environment():
        network = torch.nn.Linear(2, 1)
        torch.nn.init.normal_(network.weight, std=float(os.environ["SPREAD"]))
        return network

    monkeypatch.setenv("SPREAD", "1")
    one = model_identity(by_environment)
    monkeypatch.setenv("ANOTHER", "2")
    assert model_identity(by_environment) == one, "only what it makes of it counts"
    monkeypatch.setenv("SPREAD", "2")
    assert model_identity(by_environment) != one


def test_a_start_that_only_some_seeds_have_counts():
    """Whatever one seed happens to hide."""

    def starts(special):
        def factory():
            network = torch.nn.Linear(2, 1)
            if torch.initial_seed() == special:
                torch.nn.init.zeros_(network.weight)
            return network

        return model_identity(factory)["made"]

    assert len({starts(special) for special in (0, 1, 2)}) == 3


class Reading(torch.nn.Linear):
    """Its factor comes from where no code shows it, whenever it runs."""

    def __init__(self, read):
        super().__init__(8, 1)
        self.read = read

    def forward(self, x):
        return super().forward(x) * self.read()


def from_environment():
    return float(os.environ["FACTOR"])


def from_file():
    return float(Path(os.environ["PLACE"]).read_text())


def from_computed_name():
    return getattr(importlib.import_module("tests_that_" + "compute"), "FAC" + "TOR")


@pytest.fixture
def factor(tmp_path, monkeypatch):
    """Sets what the three functions above find."""
    monkeypatch.setenv("PLACE", str(tmp_path / "factor"))
    module = types.ModuleType("tests_that_compute")
    monkeypatch.setitem(sys.modules, "tests_that_compute", module)

    def write(value):
        monkeypatch.setenv("FACTOR", str(value))
        (tmp_path / "factor").write_text(str(value))
        module.FACTOR = value

    return write


@pytest.mark.parametrize("read", [from_environment, from_file, from_computed_name])
def test_what_a_network_or_a_measure_reads_when_it_runs_counts(read, factor):
    """No code shows it: what they do at the initial weights does."""

    @measure(dims=("query",), unit="none")
    def scaled(network, theta, task):
        return read() * network(theta, task.query_x)[:, 0]

    @measure(dims=("train", "query"), unit="none")
    def scored(network, theta, task):
        assert task.n_train <= 2, "it may take long, and is tried with few points"
        return read() * network(theta, task.train_x) @ network(theta, task.query_x).T

    for model, measures in (
        (functools.partial(Reading, read), []),
        (functools.partial(torch.nn.Linear, 8, 1), [scaled]),
        (functools.partial(torch.nn.Linear, 8, 1), [scored]),
    ):
        factor(2.0)
        one = behaviour(model, TASK, measures)
        assert behaviour(model, TASK, measures) == one
        factor(2.0 * (1 + 1e-9))
        assert behaviour(model, TASK, measures) == one, "rounding of machines is no change"
        factor(2.0001)
        assert behaviour(model, TASK, measures) != one


def test_a_measure_along_training_points_that_needs_them_all_is_told_by_its_code_alone():
    @measure(dims=("train",), unit="none")
    def ranked(network, theta, task):
        return network(theta, task.train_x)[:, 0] * torch.arange(4.0)

    seen = behaviour(functools.partial(torch.nn.Linear, 8, 1), TASK, [ranked])
    assert seen["ranked"] == "unknown"


def test_behaviour_is_the_same_in_both_precisions_and_leaves_no_trace():
    model = get_model("mlp", widths=(8, 3, 1))
    before = torch.random.get_rng_state()
    single = TASK.to(dtype=torch.float32)
    rounded = replace(
        TASK,
        **{n: getattr(single, n).double() for n in ("train_x", "train_y", "query_x", "query_y")},
    )
    assert behaviour(model, single, []) == behaviour(model, rounded, [])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_network_of_one_precision_is_told_by_its_code_alone():
    class Single(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) @ torch.ones(1, 1, dtype=torch.float32)

    model = functools.partial(Single, 8, 1)
    assert behaviour(model, TASK, []) == {"network": "unknown"}


SETTINGS = argparse.Namespace(slope=1.0)
LOG = logging.getLogger("a")


class Settings:
    """As configuration objects are: values, a logger, a place."""

    def __init__(self, slope):
        self.slope, self.log, self.place, self.environment = slope, LOG, Path("a"), os.environ


def test_factories_may_use_loggers_parsed_arguments_and_configuration(monkeypatch):
    config = Settings(1.0)

    def factory():
        LOG.info("made")
        network = torch.nn.Linear(2, 1)
        network.slope = SETTINGS.slope * config.slope
        return network

    one = model_identity(factory)
    monkeypatch.setattr(LOG, "level", logging.DEBUG)
    assert model_identity(factory) == one
    config.slope = 2.0
    two = model_identity(factory)
    monkeypatch.setattr(SETTINGS, "slope", 3.0)
    assert len({str(each) for each in (one, two, model_identity(factory))}) == 3


class Factory:
    def __init__(self, width):
        self.width = width

    def __call__(self):
        return torch.nn.Linear(2, self.width)

    def deep(self):
        return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, self.width))


@pytest.mark.parametrize("kind", [lambda f: f, lambda f: f.deep, functools.partial])
def test_factories_of_all_kinds_have_an_identity(kind):
    assert model_identity(kind(Factory(1))) == model_identity(kind(Factory(1)))
    assert model_identity(kind(Factory(1))) != model_identity(kind(Factory(2)))


def test_an_identity_leaves_the_global_stream_alone():
    before = torch.random.get_rng_state()
    model_identity(get_model("mlp"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_measure_is_its_name_axes_and_code():
    def made(sign, dims=("query",)):
        @measure(dims=dims, unit="none")
        def output(network, theta, task):
            return sign * network(theta, task.query_x)[:, 0]

        return output

    assert measure_identity(made(1)) == measure_identity(made(1))
    assert measure_identity(made(1)) != measure_identity(made(-1))
    assert measure_identity(made(1)) != measure_identity(made(1, ("output",)))
    assert digest_of(made(1)) != digest_of(made(-1))


# -------------------------------------------------------------- the normal form


def form(source):
    """Normal form of the only function of a source."""
    writer = SyntaxWriter()
    writer.function(ast.parse(source).body[0])
    return writer.form()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("def f(x): return [x for x in x]", "def g(x): return [y for y in x]", True),
        ("def f(x): return [x for y in x]", "def g(x): return [y for y in x]", False),
        ("def f(a, /): return a", "def f(b, /): return b", True),
        ("def f(a): return a", "def f(b): return b", False),
        ("def f(*a): return a", "def f(*b): return b", True),
        ("def f(*a): return a", "def f(**a): return a", False),
        ("def f(x, y): return x - y", "def f(x, y): return y - x", False),
        ("def f(): a = 1; b = 2; return a - b", "def f(): b = 1; a = 2; return b - a", True),
        ("def f(): a = 1; b = 2; return a - b", "def f(): a = 1; b = 2; return b - a", False),
        ("def f(x):\n  if (n := x): return n", "def f(x):\n  if (m := x): return m", True),
        ("def f():\n  global g\n  g = 1", "def f():\n  g = 1", False),
        ("def f(x):\n  match x:\n    case [a, *b]: return a",
         "def f(x):\n  match x:\n    case [c, *d]: return c", True),
        ("def f(x):\n  match x:\n    case [a, *b]: return a",
         "def f(x):\n  match x:\n    case [a, *b]: return b", False),
        ("def f(x):\n  class A: b = x\n  return A",
         "def f(x):\n  class B: b = x\n  return B", True),
        ("def f(x):\n  class A: b = x\n  return A",
         "def f(x):\n  class A: c = x\n  return A", False),
        ("def f(x): return g(a=x)", "def f(x): return g(b=x)", False),
        ("def f(x): return x.a", "def f(x): return x.b", False),
        ("def f(x): return f'{x:.2f}'", "def f(x): return f'{x:.3f}'", False),
        ("def f(x): raise Found(x + 1)", "def f(x): raise Found(x + 2)", False),
        ("def f(x): raise ValueError(x)", "def f(x): raise TypeError(x)", False),
        ("def f(x): return x", "async def f(x): return x", False),
        ("def f():\n  n = 0\n  def g():\n    nonlocal n\n    n += 1\n  return g",
         "def f():\n  m = 0\n  def h():\n    nonlocal m\n    m += 1\n  return h", True),
        ("def f():\n  n = 0\n  def g():\n    nonlocal n\n    n = 1\n  return g",
         "def f():\n  n = 0\n  def g():\n    n = 1\n  return g", False),
    ],
)  # fmt: skip
def test_normal_forms(one, other, same):
    assert (form(one) == form(other)) is same


def test_a_form_lists_what_it_names():
    assert form("def f(): return a.b").chains == (("a", ("b",)),)
    assert form("def f(): return a + b") != form("def f(): return a + a")
