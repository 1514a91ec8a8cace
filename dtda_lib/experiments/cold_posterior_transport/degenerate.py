"""Theorem 3 with minima that form a manifold, where the pseudo-inverse is needed.

All numbers are exact but for rounding; see `theory.spheres`. F in units of the loss.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from dtda_lib.theory.spheres import Profile, Sphere

from .maps import COLD, EPSILONS

SPHERES = {
    "ring": Sphere(2, bend=1.0, level=1.0, slant=-0.5),
    "sphere": Sphere(3, bend=1.0, level=1.0, slant=-0.5),
    "ten dimensions": Sphere(10, bend=1.0, level=1.0, slant=-0.5),
}
"""Curvature and the slope of loss_k change along the minima; loss_k does not."""
TILTED = Sphere(2, bend=1.0, level=1.0, slant=-0.5, tilt=0.5)
"""The ring with a loss_k that differs along it: assumption A4 is broken."""
DAMPING = 0.5  # a quarter to a half of the curvatures 1 to 2


def profiles(sphere: Sphere) -> dict[str, Profile]:
    """Fields to compare with, by how far they move a minimum outwards.

    "damped" has an inverse with a ridge, "one curvature" the mean Hessian in the place of each
    minimum's own, "gradient" the one step along grad loss_k that is best.
    """
    u, mass = sphere.minima()
    curvature = 1 + sphere.bend * u**2
    pull = curvature * sphere.influence(u)
    rate = (mass @ pull**2) / (mass @ (curvature * pull**2))

    def bent(x: np.ndarray) -> np.ndarray:
        return 1 + sphere.bend * x**2

    def times(factor: Callable[[np.ndarray], np.ndarray | float]) -> Profile:
        return lambda x: factor(x) * sphere.influence(x)

    return {
        "influence": times(lambda x: 1.0),
        "nothing": times(lambda x: 0.0),
        "damped": times(lambda x: bent(x) / (bent(x) + DAMPING)),
        "one curvature": times(lambda x: bent(x) / (mass @ curvature)),
        "gradient": times(lambda x: rate * bent(x)),
        "0.9 r": times(lambda x: 0.9),
        "1.1 r": times(lambda x: 1.1),
    }


def sphere_scale_table(epsilons: Sequence[float] = EPSILONS) -> pd.DataFrame:
    """c* of the pseudo-inverse influence at zero temperature: `case, eps, best, offset`."""
    rows = [
        (name, eps, best, best - 1)
        for name, sphere in SPHERES.items()
        for eps in epsilons
        for best in [sphere.best_scale(sphere.influence, eps)]
    ]
    return pd.DataFrame(rows, columns=["case", "eps", "best", "offset"])


def sphere_cold_table(betas: Sequence[float], eps: float = EPSILONS[-1]) -> pd.DataFrame:
    """The same at finite temperatures: `case, beta, best, left`; `left` is F over that of no
    change."""
    rows = []
    for name, sphere in SPHERES.items():
        for beta in betas:
            best = sphere.best_scale(sphere.influence, eps, beta)
            moved, nothing = (
                sphere.divergence(profile, eps, beta)
                for profile in (sphere.influence, lambda u: 0.0 * u)
            )
            rows.append((name, beta, best, moved / nothing))
    return pd.DataFrame(rows, columns=["case", "beta", "best", "left"])


def sphere_rival_table(epsilons: Sequence[float] = EPSILONS) -> pd.DataFrame:
    """F over eps^2 at zero temperature: `case, field, eps, f, limit`.

    `limit`: derived, as eps -> 0. "with a null part" is the influence function with a part along
    the manifold as long as itself.
    """
    rows = []
    for name, sphere in SPHERES.items():
        u, mass = sphere.minima()
        length = float(np.sqrt(mass @ sphere.influence(u) ** 2))
        fields = {key: (profile, 0.0) for key, profile in profiles(sphere).items()}
        fields["with a null part"] = (sphere.influence, length)
        for field, (profile, along) in fields.items():
            limit = sphere.leading(profile)
            for eps in epsilons:
                f = sphere.cold_divergence(profile, eps, along) / eps**2
                rows.append((name, field, eps, f, limit))
    return pd.DataFrame(rows, columns=["case", "field", "eps", "f", "limit"])


def tilt_table(epsilons: Sequence[float] = EPSILONS) -> pd.DataFrame:
    """A4 broken on the ring, at zero temperature: `eps, nothing, influence, best, c, floor`."""
    rows = []
    for eps in epsilons:
        c = TILTED.best_scale(TILTED.influence, eps, COLD)
        scales = {"nothing": 0.0, "influence": 1.0, "best": c}
        found = {
            key: TILTED.cold_divergence(lambda u, c=c: c * TILTED.influence(u), eps)
            for key, c in scales.items()
        }
        rows.append((eps, *found.values(), c, TILTED.floor(eps)))
    return pd.DataFrame(rows, columns=["eps", "nothing", "influence", "best", "c", "floor"])
