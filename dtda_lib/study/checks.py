"""Comparing a notebook's results with its committed reference values.

`tests/reference/<notebook>.json` holds one block per profile:
`{profile: {"values": {name: {"value", "rtol", "atol"}}, "claims": {id: status}}}`.
Only a run with `DTDA_BLESS=1` rewrites it, and only the block of its own profile.
"""

import html
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from IPython import get_ipython
from IPython.display import HTML, Markdown, display

from dtda_lib.runs.store import write_atomic

from . import beside, tolerant
from .artefacts import blessing, checking, sealed, study_root, to_json
from .claims import Claim
from .due import code_of
from .evidence import EVIDENCE, Evidence
from .evidence import load as load_evidence
from .headlines import headline
from .provenance import git_state
from .rounding import NOISE, rounded
from .settings import Config

Scalar = float | int | str | bool

PASS, FAIL, NO_REFERENCE = "PASS", "FAIL", "NO REFERENCE"


CLAIM_RTOL, CLAIM_SHARE = 5e-3, 0.05
"""How far the numbers of a claim may move from one processor to another: by this share of
themselves, and this share of the width of their interval."""


class CheckFailed(AssertionError):
    """Some results left their bands, or have no reference to be compared with."""


@dataclass(frozen=True)
class Expected:
    """A reference value and its band: `|got - value| <= atol + rtol * |value|`."""

    value: Scalar
    rtol: float = 0.0
    atol: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether only the very same value of the very same type will do."""
        return self.rtol == self.atol == 0

    def accepts(self, got: Scalar) -> bool:
        """Whether a result lies in the band; NaN and infinity never do."""
        if self.exact:
            return type(got) is type(self.value) and got == self.value
        if any(isinstance(side, bool | str) for side in (got, self.value)):
            return False
        return abs(got - self.value) <= self._half_width

    def as_written(self) -> Self:
        """This band as a file holds it: ten digits, and 0 for what its band cannot tell from 0.

        The value is rounding noise where it lies below a hundredth of `atol`.
        """
        if self.exact or not isinstance(self.value, float):
            return self
        noise = self.atol / 100
        return replace(self, value=rounded(self.value, digits=10, scale=noise / NOISE))

    def __str__(self) -> str:
        if self.exact:
            return f"exactly {self.value!r}"
        return f"{self.value:.6g} ± {self._half_width:.2g}"

    @property
    def _half_width(self) -> float:
        return self.atol + self.rtol * abs(self.value)


@dataclass(frozen=True)
class Outcome:
    """What the comparison of one value or claim came to."""

    verdict: str
    name: str
    expected: str
    got: str = ""

    @property
    def failure(self) -> str:
        """One line for the exception; for a pass it is never asked for."""
        return f"{self.verdict}: {self.name}: got {self.got}, expected {self.expected}"


class Checks:
    """Collects a notebook's values and claims, and compares them with the reference.

    `cfg` is what `study.configure` returns. `report()` prints constant text unless something
    leaves its band, because nbval compares that text with the committed one.
    """

    def __init__(
        self,
        cfg: Config,
        reference_dir: Path | str | None = None,
        figures_dir: Path | str | None = None,
    ) -> None:
        self.cfg = cfg
        self.claims: list[Claim] = []
        self._values: dict[str, Expected] = {}
        self._not_run: list[str] = []
        self._reference_dir = Path(reference_dir or study_root() / "tests" / "reference")
        self._figures_dir = Path(figures_dir or study_root() / "figures")

    def value(
        self, name: str, got: Scalar, *, rtol: float | None = None, atol: float | None = None
    ) -> None:
        """Add a result. Integers, strings and booleans are exact unless a tolerance is given."""
        if name in self._values:
            raise ValueError(f"the value {name!r} is checked twice.")
        got = got.item() if hasattr(got, "item") else got  # NumPy and torch scalars
        if not isinstance(got, float | int | str | bool):
            raise TypeError(f"{name}: {type(got).__name__} is no number, text or truth value.")
        if rtol is None and atol is None and isinstance(got, float):
            rtol, atol = tolerant.RTOL, tolerant.ATOL
        rtol, atol = float(rtol or 0), float(atol or 0)
        if (rtol or atol) and isinstance(got, bool | str):
            raise TypeError(f"{name}: a tolerance makes no sense for {got!r}.")
        self._values[name] = Expected(got, rtol, atol)

    def claim(self, claim: Claim) -> None:
        """Add a claim; its status must be the reference's. `study.headlines` says whether it is a
        headline, and what would decide it."""
        if any(claim.id == known.id for known in self.claims):
            raise ValueError(f"the claim {claim.id!r} is stated twice.")
        line = headline(claim.id)
        if line is not None:
            claim = replace(claim, headline=True, needs=line.needs)
        self.claims.append(claim)

    def not_run(self, part: str) -> None:
        """Say that a part was not run, for want of its data: no reference of a value or claim whose
        name holds this word is missed, and blessing keeps it."""
        self._not_run.append(part)

    @property
    def passed(self) -> int:
        """How many values and claims agree with the reference."""
        return sum(outcome.verdict == PASS for outcome in self._outcomes())

    @property
    def total(self) -> int:
        """How many values and claims are compared: 0 where the parameters are no profile's."""
        return len(self._outcomes())

    def beside_evidence(self, evidence: Evidence | None = None) -> Markdown:
        """This run beside the evidence, a row a headline claim; every variant folded below.

        Args:
            evidence: As `evidence.load` gives it (default: that of the study).
        """
        evidence = load_evidence(self._figures_dir.parent) if evidence is None else evidence
        return Markdown(beside.beside_page(self.claims, evidence, self.cfg.name))

    def report(self) -> None:
        """Print how many values and claims agree, and every failure; the list of them is folded.

        Raises:
            CheckFailed: names every failure.
            ValueError: `DTDA_CHECK` and `DTDA_BLESS` at once.
        """
        if checking() and blessing():
            raise ValueError("DTDA_CHECK and DTDA_BLESS exclude each other: compare or rewrite?")
        if blessing() and not self._custom:
            self._bless()
        if not checking():
            self._write_claims()
        if self._custom:
            changed = ", ".join(sorted(self.cfg.overridden))
            print(f"not compared: parameters differ from profile {self.cfg.profile} ({changed})")
            return
        if self._unknown:
            print(f"not compared: profile {self.cfg.profile} has no reference values yet")
            return
        outcomes = self._outcomes()
        failures = [outcome.failure for outcome in outcomes if outcome.verdict != PASS]
        agree = f"{len(outcomes) - len(failures)} of {len(outcomes)}"
        print(f"{agree} values and claims agree with the reference ({self.cfg.profile})")
        for failure in failures:
            print(failure)
        if get_ipython() is not None:
            display(folded_bands(outcomes))
        if failures:
            lines = "\n  ".join(failures)
            raise CheckFailed(f"{len(failures)} of {len(outcomes)} checks failed:\n  {lines}")

    @property
    def _custom(self) -> bool:
        return self.cfg.name != self.cfg.profile

    @property
    def _unknown(self) -> bool:
        """Whether this profile has no reference: hours at `paper` must not end in a failure for
        that. `default` must have one; it is what nbval runs."""
        return self.cfg.profile != "default" and self.cfg.profile not in self._reference()

    @property
    def _reference_path(self) -> Path:
        return self._reference_dir / f"{self.cfg.notebook}.json"

    def _reference(self) -> dict[str, Any]:
        path = self._reference_path
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _outcomes(self) -> list[Outcome]:
        """Values first, then claims; what only the reference knows is a failure, too, unless its
        part was `not_run`."""
        if self._custom or self._unknown:
            return []
        values, statuses = _block(self._reference(), self.cfg.profile)
        outcomes = [self._judge_value(name, values.get(name)) for name in self._values]
        outcomes += [
            Outcome(FAIL, name, str(Expected(**values[name])), "nothing: no longer computed")
            for name in self._missed(values, self._values)
        ]
        on_file = self._claims_on_file()
        outcomes += [
            self._judge_claim(claim, statuses.get(claim.id), on_file.get(claim.id))
            for claim in self.claims
        ]
        outcomes += [
            Outcome(FAIL, f"claim {name}", statuses[name], "nothing: no longer stated")
            for name in self._missed(statuses, {claim.id for claim in self.claims})
        ]
        return outcomes

    def _missed(self, known: Collection[str], got: Collection[str]) -> list[str]:
        return sorted(name for name in set(known) - set(got) if not self._excused(name))

    def _excused(self, name: str) -> bool:
        return any(part in name for part in self._not_run)

    def _judge_value(self, name: str, reference: dict[str, Any] | None) -> Outcome:
        got = self._values[name]
        if reference is None:
            return Outcome(NO_REFERENCE, name, "a reference value", repr(got.value))
        expected = Expected(**reference)
        # The reviewed band is the committed one: a wider one in the notebook must be blessed.
        if (got.rtol, got.atol) != (expected.rtol, expected.atol):
            band = f"rtol {expected.rtol:g} and atol {expected.atol:g}"
            return Outcome(FAIL, name, band, f"rtol {got.rtol:g} and atol {got.atol:g}")
        verdict = PASS if expected.accepts(got.value) else FAIL
        return Outcome(verdict, name, str(expected), repr(got.value))

    @staticmethod
    def _judge_claim(
        claim: Claim, status: str | None, on_file: Mapping[str, Any] | None
    ) -> Outcome:
        """A status has to be the reference's, all else what figures/ holds; a run that writes
        these files has just done so, and agrees."""
        name = f"claim {claim.id}"
        if status is None:
            return Outcome(NO_REFERENCE, name, "a reference status", claim.status)
        if claim.status != status:
            return Outcome(FAIL, name, status, claim.status)
        if on_file is None:
            return Outcome(NO_REFERENCE, name, "a claim in its file in figures/", claim.status)
        found = next(_differences(on_file, claim.as_dict()), None)
        if found is None:
            return Outcome(PASS, name, status, claim.status)
        entry, old, new = found
        return Outcome(FAIL, name, f"{entry} {old!r}", f"{entry} {new!r}")

    def _bless(self) -> None:
        for name, got in self._values.items():
            if isinstance(got.value, float) and not math.isfinite(got.value):
                raise ValueError(f"{name} is {got.value}: only finite values can be a reference.")
        reference = self._reference()
        block = {
            "values": {name: asdict(got.as_written()) for name, got in self._values.items()},
            "claims": {claim.id: claim.status for claim in self.claims},
        }
        for kind, known in reference.get(self.cfg.profile, {}).items():
            kept = {name: old for name, old in known.items() if self._excused(name)}
            block[kind] = kept | block[kind]
        reference[self.cfg.profile] = block
        write_atomic(self._reference_path, to_json(reference))

    @property
    def _claims_path(self) -> Path:
        return self._figures_dir / self.cfg.name / f"{self.cfg.notebook}.claims.json"

    def _claims_on_file(self) -> dict[str, dict[str, Any]]:
        if not self._claims_path.exists():
            return {}
        file = json.loads(self._claims_path.read_text(encoding="utf-8"))
        return {claim["id"]: claim for claim in file["claims"]}

    def _write_claims(self) -> None:
        path = self._claims_path
        claims = [claim.as_dict() for claim in self.claims]
        if self._not_run:
            # What could not be run here, for lack of data, stays as it was found elsewhere.
            before = self._claims_on_file()
            claims += [claim for name, claim in before.items() if self._excused(name)]
        content = {
            "notebook": self.cfg.notebook,
            "profile": self.cfg.name,
            "spec_hash": self.cfg.hash,
            "claims": claims,
        }
        notebook = study_root() / "notebooks" / f"{self.cfg.notebook}.ipynb"
        if self.cfg.name == EVIDENCE and notebook.exists():
            content |= {"code": code_of(notebook), "commit": git_state(self.cfg.notebook)}
        write_atomic(path, to_json(sealed(content)))


def bands_on_file(root: Path, notebook: str, profile: str) -> str:
    """The list of what is compared, as `report` shows it while all agree, from the reference."""
    path = root / "tests" / "reference" / f"{notebook}.json"
    values, statuses = _block(json.loads(path.read_text(encoding="utf-8")), profile)
    outcomes = [Outcome(PASS, name, str(Expected(**band))) for name, band in values.items()]
    outcomes += [Outcome(PASS, f"claim {name}", status) for name, status in statuses.items()]
    return folded_bands(outcomes).data


def _block(reference: Mapping[str, Any], profile: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and statuses of a profile."""
    block = reference.get(profile, {})
    return block.get("values", {}), block.get("claims", {})


def _differences(
    committed: Mapping[str, Any], obtained: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Entry, old and new of each entry of a claim that has moved beyond jitter."""
    ends = committed["ci"] or ()
    known = [end for end in ends if end is not None]
    width = known[1] - known[0] if len(known) == 2 else 0.0
    atol = tolerant.ATOL + CLAIM_SHARE * width

    def near(old: Any, new: Any) -> bool:
        if isinstance(old, float) and isinstance(new, float):
            return abs(new - old) <= atol + CLAIM_RTOL * abs(old)
        if isinstance(old, list) and isinstance(new, list):
            return len(old) == len(new) and all(map(near, old, new))
        if isinstance(old, str) and isinstance(new, str):
            return tolerant.snap_text(old, new, CLAIM_RTOL, atol, rounded=True) == old
        return type(old) is type(new) and old == new

    # By way of JSON, in which the committed ones have been: no tuples, no integers as floats.
    for entry, new in json.loads(to_json(obtained)).items():
        if entry not in committed or not near(committed[entry], new):
            yield entry, committed.get(entry), new


def folded_bands(outcomes: Sequence[Outcome]) -> HTML:
    """The list of what was compared, with its bands: constant while all agree, as nbval wants."""
    rows = "".join(
        f"<tr><td>{html.escape(outcome.name)}</td><td>{html.escape(outcome.expected)}</td></tr>"
        for outcome in outcomes
    )
    return HTML(
        "<details><summary>What is compared, and within which band</summary>"
        f"<table>{rows}</table></details>"
    )
