"""Pictures of what the data of a task look like."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from torch import Tensor

from dtda_lib.data.task import Task

from .figures import TEXT_WIDTH, Drawn
from .methods import METHODS


def task_preview(task: Task, per_class: int = 5) -> Drawn:
    """What the data of a task look like: images of each class, or the target over each input."""
    return _image_preview(task, per_class) if task.train_x.ndim == 4 else _table_preview(task)


def _image_preview(task: Task, per_class: int) -> Drawn:
    """The first training and query images of each class, side by side, with their source ids."""
    classes = sorted(set(task.train_y.tolist()))
    columns = min(per_class, task.n_train // len(classes), task.n_query // len(classes))
    fig, axes = plt.subplots(
        len(classes), 2 * columns + 1, figsize=(TEXT_WIDTH, 0.52 * len(classes) + 0.25)
    )
    axes = np.atleast_2d(axes)
    rows = []
    for row, label in enumerate(classes):
        for part, offset in (("train", 0), ("query", columns + 1)):
            where = (getattr(task, f"{part}_y") == label).nonzero().flatten()[:columns].tolist()
            for column, position in enumerate(where):
                axis = axes[row, offset + column]
                show_image(axis, getattr(task, f"{part}_x")[position])
                source = getattr(task, f"{part}_id")[position]
                rows.append({"part": part, "class": label, "position": position, "id": source})
    for axis in axes.flat:
        axis.axis("off")
    axes[0, columns // 2].set_title("training points")
    axes[0, columns + 1 + columns // 2].set_title("query points (never train)")
    return fig, pd.DataFrame(rows)


def show_image(axis: Axes, image: Tensor) -> None:
    """Draw an image `(channel, row, column)`: one channel dark on light, three in colour.

    Grey values are taken as 0 to 1; colours too, or as -1 to 1 where any is negative.
    """
    if len(image) == 1:
        axis.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
    else:
        pixels = image.permute(1, 2, 0)  # (channel, row, column) -> (row, column, channel)
        pixels = pixels / 2 + 0.5 if pixels.min() < 0 else pixels
        axis.imshow(pixels.clamp(0, 1).numpy())
    axis.axis("off")


def _table_preview(task: Task) -> Drawn:
    """Target against each input feature, training and query points."""
    features = task.train_x.shape[1]
    columns = min(4, features)
    rows = -(-features // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(TEXT_WIDTH, 1.5 * rows + 0.4), sharey=True, squeeze=False
    )
    names = task.input_names
    frames = []
    for part, colour in (("query", "0.75"), ("train", METHODS["loo"].colour)):
        x, y = getattr(task, f"{part}_x").numpy(), getattr(task, f"{part}_y").numpy()
        for axis, name, column in zip(axes.flat, names, x.T, strict=False):
            axis.plot(column, y, ".", color=colour, ms=3, label=part)
            axis.set_xlabel(name)
        frames.append(pd.DataFrame(x, columns=list(names)).assign(target=y, part=part))
    for axis in axes.flat[features:]:
        axis.axis("off")
    axes[0, 0].set_ylabel("target")
    axes[0, 0].legend()
    return fig, pd.concat(frames, ignore_index=True)
