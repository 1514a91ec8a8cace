"""The answer of notebook 06, made out of the evidence, and tables as readers see them."""

import pandas as pd

from dtda_lib.study.evidence import Evidence
from dtda_lib.study.tables import displayed
from dtda_lib.study.wording import told

from .claims import NULL, PAPER_CORRELATION
from .network import PSEUDO, late_rows

_NOTEBOOK = "06_unrolling_becomes_influence"
STRONG = "decaying, strong decay"
SHOWN_AS = {
    "constant 0.05": "constant steps 0.05",
    "constant 0.0125": "constant steps 0.0125",
    "decaying": "decaying steps",
    STRONG: "decaying steps and tenfold weight decay",
    "momentum": "momentum",
    "Adam": "Adam",
}


def answer(evidence: Evidence) -> list[str]:
    """Five sentences: generalised linear models, a network, strong decay, step sizes, fading."""
    slope = evidence["C4-logistic"]
    late = _late(evidence.table(_NOTEBOOK, "network"))
    strong, many, equal = (evidence[f"C2-{name}"] for name in ("strong", "step", "step-equal-time"))
    fading, growth = evidence["fading-unrolling-decaying"], evidence["T8"]
    follows = {"confirmed": "becomes", "refuted": "does not become"}
    helps = {"confirmed": "help", "refuted": "do not help"}
    return [
        f"Unrolling {follows.get(slope.verdict, 'is not shown to become')} influence in "
        f"generalised linear models: their distance falls as a power {slope.number()} of the "
        "steps (logistic regression; theory: −1/2).",
        "For a small network it depends on how near a minimum training gets. After "
        f"{late['steps']:,} decaying steps the correlation is {late['if_pinv 0.001']} with the "
        f"pseudo-inverse IF and {late['if_ggn']} with Gauss-Newton IF (the paper: about "
        f"{PAPER_CORRELATION:g}); the smallest eigenvalue is {late['smallest']}, so "
        f"{'no' if late['negative'] else 'a'} minimum is reached.",
        f"With tenfold weight decay the correlation with Gauss-Newton IF is {strong.number()}.",
        f"Smaller steps {helps.get(many.verdict, 'are not shown to help')} after equally many "
        f"steps ({many.number()}); after equal training time they "
        f"{helps.get(equal.verdict, 'are not shown to')} ({equal.number()}).",
        "Unrolling predicts the retraining of its own run, less so the longer the training: its "
        f"correlation changes by {fading.number()} with decaying steps. Where a gradient points "
        "along a flat direction, the response grows without bound, at "
        f"{growth.number()} times the predicted rate.",
    ]


def _late(table: pd.DataFrame) -> dict[str, "str | int | bool"]:
    """Means over runs with their intervals, of decaying steps at the longest training."""
    rows = {name: late_rows(table, name)["decaying"] for name in dict.fromkeys(table["quantity"])}
    shown: dict[str, str | int | bool] = {
        name.removeprefix("unrolling, "): told(row) for name, row in rows.items()
    }
    smallest = rows["smallest"]
    return shown | {"steps": smallest["steps"], "negative": smallest["high"] < 0}


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`network.time_table` or `network.equal_time_table` with display names."""
    shown = table.assign(quantity=table["quantity"].map(displayed))
    return shown.replace({"recipe": SHOWN_AS}) if "recipe" in table else shown


def late_table(table: pd.DataFrame) -> pd.DataFrame:
    """At the longest training, with intervals: correlations with unrolling, smallest eigenvalue.

    A row a recipe; the pseudo-inverse counts eigenvalues below `NULL` of the largest as null.
    """
    quantities = [f"unrolling, {name}" for name in (PSEUDO[NULL], "if_ggn", "if_hessian_damped")]
    quantities += ["unrolling, if_hessian", "smallest"]
    columns = {
        displayed(name).removeprefix("unrolling, "): {
            SHOWN_AS[recipe]: told(row) for recipe, row in late_rows(table, name).items()
        }
        for name in quantities
    }
    return pd.DataFrame(columns).rename(columns={"smallest": "smallest eigenvalue"})
