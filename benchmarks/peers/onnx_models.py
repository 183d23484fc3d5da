"""A case as an ONNX model, for every peer that reads the format.

ONNX has sliding and global pooling. Adaptive pooling is sliding where the bins divide the map;
where they do not there is no such operator, and no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto, helper

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.cases import Case

ELEMENTS = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "f64": TensorProto.DOUBLE,
    "u8": TensorProto.UINT8,
}
OPSET, IR_VERSION = 22, 10


def model_bytes(case: Case, opset: int = OPSET) -> bytes | None:
    """The serialised model with input `x` and outputs `y`, `y2`, … or `y`, `indices`, or None.

    A chain's maps are all outputs, since networks use all of them.
    """
    if case.levels or case.direction == "backward" or case.dtype not in ELEMENTS:
        return None
    if case.op == "avg" and case.dtype == "u8":
        return None  # ONNX's means are of floats
    made = _operator(case)
    if made is None:
        return None
    kind, attributes = made
    names = ["y", *(f"y{number}" for number in range(2, case.chained + 1))]
    element = ELEMENTS[case.dtype]
    outputs = [helper.make_tensor_value_info(name, element, case.output_shape) for name in names]
    tail = []
    if case.direction == "argmax":
        outputs.append(
            helper.make_tensor_value_info("indices", TensorProto.INT64, case.output_shape)
        )
        tail = ["indices"]
    nodes = [
        helper.make_node(kind, [source], [target, *tail], **attributes)
        for source, target in zip(["x", *names], names, strict=False)
    ]
    graph = helper.make_graph(
        nodes, "pooling", [helper.make_tensor_value_info("x", element, case.shape)], outputs
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION
    )
    return bytes(model.SerializeToString())


def _operator(case: Case) -> tuple[str, dict[str, Any]] | None:
    word = "Max" if case.op == "max" else "Average"
    if case.kind == "global" and case.direction == "forward":
        return f"Global{word}Pool", {}
    if not case.kernel:
        counts = case.output_size or (1,) * len(case.spatial)
        if any(size % count for size, count in zip(case.spatial, counts, strict=True)):
            return None
        bins = [size // count for size, count in zip(case.spatial, counts, strict=True)]
        return f"{word}Pool", {"kernel_shape": bins, "strides": bins}
    attributes: dict[str, Any] = {
        "kernel_shape": case.kernel,
        "strides": case.stride,
        "pads": [*case.padding, *case.padding],
        "ceil_mode": int(case.ceil_mode),
    }
    if set(case.dilation) != {1}:
        attributes["dilations"] = case.dilation
    if case.op == "avg":
        attributes["count_include_pad"] = 1
    return f"{word}Pool", attributes
