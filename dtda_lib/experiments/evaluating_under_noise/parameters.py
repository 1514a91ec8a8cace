"""Parameters of notebook 08."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="08_evaluating_under_noise"):
    """What a reader of notebook 08 may change."""

    n_left_out: int = whole_number(
        "points left out one at a time; half as many digits; None: the profile's",
        smoke=6,
        default=24,
        paper=40,
        low=4,
        high=60,
        because="half of them are left out of 30 digits",
    )
    n_seeds: int = whole_number(
        "models that are attributed, each with its paired retrainings; at least 8",
        smoke=8,
        default=64,
        paper=128,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    n_unpaired: int = whole_number(
        "runs without each point that share no seed with anything; at least 8",
        smoke=16,
        default=256,
        paper=1_024,
        low=8,
        high=100_000,
        because="two halves of four runs at least",
    )
    n_subsets: int = whole_number(
        "random subsets of each size for LDS",
        smoke=6,
        default=40,
        paper=100,
        low=4,
        high=10_000,
        because="a rank correlation of fewer says nothing",
    )
    n_subset_seeds: int = whole_number(
        "runs without each subset",
        smoke=8,
        default=32,
        paper=64,
        low=6,
        high=100_000,
        because="halves need a standard deviation",
    )
    n_rate_seeds: int = whole_number(
        "runs at each learning rate, for fragility",
        smoke=6,
        default=12,
        paper=24,
        low=6,
        high=100_000,
        because="intervals over runs need six",
    )
