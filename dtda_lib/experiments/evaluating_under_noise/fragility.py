"""How far a run moves when a point is taken away and its seed stays fixed (C13)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import Runs, paired, seed_pairs
from dtda_lib.runs.removal import Design, leave_one_out, nothing
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.statistics.over_seeds import jackknife
from dtda_lib.study.tables import numbers

from .estimands import estimand_table
from .setting import DAMPING, Setting, at_points, axes, last_losses, seeds

INTERVENTIONS = {
    "masked": "same batches, point masked",
    "re-shuffled": "same start, point masked, batches drawn anew",
    "smaller data": "same start, point deleted, so batches differ",
    "batches alone": "same start, no point removed, batches drawn anew",
}


def at_rate(setting: Setting, rate: float) -> Setting:
    """The setting with another learning rate."""
    return replace(setting, recipe=replace(setting.recipe, lr=rate))


def fragility_banks(
    setting: Setting, rates: Sequence[float], points: Sequence[int], n_seeds: int
) -> dict[float, RunBank]:
    """One bank for each learning rate: runs without each point, paired, then with new batches.

    Removals: "none" and each point with the batches of the seed; then the same once more, each with
    a batch order of its own ("again" in the label), from the same start.
    """
    once = leave_one_out(setting.task.n_train, points)
    labels = (*once.labels, *(f"{label} again" for label in once.labels))
    design = Design(once.weights.repeat(2, 1), labels, once.points * 2)
    same = paired(design, seeds(n_seeds, "models"))
    fresh = np.array([order for _, order in seed_pairs(n_seeds * len(once), "re-shuffled")])
    orders = same.order_seeds.copy()
    orders[:, len(once) :] = fresh.reshape(n_seeds, len(once))
    runs = Runs(design, same.init_seeds, orders)
    measures = ["query_loss", "query_prediction", "parameters"]
    return {
        rate: at_rate(setting, rate).bank(runs, measures, f"rate {rate:g}, fragility")
        for rate in rates
    }


def masked_shifts(bank: RunBank) -> xr.DataArray:
    """Paired shifts `(seed, train, query)` of a bank of `fragility_banks`."""
    loss = last_losses(bank)
    once = slice(0, loss.sizes["removal"] // 2)
    return axes(shift_upon_removal(loss.isel(removal=once)))


def smaller_banks(setting: Setting, points: Sequence[int], n_seeds: int) -> list[RunBank]:
    """Runs of the same seeds on data that lack a point altogether, a bank for each point.

    Each epoch shuffles N - 1 points, so every batch differs although the seed is the same, and the
    last batch of an epoch is one point smaller.
    """
    runs = paired(nothing(setting.task.n_train - 1), seeds(n_seeds, "models"))
    measures = ["query_prediction", "parameters"]
    return [
        replace(setting, task=without(setting.task, point)).bank(
            runs, measures, f"without point {point}"
        )
        for point in points
    ]


def without(task: Task, point: int) -> Task:
    """The task with one training point deleted, not masked.

    Raises:
        ValueError: no such point.
    """
    if not 0 <= point < task.n_train:
        raise ValueError(
            f"there is no training point {point}; positions are 0 to {task.n_train - 1}."
        )
    kept = [n for n in range(task.n_train) if n != point]
    return replace(
        task,
        name=f"{task.name} without {point}",
        train_x=task.train_x[kept],
        train_y=task.train_y[kept],
        train_id=tuple(task.train_id[n] for n in kept),
    )


def relative_distance(base: np.ndarray, moved: np.ndarray) -> dict[str, float]:
    """Distance of a run to itself after an intervention, over the distance between two seeds.

    Args:
        base: `(seed, coordinate)`, full-data runs of different seeds.
        moved: `(seed, removal, coordinate)`, the same seeds after each intervention.

    Returns:
        `estimate` = root mean square distance of a run to itself, moved, over the root mean square
        distance between the full-data runs of two seeds: 0 if nothing moves, 1 if the seed is as
        good as forgotten. `low`, `high`: jackknife over seeds, on the logarithm.
    """
    base, moved = np.asarray(base, dtype=np.float64), np.asarray(moved, dtype=np.float64)
    if len(base) != len(moved) or len(base) < 4:
        raise ValueError(f"{len(base)} and {len(moved)} seeds: at least four, and the same.")
    own = ((moved - base[:, None]) ** 2).sum(axis=2).mean(axis=1)  # (seed,)

    def log_ratio(kept: np.ndarray) -> float:
        # The mean square distance between two seeds is twice the ddof-1 variance.
        between = 2 * base[kept].var(axis=0, ddof=1).sum()
        return float(0.5 * np.log(own[kept].mean() / between))

    return numbers(np.exp(jackknife(log_ratio, len(base))))


def fragility_table(
    banks: Mapping[float, RunBank], smaller: Sequence[RunBank], rate: float
) -> pd.DataFrame:
    """How far a run moves under each of `INTERVENTIONS`, in parameters and in predictions.

    Args:
        banks: From `fragility_banks`.
        smaller: From `smaller_banks`, at the learning rate `rate`, same seeds.

    Returns:
        Columns `rate, space, intervention, estimate, low, high, n_seeds, n_points`.
    """
    rows = []
    for space, variable in (("parameters", "parameters"), ("predictions", "query_prediction")):
        for at, bank in banks.items():
            runs = _flat(bank, variable)  # (seed, removal, coordinate)
            same, fresh = np.split(runs, 2, axis=1)
            cases = {
                "masked": same[:, 1:],
                "re-shuffled": fresh[:, 1:],
                "batches alone": fresh[:, :1],
            }
            if at == rate and smaller:
                deleted = [_flat(one, variable)[:, 0] for one in smaller]
                cases["smaller data"] = np.stack(deleted, axis=1)
            for name, after in cases.items():
                n = {"n_seeds": len(runs), "n_points": after.shape[1]}
                about = {"rate": at, "space": space, "intervention": name}
                rows.append(about | relative_distance(same[:, 0], after) | n)
    return pd.DataFrame(rows)


def _flat(bank: RunBank, variable: str) -> np.ndarray:
    """`(seed, removal, coordinate)` after the last epoch."""
    values = bank.dataset()[variable].isel(checkpoint=-1).values
    return values.reshape(*values.shape[:2], -1).astype(np.float64)


def rate_predictions(
    setting: Setting, rates: Sequence[float], n_seeds: int
) -> dict[float, RunBank]:
    """The full-data models at each learning rate, with damped influence."""
    runs, banks = paired(nothing(setting.task.n_train), seeds(n_seeds, "models")), {}
    for rate in rates:
        there = at_rate(setting, rate)
        damped = get_estimator("influence_ggn", there.recipe, damping=DAMPING)
        banks[rate] = there.bank(runs, [damped], f"rate {rate:g}, influence")
    return banks


def rate_targets(
    banks: Mapping[float, RunBank], models: Mapping[float, RunBank], points: Sequence[int]
) -> pd.DataFrame:
    """`estimand_table` of damped influence at each learning rate, with a column `rate`."""
    tables = []
    for rate, bank in banks.items():
        data = models[rate].dataset()["influence_ggn"].isel(removal=0, checkpoint=-1, estimator=0)
        scores = axes(data.drop_vars("removal").astype(np.float64))
        found = estimand_table(masked_shifts(bank), at_points({"if_damped": scores}, points))
        tables.append(found.assign(rate=rate))
    return pd.concat(tables, ignore_index=True)
