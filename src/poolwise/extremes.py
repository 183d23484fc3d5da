"""Sliding windows whose result is one of their cells: `max_pool` and `min_pool`.

They differ from the poolings that add in that a result has a place, which unpooling and gradients
need. Argument names are PyTorch's; what all sliding poolings share is said in `max_pool`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import reducers
from ._arrays import Array
from ._checks import as_bool
from ._engine import run, run_with_indices
from .reducers import Reducer
from .windows import Ints, Padding, Windows

__all__ = ["max_pool", "min_pool"]

Axes = int | Sequence[int] | None
Pair = tuple[Array, NDArray[np.int64]]


def pick(
    x: ArrayLike,
    windows: Windows,
    reducer: Reducer,
    axes: Axes,
    out: Array | Pair | None,
    indices: bool,
) -> Array | Pair:
    """Pool with max or min, with or without the winners' places."""
    if indices is False:
        return run(x, windows, reducer, axes, None, out)
    if as_bool(indices, "return_indices"):
        return run_with_indices(x, windows, reducer, axes, out)[:2]
    return run(x, windows, reducer, axes, None, out)


@overload
def max_pool(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    axes: Axes = None,
    out: Array | None = None,
) -> Array: ...
@overload
def max_pool(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    return_indices: Literal[True],
    axes: Axes = None,
    out: Array | Pair | None = None,
) -> Pair: ...
def max_pool(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    return_indices: bool = False,
    axes: Axes = None,
    out: Array | Pair | None = None,
) -> Array | Pair:
    """Take the largest cell of each window.

    Parameters
    ----------
    x : array_like
        1 to 32 axes; f16, bf16, f32, f64, any integer type or bool.
    kernel_size : int or sequence of int
        Cells per window: one number for all pooled axes, or one per axis.
    stride : int or sequence of int, optional
        Cells between window starts; `kernel_size` by default.
    padding : int, sequence, or {"same", "same_upper", "same_lower", "valid"}
        Cells around the input: a number, one per axis, or one (before, after) pair per axis.
        Padded cells never win.
    dilation : int or sequence of int
        Distance of the cells of a window.
    ceil_mode : bool
        Round the output length up, dropping a last window that would start beyond the input.
    return_indices : bool
        Also return which cell won.
    axes : int or sequence of int, optional
        The pooled axes. By default a single number pools the last two axes (the last one of a 1-D
        array), a sequence the last ``len`` axes; channels-last images are ``axes=(1, 2)``.
    out : ndarray, or tuple of two, optional
        Where to write the values; must have the result's shape and dtype. With
        ``return_indices=True`` also ``(values, indices)``, the second one of int64; either may be
        None.

    Returns
    -------
    y : ndarray
        x's dtype; each pooled axis of length a becomes
        ``floor((a + before + after - dilation*(kernel_size-1) - 1) / stride) + 1``.
    indices : ndarray of int64
        Only with ``return_indices=True``: flat over the pooled axes of `x`, in ascending order of
        the axes; -1 for a window with no cell inside the input.

    Raises
    ------
    TypeError
        For dtypes that cannot be pooled, and for sizes that are not integers.
    ValueError
        For sizes out of range, tuples of different lengths, a window wider than the padded input
        (ceil mode clips it instead, as PyTorch does), or an empty pooled axis.
    MemoryError
        For a result beyond this machine's memory.

    Notes
    -----
    ``y[i] = max(x[i*stride - before + k*dilation] for k in range(kernel_size))``. The first of
    equal cells wins; of NaNs, the last. With ``kernel_size > stride`` this is the overlapping
    pooling of Krizhevsky et al., "ImageNet Classification with Deep CNNs", 2012.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.max_pool(np.arange(16).reshape(4, 4), 3, stride=2, padding=1)
    array([[ 5,  7],
           [13, 15]])
    >>> pw.max_pool([1.0, 4.0, 2.0], 2, 1, return_indices=True)
    (array([4., 4.]), array([1, 1]))
    """
    windows = Windows.sliding(kernel_size, stride, padding, dilation, ceil_mode)
    return pick(x, windows, reducers.max, axes, out, return_indices)


@overload
def min_pool(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    axes: Axes = None,
    out: Array | None = None,
) -> Array: ...
@overload
def min_pool(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    return_indices: Literal[True],
    axes: Axes = None,
    out: Array | Pair | None = None,
) -> Pair: ...
def min_pool(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    return_indices: bool = False,
    axes: Axes = None,
    out: Array | Pair | None = None,
) -> Array | Pair:
    """Take the smallest cell of each window.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, axes, out
        As for `max_pool`.

    Returns
    -------
    ndarray, or tuple of ndarray
        As `max_pool`: x's dtype, and int64 indices with ``return_indices=True``.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`.

    Notes
    -----
    ``y[i] = min(x[i*stride - before + k*dilation] for k in range(kernel_size))``: the erosion of
    grey-scale morphology. NaN and ties are decided as for max.

    Examples
    --------
    >>> import poolwise as pw
    >>> pw.min_pool([3, 1, 2, 5], 2)
    array([1, 2])
    """
    windows = Windows.sliding(kernel_size, stride, padding, dilation, ceil_mode)
    return pick(x, windows, reducers.min, axes, out, return_indices)
