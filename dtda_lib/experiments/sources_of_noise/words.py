"""The answer of notebook 03, made out of the evidence."""

from collections.abc import Mapping

import pandas as pd

from dtda_lib.study.claims import CONFIRMED, REFUTED, Claim
from dtda_lib.study.evidence import EVIDENCE, Evidence
from dtda_lib.study.wording import joined, measured, side, told

from .claims import NOISE_MATTERS, SHARE_MATTERS
from .tables import COMPONENT_WORDS, LEVELS, noise_only

NAMES = COMPONENT_WORDS | LEVELS
"""Quantity -> display name."""
FIGURE = "components"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "03_sources_of_noise"
_NEARLY_ALL = 0.9
"""Share of the variance; without the rest the standard deviation is 5 % smaller."""


def answer(evidence: Evidence) -> list[str]:
    """The two seeds, size of the data, of the model, its fit, test crops, other images.

    A sentence on what the evidence has not tested is left out.
    """
    profile = evidence.profile(_NOTEBOOK) or EVIDENCE
    claims = {f.claim.id: f.claim for f in evidence.of(_NOTEBOOK) if f.profile == profile}
    components, sizes, models, crops = (
        evidence.table(_NOTEBOOK, name, profile)
        for name in ("components", "sizes", "models", "crops")
    )
    crop = crops[(crops["what"] == "shift") & (crops["way"] == "other")].iloc[0]
    return [
        *_of_seeds(claims, components),
        *_of_data(claims, sizes),
        *_of_models(claims, models),
        *_of_fit(models),
        "Random crops of test digits, as in the published code for transformers, multiply the "
        "variance of one shift at the largest rate by "
        f"{_two_digits(crop['ratio'])} [{_two_digits(crop['ratio_low'])}, "
        f"{_two_digits(crop['ratio_high'])}].",
        *_of_other_images(claims),
    ]


def finding(evidence: Evidence) -> str | None:
    """Noise is of both seeds together; None unless B4 is refuted and their interaction is nearly
    all."""
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
            "variance of leave-one-out (a few fixed points) is the interaction of initialisation "
            f"and batch order, {init} is the initialisation's own and {order} the batch order's."
        ]
    elif low > -SHARE_MATTERS and high < SHARE_MATTERS:
        lead = "Initialisation and batch order give equal parts of the noise"
    elif high < SHARE_MATTERS:
        lead = "Initialisation does not give more of the noise than batch order"
    return [
        f"{lead}: with {size} points a class, {init} and {order} of the variance of "
        f"leave-one-out, and their interaction {both}."
    ]


def _relative(sizes: pd.DataFrame, arm: str) -> str:
    """sigma of the second smallest and of the largest set, relative to the smallest."""
    rows = sizes[(sizes["arm"] == arm) & (sizes["quantity"] == "sigma")].sort_values("points")
    return joined(f"{told(row)} with {row['second']}" for _, row in rows.iloc[[0, -1]].iterrows())


def _of_data(claims: Mapping[str, Claim], sizes: pd.DataFrame) -> list[str]:
    turn, relative = claims.get("B5"), claims.get("B5-snr")
    if turn is None or relative is None:
        return []
    lead = {
        CONFIRMED: "With equal epochs, noise first rises with more data, then falls",
        REFUTED: "With equal epochs, noise does not first rise with more data and then fall",
    }.get(turn.status, "With equal epochs, noise may first rise with more data and then fall")
    falls = side(
        _ends(relative),
        1,
        above="Influence falls faster: σ/|μ| grows",
        below="Influence falls less: σ/|μ| changes",
        unclear="Influence is not shown to fall faster or less: σ/|μ| changes",
    )
    return [
        f"{lead}. Relative to {sizes['first'].dropna().iloc[0]}, σ is "
        f"{_relative(sizes, 'epochs')}. At equal training loss it is {_relative(sizes, 'loss')}, "
        f"at equal steps {_relative(sizes, 'steps')}. {falls} by "
        f"a factor of {measured(relative.estimate, relative.ci)} at equal epochs."
    ]


def _of_models(claims: Mapping[str, Claim], models: pd.DataFrame) -> list[str]:
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
        f"{measured(width.estimate, width.ci)} times that of the narrowest, and of the deepest"
        f"{_size_of_deepest(models)} {measured(depth.estimate, depth.ci)} times that of the "
        f"shallowest. {_most(models)}At equal epochs, "
        f"the published CNN3-L has {measured(published.estimate, published.ci)} times the σ/|μ| "
        "of CNN2-L."
    ]


def _size_of_deepest(models: pd.DataFrame) -> str:
    """Whether the network with most stages has fewest or most parameters of these, if either."""
    rows = models[models["setting"].str.startswith("depth")]
    sizes = rows.assign(stages=rows["setting"].str.split().str[-1].astype(int))
    sizes = sizes.sort_values("stages")["parameters"].to_list()
    if len(sizes) < 2 or sizes[-1] not in (min(sizes), max(sizes)):
        return ""
    return f", which has {'fewest' if sizes[-1] == min(sizes) else 'most'} parameters,"


def _most(models: pd.DataFrame) -> str:
    """What sigma / |mu| comes to without any influence: it says nothing of noise beyond that."""
    n = int(models["n_seeds"].iloc[0])
    return (
        f"Without any influence σ/|μ| over {n} seeds is {measured(noise_only(n))}, so it saturates "
        "near that. "
    )


def _of_fit(models: pd.DataFrame) -> list[str]:
    rows = models[models["setting"].str.startswith("ViT") & (models["quantity"] == "relative")]
    if len(rows) < 2:
        return []
    first, last = (row for _, row in rows.iloc[[0, -1]].iterrows())
    return [
        "The transformer's influence sinks into noise once it learns: σ/|μ| is "
        f"{told(first)} at the published learning rate, where its loss is "
        f"{measured(first['loss'])} nats, and {told(last)} at the largest, where it is "
        f"{measured(last['loss'])}."
        if last["low"] > first["high"]
        else f"σ/|μ| of the transformer is {told(first)} at the published learning rate and "
        f"{told(last)} at the largest."
    ]


def _of_other_images(claims: Mapping[str, Claim]) -> list[str]:
    """How often leave-one-out stands out on ten digits and on CIFAR-10, where they have run."""
    named = {"B1-digits-t": "all ten digits", "B1-cifar10-t": "CIFAR-10 (JPEG copies)"}
    parts = [
        f"{_bounded(claims[name])} of {claims[name].n:,} pairs on {images}"
        for name, images in named.items()
        if name in claims
    ]
    lead = "Elsewhere the mean of a few retrainings stands out from noise for"
    return [f"{lead} {joined(parts)}."] if parts else []


def _bounded(claim: Claim) -> str:
    """A share with its interval, or without one where that has no width."""
    low, high = claim.ci
    return measured(claim.estimate, claim.ci if low < high else None, "%")


def _ends(claim: Claim) -> dict[str, float]:
    low, high = claim.ci
    return {"low": low, "high": high}


def _two_digits(factor: float) -> str:
    """Thousands with commas instead of powers of ten."""
    return f"{factor:.2g}" if factor < 100 else f"{float(f'{factor:.2g}'):,.0f}"
