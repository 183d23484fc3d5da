"""`torch.compile`, in the case's own layout: eager operators, fused and specialised by Inductor.

Compiled anew for each case and number of threads, untimed; the threads are built into the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchmarks.peers import Run
from benchmarks.peers.pytorch import (
    TorchChannelsLast,
    TorchNCHW,
    can_do,
    has_no_kernel,
    outputs_of,
    pool_of,
)

if TYPE_CHECKING:
    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case


class TorchCompile:
    name = "torch.compile"
    checked = True
    threads_note = "`torch.set_num_threads` before compiling"

    def set_threads(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        # A list of maps would compile one graph per size; a gradient is eager's own operator.
        if not can_do(case) or case.maps or case.direction == "backward":
            return None
        layout = TorchNCHW() if case.layout == "nchw" else TorchChannelsLast()
        x, _ = layout.place(case, arrays)
        torch._dynamo.reset()  # or the cases would count as recompilations of one function
        pool = torch.compile(pool_of(case), dynamic=False)

        def forward() -> object:
            with torch.inference_mode():
                return pool(x)

        try:
            forward()
        except (NotImplementedError, RuntimeError) as error:
            if not has_no_kernel(error):
                raise
            return None
        return Run(forward, lambda y: outputs_of(case, y))
