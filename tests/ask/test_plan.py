"""The plan of a retraining bank follows from its design, in numbers and in words."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import table_like
from torch import nn

import dtda_lib as dt
from dtda_lib.ask.plan import HEADER_BYTES, disk_bytes, readable_bytes
from dtda_lib.runs.recipes import Recipe
from dtda_lib.statistics.power import detectable_snr, discovery_level, seeds_needed

TASK = table_like(dtype=torch.float32)
RECIPE = Recipe("sgd", lr=0.05, batch_size=4, epochs=3, keep_last=2)
ASKED = {"q": 0.1, "target": 0.7, "real": 0.3, "test": "t", "timed": False}


@pytest.fixture(scope="module")
def bank():
    """16 seeds without each of two points, five queries; nothing of it trains here."""
    return dt.retraining_bank(
        TASK, lambda: nn.Linear(8, 1), RECIPE, 16, points=[0, 4], chunk=5, workers=1
    )


@pytest.mark.parametrize(("family", "tested", "real"), [("all", 10, 3), ("query", 2, 1)])
def test_levels_and_shifts_are_those_of_the_pairs_that_are_tested_at_once(
    bank, family, tested, real
):
    made = dt.plan(bank, family=family, **ASKED)
    assert (made.points, made.queries, made.seeds, made.pairs) == (2, 5, 16, 10)
    assert (made.runs, made.missing, made.shards, made.workers) == (48, 48, 10, 1)
    assert made.level_one == discovery_level(tested, 1, 0.1, 0.7)
    assert made.level_many == discovery_level(tested, real, 0.1, 0.7)
    assert made.snr_one == detectable_snr(16, made.level_one, 0.7, test="t")
    assert made.snr_many == detectable_snr(16, made.level_many, 0.7, test="t")
    for snr in (0.5, 1.5):
        assert made.seeds_for(snr) == seeds_needed(snr, made.level_many, 0.7, test="t")
        one = seeds_needed(snr, made.level_one, 0.7, test="t")
        assert made.seeds_for(snr, only_one=True) == one


def test_unless_told_otherwise_it_plans_for_what_is_reported_by_default(bank):
    made = dt.plan(bank, timed=False)
    told = {"family": "all", "q": 0.05, "target": 0.8, "real": 0.1, "test": "bootstrap_t"}
    assert repr(made) == repr(dt.plan(bank, timed=False, **told))
    assert (made.q, made.target, made.real, made.test) == (0.05, 0.8, 0.1, "bootstrap_t")
    assert made.level_many == made.level_one == discovery_level(10, 1, 0.05, 0.8)
    smallest = detectable_snr(16, made.level_one, 0.8, test="bootstrap_t")
    assert made.snr_many == made.snr_one == smallest
    assert (made.unit, made.diverged, made.sigma) == (bank.measures[0].unit, "", None)


def test_the_table_says_what_the_plan_holds(bank):
    noise = np.random.default_rng(0).standard_normal((6, 2, 5)) * np.arange(1, 11).reshape(2, 5)
    pilot = xr.DataArray(noise, dims=("seed", "train", "query"))
    made = dt.plan(bank, pilot=pilot, **ASKED)
    assert made.sigma == pytest.approx(np.median(noise.std(axis=0, ddof=1)))
    rows = dict(made.table().itertuples(index=False))
    assert rows["design"] == "2 points x 5 queries, 16 seeds"
    assert rows["runs"] == "48, 0 of them cached"
    assert rows["time"] == "not timed"
    assert rows["disk"] == f"{readable_bytes(made.disk_bytes)} in 10 shard(s)"
    assert rows["tests"] == "10 pairs, Student's t, 10% false discoveries"
    for what, snr in (
        ("found with 70% power, if 30% of pairs are real", made.snr_many),
        ("found with 70% power, if one pair is", made.snr_one),
    ):
        size = f"{snr * made.sigma:.2g} at the pilot's median sigma"
        assert rows[what] == f"|mean shift| of {snr:.2f} sigma = {size}"
    for snr in (2, 1, 0.5):
        few, many = made.seeds_for(snr), made.seeds_for(snr, only_one=True)
        assert few < many
        assert rows[f"seeds for a shift of {snr:g} sigma"] == f"{few} to {many}"
    assert list(rows)[1:3] == ["seeds differ in", "runs"]
    assert str(made).splitlines()[2] == f"{'runs':<{max(map(len, rows))}}  48, 0 of them cached"
    assert "shows |mean shift| of" in repr(made)
    assert "48 missing" in repr(made)


def test_bytes_are_those_of_every_run_and_checkpoint(bank):
    about = sum(len(s.spec.replace('"', '\\"')) + HEADER_BYTES for s in bank.shards)
    assert disk_bytes(bank) - about == 48 * 2 * 5 * 4  # runs, checkpoints, queries, a float32


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "1 kB"), (1_499, "1 kB"), (1_501, "2 kB"), (999_400, "999 kB"), (1e6, "1.0 MB"),
     (999e6, "999.0 MB"), (1e9, "1.0 GB"), (2.04e12, "2040.0 GB")],
)  # fmt: skip
def test_sizes_are_readable(number, text):
    assert readable_bytes(number) == text


@pytest.mark.parametrize("real", [0.0, -0.1, 1.001, math.nan])
def test_a_share_of_real_pairs_is_a_share(bank, real):
    with pytest.raises(ValueError, match=f"real = {real} is a share of pairs"):
        dt.plan(bank, real=real, timed=False)
    assert dt.plan(bank, real=1.0, timed=False).level_many == discovery_level(10, 10, 0.05, 0.8)
