"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360, and the authors' later release 1.1).

Its convolutions are small on purpose, so half of its time in PyTorch is three max poolings. They
round up (`ceil_mode`), as the authors' Caffe does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)
from torch import nn

# (squeezed, expanded to 1x1 and to 3x3 each); "max" is a pooling of 3x3/2.
FIRES: tuple[tuple[int, int] | str, ...] = (
    "max",
    (16, 64),
    (16, 64),
    "max",
    (32, 128),
    (32, 128),
    "max",
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
)


class Fire(nn.Module):
    """1x1 convolutions to few channels, then 1x1 and 3x3 ones side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], dim=1)


class SqueezeNet(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(inplace=True)]
        channels = 64
        for fire in FIRES:
            if isinstance(fire, str):
                layers.append(nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True))
            else:
                squeezed, expanded = fire
                layers.append(Fire(channels, squeezed, expanded))
                channels = 2 * expanded
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.classifier(self.dropout(self.features(x))))
        return F.adaptive_avg_pool2d(x, 1).flatten(1)
