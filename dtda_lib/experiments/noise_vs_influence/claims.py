"""Claims B1, B2, B9, B10 and R2 about noise and influence: the rules that give their statuses.

Thresholds are our choice and stated in each claim's rule; the papers' numbers are not known to us.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from dtda_lib.statistics.over_seeds import wilson_interval
from dtda_lib.statistics.significance import P_VALUES
from dtda_lib.study.claims import Claim, Region, below, decide

from .tables import ALPHA, Q

_PAPER = "2305.19765, abstract"
STATISTICS = {
    "code": f"published statistic 2Φ(−|μ/σ|) < {ALPHA:g}",
    "t_fdr": f"t-test over seeds, false discovery rate {Q:.0%}",
}
MOST, _RARE = 0.5, 0.1


def _sizes(part: pd.DataFrame, column: str = "share") -> str:
    values = "; ".join(f"{row['size']} per class {row[column]:.2g}" for _, row in part.iterrows())
    return f"({values})" if len(part) > 1 else ""


def noise_claims(shares_of: pd.DataFrame, methods: Iterable[str], setting: str) -> list[Claim]:
    """B1 (leave-one-out) and B10 (estimators): are most pairs drowned by the noise of training?

    Args:
        shares_of: `noise.share_table`.
        methods: Methods to speak about; "loo" gives B1, any other B10.
        setting: What was trained, in words.
    """
    claims = []
    for method in methods:
        what = "B1" if method == "loo" else "B10"
        text = (
            "leave-one-out influence of a single point is usually drowned by training noise"
            if method == "loo"
            else f"{method} is drowned by training noise, too"
        )
        for statistic, description in STATISTICS.items():
            chosen = (shares_of["method"] == method) & (shares_of["statistic"] == statistic)
            part = shares_of[chosen].sort_values("size")
            tail = "" if method == "loo" else f"-{method}"
            claims.append(
                Claim.from_rows(
                    part,
                    confirmed_if=below(MOST),
                    value="share",
                    count="n_pairs",
                    interval="jackknife interval over seeds",
                    rule="over several sizes: all alike, else partly or inconclusive",
                    id=f"{what}{tail}-{'code' if statistic == 'code' else 't'}",
                    claim=text,
                    source=_PAPER,
                    statistic=f"share of pairs, {description} {_sizes(part)}".strip(),
                    setting=f"{setting}, {part['size'].iloc[-1]} per class",
                    estimand="law over seeds of the mean of the late checkpoints",
                )
            )
    return claims


def low_noise_claim(shares_of: pd.DataFrame, replicated: pd.DataFrame, setting: str) -> Claim:
    """B2: low-noise pairs are rare but exist, judged on the leave-one-out discoveries."""
    part = shares_of[(shares_of["method"] == "loo") & (shares_of["statistic"] == "t_fdr")]
    part = part.sort_values("size")
    again = pd.DataFrame()
    if len(replicated):
        again = replicated[(replicated["method"] == "loo") & (replicated["statistic"] == "t")]
    tested = len(again) > 0
    exist = tested and bool((again["low"] > again["base_rate"]).all())
    absent = tested and bool((again["high"] <= again["base_rate"]).all())
    rare = bool((part["high"] < _RARE).all())
    common = bool((part["low"] > MOST).all())
    largest = part.iloc[-1]
    found = "; ".join(
        f"{row['size']} per class: {row['share']:.3g} of discoveries found again, "
        f"all pairs {row['base_rate']:.3g}"
        for _, row in again.iterrows()
    )
    return Claim(
        id="B2",
        claim="low-noise pairs are rare but exist",
        source=_PAPER,
        status=decide(
            confirmed=exist and rare,
            refuted=absent or (tested and common),
            partly=exist,
            tested=tested,
        ),
        statistic=f"share of pairs, {STATISTICS['t_fdr']}; replication: {found or 'none'}",
        estimate=float(largest["share"]),
        ci=(float(largest["low"]), float(largest["high"])),
        n=int(largest["n_pairs"]),
        setting=f"{setting}, {largest['size']} per class",
        estimand="law over seeds; replication across two independent sets of seeds",
        rule=(
            "exist: at every size tested the Wilson interval of the share found again (p < .05, "
            f"same sign) lies above that of all pairs; rare: whole interval below {_RARE:g}; "
            f"confirmed if both, partly if they exist, refuted if none do or the share lies above "
            f"{MOST:g}"
        ),
    )


def checkpoint_claim(table: pd.DataFrame, setting: str) -> Claim:
    """B9: averaging more late checkpoints stabilises the estimate (leave-one-out)."""
    part = table[table["method"] == "loo"].sort_values(["size", "k"])
    last = part[part["k"] == part["k"].max()]
    tested = int(part["k"].max()) > 1
    p_falls = tested and bool((last["mean_p_code_change_high"] < 0).all())
    sigma_falls = tested and bool((last["sigma_ratio_high"] < 1).all())
    p_rises = tested and bool((last["mean_p_code_change_low"] > 0).all())
    row = last.iloc[-1]
    ratios = last.rename(columns={"sigma_ratio": "share"})
    return Claim(
        id="B9",
        claim="more late checkpoints stabilise the estimate",
        source="published code, comment in run_correlation_analysis.py",
        status=decide(
            confirmed=p_falls and sigma_falls, refuted=p_rises, partly=sigma_falls, tested=tested
        ),
        statistic=(
            f"change of the mean published p from 1 to {int(row['k'])} checkpoints; "
            f"σ ratio {row['sigma_ratio']:.2g} {_sizes(ratios)}".strip()
        ),
        estimate=float(row["mean_p_code_change"]),
        ci=(float(row["mean_p_code_change_low"]), float(row["mean_p_code_change_high"])),
        n=int(row["k"]),
        setting=f"{setting}, {int(row['size'])} per class",
        estimand="law over seeds of the mean of the k latest checkpoints",
        rule=(
            "at every size, jackknife intervals over seeds: confirmed if mean p falls and σ falls "
            "(averaging lowers σ mechanically), partly if only σ falls, refuted if mean p rises"
        ),
    )


def calibration_claim(null: xr.DataArray) -> Claim:
    """R2: the published p is not calibrated; `null` holds noise-only scores `(seed, pair)`."""
    n_seeds, n = null.sizes["seed"], null.sizes["pair"]
    inside = Region(0.8 * ALPHA, 1.2 * ALPHA)
    hits = {name: int((P_VALUES[name](null) < ALPHA).sum()) for name in ("code", "t")}
    intervals = {name: wilson_interval(count, n) for name, count in hits.items()}
    return Claim(
        id="R2",
        claim="the published p is not calibrated, the t-test's is",
        source="this study",
        status=decide(
            confirmed=inside.excludes(intervals["code"]) and inside.contains(intervals["t"]),
            refuted=inside.contains(intervals["code"]),
        ),
        statistic=f"share of noise-only pairs with published p < {ALPHA:g}",
        estimate=hits["code"] / n,
        ci=intervals["code"],
        n=n,
        setting=f"Gaussian noise, {n_seeds} seeds, simulated",
        estimand="false positive rate",
        rule=(
            f"confirmed if the Wilson interval of the published share lies outside "
            f"{inside.low:g} to {inside.high:g} and that of the t-test inside; refuted if the "
            "published share lies inside"
        ),
    )


def null_p_values(null: xr.DataArray) -> dict[str, np.ndarray]:
    """p-values of every statistic on noise-only scores `(seed, pair)`."""
    return {name: test(null).values for name, test in P_VALUES.items()}
