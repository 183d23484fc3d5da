"""The yardsticks: as many bytes as the case must move, copied; and the input, only read.

No pooling can be faster than its memory. A case that reads B bytes and writes D needs a copy of
(B + D) / 2 bytes, which reads and writes that many each: so stride 2 has a shorter bar than
stride 1. Reading alone is faster than copying, so where hardly anything is written (global
pooling) the bar is the reading: a maximum of the input as integers, NumPy's fastest reduction.

Both let other threads run: pieces are done side by side. `copy` writes an array that it has written
before.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.peers import COPY, READ, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case

SMALL_BYTES = 2**20  # waking a thread costs more than copying this


class _Threaded:
    """Pieces of the work on as many threads as the case has."""

    checked = False
    threads_note = "threads of its own, one piece each"

    def __init__(self) -> None:
        self._threads = 1
        self._workers: ThreadPoolExecutor | None = None

    def set_threads(self, threads: int) -> None:
        if threads == self._threads:
            return
        if self._workers is not None:
            self._workers.shutdown()
        self._threads = threads
        self._workers = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def _spread(self, work: Callable[..., Any], *arrays: np.ndarray) -> Callable[[], None]:
        workers = self._workers
        if workers is None or arrays[0].nbytes < SMALL_BYTES:
            return lambda: work(*arrays)
        split = [np.array_split(array, self._threads) for array in arrays]
        first, *others = zip(*split, strict=True)

        def run() -> None:
            waiting = [workers.submit(work, *piece) for piece in others]
            work(*first)
            for one in waiting:
                one.result()

        return run


class Copy(_Threaded):
    name = COPY

    def prepare(self, case: Case, arrays: Arrays) -> Run:
        source = np.ones(max(case.bytes_moved // 2, 1), np.uint8)
        target = np.zeros_like(source)
        return Run(self._spread(np.copyto, target, source), lambda _: ())


class Read(_Threaded):
    name = READ

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        if not case.reads_most or case.maps:
            return None
        return Run(self._spread(np.max, arrays.nchw.reshape(-1).view(np.int32)), lambda _: ())
