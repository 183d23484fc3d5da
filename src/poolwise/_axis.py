"""One axis of a pooling: which input cells each output position reads.

Rules (`Sliding`, `Bins`) are what the user asks for, whatever the input; an `AxisPlan` is a rule
laid over an axis of known size. Building one costs a few integer operations however many output
positions it has, because users' numbers may ask for 2**40 of them: tables are made on demand and
only after a look at the memory they would take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ._checks import INT64_MAX, as_int, check_memory, table_bytes

Int64Array = NDArray[np.int64]
NativeAxis = tuple[int, int, int, int, int, int, int, Int64Array | None, Int64Array | None]

# Tables of longer axes are not kept with their (cached) plan: a thousand such plans would fill
# the memory, and making one is nothing beside pooling that many positions.
_KEEP = 2**16


@dataclass(frozen=True)
class AxisPlan:
    """One pooled axis with its size known; `rule` says whether the numbers or the bins hold.

    With ``rule="sliding"`` window i starts at ``i * stride - pad_before`` and takes `kernel` cells,
    `dilation` apart. With ``rule="bins"`` bin i is
    ``[floor(i*size/count), ceil((i+1)*size/count))`` and the other numbers are 1 and 0.
    """

    size: int
    count: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    pad_before: int = 0
    pad_after: int = 0
    rule: Literal["sliding", "bins"] = "sliding"

    @property
    def span(self) -> int:
        """Cells from the first to the last a sliding window reads."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def starts(self) -> Int64Array:
        """First cell inside the input that each window reads."""
        return self._tables()[0]

    @property
    def stops(self) -> Int64Array:
        """End of each window, clipped to the input; never before its start."""
        return self._tables()[1]

    @property
    def counts(self) -> Int64Array:
        """How many cells inside the input each window reads."""
        return self._tables()[2]

    @property
    def divisors(self) -> Int64Array:
        """How many cells each window covers, declared padding counted, overflow not."""
        return self._tables()[3]

    def coverage(self) -> Int64Array:
        """How many windows read each cell of the axis."""
        check_memory(8 * 3 * self.size + table_bytes([self.count]), "the coverage of this axis")
        starts, _, counts, _ = self._tables()
        step = min(self.dilation, self.size)
        rows = -(-self.size // step) + 1
        change = np.zeros(rows * step, dtype=np.int64)
        seen = counts > 0
        np.add.at(change, starts[seen], 1)
        ends = starts[seen] + counts[seen] * step
        np.add.at(change, ends[ends < change.size], -1)
        # Cells `step` apart share their windows, so the running sum runs down each column.
        return change.reshape(rows, step).cumsum(axis=0).reshape(-1)[: self.size]

    def native(self) -> NativeAxis:
        """Return the axis as the native core takes it."""
        bins = self.rule == "bins"
        starts, stops = (self.starts, self.stops) if bins else (None, None)
        numbers = (self.kernel, self.stride, self.dilation, self.pad_before, self.pad_after)
        return (self.size, self.count, *numbers, starts, stops)

    def _tables(self) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
        kept = self.__dict__.get("_kept")
        if kept is not None:
            return kept  # type: ignore[no-any-return]
        check_memory(table_bytes([self.count]), "the table of these windows")
        tables = self._bin_tables() if self.rule == "bins" else self._sliding_tables()
        for table in tables:
            table.flags.writeable = False
        if self.count <= _KEEP:
            self.__dict__["_kept"] = tables
        return tables

    def _bin_tables(self) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
        i = np.arange(self.count, dtype=np.int64)
        starts = i * self.size // self.count
        stops = -(-(i + 1) * self.size // self.count)
        return starts, stops, stops - starts, stops - starts

    def _sliding_tables(self) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
        first = np.arange(self.count, dtype=np.int64) * self.stride - self.pad_before
        # Skip the taps before the input, keeping the phase of a dilated window.
        skipped = -(np.minimum(first, 0) // self.dilation)
        starts = np.minimum(first + skipped * self.dilation, self.size)
        stops = np.maximum(np.minimum(first + self.span, self.size), starts)
        counts = -((starts - stops) // self.dilation)
        padded_end = self.size + self.pad_after
        divisors = np.minimum(-((first - padded_end) // self.dilation), self.kernel)
        return starts, stops, counts, divisors


def _checked(name: str, number: int) -> int:
    if number > INT64_MAX:
        raise ValueError(f"{name} does not fit in 64 bits; use smaller numbers")
    return number


@dataclass(frozen=True)
class Sliding:
    """Windows of `kernel` cells, `dilation` apart, starting every `stride` cells."""

    kernel: int
    stride: int
    padding: tuple[int, int] | Literal["same_upper", "same_lower"] = (0, 0)
    dilation: int = 1
    ceil_mode: bool = False

    def over(self, size: int) -> AxisPlan:
        """Lay the windows over an axis of `size` cells (docs/semantics.md, "Sliding windows")."""
        stride = self.stride
        dilation = 1 if self.kernel == 1 else self.dilation
        span = _checked("dilation * (kernel_size - 1) + 1", dilation * (self.kernel - 1) + 1)
        before, after = self._pads(size, span)
        padded = size + before + after
        # The core's largest sum is a window's start plus its span, so no sum there can wrap.
        _checked("size + padding + span + stride of a window", padded + span + stride)
        if self.ceil_mode:
            count = -((span - padded) // stride) + 1
            if count > 1 and (count - 1) * stride >= size + before:
                count -= 1
        else:
            count = (padded - span) // stride + 1
        if count < 1:
            raise ValueError(
                f"a window of kernel_size {self.kernel} and dilation {self.dilation} spans {span} "
                f"cells, wider than the padded input of {padded} (size {size} + padding {before} "
                f"+ {after}); use a smaller kernel_size or dilation, or more padding"
            )
        return AxisPlan(size, count, self.kernel, stride, dilation, before, after)

    def _pads(self, size: int, span: int) -> tuple[int, int]:
        if isinstance(self.padding, tuple):
            return self.padding
        count = -(-size // self.stride)
        total = max((count - 1) * self.stride + span - size, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if self.padding == "same_upper" else (more, less)


@dataclass(frozen=True)
class Bins:
    """Exactly `count` windows that share the axis out; None keeps the axis as it is."""

    count: int | None
    training: bool = False

    def over(self, size: int) -> AxisPlan:
        """Lay the bins over an axis of `size` cells (docs/semantics.md, "Bins")."""
        count = size if self.count is None else self.count
        if self.training:
            return self._training(size, count)
        _checked(f"output_size (bins) of {count} times an axis of {size} cells", count * size)
        return AxisPlan(size, count, rule="bins")

    @staticmethod
    def _training(size: int, count: int) -> AxisPlan:
        kernel, stride, got = training_bins(size, count)
        if got != count:
            found = "stride 0" if stride == 0 else f"{got} bins"
            raise ValueError(
                f'bins="training" gives {found} instead of {count} bins on an axis of {size} cells '
                f'(size {kernel}, stride {stride}); use bins="adaptive", right for every size'
            )
        return AxisPlan(size, count, kernel, stride)


Rule = Sliding | Bins


def training_bins(size: int, bins: int) -> tuple[int, int, int]:
    """Return the raw (kernel, stride, count) of SPP-net's training formula, right or wrong.

    ``kernel = ceil(size / bins)``, ``stride = floor(size / bins)``, count by floor mode; a stride
    of 0 is reported with a count of 0. `Windows.pyramid` refuses such results, this shows them.

    Examples
    --------
    >>> training_bins(14, 4), training_bins(10, 6), training_bins(3, 4)
    ((4, 3, 4), (2, 1, 9), (1, 0, 0))
    """
    size, bins = as_int(size, "size", 1), as_int(bins, "bins", 1)
    kernel, stride = -(-size // bins), size // bins
    return kernel, stride, (size - kernel) // stride + 1 if stride else 0
