"""What the estimators of notebook 09 are called and how they look."""

from dtda_lib.study.methods import METHODS, Method

from .strategies import ALSO, BASELINE, ESTIMATOR, OTHER_ESTIMATOR

ESTIMATORS = (ESTIMATOR, "if_damped_1", OTHER_ESTIMATOR, *ALSO, BASELINE)
"""Labels in tables and claims, in the order of figures."""


def method_of(label: str) -> Method:
    """The method behind a label; the estimator that prunes is damped Gauss-Newton IF.

    Raises:
        ValueError: an unknown label.
    """
    return METHODS["if_damped" if label == ESTIMATOR else label]
