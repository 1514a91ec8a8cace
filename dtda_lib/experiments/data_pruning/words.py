"""What the tables of data pruning say, in sentences made out of them.

No result in the notebook's text is typed: where it changes, its sentence does. Each function takes
tables of `pruning_tables`, by labels where there are several, and returns Markdown.
"""

from collections.abc import Iterable, Mapping

import pandas as pd
from IPython.display import Markdown

from .methods import method_of
from .strategies import ESTIMATOR, OTHER, REST, SAME

_WHOSE = {SAME: "scores of the same seeds", OTHER: "scores of other seeds"}
_QUESTIONS = {
    "order": "Distributional against fixed-seed",
    "risk": "Risk-averse scores against the mean",
    "reuse": "The retrained seed among the scoring models, or not",
    "reuse_own": "A model's own list for its own seed, or for another",
    "loss": "Influence against training loss",
}
_ALPHA = 0.05


def _list(sentences: Iterable[str]) -> Markdown:
    return Markdown("\n".join(f"* {sentence}" for sentence in sentences))


def _points(row: pd.Series) -> str:
    """A difference of accuracy in percentage points, with its interval."""
    ends = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    return f"{100 * row['estimate']:+.1f} points {ends}"


def _verdict(row: pd.Series) -> str:
    if row["low"] > 0:
        return "ahead"
    return "behind" if row["high"] < 0 else "no difference shown"


def _named(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def found_words(at_k: pd.DataFrame, n_wrong: int) -> Markdown:
    """How many wrong labels averaged and single lists hold, and which estimators averaging helps.

    `at_k`: `precision_curves` at k = `n_wrong`.
    """
    at = at_k.set_index(["estimator", "ranking"])
    mean, own = at.xs("mean", level="ranking"), at.xs("own", level="ranking")
    chance = at["chance"].iloc[0] * n_wrong
    hits = [
        f"{round(row['precision'] * n_wrong)} by {method_of(name).words}"
        for name, row in mean.sort_values("precision", ascending=False, kind="stable").iterrows()
    ]
    helped = [n for n in mean.index if own.loc[n, "high"] < mean.loc[n, "precision"]]
    apart = [
        f"{method_of(a).words} above {method_of(b).words}"
        for a in mean.index
        for b in mean.index
        if mean.loc[a, "low"] > mean.loc[b, "high"]
    ]
    one = own.loc[ESTIMATOR]
    return _list(
        [
            f"**Wrong labels among the first {n_wrong} points of the averaged list**, of {n_wrong} "
            f"in all: {', '.join(hits)}; a random list holds {chance:.0f}. Training loss sees no "
            "validation point.",
            f"**A single model's list** ({method_of(ESTIMATOR).words}) has {one['precision']:.0%} "
            f"wrong labels [{one['low']:.0%}, {one['high']:.0%}], the averaged one "
            f"{mean.loc[ESTIMATOR, 'precision']:.0%}. Averaging helps, beyond the error of the "
            f"single models' mean: {_named(method_of(n).words for n in helped)}.",
            f"**Between averaged lists**: {_named(apart)} beyond their intervals, which are wide "
            f"because each is one list of {n_wrong} points.",
        ]
    )


def gain_words(gains: Mapping[str, pd.DataFrame], levels: pd.DataFrame) -> Markdown:
    """What each removal gains over training on all points, by labels.

    `gains`: `gain_table` by labels; `levels`: `level_table`s with the labels as first level.
    """
    sentences = []
    for labels, table in gains.items():
        rows = table.set_index("strategy")
        level = levels.loc[labels].set_index("strategy").loc["none", "accuracy"]
        ups = [f"`{n}` {_points(r)}" for n, r in rows.iterrows() if r["low"] > 0]
        downs = [f"`{n}` {_points(r)}" for n, r in rows.iterrows() if r["high"] < 0]
        told = (
            f"**{labels.capitalize()}** (accuracy {level:.1%} with all points). Shown to help: "
            f"{_named(ups)}. Shown to harm: {_named(downs)}."
        )
        if "truth" in rows.index and rows.loc["truth", "low"] > 0:
            full = rows.loc["truth", "estimate"]
            shares = {n: rows.loc[n, "estimate"] / full for n in ("other_own", "other_mean")}
            told += (
                " Of what removing the wrong labels themselves brings, scores of one other model "
                f"bring {shares['other_own']:.0%} and averages over others "
                f"{shares['other_mean']:.0%}."
            )
        gap = rows.loc[f"{SAME}_mean", "estimate"] - rows.loc[f"{OTHER}_mean", "estimate"]
        rest = rows.loc[REST, "estimate"] - rows.loc[f"{OTHER}_mean", "estimate"]
        told += (
            f" `same_mean` less `other_mean` is {100 * gap:+.1f} points, and {100 * rest:+.1f} if "
            "the retrained seed has no part in the list (`rest_mean`); each is *one* list, and "
            "intervals leave out which list was drawn."
        )
        sentences.append(told)
    return _list(sentences)


def question_words(differences: Mapping[str, pd.DataFrame]) -> Markdown:
    """Each question's verdict by labels and by whose scores; and what Bonferroni leaves."""
    n_tests = sum(map(len, differences.values()))
    sentences, kept = [], []
    for question, title in _QUESTIONS.items():
        parts = []
        for labels, table in differences.items():
            for _, row in table[table["question"] == question].iterrows():
                parts.append(f"{labels}, {_WHOSE[row['whose']]}: {_verdict(row)} ({_points(row)})")
        sentences.append(f"**{title}** (`{question}`): {'; '.join(parts)}.")
    for labels, table in differences.items():
        left = table[table["p"] * n_tests < _ALPHA]
        names = _named(f"`{row.question}` ({_WHOSE[row.whose]})" for row in left.itertuples())
        kept.append(f"{labels}: {names}")
    sentences.append(
        f"Of all {n_tests} comparisons above, Bonferroni-corrected sign-flip tests leave, "
        f"{'; '.join(kept)}."
    )
    return _list(sentences)


def overlap_words(overlaps: pd.DataFrame) -> Markdown:
    """How far lists of single models and of averages agree."""
    two, averages, chance = (overlaps[c] for c in ("two_models", "two_averages", "chance"))
    return Markdown(
        f"Single models agree on {two.min():.0%} to {two.max():.0%} of their lists, averages of "
        f"disjoint groups on {averages.min():.0%} to {averages.max():.0%}, chance on "
        f"{chance.mean():.0%}."
    )


def prediction_words(predicted: Mapping[str, pd.DataFrame]) -> Markdown:
    """What selection promises too much, how sums of shifts compare with what came, and test gains.

    `predicted`: `prediction_table` by labels.
    """
    sentences = []
    for labels, table in predicted.items():
        rows = table.set_index("strategy")
        own, mean = rows.loc[f"{OTHER}_own"], rows.loc[f"{OTHER}_mean"]
        kept = [f"{row['predicted'] / row['selected']:.0%}" for row in (own, mean)]
        ratio = mean["validation"] / mean["predicted"]
        shown = (
            "a fall"
            if mean["test_high"] < 0
            else "a rise"
            if mean["test_low"] > 0
            else "no change shown"
        )
        sentences.append(
            f"**{labels.capitalize()}.** Of what the scores that chose a list promise, the "
            f"evaluation seeds' own models predict {kept[0]} for a single model's list and "
            f"{kept[1]} for an average's. For the averaged list of other seeds the validation loss "
            f"moves {ratio:.1f} times the predicted sum ({mean['validation']:+.3f} against "
            f"{mean['predicted']:+.3f} nats), and the test loss by {mean['test']:+.3f} "
            f"[{mean['test_low']:+.3f}, {mean['test_high']:+.3f}]: {shown}."
        )
    return _list(sentences)
