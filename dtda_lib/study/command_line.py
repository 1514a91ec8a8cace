"""The arguments of run_all.sh: their grammar, and all that can be refused before any set-up.

Standard library only, and nothing of dtda_lib: run_all.sh calls this file by its path, with any
Python, before there is an environment; `batch` imports the same grammar. Nothing is written here.

    python command_line.py check ROOT ARGUMENT...    exit code 0, or 2 and one sentence (refused)
    python command_line.py list ROOT ARGUMENT...     the notebooks, as far as known without set-up
"""

import argparse
import ast
import difflib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

PROFILE_NAMES = ("smoke", "default", "paper")
MAX_WORKERS = 10_000
NO_NOTEBOOK = "there is no notebook yet: put NN_question.ipynb into notebooks/."


class Refusal(ValueError):
    """An argument or variable that cannot be used; the message is one sentence."""


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise what is to be printed."""
        unrecognised = message.removeprefix("unrecognized arguments: ").split(" ")[0]
        if unrecognised != message.split(" ")[0]:
            message = unknown_argument("option", unrecognised, self._option_string_actions)
        raise Refusal(message if message[-1] in ".?" else f"{message}; see --help.")


class _Once(argparse.Action):
    """An option that may be given once: of two values, nobody can tell which one is meant."""

    taken = False

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Take the value."""
        if self.taken:
            raise Refusal(f"{option} is given twice: leave one out.")
        self.taken = True
        setattr(namespace, self.dest, values)


def parser() -> Parser:
    """The options of run_all.sh."""
    options = Parser("run_all.sh", description="Execute the notebooks.", allow_abbrev=False)
    add = options.add_argument
    add("notebooks", nargs="*", help="names, numbers or unique beginnings (default: all)")
    sizes = "|".join(PROFILE_NAMES)
    add("--profile", action=_Once, type=_profile, default="default", metavar=sizes)
    add("-p", dest="parameters", type=_parameter, action="append", default=[], metavar="NAME=VALUE")
    cores = "processes that train (default: the number of cores)"
    add("--workers", action=_Once, type=_workers, help=cores)
    devices = "auto, cpu, cuda, cuda:N or mps (default: auto)"
    add("--device", action=_Once, type=_device, help=devices)
    add("--force", action="store_true", help="run notebooks that are up to date, too")
    add("--list", action="store_true", help="show the notebooks, their state and cost")
    add("--update", action="store_true", help="replace the committed notebooks and figures")
    add("--bless", action="store_true", help="rewrite the reference values of this profile")
    add("--test", action="store_true", help="lint, tests, and cold checks of all notebooks")
    add("--site", action="store_true", help="build the site, executing nothing")
    add("--conda", action="store_true", help="of run_all.sh: use the conda environment")
    return options


def read_arguments(arguments: Sequence[str], root: Path) -> argparse.Namespace:
    """The options, with `notebooks` as paths and `parameters` as a dict of texts.

    Args:
        arguments: What run_all.sh was given.
        root: The checkout; its `notebooks` folder says which notebooks and parameters there are.

    Raises:
        Refusal: one sentence; nothing has been written.
    """
    args = parser().parse_intermixed_args(arguments)
    _refuse_contradictions(args)
    names = [name for name, _ in args.parameters]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Refusal(f"parameter {_quoted(twice[0])} is given twice: leave one out.")
    args.parameters = dict(args.parameters)
    args.notebooks = select(args.notebooks, root / "notebooks")
    changed = {
        *(name for name in ("device", "workers") if getattr(args, name)),
        *(["profile"] if args.profile != "default" else []),
        *args.parameters,
    }
    for notebook in [] if args.test or args.site else args.notebooks:
        known = parameter_names(notebook) if changed else set()
        for name in sorted(changed - known):
            if not known:
                raise Refusal(f"notebook {notebook.stem} has no cell tagged parameters: add one.")
            raise Refusal(
                unknown_argument(f"parameter of notebook {notebook.stem}", name, sorted(known))
            )
    if not (args.list or args.test):
        _refuse_read_only(root)
    return args


def refuse_variables(variables: Mapping[str, str]) -> None:
    """Refuse values of the environment variables DTDA_* that cannot be meant.

    Raises:
        Refusal: one sentence.
    """
    environment = variables.get("DTDA_ENV", "")
    if environment not in ("", "venv", "conda"):
        raise Refusal(
            f"DTDA_ENV={_quoted(environment)} is unknown: leave it unset, or give venv or conda."
        )
    try:
        shlex.split(variables.get("DTDA_PIP_ARGS", ""))
    except ValueError as error:
        raise Refusal(f"DTDA_PIP_ARGS cannot be read ({error}): quote it as in a shell.") from None
    if workers := variables.get("DTDA_WORKERS", ""):
        try:
            _workers(workers)
        except argparse.ArgumentTypeError as error:
            raise Refusal(f"DTDA_WORKERS: {error}") from None
    for name in ("DTDA_CACHE", "DTDA_CIFAR10"):
        value = variables.get(name, "")
        if value != value.strip():
            raise Refusal(
                f"{name}={_quoted(value)} begins or ends with a blank: leave the blank out."
            )
        if value.lower() in ("", "off"):
            continue
        try:
            folder = Path(value).expanduser()
            is_other = folder.exists() and not folder.is_dir()
        except RuntimeError:
            raise Refusal(
                f"{name}={_quoted(value)} names the home of no user: give a folder."
            ) from None
        except (OSError, ValueError):  # a name that is too long; a NUL, on some systems
            is_other = True
        if is_other:
            raise Refusal(f"{name}={_quoted(value)} is no folder: give a folder.")


def select(wanted: Sequence[str], folder: Path) -> list[Path]:
    """The notebooks that names, numbers or unique beginnings stand for; all if none is given.

    Raises:
        Refusal: no such folder or notebook, or several that begin so.
    """
    if not folder.is_dir():
        raise Refusal(
            "there is no notebooks folder beside dtda_lib: run this in a checkout of the project."
        )
    found = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if wanted and not found:
        raise Refusal(NO_NOTEBOOK)
    chosen = set()
    for word in wanted:
        is_inside = "/" in word and Path(word).resolve().parent == folder.resolve()
        stem = Path(word).name if is_inside else word.removeprefix("notebooks/")
        stem = stem.removesuffix(".ipynb")
        if not stem.strip():
            raise Refusal(f"{_quoted(word)} names no notebook: give a name or a number.")
        matches = [name for name in found if name.startswith(stem)]
        if re.fullmatch(r"[0-9]{1,9}", stem):  # and not \d, which takes digits of other scripts
            matches = [name for name in found if int(name[:2]) == int(stem)]
        if stem in found:
            matches = [stem]
        if not matches:
            raise Refusal(unknown_argument("notebook", word, found))
        if len(matches) > 1:
            raise Refusal(
                f"{_quoted(word)} could be {' or '.join(matches)}: write more of the name."
            )
        chosen.update(matches)
    return [path for name, path in found.items() if not wanted or name in chosen]


def cell_sources(notebook: Path) -> list[str]:
    """Kind and source of each cell, which, unlike the outputs, no execution changes."""
    return [f"{cell['cell_type']}\n{''.join(cell['source'])}" for cell in cells(notebook)]


def parameter_names(notebook: Path) -> set[str]:
    """The names that the notebook's `parameters` cell assigns."""
    for cell in cells(notebook):
        if "parameters" in cell["metadata"].get("tags", ()):
            statements = ast.parse("".join(cell["source"])).body
            assigned = [s.target for s in statements if isinstance(s, ast.AnnAssign)]
            assigned += [t for s in statements if isinstance(s, ast.Assign) for t in s.targets]
            return {target.id for target in assigned if isinstance(target, ast.Name)}
    return set()


def notebook_title(notebook: Path) -> str:
    """The first heading of a notebook, "-" if it has none."""
    for cell in cell_sources(notebook):
        for line in cell.splitlines():
            if cell.startswith("markdown") and line.startswith("#"):
                return line.lstrip("# ")
    return "-"


def cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, read as the JSON it is: nbformat would cost every call seconds.

    Raises:
        Refusal: the file is no notebook.
    """
    try:
        return json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError):
        raise Refusal(f"{notebook.name} is no notebook: mend or remove it.") from None


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of texts in columns; without rows say that there is no notebook."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    for row in [head, *rows]:
        print("  ".join(map(str.ljust, row, widths)).rstrip(), flush=True)
    if not rows:
        print(NO_NOTEBOOK, flush=True)


def unknown_argument(kind: str, name: str, known: Iterable[str]) -> str:
    """One sentence for an unknown name, as `names.unknown`, which cannot be imported here."""
    names = list(known)
    forms = {one.casefold(): one for one in names}
    near = difflib.get_close_matches(name[:60].casefold(), forms, n=1)
    hint = (
        f"did you mean {forms[near[0]]!r}?" if near else f"known are {', '.join(map(repr, names))}."
    )
    return f"unknown {kind} {_quoted(name)}: {hint}"


def _quoted(given: str) -> str:
    """What somebody gave, in quotes, and cut where it is long: for messages."""
    return repr(given) if len(given) <= 60 else f"{repr(given[:57])[:-1]}...'"


def _profile(given: str) -> str:
    if given not in PROFILE_NAMES:
        raise argparse.ArgumentTypeError(unknown_argument("profile", given, PROFILE_NAMES))
    return given


def _parameter(given: str) -> tuple[str, str]:
    name, _, value = map(str.strip, given.partition("="))
    if not name:
        raise argparse.ArgumentTypeError(f"{_quoted(given)} has no name: write -p name=value.")
    if not value:
        raise argparse.ArgumentTypeError(f"{_quoted(given)} has no value: write -p name=value.")
    if name in ("profile", "device", "workers"):
        raise argparse.ArgumentTypeError(
            f"{_quoted(given)} is an option of its own: write --{name} {value}."
        )
    return name, value


def _workers(given: str) -> int:
    if not (re.fullmatch(r"[0-9]{1,5}", given) and 1 <= int(given) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(
            f"workers={_quoted(given)} is not possible: give an integer, 1 to {MAX_WORKERS}."
        )
    return int(given)


def _device(given: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?|mps", given):
        raise argparse.ArgumentTypeError(
            f"device={_quoted(given)} is no device: give auto, cpu, cuda, cuda:N or mps."
        )
    return given


def _refuse_contradictions(args: argparse.Namespace) -> None:
    alone = vars(parser().parse_args(["--test"]))
    if args.test and vars(args) != {**alone, "workers": args.workers, "conda": args.conda}:
        raise Refusal(
            "--test checks everything: of the other options, only --workers goes with it."
        )
    if args.site and vars(args) != {**vars(parser().parse_args(["--site"])), "conda": args.conda}:
        raise Refusal("--site shows what is committed: no other option or notebook goes with it.")
    changes = args.parameters or args.device or args.workers
    if changes and (args.update or args.bless):
        raise Refusal(
            "--update and --bless take a profile as it is: leave out -p, --device and --workers."
        )


def _refuse_read_only(root: Path) -> None:
    for folder in (root / ".runs", root / "figures"):
        place = folder if folder.exists() else root
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise Refusal(f"results cannot be written to {place}: use a checkout of your own.")


def main(arguments: Sequence[str]) -> int:
    """Do what the module's text says; the exit code."""
    what, root, *given = arguments
    try:
        refuse_variables(os.environ)
        args = read_arguments(given, Path(root))
        if what == "list":
            rows = [[notebook.stem, notebook_title(notebook)] for notebook in args.notebooks]
            print_table(["notebook", "title"], rows)
            print("not set up yet: state and cached runs are known after the first run.")
    except Refusal as refusal:
        print(f"run_all.sh: {refusal}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
