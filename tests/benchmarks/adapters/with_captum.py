"""captum: interpretability for PyTorch."""

import os

import torch
from torch import Tensor, nn

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network

from .shared import data_sets, module_at, quiet


def _checkpoint(module: nn.Module, path: str) -> float:
    module.load_state_dict(torch.load(path, weights_only=True))
    return 1.0


def _captum_loss(task: Task, reduction: str) -> nn.Module:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reduction = reduction

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            each = task.per_example_loss(output, target)
            return each.sum() if reduction == "sum" else each

    return Loss()


def captum_hessian(network: Network, theta: Tensor, task: Task, damping: float) -> Tensor:
    """`NaiveInfluenceFunction`: the exact Hessian by its eigenvectors.

    Traps: `(query, train)`; only 50 eigenpairs are kept unless more are asked for; directions with
    a negative eigenvalue are dropped, also then; the Hessian is that of the *sum* of losses, so
    the damping to give is N times ours.
    """
    from captum.influence._core.influence_function import NaiveInfluenceFunction

    train, query = data_sets(task)
    with quiet() as folder:
        module, path = module_at(network, theta), os.path.join(folder, "checkpoint.pt")
        torch.save(module.state_dict(), path)
        influence = NaiveInfluenceFunction(
            module,
            train,
            path,
            _checkpoint,
            loss_fn=_captum_loss(task, "sum"),
            batch_size=len(train),
            sample_wise_grads_per_batch=True,
            projection_dim=len(theta),
            hessian_reg=damping * task.n_train,
        )
        return influence.influence(query.tensors).detach().T


def captum_grad_dot(network: Network, theta: Tensor, task: Task, damping: float) -> Tensor:
    """Grad-dot as TracInCP with one checkpoint of rate 1.

    Traps: `(query, train)`; checkpoints are files; gradients of single points are ten times faster
    with `sample_wise_grads_per_batch`, which needs a loss that is a sum.
    """
    from captum.influence import TracInCP

    train, query = data_sets(task)
    with quiet() as folder:
        module, path = module_at(network, theta), os.path.join(folder, "checkpoint.pt")
        torch.save(module.state_dict(), path)
        tracin = TracInCP(
            module,
            train,
            [path],
            _checkpoint,
            loss_fn=_captum_loss(task, "sum"),
            batch_size=len(train),
            sample_wise_grads_per_batch=True,
        )
        return tracin.influence(query.tensors).detach().T
