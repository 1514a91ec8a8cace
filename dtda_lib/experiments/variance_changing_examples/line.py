"""Which point matters most: for the mean, the variance or the whole law of a prediction?

A *law* is `(seed, removal, query)`, whose first removal is "none"; runs of one seed are paired. The
*influence* of a point is the size of a change between the laws before and after its removal, pooled
over queries; the *pick* of a Delta is the point of the largest influence. Everything here is made
of means and variances over seeds, so resampling seeds is a product of matrices: `counts (draw,
seed)` says how often each seed occurs, and draw 0 is the sample itself. Predictions are in target
units; shifts are after - before.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy import stats

from dtda_lib.data.task import Task
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics import distances
from dtda_lib.statistics.distances import jackknife_interval
from dtda_lib.statistics.over_seeds import require_seeds
from dtda_lib.study import methods

DELTA_LABELS = ("mean", "variance", "w2")
"""Labels in tables and claims; "w2" is `w2_gaussian` here, which means and variances give."""
POOLINGS = ("average", "largest")
"""Over queries: root mean square, or the largest. Ours; the first is the main one."""
LEVEL = 0.95
LOOK = (1 + LEVEL) / 2
"""Level of each of two looks at a line: together they miss as often as one of `LEVEL` would."""
RELEVANT = 0.1
"""The least relative change that matters: of an influence, or in standard deviations (ours)."""


def delta_key(label: str) -> str:
    """The key in `statistics.distances.DISTANCES` of one of the labels above."""
    return "w2_gaussian" if label == "w2" else label


def delta_words(label: str) -> str:
    """What a sentence calls the Delta of one of the labels above."""
    return methods.DELTAS[delta_key(label)].words


# ---------------------------------------------------------------- laws


def last_epoch(bank: RunBank, name: str = "") -> xr.DataArray:
    """A measure of a bank (default: its first) after the last kept epoch, float64.

    A law if it is the measurement, `(seed, removal, query)`; the one output of a prediction and
    coordinates that no later step needs are dropped.
    """
    found = bank.dataset()[name or bank.measures[0].name].isel(checkpoint=-1, drop=True)
    found = found.isel(output=0, drop=True) if "output" in found.dims else found
    unneeded = ["init_seed", "order_seed", "query_id", "train_id", "point"]
    return found.astype(np.float64).drop_vars(unneeded, errors="ignore")


def asked_at(task: Task, x: np.ndarray) -> Task:
    """A regression on a line with other queries, whose targets are 0: predictions are measured."""
    queries = torch.as_tensor(x, dtype=task.train_x.dtype)[:, None]  # (query, 1)
    return replace(task, query_x=queries, query_y=torch.zeros_like(queries[:, 0]), query_id=())


def with_lone_point(task: Task, x: float, y: float, query_x: np.ndarray) -> Task:
    """The same, with one more training point, the last one."""
    return replace(
        asked_at(task, query_x),
        name=f"{task.name}-lone",
        train_x=torch.cat([task.train_x, task.train_x.new_tensor([[x]])]),
        train_y=torch.cat([task.train_y, task.train_y.new_tensor([y])]),
        train_id=(),
    )


# ---------------------------------------------------------------- influence, with resampled seeds


def resampled(n_seeds: int, n_boot: int, generator: np.random.Generator) -> np.ndarray:
    """Counts `(1 + n_boot, seed)`: every seed once, then bootstrap resamples."""
    drawn = generator.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_boot)
    return np.vstack([np.ones((1, n_seeds), dtype=int), drawn.reshape(-1, n_seeds)])


def left_out(n_seeds: int) -> np.ndarray:
    """Counts `(1 + seed, seed)`: every seed once, then each seed left out in turn."""
    return np.vstack([np.ones((1, n_seeds), dtype=int), 1 - np.eye(n_seeds, dtype=int)])


def changes(law: xr.DataArray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Every Delta of every removal and query, signed, `(draw, removal, query)` each.

    `counts (draw, seed)`. "variance" is in squared units of the law, "log_variance_ratio" has none,
    the others have its unit. `ValueError`: fewer than three seeds, or counts of other seeds.
    """
    require_seeds(law, at_least=3)
    if counts.shape[1] != law.sizes["seed"]:
        raise ValueError(f"counts of {counts.shape[1]} seeds for {law.sizes['seed']}.")
    values = law.transpose("seed", "removal", "query").values
    values = values - values.mean(axis=(0, 1))  # rounding is then that of the spread
    flat = values.reshape(len(values), -1)  # (seed, removal, query) -> (seed, cell)
    n = counts.sum(axis=1, keepdims=True)
    mean = counts @ flat / n
    variance = (counts @ flat**2 - n * mean**2) / (n - 1)
    shape = (len(counts), *values.shape[1:])  # (draw, cell) -> (draw, removal, query)
    mean, variance = mean.reshape(shape), np.maximum(variance, 0).reshape(shape)
    shift, sd = mean[:, 1:] - mean[:, :1], np.sqrt(variance)
    return {
        "mean": shift,
        "variance": variance[:, 1:] - variance[:, :1],
        "log_variance_ratio": np.log(variance[:, 1:] / variance[:, :1]),
        "w2": np.hypot(shift, sd[:, 1:] - sd[:, :1]),
    }


def influences_by_delta(
    law: xr.DataArray, counts: np.ndarray, pooling: str = "average"
) -> xr.DataArray:
    """Influence of every point `(delta, draw, train)`: the sizes of `changes`, pooled over queries.

    `ValueError`: an unknown pooling, or as `changes`.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling {pooling!r} is none of {POOLINGS}.")
    signed = changes(law, counts)
    found = {name: _pooled(signed[name], pooling) for name in DELTA_LABELS}
    coords = {"delta": list(found), "train": np.arange(law.sizes["removal"] - 1)}
    return xr.DataArray(np.stack(list(found.values())), coords, ("delta", "draw", "train"))


def _pooled(change: np.ndarray, pooling: str) -> np.ndarray:
    if pooling == "average":
        return np.sqrt((change**2).mean(axis=-1))
    return np.abs(change).max(axis=-1)


def influence_table(law: xr.DataArray, x: np.ndarray, pooling: str = "average") -> pd.DataFrame:
    """Each point's influences with 95 % jackknife intervals over seeds; one row a point and Delta.

    Columns: `point`, `x` (its input), `delta`, `estimate`, `low`, `high`.
    """
    n = law.sizes["seed"]
    found = influences_by_delta(law, left_out(n), pooling)
    estimate = found.isel(draw=0)
    error = np.sqrt((n - 1) * found.isel(draw=slice(1, None)).var("draw"))
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * error
    rows = [
        (point, x[point], delta, *(float(a.sel(delta=delta, train=point)) for a in ends))
        for ends in [(estimate, estimate - half, estimate + half)]
        for delta, point in product(DELTA_LABELS, range(len(x)))
    ]
    return pd.DataFrame(rows, columns=["point", "x", "delta", "estimate", "low", "high"])


# ---------------------------------------------------------------- picks


def first_picks(law: xr.DataArray, pooling: str = "average") -> dict[str, int]:
    """Delta -> position of the point of the largest influence, over all seeds."""
    once = np.ones((1, law.sizes["seed"]), dtype=int)
    return dict(zip(DELTA_LABELS, picks_of(law, once, pooling)[:, 0].tolist()))


def picks_of(law: xr.DataArray, counts: np.ndarray, pooling: str) -> np.ndarray:
    """`(delta, draw)`: position of the largest influence."""
    return influences_by_delta(law, counts, pooling).values.argmax(axis=-1)


def picks_table(
    first: xr.DataArray,
    fresh: xr.DataArray,
    n_boot: int,
    generator: np.random.Generator,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Which point the mean names and which another Delta, and by how much each beats the other.

    The picks A (mean) and B (the other Delta) come from the first seeds and are judged on fresh
    ones, so that choosing them biases nothing. One row for each pooling and other Delta: `by_mean`,
    `by_delta` (A and B); `mean_gap`, log of the mean influence of A over that of B, and
    `delta_gap`, log of the other influence of B over that of A, per power of the unit (half of it
    for a variance), both with percentile intervals of that level over resampled fresh seeds, NaN
    without resamples. `ValueError`: as `influences_by_delta`.
    """
    counts = resampled(fresh.sizes["seed"], n_boot, generator)
    rows = []
    for pooling in POOLINGS:
        chosen = first_picks(first, pooling)
        found = influences_by_delta(fresh, counts, pooling)
        for delta in DELTA_LABELS[1:]:
            a, b = chosen["mean"], chosen[delta]
            gaps = [
                np.log(found.sel(delta=name, train=winner) / found.sel(delta=name, train=loser))
                / distances.DISTANCES[delta_key(name)].power
                for name, winner, loser in (("mean", a, b), (delta, b, a))
            ]
            told = [number for gap in gaps for number in _with_percentiles(gap.values, level)]
            rows.append((pooling, delta, a, b, *told))
    columns = ["pooling", "delta", "by_mean", "by_delta"]
    columns += [f"{gap}_gap{end}" for gap in ("mean", "delta") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=columns)


def _with_percentiles(draws: np.ndarray, level: float) -> tuple[float, float, float]:
    if len(draws) < 2:
        return float(draws[0]), np.nan, np.nan
    low, high = np.quantile(draws[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(draws[0]), float(low), float(high)


def seen_at(law: xr.DataArray, x: np.ndarray, points: Mapping[str, int]) -> pd.DataFrame:
    """Where the removal of a point shows: its shift of the mean and factor of the spread.

    Args:
        law: `(seed, removal, query)`.
        x: Place of each query.
        points: Name -> point, by position.

    Returns:
        Rows of each point and query: `name`, `point`, `x`; `mean`, the shift in the law's unit, and
        `factor`, standard deviation after over before, each with a 95 % jackknife interval over
        paired seeds.
    """
    values = law.transpose("seed", "removal", "query").values
    frames = []
    for name, point in points.items():
        both = values[:, 0], values[:, point + 1]
        columns = {"name": name, "point": point, "x": x}
        for label, delta in (("mean", "mean"), ("factor", "log_variance_ratio")):
            chosen = distances.DISTANCES[delta]
            low, high = jackknife_interval(*both, chosen, paired=True, level=LEVEL)
            for end, number in (("", chosen(*both)), ("_low", low), ("_high", high)):
                columns[label + end] = number if delta == "mean" else np.exp(number / 2)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)
