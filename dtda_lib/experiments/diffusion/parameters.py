"""Parameters of notebook 10."""

from dataclasses import dataclass

from dtda_lib.study.parameters import SPREAD, ProfiledParameters, whole_number


@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook="10_diffusion"):
    """What a reader of notebook 10 may change."""

    digits_per_class: int = whole_number(
        "training images of each digit", at=(20, 100, 200), between=(2, 200)
    )
    queries_per_class: int = whole_number(
        "images of each digit that never train and make the code",
        at=(60, 300, 300),
        between=(1, 300),
    )
    n_draws: int = whole_number(
        "noisy rows of each training image",
        at=(16, 64, 64),
        between=(8, 10_000),
        because="8 make the curvature",
    )
    n_epochs: int = whole_number("passes over all rows", at=(12, 12, 12), between=(1, 1_000))
    n_generators: int = whole_number("models that generate", at=(2, 8, 16), between=(1, 1_000))
    samples_per_run: int = whole_number("samples of each of them", at=(3, 3, 4), between=(1, 1_000))
    n_seeds: int = whole_number(
        "models that score, an even number", at=(8, 32, 64), between=(2, 100_000), because=SPREAD
    )
    list_length: int = whole_number("images on a list", at=(4, 10, 20), between=(1, 100))
    n_splits: int = whole_number(
        "random splits of the scoring seeds into halves", at=(4, 24, 48), between=(1, 1_000)
    )
    n_judged: int = whole_number(
        "samples whose lists are removed and retrained",
        at=(3, 12, 24),
        between=(2, 1_000),
        because="an interval over samples needs two",
    )
    removed_percent: int = whole_number(
        "share of the images that is removed", at=(10, 10, 10), between=(1, 50)
    )
    n_random: int = whole_number(
        "random groups, of all images and of each digit", at=(2, 4, 8), between=(1, 10_000)
    )
    n_judging_seeds: int = whole_number(
        "models that are retrained without each group",
        at=(3, 8, 24),
        between=(3, 100_000),
        because="a variance and its error need three",
    )
