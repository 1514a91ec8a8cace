"""A script for test_faults.py: fills a bank of many small shards, writes down what it does.

    python filler.py fill CACHE LOG     with two worker processes
    python filler.py kills CACHE LOG    killed at twenty random moments, then to the end
    python filler.py two CACHE LOG      two processes at once

A line of the log is `ATTEMPT EVENT SHARD`; events are "begun", "written" and "killed". `kills` and
`two` fork from one process that has imported torch already, which is what makes them quick.
"""

import os
import random
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from helpers import table_like

import dtda_lib.runs.bank
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.executors import _start_worker
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.shards import train_shard
from dtda_lib.runs.store import Store

RUNS, KILLS, MOST_SHARDS = (
    60,
    20,
    2,
)  # killed after at most two shards: the twentieth still finds work


def make_bank(**settings):
    """60 runs, each a shard of some 20 milliseconds."""
    runs = paired(leave_one_out(11), seed_pairs(5))
    recipe = Recipe("sgd", lr=0.05, batch_size=4, epochs=8)
    task = table_like(n_train=11, n_query=3)
    return RunBank(task, get_model("mlp", widths=(8, 4, 1)), recipe, runs, chunk=1, **settings)


def note(event, key=""):
    """Append a line at once, whoever else is writing."""
    log = os.open(os.environ["FILLER_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{os.environ['FILLER_ATTEMPT']} {event} {key}\n".encode())
    os.close(log)


def noting_train_shard(item):
    """`train_shard` that tells when it begins."""
    note("begun", item[0].key)
    return train_shard(item)


class NotingStore(Store):
    """A store that tells what it has written."""

    def write(self, key, *rest):
        super().write(key, *rest)
        note("written", key)


def fill(**settings):
    """Fill the bank, noting."""
    dtda_lib.runs.bank.Store = NotingStore
    dtda_lib.runs.bank.train_shard = noting_train_shard
    # A pool that forks is refused; these workers were forked before anything trained in them.
    dtda_lib.runs.bank.checked_executor = lambda executor: executor
    make_bank(**settings).fill()


def forked(attempt):
    """A process that fills the bank with two workers; returns its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.environ["FILLER_ATTEMPT"] = str(attempt)
        workers = ProcessPoolExecutor(2, get_context("fork"), _start_worker, (os.getpid(),))
        workers.submit(os.getpid).result()  # forked before anything is claimed
        with workers:
            fill(executor=workers, workers=2)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def count_written(attempt):
    """How many shards this attempt has written so far."""
    path = Path(os.environ["FILLER_LOG"])
    text = path.read_text() if path.exists() else ""
    return sum(line.startswith(f"{attempt} written") for line in text.splitlines())


def kills():
    """Kill twenty attempts, after 0 to 2 shards and some more milliseconds; finish the last."""
    rng = random.Random(0)
    for attempt in range(KILLS):
        shards, delay = rng.randint(0, MOST_SHARDS), rng.uniform(0, 0.04)
        pid = forked(attempt)
        while count_written(attempt) < shards:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended by itself"
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "it ended by itself, so nothing was tested"
        note("killed")
    _, status = os.waitpid(forked(KILLS), 0)
    return os.waitstatus_to_exitcode(status)


def two():
    """Two processes at once; the sum of their exit codes."""
    pids = [forked(attempt) for attempt in range(2)]
    return sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


if __name__ == "__main__":
    mode, cache, os.environ["FILLER_LOG"] = sys.argv[1:]
    os.environ["DTDA_CACHE"] = "off"
    if mode != "fill":  # what a first training loads and reads, forked processes have already
        warm = make_bank()
        train_shard((warm.shards[0], warm._job(0, 1)))
    os.environ["DTDA_CACHE"] = cache
    os.environ.setdefault("FILLER_ATTEMPT", "-")
    if mode == "fill":
        fill(workers=2)
    else:
        sys.exit({"kills": kills, "two": two}[mode]())
