"""Parameters of notebook 01."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number, whole_numbers


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="01_noise_vs_influence"):
    """What a reader of notebook 01 may change."""

    sizes: tuple[int, ...] = whole_numbers(
        "training points per class, e.g. (10, 20)", at=((4,), (10,), (10, 20, 50)), between=(1, 50)
    )
    n_seeds: int = whole_number(
        "runs per law", at=(3, 10, 10), between=(2, 100_000), because=SPREAD
    )
    replication_sizes: tuple[int, ...] = whole_numbers(
        "sizes that are trained again with independent seeds",
        at=((4,), (10,), (10,)),
        between=(1, 50),
    )
    n_replication_seeds: int = whole_number(
        "independent runs for the replication",
        at=(3, 10, 10),
        between=(2, 100_000),
        also=(0,),
        because=SPREAD,
    )
    n_checkpoints: int = whole_number(
        "late checkpoints that are measured", at=(2, 5, 5), between=(1, 15)
    )
    queries_per_class: int = whole_number(
        "query images per class", at=(5, 100, 300), between=(1, 300)
    )
    n_null: int = whole_number(
        "simulated noise-only pairs", at=(2_000, 20_000, 20_000), between=(100, 10_000_000)
    )
