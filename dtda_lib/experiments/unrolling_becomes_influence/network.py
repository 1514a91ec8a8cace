"""Does unrolled differentiation of a network become its influence function as training goes on?

Numbers are of single runs, (train, query) pairs of each: the shift of a query's loss upon removal
of a training point, as unrolling predicts it, as influence functions do, and as retraining on the
same noise gives it. Training *lengths* are runs of their own, because a decaying schedule depends
on its end; at constant steps a shorter run is the beginning of a longer one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from dtda_lib.attribution.curvature import dense_gauss_newton, dense_hessian
from dtda_lib.attribution.damping import training_time
from dtda_lib.attribution.eigenvalues import reciprocals
from dtda_lib.attribution.gradients import per_example_gradients
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import SeedPair, paired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.statistics.agreement import correlation
from dtda_lib.statistics.over_seeds import mean_interval
from dtda_lib.study.banks import Trained

WEIGHT_DECAY, STRONG_DECAY = 0.01, 0.1
DAMPING = 0.1  # ten times the weight decay
BATCH = 25
_SGD = Recipe("sgd", lr=0.2, weight_decay=WEIGHT_DECAY, batch_size=BATCH, replacement=True)
RECIPES: dict[str, Recipe] = {
    "constant 0.05": replace(_SGD, lr=0.05),
    "constant 0.0125": replace(_SGD, lr=0.0125),
    "decaying": replace(_SGD, schedule="inverse"),
    "decaying, strong decay": replace(_SGD, schedule="inverse", weight_decay=STRONG_DECAY),
    "momentum": replace(_SGD, lr=0.02, momentum=0.9, schedule="inverse"),
    "Adam": replace(_SGD, optimiser="adam", lr=0.01, schedule="inverse"),
}
"""All our choice: i.i.d. batches of 25 as Theorem 2 wants them. Momentum has the effective rate
0.02 / (1 - 0.9) of "decaying"."""
OVER_TIME = ("constant 0.05", "constant 0.0125", "decaying")
INFLUENCES = ("if_hessian", "if_hessian_damped", "if_ggn")
THRESHOLDS = (1e-5, 1e-4, 1e-3, 1e-2)  # of the largest eigenvalue
PSEUDO = {threshold: f"if_pinv {threshold:g}" for threshold in THRESHOLDS}
"""Pseudo-inverse of the objective's exact Hessian by what counts as null; see `influence_pinv`."""
Found = Mapping[tuple[str, int], xr.Dataset]
"""`run_values` by (recipe, epochs)."""
STEP_SIZES = ("constant 0.0125", "constant 0.05")
"""The smaller and the larger constant step."""
QUANTITY = "unrolling, if_ggn"
SHARDS = 2  # of a bank: one for each of two workers


def banks(
    trained: Trained, points: Sequence[int], seeds: Sequence[SeedPair], title: str
) -> tuple[RunBank, UnrolledBank]:
    """Runs with and without each point, and the unrolled responses of the same full-data runs."""
    each, points = -(-len(seeds) // SHARDS), list(points)
    runs = paired(leave_one_out(trained.task.n_train, points), seeds)
    measures, chunk = ["query_loss", "parameters"], each * (len(points) + 1)
    retrained = trained.bank(runs, measures, f"leave-one-out, {title}", chunk=chunk)
    more = {"points": points, "chunk": min(4, each)}
    return retrained, trained.unrolled(seeds, "parameters", f"unrolled, {title}", **more)


def all_banks(
    task: Task,
    model: Model,
    lengths: Sequence[int],
    points: Sequence[int],
    seeds: Sequence[SeedPair],
    **machine: object,
) -> dict[tuple[str, int], tuple[RunBank, UnrolledBank]]:
    """`banks` by (recipe, epochs): recipes of `OVER_TIME` at every length, others at the last."""
    found = {}
    for name, recipe in RECIPES.items():
        for epochs in sorted(lengths) if name in OVER_TIME else [max(lengths)]:
            recipe = replace(recipe, epochs=epochs)
            trained = Trained(task=task, model=model, recipe=recipe, machine=machine)
            found[name, epochs] = banks(trained, points, seeds, f"{name}, {epochs} epochs")
    return found


def kinds(banks: Mapping[tuple[str, int], tuple[RunBank, UnrolledBank]]) -> dict[str, list]:
    """Banks of `all_banks` by name of their kind: one step of a run takes them equally long."""
    found: dict[str, list[RunBank]] = {}
    for pair in banks.values():
        for name, bank in zip(("leave-one-out", "unrolled"), pair, strict=True):
            optimiser = {"sgd": "SGD", "adam": "Adam"}[bank.recipe.optimiser]
            found.setdefault(f"{name}, {optimiser}", []).append(bank)
    return found


# ---------------------------------------------------------------- one length of training


def aligned(retrained: RunBank, unrolled: UnrolledBank) -> xr.Dataset:
    """What all methods say of the same pairs of the same runs, after the last epoch.

    Returns:
        Shifts upon removal, half squared target units: `unrolling` and `retrained` `(seed, train,
        query)`, `influence` `(seed, estimator, train, query)` of `INFLUENCES` and `PSEUDO`; by
        eigenvalue threshold, `span`
        `(seed, threshold)`, mean over queries of `|P grad m| / |grad m|` where P projects on
        eigenvectors of the Hessian of the data's loss beyond the threshold, and `null` `(seed,
        threshold)`, root mean square over pairs of the part of `grad(m) . r` from the others,
        divided by that of the whole; `smallest` eigenvalue of the objective's Hessian and `slope`,
        the norm of its gradient, `(seed,)`; `loss` `(seed,)`, mean over queries.
    """
    task, recipe = unrolled.task, unrolled.recipe
    data = retrained.dataset().isel(checkpoint=-1, drop=True)
    response = unrolled.dataset()["parameters"].isel(removal=0, checkpoint=-1, drop=True)
    shift = shift_upon_removal(data["query_loss"].astype(np.float64))
    theta = data["parameters"].isel(removal=0, drop=True)
    exact = task.to(dtype=torch.float64)
    points = list(unrolled.points)
    found = [
        _of_run(exact, unrolled.network, recipe.weight_decay, points, _tensor(at), _tensor(r))
        for at, r in zip(theta, response, strict=True)
    ]
    dims = {
        "unrolling": ("train", "query"),
        "influence": ("estimator", "train", "query"),
        **dict.fromkeys(("span", "null"), ("threshold",)),
        **dict.fromkeys(("smallest", "slope"), ()),
    }
    variables = {
        name: (("seed", *axes), np.stack([one[name] for one in found]))
        for name, axes in dims.items()
    }
    pairs = ("seed", "train", "query")
    variables["retrained"] = (pairs, shift.transpose(*pairs).values)
    loss = data["query_loss"].isel(removal=0).astype(np.float64).mean("query")
    variables["loss"] = (("seed",), loss.values)
    names = [*INFLUENCES, *PSEUDO.values()]
    coords = {"estimator": names, "train": points, "threshold": list(THRESHOLDS)}
    return xr.Dataset(variables, coords)


def _tensor(array: xr.DataArray) -> Tensor:
    return torch.from_numpy(array.values.astype(np.float64))


def _of_run(
    task: Task, network: Network, l2: float, points: list[int], theta: Tensor, response: Tensor
) -> dict[str, np.ndarray]:
    """Of one run: theta `(parameter,)`, response `(train, parameter)`, float64."""

    def gradients(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat(list(per_example_gradients(network, theta, task, x, y)))

    train = gradients(task.train_x, task.train_y)
    query = gradients(task.query_x, task.query_y)
    hessian = dense_hessian(network, theta, task)
    ridge = l2 * torch.eye(len(theta), dtype=theta.dtype)
    curvatures = (
        hessian + ridge,
        hessian + ridge * (1 + DAMPING / l2),
        dense_gauss_newton(network, theta, task) + ridge,
    )
    own = train[points]
    influence = [own @ torch.linalg.solve(c, query.T) / task.n_train for c in curvatures]
    values, vectors = torch.linalg.eigh(hessian)
    at_query, at_response = query @ vectors, response @ vectors  # (query|train, eigenvector)
    for threshold in PSEUDO:  # as `influence_pinv` does, whose eigenvectors are at hand here
        inverse = reciprocals(values + l2, threshold)
        influence.append((own @ vectors * inverse) @ at_query.T / task.n_train)
    whole = at_response @ at_query.T
    spans, nulls = [], []
    for threshold in THRESHOLDS:
        flat = values.abs() < threshold * values.abs().max()
        kept = at_query[:, ~flat].norm(dim=1) / at_query.norm(dim=1)
        outside = at_response[:, flat] @ at_query[:, flat].T
        spans.append(kept.mean())
        nulls.append(outside.norm() / whole.norm())
    return {
        "unrolling": whole.numpy(),
        "influence": torch.stack(influence).numpy(),
        "span": torch.stack(spans).numpy(),
        "null": torch.stack(nulls).numpy(),
        "smallest": (values[0] + l2).numpy(),
        "slope": (train.mean(0) + l2 * theta).norm().numpy(),
    }


# ---------------------------------------------------------------- over lengths of training


def run_values(data: xr.Dataset) -> xr.Dataset:
    """Numbers of each run, `(seed,)` each: correlations over (train, query) and the rest.

    "unrolling, if_ggn" and so on: of two predictions. "retrained, ...": of a prediction with the
    shift of this very run. "law, ...": with the mean shift of the *other* runs, so that a run's own
    noise cannot help it.
    """
    n = data.sizes["seed"]
    others = (data["retrained"].sum("seed") - data["retrained"]) / (n - 1)
    predictions = {"unrolling": data["unrolling"]}
    predictions |= {
        name: data["influence"].sel(estimator=name, drop=True)
        for name in data["estimator"].values.tolist()
    }
    targets = {"unrolling": data["unrolling"], "retrained": data["retrained"], "law": others}
    values = {
        f"{target}, {name}": correlation(against, prediction)
        for target, against in targets.items()
        for name, prediction in predictions.items()
        if target != name
    }
    for kind in ("span", "null"):
        for threshold in THRESHOLDS:
            values[f"{kind} {threshold:g}"] = data[kind].sel(threshold=threshold, drop=True)
    for name in ("smallest", "slope", "loss"):
        values[name] = data[name]
    return xr.Dataset(values)


def time_table(found: Found, n_train: int) -> pd.DataFrame:
    """Every number of `run_values` by recipe and length of training.

    Args:
        found: `run_values` by (recipe, epochs).
        n_train: Number of training points.

    Returns:
        Columns `recipe, epochs, steps, sum_of_steps, quantity, estimate, low, high`; means over
        runs with 95 % t intervals. Those of "law, ..." are approximate, as runs share targets.
    """
    rows = []
    for (name, epochs), values in found.items():
        recipe = replace(RECIPES[name], epochs=epochs)
        about = {"recipe": name, "epochs": epochs, "steps": recipe.steps(n_train)}
        about["sum_of_steps"] = training_time(recipe, n_train)
        rows += [
            about | {"quantity": quantity} | mean_interval(array.values)
            for quantity, array in values.items()
        ]
    return pd.DataFrame(rows)


def difference(
    found: Found, first: tuple[str, int, str], second: tuple[str, int, str]
) -> dict[str, float]:
    """Mean over runs of second less first, paired by seed: `(recipe, epochs, quantity)` each."""
    a, b = (found[(recipe, epochs)][name].values for recipe, epochs, name in (first, second))
    return mean_interval(b - a)


def late_rows(table: pd.DataFrame, quantity: str) -> dict[str, dict[str, Any]]:
    """Rows of `time_table` by recipe, at its longest training."""
    part = table[table["quantity"] == quantity]
    part = part[part["epochs"] == part["epochs"].max()]
    return {row["recipe"]: row for row in part.to_dict("records")}


def equal_time_table(found: Found) -> pd.DataFrame:
    """The smaller constant step against the larger one after the same sum of steps.

    At the same *number* of steps the smaller step has trained for less long, so that its size and
    the time of training cannot be told apart.

    Returns:
        One row for each pair of lengths of the same sum of steps, shortest first, and each
        correlation of unrolling with an influence function: `epochs` and `epochs_small` of the
        larger and the smaller step, `quantity`, means `at_large` and `at_small`, and `estimate,
        low, high` of the difference, small less large, paired by run. No rows where no two lengths
        match.
    """
    small, large = STEP_SIZES
    rows = []
    for recipe, epochs in sorted(found):
        ratio = RECIPES[large].lr / RECIPES[small].lr
        pair = (large, epochs), (small, round(epochs * ratio))
        if recipe != large or pair[1] not in found:
            continue
        for quantity in (f"unrolling, {name}" for name in INFLUENCES):
            means = [float(found[key][quantity].mean()) for key in pair]
            gap = difference(found, *((*key, quantity) for key in pair))
            about = {"epochs": epochs, "epochs_small": pair[1][1], "quantity": quantity}
            rows.append(about | {"at_large": means[0], "at_small": means[1]} | gap)
    columns = ["epochs", "epochs_small", "quantity", "at_large", "at_small"]
    return pd.DataFrame(rows, columns=[*columns, "estimate", "low", "high"])
