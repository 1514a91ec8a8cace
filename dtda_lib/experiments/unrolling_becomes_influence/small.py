"""Theorem 2 where everything is known: generalised linear models, a hyperbola of minima.
Tables from the chains of `chains`.

Estimand throughout: the response of *one run* at given noise; intervals are over runs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special

from dtda_lib.statistics.over_seeds import (
    Scores,
    Statistic,
    jackknife_over_seeds,
    mean_interval,
)
from dtda_lib.study.tables import numbers

from .chains import (
    Problem,
    chain,
    generalised_linear,
    geometric_steps,
    influence_limit,
    newton_minimum,
    random_batches,
    two_factors,
)
from .trajectory import Steps

N_EXAMPLES, N_FEATURES, RANK, BATCH = 24, 6, 4, 8
POINTS = (0, 1, 2, 3)
START_SD = 0.5
LATE = 10  # slopes are taken over the last factor of ten of the steps


def rank_deficient(link: str, generator: np.random.Generator) -> Problem:
    """A generalised linear model whose 24 inputs of 6 features span only 4 dimensions.

    Labels are noisy, so that the minimum over the span is finite for the logistic link too.
    """
    span = np.linalg.qr(generator.standard_normal((N_FEATURES, RANK)))[0]
    x = generator.standard_normal((N_EXAMPLES, RANK)) @ span.T
    score = x @ generator.standard_normal(N_FEATURES)
    if link == "logistic":
        return generalised_linear(x, generator.random(N_EXAMPLES) < special.expit(score), link)
    return generalised_linear(x, score + 0.5 * generator.standard_normal(N_EXAMPLES), link)


# ---------------------------------------------------------------- generalised linear models


def convergence_runs(
    problem: Problem,
    schedules: Mapping[str, np.ndarray],
    runs: int,
    generator: np.random.Generator,
) -> xr.Dataset:
    """How far N r_t is from r_IF, and how much of it lies in the null space of H, over time.

    Args:
        problem: A generalised linear model.
        schedules: Step sizes `(step,)` by name, equally many each. A run has the same start and
            the same batches under all of them, so that schedules can be compared run by run.
        runs: Number of runs, each with a random start that has a part in the null space.
        generator: Of starts and batches.

    Returns:
        `error` `|N r - r_IF| / |r_IF|` (norms over points and parameters) and `null`
        `|P_null N r| / |r_IF|`, both `(schedule, seed, step)`; the attribute `problem` is its name.
    """
    target, null = influence_limit(problem, newton_minimum(problem, np.zeros(N_FEATURES)), POINTS)
    size = np.linalg.norm(target)
    n_steps = len(next(iter(schedules.values())))
    start = START_SD * generator.standard_normal((runs, N_FEATURES))
    batches = random_batches(n_steps, runs, BATCH, N_EXAMPLES, generator)
    keep, errors, nulls = geometric_steps(n_steps), [], []
    for steps in schedules.values():
        found = chain(problem, start, steps, batches, POINTS, keep=keep)
        scaled = problem.n_train * found["response"].values  # (seed, step, point, parameter)
        errors.append(np.linalg.norm(scaled - target, axis=(2, 3)) / size)
        nulls.append(np.linalg.norm(scaled @ null, axis=(2, 3)) / size)
    dims = ("schedule", "seed", "step")
    return xr.Dataset(
        {"error": (dims, np.stack(errors)), "null": (dims, np.stack(nulls))},
        {"schedule": list(schedules), "step": keep},
        {"problem": problem.name},
    )


def convergence_table(found: xr.Dataset) -> pd.DataFrame:
    """The curves of `convergence_runs`.

    Columns `problem, schedule, step, error, low, high, null`: geometric mean of the error over runs
    with its 95 % t interval made on the logarithm, and the largest null part of any run.
    """
    about = {"problem": found.attrs["problem"]}
    rows = [
        about
        | {"schedule": str(name), "step": int(step)}
        | geometric_mean(part.sel(step=step)["error"].values)
        | {"null": float(part.sel(step=step)["null"].max())}
        for name in found["schedule"].values
        for part in [found.sel(schedule=name)]
        for step in found["step"].values
    ]
    return pd.DataFrame(rows).rename(columns={"estimate": "error"})


def rate_table(found: xr.Dataset) -> pd.DataFrame:
    """Does the error go on falling, and does it end lower with decaying steps? 95 % t intervals.

    Columns `problem, schedule, quantity, estimate, low, high`: "late slope", mean over runs of the
    slope of log error against log steps over the last `LATE`-fold of the steps (-1/2 in theory
    where steps fall as 1/t, 0 where the error has levelled off); and for constant steps
    "decaying over constant", geometric mean over runs of the ratio of the last errors, run by run.
    """
    late = found.sel(step=found["step"] * LATE >= found["step"].max())
    log_steps, rows = np.log(late["step"].values), []
    last = found["error"].isel(step=-1)
    for name in found["schedule"].values:
        about = {"problem": found.attrs["problem"], "schedule": str(name)}
        logs = np.log(late["error"].sel(schedule=name).values)  # (seed, step)
        slopes = np.polyfit(log_steps, logs.T, 1)[0]
        rows.append(about | {"quantity": "late slope"} | mean_interval(slopes))
        if name != "decaying":
            ratio = (last.sel(schedule="decaying") / last.sel(schedule=name)).values
            rows.append(about | {"quantity": "decaying over constant"} | geometric_mean(ratio))
    return pd.DataFrame(rows)


def geometric_mean(values: np.ndarray) -> dict[str, float]:
    """Geometric mean over runs with its 95 % t interval made on the logarithm."""
    found = mean_interval(np.log(values))
    return {name: float(np.exp(value)) for name, value in found.items()}


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
        batches = random_batches(n_steps, runs, BATCH, N_EXAMPLES, generator)
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


def _interval(scores: Scores, statistic: Statistic) -> dict[str, float]:
    return numbers(jackknife_over_seeds(scores, statistic))


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
    steps = Steps("decaying", 0.1, 200.0).sizes(n_steps)
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
