"""Generated pages: README's results, the gallery, and the cells that the evidence writes.

`python -m dtda_lib.study.pages` makes them all anew.
"""

from pathlib import Path

from dtda_lib.runs.store import write_atomic
from dtda_lib.study import evidence as evidence_module
from dtda_lib.study.artefacts import study_root

from . import gallery, notebooks


def render(root: Path | str | None = None) -> dict[Path, str]:
    """Path -> text of every generated page, from the evidence and the figures below `root`.

    Raises:
        ValueError: `README.md` has no place for the results.
    """
    root = Path(root or study_root())
    evidence = evidence_module.load(root)
    pages = {root / "figures" / "README.md": gallery.render_gallery(evidence)}
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        pages[path] = notebooks.render_notebook(path, evidence)
    pages[root / "README.md"] = gallery.render_readme(evidence)
    return pages


def write(root: Path | str | None = None) -> list[Path]:
    """Write every generated page that is not as it should be; return the paths of these."""
    written = []
    for path, text in render(root).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomic(path, text)
            written.append(path)
    return written
