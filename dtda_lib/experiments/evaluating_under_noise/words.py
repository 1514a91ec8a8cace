"""What the tables of evaluation under noise say, in sentences made out of them.

No number of the notebook's text is typed: where a result changes, its sentence does. Each function
takes tables of `evaluation_*` and returns Markdown.
"""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.methods import DELTAS
from dtda_lib.study.wording import joined, percent

from .claims import FITS
from .lds import LAWS
from .methods import LOOKS

_METRICS = {name: DELTAS[name].tick for name in ("mean", *LAWS)}


def _list(sentences: list[str]) -> Markdown:
    return Markdown("\n".join(f"* {sentence}" for sentence in sentences))


def curve_words(curves: pd.DataFrame, plateaus: pd.DataFrame) -> Markdown:
    """One run, the most runs and no noise, and how far the law misses, by setting."""
    sentences = []
    limits = plateaus.set_index(["setting", "method"])
    unpaired = curves[curves["protocol"] == "unpaired"]
    for setting, rows in unpaired.groupby("setting", sort=False):
        parts = []
        for method, part in rows.groupby("method", sort=False):
            first, last, limit = part.iloc[0], part.iloc[-1], limits.loc[(setting, method)]
            parts.append(
                f"{LOOKS[method].words} correlates by {first['observed']:.2f} with one "
                f"unpaired run, by {last['observed']:.2f} with the mean of {last['runs']}, and by "
                f"{limit['estimate']:.2f} ({limit['low']:.2f} to {limit['high']:.2f}) without noise"
            )
        off = (rows["observed"] - rows["law"]).abs().max()
        above = int((rows["observed"] > rows["law_high"]).sum())
        parts.append(
            f"the law misses by at most {off:.2f}, and {above} of {len(rows)} observed values lie "
            "above its band"
        )
        sentences.append(f"**{setting}**: {'; '.join(parts)}.")
    return _list(sentences)


def law_words(curves: pd.DataFrame) -> Markdown:
    """Whether the correlation grows with runs as the attenuation law predicts, by setting."""
    unpaired = curves[curves["protocol"] == "unpaired"]
    parts = []
    for setting, rows in unpaired.groupby("setting", sort=False):
        off = rows["observed"] - rows["law"]
        if off.abs().max() < FITS:
            parts.append(f"on {setting} as the law predicts from the noise alone")
        else:
            how = "faster" if off.loc[off.abs().idxmax()] > 0 else "more slowly"
            parts.append(f"on {setting} {how} than the law predicts")
    return Markdown(f"The correlation grows with the number of runs: {joined(parts)}.")


def factor_words(curves: pd.DataFrame, factors: pd.DataFrame) -> Markdown:
    """Whether noise that is a factor can be why the law misses: where there is more of it."""
    unpaired = curves[curves["protocol"] == "unpaired"]
    off = (unpaired["observed"] - unpaired["law"]).abs().groupby(unpaired["setting"]).max()
    share = factors[factors["of"] == "retrained"].set_index("setting")["factor"]
    told = "; ".join(
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
    return Markdown(f"Of the noise of a retrained shift a factor makes up {told}: {so}.")


def coupling_words(coupled: pd.DataFrame) -> Markdown:
    """How many runs paired seeds save."""
    parts = [
        f"{row.saved:.0f} (95 % interval {row.low:.0f} to {row.high:.0f}) on {row.setting}"
        for row in coupled.itertuples()
    ]
    return Markdown(f"A paired shift needs fewer runs by a factor of {' and '.join(parts)}.")


def target_words(
    estimands: pd.DataFrame, wins: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
) -> Markdown:
    """What one model's scores are good for, and how the metagradient fares on another run."""
    one = estimands[estimands["scored"] == "one model"]
    values = one.set_index(["setting", "method", "target"])["estimate"]
    sentences = []
    for setting, rivals in wins.items():
        parts = [
            f"{LOOKS[method].words} {values[setting, method, 'own run']:.2f} with its own run, "
            f"{values[setting, method, 'law']:.2f} with the law, "
            f"{values[setting, method, 'other run']:.2f} with another run"
            for method in ("if_damped", "unrolling", "retrained")
        ]
        leads = [
            f"{LOOKS[rival].words} by {found['other run']['estimate']:+.2f} "
            f"({found['other run']['low']:.2f} to {found['other run']['high']:.2f})"
            for rival, found in rivals.items()
        ]
        gains = one[(one["setting"] == setting) & (one["target"] == "law - own run")]
        better = gains[gains["low"] > 0].sort_values("estimate", ascending=False)
        named = ", ".join(
            f"{LOOKS[row.method].words} ({row.estimate:+.3f}, {row.low:+.3f} to {row.high:+.3f})"
            for row in better.itertuples()
        )
        parts.append(
            f"better with the law than with their own run, beyond error: {named or 'none'}"
        )
        sentences.append(
            f"**{setting}**: {'; '.join(parts)}. On another run, unrolling is ahead of "
            f"{' and of '.join(leads)}."
        )
    return _list(sentences)


def fragility_words(table: pd.DataFrame) -> Markdown:
    """How far runs move in predictions, from the smallest learning rate to the largest."""
    rows = table[table["space"] == "predictions"]
    sentences = []
    for rate, part in rows.groupby("rate"):
        share = part.set_index("intervention")["estimate"]
        deleted = (
            f", {share['smaller data']:.2f} with the point deleted"
            if "smaller data" in share
            else ""
        )
        sentences.append(
            f"**Learning rate {rate:g}**: of the distance between two seeds, a run goes "
            f"{share['masked']:.2f} without a point and {share['re-shuffled']:.2f} if the batches "
            f"are drawn anew as well{deleted}; new batches alone make {share['batches alone']:.2f}."
        )
    return _list(sentences)


def lds_words(table: pd.DataFrame) -> Markdown:
    """Who scores highest by each metric, and who is not told from permuted subsets."""
    sentences = []
    for (setting, size), rows in table.groupby(["setting", "size"], sort=False):
        parts = []
        for metric, words in _METRICS.items():
            part = rows[rows["metric"] == metric].sort_values("lds", ascending=False)
            first, second = part.iloc[0], part.iloc[1]
            parts.append(
                f"by {words} {LOOKS[first['method']].words} {first['lds']:.2f} (ceiling "
                f"{first['ceiling']:.2f}), then {LOOKS[second['method']].words} {second['lds']:.2f}"
            )
        shown = rows[rows["metric"].isin(_METRICS)]
        blind = shown[shown["low"] <= shown["null"]]
        names = ", ".join(
            f"{LOOKS[row.method].words} ({_METRICS[row.metric]})" for row in blind.itertuples()
        )
        parts.append(f"not shown to beat permuted subsets: {names or 'none'}")
        sentences.append(f"**{setting}, {size} left out**: {'; '.join(parts)}.")
    return _list(sentences)


def separation_words(separation: pd.DataFrame) -> Markdown:
    """In how many cases a law's LDS separates or orders methods otherwise than the mean's."""
    sentences = []
    for among, group in separation.groupby("among", sort=False):
        methods = "All methods" if among == "all" else "Methods with a unit"
        for metric in LAWS:
            rows = group[group["metric"] == metric]
            more, less = (rows["low"] > 0).sum(), (rows["high"] < 0).sum()
            sentences.append(
                f"**{methods}, {_METRICS[metric]}**: further apart than by the mean in {more} of "
                f"{len(rows)} cases and nearer together in {less}; {rows['reversed'].sum()} of "
                f"{rows['pairs'].sum()} pairs of methods reversed beyond error."
            )
    return _list(sentences)
