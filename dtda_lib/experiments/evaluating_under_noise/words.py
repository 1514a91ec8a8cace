"""The answer of notebook 08, made out of the evidence, and verdicts on its tables."""

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.claims import CONFIRMED, REFUTED
from dtda_lib.study.evidence import Evidence
from dtda_lib.study.methods import DELTAS
from dtda_lib.study.wording import bullets, joined, percent, told, upper

from .claims import FITS
from .lds import LAWS, METRICS
from .methods import LOOKS

_NOTEBOOK = "08_evaluating_under_noise"
_SETTINGS = ("Concrete", "digits")


# ---------------------------------------------------------------- the answer


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: noise, pairing, the target, a fixed seed, and LDS of laws."""
    curves = evidence.table(_NOTEBOOK, "correlation_curves")
    damped = evidence["C8-concrete-if_damped"]
    return [
        f"{_noisy(damped.verdict)}: on Concrete damped Gauss-Newton IF correlates "
        f"{_first(curves, 'unpaired')} with one retraining of fresh seeds, {damped.number()} with "
        "the mean over seeds, noise taken off.",
        "With one retraining that shares the seeds of a full-data run it correlates "
        f"{_first(curves, 'paired, other seeds')}.",
        f"{_target(evidence)}.",
        f"{_fragile(evidence.table(_NOTEBOOK, 'fragility'))}.",
        f"{_separates(evidence)}.",
    ]


def _first(curves: pd.DataFrame, protocol: str) -> str:
    """Observed correlation of one run, damped influence on Concrete, with its interval."""
    chosen = (curves["setting"] == "Concrete") & (curves["method"] == "if_damped")
    rows = curves[chosen & (curves["protocol"] == protocol) & (curves["runs"] == 1)]
    return told(rows.iloc[0], "observed")


def _noisy(verdict: str) -> str:
    if verdict == CONFIRMED:
        return "Leave-one-out is noisy, not broken"
    if verdict == REFUTED:
        return "Leave-one-out is more than noisy"
    return "Leave-one-out is noisy; whether that is all stays open"


def _target(evidence: Evidence) -> str:
    """Whether one model's influence fits the law better than its own run without the point."""
    gains = [f"{name} {evidence[f'C12-{name.lower()}-if_damped'].number()}" for name in _SETTINGS]
    own = evidence["C12-concrete-if_damped"].claim.ci
    how = "better" if own[1] < 0 else "worse" if own[0] > 0 else "as well"
    return (
        f"On Concrete one model's influence fits its own run, with the point masked, {how} "
        f"{'as' if how == 'as well' else 'than'} the law (correlation with the law - with the own "
        f"run: {joined(gains)}); own runs with the point deleted have not been tested"
    )


def _fragile(moved: pd.DataFrame) -> str:
    """What moves a run of a fixed seed at the largest learning rate."""
    rows = moved[(moved["space"] == "predictions") & (moved["rate"] == moved["rate"].max())]
    at = rows.set_index("intervention")
    masked, batches = at.loc["masked"], at.loc["batches alone"]
    more = batches["low"] > masked["high"]
    how = "undo a fixed seed more" if more else "do not clearly undo a fixed seed more"
    return (
        f"New batches {how} than a lost point: at a rate of {at['rate'].iloc[0]:g} they move a run "
        f"{told(batches)} of the distance between two seeds, a masked point {told(masked)}"
    )


def _separates(evidence: Evidence) -> str:
    finding = evidence["C9-separation-w2_debiased-with-unit"]
    where = {
        CONFIRMED: "in all four settings",
        REFUTED: "in none of four settings",
        "partly": "in a part of four settings",
    }.get(finding.verdict, "in no setting beyond error")
    return (
        f"LDS of W2 sets methods further apart than LDS of the mean {where}: the least gain of "
        f"spread is {finding.number()}, 0 if both separate alike"
    )


# ---------------------------------------------------------------- verdicts on tables


def factor_words(curves: pd.DataFrame, factors: pd.DataFrame) -> Markdown:
    """Whether noise that is a factor can be why the law misses: where there is more of it."""
    unpaired = curves[curves["protocol"] == "unpaired"]
    off = (unpaired["observed"] - unpaired["law"]).abs().groupby(unpaired["setting"]).max()
    share = factors[factors["of"] == "retrained"].set_index("setting")["factor"]
    shares = "; ".join(
        f"{percent(share[name])} on {name}, where the law misses by at most {off[name]:.2f}"
        for name in share.index
    )
    if off.max() < FITS:
        so = "so noise that is a factor does not make the law miss here"
    elif share.idxmax() == off.idxmax():
        so = "so it may be why the law misses, where it does"
    else:
        so = (
            "so it is hardly why the law misses where it does: there is more of it where the law "
            "holds. Parts that are estimated from few runs are the likelier cause"
        )
    return Markdown(f"Of the noise of a retrained shift a factor makes up {shares}: {so}.")


def target_words(estimands: pd.DataFrame, wins: pd.DataFrame) -> Markdown:
    """Which methods fit the law better than their own run, and whether unrolling still wins.

    Args:
        estimands: `tables.targets`.
        wins: `tables.wins`.
    """
    gains = estimands[
        (estimands["scored"] == "one model") & (estimands["target"] == "law - own run")
    ]
    sentences = []
    for setting, rows in gains.groupby("setting", sort=False):
        better = rows[rows["low"] > 0].sort_values("estimate", ascending=False)
        fits = (f"{LOOKS[row['method']].words} ({told(row)})" for _, row in better.iterrows())
        across = wins[(wins["setting"] == setting) & (wins["target"] == "other run")]
        leads = (f"of {LOOKS[row['rival']].words} by {told(row)}" for _, row in across.iterrows())
        sentences.append(
            f"**{upper(setting)}**: better with the law than with the own run, beyond error: "
            f"{joined(fits, none='no method')}. On another run unrolling is ahead {joined(leads)}."
        )
    return bullets(sentences)


def blind_words(table: pd.DataFrame) -> Markdown:
    """Which scores are not told from permuted subsets, by setting and size; from `lds_table`."""
    shown = table[table["metric"].isin(METRICS)]
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


def separation_words(separation: pd.DataFrame) -> Markdown:
    """In how many cases a law's LDS separates or orders methods otherwise than the mean's."""
    sentences = []
    for among, group in separation.groupby("among", sort=False):
        methods = "All methods" if among == "all" else "Methods with a unit"
        for metric in LAWS:
            rows = group[group["metric"] == metric]
            more, less = (rows["low"] > 0).sum(), (rows["high"] < 0).sum()
            sentences.append(
                f"**{methods}, {DELTAS[metric].tick}**: further apart than by the mean in {more} "
                f"of {len(rows)} cases and nearer together in {less}; {rows['reversed'].sum()} of "
                f"{rows['pairs'].sum()} pairs of methods reversed beyond error."
            )
    return bullets(sentences)
