"""Parameters of notebook 05."""

from dataclasses import dataclass

from dtda_lib.study.parameters import (
    SPREAD,
    ProfiledParameters,
    real_number,
    whole_number,
    whole_numbers,
)


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="05_predicting_retrained_laws"):
    """What a reader of notebook 05 may change."""

    n_train: int = whole_number(
        "training mixes of Concrete",
        at=(40, 200, 900),
        between=(20, 900),
        because="leverages need more points than inputs",
    )
    fewer: tuple[int, ...] = whole_numbers(
        "further sizes of that set, for points of high leverage",
        at=((20,), (60,), (100, 200)),
        between=(20, 900),
        because="leverages need more points than inputs",
    )
    n_query: int = whole_number(
        "query mixes, which never train",
        at=(4, 24, 60),
        between=(2, 90),
        because="992 mixes are distinct",
    )
    per_class: int = whole_number(
        "training digits of each class, 0, 1 and 2", at=(10, 50, 100), between=(4, 200)
    )
    queries_per_class: int = whole_number(
        "query digits of each class", at=(2, 8, 12), between=(1, 300)
    )
    n_sets: int = whole_number(
        "disjoint sets of seeds",
        at=(3, 3, 5),
        between=(3, 1_000),
        because="one set is left out at a time of what compares two",
    )
    n_seeds: int = whole_number(
        "runs per law in each set", at=(4, 10, 32), between=(2, 10_000), because=SPREAD
    )
    percents: tuple[int, ...] = whole_numbers(
        "sizes of random groups, in percent of the training points",
        at=((5, 50), (1, 5, 20, 50), (1, 5, 20, 50)),
        between=(1, 99),
    )
    n_groups: int = whole_number(
        "removals of each size",
        at=(2, 4, 12),
        between=(2, 300),
        because="the control is the prediction for another one",
    )
    width: int = whole_number(
        "units in each of two hidden layers", at=(4, 10, 10), between=(1, 100)
    )
    epochs: int = whole_number(
        "passes over the data; smaller sets of Concrete make more, for as many steps",
        at=(10, 30, 40),
        between=(6, 10_000),
        because="SOURCE takes two models from each third of training",
    )
    rate: float = real_number(
        "learning rate of SGD at the start; it falls to 0", at=(0.1, 0.1, 0.1), between=(1e-4, 1)
    )
    decay: float = real_number("weight decay", at=(1e-3, 1e-3, 1e-3), between=(0, 1))
    damping: float = real_number(
        "damping beside the weight decay, in units of 1 / (sum of learning rates)",
        at=(1.0, 1.0, 1.0),
        between=(0.001, 1_000),
    )
