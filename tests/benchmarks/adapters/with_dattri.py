"""dattri: a collection of attribution methods."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network

from .shared import data_sets, module_at, quiet, whole


def _dattri_task(network: Network, theta: Tensor, task: Task, single: bool = False) -> object:
    """The library's task; `single`: its loss gets one example at a time, without a first axis."""
    from dattri.task import AttributionTask

    module = module_at(network, theta)

    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        x, y = data
        output = functional_call(module, parameters, (x[None] if single else x,))
        if task.loss == "cross_entropy":
            return F.cross_entropy(output, y.long().reshape(-1))
        return task.per_example_loss(output, y.reshape(-1)).mean()

    return AttributionTask(loss_func=loss, model=module, checkpoints=module.state_dict())


def dattri_ekfac(network: Network, theta: Tensor, task: Task, damping: float) -> Tensor:
    """EK-FAC with the empirical Fisher matrix (true labels), the library's way.

    Traps: one checkpoint only; the whole training set in one batch, because the factors of several
    batches would be averaged with their mean losses; layers are found in `named_modules`. Left as
    they are in version 0.3.0: it turns to the eigenbasis by `q v` where `eigh` has eigenvectors in
    columns (`q^T v`), and it puts `[weight | bias]` into the wrong places of a matrix.
    """
    from dattri.algorithm.influence_function import IFAttributorEKFAC

    train, query = map(whole, data_sets(task))
    with quiet():
        attributor = IFAttributorEKFAC(task=_dattri_task(network, theta, task), damping=damping)
        attributor.cache(train)
        found = attributor.attribute(train, query)
    return found.detach() / task.n_train


def dattri_grad_dot(network: Network, theta: Tensor, task: Task, damping: float) -> Tensor:
    """Grad-dot as TracIn with one checkpoint of weight 1.

    Trap: without "identity" gradients are projected to 512 dimensions at random, and the library
    writes the settings of one call into its defaults for the next.
    """
    from dattri.algorithm.tracin import TracInAttributor

    train, query = map(whole, data_sets(task))
    with quiet():
        attributor = TracInAttributor(
            task=_dattri_task(network, theta, task, single=True),
            weight_list=torch.ones(1, dtype=theta.dtype),
            normalized_grad=False,
            projector_kwargs={"proj_type": "identity", "proj_dim": len(theta)},
        )
        found = attributor.attribute(train, query)
    return found.detach()
