"""The normal form of what runs: see `syntax_form`, which reads its source where that is at hand."""

import ast
import dis
import functools
import inspect
import linecache
from types import CodeType
from typing import Any

from .syntax_form import FUNCTIONS, Form, FormWriter, Import, Scope, SyntaxWriter, constant

_known: dict[int, tuple[CodeType, Form]] = {}  # the code is kept, so that its id stays its own


def code_form(code: CodeType, module_globals: dict[str, Any] | None = None) -> Form:
    """The normal form of a function's code.

    Read from its source, if that is at hand and is what was compiled (a file may have been edited
    since it was imported: what runs is what counts); otherwise from the instructions, which differ
    from one version of Python to the next, but see the same.

    Args:
        code: Of a function, method or lambda.
        module_globals: Of its module, for sources that only the module's loader can read.
    """
    if id(code) not in _known:
        node = _node_of(code, module_globals)
        writer = _CodeWriter() if node is None else SyntaxWriter()
        writer.function(code if node is None else node)
        _known[id(code)] = (code, writer.form())
    return _known[id(code)][1]


# --- where the source of a code object is ---------------------------------------------------------


def _node_of(code: CodeType, module_globals: dict[str, Any] | None) -> ast.AST | None:
    """The definition that was compiled to this code, or None if it cannot be told."""
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename, module_globals))
    if not text:
        return None
    compiled, nodes = _parsed(text)
    if _identity(code) not in compiled:
        return None
    found = nodes.get((code.co_firstlineno, code.co_name), [])
    if len(found) > 1:  # several lambdas of one line
        spans = set(code.co_positions())
        found = [node for node in found if _span(node.body) in spans]
    return found[0] if len(found) == 1 else None


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[set[tuple], dict[tuple[int, str], list[Any]]]:
    """Identities of all code in a source, and its definitions by first line and name."""
    try:
        tree = ast.parse(text)
        pending = [compile(tree, "", "exec", dont_inherit=True)]
    except (SyntaxError, ValueError):  # a notebook's magic, or a template
        return set(), {}
    compiled = set()
    while pending:
        code = pending.pop()
        compiled.add(_identity(code))
        pending += [part for part in code.co_consts if isinstance(part, CodeType)]
    nodes: dict[tuple[int, str], list[Any]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            nodes.setdefault((node.lineno, "<lambda>"), []).append(node)
        elif isinstance(node, FUNCTIONS):
            line = min(one.lineno for one in (node, *node.decorator_list))
            nodes.setdefault((line, node.name), []).append(node)
    return compiled, nodes


def _identity(code: CodeType) -> tuple:
    """What tells code objects of one file apart; code itself compares what it has learnt, too."""
    constants = (
        _identity(one) if isinstance(one, CodeType) else constant(one) for one in code.co_consts
    )
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (code.co_name, code.co_code, code.co_linetable, *names, *constants)


def _span(node: ast.AST) -> tuple[int, int, int, int]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


# --- from instructions ----------------------------------------------------------------------------

_IDLE = {"CACHE", "COPY_FREE_VARS", "EXTENDED_ARG", "MAKE_CELL", "NOP", "PRECALL", "RESUME"}
_GLOBALS = {"DELETE_GLOBAL", "LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"}
_READS = {"LOAD_ATTR", "LOAD_METHOD"}


class _CodeWriter(FormWriter):
    """Writes the normal form of compiled code, its inner functions included."""

    def function(self, code: CodeType) -> None:
        """A function: its arguments, then its instructions."""
        self.scopes.append(Scope({*code.co_varnames, *code.co_cellvars}))
        n_arguments = code.co_argcount + code.co_kwonlyargcount
        named = code.co_varnames[code.co_posonlyargcount : n_arguments]
        kinds = code.co_flags & ~inspect.CO_NESTED & 0xFFFF  # without __future__ imports
        self.parts.append(f"code {kinds} {code.co_argcount} {code.co_kwonlyargcount} {named} (")
        steps = [one for one in dis.get_instructions(code) if one.opname not in _IDLE]
        place = {one.offset: number for number, one in enumerate(steps)}
        after = 0
        for number, step in enumerate(steps):
            if number < after:
                continue  # an attribute that was read off a global name
            self.parts.append(step.opname)
            after = self._argument(steps, number, place)
        self.parts.append(f") {code.co_exceptiontable.hex()}")
        self.scopes.pop()

    def _argument(self, steps: list[dis.Instruction], number: int, place: dict[int, int]) -> int:
        """Write what an instruction works on; returns the next one's number."""
        step, value = steps[number], steps[number].argval
        if step.opname in _GLOBALS or step.opcode in dis.hasfree:
            after = number + 1
            while after < len(steps) and steps[after].opname in _READS:
                after += 1
            self.name(value, tuple(one.argval for one in steps[number + 1 : after]))
            return after
        if isinstance(value, CodeType):
            self.function(value)
        elif step.opname == "IMPORT_NAME":
            level, names = steps[number - 2].argval, steps[number - 1].argval
            for name in names or (None,):
                self.chain(Import(value, level, name))
        elif step.opcode in dis.haslocal:
            for name in value if isinstance(value, tuple) else (value,):  # two at once, in 3.13
                self.name(name)
        elif step.opcode in dis.hasconst:
            self.parts.append(constant(value))
        elif step.opcode in {*dis.hasjrel, *dis.hasjabs}:
            # The nearest instruction that does something.
            self.parts.append(f"to {next((place[o] for o in sorted(place) if o >= value), -1)}")
        elif step.arg is not None:
            self.parts.append(repr(value))
        return number + 1
