"""The answer of notebook 04, made out of the evidence, and a sentence on the lone point."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.claims import CONFIRMED, Claim
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import joined, measured, number, percent

from .claims import EXPLAINED
from .line import RELEVANT, delta_words
from .predictions import PREDICTED

FIGURE = "lone_bands"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "04_variance_changing_examples"


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the lone point, lines, digits with their base rate, examples, prediction.

    None where the evidence on file does not know the claims of today.
    """
    profile = evidence.profile(_NOTEBOOK) or EVIDENCE
    claims = {f.claim.id: f.claim for f in evidence.of(_NOTEBOOK) if f.profile == profile}
    if "R7" not in claims:
        return []
    tables = {name: evidence.table(_NOTEBOOK, name, profile) for name in (FIGURE, "examples")}
    w2, variance = claims["C6-w2"], claims["R7"]
    return [
        f"{_lone(tables[FIGURE])}.",
        f"On {measured(w2.estimate, w2.ci, '%')} of {w2.n} random lines W2 names another point "
        f"than the mean does, one whose W2 influence is at least {percent(RELEVANT)} larger; the "
        f"variance does so on {measured(variance.estimate, variance.ci, '%')}.",
        _digits(claims["C7-points"], claims["T-mean-neutral"]),
        f"The two largest such changes, chosen on other seeds, multiply the spread by "
        f"{joined(number(factor) for factor in _factors(tables['examples']))}.",
        _predicted(claims),
    ]


def finding(evidence: Evidence) -> str | None:
    """What a stranger should know of this notebook; None where the evidence does not say it."""
    if evidence.verdict_of("C6-variance-lone") != CONFIRMED or "C7-points" not in evidence:
        return None
    return (
        "**A training point can change how sure a model is far more than what it says.** "
        f"{_lone(evidence.table(_NOTEBOOK, FIGURE))}. Single digits seldom do this: of the pairs "
        f"whose mean stays, {evidence['C7-points'].number('%')} change their spread by more than "
        f"{percent(RELEVANT)}."
    )


def lone_words(bands: pd.DataFrame) -> Markdown:
    """Spread and mean at the place of the lone point; `bands` is what `plots.bands` returns."""
    return Markdown(f"{_lone(bands)}.")


def named_by(picks: Mapping[str, int]) -> dict[str, int]:
    """Who names a point -> the point; influences that name the same one share an entry.

    >>> named_by({"mean": 5, "variance": 38, "w2": 5})
    {'named by mean and W2 of normal laws': 5, 'named by variance': 38}
    """
    found: dict[int, list[str]] = {}
    for delta, point in picks.items():
        found.setdefault(point, []).append(delta_words(delta))
    return {f"named by {joined(names)}": point for point, names in found.items()}


def _lone(bands: pd.DataFrame) -> str:
    """What becomes of predictions at the place of the lone point, the last of the line."""
    last = bands[(bands["point"] == bands["point"].max()) & (bands["x"] == bands["x"].max())]
    rows = last.set_index("law")
    before, after = rows.loc["before"], rows.loc["after"]
    moved = abs(after["mean"] - before["mean"]) / before["sd"]
    return (
        "Removing one point that lies on the trend of the others takes the spread of the "
        f"prediction at x = {before['x']:g} from {number(before['sd'])} to {number(after['sd'])} "
        f"and its mean from {number(before['mean'])} to {number(after['mean'])}, "
        f"{number(moved)} of the first spread (built to show it)"
    )


def _digits(points: Claim, special: Claim) -> str:
    others = points.estimate - special.estimate
    low, high = special.ci
    verdict = "more often" if low > 0 else "less often" if high < 0 else "about as often"
    reading = {
        "more often": "such pairs are special",
        "less often": "such pairs are no special class: there, the mean merely crosses zero",
        "about as often": "whether the mean stays says little about the spread",
    }
    return (
        f"Of the pairs of a digit and a query whose mean stays, "
        f"{measured(points.estimate, points.ci, '%')} change their spread by more than "
        f"{percent(RELEVANT)}, {verdict} than the other pairs ({measured(others, unit='%')}); "
        f"{reading[verdict]}."
    )


def _factors(examples: pd.DataFrame) -> list[float]:
    """Spread after over before of the single digits, the first two."""
    single = examples[~examples["removed"].astype(str).str.contains("+", regex=False)]
    spreads = single.groupby(["removed", "query", "law"], sort=False)["margin"].std().unstack("law")
    return list((spreads["after"] / spreads["before"]).head(2))


def _predicted(claims: Mapping[str, Claim]) -> str:
    found = {name: claims[f"C7-{name}-predicted"] for name in PREDICTED}
    told = [
        f"{METHODS[name].label} {measured(claim.estimate, claim.ci, '%')}"
        for name, claim in sorted(found.items(), key=lambda item: -item[1].estimate)
    ]
    return (
        "Of what retraining explains of the changes of the variance, predictions explain "
        f"{joined(told)}; {percent(EXPLAINED)} is the criterion."
    )
