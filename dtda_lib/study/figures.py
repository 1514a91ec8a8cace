"""One look for all figures, and their export as PDF, PNG, data and description."""

import io
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from cycler import cycler
from IPython import get_ipython
from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure

from dtda_lib.runs.keys.canonical import sha256
from dtda_lib.runs.store import write_atomic

from .artefacts import checking, sealed, study_root, to_json
from .methods import METHODS, Style
from .rounding import without_noise
from .settings import Config
from .tables import ends
from .tolerant import snap_text

TEXT_WIDTH, COLUMN_WIDTH = 5.5, 3.25  # inches: figures are drawn at final size, never rescaled

FORMATS = ("pdf", "png", "csv")
"""Endings of what an export writes besides its description, which holds a digest of each."""

Drawn = tuple[Figure, pd.DataFrame]
"""What a drawing returns: the figure, and exactly what it shows."""


def use_style() -> None:
    """Set matplotlib and seaborn for figures at final size, readable in print and on screen."""
    colours = [style.colour for style in METHODS.values()]
    rc = {
        "figure.figsize": (TEXT_WIDTH, 2.4),
        "figure.constrained_layout.use": True,
        "savefig.bbox": "standard",  # "tight" would change the final size
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # bundled with matplotlib, so the same everywhere
        "mathtext.fontset": "dejavusans",
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "figure.titlesize": 9,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "legend.frameon": False,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "axes.linewidth": 0.8,
        "errorbar.capsize": 2,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=colours),
        "image.cmap": "cividis",
        "pdf.fonttype": 42,  # text stays text: searchable, and accepted by publishers
        "ps.fonttype": 42,
        "svg.hashsalt": "dtda",
    }
    sns.set_theme(context="paper", style="ticks", rc=rc)


# ---------------------------------------------------------------- what many figures draw


def intervals(
    axis: Axes,
    rows: pd.DataFrame | Mapping[str, Any],
    at: object,
    look: Style,
    *,
    value: str = "estimate",
    across: bool = False,
    scale: float = 1,
    **options: Any,
) -> None:
    """Mark estimates, with their intervals as error bars; no bar points inwards.

    Args:
        axis: Where to draw.
        rows: A table or one row of it: the estimates and the ends of their intervals, as
            `tables.ends` finds them; a missing end draws no bar.
        at: Place on the other axis, one number or one for each row.
        look: Colour and marker.
        value: Name of the estimates.
        across: Whether estimates lie along x, and `at` along y.
        scale: Factor of the estimates, such as 100 for percentages.
        **options: Further ones of `Axes.errorbar`.
    """
    middle, low, high = (np.atleast_1d(x) * scale for x in (rows[value], *ends(rows, value)))
    reach = np.maximum([middle - low, high - middle], 0)
    drawn = {"color": look.colour, "marker": look.marker, "ls": "", "lw": 1} | options
    at = np.broadcast_to(at, middle.shape)
    if across:
        axis.errorbar(middle, at, xerr=reach, **drawn)
    else:
        axis.errorbar(at, middle, yerr=reach, **drawn)


def side_by_side(n: int, step: float) -> np.ndarray:
    """Shifts of n series about a common place, `step` apart, so that all are seen."""
    return (np.arange(n) - (n - 1) / 2) * step


def named_rows(axis: Axes, names: Sequence[str], **options: Any) -> None:
    """Name the heights 0, 1, ... of an axis, the first on top."""
    axis.set_yticks(range(len(names)), names, **options)
    axis.invert_yaxis()


def legend_above(
    fig: Figure | SubFigure,
    axis: Axes | None = None,
    marks: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> None:
    """The legend of all panels, above them: the series of one of them, then further marks.

    Args:
        fig: The figure.
        axis: The panel whose series stand for those of all; None: none.
        marks: Label -> keywords of `Line2D`; a mark without `ls` has no line.
        **options: Of `Figure.legend`, such as `ncols`.
    """
    handles, labels = axis.get_legend_handles_labels() if axis else ([], [])
    handles += [plt.Line2D([], [], **{"ls": "", **look}) for look in (marks or {}).values()]
    fig.legend(handles, [*labels, *(marks or {})], loc="outside upper center", **options)


def text_beside(axis: Axes, text: str, x: float = -0.15, **options: Any) -> None:
    """Write beside an axis without ticks, such as a picture: left of it, or right if x > 1."""
    place = {"ha": "right" if x < 1 else "left", "va": "center", "fontsize": 7}
    axis.text(x, 0.5, text, transform=axis.transAxes, **(place | options))


# ---------------------------------------------------------------- export


class FigureMismatch(AssertionError):
    """A figure's data are not the committed ones."""


class Exporter:
    """Exports the figures of one notebook; under `DTDA_CHECK=1` compares them instead.

    `cfg` is what `study.configure` returns. Files: `figures/<cfg.name>/<notebook>-<name>.*`.
    """

    def __init__(self, cfg: Config, root: Path | str | None = None) -> None:
        self.cfg = cfg
        self.folder = Path(root or study_root()) / "figures" / cfg.name

    def __call__(
        self,
        fig: Figure,
        name: str,
        *,
        data: pd.DataFrame,
        caption: str,
        claims: Iterable[str] = (),
        rtol: float = 1e-3,
        atol: float = 1e-9,
        ends_rtol: float | None = None,
    ) -> Markdown:
        """Export a figure, show it, close it, and return its caption for display below it.

        `data` is exactly what is drawn. `rtol` and `atol` (in units of the largest value of a
        column) are the tolerance of the comparison with the committed CSV; `ends_rtol` replaces
        `rtol` for the ends of intervals (columns `low`, `high`), where these jitter more.
        """
        if not re.fullmatch("[a-z0-9_]+", name):
            raise ValueError(f"figure name {name!r}: use lower-case letters, digits and _ only.")
        if not caption.strip():
            raise ValueError(f"figure {name}: a caption is missing.")
        if data.empty:
            raise ValueError(f"figure {name}: the data frame of what is drawn is empty.")
        caption = " ".join(caption.split())
        table = _to_csv(data)
        target = self.folder / f"{self.cfg.notebook}-{name}"
        description = self._description(name, caption, claims)
        if not checking():
            contents = (_render(fig, "pdf", caption), _render(fig, "png", caption), table.encode())
            files = dict(zip(FORMATS, contents, strict=True))
            for kind, content in files.items():
                write_atomic(target.with_suffix(f".{kind}"), content)
            digests = {f"{kind}_sha256": sha256(content) for kind, content in files.items()}
            write_atomic(target.with_suffix(".json"), to_json(sealed(description | digests)))
        # After writing these read the files back: what is committed is what was drawn.
        compare_csv(
            target.with_suffix(".csv"), data, name, rtol=rtol, atol=atol, ends_rtol=ends_rtol
        )
        _compare_description(target.with_suffix(".json"), description, name, rtol=rtol)
        if get_ipython() is not None:
            # Shown here, not by the inline backend, which would put the figure below its caption.
            width = round(96 * fig.get_figwidth())
            display(Image(_render(fig, "png", caption, dpi=144), width=width, alt=caption))
        plt.close(fig)
        return Markdown(f"**Figure {name}.** {caption}")

    def _description(self, name: str, caption: str, claims: Iterable[str]) -> dict[str, Any]:
        """What is said of a figure, digests of its files apart."""
        cfg = self.cfg
        return {
            "figure": name,
            "caption": caption,
            "claims": list(claims),
            "notebook": cfg.notebook,
            "profile": cfg.profile,
            "parameters": dict(cfg.parameters),
            "spec_hash": cfg.hash,
            "command": command(cfg),
        }


def literal(text: object) -> str:
    """Text of a user or a file for a label of a figure: one line, and no dollar begins maths."""
    return " ".join(str(text).split()).replace("$", r"\$")


def command(cfg: Config) -> str:
    """The shell command that remakes the outputs of these settings."""
    words = ["./run_all.sh", "--profile", cfg.profile, cfg.notebook.split("_")[0], "--force"]
    for name in cfg.overridden:
        value = cfg.parameters[name]
        text = ",".join(map(str, value)) if isinstance(value, tuple) else value
        words += ["-p", f"{name}={text}"]
    return shlex.join(words)


def compare_csv(
    path: Path,
    data: pd.DataFrame,
    name: str,
    *,
    rtol: float = 1e-3,
    atol: float = 1e-9,
    ends_rtol: float | None = None,
) -> None:
    """Compare data with a committed CSV: floats within tolerance, all else exactly.

    Raises `FigureMismatch` that names the first column and row that differ, and both numbers.
    """
    if not path.exists():
        raise FigureMismatch(f"figure {name}: the committed data {path.name} are missing.")
    committed = pd.read_csv(path, dtype=str, keep_default_na=False)
    obtained = pd.read_csv(io.StringIO(_to_csv(data)), dtype=str, keep_default_na=False)
    for what, old, new in [
        ("columns", list(committed.columns), list(obtained.columns)),
        ("rows", len(committed), len(obtained)),
    ]:
        if old != new:
            raise FigureMismatch(f"figure {name}: {what} differ: committed {old}, obtained {new}.")
    floats = set(_flat(data).select_dtypes("floating").columns)
    for column in committed.columns:
        old, new = committed[column].to_numpy(), obtained[column].to_numpy()
        same = old == new
        if column in floats:
            own = rtol if ends_rtol is None or column not in ("low", "high") else ends_rtol
            same |= _close(pd.to_numeric(old, "coerce"), pd.to_numeric(new, "coerce"), own, atol)
        if not same.all():
            row = int(np.argmin(same))
            raise FigureMismatch(
                f"figure {name}: column {column!r}, row {row}: "
                f"committed {old[row]}, obtained {new[row]} ({np.sum(~same)} of {len(same)} rows)."
            )


def _compare_description(path: Path, obtained: dict[str, Any], name: str, *, rtol: float) -> None:
    """Compare what is said of a figure with its committed JSON; numbers in a caption are rounded.

    Raises `FigureMismatch` that names the first entry that differs.
    """
    committed = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for entry, new in json.loads(to_json(obtained)).items():
        old = committed.get(entry)
        if entry == "caption" and old is not None:
            new = snap_text(old, new, rtol, rounded=True)
        if new != old:
            raise FigureMismatch(f"figure {name}: {entry}: committed {old!r}, obtained {new!r}.")


def _close(old: np.ndarray, new: np.ndarray, rtol: float, atol: float) -> np.ndarray:
    """Element by element; NaN and infinity are left to the comparison of texts."""
    finite = np.isfinite(old) & np.isfinite(new)
    scale = np.abs(old[np.isfinite(old)]).max(initial=0)
    with np.errstate(invalid="ignore"):
        return finite & (np.abs(new - old) <= atol * scale + rtol * np.abs(old))


def _flat(data: pd.DataFrame) -> pd.DataFrame:
    """A frame whose labels are all columns: a meaningful index is part of what is drawn."""
    flat = data if isinstance(data.index, pd.RangeIndex) else data.reset_index()
    return flat.set_axis([str(column) for column in flat.columns], axis=1)


def _to_csv(data: pd.DataFrame) -> str:
    flat = without_noise(_flat(data))
    return flat.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _render(fig: Figure, kind: str, caption: str, dpi: int = 300) -> bytes:
    """The figure as bytes that depend on nothing but the figure: no date, no version."""
    if kind == "pdf":
        metadata = {"CreationDate": None, "Producer": None, "Creator": "dtda", "Subject": caption}
    else:
        metadata = {"Software": None, "Description": caption}
    buffer = io.BytesIO()
    with _constant_date(), mpl.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "dtda"}):
        fig.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=metadata)
    return buffer.getvalue()


@contextmanager
def _constant_date() -> Iterator[None]:
    """A constant `SOURCE_DATE_EPOCH`, whatever the environment says: no day changes a figure."""
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = "1577836800"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]
        else:
            os.environ["SOURCE_DATE_EPOCH"] = before


# ---------------------------------------------------------------- panels and their axes


def panels(rows: int, columns: int, height: float, **shared: Any) -> tuple[Figure, np.ndarray]:
    """A figure in text width and so many inches high, and its axes `(row, column)`.

    `shared`: as `plt.subplots` takes it, e.g. `sharey=True`.
    """
    return plt.subplots(rows, columns, figsize=(TEXT_WIDTH, height), squeeze=False, **shared)


def ticks(side: Axis, values: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Ticks of an x or y axis at these values alone, as plain numbers unless labelled."""
    side.set_ticks(list(values), labels or [f"{value:g}" for value in values])
    side.axes.minorticks_off()
