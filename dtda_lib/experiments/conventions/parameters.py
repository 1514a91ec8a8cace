"""Parameters of notebook 00."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="00_conventions", trains=False):
    """What a reader of notebook 00 may change."""

    n_seeds: int = whole_number(
        "simulated runs that closed forms are compared with",
        at=(2_000, 100_000, 100_000),
        between=(2, 100_000),
        because=SPREAD,
    )
    seed_counts: tuple[int, ...] = whole_numbers(
        "numbers of seeds at which the tests are tried",
        at=((6, 20), (6, 10, 20, 40, 80, 160), (6, 10, 20, 40, 80, 160, 320)),
        between=(6, 1_000),
        because="a paired permutation test needs six",
    )
    n_repeats: int = whole_number(
        "simulated experiments for each of them", at=(40, 200, 1_000), between=(10, 100_000)
    )
    n_permutations: int = whole_number(
        "relabellings in each permutation test",
        at=(99, 199, 199),
        between=(19, 100_000),
        because="no p falls below .05 with fewer",
    )
