"""Parameters of notebook 11."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, place, whole_number

REACH = "p-values of fewer never reach 5 %"


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="11_your_own_model"):
    """What a reader of notebook 11 may change."""

    n_points: int = whole_number(
        "patients that train",
        at=(20, 100, 300),
        between=(20, 400),
        because="a rank correlation needs some, the table has 442",
    )
    n_query: int = whole_number(
        "patients that are asked about and never train",
        at=(4, 20, 50),
        between=(2, 190),
        because="a correlation over queries needs two",
    )
    n_pilot: int = whole_number(
        "seeds of the pilot",
        at=(3, 4, 4),
        between=(3, 1_000),
        because="a standard deviation of fewer says nothing",
    )
    n_seeds: int = whole_number(
        "seeds of one set, the size of a user's study",
        at=(16, 16, 20),
        between=(4, 100_000),
        because=REACH,
    )
    n_sets: int = whole_number(
        "sets of seeds, to judge one by the others",
        at=(3, 5, 10),
        between=(3, 100),
        because="an interval over sets needs three",
    )
    n_screen: int = whole_number(
        "full-data models on which estimators screen",
        at=(2, 3, 5),
        between=(2, 1_000),
        because=SPREAD,
    )
    images_per_class: int = whole_number(
        "training images of each class", at=(4, 12, 60), between=(4, 10_000)
    )
    queries_per_class: int = whole_number(
        "query images of each class", at=(2, 5, 10), between=(1, 300)
    )
    n_top: int = whole_number("images picked by the screening", at=(2, 10, 40), between=(2, 10_000))
    n_random: int = whole_number(
        "images drawn at random from the rest, as controls", at=(2, 6, 20), between=(1, 10_000)
    )
    n_image_seeds: int = whole_number(
        "seeds on which the picked images are confirmed",
        at=(6, 16, 20),
        between=(4, 100_000),
        because=REACH,
    )
    n_studies: int = whole_number(
        "simulated studies, to see which tests keep their level",
        at=(6, 30, 300),
        between=(2, 10_000),
        because="a share needs some",
    )
    folder: str = place("your images, a folder or .zip with one sub-folder per class; None: digits")
