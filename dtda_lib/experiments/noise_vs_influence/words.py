"""The answer of notebook 01, made out of the evidence."""

import pandas as pd

from dtda_lib.study.evidence import Evidence
from dtda_lib.study.wording import measured

FIGURE = "significant_shares"
"""The figure that shows the answer at a glance."""

_NOTEBOOK = "01_noise_vs_influence"


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: leave-one-out by size, one retraining, replication, and the estimators.

    Shares are of (training point, query) pairs, with 95 % jackknife intervals over seeds.
    """
    shares = evidence.table(_NOTEBOOK, "significant_shares")
    again = evidence.table(_NOTEBOOK, "replication")
    few, many = _shares(shares, "loo", "t_fdr").iloc[[0, -1]].to_dict("records")
    single = _shares(shares, "loo", "code").iloc[-1]
    found = again[(again["method"] == "loo") & (again["statistic"] == "t")].iloc[-1]
    return [
        f"{_trend(few, many)}.",
        f"The mean over {many['n_seeds']} seeds stands out from noise for {_share(few)} of pairs "
        f"with {few['size']} points a class, and for {_share(many)} with {many['size']} (t-test, "
        "5 % false discoveries).",
        f"A single retraining stands out for {_share(single)} of pairs with {single['size']} "
        f"points a class (the published statistic; noise alone: "
        f"{measured(single['noise'], unit='%')}).",
        f"Of the discoveries with {found['size']} points a class, "
        f"{measured(found['share'], unit='%')} are found again with fresh seeds; of all pairs, "
        f"{measured(found['base_rate'], unit='%')} are.",
        f"Estimators are {_steadiness(shares, many)}: with {many['size']} points a class grad-dot "
        f"stands out for {_share(_shares(shares, 'grad_dot', 't_fdr').iloc[-1])} of pairs, "
        f"grad-cos for {_share(_shares(shares, 'grad_cos', 't_fdr').iloc[-1])}.",
    ]


def _shares(table: pd.DataFrame, method: str, statistic: str) -> pd.DataFrame:
    chosen = (table["method"] == method) & (table["statistic"] == statistic)
    return table[chosen].sort_values("size")


def _share(row: "pd.Series | dict") -> str:
    return measured(row["share"], (row["low"], row["high"]), "%")


def _trend(few: dict, many: dict) -> str:
    if many["high"] < few["low"]:
        return "The influence of one point drowns in the noise of training as the data grow"
    if many["low"] > few["high"]:
        return "The influence of one point emerges from the noise of training as the data grow"
    return "The influence of one point stands out from noise alike at every size"


def _steadiness(shares: pd.DataFrame, loo: dict) -> str:
    lows = [_shares(shares, name, "t_fdr").iloc[-1]["low"] for name in ("grad_dot", "grad_cos")]
    return (
        "less noisy than the shift that they are meant to predict"
        if min(lows) > loo["high"]
        else "not shown to be less noisy than leave-one-out"
    )
