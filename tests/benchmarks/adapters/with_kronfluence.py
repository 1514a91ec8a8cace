"""kronfluence: EK-FAC influence at scale."""

import logging

import torch
from torch import Tensor, nn

from dtda_lib.data.task import Task
from dtda_lib.models.networks import Network

from .shared import data_sets, module_at, quiet


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
    train, query = data_sets(task)
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
    with quiet() as folder:
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
