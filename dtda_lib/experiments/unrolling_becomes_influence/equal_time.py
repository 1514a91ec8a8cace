"""Is the correlation higher because steps are smaller, or because training has gone less far?

Two constant steps of notebook 06 after the same sum of steps.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr

from dtda_lib.study.claims import Claim, above, decide_interval, interval_rule

from .claims import PAPER, RUN
from .network import INFLUENCES, RECIPES, difference

STEP_SIZES = ("constant 0.0125", "constant 0.05")
"""The smaller and the larger constant step."""
QUANTITY = "unrolling, if_ggn"
Found = Mapping[tuple[str, int], xr.Dataset]


def equal_time_table(found: Found) -> pd.DataFrame:
    """The smaller constant step against the larger one after the same sum of steps.

    At the same *number* of steps the smaller step has trained for less long, so that its size and
    the time of training cannot be told apart.

    Returns:
        One row for each pair of lengths of the same sum of steps, shortest first, and each
        correlation of unrolling with an influence function: `epochs` and `epochs_small` of the
        larger and the smaller step, `quantity`, means `at_large` and `at_small`, and `estimate,
        low, high` of the difference, small less large, paired by run. No rows where no two lengths
        match.
    """
    small, large = STEP_SIZES
    rows = []
    for recipe, epochs in sorted(found):
        ratio = RECIPES[large].lr / RECIPES[small].lr
        pair = (large, epochs), (small, round(epochs * ratio))
        if recipe != large or pair[1] not in found:
            continue
        for quantity in (f"unrolling, {name}" for name in INFLUENCES):
            means = [float(found[key][quantity].mean()) for key in pair]
            gap = difference(found, *((*key, quantity) for key in pair))
            about = {"epochs": epochs, "epochs_small": pair[1][1], "quantity": quantity}
            rows.append(about | {"at_large": means[0], "at_small": means[1]} | gap)
    columns = ["epochs", "epochs_small", "quantity", "at_large", "at_small"]
    return pd.DataFrame(rows, columns=[*columns, "estimate", "low", "high"])


def equal_time_claim(found: Found, common: Mapping[str, Any]) -> Claim:
    """C2-step at equal training time, so that a small step has not just trained for less long.

    `common`: `n` and `setting`. Not tested where no two lengths have the same sum of steps.
    """
    rows = equal_time_table(found)
    rows = rows[rows["quantity"] == QUANTITY]
    small, large = STEP_SIZES
    row = rows.iloc[-1].to_dict() if len(rows) else {"epochs": "-", "epochs_small": "-"}
    ci = (row["low"], row["high"]) if len(rows) else None
    return Claim(
        id="C2-step-equal-time",
        claim="the correlation is higher for smaller steps, after equal training time",
        source=PAPER,
        status=decide_interval(ci, confirmed_if=above(0)),
        statistic=f"{QUANTITY}, {small} after {row['epochs_small']} epochs less {large} after "
        f"{row['epochs']}, the longest two of the same sum of steps",
        estimate=row.get("estimate"),
        ci=ci,
        estimand=RUN,
        rule=interval_rule(above(0), interval="95 % interval, paired by run"),
        **common,
    )
