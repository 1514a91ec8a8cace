"""How far the committed numbers move with the instructions of a CPU, beside what is tolerated.

    python jitter.py [--capability default] [NN ...]

Executes notebooks (all, or those of these numbers) from an empty cache, with the kernels of torch
restricted by ATEN_CPU_CAPABILITY ("default" knows no vector instructions, "avx2", "avx512"), writes
nothing, and compares every number that nbval compares with the committed one. Prints one line of
JSON a cell: how many decimals it has, how many moved, the largest movement, absolute and relative,
and `used`, the largest share of its tolerance (rtol and atol tags) that a number took up: above 1,
nbval would be red on such a machine. The check cell of a notebook stops it where a value leaves its
band. A whole run takes as long as the study itself; the result of the last one is jitter.jsonl.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from dtda_lib.study.execution import environment
from dtda_lib.study.tolerant import NUMBER, skeleton, to_float, tolerances

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def executed(path: Path, capability: str) -> Any:
    """The notebook as it comes out with these instructions; raises if a cell fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, path.name)
        command = [sys.executable, "-m", "papermill", str(path), str(out), "--no-progress-bar"]
        settings = {"ATEN_CPU_CAPABILITY": capability, "DTDA_CACHE": folder, "DTDA_CHECK": "1"}
        done = subprocess.run(
            [*command, "--cwd", str(path.parent), "-k", "python3"],
            env=environment(**settings), capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{path.stem} failed:\n{done.stderr[-2000:]}")
        return nbformat.read(out, as_version=4)


def texts(cell: Any) -> Iterator[str]:
    """What nbval compares of a cell and a reader reads: no HTML, no stderr."""
    for output in cell.outputs:
        if output.get("name") != "stderr":
            yield from filter(None, [output.get("text")])
            data = output.get("data", {})
            yield from (data[kind] for kind in ("text/plain", "text/markdown") if kind in data)


def moved(reference: Any, got: Any) -> dict[str, Any] | None:
    """The comparison of one cell; None where there is nothing to compare."""
    tags = reference.metadata.get("tags", [])
    if "nbval-check-output" not in tags:
        return None
    rtol, atol = tolerances(tags)
    pairs, other_words = [], False
    for before, after in zip(texts(reference), texts(got), strict=True):
        other_words |= skeleton(before) != skeleton(after)
        found = zip(NUMBER.findall(before), NUMBER.findall(after))
        pairs += [(to_float(a), to_float(b)) for a, b in found if re.search(r"[.eE]", a)]
    if not pairs:
        return None
    away = [abs(a - b) for a, b in pairs]
    return {
        "decimals": len(pairs),
        "moved": sum(d > 0 for d in away),
        "largest": max(away),
        "largest_relative": max(d / abs(a) for d, (a, _) in zip(away, pairs) if a)
        if any(away)
        else 0.0,
        "used": max(d / (atol + rtol * abs(a)) for d, (a, _) in zip(away, pairs)),
        "other_words": other_words,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--capability", default="default")
    options.add_argument("numbers", nargs="*")
    args = options.parse_args()
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        if args.numbers and path.name[:2] not in args.numbers:
            continue
        committed, anew = nbformat.read(path, as_version=4), executed(path, args.capability)
        for number, (one, other) in enumerate(
            zip(committed.cells, anew.cells[-len(committed.cells) :])
        ):
            if one.cell_type == "code" and (found := moved(one, other)):
                where = {"notebook": path.stem, "cell": number, "capability": args.capability}
                print(json.dumps(where | found), flush=True)


if __name__ == "__main__":
    main()
