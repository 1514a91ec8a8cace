"""Notebook 07: chains of noisy steps against closed forms, and what moving them by a response does.

A straight line with intercept and one more input, fitted to 30 points: laws of parameters and of
predictions are known exactly (`langevin.LinearChain`). Predictions are in target units, slopes in
eps per unit of eps; the removal of a point is eps = 1/N. Data and settings are our choice.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dtda_lib.statistics.over_seeds import mean_interval
from dtda_lib.theory import boltzmann as bo
from dtda_lib.theory.langevin import LinearChain, gaussian_divergence, langevin_in_wells

from .maps import CASES

Sampled = Mapping[str, dict[str, tuple[np.ndarray, np.ndarray]]]
BETA = 1_000.0
QUERY = np.array([1.0, 1.5, 0.0])
"""Where the line is asked: intercept, first and second input."""
KINDS = {
    "langevin": "Langevin, small steps",
    "large": "Langevin, large steps",
    "sgld": "SGLD, batches of 4",
    "sgd": "SGD, batches of 4, no added noise",
}
ESTIMATORS = {
    "if_minimum": "influence at the minimum",
    "if_sample": "influence at each sample",
    "unrolling": "unrolling",
}
WARM, FROZEN = 4, 32
"""Inverse temperatures at which chains in the double well cross the barrier often, and hardly."""


def chains() -> tuple[dict[str, LinearChain], int]:
    """One chain of each kind on the same data, and the point that is removed.

    The point is that whose removal moves the mean prediction at `QUERY` most.
    """
    generator = np.random.default_rng(0)
    x = np.column_stack([np.ones(30), generator.standard_normal((30, 2))])
    y = x @ [0.5, 1.0, -0.5] + 0.5 * generator.standard_normal(30)
    settings = {
        "langevin": {"step": 0.05, "beta": BETA},
        "large": {"step": 0.6, "beta": BETA},
        "sgld": {"step": 0.1, "beta": BETA, "batch": 4},
        "sgd": {"step": 0.1, "beta": np.inf, "batch": 4},
    }
    made = {kind: LinearChain(x, y, 0.1, **setting) for kind, setting in settings.items()}
    base = made["langevin"]
    after = [base.down_weighted(k, 1 / len(y)).minimum() for k in range(len(y))]
    return made, int(abs((np.array(after) - base.minimum()) @ QUERY).argmax())


def sample_chains(n_chains: int, generator: np.random.Generator) -> Sampled:
    """Kind -> "before" and "after" the removal -> ends and unrolled responses `(chain, feature)`.

    Every chain has noise of its own, also before and after.
    """
    made, point = chains()
    found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for kind, chain in made.items():
        removed = chain.down_weighted(point, 1 / chain.n_train)
        found[kind] = {
            "before": chain.sample(n_chains, generator, point=point),
            "after": removed.sample(n_chains, generator),
        }
    return found


def law_of(chain: LinearChain) -> tuple[float, float]:
    """Mean and standard deviation of the prediction at `QUERY`, exactly, as the chain is run."""
    variance = QUERY @ chain.stationary_covariance() @ QUERY
    return float(QUERY @ chain.minimum()), float(np.sqrt(variance))


def agreement_table(sampled: Sampled) -> pd.DataFrame:
    """Mean and sd of the prediction: sampled, exact for the chain, and of the Boltzmann law.

    z: sampled - exact, in standard errors of the sample; normal laws, or nearly so with batches.
    `boltzmann_sd` is NaN for SGD, which has no temperature.
    """
    made, point = chains()
    rows = []
    for kind, laws in sampled.items():
        for name, (theta, _) in laws.items():
            chain = made[kind]
            if name == "after":
                chain = chain.down_weighted(point, 1 / chain.n_train)
            m, n = theta @ QUERY, len(theta)
            mean, sd = law_of(chain)
            centred = m - m.mean()
            kurtosis = (centred**4).mean() / m.var() ** 2
            z_mean = (m.mean() - mean) / (sd / np.sqrt(n))
            z_variance = (m.var(ddof=1) / sd**2 - 1) / np.sqrt((kurtosis - 1) / n)
            cold = np.nan
            if np.isfinite(chain.beta):
                cold = float(np.sqrt(QUERY @ chain.boltzmann_covariance() @ QUERY))
            rows.append((kind, name, m.mean(), mean, z_mean, m.std(), sd, z_variance, cold))
    columns = ["chain", "law", "mean", "exact_mean", "z_mean"]
    return pd.DataFrame(rows, columns=[*columns, "sd", "exact_sd", "z_variance", "boltzmann_sd"])


def response_table(sampled: Sampled, n_groups: int = 20) -> pd.DataFrame:
    """Slope in eps at 0 of mean and variance of the prediction: predicted over true.

    True slopes are derivatives of the exact stationary law. Estimators: "if_minimum" moves every
    sample by the influence function of the minimum, "if_sample" by that at the sample itself, both
    exactly; "unrolling" by the sample's own unrolled response, from the sample, with a 95 % t
    interval over `n_groups` groups of chains. Predicted slope of the variance: `2 Cov(m, r_m)`.
    """
    made, point = chains()
    rows = []
    for kind, chain in made.items():
        mean_slope, variance_slope = true_slopes(chain, point)
        covariance, r = chain.stationary_covariance(), chain.influence(point, chain.minimum())
        slope = influence_slope(chain, point)
        same = float(QUERY @ r) / mean_slope
        local = 2 * float(QUERY @ slope @ covariance @ QUERY) / variance_slope
        rows.append((kind, "if_minimum", same, np.nan, np.nan, 0.0, np.nan, np.nan))
        rows.append((kind, "if_sample", same, np.nan, np.nan, local, np.nan, np.nan))
        theta, response = (part @ QUERY for part in sampled[kind]["before"])
        parts = list(zip(np.array_split(theta, n_groups), np.array_split(response, n_groups)))
        means = np.array([b.mean() for _, b in parts]) / mean_slope
        spreads = np.array([2 * np.cov(a, b)[0, 1] for a, b in parts]) / variance_slope
        found = [*mean_interval(means).values(), *mean_interval(spreads).values()]
        rows.append((kind, "unrolling", *found))
    columns = ["mean", "mean_low", "mean_high", "variance", "variance_low", "variance_high"]
    return pd.DataFrame(rows, columns=["chain", "estimator", *columns])


def points_table() -> pd.DataFrame:
    """Predicted over true slope of the variance, for every training point in turn, exactly.

    By the influence function at each sample, per kind of chain: quartiles over points, and the
    share of points whose sign is predicted right.
    """
    made, _ = chains()
    rows = []
    for kind, chain in made.items():
        covariance, ratios = chain.stationary_covariance(), []
        for point in range(chain.n_train):
            predicted = 2 * float(QUERY @ influence_slope(chain, point) @ covariance @ QUERY)
            ratios.append(predicted / true_slopes(chain, point)[1])
        quartiles = np.quantile(ratios, [0.25, 0.5, 0.75])
        rows.append((kind, len(ratios), *quartiles, float(np.mean(np.array(ratios) > 0))))
    columns = ["chain", "points", "quartile", "median", "third quartile", "right sign"]
    return pd.DataFrame(rows, columns=columns)


def influence_slope(chain: LinearChain, point: int) -> np.ndarray:
    """Derivative of the point's influence function in theta, `(feature, feature)`."""
    x = chain.train_x[point]
    return np.linalg.solve(chain.curvature(), np.outer(x, x))


def true_slopes(chain: LinearChain, point: int, eps: float = 1e-5) -> tuple[float, float]:
    """Derivatives in eps at 0 of the exact mean and variance of the prediction, by differences."""
    up, down = (law_of(chain.down_weighted(point, sign * eps)) for sign in (1, -1))
    return (up[0] - down[0]) / (2 * eps), (up[1] ** 2 - down[1] ** 2) / (2 * eps)


def push_table(betas: Sequence[float]) -> pd.DataFrame:
    """How much of KL(before || after) a map leaves: Boltzmann laws, a whole removal, exact.

    "if_minimum" and "if_sample" as in `response_table`; "half" has half the slope of the latter.
    """
    made, point = chains()
    chain = made["langevin"]
    eps = 1 / chain.n_train
    removed = chain.down_weighted(point, eps)
    mean, slope, rows = chain.minimum(), influence_slope(chain, point), []
    for beta in betas:
        before = np.linalg.inv(chain.curvature()) / beta
        after = removed.minimum(), np.linalg.inv(removed.curvature()) / beta
        nothing = gaussian_divergence(mean, before, *after)
        for name, share in (("if_minimum", 0.0), ("half", 0.5), ("if_sample", 1.0)):
            turn = np.eye(len(mean)) + eps * share * slope
            moved = mean + eps * chain.influence(point, mean)
            left = gaussian_divergence(moved, turn @ before @ turn.T, *after)
            rows.append((beta, name, nothing, left, left / nothing))
    return pd.DataFrame(rows, columns=["beta", "field", "nothing", "kl", "left"])


def transport_cost() -> tuple[float, float]:
    """Root mean square distance that "if_sample" moves samples, and W2 to where it moves them.

    Of the law's spread alone, the common shift being taken off; equal if and only if the map is
    the cheapest one to its own image. In parameter units, for a whole removal at `BETA`.
    """
    made, point = chains()
    chain = made["langevin"]
    before = chain.boltzmann_covariance()
    move = influence_slope(chain, point) / chain.n_train
    turn = np.eye(len(move)) + move
    after = turn @ before @ turn.T
    root = _root(before)
    square = np.trace(before + after - 2 * _root(root @ after @ root))
    return float(np.sqrt(np.trace(move @ before @ move.T))), float(np.sqrt(square))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def crossing_table(n_chains: int, generator: np.random.Generator) -> pd.DataFrame:
    """Slope in eps of the mean theta of the Boltzmann law of the case "apart", per temperature.

    `exact` for the law, `beta Cov(loss_k, theta)`; `influence` the mean of the influence function;
    `unrolled` the mean response of Langevin chains that begin in the law, with its standard error,
    and the largest size of a single response.
    """
    case, rows = CASES["apart"], []
    for beta in (WARM, FROZEN):
        p = bo.density(case.loss, beta) * (bo.GRID[1] - bo.GRID[0])
        lift = case.point(bo.GRID)
        exact = beta * (p @ (bo.GRID * lift) - (p @ bo.GRID) * (p @ lift))
        start = np.interp(generator.random(n_chains), np.cumsum(p), bo.GRID)
        _, r = langevin_in_wells(
            case.loss, case.point, beta, start, generator, step=0.02, n_steps=2_000
        )
        influence = float(p @ case.influence.value(bo.GRID))
        error = r.std(ddof=1) / np.sqrt(n_chains)
        rows.append((beta, exact, influence, r.mean(), error, abs(r).max()))
    columns = ["beta", "exact", "influence", "unrolled", "se", "largest"]
    return pd.DataFrame(rows, columns=columns)
