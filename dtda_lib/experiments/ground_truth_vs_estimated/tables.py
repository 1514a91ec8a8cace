"""Ground truth against estimates: tidy tables for the notebook that compares their laws.

`Scores` maps a method to its scores `(seed, train, query)`, averaged over late checkpoints; all
methods come from the same seeds. Everything here only arranges what `agreement_intervals`,
`agreement_where`, `significance` and `common_shift` compute.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.attribution.influence import lissa_gain, lissa_steps
from dtda_lib.experiments.noise_vs_influence.tables import ALPHA, Q, late_mean
from dtda_lib.runs.bank import RunBank
from dtda_lib.statistics.agreement import PAIR, correlation, mean
from dtda_lib.statistics.agreement_intervals import (
    correlation_table,
    paired_difference,
    pairwise_agreement,
)
from dtda_lib.statistics.agreement_where import low_noise_agreement, per_query_correlations
from dtda_lib.statistics.over_seeds import jackknife_over_seeds
from dtda_lib.statistics.significance import benjamini_hochberg, snr_tail, t_test
from dtda_lib.study.methods import DELTAS, METHODS, TESTS
from dtda_lib.study.tables import numbers, readable

from .common_shift import PARTS, common_shift

Scores = Mapping[str, xr.DataArray]

PROTOCOLS = {
    "paired_scratch": "paired",
    "unpaired_scratch": "unpaired",
    "continued": "continued",
    "continued less control": "continued − control",
}
SELECTIONS = {
    "all": "all pairs",
    "top_random": "a random tenth",
    "top_mu": "tenth by |μ|",
    "top_snr": "tenth by |μ|/σ",
}
NAMES = {
    **PROTOCOLS,
    **SELECTIONS,
    **{key: DELTAS[key].label for key in ("mean", "sd", "snr")},
    **{f"share {key}": f"significant pairs, {test.label}" for key, test in TESTS.items()},
    **{f"r {key}": f"correlation with {method.label}" for key, method in METHODS.items()},
    "pearson": "values",
    "spearman": "ranks",
}
"""Key in a table of this notebook -> what readers see."""
_ALL = ("r", "r_low", "r_high")
_GAP = ("gap", "gap_low", "gap_high")
COLUMNS = {
    "means": {
        "by": "kind",
        "estimator": "method",
        "all seeds": _ALL,
        "halves": "r_across",
        "ceiling": "ceiling_across",
        "gap": _GAP,
    },
    "agreement": {
        "points per class": "size",
        "by": "kind",
        "estimator": "method",
        "of": "statistic",
        "all seeds": _ALL,
        "bootstrap": ("r", "boot_low", "boot_high"),
        "its ceiling": "ceiling",
        "halves": "r_across",
        "ceiling of halves": "ceiling_across",
        "gap": _GAP,
        "without noise": "disattenuated",
    },
    "per_query": {
        "estimator": "method",
        "correlation": ("average", "low", "high"),
        "ceiling": "ceiling",
    },
    "low_noise": {
        "estimator": "method",
        "pairs": "selection",
        "correlation": ("r", "low", "high"),
        "− all pairs": ("above_all", "above_all_low", "above_all_high"),
        "− tenth by |μ|": ("above_mu", "above_mu_low", "above_mu_high"),
    },
    "drowned": {
        "points per class": "size",
        "estimator": "method",
        "test": "statistic",
        "share of pairs": ("share", "low", "high"),
        "noise": "noise",
    },
    "protocols": {
        "protocol": "protocol",
        "quantity": "quantity",
        "value": ("value", "value_low", "value_high"),
        "change": ("change", "change_low", "change_high"),
    },
    "lissa": {
        "points per class": "size",
        "estimator": "estimator",
        "models": "models",
        "weakest correlation": "r",
        "slope / predicted, least": "least",
        "median": "median",
        "largest": "largest",
    },
    "locality": {
        "estimator": "method",
        "fraction": "fraction",
        "correlation": _ALL,
        "ceiling": "ceiling",
        "change": ("change", "change_low", "change_high"),
    },
}
"""Table -> header -> column, or (number, low, high); see `study.tables.readable`."""


def shown(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """A table of this notebook as readers see it: `what` names its columns in `COLUMNS`."""
    return readable(table, COLUMNS[what], names=NAMES)


def estimator_scores(bank: RunBank) -> dict[str, xr.DataArray]:
    """Scores `(seed, checkpoint, train, query)` of every estimator that a bank of full-data models
    measures, by the estimator's label; trains what is missing."""
    data, found = bank.dataset(), {}
    for measured in bank.measures:
        for label in measured.labels.get("estimator", ()):
            scores = data[measured.name].sel(removal="none", estimator=label)
            scores = scores.drop_vars(["removal", "estimator", "point"])
            found[label] = scores.transpose("seed", "checkpoint", *PAIR)
    return found


def agreement_table(
    scores: Mapping[int, Scores], *, n_boot: int, generator: np.random.Generator
) -> pd.DataFrame:
    """`correlation_table` of every estimator with "loo", by values and by ranks, with the column
    `size`. `scores`: size -> scores of that size."""
    tables = [
        correlation_table(
            by_method, "loo", kinds=[kind], n_boot=n_boot, n_splits=12, generator=generator
        ).assign(size=size)
        for kind in ("pearson", "spearman")
        for size, by_method in scores.items()
    ]
    return pd.concat(tables, ignore_index=True)


def per_query_table(scores: Scores, reference: str, **options: object) -> tuple[pd.DataFrame, dict]:
    """Do methods rank the training points of one query as the reference does?

    Returns a table (method, `average` over queries of the correlation over training points with
    its jackknife interval `low`, `high`, `ceiling`) and r per query by method.
    """
    rows, each = [], {}
    for method in (name for name in scores if name != reference):
        found = per_query_correlations(scores[method], scores[reference], **options)
        columns = {"average": "average", "low": "low", "high": "high", "ceiling": "average_ceiling"}
        rows.append({"method": method} | {c: float(found[v]) for c, v in columns.items()})
        each[method] = found["r"].values
    return pd.DataFrame(rows), each


def low_noise_table(
    scores: Scores, reference: str, *, generator: np.random.Generator, n_splits: int = 10
) -> pd.DataFrame:
    """Agreement on pairs of low noise, chosen on one half of the seeds, judged on the other.

    Columns: method, selection (see `agreement_where.low_noise_agreement`), `r` with its jackknife
    interval, `n_selected`, and the difference from "all" and from the control "top_mu" with their
    intervals (`above_all`, `above_mu`, each with `_low`, `_high`).
    """
    rows = []
    for method in (name for name in scores if name != reference):
        found = low_noise_agreement(
            scores[method], scores[reference], generator=generator, n_splits=n_splits
        )
        for selection in found["selection"].values:
            at = found.sel(selection=selection)
            row = {"method": method, "selection": str(selection)}
            row |= {name: float(at[name]) for name in ("r", "low", "high", "n_selected")}
            for name, other in (("above_all", "all"), ("above_mu", "top_mu")):
                beside = at.sel(other=other)
                for end in ("", "_low", "_high"):
                    row[f"{name}{end}"] = float(beside[f"difference{end}"])
            rows.append(row)
    return pd.DataFrame(rows)


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Every two methods, one row a kind and pair, one column a statistic over seeds.

    A cell says `r [low, high] of ceiling`: correlation over pairs, its bootstrap interval over
    seeds, and what two methods of equal true values would reach. `table`: of `pairwise_table`.
    """
    text = [
        f"{row.r:.3f} [{row.boot_low:.3f}, {row.boot_high:.3f}] of {row.ceiling:.3f}"
        for row in table.itertuples()
    ]
    index = ["kind", "method", "other"]
    wide = table.assign(text=text).pivot(index=index, columns="statistic", values="text")
    rows = table[index].drop_duplicates()
    columns = list(dict.fromkeys(table["statistic"]))
    found = wide.loc[pd.MultiIndex.from_frame(rows), columns].reset_index()
    head = {"kind": "by", "method": "method", "other": "other"} | {name: name for name in columns}
    return readable(found, {NAMES.get(k, v): k for k, v in head.items()}, names=NAMES)


# --- protocols ------------------------------------------------------------------------------------


def protocol_table(
    protocols: Scores, estimates: Scores, *, against: str = "paired_scratch"
) -> pd.DataFrame:
    """What the leave-one-out protocol changes, on the same seeds, points and queries.

    One row a (protocol, quantity): "share code" and "share t_fdr" of significant pairs, and "r
    <estimator>", the correlation over pairs of mean shifts with mean estimates. `value` with its
    jackknife interval over seeds; `change` from the protocol `against` with its own interval.
    """
    arrays = {**protocols, **{f"r {name}": array for name, array in estimates.items()}}
    aligned = xr.Dataset({name: array.reset_coords(drop=True) for name, array in arrays.items()})

    def quantities(part: xr.Dataset) -> xr.DataArray:
        rows = []
        for protocol in protocols:
            p = t_test(part[protocol])
            values = {
                "share code": float((snr_tail(part[protocol]) < ALPHA).mean()),
                "share t_fdr": float(benjamini_hochberg(p, Q)["discovery"].mean()),
            }
            centre = mean(part[protocol])
            for name in estimates:
                values[f"r {name}"] = float(correlation(centre, mean(part[f"r {name}"])))
            rows.append(list(values.values()))
        coords = {"protocol": list(protocols), "quantity": list(values)}
        return xr.DataArray(rows, coords, ("protocol", "quantity"))

    def changes(part: xr.Dataset) -> xr.DataArray:
        found = quantities(part)
        return found - found.sel(protocol=against)

    n_seeds = aligned.sizes["seed"]
    value, change = (_jackknife(aligned, f, n_seeds) for f in (quantities, changes))
    rows = []
    for protocol in protocols:
        for quantity in value["quantity"].values:
            row = {"protocol": protocol, "quantity": str(quantity)}
            for name, found in (("value", value), ("change", change)):
                row |= numbers(found, name, protocol=protocol, quantity=quantity)
            rows.append(row)
    return pd.DataFrame(rows)


def _jackknife(data: xr.Dataset, statistic: object, n_seeds: int) -> xr.Dataset:
    if n_seeds > 2:
        return jackknife_over_seeds(data, statistic)
    only = statistic(data)
    return xr.Dataset({"estimate": only, "low": only * np.nan, "high": only * np.nan})


def common_table(protocols: Scores) -> pd.DataFrame:
    """What the squares of a shift are made of, per protocol: `common_shift`, one row a part."""
    rows = []
    for protocol, shift in protocols.items():
        found = common_shift(shift)
        for part in found["part"].values:
            share = float(found["share_of_squares"].sel(part=part))
            rows.append({"protocol": protocol, "part": str(part), "share_of_squares": share})
    return pd.DataFrame(rows)


def parts_by_protocol(common: pd.DataFrame) -> pd.DataFrame:
    """`common_table` with a row a part and a column a protocol, under their display names."""
    wide = common.pivot(index="part", columns="protocol", values="share_of_squares")
    return wide.loc[list(PARTS), list(dict.fromkeys(common["protocol"]))].rename(columns=NAMES)


# --- LiSSA as published ---------------------------------------------------------------------------


def lissa_table(estimates: Mapping[int, Scores]) -> pd.DataFrame:
    """Published influence against grad-dot, one row a (size, estimator, seed, checkpoint).

    The published score is -N times our shift. `pearson` over pairs; `slope` of the least-squares
    line through the origin, to be compared with `predicted` = -c_T for LiSSA (claim R1); NaN for
    the proper solve, for which no slope is predicted.
    """
    rows = []
    for size, scores in estimates.items():
        dot = scores["grad_dot"].astype(np.float64)
        n_train = dot.sizes["train"]
        for name in ("if_lissa", "if_ggn"):
            published = -n_train * scores[name].astype(np.float64)
            slope = (published * dot).sum(PAIR) / (dot**2).sum(PAIR)
            pearson = correlation(published, dot)
            gain = lissa_gain(lissa_steps(n_train)) if name == "if_lissa" else np.nan
            for seed, epoch in product(range(dot.sizes["seed"]), dot["checkpoint"].values):
                row = {"size": size, "estimator": name, "seed": seed, "checkpoint": int(epoch)}
                row["predicted"] = -gain
                for column, values in (("pearson", pearson), ("slope", slope)):
                    row[column] = float(values.isel(seed=seed).sel(checkpoint=epoch))
                rows.append(row)
    return pd.DataFrame(rows)


def lissa_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Over all models, per size and estimator: the weakest correlation with grad-dot, and least,
    median and largest slope over the predicted one (NaN where none is). `table`: `lissa_table`."""
    rows = []
    for (size, estimator), part in table.groupby(["size", "estimator"], sort=False):
        ratio = part["slope"] / part["predicted"]
        slopes = {"least": ratio.min(), "median": ratio.median(), "largest": ratio.max()}
        weakest = part.loc[part["pearson"].abs().idxmin(), "pearson"]
        row = {"size": size, "estimator": estimator, "models": len(part), "r": weakest}
        rows.append(row | slopes)
    return pd.DataFrame(rows)


# --- local or global ------------------------------------------------------------------------------


def by_fraction(parts: xr.DataArray, whole: xr.DataArray) -> xr.DataArray:
    """Shifts per fraction `(fraction, seed, train, query)`, late checkpoints averaged, from partial
    down-weightings and, as the last fraction, the removal itself."""
    kept = ("fraction", "seed", "train", "query")
    late = [late_mean(array) for array in (parts, whole)]
    late = [a.drop_vars([c for c in a.coords if c not in kept]).transpose(*kept) for a in late]
    return xr.concat(late, "fraction")


def locality_table(
    per_fraction: xr.DataArray, estimates: Scores, *, generator: np.random.Generator
) -> pd.DataFrame:
    """Agreement of estimators with down-weighting by a fraction instead of removal.

    Args:
        per_fraction: `(fraction, seed, train, query)`, shifts divided by the fraction; the last
            fraction is 1, the removal.
        estimates: `(seed, train, query)` of the same seeds and points.
        generator: For random halves of the seeds.

    Returns:
        method, fraction, `r` over pairs of mean scores with its jackknife interval, `ceiling`; and
        `change`, r - that at fraction 1, with its interval.
    """
    fractions = per_fraction["fraction"].values
    weighed = {f"{f:g}": per_fraction.sel(fraction=f, drop=True) for f in fractions}
    arrays = {k: v.reset_coords(drop=True) for k, v in {**estimates, **weighed}.items()}
    found = pairwise_agreement(arrays, statistics=["mean"], generator=generator)
    rows = []
    for name in estimates:
        for fraction in weighed:
            at = found.sel(estimator=name, other=fraction, statistic="mean")
            row = {"method": name, "fraction": float(fraction)}
            row |= {c: float(at[c]) for c in ("r", "r_low", "r_high", "ceiling")}
            row |= dict.fromkeys(("change", "change_low", "change_high"), 0.0)
            if fraction != f"{fractions[-1]:g}" and found.attrs["n_seeds"] > 2:
                pairs = [(name, fraction)], [(name, f"{fractions[-1]:g}")]
                row |= numbers(paired_difference(arrays, *pairs), "change")
            rows.append(row)
    return pd.DataFrame(rows)


LOCAL, STEP = ("if_ggn", "grad_dot", "grad_cos"), ("ats_adam",)


def block_table(scores: Scores, reference: str, **options: object) -> pd.DataFrame:
    """Is the reference outside the block of local estimators, with an additional step in between?

    Mean correlations between groups of methods, and three differences with jackknife intervals
    over seeds: within LOCAL - LOCAL-to-reference; STEP-to-LOCAL - LOCAL-to-reference;
    STEP-to-reference - LOCAL-to-reference. All above 0 is what claim B7 says.
    """
    within = list(combinations(LOCAL, 2))
    outside = [(name, reference) for name in LOCAL]
    comparisons = {
        "within local - local to reference": (within, outside),
        "step to local - local to reference": ([(s, n) for s in STEP for n in LOCAL], outside),
        "step to reference - local to reference": ([(s, reference) for s in STEP], outside),
    }
    rows = []
    for name, (first, second) in comparisons.items():
        found = paired_difference(scores, first, second, **options)
        rows.append({"comparison": name} | {str(v): float(found[v]) for v in found.data_vars})
    return pd.DataFrame(rows)


def contrasting_pairs(scores: Scores, reference: str, method: str) -> dict[str, tuple[int, int]]:
    """Pairs `(train, query)` chosen by a rule: among pairs in the top tenth of |mean reference|,
    "agree" has the smallest and "disagree" the largest difference between the standardised means
    of reference and method."""
    one, two = (scores[name].astype(np.float64).mean("seed").values for name in (reference, method))
    gap = np.abs(one / np.std(one) - two / np.std(two))
    strong = np.abs(one) >= np.quantile(np.abs(one), 0.9)
    agree = np.where(strong, gap, np.inf).argmin()
    disagree = np.where(strong, gap, -np.inf).argmax()
    chosen = {"agree": agree, "disagree": disagree}
    return {k: tuple(map(int, np.unravel_index(v, one.shape))) for k, v in chosen.items()}


def aligned(scores: Scores, points: Sequence[int]) -> dict[str, xr.DataArray]:
    """Scores of some training points only, without coordinates that differ between banks."""
    kept = ("seed", "train", "query")
    found = {}
    for name, array in scores.items():
        array = array.sel(train=list(points))
        found[name] = array.drop_vars([c for c in array.coords if c not in kept])
    return found
