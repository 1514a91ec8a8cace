"""Is the predicted law nearer than no change, by how much, and where does it stop being so?

Tables of what `predicted_laws` measures. A *case* is one removal and one query. Every number has a
95 % jackknife interval over blocks of seeds (`low`, `high`), for these removals and queries; shares
also one over removals and queries (`draw_low`, `draw_high`), for these seeds. With fewer than three
blocks intervals mean nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.distances import log_ratio, variance
from dtda_lib.study.wording import number, told

from .laws import (
    KINDS,
    Laws,
    Removals,
    gap_squares,
    over_blocks,
    seeds_of_blocks,
    stacked,
    w2_squares,
)
from .methods import looks

ALL = "all sizes"
_N_DRAWS = 1000


def _frame(found: xr.Dataset) -> pd.DataFrame:
    return found.to_dataframe().reset_index()


# ---------------------------------------------------------------- shares of cases


def _nearer(squares: xr.Dataset) -> xr.DataArray:
    return (squares["predicted"] < squares["no_change"]).astype(np.float64)


def _per_set(cases: xr.DataArray, removals: Removals, everything: bool = True) -> xr.DataArray:
    """Mean over the removals of each set (and over random sets, `ALL`) and over queries."""
    names = list(dict.fromkeys(removals.table["set"]))
    each = [cases.isel(removal=removals.rows(name)).mean(["removal", "query"]) for name in names]
    found = stacked(each, "set", names)
    if not everything:
        return found
    whole = found.sel(set=removals.random_sets).mean("set").expand_dims(set=[ALL])
    return xr.concat([found, whole], "set")


def share_table(
    laws: Laws, removals: Removals, halves: np.ndarray, generator: np.random.Generator
) -> pd.DataFrame:
    """Share of cases in which the predicted law is nearer to the retrained one than no change.

    One row for each set of removals (`ALL`: the mean over random sets), estimator and kind: "mean"
    and "sd" by `gap_squares`, "w2" by `w2_squares`. Noise pulls shares towards 1/2 and biases them
    neither way beyond that, as both squares carry the same.
    """

    def cases(blocks: np.ndarray) -> xr.DataArray:
        gaps = _nearer(gap_squares(laws, blocks).sel(kind=list(KINDS[:2])))
        w2 = _nearer(w2_squares(laws, halves, blocks)).expand_dims(kind=["w2"])
        return xr.concat([gaps, w2], "kind")

    seen = cases(np.arange(laws.n_blocks))
    over_seeds = over_blocks(lambda b: _per_set(cases(b), removals), laws.n_blocks)
    drawn = _over_draws(seen, removals, generator)
    return _frame(over_seeds.assign(draw_low=drawn[0], draw_high=drawn[1]).rename(estimate="share"))


def _over_draws(
    cases: xr.DataArray, removals: Removals, generator: np.random.Generator
) -> tuple[xr.DataArray, xr.DataArray]:
    """Ends of the 95 % interval when removals (within sets) and queries are drawn again."""
    n_query, sets = cases.sizes["query"], list(dict.fromkeys(removals.table["set"]))
    queries = generator.multinomial(n_query, np.full(n_query, 1 / n_query), _N_DRAWS) / n_query
    values = cases.transpose(..., "removal", "query").values @ queries.T  # (..., removal, draw)
    found = {}
    for name in sets:
        rows = removals.rows(name)
        weights = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), _N_DRAWS)
        found[name] = (values[..., rows, :] * weights.T / len(rows)).sum(axis=-2)
    found[ALL] = np.mean([found[name] for name in removals.random_sets], axis=0)
    dims = [name for name in cases.dims if name not in ("removal", "query")]
    coords = {name: cases[name] for name in dims} | {"set": list(found)}
    draws = xr.DataArray(np.stack(list(found.values())), coords, ("set", *dims, "draw"))
    ends = draws.quantile([0.025, 0.975], "draw")
    return ends.isel(quantile=0, drop=True), ends.isel(quantile=1, drop=True)


# ---------------------------------------------------------------- relative errors


def error_table(laws: Laws, removals: Removals) -> pd.DataFrame:
    """Root mean square gap that prediction leaves, relative to that of no change; 1 = of no use.

    By `gap_squares`, whose noise is taken off: 0 is a perfect prediction, at any number of seeds.
    One row for each set, estimator and kind; `no_change` is what the error is relative to, in the
    unit of the target. Where the seeds cannot tell the prediction's gap from none, `low` is 0.
    """

    def relative(blocks: np.ndarray) -> xr.DataArray:
        means = _means(gap_squares(laws, blocks), removals)
        return means["predicted"] / means["no_change"]  # squares, whose errors are nearer normal

    found = np.sqrt(over_blocks(relative, laws.n_blocks).clip(min=0)).rename(estimate="error")
    size = np.sqrt(_means(gap_squares(laws), removals)["no_change"].clip(min=0))
    return _frame(found.assign(no_change=size))


def _means(squares: xr.Dataset, removals: Removals) -> xr.Dataset:
    return squares.map(_per_set, removals=removals, everything=False)


def floor_table(laws: Laws, removals: Removals, halves: np.ndarray) -> pd.DataFrame:
    """Root mean square W2 between halves of the seeds, per set, in the unit of the target.

    `no_change` and each estimator's law to the retrained one, `perfect` the retrained law to
    itself, which no prediction can beat, and `floor` the law of all points to itself.
    """
    squares = w2_squares(laws, halves)
    rows = []
    for name in dict.fromkeys(removals.table["set"]):
        part = squares.isel(removal=removals.rows(name)).mean()
        per = squares["predicted"].isel(removal=removals.rows(name)).mean(["removal", "query"])
        row = {what: float(np.sqrt(part[what])) for what in ("floor", "perfect", "no_change")}
        row |= {str(e): float(np.sqrt(per.sel(estimator=e))) for e in laws.estimators}
        rows.append({"set": name} | row)
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- single points and leverage


def single_table(laws: Laws, removals: Removals, leverage: xr.DataArray) -> pd.DataFrame:
    """Of each point that is left out alone: which share of the mean shift is predicted.

    `kept`: projection of the predicted mean shifts of all queries on the true ones, noise taken
    off; `leverage`: mean over seeds, from `estimated_shifts`; `size`: root mean square true shift
    of the mean.
    """
    rows, points, products = _single_points(laws, removals)

    def kept(blocks: np.ndarray) -> xr.DataArray:
        product, square = products(blocks)
        return product / square

    table = _frame(over_blocks(kept, laws.n_blocks).rename(estimate="kept"))
    _, square = products(np.arange(laws.n_blocks))
    about = pd.DataFrame(
        {
            "removal": laws.retrained["removal"].values[rows],
            "point": points,
            "set": removals.table["set"].to_numpy()[rows],
            "leverage": leverage.mean("seed").values[points],
            "size": np.sqrt(square.clip(min=0) / laws.base.sizes["query"]).values,
        }
    )
    return about.merge(table, on="removal").drop(columns="removal")


def kept_table(laws: Laws, removals: Removals, leverage: xr.DataArray) -> pd.DataFrame:
    """Over all single points: `kept` and `kept` less its prediction, by estimator.

    The mean over points of the share of the mean shift that is predicted, weighed by the size of
    the true shift (sums of products over points and queries), against `expected`: for influence
    functions the like mean of 1 - leverage, else 1.
    """
    rows, points, products = _single_points(laws, removals)
    left = 1 - leverage.mean("seed").values[points]
    left = xr.DataArray(left, {"removal": laws.retrained["removal"].values[rows]}, ("removal",))

    def both(blocks: np.ndarray) -> xr.DataArray:
        product, square = products(blocks)
        share = product.sum("removal") / square.sum("removal")
        expected = ((left * square).sum("removal") / square.sum("removal")).broadcast_like(share)
        return stacked([share, expected, share - expected], "what", ["kept", "1 - h", "less"])

    return _frame(over_blocks(both, laws.n_blocks))


def _single_points(
    laws: Laws, removals: Removals
) -> tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], tuple[xr.DataArray, xr.DataArray]]]:
    """Removals of one point, these points, and `_product` of shifts as a function of blocks.

    Of the predicted with the true mean shift, `(estimator, removal)`, and of the true one with
    itself, `(removal,)`.
    """
    rows = np.flatnonzero(removals.table["points"] == 1)
    points = np.array([removals.groups[row][0] for row in rows], dtype=int)
    true = (laws.retrained - laws.base).isel(removal=rows)
    guess = (laws.predicted - laws.base).isel(removal=rows)

    def products(blocks: np.ndarray) -> tuple[xr.DataArray, xr.DataArray]:
        seeds = seeds_of_blocks(blocks)
        one, other = guess.isel(seed=seeds), true.isel(seed=seeds)
        return _product(one, other), _product(other, other)

    return rows, points, products


def _product(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Unbiased sum over queries of the product of both means over seeds."""
    n = one.sizes["seed"]
    product = one.mean("seed") * other.mean("seed")
    shared = ((one - one.mean("seed")) * (other - other.mean("seed"))).sum("seed") / (n - 1) / n
    return (product - shared).sum("query")


# ---------------------------------------------------------------- change of spread


def spread_table(laws: Laws, removals: Removals, halves: np.ndarray) -> pd.DataFrame:
    """Do predicted and true changes of the variance go together? Log variance ratios over cases.

    Between independent halves of the seeds: `r` correlates the predicted ratio with the true one of
    the other half, `ceiling` is the geometric mean of both reliabilities (predicted with predicted,
    true with true), their best possible value; `change` is the mean true log ratio, `predicted` the
    mean predicted one. One row for each set and estimator, `r` and `r - ceiling` ("gap") with
    intervals.
    """
    base = laws.base.transpose("seed", "query").values[:, None]
    true = laws.retrained.transpose("seed", "removal", "query").values
    guess = laws.predicted.transpose("seed", "estimator", "removal", "query").values
    names = list(dict.fromkeys(removals.table["set"]))

    def ratios(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = variance(base[seeds])
        return log_ratio(variance(true[seeds]), before), log_ratio(variance(guess[seeds]), before)

    def both(blocks: np.ndarray) -> xr.DataArray:
        sums = np.zeros((3, len(names), guess.shape[1]))  # cross, true, guess
        for split in halves[:, :, blocks].reshape(len(halves), 2, -1):
            (true_a, guess_a), (true_b, guess_b) = (ratios(half) for half in split)
            for n, name in enumerate(names):
                rows = removals.rows(name)
                sums[0, n] += (_corr(guess_a, true_b, rows) + _corr(guess_b, true_a, rows)) / 2
                sums[1, n] += _corr(true_a, true_b, rows)
                sums[2, n] += _corr(guess_a, guess_b, rows)
        cross, own, other = sums / len(halves)
        ceiling = np.sqrt(own.clip(min=0) * other.clip(min=0))
        coords = {"what": ["r", "ceiling", "gap"], "set": names, "estimator": laws.estimators}
        return xr.DataArray(np.stack([cross, ceiling, cross - ceiling]), coords, list(coords))

    table = _frame(over_blocks(both, laws.n_blocks))
    whole = ratios(np.arange(len(base)))
    rows = [
        (name, estimator, whole[0][at].mean(), whole[1][e, at].mean())
        for name in names
        for at in [removals.rows(name)]
        for e, estimator in enumerate(laws.estimators)
    ]
    about = pd.DataFrame(rows, columns=["set", "estimator", "change", "predicted"])
    return table.merge(about, on=["set", "estimator"])


def _corr(one: np.ndarray, other: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Correlation over the cases `(removal, query)` of these removals."""

    def unit(values: np.ndarray) -> np.ndarray:
        flat = values[..., rows, :].reshape(*values.shape[:-2], -1)
        flat = flat - flat.mean(axis=-1, keepdims=True)
        size = np.linalg.norm(flat, axis=-1, keepdims=True)
        return flat / np.where(size > 0, size, np.inf)

    return (unit(one) * unit(other)).sum(axis=-1)


# ---------------------------------------------------------------- for readers


def shown_shares(shares: pd.DataFrame) -> pd.DataFrame:
    """Shares over all sizes and intervals over seeds: a row an estimator, a column a kind."""
    whole = shares[(shares["set"] == ALL) & (shares["estimator"] != "if_hessian")]
    return _shown(whole, "kind", [told(row, "share") for _, row in whole.iterrows()])


def shown_kept(kept: pd.DataFrame) -> pd.DataFrame:
    """Shares of a single point's shift with intervals, and what they are above 1 - h."""
    names = ["unrolling", "ud_corrected", "if_ggn", "if_ggn_raw", "rif"]
    part = kept[kept["estimator"].isin(names) & kept["what"].isin(["kept", "less"])]
    columns = {"kept": "share of the shift predicted", "less": "share - (1 − h)"}
    part = part.assign(what=part["what"].map(columns))
    return _shown(part, "what", [told(row) for _, row in part.iterrows()])


def shown_spreads(spreads: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Correlation of predicted with true changes of spread "of" its ceiling, by estimator and set.

    `names`: the estimators.
    """
    part = spreads[spreads["estimator"].isin(names)]
    wide = part.pivot(index=["set", "estimator"], columns="what", values="estimate")
    wide = wide.loc[[(name, e) for name in dict.fromkeys(part["set"]) for e in names]].reset_index()
    texts = [f"{number(row.r)} of {number(row.ceiling)}" for row in wide.itertuples()]
    return _shown(wide, "set", texts)


def _shown(table: pd.DataFrame, columns: str, texts: Sequence[str]) -> pd.DataFrame:
    """Texts, one for each row of `table`, by display name of the estimator and by `columns`."""
    labels = [looks(label).label for label in table["estimator"]]
    cells = pd.DataFrame({"method": labels, columns: table[columns].to_numpy(), "text": texts})
    wide = cells.pivot(index="method", columns=columns, values="text")
    order = list(dict.fromkeys(cells[columns]))
    return wide.loc[list(dict.fromkeys(labels)), order].rename_axis(None, axis="columns")
