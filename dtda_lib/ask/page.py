"""An answer to look through: one page on which a reader picks a query and sees its points.

Plain HTML and SVG with one line of script: no widgets, nothing to install, works from a file, too.
In JupyterLab it is shown in place; batch runs leave it out, so that committed notebooks stay small
and hold the static figure, which every web view can show.
"""

import base64
import html
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from IPython.display import Markdown
from PIL import Image
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.runs.store import write_atomic
from dtda_lib.study.methods import HELPS, HURTS

from .answer import points_of
from .arrays import axis_of_removals

Picture = Callable[[Tensor], str]

ROW, PLOT = 44, 460  # pixels
_STYLE = (
    "body{font:14px sans-serif;margin:8px}section[hidden]{display:none}"
    "td{padding:2px 8px;vertical-align:middle}img,svg{display:block}"
)
_SCRIPT = "for(const s of document.querySelectorAll('section'))s.hidden=s.id!==this.value"


@dataclass(frozen=True, repr=False)
class Page:
    """A page of its own; shows itself in JupyterLab."""

    text: str
    height: int

    def __repr__(self) -> str:
        return f"Page({len(self.text):,} characters of HTML; show it in a notebook or save(path))"

    def save(self, path: Path | str) -> None:
        """Write it as an HTML file that needs nothing else."""
        write_atomic(Path(path), self.text)

    def _repr_html_(self) -> str:
        # In a frame its style and script cannot touch the notebook's.
        source = html.escape(self.text, quote=True)
        style = f"width:100%;height:{self.height}px;border:0"
        return f'<iframe srcdoc="{source}" style="{style}"></iframe>'


def page(
    found: xr.Dataset,
    task: Task | None = None,
    *,
    n: int = 10,
    title: str = "",
    labels: Sequence[str] = (),
    query_labels: Sequence[str] = (),
    picture: Picture | None = None,
) -> Page:
    """A page with a list of queries; of the chosen one, its `n` first points as `points_of`.

    Args:
        found: `(train, query)`, from `reliable`; or `(removal, query)`.
        task: Its training points and queries are pictured; a table's column names are shown when
            the pointer rests on their bar. None: labels alone, as of arrays of your own.
        n: Points shown of each query.
        title: Heading.
        labels, query_labels: What to call points and queries beside their number.
        picture: HTML of one input; None: an image, or bars of a table's inputs.
    """
    train_x, query_x = (None, None) if task is None else (task.train_x, task.query_x)
    if picture is None and task is not None:
        picture = image_tag if task.train_x.ndim == 4 else _bars(task.input_names)

    def drawn(inputs: Tensor | None, at: int) -> str:
        return "" if inputs is None else picture(inputs[int(at)])

    queries = found["query"].values.tolist()
    count = {query: int(found["reliable"].sel(query=query).sum()) for query in queries}
    options = "".join(
        f'<option value="q{number}">query {html.escape(str(query))}{_named(query_labels, query)}: '
        f"{count[query]} reliable point(s)</option>"
        for number, query in enumerate(queries)
    )
    better, unit = found.attrs.get("better", "lower"), found.attrs.get("unit", "")
    sections = []
    for number, query in enumerate(queries):
        table = points_of(found, query, n)
        hidden = " hidden" if number else ""
        head = (
            f"<table><tr><td>{drawn(query_x, query)}</td>"
            f"<td>query {html.escape(str(query))}</td></tr></table>"
        )
        pictures = [drawn(train_x, point) for point in table["point"]]
        body = _plot(table, pictures, labels, better, unit)
        sections.append(f'<section id="q{number}"{hidden}>{head}{body}</section>')
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>'
        f"{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h3>{html.escape(title)}</h3>"
        f'<label>Query: <select onchange="{_SCRIPT}">{options}</select></label>'
        f"{''.join(sections)}<p>Filled marks are reliable, hollow ones are not told from the noise "
        f"of training; {_colours(better)}. Lines are the intervals of "
        f"the table.{_law(found)}</p></body></html>"
    )
    return Page(text, 210 + ROW * (min(n, found.sizes[axis_of_removals(found)]) + 2))


def _law(found: xr.Dataset) -> str:
    """What the seeds are, as far as it is known and not as a reader expects."""
    said = []
    if dropped := found.attrs.get("dropped"):
        said.append(f" Diverged and left out of both laws: {html.escape(dropped)}.")
    if found.attrs.get("random") == "batch order alone":
        said.append(" Seeds differ in batch order alone: all start from the same weights.")
    return "".join(said)


def show(one: Page) -> Page | Markdown:
    """The page where somebody can use it; in batch runs a sentence in its place."""
    if os.environ.get("DTDA_BATCH") == "1":
        return Markdown(
            "*Run in JupyterLab, this cell shows the same answer for every query, to be picked "
            "from a list.*"
        )
    return one


def image_tag(image: Tensor) -> str:
    """An image `(channel, row, column)`, values 0 to 1 (or -1 to 1 in colour), as a data URI."""
    values = image.numpy()
    if len(values) == 3 and values.min() < 0:
        values = (values + 1) / 2
    pixels = (values.clip(0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(255 - pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img width="{ROW - 4}" height="{ROW - 4}" style="image-rendering:pixelated" alt="input" '
        f'src="data:image/png;base64,{data}">'
    )


def _bars(names: Sequence[str]) -> Picture:
    """Bars of standardised inputs `(input,)`, cut at 3 standard deviations."""

    def bars(row: Tensor) -> str:
        height, width = ROW - 4, 9
        parts = []
        for at, value in enumerate(row.flatten().tolist()):
            size = min(abs(value), 3.0) / 3 * height / 2
            top = height / 2 - (size if value > 0 else 0)
            parts.append(
                f'<rect x="{at * width}" y="{top:.1f}" width="{width - 2}" height="{size:.1f}" '
                f'fill="dimgrey"><title>{html.escape(names[at])}: {value:.2f}</title></rect>'
            )
        wide = width * row.numel()
        line = f'<line x2="{wide}" y1="{height / 2}" y2="{height / 2}" stroke="silver"/>'
        return f'<svg width="{wide}" height="{height}">{line}{"".join(parts)}</svg>'

    return bars


def _named(names: Sequence[str], at: int) -> str:
    return f" ({html.escape(str(names[at]))})" if len(names) else ""


def _colours(better: str) -> str:
    """What the colours say, by whether lower or higher values are better; "": neither is."""
    if better:
        return "blue points help the query, red ones hurt it"
    return "without a blue point the value rises, without a red one it falls"


def _plot(
    table: pd.DataFrame, pictures: list[str], labels: Sequence[str], better: str, unit: str
) -> str:
    """A row for each point: picture, name, mark with its interval."""
    low, high = min(0.0, float(table["low"].min())), max(0.0, float(table["high"].max()))
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return 10 + (PLOT - 20) * (value - low) / span

    rows = []
    for point, shown in zip(table.itertuples(), pictures):
        colour = HELPS if (point.mean > 0) != (better == "higher") else HURTS
        told = (
            f"mean shift {point.mean:.4g}, interval {point.low:.4g} to {point.high:.4g}, "
            f"q-value {point.q_value:.2g}"
        )
        y = ROW / 2
        mark = (
            f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y2="{ROW}" stroke="silver"/>'
            f'<line x1="{at(point.low):.1f}" x2="{at(point.high):.1f}" y1="{y}" y2="{y}" '
            f'stroke="{colour}" stroke-width="2"/>'
            f'<circle cx="{at(point.mean):.1f}" cy="{y}" r="5" stroke="{colour}" '
            f'fill="{colour if point.reliable else "white"}"/><title>{told}</title>'
        )
        name = html.escape(str(point.point)) + _named(labels, point.point)
        rows.append(
            f"<tr><td>{shown}</td><td>{name}</td>"
            f'<td><svg width="{PLOT}" height="{ROW}">{mark}</svg></td></tr>'
        )
    what = "the query's loss" if better == "lower" else "the measured value"
    ends = f"{low:.3g} to {high:.3g}: mean shift of {what} without the point"
    if unit:
        ends += f", in {html.escape(unit)}"
    return f"<table>{''.join(rows)}<tr><td></td><td></td><td>{ends}</td></tr></table>"
