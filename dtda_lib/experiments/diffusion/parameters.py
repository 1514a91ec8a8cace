"""Parameters of notebook 10."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="10_diffusion"):
    """What a reader of notebook 10 may change."""

    digits_per_class: int = whole_number(
        "training images of each digit", smoke=20, default=100, paper=200, low=2, high=200
    )
    queries_per_class: int = whole_number(
        "images of each digit that never train and make the code",
        smoke=60,
        default=300,
        paper=300,
        low=1,
        high=300,
    )
    n_draws: int = whole_number(
        "noisy rows of each training image",
        smoke=16,
        default=64,
        paper=64,
        low=8,
        high=10_000,
        because="8 make the curvature",
    )
    n_epochs: int = whole_number(
        "passes over all rows", smoke=12, default=12, paper=12, low=1, high=1_000
    )
    n_generators: int = whole_number(
        "models that generate", smoke=2, default=8, paper=16, low=1, high=1_000
    )
    samples_per_run: int = whole_number(
        "samples of each of them", smoke=3, default=3, paper=4, low=1, high=1_000
    )
    n_seeds: int = whole_number(
        "models that score, an even number",
        smoke=8,
        default=32,
        paper=64,
        low=2,
        high=100_000,
        because=SPREAD,
    )
    list_length: int = whole_number(
        "images on a list", smoke=4, default=10, paper=20, low=1, high=100
    )
    n_splits: int = whole_number(
        "random splits of the scoring seeds into halves",
        smoke=4,
        default=24,
        paper=48,
        low=1,
        high=1_000,
    )
    n_judged: int = whole_number(
        "samples whose lists are removed and retrained",
        smoke=3,
        default=12,
        paper=24,
        low=2,
        high=1_000,
        because="an interval over samples needs two",
    )
    removed_percent: int = whole_number(
        "share of the images that is removed", smoke=10, default=10, paper=10, low=1, high=50
    )
    n_random: int = whole_number(
        "random groups, of all images and of each digit",
        smoke=2,
        default=4,
        paper=8,
        low=1,
        high=10_000,
    )
    n_judging_seeds: int = whole_number(
        "models that are retrained without each group",
        smoke=3,
        default=8,
        paper=24,
        low=3,
        high=100_000,
        because="a variance and its error need three",
    )
