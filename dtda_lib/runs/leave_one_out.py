"""Leave-one-out laws under the three protocols that have been used.

`paired_scratch` retrains with the same two seeds with and without the point (our default);
`unpaired_scratch` retrains with fresh seeds for every point (published ViT code, run_vit_loo.py);
`continued` goes on from the trained model, which has seen the point (published CNN code,
run_cnn_loo.py:41-74).
"""

from collections.abc import Sequence
from dataclasses import replace

import xarray as xr

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model

from .bank import RunBank
from .measures import Measure
from .protocols import Runs, SeedPair, check_protocol, paired, unpaired
from .recipes import Recipe
from .removal import leave_one_out, nothing
from .shifts import shift_upon_removal


def leave_one_out_banks(
    task: Task,
    model: Model,
    recipe: Recipe,
    seeds: Sequence[SeedPair],
    protocol: str = "paired_scratch",
    *,
    measure: str | Measure = "query_loss",
    points: Sequence[int] | None = None,
    **bank_settings: object,
) -> list[RunBank]:
    """The banks that `shifts_of` reads, declared but not trained.

    Args:
        task, model, recipe, seeds: As for `RunBank` and `protocols.paired`.
        protocol: "paired_scratch", "unpaired_scratch" or "continued".
        measure: Name of the measurement, or a `Measure`.
        points: Training positions to leave out; None for all.
        bank_settings: Handed on to `RunBank` (workers, device, executor, chunk).

    Returns:
        One bank; under `continued` the base models and then one bank for each kept checkpoint.

    Raises:
        ValueError: unknown protocol.
    """
    check_protocol(protocol)
    design = leave_one_out(task.n_train, points)

    def bank(runs: Runs, recipe: Recipe, what: str = "") -> RunBank:
        title = f"{protocol}, {task.name}{what}"
        return RunBank(task, model, recipe, runs, [measure], title=title, **bank_settings)

    if protocol == "paired_scratch":
        return [bank(paired(design, seeds), recipe)]
    if protocol == "unpaired_scratch":
        return [bank(unpaired(design, seeds), recipe)]
    base = bank(paired(nothing(task.n_train), seeds), recipe, ", base models")
    runs = paired(design, seeds)
    return [
        base,
        *(bank(runs, _from_epoch(recipe, e), f", from epoch {e}") for e in recipe.checkpoints),
    ]


def shifts_of(banks: Sequence[RunBank]) -> xr.Dataset:
    """Shifts of a measurement upon removal of each point, from its banks; trains what is missing.

    Returns:
        `shift` `(seed, train, checkpoint, query)`, in the measure's unit; positive for a query
        loss means that the point helps. Under `continued` also `control`
        `(seed, checkpoint, query)`: the shift when training goes on with *nothing* left out, which
        is part of every `shift` there; `shift - control` is the effect of the point.

        With `drop_diverged` a seed of which a run diverged in any of the banks is missing, and the
        attribute `dropped` says which: all checkpoints tell of the same seeds.

    Raises:
        FloatingPointError: a run diverged, or with `drop_diverged` no seed is left.
    """
    data = [bank.dataset() for bank in banks]
    measured = [one[bank.measures[0].name] for one, bank in zip(data, banks)]
    measured = list(xr.align(*measured, join="inner", exclude=["removal", "checkpoint"]))
    if not measured[0].sizes["seed"]:
        raise FloatingPointError(
            f"{banks[0].title}: training diverged for every seed, at one checkpoint or another; "
            "lower the learning rate."
        )
    dropped = [one.attrs["dropped"] for one in data if one.attrs.get("dropped")]
    attrs = {"dropped": "; ".join(dict.fromkeys(dropped))} if dropped else {}
    if len(banks) == 1:
        return shift_upon_removal(measured[0]).to_dataset().assign_attrs(attrs)
    base = measured[0].isel(removal=0, drop=True)
    epochs = banks[0].recipe.checkpoints
    parts = [_continued(final, base, epoch) for final, epoch in zip(measured[1:], epochs)]
    return xr.concat(parts, "checkpoint").assign_attrs(attrs)


def _from_epoch(recipe: Recipe, epoch: int) -> Recipe:
    """As published: a full training more, with a fresh optimiser, from the model after `epoch`."""
    return replace(recipe, warm_epochs=epoch + 1, keep_last=1)


def _continued(measurement: xr.DataArray, base: xr.DataArray, epoch: int) -> xr.Dataset:
    """The last epoch of the continued runs against the base model they started from."""
    final = measurement.assign_coords(checkpoint=[epoch])
    start = base.sel(checkpoint=[epoch])
    shift = shift_upon_removal(final, start)
    seeds = ["init_seed", "order_seed"]  # the same on both sides; the axis `seed` stands for them
    control = final.isel(removal=0, drop=True).drop_vars(seeds) - start.drop_vars(seeds)
    return xr.Dataset({"shift": shift, "control": control})
