"""Tensors to the core: prepared calls, cached by everything but the memory they run on.

What a call does follows from shape, strides, dtype, windows, reducer and threads. It is worked out
once; from then on pooling a tensor is a look-up, an allocation and a jump into the core, which is
what keeps small tensors cheap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _native
from .._checks import check_memory, table_bytes
from ..reducers import Reducer
from ..windows import Plan, Windows
from ._layout import (
    CORE_NAMES,
    FORMS,
    WINNER_DTYPES,
    channels_last,
    check_sizes,
    gradient_strides,
    output_layout,
    output_shape,
    pooled_ndim,
    result_dtype,
    strides_of,
    window_cells,
    winner_form,
)
from .spelling import reducer_of, windows_of

# Looked up once: a small tensor's call is made of a few such steps.
_get_num_threads = torch.get_num_threads

_KEPT_CALLS = 512
_KEPT_PLANS = 256
# Tables of larger geometry are made anew for every call: kept, they would fill the memory.
_KEEP_POSITIONS = 2**13

Run = Callable[[int, int, int], None]


def _is_small(plan: Plan) -> bool:
    positions = sum(plan.input_shape) + sum(sum(grid.output_shape) for grid in plan.grids)
    return positions <= _KEEP_POSITIONS


def _make_plan(plan: Plan) -> _native.Plan:
    return _native.Plan(tuple(tuple(axis.native() for axis in grid.axes) for grid in plan.grids))


_kept_plan = lru_cache(maxsize=_KEPT_PLANS)(_make_plan)


def _runner(plan: Plan, make: Callable[[_native.Plan], Any]) -> Run:
    """Return what runs a call by address, prepared now, or each time if its tables are large."""
    if _is_small(plan):
        run: Run = make(_kept_plan(plan)).run
        return run
    make(_make_plan(plan))  # whatever there is to refuse is refused now

    def run_anew(first: int, second: int, third: int) -> None:
        make(_make_plan(plan)).run(first, second, third)

    return run_anew


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
    run: Run | None  # None where there is nothing to compute


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
    run = _runner(
        plan,
        lambda native: _native.ForwardCall(
            native,
            view(sizes, strides, dtype.itemsize),
            CORE_NAMES[dtype],
            grid_views(shape, out_strides, out_dtype.itemsize, plan),
            CORE_NAMES[out_dtype],
            form,
            grid_views(shape, out_strides, winner_dtype.itemsize, plan) if form else (),
            tuple(range(len(sizes) - n, len(sizes))),
            *core_reducer(reducer),
            threads,
        ),
    )
    return Forward(shape, out_strides, out_dtype, winner_dtype, run)


_kept_forward = lru_cache(maxsize=_KEPT_CALLS)(_prepare_forward)


def core_reducer(reducer: Reducer) -> tuple[str, float, bool, int]:
    """Return a reducer as the core takes it."""
    return reducer.name, reducer.p, reducer.count_include_pad, reducer.divisor_override or 0


def _address(x: Tensor) -> int:
    """Return where a tensor's elements are; RuntimeError if its storage was freed."""
    address = x.data_ptr()
    if not address and x.numel():
        raise RuntimeError(f"a tensor of shape {tuple(x.shape)} has no storage: it was freed")
    return address


def _empty(
    x: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    """Return a new tensor where x is, whatever the default device; naming a dtype costs time."""
    if dtype is x.dtype:
        return x.new_empty_strided(shape, strides)
    return x.new_empty_strided(shape, strides, dtype=dtype)


def forward(x: Tensor, windows: str, reducer: str, ndim: int = 0) -> Tensor:
    """Pool a CPU tensor in the core; `ndim` given, one map or a batch of maps of so many axes."""
    shape, strides, dtype, _, run = _kept_forward(
        x.shape, x.stride(), x.dtype, windows, reducer, None, _get_num_threads(), ndim
    )
    y = _empty(x, shape, strides, dtype)
    if run is not None:
        run(_address(x), _address(y), 0)
    return y


def forward_winners(
    x: Tensor, windows: str, reducer: str, indices: bool, ndim: int = 0
) -> tuple[Tensor, Tensor]:
    """Pool a CPU tensor in the core, and say where each value was found."""
    made = _kept_forward(
        x.shape, x.stride(), x.dtype, windows, reducer, indices, _get_num_threads(), ndim
    )
    y = _empty(x, made.shape, made.strides, made.dtype)
    winners = _empty(x, made.shape, made.strides, made.winner_dtype)
    if made.run is not None:
        made.run(_address(x), _address(y), _address(winners))
    return y, winners


class Backward(NamedTuple):
    """A prepared gradient: run it with the addresses of dx, dy and the winners (or lp's x)."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    run: Run | None


def _gradient_layout(
    sizes: tuple[int, ...], dy_sizes: tuple[int, ...], dy_strides: tuple[int, ...], windows: Windows
) -> tuple[int, ...]:
    """Check that a gradient has the output's shape; return the strides of the input's."""
    expected = output_shape(sizes, windows)
    if dy_sizes != expected:
        raise ValueError(f"dy has shape {dy_sizes}, but y has {expected}; make them alike")
    return gradient_strides(sizes, dy_sizes, dy_strides, windows)


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
    run = _runner(
        plan,
        lambda native: _native.BackwardCall(
            native,
            view(sizes, strides, size),
            CORE_NAMES[dtype],
            grid_views(dy_sizes, dy_strides, size, plan),
            tuple(range(len(sizes) - n, len(sizes))),
            *core_reducer(reducer),
            () if x_strides is None else (view(sizes, x_strides, size),),
            threads,
        ),
    )
    return Backward(sizes, strides, run)


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
    dx = _empty(dy, made.sizes, made.strides, dy.dtype)
    if made.run is not None:
        made.run(_address(dx), _address(dy), 0 if x is None else _address(x))
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
    run = _runner(
        plan,
        lambda native: _native.ScatterCall(
            native,
            view(sizes, strides, dtype.itemsize),
            CORE_NAMES[dtype],
            grid_views(dy_sizes, dy_strides, dtype.itemsize, plan),
            form,
            grid_views(winner_sizes, winner_strides, winner_dtype.itemsize, plan),
            tuple(range(len(sizes) - n, len(sizes))),
            True,
            threads,
        ),
    )
    return Backward(sizes, strides, run)


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
    dx = _empty(dy, made.sizes, made.strides, dy.dtype)
    if made.run is not None:
        made.run(_address(dx), _address(dy), _address(winners))
    return dx


def unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> Tensor:
    """Put each value at its flat index over the last ``len(sizes)`` axes, into zeros."""
    n = len(sizes)
    shape = (*y.shape[: y.dim() - n], *sizes)
    check_memory(math.prod(shape) * y.dtype.itemsize, f"output {shape}")
    strides = strides_of(shape, channels_last(y.shape, y.stride(), n))
    x = _empty(y, shape, strides, y.dtype)
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
    call.run(_address(x), _address(y), _address(indices))
    return x
