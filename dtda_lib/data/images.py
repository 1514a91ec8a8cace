"""Tasks of colour images: CIFAR-10, and a folder or .zip of anybody's own images."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dtda_lib.names import unknown

from .image_files import ImageFiles, checksum, decode, find_images, refuse_twins
from .published_lists import FOLDER, SIZES
from .sources import (
    QUERIES,
    import_torchvision,
    published_positions,
    refuse_outside,
    refuse_size,
    shuffled_by_class,
)
from .task import Task

CIFAR10_CLASSES = tuple(
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
)


# --- CIFAR-10 ------------------------------------------------------------------------------------


def cifar10(
    root: str | Path,
    per_class: int = 10,
    queries_per_class: int = 50,
    *,
    train_index: Sequence[int] | str | None = None,
    query_index: Sequence[int] | str | None = None,
    download: bool = True,
) -> Task:
    """CIFAR-10 through torchvision: downloaded with its checksums, or read from `root`.

    Images `(image, 3, 32, 32)`, scaled to [-1, 1] by ToTensor and Normalize(.5, .5) as in the
    published code. Training sets are nested (10 per class lie within 20 within 50 ...), query sets
    too; queries are test images. Both draws are fixed and our choice. CIFAR-10 is known to hold
    near-duplicates across its two splits, so a query may have a near-twin that trains.

    Args:
        root: Folder that holds (or will hold) torchvision's `cifar-10-batches-py`.
        per_class: Training images of each class, 1 to 5,000.
        queries_per_class: Query images of each class, 1 to 1,000.
        train_index: In place of our draw: positions in the training set, or the published list
            "10pc", "20pc", ..., "60pc", read as training positions as the published generator
            does. 10pc, 30pc and 40pc are then unbalanced: see `published_lists`.
        query_index: In place of our draw: positions in the test set, or the published
            "test_subset" (500, 50 per class).
        download: Fetch the files (163 MB) where they are absent.

    Raises:
        ValueError: impossible size, unknown list name or position out of range.
        RuntimeError: the files are not there, incomplete, or cannot be downloaded.
    """
    sizes = {"per_class": (per_class, 5000), "queries_per_class": (queries_per_class, 1000)}
    refuse_size("cifar10", **sizes)
    # Names are looked up before anything is downloaded for nothing.
    given = [
        None if index is None else published_positions(index, FOLDER, known)
        for index, known in ((train_index, SIZES), (query_index, (QUERIES,)))
    ]
    train, test = _read_cifar10(root, download)
    train_rows, query_rows = given
    if train_rows is None:
        train_rows = balanced_draw(train.targets, per_class, seed=20230530)
    if query_rows is None:
        query_rows = balanced_draw(test.targets, queries_per_class, seed=20230531)
    refuse_outside("cifar10", "training", train_rows, len(train.targets))
    refuse_outside("cifar10", "test", query_rows, len(test.targets))

    def images(pixels: np.ndarray, rows: list[int]) -> Tensor:
        return _scaled(pixels[rows].transpose(0, 3, 1, 2), mean=0.5, std=0.5)  # channel first

    label = f"{len(train_rows)}-points"
    if train_index is None or isinstance(train_index, str):
        label = f"published-{train_index}" if train_index else f"{per_class}pc"
    return Task(
        name=f"cifar10-{label}",
        train_x=images(train.data, train_rows),
        train_y=torch.tensor(train.targets)[train_rows],
        query_x=images(test.data, query_rows),
        query_y=torch.tensor(test.targets)[query_rows],
        loss="cross_entropy",
        n_outputs=10,
        train_id=tuple(train_rows),
        query_id=tuple(query_rows),
        licence="none stated; cite Alex Krizhevsky (2009), Learning Multiple Layers of Features "
        "from Tiny Images; published lists: MIT",
        source="torchvision.datasets.CIFAR10; ids are positions in its training and test sets",
        checksum="md5 sums of torchvision.datasets.CIFAR10, verified at every reading",
        classes=CIFAR10_CLASSES,
    )


def balanced_draw(labels: Sequence[int], per_class: int, seed: int) -> list[int]:
    """Positions of `per_class` examples of each class, class after class.

    Nested: each class is shuffled once by the seed, and its first ones are taken.

    Raises:
        ValueError: a class has fewer.
    """
    drawn = []
    for number, order in shuffled_by_class(labels, seed).items():
        if len(order) < per_class:
            raise ValueError(
                f"class {number} has {len(order)} examples, but {per_class} are asked for; ask for "
                "fewer."
            )
        drawn += order[:per_class].tolist()
    return drawn


def cifar10_labels(root: str | Path) -> tuple[list[int], list[int]]:
    """Class numbers of the official training and test images under `root`, in official order.

    Raises:
        RuntimeError: the official files are damaged or incomplete.
    """
    train, test = _read_cifar10(root, download=False)
    return list(train.targets), list(test.targets)


def _read_cifar10(root: str | Path, download: bool) -> tuple:
    """torchvision's training and test set; it checks md5 sums before it unpickles anything."""
    kind = import_torchvision().datasets.CIFAR10
    try:
        return tuple(kind(str(root), train=train, download=download) for train in (True, False))
    except (OSError, RuntimeError) as error:
        tried = "could not be downloaded" if download else "download=False forbids fetching it"
        reason = str(error).partition("\n")[0]
        raise RuntimeError(
            f"task 'cifar10': CIFAR-10 is not complete under {str(root)!r} and {tried} "
            f"({type(error).__name__}: {reason}); put cifar-10-batches-py there, or use the task "
            "'image_folder' with a copy of its images as files."
        ) from error


# --- own images ----------------------------------------------------------------------------------


def image_folder(
    path: str | Path,
    per_class: int = 10,
    queries_per_class: int = 50,
    *,
    size: int = 32,
    channels: int = 3,
    query_path: str | Path | None = None,
    classes: Sequence[str] = (),
    seed: int = 0,
    mean: float = 0.5,
    std: float = 0.5,
    n_outputs: int | None = None,
    licence: str = "not stated",
) -> Task:
    """Your own images: a folder with one sub-folder per class, or a .zip of one.

    Images become `(image, channels, size, size)`: upright, cut centrally to a square, resized, then
    `(value / 255 - mean) / std`. Which image trains is decided by a hash of its name and the seed,
    so the draw is the same on every machine, does not depend on the sizes asked for (training sets
    and query sets are nested) and hardly moves when images are added. No query file trains.

    Args:
        path: Folder or .zip, laid out as `<class>/.../<image>`.
        per_class: Training images of each class.
        queries_per_class: Query images of each class.
        size: Rows and columns, in pixels.
        channels: 1 (grey) or 3 (RGB).
        query_path: Take the queries from here, a test split with the same classes.
        classes: Names of the classes to use; their order gives the labels. Empty: all, sorted.
        seed: Another seed, another draw.
        mean, std: Of the scaling; 0.5 and 0.5 give [-1, 1], 0 and 1 give [0, 1].
        n_outputs: Width of the model's output; None: as many as classes. The published networks
            have 10.
        licence: Of the images, printed in notebooks.

    Returns:
        A task whose ids are places in `find_images(path).names` (queries: of `query_path`).

    Raises:
        FileNotFoundError: nothing at `path` or `query_path`.
        ValueError: impossible settings, no images, fewer than two classes, a class with too few
            images, a broken image, an archive that points outside itself, or the same image on
            both sides.
    """
    _refuse_settings(per_class, queries_per_class, size, channels, mean, std, classes)
    train_files = find_images(path)
    query_files = train_files if query_path is None else find_images(query_path)
    chosen = _chosen_classes(train_files, classes)
    train, query = _drawn(train_files, query_files, chosen, seed, per_class, queries_per_class)
    train_content, query_content = train_files.read(train), query_files.read(query)
    refuse_twins(train_content, query_content)
    numbers = torch.arange(len(chosen))
    return Task(
        name=f"image_folder-{train_files.path.resolve().stem}-{per_class}pc",
        train_x=_images(train_content, size, channels, mean, std),
        train_y=numbers.repeat_interleave(per_class),
        query_x=_images(query_content, size, channels, mean, std),
        query_y=numbers.repeat_interleave(queries_per_class),
        loss="cross_entropy",
        n_outputs=n_outputs or len(chosen),
        train_id=train_files.places(train),
        query_id=query_files.places(query),
        licence=licence,
        source=_source(train_files, query_files),
        checksum=checksum(train_content, query_content),
        classes=chosen,
    )


def _chosen_classes(files: ImageFiles, classes: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(classes) or files.classes
    if len(chosen) < 2:
        raise ValueError(
            f"task 'image_folder': {chosen[0]!r} is the only class of {str(files.path)!r}; "
            "give two or more, each in its own sub-folder."
        )
    return chosen


def _drawn(
    train_files: ImageFiles,
    query_files: ImageFiles,
    classes: Sequence[str],
    seed: int,
    per_class: int,
    queries_per_class: int,
) -> tuple[list[str], list[str]]:
    """Names of the images that train, and of the queries, class after class."""
    needed = per_class + (queries_per_class if query_files is train_files else 0)
    train = [
        name
        for ranked in _ranked(train_files, classes, seed, needed)
        for name in ranked[:per_class]
    ]
    # Queries come from the far end, so they stay the same whatever the number that trains.
    query = [
        name
        for ranked in _ranked(query_files, classes, seed, queries_per_class)
        for name in ranked[::-1][:queries_per_class]
    ]
    return train, query


def _images(
    contents: Mapping[str, bytes], size: int, channels: int, mean: float, std: float
) -> Tensor:
    """Files of images, by name, as `(image, channels, size, size)`."""
    decoded = [decode(content, name, size, channels) for name, content in contents.items()]
    return _scaled(np.stack(decoded), mean, std)


def _source(train_files: ImageFiles, query_files: ImageFiles) -> str:
    """Where the images of a task are from."""
    named = train_files.path.resolve().name
    if query_files is not train_files:
        named += f" (training) and {query_files.path.resolve().name} (queries)"
    return f"images of {named}; ids are places among their sorted names"


def pooled(task: Task, size: int) -> Task:
    """The same images averaged over blocks of `size` x `size` pixels: training is cheap."""
    small = {part: F.avg_pool2d(getattr(task, part), size) for part in ("train_x", "query_x")}
    return replace(task, name=f"{task.name}, pooled {size} x {size}", **small)


def _refuse_settings(
    per_class: int,
    queries_per_class: int,
    size: int,
    channels: int,
    mean: float,
    std: float,
    classes: Sequence[str],
) -> None:
    counts = {"per_class": per_class, "queries_per_class": queries_per_class, "size": size}
    for name, got in counts.items():
        if got < 1:
            raise ValueError(f"task 'image_folder': {name} is {got}; take 1 or more.")
    if channels not in (1, 3):
        raise ValueError(f"task 'image_folder': channels is {channels}; take 1 (grey) or 3 (RGB).")
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ValueError(
            f"task 'image_folder': mean {mean} and std {std} cannot scale; both must be finite and "
            "std > 0."
        )
    if isinstance(classes, str) or len(set(classes)) < len(classes):
        raise ValueError(
            f"task 'image_folder': classes is {classes!r}; give a list that names each class once."
        )


def _ranked(
    files: ImageFiles, classes: Sequence[str], seed: int, needed: int
) -> Iterator[list[str]]:
    """The images of each class in the order of a hash of seed and name.

    Unlike a shuffle, an image that is added or removed leaves the order of the others alone.
    """
    by_class = files.by_class()
    for label in classes:
        if label not in by_class:
            raise ValueError(unknown("class", label, by_class))
        if len(by_class[label]) < needed:
            raise ValueError(
                f"image folder {str(files.path)!r}: class {label!r} has {len(by_class[label])} "
                f"images, but {needed} are asked for; ask for fewer or add images."
            )
        yield sorted(by_class[label], key=lambda name: _rank(seed, name))


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _scaled(pixels: np.ndarray, mean: float, std: float) -> Tensor:
    """0..255 `(image, channel, row, column)` as ToTensor and Normalize(mean, std) give it."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).float().div(255).sub(mean).div(std)
