"""No kernel reads before an input or behind it, or writes beside an output.

Arrays that begin right behind a page nobody may touch, or end right before one: whoever strays is
stopped by the processor. Beside the sanitizers' builds, which have the baseline kernels alone, this
is the code that users run.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import poolwise as pw
from _dense import agree, dtype_named, fits, other_way, values
from poolwise import Windows, _native

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")

NO_ACCESS, READ_WRITE = 0, 3
WINDOWS = {
    "2x2/2": Windows.sliding(2),
    "3x3/1": Windows.sliding(3, 1, 1),
    "3x3/2": Windows.sliding(3, 2, 1),
    "5x5/3": Windows.sliding(5, 3, 2),
    "5x5/1": Windows.sliding(5, 1, 2),
    "3x4/9,1": Windows.sliding((3, 4), (9, 1), 1),
    "1x7": Windows.sliding((1, 7), 1, (0, 3)),
    "13x13": Windows.sliding(13, 1, 6),
    "17x17": Windows.sliding(17, 1, 8),
    "dilated": Windows.sliding(3, 1, 2, dilation=2),
    "adaptive": Windows.adaptive(3),
    "whole": Windows.whole(),
}


class Guarded:
    """Memory for one array between two pages that stop the process."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._maps: list[tuple[mmap.mmap, int]] = []

    def place(self, shape: tuple[int, ...], dtype: np.dtype, at_end: bool) -> np.ndarray:
        """Zeros that end where the memory does, or begin where it does."""
        size = int(np.prod(shape)) * dtype.itemsize
        page = mmap.PAGESIZE
        room = (size + page - 1) // page * page
        memory = mmap.mmap(-1, room + 2 * page)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for edge in (address, address + page + room):
            if self._libc.mprotect(ctypes.c_void_p(edge), page, NO_ACCESS) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
            self._maps.append((memory, edge))
        offset = page + (room - size if at_end else 0)
        return np.frombuffer(memory, dtype, size // dtype.itemsize, offset).reshape(shape)

    def open(self) -> None:
        """Let everything be touched again, so that it may be freed."""
        for _, edge in self._maps:
            self._libc.mprotect(ctypes.c_void_p(edge), mmap.PAGESIZE, READ_WRITE)


@pytest.fixture(params=[0, 1], ids=["through caches", "past caches"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    _native.assume_last_cache(request.param)
    memory = Guarded()
    try:
        yield memory
    finally:
        memory.open()
        _native.assume_last_cache(0)


def test_the_guard_stands() -> None:
    """Or the other tests would see nothing."""
    code = (
        "import numpy as np; from test_native_guard_pages import Guarded; g = Guarded();"
        "x = g.place((8,), np.dtype('f4'), True); x[7] = 1; print('placed', flush=True);"
        "np.lib.stride_tricks.as_strided(x, (9,), (4,)).sum()"
    )
    here = Path(__file__).parent
    ran = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, check=False)
    assert ran.stdout == b"placed\n"
    assert ran.returncode < 0


SHAPES = [(1, 13, 37), (3, 20, 64), (2, 14, 14), (5, 7, 7), (2, 19, 113)]


@pytest.mark.parametrize("at_end", [False, True], ids=["begin", "end"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "uint8", "int16"])
@pytest.mark.parametrize("windows", WINDOWS)
def test_nothing_beside_the_arrays(
    windows: str, dtype: str, at_end: bool, guarded: Guarded
) -> None:
    kind, pooling = dtype_named(dtype), WINDOWS[windows]
    for shape, last in itertools.product(SHAPES, (False, True)):
        axes = (-2, -1)
        data = values(shape, kind, special=True)
        if last:  # channels, rows and columns: as (rows, columns, channels)
            axes, data = (0, 1), np.ascontiguousarray(np.moveaxis(data, 0, -1))
        if not fits(pooling, shape[1:]):
            continue
        x = guarded.place(data.shape, kind, at_end)
        x[...] = data
        for reducer in ("max", "mean"):
            plain = pw.pool(data, pooling, reducer, axes=axes)
            out = guarded.place(plain.shape, plain.dtype, at_end)
            pw.pool(x, pooling, reducer, axes=axes, out=out)
            agree(out, plain, reducer, dtype)
            expected = other_way(np.moveaxis(data, -1, 0) if last else data, pooling, reducer)
            agree(np.moveaxis(out, -1, 0) if last else out, expected, reducer, dtype)
            if kind.kind not in "iu" and reducer == "mean":
                _, pullback = pw.pool_vjp(x, pooling, reducer, axes=axes)
                dx = guarded.place(x.shape, kind, at_end)
                pullback(out, out=dx)


@pytest.mark.parametrize("at_end", [False, True], ids=["begin", "end"])
@pytest.mark.parametrize("windows", ["2x2/2", "3x3/1", "3x3/2", "13x13", "17x17"])
def test_nothing_beside_the_winners(windows: str, at_end: bool, guarded: Guarded) -> None:
    kind, pooling = np.dtype(np.float32), WINDOWS[windows]
    for shape, axes in itertools.product(SHAPES, ((-2, -1), (0, 1))):
        if not fits(pooling, tuple(shape[a] for a in axes)):
            continue
        x = guarded.place(shape, kind, at_end)
        x[...] = values(shape, kind, special=False)
        y, pullback = pw.pool_vjp(x, pooling, "max", axes=axes)
        dy = guarded.place(y.shape, kind, at_end)
        dy[...] = 1
        dx = guarded.place(shape, kind, at_end)
        pullback(dy, out=dx)
        np.testing.assert_array_equal(dx, pullback(np.ones_like(y)))
        assert dx.sum() == y.size
