"""Arrays of one's own: the same answers as of a bank, against SciPy, by hand and by closed form."""

import doctest
import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import printed_by_code_of, table_like
from scipy import stats

import dtda_lib as dt
from dtda_lib.ask import arrays
from dtda_lib.ask.functionals import Functional, accuracy, gap, quantile_of_queries
from dtda_lib.runs.removal import down_weighted
from dtda_lib.statistics import lds
from dtda_lib.statistics.power import detectable_snr, discovery_level, seeds_needed
from dtda_lib.study.methods import HELPS, HURTS

ROOT = Path(__file__).parents[2]
N, POINTS, QUERIES = 8, 6, 3  # of `measured`
SEEDS = [f"run {s}" for s in range(N)]
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def measured(seed=0, n=N, removals=POINTS, queries=QUERIES):
    """Losses of all data `(seed, query)` and without each removal `(seed, removal, query)`."""
    rng = np.random.default_rng(seed)
    base = 2 + rng.normal(size=(n, queries))
    effect = rng.normal(size=(removals, queries))
    spread = 1 + 0.2 * rng.normal(size=(removals, queries))
    moved = 2 + (base[:, None] - 2) * spread + 0.3 * effect
    return base, moved + 0.2 * rng.normal(size=moved.shape)


def scored(seed=1, n=N, removals=POINTS, queries=QUERIES):
    """Noisy estimates of the mean shifts of `measured`, `(seed, train, query)`."""
    base, removed = measured(0, N, removals, queries)
    truth = (removed - base[:, None]).mean(axis=0)
    return truth + 0.4 * np.random.default_rng(seed).normal(size=(n, removals, queries))


def labelled(base, removed, seeds=SEEDS, points=None, queries=None):
    """The same with named axes and labels."""
    points = [f"row {k}" for k in range(removed.shape[1])] if points is None else points
    queries = [f"test {j}" for j in range(removed.shape[2])] if queries is None else queries
    coords = {"seed": seeds, "query": queries}
    return (
        xr.DataArray(base, coords, ("seed", "query")),
        xr.DataArray(removed, coords | {"train": points}, ("seed", "train", "query")),
    )


def laws(seed=0, **settings):
    return dt.as_laws(*measured(seed), unit="nats", **settings)


def scores(values=None, sign="removal", **settings):
    return dt.as_scores(scored() if values is None else values, sign=sign, **settings)


MASK = np.zeros((6, 7), bool)
for row, members in enumerate([(0, 1), (1, 2, 5), (3,), (4, 6), (0, 5), (2, 3, 4)]):
    MASK[row, members] = True


# --- by hand and by SciPy ------------------------------------------------------------------------


def test_reliable_points_are_scipys():
    base, removed = measured()
    found = dt.reliable(dt.shifts(laws()), test="t", q=0.2)
    shift = removed - base[:, None]
    p = stats.ttest_1samp(shift, 0).pvalue
    adjusted = stats.false_discovery_control(p.ravel()).reshape(p.shape)
    np.testing.assert_allclose(found["mean"], shift.mean(axis=0), **CLOSE)
    np.testing.assert_allclose(found["sd"], shift.std(axis=0, ddof=1), **CLOSE)
    np.testing.assert_allclose(found["p"], p, **CLOSE)
    np.testing.assert_allclose(found["q_value"], adjusted, **CLOSE)
    assert (found["reliable"].values == (adjusted <= 0.2)).all()
    assert 0 < found["reliable"].sum() < found["reliable"].size
    assert {k: found.attrs[k] for k in ("unit", "better", "seeds")} == {
        "unit": "nats",
        "better": "lower",
        "seeds": N,
    }


def test_changes_of_laws_are_computed_by_hand():
    base, removed = measured(n=6)
    found = dt.law_changes(dt.as_laws(base, removed), ("mean", "variance", "w2", "w2_gaussian"))
    before, after = np.sort(base, axis=0)[:, None], np.sort(removed, axis=0)
    sds = [law.std(axis=0, ddof=1) for law in (base[:, None], removed)]
    shift = removed.mean(axis=0) - base.mean(axis=0)
    by_hand = {
        "mean": shift,
        "variance": sds[1] ** 2 - sds[0] ** 2,
        "w2": np.sqrt(((after - before) ** 2).mean(axis=0)),
        "w2_gaussian": np.hypot(shift, sds[1] - sds[0]),
    }
    for kind, expected in by_hand.items():
        np.testing.assert_allclose(found["estimate"].sel(delta=kind), expected, **CLOSE)
    # Every way to swap the two runs of a seed, for the mean.
    each = removed - base[:, None]
    signs = np.array(list(itertools.product((1, -1), repeat=6)))
    null = np.abs(np.tensordot(signs, each, 1)) / 6
    p = (null >= np.abs(shift) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(found["p"].sel(delta="mean"), p, **CLOSE)
    for kind in by_hand:
        one = found.sel(delta=kind)
        adjusted = stats.false_discovery_control(one["p"].values.ravel())
        np.testing.assert_allclose(one["q_value"].values.ravel(), adjusted, **CLOSE)
    interval = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    np.testing.assert_allclose(found["high"].sel(delta="mean"), interval.high, **CLOSE)
    by_query = dt.law_changes(dt.as_laws(base, removed), ("mean",), family="query", q=0.3)
    for j in range(QUERIES):
        one = by_query.sel(delta="mean", query=j)
        np.testing.assert_allclose(one["q_value"], stats.false_discovery_control(one["p"].values))
        assert (one["changed"] == (one["q_value"] <= 0.3)).all()


def by_scipy(truth, score):
    """`(kind, over)` of two matrices `(removal, query)`, and `(kind, query)`."""
    kinds = (stats.pearsonr, stats.spearmanr)
    pooled = [kind(truth.ravel(), score.ravel()).statistic for kind in kinds]
    each = [[kind(*pair).statistic for pair in zip(truth.T, score.T)] for kind in kinds]
    return np.stack([pooled, np.mean(each, axis=1)], axis=1), np.array(each)


def test_agreement_is_scipys():
    base, removed = measured()
    found = dt.agreement(scores(), laws(), same_seeds=False)
    shift = (removed - base[:, None]).mean(axis=0)
    both, by_query = by_scipy(shift, scored().mean(axis=0))
    np.testing.assert_allclose(found["r"].transpose("kind", "over"), both, **CLOSE)
    np.testing.assert_allclose(found["r_of_query"].transpose("kind", "query"), by_query, **CLOSE)
    assert np.ptp(both) > 0.05
    assert (found["low"] < found["r"]).all()
    assert (found["high"] > found["r"]).all()


def test_ceilings_are_those_of_all_halves():
    base, removed = measured(n=4)
    given = scored(n=4)
    found = dt.agreement(scores(given), dt.as_laws(base, removed), same_seeds=False)
    halves = [([0, 1], [2, 3]), ([0, 2], [1, 3]), ([0, 3], [1, 2])]
    sides = {"truth": removed - base[:, None], "score": given}
    reliabilities = {}
    for name, runs in sides.items():
        each = [by_scipy(*(runs[half].mean(axis=0) for half in both)) for both in halves]
        pooled, by_query = (np.mean([one[i] for one in each], axis=0) for i in (0, 1))
        whole = [np.maximum(r, 0) * 2 / (1 + np.maximum(r, 0)) for r in (pooled[:, 0], by_query)]
        reliabilities[name] = whole
        expected = np.stack([whole[0], whole[1].mean(axis=1)], axis=1)
        np.testing.assert_allclose(found[f"{name}_reliability"], expected, **CLOSE)
    ceilings = [np.sqrt(one * other) for one, other in zip(*reliabilities.values())]
    np.testing.assert_allclose(found["ceiling_of_query"], ceilings[1], **CLOSE)
    expected = np.stack([ceilings[0], ceilings[1].mean(axis=1)], axis=1)
    np.testing.assert_allclose(found["ceiling"], expected, **CLOSE)


@pytest.mark.parametrize("same", [False, True])
def test_intervals_leave_out_each_seed_point_and_query_in_turn(same):
    base, removed = measured()
    shift, score = removed - base[:, None], scored()
    found = dt.agreement(scores(score), laws(), same_seeds=same)

    def statistic(shift, score):
        return by_scipy(shift.mean(axis=0), score.mean(axis=0))[0]

    def left_out(*parts):
        values = np.array([statistic(*part) for part in parts])
        return (len(values) - 1) * values.var(axis=0), len(values) - 1

    def without(array, at, axis):
        return np.delete(array, at, axis=axis)

    if same:
        seeds = [left_out(*[(without(shift, s, 0), without(score, s, 0)) for s in range(N)])]
    else:
        seeds = [
            left_out(*[(without(shift, s, 0), score) for s in range(N)]),
            left_out(*[(shift, without(score, s, 0)) for s in range(N)]),
        ]
    pairs = [
        left_out(*[(without(shift, k, axis), without(score, k, axis)) for k in range(n)])
        for axis, n in ((1, POINTS), (2, QUERIES))
    ]
    variance = sum(part for part, _ in seeds + pairs)
    df = variance**2 / sum(part**2 / df for part, df in seeds + pairs)
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    middle = statistic(shift, score)
    np.testing.assert_allclose(found["low"], np.clip(middle - half, -1, 1), **CLOSE)
    np.testing.assert_allclose(found["high"], np.clip(middle + half, -1, 1), **CLOSE)


def test_groups_add_up_and_rank_as_lds():
    base, removed = measured()
    own = np.random.default_rng(3).normal(size=(5, 7, QUERIES))
    grouped = dt.as_laws(base, removed, left_out=MASK)
    assert grouped["removed"].dims == ("seed", "removal", "query")
    found = dt.agreement(scores(own), grouped, same_seeds=False)
    truth = (removed - base[:, None]).mean(axis=0)
    predicted = MASK.astype(float) @ own.mean(axis=0)
    np.testing.assert_allclose(found["r"], by_scipy(truth, predicted)[0], **CLOSE)
    spearman = found["r"].sel(kind="spearman", over="within queries")
    np.testing.assert_allclose(spearman, dt.lds(truth, predicted), **CLOSE)
    adding = dt.agreement(scores(-own, sign="adding"), grouped, same_seeds=False)
    xr.testing.assert_allclose(adding["r"], found["r"])
    as_lists = [np.flatnonzero(row).tolist() for row in MASK]
    xr.testing.assert_identical(dt.as_laws(base, removed, left_out=as_lists), grouped)
    xr.testing.assert_identical(dt.as_laws(base, removed, kept=~MASK), grouped)
    fixed = dt.agreement(scores(own.mean(axis=0)), grouped)
    xr.testing.assert_allclose(fixed["r"], found["r"])


def test_groups_of_one_point_are_points():
    rows = [3, 0, 6, 1, 2, 5]
    for told in (rows, np.eye(7, dtype=bool)[rows], [[row] for row in rows]):
        found = dt.as_laws(*measured(), left_out=told)
        assert found["removed"].dims == ("seed", "train", "query")
        assert found["train"].values.tolist() == rows
        np.testing.assert_array_equal(found["removed"], measured()[1])


@pytest.mark.parametrize("kind", ["log_variance_ratio", "w2_gaussian_squared", "w2_debiased"])
def test_lds_of_laws_is_that_of_the_statistics(kind):
    base, removed = measured()
    other, own = measured(5, n=7)[0], 0.3 * np.random.default_rng(3).normal(size=(7, 7, QUERIES))
    grouped = dt.as_laws(base, removed, left_out=MASK, unit="nats")
    given = scores(own, unit="nats")
    found = dt.agreement(given, grouped, of=kind, base=other, same_seeds=False)
    groups = [np.flatnonzero(row).tolist() for row in MASK]
    law = xr.DataArray(other, dims=("seed", "query"))
    moved = dt.shifted_samples(law, xr.DataArray(own, dims=("seed", "train", "query")), groups)
    true = (
        xr.DataArray(base, dims=("seed", "query")),
        xr.DataArray(removed, {"removal": moved["removal"].values}, ("seed", "removal", "query")),
    )
    expected = lds.score(
        true,
        {"one": (law, moved.reset_coords(drop=True))},
        generator=np.random.default_rng(0),
        metrics=[kind],
        n_splits=2,
        n_permutations=2,
    )
    r = found["r"].sel(kind="spearman", over="within queries")
    np.testing.assert_allclose(r, expected.estimate[0, 0], **CLOSE)


def test_scores_of_the_very_models_predict_with_every_other_seed():
    base, removed = measured(n=12)
    own = 0.3 * scored(n=12)
    given = {"unit": "nats"}
    found = dt.agreement(
        scores(own, **given), dt.as_laws(base, removed, **given), of="w2_gaussian", same_seeds=True
    )
    apart = dt.agreement(
        scores(own[1::2], **given),
        dt.as_laws(base[::2], removed[::2], **given),
        of="w2_gaussian",
        base=base[1::2],
        same_seeds=False,
    )
    xr.testing.assert_allclose(found.drop_attrs(), apart.drop_attrs())
    assert (found.attrs["seeds"], found.attrs["score_seeds"]) == (6, 6)


def test_where_every_run_moves_by_the_same_all_is_known_exactly():
    base = np.random.default_rng(0).normal(size=(N, QUERIES))
    moves = np.arange(-3, 3)[:, None] * np.array([1.0, 2.3, -1.7])  # tied at 0 alone
    exact = dt.as_laws(base, base[:, None] + moves)
    found = dt.reliable(dt.shifts(exact), test="t")
    np.testing.assert_allclose(found["mean"], moves, atol=1e-12)
    assert (found["reliable"] == (moves != 0)).sel(train=[0, 1, 2, 4, 5]).all()
    changes = dt.law_changes(exact)["estimate"]
    np.testing.assert_allclose(changes.sel(delta="mean"), moves, atol=1e-12)
    np.testing.assert_allclose(changes.sel(delta="log_variance_ratio"), 0, atol=1e-12)
    for kind in ("w2", "w2_gaussian"):
        np.testing.assert_allclose(changes.sel(delta=kind), np.abs(moves), atol=1e-12)
    perfect = dt.agreement(scores(moves), exact)
    np.testing.assert_allclose(perfect["r"], 1, **CLOSE)
    np.testing.assert_allclose(perfect["ceiling"], 1, **CLOSE)
    np.testing.assert_allclose(dt.agreement(scores(moves, "adding"), exact)["r"], -1, **CLOSE)


# --- what must not matter ------------------------------------------------------------------------


def answers(own, given):
    return (
        dt.reliable(dt.shifts(own), test="t").drop_attrs(),
        dt.law_changes(own, ("mean", "w2")).drop_attrs(),
        dt.agreement(given, own, same_seeds=True, n_splits=126)[["r", "low", "high", "ceiling"]],
    )


def sorted_by_label(found):
    return found.sortby([dim for dim in ("train", "query") if dim in found.dims])


@pytest.mark.parametrize("axis", ["seed", "train", "query"])
def test_order_of_labelled_axes_changes_nothing(axis):
    base, removed = labelled(*measured())
    score = removed.copy(data=scored())
    expected = answers(dt.as_laws(base, removed), scores(score))
    turned = {axis: np.roll(np.arange(removed.sizes[axis])[::-1], 1)}
    mixed = removed.isel(turned).transpose("query", "seed", "train")
    other = score.isel({dim: at[::-1] for dim, at in turned.items()}).transpose("train", ...)
    assert (dt.as_laws(base, mixed)[axis] == mixed[axis].values).all()
    for one, two in zip(expected, answers(dt.as_laws(base, mixed), scores(other))):
        if axis == "seed" or "over" not in one.dims:  # groups of a jackknife go by position
            xr.testing.assert_allclose(
                sorted_by_label(one.drop_attrs()), sorted_by_label(two.drop_attrs())
            )


def test_numpy_and_xarray_agree():
    numpy = answers(laws(), scores())
    base, removed = labelled(*measured(), points=range(POINTS), queries=range(QUERIES))
    named = answers(dt.as_laws(base, removed), scores(removed.copy(data=scored())))
    for one, other in zip(numpy, named):
        xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())
    base, removed = measured()
    dims = ("removal", "query", "seed")
    turned = dt.as_laws(base.T, removed.transpose(1, 2, 0), unit="nats", dims=dims)
    xr.testing.assert_identical(turned, laws())
    given = scores(scored().transpose(2, 0, 1), dims=("query", "seed", "train"))
    xr.testing.assert_identical(given, scores())


def test_a_unit_scales_shifts_and_leaves_verdicts():
    base, removed = measured()
    one = dt.reliable(dt.shifts(dt.as_laws(base, removed)))
    other = dt.reliable(dt.shifts(dt.as_laws(1000 * base, 1000 * removed)))
    np.testing.assert_allclose(other["mean"], 1000 * one["mean"])
    assert (one["reliable"] == other["reliable"]).all()
    agreed = [dt.agreement(scores(k * scored()), laws(), same_seeds=False) for k in (1, 1e-9)]
    xr.testing.assert_allclose(*agreed)


def test_a_sign_is_obeyed_wherever_scores_are_read():
    shift = dt.shifts(laws())
    turned = dt.as_scores(-shift.drop_attrs(), sign="adding", unit="nats")
    for test in ("t", "bootstrap_t"):
        one, other = (dt.reliable(values, test=test) for values in (shift, turned))
        xr.testing.assert_allclose(one["mean"], other["mean"])
        xr.testing.assert_allclose(one["high"], other["high"])
    assert dt.plan(turned).sigma == pytest.approx(dt.plan(shift).sigma)
    assert arrays.upon_removal(turned).attrs["sign"] == "removal"
    own = dt.agreement(scores(), turned, same_seeds=True)
    xr.testing.assert_allclose(own["r"], dt.agreement(scores(), shift, same_seeds=True)["r"])


def test_labels_count_and_positions_do_not():
    base, removed = labelled(*measured())
    points = list(removed["train"].values)
    every = removed.copy(data=scored()).assign_coords(seed=[f"other {s}" for s in range(N)])
    more = every.pad(train=(2, 3), constant_values=7.0)
    more = more.assign_coords(train=["a", "b", *points, "c", "d", "e"])
    own = dt.as_laws(base, removed)
    expected = dt.agreement(scores(every), own)
    found = dt.agreement(scores(more.isel(train=slice(None, None, -1))), own)
    xr.testing.assert_allclose(found, expected)
    assert expected.attrs["same_seeds"] == 0
    ours = dt.agreement(scores(every.assign_coords(seed=SEEDS)), own)
    assert ours.attrs["same_seeds"] == 1
    few = dt.as_laws(base, removed.isel(train=[4, 1, 0, 5]))
    some = dt.agreement(scores(every), few)
    truth = (removed - base).mean("seed").transpose("train", "query").values[[4, 1, 0, 5]]
    np.testing.assert_allclose(
        some["r"], by_scipy(truth, scored().mean(axis=0)[[4, 1, 0, 5]])[0], **CLOSE
    )


def test_an_array_on_disk_stays_there(tmp_path):
    for name, values in {"scores": scored(), "removed": measured()[1]}.items():
        np.save(tmp_path / f"{name}.npy", values.astype(np.float32))
    disk = {n: np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("scores", "removed")}
    own = dt.as_laws(measured()[0].astype(np.float32), disk["removed"])
    given = scores(disk["scores"], sign="adding")
    assert np.shares_memory(given.values, disk["scores"])
    assert np.shares_memory(own["removed"].values, disk["removed"])
    assert dt.shifts(own).dtype == np.float64
    found = dt.agreement(given, own, same_seeds=False)
    expected = dt.agreement(scores(-scored()), laws(), same_seeds=False)
    np.testing.assert_allclose(found["r"], expected["r"], atol=1e-5)


# --- the same as of one's own network ------------------------------------------------------------


def linear():
    return torch.nn.Linear(8, 1, dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    task = table_like(8, 3)
    recipe = dt.Recipe("sgd", lr=0.05, batch_size=4, epochs=2)
    return task, recipe


def test_a_network_and_its_arrays_give_one_answer(network):
    task, recipe = network
    bank = dt.retraining_bank(task, linear, recipe, n_seeds=8, points=[0, 2, 3, 5, 7], workers=1)
    losses = bank.dataset()["query_loss"].isel(checkpoint=0).transpose("seed", "removal", "query")
    base, removed = losses.values[:, 0], losses.values[:, 1:]
    own = dt.as_laws(base, removed, left_out=[0, 2, 3, 5, 7])
    theirs = dt.shifts(bank)
    np.testing.assert_allclose(dt.shifts(own), theirs.transpose("seed", ...), rtol=0, atol=1e-14)
    one, other = (dt.reliable(shift, test="t") for shift in (theirs, dt.shifts(own)))
    bare = one.reset_coords(drop=True).drop_attrs()  # without ids of the task's rows
    xr.testing.assert_allclose(bare, other.drop_attrs())
    assert (one["reliable"] == other["reliable"]).all()
    assert one["reliable"].any()
    assert one.attrs["better"] == other.attrs["better"] == "lower"
    of_bank = dt.as_laws(bank)
    for name in ("base", "removed"):
        np.testing.assert_array_equal(of_bank[name], own[name])
    assert of_bank.attrs["random"] == "initial weights and batch order"
    assert of_bank["train"].values.tolist() == [0, 2, 3, 5, 7]
    changes = [dt.law_changes(one).reset_coords(drop=True) for one in (of_bank, own)]
    xr.testing.assert_allclose(*(one.drop_attrs() for one in changes))
    estimates = dt.scores(dt.estimator_bank(task, linear, recipe, n_seeds=8, workers=1))
    assert estimates.attrs["sign"] == "removal"
    found = dt.agreement(estimates, of_bank, same_seeds=True)
    again = dt.agreement(dt.as_scores(estimates.values, sign="removal"), own, same_seeds=True)
    xr.testing.assert_allclose(found, again)
    assert found["r"].sel(kind="pearson", over="all pairs") > 0.5


def test_groups_of_a_bank_are_groups_of_its_laws(network):
    task, recipe = network
    design = dt.leave_groups_out(8, [[0, 1], [2, 3, 4], [5, 6], [1, 7]])
    runs = dt.paired(design, dt.seed_pairs(6))
    bank = dt.RunBank(task, linear, recipe, runs, ["query_loss"], workers=1)
    own = dt.as_laws(bank)
    losses = bank.dataset()["query_loss"].isel(checkpoint=0).transpose("seed", "removal", "query")
    np.testing.assert_array_equal(own["removed"], losses[:, 1:])
    assert own["left_out"].values.tolist() == (design.weights[1:] == 0).tolist()
    found = dt.reliable(dt.shifts(own), test="t", family="query")
    np.testing.assert_allclose(found["mean"], (losses[:, 1:] - losses[:, 0]).mean("seed"))
    best = dt.points_of(found, query=1)
    assert set(best["point"]) == {"0+1", "2+3+4", "5+6", "1+7"}
    down = dt.RunBank(
        task,
        linear,
        recipe,
        dt.paired(down_weighted(8, [1], [0.5]), dt.seed_pairs(2)),
        ["query_loss"],
        workers=1,
    )
    with pytest.raises(ValueError, match="weighs points down"):
        dt.as_laws(down)


# --- any functional of a run ---------------------------------------------------------------------

OUTPUTS = np.random.default_rng(7).normal(size=(N, 1 + POINTS, 10, 3))
TARGETS = np.arange(10) % 3


def test_numbers_of_all_queries_are_computed_by_hand():
    base, removed = OUTPUTS[:, 0, :, 0], OUTPUTS[:, 1:, :, 0]
    low = np.arange(10) < 4
    found = dt.as_laws(
        base,
        removed,
        unit="nats",
        of={
            "mean": "mean",
            "median": "median",
            "largest": "largest",
            "late": quantile_of_queries(0.75),
            "gap": gap(low, [7, 8]),
            "range": lambda losses: losses.max() - losses.min(),
        },
    )
    expected = {
        "mean": removed.mean(axis=2),
        "median": np.median(removed, axis=2),
        "largest": removed.max(axis=2),
        "late": np.quantile(removed, 0.75, axis=2),
        "gap": removed[..., :4].mean(axis=2) - removed[..., 7:9].mean(axis=2),
        "range": np.ptp(removed, axis=2),
    }
    assert found["query"].values.tolist() == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found["removed"].sel(query=name), values, **CLOSE)
    np.testing.assert_allclose(found["base"].sel(query="range"), np.ptp(base, axis=1), **CLOSE)
    shift = dt.shifts(found).sel(query="late")
    np.testing.assert_allclose(
        shift, expected["late"] - np.quantile(base, 0.75, axis=1)[:, None], **CLOSE
    )
    assert (found.attrs["unit"], found.attrs["better"]) == ("nats", "")
    mixed = dt.as_laws(base > 0, removed > 0, of={"right": "accuracy", "mean": "mean"})
    assert (mixed.attrs["unit"], mixed.attrs["better"]) == ("of several kinds", "")
    assert dt.points_of(dt.reliable(dt.shifts(found)), "gap", 2).shape == (2, 6)


def test_an_accuracy_is_a_share_of_which_more_is_better():
    found = dt.as_laws(OUTPUTS[:, 0], OUTPUTS[:, 1:], of=accuracy(TARGETS))
    right = OUTPUTS.argmax(axis=-1) == TARGETS
    np.testing.assert_allclose(found["removed"][..., 0], right[:, 1:].mean(axis=-1), **CLOSE)
    assert (found.attrs["unit"], found.attrs["better"]) == ("share", "higher")
    for values, of in ((right, "accuracy"), (OUTPUTS.argmax(axis=-1), accuracy(TARGETS))):
        same = dt.as_laws(values[:, 0], values[:, 1:], of=of)
        np.testing.assert_allclose(same["removed"], found["removed"], **CLOSE)
    own = dt.as_laws(OUTPUTS[:, 0], OUTPUTS[:, 1:], of=lambda v: v.std(), better="lower")
    assert (own.attrs["unit"], own.attrs["better"]) == ("not stated", "lower")
    assert dt.as_laws(*measured(), of="mean", unit="nats").attrs["better"] == "lower"
    assert dt.as_laws(*measured(), of=gap([0], [1]), unit="nats").attrs["better"] == ""


def test_a_run_may_have_measured_one_number():
    base, removed = (values[..., 0] for values in measured())
    found = dt.as_laws(base, removed)
    assert found["query"].values.tolist() == ["all"]
    np.testing.assert_array_equal(found["removed"][..., 0], removed)
    agreed = dt.agreement(scores(scored()[..., :1], queries=["all"]), found, same_seeds=False)
    assert np.isfinite(agreed["low"]).all()  # the one query is fixed
    np.testing.assert_allclose(*agreed["r"].transpose("over", "kind"))


# --- power ---------------------------------------------------------------------------------------


def test_a_plan_of_shifts_says_what_more_seeds_would_show():
    shift = dt.shifts(laws())
    made = dt.plan(shift, test="t", real=0.2)
    assert (made.points, made.queries, made.seeds, made.runs) == (POINTS, QUERIES, N, N * 7)
    level = discovery_level(18, 4)
    assert made.snr_many == pytest.approx(detectable_snr(N, level))
    assert made.seeds_for(0.5) == seeds_needed(0.5, level)
    assert made.sigma == pytest.approx(float(shift.std("seed", ddof=1).median()))
    assert made.unit == "nats"
    told = str(made)
    assert "6 points x 3 queries, 8 seeds" in told
    assert "56, trained elsewhere" in told
    assert "time" not in told
    assert "disk" not in told
    one = dt.plan(shift, test="t", family="query")
    assert one.level_one == pytest.approx(0.05 / POINTS)
    with pytest.raises(ValueError, match="shifts have the axes seed, train"):
        dt.plan(shift.isel(query=0))


# --- seeds that are lost, or none ----------------------------------------------------------------


def test_seeds_that_diverged_leave_both_laws_and_are_named():
    base, removed = measured()
    removed[2, 1, 0], base[5, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of 8 seeds \(seed at position 2, 5\) have values"):
        dt.as_laws(base, removed)
    one, other = labelled(base, removed)
    with pytest.raises(ValueError, match=r"seed run 2, run 5"):
        dt.as_laws(one, other)
    found = dt.as_laws(base, removed, drop_diverged=True)
    kept = [0, 1, 3, 4, 6, 7]
    xr.testing.assert_identical(
        found.drop_attrs(), dt.as_laws(base[kept], removed[kept]).drop_attrs()
    )
    assert found.attrs["dropped"] == "2 of 8 seeds (seed at position 2, 5)"
    answer = dt.reliable(dt.shifts(found), test="t")
    assert answer.attrs["dropped"] == found.attrs["dropped"]
    assert "they left every law" in str(dt.plan(dt.shifts(found)))
    base[:] = np.nan
    with pytest.raises(ValueError, match="no law is left"):
        dt.as_laws(base, removed, drop_diverged=True)


def test_copies_of_one_run_are_noticed():
    base, removed = measured()
    with pytest.raises(ValueError, match="copies of one run"):
        dt.as_laws(base[[0] * N], removed[[0] * N])
    base[3], removed[3] = base[1], removed[1]
    with pytest.warns(UserWarning, match=r"seed at position 1, 3 have equal values throughout"):
        dt.as_laws(base, removed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dt.as_laws(base[:, :1] > 2, removed[..., :1] > 2)  # counts coincide
        removed[3] += 1e-9
        dt.as_laws(base, removed)


def test_losses_in_place_of_shifts_are_noticed():
    base, removed = measured(removals=40)
    given = dt.as_scores(np.abs(removed) + 1, sign="removal")
    with pytest.warns(UserWarning, match="all 960 shifts are positive; if these are losses"):
        dt.reliable(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dt.reliable(dt.shifts(dt.as_laws(base, removed)))


# --- the page ------------------------------------------------------------------------------------


def colours(page):
    """Colours of the marks of the first query, largest |mean shift| first."""
    return re.findall(r'<circle [^>]*stroke="(#\w+)"', page.text)[:2]


def test_a_page_needs_no_data_and_obeys_what_the_arrays_say():
    base, removed = labelled(B, R, points=["<a>", *"bcdef"], queries=["x", "<y>", "z"])
    removed = removed + xr.DataArray([9.0, -7.0, 0, 0, 0, 0], dims="train")
    pages = {}
    for better in ("lower", "higher", ""):
        own = dt.as_laws(base, removed, unit="<nats>", better=better)
        pages[better] = dt.page(dt.reliable(dt.shifts(own), test="t"), n=2)
    assert colours(pages["lower"]) == [HELPS, HURTS]
    assert colours(pages["higher"]) == [HURTS, HELPS]
    assert colours(pages[""]) == [HELPS, HURTS]
    assert "the query's loss" in pages["lower"].text
    assert "the measured value" in pages["higher"].text
    assert "help" not in pages[""].text
    for page in pages.values():
        assert ", in &lt;nats&gt;" in page.text
        assert "&lt;a&gt;" in page.text
        assert "query &lt;y&gt;" in page.text
        assert not re.search("<(nats|a|y)>", page.text)
    groups = dt.page(dt.reliable(dt.shifts(G), test="t"), n=2)
    assert groups.text.count("<section") == QUERIES


# --- refusals ------------------------------------------------------------------------------------


def changed(values, **labels):
    return values.assign_coords(labels)


B, R = measured()
LB, LR = labelled(B, R)
S = LR.copy(data=scored()).assign_attrs(sign="removal")
G = dt.as_laws(B, R, left_out=MASK, unit="nats")
REFUSED = {
    "one law": (lambda: dt.as_laws(B), "as second argument"),
    "transposed": (lambda: dt.as_laws(B.T, R), "the seeds do not pair: .*(seed: 3, query: 8)"),
    "fewer seeds": (lambda: dt.as_laws(B[:5], R), "the seeds do not pair"),
    "other queries": (lambda: dt.as_laws(B[:, :2], R), "they do not fit"),
    "too many axes": (lambda: dt.as_laws(B, R[None, None]), "give `dims`, a name for each"),
    "no base axes": (lambda: dt.as_laws(B[0], R), "give `dims`"),
    "wrong dims": (lambda: dt.as_laws(B, R, dims=("seed", "x", "query")), "name them seed"),
    "dims twice": (lambda: dt.as_laws(B, R, dims=("seed", "query", "query")), "give `dims`"),
    "dims of labelled": (lambda: dt.as_laws(LB, LR, dims=("train",)), "leave dims out"),
    "named otherwise": (lambda: dt.as_laws(LB, LR.rename(train="x")), "name them seed, removal"),
    "base by point": (lambda: dt.as_laws(LR, LR), "the axes of the full data"),
    "one seed": (lambda: dt.as_laws(B[:1], R[:1]), "one seed is no law"),
    "seeds differ": (
        lambda: dt.as_laws(changed(LB, seed=[*SEEDS[1:], "new"]), LR),
        "the seeds do not pair: new, run 0 in one",
    ),
    "queries differ": (lambda: dt.as_laws(changed(LB, query=list("abc")), LR), "'query' differ: a"),
    "labels on one side": (lambda: dt.as_laws(LB.drop_vars("seed"), LR), "label both"),
    "seeds repeat": (
        lambda: dt.as_laws(changed(LB, seed=["a"] * N), changed(LR, seed=["a"] * N)),
        r"'seed' repeat \(a\)",
    ),
    "points repeat": (lambda: dt.as_laws(B, R, left_out=[0, 1, 2, 3, 4, 0]), r"repeat \(0\)"),
    "half precision": (lambda: dt.as_laws(B, R.astype(np.float16)), "three digits"),
    "complex": (lambda: dt.as_laws(B + 1j, R), "give real numbers"),
    "objects": (lambda: dt.as_laws(B.astype(object), R), "give real numbers"),
    "empty": (lambda: dt.as_laws(B, R[:, :0]), "an axis is empty"),
    "too few removals": (lambda: dt.as_laws(B, R, left_out=[1, 2]), "2 removals are named, but 6"),
    "both": (lambda: dt.as_laws(B, R, left_out=MASK, kept=~MASK), "not both"),
    "by axis": (lambda: dt.as_laws(LB, LR, left_out=range(6)), "call it 'removal'"),
    "nothing left out": (
        lambda: dt.as_laws(B, R, left_out=np.vstack([MASK[:5], MASK[:1] & False])),
        "removal 5 leaves out nothing; check what True means",
    ),
    "all left out": (
        lambda: dt.as_laws(B, R, kept=np.vstack([MASK[:5], MASK[:1] & False])),
        "removal 5 leaves out all points",
    ),
    "numbers as mask": (lambda: dt.as_laws(B, R, left_out=MASK.astype(int)), "has to be boolean"),
    "flat mask": (lambda: dt.as_laws(B, R, left_out=MASK[:, 0]), "a mask has the axes"),
    "neither better": (lambda: dt.as_laws(B, R, better="more"), "none of"),
    "unit contradicts": (
        lambda: dt.as_laws(LB, LR.assign_attrs(unit="nats"), unit="bits"),
        "unit = 'bits', but the array's attribute says 'nats'",
    ),
    "shifts as laws": (lambda: dt.as_laws(LB, S), "it holds shifts"),
    "outputs": (lambda: dt.as_laws(OUTPUTS[:, 0], OUTPUTS[:, 1:]), "pass one function of them"),
    "no functional": (lambda: dt.as_laws(B, R, of="men"), "did you mean 'mean'"),
    "no number": (lambda: dt.as_laws(B, R, of={"all": np.abs}), "'all' returned .*one finite"),
    "no finite number": (lambda: dt.as_laws(B, R, of=lambda v: np.nan), "one finite number"),
    "no group": (lambda: gap([], [1]), "is empty"),
    "no level": (lambda: quantile_of_queries(1.01), "lies in 0..1, not 1.01"),
    "no sign": (lambda: dt.as_scores(scored()), "say 'removal' if a positive value"),
    "unknown sign": (lambda: dt.as_scores(scored(), sign="help"), "sign = 'help'; say"),
    "sign contradicts": (lambda: dt.as_scores(S, sign="adding"), "attribute says 'removal'"),
    "score axes": (lambda: dt.as_scores(S.rename(query="test")), "name them seed, train"),
    "score dims": (lambda: dt.as_scores(scored()[0, 0], sign="removal"), "give `dims`"),
    "score of one seed": (lambda: scores(scored(n=1)), "one seed has no randomness"),
    "score of equal seeds": (lambda: scores(scored(n=1)[[0, 0, 0]]), "all 3 seeds have the same"),
    "score points": (lambda: scores(points=[1, 2]), "2 labels do not fit the axis 'train' of 6"),
    "score labels twice": (lambda: dt.as_scores(S, points=range(6)), "labelled already"),
    "score points repeat": (lambda: scores(points=[0, 1, 2, 3, 4, 4]), r"repeat \(4\)"),
    "score with holes": (lambda: scores(np.where(scored() > 1, np.nan, scored())), "not finite"),
    "unsigned reader": (
        lambda: dt.reliable(S.assign_attrs(sign="up")),
        "unknown sign of a shift 'up'",
    ),
    "numpy to reliable": (lambda: dt.reliable(scored()), r"through as_scores\(values"),
    "other axes to reliable": (lambda: dt.reliable(S.rename(query="x")), "rename them"),
    "numpy to shifts": (lambda: dt.shifts(R), r"what as_laws\(base, removed\) returns"),
    "shifts to changes": (lambda: dt.law_changes(S), "returns, not DataArray"),
    "points lacking": (
        lambda: dt.agreement(S.isel(train=slice(5)), dt.as_laws(LB, LR)),
        "the scores lack train row 5, which was retrained",
    ),
    "queries lacking": (
        lambda: dt.agreement(changed(S, query=list("abc")), dt.as_laws(LB, LR)),
        "the scores lack query test 0",
    ),
    "seeds unsaid": (lambda: dt.agreement(scores(), laws()), "say same_seeds=True if"),
    "counted seeds": (
        lambda: dt.agreement(changed(S, seed=range(N)), dt.as_laws(LB, LR)),
        "say same_seeds=True if",
    ),
    "unequal seeds": (
        lambda: dt.agreement(scores(scored(n=5)), laws(), same_seeds=True),
        "5 and 8 seeds are not the same",
    ),
    "some seeds shared": (
        lambda: dt.agreement(S.isel(seed=slice(3)), dt.as_laws(LB, LR)),
        "share the seeds run 0, run 1, run 2 but not all",
    ),
    "seeds said wrongly": (
        lambda: dt.agreement(S, dt.as_laws(LB, LR), same_seeds=False),
        "by their labels the seeds are the same",
    ),
    "constant scores": (
        lambda: dt.agreement(scores(np.ones((POINTS, QUERIES))), laws()),
        "the scores are all equal",
    ),
    "three points": (lambda: dt.agreement(S, dt.as_laws(LB, LR[:, :3])), "too few to correlate"),
    "laws of shifts": (
        lambda: dt.agreement(S, dt.shifts(dt.as_laws(LB, LR)), of="w2"),
        "of which shifts alone say nothing",
    ),
    "groups as shifts": (
        lambda: dt.agreement(scores(), dt.shifts(G), same_seeds=True),
        "give groups as laws",
    ),
    "laws of a fixed score": (
        lambda: dt.agreement(scores(scored()[0], unit="nats"), laws(), of="w2"),
        "moves all runs alike",
    ),
    "laws without unit": (
        lambda: dt.agreement(scores(), laws(), of="w2", same_seeds=True),
        "their units are 'none' and 'nats'",
    ),
    "laws without base": (
        lambda: dt.agreement(scores(unit="nats"), laws(), of="w2", same_seeds=False),
        "give it as base",
    ),
    "base of other seeds": (
        lambda: dt.agreement(scores(unit="nats"), laws(), of="w2", same_seeds=False, base=B[:5]),
        "8 seeds of the base do not pair|5 seeds of the base do not pair",
    ),
    "unknown change": (lambda: dt.law_changes(laws(), ["w3"]), "unknown distance 'w3'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arrays_that_are_refused_in_one_sentence(name):
    call, told = REFUSED[name]
    with pytest.raises(ValueError, match=re.compile(told, re.DOTALL)) as refusal:
        call()
    text = str(refusal.value)
    assert text.count("\n") == 0
    assert len(text) < 300


def test_a_functional_of_ones_own_that_fails_is_named():
    with pytest.raises(RuntimeError, match="functional 'mine' raised ZeroDivisionError"):
        dt.as_laws(B, R, of={"mine": lambda losses: 1 / 0})
    with pytest.raises(RuntimeError, match="9 targets do not fit 3 queries"):
        dt.as_laws(B, R, of=accuracy(np.zeros(9)))
    with pytest.raises(RuntimeError, match="give 0 and 1"):
        dt.as_laws(B, R, of="accuracy")
    assert isinstance(accuracy([0]), Functional)


# --- what is written about it --------------------------------------------------------------------


def test_the_example_in_the_docstring_runs():
    found = doctest.DocTestFinder().find(arrays.as_laws, "as_laws", globs={})
    failed, tried = doctest.DocTestRunner().run(found[0])
    assert (failed, tried) == (0, 8)


@pytest.mark.slow
def test_the_code_in_the_guide_runs(tmp_path):
    text = (ROOT / "docs" / "your_arrays.md").read_text(encoding="utf-8")
    printed = printed_by_code_of(text, tmp_path)
    assert "q_value" in printed
    assert "10 points x 5 queries, 16 seeds" in printed
    assert "within queries" in printed


# --- how often intervals hold --------------------------------------------------------------------


@pytest.mark.slow
def test_intervals_of_agreement_hold_the_truth_as_often_as_said():
    r, held = simulated_agreement(repeats=60)
    assert ((r > 0.3) & (r < 0.9)).all()
    assert (held >= 0.88).all()


def simulated_agreement(repeats, n=12, points=30, queries=10, seed=0):
    """Mean r `(kind, over)`, and the share of 95 % intervals that hold what many pairs give.

    True effects and scores of a pair correlate at .7: each a point's effect that differs between
    queries, and a pair's own. Seeds add noise as large as the effects. All are new each time.
    """
    rng = np.random.default_rng(seed)

    def effects(points, queries):
        point, query = rng.normal(size=(points, 1)), rng.normal(size=(1, queries))
        return point * (1 + 0.3 * query) + 0.5 * rng.normal(size=(points, queries))

    def draw(points, queries):
        truth, other = effects(points, queries), effects(points, queries)
        noise = rng.normal(size=(2, n, points, queries))
        return truth + noise[0], 0.7 * truth + np.sqrt(1 - 0.49) * other + noise[1]

    large = [by_scipy(*(runs.mean(axis=0) for runs in draw(300, 60)))[0] for _ in range(4)]
    expected = np.mean(large, axis=0)
    found = []
    for _ in range(repeats):
        shift, score = (dt.as_scores(one, sign="removal") for one in draw(points, queries))
        found.append(dt.agreement(score, shift, same_seeds=False, n_splits=1, generator=rng))
    low, high, r = (np.stack([one[name].values for one in found]) for name in ("low", "high", "r"))
    return r.mean(axis=0), ((low <= expected) & (expected <= high)).mean(axis=0)
