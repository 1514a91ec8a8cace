"""Notebook 07: its tables on known answers, its rules on doctored numbers, its figures."""

from dataclasses import replace

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import response_covariance

from dtda_lib.experiments.cold_posterior_transport import chains as tc
from dtda_lib.experiments.cold_posterior_transport import claims as rules
from dtda_lib.experiments.cold_posterior_transport import degenerate
from dtda_lib.experiments.cold_posterior_transport import maps as tr
from dtda_lib.experiments.cold_posterior_transport import plots as plots
from dtda_lib.experiments.cold_posterior_transport import words as words
from dtda_lib.study.evidence import load

NAMES = ("even", "uneven")
BETAS = (10, 100, 10_000)


@pytest.fixture(scope="module")
def sampled():
    return tc.sample_chains(2_000, np.random.default_rng(0))


@pytest.fixture(scope="module")
def responses(sampled):
    return tc.response_table(sampled)


@pytest.fixture(scope="module")
def tables():
    small = pd.concat([tr.divergence_table(name, [(1e-3, tr.COLD)]) for name in NAMES])
    return {
        "scales": tr.scale_table(NAMES),
        "cold": tr.cold_table(NAMES, BETAS),
        "rivals": tr.rival_table("uneven"),
        "small": small,
        "floors": tr.basin_floor_table((30, tr.COLD)),
        "masses": tr.mass_table(0.1, (10, 100)),
        "on_manifolds": degenerate.sphere_scale_table(),
        "rivals_there": degenerate.sphere_rival_table((0.1, 1e-3)),
        "tilted": degenerate.tilt_table((0.01, 1e-3)),
    }


# --- one parameter -------------------------------------------------------------------------------


def test_wells_are_as_described():
    wells = tr.wells_table().set_index(["case", "minimum"]).round(6)
    assert wells.loc[("even", 1), "r"] == 0.5
    assert wells.loc["uneven"]["curvature"].tolist() == [2, 4]
    assert wells.loc["uneven"]["loss_k"].tolist() == [0.5, 0.5]
    assert wells.loc["apart"]["loss_k"].tolist() == [1.125, 0.125]


def test_laws_keep_their_mass_and_basins():
    table = tr.law_table("apart", 0.05, 20)
    for law, part in table.groupby("law"):
        assert np.trapezoid(part["density"], part["theta"]) == pytest.approx(1, abs=2e-3), law
    masses = tr.mass_table(0.1, (10, 100)).set_index(["case", "beta"])
    assert masses.loc[("apart", 100), "after"] > 0.999
    assert masses.loc[("apart", 100), "moved"] == pytest.approx(0.5, abs=1e-6)
    assert masses.loc[("even", 10), "w2_moved"] < 0.5 * masses.loc[("even", 10), "w2_nothing"]
    uneven = masses.loc[("uneven", 100)]
    assert uneven["f_moved"] < 0.1 * uneven["f_nothing"]
    assert uneven["w2_moved"] > uneven["w2_nothing"], "less KL, more W2"


def test_scales_meet_their_closed_form(tables):
    even = tables["scales"][tables["scales"]["case"] == "even"]
    expected = [tr.exact_even_scale(eps) for eps in even["eps"]]
    np.testing.assert_allclose(even["best"], expected, atol=1e-10)
    assert tr.log_slope([1, 10, 100], [-3, -0.3, -0.03]) == pytest.approx(-1)


def test_rivals_tend_to_their_limits(tables):
    last = tables["rivals"][tables["rivals"]["eps"] == min(tr.EPSILONS)]
    np.testing.assert_allclose(last["f"], last["limit"], rtol=2e-3)
    reach = tr.reach_table("even", (0.9, 0.98, 1.1)).set_index("c")["a"]
    assert 0 < reach[0.98] < reach[0.9] < reach[1.1] == 1


def test_the_best_end_counts_where_there_is_no_minimum():
    case = tr.CASES["apart"]
    away = tr.Case(case.loss, -1 * case.point, "")
    assert tr._best(away, 0.01, 30) == pytest.approx(tr._best(case, 0.01, 30), abs=0.1)

    class Backwards(tr.Case):
        @property
        def influence(self):
            return super().influence.times(-1)

    assert tr._best(Backwards(case.loss, case.point, ""), 0.01, 30) == 0


def test_exact_field_is_exponentially_large_at_the_barrier():
    fields = tr.field_table("apart", (5, 20))
    top = fields[fields["theta"].abs() < 1e-9].set_index("beta")["r"]
    assert top[20] < 50 * top[5] < 0
    assert abs(top[tr.COLD]) < 1


# --- chains --------------------------------------------------------------------------------------


def test_chains_follow_their_closed_forms(sampled):
    table = tc.sampled_moments_table(sampled)
    assert rules.sampling_claim(table, 2_000).status == "confirmed"
    small = table[table["chain"] == "langevin"]
    np.testing.assert_allclose(small["exact_sd"], small["boltzmann_sd"], rtol=0.02)
    doctored = {
        kind: {law: (1.2 * theta, r) for law, (theta, r) in laws.items()}
        for kind, laws in sampled.items()
    }
    wrong = tc.sampled_moments_table(doctored)
    assert rules.sampling_claim(wrong, 2_000).status == "refuted"


def test_influence_at_each_sample_doubles_the_change_of_variance(responses):
    table = responses.set_index(["estimator", "chain"])
    assert table.loc[("if_sample", "langevin"), "variance"] == pytest.approx(2, abs=0.1)
    assert (table.loc["if_minimum"]["variance"] == 0).all()
    np.testing.assert_allclose(table.loc["if_sample"]["mean"], 1, rtol=1e-6)
    unrolled = table.loc["unrolling"]
    np.testing.assert_allclose(unrolled["mean"], 1, atol=0.1)
    np.testing.assert_allclose(unrolled["variance"], 1, atol=0.3)
    assert (unrolled["variance_low"] < unrolled["variance"]).all()
    points = tc.points_table().set_index("chain")
    assert points.loc["langevin", "right sign"] == 1
    assert points.loc["sgd", "right sign"] < 0.7


def test_true_slopes_are_those_of_moving_by_half_the_influence():
    made, point = tc.chains()
    chain = made["langevin"]
    m = response_covariance(chain, point)
    unrolled = 2 * tc.QUERY @ m @ tc.QUERY
    assert unrolled == pytest.approx(tc.true_slopes(chain, point)[1], rel=1e-5)


# --- manifolds of minima -------------------------------------------------------------------------


def test_rivals_on_manifolds_tend_to_their_limits(tables):
    last = tables["rivals_there"][tables["rivals_there"]["eps"] == 1e-3]
    np.testing.assert_allclose(last["f"], last["limit"], rtol=3e-3)
    best = last[~last["field"].isin(("influence", "with a null part"))].groupby("case")["f"].min()
    own = last[last["field"] == "influence"].set_index("case")["f"]
    assert (best > own).all()


def test_colder_laws_have_a_best_scale_nearer_to_one():
    table = degenerate.sphere_cold_table((100, 10_000)).pivot(
        index="case", columns="beta", values="best"
    )
    assert ((table[10_000] - 1).abs() < 0.1 * (table[100] - 1).abs()).all()


# --- claims --------------------------------------------------------------------------------------


def test_claims_follow_the_numbers(tables, responses):
    found = [
        *rules.scale_claims(tables["scales"], tables["on_manifolds"]),
        rules.cold_claim(tables["cold"]),
        *rules.rival_claims(tables["rivals"], tables["rivals_there"]),
        *rules.parabola_claims(tables["small"]),
        *rules.floor_claims(tables["floors"], tables["masses"]),
        rules.tilt_claim(tables["tilted"]),
        *rules.variance_claims(responses, 2_000)[:2],
    ]
    assert {claim.id: claim.status for claim in found} == {
        "C5-degenerate": "confirmed",
        "C5-line": "confirmed",
        "C5-cold": "confirmed",
        "C5-best": "confirmed",
        "C5-null": "confirmed",
        "T10": "confirmed",
        "T10-zero": "partly",
        "T11": "confirmed",
        "T11-basins": "refuted",
        "T11-manifold": "confirmed",
        "T12-spread-if_minimum": "refuted",
        "T12-spread-if_sample": "refuted",
    }


def test_claims_turn_with_doctored_numbers(tables, responses):
    scales, floors, masses = tables["scales"], tables["floors"], tables["masses"]
    there = tables["on_manifolds"]
    assert rules.scale_claims(scales, there.assign(offset=0.2))[0].status == "refuted"
    no_order = rules.scale_claims(scales.assign(offset=0.005), there)[1]
    assert no_order.status == "inconclusive"
    assert rules.cold_claim(tables["cold"].assign(limit=1.5)).status == "refuted"
    swapped = tables["rivals"].replace({"field": {"influence": "0.9 r", "0.9 r": "influence"}})
    assert rules.rival_claims(swapped, tables["rivals_there"])[0].status == "refuted"
    pulled = tables["rivals_there"].assign(
        f=lambda t: t["f"].where(t["field"] != "with a null part", 2 * t["f"])
    )
    assert rules.rival_claims(tables["rivals"], pulled)[1].status == "refuted"
    half = tables["tilted"].assign(best=lambda t: t["best"] / 2)
    assert rules.tilt_claim(half).status == "refuted"
    off = tables["small"].assign(leading=lambda t: t["leading"] + 0.1)
    assert rules.parabola_claims(off)[0].status == "refuted"
    even = tables["small"][tables["small"]["case"] == "even"]
    assert rules.parabola_claims(even)[1].status == "confirmed"
    assert rules.floor_claims(floors.assign(best=0.5 * floors["best"]), masses)[0].status == (
        "refuted"
    )
    moved = masses.assign(moved=masses["after"])
    assert rules.floor_claims(floors, moved)[1].status == "confirmed"
    near = responses.assign(variance=1.0, variance_low=0.95, variance_high=1.05)
    assert [c.status for c in rules.variance_claims(near, 9)] == ["confirmed"] * 3
    wide = near.assign(variance_high=1.5)
    assert rules.variance_claims(wide, 9)[2].status == "inconclusive"
    far = near.assign(variance_low=1.3, variance_high=1.5)
    assert rules.variance_claims(far, 9)[2].status == "refuted"


def test_the_answer_follows_the_evidence():
    evidence = load()
    some = replace(evidence["C5-best"], profile="paper")
    names = ("C5-best", "C5-degenerate", "C5-line", "T11-manifold")
    made = {n: replace(some, claim=replace(some.claim, id=n)) for n in names}
    evidence = replace(evidence, findings=evidence.findings | made)
    said = words.answer(evidence)
    assert 3 <= len(said) <= 5
    assert "_" not in " ".join(said)
    assert "No other map that was tried beats" in said[0]
    findings = dict(evidence.findings)
    findings["C5-best"] = replace(some, claim=replace(some.claim, status="refuted"))
    assert words.answer(replace(evidence, findings=findings))[0].startswith("Other maps may beat")


def test_tables_show_names_and_not_keys(responses):
    shown = words.with_plain_headers(responses)
    assert shown["chain"].iloc[0] == "Langevin, small steps"
    assert shown["estimator"].iloc[1] == "influence at each sample"
    assert not any("_" in column for column in shown.columns)


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_figures_draw_what_they_return(tables, sampled, responses):
    by_eps = tr.divergence_table("even", [(0.3, tr.COLD), (0.1, tr.COLD)])
    by_beta = tr.divergence_table("even", [(0.1, 10), (0.1, tr.COLD)])
    drawn = [
        plots.laws({"even": (tr.law_table("even", 0.3, 20), 0.3, 20)}),
        plots.divergence_curves(by_eps, by_beta),
        plots.manifolds(tables["rivals_there"], tables["tilted"]),
        plots.floor(tables["floors"], tr.field_table("apart", (5, 10))),
        plots.sampled_laws(sampled, responses),
    ]
    for figure, data in drawn:
        figure.canvas.draw()
        assert len(data) > 0
        assert figure.get_figwidth() == 5.5
        plt.close(figure)
