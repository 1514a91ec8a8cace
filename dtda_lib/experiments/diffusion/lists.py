"""Do lists of influential images differ more between the questions asked than between seeds?

A *list* holds the k images of largest influence on one sample by one Δ: what the distance between
the law of m and the predicted law without the image is (Algorithm 1 of arXiv 2506.12965). Two lists
of the same seeds share their noise, so lists by two Δ's are compared across two halves of the
seeds, as the control is: overlap(Δ1 of half A, Δ2 of half B) against overlap(Δ1 of A, Δ1 of B).
"""

import numpy as np
import pandas as pd
from scipy import stats

from dtda_lib.statistics.distances import get_distance
from dtda_lib.statistics.over_seeds import jackknife

from .ensemble import Scored

LIST_KINDS = ("mean", "variance", "w2", "own", "helps")
"""|shift of the mean|, |shift of the variance|, W2, |shift| of one model, signed shift of the mean.
"""
PAIRS = (
    ("mean", "w2"),
    ("mean", "variance"),
    ("variance", "w2"),
    ("mean", "own"),
    ("w2", "own"),
    ("helps", "w2"),
)


def influences_by_kind(scored: Scored, seeds: np.ndarray, own: int) -> np.ndarray:
    """Influence by each of `LIST_KINDS`, `(kind, image, sample)`.

    Args:
        scored: All scoring runs.
        seeds: Those that make the law.
        own: The one of them that makes "own".
    """
    base, shift = scored.base[seeds, None], scored.shift[seeds]
    law = base + shift  # (seed, image, sample)
    mean, variance, w2 = (get_distance(name)(base, law) for name in ("mean", "variance", "w2"))
    return np.stack([abs(mean), abs(variance), w2, abs(scored.shift[own]), mean])


def top(influence: np.ndarray, k: int) -> np.ndarray:
    """Which images are among the k largest along the second axis `(kind, image, sample)`."""
    order = np.argsort(-influence, axis=1, kind="stable")[:, :k]
    chosen = np.zeros(influence.shape, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


def splits(n_seeds: int, n_splits: int, generator: np.random.Generator) -> np.ndarray:
    """`(split, pair)`: whether seed 2p (else 2p + 1) of pair p goes to the first half.

    Seeds are split within pairs, so that halves stay equal when a pair is left out.

    Raises:
        ValueError: fewer than six seeds, or an odd number.
    """
    if n_seeds < 6 or n_seeds % 2:
        raise ValueError(f"lists: {n_seeds} seeds do not make two halves of 3 or more; take 6, 8..")
    return generator.integers(2, size=(n_splits, n_seeds // 2)).astype(bool)


def overlaps(scored: Scored, k: int, halves: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Share of a list that the other half's list has, `(kind, kind, sample)`, mean over splits.

    Entry (a, b) is the mean of overlap(a of A, b of B) and overlap(b of A, a of B); the diagonal
    is the control. "own" is made by one seed of each half, another pair at each split.

    Args:
        scored: All scoring runs.
        k: Length of a list.
        halves: From `splits`.
        pairs: Which pairs of seeds take part.
    """
    total = 0.0
    for number, first in enumerate(halves):
        one, other = 2 * pairs + ~first[pairs], 2 * pairs + first[pairs]
        own = number % len(pairs)
        a, b = (top(influences_by_kind(scored, half, half[own]), k) for half in (one, other))
        shared = np.einsum("iks,jks->ijs", a.astype(float), b.astype(float)) / k
        total = total + (shared + shared.transpose(1, 0, 2)) / 2
    return total / len(halves)


def list_gaps(shared: np.ndarray, chance: float) -> np.ndarray:
    """`(statistic, pair)` of `PAIRS`: the two gaps, and the overlaps they are made of.

    With overlaps w1 and w2 between halves for each Δ alone and b between Δ's, means over samples:

    * plain: (w1 + w2) / 2 - b, by how much the lists differ more between Δ's than between halves;
    * strict: the same with the geometric mean of w1 and w2, all less chance, in place of the
      arithmetic one. Two Δ's with one true list but different noise have strict = 0 (as with
      Spearman's correction for attenuation) while plain is above 0.

    Args:
        shared: From `overlaps`, `(kind, kind, sample)`.
        chance: Overlap of random lists.
    """
    level = shared.mean(axis=2)
    found = []
    for first, second in PAIRS:
        i, j = LIST_KINDS.index(first), LIST_KINDS.index(second)
        w1, w2, b = level[i, i], level[j, j], level[i, j]
        middle = np.sqrt(max(w1 - chance, 0.0) * max(w2 - chance, 0.0)) + chance
        found.append(((w1 + w2) / 2 - b, middle - b, w1, w2, b))
    return np.array(found).T


GAP_STATISTICS = ("plain", "strict", "first", "second", "between")


def comparison_table(
    scored: Scored,
    k: int,
    n_splits: int,
    generator: np.random.Generator,
    level: float = 0.95,
) -> pd.DataFrame:
    """One row per pair of `PAIRS`: `GAP_STATISTICS` of `list_gaps`, each with a t interval.

    The error has two parts that are added: jackknife over samples, and over pairs of seeds with
    the splits kept. Both hold what is left of chance, so the interval is on the wide side.
    Degrees of freedom by Satterthwaite.
    """
    n_seeds, n_images, n_samples = scored.shift.shape
    halves = splits(n_seeds, n_splits, generator)
    pairs, chance = np.arange(n_seeds // 2), k / n_images
    shared = overlaps(scored, k, halves, pairs)
    estimate = list_gaps(shared, chance)
    errors = (
        jackknife(lambda kept: list_gaps(shared[..., kept], chance), n_samples),
        jackknife(lambda kept: list_gaps(overlaps(scored, k, halves, kept), chance), len(pairs)),
    )
    parts = [error["standard_error"].values ** 2 for error in errors]
    low, high = satterthwaite(estimate, parts, (n_samples - 1, len(pairs) - 1), level)
    table = pd.DataFrame(PAIRS, columns=["first_list", "second_list"])
    for row, name in enumerate(GAP_STATISTICS):
        for end, values in (("", estimate), ("_low", low), ("_high", high)):
            table[name + end] = values[row]
    return table.assign(k=k, chance=chance, n_samples=n_samples, n_seeds=n_seeds)


def satterthwaite(
    estimate: np.ndarray, parts: list[np.ndarray], freedom: tuple[int, ...], level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the t interval of an estimate whose variance is the sum of independent `parts`."""
    total = sum(parts)
    spread = sum(part**2 / df for part, df in zip(parts, freedom, strict=True))
    df = np.where(spread > 0, total**2 / np.where(spread > 0, spread, 1.0), min(freedom))
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(total)
    return estimate - half, estimate + half
