"""One text and one digest for the same plain content."""

import hashlib
import json
from collections.abc import Mapping


def canonical(spec: object) -> str:
    """JSON with sorted keys and no white space; the same text for the same content.

    Raises:
        TypeError: the content is not plain data.
    """
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(content: object) -> dict:
    if not isinstance(content, Mapping):
        raise TypeError(f"{type(content).__name__} is no plain data.")
    return dict(content)


def sha256(text: str | bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()
