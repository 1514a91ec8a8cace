"""Shards on disk: one safetensors file each, written atomically, verified when read.

No pickle is ever loaded. A shard's name is the sha256 of everything its content depends on, so a
file is either the right result or not there.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

Arrays = dict[str, np.ndarray]


class CacheError(OSError):
    """The cache folder cannot be used; the message says why and what to do."""


class DamagedShard(ValueError):
    """A shard file is not what was written."""


def cache_folder() -> Path | None:
    """`DTDA_CACHE`, or the user's cache folder; None where `DTDA_CACHE=off`.

    Raises:
        CacheError: the setting begins or ends with a blank, or names the home of no user.
    """
    setting = os.environ.get("DTDA_CACHE", "")
    if setting.lower() == "off":
        return None
    if not setting:
        return Path(platformdirs.user_cache_dir("dtda-study"))
    if setting != setting.strip():
        raise CacheError(f"DTDA_CACHE={setting!r} begins or ends with a blank: leave it out.")
    try:
        return Path(setting).expanduser()
    except RuntimeError:
        raise CacheError(f"DTDA_CACHE={setting!r} names the home of no user.") from None


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
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the shard of that key lies."""
        return self.folder / "shards" / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether a file is there; it is verified only when read."""
        return self.path(key).exists()

    def read(self, key: str) -> tuple[Arrays, float] | None:
        """Arrays and training seconds of a shard; None if there is none.

        Raises:
            DamagedShard: truncated, altered or mislabelled file.
        """
        path = self.path(key)
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError, EOFError, UnicodeDecodeError) as error:
            raise DamagedShard(f"it cannot be read ({error})") from error
        seconds = metadata.get("seconds", "")
        if metadata.get("sha256") != _checksum(arrays, key, seconds):
            raise DamagedShard("its checksum differs")
        return arrays, float(seconds)

    def write(self, key: str, arrays: Arrays, seconds: float, spec: str) -> None:
        """Write a shard under a temporary name, then rename it.

        Raises:
            CacheError: the folder is read-only, full or not a folder.
        """
        path = self.path(key)
        arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        text = f"{seconds:.3f}"
        metadata = {"sha256": _checksum(arrays, key, text), "seconds": text, "spec": spec}
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=f"{key}.", suffix=".tmp", delete=False
            ) as file:
                temporary = file.name
                file.write(save(arrays, metadata))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException as error:  # Ctrl-C included: leave no temporary file behind
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            if isinstance(error, OSError):
                raise self._unusable(error) from error
            raise

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

    def discard(self, key: str) -> None:
        """Remove a damaged shard, if it is still there."""
        with contextlib.suppress(OSError):
            self.path(key).unlink()

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
        try:
            yield True
        finally:
            # Removed while held: whoever locks the name anew looks for the shard first.
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release()

    def _unusable(self, error: OSError) -> CacheError:
        return CacheError(
            f"the cache folder {self.folder} cannot be written ({error.strerror or error}); free "
            "or unlock it, set DTDA_CACHE to another folder, or set DTDA_CACHE=off to train "
            "without a cache."
        )
