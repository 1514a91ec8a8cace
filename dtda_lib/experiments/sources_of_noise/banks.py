"""Where the noise of influence comes from: seeds, size of the data, size of the model.

Scores are arrays `(seed, train, query)` of the *same* pairs, whatever the task they come from:
training points are labelled by their ids (`train_id`), which nested tasks share. `noise_sources`
arranges what `variance` and `over_seeds` compute as tidy tables.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.task import Task
from dtda_lib.experiments.noise_vs_influence.tables import jackknife, late_mean, shares
from dtda_lib.models.networks import Model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import SeedPair, crossed_pairs, paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out, nothing
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.statistics.over_seeds import mean_and_sd
from dtda_lib.statistics.variance import (
    COMPONENTS,
    PAIR,
    crossed,
    init_minus_order,
    variance_shares,
)
from dtda_lib.study.methods import METHODS

# LiSSA as published is dear, and up to a constant it is grad-dot (claim R1), so its shares are
# grad-dot's.
ESTIMATED = ("grad_dot", "grad_cos", "ats_adam", "ats_sgd", "if_ggn")
LEVELS = ("sigma", "abs_mu", "snr")
SHARES = ("code", "t_fdr")
WEIGHTINGS = ("pooled", "equal")


# ---------------------------------------------------------------- the same pairs everywhere


def common_points(tasks: Mapping[int, Task], per_class: int) -> tuple[int, ...]:
    """Ids of the first `per_class` training points of each class of the smallest task.

    Raises:
        ValueError: another task lacks one of them (the tasks are not nested), the tasks differ in
            their queries, or a class has fewer points.
    """
    smallest = min(tasks.values(), key=lambda task: task.n_train)
    labels = smallest.train_y.tolist()
    found: list[int] = []
    for label in dict.fromkeys(labels):
        own = [n for n, y in zip(smallest.train_id, labels, strict=True) if y == label]
        if len(own) < per_class:
            raise ValueError(f"class {label} has {len(own)} points; {per_class} are asked for.")
        found += own[:per_class]
    for task in tasks.values():
        positions(task, found)
        if task.query_id != smallest.query_id:
            raise ValueError(f"tasks {smallest.name!r} and {task.name!r} differ in their queries.")
    return tuple(found)


def positions(task: Task, ids: Sequence[int]) -> list[int]:
    """Where the training points of these ids stand in the task.

    Raises:
        ValueError: the task lacks one of them.
    """
    place = {number: position for position, number in enumerate(task.train_id)}
    if absent := [number for number in ids if number not in place]:
        raise ValueError(f"task {task.name!r} has no training point of id {absent[0]}.")
    return [place[number] for number in ids]


def crossed_seeds(n_init: int, n_order: int) -> list[SeedPair]:
    """Every one of `n_init` initialisations (published seeds first) with every batch order."""
    inits = [init for init, _ in seed_pairs(n_init, "first")]
    return crossed_pairs(inits, [order for _, order in seed_pairs(n_order, "orders")])


def removal_bank(
    task: Task,
    model: Model,
    recipe: Recipe,
    ids: Sequence[int],
    seeds: Sequence[SeedPair],
    *,
    measures: Sequence[str | Measure] = ("query_loss",),
    **settings: object,
) -> RunBank:
    """Runs without each of the points of these ids, paired with runs on all points."""
    design = leave_one_out(task.n_train, positions(task, ids))
    return RunBank(task, model, recipe, paired(design, seeds), list(measures), **settings)


def estimator_bank(
    task: Task, model: Model, recipe: Recipe, seeds: Sequence[SeedPair], **settings: object
) -> RunBank:
    """Runs on all points, on which the estimators of `ESTIMATED` are taken."""
    names = dict.fromkeys(METHODS[name].variable for name in ESTIMATED)
    measures = [get_estimator(name, recipe) for name in names]
    return RunBank(task, model, recipe, paired(nothing(task.n_train), seeds), measures, **settings)


def removal_scores(bank: RunBank, ids: Sequence[int]) -> xr.DataArray:
    """Shifts of the query loss `(seed, train, query)`, mean of the late checkpoints, in nats."""
    shift = late_mean(shift_upon_removal(bank.dataset()["query_loss"]))
    return _labelled(shift, ids)


def estimated_scores(bank: RunBank, ids: Sequence[int]) -> dict[str, xr.DataArray]:
    """Scores `(seed, train, query)` of each estimator at these points, late checkpoints' mean."""
    data = bank.dataset().sel(removal="none", drop=True)
    chosen = positions(bank.task, ids)
    found = {}
    for name in ESTIMATED:
        method = METHODS[name]
        scores = data[method.variable].sel(estimator=method.entry, drop=True).isel(train=chosen)
        found[name] = _labelled(late_mean(scores), ids)
    return found


def _labelled(scores: xr.DataArray, ids: Sequence[int]) -> xr.DataArray:
    """Only the three axes, training points labelled by id."""
    scores = scores.transpose("seed", "train", "query").reset_coords(drop=True)
    return scores.assign_coords(train=list(ids))


# ---------------------------------------------------------------- initialisation against order


def component_table(
    scores: Mapping[tuple[int, str], xr.DataArray], n_init: int | Mapping[int, int]
) -> pd.DataFrame:
    """Share of the variance of training that each source makes up, by method.

    Args:
        scores: By (size, method): `(seed, train, query)`, seeds laid out by `crossed_seeds`.
        n_init: Number of initialisations, or that of each size.

    Returns:
        Columns `size, method, weighting, quantity, estimate, low, high`. Weighting "pooled" sums
        variances over pairs, so loud pairs weigh most; "equal" first divides each pair's scores by
        their standard deviation over all runs. Quantities: the three components of
        `variance.COMPONENTS` as shares, "init - order" (their difference), "init / order" (their
        ratio; infinite where order cannot be told from 0) and "signal" (mu^2 over the variance of
        one run). Intervals as in `variance.variance_shares`.
    """
    rows = []
    for (size, method), array in scores.items():
        n = n_init if isinstance(n_init, int) else n_init[size]
        for weighting in WEIGHTINGS:
            runs = crossed(array if weighting == "pooled" else _equal(array), n)
            about = {"size": size, "method": method, "weighting": weighting}
            rows += [about | row for row in _component_rows(runs)]
    return pd.DataFrame(rows)


def _component_rows(runs: xr.DataArray) -> list[dict[str, object]]:
    shares_of, against = variance_shares(runs, over=PAIR), init_minus_order(runs, over=PAIR)
    rows = [_row(name, shares_of.sel(component=name)) for name in COMPONENTS]
    for quantity, name in (("init - order", "difference"), ("init / order", "ratio")):
        rows.append(_row(quantity, against.sel(comparison=name)))
    renamed = {"signal": "estimate", "signal_low": "low", "signal_high": "high"}
    return [*rows, _row("signal", shares_of[list(renamed)].rename(renamed))]


def _row(quantity: str, found: xr.Dataset) -> dict[str, object]:
    return {"quantity": quantity} | {n: float(found[n]) for n in ("estimate", "low", "high")}


def _equal(scores: xr.DataArray) -> xr.DataArray:
    """Scores in units of each pair's standard deviation; pairs that never vary become 0."""
    _, sigma = mean_and_sd(scores)
    return (scores / sigma.where(sigma > 0)).fillna(0.0)


# ---------------------------------------------------------------- levels of noise and their change


def level_table(scores: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """Noise, influence and their ratio in each setting.

    Args:
        scores: By setting: `(seed, train, query)`, the same pairs and seeds in each.

    Returns:
        Columns `setting, quantity, estimate, low, high, n_pairs, n_seeds`. Quantities: "sigma" and
        "abs_mu" (nats, or the scores' unit) and "snr" = |mu| / sigma, geometric means over pairs
        (pairs of no noise or no mean at all are left out), with intervals made on the logarithm;
        "code" and "t_fdr", shares of significant pairs as in `noise.shares`, cut to 0..1. All are
        95 % jackknife intervals over seeds, NaN with two seeds.
    """
    rows = []
    for setting, array in scores.items():
        about = {"n_pairs": array[0].size, "n_seeds": array.sizes["seed"]}
        levels = np.exp(jackknife(array, log_levels))
        found = jackknife(array, shares).clip(0, 1)
        parts = [(q, levels.sel(quantity=q)) for q in LEVELS]
        parts += [(s, found.sel(statistic=s)) for s in SHARES]
        rows += [{"setting": setting} | _row(name, part) | about for name, part in parts]
    return pd.DataFrame(rows)


def step_table(scores: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """How sigma, |mu| and SNR change from each setting to every later one.

    Settings have the same pairs and the same seeds, so a jackknife step leaves a seed out of both
    at once. Columns `first, second, adjacent, quantity, estimate, low, high, n_seeds`: ratios
    second / first of the geometric means of `level_table`.
    """
    names = list(scores)
    rows = []
    for i, first in enumerate(names):
        for j, second in enumerate(names[i + 1 :], start=i + 1):
            both = xr.Dataset({"first": scores[first], "second": scores[second]})
            ratio = np.exp(jackknife(both, _log_change))
            about = {"first": first, "second": second, "adjacent": j == i + 1}
            n = {"n_seeds": scores[first].sizes["seed"]}
            rows += [about | _row(q, ratio.sel(quantity=q)) | n for q in LEVELS]
    return pd.DataFrame(rows)


def log_levels(scores: xr.DataArray) -> xr.DataArray:
    """Mean logarithm over pairs of sigma, |mu| and their ratio, `(quantity,)`."""
    mu, sigma = mean_and_sd(scores)
    sound = (sigma > 0) & (mu != 0)
    values = [np.log(part.where(sound)).mean(skipna=True) for part in (sigma, np.abs(mu))]
    parts = [*values, values[1] - values[0]]
    return xr.DataArray([float(part) for part in parts], {"quantity": list(LEVELS)}, ("quantity",))


def _log_change(both: xr.Dataset) -> xr.DataArray:
    return log_levels(both["second"]) - log_levels(both["first"])


def noise_floor(n_seeds: int) -> float:
    """Geometric mean of |mu| / sigma over Gaussian pairs without any influence.

    exp(E log |T|) / sqrt(n) with T ~ t_{n-1}: what an SNR estimated from n seeds shows at least.
    """
    df = n_seeds - 1
    log_t = special.digamma(0.5) - special.digamma(df / 2) + np.log(df)
    return float(np.exp(log_t / 2) / np.sqrt(n_seeds))


# ---------------------------------------------------------------- what was trained


def training_table(banks: Mapping[str, RunBank]) -> pd.DataFrame:
    """What was trained in each setting, and how well: is a model noisy, or just not trained?

    Columns: setting, `parameters` (trained), `points`, `steps` (of the optimiser), `runs`, `loss`
    (nats, mean over queries and seeds of the full-data runs after the last epoch), `loss_sd` (over
    seeds), `sure` (share of queries whose class gets a probability above one half).
    """
    rows = []
    for setting, bank in banks.items():
        loss = bank.dataset()["query_loss"].sel(removal="none").isel(checkpoint=-1)
        loss = loss.astype(np.float64)
        rows.append(
            {
                "setting": setting,
                "parameters": bank.network.layout.n_parameters,
                "points": bank.task.n_train,
                "steps": bank.recipe.steps(bank.task.n_train),
                "runs": len(bank.runs),
                "loss": float(loss.mean()),
                "loss_sd": float(loss.mean("query").std("seed", ddof=1)),
                "sure": float((loss < np.log(2)).mean()),
            }
        )
    return pd.DataFrame(rows)
