"""Settings: every refusal names its cause, every conversion is unambiguous, hashes stay put."""

import copy
import json
import pickle
import re
import subprocess
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dtda_lib.experiments.noise_vs_influence.parameters import Parameters
from dtda_lib.study import provenance as provenance_module
from dtda_lib.study.pages.notebooks import parameters_cell
from dtda_lib.study.parameters import (
    Number,
    ProfiledParameters,
    WholeNumber,
    place,
    read_value,
    real_number,
    whole_number,
    whole_numbers,
)
from dtda_lib.study.provenance import provenance
from dtda_lib.study.settings import Config, StudyError, configure, parameters_of, resolve

NOTEBOOK = "01_noise_vs_influence"


@dataclass(frozen=True)
class Few(ProfiledParameters, notebook="77_toy"):
    """Parameters of every kind."""

    sizes: tuple[int, ...] = whole_numbers("how large", at=((1,), (2, 3), (4,)), between=(1, 9))
    n_seeds: int = whole_number("how many", at=(3, 4, 5), between=(2, 7))
    folder: str = place("where")


def settings(**given):
    return resolve(Parameters, **{"profile": "default", "device": "cpu", "workers": 2, **given})


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"profile": "defualt"}, ["profile", "'defualt'", NOTEBOOK, "mean 'default'"]),
        ({"profile": "huge"}, ["profile", "'huge'", "smoke", "default", "paper"]),
        ({"profile": None}, ["profile", "None", "smoke"]),
        ({"n_sedes": 3}, ["parameter", "'n_sedes'", NOTEBOOK, "mean 'n_seeds'"]),
        ({"zzz": 3}, ["parameter", "'zzz'", "n_seeds", "sizes"]),
        ({"n_seeds": 1}, ["n_seeds=1", NOTEBOOK, "2 to 10000 (", "standard deviation"]),
        ({"n_seeds": 10_001}, ["n_seeds=10001", "2 to 10000 ("]),
        ({"n_seeds": "1e3"}, ["n_seeds='1e3'", "integer"]),
        ({"n_seeds": 5.0}, ["n_seeds=5.0", "integer"]),
        ({"n_seeds": True}, ["n_seeds=True", "integer"]),
        ({"n_seeds": [5]}, ["n_seeds=[5]", "integer"]),
        ({"n_seeds": "１２"}, ["n_seeds='１２'", "integer"]),
        ({"n_seeds": np.True_}, ["n_seeds=", "integer"]),
        ({"n_seeds": 10**5000}, ["n_seeds=a huge int", "2 to 10000 ("]),
        ({"n_seeds": "9" * 5000}, ["n_seeds='9999", "2 to 10000 ("]),
        ({"sizes": list(range(1000))}, ["sizes=[0, 1", "1 to 50"]),
        ({"sizes": ["１０"]}, ["sizes=['１０']"]),
        ({"z" * 5000: 3}, ["parameter", "zzzz"]),
        ({"parameters": 3}, ["parameter", "'parameters'"]),
        ({"device": "cuda:１"}, ["device='cuda:１'", "is no device"]),
        ({"device": "x" * 5000}, ["device='xxx", "auto, cpu, cuda"]),
        ({"workers": "１"}, ["workers='１'", "integer"]),
        ({"n_sets": 2}, ["n_sets=2", "3 to 1000"]),
        ({"n_checkpoints": 0}, ["n_checkpoints=0", "1 to 15"]),
        ({"n_checkpoints": 16}, ["n_checkpoints=16", "1 to 15"]),
        ({"queries_per_class": 301}, ["queries_per_class=301", "1 to 300"]),
        ({"sizes": ()}, ["sizes=()", "list"]),
        ({"sizes": "[]"}, ["sizes='[]'", "list"]),
        ({"sizes": "[10"}, ["sizes='[10'", "list"]),
        ({"sizes": [0]}, ["sizes=[0]", "1 to 50"]),
        ({"sizes": [51]}, ["sizes=[51]", "1 to 50"]),
        ({"sizes": [10, 10]}, ["sizes=[10, 10]", "different"]),
        ({"sizes": [10, None]}, ["sizes=[10, None]"]),
        ({"sizes": "ten"}, ["sizes='ten'"]),
        ({"sizes": "{10: 20}"}, ["sizes='{10: 20}'"]),
        ({"device": "gpu"}, ["device='gpu'", "auto, cpu, cuda"]),
        ({"device": 0}, ["device=0", "auto, cpu, cuda"]),
        ({"device": "cuda:99"}, ["device='cuda:99'", "not present"]),
        ({"workers": 0}, ["workers=0", "1 to"]),
        ({"workers": "many"}, ["workers='many'", "integer"]),
    ],
)
def test_refused_by_name_in_one_sentence(given, words):
    with pytest.raises(StudyError) as refusal:
        settings(**given)
    message = str(refusal.value)
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    assert message[-1] in ".?"
    assert len(message) < 300


def test_a_value_outside_its_range_may_be_allowed_besides():
    allowed = WholeNumber(2, 9, also=(0,))
    assert allowed.read("0") == 0
    assert str(allowed) == "an integer, 0 or 2 to 9"
    with pytest.raises(ValueError, match=r"n=1 .* give an integer, 0 or 2 to 9"):
        read_value(allowed, "n", 1, "a test")


def test_a_number_may_have_decimals_and_comes_from_text_too():
    allowed = Number(0.1, 2, because="it is a rate")
    assert (allowed.read("0.5"), allowed.read(1)) == (0.5, 1.0)
    assert str(allowed) == "a number, 0.1 to 2 (it is a rate)"
    for wrong in (0.05, 3, True, "fast", float("nan"), None):
        with pytest.raises(ValueError, match=r"rate=.* give a number, 0.1 to 2"):
            read_value(allowed, "rate", wrong, "a test")


@dataclass(frozen=True)
class Rated(ProfiledParameters, notebook="99_rated"):
    """One number, with decimals."""

    rate: float = real_number("a rate", at=(0.1, 0.2, 0.3), between=(0.1, 2))


def test_a_number_is_written_in_plain_digits():
    assert resolve(Rated, profile="smoke", rate=" +1.5e-1\n").rate == 0.15
    for wrong in ("１.5", "٢", 10**400):
        with pytest.raises(StudyError, match=r"^rate=.* in notebook 99_rated .*a number, 0.1 to 2"):
            resolve(Rated, profile="smoke", rate=wrong)


def test_unknown_notebook_is_refused():
    with pytest.raises(StudyError, match=f"unknown notebook .*mean '{NOTEBOOK}'"):
        parameters_of("01_noise_vs_inflence")


@pytest.mark.parametrize("name", ["02_noise_vs_influence", "noise_vs_influence", "01_", "01_../x"])
def test_a_notebook_is_looked_up_by_its_whole_name(name):
    assert parameters_of(NOTEBOOK) is Parameters
    with pytest.raises(StudyError, match="unknown notebook"):
        parameters_of(name)


def test_a_study_error_is_a_value_error():
    assert issubclass(StudyError, ValueError)


# --- conversions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("n_seeds", "12", 12),
        ("n_seeds", " 12 ", 12),
        ("sizes", "[10, 20]", (10, 20)),
        ("sizes", "(10, 20)", (10, 20)),
        ("sizes", "10,20", (10, 20)),
        ("sizes", "20", (20,)),
        ("sizes", 20, (20,)),
        ("sizes", [20, "10"], (20, 10)),
    ],
)
def test_conversion(name, given, value):
    cfg = settings(**{name: given})
    assert cfg.parameters[name] == value
    assert type(cfg.parameters[name]) is type(value)
    assert getattr(cfg, name) == value


@pytest.mark.parametrize("nothing", [None, "none", "None", ""])
def test_none_leaves_the_profiles_value(nothing):
    cfg = settings(n_seeds=nothing, sizes=nothing, workers=nothing, device=nothing)
    assert cfg.parameters == Parameters.at("default").values()
    assert cfg.overridden == ()
    assert cfg.workers >= 1


# --- identity ---------------------------------------------------------------------------------


def test_hash_is_stable_across_releases():
    # Figures carry this hash: a change of the recipe of the hash must be on purpose.
    @dataclass(frozen=True)
    class Old(ProfiledParameters, notebook="a_notebook"):
        sizes: tuple[int, ...] = whole_numbers(
            "how large", at=((10, 20), (10,), (10,)), between=(1, 50)
        )
        n_seeds: int = whole_number("how many", at=(3, 4, 5), between=(2, 7))

    cfg = Config(Old.at("smoke"), "smoke", (), "cpu", 1)
    assert cfg.hash == "939f34e437c0956d"


def test_hash_ignores_how_a_value_was_written_and_the_machine():
    assert settings(n_seeds="12", sizes="10,20").hash == settings(n_seeds=12, sizes=[10, 20]).hash
    assert settings(workers=1).hash == settings(workers=7).hash


def test_the_environment_says_how_many_workers_where_nobody_else_does(monkeypatch):
    monkeypatch.setenv("DTDA_WORKERS", "5")
    assert settings(workers=None).workers == 5
    assert settings(workers=2).workers == 2
    monkeypatch.setenv("DTDA_WORKERS", "0")
    with pytest.raises(ValueError, match=r"DTDA_WORKERS='?0'? in the environment"):
        settings(workers=None)
    assert settings(n_seeds=12).hash != settings().hash
    assert settings(profile="smoke").hash != settings().hash


def test_name_is_the_profile_until_something_differs():
    assert settings(n_seeds=10).name == "default"
    changed = settings(n_seeds=12)
    assert changed.overridden == ("n_seeds",)
    assert changed.name.startswith("custom-")
    assert len(changed.name) == len("custom-") + 8
    assert changed.name != settings(n_seeds=13).name


def test_start_time_is_no_part_of_equality():
    first, second = settings(), settings()
    assert first.started != second.started
    assert first == second
    assert len({first, second}) == 1


def test_config_is_frozen_and_travels():
    cfg = settings(n_seeds=12)
    with pytest.raises(AttributeError):
        cfg.profile = "paper"
    with pytest.raises(AttributeError, match="n_sedes"):
        _ = cfg.n_sedes
    assert pickle.loads(pickle.dumps(cfg)) == copy.deepcopy(cfg) == cfg


# --- the parameters themselves ----------------------------------------------------------------


def test_parameters_hold_what_is_allowed_and_nothing_else(tmp_path):
    few = Few(sizes="5,6", n_seeds="7", folder=tmp_path)
    assert few.values() == {"sizes": (5, 6), "n_seeds": 7, "folder": str(tmp_path)}
    assert Few() == Few.at("default") != Few.at("paper")
    assert Few.at("smoke").values() == {"sizes": (1,), "n_seeds": 3, "folder": ""}
    with pytest.raises(FrozenInstanceError):
        few.n_seeds = 3
    with pytest.raises(ValueError, match=r"n_seeds=8 in notebook 77_toy .* integer, 2 to 7"):
        Few(n_seeds=8)
    with pytest.raises(ValueError, match=r"folder='/absent' in notebook 77_toy .* folder or .zip"):
        Few(folder="/absent")
    with pytest.raises(ValueError, match=r"profile of notebook 77_toy 'papr'.*'paper'"):
        Few.at("papr")


# --- a notebook's namespace -------------------------------------------------------------------

CELL = {"profile": "smoke", "sizes": None, "n_seeds": None, "folder": None, "device": "cpu"}
IPYTHON = {
    "__name__": "__main__",
    "_": "",
    "_i1": "profile = 3",
    "In": ["", "1"],
    "Out": {},
    "get_ipython": print,
    "exit": object(),
    "quit": object(),
    "open": open,
}


def test_the_cell_is_read_among_what_else_a_namespace_holds():
    others = {"np": np, "Parameters": Few, "configure": configure, "Path": Path}
    cfg = configure(Few, {**IPYTHON, **others, **CELL, "workers": 2, "n_seeds": "5", "sizes": ""})
    assert cfg.parameters == {"sizes": (1,), "n_seeds": 5, "folder": ""}
    assert (cfg.profile, cfg.device, cfg.workers) == ("smoke", "cpu", 2)
    assert (cfg.notebook, cfg.overridden) == ("77_toy", ("n_seeds",))


@pytest.mark.parametrize("value", [3, 0.5, True, None, "3", [3], (3,), {"a": 3}])
def test_a_plain_value_that_is_no_parameter_is_refused(value):
    with pytest.raises(StudyError, match=r"of notebook 77_toy 'n_seed'.*'n_seeds'.*restart"):
        configure(Few, {**IPYTHON, **CELL, "n_seed": value})
    with pytest.raises(StudyError, match=r"'proflie'.*'profile'"):
        configure(Few, {**CELL, "proflie": value})


def test_the_cell_may_be_run_again_after_later_cells():
    cfg = configure(Few, CELL)
    again = configure(Few, {**CELL, "cfg": cfg, "size": 3, "largest": 9, "n_seeds": 6})
    assert again.n_seeds == 6


def test_the_parameters_cell_is_made_from_the_dataclass():
    assert parameters_cell(Few).splitlines() == [
        'profile: str = "default"  # smoke, default or paper; None below: its value',
        "sizes: tuple = None  # how large",
        "n_seeds: int = None  # how many",
        "folder: str = None  # where",
        'device: str = "auto"  # auto, cpu, cuda, cuda:0, mps',
        "workers: int = None  # worker processes on a CPU; None: one per core",
    ]


# --- what is shown ----------------------------------------------------------------------------


def test_settings_show_values_changes_device_and_workers():
    markdown = settings(n_seeds=12, sizes=[10, 20])._repr_markdown_()
    assert "| `n_seeds` | 12 | changed |" in markdown
    assert "| `sizes` | 10, 20 | changed | training points per class" in markdown
    assert (
        "| `n_checkpoints` | 5 | default | late checkpoints that are measured | an integer, "
        in markdown
    )
    assert "device cpu, 2 workers" in markdown


def test_many_settings_are_folded_and_few_are_not():
    assert "<details>" not in settings()._repr_markdown_()
    many = resolve(parameters_of("03_sources_of_noise"), profile="smoke", device="cpu", workers=2)
    table = many._repr_markdown_()
    assert table.partition("\n\n")[0].endswith(
        "<summary>All 20 settings of `smoke`: value, meaning, range</summary>"
    )
    assert "\n\n| setting | value |" in table
    assert table.endswith("</details>\n\ndevice cpu, 2 workers")


def test_a_path_of_a_reader_stays_one_plain_cell(tmp_path):
    folder = tmp_path / "a|b <i> $x$ `c`"
    folder.mkdir()
    cfg = resolve(parameters_of("11_your_own_model"), profile="smoke", folder=str(folder))
    (row,) = [line for line in cfg._repr_markdown_().splitlines() if line.startswith("| `folder`")]
    assert r"a\|b \<i\> \$x\$ \`c\`" in row
    assert row.count("|") - row.count(r"\|") == 6


def test_provenance_prints_and_leaves_a_summary(capsys, monkeypatch):
    shown = []
    fake = SimpleNamespace(
        get_ipython=lambda: True,
        display=SimpleNamespace(display=lambda data, raw: shown.append(data)),
    )
    monkeypatch.setitem(provenance_module.sys.modules, "IPython", fake)
    banks = [
        SimpleNamespace(
            title="leave-one-out",
            stats={"runs_cached": 8, "runs_trained": 2, "seconds": 1.25, "shards": ["ab", "cd"]},
        ),
        SimpleNamespace(
            title="full data",
            stats={"runs_cached": 0, "runs_trained": 5, "seconds": 3.0, "shards": ["ef"]},
        ),
    ]
    claims = [SimpleNamespace(id="B1", status="confirmed")]
    cfg = settings(profile="smoke")
    provenance(cfg, banks, SimpleNamespace(passed=4, total=5, claims=claims))

    printed = capsys.readouterr().out
    assert "leave-one-out: 8 cached, 2 trained, 2 shards, 1.2 s" in printed
    for word in ("python 3.", "torch 2.", "dtda_lib 0.", cfg.hash, "device     cpu"):
        assert word in printed
    assert str(provenance_module.ROOT) not in printed
    (bundle,) = shown
    summary = bundle["application/vnd.dtda.summary+json"]
    assert json.loads(json.dumps(summary)) == {
        "notebook": NOTEBOOK,
        "profile": "smoke",
        "name": "smoke",
        "seconds": summary["seconds"],
        "runs_cached": 8,
        "runs_trained": 7,
        "shards": ["ab", "cd", "ef"],
        "checks_passed": 4,
        "checks_total": 5,
        "claims": {"B1": "confirmed"},
    }
    assert "4 of 5" in bundle["text/plain"]


def test_provenance_works_outside_ipython(capsys, monkeypatch):
    monkeypatch.delitem(provenance_module.sys.modules, "IPython", raising=False)
    provenance(settings())
    assert "checks     0 of 0 passed" in capsys.readouterr().out


def test_git_state_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance_module, "ROOT", tmp_path)
    assert provenance_module.git_state("01_x") == "no git checkout"


def test_only_changes_of_the_source_are_uncommitted_changes(tmp_path, monkeypatch):
    def git(*command):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True)

    def state():
        return provenance_module.git_state("01_x")

    for name in ("dtda_lib/a.py", "notebooks/01_x.ipynb", "notebooks/02_y.ipynb", "figures/f.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as it was")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    monkeypatch.setattr(provenance_module, "ROOT", tmp_path)
    for name in ("notebooks/02_y.ipynb", "figures/f.csv"):  # results of an execution
        (tmp_path / name).write_text("new")
    assert re.fullmatch(r"commit [0-9a-f]{7,}", state())
    for name in ("dtda_lib/b.py", "notebooks/01_x.ipynb"):
        (tmp_path / name).write_text("new")
        assert state().endswith(" with uncommitted changes")
        git("add", ".")
        git("commit", "-qm", "more")
