"""Execute the notebooks one after the other; `run_all.sh` calls this once the set-up is done."""

import argparse
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtda_lib.runs.executors import available_cores
from dtda_lib.runs.store import write_atomic

from . import command_line, execution
from .artefacts import to_json
from .command_line import PROFILE_NAMES, Refusal, print_table
from .execution import ROOT, Execution, NotebookJob
from .provenance import changed_sources
from .record import COSTS, costs_on_record
from .settings import StudyError, parameters_of, resolve

READS_OTHERS = ("12_scoreboard",)


class Stopped(BaseException):
    """Ctrl-C or SIGTERM arrived."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 1 (something failed), 2 (refused) or 130."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), _stop_once)
    try:
        command_line.refuse_variables(os.environ)
        args = command_line.read_arguments(sys.argv[1:] if arguments is None else arguments, ROOT)
        _refuse_foreign_package()
        if args.test:
            return test(args.workers)
        if args.site:
            return build_site()
        jobs = [_job(notebook, args) for notebook in args.notebooks]
        return show_list(jobs) if args.list else run_notebooks(jobs, args)
    except (Refusal, StudyError) as refusal:
        print(f"run_all.sh: {refusal}", file=sys.stderr)
        return 2
    except Stopped:
        print("run_all.sh: stopped; finished shards and notebooks are kept.", file=sys.stderr)
        return 130


def build_site() -> int:
    """Build the site below `.runs/site`; 0, or 1 where Sphinx failed or warned."""
    from .pages import site  # reads the evidence and words of all experiments: no other call does

    began, folder = time.monotonic(), ROOT / ".runs" / "site"
    failed = site.build(folder, ROOT)
    if not failed:
        size = sum(path.stat().st_size for path in (folder / "html").rglob("*") if path.is_file())
        seconds = time.monotonic() - began
        _say(f"the site: {folder / 'html' / 'index.html'}, {size / 1e6:.0f} MB, {seconds:.0f} s")
    return failed


def run_notebooks(jobs: Sequence[NotebookJob], args: argparse.Namespace) -> int:
    """Execute what is due, one notebook at a time, each with all workers; end with a table."""
    env = execution.environment(**({"DTDA_BLESS": "1"} if args.bless else {}))
    always = args.force or args.update or args.bless
    rows, failed = [], False
    changed = changed_sources(job.notebook.stem for job in jobs) if args.update else []
    if changed:
        files = f"{changed[0]} has" if len(changed) == 1 else f"{len(changed)} files have"
        _say(f"note: {files} uncommitted changes, which the new results will say of themselves")
    for job in in_order(jobs):
        if not always and job.state() == "up to date":
            record = job.record()
            rows.append(_row(job, "up to date", record["seconds"], record["summary"]))
            continue
        _say(f"{job.notebook.stem}, {job.config.name} ...")
        outcome = execution.execute(job, env, _say)
        error = outcome.error
        if not error and (args.update or args.bless):
            _write_cost(job, outcome)
        if not error and args.update and args.profile == "default":
            error = execution.publish(job, _say)
        if error:
            failed = True
            print(f"{job.notebook.stem} failed: {error}", file=sys.stderr)
        rows.append(_row(job, "FAILED" if error else "done", outcome.seconds, outcome.summary))
    if (args.update or args.bless) and (error := _write_pages()):
        failed = True
        print(f"the pages were not written: {error}", file=sys.stderr)
    print_table(["notebook", "state", "seconds", "runs cached", "checks passed", "claims"], rows)
    for name in dict.fromkeys(job.config.name for job in jobs):
        _say(f"results: executed notebooks in .runs/{name}/, figures and claims in figures/{name}/")
    return int(failed)


def in_order(jobs: Sequence[NotebookJob]) -> list[NotebookJob]:
    """The order of execution: those last that show what the others have exported."""
    return sorted(jobs, key=lambda job: job.notebook.stem in READS_OTHERS)


def show_list(jobs: Sequence[NotebookJob]) -> int:
    """Print each notebook with its title, state, cached shards and measured cost."""
    costs = costs_on_record(ROOT)
    rows = []
    for job in jobs:
        cost = costs.get(job.notebook.stem, {})
        seconds = " / ".join(f"{cost[p]:.0f}" if p in cost else "-" for p in PROFILE_NAMES)
        rows.append(
            [
                job.notebook.stem,
                job.state(),
                _shards(job),
                seconds,
                command_line.notebook_title(job.notebook),
            ]
        )
    print_table(
        ["notebook", "state", "cache", f"seconds {' / '.join(PROFILE_NAMES)}", "title"], rows
    )
    if any(row[1] == "stale" for row in rows):
        _say("stale: the notebook, its settings or dtda_lib changed since it was executed here")
    return 0


def test(workers: int | None) -> int:
    """Run every check of the project, all to their end; notebooks start from an empty cache.

    Nothing is written into the checkout, except caches of the tools.

    Args:
        workers: Processes at once; where None, one a core, at most 8, as more kernels at once fail
            to start at times.
    """
    at_once = workers or min(8, available_cores())
    python = [sys.executable, "-m"]
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "1800"]
    nbval += ["--nbval-sanitize-with", "notebooks/sanitize.cfg", "notebooks"]
    # What a check runs: stages, one after the other, of commands that run at the same time.
    steps: dict[str, list[list[list[str]]]] = {
        "lint": [[[*python, "ruff", "check", "."]]],
        "format": [[[*python, "ruff", "format", "--check", "."]]],
        "tests": [[[*python, "pytest", "--hypothesis-profile=ci", *_spread(at_once), "tests"]]],
    }
    if notebooks := command_line.select([], ROOT / "notebooks"):
        smoke = [*python, "dtda_lib.study.batch", "--profile", "smoke"]
        stages = _stages(notebooks, "smoke")
        steps["smoke"] = [[[*smoke, name] for name in stage] for stage in stages]
        steps["notebooks"] = [[[*python, "pytest", *nbval, *_spread(at_once, "loadscope")]]]
    else:
        _say(command_line.NO_NOTEBOOK)
    rows = []
    for name, stages in steps.items():
        where = " ..., each notebook, in a copy of this checkout" if name == "smoke" else ""
        _say(f"== {name}: {' '.join(stages[0][0][2:])}{where}")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="dtda-") as folder:
            kernels = name in ("smoke", "notebooks")
            # A kernel a core, each with one process and one thread: more would wait for each other.
            cold = {"DTDA_CACHE": f"{folder}/cache", "DTDA_WORKERS": "1", "OMP_NUM_THREADS": "1"}
            env = execution.environment(**(cold if kernels else {}))
            place = copy_checkout(Path(folder) / "copy") if name == "smoke" else ROOT
            codes = [execution.run_together(some, env, at_once, folder=place) for some in stages]
        rows.append([name, "FAILED" if any(codes) else "passed"])
        rows[-1].append(f"{time.monotonic() - started:.0f}")
        _say(f"== {name}: {rows[-1][1]}, {rows[-1][2]} s")
    print_table(["check", "result", "seconds"], rows)
    failed = [name for name, result, _ in rows if result == "FAILED"]
    if failed:
        print(f"run_all.sh: failed: {', '.join(failed)}.", file=sys.stderr)
    if "smoke" in failed:
        _say("smoke ran in a copy, which is gone: ./run_all.sh --profile smoke leaves a log here")
    return int(bool(failed))


def _stages(notebooks: Sequence[Path], profile: str) -> list[list[str]]:
    """Names of notebooks that can run at once, longest first; then those that read them."""
    costs = costs_on_record(ROOT)
    names = [path.stem for path in notebooks]
    names.sort(key=lambda name: costs.get(name, {}).get(profile, 0.0), reverse=True)
    readers = [name for name in READS_OTHERS if name in names]
    stages = [[name for name in names if name not in readers], readers]
    return [stage for stage in stages if stage]


def copy_checkout(folder: Path) -> Path:
    """Copy the checkout into the new `folder`, without hidden files and results of other runs.

    Returns:
        `folder`.
    """
    left = shutil.ignore_patterns("__pycache__", ".*", "smoke", "custom-*", "*.egg-info", "build")
    return shutil.copytree(ROOT, folder, ignore=left)


def _spread(at_once: int, by: str = "loadfile") -> list[str]:
    """Options that share tests among processes, in the order of collection; none without xdist."""
    if not importlib.util.find_spec("xdist"):
        return []
    return ["-n", str(at_once), "--dist", by, "--no-loadscope-reorder"]


def _refuse_foreign_package() -> None:
    here = Path.cwd() / "dtda_lib"
    if here.is_dir() and not here.samefile(Path(__file__).parents[1]):
        raise Refusal(
            "dtda_lib is imported from elsewhere than this checkout: run ./run_all.sh in it."
        )


def _job(notebook: Path, args: argparse.Namespace) -> NotebookJob:
    config = resolve(
        parameters_of(notebook.stem),
        profile=args.profile,
        device=args.device or "auto",
        workers=args.workers,
        **args.parameters,
    )
    passed = {} if args.profile == "default" else {"profile": args.profile}
    passed |= {"device": config.device} if args.device else {}
    passed |= {"workers": config.workers} if args.workers else {}
    passed |= {key: config.parameters[key] for key in config.overridden}
    return NotebookJob(notebook, config, passed)


def _stop_once(*_: object) -> None:
    # From now on the clean-up must not be interrupted; it takes seconds.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise Stopped


def _say(line: str) -> None:
    print(line, flush=True)


def _write_pages() -> str:
    from . import pages  # only now: what answers notebooks brings all of the library

    try:
        pages.write()
    except ValueError as error:
        return str(error)
    return ""


def _row(job: NotebookJob, state: str, seconds: float, summary: Mapping[str, Any]) -> list[str]:
    def share(part: str, whole: int) -> str:
        return f"{summary[part]} of {whole}" if whole else "-"

    runs = share("runs_cached", summary.get("runs_cached", 0) + summary.get("runs_trained", 0))
    checks = share("checks_passed", summary.get("checks_total", 0))
    count = Counter(summary.get("claims", {}).values())
    claims = ", ".join(f"{n} {status}" for status, n in sorted(count.items())) or "-"
    return [job.notebook.stem, state, f"{seconds:.1f}", runs, checks, claims]


def _shards(job: NotebookJob) -> str:
    keys = job.record().get("summary", {}).get("shards", [])
    if not keys:
        return "-"
    from dtda_lib.runs.store import Store, cache_folder  # only now: most calls do not need it

    folder = cache_folder()
    if folder is None:
        return "off"
    return f"{sum(map(Store(folder).has, keys))}/{len(keys)} shards cached"


def _write_cost(job: NotebookJob, outcome: Execution) -> None:
    if outcome.summary.get("runs_cached"):
        _say("  cost not recorded: part of the work came from the cache")
        return
    costs = costs_on_record(ROOT)
    costs.setdefault(job.notebook.stem, {})[job.config.profile] = outcome.seconds
    write_atomic(ROOT / COSTS, to_json(costs))


if __name__ == "__main__":
    sys.exit(main())
