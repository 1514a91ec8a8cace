"""Parameters of notebook 04."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="04_variance_changing_examples"):
    """What a reader of notebook 04 may change."""

    n_seeds: int = whole_number(
        "line: runs in each of two independent sets",
        smoke=8,
        default=128,
        paper=400,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    n_unrolled: int = whole_number(
        "runs that are differentiated along the way, of the first set",
        smoke=3,
        default=24,
        paper=128,
        low=3,
        high=100_000,
        because="a variance and its error need three",
    )
    n_data_sets: int = whole_number(
        "further draws of the line's points", smoke=1, default=2, paper=8, low=1, high=100
    )
    n_data_set_seeds: int = whole_number(
        "runs on each of them",
        smoke=6,
        default=40,
        paper=96,
        low=6,
        high=100_000,
        because="two halves need three each",
    )
    digits_per_class: int = whole_number(
        "training digits of each class 0, 1, 2", smoke=3, default=10, paper=20, low=2, high=200
    )
    queries_per_class: int = whole_number(
        "query digits per class", smoke=4, default=20, paper=40, low=1, high=300
    )
    n_digit_seeds: int = whole_number(
        "digits: runs in each of two independent sets",
        smoke=12,
        default=128,
        paper=400,
        low=3,
        high=100_000,
        because="a variance and its error need three",
    )
    group_size: int = whole_number(
        "digits that are removed together",
        smoke=2,
        default=3,
        paper=3,
        low=2,
        high=4,
        because="all groups of this size are looked at",
    )
    n_groups: int = whole_number(
        "groups chosen by prediction, and as many random ones",
        smoke=3,
        default=12,
        paper=40,
        low=1,
        high=300,
    )
    n_boot: int = whole_number(
        "bootstrap resamples of seeds", smoke=50, default=1_000, paper=2_000, low=0, high=100_000
    )
    n_null: int = whole_number(
        "random exchanges of runs before and after, to see what chance does",
        smoke=100,
        default=200,
        paper=400,
        low=100,
        high=10_000_000,
    )
