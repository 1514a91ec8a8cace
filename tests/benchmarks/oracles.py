"""What scores are held against: dense influence in float64, and how agreement is measured.

Nothing of `dtda_lib.attribution.registry` takes part, so that a mistake there shows.
"""

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.func import grad, jacrev, jvp, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network


def influence(network: Network, theta: Tensor, task: Task, damping: float) -> dict[str, Tensor]:
    """Dense influence `(train, query)` by curvature, "ggn" and "hessian", and "lowest".

    "lowest" is the smallest eigenvalue of the Hessian of the mean loss. Float64; cross-entropy.
    """
    theta, n = theta.double(), task.n_train
    x, query_x = task.train_x.double(), task.query_x.double()

    def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return -network(theta, x[None])[0].log_softmax(-1).gather(0, y[None])[0]

    def total(theta: Tensor) -> Tensor:
        return vmap(loss, in_dims=(None, 0, 0))(theta, x, task.train_y).mean()

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    train, query = gradients(theta, x, task.train_y), gradients(theta, query_x, task.query_y)
    slopes = jacrev(lambda t: network(t, x))(theta)  # (train, output, parameter)
    p = network(theta, x).softmax(-1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    ggn = torch.einsum("nap,nab,nbq->pq", slopes, inner, slopes) / n
    unit = torch.eye(len(theta), dtype=theta.dtype)
    hessian = vmap(lambda v: jvp(grad(total), (theta,), (v,))[1], chunk_size=256)(unit)
    found = {
        name: torch.linalg.solve(matrix + damping * unit, query.T).T @ train.T / n
        for name, matrix in (("ggn", ggn), ("hessian", hessian))
    }
    lowest = torch.linalg.eigvalsh((hessian + hessian.T) / 2)[0]
    return {name: one.T for name, one in found.items()} | {"lowest": lowest}


def t_interval(values: np.ndarray) -> dict[str, float]:
    """Mean over models with its 95 % t interval."""
    mean, n = float(values.mean()), len(values)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return {"estimate": mean, "low": mean - half, "high": mean + half}


def pearson(a: np.ndarray, b: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    a, b = (x - x.mean(axis=axis, keepdims=True) for x in (a, b))
    return (a * b).sum(axis=axis) / np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))


def against(scores: np.ndarray, oracle: np.ndarray, unit: bool) -> dict[str, dict]:
    """Agreement `(model, train, query)` with an oracle: over all pairs of a model, and by query."""
    ranks = [stats.rankdata(x, axis=1) for x in (scores, oracle)]
    found = {
        "pearson": t_interval(pearson(scores, oracle, (1, 2))),
        "pearson_by_query": t_interval(pearson(scores, oracle, 1).mean(axis=1)),
        "spearman_by_query": t_interval(pearson(*ranks, 1).mean(axis=1)),
    }
    if unit:
        error = np.linalg.norm(scores - oracle, axis=(1, 2)) / np.linalg.norm(oracle, axis=(1, 2))
        found["relative_error"] = t_interval(error)
    return found
