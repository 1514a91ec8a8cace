"""Theorem 2 where everything is known: generalised linear models, a hyperbola of minima, and what
happens when an assumption is broken. Tables from the chains of `limit_chains`.

Estimand throughout: the response of *one run* at given noise; intervals are over runs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special, stats

from ..over_seeds import jackknife_over_seeds
from .limit_chains import (
    Problem,
    chain,
    double_well,
    flat_pull,
    generalised_linear,
    geometric_steps,
    influence_limit,
    inverse_steps,
    newton_minimum,
    random_batches,
    two_factors,
)

N_TRAIN, N_FEATURES, RANK, BATCH = 24, 6, 4, 8
POINTS = (0, 1, 2, 3)
START_SD = 0.5


def rank_deficient(link: str, generator: np.random.Generator) -> Problem:
    """A generalised linear model whose 24 inputs of 6 features span only 4 dimensions.

    Labels are noisy, so that the minimum over the span is finite for the logistic link too.
    """
    span = np.linalg.qr(generator.standard_normal((N_FEATURES, RANK)))[0]
    x = generator.standard_normal((N_TRAIN, RANK)) @ span.T
    score = x @ generator.standard_normal(N_FEATURES)
    if link == "logistic":
        return generalised_linear(x, generator.random(N_TRAIN) < special.expit(score), link)
    return generalised_linear(x, score + 0.5 * generator.standard_normal(N_TRAIN), link)


# ---------------------------------------------------------------- generalised linear models


def convergence_table(
    problem: Problem,
    schedules: Mapping[str, np.ndarray],
    runs: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """How far N r_t is from r_IF, and how much of it lies in the null space of H, over time.

    Args:
        problem: A generalised linear model.
        schedules: Step sizes `(step,)` by name.
        runs: Number of runs, each with a random start that has a part in the null space.
        generator: Of starts and batches.

    Returns:
        Columns `problem, schedule, step, error, low, high, null`: geometric mean over runs of
        `|N r - r_IF| / |r_IF|` (norms over points and parameters) with its 95 % t interval made on
        the logarithm, and the largest `|P_null N r| / |r_IF|` of any run.
    """
    target, null = influence_limit(problem, newton_minimum(problem, np.zeros(N_FEATURES)), POINTS)
    size = np.linalg.norm(target)
    rows = []
    for name, steps in schedules.items():
        start = START_SD * generator.standard_normal((runs, N_FEATURES))
        batches = random_batches(len(steps), runs, BATCH, N_TRAIN, generator)
        found = chain(problem, start, steps, batches, POINTS, keep=geometric_steps(len(steps)))
        for step, response in found["response"].groupby("step"):
            scaled = problem.n_train * response.values.reshape(runs, len(POINTS), N_FEATURES)
            error = np.linalg.norm(scaled - target, axis=(1, 2)) / size
            outside = np.linalg.norm(scaled @ null, axis=(1, 2)) / size
            row = {"problem": problem.name, "schedule": name, "step": int(step)}
            rows.append(row | geometric_mean(error) | {"null": outside.max()})
    return pd.DataFrame(rows).rename(columns={"estimate": "error"})


def geometric_mean(values: np.ndarray) -> dict[str, float]:
    """Geometric mean over runs with its 95 % t interval made on the logarithm."""
    logs = np.log(values)
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    middle = logs.mean()
    return {
        "estimate": float(np.exp(middle)),
        "low": float(np.exp(middle - half)),
        "high": float(np.exp(middle + half)),
    }


def stationary_responses(
    problem: Problem,
    rates: Sequence[float],
    runs: int,
    n_steps: int,
    generator: np.random.Generator,
) -> xr.DataArray:
    """`N r - r_IF` in units of |r_IF| at constant steps, `(rate, seed, step, component)`.

    Kept at a hundred times of the second half of training, after all transients.
    """
    target, _ = influence_limit(problem, newton_minimum(problem, np.zeros(N_FEATURES)), POINTS)
    keep = np.linspace(n_steps // 2, n_steps, 100).astype(int)
    parts = []
    for rate in rates:
        start = START_SD * generator.standard_normal((runs, N_FEATURES))
        batches = random_batches(n_steps, runs, BATCH, N_TRAIN, generator)
        found = chain(problem, start, np.full(n_steps, rate), batches, POINTS, keep=keep)
        off = (problem.n_train * found["response"].values - target) / np.linalg.norm(target)
        # (seed, step, point, parameter) -> (seed, step, component)
        parts.append(off.reshape(runs, len(keep), -1))
    return xr.DataArray(
        np.stack(parts), {"rate": list(rates)}, ("rate", "seed", "step", "component")
    )


def spread_of(off: xr.DataArray) -> xr.DataArray:
    """Root mean square distance of N r from its mean over time and runs, in units of |r_IF|."""
    return np.sqrt(off.var(("seed", "step")).sum("component"))


def bias_of(off: xr.DataArray) -> xr.DataArray:
    """Distance of the mean of N r over time and runs from r_IF, in units of |r_IF|."""
    return np.sqrt((off.mean(("seed", "step")) ** 2).sum("component"))


def growth_exponent(off: xr.DataArray) -> xr.DataArray:
    """Slope of log spread against log step size: 1/2 where noise is stationary."""
    logs = np.log(spread_of(off))
    slope = np.polyfit(np.log(off["rate"].values), logs.values, 1)[0]
    return xr.DataArray(slope)


def spread_table(off: xr.DataArray) -> pd.DataFrame:
    """Columns `rate, quantity, estimate, low, high`: "spread" and "bias" of each step size, and
    "exponent" (rate NaN), with 95 % jackknife intervals over runs."""
    rows = []
    for rate, part in off.groupby("rate"):
        part = part.squeeze("rate", drop=True)
        for quantity, statistic in (("spread", spread_of), ("bias", bias_of)):
            rows.append({"rate": float(rate), "quantity": quantity} | _interval(part, statistic))
    rows.append({"rate": np.nan, "quantity": "exponent"} | _interval(off, growth_exponent))
    return pd.DataFrame(rows)


def _interval(scores: xr.DataArray, statistic: object) -> dict[str, float]:
    found = jackknife_over_seeds(scores, statistic)
    return {name: float(found[name]) for name in ("estimate", "low", "high")}


# ---------------------------------------------------------------- a hyperbola of minima


def hyperbola(generator: np.random.Generator, n_train: int = 12) -> Problem:
    """`mean 1/2 (a b x - y)^2` with y = x + noise: minima at a b = c, c near 1."""
    x = generator.standard_normal((n_train, 1))
    return two_factors(x, x[:, 0] + 0.5 * generator.standard_normal(n_train))


def hyperbola_runs(
    problem: Problem, runs: int, n_steps: int, generator: np.random.Generator
) -> xr.Dataset:
    """Where runs end on the hyperbola, and the response of each point there.

    Robbins-Monro steps, random starts. Variables: `theta` `(seed, parameter)`, `response` N r
    `(seed, train, parameter)`, its part along the hyperbola `null` `(seed, train)` (signed, along
    the unit tangent), and N grad(m) . r of m = a b by `unrolling` `(seed, train)` and by the closed
    form `exact` `(train,)`: `(c x_k - y_k) x_k / mean(x^2)`.
    """
    start = 1.2 * generator.standard_normal((runs, 2))
    # A start near (0, 0) lies at the saddle, which is another section's subject.
    start += np.sign(start) * 0.3
    batches = random_batches(n_steps, runs, 4, problem.n_train, generator)
    steps = inverse_steps(n_steps, 0.1, 200.0)
    found = chain(problem, start, steps, batches, range(problem.n_train)).isel(step=-1, drop=True)
    theta, response = found["theta"], problem.n_train * found["response"]
    swapped = theta.values[:, ::-1]  # grad(ab) = (b, a)
    tangent = np.stack([theta.values[:, 0], -theta.values[:, 1]], 1)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    x, y = problem.x[:, 0], problem.y
    exact = (x @ y / (x @ x) * x - y) * x / (x**2).mean()
    data = found.assign(response=response)
    data["unrolling"] = ("seed", "train"), np.einsum("skp,sp->sk", response.values, swapped)
    data["null"] = ("seed", "train"), np.einsum("skp,sp->sk", response.values, tangent)
    return data.assign(exact=("train", exact), start=(("seed", "parameter"), start))


def hyperbola_table(data: xr.Dataset) -> pd.DataFrame:
    """Spread over runs of what should differ and of what should not, in units of its size.

    Columns `quantity, estimate, low, high` (95 % jackknife over runs): root mean square over points
    of the standard deviation over runs, divided by the root mean square of the quantity itself, of
    "weight-space response", "part along the hyperbola" and "response of m = ab"; and "error of m =
    ab", the relative distance of the latter's mean from the closed form.
    """

    def relative_spread(values: xr.DataArray) -> xr.DataArray:
        others = [dim for dim in values.dims if dim != "seed"]
        return np.sqrt(
            values.var("seed", ddof=1).sum(others) / (values**2).mean("seed").sum(others)
        )

    def error(data: xr.Dataset) -> xr.DataArray:
        off = data["unrolling"].mean("seed") - data["exact"].isel(seed=0)
        return np.sqrt((off**2).sum() / (data["exact"].isel(seed=0) ** 2).sum())

    both = data[["unrolling"]].assign(exact=data["exact"].expand_dims(seed=data["seed"].size))
    rows = [
        {"quantity": name} | _interval(data[variable], relative_spread)
        for name, variable in (
            ("weight-space response", "response"),
            ("part along the hyperbola", "null"),
            ("response of m = ab", "unrolling"),
        )
    ]
    rows.append({"quantity": "error of m = ab"} | _interval(both, error))
    return pd.DataFrame(rows)


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
    x = generator.standard_normal((N_TRAIN, 2))
    pulls = generator.standard_normal(N_TRAIN)
    pulls -= pulls.mean()
    pulls *= 1 / pulls[0]  # the point followed has pull 1
    problem = flat_pull(x, x @ np.ones(2) + 0.3 * generator.standard_normal(N_TRAIN), pulls)
    without = np.ones(N_TRAIN)
    without[0] = 0
    schedules = {
        "constant": np.full(n_steps, 0.02),
        "decaying": inverse_steps(n_steps, 0.1, 100.0),
    }
    rows = []
    for name, steps in schedules.items():
        start = np.zeros((runs, 3))
        given = start, steps, random_batches(n_steps, runs, BATCH, N_TRAIN, generator), [0]
        keep = geometric_steps(n_steps, 25)
        found = chain(problem, *given, keep=keep)
        removed = chain(problem, *given, keep=keep, weights=without)["theta"] - found["theta"]
        along = N_TRAIN * found["response"].isel(train=0, parameter=-1)
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
                    "removed": N_TRAIN * removed.isel(parameter=-1).mean("seed").values,
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
    given = (
        START_SD * generator.standard_normal((1, N_FEATURES)),
        inverse_steps(n_steps, 0.05, 100.0),
        random_batches(n_steps, 1, BATCH, N_TRAIN, generator),
    )
    theta = newton_minimum(problem, np.zeros(N_FEATURES))
    inverse = np.linalg.pinv(problem.gradient_and_hessian(theta)[1], hermitian=True)
    leverage = np.einsum("kf,fg,kg->k", x, inverse, x) / N_TRAIN

    def trained(weights: np.ndarray) -> np.ndarray:
        return chain(problem, *given, [0], weights=weights)["theta"].values[0, -1]

    ones, eps, rows = np.ones(N_TRAIN), 1e-5, []
    responses = chain(problem, *given, POINTS)["response"].values[0, -1]
    for point, response in zip(POINTS, responses, strict=True):
        moved = eps * np.eye(N_TRAIN)[point]
        difference = (trained(ones - moved) - trained(ones + moved)) / (2 * eps)
        removed = trained(ones - moved / eps) - trained(ones)
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
