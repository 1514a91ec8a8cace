"""Tables and claims of ground truth against estimates, on constructed scores."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from helpers import table_like

from dtda_lib.attribution.influence import lissa_gain, lissa_steps
from dtda_lib.attribution.registry import get_estimator
from dtda_lib.experiments.ground_truth_vs_estimated import claims as estimated_claims
from dtda_lib.experiments.ground_truth_vs_estimated import plots as estimated_plots
from dtda_lib.experiments.ground_truth_vs_estimated import tables as estimated
from dtda_lib.experiments.ground_truth_vs_estimated import words
from dtda_lib.models.networks import get_model
from dtda_lib.runs.bank import RunBank
from dtda_lib.runs.protocols import paired, seed_pairs
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import down_weighted, nothing
from dtda_lib.runs.shifts import shift_per_fraction
from dtda_lib.statistics.agreement_intervals import correlation_table, pairwise_agreement
from dtda_lib.statistics.significance import benjamini_hochberg, t_test
from dtda_lib.study.evidence import load as load_evidence
from dtda_lib.study.figures import use_style

N_SEEDS, N_TRAIN, N_QUERY = 8, 9, 12
DIMS = ("seed", "train", "query")
COORDS = {"seed": range(N_SEEDS), "train": range(N_TRAIN), "query": range(N_QUERY)}


def scores(signal=1.0, noise=0.3, seed=0, truth=None):
    """`signal * truth + noise`, the truth shared by all that do not give one."""
    shape = (N_SEEDS, N_TRAIN, N_QUERY)
    truth = np.random.default_rng(99).normal(size=shape[1:]) if truth is None else truth
    values = signal * truth + noise * np.random.default_rng(seed).normal(size=shape)
    return xr.DataArray(values, COORDS, DIMS)


def other_truth():
    return np.random.default_rng(7).normal(size=(N_TRAIN, N_QUERY))


def methods():
    """LOO and ATS share half of their truth; the local block has another one of its own."""
    own, block = np.random.default_rng(99).normal(size=(N_TRAIN, N_QUERY)), other_truth()
    return {
        "loo": scores(seed=1, truth=own),
        "grad_dot": scores(seed=2, truth=block),
        "grad_cos": scores(seed=3, truth=block),
        "if_ggn": scores(seed=4, truth=block),
        "ats_adam": scores(seed=5, truth=(own + block) / 2),
    }


# --- tables --------------------------------------------------------------------------------------


def test_cells_tell_every_pair_with_interval_and_ceiling():
    row = {"kind": "pearson", "r": 0.5, "boot_low": 0.4, "boot_high": 0.6, "ceiling": 0.9}
    pairs = [("b", "loo"), ("a", "loo")]
    table = pd.DataFrame(
        row | {"method": method, "other": other, "statistic": statistic, "r": r}
        for method, other in pairs
        for statistic, r in (("mean", 0.5), ("sd", -0.25))
    )
    told = estimated.cells(table)
    assert list(told.columns) == ["by", "method", "other", "mean shift", "spread σ"]
    assert told["method"].tolist() == ["b", "a"]
    assert told["spread σ"].tolist() == ["-0.250 [0.400, 0.600] of 0.900"] * 2


def test_scores_of_a_bank_are_those_of_its_estimators():
    task, model = table_like(n_train=6, n_query=3, dtype=torch.float32), get_model("mlp")
    recipe = Recipe("sgd", lr=1e-2, weight_decay=1e-2, epochs=3, keep_last=2)
    names = ("gradient_similarity", "additional_step", "influence_ggn")
    measures = [get_estimator(name, recipe) for name in names]
    runs = paired(nothing(task.n_train), seed_pairs(2))
    bank = RunBank(task, model, recipe, runs, measures, workers=1)
    found = estimated.estimator_scores(bank)
    assert list(found) == ["grad_dot", "grad_cos", "ats_adam", "ats_sgd", "if_ggn"]
    for array in found.values():
        assert array.dims == ("seed", "checkpoint", "train", "query")
        assert array.shape == (2, 2, 6, 3)
        assert np.isfinite(array).all()
    lr = recipe.lr  # a small SGD step is lr * grad-dot: labels were not mixed up
    np.testing.assert_allclose(found["ats_sgd"], lr * found["grad_dot"], rtol=0.5, atol=2e-3)


def test_down_weighting_unfolds_into_fractions_and_points():
    fractions, points = (0.1, 0.5), (4, 1)
    design = down_weighted(6, points, fractions)
    assert design.labels == ("none", "4@0.1", "1@0.1", "4@0.5", "1@0.5")
    assert design.weights[3].tolist() == [1, 1, 1, 1, 0.5, 1]
    value = [10.0] + [10 + f * (p + 1) for f in fractions for p in points]  # linear in f
    data = xr.DataArray([value], {"removal": list(design.labels)}, ("seed", "removal"))
    data = data.assign_coords(point=("removal", list(design.points)))
    found = shift_per_fraction(data, points, fractions)
    for point in points:
        np.testing.assert_allclose(found.sel(train=point), point + 1)
    with pytest.raises(ValueError, match="are not 1 fractions"):
        shift_per_fraction(data, points, [0.1])
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="0 < f <= 1"):
            down_weighted(6, points, [wrong])


def test_protocols_are_compared_with_paired():
    shifts = {"paired_scratch": scores(seed=1), "continued": scores(0.2, seed=2)}
    estimates = {"grad_dot": scores(seed=3)}
    table = estimated.protocol_table(shifts, estimates).set_index(["protocol", "quantity"])
    for name, array in shifts.items():
        found = benjamini_hochberg(t_test(array), 0.05)["discovery"].mean()
        assert table.loc[(name, "share t_fdr"), "value"] == pytest.approx(float(found))
        means = [a.mean("seed").values.ravel() for a in (array, estimates["grad_dot"])]
        assert table.loc[(name, "r grad_dot"), "value"] == pytest.approx(
            np.corrcoef(means)[0, 1], rel=1e-9
        )
    assert (table.loc["paired_scratch", "change"] == 0).all()
    drop = table.loc[("continued", "share t_fdr")]
    assert drop["change"] == pytest.approx(
        drop["value"] - table.loc[("paired_scratch", "share t_fdr"), "value"]
    )
    assert drop["change_high"] < 0


def lissa_scores(factor=1.0, wiggle=0.0):
    dot = scores(seed=1).expand_dims(checkpoint=[14]).transpose("seed", "checkpoint", ...)
    gain = factor * lissa_gain(lissa_steps(N_TRAIN))
    noise = wiggle * scores(0, 1, seed=5).expand_dims(checkpoint=[14])
    lissa = gain * (dot + noise) / N_TRAIN
    return {"grad_dot": dot, "if_lissa": lissa, "if_ggn": dot**3}


def test_lissa_is_held_against_its_predicted_slope():
    table = estimated.lissa_table({3: lissa_scores()})
    part = table[table["estimator"] == "if_lissa"]
    np.testing.assert_allclose(part["pearson"], -1)
    np.testing.assert_allclose(part["slope"], part["predicted"])
    assert (part["predicted"] < 0).all()
    assert table[table["estimator"] == "if_ggn"]["predicted"].isna().all()
    assert len(table) == 2 * N_SEEDS


@pytest.mark.parametrize(
    ("factor", "wiggle", "status"),
    [
        *((1.0, 0.0, "confirmed"), (1.1, 0.0, "partly"), (1.5, 0.0, "refuted")),
        *((-1.0, 0.0, "refuted"), (1.0, 2.0, "refuted")),
    ],
)
def test_r1_follows_its_rule(factor, wiggle, status):
    table = estimated.lissa_table({3: lissa_scores(factor, wiggle)})
    assert estimated_claims.lissa_claim(table, "x").status == status


def test_lissa_is_summed_up_over_models():
    found = estimated.lissa_summary(estimated.lissa_table({3: lissa_scores(1.1)}))
    lissa, exact = found.to_dict("records")
    assert (lissa["estimator"], lissa["models"]) == ("if_lissa", N_SEEDS)
    assert [lissa[name] for name in ("least", "median", "largest")] == pytest.approx([1.1] * 3)
    assert lissa["r"] == pytest.approx(-1)
    assert abs(exact["r"]) < 1
    assert np.isnan(exact["median"])
    told = estimated.shown(found, "lissa")
    assert told.iloc[1].tolist()[1::3] == ["Gauss-Newton IF", "-"]


def test_locality_compares_fractions_with_removal():
    local, far = other_truth(), np.random.default_rng(99).normal(size=(N_TRAIN, N_QUERY))
    near = scores(seed=1, truth=local).expand_dims(fraction=[0.1])
    whole = scores(seed=2, truth=far).expand_dims(fraction=[1.0])
    per_fraction = xr.concat([near, whole], "fraction")
    estimates = {"if_ggn": scores(seed=3, truth=local)}
    generator = np.random.default_rng(0)
    table = estimated.locality_table(per_fraction, estimates, generator=generator)
    small, removal = (table[table["fraction"] == f].iloc[0] for f in (0.1, 1.0))
    assert small["r"] > 0.9 > 0.4 > abs(removal["r"])
    assert small["change"] == pytest.approx(small["r"] - removal["r"])
    assert small["change_low"] > 0
    assert removal["change"] == 0
    blocks = estimated.block_table(methods(), "loo")
    claims = {c.id: c for c in estimated_claims.locality_claims(blocks, table, "x", 1)}
    assert claims["B7-local"].status == "confirmed"
    assert claims["B7"].status == "confirmed"
    turned = table.assign(change_low=-1.0, change_high=-0.5)
    claims = {
        c.id: c for c in estimated_claims.locality_claims(turned_round(blocks), turned, "x", 1)
    }
    assert {c.status for c in claims.values()} == {"refuted"}


def turned_round(table):
    """Minus a table: signs turned and ends exchanged."""
    turned = {"estimate": -table["estimate"], "low": -table["high"], "high": -table["low"]}
    return table.assign(**turned)


def test_the_block_of_local_methods_is_told_from_the_rest():
    table = estimated.block_table(methods(), "loo").set_index("comparison")
    assert (table["low"] > 0).all()
    joined = methods() | {"loo": methods()["if_ggn"]}
    table = estimated.block_table(joined, "loo").set_index("comparison")
    assert table["high"].iloc[1] < 0.1


def test_contrasting_pairs_follow_their_rule():
    one, two = scores(noise=0.0), scores(noise=0.0).copy()
    k, q = np.unravel_index(int(np.abs(one.values[0]).argmax()), (N_TRAIN, N_QUERY))
    two[:, k, q] = -two[:, k, q]
    found = estimated.contrasting_pairs({"loo": one, "x": two}, "loo", "x")
    assert found["disagree"] == (k, q)
    assert found["agree"] != (k, q)


def test_aligned_keeps_points_and_drops_other_coordinates():
    array = scores().assign_coords(query_id=("query", np.arange(N_QUERY)), extra=3)
    found = estimated.aligned({"loo": array}, [2, 5])["loo"]
    assert found["train"].values.tolist() == [2, 5]
    assert set(found.coords) == set(DIMS)


# --- claims --------------------------------------------------------------------------------------


def agreement(estimate):
    generator = np.random.default_rng(0)
    table = correlation_table(
        {"loo": scores(seed=1), "grad_dot": estimate}, "loo", generator=generator
    )
    return table.assign(size=3)


def test_b3_is_confirmed_by_an_estimate_of_something_else():
    rng = np.random.default_rng(3)
    spread = np.exp(rng.normal(size=(N_TRAIN, N_QUERY)))
    loo = scores(2, 0, truth=other_truth()) + spread * scores(0, 1, seed=1)
    wrong = scores(2, 0) + spread[::-1] * scores(0, 1, seed=2)
    table = correlation_table({"loo": loo, "grad_dot": wrong}, "loo", generator=rng).assign(size=3)
    mean_row = table[table["statistic"] == "mean"]
    claim = estimated_claims.disagreement_claims(mean_row, "x")[0]
    assert (claim.id, claim.status) == ("B3-grad_dot", "confirmed")
    assert claim.ci[1] < 0


def test_b3_is_refuted_by_the_right_law():
    table = agreement(scores(seed=2))
    claim = estimated_claims.disagreement_claims(table[table["statistic"] == "mean"], "x")[0]
    assert claim.status == "refuted"


def low_noise_row(**changed):
    row = {"method": "grad_cos", "selection": "top_snr", "r": 0.5, "n_selected": 10.0}
    row |= {"above_all": 0.1, "above_all_low": 0.05, "above_all_high": 0.2}
    row |= {"above_mu": 0.1, "above_mu_low": 0.05, "above_mu_high": 0.2}
    return pd.DataFrame([row | changed])


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, "confirmed"),
        ({"above_mu_low": -0.1}, "partly"),
        ({"above_all_low": -0.1}, "inconclusive"),
        ({"above_all_low": -0.3, "above_all_high": -0.1}, "refuted"),
    ],
)
def test_b8_follows_its_rule(changed, status):
    table = low_noise_row(**changed)
    assert estimated_claims.low_noise_agreement_claim(table, "grad_cos", "s").status == status


@pytest.mark.slow
def test_low_noise_and_per_query_tables_have_a_row_for_each():
    generator = np.random.default_rng(0)
    two = {name: methods()[name] for name in ("loo", "grad_dot")}
    found = estimated.low_noise_table(two, "loo", generator=generator, n_splits=1)
    assert set(found["method"]) == {"grad_dot"}
    assert found["r"].between(-1, 1).sum() > 0
    table, each = estimated.per_query_table(methods(), "loo", generator=generator)
    for row in table.itertuples():
        assert row.average == pytest.approx(np.nanmean(each[row.method]))


def protocol_row(quantity, low, high):
    middle = (low + high) / 2
    return {
        **{"protocol": "continued", "quantity": quantity, "value": 0.5},
        **{"change": middle, "change_low": low, "change_high": high},
    }


@pytest.mark.parametrize(
    ("share", "r", "status"),
    [
        ((0.1, 0.3), (-0.4, -0.2), "confirmed"),
        ((0.1, 0.3), (-0.2, 0.2), "partly"),
        ((-0.01, 0.02), (-0.03, 0.03), "refuted"),
        ((-0.2, 0.2), (-0.2, 0.2), "inconclusive"),
    ],
)
def test_r3_follows_its_rule(share, r, status):
    rows = [protocol_row("share code", *share), protocol_row("r grad_dot", *r)]
    claim = estimated_claims.protocol_claim(pd.DataFrame(rows), "x", 1)
    assert claim.status == status


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [(0.1, 0.4, "confirmed"), (0.6, 0.9, "refuted"), (0.4, 0.6, "inconclusive")],
)
def test_b1_under_other_protocols_follows_its_rule(low, high, status):
    names = [(p, s) for p in ("unpaired_scratch", "continued") for s in ("code", "t_fdr")]
    rows = [
        {
            **{"protocol": protocol, "quantity": f"share {statistic}", "value": 0.01 * n},
            **{"value_low": low, "value_high": high},
        }
        for n, (protocol, statistic) in enumerate(names)
    ]
    claims = estimated_claims.protocol_noise_claims(pd.DataFrame(rows[::-1]), "x", 7)
    assert {claim.id: claim.estimate for claim in claims} == {
        **{"B1-unpaired-code": 0.0, "B1-unpaired-t": 0.01},
        **{"B1-continued-code": 0.02, "B1-continued-t": 0.03},
    }
    assert {claim.status for claim in claims} == {status}
    assert {(claim.ci, claim.n) for claim in claims} == {((low, high), 7)}


@pytest.mark.parametrize(
    ("ends", "change", "status"),
    [
        ([(0.1, 0.2)] * 3, (0.1, 0.2), ("confirmed", "confirmed")),
        ([(0.1, 0.2), (-0.1, 0.1), (0.1, 0.2)], (-0.1, 0.2), ("partly", "inconclusive")),
        ([(0.1, 0.2), (0.1, 0.2), (-0.2, -0.1)], (-0.2, -0.1), ("refuted", "refuted")),
    ],
)
def test_b7_follows_its_rules(ends, change, status):
    blocks = pd.DataFrame(
        {"comparison": "a - b", "estimate": sum(e) / 2, "low": e[0], "high": e[1]} for e in ends
    )
    row = {"method": "if_ggn", "r": 0.5, "change": sum(change) / 2}
    row |= {"change_low": change[0], "change_high": change[1]}
    local = pd.DataFrame([row | {"fraction": 1.0, "change_low": -9}, row | {"fraction": 0.1}])
    claims = estimated_claims.locality_claims(blocks, local, "x", 7)
    assert tuple(claim.status for claim in claims) == status
    assert (claims[1].ci, claims[1].n) == (change, 7)


# --- the answer ----------------------------------------------------------------------------------


class Doctored:
    """The evidence with rows of one table changed: (table, column, value, rows) of each change."""

    def __init__(self, *changes):
        self.known, self.changes = load_evidence(), changes

    def __getitem__(self, claim_id):
        return self.known[claim_id]

    def __contains__(self, claim_id):
        return claim_id in self.known

    def table(self, notebook, name):
        found = self.known.table(notebook, name)
        for table, column, value, chosen in self.changes:
            if table == name:
                found.loc[chosen(found), column] = value
        return found


def test_the_answer_is_short_and_holds_no_keys():
    told = words.answer(load_evidence())
    assert len(told) == 5
    assert "_" not in " ".join(told)


def test_the_answer_follows_the_evidence():
    def lissa(table):
        return (table["method"] == "if_lissa") & (table["statistic"] == "mean")

    assert words.answer(load_evidence())[0].startswith("No estimator reaches")
    changed = words.answer(
        Doctored(
            ("agreement", "gap_high", 0.01, lissa),
            ("agreement", "r_across", 0.949, lissa),
            ("protocols", "value", 0.5, lambda t: t["protocol"] == "continued"),
        )
    )
    assert changed[0].startswith("LiSSA IF may reach")
    assert "LiSSA IF comes nearest: its means correlate at 0.95" in changed[1]
    assert "50 %" in changed[3]


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_figures_show_what_they_say():
    use_style()
    named = methods() | {"ats_sgd": scores(seed=8), "if_lissa": scores(seed=9)}
    generator = np.random.default_rng(0)
    table = correlation_table(named, "loo", generator=generator).assign(size=3)
    _, drawn = estimated_plots.agreement_with_ceilings(table)
    assert len(drawn) == 3 * 6
    matrix = pairwise_agreement(named, generator=generator)
    _, drawn = estimated_plots.agreement_matrices(matrix)
    diagonal = drawn[drawn["method"] == drawn["other"]]
    assert set(diagonal["kind"]) == {"reliability"}
    assert len(drawn) == 3 * 49
    shifts = {"paired_scratch": named["loo"], "continued": scores(seed=4)}
    fig, drawn = estimated_plots.protocols(
        estimated.protocol_table(shifts, {"grad_dot": named["grad_dot"]}),
        estimated.common_table(shifts),
    )
    assert drawn["quantity"].str.startswith("square: ").sum() == 2 * 5
    assert fig.get_size_inches()[0] == pytest.approx(5.5)
    plt.close("all")
