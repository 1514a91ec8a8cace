"""run_all.sh and the batch run, on a miniature copy of the project whose notebooks only print."""

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

import nbformat
import psutil
import pytest

from dtda_lib.study import batch, execution

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
    *("__init__", "artefacts", "batch", "execution", "executors", "names", "provenance", "store"),
    "study",
)
PROFILES = """
PROFILES.clear()
for _name in ("01_alpha", "02_beta"):
    PROFILES[_name] = {p: {"n_seeds": n} for p, n in (("smoke", 2), ("default", 3), ("paper", 9))}
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
    for folder in ("dtda_lib", "notebooks"):
        (tmp_path / folder).mkdir()
    for module in LIBRARY:
        shutil.copy(ROOT / "dtda_lib" / f"{module}.py", tmp_path / "dtda_lib")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "dtda_lib" / "study.py").open("a") as file:
        file.write(PROFILES)
    (tmp_path / "torch.py").write_text("class cuda:\n    is_available = staticmethod(bool)\n")
    (tmp_path / "dtda_lib" / "figures.py").write_text(
        "from pathlib import Path\n\ndef write_gallery():\n    Path('gallery').write_text('new')\n"
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
    return [path.name for path in project.rglob("*.part*")]


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


def test_help_and_script_know_every_option_of_the_batch():
    text, script = bash("--help").stdout, RUN_ALL.read_text()
    for option in batch.parser()._option_string_actions:
        assert re.search(rf"^ +.*{option}\b", text, re.MULTILINE), option
        assert re.search(rf"[( |]{option}( \||\)|=)", script), option


@pytest.mark.parametrize(
    ("arguments", "variables", "word"),
    [
        (["--nonsense"], {}, "--nonsense"),
        (["--profile", "smoke", "--lsit"], {}, "--lsit"),
        (["--list", "-x"], {}, "-x"),
        (["--profile"], {}, "--profile needs a value"),
        (["--conda"], {}, "no conda, mamba or micromamba"),
        ([], {"DTDA_ENV": "conda"}, "no conda, mamba or micromamba"),
        ([], {"DTDA_ENV": "docker"}, "DTDA_ENV=docker"),
    ],
)
def test_script_refuses_before_any_set_up(arguments, variables, word, tmp_path):
    script = shutil.copy(RUN_ALL, tmp_path)
    answer = bash(*arguments, script=script, **variables)
    assert answer.returncode == 2
    assert word in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run_all.sh"]


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


@pytest.fixture
def checkout(tmp_path):
    """run_all.sh beside a pip and a batch that only write down that they were called."""
    (tmp_path / "dtda_lib").mkdir()
    (tmp_path / "dtda_lib" / "batch.py").write_text(
        "import os, sys\nfolders = map(os.environ.get, ('DTDA_CACHE', 'DTDA_CIFAR10'))\n"
        "print(sys.prefix, sys.argv[1:], *filter(None, folders))\n"
    )
    (tmp_path / "pip.py").write_text(
        "import sys, time\n"
        "if sys.argv[1:]:\n    time.sleep(1)\n    print(sys.argv[1:], file=open('pip.log', 'a'))\n"
    )
    shutil.copy(RUN_ALL, tmp_path)
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
    assert "'--pre', 'a b', '-e', '.[test]'" in (checkout / "pip.log").read_text()
    assert marker.exists()  # renewed, not made anew

    (checkout / ".venv" / "dtda-setup").write_text("unfinished")  # as a killed pip leaves it
    assert call().wait(120) == 0
    assert installations() == 4
    assert not marker.exists()


@pytest.mark.slow
def test_a_suitable_active_environment_is_used_as_it_is():
    answer = bash("--list", VIRTUAL_ENV=sys.prefix)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("notebook ")


# --- refusals of the batch --------------------------------------------------------------------


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """Call the batch here, with two notebooks, and return the sentence it refuses with."""
    for name in ("01_noise_vs_influence", "02_other", "02_another"):
        write_notebook(tmp_path / f"{name}.ipynb", "1")
    monkeypatch.setattr(batch, "NOTEBOOKS", tmp_path)
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
        (["1", "-p", "profile=smoke"], ["--profile smoke"]),
        (["1", "-p", "sizes=20"], ["parameters cell", "'sizes'"]),
        (["1", "--workers", "0"], ["workers", "'0'"]),
        (["1", "--device", "gpu"], ["device='gpu'"]),
        (["1", "--update", "-p", "n_seeds=5"], ["--update", "-p"]),
        (["1", "--bless", "--workers", "1"], ["--bless", "--workers"]),
        (["--test", "1"], ["--test"]),
        (["--test", "--force"], ["--test"]),
    ],
)
def test_batch_refuses_in_one_sentence(refusal, arguments, words):
    message = refusal(*arguments)
    assert [word for word in words if word not in message] == []


def test_missing_notebooks_folder_is_refused(refusal, monkeypatch, tmp_path):
    monkeypatch.setattr(batch, "NOTEBOOKS", tmp_path / "absent")
    assert "no notebooks folder" in refusal()


def test_a_foreign_package_is_refused(refusal, monkeypatch, tmp_path):
    (tmp_path / "dtda_lib").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "imported from elsewhere" in refusal()


@pytest.mark.parametrize("wanted", ["1", "01", "01_n", "01_noise_vs_influence.ipynb"])
def test_selection(refusal, wanted):
    assert [path.stem for path in batch.select([wanted])] == ["01_noise_vs_influence"]
    assert len(batch.select([])) == 3


# --- --test -----------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [None, "ruff", "nbval"])
def test_every_check_runs_whatever_fails(monkeypatch, capsys, tmp_path, broken):
    calls = []

    def run(command, env):
        cache = env.get("DTDA_CACHE")
        calls.append((" ".join(command[2:4]), cache, cache and list(Path(cache).iterdir())))
        return int(broken is not None and broken in " ".join(command))

    monkeypatch.delenv("DTDA_CACHE", raising=False)
    monkeypatch.setattr(execution, "run", run)
    monkeypatch.setattr(batch, "select", lambda _: ["some"])
    assert batch.test() == int(broken is not None)
    names = ["ruff check", "ruff format", "pytest -n", "pytest --nbval-lax"]
    assert [name for name, *_ in calls] == names
    *_, (_, cache, content) = calls
    assert [used for _, used, _ in calls[:-1]] == [None, None, None]
    assert content == []
    assert not Path(cache).exists()
    assert ("FAILED" in capsys.readouterr().out) == (broken is not None)


def test_check_of_notebooks_says_when_there_is_none(monkeypatch, capsys):
    monkeypatch.setattr(execution, "run", lambda *_: 0)
    monkeypatch.setattr(batch, "select", lambda _: [])
    assert batch.test() == 0
    assert "there is no notebook yet" in capsys.readouterr().out


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
