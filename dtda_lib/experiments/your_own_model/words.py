"""The answer of notebook 11, made out of the evidence."""

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, REFUTED
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.wording import joined, measured, told

from .methods import FALSE_DISCOVERIES, screening

FIGURE = "table_answer"
"""The figure that shows the answer at a glance."""
_NOTEBOOK = "11_your_own_model"


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: plan, reliable pairs, screening of a table and of images, and their size.

    Shares are over pairs, points or queries, with 95 % intervals over sets of seeds (images: over
    points).
    """
    profile = evidence.profile(_NOTEBOOK) or EVIDENCE
    power, signs, images = (evidence[f"own-{name}"] for name in ("power", "signs", "images"))
    curves = evidence.table(_NOTEBOOK, "screening", profile)
    gap = images.claim.ci or ()
    sentences = [
        f"A plan made before training {_kept(power.claim.status)}: of the pairs beyond its "
        f"smallest shift, {power.number('%')} are found.",
        f"Of the pairs called reliable, {signs.number('%')} have the other sign on fresh seeds "
        f"({measured(FALSE_DISCOVERIES, unit='%')} were allowed).",
        _screened(curves, int(curves["k"].max()) // 5),
        f"Images picked by influence functions reliably matter for "
        f"{measured(100 * (images.claim.estimate or 0), [100 * (end or 0) for end in gap])} "
        "percentage points more of the queries than images drawn at random.",
        f"All this on small data: {power.claim.setting}; {images.claim.setting}.",
    ]
    if profile != EVIDENCE:
        sentences.append(
            f"The numbers are those of `{profile}`; the larger run, which gives verdicts, has not "
            "been made."
        )
    return sentences


def _kept(status: str) -> str:
    verdicts = {CONFIRMED: "keeps its promise", REFUTED: "promises too much"}
    return verdicts.get(status, "is not shown to keep its promise")


def _screened(curves: pd.DataFrame, k: int) -> str:
    n = int(curves["k"].max())
    at = curves[(curves["k"] == k) & curves["method"].isin(["if_ggn", "grad_dot"])]
    better = bool((at["low"] > k / n).all())
    shares = joined(
        f"{told(row, 'share', '%')} by {screening(row['method']).words}" for _, row in at.iterrows()
    )
    return (
        f"Screening {'spares much of the retraining' if better else 'is not shown to help'}: the "
        f"first {k} of {n} points hold {shares} of each query's most influential points, and "
        f"{measured(k / n, unit='%')} at random."
    )
