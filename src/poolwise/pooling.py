"""The one verb, `pool`, its way back, `pool_vjp`, and the way back of indices, `max_unpool`.

Every named pooling is a line on top of these. Windows, reducers and arrays are checked here, so
that what reaches the core is in its one normal form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _native, reference
from ._arrays import Array, as_array, check_out, raw
from ._checks import check_memory, show
from ._dtypes import as_dtype, core_name, is_float
from ._engine import choose_axes, core_pools, plain_axes, prepare, run, run_with_indices
from .reducers import Reducer, as_reducer
from .windows import Bins, Windows

__all__ = ["max_unpool", "pool", "pool_vjp"]


class Pullback(Protocol):
    """What `pool_vjp` returns beside the result: the way back of a gradient."""

    def __call__(self, dy: ArrayLike, *, out: Array | None = None) -> Array:
        """Return the gradient of x, given that of y."""


def _check_windows(windows: object) -> Windows:
    if not isinstance(windows, Windows):
        raise TypeError(
            f"windows must be a Windows, got {show(windows)}; make one with Windows.sliding, "
            ".adaptive, .whole or .pyramid"
        )
    return windows


def pool(
    x: ArrayLike,
    windows: Windows,
    reducer: str | Reducer = "max",
    *,
    axes: int | Sequence[int] | None = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Reduce the cells of each window: the operation every pooling is made of.

    Parameters
    ----------
    x : array_like
        Any array of 1 to 32 axes; floats (f16, bf16, f32, f64), integers or bool. Read without a
        copy unless it is misaligned or byte-swapped.
    windows : Windows
        Which cells each output cell sees.
    reducer : {"max", "min", "sum", "mean", "avg"} or Reducer
        What is made of them.
    axes : int or sequence of int, optional
        The pooled axes, paired with the windows' entries. By default the last ones: as many as the
        windows have entries, or two (one for a 1-D array) when they have one number for all.
    dtype : dtype, optional
        The result's dtype, for sum and mean; integer dtypes round the mean half to even.
    out : ndarray, optional
        Where to write the result; must have its shape and dtype and share no memory with `x`.

    Returns
    -------
    ndarray
        `x` with each pooled axis as long as there are windows along it. With pyramid windows, one
        axis of all bins, level by level, stands where the first pooled axis stood:
        ``(N, C, H, W)`` becomes ``(N, C, sum of bins)``. max and min keep x's dtype; sum gives
        int64/uint64 for integers; the mean of integers is f32 up to 16 bits, else f64.

    Raises
    ------
    TypeError
        For a dtype that cannot be pooled (object, string, complex, dates, float128), or arguments
        of the wrong kind.
    ValueError
        For sizes and axes that do not fit.
    MemoryError
        For a result beyond this machine's memory, before any of it is allocated.

    Notes
    -----
    ``y[i] = reduce(x[j] for j in windows[i])``. Padding is never data: it enters only the mean's
    divisor. max and min let NaN through; every other rule is in docs/semantics.md.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> x = np.arange(16.0).reshape(4, 4)
    >>> pw.pool(x, pw.Windows.sliding(2), "mean")
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    >>> pw.pool(x, pw.Windows.pyramid((1, 2)))
    array([15.,  5.,  7., 13., 15.])
    """
    wanted = None if dtype is None else as_dtype(dtype)
    return run(x, _check_windows(windows), as_reducer(reducer), axes, wanted, out)


def pool_vjp(
    x: ArrayLike,
    windows: Windows,
    reducer: str | Reducer,
    *,
    axes: int | Sequence[int] | None = None,
) -> tuple[Array, Pullback]:
    """Pool, and return with the result the function that takes its gradient back to `x`.

    Parameters
    ----------
    x : array_like
        As for `pool`, of a floating dtype.
    windows, reducer, axes
        As for `pool`.

    Returns
    -------
    y : ndarray
        What `pool` gives.
    pullback : callable
        ``dx = pullback(dy)``: takes a floating array of y's shape, returns one of x's shape and
        dtype, or writes it to ``out=``. May be called any number of times. For lp it reads `x`
        again, so leave its contents alone until then.

    Raises
    ------
    TypeError
        If `x` or `dy` is not floating.
    ValueError
        If `dy` has another shape than `y`, and whenever `pool` raises it.

    Notes
    -----
    max and min send each gradient to the cell that won; the mean spreads it evenly,
    ``dy / divisor``; the sum copies it; lp gives ``sign(x) |x|^(p-1) y^(1-p) dy``, 0 where x or y
    is 0. Overlapping windows add, in an order that does not depend on threads.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> y, pullback = pw.pool_vjp([1.0, 5.0, 2.0], pw.Windows.sliding(2, stride=1), "max")
    >>> y, pullback(np.ones(2))
    (array([5., 5.]), array([0., 2., 0.]))
    """
    array, made = as_array(x), as_reducer(reducer)
    _check_windows(windows)
    if not is_float(array.dtype):
        raise TypeError(f"x has dtype {array.dtype}, which has no gradient; convert it to float32")
    winners: NDArray[Any] | None = None
    if made.picks:
        y, winners, call = run_with_indices(array, windows, made, axes, compact=True)
    else:
        y = run(array, windows, made, axes)
        call = prepare(windows, made, array.shape, array.dtype, plain_axes(axes, array.ndim))
    shape, dtype = array.shape, array.dtype
    kept = array if made.name == "lp" else None

    def pullback(dy: ArrayLike, *, out: Array | None = None) -> Array:
        gradient = _gradient(dy, call.shape, dtype)
        if out is None:
            check_memory(call.tables_back + _product(shape) * dtype.itemsize, "gradient")
            dx: Array = np.empty(shape, dtype)
        else:
            dx = check_out(out, shape, dtype, gradient, *(() if kept is None else (kept,)))
        call.backward(gradient, kept, winners, dx)
        return dx

    return y, pullback


def _gradient(dy: object, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    gradient = as_array(dy, "dy")
    if not is_float(gradient.dtype):
        raise TypeError(f"dy has dtype {gradient.dtype}; give floats, best {dtype} like x")
    if gradient.shape != shape:
        raise ValueError(f"dy has shape {gradient.shape}, but y has {shape}; make them alike")
    with np.errstate(all="ignore"):
        return gradient.astype(dtype, copy=False)


def max_unpool(
    y: ArrayLike,
    indices: ArrayLike,
    output_size: int | Sequence[int],
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """Put each value back where max pooling found it, into zeros.

    Parameters
    ----------
    y : array_like
        Pooled values, any supported dtype.
    indices : array_like of int
        Same shape: where each value goes, flat over the pooled axes of the *output*, as
        ``max_pool(..., return_indices=True)`` gives.
    output_size : int or sequence of int
        Sizes of the pooled axes of the result.
    axes : int or sequence of int, optional
        The pooled axes, paired with `output_size`; by default the last ones, as for `pool`.

    Returns
    -------
    ndarray
        Of y's dtype, with `output_size` along the pooled axes. Where an index comes twice, the
        last value in row-major order stays.

    Raises
    ------
    TypeError
        If `indices` are not integers.
    ValueError
        If an index lies outside the output, or the shapes differ. Nothing is written then.

    Notes
    -----
    ``x[indices[i]] = y[i]``: the switches of Zeiler and Fergus, "Visualizing and Understanding
    Convolutional Networks", 2013.

    Examples
    --------
    >>> import poolwise as pw
    >>> y, where = pw.max_pool([3.0, 1.0, 2.0, 8.0], 2, return_indices=True)
    >>> pw.max_unpool(y, where, 4)
    array([3., 0., 0., 8.])
    """
    values, places = as_array(y, "y"), as_array(indices, "indices")
    if places.dtype.kind not in "iu":
        raise TypeError(f"indices has dtype {places.dtype}; give integers, best int64")
    if places.shape != values.shape:
        raise ValueError(
            f"indices has shape {places.shape}, but y has {values.shape}; give one index per value"
        )
    windows, pooled = choose_axes(Windows.adaptive(output_size), values.ndim, axes)
    sizes = _sizes(windows, [values.shape[a] for a in pooled])
    shape = list(values.shape)
    for axis, size in zip(pooled, sizes, strict=True):
        shape[axis] = size
    # Counting in Python integers: the product of shapes may pass int64.
    check_memory(_product(shape) * values.itemsize, f"output {tuple(shape)}")
    if places.size and not 0 <= int(places.min()) <= int(places.max()) < _product(sizes):
        raise ValueError(
            f"indices must lie in 0 to {_product(sizes) - 1} for output_size {tuple(sizes)}, got "
            f"{places.min()} to {places.max()}"
        )
    return _unpool(values, places.astype(np.int64, copy=False), sizes, pooled, tuple(shape))


def _sizes(windows: Windows, given: Sequence[int]) -> list[int]:
    """Return the output size along each pooled axis; None in `output_size` keeps the axis."""
    if 0 in given:
        raise ValueError(f"a pooled axis of y has size 0 (sizes {tuple(given)}); nothing to unpool")
    level = windows.levels[0]
    rules: Sequence[Any] = level if isinstance(level, tuple) else (level,) * len(given)
    counts = [rule.count for rule in rules if isinstance(rule, Bins)]
    return [n if count is None else count for count, n in zip(counts, given, strict=True)]


def _product(numbers: Sequence[int]) -> int:
    return int(np.prod(numbers, dtype=object))


def _unpool(
    values: Array, places: Array, sizes: list[int], axes: tuple[int, ...], shape: tuple[int, ...]
) -> Array:
    if not core_pools(axes):
        return reference.scatter(values, places, sizes, axes, accumulate=False)
    x: Array = np.empty(shape, values.dtype)
    name = core_name(values.dtype) or ""
    if x.size == 0:
        return x
    _native.scatter(raw(x, name), name, (raw(values, name),), (places,), axes, False)
    return x
