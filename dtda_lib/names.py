"""Canonical names; refusing an unknown one in one sentence."""

import difflib
import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping
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
    near = difflib.get_close_matches(str(name)[:60], names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(map(repr, names))}."
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
