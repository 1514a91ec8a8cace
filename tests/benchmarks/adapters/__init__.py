"""One function per library: its scores as predicted shifts upon removal, `(train, query)`.

    scores = ADAPTERS["captum_hessian"].scores(network, theta, task, damping)

`damping` is all that is added to the diagonal of the curvature of the *mean* loss (l2 and extra).
Where a library's scores have a unit, they come back in ours, `(1/N) grad(m)^T C^-1 grad(loss_k)`,
positive where the point helps. Each library has its traps; what is done about them stands in its
function, and `tests/test_anchors.py` compares each adapter with a dense oracle in float64.
Libraries are imported by their adapters only, so that this file can be read without any of them.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network

from .with_captum import captum_grad_dot, captum_hessian
from .with_curvlinops import curvlinops_ekfac
from .with_dattri import dattri_ekfac, dattri_grad_dot
from .with_kronfluence import kronfluence_ekfac
from .with_traker import traker_trak

Scores = Callable[[Network, Tensor, Task, float], Tensor]


@dataclass(frozen=True)
class Adapter:
    """How a library is called.

    Args:
        package: Distribution to install, whose version is told.
        scores: The function.
        method: What it computes, in a few words.
        ours: Label of our estimator of the same kind.
        unit: Whether scores have the unit of a shift.
    """

    package: str
    scores: Scores
    method: str
    ours: str
    unit: bool


def version(package: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


ADAPTERS: dict[str, Adapter] = {
    "curvlinops_ekfac": Adapter(
        "curvlinops-for-pytorch", curvlinops_ekfac, "EK-FAC, exact loss curvature", "if_ekfac", True
    ),
    "kronfluence_ekfac": Adapter(
        "kronfluence", kronfluence_ekfac, "EK-FAC, sampled labels", "if_ekfac", True
    ),
    "dattri_ekfac": Adapter(
        "dattri", dattri_ekfac, "EK-FAC, true labels, as released", "if_ekfac", True
    ),
    "dattri_grad_dot": Adapter("dattri", dattri_grad_dot, "grad-dot", "grad_dot", False),
    "captum_hessian": Adapter(
        "captum", captum_hessian, "Hessian, positive part", "if_hessian", True
    ),
    "captum_grad_dot": Adapter("captum", captum_grad_dot, "grad-dot", "grad_dot", False),
    "traker_trak": Adapter("traker", traker_trak, "TRAK, 512 dimensions", "trak", False),
}
