"""A problem whose laws before and after a removal are known exactly: anchored ridge regression.

Each run minimises, over theta, the convex objective

    (1/2N) sum_n w_n (x_n . theta - y_n - noise_n)^2 + strength/2 |theta - anchor|^2

from a random start that it never forgets: `anchor ~ N(0, anchor_sd^2 I)` (the weight decay pulls
back to it, as early stopping would) and optionally `noise ~ N(0, target_sd^2 I)` ("randomised
MAP"). w_n = 0 removes a point at fixed 1/N. The minimum is affine in the randomness, so predictions
are Gaussian under retraining, influence functions and the leverage correction alike, and runs with
the same seeds are coupled exactly. The measurement is the prediction `x_query . theta`, in target
units; shifts are after less before.

Source: section 8 of our digest of arXiv 2506.12965 (derived there); leverage: arXiv 2506.06656;
randomised MAP: Lu and Van Roy 2017; Pearce et al. 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy import special, stats

from dtda_lib.statistics.distances import TAIL
from dtda_lib.statistics.over_seeds import require_same_pairs

Groups = Sequence[Sequence[int]]


@dataclass(frozen=True)
class GaussianLaw:
    """Predictions `mean + loading . u` with the same standard normal u for every law of a testbed.

    `mean` `(removal, query)`, or `(query,)` for the law of all data; `loading` the same and
    `source`: anchors, then target noises. Both in target units.
    """

    mean: xr.DataArray
    loading: xr.DataArray

    @property
    def variance(self) -> xr.DataArray:
        """Over runs, in squared target units."""
        return self.covariance(self)

    @property
    def sd(self) -> xr.DataArray:
        """Over runs, in target units."""
        return np.sqrt(self.variance)

    def covariance(self, other: "GaussianLaw") -> xr.DataArray:
        """Between runs of both laws that share their seeds, in squared target units."""
        return xr.dot(self.loading, other.loading, dim="source")


@dataclass(frozen=True)
class AnchoredRidge:
    """The testbed.

    Args:
        train_x: `(train, feature)`; add a column of ones for an intercept.
        train_y: `(train,)`.
        query_x: `(query, feature)`, none all zero.
        strength: lambda of the anchored penalty; with target noise, `target_sd^2 / (N anchor_sd^2)`
            makes the law of all data the Bayesian posterior.
        anchor_sd: Standard deviation of the random start, per feature.
        target_sd: Standard deviation of the noise on targets, drawn anew by each run.

    Raises:
        ValueError: shapes that do not fit, values not finite, `strength` or `anchor_sd` not
            positive, a negative `target_sd`, a query of zeros.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    query_x: np.ndarray
    strength: float
    anchor_sd: float = 1.0
    target_sd: float = 0.0

    def __post_init__(self) -> None:
        for name in ("train_x", "train_y", "query_x"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        x, y, query = self.train_x, self.train_y, self.query_x
        if x.ndim != 2 or y.shape != x.shape[:1] or query.ndim != 2 or query.shape[1] != x.shape[1]:
            raise ValueError(f"testbed: shapes {x.shape}, {y.shape}, {query.shape} do not fit.")
        if not all(np.isfinite(array).all() for array in (x, y, query)):
            raise ValueError("testbed: data hold values that are not finite.")
        if not (self.strength > 0 and self.anchor_sd > 0 and self.target_sd >= 0):
            raise ValueError(
                "testbed: strength and anchor_sd are positive, target_sd not negative."
            )
        if not query.any(axis=1).all():
            raise ValueError("testbed: a query of zeros has no law, its prediction is always 0.")

    @property
    def n_train(self) -> int:
        """Number of training points N."""
        return len(self.train_y)

    def law(self) -> GaussianLaw:
        """Of predictions `(query,)` after training on all data."""
        return _law(self.query_x @ self._minimum(np.ones(self.n_train)), ("query",))

    def without(self, groups: Groups | None = None) -> GaussianLaw:
        """Of predictions `(removal, query)` after retraining without each group, exactly.

        `groups`: training positions; every point alone if not given. `ValueError`: an empty group,
        a repeated or unknown position.
        """
        members = self._members(groups)
        affine = [self.query_x @ self._minimum(1 - row) for row in members]
        return self._removal_law(np.stack(affine), groups)

    def predicted(self, groups: Groups | None = None, *, leverage: bool = False) -> GaussianLaw:
        """Of *predicted* predictions `(removal, query)`, from Algorithm 1 with an infinite sample.

        By influence functions, or leverage-corrected ones (RIF), which are exact for one point; a
        group's shift is the sum of its members'. `groups` as for `without`.
        """
        minimum = self._minimum(np.ones(self.n_train))
        residual = self.train_x @ minimum - self._targets()  # (train, 1 + source)
        response = self._responses(leverage)  # (train, query)
        members = self._members(groups)
        shift = np.einsum("rt,tq,ts->rqs", members, response, residual, optimize=True)
        return self._removal_law(self.query_x @ minimum + shift, groups)

    def leverages(self) -> np.ndarray:
        """h_k `(train,)` in 0..1: how much of its own residual point k fits away; no unit."""
        solved = np.linalg.solve(self._curvature(), self.train_x.T)
        return np.einsum("tf,ft->t", self.train_x, solved) / self.n_train

    def with_neutral_target(self, point: int) -> "AnchoredRidge":
        """A testbed in which removing `point` changes no mean at all, but variances.

        Its target is put on the mean prediction of training without it, so its mean residual is 0.
        With all targets 0, every point is like that, and means are 0 to the last bit.
        """
        target = self.train_y.copy()
        target[point] = self.train_x[point] @ self._minimum(1 - self._members([[point]])[0])[:, 0]
        return replace(self, train_y=target)

    def simulate(
        self, n_seeds: int, generator: np.random.Generator, groups: Groups | None = None
    ) -> xr.Dataset:
        """Runs that are really trained: a least-squares solve for each seed and removal.

        `base` `(seed, query)`, `retrained` `(seed, removal, query)` with the same seeds, and, of
        each run's own residuals, the shifts predicted by `influence` and `leverage_corrected`
        `(seed, train, query)`. Target units; groups as for `without`. Shares no formula with the
        exact laws but that of the response, so that either checks the other.
        """
        n, (n_train, n_feature) = n_seeds, self.train_x.shape
        anchor = self.anchor_sd * generator.standard_normal((n, n_feature))
        noisy = self.train_y + self.target_sd * generator.standard_normal((n, n_train))

        def train(weight: np.ndarray) -> np.ndarray:
            """theta `(seed, feature)`: data and penalty stacked as one least-squares problem."""
            root = np.sqrt(weight / n_train)
            penalty = np.sqrt(self.strength)
            design = np.vstack([root[:, None] * self.train_x, penalty * np.eye(n_feature)])
            target = np.hstack([root * noisy, penalty * anchor])
            return np.linalg.lstsq(design, target.T)[0].T

        theta = train(np.ones(n_train))
        members = self._members(groups)
        retrained = np.stack([train(1 - row) @ self.query_x.T for row in members], axis=1)
        residual = theta @ self.train_x.T - noisy  # (seed, train)
        shifts = {
            name: (("seed", "train", "query"), residual[:, :, None] * self._responses(leverage))
            for name, leverage in (("influence", False), ("leverage_corrected", True))
        }
        return xr.Dataset(
            {
                "base": (("seed", "query"), theta @ self.query_x.T),
                "retrained": (("seed", "removal", "query"), retrained),
                **shifts,
            },
            self._labels(groups),
        )

    def _curvature(self, weight: np.ndarray | float = 1.0) -> np.ndarray:
        """A = X' W X / N + strength I, `(feature, feature)`."""
        x = self.train_x
        return (x.T * weight) @ x / self.n_train + self.strength * np.eye(x.shape[1])

    def _targets(self) -> np.ndarray:
        """Targets as affine in u, `(train, 1 + source)`: the constant, then what each u adds."""
        n, n_feature = self.train_x.shape
        noise = self.target_sd * np.eye(n)
        return np.hstack([self.train_y[:, None], np.zeros((n, n_feature)), noise])

    def _minimum(self, weight: np.ndarray) -> np.ndarray:
        """theta as affine in u, `(feature, 1 + source)`."""
        n, n_feature = self.train_x.shape
        start = np.zeros((n_feature, 1 + n_feature + n))
        start[:, 1 : 1 + n_feature] = self.anchor_sd * np.eye(n_feature)
        pull = (self.train_x.T * weight) @ self._targets() / n + self.strength * start
        return np.linalg.solve(self._curvature(weight), pull)

    def _responses(self, leverage: bool) -> np.ndarray:
        """Shift of each query per unit residual of each point, `(train, query)`."""
        response = self.train_x @ np.linalg.solve(self._curvature(), self.query_x.T) / self.n_train
        return response / (1 - self.leverages())[:, None] if leverage else response

    def _members(self, groups: Groups | None) -> np.ndarray:
        """1 where a point is in the group, `(removal, train)`."""
        if groups is None:
            return np.eye(self.n_train)
        members = np.zeros((len(groups), self.n_train))
        for row, group in zip(members, groups):
            group = list(group)
            known = all(0 <= point < self.n_train for point in group)
            if not group or not known or len(set(group)) < len(group):
                raise ValueError(
                    f"testbed: group {group} needs distinct points in 0..{self.n_train - 1}."
                )
            row[group] = 1
        return members

    def _labels(self, groups: Groups | None) -> dict[str, list[str]]:
        groups = [[point] for point in range(self.n_train)] if groups is None else groups
        return {"removal": ["+".join(map(str, group)) for group in groups]}

    def _removal_law(self, affine: np.ndarray, groups: Groups | None) -> GaussianLaw:
        return _law(affine, ("removal", "query"), self._labels(groups))


def _law(
    affine: np.ndarray, dims: tuple[str, ...], coords: dict[str, list[str]] | None = None
) -> GaussianLaw:
    """From predictions affine in u, the constant first."""
    return GaussianLaw(
        xr.DataArray(affine[..., 0], coords, dims),
        xr.DataArray(affine[..., 1:], coords, (*dims, "source")),
    )


def line_with_far_point(n_train: int = 12, far: float = 3.0) -> tuple[AnchoredRidge, int]:
    """A noisy line and one far point whose removal moves no mean; and the position of that point.

    Inputs lie evenly over -1..1, targets on a wave about a line, 25 queries from -1 to `far`.
    """
    inputs = np.append(np.linspace(-1, 1, n_train - 1), far)
    targets = 0.5 * inputs + 0.4 * np.cos(7 * np.arange(n_train))
    queries = np.linspace(-1, far, 25)
    design, query = (np.stack([np.ones_like(x), x], axis=1) for x in (inputs, queries))
    testbed = AnchoredRidge(design, targets, query, strength=0.1, anchor_sd=1.0)
    return testbed.with_neutral_target(n_train - 1), n_train - 1


def gaussian_distances(before: GaussianLaw, after: GaussianLaw) -> xr.Dataset:
    """Every distance of `distances.DISTANCES` between Gaussian laws, exactly, without sampling.

    One variable for each, shaped like `after`; orientation and units as there. `ValueError`: the
    laws have queries with other labels.
    """
    require_same_pairs(before.mean, after.mean, shared_only=True)
    shift, wider = after.mean - before.mean, after.sd - before.sd
    z = stats.norm.isf(1 - TAIL)
    both = np.hypot(before.sd, after.sd)
    energy = 2 * _mean_size(shift, both) - sum(
        _mean_size(0 * shift, np.sqrt(2) * law.sd) for law in (before, after)
    )
    found = {
        "mean": shift,
        "variance": after.variance - before.variance,
        "log_variance_ratio": np.log(after.variance / before.variance),
        "median": shift,
        "quantile90": shift + z * wider,
        "cvar90": shift + stats.norm.pdf(z) / (1 - TAIL) * wider,
        "w1": _mean_size(shift, abs(wider)),
        "w2": np.hypot(shift, wider),
        "w2_gaussian": np.hypot(shift, wider),
        "w2_gaussian_squared": shift**2 + wider**2,
        "w2_debiased": shift**2 + wider**2,  # sampling adds nothing
        "energy": np.sqrt(energy.clip(min=0)),
        "ks": xr.apply_ufunc(_ks, before.mean, before.sd, after.mean, after.sd),
    }
    return xr.Dataset({name: value.transpose(*shift.dims) for name, value in found.items()})


def _mean_size(mean: xr.DataArray, sd: xr.DataArray) -> xr.DataArray:
    """E|X| of X ~ N(mean, sd^2), for sd >= 0."""
    ratio = mean / sd.where(sd > 0, np.inf)
    folded = sd * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2)
    return xr.where(sd > 0, folded + mean * special.erf(ratio / np.sqrt(2)), abs(mean))


def _ks(mean0: np.ndarray, sd0: np.ndarray, mean1: np.ndarray, sd1: np.ndarray) -> np.ndarray:
    """Largest difference of two normal distribution functions: where the densities cross."""
    # In units of law 0, (x^2 - ((x - d) / s)^2) / 2 = log s.
    d, s = (mean1 - mean0) / sd0, sd1 / sd0
    a, b, c = s**2 - 1, d, -(d**2) - 2 * s**2 * np.log(s)
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    # The stable pair of roots of a x^2 + 2 b x + c = 0; equal spreads leave one.
    q = -(b + np.where(b >= 0, 1, -1) * root)
    crossings = [np.where(q != 0, c / np.where(q != 0, q, 1), 0)]
    crossings.append(np.where(a != 0, q / np.where(a != 0, a, 1), crossings[0]))
    return np.max([np.abs(special.ndtr(x) - special.ndtr((x - d) / s)) for x in crossings], axis=0)
