"""Refusing an unknown name in one sentence."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One sentence for an unknown name: what was asked for, and the nearest name or all names."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(map(repr, names))}."
    return f"unknown {kind} {name!r}: {hint}"


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
