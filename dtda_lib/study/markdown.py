"""Tables, lists and folded parts of Markdown, for generated pages and what notebooks display."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def plain(text: object) -> str:
    r"""Text of a user or a file, such as a class name, as it is: no HTML, Markdown or maths in it.

    The one way by which such text enters Markdown; into HTML it goes through `html.escape`.

    >>> print(plain("a|b <i> $x$ c_d"))
    a\|b \<i\> \$x\$ c_d
    """
    # A "_" within a word is no emphasis.
    special = r"[\\`*\[\]<>|$~&]|(?<![^\W_])_|_(?![^\W_])"
    return re.sub(special, lambda found: f"\\{found[0]}", " ".join(str(text).split()))


def alt(caption: str) -> str:
    """The caption's first sentence as alternative text, without what would end a Markdown link."""
    return re.sub(r"[\[\]\\]", "", re.split(r"(?<=[.!?])\s", caption)[0])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table; its columns are the keys of the first row, and a cell is always one line."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def numbered(texts: Iterable[str]) -> str:
    """A numbered list, from 1."""
    return "\n".join(f"{n}. {' '.join(text.split())}" for n, text in enumerate(texts, start=1))


def folded(summary: str, text: str) -> str:
    """Text that a reader unfolds; the blank lines let Markdown inside be rendered."""
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def marked(name: str, text: str) -> str:
    """Text between the two comments by which `replaced` finds it again; readers see neither."""
    return f"<!-- {name}:start -->\n\n{text}\n\n<!-- {name}:end -->"


def written_by(text: str) -> str | None:
    """The name in the comment at the head of a text that code writes, as `marked` puts it there."""
    found = re.match(r"<!-- (\w+):start -->", text)
    return found and found[1]


def replaced(page: str, name: str, text: str) -> str:
    """A page with what stands between its two comments of that name made anew.

    Raises:
        ValueError: the page has no such place.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, first, rest = page.partition(start)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise ValueError(f"the page needs a line {start} and below it a line {end}: add them.")
    return f"{before}{marked(name, text)}{after}"


def _cell(value: Any) -> str:
    return " ".join(re.sub(r"(?<!\\)\|", r"\\|", str(value)).split())
