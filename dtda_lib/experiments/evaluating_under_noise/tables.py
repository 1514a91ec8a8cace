"""Tables of notebook 08 over all of its settings, as it shows them.

Every function arranges what `noise`, `estimands`, `fragility` and `lds` compute for one setting;
the column `setting` says which.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.lds import Scores
from dtda_lib.study.methods import DELTAS

from . import estimands, lds, noise
from .experiment import Experiment
from .methods import LOOKS
from .setting import Shifts, last_losses, law_before

SHOWN = ("if_damped", "unrolling")
"""Methods whose noise is followed in full."""
RIVALS = ("if_damped", "if_ekfac")
"""What the metagradient is held against on another run."""

AllShifts = Mapping[str, Shifts]


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A table with the display names of methods and of measures of change in place of keys."""
    words = {name: one.label for name, one in LOOKS.items()}
    words |= {name: DELTAS[name].label for name in lds.METRICS} | {"w2": "W2, plug-in"}
    return table.rename(index=words, columns=words).replace(words)


def about(experiment: Experiment, shifts: AllShifts) -> pd.DataFrame:
    """A row a setting: sizes, loss, and how shifts compare with the noise of training."""
    rows = []
    for name, one in experiment.settings.items():
        before, retrained = law_before(one.models), shifts[name].retrained
        row = {"setting": name, "points": one.task.n_train, "left out": len(one.points)}
        row |= {"queries": one.task.n_query, "loss": float(before.mean())}
        row |= {"sd of loss over runs": float(before.std("seed").mean())}
        row |= {"mean |shift|": float(np.abs(retrained.mean("seed")).mean())}
        rows.append(row | {"sd of paired shift": float(retrained.std("seed").mean())})
    return pd.DataFrame(rows)


def curves(shifts: AllShifts) -> pd.DataFrame:
    """`noise.curve_table` of the methods `SHOWN`."""
    return _over(shifts, lambda one: noise.curve_table(one.retrained, _shown(one), one.unpaired))


def plateaus(shifts: AllShifts) -> pd.DataFrame:
    """`noise.plateau_table` of every method."""
    return _over(shifts, lambda one: noise.plateau_table(one.retrained, one.predicted))


def factors(shifts: AllShifts) -> pd.DataFrame:
    """`noise.factor_table` of the methods `SHOWN`."""
    return _over(shifts, lambda one: noise.factor_table(one.retrained, _shown(one)))


def coupling(experiment: Experiment) -> pd.DataFrame:
    """`noise.coupling` of the paired runs."""
    return pd.DataFrame(
        {"setting": name} | noise.coupling(last_losses(one.paired))
        for name, one in experiment.settings.items()
    )


def targets(shifts: AllShifts) -> pd.DataFrame:
    """`estimands.estimand_table` of every method."""
    return _over(shifts, lambda one: estimands.estimand_table(one.retrained, one.predicted))


def one_model(found: pd.DataFrame) -> pd.DataFrame:
    """What one model's scores correlate with, by target, of a few methods; from `targets`."""
    rows = found[(found["scored"] == "one model") & found["target"].isin(estimands.TARGETS)]
    rows = rows[rows["method"].isin((*SHOWN, "grad_dot", "retrained"))]
    return rows.pivot(index=["setting", "method"], columns="target", values="estimate")


def wins(shifts: AllShifts) -> pd.DataFrame:
    """By how much unrolling is ahead of each of `RIVALS` with each target.

    Columns `setting, rival, target, estimate, low, high, n`.
    """
    rows = []
    for name, one in shifts.items():
        truth, unrolled = one.retrained, one.predicted["unrolling"]
        for rival in RIVALS:
            for target in estimands.TARGETS:
                found = estimands.method_difference(truth, unrolled, one.predicted[rival], target)
                row = {"setting": name, "rival": rival, "target": target}
                rows.append(row | found | {"n": truth.sizes["seed"]})
    return pd.DataFrame(rows)


def separation(scores: Mapping[tuple[str, str], Scores]) -> pd.DataFrame:
    """`lds.separation_table` of all methods, and of those with a unit: column `among`."""
    with_unit = {key: lds.only(one, lds.WITH_UNIT) for key, one in scores.items()}
    parts = {"all": scores, "with-unit": with_unit}
    return pd.concat(lds.separation_table(one).assign(among=among) for among, one in parts.items())


def scores_by_metric(table: pd.DataFrame) -> pd.DataFrame:
    """LDS of every method by mean, variance and W2, from `lds.lds_table`."""
    wide = table.pivot(index=["setting", "size", "method"], columns="metric", values="lds")
    return wide[list(lds.METRICS)]


def floors(experiment: Experiment) -> pd.DataFrame:
    """`lds.floor_table` of the subsets."""
    return lds.floor_table(experiment.settings)


def _shown(one: Shifts) -> dict[str, xr.DataArray]:
    return {name: one.predicted[name] for name in SHOWN}


def _over(shifts: AllShifts, table: Callable[[Shifts], pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(table(one).assign(setting=name) for name, one in shifts.items())
