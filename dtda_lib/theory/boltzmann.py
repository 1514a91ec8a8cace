"""Boltzmann laws of one parameter, and how well a map carries one onto another, by quadrature.

P_eps is proportional to `exp(-beta (L - eps * loss_k))`: beta is the inverse temperature, eps = 0
keeps the point k and eps = 1/N removes it. A field r gives the map `T(theta) = theta + eps
r(theta)`, and `F(r, eps) = KL(T # P_0 || P_eps) / beta`, in units of the loss, says how far the law
that is moved misses the law without the point. Losses are polynomials, so slopes and minima are
exact; everything is in float64, and no density is ever formed without its logarithm. Integrals are
trapezoid sums over an even grid, which converge faster than any power of its spacing.

Source: arXiv 2506.12965, section 3.2 and Theorem 3; the formulas at beta = infinity, the limits and
the floor are derived from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from scipy.optimize import brentq
from scipy.special import logsumexp

GRID = np.linspace(-2.5, 2.5, 10_001)
"""Where integrals are taken, `(point,)`: fine enough up to an inverse temperature of 1e6."""
SAME_PLACE = 1e-9
"""Minima whose losses differ by less are equally deep."""


@dataclass(frozen=True)
class Field:
    """A field r, `theta -> r(theta)`, in parameter units per unit of eps, and its slope r'."""

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]

    def times(self, factor: float) -> "Field":
        """The field `factor * r`."""
        return Field(lambda x: factor * self.value(x), lambda x: factor * self.slope(x))


# --- minima, and the law at zero temperature ------------------------------------------------------


def deepest_minima(loss: Polynomial) -> tuple[np.ndarray, np.ndarray]:
    """Global minima and the mass `(minimum,)` of each at zero temperature, by Laplace's method.

    The masses are proportional to the inverse root of the curvature. `ValueError`: a loss without
    a minimum of positive curvature.
    """
    roots = loss.deriv().roots()
    real = np.sort(roots[abs(roots.imag) < SAME_PLACE].real)
    curvature = loss.deriv(2)
    real = real[curvature(real) > SAME_PLACE]
    if not len(real):
        raise ValueError("deepest_minima: the loss has no minimum of positive curvature.")
    found = real[loss(real) < loss(real).min() + SAME_PLACE]
    mass = curvature(found) ** -0.5
    return found, mass / mass.sum()


def influence_field(loss: Polynomial, point: Polynomial) -> Field:
    """A bounded, smooth field that equals the influence function `loss_k' / L''` at the minima.

    Between two minima it follows a sine, beyond one or if there is one only it is that sine or a
    constant: Theorem 3 asks for the values at the global minima and leaves the rest free.
    `ValueError`: more than two global minima.
    """
    minima, _ = deepest_minima(loss)
    return through(minima, point.deriv()(minima) / loss.deriv(2)(minima))


def through(at: np.ndarray, values: np.ndarray) -> Field:
    """A bounded smooth field with `values` at one or two places, `(place,)` each.

    `ValueError`: more than two places.
    """
    if len(at) > 2:
        raise ValueError(f"a field through {len(at)} places is not built, give one or two.")
    middle, rise = values.mean(), (values[-1] - values[0]) / 2
    centre, rate = at.mean(), np.pi / np.ptp(at) if len(at) == 2 else 0.0
    return Field(
        lambda x: middle + rise * np.sin(rate * (x - centre)),
        lambda x: rise * rate * np.cos(rate * (x - centre)),
    )


def straight_field(loss: Polynomial, point: Polynomial) -> Field:
    """Another field that equals the influence function at the minima: locally `loss_k' / L''`.

    Its slope at each minimum is that of `loss_k'(theta) / L''(theta)` there, which is what is used
    when an influence function is evaluated at every sample. Bounded: slopes fade like a Gaussian.
    """
    base, (minima, _) = influence_field(loss, point), deepest_minima(loss)
    h, third = loss.deriv(2)(minima), loss.deriv(3)(minima)
    slopes = point.deriv(2)(minima) / h - point.deriv()(minima) * third / h**2
    width = np.ptp(minima) / 8 if len(minima) > 1 else 1.0

    def bumps(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = np.asarray(x)[..., None] - minima  # (..., minimum)
        return away, np.exp(-((away / width) ** 2) / 2)

    def value(x: np.ndarray) -> np.ndarray:
        away, bump = bumps(x)
        return base.value(x) + (slopes * away * bump).sum(axis=-1)

    def slope(x: np.ndarray) -> np.ndarray:
        away, bump = bumps(x)
        return base.slope(x) + (slopes * (1 - (away / width) ** 2) * bump).sum(axis=-1)

    return Field(value, slope)


def _tilted(loss: Polynomial, point: Polynomial, eps: float) -> Polynomial:
    return loss - eps * point


def cold_divergence(loss: Polynomial, point: Polynomial, field: Field, eps: float) -> float:
    """F(r, eps) at beta = infinity: how far above the new minimum the old minima are carried.

    In units of the loss, >= 0. The entropy of the laws does not count at zero temperature, so
    `F = E_{P_0}[E_eps(T theta)] - min E_eps` with `E_eps = L - eps loss_k`.
    """
    minima, mass = deepest_minima(loss)
    energy = _tilted(loss, point, eps)
    lowest, _ = deepest_minima(energy)
    return float(mass @ energy(minima + eps * field.value(minima)) - energy(lowest).min())


def leading_divergence(loss: Polynomial, point: Polynomial, c: float, eps: float) -> float:
    """F of c times the influence function at beta = infinity, to second order in eps; loss units.

    With `g = loss_k'^2 / L''` at each minimum, `eps^2 ((c^2/2 - c) E[g] + max(g)/2)`: a parabola
    with its minimum at c = 1, 0 there only if g is the same at all minima. `ValueError`: minima at
    which loss_k differs, where F is of first order (`basin_floor`).
    """
    at, p = deepest_minima(loss)
    if np.ptp(point(at)) > SAME_PLACE:
        raise ValueError("leading_divergence: loss_k differs between the minima.")
    g = point.deriv()(at) ** 2 / loss.deriv(2)(at)
    return float(eps**2 * ((c**2 / 2 - c) * (p @ g) + g.max() / 2))


def divergence(
    loss: Polynomial,
    point: Polynomial,
    field: Field,
    eps: float,
    beta: float,
    grid: np.ndarray = GRID,
) -> float:
    """F(r, eps) at a finite inverse temperature: `KL(T # P_0 || P_eps) / beta`, by quadrature.

    By change of variables `KL = E_{P_0}[log p_0 - log(1 + eps r') - log p_eps(T theta)]`. In units
    of the loss, >= 0. `beta = inf` gives `cold_divergence`. `ValueError`: T is not increasing.
    """
    if np.isinf(beta):
        return cold_divergence(loss, point, field, eps)
    jacobian = _jacobian(field, eps, grid)
    energy = _tilted(loss, point, eps)
    before, log_z0 = _log_density(loss, beta, grid)
    _, log_z = _log_density(energy, beta, grid)
    p = _weights(before, grid)
    moved = energy(grid + eps * field.value(grid)) - loss(grid)
    return float(p @ (moved - np.log(jacobian) / beta) + (log_z - log_z0) / beta)


def density(energy: Polynomial, beta: float, grid: np.ndarray = GRID) -> np.ndarray:
    """Density `(point,)` of the law proportional to `exp(-beta energy)`, per parameter unit."""
    return np.exp(_log_density(energy, beta, grid)[0])


def pushed_density(
    loss: Polynomial, field: Field, eps: float, beta: float, grid: np.ndarray = GRID
) -> tuple[np.ndarray, np.ndarray]:
    """The law of `T(theta)` with theta ~ P_0: places `(point,)`, and the density there.

    `ValueError`: T is not increasing.
    """
    jacobian = _jacobian(field, eps, grid)
    return grid + eps * field.value(grid), density(loss, beta, grid) / jacobian


def _jacobian(field: Field, eps: float, grid: np.ndarray) -> np.ndarray:
    jacobian = 1 + eps * field.slope(grid)
    if jacobian.min() <= 0:
        raise ValueError(f"theta + {eps:g} r(theta) is no increasing map: eps or r is too large.")
    return jacobian


def _log_density(energy: Polynomial, beta: float, grid: np.ndarray) -> tuple[np.ndarray, float]:
    """Log density and log normaliser."""
    log = -beta * energy(grid)
    log_z = float(logsumexp(log) + np.log(grid[1] - grid[0]))
    return log - log_z, log_z


def _weights(log_density: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Probabilities of the grid's points, which vanish at its ends."""
    return np.exp(log_density) * (grid[1] - grid[0])


# --- the best scale of a field --------------------------------------------------------------------


def best_scale(
    loss: Polynomial,
    point: Polynomial,
    field: Field,
    eps: float,
    beta: float = np.inf,
    grid: np.ndarray = GRID,
) -> float:
    """c* in 0..2: the factor with which `c * r` brings F to its minimum; no unit.

    The root of the derivative of F in c, which keeps all digits where the minimum of F itself
    would lose half of them. `ValueError`: no root in 0..2.
    """
    slope = _tilted(loss, point, eps).deriv()
    if np.isinf(beta):
        at, p = deepest_minima(loss)
    else:
        at, p = grid, _weights(_log_density(loss, beta, grid)[0], grid)
    r, steep = field.value(at), 0.0 if np.isinf(beta) else field.slope(at) / beta

    def derivative(c: float) -> float:
        """dF/dc over eps."""
        return float(p @ (r * slope(at + eps * c * r) - steep / (1 + eps * c * field.slope(at))))

    if derivative(0) * derivative(2) > 0:
        raise ValueError(f"best_scale: F has no minimum for c in 0..2 at eps = {eps:g}.")
    return float(brentq(derivative, 0, 2, xtol=1e-14))


def limit_scale(
    loss: Polynomial, point: Polynomial, field: Field, beta: float, grid: np.ndarray = GRID
) -> float:
    """c* as eps -> 0 at a finite beta: `E[r loss_k'] / (E[r^2 L''] + E[r'^2] / beta)` over P_0.

    The part of F of first order in eps vanishes, because `E[r L'] = E[r'] / beta` by parts; this
    is the minimum of the second order.
    """
    p = _weights(_log_density(loss, beta, grid)[0], grid)
    r, steep = field.value(grid), field.slope(grid)
    stiff = p @ (r**2 * loss.deriv(2)(grid) + steep**2 / beta)
    return float(p @ (r * point.deriv()(grid)) / stiff)


def transport_field(
    loss: Polynomial, point: Polynomial, beta: float, grid: np.ndarray = GRID
) -> np.ndarray:
    """The field `(point,)` that carries P_0 along exactly, to first order in eps, at this beta.

    Mass is conserved, so `p r = -beta integral of (loss_k - E[loss_k]) p` up to theta. Where basins
    exchange mass it has to cross the barrier between them, and r there is as large as 1 / p. NaN
    where p is below 1e-200 of its top.
    """
    log = _log_density(loss, beta, grid)[0]
    p = _weights(log, grid)
    flow = (point(grid) - p @ point(grid)) * p
    # Each half is summed from its own end: the far tail would be a difference of rounding errors.
    left = np.cumsum(flow) - flow / 2
    right = np.cumsum(flow[::-1])[::-1] - flow / 2
    near = np.cumsum(p) < 0.5
    known = log > log.max() - 460
    total = np.where(near, left, -right)
    return np.where(known, -beta * total / np.where(known, p, 1.0), np.nan) * (grid[1] - grid[0])


def scale_offset(loss: Polynomial, point: Polynomial) -> float:
    """Slope of c* in eps at eps = 0 and beta = infinity, for the influence function itself.

    With third derivatives: `-(E[L''' r^3] / 2 - E[loss_k'' r^2]) / E[L'' r^2]`, E over the masses
    of the minima.
    """
    at, p = deepest_minima(loss)
    h = loss.deriv(2)(at)
    r = point.deriv()(at) / h
    bend = p @ (loss.deriv(3)(at) * r**3 / 2 - point.deriv(2)(at) * r**2)
    return float(-bend / (p @ (h * r**2)))


# --- mass between basins --------------------------------------------------------------------------


def basin_floor(loss: Polynomial, point: Polynomial, eps: float, beta: float = np.inf) -> float:
    """What no map that keeps each basin's mass can undercut, to first order in eps; loss units.

    At beta = infinity `eps (max loss_k - E_{P_0}[loss_k])`, over the global minima. At a finite
    beta the KL over beta from the masses before to those tilted by `exp(beta eps loss_k)`.
    """
    at, p = deepest_minima(loss)
    lift = eps * point(at)
    if np.isinf(beta):
        return float(lift.max() - p @ lift)
    return float(logsumexp(beta * lift, b=p) / beta - p @ lift)


# --- optimal transport ----------------------------------------------------------------------------


def quantiles(places: np.ndarray, height: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Quantiles `(level,)` of a density given at increasing places `(point,)`."""
    steps = np.diff(places) * (height[1:] + height[:-1]) / 2
    cumulated = np.concatenate([[0.0], np.cumsum(steps)])
    rising = np.concatenate([[True], np.diff(cumulated) > 0])
    return np.interp(levels, cumulated[rising] / cumulated[-1], places[rising])


def wasserstein(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], n: int = 200_000
) -> float:
    """W2 between two densities `(places, height)`, in parameter units: the root mean square
    distance of equal quantiles, at n even levels."""
    levels = (np.arange(n) + 0.5) / n
    gap = quantiles(*first, levels) - quantiles(*second, levels)
    return float(np.sqrt((gap**2).mean()))
