"""The answer of notebook 00, made out of the evidence."""

import math

from dtda_lib.study.evidence import Evidence
from dtda_lib.study.wording import joined, measured

from .simulated import seeds_table

FIGURE = "deltas"
"""The figure that shows the answer at a glance."""
_NOTEBOOK = "00_conventions"


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: what a removal can do, which Δ sees it, estimators, one model, and seeds.

    All laws are exact; intervals are 95 % t intervals over seeds.
    """
    tables = {name: evidence.table(_NOTEBOOK, name) for name in ("deltas", "estimators", "power")}
    sizes = tables["deltas"].query("what == 'delta'").pivot(index="x", columns="name", values="y")
    far = sizes.index.max()
    last = [name for name in sizes if sizes[name].idxmin() == far]
    first = [name for name in sizes if sizes[name].idxmax() == far]
    factor = math.exp(evidence["C7-exact"].claim.estimate)
    single = tables["estimators"].query("panel == 'one' and estimator == 'if'")["error"]
    groups = tables["estimators"].query("panel == 'groups' and estimator == 'rif'")
    pairs, many = groups[groups["size"] > 1].iloc[[0, -1]].to_dict("records")
    seeds = seeds_table(tables["power"]).set_index(["point", "form"])["mean"]["ordinary"]
    own = evidence["C12-convex"].claim
    return [
        f"Removing one point of twelve changes the variance of predictions by a factor of "
        f"{measured(factor)} on average, and {_mean(sizes.loc[far, 'mean'])}.",
        f"So the three differences between laws {'disagree' if last else 'agree'}: this point "
        f"ranks {_rank(first, last)}.",
        f"Influence functions miss the share of a shift that is the point's leverage: "
        f"{measured(single.min(), unit='%')} to {measured(single.max(), unit='%')} of W2. A "
        f"one-line correction (RIF) is {_exactness(evidence)} for single points, and off by "
        f"{measured(pairs['error'], unit='%')} for pairs and {measured(many['error'], unit='%')} "
        f"for groups of {many['size']} (medians).",
        f"The estimate of one model predicts what happens to {_whose(own.ci)}: the difference of "
        f"the correlations, law - own run, is {measured(own.estimate, own.ci)}.",
        f"Retraining with the same seeds pays: {seeds['paired']} paired runs find the largest "
        f"shift of a mean in 80 % of experiments, where unpaired ones need {seeds['unpaired']}.",
    ]


def _mean(shift: float) -> str:
    moves = "their mean nowhere" if shift < 1e-9 else f"their mean by {measured(shift)}"
    return f"moves {moves}"


def _rank(first: list[str], last: list[str]) -> str:
    words = {"mean": "the shift of the mean", "log_variance_ratio": "variance", "w2": "W2"}
    parts = (("first", first), ("last", last))
    return ", ".join(
        f"{rank} by {joined(words[name] for name in words if name in names)}"
        for rank, names in parts
        if names
    )


def _exactness(evidence: Evidence) -> str:
    return "exact" if evidence["T-rif"].claim.status == "confirmed" else "not exact even"


def _whose(ci: tuple[float, float]) -> str:
    if ci[1] < 0:
        return "its own run better than what happens to the law"
    return "the law better than what happens to its own run" if ci[0] > 0 else "both alike"
