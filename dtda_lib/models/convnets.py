"""The other convolutional networks of 2305.19765: CNN2-L for CIFAR, CNN3-L for MNIST and CIFAR.

CNN2-L for MNIST is `models.CNN2L`. All have ten outputs and PyTorch's own initialisation, and
create their layers in the published order: the same seed draws the same weights as the published
code. Three axes differ at once between them (depth, kernel size, width of the first fully
connected layer), so "model size" is not one clean axis: CNN3-L has smaller kernels than CNN2-L for
CIFAR. The published code trains CIFAR-10 for 30 epochs instead of 15 and is alike otherwise:
`dataclasses.replace(get_recipe("published_adam"), epochs=30)`.

Source: NetRGB, NetBWThree and NetRGBThree of the published code (utils.py:24-105); parameter
counts are derived from it.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


def _stage(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolution, GELU, 2x2 max-pooling: `(B, C, H, W)` -> `(B, C', H' // 2, W' // 2)`."""
    return F.max_pool2d(F.gelu(conv(x)), 2)


class CNN2LRGB(nn.Module):
    """CNN2-L for CIFAR exactly as published: 259,914 parameters.

    conv 3→32 k5, conv 32→64 k5, each followed by GELU and 2x2 max-pooling; fc 1600→128, GELU,
    fc 128→10.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 5)
        self.conv2 = nn.Conv2d(32, 64, 5)
        self.fc1 = nn.Linear(1600, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = _stage(self.conv1, x)  # (B, 3, 32, 32) -> (B, 32, 14, 14)
        x = _stage(self.conv2, x)  # (B, 32, 14, 14) -> (B, 64, 5, 5)
        x = F.gelu(self.fc1(x.flatten(1)))  # (B, 64, 5, 5) -> (B, 1600) -> (B, 128)
        return self.fc2(x)  # (B, 128) -> (B, 10)


class CNN3L(nn.Module):
    """CNN3-L for MNIST exactly as published: 619,786 parameters.

    conv 1→32 k3, conv 32→64 k3 padding 2, conv 64→128 k3 padding 2, each followed by GELU and
    2x2 max-pooling; fc 2048→256, GELU, fc 256→10.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=2)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=2)
        self.fc1 = nn.Linear(2048, 256)
        self.fc2 = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = _stage(self.conv1, x)  # (B, 1, 28, 28) -> (B, 32, 13, 13)
        x = _stage(self.conv2, x)  # (B, 32, 13, 13) -> (B, 64, 7, 7)
        x = _stage(self.conv3, x)  # (B, 64, 7, 7) -> (B, 128, 4, 4)
        x = F.gelu(self.fc1(x.flatten(1)))  # (B, 128, 4, 4) -> (B, 2048) -> (B, 256)
        return self.fc2(x)  # (B, 256) -> (B, 10)


class CNN3LRGB(nn.Module):
    """CNN3-L for CIFAR exactly as published: 620,362 parameters.

    conv 3→32 k3, conv 32→64 k3, conv 64→128 k3 padding 2, each followed by GELU and 2x2
    max-pooling; fc 2048→256, GELU, fc 256→10. Unlike for MNIST, only the last is padded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=2)
        self.fc1 = nn.Linear(2048, 256)
        self.fc2 = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = _stage(self.conv1, x)  # (B, 3, 32, 32) -> (B, 32, 15, 15)
        x = _stage(self.conv2, x)  # (B, 32, 15, 15) -> (B, 64, 6, 6)
        x = _stage(self.conv3, x)  # (B, 64, 6, 6) -> (B, 128, 4, 4)
        x = F.gelu(self.fc1(x.flatten(1)))  # (B, 128, 4, 4) -> (B, 2048) -> (B, 256)
        return self.fc2(x)  # (B, 256) -> (B, 10)


class ScaledCNN2L(nn.Module):
    """CNN2-L for MNIST in other sizes (our choice): at width 1 and depth 2 it is CNN2-L.

    Stages of an unpadded 3 x 3 convolution, GELU and 2 x 2 max-pooling with 32, 64, 128 channels,
    times the width; fc to 128 times the width, GELU, fc to 10. PyTorch's own initialisation.

    Args:
        width: Factor of the number of channels and of hidden units.
        depth: Number of stages, 1 to 3: a 28 x 28 image has no pixel left for a fourth.

    Raises:
        ValueError: another depth, or a width that leaves no channel.
    """

    def __init__(self, width: float = 1, depth: int = 2) -> None:
        super().__init__()
        if depth not in (1, 2, 3) or round(32 * width) < 1:
            raise ValueError(f"ScaledCNN2L: width {width}, depth {depth}; give a depth of 1 to 3.")
        channels = [1, *(round(32 * width) * 2**stage for stage in range(depth))]
        side = (13, 5, 1)[depth - 1]
        hidden = round(128 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairwise(channels))
        self.fc1 = nn.Linear(channels[-1] * side * side, hidden)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.stages:
            x = _stage(conv, x)
        return self.fc2(F.gelu(self.fc1(x.flatten(1))))
