"""Linear datamodelling score (LDS), of means and of whole laws, with its ceiling, null and error.

For M random subsets, the distributional influence of each (law before against law after) is found
by retraining and by a method, and LDS is their Spearman correlation over subsets: for each query,
then averaged over queries (2506.12965, Eq. 11; Park et al. 2023 for the mean). With the shift of
the mean it is the ordinary LDS, with a change of variance or W2 the *distributional* one.

Two traps. The retrained W2 of two finite samples is above 0 without any effect, while Algorithm 1's
predicted one is not: `w2_debiased` subtracts what sampling adds. And no method can reach 1 against
a noisy truth: the ceiling says how far it could get.

Retrained and predicted laws come from *different* seeds here: the estimand is the law, and what a
method knows about the very runs that it is scored on does not count.

Intervals hold for fixed queries over seeds of the truth, seeds of the predictions and subsets,
which are independent: their jackknife variances add up. No bootstrap, because a resample of seeds
adds a second helping of noise and pulls a correlation towards 0. Source: Tukey 1958; Efron and
Tibshirani 1993, chapter 11.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

from .agreement import spearman_brown
from .distances import Distance, get_distance
from .over_seeds import jackknife_error, require_same_pairs, require_seeds

SOURCES = ("truth seeds", "prediction seeds", "subsets")

METRICS = ("mean", "log_variance_ratio", "w2_gaussian_squared", "w2_debiased")
"""What is scored unless told otherwise; ranks need no root of W2^2."""

# ---------------------------------------------------------------- the score


def _laws(before: xr.DataArray, after: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """`(seed, query)` and `(seed, removal, query)` in float64."""
    before = require_seeds(before, at_least=3).transpose("seed", "query")
    after = require_seeds(after, at_least=3).transpose("seed", "removal", "query")
    require_same_pairs(before.reset_coords(drop=True), after.isel(removal=0, drop=True))
    return before.values, after.values


def lds(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Spearman correlation over subsets, averaged over queries: `(..., subset, query) -> (...)`.

    Leading axes broadcast. A query whose influence is the same for all subsets counts as 0.
    """
    return (_ranks(truth) * _ranks(predicted)).sum(axis=-2).mean(axis=-1)


def _ranks(influence: np.ndarray) -> np.ndarray:
    """Ranks over subsets (axis -2), centred and of length 1; zeros where all are equal."""
    ranks = stats.rankdata(influence, axis=-2)
    ranks -= (influence.shape[-2] + 1) / 2
    length = np.sqrt((ranks**2).sum(axis=-2, keepdims=True))
    return ranks / np.where(length > 0, length, 1.0)


@dataclass(frozen=True)
class LdsScores:
    """LDS of each metric and method, with one source left out at a time.

    Args:
        metrics, methods: Labels of the two axes of `estimate`.
        estimate: `(metric, method)`.
        left_out: For each of `SOURCES`, `(left out, metric, method)`.
        truth_reliability: `(metric,)`, of the retrained influences.
        reliability: `(metric, method)`, of the predicted ones.
        null_high: `(metric, method)`, 97.5 % point with permuted subsets.
    """

    metrics: tuple[str, ...]
    methods: tuple[str, ...]
    estimate: np.ndarray
    left_out: Mapping[str, np.ndarray]
    truth_reliability: np.ndarray
    reliability: np.ndarray
    null_high: np.ndarray

    @property
    def ceiling(self) -> np.ndarray:
        """`(metric, method)`: what a method would reach whose *true* influences rank alike."""
        return np.sqrt(self.truth_reliability[:, None] * self.reliability)

    def interval(
        self, function: Callable[[np.ndarray], np.ndarray], level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Estimate, standard error and t interval of any function of the table of scores.

        `function` maps `(..., metric, method)` to `(..., anything)`. Degrees of freedom: the fewest
        of any source, less 1.
        """
        estimate = np.asarray(function(self.estimate))
        left_out = [np.asarray(function(values)) for values in self.left_out.values()]
        error, _ = jackknife_error(*left_out)
        half = error * stats.t.ppf((1 + level) / 2, min(map(len, left_out)) - 1)
        return estimate, error, estimate - half, estimate + half


def score(
    truth: tuple[xr.DataArray, xr.DataArray],
    predicted: Mapping[str, tuple[xr.DataArray, xr.DataArray]],
    *,
    generator: np.random.Generator,
    metrics: Sequence[str] = METRICS,
    n_splits: int = 20,
    n_permutations: int = 200,
) -> LdsScores:
    """LDS of several methods by several metrics, against one set of retrained laws.

    Args:
        truth: Laws before `(seed, query)` and after `(seed, removal, query)`, paired by seed.
        predicted: The same of each method, of seeds other than the truth's, paired among the
            methods (`distributions.shifted_samples`).
        generator: For random halves and permutations.
        metrics: Names in `distances.DISTANCES`.
        n_splits: Random halves of seeds for the reliabilities (Spearman-Brown, see `agreement`).
        n_permutations: Random orders of subsets, the same for all queries, for the null.

    Raises:
        ValueError: laws that do not fit each other, fewer than six seeds or four subsets, or
            no method.
    """
    if not predicted:
        raise ValueError("lds: no method was given.")
    chosen = [get_distance(metric) for metric in metrics]
    laws = {name: _laws(*pair) for name, pair in predicted.items()}
    true = _laws(*truth)
    for name, pair in predicted.items():
        require_same_pairs(
            truth[1].isel(seed=0, drop=True).reset_coords(drop=True),
            pair[1].isel(seed=0, drop=True).reset_coords(drop=True),
        )
        if len(laws[name][0]) < 6 or len(true[0]) < 6 or true[1].shape[1] < 4:
            raise ValueError("lds: fewer than six seeds or four subsets have no error.")
    halves = [_random_halves(len(true[0]), generator) for _ in range(n_splits)]
    orders = [generator.permutation(true[1].shape[1]) for _ in range(n_permutations)]
    table: dict[str, list[np.ndarray]] = {"estimate": [], "null": [], "own": []}
    left_out: dict[str, list[np.ndarray]] = {source: [] for source in SOURCES}
    truths = []
    for influence in chosen:
        y, y_left = _influences(influence, *true)
        p, p_left = zip(*(_influences(influence, *law) for law in laws.values()))
        p, p_left = np.stack(p), np.stack(p_left, axis=1)  # (method, M, Q), (seed, method, M, Q)
        table["estimate"].append(lds(y, p))
        left_out["truth seeds"].append(lds(y_left[:, None], p))
        left_out["prediction seeds"].append(lds(y, p_left))
        without = [np.delete(np.arange(len(y)), m) for m in range(len(y))]
        left_out["subsets"].append(np.stack([lds(y[kept], p[:, kept]) for kept in without]))
        ranks_y, ranks_p = _ranks(y), _ranks(p)  # once: permuting subsets permutes their ranks
        null = np.stack([(ranks_y[order] * ranks_p).sum(axis=-2).mean(axis=-1) for order in orders])
        table["null"].append(np.quantile(null, 0.975, axis=0))
        truths.append(_reliability(influence, true, halves))
        table["own"].append(
            [_reliability(influence, law, _fit(law, halves, generator)) for law in laws.values()]
        )
    return LdsScores(
        tuple(metrics),
        tuple(predicted),
        np.stack(table["estimate"]),
        {source: np.stack(values, axis=1) for source, values in left_out.items()},
        np.array(truths),
        np.array(table["own"]),
        np.stack(table["null"]),
    )


def _influences(
    influence: Distance, before: np.ndarray, after: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`(removal, query)`, and the same with each seed left out `(seed, removal, query)`."""
    kept = [np.delete(np.arange(len(before)), s) for s in range(len(before))]
    each = [influence(before[rows, None], after[rows]) for rows in kept]
    return influence(before[:, None], after), np.stack(each)


def _random_halves(n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = generator.permutation(n)
    return order[: n // 2], order[n // 2 :]


def _fit(
    law: tuple[np.ndarray, np.ndarray],
    halves: Sequence[tuple[np.ndarray, np.ndarray]],
    generator: np.random.Generator,
) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """The truth's halves where a prediction has as many seeds, and else halves of its own."""
    n = len(law[0])
    if n == sum(map(len, halves[0])):
        return halves
    return [_random_halves(n, generator) for _ in halves]


def _reliability(
    influence: Distance,
    law: tuple[np.ndarray, np.ndarray],
    halves: Sequence[tuple[np.ndarray, np.ndarray]],
) -> float:
    """Spearman-Brown of the LDS between halves of the seeds: 1 for influences without noise."""
    before, after = law
    between = [
        lds(*(influence(before[half, None], after[half]) for half in pair)) for pair in halves
    ]
    return float(spearman_brown(float(np.mean(between))))
