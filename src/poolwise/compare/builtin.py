"""The two sets that need no download: scikit-learn's digits, and crops of packaged photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolwise.compare.dataset import Dataset, Pixels
from poolwise.embed import MissingExtraError
from poolwise.embed.sample import photographs

# Too small for sixteen blocks; made of flat colours.
_LEFT_OUT = ("microaneurysms.png", "color.png")
_BLOCKS = 4
_TRAIN_CROPS, _TEST_CROPS = 30, 20
_TRAIN_DIGITS = 40  # of each
# Sides are of a few sizes, as cameras have, and small enough to train on in seconds.
_SIDES = range(24, 65, 4)
# A crop of sky or of an empty slide shows nothing of its photograph: grey levels, of 255.
_LEAST_CONTRAST = 10.0
_NOISE = 6.0


def textures() -> Dataset:
    """Which photograph is this crop from? Crops of 24 to 64 pixels a side, of any aspect.

    Each photograph is cut into 4 × 4 blocks. One of each row and column of blocks gives the test
    crops and the other twelve the training crops, so no pixel is in both. Crops differ in
    brightness and contrast, and have noise, so that the mean colour alone is not the answer.
    """
    generator = np.random.default_rng(20260101)
    paths = [path for path in photographs() if path.name not in _LEFT_OUT]
    images: list[Pixels] = []
    labels: list[int] = []
    is_test: list[bool] = []
    for label, path in enumerate(paths):
        with Image.open(path) as picture:
            blocks = cut(np.asarray(picture.convert("RGB"), np.float32))
        for test, count in ((False, _TRAIN_CROPS), (True, _TEST_CROPS)):
            own = [block for block, of_test in blocks if of_test == test]
            images += [_crop(own[k % len(own)], generator) for k in range(count)]
            labels += [label] * count
            is_test += [test] * count
    marks = np.array(is_test)
    return Dataset(
        name="textures",
        classes=tuple(path.stem for path in paths),
        images=images,
        labels=np.array(labels, np.int64),
        train=np.flatnonzero(~marks),
        test=np.flatnonzero(marks),
    )


def cut(pixels: NDArray[np.float32]) -> list[tuple[NDArray[np.float32], bool]]:
    """The 4 × 4 blocks (h, w, 3) of a photograph, as views, and whether each is for testing."""
    height, width = (n // _BLOCKS for n in pixels.shape[:2])
    return [
        (
            pixels[row * height : (row + 1) * height, column * width : (column + 1) * width],
            (row + column) % _BLOCKS == 0,
        )
        for row in range(_BLOCKS)
        for column in range(_BLOCKS)
    ]


def _crop(block: NDArray[np.float32], generator: np.random.Generator) -> Pixels:
    """A window of random size and place, the first of twenty that shows something."""
    for _ in range(20):
        top, left, height, width = _window(block.shape[0], block.shape[1], generator)
        window = block[top : top + height, left : left + width]
        if window.std() >= _LEAST_CONTRAST:
            break
    gain, offset = generator.uniform(0.8, 1.2), generator.uniform(-20, 20)
    noise = generator.normal(0, _NOISE, window.shape)
    values = ((window - 128) * gain + 128 + offset + noise).round().clip(0, 255)
    return np.ascontiguousarray(values.astype(np.uint8).transpose(2, 0, 1))


def _window(rows: int, columns: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height, width."""
    height, width = (
        int(generator.choice([side for side in _SIDES if side <= n])) for n in (rows, columns)
    )
    top, left = (
        int(generator.integers(rows - height + 1)),
        int(generator.integers(columns - width + 1)),
    )
    return top, left, height, width


def digits() -> Dataset:
    """scikit-learn's handwritten digits, 8 × 8; 400 to train on, the other 1397 to test.

    So few to train on, because with most of them every network is right nearly always.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingExtraError("the digits", "scikit-learn", "compare") from None
    bunch = load_digits()
    values = (bunch.images * (255 / 16)).round().astype(np.uint8)
    images = [np.ascontiguousarray(np.broadcast_to(image, (3, 8, 8))) for image in values]
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(20260101).permutation(len(images))
    train = np.sort(np.concatenate([order[labels[order] == d][:_TRAIN_DIGITS] for d in range(10)]))
    return Dataset(
        name="digits",
        classes=tuple(str(d) for d in range(10)),
        images=images,
        labels=labels,
        train=train,
        test=np.setdiff1d(order, train),
        notes=("all images are 8 × 8, so crop and warp change nothing at that size",),
    )


BUILT_IN = {"textures": textures, "digits": digits}
