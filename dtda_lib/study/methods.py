"""One table of what the study compares: names, words, units and looks of methods, Δ, tests, laws.

A key stands in data, claims and banks; readers see the display name, and the same colour and marker
in every figure. What is no method (data sets, protocols, networks, strategies) takes its looks from
`palette`, so that a colour of a method never means another thing. No other module names a colour.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dtda_lib.names import unknown

Line = str | tuple[int, tuple[float, ...]]
MEASURED, SQUARED, NO_UNIT = "unit of the measurement", "squared unit of the measurement", "none"


@dataclass(frozen=True)
class Style:
    """How one series looks in every figure.

    Args:
        label: Display name: legends, axes, headers of tables.
        colour, marker, linestyle: Of matplotlib.
        tick: The display name where there is room for a few letters only.
    """

    label: str
    colour: str
    marker: str
    linestyle: Line = "-"
    tick: str = ""

    @property
    def line(self) -> dict[str, Any]:
        """Keywords for `Axes.plot` and `Axes.errorbar`."""
        return self.points | {"linestyle": self.linestyle}

    @property
    def points(self) -> dict[str, Any]:
        """Keywords for `Axes.scatter`."""
        return {"label": self.label, "color": self.colour, "marker": self.marker}


@dataclass(frozen=True, kw_only=True)
class Method(Style):
    """A way to say what a training point does to a query.

    Args:
        words: What a sentence calls it.
        unit: Of its scores: `MEASURED` for a predicted shift, else `NO_UNIT`.
        estimator: Name in `attribution.registry`; empty for what is no estimator of one model.
        entry: Its label on the axis `estimator` of that measure.
        variable: Name of the measure in a bank; that of the estimator unless a bank holds two of
            them that differ in their settings.
        settings: What tells it from others of the same estimator, in words.
    """

    words: str
    unit: str = MEASURED
    estimator: str = ""
    entry: str = ""
    variable: str = ""
    settings: str = ""

    def __post_init__(self) -> None:
        if not self.variable:
            object.__setattr__(self, "variable", self.estimator)


@dataclass(frozen=True, kw_only=True)
class Delta(Style):
    """A Δ: how far a removal moves a law; or a functional of one law, where it has no key there.

    Args:
        words: What a sentence calls it.
        unit: Of its values; that of `statistics.distances.DISTANCES`, where it is defined.
    """

    words: str
    unit: str = MEASURED

    @property
    def size(self) -> str:
        """Display name of its absolute value."""
        return f"|{self.label}|"


Entry = TypeVar("Entry")


class Table(dict[str, Entry], Generic[Entry]):
    """Key -> entry; an unknown key is refused in one sentence that names the nearest.

    Raises:
        ValueError: on `table[key]`, for an unknown key.
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        super().__init__(entries)
        self.kind = kind

    def __missing__(self, key: str) -> Entry:
        raise ValueError(unknown(self.kind, key, self))


# ---------------------------------------------------------------- methods

# Mostly Okabe and Ito's colours, which readers with any common colour blindness can tell apart;
# their yellow is left out, as it vanishes on white. Markers are single letters of matplotlib, which
# `fmt` takes as well. The last seven are variants that few figures show.
METHODS: Table[Method] = Table(
    "method",
    {
        "loo": Method(
            "leave-one-out", "#000000", "o", "-", "LOO", words="leave-one-out retraining"
        ),
        "grad_dot": Method(
            "grad-dot", "#E69F00", "s", "--", "grad-\ndot",
            words="grad-dot", unit=NO_UNIT, estimator="gradient_similarity", entry="grad_dot",
        ),
        "grad_cos": Method(
            "grad-cos", "#56B4E9", "D", "-.", "grad-\ncos",
            words="grad-cos", unit=NO_UNIT, estimator="gradient_similarity", entry="grad_cos",
        ),
        "ats_adam": Method(
            "ATS (Adam)", "#009E73", "^", ":", "ATS\nAdam",
            words="an additional training step of Adam", unit=NO_UNIT,
            estimator="additional_step", entry="ats_adam", settings="fresh Adam",
        ),
        "ats_sgd": Method(
            "ATS (SGD)", "#999933", "p", (0, (1, 2)), "ATS\nSGD",
            words="an additional training step of SGD", unit=NO_UNIT,
            estimator="additional_step", entry="ats_sgd", settings="plain gradient step",
        ),
        "if_lissa": Method(
            "LiSSA IF", "#D55E00", "v", (0, (5, 1)), "LiSSA\nIF",
            words="LiSSA IF", estimator="influence_lissa", entry="if_lissa",
            settings="damping, scale and depth as published",
        ),
        "if_ggn": Method(
            "Gauss-Newton IF", "#CC79A7", "P", (0, (3, 1, 1, 1)), "GN\nIF",
            words="Gauss-Newton IF", estimator="influence_ggn", entry="if_ggn",
            settings="weight decay alone",
        ),
        "if_damped": Method(
            "damped Gauss-Newton IF", "#6A3D9A", "h", (0, (2, 1)), "damped\nIF",
            words="damped Gauss-Newton IF", estimator="influence_ggn", entry="if_ggn",
            variable="influence_damped", settings="damping beside the weight decay",
        ),
        "if_ekfac": Method(
            "EK-FAC IF", "#7A4B1E", "d", (0, (5, 2, 1, 2, 1, 2)), "EK-FAC\nIF",
            words="EK-FAC IF", estimator="influence_ekfac", entry="if_ekfac",
        ),
        "if_hessian": Method(
            "Hessian IF", "#BB5566", "<", (0, (4, 1, 4, 2)), "Hess.\nIF",
            words="exact-Hessian IF", estimator="influence_hessian", entry="if_hessian",
        ),
        "rif": Method(
            "RIF", "#1F1FE0", "*", (0, (6, 2)), "RIF",
            words="leverage-corrected IF (RIF)", estimator="influence_leverage", entry="rif",
        ),
        "bif": Method(
            "Bayesian IF", "#994455", "8", (0, (6, 1, 1, 1, 1, 1)), "BIF",
            words="Bayesian IF", estimator="posterior_covariance", entry="bif",
        ),
        "trak": Method(
            "TRAK", "#117733", "H", (0, (8, 2)), "TRAK",
            words="TRAK", estimator="trak", entry="trak",
        ),
        "source": Method(
            "SOURCE", "#004488", ">", (0, (7, 1, 2, 1)), "SOURCE", words="SOURCE",
            settings="three segments, EK-FAC curvature",
        ),
        "unrolling": Method(
            "unrolling", "#0072B2", "X", (0, (1, 1)), "unroll.", words="unrolling"
        ),
        "null": Method("no influence", "#8C8C8C", "_", (0, (4, 2, 1, 2)), words="no influence"),
        "joint": Method(
            "joint RIF", "#DDAA33", "2", (0, (3, 1, 1, 1, 1, 1)),
            words="RIF of the group as a whole (`joint`)",
        ),
        "if_damped_1": Method(
            "Gauss-Newton IF, damping × 10", "#BB9DD8", "3", (0, (1, 3)),
            words="Gauss-Newton IF with damping 1",
            estimator="influence_ggn", entry="if_ggn", settings="damping 1",
        ),
        "if_hessian_damped": Method(
            "damped Hessian IF", "#AA3377", "4", (0, (9, 1)), words="damped exact-Hessian IF",
            estimator="influence_hessian", entry="if_hessian",
            settings="damping beside the weight decay",
        ),
        "if_pinv": Method(
            "pseudo-inverse IF", "#00B8C4", "+", (0, (2, 2)), words="pseudo-inverse IF",
            estimator="influence_pinv", entry="if_pinv",
        ),
        "own_loss": Method(
            "own training loss", "#661100", "x", (0, (9, 2, 1, 2)), words="training loss",
        ),
    },
)  # fmt: skip
"""Every method, estimator or not: one colour, marker and line style each, in all notebooks."""

# ---------------------------------------------------------------- Δ, tests, laws

DELTAS: Table[Delta] = Table(
    "Δ",
    {
        "mean": Delta("mean shift", "#44AA99", "o", "-", "mean", words="mean"),
        "sd": Delta("spread σ", "#999999", "h", "-", "sd", words="standard deviation"),
        "snr": Delta(
            "ratio μ/σ", "#777777", "p", "-", "μ/σ", words="signal-to-noise ratio", unit=NO_UNIT
        ),
        "variance": Delta(
            "variance change", "#AA4499", "D", "-.", "variance", words="variance", unit=SQUARED
        ),
        "log_variance_ratio": Delta(
            "log variance ratio", "#CC6677", "s", "--", "variance",
            words="log variance ratio", unit=NO_UNIT,
        ),
        "median": Delta("median shift", "#44AA99", "v", ":", "median", words="median"),
        "quantile90": Delta(
            "90 % quantile shift", "#44AA99", "<", "--", "q90", words="90 % quantile"
        ),
        "cvar90": Delta(
            "worst-tenth shift", "#44AA99", ">", "-.", "CVaR",
            words="mean of the worst tenth of runs",
        ),
        "w1": Delta("W1", "#332288", "P", "--", "W1", words="W1"),
        "w2": Delta("W2", "#332288", "^", ":", "W2", words="W2"),
        "w2_gaussian": Delta(
            "W2 of normal laws", "#332288", "v", "-", "W2", words="W2 of normal laws"
        ),
        "w2_gaussian_squared": Delta(
            "squared W2 of normal laws", "#332288", "<", "-.", "W2²",
            words="squared W2 of normal laws", unit=SQUARED,
        ),
        "w2_debiased": Delta(
            "W2, debiased", "#332288", ">", (0, (5, 1)), "W2",
            words="squared W2 of normal laws less what sampling adds to it", unit=SQUARED,
        ),
        "energy": Delta(
            "energy distance", "#882255", "X", "-", "energy", words="energy distance",
            unit="root of the unit of the measurement",
        ),
        "ks": Delta(
            "KS distance", "#882255", "d", "--", "KS", words="Kolmogorov-Smirnov distance",
            unit=NO_UNIT,
        ),
    },
)  # fmt: skip
"""Key of `statistics.distances.DISTANCES`, "sd" or "snr" of one law -> what readers see."""

TESTS: Table[Style] = Table(
    "test",
    {
        "code": Style("published: 2Φ(−|μ/σ|)", "#882255", "<", "--", "publ."),
        "t": Style("Student's t", "#332288", ">", "-", "t-test"),
        "sign_flip": Style("sign-flip permutation", "#44AA99", "1", ":", "sign-\nflip"),
        "t_fdr": Style("Student's t, FDR 5 %", "#332288", "D", "-.", "t, FDR"),
        "bootstrap_t": Style("pooled bootstrap t", "#6699CC", "o", "-", "boot-\nstrap t"),
    },
)
"""Tests of "is the influence larger than the noise?"."""

LAWS: Table[Style] = Table(
    "law",
    {
        "before": Style("all points", "#777777", "o", "-"),
        "after": Style("without the point", "#44AA99", "s", "--"),
        "retrained": Style("retrained", "#000000", "^", "-"),
    },
)
"""The law over runs before and after a removal; "retrained": where predictions are drawn beside."""

# ---------------------------------------------------------------- what is no method

PALETTE = ("#332288", "#CC6677", "#44AA99", "#DDCC77", "#882255", "#6699CC", "#AA4499")
"""Paul Tol's muted colours that no method has."""
CONTROL = "#555555"
"""What is compared with: chance, random choice, no change."""
ACCENT = "#EE7733"
"""What the eye should find: a wrong label, a weak sample."""
HELPS, HURTS = "#2166AC", "#B2182B"
"""Points whose removal raises a loss, and points whose removal lowers it."""
STATUS_COLOURS = {
    "confirmed": "#2E7D5B",
    "partly": "#88CCAA",
    "refuted": "#882255",
    "inconclusive": "#BBBBBB",
    "not tested": "#FFFFFF",
}
"""One hue from sure to sure, grey where nothing was decided."""

_MARKERS, _LINES = "osD^v*P", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 2)), (0, (3, 1, 1, 1)))


def palette(labels: Mapping[str, str] | Iterable[str], control: str = "") -> Table[Style]:
    """Looks for the series of a figure that are no methods, in the order of their keys.

    Args:
        labels: Key -> display name, or names that are both.
        control: The key of what the others are compared with, which is grey.

    Raises:
        ValueError: more keys than there are colours.
    """
    named = labels if isinstance(labels, Mapping) else {label: label for label in labels}
    coloured = [key for key in named if key != control]
    if len(coloured) > len(PALETTE):
        raise ValueError(f"{len(coloured)} series are more than the {len(PALETTE)} colours.")
    looks = dict(zip(coloured, zip(PALETTE, _MARKERS, _LINES))) | {control: (CONTROL, "x", "-.")}
    return Table("series", {key: Style(label, *looks[key]) for key, label in named.items()})
