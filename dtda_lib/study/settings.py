"""Profiles and validated settings: the frame around every notebook.

`configure` turns what a reader (or papermill, which hands over strings) wrote in the parameters
cell into a frozen `Config`, or refuses with one sentence.
"""

import ast
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtda_lib.names import unknown

from .artefacts import digest
from .profiles import PROFILES


class StudyError(ValueError):
    """A setting that cannot be used; the message is one sentence: what, where, what to do."""


@dataclass(frozen=True)
class Rule:
    """What a parameter may be: an "int", or "ints" (a non-empty tuple), each in `low..high`."""

    kind: str
    low: int
    high: int
    also: tuple[int, ...] = ()  # single values allowed outside the range
    because: str = ""

    def __str__(self) -> str:
        noun = "an integer" if self.kind == "int" else "a list of different integers"
        either = "".join(f"{value} or " for value in self.also)
        because = f" ({self.because})" if self.because else ""
        return f"{noun}, {either}{self.low} to {self.high}{because}"

    def read(self, given: Any) -> int | tuple[int, ...]:
        """Convert `given`, a Python value or papermill's string; raise ValueError if impossible."""
        if self.kind == "int":
            return self._one(given)
        if isinstance(given, str):
            given = ast.literal_eval(given.strip())
        values = tuple(map(self._one, given if isinstance(given, list | tuple) else [given]))
        if not values or len(set(values)) < len(values):
            raise ValueError
        return values

    def _one(self, given: Any) -> int:
        if isinstance(given, str) and re.fullmatch(r"\s*[+-]?\d+\s*", given):
            given = int(given)
        # bool is an int to Python, and numpy integers are not; both would mislead a reader.
        if isinstance(given, bool) or not hasattr(given, "__index__"):
            raise ValueError
        value = int(given)
        if not (self.low <= value <= self.high or value in self.also):
            raise ValueError
        return value


@dataclass(frozen=True)
class Place:
    """A parameter that names a folder or .zip, which must be there."""

    def __str__(self) -> str:
        return "the path of a folder or .zip that is there"

    def read(self, given: Any) -> str:
        """The path as text; raise ValueError if nothing is there."""
        path = Path(str(given).strip()).expanduser()
        if not path.exists():
            raise ValueError
        return str(path)


_SPREAD = "a standard deviation needs at least two"
RULES: dict[str, Rule | Place] = {
    "seed_counts": Rule("ints", 6, 1_000, because="a paired permutation test needs six"),
    "n_repeats": Rule("int", 10, 100_000),
    "n_permutations": Rule("int", 19, 100_000, because="no p falls below .05 with fewer"),
    "sizes": Rule("ints", 1, 50),
    "replication_sizes": Rule("ints", 1, 50),
    "n_seeds": Rule("int", 2, 100_000, because=_SPREAD),
    "n_replication_seeds": Rule("int", 2, 100_000, also=(0,), because=_SPREAD),
    "n_checkpoints": Rule("int", 1, 15),
    "queries_per_class": Rule("int", 1, 300),
    "n_null": Rule("int", 100, 10_000_000),
    "protocol_points": Rule("int", 1, 50),
    "protocol_checkpoints": Rule("int", 1, 15),
    "locality_points": Rule("int", 1, 50),
    "percents": Rule("ints", 1, 99),
    "n_boot": Rule("int", 0, 100_000),
    "nested_sizes": Rule("ints", 4, 200, because="the points left out exist at every size"),
    "crossed_size": Rule("int", 11, 200, because="33 points are the fewest that need two batches"),
    "control_size": Rule("int", 4, 10, because="30 points are the most that fit into one batch"),
    "n_init": Rule("int", 3, 1_000, because="intervals of components need three"),
    "n_order": Rule("int", 3, 1_000, because="intervals of components need three"),
    "points_per_class": Rule("int", 1, 4),
    "n_crops": Rule("int", 2, 1_000, because=_SPREAD),
    "n_chains": Rule("int", 400, 10_000_000, because="intervals are over 20 groups of chains"),
    "betas": Rule("ints", 5, 1_000_000, because="the grid of integrals serves no colder laws"),
    "n_left_out": Rule("int", 4, 60, because="half of them are left out of 30 digits"),
    "n_unpaired": Rule("int", 8, 100_000, because="two halves of four runs at least"),
    "n_subsets": Rule("int", 4, 10_000, because="a rank correlation of fewer says nothing"),
    "n_subset_seeds": Rule("int", 6, 100_000, because="halves need a standard deviation"),
    "n_rate_seeds": Rule("int", 6, 100_000, because="intervals over runs need six"),
    "cifar_points": Rule("int", 0, 10, because="there are 10 per class; 0 leaves CIFAR-10 out"),
    "n_unrolled": Rule("int", 3, 100_000, because="a variance and its error need three"),
    "n_data_sets": Rule("int", 1, 100),
    "n_data_set_seeds": Rule("int", 6, 100_000, because="two halves need three each"),
    "digits_per_class": Rule("int", 2, 200),
    "n_digit_seeds": Rule("int", 3, 100_000, because="a variance and its error need three"),
    "group_size": Rule("int", 2, 4, because="all groups of this size are looked at"),
    "n_groups": Rule("int", 1, 300),
    "n_train": Rule("int", 20, 800, because="leverages need more points than inputs"),
    "n_query": Rule("int", 2, 190, because="a correlation over queries needs two"),
    "n_leverage": Rule("int", 1, 100),
    "n_splits": Rule("int", 1, 1_000),
    "lengths": Rule("ints", 1, 100_000, because="they are numbers of epochs"),
    "n_runs": Rule("int", 4, 10_000, because="intervals over runs need some"),
    "n_steps": Rule("int", 1_000, 10_000_000),
    "validation_per_class": Rule("int", 1, 299, because="some queries must be left to judge"),
    "removed_percent": Rule("int", 1, 50),
    "n_random": Rule("int", 1, 10_000),
    "cifar_per_class": Rule("int", 10, 5_000, also=(0,), because="0 leaves CIFAR-10 out"),
    "n_cifar_seeds": Rule("int", 3, 1_000, because="an interval over seeds needs some"),
    "cifar_epochs": Rule("int", 1, 1_000),
    "n_points": Rule("int", 20, 400, because="a rank correlation needs some, the table has 442"),
    "n_sets": Rule("int", 3, 100, because="an interval over sets needs three"),
    "n_pilot": Rule("int", 3, 1_000, because="a standard deviation of fewer says nothing"),
    "n_screen": Rule("int", 2, 1_000, because=_SPREAD),
    "images_per_class": Rule("int", 4, 10_000),
    "n_top": Rule("int", 2, 10_000),
    "n_image_seeds": Rule("int", 3, 100_000, because=_SPREAD),
    "n_draws": Rule("int", 8, 10_000, because="8 make the curvature"),
    "n_epochs": Rule("int", 1, 1_000),
    "n_generators": Rule("int", 1, 1_000),
    "samples_per_run": Rule("int", 1, 1_000),
    "list_length": Rule("int", 1, 100),
    "n_judged": Rule("int", 2, 1_000, because="an interval over samples needs two"),
    "n_judging_seeds": Rule("int", 3, 100_000, because="a variance and its error need three"),
    "folder": Place(),
}
"""What each parameter may be; a parameter means the same in every notebook that has it."""


@dataclass(frozen=True)
class Config:
    """The resolved settings of a notebook; each parameter is also an attribute (`cfg.n_seeds`)."""

    notebook: str
    profile: str
    parameters: Mapping[str, Any]
    overridden: tuple[str, ...]
    device: str
    workers: int
    started: float = field(compare=False, repr=False, default_factory=time.monotonic)

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that are no field; unpickling asks before `parameters` exists.
        try:
            return self.__dict__["parameters"][name]
        except KeyError:
            raise AttributeError(f"the settings have no {name!r}") from None

    def __hash__(self) -> int:
        return hash((self.hash, self.device, self.workers))

    @property
    def name(self) -> str:
        """Folder name of what these settings make: the profile, or `custom-<hash>` if changed."""
        return f"custom-{digest(self.parameters)[:8]}" if self.overridden else self.profile

    @property
    def hash(self) -> str:
        """Short hash of everything that decides the numbers, apart from code and machine."""
        return digest([self.notebook, self.profile, self.parameters])[:16]

    def _machine(self) -> str:
        return f"device {self.device}, {self.workers} worker{'' if self.workers == 1 else 's'}"

    def describe(self) -> None:
        """Print the resolved settings as plain text."""
        print(f"{self.notebook}, profile {self.profile}")
        for key, value in self.parameters.items():
            changed = "  (changed)" if key in self.overridden else ""
            print(f"  {key:<20} {_shown(value)}{changed}")
        print(self._machine())

    def _repr_markdown_(self) -> str:
        rows = []
        for key, value in self.parameters.items():
            source = "changed" if key in self.overridden else self.profile
            rows.append(f"| `{key}` | {_shown(value)} | {source} |")
        return "\n".join(
            ["| setting | value | from |", "|---|---|---|", *rows, "", self._machine()]
        )


def default_parameters(notebook: str, profile: str) -> dict[str, Any]:
    """The parameter values of a notebook at a profile."""
    profiles = _look_up(PROFILES, notebook, "notebook", "the study")
    return dict(_look_up(profiles, profile, "profile", f"notebook {notebook}"))


def configure(
    notebook: str,
    *,
    profile: str,
    device: str = "auto",
    workers: int | str | None = None,
    **overrides: Any,
) -> Config:
    """Validate the settings of a notebook; None (or "none", "") leaves the profile's value.

    Raises `StudyError` for unknown names, wrong types and impossible values.
    """
    defaults = default_parameters(notebook, profile)
    parameters = dict(defaults)
    for name, given in overrides.items():
        _look_up(defaults, name, "parameter", f"notebook {notebook}")
        if not _is_none(given):
            parameters[name] = _read(RULES[name], name, given, f"in notebook {notebook}")
    return Config(
        notebook=notebook,
        profile=profile,
        parameters=parameters,
        overridden=tuple(name for name in defaults if parameters[name] != defaults[name]),
        device=_resolve_device(device),
        workers=_resolve_workers(workers),
    )


def _look_up(table: Mapping[str, Any], name: Any, what: str, where: str) -> Any:
    if isinstance(name, str) and name in table:
        return table[name]
    raise StudyError(unknown(f"{what} of {where}", name, table))


def _read(rule: Rule | Place, name: str, given: Any, where: str) -> Any:
    try:
        return rule.read(given)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise StudyError(f"{name}={given!r} {where} is not possible: give {rule}.") from None


def _is_none(given: Any) -> bool:
    return given is None or (isinstance(given, str) and given.strip().lower() in ("", "none"))


def _resolve_workers(workers: Any) -> int:
    if _is_none(workers):
        from dtda_lib.runs.executors import available_cores  # only now: it imports torch

        return available_cores()
    return _read(Rule("int", 1, 10_000), "workers", workers, "in every notebook")


def _resolve_device(device: Any) -> str:
    form = "give auto, cpu, cuda, cuda:N or mps"
    if _is_none(device):
        device = "auto"
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device.strip()):
        raise StudyError(f"device={device!r} is no device: {form}.")
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
            f"device={device!r} is not present on this machine, which has {has}: {form}."
        )
    return device


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
