"""Predicted shifts of predictions, from trained parameters: influence functions and their kin.

Estimators of the library speak about query losses; `shift_of_prediction` turns that into the shift
of the prediction itself, for squared errors and one output. All shifts are upon removal, in the
unit of the targets, 1/N included.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import grad, vmap

from ..attribution import get_estimator
from ..attribution.curvature import gauss_newton_rows
from ..attribution.leverage import leverage
from ..measures import Measure
from ..models import Model, Network
from ..recipes import SCHEDULES, Recipe
from ..task import Task

FROM_PARAMETERS = {
    # name -> (estimator, its row, whether the damping of training time is added)
    "if_ggn": ("influence_ggn", 0, True),
    "if_ggn_raw": ("influence_ggn", 0, False),
    "if_hessian": ("influence_hessian", 0, True),
    "rif": ("influence_leverage", 0, True),
}


def training_time_damping(recipe: Recipe, n_train: int) -> float:
    """1 / (sum of learning rates): curvatures below it have not been followed to their minimum.

    Gradient descent of that length filters directions about as a ridge of that strength does; our
    choice, made before anything was compared. Unit: curvature.
    """
    total = recipe.steps(n_train)
    rates = [recipe.lr * SCHEDULES[recipe.schedule](step / total) for step in range(total)]
    return 1 / sum(rates)


def shift_of_prediction(
    estimator: Measure, network: Network, theta: Tensor, task: Task, row: int = 0
) -> Tensor:
    """Shift of each query's prediction `(train, query)` that an estimator of loss shifts implies.

    With targets 1 below the predictions the slope of half the squared error is that of the
    prediction; exact for estimators that are of first order in the query's loss.

    Raises:
        ValueError: another loss.
    """
    if task.loss != "squared_error" or task.n_outputs != 1:
        raise ValueError(
            f"task {task.name!r}: shifts of predictions need squared errors, 1 output."
        )
    with torch.no_grad():
        below = network(theta, task.query_x)[:, 0] - 1
    return estimator(network, theta, replace(task, query_y=below))[row]


def shift_of_groups(
    network: Network, theta: Tensor, task: Task, groups: Sequence[Sequence[int]], ridge: float
) -> Tensor:
    """Shift of each query's prediction upon removal of whole groups, `(removal, query)`.

    One Gauss-Newton step on the objective *without* the group: with J the Jacobian of training
    outputs, e the residuals and C = J^T J / N + ridge, the parameters move by `C^-1 J_S^T
    (1 - H_S)^-1 e_S / N`, H_S = J_S C^-1 J_S^T / N the joint leverage of the group. For one point
    that is the leverage-corrected influence "rif"; for linear least squares with that ridge, at the
    minimum, it is exact for any group (ours, after Allen's PRESS and arXiv 2506.06656).
    """
    n = task.n_train

    def output(theta: Tensor, x: Tensor) -> Tensor:
        return network(theta, x[None])[0, 0]

    train = gauss_newton_rows(network, theta, task, task.train_x)[:, 0]  # (train, parameter)
    query = vmap(grad(output), in_dims=(None, 0))(theta, task.query_x)  # (query, parameter)
    with torch.no_grad():
        residual = network(theta, task.train_x)[:, 0] - task.train_y
        curvature = train.T @ train / n
        curvature.diagonal().add_(ridge)
        solved = torch.linalg.solve(curvature, train.T)  # C^-1 J^T, (parameter, train)
        hat, reach = train @ solved / n, query @ solved / n  # (train, train), (query, train)
        shifts = []
        for group in groups:
            own = list(group)
            left = torch.eye(len(own), dtype=theta.dtype) - hat[own][:, own]
            shifts.append(reach[:, own] @ torch.linalg.solve(left, residual[own]))
    return torch.stack(shifts)


def estimated_shifts(
    task: Task,
    model: Model,
    recipe: Recipe,
    parameters: xr.DataArray,
    groups: Sequence[Sequence[int]],
) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    """Shifts by estimator, and each point's leverage `(seed, train)`, of every run; float64.

    Args:
        task, model, recipe: What was trained, and how.
        parameters: Of the runs on all points, `(seed, parameter)`.
        groups: For "joint", whose shifts are `(seed, removal, query)`; the other shifts are
            `(seed, train, query)`.
    """
    network, task = Network.of(model), task.to(dtype=torch.float64)
    damping = training_time_damping(recipe, task.n_train)
    chosen = {
        name: (get_estimator(kind, recipe, damping=damping if damped else 0.0), row)
        for name, (kind, row, damped) in FROM_PARAMETERS.items()
    }
    own_leverage = leverage(recipe, damping=damping)
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*chosen, "joint", "leverage")}
    for values in parameters.transpose("seed", "parameter").values:
        theta = torch.from_numpy(values).double()
        for name, (estimator, row) in chosen.items():
            shift = shift_of_prediction(estimator, network, theta, task, row)
            found[name].append(shift.detach().numpy())
        ridge = recipe.weight_decay + damping
        found["joint"].append(shift_of_groups(network, theta, task, groups, ridge).numpy())
        found["leverage"].append(own_leverage(network, theta, task).detach().numpy())
    dims = dict.fromkeys(chosen, ("seed", "train", "query"))
    dims |= {"joint": ("seed", "removal", "query"), "leverage": ("seed", "train")}
    arrays = {
        name: xr.DataArray(np.stack(values), {"seed": parameters["seed"].values}, dims[name])
        for name, values in found.items()
    }
    return {name: array for name, array in arrays.items() if name != "leverage"}, arrays["leverage"]
