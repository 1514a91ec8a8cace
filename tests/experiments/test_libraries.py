"""What notebook 12 shows of the comparison with other libraries."""

import copy
import json

import matplotlib.pyplot as plt
import pytest

from dtda_lib.experiments.scoreboard import libraries
from dtda_lib.study.artefacts import ROOT

FOUND = libraries.comparison(ROOT / libraries.RESULT)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def changed(**parts):
    return copy.deepcopy(FOUND) | parts


# --- a result that is missing or broken ----------------------------------------------------------


def test_a_missing_result_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run `python tests/benchmarks/anchors\.py`"):
        libraries.comparison(tmp_path / "anchors.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(FOUND)[:-9], "is not JSON"),
        ("[]", "has format None"),
        (json.dumps(changed(format=2)), "has format 2, this version reads 1"),
        (json.dumps(changed(rows=[])), "lacks rows"),
        (json.dumps({k: v for k, v in FOUND.items() if k != "lead"}), "lacks lead"),
    ],
)
def test_a_broken_result_is_refused(tmp_path, text, message):
    path = tmp_path / "anchors.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        libraries.comparison(path)


# --- tables --------------------------------------------------------------------------------------


def test_methods_of_one_kind_stand_together_and_ours_first():
    rows = libraries.frame(FOUND)
    assert len(rows) == len(FOUND["rows"])
    kinds = rows["kind"].tolist()
    assert [k for i, k in enumerate(kinds) if i == 0 or kinds[i - 1] != k] == list(
        dict.fromkeys(kinds)
    )
    for _, group in rows.groupby("kind"):
        assert group["ours"].tolist() == [True] + [False] * (len(group) - 1)
        assert group["ratio"].iloc[0] == 1


def test_numbers_are_those_of_the_file():
    row = libraries.frame(FOUND).set_index("method").loc["kronfluence_ekfac"]
    source = next(r for r in FOUND["rows"] if r["method"] == "kronfluence_ekfac")
    assert row["lds_w2"] == source["lds"]["W2"]["lds"]
    assert row["hessian_low"] == source["oracle"]["hessian"]["pearson"]["low"]
    assert row["by"] == f"kronfluence {source['version']}"
    told = libraries.library_table(FOUND)
    line = told[told["by"] == row["by"]].iloc[0]
    score = source["lds"]["mean"]
    assert line["LDS, mean"] == (
        f"{score['lds']:.2f} [{score['low']:.2f}, {score['high']:.2f}] of {score['ceiling']:.2f}"
    )


def test_a_library_that_was_not_installed_has_no_row():
    rows = copy.deepcopy(FOUND["rows"])
    rows[-1] = {k: rows[-1][k] for k in ("method", "library", "ours", "what")} | {
        "status": "not installed",
    }
    assert len(libraries.frame(changed(rows=rows))) == len(rows) - 1


def test_the_figure_draws_every_method():
    fig, drawn = libraries.library_dots(FOUND)
    assert len(fig.axes) == 4
    assert len(fig.axes[0].get_yticklabels()) == len(drawn) == len(FOUND["rows"])
    assert fig.axes[3].get_xscale() == "log"
    assert drawn["seconds"].min() > 0


# --- sentences -----------------------------------------------------------------------------------


def lead(low, estimate, high):
    ours = FOUND["lead"]["EK-FAC"] | {"low": low, "estimate": estimate, "high": high}
    return changed(lead={"EK-FAC": ours})


@pytest.mark.parametrize(
    ("ends", "words", "as_near"),
    [
        ((-1e-6, 0.0, 1e-6), "is as near to the exact GGN as", True),
        ((0.01, 0.02, 0.03), "is nearer to the exact GGN than", True),
        ((-0.03, -0.02, -0.01), "is further from the exact GGN than", False),
        ((-0.03, 0.0, 0.03), "is not shown to be as near to the exact GGN as", False),
    ],
)
def test_the_lead_is_told_by_its_interval(ends, words, as_near):
    found = lead(*ends)
    assert words in libraries.lead_words(found).data
    assert libraries.at_least_as_near(found) == as_near


def test_the_setting_says_what_the_hessian_is():
    assert "is indefinite" in libraries.setting_words(FOUND).data
    level = changed(models=FOUND["models"] | {"lowest_curvature": {"median": 0.01, "low": 0.0}})
    assert "is positive" in libraries.setting_words(level).data
    assert f"{FOUND['settings']['parameters']:,} parameters" in libraries.setting_words(level).data
