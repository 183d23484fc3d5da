"""The parts of networks that hold their poolings, where the rest would only dilute the number.

Each is written as its users write it: modules where they use modules, `F.*` calls where they call.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from benchmarks.networks.parts import conv_bn


class InceptionPoolBranch(nn.Module):
    """The pooling branch of Inception-v3's 35x35 modules (Szegedy et al. 2015, arXiv:1512.00567).

    An average of 3x3/1 that counts its padding, called in `forward`, then a 1x1 convolution.
    """

    def __init__(self, inputs: int = 288, outputs: int = 64) -> None:
        super().__init__()
        self.conv = conv_bn(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))


class InceptionPooling(nn.Module):
    """The pooling of :class:`InceptionPoolBranch` without its convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)


def resnet_stem() -> nn.Module:
    """What every ResNet begins with (He et al. 2015, arXiv:1512.03385, table 1)."""
    return nn.Sequential(
        conv_bn(3, 64, 7, stride=2), nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    )


def vgg_block() -> nn.Module:
    """The second stage of VGG-11 (Simonyan 2014, arXiv:1409.1556, configuration A): conv3-128."""
    return nn.Sequential(
        nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)
    )


def alexnet_features() -> nn.Module:
    """AlexNet's convolutions in one tower (Krizhevsky 2014, arXiv:1404.5997), overlapping poolings.

    Without local response normalisation, as it has been used since (VGG measured no gain from it).
    """

    def conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *conv(3, 64, 11, 4, 2),
        nn.MaxPool2d(3, 2),
        *conv(64, 192, 5, 1, 2),
        nn.MaxPool2d(3, 2),
        *conv(192, 384, 3, 1, 1),
        *conv(384, 256, 3, 1, 1),
        *conv(256, 256, 3, 1, 1),
        nn.MaxPool2d(3, 2),
    )


class SPP(nn.Module):
    """YOLO's spatial pyramid (Huang et al. 2019, arXiv:1903.08589): max 5, 9 and 13 side by side.

    Between 1x1 convolutions with SiLU, as in the later YOLOs.
    """

    def __init__(self, channels: int = 512, kernels: tuple[int, ...] = (5, 9, 13)) -> None:
        super().__init__()
        hidden = channels // 2
        self.reduce = conv_bn(channels, hidden, 1, activation=nn.SiLU)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in kernels)
        self.project = conv_bn(hidden * (1 + len(kernels)), channels, 1, activation=nn.SiLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.reduce(x)
        return self.project(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))


class SPPF(nn.Module):
    """The same windows from a chain: 5x5 twice is 9x9, thrice 13x13. One module, run thrice."""

    def __init__(self, channels: int = 512, kernel: int = 5) -> None:
        super().__init__()
        hidden = channels // 2
        self.reduce = conv_bn(channels, hidden, 1, activation=nn.SiLU)
        self.pool = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)
        self.project = conv_bn(hidden * 4, channels, 1, activation=nn.SiLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.reduce(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.project(torch.cat(maps, dim=1))


class UNet3dLevel(nn.Module):
    """One step down of a 3-D U-Net (Çiçek et al. 2016, arXiv:1606.06650): convolve, pool by 2."""

    def __init__(self, inputs: int = 16, outputs: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool3d(F.relu(self.conv(x)), kernel_size=2, stride=2)
