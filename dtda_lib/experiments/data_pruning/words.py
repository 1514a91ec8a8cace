"""The answer of notebook 09, and what its tables say beyond their numbers.

Differences of accuracy are told in percentage points, with 95 % t intervals over evaluation seeds.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.evidence import Evidence
from dtda_lib.study.tables import ends
from dtda_lib.study.wording import bullets, joined, measured, percent, side, told

from .methods import PRUNING_ESTIMATORS, method_of
from .plots import QUESTIONS, STRATEGIES
from .strategies import ESTIMATOR, NONE, OTHER, SAME, TRUTH

NAMES = {
    **STRATEGIES,
    NONE: "all points",
    **{name: method_of(name).label for name in PRUNING_ESTIMATORS},
    "own": "a single model",
    "mean": "average",
    "risk": "average + spread",
}
"""Strategy, estimator or ranking in tables -> its display name."""
FIGURE = "gains"
"""The figure that shows the answer at a glance."""
_NOTEBOOK = "09_data_pruning"
_WHOSE = {SAME: "scores of the same seeds", OTHER: "scores of other seeds"}
_ALPHA = 0.05


def answer(evidence: Evidence) -> list[str]:
    """Four sentences: wrong labels, right labels, what lists hold, and two yardsticks.

    All scores are those of the retrained seeds' own models, as in the paper's figure.
    Empty where nothing has been run.
    """
    profile = evidence.profile(_NOTEBOOK)
    if profile is None:
        return []
    gains = evidence.table(_NOTEBOOK, "gains", profile).set_index(["panel", "strategy"])
    wrong, right = (gains.loc[panel] for panel in gains.index.unique("panel")[:2])
    order = {case: evidence[f"C10-order-same-{case}"].claim for case in ("noise", "clean")}
    planted = evidence[f"T-noise-{ESTIMATOR}"].claim
    lists = evidence.table(_NOTEBOOK, "precision", profile)
    lists = lists[(lists["estimator"] == ESTIMATOR) & (lists["k"] == planted.n)]
    own, mean = (lists[lists["ranking"] == name].iloc[0] for name in ("own", "mean"))
    helped = {"above": "pruning helps, too", "below": "pruning harms"}
    helps = side(right.loc["same_mean"], 0, **helped, unclear="no gain is shown")
    ahead = {case: _points(claim.estimate, claim.ci) for case, claim in order.items()}
    return [
        "With a tenth of the labels wrong, pruning by scores averaged over seeds changes test "
        f"accuracy by {_of(wrong.loc['same_mean'])}; a single model's scores, by "
        f"{_of(wrong.loc['same_own'])} (difference: {ahead['noise']}).",
        f"With all labels right, {helps}: {_of(right.loc['same_mean'])} by averaged "
        f"scores, {_of(right.loc['random'])} by as many points at random.",
        f"Of the first {planted.n} points, a single model's list holds "
        f"{told(own, 'precision', '%')} wrong labels, the averaged list "
        f"{told(mean, 'precision', '%')}, a random one "
        f"{percent(mean['chance'])}.",
        "Yardsticks: removing the wrong labels themselves brings "
        f"{_of(wrong.loc[TRUTH])}; removing the points of highest average training loss, "
        f"{_of(wrong.loc['other_mean_loss'])}.",
    ]


def _points(estimate: float, ci: tuple[float, float]) -> str:
    """A difference of accuracy: "+4.4 points [3.1, 5.6]"."""
    sign = "+" if estimate > 0 else ""
    return sign + measured(100 * estimate, [100 * end for end in ci], "points")


def _of(row: Mapping[str, Any]) -> str:
    return _points(row["estimate"], ends(row))


def share_of_truth_words(gains: pd.DataFrame) -> Markdown:
    """How much of what removing the wrong labels brings, scores bring. `gains`: `gain_table`."""
    rows = gains.set_index("strategy")["estimate"]
    if gains.set_index("strategy").loc[TRUTH, "low"] <= 0:
        return Markdown("Removing the wrong labels themselves is not shown to help.")
    own, mean = (percent(rows[f"{OTHER}_{name}"] / rows[TRUTH]) for name in ("own", "mean"))
    return Markdown(
        "Of what removing the wrong labels themselves brings, scores of one other model bring "
        f"{own}, averages over other models {mean}."
    )


def corrected_words(differences: Mapping[str, pd.DataFrame]) -> Markdown:
    """Which comparisons a correction for their number leaves. `differences`: by labels."""
    n_tests = sum(map(len, differences.values()))
    kept = []
    for labels, table in differences.items():
        left = table[table["p"] * n_tests < _ALPHA]
        names = joined(
            f"{QUESTIONS[row.question]} ({_WHOSE[row.whose]})" for row in left.itertuples()
        )
        kept.append(f"**{labels.capitalize()}**: {names}.")
    head = f"Of all {n_tests} comparisons, Bonferroni-corrected sign-flip tests leave:"
    return Markdown(f"{head}\n\n{bullets(kept).data}")


def prediction_words(predicted: Mapping[str, pd.DataFrame]) -> Markdown:
    """What selection promises too much, how sums compare with what is observed, and test loss.

    `predicted`: `predicted_removals_table` by labels.
    """
    sentences = []
    for labels, table in predicted.items():
        rows = table.set_index("strategy")
        own, mean = rows.loc[f"{OTHER}_own"], rows.loc[f"{OTHER}_mean"]
        kept = [percent(row["predicted"] / row["selected"]) for row in (own, mean)]
        low, high = ends(mean, "test")
        words = {"above": "a rise", "below": "a fall", "unclear": "no change shown"}
        shown = side({"low": low, "high": high}, 0, **words)
        sentences.append(
            f"**{labels.capitalize()}.** Of a single model's promise {kept[0]} is left, of an "
            f"average's {kept[1]}. For the averaged list of other seeds the validation loss moves "
            f"{mean['validation'] / mean['predicted']:.1f} times the predicted sum, the test loss "
            f"by {told(mean, 'test', 'nats')}: {shown}."
        )
    return bullets(sentences)
