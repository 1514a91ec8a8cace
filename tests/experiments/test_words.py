"""Sentences of notebooks 04, 05 and 06 follow their tables: a doctored table changes them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dtda_lib.experiments.predicting_retrained_laws import words as of_laws
from dtda_lib.experiments.predicting_retrained_laws.laws import LEVERAGE
from dtda_lib.experiments.predicting_retrained_laws.tables import ALL
from dtda_lib.experiments.unrolling_becomes_influence import network as limit
from dtda_lib.experiments.unrolling_becomes_influence import words as of_limit
from dtda_lib.experiments.variance_changing_examples import digits as digits
from dtda_lib.experiments.variance_changing_examples import groups as groups
from dtda_lib.experiments.variance_changing_examples import words as of_variance
from dtda_lib.study import wording
from dtda_lib.study.evidence import load

# --- parts ---------------------------------------------------------------------------------------


def test_parts_of_sentences():
    assert wording.joined([]) == "none"
    assert wording.joined(["a", "b", "c"]) == "a, b and c"
    assert wording.bullets(["a", "b"]).data == "* a\n* b"
    assert wording.counted(1, "pair") == "1 pair"
    assert wording.counted(2_000, "pair") == "2,000 pairs"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.1, 0.2, "up"), (-0.2, -0.1, "down"), (-0.1, 0.1, "?"), (0, 1, "?"), (np.nan, np.nan, "?")],
)
def test_words_take_the_side_of_the_whole_interval(low, high, words):
    row = {"low": low, "high": high}
    assert wording.side(row, 0, above="up", below="down", unclear="?") == words


# --- notebook 04 ---------------------------------------------------------------------------------


def test_picks_are_sure_only_where_fresh_seeds_agree():
    rows = {"delta": "mean", "pooling": ["average", "largest"], "pick": 5, "x": 1.9}
    table = pd.DataFrame(rows | {"share": 0.99, "pick_fresh": 5, "share_fresh": 0.98})
    assert "By the mean** averaged over queries it is point 5 (x = 1.90" in _text(table)
    assert _text(table).count("the pick is sure") == 2
    other = _text(table.assign(pick_fresh=7, share_fresh=0.1))
    assert other.count("fresh seeds pick point 7") == 2
    assert "sure" not in other
    assert "fresh seeds pick it, too" in _text(table.assign(share=0.6))


def _text(picks):
    return of_variance.pick_words(picks).data


def test_rivals_win_lose_or_are_not_told_apart():
    row = {"by_mean": 1, "by_delta": 2, "differ": 1.0}
    row |= {"mean_gap_low": 0.1, "mean_gap_high": 0.3, "delta_gap_low": 0.2, "delta_gap_high": 0.4}
    cells = [{"pooling": p, "delta": d} for p in ("average", "largest") for d in of_variance.DELTAS]
    table = pd.DataFrame([row | cell for cell in cells])
    said = of_variance.rival_words(table).data
    told = "the mean's point 1 wins by the mean and this one's point 2 wins by its own influence"
    assert said.count(told) == said.count("**confirmed**") == 1  # six alike are one sentence
    assert said.count("averaged over queries") == said.count("at the largest") == 3
    lost = of_variance.rival_words(table.assign(delta_gap_low=-0.4, delta_gap_high=-0.2)).data
    assert "point 2 loses by its own influence" in lost
    assert "confirmed" not in lost
    same = of_variance.rival_words(table.assign(by_delta=1, differ=0.01)).data
    assert "the mean picks the same point 1" in same
    apart = table.assign(by_delta=[2, 2, 2, 2, 2, 2, 2, 3])
    assert len(of_variance.rival_words(apart).data.splitlines()) == 2
    assert "**inconclusive**" in same  # the gaps of this doctored row still say "wins"


def test_other_draws_are_counted():
    table = pd.DataFrame(
        {"draw": [1, 2, 3], "delta": "w2", "status": ["refuted", "confirmed", "refuted"]}
    )
    said = of_variance.draw_words(table).data
    assert "of 3 other draws, by W2 of normal laws confirmed in 1 and refuted in 2." in said


def test_the_lone_point_is_first_only_where_it_is():
    table = pd.DataFrame(
        {"delta": delta, "pick": [9, 9], "share": 1.0, "share_fresh": 0.9}
        for delta in of_variance.DELTAS
    )
    table = table.explode("pick")
    first = of_variance.lone_words(table, 9).data
    assert first.count("puts the lone point first (in at least 90 %") == 4
    table.loc[table["delta"] == "mean", "pick"] = 4
    assert "**Mean** puts point 4 before the lone point" in of_variance.lone_words(table, 9).data


def test_scores_are_judged_by_their_intervals():
    row = {"method": "rif", "delta": "w2", "correlation": 0.8, "low": 0.7, "high": 0.9}
    scores = pd.DataFrame([row | {"ceiling": 0.95, "size": 1.5, "agree": 0.99}])
    kept = pd.DataFrame(
        {"method": "rif", "point": [0, 1], "true_shift": 1.0, "leverage": 0.5, "kept": [0.4, 0.6]}
    )
    said = of_variance.line_score_words(scores, kept).data
    assert "predicted by leverage-corrected IF (RIF) 0.80 (0.70 to 0.90) of 0.95" in said
    assert "the true one with leverage-corrected IF (RIF)" in said
    assert "1.5 by leverage-corrected IF (RIF)" in said
    assert "nearer to 1 − h, least 0.40 (point 0" in said
    scores = scores.assign(low=0.1, high=0.3, agree=0.0)
    said = of_variance.line_score_words(scores, kept.assign(kept=[0.9, 1.2])).data
    assert "not predicted by leverage-corrected IF (RIF)" in said
    assert "another one with leverage-corrected IF (RIF)" in said
    assert "nearer to 1, least" in said


def result(**changes):
    row = {"pairs": 4, "changed": 3, "found": 2, "replicated": 2, "survive": 1, "negligible": 1}
    row |= {"share": 1.0, "low": 0.9, "high": 1.0, "chance": 0.05, "chance_high": 0.2} | changes
    coords = {"removal": ["0", "1+0"], "query": [0, 1]}
    dims = ("removal", "query")

    def tests(ratios):
        relative = xr.DataArray(np.full((2, 2), 0.02), coords, dims)
        return xr.Dataset({"log_ratio": (dims, np.log(ratios)), "relative": relative}, coords)

    found = xr.DataArray([[True, False], [False, True]], coords, dims)
    survives = xr.DataArray([[False, False], [False, True]], coords, dims)
    first = tests([[0.5, 4.0], [1.0, 1.5]])
    fresh = tests([[0.9, 9.0], [1.0, 1.2]])
    return digits.Replicated(pd.DataFrame([row]), found, found, survives, first, fresh)


def test_replications_are_held_against_chance():
    said = of_variance.replication_words(result(), 0.052).data
    assert "100 %), more than by chance (5 %" in said
    assert "factors from 1.20 to 1.20" in said
    assert "5.2 % of the pairs" in said
    assert "**not** shown to be more" in of_variance.replication_words(result(low=0.1)).data
    assert "replicate" not in of_variance.replication_words(result(found=0)).data


def test_examples_are_chosen_on_the_first_seeds_alone():
    made = result()
    # The pair of the largest change on fresh seeds, ("0", 1), was not found on the first ones.
    assert groups.top_pairs(made, 2) == [("0", 0), ("1+0", 1)]
    table = groups.shown_table(made, [("0", 0), ("1+0", 1)])
    assert table["first"].to_numpy() == pytest.approx([0.5, 1.5])
    assert table["survives"].tolist() == [False, True]
    task = SimpleNamespace(train_id=(70, 71), query_id=(80, 81))
    said = of_variance.shown_words([table], ["Digit"], task).data
    assert "Digit 71+70, query 81**: factor 1.50 on the first seeds, 1.20" in said
    assert "Digit 70, query 80**: factor 0.50 on the first seeds, 0.90 on fresh ones" in said
    assert said.count("does **not** survive") == 1
    unfound = of_variance.shown_words([table.assign(found=False)], ["Digit"], task).data
    assert "not counted as found" in unfound


def test_predicted_changes_of_variance_are_judged_by_their_interval():
    rows = [
        {"method": "unrolling", "delta": delta, "correlation": r, "low": r - 0.1, "high": r + 0.1}
        for delta, r in (("mean", 0.9), ("log_variance_ratio", 0.7))
    ]
    scores = pd.DataFrame(rows).assign(ceiling=0.9, hits=0.1, base_rate=0.02)
    said = of_variance.pair_score_words(scores).data
    assert "**Unrolling**: changes of variance are predicted" in said
    assert "10 % survive, 5.0 times the base rate" in said
    scores.loc[1, ["low", "high"]] = 0.2, 0.4
    assert "are **not** predicted" in of_variance.pair_score_words(scores).data
    scores.loc[1, ["low", "high"]] = 0.4, 0.6
    assert "are not shown to be predicted" in of_variance.pair_score_words(scores).data


def test_groups_stand_beside_random_ones():
    table = pd.DataFrame(
        {"groups": ["chosen by prediction", "random"], "n": 12, "survive": [0.5, 0.0],
         "log_ratio": np.log([2.0, 1.25]), "mean": [0.1, 0.6]}
    )  # fmt: skip
    said = of_variance.group_words(table).data
    assert "chosen by prediction (12): the variance changes by a factor of 2.00" in said
    assert "0.60 standard deviations (medians), 0 % survive" in said


# --- notebook 05 ---------------------------------------------------------------------------------

ESTIMATORS = ("unrolling", "ud_corrected", "if_ggn", "if_ggn_raw", "rif", "joint", "other_group")


def share_rows(**by_estimator):
    return pd.DataFrame(
        {"kind": kind, "estimator": estimator, "set": name, "share": (low + high) / 2,
         "low": low, "high": high, "draw_low": low, "draw_high": high}
        for kind in ("mean", "w2", "sd")
        for estimator in ESTIMATORS
        for low, high in [by_estimator.get(estimator, (0.4, 0.6))]
        for name in ("1 %", LEVERAGE, ALL)
    )  # fmt: skip


def test_shares_are_judged_as_the_claims_are():
    said = of_laws.share_words(share_rows(unrolling=(0.7, 0.9), if_ggn=(0.1, 0.3))).data
    assert said.count(", nearer than no change in most cases: unrolling;") == 3
    worse = "**not** nearer than no change in most cases: damped Gauss-Newton IF"
    assert said.count(worse) == 3
    assert "at these sizes: none." in said
    helped = of_laws.share_words(share_rows(other_group=(0.6, 0.8))).data
    assert "at these sizes: 1 %." in helped


def test_errors_worse_than_the_control_are_named():
    table = pd.DataFrame(
        {"kind": kind, "set": "5 %", "estimator": estimator, "error": 0.3, "low": 0.2, "high": 0.4}
        for kind in ("mean", "sd")
        for estimator in ESTIMATORS
    )
    table.loc[table["estimator"] == "other_group", "error"] = 0.8
    said = of_laws.error_words(table, ["5 %"]).data
    assert "**Unrolling** leaves 30 % of the error of means at 5 % and 30 % at 5 %; better" in said
    assert said.count("better than the control at every size") == 5
    bad = table.assign(error=table["error"].where(table["estimator"] != "rif", 0.9), high=1.1)
    said = of_laws.error_words(bad, ["5 %"]).data
    assert "no better than the control at 5 %" in said.split("\n")[3]
    assert said.count("better than the control at every size") == 4


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((-0.05, 0.05), "1 − h to within 0.1"),
        ((0.02, 0.3), "more than 1 − h"),
        ((-0.3, -0.02), "less than 1 − h"),
        ((-0.3, 0.3), "not told from 1 − h"),
    ],
)
def test_shares_of_a_shift_are_held_against_leverage(ends, words):
    kept = pd.DataFrame(
        {"what": what, "estimator": estimator, "estimate": 0.5, "low": 0.4, "high": 0.6}
        for what in ("kept", "1 - h", "less")
        for estimator in ESTIMATORS
    )
    kept.loc[kept["what"] == "less", ["low", "high"]] = ends
    single = pd.DataFrame(
        {"estimator": estimator, "set": "1 %", "kept": 0.8, "leverage": 0.3}
        for estimator in ESTIMATORS
    )
    said = of_laws.leverage_words(kept, single).data.split("\n")
    assert words in said[1]
    assert "lie 0.10 from 1 − h" in said[1]
    assert "less than all of it, beyond error" in said[3]


def test_spreads_are_held_against_no_change_and_their_ceiling():
    table = pd.DataFrame(
        {"what": what, "set": "5 %", "estimator": estimator, "estimate": value, "low": low,
         "high": low + 0.1, "change": 0.1, "predicted": 0.4}
        for what, value, low in (("r", 0.4, 0.3), ("ceiling", 0.8, 0.7), ("gap", -0.4, -0.45))
        for estimator in ESTIMATORS
    )  # fmt: skip
    errors = pd.DataFrame({"kind": "sd", "set": "5 %", "estimator": ESTIMATORS, "high": 0.9})
    said = of_laws.spread_words(table, errors, ["5 %"]).data
    assert "**Unrolling**: its error of standard deviations is smaller" in said
    assert (
        said.count("beyond error, at 5 %; its correlation is not told from the ceiling at no s")
        == 3
    )
    assert "at 5 %: +0.10, predicted +0.40 by unrolling" in said
    said = of_laws.spread_words(table.assign(high=0.05), errors.assign(high=1.1), ["5 %"]).data
    assert (
        said.count("beyond error, at no size; its correlation is not told from the ceiling at 5")
        == 3
    )


def test_the_answer_on_laws_follows_the_evidence():
    found = load()
    assert of_laws.answer(found)[0].startswith("Yes: predicted laws come nearer")
    assert found["C1-unrolling-w2"].number("%") in of_laws.answer(found)[1]
    finding = found["C1-unrolling-w2"]
    refuted = replace(finding, claim=replace(finding.claim, status="refuted"))
    changed = replace(found, findings=found.findings | {"C1-unrolling-w2": refuted})
    assert of_laws.answer(changed)[0].startswith("No: ")
    untested = replace(
        found, findings=found.findings | {"C1-unrolling-w2": replace(finding, profile="default")}
    )
    assert of_laws.answer(untested)[0].startswith("It is open whether")


def test_negative_eigenvalues_are_counted():
    rows = {"estimator": ["if_ggn", "if_hessian"], "set": "1 %", "error": 0.5}
    errors = pd.DataFrame(rows | {"low": [0.4, 0.1], "high": [0.6, 0.9]})
    said = of_laws.hessian_words(xr.DataArray([-0.1, 0.2, -0.3]), errors).data
    assert "in 2 of 3 runs" in said
    assert said.endswith("its interval is wider.")


@pytest.mark.parametrize(
    ("alone", "stacked", "met", "missed"),
    [(1.0, 0.1, 1, 1), (1.0, 0.5, 2, 0), (0.1, 0.01, 0, 2)],
)
def test_the_cost_of_unrolling_is_held_against_the_goal(alone, stacked, met, missed):
    seconds = {"alone": alone, "stacked": stacked, "unrolled": 6.0}
    said = of_laws.cost_words(seconds, 100).data
    assert (said.count("is met"), said.count("is **missed**")) == (met, missed)
    one, many = said.split("\n")
    assert "plain loop" in one
    assert f"of {6 / alone:.{0 if alone < 1 else 1}f} trainings" in one
    assert "hundreds of runs at once" in many


# --- notebook 06 ---------------------------------------------------------------------------------


def test_retraining_agrees_or_not():
    row = {"leverage": 0.8, "ratio": 5.1, "expected": 5.0, "difference": 1e-8}
    assert "agrees" in of_limit.retraining_words(pd.DataFrame([row])).data
    assert "5.1 times" in of_limit.retraining_words(pd.DataFrame([row])).data
    off = pd.DataFrame([row | {"difference": 1e-3}])
    assert "does **not** agree" in of_limit.retraining_words(off).data


def test_decaying_steps_end_nearer_only_beyond_error():
    ends = pd.DataFrame(
        {"problem": "identity", "schedule": ["decaying", "constant 0.1"], "step": 9,
         "error": [0.03, 0.2], "low": [0.02, 0.1], "high": [0.04, 0.3], "null": 1e-14}
    )  # fmt: skip
    rows = [
        ("decaying", "late slope", -0.5, -0.6, -0.4),
        ("constant 0.1", "late slope", 0.0, -0.1, 0.1),
        ("constant 0.1", "decaying over constant", 0.1, 0.05, 0.2),
    ]
    columns = ["schedule", "quantity", "estimate", "low", "high"]
    rates = pd.DataFrame(rows, columns=columns).assign(problem="identity")
    said = of_limit.convergence_words(ends, rates).data
    assert "3.0 % (2.0 % to 4.0 %) off" in said
    assert "end nearer, beyond error, than each" in said
    assert "goes on falling with decaying steps (slope -0.50 (-0.60 to -0.40))" in said
    assert "has levelled off with constant steps 0.1 (slope 0.00" in said
    assert "vanishes" in said
    said = of_limit.convergence_words(ends.assign(null=1e-3), rates.assign(high=1.1)).data
    assert "**not** shown to be nearer" in said
    assert "is not shown to fall on or to have levelled off with decaying steps" in said
    assert "does **not** vanish" in said


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.45, 0.55), "grows like the root"),
        ((0.7, 0.8), "does **not** grow"),
        ((0.3, 0.5), "is not shown to grow"),
    ],
)
def test_noise_grows_like_the_root_or_not(ends, words):
    rows = [("spread", 0.1, 0.2), ("bias", 0.1, 0.01), ("exponent", np.nan, 0.5)]
    table = pd.DataFrame(rows, columns=["quantity", "rate", "estimate"])
    said = of_limit.spread_words(table.assign(low=ends[0], high=ends[1])).data
    assert words in said
    assert "1.0 % of it" in said


def test_responses_on_the_hyperbola():
    names = ["weight-space response", "part along the hyperbola", "response of m = ab"]
    table = pd.DataFrame({"quantity": [*names, "error of m = ab"], "estimate": [1, 0.9, 0.1, 0.02]})
    table = table.assign(low=table["estimate"] * 0.8, high=table["estimate"] * 1.2)
    assert ": less, beyond error" in of_limit.hyperbola_words(table).data
    assert (
        "off the closed form, less than 10 %, beyond error" in of_limit.hyperbola_words(table).data
    )
    table.loc[3, ["low", "high"]] = 0.05, 0.2
    assert "more or less than 10 % is open" in of_limit.hyperbola_words(table).data
    table.loc[2, "high"] = 2.0
    assert "**not** less" in of_limit.hyperbola_words(table).data


def runs(value, *, spread=0.01, smallest=-0.1, epochs=(1, 4)):
    """`limit.run_values` of eight runs; `value` of a recipe, a length and a quantity."""
    methods = (*limit.INFLUENCES, *limit.PSEUDO.values())
    names = [f"{t}, {m}" for t in ("unrolling", "retrained") for m in methods]
    names += ["retrained, unrolling", *(f"null {t:g}" for t in limit.THRESHOLDS)]
    noise, found = spread * np.linspace(-1, 1, 8), {}
    for recipe in limit.RECIPES:
        for length in epochs if recipe in limit.OVER_TIME else epochs[-1:]:
            data = {name: ("seed", value(recipe, length, name) + noise) for name in names}
            data["smallest"] = ("seed", smallest + 0.1 * noise)
            found[recipe, length] = xr.Dataset(data)
    return found


def test_networks_reach_the_papers_number_or_not():
    good = limit.time_table(runs(lambda *_: 0.95), 100)
    said = of_limit.network_words(good).data
    assert "0.9 or more is reached beyond error for exact-Hessian IF, damped" in said
    assert said.count("0.9 or more is reached") == 2
    assert "no minimum is reached, beyond error, with constant steps 0.05" in said
    bad = limit.time_table(runs(lambda *_: 0.05, smallest=0.2), 100)
    assert of_limit.network_words(bad).data.count("0.9 is missed") == 2
    assert "nowhere shown to be negative" in of_limit.network_words(bad).data
    unsure = limit.time_table(runs(lambda *_: 0.9, spread=0.1), 100)
    assert of_limit.network_words(unsure).data.count("is open") == 2


@pytest.mark.parametrize(
    ("null", "words"), [(0.95, "it matters"), (0.05, "it hardly matters"), (0.1, "may or may not")]
)
def test_a_null_part_matters_only_beyond_the_bound(null, words):
    found = runs(lambda recipe, epochs, name: null)
    said = of_limit.null_words(limit.time_table(found, 100), found).data.split("\n")
    assert words in said[0]
    assert "steps 0.05, constant steps 0.0125, decaying steps and decaying steps and ten" in said[0]


@pytest.mark.parametrize(
    ("pseudo", "words"), [(0.2, "**less**"), (0.95, "**better**"), (0.8, "is not told")]
)
def test_the_pseudo_inverse_is_held_against_gauss_newton(pseudo, words):
    def value(recipe, epochs, quantity):
        return pseudo if quantity == "unrolling, if_pinv 0.001" else 0.8

    found = runs(value)
    said = of_limit.null_words(limit.time_table(found, 100), found).data.split("\n")
    assert len(said) == 2
    assert words in said[1]


def test_the_late_table_shows_names_and_intervals():
    found = runs(lambda recipe, epochs, name: 0.5 if epochs == 4 else 0.1)
    shown = of_limit.late_table(limit.time_table(found, 100))
    assert shown.index[0] == "constant steps 0.05"
    assert list(shown)[:2] == ["pseudo-inverse IF 0.001", "Gauss-Newton IF"]
    assert shown.iloc[0, 1].startswith("0.50")
    names = set(of_limit.readable(limit.time_table(found, 100))["quantity"])
    assert "retrained, damped Hessian IF" in names
    assert not [name for name in names if "if_" in name]


def test_the_answer_on_unrolling_follows_the_evidence():
    found = load()
    said = of_limit.answer(found)
    assert said[0].startswith("Unrolling becomes influence")
    assert "with Gauss-Newton IF" in said[1]
    assert "so no minimum is reached" in said[1]
    finding = found["C4-logistic"]
    refuted = replace(finding, claim=replace(finding.claim, status="refuted"))
    changed = replace(found, findings=found.findings | {"C4-logistic": refuted})
    assert of_limit.answer(changed)[0].startswith("Unrolling does not become influence")


@pytest.mark.parametrize(
    ("gain", "words"), [(0.2, "helps"), (-0.2, "**hurts**"), (0.0, "is not shown to help")]
)
def test_equal_steps_and_equal_time_are_told_apart(gain, words):
    """The smaller step wins after as many steps, and by `gain` after as much time."""

    def value(recipe, length, name):
        if recipe == "constant 0.05":
            return {1: 0.5, 4: 0.5 + gain - 0.1}[length]
        return 0.5 + gain if length == 4 else 0.1

    noisy = {key: each.copy() for key, each in runs(value).items()}
    for name in noisy["constant 0.0125", 4]:
        noisy["constant 0.0125", 4][name] += 0.01 * np.cos(np.arange(8))
    said = of_limit.step_words(noisy, limit.equal_time_table(noisy)).data.split("\n")
    assert "smaller step helps" in said[0]
    assert len(said) == 3
    for line, name in zip(said[1:], ("Gauss-Newton IF", "damped exact-Hessian IF"), strict=True):
        assert f"Correlation with {name} after equal training time" in line
        assert f"smaller step {words}" in line
    odd = runs(lambda *_: 0.5, epochs=(1, 3))
    said = of_limit.step_words(odd, limit.equal_time_table(odd)).data
    assert "No two lengths" in said


def test_fading_follows_the_sign():
    def value(recipe, length, name):
        start = 0.9 if name == "retrained, unrolling" else 0.6
        return start + (0.05 if recipe == "decaying" else -0.05) * (length == 4)

    found = runs(value)
    for key in found:  # paired noise would cancel exactly
        found[key] = found[key] + 0.001 * np.sin(key[1] * np.arange(8))
    said = of_limit.fading_words(found).data.split("\n")
    assert "unrolling fades" in said[0]
    assert "unrolling gains" in said[2]
    assert "ahead beyond error at 2 of 2 lengths" in said[0]


def test_growth_within_its_interval():
    flat = pd.DataFrame(
        [{"schedule": "constant", "response": 39.9, "low": 39.0, "high": 41.0, "predicted": 40.0,
          "removed": 39.8}]
    )  # fmt: skip
    saddle = pd.DataFrame({"offset": [0.0, 0.1, 0.1], "response": [9.0, 7.0, 0.5], "limit": 0.5})
    said = of_limit.broken_words(flat, saddle).data
    assert "40.0 (within the interval)" in said
    assert "peaks at 7 from 0.1" in said
    assert "**outside**" in of_limit.broken_words(flat.assign(predicted=50.0), saddle).data
