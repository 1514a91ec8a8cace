"""Canonical names; how an unknown one is refused, and how an object says what it is."""

import difflib
import html
import inspect
import reprlib
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

PROFILE_NAMES = ("smoke", "default", "paper")
"""Sizes at which every notebook runs, smallest first."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60


def short(value: object) -> str:
    """`repr` of what somebody gave, on one line and cut where it is long: for messages."""
    try:
        return " ".join(_REPR.repr(value).split())
    except ValueError:  # an integer that Python refuses to write out
        return f"a huge {type(value).__name__}"


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One sentence for an unknown name: what was asked for, and the nearest name or all names."""
    names = list(known)
    forms = {one.casefold(): one for one in names}
    near = difflib.get_close_matches(str(name)[:60].casefold(), forms, n=1)
    hint = (
        f"did you mean {forms[near[0]]!r}?" if near else f"known are {', '.join(map(repr, names))}."
    )
    return f"unknown {kind} {short(name)}: {hint}"


def refuse_unknown_settings(
    what: str, function: Callable[..., Any], settings: Mapping[str, object]
) -> None:
    """Refuse settings by names that a function or class does not take.

    Raises:
        ValueError: one sentence with the unknown name and the nearest known one.
    """
    kinds = inspect.Parameter
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is kinds.VAR_KEYWORD for p in parameters):
        return
    named = [
        p.name for p in parameters if p.kind in (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    for name in settings:
        if name not in named:
            raise ValueError(unknown(f"setting of {what}", name, named))


class Shown:
    """An object that says what it is: up to three lines as text, a small table in a notebook.

    A subclass tells in `_facts` what is worth knowing, never arrays. A dataclass is made with
    `repr=False`, because its own text prints every field.
    """

    def _facts(self) -> Mapping[str, object]:
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={_short(repr(v))}" for name, v in self._facts().items())
        text = f"{type(self).__name__}({facts})"
        lines = textwrap.wrap(
            text,
            100,
            subsequent_indent="    ",
            max_lines=3,
            placeholder=" ...",
            break_on_hyphens=False,
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(_short(str(value)))}</td></tr>"
            for name, value in self._facts().items()
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"


def listing(values: Sequence[object], most: int = 3) -> str:
    """The first values of a sequence, and how many there are if that is more.

    >>> listing(["none", 0, 1, 2])
    'none, 0, 1, ... (4)'
    """
    rest = f", ... ({len(values)})" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + rest


def _short(text: str) -> str:
    """One line of at most 80 characters; control characters and line ends become spaces."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return textwrap.shorten(clean, 80, placeholder="...") if " " in clean else clean[:80]
