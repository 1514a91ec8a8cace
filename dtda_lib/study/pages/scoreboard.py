"""The scoreboard: one row for each claim of the two papers and of this study.

Words and the choice of the number shown are reviewed here; statuses and numbers come from the
claims files of the notebooks alone. A claim that no notebook has tested yet says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from dtda_lib.study.claims import NOT_TESTED, STATUSES, estimate

FIRST_PAPER, SECOND_PAPER, STUDY = "2305.19765", "2506.12965", "this study"

Found = tuple[str, str, dict[str, Any]]
"""Profile, notebook and claim, as `gallery.all_claims` finds them."""


@dataclass(frozen=True)
class Headline:
    """One row of the scoreboard.

    Args:
        id: The claim's number; the variants that notebooks test are `id` and `id-...`, which state
            the same for other methods, statistics, data or protocols.
        source: arXiv number, or "this study".
        words: The claim in a dozen words.
        key: The variant whose estimate is shown, and whose status comes first.
        number: What that estimate is, in a few words with its unit.
        aside: Patterns of ids with that number that are no variants: parts of it, neighbouring
            questions, or claims that would speak against it. They count among the further checks.
    """

    id: str
    source: str
    words: str
    key: str
    number: str
    aside: tuple[str, ...] = ()

    def covers(self, claim_id: str) -> bool:
        """Whether a claim of that id is a variant of this one."""
        return family(claim_id) == self.id and not any(
            fnmatchcase(claim_id, pattern) for pattern in self.aside
        )


HEADLINES = (
    Headline(
        *("B1", FIRST_PAPER, "The influence of one point drowns in the noise of training", "B1-t"),
        "share of pairs beyond noise (t-test, FDR 5 %), largest set",
    ),
    Headline(
        *("B2", FIRST_PAPER, "Low-noise pairs are rare but exist", "B2"),
        "share of pairs (t-test, FDR 5 %), largest set; found again: tested in the smallest",
    ),
    Headline(
        *("B3", FIRST_PAPER, "Leave-one-out and estimators have different laws", "B3-if_ggn"),
        "correlation of mean shifts less its ceiling, Gauss-Newton",
    ),
    Headline(
        *("B4", FIRST_PAPER, "Initialisation matters more than batch order", "B4-loo"),
        "share of variance, initialisation less order, leave-one-out",
    ),
    Headline(
        *("B5", FIRST_PAPER, "With more data noise first rises, then falls", "B5"),
        "σ in the largest over the smallest set (relative to |μ|: variant B5-snr)",
    ),
    Headline(
        *("B6", FIRST_PAPER, "Larger models are noisier", "B6"),
        "|μ|/σ, the largest network over the smallest",
    ),
    Headline(
        *("B7", FIRST_PAPER, "Estimators are local, leave-one-out is global", "B7"),
        "correlation among local estimators less that with leave-one-out",
    ),
    Headline(
        *(
            "B8",
            FIRST_PAPER,
            "Estimators agree better with leave-one-out on low-noise pairs",
            "B8-if_ggn",
        ),
        "rise of the correlation there, Gauss-Newton influence",
    ),
    Headline(
        *("B9", FIRST_PAPER, "More late checkpoints stabilise the estimate", "B9"),
        "change of the mean published p, all checkpoints less one",
    ),
    Headline(
        *("B10", FIRST_PAPER, "Estimators drown in noise, too", "B10-grad_cos-t"),
        "share of grad-cos pairs beyond noise (t-test, FDR 5 %)",
    ),
    Headline(
        *("R1", STUDY, "Influence functions as published are scaled grad-dot", "R1"),
        "slope on grad-dot over the predicted −c_T; bracket: range over models",
    ),
    Headline(
        *("R2", STUDY, "The published p is not calibrated, Student's t is", "R2"),
        "share of noise-only pairs with published p < .05",
    ),
    Headline(
        *("R3", STUDY, "Verdicts depend on the leave-one-out protocol", "R3"),
        "largest change of an agreement against paired retraining",
    ),
    Headline(
        *("R4", STUDY, "Random test crops add noise to a transformer's influence", "R4"),
        "share of the variance of a shift that is crops",
    ),
    Headline(
        *("R5", STUDY, "Half of the published CIFAR-10 lists index the test set", "R5"),
        "lists of six",
    ),
    Headline(
        *(
            "C1",
            SECOND_PAPER,
            "Predicted laws are nearer to the truth than no change is",
            "C1-unrolling-w2",
        ),
        "share of cases nearer in W2, unrolling",
    ),
    Headline(
        *("C2", SECOND_PAPER, "Late unrolling and influence correlate at .9", "C2-if_ggn"),
        "late correlation, Gauss-Newton (with tenfold weight decay: variant C2-strong)",
        ("C2-step*", "C2-time", "C2-momentum", "C2-adam"),
    ),
    Headline(
        *("C3", SECOND_PAPER, "Query gradients lie in the span of the Hessian", "C3-span"),
        "share of the gradient in the span",
    ),
    Headline(
        *("C4", SECOND_PAPER, "Exact convergence for generalised linear models", "C4-logistic"),
        "late slope of log distance on log steps, logistic regression",
    ),
    Headline(
        *("C5", SECOND_PAPER, "Influence functions are the KL-best map of cold laws", "C5"),
        "distance of the best scale from 1",
    ),
    Headline(
        *("C6", SECOND_PAPER, "Mean and variance influence pick different points", "C6-variance"),
        "share of resamples in which the picks differ",
        ("C6-*-predicted",),
    ),
    Headline(
        *("C7", SECOND_PAPER, "Some points change the variance, not the mean", "C7-points"),
        "share of discoveries that replicate",
        ("C7-*-predicted",),
    ),
    Headline(
        *("C8", SECOND_PAPER, "Leave-one-out is noisy, not broken", "C8-concrete-unrolling"),
        "correlation of mean shifts with many seeds, unrolling, Concrete",
        ("C8-*-attenuation",),
    ),
    Headline(
        *("C9", SECOND_PAPER, "Distributional LDS orders or separates methods better"),
        *(
            "C9-separation-w2_debiased-all",
            "spread of LDS over methods, W2 less mean, least of four settings",
        ),
    ),
    Headline(
        *(
            "C10",
            SECOND_PAPER,
            "Pruning by distributional scores beats a fixed seed's and no pruning",
        ),
        *("C10-same-clean", "least of three paired gains of test accuracy, clean labels"),
        ("C10-*-*-*",),  # the comparisons behind the four claims C10-same-clean to C10-other-noise
    ),
    Headline(
        *("C11", SECOND_PAPER, "Lists of influential images by W2 and by the mean differ"),
        *("C11-mean-w2", "overlap of lists, halves of the seeds less mean against W2"),
        ("C11-*-own",),
    ),
    Headline(
        *("C12", SECOND_PAPER, "Influence functions predict the law better than their own run"),
        *(
            "C12-concrete-if_ggn",
            "correlation with the law less with the own run, Concrete; counts beyond 0.02",
        ),
        ("C12-*-metagradient",),
    ),
    Headline(
        *("C13", SECOND_PAPER, "Training with a fixed seed is fragile", "C13-masked-predictions"),
        "distance to itself without a point, over distance between seeds",
    ),
)
"""All claims of both papers (B, C) and of this study on the first one's code (R), in order."""


def family(claim_id: str) -> str:
    """The claim's number: what stands before the first hyphen of its id."""
    return claim_id.partition("-")[0]


def headline_of(claim_id: str) -> str | None:
    """Number of the headline that a claim is a variant of, if it is one of any.

    >>> headline_of("C12-concrete-if_ggn"), headline_of("C12-concrete-metagradient")
    ('C12', None)
    """
    return next((line.id for line in HEADLINES if line.covers(claim_id)), None)


def variants(found: Iterable[Found], headline: str) -> list[str]:
    """Ids of the variants of a headline that have been tested, sorted."""
    return sorted({c["id"] for _, _, c in found if headline_of(c["id"]) == headline})


def scoreboard(found: Iterable[Found], base: str = "notebooks/") -> list[dict[str, str]]:
    """One row per headline: `id, claim, status, number, notebooks`.

    Args:
        found: Every claim on record, with its profile and notebook.
        base: Where the notebooks are, seen from the page that holds the table.

    Returns:
        Rows of plain text; the status of the key variant comes first, then how many variants of
        the claim came to each status. A headline whose key variant is missing shows no number.
    """
    found = list(found)
    return [
        _headline_row(line, [item for item in found if line.covers(item[2]["id"])], base)
        for line in HEADLINES
    ]


def further_checks(found: Iterable[Found]) -> Counter[str]:
    """How many of the claims that belong to no headline came to each status."""
    return Counter(c["status"] for _, _, c in found if headline_of(c["id"]) is None)


def counted(statuses: Mapping[str, int]) -> str:
    """`3 confirmed, 1 refuted`, in the order of `claims.STATUSES`.

    >>> counted({"refuted": 1, "confirmed": 3})
    '3 confirmed, 1 refuted'
    """
    return ", ".join(f"{statuses[s]} {s}" for s in STATUSES if statuses.get(s))


def _headline_row(line: Headline, variants: Sequence[Found], base: str) -> dict[str, str]:
    key = next((claim for _, _, claim in variants if claim["id"] == line.key), None)
    counts = Counter(claim["status"] for _, _, claim in variants)
    if not variants:
        status = f"**{NOT_TESTED}**"
    elif len(variants) == 1:
        status = f"**{variants[0][2]['status']}**"
    elif len(counts) == 1:
        status = f"**{next(iter(counts))}** (all {len(variants)} variants)"
    else:
        first = f"**{key['status']}**; " if key else ""
        status = f"{first}all variants: {counted(counts)}"
    return {
        "id": line.id,
        "claim": line.words,
        "status": status,
        "number": f"{estimate(key)}: {line.number}" if key else "-",
        "notebooks": ", ".join(dict.fromkeys(link(n, base) for _, n, _ in variants)) or "-",
    }


def link(notebook: str, base: str) -> str:
    """Markdown: the notebook's number, leading to it."""
    return f"[{notebook[:2]}]({base}{notebook}.ipynb)"


def misfits(found: Iterable[Found]) -> list[str]:
    """Keys of headlines that have results but no claim of that id: a renamed or mistyped variant.

    >>> misfits([])
    []
    """
    ids = {claim["id"] for _, _, claim in found}
    tested = {family(name) for name in ids}
    return [line.key for line in HEADLINES if line.id in tested and line.key not in ids]
