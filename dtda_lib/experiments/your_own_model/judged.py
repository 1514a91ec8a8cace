"""Does the answer of notebook 11 hold what its plan promised? Judged by seeds that it has not used.

A law of many seeds is cut into disjoint *sets*, each as large as a user's study. What one set says
is compared with all the *other* seeds; intervals are Student's t over sets.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dtda_lib.ask.answer import Candidates, reliable, screen
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.agreement_where import per_query_correlations
from dtda_lib.statistics.over_seeds import mean_interval, require_seeds, signal_to_noise
from dtda_lib.statistics.power import power
from dtda_lib.statistics.significance import DEFAULT_TEST, MEAN_TESTS

from .methods import screening

EDGES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, np.inf)  # of |mu / sigma|, our choice


def sets_and_others(shift: xr.DataArray, n_seeds: int) -> Iterator[tuple[xr.DataArray, ...]]:
    """Each disjoint set of `n_seeds` seeds, and all seeds outside it.

    Raises:
        ValueError: fewer than two sets.
    """
    shift = require_seeds(shift)
    n_sets = shift.sizes["seed"] // n_seeds
    if n_sets < 2:
        raise ValueError(f"{shift.sizes['seed']} seeds are no two sets of {n_seeds}.")
    at = np.arange(shift.sizes["seed"])
    for number in range(n_sets):
        inside = (at >= number * n_seeds) & (at < (number + 1) * n_seeds)
        yield shift.isel(seed=inside), shift.isel(seed=~inside)


def _mean_over_sets(values: Sequence[float]) -> dict[str, float]:
    """Mean of the values of sets, with its 95 % t interval; NaN where a value is missing."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2 or not np.isfinite(array).all():
        return dict.fromkeys(("estimate", "low", "high"), float("nan"))
    return mean_interval(array)


def base_losses(bank: RunBank) -> xr.DataArray:
    """Mean loss `(query)` of the models that were trained on all points; trains what is missing."""
    return bank.dataset()["query_loss"].isel(removal=0).mean(["seed", "checkpoint"])


# ---------------------------------------------------------------- is the planned power there?


def _found(one: xr.DataArray, level: float) -> xr.DataArray:
    """Which pairs of a set the test of `reliable` finds at `level`."""
    return MEAN_TESTS[DEFAULT_TEST](one, one.dims[1:], np.random.default_rng(0)).p <= level


def planned_power_table(shift: xr.DataArray, n_seeds: int, level: float) -> pd.DataFrame:
    """How often a set finds a pair (p <= `level`), by the pair's |mu / sigma| on the other seeds.

    Columns: `from`, `to` (the bin), `snr` (mean within), `pairs` (mean over sets), `estimate`,
    `low`, `high` (share found, over sets) and `planned` (mean `power` of the pairs in the bin).
    """
    rows = []
    cases = [
        (np.abs(signal_to_noise(others)).values.ravel(), _found(one, level).values.ravel())
        for one, others in sets_and_others(shift, n_seeds)
    ]
    for low, high in pairwise(EDGES):
        inside = [(snr >= low) & (snr < high) for snr, _ in cases]
        if not all(one.any() for one in inside):
            continue
        shares = [float(hit[at].mean()) for (_, hit), at in zip(cases, inside)]
        snrs = np.concatenate([snr[at] for (snr, _), at in zip(cases, inside)])
        row = {"from": low, "to": high, "snr": float(snrs.mean())}
        row |= {"pairs": float(np.mean([at.sum() for at in inside]))} | _mean_over_sets(shares)
        rows.append(
            row | {"planned": float(np.mean(power(snrs, n_seeds, level, test=DEFAULT_TEST)))}
        )
    return pd.DataFrame(rows)


def found_beyond(shift: xr.DataArray, n_seeds: int, level: float, limit: float) -> dict[str, float]:
    """Share of the pairs with |mu / sigma| >= `limit` on the other seeds that a set finds.

    The limit is passed more often by noise than missed, which speaks against the plan.
    """
    shares = []
    for one, others in sets_and_others(shift, n_seeds):
        beyond = np.abs(signal_to_noise(others)) >= limit
        hit = _found(one, level).values[beyond.values]
        shares.append(float(hit.mean()) if hit.size else np.nan)
    return _mean_over_sets(shares)


# ---------------------------------------------------------------- do reliable pairs hold?


def holding_table(shift: xr.DataArray, n_seeds: int, q: float) -> pd.DataFrame:
    """What the pairs of a set do on the other seeds: reliable ones, and the largest of each query.

    Columns: `pairs` (mean over sets), `what`, `estimate`, `low`, `high`. Rows: `wrong sign`, the
    share whose mean has the other sign there; `kept`, the sum of means there, each times its sign
    in the set, over the sum of |means| in the set: 1 without selection, less with.
    """
    rows, sizes = defaultdict(list), defaultdict(list)
    for one, others in sets_and_others(shift, n_seeds):
        found, later = reliable(one, q=q), others.mean("seed").values
        size = np.abs(found["mean"].values)
        largest = size == size.max(axis=0, keepdims=True)  # (train, query)
        for name, chosen in (("reliable", found["reliable"].values), ("largest", largest)):
            turned = later[chosen] * np.sign(found["mean"].values[chosen])
            some = len(turned) > 0
            wrong = float((turned < 0).mean()) if some else np.nan
            kept = float(turned.sum() / size[chosen].sum()) if some else np.nan
            rows[name, "wrong sign"].append(wrong)
            rows[name, "kept"].append(kept)
            sizes[name].append(int(chosen.sum()))
    table = [
        {"set": name, "pairs": float(np.mean(sizes[name])), "what": what} | _mean_over_sets(values)
        for (name, what), values in rows.items()
    ]
    return pd.DataFrame(table)


# ---------------------------------------------------------------- does screening find the points?


def screening_curves(
    estimates: Mapping[str, xr.DataArray], shift: xr.DataArray, n_seeds: int, best: int, q: float
) -> pd.DataFrame:
    """Share of each query's `best` largest reliable points among the first k by a screening.

    Args:
        estimates: Scores `(seed, train, query)` of each way to screen.
        shift: Retraining on seeds that no screening used.
        n_seeds, q: Of a set, by which pairs are reliable.
        best: How many points of each query are looked for.

    Returns:
        Columns `method`, `k` (0 to all), `share`, `low`, `high` (over sets), `points` (k / N).
    """
    wanted = []
    for one, _ in sets_and_others(shift, n_seeds):
        found = reliable(one, q=q)
        size = np.abs(found["mean"]).where(found["reliable"], 0).values  # (train, query)
        rank = (-size).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        wanted.append(((rank < best) & (size > 0)).sum(axis=1))  # queries of each point
    rows = []
    for method, values in estimates.items():
        n_train = values.sizes["train"]
        order = screen(values, n_train, 0, np.random.default_rng(0)).top
        at = [int(np.flatnonzero(values["train"].values == point)[0]) for point in order]
        shares = np.array([np.cumsum(count[at]) / count.sum() for count in wanted])  # (set, k)
        for k in range(1, n_train + 1):
            there = _mean_over_sets(shares[:, k - 1])
            row = {"method": method, "k": k, "points": k / n_train, "share": there["estimate"]}
            rows.append(row | {end: there[end] for end in ("low", "high")})
    return pd.DataFrame(rows)


def first_points(curves: pd.DataFrame, k: int, share: float = 0.9) -> pd.DataFrame:
    """What the first k points of each screening hold, and how many points hold a larger share.

    Args:
        curves: `screening_curves`.
        k: How many points may be retrained without.
        share: The larger share of what is sought.

    Returns:
        A row a screening, by its display name; the last column is NaN where all are too few.
    """
    points = f"points that hold {share:.0%}"
    rows = []
    for method, part in curves.groupby("method", sort=False):
        at = part[part["k"] == k].iloc[0]
        row = {"screened by": screening(str(method)).label, f"share in the first {k}": at["share"]}
        row |= {"low": at["low"], "high": at["high"], "at random": at["points"]}
        rows.append(row | {points: part.loc[part["share"] >= share, "k"].min()})
    return pd.DataFrame(rows)


def rank_correlation_table(
    estimates: Mapping[str, xr.DataArray], shift: xr.DataArray
) -> pd.DataFrame:
    """Rank correlation of each estimator with retraining over the points of a query.

    Args:
        estimates: Estimator -> scores `(seed, train, query)`.
        shift: Retraining on as many seeds.

    Returns:
        Means over queries with 95 % jackknife intervals over seeds, by display names.
    """
    rows = []
    for name, values in estimates.items():
        seen = per_query_correlations(values, shift, kind="spearman")
        found = {key: float(seen[key]) for key in ("average", "low", "high")}
        rows.append({"estimator": screening(name).label, **found})
    return pd.DataFrame(rows).rename(columns={"average": "rank correlation"})


def top_against_random(found: xr.Dataset, candidates: Candidates) -> dict[str, float]:
    """Share of queries for which a point is reliable: mean over `top` - mean over `random`.

    With a 95 % Welch interval over points, for these seeds and queries.
    """
    each = {
        name: found["reliable"].sel(train=list(getattr(candidates, name))).mean("query").values
        for name in ("top", "random")
    }
    gap = float(each["top"].mean() - each["random"].mean())
    if all(np.ptp(values) == 0 for values in each.values()):
        return {"estimate": gap, "low": float("nan"), "high": float("nan")}
    ends = stats.ttest_ind(each["top"], each["random"], equal_var=False).confidence_interval()
    return {"estimate": gap, "low": float(ends.low), "high": float(ends.high)}
