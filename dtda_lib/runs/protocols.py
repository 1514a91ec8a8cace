"""Which runs make up a law, and the three ways in which leaving one out has been done.

A run is `(init_seed, order_seed, removal)`. `Runs` lays them out as `(seed, removal)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtda_lib.data.sources import published_seeds
from dtda_lib.names import Shown, listing, unknown

from .removal import Design

PROTOCOLS = ("paired_scratch", "unpaired_scratch", "continued")

SeedPair = tuple[int, int]


def seed_pairs(n: int, stream: str = "first") -> list[SeedPair]:
    """n pairs `(init_seed, order_seed)` of a named stream; a longer list begins like a shorter.

    The stream "first" begins with the ten published seeds, used for both parts; batch order is
    drawn from a generator of its own all the same. Other streams are independent of it.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"seeds: {n} were asked for; a law needs at least one run.")
    published = [(seed, seed) for seed in published_seeds()] if stream == "first" else []
    fresh = []
    for index in range(n - len(published)):
        mix = np.random.SeedSequence([*stream.encode(), index]).generate_state(2)
        fresh.append((int(mix[0] >> 1), int(mix[1] >> 1)))
    return (published + fresh)[:n]


def crossed_pairs(init_seeds: Sequence[int], order_seeds: Sequence[int]) -> list[SeedPair]:
    """The full factorial of initialisation and order seeds, initialisation outermost.

    For `variance_components`: every `init_seed` trains with every `order_seed`.
    """
    return [(init, order) for init in init_seeds for order in order_seeds]


@dataclass(frozen=True, repr=False)
class Runs(Shown):
    """Runs laid out as `(seed, removal)`.

    Args:
        design: The removals.
        init_seeds, order_seeds: Integers `(seed, removal)`.

    Raises:
        ValueError: no seeds, or shapes that do not fit the design.
    """

    design: Design
    init_seeds: np.ndarray
    order_seeds: np.ndarray

    def __post_init__(self) -> None:
        shape = self.init_seeds.shape
        if shape != self.order_seeds.shape or len(shape) != 2 or shape[1] != len(self.design):
            raise ValueError(
                f"runs: init seeds {shape} and order seeds {self.order_seeds.shape} must both be "
                f"(seed, {len(self.design)})."
            )
        if shape[0] == 0:
            raise ValueError("runs: zero seeds were given; a law needs at least one run.")

    @property
    def n_seeds(self) -> int:
        """Number of runs in each law."""
        return len(self.init_seeds)

    def _facts(self) -> dict[str, object]:
        alike = bool(
            (self.init_seeds == self.init_seeds[:, :1]).all()
            and (self.order_seeds == self.order_seeds[:, :1]).all()
        )
        return {
            "runs": len(self),
            "seeds": self.n_seeds,
            "removals": listing(self.design.labels),
            "train": self.design.n_train,
            "paired": alike,
        }

    def __len__(self) -> int:
        return self.init_seeds.size


def paired(design: Design, seeds: Sequence[SeedPair]) -> Runs:
    """Every removal trains with the same two seeds as the full data: protocol `paired_scratch`.

    Args:
        design: The removals.
        seeds: Pairs `(init_seed, order_seed)`, from `seed_pairs` or `crossed_pairs`.

    Returns:
        Runs `(seed, removal)`, seeds * removals of them.
    """
    table = np.array(seeds, dtype=np.int64).reshape(-1, 2)  # (seed, 2)
    ones = np.ones((1, len(design)), dtype=np.int64)
    return Runs(design, table[:, :1] * ones, table[:, 1:] * ones)


def unpaired(design: Design, seeds: Sequence[SeedPair]) -> Runs:
    """Every removal trains with seeds of its own: protocol `unpaired_scratch`.

    As the published ViT code does (run_vit_loo.py). The full-data runs keep `seeds`, so they are
    shared with `paired`.

    Args:
        design, seeds: As for `paired`.
    """
    runs = paired(design, seeds)
    init, order = runs.init_seeds.copy(), runs.order_seeds.copy()
    for s, (first, second) in enumerate(seeds):
        for r in range(1, len(design)):
            mix = np.random.SeedSequence([first, second, r]).generate_state(2)
            init[s, r], order[s, r] = int(mix[0] >> 1), int(mix[1] >> 1)
    return Runs(design, init, order)


def check_protocol(protocol: str) -> str:
    """The protocol's name, or one sentence that refuses it."""
    if protocol not in PROTOCOLS:
        raise ValueError(unknown("protocol", protocol, PROTOCOLS))
    return protocol
