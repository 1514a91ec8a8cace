"""Where results go and how they are written: one tree, the same bytes each time."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtda_lib.runs.keys.canonical import canonical, sha256

ROOT = Path(__file__).resolve().parents[2]
"""What holds this package: the checkout, or `site-packages`."""

_SEAL = "sha256"  # the key of a file that holds the digest of the rest


def study_root() -> Path:
    """The folder that holds `notebooks/`, `tests/` and `figures/`.

    It is this package's parent in a checkout, and the working folder where the package was
    installed as a wheel: nothing is ever written into `site-packages`.
    """
    return ROOT if (ROOT / "notebooks").is_dir() else Path.cwd()


def checking() -> bool:
    """Whether committed results are only compared (`DTDA_CHECK=1`), so that nothing is written."""
    return os.environ.get("DTDA_CHECK") == "1"


def blessing() -> bool:
    """Whether references are to be rewritten from this run (`DTDA_BLESS=1`)."""
    return os.environ.get("DTDA_BLESS") == "1"


def to_json(content: object) -> str:
    """Canonical JSON text: sorted keys, two spaces, a final newline; refuses NaN and infinity."""
    text = json.dumps(
        content, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False, default=_plain
    )
    return text + "\n"


def digest(content: object) -> str:
    """Hexadecimal sha256 of plain data, the same for the same content."""
    return sha256(canonical(content))


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content with the digest of all of it, by which `is_sealed` sees a change by hand."""
    return {**content, _SEAL: _digest_as_read(content)}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether content, as read from a file, is what `sealed` was given."""
    rest = {name: value for name, value in content.items() if name != _SEAL}
    return content.get(_SEAL) == _digest_as_read(rest)


def _digest_as_read(content: Mapping[str, Any]) -> str:
    return digest(json.loads(to_json(content)))  # a tuple is written as a list


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, tensors, and paths, for `json`."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
