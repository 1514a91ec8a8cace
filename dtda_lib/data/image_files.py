"""Image files of a folder with one sub-folder per class, or of a .zip of one: list, read, decode.

The layout is that of `torchvision.datasets.ImageFolder`: `<root>/<class>/.../<image>`. Archives are
read in memory; nothing is ever unpacked to the disk, no link is followed out of the folder, and a
small file that unpacks to a huge one is refused.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Those of torchvision.datasets.folder.IMG_EXTENSIONS.
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MOST_BYTES = 64 * 2**20  # of one image file, unpacked
MOST_BYTES_IN_ALL = 4 * 2**30  # of all that are read at a time, into memory
MOST_PIXELS = 50_000_000  # of one image: 150 MB when decoded
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


@dataclass(frozen=True)
class ImageFiles:
    """The images of a folder or archive.

    Args:
        path: The folder or archive.
        names: Every image as `<class>/.../<image>`, sorted; its place here is its id.
        classes: Every class, sorted, those without an image included.
        prefix: What precedes each name inside an archive: "" or one wrapping folder.
    """

    path: Path
    names: tuple[str, ...]
    classes: tuple[str, ...]
    prefix: str = ""

    def by_class(self) -> dict[str, list[str]]:
        """The images of each class, sorted; a class may have none."""
        found: dict[str, list[str]] = {name: [] for name in self.classes}
        for image in self.names:
            found[image.split("/")[0]].append(image)
        return found

    def places(self, names: Iterable[str]) -> tuple[int, ...]:
        """The ids of these images."""
        place = {name: number for number, name in enumerate(self.names)}
        return tuple(place[name] for name in names)

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """The content of these images by name, in this order.

        Raises:
            ValueError: one of them cannot be read, or unpacks to more than `MOST_BYTES`, or all to
                more than `MOST_BYTES_IN_ALL`; one sentence with its name.
        """
        names = list(names)
        if self.path.is_dir():
            _refuse_large({name: (self.path / name).stat().st_size for name in names})
            return {name: _read(name, lambda n: (self.path / n).read_bytes()) for name in names}
        with zipfile.ZipFile(self.path) as archive:
            sizes = {name: archive.getinfo(self.prefix + name).file_size for name in names}
            _refuse_large(sizes)  # an entry that unpacks to more than it says is refused by zipfile
            return {name: _read(name, lambda n: archive.read(self.prefix + n)) for name in names}


def find_images(path: str | Path) -> ImageFiles:
    """List the images of a folder or .zip without opening one; hidden files are passed over.

    One folder wrapped around the class folders of an archive is looked through.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: not a folder or .zip, an entry or link that leads outside it, no image, or
            folders called train and test in place of classes; one sentence each.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        entries, prefix = _folder_entries(path), ""
    elif path.exists():
        entries, prefix = _unwrapped(_archive_entries(path))
    else:
        raise FileNotFoundError(f"image folder {str(path)!r}: nothing is there; check the path.")
    names = tuple(sorted(entry for entry in entries if _is_image(entry)))
    if not names:
        raise ValueError(
            f"image folder {str(path)!r}: no image lies in a sub-folder; lay them out as "
            f"<class>/<image>, ending in {', '.join(SUFFIXES)}."
        )
    classes = tuple(sorted({entry.split("/")[0] for entry in entries if "/" in entry}))
    if {name.lower() for name in classes} <= SPLITS:
        raise ValueError(
            f"image folder {str(path)!r}: its sub-folders {', '.join(classes)} look like splits, "
            "not classes; give one of them as path and another as query_path."
        )
    return ImageFiles(path, names, classes, prefix)


def decode(content: bytes, name: str, size: int, channels: int) -> np.ndarray:
    """One image as uint8 `(channel, row, column)`, values 0 to 255.

    Turned upright as its EXIF data say, converted to grey (1 channel) or RGB (3), cut centrally to
    a square and resized (bilinear, antialiased); an image of that size keeps its exact pixels.

    Raises:
        ValueError: broken or not an image, more than 8 bits a channel, or more than `MOST_PIXELS`;
            one sentence.
    """
    try:
        with Image.open(io.BytesIO(content)) as raw:
            mode = raw.mode
            if raw.width * raw.height > MOST_PIXELS:  # known before anything is decoded
                raise ValueError(f"{raw.width} x {raw.height} pixels exceed {MOST_PIXELS:,}")
            upright = ImageOps.exif_transpose(raw)
            image = upright.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # decoders of broken files raise nearly anything
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"image {name!r} cannot be read ({type(error).__name__}: {reason}); mend or remove it."
        ) from error
    if mode.startswith(("I", "F")):  # converting these to 8 bits would clip them silently
        raise ValueError(
            f"image {name!r} has more than 8 bits a channel (mode {mode}); save it with 8."
        )
    pixels = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def refuse_twins(train: Mapping[str, bytes], query: Mapping[str, bytes]) -> None:
    """Refuse a query whose file also trains, under whatever name.

    Raises:
        ValueError: there is one; one sentence with both names.
    """
    trains = {content: name for name, content in train.items()}
    for name, content in query.items():
        if content in trains:
            raise ValueError(
                f"image folder: query {name!r} is the same file as training image "
                f"{trains[content]!r}; remove one of them."
            )


def checksum(train: Mapping[str, bytes], query: Mapping[str, bytes]) -> str:
    """sha256 over names and content of images, the same for a folder and its .zip."""
    lines = [
        f"{part} {hashlib.sha256(content).hexdigest()} {name}\n"
        for part, contents in (("train", train), ("query", query))
        for name, content in contents.items()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _folder_entries(path: Path) -> list[str]:
    """Names relative to a folder, `/` between parts; a class folder itself ends in `/`."""
    folders = [one for one in path.iterdir() if one.is_dir() and not _hidden(one.name)]
    inside = [one for folder in folders for one in (folder, *folder.rglob("*"))]
    home = path.resolve()
    for one in inside:
        if one.is_symlink() and not one.resolve().is_relative_to(home):
            raise ValueError(
                f"image folder {str(path)!r}: {one.relative_to(path).as_posix()!r} is a link that "
                "leads outside it; put a copy in its place."
            )
    files = (one for one in inside if one.is_file())
    return [f"{one.name}/" for one in folders] + [
        entry for file in files if not _hidden(entry := file.relative_to(path).as_posix())
    ]


def _refuse_large(sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        if size > MOST_BYTES:
            raise ValueError(
                f"image {name!r} unpacks to {size / 2**20:,.0f} MiB; make it smaller than "
                f"{MOST_BYTES / 2**20:.0f} MiB."
            )
    if (total := sum(sizes.values())) > MOST_BYTES_IN_ALL:
        raise ValueError(
            f"{len(sizes):,} images unpack to {total / 2**30:,.1f} GiB; take fewer or smaller "
            f"ones, at most {MOST_BYTES_IN_ALL / 2**30:.0f} GiB in all."
        )


def _archive_entries(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"image archive {str(path)!r} is not a readable .zip ({error}); make it anew."
        ) from error
    for entry in entries:
        # Reading in memory cannot write anywhere, but such an archive is not to be trusted.
        parts = entry.replace("\\", "/").split("/")
        if parts[0] == "" or parts[0].endswith(":") or ".." in parts:
            raise ValueError(
                f"image archive {str(path)!r}: its entry {entry!r} points outside it; make it anew "
                "from the folder of classes."
            )
    return [entry for entry in entries if not _hidden(entry)]


def _unwrapped(entries: Sequence[str]) -> tuple[list[str], str]:
    """Entries without the one folder that is wrapped around the class folders, and that folder."""
    tops = {entry.split("/")[0] for entry in entries if "/" in entry}
    if len(tops) != 1 or not any(_is_image(e) and e.count("/") > 1 for e in entries):
        return list(entries), ""
    prefix = f"{tops.pop()}/"
    return [entry.removeprefix(prefix) for entry in entries if entry.startswith(prefix)], prefix


def _hidden(entry: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in entry.split("/"))


def _is_image(entry: str) -> bool:
    return "/" in entry and entry.lower().endswith(SUFFIXES)


def _read(name: str, reader: Callable[[str], bytes]) -> bytes:
    try:
        return reader(name)
    # RuntimeError: encrypted, or (its subclass NotImplementedError) an unknown compression.
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"image {name!r} cannot be read ({error}); mend or remove it.") from error
