"""The convolutional network of notebook 08."""

import torch.nn.functional as F
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Two convolutions for images of 14 x 14 pixels, smooth throughout (our choice).

    conv 1→8 and conv 8→16, both k3, each followed by GELU and 2x2 average pooling; fc 64→outputs.
    1,573 parameters with five outputs.
    """

    def __init__(self, n_outputs: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.fc = nn.Linear(64, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.gelu(self.conv1(x)), 2)  # (B, 1, 14, 14) -> (B, 8, 6, 6)
        x = F.avg_pool2d(F.gelu(self.conv2(x)), 2)  # (B, 8, 6, 6) -> (B, 16, 2, 2)
        return self.fc(x.flatten(1))  # (B, 16, 2, 2) -> (B, 64) -> (B, n_outputs)
