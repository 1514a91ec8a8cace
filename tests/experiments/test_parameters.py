"""Each parameter is in its notebook's cell as its dataclass has it, and decides what it names."""

import json
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from dtda_lib.study.parameters import PROFILE_NAMES, Place, WholeNumber, WholeNumbers
from dtda_lib.study.parameters_cell import parameters_cell
from dtda_lib.study.settings import Config, parameters_of, resolve

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
LONG_SET_UP = {
    *("00_conventions", "02_ground_truth_vs_estimated", "03_sources_of_noise"),
    "05_predicting_retrained_laws",
    *("06_unrolling_becomes_influence", "07_cold_posterior_transport"),
    *("08_evaluating_under_noise", "09_data_pruning", "10_diffusion", "11_your_own_model"),
    "12_scoreboard",
}
"""Notebooks whose set-up cell still holds wiring that belongs into their `experiment` module."""

OTHER = {}
"""(notebook, parameter) -> another allowed value, where the next integer is none."""

TYPES = {WholeNumber: int, WholeNumbers: tuple[int, ...], Place: str}
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS)


def code_cells(notebook):
    content = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == "code"]


# --- the dataclasses and the cells ---------------------------------------------------------------


@each_notebook
def test_every_profile_is_allowed_and_no_custom_one(notebook):
    parameters = parameters_of(notebook)
    for profile in PROFILE_NAMES:
        cfg = resolve(parameters, profile=profile, device="cpu", workers=1)
        assert cfg.name == profile
        assert parameters(**cfg.parameters) == parameters.at(profile)
    assert parameters() == parameters.at("default")


@each_notebook
def test_types_are_those_of_what_is_allowed(notebook):
    parameters = parameters_of(notebook)
    declared = parameters.declared()
    assert parameters.types() == {name: TYPES[type(p.allowed)] for name, p in declared.items()}
    assert not set(declared) & (set(dir(Config)) | {"profile", "device", "workers"})


@each_notebook
def test_the_parameters_cell_is_the_dataclass(notebook):
    told = "python -m dtda_lib.study.parameters_cell renews it"
    assert code_cells(notebook)[0] == parameters_cell(parameters_of(notebook)), told


@each_notebook
def test_the_set_up_cell_reads_the_parameters_and_is_short(notebook):
    source = code_cells(notebook)[1]
    assert "configure(Parameters, globals())" in source
    assert f"dtda_lib.experiments.{notebook[3:]}.parameters import Parameters" in source
    is_long = len(source.splitlines()) > 15
    assert is_long == (notebook in LONG_SET_UP), "the list of long ones only shrinks"


# --- every parameter decides something -----------------------------------------------------------


def has_specification(notebook):
    module = f"dtda_lib.experiments.{notebook[3:]}.experiment"
    return find_spec(module) and hasattr(import_module(module), "specification")


SPECIFIED = [notebook for notebook in NOTEBOOKS if has_specification(notebook)]
CASES = [(notebook, name) for notebook in SPECIFIED for name in parameters_of(notebook).declared()]


def another(allowed, value):
    """An allowed value other than `value`."""
    if isinstance(allowed, WholeNumbers):
        return (*value[:-1], next(v for v in range(value[-1] + 1, 10**7) if v not in value))
    return value + 1 if value < allowed.high else value - 1


@cache
def specified(notebook, **given):
    cfg = resolve(parameters_of(notebook), profile="smoke", device="cpu", workers=1, **given)
    module = import_module(f"dtda_lib.experiments.{notebook[3:]}.experiment")
    return json.dumps(module.specification(cfg), sort_keys=True)


def test_a_notebook_with_a_short_set_up_has_a_specification():
    assert set(NOTEBOOKS) - LONG_SET_UP <= set(SPECIFIED)


@pytest.mark.parametrize(("notebook", "name"), CASES)
def test_a_parameter_changes_the_specification(notebook, name):
    parameters = parameters_of(notebook)
    value = getattr(parameters.at("smoke"), name)
    given = OTHER.get((notebook, name), another(parameters.declared()[name].allowed, value))
    assert specified(notebook, **{name: given}) != specified(notebook)
