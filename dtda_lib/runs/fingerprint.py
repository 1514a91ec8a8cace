"""What a result depends on, as short stable strings: canonical JSON, data and code fingerprints."""

import ast
import dis
import functools
import hashlib
import inspect
import json
import operator
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtda_lib.models.networks import Layout, Model, Network, initial_theta

from .measures import Measure

_LIBRARY = Path(__file__).parents[1]
_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")
_INSTALLED = [Path(sysconfig.get_path(name)) for name in _PATHS]
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
_PLAIN = (bool, int, float, complex, str, bytes, range, slice, Path, torch.dtype, torch.device)
_PLAIN += (type(None), type(Ellipsis))


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


def training_code(loss: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Digest of the code that trains, with the loss of each example."""
    modules = module_digest("runs/training.py", "runs/recipes.py", "runs/tracing.py")
    return sha256(modules + "".join(map(source_digest, (initial_theta, Network, loss))))


def source_digest(thing: Callable | type) -> str:
    """Digest of a function or class, of the code that it names, and of the values that it uses.

    Follows global names and what a closure has captured: code of this package and of the user's
    own files and notebooks by its source, values (numbers, texts, arrays, tensors, containers and
    dataclasses of them) by their content. Code of installed packages counts by its name alone.

    Raises:
        ValueError: a source cannot be read, or a value has no content that could be compared.
    """
    found: dict[str, Any] = {}
    _follow(thing, found)
    return sha256(canonical(found))


def _follow(thing: object, found: dict[str, Any]) -> None:
    if isinstance(thing, Measure):
        thing = thing.function
    if isinstance(thing, functools.partial):
        name = f"partial {len(found)}"
        found[name] = None  # keeps its place while what it holds is looked at
        found[name] = _content(thing, name, found)
        return
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
    if getattr(thing, "__name__", "") == "<lambda>":
        name += f" {_instructions(thing.__code__)}"  # several may share a name, and a line
    if name in found:
        return
    if isinstance(thing, type):
        # Python cannot read the source of a class in a notebook cell, but that of its methods.
        found[name] = repr(sorted(vars(thing).get("__annotations__", {})))
        for method in _methods(thing):
            _follow(method, found)
        for base in thing.__mro__[1:]:
            if _ours(base):
                _follow(base, found)
        return
    function = inspect.unwrap(thing)
    try:
        if function.__name__ == "<lambda>":  # its lines may be a part of a statement
            found[name] = None
        else:
            found[name] = code_digest(inspect.getsource(function))
    except (OSError, TypeError, SyntaxError) as error:
        raise ValueError(
            f"the source of {getattr(thing, '__name__', thing)!r} cannot be read, so its results "
            "cannot be told apart; define it with `def` or `class` in a notebook cell or a file."
        ) from error
    _follow_names(function, found)


def _follow_names(function: Callable, found: dict[str, Any]) -> None:
    captured = inspect.getclosurevars(function).nonlocals
    named = {
        n: function.__globals__[n] for n in _names(function.__code__) & {*function.__globals__}
    }
    defaults = {
        n: p.default
        for n, p in inspect.signature(function).parameters.items()
        if p.default is not inspect.Parameter.empty
    }
    for name, value in sorted({**defaults, **named, **captured}.items()):
        where = f"{function.__qualname__}:{name}"
        try:
            found[where] = _content(value, where, found)
        except ValueError:
            # A global of this package is fixed by its code, whatever its type.
            if name in captured or not function.__module__.startswith("dtda_lib."):
                raise


def _content(value: Any, where: str, found: dict[str, Any]) -> Any:
    """A value as plain data that differs where the value does; code that it holds is followed."""
    if isinstance(value, _PLAIN):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        return f"tensor {value.dtype} {tuple(value.shape)} {_bytes_digest(value)}"
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        array = np.ascontiguousarray(value)
        return f"array {array.dtype} {array.shape} {sha256(array.tobytes())}"
    if isinstance(value, tuple | list):
        return [type(value).__name__, *(_content(one, where, found) for one in value)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(canonical(_content(one, where, found)) for one in value)]
    if isinstance(value, Mapping):
        items = [
            [canonical(_content(k, where, found)), _content(v, where, found)]
            for k, v in value.items()
        ]
        return [type(value).__name__, *sorted(items, key=operator.itemgetter(0))]
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return ["partial", *(_content(part, where, found) for part in parts)]
    if isinstance(value, ModuleType):
        users = _ours(value) and not value.__name__.startswith("dtda_lib")
        source = code_digest(Path(value.__file__).read_text(encoding="utf-8")) if users else ""
        return f"module {value.__name__} {source}"
    if isinstance(value, Measure) or _is_code(value):
        code = inspect.unwrap(value.function if isinstance(value, Measure) else value)
        if _ours(code) and not inspect.isbuiltin(code):
            _follow(code, found)
        return f"code {getattr(code, '__module__', '')}.{getattr(code, '__qualname__', code)}"
    if isinstance(value, torch.nn.Module):
        for part in value.modules():
            if _ours(type(part)):
                _follow(type(part), found)
        return [str(value), _content(value.state_dict(), where, found)]
    if is_dataclass(value):
        # What its author left out of comparisons is no part of what it says.
        own = {one.name: getattr(value, one.name) for one in fields(value) if one.compare}
        return [type(value).__qualname__, _content(own, where, found)]
    raise ValueError(
        f"{where} is a {type(value).__name__}, whose content cannot be compared, so results that "
        "depend on it cannot be told apart; use numbers, texts, arrays, tensors or lists of them."
    )


def _is_code(value: Any) -> bool:
    code = inspect.unwrap(value)
    return inspect.isroutine(code) or inspect.isclass(code)


def _bytes_digest(tensor: Tensor) -> str:
    return sha256(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())


def _instructions(code: CodeType) -> str:
    """Digest of compiled code: where a lambda stands does not count, what it does."""
    parts = [code.co_code.hex(), *code.co_names, *code.co_varnames]
    parts += [
        _instructions(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts
    ]
    return sha256("|".join(parts))


def _names(code: CodeType) -> set[str]:
    """Global names that code uses, comprehensions and inner functions included."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    mine = {i.argval for i in dis.get_instructions(code) if i.opname in _LOADS}
    return mine.union(*inner)


def _methods(kind: type) -> list[Callable]:
    """Functions, properties and class methods that a class defines with `def`."""
    found = []
    for member in vars(kind).values():
        member = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isfunction(member):
            found.append(inspect.unwrap(member))
    # What `dataclass` generates has no source; it follows from the annotations.
    return [method for method in found if method.__code__.co_filename != "<string>"]


def _ours(thing: object) -> bool:
    """Whether code belongs to this package, to a notebook, or to a file that is not installed."""
    name = getattr(thing, "__module__", None) or getattr(thing, "__name__", "")
    if name == "__main__" or name.split(".")[0] == "dtda_lib":
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and not any(Path(file).is_relative_to(p) for p in _INSTALLED)


def model_identity(model: Model) -> dict:
    """Name, settings, source and structure of a model factory; see `source_digest`."""
    factory, settings = model, []
    while isinstance(factory, functools.partial):
        settings.append([factory.args, factory.keywords])
        factory = factory.func
    with torch.random.fork_rng(devices=[]):
        module = model()
    kinds = {type(m) for m in module.modules() if not type(m).__module__.startswith("torch.")}
    sources = sorted(source_digest(kind) for kind in kinds | {factory})
    return {
        "name": factory.__qualname__,
        "settings": sha256(canonical(_content(settings, factory.__qualname__, {}))),
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
