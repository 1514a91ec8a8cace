"""What is done with banks: their cost beforehand, shifts upon removal afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr

from .progress import readable_seconds

if TYPE_CHECKING:
    from .bank import RunBank


def plan(banks: Sequence[RunBank]) -> float:
    """Print what each bank will cost before anything trains; returns the seconds in all."""
    total = 0.0
    for bank in banks:
        estimate = bank.estimate()
        total += estimate.seconds
        print(f"cost {bank.title}: {estimate}")
    print(f"cost in all: about {readable_seconds(total)}" if total else "cost in all: no training")
    return total


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
