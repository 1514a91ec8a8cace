"""Parameters of notebook 11."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, place, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="11_your_own_model"):
    """What a reader of notebook 11 may change."""

    n_points: int = whole_number(
        "patients that train",
        smoke=20,
        default=100,
        paper=300,
        low=20,
        high=400,
        because="a rank correlation needs some, the table has 442",
    )
    n_query: int = whole_number(
        "patients that are asked about and never train",
        smoke=4,
        default=20,
        paper=50,
        low=2,
        high=190,
        because="a correlation over queries needs two",
    )
    n_pilot: int = whole_number(
        "seeds of the pilot",
        smoke=3,
        default=4,
        paper=4,
        low=3,
        high=1_000,
        because="a standard deviation of fewer says nothing",
    )
    n_seeds: int = whole_number(
        "seeds of one set, the size of a user's study",
        smoke=12,
        default=10,
        paper=20,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    n_sets: int = whole_number(
        "sets of seeds, to judge one by the others",
        smoke=3,
        default=5,
        paper=10,
        low=3,
        high=100,
        because="an interval over sets needs three",
    )
    n_screen: int = whole_number(
        "full-data models on which estimators screen",
        smoke=2,
        default=3,
        paper=5,
        low=2,
        high=1_000,
        because=SPREAD,
    )
    images_per_class: int = whole_number(
        "training images of each class", smoke=4, default=12, paper=60, low=4, high=10_000
    )
    queries_per_class: int = whole_number(
        "query images of each class", smoke=2, default=5, paper=10, low=1, high=300
    )
    n_top: int = whole_number(
        "images picked by the screening", smoke=2, default=10, paper=40, low=2, high=10_000
    )
    n_random: int = whole_number(
        "images drawn at random from the rest, as controls",
        smoke=2,
        default=6,
        paper=20,
        low=1,
        high=10_000,
    )
    n_image_seeds: int = whole_number(
        "seeds on which the picked images are confirmed",
        smoke=3,
        default=12,
        paper=20,
        low=3,
        high=100_000,
        because=SPREAD,
    )
    folder: str = place("your images, a folder or .zip with one sub-folder per class; None: digits")
