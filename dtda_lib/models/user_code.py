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
        told = str(error).strip().partition("\n")[0].rstrip(". ")[:200]
        raise RuntimeError(f"{who} raised {type(error).__name__}: {told}.") from error
    finally:
        with _lock:
            _guarded[me] -= 1
            if not +_guarded:
                os._exit = _leave


def _refuse(code: int) -> None:
    if _guarded[os.getpid(), threading.get_ident()]:
        raise _Ended(code)
    _leave(code)
