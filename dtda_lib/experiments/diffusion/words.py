"""The answer of notebook 10, and what its tables say beyond their numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.claims import CONFIRMED, INCONCLUSIVE, PARTLY, REFUTED
from dtda_lib.study.evidence import Evidence
from dtda_lib.study.methods import DELTAS
from dtda_lib.study.wording import bullets, grouped, joined, measured, percent, side

from .claims import list_status
from .ensemble import BY_MEAN, BY_PIXELS, BY_VARIANCE, NONE, RANDOM
from .quality import BETWEEN, SAMPLES, TAIL, WITHIN, Confidence
from .retrained import DIGIT

_NOTEBOOK = "10_diffusion"
_KINDS = {
    "mean": f"the {DELTAS['mean'].words}",
    "variance": f"the {DELTAS['variance'].words}",
    "w2": DELTAS["w2"].words,
    "own": "one model alone",
    "helps": "the signed mean",
}
_GROUPS = {
    BY_MEAN: "list by mean",
    BY_VARIANCE: "list by variance",
    BY_PIXELS: "nearest in pixels",
    DIGIT: "random, same digit",
    RANDOM: "random",
    NONE: "nothing",
}
_VERDICTS = {
    CONFIRMED: "differ beyond the noise of seeds",
    PARTLY: "differ, but perhaps only by the noise of seeds",
    REFUTED: "agree as well as two halves of the seeds do",
    INCONCLUSIVE: "are not shown to differ beyond the noise of seeds",
}


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: lists by W2, lists by variance, retraining, its rival, widening.

    Overlaps are means over samples; rises are in % of a sample's loss. Empty where nothing has been
    run.
    """
    profile = evidence.profile(_NOTEBOOK)
    if profile is None:
        return []
    lists = evidence.table(_NOTEBOOK, "overlaps", profile)
    lists = lists.set_index(["first_list", "second_list"])
    after = evidence.table(_NOTEBOOK, "retrained", profile)
    after = after[after["measured"] != "rise of one sample"]
    after = after.set_index(["measured", "first", "second"])
    by_w2, by_variance = lists.loc[(BY_MEAN, "w2")], lists.loc[(BY_MEAN, BY_VARIANCE)]
    rises = {a: after.loc[("rise", a, RANDOM)] for a in (BY_MEAN, BY_PIXELS)}
    rival = after.loc[("rise", BY_MEAN, BY_PIXELS)]
    wider = after.loc[("widening", BY_VARIANCE, BY_MEAN)]
    return [
        f"Lists by W2 and by the mean {_VERDICTS[_status(by_w2)]}: they share "
        f"{percent(by_w2['between'])} of their images, halves of the seeds "
        f"{percent(by_w2['first'])} and {percent(by_w2['second'])}.",
        f"Lists by the variance and by the mean {_VERDICTS[_status(by_variance)]}: the overlap "
        f"falls by {_points(by_variance)} with that noise allowed for.",
        "Retrained without the images that the list by mean names, models "
        f"{_know(rises[BY_MEAN])}: its loss rises by {_percents(rises[BY_MEAN])} more than without "
        "random ones.",
        f"The images nearest in pixels, which need no model, {_ahead(rival)}: their removal raises "
        f"the loss by {_percents(rises[BY_PIXELS])}.",
        f"The list by variance {_widens(wider)} than that by mean: log ratio of variances "
        f"{measured(wider['estimate'], (wider['low'], wider['high']))}.",
    ]


def _status(row: Mapping[str, Any]) -> str:
    plain, strict = ((row[f"{gap}_low"], row[f"{gap}_high"]) for gap in ("plain", "strict"))
    return list_status(plain, strict)


def _points(row: Mapping[str, Any]) -> str:
    ends = (100 * row["strict_low"], 100 * row["strict_high"])
    return measured(100 * row["strict"], ends, "points")


def _percents(row: Mapping[str, Any]) -> str:
    return measured(row["estimate"] / 100, (row["low"] / 100, row["high"] / 100), "%")


def _know(row: Mapping[str, Any]) -> str:
    return f"know the sample {side(row, 0, above='less well', below='better', unclear='as well')}"


def _ahead(row: Mapping[str, Any]) -> str:
    """How the rival does, where `row` is the list by mean - its rival."""
    return side(row, 0, above="do worse", below="do better", unclear="are not shown to do worse")


def _widens(row: Mapping[str, Any]) -> str:
    words = {"above": "widens the law more", "below": "widens the law less"}
    return side(row, 0, **words, unclear="is not shown to widen the law more")


# ---------------------------------------------------------------- sentences below tables


def quality_words(quality: Mapping[str, float], n_samples: int) -> Markdown:
    """How many samples are like no digit, and how many like a copy; from `Ensemble.quality`."""
    far, near = (round(quality[name] * n_samples) for name in ("too_far", "too_near"))
    return Markdown(
        f"Of {n_samples} samples {far} are further from every training image than 95 % of other "
        f"real digits are, and {near} nearer than 95 % of these. Real digits would give about "
        f"{0.05 * n_samples:.0f} each."
    )


def confidence_words(found: Confidence) -> Markdown:
    """How many samples a classifier is as sure of as of real digits, and what it can see."""
    rows = found.table.set_index("images")
    samples, between, within = (rows.loc[name] for name in (SAMPLES, BETWEEN, WITHIN))
    weak = joined(str(sample + 1) for sample in found.weak)
    short = samples["high"] < 1 - TAIL
    verdict = "fewer than of real digits" if short else "not shown to be fewer than of real digits"
    return bullets(
        [
            f"**A classifier is as sure of "
            f"{measured(samples['sure'], (samples['low'], samples['high']), '%')} of samples** as "
            f"of {percent(1 - TAIL)} of real digits: {verdict}. Weak samples: {weak}.",
            "**What it can see**: it finds "
            f"{percent(1 - between['sure'])} of smears half-way between the two digits (the "
            f"distance to training images: {percent(1 - between['near'])}), and "
            f"{percent(1 - within['sure'])} of those within one digit.",
        ]
    )


def weak_words(found: Confidence, base: np.ndarray) -> Markdown:
    """The loss of weak samples beside that of others. `base`: m `(seed, sample)`, full data."""
    if not 0 < len(found.weak) < base.shape[1]:
        return Markdown("The classifier calls all samples alike: none is set beside others.")
    loss = base.mean(axis=0)
    others = np.delete(loss, found.weak)
    return Markdown(
        f"Denoising loss, mean over scoring models: {loss[found.weak].mean():.2f} of the weak "
        f"samples (from {loss[found.weak].min():.2f} to {loss[found.weak].max():.2f}), "
        f"{others.mean():.2f} of the others (from {others.min():.2f} to {others.max():.2f})."
    )


def overlap_words(table: pd.DataFrame) -> Markdown:
    """Pairs of questions by their verdict. `table`: `lists.comparison_table`."""
    pairs = grouped(
        (
            _VERDICTS[_status(row)],
            f"{_KINDS[row['first_list']]} / {_KINDS[row['second_list']]}",
        )
        for row in table.to_dict("records")
    )
    return bullets(f"**Lists {told}**: {'; '.join(names)}." for told, names in pairs.items())


def overlap_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The same table for display: questions in words, gaps with their intervals."""
    shown = {
        "lists by": [
            f"{_KINDS[a]} / {_KINDS[b]}" for a, b in zip(table["first_list"], table["second_list"])
        ],
        "halves, first": table["first"].round(2),
        "halves, second": table["second"].round(2),
        "between the two": table["between"].round(2),
    }
    for gap in ("plain", "strict"):
        ends = zip(table[gap], table[f"{gap}_low"], table[f"{gap}_high"])
        shown[f"{gap} gap"] = [measured(value, (low, high)) for value, low, high in ends]
    return pd.DataFrame(shown)


def validation_rows(table: pd.DataFrame) -> pd.DataFrame:
    """`retrained.validation_table` for display: groups in words, numbers with their intervals."""
    rises = table["measured"] == "rise"
    ends = zip(rises, table.to_dict("records"))
    return pd.DataFrame(
        {
            "measured": np.where(rises, "rise of the loss", "log ratio of variances"),
            "after removing": table["first"].map(_GROUPS),
            "against removing": table["second"].map(_GROUPS),
            "difference": [
                _percents(row) if rise else measured(row["estimate"], (row["low"], row["high"]))
                for rise, row in ends
            ],
        }
    )


def prediction_words(table: pd.DataFrame) -> Markdown:
    """Order and size of observed shifts. `table`: `retrained.prediction_table`."""
    rows = table.set_index("measured")
    told = {
        name: measured(row["estimate"], (row["low"], row["high"])) for name, row in rows.iterrows()
    }
    return Markdown(
        f"Predicted and observed shifts of {rows['n_groups'].iloc[0]} groups have a rank "
        f"correlation of {told['correlation']}, mean over samples. The slope through 0 is "
        f"{told['slope']}; 1 is the right size."
    )
