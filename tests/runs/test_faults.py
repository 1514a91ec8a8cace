"""A bank that is killed, interrupted or shared ends up as if nothing had happened."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from filler import KILLS, RUNS, make_bank

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes as on Unix"),
]
FILLER = Path(__file__).parents[1] / "filler.py"


@pytest.fixture(scope="module")
def expected():
    """What an uninterrupted fill in one process gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTDA_CACHE", "off")
        return make_bank(workers=1).dataset()


@pytest.fixture
def filler(tmp_path):
    """Starts filler.py in a mode, in a process group of its own; ends what it leaves behind."""
    started = []

    def start(mode, **environment):
        command = [
            sys.executable,
            str(FILLER),
            mode,
            str(tmp_path / "cache"),
            str(tmp_path / "log"),
        ]
        pipe = {"stderr": subprocess.PIPE, "text": True}
        started.append(
            subprocess.Popen(command, start_new_session=True, env=os.environ | environment, **pipe)
        )
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):  # orphaned workers stay in the group
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def events(tmp_path):
    """`(attempt, event, shard)` in the order in which they happened."""
    log = tmp_path / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [tuple(line.split(" ")) for line in lines]


def shards_written(tmp_path):
    return [shard for _, event, shard in events(tmp_path) if event == "written"]


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def alive(processes):
    found = []
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def assert_as_if_nothing_had_happened(expected, trained=0):
    """The bank is complete but for `trained` runs, and holds the right bits."""
    bank = make_bank(workers=1)
    assert bank.dataset().identical(expected)
    assert bank.stats["runs_trained"] == trained
    assert np.isfinite(expected.query_loss).all()


def test_killed_at_twenty_random_moments(filler, tmp_path, expected):
    process = filler("kills")
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "damaged" not in told
    assert_as_if_nothing_had_happened(expected)

    history, written, begun = events(tmp_path), set(), Counter()
    in_flight = {}
    for attempt, event, shard in history:
        if event == "begun":
            assert shard not in written, f"attempt {attempt} trained again what had been written"
            assert begun[attempt, shard] == 0, "trained twice in one attempt"
            begun[attempt, shard] += 1
            in_flight.setdefault(attempt, set()).add(shard)
        elif event == "written":
            assert shard not in written, "written twice"
            written.add(shard)
            in_flight[attempt].discard(shard)
    assert [event for _, event, _ in history].count("killed") == KILLS
    lost = [len(shards) for shards in in_flight.values()]
    assert max(lost) <= 3, "a kill costs at most the shards in flight"
    assert sum(lost) > 0, "some kill must have hit a training"
    # A kill between the renaming and the note leaves a shard that nobody noted.
    assert RUNS - KILLS <= len(written) <= RUNS


def test_a_killed_process_leaves_no_worker_behind(filler, tmp_path, expected):
    process = filler("fill")
    wait_until(lambda: len(shards_written(tmp_path)) >= 3 or process.poll() is not None, 90)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.kill()
    process.wait()
    wait_until(lambda: not alive(family), 3)
    kept = len(shards_written(tmp_path))
    assert_as_if_nothing_had_happened(expected, trained=RUNS - stored(tmp_path))
    assert stored(tmp_path) == RUNS
    assert kept >= 3


def test_ctrl_c_ends_the_workers_and_keeps_finished_shards(filler, tmp_path, expected):
    process = filler("fill")
    wait_until(lambda: len(shards_written(tmp_path)) >= 3 or process.poll() is not None, 90)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in told
    wait_until(lambda: not alive(family), 3)
    finished = shards_written(tmp_path)
    assert len(finished) == len(set(finished)) == stored(tmp_path)
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    assert not list((tmp_path / "cache").rglob("*.lock"))
    assert_as_if_nothing_had_happened(expected, trained=RUNS - len(finished))


def stored(tmp_path):
    return len(list((tmp_path / "cache").rglob("*.safetensors")))


def test_two_processes_share_one_bank(filler, tmp_path, expected):
    process = filler("two")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    history = events(tmp_path)
    by_event = {
        name: Counter(s for _, e, s in history if e == name) for name in ("begun", "written")
    }
    for name, counts in by_event.items():
        assert len(counts) == RUNS, name
        assert set(counts.values()) == {1}, f"no shard is {name} twice"
    assert {attempt for attempt, _, _ in history} == {"0", "1"}, "both took part"
    assert_as_if_nothing_had_happened(expected)
