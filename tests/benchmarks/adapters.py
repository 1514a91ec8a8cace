"""One function per library: its scores as predicted shifts upon removal, `(train, query)`.

    scores = ADAPTERS["captum_hessian"].scores(network, theta, task, damping)

`damping` is all that is added to the diagonal of the curvature of the *mean* loss (l2 and extra).
Where a library's scores have a unit, they come back in ours, `(1/N) grad(m)^T C^-1 grad(loss_k)`,
positive where the point helps. Each library has its traps; what is done about them stands in its
function, and `tests/test_anchors.py` compares each adapter with a dense oracle in float64.
Libraries are imported by their adapters only, so that this file can be read without any of them.
"""

import contextlib
import copy
import importlib.metadata
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from dtda_lib.models import Network
from dtda_lib.task import Task

Scores = Callable[[Network, Tensor, Task, float], Tensor]
PROJECTION = 512  # of TRAK, the dimension in dattri's tables


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


def module_at(network: Network, theta: Tensor) -> nn.Module:
    """A module of its own with the weights theta, in theta's precision."""
    module = copy.deepcopy(network.module).to(theta.dtype).eval()
    with torch.no_grad():
        for name, value in network.layout.unflatten(theta).items():
            module.get_parameter(name).copy_(value)
    return module.requires_grad_(True)


def _sets(task: Task) -> tuple[TensorDataset, TensorDataset]:
    return TensorDataset(task.train_x, task.train_y), TensorDataset(task.query_x, task.query_y)


def _whole(data: TensorDataset) -> DataLoader:
    return DataLoader(data, batch_size=len(data), shuffle=False)


@contextlib.contextmanager
def _quiet() -> Iterator[str]:
    """A folder that goes away, without progress bars and log lines."""
    logging.disable(logging.WARNING)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield folder
    finally:
        logging.disable(logging.NOTSET)


# --- curvlinops -----------------------------------------------------------------------------------


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


# --- kronfluence ----------------------------------------------------------------------------------


def kronfluence_ekfac(network: Network, theta: Tensor, task: Task, damping: float) -> Tensor:
    """EK-FAC with the Fisher matrix of sampled labels, the library's default.

    Traps: `(query, train)`; losses must be sums; `damping_factor` is 1e-8 unless given; every stage
    goes to disk, here into a folder that is removed. One label is drawn per point (seed 0), so the
    curvature is a random one. Factors and scores are kept in theta's precision.
    """
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task as Base

    class Ours(Base):
        def compute_train_loss(
            self, batch: tuple[Tensor, Tensor], model: nn.Module, sample: bool = False
        ) -> Tensor:
            output, target = model(batch[0]), batch[1]
            if sample and task.loss == "cross_entropy":
                target = torch.multinomial(output.detach().softmax(-1), 1)[:, 0]
            elif sample:  # residuals of variance 1: +1 or -1, whose square is not noisy
                sign = torch.randint(2, (len(output),)).to(output) * 2 - 1
                target = output.detach()[:, 0] + sign
            return task.per_example_loss(output, target).sum()

        def compute_measurement(self, batch: tuple[Tensor, Tensor], model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    dtype = theta.dtype
    train, query = _sets(task)
    factors = FactorArguments(
        strategy="ekfac",
        activation_covariance_dtype=dtype,
        gradient_covariance_dtype=dtype,
        per_sample_gradient_dtype=dtype,
        lambda_dtype=dtype,
    )
    scoring = ScoreArguments(
        damping_factor=damping,
        per_sample_gradient_dtype=dtype,
        precondition_dtype=dtype,
        score_dtype=dtype,
    )
    with _quiet() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = prepare_model(module_at(network, theta), Ours())
        analyzer = Analyzer(
            "anchor", model, Ours(), cpu=True, disable_tqdm=True, output_dir=folder,
            log_level=logging.ERROR,
        )  # fmt: skip
        analyzer.fit_all_factors(
            "factors", train, per_device_batch_size=len(train), factor_args=factors
        )
        analyzer.compute_pairwise_scores(
            "scores", "factors", query, train, len(query), len(train), score_args=scoring
        )
        found = analyzer.load_pairwise_scores("scores")["all_modules"]  # (query, train)
    return found.T / task.n_train


# --- dattri ---------------------------------------------------------------------------------------


def _dattri_task(network: Network, theta: Tensor, task: Task) -> object:
    from dattri.task import AttributionTask

    module = module_at(network, theta)

    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        x, y = data
        output = functional_call(module, parameters, (x,))
        if task.loss == "cross_entropy":
            return F.cross_entropy(output, y.long().reshape(-1))
        return task.per_example_loss(output, y.reshape(-1)).mean()

    return AttributionTask(loss_func=loss, model=module, checkpoints=module.state_dict())


def dattri_ekfac(network: Network, theta: Tensor, task: Task, damping: float) -> Tensor:
    """EK-FAC with the empirical Fisher matrix (true labels), the library's way.

    Traps: one checkpoint only; the whole training set in one batch, because the factors of several
    batches would be averaged with their mean losses; layers are found in `named_modules`. Version
    0.3.0 puts `[weight | bias]` into the wrong places of a matrix, which stays as it is.
    """
    from dattri.algorithm.influence_function import IFAttributorEKFAC

    train, query = map(_whole, _sets(task))
    with _quiet():
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

    train, query = map(_whole, _sets(task))
    with _quiet():
        attributor = TracInAttributor(
            task=_dattri_task(network, theta, task),
            weight_list=torch.ones(1, dtype=theta.dtype),
            normalized_grad=False,
            projector_kwargs={"proj_type": "identity", "proj_dim": len(theta)},
        )
        found = attributor.attribute(train, query)
    return found.detach()


# --- captum ---------------------------------------------------------------------------------------


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

    train, query = _sets(task)
    with _quiet() as folder, torch.random.fork_rng(devices=[]):
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

    train, query = _sets(task)
    with _quiet() as folder:
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


# --- traker ---------------------------------------------------------------------------------------


def traker_trak(
    network: Network, theta: Tensor, task: Task, damping: float, dimension: int = PROJECTION
) -> Tensor:
    """TRAK of one model, gradients projected to `dimension` (0: not at all), times d loss / d f.

    Traps: half precision unless refused, and then float32; the projector is freed before scoring,
    so that a second `TRAKer` has to score; gradients are divided by the root of their number, and
    normal projections multiply squared lengths by `dimension`, so `lambda_reg` is N damping
    times both; the inverse is divided by its mean entry, so scores have *no unit*.
    """
    from trak import TRAKer
    from trak.projectors import BasicProjector, NoOpProjector, ProjectionType

    size = len(theta)
    stretched = (dimension or 1) / size
    with _quiet() as folder:
        module = module_at(network, theta).float()
        state = module.state_dict()

        def start() -> TRAKer:
            projector = NoOpProjector()
            if dimension:
                projector = BasicProjector(
                    size, dimension, 0, ProjectionType.normal, "cpu", dtype=torch.float32
                )
            return TRAKer(
                module, "image_classification", task.n_train, save_dir=folder, device="cpu",
                projector=projector, use_half_precision=False, logging_level=logging.ERROR,
                lambda_reg=damping * task.n_train * stretched,
            )  # fmt: skip

        first = start()
        first.load_checkpoint(state, model_id=0)
        first.featurize((task.train_x.float(), task.train_y), num_samples=task.n_train)
        first.finalize_features()
        second = start()
        second.start_scoring_checkpoint("queries", state, 0, task.n_query)
        second.score((task.query_x.float(), task.query_y), num_samples=task.n_query)
        found = torch.as_tensor(second.finalize_scores("queries")).to(theta.dtype).clone()
    with torch.no_grad():
        true = network(theta, task.query_x).softmax(-1).gather(1, task.query_y[:, None])[:, 0]
    return found * (1 - true)


ADAPTERS: dict[str, Adapter] = {
    "curvlinops_ekfac": Adapter(
        "curvlinops-for-pytorch", curvlinops_ekfac, "EK-FAC, exact loss curvature", "if_ekfac", True
    ),
    "kronfluence_ekfac": Adapter(
        "kronfluence", kronfluence_ekfac, "EK-FAC, sampled labels", "if_ekfac", True
    ),
    "dattri_ekfac": Adapter("dattri", dattri_ekfac, "EK-FAC, true labels", "if_ekfac", True),
    "dattri_grad_dot": Adapter("dattri", dattri_grad_dot, "grad-dot", "grad_dot", False),
    "captum_hessian": Adapter("captum", captum_hessian, "exact Hessian", "if_hessian", True),
    "captum_grad_dot": Adapter("captum", captum_grad_dot, "grad-dot", "grad_dot", False),
    "traker_trak": Adapter("traker", traker_trak, "TRAK, 512 dimensions", "trak", False),
}
