"""Tables as readers see them: display names in place of keys, an interval beside its number."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr
from IPython.display import Markdown

from .markdown import folded, table
from .methods import DELTAS, METHODS, TESTS
from .rounding import without_noise

DISPLAY_NAMES = {
    key: entry.label for kind in (DELTAS, TESTS, METHODS) for key, entry in kind.items()
}
"""Key of a method, test or Δ -> its display name."""


def displayed(text: str) -> str:
    """A text with display names in place of the keys of methods: the one that it begins with, and
    all that have an underscore.

    >>> displayed("late correlation of unrolling, if_ggn")
    'late correlation of unrolling, Gauss-Newton IF'
    >>> displayed("trak is drowned")
    'TRAK is drowned'
    """
    first, space, rest = text.partition(" ")
    if first in METHODS:
        text = f"{METHODS[first].label}{space}{rest}"
    return re.sub(
        r"\b[a-z]+_[a-z_0-9]*[a-z]\b", lambda key: DISPLAY_NAMES.get(key[0], key[0]), text
    )


def readable(
    table: pd.DataFrame,
    columns: Mapping[str, str | Sequence[str]],
    *,
    names: Mapping[str, str] | None = None,
    digits: int = 3,
) -> pd.DataFrame:
    """Some columns of a table under plain headers, ready to be displayed.

    Args:
        table: Holds keys and numbers.
        columns: Header -> column, or (number, low, high), which share a cell "0.50 [0.40, 0.60]".
        names: Display names of further keys, or other ones.
        digits: Decimals of floats; a missing number becomes a dash, a missing interval nothing.

    Raises:
        KeyError: the table has no such column.

    >>> found = pd.DataFrame({"method": ["grad_dot"], "r": [0.5], "low": [0.4], "high": [0.6]})
    >>> shown = readable(found, {"method": "method", "correlation": ("r", "low", "high")}, digits=1)
    >>> shown.iloc[0].tolist()
    ['grad-dot', '0.5 [0.4, 0.6]']
    """
    known = {**DISPLAY_NAMES, **(names or {})}

    def told(value: object) -> str:
        if isinstance(value, float):
            return "-" if pd.isna(value) else f"{round(value, digits) + 0.0:.{digits}f}"
        return known.get(str(value), str(value))

    def cell(row: Mapping[str, object], source: str | Sequence[str]) -> str:
        if isinstance(source, str):
            return told(row[source])
        value, low, high = (told(row[name]) for name in source)
        return value if low == high == "-" else f"{value} [{low}, {high}]"

    rows = table.to_dict("records")
    return pd.DataFrame(
        {head: [cell(row, source) for row in rows] for head, source in columns.items()}
    )


def ends(row: Mapping[str, Any] | pd.DataFrame, value: str = "estimate") -> tuple[Any, Any]:
    """Ends of a number's interval: `<value>_low` and `<value>_high`, else `low` and `high`.

    Args:
        row: One row, or a table, which gives columns.
        value: Name of the number.

    >>> ends({"r": 0.5, "r_low": 0.4, "r_high": 0.6}, "r")
    (0.4, 0.6)
    """
    name = f"{value}_" if f"{value}_low" in row else ""
    return row[f"{name}low"], row[f"{name}high"]


def numbers(found: xr.Dataset, value: str = "", **at: object) -> dict[str, float]:
    """`estimate`, `low` and `high` of a dataset, for a row of a table.

    Args:
        found: With these three variables.
        value: Name of the number in the row, `<value>`, `<value>_low`, `<value>_high`.
        **at: Where, by labels; what is left must be one number each.
    """
    head = f"{value}_" if value else ""
    names = {"estimate": value or "estimate", "low": f"{head}low", "high": f"{head}high"}
    here = found.sel(at)
    return {name: float(here[variable]) for variable, name in names.items()}


def folded_tables(
    summary: str, *frames: pd.DataFrame, names: Mapping[str, str] | None = None
) -> Markdown:
    """Tables that a reader unfolds: four significant digits, display names in place of keys.

    Args:
        summary: What is shown before.
        *frames: Tables; a named index is their first column.
        names: Display names of further keys, or other ones.
    """
    known = {**DISPLAY_NAMES, **(names or {})}
    texts = []
    for frame in frames:
        flat = frame if frame.index.name is None else frame.reset_index()
        told = without_noise(flat).apply(
            lambda column: column.map(
                "{:#.4g}".format if column.dtype.kind == "f" else lambda cell: known.get(cell, cell)
            )
        )
        texts.append(table(told.to_dict("records")))
    return Markdown(folded(summary, "\n\n".join(texts)))
