"""The parameters of an experiment, written once: type, meaning, values, what is allowed.

Each experiment declares one frozen dataclass in `experiments/<topic>/parameters.py`:

    @dataclass(frozen=True)
    class Parameters(ProfiledParameters, notebook="01_noise_vs_influence"):
        '''What a reader of notebook 01 may change.'''

        n_seeds: int = whole_number(
            "runs per law", at=(3, 10, 10), between=(2, 100), because=SPREAD
        )

All else is made from it: the parameters cell of the notebook (`pages.notebooks`), what the batch
run lets through, the refusals, and the table of settings.
"""

import ast
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from dtda_lib.names import PROFILE_NAMES, short, unknown

SPREAD = "a standard deviation needs at least two"


class Allowed(Protocol):
    """What may be given for a parameter; `str` of it completes "give ..."."""

    def read(self, given: Any) -> Any:
        """Convert a Python value or papermill's string; raise an error if it is not allowed."""


@dataclass(frozen=True)
class WholeNumber:
    """An integer from `low` to `high`, or one of `also`, for the reason `because`."""

    low: int
    high: int
    also: tuple[int, ...] = ()
    because: str = ""

    def range(self) -> str:
        """The range in words, with its reason."""
        either = "".join(f"{value} or " for value in self.also)
        because = f" ({self.because})" if self.because else ""
        return f"{either}{self.low} to {self.high}{because}"

    def __str__(self) -> str:
        return f"an integer, {self.range()}"

    def read(self, given: Any) -> int:
        """The number.

        Raises:
            ValueError, TypeError: no whole number, or one that is not allowed.
        """
        # [0-9] and not \d, which also takes digits of other scripts.
        if isinstance(given, str) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", given):
            given = int(given)
        if isinstance(given, bool):  # an int to Python, but not to a reader
            raise TypeError
        value = operator.index(given)
        if not (self.low <= value <= self.high or value in self.also):
            raise ValueError
        return value


@dataclass(frozen=True)
class WholeNumbers:
    """A list of different integers, at least one, each as `each` allows."""

    each: WholeNumber

    def __str__(self) -> str:
        return f"a list of different integers, {self.each.range()}"

    def read(self, given: Any) -> tuple[int, ...]:
        """The numbers, in the order given; "10,20", "[10, 20]" and 10 are lists, too.

        Raises:
            ValueError, TypeError, SyntaxError, MemoryError, RecursionError: no such list.
        """
        if isinstance(given, str):
            given = ast.literal_eval(given.strip())
        given = given if isinstance(given, list | tuple) else [given]
        values = tuple(map(self.each.read, given))
        if not values or len(set(values)) < len(values):
            raise ValueError
        return values


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, for the reason `because`."""

    low: float
    high: float
    because: str = ""

    def __str__(self) -> str:
        because = f" ({self.because})" if self.because else ""
        return f"a number, {self.low:g} to {self.high:g}{because}"

    def read(self, given: Any) -> float:
        """The number.

        Raises:
            ValueError, TypeError: no number, or one that is not allowed.
        """
        if isinstance(given, bool):  # a number to Python, but not to a reader
            raise TypeError
        value = float(given)
        if not self.low <= value <= self.high:  # NaN is not allowed either
            raise ValueError
        return value


@dataclass(frozen=True)
class Place:
    """The path of a folder or .zip that is there; "" stands for none."""

    def __str__(self) -> str:
        return "the path of a folder or .zip that is there"

    def read(self, given: Any) -> str:
        """The path as text, the home folder written out.

        Raises:
            ValueError, OSError, RuntimeError: nothing is there.
        """
        if given == "":
            return ""
        path = Path(str(given).strip()).expanduser()
        if not path.exists():
            raise ValueError
        return str(path)


@dataclass(frozen=True)
class Parameter:
    """What is known of one parameter besides its name and type.

    Args:
        meaning: What it is, in words.
        values: Profile -> value.
        allowed: What may be given instead.
    """

    meaning: str
    values: Mapping[str, Any]
    allowed: Allowed


def whole_number(
    meaning: str,
    *,
    at: tuple[int, int, int],
    between: tuple[int, int],
    also: tuple[int, ...] = (),
    because: str = "",
) -> Any:
    """A field for an integer within the bounds `between`, or one of `also`.

    Args:
        at: Its values at smoke, default and paper.
        because: Why the bounds are where they are.
    """
    return _field(meaning, at, WholeNumber(*between, also, because))


def whole_numbers(
    meaning: str,
    *,
    at: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    between: tuple[int, int],
    because: str = "",
) -> Any:
    """A field for a list of different integers, each as `whole_number` says."""
    return _field(meaning, at, WholeNumbers(WholeNumber(*between, because=because)))


def real_number(
    meaning: str,
    *,
    at: tuple[float, float, float],
    between: tuple[float, float],
    because: str = "",
) -> Any:
    """A field for a number within the bounds `between`; see `whole_number`."""
    return _field(meaning, at, Number(*between, because))


def place(meaning: str) -> Any:
    """A field for the path of a folder or .zip; no profile has one."""
    return _field(meaning, ("", "", ""), Place())


def _field(meaning: str, values: tuple[Any, Any, Any], allowed: Allowed) -> Any:
    at = dict(zip(PROFILE_NAMES, values, strict=True))
    parameter = Parameter(meaning, at, allowed)
    return field(default=at["default"], metadata={"parameter": parameter})


@dataclass(frozen=True)
class ProfiledParameters:
    """Base of all `Parameters`: their values are checked, and known at each profile.

    Subclasses name their `notebook`. `trains=False` says that the notebook trains nothing, so that
    device and workers do not matter to it.

    Raises:
        ValueError: one sentence with the parameter, the notebook and what is allowed.
    """

    notebook: ClassVar[str]
    trains: ClassVar[bool]

    def __init_subclass__(cls, *, notebook: str, trains: bool = True) -> None:
        """Take the words behind the base class."""
        cls.notebook, cls.trains = notebook, trains

    def __post_init__(self) -> None:
        """Convert each value, or refuse it by name."""
        for name, parameter in self.declared().items():
            value = read_value(
                parameter.allowed, name, getattr(self, name), f"notebook {self.notebook}"
            )
            object.__setattr__(self, name, value)

    @classmethod
    def declared(cls) -> dict[str, Parameter]:
        """Name -> what is known of the parameter, in the order of declaration."""
        return {one.name: one.metadata["parameter"] for one in fields(cls)}

    @classmethod
    def types(cls) -> dict[str, Any]:
        """Name -> annotated type."""
        return {one.name: one.type for one in fields(cls)}

    @classmethod
    def at(cls, profile: str) -> Self:
        """The parameters as a profile has them.

        Raises:
            ValueError: there is no such profile.
        """
        if profile not in PROFILE_NAMES:
            raise ValueError(unknown(f"profile of notebook {cls.notebook}", profile, PROFILE_NAMES))
        return cls(**{name: one.values[profile] for name, one in cls.declared().items()})

    def values(self) -> dict[str, Any]:
        """Name -> value, in the order of declaration."""
        return {name: getattr(self, name) for name in self.declared()}


def read_value(allowed: Allowed, name: str, given: Any, where: str) -> Any:
    """What `given` stands for.

    Raises:
        ValueError: one sentence that names the parameter, the value, where, and what is allowed.
    """
    try:
        return allowed.read(given)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OSError, RuntimeError):
        raise ValueError(
            f"{name}={short(given)} in {where} is not possible: give {allowed}."
        ) from None
