"""TRAK without its random projection, solved in the dual.

TRAK (Park et al., 2303.14186) takes a *model output* f as linear in the parameters: the margin
`log p / (1 - p)` of the true class, or the prediction in a regression. With features
`phi = grad f`, one Newton step says how f at a query moves without a point, and the weights
p (1 - p) of that step are left out. The published score, for the margin and one model, is
`phi_q^T (Phi^T Phi)^-1 phi_k (1 - p_k)`, after a random projection of all features to a few
dimensions; two draws of that projection hardly agree on small networks, so here there is none. The
price is a ridge, for there are more parameters than points.
"""

import torch
from torch import Tensor
from torch.func import grad, vmap

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network
from dtda_lib.runs.measures import Measure, query_loss
from dtda_lib.runs.recipes import Recipe

from .curvature import checked_ridge
from .gradients import EXAMPLE_CHUNK
from .targets import checked_target, estimates, shaped, target_gradients

UNPROJECTED = "without a projection there can be more points than independent features, or fewer"


def trak(recipe: Recipe, *, of: str | Measure = query_loss, damping: float = 0.0) -> Measure:
    """TRAK of one model as a predicted shift of a measurement m upon removal.

    `(1/N) grad(m)^T (Phi^T Phi / N + l2 + damping)^-1 phi_k w_k`, with w_k the derivative of the
    loss in f: `-(1 - p)` for the margin, prediction - target for half squared error. Training
    points are seen through f whatever m is. For m = f ("query_margin") that is the published score,
    signed as a shift upon removal; for the query's loss it is times w_q, one number per query:
    within a query it ranks points as published. For a loss, positive = the point helps.

    It is influence with the Gauss-Newton matrix of f with all weights 1: the same as
    `influence_ggn` in a regression. In classification true weights are p (1 - p) < 1, so shifts
    come out too small, the more so the surer the model: use ranks and correlations.

    l2 is `recipes.objective_l2`, damping extra (both our choice; published: 0, projected). Costs
    train + entries backward passes; memory: train + `EXAMPLE_CHUNK` gradients. Solved in float64.

    Raises:
        ValueError: `l2 + damping` is not positive and finite, or see `targets.checked_target`.
    """
    of = checked_target(of)
    ridge = checked_ridge("trak", recipe, damping, UNPROJECTED)

    @estimates(of, ("trak",))
    def trak(network: Network, theta: Tensor, task: Task) -> Tensor:
        features, slopes = _features(network, theta, task)
        gram = (features @ features.T).double() / task.n_train  # (train, train)
        gram.diagonal().add_(ridge)
        targets = target_gradients(network, theta, task, of)
        products = torch.cat([(features @ target.T).double() for target in targets], dim=1)
        scores = slopes[:, None] * torch.linalg.solve(gram, products) / task.n_train
        return shaped(scores.unsqueeze(0), network, theta, task, of)  # (train, entry) -> ...

    return trak


def _features(network: Network, theta: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """phi `(train, parameter)` and `d loss / d f` `(train,)`, the latter in float64."""
    x, y = task.train_x, task.train_y

    def model_output(theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        output = network(theta, x.unsqueeze(0))[0]  # (output,)
        f = _margin(output, y) if task.loss == "cross_entropy" else output[0]
        return f, f.detach()

    each = vmap(grad(model_output, has_aux=True), in_dims=(None, 0, 0))
    pieces = [each(theta, *part) for part in zip(x.split(EXAMPLE_CHUNK), y.split(EXAMPLE_CHUNK))]
    features, values = (torch.cat(parts) for parts in zip(*pieces))
    f = values.double()
    return features, -torch.sigmoid(-f) if task.loss == "cross_entropy" else f - y.double()


def _margin(output: Tensor, label: Tensor) -> Tensor:
    """`log p / (1 - p)` of the true class: its logit against all others'."""
    own = torch.arange(len(output), device=output.device) == label
    others = output.masked_fill(own, -torch.inf).logsumexp(dim=0)
    return torch.where(own, output, 0.0).sum() - others
