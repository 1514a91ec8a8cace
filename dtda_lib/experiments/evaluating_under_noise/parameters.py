"""Parameters of notebook 08."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="08_evaluating_under_noise"):
    """What a reader of notebook 08 may change."""

    n_left_out: int = whole_number(
        "points left out one at a time; half as many digits; None: the profile's",
        at=(6, 24, 40),
        between=(4, 60),
        because="half of them are left out of 30 digits",
    )
    n_seeds: int = whole_number(
        "models that are attributed, each with its paired retrainings; at least 8",
        at=(8, 64, 128),
        between=(2, 100_000),
        because=SPREAD,
    )
    n_unpaired: int = whole_number(
        "runs without each point that share no seed with anything; at least 8",
        at=(16, 256, 1_024),
        between=(8, 100_000),
        because="two halves of four runs at least",
    )
    n_subsets: int = whole_number(
        "random subsets of each size for LDS",
        at=(6, 40, 100),
        between=(4, 10_000),
        because="a rank correlation of fewer says nothing",
    )
    n_subset_seeds: int = whole_number(
        "runs without each subset",
        at=(8, 32, 64),
        between=(6, 100_000),
        because="halves need a standard deviation",
    )
    n_rate_seeds: int = whole_number(
        "runs at each learning rate, for fragility",
        at=(6, 12, 24),
        between=(6, 100_000),
        because="intervals over runs need six",
    )
