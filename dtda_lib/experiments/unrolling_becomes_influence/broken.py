"""Assumptions of Theorem 2 broken on purpose, and Eq. 6 against retraining; see `chains`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from .chains import (
    chain,
    double_well,
    flat_pull,
    generalised_linear,
    geometric_steps,
    newton_minimum,
    pseudo_inverse,
    random_batches,
)
from .small import BATCH, N_EXAMPLES, N_FEATURES, POINTS, START_SD, rank_deficient
from .trajectory import Steps

# ---------------------------------------------------------------- assumptions broken on purpose


def flat_growth(
    runs: int, n_steps: int, generator: np.random.Generator
) -> tuple[pd.DataFrame, float]:
    """T8: N r along a direction along which the mean loss is flat but the point's own is not.

    One run's expectation is `pull_k sum_t eta_t`, whatever the schedule, so it is linear in time at
    constant steps and logarithmic at Robbins-Monro ones.

    Returns:
        Columns `schedule, step, sum_of_steps, response, low, high, predicted, removed`: mean over
        runs with its 95 % t interval, the growth law, and N times the real shift of retraining on
        the same noise without the point, mean over runs; and the pull of the point.
    """
    x = generator.standard_normal((N_EXAMPLES, 2))
    pulls = generator.standard_normal(N_EXAMPLES)
    pulls -= pulls.mean()
    pulls *= 1 / pulls[0]  # the point followed has pull 1
    problem = flat_pull(x, x @ np.ones(2) + 0.3 * generator.standard_normal(N_EXAMPLES), pulls)
    without = np.ones(N_EXAMPLES)
    without[0] = 0
    schedules = {
        "constant": np.full(n_steps, 0.02),
        "decaying": Steps("decaying", 0.1, 100.0).sizes(n_steps),
    }
    rows = []
    for name, steps in schedules.items():
        start = np.zeros((runs, 3))
        given = start, steps, random_batches(n_steps, runs, BATCH, N_EXAMPLES, generator), [0]
        keep = geometric_steps(n_steps, 25)
        found = chain(problem, *given, keep=keep)
        removed = chain(problem, *given, keep=keep, weights=without)["theta"] - found["theta"]
        along = N_EXAMPLES * found["response"].isel(train=0, parameter=-1)
        half = stats.t.ppf(0.975, runs - 1) * along.std("seed", ddof=1) / np.sqrt(runs)
        middle, total = along.mean("seed"), np.cumsum(steps)[found["step"].values - 1]
        rows.append(
            pd.DataFrame(
                {
                    "schedule": name,
                    "step": found["step"].values,
                    "sum_of_steps": total,
                    "response": middle.values,
                    "low": (middle - half).values,
                    "high": (middle + half).values,
                    "predicted": total * pulls[0],
                    "removed": N_EXAMPLES * removed.isel(parameter=-1).mean("seed").values,
                }
            )
        )
    return pd.concat(rows, ignore_index=True), float(pulls[0])


def saddle_growth(offsets: Sequence[float], n_steps: int = 600, rate: float = 0.05) -> pd.DataFrame:
    """T9: N r of a run that starts at, or `offset` away from, a saddle; full batches.

    At the saddle the negative curvature is -1, so N r = pull (e^(sum of steps) - 1) to first order
    in the step; from an offset d the run leaves after log(1/d) and N r peaks near pull / d.

    Columns `offset, step, sum_of_steps, response, predicted, limit`: N r along the unstable
    direction, the growth law of discrete steps at the saddle itself, and r_IF at the minimum.
    """
    pulls = np.array([1.0, -0.5, 0.25, -0.75])
    problem = double_well(pulls)
    batches = np.broadcast_to(np.arange(4), (n_steps, 1, 4))
    steps = np.full(n_steps, rate)
    keep = range(1, n_steps + 1, 3)
    parts = []
    for offset in offsets:
        found = chain(problem, np.array([[offset, 0.5]]), steps, batches, [0], keep=keep)
        taken = found["step"].values
        parts.append(
            pd.DataFrame(
                {
                    "offset": offset,
                    "step": taken,
                    "sum_of_steps": taken * rate,
                    "response": 4 * found["response"].isel(seed=0, train=0, parameter=0).values,
                    "predicted": pulls[0] * ((1 + rate) ** taken - 1),
                    "limit": pulls[0] / 2,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


# ---------------------------------------------------------------- against retraining


def retraining_table(generator: np.random.Generator, n_steps: int = 4_000) -> pd.DataFrame:
    """T1: Eq. 6 against retraining on the same noise, on linear regression with a far point.

    Columns `point, leverage, difference, cosine, ratio, expected`: largest relative error of r
    against central differences in the point's weight; cosine and length ratio of the real shift of
    theta without the point to r; and the ratio `1 / (1 - leverage)` that holds at the minimum.
    """
    problem = rank_deficient("identity", generator)
    x, y = problem.x.copy(), problem.y
    x[0] *= 4  # far out: a leverage near 1
    problem = generalised_linear(x, y)
    ones, eps, moved = np.ones(N_EXAMPLES), 1e-5, np.eye(N_EXAMPLES)[list(POINTS)]
    # One noise for all: as it is, with each point weighed down, up, and left out.
    weights = np.vstack([ones, ones - eps * moved, ones + eps * moved, ones - moved])
    start = START_SD * generator.standard_normal((1, N_FEATURES))
    steps = Steps("decaying", 0.05, 100.0).sizes(n_steps)
    batches = random_batches(n_steps, 1, BATCH, N_EXAMPLES, generator)
    ends = chain(
        problem,
        np.repeat(start, len(weights), axis=0),
        steps,
        np.broadcast_to(batches, (n_steps, len(weights), BATCH)),
        POINTS,
        weights=weights,
    ).isel(step=-1)
    theta = newton_minimum(problem, np.zeros(N_FEATURES))
    inverse = pseudo_inverse(problem.gradient_and_hessian(theta)[1])
    leverage = np.einsum("kf,fg,kg->k", x, inverse, x) / N_EXAMPLES

    theta_of, rows = ends["theta"].values, []
    base, down, up, without = theta_of[0], *np.split(theta_of[1:], 3)
    differences, removals = (down - up) / (2 * eps), without - base  # (point, parameter)
    for number, response in enumerate(ends["response"].values[0]):
        point, difference, removed = POINTS[number], differences[number], removals[number]
        size, length = np.linalg.norm(response), np.linalg.norm(removed)
        rows.append(
            {
                "point": point,
                "leverage": leverage[point],
                "difference": np.linalg.norm(difference - response) / size,
                "cosine": removed @ response / size / length,
                "ratio": length / size,
                "expected": 1 / (1 - leverage[point]),
            }
        )
    return pd.DataFrame(rows)
