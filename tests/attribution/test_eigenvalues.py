"""When a curvature has an inverse: where refusals, warnings and null directions begin."""

import warnings

import pytest
import torch
from torch.func import vmap

from dtda_lib.attribution.eigenvalues import (
    reciprocals,
    refuse_singular,
    warn_if_indefinite,
    warn_if_untrustworthy,
)


def with_eigenvalues(*values):
    """A symmetric matrix in a basis of no axis."""
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    basis, _ = torch.linalg.qr(square)
    return basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ basis.T


def told(function, *given):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*given)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_matrix_is_singular_within_the_rounding_of_its_size(sign, precision):
    rounding = 3 * torch.finfo(torch.float32).eps  # far above what finding eigenvalues costs
    inside, outside = (with_eigenvalues(share * rounding * 5, 2.0, -5.0) for share in (0.9, 1.1))
    refuse_singular(sign * outside, torch.float32)
    refuse_singular(sign * inside, torch.float64)
    with pytest.raises(ValueError, match="the Hessian is singular"):
        refuse_singular(sign * inside, torch.float32)
    stack = torch.stack([with_eigenvalues(1.0, 2.0, 3.0), inside])
    with pytest.raises(ValueError, match="the Hessian is singular"):
        vmap(lambda matrix: (refuse_singular(matrix, torch.float32), matrix)[1])(stack)
    vmap(lambda matrix: (refuse_singular(matrix, precision), matrix)[1])(stack[:1])


def test_a_curvature_is_trusted_if_its_smallest_eigenvalue_is_safely_positive():
    assert told(warn_if_untrustworthy, with_eigenvalues(1.2e-7, 0.5, 1.0)) == []
    (singular,) = told(warn_if_untrustworthy, with_eigenvalues(0.8e-7, 0.5, 1.0))
    assert "singular to float precision (smallest eigenvalue 8e-08, largest 1)" in singular
    (saddle,) = told(warn_if_untrustworthy, with_eigenvalues(-2.0, 0.5, 1.0))
    assert "indefinite (smallest eigenvalue -2, largest 2)" in saddle
    stack = torch.stack([with_eigenvalues(-0.5, 1.0), with_eigenvalues(-3.0, 30.0)])
    (worst,) = told(vmap(lambda m: (warn_if_untrustworthy(m), m)[1]), stack)
    assert "smallest eigenvalue -0.5, largest 1)" in worst, "of the run with the worst share"


def test_a_negative_eigenvalue_beyond_the_threshold_is_told():
    threshold = 0.1
    assert told(warn_if_indefinite, torch.tensor([-0.09, 1.0]), threshold) == []
    (said,) = told(warn_if_indefinite, torch.tensor([-0.22, 1.0, -2.0, 0.3]), threshold)
    assert "an eigenvalue of -1 times the largest" in said
    (said,) = told(warn_if_indefinite, torch.tensor([-0.3, 2.0]), threshold)
    assert "an eigenvalue of -0.15 times" in said


def test_directions_of_small_eigenvalues_are_left_out():
    values = torch.tensor([[2.0, -4.0, 0.4, -0.4, 0.41, 0.0], [1.0, 0.1, 0.2, 0.0, 0.0, 0.0]])
    found = reciprocals(values, 0.1)
    expected = [[0.5, -0.25, 0, 0, 1 / 0.41, 0], [1.0, 0, 5.0, 0, 0, 0]]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert torch.isfinite(reciprocals(torch.zeros(3), 0.1)).all()
