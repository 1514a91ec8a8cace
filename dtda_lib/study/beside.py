"""A run beside the evidence: what it says of each claim, and whether the two agree."""

import re
from collections.abc import Iterable

from IPython.display import Markdown

from .claims import INCONCLUSIVE, NOT_TESTED, Claim, claims_table
from .evidence import EVIDENCE, UNTESTED, Evidence, Finding
from .headlines import headline
from .markdown import folded, table
from .tables import displayed
from .wording import bullets, measured, upper

AGREE, DIFFER, TOO_SMALL = "intervals agree", "intervals differ", "too small to tell"
NO_EVIDENCE, NO_INTERVAL = "no evidence yet", "no interval to compare"


def beside_page(claims: Iterable[Claim], evidence: Evidence, run: str) -> str:
    """Markdown: a row a headline claim of a run, its other variants and all rules folded below.

    Args:
        claims: What the run states.
        evidence: What the published sizes say.
        run: Profile of the run, or its folder where parameters were changed.
    """
    claims = list(claims)
    if not claims:
        return "This run states no claims."
    lines = [(line, claim) for claim in claims if (line := headline(claim.id))]
    rows = [
        {
            "claim": line.words,
            "evidence": _told(evidence.findings.get(claim.id), line.unit),
            f"this run (`{run}`)": f"{measured(claim.estimate, claim.ci, line.unit)}, "
            f"{claim.status}, {claim.setting}",
            "": "" if run == EVIDENCE else compared(claim, evidence.findings.get(claim.id)),
            "measured": line.number + (f"; expected: {line.expected}" if line.expected else ""),
        }
        for line, claim in lines
    ]
    parts = ["This run is the evidence once it is committed."] if run == EVIDENCE else []
    parts += (
        [table(rows)] if rows else ["None of this notebook's claims stands for one of a paper."]
    )
    every = folded(f"All {len(claims)} claims of this run, with their rules", claims_table(claims))
    return "\n\n".join([*parts, every])


def verdicts(claims: Iterable[Claim]) -> Markdown:
    """What this run says of some claims, a bullet each: verdict, claim, number and what it is.

    Details of a statistic, in brackets or after a semicolon, are left to the table of all claims.
    """
    return bullets(
        f"**{upper(claim.status)}** ({claim.id}): {claim.claim}. {upper(_brief(claim.statistic))}: "
        f"{measured(claim.estimate, claim.ci)}."
        for claim in claims
    )


def _brief(statistic: str) -> str:
    outside = re.sub(r" \([^()]*\d[^()]*\)", "", displayed(statistic))
    return outside.split("; ")[0]


def compared(claim: Claim, finding: Finding | None) -> str:
    """Whether a run and the evidence agree on a claim.

    Disjoint intervals differ. Where intervals overlap, a run that decides the claim agrees, and one
    that does not is too small to tell.
    """
    if finding is None or finding.verdict == NOT_TESTED:
        return NO_EVIDENCE
    if claim.ci is None or finding.claim.ci is None:
        return NO_INTERVAL
    (low, high), (other_low, other_high) = claim.ci, finding.claim.ci
    if high < other_low or low > other_high:
        return DIFFER
    return TOO_SMALL if claim.status == INCONCLUSIVE else AGREE


def _told(finding: Finding | None, unit: str) -> str:
    if finding is None or finding.verdict == NOT_TESTED:
        return UNTESTED
    return f"{finding.number(unit)}, **{finding.verdict}**, {finding.claim.setting}"
