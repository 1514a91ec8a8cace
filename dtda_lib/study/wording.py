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
    middle, low, high = (number(row[name], digits) for name in (value, "low", "high"))
    return f"{middle} ({low} to {high})"


def number(value: float, digits: int = 2) -> str:
    """A number with so many decimals, and no "-0.00"."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def side(row: Mapping[str, Any], threshold: float, *, above: str, below: str, unclear: str) -> str:
    """Which words hold: those of an interval above or below a threshold, or across it.

    An end that touches the threshold, or is not a number, decides nothing.
    """
    if row["low"] > threshold:
        return above
    return below if row["high"] < threshold else unclear


def percent(share: float, digits: int = 0) -> str:
    """A share as "82 %"."""
    return f"{number(100 * share, digits)} %"


def grouped(verdicts: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names by verdict, from (verdict, name); both in the order of their first mention."""
    found: dict[str, list[str]] = {}
    for verdict, name in verdicts:
        found.setdefault(verdict, []).append(name)
    return found


def counted(number: int, noun: str) -> str:
    """ "1 pair", "2 pairs"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def upper(name: str) -> str:
    """A name at the head of a sentence; the rest keeps its capitals."""
    return name[:1].upper() + name[1:]


def with_percents(row: Mapping[str, Any], value: str = "estimate") -> str:
    """As `with_interval`, in per cent: "3.4 % (2.8 % to 4.1 %)"."""
    middle, low, high = (percent(row[name], 1) for name in (value, "low", "high"))
    return f"{middle} ({low} to {high})"
