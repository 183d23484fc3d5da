"""Sliding windows whose cells are added up: `avg_pool`, `sum_pool`, `lp_pool`.

Argument names are PyTorch's, so that moving over changes one line. What they share with `max_pool`
is said there.
"""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike, DTypeLike

from . import reducers
from ._arrays import Array
from ._dtypes import as_dtype
from ._engine import run
from .windows import Ints, Padding, Windows

__all__ = ["avg_pool", "lp_pool", "sum_pool"]

Axes = int | Sequence[int] | None


def avg_pool(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    axes: Axes = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Take the mean of each window.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, axes, out
        As for `max_pool`.
    count_include_pad : bool
        Whether declared padding counts in the divisor. Cells that only ceil mode adds never do.
    divisor_override : int, optional
        Divide by this number, at least 1, instead.
    dtype : dtype, optional
        The result's dtype. An integer dtype, allowed for integer `x`, rounds half to even.

    Returns
    -------
    ndarray
        x's dtype for floats; f32 for integers of up to 16 bits and bool, f64 for wider ones.
        Shape as for `max_pool`.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`; TypeError too for an integer `dtype` with floating `x`.

    Notes
    -----
    ``y[i] = sum(window i) / divisor``. Integers add up exactly, floats in at least f32. Mean
    pooling is LeCun et al.'s subsampling ("Gradient-based learning applied to document
    recognition", 1998) without its trained coefficient.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.avg_pool(np.array([1, 2, 3, 5], dtype=np.uint8), 2)
    array([1.5, 4. ], dtype=float32)
    >>> pw.avg_pool([1, 2, 3, 6], 2, dtype="int64")
    array([2, 4])
    """
    windows = Windows.sliding(kernel_size, stride, padding, dilation, ceil_mode)
    reducer = reducers.mean
    if count_include_pad is not True or divisor_override is not None:
        reducer = reducers.mean_with(count_include_pad, divisor_override)
    return run(x, windows, reducer, axes, None if dtype is None else as_dtype(dtype), out)


def sum_pool(
    x: ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    axes: Axes = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Take the sum of each window.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, axes, out
        As for `max_pool`. Padding adds nothing.
    dtype : dtype, optional
        The result's dtype; an integer dtype wraps as NumPy's ``sum(dtype=...)`` would.

    Returns
    -------
    ndarray
        x's dtype for floats, int64 for signed integers and bool, uint64 for unsigned ones. Shape
        as for `max_pool`.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`; TypeError too for an integer `dtype` with floating `x`.

    Notes
    -----
    ``y[i] = sum(x[i*stride - before + k*dilation] for k in range(kernel_size))``.

    Examples
    --------
    >>> import poolwise as pw
    >>> pw.sum_pool([1, 2, 3, 4], 3, stride=1)
    array([6, 9])
    """
    windows = Windows.sliding(kernel_size, stride, padding, dilation, ceil_mode)
    wanted = None if dtype is None else as_dtype(dtype)
    return run(x, windows, reducers.sum, axes, wanted, out)


def lp_pool(
    x: ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    *,
    ceil_mode: bool = False,
    axes: Axes = None,
    out: Array | None = None,
) -> Array:
    """Take the p-norm of each window.

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, axes, out
        As for `max_pool`. Padding adds nothing.
    norm_type : float
        The exponent p, above 0; infinity gives the largest absolute value.

    Returns
    -------
    ndarray
        x's dtype for floats; for integers as `avg_pool`. Shape as for `max_pool`.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`; ValueError too for a `norm_type` of 0, below, or NaN.

    Notes
    -----
    ``y[i] = sum(|x|**p over window i) ** (1/p)``, scaled by the window's largest |x| so that no
    power overflows (Sermanet et al., "Convolutional Neural Networks Applied to House Numbers
    Digit Classification", 2012). PyTorch leaves out the absolute value for odd p.

    Examples
    --------
    >>> import poolwise as pw
    >>> pw.lp_pool([3.0, -4.0, 6.0, 8.0], 2, kernel_size=2)
    array([ 5., 10.])
    """
    windows = Windows.sliding(kernel_size, stride, padding, dilation, ceil_mode)
    return run(x, windows, reducers.lp(norm_type), axes, None, out)
