"""What a case is: one pooling of one array, said in numbers, and what follows from the numbers.

The catalogue of them is `catalogue.py`. Nothing here asks poolwise: output shapes and bytes are
worked out again, so that a test can hold the two against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Op = Literal["max", "avg"]
Layout = Literal["nchw", "nhwc"]
Direction = Literal["forward", "argmax", "backward"]
Dtype = Literal["f32", "f16", "bf16", "u8", "i16", "f64"]
Size = Literal["cache", "memory", "small"]
Kind = Literal["sliding", "adaptive", "global", "pyramid", "ragged"]

ITEM_BYTES: dict[Dtype, int] = {"f32": 4, "f16": 2, "bf16": 2, "u8": 1, "i16": 2, "f64": 8}
INDEX_BYTES = 8  # int64, as PyTorch, ONNX and poolwise give them
HEAVY_TAPS = 2e9  # a scalar loop over every tap then takes seconds: it is tried on a part first


@dataclass(frozen=True)
class Case:
    """One pooling. `shape` is (N, C, *pooled axes) whatever the layout in memory is.

    A case is sliding (`kernel`, and `chained` times on its own output), adaptive (`output_size`),
    a pyramid (`levels`; of maps of different sizes if `maps` lists their rows and columns, and
    `shape` then has the largest), or none of these: global.
    """

    name: str
    group: str
    op: Op
    shape: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    ceil_mode: bool = False
    chained: int = 1
    output_size: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    maps: tuple[tuple[int, int], ...] = ()
    dtype: Dtype = "f32"
    layout: Layout = "nchw"
    direction: Direction = "forward"
    size: Size = "cache"

    @property
    def id(self) -> str:
        """Names this case and no other, in a CSV file too."""
        return "|".join((self.group, self.name, self.dtype, self.layout, self.direction, self.size))

    @property
    def kind(self) -> Kind:
        if self.levels:
            return "ragged" if self.maps else "pyramid"
        if self.kernel:
            return "sliding"
        return "adaptive" if self.output_size else "global"

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.shape[2:]

    @property
    def axes(self) -> tuple[int, ...]:
        """The pooled axes in memory."""
        first = 2 if self.layout == "nchw" else 1
        return tuple(range(first, first + len(self.spatial)))

    @property
    def same(self) -> bool:
        """Whether it is a filter: one output per cell, windows centred on their cells."""
        return (
            self.kind == "sliding"
            and set(self.stride) == set(self.dilation) == {1}
            and all(k == 2 * p + 1 for k, p in zip(self.kernel, self.padding, strict=True))
        )

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The result's (N, C, *counts), or (N, C·bins) for a pyramid."""
        lead = self.shape[:2]
        if self.levels:
            return lead[0], lead[1] * sum(n ** len(self.spatial) for n in self.levels)
        if self.kernel:
            return *lead, *(self._count(k) for k in range(len(self.spatial)))
        return *lead, *(self.output_size or (1,) * len(self.spatial))

    def _count(self, axis: int) -> int:
        size, pad, stride = self.spatial[axis], self.padding[axis], self.stride[axis]
        room = size + 2 * pad - self.dilation[axis] * (self.kernel[axis] - 1) - 1
        count = (-(-room // stride) if self.ceil_mode else room // stride) + 1
        return count - (self.ceil_mode and (count - 1) * stride >= size + pad)

    @property
    def inputs(self) -> int:
        """Cells of the input."""
        if self.maps:
            return self.shape[1] * sum(rows * columns for rows, columns in self.maps)
        return math.prod(self.shape)

    @property
    def outputs(self) -> int:
        """Cells of the result."""
        return math.prod(self.output_shape)

    @property
    def bytes_moved(self) -> int:
        """What must be read and written at least, each array once, whatever the algorithm."""
        item = ITEM_BYTES[self.dtype]
        if self.direction == "backward":
            return (self.inputs + self.outputs) * item
        written = 4 if self.op == "avg" and self.dtype in ("u8", "i16") else item
        if self.direction == "argmax":
            written += INDEX_BYTES
        return self.inputs * item + self.chained * self.outputs * written

    @property
    def reads_most(self) -> bool:
        """Whether hardly anything is written: then a copy is no bar, reading alone is."""
        return self.direction == "forward" and 8 * self.outputs <= self.inputs

    @property
    def heavy(self) -> bool:
        return self.outputs * math.prod(self.kernel) > HEAVY_TAPS

    def part(self) -> tuple[Case, int]:
        """A part of this case, and how many times longer the whole should take."""
        batch, channels = self.shape[:2]
        if batch > 1:
            return replace(self, shape=(1, *self.shape[1:])), batch
        eighth = tuple(max(n // 8, 1) for n in self.spatial)
        return replace(self, shape=(batch, channels, *eighth)), 8 ** len(eighth)
