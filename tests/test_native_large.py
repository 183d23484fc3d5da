"""Large windows at stride 1, dilated ones, and everything over channels that lie last.

What is laid out otherwise takes other kernels, and small arrays the reference: see `_dense.py`.
"""

from __future__ import annotations

import numpy as np
import pytest

import poolwise as pw
from _dense import DTYPES, agree, dtype_named, fits, other_way, same_bits, values
from poolwise import Windows

WINDOWS = {
    **{f"{k}x{k}": Windows.sliding(k, 1, k // 2) for k in (2, 3, 5, 7, 8, 9, 10, 16, 17, 31)},
    "33x33": Windows.sliding(33, 1, 16),
    "63x63": Windows.sliding(63, 1, 31),
    "65x9": Windows.sliding((65, 9), 1, (32, 4)),
    "1x7": Windows.sliding((1, 7), 1, (0, 3)),
    "7x1": Windows.sliding((7, 1), 1, (3, 0)),
    "9x2 without padding": Windows.sliding((9, 2), 1),
    "one side": Windows.sliding(8, 1, ((7, 0), (0, 7))),
    "dilation 2": Windows.sliding(3, 1, 1, dilation=2),
    "dilation 3,5": Windows.sliding((9, 7), 1, (12, 15), dilation=(3, 5)),
    "rows in steps": Windows.sliding((9, 7), (3, 1), 3),
    "rows apart": Windows.sliding((7, 9), (8, 1), (0, 4)),
    "ceil": Windows.sliding((4, 7), (3, 1), (1, 3), ceil_mode=True),
}
SHAPES = [(2, 33, 112), (3, 70, 64), (1, 20, 301), (2, 12, 37)]


@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("windows", WINDOWS)
def test_dense_rows(windows: str, dtype: str, special: bool) -> None:
    kind = dtype_named(dtype)
    for shape in SHAPES:
        if not fits(WINDOWS[windows], shape[1:]):
            continue
        x = values(shape, kind, special)
        for reducer in ("max", "min", "mean"):
            y = pw.pool(x, WINDOWS[windows], reducer)
            agree(y, other_way(x, WINDOWS[windows], reducer), reducer, dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 16, 17, 40, 100])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "float64"])
def test_channels_last(channels: int, dtype: str) -> None:
    x = values((2, channels, 19, 23), np.dtype(dtype), special=True)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    for windows in WINDOWS.values():
        if not fits(windows, x.shape[2:]):
            continue
        for reducer in ("max", "mean"):
            y = pw.pool(last, windows, reducer, axes=(1, 2)).transpose(0, 3, 1, 2)
            agree(y, other_way(x, windows, reducer), reducer, dtype)


@pytest.mark.parametrize("reducer", ["max", "min", "mean"])
def test_every_width_and_offset(reducer: str) -> None:
    rng = np.random.default_rng(3)
    memory = rng.standard_normal(2 * 9 * 120 + 16).astype(np.float32)
    for width in range(1, 121):
        for offset in (0, 1, 3):  # rows that begin anywhere in a register
            x = memory[offset : offset + 18 * width].reshape(2, 9, width)
            for windows in (Windows.sliding(9, 1, 4), Windows.sliding(17, 1, 8)):
                agree(
                    pw.pool(x, windows, reducer),
                    pw.pool(np.asfortranarray(x), windows, reducer),
                    reducer,
                    "float32",
                )


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int16", "uint8"])
@pytest.mark.parametrize("kernel", range(2, 41))
def test_every_kernel(kernel: int, dtype: str) -> None:
    x = values((2, 12, 77), np.dtype(dtype), special=True)
    for windows in (
        Windows.sliding((1, kernel), 1, (0, kernel // 2)),
        Windows.sliding((9, kernel), 1, ((4, 4), (kernel - 1, 0))),
    ):
        if not fits(windows, x.shape[1:]):
            continue
        for reducer in ("max", "min", "mean"):
            agree(pw.pool(x, windows, reducer), other_way(x, windows, reducer), reducer, dtype)


@pytest.mark.parametrize("reducer", ["max", "mean"])
@pytest.mark.parametrize("kernel", [3, 25, 401, 4095])
def test_signals(kernel: int, reducer: str) -> None:
    x = values((3, 5, 5000), np.dtype("float32"), special=False)
    windows = Windows.sliding((kernel,), 1, (kernel // 2,))
    padded = np.pad(x, ((0, 0), (0, 0), (kernel // 2,) * 2), constant_values=np.nan)
    views = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=-1)[..., ::97, :]
    wide = views.astype(np.float64)
    expected = np.nanmax(wide, axis=-1) if reducer == "max" else np.nansum(wide, axis=-1) / kernel
    y = pw.pool(x, windows, reducer)[..., ::97]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reducer", ["max", "mean"])
def test_bands_and_tiles_have_the_same_bits(reducer: str) -> None:
    before = pw.get_num_threads()
    x = values((1, 700, 1500), np.dtype("float32"), special=False)
    windows = Windows.sliding(31, 1, 15)
    made = []
    for threads in (1, 2, 3, 8):
        pw.set_num_threads(threads)
        made.append(pw.pool(x, windows, reducer))
    pw.set_num_threads(before)
    assert all(same_bits(made[0], other) for other in made[1:])


@pytest.mark.parametrize("where", [(0, 0), (5, 111), (32, 50), (32, 111), (0, 8), (16, 104)])
def test_a_nan_anywhere_reaches_its_windows_alone(where: tuple[int, int]) -> None:
    x = values((1, 33, 112), np.dtype("float32"), special=False)
    windows = Windows.sliding(9, 1, 4)
    clean = pw.pool(x, windows, "max")
    x[0][where] = np.nan
    y = pw.pool(x, windows, "max")
    rows, columns = np.ogrid[:33, :112]
    hit = (abs(rows - where[0]) <= 4) & (abs(columns - where[1]) <= 4)
    assert np.isnan(y[0][hit]).all()
    assert np.array_equal(y[0][~hit], clean[0][~hit])
