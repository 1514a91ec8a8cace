"""What a definition does, as text that is blind to how and where it is written down.

Two functions with one normal form compute the same from the same things. Comments, docstrings,
annotations, layout, names of local variables, import statements, and texts of errors do not count;
operators, constants, names of arguments (which calls may use), attributes and keywords do. Global
and captured names leave the text: a form lists them, so that whoever asks can look at what they
stand for.
"""

import ast
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_LOOPS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
# What binds a name that is no `ast.Name`: errors that are caught, and patterns.
_BINDERS = ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping
# Errors that nobody catches to compute with what they say.
_REFUSALS = {"FloatingPointError", "NotImplementedError", "RuntimeError", "TypeError", "ValueError"}
# Fields of a tree that are no part of what code does.
_SILENT = {"ctx", "type_comment", "annotation", "returns", "type_params", "kind", "simple"}


@dataclass(frozen=True)
class Import:
    """What `from module import name` binds inside a function, or `import module` without a name.

    `level` counts the dots of a relative import.
    """

    module: str
    level: int = 0
    name: str | None = None


Chain = tuple[str | Import, tuple[str, ...]]
"""A global or captured name, or what an import binds, with the attributes that are read off it."""


@dataclass(frozen=True)
class Form:
    """A normal form: its text, and the chains that `<0>`, `<1>`, ... in it stand for."""

    text: str
    chains: tuple[Chain, ...]


# --- names ----------------------------------------------------------------------------------------


@dataclass
class Scope:
    """Names that a function, class or comprehension binds."""

    bound: set[str]
    imports: dict[str, Import] = field(default_factory=dict)  # bound by one import and nothing else
    outer: set[str] = field(default_factory=set)  # declared global
    is_class: bool = False
    numbers: dict[str, int] = field(default_factory=dict)


class FormWriter:
    """Numbers for local names, in the order in which they are met, and chains for all others."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.scopes: list[Scope] = []
        self.chains: dict[Chain, int] = {}
        self.count = itertools.count()

    def form(self) -> Form:
        """What was written."""
        return Form(" ".join(self.parts), tuple(self.chains))

    def name(self, name: str, attributes: tuple[str, ...] = ()) -> None:
        """Write a name with attributes that are read off it."""
        for scope in reversed(self.scopes):
            if scope.is_class and scope is not self.scopes[-1]:
                continue  # functions do not see the names of a class around them
            if name in scope.outer:
                break
            if name in scope.imports:
                self.chain(scope.imports[name], attributes)
                return
            if name in scope.bound:
                known = name if scope.is_class else scope.numbers.get(name)
                if known is None:
                    known = scope.numbers[name] = next(self.count)
                self.parts.append(f"${known}")
                self.parts += [f".{attribute}" for attribute in attributes]
                return
        self.chain(name, attributes)

    def chain(self, root: str | Import, attributes: tuple[str, ...] = ()) -> None:
        """Write a chain."""
        self.parts.append(f"<{self.chains.setdefault((root, attributes), len(self.chains))}>")


def constant(value: object) -> str:
    """A constant with its type: 2 is not 2.0."""
    if isinstance(value, frozenset):  # in an order that does not change from run to run
        return f"frozenset {sorted(map(constant, value))}"
    return f"{type(value).__name__} {value!r}"


# --- from source ----------------------------------------------------------------------------------


class SyntaxWriter(FormWriter):
    """Writes the normal form of a definition."""

    def function(self, node: Any, *, whole: bool = False) -> None:
        """A function; decorators and defaults only of one inside another (`whole`).

        Those of the outermost have been evaluated: who asks has the function that they made.
        """
        arguments = node.args
        if whole:
            self.write(getattr(node, "decorator_list", []))
            self.write([arguments.defaults, arguments.kw_defaults])
        body = node.body if isinstance(node.body, list) else [node.body]
        scope = _scope(body, [one.arg for one in _arguments(arguments)])
        self.scopes.append(scope)
        kind = "async" if isinstance(node, ast.AsyncFunctionDef) else "def"
        self.parts.append(f"{kind} {len(arguments.posonlyargs)} {len(arguments.args)} (")
        for one in _arguments(arguments):
            self.name(one.arg)
            unnamed = {arguments.vararg: "*", arguments.kwarg: "**"}
            unnamed |= dict.fromkeys(arguments.posonlyargs, "/")
            self.parts.append(unnamed.get(one, one.arg))
        self.parts.append(")")
        if isinstance(node.body, list):
            self.write(node.body)
        else:  # a lambda, which is a function that returns
            self.parts.append("[ Return ( value =")
            self.write(node.body)
            self.parts.append(") ]")
        self.scopes.pop()

    def write(self, node: Any) -> None:
        """Any part of a tree."""
        if isinstance(node, list):
            self.parts.append("[")
            for one in self._statements(node):
                self.write(one)
            self.parts.append("]")
        elif not isinstance(node, ast.AST):
            self.parts.append(repr(node))
        elif isinstance(node, ast.Constant):
            self.parts.append(constant(node.value))
        elif isinstance(node, ast.Name):
            self.name(node.id)
        elif isinstance(node, ast.Attribute) and (chain := _read_off(node)):
            self.name(*chain)
        elif isinstance(node, FUNCTIONS):
            self.name(node.name)
            self.function(node, whole=True)
        elif isinstance(node, ast.Lambda):
            self.function(node, whole=True)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif isinstance(node, _LOOPS):
            self._loop(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name, bound in _imports(node):
                self.name(name)
                self.chain(bound)
        else:
            self._fields(node)

    def _statements(self, nodes: list[Any]) -> Iterator[Any]:
        """Parts of a list that do something."""
        for node in nodes:
            if isinstance(node, ast.Pass | ast.Global | ast.Nonlocal):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring, or a remark in the place of a statement
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports = self.scopes[-1].imports if self.scopes else {}
                if all(name in imports for name, _ in _imports(node)):
                    continue  # what it binds is written where it is used
            if isinstance(node, ast.AnnAssign):
                if node.value is None and not self.scopes[-1].is_class:
                    continue
                if node.value is not None:
                    node = ast.Assign(targets=[node.target], value=node.value)
            yield node

    def _fields(self, node: ast.AST) -> None:
        self.parts.append(f"{type(node).__name__} (")
        for name, value in ast.iter_fields(node):
            if name in _SILENT or value is None or value == []:
                continue
            if isinstance(node, ast.Assert) and name == "msg" and _is_text(value):
                continue
            if isinstance(node, ast.Raise) and name == "exc" and _is_refusal(value):
                value = ast.Call(value.func, [], [])  # the words of an error
            self.parts.append(f"{name} =")
            if isinstance(node, _BINDERS) and isinstance(value, str):
                self.name(value)
            else:
                self.write(value)
        self.parts.append(")")

    def _class(self, node: ast.ClassDef) -> None:
        self.name(node.name)
        self.write([node.decorator_list, node.bases, node.keywords])
        self.scopes.append(_scope(node.body, (), is_class=True))
        self.parts.append("class")
        self.write(node.body)
        self.scopes.pop()

    def _loop(self, node: Any) -> None:
        """A comprehension; its first iterable is looked up outside."""
        self.parts.append(type(node).__name__)
        first = node.generators[0]
        self.write(first.iter)
        targets = [one.target for one in node.generators]
        self.scopes.append(Scope(_stored(targets)))
        for number, one in enumerate(node.generators):
            self.write([one.target, *one.ifs] if number == 0 else [one.target, one.iter, *one.ifs])
            self.parts.append(repr(one.is_async))
        self.write([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self.scopes.pop()


def _read_off(node: ast.Attribute) -> tuple[str, tuple[str, ...]] | None:
    """`a.b.c` as ("a", ("b", "c")); None where it begins with something else than a name."""
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    return (node.id, tuple(attributes)) if isinstance(node, ast.Name) else None


def _arguments(given: ast.arguments) -> list[ast.arg]:
    rest = (given.vararg, *given.kwonlyargs, given.kwarg)
    return [*given.posonlyargs, *given.args, *(one for one in rest if one is not None)]


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """Names that an import binds, and to what."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, Import(node.module or "", node.level, alias.name)
        else:
            # `import a.b` binds a; `import a.b as c` binds the module a.b.
            top = alias.name.partition(".")[0]
            yield alias.asname or top, Import(alias.name if alias.asname else top)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _is_refusal(node: ast.AST) -> bool:
    """Whether an error that refuses something is made here, whatever it says."""
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return named and node.func.id in _REFUSALS


def _stored(nodes: Iterable[ast.AST]) -> set[str]:
    return {
        one.id
        for node in nodes
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
    }


def _scope(body: list[Any], arguments: Iterable[str], *, is_class: bool = False) -> Scope:
    """What a body binds, without what functions, classes and comprehensions inside bind."""
    bound, outer, nonlocals, imported = set(arguments), set(), set(), {}
    pending = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            bound.add(node.name)
            pending += node.decorator_list
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, _LOOPS):
            walrus = (one for one in ast.walk(node) if isinstance(one, ast.NamedExpr))
            bound |= {one.target.id for one in walrus}
        elif isinstance(node, ast.Global):
            outer |= set(node.names)
        elif isinstance(node, ast.Nonlocal):
            nonlocals |= set(node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name, thing in _imports(node):
                imported.setdefault(name, []).append(thing)
        else:
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                bound.add(node.id)
            if isinstance(node, _BINDERS):
                bound |= {name for _, name in ast.iter_fields(node) if isinstance(name, str)}
            pending += ast.iter_child_nodes(node)
    single = {
        name: things[0]
        for name, things in imported.items()
        if len(set(things)) == 1 and name not in bound | outer and not is_class
    }
    bound |= set(imported) - set(single)
    return Scope(bound - outer - nonlocals, single, outer, is_class)
