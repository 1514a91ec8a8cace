"""Claims B4, B5, B6, R4 and R5 about sources of noise: the rules that give their statuses.

Thresholds are our choice and stated in each claim's rule; the papers' numbers are not known to us.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import pandas as pd

from dtda_lib.data.published_lists import TEST, UNDECIDED, VERDICT_RULE
from dtda_lib.data.sources import QUERIES
from dtda_lib.study.claims import Claim, Interval, above, below, decide
from dtda_lib.study.methods import METHODS

from .tables import COMPONENT_WORDS, WEIGHTINGS

_PAPER = "2305.19765, section on sources of noise, as summarised by others"
_CODE = "published code of 2305.19765"
_LAW = "law over seeds of the mean of the late checkpoints, fixed pairs"
_HARDLY_ANY, _NEGLIGIBLE = 0.1, 0.1


# ---------------------------------------------------------------- B4


def component_claims(table: pd.DataFrame, size: int, n: int, setting: str) -> list[Claim]:
    """B4 for each method: does initialisation matter more than batch order?

    Args:
        table: `tables.component_table`.
        size: The size at which batches differ.
        n: Runs of the crossed design.
        setting: What was trained, in words.
    """
    chosen = table[table["size"] == size]
    rows = chosen.set_index(["method", "weighting", "quantity"]).sort_index()
    claims = []
    for method in dict.fromkeys(chosen["method"]):
        pooled, equal = (rows.loc[(method, w, "init - order")] for w in WEIGHTINGS)
        shares = rows.loc[(method, WEIGHTINGS[0])]["estimate"]
        told = ", ".join(f"{words} {shares[name]:.2f}" for name, words in COMPONENT_WORDS.items())
        claims.append(
            Claim.from_rows(
                [equal, pooled],
                confirmed_if=above(0),
                count=n,
                interval="jackknife interval",
                rule="pooled and with all pairs weighted alike: both, else partly or inconclusive",
                id=f"B4-{method}",
                claim=f"initialisation matters more than batch order ({METHODS[method].label})",
                source=_PAPER,
                statistic=(
                    "share of variance, initialisation - batch order, pooled over pairs "
                    f"({told}; all pairs weighted alike {equal['estimate']:.2f})"
                ),
                setting=f"{setting}, {size} per class",
                estimand="variance components over seeds, fixed pairs",
            )
        )
    return claims


# ---------------------------------------------------------------- B5


def turn_status(changes: Sequence[Interval]) -> str:
    """Does noise first rise, then fall? From intervals of its ratio at each step of size.

    Confirmed: some step lies above 1 and a later one below. Refuted: not so, and all steps lie on
    one side of 1, or one lies below and a later one above. Fewer than two steps: not tested.
    """
    signs = [1 if low > 1 else -1 if high < 1 else 0 for low, high in changes]
    turns = set(combinations(signs, 2))
    monotone = len(set(signs)) == 1 and 0 not in signs
    confirmed = (1, -1) in turns
    return decide(
        confirmed=confirmed,
        refuted=not confirmed and (monotone or (-1, 1) in turns),
        tested=len(signs) > 1,
    )


def size_claims(steps: pd.DataFrame, n_pairs: int, setting: str) -> list[Claim]:
    """B5 for sigma and for sigma relative to |mu|, from `tables.step_table` over sizes."""
    claims = []
    for tail, quantity, noise in (("", "sigma", "σ"), ("-snr", "snr", "σ/|μ|")):
        rows = steps[steps["quantity"] == quantity]
        if quantity == "snr":  # noise relative to influence is its inverse
            inverse = {"estimate": 1 / rows["estimate"], "low": 1 / rows["high"]}
            rows = rows.assign(**inverse, high=1 / rows["low"])
        adjacent = rows[rows["adjacent"]]
        smallest, largest = rows["first"].iloc[0], rows["second"].iloc[-1]
        told = "; ".join(
            f"{row['first']} to {row['second']} ×{row['estimate']:.2g} "
            f"[{row['low']:.2g}, {row['high']:.2g}]"
            for _, row in adjacent.iterrows()
        )
        claims.append(
            Claim.from_row(
                rows.set_index(["first", "second"]).loc[(smallest, largest)],
                count=n_pairs,
                id=f"B5{tail}",
                claim=f"with more data, noise ({noise}) first rises, then falls",
                source=_PAPER,
                status=turn_status(list(zip(adjacent["low"], adjacent["high"]))),
                statistic=f"ratio of the geometric mean of {noise}, largest to smallest set "
                f"(steps: {told})",
                setting=setting,
                estimand=_LAW,
                rule=(
                    "jackknife intervals over seeds of the change at each step of size: confirmed "
                    "if one lies above 1 and a later one below, refuted if all lie on one side of "
                    "1 or a fall comes before a rise, else inconclusive"
                ),
            )
        )
    return claims


# ---------------------------------------------------------------- B6


def model_claim(steps: pd.DataFrame, order: Sequence[str], n_pairs: int, setting: str) -> Claim:
    """B6: does the SNR fall from the smallest to the largest model of `order`?"""
    steps = steps.set_index(["quantity", "first", "second"])
    whole = steps.loc[("snr", order[0], order[-1])]
    sigma = steps.loc[("sigma", order[0], order[-1])]
    between = [steps.loc[("snr", first, second)] for first, second in pairwise(order)]
    falls, rises = whole["high"] < 1, any(row["low"] > 1 for row in between)
    return Claim.from_row(
        whole,
        count=n_pairs,
        id="B6",
        claim="larger models are noisier",
        source=_PAPER,
        status=decide(
            confirmed=falls and not rises, refuted=bool(whole["low"] > 1), partly=bool(falls)
        ),
        statistic=(
            f"ratio of the geometric mean of |μ|/σ, {order[-1]} to {order[0]}; of σ "
            f"{sigma['estimate']:.2g} [{sigma['low']:.2g}, {sigma['high']:.2g}]"
        ),
        setting=setting,
        estimand=_LAW,
        rule=(
            "jackknife intervals over seeds of the ratio of SNR: confirmed if that of largest to "
            "smallest model lies below 1 and no single step lies above 1, partly if some does, "
            "refuted if the first lies above 1, else inconclusive"
        ),
    )


def transformer_claim(levels: pd.DataFrame, names: Iterable[str], setting: str) -> Claim:
    """B6-vit: are nearly all pairs of the fine-tuned transformer noise, however it is trained?"""
    names = list(names)
    rows = levels.set_index(["setting", "quantity"])
    parts = [(name, test, rows.loc[(name, test)]) for name in names for test in ("t_fdr", "code")]
    told = "; ".join(
        f"{name} {'t-test, FDR 5 %' if test == 't_fdr' else 'published'} {row['estimate']:.2g} "
        f"[{row['low']:.2g}, {row['high']:.2g}]"
        for name, test, row in parts
    )
    return Claim.from_rows(
        [row for _, _, row in reversed(parts)],  # the first is shown
        confirmed_if=below(_HARDLY_ANY),
        count="n_pairs",
        interval="jackknife interval over seeds",
        rule="by the published statistic and by the t-test at a false discovery rate of 5 %: all "
        "alike, else partly or inconclusive",
        id="B6-vit",
        claim="the influence of single points on ViT+LoRA is almost all noise",
        source=_PAPER,
        statistic=f"share of significant pairs ({told})",
        setting=setting,
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
