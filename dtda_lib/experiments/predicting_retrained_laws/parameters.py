"""Parameters of notebook 05."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="05_predicting_retrained_laws"):
    """What a reader of notebook 05 may change."""

    n_train: int = whole_number(
        "training points",
        at=(20, 100, 200),
        between=(20, 800),
        because="leverages need more points than inputs",
    )
    n_query: int = whole_number(
        "query points, which never train",
        at=(4, 40, 100),
        between=(2, 190),
        because="a correlation over queries needs two",
    )
    n_seeds: int = whole_number(
        "runs per law, a multiple of 4", at=(12, 40, 160), between=(2, 100_000), because=SPREAD
    )
    percents: tuple[int, ...] = whole_numbers(
        "sizes of random groups, in percent of the training points",
        at=((5, 20), (1, 2, 5, 10, 20, 50), (1, 2, 5, 10, 20, 50)),
        between=(1, 99),
    )
    n_groups: int = whole_number("random groups of each size", at=(2, 6, 12), between=(1, 300))
    n_leverage: int = whole_number(
        "further single points, those of highest leverage", at=(2, 8, 16), between=(1, 100)
    )
    n_splits: int = whole_number(
        "splits of the seeds into independent halves", at=(2, 8, 8), between=(1, 1_000)
    )
