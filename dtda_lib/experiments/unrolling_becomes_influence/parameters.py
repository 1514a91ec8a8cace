"""Parameters of notebook 06."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, real_number, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="06_unrolling_becomes_influence"):
    """What a reader of notebook 06 may change."""

    n_seeds: int = whole_number(
        "runs of each recipe", at=(4, 8, 16), between=(4, 10_000), because=SPREAD
    )
    first_run: int = whole_number(
        "first of these in the stream of seeds; those before it chose the settings",
        at=(0, 0, 16),
        between=(0, 10_000),
    )
    n_left_out: int = whole_number(
        "training points whose responses are followed", at=(4, 8, 32), between=(4, 100)
    )
    n_train: int = whole_number(
        "mixes of Concrete that train", at=(100, 400, 400), between=(100, 900)
    )
    hidden: int = whole_number("tanh units of the network", at=(2, 3, 3), between=(1, 64))
    long_steps: int = whole_number(
        "steps of the long training",
        at=(512, 16_384, 131_072),
        between=(128, 10_000_000),
        because="it is looked at from 64 steps on",
    )
    rate: float = real_number("first step size", at=(0.3, 0.3, 0.3), between=(1e-4, 1.0))
    half_life: int = whole_number(
        "steps after which a decaying step is half of the first",
        at=(500, 500, 500),
        between=(1, 1_000_000),
    )
    weight_decay: float = real_number(
        "weight decay",
        at=(0.01, 0.01, 0.01),
        between=(1e-5, 0.5),
        because="without any there is no minimum to reach",
    )
    damping: float = real_number(
        "damping, in units of 1 / sum of steps", at=(1.0, 1.0, 1.0), between=(0.01, 100.0)
    )
    usual_steps: int = whole_number(
        "steps of the largest constant size; smaller ones take more",
        at=(64, 256, 1_024),
        between=(64, 100_000),
    )
    large_epochs: int = whole_number(
        "epochs of the larger networks", at=(2, 12, 400), between=(2, 10_000)
    )
    n_runs: int = whole_number(
        "runs on problems of a few parameters",
        at=(4, 12, 32),
        between=(4, 10_000),
        because="intervals over runs need some",
    )
    n_steps: int = whole_number(
        "steps of these", at=(1_000, 10_000, 100_000), between=(1_000, 10_000_000)
    )
