"""The answer of notebook 04, and the sentences below its tables, made out of the numbers."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.evidence import Evidence, Finding
from dtda_lib.study.markdown import folded
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import counted, grouped, joined, number, percent, told, upper

from .claims import WELL
from .digits import ALPHA
from .line import delta_words
from .predictions import PREDICTED

_NOTEBOOK = "04_variance_changing_examples"

# ---------------------------------------------------------------- the answer


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the lone point, picks on a line, digits twice, and what predicts them."""
    pairs = evidence.table(_NOTEBOOK, "volcano")
    single = pairs[pairs["what"] == "single digits"]
    found = single["state"].isin(["found", "survives"]).sum()
    again, variance, w2 = (evidence[f"C{key}"] for key in ("7-points", "6-variance", "6-w2"))
    chance = evidence.standing("C7").headline.expected
    low, high = sorted(_factors(evidence.table(_NOTEBOOK, "examples")))
    return [
        f"{_lone(evidence.table(_NOTEBOOK, 'lone_bands'))}.",
        "On the line as drawn, mean and variance rank different points first "
        f"({variance.verdict}, {variance.number('%')} of resamples); for mean and W2 this is "
        f"{w2.verdict} ({w2.number('%')}).",
        f"Of {len(single):,} pairs of a digit and a query, {found} change their variance alone; "
        f"fresh seeds find {again.number('%')} of these again ({chance}).",
        f"The two largest such changes multiply the variance by {number(low)} and {number(high)}.",
        f"Changes of variance are predicted before retraining {_predicted(evidence)}; numbers are "
        f"correlations, the criterion is {WELL:g}.",
    ]


def _lone(bands: pd.DataFrame) -> str:
    """What becomes of predictions at the place of the lone point, the last of the line."""
    last = bands[(bands["point"] == bands["point"].max()) & (bands["x"] == bands["x"].max())]
    rows = last.set_index("law")
    before, after = rows.loc["before"], rows.loc["after"]
    return (
        "Without a lone point, built to show it, the standard deviation of the prediction at "
        f"x = {before['x']:g} goes from {number(before['sd'])} to {number(after['sd'])}; the mean "
        f"moves by {number(abs(after['mean'] - before['mean']))}"
    )


def _factors(examples: pd.DataFrame) -> list[float]:
    """Variance after over before, of the single digits."""
    single = examples[~examples["removed"].astype(str).str.contains("+", regex=False)]
    variances = single.groupby(["removed", "query", "law"])["margin"].var().unstack("law")
    return list(variances["after"] / variances["before"])


def _predicted(evidence: Evidence) -> str:
    verdicts = {"confirmed": "by", "refuted": "not by"}
    found = {name: evidence[f"C7-{name}-predicted"] for name in PREDICTED}
    told = grouped(
        (verdicts.get(one.verdict, "not decided for"), _scored(name, one))
        for name, one in sorted(found.items(), key=lambda item: -(item[1].claim.estimate or 0))
    )
    return ", ".join(f"{verdict} {joined(names)}" for verdict, names in told.items())


def _scored(name: str, finding: Finding) -> str:
    return f"{METHODS[name].label} ({finding.number()})"


# ---------------------------------------------------------------- a line


def lone_words(bands: pd.DataFrame) -> Markdown:
    """Spread and mean at the place of the lone point; `bands` is what `plots.bands` returns."""
    return Markdown(f"{_lone(bands)}.")


def draw_words(judged: pd.DataFrame) -> Markdown:
    """In how many other draws of the line the mean picks another point; `claims.judged_rivals`."""
    draws = judged[judged["line"].str.startswith("draw")]
    parts = []
    for influence, rows in draws.groupby("influence", sort=False):
        counts = rows["status"].value_counts()
        told = joined(f"{status} in {counts[status]}" for status in sorted(counts.index))
        parts.append(f"for {influence} {told}")
    return Markdown(
        f"That the mean picks another point, in {counted(draws['line'].nunique(), 'other draw')} "
        f"of the line: {'; '.join(parts)}."
    )


def score_matrix(scores: pd.DataFrame) -> pd.DataFrame:
    """Correlation of predicted and true influence with its interval: method x influence."""
    cells = [told(row, "correlation") for _, row in scores.iterrows()]
    shown = scores.assign(correlation=cells)
    table = shown.pivot(index="method", columns="delta", values="correlation")
    table = table.loc[scores["method"].unique(), scores["delta"].unique()]
    names = [METHODS[method].label for method in table.index]
    return table.set_axis(names).set_axis([upper(delta_words(d)) for d in table.columns], axis=1)


def kept_words(kept: pd.DataFrame) -> Markdown:
    """Shares predicted of the larger half of the mean shifts, against 1 - h and against 1."""
    large = kept[kept["true_shift"] >= kept["true_shift"].median()]
    parts = []
    for method, part in large.groupby("method", sort=False):
        low, middle, high = part["kept"].quantile([0.25, 0.5, 0.75])
        off = [
            float(((part["kept"] - expected) ** 2).mean() ** 0.5)
            for expected in (1 - part["leverage"], 1.0)
        ]
        nearer = "1 − h" if off[0] < off[1] else "1"
        parts.append(
            f"{METHODS[method].label} {middle:.2f} ({low:.2f} to {high:.2f}), nearer to {nearer}"
        )
    return Markdown(
        "Share of a point's mean shift that is predicted, median and quartiles over the half of "
        f"the points that shift it most: {'; '.join(parts)}."
    )


# ---------------------------------------------------------------- digits


def null_words(null: float) -> Markdown:
    """Whether the test of variances is honest; `digits.null_share`."""
    return Markdown(
        f"Where runs are exchanged at random, {percent(null, 1)} of the pairs have p ≤ {ALPHA:g}; "
        f"an honest test gives {percent(ALPHA)}."
    )


def stacked(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of the same columns below each other, with the name of each before its rows."""
    return pd.concat(tables).droplevel(1)


def folded_table(summary: str, table: pd.DataFrame, digits: int = 3) -> Markdown:
    """A table that a reader unfolds."""
    return Markdown(folded(summary, table.round(digits).to_html()))
