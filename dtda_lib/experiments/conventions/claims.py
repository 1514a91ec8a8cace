"""Claims of notebook 00, decided where every law is known: the rules that give their statuses.

Each is a claim about one small problem that was built to show it, not about networks; thresholds
are our choice.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from dtda_lib.study.claims import LARGEST_Z_RULE, Claim, above, decide, largest_z_bounds

from .exact import THREE_DELTAS
from .simulated import TARGETS

EXACT = 1e-9  # relative; what rounding may leave of an equality
WRONG = 0.01  # relative error beyond which a prediction is called inexact
DOUBLED = float(np.log(2))  # of the log variance ratio

_SETTING = "anchored ridge regression, 12 points on a line, one of them far off"
_LAW = "law over runs, exact"
_PAPER = "2506.12965"
_RIF = "2506.06656"


def _exact(**text: Any) -> Claim:
    """A claim about the testbed's exact laws, where no number has an interval."""
    return Claim(**{"ci": None, "setting": _SETTING, "estimand": _LAW, **text})


def simulation_claim(scores: Mapping[str, np.ndarray], n_seeds: int) -> Claim:
    """T-sim: closed forms equal simulation; `scores` from `simulated.z_scores`."""
    total = sum(z.size for z in scores.values())
    largest = max(float(np.abs(z).max()) for z in scores.values())
    suspect, error = largest_z_bounds(total)
    return _exact(
        id="T-sim",
        claim="the closed forms equal a simulation within its error",
        source="this study",
        status=decide(confirmed=largest < suspect, refuted=largest > error),
        statistic=f"largest |z| of {total} means, variances and covariances; {n_seeds} runs",
        estimate=largest,
        n=n_seeds,
        rule=LARGEST_Z_RULE,
    )


def single_point_claims(errors: pd.DataFrame) -> list[Claim]:
    """T-if and T-rif: what influence functions miss of one point, and that RIF misses nothing.

    `errors` from `exact.error_table` with groups of one point.
    """
    plain, corrected = (errors[errors["estimator"] == name] for name in ("if", "rif"))
    off = float((plain["kept"] - (1 - plain["leverage"])).abs().max())
    worst = float(corrected[["mean", "variance", "w2"]].max().max())
    return [
        _exact(
            id="T-if",
            claim="influence functions under-shoot: of a point's mean shift they give 1 − leverage",
            source=f"{_RIF}; derived",
            status=decide(confirmed=off <= EXACT, refuted=off > WRONG),
            statistic="largest |predicted share of the true shift of the mean − (1 − leverage)|",
            estimate=off,
            n=int(plain["kept"].notna().sum()),
            rule=f"confirmed if at most {EXACT:g}, refuted if above {WRONG:g}",
        ),
        _exact(
            id="T-rif",
            claim="the leverage correction makes influence functions exact for single points",
            source=_RIF,
            status=decide(confirmed=worst <= EXACT, refuted=worst > WRONG),
            statistic="largest relative error of mean, variance and W2 over points",
            estimate=worst,
            n=len(corrected),
            rule=f"confirmed if at most {EXACT:g}, refuted if above {WRONG:g}",
        ),
    ]


def group_leverage_claim(summary: pd.DataFrame) -> Claim:
    """T-rif-groups: sums of members' corrected shifts, from `exact.error_summary`."""
    rows = summary[(summary["estimator"] == "rif") & (summary["size"] > 1)]
    medians = "; ".join(f"{row['size']} points {row['median']:.2g}" for _, row in rows.iterrows())
    tested = len(rows) > 0
    exact, wrong = bool((rows["high"] <= EXACT).all()), bool((rows["median"] > WRONG).all())
    return _exact(
        id="T-rif-groups",
        claim="the leverage correction, summed over members, is exact for groups as well",
        source="this study",
        status=decide(confirmed=exact, refuted=tested and wrong, tested=tested),
        statistic=f"median relative W2 error over all groups ({medians or 'none'})",
        estimate=float(rows["median"].iloc[0]) if tested else None,
        n=int(rows["groups"].sum()),
        rule=(
            f"confirmed if the 95 % point is at most {EXACT:g} at every size, refuted if the "
            f"median is above {WRONG:g} at every size; estimate: of the smallest groups"
        ),
    )


def delta_claims(deltas: pd.DataFrame, largest_mean_shift: float, far: int) -> list[Claim]:
    """C6 and C7 in closed form, from `exact.delta_table`.

    Args:
        deltas: The table.
        largest_mean_shift: Of the far point, over queries, relative to the prediction's spread.
        far: Position of the far point.
    """
    top = {name: int(deltas[name].idxmax()) for name in THREE_DELTAS}
    differ = top["mean"] not in (top["log_variance_ratio"], top["w2"])
    row = deltas.loc[far]
    agreement = stats.spearmanr(deltas["mean"], deltas["log_variance_ratio"]).statistic
    return [
        _exact(
            id="C6-exact",
            claim="mean influence picks another point than variance and Wasserstein influence",
            source=f"{_PAPER}, Fig 5",
            status=decide(confirmed=differ, refuted=not differ),
            statistic=(
                "rank correlation of mean and variance change over points; largest: "
                f"mean {top['mean']}, variance {top['log_variance_ratio']}, W2 {top['w2']}"
            ),
            estimate=float(agreement),
            n=len(deltas),
            setting=f"{_SETTING}, whose target was chosen for it",
            rule="confirmed if the point of the largest mean change is neither of the other two's, "
            "refuted if it is",
        ),
        _exact(
            id="C7-exact",
            claim="a removal can change the variance of predictions and not their mean",
            source=f"{_PAPER}, v1 and v2",
            status=decide(
                confirmed=largest_mean_shift <= EXACT and row["log_variance_ratio"] > DOUBLED,
                refuted=largest_mean_shift > WRONG or row["log_variance_ratio"] < EXACT,
            ),
            statistic="mean over queries of |log variance ratio| of the far point",
            estimate=float(row["log_variance_ratio"]),
            n=1,
            setting=f"{_SETTING}, whose target was chosen for it",
            rule=(
                f"confirmed if the mean moves by at most {EXACT:g} of its spread at every query "
                f"while variances change by more than a factor 2 on average; refuted if it moves "
                f"by more than {WRONG:g} or variances stay"
            ),
        ),
    ]


def target_claim(differences: pd.DataFrame, n_seeds: int) -> Claim:
    """C12 where training is convex, from `simulated.three_targets_table`."""
    return Claim.from_row(
        {**differences.set_index("estimator").loc["if"], "n": n_seeds},
        confirmed_if=above(0),
        value="correlation",
        interval="95 % t interval over seeds",
        id="C12-convex",
        claim="influence functions predict the law's shift better than their own run's",
        source=f"{_PAPER}, section 2",
        statistic=f"correlation of one model's estimates with {TARGETS[0]} - with {TARGETS[1]}",
        setting=f"{_SETTING}; one minimum, so no run ends elsewhere",
        estimand="law against a fixed seed, mean over seeds",
    )
