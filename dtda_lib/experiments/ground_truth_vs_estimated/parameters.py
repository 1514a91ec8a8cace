"""Parameters of notebook 02."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="02_ground_truth_vs_estimated"):
    """What a reader of notebook 02 may change."""

    sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 20)", at=((4,), (10,), (10, 20)), between=(1, 50)
    )
    n_seeds: int = whole_number(
        "runs per law", at=(4, 10, 10), between=(2, 100_000), because=SPREAD
    )
    n_checkpoints: int = whole_number(
        "late checkpoints that are averaged", at=(1, 2, 5), between=(1, 15)
    )
    queries_per_class: int = whole_number(
        "query images per class", at=(5, 50, 300), between=(1, 300)
    )
    protocol_points: int = whole_number(
        "points per class left out under every protocol (smallest size)",
        at=(1, 5, 10),
        between=(1, 50),
    )
    protocol_checkpoints: int = whole_number(
        "late checkpoints of the comparison of protocols", at=(1, 1, 2), between=(1, 15)
    )
    locality_points: int = whole_number(
        "points per class that are weighed down instead of left out", at=(1, 2, 3), between=(1, 50)
    )
    percents: tuple[int, ...] = whole_numbers(
        "percent of a point's weight that is taken away",
        at=((30,), (10, 30), (3, 10, 30)),
        between=(1, 99),
    )
    n_boot: int = whole_number(
        "bootstrap resamples of the seeds", at=(50, 200, 200), between=(0, 100_000)
    )
