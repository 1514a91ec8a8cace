"""Where do two methods agree: on which queries, and more on the pairs that stand out from noise?

Scores are `(seed, train, query)` of the same seeds, as in `agreement_intervals`. Bad input is
refused with a `ValueError` of one sentence.
"""

import numpy as np
import xarray as xr
from scipy import special, stats

from .agreement import (
    correlation,
    flat_scores,
    halves_of,
    mean,
    noise_ceiling,
    require_kind,
    split_half,
)
from .over_seeds import jackknife_over_seeds, require_same_pairs, require_seeds
from .seed_weights import Centred, all_and_each_left_out, jackknife_t, unit_vectors

ORDERS = ("snr", "mu", "random")
SELECTIONS = ("all", *(f"{size}_{order}" for size in ("top", "found") for order in ORDERS))


def per_query_correlations(
    method: xr.DataArray,
    reference: xr.DataArray,
    *,
    kind: str = "pearson",
    n_splits: int = 12,
    generator: np.random.Generator | None = None,
    level: float = 0.95,
) -> xr.Dataset:
    """Do two methods rank the training points of one query alike? Mean scores, per query.

    `(query)`: `r`, the correlation over training points of the means over seeds, NaN where one is
    constant; `reliability`, `reference_reliability` and `ceiling` of that query, from halves (NaN
    with fewer than four seeds). Without dimension: `average` of r over queries with its jackknife
    t interval over seeds `low`, `high`, and `average_ceiling`. A correlation over all pairs is
    also large where two methods merely agree on which queries are hard; this one is not.
    """
    require_same_pairs(method, reference)
    both = require_seeds(xr.Dataset({"method": method, "reference": reference}))

    def by_query(part: xr.Dataset) -> xr.DataArray:
        return correlation(mean(part["method"]), mean(part["reference"]), "train", kind)

    found = xr.Dataset({"r": by_query(both)})
    options = {"n_splits": n_splits, "generator": generator, "over": ["train"], "kind": kind}
    for name, key in (("method", "reliability"), ("reference", "reference_reliability")):
        enough = both.sizes["seed"] > 3
        value = split_half(both[name], mean, **options)["reliability"] if enough else np.nan
        found[key] = value + 0 * found["r"]
    found["ceiling"] = noise_ceiling(found["reliability"], found["reference_reliability"])
    interval = {"low": np.nan, "high": np.nan}
    if both.sizes["seed"] > 2:
        interval = jackknife_over_seeds(both, lambda part: by_query(part).mean(), level=level)
    ends = {name: interval[name] for name in ("low", "high")}
    averages = {"average": found["r"].mean(), "average_ceiling": found["ceiling"].mean()}
    return found.assign(averages | ends)


# ---------------------------------------------------------------- low-noise pairs


def low_noise_agreement(
    method: xr.DataArray,
    reference: xr.DataArray,
    *,
    generator: np.random.Generator,
    top: float = 0.1,
    q: float = 0.05,
    n_splits: int = 10,
    kind: str = "pearson",
    least: int = 10,
    level: float = 0.95,
) -> xr.Dataset:
    """Do two methods agree better on the pairs that the reference finds to be of low noise?

    Pairs are selected by the reference on one half of the seeds; means of method and reference are
    correlated over them on the other half; both ways, over `n_splits` splits of the seeds.

    A `selection` is "all" pairs or a size and an order. Sizes: "top", the share `top` of pairs, and
    "found", as many as Benjamini-Hochberg discovers at rate `q` among t-test p-values. Orders:
    "snr", by |mu| / sigma (so "found_snr" *are* the discoveries); "mu", by |mu| alone; "random".
    The last two are controls: choosing extreme means widens their range, which raises a
    correlation whether or not noise is low; "random" shows what the size does.

    `(selection)`: `r`, the mean over splits with its jackknife t interval over seeds `low`, `high`;
    `spread`, the standard deviation over splits, which share seeds: no standard error; `n_selected`
    pairs on average; `defined`, the share of splits in which at least `least` pairs were selected
    (elsewhere there is no r). `(selection, other)`: `difference` of r, `difference_low` and
    `_high`, over the splits in which both are defined. Against "all" it asks whether agreement
    rises; against the control "mu", whether low noise is the reason.

    r is that of half the seeds, and pairs of low noise are less attenuated: part of any rise is
    that they are *measured* better. Intervals leave each seed out of all splits in turn; they are
    NaN with fewer than six seeds. 135,000 pairs take about 1 s a split (Pearson).
    """
    require_kind(kind)
    flat = flat_scores((method, reference), at_least=4)
    if not (0 < top <= 1 and 0 < q < 1):
        raise ValueError(f"top = {top} and q = {q} are shares between 0 and 1.")
    if least < 3:
        raise ValueError(f"least = {least}: at least three pairs needed for a correlation.")
    n = flat.shape[1]
    both, judge = Centred(flat), Centred(flat[1:])
    kept = all_and_each_left_out(n) if n > 5 else np.ones((1, n))
    r, sizes = [], []  # each (1 + n, selection), one entry a split and direction
    for halves in halves_of(n, n_splits, generator):
        shuffled = generator.permutation(flat.shape[-1])
        for chosen, judged in (halves, halves[::-1]):
            first, second = (kept * np.isin(np.arange(n), half) for half in (chosen, judged))
            picks = [_selections(judge, seeds, top, q, shuffled) for seeds in first]
            means = both.statistics(second, ["mean"], slice(None))[:, 0]
            r.append([[_r(m[:, i], kind, least) for i in p] for m, p in zip(means, picks)])
            sizes.append([len(i) for i in picks[0]])
    return _summary(np.array(r), np.array(sizes), level)


def _selections(
    reference: Centred, seeds: np.ndarray, top: float, q: float, shuffled: np.ndarray
) -> list[np.ndarray]:
    """Positions of the selected pairs for each of SELECTIONS, by the reference's `seeds`."""
    mean, snr = np.abs(reference.statistics(seeds[None], ["mean", "snr"], slice(None))[0, :, 0])
    n_seeds = int(seeds.sum())
    orders = {"snr": np.argsort(-snr), "mu": np.argsort(-mean), "random": shuffled}
    count = {
        "top": int(np.ceil(top * snr.size)),
        "found": _discoveries(snr[orders["snr"]], n_seeds, q),
    }
    chosen = [name.split("_") for name in SELECTIONS[1:]]
    return [shuffled, *(orders[order][: count[size]] for size, order in chosen)]


def _discoveries(snr: np.ndarray, n_seeds: int, q: float) -> int:
    """How many t-tests Benjamini-Hochberg rejects; `snr` falls, and p rises with it."""
    least = stats.t.isf(q / 2, n_seeds - 1) / np.sqrt(n_seeds)
    likely = snr[: np.searchsorted(-snr, -least, side="right")]  # others have p > q
    p = 2 * special.stdtr(n_seeds - 1, -np.sqrt(n_seeds) * likely)
    passed = np.flatnonzero(p <= q * np.arange(1, p.size + 1) / snr.size)
    return int(passed[-1]) + 1 if passed.size else 0


def _r(means: np.ndarray, kind: str, least: int) -> float:
    """Correlation of two rows of means; NaN with fewer than `least` pairs or without spread."""
    if means.shape[1] < least:
        return np.nan
    one, two = unit_vectors(means, kind)
    return float(np.clip(one @ two, -1, 1))


def _summary(r: np.ndarray, sizes: np.ndarray, level: float) -> xr.Dataset:
    """From r `(split, 1 + n, selection)`: means over splits, their differences and intervals."""
    with_all = r[..., :, None] - r[..., None, :]
    low, high = jackknife_t(_mean_of_defined(r), level)
    differences = _mean_of_defined(with_all)
    difference_low, difference_high = jackknife_t(differences, level)
    defined = np.isfinite(r[:, 0])
    centre = np.where(defined, r[:, 0] - _mean_of_defined(r)[0], np.nan)
    one, two = ("selection",), ("selection", "other")
    return xr.Dataset(
        {
            "r": (one, _mean_of_defined(r)[0]),
            "low": (one, low),
            "high": (one, high),
            "spread": (one, np.sqrt(_mean_of_defined(centre**2))),
            "n_selected": (one, sizes.mean(axis=0)),
            "defined": (one, defined.mean(axis=0)),
            "difference": (two, differences[0]),
            "difference_low": (two, difference_low),
            "difference_high": (two, difference_high),
        },
        {"selection": list(SELECTIONS), "other": list(SELECTIONS)},
    )


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where there is nothing else."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(known, values, 0.0).sum(axis=0) / np.where(count > 0, count, np.nan)
