"""Claim C10, that pruning by distributional scores helps most: the rules that give its statuses.

Thresholds are our choice, made before the numbers; the paper's own numbers are not known to us.
"""

from collections.abc import Mapping

import pandas as pd

from dtda_lib.study.claims import (
    CONFIRMED,
    INCONCLUSIVE,
    REFUTED,
    Claim,
    above,
    combine,
    decide,
)

from .methods import method_of
from .strategies import ESTIMATOR, OTHER, SAME
from .tables import found_by_chance

_PAPER = "2506.12965, Fig. 6"
_ALPHA = 0.05
_ESTIMAND = (
    "mean over training seeds of the difference in test accuracy, for this training set and "
    "these labels"
)
_WORDS = {
    "order": "pruning by scores averaged over seeds beats pruning by each seed's own scores",
    "none": "pruning by averaged scores beats training on all points",
    "fixed": "pruning by each seed's own scores beats training on all points",
    "random": "pruning by averaged scores beats removing as many points at random",
    "risk": "pruning by predicted mean + spread beats pruning by the predicted mean",
    "reuse": "averaged scores prune better if the seed that is retrained is among them",
    "reuse_own": "a model's own scores prune better for its own seed than for another",
    "loss": "pruning by averaged influence beats pruning by averaged training loss",
}
_WHOSE = {
    SAME: "scores of the same seeds",
    OTHER: "scores of other seeds (for 'own': of one other seed)",
}


C10_PARTS = ("order", "none", "fixed")
"""What the words of C10 say: averaged scores beat a fixed seed's, which beat no pruning."""
VETO = "random"


def c10_status(statuses: Mapping[str, str]) -> str:
    """The status of C10 out of its `C10_PARTS`; the control against random removal can only veto.

    A control is no part of the claim, so it confirms nothing. But where averaged scores are not
    shown to beat random removal, what the parts show need not be due to scores: then the claim is
    inconclusive, unless it is refuted anyway.

    Args:
        statuses: Of each of `C10_PARTS` and of `VETO`.
    """
    whole = combine(statuses[name] for name in C10_PARTS)
    vetoed = statuses[VETO] != CONFIRMED and whole != REFUTED
    return INCONCLUSIVE if vetoed else whole


def claims_shown(differences: pd.DataFrame, case: str) -> list[str]:
    """Ids of all claims of `pruning_claims`, for the figure that shows `differences`."""
    parts = [f"C10-{row.question}-{row.whose}-{case}" for row in differences.itertuples()]
    return [*parts, *(f"C10-{whose}-{case}" for whose in (SAME, OTHER))]


def pruning_claims(differences: pd.DataFrame, case: str, labels: str, setting: str) -> list[Claim]:
    """C10 in parts and as a whole, with scores of the same and of other seeds.

    Args:
        differences: `tables.difference_table`.
        case: Part of the ids, "noise" or "clean".
        labels: The labels in words.
        setting: What was trained, in words.
    """
    claims = []
    for whose in (SAME, OTHER):
        rows = differences[differences["whose"] == whose].set_index("question")
        shared = {
            "setting": f"{setting}, {labels}; {_WHOSE[whose]}",
            "estimand": _ESTIMAND,
            "count": "n_seeds",
        }
        parts = {
            name: Claim.from_row(
                row,
                confirmed_if=above(0),
                interval="95 % t interval over evaluation seeds",
                id=f"C10-{name}-{whose}-{case}",
                claim=_WORDS[name],
                source=_PAPER if name in C10_PARTS else "this study",
                statistic="mean paired difference of test accuracy; sign-flip p = "
                f"{row['p']:.2g}, higher in {row['wins']:.0%} of the seeds",
                **shared,
            )
            for name, row in rows.iterrows()
        }
        whole = Claim.from_row(
            rows.loc[list(C10_PARTS)].sort_values("estimate").iloc[0],
            status=c10_status({name: part.status for name, part in parts.items()}),
            id=f"C10-{whose}-{case}",
            claim="pruning by distributional scores beats a fixed seed's scores, which beat no "
            "pruning",
            source=_PAPER,
            statistic="least of the three mean paired differences of test accuracy: averaged - "
            "own scores, averaged - none, own - none",
            rule="our rule, by the words of the claim: the common status of C10-order, C10-none "
            "and C10-fixed, else partly if one of them is confirmed, else inconclusive; "
            "C10-random is a control that can only veto: if averaged scores are not confirmed to "
            "beat random removal, the claim is at best inconclusive",
            **shared,
        )
        claims += [*parts.values(), whole]
    return claims


def wrong_label_claims(
    lists: pd.DataFrame, n_train: int, setting: str, n_seeds: int
) -> list[Claim]:
    """Planted wrong labels are found: by each estimator's average, and better than by one model.

    Args:
        lists: `tables.precision_table`.
        n_train: Training points.
        setting: What was trained, in words.
        n_seeds: Models that were averaged.
    """
    at, n_wrong = lists.set_index(["estimator", "ranking"]), int(lists["k"].iloc[0])
    shared = {"source": "this study", "value": "precision"}
    claims = []
    for estimator in lists["estimator"].drop_duplicates():
        mean, own = at.loc[(estimator, "mean")], at.loc[(estimator, "own")]
        p = found_by_chance(n_train, n_wrong, n_wrong, round(mean["precision"] * n_wrong))
        found = Claim.from_row(
            mean,
            count=n_wrong,
            status=decide(
                confirmed=p < _ALPHA and mean["precision"] > 0.5,
                refuted=p >= _ALPHA,
                partly=p < _ALPHA,
            ),
            id=f"T-noise-{estimator}",
            claim="planted wrong labels are found by scores averaged over seeds "
            f"({method_of(estimator).label})",
            statistic=f"share of wrong labels among the first {n_wrong}; chance "
            f"{n_wrong / n_train:.2f}, p = {p:.1g}; a single model "
            f"{own['precision']:.2f} [{own['low']:.2f}, {own['high']:.2f}] over seeds",
            setting=f"{setting}, {n_seeds} models",
            estimand="points of wrong label of this training set; interval over points",
            rule=f"confirmed if more than half of the list is wrong labels and chance does as "
            f"well with p < {_ALPHA:g} (hypergeometric); partly if only the latter; refuted if "
            "neither",
            **shared,
        )
        claims.append(found)
    mean, own = at.loc[(ESTIMATOR, "mean")], at.loc[(ESTIMATOR, "own")]
    averaging = Claim.from_row(
        own,
        count=n_seeds,
        status=decide(
            confirmed=own["high"] < mean["precision"], refuted=own["low"] >= mean["precision"]
        ),
        id="T-noise-averaging",
        claim="averaging scores over seeds finds more wrong labels than a single model does",
        statistic="precision of a single model's list, mean over models; of the averaged list "
        f"{mean['precision']:.2f}",
        setting=setting,
        estimand="mean over models of the precision at k = number of wrong labels",
        rule="confirmed if the whole 95 % t interval over models lies below the precision of the "
        "averaged list, refuted if at or above it, else inconclusive",
        **shared,
    )
    return [*claims, averaging]
