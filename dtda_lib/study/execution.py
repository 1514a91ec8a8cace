"""Executing one notebook: is it due, run it with papermill, leave nothing half-made behind."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from dtda_lib.runs.store import write_atomic

from . import command_line, record
from .artefacts import ROOT, digest, to_json
from .command_line import cells
from .markdown import written_by
from .provenance import SUMMARY_MIME
from .settings import Config

START_TROUBLE = ("Kernel died before replying to kernel_info", "Address already in use")
PROGRESS = ("bank ", "cost ")
STRIP = (
    "metadata.papermill cell.metadata.papermill cell.metadata.execution "
    "metadata.language_info.version"
)


@dataclass(frozen=True)
class NotebookJob:
    """A notebook with its settings; `given` is what papermill passes on (nothing: no new cell)."""

    notebook: Path
    config: Config
    given: Mapping[str, Any]

    def file(self, suffix: str) -> Path:
        """Where this job keeps its executed notebook, log or record."""
        return ROOT / ".runs" / self.config.name / (self.notebook.stem + suffix)

    @property
    def key(self) -> str:
        """Hash of all that decides the outputs: sources, settings and kind of device."""
        device = self.config.device.partition(":")[0]
        return digest([*edited_sources(self.notebook), _library(), self.config.hash, device])

    def record(self) -> dict[str, Any]:
        """What the last successful run wrote down; empty if there was none."""
        try:
            return json.loads(self.file(".json").read_text())
        except (OSError, ValueError):
            return {}

    def state(self) -> str:
        """One of "up to date", "stale" and "never run"."""
        key = self.record().get("key")
        if key is None or not self.file(".ipynb").exists():
            return "never run"
        return "up to date" if key == self.key else "stale"


@dataclass(frozen=True)
class Execution:
    """How the execution of a notebook ended; `error` is empty after a success."""

    seconds: float
    summary: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def edited_sources(notebook: Path) -> list[str]:
    """Kind and source of each cell, without those that the evidence writes and nobody edits."""
    sources = command_line.cell_sources(notebook)
    return [source for source in sources if not written_by(source.partition("\n")[2])]


def environment(**extra: str) -> dict[str, str]:
    """Environment of kernels: this interpreter's own, quiet, and the same on every run."""
    # User-level kernelspecs named python3 would otherwise shadow the one of this interpreter, and
    # an installed copy of dtda_lib this checkout's.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    fixed = {
        "PYTHONPATH": os.pathsep.join(paths),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter")),
        "MPLBACKEND": "agg",
        "OMP_WAIT_POLICY": "passive",
        "DTDA_BATCH": "1",
        "PYTHONHASHSEED": "0",
    }
    # Whether results are compared or blessed is said by the caller, not by a forgotten export.
    kept = {k: v for k, v in os.environ.items() if k not in ("DTDA_BLESS", "DTDA_CHECK")}
    return {**kept, **fixed, **extra}


def run(
    command: Sequence[str],
    env: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
    *,
    folder: Path = ROOT,
) -> int:
    """Run a command in `folder` to its end; when this process is told to stop, no descendant
    survives."""
    process = _start(command, env, folder, subprocess.PIPE if on_line else None)
    try:
        for line in process.stdout or ():
            on_line(line)
        return process.wait()
    except BaseException:
        _stop(process)
        raise


def run_together(
    commands: Iterable[Sequence[str]], env: Mapping[str, str], at_once: int, *, folder: Path = ROOT
) -> int:
    """Run commands as `run` does, at most `at_once` at the same time, in the order given.

    Returns:
        The first exit code that is not 0 in order of completion; 0 if there is none.
    """
    waiting, running, code = deque(commands), [], 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_start(waiting.popleft(), env, folder))
            time.sleep(0.1)
            ended = [process for process in running if process.poll() is not None]
            code = code or next((process.returncode for process in ended if process.returncode), 0)
            running = [process for process in running if process not in ended]
    except BaseException:
        for process in running:
            _stop(process)
        raise
    return code


def execute(job: NotebookJob, env: Mapping[str, str], say: Callable[[str], None]) -> Execution:
    """Execute a notebook; its result and record appear only after a success."""
    job.file("").parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(job.file(".lock"), timeout=0):
            try:
                return _execute(job, env, say)
            finally:
                job.file(".part.ipynb").unlink(missing_ok=True)
    except Timeout:
        return Execution(0.0, error="another run_all.sh is executing it: wait for that one to end.")


def _execute(job: NotebookJob, env: Mapping[str, str], say: Callable[[str], None]) -> Execution:
    part, log = job.file(".part.ipynb"), job.file(".log")
    key, started = job.key, time.monotonic()
    for _ in range(3):
        code = run_papermill(job, part, log, env, say)
        if code == 0 or not any(trouble in log.read_text() for trouble in START_TROUBLE):
            break
    seconds = round(time.monotonic() - started, 1)
    if code:
        where = log.relative_to(ROOT)
        return Execution(seconds, error=f"{_last_error(part, log)}\n  log: {where}")
    summary = _summary(part)
    os.replace(part, job.file(".ipynb"))
    write_atomic(job.file(".json"), to_json({"key": key, "seconds": seconds, "summary": summary}))
    return Execution(seconds, summary)


def run_papermill(
    job: NotebookJob, part: Path, log: Path, env: Mapping[str, str], say: Callable[[str], None]
) -> int:
    """One attempt: everything goes to the log, lines of progress also to `say`."""
    command = [sys.executable, "-m", "papermill", str(job.notebook), str(part)]
    command += ["--cwd", str(job.notebook.parent), "--no-progress-bar", "--log-output"]
    command += ["--start-timeout", "120", "-k", "python3", "-l", "python"]
    if job.given:
        command += ["-y", json.dumps(dict(job.given))]  # JSON is YAML, and keeps the types
    with log.open("w") as stream:

        def on_line(line: str) -> None:
            stream.write(line)
            stream.flush()
            if line.startswith(PROGRESS):
                say("  " + line.rstrip())

        return run(command, env, on_line)


def publish(job: NotebookJob, say: Callable[[str], None]) -> str:
    """Put the executed notebook, cleaned, in place of the committed one; return why not, if so."""
    if edited_sources(job.notebook) != edited_sources(job.file(".ipynb")):
        return "the notebook was edited while it ran, so it was not replaced"
    part = job.file(".clean.part.ipynb")
    try:
        shutil.copyfile(job.file(".ipynb"), part)
        strip = ["--keep-output", "--keep-count", "--extra-keys", STRIP, str(part)]
        subprocess.run([sys.executable, "-m", "nbstripout", *strip], cwd=ROOT, check=True)
        content = json.loads(part.read_text(encoding="utf-8"))
        _drop_stderr(content["cells"], say)
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        content["metadata"]["kernelspec"] = kernel
        # Written as nbformat and JupyterLab write it, so that opening and saving changes nothing.
        text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        write_atomic(job.notebook, text)
        record.keep(ROOT, job.notebook)
    finally:
        part.unlink(missing_ok=True)
    return ""


def _drop_stderr(cells: list[dict[str, Any]], say: Callable[[str], None]) -> None:
    """Leave out what cells wrote to stderr, and say so where it was more than progress."""
    for cell in filter(lambda cell: cell["cell_type"] == "code", cells):
        for output in filter(_is_stderr, cell["outputs"]):
            lines = _text(output["text"]).splitlines()
            if told := [line for line in lines if line.strip() and not line.startswith(PROGRESS)]:
                where = (
                    f"cell [{cell['execution_count']}] ({_text(cell['source']).splitlines()[0]})"
                )
                say(f"  note: {where} wrote to stderr; not committed: {told[0]}")
        cell["outputs"] = [output for output in cell["outputs"] if not _is_stderr(output)]


def _is_stderr(output: dict[str, Any]) -> bool:
    return output["output_type"] == "stream" and output["name"] == "stderr"


@cache
def _library() -> list[str]:
    files = sorted((ROOT / "dtda_lib").rglob("*.py"))
    return [
        f"{path.relative_to(ROOT).as_posix()}\n{path.read_text(encoding='utf-8')}"
        for path in [*files, ROOT / "pyproject.toml"]
    ]


def _text(lines: str | list[str]) -> str:
    return "".join(lines)  # nbformat allows both


def _outputs(notebook: Path) -> list[dict[str, Any]]:
    return [output for cell in cells(notebook) for output in cell.get("outputs", ())]


def _summary(notebook: Path) -> dict[str, Any]:
    found = [output.get("data", {}).get(SUMMARY_MIME) for output in _outputs(notebook)]
    return next((dict(summary) for summary in reversed(found) if summary), {})


def _last_error(notebook: Path, log: Path) -> str:
    with contextlib.suppress(Exception):  # whatever is wrong with the file: the log tells it too
        error = [o for o in _outputs(notebook) if o["output_type"] == "error"][-1]
        return f"{error['ename']}: {error['evalue']}"
    return "\n  ".join(log.read_text().strip().splitlines()[-5:])


def _start(
    command: Sequence[str], env: Mapping[str, str], folder: Path, output: int | None = None
) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        text=True,
        errors="replace",
        process_group=0,  # a terminal's Ctrl-C reaches only us, and we stop the rest in order
    )


def _stop(process: subprocess.Popen) -> None:
    """End a process and all below it, kernels and their workers in other sessions included."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
    groups = set()
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(member.pid))
    process.terminate()  # papermill then shuts its kernel down
    psutil.wait_procs(family, timeout=5)
    for group in groups - {os.getpgrp()}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    process.wait()
