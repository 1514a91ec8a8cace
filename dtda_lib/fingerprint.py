"""What a result depends on, as short stable strings: canonical JSON, data and code fingerprints."""

import ast
import functools
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import CodeType

import torch

from .measures import Measure
from .models import Layout, Model, Network, initial_theta

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
    modules = module_digest("training.py", "recipes.py", "tracing.py")
    return sha256(modules + source_digest(initial_theta) + source_digest(Network))


def source_digest(thing: Callable | type) -> str:
    """Digest of a function or class and of whatever it names in its own file or notebook.

    Follows global names to functions, classes, measures and plain constants that live in the same
    module or in this package, and includes constants that a closure has captured. Code of other
    packages does not count.

    Raises:
        ValueError: its source cannot be read.
    """
    found: dict[str, str] = {}
    _follow(thing, found, getattr(thing, "__module__", "") or "")
    return sha256(canonical(found))


def _follow(thing: object, found: dict[str, str], home: str) -> None:
    if isinstance(thing, Measure):
        thing = thing.function
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
    if name in found:
        return
    if isinstance(thing, type):
        # Python cannot read the source of a class in a notebook cell, but that of its methods.
        found[name] = repr(sorted(vars(thing).get("__annotations__", {})))
        for method in _methods(thing):
            _follow(method, found, home)
        for base in thing.__mro__[1:]:
            if _ours(base, home):
                _follow(base, found, home)
        return
    function = inspect.unwrap(thing)
    try:
        found[name] = code_digest(inspect.getsource(function))
    except (OSError, TypeError, SyntaxError) as error:
        raise ValueError(
            f"the source of {getattr(thing, '__name__', thing)!r} cannot be read, so its results "
            "cannot be told apart; define it with `def` or `class` in a notebook cell or a file."
        ) from error
    _follow_names(function, found, home)


def _follow_names(function: Callable, found: dict[str, str], home: str) -> None:
    captured = inspect.getclosurevars(function).nonlocals
    named = {
        n: function.__globals__[n] for n in _names(function.__code__) & {*function.__globals__}
    }
    for name, value in sorted({**named, **captured}.items()):
        if isinstance(value, bool | int | float | str | tuple):
            found[f"{function.__qualname__}:{name}"] = repr(value)
        elif isinstance(value, Measure) or (
            (inspect.isfunction(value) or inspect.isclass(value)) and _ours(value, home)
        ):
            _follow(value, found, home)


def _names(code: CodeType) -> set[str]:
    """Names that code uses, comprehensions and inner functions included."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def _methods(kind: type) -> list[Callable]:
    """Functions, properties and class methods that a class defines with `def`."""
    found = []
    for member in vars(kind).values():
        member = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isfunction(member):
            found.append(inspect.unwrap(member))
    # What `dataclass` generates has no source; it follows from the annotations.
    return [method for method in found if method.__code__.co_filename != "<string>"]


def _ours(thing: object, home: str) -> bool:
    module = getattr(thing, "__module__", "") or ""
    return module == home or module.startswith("dtda_lib.")


def model_identity(model: Model) -> dict:
    """Name, settings, source and structure of a model factory; see `source_digest`."""
    factory, settings = model, {}
    while isinstance(factory, functools.partial):
        settings = {"args": factory.args, **factory.keywords, **settings}
        factory = factory.func
    with torch.random.fork_rng(devices=[]):
        module = model()
    kinds = {type(m) for m in module.modules() if not type(m).__module__.startswith("torch.")}
    sources = sorted(source_digest(kind) for kind in kinds | {factory})
    return {
        "name": factory.__qualname__,
        "settings": repr(sorted(settings.items())),
        "shapes": [list(shape) for shape in Layout.of(module).shapes],
        "structure": sha256(str(module)),
        "sources": sources,
    }


def measure_identity(measure: Measure) -> dict:
    """Name, axes and source of a measure; see `source_digest`."""
    return {
        "name": measure.name,
        "dims": list(measure.dims),
        "source": source_digest(measure.function),
    }
