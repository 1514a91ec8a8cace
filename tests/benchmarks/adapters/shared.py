"""What adapters share: a module at given weights, the task as data sets, and silence."""

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network


def module_at(network: Network, theta: Tensor) -> nn.Module:
    """A module of its own with the weights theta, in theta's precision."""
    module = copy.deepcopy(network.module).to(theta.dtype).eval()
    with torch.no_grad():
        for name, value in network.layout.unflatten(theta).items():
            module.get_parameter(name).copy_(value)
    return module.requires_grad_(True)


def data_sets(task: Task) -> tuple[TensorDataset, TensorDataset]:
    return TensorDataset(task.train_x, task.train_y), TensorDataset(task.query_x, task.query_y)


def whole(data: TensorDataset) -> DataLoader:
    return DataLoader(data, batch_size=len(data), shuffle=False)


@contextlib.contextmanager
def quiet() -> Iterator[str]:
    """A folder that goes away, without progress bars and log lines, torch seeded with 0."""
    logging.disable(logging.WARNING)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            torch.random.fork_rng(devices=[]),
        ):
            torch.manual_seed(0)
            warnings.simplefilter("ignore")
            yield folder
    finally:
        logging.disable(logging.NOTSET)
