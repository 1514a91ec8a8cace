"""Parameters of notebook 08."""

from dataclasses import dataclass

from dtda_lib.study.parameters import (
    ProfiledParameters,
    real_number,
    whole_number,
    whole_numbers,
)


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="08_evaluating_under_noise"):
    """What a reader of notebook 08 may change."""

    n_left_out: int = whole_number(
        "points left out one at a time (CNN: half as many)",
        at=(6, 8, 24),
        between=(6, 60),
        because="correlations are over points",
    )
    n_seeds: int = whole_number(
        "models attributed in the base regime (digits: half, CNN: a sixth)",
        at=(10, 16, 128),
        between=(10, 100_000),
        because="intervals over blocks of half of the runs need five",
    )
    n_regime_seeds: int = whole_number(
        "models attributed at every other rate and length (CNN: half)",
        at=(6, 6, 32),
        between=(6, 100_000),
        because="intervals over runs need six",
    )
    n_unpaired: int = whole_number(
        "unpaired runs without each point (digits: half, CNN: a sixteenth)",
        at=(16, 32, 1_024),
        between=(10, 100_000),
        because="two halves of five runs at least",
    )
    n_subsets: int = whole_number(
        "random subsets of each size for LDS (CNN: half)",
        at=(8, 12, 80),
        between=(8, 10_000),
        because="a rank correlation of fewer than four says nothing",
    )
    n_subset_seeds: int = whole_number(
        "runs without each subset (CNN: a quarter)",
        at=(12, 16, 48),
        between=(12, 100_000),
        because="halves need a standard deviation",
    )
    lengths: tuple[int, ...] = whole_numbers(
        "lengths of training in steps, the first of them the base regime",
        at=((20,), (80, 240), (300, 2_048, 8_192)),
        between=(20, 100_000),
    )
    rate: float = real_number(
        "learning rate in the base regime of Concrete (others: four times that)",
        at=(0.05, 0.05, 0.05),
        between=(1e-4, 1.0),
    )
    weight_decay: float = real_number("weight decay", at=(1e-3, 1e-3, 1e-3), between=(0.0, 0.1))
    damping: float = real_number(
        "damping of influence functions, in units of 1 / sum of learning rates",
        at=(1.0, 1.0, 1.0),
        between=(1e-3, 1e3),
    )
    width: int = whole_number(
        "hidden units of a layer, Concrete and digits",
        at=(8, 16, 16),
        between=(2, 256),
    )
    n_draws: int = whole_number(
        "draws of each chain of Bayesian IF", at=(4, 20, 100), between=(2, 10_000)
    )
    cnn_images: int = whole_number(
        "images of each digit that train the CNN", at=(2, 10, 200), between=(2, 200)
    )
