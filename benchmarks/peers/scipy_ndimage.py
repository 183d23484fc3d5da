"""SciPy's filters: stride 1 with "same" padding only, on one core, in double precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from benchmarks.arrays import channels_first
from benchmarks.peers import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case


class SciPy:
    name = "SciPy"
    checked = True
    threads_note = "one, whatever is asked for"

    def set_threads(self, threads: int) -> None:
        """It has no threads of its own."""

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        if case.direction != "forward" or not case.same or case.chained > 1:
            return None
        if case.dtype in ("f16", "bf16") or (case.op == "avg" and case.dtype in ("u8", "i16")):
            return None  # it has no half types, and its means of integers are integers
        x = arrays.of(case)
        size = (1, 1, *case.kernel) if case.layout == "nchw" else (1, *case.kernel, 1)
        out = np.empty_like(x)
        options: dict[str, Any] = {"output": out, "mode": "constant", "cval": 0}
        work: Callable[..., object] = ndimage.uniform_filter
        if case.op == "max":
            work = ndimage.maximum_filter
            options["cval"] = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
        view = [out if case.layout == "nchw" else channels_first(out)]
        return Run(lambda: work(x, size, **options), lambda _: view)
