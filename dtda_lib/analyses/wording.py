"""Small parts of sentences that are made out of tables, shared by the `*_words` modules."""

from collections.abc import Iterable, Mapping
from typing import Any

from IPython.display import Markdown


def bullets(sentences: Iterable[str]) -> Markdown:
    """One bullet for each sentence."""
    return Markdown("\n".join(f"* {sentence}" for sentence in sentences))


def joined(parts: Iterable[str], none: str = "none") -> str:
    """ "a, b and c"; `none` for nothing."""
    parts = list(parts)
    if len(parts) < 2:
        return parts[0] if parts else none
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def with_interval(row: Mapping[str, Any], value: str = "estimate", digits: int = 2) -> str:
    """The number of a row and its `low` to `high`: "0.90 (0.87 to 0.94)"."""
    return f"{row[value]:.{digits}f} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"


def side(row: Mapping[str, Any], threshold: float, *, above: str, below: str, unclear: str) -> str:
    """Which words hold: those of an interval above or below a threshold, or across it.

    An end that touches the threshold, or is not a number, decides nothing.
    """
    if row["low"] > threshold:
        return above
    return below if row["high"] < threshold else unclear


def percent(share: float) -> str:
    """A share as "82 %"."""
    return f"{100 * share:.0f} %"


def counted(number: int, noun: str) -> str:
    """ "1 pair", "2 pairs"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def upper(name: str) -> str:
    """A name at the head of a sentence; the rest keeps its capitals."""
    return name[:1].upper() + name[1:]
