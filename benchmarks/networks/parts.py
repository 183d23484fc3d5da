"""What the models share: a convolution with its batch norm, and weights that never change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 2014


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    activation: Callable[[], nn.Module] = lambda: nn.ReLU(inplace=True),
) -> nn.Sequential:
    """A convolution that keeps the map's size at stride 1, batch norm (Ioffe 2015), activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        activation(),
    )


def initialise(model: nn.Module, seed: int = SEED) -> nn.Module:
    """Weights after He 2015 and zero biases, so that activations neither vanish nor overflow.

    An output that vanished would agree with any other, and a check of it would check nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
