#!/usr/bin/env bash
# Usage: ./run_all.sh [options] [notebook ...]
#
# Sets up an environment if there is none, then executes the notebooks, one after the other. What is
# up to date is skipped; what was interrupted continues where it stopped. Notebooks are named by
# number (1), beginning (01_noise) or full name; without a name all are executed. Results go to
# .runs/<profile>/ and figures/<profile>/.
#
#   --profile NAME    smoke (does every cell run?), default, or paper (the published sizes)
#   -p NAME=VALUE     change one parameter; repeatable. Results go to .runs/custom-<hash>/
#   --workers N       processes that train (default: the number of cores)
#   --device NAME     auto, cpu, cuda, cuda:N or mps (default: auto)
#   --force           run notebooks that are up to date, too
#   --list            show the notebooks, their state, cached shards and measured seconds
#   --update          replace committed notebooks, figures and README results by what is executed
#   --bless           rewrite the reference values of this profile
#   --test            lint, tests, and a check of all notebooks from an empty cache
#   --conda           use the conda environment dtda-study (made from environment.yml)
#   -h, --help        show this text
#
# The environment is the active one (or the python on PATH) if it has all that pyproject.toml asks
# for; an active environment is never changed. Otherwise it is .venv in this folder, made on the
# first call. DTDA_ENV=conda does the same as --conda, DTDA_ENV=venv takes .venv in any case.
#
# Variables: DTDA_PIP_ARGS holds further arguments of the pip install into .venv. On Linux pip
# brings a torch with gigabytes of CUDA; if you have no GPU, give --extra-index-url and the CPU index
# that pytorch.org names, or pin a CPU build. DTDA_CACHE is where trained runs are kept ("off":
# nowhere). DTDA_CIFAR10 is a folder with the images of CIFAR-10, which notebook 03 takes at paper.
#
# Exit codes: 0 success, 1 a notebook or check failed, 2 refused, 130 interrupted.

set -euo pipefail

refuse() {
    echo "run_all.sh: $1" >&2
    exit 2
}

help() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$ROOT/run_all.sh"
}

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"

# Options are checked before the set-up, which may take minutes; their values are checked later.
needs="run"
environment="${DTDA_ENV:-}"
arguments=()
value_of=""
for argument in "$@"; do
    if [ -n "$value_of" ]; then
        value_of=""
    else
        case "$argument" in
            -h | --help) help; exit 0 ;;
            --conda) environment="conda"; continue ;;
            --test) needs="test" ;;
            -p | --profile | --workers | --device) value_of="$argument" ;;
            -p?* | --profile=* | --workers=* | --device=*) ;;
            --force | --list | --update | --bless) ;;
            -*) refuse "unknown option '$argument': ./run_all.sh --help shows the options." ;;
        esac
    fi
    arguments+=("$argument")
done
[ -z "$value_of" ] || refuse "$value_of needs a value: ./run_all.sh --help shows the options."
case "$environment" in
    "" | venv | conda) ;;
    *) refuse "DTDA_ENV=$environment is unknown: leave it unset, or give venv or conda." ;;
esac

# Does this python have all that pyproject.toml asks for, and this checkout's dtda_lib?
SUITABLE='
import sys
if sys.version_info < (3, 11):
    sys.exit(1)
import importlib.metadata, importlib.util, os, tomllib
root, needs = sys.argv[1:]
try:
    from packaging.requirements import Requirement
    with open(os.path.join(root, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    wanted = list(project["dependencies"])
    if needs == "test":
        wanted += project["optional-dependencies"]["test"]
    for requirement in map(Requirement, wanted):
        version = importlib.metadata.version(requirement.name)
        if not requirement.specifier.contains(version, prereleases=True):
            sys.exit(1)
    origin = importlib.util.find_spec("dtda_lib").origin
except (ImportError, AttributeError):
    sys.exit(1)
sys.exit(os.path.realpath(os.path.dirname(os.path.dirname(origin))) != root)
'

suitable() { # from / so that the current folder does not count as installed
    (cd / && env -u PYTHONPATH "$1" -c "$SUITABLE" "$ROOT" "$needs") >/dev/null 2>&1
}

# Make or renew .venv. Python, and not bash, because macOS has no flock. The lock is inherited by
# pip, so it holds until the last writer is gone, however this script ends. A stamp that still says
# "unfinished" marks an environment of ours whose first installation was cut short.
INSTALL='
import fcntl, hashlib, os, shlex, shutil, signal, subprocess, sys
root, venv = sys.argv[1], os.path.join(sys.argv[1], ".venv")
python, stamp = os.path.join(venv, "bin", "python"), os.path.join(venv, "dtda-setup")
options = os.environ.get("DTDA_PIP_ARGS", "")
with open(os.path.join(root, "pyproject.toml")) as file:
    wanted = hashlib.sha256("\n".join([root, options, file.read()]).encode()).hexdigest()

def say(text):
    print("run_all.sh: " + text, file=sys.stderr, flush=True)

def installed():
    try:
        with open(stamp) as file:
            return file.read()
    except OSError:
        return ""

def write(text):
    with open(stamp + ".part", "w") as file:
        file.write(text)
    os.replace(stamp + ".part", stamp)

def works():
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return os.path.exists(python) and not subprocess.call([python, "-c", "import pip"], **quiet)

def run(*command):
    code = subprocess.call(command, cwd=root, stdout=sys.stderr, pass_fds=[lock.fileno()])
    if code:
        say("the set-up of .venv failed (see above): mend the cause and call again.")
        sys.exit(1)

signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
os.makedirs(os.path.join(root, ".runs"), exist_ok=True)
with open(os.path.join(root, ".runs", "setup.lock"), "w") as lock:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("another call sets up .venv: waiting for it.")
        fcntl.flock(lock, fcntl.LOCK_EX)
    if installed() == wanted and works():
        sys.exit(0)
    if installed() == "unfinished" or not works():
        say("making .venv (once; this may take minutes).")
        shutil.rmtree(venv, ignore_errors=True)
        os.makedirs(venv)
        write("unfinished")
        run(sys.executable, "-m", "venv", venv)
    else:
        say("pyproject.toml or DTDA_PIP_ARGS changed: renewing .venv.")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    run(*pip, *shlex.split(options), "-e", ".[test]")
    write(wanted)
'

active_python() {
    local candidate
    for candidate in "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" \
        "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" python3 python; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && suitable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

venv_python() {
    local candidate
    for candidate in python3.14 python3.13 python3.12 python3.11 python3 python; do
        # Called, not only looked up: shims of version managers exist without their Python.
        if (cd / && "$candidate" -c 'import sys, ensurepip, venv
sys.exit(sys.version_info < (3, 11))') >/dev/null 2>&1; then
            env -u PYTHONPATH "$candidate" -c "$INSTALL" "$ROOT" >&2 || exit $?
            echo "$ROOT/.venv/bin/python"
            return
        fi
    done
    refuse "no Python 3.11 or newer with venv was found: install one, or use --conda."
}

conda_python() {
    local candidate tool="" name="dtda-study" python stamp wanted
    for candidate in mamba conda micromamba; do
        command -v "$candidate" >/dev/null && tool="$candidate" && break
    done
    [ -n "$tool" ] || refuse "conda was asked for, but there is no conda, mamba or micromamba here."
    stamp="$ROOT/.runs/conda-setup"
    wanted="$(cat "$ROOT/environment.yml" "$ROOT/pyproject.toml" | cksum) $ROOT"
    python="$("$tool" run -n "$name" python -c 'import sys; print(sys.executable)' \
        2>/dev/null || true)"
    if [ -z "$python" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "run_all.sh: setting up the conda environment $name." >&2
        if [ "$tool" = micromamba ]; then
            set -- create
            [ -z "$python" ] || set -- install
            (cd "$ROOT" && "$tool" "$1" -y -n "$name" -f environment.yml) >&2 || exit 1
        else
            (cd "$ROOT" && "$tool" env update -n "$name" -f environment.yml) >&2 || exit 1
        fi
        mkdir -p "$ROOT/.runs"
        echo "$wanted" >"$stamp"
        python="$("$tool" run -n "$name" python -c 'import sys; print(sys.executable)')" || exit 1
    fi
    echo "$python"
}

# What was asked for by name comes before whatever is active.
case "$environment" in
    conda) python="$(conda_python)" ;;
    venv) python="$(venv_python)" ;;
    *) python="$(active_python)" || python="$(venv_python)" ;;
esac

export OMP_WAIT_POLICY=passive MPLBACKEND=agg
case "${DTDA_CACHE:-}" in # a relative folder means the caller's, not the one of the kernels
    "" | [Oo][Ff][Ff] | /* | "~"*) ;;
    *) export DTDA_CACHE="$PWD/$DTDA_CACHE" ;;
esac
case "${DTDA_CIFAR10:-}" in
    "" | /* | "~"*) ;;
    *) export DTDA_CIFAR10="$PWD/$DTDA_CIFAR10" ;;
esac
cd "$ROOT"
# exec: a Ctrl-C or a kill reaches the batch directly, which ends its kernels in order.
exec "$python" -m dtda_lib.study.batch ${arguments[@]+"${arguments[@]}"}
