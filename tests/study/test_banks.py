"""Banks declared by what trains are those of `RunBank` and `UnrolledBank`."""

import pytest
import torch
from helpers import table_like

from dtda_lib.attribution.unrolled_bank import UnrolledBank
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import nothing
from dtda_lib.study.banks import Trained

SEEDS = [(1, 2), (3, 4)]


@pytest.fixture
def trained():
    return Trained(
        task=table_like(6, 3, torch.float32),
        model=get_model("mlp", widths=(8, 2, 1)),
        recipe=Recipe("sgd", epochs=1),
        name="toy",
        machine={"device": "cpu", "workers": 1},
    )


def test_banks_have_the_keys_that_they_would_have_by_hand(trained):
    given = trained.task, trained.model, trained.recipe
    runs = paired(nothing(6), SEEDS)
    assert trained.bank(runs, ["query_loss"], "x").key == RunBank(*given, runs, ["query_loss"]).key
    found = trained.unrolled(SEEDS, "query_loss", "x", points=[4])
    assert found.key == UnrolledBank(*given, SEEDS, "query_loss", [4]).key
    assert found.points == (4,)


def test_titles_begin_with_the_name_and_settings_can_be_changed(trained):
    bank = trained.bank(paired(nothing(6), SEEDS), ["query_loss"], "paired", workers=2, chunk=5)
    assert (bank.title, bank.workers, bank.chunk) == ("toy, paired", 2, 5)
    assert trained.unrolled(SEEDS, "query_loss", "").title == "toy"
