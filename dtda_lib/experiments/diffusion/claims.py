"""Claim C11, that lists differ by Δ, and what retraining says: the rules that give statuses.

Thresholds are our choice. The strict gap of C11 was added after an earlier trial of this experiment
had shown that lists by variance agree far less between halves of the seeds than lists by mean do,
which raises the plain gap even where both ask for the same images. The paper's own numbers are not
known to us.
"""

import pandas as pd

from dtda_lib.study.claims import Claim, Interval, Region, above, between, decide
from dtda_lib.study.methods import DELTAS
from dtda_lib.study.tables import ends

from .ensemble import BY_MEAN, BY_PIXELS, BY_VARIANCE, RANDOM
from .retrained import DIGIT

MARGIN = 0.05
_PAPER = "2506.12965, Fig. 7"
_NAMES = {
    "mean": DELTAS["mean"].size,
    "variance": DELTAS["variance"].size,
    "w2": DELTAS["w2"].label,
    "own": "fixed seed",
    "helps": "signed mean shift",
}


def list_status(plain: Interval, strict: Interval) -> str:
    """Status of "the lists differ more between Δ's than between halves of the seeds".

    Args:
        plain, strict: Intervals of the two gaps of `lists.list_gaps`.
    """
    differ = strict[0] > MARGIN
    return decide(
        confirmed=differ,
        refuted=not differ and plain[1] < MARGIN,
        partly=plain[0] > MARGIN,
    )


def list_claims(table: pd.DataFrame, setting: str) -> list[Claim]:
    """C11 for each pair of Δ's.

    Args:
        table: `lists.comparison_table`.
        setting: What was trained, in words.
    """
    claims = []
    for row in table.to_dict("records"):
        plain, strict = ends(row, "plain"), ends(row, "strict")
        names = f"{_NAMES[row['first_list']]} and {_NAMES[row['second_list']]}"
        claim = Claim.from_row(
            row,
            value="plain",
            count="n_samples",
            status=list_status(plain, strict),
            id=f"C11-{row['first_list']}-{row['second_list']}",
            claim=f"lists by {names} differ more than lists by two halves of the seeds",
            source=_PAPER if row["first_list"] != "helps" else "this study",
            statistic=f"plain gap: overlap of lists of {row['k']} between halves of the seeds "
            f"({row['first']:.2f} and {row['second']:.2f}) - overlap between Δ's "
            f"({row['between']:.2f}); strict gap {row['strict']:.3f} "
            f"[{strict[0]:.3f}, {strict[1]:.3f}]; chance {row['chance']:.2f}",
            setting=f"{setting}, {row['n_seeds']} scoring seeds",
            estimand="mean over generated samples of the overlap of top lists, each by the "
            "predicted law over a half of the scoring seeds",
            rule=f"confirmed if the whole 95 % interval of the strict gap lies above {MARGIN:g}, "
            f"refuted if that of the plain gap lies below {MARGIN:g}, partly if that of the plain "
            "gap lies above it, else inconclusive",
        )
        claims.append(claim)
    return claims


_VALIDATIONS = {
    "V-mean": ("rise", BY_MEAN, RANDOM),
    "V-digit": ("rise", BY_MEAN, DIGIT),
    "V-nearest": ("rise", BY_PIXELS, RANDOM),
    "V-rival": ("rise", BY_MEAN, BY_PIXELS),
    "V-variance": ("widening", BY_VARIANCE, RANDOM),
    "V-variance-rival": ("widening", BY_VARIANCE, BY_MEAN),
}
"""Claim -> what is measured, and after which of two removals there is more of it."""
_WORDS = {
    "V-mean": "removing the list by mean raises a sample's loss more than random images do",
    "V-digit": "it raises it more than random images of the sample's own digit do",
    "V-nearest": "removing the images nearest in pixels raises it more than random ones do",
    "V-rival": "the list by mean raises it more than the nearest images do",
    "V-variance": "removing the list by variance widens the law more than random images do",
    "V-variance-rival": "the list by variance widens the law more than that by mean does",
}


def validation_claims(table: pd.DataFrame, setting: str) -> list[Claim]:
    """What retraining says about the lists.

    Args:
        table: `retrained.validation_table`.
        setting: What was trained, in words.
    """
    rows = table.set_index(["measured", "first", "second"])
    units = {
        "rise": "difference of mean losses after the two removals, % of the loss without removal",
        "widening": "log ratio of the variances over seeds after the two removals",
    }
    sizes = table.iloc[0]
    return [
        Claim.from_row(
            rows.loc[(measured, first, second)],
            confirmed_if=above(0),
            count="n_samples",
            interval=_interval({first, second}),
            id=name,
            claim=_WORDS[name],
            source="this study",
            statistic=f"{units[measured]}: {first} - {second}",
            setting=f"{setting}, {sizes['n_seeds']} judging seeds, {sizes['n_groups']} random "
            "groups of each kind",
            estimand="mean over generated samples, of the law over training seeds",
        )
        for name, (measured, first, second) in _VALIDATIONS.items()
    ]


def _interval(lists: set[str]) -> str:
    drawn = "seeds, samples and random groups" if lists & {RANDOM, DIGIT} else "seeds and samples"
    return f"95 % t interval over {drawn}"


def prediction_claims(table: pd.DataFrame, setting: str) -> list[Claim]:
    """Whether predicted shifts order the groups, and whether they have the right size.

    Args:
        table: `retrained.prediction_skill_table`.
        setting: What was trained, in words.
    """
    asked: dict[str, tuple[str, str, str, Region]] = {
        "correlation": (
            "V-order",
            "predicted shifts order the removals of groups as retraining does",
            "Spearman correlation over groups, mean over samples",
            above(0.5),
        ),
        "slope": (
            "V-size",
            "predicted shifts of groups are right within a factor of 2",
            "slope through 0 of the observed shift on the predicted one",
            between(0.5, 2),
        ),
    }
    claims = []
    for row in table.to_dict("records"):
        name, words, statistic, region = asked[row["measured"]]
        claims.append(
            Claim.from_row(
                row,
                confirmed_if=region,
                count="n_groups",
                interval="95 % t interval over seeds and samples",
                id=name,
                claim=words,
                source="this study",
                statistic=statistic,
                setting=f"{setting}, {row['n_seeds']} judging seeds",
                estimand="mean shift over training seeds upon removing a group, by sums of mean "
                "predicted shifts of its images",
            )
        )
    return claims
