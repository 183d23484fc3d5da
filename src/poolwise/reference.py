"""The slow, readable definition of every pooling: docs/semantics.md in loops.

Each function walks the windows in row-major order and looks at one window's cells at a time. The
native core is tested against this, and more than three pooled axes are pooled by it. Sums of f32
are made in float64 and rounded once, so the core's f32 sums agree within an error that the window
bounds. A grid is any object with `output_shape` and `axes`, an axis anything with tables `starts`,
`stops`, `divisors` and a `dilation`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._dtypes import accumulator, is_float
from .reducers import Reducer
from .windows import Grid

Array = NDArray[Any]

# NaN and infinity are data here, not accidents to warn about.
_quiet = np.errstate(all="ignore")

__all__ = ["backward", "forward", "forward_with_indices", "scatter"]


def forward(x: Array, grid: Grid, reducer: Reducer, axes: Sequence[int], dtype: np.dtype) -> Array:
    """Pool `x` over `axes` (ascending); the pooled axes become the grid's, in their places."""
    return forward_with_indices(x, grid, reducer, axes, dtype)[0]


@_quiet
def forward_with_indices(
    x: Array, grid: Grid, reducer: Reducer, axes: Sequence[int], dtype: np.dtype
) -> tuple[Array, Array]:
    """Pool `x`; also return which cell won, flat over the pooled axes, -1 where none did."""
    cells, batch = _cells(x, axes)
    shape = grid.output_shape
    y = np.empty((len(cells), math.prod(shape)), dtype=dtype)
    indices = np.full(y.shape, -1, dtype=np.int64)
    for k, (flat, declared) in enumerate(_windows(grid, axes, x.shape)):
        window = cells[:, flat]
        if reducer.picks:
            y[:, k], indices[:, k] = _pick(window, flat, reducer)
        elif reducer.name == "lp":
            y[:, k] = _lp(window, reducer.p).astype(dtype)
        else:
            y[:, k] = _total(window, _divisor(reducer, declared, len(flat)), dtype)
    return _restore(y, batch, shape, axes), _restore(indices, batch, shape, axes)


@_quiet
def backward(dy: Array, x: Array, grid: Grid, reducer: Reducer, axes: Sequence[int]) -> Array:
    """Return the gradient with respect to `x`, in the type sums are accumulated in."""
    cells, batch = _cells(x, axes)
    gradients, _ = _cells(dy, axes)
    wide = accumulator(x.dtype)
    dx = np.zeros(cells.shape, dtype=wide)
    rows = np.arange(len(cells))
    for k, (flat, declared) in enumerate(_windows(grid, axes, x.shape)):
        g, window = gradients[:, k].astype(wide), cells[:, flat].astype(wide)
        if len(flat) == 0:
            continue
        if reducer.picks or reducer.p == math.inf:
            signs = np.ones(window.shape)
            if reducer.p == math.inf:
                signs, window = np.sign(window), np.abs(window)
            won = _winners(window, reducer)
            np.add.at(dx, (rows, flat[won]), g * signs[rows, won])
        elif reducer.name == "lp":
            dx[:, flat] += _lp_gradient(window, g, reducer.p)
        else:
            dx[:, flat] += (g / _divisor(reducer, declared, len(flat)))[:, None]
    return _restore(dx, batch, tuple(x.shape[a] for a in axes), axes)


@_quiet
def scatter(
    y: Array, indices: Array, sizes: Sequence[int], axes: Sequence[int], accumulate: bool
) -> Array:
    """Put each value of `y` at its index into zeros of `sizes`; add up, or let the last one win."""
    values, batch = _cells(y, axes)
    places, _ = _cells(indices, axes)
    allowed = 0 if not accumulate else -1
    if places.size and (places.min() < allowed or places.max() >= math.prod(sizes)):
        raise ValueError(f"an index is outside 0 to {math.prod(sizes) - 1}")
    wide = accumulator(y.dtype) if accumulate else y.dtype
    x = np.zeros((len(values), math.prod(sizes)), dtype=wide)
    for row, value, place in zip(x, values, places, strict=True):
        for v, i in zip(value, place, strict=True):
            if i >= 0:
                row[i] = row[i] + v if accumulate else v
    return _restore(x, batch, tuple(sizes), axes)


def _cells(x: Array, axes: Sequence[int]) -> tuple[Array, tuple[int, ...]]:
    """Return x as (everything else, pooled cells), and the shape of everything else."""
    moved = np.moveaxis(x, axes, range(-len(axes), 0))
    batch, pooled = moved.shape[: -len(axes)], moved.shape[-len(axes) :]
    return moved.reshape(math.prod(batch), math.prod(pooled)), batch


def _restore(
    rows: Array, batch: tuple[int, ...], shape: tuple[int, ...], axes: Sequence[int]
) -> Array:
    return np.moveaxis(rows.reshape(batch + shape), range(-len(axes), 0), axes)


def _windows(
    grid: Grid, axes: Sequence[int], shape: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield each window's flat cell numbers in row-major order, and its declared size."""
    sizes = [shape[a] for a in axes]
    for position in np.ndindex(*grid.output_shape):
        flat, declared = np.zeros(1, dtype=np.int64), 1
        for size, axis, i in zip(sizes, grid.axes, position, strict=True):
            reads = np.arange(axis.starts[i], axis.stops[i], axis.dilation)
            flat = (flat[:, None] * size + reads).reshape(-1)
            declared *= int(axis.divisors[i])
        yield flat, declared


def _winners(window: Array, reducer: Reducer) -> NDArray[np.int64]:
    """Return each row's winner: the first best, or the last NaN if there is one."""
    keys = window.astype(accumulator(window.dtype)) if is_float(window.dtype) else window
    won: NDArray[np.int64] = (np.argmin if reducer.name == "min" else np.argmax)(keys, axis=1)
    if is_float(window.dtype):
        nan = np.isnan(keys)
        last = window.shape[1] - 1 - np.argmax(nan[:, ::-1], axis=1)
        won = np.where(nan.any(axis=1), last, won)
    return won


def _pick(window: Array, flat: NDArray[np.int64], reducer: Reducer) -> tuple[Any, Any]:
    if len(flat) == 0:
        return reducer.identity(window.dtype), -1
    won = _winners(window, reducer)
    return window[np.arange(len(window)), won], flat[won]


def _divisor(reducer: Reducer, declared: int, inside: int) -> int:
    if reducer.name == "sum":
        return 1
    if reducer.divisor_override is not None:
        return reducer.divisor_override
    return max(declared if reducer.count_include_pad else inside, 1)


def _total(window: Array, divisor: int, dtype: np.dtype) -> Array:
    """Return each row's sum over `divisor`, exact for integers, rounded once."""
    if is_float(window.dtype):
        wide = np.promote_types(accumulator(window.dtype), accumulator(dtype))
        total: Array = window.astype(wide).sum(axis=1) / wide.type(divisor)
        return total.astype(dtype)
    sums = [sum(row) for row in window.tolist()]
    if is_float(dtype):
        return np.array([s / divisor for s in sums], dtype=np.float64).astype(dtype)
    rounded = [round(Fraction(s, divisor)) for s in sums]  # half to even
    wrapped = np.array([n % 2**64 for n in rounded], dtype=np.uint64)
    return wrapped.astype(dtype)


def _lp(window: Array, p: float) -> Array:
    """Return the rows' p-norms, scaled by their largest |x| so that no power overflows."""
    values: Array = np.abs(window.astype(np.float64))
    if values.shape[1] == 0:
        return np.zeros(len(values))
    top: Array = values.max(axis=1)
    if p == math.inf:
        return top
    scale = np.where((top > 0) & np.isfinite(top), top, 1.0)
    powers: Array = ((values / scale[:, None]) ** p).sum(axis=1)
    return np.asarray(scale * powers ** (1.0 / p))


def _lp_gradient(window: Array, g: Array, p: float) -> Array:
    """Return sign(x) |x|**(p-1) g y**(1-p), as powers of |x|/y so that they stay small."""
    y = _lp(window, p)[:, None]
    size = np.abs(window)
    parts = np.sign(window) * (size / y) ** (p - 1.0) * g[:, None]
    return np.where((size == 0) | (y == 0), 0.0, parts).astype(window.dtype)
