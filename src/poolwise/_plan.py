"""Windows laid over an input of known shape: the one plan that everything reads.

Shapes, the tables of starts and stops, divisors, coverage, `poolwise explain` and the native core
all come from a `Plan`. It is a few integers until one of its arrays is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._axis import AxisPlan, Int64Array
from ._checks import INT64_MAX, check_memory, table_bytes

__all__ = ["Grid", "Plan"]


@dataclass(frozen=True)
class Grid:
    """The windows of one output map: one `AxisPlan` per pooled axis."""

    axes: tuple[AxisPlan, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def taps(self) -> int:
        """Places a window of this grid numbers, padding included: at least its most cells."""
        return math.prod(
            int((axis.stops - axis.starts).max()) if axis.rule == "bins" else axis.kernel
            for axis in self.axes
        )

    def outer(self, per_axis: Callable[[AxisPlan], Int64Array]) -> Int64Array:
        """Multiply one vector per axis out to an array over all axes."""
        vectors = [per_axis(axis) for axis in self.axes]
        check_memory(8 * math.prod(v.size for v in vectors), "an array over these windows")
        total = np.ones((1,) * len(vectors), dtype=np.int64)
        for k, vector in enumerate(vectors):
            total = total * vector.reshape([-1 if k == j else 1 for j in range(len(vectors))])
        return total


@dataclass(frozen=True)
class Plan:
    """Windows laid over an input of known shape; see `Windows.over`.

    Attributes
    ----------
    input_shape : tuple of int
        Sizes of the pooled axes.
    grids : tuple of Grid
        One per output map; more than one only for a pyramid.
    flat : bool
        Whether the output is one axis of bins (pyramids) instead of one axis per pooled axis.

    Examples
    --------
    >>> from poolwise import Windows
    >>> plan = Windows.adaptive(3).over((7, 5))
    >>> plan.output_shape, plan.starts[0], plan.stops[0]
    ((3, 3), array([0, 2, 4]), array([3, 5, 7]))
    """

    input_shape: tuple[int, ...]
    grids: tuple[Grid, ...]
    flat: bool = False

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Windows along each axis; for a pyramid the number of bins of all levels together."""
        if self.flat:
            return (sum(math.prod(grid.output_shape) for grid in self.grids),)
        return self.grids[0].output_shape

    @property
    def starts(self) -> tuple[Int64Array, ...]:
        """Per axis, the first cell inside the input that each window reads."""
        return self._per_axis(lambda axis: axis.starts)

    @property
    def stops(self) -> tuple[Int64Array, ...]:
        """Per axis, the end of each window: it reads ``range(start, stop, step)``."""
        return self._per_axis(lambda axis: axis.stops)

    @property
    def steps(self) -> tuple[int, ...]:
        """Per axis, the distance of the cells a window reads: the dilation."""
        return tuple(axis.dilation for axis in self.grids[0].axes)

    @property
    def counts(self) -> Int64Array:
        """Cells inside the input that each window reads, an array of `output_shape`."""
        return self._per_window(lambda axis: axis.counts)

    @property
    def divisors(self) -> Int64Array:
        """The same with declared padding counted: the divisor of ``count_include_pad=True``."""
        return self._per_window(lambda axis: axis.divisors)

    def coverage(self) -> Int64Array:
        """Return how many windows read each input cell, an int64 array of `input_shape`.

        Examples
        --------
        SPP-net's training formula on 14 cells and 4 bins never reads the last cell:

        >>> from poolwise import Windows
        >>> Windows.pyramid([(4,)], bins="training").over(14).coverage()
        array([1, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 1, 0])
        """
        total = self.grids[0].outer(AxisPlan.coverage)
        for grid in self.grids[1:]:
            total = total + grid.outer(AxisPlan.coverage)
        return total

    def _per_axis(self, table: Callable[[AxisPlan], Int64Array]) -> tuple[Int64Array, ...]:
        if not self.flat:
            return tuple(table(axis) for axis in self.grids[0].axes)
        check_memory(table_bytes(self.output_shape), "the table of these bins")
        columns: list[list[Int64Array]] = [[] for _ in self.input_shape]
        for grid in self.grids:
            tables = np.meshgrid(*(table(axis) for axis in grid.axes), indexing="ij")
            for column, values in zip(columns, tables, strict=True):
                column.append(values.reshape(-1))
        return tuple(_read_only(np.concatenate(column)) for column in columns)

    def _per_window(self, table: Callable[[AxisPlan], Int64Array]) -> Int64Array:
        for grid in self.grids:
            largest = math.prod(int(table(axis).max()) for axis in grid.axes)
            if largest > INT64_MAX:
                raise ValueError(f"a window of {largest} cells does not fit in 64 bits")
        if not self.flat:
            return self.grids[0].outer(table)
        return np.concatenate([grid.outer(table).reshape(-1) for grid in self.grids])


def _read_only(array: Int64Array) -> Int64Array:
    array.flags.writeable = False
    return array
