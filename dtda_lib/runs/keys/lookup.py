"""What a name that a function uses stands for: captured, global, built in or imported there."""

import importlib
from collections.abc import Mapping
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from .origin import import_origin, origin
from .syntax_form import Chain, Import

BUILTIN = (BuiltinFunctionType, MethodWrapperType, MethodDescriptorType, WrapperDescriptorType)
BUILTIN += (ClassMethodDescriptorType, GetSetDescriptorType, MemberDescriptorType)
"""What is not written in Python."""

_OF_MODULE = {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__builtins__"}
_ABSENT = object()
_FIXED = (ModuleType, FunctionType, type, bool, int, float, *BUILTIN)


def module_origin(module: ModuleType) -> str | None:
    """See `origin`."""
    return origin(module.__name__, getattr(module, "__file__", None))


def captured(cell: Any) -> Any:
    """What a closure has captured; None where it is not assigned yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def resolve_name(
    chain: Chain, function: FunctionType, cells: Mapping[str, Any]
) -> tuple[str, list]:
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
        value = captured(cells[root])
    elif root in module_globals and root not in _OF_MODULE:
        value = module_globals[root]
    elif root in builtin:
        value = builtin[root]
    else:
        return ".".join(["unbound", root, *attributes]), []
    while attributes and isinstance(value, ModuleType):
        installed = module_origin(value)
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
