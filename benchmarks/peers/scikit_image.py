"""scikit-image's `block_reduce`: NumPy's reductions over blocks that tile the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import block_reduce

from benchmarks.arrays import channels_first
from benchmarks.peers import Run

if TYPE_CHECKING:
    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case


class ScikitImage:
    name = "scikit-image"
    checked = True
    threads_note = "one, whatever is asked for"

    def set_threads(self, threads: int) -> None:
        """It has no threads of its own."""

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        blocks = _blocks(case)
        if blocks is None or case.direction != "forward" or case.dtype == "bf16":
            return None
        x = arrays.of(case)
        block = (1, 1, *blocks) if case.layout == "nchw" else (1, *blocks, 1)
        reduce = np.max if case.op == "max" else np.mean
        view = (lambda y: [y]) if case.layout == "nchw" else (lambda y: [channels_first(y)])
        return Run(lambda: block_reduce(x, block, reduce), view)


def _blocks(case: Case) -> tuple[int, ...] | None:
    """The block's sizes, if blocks tile the map: others would be padded with zeros."""
    if case.levels:
        return None
    if case.kernel:
        tiled = case.kernel == case.stride and not any(case.padding) and set(case.dilation) == {1}
        blocks = case.kernel if tiled else ()
    else:
        counts = case.output_size or (1,) * len(case.spatial)
        blocks = tuple(size // n for size, n in zip(case.spatial, counts, strict=True))
    whole = zip(case.spatial, case.output_shape[2:], blocks, strict=False)
    return blocks if blocks and all(size == n * b for size, n, b in whole) else None
