"""ONNX Runtime on the CPU, with input and outputs bound to arrays of ours.

Threads are the session's. Its workers are told not to spin, or they would spin on the cores of
whoever is timed next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from benchmarks.peers import Run
from benchmarks.peers.onnx_models import model_bytes

if TYPE_CHECKING:
    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case
    from benchmarks.peers import Outputs

UNSUPPORTED = (errors.NotImplemented, errors.InvalidGraph, errors.InvalidArgument, errors.Fail)


class ONNXRuntime:
    name = "ONNX Runtime"
    checked = True
    threads_note = "`intra_op_num_threads`, not spinning"

    def __init__(self) -> None:
        self._threads = 1

    def set_threads(self, threads: int) -> None:
        self._threads = threads

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        model = model_bytes(case)
        if model is None or case.dtype == "bf16":  # no kernels, and no NumPy arrays of it
            return None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it can't do is no news
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except UNSUPPORTED:
            return None
        binding = session.io_binding()
        x = onnxruntime.OrtValue.ortvalue_from_numpy(arrays.nchw)
        binding.bind_ortvalue_input("x", x)
        bound = [x]
        for output in session.get_outputs():
            dtype = np.int64 if output.name == "indices" else arrays.nchw.dtype
            value = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty(case.output_shape, dtype))
            binding.bind_ortvalue_output(output.name, value)
            bound.append(value)
        # The values hold their arrays' memory, and the closures the values.
        return Run(
            lambda: session.run_with_iobinding(binding),
            lambda _: _outputs(case, [value.numpy() for value in bound[1:]]),
        )


def _outputs(case: Case, found: list[np.ndarray]) -> Outputs:
    if case.direction == "argmax":  # its indices are flat over the whole tensor, ours over a plane
        values, indices = found
        return [values, indices % int(np.prod(case.spatial))]
    return found[-1:]
