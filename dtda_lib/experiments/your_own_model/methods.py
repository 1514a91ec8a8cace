"""What the screenings of notebook 11 are called and how they look; the error that is allowed."""

from dataclasses import replace

from dtda_lib.study.methods import METHODS, Method

FALSE_DISCOVERIES = 0.05
"""Share of the pairs called reliable that may be noise."""


def screening(label: str) -> Method:
    """Name, words and looks of a screening; "if_ggn" is damped by training time here.

    Raises:
        ValueError: an unknown label.
    """
    if label == "retraining":
        return replace(METHODS["loo"], words="retraining on the pilot's seeds")
    return METHODS["if_damped" if label == "if_ggn" else label]
