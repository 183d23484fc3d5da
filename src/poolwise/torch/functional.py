"""Pooling functions with the names, arguments and defaults of `torch.nn.functional`.

Each public function is a line on one of the paths of `_paths`: pool, pool with indices, a spatial
pyramid, unpool. Beyond torch's own: min and sum pooling, "same" and asymmetric padding, dilated
means, integers, and pyramids of maps of any size. docs/torch.md says what is the same as torch's
to the bit, and what to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._checks import show
from ..windows import BinRule
from . import _arguments as arguments
from . import _paths

_Ints = int | Sequence[int]
_Padding = int | Sequence[int] | Sequence[tuple[int, int]] | str


def max_pool1d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As `torch.nn.functional.max_pool1d`; see :func:`max_pool2d`."""
    windows = arguments.sliding(1, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pick(input, 1, windows, "max", return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest of each window.

    Parameters
    ----------
    input : Tensor
        ``(C, H, W)`` or ``(N, C, H, W)``, any strides; floating (16, 32 or 64 bits), integer or
        bool; on any device.
    kernel_size, stride, dilation : int or sequence of int
        As in torch: one number, or one per axis; stride is kernel_size unless given.
    padding : int, sequence, or {"same", "same_upper", "same_lower", "valid"}
        One number, or one per axis, at most half the window as in torch; or one ``(before, after)``
        pair per axis; or one of ONNX's names.
    ceil_mode : bool
        Round the output's size up.
    return_indices : bool
        Return the winners' places too: int64, flat over the pooled axes.

    Returns
    -------
    Tensor, or tuple of two
        Laid out in memory (channels last or not) as the input is.

    Raises
    ------
    ValueError, TypeError
        For arguments out of range or of the wrong kind; the message names argument and value.

    Notes
    -----
    ``y[i] = max(x[j] for j in window i)``. Equal to `torch.nn.functional.max_pool2d` to the bit:
    the first of equals wins, NaN comes through, and its index is the last NaN's. For its gradient
    one byte per output is kept where the window has at most 256 cells.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.max_pool2d(torch.arange(16.0).reshape(1, 4, 4), 2)
    tensor([[[ 5.,  7.],
             [13., 15.]]])
    """
    windows = arguments.sliding(2, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pick(input, 2, windows, "max", return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """As `torch.nn.functional.max_pool3d`; see :func:`max_pool2d`."""
    windows = arguments.sliding(3, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pick(input, 3, windows, "max", return_indices)


def min_pool1d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The smallest of each window: `max_pool1d` of the other end; see :func:`max_pool2d`."""
    windows = arguments.sliding(1, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pick(input, 1, windows, "min", return_indices)


def min_pool2d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The smallest of each window: `max_pool2d` of the other end; see :func:`max_pool2d`."""
    windows = arguments.sliding(2, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pick(input, 2, windows, "min", return_indices)


def min_pool3d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The smallest of each window: `max_pool3d` of the other end; see :func:`max_pool2d`."""
    windows = arguments.sliding(3, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pick(input, 3, windows, "min", return_indices)


def avg_pool1d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    dilation: _Ints = 1,
) -> Tensor:
    """As `torch.nn.functional.avg_pool1d`, with dilation; see :func:`avg_pool2d`."""
    windows = arguments.sliding(1, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.mean(input, 1, windows, count_include_pad, None)


def avg_pool2d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: _Ints = 1,
) -> Tensor:
    """Return the mean of each window.

    Parameters
    ----------
    input, kernel_size, stride, padding, ceil_mode
        As for `max_pool2d`. The mean of integers is floating: float32 up to 16 bits, else float64.
    count_include_pad : bool
        Whether padding counts in the divisor; what ceil mode adds never does.
    divisor_override : int, optional
        Divide by this number instead.
    dilation : int or sequence of int
        Beyond torch: the distance between the cells of a window.

    Notes
    -----
    ``y[i] = sum(x[j] for j in window i) / divisor[i]``, summed in float32 at least, rounded once.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.avg_pool2d(torch.arange(16.0).reshape(1, 4, 4), 2)
    tensor([[[ 2.5000,  4.5000],
             [10.5000, 12.5000]]])
    """
    windows = arguments.sliding(2, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.mean(input, 2, windows, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: _Ints = 1,
) -> Tensor:
    """As `torch.nn.functional.avg_pool3d`, with dilation; see :func:`avg_pool2d`."""
    windows = arguments.sliding(3, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.mean(input, 3, windows, count_include_pad, divisor_override)


def sum_pool1d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the sum of each window; see :func:`sum_pool2d`."""
    windows = arguments.sliding(1, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pool(input, 1, windows, "sum")


def sum_pool2d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the sum of each window; integers give int64.

    Parameters
    ----------
    input, kernel_size, stride, padding, dilation, ceil_mode
        As for `max_pool2d`.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.sum_pool2d(torch.ones(1, 4, 4, dtype=torch.uint8), 2)
    tensor([[[4, 4],
             [4, 4]]])
    """
    windows = arguments.sliding(2, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pool(input, 2, windows, "sum")


def sum_pool3d(
    input: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Padding = 0,
    dilation: _Ints = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the sum of each window; see :func:`sum_pool2d`."""
    windows = arguments.sliding(3, kernel_size, stride, padding, dilation, ceil_mode)
    return _paths.pool(input, 3, windows, "sum")


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the p-norm of each window; see :func:`lp_pool2d`."""
    windows = arguments.sliding(1, kernel_size, stride, 0, 1, ceil_mode)
    return _paths.pool(input, 1, windows, arguments.norm(norm_type))


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the p-norm of each window, ``(sum |x|^p)^(1/p)``.

    Parameters
    ----------
    input, kernel_size, stride, ceil_mode
        As for `max_pool2d`; floating.
    norm_type : float
        p, above 0; infinity gives the largest ``|x|``.

    Notes
    -----
    torch's own takes no absolute values and scales up windows that ceil mode cuts off. The two
    agree for even p and for ``x >= 0``, without such windows.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.lp_pool2d(torch.tensor([[[3.0, -4.0]]]), 2, (1, 2))
    tensor([[[5.]]])
    """
    windows = arguments.sliding(2, kernel_size, stride, 0, 1, ceil_mode)
    return _paths.pool(input, 2, windows, arguments.norm(norm_type))


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the p-norm of each window; see :func:`lp_pool2d`."""
    windows = arguments.sliding(3, kernel_size, stride, 0, 1, ceil_mode)
    return _paths.pool(input, 3, windows, arguments.norm(norm_type))


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """As `torch.nn.functional.adaptive_max_pool1d`, to the bit."""
    return _paths.pick(input, 1, arguments.adaptive(1, output_size), "max", return_indices)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """As `torch.nn.functional.adaptive_avg_pool1d`, to rounding."""
    return _paths.pool(input, 1, arguments.adaptive(1, output_size), "mean")


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """As `torch.nn.functional.adaptive_max_pool2d`, to the bit."""
    return _paths.pick(input, 2, arguments.adaptive(2, output_size), "max", return_indices)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """As `torch.nn.functional.adaptive_avg_pool2d`, to rounding."""
    return _paths.pool(input, 2, arguments.adaptive(2, output_size), "mean")


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """As `torch.nn.functional.adaptive_max_pool3d`, to the bit."""
    return _paths.pick(input, 3, arguments.adaptive(3, output_size), "max", return_indices)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """As `torch.nn.functional.adaptive_avg_pool3d`, to rounding."""
    return _paths.pool(input, 3, arguments.adaptive(3, output_size), "mean")


def spatial_pyramid_pool2d(
    input: Tensor | Sequence[Tensor],
    levels: Sequence[int | Sequence[int]] = (1, 2, 4),
    reducer: Any = "max",
    *,
    bins: BinRule = "adaptive",
) -> Tensor:
    """Pool maps of any size on several grids at once, to vectors of one length, with gradients.

    Parameters
    ----------
    input : Tensor, or list or tuple of Tensor
        One map ``(C, H, W)``, a batch ``(N, C, H, W)``, or maps ``(C, H_i, W_i)`` of any sizes: a
        list, or a nested tensor.
    levels : sequence of int or of (rows, columns)
        The grids, in output order.
    reducer : {"max", "min", "sum", "mean", "avg"} or poolwise.Reducer
        What is made of the cells of a bin.
    bins : {"adaptive", "training"}
        SPP-net's rule that is right for every size, or the formula it was trained with, which
        raises where it is wrong.

    Returns
    -------
    Tensor
        ``(L,)``, ``(N, L)`` or ``(len(input), L)`` with ``L = C * sum(rows * columns)``: level by
        level, channel-major.

    Notes
    -----
    He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition",
    2014: with bins ``[floor(i*a/n), ceil((i+1)*a/n))`` of its Appendix A.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.spatial_pyramid_pool2d([torch.rand(256, 14, 14), torch.rand(256, 10, 13)]).shape
    torch.Size([2, 5376])
    """
    windows, counts = arguments.pyramid(levels, bins)
    spelled = arguments.named(reducer)
    if isinstance(input, Tensor) and not input.is_nested:
        return _paths.level_order(_paths.pool(input, 2, windows, spelled), counts)
    maps = input.unbind() if isinstance(input, Tensor) else input
    _check_maps(maps)
    rows = [_paths.level_order(_paths.pool(one, 2, windows, spelled), counts) for one in maps]
    return torch.stack(rows)


def _check_maps(maps: Sequence[Tensor]) -> None:
    if not isinstance(maps, list | tuple):
        raise TypeError(f"input must be a tensor, or a list of maps (C, H, W), got {show(maps)}")
    if not maps:
        raise ValueError("input is an empty list; give at least one map (C, H, W)")
    for i, one in enumerate(maps):
        if not isinstance(one, Tensor) or one.dim() != 3:
            raise ValueError(f"input[{i}] must be a map (C, H, W), got {show(one)}")
        if len(one) != len(maps[0]) or one.dtype != maps[0].dtype:
            raise ValueError(
                f"input[{i}] has {len(one)} channels of {one.dtype}, but input[0] has "
                f"{len(maps[0])} of {maps[0].dtype}; give maps of one layer"
            )


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """As `torch.nn.functional.max_unpool1d`; see :func:`max_unpool2d`."""
    return _paths.unpool(input, indices, 1, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put each value back where max pooling found it, into zeros.

    Parameters
    ----------
    input : Tensor
        Pooled values.
    indices : Tensor of int64
        Their places, as ``max_pool2d(..., return_indices=True)`` gives them.
    kernel_size, stride, padding
        Of the pooling that is undone; they tell the size of the result.
    output_size : sequence of int, optional
        The size of the result (of the pooled axes, or of all), where several are possible.

    Raises
    ------
    ValueError
        If an index lies outside the result, or `output_size` is not one the pooling came from.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> y, where = pt.max_pool2d(torch.tensor([[[1.0, 9.0], [2.0, 3.0]]]), 2, return_indices=True)
    >>> pt.max_unpool2d(y, where, 2)
    tensor([[[0., 9.],
             [0., 0.]]])
    """
    return _paths.unpool(input, indices, 2, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: _Ints,
    stride: _Ints | None = None,
    padding: _Ints = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """As `torch.nn.functional.max_unpool3d`; see :func:`max_unpool2d`."""
    return _paths.unpool(input, indices, 3, kernel_size, stride, padding, output_size)
