"""run_all.sh, its set-up, its arguments and the batch run.

They run on a miniature copy of the project whose notebooks only print.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import nbformat
import psutil
import pytest

from dtda_lib import names
from dtda_lib.study import batch, command_line, environment, execution, record
from dtda_lib.study.settings import StudyError, parameters_of, resolve

ROOT = Path(__file__).resolve().parents[2]
RUN_ALL = ROOT / "run_all.sh"
BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
SUMMARY = {
    "runs_cached": 3,
    "runs_trained": 1,
    "shards": ["s1", "s2"],
    "checks_passed": 5,
    "checks_total": 5,
    "claims": {"B1": "confirmed", "R2": "partly"},
}
MIME = "application/vnd.dtda.summary+json"
LIBRARY = (
    "__init__",
    "names",
    "runs/__init__",
    "runs/executors",
    "runs/store",
    "study/__init__",
    "runs/keys/__init__",
    "runs/keys/canonical",
    "study/artefacts",
    "study/batch",
    "study/command_line",
    "study/environment",
    "study/execution",
    "study/markdown",
    "study/parameters",
    "study/provenance",
    "study/record",
    "study/settings",
    "experiments/__init__",
)
EXPERIMENT = """
from dataclasses import dataclass
from dtda_lib.study.parameters import ProfiledParameters, whole_number

@dataclass(frozen=True)
class Parameters(ProfiledParameters, notebook={!r}):
    n_seeds: int = whole_number("runs", at=(2, 3, 9), between=(2, 99))
"""
PARAMETERS = (
    'profile: str = "default"\ndevice: str = "auto"\nworkers: int = None\nn_seeds: int = None'
)


def write_notebook(path, source, title="A title"):
    new = nbformat.v4
    cells = [
        new.new_markdown_cell(f"# {title}\n\nA question."),
        new.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new.new_code_cell(source),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    nbformat.write(new.new_notebook(cells=cells), path)


def finished(extra=""):
    return (
        "import sys, IPython, dtda_lib\n"
        "print(profile, n_seeds, workers, dtda_lib.__file__)\n"
        'print("bank toy: 4 runs", file=sys.stderr)\n'
        f"{extra}\n"
        f"IPython.display.display({{{MIME!r}: {SUMMARY!r}, 'text/plain': 'x'}}, raw=True)"
    )


@pytest.fixture
def project(tmp_path):
    """A checkout in small; a stand-in for torch keeps the kernels and the batch light."""
    (tmp_path / "notebooks").mkdir()
    for module in (f"dtda_lib/{name}.py" for name in LIBRARY):
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / module, tmp_path / module)
    for name in ("01_alpha", "02_beta"):
        folder = tmp_path / "dtda_lib" / "experiments" / name[3:]
        folder.mkdir()
        (folder / "parameters.py").write_text(EXPERIMENT.format(name))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "torch.py").write_text("class cuda:\n    is_available = staticmethod(bool)\n")
    pages = tmp_path / "dtda_lib" / "study" / "pages"
    pages.mkdir()
    (pages / "__init__.py").write_text(
        "from pathlib import Path\n\ndef write():\n    Path('gallery').write_text('new')\n"
    )
    write_notebook(tmp_path / "notebooks" / "01_alpha.ipynb", finished(), "Alpha asks")
    write_notebook(tmp_path / "notebooks" / "02_beta.ipynb", "print('beta')", "Beta asks")
    return tmp_path


def start(project, *arguments):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DTDA_", "PYTHONPATH"))}
    env["DTDA_CACHE"] = str(project / "cache")
    return subprocess.Popen(
        [sys.executable, "-m", "dtda_lib.study.batch", *arguments],
        cwd=project,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(project, *arguments):
    process = start(project, *arguments)
    out, err = process.communicate(timeout=120)
    return SimpleNamespace(code=process.returncode, out=out, err=err)


def rows(text):
    """The final table: notebook -> the other cells."""
    lines = text[text.index("notebook  ") :].splitlines()[1:]
    found = {cells[0]: cells[1:] for cells in (re.split(r"  +", line) for line in lines)}
    return {name: cells for name, cells in found.items() if cells}  # sentences have one cell


def outputs_text(path):
    return "".join(
        output.get("text", "")
        for cell in nbformat.read(path, 4).cells
        for output in cell.get("outputs", ())
    )


def leftovers(project):
    kinds = ("*.part*", "*.tmp")
    return [path.name for kind in kinds for path in project.rglob(kind)]


# --- run_all.sh itself ------------------------------------------------------------------------


def bash(*arguments, script=RUN_ALL, **variables):
    return subprocess.run(
        [str(script), *arguments],
        cwd="/",
        env=BARE | variables,
        capture_output=True,
        text=True,
        timeout=20,
    )


@pytest.mark.parametrize("script", ["run_all.sh", ".ci/run"])
def test_scripts_parse(script):
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_needs_no_environment(option):
    answer = bash(option)
    assert answer.returncode == 0
    assert answer.stdout.startswith("Usage: ./run_all.sh")
    assert answer.stderr == ""


def test_help_knows_every_option():
    text = bash("--help").stdout
    for option in command_line.parser()._option_string_actions:
        assert re.search(rf"^ +.*{option}\b", text, re.MULTILINE), option


@pytest.fixture
def bare(tmp_path):
    """A checkout without environment: its files, and what changed in it since."""
    folder = tmp_path / "checkout"
    (folder / "dtda_lib" / "study").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    shutil.copy(RUN_ALL, folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for module in ("command_line", "environment"):
        shutil.copy(ROOT / "dtda_lib" / "study" / f"{module}.py", folder / "dtda_lib" / "study")
    write_notebook(folder / "notebooks" / "01_alpha.ipynb", "1", "Does alpha matter?")
    write_notebook(folder / "notebooks" / "02_beta.ipynb", "2", "Is beta, too, σ²?")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").write_text(f'#!/bin/sh\nexec {sys._base_executable} "$@"\n')
    (tools / "python3").chmod(0o755)
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}

    def untouched():
        return {p: p.is_file() and p.read_bytes() for p in folder.rglob("*")} == before

    def call(*arguments, **variables):
        path = f"{tools}:{BARE['PATH']}"
        return bash(*arguments, script=folder / "run_all.sh", **{"PATH": path} | variables)

    return SimpleNamespace(folder=folder, call=call, untouched=untouched)


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["--nonsense"], {}, ["--nonsense"]),
        (["--profile", "smoke", "--lits"], {}, ["'--lits'", "'--list'"]),
        (["--list", "-x"], {}, ["-x"]),
        (["--profile"], {}, ["--profile", "--help"]),
        (["--list", "--profile", "smok"], {}, ["'smok'", "'smoke'"]),
        (["1", "-p", "n_sedes=3"], {}, ["'n_sedes'", "'n_seeds'", "01_alpha"]),
        (["1", "-p", "n_seeds="], {}, ["'n_seeds='", "name=value"]),
        (["--list", "3_gamma"], {}, ["'3_gamma'", "01_alpha"]),
        (["--test", "1"], {}, ["--test"]),
        (["--conda"], {}, ["no conda, mamba or micromamba"]),
        (["--list", "--conda"], {}, ["no conda, mamba or micromamba"]),
        ([], {"DTDA_ENV": "conda"}, ["no conda, mamba or micromamba"]),
        ([], {"DTDA_ENV": "docker"}, ["DTDA_ENV='docker'"]),
        ([], {"DTDA_PIP_ARGS": "--pre 'a"}, ["DTDA_PIP_ARGS", "quotation"]),
        ([], {"DTDA_WORKERS": "many"}, ["DTDA_WORKERS", "'many'", "integer"]),
        ([], {"DTDA_CACHE": "OFF "}, ["DTDA_CACHE='OFF '"]),
        ([], {"DTDA_CACHE": " "}, ["DTDA_CACHE=' '"]),
        ([], {"DTDA_CACHE": "~nosuchuser/x"}, ["DTDA_CACHE='~nosuchuser/x'"]),
        ([], {"DTDA_CIFAR10": "~nosuchuser"}, ["DTDA_CIFAR10='~nosuchuser'"]),
        ([], {"DTDA_CACHE": "/dev/null"}, ["DTDA_CACHE='/dev/null' is no folder"]),
        ([], {"DTDA_CACHE": "x" * 5000}, ["DTDA_CACHE='xxx", "...' is no folder"]),
    ],
)
def test_script_refuses_before_any_set_up(bare, arguments, variables, words):
    answer = bare.call(*arguments, **variables)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert [word for word in words if word not in answer.stderr] == []
    assert answer.stdout == ""
    assert bare.untouched()


@pytest.mark.parametrize("arguments", [["--list"], ["--list", "--profile", "paper"]])
def test_list_without_an_environment_sets_nothing_up(bare, arguments):
    answer = bare.call(*arguments)
    assert (answer.returncode, answer.stderr) == (0, "")
    head, first, second, note = answer.stdout.splitlines()
    assert head.split() == ["notebook", "title"]
    assert re.split(r"  +", first) == ["01_alpha", "Does alpha matter?"]
    assert re.split(r"  +", second) == ["02_beta", "Is beta, too, σ²?"]
    assert note.startswith("not set up yet")
    assert bare.untouched()
    assert len(bare.call("--list", "2").stdout.splitlines()) == 3


def test_a_file_where_results_belong_is_refused(bare):
    (bare.folder / ".runs").touch()
    answer = bare.call("1")
    assert answer.returncode == 2
    assert answer.stderr == (
        f"run_all.sh: results cannot be written to {bare.folder / '.runs'}: use a checkout of "
        "your own.\n"
    )
    assert bare.call("--list").returncode == 0


def test_a_read_only_checkout_is_refused(monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / "notebooks" / "01_alpha.ipynb", "1")
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)  # root may write all
    with pytest.raises(command_line.Refusal, match="cannot be written"):
        command_line.read_arguments(["1"], tmp_path)
    assert command_line.read_arguments(["--list"], tmp_path).list


def test_script_refuses_where_no_python_is_new_enough(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "dirname", "env"):
        (tools / tool).symlink_to(shutil.which(tool))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    answer = bash(script=shutil.copy(RUN_ALL, tmp_path), PATH=str(tools))
    assert answer.returncode == 2
    assert "no Python 3.11 or newer" in answer.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run_all.sh", "tools"]


@pytest.fixture
def checkout(tmp_path):
    """run_all.sh beside a pip and a batch that only write down that they were called."""
    (tmp_path / "dtda_lib" / "study").mkdir(parents=True)
    (tmp_path / "dtda_lib" / "study" / "batch.py").write_text(
        "import os, sys\nfolders = map(os.environ.get, ('DTDA_CACHE', 'DTDA_CIFAR10'))\n"
        "print(sys.prefix, sys.argv[1:], *filter(None, folders))\n"
    )
    (tmp_path / "pip.py").write_text(
        "import sys, time\n"
        "if sys.argv[1:]:\n    time.sleep(1)\n    print(sys.argv[1:], file=open('pip.log', 'a'))\n"
    )
    shutil.copy(RUN_ALL, tmp_path)
    for module in ("command_line", "environment"):
        shutil.copy(ROOT / "dtda_lib" / "study" / f"{module}.py", tmp_path / "dtda_lib" / "study")
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / "notebooks" / "01_alpha.ipynb", "1")
    (tmp_path / "pyproject.toml").write_text("first")
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3.14"
    python.write_text(f'#!/bin/sh\nexec {sys._base_executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_set_up_is_made_once_renewed_and_repaired(checkout):
    def call(*arguments, **variables):
        path = f"{checkout / 'bin'}:{BARE['PATH']}"
        return subprocess.Popen(
            [str(checkout / "run_all.sh"), *arguments],
            cwd="/usr",
            env={**BARE, "PATH": path, "DTDA_ENV": "venv", "DTDA_CACHE": "runs", **variables},
            stdout=subprocess.PIPE,
            text=True,
        )

    def installations():
        return len((checkout / "pip.log").read_text().splitlines())

    both = [call("--force", "1"), call("--force", "1")]  # the second waits for the first
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert out == f"{checkout / '.venv'} ['--force', '1'] /usr/runs\n"
    assert installations() == 1
    out, _ = call(DTDA_CIFAR10="images").communicate(timeout=120)
    assert out.endswith(" /usr/runs /usr/images\n")  # of the caller, not of the kernels

    marker = checkout / ".venv" / "marker"
    marker.touch()
    assert call().wait(120) == 0
    assert installations() == 1
    (checkout / "pyproject.toml").write_text("second")
    assert call().wait(120) == 0
    assert call(DTDA_PIP_ARGS="--pre 'a b'").wait(120) == 0
    assert installations() == 3
    assert "'--pre', 'a b', '-e', '.[test,site]'" in (checkout / "pip.log").read_text()
    assert marker.exists()  # renewed, not made anew

    (checkout / ".venv" / "dtda-setup").write_text("unfinished")  # as a killed pip leaves it
    assert call().wait(120) == 0
    assert installations() == 4
    assert not marker.exists()


ABSENT = "no-such-package-of-anybody"


@pytest.mark.parametrize(
    ("dependencies", "absent", "suits"),
    [
        (["numpy>=1", "pytest"], "", {"run", "site", "test"}),
        (["numpy", ABSENT], "", set()),
        (["numpy<1"], "", set()),
        (["numpy"], "study", set()),
        (["numpy"], "site", {"run"}),
        (["numpy"], "test", {"run", "site"}),
    ],
)
def test_an_environment_is_suitable_if_nothing_is_missing(
    tmp_path, monkeypatch, dependencies, absent, suits
):
    project = f"[project]\ndependencies = {dependencies}\n[project.optional-dependencies]\n"
    for extra in ("study", "site", "test"):
        project += f"{extra} = {[ABSENT if extra == absent else 'ruff']}\n"
    (tmp_path / "pyproject.toml").write_text(project)
    spec = SimpleNamespace(origin=str(tmp_path / "dtda_lib" / "__init__.py"))
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: spec)
    assert {
        need for need in ("run", "site", "test") if environment.suitable(tmp_path, need)
    } == suits
    for other in (str(tmp_path / "elsewhere" / "dtda_lib" / "__init__.py"), None):
        spec.origin = other
        assert not environment.suitable(tmp_path, "run")
    spec = None  # no dtda_lib at all
    assert not environment.suitable(tmp_path, "run")


def test_a_set_up_that_cannot_write_or_fails_says_so(tmp_path, monkeypatch, capsys):
    (tmp_path / ".runs").touch()
    assert environment.main(["install", str(tmp_path)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "cannot write" in told
    assert str(tmp_path / ".runs") in told
    (tmp_path / ".runs").unlink()
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(environment.subprocess, "call", lambda *_, **__: 1)
    assert environment.install(tmp_path) == 1
    assert "the set-up of .venv failed" in capsys.readouterr().err
    stamp = tmp_path / ".venv" / "dtda-setup"
    assert stamp.read_text() == environment.UNFINISHED


@pytest.mark.slow
def test_a_suitable_active_environment_is_used_as_it_is():
    python, file = f"{sys.prefix}/bin/python", str(ROOT / "dtda_lib" / "study" / "environment.py")
    if subprocess.run([python, "-P", file, "suitable", str(ROOT), "run"], env=BARE).returncode:
        pytest.skip("the environment of these tests has not installed this checkout")
    answer = bash("--list", VIRTUAL_ENV=sys.prefix)
    assert answer.returncode == 0, answer.stderr
    assert re.match("notebook +state +cache +seconds", answer.stdout)


# --- refusals of the batch --------------------------------------------------------------------


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """Call the batch here, with two notebooks, and return the sentence it refuses with."""
    for name in ("01_noise_vs_influence", "02_other", "02_another"):
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", "1")
    monkeypatch.setattr(batch, "ROOT", tmp_path)
    monkeypatch.setattr(execution, "run", lambda *_: pytest.fail("a process was started"))
    kept = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def refuse(*arguments):
        assert batch.main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        return err

    yield refuse
    for name, handler in kept.items():
        signal.signal(name, handler)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lits"], ["'--lits'", "--list"]),
        (["--profile", "smok"], ["'smok'", "'smoke'"]),
        (["--profile"], ["--profile", "--help"]),
        (["9"], ["'9'", "01_noise_vs_influence"]),
        (["01_nose"], ["'01_nose'", "01_noise_vs_influence"]),
        (["02"], ["02_other", "02_another"]),
        (["02_o"], ["notebook", "02_other"]),
        (["1", "-p", "n_sedes=3"], ["'n_sedes'", "'n_seeds'"]),
        (["1", "-p", "n_seeds=one"], ["n_seeds='one'", "integer"]),
        (["1", "-p", "n_seeds"], ["n_seeds", "name=value"]),
        (["1", "-p", "n_seeds="], ["n_seeds", "name=value"]),
        (["1", "-p", "n_seeds=１２"], ["n_seeds='１２'", "integer"]),
        (["1", "-p", "=3"], ["'=3'", "no name", "name=value"]),
        ([""], ["'' names no notebook"]),
        (["notebooks/"], ["'notebooks/' names no notebook"]),
        (["1", " "], ["' ' names no notebook"]),
        (["1", "-p", "_seeds=3"], ["'_seeds'", "'n_seeds'"]),
        (["1", "-p", "profile=smoke"], ["--profile smoke"]),
        (["1", "-p", "n_seeds= "], ["n_seeds", "name=value"]),
        (["1", "-p", "N_SEEDS=3"], ["'N_SEEDS'", "mean 'n_seeds'"]),
        (["1", "-p", "n_seeds=3", "-p", "n_seeds=3"], ["'n_seeds' is given twice"]),
        (["1", "--workers", "1", "--workers", "2"], ["--workers is given twice"]),
        (["1", "--profile", "smoke", "--profile", "paper"], ["--profile is given twice"]),
        (["1", "--device", "cpu", "--device", "auto"], ["--device is given twice"]),
        (["1", "-p", "sizes=20"], ["parameter of notebook 01_noise_vs_influence", "'sizes'"]),
        (["１"], ["unknown notebook '１'"]),
        (["9" * 5000], ["unknown notebook '999", "..."]),
        (["-p", "x" * 5000], ["xxx...'", "name=value"]),
        (["--profile", "smok" * 1000], ["unknown profile 'smok", "..."]),
        (["1", "-p", f"n_seeds={'9' * 5000}"], ["n_seeds='999", "..."]),
        (["1", "--device", "cpu" * 1000], ["device='cpucpu", "..."]),
        (["1", "--workers", "0"], ["workers", "'0'"]),
        (["1", "--workers", "two"], ["workers", "'two'"]),
        (["1", "--workers", "１"], ["workers", "'１'"]),
        (["1", "--device", "cuda:１"], ["device='cuda:１'"]),
        (["1", "--workers", "-1"], ["--workers"]),
        (["1", "--workers", "10001"], ["workers", "10000"]),
        (["1", "--workers="], ["workers", "''"]),
        (["1", "--device", "gpu"], ["device='gpu'"]),
        (["1", "--device", "cuda:99"], ["device='cuda:99'"]),
        (["1", "--update", "-p", "n_seeds=5"], ["--update", "-p"]),
        (["1", "--bless", "--workers", "1"], ["--bless", "--workers"]),
        (["--test", "1"], ["--test"]),
        (["--test", "--force"], ["--test"]),
        (["--test", "-p", "n_seeds=3"], ["--test"]),
    ],
)
def test_batch_refuses_in_one_sentence(refusal, arguments, words):
    message = refusal(*arguments)
    assert len(message) < 500
    assert [word for word in words if word not in message] == []


def test_missing_notebooks_folder_is_refused(refusal, monkeypatch, tmp_path):
    monkeypatch.setattr(batch, "ROOT", tmp_path / "absent")
    assert "no notebooks folder" in refusal()


def test_a_foreign_package_is_refused(refusal, monkeypatch, tmp_path):
    (tmp_path / "dtda_lib").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "imported from elsewhere" in refusal()


@pytest.mark.parametrize("wanted", ["1", "01", "01_n", "01_noise_vs_influence.ipynb"])
def test_selection(refusal, tmp_path, wanted):
    found = command_line.select([wanted], tmp_path / "notebooks")
    assert [path.stem for path in found] == ["01_noise_vs_influence"]
    assert len(command_line.select([], tmp_path / "notebooks")) == 3


def test_a_notebook_may_be_named_by_its_path_and_twice(refusal, monkeypatch, tmp_path):
    folder = tmp_path / "notebooks"
    monkeypatch.chdir(folder)
    names = ("01_noise_vs_influence", "./01_noise_vs_influence.ipynb", "../notebooks/01_noise")
    for name in (*names, str(folder / "01_noise_vs_influence.ipynb")):
        assert [p.stem for p in command_line.select([name, "1"], folder)] == [names[0]]
    for elsewhere in ("/01_noise_vs_influence.ipynb", "figures/01_noise_vs_influence.ipynb"):
        with pytest.raises(command_line.Refusal, match="did you mean '01_noise_vs_influence'"):
            command_line.select([elsewhere], folder)


def test_a_damaged_notebook_and_one_without_parameters_are_refused(refusal, tmp_path):
    path = tmp_path / "notebooks" / "01_noise_vs_influence.ipynb"
    path.write_text(path.read_text().replace('"parameters"', '"other"'))
    assert "no cell tagged parameters" in refusal("1", "-p", "n_seeds=3")
    path.write_text("<<<<<<< HEAD")
    assert "01_noise_vs_influence.ipynb is no notebook" in refusal("1", "-p", "n_seeds=3")


def test_options_may_stand_between_notebooks(bare):
    given = ["1", "--profile", "smoke", "2", "-p", "n_seeds=a=b"]
    args = command_line.read_arguments([*given, "--workers", "2"], bare.folder)
    assert [path.stem for path in args.notebooks] == ["01_alpha", "02_beta"]
    assert (args.profile, args.workers, args.parameters) == ("smoke", 2, {"n_seeds": "a=b"})


@pytest.mark.parametrize("given", ["n_seeds=3", "n_seeds = 3", " n_seeds=3 "])
def test_blanks_around_a_parameter_are_of_no_account(bare, given):
    assert command_line.read_arguments(["1", "-p", given], bare.folder).parameters == {
        "n_seeds": "3"
    }


def test_checks_take_workers_and_conda(bare):
    args = command_line.read_arguments(["--test", "--workers", "2", "--conda"], bare.folder)
    assert (args.test, args.workers, args.conda) == (True, 2, True)


def test_the_grammar_agrees_with_the_study():
    """What it repeats, as it must not import dtda_lib, is the same."""
    assert command_line.PROFILE_NAMES == names.PROFILE_NAMES
    for name in ("lits", "xyz"):
        known = ("--list", "--test")
        assert command_line.unknown_argument("option", name, known) == names.unknown(
            "option", name, known
        )
    for word in ("auto", "cpu", "cuda", "cuda:1", "mps", "gpu", "cuda:", "CPU"):
        said = ""
        try:
            resolve(parameters_of("01_noise_vs_influence"), profile="smoke", device=word)
        except StudyError as error:
            said = str(error)
        given = ["--device", word]
        if "no device" in said:
            with pytest.raises(command_line.Refusal, match="no device"):
                command_line.parser().parse_args(given)
        else:
            assert command_line.parser().parse_args(given).device == word
    for number, fine in {"1": True, "10000": True, "0": False, "10001": False}.items():
        for read in (
            lambda n: resolve(parameters_of("01_noise_vs_influence"), profile="smoke", workers=n),
            lambda n: command_line.parser().parse_args(["--workers", n]),
        ):
            if fine:
                assert read(number).workers == int(number)
            else:
                with pytest.raises(ValueError, match=f"workers='{number}'"):
                    read(number)


# --- --test -----------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [None, "ruff", "--nbval-lax", "dtda_lib.study.batch"])
@pytest.mark.parametrize("workers", [None, 1])
def test_every_check_runs_whatever_fails(monkeypatch, capsys, broken, workers):
    calls = []

    def run(commands, env, at_once, *, folder):
        assert at_once == (workers or min(8, batch.available_cores()))
        cache = env.get("DTDA_CACHE")
        assert cache is None or not Path(cache).exists()
        assert env.get("DTDA_WORKERS") == env.get("OMP_NUM_THREADS") == (cache and "1")
        calls.append(([command[2:] for command in commands], cache, folder))
        return int(any(broken in command for command in commands))

    for name in ("DTDA_CACHE", "DTDA_WORKERS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(execution, "run_together", run)
    monkeypatch.setattr(batch, "copy_checkout", lambda folder: folder)
    assert batch.test(workers) == int(broken is not None)
    told = capsys.readouterr()
    names = ["lint", "format", "tests", "smoke", "notebooks"]
    table = rows(told.out.replace("check  ", "notebook  "))
    assert [name for name in table if name in names] == names
    assert all(seconds == "0" for _, seconds in (table[name] for name in names))
    failed = {
        "ruff": ["lint", "format"],
        "--nbval-lax": ["notebooks"],
        "dtda_lib.study.batch": ["smoke"],
    }
    assert [name for name in names if table[name][0] == "FAILED"] == failed.get(broken, [])
    assert ("failed: " in told.err) == (broken is not None)

    commands, caches, folders = zip(*calls)
    at_once = str(workers or min(8, batch.available_cores()))
    by_file, by_notebook = (
        ["-n", at_once, "--dist", by, "--no-loadscope-reorder"] for by in ("loadfile", "loadscope")
    )
    assert commands[2] == [["pytest", "--hypothesis-profile=ci", *by_file, "tests"]]
    smoke = ["dtda_lib.study.batch", "--profile", "smoke"]
    assert all(command[:-1] == smoke for command in commands[3] + commands[4])
    last = ["12_scoreboard"]  # it shows what the others have exported
    assert sorted(command[-1] for command in commands[4]) == last
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {command[-1] for command in commands[3]} == names - set(last)
    assert len(commands[3]) == len(names) - 1
    assert commands[5][0][-6:] == ["notebooks", *by_notebook]
    assert caches[:3] == (None,) * 3
    assert caches[3] == caches[4]
    assert None not in caches[3:]
    assert caches[4] != caches[5]
    assert folders[:3] + folders[5:] == (ROOT,) * 4
    assert folders[3] == folders[4] == Path(caches[3]).parent / "copy"
    assert not Path(caches[3]).parent.exists()


def test_commands_run_together_as_far_as_told(tmp_path):
    def command(name, code, waits_for=""):
        wait = f"while not pathlib.Path('{waits_for}').exists(): time.sleep(0.01)"
        text = f"import pathlib, sys, time\nopen('{name}', 'w').close()\n"
        return [sys.executable, "-c", text + (wait if waits_for else "") + f"\nsys.exit({code})"]

    env = dict(os.environ)
    both = [command("a", 0, "b"), command("b", 3)]  # the first ends only once the second has begun
    assert execution.run_together(both, env, 2, folder=tmp_path) == 3
    last = [command("d", 4), command("e", 0)]  # one that failed keeps none from ending
    assert execution.run_together(last, env, 1, folder=tmp_path) == 4
    assert (tmp_path / "e").exists()
    (tmp_path / "b").unlink()
    assert execution.run_together([command("b", 0), command("c", 0)], env, 1, folder=tmp_path) == 0
    assert (tmp_path / "c").exists()


def test_commands_that_run_together_stop_together(tmp_path, monkeypatch):
    started, start = [], execution._start
    monkeypatch.setattr(execution, "_start", lambda *a: started.append(start(*a)) or started[-1])

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(execution.time, "sleep", interrupt)
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(KeyboardInterrupt):
        execution.run_together([sleep] * 3, dict(os.environ), 2, folder=tmp_path)
    assert len(started) == 2
    assert not any(psutil.pid_exists(process.pid) for process in started)


def test_checks_draw_the_same_examples_each_time():
    assert hypothesis.settings.get_profile("ci").derandomize
    chosen = bool(os.environ.get("CI") or os.environ.get("DTDA_CHECK"))
    assert hypothesis.settings().derandomize or not chosen


def test_checks_without_notebooks_say_so(monkeypatch, capsys):
    monkeypatch.setattr(execution, "run_together", lambda *_, **__: 0)
    monkeypatch.setattr(command_line, "select", lambda *_: [])
    assert batch.test(None) == 0
    assert "there is no notebook yet" in capsys.readouterr().out


def test_the_copy_has_what_runs_need_and_no_results_of_others(monkeypatch, tmp_path):
    here = tmp_path / "here"
    kept = {"dtda_lib/a.py", "dtda_lib/data/x.npz", "notebooks/01_a.ipynb", "pyproject.toml"}
    kept |= {"figures/paper/F.csv", "figures/default/F.csv", "tests/reference/01_a.json"}
    kept |= {"tests/benchmarks/a.json", "docs/a.md"}  # any file may be read by a notebook
    left = {".runs/smoke/01_a.json", ".venv/x", "figures/smoke/F.csv", "figures/custom-1/F.csv"}
    left |= {"notebooks/.ipynb_checkpoints/x", "dtda_lib/__pycache__/a.pyc", "build/a"}
    for name in kept | left:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    monkeypatch.setattr(batch, "ROOT", here)
    copy = batch.copy_checkout(tmp_path / "copy")
    files = [path for path in copy.rglob("*") if path.is_file()]
    assert {path.relative_to(copy).as_posix() for path in files} == kept


# --- pieces -----------------------------------------------------------------------------------


def test_environment_is_this_interpreters_and_quiet(monkeypatch):
    monkeypatch.setenv("DTDA_BLESS", "1")
    monkeypatch.setenv("DTDA_CHECK", "1")
    monkeypatch.setenv("JUPYTER_PATH", "/somewhere/else")
    env = execution.environment()
    assert not {"DTDA_BLESS", "DTDA_CHECK"} & set(env)
    assert env["JUPYTER_PATH"].startswith(sys.prefix)
    assert env["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    assert env["DTDA_BATCH"] == env["JUPYTER_PREFER_ENV_PATH"] == "1"


@pytest.mark.parametrize(
    ("trouble", "attempts"),
    [("Kernel died before replying to kernel_info", 3), ("NameError: x", 1)],
)
def test_only_trouble_at_the_start_of_a_kernel_is_retried(tmp_path, monkeypatch, trouble, attempts):
    calls = []

    def run_papermill(job, part, log, env, say):
        calls.append(part)
        log.write_text(trouble)
        return 1

    notebook = tmp_path / "01_alpha.ipynb"
    write_notebook(notebook, "1")
    monkeypatch.setattr(execution, "ROOT", tmp_path)
    monkeypatch.setattr(execution, "_library", list)
    monkeypatch.setattr(execution, "run_papermill", run_papermill)
    config = SimpleNamespace(name="smoke", hash="h", device="cpu")
    outcome = execution.execute(execution.NotebookJob(notebook, config, {}), {}, print)
    assert len(calls) == attempts
    assert trouble in outcome.error
    assert ".runs/smoke/01_alpha.log" in outcome.error


# --- with kernels -----------------------------------------------------------------------------


@pytest.mark.slow
def test_skip_rerun_and_list(project):
    first = call(project)
    assert first.code == 0, first.err
    assert "  bank toy: 4 runs" in first.out
    assert rows(first.out)["01_alpha"][0] == "done"
    assert rows(first.out)["01_alpha"][2:] == ["3 of 4", "5 of 5", "1 confirmed, 1 partly"]
    assert rows(first.out)["02_beta"][2:] == ["-", "-", "-"]
    executed = project / ".runs" / "default" / "01_alpha.ipynb"
    assert outputs_text(executed).startswith(f"default None None {project / 'dtda_lib'}")
    tags = [cell.metadata.get("tags", []) for cell in nbformat.read(executed, 4).cells]
    assert ["injected-parameters"] not in tags
    assert leftovers(project) == []

    second = call(project)  # up to date: the numbers come from the record
    assert {cells[0] for cells in rows(second.out).values()} == {"up to date"}
    assert rows(second.out)["01_alpha"][2:] == rows(first.out)["01_alpha"][2:]
    assert rows(call(project, "--force", "2").out)["02_beta"][0] == "done"

    shard = project / "cache" / "shards" / "s1" / "s1.safetensors"
    shard.parent.mkdir(parents=True)
    shard.touch()
    write_notebook(project / "notebooks" / "02_beta.ipynb", "print('gamma')", "Beta asks")
    (project / "tests" / "reference").mkdir(parents=True)
    costs = {"01_alpha": {"smoke": 12.3, "paper": 99}}
    (project / "tests" / "reference" / "costs.json").write_text(json.dumps(costs))
    listed = rows(call(project, "--list").out)
    assert listed["01_alpha"] == ["up to date", "1/2 shards cached", "12 / - / 99", "Alpha asks"]
    assert listed["02_beta"] == ["stale", "-", "- / - / -", "Beta asks"]
    assert rows(call(project, "--list", "--profile", "smoke").out)["02_beta"][0] == "never run"

    third = rows(call(project).out)  # only the changed notebook runs
    assert (third["01_alpha"][0], third["02_beta"][0]) == ("up to date", "done")
    assert outputs_text(project / ".runs" / "default" / "02_beta.ipynb") == "gamma\n"

    with (project / "dtda_lib" / "names.py").open("a") as file:
        file.write("# a change of the library\n")
    assert rows(call(project, "--list").out)["01_alpha"][0] == "stale"


@pytest.mark.slow
def test_parameters_arrive_typed_in_a_folder_of_their_own(project):
    result = call(project, "1", "--profile", "smoke", "-p", "n_seeds=7", "--workers", "1")
    assert result.code == 0, result.err
    (executed,) = (project / ".runs").glob("custom-*/01_alpha.ipynb")
    assert outputs_text(executed).startswith("smoke 7 1 ")


@pytest.mark.slow
def test_a_failure_is_told_and_the_next_notebook_runs(project):
    write_notebook(project / "notebooks" / "01_alpha.ipynb", "raise KeyError('no such thing')")
    result = call(project)
    assert result.code == 1
    assert "KeyError: 'no such thing'" in result.err
    assert "log: .runs/default/01_alpha.log" in result.err
    assert rows(result.out)["01_alpha"][0] == "FAILED"
    assert rows(result.out)["02_beta"][0] == "done"
    assert not (project / ".runs" / "default" / "01_alpha.ipynb").exists()
    assert leftovers(project) == []
    assert rows(call(project, "--list").out)["01_alpha"][0] == "never run"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stop_leaves_no_process_and_no_part(project, name):
    pids = project / "pids"
    source = (
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}} end')\n"
        "time.sleep(600)"
    )
    write_notebook(project / "notebooks" / "01_alpha.ipynb", source)
    process = start(project)
    deadline = time.monotonic() + 60
    while not (pids.exists() and pids.read_text().endswith("end")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    below = psutil.Process(process.pid).children(recursive=True)
    kernel, worker = map(int, pids.read_text().split()[:2])
    assert {kernel, worker} <= {child.pid for child in below}

    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped" in err
    assert "Traceback" not in err
    assert not [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert leftovers(project) == []
    assert not (project / ".runs" / "default" / "01_alpha.ipynb").exists()


@pytest.mark.slow
def test_update_cleans_and_replaces_and_records_costs(project):
    committed = project / "notebooks" / "02_beta.ipynb"
    assert call(project, "--update", "2").code == 0
    first = committed.read_bytes()
    content = nbformat.reads(first.decode(), 4)
    assert outputs_text(committed) == "beta\n"
    assert content.metadata.kernelspec == {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    assert b"papermill" not in first
    assert "version" not in content.metadata.language_info
    assert all("execution" not in cell.metadata for cell in content.cells)
    assert [c.execution_count for c in content.cells if c.cell_type == "code"] == [1, 2]
    assert (project / "gallery").read_text() == "new"
    costs = json.loads((project / "tests" / "reference" / "costs.json").read_text())
    assert costs["02_beta"]["default"] > 0
    on_record = json.loads((project / "tests" / "reference" / "outputs.json").read_text())
    assert on_record["02_beta"] == record.record_of(committed)

    again = call(project, "--update", "2")  # executed again, and byte for byte the same
    assert rows(again.out)["02_beta"][0] == "done"
    assert committed.read_bytes() == first
    assert rows(call(project, "2").out)["02_beta"][0] == "up to date"

    warm = call(project, "--update", "1")  # its summary names runs from the cache
    assert "cost not recorded" in warm.out
    costs = project / "tests" / "reference" / "costs.json"
    assert "01_alpha" not in json.loads(costs.read_text())
    before = committed.read_bytes()
    assert call(project, "--update", "--profile", "smoke", "2").code == 0
    assert committed.read_bytes() == before
    assert json.loads(costs.read_text())["02_beta"].keys() == {"default", "smoke"}
    assert leftovers(project) == []


@pytest.mark.slow
def test_update_of_a_changed_checkout_says_so_first(project):
    def git(*arguments):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=project, check=True, capture_output=True)

    git("init")
    (project / ".gitignore").write_text(".runs\ncache\n__pycache__\n")
    git("add", ".")
    git("commit", "-m", "x")
    assert "note: " not in call(project, "--update", "2").out
    git("add", ".")
    git("commit", "-m", "y")
    (project / "dtda_lib" / "names.py").open("a").write("# changed\n")
    told = call(project, "--update", "2").out.splitlines()[0]
    assert told.startswith("note: dtda_lib/names.py has uncommitted changes")
    assert "note: " not in call(project, "2").out


@pytest.mark.slow
def test_update_drops_stderr_and_tells_of_warnings(project):
    write_notebook(
        project / "notebooks" / "02_beta.ipynb",
        "import sys, warnings\nprint('bank toy: 4 runs', file=sys.stderr)\nprint('beta')\n"
        "warnings.warn('the cache is full')",
    )
    result = call(project, "--update", "2")
    assert result.code == 0, result.err
    assert outputs_text(project / "notebooks" / "02_beta.ipynb") == "beta\n"
    (note,) = [line for line in result.out.splitlines() if line.startswith("  note:")]
    assert "cell [2] (import sys, warnings)" in note
    assert "the cache is full" in note
    assert "note:" not in call(project, "--update", "1").out
    assert "bank toy" not in outputs_text(project / "notebooks" / "01_alpha.ipynb")


@pytest.mark.slow
def test_bless_reaches_the_kernel(project):
    write_notebook(
        project / "notebooks" / "02_beta.ipynb", "import os\nprint(os.environ.get('DTDA_BLESS'))"
    )
    assert call(project, "2", "--bless").code == 0
    assert outputs_text(project / ".runs" / "default" / "02_beta.ipynb") == "1\n"


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_smoke_runs_in_a_copy_and_leaves_the_checkout_alone(project, fails):
    """--test with stand-ins of ruff and pytest, so that only the notebooks at smoke really run."""
    for tool in ("ruff", "pytest", "xdist"):
        (project / f"{tool}.py").write_text("")
    source = f"import dtda_lib, os\nassert os.getcwd() != {str(project / 'notebooks')!r}\n"
    source += f"assert not dtda_lib.__file__.startswith({str(project)!r})\n"
    source += f"assert os.environ['DTDA_CACHE'] != {str(project / 'cache')!r}\n"
    source += "open('../figures/smoke.txt', 'w').write(profile)\n"
    source += "assert (profile, os.environ['DTDA_WORKERS']) == ('smoke', '1')\n"
    (project / "figures" / "default").mkdir(parents=True)
    (project / "figures" / "default" / "x.csv").write_text("1")
    write_notebook(project / "notebooks" / "01_alpha.ipynb", source + ("1 / 0" if fails else ""))
    skipped = ("__pycache__",)
    files = {p for p in project.rglob("*") if not any(part in skipped for part in p.parts)}
    result = call(project, "--test", "--workers", "1")
    assert result.code == int(fails), result.err + result.out
    assert ("ZeroDivisionError" in result.err) == fails
    assert re.search(rf"^smoke +{'FAILED' if fails else 'passed'} +\d+$", result.out, re.MULTILINE)
    assert "01_alpha" in result.out
    after = {p for p in project.rglob("*") if not any(part in skipped for part in p.parts)}
    assert after == files


@pytest.mark.slow
def test_an_edit_during_the_run_is_not_overwritten(project):
    path = project / "notebooks" / "02_beta.ipynb"
    source = (
        f"import pathlib\npath = pathlib.Path({str(path)!r})\n"
        "_ = path.write_text(path.read_text().replace('Beta asks', 'Edited'))"
    )
    write_notebook(path, source, "Beta asks")
    result = call(project, "--update", "2")
    assert result.code == 1
    assert "edited while it ran" in result.err
    assert "# Edited" in path.read_text()
