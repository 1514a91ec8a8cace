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
#   --list            show the notebooks, their state, cached shards and measured seconds; sets
#                     nothing up
#   --update          replace committed notebooks, figures and README results by what is executed
#   --bless           rewrite the reference values of this profile
#   --test            lint, tests, all notebooks at smoke in a copy, and a check of the committed
#                     ones, each from an empty cache; only --workers goes with it
#   --site            build the site from what is committed into .runs/site/html, executing nothing;
#                     no other option but --conda goes with it
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
# nowhere). DTDA_WORKERS is the number of processes that train where --workers is not given.
# DTDA_CIFAR10 is a folder with the images of CIFAR-10, which notebooks 03 and 09 take at paper.
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

# What decides the set-up. Everything else is read, and refused, by dtda_lib/study/command_line.py.
needs="run"
list=""
environment="${DTDA_ENV:-}"
for argument in "$@"; do
    case "$argument" in
        -h | --help) help; exit 0 ;;
        --conda) environment="conda" ;;
        --list) list="yes" ;;
        --test) needs="test" ;;
        --site) needs="site" ;;
    esac
done

first_python() { # the first Python 3.11 or newer here that has these modules
    local candidate
    for candidate in python3.14 python3.13 python3.12 python3.11 python3 python; do
        # Called, not only looked up: shims of version managers exist without their Python.
        if (cd / && "$candidate" -c "import sys, $1
sys.exit(sys.version_info < (3, 11))") >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

call() { # a file of dtda_lib by its path; -P: the files beside it do not hide Python's own
    local python="$1" file="$ROOT/dtda_lib/study/$2.py"
    shift 2
    env -u PYTHONPATH "$python" -P "$file" "$@"
}

suitable() {
    command -v "$1" && call "$1" environment suitable "$ROOT" "$needs"
} >/dev/null 2>&1

active_python() {
    local candidate
    for candidate in "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" \
        "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" python3 python; do
        if [ -n "$candidate" ] && suitable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

venv_python() {
    local python="$ROOT/.venv/bin/python" base
    if [ -n "$list" ]; then
        suitable "$python" || python=""
    else
        base="$(first_python ensurepip,venv)" ||
            refuse "no Python 3.11 or newer with venv was found: install one, or use --conda."
        call "$base" environment install "$ROOT" >&2 || exit $?
    fi
    echo "$python"
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
    if [ -n "$list" ]; then
        suitable "$python" || python=""
    elif [ -z "$python" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
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

checker="$(first_python argparse)" || [ "$environment" = conda ] ||
    refuse "no Python 3.11 or newer was found: install one, or use --conda."
# Where there is only conda, the batch refuses the same after the set-up.
[ -z "$checker" ] || call "$checker" command_line check "$ROOT" "$@" || exit $?

# What was asked for by name comes before whatever is active. --list takes only what is there.
case "$environment" in
    conda) python="$(conda_python)" ;;
    venv) python="$(venv_python)" ;;
    *) python="$(active_python)" || python="$(venv_python)" ;;
esac
if [ -z "$python" ]; then
    [ -n "$checker" ] || refuse "no Python 3.11 or newer was found: install one."
    call "$checker" command_line list "$ROOT" "$@"
    exit
fi

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
[ -z "$list" ] || export PYTHONDONTWRITEBYTECODE=1
# exec: a Ctrl-C or a kill reaches the batch directly, which ends its kernels in order.
exec "$python" -m dtda_lib.study.batch "$@"
