"""How sure is a correlation between two methods, over the seeds, and does it reach its ceiling?

Scores of several methods `(seed, train, query)` come from the *same* seeds (seed s of one shares
its base model with seed s of another), so every resampling takes the same seeds of all. What is
estimated:

* `r`: the correlation over pairs that n seeds are expected to show, noise and all. Intervals are
  jackknife t intervals over seeds on the scale artanh(r).
* `disattenuated`: the correlation without noise. The classical r / ceiling takes the noises of
  both methods as independent, which shared seeds forbid; here one method is taken on one half of
  the seeds, the other on the other half, and divided by the ceiling of halves.

Measured coverage of nominal 95 % intervals at n = 10 seeds (leave-one-out against gradient scores
of real networks as the law, with its own dependence between pairs, noise scaled by 1 to 12,
Gaussian or exponential seeds, 300 repetitions of seven settings; mean, sd and SNR): jackknife t for
`r` 91 to 97 %, for `disattenuated`, where defined, 91 to 100 %, for `gap` 92 to 100 % (once 84 %:
SNR of reliability 0.2). Bootstrap over seeds for `r`: percentile 81 to 99 % (too narrow where
signal dominates, too wide where noise does, as resampling adds a second helping of noise and pulls
r towards 0: over many independent pairs the interval can miss r itself), basic 55 to 88 %, BCa 64
to 88 %. The percentile one is beside.

Source: Tukey 1958; Efron and Tibshirani 1993, chapters 11 and 14; Spearman 1904. Bad input is
refused with a `ValueError` of one sentence.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr

from .agreement import (
    STATISTICS,
    flat_scores,
    halves_of,
    noise_ceiling,
    require_kind,
    spearman_brown,
)
from .seed_weights import Centred, all_and_each_left_out, correlations, jackknife_t, resamples

Scores = Mapping[str, xr.DataArray]


def pairwise_agreement(
    scores: Scores,
    *,
    statistics: Sequence[str] = tuple(STATISTICS),
    kind: str = "pearson",
    n_boot: int = 0,
    n_splits: int = 12,
    generator: np.random.Generator | None = None,
    level: float = 0.95,
) -> xr.Dataset:
    """Correlation over pairs of any two methods, beside its ceiling: `(statistic, estimator,
    other)`.

    Variables, with `_low` and `_high` where said:

    * `r` (jackknife interval) and `boot_low`, `boot_high` (percentile bootstrap, NaN without
      `n_boot`): observed at all n seeds;
    * `reliability` `(statistic, estimator)` of n seeds, Spearman-Brown from halves; `ceiling` =
      sqrt(product of two): what r would reach if the noises were independent and truths agreed;
    * `r_across`: mean over splits of the correlation of one method on one half of the seeds with
      the other on the other half, free of shared noise, and `ceiling_across`, that of halves;
    * `gap` = r_across - ceiling_across (interval): below 0, the methods disagree beyond noise;
    * `disattenuated` = r_across / ceiling_across (interval): NaN where a ceiling is 0, here or with
      a seed left out.

    With fewer than three seeds no interval, with fewer than four nothing from halves, with fewer
    than six no interval from halves: NaN. `generator` is for `n_boot` and for `n_splits` random
    halves where there are more. 5 methods, 3 statistics, 10 seeds and 135,000 pairs take about 6 s
    and 11 s more for 1000 resamples; Spearman ranks everything anew and takes 0.5 s for each
    resample and 11 s for each split, so give it few (`n_splits=2`) and no `n_boot`.
    """
    names, labels, stacked = _stacked(scores, statistics, kind)
    n = stacked.deviation.shape[1]
    if n_boot and generator is None:
        raise ValueError(f"n_boot = {n_boot} resamples are random: pass a generator.")
    options = {"names": labels, "kind": kind}
    each = all_and_each_left_out(n) if n > 2 else np.ones((1, n))
    r = correlations(stacked, each, **options)
    r_low, r_high = jackknife_t(r, level, fisher=True)
    boot = np.full((2, *r.shape[1:]), np.nan)
    if n_boot:
        resampled = correlations(stacked, resamples(n, n_boot, generator), **options)
        boot = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    across = _across_halves(stacked, n_splits, generator, options)
    reliability = spearman_brown(np.diagonal(across["r_half"][0], axis1=-2, axis2=-1))
    found = {
        **_with_ends("r", r[0], r_low, r_high),
        "boot_low": boot[0],
        "boot_high": boot[1],
        "ceiling": noise_ceiling(reliability[..., :, None], reliability[..., None, :]),
        "r_across": across["r_half"][0],
        "ceiling_across": across["ceiling"][0],
    }
    for name in ("gap", "disattenuated"):
        found |= _with_ends(name, across[name][0], *jackknife_t(across[name], level))
    dims = ("statistic", "estimator", "other")
    variables = {name: (dims, values) for name, values in found.items()}
    variables["reliability"] = (dims[:2], reliability)
    return xr.Dataset(
        variables,
        {"statistic": labels, "estimator": names, "other": names},
        {"n_seeds": n, "n_pairs": stacked.centre.shape[-1], "kind": kind},
    )


def _with_ends(
    name: str, estimate: np.ndarray, low: np.ndarray, high: np.ndarray
) -> dict[str, np.ndarray]:
    return {name: estimate, f"{name}_low": low, f"{name}_high": high}


def _stacked(
    scores: Scores, statistics: Sequence[str], kind: str
) -> tuple[list[str], list[str], Centred]:
    """Names of methods and statistics, and the scores of all methods for `seed_weights`."""
    require_kind(kind)
    if unknown := set(statistics) - set(STATISTICS):
        raise ValueError(f"statistics {sorted(unknown)} are none of {list(STATISTICS)}.")
    if len(scores) < 2:
        raise ValueError("fewer than two methods cannot be compared.")
    flat = flat_scores(scores.values())
    if flat.shape[-1] < 2:
        raise ValueError("a single pair has no correlation.")
    largest = np.abs(flat).max(axis=(1, 2), keepdims=True)
    centred = Centred(flat / np.where(largest > 0, largest, 1.0))
    if kind == "pearson" and "snr" in statistics:
        quiet = (centred.deviation == 0).all(axis=1) & (centred.centre != 0)
        if quiet.any():
            raise ValueError(f"{quiet.sum()} scores are without noise: no finite SNR to correlate.")
    return list(scores), list(statistics), centred


def _across_halves(
    stacked: Centred,
    n_splits: int,
    generator: np.random.Generator | None,
    options: Mapping[str, object],
) -> dict[str, np.ndarray]:
    """Quantities from halves, `(1 + n, statistic, estimator, other)`: of all n seeds, and with each
    seed left out of the half it is in, the same halves throughout.

    "r_half": one method on one half, the other on the other, both ways, averaged over splits;
    "ceiling", "gap", "disattenuated" from it. All NaN with fewer than four seeds.
    """
    n_methods, n, _ = stacked.deviation.shape
    kept = all_and_each_left_out(n) if n > 5 else np.ones((1, n))
    r = np.full((len(kept), len(options["names"]), n_methods, n_methods), np.nan)
    if n > 3:
        splits = list(halves_of(n, n_splits, generator))
        chosen = np.zeros((len(splits), n))
        for row, (half, _) in zip(chosen, splits, strict=True):
            row[half] = 1
        sides = [(kept[:, None] * side).reshape(-1, n) for side in (chosen, 1 - chosen)]
        r = correlations(stacked, *sides, **options)
        r = r.reshape(len(kept), len(splits), *r.shape[1:]).mean(axis=1)
        r = (r + r.swapaxes(-1, -2)) / 2
    own = np.diagonal(r, axis1=-2, axis2=-1)
    ceiling = noise_ceiling(own[..., :, None], own[..., None, :])
    ratio = r / np.where(ceiling > 0, ceiling, np.nan)
    return {"r_half": r, "ceiling": ceiling, "gap": r - ceiling, "disattenuated": ratio}


# ---------------------------------------------------------------- tables


def correlation_table(
    scores: Scores, reference: str, *, kinds: Sequence[str] = ("pearson",), **options: object
) -> pd.DataFrame:
    """Every method against `reference`: one row a kind, method and statistic.

    Columns: kind, method, statistic, n_pairs, n_seeds, the variables of `pairwise_agreement` (to
    which `options` go) and `reference_reliability`.
    """
    if reference not in scores:
        raise ValueError(f"reference '{reference}' is none of {list(scores)}.")
    pairs = [(name, reference) for name in scores if name != reference]
    table = _table(scores, pairs, kinds, options)
    return table.drop(columns="other").rename(columns={"other_reliability": _REFERENCE})


_REFERENCE = "reference_reliability"


def pairwise_table(
    scores: Scores, *, kinds: Sequence[str] = ("pearson",), **options: object
) -> pd.DataFrame:
    """Any two methods, once: as `correlation_table`, with the columns `other` and
    `other_reliability` in place of the reference's."""
    return _table(scores, list(combinations(scores, 2)), kinds, options)


def _table(
    scores: Scores,
    pairs: Sequence[tuple[str, str]],
    kinds: Sequence[str],
    options: Mapping[str, object],
) -> pd.DataFrame:
    rows = []
    for kind in kinds:
        found = pairwise_agreement(scores, kind=kind, **options)
        for method, other in pairs:
            cells = found.sel(estimator=method, other=other)
            reliability = found["reliability"].sel(estimator=other)
            for statistic in found["statistic"].values:
                at = cells.sel(statistic=statistic)
                rows.append(
                    {
                        **{"kind": kind, "method": method, "other": other},
                        **{"statistic": str(statistic), **found.attrs},
                        **{name: float(at[name]) for name in at.data_vars},
                        "other_reliability": float(reliability.sel(statistic=statistic)),
                    }
                )
    return pd.DataFrame(rows)


def paired_difference(
    scores: Scores,
    first: Iterable[tuple[str, str]],
    second: Iterable[tuple[str, str]],
    *,
    statistic: str = "mean",
    kind: str = "pearson",
    quantity: str = "r",
    n_splits: int = 12,
    generator: np.random.Generator | None = None,
    level: float = 0.95,
) -> xr.Dataset:
    """Mean agreement of the `first` pairs of methods less that of the `second`, same seeds.

    `estimate`, `low`, `high` of the difference (jackknife t interval), and the means `first` and
    `second`. `quantity`: "r" as observed, or "disattenuated", which noise does not move. Do two
    methods form a block that a third stays out of? first = pairs within, second = pairs across.
    """
    if quantity not in ("r", "disattenuated"):
        raise ValueError(f"quantity '{quantity}' is neither 'r' nor 'disattenuated'.")
    names, labels, stacked = _stacked(scores, [statistic], kind)
    options = {"names": labels, "kind": kind}
    if quantity == "r":
        each = all_and_each_left_out(stacked.deviation.shape[1])
        values = correlations(stacked, each, **options)
    else:
        values = _across_halves(stacked, n_splits, generator, options)["disattenuated"]
    means = []
    for pairs in (list(first), list(second)):
        if not pairs or (unknown := {name for pair in pairs for name in pair} - set(names)):
            raise ValueError(f"no pairs, or of methods {sorted(unknown if pairs else [])}.")
        rows, columns = zip(*[[names.index(name) for name in pair] for pair in pairs], strict=True)
        means.append(values[:, 0, rows, columns].mean(axis=-1))
    low, high = jackknife_t(means[0] - means[1], level)
    found = {"estimate": means[0][0] - means[1][0], "low": low, "high": high}
    return xr.Dataset(found | {"first": means[0][0], "second": means[1][0]})
