"""A user's code inside ours: it may not end the process, and its errors say whose they are."""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator

_leave = os._exit
_lock = threading.Lock()
_guarded: Counter[tuple[int, int]] = Counter()  # (process, thread) -> how deep it is inside


class _Ended(SystemExit):
    """In place of `os._exit`, which nothing could catch."""


@contextlib.contextmanager
def user_code(who: str, *, name_errors: bool = True) -> Iterator[None]:
    """Run a model's or a measure's code.

    Ending the process would end a notebook or lose the shards of all workers, so `sys.exit` and
    `os._exit` become errors here; in other threads, and in processes forked off, they do what they
    always do.

    Args:
        who: Whose code it is: "model Net".
        name_errors: Also turn any other exception into one that begins with `who`; False for code
            whose own sentences say enough.

    Raises:
        RuntimeError: one sentence that begins with `who`; from the error that was raised.
    """
    me = os.getpid(), threading.get_ident()
    with _lock:
        _guarded[me] += 1
        os._exit = _refuse
    try:
        yield
    except SystemExit as ended:
        how = f"os._exit({ended})" if isinstance(ended, _Ended) else f"sys.exit({ended})"
        raise RuntimeError(
            f"{who} ended the process by {how}; let it raise an error instead."
        ) from ended
    except Exception as error:
        if not name_errors:
            raise
        # contextlib lets a StopIteration pass where it is the cause of what is raised here.
        cause = None if isinstance(error, StopIteration) else error
        raise RuntimeError(f"{who} raised {_told(error)}.") from cause
    finally:
        with _lock:
            _guarded[me] -= 1
            if not +_guarded:
                os._exit = _leave


def _told(error: Exception) -> str:
    """Kind and first line of an error; some say nothing, and some cannot be written out."""
    try:
        line = str(error).strip().partition("\n")[0].rstrip(". ")[:200]
    except Exception:
        line = ""
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _refuse(code: int) -> None:
    if _guarded[os.getpid(), threading.get_ident()]:
        raise _Ended(code)
    _leave(code)
