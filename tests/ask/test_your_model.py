"""Networks and data as people have them: what is taken, what is said of it, and the guide."""

import importlib.util
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import printed_by_code_of, table_like
from torch import nn
from torch.utils.data import Dataset

import dtda_lib as dt
from dtda_lib.ask.quality import losses_without_a_model, lost_classes
from dtda_lib.ask.refusals import why_refused
from dtda_lib.data.own import Input
from dtda_lib.data.sources import import_torchvision
from dtda_lib.models.adapted import adapted, unpacked
from dtda_lib.models.networks import Network, initial_theta, new_module
from dtda_lib.runs.removal import leave_groups_out, leave_one_out

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8)).astype(np.float32)
Y = X[:, 0] > 0
IDS = RNG.integers(0, 20, (60, 5))
MASK = np.arange(5) < RNG.integers(2, 6, (60, 1))
SGD = dt.Recipe("sgd", lr=0.1, batch_size=5, epochs=2)
ALONE = {"workers": 1}


def task_of(x=X, y=Y, **given):
    return dt.as_task((x, y), **({"n_train": 20, "n_query": 4} | given))


class Bag(nn.Module):
    """The mean embedding of tokens, padding left out."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask=None):
        assert not input_ids.is_floating_point()
        inner = self.embed(input_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask = mask[..., None].to(inner)
        return {"logits": self.out((inner * mask).sum(1) / mask.sum(1))}


class Items(Dataset):
    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 60

    def __getitem__(self, at):
        return self.item(at)


def as_item(at):
    return {"input_ids": torch.tensor(IDS[at]), "attention_mask": MASK[at], "labels": int(Y[at])}


# --- data -----------------------------------------------------------------------------------------


def test_dicts_of_arrays_and_items_that_are_dicts_are_one_task():
    of_items = dt.as_task(Items(as_item), n_train=20, n_query=4)
    of_arrays = dt.as_task(
        ({"input_ids": IDS, "attention_mask": MASK}, Y.astype(int)), n_train=20, n_query=4
    )
    assert of_items.inputs == of_arrays.inputs
    assert of_items.inputs == (Input("input_ids", (5,), True), Input("attention_mask", (5,), True))
    assert torch.equal(of_items.train_x, of_arrays.train_x)
    arrays = unpacked(of_items.train_x, of_items.inputs)
    rows = list(of_items.train_id)
    assert torch.equal(arrays["input_ids"], torch.from_numpy(IDS[rows]))
    assert torch.equal(arrays["attention_mask"], torch.from_numpy(MASK[rows]).long())
    assert arrays["input_ids"].dtype == torch.int64


def test_a_network_of_tokens_and_masks_computes_what_its_owner_would():
    task = dt.as_task(Items(as_item), n_train=20, n_query=4)
    assert why_refused(Bag, task, SGD) == "accepted"
    model = adapted(Bag, task)
    network, theta = Network.of(model), initial_theta(model, 3)
    plain = new_module(Bag, 3)
    at = list(task.query_id)
    ids, mask = torch.from_numpy(IDS[at]), torch.from_numpy(MASK[at]).long()
    torch.testing.assert_close(network(theta, task.query_x), plain(ids, mask)["logits"])
    bank = dt.retraining_bank(task, Bag, SGD, 3, points=[0, 1], **ALONE)
    assert (dt.shifts(bank).values != 0).any()
    assert np.isfinite(dt.scores(dt.estimator_bank(task, Bag, SGD, 2, **ALONE)).values).all()


def test_padding_changes_nothing():
    """Whatever stands behind the mask, losses and gradients are the same."""
    first = dt.as_task(({"input_ids": IDS, "attention_mask": MASK}, Y), n_train=20, n_query=4)
    padded = np.where(MASK, IDS, 19)
    other = dt.as_task(({"input_ids": padded, "attention_mask": MASK}, Y), n_train=20, n_query=4)
    assert not torch.equal(first.train_x, other.train_x)
    banks = [dt.retraining_bank(t, Bag, SGD, 2, points=[0], **ALONE) for t in (first, other)]
    xr.testing.assert_equal(*(dt.shifts(bank) for bank in banks))


def test_whole_numbers_in_one_array_stay_whole_if_that_is_said():
    plain = dt.as_task((IDS, Y), n_train=20, n_query=4)

    class Tokens(Bag):
        def forward(self, x):
            return self.out(self.embed(x).mean(1))

    assert "pass whole=True to as_task" in why_refused(Tokens, plain)
    whole = dt.as_task((IDS, Y), n_train=20, n_query=4, whole=True)
    assert torch.equal(whole.train_x, torch.from_numpy(IDS[list(whole.train_id)]).float())
    assert why_refused(Bag, whole, SGD) == "accepted"


def test_what_needs_no_adapter_has_none():
    def net():
        return nn.Linear(8, 2)

    assert adapted(net, task_of()) is net


def test_columns_of_targets():
    assert torch.equal(task_of(y=X[:, :1]).train_y, task_of(y=X[:, 0]).train_y)
    several = task_of(y=X[:, :2], standardise=False)
    assert (several.loss, several.n_outputs) == ("squared_errors", 2)
    out = torch.ones(20, 2)
    expected = ((out - several.train_y) ** 2).sum(1) / 2
    torch.testing.assert_close(several.per_example_loss(out, several.train_y), expected)
    bank = dt.retraining_bank(several, lambda: nn.Linear(8, 2), SGD, 2, points=[0], **ALONE)
    assert dt.shifts(bank).sizes == {"seed": 2, "train": 1, "query": 4}
    with pytest.raises(ValueError, match="needs the curvature of a known loss"):
        dt.estimator_bank(several, lambda: nn.Linear(8, 2), SGD, 2, **ALONE)


def test_weights_of_classes_and_smoothing_are_torchs():
    loss = dt.weighted_cross_entropy((1.0, 3.0), 0.1)
    task = task_of(loss=loss)
    out = torch.from_numpy(X[:20, :2])
    theirs = nn.CrossEntropyLoss(
        weight=torch.tensor([1.0, 3.0]), label_smoothing=0.1, reduction="none"
    )
    torch.testing.assert_close(task.per_example_loss(out, task.train_y), theirs(out, task.train_y))

    def bank(given):
        return dt.retraining_bank(
            task_of(loss=given), lambda: nn.Linear(8, 2), SGD, 2, points=[0], **ALONE
        )

    other = dt.weighted_cross_entropy((1.0, 2.0), 0.1)
    assert bank(loss).key == bank(dt.weighted_cross_entropy((1, 3), 0.1)).key
    assert len({bank(loss).key, bank(other).key, bank(None).key}) == 3
    with pytest.raises(ValueError, match="must be positive"):
        dt.weighted_cross_entropy((0, 1))


def test_a_loss_of_ones_own_trains_and_is_measured():
    def absolute(output, target):
        return (output[:, 0] - target).abs()

    task = task_of(y=X[:, 0], loss=absolute)
    assert task.loss == "absolute"
    bank = dt.retraining_bank(task, lambda: nn.Linear(8, 1), SGD, 2, points=[0], **ALONE)
    found = bank.dataset()["query_loss"].isel(seed=0, removal=0, checkpoint=0)
    assert (found.values >= 0).all()


SAID = {
    "two real values": (lambda: task_of(y=Y.astype(float)), "the target is 0 or 1, and is"),
    "many classes": (
        lambda: dt.as_task((X, np.arange(60) % 20), n_query=4, seed=1),
        "20 different targets on 60 examples are taken as classes",
    ),
    "large inputs": (
        lambda: dt.as_task((RNG.integers(0, 256, (60, 1, 4, 4)).astype(np.uint8), Y), n_query=4),
        "inputs reach 25.*divide images",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_was_taken_for_granted_is_said_once(name):
    attempt, told = SAID[name]
    with pytest.warns(UserWarning, match=told) as seen:
        attempt()
    assert len([one for one in seen if one.category is UserWarning]) == 1


def test_an_inferred_loss_stands_in_the_task_and_a_stated_one_does_not():
    assert task_of().notes == ("Targets are taken as 2 classes (cross-entropy).",)
    assert task_of(loss="cross_entropy").notes == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task_of(y=Y.astype(float), loss="squared_error")


class Flipping(Dataset):
    """Turns an input round now and then; the draws come from a generator of its own."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        return 60

    def __getitem__(self, at):
        return X[at] * (1 if self.rng.random() < 0.9 else -1), int(Y[at])


@pytest.mark.parametrize("seed", range(8))
def test_random_items_are_found_whichever_are_drawn(seed):
    with pytest.raises(ValueError, match="draws at random"):
        dt.as_task(Flipping(seed), n_query=4)


WRONG = {
    "ragged": (
        lambda: dt.as_task(Items(lambda at: (X[at, : 3 + at % 2], 1)), n_query=4),
        "pad texts and give their mask",
    ),
    "no target in a dict": (
        lambda: dt.as_task(Items(lambda at: {"x": X[at], "z": 1}), n_query=4),
        "entries x, z; one of them has to be its target, as 'labels'",
    ),
    "fractions as whole": (lambda: task_of(whole=True), "stay whole numbers, but they are not"),
    "classes in columns": (
        lambda: task_of(y=np.ones((60, 2), int)),
        "2 targets an example are regressed",
    ),
    "twice a column": (
        lambda: dt.as_task(pd.DataFrame(X[:, :3], columns=["a", "a", "y"]), target="y"),
        "two columns are called 'a'",
    ),
    "dates": (
        lambda: dt.as_task(
            pd.DataFrame({"d": pd.date_range("2020", periods=60), "y": X[:, 0]}), target="y"
        ),
        "days since a fixed one",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_data_that_are_refused_in_one_sentence(name):
    attempt, told = WRONG[name]
    with pytest.raises(ValueError, match=told) as refusal:
        attempt()
    assert str(refusal.value).count("\n") == 0


# --- what is said of a model ----------------------------------------------------------------------


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.never = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x):
        return self.out(x)


def test_unused_parameters_and_probabilities_are_said():
    with pytest.warns(UserWarning, match=r"depends on 'never.weight' and 1 more \(50% of"):
        dt.check_model(Unused, task_of())
    with pytest.warns(UserWarning, match="leave the softmax out"):
        dt.check_model(lambda: nn.Sequential(nn.Linear(8, 2), nn.Softmax(1)), task_of())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dt.check_model(lambda: nn.Linear(8, 2), task_of())


HINTS = {
    "classes as numbers": (task_of(y=X[:, 0]), 3, "pass loss='cross_entropy'"),
    "two classes, one output": (task_of(), 1, "give two outputs for two classes"),
    "numbers as classes": (
        task_of(y=np.arange(60) % 4),
        1,
        "pass loss='squared_error' to as_task",
    ),
}


@pytest.mark.parametrize("name", HINTS)
def test_outputs_of_another_width_are_sent_the_right_way(name):
    task, width, told = HINTS[name]
    assert told in why_refused(lambda: nn.Linear(8, width), task)


def normalised():
    return nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_batch_of_two_is_too_small_for_batch_norm():
    told = why_refused(normalised, task_of(), dt.Recipe("sgd", batch_size=6, epochs=1))
    assert "batch of 20 points by 6 has 2" in told


def test_dropout_is_named_among_what_differs_between_seeds():
    def net():
        return nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.2), nn.Linear(4, 2))

    bank = dt.retraining_bank(task_of(), net, SGD, 6, points=[0, 1], **ALONE)
    assert dt.plan(bank, timed=False).random == "initial weights, batch order and dropout"
    found = dt.reliable(dt.shifts(bank))
    assert found.attrs["random"] == "initial weights, batch order and dropout"
    assert "one at a time, for dropout" in dt.page(found, task_of()).text


# --- is it any good? ------------------------------------------------------------------------------


def test_losses_without_a_model_by_hand():
    task = table_like(dtype=torch.float32)
    found = losses_without_a_model(task)
    constant = ((task.query_y - task.train_y.mean()) ** 2 / 2).mean()
    near = torch.cdist(task.query_x, task.train_x).argmin(1)
    nearest = ((task.query_y - task.train_y[near]) ** 2 / 2).mean()
    assert found == pytest.approx(
        {"constant": float(constant), "nearest input": float(nearest)}, rel=1e-6
    )
    classes = task_of()
    ones = int(classes.train_y.sum())
    shares = np.array([20 - ones + 1, ones + 1]) / 22
    by_hand = -np.log(shares[classes.query_y.numpy()]).mean()
    constant = losses_without_a_model(classes)["constant"]
    assert constant == pytest.approx(min(by_hand, np.log(2)))


def test_a_model_that_has_learnt_nothing_says_so():
    def remarks(lr, epochs):
        recipe = dt.Recipe("sgd", lr=lr, batch_size=5, epochs=epochs)
        task = dt.as_task((X, Y), n_train=50, n_query=10)

        def beginning_at_nothing():
            net = nn.Linear(8, 2)
            net.weight.data *= 0.01
            net.bias.data *= 0.01
            return net

        bank = dt.retraining_bank(task, beginning_at_nothing, recipe, 6, points=[0, 1], **ALONE)
        planned = dt.plan(bank, timed=False)
        assert "(constant)" in str(planned)
        found = dt.reliable(dt.shifts(bank))
        assert "constant predictor" in dt.page(found, task).text
        return found.attrs["remarks"]

    assert "learnt nothing" in remarks(1e-7, 1)
    assert "learnt nothing" not in remarks(0.5, 30)


def test_a_class_that_vanishes_with_a_removal_is_named():
    task = dt.as_task((X[:40], ["cat"] * 39 + ["dog"]), (X[:5] + 1, ["cat"] * 5))
    told = lost_classes(task, leave_one_out(40, [0, 39]))
    assert told == "Without these nothing of a class is left to train on: 39 (class 'dog')."
    assert lost_classes(task, leave_one_out(40, [0, 1])) == ""
    groups = leave_groups_out(40, [[38, 39], [1, 2]])
    assert "38+39 (class 'dog')" in lost_classes(task, groups)


# --- groups, estimators and trained networks ------------------------------------------------------


def net():
    return nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2))


def test_groups_go_through_the_first_door_to_the_page():
    mask = np.zeros((2, 20), bool)
    mask[0, :3], mask[1, 5:9] = True, True
    listed = [[0, 1, 2], range(5, 9)]
    banks = [
        dt.retraining_bank(task_of(), net, SGD, 6, groups=given, **ALONE)
        for given in (mask, listed, leave_groups_out(20, listed))
    ]
    assert len({bank.key for bank in banks}) == 1
    found = dt.reliable(dt.shifts(banks[0]))
    assert found.sizes == {"removal": 2, "query": 4}
    assert dt.points_of(found, 0)["point"].tolist().count("0+1+2") == 1
    assert "0+1+2" in dt.page(found, task_of()).text
    with pytest.raises(ValueError, match="give points, each left out alone, or groups"):
        dt.retraining_bank(task_of(), net, SGD, 6, points=[0], groups=listed, **ALONE)


def by_distance(network, theta, task):
    return -torch.cdist(task.train_x, task.query_x)


def test_an_own_function_or_measure_is_an_estimator():
    task = task_of()
    expected = -torch.cdist(task.train_x, task.query_x)
    measures = [
        by_distance,
        dt.measure(("train", "query"), "none")(by_distance),
        dt.measure(("query", "train"), "none")(lambda n, t, task: by_distance(n, t, task).T),
        dt.measure(("estimator", "train", "query"), "none")(
            lambda n, t, task: by_distance(n, t, task)[None]
        ),
    ]
    for one in measures:
        found = dt.scores(dt.estimator_bank(task, net, SGD, 2, one, **ALONE))
        np.testing.assert_allclose(found.isel(seed=0).values, expected, rtol=1e-5)


def test_an_estimator_of_another_shape_is_refused_before_anything_trains():
    with pytest.raises(ValueError, match="returned the shape"):
        dt.estimator_bank(task_of(), net, SGD, 2, lambda n, t, task: task.train_x, **ALONE)
    wrong = dt.measure(("query",), "none")(lambda n, t, task: task.query_y)
    with pytest.raises(ValueError, match="it needs train and query"):
        dt.estimator_bank(task_of(), net, SGD, 2, wrong, **ALONE)
    with pytest.raises(ValueError, match="give a name, a function"):
        dt.estimator_bank(task_of(), net, SGD, 2, 3, **ALONE)


def test_networks_that_are_trained_already_get_the_scores_of_a_bank():
    task, stream = task_of(), "trained"
    bank = dt.estimator_bank(task, net, SGD, 2, stream=stream, **ALONE)
    theirs = dt.scores(bank)
    runs = dt.RunBank(task, net, SGD, bank.runs, ["parameters"], **ALONE)
    thetas = runs.dataset()["parameters"].values[:, 0, 0]
    network = Network.of(net)
    modules = []
    for theta in thetas:
        module = new_module(net)
        given = network.layout.unflatten(torch.from_numpy(theta))
        module.load_state_dict(given)
        modules.append(module)
    before = [p.clone() for p in modules[0].parameters()]
    ours = dt.trained_scores(modules, task, SGD)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-3, atol=1e-6)
    assert ours.attrs["sign"] == "removal"
    assert modules[0].training
    assert all(map(torch.equal, before, modules[0].parameters()))
    with pytest.raises(ValueError, match="a list of trained"):
        dt.trained_scores([net], task, SGD)


RAW = {
    "n_seeds": ({"n_seeds": 2.5}, "n_seeds = 2.5; give a whole number"),
    "workers": ({"workers": "2"}, "workers = '2'; give a whole number"),
    "device": ({"device": "gpu"}, "device = 'gpu'; take 'cpu' or 'cuda'"),
    "points": ({"points": 5}, "points and groups are lists, not 5"),
    "recipe": ({"recipe": {"lr": 0.1}}, "give a Recipe, such as"),
    "recipe by name": ({"recipe": "sgd"}, "give a Recipe, such as"),
    "swapped": ({"task": net, "model": task_of()}, "give a Task, such as as_task returns"),
}


@pytest.mark.parametrize("name", RAW)
def test_settings_of_another_kind_are_refused_in_one_sentence(name):
    given, told = RAW[name]
    usual = {"task": task_of(), "model": net, "recipe": SGD, "n_seeds": 2, "points": [0]}
    with pytest.raises(ValueError, match=re.escape(told)):
        dt.retraining_bank(**(usual | ALONE | given))


def test_very_many_points_are_refused_before_their_weights_are_made():
    x = RNG.normal(size=(50_010, 4)).astype(np.float32)
    task = dt.as_task((x, x[:, 0]), n_train=50_000, n_query=3)
    few = dt.Recipe("sgd", batch_size=5_000, epochs=1)
    with pytest.raises(ValueError, match=r"each of 50,000 points .*name points"):
        dt.retraining_bank(task, lambda: nn.Linear(4, 1), few, 2, **ALONE)


def test_a_bank_that_leaves_nothing_out_has_a_plan_and_no_shifts():
    bank = dt.estimator_bank(task_of(), net, SGD, 2, **ALONE)
    planned = dt.plan(bank, timed=False)
    assert planned.runs == 2
    assert "tests" not in str(planned)
    assert "nothing left out" in repr(planned)
    with pytest.raises(ValueError, match=r"an estimator's are scores\(bank\)"):
        dt.shifts(bank)


# --- the page -------------------------------------------------------------------------------------


def test_the_page_names_rows_targets_seeds_and_opens_where_something_was_found():
    frame = pd.DataFrame(X[:, :3], index=[f"patient{at}" for at in range(60)])
    frame = frame.add_prefix("c").assign(y=["ill" if one else "well" for one in Y])
    task = dt.as_task(frame, target="y", n_train=20, n_query=3)
    shift = RNG.normal(size=(12, 20, 3)) * 0.1
    shift[:, 4, 2] += 1
    dims = ("seed", "train", "query")
    coords = {"train": range(20), "query": range(3)}
    found = dt.reliable(xr.DataArray(shift, coords, dims))
    made = dt.page(found, task).text
    row = task.train_id[4]
    assert f"patient{row}, target {task.classes[task.train_y[4]]}" in made
    assert made.index("query 2") < made.index("query 0")
    assert "12 seeds" in made
    assert 'name="viewport"' in made
    numbered = dt.as_task((X, Y), n_train=20, n_query=3)
    assert f"row {numbered.train_id[4]}, target" in dt.page(found, numbered).text
    with pytest.raises(ValueError, match=r"about train 19, but task 'mine' has 10"):
        dt.page(found, task_of(n_train=10))
    with pytest.raises(ValueError, match="there is no query 9; they are 0, 1, 2"):
        dt.points_of(found, query=9)


def grey_levels(tag):
    import base64
    import io

    from PIL import Image

    data = base64.b64decode(re.search(r"base64,([^\"]+)", str(tag)).group(1))
    return np.asarray(Image.open(io.BytesIO(data))).astype(float)


def test_grey_images_are_neither_inverted_nor_clipped():
    images = RNG.normal(size=(60, 1, 6, 6)).astype(np.float32)
    task = dt.as_task((images, Y), n_train=20, n_query=3)
    shift = RNG.normal(size=(12, 1, 1))
    coords = {"train": [0], "query": [0]}
    found = dt.reliable(xr.DataArray(shift, coords, ("seed", "train", "query")))
    made = dt.page(found, task).text
    seen = grey_levels(made)
    shown = task.query_x[0, 0].numpy()
    assert np.corrcoef(seen.ravel(), shown.ravel())[0, 1] > 0.999
    assert len(np.unique(seen)) > 20


# --- the guide ------------------------------------------------------------------------------------

GUIDE = (ROOT / "docs" / "your_model.md").read_text(encoding="utf-8")
CORE, GUESTS = GUIDE.split("## Hugging Face with LoRA")
# Where torchvision's wheel does not fit a CPU build of torch.
BEFORE = (
    "```python\nfrom dtda_lib.data.sources import import_torchvision\nimport_torchvision()\n```"
)


def test_outside_models_take_less_than_fifteen_lines():
    sections = {one.partition("\n")[0]: one for one in GUIDE.split("\n## ")[1:]}
    for name in ("A ResNet with batch norm", "Gradient boosting", "Hugging Face with LoRA"):
        (block,) = re.findall(r"```python\n(.*?)```", sections[name], re.DOTALL)
        assert len([line for line in block.splitlines() if line.strip()]) < 15


@pytest.mark.slow
def test_the_code_in_the_guide_runs(tmp_path):
    import_torchvision()
    printed = printed_by_code_of(f"{BEFORE}\n{CORE}", tmp_path)
    assert "one at a time, for batch norm" in printed
    assert printed.count("q_value") == 3
    assert "(3, 40, 5) (3, 40, 5)" in printed


@pytest.mark.slow
def test_the_guests_in_the_guide_run(tmp_path):
    for name in ("transformers", "peft"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is absent; pip install 'dtda-study[hf]' to run this")
    start = "```python\nimport torch\nimport dtda_lib as dt\n```"
    printed = printed_by_code_of(f"{BEFORE}\n{start}\n{GUESTS}", tmp_path)
    assert "q_value" in printed
