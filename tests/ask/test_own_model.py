"""Your own model: what is refused and why, the plan, the answer, screening and the page."""

import html
import math
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import mistune
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import digits_like, plain_loop, printed_by_code_of, table_like
from scipy import stats
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import dtda_lib as dt
from dtda_lib.ask import page as own_page
from dtda_lib.ask.answer import Candidates
from dtda_lib.ask.plan import readable_bytes
from dtda_lib.ask.refusals import check_model, why_refused
from dtda_lib.data.own import as_task
from dtda_lib.experiments.your_own_model import calibrated
from dtda_lib.experiments.your_own_model import claims as rules
from dtda_lib.experiments.your_own_model import examples as own_examples
from dtda_lib.experiments.your_own_model import judged as own_question
from dtda_lib.experiments.your_own_model import plots as own_plots
from dtda_lib.models.networks import Network, get_model, initial_theta, new_module
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.statistics.power import detectable_snr, discovery_level, power, seeds_needed
from dtda_lib.statistics.significance import benjamini_hochberg, bootstrap_t, t_test
from dtda_lib.study import markdown

ROOT = Path(__file__).parents[2]
TABLE = table_like(dtype=torch.float32)
SHORT = Recipe("sgd", lr=0.05, batch_size=4, epochs=2, keep_last=2)
ALONE = {"workers": 1}


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Counting(nn.Module):
    """Remembers how often it was called."""

    def __init__(self):
        super().__init__()
        self.out, self.calls = nn.Linear(8, 1), 0

    def forward(self, x):
        self.calls += 1
        return self.out(x) * self.calls


class Frozen(nn.Module):
    """Features that do not train: drawn, or fixed."""

    def __init__(self, fixed=False):
        super().__init__()
        self.features, self.out = nn.Linear(8, 4).requires_grad_(False), nn.Linear(4, 1)
        if fixed:
            nn.init.eye_(self.features.weight)
            nn.init.zeros_(self.features.bias)

    def forward(self, x):
        return self.out(self.features(x))


class Functional(nn.Module):
    """Dropout and batch statistics that are no layers."""

    def __init__(self, kind):
        super().__init__()
        self.out, self.kind = nn.Linear(8, 1), kind

    def forward(self, x):
        if self.kind == "dropout":
            x = nn.functional.dropout(x, 0.5)
        if self.kind == "batch":
            x = x - x.mean(dim=0)
        return self.out(x)


class Recurrent(nn.Module):
    """A layer that torch.func cannot stack."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTM(1, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.cell(x.unsqueeze(-1))[0][:, -1])


class Attention(nn.Module):
    """A transformer layer; its dropout is 0.1 unless said otherwise."""

    def __init__(self, **settings):
        super().__init__()
        self.embed, self.out = nn.Linear(1, 8), nn.Linear(8, 1)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **settings)

    def forward(self, x):
        return self.out(self.layer(self.embed(x.unsqueeze(-1))).mean(1))


class Reached(nn.Module):
    """One layer that is reached by two names."""

    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(8, 8), nn.Linear(8, 1)
        self.second = self.first

    def forward(self, x):
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Seeded(nn.Linear):
    """Takes the seeds' part in the start away, or hands it to others."""

    def __init__(self, how):
        if how == "seed":
            torch.manual_seed(0)
        super().__init__(8, 1)
        if how == "file":
            self.load_state_dict(CHECKPOINT)
        if how == "numpy":
            drawn = np.random.default_rng().standard_normal((1, 8))
            self.weight.data = torch.from_numpy(drawn).float()


CHECKPOINT = nn.Linear(8, 1).state_dict()
SHARED = nn.Linear(8, 1)


class Blind(nn.Module):
    """A norm over one value leaves nothing of the input."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.out = nn.Linear(8, 1), nn.LayerNorm(1), nn.Linear(1, 1)

    def forward(self, x):
        return self.out(self.norm(self.layer(x)))


class Positioned(nn.Linear):
    """Adds a constant that it keeps as a buffer."""

    def __init__(self):
        super().__init__(8, 1)
        self.register_buffer("position", torch.arange(8.0) / 8)

    def forward(self, x):
        return super().forward(x + self.position)


class Answering(nn.Linear):
    """Returns its outputs as others do."""

    def __init__(self, how):
        super().__init__(8, 1)
        self.how = how

    def forward(self, x):
        y = super().forward(x)
        return {"dict": {"logits": y}, "tuple": (y, x), "object": SimpleNamespace(logits=y)}[
            self.how
        ]


def zero_head():
    """Constant at the start, and no longer after a step."""
    net = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))
    nn.init.zeros_(net[2].weight)
    return net


def around(*layers):
    return lambda: nn.Sequential(nn.Linear(8, 8), *layers, nn.ReLU(), nn.Linear(8, 1))


def conv():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=3),
        nn.GroupNorm(2, 4),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


# --- which modules can be asked ------------------------------------------------------------------

ACCEPTED = {
    "LayerNorm": around(nn.LayerNorm(8)),
    "GroupNorm": around(nn.GroupNorm(2, 8)),
    "dropout in eval mode": lambda: around(nn.Dropout(0.5))().eval(),
    "dropout of nothing": around(nn.Dropout(0.0)),
    "tied weights": Tied,
    "a layer by two names": Reached,
    "a last layer of zeros": zero_head,
    "fixed frozen layer": lambda: Frozen(fixed=True),
    "half precision": lambda: nn.Linear(8, 1).half(),
    "attention": lambda: Attention(dropout=0.0),
    "batch norm": around(nn.BatchNorm1d(8)),
    "frozen batch norm": lambda: around(nn.BatchNorm1d(8))().eval(),
    "dropout": around(nn.Dropout(0.1)),
    "dropout within": Attention,
    "buffers that change": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 1)),
    "a constant buffer": Positioned,
    "outputs in a dict": lambda: Answering("dict"),
    "outputs as .logits": lambda: Answering("object"),
    "outputs in a tuple": lambda: Answering("tuple"),
}

REFUSED = {
    "batch norm without statistics": (
        around(nn.BatchNorm1d(8, track_running_stats=False)),
        "cannot take one example alone .* norm",
    ),
    "functional dropout": (lambda: Functional("dropout"), "two passes .* random numbers"),
    "batch mean": (lambda: Functional("batch"), "depends on the others in the batch"),
    "state": (Counting, "two passes .* keeps a state"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(1)), "LazyLinear has no shape"),
    "drawn frozen layer": (Frozen, "frozen parameter 'features.weight' is drawn anew"),
    "instance": (nn.Linear(8, 1), "one network; give the class"),
    "no module": (lambda: 3, "returned int"),
    "outputs": (lambda: nn.Linear(8, 2), r"output for 8 examples is \(8, 2\), not \(8, 1\)"),
    "inputs": (lambda: nn.Linear(3, 1), "cannot take inputs of shape"),
    "complex": (lambda: nn.Linear(8, 1, dtype=torch.complex64), "must be real numbers"),
    "recurrent": (Recurrent, "pass chunk=1"),
    "one network for all": (lambda: SHARED, "returns one and the same network at each call"),
    "a seed inside": (lambda: Seeded("seed"), "two seeds gave the same initial .* same_start=True"),
    "a checkpoint": (lambda: Seeded("file"), "two seeds gave the same initial .* same_start=True"),
    "NumPy's numbers": (lambda: Seeded("numpy"), "under one seed gave different initial weights"),
    "blind": (Blind, "different inputs give the same output"),
    "GroupNorm of single values": (
        around(nn.GroupNorm(8, 8)),
        "model Sequential: it cannot take one example alone .*more than 1",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ACCEPTED)
def test_modules_that_are_taken(name):
    assert why_refused(ACCEPTED[name], TABLE, SHORT) == "accepted"


@pytest.mark.parametrize("name", REFUSED)
def test_modules_that_are_refused_in_one_sentence(name):
    model, told = REFUSED[name]
    with pytest.raises(ValueError, match=told) as refusal:
        dt.retraining_bank(TABLE, model, SHORT, 2, **ALONE)
    text = str(refusal.value)
    assert text.endswith(".")
    assert "\n" not in text


def test_what_cannot_be_stacked_trains_alone():
    assert check_model(Recurrent, TABLE, SHORT, chunk=1).layout.n_parameters > 0


def test_a_start_that_all_seeds_share_is_said_wherever_the_answer_is():
    def tuned():
        return Seeded("file")

    bank = dt.retraining_bank(TABLE, tuned, SHORT, 4, points=[0, 1], same_start=True, **ALONE)
    assert dt.plan(bank, timed=False).random == "batch order alone"
    found = dt.reliable(dt.shifts(bank))
    assert found.attrs["random"] == "batch order alone"
    assert "Seeds differ in batch order alone" in own_page.page(found, TABLE).text
    other = dt.retraining_bank(TABLE, lambda: nn.Linear(8, 1), SHORT, 4, points=[0], **ALONE)
    assert "initial weights and batch order" in str(dt.plan(other, timed=False))
    assert "Seeds differ" not in own_page.page(dt.reliable(dt.shifts(other)), TABLE).text


def test_the_precision_that_trains_is_said():
    with pytest.warns(UserWarning, match=r"weights are torch\.bfloat16, but it trains"):
        check_model(lambda: nn.Linear(8, 1).bfloat16(), TABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_model(lambda: nn.Linear(8, 1), TABLE)


def test_a_call_leaves_the_module_as_it_is():
    for model in (Reached, Tied):
        network = Network.of(model)
        before = {name: id(p) for name, p in network.module.named_parameters()}
        theta = initial_theta(model, 3)
        outputs = network(theta, TABLE.query_x)
        assert all(isinstance(p, nn.Parameter) for p in network.module.parameters())
        assert {name: id(p) for name, p in network.module.named_parameters()} == before
        plain = new_module(model, 3)
        torch.testing.assert_close(outputs, plain(TABLE.query_x))


def test_seeds_that_diverged_are_counted_in_plan_answer_and_page():
    wild = Recipe("sgd", lr=0.5, batch_size=4, epochs=3)

    def spiky():  # some seeds start where the first step throws them out
        net = nn.Linear(8, 1)
        nn.init.constant_(net.bias, 1e38 if float(net.bias) > 0 else 0.0)
        return net

    def bank(**settings):
        return dt.retraining_bank(TABLE, spiky, wild, 12, points=[0, 1], **ALONE, **settings)

    with pytest.raises(FloatingPointError, match=r"of 12 seeds \(init seed .*drop_diverged=True"):
        dt.shifts(bank())
    planned = dt.plan(bank(), timed=False)
    assert "drop_diverged=True leaves them out" in str(planned)
    dropping = bank(drop_diverged=True)
    n_lost = int(dropping.diverged().any("removal").sum())
    assert 0 < n_lost < 11
    fewer = dt.plan(dropping, timed=False)
    assert f"{n_lost} of 12 seeds" in fewer.diverged
    smallest = detectable_snr(12 - n_lost, fewer.level_one, 0.8, test="bootstrap_t")
    assert fewer.snr_one == smallest > planned.snr_one
    found = dt.reliable(dt.shifts(dropping))
    assert found.attrs["seeds"] == 12 - n_lost
    assert found.attrs["dropped"].startswith(f"{n_lost} of 12 seeds (init seed ")
    assert f"left out of both laws: {n_lost} of 12 seeds" in own_page.page(found, TABLE).text


@pytest.mark.slow
@pytest.mark.parametrize("model", [Tied, Reached])
def test_tied_weights_train_as_in_plain_pytorch(model):
    task = table_like()
    weight = torch.ones(task.n_train)
    (init, order), *_ = seed_pairs(1)
    nets = plain_loop(task, model, SHORT, init, order, weight)
    bank = dt.retraining_bank(task, model, SHORT, 1, points=[0], **ALONE)
    ours = bank.dataset()["query_loss"].isel(seed=0, removal=0)
    for net, values in zip(nets, ours.values):
        theirs = task.per_example_loss(net(task.query_x), task.query_y)
        np.testing.assert_allclose(values, theirs.detach().numpy(), rtol=1e-9)


# --- data ----------------------------------------------------------------------------------------


def frame(n=40):
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, (n, 2))
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": x[:, 0] - x[:, 1]})


def test_a_table_is_standardised_by_its_training_rows_and_keeps_row_numbers():
    table = frame()
    task = as_task(table, target="y", n_train=20, n_query=10)
    assert (task.n_train, task.n_query, task.loss) == (20, 10, "squared_error")
    assert (task.classes, task.columns) == ((), ("a", "b"))
    assert not set(task.train_id) & set(task.query_id)
    rows = table.loc[list(task.train_id)]
    expected = (rows - rows.mean()) / rows.std(ddof=0)
    np.testing.assert_allclose(task.train_x, expected[["a", "b"]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(task.train_y, expected["y"], rtol=1e-5, atol=1e-6)
    asked = (table.loc[list(task.query_id)] - rows.mean()) / rows.std(ddof=0)
    np.testing.assert_allclose(task.query_x, asked[["a", "b"]], rtol=1e-5, atol=1e-6)


def test_words_become_classes_and_all_kinds_of_data_agree():
    table = frame().assign(y=["yes", "no"] * 20)
    task = as_task(table, target="y", n_query=5)
    assert (task.loss, task.n_outputs, task.classes) == ("cross_entropy", 2, ("no", "yes"))
    assert task.columns == ("a", "b")
    assert task.train_y.tolist() == [1 - row % 2 for row in task.train_id]
    x, y = table[["a", "b"]].to_numpy(), np.array([1, 0] * 20)
    pair = as_task((x, y), n_query=5)
    items = as_task(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), n_query=5)
    for other in (pair, items):
        assert torch.equal(other.train_x, task.train_x)
        assert torch.equal(other.query_y, task.query_y)
    assert as_task(task) is task
    split = as_task((x[:30], y[:30]), (x[30:], y[30:]))
    assert (split.n_train, split.query_id) == (30, tuple(range(10)))


class Augmented(Dataset):
    """Draws at random whenever an item is read."""

    rng = np.random.default_rng(0)

    def __len__(self):
        return 4

    def __getitem__(self, at):
        return self.rng.normal(size=2), at % 2


WRONG_DATA = {
    "no target": (lambda: as_task(frame()), "name the column to predict"),
    "words": (lambda: as_task(frame().assign(a="x"), target="y"), "'a' holds no numbers"),
    "missing": (lambda: as_task(frame().assign(b=np.nan), target="y"), "'b' has missing values"),
    "augmented": (lambda: as_task(Augmented()), "draws at random"),
    "too many": (lambda: as_task(frame(), target="y", n_query=40), "take 1 to 39"),
    "one class": (lambda: as_task(frame().assign(y=1), target="y"), "two or more labels"),
    "loss": (lambda: as_task(frame(), target="y", loss="hinge"), "unknown loss"),
    "kind": (lambda: as_task(3), "no table, data set or pair"),
    "shape": (lambda: as_task((np.ones((4, 2)), np.ones(3))), "do not fit"),
    "infinite": (lambda: as_task((np.full((4, 2), np.inf), np.ones(4))), "finite numbers"),
    "bad target": (lambda: as_task((np.ones((4, 2)), np.full(4, np.nan))), "targets hold NaN"),
    "a class that never trains": (
        lambda: as_task((np.eye(4), ["a", "a", "b", "c"]), n_query=1, seed=2),
        "class 'c' is among the queries, but no training point has it",
    ),
    "columns": (lambda: as_task(frame(), frame()[["b", "a", "y"]], target="y"), "columns differ"),
}


@pytest.mark.parametrize("name", WRONG_DATA)
def test_data_that_are_refused_in_one_sentence(name):
    attempt, told = WRONG_DATA[name]
    with pytest.raises(ValueError, match=told) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)


def test_twins_are_counted():
    x = np.arange(12.0).reshape(6, 2)
    twice, y = np.concatenate([x, x]), np.arange(12.0)
    with pytest.warns(UserWarning, match="1 of 1 queries have inputs that also train;"):
        as_task((twice, y), n_query=1)
    with pytest.warns(UserWarning, match="^task 'mine': 10 training points have a twin, so"):
        as_task((np.concatenate([x[1:], x[1:]]), y[:10]), (x[:1], y[:1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_task((x, y[:6]), n_query=1)


# --- the plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 10, 40])
def test_the_detectable_shift_inverts_power(n):
    for alpha in (0.05, 1e-4):
        snr = detectable_snr(n, alpha, 0.8)
        assert power(snr, n, alpha) == pytest.approx(0.8, abs=1e-9)
        assert seeds_needed(1.001 * snr, alpha, 0.8) == n
    with pytest.raises(ValueError, match="target"):
        detectable_snr(10, 0.05, 0.04)


def test_the_level_is_bonferronis_for_one_pair_and_q_if_all_are_real():
    assert discovery_level(1000, 1, 0.05) == pytest.approx(0.05 / 1000)
    assert discovery_level(10, 10, 0.05, 0.8) == pytest.approx(0.04)
    with pytest.raises(ValueError, match="n_real"):
        discovery_level(10, 11)


def simulated(n_seeds, n_pairs, n_real, snr, seed=0):
    """Gaussian shifts `(seed, train, query)`; the first `n_real` points have mean snr, sd 1."""
    noise = np.random.default_rng(seed).standard_normal((n_seeds, n_pairs, 1))
    mean = np.where(np.arange(n_pairs) < n_real, snr, 0.0)[:, None]
    coords = {"train": np.arange(n_pairs), "query": [0]}
    return xr.DataArray(noise + mean, coords, dims=("seed", "train", "query"))


def test_a_planned_shift_is_found_as_often_as_planned():
    """Simulation: with a tenth of the pairs real, and with one."""
    n, pairs, real, target = 8, 20_000, 2_000, 0.8
    snr = detectable_snr(n, discovery_level(pairs, real), target)
    found = dt.reliable(simulated(n, pairs, real, snr), test="t")["reliable"].values[:real]
    error = math.sqrt(target * (1 - target) / real)
    assert abs(found.mean() - target) < 4 * error
    one = detectable_snr(n, discovery_level(200, 1), target)
    alone = simulated(n, 5_000, 5_000, one, seed=1)
    share = float((t_test(alone) <= 0.05 / 200).mean())
    assert abs(share - target) < 4 * math.sqrt(target * (1 - target) / 5_000)


@pytest.mark.slow
def test_the_plan_counts_runs_bytes_and_pairs(tmp_path, monkeypatch):
    monkeypatch.setenv("DTDA_CACHE", str(tmp_path))
    bank = dt.retraining_bank(
        TABLE, around(nn.LayerNorm(8)), SHORT, 3, points=[0, 4], chunk=2, **ALONE
    )
    made = dt.plan(bank)
    assert (made.points, made.queries, made.pairs) == (2, 5, 10)
    assert (made.runs, made.missing, made.shards) == (9, 9, 5)
    assert made.seconds > 0
    assert made.sigma is None
    pilot = dt.shifts(bank)
    files = list(tmp_path.rglob("*.safetensors"))
    assert made.disk_bytes == pytest.approx(sum(f.stat().st_size for f in files), rel=0.03)
    again = dt.plan(bank, pilot=pilot, timed=False)
    assert again.missing == 0
    assert math.isnan(again.seconds)
    assert again.sigma == pytest.approx(float(pilot.std("seed", ddof=1).median()))
    assert again.seeds_for(1.0, only_one=True) >= again.seeds_for(1.0)
    assert again.snr_one == math.inf
    assert "nothing with 3 seeds" in str(again)
    whole, per_query = (
        dt.plan(bank, family=family, test="t", pilot=pilot, timed=False)
        for family in ("all", "query")
    )
    assert per_query.snr_one < whole.snr_one < math.inf
    assert "Student's t" in str(whole)
    assert "pilot" in str(whole)
    with pytest.raises(ValueError, match="share of pairs"):
        dt.plan(bank, real=0.0, timed=False)


def test_sizes_are_readable():
    assert [readable_bytes(n) for n in (1, 12_000, 3_400_000, 2e9)] == [
        "1 kB",
        "12 kB",
        "3.4 MB",
        "2.0 GB",
    ]


def test_shifts_are_the_plain_loops_and_take_the_bytes_that_were_told(tmp_path, monkeypatch):
    """Loss without the point less loss with it, over both checkpoints of the same two seeds."""
    monkeypatch.setenv("DTDA_CACHE", str(tmp_path / "kept"))
    task, model = table_like(n_query=1500), get_model("mlp", widths=(8, 1))
    bank = dt.retraining_bank(task, model, SHORT, 2, points=[0, 4], chunk=1, **ALONE)
    told = dt.plan(bank, timed=False)
    found = dt.shifts(bank)
    assert found.dims == ("seed", "train", "query")
    assert found["train"].values.tolist() == [0, 4]
    for seed, (init, order) in enumerate(seed_pairs(2)):

        def losses(left_out, init=init, order=order):
            weight = torch.ones(task.n_train, dtype=torch.float64)
            weight[left_out] = 0
            nets = plain_loop(task, model, SHORT, init, order, weight)
            each = [task.per_example_loss(net(task.query_x), task.query_y) for net in nets]
            return torch.stack(each).mean(dim=0).detach().numpy()

        for row, point in enumerate([0, 4]):
            expected = losses([point]) - losses([])
            np.testing.assert_allclose(found[seed, row], expected, rtol=1e-8, atol=1e-12)
    files = list((tmp_path / "kept").rglob("*.safetensors"))
    assert (told.runs, told.missing, told.shards, len(files)) == (6, 6, 6, 6)
    payload = 6 * 2 * 1500 * 8  # runs, checkpoints, queries, bytes of a float64
    assert payload < told.disk_bytes
    assert told.disk_bytes == pytest.approx(sum(f.stat().st_size for f in files), rel=0.03)


# --- the answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["bootstrap_t", "t"])
def test_reliable_is_benjamini_hochberg_with_intervals_that_agree(test):
    shift = simulated(12, 300, 60, 1.5)
    found = dt.reliable(shift, test=test)
    p = t_test(shift) if test == "t" else bootstrap_t(shift).p
    expected = benjamini_hochberg(p)["discovery"]
    assert 40 < int(expected.sum()) < 75
    assert (found["reliable"] == expected).all()
    holds_zero = (found["low"] <= 0) & (found["high"] >= 0)
    assert not (holds_zero & found["reliable"]).any()
    if test == "t":  # an interval of its own: that of Student
        ends = stats.ttest_1samp(shift.values, 0).confidence_interval(0.95)
        np.testing.assert_allclose(
            found["high"].where(~expected), np.where(expected, np.nan, ends.high)
        )
    flipped = dt.reliable(-shift, test=test)
    np.testing.assert_allclose(flipped["low"], -found["high"])
    with pytest.raises(ValueError, match="family"):
        dt.reliable(shift, family="both")


def test_the_default_reports_skewed_noise_as_seldom_as_said():
    """Each query a study of 100 pairs of exponential noise; Student's t reports most of them."""
    noise = calibrated.noise("skewed", 10, 60, np.random.default_rng(3))
    reports = {
        test: float(dt.reliable(noise, family="query", test=test)["reliable"].any("train").mean())
        for test in ("bootstrap_t", "t")
    }
    assert reports["bootstrap_t"] <= 0.1
    assert reports["t"] > 0.5
    assert dt.reliable(noise.isel(query=[0])).attrs["test"] == "bootstrap_t"


def test_few_seeds_are_told_how_many_it_takes():
    with pytest.raises(ValueError, match="train at least 4 seeds"):
        dt.reliable(simulated(3, 20, 2, 1.0))
    with pytest.raises(ValueError, match="train at least 6 seeds"):
        dt.reliable(simulated(4, 20, 2, 1.0), test="sign_flip")
    with pytest.raises(ValueError, match="unknown test"):
        dt.reliable(simulated(8, 20, 2, 1.0), test="code")


def test_one_pair_alone_is_reliable_exactly_where_its_interval_leaves_zero_out():
    """No selection, so test and interval are one: both change where t is its 97.5 % quantile."""
    shift = simulated(7, 1, 0, 0.0)
    centred = (shift - shift.mean("seed")) / shift.std("seed", ddof=1)
    critical = stats.t.ppf(0.975, 6) / np.sqrt(7)
    for mean in (-1.001, -0.999, 0.0, 0.999, 1.001):
        found = dt.reliable(centred + mean * critical, test="t").squeeze()
        assert bool(found["reliable"]) == (abs(mean) > 1)
        assert bool(found["low"] * found["high"] > 0) == (abs(mean) > 1)
        assert float(found["high"] - found["low"]) == pytest.approx(2 * critical)


def test_a_family_of_one_query_is_corrected_by_itself():
    shift = simulated(6, 50, 5, 2.0)
    wide = xr.concat([shift, shift.assign_coords(query=[1]) * 0.5], "query")
    alone = dt.reliable(shift)
    by_query = dt.reliable(wide, family="query").sel(query=[0])
    xr.testing.assert_allclose(by_query["q_value"], alone["q_value"])
    xr.testing.assert_allclose(by_query["low"], alone["low"])


def test_intervals_of_selected_pairs_miss_as_seldom_as_said():
    """False coverage over repetitions; plain 95 % intervals miss far more often."""
    snr, missed, plain = 0.7, [], []
    for seed in range(40):
        shift = simulated(16, 400, 40, snr, seed)
        found = dt.reliable(shift)
        truth = xr.where(found["train"] < 40, snr, 0.0)
        chosen = found["reliable"].values
        outside = ((found["low"] > truth) | (found["high"] < truth)).values
        half = 2.1314 * (found["sd"] / np.sqrt(16)).values  # t quantile, 15 degrees of freedom
        narrow = np.abs((found["mean"] - truth).values) > half
        missed.append(outside[chosen].mean() if chosen.any() else 0.0)
        plain.append(narrow[chosen].mean() if chosen.any() else 0.0)
    assert np.mean(missed) < 0.05 + 2 * np.std(missed) / math.sqrt(40)
    assert np.mean(plain) > 0.1


@pytest.mark.slow
def test_confirmation_on_fresh_seeds_finds_nothing_in_noise_but_the_same_seeds_would():
    """The selection is made on noise; only its own seeds confirm it."""
    fresh, same, n = 0, 0, 100
    for seed in range(n):
        generator = np.random.default_rng(seed)
        first, second = (simulated(12, 200, 0, 0.0, 2 * seed + part) for part in (0, 1))
        picks = dt.screen(first, 10, 0, generator)
        fresh += bool(dt.reliable(second.sel(train=list(picks.points)))["reliable"].any())
        same += bool(dt.reliable(first.sel(train=list(picks.points)))["reliable"].any())
    assert fresh <= 5 + 3 * math.sqrt(n * 0.05 * 0.95)
    assert same > 30


def test_points_of_a_query_come_reliable_first_by_size():
    found = xr.Dataset(
        {
            "mean": (("train", "query"), np.array([[0.1], [-0.5], [0.9], [0.3]])),
            "reliable": (("train", "query"), np.array([[True], [True], [False], [False]])),
        }
        | {n: (("train", "query"), np.zeros((4, 1))) for n in ("low", "high", "q_value")},
        coords={"train": [3, 5, 7, 9], "query": [2]},
    )
    assert dt.points_of(found, 2)["point"].tolist() == [5, 3, 7, 9]
    assert dt.points_of(found, 2, 1)["mean"].tolist() == [-0.5]


# --- screening -----------------------------------------------------------------------------------


def test_screening_lets_queries_take_turns_and_draws_controls_from_the_rest():
    values = np.zeros((6, 2))
    values[:, 0] = [100, 90, 80, 1, 2, 3]
    values[:, 1] = [0.1, 0.2, 0.0, -9.0, 5.0, 0.3]
    estimates = xr.DataArray(
        values[None], {"train": np.arange(6) + 10, "query": [0, 1]}, ("seed", "train", "query")
    )
    picks = dt.screen(estimates, 2, 3, np.random.default_rng(0))
    assert set(picks.top) == {10, 13}
    assert set(picks.random) < {11, 12, 14, 15}
    assert picks.points == tuple(sorted(picks.top + picks.random))
    scaled = dt.screen(-7 * estimates, 4, 0, np.random.default_rng(0))
    assert scaled.top == dt.screen(estimates, 4, 0, np.random.default_rng(0)).top
    with pytest.raises(ValueError, match="do not fit 6 points"):
        dt.screen(estimates, 5, 2, np.random.default_rng(0))


def test_hits_count_points_with_a_reliable_pair():
    reliable = np.zeros((5, 2), bool)
    reliable[[0, 0, 3], [0, 1, 1]] = True
    coords = {"train": np.arange(5), "query": [0, 1]}
    found = xr.Dataset({"reliable": (("train", "query"), reliable)}, coords)
    table = dt.hits(found, Candidates((0, 1), (3, 4), 5)).set_index("set")
    assert table["matter"].to_dict() == {"top": 1, "random": 1}
    assert table["pairs"].to_dict() == {"top": 2, "random": 1}
    gap = own_question.top_against_random(found, Candidates((0, 1), (3, 4), 5))
    assert gap["estimate"] == pytest.approx(0.5 - 0.25)
    assert gap["low"] < gap["estimate"] < gap["high"]


# --- judged by other seeds -----------------------------------------------------------------------


def test_sets_are_disjoint_and_judged_by_the_rest():
    shift = simulated(7, 4, 0, 0.0)
    sets = list(own_question.sets_and_others(shift.assign_coords(seed=range(7)), 3))
    assert [(one["seed"].values.tolist(), rest["seed"].values.tolist()) for one, rest in sets] == [
        ([0, 1, 2], [3, 4, 5, 6]),
        ([3, 4, 5], [0, 1, 2, 6]),
    ]
    with pytest.raises(ValueError, match="no two sets"):
        list(own_question.sets_and_others(shift, 4))


@pytest.mark.slow
def test_gaussian_seeds_keep_the_plan():
    shift = simulated(200, 2_000, 1_000, 1.2)
    table = own_question.planned_power_table(shift, 10, 0.01)
    big = table[table["from"] >= 1.0].iloc[0]
    assert big["from"] == 1.0
    planned = [power(snr, 10, 0.01, test="bootstrap_t") for snr in (1.2, float(big["snr"]))]
    assert big["estimate"] == pytest.approx(planned[0], abs=0.02)
    assert big["planned"] == pytest.approx(planned[1], abs=0.02)
    limit = detectable_snr(10, 0.01, 0.4, test="bootstrap_t")  # below the 1.2 of all pairs
    beyond = own_question.found_beyond(shift, 10, 0.01, limit)
    assert beyond["estimate"] > 0.4
    holding = own_question.holding_table(shift, 10, 0.05).set_index(["set", "what"])
    assert holding.loc[("reliable", "wrong sign"), "estimate"] < 0.05
    assert holding.loc[("reliable", "kept"), "estimate"] < 1
    wrong = -shift.isel(seed=slice(0, 10))
    turned = xr.concat([wrong, shift.isel(seed=slice(10, 20))], "seed")
    bad = own_question.holding_table(turned, 10, 0.05).set_index(["set", "what"])
    assert bad.loc[("reliable", "wrong sign"), "estimate"] > 0.9
    claim = rules.sign_claim(bad.reset_index(), 0.05, 2, "simulated")
    assert claim.status == "refuted"


def test_a_perfect_screening_finds_first_what_is_sought():
    shift = simulated(20, 50, 3, 4.0)
    ideal = simulated(2, 50, 3, 1e3)
    curves = own_question.screening_curves(
        {"if_ggn": ideal, "retraining": shift * 0 + np.arange(50)[:, None]}, shift, 10, 3, 0.05
    )
    at = curves.set_index(["method", "k"])["share"]
    assert at["if_ggn", 3] == pytest.approx(1)
    assert at["retraining", 47] < 0.5
    assert at["retraining", 50] == pytest.approx(1)


# --- all of it, on modules that are not ours -----------------------------------------------------


@pytest.mark.slow
def test_a_table_and_a_module_of_ones_own_go_through_the_notebook():
    task = own_examples.diabetes(20, 4)
    recipe = Recipe("sgd", lr=0.05, batch_size=10, epochs=10)
    ask = {"task": task, "model": own_examples.TableNet, "recipe": recipe, **ALONE}
    estimates = dt.scores(dt.estimator_bank(**ask, n_seeds=2))
    picks = dt.screen(estimates, 3, 2, np.random.default_rng(0))
    bank = dt.retraining_bank(**ask, n_seeds=6, points=picks.points, stream="confirm")
    assert dt.plan(bank).runs == 36
    found = dt.reliable(dt.shifts(bank))
    assert found.sizes == {"train": 5, "query": 4}
    assert tuple(found["train"].values) == picks.points
    assert not set(seed_pairs(6, "confirm")) & set(seed_pairs(6, "screen"))
    by_hand = bank.dataset()["query_loss"].mean("checkpoint").mean("seed")
    expected = by_hand.values[1:] - by_hand.values[0]
    np.testing.assert_allclose(found["mean"], expected, atol=1e-6)
    assert bank.runs.design.labels == leave_one_out(20, picks.points).labels


@pytest.mark.slow
def test_a_convolution_with_group_norm_and_a_folder_of_images(tmp_path):
    folder = own_examples.write_digits(tmp_path / "digits", 8)
    task = own_examples.images(str(folder), 4, 2, size=14)
    assert task.classes == ("3", "5", "8")
    assert 0 <= float(task.train_x.min()) <= float(task.train_x.max()) <= 1
    recipe = Recipe("adam", lr=5e-3, batch_size=6, epochs=2)
    ask = {"task": task, "model": own_examples.ImageNet, "recipe": recipe, **ALONE}
    bank = dt.retraining_bank(**ask, n_seeds=4, points=[0, 11])
    found = dt.reliable(dt.shifts(bank))
    assert found.sizes == {"train": 2, "query": 6}
    assert why_refused(conv, digits_like(dtype=torch.float32), recipe) == "accepted"
    made = own_page.page(found, task, labels=[str(y) for y in task.train_y.tolist()])
    assert made.text.count("data:image/png;base64,") == 6 * (1 + 2)


# --- the page ------------------------------------------------------------------------------------


class Seen(HTMLParser):
    """Counts tags and complains about what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"meta", "img", "!doctype"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def answered():
    task = as_task(frame(), target="y", n_train=6, n_query=2)
    shift = simulated(8, 6, 2, 5.0)
    return dt.reliable(xr.concat([shift, -shift.assign_coords(query=[1])], "query")), task


def test_the_page_draws_the_numbers(answered):
    found, task = answered
    made = own_page.page(found, task, n=3, title="<Mine & yours>")
    tags = Seen(made.text).tags
    sections = [given for tag, given in tags if tag == "section"]
    assert [given["id"] for given in sections] == ["q0", "q1"]
    assert ["hidden" in given for given in sections] == [False, True]
    assert "&lt;Mine &amp; yours&gt;" in made.text
    circles = [given for tag, given in tags if tag == "circle"]
    table = dt.points_of(found, 0, 3)
    ours = [float(given["cx"]) for given in circles[:3]]
    slope = np.polyfit(table["mean"], ours, 1)
    np.testing.assert_allclose(np.polyval(slope, table["mean"]), ours, atol=0.2)
    assert slope[0] > 0
    filled = [given["fill"] != "white" for given in circles[:3]]
    assert filled == table["reliable"].tolist()
    assert {given["stroke"] for given in circles[:2]} == {own_page.HELPS}
    assert {given["stroke"] for given in circles[3:5]} == {own_page.HURTS}


def test_a_row_of_a_table_is_drawn_as_bars_cut_at_three_standard_deviations(answered):
    found, task = answered
    rows = torch.tensor([[4.5, -1.5], [3.0, 0.3]])
    text = own_page.page(found, replace(task, query_x=rows)).text
    half = (own_page.ROW - 4) / 2
    for told, top, height in (
        ("a: 4.50", 0, half),
        ("b: -1.50", half, half / 2),
        ("a: 3.00", 0, half),
        ("b: 0.30", 0.9 * half, half / 10),
    ):
        places = rf'y="{top:.1f}" width="7" height="{height:.1f}" fill="dimgrey">\s*<title>{told}<'
        assert re.search(places, text), told


WILD = "<script>alert(1)</script> | `code` $x$ **b** \"q\" 'a'\n# head & _it_"


def test_no_text_of_a_user_becomes_part_of_the_page(answered):
    found, task = answered
    plain = own_page.page(found, task)
    found = found.assign_attrs(dropped=WILD)
    named = replace(task, columns=(WILD, "b"), name=WILD)
    given = {"labels": [WILD] * 6, "query_labels": [WILD] * 2, "title": WILD}
    made = own_page.page(found, named, **given)
    assert [t for t, _ in Seen(made.text).tags] == [t for t, _ in Seen(plain.text).tags]
    assert "<script>alert" not in made.text
    attributes = {name for _, given in Seen(made.text).tags for name in given}
    assert attributes == {name for _, given in Seen(plain.text).tags for name in given}
    for shown in (named, replace(task, classes=(WILD,))):
        assert "<script>" not in shown._repr_html_()


def test_no_text_of_a_user_becomes_markdown_or_maths(answered):
    text = markdown.plain(WILD)
    assert not re.search(r"(?<!\\)[<>|`$*\n]", text)
    assert r"\_it\_" in text
    assert markdown.plain("a_b 1.5-2") == "a_b 1.5-2"
    rendered = mistune.html(f"Of class {text}, then.")
    assert rendered.count("<") == 2, "one paragraph and nothing in it"
    assert html.unescape(rendered) == f"<p>Of class {' '.join(WILD.split())}, then.</p>\n"
    for cell in (WILD, text):
        row = markdown.table([{"a": cell}]).splitlines()[2]
        assert row.count("|") - row.count(r"\|") == 2, "one cell"
        assert r"\\|" not in row

    found, task = answered
    fig, _ = own_plots.table_answer(
        found, replace(task, columns=(r"$\nosuch{$", "a$b$")), 0, 3, labels=["$^$"] * 6
    )
    fig.canvas.draw()  # maths that cannot be read raises here
    labels = [one.get_text() for one in fig.axes[0].get_xticklabels()]
    assert labels == [r"\$\nosuch{\$", r"a\$b\$"]
    plt.close(fig)


@pytest.mark.parametrize("sign", [1, -1])
def test_every_interval_of_the_page_and_zero_fit_the_plot_exactly(answered, sign):
    found, task = answered
    one = found.sel(query=[0]) * sign  # all points help, or all hurt; the ends change places
    if sign < 0:
        one = one.rename(low="high", high="low")
    one = one.assign(reliable=found.reliable.sel(query=[0]), q_value=found.q_value.sel(query=[0]))
    made = own_page.page(one.assign_attrs(found.attrs), task, n=3)
    lines = [given for tag, given in Seen(made.text).tags if tag == "line" and "x1" in given]
    ends = [float(given[end]) for given in lines for end in ("x1", "x2")]
    assert (min(ends), max(ends)) == (10, own_page.PLOT - 10)
    table = dt.points_of(one, 0, 3)
    low, high = min(0, table.low.min()), max(0, table.high.max())
    assert f"<td>{low:.3g} to {high:.3g}: mean shift" in made.text
    drawn = [given for given in lines if given["stroke"] != "silver"]
    for given, point in zip(drawn, table.itertuples()):
        places = [10 + (own_page.PLOT - 20) * (v - low) / (high - low) for v in point[3:5]]
        assert [float(given["x1"]), float(given["x2"])] == pytest.approx(places, abs=0.06)


def test_the_page_is_shown_to_people_only_and_can_be_saved(answered, tmp_path, monkeypatch):
    made = own_page.page(*answered)
    assert "JupyterLab" in own_page.show(made).data
    monkeypatch.setenv("DTDA_BATCH", "0")
    assert own_page.show(made) is made
    (frame_tag,) = [given for tag, given in Seen(made._repr_html_()).tags if tag == "iframe"]
    assert frame_tag["srcdoc"] == made.text
    made.save(tmp_path / "answer.html")
    assert (tmp_path / "answer.html").read_text() == made.text


# --- the README ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_code_in_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## Your own model and data")[1].split("\n## ")[0]
    printed = printed_by_code_of(section, tmp_path)
    assert "20 points x 5 queries, 16 seeds" in printed
    assert "q_value" in printed
    Seen((tmp_path / "answer.html").read_text())
