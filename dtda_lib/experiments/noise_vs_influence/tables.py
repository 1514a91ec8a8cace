"""Noise against influence: tidy tables over many score arrays, as the notebooks show them.

`Scores` maps `(size, method)` to an array `(seed, checkpoint, train, query)`, where size is the
number of training points per class. Every function here only arranges what `significance` and
`agreement` compute; each row of a table says what it is about.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.statistics.agreement import STATISTICS, cross_set_reliability, split_half
from dtda_lib.statistics.over_seeds import (
    Statistic,
    average_checkpoints,
    jackknife_over_seeds,
    mean_and_sd,
)
from dtda_lib.statistics.significance import (
    P_VALUES,
    benjamini_hochberg,
    null_snr_tail,
    null_snr_tail_cdf,
    replication,
    sign_flip,
    sign_flip_null,
    snr_tail,
    t_test,
)

Key = tuple[int, str]
Scores = Mapping[Key, xr.DataArray]

ALPHA, Q = 0.05, 0.05  # nominal level of single tests; false discovery rate over all pairs
TESTS = ("code", "t", "sign_flip", "t_fdr")


def score_arrays(
    removals: Mapping[int, RunBank], gradients: Mapping[int, RunBank]
) -> dict[Key, xr.DataArray]:
    """Leave-one-out shifts of the query loss and gradient scores, `(seed, checkpoint, train,
    query)`, from banks by size; trains what is missing."""
    found: dict[Key, xr.DataArray] = {}
    for size, bank in removals.items():
        found[size, "loo"] = shift_upon_removal(bank.dataset()["query_loss"])
        similarity = gradients[size].dataset()["gradient_similarity"].sel(removal="none")
        for name in similarity["estimator"].values:
            found[size, str(name)] = similarity.sel(estimator=name)
    dims = ("seed", "checkpoint", "train", "query")
    return {key: array.transpose(*dims) for key, array in found.items()}


def late_mean(scores: xr.DataArray, k: int | None = None) -> xr.DataArray:
    """Scores `(seed, train, query)`, averaged over the last k (default: all) kept checkpoints."""
    k = scores.sizes["checkpoint"] if k is None else k
    return average_checkpoints(scores.astype(np.float64), k)


def shares(scores: xr.DataArray) -> xr.DataArray:
    """Shares of pairs called significant, `(statistic,)`, from scores `(seed, train, query)`.

    "code": p_code < ALPHA; "t" and "sign_flip": p < ALPHA in a single test; "t_fdr":
    Benjamini-Hochberg discoveries among t-test p-values at rate Q over all pairs. "mean_code" and
    "mean_t" are mean p-values.
    """
    p_code, p_t = snr_tail(scores), t_test(scores)
    found = {
        "code": (p_code < ALPHA).mean(),
        "t": (p_t < ALPHA).mean(),
        "sign_flip": (sign_flip(scores) < ALPHA).mean(),
        "t_fdr": benjamini_hochberg(p_t, Q)["discovery"].mean(),
        "mean_code": p_code.mean(),
        "mean_t": p_t.mean(),
    }
    return _stacked(found, "statistic")


def share_table(
    all_scores: Scores, *, n_flips: int, generator: np.random.Generator
) -> pd.DataFrame:
    """What share of pairs is distinguishable from noise, beside what noise alone would give.

    Columns: size, method, statistic, n_pairs, n_seeds; `share` with its jackknife interval over
    seeds (`low`, `high`, cut to 0..1; NaN with two seeds); `noise`, the share expected if every
    pair were Gaussian noise; `noise_high`, the 97.5 % point over `n_flips` copies in which each
    seed's sign is flipped at random for all pairs together, which keeps their dependence.
    """
    rows = []
    for (size, method), scores in all_scores.items():
        late = late_mean(scores)
        n = late.sizes["seed"]
        found = _with_interval(late)
        flips = [_quick_shares(sign_flip_null(late, generator)) for _ in range(n_flips)]
        noise = {"code": float(null_snr_tail_cdf(ALPHA, n)), "t_fdr": 0.0}
        for statistic in TESTS:
            null = [flip[statistic] for flip in flips if statistic in flip]
            rows.append(
                {
                    "size": size,
                    "method": method,
                    "statistic": statistic,
                    "n_pairs": late.sizes["train"] * late.sizes["query"],
                    "n_seeds": n,
                    **found[statistic],
                    "noise": noise.get(statistic, ALPHA),
                    "noise_high": float(np.quantile(null, 0.975)) if null else np.nan,
                }
            )
    return pd.DataFrame(rows)


def _quick_shares(scores: xr.DataArray) -> dict[str, float]:
    """Without the sign-flip test, whose null the copies themselves are."""
    p_t = t_test(scores)
    return {
        "code": float((snr_tail(scores) < ALPHA).mean()),
        "t": float((p_t < ALPHA).mean()),
        "t_fdr": float(benjamini_hochberg(p_t, Q)["discovery"].mean()),
    }


def _with_interval(late: xr.DataArray) -> dict[str, dict[str, float]]:
    """Estimate and jackknife interval of each of `shares`."""
    found = jackknife(late, shares).clip(0, 1)
    columns = {"share": "estimate", "low": "low", "high": "high"}
    return {
        str(name): {c: float(found[v].sel(statistic=name)) for c, v in columns.items()}
        for name in found["statistic"].values
    }


def _stacked(values: Mapping[str, xr.DataArray], dim: str) -> xr.DataArray:
    """Scalars as one array with named entries."""
    data = np.array([float(value) for value in values.values()])
    return xr.DataArray(data, {dim: list(values)}, (dim,))


def checkpoint_table(all_scores: Scores) -> pd.DataFrame:
    """How averaging k = 1, 2, ... late checkpoints changes spread, mean and p.

    Columns: size, method, k, then for each quantity of `checkpoint_quantities` its value and its
    jackknife interval over seeds (`_low`, `_high`; NaN with two seeds); `mean_p_code_null`: the
    mean of p_code if every pair were Gaussian noise.
    """
    rows = []
    for (size, method), scores in all_scores.items():
        found = jackknife(scores, checkpoint_quantities)
        null = null_snr_tail(scores.sizes["seed"])
        for k in found["k"].values:
            row: dict[str, object] = {"size": size, "method": method, "k": int(k)}
            for name in found["quantity"].values:
                at = found.sel(k=k, quantity=name)
                # Intervals of ratios are made on the logarithm, so that none reaches below 0.
                at = np.exp(at) if name.endswith("_ratio") else at
                row[str(name)] = float(at["estimate"])
                row[f"{name}_low"], row[f"{name}_high"] = float(at["low"]), float(at["high"])
            rows.append(row | {"mean_p_code_null": null})
    return pd.DataFrame(rows)


def checkpoint_quantities(scores: xr.DataArray) -> xr.DataArray:
    """What depends on the number k of averaged checkpoints, `(k, quantity)`.

    "mean_p_code", "mean_p_t" and "share_t" (p < ALPHA) over pairs; "sigma_ratio" and
    "abs_mu_ratio", *logarithms* of geometric means over pairs relative to k = 1;
    "mean_p_code_change", the difference from k = 1.
    """
    rows = []
    for k in range(1, scores.sizes["checkpoint"] + 1):
        late = late_mean(scores, k)
        mu, sigma = mean_and_sd(late)
        p_t = t_test(late)
        quantities = {
            "mean_p_code": snr_tail(late).mean(),
            "mean_p_t": p_t.mean(),
            "share_t": (p_t < ALPHA).mean(),
            "sigma_ratio": _mean_log(sigma),
            "abs_mu_ratio": _mean_log(np.abs(mu)),
        }
        rows.append(_stacked(quantities, "quantity").expand_dims(k=[k]))
    found = xr.concat(rows, "k")
    ratios = [q for q in found["quantity"].values if q.endswith("_ratio")]
    found.loc[{"quantity": ratios}] -= found.sel(quantity=ratios, k=1)
    change = found.sel(quantity="mean_p_code") - found.sel(quantity="mean_p_code", k=1)
    change = change.drop_vars(["quantity", "k"]).assign_coords(k=found["k"])
    change = change.expand_dims(quantity=["mean_p_code_change"])
    return xr.concat([found, change], "quantity").transpose("k", "quantity")


def _mean_log(values: xr.DataArray) -> xr.DataArray:
    return np.log(values.where(values > 0)).mean(skipna=True)


def jackknife(scores: xr.DataArray, statistic: Statistic) -> xr.Dataset:
    """`jackknife_over_seeds`, with an interval of NaN where two seeds leave no spread."""
    if scores.sizes["seed"] > 2:
        return jackknife_over_seeds(scores, statistic)
    only = statistic(scores)
    return xr.Dataset({"estimate": only, "low": only * np.nan, "high": only * np.nan})


def replication_table(first: Scores, second: Scores) -> pd.DataFrame:
    """Which discoveries of the first seeds are found again with independent second seeds.

    A discovery is a Benjamini-Hochberg discovery at rate Q among p-values of the t-test or of the
    published statistic; found again means p < ALPHA by the same statistic *and* the same sign in
    the second set. Sizes that were not trained twice are left out. Columns: size, method,
    statistic, n_pairs; as shares of all pairs `first` and `second` (discoveries of either set),
    `both` and `again` (of the first, found again); `share` = again / first with its Wilson
    interval (pairs taken as independent: too narrow), `base_rate` (the same criterion over all
    pairs), `chance` (if all were noise), `jaccard` (both / either).
    """
    rows = []
    for key in (key for key in first if key in second):
        one, two = late_mean(first[key]), late_mean(second[key])
        for statistic in ("t", "code"):
            p = P_VALUES[statistic]
            found = replication(
                p(one), one.mean("seed"), p(two), two.mean("seed"), alpha=ALPHA, q=Q
            )
            counts = {
                "first": found.n_first,
                "second": found.n_second,
                "both": found.n_both,
                "again": found.n_replicated,
            }
            rows.append(
                {
                    "size": key[0],
                    "method": key[1],
                    "statistic": statistic,
                    "n_pairs": found.n_pairs,
                    # Shares, not counts: a pair at the edge may fall otherwise on another CPU.
                    **{name: count / found.n_pairs for name, count in counts.items()},
                    "share": found.share,
                    **dict(zip(("low", "high"), found.ci, strict=True)),
                    "base_rate": found.base_rate,
                    "chance": found.chance,
                    "jaccard": found.jaccard,
                }
            )
    return pd.DataFrame(rows)


def reliability_table(
    first: Scores,
    second: Scores,
    *,
    n_splits: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """How well mean, sd and SNR over seeds are known: the ceiling for any comparison.

    Columns: size, method, statistic, `half` (Pearson correlation over pairs between random halves
    of the seeds, averaged over splits), `reliability` (Spearman-Brown, for all seeds) and
    `between_sets` (correlation between the two independent seed sets, which needs no formula).
    """
    rows = []
    for key, scores in first.items():
        late = late_mean(scores)
        for name, statistic in STATISTICS.items():
            row = {"size": key[0], "method": key[1], "statistic": name}
            if late.sizes["seed"] >= 4:
                halves = split_half(late, statistic, n_splits=n_splits, generator=generator)
                row |= {n: float(halves[v]) for n, v in _HALVES.items()}
            else:
                row |= dict.fromkeys(_HALVES, np.nan)
            row["between_sets"] = np.nan
            if key in second:
                other = late_mean(second[key])
                other = other.assign_coords(seed=other["seed"] + late.sizes["seed"])
                row["between_sets"] = float(cross_set_reliability(late, other, statistic))
            rows.append(row)
    return pd.DataFrame(rows)


_HALVES = {"half": "r_half", "reliability": "reliability"}


def example_pairs(scores: xr.DataArray) -> dict[str, tuple[int, int]]:
    """One low-noise and one high-noise `(train, query)` position, chosen by a rule.

    Among pairs whose |mu| or sigma lies in the top tenth: "low noise" has the largest |mu|/sigma;
    "high noise" the largest sigma with |mu|/sigma < 0.1 (or, if there is none, the smallest
    ratio).
    """
    mu, sigma = mean_and_sd(late_mean(scores))
    mu, sigma = np.abs(mu.values), sigma.values  # (train, query)
    ratio = mu / np.maximum(sigma, np.finfo(float).tiny)
    strong = mu >= np.quantile(mu, 0.9)
    low = np.unravel_index(np.where(strong, ratio, -1).argmax(), mu.shape)
    drowned = np.where(ratio < 0.1, sigma, -1)
    high = drowned.argmax() if drowned.max() > 0 else ratio.argmin()
    high = np.unravel_index(high, mu.shape)
    return {"low noise": tuple(map(int, low)), "high noise": tuple(map(int, high))}


def base_table(removals: Mapping[int, RunBank]) -> pd.DataFrame:
    """How well the full-data models do: mean query loss after the last epoch and its spread.

    Columns: size, runs in the bank, seeds, `loss` (nats, mean over queries and seeds), `loss_sd`
    (over seeds), `shift_sd` (standard deviation of the shift over pairs and seeds, for scale).
    """
    rows = []
    for size, bank in removals.items():
        loss = bank.dataset()["query_loss"].astype(np.float64).isel(checkpoint=-1)
        full = loss.sel(removal="none").mean("query")
        rows.append(
            {
                "size": size,
                "runs": len(bank.runs),
                "seeds": loss.sizes["seed"],
                "loss": float(full.mean()),
                "loss_sd": float(full.std(ddof=1)),
                "shift_sd": float(shift_upon_removal(loss).std()),
            }
        )
    return pd.DataFrame(rows)
