"""Keeping evidence where code has changed and no number has.

Splitting a function changes the code of a notebook's numbers, so its evidence is due, and hours of
runs with it. The run at `default` goes through the same cells at smaller sizes, and its results are
committed: where they are today what they were at the commit that made the evidence, the evidence
may be kept. It then says which code and commit it was kept for. What only the published sizes reach
is not seen: whoever changes such a part runs them again.

    python -m dtda_lib.study.renewal            # what is due, and what could be kept
    python -m dtda_lib.study.renewal 01 02      # keep these
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtda_lib.runs.store import write_atomic

from .artefacts import sealed, study_root, to_json
from .checks import Expected
from .due import code_of, stale
from .evidence import EVIDENCE, PREVIEW
from .provenance import git_state
from .settings import StudyError, parameters_of, resolve


def renew(root: Path, notebook: str) -> str:
    """Stamp evidence with today's code, and say for which commit it was kept.

    Args:
        root: Of the study, a git checkout that holds the commit of the evidence.
        notebook: File name without its ending.

    Returns:
        What has been done, in one sentence.

    Raises:
        StudyError: there is no evidence, its parameters have changed, its commit is not at hand,
            or a number of `default` has changed since; nothing is written.
    """
    path = root / "figures" / EVIDENCE / f"{notebook}.claims.json"
    if not path.exists():
        raise StudyError(f"{notebook} has no evidence: ./run_all.sh --profile paper {notebook[:2]}")
    made = json.loads(path.read_text(encoding="utf-8"))
    if "code" not in made or "commit" not in made:
        raise StudyError(f"the evidence of {notebook} does not say which code made it: run it anew")
    if made["spec_hash"] != resolve(parameters_of(notebook), profile=EVIDENCE, device="cpu").hash:
        raise StudyError(f"the published sizes of {notebook} have changed: run it anew")
    code = code_of(root / "notebooks" / f"{notebook}.ipynb")
    if made["code"] == code:
        return f"{notebook}: its evidence is as new as its code"
    if changed := changed_numbers(_then(root, notebook, made["commit"]), _now(root, notebook)):
        raise StudyError(f"numbers of {notebook} at {PREVIEW} have changed: {'; '.join(changed)}")
    rest = {name: value for name, value in made.items() if name in _WRITTEN}
    kept = {"code": code, "kept": {"code": made["code"], "for": git_state(notebook)}}
    write_atomic(path, to_json(sealed(rest | kept)))
    return f"{notebook}: kept, as no number of {PREVIEW} has changed since {made['commit']}"


_WRITTEN = ("notebook", "profile", "spec_hash", "claims", "commit")


def changed_numbers(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a run computes and no longer gives: at most three entries of a reference block.

    Args:
        then, now: Blocks of `tests/reference/<notebook>.json`. A value may move within the band
            that it had; what is new changes nothing.
    """
    found = []
    for name, band in then["values"].items():
        value = now["values"].get(name, {}).get("value")
        if value is None or not Expected(**band).accepts(value):
            found.append(f"{name}: {band['value']} -> {value}")
    for name, status in then["claims"].items():
        if now["claims"].get(name) != status:
            found.append(f"claim {name}: {status} -> {now['claims'].get(name)}")
    return found[:3]


def _now(root: Path, notebook: str) -> dict[str, Any]:
    path = root / "tests" / "reference" / f"{notebook}.json"
    return json.loads(path.read_text(encoding="utf-8"))[PREVIEW]


def _then(root: Path, notebook: str, commit: str) -> dict[str, Any]:
    """The reference block at the commit that made the evidence ("commit 65750e2")."""
    name = commit.removeprefix("commit ").partition(" ")[0]
    file = f"{name}:tests/reference/{notebook}.json"
    told = subprocess.run(["git", "show", file], cwd=root, capture_output=True, text=True)
    if told.returncode:
        raise StudyError(
            f"{commit}, which made the evidence of {notebook}, is not in this checkout"
        )
    return json.loads(told.stdout)[PREVIEW]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, or 1 where evidence cannot be kept."""
    parser = argparse.ArgumentParser(
        prog="python -m dtda_lib.study.renewal",
        description="Keep evidence where code has changed and no number of `default` has.",
    )
    parser.add_argument("notebook", nargs="*", help="numbers of notebooks, e.g. 01; none: a list")
    asked = parser.parse_args(arguments).notebook
    root = study_root()
    if not asked:
        for name, why in stale(root).items():
            print(f"{name}: {why}")
        return 0
    failed = False
    for number in asked:
        for path in sorted((root / "notebooks").glob(f"{number}_*.ipynb")) or [Path(number)]:
            try:
                print(renew(root, path.stem))
            except StudyError as refusal:
                failed = True
                print(refusal, file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
