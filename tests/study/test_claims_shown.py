"""Each claim of a notebook is named by a figure, and figures name no claims that there are not."""

import json
from pathlib import Path

import pytest

from dtda_lib.study.claims import Claim

FIGURES = Path(__file__).parents[2] / "figures" / "default"


@pytest.mark.parametrize("notebook", ["09_data_pruning", "10_diffusion"])
def test_every_claim_is_named_by_a_figure(notebook):
    stated = json.loads((FIGURES / f"{notebook}.claims.json").read_text())["claims"]
    named = {
        claim
        for file in FIGURES.glob(f"{notebook}-*.json")
        for claim in json.loads(file.read_text())["claims"]
    }
    assert named == {claim["id"] for claim in stated}


def test_an_exact_number_has_no_interval():
    text = {"id": "X", "claim": "c", "source": "s", "statistic": "n", "setting": "t"}
    text |= {"estimand": "exact", "rule": "r", "status": "confirmed", "count": 1}
    assert Claim.from_row({"estimate": 2}, **text).ci is None
    assert Claim.from_row({"estimate": 2, "low": 1, "high": 3}, **text).ci == (1, 3)
