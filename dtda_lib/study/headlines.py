"""Headlines: for each claim of the papers and of this study, the variant that stands for it.

A variant is chosen by nearness to the paper's own setting, measure and method, before any run;
`because` says how. All other variants of the same claim are robustness checks. Words are reviewed
here; statuses and numbers come from the evidence alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

FIRST_PAPER, SECOND_PAPER, STUDY = "2305.19765", "2506.12965", "this study"

_BUILT = "a testbed that was built to show it"
_FOREIGN = "measures or methods that the paper does not compare"


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One claim, and the variant whose verdict it gets.

    Args:
        id: The claim's number; variants that notebooks test have the ids `id` and `id-...`.
        source: arXiv number, or "this study".
        words: The claim in a dozen words.
        key: Id of the variant that stands for the claim.
        number: What the estimate of that variant is, in a few words.
        because: Why this variant is the nearest to the paper.
        unit: "%" shows the estimate as a percentage; any other text follows the number.
        expected: What theory, the paper or chance gives for the number, with its kind.
        needs: What would decide the claim (runs, time), where the evidence does not.
        aside: Pattern of ids with that number that are no variants -> what they are instead.
        beside: Variant without which the number misleads -> what its own estimate is.
    """

    id: str
    source: str
    words: str
    key: str
    number: str
    because: str
    unit: str = ""
    expected: str | None = None
    needs: str | None = None
    aside: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)

    def covers(self, claim_id: str) -> bool:
        """Whether a claim of that id is a variant of this one."""
        return family(claim_id) == self.id and not any(
            fnmatchcase(claim_id, pattern) for pattern in self.aside
        )


HEADLINES = (
    Headline(
        id="B1",
        source=FIRST_PAPER,
        words="The influence of one point drowns in the noise of training",
        key="B1-code",
        number="of pairs beyond noise at the largest size (published statistic)",
        unit="%",
        because="the statistic, network, digits and sizes of the published code",
    ),
    Headline(
        id="B2",
        source=FIRST_PAPER,
        words="Low-noise pairs are rare but exist",
        key="B2",
        number="of pairs beyond noise at the largest size (t-test, FDR 5 %)",
        unit="%",
        because="Student's t is what the paper is said to use, and the published statistic has no "
        "level; rarity and replication belong together",
    ),
    Headline(
        id="B3",
        source=FIRST_PAPER,
        words="Leave-one-out and estimators have different laws",
        key="B3-if_lissa",
        number="correlation of mean shifts - its noise ceiling, LiSSA influence",
        expected="0 if only noise separates them",
        because="LiSSA is the influence function of the published code",
        needs="notebook 02 at the published sizes (about 80 minutes on two cores)",
    ),
    Headline(
        id="B4",
        source=FIRST_PAPER,
        words="Initialisation matters more than batch order",
        key="B4-loo",
        number="share of variance, initialisation - order, leave-one-out, all pairs alike",
        expected="0 if both matter alike",
        because="leave-one-out is what the paper takes as ground truth, and its analysis weights "
        "all pairs alike",
        needs="twice as many initialisations and orders, 40 x 40 (4,800 more runs, 1.8 hours on "
        "two cores)",
    ),
    Headline(
        id="B5",
        source=FIRST_PAPER,
        words="With more data noise first rises, then falls",
        key="B5",
        number="σ in the largest set / σ in the smallest",
        because="the summaries of the paper speak of the noise itself, not relative to the effect, "
        "and its code trains for equal epochs",
        needs="130 more seeds at four sizes (3,640 runs, about two hours on two cores)",
    ),
    Headline(
        id="B6",
        source=FIRST_PAPER,
        words="Larger models are noisier",
        key="B6",
        number="σ/|μ|, four times as wide / a quarter as wide, at equal training loss",
        expected="1 if size does not matter",
        because="the published network at five widths: the published networks differ in depth, "
        "kernels and fit as well as in size",
        needs="if the estimate stays, 300 more seeds at five widths (10,500 runs, more than two "
        "hours on two cores)",
    ),
    Headline(
        id="B7",
        source=FIRST_PAPER,
        words="Estimators are local, leave-one-out is global",
        key="B7-if_lissa",
        number="correlation among local estimators - with leave-one-out, LiSSA influence",
        because="the published block of local estimators contains LiSSA influence; a Gauss-Newton "
        "solve in its place is another method",
        needs="at 150 points the difference lies at the smallest effect that matters (0.1): four "
        "hundred times as many seeds, points and queries",
        aside={"B7-local*": "another question: at which fraction of a removal a shift is local"},
    ),
    Headline(
        id="B7b",
        source=FIRST_PAPER,
        words="An additional step lies between local estimators and leave-one-out",
        key="B7b-if_lissa",
        number="lesser of two differences of correlations, LiSSA influence in the block",
        expected="above 0 if it lies between",
        because="the published step of Adam and the published block, which contains LiSSA "
        "influence",
        needs="at 60 points, the one size that is undecided, five draws of the training set and "
        "1,500 queries, more digits than the file holds",
    ),
    Headline(
        id="B8",
        source=FIRST_PAPER,
        words="Estimators agree better with leave-one-out on low-noise pairs",
        key="B8-if_lissa",
        number="rise of the correlation on low-noise pairs, LiSSA influence",
        because="LiSSA is the influence function of the published code",
        needs="thirty times as many points and queries (28,000 more runs, nine hours on two cores)",
    ),
    Headline(
        id="B9",
        source=FIRST_PAPER,
        words="More late checkpoints stabilise the estimate",
        key="B9",
        number="change of the mean published p, all checkpoints - one",
        because="the mean of the published p against k is what the published code reports",
        beside={"B9-sigma": "σ of all checkpoints / σ of one"},
        needs="notebook 01 at the published sizes: four sets of ten seeds at three sizes "
        "(3,720 runs, about 45 minutes on two cores)",
    ),
    Headline(
        id="B10",
        source=FIRST_PAPER,
        words="Estimators drown in noise, too",
        key="B10-grad_dot-code",
        number="of grad-dot pairs beyond noise at the largest size (published statistic)",
        unit="%",
        because="the published influence function is a rescaled grad-dot (R1); statistic, network "
        "and sizes of the published code",
    ),
    Headline(
        id="R1",
        source=STUDY,
        words="Influence functions as published are scaled grad-dot",
        key="R1",
        number="slope on grad-dot / slope that first-order curvature predicts; bracket: range over "
        "models",
        expected="1 in theory",
        because="the only variant",
        needs="notebook 02 at the published sizes (about 80 minutes on two cores)",
    ),
    Headline(
        id="R2",
        source=STUDY,
        words="The published p is not calibrated, Student's t is",
        key="R2",
        number="of noise-only pairs with published p < .05",
        unit="%",
        expected="5 % if calibrated",
        because="the only variant: ten seeds as published",
    ),
    Headline(
        id="R3",
        source=STUDY,
        words="Verdicts depend on the leave-one-out protocol",
        key="R3",
        number="change of the correlation with LiSSA influence, continued - paired retraining",
        expected="0 if the protocol does not matter",
        because="the published code for convolutional networks goes on from the trained model, and "
        "LiSSA is its influence function",
        needs="two more sets of ten seeds under each protocol at 60 and 150 points (2,480 runs, "
        "about 50 minutes on two cores)",
    ),
    Headline(
        id="R4",
        source=STUDY,
        words="Random test crops add noise to a transformer's influence",
        key="R4",
        number="of the variance of a shift is crops",
        unit="%",
        because="the only variant",
        needs="notebook 03 at the published sizes (about 80 minutes on two cores)",
    ),
    Headline(
        id="R5",
        source=STUDY,
        words="Half of the published CIFAR-10 lists index the test set",
        key="R5",
        number="lists of six",
        because="the only variant",
    ),
    Headline(
        id="R6",
        source=STUDY,
        words="Pairing seeds saves at least half of them",
        key="R6",
        number="σ of unpaired runs / σ of paired runs at the largest size",
        expected="1 if pairing does not matter, 1.41 if it saves half of the seeds",
        because="the only variant: the published network, digits and sizes",
        needs="notebook 01 at the published sizes: four sets of ten seeds at three sizes "
        "(3,720 runs, about 45 minutes on two cores)",
    ),
    Headline(
        id="R7",
        source=STUDY,
        words="Mean and variance influence pick different points, too",
        key="R7",
        number="of lines on which the variance names a point that beats the mean's by 10 %",
        unit="%",
        because="C6 by the variance-increase influence, which the second paper defines beside W2",
        needs="notebook 04 at the published sizes: 40 lines in two disjoint sets of seeds (370,000 "
        "runs, about 12 minutes on two cores)",
    ),
    Headline(
        id="R8",
        source=STUDY,
        words="Predictions know how a removal changes the spread",
        key="R8",
        number="of the squared change of the log variance explained, unrolling",
        unit="%",
        expected="0 for no change, 100 % for a perfect prediction",
        because="the data, method and removals of C1; noise is taken off, so that queries whose "
        "spread hardly moves do not count as coin flips",
        needs="notebook 05 at the published sizes: 160 seeds (about an hour on two cores)",
    ),
    Headline(
        id="C1",
        source=SECOND_PAPER,
        words="Predicted laws are nearer to the truth than no change is",
        key="C1-unrolling-w2",
        number="of queries nearer in W2 than no change and than another group's prediction",
        unit="%",
        expected="50 % by chance",
        because="figure 2: Concrete, unrolled differentiation, Wasserstein distance, for most "
        "queries; a prediction that does not know which points go beats no change as well",
        needs="notebook 05 at the published sizes: 160 seeds (about an hour on two cores)",
    ),
    Headline(
        id="C2",
        source=SECOND_PAPER,
        words="Late unrolling and influence correlate at .9",
        key="C2-pinv",
        number="correlation with the pseudo-inverse influence where the theorem holds",
        expected="about 0.9 in the paper, 1 in the limit",
        because="the theorem is about the pseudo-inverse of the objective's exact Hessian, and "
        "about runs with decaying steps that have come near a minimum",
        needs="notebook 06 at the published sizes (16 runs of 131,072 steps)",
        aside={
            "C2-usual*": "another question: a usual run, far from the theorem's limit",
            "C2-step": "another question: the step size",
            "C2-time": "another question: the rise in time",
            "C2-scale": "another question: the size of the response",
            "C2-momentum": "another optimiser than the theorem's",
            "C2-adam": "another optimiser than the theorem's",
        },
    ),
    Headline(
        id="C3",
        source=SECOND_PAPER,
        words="Query gradients lie in the span of the Hessian",
        key="C3-span",
        number="of the gradient's norm lies where the data curve more than the weight decay",
        unit="%",
        expected="100 % in the paper's picture",
        because="figure 3, bottom: the norm share of the query gradient in the span, of the "
        "Hessian of the objective",
        needs="notebook 06 at the published sizes (about 40 minutes on two cores)",
    ),
    Headline(
        id="C4",
        source=SECOND_PAPER,
        words="Exact convergence for generalised linear models",
        key="C4-logistic",
        number="off the influence function after the last step, logistic regression",
        unit="%",
        expected="0, approached as the root of 1 / steps",
        because="a generalised linear model with a link that is not the identity",
        aside={"C4-rate-*": "the power of the steps at which the distance falls"},
        needs="notebook 06 at the published sizes (about 40 minutes on two cores)",
    ),
    Headline(
        id="C5",
        source=SECOND_PAPER,
        words="Influence functions are the KL-best map of cold laws",
        key="C5-degenerate",
        number="distance of the best scale from 1, on manifolds of minima",
        expected="0 in theory",
        because="theorem 3 is about the pseudo-inverse, which minima that form a manifold need: a "
        "ring, a sphere, ten dimensions; zero temperature, a small removal",
        needs="notebook 07 at the published sizes (about five minutes on two cores)",
    ),
    Headline(
        id="C6",
        source=SECOND_PAPER,
        words="Mean and Wasserstein influence pick different points",
        key="C6-w2",
        number="of lines on which W2 names a point that beats the mean's by 10 %",
        unit="%",
        because="figure 5 sets the mean against the Wasserstein distance, on a line; one line is "
        "an example, so lines are drawn anew",
        needs="80 further lines, and all with four times as many seeds, since three of 40 are open "
        "(2.3 million more runs, about 90 minutes on two cores)",
        aside={
            "C6-exact": _BUILT,
            "C6-*-lone": _BUILT,
            "C6-*-predicted": "another question: whether the picks can be predicted",
        },
    ),
    Headline(
        id="C7",
        source=SECOND_PAPER,
        words="Some points change the variance, not the mean",
        key="C7-points",
        number="of pairs whose mean stays change their standard deviation by more than 10 %",
        unit="%",
        because="figure 11: single MNIST digits, confirmed by retraining; an effect and its base "
        "rate, not a rate of replication",
        needs="notebook 04 at the published sizes: four sets of 150 seeds on 60 digits (36,600 "
        "runs, about 3 minutes on two cores)",
        aside={
            "C7-exact": _BUILT,
            "C7-*-predicted": "another question: whether the points can be predicted",
        },
    ),
    Headline(
        id="C8",
        source=SECOND_PAPER,
        words="Leave-one-out is noisy, not broken",
        key="C8-concrete-if_damped",
        number="correlation of mean shifts over many seeds, damped influence, Concrete",
        because="the dispute is about influence functions; the paper's data are not stated, and "
        "Concrete is its table elsewhere",
        needs="notebook 08 at the published sizes (about 85 minutes on two cores)",
        aside={"C8-*-attenuation": "a check of the attenuation law"},
    ),
    Headline(
        id="C9",
        source=SECOND_PAPER,
        words="Distributional LDS separates methods better",
        key="C9-separation-w2_debiased-with-unit",
        number="spread of LDS over methods, W2 - mean, least of six settings",
        expected="0 if both separate alike",
        because="the paper proposes W2, for methods whose scores are shifts",
        needs="notebook 08 at the published sizes",
        aside={"C9-*-all": "with methods whose scores borrow a scale"},
    ),
    Headline(
        id="C10",
        source=SECOND_PAPER,
        words="Pruning by distributional scores beats a fixed seed's and no pruning",
        key="C10-same-clean",
        number="gain of test accuracy, least of three paired gains, clean labels",
        unit="%",
        because="figure 6: clean labels, retrained on the seeds that scored",
        needs="notebook 09 at the published sizes",
        aside={"C10-*-*-*": "the comparisons behind the four claims"},
    ),
    Headline(
        id="C11",
        source=SECOND_PAPER,
        words="Lists of influential images by W2 and by the mean differ",
        key="C11-mean-w2",
        number="overlap of lists, halves of the seeds - mean against W2",
        expected="0 if lists differ no more than halves of the seeds do",
        because="figure 7 compares the Wasserstein distance, the mean and one fixed seed; these "
        "two are the laws' own",
        needs="notebook 10 at the published sizes",
        aside={"C11-*variance*": _FOREIGN, "C11-helps-w2": _FOREIGN},
    ),
    Headline(
        id="C12",
        source=SECOND_PAPER,
        words="Influence functions predict the law better than their own run",
        key="C12-concrete-if_damped-deleted",
        number="correlation with the law - with the own run without the point, Concrete",
        expected="0 if both are predicted alike",
        because="the paper's own run loses the datum, so that every later batch changes; masking "
        "it in unchanged batches is the other side's best case",
        needs="notebook 08 at the published sizes",
        aside={
            "C12-convex": _BUILT,
            "C12-*-masked": "the other side's best case: the batches stay",
            "C12-*-practised": "another question: many models against one",
            "C12-*-metagradient": "the other side's claim",
        },
    ),
    Headline(
        id="C13",
        source=SECOND_PAPER,
        words="Training with a fixed seed is fragile",
        key="C13-re-shuffled-predictions",
        number="distance to itself without a point / distance between seeds",
        expected="1 if a point counts as much as a new seed",
        because="the paper's reason is that a removal changes at which step each datum appears",
        needs="notebook 08 at the published sizes",
        aside={"C13-masked-*": "the other side's best case: the batches stay"},
    ),
)
"""All claims of both papers (B, C) and of this study on the first one's code (R), in order."""


def family(claim_id: str) -> str:
    """The claim's number: what stands before the first hyphen of its id."""
    return claim_id.partition("-")[0]


def headline_of(claim_id: str) -> Headline | None:
    """The headline that a claim is a variant of, if it is one of any.

    >>> headline_of("C8-digits-unrolling").id, headline_of("C8-digits-attenuation")
    ('C8', None)
    """
    return next((line for line in HEADLINES if line.covers(claim_id)), None)


def headline(claim_id: str) -> Headline | None:
    """The headline that a claim stands for, if it stands for any.

    >>> headline("C6-w2").id, headline("C6-variance")
    ('C6', None)
    """
    return next((line for line in HEADLINES if line.key == claim_id), None)
