"""What the estimators of notebook 09 are called and how they look."""

from dataclasses import replace

from dtda_lib.study.methods import METHODS, Method

from .strategies import ALSO, BASELINE, ESTIMATOR, OTHER_ESTIMATOR

PRUNING_ESTIMATORS = (ESTIMATOR, "if_damped_1", OTHER_ESTIMATOR, *ALSO, BASELINE)
"""Labels in tables and claims, in the order of figures."""


def method_of(label: str) -> Method:
    """Name, words and looks behind a label; what prunes is damped Gauss-Newton IF.

    Raises:
        ValueError: an unknown label.
    """
    if label == ESTIMATOR:
        return replace(METHODS["if_damped"], words="Gauss-Newton IF with damping 0.1")
    return METHODS[label]
