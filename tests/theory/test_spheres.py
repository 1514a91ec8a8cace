"""Spheres of minima against brute force in plain coordinates, closed forms and derived limits."""

import numpy as np
import pytest
from scipy.optimize import minimize

from dtda_lib.theory.spheres import Sphere

BENT = {"bend": 1.0, "level": 1.0, "slant": -0.5}


def loss(sphere, theta):
    """L of theta `(..., parameter)`, written once more."""
    s = (theta**2).sum(-1) - 1
    return (1 + sphere.bend * theta[..., 0] ** 2) * s**2 / 8


def point(sphere, theta):
    s, u = (theta**2).sum(-1) - 1, theta[..., 0]
    return (sphere.level + sphere.slant * u**2) * s / 2 + sphere.tilt * u


def derivatives(f, theta, h=1e-4):
    """Gradient and Hessian at theta `(parameter,)` by central differences."""
    n, step = len(theta), np.eye(len(theta)) * h
    gradient = np.array([(f(theta + e) - f(theta - e)) / (2 * h) for e in step])
    hessian = np.empty((n, n))
    for i, j in np.ndindex(n, n):
        a, b = step[i], step[j]
        corners = f(theta + a + b) - f(theta + a - b) - f(theta - a + b) + f(theta - a - b)
        hessian[i, j] = corners / (4 * h * h)
    return gradient, hessian


@pytest.mark.parametrize("dimension", [2, 3, 10])
@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_the_influence_is_the_pseudo_inverse_times_the_gradient(dimension, tilt):
    sphere = Sphere(dimension, **BENT, tilt=tilt)
    theta = np.random.default_rng(0).standard_normal(dimension)
    theta /= np.linalg.norm(theta)
    _, hessian = derivatives(lambda t: loss(sphere, t), theta)
    gradient, _ = derivatives(lambda t: point(sphere, t), theta)
    assert np.linalg.matrix_rank(hessian, tol=1e-4) == 1
    expected = np.linalg.pinv(hessian, rcond=1e-4, hermitian=True) @ gradient
    np.testing.assert_allclose(sphere.influence(theta[:1]) * theta, expected, atol=1e-4)
    outward = theta @ derivatives(lambda t: loss(sphere, t) - 0.1 * point(sphere, t), theta)[0]
    assert sphere._outward(theta[0], np.float64(1), 0.1) == pytest.approx(outward, abs=1e-7)


@pytest.mark.parametrize("dimension", [2, 3])
def test_cold_masses_are_those_of_many_draws(dimension):
    """The cold law by importance weights of even draws on the sphere."""
    sphere = Sphere(dimension, bend=3.0)
    theta = np.random.default_rng(1).standard_normal((200_000, dimension))
    theta /= np.linalg.norm(theta, axis=1, keepdims=True)
    weight = (1 + 3 * theta[:, 0] ** 2) ** -0.5
    u, mass = sphere.minima()
    assert mass @ u**2 == pytest.approx(np.average(theta[:, 0] ** 2, weights=weight), abs=3e-3)


@pytest.mark.parametrize("eps", [0.3, 0.01, -0.1])
def test_an_even_sphere_has_a_closed_form(eps):
    """Without bend or slant minima move to radius sqrt(1 + 2 eps)."""
    sphere = Sphere(3)
    expected = (np.sqrt(1 + 2 * eps) - 1) / eps
    assert sphere.best_scale(sphere.influence, eps) == pytest.approx(expected, abs=1e-12)
    assert sphere.lowest(eps) == pytest.approx(-(eps**2) / 2, abs=1e-12)
    left = sphere.cold_divergence(lambda u: expected * sphere.influence(u), eps)
    assert left == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("eps", [0.3, -0.2])
def test_the_lowest_point_is_that_of_a_search_in_plain_coordinates(eps):
    sphere = Sphere(3, **BENT, tilt=0.4)
    starts = np.random.default_rng(2).standard_normal((10, 3))
    found = [minimize(lambda t: loss(sphere, t) - eps * point(sphere, t), at) for at in starts]
    assert sphere.lowest(eps) == pytest.approx(min(one.fun for one in found), abs=1e-8)


def test_divergence_is_that_of_a_grid_in_plain_coordinates():
    """KL of the moved law on a ring, integrated over the plane with a Jacobian by differences."""
    sphere, eps, beta = Sphere(2, **BENT, tilt=0.3), 0.1, 30.0
    axis = np.linspace(-2.2, 2.2, 881)
    theta = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)

    def move(t):
        u = t[..., 0] / np.maximum(np.linalg.norm(t, axis=-1), 1e-9)
        return t * (1 + eps * sphere.influence(u))[..., None]

    h = 1e-5
    columns = [(move(theta + e) - move(theta - e)) / (2 * h) for e in np.eye(2) * h]
    jacobian = columns[0][..., 0] * columns[1][..., 1] - columns[0][..., 1] * columns[1][..., 0]

    def log_density(t, energy_eps):
        return -beta * (loss(sphere, t) - energy_eps * point(sphere, t))

    cell = (axis[1] - axis[0]) ** 2
    z0, z = (np.exp(log_density(theta, e)).sum() * cell for e in (0.0, eps))
    p = np.exp(log_density(theta, 0.0)) / z0 * cell
    kl = p * (log_density(theta, 0.0) - np.log(jacobian) - log_density(move(theta), eps))
    kept = p > 1e-14  # the centre, where the field has a kink, holds no mass
    expected = (kl[kept].sum() + np.log(z / z0)) / beta
    assert sphere.divergence(sphere.influence, eps, beta) == pytest.approx(expected, rel=2e-3)


def test_the_best_scale_brings_divergence_to_its_minimum():
    for sphere, beta in ((Sphere(3, **BENT), np.inf), (Sphere(2, **BENT), 100.0)):
        best = sphere.best_scale(sphere.influence, 0.1, beta)

        def f(c, sphere=sphere, beta=beta):
            def profile(u):
                return c * sphere.influence(u)

            cold = np.isinf(beta)
            return (
                sphere.cold_divergence(profile, 0.1)
                if cold
                else sphere.divergence(profile, 0.1, beta)
            )

        assert f(best) < min(f(best - 0.01), f(best + 0.01))
    cold, warm = (
        Sphere(2, **BENT).best_scale(Sphere(2, **BENT).influence, 0.01, b) for b in (np.inf, 1e4)
    )
    assert warm == pytest.approx(cold, abs=0.02)


@pytest.mark.parametrize("dimension", [2, 10])
def test_divergences_tend_to_their_leading_order(dimension):
    sphere = Sphere(dimension, **BENT)
    for factor in (0.0, 0.5, 1.0):

        def profile(u, factor=factor):
            return factor * sphere.influence(u)

        found = sphere.cold_divergence(profile, 1e-3) / 1e-6
        assert found == pytest.approx(sphere.leading(profile), rel=3e-3)
    # A part along the sphere does not count; as much outwards would.
    along = sphere.cold_divergence(sphere.influence, 1e-3, along=1.0) / 1e-6
    assert along == pytest.approx(sphere.leading(sphere.influence), rel=3e-3)


def test_a_tilt_leaves_a_floor_of_first_order():
    sphere = Sphere(2, **BENT, tilt=0.5)
    best = sphere.best_scale(sphere.influence, 1e-3)
    found = sphere.cold_divergence(lambda u: best * sphere.influence(u), 1e-3)
    assert found == pytest.approx(sphere.floor(1e-3), rel=5e-3)
    with pytest.raises(ValueError, match="differs along the minima"):
        sphere.leading(sphere.influence)


@pytest.mark.parametrize("wrong", [{"dimension": 1}, {"dimension": 2, "bend": -1.0}])
def test_impossible_spheres_are_refused(wrong):
    with pytest.raises(ValueError, match="a sphere needs"):
        Sphere(**wrong)
    with pytest.raises(ValueError, match="no minimum"):
        Sphere(2).best_scale(lambda u: -1.0 + 0 * u, 0.1)
