"""`TrainerBank`: runs of a trainer of one's own, kept, resumed and spread like any other bank's.

A run is a shard by itself. An interruption loses the runs under way and no other, and banks with
more seeds, points or groups find the runs of those with fewer.
"""

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from dtda_lib.models.user_code import user_code
from dtda_lib.names import listing, short

from .bank import Bank
from .fingerprint import source_digest
from .keys.canonical import canonical, sha256
from .protocols import Runs
from .shards import Estimate, Packed, Shard
from .store import Arrays, DamagedShard

RETURNED = "returned"
"""What the dataset of a `TrainerBank` calls the values that its trainer returned."""


class Trainer(Protocol):
    """`(init_seed, order_seed, weights (train,)) -> (query,)`, `(query, output)` or one number.

    `weights` is float64: 1 keeps a training point, 0 leaves it out, and a fraction weighs it down.
    """

    def __call__(
        self, init_seed: int, order_seed: int, weights: np.ndarray
    ) -> ArrayLike | Tensor: ...


# ---------------------------------------------------------------- one run


@contextlib.contextmanager
def _global_streams(init_seed: int, order_seed: int) -> Iterator[None]:
    """Global streams of `random`, NumPy and torch, drawn from both seeds; put back afterwards.

    So a trainer that draws from them is a function of its seeds all the same.
    """
    first, second, third = np.random.SeedSequence([init_seed, order_seed]).generate_state(3)
    with torch.random.fork_rng(devices=[]):
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        random.seed(int(first))
        np.random.seed(int(second))  # noqa: NPY002
        torch.manual_seed(int(third))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def trained(
    train: Trainer, init_seed: int, order_seed: int, weights: np.ndarray, who: str
) -> np.ndarray:
    """What one run of a trainer measured: `(query,)`, `(query, output)` or `()`; NaN if diverged.

    Args:
        train: See `Trainer`.
        init_seed, order_seed: The run's.
        weights: `(train,)`.
        who: How an error calls the run.

    Returns:
        float64, or float32 where that is what the trainer returned; NaN throughout where any value
        is not finite.

    Raises:
        ValueError: it returned no real numbers, none at all, half precision, or further axes; or
            it changed the weights in place.
        RuntimeError: it fails or ends the process.
    """
    given = weights.copy()
    with _global_streams(init_seed, order_seed), user_code(who):
        found = train(init_seed, order_seed, given)
        found = found.detach().cpu() if isinstance(found, Tensor) else found
        values = np.asarray(found)
    if not np.array_equal(given, weights):
        raise ValueError(f"{who} changed the weights that it was given; let it work on a copy.")
    if values.dtype.kind not in "fiub":
        raise ValueError(
            f"{who} returned {short(found)}; return real numbers, a loss or a prediction for each "
            "query."
        )
    if values.dtype == np.float16:
        raise ValueError(
            f"{who} returned float16, whose three digits do not hold the difference of two losses; "
            "return float32 or float64."
        )
    if values.ndim > 2 or not values.size:
        raise ValueError(
            f"{who} returned the shape {values.shape}; return (query,), or (query, output)."
        )
    kind = np.float32 if values.dtype == np.float32 else np.float64
    values = np.array(values, kind, order="C")
    return values if np.isfinite(values).all() else np.full_like(values, np.nan)


@dataclass(frozen=True)
class TrainerJob(Packed):
    """All that a worker needs for one run."""

    train: Trainer
    init_seed: int
    order_seed: int
    weights: np.ndarray
    who: str

    device: ClassVar[str] = "cpu"  # of what is handed back; where it trains is the trainer's affair

    def measured(self) -> dict[str, Tensor]:
        """`(1, query, ...)`: one run."""
        values = trained(self.train, self.init_seed, self.order_seed, self.weights, self.who)
        return {RETURNED: torch.from_numpy(values[np.newaxis])}


# ---------------------------------------------------------------- what a key sees


@dataclass(frozen=True)
class OwnTrainer:
    """A trainer, and what its results depend on as far as that can be seen.

    Args:
        train: See `Trainer`.
        name: How messages call it.
        identity: Digests of its code with all that it has captured, and of the files it reads.
    """

    train: Trainer
    name: str
    identity: Mapping[str, object]


def own_trainer(train: Trainer, depends_on: Sequence[Path | str] = ()) -> OwnTrainer:
    """A trainer with the digest of its code, captured values and files; see `source_digest`.

    Args:
        train: A function, a partial, a bound method or any other callable.
        depends_on: Files and folders that it reads; their content counts, not where they lie.

    Raises:
        ValueError: nothing that could be called, captured values whose content cannot be compared,
            or a file that cannot be read.
    """
    if not callable(train):
        raise ValueError(
            f"trainer {short(train)} cannot be called; give a function of (init_seed, order_seed, "
            "weights)."
        )
    name = getattr(train, "__name__", type(train).__name__)
    with _global_streams(0, 0):  # whose state is no part of code that draws from them
        code = source_digest(train, trained, opaque=(user_code,))
    return OwnTrainer(train, name, {"code": code, "files": [_content(one) for one in depends_on]})


def _content(path: Path | str) -> list[list[str]]:
    """Names below a folder, or "" for a file, with the digest of each."""
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    try:
        return [
            ["" if one == path else one.relative_to(path).as_posix(), sha256(one.read_bytes())]
            for one in files
        ]
    except OSError as error:
        raise ValueError(
            f"depends_on: {error.filename or path} cannot be read ({error.strerror}); name the "
            "files and folders that the trainer reads."
        ) from error


# ---------------------------------------------------------------- many runs


class TrainerBank(Bank):
    """Many runs of a trainer of one's own; made and checked by `trainer_bank`.

    Args:
        trainer: From `own_trainer`.
        runs: Seeds and removals, `(seed, removal)`.
        of, unit, better: Kept for `as_laws`, which says what they are.
        random: What differs between seeds, for plan, answer and page.
        repeat: Where the same runs are trained once more, "inline" or "elsewhere"; they are kept
            beside the others, once `settle` is called.
        title, workers, executor, drop_diverged: As of `Bank`.
    """

    lost_is, cure = "values are not finite", "look for a step too large or the log of 0"

    def __init__(
        self,
        trainer: OwnTrainer,
        runs: Runs,
        *,
        of: Any = None,
        unit: str | None = None,
        better: str | None = None,
        random: str = "not stated",
        repeat: str = "",
        title: str | None = None,
        workers: int = 1,
        executor: Executor | None = None,
        drop_diverged: bool = False,
    ) -> None:
        self.trainer, self.of, self.unit, self.better = trainer, of, unit, better
        self.random, self.repeat = random, repeat
        super().__init__(
            runs,
            title=title or trainer.name,
            workers=workers,
            executor=executor,
            drop_diverged=drop_diverged,
        )

    def _declare(self) -> list[Shard]:
        common = {"format": 1, "trainer": self.trainer.identity}
        common |= {"repeat": self.repeat} if self.repeat else {}
        shards = []
        for at in range(len(self.runs)):
            job = self._job(at, at + 1)
            spec = common | {
                "init_seed": job.init_seed,
                "order_seed": job.order_seed,
                "weights": sha256(job.weights.tobytes()),
            }
            text = canonical(spec)
            shards.append(Shard(at, at + 1, sha256(text), text))
        return shards

    def _job(self, start: int, stop: int) -> TrainerJob:
        seed, removal = np.unravel_index(start, self.runs.init_seeds.shape)
        init, order = (
            int(seeds[seed, removal]) for seeds in (self.runs.init_seeds, self.runs.order_seeds)
        )
        label = self.runs.design.labels[removal]
        upon = "" if label == "none" else f" without {label}"
        return TrainerJob(
            train=self.trainer.train,
            init_seed=init,
            order_seed=order,
            weights=self.runs.design.weights[removal].numpy().astype(np.float64),
            who=f"trainer {self.trainer.name}, init seed {init} and order seed {order}{upon},",
        )

    def adopt(self, other: "TrainerBank") -> None:
        """Take over what another bank of this trainer has trained, without asking the cache."""
        ours = {shard.key: shard for shard in self.shards}
        for key in ours.keys() & other.results.keys():
            self._take(ours[key], other.results[key], other.seconds[key])

    def _keep(self, shard: Shard, arrays: Arrays, seconds: float) -> None:
        if self.repeat:
            self._take(shard, arrays, seconds)
        else:
            super()._keep(shard, arrays, seconds)

    def settle(self) -> None:
        """Keep runs that were trained once more, so that nobody trains them again."""
        for shard in [s for s in self.shards if self.store and not self.store.has(s.key)]:
            super()._keep(shard, self.results[shard.key], self.seconds[shard.key])

    def _take(self, shard: Shard, arrays: Arrays, seconds: float) -> None:
        shape = arrays[RETURNED].shape[1:]
        if self.results and shape != self.shape:
            who = self._job(shard.start, shard.stop).who
            raise ValueError(
                f"{who} returned the shape {shape}, other runs {self.shape}; return the same "
                "queries in every run."
            )
        super()._take(shard, arrays, seconds)

    def _compare_form(self, shard: Shard, arrays: Arrays) -> None:
        if set(arrays) != {RETURNED}:
            raise DamagedShard(f"it holds {', '.join(sorted(arrays))}, not {RETURNED}")
        array = arrays[RETURNED]
        if array.ndim not in (1, 2, 3) or len(array) != 1 or not array.size:
            raise DamagedShard(f"{RETURNED} has the shape {array.shape}, not that of one run")
        if array.dtype not in (np.float32, np.float64):
            raise DamagedShard(f"{RETURNED} holds {array.dtype}, which it never is")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what a run measures, once one is known."""
        return next(iter(self.results.values()))[RETURNED].shape[1:]

    @property
    def n_query(self) -> int:
        """Queries of the answer: those that a run measures, or the numbers that `of` makes."""
        if self.of is not None:
            return len(self.of) if isinstance(self.of, Mapping) else 1
        return self.shape[0] if self.shape else 1

    @property
    def value_bytes(self) -> int:
        """Bytes of what one run measures."""
        return next(iter(self.results.values()))[RETURNED].nbytes

    def estimate(self) -> Estimate:
        """Cost of filling the bank, by what the runs took that are known; NaN if none is."""
        missing = len(self.missing())
        slots = max(1, min(self.workers, missing))
        each = np.mean(list(self.seconds.values())) if self.seconds else np.nan
        return Estimate(len(self.runs), missing, float(each) * missing / slots, self.workers)

    def dataset(self) -> xr.Dataset:
        """What every run measured, `(seed, removal, query[, output])`; trains what is missing.

        One variable, `RETURNED`. Coordinates and `drop_diverged` as of `RunBank.dataset`.

        Raises:
            FloatingPointError, RuntimeError, ValueError: see `Bank.fill` and `trained`.
        """
        self.fill()
        runs = np.concatenate([self.results[shard.key][RETURNED] for shard in self.shards])
        values = runs.reshape(*self.runs.init_seeds.shape, *runs.shape[1:])
        dims = ("seed", "removal", "query", "output")[: values.ndim]
        data = xr.Dataset({RETURNED: (dims, values)}, self._seeds_and_removals())
        data = data.assign_coords(point=("removal", np.array(self.runs.design.points)))
        data = data.assign_attrs(title=self.title, bank=self.key)
        return self._without_diverged(data) if self.drop_diverged else data

    def _facts(self) -> dict[str, object]:
        return {
            "title": self.title,
            "trainer": self.trainer.name,
            "runs": len(self.runs),
            "missing": len(self.missing()),
            "seeds": self.runs.n_seeds,
            "removals": listing(self.runs.design.labels),
            "random": self.random,
        }
