"""The answer of notebook 11, made out of the evidence, and the verdicts below its tables."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.claims import CONFIRMED, REFUTED
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.wording import bullets, joined, measured

from .methods import FALSE_DISCOVERIES, screening

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
    told = {CONFIRMED: "keeps its promise", REFUTED: "promises too much"}
    return told.get(status, "is not shown to keep its promise")


def _screened(curves: pd.DataFrame, k: int) -> str:
    n = int(curves["k"].max())
    at = curves[(curves["k"] == k) & curves["method"].isin(["if_ggn", "grad_dot"])]
    better = bool((at["low"] > k / n).all())
    shares = joined(
        f"{measured(row['share'], (row['low'], row['high']), '%')} by "
        f"{screening(row['method']).words}"
        for _, row in at.iterrows()
    )
    return (
        f"Screening {'spares much of the retraining' if better else 'is not shown to help'}: the "
        f"first {k} of {n} points hold {shares} of each query's most influential points, and "
        f"{measured(k / n, unit='%')} at random."
    )


def power_words(
    powers: pd.DataFrame, beyond: Mapping[str, float], target: float, limit: float
) -> Markdown:
    """Whether the plan holds beyond its limit, and where fewer pairs are found than planned.

    Args:
        powers: `judged.power_table`.
        beyond: `judged.found_beyond`.
        target: Power that the plan promises at its limit.
        limit: |μ|/σ from which on it promises that.
    """
    found = measured(beyond["estimate"], (beyond["low"], beyond["high"]), "%")
    below = powers[powers["high"] < powers["planned"]]
    places = joined(f"{row['from']:g} to {row['to']:g} σ" for _, row in below.iterrows())
    fewer = f"Fewer are found than planned at {places}: noise lifts small pairs into a larger bin."
    return Markdown(
        f"Of the pairs beyond the limit of the plan ({limit:.2f} σ) {found} are found; "
        f"{measured(target, unit='%')} are promised at the limit. {fewer if len(below) else ''}"
    )


def holding_words(holding: pd.DataFrame, q: float) -> Markdown:
    """What becomes of picked pairs on fresh seeds. `holding`: `judged.holding_table`."""
    rows = holding.set_index(["set", "what"])

    def told(which: str) -> str:
        if rows.loc[which, "estimate"].isna().any():
            return "a set has none: take more seeds"
        wrong, kept = (
            measured(row["estimate"], (max(row["low"], 0), row["high"]), "%")  # t: may be below 0
            for row in (rows.loc[(which, what)] for what in ("wrong sign", "kept"))
        )
        return f"{wrong} have the other sign and {kept} of their size is kept"

    wrong = rows.loc[("reliable", "wrong sign")]
    verdict = "fewer than" if wrong["high"] < q else "not shown to be fewer than"  # NaN: not shown
    return bullets(
        [
            f"**Reliable pairs**: {told('reliable')}; {verdict} the "
            f"{measured(q, unit='%')} that were allowed.",
            f"**The largest shift of each query**, without any test: {told('largest')}. Where "
            "noise dominates (notebook 01) that choice is not safe.",
        ]
    )


def control_words(hits: pd.DataFrame, n_rest: int, n_seeds: int) -> Markdown:
    """What random controls say about the points that were not picked.

    Args:
        hits: `ask.answer.hits`.
        n_rest: Points that the screening did not pick.
        n_seeds: Seeds of the confirmation.
    """
    random = hits.set_index("set").loc["random"]
    return Markdown(
        f"The controls speak for all {n_rest} images that were not picked: between "
        f"{measured(random['low'], unit='%')} and {measured(random['high'], unit='%')} of them "
        f"would pass the same test. More controls would narrow that. A hollow mark may be a real "
        f"shift that {n_seeds} seeds cannot show."
    )
