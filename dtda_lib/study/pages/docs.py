"""What is generated of `docs/`: the reference of the public names, and the drawing of the floors.

`python -m dtda_lib.study.pages.docs` writes both; a test says whether they are current.
"""

import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import dtda_lib
from dtda_lib.runs.store import write_atomic
from dtda_lib.study.artefacts import study_root
from dtda_lib.study.markdown import replaced

from .architecture import FLOORS

WALL = "the wall: above it one folder a notebook, below it what anybody may import"
_SECTIONS = ("Args", "Returns", "Raises")


def render_floors() -> str:
    """The floors of the package, highest first, each with what it holds."""
    width = max(map(len, FLOORS)) + 4
    rows = [f"{name:<{width}}{holds}" for name, holds in FLOORS.items()]
    *library, experiments = rows
    return "\n".join(["```text", experiments, f"--- {WALL} ---", *reversed(library), "```"])


def render_architecture(root: Path | str) -> str:
    """The text of `docs/architecture.md` with the drawing between its two markers made anew.

    Raises:
        ValueError: the page has no place for it.
    """
    path = Path(root) / "docs" / "architecture.md"
    return replaced(path.read_text(encoding="utf-8"), "floors", render_floors())


def render_api() -> str:
    """The reference of the public names, by group, out of their docstrings."""
    parts = [
        "# Public names\n\nMade from the docstrings by `python -m dtda_lib.study.pages.docs`. "
        "`import dtda_lib as dt` gives all of them; a name that is missing here may change at any "
        "time."
    ]
    for group, modules in dtda_lib.FACE.items():
        names = [(module, name) for module, found in modules.items() for name in found]
        links = ", ".join(f"[`{name}`](#{name.lower()})" for _, name in names)
        parts.append(f"## {group}\n\n{links}")
        for module, name in names:
            thing = getattr(importlib.import_module(f"dtda_lib.{module}"), name)
            parts.append(f"### {name}\n\n{_described(thing, module)}")
    return "\n\n".join(parts) + "\n"


def write_docs(root: Path | str | None = None) -> list[Path]:
    """Write what is generated of `docs/`; returns the paths."""
    folder = Path(root or study_root()) / "docs"
    write_atomic(folder / "api.md", render_api())
    write_atomic(folder / "architecture.md", render_architecture(folder.parent))
    return [folder / "api.md", folder / "architecture.md"]


def _described(thing: object, module: str) -> str:
    code = f"```python\n{_call(thing, f'dt.{thing.__name__}')}\n```"
    parts = [code, _markdown(inspect.getdoc(thing) or "")]
    if inspect.isclass(thing) and (members := list(_members(thing))):
        parts.append("**Members:**\n\n" + "\n".join(f"- {one}" for one in members))
    parts.append(f"Defined in `dtda_lib/{module.replace('.', '/')}.py`.")
    return "\n\n".join(parts)


def _call(thing: object, name: str) -> str:
    """The signature, an argument a line where it does not fit into 100 characters."""
    signature = inspect.signature(thing)
    # A default that is a function would be printed with its address.
    shown = [
        p.replace(default=_Name(p.default))
        if callable(p.default) and p.default is not p.empty
        else p
        for p in signature.parameters.values()
    ]
    returned = signature.empty if inspect.isclass(thing) else signature.return_annotation
    signature = signature.replace(parameters=shown, return_annotation=returned)
    text = _short(str(signature))
    if len(name + text) <= 100:
        return name + text
    inner = [_short(str(p)) for p in shown]
    keyword = [p.kind is p.KEYWORD_ONLY for p in shown]
    if any(keyword) and not any(p.kind is p.VAR_POSITIONAL for p in shown):
        inner.insert(keyword.index(True), "*")
    back = "" if signature.return_annotation is signature.empty else text.rpartition(")")[2]
    return f"{name}(\n" + "".join(f"    {one},\n" for one in inner) + f"){back}"


class _Name:
    def __init__(self, thing: object) -> None:
        self.name = getattr(thing, "name", None) or getattr(thing, "__name__", "...")

    def __repr__(self) -> str:
        return self.name


def _short(text: str) -> str:
    """Types without the modules that they are from."""
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text)


def _members(kind: type) -> Iterator[str]:
    """Public methods and properties of a class, each with its first line.

    Those of a base are among them, unless that is a public name with an entry of its own.
    """
    for base in kind.__mro__:
        if base is not kind and base.__name__ in dtda_lib.__all__:
            return
        if base.__module__.partition(".")[0] == dtda_lib.__name__:
            yield from _defined(base)


def _defined(kind: type) -> Iterator[str]:
    for name, member in vars(kind).items():
        is_field = dataclasses.is_dataclass(kind) and name in kind.__dataclass_fields__
        if name.startswith("_") or is_field:
            continue
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if inspect.isfunction(function):
            brackets = "" if isinstance(member, property) else "()"
            first = (inspect.getdoc(function) or "").partition("\n\n")[0]
            yield f"`{name}{brackets}`: {' '.join(first.split())}"


def _markdown(docstring: str) -> str:
    """A docstring with its sections as headed lists."""
    parts: list[str] = []
    for block in docstring.split("\n\n"):
        heading, _, body = block.partition("\n")
        if heading.rstrip(":") in _SECTIONS and heading.endswith(":"):
            items = re.split(r"\n(?! )", textwrap.dedent(body))
            listed = heading != "Returns:"
            lines = [" ".join(item.split()) for item in items]
            told = "\n".join(f"- {_entry(line)}" for line in lines) if listed else " ".join(lines)
            parts.append(f"**{heading}**\n\n{told}")
        else:
            parts.append(textwrap.dedent(block))
    return "\n\n".join(parts)


def _entry(line: str) -> str:
    """`name: text` of a list of arguments, the names as code."""
    names, colon, text = line.partition(":")
    return f"`{names}`:{text}" if colon and re.fullmatch(r"[\w, *]+", names) else line


if __name__ == "__main__":
    for path in write_docs():
        print(path)
