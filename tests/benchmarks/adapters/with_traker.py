"""traker: TRAK as its authors published it."""

import logging

import torch
from torch import Tensor

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network

from .shared import module_at, quiet

PROJECTION = 512  # the dimension in dattri's tables


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
    with quiet() as folder:
        module = module_at(network, theta).float()
        state = module.state_dict()

        def start() -> TRAKer:
            projector = NoOpProjector(device="cpu")
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
