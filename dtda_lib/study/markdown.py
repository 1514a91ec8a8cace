"""Tables and lists of Markdown, for the generated pages and for what notebooks display."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table; its columns are the keys of the first row, and a cell is always one line."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def numbered(texts: Iterable[str]) -> str:
    """A numbered list, from 1."""
    return "\n".join(f"{n}. {' '.join(text.split())}" for n, text in enumerate(texts, start=1))


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
