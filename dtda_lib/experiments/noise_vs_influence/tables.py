"""Noise against influence: tidy tables over many score arrays, as the notebooks show them.

`Scores` maps `(size, method)` to an array `(set, seed, checkpoint, train, query)`, where size is
the number of training points per class and the seeds of a set belong to no other set. Every
function here only arranges what `significance` and `over_sets` compute; each row of a table says
what it is about. Intervals are those of `over_sets`: over sets of seeds, points and queries.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    mean_and_sd,
    signal_to_noise,
)
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.statistics.significance import (
    benjamini_hochberg,
    null_snr_tail,
    null_snr_tail_cdf,
    sign_flip,
    sign_flip_null,
    snr_tail,
    t_test,
)

Key = tuple[int, str]
Scores = Mapping[Key, xr.DataArray]

ALPHA, Q = 0.05, 0.05  # nominal level of single tests; false discovery rate over all pairs
TESTS = ("code", "t", "sign_flip", "t_fdr")
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


def in_sets(runs: xr.DataArray, n_sets: int) -> xr.DataArray:
    """Runs along `seed`, cut into consecutive sets: `(set, seed, ...)`, seeds counted from 0."""
    names = [name for name in ("seed", "init_seed", "order_seed") if name in runs.coords]
    each = runs.sizes["seed"] // n_sets
    cut = runs.drop_vars(names).rename(seed="run").coarsen(run=each)
    return cut.construct(run=("set", "seed"))


def late_mean(scores: xr.DataArray, k: int | None = None) -> xr.DataArray:
    """Scores `(seed, train, query)`, averaged over the last k (default: all) kept checkpoints."""
    k = scores.sizes["checkpoint"] if k is None else k
    return average_checkpoints(scores.astype(np.float64), k)


# ---------------------------------------------------------------- which pairs stand out


def p_values(scores: xr.DataArray, tests: Sequence[str] = TESTS) -> xr.Dataset:
    """p of every pair by each of `TESTS`, from scores `(seed, train, query)`; "t_fdr" is t's."""
    kinds = {"code": snr_tail, "t": t_test, "sign_flip": sign_flip, "t_fdr": t_test}
    return xr.Dataset({test: kinds[test](scores) for test in tests})


def discoveries(p: xr.DataArray) -> xr.DataArray:
    """Benjamini-Hochberg discoveries at rate Q over the pairs of each set."""
    return benjamini_hochberg(p, Q, over=("train", "query"))["discovery"]


def _shares_of(p: xr.Dataset) -> xr.DataArray:
    found = {n: discoveries(p[n]) if n == "t_fdr" else p[n] < ALPHA for n in p.data_vars}
    return xr.Dataset(found).mean().to_dataarray("statistic")


def shares(scores: xr.DataArray, tests: Sequence[str] = TESTS) -> xr.DataArray:
    """Shares of pairs that stand out from noise, `(statistic,)`, from `(seed, train, query)`.

    "code": p_code < ALPHA; "t" and "sign_flip": p < ALPHA in a single test; "t_fdr":
    Benjamini-Hochberg discoveries among t-test p-values at rate Q over all pairs of a set.
    """
    return _shares_of(p_values(scores, tests))


def share_table(
    all_scores: Scores, *, n_flips: int, generator: np.random.Generator
) -> pd.DataFrame:
    """What share of pairs is distinguishable from noise, beside what noise alone would give.

    Columns: size, method, statistic, n_pairs; n_seeds (of a set); `share` with its interval `low`,
    `high`; `noise`, the share expected if every pair were Gaussian noise; `noise_high`, the 97.5 %
    point over `n_flips` copies in which each seed's sign is flipped at random for all pairs
    together, which keeps their dependence. Scores without the axis `set` get a jackknife interval
    over seeds, cut to 0..1 (NaN with two seeds).
    """
    rows = []
    for (size, method), scores in all_scores.items():
        late = late_mean(scores)
        n = late.sizes["seed"]
        several = "set" in late.dims
        found = (
            over_sets(p_values(late), _shares_of, share=True)
            if several
            else jackknife(late, shares).clip(0, 1)
        )
        one = late.isel(set=0) if several else late
        # Without the sign-flip test, whose null the copies themselves are.
        quick = [test for test in TESTS if test != "sign_flip"]
        flips = [shares(sign_flip_null(one, generator), quick) for _ in range(n_flips)]
        noise = {"code": float(null_snr_tail_cdf(ALPHA, n)), "t_fdr": 0.0}
        for statistic in TESTS:
            null = [float(flip.sel(statistic=statistic)) for flip in flips if statistic in quick]
            rows.append(
                {
                    "size": size,
                    "method": method,
                    "statistic": statistic,
                    "n_pairs": late.sizes["train"] * late.sizes["query"],
                    "n_seeds": n,
                    **_numbers(found.sel(statistic=statistic), "share"),
                    "noise": noise.get(statistic, ALPHA),
                    "noise_high": float(np.quantile(null, 0.975)) if null else np.nan,
                }
            )
    return pd.DataFrame(rows)


def jackknife(scores: xr.DataArray, statistic: Statistic) -> xr.Dataset:
    """`jackknife_over_seeds`, with an interval of NaN where two seeds leave no spread."""
    if scores.sizes["seed"] > 2:
        return jackknife_over_seeds(scores, statistic)
    only = statistic(scores)
    return xr.Dataset({"estimate": only, "low": only * np.nan, "high": only * np.nan})


def _numbers(found: xr.Dataset, name: str, prefix: str = "") -> dict[str, float]:
    """Estimate and ends of an interval as columns of a table."""
    columns = {name: "estimate", f"{prefix}low": "low", f"{prefix}high": "high"}
    return {column: float(found[variable]) for column, variable in columns.items()}


# ---------------------------------------------------------------- influence that matters


def matter_table(all_scores: Scores, losses: Mapping[int, xr.DataArray]) -> pd.DataFrame:
    """What share of leave-one-out pairs stands out (t-test, FDR), by how much they matter.

    Pairs are put into groups by the *other* sets of seeds, so that the luck of a set does not
    choose its own pairs: `by` "influence", their |mean shift|; "query loss", the mean loss of the
    full-data models on the query. Columns: size, by, `from` and `to` (nats); `of_pairs`, the share
    of all pairs that are in the group, and their number `n` over sets; `share` of these that stand
    out, with its interval. The last row of a size holds all pairs of at least `MATTERS` nats.

    Args:
        all_scores: `Scores`; only those of leave-one-out are looked at.
        losses: Size -> query loss `(set, seed, removal, query)`.
    """
    groups = [("influence", *ends) for ends in pairwise(INFLUENCE_EDGES)]
    groups += [("query loss", *ends) for ends in pairwise(LOSS_EDGES)]
    groups.append(("influence", MATTERS, np.inf))

    def inside(part: xr.Dataset) -> xr.DataArray:
        by = {
            "influence": np.abs(_of_other_sets(part["mu"])),
            "query loss": _of_other_sets(part["loss"]).broadcast_like(part["mu"]),
        }
        rows = [(by[name] >= start) & (by[name] < stop) for name, start, stop in groups]
        return xr.concat(rows, "group")

    def share(part: xr.Dataset) -> xr.DataArray:
        group, pair = inside(part), ("set", "train", "query")
        return (discoveries(part["p"]) & group).sum(pair) / group.sum(pair)

    rows = []
    for size, loss in losses.items():
        late = late_mean(all_scores[size, "loo"])
        base = loss.sel(removal="none", drop=True).mean("seed")
        data = xr.Dataset({"p": t_test(late), "mu": late.mean("seed"), "loss": base})
        counts = inside(data).sum(("set", "train", "query"))
        found = over_sets(data, share, share=True)
        for row, (name, start, stop) in enumerate(groups):
            n = int(counts[row])
            about = {"size": size, "by": name, "from": start, "to": stop}
            about |= {"of_pairs": n / data["p"].size, "n": n}
            rows.append(about | _numbers(found.isel(group=row), "share"))
    return pd.DataFrame(rows)


def _of_other_sets(means: xr.DataArray) -> xr.DataArray:
    """For each set the mean over all others, from means `(set, ...)`."""
    return (means.sum("set") - means) / (means.sizes["set"] - 1)


# ---------------------------------------------------------------- found again


def replication_table(all_scores: Scores) -> pd.DataFrame:
    """Are the pairs that stand out in one set of seeds found again in another?

    Over all ordered pairs of sets. `statistic` "t_fdr": discoveries of the t-test (FDR) are found
    again where p < ALPHA with the same sign in the other set; "code": the same with p_code < ALPHA
    in both. Columns: size, method, statistic, n_pairs; `first`, the share of pairs that stand out;
    `share` of these found again with its interval; `base_rate`, the same criterion over all pairs;
    `excess` = share - base_rate with its interval (`excess_low`, `excess_high`); `chance`, what
    noise would give. NaN where nothing stands out.
    """
    rows = []
    for (size, method), scores in all_scores.items():
        late = late_mean(scores)
        p = p_values(late, ("code", "t_fdr"))
        chance = {"t_fdr": ALPHA, "code": null_snr_tail_cdf(ALPHA, late.sizes["seed"])}
        for statistic, level in chance.items():
            data = xr.Dataset({"p": p[statistic], "sign": np.sign(late.mean("seed"))})
            first = _first(data, statistic)
            again = over_sets(data, lambda d, s=statistic: _again(d, s)[0], share=True)
            excess = over_sets(data, lambda d, s=statistic: np.subtract(*_again(d, s)))
            rows.append(
                {
                    "size": size,
                    "method": method,
                    "statistic": statistic,
                    "n_pairs": late.sizes["train"] * late.sizes["query"],
                    "first": float(first.mean()),
                    **_numbers(again, "share"),
                    "base_rate": _again(data, statistic)[1],
                    **_numbers(excess, "excess", "excess_"),
                    "chance": float(level) / 2,
                }
            )
    return pd.DataFrame(rows)


def _first(data: xr.Dataset, statistic: str) -> xr.DataArray:
    return discoveries(data["p"]) if statistic == "t_fdr" else data["p"] < ALPHA


def _again(data: xr.Dataset, statistic: str) -> tuple[float, float]:
    """Share of what stands out in one set, and of all pairs, that is found in another set."""
    dims = ("set", "train", "query")
    first, low = (x.transpose(*dims).values for x in (_first(data, statistic), data["p"] < ALPHA))
    sign = data["sign"].transpose(*dims).values
    found = every = 0
    for shift in range(1, len(sign)):  # each set with each other one
        holds = np.roll(low, shift, 0) & (np.roll(sign, shift, 0) * sign > 0)
        found, every = found + (first & holds).sum(), every + holds.sum()
    others = len(sign) - 1
    among = first.sum() * others
    return (found / among if among else np.nan), (every / (sign.size * others) if others else np.nan)


def reliability_table(all_scores: Scores) -> pd.DataFrame:
    """How well the seeds of one set know mean, sd and ratio: the ceiling for any comparison.

    Columns: size, method, then "mean", "sd" and "snr": Pearson correlation over pairs between two
    sets, averaged over all pairs of sets.
    """
    rows = []
    for (size, method), scores in all_scores.items():
        late = late_mean(scores)
        mu, sigma = mean_and_sd(late)
        row = {"size": size, "method": method}
        for name, values in {"mean": mu, "sd": sigma, "snr": signal_to_noise(late)}.items():
            between = np.corrcoef(values.transpose("set", ...).values.reshape(len(values), -1))
            row[name] = float(between[np.triu_indices(len(between), 1)].mean())
        rows.append(row)
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- pairing and checkpoints


def mean(cells: xr.DataArray) -> xr.DataArray:
    """Over all axes."""
    return cells.mean(skipna=False)


def pairing_table(losses: Mapping[int, xr.DataArray]) -> pd.DataFrame:
    """How many times larger the noise of a shift is when its two runs do not share their seeds.

    The variance of the difference of two *independent* runs is the sum of their variances, which
    the paired runs themselves give: no other runs are needed. Columns: size, n_pairs; `paired` and
    `unpaired`, sigma in nats, geometric means over sets and pairs; `ratio` = unpaired / paired of
    a pair, geometric mean with its interval; `q10`, `q90`, quantiles of the ratio over pairs.

    Args:
        losses: Size -> query loss `(set, seed, removal, query)`, "none" the full data.
    """
    rows = []
    for size, loss in losses.items():
        base, removed = loss.sel(removal="none", drop=True), loss.isel(removal=slice(1, None))
        alone = removed.var("seed", ddof=1) + base.var("seed", ddof=1)
        together = (removed - base).var("seed", ddof=1)
        log = np.log(alone / together).drop_vars(["removal", "point"]).rename(removal="train") / 2
        q10, q90 = np.exp(np.quantile(log.mean("set"), (0.1, 0.9)))
        rows.append(
            {
                "size": size,
                "n_pairs": log.sizes["train"] * log.sizes["query"],
                "paired": float(np.exp(np.log(together).mean() / 2)),
                "unpaired": float(np.exp(np.log(alone).mean() / 2)),
                **_numbers(np.exp(over_sets(log, mean)), "ratio"),
                "q10": float(q10),
                "q90": float(q90),
            }
        )
    return pd.DataFrame(rows)


def checkpoint_table(all_scores: Scores) -> pd.DataFrame:
    """How averaging k = 1, 2, ... late checkpoints changes sigma and the published p.

    Columns: size, method, k; `p`, the mean published p; `change`, its difference from k = 1;
    `sigma`, sigma relative to k = 1, a geometric mean over pairs; the last two with intervals
    (`change_low`, ...). `p_null`: the mean published p if every pair were Gaussian noise.
    """
    rows = []
    for (size, method), scores in all_scores.items():
        null = null_snr_tail(scores.sizes["seed"])
        levels = [late_mean(scores, k) for k in range(1, scores.sizes["checkpoint"] + 1)]
        p = [snr_tail(late) for late in levels]
        log_sigma = [np.log(late.std("seed", ddof=1)) for late in levels]
        for k in range(len(levels)):
            sigma = np.exp(over_sets(log_sigma[k] - log_sigma[0], mean))
            rows.append(
                {
                    "size": size,
                    "method": method,
                    "k": k + 1,
                    "p": float(p[k].mean()),
                    **_numbers(over_sets(p[k] - p[0], mean), "change", "change_"),
                    **_numbers(sigma, "sigma", "sigma_"),
                    "p_null": null,
                }
            )
    return pd.DataFrame(rows)


def within_table(all_scores: Scores) -> pd.DataFrame:
    """How much of the variance of a score lies within a run, and what averaging could gain.

    Columns: size, method; `within`, the share of the variance of a single checkpoint that lies
    between the checkpoints of one run (the rest lies between seeds; sums over pairs), with its
    interval; `expected`, sigma of the mean of all checkpoints relative to one, were checkpoints
    independent given the run. A trend that all runs share counts as within.
    """
    rows = []
    for (size, method), scores in all_scores.items():
        n = scores.sizes["checkpoint"]
        if n < 2:
            continue
        parts = between_within(scores)
        share = over_sets(parts, _within_share)
        within = float(share["estimate"])
        row = {"size": size, "method": method, **_numbers(share, "within")}
        rows.append(row | {"expected": float(np.sqrt(1 - within + within / n))})
    return pd.DataFrame(rows)


def _within_share(parts: xr.Dataset) -> xr.DataArray:
    total = parts["between_raw"] + parts["within"]
    return parts["within"].sum() / total.sum()


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
