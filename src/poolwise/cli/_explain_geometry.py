"""What a pooling reads of a map, counted exactly, and what to change so that it reads all of it.

Nothing here prints or draws. Poolings that cannot be built are described too: SPP-net's training
formula gives 9 windows where 6 were asked for (10 cells) or a stride of 0 (3 cells, 4 bins), and
whoever copied it wants to see what it would read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from poolwise._axis import Int64Array
from poolwise.windows import AxisPlan, Grid, Windows, training_bins

Pair = tuple[int, int]
AXIS_NAMES = ("row", "column")
MOST_PADDING_TRIED = 64


@dataclass(frozen=True)
class SlidingSpec:
    """A sliding pooling as the command line asks for it, one number per axis."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def options(self) -> str:
        """The command line's options for it, those at their default left out."""
        words = [f"--kernel {show(self.kernel)} --stride {show(self.stride)}"]
        if self.padding != (0, 0):
            words.append(f"--padding {show(self.padding)}")
        if self.dilation != (1, 1):
            words.append(f"--dilation {show(self.dilation)}")
        if self.ceil_mode:
            words.append("--ceil-mode")
        return " ".join(words)

    def spans(self) -> Pair:
        """Cells from the first to the last that a window reads, per axis."""
        rows, columns = (d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return rows, columns

    def windows(self) -> Windows:
        return Windows.sliding(
            self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode
        )


@dataclass(frozen=True)
class Spec:
    """One pooling: sliding windows, or one or more grids of bins by one of the two rules."""

    sliding: SlidingSpec | None = None
    levels: tuple[Pair, ...] = ()
    training: bool = False
    is_pyramid: bool = False

    def options(self) -> str:
        """The command line's options for it."""
        if self.sliding is not None:
            return self.sliding.options()
        rule = f"--rule {'training' if self.training else 'adaptive'}"
        if self.is_pyramid:
            return f"--levels {','.join(show(level) for level in self.levels)} {rule}"
        return f"--bins {show(self.levels[0])} {rule}"


@dataclass(frozen=True)
class Reading:
    """A pooling laid over a map: its grids, and per cell how often it is read."""

    shape: Pair
    spec: Spec
    grids: tuple[Grid, ...]
    problems: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        return self.shape[0] * self.shape[1]

    def alone(self) -> tuple[Reading, ...]:
        """One reading per grid."""
        return tuple(replace(self, grids=(grid,)) for grid in self.grids)

    def axis_coverage(self, axis: int) -> Int64Array:
        """How many windows of the only grid read each row (axis 0) or each column (axis 1)."""
        (grid,) = self.grids
        return grid.axes[axis].coverage()

    def coverage(self) -> Int64Array:
        """How often each cell is read, over all grids: an array of the map's shape."""
        total = np.zeros(self.shape, dtype=np.int64)
        for grid in self.grids:
            total += np.multiply.outer(grid.axes[0].coverage(), grid.axes[1].coverage())
        return total

    def totals(self) -> tuple[int, int, int]:
        """How many cells are never read, read once, and read more than once.

        Rows that all grids read alike are counted together, so that a map of 65536 x 65536 costs
        one row's time per kind of row and never a map's memory.
        """
        rows, row_weights = self._kinds(0)
        columns, column_weights = self._kinds(1)
        never = once = 0
        for row, weight in zip(rows.T, row_weights, strict=True):
            reads = row @ columns
            never += int(weight) * int(column_weights[reads == 0].sum())
            once += int(weight) * int(column_weights[reads == 1].sum())
        return never, once, self.cells - never - once

    def _kinds(self, axis: int) -> tuple[Int64Array, Int64Array]:
        stacked = np.stack([grid.axes[axis].coverage() for grid in self.grids])
        kinds, weights = np.unique(stacked, axis=1, return_counts=True)
        return kinds, weights

    def reads_everything(self) -> bool:
        """Whether it can be built and each of its grids reads every cell of the map."""
        return not self.problems and all(
            bool(axis.coverage().all()) for grid in self.grids for axis in grid.axes
        )


def read(spec: Spec, shape: Pair) -> Reading:
    """Lay the pooling over the map; ValueError where windows are wider than the padded map."""
    if spec.sliding is not None:
        return Reading(shape, spec, spec.sliding.windows().over(shape).grids)
    if not spec.training:
        return Reading(shape, spec, Windows.pyramid(spec.levels).over(shape).grids)
    problems: list[str] = []
    grids = []
    for level in spec.levels:
        axes = []
        for size, count, axis in zip(shape, level, AXIS_NAMES, strict=True):
            kernel, stride, got = training_bins(size, count)
            if stride == 0:
                problems.append(
                    f"{size} {axis}s, {count} bins: stride floor({size}/{count}) = 0, "
                    f"so all {count} windows would start at 0"
                )
                got = count
            elif got != count:
                problems.append(f"{size} {axis}s, {count} bins: the formula gives {got} windows")
            axes.append(AxisPlan(size, got, kernel, stride))
        grids.append(Grid(tuple(axes)))
    return Reading(shape, spec, tuple(grids), tuple(problems))


def remedies(reading: Reading) -> list[Reading]:
    """Poolings near this one that read every cell, each of them tried, not assumed.

    At most two that keep the windows sliding, and adaptive bins, which always do.
    """
    if reading.spec.sliding is None:
        return [read(replace(reading.spec, training=False), reading.shape)]
    found: dict[tuple[Grid, ...], Reading] = {}
    for sliding in _near(reading.spec.sliding, reading.shape):
        try:
            candidate = read(Spec(sliding=sliding), reading.shape)
        except ValueError:  # such as a window wider than the map
            continue
        # Two changes may come to the same windows: the first said is the simpler one.
        if candidate.reads_everything() and len(found) < 2:
            found.setdefault(candidate.grids, candidate)
    rows, columns = reading.grids[0].output_shape
    return [*found.values(), read(Spec(levels=((rows, columns),)), reading.shape)]


def _near(sliding: SlidingSpec, shape: Pair) -> Iterator[SlidingSpec]:
    """Changes of a sliding pooling that may help, the smallest first."""
    yield replace(sliding, ceil_mode=True)
    padding = _least_padding(sliding, shape)
    if padding is not None:
        yield replace(sliding, padding=padding)
    # Windows further apart than they are wide leave gaps that no rule for the border fills.
    stride = _both(min(s, span) for s, span in zip(sliding.stride, sliding.spans(), strict=True))
    yield replace(sliding, stride=stride)
    yield replace(sliding, stride=stride, ceil_mode=True)
    # Dilated windows whose stride shares a factor with the dilation always miss the same cells.
    if sliding.dilation != (1, 1):
        yield replace(sliding, stride=(1, 1))
    stride = _both(min(s, k) for s, k in zip(sliding.stride, sliding.kernel, strict=True))
    dense = replace(sliding, dilation=(1, 1), stride=stride)
    yield dense
    yield replace(dense, ceil_mode=True)


def _least_padding(sliding: SlidingSpec, shape: Pair) -> Pair | None:
    """The least padding per axis, at most half a window, with which every cell is read."""
    padding = []
    for axis, (size, span) in enumerate(zip(shape, sliding.spans(), strict=True)):
        kernel, stride, dilation = (
            numbers[axis] for numbers in (sliding.kernel, sliding.stride, sliding.dilation)
        )
        first = sliding.padding[axis]
        # What a last window leaves unread is less than a stride, so no more padding than that.
        for pad in range(first, max(first, min(span // 2, stride, MOST_PADDING_TRIED)) + 1):
            if size + 2 * pad < span:
                continue
            windows = Windows.sliding(kernel, stride, pad, dilation, sliding.ceil_mode)
            if windows.over(size).grids[0].axes[0].coverage().all():
                padding.append(pad)
                break
        else:
            return None
    return padding[0], padding[1]


def _both(numbers: Iterator[int]) -> Pair:
    rows, columns = numbers
    return rows, columns


def show(pair: Pair) -> str:
    """`3` for (3, 3), `3x2` for (3, 2): as the command line takes it."""
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"
