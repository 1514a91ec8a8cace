"""Scores of training points for one question only: the *mean* loss over all query points.

Data pruning asks nothing else, and one question needs one inverse-curvature product, whatever the
number of points and queries: `(1/N) grad L(queries)^T C^-1 grad loss_k` for all k costs one solve,
by Lanczos steps, and one gradient per training point. Nothing of size train * query or
train * parameter is ever held, so that all of CIFAR-10 can be scored.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap

from dtda_lib.attribution.curvature import loss_curvature_root, mean_loss
from dtda_lib.attribution.gradients import per_example_gradients
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.names import unknown
from dtda_lib.runs.measures import Measure, measure
from dtda_lib.runs.recipes import Recipe

PRODUCT_CHUNK = 256  # examples whose activations are held during a product with the curvature


def mean_query_shifts(
    recipe: Recipe, *, dampings: tuple[float, ...] = (0.1, 1.0), steps: int = 32
) -> Measure:
    """Scores `(estimator, train)` of training points for the mean query loss.

    * "if_damped_<damping>": the predicted shift of the mean query loss upon removal, as
      `influence_ggn` with that damping gives it, averaged over queries. The curvature is the
      Gauss-Newton matrix plus l2 (the recipe's weight decay) plus damping (our choice). In nats;
      positive where the point helps.
    * "grad_dot": inner product of the point's gradient with that of the mean query loss, the mean
      over queries of `gradient_similarity`'s; same sign, no scale.
    * "own_loss": *minus* the point's own training loss, which sees no query; the minus makes the
      most suspicious point the lowest here, too.

    Args:
        recipe: Gives l2.
        dampings: At least one.
        steps: Of the solver, a fixed number, so that runs can be stacked. On small transformers 32
            are within 1 % of the exact solve at damping .1 (a test says so).

    Raises:
        ValueError: an `l2 + damping` that is not positive and finite, or no step.
    """
    shifts = tuple(recipe.weight_decay + damping for damping in dampings)
    impossible = [s for s in shifts if not (math.isfinite(s) and s > 0)]
    if impossible or not dampings or min(dampings) < 0 or steps < 1:
        raise ValueError(
            f"mean_query_shifts: dampings {dampings} and {steps} steps are impossible; each "
            "l2 + damping must be positive, and at least one step be made."
        )
    names = ("own_loss", "grad_dot", *(f"if_damped_{damping:g}" for damping in dampings))

    @measure(
        dims=("estimator", "train"),
        unit="if_damped: nats; grad_dot: nats² per squared parameter unit; own_loss: nats",
        labels={"estimator": names},
    )
    def mean_query_shifts(network: Network, theta: Tensor, task: Task) -> Tensor:
        query = mean_query_gradient(network, theta, task)  # (parameter,)

        def product(vector: Tensor) -> Tensor:
            return gauss_newton_product(network, theta, task, vector)

        solved = shifted_solves(product, query, shifts, steps)  # (damping, parameter)
        directions = torch.cat([query[None], solved / task.n_train])
        gradients = per_example_gradients(network, theta, task, task.train_x, task.train_y)
        scores = torch.cat([piece @ directions.T for piece in gradients]).T  # (estimator, train)
        losses = [
            task.per_example_loss(network(theta, x), y)
            for x, y in zip(task.train_x.split(PRODUCT_CHUNK), task.train_y.split(PRODUCT_CHUNK))
        ]
        return torch.cat([-torch.cat(losses)[None], scores])

    return mean_query_shifts


def mean_over_queries(measure: Measure, estimator: str) -> Measure:
    """Scores `(train,)` of one estimator of the library, averaged over query points.

    For estimators that are no function of the mean query gradient, so that each query has to be
    scored; unit and sign are theirs, and so is the memory, (train, query) at least. Called
    "mean_query_<estimator>".

    Args:
        measure: An estimator with the axes `(estimator, train, query)`.
        estimator: Which of its labels.

    Raises:
        ValueError: it has no such label.
    """
    names = measure.labels.get("estimator", ())
    if estimator not in names:
        raise ValueError(unknown(f"estimator of {measure.name}", estimator, names))
    row = names.index(estimator)

    def mean_over_queries(network: Network, theta: Tensor, task: Task) -> Tensor:
        return measure(network, theta, task)[row].mean(dim=1)

    return Measure(f"mean_query_{estimator}", ("train",), measure.unit, mean_over_queries)


def mean_query_gradient(network: Network, theta: Tensor, task: Task) -> Tensor:
    """Gradient `(parameter,)` of the mean loss of all queries, in pieces."""
    total = torch.zeros_like(theta)
    for x, y in zip(task.query_x.split(PRODUCT_CHUNK), task.query_y.split(PRODUCT_CHUNK)):
        total = total + grad(mean_loss(network, task, x, y))(theta) * (len(y) / task.n_query)
    return total


def gauss_newton_product(network: Network, theta: Tensor, task: Task, vector: Tensor) -> Tensor:
    """`G v` with the generalised Gauss-Newton matrix G of the mean training loss, in pieces.

    Forward through the network (jvp), the curvature of the loss in its output, and back (vjp).
    """
    total = torch.zeros_like(theta)
    for x in task.train_x.split(PRODUCT_CHUNK):

        def outputs(theta: Tensor, x: Tensor = x) -> Tensor:
            return network(theta, x)

        output, along = jvp(outputs, (theta,), (vector,))  # (example, output) each
        roots = vmap(lambda out: loss_curvature_root(out, task.loss))(output)  # (ex., out., rank)
        bent = torch.einsum("nor,npr,np->no", roots, roots, along)
        total = total + vjp(outputs, theta)[1](bent / task.n_train)[0]
    return total


def shifted_solves(
    product: Callable[[Tensor], Tensor], right: Tensor, shifts: Sequence[float], steps: int
) -> Tensor:
    """Rows x_s with `(A + s I) x_s = right`, one per shift, A symmetric and positive semidefinite.

    `steps` products with A make a Lanczos basis that serves all shifts at once; each x_s is what
    conjugate gradients reach in as many steps (Paige and Saunders 1975). The basis is made
    orthogonal twice at each step, so it may be as long as the space allows. Fixed steps and no
    branches: it runs under vmap.
    """
    tiny = torch.finfo(right.dtype).tiny
    norm = right.norm()
    basis, diagonal, beside = [right / norm.clamp_min(tiny)], [], []
    for step in range(steps):
        image = product(basis[-1])
        diagonal.append(image @ basis[-1])
        known = torch.stack(basis)  # (step, parameter)
        for _ in range(2):
            image = image - known.T @ (known @ image)
        size = image.norm()
        if step < steps - 1:
            beside.append(size)
            basis.append(image / size.clamp_min(tiny))
    matrix = torch.diag_embed(torch.stack(diagonal))
    if beside:
        off = torch.stack(beside)
        matrix = matrix + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    unit = torch.eye(steps, dtype=right.dtype, device=right.device)
    first = torch.stack([torch.linalg.solve(matrix + s * unit, unit[0]) for s in shifts])
    return norm * (first @ torch.stack(basis))  # (shift, step) @ (step, parameter)
