"""Claims B4, B5, B6, R4 and R5 about sources of noise: the rules that give their statuses.

Thresholds are our choice and stated in each claim's rule; the papers' numbers are not known to us.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from dtda_lib.data.published_lists import TEST, UNDECIDED, VERDICT_RULE
from dtda_lib.data.sources import QUERIES
from dtda_lib.study.claims import Claim, Interval, above, below, between, decide
from dtda_lib.study.methods import METHODS

from .tables import COMPONENT_WORDS, WEIGHTINGS

_PAPER = "2305.19765, section on sources of noise, as summarised by others"
_CODE = "published code of 2305.19765"
_LAW = "law over seeds at the end of training"
_NEGLIGIBLE = 0.1
SHARE_MATTERS = 0.1
"""Of the variance: holding such a share fixed lowers sigma by 5 %, as one seed more in ten does."""
NOISE_MATTERS = float(np.sqrt(2))
"""Factor of noise: sigma so many times larger takes twice the seeds for the same precision."""
UNSEEN = float(np.sqrt(10) / stats.t.isf(0.025, 9))
"""sigma / |mu| that a t-test over ten seeds, as many as published, just tells from no influence."""
_TWICE = "√2, which takes twice the seeds"
OVER_ALL = "95 % interval over seeds, points and queries"
ARMS = {
    "epochs": ("", "equal epochs, as published"),
    "steps": ("-steps", "equal steps"),
    "loss": ("-loss", "equal training loss"),
}
"""What training sets of different sizes have in common -> tail of the claim's id, words."""


# ---------------------------------------------------------------- B4


def component_claims(
    table: pd.DataFrame, size: int, n: Mapping[str, int], where: str
) -> list[Claim]:
    """B4 for each method and weighting of pairs: does initialisation matter more than batch order?

    The headline weights all pairs alike, as the published mean of p does; "-pooled" sums variances,
    so that loud pairs weigh most.

    Args:
        table: `tables.component_table`.
        size: The size at which batches differ.
        n: Method -> runs of its crossed design.
        where: What was trained, in words.
    """
    rows = table[table["size"] == size].set_index(["method", "weighting", "quantity"]).sort_index()
    alike = between(-SHARE_MATTERS, SHARE_MATTERS)
    claims = []
    for method in dict.fromkeys(table.loc[table["size"] == size, "method"]):
        for weighting, words in WEIGHTINGS.items():
            row = rows.loc[(method, weighting, "init - order")]
            shares = rows.loc[(method, weighting)]["estimate"]
            told = ", ".join(f"{word} {shares[name]:.2f}" for name, word in COMPONENT_WORDS.items())
            ends = row["low"], row["high"]
            equal = "; equivalent" if alike.contains(ends) else ""
            claims.append(
                Claim.from_row(
                    row,
                    confirmed_if=above(SHARE_MATTERS),
                    refuted_if=below(SHARE_MATTERS),
                    count=n[method],
                    interval="95 % interval over initialisations, orders and queries",
                    rule=f"inside ±{SHARE_MATTERS:g} the two are equivalent: fixing a source of "
                    f"{SHARE_MATTERS:g} of the variance saves one seed in ten",
                    id=f"B4-{method}{'' if weighting == 'equal' else f'-{weighting}'}",
                    claim=f"initialisation matters more than batch order ({METHODS[method].label})",
                    source=_PAPER,
                    statistic=f"share of variance, initialisation - batch order, {words} "
                    f"({told}){equal}",
                    setting=f"{where}, {size} per class",
                    estimand="variance components over both seeds, fixed points",
                )
            )
    return claims


# ---------------------------------------------------------------- B5


def turn_status(rises: Sequence[Interval], stays: Sequence[Interval]) -> str:
    """Does noise first rise, then fall? Whether some size between the ends is a turning point.

    Args:
        rises: For each size between the smallest and the largest, the interval of its noise
            relative to the smallest.
        stays: The interval of the largest size's noise relative to each of the same sizes.

    A size is a turning point if noise has risen to it, and falls after it, by `NOISE_MATTERS` at
    least. Confirmed: both whole intervals lie beyond that at one size. Refuted: at every size one
    of the two lies short of it. No size in between: not tested.
    """
    up, down = above(NOISE_MATTERS), below(1 / NOISE_MATTERS)
    both = list(zip(rises, stays, strict=True))
    return decide(
        confirmed=any(up.contains(rise) and down.contains(stay) for rise, stay in both),
        refuted=all(up.excludes(rise) or down.excludes(stay) for rise, stay in both),
        tested=bool(both),
    )


def data_size_claims(steps: pd.DataFrame, arm: str, n_pairs: int, where: str) -> list[Claim]:
    """B5 for sigma and for sigma / |mu| in one of `ARMS`, from `tables.step_table` over sizes."""
    tail, words = ARMS[arm]
    claims = []
    for kind, quantity, noise in (("", "sigma", "σ"), ("-snr", "relative", "σ/|μ|")):
        rows = steps[steps["quantity"] == quantity].set_index(["first", "second"])
        sizes = [rows.index[0][0], *rows.loc[rows.index[0][0]].index]
        ends = {pair: (row["low"], row["high"]) for pair, row in rows.iterrows()}
        inner = sizes[1:-1]
        told = "; ".join(
            f"{first} to {second} ×{rows.loc[(first, second), 'estimate']:.2g} "
            f"[{ends[first, second][0]:.2g}, {ends[first, second][1]:.2g}]"
            for first, second in pairwise(sizes)
        )
        claims.append(
            Claim.from_row(
                rows.loc[(sizes[0], sizes[-1])],
                count=n_pairs,
                id=f"B5{tail}{kind}",
                claim=f"with more data, noise ({noise}) first rises, then falls ({words})",
                source=_PAPER,
                status=turn_status(
                    [ends[sizes[0], size] for size in inner],
                    [ends[size, sizes[-1]] for size in inner],
                ),
                statistic=f"{noise} in the largest set / in the smallest, geometric means over "
                f"pairs (steps: {told})",
                setting=f"{where}, {words}",
                estimand=_LAW,
                rule=f"{OVER_ALL}; a size is a turning point if noise rises from the smallest set "
                f"to it, and falls from it to the largest, by {_TWICE}; confirmed if both whole "
                "intervals lie beyond that at one size, refuted if at every size between the ends "
                "one of the two lies short of it, else inconclusive",
            )
        )
    return claims


# ---------------------------------------------------------------- B6

MODEL_CLAIMS = {
    "": "wider networks are noisier, at equal training loss",
    "-depth": "deeper networks are noisier, at equal training loss",
    "-published": "the larger of the published convolutional networks is noisier, equal epochs",
}
"""Tail of the claim's id -> the claim."""


def model_claim(
    steps: pd.DataFrame, order: Sequence[str], tail: str, n_pairs: int, where: str
) -> Claim:
    """B6: does noise relative to influence grow from the first to the last model of `order`?

    Args:
        steps: `tables.step_table` over models.
        order: Models by size, the smallest first.
        tail: Of `MODEL_CLAIMS`.
        n_pairs: Pairs of a point and a query.
        where: What was trained, in words.
    """
    rows = steps.set_index(["quantity", "first", "second"])
    whole, sigma = (rows.loc[(q, order[0], order[-1])] for q in ("relative", "sigma"))
    between_two = [rows.loc[("relative", *pair)] for pair in pairwise(order)]
    steps_told = "; ".join(
        f"{first} to {second} ×{row['estimate']:.2g} [{row['low']:.2g}, {row['high']:.2g}]"
        for (first, second), row in zip(pairwise(order), between_two, strict=True)
    )
    told = f" (steps: {steps_told})" if len(order) > 2 else ""
    grows = bool(whole["low"] > NOISE_MATTERS)
    reversed_once = any(row["high"] < 1 / NOISE_MATTERS for row in between_two)
    return Claim.from_row(
        whole,
        count=n_pairs,
        id=f"B6{tail}",
        claim=MODEL_CLAIMS[tail],
        source=_PAPER,
        status=decide(
            confirmed=grows and not reversed_once,
            refuted=bool(whole["high"] < NOISE_MATTERS),
            partly=grows,
        ),
        statistic=f"σ/|μ| of {order[-1]} / of {order[0]}, geometric means over pairs{told}; of σ "
        f"{sigma['estimate']:.2g} [{sigma['low']:.2g}, {sigma['high']:.2g}]",
        setting=where,
        estimand=_LAW,
        rule=f"{OVER_ALL} of the ratio of largest to smallest: confirmed if it lies above {_TWICE}"
        ", and no step between neighbours lies below 1/√2 (partly if one does); refuted if it lies "
        "below √2; else inconclusive",
    )


def transformer_claim(levels: pd.DataFrame, names: Sequence[str], where: str) -> Claim:
    """B6-vit: is the influence on the fine-tuned transformer noise at every learning rate?"""
    rows = levels[levels["quantity"] == "relative"].set_index("setting").loc[list(names)]
    told = "; ".join(
        f"{name} {row['estimate']:.2g} [{row['low']:.2g}, {row['high']:.2g}]"
        for name, row in rows.iterrows()
    )
    return Claim.from_rows(
        rows,
        confirmed_if=above(UNSEEN),
        count="n_pairs",
        interval=OVER_ALL,
        rule=f"{UNSEEN:.2f} is where a t-test over ten seeds, as many as published, no longer "
        "tells a pair from 0; at all learning rates alike, else partly or inconclusive",
        id="B6-vit",
        claim="the influence of single points on ViT+LoRA is almost all noise",
        source=_PAPER,
        statistic=f"σ/|μ|, geometric mean over pairs, at the largest learning rate ({told})",
        setting=where,
        estimand=_LAW,
    )


# ---------------------------------------------------------------- R4, R5


def crop_claim(table: pd.DataFrame, n: int, setting: str) -> Claim:
    """R4: random test crops add noise, from `crop_noise.crop_table`."""
    rows = table.set_index(["what", "way"])
    row, loss, same = (
        rows.loc[key] for key in (("shift", "other"), ("query loss", "same"), ("shift", "same"))
    )
    return Claim.from_row(
        row,
        value="share",
        count=n,
        confirmed_if=above(_NEGLIGIBLE),
        interval="jackknife interval over seeds",
        rule=f"below {_NEGLIGIBLE:g} is called negligible",
        id="R4",
        claim="random test crops add noise to the influence on ViT+LoRA",
        source="this study, on the published code",
        statistic=(
            "share of the variance of a shift, another crop for each model, that is due to crops "
            f"(same crop for both {same['share']:.2g}; of the query loss itself "
            f"{loss['share']:.2g}); variance ×{row['ratio']:.3g} [{row['ratio_low']:.3g}, "
            f"{row['ratio_high']:.3g}] against whole images"
        ),
        setting=setting,
        estimand="variance of one measurement over crops of fixed models and over seeds",
    )


def lists_claim(table: pd.DataFrame) -> Claim:
    """R5: some published lists of training points are positions in the test set."""
    training = table[table["list"] != QUERIES]
    found = training.loc[training["verdict"] == TEST, "list"].tolist()
    undecided = int((training["verdict"] == UNDECIDED).sum())
    return Claim(
        id="R5",
        claim="three of the six published CIFAR-10 training lists are positions in the test set",
        source=_CODE,
        status=decide(
            confirmed=len(found) == 3, refuted=not found and not undecided, partly=bool(found)
        ),
        statistic=f"number of lists that are test positions ({', '.join(found) or 'none'})",
        estimate=float(len(found)),
        ci=None,
        n=len(training),
        setting="published index lists of CIFAR-10",
        estimand="the published lists themselves",
        rule=f"confirmed if three are, partly if any is, refuted if none; a list is {VERDICT_RULE}",
    )
