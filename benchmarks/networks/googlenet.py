"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842), as it is run: no auxiliary classifiers.

With batch norm (Ioffe and Szegedy 2015) in the place of local response normalisation. Thirteen max
poolings, nine of them 3x3/1 within the inception modules, and one global average.
"""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.networks.parts import conv_bn

# Table 1 of the paper: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj. "max" is 3x3/2.
MODULES: tuple[tuple[int, int, int, int, int, int] | str, ...] = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    "max",
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    "max",
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


class Inception(nn.Module):
    """Figure 2b: four branches over one input, concatenated; the last begins with a max pooling."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        ones, reduce3, threes, reduce5, fives, pooled = widths
        self.branch1 = conv_bn(inputs, ones, 1)
        self.branch3 = nn.Sequential(conv_bn(inputs, reduce3, 1), conv_bn(reduce3, threes, 3))
        self.branch5 = nn.Sequential(conv_bn(inputs, reduce5, 1), conv_bn(reduce5, fives, 5))
        self.branch_pool = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1), conv_bn(inputs, pooled, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return torch.cat([branch(x) for branch in branches], dim=1)


def _max_pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class GoogLeNet(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            conv_bn(3, 64, 7, stride=2),
            _max_pool(),
            conv_bn(64, 64, 1),
            conv_bn(64, 192, 3),
            _max_pool(),
        ]
        channels = 192
        for widths in MODULES:
            if isinstance(widths, str):
                layers.append(_max_pool())
            else:
                layers.append(Inception(channels, widths))
                ones, _, threes, _, fives, pooled = widths
                channels = ones + threes + fives + pooled
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.4)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.features(x)).flatten(1)
        return self.classifier(self.dropout(x))
