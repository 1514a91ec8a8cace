"""Ground truth against estimates: tidy tables for the notebook that compares their laws.

`ScoresByMethod` maps a method to its scores `(seed, train, query)`, averaged over late
checkpoints; all methods come from the same seeds. `stacked` puts them into one array `(estimator,
seed, train, query)`. Everything here only arranges what `agreement_on_halves`, `significance` and
`common_shift` compute; intervals are those of `over_sets`, over seeds, training points and queries.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.influence import lissa_gain, lissa_steps
from dtda_lib.experiments.noise_vs_influence.tables import shares
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.agreement import PAIR, correlation, mean
from dtda_lib.statistics.agreement_on_halves import (
    EACH_AXIS,
    Half,
    agreement_on_halves,
    halves_of_seeds,
    low_noise_agreement,
)
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.study.tables import numbers

from .at_points import CHOSEN
from .common_shift import SHIFT_PARTS, common_shift

ScoresByMethod = Mapping[str, xr.DataArray]
BySize = Mapping[int, xr.DataArray]
"""Points per class -> scores `(estimator, seed, train, query)`, "loo" among the estimators."""

REFERENCE, STEP = "loo", "ats_adam"
N_SPLITS = 12
AGREEMENTS = {
    "": ("mean", "pooled", "pearson"),
    "spearman-": ("mean", "pooled", "spearman"),
    "query-": ("mean", "query", "pearson"),
    "query-spearman-": ("mean", "query", "spearman"),
    "sd-": ("sd", "pooled", "pearson"),
    "snr-": ("snr", "pooled", "pearson"),
}
"""Before the method in the id of a claim -> statistic over seeds, which pairs, correlation."""
_AXES = {"pooled": PAIR, "query": ("train",)}
PROTOCOL_LABELS = {
    "paired_scratch": "paired",
    "unpaired_scratch": "unpaired",
    "continued": "continued",
    "continued less control": "continued − control",
}
SELECTIONS = {"all": "all pairs", "top_mu": "tenth by |μ|", "top_snr": "tenth by |μ|/σ"}


def estimator_scores(bank: RunBank) -> dict[str, xr.DataArray]:
    """Scores `(seed, checkpoint, train, query)` of every estimator that a bank of full-data models
    measures, by the estimator's label; trains what is missing. Of chosen points where it scores
    only those; training points are labelled by position."""
    data, found = bank.dataset(), {}
    for measured in bank.measures:
        for label in measured.labels.get("estimator", ()):
            found[label] = by_position(data[measured.name].sel(estimator=label))
    return found


def by_position(scores: xr.DataArray) -> xr.DataArray:
    """`(seed, checkpoint, train, query)` of full-data models, labelled by training position."""
    scores = scores.sel(removal="none")
    if CHOSEN in scores.dims:
        positions = scores[CHOSEN].values.astype(int)
        scores = scores.rename({CHOSEN: "train"}).assign_coords(train=positions)
    scores = scores.drop_vars(["removal", "estimator", "point"], errors="ignore")
    return scores.transpose("seed", "checkpoint", *PAIR)


def aligned(scores: ScoresByMethod, points: Sequence[int]) -> dict[str, xr.DataArray]:
    """Scores of some training points only, without coordinates that differ between banks."""
    kept = ("seed", "train", "query")
    found = {}
    for name, array in scores.items():
        array = array.sel(train=list(points))
        found[name] = array.drop_vars([c for c in array.coords if c not in kept])
    return found


def stacked(scores: ScoresByMethod) -> xr.DataArray:
    """One array `(estimator, seed, train, query)`, with labels of seeds as halves need them.

    `ValueError`: methods of other seeds, points or queries.
    """
    dims = ("seed", "train", "query")
    arrays = [array.transpose(*dims).values.astype(np.float64) for array in scores.values()]
    seeds = np.arange(len(arrays[0]))
    return xr.DataArray(
        np.stack(arrays), {"estimator": list(scores), "seed": seeds}, ("estimator", *dims)
    )


def estimators(array: xr.DataArray) -> list[str]:
    """Names of the methods but leave-one-out."""
    return [str(name) for name in array["estimator"].values if name != REFERENCE]


def _halves(array: xr.DataArray, generator: np.random.Generator) -> list[Half]:
    """The splits of the seeds that every table of this notebook takes."""
    return halves_of_seeds(array, N_SPLITS, generator)


# --- agreement ------------------------------------------------------------------------------------


def _everywhere(
    array: xr.DataArray, statistic: Callable[..., xr.DataArray], *given: object
) -> xr.Dataset:
    """`statistic(array, *given)` with its interval over seeds, training points and queries."""
    return over_sets(array, lambda part: statistic(part, *given), groups=EACH_AXIS)


def agreement_table(by_size: BySize, generator: np.random.Generator) -> pd.DataFrame:
    """Every estimator against leave-one-out, beside its ceiling.

    One row a size, method and agreement: `statistic` over seeds ("mean", "sd", "snr"); `over` all
    pairs ("pooled") or the training points of a query, averaged over queries ("query"); `kind`.
    Columns: n_pairs, n_seeds; `r` with all seeds; `across` halves of the seeds and its `ceiling`;
    `gap` = across - ceiling; r and gap with intervals.
    """
    rows = []
    for (size, array), (statistic, over, kind) in product(by_size.items(), AGREEMENTS.values()):
        found = _everywhere(array, _agreement, _halves(array, generator), statistic, over, kind)
        about = {"size": size, "statistic": statistic, "over": over, "kind": kind}
        about |= {"n_pairs": array[0, 0].size, "n_seeds": array.sizes["seed"]}
        for method in estimators(array):
            row = about | {"method": method}
            for name in ("r", "gap"):
                row |= numbers(found, name, quantity=name, estimator=method)
            for name in ("across", "ceiling"):
                row[name] = float(found["estimate"].sel(quantity=name, estimator=method))
            rows.append(row)
    return pd.DataFrame(rows)


def _agreement(
    part: xr.DataArray, split: Sequence[Half], statistic: str, over: str, kind: str
) -> xr.DataArray:
    """`(quantity, estimator)` with the reference."""
    found = agreement_on_halves(part, split, statistic=statistic, kind=kind, over=_AXES[over])
    found = found.sel(other=REFERENCE, drop=True)
    return found[["r", "across", "ceiling", "gap"]].to_dataarray("quantity")


def matrix_table(array: xr.DataArray, generator: np.random.Generator) -> pd.DataFrame:
    """Correlation of the means of any two methods, both orders: method, other, `pearson`,
    `spearman`; of a method with itself the reliability of half the seeds."""
    split = _halves(array, generator)
    kinds = {kind: agreement_on_halves(array, split, kind=kind) for kind in ("pearson", "spearman")}
    names = [str(name) for name in array["estimator"].values]
    return pd.DataFrame(
        {"method": one, "other": two}
        | {
            kind: float(found["across" if one == two else "r"].sel(estimator=one, other=two))
            for kind, found in kinds.items()
        }
        for one, two in product(names, names)
    )


def block_table(by_size: BySize, generator: np.random.Generator) -> pd.DataFrame:
    """Do gradient estimators form a block that leave-one-out stays out of, and does an additional
    step of Adam lie between?

    By corrected correlations, of values and of ranks; the block is grad-dot, grad-cos and one
    `influence`. Columns: size, kind, influence, comparison, `estimate` with its interval, n_pairs.
    "block": mean within the block (`first`) - with leave-one-out (`second`). "between": the lesser
    of step to block - leave-one-out to block (`first`), and step to leave-one-out - block to
    leave-one-out (`second`).
    """
    rows = []
    cases = product(by_size.items(), ("pearson", "spearman"), ("if_lissa", "if_ggn"))
    for (size, array), kind, influence in cases:
        block = [influence, "grad_dot", "grad_cos"]
        chosen = array.sel(estimator=[REFERENCE, STEP, *block])
        found = _everywhere(chosen, _blocks, _halves(array, generator), kind, block)
        for comparison in found["comparison"].values:
            at = found.sel(comparison=comparison)
            row = {"size": size, "kind": kind, "influence": influence}
            row |= {"comparison": str(comparison), **numbers(at, quantity="estimate")}
            for name in ("first", "second"):
                row[name] = float(at["estimate"].sel(quantity=name))
            rows.append(row | {"n_pairs": array[0, 0].size})
    return pd.DataFrame(rows)


def _blocks(
    part: xr.DataArray, split: Sequence[Half], kind: str, block: Sequence[str]
) -> xr.DataArray:
    """`(comparison, quantity)` of `block_table`."""
    r = agreement_on_halves(part, split, kind=kind)["corrected"]
    within = np.mean([float(r.sel(estimator=a, other=b)) for a, b in combinations(block, 2)])
    loo, step = (float(r.sel(estimator=m, other=block).mean()) for m in (REFERENCE, STEP))
    sides = step - loo, float(r.sel(estimator=STEP, other=REFERENCE)) - loo
    values = [[within - loo, within, loo], [min(sides), *sides]]
    coords = {"comparison": ["block", "between"], "quantity": ["estimate", "first", "second"]}
    return xr.DataArray(values, coords, ("comparison", "quantity"))


def low_noise_table(by_size: BySize, generator: np.random.Generator) -> pd.DataFrame:
    """Agreement on pairs of low noise, chosen on one half of the seeds, judged on the other.

    Columns: size, method, selection (`agreement_on_halves.low_noise_agreement`), `r`; its
    difference from "all" and from the control "top_mu" (`above_all`, `above_mu`); all with their
    intervals; `n_selected` pairs.
    """
    rows = []
    for size, array in by_size.items():
        found = _everywhere(array, _low_noise, _halves(array, generator))
        n_pairs = array[0, 0].size
        for method, selection in product(estimators(array), found["selection"].values):
            row = {"size": size, "method": method, "selection": str(selection)}
            for name in found["quantity"].values:
                at = {"quantity": name, "estimator": method, "selection": selection}
                row |= numbers(found, str(name), **at)
            row["n_selected"] = n_pairs if selection == "all" else -(-n_pairs // 10)
            rows.append(row)
    return pd.DataFrame(rows)


def _low_noise(part: xr.DataArray, split: Sequence[Half]) -> xr.DataArray:
    r = low_noise_agreement(part, REFERENCE, split)
    parts = [r, r - r.sel(selection="all"), r - r.sel(selection="top_mu")]
    return xr.concat(parts, pd.Index(["r", "above_all", "above_mu"], name="quantity"))


def drowned_table(by_size: BySize) -> pd.DataFrame:
    """What share of pairs of each estimator can be told from noise: size, method, statistic
    ("code", "t_fdr"), n_pairs, `share` with its interval."""
    rows = []
    for size, array in by_size.items():
        for method in estimators(array):
            one = array.sel(estimator=method, drop=True)
            found = _shares(one)
            rows += [
                {"size": size, "method": method, "statistic": test, "n_pairs": one[0].size}
                | numbers(found, "share", statistic=test)
                for test in _TESTS
            ]
    return pd.DataFrame(rows)


_TESTS = ("code", "t_fdr")


def _shares(scores: xr.DataArray) -> xr.Dataset:
    """Shares of pairs beyond noise; their intervals stay within 0 to 1."""
    return over_sets(scores, lambda part: shares(part, _TESTS), share=True, groups=EACH_AXIS)


# --- protocols ------------------------------------------------------------------------------------


def protocol_table(
    by_size: Mapping[int, tuple[ScoresByMethod, ScoresByMethod]], ordered: Mapping[int, bool]
) -> pd.DataFrame:
    """What the leave-one-out protocol changes, on the same seeds, points and queries.

    One row a size, protocol and quantity: "share code" and "share t_fdr" of pairs beyond noise, and
    "r <estimator>", the correlation over pairs of mean shifts with mean estimates. `value` and its
    `change` from paired retraining, with intervals; n_pairs; `ordered`, as given.

    Args:
        by_size: Size -> shifts by protocol, and estimates, each `(seed, train, query)`.
        ordered: Size -> whether batches have a random order.
    """
    rows = []
    for size, (protocols, estimates) in by_size.items():
        estimated = {f"r {name}": scores for name, scores in estimates.items()}
        array = stacked({**protocols, **estimated})
        given = list(protocols), list(estimated)
        value, change = (_everywhere(array, f, *given) for f in (_quantities, _changes))
        for protocol in protocols:
            found = _shares(array.sel(estimator=protocol, drop=True))
            for quantity in value["quantity"].values:
                at = {"protocol": protocol, "quantity": str(quantity)}
                row = {"size": size, **at, "ordered": ordered[size], "n_pairs": array[0, 0].size}
                if quantity in estimated:
                    row |= numbers(value, "value", **at)
                else:
                    row |= numbers(found, "value", statistic=quantity.split()[1])
                rows.append(row | numbers(change, "change", **at))
    return pd.DataFrame(rows)


def _quantities(
    part: xr.DataArray, protocols: Sequence[str], estimated: Sequence[str]
) -> xr.DataArray:
    """`(protocol, quantity)`: shares of pairs beyond noise, correlations with estimates."""
    means = mean(part)
    rows = [
        [
            *shares(part.sel(estimator=protocol, drop=True), _TESTS).values,
            *correlation(
                means.sel(estimator=protocol, drop=True), means.sel(estimator=estimated)
            ).values,
        ]
        for protocol in protocols
    ]
    coords = {"protocol": protocols, "quantity": [*(f"share {t}" for t in _TESTS), *estimated]}
    return xr.DataArray(rows, coords, ("protocol", "quantity"))


def _changes(
    part: xr.DataArray, protocols: Sequence[str], estimated: Sequence[str]
) -> xr.DataArray:
    found = _quantities(part, protocols, estimated)
    return found - found.sel(protocol="paired_scratch")


def common_table(protocols: ScoresByMethod) -> pd.DataFrame:
    """What the squares of a shift are made of: `common_shift`, a row a part and a column a
    protocol, under their display names."""
    parts = {
        PROTOCOL_LABELS[protocol]: common_shift(shift)["share_of_squares"].to_series()
        for protocol, shift in protocols.items()
    }
    return pd.DataFrame(parts).loc[list(SHIFT_PARTS)]


# --- LiSSA as published ---------------------------------------------------------------------------


def lissa_table(
    estimates: Mapping[int, ScoresByMethod],
    first_order: Mapping[int, xr.DataArray],
    n_train: Mapping[int, int],
) -> pd.DataFrame:
    """Published influence against grad-dot, one row a (size, method, seed, checkpoint); n_train.

    The published score is -N times our shift. `pearson` over pairs; `slope` of the least-squares
    line through the origin; for LiSSA `flat` = -c_T, the slope without curvature, and `predicted`,
    that of LiSSA to first order in the curvature (claim R1); NaN for the Gauss-Newton solve, for
    which none is predicted.

    Args:
        estimates: Size -> scores `(seed, checkpoint, train, query)` by name.
        first_order: Size -> `first_order.lissa_first_order` of the same points.
        n_train: Size -> N.
    """
    rows = []
    for (size, scores), name in product(estimates.items(), ("if_lissa", "if_ggn")):
        late, n = scores[name]["checkpoint"].values, n_train[size]
        dot, shifts, first = (
            _of(array, late) for array in (scores["grad_dot"], scores[name], first_order[size])
        )
        is_lissa = name == "if_lissa"
        columns = {
            "pearson": correlation(-shifts, dot),
            "slope": _slope(-n * shifts, dot),
            "flat": -lissa_gain(lissa_steps(n)) if is_lissa else np.nan,
            "predicted": _slope(-n * first, dot) if is_lissa else np.nan,
        }
        table = xr.Dataset(columns).to_dataframe().reset_index()
        rows.append(
            table[["seed", "checkpoint", *columns]].assign(size=size, n_train=n, method=name)
        )
    return pd.concat(rows, ignore_index=True)


def _slope(scores: xr.DataArray, dot: xr.DataArray) -> xr.DataArray:
    """Of the least-squares line through the origin, over pairs."""
    return (scores * dot).sum(PAIR) / (dot**2).sum(PAIR)


def _of(scores: xr.DataArray, checkpoints: Sequence[int]) -> xr.DataArray:
    """Scores of these checkpoints, float64, with plain seeds."""
    found = scores.sel(checkpoint=list(checkpoints)).transpose("seed", "checkpoint", *PAIR)
    bare = found.drop_vars([c for c in found.coords if c != "checkpoint"]).astype(np.float64)
    return bare.assign_coords(seed=np.arange(bare.sizes["seed"]))


def lissa_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Over the models of each size and method: their number, the weakest correlation with grad-dot,
    and least and largest of slope / -c_T, predicted slope / -c_T and slope / predicted slope."""
    rows = []
    for (size, method), part in table.groupby(["size", "method"], sort=False):
        weakest = part.loc[part["pearson"].abs().idxmin(), "pearson"]
        row = {"size": size, "method": method, "models": len(part), "weakest r": weakest}
        ratios = {"slope / -c_T": ("slope", "flat"), "predicted / -c_T": ("predicted", "flat")}
        for name, (top, bottom) in (ratios | {"slope / predicted": ("slope", "predicted")}).items():
            ratio = part[top] / part[bottom]
            row[name] = "-" if ratio.isna().all() else f"{ratio.min():.3f} to {ratio.max():.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


# --- local or global ------------------------------------------------------------------------------


def locality_table(
    down: Sequence[tuple[int, str, xr.DataArray, ScoresByMethod]], generator: np.random.Generator
) -> pd.DataFrame:
    """Agreement of estimators with down-weighting by a fraction instead of removal.

    Args:
        down: Size, training, shifts per fraction `(fraction, seed, train, query)`, the last of
            which is the removal, and estimates `(seed, train, query)`.
        generator: For halves of the seeds.

    Returns:
        size, training, method, fraction; `r`, corrected correlation over pairs of means, and
        `change`, r - that at the removal, with intervals; n_pairs.
    """
    rows = []
    for size, training, shifts, estimates in down:
        fractions = {f"{f:g}": shifts.sel(fraction=f, drop=True) for f in shifts["fraction"].values}
        kept = {name: a for name, a in estimates.items() if name in FRACTION_METHODS}
        array = stacked({**kept, **fractions})
        split = _halves(array, generator)
        found = _everywhere(array, _fractions, split, list(kept), list(fractions))
        for method, fraction in product(kept, fractions):
            row = {"size": size, "training": training, "method": method}
            row |= {"fraction": float(fraction), "n_pairs": array[0, 0].size}
            for name in ("r", "change"):
                row |= numbers(found, name, estimator=method, other=fraction, quantity=name)
            rows.append(row)
    return pd.DataFrame(rows)


def _fractions(
    part: xr.DataArray, split: Sequence[Half], methods: Sequence[str], fractions: Sequence[str]
) -> xr.DataArray:
    """`(quantity, estimator, other)`: corrected correlations, and their change from removal."""
    r = agreement_on_halves(part, split)["corrected"].sel(estimator=methods, other=fractions)
    return xr.concat([r, r - r.isel(other=-1)], pd.Index(["r", "change"], name="quantity"))


FRACTION_METHODS = ("grad_dot", "grad_cos", "if_lissa", "if_ggn")


def contrasting_pairs(
    scores: xr.DataArray, reference: str, method: str
) -> dict[str, tuple[int, int]]:
    """Pairs `(train, query)` chosen by a rule: among pairs in the top tenth of |mean reference|,
    "agree" has the smallest and "disagree" the largest difference between the standardised means
    of reference and method."""
    one, two = (scores.sel(estimator=name).mean("seed").values for name in (reference, method))
    gap = np.abs(one / np.std(one) - two / np.std(two))
    strong = np.abs(one) >= np.quantile(np.abs(one), 0.9)
    agree = np.where(strong, gap, np.inf).argmin()
    disagree = np.where(strong, gap, -np.inf).argmax()
    chosen = {"agree": agree, "disagree": disagree}
    return {k: tuple(map(int, np.unravel_index(v, one.shape))) for k, v in chosen.items()}
