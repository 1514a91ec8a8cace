"""Parameters of notebook 02."""

from dataclasses import dataclass

from dtda_lib.study.parameters import ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="02_ground_truth_vs_estimated"):
    """What a reader of notebook 02 may change."""

    sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 20)", at=((4,), (10,), (10, 20, 50)), between=(1, 50)
    )
    n_seeds: int = whole_number(
        "runs per law",
        at=(6, 10, 10),
        between=(6, 100_000),
        because="half of the seeds, less one, has a standard deviation",
    )
    points_per_class: int = whole_number(
        "points left out of each class, the same at each size", at=(1, 3, 10), between=(1, 50)
    )
    queries_per_class: int = whole_number(
        "query images per class", at=(5, 50, 100), between=(1, 300)
    )
    n_checkpoints: int = whole_number(
        "late checkpoints that truth and estimates are averaged over", at=(2, 2, 5), between=(1, 15)
    )
    bayesian_draws: int = whole_number(
        "draws of each chain of Bayesian IF; 0: left out",
        at=(3, 0, 50),
        between=(0, 10_000),
    )
    weighed_per_class: int = whole_number(
        "points per class that are weighed down instead of left out", at=(1, 2, 3), between=(1, 50)
    )
    percents: tuple[int, ...] = whole_numbers(
        "percent of a point's weight that is taken away",
        at=((30,), (10,), (3, 30)),
        between=(1, 99),
    )
    longer: int = whole_number(
        "down-weighting once more at the middle size, so many times as long; 0: not",
        at=(2, 0, 4),
        between=(0, 100),
    )
