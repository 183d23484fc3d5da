"""Small sets of images with a known answer, for the tests of poolwise.compare."""

from __future__ import annotations

import numpy as np

from poolwise.compare import Dataset


def corners(train: int = 64, test: int = 64, seed: int = 0) -> Dataset:
    """A bright square in one of four quarters, away from the border; the quarter is the class.

    A global pooling cannot know where it was; a pyramid can. Sides are of 20 to 32 pixels.
    """
    generator = np.random.default_rng(seed)
    images, labels = [], []
    for k in range(train + test):
        height, width = (int(n) for n in generator.choice((20, 26, 32), 2))
        label = k % 4
        image = generator.integers(90, 130, (3, height, width)).astype(np.uint8)
        top = int(generator.integers(5, height // 2 - 5)) if height > 20 else 5
        left = int(generator.integers(5, width // 2 - 5)) if width > 20 else 5
        if label // 2:
            top = height - top - 4
        if label % 2:
            left = width - left - 4
        image[:, top : top + 4, left : left + 4] = 250
        images.append(image)
        labels.append(label)
    return Dataset(
        name="corners",
        classes=("upper left", "upper right", "lower left", "lower right"),
        images=images,
        labels=np.array(labels, np.int64),
        train=np.arange(train),
        test=np.arange(train, train + test),
    )


def noise(train: int = 40, test: int = 60, seed: int = 0) -> Dataset:
    """Images of nothing, labels by lot: no method can be better than another."""
    generator = np.random.default_rng(seed)
    sizes = generator.choice((9, 12, 16), (train + test, 2))
    return Dataset(
        name="noise",
        classes=("heads", "tails"),
        images=[generator.integers(0, 256, (3, h, w)).astype(np.uint8) for h, w in sizes],
        labels=generator.integers(0, 2, train + test),
        train=np.arange(train),
        test=np.arange(train, train + test),
    )
