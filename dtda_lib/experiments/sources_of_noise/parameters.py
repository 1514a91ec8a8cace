"""Parameters of notebook 03."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="03_sources_of_noise"):
    """What a reader of notebook 03 may change."""

    nested_sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 50)",
        at=((4, 11), (10, 20, 50), (10, 20, 50, 100, 200)),
        between=(4, 200),
        because="the points left out exist at every size",
    )
    crossed_size: int = whole_number(
        "per class, for init x order and for the models",
        at=(11, 20, 20),
        between=(11, 200),
        because="33 points are the fewest that need two batches",
    )
    control_size: int = whole_number(
        "per class, so few that all points fit into one batch",
        at=(4, 10, 10),
        between=(4, 10),
        because="30 points are the most that fit into one batch",
    )
    n_init: int = whole_number(
        "initialisations in the crossed design",
        at=(3, 5, 12),
        between=(3, 1_000),
        because="intervals of components need three",
    )
    n_order: int = whole_number(
        "batch orders in the crossed design",
        at=(3, 5, 12),
        between=(3, 1_000),
        because="intervals of components need three",
    )
    n_seeds: int = whole_number(
        "runs per law in the comparisons of sizes and models",
        at=(3, 8, 10),
        between=(2, 100_000),
        because=SPREAD,
    )
    points_per_class: int = whole_number(
        "training points left out, of each class, the same everywhere", at=(1, 1, 3), between=(1, 4)
    )
    n_checkpoints: int = whole_number(
        "late checkpoints that are averaged", at=(1, 1, 3), between=(1, 15)
    )
    queries_per_class: int = whole_number(
        "query images per class", at=(4, 20, 50), between=(1, 300)
    )
    n_crops: int = whole_number(
        "random crops of each query image", at=(3, 8, 16), between=(2, 1_000), because=SPREAD
    )
    cifar_points: int = whole_number(
        "points left out of each class of CIFAR-10; 0: CIFAR-10 is not run",
        at=(0, 0, 3),
        between=(0, 10),
        because="there are 10 per class; 0 leaves CIFAR-10 out",
    )
