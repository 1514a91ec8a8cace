"""Parameters of notebook 00."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="00_conventions", trains=False):
    """What a reader of notebook 00 may change."""

    n_seeds: int = whole_number(
        "simulated runs that closed forms are compared with",
        smoke=2_000,
        default=100_000,
        paper=100_000,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    seed_counts: tuple[int, ...] = whole_numbers(
        "numbers of seeds at which the tests are tried",
        smoke=(6, 20),
        default=(6, 10, 20, 40, 80, 160),
        paper=(6, 10, 20, 40, 80, 160, 320),
        low=6,
        high=1_000,
        because="a paired permutation test needs six",
    )
    n_repeats: int = whole_number(
        "simulated experiments for each of them",
        smoke=40,
        default=200,
        paper=1_000,
        low=10,
        high=100_000,
    )
    n_permutations: int = whole_number(
        "relabellings in each permutation test",
        smoke=99,
        default=199,
        paper=199,
        low=19,
        high=100_000,
        because="no p falls below .05 with fewer",
    )
