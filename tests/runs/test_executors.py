"""Executors: what a worker pool refuses, starts and leaves behind; shards in flight."""

import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import psutil
import pytest

from dtda_lib.runs.executors import InlineExecutor, available_cores, in_flight, worker_pool


def workers_of_this_process():
    """Live worker processes below this one; loky's small trackers do not count."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "popen_loky" in " ".join(child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


# -------------------------------------------------------------- in this process


def test_inline_results_and_exceptions_come_through_the_future():
    pool = InlineExecutor()
    assert pool.submit(divmod, 7, 2).result() == (3, 1)
    failed = pool.submit(divmod, 7, 0)
    assert failed.done()
    with pytest.raises(ZeroDivisionError):
        failed.result()


def test_inline_lets_ctrl_c_through():
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupt, 0)


@pytest.mark.parametrize("workers", [0, -1])
def test_pools_of_no_worker_are_refused(workers):
    with (
        pytest.raises(ValueError, match=f"workers = {workers}; give at least 1"),
        worker_pool(workers),
    ):
        pass


def test_one_worker_is_this_process():
    with worker_pool(1) as pool:
        assert pool.submit(os.getpid).result() == os.getpid()


def test_available_cores_are_those_that_this_process_may_use():
    assert 1 <= available_cores() <= os.cpu_count()
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(before)})
            assert available_cores() == 1
        finally:
            os.sched_setaffinity(0, before)


# -------------------------------------------------------------- in flight


def drawn(items, log):
    for item in items:
        log.append(item)
        yield item


def test_in_flight_draws_items_lazily_and_hands_over_what_is_done_first():
    """In this process an item is handed over before the next one starts."""
    log = []
    results = in_flight(InlineExecutor(), lambda x: x * x, drawn(range(5), log), most=3)
    assert log == []
    for number in range(5):
        assert next(results) == (number, number * number)
        assert log == list(range(number + 1))
    assert list(results) == []


def test_in_flight_keeps_to_its_limit():
    running, most_seen, lock = 0, 0, threading.Lock()

    def work(item):
        nonlocal running, most_seen
        with lock:
            running += 1
            most_seen = max(most_seen, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return -item

    with ThreadPoolExecutor(8) as pool:
        got = dict(in_flight(pool, work, range(20), most=3))
    assert got == {item: -item for item in range(20)}
    assert most_seen == 3


def test_in_flight_yields_in_order_of_completion():
    class Manual(InlineExecutor):
        """Nothing ends until the test says so."""

        def __init__(self):
            self.futures = {}

        def submit(self, fn, /, item):
            self.futures[item] = Future()
            return self.futures[item]

    manual = Manual()
    results = in_flight(manual, None, "abc", most=2)
    threading.Timer(0.05, lambda: manual.futures["b"].set_result("late first")).start()
    assert next(results) == ("b", "late first")
    assert set(manual.futures) == {"a", "b"}
    manual.futures["a"].set_result("then this")
    assert next(results) == ("a", "then this")


def test_in_flight_hands_over_results_before_it_raises():
    """What is done with the item that failed must not be lost with it."""

    class Ended(InlineExecutor):
        def submit(self, fn, /, item):
            future = Future()
            self.waiting = [*getattr(self, "waiting", []), (future, item)]
            if len(self.waiting) == 4:
                for future, item in self.waiting:
                    if item % 2:
                        future.set_result(item)
                    else:
                        future.set_exception(ZeroDivisionError(str(item)))
            return self.waiting[-1][0]

    results, got = in_flight(Ended(), None, range(4), most=4), set()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        for item, _ in results:
            got.add(item)
    assert got == {1, 3}


# -------------------------------------------------------------- worker processes


@pytest.mark.slow
def test_workers_are_processes_of_one_thread_each():
    def look():
        import torch

        time.sleep(0.2)  # so that both take part
        handler = signal.getsignal(signal.SIGINT)
        return os.getpid(), torch.get_num_threads(), handler, os.environ["OMP_WAIT_POLICY"]

    with worker_pool(2) as pool:
        seen = [future.result() for future in [pool.submit(look) for _ in range(4)]]
        kept = set(workers_of_this_process())
    pids = {pid for pid, *_ in seen}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    assert {tuple(rest) for _, *rest in seen} == {(1, signal.SIG_IGN, "passive")}
    with worker_pool(2) as pool:
        assert pool.submit(os.getpid).result() in kept, "workers are kept for the next bank"


@pytest.mark.slow
def test_workers_outlive_ctrl_c_and_end_with_an_exception():
    with pytest.raises(KeyError, match="enough"), worker_pool(2) as pool:  # noqa: PT012
        for _ in range(2):
            pid = pool.submit(os.getpid).result()
            os.kill(pid, signal.SIGINT)
        slow = pool.submit(time.sleep, 60)
        wait_until(lambda: slow.running())
        assert pool.submit(divmod, 7, 2).result() == (3, 1)
        assert workers_of_this_process()
        raise KeyError("enough")
    wait_until(lambda: not workers_of_this_process())
    with worker_pool(2) as pool:
        assert pool.submit(divmod, 7, 2).result() == (3, 1), "the next pool is a new one"
