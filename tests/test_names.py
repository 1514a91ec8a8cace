"""How names are refused, and how long what is shown may be."""

import pytest

from dtda_lib.names import Shown, listing, refuse_unknown_settings, short, unknown


def test_an_unknown_name_is_told_with_the_nearest_or_all():
    assert unknown("loss", "crossentropy", ["mean", "cross_entropy", "crossed_entropy"]) == (
        "unknown loss 'crossentropy': did you mean 'cross_entropy'?"
    )
    assert unknown("name", "IF_GGN", ["if_ekfac", "If_ggn"]).endswith("did you mean 'If_ggn'?")
    assert unknown("loss", 7, ["a", "b"]) == "unknown loss 7: known are 'a', 'b'."
    long = "x" * 59 + "y" + "z" * 200  # 60 characters are looked at: a misspelt name, not a book
    assert "did you mean" in unknown("name", long, ["x" * 59 + "y"])
    just, no = "x" * 36 + "w" * 24, "x" * 35 + "w" * 25  # 6 of 10 letters have to be the same
    name = "x" * 36 + "y" * 300
    assert "did you mean" in unknown("name", name, [just])
    assert "did you mean" not in unknown("name", name, [no])
    shown = unknown("name", long, ["a"]).split(":")[0]
    assert len(shown) == len("unknown name ") + 60


def test_what_somebody_gave_is_shown_on_one_line():
    assert short("a b") == "'a b'"
    assert short({"a": 1}) == "{'a': 1}"
    assert short(10**10_000) == "a huge int"
    assert len(short("v" * 1000)) == len(short(10**1000)) == 60

    class Odd:
        def __repr__(self):
            return "two\n  lines " + "!" * 100

    assert short(Odd()).startswith("two lines !")
    assert len(short(Odd())) < 60


def takes(a, /, b, *, c=1):
    """A positional argument alone has no name to be given by."""


def takes_all(a, **others):
    """Whatever is given."""


def test_settings_that_are_not_taken_are_refused():
    refuse_unknown_settings("it", takes, {"b": 1, "c": 2})
    refuse_unknown_settings("it", takes_all, {"anything": 1})
    refuse_unknown_settings("it", takes, {})
    for wrong in ("a", "d"):
        with pytest.raises(ValueError, match=f"unknown setting of it '{wrong}'"):
            refuse_unknown_settings("it", takes, {"b": 1, wrong: 2})


def test_listings_end_with_their_number_where_they_are_cut():
    assert listing([1, 2, 3]) == "1, 2, 3"
    assert listing([1, 2, 3, 4]) == "1, 2, 3, ... (4)"
    assert listing("abcd", 2) == "a, b, ... (4)"
    assert listing([]) == ""


class Thing(Shown):
    def __init__(self, **facts):
        self.facts = facts

    def _facts(self):
        return self.facts


def test_an_object_is_shown_in_three_lines_and_a_table():
    assert repr(Thing(a=1, b="x")) == "Thing(a=1, b='x')"
    many = repr(Thing(**{f"name{n}": "word " * 5 for n in range(40)})).splitlines()
    assert len(many) == 3
    assert max(map(len, many)) <= 100 < max(map(len, many)) + 10
    assert many[2].endswith(" ...")
    assert [line[:4] for line in many] == ["Thin", "    ", "    "]
    hyphens = repr(Thing(a="-".join(["ab"] * 30), b="-".join(["cd"] * 26))).splitlines()
    assert not any(line.rstrip(",").endswith("-") for line in hyphens)
    table = Thing(**{"<a>": "<b> \x07 c", "long": "w" * 100, "words": "w " * 50})._repr_html_()
    assert table.startswith("<table><caption>Thing</caption><tr><th>&lt;a&gt;</th>")
    assert "<td>&lt;b&gt; c</td>" in table
    assert f"<td>{'w' * 80}</td>" in table
    assert f"<td>{'w ' * 38}w...</td>" in table
    with pytest.raises(NotImplementedError):
        repr(Shown())
