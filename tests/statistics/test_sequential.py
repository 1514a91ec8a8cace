"""Seeds added look by look: against brute force, closed forms, and its rates under any stopping."""

import numpy as np
import pytest
from scipy import stats

from dtda_lib.statistics import sequential as sq
from dtda_lib.statistics.bootstrap_t import exceedance, quantile, resampled_null

LOOKS = (4, 6, 10, 16)
FEW = {"looks": LOOKS, "n_resamples": 100}
DELTA = 1.0


def study(seed=0, points=30, queries=2, real=6, law="normal", n=LOOKS[-1], size=2.0):
    """Mean shifts `(point, query)`, the first `real` points being real, and their seeds."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal if law == "normal" else lambda s: rng.standard_exponential(s) - 1
    mean = np.where(np.arange(points)[:, None] < real, size, 0.0) * rng.choice(
        [-1, 1], (1, queries)
    )
    return mean, mean + noise((n, points, queries))


# --- one look, by hand ----------------------------------------------------------------------------


def test_one_look_is_a_test_of_all_pairs_and_two_one_sided_ones():
    _, values = study(queries=1, n=10)
    found = sq.decisions(values, DELTA, looks=(10,), miss=0.1)
    flat = values[:, :, 0]
    null = resampled_null(flat, np.random.default_rng(0))
    t = stats.ttest_1samp(flat, 0).statistic
    level = sq.spending((10,), 0.1)[1][0]
    assert level == pytest.approx(0.1, abs=0.01)  # with a single look nothing is spread
    for k in range(len(t)):
        mean, error = flat[:, k].mean(), stats.sem(flat[:, k])
        above = exceedance(null, np.array((DELTA - mean) / error)) / 2
        below = exceedance(null, np.array((mean + DELTA) / error)) / 2
        absent = abs(mean) < DELTA and max(above, below) <= level
        assert (found.decision[k, 0] == sq.IS_NONE) == absent
        assert found.p[k, 0] == pytest.approx(1.0 if absent else exceedance(null, t[k]))
        assert found.mean[k, 0] == pytest.approx(mean)
        assert found.high[k, 0] - mean == pytest.approx(quantile(null, 0.05) * error)
    rejected = stats.false_discovery_control(found.p[:, 0]) <= 0.05
    assert {sq.IS_HELP, sq.IS_HARM, sq.IS_NONE} <= set(found.decision[:, 0]) | {
        sq.IS_HELP,
        sq.IS_HARM,
    }
    assert rejected.sum() >= 4
    expected = np.where(rejected, np.where(t > 0, sq.IS_HELP, sq.IS_HARM), found.decision[:, 0])
    np.testing.assert_array_equal(found.decision[:, 0], expected)


def test_all_looks_by_a_plain_loop():
    _, values = study(3, queries=2)
    shares, levels = sq.spending(LOOKS, 0.2)
    points, queries = values.shape[1:]
    p, decision, seeds = np.ones((points, queries)), np.zeros((points, queries), int), [0] * points
    for at, n in enumerate(LOOKS):
        rows = [k for k in range(points) if (decision[k] == sq.IS_OPEN).any()]
        part = values[:n, rows].reshape(n, -1)
        draws = -(-100 * points * queries // part.shape[1])
        null = resampled_null(part, np.random.default_rng(at), draws)
        for k in rows:
            seeds[k] = n
            for j in range(queries):
                x = values[:n, k, j]
                if decision[k, j] != sq.IS_OPEN:
                    continue
                nearest = DELTA - abs(x.mean())
                if nearest > 0 and exceedance(null, nearest / stats.sem(x)) / 2 <= levels[at]:
                    decision[k, j], p[k, j] = sq.IS_NONE, 1.0
                    continue
                now = exceedance(null, stats.ttest_1samp(x, 0).statistic) / shares[at]
                p[k, j] = min(p[k, j], now)
        found = stats.false_discovery_control(p.ravel()).reshape(p.shape) <= 0.05
        for k, j in zip(*np.nonzero(found & (decision == sq.IS_OPEN))):
            decision[k, j] = sq.IS_HELP if values[: seeds[k], k, j].mean() > 0 else sq.IS_HARM
    ours = sq.decisions(values, DELTA, **FEW)
    np.testing.assert_allclose(ours.p, p)
    np.testing.assert_array_equal(ours.decision, decision)
    np.testing.assert_array_equal(ours.seeds, seeds)
    assert len(set(seeds)) >= 3  # points stop at different looks
    assert set(decision.ravel()) >= {sq.IS_NONE, sq.IS_HELP, sq.IS_HARM}


def test_the_levels_of_no_effect_spend_what_was_given_up():
    for looks in ((12,), LOOKS, (4, 6, 8, 12, 16, 24, 32)):
        shares, levels = sq.spending(looks, 0.2)
        assert shares.sum() == pytest.approx(1)
        np.testing.assert_allclose(levels / levels[0], np.sqrt(looks[0] / np.array(looks)))
        draws = np.random.default_rng(1).standard_normal((10_000, looks[-1]))
        hit = np.zeros(10_000, bool)
        for n, level in zip(looks, levels):
            t = stats.ttest_1samp(draws[:, :n], 0, axis=1)
            hit |= stats.t.cdf(t.statistic, n - 1) <= level
        assert hit.mean() == pytest.approx(0.2, abs=0.02)


def test_looks_end_with_all_seeds_and_are_never_one_seed_apart():
    assert sq.looks_up_to(4) == (4,)
    assert sq.looks_up_to(5) == (5,)
    assert sq.looks_up_to(6) == (4, 6)
    assert sq.looks_up_to(13) == (4, 6, 8, 13)
    assert sq.looks_up_to(30) == (4, 6, 8, 12, 16, 24, 30)
    for n in range(4, 200):
        looks = sq.looks_up_to(n)
        assert looks[-1] == n
        assert (np.diff(looks) >= 2).all()


# --- invariance -----------------------------------------------------------------------------------


def same(one, other):
    for name in ("decision", "p", "mean", "low", "high", "seeds", "more"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), err_msg=name)


def test_runs_that_nobody_had_to_train_change_nothing():
    """What staged training leaves out is what the same looks at all runs do not read."""
    _, values = study(4)
    whole = sq.decisions(values, DELTA, **FEW)
    missing = np.arange(len(values))[:, None] >= whole.seeds  # (seed, point)
    assert missing.any()
    same(sq.decisions(np.where(missing[:, :, None], np.nan, values), DELTA, **FEW), whole)
    same(sq.decisions(np.where(missing[:, :, None], 1e9, values), DELTA, **FEW), whole)


def test_stopping_earlier_gives_a_part_of_the_same_answer():
    _, values = study(5, size=1.2)
    whole = sq.decisions(values, DELTA, **FEW)
    before = np.zeros_like(whole.decision)
    for n in LOOKS:
        part = sq.decisions(values[:n], DELTA, **FEW)
        stays = before != sq.IS_OPEN
        np.testing.assert_array_equal(part.decision[stays], before[stays])
        before = part.decision
    same(part, whole)


def test_units_cancel_and_signs_turn_round():
    _, values = study(6)
    one = sq.decisions(values, DELTA, **FEW)
    scaled = sq.decisions(1e-3 * values, 1e-3 * DELTA, **FEW)
    np.testing.assert_array_equal(scaled.decision, one.decision)
    np.testing.assert_allclose(scaled.high, 1e-3 * one.high)
    turned = sq.decisions(-values, DELTA, **FEW)
    swap = np.array([sq.IS_OPEN, sq.IS_HARM, sq.IS_HELP, sq.IS_NONE])
    np.testing.assert_array_equal(turned.decision, swap[one.decision])
    np.testing.assert_allclose(turned.low, -one.high)


def test_a_shift_without_noise_is_decided_at_once():
    _, values = study(7, queries=1)
    values[:, 0], values[:, 1], values[:, 2] = 3.0, 0.0, -0.5
    found = sq.decisions(values, DELTA, **FEW)
    assert found.decision[:3, 0].tolist() == [sq.IS_HELP, sq.IS_NONE, sq.IS_NONE]
    assert found.seeds[:3].tolist() == [4, 4, 4]
    assert found.low[0, 0] == found.high[0, 0] == 3.0
    quiet = sq.decisions(np.full((4, 2, 1), 2.0), DELTA, looks=(4,))
    assert (quiet.decision == sq.IS_HELP).all()


def test_a_point_without_its_first_seeds_takes_no_part():
    _, values = study(8)
    values[2, 0] = np.nan
    found = sq.decisions(values, DELTA, **FEW)
    assert (found.decision[0] == sq.IS_OPEN).all()
    assert found.seeds[0] == 0
    assert (found.p[0] == 1).all()
    assert np.isnan(found.mean[0]).all()
    assert (found.more[0] == LOOKS[0]).all()


def test_what_is_missing_is_said_in_seeds():
    _, values = study(9, size=0.6, n=6)
    found = sq.decisions(values, DELTA, looks=(4, 6), n_resamples=100)
    is_open = found.decision == sq.IS_OPEN
    assert is_open.any()
    assert (found.more[is_open] >= 1).all()
    assert (found.more[~is_open] == 0).all()
    n, level = 6, sq.spending((4, 6), 0.2)[1][1]
    sd = np.array([[2.0, 2.0]])
    none = sq._more(n, np.array([[0.0, 0.1]]), sd, np.array([[1.0, 0.9]]), 1e-9, level)
    expected = (-stats.norm.ppf(level) * 2 / np.array([1.0, 0.9])) ** 2 - n
    np.testing.assert_array_equal(none, np.ceil(np.maximum(expected, 1))[None])
    effect = sq._more(n, np.array([1.0]), np.array([2.0]), np.array([0.0]), 0.01, level)
    assert effect[0] == np.ceil((stats.norm.isf(0.005) * 2) ** 2 - n)


# --- rates, by simulation -------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["normal", "skewed"])
def test_false_discoveries_and_misses_keep_their_rates_wherever_one_stops(law):
    """Stopping as soon as it looks good: the worst look of each study counts."""
    worst, final, missed, found_any = [], [], [], 0
    for seed in range(60):
        mean, values = study(seed, points=40, queries=1, real=8, law=law, size=DELTA, n=16)
        rates = []
        for n in LOOKS:
            found = sq.decisions(values[:n], DELTA, looks=LOOKS, n_resamples=60)
            code = found.decision
            right = np.where(mean > 0, sq.IS_HELP, np.where(mean < 0, sq.IS_HARM, sq.IS_NONE))
            called = (code == sq.IS_HELP) | (code == sq.IS_HARM)
            rates.append((called & (code != right)).sum() / max(called.sum(), 1))
        worst.append(max(rates))
        final.append(rates[-1])
        missed.append((code == sq.IS_NONE)[mean != 0].mean())
        found_any += called.sum()
    error = np.std(worst) / np.sqrt(60)
    assert np.mean(final) <= 0.05
    assert np.mean(worst) - 2 * error <= 0.05
    assert np.mean(missed) <= (0.2 if law == "normal" else 0.4)
    assert np.mean(missed) >= 0.02  # what is given up is used
    assert found_any > 20


@pytest.mark.parametrize("law", ["normal", "skewed"])
def test_with_no_effect_at_all_hardly_a_study_reports_one(law):
    reported, seeds = 0, []
    for seed in range(80):
        _, values = study(100 + seed, points=30, queries=1, real=0, law=law)
        found = sq.decisions(values, DELTA, looks=LOOKS, n_resamples=60)
        reported += bool(((found.decision == sq.IS_HELP) | (found.decision == sq.IS_HARM)).any())
        seeds.append(found.seeds.mean())
    assert reported <= stats.binom.ppf(0.99, 80, 0.05)
    assert np.mean(seeds) < 10  # of 16


def test_intervals_hold_at_all_looks_at_once():
    mean, values = study(11, points=400, queries=1, real=400)
    left = np.zeros(400, bool)
    for n in LOOKS:
        part = sq.decisions(values[:n], 1e-9, looks=LOOKS, q=0.2, n_resamples=60)
        now = part.seeds == n
        left |= now & ((part.low > mean) | (part.high < mean))[:, 0]
    assert 0 < left.mean() < 0.2 + 2 * np.sqrt(0.16 / 400)


# --- control variates -----------------------------------------------------------------------------


def pairs_of(rho, n, rng, points=5, queries=2):
    control = rng.standard_normal((n, points, queries))
    noise = rng.standard_normal((n, points, queries))
    return 3 + rho * control + np.sqrt(1 - rho**2) * noise, control


def test_each_seed_has_the_coefficient_of_the_others():
    values, control = pairs_of(0.8, 9, np.random.default_rng(0))
    control *= [[[1.0], [5.0], [2.0], [7.0], [0.1]]]
    found = sq.controlled(values, control)
    for s in range(9):
        kept = np.arange(9) != s
        for j in range(2):
            pairs = [(values[kept, k, j], control[kept, k, j]) for k in range(5)]
            rho = np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs])
            rho *= max(0, 1 - 1 / (6 * rho**2))
            assert rho > 0.3
            beta = rho * np.array([d.std() / c.std() for d, c in pairs])
            expected = values[s, :, j] - beta * control[s, :, j]
            np.testing.assert_allclose(found[s, :, j], expected, rtol=1e-10)


def test_the_mean_stays_unbiased_and_the_variance_falls_by_rho_squared():
    rng = np.random.default_rng(1)
    means = {rho: [] for rho in (0.0, 0.8)}
    for rho, all_of in means.items():
        for _ in range(3_000):
            values, control = pairs_of(rho, 7, rng)
            values += 0.3 * (control**2 - 1)  # no straight line: where a fit to all would be biased
            all_of.append(sq.controlled(values, control).mean(axis=0).ravel())
        found = np.array(all_of)
        error = found.mean(axis=1).std() / np.sqrt(len(found))
        assert abs(found.mean() - 3) < 3 * error
    values, control = pairs_of(0.8, 2_000, rng)
    assert sq.variance_ratio(values, control) == pytest.approx(1 - 0.8**2, abs=0.03)
    for n in (6, 10, 20):  # worthless: nothing is gained and hardly anything lost
        values, control = pairs_of(0.0, n, rng, points=200)
        assert 1.0 <= sq.variance_ratio(values, control) < 1.05
    few = pairs_of(0.9, 4, rng)
    np.testing.assert_array_equal(sq.controlled(*few), few[0])


def test_a_control_has_mean_zero_and_its_own_seeds_to_compare_with():
    predictions = np.random.default_rng(2).standard_normal((11, 3, 2)) + 7
    zero = sq.mean_zero(predictions, 3)
    for s in range(3):
        np.testing.assert_allclose(
            zero[s], predictions[s] - (predictions[s + 3] + predictions[s + 6]) / 2
        )
    with pytest.raises(ValueError, match="give 24 or more"):
        sq.mean_zero(predictions, 12)


def test_controls_that_never_vary_change_nothing_and_have_no_ratio_without_noise():
    values, control = pairs_of(0.5, 6, np.random.default_rng(3))
    np.testing.assert_array_equal(sq.controlled(values, 0 * control), values)
    assert np.isnan(sq.variance_ratio(np.ones((4, 2, 1)), np.zeros((4, 2, 1))))


def test_a_good_control_saves_seeds():
    _, values = study(12, queries=1)
    rng = np.random.default_rng(4)
    control = values - values.mean(axis=0) + 0.3 * rng.standard_normal(values.shape)
    plain, helped = (sq.decisions(values, DELTA, control=c, **FEW) for c in (None, control))
    later = plain.seeds > 4  # at four seeds a control does nothing
    assert helped.seeds[later].sum() < 0.8 * plain.seeds[later].sum()
    alone = sq.decisions(
        sq.controlled(values[:4], control[:4]), DELTA, looks=LOOKS, n_resamples=100
    )
    early = sq.decisions(values[:4], DELTA, control=control[:4], **FEW)
    same(alone, early)


def test_points_are_tried_by_their_best_query():
    mean = np.array([[0.1, 9.0], [-2.0, 0.0], [1.0, -5.0]])
    share = np.abs(mean) / np.abs(mean).max(axis=0)
    expected = np.argsort(-share.max(axis=1), kind="stable").tolist()
    assert sq.by_prediction(np.stack([mean, mean])).tolist() == expected == [0, 1, 2]
    assert sq.by_prediction(np.stack([-mean, -mean])[:, [2, 1, 0]]).tolist() == [1, 2, 0]
    assert sq.by_prediction(np.zeros((2, 3, 1))).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"delta": 0.0}, "smallest shift that matters"),
        ({"delta": np.nan}, "smallest shift that matters"),
        ({"q": 1.0}, "between 0 and 1"),
        ({"miss": 0.0}, "between 0 and 1"),
        ({"looks": (4, 5)}, "rise by 2 or more"),
        ({"looks": (2, 8)}, "the first at least 3"),
        ({"looks": ()}, "rise by 2 or more"),
        ({"values": np.zeros((4, 2))}, "not \\(seed, point, query\\)"),
        ({"control": np.zeros((4, 2, 1))}, "controls"),
    ],
)
def test_bad_input_is_refused(change, told):
    given = {"values": np.zeros((4, 3, 1)), "delta": 1.0, "looks": (4,)} | change
    with pytest.raises(ValueError, match=told):
        sq.decisions(given.pop("values"), given.pop("delta"), **given)
    with pytest.raises(ValueError, match="allow more"):
        sq.looks_up_to(3)
