"""Predicted shifts of predictions, from trained parameters: influence functions and their kin.

For squared errors and one output, on networks so small that curvatures are written out, in
float64. Shifts are upon removal, in the unit of the targets, 1/N included. With J the
Jacobian of the N training outputs, e the residuals, C = J^T J / N + ridge (ridge = weight decay +
damping) and H = J C^-1 J^T / N:

* "if_ggn", `grad(m)^T C^-1 J_k^T e_k / N`: `influence_ggn` with the damping of
  `damping_by_training_time`; "if_ggn_raw" is without damping;
* "if_hessian", `influence_hessian`: the exact Hessian instead of J^T J / N;
* "rif", `influence_leverage`: "if_ggn" / (1 - H_kk);
* "joint": a whole group at once, (1 - H_S)^-1 e_S with the joint leverage H_S of the group. One
  Gauss-Newton step on the objective *without* the group; for linear least squares at the minimum it
  is exact for any group (ours, after Allen's PRESS and arXiv 2506.06656).
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import grad, vmap

from dtda_lib.attribution.damping import damping_by_training_time
from dtda_lib.attribution.influence import smallest_eigenvalue
from dtda_lib.attribution.leverage import leverage
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.attribution.unrolling import unrolled_shifts
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure, measure, query_prediction
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.training import train

from .laws import Laws, Removals, of_other_groups, predicted_laws

TOGETHER = 16  # models that are estimated at once; more gain nothing


def linearised(network: Network, theta: Tensor, task: Task, ridge: float) -> tuple[Tensor, Tensor]:
    """H `(train, train)` and the like with queries in front, `(query, train)`, see above."""

    def output(theta: Tensor, x: Tensor) -> Tensor:
        return network(theta, x[None])[0, 0]

    rows = vmap(grad(output), in_dims=(None, 0))
    train, query = rows(theta, task.train_x), rows(theta, task.query_x)  # (point, parameter)
    matrix = train.T @ train / task.n_train
    matrix.diagonal().add_(ridge)
    solved = torch.linalg.solve(matrix, train.T) / task.n_train
    return train @ solved, query @ solved


def joint_shifts(ridge: float, groups: Sequence[Sequence[int]]) -> Measure:
    """ "joint" shifts of each query's prediction, `(removal, query)`.

    Raises:
        ValueError: when used, another loss than the squared error, or several outputs.
    """

    @measure(dims=("removal", "query"), unit=query_prediction.unit)
    def joint_shifts(network: Network, theta: Tensor, task: Task) -> Tensor:
        if task.loss != "squared_error" or task.n_outputs != 1:
            raise ValueError(f"task {task.name!r}: squared errors and one output are needed.")
        hat, reach = linearised(network, theta, task, ridge)
        residual = network(theta, task.train_x)[:, 0].detach() - task.train_y
        shifts = []
        for group in map(list, groups):
            left = torch.eye(len(group), dtype=hat.dtype) - hat[group][:, group]
            shifts.append(reach[:, group] @ torch.linalg.solve(left, residual[group]))
        return torch.stack(shifts)

    return joint_shifts


def estimators(recipe: Recipe, n_train: int, groups: Sequence[Sequence[int]]) -> dict[str, Measure]:
    """What is estimated for each run, see above; and what the estimates rest on.

    Shifts of predictions `(estimator, train, query, output)`, "joint" for `groups`; "leverage" H_kk
    `(train,)` and "smallest", the smallest eigenvalue of the damped exact Hessian `()`: where it is
    negative, "if_hessian" is the answer of a saddle.
    """
    damping = damping_by_training_time(recipe, n_train)
    settings = {
        "if_ggn": ("influence_ggn", damping),
        "if_ggn_raw": ("influence_ggn", 0.0),
        "if_hessian": ("influence_hessian", damping),
        "rif": ("influence_leverage", damping),
    }
    found = {
        name: get_estimator(estimator, recipe, of="query_prediction", damping=extra)
        for name, (estimator, extra) in settings.items()
    }
    return found | {
        "joint": joint_shifts(recipe.weight_decay + damping, groups),
        "leverage": leverage(recipe, damping=damping),
        "smallest": smallest_eigenvalue(recipe, damping=damping),
    }


def estimated_shifts(
    task: Task,
    model: Model,
    recipe: Recipe,
    parameters: xr.DataArray,
    groups: Sequence[Sequence[int]],
) -> tuple[dict[str, xr.DataArray], xr.Dataset]:
    """Shifts by estimator, and what they rest on, of every run; float64.

    Args:
        task, model, recipe: What was trained, and how.
        parameters: Of the runs on all points, `(seed, parameter)`.
        groups: For "joint".

    Returns:
        Shifts `(seed, train, query)`, "joint" `(seed, removal, query)`; and a dataset with
        `leverage` `(seed, train)` and `smallest` `(seed,)`, see `estimators`.
    """
    network, task = Network.of(model), task.to(dtype=torch.float64)
    seeds, arrays = {"seed": parameters["seed"].values}, {}
    thetas = torch.from_numpy(parameters.transpose("seed", "parameter").values).double()
    for name, m in estimators(recipe, task.n_train, groups).items():
        with warnings.catch_warnings():  # of indefinite curvatures, which "smallest" reports
            warnings.simplefilter("ignore")
            one = partial(m.function, network, task=task)
            values = vmap(one, chunk_size=TOGETHER)(thetas).detach()
        array = xr.DataArray(values.numpy(), seeds, ("seed", *m.dims))
        if "estimator" in m.dims:  # the first of its labels, and the only output
            array = array.isel(estimator=0, output=0, drop=True)
        arrays[name] = array
    about = xr.Dataset({name: arrays.pop(name) for name in ("leverage", "smallest")})
    return arrays, about


# ---------------------------------------------------------------- laws out of banks


def collect(
    full: RunBank, retrained: RunBank, unrolled: UnrolledBank, removals: Removals
) -> tuple[Laws, xr.Dataset]:
    """All laws of predictions at the last checkpoint, and what estimates rest on.

    Beside the estimators above: "unrolling"; "ud_corrected", the same divided by 1 - H_kk; and
    "other_group", the control `of_other_groups` of unrolling. The second result is that of
    `estimated_shifts`.

    Args:
        full: Runs on all points, with "parameters".
        retrained: Nothing and each removal, with "query_prediction"; the same seeds.
        unrolled: Of "query_prediction", all points; the same seeds.
        removals: The groups.
    """
    predictions = _plain(retrained.dataset()["query_prediction"])
    base = predictions.isel(removal=0)
    after = predictions.isel(removal=slice(1, None))
    after = after.assign_coords(removal=np.arange(after.sizes["removal"]))
    theta = full.dataset()["parameters"].isel(removal=0, checkpoint=-1)
    shifts, about = estimated_shifts(full.task, full.model, full.recipe, theta, removals.groups)
    own = _plain(unrolled.dataset()["query_prediction"]).isel(removal=0)
    shifts = {"unrolling": own, "ud_corrected": own / (1 - about["leverage"])} | shifts
    predicted = predicted_laws(base, shifts, removals)
    other = of_other_groups(predicted.sel(estimator=["unrolling"]), removals)
    other = other.assign_coords(estimator=["other_group"])
    return Laws(base, after, xr.concat([predicted, other], "estimator", join="exact")), about


def _plain(values: xr.DataArray) -> xr.DataArray:
    """Last checkpoint, only output, no coordinate but the seed; float64."""
    values = values.isel(checkpoint=-1, output=0).astype(np.float64)
    return values.reset_coords(drop=True).drop_vars(set(values.coords) - {"seed"}, errors="ignore")


# ---------------------------------------------------------------- what unrolling costs


def unrolling_cost(
    task: Task,
    model: Model,
    recipe: Recipe,
    *,
    n_runs: int = 8,
    n_stacked: int = 256,
    epochs: int = 5,
) -> dict[str, float]:
    """Seconds a run, on one thread: training alone, training in a stack, unrolling all points.

    Of a training of `epochs` epochs, as all grow in proportion. "alone" trains one run, as a plain
    script does, "stacked" `n_stacked` runs at once, "unrolled" unrolls `n_runs` at once.
    """
    short, threads = replace(recipe, epochs=epochs, keep_last=1), torch.get_num_threads()

    def trained(first: int, runs: int) -> None:
        seeds = [seed for seed, _ in seed_pairs(first + runs)[first:]]
        weights = torch.ones(runs, task.n_train)
        train(task, model, short, seeds, seeds, weights, [query_prediction])

    def unroll(recipe: Recipe) -> None:
        unrolled_shifts(task, model, recipe, seed_pairs(n_runs), query_prediction)

    def timed(work: Callable[[], None], runs: int) -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) / runs

    torch.set_num_threads(1)
    try:
        trained(0, 1)  # whatever is made on the first call
        unroll(replace(short, epochs=1))
        return {
            "alone": timed(lambda: trained(0, 1), 1),
            "stacked": timed(lambda: trained(0, n_stacked), n_stacked),
            "unrolled": timed(lambda: unroll(short), n_runs),
        }
    finally:
        torch.set_num_threads(threads)
