"""Parameters of notebook 09."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="09_data_pruning"):
    """What a reader of notebook 09 may change."""

    digits_per_class: int = whole_number(
        "training digits per class", at=(4, 20, 50), between=(2, 200)
    )
    queries_per_class: int = whole_number(
        "query images per class, which never train", at=(6, 120, 300), between=(1, 300)
    )
    validation_per_class: int = whole_number(
        "how many of these steer the pruning; the others judge it",
        at=(2, 20, 50),
        between=(1, 299),
        because="some queries must be left to judge",
    )
    removed_percent: int = whole_number(
        "share of the training points removed, and of labels made wrong",
        at=(10, 10, 10),
        between=(1, 50),
    )
    n_seeds: int = whole_number(
        "evaluation seeds, and as many scoring seeds besides",
        at=(4, 16, 40),
        between=(2, 100_000),
        because=SPREAD,
    )
    n_random: int = whole_number(
        "random removals per evaluation seed", at=(1, 2, 4), between=(1, 10_000)
    )
    cifar_per_class: int = whole_number(
        "training images per class of CIFAR-10; 0: CIFAR-10 is not run",
        at=(0, 0, 5_000),
        between=(10, 5_000),
        also=(0,),
        because="0 leaves CIFAR-10 out",
    )
    n_cifar_seeds: int = whole_number(
        "evaluation seeds on CIFAR-10, and as many scoring seeds besides",
        at=(3, 10, 10),
        between=(3, 1_000),
        because="an interval over seeds needs some",
    )
    cifar_epochs: int = whole_number("epochs on CIFAR-10", at=(1, 50, 50), between=(1, 1_000))
