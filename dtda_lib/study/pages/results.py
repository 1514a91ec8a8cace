"""Tables of results, made from the evidence alone: for README, gallery and notebook 12."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from dtda_lib.study.claims import (
    INCONCLUSIVE,
    NOT_TESTED,
    STATUSES,
    described,
    rule_numbers,
    told_with_condition,
)
from dtda_lib.study.command_line import notebook_title
from dtda_lib.study.evidence import DUE, EVIDENCE, PREVIEW, UNTESTED, Evidence, Standing
from dtda_lib.study.markdown import numbered, table


def results_table(evidence: Evidence, base: str) -> str:
    """Markdown: a row a headline: claim in words, verdict, evidence, data and model, notebook.

    Args:
        evidence: What the published sizes say.
        base: Where the notebooks are, seen from the page that holds the table.
    """
    return table([_result(one, base) for one in evidence.standings()])


def summary(evidence: Evidence) -> str:
    """One sentence: how many headlines got each verdict, and how many further checks.

    Untested ones are named, because a reader looks for them.
    """
    standings = evidence.standings()
    verdicts = Counter(one.verdict for one in standings)
    further = Counter(one.verdict for one in evidence.further())
    return (
        f"Of {len(standings)} claims: {counted_verdicts(verdicts)}. Further checks of theory, "
        f"estimators and tools: {counted_verdicts(further)}."
    )


def counted_verdicts(verdicts: Mapping[str, int]) -> str:
    """`3 confirmed, 1 refuted`, in the order of `claims.STATUSES`.

    >>> counted_verdicts({"refuted": 1, "confirmed": 3})
    '3 confirmed, 1 refuted'
    """
    shown = {status: status for status in STATUSES} | {NOT_TESTED: UNTESTED}
    return ", ".join(f"{verdicts[s]} {shown[s]}" for s in STATUSES if verdicts.get(s))


def notebooks_table(root: Path) -> str:
    """Markdown for `README.md`: a row a notebook with its title, which links to it."""
    paths = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    titles = [f"[{notebook_title(path)}](notebooks/{path.name})" for path in paths]
    rows = [{"": path.stem[:2], "notebook": title} for path, title in zip(paths, titles)]
    return table(rows) if rows else "There is no notebook yet."


def findings_table(evidence: Evidence, base: str) -> str:
    """Markdown: every claim on record with its rule, setting and the figures that show it."""
    seen = figures_of(evidence.root)
    plain = [(one, one.claim.as_dict()) for one in evidence.findings.values()]
    rules = rule_numbers(claim["rule"] for _, claim in plain)
    rows = [
        {
            **described(claim, rules),
            "status": f"**{one.verdict}**"
            + ("" if one.profile == EVIDENCE else f" (`{one.profile}`: {claim['status']})"),
            "figures": ", ".join(seen.get((one.profile, one.claim.id), ["-"])),
            "": link(one.notebook, base),
        }
        for one, claim in plain
    ]
    return f"{table(rows)}\n\n{numbered(rules)}"


def figures_of(root: Path) -> dict[tuple[str, str], list[str]]:
    """(profile, claim id) -> links, seen from `figures/`, to the figures that name the claim."""
    links: dict[tuple[str, str], list[str]] = {}
    for profile in (EVIDENCE, PREVIEW):
        for path in descriptions(root / "figures" / profile):
            figure = json.loads(path.read_text(encoding="utf-8"))
            for name in figure["claims"]:
                to = f"[{figure['figure']}]({profile}/{path.stem}.png)"
                links.setdefault((profile, name), []).append(to)
    return links


def descriptions(folder: Path) -> Iterator[Path]:
    """The JSON descriptions of the figures in a folder, in order of their names."""
    for path in sorted(folder.glob("*.json")):
        if not path.name.endswith(".claims.json") and path.name != DUE.name:
            yield path


def link(notebook: str, base: str) -> str:
    """Markdown: the notebook's number, leading to it."""
    return f"[{notebook[:2]}]({base}{notebook}.ipynb)"


def _result(standing: Standing, base: str) -> dict[str, str]:
    line = standing.headline
    number = standing.number
    # Where the variant that stands for a claim has not run, what its other variants say is no
    # verdict, and is not hidden either.
    others = Counter(one.verdict for one in standing.variants if one.verdict != NOT_TESTED)
    if standing.verdict == NOT_TESTED and others:
        number += f". Other variants: {counted_verdicts(others)}"
    for variant in standing.variants:
        words = line.beside.get(variant.claim.id)
        if words and variant.verdict != NOT_TESTED:
            told = told_with_condition(variant.verdict, variant.claim)
            number += f". Beside it, {words}: {variant.number()}, {told}"
    if line.needs and standing.verdict in (INCONCLUSIVE, NOT_TESTED):
        number += f". Would decide it: {line.needs}"
    verdict = f"**{standing.told}**"
    if standing.finding and standing.verdict != NOT_TESTED:
        verdict = told_with_condition(verdict, standing.finding.claim)
    return {
        "": line.id,
        "claim": line.words,
        "verdict": verdict,
        "evidence": number.removeprefix("-. "),
        "data and model": standing.setting,
        "notebook": ", ".join(link(name, base) for name in standing.notebooks[:1]) or "-",
    }
