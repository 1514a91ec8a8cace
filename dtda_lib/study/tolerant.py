"""Comparing printed results: numbers within a tolerance, everything else exactly.

A number is a run of digits with no word character or dot on either side, so identifiers (`mnist3`),
versions (`2.13.0`) and numbers glued to a unit (`3.5x`) are text. Integers are compared exactly:
a count does not jitter.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

RTOL, ATOL = 1e-6, 1e-9

# The exponent needs its sign, as every formatter prints it: `12e5` is more likely part of a hash.
NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]\d+)?(?!\w|\.\w)"
)
_INTEGER = re.compile(r"[-+−]?[\d,]+")


def to_float(token: str) -> float:
    """The value of a number token, thousands separators and typographic minus included."""
    return float(token.replace(",", "").replace("−", "-"))


def same_number(reference: str, got: str, rtol: float = RTOL, atol: float = ATOL) -> bool:
    """Whether two number tokens agree: equal text, or floats within `atol + rtol * |reference|`."""
    if reference == got:
        return True
    if _INTEGER.fullmatch(reference) and _INTEGER.fullmatch(got):
        return False
    want, have = to_float(reference), to_float(got)
    finite = math.isfinite(want) and math.isfinite(have)
    return finite and abs(have - want) <= atol + rtol * abs(want)


def skeleton(text: str) -> list[str]:
    """The words of a text with each number replaced by `#`; widths of columns do not matter."""
    return NUMBER.sub("#", text).split()


def snap_text(reference: str, got: str, rtol: float = RTOL, atol: float = ATOL) -> str:
    """The reference if `got` equals it within tolerance, else `got`, so that a diff shows it."""
    if skeleton(reference) != skeleton(got):
        return got
    pairs = zip(NUMBER.findall(reference), NUMBER.findall(got), strict=True)
    return reference if all(same_number(r, g, rtol, atol) for r, g in pairs) else got


def tolerances(tags: Iterable[str]) -> tuple[float, float]:
    """`(rtol, atol)` out of a cell's `rtol=...` and `atol=...` tags, else the tight defaults."""
    found = dict(tag.split("=", 1) for tag in tags if tag.startswith(("rtol=", "atol=")))
    return float(found.get("rtol", RTOL)), float(found.get("atol", ATOL))


def snap_outputs(
    reference: list[Any],
    got: list[Any],
    rtol: float = RTOL,
    atol: float = ATOL,
    sanitize: Callable[[str], str] = str,
) -> list[Any]:
    """Copies of the obtained outputs of a cell in which texts within tolerance are the reference's.

    `sanitize` (times, addresses) goes first on both sides: those differences are no numbers.
    """
    if len(reference) != len(got):
        return got

    def snap(want: Any, have: Any) -> Any:
        if isinstance(want, str) and isinstance(have, str):
            return snap_text(sanitize(want), sanitize(have), rtol, atol)
        return have

    snapped = []
    for want, have in zip(reference, got, strict=True):
        have = type(have)(have)  # a copy, of nbformat's own kind
        if "text" in have and "text" in want:
            have["text"] = snap(want["text"], have["text"])
        if "data" in have and "data" in want:
            have["data"] = {
                kind: snap(want["data"].get(kind), value) if kind.startswith("text/") else value
                for kind, value in have["data"].items()
            }
        snapped.append(have)
    return snapped
