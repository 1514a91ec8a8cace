"""The answer of notebook 03, made out of the evidence."""

from collections.abc import Mapping

import pandas as pd

from dtda_lib.study.claims import REFUTED, Claim
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.wording import measured, side, told

from .claims import NOISE_MATTERS, SHARE_MATTERS
from .tables import COMPONENT_WORDS, LEVELS

NAMES = COMPONENT_WORDS | LEVELS
"""Quantity -> display name."""
FIGURE = "components"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "03_sources_of_noise"
_NEARLY_ALL = 0.9
"""Share of the variance; without the rest the standard deviation is 5 % smaller."""


def answer(evidence: Evidence) -> list[str]:
    """Up to five sentences: the two seeds, size of the data, of the model, its fit, test crops.

    A sentence on what the evidence has not tested is left out.
    """
    profile = evidence.profile(_NOTEBOOK) or EVIDENCE
    claims = {f.claim.id: f.claim for f in evidence.of(_NOTEBOOK) if f.profile == profile}
    components, models, crops = (
        evidence.table(_NOTEBOOK, name, profile) for name in ("components", "models", "crops")
    )
    crop = crops[(crops["what"] == "shift") & (crops["way"] == "other")].iloc[0]
    return [
        *_of_seeds(claims, components),
        *_of_data(claims),
        *_of_models(claims),
        *_of_fit(models),
        "Random crops of test images, as in the published code for transformers, multiply the "
        f"variance of one shift by {_two_digits(crop['ratio'])} "
        f"[{_two_digits(crop['ratio_low'])}, {_two_digits(crop['ratio_high'])}].",
    ]


def finding(evidence: Evidence) -> str | None:
    """What a stranger should know of this notebook; None where the evidence does not say it."""
    if evidence.verdict_of("B4-loo") != REFUTED:
        return None
    table = evidence.table(_NOTEBOOK, "components")
    table = table[(table["method"] == "loo") & (table["weighting"] == "equal")]
    both = table[table["quantity"] == "init x order"].sort_values("size").iloc[-1]
    if both["low"] <= _NEARLY_ALL:
        return None
    return (
        "**Neither seed makes the noise alone.** "
        f"{told(both, unit='%')} of the variance of leave-one-out is the interaction of "
        "initialisation and batch order, so that fixing one of them saves next to nothing."
    )


def _of_seeds(claims: Mapping[str, Claim], components: pd.DataFrame) -> list[str]:
    size = components["size"].max()
    rows = components[(components["size"] == size) & (components["method"] == "loo")]
    if not (rows["weighting"] == "equal").any():  # older evidence sums over pairs
        return []
    parts = rows[rows["weighting"] == "equal"].set_index("quantity").to_dict("index")
    init, order, both = (told(parts[name], unit="%") for name in COMPONENT_WORDS)
    low, high = parts["init - order"]["low"], parts["init - order"]["high"]
    lead = "Initialisation and batch order are not told apart as sources of noise"
    if low > SHARE_MATTERS:
        lead = "Initialisation gives more of the noise than batch order"
    elif high < -SHARE_MATTERS:
        lead = "Batch order gives more of the noise than initialisation"
    elif low > -SHARE_MATTERS and high < SHARE_MATTERS and parts["init x order"]["low"] > 0.5:
        return [
            f"Neither seed makes the noise alone: with {size} points a class, {both} of the "
            "variance of leave-one-out is the interaction of initialisation and batch order, "
            f"{init} is the initialisation's own and {order} the batch order's."
        ]
    elif low > -SHARE_MATTERS and high < SHARE_MATTERS:
        lead = "Initialisation and batch order give equal parts of the noise"
    elif high < SHARE_MATTERS:
        lead = "Initialisation does not give more of the noise than batch order"
    return [
        f"{lead}: with {size} points a class, {init} and {order} of the variance of "
        f"leave-one-out, and their interaction {both}."
    ]


def _of_data(claims: Mapping[str, Claim]) -> list[str]:
    arms = [claims.get(f"B5{arm}") for arm in ("", "-steps", "-loss")]
    relative = claims.get("B5-snr")
    if None in arms or relative is None:
        return []
    epochs, steps, loss = (measured(c.estimate, c.ci) for c in arms)
    verb = side(_ends(arms[0]), 1, above="raise", below="lower", unclear="do not measurably change")
    falls = side(
        _ends(relative),
        1,
        above="Influence falls faster: σ/|μ| grows",
        below="Influence falls less: σ/|μ| changes",
        unclear="Influence changes as much: σ/|μ| changes",
    )
    return [
        f"With equal epochs, more data {verb} noise: from the smallest training set to the "
        f"largest, σ changes by the factor {epochs}, at equal training loss by {loss}, at equal "
        f"steps by {steps}. {falls} by {measured(relative.estimate, relative.ci)} at equal epochs."
    ]


def _of_models(claims: Mapping[str, Claim]) -> list[str]:
    if not {"B6", "B6-depth", "B6-published"} <= claims.keys():
        return []
    width, depth, published = (claims[name] for name in ("B6", "B6-depth", "B6-published"))
    lead = side(
        _ends(width),
        NOISE_MATTERS,
        above="Wider networks are noisier",
        below="Wider networks are not noisier",
        unclear="Wider networks are not shown to be noisier",
    )
    return [
        f"{lead}: at equal training loss, σ/|μ| of the widest is "
        f"{measured(width.estimate, width.ci)} times that of the narrowest, and of the deepest "
        f"{measured(depth.estimate, depth.ci)} times that of the shallowest. At equal epochs, "
        f"the published CNN3-L has {measured(published.estimate, published.ci)} times the σ/|μ| "
        "of CNN2-L."
    ]


def _of_fit(models: pd.DataFrame) -> list[str]:
    rows = models[models["setting"].str.startswith("ViT") & (models["quantity"] == "relative")]
    if len(rows) < 2:
        return []
    first, last = (row for _, row in rows.iloc[[0, -1]].iterrows())
    return [
        f"The transformer is noise only as far as it learns: σ/|μ| is {told(first)} at the "
        f"published learning rate, where its loss is {measured(first['loss'])} nats, and "
        f"{told(last)} at the largest, where it is {measured(last['loss'])}."
        if last["low"] > first["high"]
        else f"σ/|μ| of the transformer is {told(first)} at the published learning rate and "
        f"{told(last)} at the largest."
    ]


def _ends(claim: Claim) -> dict[str, float]:
    low, high = claim.ci
    return {"low": low, "high": high}


def _two_digits(factor: float) -> str:
    """Thousands with commas instead of powers of ten."""
    return f"{factor:.2g}" if factor < 100 else f"{float(f'{factor:.2g}'):,.0f}"
