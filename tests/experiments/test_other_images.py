"""CIFAR-10 where the reader has it: found, refused, named for what it is. Nothing is downloaded."""

import io
import zipfile
from types import SimpleNamespace

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from PIL import Image
from test_image_tasks import JPEGS, fake_cifar10, one_sentence

from dtda_lib.data import images as image_tasks
from dtda_lib.data.images import CIFAR10_CLASSES
from dtda_lib.experiments.noise_vs_influence import claims as noise_claims
from dtda_lib.experiments.noise_vs_influence import tables as noise
from dtda_lib.experiments.sources_of_noise import plots as noise_sources_plots
from dtda_lib.experiments.sources_of_noise.banks import common_points, positions
from dtda_lib.experiments.sources_of_noise.cifar10 import (
    VARIABLE,
    cifar10_here,
    images_called,
    official_labels,
    why_not_run,
)
from dtda_lib.experiments.sources_of_noise.other_images import OtherImages, bounded, other_claims
from dtda_lib.models.networks import get_model
from dtda_lib.runs.protocols import seed_pairs
from dtda_lib.runs.recipes import Recipe

METHODS = ("loo", "grad_dot", "grad_cos")
SHORT = Recipe("sgd", lr=0.01, batch_size=8, epochs=2, keep_last=2)


def archive(path, classes=CIFAR10_CLASSES, per_class=3, kind="jpeg", offset=0):
    """A .zip of plain images: red tells the class, green the image."""
    with zipfile.ZipFile(path, "w") as file:
        for number, name in enumerate(classes):
            for image in range(per_class):
                content = io.BytesIO()
                colour = (25 * number, 20 * (image + offset), 128)
                Image.new("RGB", (32, 32), colour).save(content, kind)
                file.writestr(f"{name}/{image:04d}.{kind}", content.getvalue())


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """A folder of archives, 3 images of each class, that the variable names."""

    def make(**settings):
        archive(tmp_path / "train.zip", **settings)
        archive(tmp_path / "test.zip", **settings, offset=6)
        monkeypatch.setenv(VARIABLE, str(tmp_path))
        return tmp_path

    return make


# --- shares without spread -----------------------------------------------------------------------


def test_a_share_that_every_seed_gives_is_bounded_by_its_pairs():
    shares = pd.DataFrame(
        {"share": [0.0, 0.25, 1.0], "low": [0.0, 0.1, 1.0], "high": [0.0, 0.4, 1.0], "n_pairs": 40}
    )
    got = bounded(shares)
    bound = 1.96**2 / (40 + 1.96**2)  # Wilson's for no case of 40
    assert (got.loc[0, "low"], got.loc[2, "high"]) == (0, 1)
    assert got.loc[0, "high"] == pytest.approx(bound, rel=1e-3)
    assert got.loc[2, "low"] == pytest.approx(1 - bound, rel=1e-3)
    pd.testing.assert_series_equal(got.loc[1], shares.loc[1])
    assert shares.loc[0, "high"] == 0, "the table given has been changed"


# --- the images ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", " "])
def test_without_the_variable_there_is_no_task(value, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert cifar10_here(2, 1) is None


def test_a_folder_without_the_images_is_refused(tmp_path, monkeypatch):
    archive(tmp_path / "train.zip")
    for folder in (tmp_path, tmp_path / "absent"):  # one archive is not enough
        monkeypatch.setenv(VARIABLE, str(folder))
        with pytest.raises(ValueError, match=r"DTDA_CIFAR10=.* holds no CIFAR-10") as refusal:
            cifar10_here(2, 1)
        assert one_sentence(refusal)
        assert "cifar-10-batches-py" in str(refusal.value)


def test_archives_of_something_else_are_refused(copies):
    copies(classes=("ant", "bee"))
    with pytest.raises(ValueError, match=r"sub-folders of train\.zip must be the ten") as refusal:
        cifar10_here(2, 1)
    assert one_sentence(refusal)


def test_copies_become_a_task_that_is_named_so(copies):
    copies()
    task = cifar10_here(2, 1)
    assert images_called(task) == "JPEG copies of CIFAR-10"
    assert "JPEG copies of CIFAR-10" in task.describe()
    assert (task.n_train, task.n_query, task.n_outputs) == (20, 10, 10)
    assert task.classes == CIFAR10_CLASSES
    red = (task.train_x[:, 0].mean((1, 2)) / 2 + 0.5) * 255
    torch.testing.assert_close(red, 25.0 * task.train_y, rtol=0, atol=3)
    with pytest.raises(ValueError, match="3 images, but 4"):
        cifar10_here(4, 1)


def test_exact_copies_are_not_called_jpeg(copies):
    copies(kind="png")
    assert images_called(cifar10_here(2, 1)) == "image-file copies of CIFAR-10"


def test_official_files_come_first_and_are_not_fetched(copies, monkeypatch):
    (copies() / "cifar-10-batches-py").mkdir()
    read = fake_cifar10(np.arange(300) % 10, np.arange(100) % 10)().datasets.CIFAR10
    asked = []

    def noted(root, train, download):
        asked.append(download)
        return read(root, train, download)

    torchvision = SimpleNamespace(datasets=SimpleNamespace(CIFAR10=noted))
    monkeypatch.setattr(image_tasks, "import_torchvision", lambda: torchvision)
    task = cifar10_here(5, 3)
    assert images_called(task) == "CIFAR-10"
    assert (task.n_train, task.n_query) == (50, 30)
    assert asked == [False, False]


def test_labels_come_from_the_official_files_alone(copies, monkeypatch):
    copies()
    assert official_labels() == (None, None)  # image files do not say where an image stood
    (copies() / "cifar-10-batches-py").mkdir()
    train, test = np.arange(50_000) * 7 % 10, np.arange(10_000) * 3 % 10
    monkeypatch.setattr(image_tasks, "import_torchvision", fake_targets(train, test))
    assert official_labels() == (train.tolist(), test.tolist())
    monkeypatch.delenv(VARIABLE)
    assert official_labels() == (None, None)


def fake_targets(of_train, of_test):
    def read(root, train, download):
        assert not download
        return SimpleNamespace(targets=(of_train if train else of_test).tolist())

    return lambda: SimpleNamespace(datasets=SimpleNamespace(CIFAR10=read))


@pytest.mark.skipif(not JPEGS.exists(), reason="the JPEG copies of CIFAR-10 are not beside here")
@pytest.mark.slow
def test_the_real_copies(monkeypatch):
    monkeypatch.setenv(VARIABLE, str(JPEGS))
    task = cifar10_here(10, 50)
    assert (task.n_train, task.n_query) == (100, 500)
    assert torch.bincount(task.train_y).tolist() == [10] * 10
    assert task.train_x.shape[1:] == (3, 32, 32)
    assert (float(task.train_x.min()), float(task.train_x.max())) == (-1, 1)
    assert task.train_x.std((0, 2, 3)).min() > 0.3
    assert not torch.equal(task.train_x[:, 0], task.train_x[:, 2]), "in colour"
    assert images_called(task) == "JPEG copies of CIFAR-10"
    assert set(cifar10_here(5, 10).train_id) < set(task.train_id)


@pytest.mark.parametrize(("n_points", "reason"), [(0, "cifar_points is 0"), (3, "are not here")])
def test_what_was_not_run_is_said_in_one_sentence(n_points, reason):
    told = why_not_run(n_points)
    assert reason in told
    assert VARIABLE in told
    assert "train.zip" in told
    assert "\n" not in told


# --- what is trained -----------------------------------------------------------------------------


@pytest.mark.slow
def test_scores_are_of_the_points_left_out_and_of_those_analysed(copies):
    copies()
    tasks = {size: cifar10_here(size, 1) for size in (2, 3)}
    model = get_model("mlp", widths=(3072, 2, 10))
    settings = {"analysed_per_class": 1, "workers": 1}
    other = OtherImages.of("copies", tasks, model, SHORT, 2, seed_pairs(2), **settings)
    assert [len(bank.runs) for bank in other.banks] == [6, 6, 2, 2]
    assert other.banks[0].title == "leave-one-out, copies, 2 per class"
    assert other.points == common_points(tasks, 1)[:2]
    scores = other.scores()
    methods = ("loo", "grad_dot", "grad_cos")
    assert list(scores) == [(size, method) for size in tasks for method in methods]
    for (_, method), array in scores.items():
        assert array.shape == (2, 1, 2 if method == "loo" else 10, 10)
    point = other.points[1]
    loss = other.removals[2].dataset()["query_loss"]
    shift = (loss.isel(removal=2) - loss.isel(removal=0)).mean("checkpoint")
    found = scores[2, "loo"].sel(train=point).isel(checkpoint=0)
    np.testing.assert_allclose(found, shift.transpose("seed", "query"), rtol=1e-5, atol=1e-7)
    similarity = other.gradients[3].dataset()["gradient_similarity"]
    expected = similarity.sel(estimator="grad_cos", removal="none").mean("checkpoint")
    expected = expected.isel(train=positions(tasks[3], [point])[0]).transpose("seed", "query")
    found = scores[3, "grad_cos"].sel(train=point).isel(checkpoint=0)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)


# --- tables, claims and figure on constructed scores ---------------------------------------------


@pytest.fixture
def shares():
    """Leave-one-out is noise, grad-dot hardly any, grad-cos half of each."""
    draws = np.random.default_rng(0).standard_normal((3, 10, 2, 30, 20))
    mean = np.stack([np.zeros((30, 20)), np.full((30, 20), 50.0), np.zeros((30, 20))])
    mean[2, :15] = 50
    dims = ("seed", "checkpoint", "train", "query")
    scores = {
        (10, method): xr.DataArray(draw + level, dims=dims)
        for method, draw, level in zip(METHODS, draws, mean, strict=True)
    }
    return noise.share_table(scores, n_flips=20, generator=np.random.default_rng(1))


@pytest.mark.slow
def test_claims_have_the_rules_of_noise_and_ids_of_their_own(shares):
    images = "JPEG copies of CIFAR-10"
    claims = other_claims(shares, "cifar10", f"CNN2-L, {images}", images)
    assert {claim.id: claim.status for claim in claims} == {
        "B1-cifar10-code": "confirmed",
        "B1-cifar10-t": "confirmed",
        "B10-grad_dot-cifar10-code": "refuted",
        "B10-grad_dot-cifar10-t": "refuted",
        "B10-grad_cos-cifar10-code": "inconclusive",
        "B10-grad_cos-cifar10-t": "inconclusive",
    }
    known = noise_claims.noise_claims(shares, METHODS, "any")
    for claim, same in zip(claims, known, strict=True):
        assert (claim.rule, claim.estimate, claim.ci) == (same.rule, same.estimate, same.ci)
        assert claim.setting == "CNN2-L, JPEG copies of CIFAR-10, paired_scratch, 10 per class"
        assert claim.claim == f"{same.claim} (JPEG copies of CIFAR-10)"


def test_the_figure_has_a_panel_for_each_set_of_images(shares):
    table = pd.concat([shares.assign(images="digits"), shares.assign(images="copies", size=60)])
    fig, drawn = noise_sources_plots.shares_elsewhere(table)
    assert [axis.get_title() for axis in fig.axes] == [
        "digits\n10 per class",
        "copies\n60 per class",
    ]
    assert len(drawn) == 2 * 3 * 2
    plt.close(fig)
