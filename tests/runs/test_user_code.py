"""Code of a user that fails, ends the process or returns something else than it declares."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
import torch
from helpers import table_like

from dtda_lib.models.user_code import user_code
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.measures import Measure
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.training import train

TASK = table_like(n_train=4, n_query=3)
RECIPE = Recipe("sgd", lr=0.05, batch_size=2, epochs=3, keep_last=2)
RUNS = paired(leave_one_out(4, [0, 3]), seed_pairs(2))


class Net(torch.nn.Linear):
    """A linear model."""

    def __init__(self):
        super().__init__(8, 1)


def bank(model=Net, measures=("query_loss",), **settings):
    settings = {"workers": 1, "chunk": 1, "title": "tiny"} | settings
    return RunBank(TASK, model, RECIPE, RUNS, measures, **settings)


def own(function, dims=("query",)):
    return Measure("mine", dims, "none", function)


def losses(network, theta, task):
    return network(theta, task.query_x)[:, 0]


def failing(*_):
    raise ZeroDivisionError("division by zero.\nat some length")


# -------------------------------------------------------------- measures

MEASURES = {
    "sys.exit": (lambda *_: sys.exit(0), r"'mine' ended the process by sys\.exit\(0\); let it"),
    "os._exit": (lambda *_: os._exit(0), r"'mine' ended the process by os\._exit\(0\); let it"),
    "an error": (failing, "'mine' raised ZeroDivisionError: division by zero.$"),
    "no tensor": (lambda n, t, task: 1.0, "'mine' returned float; return a torch.Tensor"),
    "too short": (lambda *a: losses(*a)[1:], r"the shape \(2,\); its axes are \(query: 3\)"),
    "no axis": (lambda *a: losses(*a).sum(), r"the shape \(\); its axes are \(query: 3\)"),
    "bfloat16": (lambda *a: losses(*a).bfloat16(), "returned torch.bfloat16; return real numbers"),
    "an exhausted iterator": (lambda *_: next(iter(())), "'mine' raised StopIteration.$"),
    "a generator": (lambda *a: (yield losses(*a)), "'mine' returned generator; return a torch"),
    "sparse": (lambda *a: losses(*a).to_sparse(), "'mine' returned a sparse_coo tensor; return a"),
    "meta": (lambda *a: losses(*a).to("meta"), "'mine' returned a meta tensor; return a dense"),
    "complex": (lambda *a: losses(*a) * 1j, "returned torch.complex128; return real numbers"),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_bad_measure_is_named_before_anything_trains(name):
    function, told = MEASURES[name]
    with pytest.raises((RuntimeError, ValueError), match=told) as refusal:
        bank(measures=[own(function)])
    assert "\n" not in str(refusal.value)


def test_a_measure_of_no_value_is_refused():
    with pytest.raises(ValueError, match=r"'mine' returned no value: its shape is \(0,\)"):
        bank(measures=[own(lambda *a: losses(*a)[:0], ("thing",))])


def test_a_measure_that_is_not_finite_is_not_called_a_divergence_alone():
    declared = bank(measures=["query_loss", own(lambda *a: losses(*a) * torch.nan)])
    with pytest.raises(FloatingPointError, match=r"diverged \(or 'mine' is not finite\), 1 of 2"):
        declared.fill()


@pytest.mark.parametrize("chunk", [1, 6])
def test_a_transposed_measure_along_training_points_is_named_when_it_is_first_taken(chunk):
    def transposed(network, theta, task):
        return theta.sum() * torch.ones(task.n_query, task.n_train)

    told = r"the shape \(3, 4\); its axes are \(train: 4, query: 3\)"
    declared = bank(measures=[own(transposed, ("train", "query"))], chunk=chunk)
    with pytest.raises(ValueError, match=told):
        declared.fill()
    assert declared.stats["runs_trained"] == 0
    assert not list(declared.store.folder.rglob("*.safetensors"))


def test_half_precision_and_counts_are_kept():
    def counted(network, theta, task):
        return (losses(network, theta, task) > 0).long()

    data = bank(measures=[own(counted)]).dataset()
    assert data["mine"].dtype == "int64"
    data = bank(measures=[own(lambda *a: losses(*a).half())]).dataset()
    assert data["mine"].dtype == "float16"


# -------------------------------------------------------------- models


class Breaking(Net):
    """Fails once theta has moved, so that no look beforehand sees it."""

    how = staticmethod(failing)

    def __init__(self):
        super().__init__()
        self.start = self.bias.item()

    def forward(self, x):
        # Read outside of what torch.func sees; with chunk=1 theta is an ordinary tensor within.
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 5:
            self.how()
        return super().forward(x)


class Leaving(Breaking):
    """Ends the process in the middle."""

    how = staticmethod(lambda: sys.exit(0))


class LeavingAtOnce(Breaking):
    """Ends the process where no exception is raised."""

    how = staticmethod(lambda: os._exit(0))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Breaking, "model Breaking raised ZeroDivisionError: division by zero"),
        (Leaving, r"model Leaving ended the process by sys\.exit\(0\)"),
        (LeavingAtOnce, r"model LeavingAtOnce ended the process by os\._exit\(0\)"),
    ],
)
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_model_that_breaks_in_the_middle_is_named(model, told, workers):
    declared = bank(model, workers=workers)
    with pytest.raises(RuntimeError, match=told):
        declared.fill()
    assert not list(declared.store.folder.rglob("*.safetensors")), "nothing wrong is kept"
    assert not list(declared.store.folder.rglob("*.lock"))


def test_a_factory_may_not_end_the_process():
    with pytest.raises(RuntimeError, match="model factory ended the process"):
        bank(lambda: sys.exit(0))


@pytest.mark.slow
def test_a_script_whose_measure_leaves_ends_with_an_error(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            import torch
            import dtda_lib as dt
            from dtda_lib.runs.measures import measure

            @measure(dims=("train", "query"), unit="none")
            def mine(network, theta, task):
                os._exit(0)

            if __name__ == "__main__":
                x = torch.randn(12, 3).numpy()
                task = dt.as_task((x, x[:, 0]), n_train=8, n_query=2)
                recipe = dt.Recipe("sgd", lr=0.1, batch_size=4, epochs=1)
                bank = dt.retraining_bank(task, lambda: torch.nn.Linear(3, 1), recipe, 2,
                                          measure=mine, workers=2)
                bank.fill()
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: measure 'mine' ended the process by os._exit(0)" in done.stderr


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_in_an_estimate_as_well():
    class Killed(Breaking):
        how = staticmethod(lambda: os.kill(os.getpid(), 9))

    declared = bank(Killed, workers=2)
    for ask in (declared.estimate, declared.fill):
        with pytest.raises(RuntimeError, match="bank tiny: a worker process died"):
            ask()


# -------------------------------------------------------------- the guard itself


def test_a_guard_is_for_its_thread_and_ends_with_it():
    real = os._exit
    with user_code("outer"):
        with pytest.raises(RuntimeError, match="inner ended"), user_code("inner"):
            os._exit(3)
        assert os._exit is not real, "the outer one still stands"
    assert os._exit is real

    if hasattr(os, "fork"):
        with user_code("parent"):
            child = os.fork()
            if not child:
                os._exit(7)  # a process that was forked off may end
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_long_error_is_cut_and_its_first_line_told():
    with pytest.raises(RuntimeError) as told, user_code("it"):
        raise KeyError("x" * 300)
    assert str(told.value) == f"it raised KeyError: '{'x' * 199}."
    with pytest.raises(RuntimeError, match=r"^it raised OSError: one\.$"), user_code("it"):
        raise OSError("\n one. \ntwo")


class Unspeakable(Exception):
    """An error that cannot be written out."""

    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize(
    "error", [AssertionError(), StopIteration(), StopIteration("end"), Unspeakable(1)]
)
def test_any_error_is_named_whatever_it_says(error):
    words = ": end" if error.args == ("end",) else ""
    with (
        pytest.raises(RuntimeError, match=f"^it raised {type(error).__name__}{words}[.]$"),
        user_code("it"),
    ):
        raise error


def test_errors_with_sentences_of_their_own_pass():
    with pytest.raises(ValueError, match=r"^so it is$"), user_code("x", name_errors=False):
        raise ValueError("so it is")
    with pytest.raises(KeyboardInterrupt), user_code("x"):
        raise KeyboardInterrupt


# -------------------------------------------------------------- executors


def test_what_is_no_executor_is_refused_where_it_is_given():
    likely = SimpleNamespace(submit=lambda *_: None)  # as submitit's, which gives jobs
    for wrong in (likely, 2):
        with pytest.raises(TypeError, match=r"no concurrent\.futures\.Executor; its submit has"):
            bank(executor=wrong)


def test_an_executor_of_other_futures_is_named():
    class Jobs(Executor):
        def submit(self, fn, /, *given):
            return SimpleNamespace(result=lambda: fn(*given))

    with pytest.raises(TypeError, match=r"Jobs\.submit returned SimpleNamespace, no"):
        bank(executor=Jobs()).fill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forking here")
def test_a_forking_pool_is_refused_with_the_way_out():
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(ValueError, match=r"copies hang .*get_context\(\"spawn\"\)"),
    ):
        bank(executor=pool)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert bank(executor=pool).executor is pool


# -------------------------------------------------------------- runs that diverge


def test_a_run_that_diverges_is_blank_throughout_and_touches_no_other():
    weights = torch.ones(2, 4)
    weights[1] = 1e30
    long = replace(RECIPE, epochs=30, keep_last=30)
    given = (TASK, Net, long, [1, 1], [2, 2], weights, [own(losses)])
    both = train(*given, keep_diverged=True, chunk=2)["mine"]
    alone = train(*given[:3], [1], [2], weights[:1], given[-1], chunk=2)["mine"]
    assert both[1].isnan().all(), "at the first checkpoints, too, where it was still finite"
    torch.testing.assert_close(both[:1], alone)

    counts = own(lambda *a: (losses(*a) > 0).long())
    with pytest.raises(FloatingPointError, match=r"mine holds whole numbers, which cannot say so"):
        train(*given[:-1], [counts], keep_diverged=True)
