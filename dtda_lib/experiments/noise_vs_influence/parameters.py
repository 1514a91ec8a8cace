"""Parameters of notebook 01."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="01_noise_vs_influence"):
    """What a reader of notebook 01 may change."""

    sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 20)",
        smoke=(4,),
        default=(10,),
        paper=(10, 20, 50),
        low=1,
        high=50,
    )
    n_seeds: int = whole_number(
        "runs per law",
        smoke=3,
        default=10,
        paper=10,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    replication_sizes: tuple[int, ...] = whole_numbers(
        "sizes that are trained again with independent seeds",
        smoke=(4,),
        default=(10,),
        paper=(10,),
        low=1,
        high=50,
    )
    n_replication_seeds: int = whole_number(
        "independent runs for the replication",
        smoke=3,
        default=10,
        paper=10,
        low=2,
        high=100_000,
        also=(0,),
        because=SPREAD,
    )
    n_checkpoints: int = whole_number(
        "late checkpoints that are measured", smoke=2, default=5, paper=5, low=1, high=15
    )
    queries_per_class: int = whole_number(
        "query images per class", smoke=5, default=100, paper=300, low=1, high=300
    )
    n_null: int = whole_number(
        "simulated noise-only pairs",
        smoke=2_000,
        default=20_000,
        paper=20_000,
        low=100,
        high=10_000_000,
    )
