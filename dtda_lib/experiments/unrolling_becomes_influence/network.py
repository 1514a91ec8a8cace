"""Does unrolled differentiation of a network become its influence function as training goes on?

Numbers are of single runs, over (train, query) pairs: the shift of a query's loss upon removal of a
training point, as unrolling predicts it and as influence functions do at the same weights. All
times of a training lie on one trajectory.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from dtda_lib.attribution.curvature import dense_gauss_newton, dense_hessian
from dtda_lib.attribution.eigenvalues import reciprocals
from dtda_lib.attribution.gradients import per_example_gradients
from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.statistics.agreement import correlation
from dtda_lib.statistics.over_seeds import mean_interval

FOLDS = 5.0
"""Weight decay x sum of steps from which on training counts as long: a direction that the weight
decay alone holds has gone 99 % of its way."""
STILL = 0.05
"""Gradients of the objective that count as small, as a share of the root mean square of those of
single examples: a quarter of the noise of a batch of 25."""
BATCH = 25
COMPARED_CURVATURES = ("pinv", "ggn", "damped")
"""Pseudo-inverse of the objective's exact Hessian; Gauss-Newton and weight decay; exact Hessian and
weight decay with damping in proportion to 1 / sum of steps."""
NULL = 1e-5
"""Eigenvalues that the pseudo-inverse counts as null, as a share of the largest: rounding."""
WEIGHT_DECAY = "weight decay"
THRESHOLDS: tuple[str | float, ...] = (WEIGHT_DECAY, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""What counts as flat: directions in which the data curve less than the weight decay, or less than
this share of the largest eigenvalue of the objective."""
Found = Mapping[str, xr.Dataset]
"""Name of a training -> `run_values`."""


# ---------------------------------------------------------------- one trajectory


def unrolling_and_influence(
    task: Task,
    network: Network,
    chain: xr.Dataset,
    times: Sequence[float],
    *,
    weight_decay: float,
    damping: float,
) -> xr.Dataset:
    """What unrolling and influence functions say of the same pairs of the same runs.

    Args:
        task, network: What was trained.
        chain: `theta` `(seed, step, parameter)` and `response` `(seed, step, train, parameter)`.
        times: Sum of the steps at each kept step.
        weight_decay: Of the objective.
        damping: Of "damped", in units of 1 / time.

    Returns:
        Shifts upon removal in the unit of the loss, `unrolling` `(seed, step, train, query)` and
        `influence` `(seed, step, curvature, train, query)`; `smallest` eigenvalue of the
        objective's Hessian and `slope`, the norm of its gradient over the root mean square of
        single examples' gradients, `(seed, step)`; and by what counts as flat, `(seed, step,
        threshold)`: `span`, mean over queries of `|P grad m| / |grad m|` where P projects on all
        other directions, and `flat unrolling`, `flat influence`, root mean square over pairs of the
        part of the shift from flat directions over that of the whole. `folds` `(step,)` is weight
        decay x time.
    """
    exact, points = task.to(dtype=torch.float64), chain["train"].values.tolist()
    found = [
        [
            _at(
                exact,
                network,
                points,
                torch.from_numpy(theta.astype(np.float64)),
                torch.from_numpy(response.astype(np.float64)),
                weight_decay,
                damping / time,
            )
            for theta, response, time in zip(*run, times, strict=True)
        ]
        for run in zip(chain["theta"].values, chain["response"].values, strict=True)
    ]
    dims = {
        "unrolling": ("train", "query"),
        "influence": ("curvature", "train", "query"),
        **dict.fromkeys(("smallest", "slope"), ()),
        **dict.fromkeys(("span", "flat unrolling", "flat influence"), ("threshold",)),
    }
    variables: dict[str, Any] = {
        name: (("seed", "step", *axes), np.array([[one[name] for one in run] for run in found]))
        for name, axes in dims.items()
    }
    variables["time"] = ("step", np.asarray(times, float))
    variables["folds"] = ("step", weight_decay * np.asarray(times, float))
    coords = {"step": chain["step"], "train": points, "curvature": list(COMPARED_CURVATURES)}
    return xr.Dataset(variables, coords | {"threshold": [str(t) for t in THRESHOLDS]})


def _at(
    task: Task,
    network: Network,
    points: Sequence[int],
    theta: Tensor,
    response: Tensor,
    l2: float,
    damping: float,
) -> dict[str, np.ndarray]:
    """Of one run at one time: theta `(parameter,)`, response `(train, parameter)`."""
    train = gradients(network, theta, task, task.train_x, task.train_y)
    query = gradients(network, theta, task, task.query_x, task.query_y)
    own, n = train[points], task.n_train
    values, vectors = torch.linalg.eigh(dense_hessian(network, theta, task))
    values = values + l2  # of the objective
    gauss_newton = dense_gauss_newton(network, theta, task) + l2 * torch.eye(len(theta)).to(theta)
    at_query, at_own = query @ vectors, own @ vectors  # (query | train, eigenvector)
    at_response = response @ vectors
    at_influence = at_own * reciprocals(values, NULL) / n
    influence = (
        at_influence @ at_query.T,
        own @ torch.linalg.solve(gauss_newton, query.T) / n,
        at_own / (values + damping) @ at_query.T / n,
    )
    rows: dict[str, list[Tensor]] = {"span": [], "flat unrolling": [], "flat influence": []}
    for threshold in THRESHOLDS:
        level = 2 * l2 if threshold == WEIGHT_DECAY else threshold * values.abs().max()
        flat = values < level
        rows["span"].append((at_query[:, ~flat].norm(dim=1) / at_query.norm(dim=1)).mean())
        for name, shift in (("unrolling", at_response), ("influence", at_influence)):
            part, whole = shift[:, flat] @ at_query[:, flat].T, shift @ at_query.T
            rows[f"flat {name}"].append(part.norm() / whole.norm())
    return {
        "unrolling": (response @ query.T).numpy(),
        "influence": torch.stack(influence).numpy(),
        "smallest": values[0].numpy(),
        "slope": relative_slope(train, theta, l2).numpy(),
        **{name: torch.stack(parts).numpy() for name, parts in rows.items()},
    }


def gradients(network: Network, theta: Tensor, task: Task, x: Tensor, y: Tensor) -> Tensor:
    """Of the loss of each example, `(example, parameter)`."""
    return torch.cat(list(per_example_gradients(network, theta, task, x, y)))


def relative_slope(train: Tensor, theta: Tensor, l2: float) -> Tensor:
    """Norm of the objective's gradient over the root mean square of those of single examples,
    `train (train, parameter)`."""
    return (train.mean(0) + l2 * theta).norm() / train.norm(dim=1).pow(2).mean().sqrt()


def run_values(data: xr.Dataset) -> xr.Dataset:
    """`unrolling_and_influence` with numbers of each run in the place of its shifts.

    `pinv`, `ggn`, `damped` `(seed, step)`: correlation of unrolling with each influence function
    over (train, query); `scale`: slope of unrolling on the pseudo-inverse influence through 0.
    """
    unrolling, influence = data["unrolling"], data["influence"]
    values = {
        name: correlation(unrolling, influence.sel(curvature=name, drop=True))
        for name in COMPARED_CURVATURES
    }
    exact, over = influence.sel(curvature="pinv", drop=True), ("train", "query")
    values["scale"] = (unrolling * exact).sum(over) / (exact**2).sum(over)
    return data.drop_dims(["train", "query", "curvature"]).assign(values)


# ---------------------------------------------------------------- tables


def time_table(found: Found) -> pd.DataFrame:
    """Columns `recipe, step, time, folds, quantity, estimate, low, high`: means over runs with 95 %
    t intervals, of correlations, scale, smallest eigenvalue and slope."""
    rows = []
    for name, values in found.items():
        for quantity in (*COMPARED_CURVATURES, "scale", "smallest", "slope"):
            for index, step in enumerate(values["step"].values.tolist()):
                here = values.isel(step=index)
                about = {"recipe": name, "step": step, "time": float(here["time"])}
                about |= {"folds": float(here["folds"]), "quantity": quantity}
                rows.append(about | mean_interval(here[quantity].values))
    return pd.DataFrame(rows)


def in_regime(values: xr.Dataset) -> pd.DataFrame:
    """Correlations and scale at the last step, over the runs that the theorem speaks about.

    Those have a smallest eigenvalue above 0, a `slope` below `STILL` and at least `FOLDS`. With
    fewer than two of them the numbers are those of all runs, and `n` says so.

    Columns `quantity, estimate, low, high, n, runs, folds`.
    """
    last = values.isel(step=-1)
    counts = ((last["smallest"] > 0) & (last["slope"] < STILL) & (last["folds"] >= FOLDS)).values
    shown = counts if counts.sum() >= 2 else np.ones_like(counts)
    about = {"n": int(counts.sum()), "runs": len(counts), "folds": last["folds"].item()}
    return pd.DataFrame(
        {"quantity": name} | mean_interval(last[name].values[shown]) | about
        for name in (*COMPARED_CURVATURES, "scale", "smallest", "slope")
    )


def passing_table(values: xr.Dataset, levels: Sequence[float]) -> pd.DataFrame:
    """From which weight decay x sum of steps on a correlation stays above a level.

    The whole 95 % interval over runs, at that kept step and all later ones; NaN where it never
    does. Columns `curvature, level, folds`.
    """
    rows = []
    for name in COMPARED_CURVATURES:
        lows = np.array(
            [mean_interval(v)["low"] for v in values[name].transpose("step", "seed").values]
        )
        for level in levels:
            below = np.flatnonzero(~(lows > level))
            first = below[-1] + 1 if len(below) else 0
            folds = float(values["folds"][first]) if first < len(lows) else np.nan
            rows.append({"curvature": name, "level": level, "folds": folds})
    return pd.DataFrame(rows)


def usual_table(values: xr.Dataset) -> pd.DataFrame:
    """A run at its last step: correlations, and how much damping gains over the pseudo-inverse.

    Columns `quantity, estimate, low, high, n`.
    """
    last = values.isel(step=-1)
    arrays = {name: last[name].values for name in COMPARED_CURVATURES}
    arrays["damped - pinv"] = arrays["damped"] - arrays["pinv"]
    return pd.DataFrame(
        {"quantity": name} | mean_interval(each) | {"n": len(each)} for name, each in arrays.items()
    )


def difference_row(what: str, words: str, more: xr.DataArray, less: xr.DataArray) -> dict[str, Any]:
    """Mean over runs of `more - less` `(seed,)`, paired by seed: a row of `difference_table`."""
    gaps = more.values - less.values
    return {"what": what, "words": words} | mean_interval(gaps) | {"n": len(gaps)}


def flat_table(values: xr.Dataset) -> pd.DataFrame:
    """How much of queries and responses is flat at the last step, by what counts as flat.

    Columns `threshold, quantity, estimate, low, high, n`: "span" of the query gradients, the flat
    share of "unrolling" and of "influence", and their paired difference.
    """
    last, rows = values.isel(step=-1), []
    for threshold in last["threshold"].values.tolist():
        here = last.sel(threshold=threshold)
        arrays = {"span": here["span"].values}
        arrays |= {name: here[f"flat {name}"].values for name in ("unrolling", "influence")}
        arrays["unrolling - influence"] = arrays["unrolling"] - arrays["influence"]
        rows += [
            {"threshold": threshold, "quantity": name} | mean_interval(each) | {"n": len(each)}
            for name, each in arrays.items()
        ]
    return pd.DataFrame(rows)
