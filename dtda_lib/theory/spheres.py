"""Theorem 3 where the minima form a manifold: losses whose minima are the unit sphere.

In d dimensions, with s = |theta|^2 - 1 and u the first coordinate,

    L = (1 + bend u^2) s^2 / 8,    loss_k = (level + slant u^2) s / 2 + tilt u.

Every point of the unit sphere is a minimum of L. Its Hessian there is `(1 + bend u^2) theta
theta^T`: rank 1, so that d - 1 directions are flat and the influence function needs the pseudo-
inverse. With tilt = 0 the gradient of loss_k lies in its span (assumption A4), and r_IF = f theta
with `f = (level + slant u^2) / (1 + bend u^2)`; a tilt breaks A4.

Everything depends on u and the radius alone, so that laws are integrals over two numbers whatever
d is, to rounding by Gauss quadrature. eps, F and units are those of `boltzmann`.

Source: arXiv 2506.12965, Theorem 3; these losses, Laplace's method on the sphere and the orders in
eps are derived from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp, roots_jacobi

N_ANGLES = 200
RADII = np.linspace(0.0, 2.5, 4_001)[1:]
"""Where integrals over the radius are taken: fine enough up to an inverse temperature of 1e5."""
Profile = Callable[[np.ndarray], np.ndarray]
"""u of a point of the sphere -> how far, in units of theta itself, a field moves the point out."""


@dataclass(frozen=True)
class Sphere:
    """The loss and the loss of the removed point; see the module.

    Raises:
        ValueError: fewer than two dimensions, or a bend that lets the curvature vanish.
    """

    dimension: int
    bend: float = 0.0
    level: float = 1.0
    slant: float = 0.0
    tilt: float = 0.0

    def __post_init__(self) -> None:
        if self.dimension < 2 or self.bend <= -1:
            raise ValueError(
                f"a sphere needs two dimensions or more and a bend above -1, not {self.dimension} "
                f"and {self.bend:g}."
            )

    # --- the losses, in (u, |theta|^2) ---

    def loss(self, u: np.ndarray, square: np.ndarray) -> np.ndarray:
        """L at first coordinate u and squared length `square`."""
        return (1 + self.bend * u**2) * (square - 1) ** 2 / 8

    def point(self, u: np.ndarray, square: np.ndarray) -> np.ndarray:
        """loss_k there."""
        return (self.level + self.slant * u**2) * (square - 1) / 2 + self.tilt * u

    def influence(self, u: np.ndarray) -> np.ndarray:
        """f: the pseudo-inverse influence function is f theta. Of the part of the gradient that the
        Hessian spans; a tilt adds `tilt u` to that."""
        return (self.level + (self.slant * u + self.tilt) * u) / (1 + self.bend * u**2)

    # --- the cold law ---

    def minima(self) -> tuple[np.ndarray, np.ndarray]:
        """Gauss nodes u `(node,)` on the sphere and the mass `(node,)` of the cold law at each.

        Laplace's method: in proportion to the inverse root of the only curvature across the sphere.
        """
        power = (self.dimension - 3) / 2
        u, weight = roots_jacobi(N_ANGLES, power, power)
        mass = weight / np.sqrt(1 + self.bend * u**2)
        return u, mass / mass.sum()

    def lowest(self, eps: float) -> float:
        """The least of `L - eps loss_k` over all of space.

        Along a direction of first coordinate t it is a function of the radius alone, whose minimum
        near 1 is found to rounding; then the best direction.
        """

        def least(t: float) -> float:
            def energy(radius: float) -> float:
                u, square = t * radius, radius**2
                return float(self.loss(u, square) - eps * self.point(u, square))

            reach = 4 * abs(eps) * (abs(self.level) + abs(self.slant) + abs(self.tilt)) + 1e-9
            found = minimize_scalar(
                energy, bounds=(max(1 - reach, 0.0), 1 + reach), options={"xatol": 1e-13},
                method="bounded",
            )  # fmt: skip
            return float(found.fun)

        ts = np.linspace(-1, 1, 401)
        values = np.array([least(t) for t in ts])
        best = ts[values.argmin()]
        ends = max(best - 0.005, -1), min(best + 0.005, 1)
        inner = minimize_scalar(least, bounds=ends, method="bounded", options={"xatol": 1e-10})
        return float(min(values.min(), inner.fun))

    def cold_divergence(self, profile: Profile, eps: float, along: float = 0.0) -> float:
        """F of the field `profile(u) theta` at zero temperature, in units of the loss.

        Args:
            profile: How far each point is moved out of the sphere.
            eps: Size of the removal.
            along: Length of a part of the field along the sphere, towards larger u; it vanishes
                nowhere but at the poles, and Theorem 3 leaves it free.
        """
        u, mass = self.minima()
        # (first coordinate, length of the others) of theta, of theta out, and along the sphere.
        across = np.sqrt(np.maximum(1 - u**2, 0.0))
        out, side = eps * profile(u), eps * along
        first, others = u * (1 + out) + side * across, across * (1 + out) - side * u
        square = first**2 + others**2
        energy = self.loss(first, square) - eps * self.point(first, square)
        return float(mass @ energy - self.lowest(eps))

    def leading(self, profile: Profile) -> float:
        """F / eps^2 as eps -> 0: `max(g) / 2 + E[curvature (f' - f)^2 - g] / 2`, g = curvature f^2.

        Raises:
            ValueError: a tilt, with which F is of first order (`floor`).
        """
        if self.tilt:
            raise ValueError("Sphere.leading: loss_k differs along the minima.")
        u, mass = self.minima()
        curvature, f = 1 + self.bend * u**2, self.influence(u)
        ends = np.array([0.0, 1.0])
        g = (1 + self.bend * ends**2) * self.influence(ends) ** 2
        g_all = curvature * f**2
        return float(
            max(g.max(), g_all.max()) / 2
            + mass @ (curvature * (profile(u) - f) ** 2 - g_all) / 2
        )  # fmt: skip

    def floor(self, eps: float) -> float:
        """What no map of order eps can undercut: `eps (max loss_k - E[loss_k])` on the sphere."""
        u, mass = self.minima()
        return float(eps * (abs(self.tilt) - mass @ (self.tilt * u)))

    # --- the best scale ---

    def best_scale(self, profile: Profile, eps: float, beta: float = np.inf) -> float:
        """c* in 0..2: the factor of `profile(u) theta` that brings F to its minimum.

        The root of the derivative of F in c. At a finite inverse temperature beta the field is
        `profile(u / |theta|) theta` everywhere, whose Jacobian is `(1 + eps c f)^d`.

        Raises:
            ValueError: no root in 0..2.
        """
        u, square, mass = self._law(beta)
        f = profile(u / np.sqrt(square))

        def derivative(c: float) -> float:
            """dF/dc over eps."""
            grown = 1 + eps * c * f
            first, length = u * grown, square * grown**2
            slope = self._outward(first, length, eps) / grown  # along theta, not T theta
            heat = 0.0 if np.isinf(beta) else self.dimension / beta / grown
            return float(mass @ (f * (slope - heat)))

        if derivative(0) * derivative(2) > 0:
            raise ValueError(f"best_scale: F has no minimum for c in 0..2 at eps = {eps:g}.")
        return float(brentq(derivative, 0, 2, xtol=1e-14))

    def _outward(self, u: np.ndarray, square: np.ndarray, eps: float) -> np.ndarray:
        """`theta . grad (L - eps loss_k)` at first coordinate u and squared length."""
        s, b, c = square - 1, self.bend * u**2, self.slant * u**2
        loss = b * s**2 / 4 + (1 + b) * s * square / 2
        point = c * s + (self.level + c) * square + self.tilt * u
        return loss - eps * point

    def divergence(self, profile: Profile, eps: float, beta: float) -> float:
        """F of the field `profile(u / |theta|) theta` at a finite inverse temperature."""
        u, square, mass = self._law(beta)
        grown = 1 + eps * profile(u / np.sqrt(square))
        first, length = u * grown, square * grown**2
        moved = self.loss(first, length) - eps * self.point(first, length) - self.loss(u, square)
        lift = float(logsumexp(beta * eps * self.point(u, square), b=mass)) / beta
        return float(mass @ (moved - self.dimension * np.log(grown) / beta) + lift)

    def _law(self, beta: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """u, squared length and mass `(node,)` of the law before the removal."""
        nodes, mass = self.minima()
        if np.isinf(beta):
            return nodes, np.ones_like(nodes), mass
        power = (self.dimension - 3) / 2
        t, weight = roots_jacobi(N_ANGLES, power, power)
        u, square = t[:, None] * RADII, np.broadcast_to(RADII**2, (len(t), len(RADII)))
        log = -beta * self.loss(u, square) + (self.dimension - 1) * np.log(RADII)
        p = weight[:, None] * np.exp(log - log.max())
        return u.ravel(), square.ravel(), (p / p.sum()).ravel()
