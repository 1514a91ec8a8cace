"""Theorem 2 beyond a toy: larger networks, whose Hessian is only ever multiplied.

Lanczos steps give the pseudo-inverse of the objective's exact Hessian on the gradients of the
points that are followed, and its smallest eigenvalue; Gauss-Newton influence is solved in the dual.
Cost: one product with the Hessian of all training points for each Lanczos step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from dtda_lib.attribution.curvature import hessian_product, mean_loss
from dtda_lib.attribution.damping import training_time
from dtda_lib.attribution.eigenvalues import reciprocals
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.agreement import correlation
from dtda_lib.statistics.over_seeds import mean_interval

from .network import NULL, gradients, relative_slope

LANCZOS_STEPS = 150
LOOK_EVERY = 10  # Lanczos steps between looks at whether they are enough
EXACT = 1e-6
"""Residual of a solution, as a share of its right-hand side, at which Lanczos steps stop."""


class SmallConvNet(nn.Module):
    """Two strided tanh convolutions and a linear layer, for images of 28 x 28: 2,202 parameters.

    Smooth, as assumption A1 wants it, and without pooling.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5, stride=2), nn.Conv2d(4, 8, 5, stride=2)
        self.out = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv1(x))  # (B, 1, 28, 28) -> (B, 4, 12, 12)
        x = torch.tanh(self.conv2(x))  # (B, 4, 12, 12) -> (B, 8, 4, 4)
        return self.out(x.flatten(1))  # (B, 8, 4, 4) -> (B, 128) -> (B, 10)


# ---------------------------------------------------------------- Lanczos


def lanczos(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    n_steps: int = LANCZOS_STEPS,
    enough: Callable[[Tensor, float], bool] = lambda matrix, left: False,
) -> tuple[Tensor, Tensor, float]:
    """An orthonormal basis of the Krylov space of a symmetric matrix, and the matrix in it.

    Args:
        product: v `(parameter,)` -> the matrix times v.
        start: First vector `(parameter,)`, not 0.
        n_steps: Most products; it stops early where the space is exhausted.
        enough: Of the last two results so far: whether to stop.

    Returns:
        Basis `(step, parameter)`, tridiagonal matrix `(step, step)`, and the length of what the
        last product has outside the space, which bounds the error. Every vector is orthogonalised
        against all before it, twice, so that no eigenvalue appears again by rounding.
    """
    basis, inside, across = [start / start.norm()], [], []
    limit = min(n_steps, len(start))
    while True:
        turned = product(basis[-1])
        inside.append(turned @ basis[-1])
        known = torch.stack(basis)
        for _ in range(2):
            turned = turned - known.T @ (known @ turned)
        left, n = float(turned.norm()), len(basis)
        done = n == limit or left <= 1e-12 * float(torch.stack(inside).abs().max())
        if done or n % LOOK_EVERY == 0:
            matrix = torch.diag(torch.stack(inside))
            if across:
                beside = torch.stack(across)
                matrix = matrix + torch.diag(beside, 1) + torch.diag(beside, -1)
            if done or enough(matrix, left):
                return known, matrix, left
        across.append(turned.norm())
        basis.append(turned / turned.norm())


def pseudo_inverse_product(
    product: Callable[[Tensor], Tensor], rows: Tensor, threshold: float = NULL
) -> tuple[Tensor, float, float]:
    """The pseudo-inverse of a symmetric matrix times each row `(row, parameter)`.

    Returns:
        The products; the smallest eigenvalue that any Krylov space has seen, an upper bound of the
        matrix's own; and the largest residual of a solution over its right-hand side.
    """

    def first_column(matrix: Tensor) -> Tensor:
        """Of the pseudo-inverse of the matrix in the space."""
        values, vectors = torch.linalg.eigh(matrix)
        return vectors @ (reciprocals(values, threshold) * vectors[0])

    def enough(matrix: Tensor, left: float) -> bool:
        return left * abs(float(first_column(matrix)[-1])) < EXACT

    solved, smallest, residual = [], np.inf, 0.0
    for row in rows:
        basis, matrix, left = lanczos(product, row, enough=enough)
        inside = first_column(matrix)
        solved.append(row.norm() * inside @ basis)
        smallest = min(smallest, float(torch.linalg.eigvalsh(matrix)[0]))
        residual = max(residual, left * abs(float(inside[-1])))
    return torch.stack(solved), smallest, residual


# ---------------------------------------------------------------- networks


@dataclass(frozen=True)
class Larger:
    """A larger network: full-data runs, and their unrolled responses, with the same seeds."""

    name: str
    words: str
    trained: RunBank
    unrolled: UnrolledBank

    @property
    def n_parameters(self) -> int:
        """Of the network."""
        return self.unrolled.network.layout.n_parameters

    @property
    def folds(self) -> float:
        """Weight decay x sum of steps."""
        recipe = self.unrolled.recipe
        return recipe.weight_decay * training_time(recipe, self.unrolled.task.n_train)

    def values(self) -> xr.Dataset:
        """Numbers of each run at its end, `(seed,)`: correlations of unrolling with the influence
        functions `pinv` (Lanczos) and `ggn` (dual), `smallest` eigenvalue, `slope`, `residual` of
        the Lanczos solutions; `loss` over the queries. Trains what is missing."""
        bank, task = self.unrolled, self.unrolled.task.to(dtype=torch.float64)
        data = self.trained.dataset().isel(removal=0, checkpoint=-1, drop=True)
        responses = bank.dataset()["parameters"].isel(removal=0, checkpoint=-1, drop=True)
        found = [
            _of_run(bank, task, *(torch.from_numpy(a.values.astype(np.float64)) for a in pair))
            for pair in zip(data["parameters"], responses, strict=True)
        ]
        columns = {name: [one[name] for one in found] for name in found[0]}
        values = xr.Dataset({name: ("seed", np.array(each)) for name, each in columns.items()})
        return values.assign(loss=("seed", data["query_loss"].mean("query").values))


def _of_run(bank: UnrolledBank, task: Any, theta: Tensor, response: Tensor) -> dict[str, float]:
    """Of one run: theta `(parameter,)`, response `(train, parameter)`, float64."""
    network, l2, points = bank.network, bank.recipe.weight_decay, list(bank.points)
    train = gradients(network, theta, task, task.train_x, task.train_y)
    query = gradients(network, theta, task, task.query_x, task.query_y)
    loss = mean_loss(network, task, task.train_x, task.train_y)

    def product(vector: Tensor) -> Tensor:
        return hessian_product(loss, theta, vector[None])[0] + l2 * vector

    solved, smallest, residual = pseudo_inverse_product(product, train[points])
    gauss_newton = get_estimator("influence_ggn", bank.recipe)(network, theta, task)[0, points]
    unrolling = response @ query.T
    return {
        "pinv": _correlated(unrolling, solved @ query.T / task.n_train),
        "ggn": _correlated(unrolling, gauss_newton),
        "smallest": smallest,
        "slope": float(relative_slope(train, theta, l2)),
        "residual": residual,
    }


def _correlated(first: Tensor, second: Tensor) -> float:
    arrays = (
        xr.DataArray(values.double().numpy(), dims=("train", "query")) for values in (first, second)
    )
    return float(correlation(*arrays))


def size_table(networks: Sequence[Larger]) -> pd.DataFrame:
    """A row for each network: means over runs with 95 % t intervals.

    Columns `name, setting, parameters, folds, steps, n`, `estimate, low, high` of the correlation
    with the pseudo-inverse, `ggn` and `smallest` with their ends, and means of `slope, residual,
    loss`.
    """
    rows = []
    for one in networks:
        values, recipe = one.values(), one.unrolled.recipe
        row: dict[str, Any] = {"name": one.name, "setting": one.words, "n": values.sizes["seed"]}
        row |= {"parameters": one.n_parameters, "folds": one.folds}
        row |= {"steps": recipe.steps(one.unrolled.task.n_train)}
        row |= mean_interval(values["pinv"].values)
        for name in ("ggn", "smallest"):
            ends = mean_interval(values[name].values)
            row |= {
                name: ends["estimate"],
                f"{name}_low": ends["low"],
                f"{name}_high": ends["high"],
            }
        row |= {name: float(values[name].mean()) for name in ("slope", "residual", "loss")}
        rows.append(row)
    return pd.DataFrame(rows)
