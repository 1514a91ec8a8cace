"""The progress line: what it says, and how rarely."""

import pytest

from dtda_lib.runs import progress
from dtda_lib.runs.progress import Progress, readable_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (42.4, "42 s"), (89, "89 s"), (90, "1.5 min"), (210, "3.5 min"), (7560, "2.1 h")],
)
def test_readable_seconds(seconds, text):
    assert readable_seconds(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told to."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_batch_lines_are_few_and_tell_rate_and_time_left(clock, capsys):
    with Progress("loo", total=100, done=20) as shown:
        for _ in range(30):
            clock[0] += 1
            shown.add(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "bank loo: 30/100 runs, 1 runs/s, 70 s left",
        "bank loo: 40/100 runs, 1 runs/s, 60 s left",
        "bank loo: 50/100 runs, 1 runs/s, 50 s left",
    ]


def test_the_last_run_is_always_told(clock, capsys):
    with Progress("loo", total=2) as shown:
        shown.add(1)
        clock[0] += 4
        shown.add(1)
    assert capsys.readouterr().err == "bank loo: 2/2 runs, 0.5 runs/s, 0 s left\n"


def test_people_get_a_bar_that_leaves_nothing_behind(monkeypatch, capsys):
    monkeypatch.setenv("DTDA_BATCH", "0")
    with Progress("loo", total=3, done=1) as shown:
        assert shown.bar.n == 1
        shown.add(2)
        assert shown.bar.n == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "loo" in err
    assert "\n" not in err
