"""Evidence: what the runs at the published sizes say of each claim.

Only `figures/paper/*.claims.json` gives verdicts, and only by today's rule and statistic. A claim
that has been tested at `default` alone, or at the published sizes by another rule, is on record as
"not tested at the published sizes", whatever those runs found.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from dtda_lib.names import unknown

from .artefacts import study_root
from .claims import NOT_TESTED, Claim
from .headlines import HEADLINES, Headline, headline_of
from .wording import measured

EVIDENCE, PREVIEW = "paper", "default"
"""The profile that gives verdicts, and the one that shows what to expect where it has not run."""
DUE = Path("figures") / EVIDENCE / "due.json"
"""Notebook -> why its evidence is due to be made anew."""
UNTESTED = "not tested at the published sizes"


@dataclass(frozen=True)
class Finding:
    """A claim as a run of its notebook left it."""

    claim: Claim
    notebook: str
    profile: str

    @property
    def verdict(self) -> str:
        """The status that the published sizes give; "not tested" where they have not been run."""
        return self.claim.status if self.profile == EVIDENCE else NOT_TESTED

    def number(self, unit: str = "") -> str:
        """Estimate and interval, two digits; see `wording.measured`."""
        return measured(self.claim.estimate, self.claim.ci, unit)


@dataclass(frozen=True)
class Standing:
    """What has become of a headline: the finding of the variant that stands for it, if any."""

    headline: Headline
    finding: Finding | None
    variants: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """The verdict of the claim: that of its headline variant, of no other."""
        return self.finding.verdict if self.finding else NOT_TESTED

    @property
    def told(self) -> str:
        """The verdict in words."""
        return UNTESTED if self.verdict == NOT_TESTED else self.verdict

    @property
    def number(self) -> str:
        """The evidence: number, interval, what they are, and what is expected."""
        if self.finding is None:
            return "-"
        line = self.headline
        number = f"{self.finding.number(line.unit)} {line.number}"
        at = "" if self.finding.profile == EVIDENCE else f"at `{self.finding.profile}`: "
        return f"{at}{number}" + (f"; expected: {line.expected}" if line.expected else "")

    @property
    def setting(self) -> str:
        """Data and model of the headline variant."""
        return self.finding.claim.setting if self.finding else "-"

    @property
    def notebooks(self) -> tuple[str, ...]:
        """Those that test the claim; that of the headline variant first."""
        found = [self.finding] if self.finding else []
        return tuple(dict.fromkeys(one.notebook for one in [*found, *self.variants]))


@dataclass(frozen=True)
class Evidence:
    """Every claim on record by its id, and which evidence is due; see `load`."""

    findings: Mapping[str, Finding]
    due: Mapping[str, str]
    root: Path

    def __getitem__(self, claim_id: str) -> Finding:
        """The finding of a claim.

        Raises:
            KeyError: no run has stated the claim.
        """
        if claim_id not in self.findings:
            raise KeyError(unknown("claim", claim_id, self.findings))
        return self.findings[claim_id]

    def __contains__(self, claim_id: object) -> bool:
        return claim_id in self.findings

    def verdict_of(self, claim_id: str) -> str:
        """The verdict on a claim; "not tested" where no run has stated it."""
        return self.findings[claim_id].verdict if claim_id in self.findings else NOT_TESTED

    def of(self, notebook: str) -> list[Finding]:
        """All findings of a notebook, in the order in which it states them."""
        return [one for one in self.findings.values() if one.notebook == notebook]

    def standing(self, name: str) -> Standing:
        """What has become of a headline ("B1").

        Raises:
            KeyError: there is no such headline.
        """
        for line in HEADLINES:
            if line.id == name:
                variants = [f for key, f in self.findings.items() if line.covers(key)]
                return Standing(line, self.findings.get(line.key), tuple(variants))
        raise KeyError(unknown("headline", name, (line.id for line in HEADLINES)))

    def standings(self, notebook: str | None = None) -> list[Standing]:
        """All headlines in order, or those whose headline variant a notebook tests.

        A headline whose own variant has not been run belongs to the notebooks of its others.
        """
        found = [self.standing(line.id) for line in HEADLINES]
        return [one for one in found if notebook is None or notebook in one.notebooks[:1]]

    def further(self) -> list[Finding]:
        """Findings of claims that are variants of no headline."""
        return [one for key, one in self.findings.items() if headline_of(key) is None]

    def table(self, notebook: str, figure: str, profile: str = EVIDENCE) -> pd.DataFrame:
        """The data that a figure of a notebook shows.

        Raises:
            FileNotFoundError: the figure has not been drawn at that profile.
        """
        return pd.read_csv(self.root / "figures" / profile / f"{notebook}-{figure}.csv")

    def profile(self, notebook: str) -> str | None:
        """The profile that speaks for a notebook; None where none has been run.

        `paper` if it has judged each of the notebook's headlines by today's rules, else `default`.
        """
        made = self._profiles(notebook)
        return made[-1] if self.outdated(notebook) else next(iter(made), None)

    def outdated(self, notebook: str) -> bool:
        """Whether the published sizes have been run, and not by today's rules."""
        judged = [one.finding for one in self.standings(notebook) if one.finding]
        old = any(finding.profile != EVIDENCE for finding in judged)
        return old and EVIDENCE in self._profiles(notebook)

    def _profiles(self, notebook: str) -> list[str]:
        """Profiles whose claims are on record, `paper` first."""
        folder = self.root / "figures"
        return [
            profile
            for profile in (EVIDENCE, PREVIEW)
            if (folder / profile / f"{notebook}.claims.json").exists()
        ]


def load(root: Path | str | None = None) -> Evidence:
    """All evidence below a folder (default: of the study).

    Raises:
        ValueError: two notebooks state a claim of one id.
    """
    root = Path(root or study_root())
    found: dict[str, Finding] = {}
    for finding in _findings(root):
        known = found.setdefault(finding.claim.id, finding)
        if known.notebook != finding.notebook:
            both = f"{known.notebook} and {finding.notebook}"
            raise ValueError(f"claim {finding.claim.id} is stated by {both}: rename one.")
        if _judged_by(known.claim) != _judged_by(finding.claim):  # a verdict holds for its rule
            found[finding.claim.id] = finding
    ordered = sorted(found.values(), key=lambda one: one.notebook)
    due = root / DUE
    reasons = json.loads(due.read_text(encoding="utf-8")) if due.exists() else {}
    return Evidence({one.claim.id: one for one in ordered}, reasons, root)


def _judged_by(claim: Claim) -> tuple[str, str]:
    """Rule and statistic of a claim, without what a run puts into their words.

    That stands in brackets, or behind a colon or semicolon: numbers, and names in their order.
    """
    measured_by = re.split("[:;]", re.sub(r"\([^()]*\)", "", claim.statistic))[0]
    words = re.sub(r"-?[\d.,]+(e-?\d+)?", "", measured_by).split()
    return claim.rule, " ".join(words)


def _findings(root: Path) -> Iterable[Finding]:
    for profile in (EVIDENCE, PREVIEW):
        for path in sorted((root / "figures" / profile).glob("*.claims.json")):
            file = json.loads(path.read_text(encoding="utf-8"))
            for entry in file["claims"]:
                yield Finding(_claim(entry), file["notebook"], profile)


def _claim(entry: Mapping[str, Any]) -> Claim:
    known = {field.name for field in fields(Claim)}
    plain = {name: value for name, value in entry.items() if name in known}
    ci = plain["ci"]
    return Claim(**plain | {"ci": None if ci is None or None in ci else tuple(ci)})
