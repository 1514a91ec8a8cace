"""What the estimators of notebook 05 are, in the order in which tables have them."""

from dataclasses import replace

from dtda_lib.study.methods import METHODS, Method

PREDICTORS = ("unrolling", "source", "if_damped", "rif", "joint")
OTHER = "other_group"
"""The control: what unrolling predicts for another group of the same size."""


def looks(label: str) -> Method:
    """Name, words and looks of an estimator of this notebook, or of the control.

    Raises:
        ValueError: an unknown label.
    """
    if label == OTHER:
        return replace(METHODS["null"], label="unrolling, another group", words="the control")
    return METHODS[label]
