"""Tensors to the core: prepared calls, cached by everything but the memory they run on.

What a call does follows from shape, strides, dtype, windows, reducer and threads. It is worked out
once; from then on pooling a tensor is a look-up, an allocation and a jump into the core, which is
what keeps small tensors cheap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .. import _native
from .._checks import check_memory, table_bytes
from ..reducers import Reducer
from ..windows import Bins, Plan, Rule, Sliding, Windows
from .spelling import reducer_of, windows_of

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

# Looked up once: a small tensor's call is made of a few such steps.
_empty_strided, _get_num_threads = torch.empty_strided, torch.get_num_threads

_KEPT_CALLS = 1024
_KEPT_PLANS = 256
# Plans of larger geometry are made anew for every call: their tables would fill the memory.
_KEEP_POSITIONS = 2**16


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
    return torch.sym_min(-(-room // rule.stride) + 1, -(-(size + before) // rule.stride))


def channels_last(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether 4 or 5 axes lie in memory with the channels innermost, as torch judges it."""
    if len(sizes) not in (4, 5):
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
    last = len(shape) == len(sizes) and channels_last(sizes, strides)
    return shape, strides_of(shape, last)


def window_cells(windows: Windows, sizes: Sequence[int]) -> int:
    """Return how many taps the largest window numbers: what a tap must be able to say."""
    plan = windows.over(tuple(sizes))
    return max(_grid_taps(plan, k) for k in range(len(plan.grids)))


def _grid_taps(plan: Plan, k: int) -> int:
    return math.prod(
        int((axis.stops - axis.starts).max()) if axis.rule == "bins" else axis.kernel
        for axis in plan.grids[k].axes
    )


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


def native_plan(plan: Plan) -> _native.Plan:
    """Return the core's plan, kept unless its tables are large."""
    positions = sum(plan.input_shape) + sum(sum(grid.output_shape) for grid in plan.grids)
    return _kept_plan(plan) if positions <= _KEEP_POSITIONS else _make_plan(plan)


def _make_plan(plan: Plan) -> _native.Plan:
    return _native.Plan(tuple(tuple(axis.native() for axis in grid.axes) for grid in plan.grids))


_kept_plan = lru_cache(maxsize=_KEPT_PLANS)(_make_plan)

View = tuple[tuple[int, ...], tuple[int, ...], int]


def view(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> View:
    """Return one array as the core takes it: shape, strides in bytes, offset."""
    return tuple(shape), tuple(s * itemsize for s in strides), 0


def grid_views(
    shape: Sequence[int], strides: Sequence[int], itemsize: int, plan: Plan
) -> tuple[View, ...]:
    """Return an output's maps, one per grid: a pyramid's lie one after another in the last axis."""
    if not plan.flat:
        return (view(shape, strides, itemsize),)
    views, offset = [], 0
    for grid in plan.grids:
        inner, reach = [], strides[-1]
        for n in reversed(grid.output_shape):
            inner.append(reach * itemsize)
            reach *= n
        lead = tuple(s * itemsize for s in strides[:-1])
        shape_here = (*shape[:-1], *grid.output_shape)
        views.append((shape_here, (*lead, *reversed(inner)), offset * strides[-1] * itemsize))
        offset += math.prod(grid.output_shape)
    return tuple(views)


class Forward(NamedTuple):
    """A prepared forward call: run it with the addresses of input, output and winners."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    winner_dtype: torch.dtype
    run: Callable[[int, int, int], None] | None  # None where there is nothing to compute


def _prepare_forward(
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: torch.dtype,
    windows_text: str,
    reducer_text: str,
    indices: bool | None,
    threads: int,
    ndim: int,
) -> Forward:
    if ndim:
        check_sizes(sizes, ndim)
    windows, reducer = windows_of(windows_text), reducer_of(reducer_text)
    out_dtype = result_dtype(reducer, dtype)
    n = pooled_ndim(windows, len(sizes))
    shape, out_strides = output_layout(sizes, strides, windows)
    plan = windows.over(sizes[-n:])
    form = ""
    if indices is not None:
        if not reducer.picks:
            raise ValueError(f"{reducer_text} pooling has no winners; only max and min do")
        form = "index64" if indices else winner_form(windows, sizes[-n:])
    winner_dtype = WINNER_DTYPES.get(form, torch.int64)
    tables = sum(table_bytes(grid.output_shape) for grid in plan.grids)
    cells = math.prod(shape)
    each = out_dtype.itemsize + (winner_dtype.itemsize if form else 0)
    check_memory(cells * each + tables, f"output {shape}")
    if cells == 0:
        return Forward(shape, out_strides, out_dtype, winner_dtype, None)
    call = _native.ForwardCall(
        native_plan(plan),
        view(sizes, strides, dtype.itemsize),
        CORE_NAMES[dtype],
        grid_views(shape, out_strides, out_dtype.itemsize, plan),
        CORE_NAMES[out_dtype],
        form,
        grid_views(shape, out_strides, winner_dtype.itemsize, plan) if form else (),
        tuple(range(len(sizes) - n, len(sizes))),
        *core_reducer(reducer),
        threads,
    )
    return Forward(shape, out_strides, out_dtype, winner_dtype, call.run)


_kept_forward = lru_cache(maxsize=_KEPT_CALLS)(_prepare_forward)


def core_reducer(reducer: Reducer) -> tuple[str, float, bool, int]:
    """Return a reducer as the core takes it."""
    return reducer.name, reducer.p, reducer.count_include_pad, reducer.divisor_override or 0


def forward(x: Tensor, windows: str, reducer: str, ndim: int = 0) -> Tensor:
    """Pool a CPU tensor in the core; `ndim` given, one map or a batch of maps of so many axes."""
    made = _kept_forward(
        x.shape, x.stride(), x.dtype, windows, reducer, None, _get_num_threads(), ndim
    )
    y = _empty_strided(made.shape, made.strides, dtype=made.dtype)
    if made.run is not None:
        made.run(x.data_ptr(), y.data_ptr(), 0)
    return y


def forward_winners(
    x: Tensor, windows: str, reducer: str, indices: bool, ndim: int = 0
) -> tuple[Tensor, Tensor]:
    """Pool a CPU tensor in the core, and say where each value was found."""
    made = _kept_forward(
        x.shape, x.stride(), x.dtype, windows, reducer, indices, _get_num_threads(), ndim
    )
    y = _empty_strided(made.shape, made.strides, dtype=made.dtype)
    winners = _empty_strided(made.shape, made.strides, dtype=made.winner_dtype)
    if made.run is not None:
        made.run(x.data_ptr(), y.data_ptr(), winners.data_ptr())
    return y, winners


class Backward(NamedTuple):
    """A prepared gradient: run it with the addresses of dx, dy and the winners (or lp's x)."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    run: Callable[[int, int, int], None] | None


def _gradient_layout(
    sizes: tuple[int, ...], dy_sizes: tuple[int, ...], dy_strides: tuple[int, ...], windows: Windows
) -> tuple[int, ...]:
    """Check that a gradient has the output's shape; return the strides of the input's."""
    expected = output_shape(sizes, windows)
    if dy_sizes != expected:
        raise ValueError(f"dy has shape {dy_sizes}, but y has {expected}; make them alike")
    last = len(dy_sizes) == len(sizes) and channels_last(dy_sizes, dy_strides)
    return strides_of(sizes, last)


@lru_cache(maxsize=_KEPT_CALLS)
def _prepare_backward(
    sizes: tuple[int, ...],
    dy_sizes: tuple[int, ...],
    dy_strides: tuple[int, ...],
    dtype: torch.dtype,
    windows_text: str,
    reducer_text: str,
    x_strides: tuple[int, ...] | None,
    threads: int,
) -> Backward:
    windows, reducer = windows_of(windows_text), reducer_of(reducer_text)
    if not dtype.is_floating_point:
        raise TypeError(f"dy has dtype {dtype}; gradients are floating")
    strides = _gradient_layout(sizes, dy_sizes, dy_strides, windows)
    n = pooled_ndim(windows, len(sizes))
    plan = windows.over(sizes[-n:])
    size = dtype.itemsize
    check_memory(math.prod(sizes) * size, f"gradient {sizes}")
    if math.prod(sizes) == 0:
        return Backward(sizes, strides, None)
    call = _native.BackwardCall(
        native_plan(plan),
        view(sizes, strides, size),
        CORE_NAMES[dtype],
        grid_views(dy_sizes, dy_strides, size, plan),
        tuple(range(len(sizes) - n, len(sizes))),
        *core_reducer(reducer),
        () if x_strides is None else (view(sizes, x_strides, size),),
        threads,
    )
    return Backward(sizes, strides, call.run)


def backward(
    dy: Tensor, sizes: Sequence[int], windows: str, reducer: str, x: Tensor | None = None
) -> Tensor:
    """Return the gradient of sum, mean or (given x) lp pooling."""
    made = _prepare_backward(
        tuple(sizes),
        tuple(dy.shape),
        dy.stride(),
        dy.dtype,
        windows,
        reducer,
        None if x is None else x.stride(),
        _get_num_threads(),
    )
    dx = _empty_strided(made.sizes, made.strides, dtype=dy.dtype)
    if made.run is not None:
        made.run(dx.data_ptr(), dy.data_ptr(), 0 if x is None else x.data_ptr())
    return dx


@lru_cache(maxsize=_KEPT_CALLS)
def _prepare_scatter(
    sizes: tuple[int, ...],
    dy_sizes: tuple[int, ...],
    dy_strides: tuple[int, ...],
    dtype: torch.dtype,
    winner_sizes: tuple[int, ...],
    winner_strides: tuple[int, ...],
    winner_dtype: torch.dtype,
    windows_text: str,
    threads: int,
) -> Backward:
    windows = windows_of(windows_text)
    if not dtype.is_floating_point:
        raise TypeError(f"dy has dtype {dtype}; gradients are floating")
    if winner_sizes != dy_sizes:
        raise ValueError(f"winners have shape {winner_sizes}, but dy has {dy_sizes}")
    strides = _gradient_layout(sizes, dy_sizes, dy_strides, windows)
    n = pooled_ndim(windows, len(sizes))
    form = FORMS.get(winner_dtype)
    if form is None:
        raise TypeError(f"winners have dtype {winner_dtype}; give what pool_winners returned")
    if form == "tap8" and window_cells(windows, sizes[-n:]) > 256:
        raise TypeError("winners of windows this large are indices, not taps of 8 bits")
    plan = windows.over(sizes[-n:])
    check_memory(math.prod(sizes) * dtype.itemsize, f"gradient {sizes}")
    if math.prod(sizes) == 0:
        return Backward(sizes, strides, None)
    call = _native.ScatterCall(
        native_plan(plan),
        view(sizes, strides, dtype.itemsize),
        CORE_NAMES[dtype],
        grid_views(dy_sizes, dy_strides, dtype.itemsize, plan),
        form,
        grid_views(winner_sizes, winner_strides, winner_dtype.itemsize, plan),
        tuple(range(len(sizes) - n, len(sizes))),
        True,
        threads,
    )
    return Backward(sizes, strides, call.run)


def scatter(dy: Tensor, winners: Tensor, sizes: Sequence[int], windows: str) -> Tensor:
    """Return the gradient of max or min pooling: each value goes to its winner."""
    made = _prepare_scatter(
        tuple(sizes),
        tuple(dy.shape),
        dy.stride(),
        dy.dtype,
        tuple(winners.shape),
        winners.stride(),
        winners.dtype,
        windows,
        _get_num_threads(),
    )
    dx = _empty_strided(made.sizes, made.strides, dtype=dy.dtype)
    if made.run is not None:
        made.run(dx.data_ptr(), dy.data_ptr(), winners.data_ptr())
    return dx


def unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> Tensor:
    """Put each value at its flat index over the last ``len(sizes)`` axes, into zeros."""
    n = len(sizes)
    shape = (*y.shape[: y.dim() - n], *sizes)
    check_memory(math.prod(shape) * y.dtype.itemsize, f"output {shape}")
    strides = strides_of(shape, channels_last(y.shape, y.stride()))
    x = _empty_strided(shape, strides, dtype=y.dtype)
    if x.numel() == 0:
        return x
    if y.numel() == 0:
        return x.zero_()
    call = _native.ScatterCall(
        None,
        view(shape, strides, y.dtype.itemsize),
        CORE_NAMES[y.dtype],
        (view(y.shape, y.stride(), y.dtype.itemsize),),
        "index64",
        (view(indices.shape, indices.stride(), 8),),
        tuple(range(y.dim() - n, y.dim())),
        False,
        _get_num_threads(),
    )
    call.run(x.data_ptr(), y.data_ptr(), indices.data_ptr())
    return x
