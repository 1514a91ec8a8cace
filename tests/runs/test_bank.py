"""`RunBank`: what it hands back, what it keeps, when it trains, and what it refuses."""

import functools
import importlib
import importlib.util
import inspect
import itertools
import linecache
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import digits_like, table_like

from dtda_lib.attribution.registry import get_estimator
from dtda_lib.data.named import get_task
from dtda_lib.data.task import LOSSES, Task
from dtda_lib.models.networks import get_model
from dtda_lib.runs import training
from dtda_lib.runs.bank import CONVOLUTION_SHARD_RUNS, RunBank
from dtda_lib.runs.measures import get_measure, measure
from dtda_lib.runs.protocols import paired, seed_pairs, unpaired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import Design, leave_groups_out, leave_one_out, nothing
from dtda_lib.runs.shards import Estimate, Job, full_precision
from dtda_lib.runs.shifts import print_costs, print_costs_by_kind, shift_upon_removal
from dtda_lib.runs.training import train

TASK = table_like(n_train=4, n_query=3)
MODEL = get_model("mlp", widths=(8, 2, 1))
RECIPE = Recipe("sgd", lr=0.05, batch_size=2, epochs=3, keep_last=2)
RUNS = paired(leave_one_out(4, [0, 3]), seed_pairs(2))


def bank(**changes):
    """Six runs; `chunk=1` makes each a shard, trained without tracing."""
    parts = {"task": TASK, "model": MODEL, "recipe": RECIPE, "runs": RUNS}
    settings = {"measures": ["query_loss"], "workers": 1, "chunk": 1, "title": "tiny"}
    parts |= {name: changes.pop(name) for name in list(changes) if name in parts}
    return RunBank(**parts, **(settings | changes))


def no_training(*_):
    raise AssertionError("it trained")


# -------------------------------------------------------------- what it hands back


def test_the_dataset_is_what_train_returns_with_its_axes_named():
    seeds = [(1, 11), (2, 12), (3, 13)]
    runs = unpaired(leave_one_out(4, [2, 0]), seeds)
    names = ["query_loss", "query_prediction", "parameters"]
    data = bank(runs=runs, measures=names, chunk=None).dataset()
    assert dict(data.sizes) == {
        "seed": 3,
        "removal": 3,
        "checkpoint": 2,
        "query": 3,
        "output": 1,
        "parameter": 21,
    }
    assert data.query_loss.dims == ("seed", "removal", "checkpoint", "query")
    assert data.query_prediction.dims == ("seed", "removal", "checkpoint", "query", "output")
    assert data.removal.values.tolist() == ["none", "2", "0"]
    assert data.point.values.tolist() == [-1, 2, 0]
    assert data.checkpoint.values.tolist() == [1, 2]
    assert data.init_seed.values[:, 0].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(data.init_seed, runs.init_seeds)
    np.testing.assert_array_equal(data.order_seed, runs.order_seeds)
    assert data.query_id.values.tolist() == list(TASK.query_id)
    assert data.query_loss.attrs["unit"].startswith("nats")
    direct = train(
        TASK,
        MODEL,
        RECIPE,
        runs.init_seeds.ravel().tolist(),
        runs.order_seeds.ravel().tolist(),
        runs.design.weights.repeat(3, 1),
        [get_measure(name) for name in names],
    )
    for name in names:
        expected = direct[name].unflatten(0, (3, 3)).numpy()
        np.testing.assert_array_equal(data[name], expected)
        one = train(
            TASK,
            MODEL,
            RECIPE,
            [int(runs.init_seeds[1, 2])],
            [int(runs.order_seeds[1, 2])],
            runs.design.weights[2:],
            [get_measure(name)],
        )
        np.testing.assert_allclose(data[name][1, 2], one[name][0], rtol=1e-10, atol=1e-12)


def test_axes_of_a_measure_get_their_ids_and_labels():
    @measure(dims=("train", "query", "kind"), unit="none", labels={"kind": ("a", "b")})
    def pairwise(network, theta, task):
        scores = network(theta, task.train_x) @ network(theta, task.query_x).T
        return torch.stack([scores, -scores], dim=-1)

    task = replace(TASK, train_id=(40, 41, 42, 43), query_id=(7, 8, 9))
    data = bank(task=task, runs=paired(nothing(4), [(1, 1)]), measures=[pairwise]).dataset()
    assert data.pairwise.dims == ("seed", "removal", "checkpoint", "train", "query", "kind")
    assert data.train.values.tolist() == [0, 1, 2, 3]
    assert data.train_id.values.tolist() == [40, 41, 42, 43]
    assert data.query_id.values.tolist() == [7, 8, 9]
    assert data.kind.values.tolist() == ["a", "b"]


# -------------------------------------------------------------- what it keeps


def test_a_second_bank_trains_nothing_and_is_bit_identical(monkeypatch):
    first = bank()
    data = first.dataset()
    assert (first.stats["runs_trained"], first.stats["runs_cached"]) == (6, 0)
    assert first.stats["seconds"] > 0
    monkeypatch.setattr("dtda_lib.runs.bank.train_shard", no_training)
    second = bank(task=replace(TASK, name="another name"), title="another title")
    assert second.missing() == []
    again = second.dataset()
    assert (second.stats["runs_trained"], second.stats["runs_cached"]) == (0, 6)
    for name in ("query_loss", "init_seed"):
        np.testing.assert_array_equal(again[name], data[name])
    assert again.attrs["bank"] == data.attrs["bank"] == first.key == second.key
    assert first.dataset().identical(data), "a filled bank answers from memory"


@pytest.mark.slow
def test_more_seeds_reuse_what_fewer_seeds_trained():
    few = bank(chunk=3).fill()
    many = bank(runs=paired(RUNS.design, seed_pairs(3)), chunk=3).fill()
    assert (many.stats["runs_cached"], many.stats["runs_trained"]) == (6, 3)
    assert many.stats["shards"][:2] == few.stats["shards"]
    np.testing.assert_array_equal(few.dataset().query_loss, many.dataset().query_loss[:2])


def test_without_a_cache_everything_is_trained_and_nothing_written(monkeypatch, tmp_path):
    cached = bank().dataset()
    monkeypatch.setenv("DTDA_CACHE", "off")
    monkeypatch.chdir(tmp_path / "cache")
    before = sorted(tmp_path.rglob("*"))
    off = bank()
    assert off.dataset().identical(cached)
    assert off.stats["runs_trained"] == 6
    assert sorted(tmp_path.rglob("*")) == before


def wild_bank(*seeds, **settings):
    """Of each seed a run as it is, and one that the first epoch throws out."""
    weights = torch.ones(2, 4)
    weights[1, 0] = 1e30
    runs = paired(Design(weights, ("none", "wild")), seeds)
    return bank(runs=runs, recipe=replace(RECIPE, epochs=30), **settings)


def test_a_diverging_run_is_named_and_all_that_was_trained_is_kept():
    broken = wild_bank((5, 15), (6, 16))
    with pytest.raises(
        FloatingPointError,
        match=r"bank tiny: training diverged, 1 of 2 seeds \(init seed 5 and order seed 15 without "
        r"wild\); lower the learning rate, or pass drop_diverged=True",
    ):
        broken.fill()
    assert broken.stats["runs_trained"] == 2
    rest = wild_bank((5, 15), (6, 16))
    assert [shard.start for shard in rest.missing()] == [2, 3]
    assert not list(rest.store.folder.rglob("*.lock")), "claims are given back"
    with pytest.raises(FloatingPointError, match="1 of 2 seeds"):
        rest.fill()  # known from the cache; nothing is trained
    assert rest.stats["runs_trained"] == 0


def fading(network, theta, task):
    """Not finite for a run of which any parameter is larger than 1 at its first entry."""
    return network(theta, task.query_x)[:, 0].where(theta[0] < 0.2, torch.nan)


def test_seeds_that_diverge_leave_both_laws_if_the_user_says_so():
    """Which seeds do is decided by a measure here, so that some do and others do not."""
    seeds = seed_pairs(8)
    runs = paired(leave_one_out(4, [0, 3]), seeds)
    measures = [measure(dims=("query",), unit="none")(fading)]
    given = {"runs": runs, "measures": measures, "chunk": 4}
    dropping = bank(**given, drop_diverged=True)
    data = dropping.dataset()
    lost = dropping.diverged()
    bad = lost.any("removal").values
    assert 0 < bad.sum() < 7, "the test needs some of each"
    assert data["seed"].values.tolist() == np.flatnonzero(~bad).tolist()
    assert data["init_seed"].values[:, 0].tolist() == [s for (s, _), b in zip(seeds, bad) if not b]
    assert data.attrs["dropped"].startswith(f"{bad.sum()} of 8 seeds (init seed ")
    assert np.isfinite(data["fading"]).all()

    alone = paired(leave_one_out(4, [0, 3]), [s for s, b in zip(seeds, bad) if not b])
    plain = bank(**given | {"runs": alone}).dataset()
    np.testing.assert_allclose(data["fading"], plain["fading"], rtol=1e-9)
    assert "dropped" not in plain.attrs

    again = bank(**given, drop_diverged=True)
    assert again.dataset().identical(data), "from the cache as well"
    assert again.stats["runs_trained"] == 0
    with pytest.raises(FloatingPointError, match=f"{bad.sum()} of 8 seeds"):
        bank(**given).dataset()

    none_left = bank(**given | {"runs": paired(runs.design, [s for s, b in zip(seeds, bad) if b])},
                     drop_diverged=True)  # fmt: skip
    with pytest.raises(FloatingPointError, match="no seed is left"):
        none_left.dataset()


# -------------------------------------------------------------- where it trains


@pytest.fixture(scope="module")
def alone():
    """The result of one process, without a cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DTDA_CACHE", "off")
        return bank(chunk=2).dataset()


@pytest.mark.slow
def test_two_workers_give_the_same_bits(alone, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", "off")
    assert bank(chunk=2, workers=2).dataset().identical(alone)


@pytest.mark.slow
def test_threads_give_the_same_bits(alone, monkeypatch):
    """Initialisation uses torch's global stream, which threads share."""
    monkeypatch.setenv("DTDA_CACHE", "off")
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            mine = bank(chunk=2, executor=pool, workers=4)
            assert mine.dataset().identical(alone)
        assert not pool._shutdown, "whoever made an executor ends it"


@pytest.mark.slow
def test_plain_processes_give_the_same_bits(alone, monkeypatch):
    """`concurrent.futures` pickles without help; models and measures of a test included."""
    monkeypatch.setenv("DTDA_CACHE", "off")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert bank(chunk=2, executor=pool).dataset().identical(alone)

        class Own(torch.nn.Linear):
            pass

        @measure(dims=("query",), unit="none")
        def twice(network, theta, task):
            return 2 * network(theta, task.query_x)[:, 0]

        local = {"model": functools.partial(Own, 8, 1), "measures": [twice]}
        there, here = bank(executor=pool, **local).dataset(), bank(**local).dataset()
        assert there.identical(here)


def test_identical_runs_may_be_under_way_together(monkeypatch):
    runs = paired(nothing(4), [(1, 1)] * 4)
    for cache in (os.environ["DTDA_CACHE"], "off"):
        monkeypatch.setenv("DTDA_CACHE", cache)
        with ThreadPoolExecutor(2) as pool:
            losses = bank(runs=runs, executor=pool, workers=2).dataset().query_loss
        assert (losses == losses[0]).all()


def test_a_job_survives_pickling():
    import pickle

    job = bank()._job(2, 4)
    again = pickle.loads(pickle.dumps(job))
    assert isinstance(again, Job)
    assert torch.equal(again.weights, job.weights)
    assert again.init_seeds == job.init_seeds
    assert again.measures[0].name == "query_loss"


def test_shards_do_not_depend_on_the_workers():
    assert bank(workers=1).key == bank(workers=7).key == bank(executor=ThreadPoolExecutor(1)).key
    images = digits_like(n_train=4)
    runs = paired(leave_one_out(4), seed_pairs(2))
    cnn = RunBank(images, get_model("cnn2l"), RECIPE, runs, workers=3)
    assert [shard.runs for shard in cnn.shards] == [CONVOLUTION_SHARD_RUNS, 2]


NOTEBOOK = """
    import torch
    from dtda_lib.runs.bank import RunBank
    from dtda_lib.runs.measures import measure
    from dtda_lib.runs.protocols import paired, seed_pairs
    from dtda_lib.runs.recipes import Recipe
    from dtda_lib.runs.removal import nothing
    from dtda_lib.data.named import regression1d

    FACTOR = 2.0

    def activation(x):
        return torch.tanh(x)  # a helper that the model calls

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(1, 3)
            self.b = torch.nn.Linear(3, 1)

        def forward(self, x):
            return self.b(activation(self.a(x)))

    def scaled(x):
        '''Larger.'''
        return FACTOR * x

    @measure(dims=("query",), unit="none")
    def output(network, theta, task):
        return scaled(network(theta, task.query_x)[:, 0])

    UNUSED = 1

    def make(workers):
        task = regression1d(n_train=6, n_query=4)
        runs = paired(nothing(6), seed_pairs(4))
        recipe = Recipe("sgd", lr=0.05, batch_size=3, epochs=2)
        return RunBank(task, Net, recipe, runs, [output], workers=workers, chunk=2)
"""

MAIN = """
    if __name__ == "__main__":
        import sys
        mine = make(int(sys.argv[1]))
        print(mine.dataset().output.sum().item(), mine.stats["runs_trained"], mine.key)
"""


@pytest.mark.slow
def test_models_and_measures_of_a_notebook_train_in_workers(tmp_path):
    path = tmp_path / "notebook.py"
    path.write_text(textwrap.dedent(NOTEBOOK + MAIN))
    command = [sys.executable, str(path)]
    totals = {}
    for workers in ("2", "1"):
        done = subprocess.run([*command, workers], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        totals[workers] = done.stdout.split()
    assert totals["2"][1:] == ["4", totals["1"][2]]
    assert totals["1"] == [totals["2"][0], "0", totals["2"][2]], "the key does not change"


@pytest.fixture
def notebook_key(tmp_path, monkeypatch):
    """The key of the notebook's bank after some changes of its source."""
    count = itertools.count()

    def key(*changes):
        source = textwrap.dedent(NOTEBOOK)
        for before, after in changes:
            assert source.count(before) == 1, before
            source = source.replace(before, after)
        path = tmp_path / f"{next(count)}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("notebook", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "notebook", module)
        spec.loader.exec_module(module)
        return module.make(1).key

    return key


@pytest.mark.parametrize(
    "change",
    [
        ("torch.tanh", "torch.sin"),
        ("self.b(activation(self.a(x)))", "-self.b(activation(self.a(x)))"),
        ("Linear(3, 1)", "Linear(3, 1, bias=False)"),
        ("return FACTOR * x", "return FACTOR + x"),
        ("FACTOR = 2.0", "FACTOR = 3.0"),
        ("[:, 0])", "[:, 0]) + 1"),
    ],
    ids=lambda change: change[1],
)
def test_changing_what_a_notebook_computes_changes_the_key(notebook_key, change):
    assert notebook_key(change) != notebook_key()


def test_changing_what_a_notebook_says_does_not(notebook_key):
    as_it_was = notebook_key()
    assert notebook_key() == as_it_was
    assert notebook_key(("# a helper", "# the very helper")) == as_it_was
    assert notebook_key(("Larger.", "By a factor.")) == as_it_was
    assert notebook_key(("UNUSED = 1", "UNUSED = 2")) == as_it_was


# -------------------------------------------------------------- keys


@measure(dims=("query",), unit="none")
def plain(network, theta, task):
    return network(theta, task.query_x)[:, 0]


@measure(dims=("query",), unit="none")
def other(network, theta, task):
    return network(theta, task.query_x)[:, 0] + 0


def closed_over(constant):
    @measure(dims=("query",), unit="none")
    def output(network, theta, task):
        return len([constant]) * network(theta, task.query_x)[:, 0]

    return output


def factory_around(settings):
    return lambda: torch.nn.Linear(8, 1, bias=bool(settings[0]))


class Scaled(torch.nn.Linear):
    """A linear model with a fixed scale that its factory gives."""

    def __init__(self, scale, n_in, n_out):
        super().__init__(n_in, n_out)
        self.scale = scale

    def forward(self, x):
        return self.scale[0] * super().forward(x)


LONG = torch.arange(2000.0)  # longer than what a representation shows
OTHER_LONG = LONG.index_fill(0, torch.tensor([1000]), -1.0)


class Renamed(torch.nn.Linear):
    """A linear model."""

    def forward(self, x):
        return super().forward(x)


CHANGES = {
    "training data": {"task": replace(TASK, train_x=TASK.train_x + 1e-12)},
    "queries": {"task": replace(TASK, query_y=TASK.query_y + 1e-12)},
    "precision": {"task": TASK.to(dtype=torch.float32)},
    "lr": {"recipe": replace(RECIPE, lr=0.0500001)},
    "checkpoints": {"recipe": replace(RECIPE, keep_last=1)},
    "warm epochs": {"recipe": replace(RECIPE, warm_epochs=1)},
    "seeds": {"runs": paired(RUNS.design, seed_pairs(2, "second"))},
    "order seeds": {"runs": paired(RUNS.design, [(446, 446), (724, 725)])},
    "protocol": {"runs": unpaired(RUNS.design, seed_pairs(2))},
    "removal": {"runs": paired(leave_one_out(4, [0, 2]), seed_pairs(2))},
    "measure": {"measures": ["query_prediction"]},
    "measures": {"measures": ["query_loss", "query_prediction"]},
    "own measure": {"measures": [plain]},
    "own other measure": {"measures": [other]},
    "captured constant": {"measures": [closed_over(2.0)]},
    "other captured constant": {"measures": [closed_over(3.0)]},
    "captured list": {"measures": [closed_over([2.0])]},
    "other captured list": {"measures": [closed_over([3.0])]},
    "captured dict": {"measures": [closed_over({"a": 2.0})]},
    "other captured dict": {"measures": [closed_over({"a": 3.0})]},
    "captured tensor": {"measures": [closed_over(LONG)]},
    "other captured tensor": {"measures": [closed_over(OTHER_LONG)]},
    "captured array": {"measures": [closed_over(LONG.numpy())]},
    "other captured array": {"measures": [closed_over(OTHER_LONG.numpy())]},
    "captured recipe": {"measures": [closed_over(RECIPE)]},
    "other captured recipe": {"measures": [closed_over(replace(RECIPE, lr=1.0))]},
    "captured function": {"measures": [closed_over(torch.sin)]},
    "other captured function": {"measures": [closed_over(torch.cos)]},
    "captured partial": {"measures": [closed_over(functools.partial(torch.sum, dim=0))]},
    "other captured partial": {"measures": [closed_over(functools.partial(torch.sum, dim=1))]},
    "own factory": {"model": factory_around([0])},
    "own factory, other list": {"model": factory_around([1])},
    "own model, tensor": {"model": functools.partial(Scaled, LONG, 8, 1)},
    "own model, other tensor": {"model": functools.partial(Scaled, OTHER_LONG, 8, 1)},
    "loss": {"task": replace(TASK, loss="mean_square")},
    "widths": {"model": get_model("mlp", widths=(8, 3, 1))},
    "activation": {"model": get_model("mlp", widths=(8, 2, 1), activation="gelu")},
    "own model": {"model": functools.partial(Renamed, 8, 1)},
    "own model, setting": {"model": functools.partial(Renamed, 8, 1, bias=False)},
}


def edited(monkeypatch, owner, name, before, after):
    """Puts another text of a function in its place, as an edit of its file would."""
    function = inspect.unwrap(getattr(owner, name))
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(before) == 1, "that text is not there any more"
    scope = dict(function.__globals__)
    text = source.replace(before, after)
    file = f"<{name} with {after}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), scope)
    monkeypatch.setattr(owner, name, scope[name])


FIELDS = {"optimiser": "adam", "lr": 0.06, "weight_decay": 0.1, "momentum": 0.5}
FIELDS |= {"betas": (0.8, 0.999), "eps": 1e-7, "schedule": "linear", "batch_size": 3}
FIELDS |= {"epochs": 4, "replacement": True, "keep_last": 1, "warm_epochs": 1}


def test_keys_see_the_code_the_version_and_every_field_of_the_recipe(monkeypatch):
    """Each change has a key of its own, and taking it back brings back the first."""
    assert set(FIELDS) == {field.name for field in fields(Recipe)}
    keys = {name: bank(recipe=replace(RECIPE, **{name: new})).key for name, new in FIELDS.items()}
    keys["as it was"] = bank().key
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        keys["version"] = bank().key
    with monkeypatch.context() as patch:
        edited(patch, training._Stack, "_gradients", "gather(1, batch)", "gather(1, batch) * 2")
        keys["trainer"] = bank().key
    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, "squared_error", lambda output, target: output[:, 0] - target)
        keys["loss"] = bank().key
    assert len(set(keys.values())) == len(keys), keys
    assert bank().key == keys["as it was"]


@pytest.mark.slow
def test_keys_change_with_everything_that_a_result_depends_on():
    keys = {name: bank(**change).key for name, change in CHANGES.items()}
    keys["as it was"] = bank().key
    assert len(set(keys.values())) == len(keys), keys
    assert bank(title="another", workers=3).key == keys["as it was"]
    for name in ("training data", "removal", "captured constant"):
        assert bank(**CHANGES[name]).key == keys[name], "keys repeat"


def with_dropout(p):
    return lambda: torch.nn.Sequential(torch.nn.Linear(8, 1), torch.nn.Dropout(p))


def test_random_masks_are_refused_where_runs_are_declared():
    with pytest.raises(ValueError, match=r"layer '1'\): Dropout draws a random mask"):
        bank(model=with_dropout(0.5))
    bank(model=with_dropout(0.0))
    bank(model=lambda: with_dropout(0.5)().eval())


def test_a_gpu_convolves_in_full_precision():
    """The setting can be looked at without one."""
    before = torch.backends.cudnn.allow_tf32
    with full_precision("cuda"):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    with full_precision("cpu"):
        assert torch.backends.cudnn.allow_tf32 == before
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_what_a_cpu_gives():
    task = replace(digits_like(n_train=6, n_query=4))
    recipe = Recipe("adam", lr=1e-3, batch_size=3, epochs=2)
    runs = paired(leave_one_out(6, [0]), seed_pairs(2))
    given = (task, get_model("cnn2l"), recipe, runs)
    here, there = (RunBank(*given, device=d, workers=1).dataset() for d in ("cpu", "cuda"))
    np.testing.assert_allclose(there["query_loss"], here["query_loss"], rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: get_estimator("influence_ggn", RECIPE, dampng=1.0), "did you mean 'damping'"),
        (lambda: get_task("mnist3", per_clas=3), "did you mean 'per_class'"),
        (lambda: get_model("mlp", width=(8, 1)), "did you mean 'widths'"),
    ],
    ids=["estimator", "task", "model"],
)
def test_a_mistyped_setting_is_refused_by_name(wrong, told):
    with pytest.raises(ValueError, match=told):
        wrong()


def test_what_cannot_be_compared_is_refused():
    """A key that did not see it would hand back the results of another computation."""
    with pytest.raises(ValueError, match="output:constant is a generator, whose content"):
        bank(measures=[closed_over(x for x in (1, 2))])


def test_code_and_constants_in_a_file_of_ones_own_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    keys = []
    for source in ("def f(x):\n    return FACTORS[0] * x\nFACTORS = [2.0]\n",
                   "def f(x):\n    return FACTORS[0] * x\nFACTORS = [3.0]\n",
                   "def f(x):\n    return FACTORS[0] + x\nFACTORS = [2.0]\n"):  # fmt: skip
        (tmp_path / "my_helpers.py").write_text(source)
        monkeypatch.delitem(sys.modules, "my_helpers", raising=False)
        linecache.clearcache()
        importlib.invalidate_caches()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        helpers = importlib.import_module("my_helpers")
        sys.dont_write_bytecode = before
        keys += [bank(measures=[closed_over(helpers.f)]).key]
        keys += [bank(measures=[closed_over(helpers)]).key]  # the module itself
    assert len(set(keys)) == len(keys)


def test_two_lambdas_of_one_line_are_told_apart():
    one, two = closed_over(lambda x: x + 1), closed_over(lambda x: x + 2)  # fmt: skip
    assert bank(measures=[one]).key != bank(measures=[two]).key


def test_every_shard_of_a_changed_bank_is_another():
    shards = {shard.key for shard in bank().shards}
    for name in ("training data", "lr", "measure", "activation"):
        assert not shards & {shard.key for shard in bank(**CHANGES[name]).shards}, name


# -------------------------------------------------------------- cost


def test_a_cached_bank_costs_nothing(capsys):
    filled, fresh = bank().fill(), bank(recipe=replace(RECIPE, lr=0.01))
    cost = filled.estimate()
    assert (cost.runs, cost.missing, cost.seconds) == (6, 0, 0.0)
    assert str(cost) == "6 runs, all cached"
    new = fresh.estimate()
    assert (new.runs, new.missing, new.workers) == (6, 6, 1)
    assert new.seconds > 0
    assert "6 runs, 0 cached, 6 to train: about" in str(new)
    assert "with 1 worker" in str(new)
    assert fresh.stats["runs_trained"] == 0
    assert len(fresh.missing()) == 6, "an estimate leaves nothing behind"


def test_plan_tells_each_cost_and_the_sum(capsys):
    filled, fresh = bank(title="done").fill(), bank(recipe=replace(RECIPE, lr=0.01))
    assert print_costs([filled]) == 0
    assert capsys.readouterr().out == "cost done: 6 runs, all cached\ncost in all: no training\n"
    assert print_costs([filled, fresh]) > 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["cost done", "cost tiny", "cost in all"]
    assert lines[2].startswith("cost in all: about")


def test_plan_alike_times_the_largest_of_a_kind_and_scales_it_by_runs_and_steps(
    capsys, monkeypatch
):
    done = bank().fill()
    short, long = (bank(recipe=replace(RECIPE, lr=0.01, epochs=epochs)) for epochs in (2, 8))
    assert print_costs_by_kind({"all done": [done]}) == 0
    timed = []

    def estimate(self):
        timed.append(self)
        return Estimate(6, 6, 8.0, 1)

    monkeypatch.setattr(RunBank, "estimate", estimate)
    capsys.readouterr()
    assert print_costs_by_kind({"done": [done], "plain": [short, done, long]}) == pytest.approx(
        8 * 1.25
    )
    assert timed == [long]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cost done, 1 bank: 6 runs, all cached"
    assert lines[1].startswith("cost plain, 3 banks: 18 runs, 6 cached, 12 to train: about 10")
    assert lines[2].startswith("cost in all: about 10")


def test_an_estimate_counts_only_what_is_missing():
    bank().fill()
    more = bank(runs=paired(RUNS.design, seed_pairs(3)))
    assert more.estimate().missing == 3


def test_an_estimate_is_the_cost_of_its_parts(monkeypatch):
    """With a known cost of start-up, epoch and measurement. How well real time is met is measured
    by tests/benchmarks/engine.py, as no test can promise that a machine stays as busy as it was."""

    def pretend(job):
        seconds = 0.5 + 0.02 * (job.recipe.epochs + job.recipe.warm_epochs)
        return {}, seconds + 0.03 * len(job.recipe.checkpoints) * len(job.measures)

    monkeypatch.setattr("dtda_lib.runs.shards.train_job", pretend)
    task = table_like(n_train=100, n_query=20, dtype=torch.float32)
    recipe = Recipe("sgd", lr=0.01, batch_size=10, epochs=70, keep_last=4)
    runs = paired(leave_one_out(100, range(49)), seed_pairs(40))
    model = get_model("mlp", widths=(8, 16, 1))
    mine = RunBank(task, model, recipe, runs, chunk=250, workers=1)
    assert len(mine.shards) == 8
    expected = 8 * (0.5 + 70 * 0.02 + 4 * 0.03)
    assert mine.estimate().seconds == pytest.approx(expected)


# -------------------------------------------------------------- shifts


def toy():
    """Three points say y = 0; point 1 alone says what the query asks for: y = 2 x."""
    x = torch.tensor([[0.1], [1.0], [0.1], [0.1]]).double()
    y = torch.tensor([0.0, 2.0, 0.0, 0.0]).double()
    query = torch.tensor([[1.0], [0.5]]).double()
    return Task("toy", x, y, query, 2 * query[:, 0], "squared_error", 1)


def toy_losses(removals):
    recipe = Recipe("sgd", lr=0.3, batch_size=4, epochs=40, keep_last=2)
    runs = paired(removals, seed_pairs(3))
    return bank(task=toy(), model=get_model("mlp", widths=(1, 1)), recipe=recipe, runs=runs)


def test_leaving_out_a_helpful_point_is_a_positive_shift_of_the_loss():
    losses = toy_losses(leave_one_out(4)).dataset().query_loss
    shift = shift_upon_removal(losses)
    assert shift.dims == ("seed", "train", "checkpoint", "query")
    assert shift.name == "shift"
    assert shift.train.values.tolist() == [0, 1, 2, 3]
    assert (shift.sel(train=1) > 0.1).all(), "the one point that matters helps"
    assert (np.abs(shift.sel(train=[0, 2, 3])) < 0.1).all()
    by_hand = losses.sel(removal="1").values - losses.sel(removal="none").values
    np.testing.assert_array_equal(shift.sel(train=1), by_hand)


def test_a_shift_of_some_points_keeps_their_positions_and_of_groups_their_names():
    one = shift_upon_removal(toy_losses(leave_one_out(4, [3, 1])).dataset().query_loss)
    assert one.train.values.tolist() == [3, 1]
    groups = shift_upon_removal(
        toy_losses(leave_groups_out(4, [(0, 1), (2,)])).dataset().query_loss
    )
    assert groups.dims == ("seed", "removal", "checkpoint", "query")
    assert groups.removal.values.tolist() == ["0+1", "2"]
    assert (groups.sel(removal="0+1") > 0.1).all()


def test_a_shift_against_another_base():
    losses = toy_losses(leave_one_out(4)).dataset().query_loss
    none = losses.isel(removal=0, drop=True)
    assert shift_upon_removal(losses, base=none).identical(shift_upon_removal(losses))
    moved = shift_upon_removal(losses, base=none - 1)
    np.testing.assert_allclose(moved, shift_upon_removal(losses) + 1)
    mean = shift_upon_removal(losses, base=none.mean("seed"))
    assert mean.dims == ("seed", "train", "checkpoint", "query")
    with pytest.raises(ValueError, match="first removal must be 'none'"):
        shift_upon_removal(losses.isel(removal=slice(1, None)))
    with pytest.raises(ValueError, match="first removal must be 'none'"):
        shift_upon_removal(none)


# -------------------------------------------------------------- refusals

REFUSED = {
    "the removal design is for 5 training points but task 'table-like' has 4": lambda: bank(
        runs=paired(leave_one_out(5), seed_pairs(1))
    ),
    "unknown measure 'query_los': did you mean 'query_loss'": lambda: bank(measures=["query_los"]),
    "no measure was given": lambda: bank(measures=[]),
    "unknown model 'mpl': did you mean 'mlp'": lambda: get_model("mpl"),
    "must return a torch.nn.Module": lambda: bank(model=lambda: 3),
    "it keeps buffers": lambda: bank(model=lambda: torch.nn.BatchNorm1d(8)),
    "it has no trainable parameter": lambda: bank(model=torch.nn.Flatten),
    "workers = 0; give at least 1": lambda: bank(workers=0).fill(),
}


@pytest.mark.parametrize("message", REFUSED)
def test_impossible_banks_are_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_no_path_of_a_machine_reaches_a_key(tmp_path):
    """Caches can be copied between machines of one kind."""
    specs = "".join(shard.spec for shard in bank(measures=["query_loss", plain]).shards)
    assert str(Path(__file__).parent) not in specs
    assert str(tmp_path) not in specs
