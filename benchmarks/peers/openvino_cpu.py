"""OpenVINO on the CPU: a model of its own operators, written into preallocated tensors.

Precision is pinned to the case's, or it would compute in bfloat16 where the processor can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from openvino import opset14 as operators
from openvino import opset16 as newer

from benchmarks.peers import Run

if TYPE_CHECKING:
    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case

ELEMENTS = {
    "f32": openvino.Type.f32,
    "f16": openvino.Type.f16,
    "u8": openvino.Type.u8,
}  # f64 it takes, and computes in f32

INDEX = "i32"  # its kernels write no other indices


class OpenVINO:
    name = "OpenVINO"
    checked = True
    threads_note = "`INFERENCE_NUM_THREADS`"

    def __init__(self) -> None:
        self._core = openvino.Core()
        self._threads = 1

    def set_threads(self, threads: int) -> None:
        self._threads = threads

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        if case.maps or case.direction == "backward" or case.dtype not in ELEMENTS:
            return None
        if case.op == "avg" and (case.dtype == "u8" or (case.ceil_mode and any(case.padding))):
            return None  # its means of integers are integers, its divisors at the border others
        x = operators.parameter(case.shape, ELEMENTS[case.dtype])
        try:
            compiled = self._core.compile_model(
                openvino.Model(_outputs(case, x), [x], "pooling"),
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": self._threads,
                    "NUM_STREAMS": 1,
                    "INFERENCE_PRECISION_HINT": "f32",
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except RuntimeError:  # it has one kind of error; for all it can't do too
            return None
        request = compiled.create_infer_request()
        x_array, outs = arrays.nchw, []
        request.set_input_tensor(openvino.Tensor(x_array, shared_memory=True))
        for number, output in enumerate(compiled.outputs):
            outs.append(np.empty(tuple(output.shape), output.element_type.to_dtype()))
            request.set_output_tensor(number, openvino.Tensor(outs[-1], shared_memory=True))
        # A tensor over shared memory does not keep it: the closure has to hold every array.
        held = (x_array, outs)
        asked = slice(0, 2) if case.direction == "argmax" else slice(-1, None)
        return Run(request.infer, lambda _: [y.reshape(case.output_shape) for y in held[1][asked]])


def _outputs(case: Case, x: Any) -> list[Any]:
    axes = list(range(2, len(case.shape)))
    if case.levels:
        flat = [
            operators.reshape(_adaptive(case, x, (n, n)).output(0), [case.shape[0], -1], False)
            for n in case.levels
        ]
        return [operators.concat(flat, 1)]
    if case.kind == "global" and case.direction == "forward":
        reduce = operators.reduce_max if case.op == "max" else operators.reduce_mean
        return [reduce(x, axes, True)]
    if not case.kernel:
        return _first(case, _adaptive(case, x, case.output_size or (1,) * len(axes)))
    outs = []
    node = x
    for _ in range(case.chained):
        node = _sliding(case, node)
        outs += _first(case, node)
        node = node.output(0)
    return outs


def _first(case: Case, node: Any) -> list[Any]:
    if case.direction == "argmax":
        return [node.output(0), node.output(1)]
    return [node.output(0)]


def _adaptive(case: Case, x: Any, counts: tuple[int, ...]) -> Any:
    shape = np.array(counts, np.int64)
    if case.op == "max":
        return operators.adaptive_max_pool(x, shape, INDEX)
    return operators.adaptive_avg_pool(x, shape)


def _sliding(case: Case, x: Any) -> Any:
    rounding = "ceil_torch" if case.ceil_mode else "floor"
    pads = (list(case.padding), list(case.padding))
    if case.op == "max":
        return operators.max_pool(
            x,
            list(case.stride),
            list(case.dilation),
            *pads,
            list(case.kernel),
            rounding,
            "explicit",
            INDEX,
            2,
        )
    if set(case.dilation) != {1}:
        return newer.avg_pool(
            x,
            list(case.stride),
            *pads,
            list(case.kernel),
            False,
            rounding,
            dilations=list(case.dilation),
        )
    return operators.avg_pool(x, list(case.stride), *pads, list(case.kernel), False, rounding)
