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
_IN_BRACKETS = re.compile(r", [-+−]?[\d.,]+\]|\]")  # what follows an end of "[64, 93]"
ROUNDED = "rounded"
"""Tag of a cell whose numbers were rounded for print; see `snap_text`."""


def to_float(token: str) -> float:
    """The value of a number token, thousands separators and typographic minus included."""
    return float(token.replace(",", "").replace("−", "-"))


def same_number(
    reference: str, got: str, rtol: float = RTOL, atol: float = ATOL, *, is_count: bool = True
) -> bool:
    """Whether two number tokens agree: equal text, or floats within `atol + rtol * |reference|`.

    Args:
        reference, got: The tokens.
        rtol, atol: The band.
        is_count: Whether integers are counts, which have to be equal.
    """
    if reference == got:
        return True
    if is_count and _INTEGER.fullmatch(reference) and _INTEGER.fullmatch(got):
        return False
    want, have = to_float(reference), to_float(got)
    finite = math.isfinite(want) and math.isfinite(have)
    return finite and abs(have - want) <= atol + rtol * abs(want)


def skeleton(text: str) -> list[str]:
    """The words of a text with each number replaced by `#`; widths of columns do not matter."""
    return NUMBER.sub("#", text).split()


def snap_text(
    reference: str, got: str, rtol: float = RTOL, atol: float = ATOL, *, rounded: bool = False
) -> str:
    """The reference if `got` equals it within tolerance, else `got`, so that a diff shows it.

    Args:
        reference, got: The texts.
        rtol, atol: The band of each number.
        rounded: Whether numbers were rounded for print, as in sentences. Two that lie within the
            band may then differ by one unit of the last place shown besides: 0.2049 is "0.20" and
            0.2051 is "0.21". So may integers that are percentages ("82 %") or stand in brackets
            ("[79, 84]"), and `atol` is meant for the share that a percentage stands for.
    """
    if skeleton(reference) != skeleton(got):
        return got
    pairs = zip(NUMBER.finditer(reference), NUMBER.finditer(got), strict=True)
    for old, new in pairs:
        own_atol, is_count = atol, True
        if rounded:
            step = max(_last_place(old[0]), _last_place(new[0]))
            scale = 100 if _is_percentage(reference, old) else 1
            own_atol = scale * atol + (1 + 1e-9) * step  # 0.21 - 0.20 is more than 0.01 in floats
            is_count = scale == 1 and not _IN_BRACKETS.match(reference, old.end())
        if not same_number(old[0], new[0], rtol, own_atol, is_count=is_count):
            return got
    return reference


def _is_percentage(text: str, number: re.Match[str]) -> bool:
    """Whether a number is one of "82 %", or of "82 % [79, 84]"."""
    before = text[max(0, number.start() - 40) : number.start()]
    return bool(re.match(r" ?%", text[number.end() :]) or re.search(r"% \[[^\]]*$", before))


def _last_place(token: str) -> float:
    """The unit of the last place that a token shows: 0.01 for "0.20", 1e-10 for "3.4e-09"."""
    digits, _, exponent = token.lower().partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


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
    *,
    rounded: bool = False,
) -> list[Any]:
    """Copies of the obtained outputs of a cell in which texts within tolerance are the reference's.

    `sanitize` (times, addresses) goes first on both sides: those differences are no numbers.
    """
    if len(reference) != len(got):
        return got

    def snap(want: Any, have: Any) -> Any:
        if isinstance(want, str) and isinstance(have, str):
            return snap_text(sanitize(want), sanitize(have), rtol, atol, rounded=rounded)
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
