"""The part of notebook 09 on CIFAR-10, from images to claims, on made-up images."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from test_other_images import archive

from dtda_lib.data.images import CIFAR10_CLASSES
from dtda_lib.experiments.data_pruning import cifar10 as pruning_cifar10
from dtda_lib.experiments.data_pruning import plots as plots
from dtda_lib.experiments.data_pruning import strategies as pruning
from dtda_lib.experiments.data_pruning.experiment import Experiment
from dtda_lib.experiments.data_pruning.parameters import Parameters
from dtda_lib.experiments.data_pruning.small_transformers import small_swin
from dtda_lib.experiments.sources_of_noise.cifar10 import VARIABLE, cifar10_here
from dtda_lib.study.claims import STATUSES
from dtda_lib.study.settings import resolve

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "09_data_pruning.ipynb"
SWIN = small_swin(width=4, depths=(1, 1), heads=(1, 2))
SETTINGS = {"n_seeds": 2, "epochs": 1, "validation_per_class": 1, "percent": 10}


@pytest.fixture
def task(tmp_path, monkeypatch):
    """The training set as the notebook gets it, of archives of one colour each image."""
    for part, offset in (("train", 0), ("test", 6)):
        archive(tmp_path / f"{part}.zip", per_class=3, offset=offset)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("DTDA_CACHE", "off")
    return cifar10_here(2, 3)


def test_the_experiment_is_what_was_asked_for(task):
    for device, chunk in (("cpu", 1), ("cuda", 2)):  # two seeds fill no larger stack
        machine = {"device": device, "workers": 1}
        if device == "cuda" and not torch.cuda.is_available():
            continue
        one = pruning_cifar10.pruning_of(task, SWIN, machine=machine, **SETTINGS)
        assert one.scoring.chunk == chunk
    assert one.task.train_y.tolist() == task.train_y.tolist()
    assert (one.n_removed, len(one.scoring.runs), one.recipe.epochs) == (2, 4, 1)
    assert one.steers.sum() == len(CIFAR10_CLASSES)
    assert one.wrong is None
    # Scores that compare points with queries one by one do not fit 50,000 points.
    assert [measure.name for measure in one.scoring.measures] == ["mean_query_shifts", "query_loss"]


@pytest.mark.slow
def test_the_whole_part_runs_from_images_to_claims(task):
    machine = {"device": "cpu", "workers": 1}
    one = pruning_cifar10.pruning_of(task, SWIN, machine=machine, **SETTINGS)
    judged = one.judge(one.scores(), 1, np.random.default_rng(13))
    assert len(judged.bank.runs) == 2 * len(pruning.strategy_names(1, False))
    found = pruning_cifar10.cifar10_results(judged, "Swin")
    assert found.levels["accuracy"].between(0, 1).all()
    claims = {claim.id: claim for claim in found.claims}
    named = [f"C10-{r.question}-{r.whose}-cifar10" for r in found.differences.itertuples()]
    assert set(claims) == {*named, "C10-same-cifar10", "C10-other-cifar10"}
    assert {claim.status for claim in claims.values()} <= set(STATUSES)
    whole = claims["C10-other-cifar10"]
    assert "JPEG copies of CIFAR-10, 20 training points, Swin, 1 epochs" in whole.setting
    fig, drawn = plots.gains({"images": found.gains})
    plt.close(fig)
    assert len(drawn) == len(pruning.strategy_names(1, False)) - 1
    fig, drawn = plots.differences({"images": found.differences})
    plt.close(fig)
    assert len(drawn) == len(named)


def test_the_notebook_runs_this_code():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    assert "experiment.judge_cifar10()" in code
    assert "cifar10.cifar10_results(" in code


def test_the_experiment_takes_the_images_that_are_here(task):
    cfg = resolve(Parameters, profile="smoke", device="cpu", cifar_per_class=10, workers=1)
    with pytest.raises(ValueError, match="10"):  # the archives hold fewer
        Experiment.of(cfg)
    without = Experiment.of(resolve(Parameters, profile="smoke", device="cpu", workers=1))
    assert without.cifar10 is None
    with pytest.raises(ValueError, match="not asked for"):
        without.judge_cifar10()
