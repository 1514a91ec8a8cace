"""Execute the notebooks one after the other; `run_all.sh` calls this once the set-up is done."""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dtda_lib.names import unknown
from dtda_lib.runs.executors import available_cores

from . import execution
from .artefacts import to_json, write_atomic
from .execution import ROOT, Job, Outcome
from .settings import StudyError, configure

NOTEBOOKS = ROOT / "notebooks"
COSTS = ROOT / "tests" / "reference" / "costs.json"
PROFILE_NAMES = ("smoke", "default", "paper")
READS_OTHERS = ("00_conventions", "12_scoreboard")
NO_NOTEBOOK = "there is no notebook yet: put NN_question.ipynb into notebooks/."


class Stopped(BaseException):
    """Ctrl-C or SIGTERM arrived."""


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise what `main` prints."""
        unrecognised = message.removeprefix("unrecognized arguments: ").split(" ")[0]
        if unrecognised != message.split(" ")[0]:
            message = unknown("option", unrecognised, self._option_string_actions)
        raise StudyError(message if message[-1] in ".?" else f"{message}; see --help.")


def parser() -> Parser:
    """The options of run_all.sh."""
    options = Parser("run_all.sh", description=__doc__, allow_abbrev=False)
    add = options.add_argument
    add("notebooks", nargs="*", help="names, numbers or unique beginnings (default: all)")
    add("--profile", default="default", metavar="|".join(PROFILE_NAMES), help="default: default")
    add("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
    add("--workers", help="processes that train (default: the number of cores)")
    add("--device", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add("--force", action="store_true", help="run notebooks that are up to date, too")
    add("--list", action="store_true", help="show the notebooks, their state and cost")
    add("--update", action="store_true", help="replace the committed notebooks and figures")
    add("--bless", action="store_true", help="rewrite the reference values of this profile")
    add("--test", action="store_true", help="lint, tests, and a cold check of all notebooks")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 1 (something failed), 2 (refused) or 130."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), _stop_once)
    try:
        args = parser().parse_args(arguments)
        _refuse_contradictions(args)
        if args.test:
            return test()
        jobs = [_job(notebook, args) for notebook in select(args.notebooks)]
        return show_list(jobs) if args.list else run_notebooks(jobs, args)
    except StudyError as refusal:
        print(f"run_all.sh: {refusal}", file=sys.stderr)
        return 2
    except Stopped:
        print("run_all.sh: stopped; finished shards and notebooks are kept.", file=sys.stderr)
        return 130


def select(wanted: Sequence[str]) -> list[Path]:
    """The notebooks that names, numbers or unique beginnings stand for; all if none is given."""
    found = {path.stem: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    if wanted and not found:
        raise StudyError(NO_NOTEBOOK)
    chosen = set()
    for word in wanted:
        stem = word.removesuffix(".ipynb").removeprefix("notebooks/")
        matches = [name for name in found if name.startswith(stem)]
        if stem.isdecimal():
            matches = [name for name in found if int(name[:2]) == int(stem)]
        if stem in found:
            matches = [stem]
        if not matches:
            raise StudyError(unknown("notebook", word, found))
        if len(matches) > 1:
            raise StudyError(f"{word!r} could be {' or '.join(matches)}: write more of the name.")
        chosen.update(matches)
    return [path for name, path in found.items() if not wanted or name in chosen]


def run_notebooks(jobs: Sequence[Job], args: argparse.Namespace) -> int:
    """Execute what is due, one notebook at a time, each with all workers; end with a table."""
    env = execution.environment(**({"DTDA_BLESS": "1"} if args.bless else {}))
    always = args.force or args.update or args.bless
    rows, failed = [], False
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
    if args.update and (error := _write_pages()):
        failed = True
        print(f"the pages were not written: {error}", file=sys.stderr)
    _table(["notebook", "state", "seconds", "runs cached", "checks passed", "claims"], rows)
    for name in dict.fromkeys(job.config.name for job in jobs):
        _say(f"results: executed notebooks in .runs/{name}/, figures and claims in figures/{name}/")
    return int(failed)


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """The order of execution: those last that show what the others have exported."""
    return sorted(jobs, key=lambda job: job.notebook.stem in READS_OTHERS)


def show_list(jobs: Sequence[Job]) -> int:
    """Print each notebook with its title, state, cached shards and measured cost."""
    costs = _read_costs()
    rows = []
    for job in jobs:
        cost = costs.get(job.notebook.stem, {})
        seconds = " / ".join(f"{cost[p]:.0f}" if p in cost else "-" for p in PROFILE_NAMES)
        rows.append([job.notebook.stem, job.state(), _shards(job), seconds, _title(job)])
    _table(["notebook", "state", "cache", f"seconds {' / '.join(PROFILE_NAMES)}", "title"], rows)
    if any(row[1] == "stale" for row in rows):
        _say("stale: the notebook, its settings or dtda_lib changed since it was executed here")
    return 0


def test() -> int:
    """Run every check of the project, all to their end; notebooks start from an empty cache."""
    python = [sys.executable, "-m"]
    cores = str(min(8, available_cores()))  # more kernels at once than 8 fail to start at times
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "1800"]
    nbval += ["--nbval-sanitize-with", "notebooks/sanitize.cfg", "notebooks"]
    # Whole notebooks go to a process each: much of a notebook's analysis keeps one core busy.
    nbval += ["-n", cores, "--dist", "loadscope"]
    steps = [
        ("lint", [*python, "ruff", "check", "."]),
        ("format", [*python, "ruff", "format", "--check", "."]),
        ("tests", [*python, "pytest", "-n", cores, "tests"]),
        ("notebooks", [*python, "pytest", *nbval] if select([]) else []),
    ]
    failed = []
    for name, command in steps:
        _say(f"== {name}: {' '.join(command[2:]) or 'there is no notebook yet'}")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="dtda-") as cache:
            env = execution.environment(**({"DTDA_CACHE": cache} if name == "notebooks" else {}))
            code = execution.run(command, env) if command else 0
        failed += [name] if code else []
        _say(f"== {name}: {'FAILED' if code else 'passed'}, {time.monotonic() - started:.0f} s")
    if failed:
        print(f"run_all.sh: failed: {', '.join(failed)}.", file=sys.stderr)
    return int(bool(failed))


def _refuse_contradictions(args: argparse.Namespace) -> None:
    if not NOTEBOOKS.is_dir():
        raise StudyError(
            "there is no notebooks folder beside dtda_lib: run this in a checkout of the project."
        )
    here = Path.cwd() / "dtda_lib"
    if here.is_dir() and not here.samefile(Path(__file__).parents[1]):
        raise StudyError(
            "dtda_lib is imported from elsewhere than this checkout: run ./run_all.sh in it."
        )
    if args.profile not in PROFILE_NAMES:
        raise StudyError(unknown("profile", args.profile, PROFILE_NAMES))
    if args.test and vars(args) != {**vars(parser().parse_args([])), "test": True}:
        raise StudyError("--test checks everything: leave out the other options and names.")
    changes = args.parameters or args.device or args.workers
    if changes and (args.update or args.bless):
        raise StudyError(
            "--update and --bless take a profile as it is: leave out -p, --device and --workers."
        )


def _job(notebook: Path, args: argparse.Namespace) -> Job:
    given: dict[str, Any] = {}
    for parameter in args.parameters:
        name, equals, value = parameter.partition("=")
        if not equals:
            raise StudyError(f"-p {parameter!r} has no value: write -p name=value.")
        if name in ("profile", "device", "workers"):
            raise StudyError(f"-p {parameter!r} is an option of its own: write --{name} {value}.")
        given[name] = value
    name = notebook.stem
    device, workers = args.device or "auto", args.workers
    config = configure(name, profile=args.profile, device=device, workers=workers, **given)

    passed = {} if args.profile == "default" else {"profile": args.profile}
    passed |= {"device": config.device} if args.device else {}
    passed |= {"workers": config.workers} if args.workers else {}
    passed |= {key: config.parameters[key] for key in config.overridden}
    for key in passed:
        if key not in execution.parameter_names(notebook):
            raise StudyError(f"The parameters cell of notebook {name} lacks {key!r}: add it there.")
    return Job(notebook, config, passed)


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


def _row(job: Job, state: str, seconds: float, summary: Mapping[str, Any]) -> list[str]:
    def share(part: str, whole: int) -> str:
        return f"{summary[part]} of {whole}" if whole else "-"

    runs = share("runs_cached", summary.get("runs_cached", 0) + summary.get("runs_trained", 0))
    checks = share("checks_passed", summary.get("checks_total", 0))
    count = Counter(summary.get("claims", {}).values())
    claims = ", ".join(f"{n} {status}" for status, n in sorted(count.items())) or "-"
    return [job.notebook.stem, state, f"{seconds:.1f}", runs, checks, claims]


def _table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    for row in [head, *rows]:
        _say("  ".join(map(str.ljust, row, widths)).rstrip())
    if not rows:
        _say(NO_NOTEBOOK)


def _title(job: Job) -> str:
    for cell in execution.cell_sources(job.notebook):
        for line in cell.splitlines():
            if cell.startswith("markdown") and line.startswith("#"):
                return line.lstrip("# ")
    return "-"


def _shards(job: Job) -> str:
    keys = job.record().get("summary", {}).get("shards", [])
    if not keys:
        return "-"
    from dtda_lib.runs.store import Store, cache_folder  # only now: most calls do not need it

    folder = cache_folder()
    if folder is None:
        return "off"
    return f"{sum(map(Store(folder).has, keys))}/{len(keys)} shards cached"


def _read_costs() -> dict[str, dict[str, float]]:
    return json.loads(COSTS.read_text()) if COSTS.exists() else {}


def _write_cost(job: Job, outcome: Outcome) -> None:
    if outcome.summary.get("runs_cached"):
        _say("  cost not recorded: part of the work came from the cache")
        return
    costs = _read_costs()
    costs.setdefault(job.notebook.stem, {})[job.config.profile] = outcome.seconds
    write_atomic(COSTS, to_json(costs))


if __name__ == "__main__":
    sys.exit(main())
