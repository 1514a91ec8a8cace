"""Parameters of notebook 04."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="04_variance_changing_examples"):
    """What a reader of notebook 04 may change."""

    n_seeds: int = whole_number(
        "line: runs in each of two independent sets",
        at=(8, 128, 400),
        between=(2, 100_000),
        because=SPREAD,
    )
    n_unrolled: int = whole_number(
        "runs that are differentiated along the way, of the first set",
        at=(3, 24, 128),
        between=(3, 100_000),
        because="a variance and its error need three",
    )
    n_data_sets: int = whole_number(
        "further draws of the line's points", at=(1, 2, 8), between=(1, 100)
    )
    n_data_set_seeds: int = whole_number(
        "runs on each of them",
        at=(6, 40, 96),
        between=(6, 100_000),
        because="two halves need three each",
    )
    digits_per_class: int = whole_number(
        "training digits of each class 0, 1, 2", at=(3, 10, 20), between=(2, 200)
    )
    queries_per_class: int = whole_number(
        "query digits per class", at=(4, 20, 40), between=(1, 300)
    )
    n_digit_seeds: int = whole_number(
        "digits: runs in each of two independent sets",
        at=(12, 128, 400),
        between=(3, 100_000),
        because="a variance and its error need three",
    )
    group_size: int = whole_number(
        "digits that are removed together",
        at=(2, 3, 3),
        between=(2, 4),
        because="all groups of this size are looked at",
    )
    n_groups: int = whole_number(
        "groups chosen by prediction, and as many random ones", at=(3, 12, 40), between=(1, 300)
    )
    n_boot: int = whole_number(
        "bootstrap resamples of seeds", at=(50, 1_000, 2_000), between=(0, 100_000)
    )
    n_null: int = whole_number(
        "random exchanges of runs before and after, to see what chance does",
        at=(100, 200, 400),
        between=(100, 10_000_000),
    )
