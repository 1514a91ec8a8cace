"""What notebook 11 claims of its own method: the rules that give the statuses (our choice)."""

from collections.abc import Mapping

import pandas as pd

from dtda_lib.ask.plan import Plan
from dtda_lib.study.claims import Claim, Interval, above, below, decide_interval, interval_rule

_SOURCE = "this study"
_ESTIMAND = "mean shift of a query's loss over the law of seeds, paired retraining"


def _ci(row: Mapping[str, float]) -> Interval:
    return float(row["low"]), float(row["high"])


def power_claim(beyond: Mapping[str, float], plan: Plan, n_sets: int, setting: str) -> Claim:
    """Own-power: pairs beyond the planned limit are found as often as planned."""
    rule = above(plan.target)
    return Claim(
        id="own-power",
        claim="the plan names the smallest shift that is found: pairs beyond it are found at least "
        "as often as planned",
        source=_SOURCE,
        status=decide_interval(_ci(beyond), confirmed_if=rule),
        statistic=f"share of pairs with |mu/sigma| >= {plan.snr_many:.2f} on other seeds that one "
        f"set of {plan.seeds} seeds finds",
        estimate=beyond["estimate"],
        ci=_ci(beyond),
        n=n_sets,
        setting=setting,
        estimand=_ESTIMAND,
        rule=interval_rule(rule, interval="95 % interval over sets of seeds"),
    )


def sign_claim(holding: pd.DataFrame, q: float, n_sets: int, setting: str) -> Claim:
    """Own-signs: pairs called reliable seldom turn their sign on fresh seeds."""
    rows = holding.set_index(["set", "what"])
    row, rule = rows.loc[("reliable", "wrong sign")], below(q)
    kept = rows.loc[("reliable", "kept")]
    return Claim(
        id="own-signs",
        claim="of the pairs called reliable no more than the allowed share has the other sign on "
        "fresh seeds",
        source=_SOURCE,
        status=decide_interval(_ci(row), confirmed_if=rule),
        statistic="share of reliable pairs with the other sign on the other seeds; their mean "
        f"shift there is {kept['estimate']:.2f} [{kept['low']:.2f}, {kept['high']:.2f}] of what "
        "was found",
        estimate=float(row["estimate"]),
        ci=_ci(row),
        n=n_sets,
        setting=setting,
        estimand=_ESTIMAND,
        rule=interval_rule(rule, interval="95 % interval over sets of seeds"),
    )


def screening_claims(curves: pd.DataFrame, k: int, n_sets: int, setting: str) -> list[Claim]:
    """Own-screen: the first k points by a screening hold more of what is sought than random k."""
    claims = []
    for row in curves[curves["k"] == k].to_dict("records"):
        rule = above(float(row["points"]))
        claims.append(
            Claim(
                id=f"own-screen-{row['method']}",
                claim="screening finds the most influential points of each query better than "
                f"chance ({row['method']})",
                source=_SOURCE,
                status=decide_interval(_ci(row), confirmed_if=rule),
                statistic=f"share of each query's largest reliable points among the first {k} of "
                f"the screening; by chance {row['points']:.2f}",
                estimate=float(row["share"]),
                ci=_ci(row),
                n=n_sets,
                setting=setting,
                estimand=_ESTIMAND,
                rule=interval_rule(rule, interval="95 % interval over sets of seeds"),
            )
        )
    return claims


def images_claim(gap: Mapping[str, float], n_points: int, setting: str) -> Claim:
    """Own-images: screened images matter for more queries than images drawn at random."""
    rule = above(0)
    return Claim(
        id="own-images",
        claim="images picked by an influence function reliably matter for more queries than images "
        "drawn at random from the rest",
        source=_SOURCE,
        status=decide_interval(_ci(gap), confirmed_if=rule),
        statistic="share of queries for which a point is reliable, picked less drawn ones",
        estimate=gap["estimate"],
        ci=_ci(gap),
        n=n_points,
        setting=setting,
        estimand=_ESTIMAND,
        rule=interval_rule(rule, interval="95 % Welch interval over points"),
    )
