"""SciPy's filters: stride 1 with "same" padding only, on the processor's one core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from benchmarks.peers import Run

if TYPE_CHECKING:
    from benchmarks.cases import Case


class SciPy:
    name = "SciPy"
    checked = True

    def set_threads(self, threads: int) -> None:
        """It has no threads of its own."""

    def prepare(self, case: Case, x: np.ndarray, grad: np.ndarray | None) -> Run | None:
        same = case.kernel % 2 == 1 and case.padding == case.kernel // 2
        if grad is not None or case.kind != "sliding" or case.stride != 1 or not same:
            return None
        size = (1, 1, case.kernel, case.kernel)
        out = np.empty_like(x)
        if case.op == "max":
            return Run(
                lambda: ndimage.maximum_filter(x, size, output=out, mode="constant", cval=-np.inf),
                lambda _: out,
            )
        return Run(
            lambda: ndimage.uniform_filter(x, size, output=out, mode="constant", cval=0.0),
            lambda _: out,
        )
