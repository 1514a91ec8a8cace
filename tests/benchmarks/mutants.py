"""What no test sees: small faults, put into the library one at a time, and who notices.

    python tests/benchmarks/mutants.py [--seed 0] [--per-module 3] [--minutes 30] [--only PATH ...]
                                       [--kinds sign axis ...] [--all] [--workers 1] [--slow]
                                       [--budget 60] [--calls FILE] [--list] [--out FILE]
    python tests/benchmarks/mutants.py --record OUT ...

A *mutant* is one change of one expression below the wall (`dtda_lib/experiments` is left out):

    sign        + for -, - for +, a minus dropped
    arithmetic  * for /, / for *, another power, another rounding
    factor      a constant doubled, or 1 for 0 and the like
    axis        another axis, by number or by name; another of `train` and `query`
    ddof        other degrees of freedom: `ddof=`, `n - 1`
    sidedness   < for <=, another tail, one side for two, an absolute value dropped, max for min
    seed        another stream: initialisation for order, another constant for a generator
    index       off by one in an index, a slice or a range
    default     another default of a parameter or a field
    key         an entry left out of a dict, or out of what a key, digest or identity is made of
    negation    a comparison, condition or flag the other way round, `and` for `or`

Texts of refusals and messages are not touched, nor what only looks (colours, sizes, HTML). Mutants
are drawn by `--seed`, as many of each module, all kinds in turn. Each is put into a copy of the
checkout and judged by the tests that call the changed function (measured once by floor: which test
calls what; `--calls` keeps it), quickest first: in the mirrored test file, then in others of that
floor's folder, then in those of the floors that are measured already, each round within `--budget`
seconds; slow ones only with `--slow`. A run past its limit of wall-clock time counts as killed and
is listed. The table counts killed / all, equivalents left out, by floor and by kind; below it
survivors as `file:line: old -> new`. Exit status 1 where a survivor has no reason.

`mutants.json` holds what is known. `equivalent`: survivors that were looked at, each with the
reason why it is no fault. `rounds`: killed and all of each draw by floor, at first sight, before a
test was written for a survivor; `--record` counts them out of the files that `--out` wrote.
"""

import argparse
import ast
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib import import_module
from itertools import accumulate, islice, zip_longest
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

ROOT = Path(__file__).parents[2]
REVIEWED = Path(__file__).with_suffix(".json")
KINDS = (
    "sign",
    "arithmetic",
    "factor",
    "axis",
    "ddof",
    "sidedness",
    "seed",
    "index",
    "default",
    "key",
    "negation",
)
OUTSIDE = ("experiments",)  # folders of the package that are not mutated
LOOKS = ("study/figures.py", "study/previews.py", "study/pages", "ask/page.py", "runs/progress.py")

# ---------------------------------------------------------------- what is changed

REFERENCE = "tests/study/test_docs.py"  # says every default of a public name

Edit = tuple[str, ast.AST, str]  # kind, what is replaced, by what text

ARITHMETIC = {
    ast.Add: ("sign", "+", "-"),
    ast.Sub: ("sign", "-", "+"),
    ast.Mult: ("arithmetic", "*", "/"),
    ast.Div: ("arithmetic", "/", "*"),
    ast.FloorDiv: ("arithmetic", "//", "/"),
    ast.Mod: ("arithmetic", "%", "//"),
    ast.Pow: ("arithmetic", "**", "*"),
}
COMPARISONS = {
    ast.Lt: ("sidedness", "<="),
    ast.LtE: ("sidedness", "<"),
    ast.Gt: ("sidedness", ">="),
    ast.GtE: ("sidedness", ">"),
    ast.Eq: ("negation", "!="),
    ast.NotEq: ("negation", "=="),
    ast.In: ("negation", "not in"),
    ast.NotIn: ("negation", "in"),
    ast.Is: ("negation", "is not"),
    ast.IsNot: ("negation", "is"),
}
SWAPPED_NAMES = {
    "init_seeds": "order_seeds",
    "order_seeds": "init_seeds",
    "init_seed": "order_seed",
    "order_seed": "init_seed",
    "inits": "orders",
    "orders": "inits",
}
SWAPPED_CALLS = {
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "any": "all",
    "all": "any",
    "argmax": "argmin",
    "argmin": "argmax",
    "floor": "ceil",
    "ceil": "floor",
}
DROPPED_CALLS = ("abs", "fabs", "sqrt", "square", "log", "exp")
SWAPPED_AXES = {"train": "query", "query": "train", "init": "order", "order": "init"}
TAILS = {"less": "greater", "greater": "less", "two-sided": "greater", "left": "right"}
TAILS |= {"right": "left"}
GENERATORS = ("manual_seed", "default_rng", "SeedSequence", "RandomState", "Generator")
AXES = ("axis", "dim", "axes", "dims")
REDUCTIONS = ("mean", "sum", "std", "var", "cat", "stack", "concatenate", "softmax", "cumsum")
KEYS = ("key", "digest", "identity", "spec", "content", "canonical", "fingerprint", "label", "cut")
WITHOUT_NUMBERS = ("raise", "warn", "print", "say", "Field")


@dataclass(frozen=True)
class Mutant:
    """One change: `old`, which starts at `line` and `column`, becomes `new`."""

    path: str  # from the root, with forward slashes
    function: str  # qualified name of the function or class around it; "" for a module
    kind: str
    line: int
    column: int
    start: int  # bytes from the beginning of the file
    stop: int
    old: str
    new: str
    code: str  # the lines of the statement that hold it, stripped

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.stop :]

    def compiles(self, source: bytes) -> bool:
        try:
            compile(self.applied(source), self.path, "exec")
        except (SyntaxError, ValueError):
            return False
        return True

    @property
    def change(self) -> str:
        def short(text: str) -> str:
            text = " ".join(text.split())
            return text if len(text) < 90 else f"{text[:43]} ... {text[-42:]}"

        return f"{short(self.old)} -> {short(self.new) or '(nothing)'}"

    @property
    def identity(self) -> tuple[str | int, ...]:
        """What names it in the file of reviewed mutants, wherever its line moves."""
        return self.path, self.function, self.kind, self.change, self.code, self.column


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """Every mutant of a module, in the order of its text; a few of them may not compile."""
    found = _Finder(path, source).found()
    return sorted(set(found), key=lambda m: (m.start, m.stop, m.kind, m.new))


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source, self.tree = path, source, ast.parse(source)
        self.lines = source.splitlines(keepends=True)
        self.offsets = [0]
        for line in self.lines:
            self.offsets.append(self.offsets[-1] + len(line))
        self.parent = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }

    def found(self) -> Iterator[Mutant]:
        for node in ast.walk(self.tree):
            if not self._is_untouched(node):
                for kind, old, new in self._edits(node):
                    yield self._mutant(kind, old, new)

    def _above(self, node: ast.AST) -> Iterator[ast.AST]:
        while (node := self.parent.get(node)) is not None:
            yield node

    def _is_untouched(self, node: ast.AST) -> bool:
        """Annotations, messages, imports and decorators decide no number."""
        below = node
        for above in self._above(node):
            if isinstance(above, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
                return True
            if below in (getattr(above, "annotation", None), getattr(above, "returns", None)):
                return True
            if isinstance(above, ast.Call) and _name(above.func) in WITHOUT_NUMBERS:
                return True
            if below in getattr(above, "decorator_list", ()):
                return True
            if isinstance(above, ast.Assign) and _name(above.targets[0]) == "__all__":
                return True
            below = above
        return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)

    def _text(self, node: ast.AST) -> str:
        start, stop = self._span(node)
        return self.source[start:stop].decode()

    def _span(self, node: ast.AST) -> tuple[int, int]:
        start = self.offsets[node.lineno - 1] + node.col_offset
        return start, self.offsets[node.end_lineno - 1] + node.end_col_offset

    def _mutant(self, kind: str, old: ast.AST, new: str) -> Mutant:
        names = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        around = [old, *self._above(old)]
        holders = [node for node in around if isinstance(node, names)]
        function = ""
        for at, node in enumerate(reversed(holders)):
            inner = at + 1 < len(holders) and not isinstance(node, ast.ClassDef)
            function += node.name + (".<locals>." if inner else ".")
        first, last = old.lineno - 1, old.end_lineno
        code = " ".join(b" ".join(self.lines[first:last]).decode().split())
        start, stop = self._span(old)
        return Mutant(
            self.path,
            function.rstrip("."),
            kind,
            old.lineno,
            old.col_offset,
            start,
            stop,
            self._text(old),
            new,
            code,
        )

    # Each returns edits of one node.

    def _edits(self, node: ast.AST) -> Iterator[Edit]:
        for kind in (
            self._operators,
            self._comparisons,
            self._constants,
            self._names,
            self._calls,
            self._defaults,
            self._entries,
        ):
            yield from kind(node)

    def _operators(self, node: ast.AST) -> Iterator[Edit]:
        if isinstance(node, ast.UnaryOp):
            inner = self._text(node.operand)
            if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
                yield "sign", node, f"({inner})"
            if isinstance(node.op, ast.Not | ast.Invert):
                yield "negation", node, f"({inner})"
        elif isinstance(node, ast.BoolOp):
            word = "or" if isinstance(node.op, ast.And) else "and"
            parts = [f"({self._text(value)})" for value in node.values]
            yield "negation", node, f"({f' {word} '.join(parts)})"
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            kind, _, other = ARITHMETIC[type(node.op)]
            left, right = self._text(node.left), self._text(node.right)
            if any(_is_text(side) for side in (node.left, node.right)):
                return
            if kind == "sign" and isinstance(node.right, ast.Constant) and node.right.value == 1:
                yield "ddof", node, f"({left})"
            yield kind, node, f"(({left}) {other} ({right}))"
        elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
            kind, _, other = ARITHMETIC[type(node.op)]
            target, value = self._text(node.target), self._text(node.value)
            yield kind, node, f"{target} {other}= {value}"

    def _comparisons(self, node: ast.AST) -> Iterator[Edit]:
        conditions = [*getattr(node, "ifs", ()), getattr(node, "test", None)]
        for condition in conditions:
            if condition is not None and not isinstance(condition, ast.Compare):
                yield "negation", condition, f"(not ({self._text(condition)}))"
        if not isinstance(node, ast.Compare):
            return
        for at, op in enumerate(node.ops):
            kind, other = COMPARISONS[type(op)]
            parts = [self._text(side) for side in (node.left, *node.comparators)]
            words = [_WORDS[type(one)] for one in node.ops]
            words[at] = other
            pairs = zip(words, parts[1:])
            tail = "".join(f" {word} {part}" for word, part in pairs)
            yield kind, node, f"({parts[0]}{tail})"

    def _constants(self, node: ast.AST) -> Iterator[Edit]:
        if not isinstance(node, ast.Constant):
            return
        above = self.parent[node]
        call = next((up for up in self._above(node) if isinstance(up, ast.Call)), None)
        name = _name(call.func) if call else ""
        if isinstance(node.value, str):
            in_call = isinstance(above, ast.Call | ast.keyword | ast.Tuple | ast.List)
            if in_call and call and node.value in SWAPPED_AXES:
                yield "axis", node, repr(SWAPPED_AXES[node.value])
            if in_call and call and node.value in TAILS:
                yield "sidedness", node, repr(TAILS[node.value])
            return
        if isinstance(node.value, bool):
            if isinstance(above, ast.keyword):
                yield "negation", node, repr(not node.value)
            return
        if not isinstance(node.value, int | float):
            return
        signed = isinstance(above, ast.UnaryOp) and isinstance(above.op, ast.USub)
        whole = above if signed else node
        value = -node.value if signed else node.value
        above = self.parent[whole]
        keyword = above.arg if isinstance(above, ast.keyword) else ""
        if keyword in AXES or (isinstance(above, ast.Call) and name in REDUCTIONS):
            yield "axis", whole, repr(1 if value == 0 else 0 if value in (1, -1) else value + 1)
        elif isinstance(above, ast.Tuple) and isinstance(self.parent[above], ast.keyword):
            if self.parent[above].arg in AXES:
                yield "axis", whole, repr(0 if value else 1)
        elif keyword == "ddof" or keyword == "correction":
            yield "ddof", whole, repr(1 - value)
        elif name in GENERATORS:
            yield "seed", whole, repr(value + 1)
        elif isinstance(above, ast.Slice | ast.Subscript) or (
            isinstance(self.parent.get(above), ast.Subscript)
            or (name == "range" and isinstance(above, ast.Call))
        ):
            yield "index", whole, repr(value + 1)
        elif not self._looks(keyword):
            yield (
                "factor",
                whole,
                repr(2 * value if abs(value) > 1e-300 and value != 1 else 1 - value),
            )
            if value == 1:
                yield "factor", whole, "2"

    def _looks(self, keyword: str) -> bool:
        return any(f"/{part}" in f"/{self.path}" for part in LOOKS) or "size" in keyword

    def _names(self, node: ast.AST) -> Iterator[Edit]:
        if isinstance(node, ast.Attribute) and node.attr in SWAPPED_NAMES:
            yield "seed", node, f"{self._text(node.value)}.{SWAPPED_NAMES[node.attr]}"
        is_read = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        if is_read and node.id in SWAPPED_NAMES:
            yield "seed", node, SWAPPED_NAMES[node.id]
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            for end in (node.slice.lower, node.slice.upper):
                if isinstance(end, ast.Name | ast.Attribute):
                    yield "index", end, f"{self._text(end)} + 1"

    def _calls(self, node: ast.AST) -> Iterator[Edit]:
        if not isinstance(node, ast.Call):
            return
        name = _name(node.func)
        if name in SWAPPED_CALLS and not self._text(node.func).startswith("self."):
            before = self._text(node.func)[: -len(name)]
            yield "sidedness", node.func, f"{before}{SWAPPED_CALLS[name]}"
        if name in DROPPED_CALLS and len(node.args) == 1 and not node.keywords:
            kind = "sidedness" if name in ("abs", "fabs") else "factor"
            yield kind, node, f"({self._text(node.args[0])})"
        if name == "range" and len(node.args) == 1 and not isinstance(node.args[0], ast.Constant):
            yield "index", node.args[0], f"({self._text(node.args[0])}) - 1"
        if name == "clip" or name == "clamp":
            for word in node.keywords:
                if word.arg in ("min", "max") and isinstance(node.func, ast.Attribute):
                    yield "sidedness", node, f"({self._text(node.func.value)})"
        if name == "update" and len(node.args) == 1 and self._makes_a_key(node):
            yield "key", node, "None"

    def _defaults(self, node: ast.AST) -> Iterator[Edit]:
        defaults: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]
        elif isinstance(node, ast.AnnAssign) and isinstance(self.parent[node], ast.ClassDef):
            defaults = [node.value] if node.value is not None else []
        for default in defaults:
            if not isinstance(default, ast.Constant):
                continue
            if isinstance(default.value, bool):
                yield "default", default, repr(not default.value)
            elif isinstance(default.value, int | float):
                new = 2 * default.value if default.value else 1
                yield "default", default, repr(new)

    def _makes_a_key(self, node: ast.AST) -> bool:
        functions = [
            up.name.lower()
            for up in self._above(node)
            if isinstance(up, ast.FunctionDef | ast.ClassDef)
        ]
        return "/keys/" in self.path or any(key in name for name in functions for key in KEYS)

    def _entries(self, node: ast.AST) -> Iterator[Edit]:
        if isinstance(node, ast.Dict) and len(node.keys) > 1:
            pairs = [
                f"{self._text(key)}: {self._text(value)}" if key else f"**{self._text(value)}"
                for key, value in zip(node.keys, node.values)
            ]
            for left_out in range(len(pairs)):
                kept = pairs[:left_out] + pairs[left_out + 1 :]
                yield "key", node, "{" + ", ".join(kept) + "}"
        is_read = isinstance(getattr(node, "ctx", None), ast.Load)
        if isinstance(node, ast.Tuple | ast.List) and is_read and self._makes_a_key(node):
            parts = [self._text(element) for element in node.elts]
            for left_out in range(len(parts) if len(parts) > 1 else 0):
                kept = parts[:left_out] + parts[left_out + 1 :]
                inside = ", ".join(kept)
                whole = f"[{inside}]" if isinstance(node, ast.List) else f"({inside},)"
                yield "key", node, whole


_WORDS = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}


def _name(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


# ---------------------------------------------------------------- the project


@dataclass(frozen=True)
class Project:
    """A checkout: the package to mutate and the tests that mirror it."""

    root: Path
    package: str = "dtda_lib"

    @cached_property
    def files(self) -> list[str]:
        """What git tracks and what it would, or every file where there is no repository."""
        listed = subprocess.run(
            ["git", "-C", self.root, "ls-files", "-co", "--exclude-standard", "-z"],
            capture_output=True,
        )
        if listed.returncode == 0 and (self.root / ".git").exists():
            return [name for name in listed.stdout.decode().split("\0") if name]
        return [p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()]

    @cached_property
    def modules(self) -> list[str]:
        """Paths of modules to mutate."""
        outside = tuple(f"{self.package}/{folder}/" for folder in OUTSIDE)
        return sorted(
            name
            for name in self.files
            if name.startswith(f"{self.package}/")
            and name.endswith(".py")
            and not name.startswith(outside)
        )

    @cached_property
    def third_party(self) -> list[str]:
        """Top-level modules that the package imports from elsewhere: loaded once, before forks."""
        found = set()
        for path in self.modules:
            for node in ast.parse((self.root / path).read_bytes()).body:
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add(node.module)
        return sorted(name for name in found if name.split(".")[0] != self.package)

    def floor(self, path: str) -> str:
        """`data` of `package/data/own.py` and of `tests/data/test_own.py`; else the stem."""
        parts = Path(path).parts
        return parts[1] if len(parts) > 2 else Path(path).stem

    def test_files(self, floor: str) -> list[str]:
        """Test files that mirror a floor; of a module beside the floors, those of all."""
        own = [name for name in self.files if name.startswith(f"tests/{floor}/test_")]
        return own or [name for name in self.files if name.startswith("tests/test_")]

    @property
    def tested_floors(self) -> list[str]:
        """Floors with a folder of tests; those of the experiments run whole studies."""
        folders = (Path(name).parts for name in self.files if name.startswith("tests/"))
        named = {parts[1] for parts in folders if len(parts) > 2 and parts[2][:5] == "test_"}
        return sorted(named - set(OUTSIDE))

    def copy(self, folder: Path) -> None:
        for name in self.files:
            if (self.root / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.root / name, folder / name)


# ---------------------------------------------------------------- tests in a forked process

HYPOTHESIS = "_hypothesis_pytestplugin"  # the one plugin in use: others cost seconds a mutant


@dataclass
class Outcome:
    status: str  # "passed", "failed" or "time-out"
    seconds: float
    report: dict = field(default_factory=dict)


class _Watch:
    """pytest plugin: keeps chosen tests in a given order; records calls, seconds and outcomes."""

    def __init__(self, folder: Path, package: str, chosen: Sequence[str] | None) -> None:
        self.inside = str(folder / package) + os.sep
        self.start = len(str(folder)) + 1
        self.order = None if chosen is None else {name: at for at, name in enumerate(chosen)}
        self.calls: dict[str, set[str]] = defaultdict(set)
        self.seconds: Counter[str] = Counter()
        self.failed: set[str] = set()

    def pytest_configure(self) -> None:
        os.environ.pop("PYTEST_DISABLE_PLUGIN_AUTOLOAD", None)  # tests may start pytest themselves

    def pytest_collection_modifyitems(self, config: object, items: list) -> None:
        if self.order is not None:
            last = len(self.order)
            kept = [item for item in items if item.nodeid in self.order]
            items[:] = sorted(kept, key=lambda item: self.order.get(item.nodeid, last))

    def pytest_runtest_logreport(self, report: object) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def tracing(self) -> object:
        import pytest

        watch, seen = self, {}

        class Trace:
            @pytest.hookimpl(hookwrapper=True)
            def pytest_runtest_protocol(self, item: object) -> Iterator[None]:
                calls = watch.calls[item.nodeid]

                def trace(frame: object, event: str, argument: object) -> None:
                    code = frame.f_code
                    if (name := seen.get(code)) is None:
                        path = code.co_filename
                        name = ""
                        if path.startswith(watch.inside):
                            qualified = code.co_qualname.split(".<lambda>")[0]
                            name = f"{path[watch.start :]}:{qualified}"
                        seen[code] = name
                    if name:
                        calls.add(name)

                sys.settrace(trace)
                yield
                sys.settrace(None)

        return Trace()


def in_a_fork(
    folder: Path,
    package: str,
    targets: Sequence[str],
    *,
    chosen: Sequence[str] | None = None,
    options: Sequence[str] = (),
    trace: bool = False,
    limit: float = 3600.0,
) -> Outcome:
    """pytest on `targets` of a copy, in a forked process and its own group, under a time limit."""
    start = time.monotonic()
    report = folder / ".outcome.json"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        status = 3
        try:
            os.setsid()
            status = _tests(folder, package, targets, chosen, options, trace, report)
        finally:
            os._exit(status)
    status = None
    while status is None:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = "passed" if os.waitstatus_to_exitcode(code) in (0, 5) else "failed"
        elif time.monotonic() - start > limit:
            status = "time-out"
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        else:
            time.sleep(0.02)
    told = json.loads(report.read_text()) if report.exists() else {}
    return Outcome(status, time.monotonic() - start, told)


def _tests(
    folder: Path,
    package: str,
    targets: Sequence[str],
    chosen: Sequence[str] | None,
    options: Sequence[str],
    trace: bool,
    report: Path,
) -> int:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ |= {"PYTHONPATH": str(folder), "MPLBACKEND": "agg", "DTDA_CHECK": "1"}
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    import pytest

    watch = _Watch(folder, package, chosen)
    plugins = [watch, watch.tracing()] if trace else [watch]
    quiet = ["-q", "--no-header", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    if HYPOTHESIS in sys.modules:
        quiet += ["-p", HYPOTHESIS, "--hypothesis-profile=ci"]
    code = int(pytest.main([*quiet, *options, *targets], plugins=plugins))
    told = {"seconds": watch.seconds, "failed": sorted(watch.failed)}
    told["calls"] = {test: sorted(names) for test, names in watch.calls.items()}
    report.write_text(json.dumps(told))
    return code


# ---------------------------------------------------------------- judging


class Judge:
    """Knows which test of a floor calls which function, and judges mutants in one copy each."""

    def __init__(
        self,
        project: Project,
        folder: Path,
        workers: int = 1,
        slow: bool = False,
        kept: Path | None = None,
        budget: float = 60.0,
    ) -> None:
        self.project, self.slow, self.kept, self.budget = project, slow, kept, budget
        self.copies: SimpleQueue[Path] = SimpleQueue()
        self.stamps = iter(range(10**9, 2 * 10**9))  # a modification time of its own for each
        for number in range(workers):
            copy = folder / f"copy{number}"
            project.copy(copy)
            self.copies.put(copy)
        self.unchanged = folder / "unchanged"
        project.copy(self.unchanged)
        self.maps: dict[str, dict] = {}
        self.preparing = Lock()

    def prepare(self, floor: str) -> None:
        """Run a floor's quick tests once on the unchanged copy; failing ones judge nothing.

        Test files whose text was seen before, in the file `kept`, are not run again.
        """
        with self.preparing:
            if floor not in self.maps:
                self.maps[floor] = self._measured(floor)

    def _measured(self, floor: str) -> dict[str, dict]:
        files = self.project.test_files(floor)
        kept = self._kept()
        if fresh := self._unmeasured(floor):
            now = {f: _digest_of(self.project.root / f) for f in fresh}
            done = in_a_fork(
                self.unchanged,
                self.project.package,
                fresh,
                options=("-m", "not slow"),
                trace=True,
            )
            if not done.report:
                raise SystemExit(f"mutants: the tests of {floor} could not be run.")
            kept |= {f: {"digest": now[f], "seconds": {}, "calls": {}, "failed": []} for f in fresh}
            for test, seconds in done.report["seconds"].items():
                kept[test.split("::")[0]]["seconds"][test] = seconds
                kept[test.split("::")[0]]["calls"][test] = done.report["calls"].get(test, [])
            for test in done.report["failed"]:
                kept[test.split("::")[0]]["failed"].append(test)
            if self.kept:
                self.kept.write_text(json.dumps(kept))
        failed = {test for f in files for test in kept[f]["failed"]}
        if failed:
            print(f"{floor}: red without a mutant, not used: {', '.join(sorted(failed))}")
        tests = {t: s for f in files for t, s in kept[f]["seconds"].items() if t not in failed}
        calls = {t: set(kept[t.split("::")[0]]["calls"][t]) for t in tests}
        print(f"{floor}: {len(tests)} tests, {sum(tests.values()):.0f} s", flush=True)
        return {"seconds": tests, "calls": calls}

    def _kept(self) -> dict[str, dict]:
        return json.loads(self.kept.read_text()) if self.kept and self.kept.exists() else {}

    def _unmeasured(self, floor: str) -> list[str]:
        """Test files of a floor that are not known as they are now."""
        if floor in self.maps:
            return []
        kept, root = self._kept(), self.project.root
        files = self.project.test_files(floor)
        return [f for f in files if kept.get(f, {}).get("digest") != _digest_of(root / f)]

    def stages(self, mutant: Mutant) -> Iterator[tuple[list[str], list[str] | None]]:
        """(targets, chosen tests): those that call the function, mirrored first; then the rest."""
        floor = self.project.floor(mutant.path)
        seconds, calls = self.maps[floor]["seconds"], self.maps[floor]["calls"]
        reaching = _reaching(mutant, calls)
        reaching.sort(key=seconds.get)
        stem = Path(mutant.path).stem
        mirrored = [t for t in reaching if Path(t.split("::")[0]).stem == f"test_{stem}"]
        if not mirrored:
            files = Counter(t.split("::")[0] for t in reaching)
            first = files.most_common(1)[0][0] if files else ""
            mirrored = [t for t in reaching if t.split("::")[0] == first]
        others = [t for t in reaching if t not in set(mirrored)]
        for stage in (mirrored, others):
            if stage:
                chosen = self._affordable(stage, seconds)
                yield sorted({t.split("::")[0] for t in chosen}), chosen
        # What a shared fixture computed is seen only by the test that came first: whole files. And
        # some tests look at signatures and texts, and call nothing.
        files = {t.split("::")[0] for t in reaching}
        left = set(seconds) - set(reaching)
        again = [t for t in left if t.split("::")[0] in files or not calls[t]]
        if again:
            chosen = self._affordable(sorted(again, key=seconds.get), seconds)
            yield sorted({t.split("::")[0] for t in chosen}), chosen
        elsewhere = {}
        for other in self.project.tested_floors:
            if other != floor and not self._unmeasured(other):
                self.prepare(other)
                known = self.maps[other]
                elsewhere |= {t: known["seconds"][t] for t in _reaching(mutant, known["calls"])}
        if elsewhere:
            chosen = self._affordable(sorted(elsewhere, key=elsewhere.get), elsewhere)
            yield sorted({t.split("::")[0] for t in chosen}), chosen
        if mutant.kind == "default" and (self.project.root / REFERENCE).exists():
            yield [REFERENCE], [f"{REFERENCE}::test_the_reference_is_current"]
        if self.slow:
            yield self.project.test_files(floor), None

    def _affordable(self, tests: Sequence[str], seconds: Mapping[str, float]) -> list[str]:
        """The first of them whose seconds add up to no more than the budget, but at least one."""
        spent = accumulate(seconds[test] for test in tests)
        kept = [test for test, total in zip(tests, spent) if total <= self.budget]
        return kept or list(tests[:1])

    def judge(self, mutant: Mutant) -> Outcome:
        folder = self.copies.get()
        path = folder / mutant.path
        source, stat = path.read_bytes(), path.stat()
        total = 0.0
        try:
            self._write(path, mutant.applied(source))
            for targets, chosen in self.stages(mutant):
                expected = sum(self._seconds(test) for test in chosen or ())
                options = ("-x", "-m", "slow" if chosen is None else "not slow")
                done = in_a_fork(
                    folder,
                    self.project.package,
                    targets,
                    chosen=chosen,
                    options=options,
                    limit=60 + 10 * expected if chosen is not None else 900,
                )
                total += done.seconds
                if done.status != "passed":
                    return Outcome(done.status, total, done.report)
            return Outcome("passed", total)
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            self.copies.put(folder)

    def _seconds(self, test: str) -> float:
        return max((known["seconds"].get(test, 0.0) for known in self.maps.values()), default=0.0)

    def _write(self, path: Path, source: bytes) -> None:
        """With a time of its own, so that no bytecode of another mutant is taken for it."""
        path.write_bytes(source)
        stamp = next(self.stamps)
        os.utime(path, (stamp, stamp))


def _digest_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _reaching(mutant: Mutant, calls: Mapping[str, set[str]]) -> list[str]:
    """Tests that call the changed function, or anything of the module where it is in none."""
    where, module = f"{mutant.path}:{mutant.function}", f"{mutant.path}:"

    def reaches(names: set[str]) -> bool:
        return where in names or any(name.startswith(f"{where}.") for name in names)

    reaching = [test for test, names in calls.items() if reaches(names)]
    if not reaching:  # constants of a module, bodies of classes
        starts = (any(name.startswith(module) for name in names) for names in calls.values())
        reaching = [test for test, starts_here in zip(calls, starts) if starts_here]
    return reaching


# ---------------------------------------------------------------- drawing and telling


def drawn(
    mutants: Sequence[Mutant], source: bytes, seed: int, most: int | None = None
) -> list[Mutant]:
    """`most` mutants of one module (None: all), in a random order, all kinds in turn."""
    generator = random.Random(f"{seed} {mutants[0].path if mutants else ''}")
    by_kind: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_kind.setdefault(mutant.kind, []).append(mutant)
    kinds = sorted(by_kind)
    generator.shuffle(kinds)
    for kind in kinds:
        generator.shuffle(by_kind[kind])
    turns = zip_longest(*(by_kind[kind] for kind in kinds))
    ordered = (mutant for turn in turns for mutant in turn if mutant is not None)
    return list(islice((mutant for mutant in ordered if mutant.compiles(source)), most))


def on_file(path: Path = REVIEWED) -> dict:
    """Rounds and equivalents that are known."""
    return json.loads(path.read_text()) if path.exists() else {"rounds": [], "equivalent": []}


def reviewed(path: Path = REVIEWED) -> dict[tuple[str | int, ...], str]:
    """Reason of each mutant that was looked at and found equivalent, by its identity."""
    return {_identity(row): row["reason"] for row in on_file(path)["equivalent"]}


def _identity(row: Mapping) -> tuple[str | int, ...]:
    return tuple(row[name] for name in ("path", "function", "kind", "change", "code", "column"))


def record(runs: Sequence[Path], path: Path = REVIEWED) -> None:
    """Count what `--out` wrote, less equivalents, into the rounds on file, one for each seed."""
    known, reasons, project = on_file(path), reviewed(path), Project(ROOT)
    rounds = {one["seed"]: one for one in known["rounds"]}
    for run in map(json.loads, (file.read_text() for file in runs)):
        floors: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for row in run["mutants"]:
            lives = row["status"] == "passed"
            if not (lives and _identity(row) in reasons):
                floors[project.floor(row["path"])][0] += not lives
                floors[project.floor(row["path"])][1] += 1
        one = rounds.setdefault(run["seed"], {"seed": run["seed"], "floors": {}})
        one["floors"] = dict(sorted((one["floors"] | floors).items()))
        one["all"] = [sum(counts) for counts in zip(*one["floors"].values())]
    known["rounds"] = [rounds[seed] for seed in sorted(rounds)]
    text = json.dumps(known, indent=1, ensure_ascii=False)
    path.write_text(_SHORT_LIST.sub(r"[\1, \2]", text) + "\n")


_SHORT_LIST = re.compile(r"\[\s+(\d+),\s+(\d+)\s+\]")


def table(
    outcomes: Sequence[tuple[Mutant, Outcome]], project: Project, reasons: Mapping
) -> list[str]:
    """killed / all by floor and kind, survivors and time-outs; equivalents are not counted."""
    lives = [m for m, o in outcomes if o.status == "passed"]
    counted = [(m, o) for m, o in outcomes if not (m.identity in reasons and m in lives)]
    lines = []
    for title, of in (
        ("floor", lambda m: project.floor(m.path)),
        ("kind", lambda m: m.kind),
        ("", lambda m: "all"),
    ):
        every, killed = Counter(), Counter()
        for mutant, outcome in counted:
            every[of(mutant)] += 1
            killed[of(mutant)] += outcome.status != "passed"
        lines += [f"\n{title}"] * bool(title)
        for name in sorted(every):
            share = killed[name] / every[name]
            lines.append(f"  {name:<12} {killed[name]:>5} / {every[name]:<5} {share:6.1%}")

    def listed(title: str, mutants: Iterable[Mutant]) -> None:
        rows = [f"  {m.path}:{m.line}: [{m.kind}] {m.change}" for m in mutants]
        notes = [reasons.get(m.identity, "") for m in mutants]
        lines.append(f"\n{title}: {len(rows)}")
        lines.extend(row + (f"\n      {note}" if note else "") for row, note in zip(rows, notes))

    listed("survivors", [m for m in lives if m.identity not in reasons])
    listed("equivalent", [m for m in lives if m.identity in reasons])
    listed("past the limit of time", [m for m, o in outcomes if o.status == "time-out"])
    return lines


def written(outcomes: Sequence[tuple[Mutant, Outcome]], path: Path, seed: int) -> None:
    rows = [
        {
            "path": m.path,
            "function": m.function,
            "kind": m.kind,
            "change": m.change,
            "code": m.code,
            "line": m.line,
            "column": m.column,
            "status": o.status,
            "seconds": round(o.seconds, 1),
            "by": o.report.get("failed", [])[:1],
        }
        for m, o in outcomes
    ]
    told = {"seed": seed, "mutants": rows}
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the draw of mutants")
    parser.add_argument("--per-module", type=int, default=3, help="mutants of each module")
    parser.add_argument("--only", nargs="+", default=[], help="modules or folders, from the root")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--all", action="store_true", help="every mutant, not a draw")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--slow", action="store_true", help="survivors meet slow tests, too")
    parser.add_argument("--budget", type=float, default=60, help="seconds of each round of tests")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop drawing then")
    parser.add_argument("--list", action="store_true", help="show the draw and run nothing")
    parser.add_argument("--out", type=Path, help="JSON of every mutant and what became of it")
    parser.add_argument("--record", nargs="+", type=Path, help="count files of --out and stop")
    parser.add_argument("--calls", type=Path, help="JSON of which test calls what, to be reused")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    parser.add_argument("--package", default="dtda_lib")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    asked = arguments(given)
    if asked.record:
        record(asked.record)
        return 0
    project = Project(asked.root.resolve(), asked.package)
    wanted = tuple(f"{path.strip('/')}" for path in asked.only)
    draws = []
    for path in project.modules:
        if wanted and not any(path == one or path.startswith(f"{one}/") for one in wanted):
            continue
        source = (project.root / path).read_bytes()
        mutants = [mutant for mutant in mutants_of(path, source) if mutant.kind in asked.kinds]
        draws.append(drawn(mutants, source, asked.seed, None if asked.all else asked.per_module))
    chosen = [m for turn in zip_longest(*draws) for m in turn if m is not None]
    if asked.list:
        print("\n".join(f"{m.path}:{m.line}: [{m.kind}] {m.change}" for m in chosen))
        return 0
    own = [HYPOTHESIS] if (project.root / "tests" / "conftest.py").exists() else []
    for name in ("pytest", *own, *project.third_party):  # once, here; forked processes have them
        try:
            import_module(name)
        except Exception:  # a test that needs it will say why
            continue
    reasons = reviewed() if project.root == ROOT else {}
    stop = time.monotonic() + 60 * asked.minutes
    outcomes: list[tuple[Mutant, Outcome]] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        judge = Judge(
            project, Path(folder).resolve(), asked.workers, asked.slow, asked.calls, asked.budget
        )
        for floor in dict.fromkeys(project.floor(m.path) for m in chosen):
            judge.prepare(floor)

        def one(mutant: Mutant) -> tuple[Mutant, Outcome] | None:
            return (mutant, judge.judge(mutant)) if time.monotonic() < stop else None

        with ThreadPoolExecutor(asked.workers) as pool:
            for result in pool.map(one, chosen):
                if result is None:
                    continue
                outcomes.append(result)
                mutant, outcome = result
                word = {"passed": "LIVES", "failed": "dead"}.get(outcome.status, outcome.status)
                print(
                    f"{word:8} {outcome.seconds:5.1f} s  {mutant.path}:{mutant.line}: "
                    f"[{mutant.kind}] {mutant.change}",
                    flush=True,
                )
                if asked.out:
                    written(outcomes, asked.out, asked.seed)
    print("\n".join(table(outcomes, project, reasons)))
    alive = [m for m, o in outcomes if o.status == "passed" and m.identity not in reasons]
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
