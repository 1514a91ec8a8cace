"""The answer of notebook 08, made out of the evidence, and sentences on its tables."""

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.claims import CONFIRMED, PARTLY, REFUTED, Claim
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.methods import DELTAS
from dtda_lib.study.wording import bullets, joined, measured, upper

from .claims import HALFWAY
from .estimands import LAW
from .lds import SHOWN_METRICS
from .methods import LOOKS

FIGURE = "dispute_map"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "08_evaluating_under_noise"


# ---------------------------------------------------------------- the answer


def answer(evidence: Evidence) -> list[str]:
    """Up to five sentences: the dispute, either side's best case, a fixed seed, noise, LDS.

    A sentence on what the evidence has not tested is left out.
    """
    profile = evidence.profile(_NOTEBOOK) or EVIDENCE
    claims = {f.claim.id: f for f in evidence.of(_NOTEBOOK) if f.profile == profile}
    parts = (
        ("C12-concrete-if_damped-deleted", _deleted),
        ("C12-concrete-if_damped-masked", _masked),
        ("C13-re-shuffled-predictions", _fragile),
        ("C8-concrete-if_damped", _noisy),
        ("C9-separation-w2_debiased-with-unit", _separates),
    )
    return [say(claims[name].claim) for name, say in parts if name in claims]


def _number(claim: Claim) -> str:
    return measured(claim.estimate, claim.ci)


def _deleted(claim: Claim) -> str:
    return (
        "Over learning rates and lengths of training, one model's influence function predicts the "
        f"law better than its own run without the deleted point {_where(claim.status)}. On "
        f"Concrete the law's correlation is higher by {_number(claim)}."
    )


def _masked(claim: Claim) -> str:
    if claim.status == CONFIRMED:
        found = "The same holds if the point is masked in unchanged batches"
    elif claim.status == REFUTED:
        found = "If the point is masked in unchanged batches, the law has no such lead"
    elif claim.status == PARTLY:
        found = "If the point is masked in unchanged batches, rate and length decide"
    else:
        found = "If the point is masked in unchanged batches, neither is ahead beyond error"
    return f"{found}: there the difference is {_number(claim)}."


def _fragile(claim: Claim) -> str:
    return (
        "Over these regimes, new batches carry a run at least halfway to another seed "
        f"{_where(claim.status)}: in the base regime {_number(claim)} of the distance "
        f"({HALFWAY:g} is halfway)."
    )


def _noisy(claim: Claim) -> str:
    if claim.status == CONFIRMED:
        found = "Leave-one-out is noisy, not broken"
    elif claim.status == REFUTED:
        found = "Leave-one-out is more than noisy"
    else:
        found = "Leave-one-out is noisy; whether that is all stays open"
    return (
        f"{found}: noise taken off, damped Gauss-Newton IF correlates {_number(claim)} with the "
        f"mean retrained shift, and {claim.statistic.rsplit(' ', 1)[-1]} with one retraining of "
        "fresh seeds."
    )


def _separates(claim: Claim) -> str:
    return (
        "Over six cases, LDS of W2 sets methods further apart than LDS of the mean "
        f"{_where(claim.status)}: the least gain of spread is {_number(claim)}, 0 if both separate "
        "alike."
    )


def _where(status: str) -> str:
    """In how many of the regimes or cases that a sentence has named."""
    found = {CONFIRMED: "in all of them", PARTLY: "in some of them", REFUTED: "in none of them"}
    return found.get(status, "in none of them beyond error")


# ---------------------------------------------------------------- sentences on tables


def map_words(targets: pd.DataFrame) -> Markdown:
    """In how many regimes influence fits the law better than each own run, beyond error.

    `targets`: `tables.targets`.
    """
    rows = targets[targets["method"] == "if_damped"]
    sentences = []
    for name in ("deleted", "re-shuffled", "masked"):
        here = rows[rows["target"] == f"{LAW} - {name}"]
        law, own = here[here["low"] > 0], here[here["high"] < 0]
        sentences.append(
            f"**Own run {name}**: damped influence fits the law better in {len(law)} of "
            f"{len(here)} regimes, the own run in {len(own)} ({_regimes(own)})."
        )
    return bullets(sentences)


def _regimes(rows: pd.DataFrame) -> str:
    return joined(f"{r.data} {r.rate:g}, {r.steps:,} steps" for r in rows.itertuples())


def blind_words(table: pd.DataFrame) -> Markdown:
    """Which scores are not told from permuted subsets, by setting and size; from `lds_table`."""
    shown = table[table["metric"].isin(SHOWN_METRICS)]
    sentences = []
    for (setting, size), rows in shown.groupby(["setting", "size"], sort=False):
        blind = rows[rows["low"] <= rows["null"]]
        names = joined(
            f"{LOOKS[row.method].words} ({DELTAS[row.metric].tick})" for row in blind.itertuples()
        )
        sentences.append(
            f"**{upper(setting)}, {size} left out**: not shown to beat permuted subsets: {names}."
        )
    return bullets(sentences)
