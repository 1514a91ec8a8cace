"""Boltzmann laws of one parameter: against Gaussian closed forms, brute force and invariances."""

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy.optimize import minimize_scalar

from dtda_lib.theory import boltzmann as bo
from dtda_lib.theory.boltzmann import Field
from dtda_lib.theory.langevin import gaussian_divergence

WELLS = Polynomial([-1, 0, 1]) ** 2 / 4
UNEVEN = WELLS * (1 + Polynomial([1, 1]) ** 2 / 4)
SQUARE = Polynomial([0, 0, 0.5])
APART = Polynomial([-0.5, 1]) ** 2 / 2
LOSSES = {"even": (WELLS, SQUARE), "uneven": (UNEVEN, SQUARE), "apart": (WELLS, APART)}
each_loss = pytest.mark.parametrize(("loss", "point"), LOSSES.values(), ids=LOSSES)
same_in_both = pytest.mark.parametrize(
    ("loss", "point"), [LOSSES["even"], LOSSES["uneven"]], ids=["even", "uneven"]
)


def straight(a, b):
    """The field a + b theta."""
    return Field(lambda x: a + b * x, lambda x: b + 0 * x)


# --- minima and fields ---------------------------------------------------------------------------


def test_minima_and_their_masses():
    at, mass = bo.deepest_minima(UNEVEN)
    np.testing.assert_allclose(at, [-1, 1], atol=1e-9)
    np.testing.assert_allclose(mass, np.array([1, 0.5**0.5]) / (1 + 0.5**0.5))
    at, mass = bo.deepest_minima(WELLS + Polynomial([0, 0.01]))  # one well is deeper
    assert at < -1
    assert mass == [1]
    for flat in (Polynomial([0, 1]), -SQUARE, Polynomial([0, 0, 0, 0, 1])):
        with pytest.raises(ValueError, match="no minimum of positive curvature"):
            bo.deepest_minima(flat)


def test_masses_are_those_of_a_cold_law():
    height = bo.density(UNEVEN, 1e5)
    left = np.trapezoid(height * (bo.GRID < 0), bo.GRID)
    assert left == pytest.approx(bo.deepest_minima(UNEVEN)[1][0], rel=1e-4)


def test_one_minimum_alone_has_fields_too():
    loss, point = Polynomial([0.02, -0.2, 0.5, 0.1, 0.1]), Polynomial([0.3, -1, 0.4, 0.1])
    [at], mass = bo.deepest_minima(loss)
    assert mass == [1]
    influence = point.deriv()(at) / loss.deriv(2)(at)
    assert bo.influence_field(loss, point).value(np.array([at, 3.0])) == pytest.approx(influence)
    field, h = bo.straight_field(loss, point), 1e-5
    ends = [point.deriv()(at + s) / loss.deriv(2)(at + s) for s in (-h, h)]
    assert field.value(at) == pytest.approx(influence)
    assert field.slope(at) == pytest.approx((ends[1] - ends[0]) / (2 * h), rel=1e-6)
    assert field.value(at + 9.0) == pytest.approx(influence)  # the bump has a width of 1


@each_loss
@pytest.mark.parametrize("make", [bo.influence_field, bo.straight_field])
def test_influence_at_the_minima_and_slopes_everywhere(loss, point, make):
    field, (at, _) = make(loss, point), bo.deepest_minima(loss)
    np.testing.assert_allclose(field.value(at), point.deriv()(at) / loss.deriv(2)(at), rtol=1e-7)
    x, h = np.linspace(-2, 2, 41), 1e-6
    slope = (field.value(x + h) - field.value(x - h)) / (2 * h)
    np.testing.assert_allclose(field.slope(x), slope, atol=1e-8)
    moved, step = bo.deepest_minima(loss - 1e-5 * point)[0], 1e-5 * field.value(at)
    for place in moved:  # where loss_k differs, one minimum only is the deepest
        assert abs(at + step - place).min() < 1e-9


def test_local_continuation_follows_the_influence_function():
    x, h = np.array([-1.0, 1.0]), 1e-6
    r = [APART.deriv()(y) / UNEVEN.deriv(2)(y) for y in (x + h, x - h)]
    slope = bo.straight_field(UNEVEN, APART).slope(x)
    np.testing.assert_allclose(slope, (r[0] - r[1]) / (2 * h), rtol=1e-6)


def test_a_field_through_three_places_is_refused():
    with pytest.raises(ValueError, match="3 places"):
        bo.through(np.arange(3.0), np.zeros(3))
    one = bo.through(np.array([1.0]), np.array([2.0]))
    assert one.value(np.array([0.0, 5.0])) == pytest.approx(2)


# --- divergences ---------------------------------------------------------------------------------


def test_gaussian_laws_have_a_closed_form():
    h, q, target, beta, eps = 3.0, 0.8, 0.7, 40.0, 0.2
    loss, point = Polynomial([0, 0, h / 2]), q / 2 * Polynomial([-target, 1]) ** 2
    a, b = 0.3, -0.4
    got = bo.divergence(loss, point, straight(a, b), eps, beta)
    precise = h - eps * q
    before = (1 + eps * b) ** 2 / (beta * h)
    expected = gaussian_divergence(
        np.array([eps * a]),
        np.array([[before]]),
        np.array([-eps * q * target / precise]),
        np.array([[1 / (beta * precise)]]),
    )
    assert got == pytest.approx(expected / beta, rel=1e-10)


@each_loss
def test_no_change_by_brute_force(loss, point):
    beta, eps = 25.0, 0.1
    p, q = bo.density(loss, beta), bo.density(loss - eps * point, beta)
    seen = p > 1e-30
    expected = np.trapezoid((p * np.log(p / q, where=seen, out=0 * p)), bo.GRID) / beta
    nothing = straight(0.0, 0.0)
    assert bo.divergence(loss, point, nothing, eps, beta) == pytest.approx(expected, rel=1e-9)
    assert bo.divergence(loss, point, nothing, 0.0, beta) == pytest.approx(0, abs=1e-15)


def test_moved_density_has_that_divergence():
    beta, eps, field = 25.0, 0.2, bo.straight_field(WELLS, APART)
    at, height = bo.pushed_density(WELLS, field, eps, beta)
    assert np.trapezoid(height, at) == pytest.approx(1)
    after = np.interp(at, bo.GRID, bo.density(WELLS - eps * APART, beta))
    seen = (height > 1e-12) & (after > 0)
    ratio = np.log(height[seen] / after[seen])
    expected = np.trapezoid(height[seen] * ratio, at[seen]) / beta
    assert bo.divergence(WELLS, APART, field, eps, beta) == pytest.approx(expected, rel=1e-4)


@each_loss
def test_cold_is_the_limit_of_colder(loss, point):
    field = bo.influence_field(loss, point)
    cold = bo.cold_divergence(loss, point, field, 0.1)
    gaps = [abs(bo.divergence(loss, point, field, 0.1, beta) - cold) for beta in (1e3, 1e4, 1e5)]
    assert gaps[2] < gaps[1] < gaps[0] < 2e-3
    assert gaps[1] / gaps[2] > 5
    assert bo.divergence(loss, point, field, 0.1, np.inf) == cold
    at, p = bo.deepest_minima(loss)
    energy = loss - 0.1 * point
    brute = p @ energy(at + 0.1 * field.value(at)) - energy(bo.GRID).min()
    assert cold == pytest.approx(brute, abs=1e-6)


@same_in_both
def test_the_parabola_is_the_second_order(loss, point):
    field = bo.influence_field(loss, point)
    for c in (0.0, 0.5, 1.3):
        parts = [
            bo.cold_divergence(loss, point, field.times(c), eps) / eps**2
            - bo.leading_divergence(loss, point, c, 1.0)
            for eps in (0.02, 0.01)
        ]
        assert abs(parts[1]) < 0.005
        assert parts[0] == pytest.approx(2 * parts[1], rel=0.1, abs=1e-3)
    with pytest.raises(ValueError, match="differs between the minima"):
        bo.leading_divergence(WELLS, APART, 1.0, 0.1)


def test_the_grid_is_fine_enough():
    fine, field = np.linspace(-2.5, 2.5, 40_001), bo.influence_field(UNEVEN, SQUARE)
    for beta in (5.0, 1e3, 1e5):
        coarse = bo.divergence(UNEVEN, SQUARE, field, 0.1, beta)
        assert coarse == pytest.approx(
            bo.divergence(UNEVEN, SQUARE, field, 0.1, beta, fine), rel=1e-9, abs=1e-13
        )
        assert bo.limit_scale(UNEVEN, SQUARE, field, beta) == pytest.approx(
            bo.limit_scale(UNEVEN, SQUARE, field, beta, fine), rel=1e-10
        )


def test_units_of_the_parameter_do_not_matter():
    beta, eps, unit = 30.0, 0.1, Polynomial([0.3, 2.0])  # theta = 0.3 + 2 phi
    grid = (bo.GRID - 0.3) / 2
    field = bo.straight_field(WELLS, APART)
    other = Field(lambda x: field.value(unit(x)) / 2, lambda x: field.slope(unit(x)))
    expected = bo.divergence(WELLS, APART, field, eps, beta)
    got = bo.divergence(WELLS(unit), APART(unit), other, eps, beta, grid)
    assert got == pytest.approx(expected, rel=1e-9)
    assert bo.best_scale(WELLS(unit), APART(unit), other, eps, beta, grid) == pytest.approx(
        bo.best_scale(WELLS, APART, field, eps, beta), rel=1e-9
    )


def test_curved_coordinates_change_only_the_third_order():
    curved = Polynomial([0, 1, 0.1, 0.2])  # increasing; wells lie elsewhere
    loss, point = WELLS(curved), SQUARE(curved)
    assert bo.scale_offset(loss, point) != pytest.approx(bo.scale_offset(WELLS, SQUARE), rel=0.01)
    for eps, near in ((0.01, 1e-2), (0.001, 1e-3)):
        best = bo.best_scale(loss, point, bo.influence_field(loss, point), eps)
        assert best == pytest.approx(1, abs=near)
    assert bo.leading_divergence(loss, point, 0.0, 1.0) == pytest.approx(
        bo.leading_divergence(WELLS, SQUARE, 0.0, 1.0), rel=1e-6
    )


def test_a_map_that_folds_is_refused():
    for call in (bo.divergence, bo.pushed_density):
        arguments = (WELLS, straight(0.0, -1.0), 1.5, 10.0)
        if call is bo.divergence:
            arguments = (WELLS, SQUARE, *arguments[1:])
        with pytest.raises(ValueError, match="no increasing map"):
            call(*arguments)


# --- the best scale ------------------------------------------------------------------------------


def test_best_scale_of_even_wells_in_closed_form():
    field = bo.influence_field(WELLS, SQUARE)
    for eps in (0.5, 0.1, 1e-3, 1e-6):
        expected = 2 * (np.sqrt(1 + eps) - 1) / eps if eps > 1e-4 else 1 - eps / 4
        assert bo.best_scale(WELLS, SQUARE, field, eps) == pytest.approx(expected, abs=1e-9)
    assert bo.scale_offset(WELLS, SQUARE) == pytest.approx(-0.25)


@each_loss
@pytest.mark.parametrize("beta", [8.0, 300.0, np.inf])
def test_best_scale_by_brute_force(loss, point, beta):
    field, eps = bo.straight_field(loss, point), 0.1
    brute = minimize_scalar(
        lambda c: bo.divergence(loss, point, field.times(c), eps, beta),
        bounds=(0, 2),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert bo.best_scale(loss, point, field, eps, beta) == pytest.approx(brute.x, abs=1e-5)


@same_in_both
def test_limits_of_the_best_scale(loss, point):
    field = bo.straight_field(loss, point)
    slope = (bo.best_scale(loss, point, field, 1e-4) - 1) / 1e-4
    assert slope == pytest.approx(bo.scale_offset(loss, point), rel=1e-3)
    for beta in (6.0, 200.0):
        limit = bo.limit_scale(loss, point, field, beta)
        assert bo.best_scale(loss, point, field, 1e-5, beta) == pytest.approx(limit, abs=1e-5)
        assert abs(limit - 1) > 1e-4


def test_no_best_scale_is_said():
    away = bo.influence_field(WELLS, SQUARE).times(-1)
    with pytest.raises(ValueError, match="no minimum for c in"):
        bo.best_scale(WELLS, SQUARE, away, 0.1)


# --- mass between basins -------------------------------------------------------------------------


def test_floor_of_equal_wells_in_closed_form():
    eps, gap = 0.03, 1.0
    assert bo.basin_floor(WELLS, APART, eps) == pytest.approx(eps * gap / 2)
    for beta in (1.0, 100.0, 1e4):
        expected = np.log(np.cosh(beta * eps * gap / 2)) / beta if beta < 1e4 else eps * gap / 2
        got = bo.basin_floor(WELLS, APART, eps, beta)
        assert got == pytest.approx(expected, rel=0.01 if beta == 1e4 else 1e-9)
    assert bo.basin_floor(UNEVEN, SQUARE, eps) == pytest.approx(0, abs=1e-15)


def test_no_scale_undercuts_the_floor_by_more_than_second_order():
    field = bo.influence_field(WELLS, APART)
    for eps in (0.01, 0.001):
        least = min(
            bo.cold_divergence(WELLS, APART, field.times(c), eps) for c in np.linspace(0, 2, 21)
        )
        assert least == pytest.approx(bo.basin_floor(WELLS, APART, eps), abs=0.5 * eps**2)


def test_exact_field_of_a_gaussian_law():
    h, q, beta, x = 3.0, 0.8, 20.0, np.abs(bo.GRID) < 1
    loss = Polynomial([0, 0, h / 2])
    shift = bo.transport_field(loss, Polynomial([0, q]), beta)
    np.testing.assert_allclose(shift[x], q / h, rtol=2e-4)  # sums up to a point
    widening = bo.transport_field(loss, Polynomial([0, 0, q / 2]), beta)
    np.testing.assert_allclose(widening[x], q / h / 2 * bo.GRID[x], rtol=1e-3, atol=1e-6)


def test_exact_field_conserves_mass():
    beta, eps = 10.0, 1e-4
    p = bo.density(WELLS, beta)
    plus, minus = (bo.density(WELLS - sign * eps * APART, beta) for sign in (1, -1))
    change = (plus - minus) / (2 * eps)
    flow = np.nan_to_num(bo.transport_field(WELLS, APART, beta)) * p
    np.testing.assert_allclose(-np.gradient(flow, bo.GRID), change, atol=1e-3 * abs(change).max())


# --- optimal transport ---------------------------------------------------------------------------


def normal(mean, sd):
    x = np.linspace(-8, 8, 20_001) * sd + mean
    return x, np.exp(-(((x - mean) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))


def test_w2_of_normal_laws():
    a, b = normal(0.3, 1.0), normal(-0.2, 1.5)
    assert bo.wasserstein(a, b) == pytest.approx(np.hypot(0.5, 0.5), rel=1e-4)
    assert bo.wasserstein(a, a) == 0
    assert bo.wasserstein(a, b) == bo.wasserstein(a, b, n=200_000)
    assert bo.wasserstein((a[0] + 3, a[1]), (b[0] + 3, b[1])) == pytest.approx(
        bo.wasserstein(a, b), rel=1e-12
    )
