"""Whose code is it: Python's, an installed package's, or ours and the user's own?

Installed code is fixed by its name and version; what is ours or the user's own changes from one run
to the next and counts by content (see `fingerprint`). What decides is where a file lies, not how
the module is called.
"""

import functools
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

_OWN = __name__.partition(".")[0]
_FOLLOWED = (_OWN, "__main__", "__mp_main__")
_PACKAGES = {"site-packages", "dist-packages"}
_IN_KEY = "torch"  # its version is part of every key already


def origin(module: str, file: str | None = None) -> str | None:
    """Where code comes from: "python", an installed package such as "numpy 2.3.1", or None.

    None is code whose content counts: this package, notebooks, files that are not installed (an
    editable installation is not), and what `exec` made of a text.

    Args:
        module: Dotted name of the module that defines it.
        file: Its file; None, or a name in angle brackets, takes the file of the module.
    """
    top = module.partition(".")[0]
    if top in _FOLLOWED:
        return None
    if file is None or file.startswith("<"):
        if file is not None and file.startswith("<frozen"):
            return "python"
        file = _module_file(module) or _module_file(top)
    if file is None:
        return "python" if top in sys.stdlib_module_names else None
    return _place(top, file)


@functools.cache
def import_origin(module: str) -> str | None:
    """`origin` of an absolute import, without importing it; a missing module is "missing"."""
    top = module.partition(".")[0]
    if top in _FOLLOWED:
        return None
    if top in sys.modules:
        return origin(top)
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "missing"
    if spec.origin in ("built-in", "frozen"):
        return "python"
    folders = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return _place(top, folders[0]) if folders else None


def _module_file(module: str) -> str | None:
    loaded = sys.modules.get(module)
    # Some packages put objects in place of modules, which answer every question.
    file = getattr(loaded, "__file__", None)
    if isinstance(file, str):
        return file
    folders = getattr(loaded, "__path__", None)
    return next(iter(folders), None) if folders else None


@functools.cache
def _place(top: str, file: str) -> str | None:
    paths = {Path(file), Path(os.path.realpath(file))}
    if any(_PACKAGES & set(path.parts) or _lists(top, path) for path in paths):
        return top if top == _IN_KEY else f"{top} {_version(top)}".rstrip()
    return "python" if any(p.is_relative_to(s) for p in paths for s in _standard()) else None


@functools.cache
def _standard() -> frozenset[Path]:
    """Folders of the standard library, links to them included."""
    given = [
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        Path(os.__file__).parent,
    ]
    return frozenset(p for one in given for p in (Path(one), Path(os.path.realpath(one))))


def _lists(top: str, path: Path) -> bool:
    """Whether an installation put the file there, into a folder of any name.

    `pip install --target` does, and a `.pth` file may point there; the record of what was installed
    lies beside the package. That of an editable installation does not list the package.
    """
    if top not in path.parts and path.stem != top:
        return False
    at = path.parts.index(top) if top in path.parts else -1
    for record in Path(*path.parts[:at]).glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
        if any(line.startswith((f"{top}/", f"{top}.py,")) for line in lines):
            return True
    return False


@functools.cache
def _version(top: str) -> str:
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        # Packages such as sklearn are called otherwise than their distribution; slow, but once.
        names = sorted(set(importlib.metadata.packages_distributions().get(top, ())))
        return " ".join(importlib.metadata.version(name) for name in names)
