"""Removal designs: which training points are left out, as a weight matrix `(removal, train)`.

Leaving out means weight 0 at a fixed 1/N (and 1/batch) scaling, so the batch stream and the number
of steps stay what they were. Row 0 of every design leaves nothing out: the law to compare with.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtda_lib.names import Shown, listing, short


@dataclass(frozen=True, repr=False)
class Design(Shown):
    """A removal design.

    Args:
        weights: `(removal, train)`; 1 keeps a point, 0 leaves it out, values between weigh it down.
        labels: One name per removal; "none" for nothing left out.
        points: `(removal,)` the single training position left out, or -1.

    Raises:
        ValueError: a removal of all points, non-finite weights, labels that repeat or do not fit.
    """

    weights: Tensor
    labels: tuple[str, ...]
    points: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or len(self.labels) != len(self.weights):
            raise ValueError(
                f"removal design: weights have shape {tuple(self.weights.shape)} for "
                f"{len(self.labels)} labels; give (removal, train) and one label each."
            )
        if not torch.isfinite(self.weights).all() or (self.weights < 0).any():
            raise ValueError("removal design: weights must be finite and not negative.")
        empty = (self.weights == 0).all(dim=1).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"removal design: removal {self.labels[empty[0]]!r} leaves out all training "
                "points, so nothing trains; keep at least one."
            )
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("removal design: labels repeat; give each removal its own.")
        if not self.points:
            object.__setattr__(self, "points", (-1,) * len(self.labels))

    @property
    def n_train(self) -> int:
        """Number of training points N."""
        return self.weights.shape[1]

    def _facts(self) -> dict[str, object]:
        return {"removals": listing(self.labels), "train": self.n_train}

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Sequence[int]) -> "Design":
        """The design with only these removals."""
        rows = list(rows)
        return Design(
            self.weights[rows],
            tuple(self.labels[r] for r in rows),
            tuple(self.points[r] for r in rows),
        )


def _design(n_train: int, groups: list[tuple[int, ...]]) -> Design:
    """Nothing left out, then each group."""
    weights = torch.ones(len(groups) + 1, n_train)
    for row, group in enumerate(groups, start=1):
        weights[row, list(group)] = 0
    single = [group[0] if len(group) == 1 else -1 for group in groups]
    names = ["+".join(map(str, group)) for group in groups]
    return Design(weights, ("none", *names), (-1, *single))


def nothing(n_train: int) -> Design:
    """No removal at all: the law of all `n_train` points, for estimators and base models."""
    return _design(n_train, [])


def leave_one_out(n_train: int, points: Sequence[int] | None = None) -> Design:
    """Nothing, then each training point (or each of `points`) alone: 1 + points removals.

    Args:
        n_train: Number of training points N.
        points: Training positions, 0 to N - 1; None: all.

    Raises:
        ValueError: a position outside 0..n_train-1, or fewer than two points in all.
    """
    chosen = range(n_train) if points is None else points
    _check_positions(chosen, n_train)
    return _design(n_train, [(int(point),) for point in chosen])


def down_weighted(n_train: int, points: Sequence[int], fractions: Sequence[float]) -> Design:
    """Nothing, then each of `points` with weight 1 - f, for each fraction f (fractions outermost).

    A fraction f stands for the up-weighting eps = -f/N of influence theory; f = 1 leaves the point
    out, and shifts divided by f tend to the local response as f -> 0 (`shifts.shift_per_fraction`).

    Raises:
        ValueError: a position outside 0..n_train-1, or a fraction outside (0, 1].
    """
    _check_positions(points, n_train)
    wrong = [f for f in fractions if not 0 < f <= 1]
    if wrong:
        raise ValueError(f"removal design: fraction {wrong[0]} is impossible; take 0 < f <= 1.")
    rows = [(fraction, int(point)) for fraction in fractions for point in points]
    weights = torch.ones(len(rows) + 1, n_train)
    for row, (fraction, point) in enumerate(rows, start=1):
        weights[row, point] = 1 - fraction
    return Design(weights, ("none", *(f"{point}@{fraction:g}" for fraction, point in rows)))


def leave_groups_out(n_train: int, groups: Sequence[Sequence[int]]) -> Design:
    """Nothing, then each group of training positions, left out at once.

    Raises:
        ValueError: a position outside 0..n_train-1, or a group of all points.
    """
    for group in groups:
        _check_positions(group, n_train)
    return _design(n_train, [tuple(sorted(map(int, group))) for group in groups])


def chosen_removals(
    n_train: int,
    points: Sequence[int] | None,
    groups: "Design | np.ndarray | Sequence[Sequence[int]] | None",
    who: str,
) -> Design:
    """Nothing left out, then each point or each group, of which there is one at least.

    Args:
        n_train: Number of training points N.
        points: Each left out alone; None: all, unless groups are given.
        groups: A boolean mask `(removal, train)`, True = left out, lists of positions, or a design.
        who: How an error begins.

    Raises:
        ValueError: points and groups, none of both, or what does not fit N.
    """
    if points is not None and groups is not None:
        raise ValueError(f"{who}: give points, each left out alone, or groups, not both.")
    points = range(n_train) if points is None and groups is None else points
    given = points if groups is None else groups
    if not isinstance(given, Design | np.ndarray | Sequence | range | Iterable):
        raise ValueError(f"{who}: points and groups are lists, not {short(given)}.")
    given = given if isinstance(given, Design | np.ndarray) else list(given)
    if len(given) < 1:
        raise ValueError(f"{who}: no removal was given; name points or groups.")
    if groups is None:
        return leave_one_out(n_train, given)
    if isinstance(groups, Design):
        if groups.n_train != n_train or groups.labels[0] != "none":
            raise ValueError(
                f"{who}: the design is for {groups.n_train} training points and begins with "
                f"{groups.labels[0]!r}; it has to be for {n_train}, and to begin with 'none'."
            )
        return groups
    if isinstance(groups, np.ndarray) and groups.ndim == 2 and groups.dtype == bool:
        if groups.shape[1] != n_train:
            raise ValueError(
                f"{who}: the mask has the shape {groups.shape}; give (removal, train), here "
                f"(..., {n_train}), True = left out."
            )
        given = [np.flatnonzero(row) for row in groups]
    listed = [np.atleast_1d(group).tolist() for group in given]
    if empty := [at for at, group in enumerate(listed) if not len(group)]:
        raise ValueError(f"{who}: group {empty[0]} leaves out nothing; drop it.")
    return leave_groups_out(n_train, listed)


def leave_k_out(n_train: int, k: int, n_groups: int, generator: np.random.Generator) -> Design:
    """Nothing, then `n_groups` distinct random groups of k points.

    Raises:
        ValueError: k not in 1..n_train-1, or more groups than there are.
    """
    if not 1 <= k < n_train or not 0 <= n_groups <= math.comb(n_train, k):
        raise ValueError(
            f"removal design: no {n_groups} distinct groups of {k} out of {n_train} points; "
            "take fewer groups or another k."
        )
    if math.comb(n_train, k) <= 4 * n_groups:  # few groups exist: choose among all of them
        every = list(itertools.combinations(range(n_train), k))
        return _design(
            n_train, [every[i] for i in generator.choice(len(every), n_groups, replace=False)]
        )
    groups: dict[tuple[int, ...], None] = {}
    while len(groups) < n_groups:
        draw = generator.choice(n_train, k, replace=False)
        groups[tuple(sorted(draw.tolist()))] = None
    return _design(n_train, list(groups))


def half_subsets(n_train: int, n_subsets: int, generator: np.random.Generator) -> Design:
    """Nothing, then `n_subsets` distinct random removals of half the points: the design of LDS.

    Raises:
        ValueError: more subsets than there are.
    """
    return leave_k_out(n_train, n_train // 2, n_subsets, generator)


def _check_positions(points: Sequence[int], n_train: int) -> None:
    outside = [p for p in points if not 0 <= p < n_train]
    if outside:
        raise ValueError(
            f"removal design: there is no training point {outside[0]}; positions are 0 to "
            f"{n_train - 1}."
        )
