"""Parameters of notebook 06."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="06_unrolling_becomes_influence"):
    """What a reader of notebook 06 may change."""

    n_seeds: int = whole_number(
        "runs of each recipe", at=(3, 8, 16), between=(2, 100_000), because=SPREAD
    )
    n_left_out: int = whole_number(
        "training points whose responses are followed",
        at=(4, 8, 16),
        between=(4, 60),
        because="half of them are left out of 30 digits",
    )
    n_query: int = whole_number(
        "query points",
        at=(8, 40, 100),
        between=(2, 190),
        because="a correlation over queries needs two",
    )
    lengths: tuple[int, ...] = whole_numbers(
        "epochs of training, e.g. (32, 128); each length is a run of its own",
        at=((1, 3), (32, 128, 512), (32, 128, 512, 2_048)),
        between=(1, 100_000),
        because="they are numbers of epochs",
    )
    n_runs: int = whole_number(
        "runs on problems of a few parameters",
        at=(4, 12, 32),
        between=(4, 10_000),
        because="intervals over runs need some",
    )
    n_steps: int = whole_number(
        "steps of these", at=(1_000, 10_000, 100_000), between=(1_000, 10_000_000)
    )
