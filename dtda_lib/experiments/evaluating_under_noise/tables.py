"""Tables of notebook 08 over all of its data sets and regimes, as it shows them.

Every function arranges what `noise`, `estimands`, `fragility` and `lds` compute for one of them;
the columns `setting`, or `data, rate, steps` and `base`, say which.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.lds import LdsScores
from dtda_lib.study.methods import DELTAS
from dtda_lib.study.wording import bracketed

from . import estimands, lds, noise
from .estimands import LAW, OWN
from .experiment import Experiment
from .fragility import fragility_table
from .methods import LOOKS
from .setting import BaseRegime, Regime, last, law_before, unpaired_shifts

SHOWN = ("if_damped", "unrolling")
"""Methods whose noise is followed in full."""


def with_display_names(table: pd.DataFrame) -> pd.DataFrame:
    """A table with the display names of methods and of measures of change in place of keys."""
    words = {name: one.label for name, one in LOOKS.items()}
    words |= {name: DELTAS[name].label for name in lds.SHOWN_METRICS} | {"w2": "W2, plug-in"}
    return table.rename(index=words, columns=words).replace(words)


def about(experiment: Experiment) -> pd.DataFrame:
    """A row a data set: sizes, loss, and how shifts compare with the noise of training."""
    rows = []
    for name, one in experiment.settings.items():
        before, retrained = law_before(one.models), one.shifts.own["masked"]
        row = {"data": name, "points": one.task.n_train, "left out": len(one.points)}
        row |= {"parameters": one.models.network.layout.n_parameters}
        row |= {"models": one.n_seeds, "loss": float(before.mean())}
        row |= {"sd of loss over runs": float(before.std("seed").mean())}
        row |= {"mean |shift|": float(np.abs(retrained.mean("seed")).mean())}
        row |= {"sd of a masked shift": float(retrained.std("seed").mean())}
        rows.append(row | {"saved by pairing": noise.coupling(_masked_losses(one))["saved"]})
    return pd.DataFrame(rows)


def _masked_losses(one: Regime) -> xr.DataArray:
    """Losses with and without each point, same batches, "none" first."""
    loss = last(one.moved)
    return loss.isel(removal=slice(loss.sizes["removal"] // 2))


def targets(experiment: Experiment) -> pd.DataFrame:
    """`estimands.estimand_table` of every regime."""
    return _over_regimes(
        experiment, lambda one: estimands.estimand_table(one.shifts.own, one.shifts.predicted)
    )


def fragility(experiment: Experiment) -> pd.DataFrame:
    """`fragility.fragility_table` of every regime."""
    return _over_regimes(experiment, fragility_table)


def _over_regimes(experiment: Experiment, table: Callable[[Regime], pd.DataFrame]) -> pd.DataFrame:
    """Tables of all regimes, those of a data set by steps and rate."""
    parts = [
        table(one).assign(data=name, rate=one.recipe.lr, steps=one.steps, base=one is regimes[0])
        for name, regimes in experiment.regimes.items()
        for one in sorted(regimes, key=lambda regime: (regime.steps, regime.recipe.lr))
    ]
    return pd.concat(parts, ignore_index=True)


def best_methods(found: pd.DataFrame) -> pd.DataFrame:
    """The map: a row a regime, for each estimand the method that predicts it best; from `targets`.

    "=" marks a winner whose interval holds the runner-up's correlation.
    """
    rows = []
    methods = found[found["method"] != "retrained"]
    for (data, rate, steps), part in methods.groupby(["data", "rate", "steps"], sort=False):
        row = {"data": data, "rate": f"{rate:g}", "steps": f"{steps:,}"}
        for target in (*OWN, LAW):
            at = part[part["target"] == target].nlargest(2, "estimate")
            row[target] = _winner(*at.to_dict("records")) if len(at) else "-"
        rows.append(row)
    return pd.DataFrame(rows)


def _winner(first: dict[str, Any], second: dict[str, Any]) -> str:
    tie = " =" if second["estimate"] > first["low"] else ""
    return f"{LOOKS[first['method']].label} {bracketed(first)}{tie}"


def attenuation_curves(experiment: Experiment) -> pd.DataFrame:
    """`noise.attenuation_table` of the methods `SHOWN`."""
    return _over_settings(
        experiment,
        lambda one: noise.attenuation_table(
            one.shifts.own["masked"],
            {method: one.shifts.predicted[method] for method in SHOWN},
            unpaired_shifts(one.unpaired),
        ),
    )


def plateaus(experiment: Experiment) -> pd.DataFrame:
    """`noise.plateau_table` of every method."""
    return _over_settings(
        experiment,
        lambda one: noise.plateau_table(
            one.shifts.own["masked"], one.shifts.predicted, unpaired_shifts(one.unpaired)
        ),
    )


def _over_settings(
    experiment: Experiment, table: Callable[[BaseRegime], pd.DataFrame]
) -> pd.DataFrame:
    parts = [table(one).assign(setting=name) for name, one in experiment.settings.items()]
    return pd.concat(parts, ignore_index=True)


def separation(scores: Mapping[tuple[str, str], LdsScores]) -> pd.DataFrame:
    """`lds.separation_table` of all methods, and of those with a unit: column `among`."""
    with_unit = {key: lds.only(one, lds.WITH_UNIT) for key, one in scores.items()}
    parts = {"all": scores, "with-unit": with_unit}
    return pd.concat(lds.separation_table(one).assign(among=among) for among, one in parts.items())


def spreads(found: pd.DataFrame) -> pd.DataFrame:
    """How far W2 and the mean hold methods with a unit apart, a row a case; from `separation`."""
    rows = found[(found["among"] == "with-unit") & (found["metric"] == "w2_debiased")]
    return pd.DataFrame(
        {
            "data": rows["setting"],
            "left out": rows["size"],
            "spread by the mean": rows["by_mean"].map("{:.2f}".format),
            "by W2": rows["spread"].map("{:.2f}".format),
            "gain": [bracketed(row, "more") for _, row in rows.iterrows()],
            "gap / error, mean": rows["gap_by_mean"].map("{:.1f}".format),
            "W2": rows["gap"].map("{:.1f}".format),
            "pairs alike": rows["alike"],
            "reversed": rows["reversed"],
            "of": rows["pairs"],
        }
    ).reset_index(drop=True)


def floors(experiment: Experiment) -> pd.DataFrame:
    """`lds.sampling_share_table` of the subsets."""
    return lds.sampling_share_table(experiment.settings)
