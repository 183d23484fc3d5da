"""Outputs larger than the last cache are written past it: the same numbers, wherever lines begin.

Only the stores differ, so every bit of every dtype is the same, and nothing beside the output is
written. Small arrays are made to count as large ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

import poolwise as pw
from _dense import DTYPES, dtype_named, fits, same_bits, values
from poolwise import Windows, _native

WINDOWS = [
    *(Windows.sliding(k, 1, k // 2) for k in (2, 3, 5, 7, 13, 31)),
    *(Windows.sliding(3, 1), Windows.sliding((3, 1), 1, (1, 0)), Windows.sliding(3, 1, 2, 2)),
    *(Windows.sliding(3, 1, p, 2) for p in (0, 1)),
    *(
        Windows.sliding(2),
        Windows.sliding(3, 2, 1),
        Windows.sliding(3, 3),
        Windows.sliding(5, 3, 2),
        Windows.sliding((3, 4), (9, 1), 1),
        Windows.sliding((5, 3), (5, 2), (2, 1)),
        Windows.sliding((2, 5), (4, 3), (1, 2)),
    ),
]
SHAPES = [(3, 7, 7), (2, 33, 112), (3, 31, 61), (1, 40, 301), (2, 24, 24), (2, 11, 80)]


@contextmanager
def without_caches() -> Iterator[None]:
    _native.assume_last_cache(1)
    try:
        yield
    finally:
        _native.assume_last_cache(0)


def placed(like: NDArray, offset: int) -> tuple[NDArray, NDArray]:
    """An array for the answer, `offset` elements into memory of its own, and that memory."""
    memory = np.full(like.size + 64 + offset, 77, like.dtype)
    return memory[offset : offset + like.size].reshape(like.shape), memory


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_and_nothing_else(dtype: str, last: bool) -> None:
    kind = dtype_named(dtype)
    for shape in SHAPES:
        x = values(shape, kind, special=False)
        axes = (1, 2)
        if last:
            x = np.stack([x, *(np.roll(x, n, 2) for n in range(16 + shape[0]))], axis=-1)
        for number, windows in enumerate(WINDOWS):
            if not fits(windows, shape[1:]):
                continue
            for reducer in ("max", "mean"):
                y = pw.pool(x, windows, reducer, axes=axes)
                out, memory = placed(y, number % 33)
                with without_caches():
                    pw.pool(x, windows, reducer, axes=axes, out=out)
                assert same_bits(out, y)
                assert (np.delete(memory, slice(number % 33, number % 33 + y.size)) == 77).all()


def test_nan_calls_for_care_there_too() -> None:
    x = values((2, 33, 112), np.dtype("float32"), special=True)
    for windows in WINDOWS:
        y = pw.pool(x, windows, "max")
        with without_caches():
            assert same_bits(pw.pool(x, windows, "max"), y)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("columns", [48, 50])
@pytest.mark.parametrize("size", [3, 5, 13])
def test_lines_begin_anywhere(size: int, columns: int, last: bool) -> None:
    """What a row, a plane or a unit leaves of a line goes on with the next, or ends there."""
    x = values((32, 19, columns), np.dtype("float32"), special=False)
    axes = (0, 1) if last else (1, 2)
    x = np.ascontiguousarray(x.transpose(1, 2, 0)) if last else x
    windows = Windows.sliding(size, 1, size // 2)
    y = pw.pool(x, windows, "max", axes=axes)
    for offset in range(17):
        for planes in (slice(None), slice(1, -3)):  # (the latter: rows of channels with gaps)
            out, memory = placed(y, offset)
            part = out[..., planes] if last else out[planes]
            with without_caches():
                pw.pool(x[..., planes] if last else x[planes], windows, "max", axes=axes, out=part)
            assert same_bits(part, y[..., planes] if last else y[planes])
            part[...] = 77
            assert (memory == 77).all()


@pytest.mark.parametrize("channels", [3, 18])
def test_winners_too(channels: int) -> None:
    x = values((2, 33, 36, channels), np.dtype("float32"), special=False)
    for size, stride in ((2, 2), (3, 1), (3, 2), (7, 1)):
        options = {"stride": stride, "padding": size // 2, "axes": (1, 2), "return_indices": True}
        y, places = pw.max_pool(x, size, **options)
        with without_caches():
            past = pw.max_pool(x, size, **options)
        assert same_bits(past[0], y)
        assert np.array_equal(past[1], places)
