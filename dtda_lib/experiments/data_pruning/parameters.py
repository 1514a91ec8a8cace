"""Parameters of notebook 09."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="09_data_pruning"):
    """What a reader of notebook 09 may change."""

    digits_per_class: int = whole_number(
        "training digits per class", smoke=4, default=20, paper=50, low=2, high=200
    )
    queries_per_class: int = whole_number(
        "query images per class, which never train",
        smoke=6,
        default=120,
        paper=300,
        low=1,
        high=300,
    )
    validation_per_class: int = whole_number(
        "how many of these steer the pruning; the others judge it",
        smoke=2,
        default=20,
        paper=50,
        low=1,
        high=299,
        because="some queries must be left to judge",
    )
    removed_percent: int = whole_number(
        "share of the training points removed, and of labels made wrong",
        smoke=10,
        default=10,
        paper=10,
        low=1,
        high=50,
    )
    n_seeds: int = whole_number(
        "evaluation seeds, and as many scoring seeds besides",
        smoke=4,
        default=16,
        paper=40,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    n_random: int = whole_number(
        "random removals per evaluation seed", smoke=1, default=2, paper=4, low=1, high=10_000
    )
    cifar_per_class: int = whole_number(
        "training images per class of CIFAR-10; 0: CIFAR-10 is not run",
        smoke=0,
        default=0,
        paper=5_000,
        low=10,
        high=5_000,
        also=(0,),
        because="0 leaves CIFAR-10 out",
    )
    n_cifar_seeds: int = whole_number(
        "evaluation seeds on CIFAR-10, and as many scoring seeds besides",
        smoke=3,
        default=10,
        paper=10,
        low=3,
        high=1_000,
        because="an interval over seeds needs some",
    )
    cifar_epochs: int = whole_number(
        "epochs on CIFAR-10", smoke=1, default=50, paper=50, low=1, high=1_000
    )
