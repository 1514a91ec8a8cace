"""The documentation: what is generated of it is current, and says all that it should."""

import re
from pathlib import Path

import pytest

import dtda_lib as dt
from dtda_lib.study.pages import docs
from dtda_lib.study.pages.architecture import FLOORS

ROOT = Path(__file__).parents[2]
REMAKE = "run: python -m dtda_lib.study.pages.docs"


def test_the_reference_is_current():
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == docs.render_api(), REMAKE


def test_the_floors_are_drawn_as_they_are():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert page == docs.render_architecture(ROOT), REMAKE
    drawn = [line.split()[0] for line in docs.render_floors().splitlines()[1:-1]]
    drawn.remove("---")
    assert drawn == list(reversed(FLOORS))


def test_every_public_name_is_in_the_reference():
    text = docs.render_api()
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == dt.__all__
    assert "0x" not in text  # an address would differ from run to run
    assert "<function" not in text
    for name in dt.__all__:
        assert f"dt.{name}(" in text, f"{name} has no signature"


def test_a_page_without_a_place_for_the_drawing_is_refused(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "architecture.md").write_text("# Architecture\n")
    with pytest.raises(ValueError, match="floors:start"):
        docs.render_architecture(tmp_path)


def test_sections_of_a_docstring_become_lists():
    text = "First.\n\nArgs:\n    a, b: Some\n        more.\n    c: Third.\n\nReturns:\n    A word."
    assert docs._markdown(text) == (
        "First.\n\n**Args:**\n\n- `a, b`: Some more.\n- `c`: Third.\n\n**Returns:**\n\nA word."
    )


PATHS = re.compile(r"`((?:dtda_lib|tests|notebooks|docs|figures)/[\w./]+\.\w+)`")

# Files that the recipes name and that are being written.


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_named_files_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    new = set(re.findall(r"new file `([\w./]+)`", text))
    missing = {path for path in PATHS.findall(text) if not (ROOT / path).exists()} - new
    assert missing == set()
