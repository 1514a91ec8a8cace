"""What notebook 11 claims of its own method: the rules that give the statuses (our choice)."""

from collections.abc import Mapping

import pandas as pd

from dtda_lib.ask.plan import Plan
from dtda_lib.study.claims import Claim, above, below

from .methods import screening

_OURS = {
    "source": "this study",
    "estimand": "mean shift of a query's loss over the law of seeds, paired retraining",
}
_OVER_SETS = "95 % interval over sets of seeds"


def power_claim(beyond: Mapping[str, float], plan: Plan, n_sets: int, setting: str) -> Claim:
    """Own-power: pairs beyond the planned limit are found as often as planned.

    `beyond`: `judged.found_beyond`.
    """
    return Claim.from_row(
        beyond,
        count=n_sets,
        confirmed_if=above(plan.target),
        interval=_OVER_SETS,
        id="own-power",
        claim="the plan names the smallest shift that is found: pairs beyond it are found at least "
        "as often as planned",
        statistic=f"share of pairs with |μ|/σ >= {plan.snr_many:.2f} on other seeds that one set "
        f"of {plan.seeds} seeds finds",
        setting=setting,
        **_OURS,
    )


def sign_claim(holding: pd.DataFrame, q: float, n_sets: int, setting: str) -> Claim:
    """Own-signs: pairs called reliable seldom turn their sign on fresh seeds.

    `holding`: `judged.holding_table`.
    """
    rows = holding.set_index(["set", "what"])
    kept = rows.loc[("reliable", "kept")]
    return Claim.from_row(
        rows.loc[("reliable", "wrong sign")],
        count=n_sets,
        confirmed_if=below(q),
        interval=_OVER_SETS,
        id="own-signs",
        claim="of the pairs called reliable no more than the allowed share has the other sign on "
        "fresh seeds",
        statistic="share of reliable pairs with the other sign on the other seeds; their mean "
        f"shift there is {kept['estimate']:.2f} [{kept['low']:.2f}, {kept['high']:.2f}] of what "
        "was found",
        setting=setting,
        **_OURS,
    )


def screening_claims(curves: pd.DataFrame, k: int, n_sets: int, setting: str) -> list[Claim]:
    """Own-screen: the first k points by a screening hold more of what is sought than random k.

    `curves`: `judged.screening_curves`.
    """
    return [
        Claim.from_row(
            row,
            count=n_sets,
            confirmed_if=above(float(row["points"])),
            value="share",
            interval=_OVER_SETS,
            id=f"own-screen-{row['method']}",
            claim="screening finds the most influential points of each query better than chance "
            f"({screening(row['method']).label})",
            statistic=f"share of each query's largest reliable points among the first {k} of the "
            f"screening; by chance {row['points']:.2f}",
            setting=setting,
            **_OURS,
        )
        for row in curves[curves["k"] == k].to_dict("records")
    ]


def images_claim(gap: Mapping[str, float], n_points: int, setting: str) -> Claim:
    """Own-images: screened images matter for more queries than images drawn at random.

    `gap`: `judged.top_against_random`.
    """
    return Claim.from_row(
        gap,
        count=n_points,
        confirmed_if=above(0),
        interval="95 % Welch interval over points",
        id="own-images",
        claim="images picked by an influence function reliably matter for more queries than images "
        "drawn at random from the rest",
        statistic="share of queries for which a point is reliable, picked points - drawn ones",
        setting=setting,
        **_OURS,
    )
