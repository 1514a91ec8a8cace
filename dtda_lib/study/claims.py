"""Claims of the papers and of this study, and how numbers decide about them.

A status is never typed in: it comes out of `decide` (stated yes/no rules), `decide_interval`
(an interval and a threshold) or `combine` (several parts of one claim). `Claim.from_row` and
`Claim.from_rows` do both at once: they read the numbers from a table and apply the rule they state.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import pandas as pd
from scipy import stats

from .markdown import numbered, table
from .rounding import rounded
from .tables import displayed, ends

CONFIRMED, PARTLY, REFUTED = "confirmed", "partly", "refuted"
INCONCLUSIVE, NOT_TESTED = "inconclusive", "not tested"
STATUSES = (CONFIRMED, PARTLY, REFUTED, INCONCLUSIVE, NOT_TESTED)

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim, the number that speaks about it, and the rule that turned one into the other.

    `headline` and `needs` come from the table `study.headlines`, by the claim's id: whether the
    claim stands for its family, and what would decide it where it is inconclusive.
    """

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
    headline: bool = False
    needs: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any], **rule_and_text: Any) -> Self:
        """The claim that one row of a table decides: its status, numbers and rule; `from_rows`.

        >>> row = {"estimate": 0.3, "low": 0.2, "high": 0.4, "n": 8}
        >>> words = {"claim": "it helps", "source": "x", "statistic": "gain", "setting": "toy"}
        >>> Claim.from_row(row, confirmed_if=above(0), id="X", estimand="law", **words).status
        'confirmed'
        """
        return cls.from_rows([row], **rule_and_text)

    @classmethod
    def from_rows(
        cls,
        rows: "Iterable[Mapping[str, Any]] | pd.DataFrame",
        *,
        confirmed_if: "Region | None" = None,
        refuted_if: "Region | None" = None,
        margin: "Region | None" = None,
        value: str = "estimate",
        count: str | int = "n",
        interval: str = "95 % interval",
        **text: Any,
    ) -> Self:
        """The claim of several parts: `combine` of all rows; the numbers are those of the last.

        Args:
            rows: Each holds the estimate, the ends of its interval (`tables.ends`), and a count.
            confirmed_if, refuted_if, margin: The rule, as `decide_interval` takes it. None of
                them: `text` gives the `status` that another `rule` came to.
            value: Name of the estimate in the row.
            count: Name of what `n` counts, or `n` itself.
            interval: What the interval is, for the text of the rule.
            **text: The other fields of the claim. A `rule` given here is added to the applied one.

        Raises:
            ValueError: there is no row.
        """
        parts = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else list(rows)
        if not parts:
            raise ValueError(f"claim {text.get('id')}: its table has no row.")
        shown = parts[-1]
        intervals = [_interval(part, value) for part in parts]
        if confirmed_if is not None:
            regions = {"confirmed_if": confirmed_if, "refuted_if": refuted_if, "margin": margin}
            rules = [interval_rule(**regions, interval=interval), text.get("rule")]
            text["status"] = combine(decide_interval(ci, **regions) for ci in intervals)
            text["rule"] = "; ".join(filter(None, rules))
        numbers = {"estimate": float(shown[value]), "ci": intervals[-1]}
        return cls(**numbers, n=int(shown[count] if isinstance(count, str) else count), **text)

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
        """All fields, ready for JSON: numbers as `rounding.rounded` writes them."""
        plain = asdict(self)
        plain["estimate"] = rounded(self.estimate)
        plain["ci"] = None if self.ci is None else [rounded(end) for end in self.ci]
        plain["n"] = int(self.n)
        if not isinstance(self.paper_value, str):
            plain["paper_value"] = rounded(self.paper_value)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The claim that `as_dict` has written; an end that was not finite is NaN.

        Raises:
            TypeError: a field is missing or unknown.
        """
        ci = plain["ci"]
        ends = None if ci is None else tuple(math.nan if end is None else end for end in ci)
        return cls(**{**plain, "ci": ends})


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


LARGEST_Z_CHANCES = 0.01, 1e-6
"""How often chance passes what makes a largest |z| suspect, and what makes it an error."""

LARGEST_Z_RULE = (
    "confirmed if the largest |z| stays below the value that chance passes in "
    f"{LARGEST_Z_CHANCES[0]:g} of cases (Bonferroni), refuted beyond that for "
    f"{LARGEST_Z_CHANCES[1]:g}"
)


def largest_z_bounds(n: int) -> tuple[float, float]:
    """The bounds of `LARGEST_Z_RULE` for the largest of `n` absolute z-scores."""
    suspect, error = (float(stats.norm.isf(chance / 2 / n)) for chance in LARGEST_Z_CHANCES)
    return suspect, error


def decide_interval(
    ci: Interval | None,
    *,
    confirmed_if: Region,
    refuted_if: Region | None = None,
    margin: Region | None = None,
) -> str:
    """A status out of where the *whole* interval lies; touching a threshold is inconclusive.

    Args:
        ci: The interval. None: the claim was not tested; a NaN end decides nothing.
        confirmed_if: Where it confirms. A claim *of* no effect is confirmed inside its margin.
        refuted_if: Where it refutes.
        margin: Effects too small to matter. An interval inside shows that there is no relevant
            effect, and refutes, too.

    Without `refuted_if` and `margin`, whatever lies wholly outside `confirmed_if` refutes.

    Raises:
        ValueError: the rules contradict each other.

    >>> decide_interval((0.2, 0.4), confirmed_if=above(0))
    'confirmed'
    >>> rule = {"refuted_if": below(-0.02), "margin": between(-0.02, 0.02)}
    >>> decide_interval((0.004, 0.006), confirmed_if=above(0.02), **rule)
    'refuted'
    """
    against = [region for region in (refuted_if, margin) if region is not None]
    for region in against:
        if confirmed_if.overlaps(region):
            raise ValueError(
                f"the rules contradict each other: {confirmed_if} and {region} overlap."
            )
    if ci is None:
        return NOT_TESTED
    refuted = any(region.contains(ci) for region in against)
    return decide(
        confirmed=confirmed_if.contains(ci),
        refuted=refuted if against else confirmed_if.excludes(ci),
    )


def interval_rule(
    confirmed_if: Region,
    refuted_if: Region | None = None,
    interval: str = "95 % interval",
    margin: Region | None = None,
) -> str:
    """The text of a `decide_interval` rule, so that the stated rule is the applied one."""
    against = [] if refuted_if is None else [str(refuted_if)]
    against += [] if margin is None else [f"{margin} (no relevant effect)"]
    return (
        f"confirmed if the whole {interval} lies {confirmed_if}, "
        f"refuted if it lies {' or '.join(against) or 'outside that'}, else inconclusive"
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


def told_with_condition(status: str, claim: Claim) -> str:
    """A status as a text has it, and after "partly" on what it depends, in brackets.

    >>> row = {"estimate": 0.1, "low": 0.0, "high": 0.2, "n": 8}
    >>> words = {"claim": "it is rare", "source": "x", "setting": "toy", "rule": "at every size"}
    >>> words["statistic"] = "share of pairs (10 per class 0.5; 50 per class 0.1)"
    >>> claim = Claim.from_row(row, id="X", estimand="law", status="partly", **words)
    >>> told_with_condition("**partly**", claim)
    '**partly** (10 per class 0.5; 50 per class 0.1)'
    """
    parts = condition(claim)
    return f"{status} ({parts})" if parts else status


def condition(claim: Claim) -> str:
    """On what a claim that holds partly depends: its parts with their numbers; "" for any other.

    Of its statistic, what a run put into the words: the first brackets that hold a number, else
    what stands behind the first colon or semicolon.
    """
    if claim.status != PARTLY:
        return ""
    found = re.search(r"\(([^()]*\d[^()]*)\)", claim.statistic)
    found = found or re.search(r"[:;] (.+)", claim.statistic)
    return found[1] if found else ""


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
    return f"{table(rows)}\n\nThe rules:\n\n{numbered(rules)}"


def described(claim: Mapping[str, Any], rules: Mapping[str, int]) -> dict[str, Any]:
    """The columns of a table of claims; its rule by number."""
    paper = claim["paper_value"]
    return {
        "id": claim["id"],
        "claim": displayed(claim["claim"]),
        "status": f"**{claim['status']}**",
        "what is measured": displayed(claim["statistic"]),
        "estimate": estimate(claim) + ("" if paper is None else f"; the paper: {paper}"),
        "n": claim["n"],
        "setting": claim["setting"],
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


def _interval(row: Mapping[str, Any], value: str) -> Interval | None:
    """None for a number without one, such as an exact one."""
    if not {"low", f"{value}_low"} & {*row.keys()}:
        return None
    low, high = ends(row, value)
    return float(low), float(high)
