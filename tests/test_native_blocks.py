"""Windows that share little, over dense rows: joined downwards as they are read, then along.

What is laid out otherwise takes another kernel, so every answer has somebody to agree with: maxima
to the bit, signs of zero among them. Even bins are such windows too.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import poolwise as pw
from _dense import agree, dtype_named, fits, values
from poolwise import Windows, reducers

pytestmark = pytest.mark.usefixtures("eight_threads")

WINDOWS = {
    "4x4/4": Windows.sliding(4),
    "7x7/7": Windows.sliding(7),
    "8x8/8 over the end": Windows.sliding(8, 8, 3, ceil_mode=True),
    "13x3/5": Windows.sliding((13, 3), (7, 5), (4, 1)),
    "3x13/2,4": Windows.sliding((3, 13), (2, 4), (1, 6)),
    "5x5/9": Windows.sliding(5, 9),
    "1x6/6": Windows.sliding((1, 6), (1, 6)),
    "16x1/16": Windows.sliding((16, 1), (16, 4)),
    "40x33/40": Windows.sliding((40, 33), (40, 33)),
}
# Several planes; one alone, in bands; rows of bytes that fill no register, and too short for any;
# rows that are not whole registers; a row for many windows.
SHAPES = [(3, 2, 40, 112), (1, 211, 300), (5, 30, 28), (4, 50, 21), (4, 40, 19), (2, 41, 65),
          (2, 3, 4100)]  # fmt: skip


@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "uint8", "int16"])
@pytest.mark.parametrize("windows", WINDOWS)
def test_blocks(windows: str, dtype: str, special: bool) -> None:
    kind = dtype_named(dtype)
    for shape in SHAPES:
        if not fits(WINDOWS[windows], shape[-2:]):
            continue
        x = values(shape, kind, special)
        for reducer in ("max", "min", "mean"):
            y = pw.pool(x, WINDOWS[windows], reducer)
            other = pw.pool(np.asfortranarray(x), WINDOWS[windows], reducer)
            agree(y, other, reducer, dtype)


@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_blocks_of_volumes_and_signals(dtype: str, special: bool) -> None:
    kind = dtype_named(dtype)
    for shape, windows in (
        ((2, 9, 14, 44), Windows.sliding((4, 5, 6), (4, 5, 6), (1, 2, 3))),
        ((2, 30, 5, 60), Windows.sliding((3, 2, 7), (2, 2, 5))),
        ((3, 999), Windows.sliding(25, 25)),
        ((2, 64), Windows.sliding(9, 6, 4)),
    ):
        x = values(shape, kind, special)
        axes = tuple(range(1, x.ndim))
        for reducer in ("max", "mean"):
            y = pw.pool(x, windows, reducer, axes=axes)
            agree(y, pw.pool(np.asfortranarray(x), windows, reducer, axes=axes), reducer, dtype)


@pytest.mark.parametrize("width", range(1, 81))
def test_every_width(width: int) -> None:
    for dtype in ("float32", "uint8", "float16"):
        x = values((3, 8, width), dtype_named(dtype), special=True)
        windows = Windows.sliding((4, min(4, width)), (4, 4))
        for reducer in ("max", "mean"):
            y = pw.pool(x, windows, reducer)
            agree(y, pw.pool(np.asfortranarray(x), windows, reducer), reducer, dtype)


def test_a_nan_stays_in_its_block_wherever_it_is() -> None:
    x = np.zeros((24, 44), np.float32)
    for h in range(24):
        for w in range(44):
            x[h, w] = np.nan
            expected = np.zeros((6, 11), bool)
            expected[h // 4, w // 4] = True
            for reducer in ("max", "min", "mean"):
                assert np.array_equal(np.isnan(pw.pool(x, Windows.sliding(4), reducer)), expected)
            x[h, w] = 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_of_equal_zeros_the_first_wins(dtype: str) -> None:
    """In row-major order, though rows are joined downwards first."""
    kind = dtype_named(dtype)
    x = np.full((4, 20), -1).astype(kind)
    x[0, 1], x[1, 0] = -0.0, 0.0
    assert np.signbit(pw.max_pool(x, 4)[0, 0])
    rng = np.random.default_rng(8)
    for size in (4, (5, 7), (1, 9)):
        windows = Windows.sliding(size, size)
        x = rng.choice([-1, -0.0, 0.0], (3, 45, 83)).astype(kind)
        agree(
            pw.pool(x, windows, "max"), pw.pool(np.asfortranarray(x), windows, "max"), "max", dtype
        )
        x = -x
        agree(
            pw.pool(x, windows, "min"), pw.pool(np.asfortranarray(x), windows, "min"), "min", dtype
        )
    bins = rng.choice([-1, -0.0, 0.0], (2, 24, 112)).astype(kind)
    even = pw.adaptive_max_pool(bins, (6, 28))
    agree(even, pw.adaptive_max_pool(np.asfortranarray(bins), (6, 28)), "max", dtype)


def test_kernels_beyond_any_map() -> None:
    x = np.zeros((1, 20, 20, 40), np.float32)
    windows = Windows.sliding((2**32, 2**32, 4), (2**32, 2**32, 4), (2**31, 2**31, 0))
    assert not pw.pool(x, windows, "max", axes=(1, 2, 3)).any()


@pytest.mark.parametrize(
    "mean",
    [
        reducers.mean,
        reducers.mean_with(count_include_pad=False),
        reducers.mean_with(divisor_override=5),
    ],
    ids=["padding", "cells", "five"],
)
def test_divisors(mean: reducers.Reducer) -> None:
    x = values((2, 40, 112), np.dtype("float32"), special=False)
    for windows in (Windows.sliding(8, 6, 3, ceil_mode=True), Windows.sliding(7, 7, 3)):
        y = pw.pool(x, windows, mean)
        agree(y, pw.pool(np.asfortranarray(x), windows, mean), "mean", "float32")


def test_rows_that_lie_apart_and_results_that_do() -> None:
    whole = values((4, 60, 128), np.dtype("float32"), special=True)
    x = whole[:, ::3, 16:-12]
    room = np.zeros((4, 9, 30), np.float32)
    y = pw.max_pool(x, 5, 4, out=room[:, ::2, 2:-4][:, :4])
    assert np.array_equal(y, pw.max_pool(x.copy(), 5, 4), equal_nan=True)
    room[:, :8:2, 2:-4] = 0
    assert not room.any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8"])
def test_even_bins_are_windows(dtype: str) -> None:
    """Bins that are cut evenly are those windows, to the bit; one more cell, and they are not."""
    kind = dtype_named(dtype)
    for shape, bins in (((3, 24, 112), (6, 28)), ((1, 96, 96), (48, 48)), ((2, 112, 60), (16, 10))):
        x = values(shape, kind, special=kind.kind == "f")
        size = tuple(n // b for n, b in zip(shape[1:], bins, strict=True))
        for bin_pool, window_pool, reducer in (
            (pw.adaptive_max_pool, pw.max_pool, "max"),
            (pw.adaptive_avg_pool, pw.avg_pool, "mean"),
        ):
            y = bin_pool(x, bins)
            assert np.array_equal(y, window_pool(x, size, size), equal_nan=True)
            agree(y, bin_pool(np.asfortranarray(x), bins), reducer, dtype)
            longer = np.concatenate([x, x[:, -1:]], axis=1)
            agree(bin_pool(longer, bins), bin_pool(np.asfortranarray(longer), bins), reducer, dtype)


def test_sums_of_many_rows_stay_close() -> None:
    rng = np.random.default_rng(5)
    x = rng.random((2, 256, 256), np.float32)
    exact = x.reshape(2, 1, 256, 4, 64).astype(np.float64).mean((2, 4))
    np.testing.assert_allclose(pw.avg_pool(x, (256, 64), (256, 64)), exact, rtol=2e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "int16"])
def test_three_apart(dtype: str) -> None:
    """Cells of every third place: what no instruction picks out of bytes."""
    kind = dtype_named(dtype) if dtype != "bfloat16" else np.dtype(ml_dtypes.bfloat16)
    for size in (2, 3, 5):
        for width in (24, 112, 200):
            x = values((2, 23, width), kind, special=False)
            windows = Windows.sliding(size, 3, size // 2)
            y = pw.pool(x, windows, "max")
            agree(y, pw.pool(np.asfortranarray(x), windows, "max"), "max", dtype)
