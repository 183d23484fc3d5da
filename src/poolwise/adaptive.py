"""Poolings whose output size does not follow the input's: adaptive and global ones.

Both are windows like any others; none of them can raise for a window too wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from . import reducers
from ._arrays import Array, as_array
from ._checks import as_bool
from ._engine import choose_axes, run
from .extremes import Axes, Pair, pick
from .reducers import Reducer
from .windows import Windows

__all__ = ["adaptive_avg_pool", "adaptive_max_pool", "global_avg_pool", "global_max_pool"]

OutputSize = int | Sequence[int | None]


@overload
def adaptive_max_pool(
    x: ArrayLike,
    output_size: OutputSize,
    *,
    return_indices: Literal[False] = False,
    axes: Axes = None,
    out: Array | None = None,
) -> Array: ...
@overload
def adaptive_max_pool(
    x: ArrayLike,
    output_size: OutputSize,
    *,
    return_indices: Literal[True],
    axes: Axes = None,
    out: Array | Pair | None = None,
) -> Pair: ...
def adaptive_max_pool(
    x: ArrayLike,
    output_size: OutputSize,
    *,
    return_indices: bool = False,
    axes: Axes = None,
    out: Array | Pair | None = None,
) -> Array | Pair:
    """Take the largest cell of each of `output_size` bins, whatever the input's size.

    Parameters
    ----------
    x, return_indices, axes, out
        As for `max_pool`.
    output_size : int or sequence of (int or None)
        Bins along each pooled axis; None keeps an axis as it is.

    Returns
    -------
    ndarray, or tuple of ndarray
        x's dtype, `output_size` long along the pooled axes; with ``return_indices=True`` also the
        int64 indices of the winners, flat over the pooled axes of `x`.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `max_pool`; ValueError too for an `output_size` of 0 or below.

    Notes
    -----
    Bin i of n over a cells is ``[floor(i*a/n), ceil((i+1)*a/n))``, PyTorch's rule and that of
    Appendix A of He et al., "Spatial Pyramid Pooling", 2014.

    Examples
    --------
    >>> import poolwise as pw
    >>> pw.adaptive_max_pool([1, 5, 2, 3, 4], 2)
    array([5, 4])
    """
    windows = Windows.adaptive(output_size)
    return pick(x, windows, reducers.max, axes, out, return_indices)


def adaptive_avg_pool(
    x: ArrayLike, output_size: OutputSize, *, axes: Axes = None, out: Array | None = None
) -> Array:
    """Take the mean of each of `output_size` bins, whatever the input's size.

    Parameters
    ----------
    x, axes, out
        As for `max_pool`.
    output_size : int or sequence of (int or None)
        Bins along each pooled axis; None keeps an axis as it is.

    Returns
    -------
    ndarray
        dtype as for `avg_pool`, `output_size` long along the pooled axes.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `adaptive_max_pool`.

    Notes
    -----
    The mean over ``[floor(i*a/n), ceil((i+1)*a/n))``; see `adaptive_max_pool`.

    Examples
    --------
    >>> import poolwise as pw
    >>> pw.adaptive_avg_pool([1.0, 5.0, 2.0, 3.0, 4.0], 2)
    array([2.66666667, 3.        ])
    """
    return run(x, Windows.adaptive(output_size), reducers.mean, axes, None, out)


def global_max_pool(x: ArrayLike, *, axes: Axes = None, keepdims: bool = False) -> Array:
    """Take the largest cell of the whole map.

    Parameters
    ----------
    x : array_like
        As for `max_pool`.
    axes : int or sequence of int, optional
        The pooled axes; the last two by default, or the only one.
    keepdims : bool
        Keep the pooled axes with length 1.

    Returns
    -------
    ndarray
        x's dtype, without the pooled axes.

    Raises
    ------
    TypeError, ValueError
        As `max_pool`.

    Notes
    -----
    ``y = max(x over axes)``; unlike NumPy's ``max`` with the last of several NaNs.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.global_max_pool(np.arange(12).reshape(2, 2, 3))
    array([ 5, 11])
    """
    return _global(x, reducers.max, axes, keepdims)


def global_avg_pool(x: ArrayLike, *, axes: Axes = None, keepdims: bool = False) -> Array:
    """Take the mean of the whole map.

    Parameters
    ----------
    x, axes, keepdims
        As for `global_max_pool`.

    Returns
    -------
    ndarray
        dtype as for `avg_pool`, without the pooled axes.

    Raises
    ------
    TypeError, ValueError
        As `max_pool`.

    Notes
    -----
    ``y = sum(x over axes) / number of cells``: Lin et al., "Network in Network", 2013.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.global_avg_pool(np.arange(12.0).reshape(2, 2, 3))
    array([2.5, 8.5])
    """
    return _global(x, reducers.mean, axes, keepdims)


def _global(x: object, reducer: Reducer, axes: Axes, keepdims: bool) -> Array:
    array, keep = as_array(x), as_bool(keepdims, "keepdims")
    y = run(array, Windows.whole(), reducer, axes)
    if keep:
        return y
    return np.squeeze(y, axis=choose_axes(Windows.whole(), array.ndim, axes)[1])
