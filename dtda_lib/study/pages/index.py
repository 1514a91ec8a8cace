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

from dtda_lib.study import markdown
from dtda_lib.study.artefacts import study_root
from dtda_lib.study.claims import STATUSES, estimate

from .gallery import SHOWN_PROFILES, all_claims

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
    """All notebooks in order, with their claims as `gallery.all_claims` finds them."""
    root = Path(root or study_root())
    claims = all_claims(root)
    found = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        mine = [(profile, claim) for profile, notebook, claim in claims if notebook == path.stem]
        profiles = dict.fromkeys(p for p, _ in mine) or _profiles(root, path.stem)
        told = ", ".join(profiles) or NONE_YET
        found.append(Entry(path.stem, _title(path), told, tuple(claim for _, claim in mine)))
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


def _profiles(root: Path, name: str) -> tuple[str, ...]:
    """The best profile that a notebook without claims has been run at."""
    paths = {p: root / "figures" / p / f"{name}.claims.json" for p in SHOWN_PROFILES}
    return tuple(profile for profile, path in paths.items() if path.exists())[:1]


def _title(path: Path) -> str:
    """The first line of the first cell, without its heading mark; the name if there is none."""
    cells = json.loads(path.read_text(encoding="utf-8")).get("cells", [])
    text = "".join(cells[0]["source"]) if cells else ""
    first = text.strip().partition("\n")[0]
    return re.sub(r"^#+\s*", "", first) or path.stem
