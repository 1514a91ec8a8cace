"""Parameters of notebook 06."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="06_unrolling_becomes_influence"):
    """What a reader of notebook 06 may change."""

    n_seeds: int = whole_number(
        "runs of each recipe", smoke=3, default=8, paper=16, low=2, high=100_000, because=SPREAD
    )
    n_left_out: int = whole_number(
        "training points whose responses are followed",
        smoke=4,
        default=8,
        paper=16,
        low=4,
        high=60,
        because="half of them are left out of 30 digits",
    )
    n_query: int = whole_number(
        "query points",
        smoke=8,
        default=40,
        paper=100,
        low=2,
        high=190,
        because="a correlation over queries needs two",
    )
    lengths: tuple[int, ...] = whole_numbers(
        "epochs of training, e.g. (32, 128); each length is a run of its own",
        smoke=(1, 3),
        default=(32, 128, 512),
        paper=(32, 128, 512, 2_048),
        low=1,
        high=100_000,
        because="they are numbers of epochs",
    )
    n_runs: int = whole_number(
        "runs on problems of a few parameters",
        smoke=4,
        default=12,
        paper=32,
        low=4,
        high=10_000,
        because="intervals over runs need some",
    )
    n_steps: int = whole_number(
        "steps of these", smoke=1_000, default=10_000, paper=100_000, low=1_000, high=10_000_000
    )
