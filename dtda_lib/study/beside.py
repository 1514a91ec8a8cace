"""A run beside the evidence: what it says of each claim, and whether the two agree."""

import json
import re
from collections.abc import Iterable, Sequence

from IPython.display import Markdown

from .claims import INCONCLUSIVE, NOT_TESTED, Claim, claims_table, told_with_condition
from .evidence import EVIDENCE, PREVIEW, UNTESTED, Evidence, Finding
from .headlines import Headline, headline
from .markdown import folded, table
from .tables import displayed
from .wording import bullets, measured, upper

AGREE, DIFFER, TOO_SMALL = "intervals agree", "intervals differ", "too small to tell"
ELSEWHERE = "intervals differ, and so does the setting"
IN_THIS_RUN = "in this run"
NO_EVIDENCE, NO_INTERVAL = "no evidence yet", "no interval to compare"


def beside_page(claims: Iterable[Claim], evidence: Evidence, run: str) -> str:
    """Markdown: a row a headline claim of a run, its other variants and all rules folded below.

    Args:
        claims: What the run states.
        evidence: What the published sizes say.
        run: Profile of the run, or its folder where parameters were changed.
    """
    claims = list(map(_as_on_file, claims))
    if not claims:
        return "This run states no claims."
    lines = [(line, claim) for claim in claims if (line := headline(claim.id))]
    rows = [
        {
            "claim": line.words,
            "evidence": _told(evidence.findings.get(claim.id), line),
            f"this run (`{run}`)": f"{measured(claim.estimate, claim.ci, line.unit)}, "
            f"{told_with_condition(claim.status, claim)}, {claim.setting}",
            "agreement": ""
            if run == EVIDENCE
            else compared(claim, evidence.findings.get(claim.id)),
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


def page_on_file(evidence: Evidence, notebook: str, profile: str = PREVIEW) -> str | None:
    """`beside_page` of the run whose claims a file in `figures/` holds; None without that file."""
    claims = _claims_on_file(evidence, notebook, profile)
    return None if claims is None else beside_page(claims, evidence, profile)


def verdicts(claims: Iterable[Claim]) -> Markdown:
    """What this run finds of some claims, a bullet each; variants of one claim share theirs.

    Details of a statistic, in brackets or after a semicolon, are left to the table of all claims.
    """
    variants: dict[str, list[Claim]] = {}
    for claim in map(_as_on_file, claims):
        variants.setdefault(claim.claim, []).append(claim)
    return bullets(
        f"{upper(displayed(text))}. {_found(alike)}." for text, alike in variants.items()
    )


def verdicts_on_file(
    shown: str, evidence: Evidence, notebook: str, profile: str = PREVIEW
) -> str | None:
    """`verdicts` of the claims that a text of it names, out of the file that holds them.

    None without that file; a claim that the file does not hold is missing.
    """
    claims = _claims_on_file(evidence, notebook, profile)
    if claims is None:
        return None
    named = re.findall(rf"{IN_THIS_RUN} \(([^()]+)\)", shown)
    known = {claim.id: claim for claim in claims}
    return verdicts(known[name] for name in named if name in known).data


def _claims_on_file(evidence: Evidence, notebook: str, profile: str) -> list[Claim] | None:
    path = evidence.root / "figures" / profile / f"{notebook}.claims.json"
    if not path.exists():
        return None
    return list(map(Claim.from_dict, json.loads(path.read_text(encoding="utf-8"))["claims"]))


def _as_on_file(claim: Claim) -> Claim:
    """So that what is shown of it can be made again from the claims file."""
    return Claim.from_dict(claim.as_dict())


def _found(variants: Sequence[Claim]) -> str:
    """Number and status of each variant; what is measured is said once where it is the same."""
    measures = [upper(_brief(claim.statistic)) for claim in variants]
    results = [
        f"{measured(claim.estimate, claim.ci)}, **{claim.status}** {IN_THIS_RUN} ({claim.id})"
        for claim in variants
    ]
    if len(set(measures)) == 1:
        return f"{measures[0]}: {'; '.join(results)}"
    return "; ".join(map(": ".join, zip(measures, results)))


def _brief(statistic: str) -> str:
    outside = re.sub(r" \([^()]*\d[^()]*\)", "", displayed(statistic))
    return outside.split("; ")[0]


def compared(claim: Claim, finding: Finding | None) -> str:
    """Whether a run and the evidence agree on a claim.

    Disjoint intervals differ, which another setting may explain. Where intervals overlap, a run
    that decides the claim agrees, and one that does not is too small to tell.
    """
    if finding is None or finding.verdict == NOT_TESTED:
        return NO_EVIDENCE
    if claim.ci is None or finding.claim.ci is None:
        return NO_INTERVAL
    (low, high), (other_low, other_high) = claim.ci, finding.claim.ci
    if high < other_low or low > other_high:
        return DIFFER if claim.setting == finding.claim.setting else ELSEWHERE
    return TOO_SMALL if claim.status == INCONCLUSIVE else AGREE


def _told(finding: Finding | None, line: Headline) -> str:
    if finding is None or finding.verdict == NOT_TESTED:
        return UNTESTED
    verdict = told_with_condition(f"**{finding.verdict}**", finding.claim)
    told = f"{finding.number(line.unit)}, {verdict}, {finding.claim.setting}"
    return f"{told}. Would decide it: {line.needs}" if finding.verdict == INCONCLUSIVE else told
