"""What retraining without groups of images says: tables, rules and sentences of notebook 10."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy import stats

from dtda_lib.experiments.diffusion import claims as diffusion_claims
from dtda_lib.experiments.diffusion import ensemble as diffusion
from dtda_lib.experiments.diffusion import lists as lists
from dtda_lib.experiments.diffusion import plots as plots
from dtda_lib.experiments.diffusion import retrained as retrained
from dtda_lib.experiments.diffusion import words as words
from dtda_lib.study.claims import CONFIRMED, INCONCLUSIVE, PARTLY, REFUTED
from dtda_lib.study.evidence import Evidence, load

N_SEEDS, N_SAMPLES, N_RANDOM = 6, 8, 3
JUDGED = np.array([0, 3, 6])
SAMPLES = diffusion.GeneratedSamples(
    torch.zeros(N_SAMPLES, 2), np.zeros(N_SAMPLES, dtype=int), np.arange(N_SAMPLES) % 2
)
GROUPS = [
    *(f"{kind}/{s}" for kind in diffusion.LISTS for s in JUDGED),
    *(f"{pool}/{d}" for pool in ("random", "digit0", "digit1") for d in range(N_RANDOM)),
]


def losses(noise=1e-3, spread=None, **rises):
    """m of 1 per sample and seed, higher by `rises` of a group's kind for its own sample.

    Random groups raise all samples; `spread` multiplies the noise of kinds.
    """
    generator = np.random.default_rng(0)
    values = np.ones((N_SEEDS, 1 + len(GROUPS), N_SAMPLES))
    for row, name in enumerate(GROUPS, start=1):
        kind, number = name.split("/")
        own = slice(None) if kind[:5] in ("rando", "digit") else int(number)
        values[:, row, own] += rises.get(kind, 0.0)
    jitter = generator.normal(size=values.shape) * noise
    for row, name in enumerate(GROUPS, start=1):
        jitter[:, row] *= (spread or {}).get(name.split("/")[0], 1.0)
    return xr.DataArray(
        values + jitter,
        {"seed": range(N_SEEDS), "removal": ["none", *GROUPS], "sample": range(N_SAMPLES)},
        ("seed", "removal", "sample"),
    )


def table_of(**kind):
    return retrained.validation_table(
        retrained.losses_after_removal(losses(**kind), SAMPLES, JUDGED)
    )


def row_of(table, measured, first, second):
    return table.set_index(["measured", "first", "second"]).loc[(measured, first, second)]


# --- what came -----------------------------------------------------------------------------------


def test_each_sample_meets_its_own_groups():
    loss = losses()
    for index in range(loss.sizes["removal"]):
        loss[:, index] = index + loss["sample"] / 100
    after = retrained.losses_after_removal(loss, SAMPLES, JUDGED)
    place = {name: index for index, name in enumerate(loss["removal"].values)}
    for column, s in enumerate(JUDGED):
        assert float(after["none"].isel(seed=0, sample=column)) == pytest.approx(s / 100)
        for kind in diffusion.LISTS:
            found = float(after[kind].isel(seed=0, sample=column))
            assert found == pytest.approx(place[f"{kind}/{s}"] + s / 100)
        for draw in range(N_RANDOM):
            found = after[["random", "digit"]].isel(seed=0, sample=column, group=draw)
            assert float(found["random"]) == pytest.approx(place[f"random/{draw}"] + s / 100)
            own = f"digit{s % 2}/{draw}"
            assert float(found["digit"]) == pytest.approx(place[own] + s / 100)


def test_rises_are_percentages_of_the_loss():
    table = table_of(mean=0.4, nearest=0.3, random=0.1, digit0=0.2, digit1=0.2)
    for first, second, wanted in (
        ("mean", "random", 30),
        ("mean", "digit", 20),
        ("mean", "nearest", 10),
        ("nearest", "random", 20),
        ("digit", "random", 10),
        ("random", "none", 10),
    ):
        row = row_of(table, "rise", first, second)
        assert row["estimate"] == pytest.approx(wanted, abs=0.3)
        assert row["low"] < wanted + 0.3
        assert row["high"] > wanted - 0.3
        assert row["high"] - row["low"] < 1
    each = retrained.per_sample(retrained.losses_after_removal(losses(mean=0.4), SAMPLES, JUDGED))
    assert each[each["list"] == "mean"]["rise"].values == pytest.approx(40, abs=0.3)


def test_widenings_are_log_ratios_of_variances():
    table = table_of(noise=1e-2, spread={"variance": 10.0})
    row = row_of(table, "widening", "variance", "mean")
    assert row["low"] < np.log(100) < row["high"]
    assert row_of(table, "widening", "mean", "random")["low"] < 0


def test_intervals_add_the_errors_over_each_dimension():
    """Equal seeds and samples leave only the error over random groups: a t interval."""
    loss = losses(noise=0.0)
    gaps = np.array([0.1, 0.2, 0.6])
    for draw, gap in enumerate(gaps):
        loss.loc[{"removal": f"random/{draw}"}] = 1 + gap
    row = retrained.crossed_interval(
        retrained.losses_after_removal(loss, SAMPLES, JUDGED),
        retrained.rise("random", "none"),
        ("seed", "sample", "group"),
    )
    reach = stats.t.ppf(0.975, 2) * 100 * gaps.std(ddof=1) / np.sqrt(3)
    assert row["estimate"] == pytest.approx(30)
    assert row["high"] - row["estimate"] == pytest.approx(reach)


# --- predictions ---------------------------------------------------------------------------------


def shifts_of(factor=1.0, noise=0.0, sign=1.0):
    generator = np.random.default_rng(1)
    shift = generator.normal(size=(5, 12, N_SAMPLES)) / 50
    groups = {name: generator.choice(12, 3, replace=False) for name in GROUPS}
    loss = losses(noise=0.0)
    for name, group in groups.items():
        came = sign * factor * shift.mean(axis=0)[group].sum(axis=0)
        jitter = noise * generator.normal(size=(N_SEEDS, N_SAMPLES))
        loss.loc[{"removal": name}] = 1 + came + jitter
    scored = diffusion.Scored(np.ones((5, N_SAMPLES)), shift)
    return retrained.predicted_and_observed(scored, loss, groups, JUDGED)


def test_predictions_that_come_true_by_half():
    table = retrained.prediction_skill_table(shifts_of(0.5)).set_index("measured")
    assert table.loc["slope", "estimate"] == pytest.approx(0.5)
    assert table.loc["correlation", "estimate"] == pytest.approx(1, abs=1e-3)  # two groups may tie
    table = retrained.prediction_skill_table(shifts_of(0.5, sign=-1)).set_index("measured")
    assert table.loc["slope", "estimate"] == pytest.approx(-0.5)
    assert table.loc["correlation", "estimate"] == pytest.approx(-1, abs=1e-3)


def test_correlation_is_of_ranks():
    predicted = xr.DataArray(np.random.default_rng(0).normal(size=(9, 4)), dims=("group", "sample"))
    shifts = xr.Dataset({"predicted": predicted, "observed": (predicted**5).expand_dims(seed=2)})
    assert float(retrained.prediction_correlation(shifts)) == pytest.approx(1)


def test_noise_lowers_the_correlation_and_not_the_slope():
    table = retrained.prediction_skill_table(shifts_of(1.0, noise=0.05)).set_index("measured")
    assert table.loc["correlation", "estimate"] < 0.95
    assert table.loc["slope", "low"] < 1 < table.loc["slope", "high"]


# --- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "strict", "status"),
    [
        ((0.1, 0.2), (0.06, 0.2), CONFIRMED),
        ((0.1, 0.2), (0.04, 0.2), PARTLY),
        ((-0.01, 0.04), (-0.01, 0.04), REFUTED),
        ((-0.3, -0.2), (-0.3, -0.2), REFUTED),
        ((0.04, 0.2), (0.0, 0.2), INCONCLUSIVE),
    ],
)
def test_rule_of_lists(plain, strict, status):
    assert diffusion_claims.list_status(plain, strict) == status
    claims = diffusion_claims.list_claims(compared(plain, strict), "a setting")
    assert {claim.status for claim in claims} == {status}
    assert [claim.id for claim in claims] == [f"C11-{a}-{b}" for a, b in lists.PAIRS]


def compared(plain, strict):
    table = pd.DataFrame(lists.PAIRS, columns=["first_list", "second_list"])
    for name, ends in (("plain", plain), ("strict", strict)):
        table[name] = sum(ends) / 2
        table[f"{name}_low"], table[f"{name}_high"] = ends
    overlaps = {"first": 0.9, "second": 0.5, "between": 0.4}
    return table.assign(**overlaps, k=10, chance=0.05, n_samples=24, n_seeds=32)


@pytest.mark.parametrize(
    ("rises", "statuses"),
    [
        ({"mean": 0.4}, {"V-mean": CONFIRMED, "V-digit": CONFIRMED, "V-rival": CONFIRMED}),
        ({"mean": 0.4, "nearest": 0.6}, {"V-nearest": CONFIRMED, "V-rival": REFUTED}),
        ({"mean": 0.4, "digit0": 0.5, "digit1": 0.5}, {"V-mean": CONFIRMED, "V-digit": REFUTED}),
        ({"random": 0.4}, {"V-mean": REFUTED, "V-nearest": REFUTED, "V-rival": INCONCLUSIVE}),
        ({}, {"V-mean": INCONCLUSIVE, "V-nearest": INCONCLUSIVE, "V-variance": INCONCLUSIVE}),
    ],
)
def test_rule_of_validation(rises, statuses):
    claims = diffusion_claims.validation_claims(table_of(**rises), "a setting")
    found = {claim.id: claim.status for claim in claims}
    assert {name: found[name] for name in statuses} == statuses


@pytest.mark.slow
def test_rule_of_widening():
    wide = table_of(noise=1e-2, spread={"variance": 30.0})
    found = {c.id: c.status for c in diffusion_claims.validation_claims(wide, "a setting")}
    assert found["V-variance"] == found["V-variance-rival"] == CONFIRMED
    assert found["V-mean"] == INCONCLUSIVE
    narrow = table_of(noise=1e-2, spread={"variance": 1 / 30})
    found = {c.id: c.status for c in diffusion_claims.validation_claims(narrow, "a setting")}
    assert found["V-variance"] == found["V-variance-rival"] == REFUTED


@pytest.mark.parametrize(
    ("ends", "order", "size"),
    [
        ((0.6, 0.9), CONFIRMED, CONFIRMED),
        ((0.1, 0.4), REFUTED, REFUTED),
        ((0.4, 0.9), INCONCLUSIVE, INCONCLUSIVE),
        ((2.1, 2.5), CONFIRMED, REFUTED),
    ],
)
def test_rule_of_predictions(ends, order, size):
    rows = [(name, sum(ends) / 2, *ends, 8, 12, 48) for name in ("correlation", "slope")]
    columns = ["measured", "estimate", "low", "high", "n_seeds", "n_samples", "n_groups"]
    table = pd.DataFrame(rows, columns=columns)
    claims = diffusion_claims.prediction_claims(table, "a setting")
    assert [claim.status for claim in claims] == [order, size]


# --- sentences and figures -----------------------------------------------------------------------


def test_samples_are_told():
    said = words.quality_words({"too_far": 0.25, "too_near": 0.0}, 24).data
    assert said.startswith("Of 24 samples 6 are further")
    assert "and 0 nearer" in said


# --- the answer ----------------------------------------------------------------------------------


def evidence_with(**ends):
    """The evidence on record, with other intervals of differences between removals."""
    known = load()

    class Other(Evidence):
        def table(self, notebook, figure, profile="paper"):
            found = known.table(notebook, figure, profile)
            if figure == "retrained":
                for pair, (low, high) in ends.items():
                    first, second = pair.split("_")
                    chosen = (found["first"] == first) & (found["second"] == second)
                    found.loc[chosen, ["estimate", "low", "high"]] = (low + high) / 2, low, high
            return found

    return Other(known.findings, known.due, known.root)


def test_the_answer_is_short_and_names_no_keys():
    told = words.answer(load())
    assert 3 <= len(told) <= 5
    assert "_" not in " ".join(told)


@pytest.mark.parametrize(
    ("ends", "rival", "wider"),
    [
        ((1.0, 2.0), "do worse: ", "widens the law more than"),
        ((-2.0, -1.0), "do better: ", "widens the law less than"),
        ((-1.0, 2.0), "are not shown to do worse: ", "is not shown to widen the law more than"),
    ],
)
def test_the_answer_follows_the_intervals(ends, rival, wider):
    told = words.answer(evidence_with(mean_nearest=ends, variance_mean=ends))
    assert rival in told[3]
    assert wider in told[4]


@pytest.mark.parametrize(
    ("ends", "said"),
    [((10, 30), "less well: its loss rises by 20 % [10, 30]"), ((-9, 20), "as well: ")],
)
def test_retraining_is_told_in_percent_of_the_loss(ends, said):
    assert f"know the sample {said}" in words.answer(evidence_with(mean_random=ends))[2]


def test_there_is_no_answer_before_a_run(tmp_path):
    assert words.answer(load(tmp_path)) == []


def test_figures_draw_what_they_are_given():
    fig, drawn = plots.list_overlaps(compared((0.1, 0.2), (0.0, 0.1)))
    assert len(drawn) == len(lists.PAIRS)
    assert len(fig.axes[1].containers) == 2
    after = retrained.losses_after_removal(losses(mean=0.4), SAMPLES, JUDGED)
    fig, drawn = plots.retrained(retrained.validation_table(after), retrained.per_sample(after))
    assert (drawn["measured"] == "rise of one sample").sum() == 4 * len(JUDGED)
    rises = drawn[drawn["measured"] == "rise"]
    against = list(zip(rises["first"], rises["second"]))
    shown = [axis.get_text() for axis in fig.axes[0].get_yticklabels()]
    assert {("mean", "digit"), ("mean", "nearest")} <= set(against)  # V-digit and V-rival
    assert ("random", "none") not in against
    assert shown[-2:] == ["by mean\n− random, same digit", "by mean\n− nearest in pixels"]
    middles = [c.lines[0].get_xdata()[0] for c in fig.axes[0].containers]
    rows = rises.set_index(["first", "second"])["estimate"]
    assert middles[-2:] == [rows["mean", "digit"], rows["mean", "nearest"]]
    fig, drawn = plots.predicted_and_observed_shifts(shifts_of(), GROUPS, JUDGED)
    assert len(drawn) == len(GROUPS) * len(JUDGED)
    assert drawn["own"].sum() == 3 * len(JUDGED)
    plt.close("all")
