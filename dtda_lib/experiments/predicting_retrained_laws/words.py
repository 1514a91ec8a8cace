"""The answer of notebook 05, made out of the evidence."""

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, PARTLY, REFUTED
from dtda_lib.study.evidence import EVIDENCE, Evidence, Finding
from dtda_lib.study.wording import measured, told

from .methods import OTHER, looks
from .tables import CONCRETE, DIGITS

FIGURE = "group_size"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "05_predicting_retrained_laws"
_DAMPED = "if_damped"
_VERDICTS = {
    CONFIRMED: "Yes: predicted laws are nearer to those of retrained models than no change is, and "
    "than what is predicted for another group",
    PARTLY: "In part: predicted laws beat either no change or the prediction for another group, or "
    "both at some sizes of groups alone",
    REFUTED: "No: predicted laws are not nearer to those of retrained models, by a margin that "
    "matters",
}
_EARLIER = (
    "The evidence on record is that of an earlier form of this notebook, with smaller data and "
    "other rules; it is due to be made anew."
)
_OPEN = "It is open whether predicted laws are nearer to those of retrained models"


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the law, the mean by size, where first order breaks, spread.

    Of a run of an earlier form of the notebook it only says that it is one.
    """
    profile = evidence.profile(_NOTEBOOK) or EVIDENCE
    of = {f.claim.id: f for f in evidence.of(_NOTEBOOK) if f.profile == profile}
    needed = ("C1-unrolling-w2", "C1-if_damped-w2", "R8", "T-unrolling-network")
    if any(name not in of for name in needed):
        return [_EARLIER] if of else []
    law, influence, spread, point = (of[name] for name in needed)
    errors = evidence.table(_NOTEBOOK, FIGURE, profile)
    groups = errors[errors["size"].str.contains("%")].set_index(["task", "estimator"])
    own, other = (groups.loc[[(CONCRETE, name)]] for name in ("unrolling", OTHER))
    few, many = (own.iloc[place] for place in (0, -1))
    return [
        f"{_VERDICTS.get(law.claim.status, _OPEN)}.",
        f"The law that unrolling predicts wins at {law.number('%')} of queries, that of "
        f"{looks('if_damped').label} at {influence.number('%')} (chance: 50 %).",
        f"Unrolling misses {_error(few)} of the change of means when {few['size']} of the points "
        f"go, and {_error(many)} when {many['size']} go; its prediction for another group then "
        f"misses {measured(other['error'].iloc[-1], unit='%')}. {_on_digits(groups)}",
        f"Of a single point's shift a first order predicts about 1 − leverage ({_off(point)}).",
        f"Of the squared change of the spread, unrolling explains {spread.number('%')}.",
    ]


def finding(evidence: Evidence) -> str | None:
    """Unrolling predicts whole laws, and their spread; None unless C1 and R8 are confirmed."""
    names = ("C1-unrolling-w2", "R8")
    if {evidence.verdict_of(name) for name in names} != {CONFIRMED}:
        return None
    law, spread = (evidence[name] for name in names)
    return (
        "**What retraining would do to the whole law can be predicted without retraining.** On "
        "UCI Concrete, the law that unrolling predicts is nearer to the true one than no change "
        f"is, and than the prediction for another group, at {law.number('%')} of queries. It "
        f"explains {spread.number('%')} of the squared change of the spread."
    )


def _on_digits(groups: pd.DataFrame) -> str:
    """What the largest removal does to predictions on digits, beside the prediction for another."""
    most = {name: groups.loc[[(DIGITS, name)]].iloc[-1] for name in ("unrolling", _DAMPED, OTHER)}
    size = most[OTHER]["size"]
    beaten = most[_DAMPED]["error_low"] > most[OTHER]["error_high"]
    return (
        f"On digits, when {size} go, unrolling misses {_error(most['unrolling'])}, "
        f"{looks(_DAMPED).label} {_error(most[_DAMPED])}, "
        f"{'more than' if beaten else 'beside'} the prediction for another group, "
        f"{_error(most[OTHER])}."
    )


def _error(row: pd.Series) -> str:
    return told(row, "error", "%")


def _off(point: Finding) -> str:
    return f"unrolling is off by {point.number()}"
