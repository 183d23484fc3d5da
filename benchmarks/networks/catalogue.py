"""The networks and what is expected of them, as data: add a line, not a script.

Targets are ratios torch / poolwise in one setting: float32, NCHW, batch 8, two threads, eager
inference. Below the floor no row may fall, whatever its setting: 0.98 is 1 less the noise of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from benchmarks.networks import blocks
from benchmarks.networks.googlenet import GoogLeNet
from benchmarks.networks.parts import initialise
from benchmarks.networks.squeezenet import SqueezeNet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

Layout = Literal["nchw", "channels_last"]
Mode = Literal["inference", "training"]
LAYOUTS: tuple[Layout, ...] = ("nchw", "channels_last")
MODES: tuple[Mode, ...] = ("inference", "training")
FLOOR = 0.98


class Setting(NamedTuple):
    """How a network is run."""

    batch: int
    layout: Layout
    mode: Mode
    threads: int


@dataclass(frozen=True)
class Network:
    """A network, the shape of one of its inputs (C, H, W) or (C, D, H, W), and its target.

    `inner` networks are parts from the middle of a larger one: in training their input has a
    gradient too, without which a pooling that comes first would have no backward at all.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    inner: bool = False
    target: float | None = None

    def build(self) -> nn.Module:
        """A new model with weights that are the same each time."""
        with torch.random.fork_rng(devices=[]):  # constructors draw weights that we replace
            return initialise(self.make())

    def threshold(self, setting: Setting) -> float:
        """The ratio below which the row is marked."""
        applies = setting == Setting(8, "nchw", "inference", 2)
        return self.target if applies and self.target else FLOOR


NETWORKS: tuple[Network, ...] = (
    Network("SqueezeNet 1.1", SqueezeNet, (3, 224, 224), target=1.8),
    Network("GoogLeNet", GoogLeNet, (3, 224, 224), target=1.8),
    Network(
        "Inception-v3 pool branch",
        blocks.InceptionPoolBranch,
        (288, 35, 35),
        inner=True,
        target=5.0,
    ),
    Network(
        "Inception-v3 pool branch, pooling only",
        blocks.InceptionPooling,
        (288, 35, 35),
        inner=True,
        target=5.0,
    ),
    Network("ResNet-18 stem", blocks.resnet_stem, (3, 224, 224), target=1.35),
    Network("VGG-11 block", blocks.vgg_block, (64, 112, 112), inner=True),
    Network("AlexNet features", blocks.alexnet_features, (3, 224, 224)),
    Network("YOLO SPP block", blocks.SPP, (512, 20, 20), inner=True, target=4.0),
    Network("YOLO SPPF block", blocks.SPPF, (512, 20, 20), inner=True),
    Network("3-D U-Net level", blocks.UNet3dLevel, (16, 32, 32, 32), inner=True),
)


def choose(wanted: str | None) -> tuple[Network, ...]:
    """Networks by parts of their names, comma-separated, in any case; None is all."""
    if wanted is None:
        return NETWORKS
    words = [word.strip().lower() for word in wanted.split(",") if word.strip()]
    chosen = tuple(n for n in NETWORKS if any(word in n.name.lower() for word in words))
    if not chosen:
        names = "; ".join(network.name for network in NETWORKS)
        raise ValueError(f"no network matches {wanted!r}; there are {names}")
    return chosen


def settings(
    batches: Sequence[int],
    layouts: Sequence[Layout],
    modes: Sequence[Mode],
    threads: Sequence[int],
) -> Iterator[Setting]:
    """All combinations, each batch's inference before its training."""
    for count, batch, mode, layout in product(threads, batches, modes, layouts):
        yield Setting(batch, layout, mode, count)
