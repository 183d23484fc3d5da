"""Every path of the core against NumPy, on maps too large for the reference's loops.

Two oracles, both axis by axis over shifted slices. Winners: cells become unique integers, ordered
by value and then by place, so that one maximum gives value and index. Sums: of small whole numbers,
exact in every float type in any order, so they must agree to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import poolwise as pw
from poolwise import _native

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(3)
EMPTY = -(2**62)

pytestmark = pytest.mark.usefixtures("eight_threads")


def every(n: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    return (n,) * ndim if isinstance(n, int) else tuple(n)


class Geometry:
    """Sliding windows over the last axes of a shape, floor mode, as slices of a padded array."""

    def __init__(self, shape, kernel, stride=1, padding=0, dilation=1) -> None:
        ndim = len(kernel)
        self.kernel, self.dilation = kernel, every(dilation, ndim)
        self.stride, self.padding = every(stride, ndim), every(padding, ndim)
        self.size = shape[len(shape) - ndim :]
        self.axes = range(len(shape) - ndim, len(shape))
        self.count = [
            (a + 2 * p - d * (k - 1) - 1) // s + 1
            for a, k, s, p, d in zip(
                self.size, kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]

    @property
    def arguments(self) -> tuple[object, ...]:
        return self.kernel, self.stride, self.padding, self.dilation

    def taps(self, x: Array, a: int) -> Iterator[Array]:
        """Yield, for each cell of the windows along axis a, that cell of every window."""
        reach = (self.count[a] - 1) * self.stride[a] + 1
        for t in range(self.kernel[a]):
            cut: list[slice] = [slice(None)] * x.ndim
            start = t * self.dilation[a]
            cut[self.axes[a]] = slice(start, start + reach, self.stride[a])
            yield x[tuple(cut)]

    def reduce(self, x: Array, join: Callable[..., Array], identity: int) -> Array:
        widths = [(0, 0)] * (x.ndim - len(self.size)) + [(p, p) for p in self.padding]
        x = np.pad(x, widths, constant_values=identity)
        for a in range(len(self.size)):
            taps = self.taps(x, a)
            total = next(taps).copy()
            for tap in taps:
                join(total, tap, out=total)
            x = total
        return x

    def spread(self, y: Array) -> Array:
        """Return the gradient of the windows' sums: each y added to the cells of its window."""
        for a, (size, padding) in enumerate(zip(self.size, self.padding, strict=True)):
            shape = list(y.shape)
            shape[self.axes[a]] = size + 2 * padding
            wide = np.zeros(shape)
            for tap in self.taps(wide, a):
                tap += y
            cut: list[slice] = [slice(None)] * y.ndim
            cut[self.axes[a]] = slice(padding, padding + size)
            y = wide[tuple(cut)]
        return y

    def winners(self, x: Array, least: bool) -> tuple[Array, Array]:
        """Return values and flat indices: first of equals, last NaN, -1 for empty windows."""
        known, rank = np.unique(x, return_inverse=True)
        order = rank.reshape(x.shape).astype(np.int64)
        nan = np.isnan(x)
        if least:
            order[~nan] *= -1
        cells = int(np.prod(self.size))
        place = np.arange(cells).reshape(self.size)
        key = np.where(nan, (len(known) + 1) * cells + place, order * cells + cells - 1 - place)
        best = self.reduce(key, np.maximum, EMPTY)
        is_nan = best >= len(known) * cells
        where = np.where(is_nan, best - (len(known) + 1) * cells, cells - 1 - best % cells)
        where[best == EMPTY] = -1
        flat = x.reshape(*x.shape[: -len(self.size)], cells)
        pooled = where.reshape(*flat.shape[:-1], -1)
        y = np.take_along_axis(flat, np.maximum(pooled, 0), -1).reshape(where.shape)
        return np.where(where < 0, np.inf if least else -np.inf, y).astype(x.dtype), where

    def divisors(self, include: bool) -> Array:
        """Return the cells of each window; all of them when padding counts."""
        ones = np.ones((1,) * (self.axes[0]) + tuple(self.size))
        return self.reduce(ones, np.add, int(include))


def same_bits(a: Array, b: Array) -> bool:
    nan = np.isnan(b)
    if a.shape != b.shape or a.dtype != b.dtype or not np.array_equal(np.isnan(a), nan):
        return False
    return np.array_equal(a[~nan].view(f"u{a.itemsize}"), b[~nan].view(f"u{a.itemsize}"))


# shape, kernel, stride, padding, dilation; what they reach is said by native/driver.cpp
MAPS = {
    "bands": ((1, 1, 700, 900), (3, 3), 1, 1, 1),
    "bands, strided": ((1, 2, 500, 331), (4, 3), (3, 2), 1, 1),
    "two stacks": ((1, 1, 700, 900), (9, 9), 1, 4, 1),
    "two stacks, tall": ((1, 1, 700, 300), (63, 2), 1, 31, 1),
    "two stacks, strided": ((1, 2, 401, 200), (11, 12), (3, 5), (5, 6), 1),
    "two stacks, stride near kernel": ((1, 2, 401, 200), (9, 9), (7, 8), 2, 1),
    "two stacks, dilated": ((1, 1, 500, 300), (7, 5), 1, (9, 6), (3, 3)),
    "two stacks, dilated and strided": ((1, 2, 500, 200), (13, 8), (2, 3), 20, (4, 7)),
    "column tiles": ((1, 1, 300, 1500), (33, 17), 1, (3, 9), 1),
    "column tiles, strided": ((1, 1, 300, 3001), (40, 9), (3, 2), (20, 4), 1),
    "column tiles, dilated": ((1, 1, 300, 1503), (40, 9), (2, 3), 4, (2, 5)),
    "column tiles, folds with rests": ((1, 1, 200, 4000), (40, 23), (1, 5), 0, 1),
    "signal": ((1, 2, 100_000), (401,), 1, 0, 1),
    "signal, strided": ((1, 2, 100_000), (400,), 7, 200, 1),
    "signal, dilated": ((1, 2, 50_000), (30,), 1, 300, 77),
    "signal, stride beyond kernel": ((1, 2, 100_000), (5,), 9, 2, 1),
    "volume": ((1, 1, 20, 50, 90), (3, 3, 3), 1, 1, 1),
    "volume, two stacks": ((1, 1, 24, 80, 60), (7, 7, 7), 1, 3, 1),
    "volume, strided": ((2, 2, 21, 70, 61), (5, 4, 3), (2, 3, 1), (2, 1, 0), 1),
    "volume, dilated": ((1, 2, 25, 60, 40), (4, 7, 3), (1, 2, 3), 3, (3, 2, 1)),
    "volume, bands of planes": ((1, 1, 12, 300, 200), (7, 3, 3), 1, 0, 1),
    "narrow planes": ((5, 70, 14, 13), (3, 3), 2, 1, 1),
    "narrow planes, odd group": ((1, 37, 31, 30), (9, 7), 1, 4, 1),
    "narrow volumes": ((1, 35, 9, 8, 7), (3, 2, 5), 1, 1, 1),
    "padding wider than the window": ((1, 2, 40, 200), (2, 3), (1, 2), (7, 5), 1),
    "padding wider, dilated": ((1, 2, 40, 90), (3, 2), 1, (13, 9), (4, 3)),
    "padding far wider than the map": ((1, 20, 6, 5), (3, 9), 2, (3, 700), 1),
}
LANES = {
    "NHWC": ((1, 70, 60, 80), (3, 3), 2, 1, 1),
    "NHWC, lane blocks": ((1, 600, 30, 50), (13, 9), 1, 4, 1),
    "NHWC, lane blocks, odd": ((1, 531, 20, 43), (8, 11), (2, 3), 5, 1),
    "NHWC, lane blocks, dilated": ((1, 300, 30, 40), (5, 7), 1, 3, (2, 3)),
    "NHWC, columns in tiles": ((1, 17, 60, 900), (25, 21), 1, 10, 1),
    "NHWC, volume": ((1, 40, 11, 23, 25), (3, 7, 4), (1, 2, 2), 2, 1),
    "NWC": ((2, 33, 9000), (100,), 3, 50, 1),
    "two channels": ((3, 2, 90, 80), (7, 6), 1, 3, 1),
}
CASES = [(*m, False) for m in MAPS.values()] + [(*m, True) for m in LANES.values()]
over_maps = pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "dilation", "channels_last"),
    CASES,
    ids=[*MAPS, *LANES],
)


def lay(x: Array, channels_last: bool) -> Array:
    """Return x, its second axis moved to the end in memory if wanted."""
    if not channels_last:
        return x
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


@over_maps
def test_winners_of_large_maps(shape, kernel, stride, padding, dilation, channels_last) -> None:
    geometry = Geometry(shape, kernel, stride, padding, dilation)
    ties = RNG.integers(-3, 4, shape).astype("f4")
    fine = RNG.standard_normal(shape)
    rare = RNG.random(shape, "f4")
    fine[rare < 2e-4] = np.nan
    fine[rare > 1 - 2e-4] = np.inf
    fine[(rare > 0.5) & (rare < 0.6)] = -np.inf
    empty = np.full(shape, -np.inf, "f4")
    for x, least in ((ties, True), (fine, False), (empty, False)):
        function = pw.min_pool if least else pw.max_pool
        y, i = function(lay(x, channels_last), *geometry.arguments, return_indices=True)
        expected, where = geometry.winners(x, least)
        assert np.array_equal(i, where)
        assert same_bits(y, expected)
        assert same_bits(function(lay(x, channels_last), *geometry.arguments), expected)


@over_maps
def test_sums_of_large_maps(shape, kernel, stride, padding, dilation, channels_last) -> None:
    geometry = Geometry(shape, kernel, stride, padding, dilation)
    x = RNG.integers(-9, 10, shape)
    total = geometry.reduce(x.astype("f8"), np.add, 0)
    laid = lay(x.astype("f4"), channels_last)
    sums = pw.sum_pool(laid, *geometry.arguments)
    assert np.array_equal(sums, total)
    assert np.array_equal(pw.sum_pool(laid.astype("i1"), *geometry.arguments), total)
    for include in (True, False):
        mean = pw.avg_pool(laid, *geometry.arguments, count_include_pad=include)
        expected = (sums / np.maximum(geometry.divisors(include), 1)).astype("f4")
        assert np.array_equal(mean, expected), include


@over_maps
def test_gradients_of_large_maps(shape, kernel, stride, padding, dilation, channels_last) -> None:
    geometry = Geometry(shape, kernel, stride, padding, dilation)
    laid = lay(np.zeros(shape, "f4"), channels_last)
    windows = pw.Windows.sliding(*geometry.arguments)
    axes = tuple(geometry.axes)
    for include in (True, False):
        reducer = pw.reducers.mean_with(include)
        divisors = np.maximum(geometry.divisors(include), 1)
        y, pullback = pw.pool_vjp(laid, windows, reducer, axes=axes)
        shares = RNG.integers(-9, 10, y.shape)
        dx = pullback(lay((shares * divisors).astype("f4"), channels_last))
        assert np.array_equal(dx, geometry.spread(shares)), include
    x = RNG.integers(-3, 4, shape).astype("f4")
    pullback = pw.pool_vjp(lay(x, channels_last), windows, "max", axes=axes)[1]
    where = geometry.winners(x, False)[1].reshape(shape[0] * shape[1], -1)
    expected = np.zeros((len(where), int(np.prod(geometry.size))))
    gradients = shares.reshape(where.shape)
    for row, places, g in zip(expected, where, gradients, strict=True):
        np.add.at(row, places[places >= 0], g[places >= 0])
    assert np.array_equal(pullback(shares.astype("f4")), expected.reshape(shape))


@pytest.mark.parametrize("shape", [(1, 1, 700, 900), (1, 300, 60, 50), (3, 40, 20, 19)])
@pytest.mark.parametrize(("kernel", "stride"), [(9, 2), (5, 3), (31, 4), (8, 7)])
def test_strided_averages_and_their_gradients_are_pytorchs(shape, kernel, stride) -> None:
    import torch
    from torch.nn import functional

    kernel = min(kernel, 18)
    x = RNG.standard_normal(shape)
    tensor = torch.tensor(x, requires_grad=True)
    theirs = functional.avg_pool2d(tensor, kernel, stride, kernel // 2, ceil_mode=True)
    windows = pw.Windows.sliding(kernel, stride, kernel // 2, ceil_mode=True)
    for channels_last in (False, True):
        y, pullback = pw.pool_vjp(lay(x, channels_last), windows, "mean")
        np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)
        dy = RNG.standard_normal(y.shape)
        (dx,) = torch.autograd.grad(theirs, tensor, torch.tensor(dy), retain_graph=True)
        np.testing.assert_allclose(pullback(dy), dx.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1, 1000, 1200), (2, 3, 257, 511), (1, 300, 70, 60)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_bins_of_large_maps(shape, channels_last) -> None:
    """Bins in pieces: cut at every edge and every 256 rows, shared between threads."""
    x = RNG.integers(-500, 500, shape).astype("f4")
    x[0, 0, 300 % shape[2], 200 % shape[3]] = np.inf
    laid = lay(x, channels_last)
    levels = (1, (2, 3), 6, (1, 50), (40, 1))
    highest = pw.pool(laid, pw.Windows.pyramid(levels))
    total = pw.pool(laid, pw.Windows.pyramid(levels), "sum", dtype="f8")
    at = 0
    for level in levels:
        n, m = every(level, 2)
        bins = itertools.product(range(n), range(m))
        _, where = pw.adaptive_max_pool(laid, (n, m), return_indices=True)
        for i, j in bins:
            rows = slice(i * shape[2] // n, -(-(i + 1) * shape[2] // n))
            columns = slice(j * shape[3] // m, -(-(j + 1) * shape[3] // m))
            cells = x[:, :, rows, columns]
            flat = cells.reshape(*shape[:2], -1)
            first = flat.argmax(-1)
            row, column = np.divmod(first, cells.shape[3])
            place = (row + rows.start) * shape[3] + column + columns.start
            assert np.array_equal(highest[..., at], flat.max(-1))
            assert np.array_equal(where[..., i, j], place)
            assert np.array_equal(total[..., at], flat.sum(-1, dtype="f8"))
            at += 1
    assert at == highest.shape[-1]


def test_maps_of_very_different_sizes_at_once_are_the_maps_one_by_one() -> None:
    sizes = [(1, 1), (3, 700), (900, 2), (14, 14), (640, 480), (1, 5), (33, 32), (200, 1000)]
    for dtype, reducer in itertools.product(("f4", "u1", "f2"), ("max", "mean", "sum")):
        maps = [RNG.integers(0, 99, (9, *size)).astype(dtype) for size in sizes]
        maps[3] = np.ascontiguousarray(np.moveaxis(maps[3], 0, -1))[..., ::-1].transpose(2, 0, 1)
        together = pw.spatial_pyramid_pool(maps, (1, 2, (3, 5)), reducer)
        alone = [pw.spatial_pyramid_pool(m, (1, 2, (3, 5)), reducer) for m in maps]
        assert np.array_equal(together, alone)
        assert together.dtype == alone[0].dtype
        many = pw.spatial_pyramid_pool(maps * 10, (1, 2, (3, 5)), reducer)
        assert np.array_equal(many, alone * 10)
    assert _native.last_isa() == pw.show_config()["isa"]
