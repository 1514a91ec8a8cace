"""The law, or a run of its own under an intervention: what a score is scored against (C12).

For a model of run s, a method predicts the shift of each point; correlations are over points, mean
over queries, mean over runs. Targets of one model:

* `masked`, `re-shuffled`, `deleted`: the shift of the very run s under that intervention
  (fixed-seed attribution; see `setting.INTERVENTIONS`);
* `law`: the mean masked shift of all other runs (distributional attribution). It is estimated from
  so many runs, so the noise of that mean is taken off; the law itself has none. An own run keeps
  its noise, which is what that estimand is.

`law, many models`: scores averaged over half of the models, against the law of the other half of
the runs, as d-TDA is practised.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.over_seeds import require_same_pairs, require_seeds
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.study.tables import numbers

from .noise import NOISE_GROUPS, covariance_parts, unit_over_points, where_resolved

OWN = ("masked", "re-shuffled", "deleted")
LAW, MANY = "law", "law, many models"
TARGETS = (*OWN, LAW, MANY)
DIFFERENCES = {f"{LAW} - {name}": (LAW, name) for name in OWN} | {
    "many on law - masked": (MANY, "masked")
}


def target_values(own: Mapping[str, np.ndarray], predicted: np.ndarray) -> dict[str, float]:
    """Correlation of predictions with each of `TARGETS`, of own runs those that are given.

    Args:
        own: Intervention -> shifts `(seed, train, query)` of the runs of the models; "masked" must
            be among them.
        predicted: Of the same runs, points and queries.
    """
    truth, n = own["masked"], len(predicted)
    one = unit_over_points(predicted)

    def with_target(shifts: np.ndarray) -> float:
        return float((one * unit_over_points(shifts)).sum(axis=1).mean())

    rest = (truth.sum(axis=0) - truth) / (n - 1)  # mean of the other runs
    first = np.arange(n) < n // 2
    crossed = [
        (unit_over_points(predicted[a].mean(axis=0)) * unit_over_points(truth[~a].mean(axis=0)))
        .sum(axis=0)
        .mean()
        for a in (first, ~first)
    ]
    return {name: with_target(shifts) for name, shifts in own.items()} | {
        LAW: with_target(rest) / fidelity(truth, n - 1),
        MANY: float(np.mean(crossed)) / fidelity(truth, n / 2),
    }


def fidelity(truth: np.ndarray, runs: float) -> float:
    """Correlation over points of the mean of so many runs with the law's mean, mean over queries.

    The root of S / (S + v / runs), from unbiased variances over points of true means S and of
    noise v (`noise.covariance_parts`); a negative S counts as 0. NaN if all do.
    """
    true, noise = covariance_parts(truth, truth)
    true = np.maximum(true, 0.0)
    found = float(np.sqrt(true / (true + noise / runs)).mean()) if true.any() else 0.0
    return found if found > 0 else np.nan


def estimand_table(
    own: Mapping[str, xr.DataArray], predicted: Mapping[str, xr.DataArray]
) -> pd.DataFrame:
    """Correlation of each method with each target, and differences of targets.

    The method "retrained" is the masked shift itself in the place of a prediction: what a perfect
    fixed-seed method could say of an own run under another intervention, and of the law.

    Args:
        own: Intervention -> shifts `(seed, train, query)`.
        predicted: Method -> the same, of the same runs.

    Returns:
        Columns `method, target, estimate, low, high, n_seeds`, targets of `TARGETS` and of
        `DIFFERENCES`; 95 % intervals over seeds, points and queries (`over_sets`). With 16 seeds,
        12 points and 8 queries, all new in 120 repeats, those of two differences covered 98 and
        100 % (tests/experiments/test_evaluation.py): somewhat too wide.

    Raises:
        ValueError: fewer than six seeds, or shifts of different runs, points or queries.
    """
    truths = {name: require_seeds(shifts, at_least=6) for name, shifts in own.items()}
    rows = []
    for method, scores in {**predicted, "retrained": own["masked"]}.items():
        require_same_pairs(*truths.values(), scores)
        data = xr.Dataset(truths | {"predicted": scores.astype(np.float64)})
        found = where_resolved(over_sets(data, _values, groups=NOISE_GROUPS))
        for name in found["target"].values:
            row = {"method": method, "target": str(name)} | numbers(found, target=name)
            rows.append(row | {"n_seeds": scores.sizes["seed"]})
    return pd.DataFrame(rows)


def _values(data: xr.Dataset) -> xr.DataArray:
    """All targets and differences of a dataset of shifts, along `target`."""
    arrays = {name: one.transpose("seed", "train", "query").values for name, one in data.items()}
    found = target_values(arrays, arrays.pop("predicted"))
    found |= {n: found[a] - found[b] for n, (a, b) in DIFFERENCES.items() if b in found}
    return xr.DataArray(list(found.values()), dims="target", coords={"target": list(found)})
