"""Parameters of notebook 03."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="03_sources_of_noise"):
    """What a reader of notebook 03 may change."""

    nested_sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 50)",
        smoke=(4, 11),
        default=(10, 20, 50),
        paper=(10, 20, 50, 100, 200),
        low=4,
        high=200,
        because="the points left out exist at every size",
    )
    crossed_size: int = whole_number(
        "per class, for init x order and for the models",
        smoke=11,
        default=20,
        paper=20,
        low=11,
        high=200,
        because="33 points are the fewest that need two batches",
    )
    control_size: int = whole_number(
        "per class, so few that all points fit into one batch",
        smoke=4,
        default=10,
        paper=10,
        low=4,
        high=10,
        because="30 points are the most that fit into one batch",
    )
    n_init: int = whole_number(
        "initialisations in the crossed design",
        smoke=3,
        default=5,
        paper=12,
        low=3,
        high=1_000,
        because="intervals of components need three",
    )
    n_order: int = whole_number(
        "batch orders in the crossed design",
        smoke=3,
        default=5,
        paper=12,
        low=3,
        high=1_000,
        because="intervals of components need three",
    )
    n_seeds: int = whole_number(
        "runs per law in the comparisons of sizes and models",
        smoke=3,
        default=8,
        paper=10,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    points_per_class: int = whole_number(
        "training points left out, of each class, the same everywhere",
        smoke=1,
        default=1,
        paper=3,
        low=1,
        high=4,
    )
    n_checkpoints: int = whole_number(
        "late checkpoints that are averaged", smoke=1, default=1, paper=3, low=1, high=15
    )
    queries_per_class: int = whole_number(
        "query images per class", smoke=4, default=20, paper=50, low=1, high=300
    )
    n_crops: int = whole_number(
        "random crops of each query image",
        smoke=3,
        default=8,
        paper=16,
        low=2,
        high=1_000,
        because=SPREAD,
    )
    cifar_points: int = whole_number(
        "points left out of each class of CIFAR-10; 0: CIFAR-10 is not run",
        smoke=0,
        default=0,
        paper=3,
        low=0,
        high=10,
        because="there are 10 per class; 0 leaves CIFAR-10 out",
    )
