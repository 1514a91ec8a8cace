"""The law, a run of its own, or another run: what a score is scored against (C12).

For a model of run s, a method predicts the shift of each point; correlations are over points, mean
over queries, mean over runs. Targets:

* `own run`: the paired shift of the very run s (fixed-seed attribution);
* `other run`: the paired shift of another run (across seeds);
* `law`: the mean paired shift of all other runs (distributional attribution).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.over_seeds import jackknife, require_same_pairs, require_seeds
from dtda_lib.study.tables import numbers

from .noise import runs_of, unit_over_points

TARGETS = ("own run", "other run", "law")
ONE_MODEL, AVERAGE = "one model", "average"
DIFFERENCES = {"law - own run": ("law", "own run"), "other run - own run": ("other run", "own run")}


def target_values(truth: np.ndarray, predicted: np.ndarray) -> dict[tuple[str, str], float]:
    """Correlations `(what is scored, target)` of `(seed, train, query)` arrays of the same runs.

    One model: every target. The average of the other models: another run, and the law, for which
    the runs are cut in two, models averaged over one part and the truth over the other.
    """
    n = len(truth)
    one, other = unit_over_points(predicted), unit_over_points(truth)  # (seed, train, query)
    # (seed, train, query) -> (seed, train * query): sums over both at once
    cross = one.reshape(n, -1) @ other.reshape(n, -1).T / truth.shape[2]
    own = float(np.trace(cross) / n)
    across = float((cross.sum() - np.trace(cross)) / (n * (n - 1)))
    rest_truth = (truth.sum(axis=0) - truth) / (n - 1)  # mean of the other runs
    rest_models = (predicted.sum(axis=0) - predicted) / (n - 1)
    law = float((one * unit_over_points(rest_truth)).sum(axis=1).mean())
    average = float((unit_over_points(rest_models) * other).sum(axis=1).mean())
    parts = np.arange(n) < n // 2
    crossed = [
        (unit_over_points(predicted[a].mean(axis=0)) * unit_over_points(truth[~a].mean(axis=0)))
        .sum(axis=0)
        .mean()
        for a in (parts, ~parts)
    ]
    return {
        (ONE_MODEL, "own run"): own,
        (ONE_MODEL, "other run"): across,
        (ONE_MODEL, "law"): law,
        (AVERAGE, "other run"): average,
        (AVERAGE, "law"): float(np.mean(crossed)),
    }


def estimand_table(truth: xr.DataArray, predicted: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """Correlation of each method with each target, and differences of targets.

    The method "retrained" is the truth itself put in the place of a prediction: what another run,
    or the mean of all, says of a run. No prediction of the law can do better than its row
    `average`, no matter how good.

    Returns:
        Columns `method, scored, target, estimate, low, high, n_seeds`, targets of `TARGETS` and of
        `DIFFERENCES` (one model); 95 % jackknife intervals over runs.
    """
    t = runs_of(require_seeds(truth, at_least=6))
    rows = []
    for method, scores in {**predicted, "retrained": truth}.items():
        require_same_pairs(truth, scores)
        p = runs_of(scores)
        names = list(_and_differences(t, p))

        def values(kept: np.ndarray, p: np.ndarray = p) -> xr.DataArray:
            return xr.DataArray(list(_and_differences(t[kept], p[kept]).values()), dims="of")

        found = jackknife(values, len(t))
        for at, (scored, target) in enumerate(names):
            row = {"method": method, "scored": scored, "target": target}
            rows.append(row | numbers(found.isel(of=at)) | {"n_seeds": len(t)})
    return pd.DataFrame(rows)


def _and_differences(truth: np.ndarray, predicted: np.ndarray) -> dict[tuple[str, str], float]:
    values = target_values(truth, predicted)
    for name, (one, other) in DIFFERENCES.items():
        values[ONE_MODEL, name] = values[ONE_MODEL, one] - values[ONE_MODEL, other]
    return values


def method_difference(
    truth: xr.DataArray, first: xr.DataArray, second: xr.DataArray, target: str
) -> dict[str, float]:
    """By how much one model of the first method predicts a target better than of the second.

    Keys `estimate, low, high`; jackknife over runs, which both share.
    """
    t, a, b = (runs_of(s).astype(np.float64) for s in (truth, first, second))

    def value(kept: np.ndarray) -> float:
        one, other = (target_values(t[kept], p[kept])[ONE_MODEL, target] for p in (a, b))
        return one - other

    return numbers(jackknife(value, len(t)))
