"""The index of the study: every notebook with its question, and what its claims came to.

Made only from `notebooks/*.ipynb` and `figures/<profile>/*.claims.json`.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.display import Markdown

from . import markdown
from .artefacts import study_root
from .claims import STATUSES, estimate
from .gallery import SHOWN_PROFILES

NONE_YET = "none yet"


@dataclass(frozen=True)
class Entry:
    """A notebook of the study: `profile` is "none yet" where nothing has been exported."""

    name: str
    title: str
    profile: str
    claims: tuple[dict[str, Any], ...]

    @property
    def link(self) -> str:
        """Markdown, relative to the folder of notebooks."""
        return f"[{self.name[:2]}]({self.name}.ipynb)"


def entries(root: Path | str | None = None) -> list[Entry]:
    """All notebooks in order, each at the first of `SHOWN_PROFILES` that it has claims of."""
    root = Path(root or study_root())
    found = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        profile, claims = _claims(root, path.stem)
        found.append(Entry(path.stem, _title(path), profile, claims))
    return found


def index_table(found: list[Entry]) -> Markdown:
    """One row per notebook: its title, and how many claims came to each status."""
    rows = []
    for entry in found:
        counts = Counter(claim["status"] for claim in entry.claims)
        rows.append(
            {
                "": entry.link,
                "notebook": entry.title,
                **{status: counts[status] or "" for status in STATUSES},
                "profile": entry.profile,
            }
        )
    return Markdown(markdown.table(rows) if rows else "There are no notebooks yet.")


def findings_table(found: list[Entry]) -> Markdown:
    """One row per claim: where it is tested, what it says, its status and the estimate."""
    rows = [
        {
            "": entry.link,
            "id": claim["id"],
            "claim": claim["claim"],
            "status": f"**{claim['status']}**",
            "what is measured": claim["statistic"],
            "estimate": estimate(claim),
        }
        for entry in found
        for claim in entry.claims
    ]
    return Markdown(markdown.table(rows) if rows else "No claims have been exported yet.")


def _claims(root: Path, name: str) -> tuple[str, tuple[dict[str, Any], ...]]:
    paths = {p: root / "figures" / p / f"{name}.claims.json" for p in SHOWN_PROFILES}
    found = {
        profile: tuple(json.loads(path.read_text(encoding="utf-8"))["claims"])
        for profile, path in paths.items()
        if path.exists()
    }
    with_claims = [profile for profile, claims in found.items() if claims]
    best = next(iter(with_claims or found), NONE_YET)
    return best, found.get(best, ())


def _title(path: Path) -> str:
    """The first line of the first cell, without its heading mark; the name if there is none."""
    cells = json.loads(path.read_text(encoding="utf-8")).get("cells", [])
    text = "".join(cells[0]["source"]) if cells else ""
    first = text.strip().partition("\n")[0]
    return re.sub(r"^#+\s*", "", first) or path.stem
