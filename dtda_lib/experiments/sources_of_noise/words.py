"""What the tables of sources of noise say, in sentences made out of them.

No result in the notebook's text is typed: where it changes, its sentence does. Each function takes
tables of `noise_sources` or `crop_noise` and returns Markdown.
"""

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.methods import METHODS

_QUANTITIES = {"sigma": "noise σ", "abs_mu": "influence |μ|", "snr": "their ratio |μ|/σ"}


def _list(sentences: Sequence[str]) -> Markdown:
    return Markdown("\n".join(f"* {sentence}" for sentence in sentences))


def _interval(row: pd.Series) -> str:
    return f"[{row['low']:.2g}, {row['high']:.2g}]"


def component_words(components: pd.DataFrame, size: int) -> Markdown:
    """Shares of initialisation and order, and whether their difference is shown, by method."""
    rows = components[(components["size"] == size) & (components["weighting"] == "pooled")]
    sentences = []
    for method, part in rows.groupby("method", sort=False):
        share = part.set_index("quantity")["estimate"]
        gap = part.set_index("quantity").loc["init - order"]
        if gap["low"] > 0:
            verdict = "initialisation makes up more"
        elif gap["high"] < 0:
            verdict = "batch order makes up more"
        else:
            verdict = "which one makes up more is not shown"
        sentences.append(
            f"**{METHODS[method].label}**: initialisation {share['init']:.2f} of the variance, "
            f"batch order {share['order']:.2f}, neither alone {share['init x order']:.2f}; "
            f"{verdict} (difference {gap['estimate']:+.2f} {_interval(gap)})."
        )
    return _list(sentences)


def size_words(steps: pd.DataFrame) -> Markdown:
    """By what factor noise, influence and their ratio change from each size to the next."""
    sentences = []
    for (first, second), part in steps[steps["adjacent"]].groupby(["first", "second"], sort=False):
        told = [
            f"{words} {_change(part.set_index('quantity').loc[quantity])}"
            for quantity, words in _QUANTITIES.items()
        ]
        sentences.append(f"**{first} to {second}**: {'; '.join(told)}.")
    return _list(sentences)


def _change(row: pd.Series) -> str:
    factor = f"(factor {row['estimate']:.2g} {_interval(row)})"
    if row["high"] < 1:
        return f"falls {factor}"
    return f"rises {factor}" if row["low"] > 1 else f"stays within its error {factor}"


def model_words(levels: pd.DataFrame, training: pd.DataFrame) -> Markdown:
    """|mu| / sigma of each model, with what it trains and how well it fits."""
    rows = levels[levels["quantity"] == "snr"].set_index("setting")
    trained = training.set_index("setting")
    return _list(
        [
            f"**{name}** ({trained.loc[name, 'parameters']:,} trained parameters, query loss "
            f"{trained.loc[name, 'loss']:.2g}): |μ|/σ {row['estimate']:.2g} {_interval(row)}."
            for name, row in rows.iterrows()
        ]
    )


def crop_words(crops: pd.DataFrame) -> Markdown:
    """How many times the variance of a shift grows with crops, the same and another one."""
    rows = crops[crops["what"] == "shift"].set_index("way")
    told = {
        way: f"{_times(rows.loc[way, 'ratio'])} times "
        f"[{_times(rows.loc[way, 'ratio_low'])}, {_times(rows.loc[way, 'ratio_high'])}]"
        for way in ("same", "other")
    }
    return Markdown(
        f"The variance of one shift is {told['same']} that on whole images if both models see the "
        f"same crop, and {told['other']} if each sees another one, of which crops make up "
        f"{rows.loc['other', 'share']:.1%}."
    )


def _times(factor: float) -> str:
    """Two digits, thousands with commas instead of powers of ten."""
    return f"{factor:.2g}" if factor < 100 else f"{float(f'{factor:.2g}'):,.0f}"
