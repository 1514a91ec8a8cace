"""Parts of sentences, and numbers as they are written: each digit follows from its rule."""

import math

import numpy as np
import pandas as pd
import pytest

from dtda_lib.study import markdown, rounding, tolerant, wording
from dtda_lib.study.artefacts import is_sealed, sealed, to_json

ROW = {
    "estimate": 0.8954,
    "low": 0.8651,
    "high": 0.9449,
    "gain": 2.0,
    "gain_low": -1,
    "gain_high": 3,
}


def test_a_number_stands_before_the_ends_of_its_interval():
    assert wording.with_interval(ROW) == "0.90 (0.87 to 0.94)"
    assert wording.with_interval(ROW, digits=3) == "0.895 (0.865 to 0.945)"
    assert wording.bracketed(ROW) == "0.90 [0.87, 0.94]"
    assert wording.bracketed(ROW, "gain", digits=0) == "2 [-1, 3]"
    assert wording.bracketed(ROW, "gain", digits=1) == "2.0 [-1.0, 3.0]"
    assert wording.told(ROW, "gain", "seeds") == "2.0 seeds [-1.0, 3.0]"
    assert wording.told(ROW, unit="%") == "90 % [87, 94]"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-0.004, 2, "0.00"), (-0.006, 2, "-0.01"), (2.5, 0, "2"), (1, 1, "1.0"), (0.125, 3, "0.125")],
)
def test_a_number_has_its_decimals_and_no_negative_zero(value, digits, text):
    assert wording.number(value, digits) == text


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.1, 0.2, "up"),
        (-0.2, -0.1, "down"),
        (-0.1, 0.1, "?"),
        (0, 1, "?"),
        (-1, 0, "?"),
        (math.nan, math.nan, "?"),
    ],
)
def test_words_take_the_side_of_the_whole_interval(low, high, words):
    row = {"low": low, "high": high}
    assert wording.side(row, 0, above="up", below="down", unclear="?") == words


def test_shares_counts_and_lists_in_words():
    assert wording.percent(0.8249) == "82 %"
    assert wording.percent(0.8249, 1) == "82.5 %"
    assert wording.percent(-0.001) == "0 %"
    told = [wording.counted(n, "run") for n in (0, 1, 2, 1_000)]
    assert told == ["0 runs", "1 run", "2 runs", "1,000 runs"]
    assert wording.bullets(["a", "b"]).data == "* a\n* b"
    assert wording.joined([]) == "none"
    assert wording.joined(["a"]) == "a"
    assert wording.joined(["a", "b"]) == "a and b"
    assert wording.joined(["a", "b", "c"]) == "a, b and c"
    assert wording.joined((), none="nothing") == "nothing"
    assert wording.upper("gAUSS-Newton") == "GAUSS-Newton"
    assert wording.upper("") == ""
    verdicts = [("x", "a"), ("y", "b"), ("x", "c")]
    assert list(wording.grouped(verdicts).items()) == [("x", ["a", "c"]), ("y", ["b"])]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0.0,), "0"),
        ((1234567.0,), "1234567"),
        ((12.0,), "12"),
        ((12.34,), "12"),
        ((1.234,), "1.2"),
        ((0.01234,), "0.012"),
        ((1.234e-5,), "0.000012"),
        ((1.234e-6,), "1.2e-06"),
        ((1.2345, (1.2340, 1.2351)), "1.234 [1.234, 1.235]"),
        ((0.5, (0.4, 0.4)), "0.50 [0.40, 0.40]"),
        ((0.5, (0.0, 1.0)), "0.50 [0, 1.00]"),
        ((0.5, (0.4, None)), "0.50"),
        ((0.5, (0.4, math.inf)), "0.50"),
        ((-0.06, (-0.1, -0.02), "%"), "-6.0 % [-10.0, -2.0]"),
        ((3.0, (2.0, 5.0), "runs"), "3.0 runs [2.0, 5.0]"),
        ((None, (0, 1)), "-"),
    ],
)
def test_a_number_is_told_in_two_digits_or_as_many_as_its_interval_needs(given, text):
    assert wording.measured(*given) == text


# --- numbers in files ----------------------------------------------------------------------------


def test_noise_is_a_share_of_its_scale():
    noise = rounding.NOISE
    assert noise == 1e-9
    assert rounding.rounded(noise) == noise
    assert rounding.rounded(-noise) == -noise
    assert rounding.rounded(0.99 * noise) == rounding.rounded(-0.99 * noise) == 0.0
    assert rounding.rounded(1.5 * noise, scale=2.0) == 0.0
    assert rounding.rounded(0.5 * noise, scale=0.1) == 0.5 * noise
    assert rounding.rounded(1.23456789) == 1.23457
    assert rounding.rounded(1.23456789, digits=3) == 1.23
    assert [rounding.rounded(x) for x in (None, math.nan, math.inf, -math.inf)] == [None] * 4


def test_a_column_is_measured_by_its_largest_number_at_most_one():
    table = pd.DataFrame(
        {
            "small": [1e-3, 0.9e-12, -1.1e-12, np.inf],  # its scale is 1e-3
            "large": [1e6, 0.9e-9, -1.1e-9, np.nan],  # and this one's is 1
            "count": [1, 0, 3, 4],
        }
    )
    found = rounding.without_noise(table)
    assert found["small"].tolist() == [1e-3, 0.0, -1.1e-12, np.inf]
    assert found["large"].tolist()[:3] == [1e6, 0.0, -1.1e-9]
    assert found["count"].tolist() == [1, 0, 3, 4]
    assert table["small"][1] == 0.9e-12, "the table given stays as it is"
    words = pd.DataFrame({"a": ["x"]})
    assert rounding.without_noise(words) is words
    assert np.isnan(rounding.without_noise(pd.DataFrame({"a": [np.nan]}))["a"][0])


@pytest.mark.parametrize(
    ("reference", "got", "rtol", "atol", "same"),
    [
        ("100.0", "101.0", 0.01, 0.0, True),
        ("100.0", "101.1", 0.01, 0.0, False),
        ("-100.0", "-101.0", 0.01, 0.0, True),
        ("101.0", "100.0", 0.0099, 0.0, False),  # a share of the reference, not of what came
        ("0.0", "0.5", 0.0, 0.5, True),
        ("0.0", "-0.51", 0.0, 0.5, False),
        ("100.0", "101.5", 0.01, 0.5, True),
        ("3", "3.0", 0.0, 0.0, True),
        ("3", "4", 1.0, 1.0, False),
        ("1,000", "−1,000", 9.0, 9.0, False),
    ],
)
def test_a_band_is_the_sum_of_both_tolerances(reference, got, rtol, atol, same):
    assert tolerant.same_number(reference, got, rtol, atol) is same


# --- pages and files -----------------------------------------------------------------------------


def test_a_table_has_one_line_a_row_and_columns_of_the_first():
    rows = [{"a": 1, "b": "x|y\nz"}, {"a": 2, "b": r"x\|y"}]
    lines = ["| a | b |", "| --- | --- |", r"| 1 | x\|y z |", r"| 2 | x\|y |"]
    assert markdown.table(rows).splitlines() == lines
    assert markdown.numbered(["a\nb", "c"]) == "1. a b\n2. c"


def test_a_marked_text_is_found_replaced_and_named():
    page = f"before\n{markdown.marked('answer', 'old')}\nafter"
    assert markdown.written_by(markdown.marked("answer", "old")) == "answer"
    assert markdown.written_by(page) is None
    assert markdown.replaced(page, "answer", "new") == page.replace("old", "new")
    for broken in ("no marks", "<!-- answer:end --><!-- answer:start -->"):
        with pytest.raises(ValueError, match="needs a line <!-- answer:start -->"):
            markdown.replaced(broken, "answer", "new")


def test_a_seal_is_of_the_content_as_it_will_be_read():
    content = {"ci": (0.1, 0.2), "n": np.int64(3)}
    file = sealed(content)
    assert is_sealed(file)
    assert is_sealed({**file, "ci": [0.1, 0.2], "n": 3})
    assert not is_sealed({**file, "n": 4})
    assert not is_sealed({**file, "more": 1})
    assert not is_sealed(content)
    assert to_json({"b": 1, "a": "σ"}) == '{\n  "a": "σ",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"a": math.nan})
