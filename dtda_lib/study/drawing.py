"""Parts that figures of all topics share: panels, estimates with intervals, ticks, legends."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .figures import TEXT_WIDTH
from .methods import Style


def panels(rows: int, columns: int, height: float, **shared: Any) -> tuple[Figure, np.ndarray]:
    """A figure in text width and so many inches high, and its axes `(row, column)`.

    `shared`: as `plt.subplots` takes it, e.g. `sharey=True`.
    """
    return plt.subplots(rows, columns, figsize=(TEXT_WIDTH, height), squeeze=False, **shared)


def intervals(
    axis: Axes,
    at: float | Sequence[float] | np.ndarray | pd.Series,
    rows: pd.DataFrame,
    style: Style,
    *,
    of: str = "estimate",
    across: bool = False,
    hollow: bool = False,
    **look: Any,
) -> None:
    """Draw the estimates of some rows, with bars from `low` to `high`, in the looks of a method.

    Args:
        axis: Where.
        at: Their places along the other axis, one for all or one a row.
        rows: Columns `of`, `low` and `high`; a bar that ends short of its estimate has no length.
        style: Label, colour and marker; no line unless `look` gives `ls`.
        of: Name of the estimates.
        across: Draw estimates along x, places along y.
        hollow: White inside.
        **look: Further keywords of `Axes.errorbar`, or other ones.
    """
    reach = [(rows[of] - rows["low"]).clip(lower=0), (rows["high"] - rows[of]).clip(lower=0)]
    places = np.broadcast_to(np.asarray(at, dtype=float), len(rows))
    x, y, bars = (rows[of], places, "xerr") if across else (places, rows[of], "yerr")
    face = "white" if hollow else style.colour
    axis.errorbar(x, y, **{bars: reach}, **style.points | {"ls": "", "mfc": face} | look)


def ticks(side: Axis, values: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Ticks of an x or y axis at these values and no others, as plain numbers unless labelled."""
    side.set_ticks(list(values), labels or [f"{value:g}" for value in values])
    side.set_minor_locator(NullLocator())


def legend_above(fig: Figure, axis: Axes, columns: int, **look: Any) -> None:
    """One legend above all panels, of what one of them shows."""
    handles, labels = axis.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=columns, **look)
