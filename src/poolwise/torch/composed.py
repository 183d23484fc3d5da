"""The operators as compositions of torch's own: for devices that the core does not reach.

One loop serves every window and reducer: an axis is reduced tap by tap, tap k of all windows being
one `index_select`, the last axis first, so that "the earlier operand wins" is row-major order here
too. The cost grows with the window, and the results are those of the core to rounding, with the
same rules for NaN, ties and padding. Each function has the signature of the operator of its name,
and runs on any device, the CPU included, which is how it is tested.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .._axis import AxisPlan
from ..reducers import Reducer
from ..windows import Grid, Plan
from ._layout import WINNER_DTYPES, pooled_ndim, result_dtype, winner_form
from .spelling import reducer_of, windows_of

__all__ = [
    "lp_backward",
    "pool",
    "pool_backward",
    "pool_winners",
    "unpool",
    "winners_backward",
    "winners_gather",
]


class _Taps:
    """One axis: its windows as taps, tap k of window i being cell ``first[i] + k * step``."""

    def __init__(self, axis: AxisPlan, device: torch.device) -> None:
        i = torch.arange(axis.count, dtype=torch.int64, device=device)
        self.size, self.step = axis.size, axis.dilation
        if axis.rule == "bins":
            self.first = torch.as_tensor(axis.starts.copy(), device=device)
            self.length = torch.as_tensor(axis.stops - axis.starts, device=device)
            self.taps = int((axis.stops - axis.starts).max())
        else:
            self.first = i * axis.stride - axis.pad_before
            self.length = torch.full_like(i, axis.kernel)
            self.taps = axis.kernel

    def cells(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield each tap: its number, its cell in every window, and whether that is one."""
        for k in range(self.taps):
            cell = self.first + k * self.step
            yield k, cell, (cell >= 0) & (cell < self.size) & (k < self.length)


def _plan_of(x_sizes: Sequence[int], windows: str) -> tuple[Plan, int]:
    made = windows_of(windows)
    n = pooled_ndim(made, len(x_sizes))
    return made.over(tuple(x_sizes[len(x_sizes) - n :])), n


def _along(vector: Tensor, axis: int, ndim: int) -> Tensor:
    shape = [1] * ndim
    shape[axis] = -1
    return vector.reshape(shape)


def _axes(grid: Grid, ndim: int) -> Iterator[tuple[int, AxisPlan]]:
    """The pooled axes of a tensor with `ndim` axes, the last one first."""
    first = ndim - len(grid.axes)
    for k in reversed(range(len(grid.axes))):
        yield first + k, grid.axes[k]


def _reduce(
    x: Tensor, grid: Grid, join: Callable[[Tensor, Tensor], Tensor], nothing: object
) -> Tensor:
    for at, axis in _axes(grid, x.dim()):
        taps = _Taps(axis, x.device)
        total = None
        for _, cell, valid in taps.cells():
            part = x.index_select(at, cell.clamp(0, taps.size - 1))
            part = torch.where(_along(valid, at, x.dim()), part, nothing)  # type: ignore[call-overload]
            total = part if total is None else join(total, part)
        assert total is not None
        x = total
    return x


def _identity(dtype: torch.dtype, reducer: Reducer) -> Tensor:
    lowest = reducer.name == "max"
    if dtype == torch.bool:
        return torch.tensor(not lowest)
    if dtype.is_floating_point:
        return torch.tensor(-math.inf if lowest else math.inf, dtype=dtype)
    limits = torch.iinfo(dtype)
    return torch.tensor(limits.min if lowest else limits.max, dtype=dtype)


def _picked(x: Tensor, grid: Grid, reducer: Reducer) -> tuple[Tensor, Tensor]:
    """Return values and flat indices (-1 for windows without a cell)."""
    nothing = _identity(x.dtype, reducer).to(x.device)
    sizes = [axis.size for axis in grid.axes]
    n = len(sizes)
    places = torch.arange(math.prod(sizes), device=x.device).reshape(sizes)
    index = places.expand(x.shape[: x.dim() - n] + tuple(sizes))
    for at, axis in _axes(grid, x.dim()):
        taps = _Taps(axis, x.device)
        value = where = None
        for _, cell, valid in taps.cells():
            here = cell.clamp(0, taps.size - 1)
            mask = _along(valid, at, x.dim())
            next_value = torch.where(mask, x.index_select(at, here), nothing)
            next_index = torch.where(mask, index.index_select(at, here), -1)
            if value is None or where is None:
                value, where = next_value, next_index
                continue
            beyond = next_value > value if reducer.name == "max" else next_value < value
            # A first cell that is no better than nothing still beats no cell at all.
            later = beyond | (next_value != next_value) | ((where < 0) & (next_index >= 0))
            value = torch.where(later, next_value, value)
            where = torch.where(later, next_index, where)
        assert value is not None
        assert where is not None
        x, index = value, where
    return x, index


def _divisor(grid: Grid, reducer: Reducer, like: Tensor) -> Tensor | int:
    if reducer.name != "mean":
        return 1
    if reducer.divisor_override is not None:
        return reducer.divisor_override
    n, total = len(grid.axes), torch.ones((), dtype=torch.int64)
    for k, axis in enumerate(grid.axes):
        counts = torch.as_tensor(
            (axis.divisors if reducer.count_include_pad else axis.counts).copy()
        )
        total = total * _along(counts, k, n)
    return total.clamp(min=1).to(like.device, like.dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    if not dtype.is_floating_point:
        return torch.float64
    return torch.float32 if dtype.itemsize == 2 else dtype


def _values(x: Tensor, grid: Grid, reducer: Reducer) -> Tensor:
    out = result_dtype(reducer, x.dtype)
    if reducer.picks:
        return _picked(x, grid, reducer)[0]
    if reducer.name == "lp":
        return _norm(x, grid, reducer.p)
    if reducer.name == "sum" and not x.dtype.is_floating_point:
        return _reduce(x.to(torch.int64), grid, torch.add, torch.zeros((), dtype=torch.int64))
    wide = x.to(_wide(x.dtype))
    total = _reduce(wide, grid, torch.add, torch.zeros((), dtype=wide.dtype, device=x.device))
    return (total / _divisor(grid, reducer, total)).to(out)


def _norm(x: Tensor, grid: Grid, p: float) -> Tensor:
    # In double, powers and their sums stay finite for every half or single; p = inf needs neither.
    size = x.abs() if p == math.inf or x.device.type == "mps" else x.abs().double()
    zero = torch.zeros((), dtype=size.dtype, device=x.device)
    if p == math.inf:
        return _reduce(size, grid, torch.maximum, zero)
    return _reduce(size**p, grid, torch.add, zero).pow(1 / p).to(x.dtype)


def _join(maps: list[Tensor], plan: Plan, n: int) -> Tensor:
    if not plan.flat:
        return maps[0]
    return torch.cat([m.flatten(-n) for m in maps], dim=-1)


def _split(y: Tensor, plan: Plan) -> list[Tensor]:
    if not plan.flat:
        return [y]
    counts = [math.prod(grid.output_shape) for grid in plan.grids]
    return [
        part.reshape(*part.shape[:-1], *grid.output_shape)
        for part, grid in zip(y.split(counts, dim=-1), plan.grids, strict=True)
    ]


def pool(x: Tensor, windows: str, reducer: str) -> Tensor:
    """As ``torch.ops.poolwise.pool``."""
    plan, n = _plan_of(x.shape, windows)
    made = reducer_of(reducer)
    result_dtype(made, x.dtype)
    return _join([_values(x, grid, made) for grid in plan.grids], plan, n)


def pool_winners(x: Tensor, windows: str, reducer: str, indices: bool) -> tuple[Tensor, Tensor]:
    """As ``torch.ops.poolwise.pool_winners``."""
    plan, n = _plan_of(x.shape, windows)
    made = reducer_of(reducer)
    form = "index64" if indices else winner_form(windows_of(windows), x.shape[x.dim() - n :])
    values, winners = [], []
    for grid in plan.grids:
        value, index = _picked(x, grid, made)
        values.append(value)
        winners.append(_taps_of(index, grid) if form == "tap8" else index)
    return _join(values, plan, n), _join(winners, plan, n).to(WINNER_DTYPES[form])


def _taps_of(index: Tensor, grid: Grid) -> Tensor:
    """Return flat indices as taps of their windows."""
    tap, rest = torch.zeros_like(index), index.clamp(min=0)
    cells = []
    for _, axis in _axes(grid, index.dim()):
        cells.append(rest % axis.size)
        rest = rest // axis.size
    pairs = list(_axes(grid, index.dim()))
    for (at, axis), cell in zip(reversed(pairs), reversed(cells), strict=True):
        taps = _Taps(axis, index.device)
        local = (cell - _along(taps.first, at, index.dim())) // taps.step
        tap = tap * taps.taps + local
    return torch.where(index < 0, 0, tap)


def _flat(winners: Tensor, grid: Grid) -> Tensor:
    """Return winners as flat indices; -1 for what is no cell of the input."""
    if winners.dtype != torch.uint8:
        return winners.long()
    rest = winners.long()
    flat, good, reach = torch.zeros_like(rest), torch.ones_like(rest, dtype=torch.bool), 1
    for at, axis in _axes(grid, winners.dim()):
        taps = _Taps(axis, winners.device)
        k, rest = rest % taps.taps, rest // taps.taps
        cell = _along(taps.first, at, winners.dim()) + k * taps.step
        good &= (cell >= 0) & (cell < axis.size)
        flat, reach = flat + cell * reach, reach * axis.size
    return torch.where(good & (rest == 0), flat, -1)


def pool_backward(dy: Tensor, sizes: Sequence[int], windows: str, reducer: str) -> Tensor:
    """As ``torch.ops.poolwise.pool_backward``."""
    plan, _ = _plan_of(sizes, windows)
    made = reducer_of(reducer)
    total = None
    for part, grid in zip(_split(dy, plan), plan.grids, strict=True):
        wide = part.to(_wide(dy.dtype))
        dx = wide / _divisor(grid, made, wide)
        for at, axis in _axes(grid, dx.dim()):
            taps = _Taps(axis, dx.device)
            shape = list(dx.shape)
            shape[at] = axis.size
            spread = dx.new_zeros(shape)
            for _, cell, valid in taps.cells():
                spread.index_add_(at, cell[valid], dx.index_select(at, valid.nonzero()[:, 0]))
            dx = spread
        total = dx if total is None else total + dx
    assert total is not None
    return total.to(dy.dtype)


def winners_backward(dy: Tensor, winners: Tensor, sizes: Sequence[int], windows: str) -> Tensor:
    """As ``torch.ops.poolwise.winners_backward``."""
    plan, n = _plan_of(sizes, windows)
    pairs = zip(_split(dy, plan), _split(winners, plan), plan.grids, strict=True)
    dx = dy.new_zeros(
        (*sizes[: len(sizes) - n], math.prod(plan.input_shape)), dtype=_wide(dy.dtype)
    )
    for part, won, grid in pairs:
        flat = _flat(won, grid).flatten(-n)
        value = torch.where(flat >= 0, part.flatten(-n), 0).to(dx.dtype)
        dx.scatter_add_(-1, flat.clamp(min=0), value)
    return dx.to(dy.dtype).reshape(tuple(sizes))


def winners_gather(x: Tensor, winners: Tensor, windows: str) -> Tensor:
    """As ``torch.ops.poolwise.winners_gather``."""
    plan, n = _plan_of(x.shape, windows)
    maps = []
    for won, grid in zip(_split(winners, plan), plan.grids, strict=True):
        flat = _flat(won, grid).flatten(-n)
        value = x.flatten(-n).gather(-1, flat.clamp(min=0))
        maps.append(torch.where(flat >= 0, value, 0).reshape(won.shape))
    return _join(maps, plan, n)


def lp_backward(dy: Tensor, x: Tensor, windows: str, reducer: str) -> Tensor:
    """As ``torch.ops.poolwise.lp_backward``: ``dx = sign(x) |x|^(p-1) sum(dy y^(1-p))``.

    0 where x or y is 0; the powers' arguments are kept away from 0 where they are not used.
    """
    p = reducer_of(reducer).p
    y = pool(x, windows, reducer)
    if p == math.inf:
        dx = torch.zeros_like(x).flatten(-_plan_of(x.shape, windows)[1])
        for flat, tied, part in _ties(x, y, dy, windows):
            dx = dx.index_add(-1, flat, torch.where(tied, part, 0))
        return dx.reshape(x.shape)
    wide = x.to(_wide(x.dtype))
    y, dy = y.to(wide.dtype), dy.to(wide.dtype)
    share = torch.where(y == 0, 0, dy * torch.where(y == 0, 1, y).pow(1 - p))
    total = pool_backward(share, x.shape, windows, "sum")
    slope = wide.sign() * torch.where(wide == 0, 1, wide.abs()).pow(p - 1)
    return torch.where(wide == 0, 0, slope * total).to(x.dtype)


def largest_gather(ddx: Tensor, x: Tensor, y: Tensor, windows: str) -> Tensor:
    """Return, for p = inf, what `lp_backward` takes to each window: its second derivative's dy."""
    n = _plan_of(x.shape, windows)[1]
    cells = ddx.flatten(-n)
    total: Tensor | None = None
    for flat, tied, sign in _ties(x, y, torch.ones_like(y), windows):
        part = torch.where(tied, cells.index_select(-1, flat) * sign, 0)
        total = part if total is None else total + part
    assert total is not None
    return total.reshape(y.shape)


def _ties(
    x: Tensor, y: Tensor, dy: Tensor, windows: str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield, tap by tap of p = inf: its cells, whether each is a largest, and ``dy sign(x)``.

    Every cell as large as its window's largest gets the whole gradient.
    """
    plan, n = _plan_of(x.shape, windows)
    if plan.flat:
        raise ValueError("lp pooling with p = inf has no gradient over a pyramid; use max of |x|")
    cells, largest, dy = x.flatten(-n), y.flatten(-n), dy.flatten(-n)
    axes = [list(_Taps(axis, x.device).cells()) for axis in plan.grids[0].axes]
    for taps in itertools.product(*axes):
        flat = torch.zeros((), dtype=torch.int64, device=x.device)
        good = torch.ones((), dtype=torch.bool, device=x.device)
        for k, ((_, cell, valid), axis) in enumerate(zip(taps, plan.grids[0].axes, strict=True)):
            flat = flat * axis.size + _along(cell.clamp(0, axis.size - 1), k, n)
            good = good & _along(valid, k, n)
        flat = flat.flatten()
        here = cells.index_select(-1, flat)
        yield flat, good.flatten() & (here.abs() == largest), dy * here.sign()


def unpool(y: Tensor, indices: Tensor, sizes: Sequence[int]) -> Tensor:
    """As ``torch.ops.poolwise.unpool``; which of two values at one place stays is not said."""
    n = len(sizes)
    lead = y.shape[: y.dim() - n]
    x = y.new_zeros((*lead, math.prod(sizes)))
    x.scatter_(-1, indices.flatten(-n), y.flatten(-n))
    return x.reshape((*lead, *sizes))
