"""The yardstick: a copy of the input's bytes, by as many threads as the case has.

Every input cell has to be read and, at stride 1, as many cells written, so there no pooling is
faster than this. `np.copyto` lets other threads run: pieces of the array are copied side by side.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers import Run

if TYPE_CHECKING:
    from benchmarks.cases import Case

SMALL_BYTES = 2**20  # waking a thread costs more than copying this


class Copy:
    name = "copy"
    checked = False

    def __init__(self) -> None:
        self._threads = 1
        self._workers: ThreadPoolExecutor | None = None

    def set_threads(self, threads: int) -> None:
        if self._workers is not None:
            self._workers.shutdown()
        self._threads = threads
        self._workers = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def prepare(self, case: Case, x: np.ndarray, grad: np.ndarray | None) -> Run:
        out = np.zeros_like(x)
        workers = self._workers
        if workers is None or x.nbytes < SMALL_BYTES:
            return Run(lambda: np.copyto(out, x), lambda _: out)
        targets = np.array_split(out.reshape(-1), self._threads)
        sources = np.array_split(x.reshape(-1), self._threads)

        def copy() -> None:
            rest = zip(targets[1:], sources[1:], strict=True)
            others = [workers.submit(np.copyto, target, source) for target, source in rest]
            np.copyto(targets[0], sources[0])
            for other in others:
                other.result()

        return Run(copy, lambda _: out)
