"""Laws after a removal, predicted from runs on all data: influence functions and unrolling.

Four methods: "if_ggn" (Gauss-Newton curvature and the recipe's weight decay), "if_damped" (the same
with `damping_by_training_time`), "rif" (corrected for leverage) and "unrolling" (the derivative of
each training itself). Measurements are a scalar prediction or a margin.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.leverage import leverage
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import SeedPair, paired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_groups_out, leave_one_out, nothing
from dtda_lib.statistics.distributions import shifted_samples
from dtda_lib.study.methods import METHODS

from .line import plain

ESTIMATED = ("if_ggn", "if_damped", "rif")
"""Methods of a bank from `estimator_bank`."""

# ---------------------------------------------------------------- banks


def removal_bank(
    task: Task,
    model: Model,
    recipe: Recipe,
    seeds: Sequence[SeedPair],
    measurement: str,
    groups: Sequence[Sequence[int]] | None = None,
    **settings: object,
) -> RunBank:
    """Runs with and without every training point or each of `groups`: paired_scratch."""
    n = task.n_train
    design = leave_one_out(n) if groups is None else leave_groups_out(n, groups)
    return RunBank(task, model, recipe, paired(design, seeds), [measurement], **settings)


def estimator_bank(
    task: Task,
    model: Model,
    recipe: Recipe,
    seeds: Sequence[SeedPair],
    measurement: str,
    **settings: object,
) -> RunBank:
    """Full-data runs with the measurement, its influence functions and the leverage of points."""
    damping = damping_by_training_time(recipe, task.n_train)
    damped = get_estimator("influence_ggn", recipe, of=measurement, damping=damping)
    measures = [
        measurement,
        get_estimator("influence_ggn", recipe, of=measurement),
        replace(damped, name=METHODS["if_damped"].variable),
        get_estimator("influence_leverage", recipe, of=measurement),
        leverage(recipe),
    ]
    return RunBank(task, model, recipe, paired(nothing(task.n_train), seeds), measures, **settings)


def predicted_laws(estimates: RunBank, unrolled: UnrolledBank) -> dict[str, xr.DataArray]:
    """Method -> predicted law `(seed, removal, query)` of each point's removal, "none" first.

    `unrolled` holds the first seeds of `estimates`, and measures the same.
    """
    base = base_law(estimates)
    laws = {
        method: predicted_law(base, shift) for method, shift in influence_shifts(estimates).items()
    }
    shift = unrolled_shift(unrolled)
    few = base.isel(seed=slice(0, shift.sizes["seed"]))
    return {**laws, "unrolling": predicted_law(few, shift)}


def base_law(bank: RunBank) -> xr.DataArray:
    """The measurement of full-data runs, `(seed, query)`."""
    return _last(bank, bank.measures[0].name)


def influence_shifts(estimates: RunBank) -> dict[str, xr.DataArray]:
    """Method -> predicted shift `(seed, train, query)` of the bank's measurement."""
    return {
        name: _last(estimates, method.variable).sel(estimator=method.entry, drop=True)
        for name, method in ((name, METHODS[name]) for name in ESTIMATED)
    }


def unrolled_shift(unrolled: UnrolledBank) -> xr.DataArray:
    """Predicted shift `(seed, train, query)` of the measurement."""
    return _last(unrolled, unrolled.measures[0].name)


def leverages(estimates: RunBank) -> np.ndarray:
    """Mean leverage over runs of each training point, `(train,)`."""
    return _last(estimates, "leverage").mean("seed").values


def _last(bank: RunBank, name: str) -> xr.DataArray:
    found = bank.dataset()[name].isel(removal=0, checkpoint=-1, drop=True).astype(np.float64)
    return plain(found.isel(output=0, drop=True) if "output" in found.dims else found)


# ---------------------------------------------------------------- laws


def predicted_law(
    base: xr.DataArray, shift: xr.DataArray, groups: Sequence[Sequence[int]] | None = None
) -> xr.DataArray:
    """The law that predicted shifts give (Algorithm 1 of 2506.12965), with "none" in front.

    `base (seed, query)` are runs on all data, `shift (seed, train, query)` of the same seeds.
    """
    after = shifted_samples(base, shift, groups).drop_vars("point")
    before = base.expand_dims(removal=["none"], axis=1)
    return xr.concat([before, after], "removal", join="exact")
