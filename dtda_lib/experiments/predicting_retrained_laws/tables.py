"""How near predicted laws are to retrained ones, by size of the removal; tidy tables.

`Gaps` are differences of features of laws (`between_sets.features`) from the retrained law. Every
number is made of products between disjoint sets of seeds, so that the noise of training is off. A
row's interval is that of `over_sets`: over sets of seeds, removals and queries.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.between_sets import KINDS, between_sets, features, squared_gap
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.study.tables import numbers, readable

from .laws import LEVERAGE, POINT

CONCRETE, DIGITS = "concrete", "digits"
"""Keys of the tasks."""
ALL = "all groups"
"""The mean over the sizes of groups; single points are no groups."""
RIVALS = {"no_change": "no change", "other_group": "another group"}
_SAMPLED = {"set": 1_000, "group": 1_000, "query": 10}


def gaps(laws: xr.Dataset, kind: str) -> xr.Dataset:
    """Features of three laws less those of the retrained one, from `laws.laws_in_sets`.

    Returns:
        `no_change` `(set, size, group, query)` of all points; `predicted`, with `estimator`; and
        `other_group`, the control: what was predicted for the next removal of that size. A
        prediction that knows no more than how many points go does as well as this. Quantiles have
        the axis `rank`, too. In the unit of the feature.
    """
    of = {name: features(laws[name], kind) for name in ("base", "retrained", "predicted")}
    laws_of = {
        "no_change": of["base"],
        "predicted": of["predicted"],
        "other_group": of["predicted"].roll(group=-1),
    }
    return xr.Dataset({name: law - of["retrained"] for name, law in laws_of.items()})


def _with_all(by_size: xr.DataArray) -> xr.DataArray:
    """Values by `size`, and their mean over the groups among these."""
    sizes = [size for size in by_size["size"].values.tolist() if size not in (POINT, LEVERAGE)]
    whole = by_size.sel(size=sizes).mean("size", skipna=False).expand_dims(size=[ALL])
    return xr.concat([by_size, whole], "size")


# ---------------------------------------------------------------- how much is explained


def _skills(gap: xr.Dataset) -> xr.DataArray:
    square = gap.map(squared_gap).mean(("group", "query"))
    skill, other = (1 - square[name] / square["no_change"] for name in ("predicted", "other_group"))
    return xr.concat([_with_all(one) for one in (skill, skill - other, other)], "what")


def _error(row: Mapping[str, float], skill: str, name: str) -> dict[str, float]:
    """sqrt(1 - skill) of a row and its interval; 0 where noise has the skill above 1."""
    sources = {"": skill, "_low": f"{skill}_high", "_high": f"{skill}_low"}
    return {
        f"{name}{end}": float(np.sqrt(np.maximum(0.0, 1 - row[source])))
        for end, source in sources.items()
    }


def skill_table(laws_of: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """What share of a change is explained: 1 is a perfect prediction, 0 is no change.

    `skill` = 1 - (squared gap that is left / squared change), sums over removals and queries;
    `gain`, what it exceeds `control` by, the skill of the prediction for another group; `error` =
    sqrt(1 - skill), the root mean square gap relative to that of no change, and `control_error`.
    Columns: task, kind ("mean", "law", "spread"), size (`ALL`: mean over groups), estimator, these
    with intervals; `n`, removals * queries of a size; `change`, the root mean square change in the
    feature's unit.

    Args:
        laws_of: Task -> `laws.laws_in_sets`.
    """
    rows = []
    for task, laws in laws_of.items():
        for kind in KINDS:
            gap = gaps(laws, kind)
            found = over_sets(gap, _skills, groups=_SAMPLED)
            square = squared_gap(gap["no_change"]).mean(("group", "query")).clip(min=0)
            for size in found["size"].values:
                change = np.nan if size == ALL else float(np.sqrt(square.sel(size=size)))
                for estimator in found["estimator"].values:
                    at = {"size": size, "estimator": estimator}
                    row = {"task": task, "kind": kind, **at}
                    for what, name in enumerate(("skill", "gain", "control")):
                        row |= numbers(found.isel(what=what), name, **at)
                    row |= _error(row, "skill", "error") | _error(row, "control", "control_error")
                    n = laws.sizes["group"] * laws.sizes["query"]
                    rows.append(row | {"n": n, "change": change})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- for how many queries


def _nearer(gap: xr.Dataset) -> xr.DataArray:
    square = gap.map(squared_gap).mean("group")
    wins = [(square["predicted"] < square[rival]).mean("query") for rival in RIVALS]
    return _with_all(xr.concat(wins, "rival"))


def nearer_share_table(laws_of: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """For what share of queries is the predicted law nearer to the retrained one than a rival?

    Distances are mean squares over the removals of a size: of W2 ("w2") or of the difference of
    means ("mean"). Rivals: no change, and the prediction for another group of that size. Columns:
    task, kind, size, estimator, rival; `share` with its interval, 1/2 by chance; `n` queries.

    Args:
        laws_of: Task -> `laws.laws_in_sets`.
    """
    rows = []
    for task, laws in laws_of.items():
        for kind, feature in (("w2", "law"), ("mean", "mean")):
            found = over_sets(gaps(laws, feature), _nearer, share=True, groups=_SAMPLED)
            for size in found["size"].values:
                for estimator in found["estimator"].values:
                    at = {"size": size, "estimator": estimator}
                    for number, rival in enumerate(RIVALS.values()):
                        share = numbers(found.isel(rival=number), "share", **at)
                        about = {"task": task, "kind": kind, **at, "rival": rival}
                        rows.append(about | share | {"n": laws.sizes["query"]})
    return pd.DataFrame(rows)


def shown_shares(shares: pd.DataFrame) -> pd.DataFrame:
    """Shares over all groups for readers: a row for each task and method, a column for each rival.

    Args:
        shares: `nearer_share_table`.
    """
    whole, about = shares[shares["size"] == ALL], ["task", "estimator"]
    wide, columns = whole[about].drop_duplicates(), {"data": "task", "method": "estimator"}
    for kind, words in (("w2", "law (W2)"), ("mean", "mean")):
        for rival in RIVALS.values():
            part = whole[(whole["kind"] == kind) & (whole["rival"] == rival)]
            names = [f"{kind} {rival} {end}".strip() for end in ("", "low", "high")]
            found = ["share", "share_low", "share_high"]
            part = part[about + found].rename(columns=dict(zip(found, names, strict=True)))
            wide = wide.merge(part, on=about)
            columns[f"{words}, than {rival}"] = tuple(names)
    return readable(wide, columns, digits=2)


# ---------------------------------------------------------------- single points and leverage


def point_shifts(laws: xr.Dataset, leverage: xr.DataArray) -> xr.Dataset:
    """Mean shifts of single points: `guess` `(set, estimator, point, query)`, `true`, `left`.

    Args:
        laws: `laws.laws_in_sets` with the sizes `POINT` and `LEVERAGE`.
        leverage: Of each removal's point, `(size, group)`, NaN for groups.

    Returns:
        `left` is 1 - leverage `(point,)`; shifts are in the unit of the output.
    """
    means = laws.sel(size=[POINT, LEVERAGE]).mean("seed")
    found = xr.Dataset(
        {
            "guess": means["predicted"] - means["base"],
            "true": means["retrained"] - means["base"],
            "left": 1 - leverage.sel(size=[POINT, LEVERAGE]),
        }
    )
    return found.stack(point=("size", "group"), create_index=False)


def _kept(points: xr.Dataset) -> xr.DataArray:
    """Share of the true shift that is predicted, the like mean of 1 - h, and their difference."""
    product = between_sets(points["guess"], points["true"]).sum("query")
    square = between_sets(points["true"]).sum("query")
    share = product.sum("point") / square.sum("point")
    expected = ((points["left"] * square).sum("point") / square.sum("point")).broadcast_like(share)
    return xr.concat([share, expected, share - expected], "what")


def kept_table(points_of: Mapping[int, xr.Dataset]) -> pd.DataFrame:
    """Which share of the shifts of single points is predicted, beside 1 - leverage.

    Projections of predicted on true mean shifts, over points and queries. Columns: n_train,
    estimator; `kept`, the share; `left`, the mean of 1 - leverage in the same weights; `less` =
    kept - left; with intervals; `n` points.

    Args:
        points_of: Size of the training set -> `point_shifts`.
    """
    rows = []
    for n_train, points in points_of.items():
        groups = {"set": 1_000, "point": 12, "query": 10}
        found = over_sets(points, _kept, groups=groups)
        for estimator in found["estimator"].values:
            row = {"n_train": n_train, "estimator": str(estimator)}
            for what, name in enumerate(("kept", "left", "less")):
                row |= numbers(found.isel(what=what), name, estimator=estimator)
            rows.append(row | {"n": points.sizes["point"]})
    return pd.DataFrame(rows)


def single_table(points_of: Mapping[int, xr.Dataset]) -> pd.DataFrame:
    """The same of each single point: n_train, estimator, leverage, `kept`; over sets and queries.

    Args:
        points_of: As for `kept_table`.
    """

    def kept(points: xr.Dataset) -> xr.DataArray:
        product = between_sets(points["guess"], points["true"]).sum("query")
        return product / between_sets(points["true"]).sum("query")

    rows = []
    for n_train, points in points_of.items():
        found = over_sets(points, kept, groups={"set": 1_000, "query": 10})
        for point, left in enumerate(points["left"].values):
            for estimator in found["estimator"].values:
                at = numbers(found.isel(point=point), "kept", estimator=estimator)
                about = {"n_train": n_train, "estimator": str(estimator), "leverage": 1 - left}
                rows.append(about | at)
    return pd.DataFrame(rows)
