"""The answer of notebook 03, made out of the evidence, and verdicts that this run's tables give."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.claims import Interval
from dtda_lib.study.evidence import Evidence
from dtda_lib.study.markdown import folded, table
from dtda_lib.study.methods import METHODS, TESTS
from dtda_lib.study.rounding import without_noise
from dtda_lib.study.wording import bullets, grouped, joined, measured, side, upper

from .experiment import FITTED_VIT
from .tables import COMPONENT_WORDS, LEVELS

_NOTEBOOK = "03_sources_of_noise"


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the two seeds, size of the data, size of the model, its fit, test crops.

    95 % jackknife intervals over seeds; fixed pairs.
    """
    components, sizes, models, crops = (
        evidence.table(_NOTEBOOK, name) for name in ("components", "sizes", "models", "crops")
    )
    crossed = components.loc[components["method"] != "loo", "size"].iloc[0]
    of_loo = components[(components["method"] == "loo") & (components["size"] == crossed)]
    ratios = models[models["quantity"] == "snr"].set_index("setting")
    absolute, relative, larger = (_row(evidence, key) for key in ("B5", "B5-snr", "B6"))
    few, many = sizes["points"].min(), sizes["points"].max()
    crop = crops[(crops["what"] == "shift") & (crops["way"] == "other")].iloc[0]
    return [
        _of_seeds(of_loo.set_index("quantity").to_dict("index")),
        f"{_of_data(absolute, relative)}: with {many} training points instead of {few}, σ is "
        f"{_number(absolute)} and σ/|μ| {_number(relative)} times as large.",
        f"{_larger(larger)}: |μ|/σ of the largest is {_number(larger)} times that of the smallest.",
        _of_fit(ratios.loc["ViT+LoRA"], ratios.loc[FITTED_VIT]),
        "Random crops of test images, as in the published code for transformers, multiply the "
        f"variance of one shift by {_two_digits(crop['ratio'])} "
        f"[{_two_digits(crop['ratio_low'])}, {_two_digits(crop['ratio_high'])}].",
    ]


def _of_seeds(rows: Mapping[str, Mapping[str, Any]]) -> str:
    init, order, both = (_number(rows[name], "%") for name in COMPONENT_WORDS)
    most = [words for name, words in COMPONENT_WORDS.items() if rows[name]["low"] > 0.5]
    lead = f"comes mostly from {most[0]}" if most else "has no single source"
    return (
        f"The noise of leave-one-out {lead}: initialisation gives {init} of its variance, batch "
        f"order {order}, and their interaction {both}."
    )


def _of_data(absolute: Mapping[str, Any], relative: Mapping[str, Any]) -> str:
    told = [
        side(row, 1, above="raise", below="lower", unclear="do not measurably change")
        for row in (absolute, relative)
    ]
    return (
        f"More data {told[0]} noise, in absolute terms and relative to influence"
        if told[0] == told[1]
        else f"More data {told[0]} noise but {told[1]} it relative to influence"
    )


def _larger(row: Mapping[str, Any]) -> str:
    return side(
        row,
        1,
        above="Larger networks are less noisy",
        below="Larger networks are noisier",
        unclear="Larger networks are not measurably noisier",
    )


def _of_fit(early: Mapping[str, Any], fitted: Mapping[str, Any]) -> str:
    apart = fitted["high"] < early["low"] or fitted["low"] > early["high"]
    return (
        f"Fit {'matters, too' if apart else 'is not shown to matter'}: |μ|/σ of a fine-tuned "
        f"transformer is {_number(early)} while it has hardly learnt and {_number(fitted)} once "
        "it fits."
    )


def _row(evidence: Evidence, claim_id: str) -> dict[str, float]:
    claim = evidence[claim_id].claim
    low, high = claim.ci
    return {"estimate": claim.estimate, "low": low, "high": high}


def _number(row: Mapping[str, Any], unit: str = "") -> str:
    interval: Interval = (row["low"], row["high"])
    return measured(row["estimate"], interval, unit)


def _two_digits(factor: float) -> str:
    """Thousands with commas instead of powers of ten."""
    return f"{factor:.2g}" if factor < 100 else f"{float(f'{factor:.2g}'):,.0f}"


def component_words(components: pd.DataFrame, size: int) -> Markdown:
    """Which seed makes up more of the noise, by `tables.component_table`, pooled over pairs."""
    rows = components[(components["size"] == size) & (components["weighting"] == "pooled")]
    differences = rows[rows["quantity"] == "init - order"]
    verdicts = grouped(
        (
            side(
                row,
                0,
                above="initialisation makes up more",
                below="batch order makes up more",
                unclear="which of the two makes up more is open",
            ),
            METHODS[row["method"]].label,
        )
        for _, row in differences.iterrows()
    )
    return bullets(f"{upper(verdict)}: {joined(names)}." for verdict, names in verdicts.items())


def size_words(steps: pd.DataFrame) -> Markdown:
    """By what factor noise, influence and their ratio change from each size to the next."""
    sentences = []
    for (first, second), part in steps[steps["adjacent"]].groupby(["first", "second"], sort=False):
        rows = part.set_index("quantity")
        told = [f"{words} {_change(rows.loc[name])}" for name, words in LEVELS.items()]
        sentences.append(f"**{first} to {second}**: {joined(told)}.")
    return bullets(sentences)


def _change(row: pd.Series) -> str:
    told = side(row, 1, above="rises", below="falls", unclear="stays within its error")
    return f"{told} (× {_number(row)})"


def details(summary: str, *frames: pd.DataFrame) -> Markdown:
    """Tables that a reader unfolds, to four significant digits and with display names."""
    texts = [table(_plain(frame).to_dict("records")) for frame in frames]
    return Markdown(folded(summary, "\n\n".join(texts)))


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame if frame.index.name is None else frame.reset_index()
    quantities = COMPONENT_WORDS | LEVELS | {name: test.label for name, test in TESTS.items()}
    methods = {name: method.label for name, method in METHODS.items()}
    frame = frame.replace({"quantity": quantities, "method": methods})
    return without_noise(frame).apply(
        lambda column: column.map("{:#.4g}".format) if column.dtype.kind == "f" else column
    )
