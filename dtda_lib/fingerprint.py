"""What a result depends on, as short stable strings: canonical JSON, data and code fingerprints."""

import ast
import functools
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable
from pathlib import Path

from torch import nn

from .measures import Measure
from .models import Layout, Model

_LIBRARY = Path(__file__).parent


def canonical(spec: object) -> str:
    """JSON with sorted keys and no white space; the same text for the same content.

    Raises:
        TypeError: the content is not plain data.
    """
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(text: str | bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def code_digest(source: str) -> str:
    """Digest of what Python code does: comments, docstrings and layout do not count."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
    return sha256(ast.dump(tree))


@functools.cache
def module_digest(*names: str) -> str:
    """Digest of library modules, by file name relative to the package."""
    return sha256("".join(code_digest((_LIBRARY / name).read_text()) for name in names))


def training_code() -> str:
    """Digest of the code that trains."""
    return module_digest("training.py", "recipes.py", "tracing.py", "models.py")


def _source(thing: Callable) -> str:
    try:
        return code_digest(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise ValueError(
            f"the source of {getattr(thing, '__name__', thing)!r} cannot be read, so its results "
            "cannot be cached safely; define it in a notebook cell or a file, or set "
            "DTDA_CACHE=off."
        ) from error


def model_identity(model: Model) -> dict:
    """Name, settings, source and parameter shapes of a model factory.

    A class defined in a notebook counts with its own source and with the printed structure of the
    module it builds; helper functions that its `forward` calls do not count.
    """
    factory, settings = model, {}
    while isinstance(factory, functools.partial):
        settings = {**factory.keywords, **settings, "args": [*factory.args]}
        factory = factory.func
    module = model()
    layout = Layout.of(module)
    in_library = (factory.__module__ or "").startswith("dtda_lib.")
    return {
        "name": factory.__qualname__,
        "settings": repr(sorted(settings.items(), key=lambda item: item[0])),
        "shapes": [list(shape) for shape in layout.shapes],
        "structure": sha256(str(module)),
        # Library models are covered by the digest of models.py.
        "source": "" if in_library else _source(factory) + _forward_source(module),
    }


def _forward_source(module: nn.Module) -> str:
    kind = type(module)
    return _source(kind) if kind.__module__ in ("__main__",) else ""


def measure_identity(measure: Measure) -> dict:
    """Name, axes and source of a measure; library measures count with their whole module."""
    function = measure.function
    module = function.__module__ or ""
    if module.startswith("dtda_lib."):
        source = module_digest(module.removeprefix("dtda_lib.").replace(".", "/") + ".py")
    else:
        source = _source(function)
    return {"name": measure.name, "dims": list(measure.dims), "source": source}
