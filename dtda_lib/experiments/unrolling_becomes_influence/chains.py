"""Eq. 6 on problems of a few parameters, where its limit is known exactly.

A *problem* gives the gradient and Hessian of each example's loss by hand, so that the Markov chain
(theta_t, r_t) of 2506.12965, Eq. 6, can be run verbatim in float64 for many runs and 1e5 steps in
seconds. Nothing is shared with `attribution.unrolling`, so that either checks the other.

The response r `(run, point, parameter)` predicts the shift of theta upon removal of a point: r has
the sign of a removal and the factor 1/N included, and N r tends to `H^+ grad loss_k` (Theorem 2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import special

# (theta (..., parameter), x (..., feature), y (...)) -> gradient (..., parameter) and Hessian
# (..., parameter, parameter) of one example's loss; leading axes broadcast.
Derivatives = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """Examples `x (train, feature)`, `y (train,)` and the derivatives of their losses."""

    name: str
    x: np.ndarray
    y: np.ndarray
    derivatives: Derivatives

    @property
    def n_train(self) -> int:
        """Number of training points N."""
        return len(self.x)

    def at(self, theta: np.ndarray, points: Sequence[int] | None = None) -> tuple[np.ndarray, ...]:
        """Gradients `(..., point, parameter)` and Hessians of the chosen points at `theta`."""
        chosen = slice(None) if points is None else list(points)
        return self.derivatives(theta[..., None, :], self.x[chosen], self.y[chosen])

    def gradient_and_hessian(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the mean loss: `(..., parameter)` and `(..., parameter, parameter)`."""
        gradients, hessians = self.at(theta)
        return gradients.mean(-2), hessians.mean(-3)


# ---------------------------------------------------------------- problems


def generalised_linear(x: np.ndarray, y: np.ndarray, link: str = "identity") -> Problem:
    """Half squared error of `x . theta` (link "identity"), or cross-entropy of its sigmoid
    ("logistic", y 0 or 1).

    Raises:
        ValueError: another link.
    """
    if link not in ("identity", "logistic"):
        raise ValueError(f"link {link!r} is neither 'identity' nor 'logistic'.")

    def derivatives(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        score = (theta * x).sum(-1)
        mean = special.expit(score) if link == "logistic" else score
        curvature = mean * (1 - mean) if link == "logistic" else np.ones_like(score)
        outer = x[..., :, None] * x[..., None, :]
        return (mean - y)[..., None] * x, curvature[..., None, None] * outer

    return Problem(link, x, y, derivatives)


def two_factors(x: np.ndarray, y: np.ndarray) -> Problem:
    """Half squared error of `a b x`, theta = (a, b): its minima are the hyperbola `a b = c`.

    `x (train, 1)`; c = sum(x y) / sum(x^2).
    """

    def derivatives(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        swapped = theta[..., ::-1]  # grad(ab) = (b, a)
        slope = x[..., 0]
        error = theta[..., 0] * theta[..., 1] * slope - y
        gradient = (error * slope)[..., None] * swapped
        outer = swapped[..., :, None] * swapped[..., None, :]
        crossed = np.array([[0.0, 1.0], [1.0, 0.0]])
        hessian = (slope**2)[..., None, None] * outer + (error * slope)[..., None, None] * crossed
        return gradient, hessian

    return Problem("two factors", x, y, derivatives)


def flat_pull(x: np.ndarray, y: np.ndarray, pulls: np.ndarray) -> Problem:
    """Linear regression plus `pull_n * u` in each example's loss, u the last parameter.

    Pulls sum to 0, so the mean loss is flat along u while single examples have a gradient along
    it: assumption A4 of 2506.12965 is broken.

    Raises:
        ValueError: pulls that do not sum to 0.
    """
    if abs(pulls.sum()) > 1e-12 * abs(pulls).max():
        raise ValueError("flat_pull: pulls must sum to 0, or the mean loss is not flat.")
    linear = generalised_linear(x, y)

    def derivatives(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        gradient, hessian = linear.derivatives(theta[..., :-1], x[..., :-1], y)
        pull = np.broadcast_to(x[..., -1:], (*gradient.shape[:-1], 1))
        padded = np.zeros((*hessian.shape[:-2], *theta.shape[-1:] * 2))
        padded[..., :-1, :-1] = hessian
        return np.concatenate([gradient, pull], axis=-1), padded

    return Problem("flat pull", np.hstack([x, pulls[:, None]]), y, derivatives)


def double_well(pulls: np.ndarray) -> Problem:
    """`(p^2 - 1)^2 / 4 + q^2 / 2 + pull_n p`: minima at (+-1, 0), a saddle at (0, 0) between.

    Pulls sum to 0, so that the saddle of the mean loss lies exactly there.
    """

    def derivatives(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        p, q, pull = np.broadcast_arrays(theta[..., 0], theta[..., 1], x[..., 0])
        gradient = np.stack([p**3 - p + pull, q], axis=-1)
        hessian = np.zeros((*p.shape, 2, 2))
        hessian[..., 0, 0], hessian[..., 1, 1] = 3 * p**2 - 1, 1.0
        return gradient, hessian

    return Problem("double well", pulls[:, None], np.zeros(len(pulls)), derivatives)


# ---------------------------------------------------------------- the chain


def geometric_steps(n_steps: int, count: int = 40) -> np.ndarray:
    """Up to `count` numbers of steps from 1 to `n_steps`, evenly spread on a logarithmic axis."""
    return np.unique(np.geomspace(1, n_steps, count).round().astype(int))


def random_batches(
    n_steps: int, runs: int, size: int, n_train: int, generator: np.random.Generator
) -> np.ndarray:
    """Positions `(step, run, batch)` drawn independently, with replacement."""
    return generator.integers(n_train, size=(n_steps, runs, size))


def chain(
    problem: Problem,
    start: np.ndarray,
    steps: np.ndarray,
    batches: np.ndarray,
    points: Sequence[int],
    *,
    keep: Sequence[int] | None = None,
    weights: np.ndarray | None = None,
) -> xr.Dataset:
    """The Markov chain (theta_t, r_t) of Eq. 6 for a stack of runs, by SGD with given batches.

    Args:
        problem: What is minimised.
        start: theta_0 `(run, parameter)`; r_0 is 0.
        steps: Step sizes `(step,)`.
        batches: Positions `(step, run, batch)`; a point may occur more than once.
        points: Whose responses are followed.
        keep: Numbers of steps after which the chain is kept; the last alone if not given.
        weights: `(train,)` of the losses, or `(run, train)`; 0 removes a point on the same noise.

    Returns:
        `theta` `(seed, step, parameter)` and `response` `(seed, step, train, parameter)`, in
        parameter units per whole point.
    """
    given = np.ones(problem.n_train) if weights is None else np.asarray(weights, float)
    weights = np.broadcast_to(given, (len(start), problem.n_train))
    kept = [len(steps)] if keep is None else sorted(set(map(int, keep)))
    points = list(points)
    theta = np.array(start, dtype=float)
    response = np.zeros((len(theta), len(points), theta.shape[1]))
    size, found = batches.shape[2], []
    for number, (rate, batch) in enumerate(zip(steps, batches, strict=True), start=1):
        w = np.take_along_axis(weights, batch, axis=1)  # (run, batch)
        gradients, hessians = problem.derivatives(
            theta[:, None], problem.x[batch], problem.y[batch]
        )
        own, _ = problem.at(theta, points)  # (run, point, parameter)
        drawn = (batch[:, None, :] == np.array(points)[:, None]).sum(-1)  # (run, point)
        hessian = (w[..., None, None] * hessians).sum(1) / size  # (run, parameter, parameter)
        response = response - rate * response @ hessian + rate / size * drawn[..., None] * own
        theta = theta - rate * (w[..., None] * gradients).sum(1) / size
        if number in kept:
            found.append((theta, response))
    coords = {"step": [n for n in kept if 1 <= n <= len(steps)], "train": points}
    return xr.Dataset(
        {
            "theta": (("seed", "step", "parameter"), np.stack([t for t, _ in found], 1)),
            "response": (
                ("seed", "step", "train", "parameter"),
                np.stack([r for _, r in found], 1),
            ),
        },
        coords,
    )


# ---------------------------------------------------------------- exact answers


def newton_minimum(problem: Problem, start: np.ndarray, iterations: int = 50) -> np.ndarray:
    """A minimum of the mean loss near `start (parameter,)`, by Newton steps within span(H).

    Raises:
        FloatingPointError: no stationary point was reached.
    """
    theta = np.array(start, dtype=float)
    for _ in range(iterations):
        gradient, hessian = problem.gradient_and_hessian(theta)
        theta = theta - pseudo_inverse(hessian) @ gradient
    slope = np.abs(problem.gradient_and_hessian(theta)[0]).max()
    if not slope < 1e-9:
        raise FloatingPointError(f"newton_minimum: the gradient is still {slope:.2g}.")
    return theta


def pseudo_inverse(matrix: np.ndarray, threshold: float = 1e-9) -> np.ndarray:
    """Of symmetric matrices `(..., parameter, parameter)`; eigenvalues below `threshold` times the
    largest count as 0."""
    return np.linalg.pinv(matrix, rcond=threshold, hermitian=True)


def influence_limit(
    problem: Problem, theta: np.ndarray, points: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """r_IF = `H^+ grad loss_k` `(..., point, parameter)`, and the projector on the null space of H.

    Not divided by N: `N r` of the chain tends to this plus a null part (Theorem 2).
    """
    _, hessian = problem.gradient_and_hessian(theta)
    inverse = pseudo_inverse(hessian)
    gradients, _ = problem.at(theta, points)
    null = np.eye(theta.shape[-1]) - inverse @ hessian
    return gradients @ inverse, null
