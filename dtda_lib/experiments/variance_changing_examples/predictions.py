"""Laws after a removal, predicted from runs on all data, and scored against retraining.

Four methods: "if_ggn" (Gauss-Newton curvature and the recipe's weight decay), "if_damped" (the same
with `damping_by_training_time`), "rif" (corrected for leverage) and "unrolling" (the derivative of
each training itself). Laws, counts and Deltas are as in `line`; predictions are made from runs of
the first seeds and judged on fresh ones, so that they share no noise with the truth.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.distributions import shifted_samples
from dtda_lib.study.methods import METHODS

from .digits import NEGLIGIBLE, law_tests
from .line import DELTAS, LEVEL, changes, influences, last_epoch, left_out, picks_of, resampled

ESTIMATED = ("if_ggn", "if_damped", "rif")
"""Methods of a bank of estimates (`Setting.estimates`)."""
PREDICTED = (*ESTIMATED, "unrolling")
"""All methods."""

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


def leverages(estimates: RunBank) -> np.ndarray:
    """Mean leverage over runs of each training point, `(train,)`."""
    return full_data(estimates, "leverage").mean("seed").values


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
    n_boot: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """Influences predicted from runs on all data, against retraining on *fresh* seeds.

    One row for each method and Delta (averaged over queries): `correlation` over points (Pearson)
    with its 95 % jackknife interval over both sets of seeds; `ceiling`, the same correlation for
    retraining itself on the seeds that the method saw; `pick`, `true_pick` (of the fresh seeds) and
    `agree`, the share of bootstrap resamples of both sets in which these are the same; `size`,
    predicted over true influence in root mean square over points. A law that saw fewer seeds has a
    lower ceiling.
    """
    truth = influences(fresh, left_out(fresh.sizes["seed"]))
    true_picks = picks_of(fresh, resampled(fresh.sizes["seed"], n_boot, generator), "average")
    rows = []
    for method, law in predicted.items():
        n = law.sizes["seed"]
        guess = influences(law, left_out(n))
        same_seeds = retrained.isel(seed=slice(0, n))
        ceiling = influences(same_seeds, np.ones((1, n), dtype=int))
        picks = picks_of(law, resampled(n, n_boot, generator), "average")
        for d, delta in enumerate(DELTAS):
            one, other = (part.sel(delta=delta).values for part in (guess, truth))
            r, low, high = correlation_of_draws(one, other)
            best = float(np.corrcoef(ceiling.sel(delta=delta).values[0], other[0])[0, 1])
            agree = float((picks[d] == true_picks[d])[1:].mean())
            size = float(np.sqrt((one[0] ** 2).mean() / (other[0] ** 2).mean()))
            known = picks[d, 0], true_picks[d, 0]
            rows.append((method, delta, n, r, low, high, best, *known, agree, size))
    columns = ["method", "delta", "n_seeds", "correlation", "low", "high", "ceiling"]
    return pd.DataFrame(rows, columns=[*columns, "pick", "true_pick", "agree", "size"])


def influence_sizes(
    predicted: Mapping[str, xr.DataArray], fresh: xr.DataArray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Influences averaged over queries, `(delta, train)`: of each method, and retrained."""
    laws = [*predicted.values(), fresh]
    found = [influences(law, np.ones((1, law.sizes["seed"]), dtype=int))[:, 0] for law in laws]
    values = [each.values for each in found]
    return dict(zip(predicted, values)), values[-1]


def kept_table(
    predicted: Mapping[str, xr.DataArray], retrained: xr.DataArray, leverage: np.ndarray
) -> pd.DataFrame:
    """How much of each point's true shift of the mean is predicted, against its leverage.

    `kept` is the regression through 0 over queries of the predicted on the true shift of the mean
    (1: all of it; 1 - leverage for influence functions in linear least squares), over the same
    seeds. One row for each point and method.
    """
    rows = []
    for method, law in predicted.items():
        same = retrained.isel(seed=slice(0, law.sizes["seed"]))
        guess, true = (_mean_shift(each) for each in (law, same))  # (train, query)
        kept = (guess * true).sum(axis=1) / (true**2).sum(axis=1)
        sizes = np.sqrt((true**2).mean(axis=1))
        rows += [(point, method, *row) for point, row in enumerate(zip(leverage, sizes, kept))]
    return pd.DataFrame(rows, columns=["point", "method", "leverage", "true_shift", "kept"])


def _mean_shift(law: xr.DataArray) -> np.ndarray:
    mean = law.mean("seed").values
    return mean[1:] - mean[:1]


def pair_score_table(
    predicted: Mapping[str, xr.DataArray],
    retrained: xr.DataArray,
    fresh: xr.DataArray,
    survives: xr.DataArray,
) -> pd.DataFrame:
    """Changes predicted for every pair against retraining on fresh seeds.

    One row for each method and Delta ("mean" in logits, "log_variance_ratio"): `correlation` over
    pairs (Pearson) with its 95 % jackknife interval over both sets of seeds, and its `ceiling`,
    the same for retraining itself on the seeds that the method saw. `hits` (of the variance): among
    the 5 % of pairs with the largest predicted |log variance ratio| and a predicted mean shift of
    at most `NEGLIGIBLE` standard deviations, the share that `survives`; `base_rate`: of all pairs.
    """
    truth = _cells(changes(fresh, left_out(fresh.sizes["seed"])))
    rows = []
    for method, law in predicted.items():
        n = law.sizes["seed"]
        guess = _cells(changes(law, left_out(n)))
        same = _cells(changes(retrained.isel(seed=slice(0, n)), np.ones((1, n), dtype=int)))
        small = np.abs(law_tests(law)["relative"].values.ravel()) <= NEGLIGIBLE
        size = np.where(small, np.abs(guess["log_variance_ratio"][0]), -np.inf)
        top = np.argsort(-size, kind="stable")[: max(1, round(0.05 * size.size))]
        hits = float(survives.values.ravel()[top].mean()), float(survives.mean())
        for delta in ("mean", "log_variance_ratio"):
            r = correlation_of_draws(guess[delta], truth[delta])
            best = float(np.corrcoef(same[delta][0], truth[delta][0])[0, 1])
            told = hits if delta != "mean" else (np.nan, np.nan)
            rows.append((method, delta, n, *r, best, *told))
    columns = ["method", "delta", "n_seeds", "correlation", "low", "high", "ceiling"]
    return pd.DataFrame(rows, columns=[*columns, "hits", "base_rate"])


def _cells(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`(draw, removal, query)` -> `(draw, cell)`."""
    return {name: change.reshape(len(change), -1) for name, change in found.items()}


def correlation_of_draws(guess: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Pearson correlation of two independent sets of seeds, with its 95 % jackknife interval.

    Both `(1 + seed, cell)`: all seeds, then each seed left out. The two variances add up.
    """
    r = float(np.corrcoef(guess[0], truth[0])[0, 1])
    by_guess = np.array([np.corrcoef(draw, truth[0])[0, 1] for draw in guess[1:]])
    by_truth = np.array([np.corrcoef(guess[0], draw)[0, 1] for draw in truth[1:]])
    error = np.sqrt(sum((len(part) - 1) * part.var() for part in (by_guess, by_truth)))
    half = stats.t.ppf((1 + LEVEL) / 2, min(len(by_guess), len(by_truth)) - 1) * error
    return r, r - half, min(1.0, r + half)
