"""The answer of notebook 02, made out of the evidence."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dtda_lib.study.evidence import Evidence
from dtda_lib.study.methods import METHODS
from dtda_lib.study.wording import measured, told, upper

FIGURE = "agreement"
"""The figure that shows the answer at a glance."""
_NOTEBOOK = "02_ground_truth_vs_estimated"
_LISSA = "if_lissa"


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: the ceiling, the nearest estimator, the published one, protocols, low noise.

    Correlations are over (training point, query) pairs, between halves of the seeds; intervals are
    95 % jackknife intervals over seeds.
    """
    agreement = evidence.table(_NOTEBOOK, "agreement")
    means = agreement[agreement["statistic"] == "mean"].set_index("method")
    nearest = means["r_across"].idxmax()
    slope = evidence["R1"].claim
    rise = evidence[f"B8-{_LISSA}"].claim
    shares = evidence.table(_NOTEBOOK, "protocols")
    shares = shares[shares["quantity"] == "share t_fdr"].set_index("protocol")
    return [
        f"{_reached(means)}.",
        f"With {means['size'].max()} points a class {METHODS[nearest].words} comes nearest: its "
        f"means correlate at {_of_ceiling(means.loc[nearest])}{_ranks(evidence, nearest)}.",
        f"{METHODS[_LISSA].words}, the published influence function, reaches "
        f"{_of_ceiling(means.loc[_LISSA])}; it is scaled grad-dot, with a slope of "
        f"{measured(slope.estimate, slope.ci)} times the predicted one (bracket: range over "
        "models).",
        f"Which leave-one-out is meant decides as much: {_share(shares, 'paired_scratch')} of "
        f"pairs stand out from noise with paired retraining, {_share(shares, 'unpaired_scratch')} "
        f"with other seeds, and {_share(shares, 'continued')} when training goes on from the "
        "trained model (t-test, 5 % false discoveries).",
        f"On the tenth of pairs with the least noise, {METHODS[_LISSA].words} agrees "
        f"{_side(rise.ci)}: its correlation changes by {measured(rise.estimate, rise.ci)}.",
    ]


def _reached(means: pd.DataFrame) -> str:
    below = means["gap_high"] < 0
    if below.all():
        return "No estimator reaches the correlation with leave-one-out that noise alone allows"
    others = [METHODS[name].words for name in means.index[~below]]
    return upper(f"{', '.join(others)} may reach the correlation that noise allows, others do not")


def _of_ceiling(row: Mapping[str, Any]) -> str:
    level = f"{row['r_across']:.2f}, with a ceiling of {row['ceiling_across']:.2f}"
    return f"{level} (difference {told(row, 'gap')})"


def _ranks(evidence: Evidence, method: str) -> str:
    """The same by ranks, once the published sizes have been compared that way."""
    claim_id = f"B3-spearman-{method}"
    if claim_id not in evidence or evidence[claim_id].verdict == "not tested":
        return ""
    ranks = evidence.table(_NOTEBOOK, "agreement_of_ranks")
    row = ranks[(ranks["statistic"] == "mean") & (ranks["method"] == method)].iloc[0]
    return f"; by ranks {row['r_across']:.2f} of {row['ceiling_across']:.2f}"


def _share(shares: pd.DataFrame, protocol: str) -> str:
    """A share with its interval, which the jackknife does not keep between 0 and 1."""
    row = shares.loc[protocol]
    ends = (max(row["value_low"], 0), min(row["value_high"], 1))
    return measured(row["value"], ends, "%")


def _side(ci: tuple[float, float]) -> str:
    if ci[0] > 0:
        return "better with leave-one-out"
    return "worse with leave-one-out" if ci[1] < 0 else "no better with leave-one-out"
