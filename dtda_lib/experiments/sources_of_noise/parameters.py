"""Parameters of notebook 03."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="03_sources_of_noise"):
    """What a reader of notebook 03 may change."""

    nested_sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 50)",
        at=((4, 5, 11), (10, 20, 50), (10, 20, 50, 200)),
        between=(4, 200),
        because="the points left out exist at every size",
    )
    n_steps: int = whole_number(
        "optimiser steps, for equal steps, to the nearest epoch",
        at=(6, 30, 80),
        between=(1, 10_000),
    )
    loss_percent: int = whole_number(
        "training loss to stop at, for an equal loss, in hundredths of a nat",
        at=(20, 10, 5),
        between=(1, 100),
    )
    crossed_size: int = whole_number(
        "per class, where initialisations and orders are crossed",
        at=(11, 20, 50),
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
        at=(3, 4, 20),
        between=(3, 1_000),
        because="intervals of components need three",
    )
    n_order: int = whole_number(
        "batch orders in the crossed design",
        at=(3, 3, 20),
        between=(3, 1_000),
        because="intervals of components need three",
    )
    n_seeds: int = whole_number(
        "runs per law in all other comparisons",
        at=(3, 3, 8),
        between=(3, 100_000),
        because="a standard deviation without one of them needs two",
    )
    crossed_points: int = whole_number(
        "points left out of each class in the crossed design", at=(1, 1, 1), between=(1, 4)
    )
    points_per_class: int = whole_number(
        "points left out of each class for sizes and models", at=(1, 1, 2), between=(1, 4)
    )
    queries_per_class: int = whole_number(
        "query images per class", at=(4, 20, 50), between=(1, 300)
    )
    model_size: int = whole_number(
        "training points per class for the models", at=(11, 20, 20), between=(4, 200)
    )
    widths: tuple[int, ...] = whole_numbers(
        "widths of CNN2-L in percent, e.g. (25, 100)",
        at=((50, 100), (50, 100), (25, 50, 100, 200, 400)),
        between=(4, 800),
    )
    depths: tuple[int, ...] = whole_numbers(
        "convolutional stages, e.g. (1, 2)", at=((1, 2), (1, 2), (1, 2, 3)), between=(1, 3)
    )
    rates: tuple[int, ...] = whole_numbers(
        "learning rates of the transformer, in units of the common one",
        at=((1, 10), (1, 10), (1, 3, 10)),
        between=(1, 30),
    )
    n_crops: int = whole_number(
        "random crops of each query image", at=(3, 8, 16), between=(2, 1_000), because=SPREAD
    )
    all_digits_points: int = whole_number(
        "points left out of a task of all ten digits; 0: not run", at=(0, 0, 4), between=(0, 10)
    )
    all_digits_size: int = whole_number(
        "training points per class of that task", at=(10, 10, 100), between=(10, 200)
    )
    cifar_points: int = whole_number(
        "points left out of CIFAR-10, each of another class; 0: not run",
        at=(0, 0, 3),
        between=(0, 10),
        because="there are ten classes; 0 leaves CIFAR-10 out",
    )
    cifar_sizes: tuple[int, ...] = whole_numbers(
        "training points per class of CIFAR-10", at=((10,), (10,), (10, 60)), between=(1, 60)
    )
