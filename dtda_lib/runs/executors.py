"""Where shards of runs are trained: in this process, in worker processes, or on a cluster.

Every executor follows `concurrent.futures.Executor`, so `dask.distributed`'s
`Client.get_executor()` can be handed to a `RunBank` unchanged.
"""

import ctypes
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from dtda_lib.names import short

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


class InlineExecutor(Executor):
    """Trains in this process, one shard after the other, when its future is submitted."""

    def submit(self, fn: Callable[..., Result], /, *args: object, **kwargs: object) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # handed to the caller through the future, as executors do
            future.set_exception(error)
        return future


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks for reuse instead of returning them to the system.

    Each training step frees and takes the same few megabytes; returning them costs page faults
    worth a fifth of a CNN's training time. Does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        mmap_threshold, trim_threshold, top_pad = -3, -1, -2
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(top_pad, 1 << 26)
    except (OSError, AttributeError):
        return


def _start_worker(parent: int) -> None:
    """Runs once in each worker process."""
    # Ctrl-C goes to the whole process group; the parent decides what happens to workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_freed_memory()

    def leave_with_parent() -> None:
        # A killed or restarted kernel cannot say goodbye, so workers look after themselves.
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


@contextmanager
def worker_pool(workers: int) -> Iterator[Executor]:
    """An executor with that many single-threaded worker processes (1: this process).

    Workers are started by loky, which serves models and measures defined in a notebook. They are
    kept for the next bank; when the block is left by an exception (Ctrl-C included) they are
    killed, and when this process dies they end by themselves.

    Raises:
        ValueError: fewer than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers = {workers}; give at least 1.")
    if workers == 1:
        keep_freed_memory()
        yield InlineExecutor()
        return
    from loky import get_reusable_executor

    # loky retires workers whose memory has grown, which ours do on purpose, and starts new ones.
    warnings.filterwarnings("ignore", message="A worker was (stopped|restarted)")
    pool = get_reusable_executor(
        max_workers=workers,
        timeout=300,
        initializer=_start_worker,
        initargs=(os.getpid(),),
        env=_WORKER_ENVIRONMENT,
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)
        raise


def checked_executor(executor: Executor) -> Executor:
    """An executor of the user's own, if shards can be sent to it.

    Raises:
        TypeError: it does not follow `concurrent.futures`.
        ValueError: it forks this process, in which torch has threads: its workers would hang.
    """
    if not isinstance(executor, Executor):
        raise TypeError(
            f"executor is {short(executor)}, no concurrent.futures.Executor; its submit has to "
            "return a concurrent.futures.Future, as that of dask's Client.get_executor() does."
        )
    context = getattr(executor, "_mp_context", None)
    if isinstance(executor, ProcessPoolExecutor) and context.get_start_method() == "fork":
        raise ValueError(
            "executor forks this process, whose copies hang once torch has started threads; make "
            'it with ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn")), or '
            "pass workers=n instead."
        )
    return executor


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_flight(
    executor: Executor, function: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Iterator[tuple[Item, Result]]:
    """`(item, function(item))` in order of completion, at most `most` under way at once.

    `items` is drawn lazily, so a caller can claim each item just before it is trained.
    """
    waiting: dict[Future, Item] = {}
    source = iter(items)
    exhausted = False
    while waiting or not exhausted:
        # What is done already is handed over before anything else starts (see InlineExecutor).
        while not exhausted and len(waiting) < most and not any(f.done() for f in waiting):
            try:
                item = next(source)
            except StopIteration:
                exhausted = True
                break
            future = executor.submit(function, item)
            if not isinstance(future, Future):
                raise TypeError(
                    f"{type(executor).__name__}.submit returned {type(future).__name__}, no "
                    "concurrent.futures.Future; wrap what it returns in one."
                )
            waiting[future] = item
        if waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda f: f.exception() is not None):  # failures last
                yield waiting.pop(future), future.result()
