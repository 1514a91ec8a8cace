"""Tables for readers: display names, intervals beside their numbers, dashes for what is missing."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dtda_lib.study.tables import ends, folded_tables, numbers, readable

TABLE = pd.DataFrame(
    {
        "method": ["if_ggn", "mine"],
        "n": [3, 4],
        "r": [-0.0001, 0.25],
        "low": [-0.5, np.nan],
        "high": [0.5, np.nan],
    }
)


def test_names_replace_keys_and_an_interval_stands_beside_its_number():
    columns = {"estimator": "method", "correlation": ("r", "low", "high"), "pairs": "n"}
    told = readable(TABLE, columns, names={"mine": "my own"}, digits=2)
    assert list(told.columns) == list(columns)
    assert told["estimator"].tolist() == ["Gauss-Newton IF", "my own"]
    assert told["correlation"].tolist() == ["0.00 [-0.50, 0.50]", "0.25"]
    assert told["pairs"].tolist() == ["3", "4"]


def test_a_missing_number_is_a_dash_and_a_missing_column_an_error():
    assert readable(TABLE, {"low": "low"})["low"].tolist() == ["-0.500", "-"]
    with pytest.raises(KeyError, match="nothing"):
        readable(TABLE, {"x": "nothing"})


def test_numbers_of_a_dataset_become_a_row_and_its_ends_are_found_again():
    values = {"estimate": [2.0, 9.0], "low": [1.0, 9.0], "high": [3.0, 9.0]}
    parts = {name: ("method", two) for name, two in values.items()}
    found = xr.Dataset(parts, {"method": ["mine", "other"]})
    assert numbers(found, method="mine") == {"estimate": 2, "low": 1, "high": 3}
    row = numbers(found, "r", method="mine")
    assert row == {"r": 2, "r_low": 1, "r_high": 3}
    assert ends(row, "r") == (1, 3)
    assert ends(row | {"low": 0, "high": 5}) == (0, 5)  # the estimate's own
    with pytest.raises(KeyError):
        ends({"r": 1}, "r")
    with pytest.raises(TypeError):
        numbers(found)  # two methods are no number


def test_folded_tables_have_display_names_and_four_digits():
    one = pd.DataFrame({"method": ["if_ggn"], "quantity": ["t_fdr"], "estimate": [0.12345]})
    two = pd.DataFrame({"n": [3]}, index=pd.Index(["mine"], name="method"))
    said = folded_tables("a summary", one, two, names={"mine": "my own"}).data
    assert said.startswith("<details>")
    assert "<summary>a summary</summary>" in said
    assert "| Gauss-Newton IF | Student's t, FDR 5 % | 0.1235 |" in said
    assert "| my own | 3 |" in said
