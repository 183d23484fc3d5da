"""The network, and how one run trains it: one file, to be read whole and adapted.

Images of any size make a batch without padding or warping: those of one size run through the
convolutions together, the others one by one, and the head makes a vector of the same length of each
map. The loss is the mean over the batch whatever the sizes. There is no batch normalisation, whose
statistics would be of sizes as much as of images.

Runs of one seed are paired. A weight is drawn by a generator of its own, seeded by (seed, name), so
methods start with the same weights wherever shapes agree, which is everywhere but in the classifier
behind heads of different lengths. The order of the images, the place of random crops and the sizes
of multi-size training are drawn by (seed, epoch), whatever the method.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812, as everywhere

import poolwise.torch as pt
from poolwise.compare.dataset import Dataset, Pixels
from poolwise.compare.methods import Body, Head, Method
from poolwise.compare.options import Options
from poolwise.embed.options import IMAGENET_MEAN, IMAGENET_STD

# Image sizes of multi-size training, and those that every method is tested at.
TRAIN_SCALES = (0.7, 1.0, 1.4)
TEST_SCALES = {"small": 0.5, "native": 1.0, "large": 1.5}


class Net(nn.Module):
    """Three convolutions with two poolings between them, a head, a linear classifier.

    Parameters
    ----------
    method : Method
        Body pooling and head; `fit` and `multi` are about images, see :func:`fitted`.
    classes : int
    width : int
        Channels of the first convolution; the others have twice and four times as many.
    seed : int
        Of the weights.
    """

    def __init__(self, method: Method, classes: int, width: int, seed: int = 0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            body_pool(method.body),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            body_pool(method.body),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
        )
        self.head = head_pool(method.head)
        self.classify = nn.Linear(4 * width * method.head.bins, classes)
        draw_weights(self, seed)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """(3, H, W) each, any sizes → (len(images), classes)."""
        by_size: dict[torch.Size, list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            by_size[image.shape].append(index)
        vectors = [
            self.head(self.features(torch.stack([images[i] for i in places])))
            for places in by_size.values()
        ]
        # from one size after the other back to the order of the images
        order = torch.tensor([i for places in by_size.values() for i in places]).argsort()
        return cast(Tensor, self.classify(torch.cat(vectors)[order.to(vectors[0].device)]))


def body_pool(body: Body) -> nn.Module:
    """A pooling that makes ceil(a / stride) cells of a, from a = 1 on, so no cell is unread.

    Windows are centred on their stride: with window − stride even, the rest of it lies half on
    each side. Padding is no data: it never wins a max and is not counted in a mean.
    """
    excess = body.kernel_size - body.stride
    padding = (excess + 1) // 2
    # 3/2 with one cell of padding has its ceil(a / 2) windows without ceil mode
    ceil_mode = excess % 2 == 0 or body.stride != 2
    size, stride = body.kernel_size, body.stride
    if body.kind == "max":
        return pt.MaxPool2d(size, stride, padding, ceil_mode=ceil_mode)
    if body.kind == "avg":
        return pt.AvgPool2d(size, stride, padding, ceil_mode, count_include_pad=False)
    pool = pt.LPPool2d(body.power, size, stride, ceil_mode)
    # zeros add nothing to a sum of powers
    return nn.Sequential(nn.ZeroPad2d(padding), pool) if padding else pool


def head_pool(head: Head) -> nn.Module:
    """A map or maps of any size → vectors of channels × bins numbers."""
    return pt.SpatialPyramidPool2d(head.levels, head.reducer)


def draw_weights(net: nn.Module, seed: int) -> None:
    """He's normal start for every weight, zero for every bias, each from (seed, its name)."""
    for name, weight in net.named_parameters():
        with torch.no_grad():
            if weight.ndim == 1:
                weight.zero_()
            else:
                draws = torch.randn(weight.shape, generator=generator_for(seed, name))
                weight.copy_(draws * math.sqrt(2 / weight[0].numel()))


def generator_for(*key: object) -> torch.Generator:
    """A random generator that depends on ``key`` alone."""
    digest = sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def as_tensor(pixels: Pixels, device: str) -> Tensor:
    """Bytes → what the network sees: (rgb − mean) / std with ImageNet's numbers, as in `embed`."""
    scale, offset = _normalisation(device)
    return torch.from_numpy(pixels).to(device).float().mul_(scale).add_(offset)


@lru_cache(maxsize=8)
def _normalisation(device: str) -> tuple[Tensor, Tensor]:
    """Factor and summand per channel, for bytes; made once, as there are many small images."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (1 / (255 * std)).to(device), (-mean / std).to(device)


def resized(image: Tensor, height: float, width: float) -> Tensor:
    """The image at another size, antialiased."""
    size = (max(1, round(height)), max(1, round(width)))
    if size == tuple(image.shape[1:]):
        return image
    made = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)
    return made[0]


def fitted(image: Tensor, fit: str, side: int, random: torch.Generator | None = None) -> Tensor:
    """What the network is given: the image as it is, or made to a square of ``side``.

    ``warp`` resizes without keeping the aspect. ``crop`` scales the shorter side to ``side`` and
    cuts the square in the middle, or anywhere with ``random`` (training), as AlexNet did.
    """
    _, height, width = image.shape
    if fit == "any":
        return image
    if fit == "warp":
        return resized(image, side, side)
    scale = side / min(height, width)
    image = resized(image, height * scale, width * scale)
    free = [size - side for size in image.shape[1:]]
    if random is None:
        top, left = (n // 2 for n in free)
    else:
        draws = torch.rand(2, generator=random).tolist()
        top, left = (int(u * (n + 1)) for u, n in zip(draws, free, strict=True))
    return image[:, top : top + side, left : left + side]


def batches(
    data: Dataset, method: Method, options: Options, seed: int, epoch: int
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """One epoch's mini-batches: images of any sizes, and their labels."""
    order = torch.randperm(len(data.train), generator=generator_for(seed, "order", epoch))
    sizes, places = (generator_for(seed, what, epoch) for what in ("size", "place"))
    for chosen in order.split(options.batch):
        step = int(torch.randint(len(TRAIN_SCALES), (), generator=sizes))
        scale = TRAIN_SCALES[step] if method.multi else 1.0
        indices = data.train[chosen.numpy()]
        images = []
        for index in indices:
            image = as_tensor(data.images[index], options.device)
            if method.fit == "any":
                _, height, width = image.shape
                image = resized(image, height * scale, width * scale)
            else:
                image = fitted(image, method.fit, max(1, round(data.side * scale)), places)
            images.append(image)
        yield images, torch.from_numpy(data.labels[indices]).to(options.device)


def train(
    data: Dataset,
    method: Method,
    options: Options,
    seed: int,
    on_step: Callable[[int], None] = lambda images: None,
) -> tuple[Net, list[float]]:
    """Train from the start; ``on_step`` is told the images of each step, and may raise to stop.

    Adam, its rate falling to zero along a cosine. Returns the network and each epoch's mean loss.
    """
    net = Net(method, len(data.classes), options.width, seed).to(options.device)
    optimizer = torch.optim.Adam(net.parameters(), options.learning_rate)
    steps = options.epochs * math.ceil(len(data.train) / options.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for epoch in range(options.epochs):
        total = 0.0
        for images, labels in batches(data, method, options, seed, epoch):
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(images)
            on_step(len(images))
        losses.append(total / len(data.train))
    return net.eval(), losses


@torch.inference_mode()
def predict(
    net: Net,
    data: Dataset,
    method: Method,
    options: Options,
    change: Callable[[Tensor], Tensor] = lambda image: image,
    indices: NDArray[np.int64] | None = None,
    on_step: Callable[[int], None] = lambda images: None,
) -> NDArray[np.int64]:
    """The class the network gives each test image (or ``indices``), after ``change`` of it."""
    wanted = data.test if indices is None else indices
    # sizes together: fewer, larger convolutions
    by_size = sorted(range(len(wanted)), key=lambda k: data.images[wanted[k]].shape)
    answers = np.empty(len(wanted), np.int64)
    for start in range(0, len(wanted), 64):
        places = by_size[start : start + 64]
        images = [
            fitted(change(as_tensor(data.images[i], options.device)), method.fit, data.side)
            for i in wanted[places]
        ]
        answers[places] = net(images).argmax(1).cpu().numpy()
        on_step(len(images))
    return answers


def scaled(scale: float) -> Callable[[Tensor], Tensor]:
    """A change for :func:`predict`: the image at another size."""
    return lambda image: resized(image, image.shape[1] * scale, image.shape[2] * scale)


def shifted(down: int, right: int, margin: int) -> Callable[[Tensor], Tensor]:
    """A change for :func:`predict`: the image less ``margin`` rows and columns, from there on."""

    def change(image: Tensor) -> Tensor:
        _, height, width = image.shape
        rows, columns = height - margin, width - margin
        return image[:, down : down + rows, right : right + columns]

    return change
