"""Is a Python fit for the study, and make or renew `.venv`: what run_all.sh needs for its set-up.

Standard library only, and nothing of dtda_lib: it runs before anything is installed, by its path.

    python environment.py suitable ROOT NEEDS    exit code 0 or 1; NEEDS is run, test or site
    python environment.py install ROOT           exit code 0, 1 (failed), 2 (refused) or 130
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

UNFINISHED = "unfinished"
"""Stamp of an environment of ours whose first installation was cut short."""


def suitable(root: Path, needs: str) -> bool:
    """Whether this Python has all that pyproject.toml asks for, and this checkout's dtda_lib.

    Args:
        root: The checkout.
        needs: "run" asks for the extra `study`; "site" for `site` as well, "test" for `test`, too.
    """
    try:
        from packaging.requirements import Requirement

        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        wanted = list(project["dependencies"])
        extras = {"run": [], "site": ["site"], "test": ["site", "test"]}[needs]
        for extra in ["study", *extras]:
            wanted += project["optional-dependencies"][extra]
        for requirement in map(Requirement, wanted):
            version = importlib.metadata.version(requirement.name)
            if not requirement.specifier.contains(version, prereleases=True):
                return False
        origin = importlib.util.find_spec("dtda_lib").origin
        return Path(origin).resolve().parents[1] == root.resolve()
    except (ImportError, AttributeError, TypeError):  # a package is absent, or has no file
        return False


def install(root: Path) -> int:
    """Make `root/.venv`, or renew it where pyproject.toml or DTDA_PIP_ARGS changed; exit code.

    One call installs at a time: the others wait. pip inherits the lock, so it holds until the last
    writer is gone, however this call ends.
    """
    try:
        lock_file = root / ".runs" / "setup.lock"
        lock_file.parent.mkdir(exist_ok=True)
        with lock_file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # which one depends on the system
                _say("another call sets up .venv: waiting for it.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            return _install(root, lock)
    except OSError as error:
        _say(f"the set-up cannot write to {error.filename or root}: {error.strerror}.")
        return 2


def _install(root: Path, lock: IO[str]) -> int:
    venv = root / ".venv"
    python, stamp = venv / "bin" / "python", venv / "dtda-setup"
    options = os.environ.get("DTDA_PIP_ARGS", "")
    asked = "\n".join([str(root), options, (root / "pyproject.toml").read_text(encoding="utf-8")])
    wanted = hashlib.sha256(asked.encode()).hexdigest()
    found = stamp.read_text() if stamp.exists() else ""

    def run(*command: str) -> bool:
        options = {"stdout": sys.stderr, "pass_fds": [lock.fileno()]}
        return not subprocess.call(command, cwd=root, **options)

    if found == wanted and _has_pip(python):
        return 0
    done = True
    if found == UNFINISHED or not _has_pip(python):
        _say("making .venv (once; this may take minutes).")
        shutil.rmtree(venv, ignore_errors=True)
        venv.mkdir()
        _write(stamp, UNFINISHED)
        done = run(sys.executable, "-m", "venv", str(venv))
    else:
        _say("pyproject.toml or DTDA_PIP_ARGS changed: renewing .venv.")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    if not (done and run(*pip, *shlex.split(options), "-e", ".[test,site]")):
        _say("the set-up of .venv failed (see above): mend the cause and call again.")
        return 1
    _write(stamp, wanted)
    return 0


def _has_pip(python: Path) -> bool:
    command = [str(python), "-c", "import pip"]
    return python.exists() and not subprocess.run(command, capture_output=True).returncode


def _write(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)


def _say(text: str) -> None:
    print(f"run_all.sh: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Do what the module's text says; the exit code."""
    match arguments:
        case ["suitable", root, needs]:
            return int(not suitable(Path(root), needs))
        case ["install", root]:
            signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
            return install(Path(root))
    _say("environment.py takes suitable ROOT NEEDS, or install ROOT.")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
