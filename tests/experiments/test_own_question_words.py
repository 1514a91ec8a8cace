"""Sentences of notebook 11 follow its tables."""

import numpy as np
import pandas as pd
import pytest

from dtda_lib.experiments.your_own_model import words as words


def test_reliable_pairs_are_counted():
    reliable = np.zeros((50, 40), dtype=bool)
    reliable[:10] = True
    assert words.found_words(reliable, 10).data == (
        "10 seeds call 400 of 2,000 pairs reliable (20%)."
    )


def powers(*rows):
    return pd.DataFrame(rows, columns=["from", "to", "estimate", "low", "high", "planned"])


def test_sizes_that_are_found_too_seldom_are_named():
    table = powers((0, 1, 0.1, 0.05, 0.15, 0.12), (1, 1.5, 0.5, 0.45, 0.55, 0.7))
    said = words.power_words(table, {"estimate": 0.93}, 0.8).data
    assert "lie at most 0.20" in said
    assert "than planned at 1 to 1.5 σ." in said
    assert "93% are found; the plan promises 80%" in said
    kept = powers((0, 1, 0.1, 0.05, 0.15, 0.12))
    assert "than planned at no size." in words.power_words(kept, {"estimate": 0.9}, 0.8).data


@pytest.mark.parametrize(
    ("high", "verdict"), [(0.02, "fewer than the 5%"), (0.08, "not shown to be fewer than the 5%")]
)
def test_wrong_signs_are_judged_by_their_interval(high, verdict):
    rows = [
        *(("reliable", "wrong sign", 0.01, -0.01, high), ("reliable", "kept", 0.9, 0.8, 1.0)),
        *(("largest", "wrong sign", 0.1, 0.0, 0.2), ("largest", "kept", 0.5, 0.4, 0.6)),
    ]
    table = pd.DataFrame(rows, columns=["set", "what", "estimate", "low", "high"])
    first, second = words.holding_words(table, 0.05).data.splitlines()
    assert f"1.0% have the other sign [0.0%, {high:.1%}]" in first
    assert f"; {verdict} that were allowed" in first
    assert "10.0% have the other sign" in second
    assert "50% of their size is kept" in second


def test_screenings_are_told_at_k_and_by_what_they_need():
    rows = [
        (method, k, min(1.0, k / full), 0.0, 1.0)
        for method, full in (("if_ggn", 5), ("grad_dot", 20))
        for k in range(1, 11)
    ]
    table = pd.DataFrame(rows, columns=["method", "k", "share", "low", "high"])
    said = words.screening_words(table, 2).data
    assert "first 2 of 10 points" in said
    assert "damped Gauss-Newton IF 40% [0%, 100%], grad-dot 10%" in said
    assert "at random would hold 20%" in said
    assert "takes 5 by damped Gauss-Newton IF, not even all by grad-dot" in said


def test_controls_speak_for_the_rest():
    rows = [("top", 10, 7, 0.4, 0.9), ("random", 6, 1, 0.03, 0.56)]
    hits = pd.DataFrame(rows, columns=["set", "points", "matter", "low", "high"])
    said = words.control_words(hits, 26, 12).data
    assert said.startswith("7 of 10 picked images matter for some query, and 1 of 6")
    assert "all 26 images" in said
    assert "between 3% and 56%" in said
