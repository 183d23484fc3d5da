"""Small windows over dense planes, whole maps and means of integers, in every width and dtype.

What is laid out otherwise takes other kernels, and small arrays the reference, so each answer has
somebody else to agree with: maxima to the bit, signs of zero among them.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import poolwise as pw
from _dense import DTYPES, agree, dtype_named, fits, other_way, values
from poolwise import Windows, reducers, reference

WINDOWS = {
    "2x2/2": Windows.sliding(2),
    "3x3/1": Windows.sliding(3, 1, 1),
    "3x3/2": Windows.sliding(3, 2, 1),
    "5x5/1": Windows.sliding(5, 1, 2),
    "2x2/1": Windows.sliding(2, 1),
    "1x3": Windows.sliding((1, 3), 1, (0, 1)),
    "3x1": Windows.sliding((3, 1), 1, (1, 0)),
    "4x4/2": Windows.sliding(4, 2, 1),
    "2x3/2": Windows.sliding((2, 3), 2, (1, 1)),
    "3x3/3": Windows.sliding(3, 3),
    "5x3/2,1": Windows.sliding((5, 3), (2, 1), (2, 1)),
    "without padding": Windows.sliding(3, 1),
    "whole": Windows.whole(),
}
# Small planes, several at once; rows of every kind; bands of one plane; one plane alone.
SHAPES = [(5, 7, 7), (3, 14, 14), (2, 9, 30), (3, 40, 64), (2, 33, 112), (1, 5, 3), (400, 7, 7)]


@pytest.mark.parametrize("special", [False, True], ids=["plain", "special"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("windows", WINDOWS)
def test_dense_planes(windows: str, dtype: str, special: bool) -> None:
    kind = dtype_named(dtype)
    for shape in SHAPES:
        if not fits(WINDOWS[windows], shape[1:]):
            continue
        x = values(shape, kind, special)
        for reducer in ("max", "min", "mean"):
            y = pw.pool(x, WINDOWS[windows], reducer)
            agree(y, other_way(x, WINDOWS[windows], reducer), reducer, dtype)


@pytest.mark.parametrize("reducer", ["max", "min", "mean"])
def test_every_width_and_offset(reducer: str) -> None:
    rng = np.random.default_rng(3)
    memory = rng.standard_normal(2 * 9 * 80 + 16).astype(np.float32)
    for width in range(1, 81):
        for offset in (0, 1, 3):  # rows that begin anywhere in a register
            x = memory[offset : offset + 18 * width].reshape(2, 9, width)
            for windows in (Windows.sliding(3, 1, 1), Windows.sliding(2, 2, 1), Windows.whole()):
                if width == 1 and windows == Windows.sliding(2, 2, 1):
                    continue
                y = pw.pool(x, windows, reducer)
                np.testing.assert_allclose(
                    y, pw.pool(np.asfortranarray(x), windows, reducer), rtol=1e-5, atol=1e-6
                )


@pytest.mark.parametrize("cells", [1, 7, 8, 31, 32, 33, 49, 64, 100, 1024, 1025, 5000])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int16"])
def test_whole_maps_of_every_length(cells: int, dtype: str) -> None:
    x = values((3, 1, cells), np.dtype(dtype), special=False)
    assert np.array_equal(pw.pool(x, Windows.whole(), "max")[:, 0, 0], x.max(axis=(1, 2)))
    assert np.array_equal(pw.pool(x, Windows.whole(), "min")[:, 0, 0], x.min(axis=(1, 2)))
    mean = pw.pool(x, Windows.whole(), "mean")[:, 0, 0]
    close = 1e-3 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(
        mean.astype(np.float64), x.mean(axis=(1, 2), dtype=np.float64), rtol=close, atol=20 * close
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize(
    "windows",
    [Windows.whole(), Windows.adaptive(3), Windows.adaptive(9), Windows.pyramid((1, 2, 4))],
)
@pytest.mark.parametrize("axes", [(1, 2), (0, 1), (0, 2)], ids=["planes", "lanes", "between"])
def test_gradients_of_bins(windows: Windows, axes: tuple[int, int], dtype: str) -> None:
    x = np.random.default_rng(1).standard_normal((13, 7, 40)).astype(dtype)
    y, pullback = pw.pool_vjp(x, windows, "mean", axes=axes)
    dy = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
    moved = np.moveaxis(x, axes, (1, 2)).astype(np.float64)
    wide = np.moveaxis(dy, axes, (1, 2)) if dy.ndim == 3 else np.moveaxis(dy, axes[0], 1)
    plan = windows.over(moved.shape[1:])
    expected, at = np.zeros_like(moved), 0
    for grid in plan.grids:
        bins = math.prod(grid.output_shape)
        part = wide[:, at : at + bins] if plan.flat else wide
        part = part.reshape(len(moved), *grid.output_shape).astype(np.float64)
        expected += reference.backward(part, moved, grid, reducers.mean, (1, 2))
        at += bins
    coarse = 4e-3 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(
        np.moveaxis(pullback(dy), axes, (1, 2)).astype(np.float64),
        expected,
        rtol=coarse,
        atol=coarse,
    )


@pytest.mark.parametrize("share", [0, 0.01, 0.2, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_winners_of_bins(dtype: str, share: float) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    x = rng.integers(-9, 9, (2, 37, 40, 41)).astype(dtype)  # many ties
    x[rng.random(x.shape) < share] = np.nan
    x[0, :3] = -np.inf
    for size in (1, 2, 7, 40):
        values, places = torch.nn.functional.adaptive_max_pool2d(
            torch.from_numpy(x), size, return_indices=True
        )
        for axes in ((2, 3), (1, 2)):
            last = np.ascontiguousarray(np.moveaxis(x, 1, 1 if axes == (2, 3) else -1))
            y, index = pw.adaptive_max_pool(last, size, axes=axes, return_indices=True)
            if axes == (1, 2):
                y, index = np.moveaxis(y, -1, 1), np.moveaxis(index, -1, 1)
            assert np.array_equal(y, values.numpy(), equal_nan=True)
            assert np.array_equal(index, places.numpy())


@pytest.mark.parametrize("channels", [1, 32], ids=["rows", "channels last"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8"])
def test_means_of_rows_that_are_divided_alike_but_for_one_between(
    dtype: str, channels: int
) -> None:
    # Of dilated windows the cells inside go 2, 2, 3, 2, 2: rows that are made together, or once
    # more with others, must all be divided alike, not the first and the last alone.
    for height in range(2, 14):
        for padding in (2, 1):
            if height + 2 * padding < 5:
                continue
            x = values((2, height, 32, channels), dtype_named(dtype), False)
            y = pw.avg_pool(x, 3, 1, padding, 2, count_include_pad=False, axes=(1, 2))
            room = ((0, 0), (padding, padding), (padding, padding), (0, 0))
            sums, cells = (
                sum(
                    np.pad(a, room)[:, 2 * r :, 2 * c :][:, : y.shape[1], : y.shape[2]]
                    for r in range(3)
                    for c in range(3)
                )
                for a in (x.astype(np.float64), np.ones(x.shape))
            )
            np.testing.assert_allclose(y.astype(np.float64), sums / cells, rtol=2e-3, atol=2e-3)
