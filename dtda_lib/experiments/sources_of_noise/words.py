"""The answer of notebook 03, made out of the evidence, and verdicts that this run's tables give."""

from collections.abc import Mapping
from typing import Any

from dtda_lib.study.evidence import Evidence
from dtda_lib.study.wording import side, told

from .experiment import FITTED_VIT
from .tables import COMPONENT_WORDS, LEVELS

NAMES = COMPONENT_WORDS | LEVELS
"""Quantity -> display name."""
FIGURE = "components"
"""The figure that shows the answer at a glance."""
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
        f"{told(absolute)} and σ/|μ| {told(relative)} times as large.",
        f"{_larger(larger)}: |μ|/σ of the largest is {told(larger)} times that of the smallest.",
        _of_fit(ratios.loc["ViT+LoRA"], ratios.loc[FITTED_VIT]),
        "Random crops of test images, as in the published code for transformers, multiply the "
        f"variance of one shift by {_two_digits(crop['ratio'])} "
        f"[{_two_digits(crop['ratio_low'])}, {_two_digits(crop['ratio_high'])}].",
    ]


def _of_seeds(rows: Mapping[str, Mapping[str, Any]]) -> str:
    init, order, both = (told(rows[name], unit="%") for name in COMPONENT_WORDS)
    most = [words for name, words in COMPONENT_WORDS.items() if rows[name]["low"] > 0.5]
    lead = f"comes mostly from {most[0]}" if most else "has no single source"
    return (
        f"The noise of leave-one-out {lead}: initialisation gives {init} of its variance, batch "
        f"order {order}, and their interaction {both}."
    )


def _of_data(absolute: Mapping[str, Any], relative: Mapping[str, Any]) -> str:
    first, second = (
        side(row, 1, above="raise", below="lower", unclear="do not measurably change")
        for row in (absolute, relative)
    )
    if first == second:
        return f"More data {first} noise, in absolute terms and relative to influence"
    return f"More data {first} noise but {second} it relative to influence"


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
        f"transformer is {told(early)} while it has hardly learnt and {told(fitted)} once "
        "it fits."
    )


def _row(evidence: Evidence, claim_id: str) -> dict[str, float]:
    claim = evidence[claim_id].claim
    low, high = claim.ci
    return {"estimate": claim.estimate, "low": low, "high": high}


def _two_digits(factor: float) -> str:
    """Thousands with commas instead of powers of ten."""
    return f"{factor:.2g}" if factor < 100 else f"{float(f'{factor:.2g}'):,.0f}"
