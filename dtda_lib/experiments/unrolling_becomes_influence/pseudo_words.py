"""What notebook 06 says of the pseudo-inverse of the exact Hessian (T6), made out of its tables."""

import pandas as pd
from IPython.display import Markdown

from dtda_lib.study.wording import bullets, joined, side, upper, with_interval

from .equal_time import QUANTITY
from .network import OVER_TIME, PSEUDO, difference
from .network_claims import NULL, late_rows
from .words import SHOWN_AS, STRONG, Found


def pseudo_words(table: pd.DataFrame, found: Found) -> Markdown:
    """Does leaving out flat directions mend the exact Hessian (T6), and against Gauss-Newton?"""
    last = max(epochs for _, epochs in found)
    words = {
        "above": "it agrees **less** than Gauss-Newton",
        "below": "it agrees **better** than Gauss-Newton",
        "unclear": "it is not told from Gauss-Newton",
    }
    sentences = []
    for recipe in (*OVER_TIME, STRONG):
        told = joined(
            f"{late_rows(table, f'unrolling, {name}')[recipe]['estimate']:.2f} at {threshold:g}"
            for threshold, name in PSEUDO.items()
        )
        gap = difference(
            found, (recipe, last, f"unrolling, {PSEUDO[NULL]}"), (recipe, last, QUANTITY)
        )
        sentences.append(
            f"**{upper(SHOWN_AS[recipe])}**: correlation of unrolling with the pseudo-inverse, by "
            f"threshold, {told}; at {NULL:g} {side(gap, 0, **words)} (Gauss-Newton less "
            f"pseudo-inverse, paired by run: {with_interval(gap)})."
        )
    return bullets(sentences)
