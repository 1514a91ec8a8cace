"""Parameters of notebook 04."""

from dataclasses import dataclass

from dtda_lib.study.parameters import ProfiledParameters, real_number, whole_number

_ERROR = "a variance and its error need three"


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="04_variance_changing_examples"):
    """What a reader of notebook 04 may change."""

    n_seeds: int = whole_number(
        "line: runs per law in each of two disjoint sets",
        at=(8, 64, 2_000),
        between=(3, 100_000),
        because=_ERROR,
    )
    n_lines: int = whole_number(
        "further lines, with other points", at=(2, 5, 159), between=(1, 1_000)
    )
    n_line_seeds: int = whole_number(
        "runs per law on each of them, in each of two sets",
        at=(6, 16, 64),
        between=(3, 100_000),
        because=_ERROR,
    )
    n_again: int = whole_number(
        "fresh runs per law on a line that these leave open",
        at=(8, 64, 256),
        between=(3, 100_000),
        because=_ERROR,
    )
    n_unrolled: int = whole_number(
        "runs that are differentiated along the way, of the first set",
        at=(3, 12, 128),
        between=(3, 100_000),
        because=_ERROR,
    )
    digits_per_class: int = whole_number(
        "training digits of each class 0, 1, 2", at=(3, 10, 20), between=(2, 200)
    )
    queries_per_class: int = whole_number(
        "query digits per class", at=(4, 20, 40), between=(2, 300)
    )
    n_digit_sets: int = whole_number(
        "digits: disjoint sets of seeds",
        at=(3, 3, 4),
        between=(3, 100),
        because="one set is left out at a time of what compares two",
    )
    n_digit_seeds: int = whole_number(
        "digits: runs per law in each set", at=(12, 32, 150), between=(3, 100_000), because=_ERROR
    )
    group_size: int = whole_number(
        "digits that are removed together",
        at=(2, 3, 3),
        between=(2, 4),
        because="all groups of this size are looked at",
    )
    n_groups: int = whole_number(
        "groups chosen by prediction, and as many random ones", at=(3, 10, 40), between=(2, 300)
    )
    line_width: int = whole_number(
        "units in each of the line's two hidden layers", at=(12, 12, 12), between=(1, 1_000)
    )
    line_rate: float = real_number(
        "line: learning rate at the start", at=(0.1, 0.1, 0.1), between=(1e-6, 1)
    )
    line_epochs: int = whole_number(
        "line: epochs of four batches", at=(100, 100, 100), between=(1, 100_000)
    )
    digit_width: int = whole_number(
        "units in the digits' hidden layer", at=(16, 32, 32), between=(2, 1_000)
    )
    digit_rate: float = real_number(
        "digits: learning rate at the start", at=(0.05, 0.05, 0.05), between=(1e-6, 1)
    )
    digit_epochs: int = whole_number(
        "digits: epochs of batches of 10", at=(30, 30, 30), between=(1, 100_000)
    )
    weight_decay: float = real_number(
        "weight decay of both", at=(1e-3, 1e-3, 1e-3), between=(1e-9, 1)
    )
    damping: float = real_number(
        "damped influence: ridge x sum of step sizes", at=(1.0, 1.0, 1.0), between=(0, 1_000)
    )
    n_boot: int = whole_number(
        "bootstrap resamples of seeds", at=(50, 1_000, 2_000), between=(0, 100_000)
    )
