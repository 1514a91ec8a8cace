"""Claims of the papers and of this study, and how numbers decide about them.

A status is never typed in: it comes out of `decide` (stated yes/no rules), `decide_interval`
(an interval and a threshold) or `combine` (several parts of one claim).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from dtda_lib.study.pages import markdown

CONFIRMED, PARTLY, REFUTED = "confirmed", "partly", "refuted"
INCONCLUSIVE, NOT_TESTED = "inconclusive", "not tested"
STATUSES = (CONFIRMED, PARTLY, REFUTED, INCONCLUSIVE, NOT_TESTED)

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim, the number that speaks about it, and the rule that turned one into the other."""

    id: str
    claim: str
    source: str
    status: str
    statistic: str
    estimate: float | None
    ci: Interval | None
    n: int
    setting: str
    estimand: str
    rule: str
    paper_value: float | str | None = None  # None: the paper's number is not known to us

    def __post_init__(self) -> None:
        """Refuse an unknown status, an empty rule and a reversed interval."""
        if self.status not in STATUSES:
            raise ValueError(f"claim {self.id}: status {self.status!r} is none of {STATUSES}.")
        empty = [f.name for f in fields(self) if getattr(self, f.name) == ""]
        if empty:
            raise ValueError(f"claim {self.id}: {', '.join(empty)} must not be empty.")
        if self.ci is not None:
            low, high = self.ci
            if low > high:
                raise ValueError(f"claim {self.id}: the interval {self.ci} is reversed.")

    def as_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON: six significant digits, None where a number is not finite."""
        plain = asdict(self)
        plain["estimate"] = _rounded(self.estimate)
        plain["ci"] = None if self.ci is None else [_rounded(end) for end in self.ci]
        plain["n"] = int(self.n)
        if not isinstance(self.paper_value, str):
            plain["paper_value"] = _rounded(self.paper_value)
        return plain


@dataclass(frozen=True)
class Region:
    """An open set of values `low < value < high` in which an interval may lie as a whole."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        """Refuse an empty region."""
        if not self.low < self.high:
            raise ValueError(f"a region needs low < high, got {self.low} and {self.high}.")

    def contains(self, ci: Interval) -> bool:
        """Whether the whole interval lies inside; never true with a NaN."""
        return self.low < ci[0] <= ci[1] < self.high

    def excludes(self, ci: Interval) -> bool:
        """Whether the whole interval lies outside; never true with a NaN."""
        return ci[0] <= ci[1] and (ci[1] < self.low or ci[0] > self.high)

    def overlaps(self, other: "Region") -> bool:
        """Whether some value lies in both."""
        return max(self.low, other.low) < min(self.high, other.high)

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"below {self.high:g}"
        return (
            f"above {self.low:g}" if math.isinf(self.high) else f"in {self.low:g} to {self.high:g}"
        )


def above(threshold: float) -> Region:
    """All values beyond a threshold."""
    return Region(low=threshold)


def below(threshold: float) -> Region:
    """All values short of a threshold."""
    return Region(high=threshold)


def between(low: float, high: float) -> Region:
    """All values from `low` to `high`."""
    return Region(low, high)


def decide(*, confirmed: bool, refuted: bool, partly: bool = False, tested: bool = True) -> str:
    """A status out of yes/no rules; `partly` counts only where neither end is reached."""
    if confirmed and refuted:
        raise ValueError(
            "the rules contradict each other: the claim is both confirmed and refuted."
        )
    if not tested:
        return NOT_TESTED
    if confirmed:
        return CONFIRMED
    if refuted:
        return REFUTED
    return PARTLY if partly else INCONCLUSIVE


def decide_interval(
    ci: Interval | None, *, confirmed_if: Region, refuted_if: Region | None = None
) -> str:
    """A status out of where the *whole* interval lies; touching a threshold is inconclusive.

    Without `refuted_if`, a claim is refuted by an interval wholly outside `confirmed_if`. No
    interval (None) means that the claim was not tested; a NaN end decides nothing.

    >>> decide_interval((0.2, 0.4), confirmed_if=above(0))
    'confirmed'
    """
    if refuted_if is not None and confirmed_if.overlaps(refuted_if):
        raise ValueError(
            f"the rules contradict each other: {confirmed_if} and {refuted_if} overlap."
        )
    if ci is None:
        return NOT_TESTED
    return decide(
        confirmed=confirmed_if.contains(ci),
        refuted=refuted_if.contains(ci) if refuted_if else confirmed_if.excludes(ci),
    )


def interval_rule(
    confirmed_if: Region, refuted_if: Region | None = None, interval: str = "95 % interval"
) -> str:
    """The text of a `decide_interval` rule, so that the stated rule is the applied one."""
    other = refuted_if if refuted_if is not None else "outside that"
    return (
        f"confirmed if the whole {interval} lies {confirmed_if}, "
        f"refuted if it lies {other}, else inconclusive"
    )


def combine(statuses: Iterable[str]) -> str:
    """One status for a claim of several parts (queries, networks, data sets).

    All parts agree: that status. Some part at least partly confirmed: partly. Else inconclusive.
    """
    parts = set(statuses)
    if unknown := parts - set(STATUSES):
        raise ValueError(f"unknown statuses {sorted(unknown)}.")
    if len(parts) <= 1:
        return parts.pop() if parts else NOT_TESTED
    return PARTLY if parts & {CONFIRMED, PARTLY} else INCONCLUSIVE


def rule_numbers(rules: Iterable[str]) -> dict[str, int]:
    """Each rule once, numbered from 1 in the order of first mention."""
    return {rule: n for n, rule in enumerate(dict.fromkeys(rules), start=1)}


def claims_table(claims: Iterable[Claim]) -> str:
    """Markdown: what a reader wants to see of each claim, and below it the rules in full."""
    plain = [claim.as_dict() for claim in claims]
    if not plain:
        return "No claims have been stated."
    rules = rule_numbers(claim["rule"] for claim in plain)
    rows = [described(claim, rules) for claim in plain]
    return f"{markdown.table(rows)}\n\nThe rules:\n\n{markdown.numbered(rules)}"


def described(claim: Mapping[str, Any], rules: Mapping[str, int]) -> dict[str, Any]:
    """The columns of a table of claims; its rule by number."""
    paper = claim["paper_value"]
    return {
        "id": claim["id"],
        "claim": claim["claim"],
        "status": f"**{claim['status']}**",
        "what is measured": claim["statistic"],
        "estimate": estimate(claim),
        "n": claim["n"],
        "setting": claim["setting"],
        "paper's value": "not available" if paper is None else paper,
        "rule": rules[claim["rule"]],
    }


def estimate(claim: Mapping[str, Any]) -> str:
    """Estimate and interval, four significant digits."""
    interval = "" if claim["ci"] is None else f" {shown_interval(claim['ci'])}"
    return f"{shown(claim['estimate'])}{interval}"


def shown(value: float | None) -> str:
    """Four significant digits, or a dash where there is no number."""
    return "-" if value is None else f"{value:.4g}"


def shown_interval(ci: Sequence[float | None] | None) -> str:
    """Both ends, or a dash where there is no interval."""
    return "-" if ci is None else f"[{shown(ci[0])}, {shown(ci[1])}]"


def _rounded(value: Any) -> float | None:
    """Six significant digits: enough to quote, few enough that jitter seldom shows in a diff."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
