"""What random crops of the test image do to influence (claim R4).

The published ViT runs crop every image at random at each access, so the loss before and the loss
after a removal are taken on *different* crops of the query. Here one and the same trained model is
measured on many crops and on the whole image, which keeps the noise of crops apart from the noise
of training. Crops change at test time alone: models train on whole images.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.experiments.noise_vs_influence.tables import jackknife_or_nan, late_mean
from dtda_lib.runs.shifts import shift_upon_removal
from dtda_lib.statistics.variance import variance_components
from dtda_lib.study.tables import numbers

WAYS = {
    "fixed": "whole image",
    "same": "one crop, the same with and without the point",
    "other": "another crop for each model (as published)",
}


def crop_losses_of(data: xr.Dataset) -> dict[str, xr.DataArray]:
    """Query losses of the full-data models by way, `(seed, crop, query)`; "fixed" has one "crop".

    Args:
        data: Of a bank with the measures `query_loss` and `crop_loss`.
    """
    full = data.sel(removal="none", drop=True)
    return {
        "fixed": _tidy(late_mean(full["query_loss"]).expand_dims("crop"), "query"),
        "same": _tidy(late_mean(full["crop_loss"]), "query"),
    }


def crop_shifts(data: xr.Dataset, ids: Sequence[int]) -> dict[str, xr.DataArray]:
    """Shifts upon removal by the `WAYS` of cropping, `(seed, crop, train, query)`, in nats.

    "other" takes the loss of the full-data model on another of the crops, and on a different one
    for each point left out, as published code computes it anew for each.
    """
    whole = late_mean(shift_upon_removal(data["query_loss"])).expand_dims("crop")
    same = late_mean(shift_upon_removal(data["crop_loss"]))
    base = late_mean(data["crop_loss"].isel(removal=0, drop=True))
    n_crops = base.sizes["crop"]
    moves = [1 + k % (n_crops - 1) for k in range(len(ids))]  # never back to the same crop
    moved = xr.concat([base.roll(crop=move) for move in moves], "train")
    other = same + base - moved.assign_coords(train=same["train"])
    found = {"fixed": whole, "same": same, "other": other}
    return {
        way: _tidy(x, "train", "query").assign_coords(train=list(ids)) for way, x in found.items()
    }


def _tidy(scores: xr.DataArray, *pair: str) -> xr.DataArray:
    return scores.transpose("seed", "crop", *pair).reset_coords(drop=True)


def one_crop_each(scores: xr.DataArray) -> xr.DataArray:
    """What a single look would give: of each seed one of the crops, seeds in turn; no crop axis."""
    n = scores.sizes["seed"]
    seed = xr.DataArray(np.arange(n), dims="seed")
    crop = xr.DataArray(np.arange(n) % scores.sizes["crop"], dims="seed")
    return scores.isel(seed=seed, crop=crop)


def crop_table(
    losses: Mapping[str, xr.DataArray], shifts: Mapping[str, xr.DataArray]
) -> pd.DataFrame:
    """How much of the variance of one measurement is the crop's, and how much the seed's.

    Args:
        losses: `crop_losses_of`.
        shifts: `crop_shifts`.

    Returns:
        Columns `what` ("query loss" or "shift"), `way` (of `WAYS`), `seed_variance` (between seeds,
        of the mean over crops) and `crop_variance` (over crops, of one trained model), means over
        pairs in squared nats, unbiased; `share` = crop / (crop + seed), and `ratio` = (crop + seed)
        over the variance on whole images; each of these two with its 95 % jackknife interval over
        seeds (`_low`, `_high`; NaN with two seeds), the ratio's made on the logarithm. Crops are
        drawn once and the same for all seeds; intervals do not speak about other draws of them.
    """
    rows = []
    for what, scores in (("query loss", losses), ("shift", shifts)):
        for way, array in scores.items():
            parts = {"these": array, "whole": scores["fixed"].isel(crop=0, drop=True)}
            if way == "other":
                parts |= {"these": scores["same"], "base": losses["same"]}
            both = xr.Dataset(parts)
            seed_variance, crop_variance = _variances(both)
            row = {"what": what, "way": way}
            row |= {"seed_variance": seed_variance, "crop_variance": crop_variance}
            found = jackknife_or_nan(both, _crop_quantities)
            ratio = np.exp(found.sel(quantity="log_ratio"))
            for name, part in (("share", found.sel(quantity="share")), ("ratio", ratio)):
                row |= numbers(part, name)
            rows.append(row)
    return pd.DataFrame(rows)


def _variances(both: xr.Dataset) -> tuple[float, float]:
    """Variance between seeds (not below 0) and over crops, means over pairs.

    Seeds share their crops, so the seeds' part is a component of the crossed design of seeds and
    crops; all else that a crop changes is the crops'. With "base", the losses of the full-data
    models, it is a shift whose two losses see different crops: their variances over crops add up,
    and the mean over crops is that of the same crop.
    """
    these = both["these"]
    if these.sizes["crop"] == 1:
        return float(these.isel(crop=0).var("seed", ddof=1).mean()), 0.0
    components = variance_components(these.rename(seed="init", crop="order"))["variance"]
    between = components.sel(component="init").mean()
    within = these.var("crop", ddof=1).mean()
    if "base" in both:
        removed = these + both["base"]
        within = removed.var("crop", ddof=1).mean() + both["base"].var("crop", ddof=1).mean()
    return max(float(between), 0.0), float(within)


def _crop_quantities(both: xr.Dataset) -> xr.DataArray:
    seed_variance, crop_variance = _variances(both)
    whole = float(both["whole"].var("seed", ddof=1).mean())
    total = seed_variance + crop_variance
    values = [crop_variance / total, np.log(total / whole)]
    return xr.DataArray(values, {"quantity": ["share", "log_ratio"]}, ("quantity",))
