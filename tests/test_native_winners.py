"""Winners of dense rows: the tile, the large-window and the narrow kernel beside the reference.

Ties, NaN, both zeros and maps of nothing but -inf, in the two ways that winners are told: as places
in the plane (`return_indices`) and as taps, which gradients run on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
from numpy.typing import NDArray

import poolwise as pw
from _dense import fits, same_bits, values
from poolwise import Windows, _native

pytestmark = pytest.mark.usefixtures("eight_threads")
Reference = Callable[[], AbstractContextManager[None]]

WINDOWS = {
    "2x2/2": (2, 2, 0),
    "3x3/2": (3, 2, 1),
    "3x3/2 without padding": (3, 2, 0),
    "3x3/1": (3, 1, 1),
    "5x5/1": (5, 1, 2),
    "3x3/3": (3, 3, 1),
    "5x5/3": (5, 3, 2),
    "5x2/1x3": ((5, 2), (1, 3), (2, 1)),
    "13x13/1": (13, 1, 6),
    "31x31/1": (31, 1, 15),
    "7x1": ((7, 1), 1, (3, 0)),
    "1x7": ((1, 7), 1, (0, 3)),
    "11x9/2x1": ((11, 9), (2, 1), (5, 4)),
    "9x9 dilation 2": (9, 1, 8, 2),
}
SHAPES = [(3, 5, 17), (2, 14, 14), (2, 33, 48), (3, 20, 61), (1, 40, 112)]


def maps(shape: tuple[int, ...], dtype: str, kind: str) -> NDArray:
    if kind == "nothing":
        return np.full(shape, -np.inf, dtype)
    x = values(shape, np.dtype(dtype), special=kind == "special")
    return np.round(x / 10) if kind == "ties" else x


@pytest.mark.parametrize("kind", ["plain", "ties", "special", "nothing"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("windows", WINDOWS)
def test_places(windows: str, dtype: str, kind: str, by_reference: Reference) -> None:
    for shape in SHAPES:
        if not fits(Windows.sliding(*WINDOWS[windows]), shape[1:]):
            continue
        x = maps(shape, dtype, kind)
        for pool in (pw.max_pool, pw.min_pool):
            with by_reference():
                y, places = pool(x, *WINDOWS[windows], return_indices=True)
            found, at = pool(x, *WINDOWS[windows], return_indices=True)
            assert same_bits(found, y)
            assert np.array_equal(at, places)
            for channels in (1, 3, 16, 20):
                last = np.stack([x] * channels, axis=-1)
                found, at = pool(last, *WINDOWS[windows], axes=(1, 2), return_indices=True)
                assert same_bits(found[..., channels - 1], y)
                assert all(np.array_equal(at[..., c], places) for c in range(channels))


@pytest.mark.parametrize("kind", ["plain", "ties", "special", "nothing"])
@pytest.mark.parametrize("windows", WINDOWS)
def test_taps(windows: str, kind: str, by_reference: Reference) -> None:
    for shape in SHAPES:
        made = Windows.sliding(*WINDOWS[windows])
        if not fits(made, shape[1:]):
            continue
        x = maps(shape, "float32", kind)
        for reducer in ("max", "min"):
            y, pullback = pw.pool_vjp(x, made, reducer)
            dy = np.random.default_rng(0).integers(1, 9, y.shape).astype(x.dtype)
            with by_reference():
                expected, back = pw.pool_vjp(x, made, reducer)
                dx = back(dy)
            assert same_bits(y, expected)
            assert np.array_equal(pullback(dy), dx)


@pytest.mark.parametrize("windows", WINDOWS)
def test_past_the_caches_too(windows: str) -> None:
    x = maps((2, 33, 112), "float32", "ties")
    y, places = pw.max_pool(x, *WINDOWS[windows], return_indices=True)
    for offset in (0, 1, 5):
        memory = np.full(y.size + 128, 7, y.dtype), np.full(y.size + 128, 7, places.dtype)
        out = tuple(m[offset : offset + y.size].reshape(y.shape) for m in memory)
        _native.assume_last_cache(1)
        try:
            pw.max_pool(x, *WINDOWS[windows], return_indices=True, out=out)
        finally:
            _native.assume_last_cache(0)
        assert same_bits(out[0], y)
        assert np.array_equal(out[1], places)
        for m in memory:
            assert (np.delete(m, slice(offset, offset + y.size)) == 7).all()


def test_small_planes_that_skip_cells() -> None:
    """Every last plane is read, and nothing behind it is written."""
    for planes in (1, 2, 5, 40):
        for size in (5, 7, 8, 14, 16):
            x = values((planes, size, size), np.dtype("float32"), special=False)
            for windows in (Windows.sliding(2), Windows.sliding(3, 2, 1), Windows.sliding(3, 2)):
                for reducer in ("max", "mean"):
                    expected = np.stack([pw.pool(p, windows, reducer) for p in x])
                    whole = pw.pool(np.pad(x, ((0, 3), (0, 0), (0, 0))), windows, reducer)
                    memory = np.full(expected.size + 64, 7, np.float32)
                    out = memory[: expected.size].reshape(expected.shape)
                    pw.pool(x, windows, reducer, out=out)
                    assert same_bits(out, expected)
                    assert same_bits(out, whole[:planes])
                    assert (memory[expected.size :] == 7).all()
