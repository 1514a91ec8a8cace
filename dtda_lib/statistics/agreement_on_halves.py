"""Agreement of several methods beside what noise allows, from halves of the same seeds.

Scores are `(estimator, seed, train, query)`; seed s of one method shares its runs with seed s of
any other, hence some of its noise. So one method is taken on one half of the seeds and the other on
the other half. Methods of equal truth, up to scale, would reach the *ceiling* of such halves; a
*gap* below 0 is disagreement beyond noise; agreement divided by its ceiling (*corrected*) is what
would be seen without noise (Spearman 1904).

Halves are given by labels of seeds, so that everything can be computed again without one seed, a
point or a query: `over_sets.over_sets` with the groups `EACH_AXIS` gives intervals over all three.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from scipy import stats

from .agreement import PAIR, halves_of, noise_ceiling, require_kind
from .over_seeds import ratio

EACH_AXIS = {"seed": 1_000, "train": 10, "query": 10}
"""Groups of `over_sets`: single seeds, and at most ten groups of points and of queries.

Measured coverage of nominal 95 % with ten seeds, 30 points and 40 queries, all new in each repeat:
see tests/statistics/test_agreement_on_halves.py.
"""

Half = tuple[np.ndarray, np.ndarray]
_REDUCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda runs: runs.mean(axis=1),
    "sd": lambda runs: runs.std(axis=1, ddof=1),
    "snr": lambda runs: ratio(runs.mean(axis=1), runs.std(axis=1, ddof=1)),
}


def halves_of_seeds(scores: xr.DataArray, n_splits: int, generator: np.random.Generator) -> list:
    """Splits of the seeds into halves, by their labels; random ones where there are too many.

    `ValueError`: fewer than four seeds, as a half has to have a standard deviation.
    """
    labels = scores["seed"].values
    if len(labels) < 4:
        raise ValueError(f"{len(labels)} seeds have no halves; at least four needed.")
    return [
        tuple(labels[half] for half in halves)
        for halves in halves_of(len(labels), n_splits, generator)
    ]


def agreement_on_halves(
    scores: xr.DataArray,
    halves: Sequence[Half],
    *,
    statistic: str = "mean",
    kind: str = "pearson",
    over: Sequence[str] = PAIR,
) -> xr.Dataset:
    """How any two methods agree on a statistic over seeds, `(estimator, other)`.

    * `r`: the correlation with all seeds;
    * `across`: of one method on one half with the other on the other half, both ways, mean over
      `halves`; on the diagonal the reliability of a half;
    * `ceiling`: root of the product of two reliabilities;
    * `gap` = across - ceiling, and `corrected` = across / ceiling (NaN where the ceiling is 0).

    Args:
        scores: `(estimator, seed, train, query)`, finite, with labels of `seed`.
        halves: `halves_of_seeds`, of these seeds or of more.
        statistic: "mean", "sd" (ddof 1) or "snr", their ratio. A pair that is the same in all seeds
            of a half, as losses of few digits are, counts as clear as the clearest other pair of
            its method there.
        kind: "pearson" or "spearman".
        over: Both axes of a pair; or "train" alone: a correlation for each query, then their mean
            over queries where both methods vary.

    Raises:
        ValueError: an unknown statistic, kind or axis, or the ratio of a method without noise.
    """
    require_kind(kind)
    if statistic not in _REDUCTIONS:
        raise ValueError(f"statistic {statistic!r} is none of {list(_REDUCTIONS)}.")
    if tuple(over) not in (PAIR, ("train",)):
        raise ValueError(f"over = {over!r} is neither {PAIR} nor ('train',).")
    scores = scores.transpose("estimator", "seed", "query", "train")
    values, seeds = scores.values.astype(np.float64), scores["seed"].values
    reduce, pooled = _REDUCTIONS[statistic], tuple(over) == PAIR

    def units(chosen: np.ndarray) -> np.ndarray:
        runs = values[:, chosen]
        found = reduce(runs)  # (method, query, train)
        if statistic == "snr":
            found = _clear(found, (runs == runs[:, :1]).all(axis=1))
        return _units(found.reshape(len(found), 1, -1) if pooled else found, kind)

    sides = [[units(np.isin(seeds, half)) for half in both] for both in halves]
    across = np.mean([_correlations(*both) for both in sides], axis=0)
    across = (across + across.T) / 2
    every = units(np.ones(len(seeds), bool))
    own = np.diagonal(across)
    ceiling = noise_ceiling(own[:, None], own[None, :])
    found = {
        "r": _correlations(every, every),
        "across": across,
        "ceiling": ceiling,
        "gap": across - ceiling,
        "corrected": across / np.where(ceiling > 0, ceiling, np.nan),
    }
    names, dims = scores["estimator"].values, ("estimator", "other")
    return xr.Dataset(
        {k: (dims, v) for k, v in found.items()}, {"estimator": names, "other": names}
    )


def _clear(ratios: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Ratios `(method, query, train)`; pairs that are the same in all seeds get the largest other,
    with their sign, whatever rounding has made of their standard deviation."""
    if same.all(axis=(1, 2)).any():
        raise ValueError("snr over seeds is not finite: a method is without noise.")
    largest = np.where(same, 0.0, np.abs(ratios)).max(axis=(1, 2), keepdims=True)
    return np.where(same, np.sign(ratios) * largest, ratios)


def _units(values: np.ndarray, kind: str) -> np.ndarray:
    """Values or ranks `(estimator, row, cell)`, each row centred and of length 1; constant: NaN."""
    values = stats.rankdata(values, axis=-1) if kind == "spearman" else values
    constant = (values == values[..., :1]).all(axis=-1, keepdims=True)
    centred = values - values.mean(axis=-1, keepdims=True)
    # Divided by the largest first, so that squares of tiny scores stay in range.
    centred = centred / np.where(constant, np.nan, np.abs(centred).max(axis=-1, keepdims=True))
    return centred / np.linalg.norm(centred, axis=-1, keepdims=True)


def _correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean over rows of the correlations of any two methods, `(estimator, method)`."""
    each = np.einsum("mrc,nrc->mnr", one, other, optimize=True)
    known = np.isfinite(each)
    count = known.sum(axis=-1)
    return np.where(known, each, 0.0).sum(axis=-1) / np.where(count > 0, count, np.nan)


def low_noise_agreement(
    scores: xr.DataArray,
    reference: str,
    halves: Sequence[Half],
    *,
    top: float = 0.1,
) -> xr.DataArray:
    """Do methods agree better with a reference on the pairs where it stands out from noise?

    The reference chooses pairs by one half of the seeds; means of reference and method are
    correlated (Pearson) over them on the other half; both ways, mean over `halves`.

    Returns `(selection, estimator)`: "all" pairs; "top_snr", the share `top` of pairs with the
    largest |mean / sd|; and as a control "top_mu", as many by |mean| alone, for choosing extreme
    means widens their range, which raises a correlation whether or not noise is low.

    Args:
        scores: `(estimator, seed, train, query)`, finite, with labels of `seed`.
        reference: The method that chooses.
        halves: `halves_of_seeds`.
        top: Share of pairs that is chosen.
    """
    scores = scores.transpose("estimator", "seed", "train", "query")
    values, seeds = scores.values.astype(np.float64), scores["seed"].values
    values = values.reshape(*values.shape[:2], -1)
    at = int(np.flatnonzero(scores["estimator"].values == reference)[0])
    size = int(np.ceil(top * values.shape[-1]))
    every = np.arange(values.shape[-1])
    found = []
    for both in halves:
        for choosing, judging in (both, both[::-1]):
            by = values[at : at + 1, np.isin(seeds, choosing)]
            mean, snr = (np.abs(_REDUCTIONS[name](by))[0] for name in ("mean", "snr"))
            picks = {
                "all": every,
                "top_snr": np.argsort(-snr, kind="stable")[:size],
                "top_mu": np.argsort(-mean, kind="stable")[:size],
            }
            means = values[:, np.isin(seeds, judging)].mean(axis=1)
            units = [_units(means[:, None, pick], "pearson") for pick in picks.values()]
            found.append([_correlations(unit[at : at + 1], unit)[0] for unit in units])
    coords = {"selection": list(picks), "estimator": scores["estimator"].values}
    return xr.DataArray(np.mean(found, axis=0), coords, ("selection", "estimator"))
