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
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from dtda_lib.data.own import own
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

    The page opens on the query with the most reliable points. Queries and points show their target.

    Args:
        found: `(train, query)`, from `reliable`; or `(removal, query)`.
        task: Its training points and queries are pictured; a table's column names are shown when
            the pointer rests on their bar. None: labels alone, as of arrays of your own.
        n: Points shown of each query.
        title: Heading.
        labels, query_labels: What to call points and queries beside their number; (): the names
            that the task has of them, or else the rows of the data in which they stand.
        picture: HTML of one input; None: an image, or bars of a table's inputs.

    Raises:
        ValueError: the task has fewer points or queries than the answer is about.
    """
    grouped = "removal" in found.dims
    _refuse_another_task(found, task)
    train_x, query_x = (None, None) if task is None else (task.train_x, task.query_x)
    train_x = None if grouped else train_x
    if picture is None and task is not None:
        picture = _picture_of(task)
    if task is not None:
        labels = labels or ([] if grouped else _labels(task, "train"))
        query_labels = query_labels or _labels(task, "query")

    def drawn(inputs: Tensor | None, at: Any) -> Markup:
        return Markup("" if inputs is None else picture(inputs[int(at)]))

    better = found.attrs.get("better", "lower")
    queries = []
    counts = found["reliable"].sum(axis_of_removals(found))
    order = np.argsort(-counts.values, kind="stable")
    for query in found["query"].values[order].tolist():
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
    given |= {"seeds": found.attrs.get("seeds", ""), "remarks": found.attrs.get("remarks", "")}
    text = _TEMPLATES.get_template("page.html").render(given)
    return Page(text, 210 + ROW * (min(n, found.sizes[axis_of_removals(found)]) + 2))


def _refuse_another_task(found: xr.Dataset, task: Task | None) -> None:
    """Refuse a task that cannot be the one of the answer."""
    if task is None:
        return
    for dim, n in (("train", task.n_train), ("query", task.n_query)):
        labels = found[dim].values if dim in found.dims else np.array([])
        if labels.dtype.kind in "iu" and len(labels) and labels.max() >= n:
            raise ValueError(
                f"page: the answer is about {dim} {labels.max()}, but task {task.name!r} has {n}; "
                "give the task of the answer."
            )


def _labels(task: Task, part: str) -> list[str]:
    """Of points or queries: name or row of the data, and target."""
    ids = task.train_id if part == "train" else task.query_id
    names = own(task).names[0 if part == "train" else 1]
    targets = task.train_y if part == "train" else task.query_y
    told = names or [f"row {one}" for one in ids]
    return [f"{name}, target {_target(task, y)}" for name, y in zip(told, targets.tolist())]


def _target(task: Task, y: Any) -> str:
    if task.classes:
        return task.classes[int(y)]
    several = y if isinstance(y, list) else [y]
    return ", ".join(f"{one:.3g}" for one in several)


def _picture_of(task: Task) -> Picture:
    """Images as images, whole numbers as text, and anything else as bars."""
    if any(one.whole for one in own(task).inputs):
        return _written
    if task.train_x.ndim == 4:
        low = float(min(task.train_x.min(), task.query_x.min()))
        high = float(max(task.train_x.max(), task.query_x.max()))
        return lambda image: image_tag(image, within=(low, high))
    return _bars(task.input_names)


def _written(row: Tensor) -> str:
    """The first inputs as numbers, as of token ids."""
    values = [f"{value:g}" for value in row.flatten().tolist()[:12]]
    more = " ..." if row.numel() > 12 else ""
    return html.escape(" ".join(values) + more)


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


def show(one: Page) -> Any:
    """The page where somebody can use it; in batch runs a sentence in its place, as Markdown."""
    if os.environ.get("DTDA_BATCH") == "1":
        from IPython.display import Markdown  # a notebook has it; an answer needs none

        return Markdown(
            "*Run in JupyterLab, this cell shows the same answer for every query, to be picked "
            "from a list.*"
        )
    return one


def image_tag(image: Tensor, *, within: tuple[float, float] = (0.0, 1.0)) -> str:
    """An image `(channel, row, column)` as a data URI: black at the lowest value of `within`, white
    at the highest, never inverted. Of 0 to 1, which images mostly hold, both stay as they are.
    """
    low, high = within
    low, high = (0.0, 1.0) if low >= 0 and 0.5 < high <= 1 else (low, high)
    values = (image.numpy() - low) / ((high - low) or 1.0)
    pixels = (values.clip(0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0))
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
