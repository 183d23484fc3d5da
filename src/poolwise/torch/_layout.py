"""Shapes, strides and dtypes of pooled tensors: what can be said of a call before it is made.

Kernels, fake kernels and compositions all ask here, so they cannot disagree. Sizes may be plain
numbers or the symbolic ones of `torch.compile` and export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..reducers import Reducer
from ..windows import Bins, Rule, Sliding, Windows

CORE_NAMES = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int64",
    torch.uint8: "uint8",
    torch.uint16: "uint16",
    torch.uint32: "uint32",
    torch.uint64: "uint64",
    torch.bool: "bool",
}
WINNER_DTYPES = {"tap8": torch.uint8, "index32": torch.int32, "index64": torch.int64}
FORMS = {dtype: form for form, dtype in WINNER_DTYPES.items()}


def check_dtype(dtype: torch.dtype, name: str = "input") -> None:
    """Raise TypeError for a dtype that cannot be pooled."""
    if dtype not in CORE_NAMES:
        raise TypeError(
            f"{name} has dtype {dtype}, which cannot be pooled; convert it to an integer type, "
            "torch.bool or a floating type of 16, 32 or 64 bits"
        )


def result_dtype(reducer: Reducer, dtype: torch.dtype) -> torch.dtype:
    """Return the output's dtype: the input's, but for sums and means of integers."""
    check_dtype(dtype)
    if reducer.picks or dtype.is_floating_point:
        return dtype
    if reducer.name == "sum":
        return torch.int64
    if reducer.name == "lp":
        raise TypeError(f"input has dtype {dtype}; lp pooling takes floating tensors")
    return torch.float32 if dtype.itemsize <= 2 else torch.float64


def pooled_ndim(windows: Windows, ndim: int) -> int:
    """Return how many of the last axes of a tensor with `ndim` axes the windows pool."""
    wanted = windows.ndim or min(2, ndim)
    if not 1 <= wanted <= min(3, ndim):
        raise ValueError(
            f"the windows are for {wanted} axes, and input has {ndim}; one to three are pooled"
        )
    return wanted


def check_sizes(sizes: Sequence[int], ndim: int) -> None:
    """Raise ValueError unless a tensor is one map or a batch of maps of `ndim` axes."""
    if len(sizes) not in (ndim + 1, ndim + 2):
        axes = ", ".join("DHW"[-ndim:])
        raise ValueError(
            f"input has {len(sizes)} axes (shape {tuple(sizes)}); {ndim}-D pooling takes "
            f"(C, {axes}) or (N, C, {axes})"
        )
    if 0 in sizes[len(sizes) - ndim - 1 :]:
        raise ValueError(
            f"input of shape {tuple(sizes)} has an empty axis other than the batch; "
            "there is nothing to pool"
        )


def output_shape(sizes: Sequence[int], windows: Windows) -> tuple[int, ...]:
    """Return the shape of a pooled tensor; pyramids put one axis of bins for the pooled ones."""
    n = pooled_ndim(windows, len(sizes))
    pooled = tuple(sizes[-n:])
    if all(type(size) is int for size in pooled):
        return (*sizes[:-n], *windows.over(pooled).output_shape)
    return (*sizes[:-n], *_symbolic_shape(pooled, windows))


def _symbolic_shape(sizes: tuple[int, ...], windows: Windows) -> tuple[int, ...]:
    """The same for sizes that `torch.compile` and export keep symbolic: no table, no branch."""
    grids = [
        [_symbolic_count(rule, size) for rule, size in zip(rules, sizes, strict=True)]
        for rules in _rules(windows, len(sizes))
    ]
    return (sum(map(math.prod, grids)),) if windows.flat else tuple(grids[0])


def _rules(windows: Windows, n: int) -> list[tuple[Rule, ...]]:
    return [level if isinstance(level, tuple) else (level,) * n for level in windows.levels]


def _symbolic_count(rule: Rule, size: int) -> int:
    if isinstance(rule, Bins):
        return size if rule.count is None else rule.count
    if isinstance(rule.padding, str):  # "same": as many windows as strides fit
        return -(-size // rule.stride)
    before, after = rule.padding
    room = size + before + after - (rule.dilation * (rule.kernel - 1) + 1)
    if not rule.ceil_mode:
        return room // rule.stride + 1
    # The last window starts before the padding at the end.
    count: int = torch.sym_min(-(-room // rule.stride) + 1, -(-(size + before) // rule.stride))
    return count


def channels_last(sizes: Sequence[int], strides: Sequence[int], n: int) -> bool:
    """Whether a batch of maps of n axes has its channels innermost in memory, as torch judges."""
    if len(sizes) != n + 2:
        return False
    spatial = tuple(range(len(sizes) - 1, 1, -1))
    least = 0
    for axis in (1, *spatial, 0):
        if sizes[axis] == 0 or strides[axis] < least:
            return False
        if axis == 0 and least == strides[1]:  # N x 1 x 1 x 1 and N x C x 1 x 1: contiguous too
            return False
        least = strides[axis] * max(sizes[axis], 1)
    return strides[1] != 0


def strides_of(shape: Sequence[int], last: bool) -> tuple[int, ...]:
    """Return dense strides, with axis 1 innermost if `last`."""
    order = [0, *range(2, len(shape)), 1] if last else list(range(len(shape)))
    strides, reach = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = reach
        reach *= max(shape[axis], 1)
    return tuple(strides)


def output_layout(
    sizes: Sequence[int], strides: Sequence[int], windows: Windows
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape and strides of a pooled tensor: channels last if the input's are."""
    shape = output_shape(sizes, windows)
    last = channels_last(sizes, strides, pooled_ndim(windows, len(sizes)))
    return shape, strides_of(shape, last and len(shape) == len(sizes))


def gradient_strides(
    sizes: Sequence[int], dy_sizes: Sequence[int], dy_strides: Sequence[int], windows: Windows
) -> tuple[int, ...]:
    """Return the strides of an input's gradient: channels last if the output's gradient is."""
    n = pooled_ndim(windows, len(sizes))
    last = len(dy_sizes) == len(sizes) and channels_last(dy_sizes, dy_strides, n)
    return strides_of(sizes, last)


def window_cells(windows: Windows, sizes: Sequence[int]) -> int:
    """Return how many taps the largest window numbers: what a tap must be able to say."""
    return max(grid.taps for grid in windows.over(tuple(sizes)).grids)


def winner_form(windows: Windows, sizes: Sequence[int]) -> str:
    """Return the smallest way to tell a winner: a tap of 8 bits, or an index of 32 or 64.

    Sizes may be symbolic: only a pyramid or adaptive windows of about 256 cells need their value.
    """
    at_least, at_most = _about_cells(windows, sizes)
    if at_most > 256 and (at_least > 256 or window_cells(windows, tuple(map(int, sizes))) > 256):
        return "index32" if math.prod(sizes) < 2**31 else "index64"
    return "tap8"


def _about_cells(windows: Windows, sizes: Sequence[int]) -> tuple[int, int]:
    """Bounds of `window_cells`: the longest of n bins over a cells is ceil(a / n), or 1 longer."""
    low, high = [], []
    for rules in _rules(windows, len(sizes)):
        least = [
            rule.kernel
            if isinstance(rule, Sliding)
            else 1
            if rule.count is None
            else -(-size // rule.count)
            for rule, size in zip(rules, sizes, strict=True)
        ]
        low.append(math.prod(least))
        exact = [isinstance(rule, Sliding) or rule.count is None for rule in rules]
        high.append(math.prod(n + (not e) for n, e in zip(least, exact, strict=True)))
    return _largest(low), _largest(high)


def _largest(numbers: list[int]) -> int:
    most = numbers[0]
    for number in numbers[1:]:
        most = torch.sym_max(most, number)
    return most
