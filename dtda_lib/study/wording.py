"""Small parts of sentences that are made out of tables, shared by the `*_words` modules."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from IPython.display import Markdown

from .tables import ends


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


def bracketed(row: Mapping[str, Any], value: str = "estimate", digits: int = 2) -> str:
    """The same with its interval in brackets: "0.90 [0.87, 0.94]"."""
    middle, low, high = (f"{x:.{digits}f}" for x in (row[value], *ends(row, value)))
    return f"{middle} [{low}, {high}]"


def measured(value: float | None, ci: Sequence[float | None] | None = None, unit: str = "") -> str:
    """A number to two significant digits with its interval; more digits where that is narrow.

    Args:
        value: The number; None shows a dash.
        ci: Its interval.
        unit: "%" shows a share as a percentage; any other text follows the number.

    >>> measured(0.0168, (0.0, 0.0426), "%")
    '1.7 % [0, 4.3]'
    >>> measured(0.813, (0.799, 0.828)), measured(5e-9)
    ('0.81 [0.80, 0.83]', '5.0e-09')
    """
    if value is None:
        return "-"
    scale = 100 if unit == "%" else 1
    reach = [scale * end for end in ci or () if end is not None and math.isfinite(end)]
    value *= scale
    finest = [1 - _magnitude(value)] if value else []
    if len(reach) == 2 and reach[0] < reach[1]:
        finest.append(-_magnitude(reach[1] - reach[0]))
    digits = max(finest, default=0)
    form = f".{max(digits, 0)}f" if digits <= 6 else ".1e"

    def shown(x: float) -> str:
        whole = x == 0 or (not reach and x == round(x) and abs(x) < 1e6)  # a count
        return str(round(x)) if whole else f"{x:{form}}"

    after = f" {unit}" if unit else ""
    interval = f" [{shown(reach[0])}, {shown(reach[1])}]" if len(reach) == 2 else ""
    return f"{shown(value)}{after}{interval}"


def told(row: Mapping[str, Any], value: str = "estimate", unit: str = "") -> str:
    """A number of a row and its interval, as `measured` has them; see `tables.ends`."""
    return measured(row[value], ends(row, value), unit)


def _magnitude(value: float) -> int:
    """Power of ten of the first significant digit."""
    return math.floor(math.log10(abs(value)))


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
    """A name at the head of a sentence; the rest keeps its capitals, and a Greek letter its case.

    >>> upper("damped IF"), upper("σ of one pair")
    ('Damped IF', 'σ of one pair')
    """
    return (name[:1].upper() if name[:1].isascii() else name[:1]) + name[1:]
