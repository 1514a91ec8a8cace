"""One progress line for long work: tqdm for people, rate-limited plain lines for logs."""

import os
import sys
import time

from tqdm import tqdm

BATCH_SECONDS = 10.0  # at most one line in this time when nobody is watching


def readable_seconds(seconds: float) -> str:
    """`42 s`, `3.5 min` or `2.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Progress:
    """Counts runs done of `total`; shows rate and time left on stderr.

    Interactively one text bar (no widgets: they bloat committed notebooks). With `DTDA_BATCH=1`
    plain lines that begin with "bank", for run_all.sh.
    """

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.done, self.cached = title, total, done, done
        self.start = self.shown = time.monotonic()
        self.batch = os.environ.get("DTDA_BATCH") == "1"
        self.bar = None
        if not self.batch:
            self.bar = tqdm(
                total=total, initial=done, desc=title, unit="run", file=sys.stderr, leave=False
            )

    def add(self, runs: int) -> None:
        """`runs` more are done."""
        self.done += runs
        if self.bar is not None:
            self.bar.update(runs)
            return
        now = time.monotonic()
        if now - self.shown < BATCH_SECONDS and self.done < self.total:
            return
        self.shown = now
        rate = (self.done - self.cached) / max(now - self.start, 1e-9)
        left = readable_seconds((self.total - self.done) / max(rate, 1e-9))
        print(
            f"bank {self.title}: {self.done}/{self.total} runs, {rate:.2g} runs/s, {left} left",
            file=sys.stderr,
            flush=True,
        )

    def say(self, text: str) -> None:
        """Tell one line without breaking the bar."""
        if self.bar is not None:
            self.bar.write(f"{self.title}: {text}", file=sys.stderr)
        else:
            print(f"bank {self.title}: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
