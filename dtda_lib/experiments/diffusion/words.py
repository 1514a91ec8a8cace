"""The answer of notebook 10, and what its tables say beyond their numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from IPython.display import Markdown

from dtda_lib.study.claims import CONFIRMED, INCONCLUSIVE, PARTLY, REFUTED
from dtda_lib.study.evidence import Evidence
from dtda_lib.study.tables import ends
from dtda_lib.study.wording import bullets, joined, measured, percent, side, told

from .claims import list_status
from .ensemble import BY_MEAN, BY_PIXELS, BY_VARIANCE, NONE, RANDOM
from .quality import BETWEEN, SAMPLES, WEAK_SHARE, WITHIN, Confidence
from .retrained import DIGIT

FIGURE = "retrained"
"""The figure that shows the answer at a glance."""
_NOTEBOOK = "10_diffusion"
NAMES = {
    BY_MEAN: "list by mean",
    BY_VARIANCE: "list by variance",
    BY_PIXELS: "nearest in pixels",
    DIGIT: "random, same digit",
    RANDOM: "random",
    NONE: "nothing",
    "rise": "rise of the loss, %",
    "widening": "log ratio of variances",
}
"""Removals and what is measured after them, in tables."""
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
    rival = after.loc[("rise", BY_MEAN, BY_PIXELS)]  # the list by mean - its rival
    wider = after.loc[("widening", BY_VARIANCE, BY_MEAN)]
    fall = measured(
        100 * by_variance["strict"], [100 * end for end in ends(by_variance, "strict")], "points"
    )
    known = side(rises[BY_MEAN], 0, above="less well", below="better", unclear="as well")
    ahead = side(rival, 0, above="do worse", below="do better", unclear="are not shown to do worse")
    widens = side(
        wider,
        0,
        above="widens the law more",
        below="widens the law less",
        unclear="is not shown to widen the law more",
    )
    return [
        f"Lists by W2 and by the mean {_VERDICTS[_status(by_w2)]}: they share "
        f"{percent(by_w2['between'])} of their images, halves of the seeds "
        f"{percent(by_w2['first'])} and {percent(by_w2['second'])}.",
        f"Lists by the variance and by the mean {_VERDICTS[_status(by_variance)]}: the overlap "
        f"falls by {fall} with that noise allowed for.",
        "Retrained without the images that the list by mean names, models know the sample "
        f"{known}: its loss rises by {_percents(rises[BY_MEAN])} more than without random ones.",
        f"The images nearest in pixels, which need no model, {ahead}: their removal raises "
        f"the loss by {_percents(rises[BY_PIXELS])}.",
        f"The list by variance {widens} than that by mean: log ratio of variances {told(wider)}.",
    ]


def _status(row: Mapping[str, Any]) -> str:
    return list_status(ends(row, "plain"), ends(row, "strict"))


def _percents(row: Mapping[str, Any]) -> str:
    return measured(row["estimate"] / 100, [end / 100 for end in ends(row)], "%")


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
    short = samples["high"] < 1 - WEAK_SHARE
    verdict = "fewer than of real digits" if short else "not shown to be fewer than of real digits"
    return bullets(
        [
            f"**A classifier is as sure of "
            f"{told(samples, 'sure', '%')} of samples** as "
            f"of {percent(1 - WEAK_SHARE)} of real digits: {verdict}. Weak samples: {weak}.",
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
