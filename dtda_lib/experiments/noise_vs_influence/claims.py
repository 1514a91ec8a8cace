"""Claims B1, B2, B9, B10, R2 and R6 about noise and influence: the rules that give their statuses.

Thresholds are our choice and stated in each claim's rule; the papers' numbers are not known to us.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dtda_lib.statistics.significance import null_snr_tail_cdf
from dtda_lib.study.claims import NOT_TESTED, Claim, above, below, between, decide

from .tables import ALPHA, MATTERS, Q

_PAPER = "2305.19765, abstract"
STATISTIC_WORDS = {
    "code": f"published statistic 2Φ(−|μ/σ|) < {ALPHA:g}",
    "t_fdr": f"t-test over seeds, false discovery rate {Q:.0%}",
}
MOST, _RARE = 0.5, 0.1
_P_CHANGE = 0.02  # of the mean published p: what 5 % less noise does to a pair of |mu|/sigma = .7
_SIGMA_FALLS = 0.95  # of sigma: 5 % less noise, which one seed more in ten gives
_SAVES = np.sqrt(2)  # of sigma: half of the seeds
OVER_SETS = "95 % interval over sets of seeds, points and queries"
_ALL_SIZES = "over several sizes: all alike, else partly or inconclusive"


def _sizes(part: pd.DataFrame, column: str = "share") -> str:
    values = "; ".join(f"{row['size']} per class {row[column]:.2g}" for _, row in part.iterrows())
    return f"({values})" if len(part) > 1 else ""


def noise_claims(
    shares_of: pd.DataFrame,
    methods: Iterable[str],
    setting: str,
    interval: str = "jackknife interval over seeds",
) -> list[Claim]:
    """B1 (leave-one-out) and B10 (estimators): are most pairs drowned by the noise of training?

    Args:
        shares_of: `tables.share_table`.
        methods: Methods to speak about; "loo" gives B1, any other B10.
        setting: What was trained, in words.
        interval: What the table's intervals are.
    """
    claims = []
    for method in methods:
        what = "B1" if method == "loo" else "B10"
        text = (
            "leave-one-out influence of a single point is usually drowned by training noise"
            if method == "loo"
            else f"{method} is drowned by training noise, too"
        )
        for statistic, description in STATISTIC_WORDS.items():
            chosen = (shares_of["method"] == method) & (shares_of["statistic"] == statistic)
            part = shares_of[chosen].sort_values("size")
            tail = "" if method == "loo" else f"-{method}"
            claims.append(
                Claim.from_rows(
                    part,
                    confirmed_if=below(MOST),
                    value="share",
                    count="n_pairs",
                    interval=interval,
                    rule=_ALL_SIZES,
                    id=f"{what}{tail}-{'code' if statistic == 'code' else 't'}",
                    claim=text,
                    source=_PAPER,
                    statistic=f"share of pairs, {description} {_sizes(part)}".strip(),
                    setting=f"{setting}, {part['size'].iloc[-1]} per class",
                    estimand="law over seeds of the mean of the late checkpoints",
                )
            )
    return claims


def matter_claim(matter: pd.DataFrame, setting: str) -> Claim:
    """B1-matters: does influence that is large enough to matter drown, too?

    Args:
        matter: `tables.matter_table`.
        setting: What was trained, in words.
    """
    part = matter[(matter["from"] == MATTERS) & np.isinf(matter["to"])].sort_values("size")
    return _over_sizes(
        part,
        "share",
        setting,
        confirmed_if=below(MOST),
        because=f"an influence matters from {MATTERS:g} nats on, which changes the probability of "
        "the right class by 1 %, and is judged by the other sets of seeds",
        id="B1-matters",
        claim="influence that is large enough to matter is drowned by training noise, too",
        source=_PAPER,
        statistic=f"share of pairs of |μ| ≥ {MATTERS:g} nats, {STATISTIC_WORDS['t_fdr']}",
    )


def _over_sizes(
    part: pd.DataFrame, value: str, setting: str, *, because: str, **text: Any
) -> Claim:
    """A claim that has to hold at every size of a table; the largest is shown."""
    text["statistic"] += f" {_sizes(part, value)}".rstrip()
    return Claim.from_rows(
        part,
        value=value,
        interval=OVER_SETS,
        rule=f"{_ALL_SIZES}; {because}",
        setting=f"{setting}, {part['size'].iloc[-1]} per class",
        estimand="law over sets of seeds of the mean of the late checkpoints",
        **text,
    )


def low_noise_claims(
    shares_of: pd.DataFrame, replicated: pd.DataFrame, setting: str
) -> list[Claim]:
    """B2: low-noise pairs are rare but exist, by the t-test (B2) and as published (B2-code).

    Args:
        shares_of: `tables.share_table`.
        replicated: `tables.replication_table`.
        setting: What was trained, in words.
    """
    claims = []
    for name, statistic in (("B2", "t_fdr"), ("B2-code", "code")):
        part, again = (
            t[(t["method"] == "loo") & (t["statistic"] == statistic)].sort_values("size")
            for t in (shares_of, replicated)
        )
        exist, rare = (again["excess_low"] > 0).all(), (part["high"] < _RARE).all()
        none, common = (again["excess_high"] <= 0).all(), (part["low"] > MOST).all()
        found = "; ".join(
            f"{row['size']} per class: {row['share']:.3g} of discoveries found again, "
            f"all pairs {row['base_rate']:.3g}"
            for _, row in again.iterrows()
        )
        claims.append(
            Claim.from_row(
                part.iloc[-1],
                status=decide(
                    confirmed=bool(exist and rare), refuted=bool(none or common), partly=bool(exist)
                ),
                value="share",
                count="n_pairs",
                id=name,
                claim="low-noise pairs are rare but exist",
                source=_PAPER,
                statistic=f"share of pairs, {STATISTIC_WORDS[statistic]} {_sizes(part)}; {found}",
                setting=f"{setting}, {part['size'].iloc[-1]} per class",
                estimand="law over sets of seeds; replication between disjoint sets",
                rule=f"{OVER_SETS}; exist: at every size the share found again (p < .05, same "
                "sign) exceeds that of all pairs by an interval above 0; rare: whole interval "
                f"below {_RARE:g} at every size; confirmed if both, partly if they exist, refuted "
                f"if none do or the share lies above {MOST:g} at every size",
            )
        )
    return claims


def checkpoint_claims(table: pd.DataFrame, setting: str) -> list[Claim]:
    """B9: more late checkpoints stabilise the estimate (leave-one-out), by the mean published p
    (B9) and by sigma (B9-sigma).

    Args:
        table: `tables.checkpoint_table`; a single checkpoint tests nothing.
        setting: What was trained, in words.
    """
    part = table[(table["method"] == "loo") & (table["k"] == table["k"].max())].sort_values("size")
    k = int(part["k"].iloc[-1])
    by_p = _over_sizes(
        part,
        "change",
        setting,
        confirmed_if=below(-_P_CHANGE),
        margin=between(-_P_CHANGE, _P_CHANGE),
        refuted_if=above(_P_CHANGE),
        because=f"{_P_CHANGE:g} is what 5 % less noise does to a pair of |μ|/σ = .7",
        id="B9",
        statistic=f"change of the mean published p from 1 to {k} checkpoints",
        **_STABILISE,
    )
    by_sigma = _over_sizes(
        part,
        "sigma",
        setting,
        confirmed_if=below(_SIGMA_FALLS),
        because="one seed more in ten lowers the noise as much",
        id="B9-sigma",
        statistic=f"σ with {k} checkpoints / σ with one",
        **_STABILISE,
    )
    return [c if k > 1 else replace(c, status=NOT_TESTED) for c in (by_p, by_sigma)]


_STABILISE = {
    "claim": "more late checkpoints stabilise the estimate",
    "source": "published code, comment in run_correlation_analysis.py",
    "count": "k",
}


def calibration_claim(n_seeds: int) -> Claim:
    """R2: the published p is not calibrated; exact for Gaussian noise, nothing is simulated."""
    exact = float(null_snr_tail_cdf(ALPHA, n_seeds))
    calibrated = between(0.8 * ALPHA, 1.2 * ALPHA)
    inside, outside = calibrated.contains((exact, exact)), calibrated.excludes((exact, exact))
    return Claim.from_row(
        {"estimate": exact},
        status=decide(confirmed=outside, refuted=inside),
        count=n_seeds,
        rule=f"confirmed if the exact share lies outside {calibrated.low:g} to "
        f"{calibrated.high:g}, refuted if inside; the t-test's is {ALPHA:g} by definition",
        id="R2",
        claim="the published p is not calibrated, the t-test's is",
        source="this study",
        statistic=f"share of noise-only pairs with published p < {ALPHA:g}, exact",
        setting=f"Gaussian noise, {n_seeds} seeds",
        estimand="false positive rate",
    )


def pairing_claim(table: pd.DataFrame, setting: str) -> Claim:
    """R6: pairing the seeds of the two runs of a shift saves at least half of the seeds.

    Args:
        table: `tables.pairing_table`.
        setting: What was trained, in words.
    """
    return _over_sizes(
        table.sort_values("size"),
        "ratio",
        setting,
        confirmed_if=above(_SAVES),
        count="n_pairs",
        because=f"σ {_SAVES:.2f} times smaller saves half of the seeds",
        id="R6",
        claim="pairing the seeds of the two runs of a shift cuts its noise",
        source="this study",
        statistic="σ of unpaired runs / σ of paired runs",
    )
