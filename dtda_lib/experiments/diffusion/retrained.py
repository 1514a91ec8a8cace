"""Retraining without groups of images: which groups, and the shifts against random groups.

Judging seeds, samples and random groups are all drawn, so errors over each of the three are
estimated by a jackknife and their variances added.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.agreement import correlation
from dtda_lib.statistics.over_seeds import Statistic, jackknife_over_seeds

from .ensemble import BY_MEAN, BY_PIXELS, BY_VARIANCE, LISTS, NONE, RANDOM, GeneratedSamples, Scored
from .lists import satterthwaite

DIGIT = "digit"  # random groups of the sample's own digit

# ---------------------------------------------------------------- what is removed


def spread_out(n: int, few: int) -> np.ndarray:
    """`few` of the positions 0..n-1, evenly spaced, the first included; all if there are no more.

    >>> spread_out(10, 3).tolist()
    [0, 3, 6]
    """
    return np.arange(min(n, few)) * (n // min(n, few))


def first_of_each(samples: GeneratedSamples) -> list[int]:
    """The first sample of each digit that there is."""
    return [int(np.flatnonzero(samples.digit == digit)[0]) for digit in np.unique(samples.digit)]


def largest_first(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest of `values (image,)`, largest first; ties keep their order."""
    return np.argsort(-values, kind="stable")[:k]


def removal_groups(
    scored: Scored,
    distances: np.ndarray,
    labels: np.ndarray,
    judged: np.ndarray,
    k: int,
    n_random: int,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Images that are removed together, k at a time, by name.

    "mean/3": those whose removal is predicted to raise the mean of m of sample 3 most;
    "variance/3": its variance over seeds; "nearest/3": those nearest to it in pixels; "random/2":
    drawn from all images; "digit0/2": drawn from the images of digit 0.

    Args:
        scored: Of the scoring runs.
        distances: In pixels, `(image, sample)`.
        labels: Digit of each image `(image,)`.
        judged: Samples that are judged.
        k: Images of a group.
        n_random: Random groups, from all images and from those of each digit.
        generator: Draws them.

    Raises:
        ValueError: a digit has fewer than k images.
    """
    groups = {}
    law = scored.base[:, None] + scored.shift  # (seed, image, sample)
    wider = law.var(axis=0, ddof=1) - scored.base.var(axis=0, ddof=1)
    by = {BY_MEAN: scored.shift.mean(axis=0), BY_VARIANCE: wider, BY_PIXELS: -distances}
    for name, values in by.items():
        groups |= {f"{name}/{sample}": largest_first(values[:, sample], k) for sample in judged}
    pools = {RANDOM: np.arange(len(labels))}
    pools |= {f"digit{digit}": np.flatnonzero(labels == digit) for digit in np.unique(labels)}
    for name, pool in pools.items():
        if len(pool) < k:
            raise ValueError(f"groups: {k} images cannot be drawn from the {len(pool)} of {name}.")
        for draw in range(n_random):
            groups[f"{name}/{draw}"] = generator.choice(pool, k, replace=False)
    return groups


# ---------------------------------------------------------------- what is observed


def losses_after_removal(
    loss: xr.DataArray, samples: GeneratedSamples, judged: np.ndarray
) -> xr.Dataset:
    """m of the judged samples after their own groups' removals, as variables.

    Args:
        loss: From `ensemble.losses_of`, `(seed, removal, sample)`.
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


def predicted_and_observed(
    scored: Scored, loss: xr.DataArray, groups: Mapping[str, np.ndarray], judged: np.ndarray
) -> xr.Dataset:
    """Shift of m upon removal of each group: `predicted` `(group, sample)`, and `observed`.

    Predicted is the sum over the group's images of the mean shift over scoring seeds; observed is
    that of each judging seed. In units of m.
    """
    mean = scored.shift.mean(axis=0)[:, judged]  # (image, sample)
    predicted = np.stack([mean[group].sum(axis=0) for group in groups.values()])
    base = loss.sel(removal=NONE, drop=True)
    observed = (loss.sel(removal=list(groups)) - base).isel(sample=judged)
    observed = observed.transpose("seed", "removal", "sample").values
    return xr.Dataset(
        {
            "predicted": (("group", "sample"), predicted),
            "observed": (("seed", "group", "sample"), observed),
        }
    )


def prediction_correlation(shifts: xr.Dataset) -> xr.DataArray:
    """Mean over samples of the Spearman correlation over groups of predicted and mean shift."""
    observed = shifts["observed"].mean("seed")
    each = correlation(shifts["predicted"], observed, ["group"], "spearman")  # (sample,)
    return each.mean(skipna=False)


def prediction_slope(shifts: xr.Dataset) -> xr.DataArray:
    """Least-squares slope through 0 of the mean observed shift on the predicted one."""
    observed = shifts["observed"].mean("seed")
    return (observed * shifts["predicted"]).sum() / (shifts["predicted"] ** 2).sum()


def prediction_skill_table(shifts: xr.Dataset, level: float = 0.95) -> pd.DataFrame:
    """Correlation and slope of observed on predicted shifts; errors over seeds and samples.

    Groups are not drawn anew: most are the lists themselves.
    """
    asked = {"correlation": prediction_correlation, "slope": prediction_slope}
    rows = [
        {"measured": name} | crossed_interval(shifts, statistic, ("seed", "sample"), level)
        for name, statistic in asked.items()
    ]
    sizes = {f"n_{dim}s": shifts.sizes[dim] for dim in ("seed", "sample", "group")}
    return pd.DataFrame(rows).assign(**sizes)
