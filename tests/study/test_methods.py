"""The table of methods: complete, distinct, in step with the registries, and the only one."""

import ast
import re
from itertools import combinations
from pathlib import Path

import pytest

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.runs.recipes import Recipe
from dtda_lib.statistics.agreement import STATISTICS
from dtda_lib.statistics.distances import DISTANCES as REGISTERED
from dtda_lib.study import methods
from dtda_lib.study.claims import STATUSES
from dtda_lib.study.methods import DELTAS, LAWS, METHODS, NO_UNIT, TESTS, palette

LIBRARY = Path(methods.__file__).parents[1]
FAMILIES = {"methods": METHODS, "deltas": DELTAS, "tests": TESTS, "laws": LAWS}
HEX = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")

each_family = pytest.mark.parametrize("name", FAMILIES)


def looks_in(tree):
    """Line and text of every `Style(...)` and every colour in hexadecimal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in (
            "Style", "Method", "Delta",
        ):  # fmt: skip
            yield node.lineno, ast.unparse(node.func)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno, colour) for colour in HEX.findall(node.value))


def test_no_other_module_names_a_look():
    found = {
        (path.relative_to(LIBRARY).as_posix(), *look)
        for path in LIBRARY.rglob("*.py")
        for look in looks_in(ast.parse(path.read_text(encoding="utf-8")))
        if path != Path(methods.__file__)
    }
    assert not found


def test_a_look_elsewhere_would_be_found():
    for text in (
        "Style('a', b, 'o')",
        "methods.Style(x)",
        "f'stroke=\"#bbb\" {x}'",
        "c = '#0072B2'",
    ):
        assert list(looks_in(ast.parse(text)))


@each_family
def test_every_look_is_distinct(name):
    table = FAMILIES[name]
    for field in ("label", "colour and marker"):
        of = {
            key: (s.label if field == "label" else (s.colour, s.marker)) for key, s in table.items()
        }
        assert len(set(of.values())) == len(table), field


def test_methods_share_no_part_of_a_look():
    for field in ("colour", "marker", "linestyle"):
        users = {}
        for key, method in METHODS.items():
            users.setdefault(getattr(method, field), []).append(key)
        taken = {look: keys for look, keys in users.items() if len(keys) > 1}
        assert not taken, f"{field}: choose another one"
    elsewhere = {*methods.PALETTE, methods.ACCENT, methods.HELPS, methods.HURTS, methods.CONTROL}
    assert not elsewhere & {method.colour for method in METHODS.values()}
    assert METHODS["rif"].colour != METHODS["source"].colour


def test_unknown_keys_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown method 'if_gnn': did you mean 'if_ggn'\?"):
        METHODS["if_gnn"]
    with pytest.raises(ValueError, match="unknown Δ"):
        DELTAS["w3"]


@pytest.mark.parametrize("key", [key for key, method in METHODS.items() if method.estimator])
def test_methods_name_what_the_registry_gives(key):
    measure = get_estimator(METHODS[key].estimator, Recipe("sgd", weight_decay=1e-3))
    labels = measure.labels["estimator"]
    assert METHODS[key].entry == key if key in labels else METHODS[key].entry in labels
    assert METHODS[key].variable == (
        "influence_damped" if key == "if_damped" else METHODS[key].estimator
    )
    assert measure.name == METHODS[key].estimator


def test_methods_of_one_estimator_differ_in_their_settings():
    for one, other in combinations(METHODS.values(), 2):
        if one.estimator and (one.estimator, one.entry) == (other.estimator, other.entry):
            assert one.settings != other.settings


def test_every_delta_has_words_and_its_unit():
    assert set(DELTAS) == {*REGISTERED, *STATISTICS}
    units = {0: NO_UNIT, 1: methods.MEASURED, 2: methods.SQUARED}
    for key, delta in REGISTERED.items():
        assert DELTAS[key].unit == units.get(delta.power, DELTAS[key].unit)
        assert DELTAS[key].words


def test_every_status_has_a_colour():
    assert tuple(methods.STATUS_COLOURS) == STATUSES


def test_a_palette_keeps_order_and_greys_its_control():
    found = palette({"a": "A", "none": "no change", "b": "B"}, control="none")
    assert [found[key].colour for key in found] == [
        methods.PALETTE[0], methods.CONTROL, methods.PALETTE[1],
    ]  # fmt: skip
    assert [found[key].label for key in found] == ["A", "no change", "B"]
    whole = palette("abcdefg")
    assert len({(style.colour, style.marker) for style in whole.values()}) == 7
    with pytest.raises(ValueError, match="8 series are more than the 7 colours"):
        palette("abcdefgh")
