"""Chains of noisy gradient steps on linear least squares, and their stationary laws in closed form.

The loss is `L = (1/2N) sum_n w_n (x_n . theta - y_n)^2 + strength/2 |theta|^2`, w_n = 0 removes a
point at fixed 1/N. A chain makes steps

    theta <- theta - step * gradient + sqrt(2 step / beta) * normal noise,

with the gradient of the whole loss (Langevin), of a batch drawn with replacement (SGLD), or of a
batch and without noise, beta = infinity (SGD). As step -> 0, Langevin tends to the Boltzmann law
`N(minimum, A^-1 / beta)`, A the curvature; at a finite step the stationary mean is the minimum all
the same, and the covariance is known exactly in all three cases. Parameters have no unit here.

Source: Welling and Teh 2011 (SGLD); Mandt, Hoffman and Blei 2017 (SGD as a sampler); arXiv
2506.12965, section 3; the equation for the covariance is derived, see `stationary_covariance`.
"""

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class LinearChain:
    """The loss, and how steps are taken on it.

    Args:
        train_x: `(train, feature)`.
        train_y: `(train,)`.
        strength: Of the penalty, positive.
        step: Step size, below `2 / (largest curvature)`.
        beta: Inverse temperature of the added noise; infinite for SGD.
        batch: Points per step, drawn with replacement; 0 for the whole loss.
        weight: `(train,)`, 1 if not given.

    Raises:
        ValueError: a step too large for a stationary law to exist, or a noise that is nothing.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    strength: float
    step: float
    beta: float
    batch: int = 0
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.weight is None:
            object.__setattr__(self, "weight", np.ones(len(self.train_y)))
        if not self.batch and math.isinf(self.beta):
            raise ValueError("LinearChain: neither batches nor a temperature, nothing is random.")
        if self.step * np.linalg.eigvalsh(self.curvature())[-1] >= 2:
            raise ValueError(f"LinearChain: step = {self.step} is too large, the chain diverges.")

    @property
    def n_train(self) -> int:
        """Number of training points N."""
        return len(self.train_y)

    def down_weighted(self, point: int, eps: float) -> "LinearChain":
        """The chain on `L - eps loss_k`: weight 1 - N eps; eps = 1/N removes the point."""
        weight = self.weight.copy()
        weight[point] = 1 - self.n_train * eps
        return replace(self, weight=weight)

    def curvature(self) -> np.ndarray:
        """A `(feature, feature)`, the Hessian of the loss."""
        x = self.train_x
        return (x.T * self.weight) @ x / self.n_train + self.strength * np.eye(x.shape[1])

    def minimum(self) -> np.ndarray:
        """`(feature,)`, and the mean of the stationary law at any step."""
        pull = self.train_x.T @ (self.weight * self.train_y) / self.n_train
        return np.linalg.solve(self.curvature(), pull)

    def boltzmann_covariance(self) -> np.ndarray:
        """`A^-1 / beta` `(feature, feature)`: of Langevin with infinitely small steps."""
        return np.linalg.inv(self.curvature()) / self.beta

    def stationary_covariance(self) -> np.ndarray:
        """C `(feature, feature)` of the chain as it is run, exactly.

        One step multiplies the distance to the minimum by `I - step A` and adds noise, so C solves
        `C = (I - step A) C (I - step A) + (2 step / beta) I + step^2 V(C)`. V is the covariance of
        the batch gradient, averaged over theta: affine in C, because residuals are linear in theta.
        `ValueError`: batch noise so strong that the chain has no stationary covariance.
        """
        n_feature = self.train_x.shape[1]
        eye = np.eye(n_feature)
        decay = eye - self.step * self.curvature()
        constant = 2 * self.step / self.beta * eye
        linear = np.kron(decay, decay)  # acts on C.ravel()
        if self.batch:
            slopes, noise = self._batch_noise()
            linear = linear + self.step**2 / self.batch * slopes
            constant = constant + self.step**2 / self.batch * noise
        if abs(np.linalg.eigvals(linear)).max() >= 1:
            raise ValueError("LinearChain: batch noise is too strong for a stationary covariance.")
        solved = np.linalg.solve(np.eye(n_feature**2) - linear, constant.ravel())
        return solved.reshape(n_feature, n_feature)

    def _batch_noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Covariance of one point's gradient as `slopes @ C.ravel() + noise`."""
        x, w, minimum = self.train_x, self.weight, self.minimum()
        residual = x @ minimum - self.train_y
        outer = np.einsum("nf,ng->nfg", x, x).reshape(self.n_train, -1)  # (train, feature^2)
        mean = self.curvature() - self.strength * np.eye(x.shape[1])
        slopes = (outer.T * w**2) @ outer / self.n_train - np.kron(mean, mean)
        noise = (x.T * (w * residual) ** 2) @ x / self.n_train
        return slopes, noise - self.strength**2 * np.outer(minimum, minimum)

    def influence(self, point: int, theta: np.ndarray) -> np.ndarray:
        """r_IF at each theta `(..., feature)`: `A^-1 grad loss_k(theta)`, per unit of eps."""
        x = self.train_x[point]
        residual = theta @ x - self.train_y[point]
        return residual[..., None] * np.linalg.solve(self.curvature(), x)

    def relaxation_steps(self, remainder: float = 1e-3) -> int:
        """Steps after which the slowest direction keeps only this share of its start."""
        slowest = np.linalg.eigvalsh(self.curvature())[0]
        return math.ceil(math.log(remainder) / math.log(1 - self.step * slowest))

    def sample(
        self,
        n_chains: int,
        generator: np.random.Generator,
        *,
        point: int | None = None,
        n_steps: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ends theta of independent chains, `(chain, feature)`, and their unrolled responses.

        Chains start at the minimum and make `n_steps` (`relaxation_steps` if not given). The
        response r `(chain, feature)` is the derivative of theta in eps along the same noise and
        batches (arXiv 2506.12965, Eq. 6, with its factor N), 0 without a `point`.
        """
        theta = np.tile(self.minimum(), (n_chains, 1))
        response = np.zeros_like(theta)
        gradients = self._batch_gradients if self.batch else self._whole_gradients
        noise = math.sqrt(2 * self.step / self.beta)
        for _ in range(self.relaxation_steps() if n_steps is None else n_steps):
            slope, turn = gradients(theta, response, point, generator)
            theta = theta - self.step * slope
            if point is not None:
                response = response - self.step * turn
            if noise:
                theta += noise * generator.standard_normal(theta.shape)
        return theta, response

    def _whole_gradients(
        self, theta: np.ndarray, response: np.ndarray, point: int | None, _: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient of the loss at theta, and Hessian times r less gradient of loss_k."""
        curvature = self.curvature()
        slope = (theta - self.minimum()) @ curvature
        if point is None:
            return slope, response
        x = self.train_x[point]
        return slope, response @ curvature - (theta @ x - self.train_y[point])[:, None] * x

    def _batch_gradients(
        self,
        theta: np.ndarray,
        response: np.ndarray,
        point: int | None,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same, estimated on a batch of each chain's own."""
        drawn = generator.integers(self.n_train, size=(len(theta), self.batch))
        x, share = self.train_x[drawn], self.weight[drawn] / self.batch  # (chain, batch, feature)
        residual = np.einsum("cbf,cf->cb", x, theta) - self.train_y[drawn]
        slope = np.einsum("cb,cbf->cf", share * residual, x) + self.strength * theta
        if point is None:
            return slope, response
        turn = np.einsum("cb,cbf->cf", share * np.einsum("cbf,cf->cb", x, response), x)
        # Weight 1 - N eps: each time the point is drawn, its gradient counts N / batch.
        pull = self.n_train / self.batch * (residual * (drawn == point)).sum(axis=1)
        return slope, turn + self.strength * response - pull[:, None] * self.train_x[point]


def gaussian_divergence(
    mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray
) -> float:
    """KL(first || other) of two normal laws, in nats."""
    precision = np.linalg.inv(other_covariance)
    ratio = precision @ covariance
    away = other_mean - mean
    log = np.linalg.slogdet(ratio)[1]
    return float((np.trace(ratio) - len(mean) - log + away @ precision @ away) / 2)
