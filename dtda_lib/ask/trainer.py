"""Any trainer: scikit-learn, gradient boosting, Hugging Face, Lightning, a shell command.

`trainer_bank` looks at what a function does before anything long runs: whether equal seeds give
equal results, which seeds and weights make a difference, and whether it keeps a state. From there
on its bank is asked as that of a network is: `plan`, `shifts`, `reliable`, `page`.
"""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from dtda_lib.names import short
from dtda_lib.runs.protocols import SeedPair, paired, seed_pairs
from dtda_lib.runs.removal import Design, chosen_removals, leave_groups_out, nothing
from dtda_lib.runs.trainer_bank import RETURNED, OwnTrainer, Trainer, TrainerBank, own_trainer

from .arrays import as_laws
from .functionals import Functional, OfQueries

ROUNDING = 1e-6
"""Share of the largest value by which two runs of the same seeds may differ."""


def trainer_bank(
    train: Trainer,
    n_train: int,
    n_seeds: int,
    *,
    points: Sequence[int] | None = None,
    groups: Design | np.ndarray | Sequence[Sequence[int]] | None = None,
    stream: str = "first",
    of: str | Functional | OfQueries | Mapping[str, str | Functional | OfQueries] | None = None,
    unit: str | None = None,
    better: str | None = None,
    depends_on: Sequence[Path | str] = (),
    title: str | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    drop_diverged: bool = False,
) -> TrainerBank:
    """Declare retraining by a trainer of your own, `n_seeds` times without each point or group.

    At the first call five runs or so are trained, to see what the trainer does; they are kept, and
    two of them belong to the bank. What is kept is found again by the content of the function, of
    what it uses and has captured, and of the files in `depends_on`. *Not seen* are files that are
    not named there, the environment, programs that it starts, and installed packages beyond name
    and version.

    Args:
        train: `train(init_seed, order_seed, weights) -> losses or predictions of the queries`: an
            array `(query,)`, or for `of` `(query, output)`, as NumPy or torch hold it. `weights`
            is float64 `(train,)`, 1 for a point that is kept and 0 for one that is left out. A
            trainer may use one of both seeds alone; the answer is then about that randomness, and
            says so. Global streams of `random`, NumPy and torch are drawn from both seeds before
            each run.
        n_train: Number of training points N.
        n_seeds: Trainings of each law; the same two seeds with and without the point.
        points: Training positions, 0 to N - 1, each left out alone; None: all.
        groups: In their place: a boolean mask `(removal, train)`, True = left out, lists of
            positions, or a `Design`, such as `half_subsets`. Of a `Design` with fractions,
            `dataset()` gives the values; laws know points left out or not.
        stream: Name of the stream of seeds; other streams are independent.
        of, unit, better: As for `as_laws`.
        depends_on: Files and folders that the trainer reads.
        title: How progress lines call the bank; None: the name of the function.
        workers: Worker processes, each with one thread; 1: this process, as on a GPU.
        executor: Your own `concurrent.futures.Executor` in place of worker processes.
        drop_diverged: A seed of which any run has a value that is not finite leaves both laws, and
            the answer says so. If False, it ends the training.

    Returns:
        A bank of (1 + removals) * n_seeds runs, for `plan`, `shifts` and `as_laws`.

    Raises:
        ValueError: equal seeds give different values, no seed or no weight changes any, it changes
            what it has captured, or returns other than real numbers of one shape; points, groups
            or files that are not there; captured values without content to compare.
        TypeError: the executor is none.
        RuntimeError: the trainer fails or ends the process, with the seeds of the run.
        FloatingPointError: a value is not finite, and such seeds are not to be dropped.

    Warns:
        UserWarning: one of both seeds changes nothing, or neither changes whole numbers.
    """
    _require_counts(n_train=n_train, n_seeds=n_seeds)
    trainer = own_trainer(train, depends_on)
    design = chosen_removals(n_train, points, groups, "trainer_bank")
    settings = {"workers": workers, "executor": executor, "drop_diverged": drop_diverged}
    meaning = {"of": of, "unit": unit, "better": better}
    tries = _Tries(trainer, depends_on, settings)
    random = tries.randomness(design, seed_pairs(2, stream), meaning)
    runs = paired(design, seed_pairs(n_seeds, stream))
    bank = TrainerBank(trainer, runs, random=random, title=title, **meaning, **settings)
    for one in tries.banks:
        bank.adopt(one)
    return bank


def _require_counts(**counts: int) -> None:
    """No law of fewer than two seeds, no removal from fewer than two points."""
    for name, number in counts.items():
        if not isinstance(number, int | np.integer) or number < 2:
            raise ValueError(f"trainer_bank: {name} = {short(number)}; give 2 or more.")


# ---------------------------------------------------------------- what it does


class _Tries:
    """Runs that show what a trainer does, each kept like any other.

    Args:
        trainer: Whose.
        depends_on: Files and folders that it reads.
        settings: Of the bank to be.
    """

    def __init__(
        self, trainer: OwnTrainer, depends_on: Sequence[Path | str], settings: Mapping[str, Any]
    ) -> None:
        self.trainer, self.depends_on, self.settings = trainer, depends_on, settings
        self.banks: list[TrainerBank] = []

    def randomness(
        self, design: Design, pairs: Sequence[SeedPair], meaning: Mapping[str, Any]
    ) -> str:
        """What differs between seeds, of a trainer whose laws can be told from noise.

        Args:
            design: Of the bank to be.
            pairs: Two of its pairs of seeds.
            meaning: `of`, `unit` and `better` of its laws, refused before anything long runs.
        """
        trainer, n = self.trainer, design.n_train
        seen, again = self.of_seeds(n, pairs), self.again(n, pairs[0])
        if own_trainer(trainer.train, self.depends_on).identity != trainer.identity:
            raise ValueError(
                f"trainer {trainer.name} changes what it has captured or a file that it reads, so "
                "that a run depends on those before; make models, lists and generators inside it."
            )
        noise = _noise(trainer.name, seen[0], again)
        self.banks[-1].settle()  # not before: what was refused is looked at anew
        random, law = _randomness(trainer.name, seen, noise)
        if np.isfinite(law).all():  # what the laws refuse is known before they are trained
            as_laws(law, law[:, np.newaxis], **meaning)
        self.refuse_idle_weights(design, pairs[0], seen[0], noise)
        return random

    def run(self, removals: Design, seeds: Sequence[SeedPair], repeat: str = "") -> np.ndarray:
        """Values `(run, query, ...)` of one removal."""
        title = f"checks of {self.trainer.name}"
        runs = paired(removals, seeds)
        bank = TrainerBank(self.trainer, runs, repeat=repeat, title=title, **self.settings)
        self.banks.append(bank.fill())
        if bank.shape != self.banks[0].shape:
            raise ValueError(
                f"trainer {self.trainer.name} returned the shape {bank.shape} with other weights "
                f"or at another time, and before {self.banks[0].shape}; return the same queries in "
                "every run."
            )
        return np.concatenate([bank.results[shard.key][RETURNED] for shard in bank.shards])

    def of_seeds(self, n_train: int, pairs: Sequence[SeedPair]) -> np.ndarray:
        """A pair of seeds, another init seed, another order seed: `(3, query, ...)`."""
        (init, order), (other_init, other_order) = pairs
        seeds = [(init, order), (other_init, order), (init, other_order)]
        return self.run(nothing(n_train), seeds)

    def again(self, n_train: int, pair: SeedPair) -> np.ndarray:
        """The first pair of seeds once more, `(query, ...)`.

        In this process a trainer may keep a state that a worker loses, so that it is looked at in
        either place.
        """
        inline = self.settings["workers"] == 1 and self.settings["executor"] is None
        return self.run(nothing(n_train), [pair], "inline" if inline else "elsewhere")[0]

    def refuse_idle_weights(
        self, design: Design, pair: SeedPair, first: np.ndarray, noise: float
    ) -> None:
        """Refuse a trainer that does nothing with its weights.

        A single point may do nothing to a tree; half of the points do something to every model.
        """
        n, rng = design.n_train, np.random.default_rng(0)
        half = leave_groups_out(n, [rng.choice(n, n // 2, replace=False).tolist()])
        for removals in (design, half):
            if _apart(first, self.run(removals.select([1]), [pair])[0]) > noise:
                return
        _refuse(
            first,
            f"trainer {self.trainer.name}: weights change nothing, not even with half of the "
            "points at 0; pass them on, as sample_weight= or as a factor of each point's loss.",
        )


def _noise(name: str, first: np.ndarray, again: np.ndarray) -> float:
    """How far two runs with the same seeds lie apart; refused where that is more than rounding."""
    noise = _apart(first, again)
    if noise > ROUNDING * np.abs(first).max():
        raise ValueError(
            f"trainer {name}: two runs with the same seeds differ by up to {noise:.2g}, so no "
            "removal could be told from noise; draw from init_seed and order_seed alone "
            "(random_state=, torch.manual_seed, np.random.default_rng)."
        )
    return noise


def _randomness(name: str, seen: np.ndarray, noise: float) -> tuple[str, np.ndarray]:
    """What differs between seeds, and the values of two of them, `(2, query, ...)`.

    Args:
        name: Of the trainer.
        seen: See `_Tries.of_seeds`.
        noise: See `_noise`.
    """
    matters = [_apart(seen[0], other) > noise for other in seen[1:]]
    if not any(matters):
        _refuse(
            seen,
            f"trainer {name}: neither init_seed nor order_seed changes what it returns, so there "
            "is no law; pass them to what it draws (random_state=, a shuffle, a subsample).",
        )
        return "not stated", np.full((2, *seen[0].shape), np.nan)
    law = seen[[0, 1 + matters.index(True)]]
    if all(matters):
        return "init_seed and order_seed", law
    alone, idle = ("init_seed", "order_seed") if matters[0] else ("order_seed", "init_seed")
    warnings.warn(
        f"trainer {name}: {idle} changes nothing, so the law is over {alone} alone.", stacklevel=4
    )
    return f"{alone} alone", law


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference; infinite where one of both diverged, 0 where both did."""
    lost = [bool(np.isnan(run).all()) for run in (one, other)]
    if any(lost):
        return 0.0 if all(lost) else np.inf
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def _refuse(values: np.ndarray, why: str) -> None:
    """Refuse; of whole numbers warn, which hide small changes."""
    if not np.array_equal(values, np.round(values)):
        raise ValueError(why)
    warnings.warn(f"{why} Or are the changes hidden by whole numbers?", stacklevel=5)
