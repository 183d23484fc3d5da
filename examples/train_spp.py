"""Train a small CNN with spatial pyramid pooling on images of different sizes, none of them padded.

    python examples/train_spp.py

The textures are made here: stripes of two directions and checkerboards, each image of its own size
and aspect. A batch is a list. The convolutions run image by image, and one call pools all maps to
vectors of one length, with gradients. Needs poolwise and PyTorch alone; takes some seconds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import poolwise.torch as pt

CLASSES = ("rows", "columns", "checks")


def make_image(kind: int, generator: torch.Generator) -> Tensor:
    """One texture (1, H, W), 17 to 40 pixels a side, with noise."""
    height, width, period, phase = (
        int(torch.randint(low, high, (), generator=generator))
        for low, high in ((17, 41), (17, 41), (2, 5), (0, 4))
    )
    rows = (torch.arange(height) + phase) // period % 2
    columns = (torch.arange(width) + phase) // period % 2
    picture = (
        rows[:, None].expand(height, width),
        columns.expand(height, width),
        rows[:, None] ^ columns,
    )[kind]
    noise = torch.randn(height, width, generator=generator)
    return (picture + 0.5 * noise)[None].float()


def make_set(count: int, seed: int) -> list[tuple[Tensor, int]]:
    generator = torch.Generator().manual_seed(seed)
    return [(make_image(i % len(CLASSES), generator), i % len(CLASSES)) for i in range(count)]


class Net(nn.Module):
    """Two convolutions, a pyramid of 1 + 4 + 16 bins, a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            pt.MaxPool2d(2),
            nn.Conv2d(8, 16, 3),
            nn.ReLU(),
        )
        self.pyramid = pt.SpatialPyramidPool2d((1, 2, 4))
        self.classify = nn.Linear(16 * (1 + 4 + 16), len(CLASSES))

    def forward(self, images: list[Tensor]) -> Tensor:
        maps = [self.features(image) for image in images]
        return self.classify(self.pyramid(maps))


def accuracy(net: nn.Module, data: list[tuple[Tensor, int]]) -> float:
    with torch.no_grad():
        scores = net([image for image, _ in data])
    return float((scores.argmax(1) == torch.tensor([label for _, label in data])).float().mean())


def train(epochs: int = 6, batch: int = 16, seed: int = 0) -> tuple[float, float]:
    """Train, print each epoch's loss, and return the accuracy on new images, before and after."""
    torch.manual_seed(seed)
    net = Net()
    data, test = make_set(240, seed), make_set(90, seed + 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    before = accuracy(net, test)
    for epoch in range(epochs):
        total = 0.0
        for start in range(0, len(data), batch):
            images, labels = zip(*data[start : start + batch], strict=True)
            loss = nn.functional.cross_entropy(net(list(images)), torch.tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(images)
        print(f"epoch {epoch + 1}: loss {total / len(data):.3f}")
    after = accuracy(net, test)
    print(f"right on {len(test)} new images of other sizes: {before:.0%} before, {after:.0%} after")
    return before, after


if __name__ == "__main__":
    train()
