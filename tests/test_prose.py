"""Each number in the text of a notebook is what parameters, code or files say, or is on a list."""

import re

import prose
import pytest
from prose import FACTS, LITERALLY, MADE_AGAIN, PATTERNS, ROOT
from test_contract import NOTEBOOKS

from dtda_lib.study.tolerant import NUMBER, to_float

NAMES = [path.stem for path in NOTEBOOKS]
TEXT = "We left out 12 points, with 95 % intervals."


def test_only_notebooks_are_listed():
    assert {*MADE_AGAIN, *LITERALLY, *FACTS} <= set(NAMES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_number_that_a_person_typed_is_declared(path):
    fragments = prose.made_again(path.stem) + prose.literal(path.stem)
    assert prose.undeclared(prose.prose(path), fragments) == []


# --- a number changed by hand --------------------------------------------------------------------


def changed(text, fragment):
    """The text with the last number of a fragment one larger, at its first place."""
    at = text.lower().index(fragment.lower())
    number = list(NUMBER.finditer(fragment))[-1]
    start, end = at + number.start(), at + number.end()
    return f"{text[:start]}{to_float(number[0]) + 1:g}{text[end:]}"


KINDS = {
    "a parameter": ("07_cold_posterior_transport", "20,000; `paper` 200,000"),
    "a result on file": ("00_conventions", "(98 % of experiments)"),
    "a size in words of parameters": ("08_evaluating_under_noise", "for 80 and 240"),
    "a threshold": ("05_predicting_retrained_laws", "From 0.6 on"),
    "what the data are": ("08_evaluating_under_noise", "Queries: 20, of the CNN 10"),
    "a value of a paper": ("12_scoreboard", "correlation of 0.9"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_changed_by_hand_is_seen(kind):
    notebook, fragment = KINDS[kind]
    text = prose.prose(ROOT / "notebooks" / f"{notebook}.ipynb")
    fragments = prose.made_again(notebook) + prose.literal(notebook)
    assert prose.undeclared(text, fragments) == []
    assert prose.undeclared(changed(text, fragment), fragments)


def test_a_changed_parameter_or_a_new_number_is_seen():
    assert prose.undeclared(TEXT, ["12 points"]) == []
    assert prose.undeclared(TEXT, ["13 points"]) == ["not said: 13 points", TEXT[:43]]
    assert prose.undeclared(f"{TEXT} Of these 3 matter.", ["12 points"]) != []


def test_fragments_speak_as_sentences_do():
    given = prose.speaking({"n": 4, "sizes": (10, 20, 50), "one": (7,), "rate": 0.1})
    told = "{x.n:word} of {x.sizes}, {x.sizes.least} to {x.sizes.most}; {x.one}; {x.rate}"
    assert told.format(x=given) == "four of 10, 20 and 50, 10 to 50; 7; 0.1"


@pytest.mark.parametrize("text", ["in 12 runs", "3.5 nats", "a factor of 2", "10 to 60 images"])
def test_no_pattern_takes_what_could_be_a_result(text):
    for pattern in PATTERNS.values():
        assert not re.search(pattern, text, re.DOTALL)
