"""Parameters of notebook 01."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="01_noise_vs_influence"):
    """What a reader of notebook 01 may change."""

    sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 20)", at=((4,), (10,), (10, 20, 50)), between=(1, 50)
    )
    n_sets: int = whole_number(
        "disjoint sets of seeds",
        at=(3, 3, 4),
        between=(3, 1_000),
        because="one set is left out at a time of what compares two",
    )
    n_seeds: int = whole_number(
        "runs per law in each set", at=(3, 10, 10), between=(2, 10_000), because=SPREAD
    )
    points_per_class: int = whole_number(
        "points left out of each class, the same at each size",
        at=(2, 3, 10),
        between=(1, 50),
    )
    n_checkpoints: int = whole_number(
        "late checkpoints that are measured", at=(2, 5, 5), between=(1, 15)
    )
    queries_per_class: int = whole_number(
        "query images per class", at=(5, 50, 100), between=(1, 300)
    )
