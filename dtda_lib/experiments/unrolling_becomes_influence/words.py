"""The answer of notebook 06, made out of the evidence, and tables as readers see them."""

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, REFUTED
from dtda_lib.study.evidence import Evidence
from dtda_lib.study.tables import readable
from dtda_lib.study.wording import measured, percent

from .claims import PAPER_CORRELATION

FIGURE = "limit"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "06_unrolling_becomes_influence"
NAMES = {
    "pinv": "pseudo-inverse IF",
    "ggn": "Gauss-Newton IF",
    "damped": "exact Hessian, damped by 1 / sum of steps",
    "scale": "slope on pseudo-inverse IF",
    "smallest": "smallest eigenvalue",
    "slope": "gradient / one example's",
}


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the limit, usual runs, flat directions, linear models, where it fails."""
    names = (
        "C2-pinv",
        "C2-usual-pinv",
        "C2-usual-damped",
        "C3-null",
        "C4-logistic",
        "T8",
        "C2-step",
    )
    if not all(name in evidence for name in names):
        return []
    limit, usual, damped, null, linear, growth, step = (evidence[name] for name in names)
    rate = evidence["C4-rate-logistic"]
    becomes = {"confirmed": "is influence", "refuted": "is not influence yet"}
    stops = {"confirmed": "is as near", "refuted": "stops far before that"}
    matters = {"confirmed": "raise", "refuted": "do not raise"}
    apart = {
        "confirmed": "carry the same share of both predicted shifts: the shares differ",
        "refuted": "set the two apart: their share of the predicted shift differs",
    }
    open_yet = "may set the two apart: their share of the predicted shift differs"
    return [
        "Late, with decaying steps and near a minimum, unrolling "
        f"{becomes.get(limit.verdict, 'may not be influence yet')}: they correlate at "
        f"{limit.number()} (pseudo-inverse of the objective's Hessian; the paper: about "
        f"{PAPER_CORRELATION:g}).",
        f"A usual run {stops.get(usual.verdict, 'may stop before that')}: {usual.number()} with "
        f"the pseudo-inverse, and {damped.number()} once the Hessian is damped by 1 / sum of "
        "steps.",
        "After the same sum of steps, smaller steps "
        f"{matters.get(step.verdict, 'may raise')} the latter correlation (by {step.number()}).",
        f"Directions in which the data hardly curve {apart.get(null.verdict, open_yet)} by "
        f"{null.number()}.",
        f"In logistic regression unrolling ends {linear.number('%')} off the influence function, "
        f"and falls as a power {rate.number()} of the steps (theory: −1/2). Where single losses "
        "slope along a flat direction it grows like the sum of steps "
        f"({growth.number()} times that).",
    ]


def finding(evidence: Evidence) -> str | None:
    """What a stranger should know of this notebook; None where the evidence does not say it."""
    limit, usual = (evidence.verdict_of(name) for name in ("C2-pinv", "C2-usual-pinv"))
    if limit != CONFIRMED or usual != REFUTED:
        return None
    return (
        "**Unrolling a training becomes the influence function, long after training usually "
        "ends.** Near a minimum, with decaying steps, the two correlate at "
        f"{evidence['C2-pinv'].number()}; after a usual training of the same network at "
        f"{evidence['C2-usual-pinv'].number()}."
    )


def regime_table(late: pd.DataFrame, passed: pd.DataFrame) -> pd.DataFrame:
    """The long training at its end, and from when on each correlation stays above a level.

    `late`: `network.in_regime`; `passed`: `network.passing_table`.
    """
    shown = readable(
        late.replace({"quantity": NAMES}),
        {"at the last step": "quantity", "mean over runs": ("estimate", "low", "high")},
    )
    for level, part in passed.groupby("level"):
        at = dict(zip(part["curvature"].map(NAMES), part["folds"]))
        shown[f"above {level:g} from"] = [
            "" if name not in at else "never" if pd.isna(at[name]) else f"{at[name]:.1f}"
            for name in shown["at the last step"]
        ]
    return shown


def size_words(table: pd.DataFrame) -> pd.DataFrame:
    """`sizes.size_table` as readers see it."""
    columns = {
        "network": "setting",
        "parameters": "parameters",
        "weight decay × sum of steps": "folds",
        NAMES["pinv"]: ("estimate", "low", "high"),
        NAMES["ggn"]: ("ggn", "ggn_low", "ggn_high"),
        NAMES["smallest"]: ("smallest", "smallest_low", "smallest_high"),
        NAMES["slope"]: "slope",
    }
    return readable(table, columns)


def counted_words(late: pd.DataFrame) -> str:
    """How many runs the theorem speaks about."""
    row = late.iloc[0]
    return (
        f"{row['n']:.0f} of {row['runs']:.0f} runs ({percent(row['n'] / row['runs'])}) meet all "
        f"three conditions at the last step, at weight decay x sum of steps "
        f"{measured(float(row['folds']))}."
    )
