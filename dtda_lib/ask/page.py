"""An answer to look through: one page on which a reader picks a query and sees its points.

Plain HTML and SVG with one line of script: no widgets, nothing to install, works from a file, too.
In JupyterLab it is shown in place; batch runs leave it out, so that committed notebooks stay small
and hold the static figure, which every web view can show. What it looks like stands in `templates`;
whatever a reader names is escaped there.
"""

import base64
import html
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from IPython.display import Markdown
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.runs.store import write_atomic
from dtda_lib.study.methods import HELPS, HURTS

from .answer import points_of
from .arrays import axis_of_removals

Picture = Callable[[Tensor], str]

ROW, PLOT = 44, 460  # pixels
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
_TEMPLATES.globals["place"] = "{:.1f}".format  # pixels


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

    def drawn(inputs: Tensor | None, at: int) -> Markup:
        return Markup("" if inputs is None else picture(inputs[int(at)]))

    better = found.attrs.get("better", "lower")
    queries = []
    for query in found["query"].values.tolist():
        table = points_of(found, query, n)
        asked = {
            "number": query,
            "name": _named(query_labels, query),
            "reliable": int(found["reliable"].sel(query=query).sum()),
            "picture": drawn(query_x, query),
        }
        pictures = [drawn(train_x, point) for point in table["point"]]
        names = [_named(labels, point) for point in table["point"]]
        queries.append(asked | _placed(table, pictures, names, better))
    given = {"title": title, "queries": queries, "law": _law(found), "row": ROW, "plot": PLOT}
    given |= {"better": better, "unit": found.attrs.get("unit", "")}
    text = _TEMPLATES.get_template("page.html").render(given)
    return Page(text, 210 + ROW * (min(n, found.sizes[axis_of_removals(found)]) + 2))


def _law(found: xr.Dataset) -> str:
    """What the seeds are, as far as it is known and not as a reader expects."""
    said = []
    if dropped := found.attrs.get("dropped"):
        said.append(f" Diverged and left out of both laws: {dropped}.")
    random = found.attrs.get("random", "")
    if random == "batch order alone":
        said.append(" Seeds differ in batch order alone: all start from the same weights.")
    elif random.endswith(" alone"):
        said.append(f" Seeds differ in {random}.")
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
    tag = '<img width="{0}" height="{0}" style="image-rendering:pixelated" alt="input" src="{1}">'
    data = base64.b64encode(buffer.getvalue()).decode()
    return Markup(tag).format(ROW - 4, f"data:image/png;base64,{data}")


def _bars(names: Sequence[str]) -> Picture:
    """Bars of standardised inputs `(input,)`, cut at 3 standard deviations."""

    def bars(row: Tensor) -> str:
        height, width = ROW - 4, 9
        parts = []
        for at, value in enumerate(row.flatten().tolist()):
            size = min(abs(value), 3.0) / 3 * height / 2
            top = height / 2 - (size if value > 0 else 0)
            told = f"{names[at]}: {value:.2f}"
            parts.append(
                {"x": at * width, "top": top, "width": width - 2, "size": size, "told": told}
            )
        given = {"width": width * row.numel(), "height": height, "bars": parts}
        return _TEMPLATES.get_template("bars.svg").render(given)

    return bars


def _named(names: Sequence[str], at: int) -> str:
    return f" ({names[at]})" if len(names) else ""


def _placed(
    table: pd.DataFrame, pictures: Sequence[str], names: Sequence[str], better: str
) -> Mapping[str, Any]:
    """Where the template draws the marks and intervals of the points of a query, in pixels."""
    low, high = min(0.0, float(table["low"].min())), max(0.0, float(table["high"].max()))
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return 10 + (PLOT - 20) * (value - low) / span

    points = [
        {
            "number": point.point,
            "name": name,
            "picture": picture,
            "reliable": point.reliable,
            "colour": HELPS if (point.mean > 0) != (better == "higher") else HURTS,
            "mean_at": at(point.mean),
            "low_at": at(point.low),
            "high_at": at(point.high),
            "told": f"mean shift {point.mean:.4g}, interval {point.low:.4g} to {point.high:.4g}, "
            f"q-value {point.q_value:.2g}",
        }
        for point, picture, name in zip(table.itertuples(), pictures, names, strict=True)
    ]
    return {"points": points, "zero": at(0), "ends": f"{low:.3g} to {high:.3g}"}
