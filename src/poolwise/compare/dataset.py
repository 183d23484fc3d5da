"""Labelled images of any size, split into training and test, as one value.

Pixels are kept as bytes: a set of photographs has to fit in memory once per process, and eight
bits are what nearly all files hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolwise.compare.errors import CompareError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Dataset:
    """Images (3, H, W) with labels.

    Attributes
    ----------
    name : str
        For titles: the folder or the built-in set.
    classes : tuple of str
        ``labels`` index it.
    images : list of uint8 arrays (3, H, W)
    labels : int64 array
    train, test : int64 arrays
        Indices into ``images``, disjoint.
    notes : tuple of str
        What a reader has to know about this set: what was left out, merged, or cannot be tested.
    failures : tuple of (path, reason)
        Files that could not be read.

    Raises
    ------
    CompareError
        If the parts do not fit together.
    """

    name: str
    classes: tuple[str, ...]
    images: list[Pixels]
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    failures: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        for image in self.images:
            if image.dtype != np.uint8 or image.ndim != 3 or len(image) != 3 or not image.size:
                found = f"{image.dtype} {image.shape}"
                raise CompareError(f"images must be uint8 arrays (3, height, width), not {found}")
        if len(self.labels) != len(self.images):
            counts = f"{len(self.images)} images and {len(self.labels)} labels"
            raise CompareError(f"every image needs a label: there are {counts}")
        if not len(self.train) or not len(self.test) or np.intersect1d(self.train, self.test).size:
            raise CompareError("train and test must have images, and none in common")
        if len(self.classes) < 2 or not np.isin(self.labels, range(len(self.classes))).all():
            raise CompareError("labels must be indices into two classes or more")

    @cached_property
    def side(self) -> int:
        """The square that crop and warp make: the median side of the training images."""
        sides: list[int] = [n for i in self.train for n in self.images[i].shape[1:]]
        return max(1, round(median(sides)))

    def fingerprint(self) -> str:
        """Changes when anything does that a result depends on."""
        digest = sha256(repr(self.classes).encode())
        arrays: list[NDArray[Any]] = [self.labels, self.train, self.test, *self.images]
        for array in arrays:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def describe(self) -> dict[str, object]:
        """Counts and sizes, for reports."""
        sides = [n for image in self.images for n in image.shape[1:]]
        return {
            "name": self.name,
            "classes": list(self.classes),
            "train_images": len(self.train),
            "test_images": len(self.test),
            "shortest_side": min(sides),
            "longest_side": max(sides),
            "sizes": len({image.shape for image in self.images}),
            "square_of_crop_and_warp": self.side,
            "notes": list(self.notes),
            "failures": [list(failure) for failure in self.failures],
        }
