"""The mutation run itself: every kind changes code that compiles, and what no test sees is told."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"

EVERY_KIND = b'''"""A module."""

import numpy as np


def key_of(init_seeds, order_seeds, level=0.95, wide=False):
    """Not looked at: a - b, 3 < 4."""
    if not len(init_seeds) > 3:
        raise ValueError(f"{len(init_seeds) - 1} is too few")
    generator = np.random.default_rng(7)
    spread = np.std(init_seeds, axis=0, ddof=1) * 2.5 - -level
    ends = np.abs(spread)[:-1], [generator.normal(), order_seeds[0]]
    return {"spread": spread, "ends": ends}
'''
PLANTED = (
    "def half(x):\n    return x / 2\n\n\ndef shift(after, before):\n    return after - before\n"
)
TESTS = "from lib.floor.sums import half, shift\n\n\ndef test_half():\n    assert half(3) == 1.5\n"
TESTS += "\n\ndef test_shift():\n    assert shift(2, 0) == 2  # never with a `before`\n"


@pytest.fixture
def mutants(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mutants

    return mutants


def test_every_kind_makes_another_module_that_compiles(mutants):
    found = mutants.mutants_of("lib/floor/sums.py", EVERY_KIND)
    assert {mutant.kind for mutant in found} == set(mutants.KINDS)
    for mutant in found:
        source = mutant.applied(EVERY_KIND)
        assert mutant.compiles(EVERY_KIND), mutant
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(EVERY_KIND)), mutant
        assert mutant.function == "key_of"
        assert EVERY_KIND.splitlines()[mutant.line - 1].decode().strip() in mutant.code
    lines = EVERY_KIND.decode().splitlines()
    untouched = {n for n, line in enumerate(lines, 1) if '"""' in line or "raise" in line}
    assert not untouched & {mutant.line for mutant in found}


EXPECTED = {
    "sign": "* 2.5 - (level)",
    "axis": "axis=1",
    "ddof": "ddof=0",
    "factor": "* 5.0",
    "sidedness": "(len(init_seeds) >= 3)",
    "seed": "default_rng(8)",
    "default": "level=1.9",
    "key": 'return {"ends": ends}',
    "negation": "wide=True",
    "index": "order_seeds[1]",
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_mutant_of_a_kind_reads_as_it_says(mutants, kind):
    found = mutants.mutants_of("lib/floor/sums.py", EVERY_KIND)
    texts = [m.applied(EVERY_KIND).decode() for m in found if m.kind in (kind, "default")]
    assert any(EXPECTED[kind] in text for text in texts)


def test_a_draw_is_repeatable_and_takes_kinds_in_turn(mutants):
    found = mutants.mutants_of("lib/floor/sums.py", EVERY_KIND)
    first = mutants.drawn(found, EVERY_KIND, seed=3, most=len(mutants.KINDS))
    assert first == mutants.drawn(found, EVERY_KIND, seed=3, most=len(mutants.KINDS))
    assert first != mutants.drawn(found, EVERY_KIND, seed=4, most=len(mutants.KINDS))
    assert {mutant.kind for mutant in first} == set(mutants.KINDS)
    assert sorted(mutants.drawn(found, EVERY_KIND, seed=3), key=found.index) == found


def test_a_planted_survivor_is_reported_and_the_checkout_left_alone(tmp_path):
    texts = {"lib/floor/sums.py": PLANTED, "tests/floor/test_sums.py": TESTS}
    texts |= {"lib/__init__.py": "", "lib/floor/__init__.py": ""}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, BENCHMARKS / "mutants.py", "--all", "--root", tmp_path]
    done = subprocess.run(
        [*command, "--package", "lib"], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 1, done.stdout + done.stderr
    survivors = done.stdout.split("survivors: ")[1].split("\n\n")[0]
    assert survivors.splitlines() == [
        "1",
        "  lib/floor/sums.py:6: [sign] after - before -> ((after) + (before))",
    ]
    assert ["all", "2", "/", "3", "66.7%"] in [line.split() for line in done.stdout.splitlines()]
    assert {name: (tmp_path / name).read_text() for name in texts} == texts


TWICE = "def twice(x):\n    return x * 2\n"
ELSEWHERE = """
from lib.floor.sums import shift
from lib.top.twice import twice


def test_both():
    assert shift(3, 1) == 2
    assert twice(3) == 6
"""


def test_tests_of_other_floors_judge_what_its_own_let_live_and_rounds_are_counted(
    mutants, tmp_path
):
    texts = {"lib/floor/sums.py": PLANTED, "tests/floor/test_sums.py": TESTS}
    texts |= {"lib/__init__.py": "", "lib/floor/__init__.py": "", "lib/top/__init__.py": ""}
    texts |= {"lib/top/twice.py": TWICE, "tests/top/test_top.py": ELSEWHERE}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    out = tmp_path / "out.json"
    command = [
        sys.executable,
        BENCHMARKS / "mutants.py",
        "--all",
        "--root",
        tmp_path,
        "--seed",
        "7",
    ]
    done = subprocess.run(
        [*command, "--package", "lib", "--out", out],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "survivors: 0" in done.stdout

    run = json.loads(out.read_text())
    assert {row["path"] for row in run["mutants"]} == {"lib/floor/sums.py", "lib/top/twice.py"}
    run["mutants"] = [row for row in run["mutants"] if "floor" in row["path"]]
    run["mutants"][0]["status"] = run["mutants"][1]["status"] = "passed"
    out.write_text(json.dumps(run))
    excused = {**run["mutants"][0], "reason": "for a test"}
    file = tmp_path / "reviewed.json"
    file.write_text(json.dumps({"rounds": [], "equivalent": [excused]}))
    for _ in range(2):  # again: it replaces
        mutants.record([out], file)
        known = json.loads(file.read_text())
        assert known["rounds"] == [{"seed": 7, "floors": {"floor": [1, 2]}, "all": [1, 2]}]
        assert known["equivalent"] == [excused]


def test_reviewed_mutants_are_mutants_of_today_and_have_a_reason(mutants):
    for (path, *rest), reason in mutants.reviewed().items():
        source = (mutants.ROOT / path).read_bytes()
        known = {mutant.identity for mutant in mutants.mutants_of(path, source)}
        assert (path, *rest) in known, f"{path}: {rest} is no mutant any more; take it out"
        assert len(reason.split()) > 3
