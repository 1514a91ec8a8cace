"""Parameters of notebook 02."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="02_ground_truth_vs_estimated"):
    """What a reader of notebook 02 may change."""

    sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 20)",
        smoke=(4,),
        default=(10,),
        paper=(10, 20),
        low=1,
        high=50,
    )
    n_seeds: int = whole_number(
        "runs per law",
        smoke=4,
        default=10,
        paper=10,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    n_checkpoints: int = whole_number(
        "late checkpoints that are averaged", smoke=1, default=2, paper=5, low=1, high=15
    )
    queries_per_class: int = whole_number(
        "query images per class", smoke=5, default=50, paper=300, low=1, high=300
    )
    protocol_points: int = whole_number(
        "points per class left out under every protocol (smallest size)",
        smoke=1,
        default=5,
        paper=10,
        low=1,
        high=50,
    )
    protocol_checkpoints: int = whole_number(
        "late checkpoints of the comparison of protocols",
        smoke=1,
        default=1,
        paper=2,
        low=1,
        high=15,
    )
    locality_points: int = whole_number(
        "points per class that are weighed down instead of left out",
        smoke=1,
        default=2,
        paper=3,
        low=1,
        high=50,
    )
    percents: tuple[int, ...] = whole_numbers(
        "percent of a point's weight that is taken away",
        smoke=(30,),
        default=(10, 30),
        paper=(3, 10, 30),
        low=1,
        high=99,
    )
    n_boot: int = whole_number(
        "bootstrap resamples of the seeds", smoke=50, default=200, paper=200, low=0, high=100_000
    )
