"""Plan, then run: everything about a call but its data is worked out once and cached.

`prepare` turns windows, reducer, shape and dtype into a `Prepared` call: output shape and dtype,
the native plan, and how the output divides into the maps of the grids. Running one is dull, and so
fast: pooling a small array should cost little more than the call itself.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native, reference
from ._arrays import Array, as_array, check_out, raw
from ._checks import INT64_MAX, as_axes, check_memory, table_bytes
from ._dtypes import accumulator, core_name
from .reducers import Reducer
from .windows import Plan, Windows

# The core pools up to three axes at once; more are rare, and the reference can do any number.
_CORE_AXES = 3

# Cached calls hold at most this much each in the core's tables; larger ones are made anew.
_KEEP_BYTES = 2**20
_KEPT_CALLS = 256
# How a call tells what won, by the array it is given for that.
_FORMS = {np.dtype(np.uint8): "tap8", np.dtype(np.int32): "index32", np.dtype(np.int64): "index64"}
_KEPT_LAYOUTS = 16  # of each call: strides of input and output, threads


def core_pools(axes: Sequence[int]) -> bool:
    """Whether the core can pool these axes, or the reference must."""
    return len(axes) <= _CORE_AXES


def choose_axes(windows: Windows, ndim: int, axes: object) -> tuple[Windows, tuple[int, ...]]:
    """Return the pooled axes in ascending order, and the windows in the same order."""
    if axes is None:
        wanted = windows.ndim or min(2, ndim)
        if wanted > ndim:
            raise ValueError(
                f"the windows are for {wanted} axes, but x has {ndim}; "
                "give one number per pooled axis, or an array with more axes"
            )
        return windows, tuple(range(ndim - wanted, ndim))
    given = as_axes(axes, ndim)
    if windows.ndim not in (None, len(given)):
        raise ValueError(
            f"axes names {len(given)} axes, but the windows are for {windows.ndim}; "
            "give one number per pooled axis"
        )
    order = sorted(range(len(given)), key=given.__getitem__)
    return windows.reordered(order), tuple(given[k] for k in order)


class Prepared:
    """One call with everything known but the data. Made by `prepare`, shared between threads."""

    def __init__(
        self,
        plan: Plan,
        axes: tuple[int, ...],
        reducer: Reducer,
        shape: tuple[int, ...],
        dtypes: tuple[np.dtype, np.dtype],
    ) -> None:
        self.plan, self.axes, self.reducer = plan, axes, reducer
        self.dtype, self.out_dtype = dtypes
        self.names = core_name(dtypes[0]) or "", core_name(dtypes[1]) or ""
        self.map_shapes = [self._replace(shape, grid.output_shape) for grid in plan.grids]
        self.shape = self.map_shapes[0]
        if plan.flat:
            first = axes[0]
            kept = [n for a, n in enumerate(shape) if a not in axes]
            self.shape = (*kept[:first], *plan.output_shape, *kept[first:])
        self.cells = math.prod(self.shape)
        tables = sum(table_bytes(grid.output_shape) for grid in plan.grids)
        self.tables = 0 if self.reference_only else tables
        # The way back has tables as long as the input, in each grid.
        back = table_bytes(plan.input_shape) * len(plan.grids)
        self.tables_back = 0 if self.reference_only else self.tables + back
        self._native: _native.Plan | None = None
        self._layouts: dict[tuple[object, ...], _native.ForwardCall] = {}
        need = self.cells * self.out_dtype.itemsize + self.tables
        longest = max(self.shape, default=0)
        # An axis that no array can have is too much memory, even where the array has no elements.
        check_memory(max(need, longest if longest > INT64_MAX else 0), f"output {self.shape}")

    @property
    def reference_only(self) -> bool:
        """Whether the core cannot run this call."""
        return not core_pools(self.axes)

    @property
    def native(self) -> _native.Plan:
        """The core's own plan, with its tables; kept unless they are large."""
        if self._native is not None:
            return self._native
        made = self._make_native()
        if self.tables <= _KEEP_BYTES:
            self._native = made
        return made

    @property
    def native_back(self) -> _native.Plan:
        """A native plan for gradients: the same one, unless its tables would outgrow the cache."""
        return self.native if self.tables_back <= _KEEP_BYTES else self._make_native()

    def _make_native(self) -> _native.Plan:
        grids = (tuple(axis.native() for axis in grid.axes) for grid in self.plan.grids)
        return _native.Plan(tuple(grids))

    @cached_property
    def simple(self) -> bool:
        """Whether the core can be given the arrays as they are, and may keep its call."""
        plain = "bfloat16" not in self.names and len(self.map_shapes) == 1 and not self.plan.flat
        return plain and self.cells > 0 and not self.reference_only and self.tables <= _KEEP_BYTES

    @cached_property
    def _taps(self) -> int:
        return max(grid.taps for grid in self.plan.grids)

    @property
    def winner_dtype(self) -> np.dtype:
        """The smallest a winner can be kept in for the way back.

        A byte if it is one of 256 taps, else its place in the map. The reference knows places of
        int64 alone.
        """
        if self.reference_only:
            return np.dtype(np.int64)
        if self._taps <= 256:
            return np.dtype(np.uint8)
        return np.dtype(np.int32 if math.prod(self.plan.input_shape) < 2**31 else np.int64)

    @cached_property
    def reducer_args(self) -> tuple[str, float, bool, int]:
        """The reducer as the core takes it."""
        r = self.reducer
        return r.name, r.p, r.count_include_pad, r.divisor_override or 0

    def _replace(self, shape: tuple[int, ...], counts: tuple[int, ...]) -> tuple[int, ...]:
        sizes = dict(zip(self.axes, counts, strict=True))
        return tuple(sizes.get(a, n) for a, n in enumerate(shape))

    def maps(self, out: Array) -> tuple[Array, ...]:
        """Return views of an output of `shape`, one per grid, each with its grid's axes."""
        if not self.plan.flat:
            return (out,)
        first, views, offset = self.axes[0], [], 0
        for grid in self.plan.grids:
            bins = math.prod(grid.output_shape)
            part = out[(slice(None),) * first + (slice(offset, offset + bins),)]
            views.append(self._split(part, first, grid.output_shape))
            offset += bins
        return tuple(views)

    def _split(self, part: Array, first: int, counts: tuple[int, ...]) -> Array:
        """Split the bins axis at `first` into the grid's axes and move them to their places."""
        split = part.reshape(part.shape[:first] + counts + part.shape[first + 1 :])
        here = range(first, first + len(counts))
        return split if tuple(here) == self.axes else np.moveaxis(split, here, self.axes)

    def forward(self, x: Array, maps: Sequence[Array], indices: Sequence[Array] | None) -> None:
        """Pool `x` into the maps, and what won, in int64 or `winner_dtype`, into any `indices`."""
        if self.cells == 0:
            return
        if self.reference_only:
            for k, grid in enumerate(self.plan.grids):
                found = reference.forward_with_indices(
                    x, grid, self.reducer, self.axes, self.out_dtype
                )
                maps[k][...] = found[0]
                if indices is not None:
                    indices[k][...] = found[1]
            return
        x_name, y_name = self.names
        if len(maps) == 1 and self.tables <= _KEEP_BYTES:
            won_here = None if indices is None else indices[0]
            self.of_layout(x, maps[0], won_here).run_arrays(
                raw(x, x_name), raw(maps[0], y_name), won_here
            )
            return
        ys = tuple(maps) if y_name != "bfloat16" else tuple(raw(m, y_name) for m in maps)
        won = None if indices is None else tuple(indices)
        _native.forward(
            self.native, raw(x, x_name), x_name, ys, y_name, won, self.axes, *self.reducer_args
        )

    def of_layout(self, x: Array, y: Array, indices: Array | None) -> _native.ForwardCall:
        """Return the core's call for arrays that lie so: cut up once, and then only run."""
        threads = _native.get_num_threads()
        won = None if indices is None else (indices.strides, indices.dtype)
        key = (x.strides, y.strides, won, threads)
        call = self._layouts.get(key)
        if call is None:
            if len(self._layouts) >= _KEPT_LAYOUTS:
                self._layouts.clear()
            form = "" if indices is None else _FORMS[indices.dtype]
            call = self._layouts[key] = _native.ForwardCall(
                self.native,
                (x.shape, x.strides, 0),
                self.names[0],
                ((y.shape, y.strides, 0),),
                self.names[1],
                form,
                () if indices is None else ((indices.shape, indices.strides, 0),),
                self.axes,
                *self.reducer_args,
                threads,
                of_team=False,
            )
        return call

    def backward(self, dy: Array, x: Array | None, indices: Array | None, dx: Array) -> None:
        """Write the gradient of `x` to `dx`; max and min need what won, lp needs x."""
        if self.cells == 0:
            return
        maps = self.maps(dy)
        won = None if indices is None else self.maps(indices)
        if self.reference_only:
            self._reference_backward(maps, x, won, dx)
            return
        name = self.names[0]
        dys = tuple(raw(m, name) for m in maps)
        if won is not None:
            plan = self.native if won[0].dtype != np.int64 else None
            _native.scatter(raw(dx, name), name, dys, won, self.axes, True, plan)
        else:
            given = None if x is None else raw(x, name)
            _native.backward(
                self.native_back, raw(dx, name), name, dys, self.axes, *self.reducer_args, given
            )

    def _reference_backward(
        self, dys: Sequence[Array], x: Array | None, won: Sequence[Array] | None, dx: Array
    ) -> None:
        total = np.zeros(dx.shape, dtype=accumulator(dx.dtype))
        given = np.broadcast_to(dx.dtype.type(0), dx.shape) if x is None else x
        for k, grid in enumerate(self.plan.grids):
            if won is not None:
                sizes = self.plan.input_shape
                total += reference.scatter(dys[k], won[k], sizes, self.axes, accumulate=True)
            else:
                total += reference.backward(dys[k], given, grid, self.reducer, self.axes)
        with np.errstate(over="ignore", invalid="ignore"):  # float16 gradients may be infinite
            dx[...] = total


@lru_cache(maxsize=_KEPT_CALLS)
def prepare(
    windows: Windows,
    reducer: Reducer,
    shape: tuple[int, ...],
    dtype: np.dtype,
    axes: tuple[int, ...] | None = None,
    out_dtype: np.dtype | None = None,
) -> Prepared:
    """Work out a call: ValueError, TypeError or MemoryError if it cannot be made."""
    result = reducer.result_dtype(dtype, out_dtype)
    ordered, pooled = choose_axes(windows, len(shape), axes)
    plan = ordered.over(tuple(shape[a] for a in pooled))
    return Prepared(plan, pooled, reducer, shape, (dtype, result))


def plain_axes(axes: object, ndim: int) -> tuple[int, ...] | None:
    """Return `axes` as something a cache can look up."""
    return None if axes is None else as_axes(axes, ndim)


def run(
    x: object,
    windows: Windows,
    reducer: Reducer,
    axes: object = None,
    dtype: np.dtype | None = None,
    out: object = None,
) -> Array:
    """Pool `x`: the one path that every pooling without indices takes."""
    known: Hashable | None = None
    if type(x) is np.ndarray and (axes is None or type(axes) is tuple):
        known = _known(x, windows, reducer, axes, dtype, out)
        repeated = _REPEATED.get(known)
        if repeated is not None and x.flags.aligned:
            y: Array = out if type(out) is np.ndarray else np.empty(*repeated[0])
            if y.flags.behaved and repeated[1].run_apart(x, y):
                return y
    array = as_array(x)
    call = prepare(windows, reducer, array.shape, array.dtype, plain_axes(axes, array.ndim), dtype)
    if out is None:
        y = np.empty(call.shape, call.out_dtype)
    else:
        y = check_out(out, call.shape, call.out_dtype, *_inputs(x, array))
    call.forward(array, call.maps(y), None)
    if known is not None and array is x and call.simple:
        if len(_REPEATED) >= _KEPT_CALLS:
            _REPEATED.clear()
        _REPEATED[known] = (call.shape, call.out_dtype), call.of_layout(array, y, None)
    return y


def _inputs(x: object, array: Array) -> tuple[Array, ...]:
    """Return what no output may lie in: what the core reads, and the array that it is a copy of."""
    return (array, x) if isinstance(x, np.ndarray) and x is not array else (array,)


# Calls that came through all checks, by everything about them but the data: what such a call asks
# for again is only run. A small call is mostly the checks: 3.8 microseconds with them, 2.4 without.
_REPEATED: dict[Hashable, tuple[tuple[tuple[int, ...], np.dtype], _native.ForwardCall]] = {}


def _known(
    x: Array,
    windows: Windows,
    reducer: Reducer,
    axes: tuple[object, ...] | None,
    dtype: np.dtype | None,
    out: object,
) -> Hashable | None:
    """Return all that decides a call but the numbers; None where there is no telling."""
    if axes is not None and not all(type(axis) is int for axis in axes):
        return None  # 1, 1.0 and True are equal, but not alike to us
    if out is None:
        laid_out: object = None
    elif type(out) is np.ndarray:
        laid_out = (out.shape, out.strides, out.dtype)
    else:
        return None
    threads = _native.get_num_threads()
    return x.shape, x.strides, x.dtype, windows, reducer, axes, dtype, laid_out, threads


def run_with_indices(
    x: object,
    windows: Windows,
    reducer: Reducer,
    axes: object = None,
    out: object = None,
    compact: bool = False,
) -> tuple[Array, NDArray[Any], Prepared]:
    """Pool `x` and say which cell won; also return the call, for the way back.

    Cells are told by their index; or, `compact`, in the call's `winner_dtype`. `out` is for the
    values, or a pair: for the values and for the indices.
    """
    values_out, indices_out = out, None
    if isinstance(out, tuple):
        if len(out) != 2:
            raise ValueError(f"out is a tuple of {len(out)}; give (values, indices)")
        values_out, indices_out = out
    array = as_array(x)
    call = prepare(windows, reducer, array.shape, array.dtype, plain_axes(axes, array.ndim))
    told = call.winner_dtype if compact else np.dtype(np.int64)
    need = call.cells * (call.out_dtype.itemsize + told.itemsize) + call.tables
    check_memory(need, f"output {call.shape} with indices")
    if values_out is None:
        y: Array = np.empty(call.shape, call.out_dtype)
    else:
        name = "out" if values_out is out else "out[0]"
        y = check_out(values_out, call.shape, call.out_dtype, *_inputs(x, array), name=name)
    if indices_out is None:
        indices: NDArray[Any] = np.empty(call.shape, told)
    else:
        indices = check_out(indices_out, call.shape, told, *_inputs(x, array), y, name="out[1]")
    call.forward(array, call.maps(y), call.maps(indices))
    return y, indices, call
