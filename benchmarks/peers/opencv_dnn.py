"""OpenCV's network module, on the ONNX model of the case. It has no preallocated outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.peers import Run
from benchmarks.peers.onnx_models import model_bytes

if TYPE_CHECKING:
    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case

OPSET = 13  # what both of OpenCV's readers know


class OpenCVDNN:
    name = "OpenCV dnn"
    checked = True
    threads_note = "`cv2.setNumThreads`"

    def set_threads(self, threads: int) -> None:
        cv2.setNumThreads(threads)

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        if case.dtype != "f32" or case.direction != "forward" or case.chained > 1:
            return None
        if case.op == "avg" and (case.ceil_mode or set(case.dilation) - {1}):
            return None  # other divisors at the border; no gaps before opset 19
        model = model_bytes(case, OPSET)
        if model is None:
            return None
        try:
            network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
            network.setInput(arrays.nchw)
            if network.forward().shape != case.output_shape:
                return None
        except cv2.error:
            return None
        return Run(network.forward, lambda y: [y])
