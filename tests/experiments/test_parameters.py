"""Each parameter is in its notebook's cell as its dataclass has it, and decides what it names."""

import json
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from dtda_lib.experiments.your_own_model.examples import write_digits
from dtda_lib.study.pages.notebooks import parameters_cell
from dtda_lib.study.parameters import PROFILE_NAMES, Number, Place, WholeNumber, WholeNumbers
from dtda_lib.study.settings import Config, parameters_of, resolve

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
OTHER = {
    # The next percents round to as many points.
    ("05_predicting_retrained_laws", "percents"): (5, 60),
    # The next percents round to as many points, and CIFAR-10 is left out or is 10 images or more.
    ("09_data_pruning", "removed_percent"): 20,
    ("09_data_pruning", "cifar_per_class"): 10,
    # One more step is no other number of epochs.
    ("08_evaluating_under_noise", "lengths"): (80,),
    # Halves of the seeds must be alike.
    ("10_diffusion", "n_seeds"): 10,
    ("10_diffusion", "removed_percent"): 20,
    ("11_your_own_model", "folder"): lambda path: write_digits(path, 10, digits=(0, 1)),
}
"""(notebook, parameter) -> another allowed value, where the next integer is none; a function makes
it in a new folder."""

TYPES = {WholeNumber: int, WholeNumbers: tuple[int, ...], Number: float, Place: str}
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
    told = "python -m dtda_lib.study.pages renews it"
    assert code_cells(notebook)[0] == parameters_cell(parameters_of(notebook)), told


@each_notebook
def test_the_set_up_cell_reads_the_parameters_and_is_short(notebook):
    source = code_cells(notebook)[1]
    assert "configure(Parameters, globals())" in source
    assert f"dtda_lib.experiments.{notebook[3:]}.parameters import Parameters" in source
    assert len(source.splitlines()) <= 15, "wiring belongs into the module `experiment`"


# --- every parameter decides something -----------------------------------------------------------


CASES = [(notebook, name) for notebook in NOTEBOOKS for name in parameters_of(notebook).declared()]


def another(allowed, value):
    """An allowed value other than `value`."""
    if isinstance(allowed, WholeNumbers):
        return (*value[:-1], next(v for v in range(value[-1] + 1, 10**7) if v not in value))
    if isinstance(allowed, Number):
        return (value + allowed.high) / 2 if value < allowed.high else (value + allowed.low) / 2
    return value + 1 if value < allowed.high else value - 1


@cache
def specified(notebook, **given):
    cfg = resolve(parameters_of(notebook), profile="smoke", device="cpu", workers=1, **given)
    module = import_module(f"dtda_lib.experiments.{notebook[3:]}.experiment")
    return json.dumps(module.specification(cfg), sort_keys=True)


@pytest.mark.parametrize(("notebook", "name"), CASES)
def test_a_parameter_changes_the_specification(notebook, name, tmp_path):
    parameters = parameters_of(notebook)
    value = getattr(parameters.at("smoke"), name)
    given = OTHER.get((notebook, name)) or another(parameters.declared()[name].allowed, value)
    given = given(tmp_path) if callable(given) else given
    assert specified(notebook, **{name: given}) != specified(notebook)
