"""What the tables of the diffusion ensemble say, in sentences made out of them.

No result in the notebook's text is typed: where it changes, its sentence does. Each function takes
tables of `diffusion_lists` or `diffusion_retrained` and returns Markdown.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.claims import CONFIRMED, PARTLY, REFUTED
from dtda_lib.study.methods import DELTAS

from .claims import MARGIN, list_status
from .ensemble import BY_MEAN, BY_PIXELS, BY_VARIANCE, RANDOM
from .quality import BETWEEN, SAMPLES, TAIL, WITHIN, Confidence
from .retrained import DIGIT

_KINDS = {
    "mean": f"the {DELTAS['mean'].words}",
    "variance": f"the {DELTAS['variance'].words}",
    "w2": DELTAS["w2"].words,
    "own": "one model alone",
    "helps": "the signed mean",
}
_GROUPS = {
    BY_MEAN: "the list by mean",
    BY_VARIANCE: "the list by variance",
    BY_PIXELS: "the nearest images",
    DIGIT: "random images of its digit",
    RANDOM: "random images",
}
_VERDICTS = {
    CONFIRMED: "they differ more than halves of the seeds do, also when the noise of both lists "
    "is allowed for",
    PARTLY: "they differ more than halves of the seeds do, but not when the noise of both lists is "
    "allowed for",
    REFUTED: f"they differ no more than halves of the seeds do (by less than {MARGIN:g})",
}


def _named(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _list(sentences: Iterable[str]) -> Markdown:
    return Markdown("\n".join(f"* {sentence}" for sentence in sentences))


def quality_words(quality: Mapping[str, float], n_samples: int) -> Markdown:
    """How many samples are like no digit, and how many like a copy.

    `quality`: from `diffusion.Experiment.quality`.
    """
    far, near = (round(quality[name] * n_samples) for name in ("too_far", "too_near"))
    return Markdown(
        f"Of {n_samples} samples {far} are further from every training image than 95 % of other "
        f"real digits are, and {near} nearer than 95 % of these; about {0.05 * n_samples:.0f} "
        "each would be so if samples were real digits."
    )


def confidence_words(found: Confidence) -> Markdown:
    """How many samples a classifier is as sure of as of real digits, and what it can see."""
    rows = found.table.set_index("images")
    samples, between, within = (rows.loc[name] for name in (SAMPLES, BETWEEN, WITHIN))
    sure = round(samples["sure"] * samples["n"])
    weak = _named(str(sample + 1) for sample in found.weak)
    short = samples["high"] < 1 - TAIL
    verdict = "fewer than of real digits" if short else "not shown to be fewer than of real digits"
    return _list(
        [
            f"**A classifier is as sure of {sure} of {samples['n']:.0f} samples** as of "
            f"{1 - TAIL:.0%} of real digits: {samples['sure']:.0%} [{samples['low']:.0%}, "
            f"{samples['high']:.0%}], {verdict}. Weak samples: {weak}.",
            f"**What it can see**: of smears made on purpose, half-way between the two digits, it "
            f"finds {1 - between['sure']:.0%}, and the distance to training images "
            f"{1 - between['near']:.0%}; half-way between two images of one digit, "
            f"{1 - within['sure']:.0%} and {1 - within['near']:.0%}.",
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
    """What became of each pair of questions. `table`: `diffusion_lists.comparison_table`."""
    sentences = []
    for row in table.itertuples():
        status = list_status((row.plain_low, row.plain_high), (row.strict_low, row.strict_high))
        verdict = _VERDICTS.get(status, "whether they differ more than halves do is not decided")
        first, second = _KINDS[row.first_list], _KINDS[row.second_list]
        sentences.append(
            f"**By {first} and by {second}**: {verdict}. Halves agree on {row.first:.0%} and "
            f"{row.second:.0%}, the two questions on {row.between:.0%} of a list of {row.k} "
            f"(chance {row.chance:.0%}); gap {row.plain:+.3f} [{row.plain_low:+.3f}, "
            f"{row.plain_high:+.3f}], allowing for noise {row.strict:+.3f} "
            f"[{row.strict_low:+.3f}, {row.strict_high:+.3f}]."
        )
    return _list(sentences)


def validation_words(table: pd.DataFrame) -> Markdown:
    """What removals did to the loss and to its law. `table`: from `validation_table`."""
    rows = table.set_index(["measured", "first", "second"])

    def rise(first: str, second: str) -> str:
        row = rows.loc[("rise", first, second)]
        ends = f"[{row['low']:+.0f}, {row['high']:+.0f}]"
        told = "beyond error" if row["low"] > 0 or row["high"] < 0 else "not told from 0"
        return f"{row['estimate']:+.0f} % {ends}, {told}"

    def widening(first: str, second: str) -> str:
        row = rows.loc[("widening", first, second)]
        ends = f"[{row['low']:+.2f}, {row['high']:+.2f}]"
        told = "beyond error" if row["low"] > 0 or row["high"] < 0 else "not told from 0"
        return f"{row['estimate']:+.2f} {ends}, {told}"

    against = [
        f"{_GROUPS[first]} {rise(first, RANDOM)}" for first in (BY_MEAN, BY_VARIANCE, BY_PIXELS)
    ]
    return _list(
        [
            f"**Loss of a sample without a group, less that without as many random images**: "
            f"{'; '.join(against)}; {_GROUPS[DIGIT]} {rise(DIGIT, RANDOM)}.",
            f"**The list by mean against its rival, the nearest images**: "
            f"{rise(BY_MEAN, BY_PIXELS)}; against {_GROUPS[DIGIT]}: {rise(BY_MEAN, DIGIT)}.",
            "**Log ratio of the variances over seeds**: the list by variance to random images "
            f"{widening(BY_VARIANCE, RANDOM)}; the list by mean to random images "
            f"{widening(BY_MEAN, RANDOM)}; the list by variance to that by mean "
            f"{widening(BY_VARIANCE, BY_MEAN)}.",
        ]
    )


def prediction_words(table: pd.DataFrame) -> Markdown:
    """Order and size of what came on what was predicted. `table`: from `prediction_table`."""
    rows = table.set_index("measured")
    told = {
        name: f"{row['estimate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        for name, row in rows.iterrows()
    }
    return Markdown(
        f"Predicted and observed shifts of {rows['n_groups'].iloc[0]} groups have a rank "
        f"correlation of {told['correlation']}, mean over samples; the slope through 0 is "
        f"{told['slope']}, where 1 is the right size."
    )
