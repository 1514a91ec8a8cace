"""One number out of all queries of a run: a mean, an accuracy, a quantile, a gap between groups.

A functional sees what one run measured, `(query,)` or, of raw outputs, `(query, output)`. The law
of its value over seeds is asked as that of a query's loss is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dtda_lib.models.user_code import user_code
from dtda_lib.names import short, unknown

OfQueries = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Functional:
    """A number out of all queries.

    Args:
        name: How its law is called.
        function: `(query,) -> float` or `(query, output) -> float`.
        unit: Of the number; None: that of the values.
        better: "lower", "higher" or "" (neither); None: as for the values.
    """

    name: str
    function: OfQueries
    unit: str | None = None
    better: str | None = None


def accuracy(targets: Sequence[int] | np.ndarray) -> Functional:
    """Share of queries whose largest output, or predicted class, is the target.

    Args:
        targets: `(query,)`, class of each query, as the outputs are numbered.
    """
    targets = np.asarray(targets)

    def share(values: np.ndarray) -> float:
        predicted = values.argmax(axis=-1) if values.ndim == 2 else values
        _refuse_other_length("targets", len(targets), len(predicted))
        return float(np.mean(predicted == targets))

    return Functional("accuracy", share, "share", "higher")


def quantile_of_queries(level: float) -> Functional:
    """The quantile at `level` over queries, by linear interpolation; .9: the worst tenth's start.

    Raises:
        ValueError: `level` outside 0..1.
    """
    if not 0 <= level <= 1:
        raise ValueError(f"a quantile's level lies in 0..1, not {level}.")
    return Functional(f"quantile {level:g}", lambda values: float(np.quantile(values, level)))


def gap(first: Sequence[int] | np.ndarray, second: Sequence[int] | np.ndarray) -> Functional:
    """Mean over one group of queries - mean over another; neither sign is better.

    Args:
        first, second: Positions of the queries, or boolean masks of all.

    Raises:
        ValueError: an empty group.
    """
    groups = [np.asarray(group) for group in (first, second)]
    groups = [np.flatnonzero(group) if group.dtype == bool else group for group in groups]
    if not all(map(len, groups)):
        raise ValueError("gap: a group of queries is empty.")

    def difference(values: np.ndarray) -> float:
        ones, others = (values[group].mean() for group in groups)
        return float(ones - others)

    return Functional("gap", difference, better="")


def _share_of_ones(values: np.ndarray) -> float:
    if not np.isin(values, (0, 1)).all():
        raise ValueError("give 0 and 1 (right or not), or raw outputs and accuracy(targets)")
    return float(np.mean(values))


FUNCTIONALS: dict[str, Functional] = {
    one.name: one
    for one in (
        Functional("mean", lambda values: float(np.mean(values))),
        Functional("median", lambda values: float(np.median(values))),
        Functional("largest", lambda values: float(np.max(values))),
        Functional("accuracy", _share_of_ones, "share", "higher"),
    )
}
"""Functionals by name; "accuracy" is of values 0 and 1, right or not."""


def get_functional(name_or_function: str | Functional | OfQueries) -> Functional:
    """The functional of that name, or itself, or of a function of one's own.

    Raises:
        ValueError: an unknown name, or no function.
    """
    if isinstance(name_or_function, Functional):
        return name_or_function
    if callable(name_or_function):
        name = getattr(name_or_function, "__name__", type(name_or_function).__name__)
        return Functional(name, name_or_function, "not stated", "")
    if name_or_function not in FUNCTIONALS:
        raise ValueError(unknown("functional", name_or_function, FUNCTIONALS))
    return FUNCTIONALS[name_or_function]


def of_all_queries(
    laws: xr.Dataset,
    of: str | Functional | OfQueries | Mapping[str, str | Functional | OfQueries],
) -> xr.Dataset:
    """Laws of numbers that each run has out of all its queries; each is a query of its own.

    Args:
        laws: `base` `(seed, query, ...)` and `removed` `(seed, train or removal, query, ...)`.
        of: A name in `FUNCTIONALS`, a functional, a function of one run's values, or several by
            name.

    Returns:
        The laws with the functionals' names along `query`; `unit` and `better` are theirs where
        they all have the same.

    Raises:
        ValueError: an unknown name, or a result that is no finite number.
        RuntimeError: a function fails.
    """
    several = of if isinstance(of, Mapping) else {get_functional(of).name: of}
    chosen = {name: get_functional(one) for name, one in several.items()}
    found = {}
    for name in ("base", "removed"):
        law = laws[name]
        runs = [dim for dim in law.dims if dim not in ("query", "output")]
        law = law.transpose(*runs, ...)
        flat = law.values.reshape(-1, *law.shape[len(runs) :])
        each = [[_number(label, one, run) for label, one in chosen.items()] for run in flat]
        shape = (*law.shape[: len(runs)], len(chosen))
        coords = {dim: law[dim] for dim in runs if dim in law.coords}
        found[name] = xr.DataArray(
            np.reshape(each, shape), coords | {"query": list(chosen)}, (*runs, "query")
        )
    said = {
        what: {laws.attrs.get(what) if own is None else own for own in owns}
        for what, owns in (
            ("unit", [one.unit for one in chosen.values()]),
            ("better", [one.better for one in chosen.values()]),
        )
    }
    others = {"unit": "of several kinds", "better": ""}
    told = {what: one.pop() if len(one) == 1 else others[what] for what, one in said.items()}
    kept = laws.drop_vars(["base", "removed", "query"], errors="ignore")
    return kept.assign(found).assign_attrs(laws.attrs | told)


def _number(label: str, chosen: Functional, run: np.ndarray) -> float:
    with user_code(f"functional {label!r}"):
        value = chosen.function(run)
    if np.ndim(value) != 0 or np.iscomplexobj(value) or not np.isfinite(value):
        raise ValueError(
            f"functional {label!r} returned {short(value)} for the values of one run; return one "
            "finite number."
        )
    return float(value)


def _refuse_other_length(what: str, given: int, wanted: int) -> None:
    if given != wanted:
        raise ValueError(f"{given} {what} do not fit {wanted} queries")
