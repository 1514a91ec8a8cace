"""Notebook 07: chains of noisy steps against closed forms, and what moving them by a response does.

A straight line with intercept and one more input, fitted to 30 points: laws of parameters and of
predictions are known exactly (`langevin.LinearChain`). Predictions are in target units, slopes in
eps per unit of eps; the removal of a point is eps = 1/N. Data and settings are our choice.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dtda_lib.statistics.over_seeds import mean_interval
from dtda_lib.theory.langevin import LinearChain

Sampled = Mapping[str, dict[str, tuple[np.ndarray, np.ndarray]]]
BETA = 1_000.0
QUERY = np.array([1.0, 1.5, 0.0])
"""Where the line is asked: intercept, first and second input."""
CHAIN_KINDS = {
    "langevin": "Langevin, small steps",
    "large": "Langevin, large steps",
    "sgld": "SGLD, batches of 4",
    "sgd": "SGD, batches of 4, no added noise",
}
SPREAD_ESTIMATORS = {
    "if_minimum": "influence at the minimum",
    "if_sample": "influence at each sample",
    "unrolling": "unrolling",
}


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


def sampled_moments_table(sampled: Sampled) -> pd.DataFrame:
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
