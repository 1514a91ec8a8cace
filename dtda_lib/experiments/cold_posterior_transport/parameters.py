"""Parameters of notebook 07."""

from dataclasses import dataclass

from dtda_lib.study.parameters import ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="07_cold_posterior_transport", trains=False):
    """What a reader of notebook 07 may change."""

    n_chains: int = whole_number(
        "chains of each kind of noise",
        at=(2_000, 20_000, 200_000),
        between=(400, 10_000_000),
        because="intervals are over 20 groups of chains",
    )
    betas: tuple[int, ...] = whole_numbers(
        "inverse temperatures at which the limit is followed",
        at=(
            (10, 100, 10_000),
            (10, 30, 100, 300, 1_000, 3_000, 10_000),
            (10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000),
        ),
        between=(5, 1_000_000),
        because="the grid of integrals serves no colder laws",
    )
