"""What the estimators of notebook 05 are called and how they look: one place for its labels."""

from dataclasses import replace

import pandas as pd

from dtda_lib.study.methods import METHODS, Method

KEYS = {"if_ggn": "if_damped", "if_ggn_raw": "if_ggn", "other_group": "null"}
"""Label in tables and claims -> key in `METHODS`, where they differ: "if_ggn" is damped here."""
DRAWN = ("unrolling", "ud_corrected", "if_ggn", "rif", "joint", "other_group")
"""What figures show, in this order; the tables hold more."""
_CONTROL = {"label": "unrolling, other group", "words": "the control"}


def looks(label: str) -> Method:
    """Name, words and looks of an estimator of this notebook.

    Raises:
        ValueError: an unknown label.
    """
    method = METHODS[KEYS.get(label, label)]
    return replace(method, **_CONTROL) if label == "other_group" else method


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A table for readers: display names instead of the labels in its column `estimator`."""
    return table.assign(estimator=[looks(label).label for label in table["estimator"]])
