"""Trainers of one's own: the same answers as of arrays and of networks, and what is refused."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import plain_loop, printed_by_code_of, table_like
from torch import nn

import dtda_lib as dt
from dtda_lib.ask.refusals import why_refused
from dtda_lib.runs.removal import down_weighted
from dtda_lib.runs.trainer_bank import RETURNED, TrainerBank, own_trainer, trained

ROOT = Path(__file__).parents[2]
N, QUERIES, SEEDS, POINTS = 12, 3, 4, (1, 5, 8)
X, Y = (np.random.default_rng(0).normal(size=shape) for shape in ((N + QUERIES, 3), N + QUERIES))
MASK = np.zeros((3, N), bool)
MASK[[0, 0, 1, 2, 2, 2], [0, 1, 4, 2, 6, 7]] = True
TRIED = 3 + 1 + 1  # runs of the checks: seeds, the same seeds again, weights; two are the bank's


def fitted(init_seed, order_seed, weights, step=0.1):
    """A linear model by stochastic gradient descent: parameters `(3,)`."""
    theta = np.random.default_rng(init_seed).normal(size=3)
    for k in np.random.default_rng(order_seed).permutation(N):
        theta = theta - step * weights[k] * (X[k] @ theta - Y[k]) * X[k]
    return theta


def losses(theta):
    return (X[N:] @ theta - Y[N:]) ** 2 / 2


def sgd(init_seed, order_seed, weights):
    return losses(fitted(init_seed, order_seed, weights))


def counting(folder, break_at=None, step=0.1):
    """`sgd` that leaves a file for each call, and fails once at the call `break_at`."""

    def fit(init_seed, order_seed, weights):
        calls = len(list(folder.iterdir()))
        (folder / str(calls)).touch()
        if calls == break_at:
            raise OSError("the disk is full")
        return losses(fitted(init_seed, order_seed, weights, step))

    folder.mkdir(exist_ok=True)
    return fit


def calls_of(folder):
    return len(list(folder.iterdir()))


def bank_of(train=sgd, n_seeds=SEEDS, **settings):
    settings = {"points": POINTS} | settings if "groups" not in settings else settings
    return dt.trainer_bank(train, N, n_seeds, **settings)


def by_hand(train=sgd, removals=None, stream="first"):
    """Base `(seed, query)` and removed `(seed, removal, query)`, in a plain loop."""
    pairs, whole = dt.seed_pairs(SEEDS, stream), np.ones(N)
    removals = np.eye(N)[list(POINTS)] if removals is None else removals
    base = np.array([train(init, order, whole) for init, order in pairs])
    return base, np.array([[train(*pair, 1.0 - row) for row in removals] for pair in pairs])


# --- the same as other doors ----------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["first", "second"])
def test_the_answer_is_that_of_arrays_trained_by_hand(stream):
    bank = bank_of(unit="half squared units", stream=stream)
    ours = dt.as_laws(bank)
    theirs = dt.as_laws(*by_hand(stream=stream), left_out=POINTS, unit="half squared units")
    for name in ("base", "removed"):
        np.testing.assert_array_equal(ours[name], theirs[name])
        assert ours[name].dims == theirs[name].dims
    assert ours["train"].values.tolist() == list(POINTS)
    assert ours.attrs == theirs.attrs | {"random": "init_seed and order_seed"}
    found, expected = (dt.reliable(dt.shifts(one), test="t") for one in (bank, theirs))
    xr.testing.assert_equal(found, expected)
    assert found.attrs["unit"] == "half squared units"
    assert dt.points_of(found, 1).equals(dt.points_of(expected, 1))
    assert "half squared units" in dt.page(found).text
    changes = [dt.law_changes(laws, ("mean", "w2"), n_permutations=50) for laws in (ours, theirs)]
    xr.testing.assert_equal(*changes)


def test_groups_are_those_of_a_mask_in_each_of_its_forms():
    theirs = dt.as_laws(*by_hand(removals=MASK), left_out=MASK)
    lists = [np.flatnonzero(row).tolist() for row in MASK]
    for groups in (MASK, lists, dt.leave_groups_out(N, lists)):
        ours = dt.as_laws(bank_of(groups=groups))
        np.testing.assert_array_equal(ours["removed"], theirs["removed"])
        np.testing.assert_array_equal(ours["left_out"], theirs["left_out"])
    found = dt.reliable(dt.shifts(ours), test="t")
    assert found["removal"].values.tolist() == ["0+1", "4", "2+6+7"]


def test_fractions_are_weights_and_no_removals():
    design = down_weighted(N, [2], [0.25])
    bank = bank_of(groups=design)
    (init, order), *_ = dt.seed_pairs(SEEDS)
    found = bank.dataset()[RETURNED]
    np.testing.assert_array_equal(found[0, 1], sgd(init, order, 1 - 0.25 * np.eye(N)[2]))
    with pytest.raises(ValueError, match="weighs points down"):
        dt.shifts(bank)


def test_agreement_takes_scores_of_the_same_points():
    bank = dt.trainer_bank(sgd, N, SEEDS)
    laws = dt.as_laws(bank)
    mean = dt.shifts(bank).mean("seed").values
    given = dt.as_scores(mean, sign="removal")
    r = dt.agreement(given, laws, same_seeds=False)["r"].sel(kind="pearson", over="all pairs")
    assert float(r) == pytest.approx(1)


def outputs(init_seed, order_seed, weights):
    """Two columns `(query, output)`, as class probabilities have."""
    p = 1 / (1 + np.exp(-X[N:] @ fitted(init_seed, order_seed, weights)))
    return np.stack([1 - p, p], axis=1)


def spread(values):
    return float(np.ptp(values[:, 1]))


def test_outputs_are_asked_through_functionals():
    with pytest.raises(ValueError, match="pass one function of them as `of`"):
        bank_of(outputs)
    bank = bank_of(outputs, of={"spread": spread, "top": lambda v: v.max()})
    assert dt.plan(bank, timed=False).queries == 2
    ours, theirs = dt.as_laws(bank), dt.as_laws(*by_hand(outputs), left_out=POINTS, of=spread)
    np.testing.assert_array_equal(ours["removed"].sel(query="spread"), theirs["removed"][..., 0])
    other = dt.as_laws(bank, of=spread)
    np.testing.assert_array_equal(other["removed"], theirs["removed"])


def test_one_number_a_run_is_one_query():
    def largest(init_seed, order_seed, weights):
        return sgd(init_seed, order_seed, weights).max()

    found = dt.shifts(bank_of(largest))
    assert found.dims == ("seed", "train", "query")
    assert found["query"].values.tolist() == ["all"]
    assert dt.plan(bank_of(largest), timed=False).queries == 1


@pytest.mark.filterwarnings("ignore:model .* its weights are")
def test_a_torch_loop_gives_what_the_engine_gives():
    task = table_like(n_train=8, n_query=3)
    recipe = dt.Recipe("sgd", lr=0.05, batch_size=4, epochs=3, keep_last=1)

    def model():
        return nn.Sequential(nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 1))

    def loop(init_seed, order_seed, weights):
        net = plain_loop(task, model, recipe, init_seed, order_seed, torch.from_numpy(weights))[-1]
        with torch.no_grad():
            return (net(task.query_x)[:, 0] - task.query_y) ** 2 / 2

    engine = dt.retraining_bank(task, model, recipe, 3, points=[0, 5], workers=1)
    ours = dt.trainer_bank(loop, 8, 3, points=[0, 5])
    np.testing.assert_allclose(dt.shifts(ours), dt.shifts(engine), rtol=1e-10, atol=1e-12)


def test_workers_change_nothing():
    expected = dt.shifts(bank_of())
    with ThreadPoolExecutor(2) as executor:
        found = dt.shifts(bank_of(partial(sgd), executor=executor, workers=2))
    xr.testing.assert_equal(found, expected)


@pytest.mark.slow
def test_worker_processes_change_nothing():
    def closure(init_seed, order_seed, weights):
        return sgd(init_seed, order_seed, weights) + 0.0

    expected = dt.shifts(bank_of())
    xr.testing.assert_equal(dt.shifts(bank_of(closure, workers=2)), expected)


# --- kept and resumed -----------------------------------------------------------------------------


def test_what_is_there_is_not_trained_again(tmp_path):
    train = counting(tmp_path / "calls")
    bank = bank_of(train)
    assert calls_of(tmp_path / "calls") == TRIED
    plan = dt.plan(bank)
    assert (plan.points, plan.queries, plan.runs, plan.missing) == (3, QUERIES, 16, 14)
    assert plan.seconds > 0
    assert plan.random == "init_seed and order_seed"
    first = dt.shifts(bank)
    runs = TRIED + 14
    assert calls_of(tmp_path / "calls") == runs
    xr.testing.assert_equal(dt.shifts(bank_of(train)), first)
    assert calls_of(tmp_path / "calls") == runs
    more = bank_of(train, n_seeds=SEEDS + 1, points=(*POINTS, 9))  # the old runs are found in it
    assert dt.plan(more).missing == 5 * 5 - 16
    dt.shifts(more)
    assert calls_of(tmp_path / "calls") == runs + 9


def test_without_a_cache_the_tries_are_still_used(tmp_path, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", "off")
    dt.shifts(bank_of(counting(tmp_path / "calls")))
    assert calls_of(tmp_path / "calls") == TRIED + 14


@pytest.mark.parametrize("broken", [2, TRIED + 6])
def test_a_failure_loses_one_run_and_says_which(tmp_path, broken):
    def fail():
        dt.shifts(bank_of(counting(tmp_path / "calls", break_at=broken)))

    with pytest.raises(
        RuntimeError, match=r"trainer fit, init seed \d+ and order seed \d+.* raised OS"
    ):
        fail()
    assert calls_of(tmp_path / "calls") == broken + 1
    bank = bank_of(counting(tmp_path / "calls", break_at=broken))
    np.testing.assert_array_equal(dt.as_laws(bank)["removed"], by_hand()[1])
    assert calls_of(tmp_path / "calls") == TRIED + 14 + 1


def test_a_failure_names_the_removal():
    def picky(init_seed, order_seed, weights):
        if weights[5] == 0:
            raise KeyError("fifth")
        return sgd(init_seed, order_seed, weights)

    bank = bank_of(picky, points=(1, 5))
    with pytest.raises(RuntimeError, match=r"order seed \d+ without 5, raised KeyError: 'fifth'"):
        dt.shifts(bank)


def test_other_code_values_or_files_have_another_key(tmp_path):
    def identity(train, files=()):
        return own_trainer(train, files).identity

    one = counting(tmp_path / "calls")
    assert identity(one) == identity(counting(tmp_path / "calls"))
    assert identity(one) != identity(counting(tmp_path / "calls", step=0.2))
    assert identity(one) != identity(counting(tmp_path / "others"))
    assert identity(sgd) != identity(outputs)
    source = "def f(a, b, w):\n    return w[:2] * (a + {} * b)\n"
    moved = [{"__name__": name} for name in ("here", "there", "here")]
    for place, factor in zip(moved, (2, 2, 3)):
        exec(source.format(factor), place)
    here, there, changed = (identity(place["f"]) for place in moved)
    assert here == there != changed
    data, copy = tmp_path / "data.csv", tmp_path / "folder" / "data.csv"
    copy.parent.mkdir()
    for path in (data, copy):
        path.write_text("1,2")
    before = identity(sgd, [data])
    assert before == identity(sgd, [copy]) != identity(sgd)
    folder = identity(sgd, [copy.parent])
    copy.write_text("1,3")
    assert identity(sgd, [str(copy)]) != before
    assert identity(sgd, [copy.parent]) != folder
    with pytest.raises(ValueError, match="absent cannot be read"):
        own_trainer(sgd, [tmp_path / "absent"])


def test_a_shard_of_another_form_is_trained_again():
    bank = bank_of()
    dt.shifts(bank)
    shard = bank.shards[3]
    for wrong in (
        {"other": np.ones((1, 3))},
        {RETURNED: np.ones((2, 3))},
        {RETURNED: np.ones((1, 3), int)},
    ):
        bank.store.write(shard.key, wrong, 1.0, shard.spec)
        with pytest.warns(UserWarning, match="damaged"):
            again = bank_of().fill()
        np.testing.assert_array_equal(
            again.results[shard.key][RETURNED], bank.results[shard.key][RETURNED]
        )


# --- what seeds and weights do --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alone", "idle", "train"),
    [
        ("init_seed", "order_seed", lambda a, b, w: losses(fitted(a, 0, w))),
        ("order_seed", "init_seed", lambda a, b, w: losses(fitted(0, b, w))),
    ],
)
def test_a_law_over_one_seed_says_so(alone, idle, train):
    with pytest.warns(
        UserWarning, match=f"{idle} changes nothing, so the law is over {alone} alone"
    ) as said:
        bank = bank_of(train)
    assert said[0].filename == __file__  # of who declares the bank
    assert f"{alone} alone" in str(dt.plan(bank))
    found = dt.reliable(dt.shifts(bank), test="t")
    assert f"Seeds differ in {alone} alone." in dt.page(found).text


def test_global_streams_are_drawn_from_the_seeds_and_put_back():
    def drawing(init_seed, order_seed, weights):
        noise = random.random() + np.random.random() + torch.rand(()).item()  # noqa: NPY002
        return sgd(0, 0, weights) + 0.01 * noise

    before = random.getstate()
    bank = bank_of(drawing)
    assert bank.random == "init_seed and order_seed"
    assert random.getstate() == before
    random.random()  # a key has nothing to do with where they stand
    assert own_trainer(drawing).identity == bank.trainer.identity
    values = dt.as_laws(bank)
    assert len(np.unique(values["base"][:, 0])) == SEEDS
    np.testing.assert_allclose(  # paired: the same draws with and without a point
        dt.shifts(bank).std("seed"), 0, atol=1e-12
    )


def test_a_point_that_does_nothing_is_no_reason_to_refuse():
    def blind(init_seed, order_seed, weights):
        return sgd(init_seed, order_seed, np.where(np.arange(N) == POINTS[0], 1, weights))

    assert (dt.shifts(bank_of(blind)).sel(train=POINTS[0]) == 0).all()


def test_whole_numbers_hide_changes_and_are_warned_of():
    with pytest.warns(UserWarning, match="hidden by whole numbers") as said:
        bank = bank_of(lambda a, b, w: np.array([1, 0, 2]))
    assert [one.filename for one in said] == [__file__] * 2
    assert bank.random == "not stated"


# --- refusals -------------------------------------------------------------------------------------


def unseeded(init_seed, order_seed, weights):
    return sgd(init_seed, order_seed, weights) + 1e-3 * np.random.default_rng().random()


def timed(init_seed, order_seed, weights):
    return sgd(init_seed, order_seed, weights) + 1e-10 * (time.perf_counter_ns() % 1_000)


def ending(init_seed, order_seed, weights):
    raise SystemExit(3)


def overwriting(init_seed, order_seed, weights):
    weights *= 2
    return sgd(init_seed, order_seed, weights)


def longer(init_seed, order_seed, weights):
    return np.ones(3 + (init_seed + order_seed) % 7) * init_seed


@pytest.mark.parametrize(
    ("train", "told"),
    [
        (unseeded, "two runs with the same seeds differ by up to .*random_state="),
        (lambda a, b, w: sgd(0, 0, w), "neither init_seed nor order_seed changes"),
        (lambda a, b, w: sgd(a, b, np.ones(N)), "weights change nothing, .* sample_weight="),
        (lambda a, b, w: ["a"], "return real numbers"),
        (lambda a, b, w: None, "return real numbers"),
        (lambda a, b, w: sgd(a, b, w).astype(np.float16), "float16"),
        (lambda a, b, w: sgd(a, b, w)[:0], r"returned the shape \(0,\)"),
        (lambda a, b, w: sgd(a, b, w).reshape(1, 1, 3), r"returned the shape \(1, 1, 3\)"),
        (longer, "return the same queries in every run"),
        (lambda a, b, w: sgd(a, b, w)[: 3 if w.all() else 2], "return the same queries in every"),
        (overwriting, "changed the weights that it was given"),
        ("fit", "trainer 'fit' cannot be called"),
    ],
)
def test_a_trainer_without_an_answer_is_refused(train, told):
    with pytest.raises(ValueError, match=told):
        bank_of(train)


def test_rounding_between_equal_seeds_is_forgiven():
    assert isinstance(bank_of(timed), TrainerBank)


def test_ending_the_process_is_refused_with_the_run():
    with pytest.raises(
        RuntimeError, match=r"init seed \d+ and order seed \d+, ended the process by"
    ):
        bank_of(ending)


def warm_starting():
    """A trainer that goes on from the model of the run before."""
    kept = [np.zeros(3)]

    def warm(init_seed, order_seed, weights):
        kept[0] = kept[0] + fitted(init_seed, order_seed, weights)
        return losses(kept[0])

    return warm


def test_a_state_that_runs_share_is_refused_each_time():
    for _ in range(2):  # nothing of the first try lets the second pass
        with pytest.raises(ValueError, match="changes what it has captured"):
            bank_of(warm_starting())


def test_a_state_is_looked_for_where_workers_did_not_show_it(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        bank_of(counting(tmp_path / "calls"), executor=executor, workers=1)
    assert calls_of(tmp_path / "calls") == TRIED
    bank_of(counting(tmp_path / "calls"))
    assert calls_of(tmp_path / "calls") == TRIED + 1  # the same seeds again, in this process


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"points": [N]}, f"no training point {N}"),
        ({"points": []}, "no removal was given"),
        ({"groups": []}, "no removal was given"),
        ({"groups": [[1], []]}, "group 1 leaves out nothing"),
        ({"groups": MASK[:, 1:]}, r"the mask has the shape \(3, 11\)"),
        ({"groups": MASK, "points": POINTS}, "not both"),
        ({"groups": dt.leave_one_out(N + 1)}, "is for 13 training points"),
        ({"groups": dt.leave_one_out(N).select([1, 2])}, "begins with '0'"),
        ({"n_seeds": 1}, "n_seeds = 1; give 2 or more"),
        ({"n_seeds": 2.5}, r"n_seeds = 2.5"),
        ({"better": "larger"}, "better = 'larger'"),
        ({"of": "mode"}, "unknown functional 'mode'"),
        ({"workers": 0}, "workers = 0"),
    ],
)
def test_settings_are_refused_before_the_bank_trains(settings, told):
    with pytest.raises(ValueError, match=told):
        bank_of(**settings)


def diverging(at):
    def fit(init_seed, order_seed, weights):
        values = sgd(init_seed, order_seed, weights)
        bad = weights[5] == 0 and (init_seed, order_seed) == dt.seed_pairs(SEEDS)[at]
        return np.where([bad, False, False], np.inf, values)

    return fit


def test_values_that_are_not_finite_end_it_or_leave_every_law():
    (init, order) = dt.seed_pairs(SEEDS)[2]
    told = f"1 of 4 seeds (init seed {init} and order seed {order} without 5)"
    with pytest.raises(FloatingPointError, match="values are not finite, 1 of 4 seeds"):
        dt.shifts(bank_of(diverging(2)))
    bank = bank_of(diverging(2), drop_diverged=True)
    laws = dt.as_laws(bank)
    assert laws.attrs["dropped"] == told
    np.testing.assert_array_equal(laws["removed"], np.delete(by_hand()[1], 2, axis=0))
    assert "they leave every law" in dt.plan(bank).diverged


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_run_is_whole_or_not_there(bad):
    values = trained(lambda a, b, w: np.array([1.0, bad, 3.0]), 1, 2, np.ones(4), "a run")
    np.testing.assert_array_equal(values, [np.nan] * 3)


class LightningModule(nn.Module):
    """As of Lightning, which is not installed."""


class Lit(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(8, 1)

    def forward(self, x):
        return self.net(x)


def test_a_lightning_module_is_sent_to_this_door():
    task = table_like(dtype=torch.float32)
    assert "through trainer_bank" in why_refused(Lit, task)
    assert why_refused(lambda: Lit().net, task) == "accepted"


def test_the_bank_says_what_it_is():
    assert repr(bank_of()) == (
        "TrainerBank(title='sgd', trainer='sgd', runs=16, missing=14, seeds=4, "
        "removals='none, 1, 5, ...\n    (4)', random='init_seed and order_seed')"
    )


@pytest.mark.slow
def test_the_code_in_the_guide_runs(tmp_path):
    text = (ROOT / "docs" / "your_trainer.md").read_text(encoding="utf-8")
    (tmp_path / "train.sh").write_text('cp "$1/weights.npy" "$1/losses.npy"\n')
    text += "```python\nprint(by_command(1, 2, np.arange(3) / 8))\n```"
    printed = printed_by_code_of(text, tmp_path)
    assert "[0.    0.125 0.25 ]" in printed
    assert "6 points x 5 queries, 16 seeds" in printed
    assert "q_value" in printed
    assert "init_seed alone" in printed
