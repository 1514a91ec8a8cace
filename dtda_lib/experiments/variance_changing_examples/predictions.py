"""Laws after a removal, predicted from runs on all data, and scored against retraining.

Four methods: "if_ggn" (Gauss-Newton curvature and the recipe's weight decay), "if_damped" (the same
with `damping_by_training_time`), "rif" (corrected for leverage) and "unrolling" (the derivative of
each training itself). Laws, counts and Deltas are as in `line`; predictions are made from runs of
the first seeds and judged on fresh ones, so that they share no noise with the truth.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.distributions import shifted_samples
from dtda_lib.study.methods import METHODS

from .line import LEVEL, changes, influences_by_delta, last_epoch, left_out

ESTIMATED = ("if_ggn", "if_damped", "rif")
"""Methods of a bank of estimates (`Setting.estimates`)."""
PREDICTED = (*ESTIMATED, "unrolling")
"""All methods."""
Cells = Callable[[xr.DataArray, np.ndarray], np.ndarray]
"""Changes `(draw, cell)` of a law, with counts `(draw, seed)` of its seeds."""

# ---------------------------------------------------------------- laws


def predicted_laws(estimates: RunBank, unrolled: UnrolledBank) -> dict[str, xr.DataArray]:
    """Method -> predicted law `(seed, removal, query)` of each point's removal, "none" first.

    Args:
        estimates: Full-data runs, measured first; with influence functions of that measurement.
        unrolled: Of the first seeds of `estimates`, for the same measurement.
    """
    base, shift = unrolled_runs(estimates, unrolled)
    laws = {
        method: predicted_law(full_data(estimates), each)
        for method, each in influence_shifts(estimates).items()
    }
    return {**laws, "unrolling": predicted_law(base, shift)}


def influence_shifts(estimates: RunBank) -> dict[str, xr.DataArray]:
    """Method -> predicted shift `(seed, train, query)` of the bank's measurement."""
    return {
        name: full_data(estimates, METHODS[name].variable).sel(
            estimator=METHODS[name].entry, drop=True
        )
        for name in ESTIMATED
    }


def unrolled_runs(estimates: RunBank, unrolled: UnrolledBank) -> tuple[xr.DataArray, xr.DataArray]:
    """Full-data runs `(seed, query)` and their unrolled shifts `(seed, train, query)`."""
    shift = full_data(unrolled)
    return full_data(estimates).isel(seed=slice(0, shift.sizes["seed"])), shift


def full_data(bank: RunBank, name: str = "") -> xr.DataArray:
    """`last_epoch` of the runs on all data, `(seed, ...)`."""
    return last_epoch(bank, name).isel(removal=0, drop=True)


def predicted_law(
    base: xr.DataArray, shift: xr.DataArray, groups: Sequence[Sequence[int]] | None = None
) -> xr.DataArray:
    """The law that predicted shifts give (Algorithm 1 of 2506.12965), with "none" in front.

    `base (seed, query)` are runs on all data, `shift (seed, train, query)` of the same seeds.
    """
    after = shifted_samples(base, shift, groups).drop_vars("point")
    before = base.expand_dims(removal=["none"], axis=1)
    return xr.concat([before, after], "removal", join="exact")


# ---------------------------------------------------------------- scores


def score_table(
    predicted: Mapping[str, xr.DataArray],
    retrained: xr.DataArray,
    fresh: xr.DataArray,
    cells: Mapping[str, Cells],
) -> pd.DataFrame:
    """Changes predicted from runs on all data, against retraining on *fresh* seeds.

    Args:
        predicted: Method -> predicted law, of the first seeds or some of them.
        retrained: Retrained law of the first seeds.
        fresh: Retrained law of seeds that no prediction has seen.
        cells: Delta -> a function of a law and counts of its seeds, `(draw, cell)`, such as
            `pooled_cells`; what is correlated over cells.

    Returns:
        A row for each method and Delta: `n_seeds` that the method saw; `correlation` (Pearson);
        `ceiling`, that of retraining on the same seeds; `explained`, the signed square of their
        ratio: the share of what retraining explains; `slope` of predicted on true changes, through
        0 and free of the noise of the truth, which is estimated twice: sum of predicted x fresh
        over sum of retrained x fresh. All but the ceiling with 95 % jackknife intervals over both
        sets of seeds. `pick`, `true_pick`: cells of the largest change.
    """
    rows = []
    for delta, of in cells.items():
        truth = of(fresh, left_out(fresh.sizes["seed"]))
        for method, law in predicted.items():
            n = law.sizes["seed"]
            guess = of(law, left_out(n))
            same = of(retrained.isel(seed=slice(0, n)), left_out(n))
            found = scored(guess, same, truth)
            largest = [int(np.abs(draws[0]).argmax()) for draws in (guess, truth)]
            rows.append((method, delta, n, *found, *largest))
    names = ["correlation", "explained", "slope"]
    columns = ["method", "delta", "n_seeds", "ceiling"]
    columns += [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*columns, "pick", "true_pick"])


def scored(guess: np.ndarray, same: np.ndarray, truth: np.ndarray) -> list[float]:
    """The ceiling; correlation, explained share and slope, each with its interval; `score_table`.

    All `(1 + seed, cell)`: all seeds, then each seed left out. `guess` and `same` share their
    seeds, which are left out together; the two variances add up.
    """
    by_seed = [_scores(*draws, truth[0]) for draws in zip(guess, same)]
    by_truth = [_scores(guess[0], same[0], draw) for draw in truth]
    estimate = by_seed[0]
    parts = [np.array(part[1:]) for part in (by_seed, by_truth)]
    error = np.sqrt(sum((len(part) - 1) * part.var(axis=0) for part in parts))
    half = stats.t.ppf((1 + LEVEL) / 2, min(map(len, parts)) - 1) * error
    told = [x for row in zip(estimate, estimate - half, estimate + half) for x in row]
    return list(map(float, [told[-3], *told[:-3]]))


def _scores(guess: np.ndarray, same: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlation, explained share, slope, ceiling."""
    r, ceiling = np.corrcoef([guess, same, truth])[2, :2]
    slope = (guess @ truth) / (same @ truth)
    return np.array([r, np.sign(r) * (r / ceiling) ** 2, slope, ceiling])


def pooled_cells(delta: str) -> Cells:
    """Influence of every point, averaged over queries: `(draw, train)`."""
    return lambda law, counts: influences_by_delta(law, counts).sel(delta=delta).values


def pair_cells(delta: str) -> Cells:
    """Signed change of every pair of a removal and a query: `(draw, pair)`."""

    def cells(law: xr.DataArray, counts: np.ndarray) -> np.ndarray:
        return changes(law, counts)[delta].reshape(len(counts), -1)

    return cells


def against_truth(
    predicted: Mapping[str, xr.DataArray], fresh: xr.DataArray, of: Cells
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Method -> true and predicted change of each cell, over all seeds."""
    laws = {"": fresh, **predicted}
    found = {
        name: of(law, np.ones((1, law.sizes["seed"]), dtype=int))[0] for name, law in laws.items()
    }
    return {name: (found[""], found[name]) for name in predicted}
