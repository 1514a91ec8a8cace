"""The tables of the notebook, and the rules behind its claims, on data whose answer is known."""

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dtda_lib.data.named import concrete, mnist3, regression1d
from dtda_lib.experiments.noise_vs_influence import claims as noise_claims
from dtda_lib.experiments.noise_vs_influence import tables as noise
from dtda_lib.statistics.significance import simulate_null
from dtda_lib.study import previews


def scores(share=0.25, strength=5.0, seed=0, seeds=8, checkpoints=3):
    """Unit noise; the first `share` of train points shifts every query by `strength`."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((seeds, checkpoints, 20, 30))
    values[:, :, : round(20 * share)] += strength
    coords = {"seed": range(seeds), "checkpoint": range(checkpoints)}
    return xr.DataArray(values, coords, dims=("seed", "checkpoint", "train", "query"))


FIRST = {(10, "loo"): scores(), (10, "grad_dot"): scores(share=1.0, seed=2)}
SECOND = {(10, "loo"): scores(seed=1)}


@pytest.fixture(scope="module")
def table():
    return noise.share_table(FIRST, n_flips=20, generator=np.random.default_rng(0))


def test_share_table_finds_the_share_that_was_put_in(table):
    rows = table.set_index(["method", "statistic"])["share"]
    assert abs(rows["loo", "t_fdr"] - 0.25) < 0.03
    assert abs(rows["loo", "t"] - (0.25 + 0.75 * 0.05)) < 0.03
    assert rows["grad_dot", "t_fdr"] == 1
    assert (table["low"] <= table["share"]).all()
    assert (table["share"] <= table["high"]).all()


def test_late_mean_averages_the_last_checkpoints_only():
    array = scores()
    expected = array.values[:, -2:].mean(axis=1)
    np.testing.assert_allclose(noise.late_mean(array, 2), expected)


@pytest.mark.slow
def test_checkpoint_table_shows_that_independent_noise_averages_out():
    table = noise.checkpoint_table(FIRST).set_index(["method", "k"])
    assert table.loc[("loo", 1), "sigma_ratio"] == 1
    assert table.loc[("loo", 3), "sigma_ratio"] == pytest.approx(3**-0.5, rel=0.05)
    assert table.loc[("loo", 3), "mean_p_code_change"] < 0
    change = table.loc[("loo", 3), "mean_p_code"] - table.loc[("loo", 1), "mean_p_code"]
    assert table.loc[("loo", 3), "mean_p_code_change"] == pytest.approx(change)


def test_real_influence_is_found_again_and_noise_is_not():
    table = noise.replication_table(FIRST, SECOND).set_index(["method", "statistic"])
    assert "grad_dot" not in table.index.get_level_values("method"), "it was not trained twice"
    row = table.loc[("loo", "t")]
    assert row["share"] > 0.9 > row["base_rate"]
    assert row["share"] == pytest.approx(row["again"] / row["first"])
    flipped = {(10, "loo"): -scores(seed=1)}
    other = noise.replication_table(FIRST, flipped).set_index(["method", "statistic"])
    assert other.loc[("loo", "t"), "share"] < 0.1, "the other sign is not found again"


def test_reliability_is_high_for_means_and_absent_without_a_second_set():
    table = noise.reliability_table(FIRST, {}, n_splits=10, generator=np.random.default_rng(0))
    mean = table.set_index(["method", "statistic"]).loc[("loo", "mean")]
    assert mean["reliability"] > 0.95
    assert np.isnan(mean["between_sets"])


def test_example_pairs_follow_their_rule():
    array = scores()
    pairs = noise.example_pairs(array)
    mu = np.abs(noise.late_mean(array).mean("seed").values)
    sd = noise.late_mean(array).std("seed", ddof=1).values
    low, high = pairs["low noise"], pairs["high noise"]
    assert low[0] < 5, "a train point that shifts its queries"
    assert mu[high] / sd[high] < 0.1
    assert sd[high] == sd[mu / sd < 0.1].max()


@pytest.mark.slow
def test_claims_follow_from_the_numbers(table):
    claims = {c.id: c for c in noise_claims.noise_claims(table, ["loo", "grad_dot"], "toy")}
    assert claims["B1-t"].status == "confirmed"
    assert claims["B10-grad_dot-t"].status == "refuted"
    replicated = noise.replication_table(FIRST, SECOND)
    assert noise_claims.low_noise_claim(table, replicated, "toy").status == "partly"
    rare = noise.share_table(
        {(10, "loo"): scores(share=0.05)}, n_flips=2, generator=np.random.default_rng(0)
    )
    again = noise.replication_table(
        {(10, "loo"): scores(share=0.05)}, {(10, "loo"): scores(share=0.05, seed=1)}
    )
    assert noise_claims.low_noise_claim(rare, again, "toy").status == "confirmed"
    untested = noise_claims.low_noise_claim(table, pd.DataFrame(), "toy")
    assert untested.status == "not tested"
    # Strong or absent influence: averaging shrinks sigma, which decides nothing; weak: it does.
    assert noise_claims.checkpoint_claim(noise.checkpoint_table(FIRST), "toy").status == "partly"
    weak = noise.checkpoint_table({(10, "loo"): scores(share=1.0, strength=1.0)})
    assert noise_claims.checkpoint_claim(weak, "toy").status == "confirmed"
    one = noise.checkpoint_table({(10, "loo"): scores(checkpoints=1)})
    assert noise_claims.checkpoint_claim(one, "toy").status == "not tested"


def test_the_published_p_is_not_calibrated():
    null = simulate_null(10, 20_000, np.random.default_rng(0))
    claim = noise_claims.calibration_claim(null)
    assert claim.status == "confirmed"
    assert claim.estimate < 0.01


@pytest.mark.parametrize("task", [mnist3(2, 2), concrete(20, 10), regression1d()])
def test_every_task_has_a_picture(task):
    fig, data = previews.task_preview(task, per_class=2)
    assert len(data) > 0
    plt.close(fig)
