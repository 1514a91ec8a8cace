"""Which groups of images are removed for which samples, and sizes that make no experiment."""

import numpy as np

from dtda_lib.study.settings import StudyError

from .ensemble import BY_MEAN, BY_PIXELS, BY_VARIANCE, RANDOM, Scored


def group_size(n_images: int, percent: int) -> int:
    """Images of a group: `percent` % of all, rounded down."""
    return n_images * percent // 100


def refuse_impossible(
    labels: np.ndarray, *, n_seeds: int, list_length: int, removed_percent: int, n_random: int
) -> None:
    """Refuse, before anything trains, sizes that fail only together.

    Args:
        labels: Digit of each training image `(image,)`.
        n_seeds, list_length, removed_percent, n_random: Parameters of notebook 10.

    Raises:
        StudyError: in one sentence that says what to give instead.
    """
    n, fewest = len(labels), int(np.unique(labels, return_counts=True)[1].min())
    k = group_size(n, removed_percent)
    if n_seeds < 6 or n_seeds % 2:
        raise StudyError(f"n_seeds={n_seeds} does not make two halves of 3 or more: give 6, 8, ...")
    if list_length >= n:
        raise StudyError(f"list_length={list_length} names all {n} images: give 1 to {n - 1}.")
    if not 1 <= k <= fewest:
        raise StudyError(
            f"removed_percent={removed_percent} of {n} images is {k}, to be drawn from the "
            f"{fewest} of a digit: give a share that is 1 to {fewest} images."
        )
    if n_random < 2:
        raise StudyError(f"n_random={n_random} leaves no error over random groups: give 2 or more.")


def spread_out(n: int, few: int) -> np.ndarray:
    """`few` of the positions 0..n-1, evenly spaced, the first included; all if there are no more.

    >>> spread_out(10, 3).tolist()
    [0, 3, 6]
    """
    return np.arange(min(n, few)) * (n // min(n, few))


def best(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest of `values (image,)`, largest first; ties keep their order."""
    return np.argsort(-values, kind="stable")[:k]


def removal_groups(
    scored: Scored,
    distances: np.ndarray,
    labels: np.ndarray,
    judged: np.ndarray,
    k: int,
    n_random: int,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Images that are removed together, k at a time, by name.

    "mean/3": those whose removal is predicted to raise the mean of m of sample 3 most;
    "variance/3": its variance over seeds; "nearest/3": those nearest to it in pixels; "random/2":
    drawn from all images; "digit0/2": drawn from the images of digit 0.

    Args:
        scored: Of the scoring runs.
        distances: In pixels, `(image, sample)`.
        labels: Digit of each image `(image,)`.
        judged: Samples that are judged.
        k: Images of a group.
        n_random: Random groups, from all images and from those of each digit.
        generator: Draws them.

    Raises:
        ValueError: a digit has fewer than k images.
    """
    groups = {}
    law = scored.base[:, None] + scored.shift  # (seed, image, sample)
    wider = law.var(axis=0, ddof=1) - scored.base.var(axis=0, ddof=1)
    by = {BY_MEAN: scored.shift.mean(axis=0), BY_VARIANCE: wider, BY_PIXELS: -distances}
    for name, values in by.items():
        groups |= {f"{name}/{sample}": best(values[:, sample], k) for sample in judged}
    pools = {RANDOM: np.arange(len(labels))}
    pools |= {f"digit{digit}": np.flatnonzero(labels == digit) for digit in np.unique(labels)}
    for name, pool in pools.items():
        if len(pool) < k:
            raise ValueError(f"groups: {k} images cannot be drawn from the {len(pool)} of {name}.")
        for draw in range(n_random):
            groups[f"{name}/{draw}"] = generator.choice(pool, k, replace=False)
    return groups
