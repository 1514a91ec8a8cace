"""Parameters of notebook 05."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="05_predicting_retrained_laws"):
    """What a reader of notebook 05 may change."""

    n_train: int = whole_number(
        "training points",
        smoke=20,
        default=100,
        paper=200,
        low=20,
        high=800,
        because="leverages need more points than inputs",
    )
    n_query: int = whole_number(
        "query points, which never train",
        smoke=4,
        default=40,
        paper=100,
        low=2,
        high=190,
        because="a correlation over queries needs two",
    )
    n_seeds: int = whole_number(
        "runs per law, a multiple of 4",
        smoke=12,
        default=40,
        paper=160,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    percents: tuple[int, ...] = whole_numbers(
        "sizes of random groups, in percent of the training points",
        smoke=(5, 20),
        default=(1, 2, 5, 10, 20, 50),
        paper=(1, 2, 5, 10, 20, 50),
        low=1,
        high=99,
    )
    n_groups: int = whole_number(
        "random groups of each size", smoke=2, default=6, paper=12, low=1, high=300
    )
    n_leverage: int = whole_number(
        "further single points, those of highest leverage",
        smoke=2,
        default=8,
        paper=16,
        low=1,
        high=100,
    )
    n_splits: int = whole_number(
        "splits of the seeds into independent halves",
        smoke=2,
        default=8,
        paper=8,
        low=1,
        high=1_000,
    )
