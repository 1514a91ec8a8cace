"""curvlinops: curvature as linear operators."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network

from .shared import module_at


def curvlinops_ekfac(network: Network, theta: Tensor, task: Task, damping: float) -> Tensor:
    """EK-FAC, exact loss curvature ("type-2"), bias and weight together, one batch.

    Traps: parameters are a list in version 3; MSELoss has no factor one half; damping has to be
    asked for exactly, or it is split between the two Kronecker factors.
    """
    import curvlinops

    module = module_at(network, theta)
    parameters = list(module.parameters())
    squares = task.loss == "squared_error"
    target = task.train_y[:, None] if squares else task.train_y
    factor = 2.0 if squares else 1.0
    operator = curvlinops.EKFACLinearOperator(
        module,
        nn.MSELoss() if squares else nn.CrossEntropyLoss(),
        parameters,
        [(task.train_x, target)],
        fisher_type="type-2",
        separate_weight_and_bias=False,
        check_deterministic=False,
    )
    inverse = curvlinops.KFACInverseLinearOperator(
        operator, damping=factor * damping, use_exact_damping=True
    )
    query = _module_gradients(module, task, task.query_x, task.query_y)
    train = _module_gradients(module, task, task.train_x, task.train_y)
    return train @ (inverse @ query.T) * factor / task.n_train


def _module_gradients(module: nn.Module, task: Task, x: Tensor, y: Tensor) -> Tensor:
    """Loss gradients `(example, parameter)`, parameters in the module's order."""
    named = {name: p.detach() for name, p in module.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return task.per_example_loss(functional_call(module, parameters, (x[None],)), y[None])[0]

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(named, x, y)
    return torch.cat([g.flatten(1) for g in each.values()], dim=1)
