"""What one thing holds: a value, a function, a class or an object, seen for itself.

`fingerprint` puts these together. What decides numbers is looked at by content; what is installed,
by name and version (`origin`); loggers and locks, by type.
"""

import copyreg
import functools
import importlib
import inspect
import io
import logging
import os
import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtda_lib.runs.measures import Measure
from dtda_lib.runs.recipes import ByOptimiser

from .canonical import canonical, sha256
from .code_form import code_form
from .origin import import_origin, origin
from .syntax_form import Chain, Import

_PLAIN = (bool, int, float, complex, str, bytes, range, slice)
_PLAIN += (type(None), type(Ellipsis), type(NotImplemented), torch.Size)
_PLAIN += (torch.dtype, torch.device, torch.layout, torch.memory_format, torch.qscheme)
_PLAIN += (torch.finfo, torch.iinfo)
# What no number depends on: it counts by its type alone.
_MUTE = (logging.Logger, logging.Handler, logging.LoggerAdapter, threading.local)
_MUTE += (type(threading.Lock()), type(threading.RLock()))
_MUTE += (torch.library.Library, UnionType, GenericAlias)
_MUTE += (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
# torch puts this around some of its functions, such as `manual_seed`, when it first traces.
_UNCOMPILED = "_disable_dynamo.<locals>.inner"
# What Python, and `dataclass`, write into every class; methods of a dataclass follow from fields.
_WRITTEN = {"__module__", "__doc__", "__qualname__", "__dict__", "__weakref__", "__annotations__"}
_WRITTEN |= {"__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__", "__slots__"}
_WRITTEN |= {"__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__"}
_WRITTEN |= {"__annotations_cache__", "__match_args__", "__dataclass_fields__"}
_WRITTEN |= {"__slotnames__", "__non_callable_proto_members__"}  # by pickling and isinstance
# How an object is shown (`names.Shown`) decides no number.
_WRITTEN |= {"__repr__", "_repr_html_", "_repr_markdown_", "_facts"}

# What is around functions, and where it keeps them.
_AROUND = {
    MethodType: ("__func__", "__self__"),
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__wrapped__",),
    classmethod: ("__wrapped__",),
    functools._lru_cache_wrapper: ("__wrapped__",),
    functools.cached_property: ("func",),
}
# What is not written in Python.
_BUILTIN = (BuiltinFunctionType, MethodWrapperType, MethodDescriptorType, WrapperDescriptorType)
_BUILTIN += (ClassMethodDescriptorType, GetSetDescriptorType, MemberDescriptorType)
_OF_MODULE = {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__builtins__"}
_PACKAGE = Path(__file__).parents[2]
_ABSENT = object()
_FIXED = (ModuleType, FunctionType, type, bool, int, float, *_BUILTIN)


@dataclass
class Content:
    """What is known of one thing itself, and the things that it holds, each with its place."""

    label: str
    held: list[tuple[str, Any]]
    ordered: bool = True


def content_of(value: Any, where: str) -> Content:
    """One value: its label, and what it holds.

    Args:
        value: Anything.
        where: How an error calls it.

    Raises:
        ValueError: it has no content that could be compared.
    """
    if isinstance(value, Measure):
        value = value.function
    if isinstance(value, ByOptimiser):  # the others are entries of the jobs that take them
        value = value.common
    if isinstance(value, FunctionType) and value.__code__.co_qualname == _UNCOMPILED:
        value = value.__wrapped__
    plain = _plain(value, where)
    if plain is not None:
        return Content(plain, [])
    if isinstance(value, FunctionType):
        return _function(value)
    if isinstance(value, type):
        return _class(value)
    if isinstance(value, ModuleType):
        return _module(value)
    if type(value) in (list, tuple, set, frozenset):
        held = [(where, one) for one in value if not isinstance(one, _MUTE)]  # a process fills them
        return Content(type(value).__name__, held, isinstance(value, list | tuple))
    if type(value) in (dict, MappingProxyType):
        return Content("dict", [(where, one) for item in value.items() for one in item])
    if isinstance(value, functools.partial):
        named = sorted(value.keywords.items())
        label = canonical(["partial", [name for name, _ in named]])
        keywords = [(where, one) for _, one in named]
        return Content(label, [(where, value.func), (where, value.args), *keywords])
    for kind, attributes in _AROUND.items():
        if isinstance(value, kind):
            return Content(kind.__name__, [(where, getattr(value, name)) for name in attributes])
    if isinstance(value, weakref.ref):
        return Content("weakref", [(where, value())])
    if isinstance(value, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        return _scripted(value, where)
    if isinstance(value, _BUILTIN):
        return _builtin(value, where)
    return _object(value, where)


def _plain(value: Any, where: str) -> str | None:
    """What has a content of its own, and what counts by its name alone; otherwise None."""
    if isinstance(value, Path) and value.is_relative_to(_PACKAGE):  # wherever that lies
        return f"path in the package {value.relative_to(_PACKAGE).as_posix()}"
    if type(value) in _PLAIN or isinstance(value, Path):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, Tensor):
        trained = f" {value.requires_grad}" if isinstance(value, torch.nn.Parameter) else ""
        return f"tensor {value.dtype} {tuple(value.shape)} {_tensor_digest(value, where)}{trained}"
    is_array = isinstance(value, np.generic) or type(value) is np.ndarray
    if is_array and not value.dtype.hasobject:
        array = np.ascontiguousarray(value)
        return f"array {array.dtype.descr} {array.shape} {sha256(array.tobytes())}"
    if isinstance(value, torch.Generator):
        return f"generator {_tensor_digest(value.get_state(), where)}"
    if isinstance(value, torch._ops.OperatorBase | torch._ops.OpOverloadPacket):
        return f"operator {value}"
    if isinstance(value, _MUTE) or type(value).__module__ == "typing":
        return type(value).__name__
    if any(value is one for one in (sys.stdout, sys.stderr, sys.stdin)):
        return type(value).__name__
    return "environment" if value is os.environ else None


def _tensor_digest(tensor: Tensor, where: str) -> str:
    if tensor.is_meta:
        raise _unreadable(tensor, where)
    tensor = tensor.detach().cpu().to_dense().resolve_conj().resolve_neg().contiguous()
    return sha256(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())


def _function(function: FunctionType) -> Content:
    code = function.__code__
    module = function.__globals__.get("__name__") or ""
    cells = dict(zip(code.co_freevars, function.__closure__ or ()))
    place = f"{function.__qualname__}:"
    installed = origin(module, code.co_filename)
    if installed:
        held = [(place + name, _captured(cell)) for name, cell in sorted(cells.items())]
        return Content(f"installed {module}.{code.co_qualname} of {installed}", held)
    form = code_form(code, function.__globals__)
    label, held = ["function", form.text], []
    for root, attributes in form.chains:
        told, found = _resolved((root, attributes), function, cells)
        name = (root.name or root.module) if isinstance(root, Import) else root
        label.append(told)
        held += [(place + name, one) for one in found]
    if "__class__" in cells:  # what `super()` looks at
        held.append((place + "__class__", _captured(cells["__class__"])))
    more = {n: v for n, v in vars(function).items() if n != "__wrapped__"}
    given = {"defaults": function.__defaults__, "keywords": function.__kwdefaults__, "more": more}
    for name, one in given.items():
        if one:
            label.append(name)
            held.append((place.rstrip(":"), one))
    return Content(canonical(label), held)


def _class(kind: type) -> Content:
    installed = origin(kind.__module__)
    if installed:
        return Content(f"installed {kind.__module__}.{kind.__qualname__} of {installed}", [])
    place = kind.__qualname__
    label, held = ["class"], [(place, one) for one in kind.__bases__]
    if not origin(type(kind).__module__):
        held.append((place, type(kind)))
    if "__dataclass_fields__" in vars(kind):
        for one in fields(kind):
            label.append([one.name, one.init, one.compare, bool(one.kw_only)])
            held += [(f"{place}.{one.name}", part) for part in (one.default, one.default_factory)]
    for name, member in sorted(vars(kind).items()):
        inner = inspect.unwrap(member) if isinstance(member, FunctionType) else None
        made = inner is not None and inner.__code__.co_filename == "<string>"
        if name in _WRITTEN or (made and "__dataclass_fields__" in vars(kind)):
            continue
        if isinstance(member, MemberDescriptorType | GetSetDescriptorType):
            label.append(f"slot {name}")
            continue
        label.append(name)
        held.append((f"{place}.{name}", member))
    return Content(canonical(label), held)


def _module(module: ModuleType) -> Content:
    installed = origin(module.__name__, getattr(module, "__file__", None))
    if installed:
        return Content(f"module {module.__name__} of {installed}", [])
    items = sorted((n, v) for n, v in vars(module).items() if not n.startswith("__"))
    held = [(f"{module.__name__}:{name}", one) for name, one in items]
    return Content(canonical(["module", [name for name, _ in items]]), held)


def _builtin(value: Any, where: str) -> Content:
    """What is not written in Python: by its name, and the object that it is bound to."""
    bound = getattr(value, "__self__", None)
    home = getattr(value, "__objclass__", bound if isinstance(bound, type) else None)
    module = getattr(value, "__module__", None) or getattr(home, "__module__", None) or ""
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    held = [] if bound is None or isinstance(bound, ModuleType | type) else [(where, bound)]
    content = origin(module) or _binary(module)
    return Content(f"built-in {module}.{name} of {content}", held)


def _scripted(value: Any, where: str) -> Content:
    """What torch has compiled: its code and weights."""
    if isinstance(value, torch.jit.ScriptFunction):
        return Content(value.code, [])
    codes = [getattr(part, "code", "") for part in value.modules()]
    return Content(canonical(["script", codes]), [(where, dict(value.state_dict()))])


def _binary(module: str) -> str:
    """Digest of an extension module that is not installed."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return sha256(Path(file).read_bytes()) if file else ""


def _object(value: Any, where: str) -> Content:
    """Any other object: its class, and what it would be pickled as."""
    if isinstance(value, io.IOBase) and not isinstance(value, io.BytesIO | io.StringIO):
        raise _unreadable(value, where)
    if is_dataclass(value):
        # What its author left out of comparisons is no part of what it says.
        own = {one.name: one.compare for one in fields(value)}
        state = {n: getattr(value, n) for n, compared in own.items() if compared}
        state |= {n: v for n, v in getattr(value, "__dict__", {}).items() if n not in own}
        return _stateful(value, state, [], where)
    try:
        own = copyreg.dispatch_table.get(type(value))  # of regular expressions, for one
        reduced = own(value) if own else value.__reduce_ex__(4)
    except Exception as error:  # classes refuse in ways of their own
        state = getattr(value, "__dict__", None)
        if state is None:
            raise _unreadable(value, where) from error
        return _stateful(value, state, [], where)
    if isinstance(reduced, str):
        module = getattr(value, "__module__", None) or type(value).__module__
        return Content(f"global {module}.{reduced} of {origin(module) or _binary(module)}", [])
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    made = [] if make is copyreg.__newobj__ else [make]
    parts = [*made, arguments, list(items or ()), [list(pair) for pair in pairs or ()]]
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state = (state[0] or {}) | state[1]  # attributes in slots
    if isinstance(state, dict):
        return _stateful(value, state, parts, where)
    return Content("object", [(where, one) for one in (type(value), *parts, state)])


def _stateful(value: Any, state: Mapping[str, Any], parts: list[Any], where: str) -> Content:
    """An object with attributes; what a `cached_property` has left follows from the others."""
    kept = {
        name: one
        for name, one in sorted(state.items())
        if not isinstance(getattr(type(value), name, None), functools.cached_property)
    }
    held = [(where, one) for one in (type(value), *parts)]
    held += [(f"{where}.{name}", one) for name, one in kept.items()]
    return Content(canonical(["object", list(kept)]), held)


# --- what a name stands for: captured, global, built in or imported there -------------------------


def _captured(cell: Any) -> Any:
    """What a closure has captured; None where it is not assigned yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _resolved(chain: Chain, function: FunctionType, cells: Mapping[str, Any]) -> tuple[str, list]:
    """What a chain says by itself, and the one value, or none, that it leads to.

    Attributes are followed through modules; others stay text. Names of an installed module that are
    neither code nor numbers are states of the process, such as a list of paths: they stay text too.

    Args:
        chain: See `syntax_form`.
        function: That uses it.
        cells: What the function has captured.
    """
    root, attributes = chain
    module_globals = function.__globals__
    builtin = module_globals.get("__builtins__", {})
    builtin = vars(builtin) if isinstance(builtin, ModuleType) else builtin
    if isinstance(root, Import):
        told, found = _imported(root, module_globals)
        if not found:
            return ".".join([told, *attributes]), []
        value = found[0]
    elif root in cells:
        value = _captured(cells[root])
    elif root in module_globals and root not in _OF_MODULE:
        value = module_globals[root]
    elif root in builtin:
        value = builtin[root]
    else:
        return ".".join(["unbound", root, *attributes]), []
    while attributes and isinstance(value, ModuleType):
        installed = origin(value.__name__, getattr(value, "__file__", None))
        found = _attribute(value, attributes[0], import_it=not installed)
        if installed and not isinstance(found, _FIXED):
            return f"{installed} {value.__name__}.{'.'.join(attributes)}", []
        if found is _ABSENT:
            break
        value, attributes = found, attributes[1:]
    return ".".join(attributes), [value]


def _attribute(module: ModuleType, name: str, *, import_it: bool) -> Any:
    """An attribute of a module, or its module of that name."""
    if hasattr(module, name) or not import_it:
        return getattr(module, name, _ABSENT)
    try:
        return importlib.import_module(f"{module.__name__}.{name}")
    except ImportError:
        return _ABSENT


def _imported(thing: Import, module_globals: Mapping[str, Any]) -> tuple[str, list]:
    """What an import inside a function binds: by name if it is installed, else its value."""
    module = thing.module
    if thing.level:
        package = module_globals.get("__package__") or ""
        parents = package.split(".")[: 1 - thing.level or None]
        module = ".".join([*parents, *filter(None, [module])])
    installed = import_origin(module)
    told = ".".join(filter(None, [module, thing.name]))
    if installed:
        return f"{installed} {told}", []
    try:
        found = importlib.import_module(module)
    except ImportError:
        return f"missing {told}", []
    if thing.name is None:
        return "", [found]
    value = _attribute(found, thing.name, import_it=True)
    return (f"missing {told}", []) if value is _ABSENT else ("", [value])


def _unreadable(value: Any, where: str) -> ValueError:
    return ValueError(
        f"{where} is a {type(value).__name__}, whose content cannot be compared, so results that "
        "depend on it cannot be told apart; use numbers, texts, arrays, tensors or lists of them."
    )
