"""Shards on disk: one safetensors file each, written atomically, verified when read.

No pickle is ever loaded. A shard's name is the sha256 of everything its content depends on, so a
file is either the right result or not there.
"""

import contextlib
import errno
import getpass
import hashlib
import json
import os
import platform
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dtda_lib.names import short

Arrays = dict[str, np.ndarray]


class CacheError(OSError):
    """The cache folder cannot be used; the message says why and what to do."""


class DamagedShard(ValueError):
    """A shard file is not what was written."""


class UnreadableShard(OSError):
    """A shard is there and this user may not read it: nothing is wrong with it."""


def cache_folder() -> Path | None:
    """`DTDA_CACHE`, or the user's cache folder; None where `DTDA_CACHE=off`.

    Raises:
        CacheError: the setting begins or ends with a blank, names the home of no user, or cannot
            be the name of a folder.
    """
    setting = os.environ.get("DTDA_CACHE", "")
    if setting.lower() == "off":
        return None
    if not setting:
        return Path(platformdirs.user_cache_dir("dtda-study"))
    if setting != setting.strip():
        raise CacheError(f"DTDA_CACHE={setting!r} begins or ends with a blank: leave it out.")
    try:
        folder = Path(setting).expanduser()
        folder.exists()
    except RuntimeError:
        raise CacheError(f"DTDA_CACHE={setting!r} names the home of no user.") from None
    except ValueError as error:  # a NUL
        raise CacheError(f"DTDA_CACHE={short(setting)} names no folder ({error}).") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise CacheError(
                f"DTDA_CACHE={short(setting)} names no folder ({error.strerror})."
            ) from None
    return folder


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file or leave the old one: an interrupted run never leaves half a file."""
    # An ordinary open, not `tempfile`, whose files nobody else may read: a cache can be shared.
    temporary = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:  # after Ctrl-C, too, no temporary file is left behind
        with contextlib.suppress(OSError):
            temporary.unlink()


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a named pipe"}


def _me() -> dict[str, object]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        user = "somebody"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"user": user, "host": platform.node(), "process": os.getpid(), "since": since}


def _checksum(arrays: Arrays, key: str, seconds: str) -> str:
    digest = hashlib.sha256(f"{key}|{seconds}".encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"|{name}|{array.dtype}|{array.shape}|".encode() + array.tobytes())
    return digest.hexdigest()


class Store:
    """Shards below one folder.

    Args:
        folder: The cache folder; made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()  # where it is now, wherever the process goes later

    def path(self, key: str) -> Path:
        """Where the shard of that key lies."""
        return self.folder / "shards" / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether a file is there, as far as this user may see; it is verified only when read."""
        try:
            return self.path(key).exists()
        except PermissionError:  # of a folder above it
            return False

    def read(self, key: str) -> tuple[Arrays, float] | None:
        """Arrays and training seconds of a shard; None if there is none.

        Raises:
            DamagedShard: truncated, altered or mislabelled file, or no regular file at all.
            UnreadableShard: a file that this user may not read.
        """
        path = self.path(key)
        missing = (FileNotFoundError, NotADirectoryError)
        with contextlib.suppress(*missing, PermissionError):  # the last is told of below
            kind = stat.S_IFMT(path.lstat().st_mode)
            if kind != stat.S_IFREG:  # opening a named pipe would wait for ever
                raise DamagedShard(f"{_KINDS.get(kind, 'no regular file')} is in its place")
        try:
            path.open("rb").close()  # safetensors does not say why it cannot open a file
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except missing:
            return None
        except PermissionError as error:
            raise UnreadableShard(
                f"{path} cannot be read ({error.strerror}); ask its owner to make it readable."
            ) from error
        except (SafetensorError, ValueError, KeyError, EOFError, UnicodeDecodeError) as error:
            raise DamagedShard(f"it cannot be read ({error})") from error
        seconds = metadata.get("seconds", "")
        if metadata.get("sha256") != _checksum(arrays, key, seconds):
            raise DamagedShard("its checksum differs")
        try:
            return arrays, float(seconds)
        except ValueError:
            raise DamagedShard(f"its seconds are {short(seconds)}") from None

    def write(self, key: str, arrays: Arrays, seconds: float, spec: str) -> None:
        """Write a shard under a temporary name, then rename it.

        Raises:
            CacheError: the folder is read-only, full or not a folder.
        """
        path = self.path(key)
        arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        text = f"{seconds:.3f}"
        metadata = {"sha256": _checksum(arrays, key, text), "seconds": text, "spec": spec}
        try:
            write_atomic(path, save(arrays, metadata))
        except OSError as error:
            raise self._unusable(error) from error

    def check_writable(self) -> None:
        """Try a small file, so that a useless folder is known before hours of training.

        Raises:
            CacheError: see `write`.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp") as file:
                file.write(b"\0" * 4096)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from error

    def set_aside(self, key: str) -> Path:
        """Rename whatever is in the place of a damaged shard, and return where it lies now: where
        it lay, if this user may not move it.

        Nothing is deleted: a folder or a link that somebody put there may be dear to them.
        """
        path = self.path(key)
        try:
            return path.rename(path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}"))
        except OSError:
            return path

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Whether this process may train the shard: False while another one holds it.

        The claim is a file lock, which the system releases when its holder dies, however it dies.
        """
        path = self.path(key).with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=0, thread_local=False)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as error:
            raise self._unusable(error) from error
        for leftover in path.parent.glob(f"{key}.*.tmp"):  # of a writer that was killed
            with contextlib.suppress(OSError):
                leftover.unlink()
        note = self._note(key)
        with contextlib.suppress(OSError):
            note.write_text(json.dumps(_me()), encoding="utf-8")
        try:
            yield True
        finally:
            # Removed while held: whoever locks the name anew looks for the shard first.
            for file in (note, path):
                with contextlib.suppress(OSError):
                    file.unlink()
            lock.release()

    def holder(self, key: str) -> str:
        """Who trains the shard of that key at the moment, and since when, as far as is known."""
        try:
            found = json.loads(self._note(key).read_text(encoding="utf-8"))
            return (
                f"{found['user']} on {found['host']}, process {found['process']}, "
                f"since {found['since']}"
            )
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _note(self, key: str) -> Path:
        # Not the lock itself, which whoever waits for it opens anew and so empties.
        return self.path(key).with_suffix(".holder")

    def _unusable(self, error: OSError) -> CacheError:
        return CacheError(
            f"the cache folder {self.folder} cannot be written ({error.strerror or error}); free "
            "or unlock it, set DTDA_CACHE to another folder, or set DTDA_CACHE=off to train "
            "without a cache."
        )
