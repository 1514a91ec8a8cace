"""The conventions of the study, each with the number that pins it, where all laws are known.

Everything is about `testbeds.AnchoredRidge` without noise on targets: closed forms, and a few
hundred runs that are really trained where a convention speaks about single runs. Measurements are
predictions in target units; shifts are after - before.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.study import methods
from dtda_lib.theory.testbeds import (
    AnchoredRidge,
    GaussianLaw,
    gaussian_distances,
    line_with_far_point,
)

THREE_DELTAS = ("mean", "log_variance_ratio", "w2")
"""The three Deltas: names in `distances.DISTANCES`. The log ratio stands for the variance."""
CLOSED_FORM_ESTIMATORS = {"if": "if_ggn", "rif": "rif"}
"""Estimator in tables -> method; for squared errors of a linear model, Gauss-Newton is exact."""
NAMES = {
    **{key: methods.METHODS[method].label for key, method in CLOSED_FORM_ESTIMATORS.items()},
    **{key: methods.DELTAS[key].label for key in THREE_DELTAS},
    **{f"rank_{key}": f"rank by {methods.DELTAS[key].label}" for key in THREE_DELTAS},
}
"""Estimator, Delta or column of ranks -> what tables show."""
LEVERAGE = {"if": False, "rif": True}
"""Estimator -> whether the prediction is leverage-corrected."""
STEP = 1e-6  # of N epsilon, for the slope at 0


def example() -> tuple[AnchoredRidge, dict[str, int]]:
    """The testbed of the notebook, and the two points of its story.

    "far" is the point whose removal moves no mean; "ordinary" the one whose removal moves the mean
    prediction most, on average over queries.
    """
    testbed, far = line_with_far_point()
    shift = abs(testbed.without().mean - testbed.law().mean).mean("query")
    return testbed, {"far": far, "ordinary": int(shift.argmax("removal"))}


def at_queries(testbed: AnchoredRidge, queries: slice | Sequence[int]) -> AnchoredRidge:
    """The same problem, asked at some of its queries only."""
    return replace(testbed, query_x=testbed.query_x[queries])


def down_weighted_ridge(testbed: AnchoredRidge, point: int, epsilon: float) -> AnchoredRidge:
    """Training on the objective - `epsilon` times the loss of `point`: weight 1 - N epsilon.

    The loss is a square, so scaling a point's input and target by the root of its weight is the
    same. `ValueError`: noise on targets, which would not be scaled, or epsilon beyond 1/N.
    """
    weight = 1 - testbed.n_train * epsilon
    if testbed.target_sd > 0 or weight < 0:
        raise ValueError(f"no noise on targets and epsilon = {epsilon} up to 1/N needed.")
    x, y = testbed.train_x.copy(), testbed.train_y.copy()
    x[point] *= np.sqrt(weight)
    y[point] *= np.sqrt(weight)
    return replace(testbed, train_x=x, train_y=y)


def dropped(testbed: AnchoredRidge, point: int) -> AnchoredRidge:
    """Training on the N - 1 other points at 1/(N - 1): the other meaning of a removal."""
    x, y = (np.delete(array, point, axis=0) for array in (testbed.train_x, testbed.train_y))
    return replace(testbed, train_x=x, train_y=y)


# ---------------------------------------------------------------- conventions


def convention_table(
    testbed: AnchoredRidge, points: dict[str, int], n_seeds: int, generator: np.random.Generator
) -> pd.DataFrame:
    """One row for each number that pins a convention, at the last query.

    Columns: `convention`, `number` (what is computed), `value`, `must be` ("" where nothing is
    prescribed, because the number shows what the other choice would have been).
    """
    testbed = replace(testbed, query_x=np.vstack([testbed.train_x, testbed.query_x[-1:]]))
    far, ordinary, n = points["far"], points["ordinary"], testbed.n_train
    before, after = testbed.law(), testbed.without()
    removed = down_weighted_ridge(testbed, far, 1 / n).law()
    gap = max(
        float(abs(removed.mean - after.mean[far]).max()),
        float(abs(removed.sd - after.sd[far]).max()),
    )
    slope = (down_weighted_ridge(testbed, ordinary, STEP / n).law().mean - before.mean)[-1] / (
        STEP / n
    )
    predicted = testbed.predicted([[ordinary]]).mean[0, -1] - before.mean[-1]
    other = dropped(testbed, far).law().mean[-1] - before.mean[-1]
    same, different = (float(value) for value in shift_sds(before, after, far, -1))
    rows = [
        (
            "sign: after − before",
            "share of runs and points in which the loss on a point rises when it is removed",
            own_loss_rises(testbed, n_seeds, generator),
            "1",
        ),
        ("removal is weight 0", "law at ε = 1/N less law without the point", gap, "0"),
        (
            "scale: shift = slope / N",
            "slope of the mean in ε at 0, times 1/N, over the influence function's shift",
            float(slope / n / predicted),
            "1",
        ),
        (
            "1/N stays 1/N",
            "shift of the mean without the far point, at fixed 1/N",
            abs(float(after.mean[far, -1] - before.mean[-1])),
            "0",
        ),
        ("1/N stays 1/N", "the same, had 1/N become 1/(N − 1)", float(other), ""),
        ("runs are paired", "spread of the far point's shift over runs, same seeds", same, ""),
        ("runs are paired", "the same, seeds not shared", different, ""),
        (
            "runs are paired",
            "seeds that pairing saves: needed without, for one with",
            different**2 / same**2,
            "",
        ),
    ]
    return pd.DataFrame(rows, columns=["convention", "number", "value", "must be"])


def own_loss_rises(testbed: AnchoredRidge, n_seeds: int, generator: np.random.Generator) -> float:
    """Share of (run, point) in which removing the point raises the loss on it, by real training."""
    testbed = replace(testbed, query_x=testbed.train_x)
    runs = testbed.simulate(n_seeds, generator)
    own = {
        "base": runs["base"].values,  # (seed, train): query k is point k
        "retrained": np.einsum("stt->st", runs["retrained"].values),
    }
    loss = {name: 0.5 * (value - testbed.train_y) ** 2 for name, value in own.items()}
    return float((loss["retrained"] > loss["base"]).mean())


def shift_sds(
    before: GaussianLaw, after: GaussianLaw, point: int, query: int
) -> tuple[xr.DataArray, xr.DataArray]:
    """Standard deviation over runs of a prediction's shift: with the same seeds, and with others.

    `after` as `AnchoredRidge.without` gives it for every point alone; target units.
    """
    both = (before.variance + after.variance)[{"removal": point, "query": query}]
    shared = before.covariance(after)[{"removal": point, "query": query}]
    return np.sqrt(both - 2 * shared), np.sqrt(both)


def answers_table(
    testbed: AnchoredRidge, points: dict[str, int], generator: np.random.Generator
) -> pd.DataFrame:
    """Three answers to "what did this point do?", at the last query, in target units.

    `value`: for the law the exact shift of the mean, for one fixed seed the shift of that run, and
    across seeds a run without the point - another run with it. `spread`: exact standard
    deviation of such an answer over runs, 0 where it does not depend on one.
    """
    testbed = at_queries(testbed, [-1])
    before, after = testbed.law(), testbed.without()
    runs = testbed.simulate(2, generator)
    base, retrained = runs["base"][:, 0].values, runs["retrained"][:, :, 0].values
    rows = []
    for name, point in points.items():
        same, other = shift_sds(before, after, point, 0)
        answers = {
            "law": (float((after.mean[point] - before.mean)[0]), 0.0),
            "a fixed seed": (retrained[0, point] - base[0], float(same)),
            "across seeds": (retrained[1, point] - base[0], float(other)),
        }
        rows += [(name, estimand, *answer) for estimand, answer in answers.items()]
    return pd.DataFrame(rows, columns=["point", "estimand", "value", "spread"])


# ---------------------------------------------------------------- three Deltas


def delta_table(testbed: AnchoredRidge) -> pd.DataFrame:
    """Size of each Delta of each point, averaged over queries, and the ranks (1 = largest).

    `mean` and `w2` in target units; sizes, so that queries on both sides of 0 do not cancel.
    """
    found = abs(gaussian_distances(testbed.law(), testbed.without()))
    table = pd.DataFrame(
        {
            "point": np.arange(testbed.n_train),
            "x": testbed.train_x[:, 1],
            "leverage": testbed.leverages(),
            **{name: found[name].mean("query").values for name in THREE_DELTAS},
        }
    )
    for name in THREE_DELTAS:
        table[f"rank_{name}"] = table[name].rank(ascending=False, method="first").astype(int)
    return table


def neutral_table(testbed: AnchoredRidge, far: int) -> pd.DataFrame:
    """Removals that move no mean: of the far point, and of any point where all targets are 0.

    Over points and queries, the largest shift of a mean in standard deviations of the prediction,
    and the smallest and largest ratio of the variances after and before.
    """
    silent = replace(testbed, train_y=np.zeros(testbed.n_train))
    cases = {
        "the far point": (testbed, [[far]]),
        "any point, all targets 0": (silent, None),
    }
    rows = []
    for name, (problem, groups) in cases.items():
        before, after = problem.law(), problem.without(groups)
        shift = float((abs(after.mean - before.mean) / before.sd).max())
        ratio = after.variance / before.variance
        rows.append((name, shift, float(ratio.min()), float(ratio.max())))
    return pd.DataFrame(rows, columns=["removed", "mean shift", "variance ×, least", "most"])


# ---------------------------------------------------------------- estimators


def error_table(testbed: AnchoredRidge, size: int) -> pd.DataFrame:
    """How wrong the predicted law of every group of `size` points is, exactly.

    One row for each group and estimator. Errors are sums over queries, relative to what the removal
    really does: `mean` and `variance` sizes of the difference between predicted and true change,
    `w2` the distance from the predicted law to the true one over that from no change to it. NaN
    where a removal does not move the mean. `kept` is the predicted share of the true shift of the
    mean, and `leverage` the largest of the group.
    """
    groups = list(combinations(range(testbed.n_train), size))
    before, true = testbed.law(), testbed.without(groups)
    moved = gaussian_distances(before, true)
    leverage = testbed.leverages()[np.array(groups)].max(axis=1)
    real = abs(moved["mean"]).sum("query") > 1e-9 * float(before.sd.mean())
    frames = []
    for name, corrected in LEVERAGE.items():
        guess = testbed.predicted(groups, leverage=corrected)
        error = abs(gaussian_distances(true, guess)).sum("query")
        total = abs(moved).sum("query")
        share = xr.dot(guess.mean - before.mean, moved["mean"], dim="query")
        share = share / (moved["mean"] ** 2).sum("query").where(real)
        columns = {
            "mean": (error["mean"] / total["mean"].where(real)).values,
            "variance": (error["variance"] / total["variance"]).values,
            "w2": (error["w2"] / total["w2"]).values,
            "kept": share.values,
        }
        labels = {"group": true.mean["removal"].values, "size": size, "leverage": leverage}
        frames.append(pd.DataFrame({**labels, "estimator": name, **columns}))
    return pd.concat(frames, ignore_index=True)


def error_summary(errors: pd.DataFrame) -> pd.DataFrame:
    """Median and 90 % range over all groups of the relative W2 error, per size and estimator."""
    grouped = errors.groupby(["size", "estimator"], sort=False)["w2"]
    table = grouped.quantile([0.05, 0.5, 0.95]).unstack().reset_index()
    table.columns = ["size", "estimator", "low", "median", "high"]
    table.insert(2, "groups", grouped.size().values)
    return table


def averaged_shift_variance(testbed: AnchoredRidge, point: int) -> pd.DataFrame:
    """Predicted over true change of variance at the last query: each run's own shift, or one shift.

    A single model's score, or the mean over models, moves all runs alike, and cannot change a
    variance: only the dependence of the shift on the run can.
    """
    testbed = at_queries(testbed, [-1])
    before, true = testbed.law(), testbed.without([[point]])
    change = float((true.variance - before.variance).squeeze())
    rows = []
    for name, corrected in LEVERAGE.items():
        own = testbed.predicted([[point]], leverage=corrected)
        common = GaussianLaw(own.mean, xr.zeros_like(own.loading) + before.loading)
        for what, law in (("own shift", own), ("averaged shift", common)):
            share = float((law.variance - before.variance).squeeze()) / change
            rows.append((name, what, share))
    return pd.DataFrame(rows, columns=["estimator", "each run moves by", "share of true change"])
