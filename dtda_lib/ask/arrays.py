"""Laws and scores that you have already: retrained and attributed elsewhere, asked here.

Whoever has losses of retrained models, from any trainer, or scores of any library, puts them
through `as_laws` and `as_scores`; from there on they are what a bank of one's own gives:

* *laws*, a dataset with `base` `(seed, query)`, one run of the full data a seed, and `removed`
  `(seed, train, query)`, the same seeds without one point each, or `(seed, removal, query)` without
  groups, which `left_out` `(removal, train)` names;
* *scores* or shifts, `(seed, train, query)`.

Arrays say in their attributes how they are meant, and what reads them obeys: `sign` ("removal": the
change of the measurement when the point is left out; "adding": when it is added), `unit`, and of
laws `better` ("lower" for a loss, "higher" for an accuracy, "" for neither). Labels count wherever
there are any, positions only where there are none. Nothing is copied before it is computed with, so
that an array on disk stays there. Bad input is refused with a `ValueError` of one sentence.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from dtda_lib.names import listing, short, unknown
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.removal import Design
from dtda_lib.runs.trainer_bank import RETURNED, TrainerBank
from dtda_lib.statistics.over_seeds import average_checkpoints

from .functionals import Functional, OfQueries, of_all_queries
from .quality import remarks_after
from .refusals import randomness

SIGNS = {"removal": 1, "adding": -1}
"""What a positive value says rises the measurement -> its factor to a shift upon removal."""
BETTER = ("lower", "higher", "")
_NOT_STATED = "not stated"
_MANY = 100  # values of one sign that are hardly shifts

# ---------------------------------------------------------------- laws


def as_laws(
    base: ArrayLike | xr.DataArray | RunBank | TrainerBank,
    removed: ArrayLike | xr.DataArray | None = None,
    *,
    left_out: Sequence[Any] | np.ndarray | None = None,
    kept: Sequence[Any] | np.ndarray | None = None,
    of: str | Functional | OfQueries | Mapping[str, str | Functional | OfQueries] | None = None,
    unit: str | None = None,
    better: str | None = None,
    dims: Sequence[str] | None = None,
    drop_diverged: bool = False,
) -> xr.Dataset:
    """What retrained models measured, as laws to ask: of your own runs, or of a bank.

    Run s of `removed` must share its two seeds (initial weights, batch order) with run s of `base`.

    >>> import numpy as np
    >>> import dtda_lib as dt
    >>> rng = np.random.default_rng(0)
    >>> base = 1 + rng.normal(size=(12, 3))  # losses of 12 seeds on 3 queries
    >>> removed = base[:, None] + 0.1 * rng.normal(size=(12, 5, 3))  # without each of 5 points
    >>> removed[:, 2] += 0.5  # point 2 helps: without it, all losses rise
    >>> found = dt.reliable(dt.shifts(dt.as_laws(base, removed, unit="nats")))
    >>> found["train"].values[found["reliable"].all("query")].tolist()
    [2]

    Args:
        base: `(seed, query)`, measured with all training points; or a `RunBank` with removals,
            whose first measure is taken, averaged over the kept checkpoints of a run; or a
            `TrainerBank`, whose `of`, `unit` and `better` hold where none are given here.
        removed: `(seed, removal, query)`, measured without them. Labelled arrays may have their
            axes in any order, and the axis `train` in place of `removal`, if each removal is one
            point. Raw outputs have a further axis `output`, for `of`. Without the axis `query`, a
            run has measured one number.
        left_out: What each removal leaves out: one point each, or groups of points (by label), or
            a boolean mask `(removal, train)`, True = left out. None: labels of `train`, else
            removal r leaves out point r.
        kept: The same by what was trained on, True = kept; in place of `left_out`.
        of: A number for each run out of all its queries: a name in `functionals.FUNCTIONALS`, a
            function `(query,) -> float` or `(query, output) -> float`, or several by name. Each
            is then a query of the laws.
        unit: Of the values (of `of`, where given); None: what the attributes of `removed` say.
        better: Whether a good model has "lower" or "higher" values, or "" for neither; None: what
            the attributes of `removed` say, else "lower", as for a loss, and "" for a function of
            your own.
        dims: Names of the axes of `removed`, where it has none and another order than above; those
            of `base` are the same without the removals.
        drop_diverged: Leave seeds with values that are not finite out of both laws, and say so in
            the attribute `dropped`; if False, they are refused by name.

    Returns:
        `base` `(seed, query)` and `removed` `(seed, train, query)`, or with groups
        `(seed, removal, query)` and `left_out` `(removal, train)`; in the precision and, where
        nothing was changed, the memory of what was given.

    Raises:
        ValueError: axes, shapes or labels that do not fit or repeat; seeds that do not pair, or
            fewer than two; values that are not finite, not real, in half precision, or the same
            for all seeds; removals of nothing; attributes that contradict.

    Warns:
        UserWarning: two seeds have equal values throughout, as copies of one run have.
    """
    if isinstance(base, RunBank):
        return _of_bank(base)
    if isinstance(base, TrainerBank):
        return _of_trainer(base, of, unit, better)
    if removed is None:
        raise ValueError("as_laws: give the measurements without each removal as second argument.")
    base, removed = _named(base, removed, dims)
    attrs = _meaning(removed, unit, better)
    _refuse_numbers("as_laws", base, removed)
    base = _same_labels(base, removed)
    removed, members = _removals(removed, left_out, kept)
    base, removed, dropped = _finite_seeds(base, removed, drop_diverged)
    _refuse_copies(base, removed)
    laws = xr.Dataset({"base": _bare(base), "removed": _bare(removed)})
    if members is not None:
        laws["left_out"] = members
    return _asked(laws.assign_attrs(attrs | {"dropped": dropped}), of, unit, better)


def _meaning(removed: xr.DataArray, unit: str | None, better: str | None) -> dict[str, str]:
    """Unit and better values of laws, as stated or as the attributes of the array say."""
    said = dict(removed.attrs)
    attrs = {
        "unit": _stated("as_laws", "unit", unit, said, _NOT_STATED),
        "better": _stated("as_laws", "better", better, said, "lower"),
    }
    if attrs["better"] not in BETTER:
        raise ValueError(f"as_laws: better = {short(attrs['better'])} is none of {BETTER}.")
    _refuse_sign("as_laws", said)
    return attrs


def _asked(
    laws: xr.Dataset,
    of: str | Functional | OfQueries | Mapping[str, str | Functional | OfQueries] | None,
    unit: str | None,
    better: str | None,
) -> xr.Dataset:
    """The laws of each number of a run that `of` asks for; None: of each of its queries."""
    if of is not None:
        stated = {"unit": unit, "better": better}
        stated = {name: value for name, value in stated.items() if value is not None}
        return of_all_queries(laws, of).assign_attrs(stated)
    if "output" in laws.dims:
        raise ValueError(
            "as_laws: outputs of a query are several numbers; pass one function of them as `of`, "
            "such as functionals.accuracy(targets), or one output."
        )
    return laws


def shift_of_laws(laws: xr.Dataset) -> xr.DataArray:
    """`removed - base` in float64, `(seed, train or removal, query)`: a shift upon removal.

    Raises:
        ValueError: not the laws of `as_laws`.
    """
    require_laws(laws)
    shift = laws["removed"].astype(np.float64) - laws["base"].astype(np.float64)
    shift = shift.transpose(*laws["removed"].dims).rename("shift")
    return shift.drop_attrs().assign_attrs({"sign": "removal"} | laws.attrs)


def require_laws(laws: xr.Dataset) -> str:
    """The axis of the removals, "train" or "removal"; anything that is no laws is refused."""
    if not isinstance(laws, xr.Dataset) or not {"base", "removed"} <= set(laws.variables):
        raise ValueError(
            f"laws are what as_laws(base, removed) returns, not {type(laws).__name__}."
        )
    return axis_of_removals(laws["removed"])


def axis_of_removals(values: xr.DataArray | xr.Dataset) -> str:
    """ "removal", where groups of points were left out, and else "train"."""
    return "removal" if "removal" in values.dims else "train"


def better(measured: Measure) -> str:
    """Whether good models have "lower" or "higher" values of a measure; "" where nobody said."""
    known = {"query_loss": "lower", "query_margin": "higher", "query_probability": "higher"}
    return known.get(measured.name, "")


def _of_bank(bank: RunBank) -> xr.Dataset:
    """The laws of a bank, of its first measure; trains what is missing."""
    measure, design = bank.measures[0], bank.runs.design
    _refuse_fractions(design)
    data = bank.dataset()
    seeds = ("init_seed", "order_seed")
    values = data[measure.name].drop_vars([s for s in seeds if s in data.coords])
    mean = average_checkpoints(values, values.sizes["checkpoint"])
    base, removed = mean.isel(removal=0, drop=True), mean.isel(removal=slice(1, None))
    points = design.points[1:]
    base, removed = base.drop_vars("point", errors="ignore"), removed.drop_vars("point")
    if all(point >= 0 for point in points):
        removed = removed.drop_vars("removal").rename(removal="train")
        removed = removed.assign_coords(train=np.array(points))
    laws = xr.Dataset({"base": _bare(base), "removed": _bare(removed)})
    if "removal" in removed.dims:
        mask = (design.weights[1:] == 0).numpy()
        laws["left_out"] = (("removal", "train"), mask)
        laws = laws.assign_coords(train=np.arange(design.n_train))
    return laws.assign_attrs(
        unit=measure.unit,
        better=better(measure),
        dropped=data.attrs.get("dropped", ""),
        random=randomness(bank.model),
        remarks=remarks_after(bank, data[measure.name]),
    )


def _of_trainer(
    bank: TrainerBank,
    of: str | Functional | OfQueries | Mapping[str, str | Functional | OfQueries] | None,
    unit: str | None,
    better: str | None,
) -> xr.Dataset:
    """The laws of a trainer of one's own: those of its values as arrays; trains what is missing."""
    design = bank.runs.design
    _refuse_fractions(design)
    data = bank.dataset()
    values, points = data[RETURNED], design.points[1:]
    laws = as_laws(
        values.isel(removal=0, drop=True),
        values.isel(removal=slice(1, None)),
        left_out=points if min(points) >= 0 else (design.weights[1:] == 0).numpy(),
        of=bank.of if of is None else of,
        unit=bank.unit if unit is None else unit,
        better=bank.better if better is None else better,
    )
    return laws.assign_attrs(dropped=data.attrs.get("dropped", ""), random=bank.random)


def _refuse_fractions(design: Design) -> None:
    if ((design.weights != 0) & (design.weights != 1)).any():
        raise ValueError("as_laws: the bank weighs points down; laws know them left out or not.")


# ---------------------------------------------------------------- scores


def as_scores(
    values: ArrayLike | xr.DataArray,
    *,
    sign: str | None = None,
    unit: str | None = None,
    points: Sequence[Any] | None = None,
    queries: Sequence[Any] | None = None,
    dims: Sequence[str] | None = None,
) -> xr.DataArray:
    """Scores of any library, or shifts that were computed elsewhere, with what they mean.

    Args:
        values: `(seed, train, query)`, one model a seed, or `(train, query)`, a score without
            randomness. Labelled arrays may have their axes in any order. Kept as it is, on disk if
            it is there.
        sign: "removal", if a positive value says that the measurement rises when the point is left
            out (for a loss: the point helps), as this package's own; "adding", if it rises when
            the point is added. None: what the attributes say; one of both must.
        unit: Of the values: that of the measurement, if they are shifts of it; None: what the
            attributes say, else "none", and then their scale is not used.
        points, queries: Labels of these axes, where `values` has none; None: positions.
        dims: Names of the axes of `values`, where it has none and another order than above.

    Raises:
        ValueError: no sign, or one that the attributes contradict; axes, shapes or labels that do
            not fit or repeat; values that are not finite or not real; a single seed, or seeds that
            all agree.
    """
    array = _labelled(values, dims, (("seed", "train", "query"), ("train", "query")), "as_scores")
    extra = set(array.dims) - {"seed", "train", "query"}
    if extra or not {"train", "query"} <= set(array.dims):
        raise ValueError(
            f"as_scores: the axes are {_axes(array)}; name them seed, train and query, or train "
            "and query."
        )
    array = array.transpose(..., "train", "query")
    given = {"train": points, "query": queries}
    array = array.assign_coords(
        {dim: _labels("as_scores", array, dim, labels) for dim, labels in given.items()}
    )
    _refuse_repeated("as_scores", array)
    _refuse_numbers("as_scores", array, half=True)
    if bad := _not_finite(array, "seed" if "seed" in array.dims else "train"):
        raise ValueError(
            f"as_scores: values of {_where(array, bad)} are not finite; leave those models out."
        )
    if "seed" in array.dims:
        _refuse_fixed(array)
    said = dict(array.attrs)
    sign = _stated("as_scores", "sign", sign, said, "")
    if sign not in SIGNS:
        raise ValueError(
            f"as_scores: sign = {short(sign)}; say 'removal' if a positive value means that the "
            "measurement rises without the point, 'adding' if it rises with it."
        )
    unit = _stated("as_scores", "unit", unit, said, "none")
    return array.assign_attrs(sign=sign, unit=unit)


def upon_removal(values: xr.DataArray) -> xr.DataArray:
    """The same as shifts upon removal, whatever the attribute `sign` says that they are now.

    Raises:
        ValueError: no labelled array, or a sign of another name.
    """
    if not isinstance(values, xr.DataArray):
        raise ValueError(
            f"{type(values).__name__} has no named axes; put it through as_scores(values, "
            "sign='removal'), or losses through shifts(as_laws(base, removed))."
        )
    sign = values.attrs.get("sign", "removal")
    if sign not in SIGNS:
        raise ValueError(unknown("sign of a shift", sign, SIGNS))
    if SIGNS[sign] == 1:
        return values
    return (-values).assign_attrs(values.attrs | {"sign": "removal"})


def warn_of_losses(shift: xr.DataArray) -> None:
    """Warn where shifts look like losses: a hundred of them or more, and all above 0."""
    if shift.size >= _MANY and bool((shift > 0).all()):
        warnings.warn(
            f"all {shift.size:,} shifts are positive; if these are losses, put them through "
            "shifts(as_laws(base, removed)).",
            stacklevel=3,
        )


# ---------------------------------------------------------------- axes and labels


def _labelled(
    values: ArrayLike | xr.DataArray,
    dims: Sequence[str] | None,
    usual: Sequence[Sequence[str]],
    who: str,
) -> xr.DataArray:
    """With named axes: its own, `dims`, or the usual ones of that many."""
    if isinstance(values, xr.DataArray):
        if dims is not None and tuple(dims) != values.dims:
            raise ValueError(
                f"{who}: the axes are {_axes(values)}, not dims = {tuple(dims)}; leave dims out."
            )
        return values.reset_coords(drop=True)
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    names = dims or next((one for one in usual if len(one) == array.ndim), None)
    if names is None or len(names) != array.ndim or len(set(names)) < len(names):
        wanted = " or ".join(f"({', '.join(one)})" for one in usual)
        raise ValueError(
            f"{who}: an array of shape {array.shape} does not have the axes "
            f"{tuple(dims) if dims else wanted}; give `dims`, a name for each."
        )
    return xr.DataArray(array, dims=tuple(names))


def _named(
    base: ArrayLike | xr.DataArray, removed: ArrayLike | xr.DataArray, dims: Sequence[str] | None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Both with the axes seed, (train or removal), query and perhaps output, in this order."""
    axes = ("seed", "removal", "query", "output")
    removed = _labelled(removed, dims, (axes[:3], axes, axes[:2]), "as_laws")
    axis = axis_of_removals(removed)
    known = {"seed", axis, "query", "output"}
    if not {"seed", axis} <= set(removed.dims) <= known:
        raise ValueError(
            f"as_laws: the axes without removals are {_axes(removed)}; name them seed, removal "
            "(or train) and query, and raw outputs output."
        )
    rest = tuple(dim for dim in removed.dims if dim != axis)
    base = _labelled(base, None, (rest,), "as_laws")
    if set(base.dims) != set(rest):
        raise ValueError(
            f"as_laws: the axes of the full data are {_axes(base)}, where {rest} belong to those "
            f"without removals, {_axes(removed)}."
        )
    if "query" not in rest:
        base, removed = (one.expand_dims(query=["all"], axis=-1) for one in (base, removed))
    tail = [dim for dim in ("query", "output") if dim in removed.dims]
    base, removed = base.transpose("seed", *tail), removed.transpose("seed", axis, *tail)
    for dim in base.dims:
        if base.sizes[dim] != removed.sizes[dim]:
            what = "the seeds do not pair" if dim == "seed" else "they do not fit"
            raise ValueError(
                f"as_laws: {what}: the full data have {_axes(base)}, the removals {_axes(removed)}"
                "; measure the same runs on the same queries, or give `dims` if axes are swapped."
            )
    if removed.sizes["seed"] < 2:
        raise ValueError("as_laws: one seed is no law; retrain with two or more (16 find more).")
    for array in (base, removed):
        _refuse_repeated("as_laws", array)
    if not any("query" in array.indexes for array in (base, removed)):
        labels = np.arange(base.sizes["query"])
        base, removed = (array.assign_coords(query=labels) for array in (base, removed))
    return base, removed


def _same_labels(base: xr.DataArray, removed: xr.DataArray) -> xr.DataArray:
    """`base` in the order of the labels of `removed`; positions where neither has labels."""
    for dim in base.dims:
        has = [dim in array.indexes for array in (base, removed)]
        if has == [False, False]:
            continue
        if not all(has):
            raise ValueError(
                f"as_laws: the axis {dim!r} has labels in one of both arrays alone; label both."
            )
        ours, theirs = base.indexes[dim], removed.indexes[dim]
        if only := [*ours.difference(theirs), *theirs.difference(ours)]:
            pair = "the seeds do not pair" if dim == "seed" else f"the labels of {dim!r} differ"
            raise ValueError(
                f"as_laws: {pair}: {listing(only)} in one of both arrays alone; take the same "
                "ones of both."
            )
        if not ours.equals(theirs):
            base = base.sel({dim: theirs})
    return base


def _labels(who: str, array: xr.DataArray, dim: str, given: Sequence[Any] | None) -> np.ndarray:
    """Labels of an axis: its own, those given, or positions."""
    if given is None:
        return array.indexes[dim] if dim in array.indexes else np.arange(array.sizes[dim])
    if dim in array.indexes:
        raise ValueError(f"{who}: the axis {dim!r} is labelled already; leave its labels out.")
    if len(given) != array.sizes[dim]:
        raise ValueError(
            f"{who}: {len(given)} labels do not fit the axis {dim!r} of {array.sizes[dim]}."
        )
    return np.asarray(given)


def _refuse_repeated(who: str, array: xr.DataArray) -> None:
    for dim, index in array.indexes.items():
        if twice := list(index[index.duplicated()].unique()):
            raise ValueError(
                f"{who}: labels of the axis {dim!r} repeat ({listing(twice)}); give each its own."
            )


def _bare(array: xr.DataArray) -> xr.DataArray:
    """Without attributes, and without the copy that `drop_attrs` makes."""
    bare = array.copy(deep=False)
    bare.attrs = {}
    return bare


def _axes(array: xr.DataArray) -> str:
    """`(seed: 12, query: 3)`."""
    return f"({', '.join(f'{dim}: {size}' for dim, size in array.sizes.items())})"


# ---------------------------------------------------------------- removals


def _removals(
    removed: xr.DataArray, left_out: Sequence[Any] | None, kept: Sequence[Any] | None
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """`removed` along labelled points, or along groups with their mask `(removal, train)`."""
    axis, n = axis_of_removals(removed), removed.sizes[axis_of_removals(removed)]
    if left_out is not None and kept is not None:
        raise ValueError("as_laws: give what is left out or what is kept, not both.")
    if axis == "train" and (left_out is not None or kept is not None):
        raise ValueError(
            "as_laws: the axis 'train' says what is left out; call it 'removal' to say otherwise."
        )
    told = left_out if kept is None else kept
    if told is None:
        points = _labels("as_laws", removed, axis, None)
        return _by_point(removed, axis, points), None
    if len(told) != n:
        raise ValueError(f"as_laws: {len(told)} removals are named, but {n} were measured.")
    if kept is None and all(np.ndim(one) == 0 for one in told):
        points = np.asarray(told)
        if points.dtype == bool:
            raise ValueError("as_laws: a mask has the axes (removal, train); this one has one.")
        return _by_point(removed, axis, points), None
    mask, points = _mask(told)
    mask = ~mask if kept is not None else mask
    if bad := np.flatnonzero(~mask.any(axis=1) | mask.all(axis=1)).tolist():
        what = "nothing" if not mask[bad[0]].any() else "all points"
        raise ValueError(
            f"as_laws: removal {bad[0]} leaves out {what}; check what True means: `left_out=` or "
            "`kept=`."
        )
    if (mask.sum(axis=1) == 1).all():
        return _by_point(removed, axis, points[mask.argmax(axis=1)]), None
    labels = _labels("as_laws", removed, axis, None)
    members = xr.DataArray(mask, {"removal": labels, "train": points}, ("removal", "train"))
    return removed.assign_coords(removal=labels), members


def _by_point(removed: xr.DataArray, axis: str, points: np.ndarray) -> xr.DataArray:
    removed = removed.drop_vars(axis, errors="ignore")
    removed = removed.rename({axis: "train"}) if axis != "train" else removed
    removed = removed.assign_coords(train=points)
    _refuse_repeated("as_laws", removed)
    return removed


def _mask(told: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Boolean `(removal, train)` and labels of its points, from a mask or lists of labels."""
    if isinstance(told, xr.DataArray):
        told = told.transpose("removal", "train")
        points = _labels("as_laws", told, "train", None)
        told = told.values
    else:
        points = None
    if isinstance(told, np.ndarray) and told.dtype == bool and told.ndim == 2:
        return told, np.arange(told.shape[1]) if points is None else np.asarray(points)
    groups = [list(np.atleast_1d(one)) for one in told]
    if any(len(set(group)) < len(group) for group in groups):
        raise ValueError(
            "as_laws: a group holds a point twice; a mask (removal, train) has to be boolean."
        )
    points = np.array(sorted({point for group in groups for point in group}))
    return np.array([np.isin(points, group) for group in groups]), points


# ---------------------------------------------------------------- values


def _refuse_numbers(who: str, *arrays: xr.DataArray, half: bool = False) -> None:
    """Refuse what are no real numbers, and losses in half precision unless `half`."""
    for array in arrays:
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{who}: values are {array.dtype}; give real numbers.")
        if array.dtype == np.float16 and not half:
            raise ValueError(
                f"{who}: values are float16, whose three digits do not hold the difference of two "
                "losses; save them in float32 or float64."
            )
        if not array.size:
            raise ValueError(f"{who}: an axis is empty: {_axes(array)}.")


def _not_finite(array: xr.DataArray, dim: str) -> list[int]:
    """Positions along `dim` with a value that is not finite; one is in memory at a time."""
    each = (array.isel({dim: at}).values for at in range(array.sizes[dim]))
    return [at for at, values in enumerate(each) if not np.isfinite(values).all()]


def _finite_seeds(
    base: xr.DataArray, removed: xr.DataArray, drop: bool
) -> tuple[xr.DataArray, xr.DataArray, str]:
    """Both laws without seeds that diverged in either, and which these are."""
    bad = sorted({*_not_finite(base, "seed"), *_not_finite(removed, "seed")})
    if not bad:
        return base, removed, ""
    n = removed.sizes["seed"]
    said = f"{len(bad)} of {n} seeds ({_where(removed, bad)})"
    if not drop:
        raise ValueError(
            f"as_laws: {said} have values that are not finite; drop_diverged=True leaves them out "
            "of both laws."
        )
    if n - len(bad) < 2:
        raise ValueError(f"as_laws: {said} diverged, and no law is left; retrain more seeds.")
    kept = np.setdiff1d(np.arange(n), bad)
    return base.isel(seed=kept), removed.isel(seed=kept), said


def _where(array: xr.DataArray, positions: Sequence[int]) -> str:
    """Labels of seeds (or points) at these positions, or the positions where there are none."""
    dim = "seed" if "seed" in array.dims else "train"
    if dim in array.indexes:
        return f"{dim} {listing(array.indexes[dim][list(positions)].tolist())}"
    return f"{dim} at position {listing(list(positions))}"


def _refuse_copies(base: xr.DataArray, removed: xr.DataArray) -> None:
    """Refuse laws whose seeds are all alike; warn of two that are."""
    seen: dict[bytes, int] = {}
    alike = []
    for at in range(base.sizes["seed"]):
        run = base.isel(seed=at).values.tobytes()
        if run in seen and np.array_equal(*(removed.isel(seed=s).values for s in (seen[run], at))):
            alike.append((seen[run], at))
        seen.setdefault(run, at)
    if len(alike) == base.sizes["seed"] - 1:
        raise ValueError(
            "as_laws: all seeds have the same values, so they are copies of one run; draw initial "
            "weights and batch order anew for each seed."
        )
    # A count, such as an accuracy on ten queries, is often the same by chance.
    if alike and len(np.unique(base.values)) > base.size // 2:
        warnings.warn(
            f"as_laws: {_where(base, alike[0])} have equal values throughout; are they one run?",
            stacklevel=3,
        )


def _refuse_fixed(array: xr.DataArray) -> None:
    """Refuse an axis of seeds without randomness: one seed, or all alike."""
    n = array.sizes["seed"]
    first = array.isel(seed=0).values
    if all(np.array_equal(first, array.isel(seed=at).values) for at in range(1, n)):
        what = "one seed has" if n == 1 else f"all {n} seeds have the same values and"
        raise ValueError(
            f"as_scores: {what} no randomness to show; leave the axis out ((train, query)), and "
            "the answer is about this very score."
        )


def _stated(who: str, what: str, given: str | None, said: Mapping[str, Any], otherwise: str) -> str:
    """The argument or the attribute; both, if they agree."""
    attribute = said.get(what)
    if given is not None and attribute is not None and given != attribute:
        raise ValueError(
            f"{who}: {what} = {short(given)}, but the array's attribute says {short(attribute)}; "
            "correct the one that is wrong."
        )
    found = attribute if given is None else given
    return otherwise if found is None else found


def _refuse_sign(who: str, said: Mapping[str, Any]) -> None:
    if "sign" in said:
        raise ValueError(
            f"{who}: the array has the attribute sign = {short(said['sign'])}, so it holds shifts "
            "and no losses; shifts go through as_scores."
        )
