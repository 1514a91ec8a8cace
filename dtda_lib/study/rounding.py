"""Numbers as files hold them: a few digits, and rounding noise written as the zero it stands for.

What is zero in theory comes out as 3.3e-14 on one day and 3.4e-14 on another, because sums run in
another order. Written as such it would change files that say the same; so `NOISE` of the scale of a
number is written as 0. Numbers that mean something lie far above: the rules of the claims call
1e-9 zero, too.
"""

import math

import numpy as np
import pandas as pd

from .tolerant import ATOL

NOISE = ATOL
"""Share of its scale below which a number is noise of rounding."""


def rounded(value: float | None, digits: int = 6, scale: float = 1.0) -> float | None:
    """A number to so many significant digits; 0 where it is noise, None where it is not finite.

    Args:
        value: The number.
        digits: Enough to quote, few enough that jitter seldom shows in a diff.
        scale: What it is measured by; 1 for shares, ratios, correlations and their errors.

    >>> rounded(1 / 3), rounded(3.41e-14), rounded(float("nan"))
    (0.333333, 0.0, None)
    """
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}") if abs(value) >= NOISE * scale else 0.0


def without_noise(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns of floats hold 0 in place of noise.

    A column's scale is its largest finite value, at most 1: errors of rounding grow with what was
    added up, and a column may hold both a diverged run and one that has not.

    >>> without_noise(pd.DataFrame({"error": [0.5, -3.41e-14]}))["error"].tolist()
    [0.5, 0.0]
    """

    def cleared(column: pd.Series) -> pd.Series:
        size = column.abs()
        scale = min(size[np.isfinite(size)].max(), 1.0)  # NaN for an empty column: nothing is noise
        return column.mask(size < NOISE * scale, 0.0)

    floats = table.select_dtypes("floating").columns
    return table.assign(**{name: cleared(table[name]) for name in floats}) if len(floats) else table
