"""Notebook 07: the influence function as a map between cold Boltzmann laws of one parameter.

All numbers are exact but for rounding (quadrature, closed forms): no seeds, no intervals. F is
`KL(T # P_0 || P_eps) / beta` in units of the loss. The losses are our choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial

from dtda_lib.theory import boltzmann as bo
from dtda_lib.theory.boltzmann import Field

EPSILONS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
COLD = np.inf


@dataclass(frozen=True)
class Case:
    """A training loss and the loss of the point that is removed, both of one parameter."""

    loss: Polynomial
    point: Polynomial
    title: str

    @property
    def influence(self) -> Field:
        """The influence function, continued between the minima."""
        return bo.influence_field(self.loss, self.point)


_WELLS = Polynomial([-1, 0, 1]) ** 2 / 4  # (theta^2 - 1)^2 / 4
_SQUARE = Polynomial([0, 0, 0.5])
CASES = {
    "even": Case(_WELLS, _SQUARE, "equal wells, same loss in both"),
    "uneven": Case(
        _WELLS * (1 + Polynomial([1, 1]) ** 2 / 4), _SQUARE, "wide and narrow well, same loss"
    ),
    "apart": Case(_WELLS, Polynomial([-0.5, 1]) ** 2 / 2, "equal wells, different loss"),
}
"""even: T10, `L = (theta^2 - 1)^2 / 4` and `loss_k = theta^2 / 2`. uneven: the same with the right
well twice as curved. apart: T11, `loss_k = (theta - 1/2)^2 / 2`, so 1/8 and 9/8 in the wells."""


def exact_even_scale(eps: float) -> float:
    """c* of the case "even" at zero temperature: minima move to +-sqrt(1 + eps)."""
    return 2 * (np.sqrt(1 + eps) - 1) / eps


def wells_table() -> pd.DataFrame:
    """Each case's minima: `mass` at zero temperature, curvature, loss_k there, `r` (influence)."""
    rows = []
    for name, case in CASES.items():
        at, mass = bo.deepest_minima(case.loss)
        for place, share in zip(at, mass):
            curvature = case.loss.deriv(2)(place)
            r = float(case.influence.value(place))
            rows.append((name, place, share, curvature, case.point(place), r))
    columns = ["case", "minimum", "mass", "curvature", "loss_k", "r"]
    return pd.DataFrame(rows, columns=columns)


def law_table(name: str, eps: float, beta: float) -> pd.DataFrame:
    """Densities before, after, and moved by the influence function: `law`, `theta`, `density`."""
    case, grid = CASES[name], np.linspace(-1.8, 1.8, 241)
    place, height = bo.pushed_density(case.loss, case.influence, eps, beta)
    heights = {
        "before": np.interp(grid, bo.GRID, bo.density(case.loss, beta)),
        "after": np.interp(grid, bo.GRID, bo.density(case.loss - eps * case.point, beta)),
        "moved": np.interp(grid, place, height),
    }
    frames = [pd.DataFrame({"law": k, "theta": grid, "density": v}) for k, v in heights.items()]
    return pd.concat(frames, ignore_index=True)


# --- T10: the best scale --------------------------------------------------------------------------


def divergence_table(name: str, settings: Sequence[tuple[float, float]]) -> pd.DataFrame:
    """F of c times the influence function over eps^2, for pairs (eps, beta) and c in 0..2.

    `leading` is the prediction of second order, at zero temperature.
    """
    case, rows = CASES[name], []
    for eps, beta in settings:
        for c in np.linspace(0, 2, 21):
            value = bo.divergence(case.loss, case.point, case.influence.times(c), eps, beta)
            leading = bo.leading_divergence(case.loss, case.point, c, eps)
            rows.append((name, eps, beta, c, value / eps**2, leading / eps**2))
    return pd.DataFrame(rows, columns=["case", "eps", "beta", "c", "f", "leading"])


def scale_table(names: Sequence[str], epsilons: Sequence[float] = EPSILONS) -> pd.DataFrame:
    """c* against eps at zero temperature; `predicted`: 1 + eps times the slope at 0."""
    rows = []
    for name in names:
        case = CASES[name]
        slope = bo.scale_offset(case.loss, case.point)
        for eps in epsilons:
            best = bo.best_scale(case.loss, case.point, case.influence, eps)
            rows.append((name, eps, best, best - 1, 1 + slope * eps))
    return pd.DataFrame(rows, columns=["case", "eps", "best", "offset", "predicted"])


def cold_table(
    names: Sequence[str], betas: Sequence[float], eps: float = EPSILONS[-1]
) -> pd.DataFrame:
    """c* against beta, for two continuations of the influence function.

    `best` at the given eps, `limit` as eps -> 0, `offset` of that from 1. `left`: F of the field,
    over that of no change.
    """
    rows = []
    for name in names:
        case = CASES[name]
        fields = {"flat": case.influence, "local": bo.straight_field(case.loss, case.point)}
        for beta in betas:
            nothing = bo.divergence(case.loss, case.point, case.influence.times(0), eps, beta)
            for kind, field in fields.items():
                best = bo.best_scale(case.loss, case.point, field, eps, beta)
                limit = bo.limit_scale(case.loss, case.point, field, beta)
                left = bo.divergence(case.loss, case.point, field, eps, beta) / nothing
                rows.append((name, kind, beta, best, limit, limit - 1, left))
    columns = ["case", "field", "beta", "best", "limit", "offset", "left"]
    return pd.DataFrame(rows, columns=columns)


def log_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log |y| in log x by least squares: the order of convergence."""
    return float(np.polyfit(np.log(x), np.log(np.abs(y)), 1)[0])


# --- rivals ---------------------------------------------------------------------------------------


def rivals(name: str) -> dict[str, Field]:
    """Fields to compare with: each but "influence" differs from it at some global minimum.

    "gradient" is a step along grad loss_k with the rate that is best for F, "constant" the best
    shift of all parameters alike; both as eps -> 0.
    """
    case = CASES[name]
    at, mass = bo.deepest_minima(case.loss)
    slope, curvature = case.point.deriv()(at), case.loss.deriv(2)(at)
    rate = (mass @ slope**2) / (mass @ (curvature * slope**2))
    constant = np.full(len(at), (mass @ slope) / (mass @ curvature))
    return {
        "influence": case.influence,
        "nothing": case.influence.times(0),
        "gradient": bo.through(at, rate * slope),
        "constant": bo.through(at, constant),
        "0.9 r": case.influence.times(0.9),
        "1.1 r": case.influence.times(1.1),
    }


def rival_table(name: str, epsilons: Sequence[float] = EPSILONS) -> pd.DataFrame:
    """F over eps^2 of every rival at zero temperature.

    `limit`: as eps -> 0, `E[L'' (r' - r)^2] / 2` above the influence function's.
    """
    case, fields = CASES[name], rivals(name)
    at, mass = bo.deepest_minima(case.loss)
    least = bo.leading_divergence(case.loss, case.point, 1, 1)
    rows = []
    for field_name, field in fields.items():
        away = field.value(at) - case.influence.value(at)
        limit = least + mass @ (case.loss.deriv(2)(at) * away**2) / 2
        for eps in epsilons:
            value = bo.cold_divergence(case.loss, case.point, field, eps) / eps**2
            rows.append((field_name, eps, value, limit))
    return pd.DataFrame(rows, columns=["field", "eps", "f", "limit"])


def reach_table(name: str, scales: Sequence[float]) -> pd.DataFrame:
    """a of Theorem 3: below which eps the influence function beats c times itself, at T = 0.

    On an even grid of eps of 1/200 up to 1; 1 where it never loses on it.
    """
    case, rows, grid = CASES[name], [], np.arange(1, 201) / 200
    own = np.array([bo.cold_divergence(case.loss, case.point, case.influence, e) for e in grid])
    for c in scales:
        field = case.influence.times(c)
        rival = np.array([bo.cold_divergence(case.loss, case.point, field, e) for e in grid])
        lost = own > rival
        rows.append((c, float(grid[lost.argmax()]) if lost.any() else 1.0))
    return pd.DataFrame(rows, columns=["c", "a"])


# --- T11: mass between basins ---------------------------------------------------------------------


def basin_floor_table(
    betas: Sequence[float], epsilons: Sequence[float] = EPSILONS, name: str = "apart"
) -> pd.DataFrame:
    """F at the best scale c*, and at c = 0 and 1, with the floor `predicted` for any scale.

    Where F has no minimum in 0..2, the better end counts.
    """
    case, rows = CASES[name], []
    for beta in betas:
        for eps in epsilons:
            scales = {"nothing": 0.0, "influence": 1.0, "best": _best(case, eps, beta)}
            found = {
                key: bo.divergence(case.loss, case.point, case.influence.times(c), eps, beta)
                for key, c in scales.items()
            }
            floor = bo.basin_floor(case.loss, case.point, eps, beta)
            first = bo.basin_floor(case.loss, case.point, eps)
            rows.append((beta, eps, *found.values(), scales["best"], floor, first))
    columns = ["beta", "eps", "nothing", "influence", "best", "c", "predicted", "first_order"]
    return pd.DataFrame(rows, columns=columns)


def _best(case: Case, eps: float, beta: float) -> float:
    try:
        return bo.best_scale(case.loss, case.point, case.influence, eps, beta)
    except ValueError:
        ends = (0.0, 2.0)
        field = case.influence
        values = [bo.divergence(case.loss, case.point, field.times(c), eps, beta) for c in ends]
        return ends[int(np.argmin(values))]


def mass_table(
    eps: float, betas: Sequence[float], names: Sequence[str] = tuple(CASES)
) -> pd.DataFrame:
    """Mass of the left basin before, after, and moved by the influence function; W2 and F.

    `w2_nothing` from the law before to that after, `w2_moved` from the moved law to that after, in
    parameter units; F of no change and of the move in loss units. Basins are divided at the top of
    the barrier of the loss before.
    """
    rows = []
    for name in names:
        case = CASES[name]
        top = _barrier(case)
        for beta in betas:
            before = (bo.GRID, bo.density(case.loss, beta))
            after = (bo.GRID, bo.density(case.loss - eps * case.point, beta))
            moved = bo.pushed_density(case.loss, case.influence, eps, beta)
            left = [_below(*law, top) for law in (before, after, moved)]
            w2 = [bo.wasserstein(law, after) for law in (before, moved)]
            f = [
                bo.divergence(case.loss, case.point, case.influence.times(c), eps, beta)
                for c in (0, 1)
            ]
            rows.append((name, beta, *left, *w2, *f))
    columns = ["case", "beta", "before", "after", "moved"]
    columns += ["w2_nothing", "w2_moved", "f_nothing", "f_moved"]
    return pd.DataFrame(rows, columns=columns)


def _barrier(case: Case) -> float:
    at, _ = bo.deepest_minima(case.loss)
    roots = case.loss.deriv().roots()
    real = np.sort(roots[abs(roots.imag) < bo.SAME_PLACE].real)
    return float(real[(real > at[0] + bo.SAME_PLACE) & (real < at[-1] - bo.SAME_PLACE)][0])


def _below(places: np.ndarray, height: np.ndarray, threshold: float) -> float:
    steps = np.diff(places) * (height[1:] + height[:-1]) / 2
    return float(np.interp(threshold, places, np.concatenate([[0.0], np.cumsum(steps)])))


def field_table(name: str, betas: Sequence[float]) -> pd.DataFrame:
    """The field that carries the law along exactly, per beta, and the influence function (inf)."""
    case, grid = CASES[name], np.linspace(-1.6, 1.6, 161)
    frames = []
    for beta in betas:
        exact = np.interp(grid, bo.GRID, bo.transport_field(case.loss, case.point, beta))
        frames.append(pd.DataFrame({"case": name, "beta": beta, "theta": grid, "r": exact}))
    r = case.influence.value(grid)
    frames.append(pd.DataFrame({"case": name, "beta": COLD, "theta": grid, "r": r}))
    return pd.concat(frames, ignore_index=True)
