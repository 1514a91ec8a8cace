"""The answer of notebook 12, made out of the evidence."""

from dtda_lib.study.claims import INCONCLUSIVE, NOT_TESTED
from dtda_lib.study.evidence import UNTESTED, Evidence
from dtda_lib.study.pages.results import summary
from dtda_lib.study.wording import joined

FIGURE = "variants"
"""The figure that shows the answer at a glance."""


def answer(evidence: Evidence) -> list[str]:
    """How many claims hold, which are open, and which a run at the published sizes would decide."""
    standings = evidence.standings()
    sentences = [summary(evidence)]
    for verdict, told in ((INCONCLUSIVE, INCONCLUSIVE), (NOT_TESTED, UNTESTED)):
        names = [one.headline.id for one in standings if one.verdict == verdict]
        if names:
            sentences.append(f"{joined(names)} {'is' if len(names) == 1 else 'are'} {told}.")
    sentences.append(
        "Each verdict is that of one variant, the nearest to the paper's own setting; the others "
        "are robustness checks."
    )
    return sentences
