"""Prints the windows that lose a NaN which is the only one, at every place near a row's ends.

test_native_isa.py runs it once per instruction set: how many cells a register holds decides which
cells are looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import poolwise as pw
from poolwise import Windows

KERNELS = [
    *(((k, k), (s, s)) for k in (3, 4, 5) for s in (1, 2)),
    ((1, 5), (1, 1)),
    ((2, 5), (1, 1)),
    ((3, 4), (2, 1)),
    ((5, 3), (3, 3)),
]
ROWS = (0, 9, 23)


def planes(dtype: str) -> Iterator[tuple[str, NDArray, NDArray]]:
    """Arrays, and the plane of each that the NaN is put into: a view."""
    dense = np.zeros((24, 40), dtype)
    yield "dense", dense, dense
    sliced = np.zeros((24, 49), dtype)[:, 3:43]
    yield "sliced", sliced, sliced
    wide = np.zeros((24, 2100), dtype)
    yield "wide", wide, wide
    stack = np.zeros((3, 24, 40), dtype)
    yield "volume", stack, stack[1]
    last = np.zeros((24, 40, 7), dtype)
    yield "channels last", last, last[..., 5]
    small = np.zeros((24, 13), dtype)
    yield "small", small, small


def lost(dtype: str) -> Iterator[str]:
    for (name, x, plane), (kernel, stride), padding, dilation in itertools.product(
        planes(dtype), KERNELS, (0, 1), (1, 2)
    ):
        windows = Windows.sliding(kernel, stride, padding, dilation=dilation)
        width = plane.shape[1]
        columns = [*range(3), *range(width - 7, width)]
        for row, column in itertools.product(ROWS, columns):
            plane[row, column] = np.nan
            expected = sees_nan(plane, windows)
            for found in answers(name, x, (kernel, stride, padding, dilation)):
                if not np.array_equal(np.isnan(found), expected):
                    yield f"{dtype} {name} {windows} {row},{column}"
            plane[row, column] = 0


def answers(name: str, x: NDArray, window: tuple[Any, Any, int, int]) -> Iterator[NDArray]:
    kernel, stride, padding, dilation = window
    if name == "volume":
        deep = ((2, *kernel), (1, *stride), (0, padding, padding), (1, dilation, dilation))
        yield pw.max_pool(x, *deep, axes=(0, 1, 2))[1]
        return
    y = pw.max_pool(x, *window, axes=(0, 1))
    first, _ = pw.max_pool(x, *window, axes=(0, 1), return_indices=True)
    for values in (y, first):
        yield values[..., 5] if name == "channels last" else values


def sees_nan(plane: NDArray, windows: Windows) -> NDArray:
    """Which windows do: sums keep every NaN."""
    return np.isnan(pw.pool(np.asfortranarray(plane.astype(np.float64)), windows, "sum"))


if __name__ == "__main__":
    for dtype in ("float64", "float32", "float16"):
        for line in lost(dtype):
            print(line)
