"""Validated settings: the frame around every notebook.

`configure` turns what a reader (or papermill, which hands over strings) wrote in the parameters
cell into a frozen `Config`, or refuses with one sentence.
"""

import importlib
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtda_lib.names import Shown, short, unknown

from .artefacts import digest
from .markdown import folded, plain
from .parameters import Number, ProfiledParameters, WholeNumber, read_value

EXPERIMENTS = "dtda_lib.experiments"
OPEN_ROWS = 12
"""Settings that a reader sees at once; a longer table is folded."""
MACHINE_FIELDS = ("profile", "device", "workers")
"""What every notebook takes besides its own parameters."""


class StudyError(ValueError):
    """A setting that cannot be used; the message is one sentence: what, where, what to do."""


@dataclass(frozen=True, repr=False)
class Config(Shown):
    """The resolved settings of a notebook; each parameter is also an attribute (`cfg.n_seeds`)."""

    values: ProfiledParameters
    profile: str
    overridden: tuple[str, ...]
    device: str
    workers: int
    started: float = field(compare=False, repr=False, default_factory=time.monotonic)

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that are no field; unpickling asks before `values` exists.
        if (values := self.__dict__.get("values")) and name in values.declared():
            return getattr(values, name)
        raise AttributeError(f"the settings have no {name!r}")

    def __hash__(self) -> int:
        return hash((self.hash, self.device, self.workers))

    @property
    def notebook(self) -> str:
        """File name of the notebook without its ending."""
        return self.values.notebook

    @property
    def parameters(self) -> dict[str, Any]:
        """Name -> value of each parameter."""
        return self.values.values()

    @property
    def name(self) -> str:
        """Folder name of what these settings make: the profile, or `custom-<hash>` if changed."""
        return f"custom-{digest(self.parameters)[:8]}" if self.overridden else self.profile

    @property
    def hash(self) -> str:
        """Short hash of everything that decides the numbers, apart from code and machine."""
        return digest([self.notebook, self.profile, self.parameters])[:16]

    def _facts(self) -> dict[str, object]:
        changed = {name: self.parameters[name] for name in self.overridden}
        return {
            "notebook": self.notebook,
            "profile": self.profile,
            **(changed or {"changed": "nothing"}),
            "device": self.device,
            "workers": self.workers,
        }

    def _repr_html_(self) -> None:
        """A notebook shows the table of `_repr_markdown_`."""

    def _repr_markdown_(self) -> str:
        rows = ["| setting | value | from | meaning | allowed |", "|---|---|---|---|---|"]
        for key, one in self.values.declared().items():
            source = "changed" if key in self.overridden else self.profile
            value = plain(_shown(self.parameters[key]))
            cells = (f"`{key}`", value, source, one.meaning, one.allowed)
            rows.append(f"| {' | '.join(map(str, cells))} |")
        table = "\n".join(rows)
        if (n := len(self.parameters)) > OPEN_ROWS:
            table = folded(f"All {n} settings of `{self.name}`: value, meaning, range", table)
        machine = f"device {self.device}, {self.workers} worker{'' if self.workers == 1 else 's'}"
        return f"{table}\n\n{machine}"


def configure(parameters: type[ProfiledParameters], namespace: Mapping[str, Any]) -> Config:
    """The settings that the parameters cell of a notebook has left in `namespace`, its globals.

    `None`, "none" and "" leave the profile's value.

    Args:
        parameters: What may be set.
        namespace: `globals()`, called before the notebook makes plain values of its own.

    Raises:
        StudyError: impossible values; a plain value whose name is no parameter, as which a
            misspelled `-p` of papermill arrives.
    """
    # A cell that is run again finds what later cells have made, which nothing tells from misspelled
    # parameters. Papermill always starts afresh.
    if not any(isinstance(value, Config) for value in namespace.values()):
        try:
            _refuse_unknown(parameters, filter(_is_visible, _plain_names(namespace)))
        except StudyError as refusal:
            raise StudyError(f"{refusal} (Once corrected, restart the kernel.)") from None
    names = (*MACHINE_FIELDS, *parameters.declared())
    return resolve(parameters, **{name: namespace.get(name) for name in names})


def resolve(
    parameters: type[ProfiledParameters],
    /,
    *,
    profile: str,
    device: str | None = "auto",
    workers: int | str | None = None,
    **given: Any,
) -> Config:
    """Validate the settings of a notebook; None, "none" and "" leave the profile's value.

    Raises:
        StudyError: unknown names, wrong types and impossible values.
    """
    _refuse_unknown(parameters, given)
    changes = {name: value for name, value in given.items() if not _is_none(value)}
    _refuse_odd_numbers(parameters, changes)
    try:
        defaults = parameters.at(profile)
        values = parameters(**(defaults.values() | changes))
        n_workers = _resolve_workers(workers)
    except ValueError as refusal:
        raise StudyError(str(refusal)) from None
    overridden = (name for name in changes if getattr(values, name) != getattr(defaults, name))
    return Config(values, profile, tuple(overridden), _resolve_device(device), n_workers)


def parameters_of(notebook: str) -> type[ProfiledParameters]:
    """The `Parameters` of the notebook of this file name, without its ending.

    They are looked up by name, as the study must not import the experiments above it.

    Raises:
        StudyError: no experiment has such a notebook.
    """
    topics = _topics()
    if (topic := notebook[3:]) in topics:
        found = _parameters_in(topic)
        if found.notebook == notebook:
            return found
    known = (_parameters_in(topic).notebook for topic in topics)
    raise StudyError(unknown("notebook of the study", notebook, sorted(known)))


def _topics() -> list[str]:
    folders = importlib.import_module(EXPERIMENTS).__path__
    return [file.parent.name for one in folders for file in Path(one).glob("*/parameters.py")]


def _parameters_in(topic: str) -> type[ProfiledParameters]:
    return importlib.import_module(f"{EXPERIMENTS}.{topic}.parameters").Parameters


def _refuse_unknown(parameters: type[ProfiledParameters], names: Iterable[str]) -> None:
    known = (*parameters.declared(), *MACHINE_FIELDS)
    for name in names:
        if name not in known:
            raise StudyError(unknown(f"parameter of notebook {parameters.notebook}", name, known))


def _refuse_odd_numbers(parameters: type[ProfiledParameters], given: Mapping[str, Any]) -> None:
    """Refuse what `float` takes and nobody means: digits of other scripts, or does not take."""
    for name, value in given.items():
        allowed = parameters.declared()[name].allowed
        odd = isinstance(value, str) and not value.isascii()
        odd |= isinstance(value, int) and value.bit_length() > 1023  # beyond every float
        if odd and isinstance(allowed, Number):
            where = f"{name}={short(value)} in notebook {parameters.notebook}"
            raise StudyError(f"{where} is not possible: give {allowed}.")


_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, type(None))


def _plain_names(namespace: Mapping[str, Any]) -> list[str]:
    return [name for name, value in namespace.items() if isinstance(value, _PLAIN)]


def _is_visible(name: str) -> bool:
    """Whether a name is the notebook's, and not Python's or IPython's."""
    return not name.startswith("_") and name not in ("In", "Out")


def _is_none(given: Any) -> bool:
    return given is None or (isinstance(given, str) and given.strip().lower() in ("", "none"))


def _resolve_workers(workers: Any) -> int:
    allowed = WholeNumber(1, 10_000)
    if not _is_none(workers):
        return read_value(allowed, "workers", workers, "every notebook")
    if not _is_none(given := os.environ.get("DTDA_WORKERS")):
        return read_value(allowed, "DTDA_WORKERS", given, "the environment")
    from dtda_lib.runs.executors import available_cores  # only now: it imports torch

    return available_cores()


def _resolve_device(device: Any) -> str:
    form = "give auto, cpu, cuda, cuda:N or mps"
    known = r"\s*(auto|cpu|cuda(:[0-9]{1,4})?|mps)\s*"
    if _is_none(device):
        device = "auto"
    if not isinstance(device, str) or not re.fullmatch(known, device):
        raise StudyError(f"device={short(device)} is no device: {form}.")
    device = device.strip()
    if device == "cpu":
        return device
    import torch  # only now: refusals and the cpu answer stay instant

    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":  # never mps, which has no float64: it is used by name only
        return "cuda" if n_cuda else "cpu"
    if device == "mps" and not torch.backends.mps.is_available():
        raise StudyError("device='mps' is not present on this machine: give auto or cpu.")
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= n_cuda:
        has = f"{n_cuda or 'no'} CUDA device{'' if n_cuda == 1 else 's'}"
        raise StudyError(
            f"device={short(device)} is not present on this machine, which has {has}: {form}."
        )
    return device


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
