"""The tables of the notebook, and the rules behind its claims, on data whose answer is known."""

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from dtda_lib.data.named import concrete, mnist3, regression1d
from dtda_lib.experiments.noise_vs_influence import claims as noise_claims
from dtda_lib.experiments.noise_vs_influence import plots
from dtda_lib.experiments.noise_vs_influence import tables as noise
from dtda_lib.statistics.over_sets import over_sets
from dtda_lib.statistics.significance import null_snr_tail
from dtda_lib.study import previews
from dtda_lib.study.tables import ends

DIMS = ("set", "seed", "checkpoint", "train", "query")
SHAPE = (4, 8, 3, 20, 30)


def labelled(values):
    return xr.DataArray(
        values, {dim: np.arange(values.shape[DIMS.index(dim)]) for dim in DIMS}, DIMS
    )


def scores(share=0.25, strength=5.0, seed=0, shape=SHAPE):
    """Unit noise; the first `share` of train points shifts every query by `strength`."""
    values = np.random.default_rng(seed).standard_normal(shape)
    values[:, :, :, : round(shape[3] * share)] += strength
    return labelled(values)


def losses(shared, own=1.0, shape=SHAPE):
    """Losses of runs with noise that the two runs of a pair share, and noise of their own."""
    rng = np.random.default_rng(0)
    sets, seeds, _, points, queries = shape
    values = own * rng.standard_normal((sets, seeds, 1 + points, queries))
    values += shared * rng.standard_normal((sets, seeds, 1, queries))
    coords = {
        "removal": ["none", *map(str, range(points))],
        "point": ("removal", range(-1, points)),
    }
    return xr.DataArray(values + 5, coords, dims=("set", "seed", "removal", "query"))


SCORES = {(10, "loo"): scores(), (10, "grad_dot"): scores(share=1.0, seed=2)}


@pytest.fixture(scope="module")
def table():
    return noise.share_table(SCORES, n_flips=5, generator=np.random.default_rng(0))


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


# --- tables --------------------------------------------------------------------------------------


def test_share_table_finds_the_share_that_was_put_in(table):
    rows = table.set_index(["method", "statistic"])["share"]
    assert abs(rows["loo", "t_fdr"] - 0.25) < 0.03
    assert abs(rows["loo", "t"] - (0.25 + 0.75 * 0.05)) < 0.03
    assert rows["grad_dot", "t_fdr"] == 1
    assert (table["low"] <= table["share"]).all()
    assert (table["share"] <= table["high"]).all()


def test_scores_of_a_single_set_have_a_jackknife_interval_over_seeds():
    one = noise.share_table(
        {(10, "loo"): scores().isel(set=0)}, n_flips=2, generator=np.random.default_rng(0)
    )
    row = one.set_index("statistic").loc["t"]
    assert row["n_seeds"] == 8
    assert row["low"] < row["share"] < row["high"]


def test_the_same_points_are_left_out_at_every_size():
    ids = [
        [task.train_id[k] for k in task.first_of_each_class(2)]
        for task in (mnist3(2, 2), mnist3(5, 2))
    ]
    assert ids[0] == ids[1]


def test_late_mean_averages_the_last_checkpoints_only():
    array = scores()
    np.testing.assert_allclose(noise.late_mean(array, 2), array.values[:, :, -2:].mean(axis=2))


def test_pairs_are_sorted_by_the_other_sets_and_not_by_their_own_luck():
    """One set sees huge shifts that no other sees: they must not count as influence that matters
    in that set, where they stand out, but in the others, where they do not."""
    values = 1e-6 * np.random.default_rng(0).standard_normal(SHAPE)
    values[0, :, :, :5] -= 1.0
    loss = losses(0.0, own=1e-9) - 5 + 0.05
    table = noise.matter_table({(10, "loo"): labelled(values)}, {10: loss})
    relevant = table[(table["from"] == noise.MATTERS) & np.isinf(table["to"])].iloc[0]
    assert relevant["of_pairs"] == pytest.approx(3 / 4 * 5 / 20)
    assert relevant["share"] == 0
    by_loss = table[table["by"] == "query loss"].set_index("from")
    assert by_loss.loc[0.01, "of_pairs"] == 1
    assert by_loss.loc[0.01, "share"] == pytest.approx(5 / 20 / 4, abs=0.01)
    assert by_loss.loc[0.1, "n"] == 0
    assert np.isnan(by_loss.loc[0.1, "share"])


def test_real_influence_is_found_again_and_noise_is_not():
    table = noise.replication_table(SCORES).set_index(["method", "statistic"])
    row = table.loc[("loo", "t_fdr")]
    assert row["share"] > 0.9 > row["base_rate"]
    assert row["excess"] == pytest.approx(row["share"] - row["base_rate"])
    assert row["excess_low"] > 0
    assert row["first"] == pytest.approx(0.25, abs=0.03)
    assert row["chance"] == 0.025
    noisy = noise.replication_table({(10, "loo"): scores(0)}).set_index("statistic")
    assert not noisy.loc["t_fdr", "excess_low"] > 0


def test_found_again_counts_every_ordered_pair_of_sets_by_hand():
    rng = np.random.default_rng(1)
    p = xr.DataArray(rng.random((3, 4, 5)) ** 3, dims=("set", "train", "query"))
    sign = xr.DataArray(rng.choice([-1, 1], (3, 4, 5)), dims=p.dims)
    got = noise.found_again(xr.Dataset({"p": p, "sign": sign}), "code")
    low, pairs = p.values < 0.05, [(a, b) for a in range(3) for b in range(3) if a != b]
    holds = [low[b] & (sign.values[a] == sign.values[b]) for a, b in pairs]
    among = sum((low[a] & h).sum() for (a, _), h in zip(pairs, holds, strict=True))
    assert got[0] == pytest.approx(among / (2 * low.sum()))
    assert got[1] == pytest.approx(np.mean(holds))
    assert np.isnan(noise.found_again(xr.Dataset({"p": p * 0 + 1, "sign": sign}), "t_fdr")[0])


def test_pairing_takes_away_the_noise_that_runs_share():
    """Variances: shared 9, own 1 each; unpaired 20, paired 2."""
    table = noise.pairing_table({10: losses(3.0), 20: losses(0.0)}).set_index("size")
    assert table.loc[10, "ratio"] == pytest.approx(np.sqrt(10), rel=0.06)
    assert table.loc[20, "ratio"] == pytest.approx(1, abs=0.06)
    assert table.loc[10, "unpaired"] / table.loc[10, "paired"] == pytest.approx(
        table.loc[10, "ratio"]
    )
    for name in ("ratio", "paired", "unpaired"):
        low, high = ends(table.loc[20], name)
        assert low < table.loc[20, name] < high
    assert table.loc[20, "paired"] == pytest.approx(np.sqrt(2), rel=0.1)  # few seeds: less
    assert (table["q10"] < table["q90"]).all()


def test_checkpoint_table_shows_that_independent_noise_averages_out():
    table = noise.checkpoint_table(SCORES).set_index(["method", "k"])
    assert table.loc[("loo", 1), "sigma"] == 1
    assert table.loc[("loo", 3), "sigma"] == pytest.approx(3**-0.5, rel=0.05)
    weak = noise.checkpoint_table({(10, "loo"): scores(share=1.0, strength=1.0)})
    assert weak["change_high"].iloc[-1] < 0
    change = table.loc[("loo", 3), "p"] - table.loc[("loo", 1), "p"]
    assert table.loc[("loo", 3), "change"] == pytest.approx(change)
    assert table["p_null"].iloc[0] == pytest.approx(null_snr_tail(8))


def test_within_table_splits_the_variance_of_a_checkpoint():
    """Noise of the run of variance 3, of the checkpoint of variance 1: a quarter lies within."""
    own = np.random.default_rng(3).standard_normal((4, 8, 1, 20, 30)) * np.sqrt(3)
    array = scores(0) + own
    row = noise.within_table({(10, "loo"): array}).iloc[0]
    assert row["within"] == pytest.approx(0.25, abs=0.02)
    assert row["within_low"] < 0.25 < row["within_high"]
    assert row["expected"] == pytest.approx(np.sqrt(0.75 + 0.25 / 3), abs=0.01)
    assert noise.within_table({(10, "loo"): array.isel(checkpoint=[0])}).empty


# --- coverage ------------------------------------------------------------------------------------

REPEATS, SETS, SEEDS, POINTS, QUERIES = 200, 4, 10, 30, 40
LOUD, HEARD, EFFECT = 0.3, 0.5, 1.3  # shares of points and queries with influence; in sd
LEAST = 0.95 - 2.33 * np.sqrt(0.95 * 0.05 / REPEATS)  # 99 % Monte-Carlo bound


@pytest.fixture(scope="module")
def draws():
    """Shifts `(repeat, set, seed, train, query)`: unit noise that pairs share as runs make them
    share it, and influence of some points on some queries; all are new in each repeat."""
    rng = np.random.default_rng(3)
    shape = (REPEATS, SETS, SEEDS, POINTS, QUERIES)

    def part(variance, *axes):
        drawn = [n if axis in (0, *axes) else 1 for axis, n in enumerate(shape)]
        return np.sqrt(variance) * rng.standard_normal(drawn, dtype=np.float32)

    loud = rng.random((REPEATS, 1, 1, POINTS, 1)) < LOUD
    heard = rng.random((REPEATS, 1, 1, 1, QUERIES)) < HEARD
    values = part(0.1, 1, 2) + part(0.2, 1, 2, 3) + part(0.3, 1, 2, 4) + part(0.4, 1, 2, 3, 4)
    values += EFFECT * loud * heard
    return xr.DataArray(values, dims=("repeat", "set", "seed", "train", "query"))


def beyond(ratio):
    """Probability that |mean / sd| of the seeds exceeds a ratio: exact, noncentral t."""
    t, strong = ratio * np.sqrt(SEEDS), stats.nct(SEEDS - 1, EFFECT * np.sqrt(SEEDS))
    loud = LOUD * HEARD
    return loud * (strong.sf(t) + strong.cdf(-t)) + (1 - loud) * 2 * stats.t.sf(t, SEEDS - 1)


def coverage(found, truth):
    return float(((found["low"] <= truth) & (truth <= found["high"])).mean())


@pytest.mark.slow
def test_intervals_of_shares_over_a_threshold_cover_the_truth(draws):
    dims = ("set", "train", "query")
    p = noise._p_values(draws, ("code", "t", "t_fdr"))

    def shares(part):
        hits = {name: noise._standing_out(part[name], name) for name in part.data_vars}
        return xr.Dataset(hits).mean(dims).to_dataarray("statistic")

    found = over_sets(p, shares, share=True)
    average = found["estimate"].mean("repeat")
    truths = {
        "t": beyond(stats.t.isf(0.025, SEEDS - 1) / np.sqrt(SEEDS)),
        "code": beyond(stats.norm.isf(0.025)),
        "t_fdr": float(average.sel(statistic="t_fdr")),  # no closed form: the mean of all repeats
    }
    for name, truth in truths.items():
        assert float(average.sel(statistic=name)) == pytest.approx(truth, rel=0.06)
        assert coverage(found.sel(statistic=name), truth) >= LEAST, name
    means = over_sets(draws.mean("seed"), lambda part: part.mean(dims))
    assert LEAST <= coverage(means, LOUD * HEARD * EFFECT) <= 0.99


@pytest.mark.slow
def test_intervals_of_what_is_found_again_cover_the_truth(draws):
    p, sign = noise._p_values(draws, ["t_fdr"])["t_fdr"], np.sign(draws.mean("seed"))
    data = xr.Dataset({"p": p, "sign": sign})
    rows = [data.isel(repeat=repeat) for repeat in range(REPEATS)]
    again = [over_sets(d, lambda x: noise.found_again(x, "t_fdr")[0], share=True) for d in rows]
    excess = [over_sets(d, lambda x: np.subtract(*noise.found_again(x, "t_fdr"))) for d in rows]
    for found in (xr.concat(again, "repeat"), xr.concat(excess, "repeat")):
        assert coverage(found, float(found["estimate"].mean())) >= LEAST


# --- claims --------------------------------------------------------------------------------------


def shown(rows):
    """A table of rows with the columns that every claim reads."""
    common = {"method": "loo", "n_pairs": 9, "n": 9, "k": 5}
    return pd.DataFrame([common | row for row in rows])


def share_rows(*intervals, statistic="t_fdr", value="share"):
    """One row for each size, from its interval."""
    sizes = (10, 20, 50)[: len(intervals)]
    return shown(
        [
            {"size": n, "statistic": s, value: (low + high) / 2, f"{value}_low": low,
             f"{value}_high": high, "low": low, "high": high}
            for s in ("t_fdr", "code") for n, (low, high) in zip(sizes, intervals, strict=True)
        ]
    )  # fmt: skip


def test_most_pairs_drown_where_every_interval_lies_below_a_half(table):
    claims = {c.id: c for c in noise_claims.noise_claims(table, ["loo", "grad_dot"], "toy")}
    assert claims["B1-t"].status == "confirmed"
    assert claims["B10-grad_dot-t"].status == "refuted"
    mixed = noise_claims.noise_claims(share_rows((0.6, 0.7), (0.1, 0.2)), ["loo"], "toy")
    assert {claim.status for claim in mixed} == {"partly"}


@pytest.mark.parametrize(
    ("intervals", "status"),
    [([(0.1, 0.4)] * 2, "confirmed"), ([(0.6, 0.9)] * 2, "refuted"),
     ([(0.6, 0.9), (0.1, 0.4)], "partly"), ([(0.4, 0.6)] * 2, "inconclusive")],
)  # fmt: skip
def test_influence_that_matters_drowns_where_most_of_it_does(intervals, status):
    table = share_rows(*intervals).assign(**{"from": noise.MATTERS, "to": np.inf})
    decoy = share_rows((0.9, 1.0)).assign(**{"from": 0.1, "to": np.inf})
    claim = noise_claims.matter_claim(pd.concat([table, decoy]), "toy")
    assert (claim.id, claim.status) == ("B1-matters", status)


@pytest.mark.parametrize(
    ("share", "excess", "status"),
    [((0.01, 0.09), (0.1, 0.5), "confirmed"), ((0.01, 0.11), (0.1, 0.5), "partly"),
     ((0.01, 0.09), (-0.1, 0.5), "inconclusive"), ((0.01, 0.09), (-0.5, -0.1), "refuted"),
     ((0.6, 0.9), (0.1, 0.5), "refuted"), ((0.01, 0.09), (np.nan, np.nan), "inconclusive")],
)  # fmt: skip
def test_low_noise_pairs_are_rare_and_exist(share, excess, status):
    again = share_rows(share, share).assign(base_rate=0.1)
    again = again.assign(excess_low=excess[0], excess_high=excess[1])
    claims = noise_claims.low_noise_claims(share_rows(share, share), again, "toy")
    assert [(c.id, c.status) for c in claims] == [("B2", status), ("B2-code", status)]
    assert claims[0].ci == share


@pytest.mark.parametrize(
    ("change", "sigma", "statuses"),
    [((-0.2, -0.03), (0.5, 0.9), ["confirmed", "confirmed"]),
     ((-0.01, 0.01), (0.96, 1.0), ["refuted", "refuted"]),
     ((0.03, 0.2), (0.9, 1.0), ["refuted", "inconclusive"]),
     ((-0.2, -0.01), (0.9, 1.0), ["inconclusive", "inconclusive"])],
)  # fmt: skip
def test_more_checkpoints_have_to_matter(change, sigma, statuses):
    table = share_rows(change, value="change").assign(sigma=sigma[0])
    table = table.assign(sigma_low=sigma[0], sigma_high=sigma[1]).query("statistic == 't_fdr'")
    claims = noise_claims.checkpoint_claims(table, "toy")
    assert [c.status for c in claims] == statuses
    one = noise_claims.checkpoint_claims(table.assign(k=1), "toy")
    assert {c.status for c in one} == {"not tested"}


@pytest.mark.parametrize(
    ("interval", "status"),
    [((1.5, 7.0), "confirmed"), ((1.0, 1.4), "refuted"), ((1.3, 2.0), "inconclusive")],
)
def test_pairing_has_to_save_half_of_the_seeds(interval, status):
    table = share_rows(interval, value="ratio").query("statistic == 't_fdr'")
    assert noise_claims.pairing_claim(table, "toy").status == status


def test_the_published_p_is_not_calibrated_and_its_level_is_exact():
    claim = noise_claims.calibration_claim(10)
    assert claim.status == "confirmed"
    t = stats.norm.isf(0.025) * np.sqrt(10)
    assert claim.estimate == pytest.approx(2 * stats.t.sf(t, 9), rel=1e-6)
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((10, 400_000))
    far = np.abs(draws.mean(0)) > stats.norm.isf(0.025) * draws.std(0, ddof=1)
    assert claim.estimate == pytest.approx(far.mean(), rel=0.4)
    assert noise_claims.calibration_claim(100_000).status == "confirmed"  # more seeds: ever less


# --- figures -------------------------------------------------------------------------------------


def test_the_hero_figure_shows_every_pair_or_counts_it(table):
    array = scores()
    array[..., 0, 0] = np.resize([1.0, -1.0], 8)[:, None]  # a mean of 0, below every axis
    fig, data = plots.influence_against_noise({10: array}, table)
    mu = np.abs(array.values.mean(axis=(1, 2)))
    inside = (mu >= 10 ** data["log10_abs_mu_bin"].min()).mean()
    assert 0.99 < inside < 1
    assert data["share_of_pairs"].sum() == pytest.approx(inside)
    told = [text.get_text() for text in fig.legends[0].get_texts()]
    assert told == ["published p = .05", "t-test p = .05"]
    texts = [text.get_text() for text in fig.axes[0].texts]
    beyond_axes = 1 - data["share_of_pairs"].sum()
    assert float(texts[-1].split()[0]) == pytest.approx(100 * beyond_axes, rel=0.06)
    shares = table.set_index(["method", "statistic"])["share"]["loo"]
    for text, statistic in zip(texts, ("code", "t", "t_fdr")):
        assert float(text.split()[0]) == pytest.approx(100 * shares[statistic], rel=0.06)
    assert texts[2].endswith("% FDR")


def test_figures_draw_their_tables(table):
    loss = {10: losses(1.0) / 100}
    late, within = noise.checkpoint_table(SCORES), noise.within_table(SCORES)
    pairing, replicated = noise.pairing_table(loss), noise.replication_table(SCORES)
    matter = noise.matter_table(SCORES, loss)
    for drawn, expected in (
        (plots.significant_shares(table), table),
        (plots.replicated_shares(replicated), replicated),
        (plots.pairing_points(pairing), pairing),
        (plots.checkpoint_curves(late, within), late[late["method"] == "loo"]),
    ):
        pd.testing.assert_frame_equal(drawn[1][expected.columns], expected)
    _, shown_groups = plots.matter_curves(matter)
    assert (shown_groups["n"] >= 100).all()
    assert not ((shown_groups["from"] == noise.MATTERS) & np.isinf(shown_groups["to"])).any()
    _, null = plots.null_curves(10)
    diagonal = null[null["statistic"] == "t"]
    np.testing.assert_allclose(diagonal["share"], diagonal["level"])


@pytest.mark.parametrize("task", [mnist3(2, 2), concrete(20, 10), regression1d()])
def test_every_task_has_a_picture(task):
    _, data = previews.task_preview(task, per_class=2)
    assert len(data) > 0
