"""The parameters cell of a notebook, made from its `Parameters`.

`python -m dtda_lib.study.parameters_cell` writes it into every notebook, and keeps all else.
"""

import json
from typing import Any

from .artefacts import study_root, write_atomic
from .parameters import ProfiledParameters
from .settings import parameters_of


def parameters_cell(parameters: type[ProfiledParameters]) -> str:
    """Source of the cell: plain assignments with comments, which papermill can read and replace."""
    declared = parameters.declared()
    below = "None below: its value" if declared else "all the same here"
    used = ("auto, cpu, cuda, cuda:0, mps", "worker processes on a CPU; None: one per core")
    device, workers = used if parameters.trains else ("not used here", "not used here")
    types = parameters.types()
    return "\n".join(
        [
            f'profile: str = "default"  # smoke, default or paper; {below}',
            *(f"{n}: {_written(types[n])} = None  # {one.meaning}" for n, one in declared.items()),
            f'device: str = "auto"  # {device}',
            f"workers: int = None  # {workers}",
        ]
    )


def _written(annotation: Any) -> str:
    # `tuple` for `tuple[int, ...]`: the pattern by which papermill reads annotations has no dots.
    return annotation.__name__


def main() -> None:
    """Renew the parameters cell of every notebook."""
    for path in sorted((study_root() / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            if "parameters" in cell["metadata"].get("tags", ()):
                source = parameters_cell(parameters_of(path.stem))
                cell["source"] = source.splitlines(keepends=True)
        write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
