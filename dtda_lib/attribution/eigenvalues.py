"""Eigenvalues of a curvature: when an inverse is one, and what takes its place when it is not.

`vmap` over a stack of runs hides values, which a refusal and a warning need; a function with a
`vmap` rule of its own sees all runs at once, so that both work there, too.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


class _Shown(torch.autograd.Function):
    """The identity, which shows `values (..., eigenvalue)` of all runs to `look`."""

    @staticmethod
    def forward(values: Tensor, look: Callable[[Tensor], None]) -> Tensor:
        look(values)
        return values.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: Tensor) -> None:
        """Nothing to keep: nobody differentiates a refusal."""

    @staticmethod
    def vmap(
        info: object, in_dims: tuple[int, None], values: Tensor, look: Callable[[Tensor], None]
    ) -> tuple[Tensor, int]:
        return _Shown.apply(values.movedim(in_dims[0], 0), look), 0


def refuse_singular(matrix: Tensor, precision: torch.dtype) -> None:
    """ValueError where a symmetric matrix `(parameter, parameter)`, in any run, has no inverse.

    Singular is an eigenvalue within rounding of 0: size * epsilon of `precision`, in which the
    matrix was computed, relative to the largest (the convention of `torch.linalg.matrix_rank`).
    """
    rounding = matrix.shape[-1] * torch.finfo(precision).eps

    def look(values: Tensor) -> None:
        sizes = values.abs()
        if bool((sizes.amin(-1) <= rounding * sizes.amax(-1)).any()):
            raise ValueError(
                "influence: the Hessian is singular, so it has no inverse; use 'influence_pinv', "
                "its pseudo-inverse, or add weight decay or damping."
            )

    _Shown.apply(torch.linalg.eigvalsh(matrix), look)


def warn_if_untrustworthy(matrix: Tensor) -> None:
    """Warns, once, where a symmetric matrix of some run is not safely positive definite."""

    def look(values: Tensor) -> None:
        lows, highs = values.amin(-1).flatten(), values.abs().amax(-1).flatten()
        worst = int((lows / highs).argmin())
        low, high = float(lows[worst]), float(highs[worst])
        if low <= high * 1e-7:
            state = "indefinite" if low < 0 else "singular to float precision"
            warnings.warn(
                f"influence: the curvature is {state} (smallest eigenvalue {low:.3g}, largest "
                f"{high:.3g}); scores cannot be trusted. Train to a minimum or add damping.",
                stacklevel=3,
            )

    _Shown.apply(torch.linalg.eigvalsh(matrix), look)


def warn_if_indefinite(values: Tensor, threshold: float) -> None:
    """Warns where eigenvalues `(eigenvalue,)` of some run, beyond the threshold, are negative."""

    def look(values: Tensor) -> None:
        share = (values / values.abs().amax(-1, keepdim=True)).min()
        if share < -threshold:
            warnings.warn(
                f"influence: the curvature is indefinite (an eigenvalue of {float(share):.3g} "
                "times the largest is inverted); scores are those of a saddle and cannot be "
                "trusted. Train to a minimum, or use the Gauss-Newton matrix or damping.",
                stacklevel=3,
            )

    _Shown.apply(values, look)


def reciprocals(values: Tensor, threshold: float) -> Tensor:
    """1 / eigenvalue `(..., eigenvalue)`; 0 for those of at most `threshold` times the largest.

    Sizes count, not signs: a large negative eigenvalue is inverted as it is.
    """
    sizes = values.abs()
    kept = sizes > threshold * sizes.amax(dim=-1, keepdim=True)
    return torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
