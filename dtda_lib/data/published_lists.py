"""The published CIFAR-10 index lists, and from which split their positions were drawn.

2305.19765 publishes one list of queries (`test_subset`, positions in the test set) and six lists of
training points (`train_subset_10pc` to `60pc`, n per class). Three of the six, 10pc, 30pc and 40pc,
are positions in the *test* set (claim R5, ours):

* all their positions are below 10,000, the size of the test set; the training set has 50,000;
* the published generator (run_subset_generation.py) draws n of each class, class after class, in
  the order in which the classes first appear in the split. These three have that form exactly if
  read as test positions and not if read as training positions; the other three the reverse.

What that means for the published comparison of sizes. The generator script reads every list as
positions in the training set, and the data files that it made are not published; so, as far as
these lists were used,

* either they were read as that script reads them: sizes 10, 30 and 40 trained on classes of unequal
  size (10pc: 5 to 14 images of a class), sizes 20, 50 and 60 on equal ones;
* or they were used where they were drawn: sizes 10, 30 and 40 trained on test images, of which 6,
  13 and 15 are also queries, so that a query's influence on itself is among the scores.

Either way a step from 20 to 30 or from 40 to 50 changes more than the size. Only sizes 20, 50 and
60 are alike, and even they are almost disjoint draws; for a comparison of sizes take nested subsets
(`image_tasks.cifar10`).

Lists: code repository of 2305.19765, MIT, shipped in `data/published-cifar10`. Labels of CIFAR-10
are not shipped (it states no licence): hand over `targets` of `torchvision.datasets.CIFAR10`, or
judge by position alone.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dtda_lib.names import unknown

from .sources import QUERIES, published_positions

N_TRAIN, N_TEST = 50_000, 10_000
FOLDER = "published-cifar10"
SIZES = ("10pc", "20pc", "30pc", "40pc", "50pc", "60pc")
TRAIN, TEST, UNDECIDED = "training positions", "test positions", "undecided"
DRAW_CHANCE = 1e-6
VERDICT_RULE = (
    f"a position of {N_TEST} or more: training positions; else, with labels, the split in which "
    "alone the list has the generator's form (equally many of each class, in blocks, in the order "
    "in which classes first appear); else, without labels, test positions if a draw from the "
    f"training set would stay below {N_TEST} with a chance under {DRAW_CHANCE:g}; else undecided"
)

Labels = Sequence[int] | np.ndarray


def published_cifar10_lists() -> dict[str, tuple[int, ...]]:
    """All seven published lists by name, the queries last."""
    names = (*SIZES, QUERIES)
    return {name: tuple(published_positions(name, FOLDER, names)) for name in names}


def counts_per_class(positions: Sequence[int], labels: Labels) -> np.ndarray:
    """How many positions hold each class, `(class,)`, as many classes as the split has."""
    labels = np.asarray(labels)
    return np.bincount(labels[list(positions)], minlength=int(labels.max()) + 1)


def has_generator_form(positions: Sequence[int], labels: Labels) -> bool:
    """Whether the published generator can have drawn the positions from a split with these labels.

    It goes through the classes in the order of their first appearance in the split and draws
    equally many positions of each, without repeats.
    """
    labels = np.asarray(labels)
    classes = list(dict.fromkeys(labels.tolist()))
    each, rest = divmod(len(positions), len(classes))
    if rest or not each or len(set(positions)) < len(positions) or max(positions) >= len(labels):
        return False
    return labels[list(positions)].tolist() == np.repeat(classes, each).tolist()


def verdict(
    positions: Sequence[int], train_labels: Labels | None = None, test_labels: Labels | None = None
) -> str:
    """TRAIN, TEST or UNDECIDED by `VERDICT_RULE`."""
    if max(positions) >= N_TEST:
        return TRAIN
    if train_labels is None or test_labels is None:
        return TEST if _log10_chance_below(len(positions)) < math.log10(DRAW_CHANCE) else UNDECIDED
    as_train = has_generator_form(positions, train_labels)
    as_test = has_generator_form(positions, test_labels)
    if as_train == as_test:
        return UNDECIDED
    return TRAIN if as_train else TEST


def list_table(
    lists: Mapping[str, Sequence[int]],
    train_labels: Labels | None = None,
    test_labels: Labels | None = None,
    queries: str = QUERIES,
) -> pd.DataFrame:
    """One row per list: what its positions say about the split that they come from.

    Args:
        lists: Positions by name, counted from 0 in the official order.
        train_labels: Class of each of the 50,000 training images; None: not at hand.
        test_labels: Class of each of the 10,000 test images; None: not at hand.
        queries: Which of the lists holds the queries (positions in the test set).

    Returns:
        Columns `list, n, max_position, share_below_10000, log10_chance` (of a draw from the
        training set to stay below 10,000), `train_fewest, train_most, test_fewest, test_most`
        (images of a class under either reading), `train_form, test_form` (`has_generator_form`),
        `shared_with_queries` (equal positions: the same images only if both are test positions),
        `shared_by_chance` (expected of an independent draw from the test set), `verdict`. What
        needs absent labels, or a position that the split does not have, is NA.

    Raises:
        ValueError: unknown `queries`, an empty list, a position out of range or a wrong number of
            labels.
    """
    _refuse_impossible(lists, train_labels, test_labels, queries)
    asked = set(lists[queries])
    rows = []
    for name, positions in lists.items():
        below = np.mean(np.asarray(positions) < N_TEST)
        row: dict[str, object] = {
            "list": name,
            "n": len(positions),
            "max_position": max(positions),
            "share_below_10000": float(below),
            "log10_chance": _log10_chance_below(len(positions)),
        }
        for split, labels in (("train", train_labels), ("test", test_labels)):
            row |= _reading(split, positions, labels)
        row["shared_with_queries"] = len(asked.intersection(positions))
        row["shared_by_chance"] = len(asked) * len(positions) / N_TEST
        row["verdict"] = verdict(positions, train_labels, test_labels)
        rows.append(row)
    counts = ["train_fewest", "train_most", "test_fewest", "test_most"]
    kinds = dict.fromkeys(counts, "Int64") | {"train_form": "boolean", "test_form": "boolean"}
    return pd.DataFrame(rows).astype(kinds)


def _log10_chance_below(n: int) -> float:
    """log10 of the chance that n draws without repeats from the training set stay below 10,000."""
    inside, all_of = np.arange(N_TEST, N_TEST - n, -1), np.arange(N_TRAIN, N_TRAIN - n, -1)
    if n > N_TEST:
        return -math.inf
    return float(np.log10(inside / all_of).sum())


def _reading(split: str, positions: Sequence[int], labels: Labels | None) -> dict[str, object]:
    if labels is None or max(positions) >= len(labels):
        # A form that cannot be is known to be absent; one without labels is not known at all.
        form = pd.NA if labels is None else False
        return {f"{split}_fewest": pd.NA, f"{split}_most": pd.NA, f"{split}_form": form}
    counts = counts_per_class(positions, labels)
    return {
        f"{split}_fewest": int(counts.min()),
        f"{split}_most": int(counts.max()),
        f"{split}_form": has_generator_form(positions, labels),
    }


def _refuse_impossible(
    lists: Mapping[str, Sequence[int]],
    train_labels: Labels | None,
    test_labels: Labels | None,
    queries: str | None = None,
) -> None:
    if queries is not None and queries not in lists:
        raise ValueError(unknown("published list", queries, lists))
    for split, labels, n in (("training", train_labels, N_TRAIN), ("test", test_labels, N_TEST)):
        if labels is not None and len(labels) != n:
            raise ValueError(
                f"published lists: {len(labels)} {split} labels are given; CIFAR-10 has {n:,} in "
                "its official order."
            )
    for name, positions in lists.items():
        if not len(positions) or min(positions) < 0 or max(positions) >= N_TRAIN:
            raise ValueError(
                f"published list {name!r}: it must hold at least one position, each within 0 to "
                f"{N_TRAIN - 1}."
            )
