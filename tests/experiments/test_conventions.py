"""Notebook 00: its tables on known answers, its rules on doctored ones."""

from dataclasses import fields, replace

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from dtda_lib.experiments.conventions import claims as rules
from dtda_lib.experiments.conventions import exact as co
from dtda_lib.experiments.conventions import plots as plots
from dtda_lib.experiments.conventions import simulated as sim
from dtda_lib.experiments.conventions import words
from dtda_lib.study.evidence import load as load_evidence
from dtda_lib.theory.testbeds import AnchoredRidge, gaussian_distances

TESTBED, POINTS = co.example()
FAR, ORDINARY = POINTS["far"], POINTS["ordinary"]


def rng(seed=0):
    return np.random.default_rng(seed)


def doctored(kind):
    """The example as a testbed with a slip in it."""
    return kind(**{field.name: getattr(TESTBED, field.name) for field in fields(TESTBED)})


class WithoutN(AnchoredRidge):
    """Forgets the factor 1/N of a response."""

    def _responses(self, leverage):
        return self.n_train * super()._responses(leverage)


class Wider(AnchoredRidge):
    """Trains from a wider start than its formulas know."""

    def simulate(self, *args):
        return replace(TESTBED, query_x=self.query_x, anchor_sd=1.1).simulate(*args)


# --- conventions ---------------------------------------------------------------------------------


def test_epsilon_goes_from_all_points_to_one_less():
    there, gone = (
        co.down_weighted_ridge(TESTBED, ORDINARY, 0),
        co.down_weighted_ridge(TESTBED, ORDINARY, 1 / 12),
    )
    np.testing.assert_allclose(there.law().mean, TESTBED.law().mean)
    np.testing.assert_allclose(gone.law().mean, TESTBED.without().mean[ORDINARY])
    np.testing.assert_allclose(gone.law().sd, TESTBED.without().sd[ORDINARY])
    for testbed, epsilon in ((TESTBED, 0.1), (replace(TESTBED, target_sd=1.0), 0.01)):
        with pytest.raises(ValueError, match="1/N needed"):
            co.down_weighted_ridge(testbed, ORDINARY, epsilon)


def test_every_convention_holds_and_a_slip_in_scale_shows():
    table = co.convention_table(TESTBED, POINTS, 50, rng())
    prescribed = table[table["must be"] != ""]
    np.testing.assert_allclose(prescribed["value"], prescribed["must be"].astype(float), atol=1e-5)
    assert (table.loc[table["must be"] == "", "value"].abs() > 0.01).all(), "the other choice shows"
    slipped = co.convention_table(doctored(WithoutN), POINTS, 50, rng())
    assert slipped.loc[2, "value"] == pytest.approx(1 / 12, rel=1e-4)


def test_the_law_moves_by_nothing_where_single_runs_move():
    table = co.answers_table(TESTBED, POINTS, rng()).set_index(["point", "estimand"])
    assert table.loc[("far", "law"), "value"] == pytest.approx(0, abs=1e-12)
    assert abs(table.loc[("far", "a fixed seed"), "value"]) > 0.01
    runs = co.at_queries(TESTBED, [-1]).simulate(4000, rng(1), [[FAR]])
    shift = (runs["retrained"][:, 0] - runs["base"]).values
    across = runs["retrained"][:, 0].values - np.roll(runs["base"].values, 1)
    for values, estimand in ((shift, "a fixed seed"), (across, "across seeds")):
        assert values.std() == pytest.approx(table.loc[("far", estimand), "spread"], rel=0.05)


# --- Deltas, estimators --------------------------------------------------------------------------


def test_deltas_name_other_points():
    table = co.delta_table(TESTBED)
    assert table["mean"].idxmax() == ORDINARY
    assert table["log_variance_ratio"].idxmax() == table["w2"].idxmax() == FAR
    assert table.loc[FAR, "rank_mean"] == 12
    shift = (TESTBED.without().mean - TESTBED.law().mean).values
    wider = (TESTBED.without().sd - TESTBED.law().sd).values
    np.testing.assert_allclose(table["w2"], np.sqrt(shift**2 + wider**2).mean(axis=1))
    neutral = co.neutral_table(TESTBED, FAR)
    assert neutral["mean shift"][0] < 1e-12
    assert neutral["mean shift"][1] == 0, "to the last bit"
    assert (neutral["most"] > 2).all()


def test_errors_are_the_leverage_and_nothing():
    table = co.error_table(TESTBED, 1).set_index("estimator")
    plain, corrected = table.loc["if"], table.loc["rif"]
    h = TESTBED.leverages()
    np.testing.assert_allclose(plain["kept"][:FAR], 1 - h[:FAR])
    np.testing.assert_allclose(plain["mean"][:FAR], h[:FAR])
    assert np.isnan(plain["mean"].iloc[FAR]), "no shift, so no relative error"
    assert corrected[["variance", "w2"]].max().max() < 1e-12
    one = gaussian_distances(TESTBED.without(), TESTBED.predicted())["w2"].sum("query")[FAR]
    all_of_it = gaussian_distances(TESTBED.law(), TESTBED.without())["w2"].sum("query")[FAR]
    assert plain["w2"].iloc[FAR] == pytest.approx(float(one / all_of_it))


def test_an_averaged_shift_changes_no_variance():
    table = co.averaged_shift_variance(TESTBED, FAR)
    share = table.set_index(["estimator", "each run moves by"])["share of true change"]
    assert share["rif", "own shift"] == pytest.approx(1)
    assert 0.1 < share["if", "own shift"] < 0.5
    assert share["if", "averaged shift"] == share["rif", "averaged shift"] == 0


def test_the_estimators_for_networks_say_the_same():
    assert sim.network_estimators_error(TESTBED, rng()) < 1e-9
    assert sim.network_estimators_error(doctored(WithoutN), rng()) > 0.5


# --- simulation ----------------------------------------------------------------------------------


def test_formulas_agree_with_simulation_and_a_wrong_one_does_not():
    scores = sim.z_scores(co.at_queries(TESTBED, [0, -1]), 4000, rng(3))
    assert sum(z.size for z in scores.values()) == 2 * 2 + 9 * 24
    assert rules.simulation_claim(scores, 4000).status == "confirmed"
    assert sim.z_table(scores)["largest |z|"].max() < 4.5
    wrong = sim.z_scores(co.at_queries(doctored(Wider), [0, -1]), 4000, rng(3))
    assert rules.simulation_claim(wrong, 4000).status == "refuted"


def test_one_models_estimate_predicts_its_own_run():
    means, gaps = sim.three_targets_table(TESTBED, 100, rng())
    found = means.set_index(["estimator", "predicts"])["correlation"]
    law, own, other = (found["rif", target] for target in sim.TARGETS)
    assert own == pytest.approx(1)
    assert own > law > other
    claim = rules.target_claim(gaps, 100)
    assert claim.status == "refuted"
    assert claim.estimate == pytest.approx(
        found["if", sim.TARGETS[0]] - found["if", sim.TARGETS[1]]
    )
    turned = gaps.assign(low=-gaps["high"], high=-gaps["low"])
    assert rules.target_claim(turned, 100).status == "confirmed"


@pytest.fixture(scope="module")
def powers():
    return sim.delta_power_table(
        TESTBED, POINTS, co.THREE_DELTAS, (6, 20), n_repeats=100, n_permutations=99, generator=rng()
    )


def test_power_finds_what_there_is(powers):
    rows = powers.set_index(["point", "delta", "form", "n_seeds"])
    means = rows.xs(("far", "mean"), level=("point", "delta"))
    assert (means["power"] < 0.15).all(), "there is no shift"
    np.testing.assert_allclose(means["formula"], 0.05, atol=1e-9)
    assert rows.loc[("far", "log_variance_ratio", "unpaired", 20), "power"] > 0.9
    assert rows.loc[("ordinary", "mean", "paired", 20), "power"] == 1
    unpaired = rows.loc[("ordinary", "mean", "unpaired", 20)]
    assert unpaired["low"] <= unpaired["formula"] + 0.05
    assert unpaired["formula"] <= unpaired["high"] + 0.05
    needed = sim.seeds_table(powers).set_index(["point", "form"])
    assert needed.loc[("far", "paired"), "mean"] == "> 20"
    assert needed.loc[("ordinary", "paired"), "mean"] == "6"


def test_w2_of_samples_falls_to_the_exact_one():
    table = sim.w2_floor_table(TESTBED, ORDINARY, (6, 100), n_repeats=50, generator=rng())
    assert (table["sampled"] > table["exact"]).all()
    assert table["floor"][0] > 2 * table["floor"][1] > 0
    assert table["floor"][0] > table["exact"][0], "with few seeds the effect drowns"


# --- claims --------------------------------------------------------------------------------------


def test_claims_about_single_points_follow_the_numbers():
    errors = co.error_table(TESTBED, 1)
    assert [c.status for c in rules.single_point_claims(errors)] == ["confirmed"] * 2
    slipped = co.error_table(doctored(WithoutN), 1)
    assert [c.status for c in rules.single_point_claims(slipped)] == ["refuted"] * 2


def test_groups_are_not_exact_and_untested_without_any():
    summary = co.error_summary(pd.concat([co.error_table(TESTBED, size) for size in (1, 2)]))
    assert summary["groups"].tolist() == [12, 12, 66, 66]
    assert (summary["low"] <= summary["median"]).all()
    assert rules.group_leverage_claim(summary).status == "refuted"
    assert rules.group_leverage_claim(summary[summary["size"] == 1]).status == "not tested"
    zero = summary.assign(low=0.0, median=0.0, high=0.0)
    assert rules.group_leverage_claim(zero).status == "confirmed"


def test_claims_about_deltas_follow_the_numbers():
    table = co.delta_table(TESTBED)
    assert [c.status for c in rules.delta_claims(table, 0.0, FAR)] == ["confirmed"] * 2
    moved = table.assign(mean=table["w2"])
    assert [c.status for c in rules.delta_claims(moved, 0.5, FAR)] == ["refuted"] * 2
    assert rules.delta_claims(table, 1e-4, FAR)[1].status == "inconclusive"


# --- the answer ----------------------------------------------------------------------------------


class Doctored:
    """The evidence with one table changed."""

    def __init__(self, name, change):
        self.known, self.name, self.change = load_evidence(), name, change

    def __getitem__(self, claim_id):
        return self.known[claim_id]

    def table(self, notebook, name):
        found = self.known.table(notebook, name)
        return self.change(found) if name == self.name else found


def test_the_answer_is_short_and_holds_no_keys():
    told = words.answer(load_evidence())
    assert len(told) == 5
    assert "_" not in " ".join(told)
    assert "first by variance and W2, last by the shift of the mean" in told[1]


def test_the_answer_follows_the_evidence():
    def moved(table):
        far = (table["what"] == "delta") & (table["name"] == "mean") & (table["x"] == 3)
        return table.assign(y=table["y"].mask(far, 0.5))

    told = words.answer(Doctored("deltas", moved))
    assert "moves their mean by 0.50" in told[0]
    assert "agree: this point ranks first by the shift of the mean, variance and W2." in told[1]
    assert "disagree" not in told[1]
    blind = words.answer(Doctored("power", lambda table: table.assign(power=0.5)))
    assert "> 320" in blind[-1]


# --- figures -------------------------------------------------------------------------------------


def test_figures_return_what_they_draw(powers):
    few = TESTBED.simulate(5, rng(), [[FAR]])
    many = co.at_queries(TESTBED, [-1]).simulate(500, rng(), [[FAR]])
    single = co.error_table(TESTBED, 1)
    summary = co.error_summary(single)
    drawn = {
        "law": plots.law_of_runs(TESTBED, few, many, FAR, bins=20),
        "deltas": plots.bands_and_deltas(TESTBED, POINTS, co.delta_table(TESTBED)),
        "estimators": plots.estimator_errors(single, summary),
        "power": plots.power_curves(powers),
    }
    rows = {name: len(data) for name, (_, data) in drawn.items()}
    assert rows == {
        "law": 5 * 25 + 2 * (201 + 20),
        "deltas": 2 * 2 * 25 + 3 * 12,
        "estimators": 2 * (12 + 1),
        "power": 2 * 3 * 2 * 2,
    }
    law = drawn["law"][1]
    for name in ("before", "after"):
        curve = law[law["what"] == f"density {name}"]
        assert np.trapezoid(curve["y"], curve["x"]) == pytest.approx(1, abs=1e-3)
    plt.close("all")
