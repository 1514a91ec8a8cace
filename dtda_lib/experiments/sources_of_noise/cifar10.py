"""CIFAR-10 in the study of noise: the images are the reader's, so it runs only where they are.

They are taken from the folder that the environment variable DTDA_CIFAR10 names; nothing is
downloaded.
"""

import os
from dataclasses import replace
from pathlib import Path

from dtda_lib.data.image_files import find_images
from dtda_lib.data.images import CIFAR10_CLASSES, cifar10, cifar10_labels, image_folder
from dtda_lib.data.task import Task

VARIABLE = "DTDA_CIFAR10"
_ARCHIVES = ("train.zip", "test.zip")
_LAYOUT = (
    "a folder that holds cifar-10-batches-py, as torchvision downloads it, or train.zip and "
    "test.zip, image files with one sub-folder per class"
)
_LICENCE = (
    "none stated; cite Alex Krizhevsky (2009), Learning Multiple Layers of Features from Tiny "
    "Images"
)


def cifar10_here(per_class: int, queries_per_class: int) -> Task | None:
    """The task on the CIFAR-10 images that `DTDA_CIFAR10` names; None where it is unset or empty.

    Official files are preferred to copies. Both are balanced, nested draws of our own, but draws of
    different images; labels are the official numbers. `images_called` tells which kind it is.

    Raises:
        ValueError: the folder holds no CIFAR-10, or too few images.
        RuntimeError: the official files are damaged or incomplete.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return None
    folder = Path(given).expanduser()
    if (folder / "cifar-10-batches-py").is_dir():
        task = cifar10(folder, per_class, queries_per_class, download=False)
        return replace(task, source=f"CIFAR-10: {task.source}")
    archives = [folder / name for name in _ARCHIVES]
    if not all(archive.is_file() for archive in archives):
        raise ValueError(f"{VARIABLE}={given!r} holds no CIFAR-10: name {_LAYOUT}, or unset it.")
    files = [find_images(archive) for archive in archives]
    if strange := [f.path.name for f in files if set(f.classes) != set(CIFAR10_CLASSES)]:
        raise ValueError(
            f"{VARIABLE}={given!r} holds no CIFAR-10: the sub-folders of {strange[0]} must be the "
            f"ten classes {', '.join(CIFAR10_CLASSES)}."
        )
    jpeg = all(name.lower().endswith((".jpg", ".jpeg")) for f in files for name in f.names)
    task = image_folder(
        archives[0],
        per_class,
        queries_per_class,
        size=32,
        channels=3,
        query_path=archives[1],
        classes=CIFAR10_CLASSES,
        n_outputs=10,
        licence=_LICENCE,
    )
    kind = f"{'JPEG' if jpeg else 'image-file'} copies of CIFAR-10"
    return replace(task, name=f"cifar10_copies-{per_class}pc", source=f"{kind}: {task.source}")


def official_labels() -> tuple[list[int], list[int]] | tuple[None, None]:
    """Labels of the training and test set in official order, as `published_lists.list_table` takes
    them; None twice where `DTDA_CIFAR10` does not name the official files, because copies as image
    files do not say which position an image had."""
    folder = Path(os.environ.get(VARIABLE, "").strip() or os.devnull).expanduser()
    if not (folder / "cifar-10-batches-py").is_dir():
        return None, None
    return cifar10_labels(folder)


def images_called(task: Task) -> str:
    """What a claim must call the images of `cifar10_here`: "CIFAR-10", or copies of it."""
    return task.source.partition(":")[0]


def why_not_run(n_points: int, parameter: str = "cifar_points", at_paper: int = 3) -> str:
    """One sentence: why there is no CIFAR-10 in these results, and how to get it.

    `n_points` is what the notebook's `parameter` says, `at_paper` its value at profile paper.
    """
    give = f"set the environment variable {VARIABLE} to {_LAYOUT}"
    if n_points:
        return (
            f"CIFAR-10 was not run, because its images are not here: {give}; then run again, "
            "./run_all.sh with --force."
        )
    return (
        f"CIFAR-10 was not run, because {parameter} is 0: give it a value ({at_paper} is the one "
        f"of profile paper), and {give}."
    )
