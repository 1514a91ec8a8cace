"""Tables of data pruning: accuracies, paired differences, label noise found, lists compared.

Intervals are 95 % intervals over evaluation (or scoring) seeds for this training set, these labels
and these lists, unless a docstring says otherwise.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dtda_lib.statistics.over_seeds import mean_interval, mean_over_seeds, wilson_interval
from dtda_lib.statistics.significance import sign_flip
from dtda_lib.study.tables import numbers

from .strategies import (
    BY_LOSS,
    ESTIMATOR,
    NONE,
    OTHER,
    RANDOM,
    RANKINGS,
    REST,
    SAME,
    PruningScores,
    worst,
)

COMPARED = (
    # what is asked, the better one if the answer is yes, the other
    ("order", "{whose}_mean", "{whose}_own"),
    ("none", "{whose}_mean", NONE),
    ("fixed", "{whose}_own", NONE),
    ("random", "{whose}_mean", RANDOM),
    ("risk", "{whose}_risk", "{whose}_mean"),
)
"""Questions about distributional (mean), fixed-seed (own) and risk-averse scores, for `whose`."""
CONTROLS = (
    (SAME, "reuse", f"{SAME}_mean", REST),
    (SAME, "reuse_own", f"{SAME}_own", f"{OTHER}_own"),
    (OTHER, "loss", f"{OTHER}_mean", BY_LOSS),
)
"""Does it pay that a score knows the very run that it will judge? Does influence beat a baseline
that sees no validation point?"""


def by_labels(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables by labels as one, the labels as its first column."""
    return pd.concat(
        [table.assign(labels=labels) for labels, table in tables.items()], ignore_index=True
    )[["labels", *next(iter(tables.values())).columns]]


def accuracy_table(found: xr.DataArray) -> pd.DataFrame:
    """Test accuracy and loss of each strategy: mean, sd over seeds, and interval of the mean."""
    test = found.sel(part="test")
    mean, spread = mean_over_seeds(test), test.std("seed", ddof=1)
    rows = []
    for strategy in test["strategy"].values:
        row = {"strategy": strategy}
        for metric in test["metric"].values:
            here = {"metric": metric, "strategy": strategy}
            row |= numbers(mean, metric, **here)
            row[f"{metric}_sd"] = float(spread.sel(here))
        rows.append(row)
    return pd.DataFrame(rows)


def paired_difference(
    found: xr.DataArray, better: str, other: str, generator: np.random.Generator
) -> dict[str, float]:
    """Mean over seeds of the test accuracy (and loss) of `better` less that of `other`.

    Seeds are paired. `low`, `high`: t interval; `p`: sign-flip test; `wins`: share of seeds with a
    higher accuracy, ties counted half.
    """
    test = found.sel(part="test")
    gap = test.sel(strategy=better, drop=True) - test.sel(strategy=other, drop=True)
    accuracy = gap.sel(metric="accuracy", drop=True)
    mean = mean_over_seeds(gap)
    loss = {f"loss_{name}": number for name, number in numbers(mean, metric="loss").items()}
    row = {"n_seeds": gap.sizes["seed"]} | numbers(mean, metric="accuracy") | loss
    row["p"] = float(sign_flip(accuracy, generator=generator))
    row["wins"] = float(((accuracy > 0) + 0.5 * (accuracy == 0)).mean())
    return row


def difference_table(found: xr.DataArray, generator: np.random.Generator) -> pd.DataFrame:
    """`COMPARED` for scores of the same and of other seeds, and `CONTROLS`; one row each."""
    asked = [
        (whose, question, better.format(whose=whose), other.format(whose=whose))
        for whose in (SAME, OTHER)
        for question, better, other in COMPARED
    ]
    rows = [
        {"whose": whose, "question": question, "better": better, "other": other}
        | paired_difference(found, better, other, generator)
        for whose, question, better, other in (*asked, *CONTROLS)
    ]
    return pd.DataFrame(rows)


def gain_table(found: xr.DataArray, generator: np.random.Generator) -> pd.DataFrame:
    """Every strategy against training on all points: paired differences, one row each."""
    names = [name for name in found["strategy"].values if name != NONE]
    rows = [{"strategy": n, **paired_difference(found, n, NONE, generator)} for n in names]
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- label noise


def precision_table(scores: PruningScores, wrong: np.ndarray) -> pd.DataFrame:
    """Share of wrong labels on lists of k points, as many as labels are wrong: a row per estimator
    and ranking.

    "own": mean over models of each model's own list, with a t interval over seeds. "mean" and
    "risk": of the one list that all models make, with a Wilson interval that takes its k points as
    independent draws. `chance` is what a random list has. "risk" only where shifts are in nats.
    """
    is_wrong = np.zeros(scores.shift.sizes["train"], dtype=bool)
    is_wrong[wrong] = True
    k, rows = len(wrong), []
    for estimator in scores.shift["estimator"].values.tolist():
        for ranking in RANKINGS:
            if ranking == "risk" and not estimator.startswith("if_"):
                continue
            hits = is_wrong[worst(scores.ranked(ranking, estimator), k)]
            if ranking == "own":
                share, low, high = mean_interval(hits.mean(axis=1)).values()
            else:
                share = float(hits.mean())
                low, high = wilson_interval(int(hits.sum()), k)
            rows.append((estimator, ranking, k, share, low, high))
    table = pd.DataFrame(rows, columns=["estimator", "ranking", "k", "precision", "low", "high"])
    return table.assign(chance=is_wrong.mean())


def found_by_chance(n_train: int, n_wrong: int, k: int, hits: int) -> float:
    """Probability that a random list of k points holds `hits` or more of the wrong labels."""
    return float(stats.hypergeom.sf(hits - 1, n_train, n_wrong, k))


# ---------------------------------------------------------------- lists and predictions


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the k points of one list that are in the other."""
    return len(np.intersect1d(first, second)) / len(first)


def overlap_table(same: PruningScores, other: PruningScores, k: int) -> pd.DataFrame:
    """How far lists of k points agree: single models', averages', and what chance gives."""
    n_train = same.shift.sizes["train"]
    rows = []
    for estimator in same.shift["estimator"].values.tolist():
        own = [list(worst(s.ranked("own", estimator), k)) for s in (same, other)]
        pairs = [overlap(a, b) for lists in own for a, b in combinations(lists, 2)]
        means = [worst(s.ranked("mean", estimator), k) for s in (same, other)]
        inside = [overlap(one, mean) for lists, mean in zip(own, means) for one in lists]
        rows.append((estimator, np.mean(pairs), np.mean(inside), overlap(*means), k / n_train))
    columns = ["estimator", "two_models", "model_and_average", "two_averages", "chance"]
    return pd.DataFrame(rows, columns=columns)


def predicted_removals_table(
    found: xr.DataArray, same: PruningScores, other: PruningScores, lists: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Predicted shift of the mean validation loss upon each removal, and the shifts that came.

    The prediction of a list is the sum of its members' shifts, by the evaluation seeds' own
    full-data models. Means over seeds with t intervals, nats; negative: the loss falls. `selected`
    is the sum of the very scores that chose the list, which selection makes too good.
    """
    shift = same.shift.sel(estimator=ESTIMATOR, drop=True).transpose("seed", "train").values
    chose = {SAME: same, OTHER: other}
    rows = []
    for name in [f"{whose}_{ranking}" for whose in (SAME, OTHER) for ranking in ("own", "mean")]:
        chosen, (whose, ranking) = lists[name], name.split("_")
        row = {"strategy": name}
        by = chose[whose].ranked(ranking)
        by = by.transpose(..., "train").values
        by = np.broadcast_to(by, shift.shape)
        row["selected"] = float(np.take_along_axis(by, chosen, axis=1).sum(axis=1).mean())
        parts = {"predicted": np.take_along_axis(shift, chosen, axis=1).sum(axis=1)}
        loss = found.sel(metric="loss")
        for part in ("validation", "test"):
            here = loss.sel(part=part)
            parts[part] = (here.sel(strategy=name) - here.sel(strategy=NONE)).values
        for label, values in parts.items():
            each = xr.DataArray(values, dims="seed")
            row |= numbers(mean_over_seeds(each), label)
        rows.append(row)
    return pd.DataFrame(rows)
