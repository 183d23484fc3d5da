"""Spatial pyramid pooling: maps of any size to vectors of one length, in one call.

The result is laid out as SPP-net's classifier expects it (level by level, channel-major), and maps
of different sizes need no padding: each gets its own plan, and the core balances them over its
threads. The levels are views of the one output, so no concatenation copies anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from . import _native
from ._arrays import Array, as_array, check_out, raw
from ._checks import check_memory, show
from ._engine import Prepared, prepare
from .reducers import Reducer, as_reducer
from .windows import BinRule, Windows

__all__ = ["spatial_pyramid_pool"]


def spatial_pyramid_pool(
    x: ArrayLike | Sequence[ArrayLike],
    levels: Sequence[int | Sequence[int]] = (1, 2, 4),
    reducer: str | Reducer = "max",
    *,
    bins: BinRule = "adaptive",
    out: Array | None = None,
) -> Array:
    """Pool maps of any size on several grids at once, to vectors of one length.

    Parameters
    ----------
    x : array_like, or list or tuple of array_like
        One map ``(C, H, W)``, a batch ``(N, C, H, W)``, or a list of maps ``(C, H_i, W_i)`` of any
        sizes that share C and dtype.
    levels : sequence of int or of (rows, columns)
        The grids, in output order.
    reducer : {"max", "min", "sum", "mean", "avg"} or Reducer
        What is made of the cells of a bin.
    bins : {"adaptive", "training"}
        SPP-net's Appendix A rule, right for every size; or the formula it was trained with, which
        raises where it is wrong.
    out : ndarray, optional
        Where to write the result; must have its shape and dtype.

    Returns
    -------
    ndarray
        ``(L,)``, ``(N, L)`` or ``(len(x), L)`` with ``L = C * sum(rows * columns)``: for each level
        its map ``(C, rows, columns)`` flattened channel-major. dtype as for `pool`.

    Raises
    ------
    TypeError
        For dtypes that cannot be pooled, or maps of different dtypes.
    ValueError
        For an empty list, maps of other than 3 axes, different channel counts, or levels that
        are no grids.
    MemoryError
        For a result beyond this machine's memory.

    Notes
    -----
    Bin i of n over a cells is ``[floor(i*a/n), ceil((i+1)*a/n))``: He et al., "Spatial Pyramid
    Pooling in Deep Convolutional Networks for Visual Recognition", 2014, Appendix A. Its gradient
    is ``pool_vjp`` with ``Windows.pyramid``.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> maps = [np.ones((256, 14, 14)), np.ones((256, 10, 13)), np.ones((256, 3, 3))]
    >>> pw.spatial_pyramid_pool(maps).shape
    (3, 5376)
    """
    windows, made = Windows.pyramid(levels, bins), as_reducer(reducer)
    if windows.ndim not in (None, 2):
        raise ValueError(f"levels must be numbers or (rows, columns), got {show(levels)}")
    if isinstance(x, list | tuple):
        return _pool_list(x, windows, made, out)
    array = as_array(x)
    if array.ndim not in (3, 4):
        raise ValueError(
            f"x has shape {array.shape}; give (C, H, W), (N, C, H, W) or a list of (C, H, W)"
        )
    call = _prepare(array, windows, made)
    lead, channels = array.shape[:-3], array.shape[-3]
    y = _output((*lead, channels * call.plan.output_shape[0]), call, out, [array])
    call.forward(array, _levels(call, y, channels), None)
    return y


def _pool_list(
    maps: Sequence[object], windows: Windows, reducer: Reducer, out: Array | None
) -> Array:
    if not maps:
        raise ValueError("x is an empty list; give at least one map (C, H, W)")
    arrays = [as_array(m, f"x[{i}]") for i, m in enumerate(maps)]
    first, calls = arrays[0], []
    for i, array in enumerate(arrays):
        if array.ndim != 3:
            raise ValueError(f"x[{i}] has shape {array.shape}; give maps of shape (C, H, W)")
        if array.dtype != first.dtype:
            raise TypeError(
                f"x mixes dtypes: x[0] is {first.dtype} and x[{i}] is {array.dtype}; "
                "convert the maps to one dtype"
            )
        if len(array) != len(first):
            raise ValueError(
                f"x mixes channel counts: x[0] has {len(first)} and x[{i}] has {len(array)}; "
                "give maps of one network layer"
            )
        try:
            calls.append(_prepare(array, windows, reducer))
        except ValueError as error:
            raise ValueError(f"x[{i}] of shape {array.shape}: {error}") from error
    length = len(first) * calls[0].plan.output_shape[0]
    y = _output((len(arrays), length), calls[0], out, arrays)
    x_name, y_name = calls[0].names
    jobs = []
    for array, call, row in zip(arrays, calls, y, strict=True):
        views = tuple(raw(view, y_name) for view in _levels(call, row, len(first)))
        jobs.append((call.native, raw(array, x_name), views, None))
    if y.size:
        _native.forward_many(jobs, x_name, y_name, (1, 2), *calls[0].reducer_args)
    return y


def _prepare(array: Array, windows: Windows, reducer: Reducer) -> Prepared:
    pooled = (array.ndim - 2, array.ndim - 1)
    return prepare(windows, reducer, array.shape, array.dtype, pooled)


def _output(
    shape: tuple[int, ...], call: Prepared, out: Array | None, inputs: Sequence[Array]
) -> Array:
    if out is not None:
        return check_out(out, shape, call.out_dtype, *inputs)
    check_memory(math.prod(shape) * call.out_dtype.itemsize + call.tables, f"output {shape}")
    return np.empty(shape, call.out_dtype)


def _levels(call: Prepared, y: Array, channels: int) -> list[Array]:
    """Return each level's map ``(..., C, rows, columns)`` as a view of the output."""
    views, offset = [], 0
    for grid in call.plan.grids:
        end = offset + channels * math.prod(grid.output_shape)
        part = y[..., offset:end]
        views.append(part.reshape((*y.shape[:-1], channels, *grid.output_shape)))
        offset = end
    return views
