"""What came upon retraining without groups of images, against random groups; with intervals.

Judging seeds, samples and random groups are all drawn, so errors over each of the three are
estimated by a jackknife and their variances added.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dtda_lib.statistics.over_seeds import Statistic, jackknife_over_seeds

from .ensemble import BY_MEAN, BY_PIXELS, BY_VARIANCE, LISTS, NONE, RANDOM, Samples, Scored
from .lists import satterthwaite

DIGIT = "digit"  # random groups of the sample's own digit


def retrained(loss: xr.DataArray, samples: Samples, judged: np.ndarray) -> xr.Dataset:
    """m of the judged samples after their own groups' removals, as variables.

    Args:
        loss: From `diffusion.losses_of`, `(seed, removal, sample)`.
        samples: All samples.
        judged: Positions of those that have groups.

    Returns:
        "none" and each of `LISTS` `(seed, sample)`; "random" and "digit" `(seed, group, sample)`,
        the latter random groups of the sample's own digit.
    """
    labels = loss["removal"].values.astype(str)
    n_random = sum(label.startswith(f"{RANDOM}/") for label in labels)
    found = {NONE: loss.sel(removal=NONE, drop=True).isel(sample=judged)}

    def joined(pieces: list[xr.DataArray]) -> xr.DataArray:
        return xr.concat([piece.drop_vars("removal") for piece in pieces], "sample")

    for name in LISTS:
        own = [loss.sel(removal=f"{name}/{s}").isel(sample=s) for s in judged]
        found[name] = joined(own)
    for name in (RANDOM, DIGIT):
        pieces = []
        for s in judged:
            start = name if name == RANDOM else f"{name}{samples.digit[s]}"
            names = [f"{start}/{draw}" for draw in range(n_random)]
            part = loss.sel(removal=names).isel(sample=s).rename(removal="group")
            pieces.append(part.drop_vars("group").expand_dims("sample"))
        found[name] = xr.concat(pieces, "sample")
    return xr.Dataset({name: values.reset_coords(drop=True) for name, values in found.items()})


def _level(values: xr.DataArray) -> xr.DataArray:
    """Mean over seeds and groups, `(sample,)`."""
    return values.mean([dim for dim in ("seed", "group") if dim in values.dims])


def rise(first: str, second: str) -> Statistic:
    """Statistic: mean over samples of m without `first` less m without `second`, % of m."""

    def statistic(found: xr.Dataset) -> xr.DataArray:
        gap = _level(found[first]) - _level(found[second])
        return 100 * (gap / _level(found[NONE])).mean("sample")

    return statistic


def widening(first: str, second: str) -> Statistic:
    """Statistic: mean over samples of the log ratio of variances over seeds, first to second."""

    def statistic(found: xr.Dataset) -> xr.DataArray:
        logs = []
        for name in (first, second):
            log = np.log(found[name].var("seed", ddof=1))
            logs.append(log.mean("group") if "group" in log.dims else log)
        return (logs[0] - logs[1]).mean("sample")

    return statistic


def crossed_interval(
    found: xr.Dataset, statistic: Statistic, dims: Sequence[str], level: float = 0.95
) -> dict[str, float]:
    """`estimate, low, high`: t interval with errors over each of `dims` added.

    Jackknife over each; each part holds what the dimensions do together, too, so the interval is
    on the wide side. Degrees of freedom by Satterthwaite.
    """
    errors = [jackknife_over_seeds(found, statistic, dim=dim)["standard_error"] for dim in dims]
    parts = [np.asarray(float(error) ** 2) for error in errors]
    estimate = np.asarray(float(statistic(found)))
    low, high = satterthwaite(estimate, parts, tuple(found.sizes[dim] - 1 for dim in dims), level)
    return {"estimate": float(estimate), "low": float(low), "high": float(high)}


RISES = (
    (BY_MEAN, RANDOM),
    (BY_MEAN, DIGIT),
    (BY_PIXELS, RANDOM),
    (BY_MEAN, BY_PIXELS),
    (BY_VARIANCE, RANDOM),
    (DIGIT, RANDOM),
    (RANDOM, NONE),
)
"""Whose rise is compared with whose."""
WIDENINGS = ((BY_VARIANCE, RANDOM), (BY_MEAN, RANDOM), (BY_VARIANCE, BY_MEAN))
"""The same for the variance of m over seeds."""


def validation_table(found: xr.Dataset, level: float = 0.95) -> pd.DataFrame:
    """`RISES` in % of m, and `WIDENINGS`, log ratios of variances over seeds.

    One row each: `measured` ("rise" or "widening"), `first`, `second`, `estimate`, `low`, `high`.
    """
    asked = [("rise", a, b, rise(a, b)) for a, b in RISES]
    asked += [("widening", a, b, widening(a, b)) for a, b in WIDENINGS]
    rows = []
    for measured, first, second, statistic in asked:
        grouped = {first, second} & {RANDOM, DIGIT}
        dims = ("seed", "sample", *(("group",) if grouped else ()))
        row = {"measured": measured, "first": first, "second": second}
        rows.append(row | crossed_interval(found, statistic, dims, level))
    sizes = {"n_seeds": found.sizes["seed"], "n_samples": found.sizes["sample"]}
    return pd.DataFrame(rows).assign(**sizes, n_groups=found.sizes["group"])


def per_sample(found: xr.Dataset) -> pd.DataFrame:
    """m after each list's removal less that after random groups, % of m, sample by sample."""
    rows = []
    for name in (*LISTS, DIGIT):
        gap = 100 * (_level(found[name]) - _level(found[RANDOM])) / _level(found[NONE])
        rows += [(name, place, value) for place, value in enumerate(gap.values)]
    return pd.DataFrame(rows, columns=["list", "sample", "rise"])


# ---------------------------------------------------------------- predictions


def predicted_and_came(
    scored: Scored, loss: xr.DataArray, groups: Mapping[str, np.ndarray], judged: np.ndarray
) -> xr.Dataset:
    """Shift of m upon removal of each group: `predicted` `(group, sample)`, `came` `(seed, ...)`.

    Predicted is the sum over the group's images of the mean shift over scoring seeds; what came is
    that of each judging seed. In units of m.
    """
    mean = scored.shift.mean(axis=0)[:, judged]  # (image, sample)
    predicted = np.stack([mean[group].sum(axis=0) for group in groups.values()])
    base = loss.sel(removal=NONE, drop=True)
    came = (loss.sel(removal=list(groups)) - base).isel(sample=judged)
    came = came.transpose("seed", "removal", "sample").values
    return xr.Dataset(
        {
            "predicted": (("group", "sample"), predicted),
            "came": (("seed", "group", "sample"), came),
        }
    )


def prediction_correlation(shifts: xr.Dataset) -> xr.DataArray:
    """Mean over samples of the Spearman correlation over groups of predicted and mean shift."""
    predicted = shifts["predicted"].transpose("group", "sample").values
    came = shifts["came"].mean("seed").transpose("group", "sample").values
    ranks = [stats.rankdata(values, axis=0) for values in (predicted, came)]
    first, second = (r - r.mean(axis=0) for r in ranks)
    norms = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return xr.DataArray(((first * second).sum(axis=0) / norms).mean())


def prediction_slope(shifts: xr.Dataset) -> xr.DataArray:
    """Least-squares slope through 0 of the mean shift that came on the predicted one."""
    came = shifts["came"].mean("seed")
    return (came * shifts["predicted"]).sum() / (shifts["predicted"] ** 2).sum()


def prediction_table(shifts: xr.Dataset, level: float = 0.95) -> pd.DataFrame:
    """Correlation and slope of what came on what was predicted; errors over seeds and samples.

    Groups are not drawn anew: most are the lists themselves.
    """
    asked = {"correlation": prediction_correlation, "slope": prediction_slope}
    rows = [
        {"measured": name} | crossed_interval(shifts, statistic, ("seed", "sample"), level)
        for name, statistic in asked.items()
    ]
    sizes = {f"n_{dim}s": shifts.sizes[dim] for dim in ("seed", "sample", "group")}
    return pd.DataFrame(rows).assign(**sizes)
