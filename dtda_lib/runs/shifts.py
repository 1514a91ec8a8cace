"""What is done with banks: their cost beforehand, shifts upon removal afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from .progress import readable_seconds
from .shards import Estimate

if TYPE_CHECKING:
    from .bank import RunBank


def print_costs(banks: Sequence[RunBank], total_of: str = "in all") -> float:
    """Print what each bank will cost before anything trains; returns the seconds in all.

    `total_of` says what the total is of, where these are not all banks of a study.
    """
    total = 0.0
    for bank in banks:
        estimate = bank.estimate()
        total += estimate.seconds
        print(f"cost {bank.title}: {estimate}")
    _print_total(total, total_of)
    return total


def print_costs_by_kind(kinds: Mapping[str, Sequence[RunBank]], total_of: str = "in all") -> float:
    """As `print_costs`, a line for each kind of banks; of a kind, only the largest is timed.

    Args:
        kinds: Banks by name of their kind. Those of a kind must take equally long for a step of a
            run; the time of the one with most to train is scaled by runs * steps.
        total_of: As for `print_costs`.
    """
    total = 0.0
    for name, banks in kinds.items():
        missing = [sum(shard.runs for shard in bank.missing()) for bank in banks]
        steps = [bank.recipe.steps(bank.task.n_train) for bank in banks]
        work = [runs * each for runs, each in zip(missing, steps)]
        seconds = 0.0
        if any(work):
            largest = max(range(len(banks)), key=work.__getitem__)
            seconds = banks[largest].estimate().seconds * sum(work) / work[largest]
        runs = sum(len(bank.runs) for bank in banks)
        estimate = Estimate(runs, sum(missing), seconds, banks[0].workers)
        total += seconds
        print(f"cost {name}, {len(banks)} bank{'s' * (len(banks) > 1)}: {estimate}")
    _print_total(total, total_of)
    return total


def _print_total(seconds: float, total_of: str) -> None:
    told = f"about {readable_seconds(seconds)}" if seconds else "no training"
    print(f"cost {total_of}: {told}")


def shift_upon_removal(measurement: xr.DataArray, base: xr.DataArray | None = None) -> xr.DataArray:
    """`m(theta(D \\ S)) - m(theta(D))`: with m = query loss, positive = the point helps.

    Args:
        measurement: Axes include `removal`, whose first entry is "none".
        base: What to subtract instead of the entry "none"; same axes without `removal`.

    Returns:
        The same axes with `removal` less "none"; if each removal is one point, the axis is called
        `train` and its coordinate is the point's position.
    """
    if "removal" not in measurement.dims or measurement["removal"].values[0] != "none":
        raise ValueError("shift: the first removal must be 'none', the law to compare with.")
    base = measurement.isel(removal=0, drop=True) if base is None else base
    drop = [name for name in ("init_seed", "order_seed") if name in measurement.coords]
    shift = measurement.drop_vars(drop).isel(removal=slice(1, None)) - base.drop_vars(
        [name for name in drop if name in base.coords]
    )
    points = shift["point"].values
    if len(points) and (points >= 0).all():
        shift = shift.drop_vars(["removal", "point"]).rename(removal="train")
        shift = shift.assign_coords(train=points)
    return shift.rename("shift")


def shift_per_fraction(
    measurement: xr.DataArray, points: Sequence[int], fractions: Sequence[float]
) -> xr.DataArray:
    """Shifts of a `removal.down_weighted` design divided by the fraction of weight taken away.

    Args:
        measurement: Axes include `removal`, laid out by `down_weighted(..., points, fractions)`.
        points, fractions: As given to it.

    Returns:
        `removal` replaced by `fraction` and `train`, in the unit of the measurement per whole
        point, so that fraction 1 is the shift upon removal.

    Raises:
        ValueError: the number of removals is not 1 + points * fractions.
    """
    shift = shift_upon_removal(measurement)
    if shift.sizes.get("removal") != len(points) * len(fractions):
        raise ValueError(
            f"shift: {shift.sizes.get('removal', 0)} removals are not {len(fractions)} fractions "
            f"of {len(points)} points; give those of the design."
        )
    grid = pd.MultiIndex.from_product([fractions, points], names=["fraction", "train"])
    coords = xr.Coordinates.from_pandas_multiindex(grid, "removal")
    unfolded = shift.drop_vars(["removal", "point"]).assign_coords(coords).unstack("removal")
    return unfolded / unfolded["fraction"]
