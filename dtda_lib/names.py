"""Refusing an unknown name in one sentence."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One sentence for an unknown name: what was asked for, and the nearest name or all names."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(map(repr, names))}."
    return f"unknown {kind} {name!r}: {hint}"
