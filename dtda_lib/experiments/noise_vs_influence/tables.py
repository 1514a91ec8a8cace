"""Noise against influence: tidy tables over many score arrays, as the notebooks show them.

`ScoresBySize` maps `(size, method)` to an array `(set, seed, checkpoint, train, query)`, where size
is the number of training points per class and the seeds of a set belong to no other set. Every
function here only arranges what `significance` and `over_sets` compute; each row of a table says
what it is about. Intervals are those of `over_sets`: over sets of seeds, points and queries.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.statistics.over_seeds import (
    Statistic,
    average_checkpoints,
    between_within,
    jackknife_over_seeds,
)
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.statistics.significance import (
    P_VALUES,
    benjamini_hochberg,
    null_snr_tail,
    null_snr_tail_cdf,
    sign_flip_null,
    snr_tail,
    t_test,
)
from dtda_lib.study.tables import numbers

Key = tuple[int, str]
ScoresBySize = Mapping[Key, xr.DataArray]

ALPHA, Q = 0.05, 0.05  # nominal level of single tests; false discovery rate over all pairs
NOISE_TESTS = ("code", "t", "sign_flip", "t_fdr")
MATTERS = 0.01
"""Nats: the least |mu| that matters. It changes the probability of the right class by 1 %."""
INFLUENCE_EDGES = (0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, np.inf)  # nats
LOSS_EDGES = (0, 1e-3, 1e-2, 1e-1, 1, np.inf)  # nats


def score_arrays(
    removals: Mapping[int, RunBank], gradients: Mapping[int, RunBank]
) -> dict[Key, xr.DataArray]:
    """Leave-one-out shifts of the query loss and gradient scores, `(seed, checkpoint, train,
    query)`, from banks by size, for the points that are left out; trains what is missing."""
    found: dict[Key, xr.DataArray] = {}
    for size, bank in removals.items():
        found[size, "loo"] = shift = shift_upon_removal(bank.dataset()["query_loss"])
        similarity = gradients[size].dataset()["gradient_similarity"].sel(removal="none")
        for name in similarity["estimator"].values:
            found[size, str(name)] = similarity.sel(estimator=name, train=shift["train"].values)
    dims = ("seed", "checkpoint", "train", "query")
    return {key: array.transpose(*dims) for key, array in found.items()}


def late_mean(scores: xr.DataArray, k: int | None = None) -> xr.DataArray:
    """Scores `(seed, train, query)`, averaged over the last k (default: all) kept checkpoints."""
    k = scores.sizes["checkpoint"] if k is None else k
    return average_checkpoints(scores.astype(np.float64), k)


# ---------------------------------------------------------------- which pairs stand out


def discoveries(p: xr.DataArray) -> xr.DataArray:
    """Benjamini-Hochberg discoveries at rate Q over the pairs of each set."""
    return benjamini_hochberg(p, Q, over=("train", "query"))["discovery"]


def shares(scores: xr.DataArray, tests: Sequence[str] = NOISE_TESTS) -> xr.DataArray:
    """Shares of pairs that stand out from noise, `(statistic,)`, from `(seed, train, query)`.

    "code": p_code < ALPHA; "t" and "sign_flip": p < ALPHA in a single test; "t_fdr":
    Benjamini-Hochberg discoveries among t-test p-values at rate Q over all pairs of a set.
    """
    return _shares_of(_p_values(scores, tests))


def _p_values(scores: xr.DataArray, tests: Sequence[str]) -> xr.Dataset:
    p = {kind: P_VALUES[kind](scores) for kind in {test.removesuffix("_fdr") for test in tests}}
    return xr.Dataset({test: p[test.removesuffix("_fdr")] for test in tests})


def _shares_of(p: xr.Dataset) -> xr.DataArray:
    found = {test: _standing_out(p[test], test) for test in p.data_vars}
    return xr.Dataset(found).mean().to_dataarray("statistic")


def _standing_out(p: xr.DataArray, test: str) -> xr.DataArray:
    return discoveries(p) if test.endswith("_fdr") else p < ALPHA


def share_table(
    all_scores: ScoresBySize, *, n_flips: int, generator: np.random.Generator
) -> pd.DataFrame:
    """What share of pairs is distinguishable from noise, beside what noise alone would give.

    Columns: size, method, statistic, n_pairs; n_seeds (of a set); `share` with its interval `low`,
    `high`; `noise`, the share expected if every pair were Gaussian noise; `noise_high`, the 97.5 %
    point over `n_flips` copies in which each seed's sign is flipped at random for all pairs
    together, which keeps their dependence. Scores without the axis `set` get a jackknife interval
    over seeds, cut to 0..1 (NaN with two seeds).
    """
    quick = [
        test for test in NOISE_TESTS if test != "sign_flip"
    ]  # whose null the copies themselves are
    rows = []
    for (size, method), scores in all_scores.items():
        late = late_mean(scores)
        if "set" in late.dims:
            found, one = over_sets(_p_values(late, NOISE_TESTS), _shares_of, share=True), late[0]
        else:
            found, one = jackknife_or_nan(late, shares).clip(0, 1), late
        n, n_pairs = one.sizes["seed"], one.sizes["train"] * one.sizes["query"]
        flips = [shares(sign_flip_null(one, generator), quick) for _ in range(n_flips)]
        noise = {"code": float(null_snr_tail_cdf(ALPHA, n)), "t_fdr": 0.0}
        for statistic in NOISE_TESTS:
            null = [float(flip.sel(statistic=statistic)) for flip in flips if statistic in quick]
            share = numbers(found, statistic=statistic)
            rows.append(
                {
                    "size": size,
                    "method": method,
                    "statistic": statistic,
                    "n_pairs": n_pairs,
                    "n_seeds": n,
                    "share": share.pop("estimate"),
                    **share,
                    "noise": noise.get(statistic, ALPHA),
                    "noise_high": float(np.quantile(null, 0.975)) if null else np.nan,
                }
            )
    return pd.DataFrame(rows)


def jackknife_or_nan(scores: xr.DataArray, statistic: Statistic) -> xr.Dataset:
    """`jackknife_over_seeds`, with an interval of NaN where two seeds leave no spread."""
    if scores.sizes["seed"] > 2:
        return jackknife_over_seeds(scores, statistic)
    only = statistic(scores)
    return xr.Dataset({"estimate": only, "low": only * np.nan, "high": only * np.nan})


# ---------------------------------------------------------------- influence that matters


def matter_table(all_scores: ScoresBySize, losses: Mapping[int, xr.DataArray]) -> pd.DataFrame:
    """What share of leave-one-out pairs stands out (t-test, FDR), by how much they matter.

    Pairs are put into groups by the *other* sets of seeds, so that the luck of a set does not
    choose its own pairs: `by` "influence", their |mean shift|; "query loss", the mean loss of the
    full-data models on the query. Columns: size, by, `from` and `to` (nats); `of_pairs`, the share
    of all pairs that are in the group, and their number `n` over sets; `share` of these that stand
    out, with its interval. The last row of a size holds all pairs of at least `MATTERS` nats.

    Args:
        all_scores: `ScoresBySize`; only those of leave-one-out are looked at.
        losses: Size -> query loss `(set, seed, removal, query)`.
    """
    groups = [("influence", *ends) for ends in pairwise(INFLUENCE_EDGES)]
    groups += [("query loss", *ends) for ends in pairwise(LOSS_EDGES)]
    groups.append(("influence", MATTERS, np.inf))
    pair = ("set", "train", "query")

    def inside(part: xr.Dataset) -> xr.DataArray:
        others = (part.sum("set") - part) / (part.sizes["set"] - 1)
        by = {"influence": np.abs(others["mu"]), "query loss": others["loss"]}
        rows = [(by[name] >= start) & (by[name] < stop) for name, start, stop in groups]
        return xr.concat(rows, "group")

    def share(part: xr.Dataset) -> xr.DataArray:
        group = inside(part)
        return (discoveries(part["p"]) & group).sum(pair) / group.sum(pair)

    rows = []
    for size, loss in losses.items():
        late = late_mean(all_scores[size, "loo"])
        mu = late.mean("seed")
        base = loss.sel(removal="none", drop=True).mean("seed").broadcast_like(mu)
        data = xr.Dataset({"p": t_test(late), "mu": mu, "loss": base})
        found, counts = over_sets(data, share, share=True), inside(data).sum(pair)
        for row, (name, start, stop) in enumerate(groups):
            about = {"size": size, "by": name, "from": start, "to": stop, "n": int(counts[row])}
            about["of_pairs"] = about["n"] / mu.size
            rows.append(about | numbers(found.isel(group=row), "share"))
    return pd.DataFrame(rows)


def replication_table(all_scores: ScoresBySize) -> pd.DataFrame:
    """Are the pairs that stand out in one set of seeds found again in another?

    Over all ordered pairs of sets. `statistic` "t_fdr": discoveries of the t-test (FDR) are found
    again where p < ALPHA with the same sign in the other set; "code": the same with p_code < ALPHA
    in both. Columns: size, method, statistic; `first`, the share of pairs that stand out; `share`
    of these found again; `base_rate`, the same criterion over all pairs; `excess` = share -
    base_rate; share and excess with their intervals; `chance`, what noise would give. NaN where
    nothing stands out.
    """
    rows = []
    for (size, method), scores in all_scores.items():
        late = late_mean(scores)
        chance = {"t_fdr": ALPHA, "code": null_snr_tail_cdf(ALPHA, late.sizes["seed"])}
        for test, level in chance.items():
            p = _p_values(late, [test])[test]
            data = xr.Dataset({"p": p, "sign": np.sign(late.mean("seed"))})
            again = over_sets(data, lambda part, test=test: found_again(part, test)[0], share=True)
            excess = over_sets(data, lambda part, test=test: np.subtract(*found_again(part, test)))
            rows.append(
                {
                    "size": size,
                    "method": method,
                    "statistic": test,
                    "first": float(_standing_out(p, test).mean()),
                    **numbers(again, "share"),
                    "base_rate": found_again(data, test)[1],
                    **numbers(excess, "excess"),
                    "chance": float(level) / 2,
                }
            )
    return pd.DataFrame(rows)


def found_again(data: xr.Dataset, test: str) -> tuple[float, float]:
    """Share of what stands out in one set of seeds that another finds with the same sign, and the
    share of all pairs that it finds so; from `p` and `sign` of the mean, `(set, train, query)`."""
    data = data.transpose("set", "train", "query")
    first, low = _standing_out(data["p"], test).values, data["p"].values < ALPHA
    sign, others = data["sign"].values, data.sizes["set"] - 1
    found = every = 0
    for step in range(1, others + 1):  # each set with each other one
        holds = np.roll(low, step, 0) & (np.roll(sign, step, 0) * sign > 0)
        found, every = found + (first & holds).sum(), every + holds.sum()
    among, pairs = first.sum() * others, sign.size * others
    return found / among if among else np.nan, every / pairs if pairs else np.nan


# ---------------------------------------------------------------- pairing and checkpoints


def _mean(cells: xr.DataArray) -> xr.DataArray:
    return cells.mean(("set", "train", "query"), skipna=False)


def _pairs(removed: xr.DataArray) -> xr.DataArray:
    """The same with the axis `train` in place of `removal`."""
    return removed.drop_vars(["removal", "point"], errors="ignore").rename(removal="train")


def pairing_table(losses: Mapping[int, xr.DataArray]) -> pd.DataFrame:
    """How many times larger the noise of a shift is when its two runs do not share their seeds.

    The variance of the difference of two *independent* runs is the sum of their variances, which
    the paired runs themselves give: no other runs are needed. Columns: size, n_pairs; `paired` and
    `unpaired`, sigma in nats, geometric means over sets and pairs, and `ratio` = unpaired / paired
    of a pair, its geometric mean, each with its interval; `q10`, `q90`, quantiles over pairs of the
    ratio.

    Args:
        losses: Size -> query loss `(set, seed, removal, query)`, "none" the full data.
    """
    rows = []
    for size, loss in losses.items():
        base, removed = loss.sel(removal="none", drop=True), loss.isel(removal=slice(1, None))
        alone = np.log(removed.var("seed", ddof=1) + base.var("seed", ddof=1)) / 2
        together = np.log((removed - base).var("seed", ddof=1)) / 2
        alone, together = map(_pairs, (alone, together))
        log = alone - together
        spread = np.exp(log.mean("set").quantile((0.1, 0.9))).values
        rows.append(
            {
                "size": size,
                "n_pairs": log[0].size,
                **numbers(np.exp(over_sets(together, _mean)), "paired"),
                **numbers(np.exp(over_sets(alone, _mean)), "unpaired"),
                **numbers(np.exp(over_sets(log, _mean)), "ratio"),
                **dict(zip(("q10", "q90"), map(float, spread), strict=True)),
            }
        )
    return pd.DataFrame(rows)


def checkpoint_table(all_scores: ScoresBySize) -> pd.DataFrame:
    """How averaging k = 1, 2, ... late checkpoints changes sigma and the published p.

    Columns: size, method, k; `p`, the mean published p; `change`, its difference from k = 1;
    `sigma`, sigma relative to k = 1, a geometric mean over pairs; the last two with intervals.
    `p_null`: the mean published p if every pair were Gaussian noise.
    """
    rows = []
    for (size, method), scores in all_scores.items():
        levels = [late_mean(scores, k + 1) for k in range(scores.sizes["checkpoint"])]
        p = xr.concat([snr_tail(late) for late in levels], "k")
        log_sigma = xr.concat([np.log(late.std("seed", ddof=1)) for late in levels], "k")
        change = over_sets(p - p[0], _mean)
        sigma = np.exp(over_sets(log_sigma - log_sigma[0], _mean))
        for k in range(len(levels)):
            rows.append(
                {
                    "size": size,
                    "method": method,
                    "k": k + 1,
                    "p": float(p[k].mean()),
                    **numbers(change.isel(k=k), "change"),
                    **numbers(sigma.isel(k=k), "sigma"),
                    "p_null": null_snr_tail(scores.sizes["seed"]),
                }
            )
    return pd.DataFrame(rows)


def within_table(all_scores: ScoresBySize) -> pd.DataFrame:
    """How much of the variance of a score lies within a run, and what averaging could gain.

    Columns: size, method; `within`, the share of the variance of a single checkpoint that lies
    between the checkpoints of one run (the rest lies between seeds; sums over pairs), with its
    interval; `expected`, sigma of the mean of all checkpoints relative to one, were checkpoints
    independent given the run. A trend that all runs share counts as within. No row with a single
    checkpoint.
    """

    def share(parts: xr.Dataset) -> xr.DataArray:
        return parts["within"].sum() / (parts["between_raw"] + parts["within"]).sum()

    rows = []
    for (size, method), scores in all_scores.items():
        if (n := scores.sizes["checkpoint"]) > 1:
            found = numbers(over_sets(between_within(scores), share), "within")
            expected = float(np.sqrt(1 - found["within"] * (1 - 1 / n)))
            rows.append({"size": size, "method": method, **found, "expected": expected})
    return pd.DataFrame(rows)


def base_table(removals: Mapping[int, RunBank], losses: Mapping[int, xr.DataArray]) -> pd.DataFrame:
    """How well the full-data models do: is the influence that of a trained network?

    Columns: size, runs, `steps` of the optimiser in a run; `loss` (nats, mean of the late
    checkpoints over queries and seeds) and `loss_sd` (over seeds); `shift_sd`, the standard
    deviation of the shift over pairs and seeds, for scale.
    """
    rows = []
    for size, bank in removals.items():
        full = losses[size].sel(removal="none", drop=True)
        shift = losses[size].isel(removal=slice(1, None)) - full
        rows.append(
            {
                "size": size,
                "runs": len(bank.runs),
                "steps": bank.recipe.steps(bank.task.n_train),
                "loss": float(full.mean()),
                "loss_sd": float(full.mean("query").std(ddof=1)),
                "shift_sd": float(shift.std()),
            }
        )
    return pd.DataFrame(rows)
