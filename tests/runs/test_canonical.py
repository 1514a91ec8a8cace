"""One text for the same content, whatever its order; nothing but plain data."""

import itertools
from types import MappingProxyType

import pytest

from dtda_lib.runs.keys.canonical import canonical, sha256

PARTS = {"b": [1, 2.5, None], "a": {"z": "é", "y": True}, "c": (1,)}


def test_order_of_names_does_not_matter_and_everything_else_does():
    text = canonical(PARTS)
    assert text == r'{"a":{"y":true,"z":"\u00e9"},"b":[1,2.5,null],"c":[1]}'
    for names in itertools.permutations(PARTS):
        assert canonical({name: PARTS[name] for name in names}) == text
    assert canonical(MappingProxyType(PARTS | {"a": MappingProxyType(PARTS["a"])})) == text
    for name in PARTS:
        left_out = {other: PARTS[other] for other in PARTS if other != name}
        assert canonical(left_out) != text
        assert canonical(left_out | {name: [PARTS[name]]}) != text
    assert canonical([1, 2]) != canonical([2, 1])


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_refused(number):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"lr": number})


def test_other_things_are_refused_by_type():
    with pytest.raises(TypeError, match="object is no plain data"):
        canonical({"what": object()})


def test_sha256_is_the_standards():
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4
    assert sha256("abc") == sha256(b"abc") == known
