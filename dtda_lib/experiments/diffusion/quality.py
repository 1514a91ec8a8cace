"""Are generated samples digits? A small classifier's answer, and what that classifier can see.

The distance to the nearest training image (`Ensemble.quality`) does not see a smear, because a
smear is near to everything. A classifier of the two digits is unsure of it. It is trained on one
half of the real images that never train the diffusion model; the other half says how sure it is of
real digits. Smears made on purpose, half-way between the codes of two real digits, say which
smears it can see.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from dtda_lib.statistics.over_seeds import wilson_interval

from .ensemble import Ensemble, GeneratedSamples

PENALTY = 1e-3  # of the classifier's weights; our choice
WEAK_SHARE = 0.05  # share of real digits that count as weak
SAMPLES, REAL = "samples", "real digits"
BETWEEN, WITHIN = "between two digits", "between two of one digit"


@dataclass(frozen=True)
class Confidence:
    """How sure the classifier is of each sample, and of how many of several kinds of images.

    Args:
        margin: Of each sample, distance of the log-odds from 0, `(sample,)`.
        bound: What all but `WEAK_SHARE` of the real digits exceed on the right side.
        table: For each kind of images: how many, the share as sure as real digits (`sure`, with a
            95 % Wilson interval), and the share `near`, not `too_far` from all training images.
    """

    margin: np.ndarray
    bound: float
    table: pd.DataFrame

    @property
    def weak(self) -> np.ndarray:
        """Positions of the samples that are less sure than real digits."""
        return np.flatnonzero(self.margin < self.bound)


def logistic_regression(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Weights `(feature + 1,)`, the constant last, by Newton's method, float64.

    They minimise the mean of `log(1 + exp(-z))` on the right side plus `penalty / 2` times the
    squares of all weights, the constant's too.

    Args:
        x: `(example, feature)`.
        y: `(example,)`, true or false.
        penalty: Above 0, so that there is one minimum also where a line separates all.
    """
    ones = torch.ones(len(x), 1, dtype=torch.float64)
    inputs = torch.cat([x.double(), ones], dim=1).numpy()
    model = LogisticRegression(
        C=1 / (penalty * len(x)), fit_intercept=False, solver="newton-cholesky", tol=1e-10
    )
    return torch.from_numpy(model.fit(inputs, y.numpy()).coef_[0])


def every_other(y: Tensor) -> Tensor:
    """A mask of every other example of either side, the first included."""
    chosen = torch.zeros(len(y), dtype=torch.bool)
    for side in (True, False):
        chosen[torch.nonzero(y == side)[::2, 0]] = True
    return chosen


def confidence(ensemble: Ensemble, samples: GeneratedSamples) -> Confidence:
    """The classifier on the codes of real images, and what it says of the samples.

    Every other image of either digit trains it, the others are what samples are compared with. A
    real digit counts as weak if it is on the wrong side, too; a sample has no right side. Intervals
    take samples as independent, although some are of one model.

    Raises:
        ValueError: images of other than two digits.
    """
    labels = ensemble.digits.query_y
    classes = labels.unique().tolist()
    if len(classes) != 2:
        raise ValueError(f"confidence: the classifier is for two digits, not {len(classes)}.")
    codes, y = ensemble.code.encode(ensemble.other_images).double(), labels == classes[1]
    trains = every_other(y)
    w = logistic_regression(codes[trains], y[trains], PENALTY)

    def odds(codes: Tensor) -> Tensor:
        return codes.double() @ w[:-1] + w[-1]

    held, right = codes[~trains], y[~trains]
    real = (odds(held) * (right.double() * 2 - 1)).numpy()
    bound = float(np.quantile(real, WEAK_SHARE))
    first, second = held[~right], held[right]
    n = min(len(first), len(second))
    kinds = {
        SAMPLES: samples.codes,
        BETWEEN: (first[:n] + second[:n]) / 2,
        WITHIN: torch.cat([(one[1:] + one[:-1]) / 2 for one in (first, second)]),
    }
    margins = {name: odds(images).abs().numpy() for name, images in kinds.items()}
    margins[REAL], kinds[REAL] = real, held
    far = ensemble.far()
    rows = []
    for name in (SAMPLES, REAL, BETWEEN, WITHIN):
        sure = margins[name] >= bound
        away = ensemble.pixel_distances(kinds[name].float()).min(axis=0)
        low, high = wilson_interval(int(sure.sum()), len(sure))
        rows.append((name, len(sure), sure.mean(), low, high, (away <= far).mean()))
    table = pd.DataFrame(rows, columns=["images", "n", "sure", "low", "high", "near"])
    return Confidence(margins[SAMPLES], bound, table)
