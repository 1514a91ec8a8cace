"""What the tables of "your own model" say, in sentences made out of them.

No result in the notebook's text is typed: where it changes, its sentence does. Each function takes
tables of `judged` or `dtda_lib.ask` and returns Markdown.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from IPython.display import Markdown

from .methods import screening


def _list(sentences: list[str]) -> Markdown:
    return Markdown("\n".join(f"* {sentence}" for sentence in sentences))


def found_words(reliable: np.ndarray, n_seeds: int) -> Markdown:
    """How many pairs are reliable. `reliable`: truth values of all pairs."""
    return Markdown(
        f"{n_seeds} seeds call {int(np.sum(reliable)):,} of {np.size(reliable):,} pairs reliable "
        f"({np.mean(reliable):.0%})."
    )


def power_words(powers: pd.DataFrame, beyond: Mapping[str, float], target: float) -> Markdown:
    """Where fewer pairs are found than planned, and what becomes of those beyond the limit.

    Args:
        powers: `judged.power_table`.
        beyond: `judged.found_beyond`.
        target: Power that the plan promises at its limit.
    """
    gap = powers["estimate"] - powers["planned"]
    below = powers[powers["high"] < powers["planned"]]
    places = [f"{row['from']:g} to {row['to']:g} σ" for _, row in below.iterrows()]
    return Markdown(
        f"Between plan and finding lie at most {gap.abs().max():.2f}; beyond their intervals fewer "
        f"are found than planned at {', '.join(places) or 'no size'}. That is expected where it "
        "happens: the size of a pair on the other seeds is an estimate itself, and of many small "
        "pairs noise lifts some into a bin above their own. Of the pairs *beyond* the limit of the "
        f"plan {beyond['estimate']:.0%} are found; the plan promises {target:.0%} *at* it."
    )


def holding_words(holding: pd.DataFrame, q: float) -> Markdown:
    """What becomes of picked pairs on fresh seeds. `holding`: `judged.holding_table`."""
    rows = holding.set_index(["set", "what"])

    def told(which: str) -> str:
        wrong, kept = rows.loc[(which, "wrong sign")], rows.loc[(which, "kept")]
        return (
            f"{wrong['estimate']:.1%} have the other sign [{max(wrong['low'], 0):.1%}, "
            f"{wrong['high']:.1%}] and {kept['estimate']:.0%} of their size is kept "
            f"[{kept['low']:.0%}, {kept['high']:.0%}]"
        )

    wrong = rows.loc[("reliable", "wrong sign")]
    verdict = "fewer than" if wrong["high"] < q else "not shown to be fewer than"
    return _list(
        [
            f"**Reliable pairs**: {told('reliable')}; {verdict} the {q:.0%} that were allowed.",
            f"**The largest shift of each query**, without any test: {told('largest')}. Where "
            "noise dominates (notebook 01) that is no safe choice, and a table of means does not "
            "tell which case one is in.",
        ]
    )


def screening_words(curves: pd.DataFrame, k: int, share: float = 0.9) -> Markdown:
    """What the first k points of each screening hold, and how many points a larger share takes.

    `curves`: `judged.screening_curves`.
    """
    n = int(curves["k"].max())
    parts, needed = [], []
    for method, rows in curves.groupby("method", sort=False):
        at = rows[rows["k"] == k].iloc[0]
        parts.append(
            f"{screening(method).words} {at['share']:.0%} [{at['low']:.0%}, {at['high']:.0%}]"
        )
        enough = rows[rows["share"] >= share]
        size = f"{int(enough['k'].min())}" if len(enough) else "not even all"
        needed.append(f"{size} by {screening(method).words}")
    return Markdown(
        f"The first {k} of {n} points hold, of those sought: {', '.join(parts)}; points drawn at "
        f"random would hold {k / n:.0%}. To hold {share:.0%} of them takes {', '.join(needed)}."
    )


def control_words(hits: pd.DataFrame, n_rest: int, n_seeds: int) -> Markdown:
    """What random controls say about the points that were not picked.

    Args:
        hits: `ask.answer.hits`.
        n_rest: Points that the screening did not pick.
        n_seeds: Seeds of the confirmation.
    """
    rows = hits.set_index("set")
    top, random = rows.loc["top"], rows.loc["random"]
    return Markdown(
        f"{int(top['matter'])} of {int(top['points'])} picked images matter for some query, and "
        f"{int(random['matter'])} of {int(random['points'])} drawn at random. The latter is what "
        f"speaks for all {n_rest} images that were not picked: the share of them that would pass "
        f"the same test lies anywhere between {random['low']:.0%} and {random['high']:.0%}, and "
        f"only more controls would narrow it. Hollow marks may be real shifts that {n_seeds} seeds "
        "cannot show."
    )
