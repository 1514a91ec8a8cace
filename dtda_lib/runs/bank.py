"""`RunBank`: many runs, declared first, trained shard by shard, handed back as one dataset.

Interrupt it anywhere, start again, and only the missing shards are trained; on one machine the
result is bit-identical to an uninterrupted run. Several processes may fill the same bank.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from functools import cached_property
from typing import Self

import numpy as np
import torch
import xarray as xr

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Model, Network, initial_theta
from dtda_lib.models.user_code import user_code
from dtda_lib.names import Shown, listing

from .executors import available_cores, checked_executor, in_flight, worker_pool
from .fingerprint import behaviour, measure_identity, model_identity, source_digest
from .keys.canonical import canonical, sha256
from .measures import MEASURES, Measure, get_measure, take
from .progress import Progress
from .protocols import Runs
from .recipes import Recipe
from .shards import Estimate, Job, Packed, Shard, probe_job, seconds_per_run, train_shard
from .store import Arrays, CacheError, DamagedShard, Store, UnreadableShard, cache_folder
from .training import best_chunk

CONVOLUTION_SHARD_RUNS = 8  # a shard is what an interruption may cost: some ten seconds here


class Bank(Shown):
    """Runs that are declared, then trained shard by shard, kept and found again.

    What a run is, a subclass says: `_declare` names its shards, `_job` makes what a worker trains,
    `_compare_form` knows what a shard holds.

    Args:
        runs: Seeds and removals, `(seed, removal)`.
        title: How progress lines call this bank.
        workers: Worker processes.
        executor: Your own `concurrent.futures.Executor`; it is given `workers` + 1 shards at once.
        drop_diverged: A seed of which any run diverges leaves every law, and the dataset says so;
            if False, such a run ends the training.

    Raises:
        ValueError: the executor would hang.
        TypeError: the executor is none.
    """

    trained_finite = True  # a run is finite, or NaN throughout because it diverged
    lost_is, cure = "training diverged", "lower the learning rate"

    def __init__(
        self,
        runs: Runs,
        *,
        title: str,
        workers: int,
        executor: Executor | None,
        drop_diverged: bool,
    ) -> None:
        self.runs, self.title, self.drop_diverged = runs, title, drop_diverged
        self.executor = executor if executor is None else checked_executor(executor)
        self.workers = workers
        folder = cache_folder()
        self.store = Store(folder) if folder else None
        self.shards = self._declare()
        self.results: dict[str, Arrays] = {}
        self.seconds: dict[str, float] = {}  # key of a shard -> what training it took
        self.lost: dict[str, np.ndarray] = {}  # key of a shard -> which of its runs diverged
        self.unreadable: set[str] = set()  # keys of shards that only another user may read
        self.stats = {"runs_cached": 0, "runs_trained": 0, "seconds": 0.0}
        self.stats["shards"] = [shard.key for shard in self.shards]

    def _declare(self) -> list[Shard]:
        raise NotImplementedError

    def _job(self, start: int, stop: int) -> Packed:
        raise NotImplementedError

    def _compare_form(self, shard: Shard, arrays: Arrays) -> None:
        """Names, lengths and kind of number of a shard; `DamagedShard` if they are not ours."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for the whole bank."""
        return sha256("".join(shard.key for shard in self.shards))[:16]

    def missing(self) -> list[Shard]:
        """Shards that are neither in memory nor in the cache (cached files are not read yet)."""
        absent = [s for s in self.shards if s.key not in self.results]
        return [s for s in absent if not (self.store and self.store.has(s.key))]

    @contextmanager
    def _naming_dead_workers(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"bank {self.title}: a worker process died (out of memory?); finished shards "
                f"are kept. Run again, with fewer workers than {self.workers} if it recurs."
            ) from error

    def _pool(self) -> AbstractContextManager[Executor]:
        return nullcontext(self.executor) if self.executor else worker_pool(self.workers)

    def fill(self) -> Self:
        """Train what is missing.

        Raises:
            CacheError: the cache cannot be written; known before anything is trained.
            FloatingPointError: a run diverged, and such seeds are not to be dropped.
            RuntimeError: a worker process died, or the user's code failed.

            Whatever is raised, finished shards are kept.
        """
        todo = [shard for shard in self.shards if not self._load(shard)]
        self._refuse_diverged()
        if not todo:
            return self
        if self.store:
            self.store.check_writable()
        start = time.perf_counter()
        done = len(self.runs) - sum(shard.runs for shard in todo)
        with (
            self._pool() as pool,
            Progress(self.title, len(self.runs), done) as progress,
            self._naming_dead_workers(),
        ):
            told = False
            while todo:
                todo = self._fill_once(todo, pool, progress)
                if todo:  # another process is training these
                    if not told:
                        told = True
                        progress.say(self._waiting(todo))
                    time.sleep(0.5)
        self.stats["seconds"] += time.perf_counter() - start
        return self

    def _fill_once(self, todo: list[Shard], pool: Executor, progress: Progress) -> list[Shard]:
        """One pass over `todo`; returns what other processes hold at the moment."""
        held: list[Shard] = []
        claims: dict[int, ExitStack] = {}

        def claimed() -> Iterator[tuple[Shard, Packed]]:
            for shard in todo:
                claim = ExitStack()
                if not self._claim(shard, claim):
                    held.append(shard)
                    continue
                if self._load(shard):  # another process finished it meanwhile
                    claim.close()
                    self._refuse_diverged()
                    progress.add(shard.runs)
                    continue
                claims[shard.start] = claim
                yield shard, self._job(shard.start, shard.stop)

        try:
            for (shard, _), (arrays, seconds) in in_flight(
                pool, train_shard, claimed(), most=self.workers + 1
            ):
                self._keep(shard, arrays, seconds)
                claims.pop(shard.start).close()
                self._refuse_diverged()
                progress.add(shard.runs)
        finally:
            for claim in claims.values():
                claim.close()
        return held

    def _waiting(self, held: list[Shard]) -> str:
        runs = sum(shard.runs for shard in held)
        holders = dict.fromkeys(self.store.holder(shard.key) for shard in held)
        return f"waiting for {runs} runs that are trained by {'; '.join(holders)}"

    def _claim(self, shard: Shard, claim: ExitStack) -> bool:
        try:
            return not self.store or claim.enter_context(self.store.claim(shard.key))
        except CacheError as error:
            self._leave_cache(error)
            return True

    def _load(self, shard: Shard) -> bool:
        """Take a shard from memory or cache; a damaged one is named, set aside and missing."""
        if shard.key in self.results:
            return True
        if not self.store:
            return False
        try:
            found = self.store.read(shard.key)
            if found is not None:
                self._compare(shard, found[0])
        except DamagedShard as damage:
            place = self.store.set_aside(shard.key)
            is_moved = place != self.store.path(shard.key)
            now = f"is now {place.name}" if is_moved else "cannot be moved"
            warnings.warn(
                f"bank {self.title}: shard {shard.key[:12]} is damaged: {damage}; it {now}, and "
                f"its {shard.runs} runs are trained again.",
                stacklevel=3,
            )
            return False
        except UnreadableShard as why:
            if shard.key not in self.unreadable:
                self.unreadable.add(shard.key)
                warnings.warn(
                    f"bank {self.title}: {why} Its {shard.runs} runs are trained again, and kept "
                    "in memory.",
                    stacklevel=3,
                )
            return False
        if found is None:
            return False
        self._take(shard, *found)
        self.stats["runs_cached"] += shard.runs
        return True

    def _take(self, shard: Shard, arrays: Arrays, seconds: float) -> None:
        self.results[shard.key], self.seconds[shard.key] = arrays, seconds
        if self.trained_finite and (lost := _diverged(arrays)).any():
            self.lost[shard.key] = lost

    def _compare(self, shard: Shard, arrays: Arrays) -> None:
        """Compare a shard with what was asked for: a right checksum says only who wrote it.

        Raises:
            DamagedShard: names, lengths, kind of number or finiteness are not those of this bank.
        """
        self._compare_form(shard, arrays)
        if not self.trained_finite:
            return
        diverged = _diverged(arrays)
        for name, array in arrays.items():
            rows = array.reshape(shard.runs, -1)
            if not np.isfinite(rows[~diverged]).all() or not np.isnan(rows[diverged]).all():
                raise DamagedShard(f"{name} is not finite")

    def diverged(self) -> xr.DataArray:
        """Which runs are known to have diverged, `(seed, removal)`: False also where none ran yet.

        Reads what is cached and trains nothing. Coordinates as of `dataset`.
        """
        for shard in self.shards:
            if self.store and self.store.has(shard.key):
                self._load(shard)
        return self._diverged()

    def _diverged(self) -> xr.DataArray:
        flat = np.zeros(len(self.runs), bool)
        for shard in self.shards if self.lost else ():
            flat[shard.start : shard.stop] = self.lost.get(shard.key, False)
        found = flat.reshape(self.runs.init_seeds.shape)
        return xr.DataArray(found, self._seeds_and_removals(), ("seed", "removal"))

    def diverged_text(self) -> str:
        """How many seeds are known to have diverged, and which; "" if none."""
        return _told(self.diverged())

    def _refuse_diverged(self) -> None:
        if self.lost and not self.drop_diverged:
            raise FloatingPointError(
                f"bank {self.title}: {self.lost_is}{self._or_measure()}, "
                f"{_told(self._diverged())}; {self.cure}, or pass drop_diverged=True to leave such "
                "seeds out of every law."
            )

    def _or_measure(self) -> str:
        """What else may not be finite, where no run tells it apart."""
        return ""

    def _keep(self, shard: Shard, arrays: Arrays, seconds: float) -> None:
        self._take(shard, arrays, seconds)
        self.stats["runs_trained"] += shard.runs
        if not self.store or shard.key in self.unreadable:
            return
        try:
            self.store.write(shard.key, arrays, seconds, shard.spec)
        except CacheError as error:
            self._leave_cache(error)

    def _leave_cache(self, error: CacheError) -> None:
        # Hours may have been spent already: go on in memory rather than lose them.
        warnings.warn(f"bank {self.title}: {error} Results stay in memory.", stacklevel=3)
        self.store = None

    def _without_diverged(self, data: xr.Dataset) -> xr.Dataset:
        diverged = self._diverged()
        kept = ~diverged.any("removal").values  # (seed,)
        if not kept.any():
            raise FloatingPointError(
                f"bank {self.title}: {self.lost_is}, {_told(diverged)}: no seed is left; "
                f"{self.cure}."
            )
        return data.isel(seed=kept).assign_attrs(dropped=_told(diverged))

    def _seeds_and_removals(self) -> dict[str, object]:
        return {
            "seed": np.arange(self.runs.n_seeds),
            "removal": list(self.runs.design.labels),
            "init_seed": (("seed", "removal"), self.runs.init_seeds),
            "order_seed": (("seed", "removal"), self.runs.order_seeds),
        }


class RunBank(Bank):
    """Many trainings of one model on one task, cached and resumable.

    Args:
        task, model, recipe: What is trained, and how.
        runs: Seeds and removals, `(seed, removal)`.
        measures: Names in `MEASURES` or `Measure` objects, taken at each kept checkpoint.
        title: How progress lines call this bank.
        device: "cpu", "cuda", ...; GPUs train in this process.
        workers: Worker processes on a CPU; None takes all cores.
        executor: Your own `concurrent.futures.Executor`; it is given `workers` + 1 shards at once.
        chunk: Runs per vectorised pass; None takes the measured best.
        drop_diverged: A seed of which any run diverges leaves every law, and the dataset says so;
            if False, such a run ends the training.

    Raises:
        ValueError: the design does not fit the task, measures are unknown, share a name or cannot
            be taken on this model (`Measure.check`), or the executor would hang.
        TypeError: the executor is none.
        RuntimeError: a measure of one's own fails or ends the process.
    """

    def __init__(
        self,
        task: Task,
        model: Model,
        recipe: Recipe,
        runs: Runs,
        measures: Sequence[str | Measure] = ("query_loss",),
        *,
        title: str | None = None,
        device: str = "cpu",
        workers: int | None = None,
        executor: Executor | None = None,
        chunk: int | None = None,
        drop_diverged: bool = False,
    ) -> None:
        if runs.design.n_train != task.n_train:
            raise ValueError(
                f"bank: the removal design is for {runs.design.n_train} training points but task "
                f"{task.name!r} has {task.n_train}."
            )
        self.task, self.model, self.recipe = task, model, recipe
        self.measures = tuple(get_measure(m) for m in measures)
        if not self.measures:
            raise ValueError("bank: no measure was given; ask for at least one.")
        names = [m.name for m in self.measures]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"bank: two measures are called {twice[0]!r}; rename one by "
                "dataclasses.replace(measure, name=...)."
            )
        self.device, self.chunk = str(device), chunk
        self.network = self._network()
        for m in self.measures:
            if m.check:
                m.check(self.network, self.initial(0), task)
        on_cpu = torch.device(device).type == "cpu"
        cores = available_cores() if workers is None else workers
        super().__init__(
            runs,
            title=title or task.name,
            workers=cores if on_cpu or executor else 1,
            executor=executor,
            drop_diverged=drop_diverged,
        )

    def _network(self) -> Network:
        """The model as a function of theta.

        Raises:
            ValueError: it, or the recipe, needs runs that are trained one at a time.
        """
        if type(self.recipe).__name__ == "LoopRecipe":
            raise ValueError(
                "recipe: clip, warm_up and nesterov are for runs one at a time; use "
                "retraining_bank, or runs.loop.LoopBank."
            )
        return Network.of(self.model)

    def initial(self, seed: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Parameters `(parameter,)` from which the run with this initial seed starts."""
        return initial_theta(self.model, seed, dtype or self.task.train_x.dtype)

    def _seen(self, dtype: torch.dtype) -> tuple[Network, torch.Tensor] | None:
        """What a key looks at, for models that are no function of theta while they train."""
        return None

    def _declare(self) -> list[Shard]:
        """Cut the runs, seed-major, into shards. Neither workers nor machine layout matter, and a
        bank with more seeds begins with the shards of one with fewer."""
        size = CONVOLUTION_SHARD_RUNS if self.network.convolutional else self._lanes()
        if self.network.convolutional and any("train" in m.dims for m in self.measures):
            size = 1  # estimators take longer than training, and banks of them have few runs
        return self._cut(size)

    def _cut(self, size: int, **also: object) -> list[Shard]:
        """Shards of `size` runs; `also` is what their content depends on besides."""
        entries = (*self._job(0, 1).entries(), self.task.per_example_loss)
        common = also | {
            "format": 3,
            "task": self.task.digest,
            "dtype": str(self.task.train_x.dtype),
            "model": model_identity(self.model, self.network, self.initial(1, torch.float32)),
            "recipe": asdict(self.recipe),
            "measures": [measure_identity(m) for m in self.measures],
            "does": behaviour(self.model, self.task, self.measures, self._seen),
            "code": source_digest(*entries, opaque=(MEASURES, user_code)),
            "torch": torch.__version__,
            "device": torch.device(self.device).type,
        }
        shards = []
        for start in range(0, len(self.runs), size):
            job = self._job(start, min(start + size, len(self.runs)))
            spec = common | {
                "init_seeds": job.init_seeds,
                "order_seeds": job.order_seeds,
                "weights": sha256(job.weights.numpy().tobytes()),
            }
            text = canonical(spec)
            shards.append(Shard(start, start + len(job.init_seeds), sha256(text), text))
        return shards

    def _lanes(self) -> int:
        return self.chunk or best_chunk(self.network, torch.device("cpu"))

    def _job(self, start: int, stop: int) -> Job:
        flat = np.arange(start, stop)
        seed, removal = np.unravel_index(flat, self.runs.init_seeds.shape)
        return Job(
            task=self.task,
            model=self.model,
            recipe=self.recipe,
            init_seeds=self.runs.init_seeds[seed, removal].tolist(),
            order_seeds=self.runs.order_seeds[seed, removal].tolist(),
            weights=self.runs.design.weights[removal],
            measures=self.measures,
            device=self.device,
            chunk=self.chunk,
        )

    def estimate(self) -> Estimate:
        """Cost of filling the bank, from a timed probe on all workers at once."""
        missing = self.missing()
        if not missing:
            return Estimate(len(self.runs), 0, 0.0, self.workers)
        # A CNN trains alone, so one run is a fair sample; a stack must be probed at its size.
        stop = 1 if self.network.convolutional else missing[0].runs
        probe = self._job(missing[0].start, missing[0].start + stop)
        with self._pool() as pool, self._naming_dead_workers():
            futures = [pool.submit(probe_job, probe) for _ in range(self.workers)]
            each = seconds_per_run(probe, [future.result() for future in futures])
        runs = sum(shard.runs for shard in missing)
        slots = min(self.workers, len(missing))
        return Estimate(len(self.runs), runs, each * runs / slots, self.workers)

    def _compare_form(self, shard: Shard, arrays: Arrays) -> None:
        wanted = {m.name: m for m in self.measures}
        if set(arrays) != set(wanted):
            raise DamagedShard(f"it holds {', '.join(sorted(arrays))}, not {', '.join(wanted)}")
        known = {
            "run": shard.runs,
            "checkpoint": len(self.recipe.checkpoints),
            "train": len(self._positions("train", self.task.n_train)),
            "query": self.task.n_query,
        }
        for name, array in arrays.items():
            dims = ("run", "checkpoint", *self._axes(wanted[name]))
            sizes = [known.get(dim, n) for dim, n in zip(dims, array.shape)]
            if len(dims) != array.ndim or sizes != list(array.shape):
                axes = ", ".join(str(known.get(dim, dim)) for dim in dims)
                raise DamagedShard(f"{name} has the shape {array.shape}, not ({axes})")
            if not self._may_hold(wanted[name], array.dtype):
                raise DamagedShard(f"{name} holds {array.dtype}, which it never is")

    def _may_hold(self, m: Measure, dtype: np.dtype) -> bool:
        """Whether values of a measure may be of this type.

        Ours are no coarser than the task, those of one's own what they are at initial parameters;
        along "train", which may take long to see, any real numbers.
        """
        if "train" in self._axes(m):
            return dtype.kind in "fiub"
        if m.is_own:
            return dtype == self._own_types[m.name]
        task = torch.finfo(self.task.train_x.dtype)
        return dtype.kind == "f" and np.finfo(dtype).eps <= task.eps

    @cached_property
    def _own_types(self) -> dict[str, np.dtype]:
        """Type of the values of each measure of one's own that is not along "train"."""
        theta = self.initial(1)
        own = [m for m in self.measures if m.is_own and "train" not in self._axes(m)]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            return {m.name: take(m, self.network, theta, self.task).numpy().dtype for m in own}

    def _or_measure(self) -> str:
        """A measure of one's own may be what is not finite: no run tells these apart."""
        own = [repr(m.name) for m in self.measures if m.is_own]
        return f" (or {' or '.join(own)} is not finite)" if own else ""

    def dataset(self) -> xr.Dataset:
        """All measurements, axes `(seed, removal, checkpoint, ...)`; trains what is missing.

        Coordinates: `removal` (labels), `point` (the single point left out, or -1), `checkpoint`
        (0-based epoch), `init_seed` and `order_seed` `(seed, removal)`, ids of train and query.
        With `drop_diverged` a seed of which any run diverged is missing, with and without removal,
        and the attribute `dropped` says how many and which: the law is that of the other seeds.

        Raises:
            FloatingPointError: all seeds diverged; and see `fill`.
        """
        self.fill()
        shape = self.runs.init_seeds.shape
        variables = {}
        for m in self.measures:
            runs = np.concatenate([self.results[shard.key][m.name] for shard in self.shards])
            values = runs.reshape(*shape, *runs.shape[1:])  # (run, ...) -> (seed, removal, ...)
            dims = ("seed", "removal", "checkpoint", *self._axes(m))
            labels = {dim: list(names) for dim, names in m.labels.items()}
            variables[m.name] = xr.DataArray(values, labels, dims, attrs={"unit": m.unit})
        data = xr.Dataset(variables)
        data = data.assign_coords(
            **self._seeds_and_removals(),
            point=("removal", np.array(self.runs.design.points)),
            checkpoint=list(self.recipe.checkpoints),
        )
        for dim, ids in (("train", self.task.train_id), ("query", self.task.query_id)):
            if dim in data.dims:
                at = self._positions(dim, len(ids))
                coords = {dim: at, f"{dim}_id": (dim, [ids[position] for position in at])}
                data = data.assign_coords(coords)
        data.attrs = {"title": self.title, "task": self.task.name, "bank": self.key}
        data = data.assign_attrs(recipe=canonical(asdict(self.recipe)))
        return self._without_diverged(data) if self.drop_diverged else data

    def _axes(self, m: Measure) -> tuple[str, ...]:
        """Axes of what is kept of a measure at one checkpoint."""
        return m.dims

    def _positions(self, dim: str, n: int) -> np.ndarray:
        """Positions in the task along the axis `train` or `query`."""
        return np.arange(n)

    def _facts(self) -> dict[str, object]:
        return {
            "title": self.title,
            "task": self.task.name,
            "runs": len(self.runs),
            "missing": sum(shard.runs for shard in self.missing()),
            "seeds": self.runs.n_seeds,
            "removals": listing(self.runs.design.labels),
            "measures": listing([m.name for m in self.measures]),
            "shards": len(self.shards),
        }


def _diverged(arrays: Arrays) -> np.ndarray:
    """Runs of a shard `(run,)` that are NaN throughout, as `train` leaves those that diverged."""
    blank = [np.isnan(a.reshape(len(a), -1)).all(axis=1) for a in arrays.values()]
    return np.logical_and.reduce(blank)


def _told(diverged: xr.DataArray, most: int = 3) -> str:
    """How many seeds have a run that diverged, and which; "" if none.

    Args:
        diverged: `(seed, removal)`, with the seeds as coordinates.
        most: Seeds that are named.
    """
    flat = diverged.values
    seeds = np.flatnonzero(flat.any(axis=1))
    if not len(seeds):
        return ""
    named = []
    for seed in seeds[:most]:
        removal = int(flat[seed].argmax())
        one = diverged.isel(seed=seed, removal=removal)
        upon = "" if removal == 0 else f" without {one['removal'].item()}"
        named.append(
            f"init seed {one['init_seed'].item()} and order seed {one['order_seed'].item()}{upon}"
        )
    rest = f" and {len(seeds) - most} more" if len(seeds) > most else ""
    return f"{len(seeds)} of {len(flat)} seeds ({'; '.join(named)}{rest})"
